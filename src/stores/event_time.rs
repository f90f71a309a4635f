//! How a stored value becomes an event time: the one rule, which every store's predicates must repeat.
//! It owns what is readable and what it means; it does not fetch values, and it does not say what is due.
//!
//! # Text with the default format, `%Y-%m-%d %H:%M:%S`
//! Every digit is one of `0`–`9`; nothing may stand before or behind; letters are capitals.
//!
//! ```text
//! DATE                            the end of that day in the zone (23:59:59.999999999)
//! DATE SEP TIME                   local time in the zone
//! DATE SEP TIME OFFSET            an instant; the zone is not asked
//!
//! DATE    YYYY-MM-DD              a day that exists, 0001-01-01 to 9999-12-31
//! SEP     one space, or T
//! TIME    HH:MM:SS [. 1–9 digits] 00:00:00 to 23:59:59, and 23:59:60 (a leap second), which is read as
//!                                 00:00:00 of the next day, its fraction kept
//! OFFSET  Z, or +HH:MM or -HH:MM  up to 23:59; -00:00 (offset unknown) is refused
//! ```
//!
//! # Text with another format, and dates in keys
//! Built of `%Y` (four digits), `%m`, `%d`, `%H`, `%M`, `%S` (two digits each) and literal text (`%%` is a percent
//! sign). Year, month and day are all named; the hour may be, the minute only beside the hour, the second only beside
//! the minute; none twice. Widths are exact, so `1/2/2021` is not `%d/%m/%Y`. What is not named is as late as it can
//! be: a date alone is the end of that day, a date with an hour the end of that hour. Years and leap seconds as above.
//!
//! # Which instant
//! A local time is read with [`instant_of`]: skipped moves on by the gap, of two the later.

pub mod order;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::plan::Interval;
use crate::plan::due::{FAR_PAST, instant_of, start_of_day};
use crate::policy::{EpochUnit, Placement};

/// The format that is meant where a policy names none. ISO 8601 is read beside it.
pub const DEFAULT_FORMAT: &str = "%Y-%m-%d %H:%M:%S";

/// The instant that a text means; `None` where it is unreadable. Default format also reads ISO 8601.
pub fn read_text(text: &str, format: &str, zone: Tz) -> Option<DateTime<Utc>> {
    if format == DEFAULT_FORMAT {
        return read_iso(text, zone);
    }
    let shape = Shape::parse(format)?;
    let (reading, rest) = shape.read(text)?;
    // Segments belong to keys; in a text they would let anything through.
    let is_plain = !shape.parts.iter().any(|part| matches!(part, Part::Segment(_)));
    (is_plain && rest.is_empty()).then(|| instant_of(reading, zone))
}

/// The instant that a count since the epoch means; `None` for zero and out of range.
pub fn read_epoch(count: i64, unit: EpochUnit) -> Option<DateTime<Utc>> {
    match (count, unit) {
        (0, EpochUnit::Seconds | EpochUnit::Milliseconds) => None,
        (seconds, EpochUnit::Seconds) => DateTime::from_timestamp(seconds, 0),
        (milliseconds, EpochUnit::Milliseconds) => DateTime::from_timestamp_millis(milliseconds),
    }
}

/// The instant in a key such as `ivr/acme/2025/08/31/x.wav`, by a template such as `ivr/{tenant}/%Y/%m/%d/`.
///
/// The template is matched at the start of the key. `{tenant}`, or any `{name}`, stands for exactly one whole path
/// segment, not empty. Where the template ends in a number, the key must not go on with a digit.
pub fn read_key(key: &str, template: &str, zone: Tz) -> Option<DateTime<Utc>> {
    let shape = Shape::parse(template)?;
    let (reading, rest) = shape.read(key)?;
    let cut_short = matches!(shape.parts.last(), Some(Part::Number(_)))
        && rest.starts_with(|next: char| next.is_ascii_digit());
    (!cut_short).then(|| instant_of(reading, zone))
}

/// First and first-too-late instant of usable event times: start of `plausible_from` in the zone, and now plus a day
/// (which is itself still usable, so the bound is a nanosecond later). Never before [`FAR_PAST`].
pub fn usable_span(placement: &Placement, zone: Tz, now: DateTime<Utc>) -> Interval {
    let from = start_of_day(placement.plausible_from, zone).max(FAR_PAST);
    let after_a_day = TimeDelta::days(1) + TimeDelta::nanoseconds(1);
    Interval { from, to: now.checked_add_signed(after_a_day).unwrap_or(DateTime::<Utc>::MAX_UTC) }
}

