//! The small languages of a policy: spans of time, zones, names, formats of times.
//! It owns what each accepts and what it advises; it does not know in which key it stands.

use std::str::FromStr;

use chrono_tz::{TZ_VARIANTS, Tz};

use crate::policy::Period;
use crate::policy::tree::{Wrong, nearest};

/// Longest span, in its own unit. Ten thousand years from a date of ours is still a date that can be computed.
const SPAN_MAX: u32 = 10_000;

/// Longest identifier: what `MySQL` accepts for a table or column.
const IDENTIFIER_CHARS_MAX: usize = 64;

const SPAN_HELP: &str = "write a number and days, weeks, months or years, for example \"6 months\"";

/// Reads `6 months`, `1 year`, `14 days`.
///
/// # Errors
/// For everything else, also 0, fractions, signs, other units and abbreviations.
pub(super) fn period(text: &str) -> Result<Period, Wrong> {
    let shown = text.escape_debug();
    let Some((number, unit)) = text.split_once(' ') else {
        let message = format!("`{shown}` is not a span of days, weeks, months or years");
        return Err(Wrong::new(message, SPAN_HELP));
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::new(format!("`{shown}` does not begin with a whole number"), SPAN_HELP));
    }
    let number =
        number.parse::<u32>().ok().filter(|n| (1..=SPAN_MAX).contains(n) && !number.starts_with('0'));
    let Some(number) = number else {
        return Err(Wrong::new(format!("`{shown}` is not between 1 and {SPAN_MAX}"), SPAN_HELP));
    };
    match unit {
        "day" | "days" => Ok(Period { months: 0, days: number }),
        "week" | "weeks" => Ok(Period { months: 0, days: number * 7 }),
        "month" | "months" => Ok(Period { months: number, days: 0 }),
        "year" | "years" => Ok(Period { months: number * 12, days: 0 }),
        _ => {
            let units = ["day", "days", "week", "weeks", "month", "months", "year", "years"];
            let help =
                nearest(unit, units).map_or(SPAN_HELP.to_owned(), |near| format!("did you mean `{near}`?"));
            Err(Wrong::new(format!("`{}` is not a unit of a span", unit.escape_debug()), help))
        }
    }
}

/// Reads the name of a zone: `UTC`, or an area and a place.
///
/// # Errors
/// For abbreviations and offsets, which are ambiguous, and for names that nobody knows.
pub fn zone(text: &str) -> Result<Tz, Wrong> {
    let shown = text.escape_debug();
    let help = "write an area and a place of the IANA time zone database, for example Asia/Singapore, or UTC";
    if text != "UTC" && !text.contains('/') {
        return Err(Wrong::new(format!("`{shown}` is no unambiguous time zone"), help));
    }
    if text.starts_with("Etc/") {
        // `Etc/GMT+8` is eight hours *behind* UTC, which is not what its author meant.
        return Err(Wrong::new(format!("`{shown}` reads the other way round than it looks"), help));
    }
    Tz::from_str(text).map_err(|_| {
        let near = nearest(text, TZ_VARIANTS.iter().map(|zone| zone.name()));
        let help = near.map_or(help.to_owned(), |near| format!("did you mean `{near}`?"));
        Wrong::new(format!("`{shown}` is not a known time zone"), help)
    })
}

/// Reads the name of a category, a placement, a store, an entitlement or a kind of subject.
///
/// # Errors
/// For what does not stand alone on a command line.
pub fn name(text: &str) -> Result<String, Wrong> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.len() > IDENTIFIER_CHARS_MAX
        || !text.chars().all(allowed)
        || !text.starts_with(char::is_alphanumeric)
    {
        return Err(Wrong::new(
            format!("`{}` is not a name", cut(text)),
            "use letters, digits, `-`, `_` and `.`, at most 64, a letter or digit first",
        ));
    }
    Ok(text.to_owned())
}

/// Reads the name of a table or column. It is quoted and bound later; here it is kept free of everything that a
/// quoting mistake could turn into a statement.
///
/// # Errors
/// For more than 64 characters, and for quotes, dots, semicolons, white space and control characters.
pub(super) fn identifier(text: &str) -> Result<String, Wrong> {
    checked_identifier(text, "'\"`;.\\")
}

/// Reads the name of a field of a document, where dots separate levels.
///
/// # Errors
/// As [`identifier`], but for dots inside.
pub(super) fn field(text: &str) -> Result<String, Wrong> {
    if text.split('.').any(str::is_empty) {
        return Err(Wrong::new(
            format!("`{}` is not a field", cut(text)),
            "write the levels with one dot between them",
        ));
    }
    checked_identifier(text, "'\"`;\\*")
}

fn checked_identifier(text: &str, refused: &str) -> Result<String, Wrong> {
    if text.chars().count() > IDENTIFIER_CHARS_MAX {
        return Err(Wrong::new("the name is longer than 64 characters", "name one table or column, exactly"));
    }
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control() || refused.contains(c)) {
        return Err(Wrong::new(
            format!("`{}` is not a name of a table or column", cut(text)),
            "name one table or column, without quotes, dots, semicolons or spaces; SQL is never accepted",
        ));
    }
    Ok(text.to_owned())
}

/// Reads how a text column writes its times: digits of a fixed width only, so that a predicate can check the shape.
///
/// # Errors
/// For other directives, letters between them, a missing date, and parts out of proportion.
pub(super) fn time_format(text: &str) -> Result<String, Wrong> {
    directives(text, |c| c == 'T' || !c.is_alphanumeric())?;
    Ok(text.to_owned())
}

