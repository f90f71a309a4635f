//! Alarms and notices over a whole center: what stands, from when to when, and who is told.
//! It owns the stories; which alarm follows from which fact is tested beside the code.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use retentiond::alarms::{Notes, Watched, watch_once};
use retentiond::clock::Clock;
use retentiond::id::TenantId;
use retentiond::ledger::{DeliveryFate, DeliveryRow, Ledger, NewRequest, NewScope};
use retentiond::{audit, gather};
use serde_json::Value;

use crate::harness::{World, instant, wait_for};

/// Two addresses of the operator, one of a tenant.
const TOLD: &str = r#"
[alarms]
webhooks = ["https://ops.example.com/hook/secret-a", "https://pager.example.com/secret-b"]
[tenants.t-1]
notices = "https://acme.example.com/notices"
"#;

/// The first call of every tenant is of 31 January 2021, 10:00 in Singapore; it is due on 31 July at 10:00 and gone two
/// days later.
const FIRST_DEADLINE: &str = "2021-08-02T02:00:00Z";

fn told() -> World {
    let world = World::center();
    let config = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
    world.write("retentiond.toml", &format!("{config}{TOLD}"));
    world
}

fn look(world: &World, now: DateTime<Utc>) -> Watched {
    wait_for(async {
        let ledger = world.ledger().await;
        // As a process that serves does each minute.
        audit::publish(&ledger, &world.path("audit"), now).await.unwrap();
        watch_once(&world.load(now), &ledger, &Notes::default(), now).await.unwrap()
    })
}

fn keys(watched: &Watched) -> BTreeSet<String> {
    watched.standing.iter().map(|row| row.alarm.key.clone()).collect()
}

fn keys_of(watched: &Watched, kind: &str) -> BTreeSet<String> {
    let of_kind = watched.standing.iter().filter(|row| row.alarm.kind == kind);
    of_kind.map(|row| row.alarm.key.clone()).collect()
}

fn messages(world: &World) -> Vec<DeliveryRow> {
    wait_for(async { world.ledger().await.undelivered(1_000).await.unwrap() })
}

fn bodies(world: &World, kind: &str) -> Vec<Value> {
    let rows = messages(world).into_iter().filter(|row| row.kind == kind);
    rows.map(|row| serde_json::from_str(&row.body).unwrap()).collect()
}

fn terminate(world: &World, tenant: &str, terminated_at: &str, now: &str) {
    wait_for(async {
        let tenant = TenantId::parse(tenant).unwrap();
        let ledger = world.ledger().await;
        ledger.terminate(&tenant, instant(terminated_at), instant(now)).await.unwrap();
    });
}

fn all_of(kind: &str, placement: &str) -> BTreeSet<String> {
    crate::harness::TENANTS.iter().map(|tenant| format!("{kind}/{placement}/{tenant}")).collect()
}

#[test]
fn an_alarm_stands_from_the_lead_before_a_deadline_and_another_from_its_first_instant() {
    let world = told();
    let deadline = instant(FIRST_DEADLINE);
    let tick = TimeDelta::microseconds(1);
    let both = |kind| {
        let mut all = all_of(kind, "call-records");
        all.extend(all_of(kind, "recordings"));
        all
    };
    // A quarter of two days.
    let lead = deadline - TimeDelta::hours(12);
    let records = |watched: &Watched| -> BTreeSet<String> {
        keys(watched).into_iter().filter(|key| !key.starts_with("parked")).collect()
    };
    assert_eq!(records(&look(&world, lead - tick)), BTreeSet::new());
    assert_eq!(records(&look(&world, lead)), both("at-risk"));
    assert_eq!(records(&look(&world, deadline - tick)), both("at-risk"));
    let late = look(&world, deadline);
    assert_eq!(records(&late), both("overdue"));
    let raised: BTreeSet<&str> = late
        .changed
        .iter()
        .filter(|row| row.cleared_at.is_none())
        .map(|row| row.alarm.kind.as_str())
        .collect();
    assert_eq!(raised, BTreeSet::from(["overdue"]));
    let status = wait_for(gather::status(&world.load(deadline))).unwrap();
    assert_eq!((status.overdue, status.at_risk), (8, 0), "four rows and their four recordings");
    world.sql("calls.db", "UPDATE call_record SET started_at = '2021-07-01 00:00:00' WHERE id = 11");
    std::fs::remove_file(world.path("objects/rec/t-1/a.wav")).unwrap();
    let after = look(&world, deadline + tick);
    let gone: BTreeSet<&str> = after
        .changed
        .iter()
        .filter(|row| row.cleared_at.is_some())
        .map(|row| row.alarm.key.as_str())
        .collect();
    assert_eq!(gone, BTreeSet::from(["overdue/call-records/t-1", "overdue/recordings/t-1"]));
}

