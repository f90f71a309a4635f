//! Tokens, proposals, answers, messages, alarms, ticks and exports, as every ledger keeps them.
//! It owns these tests; who may do what, and when, is tested with those who decide it.

use chrono::TimeDelta;
use retentiond::id::{HoldId, ProposalId, TokenId};
use retentiond::ledger::{
    AnswerClaim, DeliveryFate, ExportState, GivenAnswer, Ledger, NewAlarm, NewDelivery, NewExport, NewToken,
    ProposedAction, Role,
};
use serde_json::json;

use super::{at, category, kinds, on_every_ledger, refused, tenant, unknown};

on_every_ledger! {
    a_token_is_good_until_it_is_revoked,
    nobody_approves_what_they_proposed,
    a_proposal_expires,
    an_answer_is_given_once_and_again_to_who_asks_the_same,
    two_who_ask_at_once_are_not_both_told_to_answer,
    a_message_is_enqueued_once_and_taken_by_one,
    a_message_is_tried_again_until_it_is_received_or_given_up,
    alarms_are_raised_and_cleared_once,
    a_tick_is_taken_once_and_never_goes_back,
    an_export_is_among_the_facts_until_it_is_settled,
    a_rollover_delays_nothing,
}

fn token(principal: &str, role: Role, digest: &str) -> NewToken {
    NewToken {
        principal: principal.to_owned(),
        role,
        tenant: (role == Role::Requester).then(|| tenant("t-1")),
        digest: digest.to_owned(),
        expires_at: Some(at(90)),
    }
}

async fn a_token_is_good_until_it_is_revoked(one: &dyn Ledger, other: &dyn Ledger) {
    let first = one.make_token(&token("ann", Role::Requester, "d1"), at(1)).await.expect("made");
    let second = one.make_token(&token("Ann", Role::Operator, "D1"), at(2)).await.expect("made");
    assert_eq!((first.tenant.as_ref(), first.role), (Some(&tenant("t-1")), Role::Requester));
    assert_eq!((first.made_at, first.expires_at, first.revoked_at), (at(1), Some(at(90)), None));
    assert_eq!(other.tokens().await.expect("tokens"), [first.clone(), second.clone()]);
    assert_eq!(other.token_of_digest("d1").await.expect("an answer"), Some(first.clone()));
    for digest in ["d1 ", "d", "D1 ", ""] {
        assert_eq!(other.token_of_digest(digest).await.expect("an answer"), None, "`{digest}`");
    }
    let revoked = other.revoke_token(&first.token_id, at(3)).await.expect("revoked");
    assert_eq!(revoked.revoked_at, Some(at(3)));
    refused(one.revoke_token(&first.token_id, at(4)).await);
    unknown(one.revoke_token(&TokenId::new("tok-none"), at(4)).await);
    assert_eq!(
        one.token_of_digest("d1").await.expect("an answer"),
        Some(revoked),
        "known, and no longer good"
    );
    assert_eq!(kinds(one).await, ["ledger-made", "token-made", "token-made", "token-revoked"]);
    let told = one.entries(0, 10).await.expect("entries").iter().map(|e| e.body.clone()).collect::<String>();
    assert!(!told.contains("digest"), "no entry helps whoever looks for a token");
}

async fn nobody_approves_what_they_proposed(one: &dyn Ledger, other: &dyn Ledger) {
    let action =
        ProposedAction::ReleaseHold { hold_id: HoldId::new("hold-1"), reason: "appeal lost".to_owned() };
    let made = one.propose(&action, "ann", at(100), at(1)).await.expect("proposed");
    assert_eq!((&made.action, made.proposed_by.as_str(), made.approved_at), (&action, "ann", None));
    refused(one.approve_proposal(&made.proposal_id, "ann", at(2)).await);
    refused(other.approve_proposal(&made.proposal_id, "ann", at(2)).await);
    assert_eq!(one.proposals().await.expect("proposals"), std::slice::from_ref(&made), "nothing has changed");
    let approved = other.approve_proposal(&made.proposal_id, "bob", at(3)).await.expect("approved");
    assert_eq!((approved.approved_by.as_deref(), approved.approved_at), (Some("bob"), Some(at(3))));
    refused(one.approve_proposal(&made.proposal_id, "cid", at(4)).await);
    unknown(one.approve_proposal(&ProposalId::new("prop-none"), "bob", at(4)).await);
    assert_eq!(one.proposals().await.expect("proposals"), [approved]);
    assert_eq!(kinds(one).await, ["ledger-made", "proposed", "approved"]);
}

