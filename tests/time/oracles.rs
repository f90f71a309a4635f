//! The same answers from libraries that share no code with ours: jiff for periods, croner for schedules.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds};
use proptest::prelude::*;
use retentiond::plan::due::{deadline_at, due_at, instant_of};
use retentiond::policy::Period;
use retentiond::schedule::CronExpr;

use super::{any_instant, any_nudge, any_period, any_zone, changes};

fn jiff_zone(zone: Tz) -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::get(zone.name()).unwrap()
}

fn to_jiff(instant: DateTime<Utc>) -> jiff::Timestamp {
    instant.to_rfc3339().parse().unwrap()
}

fn from_jiff(instant: jiff::Timestamp) -> DateTime<Utc> {
    instant.to_string().parse().unwrap()
}

/// Up to here both libraries' editions of the zone database say the same; of later years one may know a newer law.
fn is_settled(instant: DateTime<Utc>) -> bool {
    instant < DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

/// Where the period leads, as jiff adds it.
fn target(start: DateTime<Utc>, period: Period, zone: &jiff::tz::TimeZone) -> jiff::civil::DateTime {
    let local = zone.to_datetime(to_jiff(start));
    let months = jiff::Span::new().months(i64::from(period.months));
    let days = jiff::Span::new().days(i64::from(period.days));
    local.checked_add(months).unwrap().checked_add(days).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn periods_agree_with_jiff(
        (zone, start) in any_zone().prop_flat_map(|zone| (Just(zone), any_instant(zone))),
        period in any_period(),
    ) {
        let due = due_at(start, period, zone);
        prop_assume!(is_settled(due));
        let known = jiff_zone(zone);
        let reached = known.to_ambiguous_timestamp(target(start, period, &known));
        prop_assert_eq!(due, from_jiff(reached.later().unwrap()));
        prop_assert_eq!(deadline_at(start, period, zone), from_jiff(reached.compatible().unwrap()));
    }

    #[test]
    fn local_times_agree_with_jiff(
        (zone, near) in any_zone().prop_flat_map(|zone| (Just(zone), any_instant(zone))),
        nudge in any_nudge(),
    ) {
        prop_assume!(is_settled(near + nudge + nudge));
        let local: NaiveDateTime = (near + nudge).with_timezone(&zone).naive_local() + nudge;
        let civil: jiff::civil::DateTime = local.format("%Y-%m-%dT%H:%M:%S%.f").to_string().parse().unwrap();
        let means = jiff_zone(zone).to_ambiguous_timestamp(civil).later().unwrap();
        prop_assert_eq!(instant_of(local, zone), from_jiff(means));
    }
}

/// Expressions on which croner's account of fixed and repeating jobs is ours too: hours that begin with a star, or
/// one minute of one hour.
const EXPRESSIONS: [&str; 14] = [
    "30 2 * * *",
    "0 0 * * *",
    "30 1 * * *",
    "0 3 13 * 5",
    "0 4 1,15 * 1-5",
    "15 2 * * 0",
    "15 2 * * 7",
    "0 2 29 2 *",
    "0 12 31 * *",
    "*/30 * * * *",
    "0 * * * *",
    "7-59/13 * * * *",
    "0 */2 * * *",
    "20 40 1 * 3-11 MON-FRI",
];

#[test]
fn schedules_agree_with_croner_step_by_step() {
    let zones = [
        Tz::America__New_York,
        Tz::Australia__Lord_Howe,
        Tz::Europe__Lisbon,
        Tz::America__Sao_Paulo,
        Tz::Asia__Shanghai,
        Tz::Africa__Casablanca,
    ];
    let parser = CronParser::builder().seconds(Seconds::Optional).build();
    let mut steps = 0;
    for zone in zones {
        // From a day before each of some changes, so that every step is near one; and from one plain day.
        let mut starts: Vec<DateTime<Utc>> = changes(zone)
            .into_iter()
            .rev()
            .step_by(7)
            .take(5)
            .map(|change| change - TimeDelta::hours(25))
            .collect();
        starts.push(DateTime::from_timestamp(1_700_000_123, 0).unwrap());
        for expression in EXPRESSIONS {
            let ours = CronExpr::parse(expression).unwrap();
            let theirs = parser.parse(expression).unwrap();
            for start in &starts {
                let mut now = *start;
                let end = *start + TimeDelta::hours(60);
                for _ in 0..200 {
                    let next = ours.next_after(now, zone).unwrap();
                    let expected = theirs.find_next_occurrence(&now.with_timezone(&zone), false).unwrap();
                    assert_eq!(
                        next,
                        expected.to_utc(),
                        "{expression} in {zone} after {}",
                        now.with_timezone(&zone)
                    );
                    assert!(next > now);
                    steps += 1;
                    if next > end {
                        break;
                    }
                    now = next;
                }
            }
        }
    }
    assert!(steps > 3_000, "only {steps} steps");
}
