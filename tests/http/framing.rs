//! Framing over real sockets: what is no call, no path, no header of ours.

use std::io::{Read, Write};
use std::time::Duration;

use retentiond::clock::Clock;
use retentiond::http::Limits;

use super::{Served, answered, call, caller_of, connect, raw};
use crate::harness::World;

fn status(served: &Served, bytes: &[u8]) -> Option<u16> {
    answered(&raw(served.address, bytes)).map(|answer| answer.status)
}

#[test]
fn paths_that_mean_another_place_are_refused() {
    let served = Served::new();
    let token = served.operator();
    for path in [
        "/v1/tenants/a%2F..%2Fb",
        "/v1/tenants/a/../b",
        "/v1//tenants",
        "//v1/tenants",
        "/v1/tenants/a%00",
        "/v1/tenants/a;x",
        "/v1/tenants/a%3Bx",
        "/v1/tenants/a%252Fb",
        "/v1/tenants/%2e%2e",
        "/v1/tenants/.",
        "/v1/tenants/a%5cb",
        "/v1/tenants/a%0d%0ab",
        "/v1/tenants/%c3%28",
        "/v1/tenants/%2",
        "http://retentiond/v1/tenants",
        "/v1/tenants/*",
        "/v1/tenants/a%20b",
    ] {
        let answer = served.get(&token, path);
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.json()["error"]["code"].is_string(), "{path}");
    }
    assert_eq!(served.get(&token, "/v1/tenants/caf%C3%A9").is(200)["tenant"], "café");
}

#[test]
fn headers_that_are_not_plain_are_refused() {
    let served = Served::new();
    let line =
        |header: &str| format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n\r\n");
    assert_eq!(status(&served, line("X-A: b").as_bytes()), Some(200));
    for header in [
        "X-A: b\rX-B: c",
        "X-A: b\r\n folded",
        "X-A: \u{e9}",
        "X A: b",
        ": b",
        "X-A: b\0c",
        "Expect: 100-continue",
    ] {
        assert_eq!(status(&served, line(header).as_bytes()), Some(400), "{header:?}");
    }
    let long = line(&format!("X-A: {}", "a".repeat(17 * 1024)));
    assert_eq!(status(&served, long.as_bytes()), Some(431));
    let huge = line(&format!("X-A: {}", "a".repeat(1024 * 1024)));
    assert!(matches!(status(&served, huge.as_bytes()), Some(431) | None));
    let many = line(&(0..200).map(|n| format!("X-{n}: a")).collect::<Vec<_>>().join("\r\n"));
    assert_eq!(status(&served, many.as_bytes()), Some(431));
    assert_eq!(status(&served, b"GET /healthz HTTP/1.0\r\nHost: x\r\n\r\n"), Some(505));
    assert!(matches!(status(&served, b"\x16\x03\x01\x02\x00\x01\x00"), Some(400) | None));
}

#[test]
fn a_body_in_chunks_or_of_two_lengths_is_refused_and_the_connection_ends() {
    let served = Served::new();
    let token = served.operator();
    let body = caller_of("t-1").to_string();
    let head = |framing: &str| {
        format!(
            "POST /v1/requests HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: f\r\n\
             Content-Type: application/json\r\n{framing}\r\n"
        )
    };
    let hidden = "GET /v1/holds HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n{hidden}", body.len());
    for framing in [
        "Transfer-Encoding: chunked\r\n".to_owned(),
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", body.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", body.len()),
    ] {
        let answer = raw(served.address, format!("{}{chunked}", head(&framing)).as_bytes());
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.starts_with("HTTP/1.1 411"), "{text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "what follows is not taken for a call: {text}");
    }
    for framing in [
        "Content-Length: 5\r\nContent-Length: 6\r\n".to_owned(),
        "Content-Length: +5\r\n".to_owned(),
        "Content-Length: -1\r\n".to_owned(),
        "Content-Length: 99999999999999999999999\r\n".to_owned(),
        "Transfer-Encoding: gzip\r\n".to_owned(),
    ] {
        let answer = status(&served, format!("{}{body}", head(&framing)).as_bytes());
        assert!(matches!(answer, Some(400 | 411)), "{framing}: {answer:?}");
    }
    let giant = head("Content-Length: 1073741824\r\n");
    assert_eq!(status(&served, giant.as_bytes()), Some(413));
    // Too short a length: the rest is no call.
    let short = raw(served.address, format!("{}{body}", head("Content-Length: 2\r\n")).as_bytes());
    assert!(
        String::from_utf8_lossy(&short).starts_with("HTTP/1.1 400"),
        "{}",
        String::from_utf8_lossy(&short)
    );
    assert_eq!(served.requests(), 0);
}

#[test]
fn slow_heads_and_slow_bodies_end() {
    let second = Duration::from_millis(400);
    let limits = Limits { header_read: second, body_read: second, ..Limits::default() };
    let served = Served::with(World::center(), limits, Clock::System);
    let token = served.operator();
    let mut head = connect(served.address);
    head.write_all(b"GET /healthz HTT").unwrap();
    let mut answer = Vec::new();
    // It ends by itself: nobody writes any more.
    let _ = head.read_to_end(&mut answer);
    assert!(matches!(answered(&answer).map(|a| a.status), None | Some(400 | 408)), "{answer:?}");
    let mut body = connect(served.address);
    let start = format!(
        "POST /v1/requests HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: s\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{{"
    );
    body.write_all(start.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = body.read_to_end(&mut answer);
    answered(&answer).unwrap().refused(408, "too-slow");
    assert_eq!(served.requests(), 0);
}

#[test]
fn other_methods_have_no_effect_and_none_is_taken_from_a_header() {
    let served = Served::new();
    let token = served.operator();
    let made = served.post(&token, "/v1/requests", "k", &caller_of("t-1")).is(202);
    let path = format!("/v1/requests/{}", made["request_id"].as_str().unwrap());
    let bearer = format!("Bearer {token}");
    let headers = |extra: &'static [(&'static str, &'static str)]| {
        let mut headers = vec![("Authorization", bearer.as_str()), ("Idempotency-Key", "m")];
        headers.extend_from_slice(extra);
        headers
    };
    for method in ["HEAD", "OPTIONS", "TRACE", "PUT", "PATCH", "PROPFIND"] {
        for path in [path.as_str(), "/v1/stop", "/v1/holds", "/v1/requests"] {
            let answer = call(served.address, method, path, &headers(&[]), None);
            let is_read = method == "HEAD" && path != "/v1/stop";
            assert_eq!(answer.status, if is_read { 200 } else { 405 }, "{method} {path}: {answer:?}");
            assert!(!answer.headers.contains_key("access-control-allow-origin"), "{method} {path}");
        }
    }
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        let bearer = bearer.as_str();
        let headers = [("Authorization", bearer), ("Idempotency-Key", "m"), (name, "DELETE")];
        call(served.address, "GET", &path, &headers, None).is(200);
    }
    let state = served.get(&token, &path).is(200);
    assert_eq!(state["state"], "received");
    assert!(served.wait(served.ledger.stopped()).unwrap().is_none());
}

#[test]
fn several_calls_on_one_connection_are_answered_in_order() {
    let served = Served::new();
    let token = served.operator();
    let one = format!("GET /v1/holds HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    let last = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let text = String::from_utf8(raw(served.address, format!("{one}{one}{last}").as_bytes())).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200").count(), 3, "{text}");
    assert!(text.ends_with(r#"{"live":true}"#));
}
