//! Stored event times that are missing, wrong or odd: parked, or exact to the second. Never a guess.

use serde_json::{Value, json};

use crate::harness::{World, instant, same_instant};

/// Values as SQL, that no time can be read from; they stay for ever.
const PARKED: [&str; 42] = [
    "NULL",
    "''",
    "' '",
    "'0000-00-00 00:00:00'",
    "'1970-01-01T00:00:00Z'",
    "'1970-01-01 00:00:00'",
    "0",
    "-1",
    "'0'",
    "'-1'",
    "'9999-12-31 00:00:00'",
    "'2106-02-07 06:28:16'",
    "'2038-01-19T03:14:08Z'",
    "1700000000",
    "'1700000000'",
    "1700000000000",
    "'2024-1-2 00:00:00'",
    "'02/01/2024 00:00:00'",
    "'20240102'",
    "'2024-W01-1'",
    "'2024-02-30 00:00:00'",
    "'2023-02-29 00:00:00'",
    "'2024-13-01 00:00:00'",
    "'2024-00-10 00:00:00'",
    "'2024-01-01 24:00:01'",
    "'2024-01-01 25:00:00'",
    "'2024-01-01 00:60:00'",
    "'2024-01-01T00:00:00+24:00'",
    "'2024-01-01T00:00:00+99:99'",
    "'yesterday'",
    "'2024-01-01 00:00:00; DROP TABLE call_record'",
    "X'323032342d30312d30312030303a30303a3030'",
    "'2024-01-01 00:00:00' || char(0)",
    "'2024-01-01 00:00:00 '",
    "' 2024-01-01 00:00:00'",
    "1e999",
    "'1999-12-31 23:59:59'",
    "'-2024-01-01 00:00:00'",
    "'+2024-01-01 00:00:00'",
    "'\u{662}\u{660}\u{662}\u{664}-01-01 00:00:00'",
    "'2024-01-01 00:00:00x'",
    "'NaN'",
];

/// Values that are read, and when a record of that time is due.
const EXACT: [(&str, &str); 10] = [
    ("2024-01-31 10:00:00", "2024-07-31T10:00:00+08:00"),
    ("2024-08-31 10:00:00", "2025-02-28T10:00:00+08:00"),
    ("2023-08-31 10:00:00", "2024-02-29T10:00:00+08:00"),
    ("2024-02-29 23:59:59", "2024-08-29T23:59:59+08:00"),
    ("2000-01-01 00:00:00", "2000-07-01T00:00:00+08:00"),
    ("2024-03-31T12:00:00+08:00", "2024-09-30T12:00:00+08:00"),
    ("2024-03-31T04:00:00Z", "2024-09-30T12:00:00+08:00"),
    ("2024-03-31T12:00:00+05:45", "2024-09-30T14:15:00+08:00"),
    ("2024-03-30T23:00:00-00:30", "2024-09-30T07:30:00+08:00"),
    ("2024-03-31T12:00:00", "2024-09-30T12:00:00+08:00"),
];

fn filled(values: impl Iterator<Item = String>) -> World {
    let world = World::center();
    let mut script = "DELETE FROM call_record;".to_owned();
    for (n, value) in values.enumerate() {
        script.push_str(&format!(
            "INSERT INTO call_record (id, tenant_id, started_at) VALUES ({n}, 't-1', {value});"
        ));
    }
    world.sql("calls.db", &script);
    world
}

fn explain(world: &World, id: usize, at: &str) -> Value {
    world.ok(&format!("explain call-records {id} --at {at}"))
}

#[test]
fn what_does_not_look_like_a_time_is_parked_and_stays() {
    let world = filled(PARKED.iter().map(|value| (*value).to_owned()));
    let before = world.dump("calls.db", "call_record", "1");
    let plan = world.ok("plan");
    assert_eq!(
        (&plan["totals"]["erase"], &plan["totals"]["parked"]),
        (&json!(0), &json!(PARKED.len())),
        "{plan:#}"
    );
    world.ok("enforce");
    assert_eq!(world.dump("calls.db", "call_record", "1"), before);
    for (id, value) in PARKED.iter().enumerate().step_by(3) {
        let told = explain(&world, id, "2026-01-01T00:00:00Z");
        assert_eq!((&told["reason"], &told["event_time"]), (&json!("parked"), &Value::Null), "{value}");
    }
}

#[test]
fn what_is_parked_goes_when_the_tenant_asks_or_ends() {
    for line in ["request create --tenant t-1 --everything", "tenant terminate t-1 --at 2024-01-01T00:00:00Z"]
    {
        let world = filled(PARKED.iter().map(|value| (*value).to_owned()));
        world.ok(line);
        world.ok("enforce");
        assert_eq!(world.number("calls.db", "SELECT CAST(count(*) AS TEXT) FROM call_record"), 0, "{line}");
    }
}

#[test]
fn what_looks_like_a_time_is_due_to_the_second() {
    let world = filled(EXACT.iter().map(|(value, _)| format!("'{value}'")));
    for (id, (value, due)) in EXACT.iter().enumerate() {
        let told = explain(&world, id, due);
        assert!(same_instant(&told["due_at"], due), "{value}: {told:#}");
        assert_eq!((&told["disposition"], &told["reason"]), (&json!("erase"), &json!("age")), "{value}");
        let early = (instant(due) - chrono::TimeDelta::seconds(1)).to_rfc3339();
        assert_eq!(explain(&world, id, &early)["disposition"], "retain", "{value}");
    }
    let mut dues: Vec<_> = EXACT.iter().map(|(_, due)| instant(due)).collect();
    dues.sort_unstable();
    dues.dedup();
    for due in dues {
        for at in [due - chrono::TimeDelta::seconds(1), due] {
            world.ok(&format!("enforce --at {}", at.to_rfc3339()));
            let left = EXACT.iter().filter(|(_, due)| instant(due) > at).count() as u64;
            assert_eq!(
                world.number("calls.db", "SELECT CAST(count(*) AS TEXT) FROM call_record"),
                left,
                "at {at}"
            );
        }
    }
}

