//! The named examples of the calendar trap, and the far ends. The properties are in `tests/time.rs`.

use super::*;

const SIX_MONTHS: Period = Period { months: 6, days: 0 };
const SINGAPORE: Tz = Tz::Asia__Singapore;
const BERLIN: Tz = Tz::Europe__Berlin;

fn utc(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn span(from: &str, to: &str) -> Interval {
    Interval { from: utc(from), to: utc(to) }
}

fn local(text: &str) -> NaiveDateTime {
    text.parse().unwrap()
}

fn local_span(from: &str, to: &str) -> LocalInterval {
    LocalInterval { from: local(from), to: local(to) }
}

#[test]
fn the_far_past_is_the_year_one() {
    assert_eq!(FAR_PAST, utc("0001-01-01T00:00:00Z"));
    assert_eq!(serde_json::to_string(&FAR_PAST).unwrap(), "\"0001-01-01T00:00:00Z\"");
}

#[test]
fn a_day_that_the_target_month_lacks_becomes_its_last() {
    let due = |event: &str, months| due_at(utc(event), Period { months, days: 0 }, SINGAPORE);
    assert_eq!(due("2025-08-31T12:00:00+08:00", 6), utc("2026-02-28T12:00:00+08:00"));
    assert_eq!(due("2023-08-31T12:00:00+08:00", 6), utc("2024-02-29T12:00:00+08:00"));
    assert_eq!(due("2024-02-29T12:00:00+08:00", 12), utc("2025-02-28T12:00:00+08:00"));
    assert_eq!(due("2024-02-29T12:00:00+08:00", 48), utc("2028-02-29T12:00:00+08:00"));
    assert_eq!(due("2025-01-31T12:00:00+08:00", 1), utc("2025-02-28T12:00:00+08:00"));
    // In one step: the 31st is not lost on the way through February.
    assert_eq!(due("2025-01-31T12:00:00+08:00", 2), utc("2025-03-31T12:00:00+08:00"));
    assert_eq!(due("2025-01-31T12:00:00+08:00", 3), utc("2025-04-30T12:00:00+08:00"));
}

#[test]
fn the_day_is_the_zone_s_day() {
    // 31 August in Singapore is still 30 August in UTC.
    let event = utc("2025-08-30T20:00:00Z");
    assert_eq!(due_at(event, SIX_MONTHS, SINGAPORE), utc("2026-02-27T20:00:00Z"));
    assert_eq!(due_at(event, SIX_MONTHS, Tz::UTC), utc("2026-02-28T20:00:00Z"));
}

#[test]
fn months_come_before_days() {
    let period = Period { months: 1, days: 1 };
    assert_eq!(due_at(utc("2025-01-31T00:00:00Z"), period, Tz::UTC), utc("2025-03-01T00:00:00Z"));
}

#[test]
fn of_two_local_times_due_is_the_later_and_the_deadline_the_earlier() {
    let day = Period { months: 0, days: 1 };
    let start = utc("2025-10-25T02:30:00+02:00");
    assert_eq!(due_at(start, day, BERLIN), utc("2025-10-26T02:30:00+01:00"));
    assert_eq!(deadline_at(start, day, BERLIN), utc("2025-10-26T02:30:00+02:00"));
    let skipped = utc("2025-03-29T02:30:00+01:00");
    assert_eq!(due_at(skipped, day, BERLIN), utc("2025-03-30T03:30:00+02:00"));
    assert_eq!(deadline_at(skipped, day, BERLIN), utc("2025-03-30T03:30:00+02:00"));
}

#[test]
fn at_noon_on_the_last_of_february_three_mornings_are_due_and_not_their_afternoons() {
    let due = due_set(utc("2025-02-28T12:00:00+08:00"), SIX_MONTHS, SINGAPORE);
    let tick = "00:00.000000001+08:00";
    assert_eq!(
        due,
        [
            span("0001-01-01T00:00:00Z", &format!("2024-08-28T12:{tick}")),
            span("2024-08-29T00:00:00+08:00", &format!("2024-08-29T12:{tick}")),
            span("2024-08-30T00:00:00+08:00", &format!("2024-08-30T12:{tick}")),
            span("2024-08-31T00:00:00+08:00", &format!("2024-08-31T12:{tick}")),
        ]
    );
}

#[test]
fn just_after_a_skipped_hour_the_half_hour_that_moved_on_is_not_taken() {
    // 02:15–03:00 of 30 September moves on to 03:15–04:00 of 30 March.
    let due = due_set(utc("2025-03-30T03:15:00+02:00"), SIX_MONTHS, BERLIN);
    let takes = |text: &str| due.iter().any(|span| span.contains(utc(text)));
    assert!(takes("2024-09-30T02:15:00+02:00"));
    assert!(!takes("2024-09-30T02:15:00.000000001+02:00"));
    assert!(!takes("2024-09-30T02:59:59.999999999+02:00"));
    assert!(takes("2024-09-30T03:00:00+02:00"));
    assert!(takes("2024-09-30T03:15:00+02:00"));
    assert!(!takes("2024-09-30T03:15:00.000000001+02:00"));
}

#[test]
fn a_repeated_hour_is_due_at_its_second_turn() {
    let day = Period { months: 0, days: 1 };
    let event = utc("2025-10-25T02:30:00+02:00");
    let takes = |now: &str| due_set(utc(now), day, BERLIN).iter().any(|span| span.contains(event));
    assert!(!takes("2025-10-26T02:30:00+02:00"));
    assert!(!takes("2025-10-26T02:29:59.999999999+01:00"));
    assert!(takes("2025-10-26T02:30:00+01:00"));
}

#[test]
fn a_day_that_was_skipped_moves_on_by_a_day() {
    let day = Period { months: 0, days: 1 };
    let apia = Tz::Pacific__Apia;
    let event = utc("2011-12-29T12:00:00-10:00");
    assert_eq!(due_at(event, day, apia), utc("2011-12-31T12:00:00+14:00"));
    let takes = |now: DateTime<Utc>| due_set(now, day, apia).iter().any(|span| span.contains(event));
    assert!(takes(utc("2011-12-31T12:00:00+14:00")));
    assert!(!takes(utc("2011-12-31T11:59:59.999999999+14:00")));
}

#[test]
fn local_times_of_a_zone_without_changes_are_the_instants_moved() {
    let due = [span("2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z")];
    assert_eq!(local_intervals(&due, SINGAPORE), [local_span("2025-01-01T08:00:00", "2025-01-02T08:00:00")]);
    assert_eq!(local_intervals(&[], SINGAPORE), []);
    assert_eq!(local_intervals(&[span("2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z")], SINGAPORE), []);
}

#[test]
fn local_times_at_a_clock_change_are_the_ones_that_mean_the_instants() {
    // Up to 02:30 of the second turn: 02:00–02:30 means the second turn, 02:30–03:00 is not yet there.
    let up_to = |to: &str| local_intervals(&[span("2000-01-01T00:00:00Z", to)], BERLIN);
    let from = "2000-01-01T01:00:00";
    assert_eq!(up_to("2025-10-26T02:30:00+01:00"), [local_span(from, "2025-10-26T02:30:00")]);
    assert_eq!(up_to("2025-10-26T02:30:00+02:00"), [local_span(from, "2025-10-26T02:00:00")]);
    // 02:00–03:00 does not exist and means 03:00–04:00, so both go in together.
    assert_eq!(
        up_to("2025-03-30T03:30:00+02:00"),
        [local_span(from, "2025-03-30T02:30:00"), local_span("2025-03-30T03:00:00", "2025-03-30T03:30:00"),]
    );
}

#[test]
fn an_open_start_stays_plain() {
    let open = Interval { from: FAR_PAST, to: utc("2025-01-01T00:00:00Z") };
    assert_eq!(
        local_intervals(&[open], SINGAPORE),
        [local_span("0001-01-01T00:00:00", "2025-01-01T08:00:00")]
    );
    assert_eq!(
        local_intervals(&[open], Tz::America__New_York),
        [local_span("0001-01-01T00:00:00", "2024-12-31T19:00:00")]
    );
}

#[test]
fn what_enters_a_backup_before_the_lead_has_rotated_out_by_the_deadline() {
    let lead = |deadline: &str, months, days| lead_deadline(utc(deadline), Period { months, days }, BERLIN);
    assert_eq!(lead("2025-08-31T12:00:00+02:00", 0, 14), utc("2025-08-17T12:00:00+02:00"));
    assert_eq!(lead("2025-03-31T12:00:00+02:00", 1, 0), utc("2025-02-28T12:00:00+01:00"));
    // 1 March minus 30 days is 30 January; months first would give 2 January, and from there 4 March.
    assert_eq!(lead("2025-03-01T12:00:00+01:00", 1, 30), utc("2024-12-30T12:00:00+01:00"));
    // Of two the earlier, and back out of a gap.
    assert_eq!(lead("2025-10-27T02:30:00+01:00", 0, 1), utc("2025-10-26T02:30:00+02:00"));
    assert_eq!(lead("2025-03-31T02:30:00+02:00", 0, 1), utc("2025-03-30T01:30:00+01:00"));
}

#[test]
fn nothing_panics_at_the_ends_of_the_calendar() {
    let ends = [DateTime::<Utc>::MIN_UTC, FAR_PAST, DateTime::<Utc>::UNIX_EPOCH, DateTime::<Utc>::MAX_UTC];
    let periods = [0, 1, 6, 120_000, u32::MAX]
        .into_iter()
        .flat_map(|months| [0, 1, 30, u32::MAX].map(|days| Period { months, days }));
    for period in periods {
        for zone in [Tz::UTC, SINGAPORE, Tz::America__New_York, Tz::Pacific__Apia, Tz::Asia__Manila] {
            for instant in ends {
                assert!(due_at(instant, period, zone) >= instant || instant == DateTime::<Utc>::MAX_UTC);
                assert!(lead_deadline(instant, period, zone) <= instant);
                let due = due_set(instant, period, zone);
                assert!(due.iter().all(|span| span.from < span.to && span.from >= FAR_PAST));
                assert!(due.first().is_none_or(|first| first.from == FAR_PAST));
                let locals = local_intervals(&due, zone);
                assert!(locals.iter().all(|span| span.from < span.to));
            }
        }
    }
    let forever = Period { months: u32::MAX, days: 0 };
    assert_eq!(due_at(FAR_PAST, forever, SINGAPORE), DateTime::<Utc>::MAX_UTC);
    assert_eq!(due_set(DateTime::<Utc>::UNIX_EPOCH, forever, SINGAPORE), []);
    assert_eq!(instant_of(NaiveDateTime::MAX, Tz::America__New_York), DateTime::<Utc>::MAX_UTC);
    assert_eq!(end_of_day(NaiveDate::MAX, Tz::America__New_York), DateTime::<Utc>::MAX_UTC);
    assert!(start_of_day(NaiveDate::MIN, SINGAPORE) < FAR_PAST);
}

#[test]
fn a_date_alone_is_its_last_nanosecond() {
    let end = |date: &str, zone| end_of_day(date.parse().unwrap(), zone);
    assert_eq!(end("2025-08-31", SINGAPORE), utc("2025-08-31T23:59:59.999999999+08:00"));
    // The hour before midnight ran twice in São Paulo.
    assert_eq!(end("2018-02-17", Tz::America__Sao_Paulo), utc("2018-02-17T23:59:59.999999999-03:00"));
}