/// A format or key template, taken apart. A store that must repeat the rule in its own language walks the parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    parts: Vec<Part>,
}

/// A piece of a [`Shape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// This text, byte by byte.
    Literal(String),
    /// Exactly as many digits as [`Field::width`] says.
    Number(Field),
    /// One whole path segment of a key: the name between the braces.
    Segment(String),
}

/// A number in a [`Shape`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `%Y`, 0001 to 9999.
    Year,
    /// `%m`, 01 to 12.
    Month,
    /// `%d`, 01 to 31.
    Day,
    /// `%H`, 00 to 23.
    Hour,
    /// `%M`, 00 to 59.
    Minute,
    /// `%S`, 00 to 59, and 60 in 23:59:60.
    Second,
}

impl Field {
    /// In digits.
    pub fn width(self) -> usize {
        match self {
            Self::Year => 4,
            Self::Month | Self::Day | Self::Hour | Self::Minute | Self::Second => 2,
        }
    }

    fn of(directive: char) -> Option<Self> {
        match directive {
            'Y' => Some(Self::Year),
            'm' => Some(Self::Month),
            'd' => Some(Self::Day),
            'H' => Some(Self::Hour),
            'M' => Some(Self::Minute),
            'S' => Some(Self::Second),
            _ => None,
        }
    }
}

impl Shape {
    /// Takes a format or template apart; `None` where it is not one that the module's rules allow.
    pub fn parse(format: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = format.chars();
        while let Some(next) = rest.next() {
            let part = match next {
                '%' => match rest.next()? {
                    '%' => {
                        literal.push('%');
                        continue;
                    }
                    directive => Part::Number(Field::of(directive)?),
                },
                '{' => {
                    let (name, behind) = rest.as_str().split_once('}')?;
                    let whole = literal.ends_with('/') || (literal.is_empty() && parts.is_empty());
                    if !whole || !(behind.is_empty() || behind.starts_with('/')) {
                        return None;
                    }
                    rest = behind.chars();
                    Part::Segment(name.to_owned())
                }
                other => {
                    literal.push(other);
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let shape = Self { parts };
        shape.names_a_time().then_some(shape)
    }

    /// What stands one behind the other.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The finest part of the time that is named: [`Field::Day`] for a date alone.
    pub fn finest(&self) -> Field {
        self.fields().max().unwrap_or(Field::Day)
    }

    fn fields(&self) -> impl Iterator<Item = Field> {
        self.parts.iter().filter_map(|part| match part {
            Part::Number(field) => Some(*field),
            Part::Literal(_) | Part::Segment(_) => None,
        })
    }

    /// From the year on, without holes, none twice.
    fn names_a_time(&self) -> bool {
        let mut fields: Vec<Field> = self.fields().collect();
        fields.sort_unstable();
        let all = [Field::Year, Field::Month, Field::Day, Field::Hour, Field::Minute, Field::Second];
        fields.len() >= 3 && all.starts_with(&fields)
    }

    /// The local time at the start of a text, and what stands behind it.
    fn read<'a>(&self, text: &'a str) -> Option<(NaiveDateTime, &'a str)> {
        let mut numbers = Numbers::default();
        let mut rest = text;
        for part in &self.parts {
            match part {
                Part::Literal(literal) => rest = rest.strip_prefix(literal.as_str())?,
                Part::Number(field) => {
                    let (number, behind) = digits(rest, field.width())?;
                    numbers.set(*field, number);
                    rest = behind;
                }
                Part::Segment(_) => {
                    let end = rest.find('/').unwrap_or(rest.len());
                    let (segment, behind) = rest.split_at(end);
                    if segment.is_empty() {
                        return None;
                    }
                    rest = behind;
                }
            }
        }
        Some((numbers.local()?, rest))
    }
}

/// The numbers of a time; what was not named stays as late as it can be.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanosecond: u32,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { year: 0, month: 0, day: 0, hour: 23, minute: 59, second: 59, nanosecond: 999_999_999 }
    }
}

impl Numbers {
    fn set(&mut self, field: Field, number: u32) {
        match field {
            Field::Year => self.year = number,
            Field::Month => self.month = number,
            Field::Day => self.day = number,
            Field::Hour => self.hour = number,
            Field::Minute => self.minute = number,
            Field::Second => {
                self.second = number;
                self.nanosecond = 0;
            }
        }
    }

