//! What a scheduled run leaves alone: requests that still wait, terminations that were due when they were recorded. To
//! the tick, in plan and review; an explicit `enforce` does not wait.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use retentiond::enforce::{Order, RunStatus, run_once};
use retentiond::ledger::Ledger;
use serde_json::json;

use super::{Daemon, TICK, present};
use crate::harness::{CALLER, World, wait_for};

const HOUR: Duration = Duration::from_secs(3_600);

/// The center with a call of yesterday, so that not everything is over age.
fn center() -> World {
    let world = World::center();
    let yesterday = (present() - TimeDelta::days(1)).format("%Y-%m-%d %H:%M:%S");
    let call = format!("16, 't-1', '{yesterday}', '+6591110001', '+6591110099', 'A2', 'n', NULL");
    world.sql("calls.db", &format!("INSERT INTO call_record VALUES ({call})"));
    world
}

/// A scheduled run, which ends well.
async fn scheduled(world: &World, at: DateTime<Utc>) {
    let order = Order::Scheduled { at, request_delay: HOUR };
    let report = run_once(&world.load(at), order, &|_| {}).await.unwrap();
    assert_eq!(report.status, RunStatus::Done, "{report:?}");
}

fn recorded_at(world: &World) -> DateTime<Utc> {
    wait_for(async { world.ledger().await.requests().await.unwrap()[0].recorded_at })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_served_when_its_delay_is_over_and_not_a_tick_before() {
    let world = center();
    let start = present();
    let mut daemon = Daemon::start(&world, start).await;
    assert_eq!(daemon.at(start).await, None);
    let request = world.ok(&format!("request create --tenant t-1 --subject {CALLER}"));
    let show = format!("request show {}", request["request_id"].as_str().unwrap());
    let ready = recorded_at(&world) + TimeDelta::hours(1);
    // The nightly tick may fall into this very hour; it leaves the request alone as well.
    daemon.at(ready - TICK).await;
    assert_eq!((world.agents("t-1").len(), &world.ok(&show)["state"]), (2, &json!("received")));
    let run = daemon.at(ready).await.expect("a run");
    assert_eq!(run.1, Some(RunStatus::Done), "{:?}", run.0);
    assert_eq!(world.agents("t-1"), ["A2"]);
    assert_eq!(world.ok(&show)["state"], "completed");
    assert_eq!(daemon.at(ready + TICK).await, None);
    world.assert_settled();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_within_the_delay_touches_nothing_of_the_request_and_does_not_settle_it() {
    let world = center();
    let request = world.ok(&format!("request create --tenant t-1 --subject {CALLER}"));
    let id = request["request_id"].as_str().unwrap();
    let ready = recorded_at(&world) + TimeDelta::hours(1);
    scheduled(&world, ready - TICK).await;
    // What is over age went, and what only the request asks for is there.
    assert_eq!(world.calls("t-1"), [14, 16]);
    assert_eq!(world.agents("t-1"), ["A1", "A2"]);
    let shown = world.ok(&format!("request show {id}"));
    assert_eq!(shown["state"], "received");
    let untouched =
        |placement: &serde_json::Value| placement["state"] == "received" && placement["erased"] == 0;
    assert!(shown["placements"].as_array().unwrap().iter().all(untouched), "{shown:#}");
    for at in [ready, ready + TICK] {
        let copy = world.copy();
        scheduled(&copy, at).await;
        assert!(copy.calls("t-1").is_empty(), "the delay is over");
        assert_eq!(copy.ok(&format!("request show {id}"))["state"], "completed");
    }
    world.ok(&format!("request cancel {id}"));
    scheduled(&world, ready).await;
    assert_eq!(world.calls("t-1"), [14, 16], "it was cancelled in time");
    world.assert_settled();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_which_nothing_is_left_is_not_completed_within_its_delay() {
    let world = center();
    let request = world.ok("request create --tenant t-1 --subject phone=+6590000000");
    let show = format!("request show {}", request["request_id"].as_str().unwrap());
    let ready = recorded_at(&world) + TimeDelta::hours(1);
    scheduled(&world, ready - TICK).await;
    assert_eq!(world.ok(&show)["state"], "received");
    scheduled(&world, ready).await;
    assert_eq!(world.ok(&show)["state"], "completed");
}

#[test]
fn an_explicit_enforce_waits_for_no_delay() {
    let world = center();
    let request = world.ok(&format!("request create --tenant t-1 --subject {CALLER}"));
    world.ok("enforce");
    assert!(world.calls("t-1").is_empty());
    let shown = world.ok(&format!("request show {}", request["request_id"].as_str().unwrap()));
    assert_eq!(shown["state"], "completed");
}

/// A termination of more than the grace ago, told now.
fn backdated() -> (World, DateTime<Utc>) {
    let world = center();
    let ended = (present() - TimeDelta::days(25)).to_rfc3339();
    world.ok(&format!("tenant terminate t-1 --at {ended}"));
    let recorded = wait_for(async { world.ledger().await.tenants().await.unwrap()[0].recorded_at });
    (world, recorded)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_termination_that_was_due_when_it_was_recorded_rests_a_day_and_age_rests_too() {
    let (world, recorded) = backdated();
    let touched = recorded + TimeDelta::hours(24);
    scheduled(&world, touched - TICK).await;
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15, 16], "nothing of the tenant, by whatever rule");
    assert_eq!(world.agents("t-1"), ["A1", "A2"]);
    assert_eq!(world.calls("t-10"), [24], "the neighbour's age goes on");
    for at in [touched, touched + TICK] {
        let copy = world.copy();
        scheduled(&copy, at).await;
        assert!(copy.calls("t-1").is_empty() && copy.agents("t-1").is_empty());
        copy.assert_settled();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explicit_enforce_does_not_wait_for_a_backdated_termination() {
    let (world, _) = backdated();
    world.ok("enforce");
    assert!(world.calls("t-1").is_empty() && world.agents("t-1").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backdated_termination_whose_grace_still_ran_ends_with_its_grace() {
    let world = center();
    let ended = present() - TimeDelta::days(14);
    world.ok(&format!("tenant terminate t-1 --at {}", ended.to_rfc3339()));
    let over = ended + TimeDelta::days(15);
    scheduled(&world, over - TICK).await;
    assert_eq!(world.calls("t-1").len(), 6);
    scheduled(&world, over).await;
    assert!(world.calls("t-1").is_empty());
}
