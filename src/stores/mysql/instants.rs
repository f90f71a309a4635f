//! Conditions on event times: how intervals of instants become bounds on a column. It owns columns of the server's own
//! types and counts since the epoch; texts are `texts`' business. What a value means is said by `stores::event_time`.
//!
//! A wall clock's reading is compared with exactly the local times that mean the instants
//! ([`local_intervals`]): two readings of a repeated hour, a skipped one and the ends of months are in them already.

use chrono::{DateTime, Duration, NaiveDateTime, Timelike, Utc};
use chrono_tz::Tz;
use sqlx::mysql::MySqlRow;

use super::catalogue::{Column, Kind};
use super::texts::{DATE, TextClock};
use super::trouble::Trouble;
use crate::plan::Interval;
use crate::plan::due::{FAR_PAST, LocalInterval, end_of_day, instant_of, local_intervals};
use crate::policy::{EpochUnit, EventTime};
use crate::stores::StoreError;
use crate::stores::event_time;
use crate::stores::sql::Sql;

/// An event-time column and how its values are read.
#[derive(Debug, Clone)]
pub(super) enum Clocked {
    /// A wall clock's reading, or a day, in a zone.
    Wall {
        /// The column.
        sql: String,
        /// The zone of the clock.
        zone: Tz,
        /// A day stands for its end.
        is_day: bool,
    },
    /// An instant; the session's zone is UTC.
    Instant {
        /// The column.
        sql: String,
    },
    /// Text.
    Text(TextClock),
    /// A count since the epoch.
    Epoch {
        /// The column.
        sql: String,
        /// What it counts.
        unit: EpochUnit,
    },
    /// A column of another type than the policy says: no value of it is usable.
    Unfit,
}

impl Clocked {
    /// Joins a column to what the policy says of it.
    pub(super) fn new(column: &Column, event: &EventTime) -> Self {
        let sql = column.sql.clone();
        match (event, &column.kind) {
            (EventTime::Text { time_zone, .. }, Kind::DateTime) => {
                Self::Wall { sql, zone: *time_zone, is_day: false }
            }
            (EventTime::Text { time_zone, .. }, Kind::Date) => {
                Self::Wall { sql, zone: *time_zone, is_day: true }
            }
            (EventTime::Text { .. }, Kind::Timestamp) => Self::Instant { sql },
            (EventTime::Text { format, time_zone, .. }, Kind::Text { .. } | Kind::Bytes) => {
                TextClock::new(column, format, *time_zone).map_or(Self::Unfit, Self::Text)
            }
            (EventTime::Epoch { unit, .. }, Kind::Int { .. }) => Self::Epoch { sql, unit: *unit },
            (
                EventTime::Text { .. } | EventTime::Epoch { .. } | EventTime::Key(_) | EventTime::Modified,
                _,
            ) => Self::Unfit,
        }
    }

    /// The value can be read, lies in the span of usable times and in one of the intervals.
    pub(super) fn inside(&self, intervals: &[Interval], usable: Interval) -> Sql {
        let clipped: Vec<Interval> = intervals
            .iter()
            .map(|interval| Interval { from: interval.from.max(usable.from), to: interval.to.min(usable.to) })
            .filter(|interval| interval.from < interval.to)
            .collect();
        if clipped.is_empty() {
            return Sql::never();
        }
        match self {
            Self::Wall { sql, zone, is_day } => {
                let ranges: Vec<Sql> = local_intervals(&clipped, *zone)
                    .iter()
                    .map(|local| wall_between(sql, *local, *is_day))
                    .collect();
                Sql::all(&[Sql::any(&ranges), is_a_day(sql)])
            }
            Self::Instant { sql } => {
                let between = |interval: &Interval| {
                    let from = interval.from.max(FIRST_TIMESTAMP);
                    let local = LocalInterval { from: from.naive_utc(), to: interval.to.naive_utc() };
                    wall_between(sql, local, false)
                };
                Sql::any(&clipped.iter().map(between).collect::<Vec<_>>())
            }
            Self::Text(text) => text.inside(&clipped),
            Self::Epoch { sql, unit } => {
                let between = |interval: &Interval| {
                    Sql::new(sql)
                        .push(" >= ")
                        .bind_int(first_count(interval.from, *unit))
                        .push(&format!(" AND {sql} < "))
                        .bind_int(first_count(interval.to, *unit))
                };
                let ranges = Sql::any(&clipped.iter().map(between).collect::<Vec<_>>());
                Sql::all(&[ranges, Sql::new(sql).push(" <> 0")])
            }
            Self::Unfit => Sql::never(),
        }
    }

