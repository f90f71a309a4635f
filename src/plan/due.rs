//! Calendar arithmetic: when a record is due, by when the last copy is gone, and the exact set of event times that
//! are due now. It owns every sum of a date and a period; it does not decide what happens to a due record.
//!
//! # Properties
//! - [`due_set`] and [`due_at`] are the same rule: `due_set(now, …)` contains `e` exactly where `due_at(e, …) <= now`,
//!   for every `e` from [`FAR_PAST`] on (guarded by `the_due_set_is_the_per_record_rule` in `tests/time.rs`).
//! - [`local_intervals`] and [`instant_of`] are the same rule in the same way.
//! - Nothing panics at the far ends of the calendar: what cannot be represented is due at the end of time, which is
//!   never early.
//! - It is *not* promised that `due_at` grows with the event time: month ends are clamped, clocks go back.

mod spans;
mod zone;

use chrono::{DateTime, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use chrono_tz::Tz;

use self::spans::{DAY, Nanos, SECOND, Span, merge, subtract};
use self::zone::{Doubt, local_nanos, local_of, nanos, pieces, resolve};
use super::Interval;
use crate::policy::Period;

/// Where an open start begins: the first instant of the year 1, which every store and RFC 3339 can write
/// (`0001-01-01T00:00:00Z`). No usable event time is before it.
pub const FAR_PAST: DateTime<Utc> = match DateTime::from_timestamp(-62_135_596_800, 0) {
    Some(instant) => instant,
    None => DateTime::UNIX_EPOCH,
};

/// A span of local times, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalInterval {
    /// The first local time inside.
    pub from: NaiveDateTime,
    /// The first outside.
    pub to: NaiveDateTime,
}

/// The instant from which a record is due: local date plus period, clamped; a skipped local time moves on by the
/// gap; of two, the later. What lies beyond the calendar is due at its end.
pub fn due_at(event: DateTime<Utc>, period: Period, zone: Tz) -> DateTime<Utc> {
    moved(event, period, zone).map_or(DateTime::<Utc>::MAX_UTC, |doubt| doubt.later)
}

/// The instant by which the last placement is gone: as [`due_at`], but of two local times the earlier.
pub fn deadline_at(start: DateTime<Utc>, period: Period, zone: Tz) -> DateTime<Utc> {
    moved(start, period, zone).map_or(DateTime::<Utc>::MAX_UTC, |doubt| doubt.earlier)
}

