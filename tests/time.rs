//! Calendar arithmetic, held to its definition: the sets that queries use are the rule that each record is judged by.

mod calls;
mod oracles;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;
use retentiond::plan::Interval;
use retentiond::plan::due::{
    FAR_PAST, LocalInterval, deadline_at, due_at, due_set, instant_of, lead_deadline, local_intervals,
};
use retentiond::policy::Period;

/// An hour of change, half an hour of change (Lord Howe), a change back for a month (Casablanca), a midnight that is
/// skipped (São Paulo, Beirut), a day that is skipped (Apia), none at all.
pub(crate) const ZONES: [Tz; 11] = [
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::Australia__Lord_Howe,
    Tz::Africa__Casablanca,
    Tz::America__Sao_Paulo,
    Tz::Asia__Beirut,
    Tz::Pacific__Apia,
    Tz::America__St_Johns,
    Tz::Asia__Kathmandu,
    Tz::Asia__Singapore,
    Tz::UTC,
];

const TICK: TimeDelta = TimeDelta::nanoseconds(1);

/// The instants at which a zone's offset changes, from 1995 to 2030, by the other library's account of them.
pub(crate) fn changes(zone: Tz) -> Vec<DateTime<Utc>> {
    let zone = jiff::tz::TimeZone::get(zone.name()).unwrap();
    let from: jiff::Timestamp = "1995-01-01T00:00:00Z".parse().unwrap();
    let to: jiff::Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    zone.following(from)
        .map(|change| change.timestamp())
        .take_while(|instant| *instant < to)
        .map(|instant| DateTime::from_timestamp(instant.as_second(), 0).unwrap())
        .collect()
}

fn any_zone() -> impl Strategy<Value = Tz> {
    prop::sample::select(ZONES.as_slice())
}

fn any_period() -> impl Strategy<Value = Period> {
    let months = prop_oneof![3 => prop::sample::select(vec![0, 1, 2, 6, 12]), 1 => 0_u32..60];
    let days = prop_oneof![3 => prop::sample::select(vec![0, 1, 14, 15, 30]), 1 => 0_u32..800];
    (months, days).prop_map(|(months, days)| Period { months, days })
}

/// A little to one side or the other: ticks, seconds, hours, days.
fn any_nudge() -> impl Strategy<Value = TimeDelta> {
    prop_oneof![
        (-2_i64..=2).prop_map(TimeDelta::nanoseconds),
        (-7_200_i64..=7_200).prop_map(TimeDelta::seconds),
        (-8_i64..=8).prop_map(|quarters| TimeDelta::minutes(15 * quarters)),
        (-350_000_i64..=350_000).prop_map(TimeDelta::seconds),
    ]
}

/// An instant near where something happens: a month's end, a leap day, a clock change of the zone; or anywhere.
fn any_instant(zone: Tz) -> impl Strategy<Value = DateTime<Utc>> {
    let month_end = (1996_i32..2030, 1_u32..=12).prop_map(move |(year, month)| {
        let first = NaiveDate::from_ymd_opt(year, month, 1).unwrap();
        instant_of(first.and_hms_opt(0, 0, 0).unwrap(), zone)
    });
    let leap_day = (499_i32..507).prop_map(move |quarter| {
        let day = NaiveDate::from_ymd_opt(4 * quarter, 2, 29).unwrap();
        instant_of(day.and_hms_opt(12, 0, 0).unwrap(), zone)
    });
    let changes = changes(zone);
    let change = any::<prop::sample::Index>()
        .prop_map(move |index| if changes.is_empty() { DateTime::UNIX_EPOCH } else { *index.get(&changes) });
    let anywhere = (820_000_000_i64..1_900_000_000).prop_map(|at| DateTime::from_timestamp(at, 0).unwrap());
    let apia = Just(DateTime::parse_from_rfc3339("2011-12-31T00:00:00+14:00").unwrap().to_utc());
    let near = prop_oneof![3 => month_end, 1 => leap_day, 4 => change, 1 => anywhere, 1 => apia];
    (near, any_nudge()).prop_map(|(instant, nudge)| instant + nudge)
}

/// A now that is interesting itself or made so by a record that is due just then.
fn any_case() -> impl Strategy<Value = (Tz, Period, DateTime<Utc>)> {
    (any_zone(), any_period()).prop_flat_map(|(zone, period)| {
        let of_an_event = (any_instant(zone), any_nudge())
            .prop_map(move |(event, nudge)| due_at(event, period, zone) + nudge);
        let now = prop_oneof![any_instant(zone), of_an_event];
        (Just(zone), Just(period), now)
    })
}

/// One tick before, on, one tick after.
fn around(instant: DateTime<Utc>) -> [DateTime<Utc>; 3] {
    [instant - TICK, instant, instant + TICK]
}

fn takes(due: &[Interval], event: DateTime<Utc>) -> bool {
    due.iter().any(|span| span.contains(event))
}

fn holds(locals: &[LocalInterval], local: NaiveDateTime) -> bool {
    locals.iter().any(|span| span.from <= local && local < span.to)
}

