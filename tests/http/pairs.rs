//! What takes two persons: proposed by one, approved by another, bound to what was seen.

use std::time::Duration;

use retentiond::clock::Clock;
use retentiond::http::Limits;
use retentiond::ledger::Role;
use serde_json::{Value, json};

use super::Served;
use crate::harness::{World, instant};

fn hold(served: &Served, token: &str) -> String {
    let body = json!({"tenant": "t-1", "everything": true, "authority": "Court order 7"});
    let placed = served.post(token, "/v1/holds", "hold", &body).is(201);
    placed["hold_id"].as_str().unwrap().to_owned()
}

fn approve(served: &Served, token: &str, proposal: &Value, key: &str, digest: &str) -> super::Answered {
    let path = format!("/v1/proposals/{}/approve", proposal["proposal_id"].as_str().unwrap());
    served.post(token, &path, key, &json!({"digest": digest}))
}

fn is_held(served: &Served) -> bool {
    served.wait(served.ledger.holds()).unwrap()[0].released_at.is_none()
}

#[test]
fn an_approval_needs_another_person_and_the_same_binding() {
    let served = Served::new();
    let olga = served.operator();
    let also_olga = served.token("olga", Role::Approver, None);
    let anna = served.token("anna", Role::Approver, None);
    let id = hold(&served, &olga);
    let path = format!("/v1/holds/{id}/release");
    served.post(&olga, &path, "r0", &json!({})).refused(400, "malformed");
    served.post(&olga, &path, "r1", &json!({"reason": " "})).refused(422, "unfit");
    let reason = json!({"reason": "Order lifted"});
    let proposal = served.post(&olga, &path, "r2", &reason).is(202);
    assert_eq!(proposal["action"], json!({"kind": "release-hold", "hold_id": id, "reason": "Order lifted"}));
    assert!(is_held(&served), "proposed is not done");
    let digest = proposal["digest"].as_str().unwrap();
    approve(&served, &olga, &proposal, "a0", digest).refused(403, "forbidden");
    approve(&served, &also_olga, &proposal, "a1", digest).refused(403, "refused");
    approve(&served, &anna, &proposal, "a2", &"0".repeat(64)).refused(403, "refused");
    let path = format!("/v1/proposals/{}/approve", proposal["proposal_id"].as_str().unwrap());
    served.post(&anna, &path, "a3", &json!({})).refused(400, "malformed");
    assert_eq!(served.get(&anna, &path).status, 405, "nothing is approved by following a link");
    assert!(is_held(&served));
    let approved = approve(&served, &anna, &proposal, "a4", digest).is(200);
    assert_eq!((&approved["proposed_by"], &approved["approved_by"]), (&json!("olga"), &json!("anna")));
    assert!(!is_held(&served));
    approve(&served, &anna, &proposal, "a5", digest).refused(409, "conflict");
    let text = serde_json::to_string(&served.entries("proposed")).unwrap();
    assert!(text.contains("reason_sha256") && !text.contains("Order lifted"), "{text}");
}

#[test]
fn a_proposal_expires_after_a_day_and_not_a_tick_before() {
    let at = |text: &str| Clock::Fixed(instant(text));
    let served = Served::with(World::center(), Limits::default(), at("2026-06-01T00:00:00Z"));
    let olga = served.operator();
    let anna = served.token("anna", Role::Approver, None);
    let id = hold(&served, &olga);
    let path = format!("/v1/holds/{id}/release");
    let first = served.post(&olga, &path, "r1", &json!({"reason": "a"})).is(202);
    let second = served.post(&olga, &path, "r2", &json!({"reason": "b"})).is(202);
    let served = Served::with(served.stop(), Limits::default(), at("2026-06-02T00:00:00Z"));
    approve(&served, &anna, &first, "a", first["digest"].as_str().unwrap()).refused(409, "conflict");
    assert!(is_held(&served));
    let served = Served::with(served.stop(), Limits::default(), at("2026-06-01T23:59:59.999999Z"));
    approve(&served, &anna, &second, "b", second["digest"].as_str().unwrap()).is(200);
    assert!(!is_held(&served));
}

#[test]
fn who_lost_the_role_approves_nothing() {
    let served = Served::new();
    let olga = served.operator();
    let (anna, row) = served.token_until("anna", Role::Approver, None, None);
    let id = hold(&served, &olga);
    let proposal =
        served.post(&olga, &format!("/v1/holds/{id}/release"), "r", &json!({"reason": "a"})).is(202);
    served.wait(served.ledger.revoke_token(&row.token_id, Clock::System.now())).unwrap();
    let digest = proposal["digest"].as_str().unwrap();
    approve(&served, &anna, &proposal, "a", digest).refused(401, "unauthorized");
    assert!(is_held(&served));
}

