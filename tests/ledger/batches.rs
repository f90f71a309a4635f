//! Runs and their batches: the permit, the barrier between holds and batches, recovery after a crash, outcomes.
//! It owns these tests; what was asked is in `facts`.

use std::time::Duration;

use retentiond::id::{PlacementId, PlanId, RequestId, RunId, StepId, StoreId};
use retentiond::ledger::{
    BatchGuard, ErasedScope, Intent, Ledger, Mark, NewScope, Permit, Permits, RefusedPlan, StepOutcome,
};
use retentiond::plan::{Counts, CountsByTenant, Residual};
use retentiond::policy::Level;

use super::{
    at, begin_run, category, hold, intent, kinds, on_every_ledger, plan, policies, refused, request,
};
use super::{run, tenant, unknown};

/// How long something may take that must happen: generous, for a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// How long something is watched that must not happen.
const A_WHILE: Duration = Duration::from_millis(150);

on_every_ledger! {
    a_batch_begins_when_nothing_has_moved,
    a_hold_waits_for_the_batch_that_runs,
    a_batch_after_the_hold_is_told_to_plan_again,
    a_batch_of_several_steps_begins_for_all_of_them_or_for_none,
    a_hold_is_not_starved_by_batches_that_keep_coming,
    a_wait_that_was_cut_short_leaves_nothing_unwaited,
    a_step_over_all_tenants_moves_with_any_of_them,
    a_policy_that_changed_stops_the_batch,
    a_stop_holds_every_batch_until_go,
    a_batch_belongs_to_a_run_that_runs,
    an_intent_without_outcome_is_found_after_a_crash,
    one_run_at_a_time,
    runs_are_listed_latest_first,
    a_refused_plan_is_approved_once,
    an_outcome_is_recorded_once_and_read_back,
    a_marker_is_recorded_once,
}

async fn granted(ledger: &dyn Ledger, intent: &Intent) -> BatchGuard {
    match ledger.begin_batch(intent, at(10)).await.expect("an answer") {
        Permit::Granted(guard) => guard,
        Permit::Moved => panic!("moved"),
        Permit::PolicyMoved => panic!("policy moved"),
        Permit::Stopped(_) => panic!("stopped"),
        Permit::Lost => panic!("lost"),
    }
}

fn counts(of: &str, erased: u64) -> CountsByTenant {
    CountsByTenant::from([(tenant(of), Counts { erased, verified_absent: erased, ..Counts::default() })])
}

async fn a_batch_begins_when_nothing_has_moved(one: &dyn Ledger, other: &dyn Ledger) {
    let run = begin_run(one, "run-1").await;
    let first = granted(one, &intent(&run, Some("t-1"), 0)).await;
    let second = granted(other, &intent(&run, None, 0)).await;
    assert_ne!(first.number, second.number, "batches run side by side");
    one.finish_batch(first.number, &counts("t-1", 1), at(11)).await.expect("finished");
    other.finish_batch(second.number, &counts("t-1", 1), at(11)).await.expect("finished");
    refused(one.finish_batch(first.number, &counts("t-1", 1), at(12)).await);
    unknown(one.finish_batch(99, &counts("t-1", 1), at(12)).await);
    assert!(one.open_intents().await.expect("intents").is_empty());
}

async fn a_hold_waits_for_the_batch_that_runs(one: &dyn Ledger, other: &dyn Ledger) {
    let run = begin_run(one, "run-1").await;
    other.wait_for_batches().await.expect("nothing runs yet");
    let guard = granted(one, &intent(&run, Some("t-1"), 0)).await;
    other.place_hold(&hold("t-1", vec![]), at(20)).await.expect("placed, although a batch runs");
    let mut wait = other.wait_for_batches();
    assert!(tokio::time::timeout(A_WHILE, &mut wait).await.is_err(), "the batch still runs");
    one.finish_batch(guard.number, &counts("t-1", 1), at(21)).await.expect("finished");
    drop(guard);
    tokio::time::timeout(SOON, wait).await.expect("soon").expect("waited");
}

async fn a_batch_after_the_hold_is_told_to_plan_again(one: &dyn Ledger, other: &dyn Ledger) {
    let run = begin_run(one, "run-1").await;
    other.place_hold(&hold("t-1", vec![]), at(20)).await.expect("placed");
    let answer = one.begin_batch(&intent(&run, Some("t-1"), 0), at(21)).await.expect("an answer");
    assert!(matches!(answer, Permit::Moved));
    assert!(one.open_intents().await.expect("intents").is_empty(), "no intent was written");
    let guard = granted(one, &intent(&run, Some("t-10"), 0)).await;
    let planned_anew = granted(one, &intent(&run, Some("t-1"), 1)).await;
    drop((guard, planned_anew));
    tokio::time::timeout(SOON, other.wait_for_batches()).await.expect("soon").expect("waited");
}

