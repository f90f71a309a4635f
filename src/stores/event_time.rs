//! (being built; the signatures stand) How a stored value becomes an event time: the one rule, shared by all stores.
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::policy::{EpochUnit, Placement};

/// The instant that a text means; `None` where it is unreadable. Default format also reads ISO 8601.
pub fn read_text(_text: &str, _format: &str, _zone: Tz) -> Option<DateTime<Utc>> {
    unimplemented!()
}
/// The instant that a count since the epoch means; `None` for zero and out of range.
pub fn read_epoch(_count: i64, _unit: EpochUnit) -> Option<DateTime<Utc>> {
    unimplemented!()
}
/// The instant in a key such as `ivr/acme/2025/08/31/x.wav`, by a template such as `ivr/{tenant}/%Y/%m/%d/`.
pub fn read_key(_key: &str, _template: &str, _zone: Tz) -> Option<DateTime<Utc>> {
    unimplemented!()
}
/// First and first-too-late instant of usable event times: start of `plausible_from` in the zone, and now plus a day
/// (which is itself still usable, so the bound is a nanosecond later).
pub fn usable_span(_placement: &Placement, _zone: Tz, _now: DateTime<Utc>) -> crate::plan::Interval {
    unimplemented!()
}
