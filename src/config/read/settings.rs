//! The sections of `retentiond.toml` other than the stores.
//! It owns their defaults and forms; no path in it is touched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;

use super::{Settings, http, rollovers, stores};
use crate::config::{Config, HttpConfig, LedgerConfig, LedgerPlace, Limits, ScheduleConfig};
use crate::policy::parse::{TIME_ZONE_DEFAULT, zone};
use crate::policy::schema::{AUDIT, HTTP, LEDGER, LIMITS, POLICIES, SCHEDULE};
use crate::policy::tree::{Group, Section, Value, Wrong};
use crate::schedule::CronExpr;

/// Every night at half past two, when a contact center is quiet.
const CRON_DEFAULT: &str = "30 2 * * *";

/// An hour in which a request can still be cancelled.
const REQUEST_DELAY_DEFAULT: Duration = Duration::from_secs(3_600);

/// A request that waited longer than a week would not be carried out in time on a bad day.
const REQUEST_DELAY_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Reads everything; what could not be read is left out, with a fault.
pub(super) fn read(root: &Section<'_>, file: &Path, base: &Path) -> Settings {
    let ledger = section(root, "ledger", &LEDGER).and_then(|section| read_ledger(&section, base));
    let policies = section(root, "policies", &POLICIES)
        .and_then(|section| section.require("path", "name the folder of the policies"))
        .and_then(|value| path(&value, base));
    let schedule = read_schedule(optional(root, "schedule", &SCHEDULE));
    let audit =
        in_optional(optional(root, "audit", &AUDIT), "path", || Some(base.join("audit")), |v| path(v, base));
    let limits = section(root, "limits", &LIMITS).and_then(|section| read_limits(&section));
    let http = match optional(root, "http", &HTTP) {
        None => http::read(None, base),
        Some(section) => section.and_then(|section| http::read(Some(&section), base)),
    };
    let stores = stores::read(root, base);
    let own =
        stores::Own { file, ledger: ledger.as_ref(), audit: audit.as_deref(), policies: policies.as_deref() };
    if let Some(stores) = &stores {
        stores::keep_apart(root, stores, &own);
    }
    let config = join(file, ledger, policies.clone(), schedule, audit, limits, http, stores.clone());
    let config = config.zip(rollovers::read(root)).map(|(config, rollovers)| Config { rollovers, ..config });
    Settings { config, policies, stores }
}

#[expect(clippy::too_many_arguments, reason = "one argument for each section; each may be missing")]
fn join(
    file: &Path,
    ledger: Option<LedgerConfig>,
    policies: Option<PathBuf>,
    schedule: Option<ScheduleConfig>,
    audit: Option<PathBuf>,
    limits: Option<Limits>,
    http: Option<HttpConfig>,
    stores: Option<std::collections::BTreeMap<crate::id::StoreId, crate::config::StoreConfig>>,
) -> Option<Config> {
    Some(Config {
        file: file.to_owned(),
        ledger: ledger?,
        policies: policies?,
        schedule: schedule?,
        audit: audit?,
        limits: limits?,
        http: http?,
        stores: stores?,
        rollovers: std::collections::BTreeMap::new(),
    })
}

fn section<'d>(root: &Section<'d>, name: &str, group: &'static Group) -> Option<Section<'d>> {
    root.require(name, &format!("write [{name}] with its keys"))?.section(group)
}

/// A section that may be left out: `None` where it is, `Some(None)` where it is wrong.
fn optional<'d>(root: &Section<'d>, name: &str, group: &'static Group) -> Option<Option<Section<'d>>> {
    root.get(name).map(|value| value.section(group))
}

