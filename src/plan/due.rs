//! (being built; the signatures stand)
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use chrono_tz::Tz;

use super::Interval;
use crate::policy::Period;

/// The instant from which a record is due: local date plus period, clamped; a skipped local time moves on by the
/// gap; of two, the later.
pub fn due_at(_event: DateTime<Utc>, _period: Period, _zone: Tz) -> DateTime<Utc> {
    unimplemented!()
}
/// The instant by which the last placement is gone: as [`due_at`], but of two local times the earlier.
pub fn deadline_at(_start: DateTime<Utc>, _period: Period, _zone: Tz) -> DateTime<Utc> {
    unimplemented!()
}
/// Exactly the event times `e` with `due_at(e) <= now`, as sorted, disjoint, half-open intervals (nanosecond ticks).
pub fn due_set(_now: DateTime<Utc>, _period: Period, _zone: Tz) -> Vec<Interval> {
    unimplemented!()
}
/// The instant that a local time read from a column means: skipped moves on by the gap, of two the later.
pub fn instant_of(_local: NaiveDateTime, _zone: Tz) -> DateTime<Utc> {
    unimplemented!()
}
/// The last nanosecond of a local day: what a date alone means.
pub fn end_of_day(_date: NaiveDate, _zone: Tz) -> DateTime<Utc> {
    unimplemented!()
}
/// A deadline less a rotation. (being built)
pub fn lead_deadline(_deadline: DateTime<Utc>, _rotation: Period, _zone: Tz) -> DateTime<Utc> { unimplemented!() }
/// A span of local times, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalInterval {
    /// The first local time inside.
    pub from: NaiveDateTime,
    /// The first outside.
    pub to: NaiveDateTime,
}
/// Exactly the local times `l` whose [`instant_of`] lies in one of the intervals, sorted and disjoint.
pub fn local_intervals(_intervals: &[Interval], _zone: Tz) -> Vec<LocalInterval> {
    unimplemented!()
}
