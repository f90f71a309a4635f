//! What was asked and ordered: requests, tenants, holds, entitlements, and the facts made of them.
//! It owns these tests; batches and runs are in `batches`.

use chrono::TimeDelta;
use retentiond::facts::RequestScope;
use retentiond::id::{EntitlementId, HoldId, RequestId};
use retentiond::ledger::{Ledger, NewEntitlement, NewScope, RequestState, TenantState};
use retentiond::plan::SubjectOrigin;

use super::{TENANTS, all_in, at, category, hold, kinds, on_every_ledger, phone, refused, request};
use super::{tenant, unknown};

on_every_ledger! {
    a_new_ledger_knows_nothing_and_has_one_id,
    a_request_is_read_back_as_it_was_recorded,
    open_requests_come_in_order_of_receipt,
    the_same_key_and_content_make_one_request,
    a_request_that_names_nothing_is_refused,
    a_cancelled_or_completed_request_is_closed,
    settling_says_how_far_a_request_got,
    a_tenant_is_terminated_once_and_again_after_it_was_reinstated,
    a_termination_between_two_microseconds_counts_from_the_later,
    a_hold_names_its_subjects_until_it_is_released,
    an_entitlement_runs_until_it_is_ended,
    each_change_moves_the_generation_of_its_tenant_only,
    fingerprints_are_per_tenant_and_the_same_in_every_process,
}

async fn a_new_ledger_knows_nothing_and_has_one_id(one: &dyn Ledger, other: &dyn Ledger) {
    let facts = one.facts().await.expect("facts");
    assert!(facts.requests.is_empty() && facts.holds.is_empty() && facts.terminated.is_empty());
    assert!(facts.entitlements.is_empty() && facts.generations.is_empty());
    assert_eq!(facts.generation, 0);
    assert_eq!(one.entry_count().await.expect("a count"), 0);
    assert_eq!(one.head().await.expect("a head"), None);
    let id = one.ledger_id().await.expect("an id");
    assert_eq!(id.len(), 36);
    assert_eq!(id, other.ledger_id().await.expect("an id"));
}

async fn a_request_is_read_back_as_it_was_recorded(one: &dyn Ledger, other: &dyn Ledger) {
    for (tick, of) in (0..).zip(TENANTS) {
        one.create_request(&request(of, phone("+6591234567"), tick), at(100)).await.expect("recorded");
    }
    let rows = other.requests().await.expect("requests");
    assert_eq!(rows.iter().map(|row| row.tenant.as_str()).collect::<Vec<_>>(), TENANTS);
    let row = &rows[0];
    assert!(row.request_id.as_str().starts_with("req-"));
    assert_eq!(row, &other.request(&row.request_id).await.expect("one"));
    assert_eq!((row.state, row.known, row.everything), (RequestState::Received, true, false));
    assert_eq!((row.received_at, row.recorded_at, row.completed_at), (at(0), at(100), None));
    assert_eq!(row.deadline, at(0) + TimeDelta::days(30));
    assert_eq!(row.categories, [category("call-data")]);
    assert_eq!(row.placements.len(), 2);
    let key = one.fingerprint(&tenant("t-1"), "phone", "+6591234567").await.expect("a fingerprint");
    assert_eq!((row.subjects[0].kind.as_str(), &row.subjects[0].fingerprint), ("phone", key.fingerprint()));
    unknown(one.request(&RequestId::new("req-none")).await);
    let origin = SubjectOrigin::Request(row.request_id.clone());
    let subjects = other.subjects_of(&origin).await.expect("subjects");
    assert_eq!(
        subjects.iter().map(|s| (s.kind(), s.expose())).collect::<Vec<_>>(),
        [("phone", "+6591234567")]
    );
}