#[test]
fn the_overdue_alarms_are_exactly_those_of_the_overdue_records() {
    let world = told();
    for (day, expected) in
        [("2021-08-02", 1), ("2021-09-16", 1), ("2021-09-18", 2), ("2022-01-18", 3), ("2022-03-01", 4)]
    {
        let now = instant(&format!("{day}T02:00:00Z"));
        let watched = look(&world, now);
        // Counted by hand in the store: six months and two days by SQLite's own calendar, in Singapore's clock.
        let query = format!(
            "SELECT tenant_id || '|' || count(*) FROM call_record WHERE started_at IS NOT NULL AND \
             datetime(started_at, '+6 months', '+2 days', '-8 hours') <= '{} 02:00:00' GROUP BY tenant_id",
            day
        );
        let by_hand: BTreeSet<String> = world.texts("calls.db", &query).into_iter().collect();
        let told: BTreeSet<String> = watched
            .standing
            .iter()
            .filter(|row| row.alarm.kind == "overdue" && row.alarm.fields["placement"] == "call-records")
            .map(|row| {
                format!("{}|{}", row.alarm.fields["tenant"].as_str().unwrap(), row.alarm.fields["records"])
            })
            .collect();
        assert_eq!(told, by_hand, "{day}");
        assert!(told.iter().all(|one| one.ends_with(&format!("|{expected}"))), "{day}: {told:?}");
    }
}

#[test]
fn everybody_is_told_once_of_each_alarm_and_once_of_its_end() {
    let world = told();
    let late = instant(FIRST_DEADLINE);
    let first = look(&world, late);
    let raised = first.changed.len();
    assert_eq!(messages(&world).len(), raised * 2, "each of two addresses");
    look(&world, late + TimeDelta::minutes(1));
    assert_eq!(messages(&world).len(), raised * 2, "nobody is told again");
    world.sql("calls.db", "DELETE FROM call_record WHERE tenant_id = 't-1'");
    look(&world, late + TimeDelta::minutes(2));
    let cleared: Vec<Value> =
        bodies(&world, "alarm").into_iter().filter(|body| body["type"] == "alarm-cleared").collect();
    assert_eq!(cleared.len(), 4, "two alarms of t-1, to two addresses: {cleared:#?}");
    assert!(cleared.iter().all(|body| body["fields"]["tenant"] == "t-1" && !body["cleared_at"].is_null()));
}

#[test]
fn a_crash_between_recording_and_telling_loses_no_message() {
    let world = told();
    let late = instant(FIRST_DEADLINE);
    look(&world, late);
    let all = messages(&world).len();
    world.sql("retentiond.db", "DELETE FROM delivery");
    look(&world, late + TimeDelta::minutes(1));
    assert_eq!(messages(&world).len(), all, "what stands is told of");
    world.sql("calls.db", "DELETE FROM call_record");
    look(&world, late + TimeDelta::minutes(2));
    world.sql("retentiond.db", "DELETE FROM delivery");
    look(&world, late + TimeDelta::hours(23));
    let kinds: Vec<Value> = bodies(&world, "alarm").into_iter().map(|body| body["type"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "alarm-cleared").count(), all, "and what has ended since");
    assert_eq!(kinds.iter().filter(|kind| *kind == "alarm-raised").count(), all);
}

