//! The reviewer's own calendar: year, month and day by hand, and every reading of a doubtful local time tried.
//! It owns a yes or no on single instants; the planner's intervals come from elsewhere and are only sampled here.

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

use crate::plan::Interval;
use crate::policy::Period;

/// How far from the end of the last interval every half hour is looked at: months differ by three days, clock
/// changes by one, and nothing reaches further.
const DOUBTFUL_DAYS: i64 = 10;

/// The first event time in the intervals that is not due yet by our own reading; edges and the doubtful days before
/// the end are looked at, one tick inside each edge.
pub(super) fn first_early(
    intervals: &[Interval],
    period: Period,
    zone: Tz,
    at: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    suspects(intervals).find(|instant| is_inside(intervals, *instant) && !is_over(*instant, period, zone, at))
}

/// The first plausible event time outside the intervals that is due by our own reading: its record would be forgotten.
pub(super) fn first_forgotten(
    intervals: &[Interval],
    plausible_from: NaiveDate,
    period: Period,
    zone: Tz,
    at: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    // A day after that date begins somewhere it has begun everywhere.
    let first = plausible_from.and_time(NaiveTime::MIN).and_utc() + Duration::days(1);
    suspects(intervals)
        .chain([first])
        .filter(|instant| first <= *instant)
        .find(|instant| !is_inside(intervals, *instant) && is_over(*instant, period, zone, at))
}

fn is_inside(intervals: &[Interval], instant: DateTime<Utc>) -> bool {
    intervals.iter().any(|interval| interval.from <= instant && instant < interval.to)
}

/// Both sides of every edge, and every half hour of the doubtful days around the last one.
fn suspects(intervals: &[Interval]) -> impl Iterator<Item = DateTime<Utc>> {
    let tick = Duration::nanoseconds(1);
    let edges = intervals.iter().flat_map(move |i| [i.from - tick, i.from, i.to - tick, i.to]);
    let last = intervals.iter().map(|interval| interval.to).max();
    let grid = last.into_iter().flat_map(|last| {
        (-DOUBTFUL_DAYS * 48..=DOUBTFUL_DAYS * 48)
            .map(move |half_hour| last + Duration::minutes(30 * half_hour))
    });
    edges.chain(grid)
}

/// True where the period after `start` is over at `at`, on every reading of the local times involved.
pub(super) fn is_over(start: DateTime<Utc>, period: Period, zone: Tz, at: DateTime<Utc>) -> bool {
    reached(start, period, zone).is_some_and(|readings| readings.into_iter().all(|instant| instant <= at))
}

/// The end of the period after `start`, on the earliest reading; `None` beyond the calendar.
pub(super) fn deadline(start: DateTime<Utc>, period: Period, zone: Tz) -> Option<DateTime<Utc>> {
    reached(start, period, zone)?.into_iter().min()
}

fn reached(start: DateTime<Utc>, period: Period, zone: Tz) -> Option<Vec<DateTime<Utc>>> {
    let offset = start.with_timezone(&zone).offset().fix().local_minus_utc();
    let local = start.naive_utc().checked_add_signed(Duration::seconds(i64::from(offset)))?;
    Some(readings(target(local, period)?, zone))
}

fn target(local: NaiveDateTime, period: Period) -> Option<NaiveDateTime> {
    let months = i64::from(local.year()) * 12 + i64::from(local.month0()) + i64::from(period.months);
    let year = i32::try_from(months.div_euclid(12)).ok()?;
    let month = u32::try_from(months.rem_euclid(12)).ok()? + 1;
    let day = (1..=local.day()).rev().find_map(|day| NaiveDate::from_ymd_opt(year, month, day))?;
    day.and_time(local.time()).checked_add_signed(Duration::days(i64::from(period.days)))
}

/// Every instant that shows this local time; where none does, the local time read with the offset before the gap.
fn readings(local: NaiveDateTime, zone: Tz) -> Vec<DateTime<Utc>> {
    let shown_at = |instant: DateTime<Utc>| instant.with_timezone(&zone).offset().fix().local_minus_utc();
    let around = [-26, 26].map(|hours| shown_at(Utc.from_utc_datetime(&local) + Duration::hours(hours)));
    let candidates =
        around.map(|seconds| Utc.from_utc_datetime(&(local - Duration::seconds(i64::from(seconds)))));
    let mut shown: Vec<DateTime<Utc>> = candidates
        .into_iter()
        .filter(|instant| instant.with_timezone(&zone).naive_local() == local)
        .collect();
    if shown.is_empty() {
        shown.extend(candidates.first());
    }
    shown
}
