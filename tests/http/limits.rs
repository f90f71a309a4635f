//! Bodies that are too large, too deep, too long or not ours; callers who ask too often; a queue that is full.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use retentiond::clock::Clock;
use retentiond::http::Limits;
use serde_json::{Value, json};

use super::{Served, call, caller_of, connect, send};
use crate::harness::World;

/// More than all buffers on the way hold.
const LARGE: u64 = 64 * 1024 * 1024;

#[test]
fn bodies_that_are_not_as_told_are_refused_and_nothing_of_them_is_repeated() {
    let served = Served::new();
    let token = served.operator();
    let many: Vec<Value> =
        (0..10_000).map(|n| json!({"kind": "phone", "value": format!("+65{n}")})).collect();
    let bodies = [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        r#"{"tenant":"t-1","tenant":"t-10","everything":true}"#.to_owned(),
        r#"{"tenant":"t-1","everything":true,"subject_ids":["a",["b"]]}"#.to_owned(),
        r#"{"tenant":"t-1","subjects":["+6591110001"]}"#.to_owned(),
        r#"{"tenant":"t-1","subjects":[["phone","+6591110001"]]}"#.to_owned(),
        r#"{"tenant":"t-1","subjects":[{"kind":"phone","value":""}]}"#.to_owned(),
        r#"{"tenant":"t-1","subjects":[{"kind":"phone","value":"  "}]}"#.to_owned(),
        r#"{"tenant":"t-1","subjects":[{"kind":"phone","value":6591110001}]}"#.to_owned(),
        r#"{"tenant":"t-1","subjects":[{"kind":"phone","value":"+6591110001","kind":"agent"}]}"#.to_owned(),
        r#"{"tenant":"t-1","subjects":[{"kind":"phone","value":"+6591110001","more":1}]}"#.to_owned(),
        r#"{"tenant":"t-1","subjects":[{"kind":"phone","value":"+6591110001"},{"kind":"phone","value":"+6591110001"}]}"#.to_owned(),
        r#"{"tenant":"t-1","subjects":[]}"#.to_owned(),
        r#"{"tenant":"t-1"}"#.to_owned(),
        r#"{"tenant":"t-1","everything":false}"#.to_owned(),
        r#"{"tenant":"t-1","everything":"true"}"#.to_owned(),
        r#"{"tenant":"t-1","everything":true,"categories":["call-data"]}"#.to_owned(),
        r#"{"tenant":"*","everything":true}"#.to_owned(),
        r#"{"tenant":"","everything":true}"#.to_owned(),
        r#"{"tenant":null,"everything":true}"#.to_owned(),
        r#"{"tenant":["t-1"],"everything":true}"#.to_owned(),
        r#"{"everything":true}"#.to_owned(),
        r#"{"tenant":"t-1","everything":true,"received_at":"yesterday"}"#.to_owned(),
        json!({"tenant": "t-1", "subjects": many[..1_001]}).to_string(),
        format!(r#"{{"tenant":"t-1","a":{}{}}}"#, "[".repeat(1_000), "]".repeat(1_000)),
        "\u{feff}{}".to_owned(),
    ];
    for (at, body) in bodies.iter().enumerate() {
        let answer = send(served.address, "POST", &token, "/v1/requests", &format!("k{at}"), body);
        assert_eq!(answer.status, 400, "{body:.80}: {answer:?}");
        assert!(!answer.text.contains("659111"), "{answer:?}");
    }
    for (at, body) in [
        r#"{"tenant":"t-1","categories":["no-such"]}"#,
        r#"{"tenant":"t-1","subjects":[{"kind":"shoe-size","value":"+6591110001"}]}"#,
        r#"{"tenant":"t-1","everything":true,"received_at":"2999-01-01T00:00:00Z"}"#,
    ]
    .iter()
    .enumerate()
    {
        let answer = send(served.address, "POST", &token, "/v1/requests", &format!("u{at}"), body);
        answer.refused(422, "unfit");
        assert!(!answer.text.contains("659111"), "{answer:?}");
    }
    let large = format!("{}{}", caller_of("t-1"), " ".repeat(256 * 1024));
    send(served.address, "POST", &token, "/v1/requests", "l", &large).refused(413, "too-large");
    let list = json!({"tenant": "t-1", "subjects": many}).to_string();
    assert!([400, 413].contains(&send(served.address, "POST", &token, "/v1/requests", "m", &list).status));
    assert_eq!(served.requests(), 0);
    let edge = json!({"tenant": "t-1", "subjects": many[..1_000]});
    served.post(&token, "/v1/requests", "edge", &edge).is(202);
    let body = caller_of("t-1").to_string();
    let edge = format!("{body}{}", " ".repeat(256 * 1024 - body.len()));
    send(served.address, "POST", &token, "/v1/requests", "size", &edge).is(202);
}

#[test]
fn a_body_says_that_it_is_json() {
    let served = Served::new();
    let bearer = format!("Bearer {}", served.operator());
    let body = caller_of("t-1").to_string();
    for (kind, status) in [
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json; charset=UTF-8", 202),
    ] {
        let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", "k"), ("Content-Type", kind)];
        assert_eq!(
            call(served.address, "POST", "/v1/requests", &headers, Some(body.as_bytes())).status,
            status,
            "{kind}"
        );
    }
}

#[test]
fn one_principal_that_asks_too_often_is_told_so_and_none_that_was_accepted_is_lost() {
    let limits = Limits { rate: 20, ..Limits::default() };
    let served = Served::with(World::center(), limits, Clock::System);
    let (token, second) = (served.operator(), served.operator());
    let other = served.token("otto", retentiond::ledger::Role::Operator, None);
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let ask = |thread: usize, token: &str| {
            let body = caller_of("t-1");
            let one = |n: usize| served.post(token, "/v1/requests", &format!("{thread}-{n}"), &body).status;
            (0..50).map(one).collect::<Vec<_>>()
        };
        let tokens = [&token, &second, &token, &second];
        let asked: Vec<_> = (0..4).map(|thread| scope.spawn(move || ask(thread, tokens[thread]))).collect();
        asked.into_iter().flat_map(|asked| asked.join().unwrap()).collect()
    });
    let count = |status: u16| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!(count(202) + count(429), 200, "{answers:?}");
    assert!(count(429) > 0, "two tokens of one principal share a bucket: {answers:?}");
    assert_eq!(served.requests(), count(202), "accepted and recorded are the same");
    served.get(&other, "/v1/holds").is(200);
}

