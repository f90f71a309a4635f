//! Conditions on event times: how intervals of instants become SQL over a text or an integer column.
//! It does not read times itself: `stores::event_time` is the one rule, and SQLite asks it through a collation.
//!
//! No expression of SQLite's own agrees with a time zone that changes its clocks. So a stored text is compared by
//! [`COLLATION`], whose comparison reads both sides with `event_time::read_text`. What a query selects and
//! what the rule says therefore cannot differ.

use std::cell::RefCell;
use std::cmp::Ordering;

use chrono::{DateTime, Duration, Offset, TimeZone, Utc};
use chrono_tz::Tz;

use super::catalogue::{Affinity, Column};
use crate::plan::Interval;
use crate::policy::{EpochUnit, EventTime};
use crate::stores::Value;
use crate::stores::event_time;
use crate::stores::event_time::order::{parked_until, sorts_by_date, text_after, text_before};
use crate::stores::sql::Sql;

/// The name under which [`compare`] is known to every connection of ours; never stored in a schema.
pub(super) const COLLATION: &str = "retentiond_instant";

/// Under this collation a plain text equals the empty one, see [`compare_plain`].
pub(super) const PLAIN: &str = "retentiond_plain";

/// How many texts are remembered: that of the row at hand, and the earliest and the latest so far.
const RECENT_MAX: usize = 4;

thread_local! {
    /// The last texts that were read, the most recent first. Each connection compares on a thread of its own.
    static RECENT: RefCell<Vec<(String, Option<DateTime<Utc>>)>> = const { RefCell::new(Vec::new()) };
}

/// An event-time column and how its values are read.
#[derive(Debug, Clone)]
pub(super) enum Clocked {
    /// Text.
    Text {
        /// `t."column"`.
        sql: String,
        /// chrono format.
        format: String,
        /// Zone of values that name none.
        zone: Tz,
    },
    /// A count since the epoch.
    Epoch {
        /// `t."column"`.
        sql: String,
        /// What it counts.
        unit: EpochUnit,
        /// How its column turns what is stored.
        affinity: Affinity,
    },
}

impl Clocked {
    /// Joins a column to what the policy says of it; `None` for sources that a table does not have.
    pub(super) fn new(column: &Column, event: &EventTime) -> Option<Self> {
        match event {
            EventTime::Text { format, time_zone, .. } => {
                Some(Self::Text { sql: column.sql.clone(), format: format.clone(), zone: *time_zone })
            }
            EventTime::Epoch { unit, .. } => {
                Some(Self::Epoch { sql: column.sql.clone(), unit: *unit, affinity: column.affinity })
            }
            EventTime::Key(_) | EventTime::Modified => None,
        }
    }

    /// The same column behind a sign that says nothing but keeps SQLite from going through an index on it.
    pub(super) fn aside(&self) -> Self {
        match self {
            Self::Text { sql, format, zone } => {
                Self::Text { sql: format!("+{sql}"), format: format.clone(), zone: *zone }
            }
            Self::Epoch { sql, unit, affinity } => {
                Self::Epoch { sql: format!("+{sql}"), unit: *unit, affinity: *affinity }
            }
        }
    }

    /// The value is of the right type and shape, lies in the span of usable times and in one of the intervals.
    pub(super) fn inside(&self, intervals: &[Interval], usable: Interval) -> Sql {
        let clipped: Vec<Interval> = intervals
            .iter()
            .map(|interval| Interval { from: interval.from.max(usable.from), to: interval.to.min(usable.to) })
            .filter(|interval| interval.from < interval.to)
            .collect();
        let (Some(from), Some(to)) = (
            clipped.iter().map(|interval| interval.from).min(),
            clipped.iter().map(|interval| interval.to).max(),
        ) else {
            return Sql::never();
        };
        match self {
            Self::Text { sql, format, zone } => {
                text_inside(sql, format, *zone, &clipped, Interval { from, to })
            }
            Self::Epoch { sql, unit, affinity } => {
                epoch_inside(sql, *unit, *affinity, &clipped, Interval { from, to })
            }
        }
    }