    fn local(self) -> Option<NaiveDateTime> {
        let year = i32::try_from(self.year).ok().filter(|year| *year > 0)?;
        let date = NaiveDate::from_ymd_opt(year, self.month, self.day)?;
        let is_leap_second = (self.hour, self.minute, self.second) == (23, 59, 60);
        let second = if is_leap_second { 59 } else { self.second };
        let local = date.and_hms_nano_opt(self.hour, self.minute, second, self.nanosecond)?;
        if is_leap_second { local.checked_add_signed(TimeDelta::seconds(1)) } else { Some(local) }
    }
}

/// So many ASCII digits as a number, and what stands behind them.
fn digits(text: &str, width: usize) -> Option<(u32, &str)> {
    let (number, rest) = text.split_at_checked(width)?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    Some((number.parse().ok()?, rest))
}

/// The default format and ISO 8601.
fn read_iso(text: &str, zone: Tz) -> Option<DateTime<Utc>> {
    let mut numbers = Numbers::default();
    let mut rest = text;
    for (field, before) in [(Field::Year, ""), (Field::Month, "-"), (Field::Day, "-")] {
        let (number, behind) = digits(rest.strip_prefix(before)?, field.width())?;
        numbers.set(field, number);
        rest = behind;
    }
    if rest.is_empty() {
        return Some(instant_of(numbers.local()?, zone));
    }
    rest = rest.strip_prefix([' ', 'T'])?;
    for (field, before) in [(Field::Hour, ""), (Field::Minute, ":"), (Field::Second, ":")] {
        let (number, behind) = digits(rest.strip_prefix(before)?, field.width())?;
        numbers.set(field, number);
        rest = behind;
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        let width = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let scale = 10_u32.checked_pow(9_u32.checked_sub(u32::try_from(width).ok()?)?)?;
        let (number, behind) = digits(fraction, width)?;
        numbers.nanosecond = number * scale;
        rest = behind;
    }
    let local = numbers.local()?;
    match offset_seconds(rest)? {
        Some(offset) => Some(local.checked_sub_signed(TimeDelta::seconds(offset))?.and_utc()),
        None => Some(instant_of(local, zone)),
    }
}