async fn open_requests_come_in_order_of_receipt(one: &dyn Ledger, other: &dyn Ledger) {
    let everything = request("t-1", NewScope::Everything, 9);
    let categories = request("t-10", NewScope::Categories(vec![category("logs"), category("call-data")]), 3);
    let subjects = request("T-1", phone("+1"), 6);
    for new in [&everything, &categories, &subjects, &subjects] {
        one.create_request(new, at(20)).await.expect("recorded");
    }
    let open = other.facts().await.expect("facts").requests;
    assert_eq!(open.iter().map(|r| r.received_at).collect::<Vec<_>>(), [at(3), at(6), at(6), at(9)]);
    assert!(open[1].request_id < open[2].request_id, "ties are broken by id");
    assert_eq!(open[0].scope, RequestScope::Categories(vec![category("call-data"), category("logs")]));
    assert_eq!(open[3].scope, RequestScope::Everything);
    let RequestScope::Subjects(keys) = &open[1].scope else { panic!("subjects") };
    assert_eq!((keys.len(), keys[0].expose()), (1, "+1"));
    one.cancel_request(&open[0].request_id, at(30)).await.expect("cancelled");
    one.settle_request(&open[3].request_id, RequestState::Waiting, &all_in(RequestState::Waiting), at(30))
        .await
        .expect("settled");
    let left = other.facts().await.expect("facts").requests;
    assert_eq!(left, open[1..], "a waiting request is open, a cancelled one is not");
}

async fn the_same_key_and_content_make_one_request(one: &dyn Ledger, other: &dyn Ledger) {
    let mut new = request("t-1", phone("+1"), 50);
    new.idempotency_key = Some("key-1".to_owned());
    // Received "now": the second call comes later and is the same request all the same.
    let first = one.create_request(&new, at(50)).await.expect("recorded");
    new.received_at = at(60);
    let second = other.create_request(&new, at(60)).await.expect("found");
    assert_eq!(first, second);
    assert_eq!(one.requests().await.expect("requests").len(), 1);
    assert_eq!(one.facts().await.expect("facts").generation, 1);

    let mut another = new.clone();
    another.scope = phone("+2");
    refused(other.create_request(&another, at(60)).await);
    another = new.clone();
    another.tenant = tenant("t-10");
    refused(other.create_request(&another, at(60)).await);
    // A receipt that was given is part of the content.
    refused(other.create_request(&new, at(61)).await);
    new.idempotency_key = Some("key-2".to_owned());
    let third = other.create_request(&new, at(61)).await.expect("recorded");
    assert_ne!(third.request_id, first.request_id);
    assert_eq!(other.create_request(&new, at(70)).await.expect("found"), third);
    assert_eq!(one.requests().await.expect("requests").len(), 2);
}

async fn a_request_that_names_nothing_is_refused(one: &dyn Ledger, _other: &dyn Ledger) {
    for scope in [
        NewScope::Subjects(vec![]),
        NewScope::Categories(vec![]),
        phone(""),
        phone(" "),
        NewScope::Subjects(vec![(String::new(), "+1".to_owned())]),
    ] {
        refused(one.create_request(&request("t-1", scope, 0), at(0)).await);
    }
    refused(one.place_hold(&hold("t-1", vec![("phone".to_owned(), String::new())]), at(0)).await);
    assert_eq!(one.entry_count().await.expect("a count"), 0);
}

async fn a_cancelled_or_completed_request_is_closed(one: &dyn Ledger, other: &dyn Ledger) {
    let cancelled = one.create_request(&request("t-1", phone("+1"), 0), at(0)).await.expect("recorded");
    let completed = one.create_request(&request("t-1", phone("+1"), 1), at(1)).await.expect("recorded");
    let row = other.cancel_request(&cancelled.request_id, at(2)).await.expect("cancelled");
    assert_eq!(row.state, RequestState::Cancelled);
    let placements = all_in(RequestState::Completed);
    other
        .settle_request(&completed.request_id, RequestState::Completed, &placements, at(3))
        .await
        .expect("settled");
    let row = one.request(&completed.request_id).await.expect("there");
    assert_eq!((row.state, row.completed_at), (RequestState::Completed, Some(at(3))));
    assert_eq!(row.subjects, completed.subjects, "the fingerprint stays");
    for id in [&cancelled.request_id, &completed.request_id] {
        refused(one.cancel_request(id, at(4)).await);
        refused(one.settle_request(id, RequestState::Waiting, &placements, at(4)).await);
        refused(one.subjects_of(&SubjectOrigin::Request(id.clone())).await);
    }
    unknown(one.cancel_request(&RequestId::new("req-none"), at(4)).await);
    assert!(one.facts().await.expect("facts").requests.is_empty());
    assert_eq!(
        kinds(one).await,
        ["ledger-made", "request-received", "request-received", "request-cancelled", "request-settled"]
    );
}