    /// Where values lie that may be parked when an age rule has come as far as `until`: conditions of which a row meets
    /// one at most, each with its own range for an index. What is usable among them is not taken out.
    ///
    /// SQLite sorts NULL, then numbers, then texts, then blobs, so the lowest range takes numbers among texts, and the
    /// highest one texts among numbers, and blobs.
    pub(super) fn parked_until(&self, until: DateTime<Utc>, usable: Interval) -> Vec<Sql> {
        let (Self::Text { sql, .. } | Self::Epoch { sql, .. }) = self;
        // Without the hint SQLite takes a range with one end for a quarter of the table and reads all of it.
        let rare = |sign: &str, bound: Value| {
            Sql::new("likelihood(").push(sql).push(sign).bind(bound).push(", 0.000001)")
        };
        let mut ranges = vec![Sql::new(sql).push(" IS NULL")];
        match self {
            Self::Text { format, .. } => {
                for span in parked_until(format, until, usable) {
                    let from = span.from.map(|text| rare(" >= ", Value::Text(text)));
                    let to = span.to.map(|text| rare(" < ", Value::Text(text)));
                    if from.is_none() && to.is_none() {
                        return vec![Sql::always()];
                    }
                    ranges.push(Sql::all(&[from, to].into_iter().flatten().collect::<Vec<_>>()));
                }
            }
            Self::Epoch { unit, .. } => {
                // Zero means no time, whichever side of the range it lies on.
                let low = first_count(until.max(usable.from), *unit).max(1);
                let high = first_count(usable.to, *unit).max(low);
                ranges.extend([rare(" < ", Value::Int(low)), rare(" >= ", Value::Int(high))]);
            }
        }
        ranges
    }

    /// The earliest and the latest of the rows that meet a condition, all of them usable. With `quick`, texts are
    /// compared as texts, and a third column counts those that are plain: only where all are, the two are the earliest
    /// and the latest, see [`Clocked::read_plain`].
    pub(super) fn extremes(&self, condition: &Sql, quick: bool) -> Sql {
        let one = |aggregate: &str, value: &Sql| {
            let sql = Sql::new(aggregate).push("(").append(value).push(") FILTER (WHERE ");
            sql.append(condition).push(")")
        };
        let both = |value: &Sql| one("min", value).push(", ").append(&one("max", value));
        match self {
            Self::Text { sql, format, .. } if quick && format == event_time::DEFAULT_FORMAT => {
                let is_plain = Sql::new(&format!("{sql} COLLATE {PLAIN} = ''"));
                let plain = Sql::all(&[condition.clone(), is_plain]);
                let text = Sql::new(sql).push(" COLLATE BINARY");
                both(&text).push(", count(*) FILTER (WHERE ").append(&plain).push(")")
            }
            Self::Text { sql, format, zone } => both(&context(sql, format, *zone)),
            Self::Epoch { sql, .. } => both(&Sql::new(sql)),
        }
    }

    /// Reads what [`Clocked::extremes`] gave of texts that were read as times.
    pub(super) fn read_extreme(operand: &str) -> Option<DateTime<Utc>> {
        read_operand(operand)
    }

    /// Reads what [`Clocked::extremes`] gave of plain texts; `None` where clocks were changed within two days, so that
    /// they may not sort as the instants do.
    pub(super) fn read_plain(&self, text: &str) -> Option<DateTime<Utc>> {
        let Self::Text { format, zone, .. } = self else { return None };
        let instant = event_time::read_text(text, format, *zone)?;
        let offset = |instant: DateTime<Utc>| zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
        let days = Duration::days(2);
        let (before, after) = (instant.checked_sub_signed(days)?, instant.checked_add_signed(days)?);
        (offset(before) == offset(instant) && offset(instant) == offset(after)).then_some(instant)
    }
}

/// Orders what this module makes: instants, and stored texts with the format and zone to read them by. A text that
/// cannot be read comes before every instant, so that it lies in no interval.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    recall(left).cmp(&recall(right))
}

/// Finds plain texts: `YYYY-MM-DD HH:MM:SS`, of a day and second that exist. They equal the empty text; nothing else does
/// but itself. It says less than `event_time::read_text` and is much quicker.
pub(super) fn compare_plain(left: &str, right: &str) -> Ordering {
    match (left, right) {
        (text, "") | ("", text) if is_plain(text.as_bytes()) => Ordering::Equal,
        _ => left.cmp(right),
    }
}