/// The offset that is the whole of a text, in seconds east; `Some(None)` for no text, `None` for anything else.
fn offset_seconds(text: &str) -> Option<Option<i64>> {
    match text {
        "" => return Some(None),
        "Z" => return Some(Some(0)),
        "-00:00" => return None,
        _ => {}
    }
    let sign = if text.starts_with('+') { 1 } else { -1 };
    let (hours, rest) = digits(text.strip_prefix(['+', '-'])?, 2)?;
    let (minutes, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let seconds = i64::from(hours) * 3_600 + i64::from(minutes) * 60;
    (rest.is_empty() && hours < 24 && minutes < 60).then_some(Some(sign * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: Tz = Tz::Asia__Singapore;

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn default(text: &str) -> Option<DateTime<Utc>> {
        read_text(text, DEFAULT_FORMAT, ZONE)
    }

    #[test]
    fn the_default_format_reads_iso_beside_it() {
        for (text, means) in [
            ("2025-08-31 12:00:00", "2025-08-31T04:00:00Z"),
            ("2025-08-31T12:00:00", "2025-08-31T04:00:00Z"),
            ("2025-08-31T12:00:00.5", "2025-08-31T04:00:00.5Z"),
            ("2025-08-31T12:00:00.123456789", "2025-08-31T04:00:00.123456789Z"),
            ("2025-08-31T12:00:00Z", "2025-08-31T12:00:00Z"),
            ("2025-08-31 12:00:00.000+00:00", "2025-08-31T12:00:00Z"),
            ("2025-08-31T12:00:00+05:45", "2025-08-31T06:15:00Z"),
            ("2025-08-31T12:00:00-03:30", "2025-08-31T15:30:00Z"),
            ("2025-08-31T12:00:00+23:59", "2025-08-30T12:01:00Z"),
            ("2025-08-31", "2025-08-31T15:59:59.999999999Z"),
            ("2025-12-31T23:59:60Z", "2026-01-01T00:00:00Z"),
            ("2025-12-31 23:59:60.25", "2025-12-31T16:00:00.25Z"),
            ("2024-02-29 00:00:00", "2024-02-28T16:00:00Z"),
            ("9999-12-31T00:00:00Z", "9999-12-31T00:00:00Z"),
        ] {
            assert_eq!(default(text), Some(utc(means)), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_time_is_unreadable() {
        for text in [
            "",
            " ",
            "0",
            "NULL",
            "0000-00-00",
            "0000-00-00 00:00:00",
            "0000-01-01 00:00:00",
            "2025-1-2",
            "02/01/2025",
            "20250102",
            "20250102T030405Z",
            "2025-W01-1",
            "2025-001",
            "2023-02-29",
            "2023-02-29 00:00:00",
            "2025-13-01",
            "2025-04-31",
            " 2025-08-31 12:00:00",
            "2025-08-31 12:00:00 ",
            "2025-08-31\n",
            "2025-08-31  12:00:00",
            "2025-08-31t12:00:00",
            "2025-08-31 12:00",
            "2025-08-31 12:00:00.",
            "2025-08-31 12:00:00,5",
            "2025-08-31 12:00:00.1234567890",
            "2025-08-31 24:00:00",
            "2025-08-31 12:60:00",
            "2025-08-31 12:00:60",
            "2025-08-31 23:59:61",
            "2025-08-31 12:00:00z",
            "2025-08-31 12:00:00+24:00",
            "2025-08-31 12:00:00-00:00",
            "2025-08-31 12:00:00+05:60",
            "2025-08-31 12:00:00+0545",
            "2025-08-31 12:00:00+05",
            "2025-08-31 12:00:00 +05:00",
            "2025-08-31Z",
            "+2025-08-31",
            "-2025-08-31",
            "２０２５-08-31",
            "2025-08-３1",
        ] {
            assert_eq!(default(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_skipped_local_time_moves_on_and_a_repeated_one_is_the_later() {
        let berlin = |text| read_text(text, DEFAULT_FORMAT, Tz::Europe__Berlin);
        assert_eq!(berlin("2025-03-30T02:30:00"), Some(utc("2025-03-30T01:30:00Z")));
        assert_eq!(berlin("2025-10-26T02:30:00"), Some(utc("2025-10-26T01:30:00Z")));
        let apia = |text| read_text(text, DEFAULT_FORMAT, Tz::Pacific__Apia);
        assert_eq!(apia("2011-12-30"), Some(utc("2011-12-31T09:59:59.999999999Z")));
        assert_eq!(apia("2011-12-31"), apia("2011-12-30"));
    }

    #[test]
    fn another_format_reads_its_own_shape_only() {
        let day_first = |text| read_text(text, "%d/%m/%Y", ZONE);
        assert_eq!(day_first("01/02/2021"), Some(utc("2021-02-01T15:59:59.999999999Z")));
        for text in ["1/2/2021", "01/02/21", "01/02/2021 ", "2021-02-01", "31/02/2021", "01/02/20211"] {
            assert_eq!(day_first(text), None, "{text}");
        }
        let with_time = |text| read_text(text, "%d/%m/%Y %H:%M:%S", ZONE);
        assert_eq!(with_time("01/02/2021 09:12:58"), Some(utc("2021-02-01T01:12:58Z")));
        assert_eq!(with_time("01/02/2021 23:59:60"), Some(utc("2021-02-01T16:00:00Z")));
        assert_eq!(with_time("01/02/2021 9:12:58"), None);
        assert_eq!(with_time("01/02/2021"), None);
        let packed = |text| read_text(text, "%Y%m%d%H%M%S", ZONE);
        assert_eq!(packed("20210201091258"), Some(utc("2021-02-01T01:12:58Z")));
        assert_eq!(packed("2021020109125"), None);
        let to_the_minute = |text| read_text(text, "%Y-%m-%d %H:%M", ZONE);
        assert_eq!(to_the_minute("2021-02-01 09:12"), Some(utc("2021-02-01T01:12:59.999999999Z")));
    }

    #[test]
    fn a_format_that_leaves_a_doubt_reads_nothing() {
        for format in [
            "",
            "%",
            "%Y-%m",
            "%m/%d",
            "%Y-%m-%d %d",
            "%Y-%m-%d %M",
            "%Y-%m-%d %H:%S",
            "%y-%m-%d",
            "%G-W%V-%u",
            "%Y-%-m-%d",
            "%Y-%m-%d %I:%M:%S",
            "x{tenant}/%Y/%m/%d/",
            "{tenant}x/%Y/%m/%d/",
            "{tenant/%Y/%m/%d/",
        ] {
            assert_eq!(Shape::parse(format), None, "{format}");
        }
        assert_eq!(Shape::parse("%Y%%%m%d").unwrap().finest(), Field::Day);
        assert_eq!(
            read_text("2021%0201", "%Y%%%m%d", Tz::UTC),
            read_text("2021-02-01", DEFAULT_FORMAT, Tz::UTC)
        );
    }

    #[test]
    fn a_count_is_read_in_its_unit_and_zero_is_none() {
        assert_eq!(read_epoch(0, EpochUnit::Seconds), None);
        assert_eq!(read_epoch(0, EpochUnit::Milliseconds), None);
        assert_eq!(read_epoch(-1, EpochUnit::Seconds), Some(utc("1969-12-31T23:59:59Z")));
        assert_eq!(read_epoch(1, EpochUnit::Milliseconds), Some(utc("1970-01-01T00:00:00.001Z")));
        // No 32-bit wrap: signed at 2038, unsigned at 2106.
        assert_eq!(read_epoch(2_147_483_648, EpochUnit::Seconds), Some(utc("2038-01-19T03:14:08Z")));
        assert_eq!(read_epoch(4_294_967_296, EpochUnit::Seconds), Some(utc("2106-02-07T06:28:16Z")));
        // The wrong unit is far off, so that the usable span parks it.
        assert_eq!(read_epoch(1_700_000_000, EpochUnit::Milliseconds), Some(utc("1970-01-20T16:13:20Z")));
        assert!(read_epoch(1_700_000_000_000, EpochUnit::Seconds).unwrap() > utc("9999-12-31T00:00:00Z"));
        for count in [i64::MIN, i64::MAX] {
            assert_eq!(read_epoch(count, EpochUnit::Seconds), None);
            assert_eq!(read_epoch(count, EpochUnit::Milliseconds), None);
        }
    }

    #[test]
    fn a_key_is_read_at_its_start_segment_by_segment() {
        let template = "ivr/{tenant}/%Y/%m/%d/";
        let end_of_day = Some(utc("2025-08-31T15:59:59.999999999Z"));
        assert_eq!(read_key("ivr/t-1/2025/08/31/x.wav", template, ZONE), end_of_day);
        assert_eq!(read_key("ivr/t-1x/2025/08/31/", template, ZONE), end_of_day);
        for key in [
            "ivr/2025/08/31/x.wav",
            "ivr//2025/08/31/x.wav",
            "ivr/a/b/2025/08/31/x.wav",
            "ivr/t-1/2025/8/31/x.wav",
            "ivr/t-1/2025/08/31",
            "ivr/t-1/2025/02/30/x.wav",
            "/ivr/t-1/2025/08/31/x.wav",
            "IVR/t-1/2025/08/31/x.wav",
            "ivr/t-1/",
            "",
        ] {
            assert_eq!(read_key(key, template, ZONE), None, "{key}");
        }
        let packed = "{tenant}/%Y%m%d";
        assert_eq!(read_key("t-1/20250831/x", packed, ZONE), end_of_day);
        assert_eq!(read_key("t-1/20250831-x", packed, ZONE), end_of_day);
        assert_eq!(read_key("t-1/202508311", packed, ZONE), None);
        let timed = "%Y-%m-%dT%H-%M-%S_{tenant}";
        assert_eq!(read_key("2025-08-31T12-00-00_t-1", timed, ZONE), None, "not a whole segment");
        let timed = "{tenant}/%Y-%m-%dT%H-%M-%S";
        assert_eq!(read_key("t-1/2025-08-31T12-00-00.wav", timed, ZONE), Some(utc("2025-08-31T04:00:00Z")));
        let hourly = "{tenant}/%Y/%m/%d/%H/";
        let end_of_hour = Some(utc("2025-08-31T04:59:59.999999999Z"));
        assert_eq!(read_key("t-1/2025/08/31/12/x", hourly, ZONE), end_of_hour);
    }

    #[test]
    fn usable_is_from_the_plausible_day_to_a_day_from_now() {
        let placement = Placement {
            name: crate::id::PlacementId::new("calls"),
            store: crate::id::StoreId::new("calls"),
            role: crate::policy::Role::Primary,
            records: None,
            tenant: crate::policy::TenantSource::Template,
            event_time: None,
            subjects: std::collections::BTreeMap::new(),
            plausible_from: NaiveDate::from_ymd_opt(2000, 1, 1).unwrap(),
            accept_level: None,
            rotation: None,
        };
        let now = utc("2025-08-31T04:00:00Z");
        let span = usable_span(&placement, ZONE, now);
        assert!(!span.contains(utc("1999-12-31T15:59:59.999999999Z")));
        assert!(span.contains(utc("1999-12-31T16:00:00Z")));
        assert!(span.contains(utc("2025-09-01T04:00:00Z")));
        assert!(!span.contains(utc("2025-09-01T04:00:00.000000001Z")));
        let early = Placement { plausible_from: NaiveDate::MIN, ..placement };
        assert_eq!(usable_span(&early, ZONE, now).from, FAR_PAST);
        assert_eq!(usable_span(&early, ZONE, DateTime::<Utc>::MAX_UTC).to, DateTime::<Utc>::MAX_UTC);
    }
}
