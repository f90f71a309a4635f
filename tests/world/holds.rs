//! Holds win over every clock, and what was due is due at once when they are released.

use serde_json::json;

use crate::harness::{CALLER, World};

/// One of each clock, all of them due for `t-1` at [`AT`].
const CLOCKS: [(&str, &str); 3] = [
    ("age", "tenant list"),
    ("request", "request create --tenant t-1 --everything --received 2021-09-01T00:00:00+08:00"),
    ("termination", "tenant terminate t-1 --at 2021-06-01T12:00:00+08:00"),
];

const AT: &str = "2021-09-20T00:00:00+08:00";

fn place(world: &World, what: &str) -> String {
    let hold = world.ok(&format!("hold place --tenant t-1 {what} --authority court-order-17"));
    hold["hold_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_hold_on_a_tenant_keeps_all_of_it_from_every_clock_until_released() {
    for (clock, line) in CLOCKS {
        let world = World::center();
        world.ok(line);
        let hold = place(&world, "");
        let report = world.ok(&format!("enforce --at {AT}"));
        assert_eq!(report["status"], "done", "{clock}");
        assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15], "{clock}");
        assert_eq!(world.agents("t-1"), ["A1", "A2"], "{clock}");
        assert!(world.path("objects/rec/t-1/a.wav").exists(), "{clock}");
        assert_eq!(world.calls("t-10"), [23, 24, 25], "{clock}: the neighbour is not held");
        let plan = world.ok(&format!("plan --at {AT}"));
        let held = plan["kept"].as_array().unwrap().iter().filter(|kept| kept["reason"] == "hold");
        assert!(held.clone().count() > 0 && held.clone().all(|kept| kept["tenant"] == "t-1"), "{plan:#}");
        assert_eq!(plan["totals"]["erase"], 0, "{clock}");
        world.ok(&format!("hold release {hold}"));
        world.ok(&format!("enforce --at {AT}"));
        let left = world.calls("t-1");
        assert!(!left.contains(&11) && !left.contains(&12), "{clock}: {left:?}");
        world.assert_settled();
    }
}

#[test]
fn a_hold_on_a_subject_keeps_only_what_names_it_with_its_files() {
    let world = World::center();
    let others = world.others("t-1");
    world.ok(CLOCKS[2].1);
    let hold = place(&world, &format!("--subject {CALLER}"));
    world.ok("enforce --at 2021-06-20T00:00:00+08:00");
    assert_eq!(world.calls("t-1"), [11, 12, 14, 15]);
    assert_eq!(world.agents("t-1"), ["A1"]);
    assert!(world.path("objects/rec/t-1/a.wav").exists() && !world.path("objects/rec/t-1/b.wav").exists());
    let listed = world.ok("hold list");
    assert_eq!(listed["holds"][0]["authority"], "court-order-17");
    assert_eq!(listed["holds"][0]["released_at"], json!(null));
    assert!(!listed.to_string().contains("6591110001"));
    world.ok(&format!("hold release {hold}"));
    world.ok("enforce --at 2021-06-20T00:00:00+08:00");
    assert!(world.calls("t-1").is_empty() && world.agents("t-1").is_empty());
    assert_eq!(world.others("t-1"), others);
}

#[test]
fn a_hold_on_a_subject_keeps_it_from_age_and_requests_too() {
    for (clock, line) in &CLOCKS[..2] {
        let world = World::center();
        world.ok(line);
        place(&world, &format!("--subject {CALLER}"));
        world.ok("enforce --at 2022-03-01T00:00:00+08:00");
        assert_eq!(world.calls("t-1"), [11, 12, 14, 15], "{clock}");
    }
}

#[test]
fn a_hold_on_a_category_keeps_that_category_only() {
    for (clock, line) in &CLOCKS[1..] {
        let world = World::center();
        world.ok(line);
        place(&world, "--category call-data");
        world.ok(&format!("enforce --at {AT}"));
        assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15], "{clock}");
        assert!(world.agents("t-1").is_empty(), "{clock}");
    }
}

#[test]
fn a_record_under_two_holds_goes_when_the_last_is_released() {
    let world = World::center();
    world.ok(CLOCKS[2].1);
    let tenant = place(&world, "");
    let subject = place(&world, &format!("--subject {CALLER} --subject agent=A7"));
    world.ok(&format!("hold release {tenant}"));
    world.exits(2, &format!("hold release {tenant}"));
    world.ok(&format!("enforce --at {AT}"));
    assert_eq!(world.calls("t-1"), [11, 12, 14, 15]);
    world.ok(&format!("hold release {subject}"));
    world.ok(&format!("enforce --at {AT}"));
    assert!(world.calls("t-1").is_empty());
}

#[test]
fn a_request_that_a_hold_keeps_waiting_says_so_and_is_completed_afterwards() {
    let world = World::center();
    let request = world
        .ok(&format!("request create --tenant t-1 --subject {CALLER} --received 2021-07-01T00:00:00+08:00"));
    let hold = place(&world, &format!("--subject {CALLER}"));
    let show = format!("request show {}", request["request_id"].as_str().unwrap());
    world.ok("enforce --at 2021-07-02T00:00:00+08:00");
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    assert_eq!(world.ok(&show)["state"], "waiting");
    world.ok(&format!("hold release {hold}"));
    world.ok("enforce --at 2021-07-02T00:00:00+08:00");
    assert_eq!(world.calls("t-1"), [13, 15]);
    assert_eq!(world.ok(&show)["state"], "completed");
}

#[test]
fn a_hold_placed_after_planning_stops_the_plan_that_is_carried_out() {
    let world = World::center();
    world.ok("plan --at 2021-07-31T10:00:00+08:00 --out plan.json");
    place(&world, "");
    let report = world.ok("enforce --plan plan.json");
    assert_eq!(report["totals"]["erased"], 6, "the three neighbours, planned again: {report:#}");
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    assert!(world.path("objects/rec/t-1/a.wav").exists());
}

#[test]
fn a_hold_on_what_no_policy_knows_is_refused_for_it_would_keep_nothing() {
    let world = World::center();
    for line in [
        "hold place --tenant t-1 --category nonesuch --authority a",
        "hold place --tenant t-1 --subject colour=red --authority a",
        "hold place --tenant t-1",
        "hold place --authority a",
        "hold release hold-of-nobody",
    ] {
        world.exits(2, line);
    }
}