async fn settling_says_how_far_a_request_got(one: &dyn Ledger, other: &dyn Ledger) {
    let id = one.create_request(&request("t-1", phone("+1"), 0), at(0)).await.expect("recorded").request_id;
    refused(one.settle_request(&id, RequestState::Cancelled, &[], at(1)).await);
    let placements = all_in(RequestState::Residual);
    for _ in 0..2 {
        one.settle_request(&id, RequestState::Residual, &placements, at(1)).await.expect("settled");
    }
    let row = other.request(&id).await.expect("there");
    assert_eq!((row.state, &row.placements, row.completed_at), (RequestState::Residual, &placements, None));
    let facts = other.facts().await.expect("facts");
    assert_eq!((facts.requests.len(), facts.generation), (1, 1), "settling alters no plan");
    assert_eq!(
        kinds(one).await,
        ["ledger-made", "request-received", "request-settled"],
        "no change, no entry"
    );
}

async fn a_tenant_is_terminated_once_and_again_after_it_was_reinstated(one: &dyn Ledger, other: &dyn Ledger) {
    refused(one.reinstate(&tenant("t-1"), at(0)).await);
    let row = one.terminate(&tenant("t-1"), at(5), at(10)).await.expect("terminated");
    assert_eq!(
        (row.state, row.terminated_at, row.recorded_at),
        (TenantState::Terminated, Some(at(5)), at(10))
    );
    refused(other.terminate(&tenant("t-1"), at(6), at(11)).await);
    for neighbour in &TENANTS[1..] {
        refused(other.reinstate(&tenant(neighbour), at(11)).await);
    }
    let told = other.facts().await.expect("facts").terminated;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].tenant.as_str(), told[0].terminated_at, told[0].recorded_at), ("t-1", at(5), at(10)));
    let row = other.reinstate(&tenant("t-1"), at(20)).await.expect("reinstated");
    assert_eq!((row.state, row.terminated_at), (TenantState::Active, None));
    assert!(one.facts().await.expect("facts").terminated.is_empty());
    refused(one.reinstate(&tenant("t-1"), at(21)).await);
    one.terminate(&tenant("t-1"), at(30), at(31)).await.expect("terminated again");
    let facts = one.facts().await.expect("facts");
    assert_eq!((facts.terminated[0].terminated_at, facts.generation), (at(30), 3));
    assert_eq!(one.tenants().await.expect("tenants").len(), 1);
}

async fn a_termination_between_two_microseconds_counts_from_the_later(one: &dyn Ledger, _other: &dyn Ledger) {
    let between = at(5) + TimeDelta::nanoseconds(1);
    let row = one.terminate(&tenant("t-1"), between, between).await.expect("terminated");
    assert_eq!(row.terminated_at, Some(at(6)), "the grace must not end early");
    let new = NewEntitlement {
        name: "extended-storage".to_owned(),
        tenant: tenant("t-1"),
        categories: vec![],
        until: Some(between),
    };
    assert_eq!(one.grant_entitlement(&new, at(0)).await.expect("granted").until, Some(at(6)));
    let mut new = request("t-1", NewScope::Everything, 5);
    new.received_at = between;
    let row = one.create_request(&new, at(9)).await.expect("recorded");
    assert_eq!(row.received_at, at(5), "a request must not cover what came after it");
}

async fn a_hold_names_its_subjects_until_it_is_released(one: &dyn Ledger, other: &dyn Ledger) {
    let person = vec![("phone".to_owned(), "+1".to_owned()), ("agent".to_owned(), "7".to_owned())];
    let named = one.place_hold(&hold("t-1", person), at(1)).await.expect("placed");
    let whole = one.place_hold(&hold("t-10", vec![]), at(1)).await.expect("placed");
    assert_eq!(other.holds().await.expect("holds"), [named.clone(), whole.clone()]);
    assert_eq!(
        (named.authority.as_str(), named.placed_at, named.released_at),
        ("court order 7", at(1), None)
    );
    let active = other.facts().await.expect("facts").holds;
    assert_eq!(
        active[0].subjects.iter().map(|s| (s.kind(), s.expose())).collect::<Vec<_>>(),
        [("agent", "7"), ("phone", "+1")]
    );
    assert!(active[1].subjects.is_empty() && active[1].hold_id == whole.hold_id);
    let origin = SubjectOrigin::Hold(named.hold_id.clone());
    assert_eq!(one.subjects_of(&origin).await.expect("subjects"), active[0].subjects);

    let released = other.release_hold(&named.hold_id, at(2)).await.expect("released");
    assert_eq!(released.released_at, Some(at(2)));
    assert_eq!(released.subjects, named.subjects, "fingerprints stay");
    refused(one.release_hold(&named.hold_id, at(3)).await);
    refused(one.subjects_of(&origin).await);
    unknown(one.release_hold(&HoldId::new("hold-none"), at(3)).await);
    let left = one.facts().await.expect("facts").holds;
    assert_eq!(left.iter().map(|h| &h.hold_id).collect::<Vec<_>>(), [&whole.hold_id]);
    let text = one.entries(0, 10).await.expect("entries").iter().map(|e| e.body.clone()).collect::<String>();
    assert!(text.contains("authority_sha256") && !text.contains("court"), "words stay in the ledger");
}