    /// Where values lie that may be parked when an age rule has come as far as `until`. What is usable among them is
    /// not taken out.
    pub(super) fn parked_until(&self, until: DateTime<Utc>, usable: Interval) -> Sql {
        let low = until.max(usable.from);
        let outside = |sql: &str, low: Sql, high: Sql| {
            Sql::any(&[
                Sql::new(sql).push(" IS NULL"),
                Sql::new(sql).push(" < ").append(&low),
                Sql::new(sql).push(" >= ").append(&high),
            ])
        };
        match self {
            Self::Wall { sql, zone, is_day } => {
                let last = |to: DateTime<Utc>| {
                    let from = FAR_PAST;
                    local_intervals(&[Interval { from, to }], *zone)
                        .last()
                        .map_or(to.naive_utc(), |span| span.to)
                };
                let bound = |local: NaiveDateTime| {
                    wall_bound(if *is_day { local.date().and_time(chrono::NaiveTime::MIN) } else { local })
                };
                outside(sql, bound(last(low)), bound(last(usable.to)))
            }
            Self::Instant { sql } => outside(
                sql,
                wall_bound(low.max(FIRST_TIMESTAMP).naive_utc()),
                wall_bound(usable.to.naive_utc()),
            ),
            Self::Text(text) => text.parked_until(until, usable),
            Self::Epoch { sql, unit } => {
                // Zero means no time, whichever side of the range it lies on.
                let low = first_count(low, *unit).max(1);
                let high = first_count(usable.to, *unit).max(low);
                outside(sql, Sql::new("").bind_int(low), Sql::new("").bind_int(high))
            }
            Self::Unfit => Sql::always(),
        }
    }

    /// The earliest and the latest of the rows that meet a condition, all of them usable: pairs of columns.
    pub(super) fn extremes(&self, condition: &Sql) -> Sql {
        let both = |value: &str, condition: &Sql| {
            let one = |name: &str| {
                Sql::new(&format!("CAST({name}(CASE WHEN "))
                    .append(condition)
                    .push(&format!(" THEN {value} END) AS CHAR)"))
            };
            one("MIN").push(", ").append(&one("MAX"))
        };
        match self {
            Self::Wall { sql, .. } | Self::Instant { sql } | Self::Epoch { sql, .. } => both(sql, condition),
            Self::Text(text) => text.extremes(condition, both),
            Self::Unfit => Sql::new("NULL, NULL"),
        }
    }

    /// Reads what [`Clocked::extremes`] gave, from the column at `index` on: instants, the ends of them among them.
    pub(super) fn read_extremes(
        &self,
        row: &MySqlRow,
        index: usize,
        trouble: Trouble<'_>,
    ) -> Result<Vec<DateTime<Utc>>, StoreError> {
        let pairs = match self {
            Self::Text(text) if text.has_zoned() => 2,
            Self::Wall { .. } | Self::Instant { .. } | Self::Epoch { .. } | Self::Text(_) | Self::Unfit => 1,
        };
        let mut found = Vec::new();
        for place in 0..2 * pairs {
            let shown = trouble.text(row, index + place)?;
            let read = match self {
                Self::Text(text) if place < 2 => local(&shown).map(|local| instant_of(local, text.zone())),
                Self::Text(_) => local(&shown).map(|local| local.and_utc()),
                Self::Wall { .. } | Self::Instant { .. } | Self::Epoch { .. } | Self::Unfit => {
                    self.read(&shown)
                }
            };
            found.extend(read);
        }
        Ok(found)
    }

