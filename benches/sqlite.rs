//! How fast SQLite placements are enforced, as ratios to plain `DELETE` loops on the same file, with peak memory, the
//! longest lock that keeps somebody else from writing, and how long planning takes. It owns figures, no assertion of speed; it
//! does assert that everything due is gone and everything kept is there.
//!
//! ```text
//! cargo bench --bench sqlite                          2,000,000 rows, 3 rounds
//! cargo bench --bench sqlite -- erase ROWS ROUNDS
//! cargo bench --bench sqlite -- memory ROWS           `enforce` with `delete` only
//! cargo bench --bench sqlite -- plan KEPT...          planning, with 50,000 due records among so many kept ones
//! ```
#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use chrono::TimeDelta;
use retentiond::clock::{Clock, Stopwatch};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Due records of the tables on which planning is measured.
const PLAN_DUE: u64 = 50_000;

/// Ticks per second in `/proc/PID/stat`, the same on every Linux.
const TICKS: f64 = 100.0;

/// A technique that is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Technique {
    /// One `DELETE`.
    One,
    /// A loop of `DELETE`s over so many rowids each.
    Chunked(u64),
    /// `retentiond enforce` with a method.
    Enforce(&'static str),
}

const TECHNIQUES: [Technique; 6] = [
    Technique::One,
    Technique::Chunked(64_000),
    Technique::Chunked(16_000),
    Technique::Enforce("delete"),
    Technique::Enforce("overwrite-then-delete"),
    Technique::Enforce("zero"),
];

impl Technique {
    fn title(self) -> String {
        match self {
            Self::One => "one `DELETE`".to_owned(),
            Self::Chunked(keys) => format!("plain loop, {keys} keys a chunk"),
            Self::Enforce(method) => format!("`enforce`, {method}"),
        }
    }
}

/// What one run took.
#[derive(Clone, Copy)]
struct Measured {
    wall: f64,
    cpu: f64,
    memory_mib: f64,
    lock_ms: f64,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["loop", database, keys] => plain_loop(Path::new(database), keys.parse()?),
        ["plan", kept @ ..] => plans(kept),
        ["erase", rows, rounds] => erase(rows.parse()?, rounds.parse()?, &TECHNIQUES),
        ["memory", rows] => erase(rows.parse()?, 1, &[Technique::One, Technique::Enforce("delete")]),
        [] => {
            erase(2_000_000, 3, &TECHNIQUES)?;
            plans(&["200000", "2000000"])
        }
        _ => Err("see the head of benches/sqlite.rs for what can be given".into()),
    }
}

/// Every technique in every round on a fresh copy of the same file; ratios are taken inside a round.
fn erase(rows: u64, rounds: u64, techniques: &[Technique]) -> Outcome<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let snapshot = folder.path().join("snapshot.db");
    build(&snapshot, rows, 4)?;
    let due = rows / 4;
    println!(
        "{rows} rows, {due} due, {rounds} rounds, file of {} MiB\n",
        fs::metadata(&snapshot)?.len() >> 20
    );
    let mut results: Vec<Vec<Measured>> = vec![Vec::new(); techniques.len()];
    for round in 1..=rounds {
        for (technique, results) in techniques.iter().zip(&mut results) {
            let measured = one_run(folder.path(), &snapshot, *technique, rows, due)?;
            println!(
                "round {round}, {}: {:.2} s, {:.2} s of CPU, {:.0} MiB, lock {:.0} ms",
                technique.title(),
                measured.wall,
                measured.cpu,
                measured.memory_mib,
                measured.lock_ms
            );
            results.push(measured);
        }
    }
    show(techniques, &results, due);
    Ok(())
}

