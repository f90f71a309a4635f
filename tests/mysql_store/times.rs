//! Event times: what a column holds is read and compared as the one rule says, to the microsecond, in any zone.

use chrono::{NaiveDateTime, TimeDelta};
use retentiond::plan::due::{due_at, due_set, end_of_day, instant_of};
use retentiond::policy::Period;

use super::*;

const SIX_MONTHS: Period = Period { months: 6, days: 0 };

/// Whatever the server selects is what the rule says of each reading.
async fn selects_what_is_due(zone: Tz, readings: &[NaiveDateTime], moments: &[&str]) {
    let values: Vec<String> = readings
        .iter()
        .enumerate()
        .map(|(id, at)| format!("({id}, 't-1', '{}', NULL)", at.format("%F %T%.6f")))
        .collect();
    let create = "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME(6), caller TEXT);";
    let database = with(&format!("{create} INSERT INTO call_record VALUES {}", values.join(", "))).await;
    let store = store(&database).await;
    let mut selected = 0;
    for moment in moments.iter().map(|moment| at(moment)) {
        let due = due_set(moment, SIX_MONTHS, zone);
        let placement = placement("call_record", &["id"], local_time("started_at", zone));
        let mut query = query(placement, of("t-1"), Times::Within(due));
        query.now = moment;
        let meant = readings
            .iter()
            .filter(|reading| due_at(instant_of(**reading, zone), SIX_MONTHS, zone) <= moment)
            .count() as u64;
        let survey = store.survey(&query).await.unwrap();
        assert_eq!(counted(&survey).values().sum::<u64>(), meant, "{moment} {zone}");
        selected += meant;
    }
    assert!(
        selected > 0 && selected < (readings.len() * moments.len()) as u64,
        "the moments tell them apart"
    );
}

/// Every quarter of an hour around a time, with a microsecond on each side.
fn around(text: &str, hours: i64) -> Vec<NaiveDateTime> {
    let middle: NaiveDateTime = text.parse().unwrap();
    let steps = (-hours * 4..=hours * 4).map(|quarter| middle + TimeDelta::minutes(15 * quarter));
    steps.flat_map(|at| [-1, 0, 1].map(|tick| at + TimeDelta::microseconds(tick))).collect()
}

#[tokio::test]
async fn readings_in_berlin_around_the_repeated_hour_are_due_as_the_rule_says() {
    let readings = around("2025-10-26T02:30:00", 5);
    let moments = [
        "2026-04-26T00:15:00Z",
        "2026-04-26T00:30:00Z",
        "2026-04-26T00:30:00.000001Z",
        "2026-04-26T01:00:00Z",
    ];
    selects_what_is_due(Tz::Europe__Berlin, &readings, &moments).await;
    // Six months from the last night of September end in the hour that is skipped.
    let readings = around("2025-09-29T02:30:00", 3);
    selects_what_is_due(Tz::Europe__Berlin, &readings, &["2026-03-29T00:45:00Z", "2026-03-29T01:15:00Z"])
        .await;
}

#[tokio::test]
async fn readings_in_singapore_at_the_ends_of_months_are_due_as_the_rule_says() {
    let mut readings = Vec::new();
    for day in ["2025-08-28", "2025-08-29", "2025-08-30", "2025-08-31", "2025-09-01"] {
        readings.extend(around(&format!("{day}T12:00:00"), 1));
    }
    let moments = [
        "2026-02-28T03:59:59.999999Z",
        "2026-02-28T04:00:00Z",
        "2026-02-28T16:00:00Z",
        "2026-03-01T04:00:00Z",
    ];
    selects_what_is_due(SINGAPORE, &readings, &moments).await;
}