/// Checks the directives of a format or key template; `literal` says which characters may stand between them.
///
/// # Errors
/// As [`time_format`].
pub(super) fn directives(text: &str, literal: impl Fn(char) -> bool) -> Result<(), Wrong> {
    let help =
        "use %Y, %m, %d once each, and %H, %M, %S (or %F, %T), with `-`, `:`, `/`, `T` or a space between";
    let mut seen = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        if c == '%' {
            let directive = rest.chars().next().unwrap_or(' ');
            match directive {
                'Y' | 'm' | 'd' | 'H' | 'M' | 'S' => seen.push(directive),
                'F' => seen.push_str("Ymd"),
                'T' => seen.push_str("HMS"),
                '.' if rest == ".f" && seen.ends_with('S') => return complete(&seen, help),
                _ => {
                    let message = format!("`%{}` is not understood here", directive.escape_debug());
                    return Err(Wrong::new(message, help));
                }
            }
            rest = rest.get(directive.len_utf8()..).unwrap_or_default();
        } else if !literal(c) || c.is_control() {
            return Err(Wrong::new(format!("`{}` in the format is ambiguous", c.escape_debug()), help));
        }
    }
    complete(&seen, help)
}

fn complete(seen: &str, help: &str) -> Result<(), Wrong> {
    let times = |directive: char| seen.chars().filter(|c| *c == directive).count();
    if "YmdHMS".chars().any(|directive| times(directive) > 1) {
        return Err(Wrong::new("a part of the time occurs twice in the format", help));
    }
    if "Ymd".chars().any(|directive| times(directive) == 0) {
        return Err(Wrong::new("the format names no whole date", help));
    }
    if times('S') > times('M') || times('M') > times('H') || times('H') > times('M') {
        return Err(Wrong::new("the format leaves out a part between larger and smaller ones", help));
    }
    Ok(())
}

/// The beginning of a text, so that a fault stays readable whatever it is about.
pub(super) fn cut(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    let dots = if start.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_in_their_own_unit() {
        for (text, months, days) in [
            ("1 day", 0, 1),
            ("14 days", 0, 14),
            ("2 weeks", 0, 14),
            ("1 month", 1, 0),
            ("6 months", 6, 0),
            ("1 year", 12, 0),
            ("10000 years", 120_000, 0),
        ] {
            assert_eq!(period(text), Ok(Period { months, days }), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_refused_with_advice() {
        for text in [
            "",
            " ",
            "30",
            "30m",
            "P6M",
            "PT1M",
            "0 days",
            "-1 days",
            "0.5 days",
            "10001 days",
            "1e9 days",
            "99999999999 days",
            "6  months",
            "6 months ",
            " 6 months",
            "06 months",
            "6 Months",
            "6 minutes",
            "+6 months",
            "six months",
            "６ months",
            "9223372036854775807s",
        ] {
            let wrong = period(text).expect_err(text);
            assert!(!wrong.message.is_empty() && !wrong.help.is_empty(), "{text}");
        }
        assert_eq!(period("6 mnths").map_err(|wrong| wrong.help), Err("did you mean `months`?".to_owned()));
    }

    #[test]
    fn zones_are_areas_with_places() {
        for text in ["UTC", "Asia/Singapore", "America/Sao_Paulo", "Pacific/Apia", "Africa/Casablanca"] {
            assert_eq!(zone(text).map(|zone| zone.name().to_owned()), Ok(text.to_owned()));
        }
        for text in [
            "EST",
            "CST",
            "GMT+8",
            "Etc/GMT+8",
            "Asia/Beijing",
            "",
            "Mars/Olympus",
            "asia/singapore",
            "+08:00",
        ] {
            assert!(zone(text).is_err(), "{text}");
        }
        let wrong = zone("Asia/Singapor").unwrap_err();
        assert_eq!(wrong.help, "did you mean `Asia/Singapore`?");
    }

    #[test]
    fn identifiers_hold_no_sql() {
        for text in ["call_record", "start", "end", "order", "2fa", "größe", &"c".repeat(64)] {
            assert_eq!(identifier(text), Ok(text.to_owned()));
        }
        for text in [
            "",
            "users; DROP TABLE x",
            "a`b",
            "db.tbl.col.x",
            &"c".repeat(65),
            "a b",
            "a\0b",
            "a\"b",
            "a'b",
            "a\nb",
            "1=1 ",
            "\u{a0}a",
        ] {
            assert!(identifier(text).is_err(), "{text}");
        }
        assert_eq!(field("agent.id"), Ok("agent.id".to_owned()));
        assert_eq!(field("@timestamp"), Ok("@timestamp".to_owned()));
        for text in ["agent..id", ".", "agent.", "agent.*"] {
            assert!(field(text).is_err(), "{text}");
        }
    }

    #[test]
    fn formats_are_digits_of_a_fixed_width() {
        for text in [
            "%Y-%m-%d %H:%M:%S",
            "%Y-%m-%dT%H:%M:%S%.f",
            "%F %T",
            "%F",
            "%d.%m.%Y",
            "%Y%m%d%H%M",
            "%Y%m%d%H%M%S",
        ] {
            assert_eq!(time_format(text), Ok(text.to_owned()));
        }
        for text in [
            "",
            "%Y-%m",
            "%s",
            "%d %b %Y",
            "%e/%m/%Y",
            "%Y-%m-%d %S",
            "%Y-%m-%d %H",
            "%Y-%m-%d%.f",
            "%Y-%m-%d %Y",
            "%F %Y",
            "%Y-%m-%d %z",
            "day %Y-%m-%d",
            "%Y-%m-%d %H:%M:%S%.3f",
            "%%Y-%m-%d",
            "%y-%m-%d",
            "%Y-%m-%d %I:%M",
            "%Y-%m-%dZ",
            "%Y-%m-%d 1",
            "%Y-%m-%d%",
            "%T",
        ] {
            assert!(time_format(text).is_err(), "{text}");
        }
    }
}
