//! The real calls, counted three ways: by the set, by the rule for each record, and by plain numbers on the file's
//! own fields, which shares no code with either.

use std::collections::BTreeSet;

use chrono::{DateTime, Months, Utc};
use chrono_tz::Tz;
use retentiond::plan::due::{due_at, due_set};
use retentiond::policy::Period;
use retentiond::stores::event_time::read_text;

use crate::harness::{Call, calls_csv};

const SIX_MONTHS: Period = Period { months: 6, days: 0 };
const SINGAPORE: Tz = Tz::Asia__Singapore;

fn event_time(call: &Call) -> DateTime<Utc> {
    let text = format!("{} {}", call.date, call.time);
    read_text(&text, "%d/%m/%Y %H:%M:%S", SINGAPORE).unwrap()
}

fn by_set(events: &[DateTime<Utc>], now: DateTime<Utc>) -> usize {
    let due = due_set(now, SIX_MONTHS, SINGAPORE);
    events.iter().filter(|event| due.iter().any(|span| span.contains(**event))).count()
}

fn by_record(events: &[DateTime<Utc>], now: DateTime<Utc>) -> usize {
    events.iter().filter(|event| due_at(**event, SIX_MONTHS, SINGAPORE) <= now).count()
}

fn number(text: &str) -> u32 {
    text.parse().unwrap()
}

fn by_numbers(calls: &[Call], year: u32, month: u32, day: u32, time: &str) -> usize {
    let last_day = |year: u32, month: u32| match month {
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let is_due = |call: &&Call| {
        let fields: Vec<u32> = call.date.split('/').map(number).collect();
        let months = fields[2] * 12 + (fields[1] - 1) + 6;
        let (due_year, due_month) = (months / 12, months % 12 + 1);
        let due_day = fields[0].min(last_day(due_year, due_month));
        (due_year, due_month, due_day, call.time.as_str()) <= (year, month, day, time)
    };
    calls.iter().filter(is_due).count()
}

#[test]
fn the_real_calls_are_counted_alike_three_ways() {
    let calls = calls_csv();
    let events: Vec<DateTime<Utc>> = calls.iter().map(event_time).collect();
    let mut counts = Vec::new();
    let days = [
        (6, 30),
        (7, 1),
        (7, 31),
        (8, 1),
        (8, 28),
        (8, 29),
        (8, 31),
        (9, 28),
        (9, 29),
        (9, 30),
        (10, 1),
        (10, 31),
    ];
    for (month, day) in days {
        for time in ["00:00:00", "09:12:58", "12:00:00", "17:39:50", "23:59:59"] {
            let now =
                DateTime::parse_from_rfc3339(&format!("2021-{month:02}-{day:02}T{time}+08:00")).unwrap();
            let set = by_set(&events, now.to_utc());
            assert_eq!(set, by_record(&events, now.to_utc()), "{now}");
            assert_eq!(set, by_numbers(&calls, 2021, month, day, time), "{now}");
            counts.push(set);
        }
    }
    assert!(counts.is_sorted());
    assert_eq!(counts.first(), Some(&0));
    assert_eq!(counts.last(), Some(&5_000));
}

#[test]
fn at_noon_on_30_september_4964_calls_are_due_and_a_naive_cutoff_misses_eleven() {
    let calls = calls_csv();
    assert_eq!(calls.len(), 5_000);
    let distinct: BTreeSet<&str> = calls.iter().map(|call| call.call_id.as_str()).collect();
    assert_eq!(distinct.len(), 5_000);
    assert!(calls.iter().all(|call| !call.agent.is_empty() && !call.topic.is_empty()));
    let events: Vec<DateTime<Utc>> = calls.iter().map(event_time).collect();
    let now = DateTime::parse_from_rfc3339("2021-09-30T12:00:00+08:00").unwrap().to_utc();
    assert_eq!(by_set(&events, now), 4_964);
    assert_eq!(by_record(&events, now), 4_964);
    assert_eq!(by_numbers(&calls, 2021, 9, 30, "12:00:00"), 4_964);
    let cutoff = now.with_timezone(&SINGAPORE).checked_sub_months(Months::new(6)).unwrap();
    assert_eq!(events.iter().filter(|event| **event <= cutoff).count(), 4_953);
}
