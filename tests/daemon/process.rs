//! The program itself: served requests, signals in the middle of a batch, `kill -9`, the service manager, edited files.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use sqlx::SqliteConnection;

use crate::harness::{CALLER, World, answer_of, wait_for};

/// Longer than anything here takes on a busy machine: only a test that has failed waits so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rows that name a file go in batches of five hundred; so many more make a second batch.
const ROWS: u64 = 600;
const FIRST_BATCH: u64 = 500;

/// A process that serves, and what it logs. It is killed when it is dropped.
struct Served {
    child: Child,
    log: Receiver<Value>,
    address: String,
}

impl Served {
    fn start(world: &World) -> Self {
        Self::with(world, &[])
    }

    fn with(world: &World, environment: &[(&str, &str)]) -> Self {
        // A port of its own, for many of these run at once.
        let config = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
        if !config.contains("[http]") {
            world.write("retentiond.toml", &format!("{config}\n[http]\nlisten = \"127.0.0.1:0\"\n"));
        }
        let mut command = world.command(&["serve"]);
        command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (send, log) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line =
                    serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a line of JSON: {line}"));
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut served = Self { child, log, address: String::new() };
        served.address = served.logged("serving")["fields"]["address"].as_str().unwrap().to_owned();
        served
    }

    /// The status line of an answer over HTTP.
    fn status_of(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).unwrap();
        BufReader::new(stream).lines().next().unwrap().unwrap()
    }

    /// Waits until it logs this message.
    fn logged(&self, message: &str) -> Value {
        loop {
            let line =
                self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it never logged `{message}`"));
            if line["fields"]["message"] == message {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits until it has ended: the exit code and the answer.
    fn ended(mut self) -> (Option<i32>, Value) {
        let output = self.child.stdout.take().unwrap();
        let answer = serde_json::from_reader(output).unwrap_or(Value::Null);
        let code = self.child.wait().unwrap().code();
        (code, answer)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn without_delay() -> World {
    let world = World::center();
    world.edit("retentiond.toml", "[limits]", "[schedule]\nrequest_delay = \"0 minutes\"\n[limits]");
    world
}

/// A request whose records take two batches; the first run left its marker in the stores already.
fn crowded() -> World {
    let world = without_delay();
    world.sql(
        "calls.db",
        &format!(
            "DELETE FROM call_record;
             WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
             INSERT INTO call_record (id, tenant_id, started_at, recording_key)
             SELECT i, 't-1', '2021-01-01 00:00:00', 'rec/t-1/' || i || '.wav' FROM n;"
        ),
    );
    for n in 1..=ROWS {
        world.write(&format!("objects/rec/t-1/{n}.wav"), "words");
    }
    world.ok("enforce --at 2021-01-02T00:00:00+08:00");
    world
}

fn lock(world: &World) -> SqliteConnection {
    wait_for(async {
        let mut connection = world.connect("calls.db").await;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        connection
    })
}

/// Waits until a batch of rows has begun.
fn wait_for_batch(world: &World) {
    let begun =
        "SELECT CAST(count(*) AS TEXT) FROM intent WHERE placement = 'call-records' AND ended_at IS NULL";
    while world.number("retentiond.db", begun) == 0 {
        std::thread::yield_now();
    }
}

fn state(world: &World, request: &Value) -> Value {
    world.ok(&format!("request show {}", request["request_id"].as_str().unwrap()))["state"].clone()
}

fn ended_runs(world: &World) -> Vec<String> {
    world.texts("retentiond.db", "SELECT status FROM run ORDER BY number")
}

#[test]
fn a_request_that_another_process_records_is_served_without_being_asked() {
    let world = without_delay();
    let others = world.others("t-1");
    let served = Served::start(&world);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(served.status_of(path), "HTTP/1.1 200 OK", "{path}");
    }
    let request = world.ok(&format!("request create --tenant t-1 --subject {CALLER}"));
    let begun = served.logged("run begins");
    assert_eq!(begun["fields"]["cause"], "request");
    let run = served.logged("run ended");
    assert_eq!((&run["fields"]["status"], &run["level"]), (&"done".into(), &"INFO".into()), "{run:#}");
    assert_eq!(state(&world, &request), "completed");
    assert_eq!(world.ok("status")["requests_open"], 0, "another process looks on");
    served.signal("TERM");
    assert_eq!(served.ended(), (Some(0), serde_json::json!({"ended": "stopped"})));
    assert_ne!(world.others("t-1"), others, "age took its due from the others too");
    world.assert_settled();
    assert_eq!(world.ok("audit verify")["sound"], true);
}

#[test]
fn a_stop_in_the_middle_of_a_run_ends_its_batch_begins_no_other_and_the_next_start_finishes() {
    let world = crowded();
    let locked = lock(&world);
    let served = Served::start(&world);
    let request = world.ok("request create --tenant t-1 --everything");
    // Every file of the first batch is gone, and the statement for its rows waits for the lock.
    wait_for_batch(&world);
    served.signal("TERM");
    served.logged("stopping");
    drop(locked);
    assert_eq!(served.ended().0, Some(0));
    assert_eq!(
        world.calls("t-1").len() as u64,
        ROWS - FIRST_BATCH,
        "the batch has ended, and no other began"
    );
    assert_eq!(ended_runs(&world).last().unwrap(), "interrupted");
    world.assert_settled();
    let served = Served::start(&world);
    assert_eq!(served.logged("run begins")["fields"]["cause"], "unfinished");
    served.logged("run ended");
    assert!(world.calls("t-1").is_empty());
    assert_eq!(state(&world, &request), "completed");
    served.signal("INT");
    assert_eq!(served.ended().0, Some(0));
    world.assert_settled();
}

#[test]
fn a_second_signal_ends_the_process_at_once_and_the_next_start_asks_what_became_of_the_batch() {
    let world = crowded();
    let locked = lock(&world);
    let served = Served::start(&world);
    world.ok("request create --tenant t-1 --everything");
    wait_for_batch(&world);
    served.signal("TERM");
    served.logged("stopping");
    served.signal("TERM");
    assert_eq!(served.ended(), (Some(1), serde_json::json!({"ended": "at-once"})));
    drop(locked);
    let served = Served::start(&world);
    assert_eq!(served.logged("run begins")["fields"]["cause"], "unfinished");
    served.logged("run ended");
    assert!(world.calls("t-1").is_empty());
    served.signal("TERM");
    assert_eq!(served.ended().0, Some(0));
    world.assert_settled();
}

#[test]
fn what_a_killed_process_left_is_finished_by_the_one_beside_it() {
    let world = crowded();
    let locked = lock(&world);
    let served = Served::start(&world);
    let request = world.ok("request create --tenant t-1 --everything");
    wait_for_batch(&world);
    let beside = Served::start(&world);
    served.signal("KILL");
    assert_eq!(served.ended().0, None);
    drop(locked);
    // It notices within a minute that nobody holds the run's place.
    assert_eq!(beside.logged("run begins")["fields"]["cause"], "unfinished");
    beside.logged("run ended");
    assert!(world.calls("t-1").is_empty());
    assert_eq!(state(&world, &request), "completed");
    beside.signal("TERM");
    assert_eq!(beside.ended().0, Some(0));
    assert_eq!(ended_runs(&world), ["done", "interrupted", "done"]);
    world.assert_settled();
}

#[test]
fn a_signal_ends_a_run_by_hand_after_its_batch_too() {
    let world = crowded();
    let locked = lock(&world);
    let mut command = world.command(&["enforce"]);
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_batch(&world);
    assert!(Command::new("kill").args(["-s", "INT", &run.id().to_string()]).status().unwrap().success());
    let mut said = String::new();
    BufReader::new(run.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("the batch under way is finished"), "{said}");
    drop(locked);
    let report = answer_of(&run.wait_with_output().unwrap(), &["enforce"]);
    assert_eq!((report.code, &report.json["status"]), (Some(1), &"interrupted".into()), "{report:#?}");
    assert_eq!(world.calls("t-1").len() as u64, ROWS - FIRST_BATCH);
    world.assert_settled();
    world.ok("enforce");
    assert!(world.calls("t-1").is_empty());
}

#[test]
fn the_service_manager_is_told_when_it_serves_that_it_lives_and_when_it_stops() {
    let world = World::center();
    let path = world.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let served = Served::with(&world, &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let told = |wanted: &str| {
        let mut message = [0; 4096];
        loop {
            let length = manager.recv(&mut message).unwrap_or_else(|_| panic!("never told `{wanted}`"));
            if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    told("READY=1");
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    served.signal("TERM");
    told("STOPPING=1");
    assert_eq!(served.ended().0, Some(0));
}

#[test]
fn a_faulty_edit_changes_nothing_and_a_good_one_everything_at_once() {
    let world = World::center();
    let served = Served::start(&world);
    let before = world.number("retentiond.db", "SELECT CAST(count(*) AS TEXT) FROM entry");
    world.edit("policies/call-data.toml", "period = \"6 months\"", "period = \"6 fortnights\"");
    served.signal("HUP");
    let kept = served.logged("the files are faulty; what was in force stays so");
    assert!(kept["fields"]["faults"].as_str().unwrap().starts_with("call-data.toml:"), "{kept:#}");
    assert_eq!(world.number("retentiond.db", "SELECT CAST(count(*) AS TEXT) FROM entry"), before);
    world.edit("policies/call-data.toml", "period = \"6 fortnights\"", "period = \"7 months\"");
    world.edit(
        "retentiond.toml",
        "[limits]",
        "[audit]\npath = \"elsewhere\"\n[schedule]\ncron = \"* * * * * *\"\n[limits]",
    );
    served.signal("HUP");
    let replaced = served.logged("the files are in force");
    served.logged("a change needs a restart; the old one is in force");
    let run = served.logged("run ended");
    assert_eq!(run["fields"]["status"], "done", "the new schedule is in force: {run:#}");
    served.signal("TERM");
    assert_eq!(served.ended().0, Some(0));
    let entry = "SELECT body FROM entry WHERE body LIKE '%\"kind\":\"files-loaded\"%'";
    let entries = world.texts("retentiond.db", entry);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert!(entries[0].contains(replaced["fields"]["policy_digest"].as_str().unwrap()), "{entries:?}");
    assert!(!world.path("elsewhere").exists(), "the audit log stays where it was until a restart");
}

#[test]
fn it_does_not_start_with_faulty_files_or_beside_a_log_whose_ledger_is_lost() {
    let world = World::center();
    world.ok("enforce --at 2021-08-01T00:00:00+08:00");
    for file in ["retentiond.db", "retentiond.db-wal", "retentiond.db-shm"] {
        drop(std::fs::remove_file(world.path(file)));
    }
    world.exits(3, "serve");
    assert!(!world.path("retentiond.db").exists(), "no new ledger where the lost one belongs");
    let world = World::center();
    world.edit("policies/call-data.toml", "period = \"6 months\"", "period = \"6 fortnights\"");
    world.exits(2, "serve");
}