async fn a_proposal_expires(one: &dyn Ledger, other: &dyn Ledger) {
    let action = ProposedAction::TerminateTenant { tenant: tenant("t-1"), terminated_at: at(0) };
    let first = one.propose(&action, "ann", at(10), at(1)).await.expect("proposed");
    let second = one.propose(&action, "ann", at(10), at(1)).await.expect("proposed");
    other.approve_proposal(&first.proposal_id, "bob", at(9)).await.expect("one tick before");
    refused(other.approve_proposal(&second.proposal_id, "bob", at(10)).await);
}

async fn an_answer_is_given_once_and_again_to_who_asks_the_same(one: &dyn Ledger, other: &dyn Ledger) {
    let claim = async |ledger: &dyn Ledger, who: &str, key: &str, content: &str, tick: i64| {
        ledger.claim_answer(who, key, content, at(tick)).await.expect("an answer")
    };
    assert_eq!(claim(one, "ann", "k", "q", 1).await, AnswerClaim::New);
    assert_eq!(claim(other, "ann", "k", "q", 2).await, AnswerClaim::Running);
    assert_eq!(claim(other, "ann", "k", "other", 2).await, AnswerClaim::Other);
    assert_eq!(claim(other, "bob", "k", "q", 2).await, AnswerClaim::New, "keys are each principal's own");
    let given = GivenAnswer { status: 201, body: "{\"é\": 1}".to_owned() };
    one.give_answer("ann", "k", Some(&given)).await.expect("given");
    assert_eq!(claim(other, "ann", "k", "q", 3).await, AnswerClaim::Given(given.clone()));
    assert_eq!(claim(other, "ann", "k", "other", 3).await, AnswerClaim::Other);
    one.give_answer("ann", "k", None).await.expect("nothing to give back");
    assert_eq!(claim(other, "ann", "k", "q", 4).await, AnswerClaim::Given(given), "what was given stays");
    other.give_answer("bob", "k", None).await.expect("given back");
    assert_eq!(claim(one, "bob", "k", "other", 5).await, AnswerClaim::New);
    // Whoever claimed it and died is not waited for for ever.
    let minutes = |n: i64| n * 60 * 1_000_000;
    assert_eq!(claim(other, "bob", "k", "other", minutes(2) + 4).await, AnswerClaim::Running);
    assert_eq!(claim(other, "bob", "k", "other", minutes(2) + 5).await, AnswerClaim::New);
    assert_eq!(one.forget_answers(at(1)).await.expect("a count"), 0);
    assert_eq!(one.forget_answers(at(2)).await.expect("a count"), 1);
    assert_eq!(claim(one, "ann", "k", "other", 9).await, AnswerClaim::New, "forgotten");
}

async fn two_who_ask_at_once_are_not_both_told_to_answer(one: &dyn Ledger, other: &dyn Ledger) {
    for n in 0..20 {
        let key = format!("k{n}");
        let (a, b) = tokio::join!(
            one.claim_answer("ann", &key, "q", at(1)),
            other.claim_answer("ann", &key, "q", at(1)),
        );
        let told = [a.expect("an answer"), b.expect("an answer")];
        assert_eq!(told.iter().filter(|claim| **claim == AnswerClaim::New).count(), 1, "{told:?}");
    }
}

fn message(key: &str) -> NewDelivery {
    NewDelivery {
        key: key.to_owned(),
        kind: "alarm".to_owned(),
        tenant: None,
        url: "https://example.org/hook".to_owned(),
        body: "{}".to_owned(),
    }
}