/// The value of a key that may be left out, in a section that may be left out.
fn in_optional<T>(
    section: Option<Option<Section<'_>>>,
    name: &str,
    default: impl FnOnce() -> Option<T>,
    read: impl FnOnce(&Value<'_>) -> Option<T>,
) -> Option<T> {
    match section {
        None => default(),
        Some(section) => match section?.get(name) {
            None => default(),
            Some(value) => read(&value),
        },
    }
}

/// A path, relative to the folder of the configuration.
pub(super) fn path(value: &Value<'_>, base: &Path) -> Option<PathBuf> {
    value.parsed(|text| {
        if text.starts_with('~') {
            return Err(Wrong::new("`~` is not replaced in paths", "write the path in full, or ${HOME}/…"));
        }
        if text.contains('\0') {
            return Err(Wrong::new("the path holds a NUL", "write a path"));
        }
        Ok(base.join(text))
    })
}

/// The file of a `sqlite://` address.
pub(super) fn sqlite_path(text: &str, base: &Path) -> Result<PathBuf, Wrong> {
    let help = "write sqlite://file.db, relative to this file, or sqlite:///srv/file.db";
    let Some(path) = text.strip_prefix("sqlite://") else {
        return Err(Wrong::new("this is not the address of a SQLite file", help));
    };
    if path.is_empty() || path.ends_with('/') || path.contains(['?', '#', '\0']) || path.contains(":memory:")
    {
        return Err(Wrong::new("the address names no file", help));
    }
    Ok(base.join(path))
}

fn read_ledger(section: &Section<'_>, base: &Path) -> Option<LedgerConfig> {
    let url = section.require("url", "for example url = \"sqlite://retentiond.db\"");
    let place = url.and_then(|value| {
        value.parsed(|text| {
            if text.starts_with("mysql://") {
                let help = "use sqlite://retentiond.db";
                return Err(Wrong::new("a ledger on MySQL is not in this version", help));
            }
            Ok(LedgerPlace::Sqlite { path: sqlite_path(text, base)? })
        })
    });
    let key_file = section.get("key_file").map_or(Some(base.join("ledger.key")), |value| path(&value, base));
    Some(LedgerConfig { place: place?, key_file: key_file? })
}

fn read_schedule(section: Option<Option<Section<'_>>>) -> Option<ScheduleConfig> {
    let section = match section {
        Some(section) => Some(section?),
        None => None,
    };
    let get = |name: &str| section.as_ref().and_then(|section| section.get(name));
    let cron = get("cron").map_or(Some(CRON_DEFAULT.to_owned()), |value| value.parsed(cron));
    let time_zone: Option<Tz> = get("time_zone").map_or(Some(TIME_ZONE_DEFAULT), |value| value.parsed(zone));
    let request_delay = get("request_delay").map_or(Some(REQUEST_DELAY_DEFAULT), |value| value.parsed(delay));
    Some(ScheduleConfig { cron: cron?, time_zone: time_zone?, request_delay: request_delay? })
}

pub(super) fn cron(text: &str) -> Result<String, Wrong> {
    match CronExpr::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Wrong::new(
            error.to_string(),
            "for example \"30 2 * * *\": minute, hour, day, month, weekday",
        )),
    }
}

fn delay(text: &str) -> Result<Duration, Wrong> {
    let help = "write a number and minutes, hours or days, at most 7 days, for example \"1 hour\"";
    let refuse = |why: &str| Err(Wrong::new(format!("`{}` {why}", text.escape_debug()), help));
    let Some((number, unit)) = text.split_once(' ') else {
        return refuse("has no unit");
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let Some(number) = number.parse::<u32>().ok().filter(|_| digits) else {
        return refuse("does not begin with a whole number");
    };
    let seconds: u64 = match unit {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 86_400,
        _ => return refuse("is not in minutes, hours or days"),
    };
    let delay = Duration::from_secs(u64::from(number) * seconds);
    if delay > REQUEST_DELAY_MAX {
        return refuse("is longer than 7 days");
    }
    Ok(delay)
}

fn read_limits(section: &Section<'_>) -> Option<Limits> {
    let help =
        "a run without a limit can erase everything by mistake; write one, for example records = 100000";
    let records = section.require("records", help).and_then(|value| value.count());
    let help =
        "a run without a limit can erase everything by mistake; write one, for example share = \"20%\"";
    let share = section.require("share", help).and_then(|value| value.parsed(share));
    Some(Limits { records: records?, share_percent: share? })
}

fn share(text: &str) -> Result<u32, Wrong> {
    let number = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let percent =
        number.filter(|digits| !digits.starts_with('0')).and_then(|digits| digits.parse::<u32>().ok());
    percent.filter(|percent| (1..=100).contains(percent)).ok_or_else(|| {
        Wrong::new(
            format!("`{}` is not a share", text.escape_debug()),
            "write a whole percentage, \"1%\" to \"100%\"",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_minutes_hours_or_days() {
        for (text, seconds) in [
            ("0 minutes", 0),
            ("1 minute", 60),
            ("30 minutes", 1_800),
            ("1 hour", 3_600),
            ("7 days", 604_800),
        ] {
            assert_eq!(delay(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "0",
            "30m",
            "-1 hours",
            "1.5 hours",
            "8 days",
            "1 week",
            "1 month",
            "99999999999 minutes",
            "1  hour",
        ] {
            assert!(delay(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_a_whole_percentage() {
        assert_eq!(share("1%"), Ok(1));
        assert_eq!(share("100%"), Ok(100));
        for text in [
            "0%",
            "101%",
            "1000%",
            "20",
            "%",
            "NaN",
            "NaN%",
            "unlimited",
            "-1",
            "-1%",
            "1.5%",
            "020%",
            "20 %",
        ] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_sqlite_address_names_a_file() {
        let base = Path::new("/srv/retentiond");
        assert_eq!(sqlite_path("sqlite://calls.db", base), Ok(PathBuf::from("/srv/retentiond/calls.db")));
        assert_eq!(sqlite_path("sqlite:///data/calls.db", base), Ok(PathBuf::from("/data/calls.db")));
        for text in [
            "sqlite://",
            "sqlite::memory:",
            "sqlite://:memory:",
            "calls.db",
            "sqlite://a.db?mode=rwc",
            "sqlite://a/",
        ] {
            assert!(sqlite_path(text, base).is_err(), "{text}");
        }
    }
}