fn is_plain(text: &[u8]) -> bool {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b' ', h1, h2, b':', n1, n2, b':', s1, s2] = text else {
        return false;
    };
    let two = |tens: &u8, ones: &u8| {
        let is_number = tens.is_ascii_digit() && ones.is_ascii_digit();
        is_number.then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
    };
    let date = (two(y1, y2), two(y3, y4), two(m1, m2), two(d1, d2));
    let time = (two(h1, h2), two(n1, n2), two(s1, s2));
    let ((Some(century), Some(year), Some(month), Some(day)), (Some(hour), Some(minute), Some(second))) =
        (date, time)
    else {
        return false;
    };
    let year = century * 100 + year;
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    };
    year > 0 && (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60
}

/// An instant as an operand: seconds and nanoseconds since the epoch.
fn instant_operand(instant: DateTime<Utc>) -> String {
    format!("i{} {}", instant.timestamp(), instant.timestamp_subsec_nanos())
}

/// What stands before a stored text: all that is needed to read it. The length of the format says where it ends, so
/// that nothing in the stored text can pass for anything else.
fn context(column: &str, format: &str, zone: Tz) -> Sql {
    let before = format!("t{} {} {format}", zone.name(), format.len());
    Sql::new("(").bind_text(before).push(" || ").push(column).push(") COLLATE ").push(COLLATION)
}

fn read_operand(operand: &str) -> Option<DateTime<Utc>> {
    if let Some(instant) = operand.strip_prefix('i') {
        let (seconds, nanoseconds) = instant.split_once(' ')?;
        return DateTime::from_timestamp(seconds.parse().ok()?, nanoseconds.parse().ok()?);
    }
    let (zone, rest) = operand.strip_prefix('t')?.split_once(' ')?;
    let (length, rest) = rest.split_once(' ')?;
    let (format, text) = rest.split_at_checked(length.parse().ok()?)?;
    event_time::read_text(text, format, zone.parse().ok()?)
}

/// As [`read_operand`], reading each text of a row once and not once per comparison.
fn recall(operand: &str) -> Option<DateTime<Utc>> {
    if operand.starts_with('i') {
        return read_operand(operand);
    }
    RECENT.with_borrow_mut(|recent| {
        match recent.iter().position(|(text, _)| text == operand) {
            Some(place) => recent[..=place].rotate_right(1),
            None => {
                recent.truncate(RECENT_MAX - 1);
                recent.insert(0, (operand.to_owned(), read_operand(operand)));
            }
        }
        recent.first().and_then(|(_, instant)| *instant)
    })
}

fn text_inside(column: &str, format: &str, zone: Tz, intervals: &[Interval], hull: Interval) -> Sql {
    let value = context(column, format, zone);
    let exact: Vec<Sql> = intervals
        .iter()
        .map(|interval| {
            Sql::new("")
                .append(&value)
                .push(" >= ")
                .bind_text(instant_operand(interval.from))
                .push(" AND ")
                .append(&value)
                .push(" < ")
                .bind_text(instant_operand(interval.to))
        })
        .collect();
    let exact = Sql::all(&[is_text(column), Sql::any(&exact)]);
    // The bounds first: they are cheap and turn most rows away.
    let mut conditions = if sorts_by_date(format) { coarse(column, hull) } else { Vec::new() };
    conditions.push(match sure(column, format, intervals) {
        // Not `OR`: SQLite would look for an index for each side.
        Some(sure) => {
            Sql::new("CASE WHEN ").append(&sure).push(" THEN TRUE ELSE ").append(&exact).push(" END")
        }
        None => exact,
    });
    Sql::all(&conditions)
}

/// True for texts only: SQLite sorts numbers before them and blobs behind. It says what `typeof` says, but a function in
/// an erasing statement makes SQLite keep a copy of every page that the statement changes, in memory.
pub(super) fn is_text(column: &str) -> Sql {
    Sql::new(&format!("+{column} COLLATE BINARY >= '' AND +{column} COLLATE BINARY < x''"))
}

