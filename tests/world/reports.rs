//! Explain, simulate and status tell the same as plans and runs.

use serde_json::{Value, json};

use crate::harness::{CALLER, World, same_instant};

/// A center in which every reason occurs.
fn eventful() -> World {
    let world = World::center();
    world.ok("entitlement grant extended-storage --tenant t-10");
    world.ok(&format!("hold place --tenant T-1 --subject {CALLER} --authority court"));
    world.ok("tenant terminate t-1x --at 2021-09-01T00:00:00+08:00");
    world.ok(&format!("request create --tenant t-1 --subject {CALLER} --received 2021-07-01T00:00:00+08:00"));
    world
}

#[test]
fn what_explain_calls_erase_is_what_a_run_erases() {
    for at in ["2021-07-05T00:00:00+08:00", "2021-09-16T00:00:00+08:00"] {
        let world = eventful();
        let ids: Vec<u64> = (1..=4).flat_map(|n| (1..=5).map(move |m| n * 10 + m)).collect();
        let stays: Vec<u64> = ids
            .iter()
            .copied()
            .filter(|id| world.ok(&format!("explain call-records {id} --at {at}"))["disposition"] == "retain")
            .collect();
        world.ok(&format!("enforce --at {at}"));
        let left = world.texts("calls.db", "SELECT CAST(id AS TEXT) FROM call_record ORDER BY id");
        assert_eq!(left, stays.iter().map(u64::to_string).collect::<Vec<_>>(), "{at}");
    }
}

#[test]
fn explain_gives_reason_clause_and_dates_of_one_record() {
    let world = eventful();
    let explain = |id: u64, at: &str| world.ok(&format!("explain call-records {id} --at {at}"));
    let young = explain(11, "2021-06-01T00:00:00+08:00");
    assert_eq!(young["placement"], "call-records");
    assert_eq!(young["key"], json!(["11"]));
    assert_eq!(young["tenant"], "t-1");
    assert!(same_instant(&young["event_time"], "2021-01-31T10:00:00+08:00"));
    assert_eq!((&young["disposition"], &young["reason"]), (&json!("retain"), &json!(null)));
    assert!(same_instant(&young["due_at"], "2021-07-31T10:00:00+08:00"), "{young}");
    let reason = |id, at| explain(id, at)["reason"].clone();
    assert_eq!(reason(11, "2021-07-05T00:00:00+08:00"), "request");
    assert_eq!(reason(13, "2022-02-01T12:00:00+08:00"), "age");
    assert_eq!(reason(21, "2021-09-16T00:00:00+08:00"), "entitlement");
    assert_eq!(reason(31, "2021-09-16T00:00:00+08:00"), "hold");
    assert_eq!(reason(41, "2021-09-15T23:59:59+08:00"), "grace");
    assert_eq!(reason(41, "2021-09-16T00:00:00+08:00"), "termination");
    assert_eq!(reason(24, "2021-09-16T00:00:00+08:00"), "parked");
    world.exits(2, "explain call-records 999");
    world.exits(2, "explain nonesuch 11");
    world.exits(2, "explain call-records 11 12");
    let agent = world.ok("explain agents t-1x A1 --at 2021-09-16T00:00:00+08:00");
    assert_eq!((&agent["disposition"], &agent["reason"]), (&json!("erase"), &json!("termination")));
}

#[test]
fn the_days_of_a_simulation_add_up_to_the_plan_at_its_end() {
    let world = eventful();
    for to in ["2021-07-03T00:00:00+08:00", "2021-08-05T13:00:00+08:00", "2021-09-16T00:00:00+08:00"] {
        let simulation = world.ok(&format!("simulate --from 2021-06-25T00:00:00+08:00 --to {to}"));
        let days = simulation["days"].as_array().unwrap();
        let sum: u64 = days.iter().map(|day| day["records"].as_u64().unwrap()).sum();
        let plan = world.ok(&format!("plan --at {to}"));
        assert_eq!(Value::from(sum), plan["totals"]["erase"], "{to}: {simulation:#}");
    }
    let simulation = world.ok("simulate --from 2021-07-30T00:00:00+08:00 --to 2021-08-01T00:00:00+08:00");
    let on = |date: &str| -> u64 {
        let days = simulation["days"].as_array().unwrap();
        days.iter().filter(|day| day["date"] == date).map(|day| day["records"].as_u64().unwrap()).sum()
    };
    assert_eq!(on("2021-07-31"), 2, "one call over age with its recording, of t-1x: {simulation:#}");
    world.exits(2, "simulate --from 2021-08-01T00:00:00Z --to 2021-07-01T00:00:00Z");
}

#[test]
fn status_alarms_while_something_is_overdue_and_is_quiet_afterwards() {
    let world = World::center();
    let late = world.exits(4, "status").json;
    assert_eq!((&late["ok"], &late["parked"]), (&json!(false), &json!(4)));
    assert!(late["overdue"].as_u64().unwrap() >= 16, "{late:#}");
    world.ok("enforce");
    let quiet = world.ok("status");
    assert_eq!(
        (&quiet["ok"], &quiet["due"], &quiet["overdue"], &quiet["at_risk"]),
        (&json!(true), &json!(0), &json!(0), &json!(0))
    );
    assert_eq!(quiet["last_run"]["status"], "done");
    assert!(quiet["audit_head"]["size"].as_u64().unwrap() > 0);
}

#[test]
fn status_does_not_alarm_for_what_a_hold_keeps() {
    let world = World::center();
    for tenant in ["t-1", "t-10", "T-1", "t-1x"] {
        world.ok(&format!("hold place --tenant {tenant} --authority court"));
    }
    let status = world.ok("status");
    assert_eq!((&status["overdue"], &status["due"]), (&json!(0), &json!(0)));
    assert!(status["held"].as_u64().unwrap() >= 16, "{status:#}");
}

#[test]
fn an_open_request_past_its_deadline_is_overdue() {
    let world = World::center();
    world.ok("enforce");
    world.ok("status");
    world.ok("request create --tenant t-1 --everything --received 2021-07-01T00:00:00+08:00");
    let status = world.exits(4, "status").json;
    assert_eq!((&status["ok"], &status["requests_open"]), (&json!(false), &json!(1)));
    world.ok("enforce");
    assert_eq!(world.ok("status")["requests_open"], 0);
}
