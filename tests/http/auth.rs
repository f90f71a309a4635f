//! Who may: tokens, roles, tenants.

use retentiond::clock::Clock;
use retentiond::http::Limits;
use retentiond::ledger::Role;
use serde_json::{Value, json};

use super::{Served, answered, call, caller_of, raw};
use crate::harness::{World, instant};

/// Every route that needs a token, with whom it lets in: requester, operator, approver, auditor.
const ROUTES: [(&str, &str, [bool; 4]); 28] = [
    ("POST", "/v1/requests", [true, true, false, false]),
    ("GET", "/v1/requests", [true, true, false, true]),
    ("GET", "/v1/requests/req-1", [true, true, false, true]),
    ("DELETE", "/v1/requests/req-1", [true, true, false, false]),
    ("GET", "/v1/tenants", [true, true, false, true]),
    ("GET", "/v1/tenants/t-1", [true, true, false, true]),
    ("POST", "/v1/tenants/t-1/terminate", [false, true, false, false]),
    ("POST", "/v1/tenants/t-1/reinstate", [false, true, false, false]),
    ("GET", "/v1/entitlements", [false, true, false, true]),
    ("POST", "/v1/entitlements", [false, true, false, false]),
    ("POST", "/v1/entitlements/ent-1/end", [false, true, false, false]),
    ("GET", "/v1/exports", [true, true, false, true]),
    ("POST", "/v1/exports", [false, true, false, false]),
    ("GET", "/v1/exports/exp-1", [true, true, false, true]),
    ("GET", "/v1/exports/exp-1/file?name=manifest.json", [true, true, false, false]),
    ("GET", "/v1/holds", [false, true, false, true]),
    ("POST", "/v1/holds", [false, true, false, false]),
    ("POST", "/v1/holds/hold-1/release", [false, true, false, false]),
    ("POST", "/v1/stop", [false, true, true, false]),
    ("POST", "/v1/go", [false, true, false, false]),
    ("GET", "/v1/proposals", [false, true, true, true]),
    ("GET", "/v1/proposals/prop-1", [false, true, true, true]),
    ("POST", "/v1/proposals/prop-1/approve", [false, false, true, false]),
    ("POST", "/v1/plans/0/approve", [false, true, false, false]),
    ("GET", "/v1/status", [false, true, false, true]),
    ("GET", "/v1/plan", [false, true, false, true]),
    ("GET", "/v1/certificates/req-1", [true, true, false, true]),
    ("GET", "/v1/audit/checkpoint", [false, true, false, true]),
];