fn show(techniques: &[Technique], results: &[Vec<Measured>], due: u64) {
    println!(
        "\n| technique | rows/s | of the best plain loop | of one `DELETE` | CPU µs/row | peak MiB | longest lock ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    let records = due as f64;
    for (technique, runs) in techniques.iter().zip(results) {
        let ratio = |to: &dyn Fn(usize) -> f64| {
            spread(&runs.iter().enumerate().map(|(round, run)| to(round) / run.wall).collect::<Vec<_>>(), 2)
        };
        let best = |round: usize| {
            let loops = techniques.iter().zip(results).filter(|(t, _)| matches!(t, Technique::Chunked(_)));
            loops.filter_map(|(_, runs)| runs.get(round)).map(|run| run.wall).fold(f64::INFINITY, f64::min)
        };
        let one = |round: usize| results[0].get(round).map_or(f64::NAN, |run| run.wall);
        let each =
            |pick: fn(&Measured) -> f64, digits| spread(&runs.iter().map(pick).collect::<Vec<_>>(), digits);
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            technique.title(),
            spread(&runs.iter().map(|run| records / run.wall).collect::<Vec<_>>(), 0),
            ratio(&best),
            ratio(&one),
            spread(&runs.iter().map(|run| run.cpu * 1e6 / records).collect::<Vec<_>>(), 1),
            each(|run| run.memory_mib, 0),
            each(|run| run.lock_ms, 0),
        );
    }
    println!();
}

/// Median and range.
fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return String::new() };
    let median = sorted[sorted.len() / 2];
    if sorted.len() == 1 {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} [{first:.digits$}..{last:.digits$}]")
}