#[test]
fn pulls_are_few_and_who_does_not_read_is_cut_off() {
    let limits = Limits { piece: Duration::from_millis(500), pulls: 2, pulls_each: 1, ..Limits::default() };
    let served = Served::with(World::center(), limits, Clock::System);
    let token = served.operator();
    let body = json!({"tenant": "t-1", "target": "takeaway", "categories": ["call-data"]});
    let asked = served.post(&token, "/v1/exports", "a", &body).is(202);
    let id = asked["export_id"].as_str().unwrap();
    assert_eq!(served.work_off_exports(), 1);
    let large = served.world.path("takeaway").join(id).join("records/large");
    std::fs::File::create(large).unwrap().set_len(LARGE).unwrap();
    let path = |name: &str| format!("/v1/exports/{id}/file?name={name}");
    let pull = |token: &str| {
        let mut stream = connect(served.address);
        let path = path("records/large");
        let head = format!("GET {path} HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.read_exact(&mut [0; 12]).unwrap();
        stream
    };
    let other = served.token("otto", retentiond::ledger::Role::Operator, None);
    let third = served.token("ines", retentiond::ledger::Role::Operator, None);
    let slow = [pull(&token), pull(&other)];
    served.get(&token, &path("manifest.json")).refused(429, "too-many-pulls");
    served.get(&third, &path("manifest.json")).refused(503, "busy");
    while served.get(&token, &path("manifest.json")).status != 200 {}
    for mut stream in slow {
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        assert!(rest.len() < usize::try_from(LARGE).unwrap(), "it was cut off: {}", rest.len());
    }
}

#[test]
fn a_full_queue_refuses_and_loses_none_that_was_accepted() {
    let limits = Limits { queue: 1, rate: 100_000, ..Limits::default() };
    let served = Served::with(World::center(), limits, Clock::System);
    let token = served.operator();
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let ask = |thread: usize| {
            let one =
                |n: usize| served.post(&token, "/v1/requests", &format!("{thread}-{n}"), &caller_of("t-1"));
            (0..6).map(|n| one(n).status).collect::<Vec<_>>()
        };
        let asked: Vec<_> = (0..8).map(|thread| scope.spawn(move || ask(thread))).collect();
        asked.into_iter().flat_map(|asked| asked.join().unwrap()).collect()
    });
    let count = |status: u16| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!(count(202) + count(503), 48, "{answers:?}");
    assert!(count(503) > 0 && count(202) > 0, "{answers:?}");
    assert_eq!(served.requests(), count(202));
}
