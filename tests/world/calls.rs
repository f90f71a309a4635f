//! The real calls, in four kinds of table: what a plan counts, what a run erases, what SQL then misses and what a
//! few lines of integer arithmetic say are one number, at every edge.

use retentiond::enforce::{Order, RunStatus, run_once};
use retentiond::gather::plan_at;
use retentiond::id::TenantId;
use retentiond::ledger::{Ledger, NewHold};

use crate::harness::{World, calls_csv, instant, wait_for};

/// Days since 1970 of a date, by counting years and months.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let is_leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let years: i64 = (1970..year).map(|y| if is_leap(y) { 366 } else { 365 }).sum();
    let months: i64 = (1..month).map(|m| length(year, m)).sum();
    years + months + day - 1
}

/// Days of a month.
fn length(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 => 29,
        2 => 28,
        _ => 31,
    }
}

/// A call, as three numbers of its date and the second of its day; Singapore has one offset and no clock changes.
#[derive(Clone, Copy)]
struct Start {
    year: i64,
    month: i64,
    day: i64,
    second: i64,
}

impl Start {
    fn of(date: &str, time: &str) -> Self {
        let numbers = |text: &str, by: char| -> Vec<i64> {
            text.split(by).map(|part| part.parse().expect("a number")).collect()
        };
        let (date, time) = (numbers(date, '/'), numbers(time, ':'));
        Self { year: date[2], month: date[1], day: date[0], second: time[0] * 3600 + time[1] * 60 + time[2] }
    }

    fn epoch(self) -> i64 {
        days(self.year, self.month, self.day) * 86_400 + self.second - 8 * 3600
    }

    /// Six calendar months later, as seconds since 1970.
    fn due(self) -> i64 {
        let (year, month) =
            if self.month > 6 { (self.year + 1, self.month - 6) } else { (self.year, self.month + 6) };
        days(year, month, self.day.min(length(year, month))) * 86_400 + self.second - 8 * 3600
    }
}

const TABLES: [(&str, &str, &str); 4] = [
    ("call_text", "id INTEGER PRIMARY KEY, tenant_id TEXT, at TEXT, agent TEXT", "key = [\"id\"]"),
    ("call_raw", "id TEXT PRIMARY KEY, tenant_id TEXT, at TEXT, agent TEXT", "key = [\"id\"]"),
    (
        "call_epoch",
        "id TEXT, tenant_id TEXT, at INTEGER, agent TEXT, PRIMARY KEY (tenant_id, id)",
        "key = [\"tenant_id\", \"id\"]",
    ),
    ("call_keyless", "id TEXT, tenant_id TEXT, at TEXT, agent TEXT", ""),
];

const HELD: [&str; 3] = ["t-10", "T-1", "t-1x"];

/// Calls that each neighbour has too.
const NEIGHBOUR_CALLS: usize = 50;

fn center_of_calls(starts: &[Start]) -> World {
    let world = World::empty();
    let mut policy =
        "category = \"call-data\"\ntitle = \"Calls\"\ntime_zone = \"Asia/Singapore\"\nmethod = \"delete\"\n\
                      [[rules]]\ntrigger = \"age\"\nperiod = \"6 months\"\nclause = \"DPSM §5\"\n"
            .to_owned();
    let mut script = String::from("BEGIN;");
    let calls = calls_csv();
    for (table, columns, key) in TABLES {
        let time = match table {
            "call_raw" => "format = \"%d/%m/%Y %H:%M:%S\", time_zone = \"Asia/Singapore\"",
            "call_epoch" => "unit = \"seconds\"",
            _ => "time_zone = \"Asia/Singapore\"",
        };
        policy.push_str(&format!(
            "[[placements]]\nname = \"{table}\"\nstore = \"calls\"\ntable = \"{table}\"\n{key}\n\
             tenant = {{ column = \"tenant_id\" }}\nevent_time = {{ column = \"at\", {time} }}\n\
             subjects = {{ agent = [\"agent\"] }}\n"
        ));
        script
            .push_str(&format!("CREATE TABLE {table} ({columns}); CREATE INDEX {table}_at ON {table} (at);"));
        let owners = (0..calls.len()).map(|i| (i, ["acme", "beta", "t-1"][i % 3], i));
        let neighbours = HELD
            .into_iter()
            .zip(1..)
            .flat_map(|(tenant, n)| (0..NEIGHBOUR_CALLS).map(move |i| (i, tenant, n * 100_000 + i)));
        for (i, tenant, id) in owners.chain(neighbours) {
            let (call, start) = (&calls[i], starts[i]);
            let at = match table {
                "call_raw" => format!("'{} {}'", call.date, call.time),
                "call_epoch" => start.epoch().to_string(),
                _ => format!("'{}-{:02}-{:02} {}'", start.year, start.month, start.day, call.time),
            };
            let id = if table == "call_text" { id.to_string() } else { format!("'{}-{id}'", call.call_id) };
            script
                .push_str(&format!("INSERT INTO {table} VALUES ({id}, '{tenant}', {at}, '{}');", call.agent));
        }
    }
    script.push_str("COMMIT;");
    world.sql("calls.db", &script);
    world.write("policies/call-data.toml", &policy);
    world
}