#[test]
fn while_a_store_is_out_of_reach_what_was_known_stands_and_requests_are_watched_by_the_ledger() {
    let world = told();
    let late = instant(FIRST_DEADLINE);
    let before = keys_of(&look(&world, late), "overdue");
    assert_eq!(before.len(), 8);
    let received_at = late - TimeDelta::days(29);
    wait_for(async {
        let new = NewRequest {
            tenant: TenantId::parse("t-10").unwrap(),
            scope: NewScope::Everything,
            received_at,
            deadline: late + TimeDelta::days(1),
            covers: Vec::new(),
            placements: vec![retentiond::id::PlacementId::new("agents")],
            known: true,
            idempotency_key: None,
        };
        world.ledger().await.create_request(&new, received_at).await.unwrap();
    });
    terminate(&world, "T-1", "2021-07-04T00:00:00Z", "2021-07-04T00:00:00Z");
    std::fs::rename(world.path("calls.db"), world.path("away.db")).unwrap();
    let silent = look(&world, late + TimeDelta::days(1));
    assert_eq!(keys_of(&silent, "store-unreachable").len(), 1, "{:?}", keys(&silent));
    let overdue = keys_of(&silent, "overdue");
    assert!(before.is_subset(&overdue), "{overdue:?}");
    let request = overdue.iter().find(|key| key.starts_with("overdue/request/req-"));
    assert!(request.is_some(), "{overdue:?}");
    assert!(overdue.contains("overdue/termination/T-1"), "{overdue:?}");
    std::fs::rename(world.path("away.db"), world.path("calls.db")).unwrap();
    let again = look(&world, late + TimeDelta::days(1));
    assert_eq!(keys_of(&again, "store-unreachable"), BTreeSet::new());
    assert!(!keys(&again).iter().any(|key| key.contains("/termination/")), "{:?}", keys(&again));
}