#[test]
fn a_leap_second_and_fractions_are_never_early() {
    let values = [
        "'2016-12-31T23:59:60Z'",
        "'2024-01-31 10:00:00.5'",
        "'2024-01-31 10:00:00.999999999'",
        "'2024-01-31'",
    ];
    let world = filled(values.iter().map(|value| (*value).to_owned()));
    for (id, earliest) in [
        (0, "2017-07-01T07:59:59+08:00"),
        (1, "2024-07-31T10:00:00.5+08:00"),
        (2, "2024-07-31T10:00:00.999999999+08:00"),
        (3, "2024-07-31T23:59:59.999999999+08:00"),
    ] {
        let told = explain(&world, id, "2026-01-01T00:00:00Z");
        if told["reason"] == "parked" {
            continue;
        }
        let due = instant(told["due_at"].as_str().unwrap());
        assert!(due >= instant(earliest), "{}: {due}", values[id]);
        let early = (instant(earliest) - chrono::TimeDelta::nanoseconds(1)).to_rfc3339();
        assert_eq!(explain(&world, id, &early)["disposition"], "retain", "{}", values[id]);
    }
}

/// A center whose calls are kept by whole seconds or milliseconds since the epoch.
fn counted(unit: &str, values: &[&str]) -> World {
    let world = World::center();
    world.edit(
        "policies/call-data.toml",
        "column = \"started_at\", time_zone = \"Asia/Singapore\"",
        &format!("column = \"started_at\", unit = \"{unit}\""),
    );
    let mut script =
        "DROP TABLE call_record; CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, \
        started_at INTEGER, caller TEXT, callee TEXT, agent_id TEXT, note TEXT, recording_key TEXT);"
            .to_owned();
    for (n, value) in values.iter().enumerate() {
        script.push_str(&format!(
            "INSERT INTO call_record (id, tenant_id, started_at) VALUES ({n}, 't-1', {value});"
        ));
    }
    world.sql("calls.db", &script);
    world
}

#[test]
fn seconds_are_never_taken_for_milliseconds_nor_the_reverse() {
    for (unit, good, bad) in [
        (
            "seconds",
            "1700000000",
            [
                "1700000000000",
                "0",
                "-1",
                "946655999",
                "4294967296",
                "9223372036854775807",
                "-9223372036854775808",
                "NULL",
                "'abc'",
                "X'00'",
                "1e300",
            ],
        ),
        (
            "milliseconds",
            "1700000000000",
            [
                "1700000000",
                "0",
                "-1",
                "946655999999",
                "4294967296000",
                "9223372036854775807",
                "-9223372036854775808",
                "NULL",
                "'abc'",
                "X'00'",
                "1e300",
            ],
        ),
    ] {
        let mut values = vec![good];
        values.extend(bad);
        let world = counted(unit, &values);
        let plan = world.ok("plan");
        assert_eq!(
            (&plan["totals"]["erase"], &plan["totals"]["parked"]),
            (&json!(1), &json!(bad.len())),
            "{unit}: {plan:#}"
        );
        let told = explain(&world, 0, "2026-01-01T00:00:00Z");
        assert!(same_instant(&told["event_time"], "2023-11-14T22:13:20Z"), "{unit}: {told}");
        assert!(same_instant(&told["due_at"], "2024-05-14T22:13:20Z"), "{unit}: {told}");
        world.ok("enforce --at 2024-05-14T22:13:19Z");
        assert_eq!(world.calls("t-1").len(), values.len());
        world.ok("enforce --at 2024-05-14T22:13:20Z");
        assert_eq!(world.calls("t-1").len(), bad.len());
    }
}

#[test]
fn a_time_that_a_clock_change_skips_or_repeats_is_the_later_one() {
    let world =
        filled(["'2025-03-30 02:30:00'", "'2024-10-27 02:30:00'"].iter().map(|value| (*value).to_owned()));
    world.edit(
        "policies/call-data.toml",
        "column = \"started_at\", time_zone = \"Asia/Singapore\"",
        "column = \"started_at\", time_zone = \"Europe/Berlin\"",
    );
    for (id, wanted) in [(0, "2025-03-30T01:30:00Z"), (1, "2024-10-27T01:30:00Z")] {
        let told = explain(&world, id, "2026-01-01T00:00:00Z");
        assert!(same_instant(&told["event_time"], wanted), "{told}");
    }
}

#[test]
fn a_record_that_is_used_again_while_the_plan_waits_survives() {
    let world =
        filled(["'2024-01-31 10:00:00'", "'2024-01-31 10:00:00'"].iter().map(|value| (*value).to_owned()));
    world.ok("plan --at 2024-08-01T00:00:00Z --out plan.json");
    world.sql("calls.db", "UPDATE call_record SET started_at = '2024-07-31 10:00:00' WHERE id = 1");
    world.ok("enforce --plan plan.json");
    assert_eq!(world.calls("t-1"), [1]);
}