#[tokio::test]
async fn a_timestamp_is_an_instant_whatever_the_server_s_zone_is() {
    let database = with(
        "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at TIMESTAMP(3) NULL, caller TEXT);
         SET time_zone = '-07:00';
         INSERT INTO call_record VALUES (1, 't-1', '2025-05-31 16:59:59.999', ''), (2, 't-1', '2025-05-31 17:00:00', '');
         SET GLOBAL time_zone = '-07:00';",
    )
    .await;
    let store = store(&database).await;
    let query = query(calls(), of("t-1"), before("2025-06-01T00:00:00Z"));
    let survey = store.survey(&query).await.unwrap();
    let tally = &survey.tenants[&tenant("t-1")];
    assert_eq!((tally.records, tally.oldest), (1, Some(at("2025-05-31T23:59:59.999Z"))));
    assert_eq!(erase_all(&store, &query, WIDE, Method::Delete).await, map([("t-1", 1)]));
    assert_eq!(ids(&database).await, ["2"]);
    database.run("SET GLOBAL time_zone = 'SYSTEM'").await;
}

#[tokio::test]
async fn a_day_counts_to_its_end() {
    let database = with(
        "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at DATE, caller TEXT);
         INSERT INTO call_record VALUES (1, 't-1', '2025-05-31', ''), (2, 't-1', '2025-06-01', '');",
    )
    .await;
    let reader = reader(&database).await;
    let end = end_of_day("2025-05-31".parse().unwrap(), SINGAPORE);
    for (to, expected) in [(end, 0), (end + TimeDelta::nanoseconds(1), 1)] {
        let times = Times::Within(vec![Interval { from: DateTime::<Utc>::MIN_UTC, to }]);
        let survey = reader.survey(&query(calls(), of("t-1"), times)).await.unwrap();
        assert_eq!(counted(&survey).values().sum::<u64>(), expected, "{to}");
    }
}

#[tokio::test]
async fn days_that_do_not_exist_and_zeros_are_parked_and_never_due() {
    let database = with(
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES';
         CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME, caller TEXT, KEY (started_at));
         INSERT INTO call_record VALUES (1, 't-1', '0000-00-00 00:00:00', ''), (2, 't-1', '2023-02-30 12:00:00', ''),
           (3, 't-1', '2023-00-10 00:00:00', ''), (4, 't-1', '2023-02-00 00:00:00', ''), (5, 't-1', NULL, ''),
           (6, 't-1', '1999-12-31 23:59:59', ''), (7, 't-1', '9999-12-31 23:59:59', ''), (8, 't-1', '2024-02-29 00:00:00', ''),
           (9, 't-1', '2023-02-28 00:00:00', '');",
    )
    .await;
    let store = store(&database).await;
    let due = query(calls(), of("t-1"), before("2025-06-01T00:00:00Z"));
    let parked = query(calls(), of("t-1"), Times::UnusableBefore(at("2025-06-01T00:00:00Z")));
    assert_eq!(counted(&store.survey(&due).await.unwrap()), map([("t-1", 2)]));
    assert_eq!(counted(&store.survey(&parked).await.unwrap()), map([("t-1", 7)]));
    assert_eq!(erase_all(&store, &due, WIDE, Method::Delete).await, map([("t-1", 2)]));
    assert_eq!(ids(&database).await, ["1", "2", "3", "4", "5", "6", "7"]);
}

/// Texts of every kind, readable or not.
const TEXTS: [&str; 52] = [
    "2025-08-31 12:00:00",
    "2025-08-31T12:00:00",
    "2025-08-31T12:00:00.5",
    "2025-08-31T12:00:00.123456789",
    "2025-08-31T12:00:00Z",
    "2025-08-31 12:00:00.000+00:00",
    "2025-08-31T12:00:00+05:45",
    "2025-08-31T12:00:00-03:30",
    "2025-08-31T12:00:00+23:59",
    "2025-08-31",
    "2024-12-31T23:59:60Z",
    "2024-12-31 23:59:60.25",
    "2024-02-29 00:00:00",
    "2025-10-26 02:30:00",
    "2025-03-30 02:30:00",
    "2025-03-30T02:30:00.000000001",
    "2000-02-29",
    "",
    " ",
    "0",
    "NULL",
    "0000-00-00",
    "0000-00-00 00:00:00",
    "0000-02-29",
    "2025-1-2",
    "02/01/2025",
    "20250102",
    "20250102T030405Z",
    "2025-W01-1",
    "2025-001",
    "2023-02-29",
    "2023-02-29 00:00:00",
    "1900-02-29",
    "2025-13-01",
    "2025-04-31",
    " 2025-08-31 12:00:00",
    "2025-08-31 12:00:00 ",
    "2025-08-31\n",
    "2025-08-31 12:00:00Z\n",
    "2025-08-31  12:00:00",
    "2025-08-31t12:00:00",
    "2025-08-31 12:00",
    "2025-08-31 12:00:00.",
    "2025-08-31 12:00:00,5",
    "2025-08-31 12:00:00.1234567890",
    "2025-08-31 12:00:00z",
    "2025-08-31 12:00:00-00:00",
    "2025-08-31 12:00:00+24:00",
    "2025-08-31 24:00:00",
    "2025-08-31 12:60:00",
    "2025-08-31 12:59:60",
    "9999-12-31T23:59:60Z",
];