/// What can be decided without asking our rule about every row: a plain text that lies in an interval wherever its zone
/// is.
fn sure(column: &str, format: &str, intervals: &[Interval]) -> Option<Sql> {
    if format != event_time::DEFAULT_FORMAT {
        return None;
    }
    let ranges: Vec<Sql> = intervals
        .iter()
        .filter_map(|interval| Some((text_after(interval.from)?, text_before(interval.to)?)))
        .filter(|(from, to)| from < to)
        .map(|(from, to)| {
            let sql = Sql::new(column).push(" >= ").bind_text(from);
            sql.push(" AND ").push(column).push(" < ").bind_text(to)
        })
        .collect();
    if ranges.is_empty() {
        return None;
    }
    let is_plain = Sql::new(column).push(" COLLATE ").push(PLAIN).push(" = ''");
    Some(Sql::all(&[Sql::any(&ranges), is_plain]))
}

/// Bounds on the text itself, by date, for an index. They leave out nothing that the exact part would take.
fn coarse(column: &str, hull: Interval) -> Vec<Sql> {
    let (lower, upper) = (text_before(hull.from), text_after(hull.to));
    let bound = |sign: &str, text: String| Sql::new(column).push(sign).bind_text(text);
    [lower.map(|text| bound(" >= ", text)), upper.map(|text| bound(" < ", text))]
        .into_iter()
        .flatten()
        .collect()
}

fn epoch_inside(
    column: &str,
    unit: EpochUnit,
    affinity: Affinity,
    intervals: &[Interval],
    hull: Interval,
) -> Sql {
    let between = |interval: &Interval| {
        Sql::new(column)
            .push(" >= ")
            .bind_int(first_count(interval.from, unit))
            .push(" AND ")
            .push(column)
            .push(" < ")
            .bind_int(first_count(interval.to, unit))
    };
    let mut conditions = vec![
        match affinity {
            // Such a column keeps whole numbers as integers, so what equals its whole part is one. No function, as in
            // `is_text`.
            Affinity::Integer | Affinity::Numeric => {
                Sql::new(&format!("+{column} < '' AND +{column} = CAST({column} AS INTEGER)"))
            }
            Affinity::Text | Affinity::Blob => Sql::new("typeof(").push(column).push(") = 'integer'"),
        },
        Sql::new(column).push(" <> 0"),
        between(&hull),
    ];
    if intervals.len() > 1 {
        conditions.push(Sql::any(&intervals.iter().map(between).collect::<Vec<_>>()));
    }
    Sql::all(&conditions)
}

/// The first count that lies at or after an instant.
fn first_count(instant: DateTime<Utc>, unit: EpochUnit) -> i64 {
    let tick: i128 = match unit {
        EpochUnit::Seconds => 1_000_000_000,
        EpochUnit::Milliseconds => 1_000_000,
    };
    let nanoseconds =
        i128::from(instant.timestamp()) * 1_000_000_000 + i128::from(instant.timestamp_subsec_nanos());
    let count = nanoseconds.div_euclid(tick) + i128::from(nanoseconds.rem_euclid(tick) > 0);
    i64::try_from(count).unwrap_or(if count < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_text_is_one_that_the_rule_reads_wherever_it_is_read() {
        let zones = [Tz::UTC, Tz::Asia__Singapore, Tz::Europe__Berlin];
        for text in
            ["2024-02-29 00:00:00", "2000-02-29 23:59:59", "0001-01-01 00:00:00", "9999-12-31 12:30:59"]
        {
            assert_eq!(compare_plain(text, ""), Ordering::Equal, "{text}");
            assert_eq!(compare_plain("", text), Ordering::Equal, "{text}");
            for zone in zones {
                assert!(event_time::read_text(text, event_time::DEFAULT_FORMAT, zone).is_some(), "{text}");
            }
        }
        for text in [
            "2023-02-29 00:00:00",
            "1900-02-29 00:00:00",
            "2024-04-31 00:00:00",
            "2024-13-01 00:00:00",
            "2024-00-01 00:00:00",
            "2024-01-00 00:00:00",
            "0000-01-01 00:00:00",
            "2024-01-01 24:00:00",
            "2024-01-01 00:60:00",
            "2024-01-01 23:59:60",
            "2024-01-01T00:00:00",
            "2024-01-01 00:00:00 ",
            "2024-01-01 00:00:0",
            "2024-01-01",
            "2024-01-01 00:00:0x",
            "2024-01-01 00:00:0\u{662}",
            " ",
        ] {
            assert_ne!(compare_plain(text, ""), Ordering::Equal, "{text}");
        }
    }
}