/// Seconds since 1970 at which something happens or nearly happens, in order.
fn edges(starts: &[Start]) -> Vec<i64> {
    let local = |text: &str| instant(&format!("{text}+08:00")).timestamp();
    let mut dues: Vec<i64> = starts.iter().map(|start| start.due()).collect();
    dues.sort_unstable();
    let mut edges: Vec<i64> = [
        "2021-07-01T00:00:00",
        "2021-08-01T00:00:00",
        "2021-08-29T00:00:00",
        "2021-09-01T00:00:00",
        "2021-09-30T00:00:00",
        "2021-09-30T12:00:00",
        "2021-10-01T00:00:00",
    ]
    .into_iter()
    .map(local)
    .chain([dues[0], dues[dues.len() / 2], dues[dues.len() - 1]])
    .flat_map(|edge| [edge - 1, edge, edge + 1])
    .collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}

#[test]
fn plan_run_sql_and_plain_arithmetic_agree_on_the_real_calls_at_every_edge() {
    let starts: Vec<Start> = calls_csv().iter().map(|call| Start::of(&call.date, &call.time)).collect();
    assert_eq!(starts.len(), 5_000);
    let center = center_of_calls(&starts);
    let world = center.load(instant("2021-12-01T00:00:00Z"));
    let whose = |not: &str| format!("tenant_id {not} IN ('t-10', 'T-1', 't-1x')");
    let neighbours = TABLES.map(|(table, _, _)| center.dump("calls.db", table, &whose("")));
    assert!(neighbours.iter().all(|rows| rows.len() == HELD.len() * NEIGHBOUR_CALLS));
    let all = TABLES.map(|(table, _, _)| center.dump("calls.db", table, &whose("NOT")));
    wait_for(async {
        let ledger = center.ledger().await;
        for tenant in HELD {
            let hold = NewHold {
                tenant: TenantId::parse(tenant).unwrap(),
                subjects: Vec::new(),
                categories: Vec::new(),
                authority: "a court".to_owned(),
            };
            ledger.place_hold(&hold, world.clock.now()).await.unwrap();
        }
    });
    let mut gone = 0;
    for edge in edges(&starts) {
        let at = chrono::DateTime::from_timestamp(edge, 0).unwrap();
        let due = starts.iter().filter(|start| start.due() <= edge).count() as u64;
        if at == instant("2021-09-30T12:00:00+08:00") {
            assert_eq!(due, 4_964);
        }
        let new = due - gone;
        let (plan, report) = wait_for(async {
            let plan = plan_at(&world, at).await.unwrap();
            (plan, run_once(&world, Order::Now { at }, &|_| {}).await.unwrap())
        });
        assert_eq!(plan.totals.erase, new * 4, "planned at {at}");
        assert_eq!(report.status, RunStatus::Done, "{report:?}");
        assert_eq!(
            (report.totals.erased, report.totals.verified_absent),
            (new * 4, new * 4),
            "erased at {at}"
        );
        for (table, _, _) in TABLES {
            let step = plan.steps.iter().filter(|step| step.placement.as_str() == table);
            assert_eq!(step.map(|step| step.records).sum::<u64>(), new, "planned in {table} at {at}");
            let left = center.number(
                "calls.db",
                &format!("SELECT CAST(count(*) AS TEXT) FROM {table} WHERE {}", whose("NOT")),
            );
            assert_eq!(left, 5_000 - due, "left in {table} at {at}");
        }
        gone = due;
        if at == instant("2021-09-30T12:00:00+08:00") {
            let again = wait_for(run_once(&world, Order::Now { at }, &|_| {})).unwrap();
            assert_eq!((again.status, again.totals.erased), (RunStatus::Done, 0));
            survivors_are_untouched(&center, &all, &starts, edge, &whose("NOT"));
        }
    }
    assert_eq!(gone, 5_000);
    for ((table, _, _), before) in TABLES.iter().zip(neighbours) {
        assert_eq!(center.dump("calls.db", table, &whose("")), before, "neighbours in {table}");
    }
    center.assert_settled();
}

/// Each row that is still there is, byte by byte, one that was there, and its time has not come.
fn survivors_are_untouched(
    center: &World,
    before: &[Vec<String>; 4],
    starts: &[Start],
    edge: i64,
    whose: &str,
) {
    let young = starts.iter().filter(|start| start.due() > edge).count();
    for ((table, _, _), before) in TABLES.iter().zip(before) {
        let left = center.dump("calls.db", table, whose);
        assert_eq!(left.len(), young, "{table}");
        assert!(
            left.iter().all(|row| before.binary_search(row).is_ok()),
            "a row of {table} is not as it was"
        );
    }
}
