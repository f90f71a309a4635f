//! Traces: what a collector gets of a run, and that a run is none the worse for a collector that is not there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::harness::World;

/// A collector: takes everything that is sent to it, as OTLP over HTTP.
fn collector() -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            if sender.send(take(stream)).is_err() {
                return;
            }
        }
    });
    (address, receiver)
}

fn take(mut stream: TcpStream) -> (String, Vec<u8>) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.expect("a length").trim().parse().unwrap();
            if bytes.len() >= end + 4 + length {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .unwrap();
                return (head, bytes[end + 4..].to_vec());
            }
        }
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the call broke off");
        bytes.extend(&piece[..read]);
    }
}

fn traced(address: &str) -> World {
    let world = World::center();
    let config = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
    world.write("retentiond.toml", &format!("{config}[telemetry]\notlp = \"{address}\"\n"));
    world
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_collector_gets_the_spans_of_a_run_with_ids_and_counts_only() {
    let (address, receiver) = collector();
    let world = traced(&address);
    let request = world.ok("request create --tenant t-1 --subject phone=+6591110001");
    let report = world.ok("enforce");
    let mut sent = Vec::new();
    while let Ok((head, body)) = receiver.recv_timeout(Duration::from_millis(500)) {
        assert!(head.starts_with("post /v1/traces "), "{head}");
        sent.extend(body);
    }
    for expected in ["retentiond", "run", "step", "batch", "run_id", "step_id", "records", "call-records"] {
        assert!(holds(&sent, expected), "there is no {expected} among {} bytes", sent.len());
    }
    assert!(holds(&sent, report["run_id"].as_str().unwrap()));
    assert!(holds(&sent, request["request_id"].as_str().unwrap()));
    for value in ["91110001", "a.wav", "rec/t-1"] {
        assert!(!holds(&sent, value), "{value} has left");
    }
}

#[test]
fn a_run_is_none_the_worse_for_a_collector_that_is_not_there() {
    let world = traced("http://127.0.0.1:9");
    let report = world.ok("enforce");
    assert_eq!(report["status"], "done");
    assert_eq!(report["totals"]["failed"], 0);
}
