//! Erasure requests: what they cover, what they leave, and what they say about themselves.

use serde_json::{Value, json};

use crate::harness::{CALLER, World, placement, same_instant};

const RECEIVED: &str = "--received 2021-07-01T00:00:00+08:00";

fn create(world: &World, what: &str) -> Value {
    world.ok(&format!("request create --tenant t-1 {what} {RECEIVED}"))
}

#[test]
fn a_subjects_request_takes_what_names_the_subject_up_to_the_receipt_and_nothing_else() {
    let world = World::center();
    let others = world.others("t-1");
    let request = create(&world, &format!("--subject {CALLER}"));
    assert_eq!(request["tenant"], "t-1");
    assert_eq!(request["known"], true);
    assert_eq!(request["state"], "received");
    assert!(same_instant(&request["received_at"], "2021-07-01T00:00:00+08:00"));
    assert!(
        same_instant(&request["deadline"], "2021-07-21T00:00:00+08:00"),
        "the earliest of its categories"
    );
    assert_eq!(
        world.ok("enforce --at 2021-06-30T23:59:59+08:00")["totals"]["erased"],
        0,
        "before its receipt"
    );
    let plan = world.ok("plan --at 2021-07-02T00:00:00+08:00");
    let step = &plan["steps"][0];
    assert_eq!((&step["reason"], &step["request_id"]), (&json!("request"), &request["request_id"]));
    assert_eq!(step["subject"]["kind"], "phone");
    assert!(!plan.to_string().contains("6591110001"), "the value of a subject is in a plan");
    let report = world.ok("enforce --at 2021-07-02T00:00:00+08:00");
    assert_eq!(placement(&report, "call-records")["erased"], 3);
    assert_eq!(placement(&report, "recordings")["erased"], 1);
    assert_eq!(placement(&report, "agents")["erased"], 1);
    assert_eq!(world.calls("t-1"), [13, 15], "13 names somebody else, 15 came after the receipt");
    assert_eq!(world.agents("t-1"), ["A2"]);
    assert!(!world.path("objects/rec/t-1/a.wav").exists() && world.path("objects/rec/t-1/b.wav").exists());
    assert_eq!(world.others("t-1"), others);
    let shown = world.ok(&format!("request show {}", request["request_id"].as_str().unwrap()));
    assert_eq!(shown["state"], "completed", "{shown:#}");
    assert!(shown["completed_at"].is_string());
    assert_eq!(placement(&shown, "call-records")["verified_absent"], 3);
    let listed = world.ok("request list");
    assert_eq!(listed["requests"][0]["request_id"], request["request_id"]);
    assert!(!listed.to_string().contains("6591110001"), "the value of a subject is in a list");
    world.assert_settled();
}

#[test]
fn the_receipt_is_the_last_instant_that_a_request_covers() {
    let world = World::center();
    world.sql(
        "calls.db",
        "INSERT INTO call_record (id, tenant_id, started_at, caller) VALUES
         (101, 't-1', '2021-07-01 00:00:00', '+6591110001'), (102, 't-1', '2021-07-01 00:00:01', '+6591110001');",
    );
    create(&world, &format!("--subject {CALLER}"));
    world.ok("enforce --at 2021-07-01T00:00:00+08:00");
    assert_eq!(world.calls("t-1"), [13, 15, 102]);
}

#[test]
fn a_request_for_a_category_leaves_the_other_categories() {
    let world = World::center();
    let others = world.others("t-1");
    let request = create(&world, "--category call-data");
    assert_eq!(request["categories"], json!(["call-data"]));
    assert!(same_instant(&request["deadline"], "2021-07-31T00:00:00+08:00"), "30 days");
    world.ok("enforce --at 2021-07-02T00:00:00+08:00");
    assert_eq!(world.calls("t-1"), [13, 15], "13 and 15 came after the receipt");
    assert_eq!(world.agents("t-1"), ["A1", "A2"]);
    assert_eq!(world.others("t-1"), others);
}

#[test]
fn a_request_for_everything_takes_every_category_of_one_tenant() {
    let world = World::center();
    let others = world.others("t-1");
    create(&world, "--everything");
    let report = world.ok("enforce --at 2021-07-02T00:00:00+08:00");
    assert_eq!(report["totals"]["erased"], 6, "three calls, a recording, two agents");
    assert_eq!(world.calls("t-1"), [13, 15]);
    assert!(world.agents("t-1").is_empty());
    assert_eq!(world.others("t-1"), others);
}

#[test]
fn several_subjects_of_a_request_are_joined_by_or() {
    let world = World::center();
    let others = world.others("t-1");
    create(&world, "--subject phone=+6591110002 --subject agent=A1");
    world.ok("enforce --at 2021-07-02T00:00:00+08:00");
    assert_eq!(world.calls("t-1"), [11, 13, 14, 15]);
    assert_eq!(world.agents("t-1"), ["A2"]);
    assert_eq!(world.others("t-1"), others);
}

#[test]
fn a_cancelled_request_is_never_carried_out() {
    let world = World::center();
    let id = create(&world, "--everything")["request_id"].as_str().unwrap().to_owned();
    assert_eq!(world.ok(&format!("request cancel {id}"))["state"], "cancelled");
    let report = world.ok("enforce --at 2021-07-02T00:00:00+08:00");
    assert_eq!(report["totals"]["erased"], 0);
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    world.exits(2, &format!("request cancel {id}"));
    world.exits(2, "request show req-of-nobody");
}

#[test]
fn what_a_request_does_not_say_is_never_guessed() {
    let world = World::center();
    for line in [
        "request create --tenant t-1",
        "request create --tenant t-1 --everything --category call-data",
        "request create --tenant t-1 --subject phone=1 --everything",
        "request create --tenant t-1 --category nonesuch",
        "request create --tenant t-1 --subject colour=red",
        "request create --tenant t-1 --subject phone",
        "request create --tenant t-1 --subject phone=",
        "request create --everything",
        "request create --tenant t-1 --tenant t-10 --everything",
        "request create --tenant t-1,t-10 --everything",
        "request create --tenant all --all-tenants --everything",
    ] {
        assert_eq!(world.exits(2, line).json["error"]["code"], "usage", "{line}");
    }
    assert!(!world.path("retentiond.db").exists());
}

#[test]
fn an_idempotency_key_makes_one_request_and_refuses_another_content() {
    let world = World::center();
    let first = create(&world, "--everything --key k1");
    assert_eq!(create(&world, "--everything --key k1")["request_id"], first["request_id"]);
    world.exits(2, &format!("request create --tenant t-10 --everything --key k1 {RECEIVED}"));
    assert_eq!(world.ok("request list")["requests"].as_array().unwrap().len(), 1);
}

#[test]
fn a_tenant_that_no_store_knows_is_accepted_with_a_warning() {
    let world = World::center();
    let ran = world.exits(0, &format!("request create --tenant t-100 --everything {RECEIVED}"));
    assert_eq!(ran.json["known"], false);
    assert!(ran.stderr.contains("t-100"), "{}", ran.stderr);
    assert_eq!(world.ok("enforce --at 2021-07-02T00:00:00+08:00")["totals"]["erased"], 0);
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
}