#[test]
fn a_termination_takes_two_persons_and_is_accepted_under_a_hold() {
    let served = Served::new();
    let olga = served.operator();
    let anna = served.token("anna", Role::Approver, None);
    hold(&served, &olga);
    let before = served.world.calls("t-1");
    let end = json!({"at": "2026-01-01T00:00:00Z"});
    let proposal = served.post(&olga, "/v1/tenants/t-1/terminate", "t", &end).is(202);
    assert_eq!(served.get(&olga, "/v1/tenants/t-1").is(200)["state"], "active");
    approve(&served, &anna, &proposal, "a", proposal["digest"].as_str().unwrap()).is(200);
    let tenant = served.get(&olga, "/v1/tenants/t-1").is(200);
    assert_eq!(tenant["state"], "terminated");
    assert_eq!(instant(tenant["grace_until"].as_str().unwrap()), instant("2026-01-16T00:00:00Z"));
    served.post(&olga, "/v1/tenants/t-1/terminate", "t2", &end).refused(409, "conflict");
    served.world.run("enforce");
    assert_eq!(served.world.calls("t-1"), before, "a hold wins over a termination");
    served.post(&olga, "/v1/tenants/t-1/reinstate", "b", &json!({})).is(200);
    assert_eq!(served.get(&olga, "/v1/tenants/t-1").is(200)["state"], "active");
}

#[test]
fn what_was_approved_when_the_process_died_is_done_at_the_next_start() {
    let served = Served::new();
    let olga = served.operator();
    let id = hold(&served, &olga);
    let proposal =
        served.post(&olga, &format!("/v1/holds/{id}/release"), "r", &json!({"reason": "a"})).is(202);
    let proposal_id = retentiond::id::ProposalId::new(proposal["proposal_id"].as_str().unwrap());
    served.wait(served.ledger.approve_proposal(&proposal_id, "anna", Clock::System.now())).unwrap();
    assert!(is_held(&served));
    let served = Served::with(served.stop(), Limits::default(), Clock::System);
    let until_released = async {
        while served.ledger.holds().await.unwrap()[0].released_at.is_none() {
            tokio::task::yield_now().await;
        }
    };
    served.wait(async { tokio::time::timeout(Duration::from_secs(30), until_released).await }).unwrap();
}

#[test]
fn what_was_approved_and_not_done_before_it_expired_is_never_done_and_told_once() {
    let at = |text: &str| Clock::Fixed(instant(text));
    let served = Served::with(World::center(), Limits::default(), at("2026-06-01T00:00:00Z"));
    let olga = served.operator();
    let anna = served.token("anna", Role::Approver, None);
    let id = hold(&served, &olga);
    let proposal =
        served.post(&olga, &format!("/v1/holds/{id}/release"), "r", &json!({"reason": "a"})).is(202);
    let proposal_id = retentiond::id::ProposalId::new(proposal["proposal_id"].as_str().unwrap());
    let approved = instant("2026-06-01T00:00:01Z");
    served.wait(served.ledger.approve_proposal(&proposal_id, "anna", approved)).unwrap();
    let mut world = served.stop();
    for day in ["2026-06-02T00:00:00Z", "2026-09-01T00:00:00Z"] {
        let served = Served::with(world, Limits::default(), at(day));
        let until_told = async {
            while !entries(&served).await.contains("\"approval-expired\"") {
                tokio::task::yield_now().await;
            }
        };
        served.wait(async { tokio::time::timeout(Duration::from_secs(30), until_told).await }).unwrap();
        let digest = proposal["digest"].as_str().unwrap();
        approve(&served, &anna, &proposal, day, digest).refused(409, "conflict");
        assert!(is_held(&served));
        world = served.stop();
    }
    let served = Served::with(world, Limits::default(), at("2026-09-02T00:00:00Z"));
    assert_eq!(served.entries("approval-expired").len(), 1);
    assert_eq!(served.entries("approval-expired")[0]["proposal_id"], proposal["proposal_id"]);
}

async fn entries(served: &Served) -> String {
    let entries = served.ledger.entries(0, 1_000).await.unwrap();
    entries.iter().map(|entry| entry.body.as_str()).collect()
}