async fn a_batch_of_several_steps_begins_for_all_of_them_or_for_none(one: &dyn Ledger, other: &dyn Ledger) {
    let run = begin_run(one, "run-1").await;
    other.place_hold(&hold("t-10", vec![]), at(20)).await.expect("placed");
    let both = [intent(&run, Some("t-1"), 0), intent(&run, Some("t-10"), 0)];
    let answer = one.begin_batches(&both, at(21)).await.expect("an answer");
    assert!(matches!(answer, Permits::Refused { index: 1, why: Permit::Moved }));
    assert!(one.open_intents().await.expect("intents").is_empty(), "not even the first was written");
    let both = [intent(&run, Some("t-1"), 0), intent(&run, Some("t-10"), 1)];
    let Permits::Granted { numbers, lock, .. } = one.begin_batches(&both, at(22)).await.expect("an answer")
    else {
        panic!("refused");
    };
    let mut wait = other.wait_for_batches();
    assert!(tokio::time::timeout(A_WHILE, &mut wait).await.is_err(), "the batch still runs");
    let outcomes: Vec<_> = numbers.iter().zip(["t-1", "t-10"]).map(|(n, t)| (*n, counts(t, 1))).collect();
    assert_eq!(outcomes.len(), 2);
    one.finish_batches(&outcomes, at(23)).await.expect("finished");
    drop(lock);
    tokio::time::timeout(SOON, wait).await.expect("soon").expect("waited");
    assert!(one.open_intents().await.expect("intents").is_empty());
}

async fn a_hold_is_not_starved_by_batches_that_keep_coming(one: &dyn Ledger, other: &dyn Ledger) {
    let run = begin_run(one, "run-1").await;
    let intent = intent(&run, Some("t-1"), 0);
    let mut waits = Box::pin(async {
        for _ in 0..3 {
            other.wait_for_batches().await.expect("waited");
        }
    });
    // At any moment at least one batch runs: the next begins before the last ends.
    let endless = async {
        let mut last = granted(one, &intent).await;
        for _ in 0..10_000 {
            let next = granted(one, &intent).await;
            one.finish_batch(last.number, &counts("t-1", 1), at(11)).await.expect("finished");
            last = next;
        }
        drop(last);
    };
    tokio::select! {
        () = &mut waits => {}
        () = endless => panic!("ten thousand batches were let past"),
    }
}

async fn a_wait_that_was_cut_short_leaves_nothing_unwaited(one: &dyn Ledger, other: &dyn Ledger) {
    let run = begin_run(one, "run-1").await;
    let guard = granted(one, &intent(&run, Some("t-1"), 0)).await;
    for _ in 0..3 {
        assert!(tokio::time::timeout(A_WHILE, other.wait_for_batches()).await.is_err(), "it still runs");
    }
    drop(guard);
    tokio::time::timeout(SOON, other.wait_for_batches()).await.expect("soon").expect("waited");
}

async fn a_step_over_all_tenants_moves_with_any_of_them(one: &dyn Ledger, other: &dyn Ledger) {
    let run = begin_run(one, "run-1").await;
    other.create_request(&request("t-10", NewScope::Everything, 0), at(1)).await.expect("recorded");
    let answer = one.begin_batch(&intent(&run, None, 0), at(2)).await.expect("an answer");
    assert!(matches!(answer, Permit::Moved));
    granted(one, &intent(&run, None, 1)).await;
    granted(one, &intent(&run, Some("t-1"), 0)).await;
}

async fn a_policy_that_changed_stops_the_batch(one: &dyn Ledger, _other: &dyn Ledger) {
    let run_id = begin_run(one, "run-1").await;
    let mut other_digest = intent(&run_id, Some("t-1"), 0);
    other_digest.policy.1 = "d0".to_owned();
    let mut other_category = intent(&run_id, Some("t-1"), 0);
    other_category.policy.0 = category("logs");
    for intent in [other_digest, other_category] {
        let answer = one.begin_batch(&intent, at(2)).await.expect("an answer");
        assert!(matches!(answer, Permit::PolicyMoved));
    }
    one.end_run(&run_id, "done", at(3)).await.expect("ended");
    let (plan, mut policies) = (plan(1), policies());
    policies.insert(category("call-data"), "d2".to_owned());
    let next = run("run-2", &plan);
    one.begin_run(&next, &plan, &policies).await.expect("begun");
    let answer = one.begin_batch(&intent(&next.run_id, Some("t-1"), 0), at(4)).await.expect("an answer");
    assert!(matches!(answer, Permit::PolicyMoved), "the policy in force is the new one");
}