/// The deadline for live data whose backups rotate: the deadline minus the rotation.
///
/// Days are taken first, then months, so that the way back (months, then days) never ends after the deadline: what
/// enters the last backup before this instant has rotated out by `deadline`. Of two local times the earlier; a
/// skipped one moves *back* by the gap. Before the calendar begins, its beginning.
pub fn lead_deadline(deadline: DateTime<Utc>, rotation: Period, zone: Tz) -> DateTime<Utc> {
    let lead = || {
        let local = local_of(deadline, zone)?;
        let date = local
            .date()
            .checked_sub_days(Days::new(u64::from(rotation.days)))?
            .checked_sub_months(Months::new(rotation.months))?;
        resolve(date.and_time(local.time()), zone).map(|doubt| doubt.earliest)
    };
    lead().unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// Exactly the event times `e` with `due_at(e) <= now`, as sorted, disjoint, half-open intervals (nanosecond ticks).
/// The first begins at [`FAR_PAST`]; there is none where nothing is due.
///
/// It is exact without sampling: within one offset of the zone and one local day, `due_at` adds a constant to the
/// local time, so the answer there is a shifted copy of "the local times that are not after now". Offsets and days
/// matter in a bracket of a few days only; before it everything is due, after it nothing (see `bracket`).
pub fn due_set(now: DateTime<Utc>, period: Period, zone: Tz) -> Vec<Interval> {
    let Some(bracket) = bracket(now.date_naive(), period) else { return Vec::new() };
    let reached = locals_before(nanos(now) + 1, zone);
    let begin = midnight(bracket.first) - DAY;
    let end = midnight(bracket.last) + 2 * DAY;
    let mut due = vec![Span { from: nanos(FAR_PAST), to: begin }];
    for piece in pieces(begin, end, zone) {
        // The window reaches a day over the bracket on both sides, local time reaches a day over the window.
        for day in days_around(bracket, 2) {
            let Some(target) = plus(day, period) else { continue };
            let shift = piece.offset + midnight(target) - midnight(day);
            let local_day = Span { from: midnight(day), to: midnight(day) + DAY };
            let events = local_day.shifted(-piece.offset).intersection(piece.span);
            due.extend(reached.iter().map(|span| span.shifted(-shift).intersection(events)));
        }
    }
    let usable = Span { from: nanos(FAR_PAST), to: nanos(DateTime::<Utc>::MAX_UTC) };
    merge(due.into_iter().map(|span| span.intersection(usable)).collect())
        .into_iter()
        .map(|span| Interval { from: zone::instant(span.from), to: zone::instant(span.to) })
        .collect()
}

/// The instant that a local time read from a column means: skipped moves on by the gap, of two the later. What lies
/// beyond the calendar is its end.
pub fn instant_of(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    resolve(local, zone).map_or(DateTime::<Utc>::MAX_UTC, |doubt| doubt.later)
}

/// The last nanosecond of a local day: what a date alone means. It is [`instant_of`] its 23:59:59.999999999, so that
/// a store may compare a date as if that time were written behind it.
pub fn end_of_day(date: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let end = date.and_hms_nano_opt(23, 59, 59, 999_999_999).unwrap_or(date.and_time(NaiveTime::MIN));
    instant_of(end, zone)
}

/// The first instant of a local day.
pub fn start_of_day(date: NaiveDate, zone: Tz) -> DateTime<Utc> {
    resolve(date.and_time(NaiveTime::MIN), zone).map_or(DateTime::<Utc>::MIN_UTC, |doubt| doubt.earlier)
}

/// Exactly the local times `l` whose [`instant_of`] lies in one of the intervals, sorted and disjoint.
///
/// An interval that begins at [`FAR_PAST`] begins at the same local reading, `0001-01-01T00:00:00`: an open start
/// stays plain, and no usable event time is near it.
pub fn local_intervals(intervals: &[Interval], zone: Tz) -> Vec<LocalInterval> {
    let mut spans = Vec::new();
    for interval in intervals.iter().filter(|interval| interval.from < interval.to) {
        let upto = locals_before(nanos(interval.to), zone);
        let before = if interval.from <= FAR_PAST {
            vec![Span { from: Span::OPEN, to: nanos(FAR_PAST) }]
        } else {
            locals_before(nanos(interval.from), zone)
        };
        spans.extend(subtract(&upto, &before));
    }
    merge(spans)
        .into_iter()
        .map(|span| LocalInterval { from: zone::local(span.from), to: zone::local(span.to) })
        .collect()
}

/// The local times that an instant reaches by a period, with every doubt kept.
fn moved(start: DateTime<Utc>, period: Period, zone: Tz) -> Option<Doubt> {
    let local = local_of(start, zone)?;
    resolve(plus(local.date(), period)?.and_time(local.time()), zone)
}

/// Months in one step, the last day of the month where it is shorter; then days.
fn plus(date: NaiveDate, period: Period) -> Option<NaiveDate> {
    date.checked_add_months(Months::new(period.months))?.checked_add_days(Days::new(u64::from(period.days)))
}

/// Local days, both inside.
#[derive(Debug, Clone, Copy)]
struct Bracket {
    first: NaiveDate,
    last: NaiveDate,
}

/// The local days on which the answer is not plain, for a UTC date of now; `None` where nothing can be due.
///
/// Proof: a local reading is within 24 hours of its instant, for chrono bounds every offset so. A day that moves to
/// `today - 3` or earlier ends before `today - 2`, so its instants are before `today - 1`: due. A day that moves to
/// `today + 3` or later has instants after `today + 2`: not due. `plus` never goes back from day to day, so the days
/// that move to `today - 2 ..= today + 2` are one run. It is found by walking from the naive cutoff, which is at most
/// three days (a clamped February) off.
fn bracket(today: NaiveDate, period: Period) -> Option<Bracket> {
    let low = today.checked_sub_days(Days::new(2))?;
    let high = today.checked_add_days(Days::new(2)).unwrap_or(NaiveDate::MAX);
    let mut first = today
        .checked_sub_days(Days::new(u64::from(period.days)))?
        .checked_sub_months(Months::new(period.months))?;
    let moves_before = |day: NaiveDate, limit: NaiveDate| plus(day, period).is_some_and(|date| date < limit);
    while !moves_before(first, low) {
        first = first.pred_opt()?;
    }
    while moves_before(first, low) {
        first = first.succ_opt()?;
    }
    let mut last = first;
    while plus(last, period).is_some_and(|date| date <= high) {
        let Some(next) = last.succ_opt() else { break };
        last = next;
    }
    Some(Bracket { first, last })
}

/// The days of a bracket and some more on both sides.
fn days_around(bracket: Bracket, more: u64) -> impl Iterator<Item = NaiveDate> {
    let first = bracket.first.checked_sub_days(Days::new(more)).unwrap_or(NaiveDate::MIN);
    let last = bracket.last.checked_add_days(Days::new(more)).unwrap_or(NaiveDate::MAX);
    first.iter_days().take_while(move |day| *day <= last)
}

fn midnight(date: NaiveDate) -> Nanos {
    local_nanos(date.and_time(NaiveTime::MIN))
}

/// The local times whose [`instant_of`] is before an instant, sorted and disjoint; the first span has an open start.
///
/// A local time more than a day before the instant is inside and one more than a day after it outside, for no offset
/// is a day. Between, the local line is cut wherever an offset begins or ends to show; on each cut the distance
/// between local time and instant is one constant, read off its first point.
fn locals_before(instant: Nanos, zone: Tz) -> Vec<Span> {
    let whole = instant.div_euclid(SECOND) * SECOND;
    let window = Span { from: whole - 2 * DAY, to: whole + 2 * DAY };
    let mut cuts = vec![window.from, window.to];
    for piece in pieces(window.from - DAY, window.to + DAY, zone) {
        let shown = piece.span.shifted(piece.offset);
        cuts.extend([shown.from, shown.to].into_iter().filter(|cut| window.contains(*cut)));
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut before = vec![Span { from: Span::OPEN, to: window.from }];
    for cut in cuts.windows(2) {
        if let [from, to] = *cut {
            let offset = from - nanos(instant_of(zone::local(from), zone));
            before.push(Span { from, to: to.min(instant + offset) });
        }
    }
    merge(before)
}

#[cfg(test)]
mod tests;