#[test]
fn a_termination_is_not_repeated_after_the_tenant_has_come_back() {
    let served = Served::new();
    let olga = served.operator();
    let anna = served.token("anna", Role::Approver, None);
    let end = json!({"at": "2026-01-01T00:00:00Z"});
    let first = served.post(&olga, "/v1/tenants/t-1/terminate", "t1", &end).is(202);
    let second = served.post(&olga, "/v1/tenants/t-1/terminate", "t2", &end).is(202);
    approve(&served, &anna, &first, "a1", first["digest"].as_str().unwrap()).is(200);
    served.post(&olga, "/v1/tenants/t-1/reinstate", "b", &json!({})).is(200);
    approve(&served, &anna, &second, "a2", second["digest"].as_str().unwrap()).refused(409, "conflict");
    assert_eq!(served.get(&olga, "/v1/tenants/t-1").is(200)["state"], "active");
    let path = format!("/v1/proposals/{}", second["proposal_id"].as_str().unwrap());
    assert!(served.get(&olga, &path).is(200)["approved_at"].is_null(), "nothing was approved");
    let third = served.post(&olga, "/v1/tenants/t-1/terminate", "t3", &end).is(202);
    approve(&served, &anna, &third, "a3", third["digest"].as_str().unwrap()).is(200);
    assert_eq!(served.get(&olga, "/v1/tenants/t-1").is(200)["state"], "terminated");
}

#[test]
fn a_refused_plan_is_approved_by_two_persons_and_carried_out() {
    let world = World::center();
    world.edit("retentiond.toml", "records = 1000000", "records = 3");
    let refused = world.exits(3, "enforce").json;
    let plan = refused["refusals"][0]["approve"].as_str().unwrap().to_owned();
    let refused_run = retentiond::id::RunId::new(refused["run_id"].as_str().unwrap());
    let served = Served::with(world, Limits::default(), Clock::System);
    let plan_id = retentiond::id::PlanId::new(plan.as_str());
    let before = served.wait(served.ledger.refused(&plan_id)).unwrap();
    let olga = served.operator();
    let anna = served.token("anna", Role::Approver, None);
    let path = format!("/v1/plans/{plan}/approve");
    let proposal = served.post(&olga, &path, "p", &json!({})).is(202);
    assert_eq!(proposal["action"]["plan_id"], plan.as_str());
    let records = proposal["action"]["records"].as_u64().unwrap();
    assert!(records > 3, "{proposal}");
    assert!(!served.world.calls("t-1").iter().all(|id| *id == 14), "nothing is erased yet");
    approve(&served, &anna, &proposal, "a", proposal["digest"].as_str().unwrap()).is(200);
    let until_ended = async {
        loop {
            let run = served.ledger.runs(1).await.unwrap().remove(0);
            if run.run_id != refused_run && run.ended_at.is_some() {
                assert_eq!((run.plan_id.as_str(), run.status.as_str()), (plan.as_str(), "done"));
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    served.wait(async { tokio::time::timeout(Duration::from_secs(60), until_ended).await }).unwrap();
    assert!(
        served
            .wait(retentiond::desk::approved_plans(&*served.ledger, Clock::System.now()))
            .unwrap()
            .is_empty()
    );
    assert_eq!(served.world.calls("t-1"), [14], "what is over age is gone, what has no time is parked");
    served.world.assert_settled();
    served.post(&olga, &path, "p2", &json!({})).refused(409, "conflict");
    // Refused anew it waits for an approval of its own: the old one was for what was refused then.
    served.wait(served.ledger.store_refused(&before.plan, &before.steps, Clock::System.now())).unwrap();
    assert!(
        served
            .wait(retentiond::desk::approved_plans(&*served.ledger, Clock::System.now()))
            .unwrap()
            .is_empty()
    );
    let again = served.post(&olga, &path, "p3", &json!({})).is(202);
    assert_ne!(again["digest"], proposal["digest"]);
    // Approved while nothing could be done: after the day of the proposal nothing is.
    let proposal_id = retentiond::id::ProposalId::new(again["proposal_id"].as_str().unwrap());
    let proposed = instant(again["proposed_at"].as_str().unwrap());
    served.wait(served.ledger.approve_proposal(&proposal_id, "anna", proposed)).unwrap();
    let plans = |now| served.wait(retentiond::desk::approved_plans(&*served.ledger, now)).unwrap();
    let expires_at = instant(again["expires_at"].as_str().unwrap());
    let approval = plans(expires_at - chrono::TimeDelta::microseconds(1)).remove(0);
    assert_eq!(approval.plan_id, plan_id);
    assert_eq!(approval.terms.unwrap().expires_at, expires_at);
    assert!(plans(expires_at).is_empty());
}
