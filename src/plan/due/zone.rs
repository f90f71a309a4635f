//! What a zone's clock shows at an instant, and which instants a reading of it may mean. It owns the conversions and
//! the list of offsets in a window; it adds no periods.

use chrono::{DateTime, Datelike, LocalResult, NaiveDateTime, Offset, TimeZone, Timelike, Utc};
use chrono_tz::{GapInfo, Tz};

use super::spans::{Nanos, SECOND, Span};

/// The step in which a window is searched for clock changes. A change that is undone within one step would be
/// missed; no zone has two changes of its offset within a day (guarded by
/// `no_zone_changes_its_offset_twice_within_a_step` in `tests/time.rs`).
const STEP: Nanos = 3_600 * SECOND;

/// Which instants a local time may mean. All are equal except at a clock change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doubt {
    /// Of two, the first; a skipped time moved on by the gap.
    pub(super) earlier: DateTime<Utc>,
    /// Of two, the second; a skipped time moved on by the gap.
    pub(super) later: DateTime<Utc>,
    /// Of two, the first; a skipped time moved back by the gap.
    pub(super) earliest: DateTime<Utc>,
}

/// A stretch of time with one offset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Instants.
    pub(super) span: Span,
    /// What the clock shows minus the instant.
    pub(super) offset: Nanos,
}

/// The instants that a local time may mean; `None` beyond the calendar.
pub(super) fn resolve(local: NaiveDateTime, zone: Tz) -> Option<Doubt> {
    // A leap second is read as the nanosecond before the next second, where chrono sorts it.
    let local = if local.nanosecond() > 999_999_999 { local.with_nanosecond(999_999_999)? } else { local };
    match zone.from_local_datetime(&local) {
        LocalResult::Single(instant) => {
            let instant = instant.to_utc();
            Some(Doubt { earlier: instant, later: instant, earliest: instant })
        }
        LocalResult::Ambiguous(one, other) => {
            let (earlier, later) = (one.min(other).to_utc(), one.max(other).to_utc());
            Some(Doubt { earlier, later, earliest: earlier })
        }
        LocalResult::None => {
            let gap = GapInfo::new(&local, &zone)?;
            let (_, before) = gap.begin?;
            let moved_on = local.checked_sub_offset(before.fix())?.and_utc();
            let moved_back = gap.end.and_then(|end| local.checked_sub_offset(end.offset().fix()));
            let earliest = moved_back.map_or(moved_on, |moved| moved.and_utc());
            Some(Doubt { earlier: moved_on, later: moved_on, earliest })
        }
    }
}

/// What the clock shows at an instant; `None` beyond the calendar.
pub(super) fn local_of(instant: DateTime<Utc>, zone: Tz) -> Option<NaiveDateTime> {
    let utc = instant.naive_utc();
    let local = utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix())?;
    // chrono's arithmetic reaches a day beyond its own limits of display; those are beyond ours.
    (local.year() > NaiveDateTime::MIN.year() && local.year() < NaiveDateTime::MAX.year()).then_some(local)
}

/// The stretches of one offset that make up a window of instants (whole seconds), in order, without holes.
pub(super) fn pieces(from: Nanos, to: Nanos, zone: Tz) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut open = Piece { span: Span { from, to }, offset: offset_at(from, zone) };
    let mut known = from;
    while known < to {
        let next = (known + STEP).min(to);
        let offset = offset_at(next, zone);
        if offset != open.offset {
            let change = first_with_another_offset(known, next, open.offset, zone);
            found.push(Piece { span: Span { from: open.span.from, to: change }, offset: open.offset });
            open = Piece { span: Span { from: change, to }, offset };
        }
        known = next;
    }
    found.push(open);
    found
}

/// The instant of the change between one that has the offset and one that has not, to the second.
fn first_with_another_offset(mut with: Nanos, mut without: Nanos, offset: Nanos, zone: Tz) -> Nanos {
    while without - with > SECOND {
        let middle = with + (without - with) / (2 * SECOND) * SECOND;
        if offset_at(middle, zone) == offset { with = middle } else { without = middle }
    }
    without
}

fn offset_at(instant_nanos: Nanos, zone: Tz) -> Nanos {
    let utc = instant(instant_nanos).naive_utc();
    Nanos::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * SECOND
}

/// Nanoseconds since the epoch.
pub(super) fn nanos(instant: DateTime<Utc>) -> Nanos {
    let below_a_second = Nanos::from(instant.timestamp_subsec_nanos()).min(SECOND - 1);
    Nanos::from(instant.timestamp()) * SECOND + below_a_second
}

/// Nanoseconds between a local reading and the same reading of the epoch.
pub(super) fn local_nanos(local: NaiveDateTime) -> Nanos {
    nanos(local.and_utc())
}

/// Back to an instant, held inside the calendar.
pub(super) fn instant(nanos: Nanos) -> DateTime<Utc> {
    let bound = if nanos < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    let seconds = i64::try_from(nanos.div_euclid(SECOND)).ok();
    let below_a_second = u32::try_from(nanos.rem_euclid(SECOND)).ok();
    seconds
        .zip(below_a_second)
        .and_then(|(seconds, below)| DateTime::from_timestamp(seconds, below))
        .unwrap_or(bound)
}

/// Back to a local reading, held inside the calendar.
pub(super) fn local(nanos: Nanos) -> NaiveDateTime {
    instant(nanos).naive_utc()
}
