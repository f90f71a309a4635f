//! The process is killed between commit and answer, again and again: what was accepted is there, and nothing is there twice.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use retentiond::clock::{Clock, Stopwatch};
use retentiond::http::Limits;
use retentiond::ledger::Role;

use super::{Answered, Served, answered, caller_of};
use crate::harness::World;

/// Where a child serves; set for the child only.
const WORLD: &str = "RETENTIOND_TEST_SERVES";

/// How long the killing goes on; how many kills that is depends on the machine, and it is printed.
const LONG: Duration = Duration::from_secs(30);

/// Not a test of its own: what the killed process runs.
#[test]
#[ignore = "it serves until it is killed, for the test below"]
fn serves_until_it_is_killed() {
    let Some(folder) = std::env::var_os(WORLD) else { return };
    let file = PathBuf::from(folder).join("retentiond.toml");
    let loaded = retentiond::config::read::load(&file);
    let (mut config, policies) = (loaded.config.unwrap(), loaded.policies.unwrap());
    config.http.listen = "127.0.0.1:0".to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let ledger = retentiond::ledger::open(&config.ledger).await.unwrap().into();
        let limits = Limits { rate: 1_000_000, ..Limits::default() };
        let bound = retentiond::http::bind(&config.http).await.unwrap().limits(limits);
        println!("\nserves on {}", bound.address().unwrap());
        let world = retentiond::gather::World { config, policies, clock: Clock::System };
        retentiond::http::serve(retentiond::service::Service::new(world, ledger).into(), bound).await;
    });
}

fn start(world: &World) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "http::kill::serves_until_it_is_killed", "--ignored", "--nocapture"])
        .env(WORLD, world.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address =
        lines.find_map(|line| line.unwrap().strip_prefix("serves on ").map(|text| text.parse().unwrap()));
    (child, address.expect("the child serves"))
}

/// Sends a request and does not wait.
fn ask(address: SocketAddr, token: &str, key: &str) -> Option<TcpStream> {
    let body = caller_of("t-1").to_string();
    let head = format!(
        "POST /v1/requests HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(head.as_bytes()).ok()?;
    Some(stream)
}

fn answer_of(stream: Option<TcpStream>) -> Option<Answered> {
    let mut bytes = Vec::new();
    let _ = stream?.read_to_end(&mut bytes);
    answered(&bytes).filter(|answer| answer.status == 202)
}

#[test]
fn nothing_accepted_is_lost_and_nothing_doubled_however_often_the_process_is_killed() {
    let served = Served::new();
    let token = served.token("olga", Role::Operator, None);
    let world = served.stop();
    let watch = Stopwatch::start();
    let (mut kills, mut accepted, mut keys) = (0_u32, Vec::new(), BTreeSet::new());
    while watch.elapsed() < LONG {
        let (mut child, address) = start(&world);
        // Each round dies a little later after its questions were sent, before, between and after commits.
        let sent: Vec<(String, Option<TcpStream>)> = (0..8)
            .map(|n| {
                let key = format!("{kills}-{n}");
                let stream = ask(address, &token, &key);
                keys.insert(key.clone());
                (key, stream)
            })
            .collect();
        // It dies as soon as so many were answered: the others are before, between and after their commits.
        let answered = usize::try_from(kills % 8).unwrap();
        let mut answers: Vec<Option<Answered>> = Vec::new();
        let mut sent = sent.into_iter();
        let mut waited: Vec<String> = Vec::new();
        for (key, stream) in sent.by_ref().take(answered) {
            answers.push(answer_of(stream));
            waited.push(key);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let rest: Vec<(String, Option<Answered>)> =
            sent.map(|(key, stream)| (key, answer_of(stream))).collect();
        for (key, answer) in waited.into_iter().zip(answers).chain(rest) {
            if let Some(answer) = answer {
                accepted.push((key, answer.json()["request_id"].as_str().unwrap().to_owned(), answer.text));
            }
        }
    }
    println!("{kills} kills, {} answered before, {} asked", accepted.len(), keys.len());
    assert!(kills >= 5 && !accepted.is_empty() && accepted.len() < keys.len(), "{kills}");
    let served = Served::with(world, Limits { rate: 1_000_000, ..Limits::default() }, Clock::System);
    let rows = served.wait(served.ledger.requests()).unwrap();
    let ids: BTreeSet<String> = rows.iter().map(|row| row.request_id.to_string()).collect();
    for (key, id, text) in &accepted {
        assert!(ids.contains(id), "{id} was accepted and is lost");
        let again = served.post(&token, "/v1/requests", key, &caller_of("t-1"));
        assert_eq!((again.status, &again.text), (202, text), "{key}");
    }
    // Whoever was not answered asks again under the same key; then there is one request for each key.
    for key in &keys {
        served.post(&token, "/v1/requests", key, &caller_of("t-1")).is(202);
    }
    assert_eq!(served.requests(), keys.len());
    served.stop().ok("audit verify");
}