#[tokio::test]
async fn texts_mean_to_the_server_what_they_mean_to_the_rule() {
    for zone in [SINGAPORE, Tz::Europe__Berlin] {
        for charset in [
            "utf8mb4 COLLATE utf8mb4_unicode_ci",
            "latin1 COLLATE latin1_swedish_ci",
            "ascii COLLATE ascii_bin",
        ] {
            let database = with(&format!(
                "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at VARCHAR(60) CHARACTER SET {charset}, caller TEXT);"
            ))
            .await;
            let mut connection = database.connect().await;
            for (id, text) in TEXTS.iter().enumerate() {
                sqlx::query("INSERT INTO call_record VALUES (?, ?, ?, '')")
                    .bind(id as u64)
                    .bind(format!("x{id}"))
                    .bind(text)
                    .execute(&mut connection)
                    .await
                    .unwrap();
            }
            let placement = placement("call_record", &["id"], local_time("started_at", zone));
            let store = store(&database).await;
            let all = query(placement, everyone(), before("2026-01-01T00:00:00Z"));
            let survey = store.survey(&all).await.unwrap();
            let mut meant = BTreeMap::new();
            for (id, text) in TEXTS.iter().enumerate() {
                let read = event_time::read_text(text, event_time::DEFAULT_FORMAT, zone);
                if let Some(read) = read.filter(|read| *read < at("2026-01-01T00:00:00Z")) {
                    meant.insert(tenant(&format!("x{id}")), Some(read));
                }
            }
            let told: BTreeMap<TenantId, Option<DateTime<Utc>>> =
                survey.tenants.iter().map(|(tenant, tally)| (tenant.clone(), tally.oldest)).collect();
            assert_eq!(told, meant, "{zone} {charset}");
            assert_eq!(meant.len(), 17);
            // An erasing statement stops at the first value that it cannot turn into a date; none may reach it.
            let erased = erase_all(&store, &all, WIDE, Method::Delete).await;
            assert_eq!(erased.len(), meant.len(), "{zone} {charset}");
            assert_eq!(ids(&database).await.len(), TEXTS.len() - meant.len());
        }
    }
}

#[tokio::test]
async fn texts_of_another_format_are_read_part_by_part() {
    let database = with(
        "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at VARCHAR(60), caller TEXT);
         INSERT INTO call_record VALUES (1, 't-1', '31.05.2025 23h', ''), (2, 't-1', '01.06.2025 08h', ''), (3, 't-1', '31.02.2025 23h', ''),
           (4, 't-1', '31x05x2025 23h', ''), (5, 't-1', '1.5.2025 23h', ''), (6, 't-1', '31.05.2025 24h', ''), (7, 't-1', '29.02.2024 00h ', '');",
    )
    .await;
    let format = "%d.%m.%Y %Hh".to_owned();
    let time = EventTime::Text { column: "started_at".into(), format, time_zone: SINGAPORE };
    let store = store(&database).await;
    let placement = placement("call_record", &["id"], Some(time));
    let due = query(placement, of("t-1"), before("2025-06-01T00:00:00Z"));
    let survey = store.survey(&due).await.unwrap();
    let tally = &survey.tenants[&tenant("t-1")];
    assert_eq!((tally.records, tally.oldest), (1, Some(at("2025-05-31T15:59:59.999999999Z"))));
    assert_eq!(erase_all(&store, &due, WIDE, Method::Delete).await, map([("t-1", 1)]));
    assert_eq!(ids(&database).await, ["2", "3", "4", "5", "6", "7"]);
}