async fn a_message_is_enqueued_once_and_taken_by_one(one: &dyn Ledger, other: &dyn Ledger) {
    assert!(one.enqueue(&message("a"), at(1)).await.expect("enqueued"));
    assert!(!other.enqueue(&message("a"), at(2)).await.expect("known"));
    for n in 0..19 {
        assert!(one.enqueue(&message(&format!("b{n}")), at(1)).await.expect("enqueued"));
    }
    assert!(other.take_deliveries(9, at(50), at(0)).await.expect("none yet").is_empty());
    let (mine, theirs) =
        tokio::join!(one.take_deliveries(15, at(50), at(1)), other.take_deliveries(15, at(50), at(1)),);
    let taken = [mine.expect("taken"), theirs.expect("taken")].concat();
    assert_eq!(taken.len(), 20, "all of them");
    let keys: std::collections::BTreeSet<&str> = taken.iter().map(|row| row.key.as_str()).collect();
    assert_eq!(keys.len(), 20, "each by one");
    assert!(taken.iter().all(|row| row.tries == 1));
    assert!(one.take_deliveries(99, at(60), at(49)).await.expect("none").is_empty());
    let again = one.take_deliveries(99, at(60), at(50)).await.expect("those who took them died");
    assert_eq!((again.len(), again[0].tries), (20, 2));
}

async fn a_message_is_tried_again_until_it_is_received_or_given_up(one: &dyn Ledger, other: &dyn Ledger) {
    for key in ["received", "given-up"] {
        one.enqueue(&message(key), at(1)).await.expect("enqueued");
    }
    let taken = one.take_deliveries(9, at(50), at(1)).await.expect("taken");
    let later = DeliveryFate::Later { failure: "no answer".to_owned(), next_at: at(70) };
    for row in &taken {
        other.settle_delivery(row.number, &later, at(2)).await.expect("settled");
    }
    let open = one.undelivered(9).await.expect("messages");
    assert_eq!(open.iter().map(|row| row.failure.as_deref()).collect::<Vec<_>>(), [Some("no answer"); 2]);
    assert!(one.take_deliveries(9, at(90), at(69)).await.expect("not yet").is_empty());
    assert_eq!(one.take_deliveries(9, at(90), at(70)).await.expect("now").len(), 2);
    let given_up = DeliveryFate::GivenUp { failure: "gone".to_owned() };
    one.settle_delivery(taken[0].number, &DeliveryFate::Received, at(71)).await.expect("settled");
    one.settle_delivery(taken[1].number, &given_up, at(71)).await.expect("settled");
    assert!(other.take_deliveries(9, at(999), at(998)).await.expect("none").is_empty());
    let left = other.undelivered(9).await.expect("messages");
    assert_eq!((left.len(), left[0].key.as_str(), left[0].given_up_at), (1, "given-up", Some(at(71))));
}