fn one_run(folder: &Path, snapshot: &Path, technique: Technique, rows: u64, due: u64) -> Outcome<Measured> {
    let place = folder.join("run");
    fs::create_dir(&place)?;
    let database = place.join("center.db");
    fs::copy(snapshot, &database)?;
    let mut command = match technique {
        Technique::One => looping(&database, rows)?,
        Technique::Chunked(keys) => looping(&database, keys)?,
        Technique::Enforce(method) => {
            configure(&place, method)?;
            retentiond(&place, "enforce")
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let foreground = thread::spawn({
        let (stop, database) = (Arc::clone(&stop), database.clone());
        move || longest_lock(&database, &stop).map_err(|error| error.to_string())
    });
    thread::sleep(Duration::from_millis(200));
    let output = fs::File::create(place.join("output.json"))?;
    let watch = Stopwatch::start();
    let mut child = command.stdin(Stdio::null()).stdout(output).spawn()?;
    let (cpu, memory_mib) = watch_child(&mut child)?;
    let wall = watch.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let lock_ms = foreground.join().map_err(|_| "the foreground writer failed")??;
    prove(&database, rows, due)?;
    if matches!(technique, Technique::Enforce(_)) {
        let report: serde_json::Value = serde_json::from_slice(&fs::read(place.join("output.json"))?)?;
        if !report.to_string().contains(&format!("\"verified_absent\":{due}")) {
            return Err(format!("the report does not say that {due} records were read back: {report}").into());
        }
    }
    fs::remove_dir_all(&place)?;
    Ok(Measured { wall, cpu, memory_mib, lock_ms })
}

/// Waits for a child to end and returns its CPU seconds and its peak of resident memory. A child that has ended keeps
/// its times until it is waited for, but not its memory.
fn watch_child(child: &mut Child) -> Outcome<(f64, f64)> {
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let mut memory_mib = 0.0;
    let mut cpu = 0.0;
    loop {
        if let Ok(status) = fs::read_to_string(process.join("status"))
            && let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:"))
            && let Some(kib) = line.split_whitespace().nth(1)
        {
            memory_mib = kib.parse::<f64>()? / 1024.0;
        }
        let stat = fs::read_to_string(process.join("stat"))?;
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').collect();
        if let (Some(user), Some(system)) = (fields.get(11), fields.get(12)) {
            cpu = (user.parse::<f64>()? + system.parse::<f64>()?) / TICKS;
        }
        if fields.first() == Some(&"Z") {
            let status = child.wait()?;
            return if status.success() {
                Ok((cpu, memory_mib))
            } else {
                Err(format!("a run ended with {status}").into())
            };
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Somebody else's program: writes a row every 5 ms until told to stop, and tells how long a lock kept it out at most.
///
/// It asks again every millisecond. SQLite's own busy timeout sleeps for up to 100 ms between tries, and what would be
/// measured then is how often it slept past the moment at which the lock was free.
#[tokio::main(flavor = "current_thread")]
async fn longest_lock(database: &Path, stop: &AtomicBool) -> Outcome<f64> {
    // It leaves copying the log back to others, so that what it waits for is locks.
    let mut connection = options(database).pragma("wal_autocheckpoint", "0").connect().await?;
    // Only once it is connected: setting the journal mode waits for others too.
    sqlx::query("PRAGMA busy_timeout = 0").execute(&mut connection).await?;
    let mut longest: f64 = 0.0;
    let mut locked: Option<Stopwatch> = None;
    while !stop.load(Ordering::Relaxed) {
        match sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await {
            Ok(_) => {
                longest = longest.max(locked.take().map_or(0.0, |since| since.elapsed().as_secs_f64() * 1e3));
                sqlx::query("INSERT INTO heartbeat (at) VALUES (1)").execute(&mut connection).await?;
                sqlx::query("COMMIT").execute(&mut connection).await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) if error.to_string().contains("locked") => {
                locked.get_or_insert_with(Stopwatch::start);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(longest.max(locked.map_or(0.0, |since| since.elapsed().as_secs_f64() * 1e3)))
}

fn options(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
}

fn looping(database: &Path, keys: u64) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("loop").arg(database).arg(keys.to_string());
    Ok(command)
}

/// What somebody would write by hand who knows SQLite: windows of rowids, few checkpoints, a large cache. It counts
/// nothing, writes nothing down and reads nothing back.
#[tokio::main(flavor = "current_thread")]
async fn plain_loop(database: &Path, keys: i64) -> Outcome<()> {
    let mut connection = options(database)
        .busy_timeout(Duration::from_secs(10))
        .pragma("wal_autocheckpoint", "20000")
        .pragma("cache_size", "-64000")
        .connect()
        .await?;
    let last: i64 = sqlx::query_scalar("SELECT max(id) FROM call_record").fetch_one(&mut connection).await?;
    let cutoff = cutoff();
    let mut from = 1;
    while from <= last {
        let to = from.saturating_add(keys - 1);
        sqlx::query("DELETE FROM call_record NOT INDEXED WHERE id BETWEEN ? AND ? AND started_at < ?")
            .bind(from)
            .bind(to)
            .bind(&cutoff)
            .execute(&mut connection)
            .await?;
        from = to + 1;
    }
    connection.close().await?;
    Ok(())
}

/// Older than this is due, by a margin on both sides: nothing in the table lies within weeks of it.
fn cutoff() -> String {
    (Clock::System.now() - TimeDelta::days(190)).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// A table of calls of 20 tenants of which one in `due_every` is over age: interleaved, as if two sources with a year
/// between them had been written side by side, each in the order of its times. Of its indexes one follows tenant and
/// time, one the time, and one is random.
#[tokio::main(flavor = "current_thread")]
async fn build(database: &Path, rows: u64, due_every: u64) -> Outcome<()> {
    let mut connection = options(database)
        .synchronous(SqliteSynchronous::Off)
        .pragma("cache_size", "-200000")
        .connect()
        .await?;
    let now = Clock::System.now().format("%Y-%m-%d 00:00:00");
    let script = format!(
        "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, started_at TEXT NOT NULL,
           caller TEXT, callee TEXT, agent_id TEXT, provider TEXT, seconds INTEGER, remarks TEXT, recording_key TEXT);
         CREATE TABLE heartbeat (id INTEGER PRIMARY KEY, at INTEGER);
         INSERT INTO call_record
         WITH RECURSIVE call (id, mixed) AS (
           SELECT 1, 2654435761 UNION ALL
           SELECT id + 1, ((id + 1) * 2654435761) & 4294967295 FROM call WHERE id < {rows})
         SELECT id, printf('t-%02d', mixed % 20),
           datetime('{now}', printf('-%d seconds',
             CASE id % {due_every} WHEN 0 THEN 86400 * 620 - id * (86400 * 400) / {rows}
               ELSE 86400 * 150 - id * (86400 * 149) / {rows} END)),
           printf('+65%08d', (mixed * 40503) % 100000000), printf('+656%07d', mixed % 400), printf('A%03d', mixed % 97),
           'StarTel', mixed % 900, printf('pressed %d, asked for %064d', mixed % 10, mixed),
           printf('rec/t-%02d/%09d.wav', mixed % 20, id)
         FROM call;
         CREATE INDEX call_tenant ON call_record (tenant_id, started_at);
         CREATE INDEX call_started ON call_record (started_at);
         CREATE INDEX call_caller ON call_record (caller);
         PRAGMA wal_checkpoint(TRUNCATE);"
    );
    sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Nothing is left that is due, and all that is not is there.
#[tokio::main(flavor = "current_thread")]
async fn prove(database: &Path, rows: u64, due: u64) -> Outcome<()> {
    let mut connection: SqliteConnection = options(database).connect().await?;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM call_record WHERE started_at < ?")
        .bind(cutoff())
        .fetch_one(&mut connection)
        .await?;
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM call_record").fetch_one(&mut connection).await?;
    connection.close().await?;
    if left != 0 || u64::try_from(all)? != rows - due {
        return Err(format!("{left} due records are left, {all} records of {}", rows - due).into());
    }
    Ok(())
}

fn configure(place: &Path, method: &str) -> Outcome<()> {
    fs::create_dir(place.join("policies"))?;
    fs::write(
        place.join("retentiond.toml"),
        "[ledger]\nurl = \"sqlite://retentiond.db\"\n[policies]\npath = \"policies\"\n\
         [limits]\nrecords = 100000000\nshare = \"100%\"\n\
         [stores.center]\nkind = \"sqlite\"\nurl = \"sqlite://center.db\"\n",
    )?;
    let policy = format!(
        "category = \"calls\"\ntitle = \"Calls\"\nmethod = \"{method}\"\n\
         [[rules]]\ntrigger = \"age\"\nperiod = \"6 months\"\nclause = \"bench\"\n\
         [[placements]]\nname = \"call-records\"\nstore = \"center\"\ntable = \"call_record\"\nkey = [\"id\"]\n\
         tenant = {{ column = \"tenant_id\" }}\n\
         event_time = {{ column = \"started_at\", time_zone = \"Asia/Singapore\" }}\n\
         subjects = {{ phone = [\"caller\", \"callee\"] }}\n"
    );
    Ok(fs::write(place.join("policies").join("calls.toml"), policy)?)
}

fn retentiond(place: &Path, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retentiond"));
    command.args([verb, "--json", "--config"]).arg(place.join("retentiond.toml")).current_dir(place);
    command
}

/// How long `plan` takes, with the same number of due records among ever more that are kept.
fn plans(kept: &[&str]) -> Outcome<()> {
    println!("| records kept | due | `plan` s |\n|---|---|---|");
    for kept in kept {
        let kept: u64 = kept.parse()?;
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let rows = kept + PLAN_DUE;
        build(&folder.path().join("center.db"), rows, rows / PLAN_DUE)?;
        configure(folder.path(), "delete")?;
        let mut times = Vec::new();
        for _ in 0..5 {
            let watch = Stopwatch::start();
            let output = retentiond(folder.path(), "plan").output()?;
            times.push(watch.elapsed().as_secs_f64());
            let plan: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            if plan["totals"]["erase"] != PLAN_DUE {
                return Err(format!("the plan is not of {PLAN_DUE} records: {plan}").into());
            }
        }
        println!("| {kept} | {PLAN_DUE} | {} |", spread(&times, 2));
    }
    Ok(())
}
