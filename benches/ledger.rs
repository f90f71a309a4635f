//! How fast a ledger takes requests in, durably, on `SQLite` and on `MariaDB`; and how much faster several processes
//! carry out a plan of many steps than one. It owns figures, no assertion of speed.
//!
//! ```text
//! cargo bench --bench ledger                            all of it
//! cargo bench --bench ledger -- intake SECONDS CLIENTS
//! cargo bench --bench ledger -- share STEPS PROCESSES
//! ```
//!
//! The server is made to force its log to disk with each commit, as `SQLite` does.
#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

/// The servers of the tests.
#[path = "../tests"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "written for tests, of which a bench needs a part"
)]
mod tests {
    pub(crate) mod servers;
}

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use retentiond::clock::{Clock, Stopwatch};
use retentiond::id::{Category, PlacementId, TenantId};
use retentiond::ledger::{Ledger, NewRequest, NewScope, SqlLedger};
use secrecy::ExposeSecret as _;

use self::tests::servers::Server;
use self::tests::servers::mariadb::{Database, launch};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What a server in earnest does: each commit is on disk, in both of its logs, before it is answered.
const DURABLE: [&str; 3] =
    ["--innodb-flush-method=fsync", "--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match words.as_slice() {
            ["intake", seconds, clients] => intake(seconds.parse()?, clients.parse()?).await,
            ["share", steps, processes] => share(steps.parse()?, processes.parse()?).await,
            [] => {
                intake(10, 8).await?;
                share(10_000, 3).await
            }
            _ => Err("see the head of benches/ledger.rs for what can be given".into()),
        }
    })
}

async fn intake(seconds: u64, clients: u64) -> Outcome<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (file, key) = (folder.path().join("retentiond.db"), folder.path().join("ledger.key"));
    let sqlite: Arc<dyn Ledger> = Arc::new(SqlLedger::open(&file, &key).await?);
    let database = Database::on(&launch(&DURABLE)).await;
    let key = folder.path().join("server.key");
    let server: Arc<dyn Ledger> = Arc::new(SqlLedger::connect(&database.url(), &key).await?);
    for (name, ledger) in [("SQLite", sqlite), ("MariaDB", server)] {
        let mut tasks = Vec::new();
        for client in 0..clients {
            let ledger = Arc::clone(&ledger);
            tasks.push(tokio::spawn(async move { requests(ledger.as_ref(), client, seconds).await }));
        }
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await??);
        }
        waits.sort_unstable();
        let at = |share: usize| waits.get(waits.len() * share / 100).copied().unwrap_or_default();
        let rate = u64::try_from(waits.len())? / seconds;
        println!("{name}: {clients} clients, {rate} requests/s, p50 {:?}, p99 {:?}", at(50), at(99));
    }
    Ok(())
}

/// Records requests one after the other, and says how long each took.
async fn requests(
    ledger: &dyn Ledger,
    client: u64,
    seconds: u64,
) -> Result<Vec<Duration>, retentiond::ledger::LedgerError> {
    let (whole, mut waits) = (Stopwatch::start(), Vec::new());
    while whole.elapsed() < Duration::from_secs(seconds) {
        let now = Clock::System.now();
        let Some(tenant) = TenantId::observed(&format!("tenant-{client}")) else { break };
        let subject = ("phone".to_owned(), format!("+65{client}{}", waits.len()));
        let new = NewRequest {
            tenant,
            scope: NewScope::Subjects(vec![subject]),
            received_at: now,
            deadline: now + TimeDelta::days(30),
            covers: vec![Category::new("call-data")],
            placements: vec![PlacementId::new("call-records")],
            known: true,
            idempotency_key: Some(format!("{client}-{}", waits.len())),
        };
        let one = Stopwatch::start();
        ledger.create_request(&new, now).await?;
        waits.push(one.elapsed());
    }
    Ok(waits)
}

const SCHEMA: &str =
    "CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(64), started_at DATETIME,
    recording_key VARCHAR(255), KEY (tenant_id, started_at), KEY (recording_key))";

const POLICY: &str = r#"
category = "call-data"
title = "Call data"
time_zone = "Asia/Singapore"
method = "delete"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
clause = "SLA §7.5"
[[placements]]
name = "call-records"
store = "calls"
table = "call_record"
key = ["id"]
tenant = { column = "tenant_id" }
event_time = { column = "started_at", time_zone = "Asia/Singapore" }
subjects = "none"
[[placements]]
name = "recordings"
store = "objects"
found_by = { placement = "call-records", column = "recording_key", prefix = "rec/{tenant}/" }
"#;

/// One process, and then several, carry out as many steps.
async fn share(steps: u64, processes: usize) -> Outcome<()> {
    let server = launch(&DURABLE);
    let one = carry_out(&server, steps, 1).await?;
    let several = carry_out(&server, steps, processes).await?;
    println!(
        "{steps} steps: one process {one:?}, {processes} processes {several:?}, ratio {:.2}",
        one.as_secs_f64() / several.as_secs_f64()
    );
    Ok(())
}

async fn carry_out(server: &Server, steps: u64, processes: usize) -> Outcome<Duration> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let (calls, ledger) = (Database::on(server).await, Database::on(server).await);
    calls.run(SCHEMA).await;
    let rows: Vec<String> =
        (0..steps).map(|n| format!("({n}, 'end-{n}', '2021-05-01 10:00:00', 'rec/end-{n}/a.wav')")).collect();
    for rows in rows.chunks(1_000) {
        calls.run(&format!("INSERT INTO call_record VALUES {}", rows.join(","))).await;
    }
    std::fs::create_dir_all(folder.path().join("policies"))?;
    for n in 0..steps {
        let file = folder.path().join(format!("objects/rec/end-{n}"));
        std::fs::create_dir_all(&file)?;
        std::fs::write(file.join("a.wav"), "a call")?;
    }
    std::fs::write(folder.path().join("policies/call-data.toml"), POLICY)?;
    let config = format!(
        "[ledger]\nurl = \"{}\"\n[policies]\npath = \"policies\"\n[limits]\nrecords = 10000000\nshare = \"100%\"\n\
         [stores.calls]\nkind = \"mysql\"\nurl = \"{}\"\n[stores.objects]\nkind = \"files\"\npath = \"objects\"\n",
        ledger.url().expose_secret(),
        calls.url().expose_secret()
    );
    std::fs::write(folder.path().join("retentiond.toml"), config)?;
    let writer = SqlLedger::connect(&ledger.url(), &folder.path().join("ledger.key")).await?;
    let ended: DateTime<Utc> = "2021-06-01T00:00:00Z".parse()?;
    for n in 0..steps {
        let tenant = TenantId::observed(&format!("end-{n}")).ok_or("a tenant without a name")?;
        writer.terminate(&tenant, ended, ended).await?;
    }
    let watch = Stopwatch::start();
    let mut running = Vec::new();
    for _ in 0..processes {
        running.push(enforce(folder.path())?);
    }
    // The run is over when the first of them is: the others have nothing left but to look.
    for process in &mut running {
        if !process.wait()?.success() {
            return Err("a process failed".into());
        }
    }
    Ok(watch.elapsed())
}

fn enforce(folder: &Path) -> Outcome<std::process::Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retentiond"));
    command.current_dir(folder).args(["enforce", "--at", "2021-06-20T00:00:00Z", "--json"]);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?)
}
