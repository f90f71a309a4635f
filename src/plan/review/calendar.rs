//! The reviewer's own calendar: year, month and day by hand, and every reading of a doubtful local time tried.
//! It owns a yes or no on single instants; the planner's intervals come from elsewhere and are only sampled here.

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

use crate::plan::Interval;
use crate::policy::Period;

/// How far back from the end of the last interval every half hour is looked at: months differ by three days, clock
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
    let last = intervals.iter().map(|interval| interval.to).max()?;
    let from = last - Duration::days(DOUBTFUL_DAYS);
    let edges = intervals.iter().flat_map(|i| [i.to - Duration::nanoseconds(1), i.from.max(from)]);
    let grid = (0..=DOUBTFUL_DAYS * 48).map(|half_hour| from + Duration::minutes(30 * half_hour));
    edges
        .chain(grid)
        .filter(|instant| {
            intervals.iter().any(|interval| interval.from <= *instant && *instant < interval.to)
        })
        .find(|instant| !is_over(*instant, period, zone, at))
}

/// True where the period after `start` is over at `at`, on every reading of the local times involved.
pub(super) fn is_over(start: DateTime<Utc>, period: Period, zone: Tz, at: DateTime<Utc>) -> bool {
    let local = start.with_timezone(&zone).naive_local();
    target(local, period).is_some_and(|target| readings(target, zone).all(|instant| instant <= at))
}

fn target(local: NaiveDateTime, period: Period) -> Option<NaiveDateTime> {
    let months = i64::from(local.year()) * 12 + i64::from(local.month0()) + i64::from(period.months);
    let year = i32::try_from(months.div_euclid(12)).ok()?;
    let month = u32::try_from(months.rem_euclid(12)).ok()? + 1;
    let day = (1..=local.day()).rev().find_map(|day| NaiveDate::from_ymd_opt(year, month, day))?;
    Some(day.and_time(local.time()) + Duration::days(i64::from(period.days)))
}

/// Every instant that shows this local time; where none does, the local time read with the offset before the gap.
fn readings(local: NaiveDateTime, zone: Tz) -> impl Iterator<Item = DateTime<Utc>> {
    let around = [-26, 26].map(|hours| {
        let near = Utc.from_utc_datetime(&local) + Duration::hours(hours);
        near.with_timezone(&zone).offset().fix().local_minus_utc()
    });
    let candidates =
        around.map(|seconds| Utc.from_utc_datetime(&(local - Duration::seconds(i64::from(seconds)))));
    let shown: Vec<DateTime<Utc>> = candidates
        .iter()
        .copied()
        .filter(|instant| instant.with_timezone(&zone).naive_local() == local)
        .collect();
    let skipped = if shown.is_empty() { candidates.first().copied() } else { None };
    shown.into_iter().chain(skipped)
}
