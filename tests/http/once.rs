//! Idempotency keys: asked again, the same is done once and answered alike.

use retentiond::clock::Clock;
use retentiond::http::Limits;
use retentiond::ledger::{AnswerClaim, Role};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Served, call, caller_of, send};

#[test]
fn the_same_key_and_body_give_the_same_answer_also_after_a_restart() {
    let served = Served::new();
    let token = served.operator();
    let first = served.post(&token, "/v1/requests", "key-1", &caller_of("t-1"));
    first.is(202);
    let again = served.post(&token, "/v1/requests", "key-1", &caller_of("t-1"));
    assert_eq!((again.status, &again.text), (202, &first.text));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let hold = json!({"tenant": "t-1", "everything": true, "authority": "Court order 7"});
    let placed = served.post(&token, "/v1/holds", "key-2", &hold);
    placed.is(201);
    let world = served.stop();
    let served = Served::with(world, Limits::default(), Clock::System);
    let later = served.post(&token, "/v1/requests", "key-1", &caller_of("t-1"));
    assert_eq!((later.status, &later.text), (202, &first.text));
    let later = served.post(&token, "/v1/holds", "key-2", &hold);
    assert_eq!((later.status, &later.text), (201, &placed.text));
    assert_eq!(served.requests(), 1);
    assert_eq!(served.wait(served.ledger.holds()).unwrap().len(), 1);
}

#[test]
fn another_body_or_another_route_under_a_used_key_is_refused() {
    let served = Served::new();
    let token = served.operator();
    served.post(&token, "/v1/requests", "k", &caller_of("t-1")).is(202);
    served.post(&token, "/v1/requests", "k", &caller_of("t-10")).refused(422, "other-question");
    let spaced = format!(" {}", caller_of("t-1"));
    send(served.address, "POST", &token, "/v1/requests", "k", &spaced).refused(422, "other-question");
    served.post(&token, "/v1/stop", "k", &json!({"reason": "x"})).refused(422, "other-question");
    assert_eq!(served.requests(), 1);
    let other = served.token("otto", Role::Operator, None);
    served.post(&other, "/v1/requests", "k", &caller_of("t-10")).is(202);
    assert_eq!(served.requests(), 2, "each principal has keys of its own");
}

#[test]
fn a_missing_doubled_or_unfit_key_is_refused() {
    let served = Served::new();
    let bearer = format!("Bearer {}", served.operator());
    let body = caller_of("t-1").to_string();
    let ask = |keys: &[&str]| {
        let mut headers = vec![("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        headers.extend(keys.iter().map(|key| ("Idempotency-Key", *key)));
        call(served.address, "POST", "/v1/requests", &headers, Some(body.as_bytes()))
    };
    let long = "k".repeat(256);
    for keys in [&[] as &[&str], &["a", "a"], &[""], &["a b"], &[long.as_str()]] {
        ask(keys).refused(400, "idempotency-key");
    }
    assert_eq!(served.requests(), 0);
    ask(&[&long[..255]]).is(202);
}

#[test]
fn what_is_being_answered_elsewhere_is_not_done_twice() {
    let served = Served::new();
    let token = served.operator();
    let body = json!({"tenant": "t-1", "everything": true, "authority": "Court order 7"}).to_string();
    let content = hex::encode(Sha256::digest(format!("POST\0/v1/holds\0{body}")));
    let content = hex::encode(Sha256::digest(json!([content, "operator", null]).to_string()));
    let now = Clock::System.now();
    let claim = served.wait(served.ledger.claim_answer("olga", "k", &content, now)).unwrap();
    assert_eq!(claim, AnswerClaim::New);
    let answer = send(served.address, "POST", &token, "/v1/holds", "k", &body);
    answer.refused(409, "in-flight");
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(served.wait(served.ledger.holds()).unwrap().is_empty());
    // Given back: whoever had it did nothing.
    served.wait(served.ledger.give_answer("olga", "k", None)).unwrap();
    send(served.address, "POST", &token, "/v1/holds", "k", &body).is(201);
}

#[test]
fn a_request_whose_answer_was_lost_is_found_and_not_made_again() {
    let served = Served::new();
    let token = served.operator();
    let first = served.post(&token, "/v1/requests", "k", &caller_of("t-1"));
    first.is(202);
    // As if the process had died after the commit and before the answer was kept.
    served.world.sql("retentiond.db", "UPDATE answer SET status = NULL, body = NULL");
    let again = served.post(&token, "/v1/requests", "k", &caller_of("t-1"));
    assert_eq!((again.status, &again.text), (202, &first.text));
    assert_eq!(served.requests(), 1);
}

#[test]
fn the_same_asked_many_times_at_once_is_done_once() {
    let served = Served::new();
    let token = served.operator();
    let body = caller_of("t-1").to_string();
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let ask = || send(served.address, "POST", &token, "/v1/requests", "k", &body).status;
        let asked: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|status| [202, 409].contains(status)), "{answers:?}");
    assert!(answers.contains(&202), "{answers:?}");
    assert_eq!(served.requests(), 1);
}

#[test]
fn what_was_refused_is_asked_again_under_the_same_key() {
    let served = Served::new();
    let token = served.operator();
    let end = json!({});
    served.post(&token, "/v1/entitlements/ent-1/end", "k", &end).refused(404, "not-found");
    served.post(&token, "/v1/entitlements/ent-1/end", "k", &end).refused(404, "not-found");
    served.post(&token, "/v1/requests", "k", &caller_of("t-1")).is(202);
}

#[test]
fn no_token_of_another_tenant_or_role_is_given_an_answer_of_the_same_principal() {
    let served = Served::new();
    let first = served.token("rosa", Role::Requester, Some("t-1"));
    let second = served.token("rosa", Role::Requester, Some("t-10"));
    let body = json!({"subjects": [{"kind": "phone", "value": "+6591110001"}]});
    served.post(&first, "/v1/requests", "k", &body).is(202);
    served.post(&second, "/v1/requests", "k", &body).refused(422, "other-question");
    assert_eq!(served.requests(), 1);
    assert_eq!(served.post(&second, "/v1/requests", "k2", &body).is(202)["tenant"], "t-10");
    assert_eq!(served.requests(), 2);
    let stop = json!({"reason": "a drill"});
    served.post(&served.token("olga", Role::Operator, None), "/v1/stop", "s", &stop).is(200);
    let approver = served.token("olga", Role::Approver, None);
    served.post(&approver, "/v1/stop", "s", &stop).refused(422, "other-question");
}