    /// The instant that a stored value means, from how the server shows it as text; `None` where it is unreadable.
    pub(super) fn read(&self, shown: &str) -> Option<DateTime<Utc>> {
        match self {
            Self::Wall { zone, is_day: false, .. } => Some(instant_of(local(shown)?, *zone)),
            Self::Wall { zone, is_day: true, .. } => Some(end_of_day(shown.parse().ok()?, *zone)),
            Self::Instant { .. } => Some(local(shown)?.and_utc()),
            Self::Text(text) => text.read(shown),
            Self::Epoch { unit, .. } => event_time::read_epoch(shown.parse().ok()?, *unit),
            Self::Unfit => None,
        }
    }
}

/// The first instant that a TIMESTAMP can hold; below it stands only the zero date.
const FIRST_TIMESTAMP: DateTime<Utc> = match DateTime::from_timestamp(1, 0) {
    Some(instant) => instant,
    None => DateTime::UNIX_EPOCH,
};

fn local(shown: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(shown, "%Y-%m-%d %H:%M:%S%.f").ok()
}

/// Readings from one to before another. The end of a day lies in it exactly where the day does.
fn wall_between(sql: &str, local: LocalInterval, is_day: bool) -> Sql {
    let bound = |local: NaiveDateTime| {
        if is_day { wall_bound(local.date().and_time(chrono::NaiveTime::MIN)) } else { wall_bound(local) }
    };
    Sql::new(sql)
        .push(" >= ")
        .append(&bound(local.from))
        .push(&format!(" AND {sql} < "))
        .append(&bound(local.to))
}

/// The first reading with six digits of a fraction that is not before this one: no column holds finer ones.
fn wall_bound(local: NaiveDateTime) -> Sql {
    let below = i64::from(local.nanosecond() % 1_000);
    let up = if below > 0 { Duration::nanoseconds(1_000 - below) } else { Duration::zero() };
    let bound = local.checked_add_signed(up).unwrap_or(local);
    let text = bound.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    // A year beyond four digits is later than every column can hold.
    let text = if text.len() == 26 { text } else { "9999-12-31 23:59:59.999999".to_owned() };
    Sql::new("CAST(").bind_text(text).push(" AS DATETIME(6))")
}

/// A day that exists: servers can be told to store the 30th of February, and months and days of zero.
fn is_a_day(sql: &str) -> Sql {
    Sql::new(&format!(
        "CASE WHEN DAYOFMONTH({sql}) BETWEEN 1 AND 28 THEN MONTH({sql}) > 0 \
         ELSE LEFT(CAST({sql} AS CHAR), 10) REGEXP "
    ))
    .bind_text(format!("^{DATE}$"))
    .push(" END")
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

    fn wall(zone: Tz) -> Clocked {
        Clocked::Wall { sql: "c".into(), zone, is_day: false }
    }

    #[test]
    fn a_reading_means_what_the_one_rule_says() {
        let utc = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let berlin = wall(Tz::Europe__Berlin);
        assert_eq!(berlin.read("2025-10-26 02:30:00"), Some(utc("2025-10-26T01:30:00Z")), "of two the later");
        assert_eq!(berlin.read("2025-03-30 02:30:00.000001"), Some(utc("2025-03-30T01:30:00.000001Z")));
        for unreadable in ["0000-00-00 00:00:00", "2023-02-30 12:00:00", "2023-00-00 00:00:00", ""] {
            assert_eq!(berlin.read(unreadable), None, "{unreadable}");
        }
        let day = Clocked::Wall { sql: "c".into(), zone: Tz::Asia__Singapore, is_day: true };
        assert_eq!(day.read("2025-08-31"), Some(utc("2025-08-31T15:59:59.999999999Z")));
    }

    #[test]
    fn a_bound_is_the_first_reading_that_a_column_can_hold() {
        let bound = |text: &str| wall_bound(text.parse().unwrap());
        let expected = |text: &str| Sql::new("CAST(").bind_text(text).push(" AS DATETIME(6))");
        assert_eq!(bound("2025-01-01T00:00:00"), expected("2025-01-01 00:00:00.000000"));
        assert_eq!(bound("2025-01-01T00:00:00.000000001"), expected("2025-01-01 00:00:00.000001"));
        assert_eq!(bound("2025-12-31T23:59:59.999999999"), expected("2026-01-01 00:00:00.000000"));
    }
}
