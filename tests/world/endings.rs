//! Accounts that end, come back, or bought longer storage.

use serde_json::json;

use crate::harness::{CALLER, World, placement, same_instant};

const ENDED: &str = "tenant terminate t-1 --at 2021-06-01T12:00:00+08:00";

#[test]
fn a_terminated_tenants_data_stays_to_the_last_second_of_day_15_and_then_all_of_it_goes() {
    let world = World::center();
    let others = world.others("t-1");
    world.ok(ENDED);
    let shown = world.ok("tenant show t-1");
    assert_eq!((&shown["tenant"], &shown["state"]), (&json!("t-1"), &json!("terminated")));
    assert!(same_instant(&shown["terminated_at"], "2021-06-01T12:00:00+08:00"));
    assert!(same_instant(&shown["grace_until"], "2021-06-16T12:00:00+08:00"));
    assert!(same_instant(&shown["deadline"], "2021-07-01T12:00:00+08:00"));
    let plan = world.ok("plan --at 2021-06-16T11:59:59+08:00");
    assert_eq!(plan["totals"]["erase"], 0);
    assert_eq!(plan["totals"]["grace"], 9, "five calls, two recordings, two agents");
    let early = world.ok("enforce --at 2021-06-16T11:59:59+08:00");
    assert_eq!((&early["status"], &early["totals"]["erased"]), (&json!("done"), &json!(0)));
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    let report = world.ok("enforce --at 2021-06-16T12:00:00+08:00");
    assert_eq!(report["totals"]["verified_absent"], 9);
    assert!(world.calls("t-1").is_empty() && world.agents("t-1").is_empty());
    assert!(!world.objects().iter().any(|file| file.starts_with("rec/t-1/")));
    assert_eq!(world.others("t-1"), others);
    world.assert_settled();
}

#[test]
fn age_rests_in_the_grace_and_goes_on_for_everybody_else() {
    let world = World::center();
    world.ok("tenant terminate t-1 --at 2021-07-25T00:00:00+08:00");
    world.ok("enforce --at 2021-08-01T00:00:00+08:00");
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    assert_eq!(world.calls("t-10"), [22, 23, 24, 25]);
    assert_eq!(world.calls("T-1"), [32, 33, 34, 35]);
}

#[test]
fn an_account_that_comes_back_keeps_its_data_and_may_end_again() {
    let world = World::center();
    world.ok(ENDED);
    world.exits(2, ENDED);
    world.ok("tenant reinstate t-1");
    world.exits(2, "tenant reinstate t-1");
    assert_eq!(world.ok("tenant show t-1")["state"], "active");
    assert_eq!(world.ok("enforce --at 2021-07-30T00:00:00+08:00")["totals"]["erased"], 0);
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    world.ok("tenant terminate t-1 --at 2021-07-20T00:00:00+08:00");
    assert_eq!(
        world.ok("enforce --at 2021-07-30T00:00:00+08:00")["totals"]["erased"],
        0,
        "the clock began anew"
    );
}

#[test]
fn a_plan_from_before_the_return_of_an_account_erases_nothing_of_it() {
    let world = World::center();
    world.ok(ENDED);
    world.ok("plan --at 2021-06-20T00:00:00+08:00 --out old.json");
    world.ok("tenant reinstate t-1");
    world.run("enforce --plan old.json");
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
}

#[test]
fn a_request_in_the_grace_has_its_own_clock() {
    let world = World::center();
    let others = world.others("t-1");
    world.ok(ENDED);
    world.ok(&format!("request create --tenant t-1 --subject {CALLER} --received 2021-06-05T00:00:00+08:00"));
    let report = world.ok("enforce --at 2021-06-06T00:00:00+08:00");
    assert_eq!(placement(&report, "call-records")["erased"], 3);
    assert_eq!(world.calls("t-1"), [13, 15], "the rest is in its grace");
    world.ok("enforce --at 2021-06-16T12:00:00+08:00");
    assert!(world.calls("t-1").is_empty());
    assert_eq!(world.others("t-1"), others);
}

#[test]
fn an_entitlement_suspends_age_for_its_tenant_until_it_is_ended() {
    let world = World::center();
    let granted = world.ok("entitlement grant extended-storage --tenant t-1");
    world.ok("enforce --at 2021-07-31T10:00:00+08:00");
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    assert_eq!([world.calls("t-10").len(), world.calls("T-1").len(), world.calls("t-1x").len()], [4, 4, 4]);
    let plan = world.ok("plan --at 2021-07-31T10:00:00+08:00");
    assert_eq!(plan["totals"]["entitled"], 2, "{plan:#}");
    world.ok(&format!("entitlement end {}", granted["entitlement_id"].as_str().unwrap()));
    world.ok("enforce --at 2021-07-31T10:00:00+08:00");
    assert_eq!(world.calls("t-1"), [12, 13, 14, 15]);
    let listed = world.ok("entitlement list");
    assert_eq!(listed["entitlements"][0]["name"], "extended-storage");
    assert!(listed["entitlements"][0]["ended_at"].is_string());
}

#[test]
fn an_entitlement_runs_until_its_last_instant_and_no_longer() {
    let world = World::center();
    world.ok(
        "entitlement grant extended-storage --tenant t-1 --category call-data --until 2090-01-01T00:00:00Z",
    );
    let running = world.ok("plan --at 2089-12-31T23:59:59Z");
    assert_eq!((&running["totals"]["erase"], &running["totals"]["entitled"]), (&json!(18), &json!(6)));
    let over = world.ok("plan --at 2090-01-01T00:00:00Z");
    assert_eq!((&over["totals"]["erase"], &over["totals"]["entitled"]), (&json!(24), &json!(0)));
    world.exits(2, "entitlement grant extended-storage --tenant t-1 --until 2020-01-01T00:00:00Z");
    world.exits(2, "entitlement grant nonesuch --tenant t-1");
}

#[test]
fn neither_a_request_nor_a_termination_waits_for_an_entitlement() {
    for (line, at) in [
        (
            "request create --tenant t-1 --everything --received 2021-09-01T00:00:00+08:00",
            "2021-09-02T00:00:00+08:00",
        ),
        (ENDED, "2021-09-02T00:00:00+08:00"),
    ] {
        let world = World::center();
        world.ok("entitlement grant extended-storage --tenant t-1");
        world.ok(line);
        world.ok(&format!("enforce --at {at}"));
        assert!(world.calls("t-1").is_empty(), "{line}");
    }
}