async fn a_stop_holds_every_batch_until_go(one: &dyn Ledger, other: &dyn Ledger) {
    let run = begin_run(one, "run-1").await;
    assert!(!other.go(at(1)).await.expect("no stop was on"));
    other.stop("wrong policy", at(2)).await.expect("stopped");
    other.stop("again", at(3)).await.expect("stopped already");
    match one.begin_batch(&intent(&run, Some("t-1"), 0), at(4)).await.expect("an answer") {
        Permit::Stopped(stop) => assert_eq!((stop.stopped_at, stop.reason.as_str()), (at(2), "wrong policy")),
        Permit::Granted(_) | Permit::Moved | Permit::PolicyMoved | Permit::Lost => panic!("not stopped"),
    }
    assert!(one.stopped().await.expect("an answer").is_some());
    assert!(one.go(at(5)).await.expect("a stop was on"));
    assert!(other.stopped().await.expect("an answer").is_none());
    granted(other, &intent(&run, Some("t-1"), 0)).await;
    assert_eq!(kinds(one).await, ["ledger-made", "plan-made", "run-started", "stop", "go"]);
}

async fn a_batch_belongs_to_a_run_that_runs(one: &dyn Ledger, _other: &dyn Ledger) {
    let run = begin_run(one, "run-1").await;
    one.end_run(&run, "done", at(3)).await.expect("ended");
    refused(one.begin_batch(&intent(&run, Some("t-1"), 0), at(4)).await);
    refused(one.end_run(&run, "done", at(4)).await);
    refused(one.end_run(&run, "finished", at(4)).await);
    unknown(one.end_run(&RunId::new("run-none"), "done", at(4)).await);
}

async fn an_intent_without_outcome_is_found_after_a_crash(one: &dyn Ledger, other: &dyn Ledger) {
    let crashed = begin_run(one, "run-1").await;
    let guard = granted(one, &intent(&crashed, Some("t-1"), 0)).await;
    let number = guard.number;
    drop(guard);
    let done = granted(one, &intent(&crashed, Some("t-1"), 0)).await;
    one.finish_batch(done.number, &counts("t-1", 1), at(11)).await.expect("finished");
    drop(done);
    one.give_back().await.expect("given back");

    // Another process takes over.
    let next = begin_run(other, "run-2").await;
    let open = other.open_intents().await.expect("intents");
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].number, &open[0].run_id, open[0].step_id.as_str()), (number, &crashed, "step-1"));
    assert_eq!(open[0].batch, r#"{"keys":["1"]}"#);
    assert_eq!(open[0].placement, PlacementId::new("call-records"));
    let rows = other.runs(10).await.expect("runs");
    assert_eq!(rows.iter().map(|r| r.status.as_str()).collect::<Vec<_>>(), ["running", "interrupted"]);
    refused(other.begin_batch(&intent(&crashed, Some("t-1"), 0), at(12)).await.map(|_| ()));

    other.finish_batch(number, &counts("t-1", 0), at(13)).await.expect("settled");
    assert!(other.open_intents().await.expect("intents").is_empty());
    other.end_run(&crashed, "interrupted", at(14)).await.expect("ended");
    granted(other, &intent(&next, Some("t-1"), 0)).await;
}

async fn one_run_at_a_time(one: &dyn Ledger, other: &dyn Ledger) {
    let place = one.claim_run().await.expect("claimed");
    let audit = one.claim_audit().await.expect("another right");
    let mut second = other.claim_run();
    assert!(tokio::time::timeout(A_WHILE, &mut second).await.is_err(), "the place is taken");
    drop(place);
    let taken = tokio::time::timeout(SOON, second).await.expect("soon").expect("claimed");
    let mut third = other.claim_audit();
    assert!(tokio::time::timeout(A_WHILE, &mut third).await.is_err(), "the log has a writer");
    drop(audit);
    tokio::time::timeout(SOON, third).await.expect("soon").expect("claimed");
    drop(taken);
}

async fn runs_are_listed_latest_first(one: &dyn Ledger, other: &dyn Ledger) {
    for name in ["run-a", "run-c", "run-b"] {
        let id = begin_run(one, name).await;
        one.end_run(&id, "failed", at(9)).await.expect("ended");
    }
    let rows = other.runs(2).await.expect("runs");
    assert_eq!(rows.iter().map(|row| row.run_id.as_str()).collect::<Vec<_>>(), ["run-b", "run-c"]);
    let (plan, row) = (plan(1), &rows[0]);
    assert_eq!(
        (&row.plan_id, row.at, row.started_at, row.ended_at),
        (&plan.plan_id, at(0), at(5), Some(at(9)))
    );
    assert_eq!(row.status, "failed");
    refused(one.begin_run(&run("run-a", &plan), &plan, &policies()).await);
}

