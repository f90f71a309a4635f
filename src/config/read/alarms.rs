//! The sections that say who is told of what: `[alarms]`, `[tenants.NAME]` and `[telemetry]`.
//! It owns their forms and defaults; whether an address may be reached is judged where it is sent to.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use secrecy::SecretString;

use super::settings::span;
use crate::config::{AlarmsConfig, TelemetryConfig, TenantConfig};
use crate::id::TenantId;
use crate::policy::schema::{ALARMS, TELEMETRY, TENANTS};
use crate::policy::tree::{Group, Section, Value, Wrong};

/// Longest lead: of a deadline of 30 days, a quarter counts at most.
const LEAD_DAYS_MAX: u64 = 30;

/// What was read; `None` where something is wrong.
pub(super) struct Told {
    pub(super) alarms: AlarmsConfig,
    pub(super) tenants: BTreeMap<TenantId, TenantConfig>,
    pub(super) telemetry: TelemetryConfig,
}

/// Reads all three.
pub(super) fn read(root: &Section<'_>) -> Option<Told> {
    let alarms = match root.get("alarms") {
        None => Some(AlarmsConfig::default()),
        Some(value) => value.section(&ALARMS).and_then(|section| alarms(&section)),
    };
    let tenants = match root.get("tenants") {
        None => Some(BTreeMap::new()),
        Some(value) => tenants(&value),
    };
    let telemetry = match root.get("telemetry") {
        None => Some(TelemetryConfig::default()),
        Some(value) => value.section(&TELEMETRY).and_then(|section| telemetry(&section)),
    };
    Some(Told { alarms: alarms?, tenants: tenants?, telemetry: telemetry? })
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

fn tenants(value: &Value<'_>) -> Option<BTreeMap<TenantId, TenantConfig>> {
    let tenants: Vec<_> =
        value.free_section()?.entries().map(|(name, value)| tenant(name, &value, &TENANTS)).collect();
    tenants.into_iter().collect()
}

fn tenant(name: &str, value: &Value<'_>, group: &'static Group) -> Option<(TenantId, TenantConfig)> {
    let id = TenantId::parse(name)
        .map_err(|error| value.fault(&error.to_string(), "name the tenant exactly as the stores do"))
        .ok();
    let section = value.section(group)?;
    let notices = section.get("notices").map_or(Some(None), |value| value.parsed(address).map(Some));
    let callback_hosts = section.get("callback_hosts").map_or(Some(Vec::new()), |value| value.texts(host));
    let controller = section.get("controller").map_or(Some(None), |value| value.text().map(Some));
    Some((id?, TenantConfig { notices: notices?, callback_hosts: callback_hosts?, controller: controller? }))
}

fn telemetry(section: &Section<'_>) -> Option<TelemetryConfig> {
    let otlp = section.get("otlp").map_or(Some(None), |value| value.parsed(address).map(Some));
    Some(TelemetryConfig { otlp: otlp? })
}

/// An address on the web. It is never repeated in a fault: it may hold a secret.
fn address(text: &str) -> Result<String, Wrong> {
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

/// A host name, without scheme, port or path.
fn host(text: &str) -> Result<String, Wrong> {
    let is_name = text.chars().all(|c| c.is_ascii_alphanumeric() || ['-', '.'].contains(&c));
    if !is_name || text.starts_with(['-', '.']) || text.ends_with(['-', '.']) {
        let message = format!("`{}` is not a host", text.escape_debug());
        return Err(Wrong::new(message, "write the name alone, for example hooks.example.com"));
    }
    Ok(text.to_ascii_lowercase())
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
    fn a_host_is_a_name_alone() {
        assert_eq!(host("Hooks.example.com"), Ok("hooks.example.com".to_owned()));
        for text in ["", "https://x", "x:443", "x/y", "*.example.com", ".x", "x.", "a b"] {
            assert!(text.is_empty() || host(text).is_err(), "{text}");
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