async fn an_entitlement_runs_until_it_is_ended(one: &dyn Ledger, other: &dyn Ledger) {
    let new = |of: &str| NewEntitlement {
        name: "extended-storage".to_owned(),
        tenant: tenant(of),
        categories: vec![category("call-data")],
        until: Some(at(90)),
    };
    let first = one.grant_entitlement(&new("t-1"), at(1)).await.expect("granted");
    let second = one.grant_entitlement(&new("T-1"), at(1)).await.expect("granted");
    assert_eq!(other.entitlements().await.expect("rows"), [first.clone(), second.clone()]);
    let ended = other.end_entitlement(&first.entitlement_id, at(2)).await.expect("ended");
    assert_eq!((ended.ended_at, ended.until), (Some(at(2)), Some(at(90))));
    refused(one.end_entitlement(&first.entitlement_id, at(3)).await);
    unknown(one.end_entitlement(&EntitlementId::new("ent-none"), at(3)).await);
    let left = one.facts().await.expect("facts").entitlements;
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].tenant.as_str(), left[0].until), ("T-1", Some(at(90))));
}

async fn each_change_moves_the_generation_of_its_tenant_only(one: &dyn Ledger, other: &dyn Ledger) {
    let (t1, t10) = (tenant("t-1"), tenant("t-10"));
    one.place_hold(&hold("t-10", vec![]), at(0)).await.expect("placed");
    let mut expected = 1;
    let mut moved = async |what: &str| {
        expected += 1;
        let facts = other.facts().await.expect("facts");
        assert_eq!(facts.generation, expected, "{what}");
        assert_eq!(facts.generation_of(Some(&t1)), expected, "{what}");
        assert_eq!(facts.generation_of(Some(&t10)), 1, "{what}: a neighbour stays");
        assert_eq!(facts.generation_of(Some(&tenant("T-1"))), 0, "{what}: never named");
    };
    let id = one.create_request(&request("t-1", phone("+1"), 0), at(0)).await.expect("recorded").request_id;
    moved("request").await;
    one.cancel_request(&id, at(1)).await.expect("cancelled");
    moved("cancel").await;
    one.terminate(&t1, at(1), at(1)).await.expect("terminated");
    moved("terminate").await;
    one.reinstate(&t1, at(2)).await.expect("reinstated");
    moved("reinstate").await;
    let id = one.place_hold(&hold("t-1", vec![]), at(3)).await.expect("placed").hold_id;
    moved("hold").await;
    one.release_hold(&id, at(4)).await.expect("released");
    moved("release").await;
    let new = NewEntitlement { name: "n".to_owned(), tenant: t1.clone(), categories: vec![], until: None };
    let id = one.grant_entitlement(&new, at(5)).await.expect("granted").entitlement_id;
    moved("grant").await;
    one.end_entitlement(&id, at(6)).await.expect("ended");
    moved("end").await;
}

async fn fingerprints_are_per_tenant_and_the_same_in_every_process(one: &dyn Ledger, other: &dyn Ledger) {
    let mut seen = std::collections::BTreeSet::new();
    for of in TENANTS {
        let key = one.fingerprint(&tenant(of), "phone", "+1").await.expect("a fingerprint");
        assert_eq!(key, other.fingerprint(&tenant(of), "phone", "+1").await.expect("a fingerprint"));
        seen.insert(key.fingerprint().as_str().to_owned());
        assert!(!format!("{key:?} {key}").contains("+1"));
    }
    assert_eq!(seen.len(), TENANTS.len());
    assert!(!format!("{:?}", request("t-1", phone("+6591234567"), 0)).contains("6591234567"));
    assert!(
        !format!("{:?}", hold("t-1", vec![("phone".into(), "+6591234567".into())])).contains("6591234567")
    );
}