#[test]
fn a_tenant_is_told_seven_days_and_one_day_before_its_data_goes() {
    let world = told();
    terminate(&world, "t-1", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    // Midnight in UTC is eight in the morning in Singapore; the grace is over 15 days later at the same time.
    let goes_at = instant("2026-01-16T00:00:00Z");
    let tick = TimeDelta::microseconds(1);
    let notices = |now| {
        look(&world, now);
        bodies(&world, "notice").len()
    };
    assert_eq!(notices(goes_at - TimeDelta::days(7) - tick), 0);
    assert_eq!(notices(goes_at - TimeDelta::days(7)), 1);
    assert_eq!(notices(goes_at - TimeDelta::days(2)), 1, "once");
    assert_eq!(notices(goes_at - TimeDelta::days(1)), 2);
    assert_eq!(notices(goes_at - tick), 2, "once");
    let rows: Vec<DeliveryRow> = messages(&world).into_iter().filter(|row| row.kind == "notice").collect();
    assert!(rows.iter().all(|row| row.url == "https://acme.example.com/notices"), "{rows:#?}");
    let body: Value = serde_json::from_str(&rows[0].body).unwrap();
    assert_eq!(
        (&body["tenant"], &body["erased_from"]),
        (&Value::from("t-1"), &Value::from("2026-01-16T00:00:00Z"))
    );
    let audited = world.ok("audit show").to_string();
    assert_eq!(audited.matches("notice-enqueued").count(), 2, "{audited}");
}

#[test]
fn a_backdated_termination_has_its_notice_at_once_and_the_operator_where_the_tenant_has_no_address() {
    let world = told();
    terminate(&world, "t-10", "2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z");
    look(&world, instant("2026-03-01T00:00:00Z"));
    let rows: Vec<DeliveryRow> = messages(&world).into_iter().filter(|row| row.kind == "notice").collect();
    let urls: BTreeSet<&str> = rows.iter().map(|row| row.url.as_str()).collect();
    assert_eq!(
        urls,
        BTreeSet::from(["https://ops.example.com/hook/secret-a", "https://pager.example.com/secret-b"])
    );
    let body: Value = serde_json::from_str(&rows[0].body).unwrap();
    assert_eq!(body["erased_from"], "2026-03-02T00:00:00Z", "a day after it was told");
    look(&world, instant("2026-03-02T00:00:00Z"));
    assert_eq!(bodies(&world, "notice").len(), 2, "no notice says that data will go once it goes");
}

#[test]
fn a_reinstatement_withdraws_notices_that_are_still_on_their_way() {
    let world = told();
    terminate(&world, "t-1", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    look(&world, instant("2026-01-10T00:00:00Z"));
    let before = messages(&world).into_iter().find(|row| row.kind == "notice").unwrap();
    assert_eq!(before.given_up_at, None);
    wait_for(async {
        let ledger = world.ledger().await;
        let failure = "no answer".to_owned();
        let later = DeliveryFate::Later { failure, next_at: instant("2026-01-11T00:00:00Z") };
        ledger.settle_delivery(before.number, &later, instant("2026-01-10T00:01:00Z")).await.unwrap();
        let tenant = TenantId::parse("t-1").unwrap();
        ledger.reinstate(&tenant, instant("2026-01-10T12:00:00Z")).await.unwrap();
    });
    let watched = look(&world, instant("2026-01-10T12:01:00Z"));
    let after = messages(&world).into_iter().find(|row| row.kind == "notice").unwrap();
    assert!(after.given_up_at.is_some(), "{after:#?}");
    let taken = wait_for(async {
        let ledger = world.ledger().await;
        let now = instant("2026-02-01T00:00:00Z");
        ledger.take_deliveries(100, now + TimeDelta::minutes(1), now).await.unwrap()
    });
    assert!(taken.iter().all(|row| row.kind != "notice"), "nobody gets it any more");
    assert_eq!(keys_of(&watched, "delivery-given-up"), BTreeSet::new());
    look(&world, instant("2026-01-15T12:00:00Z"));
    assert_eq!(bodies(&world, "notice").len(), 1, "and there is no other");
}

#[test]
fn a_run_over_a_limit_waits_with_an_alarm_until_it_is_approved() {
    let world = told();
    world.edit("retentiond.toml", "records = 1000000", "records = 3");
    let refused = world.exits(3, "enforce").json;
    let plan = refused["refusals"][0]["approve"].as_str().unwrap().to_owned();
    let now = Clock::System.now();
    let watched = look(&world, now);
    assert_eq!(keys_of(&watched, "run-refused"), BTreeSet::from([format!("run-refused/{plan}")]));
    world.ok(&format!("enforce --approve {plan}"));
    assert_eq!(keys_of(&look(&world, Clock::System.now()), "run-refused"), BTreeSet::new());
}

#[test]
fn a_forecast_from_measured_runs_puts_a_request_at_risk_weeks_before_its_deadline() {
    let world = told();
    world.sql("calls.db", "DELETE FROM call_record");
    world.sql(
        "calls.db",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
         INSERT INTO call_record (id, tenant_id, started_at, caller, callee, agent_id)
         SELECT i, 't-1', '2021-01-01 00:00:00', '+659111', '+659112', 'A1' FROM n",
    );
    let report = world.ok("enforce");
    assert_eq!(report["totals"]["erased"], 1200);
    // The run took about a second; as if it had taken ten days, so that it is 5 records an hour.
    world.sql("retentiond.db", "UPDATE run SET started_at = ended_at - 864000000000");
    let now = Clock::System.now();
    let insert = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < COUNT)
         INSERT INTO agent SELECT 't-10', 'S' || i, '+6590' || i FROM n";
    world.sql("calls.db", &insert.replace("COUNT", "3000"));
    world.ok("request create --tenant t-10 --category agent-info");
    let watched = look(&world, now + TimeDelta::minutes(1));
    assert_eq!(keys_of(&watched, "at-risk"), BTreeSet::from(["at-risk/agents/t-10".to_owned()]));
    let fields = &watched.standing.iter().find(|row| row.alarm.kind == "at-risk").unwrap().alarm.fields;
    assert_eq!(fields["forecast"]["per_hour"], 5);
    assert_eq!(fields["forecast"]["due_now"], 3002);
    world.sql("calls.db", "DELETE FROM agent WHERE staff_id LIKE 'S%'");
    let fewer = look(&world, now + TimeDelta::minutes(2));
    assert_eq!(keys_of(&fewer, "at-risk"), BTreeSet::new(), "two records are done in time");
}