/// Every point at which the answer could turn, near the naive cutoff: midnights, changes, quarters of hours.
fn suspects(now: DateTime<Utc>, period: Period, zone: Tz) -> Vec<DateTime<Utc>> {
    let cutoff = now
        .date_naive()
        .checked_sub_days(chrono::Days::new(u64::from(period.days)))
        .unwrap()
        .checked_sub_months(chrono::Months::new(period.months))
        .unwrap();
    let mut suspects: Vec<DateTime<Utc>> = (-8_i64..=10)
        .flat_map(|day| {
            let midnight = (cutoff + TimeDelta::days(day)).and_hms_opt(0, 0, 0).unwrap();
            around(instant_of(midnight, zone))
        })
        .collect();
    let cutoff = cutoff.and_time(now.time()).and_utc();
    let near = |change: &DateTime<Utc>| (*change - cutoff).abs() < TimeDelta::days(12);
    suspects.extend(changes(zone).into_iter().filter(near).flat_map(around));
    suspects.extend((-150_i64..=250).map(|half_hour| cutoff + TimeDelta::minutes(30 * half_hour)));
    suspects
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_due_set_is_the_per_record_rule((zone, period, now) in any_case(), far in -400_i64..400) {
        let due = due_set(now, period, zone);
        prop_assert_eq!(due[0].from, FAR_PAST);
        prop_assert!(due.len() < 12, "{} spans", due.len());
        for pair in due.windows(2) {
            prop_assert!(pair[0].to < pair[1].from, "spans touch or are out of order");
        }
        let edges = due.iter().flat_map(|span| [span.from, span.to]).filter(|edge| *edge > FAR_PAST);
        let points = edges.flat_map(around).chain(suspects(now, period, zone));
        for event in points.chain([now, now + TimeDelta::days(far * 40), FAR_PAST]) {
            let is_due = due_at(event, period, zone) <= now;
            prop_assert_eq!(takes(&due, event), is_due, "{} {:?} at {}: {}", zone, period, now, event);
        }
    }

    #[test]
    fn local_intervals_are_the_local_times_that_mean_the_instants(
        (zone, period, now) in any_case(),
        other in any_nudge(),
    ) {
        // The spans that queries carry, a bounded one, and a narrow one at a likely change.
        let bounded = |from: DateTime<Utc>, to: DateTime<Utc>| vec![Interval { from: from.min(to), to: from.max(to) }];
        let cases = [
            due_set(now, period, zone),
            bounded(now - TimeDelta::days(40), now),
            bounded(now, now + other),
            bounded(now, now + TICK),
        ];
        for intervals in cases {
            let locals = local_intervals(&intervals, zone);
            for pair in locals.windows(2) {
                prop_assert!(pair[0].to < pair[1].from, "spans touch or are out of order");
            }
            let ends = intervals.iter().flat_map(|span| [span.from, span.to]).filter(|end| *end > FAR_PAST);
            let shown = ends.flat_map(|end| {
                let shown = zone.from_utc_datetime(&end.naive_utc()).naive_local();
                (-110_i64..=110).map(move |quarter| shown + TimeDelta::minutes(15 * quarter))
            });
            let edges = locals.iter().flat_map(|span| [span.from, span.to]);
            let edges = edges.filter(|edge| *edge > FAR_PAST.naive_utc());
            let edges = edges.flat_map(|edge| [edge - TICK, edge, edge + TICK]);
            for local in edges.chain(shown) {
                let means = instant_of(local, zone);
                let belongs = takes(&intervals, means);
                prop_assert_eq!(holds(&locals, local), belongs, "{} {:?}: {}", zone, &intervals, local);
            }
        }
    }

    #[test]
    fn due_is_never_before_the_deadline_of_the_same_period((zone, period, start) in any_case()) {
        let (due, deadline) = (due_at(start, period, zone), deadline_at(start, period, zone));
        prop_assert!(deadline <= due);
        prop_assert!(due >= start);
        prop_assert!(due - deadline <= TimeDelta::hours(1));
    }

    #[test]
    fn what_enters_a_backup_at_the_lead_is_out_at_the_deadline((zone, rotation, deadline) in any_case()) {
        let lead = lead_deadline(deadline, rotation, zone);
        prop_assert!(lead <= deadline);
        prop_assert!(
            deadline_at(lead, rotation, zone) <= deadline,
            "{} {:?} deadline {} lead {}", zone, rotation, deadline, lead
        );
    }
}

#[test]
fn no_zone_changes_its_offset_twice_within_a_step() {
    // The search for changes goes in steps of an hour. History's closest pair must be wider apart.
    let last: jiff::Timestamp = "2038-01-01T00:00:00Z".parse().unwrap();
    let mut closest: Option<(i64, String)> = None;
    let mut seen = 0;
    for zone in chrono_tz::TZ_VARIANTS {
        let Ok(known) = jiff::tz::TimeZone::get(zone.name()) else { continue };
        let mut before: Option<(i64, i32)> = None;
        for change in known.following(jiff::Timestamp::MIN).take_while(|change| change.timestamp() < last) {
            let (at, offset) = (change.timestamp().as_second(), change.offset().seconds());
            if before.is_some_and(|(_, old)| old == offset) {
                continue;
            }
            if let Some((old, _)) = before {
                let distance = at - old;
                if closest.as_ref().is_none_or(|(least, _)| distance < *least) {
                    closest = Some((distance, format!("{zone} at {}", change.timestamp())));
                }
            }
            before = Some((at, offset));
            seen += 1;
        }
    }
    let (distance, whence) = closest.unwrap();
    assert!(seen > 20_000, "only {seen} changes seen");
    assert!(distance > 86_400, "{distance} s apart: {whence}");
}
