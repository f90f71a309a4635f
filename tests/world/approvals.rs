//! Limits, approvals and the emergency stop: what is refused stays, the rest runs, and an approval lets pass what was
//! read and nothing more.

use serde_json::{Value, json};

use crate::harness::{World, placement};

const AT: &str = "2021-07-31T10:00:00+08:00";

/// A center whose four calls over age are more than it may erase unasked.
fn capped() -> World {
    let world = World::center();
    world.edit("retentiond.toml", "records = 1000000", "records = 2");
    world
}

fn refused(world: &World) -> (Value, String) {
    let ran = world.exits(3, &format!("enforce --at {AT}"));
    let id = ran.json["refusals"][0]["approve"].as_str().expect("an approval to give").to_owned();
    (ran.json, id)
}

fn calls_left(world: &World) -> u64 {
    world.number("calls.db", "SELECT CAST(count(*) AS TEXT) FROM call_record")
}

#[test]
fn over_a_limit_a_category_stays_the_others_run_and_an_approval_lets_exactly_it_pass() {
    let world = capped();
    world.ok("request create --tenant t-1 --category agent-info --received 2021-07-01T00:00:00+08:00");
    let plan = world.ok(&format!("plan --at {AT}"));
    assert!(!plan["refusals"].as_array().unwrap().is_empty(), "a plan over a limit says so and exits with 0");
    let (report, id) = refused(&world);
    assert_eq!(report["status"], "refused");
    let refusal = &report["refusals"][0];
    assert_eq!(
        (&refusal["code"], &refusal["category"], &refusal["store"]),
        (&json!("limit-records"), &json!("call-data"), &json!("calls"))
    );
    assert!(refusal["message"].is_string());
    assert_eq!(report["totals"]["erased"], 2, "the agents of the request");
    assert!(world.agents("t-1").is_empty());
    assert_eq!((calls_left(&world), world.objects().len()), (20, 8));
    let approved = world.ok(&format!("enforce --approve {id}"));
    assert_eq!(placement(&approved, "call-records")["erased"], 4);
    assert_eq!(placement(&approved, "recordings")["erased"], 4);
    assert_eq!((calls_left(&world), world.objects().len()), (16, 4));
    let again = world.run(&format!("enforce --approve {id}"));
    assert!(matches!(again.code, Some(2 | 3)), "a plan is approved once: {again:?}");
    world.exits(2, "enforce --approve 00000000000000000000000000000000");
    world.assert_settled();
}

#[test]
fn at_the_limit_nothing_is_refused() {
    let world = World::center();
    world.edit("retentiond.toml", "records = 1000000", "records = 4");
    assert_eq!(world.ok(&format!("enforce --at {AT}"))["totals"]["erased"], 8);
}

#[test]
fn the_share_counts_above_a_hundred_due_records_and_not_at_a_hundred() {
    let fill = |due: u32, young: u32| {
        let world = World::center();
        world.edit("retentiond.toml", "100%", "20%");
        world.sql(
            "calls.db",
            &format!(
                "DELETE FROM call_record;
             WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {due})
             INSERT INTO call_record (tenant_id, started_at) SELECT 't-1', '2021-01-01 00:00:00' FROM n;
             WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {young})
             INSERT INTO call_record (tenant_id, started_at) SELECT 't-1', '2021-07-01 00:00:00' FROM n;"
            ),
        );
        world.run(&format!("enforce --at {AT}"))
    };
    assert_eq!(fill(100, 1).code, Some(0));
    let over = fill(101, 1);
    assert_eq!((over.code, &over.json["refusals"][0]["code"]), (Some(3), &json!("limit-share")));
    assert_eq!(fill(120, 480).code, Some(0), "exactly a fifth");
    assert_eq!(fill(121, 480).code, Some(3), "a little more than a fifth");
}

#[test]
fn an_approval_never_erases_more_than_was_approved() {
    let world = capped();
    let (_, id) = refused(&world);
    world.sql("calls.db", "INSERT INTO call_record (id, tenant_id, started_at) VALUES
        (1, 't-1', '2021-01-01 00:00:00'), (2, 't-1', '2021-01-01 00:00:00'), (99, 't-1', '2021-01-01 00:00:00');");
    let report = world.ok(&format!("enforce --approve {id}"));
    assert_eq!(placement(&report, "call-records")["erased"], 4);
    assert_eq!(calls_left(&world), 19);
}

#[test]
fn an_approval_takes_only_what_is_still_due() {
    let world = capped();
    let (_, id) = refused(&world);
    world.sql(
        "calls.db",
        "UPDATE call_record SET started_at = '2021-07-30 00:00:00' WHERE id = 21;
        DELETE FROM call_record WHERE id = 31;",
    );
    let report = world.ok(&format!("enforce --approve {id}"));
    assert_eq!(placement(&report, "call-records")["erased"], 2);
    assert_eq!((world.calls("t-10"), world.calls("T-1")), (vec![21, 22, 23, 24, 25], vec![32, 33, 34, 35]));
    assert!(world.path("objects/rec/t-10/a.wav").exists());
}

#[test]
fn a_hold_between_refusal_and_approval_is_respected() {
    let world = capped();
    let (_, id) = refused(&world);
    world.ok("hold place --tenant t-1 --authority court");
    world.ok(&format!("enforce --approve {id}"));
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    assert_eq!(world.calls("t-10"), [22, 23, 24, 25]);
    assert!(world.path("objects/rec/t-1/a.wav").exists());
}

#[test]
fn a_request_that_is_cancelled_between_refusal_and_approval_is_dropped() {
    let world = capped();
    let request =
        world.ok("request create --tenant t-1 --category call-data --received 2021-07-20T00:00:00+08:00");
    let ran = world.exits(3, "enforce --at 2021-07-21T00:00:00+08:00");
    let id = ran.json["refusals"][0]["approve"].as_str().unwrap().to_owned();
    world.ok(&format!("request cancel {}", request["request_id"].as_str().unwrap()));
    world.run(&format!("enforce --approve {id}"));
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
}

#[test]
fn a_policy_that_was_edited_between_refusal_and_approval_drops_the_step() {
    let world = capped();
    let (_, id) = refused(&world);
    world.edit("policies/call-data.toml", "6 months", "7 months");
    world.run(&format!("enforce --approve {id}"));
    assert_eq!((calls_left(&world), world.objects().len()), (20, 8));
}

#[test]
fn an_approval_is_not_carried_over_to_other_records_that_an_edited_policy_makes_due() {
    let world = capped();
    let (_, id) = refused(&world);
    world.sql("calls.db", "DELETE FROM call_record WHERE id % 10 = 1;");
    world.edit("policies/call-data.toml", "6 months", "4 months");
    world.run(&format!("enforce --approve {id}"));
    assert_eq!(calls_left(&world), 16, "nobody approved these");
}

#[test]
fn a_stop_lets_nothing_begin_until_go() {
    let world = World::center();
    world.ok("stop --reason a-strange-plan");
    let ran = world.exits(3, &format!("enforce --at {AT}"));
    assert!(ran.stderr.contains("a-strange-plan"), "{}", ran.stderr);
    assert_eq!(calls_left(&world), 20);
    world.ok(&format!("plan --at {AT}"));
    assert_eq!(world.ok("hold list"), json!({"holds": []}));
    assert_eq!(world.run("status").json["stopped"], "a-strange-plan");
    world.ok("go");
    assert_eq!(world.ok(&format!("enforce --at {AT}"))["totals"]["erased"], 8);
}
