//! The sections that say who is told of what: `[alarms]` and `[telemetry]`.
//! It owns their forms and defaults; whether an address may be reached is judged where it is sent to.

use chrono::TimeDelta;
use secrecy::SecretString;

use super::settings::span;
use crate::config::{AlarmsConfig, TelemetryConfig};
use crate::policy::schema::{ALARMS, TELEMETRY};
use crate::policy::tree::{Section, Wrong};

/// Longest lead: of a deadline of 30 days, a quarter counts at most.
const LEAD_DAYS_MAX: u64 = 30;

/// What was read; `None` where something is wrong.
pub(super) struct Told {
    pub(super) alarms: AlarmsConfig,
    pub(super) telemetry: TelemetryConfig,
}

/// Reads both.
pub(super) fn read(root: &Section<'_>) -> Option<Told> {
    let alarms = match root.get("alarms") {
        None => Some(AlarmsConfig::default()),
        Some(value) => value.section(&ALARMS).and_then(|section| alarms(&section)),
    };
    let telemetry = match root.get("telemetry") {
        None => Some(TelemetryConfig::default()),
        Some(value) => value.section(&TELEMETRY).and_then(|section| telemetry(&section)),
    };
    Some(Told { alarms: alarms?, telemetry: telemetry? })
}

fn alarms(section: &Section<'_>) -> Option<AlarmsConfig> {
    let default = AlarmsConfig::default();
    let webhooks = section.get("webhooks").map_or(Some(default.webhooks), |value| value.texts(address));
    let secret =
        section.get("secret").map_or(Some(None), |value| value.text().map(SecretString::from).map(Some));
    let lead = section.get("lead").map_or(Some(default.lead), |value| value.parsed(lead));
    Some(AlarmsConfig { webhooks: webhooks?, secret: secret?, lead: lead? })
}

fn lead(text: &str) -> Result<TimeDelta, Wrong> {
    let most = std::time::Duration::from_secs(LEAD_DAYS_MAX * 86_400);
    let span = span(text, most, "\"72 hours\"")?;
    TimeDelta::from_std(span).map_err(|_| Wrong::new("the time is too long", "write at most 30 days"))
}

fn telemetry(section: &Section<'_>) -> Option<TelemetryConfig> {
    let otlp = section.get("otlp").map_or(Some(None), |value| value.parsed(address).map(Some));
    Some(TelemetryConfig { otlp: otlp? })
}

/// An address on the web. It is never repeated in a fault: it may hold a secret.
pub(super) fn address(text: &str) -> Result<String, Wrong> {
    let help = "write https://host/path, without a user or a password";
    let rest = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let Some(rest) = rest else { return Err(Wrong::new("this is not an address on the web", help)) };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Wrong::new("this is not an address on the web", help));
    }
    if authority.contains('@') {
        return Err(Wrong::new("the address holds a user or a password", help));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host_and_no_password() {
        for text in ["https://hooks.example.com/x?y=1", "http://127.0.0.1:4318", "https://[::1]:9/"] {
            assert_eq!(address(text), Ok(text.to_owned()));
        }
        for text in [
            "",
            "hooks.example.com",
            "ftp://x",
            "https://",
            "https:///path",
            "https://user:secret@host/",
            "https://user@host/",
            "https://a b/",
            "HTTPS://host",
            "file:///etc/passwd",
        ] {
            let wrong = address(text).expect_err(text);
            assert!(!wrong.message.contains("secret"), "{wrong:?}");
        }
    }

    #[test]
    fn a_lead_is_minutes_hours_or_days() {
        assert_eq!(lead("72 hours"), Ok(TimeDelta::hours(72)));
        assert_eq!(lead("30 days"), Ok(TimeDelta::days(30)));
        for text in ["", "72", "72h", "31 days", "-1 hours", "1 month"] {
            assert!(lead(text).is_err(), "{text}");
        }
    }
}
