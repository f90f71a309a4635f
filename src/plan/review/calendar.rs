//! The reviewer's own calendar: year, month and day by hand, and every reading of a doubtful local time tried.
//! It owns a yes or no on single instants; the planner's intervals come from elsewhere and are only sampled here.

use chrono::{
    DateTime, Datelike, Days, Duration, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Utc,
};
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

/// The same local time so many days before an instant, on the earliest reading; `None` beyond the calendar.
pub(super) fn days_before(instant: DateTime<Utc>, days: u64, zone: Tz) -> Option<DateTime<Utc>> {
    let offset = instant.with_timezone(&zone).offset().fix().local_minus_utc();
    let local = instant.naive_utc().checked_add_signed(Duration::seconds(i64::from(offset)))?;
    let local = local.date().checked_sub_days(Days::new(days))?.and_time(local.time());
    let around = readings(local, zone).into_iter().chain(skipped_back(local, zone));
    around.min()
}

/// A local time that a clock change skips, read with the offset behind the gap.
fn skipped_back(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    let behind = Utc.from_utc_datetime(&local) + Duration::hours(26);
    let offset = behind.with_timezone(&zone).offset().fix().local_minus_utc();
    let instant = Utc.from_utc_datetime(&(local - Duration::seconds(i64::from(offset))));
    let is_skipped = readings(local, zone).iter().all(|at| at.with_timezone(&zone).naive_local() != local);
    is_skipped.then_some(instant)
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

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, RngSeed};

    use super::*;
    use crate::plan::due::{deadline_at, due_at, due_set, lead_deadline};

    const SINGAPORE: Tz = Tz::Asia__Singapore;
    const SIX_MONTHS: Period = Period { months: 6, days: 0 };
    const TICK: TimeDelta = TimeDelta::nanoseconds(1);

    /// Changes of an hour, of half an hour, for a month, at midnight, of a whole day, and none.
    const ZONES: [Tz; 10] = [
        Tz::Europe__Berlin,
        Tz::America__New_York,
        Tz::Australia__Lord_Howe,
        Tz::Africa__Casablanca,
        Tz::America__Sao_Paulo,
        Tz::Asia__Beirut,
        Tz::Pacific__Apia,
        Tz::America__St_Johns,
        SINGAPORE,
        Tz::UTC,
    ];

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn config() -> Config {
        Config {
            cases: 400,
            rng_algorithm: RngAlgorithm::ChaCha,
            rng_seed: RngSeed::Fixed(3),
            failure_persistence: None,
            ..Config::default()
        }
    }

    fn any_period() -> impl Strategy<Value = Period> {
        let months = prop::sample::select(vec![0_u32, 1, 2, 6, 12, 59]);
        let days = prop::sample::select(vec![0_u32, 1, 14, 15, 30, 400]);
        (months, days).prop_map(|(months, days)| Period { months, days })
    }

    /// Near a clock change of one of the zones, near a month's end, or anywhere; ticks, minutes and days off.
    fn any_instant() -> impl Strategy<Value = DateTime<Utc>> {
        let turns = [
            "2025-03-30T01:00:00Z",
            "2025-10-26T01:00:00Z",
            "2024-11-03T06:00:00Z",
            "2025-03-09T07:00:00Z",
            "2024-04-06T15:00:00Z",
            "2025-02-23T02:00:00Z",
            "2018-11-04T03:00:00Z",
            "2011-12-30T10:00:00Z",
            "2024-02-29T15:59:59Z",
            "2025-02-28T16:00:00Z",
            "2024-08-31T04:00:00Z",
        ];
        let turn = prop::sample::select(turns.map(at).to_vec());
        let months = (turn, -13_i32..=13).prop_map(|(turn, months)| {
            let by = chrono::Months::new(months.unsigned_abs());
            if months < 0 { turn - by } else { turn + by }
        });
        let anywhere =
            (820_000_000_i64..1_900_000_000).prop_map(|at| DateTime::from_timestamp(at, 0).unwrap());
        let nudge = prop_oneof![
            (-1_i64..=1).prop_map(TimeDelta::nanoseconds),
            (-12_i64..=12).prop_map(|quarters| TimeDelta::minutes(15 * quarters)),
            (-90_000_i64..=90_000).prop_map(TimeDelta::seconds),
        ];
        (prop_oneof![3 => months, 1 => anywhere], nudge).prop_map(|(instant, nudge)| instant + nudge)
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn over_is_never_said_before_it_is_due(start in any_instant(), period in any_period()) {
            for zone in ZONES {
                let due = due_at(start, period, zone);
                prop_assert!(!is_over(start, period, zone, due - TICK), "{start} in {zone}");
                // Not even at a clock change is it stricter: both take the later of two readings.
                prop_assert!(is_over(start, period, zone, due), "{start} in {zone}");
            }
        }

        #[test]
        fn deadlines_are_the_same_by_both_calendars(start in any_instant(), period in any_period()) {
            for zone in ZONES {
                prop_assert_eq!(deadline(start, period, zone), Some(deadline_at(start, period, zone)), "{}", zone);
                let last = deadline_at(start, period, zone);
                let lead = lead_deadline(last, Period { months: 0, days: 14 }, zone);
                let forgotten = deadline(lead, Period { months: 0, days: 14 }, zone);
                let three = lead_deadline(last, Period { months: 0, days: 3 }, zone);
                prop_assert_eq!(days_before(last, 3, zone), Some(three), "{} in {}", last, zone);
                prop_assert!(forgotten.is_some_and(|forgotten| forgotten <= last), "{start} in {zone}");
            }
        }

        #[test]
        fn what_the_planner_takes_is_neither_early_nor_short(now in any_instant(), zone in prop::sample::select(ZONES.to_vec())) {
            let mut due = due_set(now, SIX_MONTHS, zone);
            let from = NaiveDate::from_ymd_opt(1990, 1, 1).unwrap();
            prop_assert_eq!(first_early(&due, SIX_MONTHS, zone, now), None);
            prop_assert_eq!(first_forgotten(&due, from, SIX_MONTHS, zone, now), None);
            // A tick makes the difference, on both sides.
            let last = due.len() - 1;
            due[last].to += TICK;
            prop_assert!(first_early(&due, SIX_MONTHS, zone, now).is_some());
            due[last].to -= TICK * 2;
            prop_assert!(first_forgotten(&due, from, SIX_MONTHS, zone, now).is_some());
        }
    }

    #[test]
    fn six_months_after_a_long_month_end_with_the_short_one() {
        for (start, due) in [
            ("2024-08-31T12:00:00+08:00", "2025-02-28T12:00:00+08:00"),
            ("2023-08-31T12:00:00+08:00", "2024-02-29T12:00:00+08:00"),
            ("2024-02-29T12:00:00+08:00", "2024-08-29T12:00:00+08:00"),
            ("2024-08-29T06:00:00+08:00", "2025-02-28T06:00:00+08:00"),
        ] {
            assert!(!is_over(at(start), SIX_MONTHS, SINGAPORE, at(due) - TICK), "{start}");
            assert!(is_over(at(start), SIX_MONTHS, SINGAPORE, at(due)), "{start}");
        }
    }

    #[test]
    fn of_two_readings_over_means_the_later_and_a_deadline_the_earlier() {
        let start = at("2025-04-26T02:30:00+02:00");
        let twice = [at("2025-10-26T02:30:00+02:00"), at("2025-10-26T02:30:00+01:00")];
        assert!(!is_over(start, SIX_MONTHS, Tz::Europe__Berlin, twice[0]));
        assert!(is_over(start, SIX_MONTHS, Tz::Europe__Berlin, twice[1]));
        assert_eq!(deadline(start, SIX_MONTHS, Tz::Europe__Berlin), Some(twice[0]));
    }

    #[test]
    fn beyond_the_calendar_nothing_is_over() {
        let far = Period { months: u32::MAX, days: 0 };
        assert!(!is_over(at("2025-01-01T00:00:00Z"), far, SINGAPORE, DateTime::<Utc>::MAX_UTC));
        assert_eq!(deadline(at("2025-01-01T00:00:00Z"), far, SINGAPORE), None);
        let days = Period { months: 0, days: u32::MAX };
        assert_eq!(deadline(at("2025-01-01T00:00:00Z"), days, SINGAPORE), None);
    }

    #[test]
    fn a_hole_in_the_middle_is_found() {
        let now = at("2025-06-15T12:00:00+08:00");
        let from = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap();
        let [all] = due_set(now, SIX_MONTHS, SINGAPORE)[..] else { panic!("one interval in June") };
        let hole = at("2024-01-01T00:00:00Z");
        let holed = [Interval { to: hole, ..all }, Interval { from: hole + TICK, ..all }];
        assert_eq!(first_early(&holed, SIX_MONTHS, SINGAPORE, now), None);
        assert_eq!(first_forgotten(&holed, from, SIX_MONTHS, SINGAPORE, now), Some(hole));
        let late = [Interval { from: at("2005-01-01T00:00:00Z"), ..all }];
        assert!(first_forgotten(&late, from, SIX_MONTHS, SINGAPORE, now).is_some());
        assert!(
            first_forgotten(&[], from, SIX_MONTHS, SINGAPORE, now).is_some(),
            "nothing at all is too little"
        );
    }
}