#[test]
fn without_a_good_token_no_route_answers() {
    let served =
        Served::with(World::center(), Limits::default(), Clock::Fixed(instant("2026-06-01T00:00:00Z")));
    let good = served.operator();
    let (revoked, row) = served.token_until("rita", Role::Operator, None, None);
    served.wait(served.ledger.revoke_token(&row.token_id, instant("2026-01-02T00:00:00Z"))).unwrap();
    let expired = served.token_until("eve", Role::Operator, None, Some("2026-06-01T00:00:00Z")).0;
    let unknown = format!("rt_{}", "a".repeat(43));
    let none = "eyJhbGciOiJub25lIn0.eyJyb2xlIjoib3BlcmF0b3IifQ.".to_owned();
    for value in [
        String::new(),
        format!("Bearer {unknown}"),
        format!("Bearer {revoked}"),
        format!("Bearer {expired}"),
        format!("Bearer {none}"),
        format!("Basic {good}"),
        good.clone(),
        format!("Bearer {good}x"),
    ] {
        let answer = call(served.address, "GET", "/v1/holds", &[("Authorization", &value)], None);
        answer.refused(401, "unauthorized");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    let twice = format!("Bearer {good}");
    let twice = [("Authorization", twice.as_str()), ("Authorization", twice.as_str())];
    call(served.address, "GET", "/v1/holds", &twice, None).refused(401, "unauthorized");
    let in_path = format!("/v1/holds?access_token={good}&token={good}");
    call(served.address, "GET", &in_path, &[], None).refused(401, "unauthorized");
    served.get(&good, "/v1/holds").is(200);
}

#[test]
fn an_expiry_counts_from_its_very_instant() {
    for (now, status) in [("2026-05-31T23:59:59.999999Z", 200), ("2026-06-01T00:00:00Z", 401)] {
        let served = Served::with(World::center(), Limits::default(), Clock::Fixed(instant(now)));
        let token = served.token_until("olga", Role::Operator, None, Some("2026-06-01T00:00:00Z")).0;
        served.get(&token, "/v1/holds").is(status);
    }
}

#[test]
fn each_route_asks_for_a_token_and_lets_in_its_roles_only() {
    let limits = Limits { rate: 100_000, ..Limits::default() };
    let served = Served::with(World::center(), limits, Clock::System);
    let tokens = [
        served.token("rosa", Role::Requester, Some("t-1")),
        served.token("olga", Role::Operator, None),
        served.token("anna", Role::Approver, None),
        served.token("arno", Role::Auditor, None),
    ];
    for (at, (method, path, roles)) in ROUTES.into_iter().enumerate() {
        // Bodies are of the wrong kind on purpose: whoever is let in is told so, and nothing is done.
        let key = format!("k{at}");
        let with = |token: &str| {
            let bearer = format!("Bearer {token}");
            let headers = [
                ("Authorization", bearer.as_str()),
                ("Idempotency-Key", &key),
                ("Content-Type", "application/json"),
            ];
            let body: Option<&[u8]> = if method == "GET" { None } else { Some(br#"{"unknown":1}"#) };
            call(served.address, method, path, &headers, body)
        };
        if at < 20 {
            with("none").refused(401, "unauthorized");
        }
        for (token, is_let_in) in tokens.iter().zip(roles) {
            let answer = with(token);
            if is_let_in {
                assert!(![401, 403, 405].contains(&answer.status), "{method} {path}: {answer:?}");
            } else {
                answer.refused(403, "forbidden");
            }
        }
    }
    assert_eq!(served.requests(), 0);
    assert!(served.wait(served.ledger.stopped()).unwrap().is_none());
}

#[test]
fn every_route_of_the_document_is_in_the_table_of_roles() {
    let served = Served::new();
    let document = call(served.address, "GET", "/openapi.json", &[], None).is(200);
    for (path, methods) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/v1") || path.starts_with("/v1/audit") {
            continue;
        }
        for method in methods.as_object().unwrap().keys() {
            let is_like = |route: &str| {
                let route = route.split('?').next().unwrap();
                let (parts, pattern) = (route.split('/'), path.split('/'));
                parts.clone().count() == pattern.clone().count()
                    && parts.zip(pattern).all(|(part, pattern)| part == pattern || pattern.starts_with('{'))
            };
            let found = ROUTES.iter().any(|(m, p, _)| m.eq_ignore_ascii_case(method) && is_like(p));
            assert!(found, "{method} {path} has no row");
        }
    }
}

fn without_id(answer: &super::Answered) -> Value {
    let mut body = answer.json();
    body["error"]["request"] = Value::Null;
    body
}

#[test]
fn another_tenants_things_look_like_none_and_both_are_written_down() {
    let served = Served::new();
    let (own, other) = (
        served.token("rosa", Role::Requester, Some("t-1")),
        served.token("rolf", Role::Requester, Some("t-10")),
    );
    let made = served.post(&own, "/v1/requests", "k", &caller_of("t-1")).is(202);
    let id = made["request_id"].as_str().unwrap();
    let absent = "req-01900000-0000-7000-8000-000000000000";
    for (method, shape) in
        [("GET", "/v1/requests/"), ("GET", "/v1/certificates/"), ("DELETE", "/v1/requests/")]
    {
        let ask = |id: &str| {
            let path = format!("{shape}{id}");
            if method == "GET" {
                served.get(&other, &path)
            } else {
                served.send(method, &other, &path, &format!("d{id}"), &json!({}))
            }
        };
        let before = served.entries("not-found").len();
        let (foreign, unknown) = (ask(id), ask(absent));
        foreign.refused(404, "not-found");
        assert_eq!(without_id(&foreign), without_id(&unknown), "{method} {shape}");
        assert_eq!(served.entries("not-found").len(), before + 2, "{method} {shape}");
    }
    served.get(&other, "/v1/tenants/t-1").refused(404, "not-found");
    assert_eq!(served.get(&other, "/v1/requests").is(200)["requests"], json!([]));
    assert_eq!(served.get(&own, "/v1/requests").is(200)["requests"][0]["request_id"], id);
    served.get(&own, &format!("/v1/certificates/{id}")).is(200);
    let state = served.get(&own, &format!("/v1/requests/{id}")).is(200);
    assert_eq!(state["state"], "received", "the other tenant's call has cancelled nothing");
    let text = serde_json::to_string(&served.entries("not-found")).unwrap();
    assert!(!text.contains(id), "what was asked for is not kept");
}

#[test]
fn the_tenant_comes_from_the_token_and_from_nowhere_else() {
    let served = Served::new();
    let token = served.token("rosa", Role::Requester, Some("t-1"));
    served.post(&token, "/v1/requests", "a", &caller_of("t-10")).refused(403, "other-tenant");
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Idempotency-Key", "b"),
        ("Content-Type", "application/json"),
        ("X-Tenant-Id", "t-10"),
        ("X-Forwarded-User", "olga"),
    ];
    let answer =
        call(served.address, "POST", "/v1/requests", &headers, Some(br#"{"everything":true}"#)).is(202);
    assert_eq!(answer["tenant"], "t-1");
    assert_eq!(served.requests(), 1);
}

#[test]
fn failed_tries_are_limited_and_a_good_token_still_passes() {
    let served = Served::new();
    let good = served.operator();
    let tries: Vec<u16> =
        (0..60).map(|_| call(served.address, "GET", "/v1/holds", &[], None).status).collect();
    assert_eq!(tries[0], 401);
    assert!(tries.contains(&429), "{tries:?}");
    served.get(&good, "/v1/holds").is(200);
}

#[test]
fn health_and_document_need_no_token_and_tell_about_nobody() {
    let served = Served::new();
    assert_eq!(call(served.address, "GET", "/healthz", &[], None).is(200), json!({"live": true}));
    let ready = call(served.address, "GET", "/readyz", &[], None).is(200);
    let expected = json!({"ready": true, "ledger": true, "policies": true, "stopping": false});
    assert_eq!(ready, expected);
    let answer =
        answered(&raw(served.address, b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    answer.unwrap().refused(404, "not-found");
}

#[test]
fn a_token_is_made_shown_once_and_revoked_by_command() {
    let world = World::center();
    let made = world.ok("token create --principal olga --role operator");
    let token = made["token"].as_str().unwrap().to_owned();
    let listed = world.ok("token list");
    assert_eq!(listed["tokens"][0]["principal"], "olga");
    let files = world.hashes().into_keys().filter(|file| !file.starts_with("objects"));
    for file in files {
        let bytes = std::fs::read(world.path(&file)).unwrap();
        assert!(
            !bytes.windows(token.len()).any(|window| window == token.as_bytes()),
            "{file} holds the token"
        );
    }
    let served = Served::with(world, Limits::default(), Clock::System);
    served.get(&token, "/v1/holds").is(200);
    served.world.ok(&format!("token revoke {}", made["token_id"].as_str().unwrap()));
    served.get(&token, "/v1/holds").refused(401, "unauthorized");
    for wrong in [
        "token create --principal a --role requester",
        "token create --principal a --role operator --tenant t-1",
        "token create --principal a:b --role operator",
        "token create --principal a --role operator --expires 2020-01-01T00:00:00Z",
        "token create --principal a --role owner",
        "token revoke tok-1",
    ] {
        served.world.exits(2, wrong);
    }
}