async fn alarms_are_raised_and_cleared_once(one: &dyn Ledger, other: &dyn Ledger) {
    let alarm = |key: &str, n: u64| NewAlarm {
        key: key.to_owned(),
        kind: "overdue".to_owned(),
        message: "it is late".to_owned(),
        fields: json!({"records": n}),
    };
    let raised = one.set_alarms(&[alarm("a", 1), alarm("b", 1), alarm("a", 1)], at(1)).await.expect("set");
    assert_eq!(raised.iter().map(|row| row.alarm.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(other.set_alarms(&[alarm("b", 2), alarm("a", 2)], at(2)).await.expect("set").is_empty());
    let cleared = other.set_alarms(&[alarm("A", 1), alarm("b", 1)], at(3)).await.expect("set");
    assert_eq!(
        cleared.iter().map(|row| (row.alarm.key.as_str(), row.cleared_at)).collect::<Vec<_>>(),
        [("a", Some(at(3))), ("A", None)]
    );
    let keys = async |since: i64| -> Vec<String> {
        one.alarms(at(since)).await.expect("alarms").into_iter().map(|row| row.alarm.key).collect()
    };
    assert_eq!(keys(3).await, ["a", "b", "A"]);
    assert_eq!(keys(4).await, ["b", "A"]);
    let again = one.set_alarms(&[alarm("a", 1)], at(5)).await.expect("set");
    assert_eq!(again.len(), 3, "two cleared, and the first stands again");
    assert_eq!(one.alarms(at(0)).await.expect("alarms").len(), 4, "as another one");
    let told = kinds(one).await;
    assert_eq!(told.iter().filter(|kind| *kind == "alarm-raised").count(), 4);
    assert_eq!(told.iter().filter(|kind| *kind == "alarm-cleared").count(), 3);
}

async fn a_tick_is_taken_once_and_never_goes_back(one: &dyn Ledger, other: &dyn Ledger) {
    assert_eq!(one.last_tick("runs").await.expect("an answer"), None);
    let (a, b) =
        tokio::join!(one.claim_tick("runs", at(10), at(10)), other.claim_tick("runs", at(10), at(10)));
    assert!(a.expect("an answer") != b.expect("an answer"), "one of them");
    assert!(!one.claim_tick("runs", at(9), at(11)).await.expect("an answer"), "an earlier one");
    assert!(one.claim_tick("Runs", at(9), at(11)).await.expect("an answer"), "another schedule");
    assert!(other.claim_tick("runs", at(11), at(12)).await.expect("an answer"));
    assert_eq!(one.last_tick("runs").await.expect("an answer"), Some(at(11)));
    // What is swapped for the instant that was read goes either way, and once.
    let (a, b) = tokio::join!(
        one.swap_tick("turn", None, at(10), at(10)),
        other.swap_tick("turn", None, at(11), at(11))
    );
    assert!(a.expect("an answer") != b.expect("an answer"), "one of them");
    let read = one.last_tick("turn").await.expect("an answer");
    let (a, b) = tokio::join!(
        one.swap_tick("turn", read, at(20), at(20)),
        other.swap_tick("turn", read, at(21), at(21))
    );
    assert!(a.expect("an answer") != b.expect("an answer"), "one of them, though one is later");
    let read = one.last_tick("turn").await.expect("an answer");
    assert!(one.swap_tick("turn", read, at(3), at(22)).await.expect("an answer"), "it is given back");
    assert_eq!(other.last_tick("turn").await.expect("an answer"), Some(at(3)));
}

fn export(of: &str) -> NewExport {
    NewExport {
        tenant: tenant(of),
        categories: vec![category("call-data")],
        target: "/srv/exports".to_owned(),
        between: None,
    }
}

async fn an_export_is_among_the_facts_until_it_is_settled(one: &dyn Ledger, other: &dyn Ledger) {
    let asked = one.ask_export(&export("t-1"), at(1)).await.expect("asked");
    let neighbour = one.ask_export(&export("t-10"), at(1)).await.expect("asked");
    assert_eq!((asked.state, asked.asked_at, asked.settled_at), (ExportState::Asked, at(1), None));
    let facts = other.facts().await.expect("facts");
    assert_eq!(
        facts.exports.iter().map(|e| &e.export_id).collect::<Vec<_>>(),
        [&asked.export_id, &neighbour.export_id]
    );
    assert_eq!(facts.generation_of(Some(&tenant("t-1"))), 1, "it can delay destruction");
    let mut row = asked;
    for state in [ExportState::Running, ExportState::Failed, ExportState::Running] {
        row.state = state;
        other.settle_export(&row, at(2)).await.expect("settled");
    }
    assert_eq!(other.facts().await.expect("facts").exports.len(), 2, "unfinished");
    row.state = ExportState::Finished;
    (row.records, row.manifest) = (7, Some("00".repeat(32)));
    one.settle_export(&row, at(3)).await.expect("settled");
    let left = other.facts().await.expect("facts").exports;
    assert_eq!(left.iter().map(|e| &e.export_id).collect::<Vec<_>>(), [&neighbour.export_id]);
    let rows = other.exports().await.expect("exports");
    assert_eq!((rows[0].state, rows[0].records, rows[0].settled_at), (ExportState::Finished, 7, Some(at(3))));
    assert_eq!(rows[0].manifest, row.manifest);
    row.state = ExportState::Cancelled;
    refused(one.settle_export(&row, at(4)).await);
}

async fn a_rollover_delays_nothing(one: &dyn Ledger, other: &dyn Ledger) {
    let mut new = export("t-1");
    new.between = Some((at(0), at(0) + TimeDelta::days(1)));
    let asked = one.ask_export(&new, at(1)).await.expect("asked");
    assert_eq!(asked.between, new.between);
    assert!(other.facts().await.expect("facts").exports.is_empty());
    assert_eq!(other.exports().await.expect("exports"), [asked]);
}