async fn a_refused_plan_is_approved_once(one: &dyn Ledger, other: &dyn Ledger) {
    let plan = plan(3);
    let steps = vec![plan.steps[2].step_id.clone(), plan.steps[0].step_id.clone()];
    let waiting = |steps: &[StepId], tick: i64| RefusedPlan {
        plan: plan.clone(),
        steps: steps.to_vec(),
        refused_at: at(tick),
    };
    unknown(one.refused(&plan.plan_id).await);
    unknown(one.approve(&PlanId::new("none"), at(1)).await);
    refused(one.store_refused(&plan, &[StepId::new("not-in-it")], at(1)).await);
    one.store_refused(&plan, &steps, at(1)).await.expect("stored");
    assert_eq!(other.refused(&plan.plan_id).await.expect("there"), waiting(&steps, 1));
    other.approve(&plan.plan_id, at(2)).await.expect("approved");
    refused(one.approve(&plan.plan_id, at(3)).await);
    refused(one.refused(&plan.plan_id).await);
    one.store_refused(&plan, &steps[..1], at(4)).await.expect("refused anew");
    assert_eq!(other.refused(&plan.plan_id).await.expect("waits again"), waiting(&steps[..1], 4));
}

async fn an_outcome_is_recorded_once_and_read_back(one: &dyn Ledger, other: &dyn Ledger) {
    let run = begin_run(one, "run-1").await;
    let request_id = RequestId::new("req-1");
    let mut outcome = StepOutcome {
        run_id: run.clone(),
        step_id: StepId::new("step-1"),
        placement: PlacementId::new("call-records"),
        store: StoreId::new("calls"),
        category: category("call-data"),
        reason: "request".to_owned(),
        clause: "DPSM §5".to_owned(),
        method: "delete".to_owned(),
        request_id: Some(request_id.clone()),
        counts: [counts("t-1", 3), counts("t-10", 0)].into_iter().flatten().collect(),
        level: Level::Deleted,
        residual: vec![Residual { what: "write-ahead log".to_owned(), until: Some(at(99)) }],
        verified_at: at(8),
        scope: ErasedScope { subjects: vec![], up_to: Some(at(1)) },
        failure: Some("failed to do it".to_owned()),
    };
    one.record_outcome(&outcome, at(9)).await.expect("recorded");
    refused(one.record_outcome(&outcome, at(9)).await);
    let first = outcome.clone();
    outcome.step_id = StepId::new("step-0");
    outcome.request_id = None;
    one.record_outcome(&outcome, at(9)).await.expect("recorded");
    assert_eq!(other.outcomes_of_run(&run).await.expect("outcomes"), [first.clone(), outcome]);
    assert_eq!(other.outcomes_of_request(&request_id).await.expect("outcomes"), [first]);
    assert!(other.outcomes_of_request(&RequestId::new("req-10")).await.expect("outcomes").is_empty());

    let entries = one.entries(3, 10).await.expect("entries");
    assert_eq!(entries.len(), 4, "one for each tenant of each step");
    let body: serde_json::Value = serde_json::from_str(&entries[0].body).expect("JSON");
    assert_eq!((&body["tenant"], &body["counts"]["erased"]), (&"t-1".into(), &3.into()));
    assert_eq!((&body["level"], &body["request_id"]), (&"deleted".into(), &"req-1".into()));
    assert_eq!(body["residual"][0]["what"], "write-ahead log");
    assert!(!entries[0].body.contains("failed to do it"), "no free text");
}

async fn a_marker_is_recorded_once(one: &dyn Ledger, other: &dyn Ledger) {
    assert!(one.marked_stores().await.expect("stores").is_empty());
    one.record_mark(&StoreId::new("calls"), "inode 7", at(1)).await.expect("recorded");
    other.record_mark(&StoreId::new("calls"), "inode 8", at(2)).await.expect("known");
    let met = |fingerprint: &str| Mark { marked_at: at(1), fingerprint: Some(fingerprint.to_owned()) };
    let stores = other.marked_stores().await.expect("stores");
    assert_eq!(stores.into_iter().collect::<Vec<_>>(), [(StoreId::new("calls"), met("inode 7"))]);
    one.adopt_store(&StoreId::new("calls"), "inode 9", "moved to another disk", at(3))
        .await
        .expect("adopted");
    let stores = other.marked_stores().await.expect("stores");
    assert_eq!(stores.into_iter().collect::<Vec<_>>(), [(StoreId::new("calls"), met("inode 9"))]);
    assert_eq!(kinds(one).await, ["ledger-made", "store-marked", "store-adopted"]);
    let entries = one.entries(0, 9).await.expect("entries");
    assert!(entries[2].body.contains("inode 9"));
    assert!(!entries[2].body.contains("another disk"), "no free text");
}
