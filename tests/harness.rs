//! What several tests share. It owns the fixtures; it asserts nothing about the program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use chrono::{DateTime, Utc};
use retentiond::clock::Clock;
use retentiond::config::read::load_with;
use retentiond::ledger::sqlite::SqliteLedger;
use retentiond::{audit, gather};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

/// A row of the real call-center data: 5,000 calls of the first quarter of 2021, Singapore time.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `ID0001` …
    pub(crate) call_id: String,
    /// The agent's first name.
    pub(crate) agent: String,
    /// `DD/MM/YYYY`.
    pub(crate) date: String,
    /// `HH:MM:SS`.
    pub(crate) time: String,
    /// What the call was about.
    pub(crate) topic: String,
}

/// All calls, in the order of the file.
///
/// The file is where `RETENTIOND_CALLS_CSV` says, or else in the data folder beside the repository.
pub(crate) fn calls_csv() -> Vec<Call> {
    let path = std::env::var_os("RETENTIOND_CALLS_CSV").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/calls.csv"),
        PathBuf::from,
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "failed to read the call data at `{}`: {error}; set RETENTIOND_CALLS_CSV to the path of calls.csv",
            path.display()
        )
    });
    let mut lines = text.lines();
    let header = lines.next().expect("a header");
    assert!(header.starts_with("call_id,agent,date,time,topic,"), "unknown columns: {header}");
    lines
        .map(|line| {
            let mut fields = line.split(',').map(str::to_owned);
            let mut next = || fields.next().expect("a field");
            Call { call_id: next(), agent: next(), date: next(), time: next(), topic: next() }
        })
        .collect()
}

/// The tenant that stories are about and its neighbours, whose names are all but the same.
pub(crate) const TENANTS: [&str; 4] = ["t-1", "t-10", "T-1", "t-1x"];

/// The person who calls in stories.
pub(crate) const CALLER: &str = "phone=+6591110001";

const CONFIG: &str = r#"
[ledger]
url = "sqlite://retentiond.db"
[policies]
path = "policies"
[limits]
records = 1000000
share = "100%"
[stores.calls]
kind = "sqlite"
url = "sqlite://calls.db"
[stores.objects]
kind = "files"
path = "objects"
"#;

const CALL_DATA: &str = r#"
category = "call-data"
title = "Call data"
time_zone = "Asia/Singapore"
method = "delete"
[[rules]]
trigger = "age"
period = "6 months"
deadline = "2 days"
clause = "DPSM §5"
entitlement = "extended-storage"
[[rules]]
trigger = "request"
deadline = "30 days"
clause = "DPSM §5; SLA §1.8"
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
subjects = { phone = ["caller", "callee"], agent = ["agent_id"] }
[[placements]]
name = "recordings"
store = "objects"
found_by = { placement = "call-records", column = "recording_key", prefix = "rec/{tenant}/" }
"#;

const AGENT_INFO: &str = r#"
category = "agent-info"
title = "Agent information"
time_zone = "Asia/Singapore"
method = "delete"
[[rules]]
trigger = "request"
deadline = "20 days"
clause = "DPSM §5"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
clause = "SLA §7.5; DPSM §5"
[[placements]]
name = "agents"
store = "calls"
table = "agent"
key = ["tenant_id", "staff_id"]
tenant = { column = "tenant_id" }
subjects = { agent = ["staff_id"], phone = ["phone"] }
"#;

const SCHEMA: &str = "
CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, caller TEXT, callee TEXT,
  agent_id TEXT, note TEXT, recording_key TEXT);
CREATE INDEX call_record_started ON call_record (started_at);
CREATE INDEX call_record_recording ON call_record (recording_key);
CREATE TABLE agent (tenant_id TEXT, staff_id TEXT, phone TEXT, PRIMARY KEY (tenant_id, staff_id));
";

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    /// The document on standard output.
    pub(crate) json: Value,
    /// Standard error.
    pub(crate) stderr: String,
}

/// A contact center in a folder of its own, worked on with the program itself.
///
/// [`World::center`] has, for each of [`TENANTS`] (in that order, `N` is 1 to 4), in Singapore time:
///
/// | id | started | caller | callee | recording |
/// | --- | --- | --- | --- | --- |
/// | N1 | 2021-01-31 10:00:00 | …0001 | …0099 | `rec/TENANT/a.wav` |
/// | N2 | 2021-03-15 09:00:00 | …0002 | …0001 | |
/// | N3 | 2021-08-01 12:00:00 | …0002 | …0099 | `rec/TENANT/b.wav` |
/// | N4 | none | …0001 | …0099 | |
/// | N5 | 2021-07-15 08:00:00 | …0001 | …0099 | |
///
/// and two agents, `A1` with the phone …0001 and `A2` with …0009.
#[derive(Debug)]
pub(crate) struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// A configuration with two stores, a SQLite file and a folder, both there but empty, and no policy.
    pub(crate) fn empty() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a folder") };
        world.write("retentiond.toml", CONFIG);
        std::fs::create_dir(world.path("policies")).expect("a folder");
        std::fs::create_dir(world.path("objects")).expect("a folder");
        world.sql("calls.db", SCHEMA);
        world
    }

    /// The center of the table above, under two policies.
    pub(crate) fn center() -> Self {
        let world = Self::empty();
        world.write("policies/call-data.toml", CALL_DATA);
        world.write("policies/agent-info.toml", AGENT_INFO);
        let mut rows = String::from("BEGIN;");
        for (n, tenant) in (1..).zip(TENANTS) {
            for (m, at, caller, callee, file) in [
                (1, "'2021-01-31 10:00:00'", "0001", "0099", format!("'rec/{tenant}/a.wav'")),
                (2, "'2021-03-15 09:00:00'", "0002", "0001", "NULL".to_owned()),
                (3, "'2021-08-01 12:00:00'", "0002", "0099", format!("'rec/{tenant}/b.wav'")),
                (4, "NULL", "0001", "0099", "NULL".to_owned()),
                (5, "'2021-07-15 08:00:00'", "0001", "0099", "NULL".to_owned()),
            ] {
                rows.push_str(&format!(
                    "INSERT INTO call_record VALUES ({n}{m}, '{tenant}', {at}, '+659111{caller}', \
                     '+659111{callee}', 'A2', 'note of {tenant}', {file});"
                ));
            }
            rows.push_str(&format!(
                "INSERT INTO agent VALUES ('{tenant}', 'A1', '+6591110001'), ('{tenant}', 'A2', '+6591110009');"
            ));
            for file in ["a", "b"] {
                world.write(&format!("objects/rec/{tenant}/{file}.wav"), &format!("{file} of {tenant}"));
            }
        }
        world.sql("calls.db", &format!("{rows}COMMIT;"));
        world
    }

    /// The same center in another folder, as a copy of every file.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self { dir: tempfile::tempdir().expect("a folder") };
        for file in files_below(self.dir.path()) {
            let to = copy.path(&name_below(self.dir.path(), &file));
            std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            std::fs::copy(&file, to).expect("a copy");
        }
        if copy.path("retentiond.db").exists() {
            // Its stores are in another place now, and its ledger has yet to see them there. On a thread of its own: the
            // caller may be inside a runtime.
            let forget = || copy.sql("retentiond.db", "UPDATE marked_store SET fingerprint = NULL");
            std::thread::scope(|scope| scope.spawn(forget).join()).expect("a ledger");
        }
        copy
    }

    /// From now on, requests zero call data. Where the file system keeps what is overwritten, the program is told to
    /// accept less for files.
    pub(crate) fn zero_requests(&self) {
        let request = "trigger = \"request\"";
        self.edit("policies/call-data.toml", request, &format!("{request}\nmethod = \"zero\""));
        let kind =
            Command::new("stat").args(["-f", "-c", "%T"]).arg(self.path("objects")).output().expect("stat");
        let kind = String::from_utf8_lossy(&kind.stdout).into_owned();
        if !["ext2/ext3", "tmpfs", "xfs"].contains(&kind.trim()) {
            let prefix = "prefix = \"rec/{tenant}/\" }";
            self.edit("policies/call-data.toml", prefix, &format!("{prefix}\naccept_level = \"deleted\""));
        }
    }

    /// Where a file of this world is.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Writes a file, with its folders.
    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// Changes a text file by replacing a piece that must be in it.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(file)).expect("a file");
        assert!(text.contains(from), "`{from}` is not in {file}");
        std::fs::write(self.path(file), text.replace(from, to)).expect("a file");
    }

    /// Another program's statements.
    pub(crate) fn sql(&self, file: &str, script: &str) {
        wait_for(async {
            let mut connection = self.connect(file).await;
            sqlx::raw_sql(AssertSqlSafe(script.to_owned()))
                .execute(&mut connection)
                .await
                .expect("statements");
            connection.close().await.expect("a close");
        });
    }

    /// A connection of another program.
    pub(crate) async fn connect(&self, file: &str) -> SqliteConnection {
        let path = self.path(file);
        SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .connect()
            .await
            .expect("a database")
    }

    /// A query of one column, each row as text.
    pub(crate) fn texts(&self, file: &str, query: &str) -> Vec<String> {
        wait_for(async {
            let mut connection = self.connect(file).await;
            let rows = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_all(&mut connection).await;
            let rows = rows.unwrap_or_else(|error| panic!("{query}: {error}"));
            connection.close().await.expect("a close");
            rows.iter()
                .map(|row| row.get_unchecked::<Option<String>, _>(0).unwrap_or_else(|| "NULL".to_owned()))
                .collect()
        })
    }

    /// A query of one number.
    pub(crate) fn number(&self, file: &str, query: &str) -> u64 {
        let texts = self.texts(file, query);
        assert_eq!(texts.len(), 1, "{query}");
        texts[0].parse().unwrap_or_else(|_| panic!("{query} answers {texts:?}"))
    }

    /// The ids of a tenant's calls that are still there.
    pub(crate) fn calls(&self, tenant: &str) -> Vec<u64> {
        let query =
            format!("SELECT CAST(id AS TEXT) FROM call_record WHERE tenant_id = '{tenant}' ORDER BY id");
        self.texts("calls.db", &query).iter().map(|id| id.parse().expect("an id")).collect()
    }

    /// The staff ids of a tenant's agents that are still there.
    pub(crate) fn agents(&self, tenant: &str) -> Vec<String> {
        let query = format!("SELECT staff_id FROM agent WHERE tenant_id = '{tenant}' ORDER BY 1");
        self.texts("calls.db", &query)
    }

    /// The files below the folder of objects, in order, our marker left out.
    pub(crate) fn objects(&self) -> Vec<String> {
        let below = self.path("objects");
        let files = files_below(&below).into_iter().map(|file| name_below(&below, &file));
        files.filter(|file| file.starts_with("rec/")).collect()
    }

    /// Everything that tenants other than this one have: rows byte by byte, and files.
    pub(crate) fn others(&self, tenant: &str) -> Vec<String> {
        let not = format!("tenant_id IS NOT '{tenant}'");
        let mut all = self.dump("calls.db", "call_record", &not);
        all.extend(self.dump("calls.db", "agent", &not));
        for file in self.objects().iter().filter(|file| !file.starts_with(&format!("rec/{tenant}/"))) {
            let bytes = std::fs::read(self.path("objects").join(file)).expect("a file");
            all.push(format!("{file} {}", String::from_utf8_lossy(&bytes)));
        }
        all
    }

    /// Rows with type and value of every column, in order.
    pub(crate) fn dump(&self, file: &str, table: &str, condition: &str) -> Vec<String> {
        let columns =
            self.texts(file, &format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid"));
        let row =
            columns.iter().map(|column| format!("quote(\"{column}\")")).collect::<Vec<_>>().join("||','||");
        self.texts(file, &format!("SELECT {row} FROM \"{table}\" WHERE {condition} ORDER BY 1"))
    }

    /// The SHA-256 of every file below the world's folder.
    pub(crate) fn hashes(&self) -> BTreeMap<String, String> {
        let root = self.dir.path();
        files_below(root)
            .into_iter()
            .map(|file| {
                let bytes = std::fs::read(&file).expect("a file");
                (name_below(root, &file), hex::encode(Sha256::digest(bytes)))
            })
            .collect()
    }

    /// The program, ready to run in this world, with the words of `line` and `--json`.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retentiond"));
        command
            .current_dir(self.dir.path())
            .args(words)
            .arg("--json")
            .env_remove("RETENTIOND_CONFIG")
            .env_remove("RETENTIOND_LOG")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program with these words.
    pub(crate) fn run_words(&self, words: &[&str]) -> Ran {
        answer_of(&self.command(words).output().expect("the program runs"), words)
    }

    /// Runs the program with the words of a line, which are parted by spaces.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// As [`World::run`], where it must exit with 0.
    pub(crate) fn ok(&self, line: &str) -> Value {
        self.exits(0, line).json
    }

    /// As [`World::run`], where it must exit with this code.
    pub(crate) fn exits(&self, code: i32, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(code), "{line}: {ran:#?}");
        ran
    }

    /// Configuration and policies for calling the library, at a fixed now.
    pub(crate) fn load(&self, now: DateTime<Utc>) -> gather::World {
        let loaded = load_with(&self.path("retentiond.toml"), &|_| None);
        let (Some(config), Some(policies)) = (loaded.config, loaded.policies) else {
            panic!("{:?}", loaded.faults)
        };
        gather::World { config, policies, clock: Clock::Fixed(now) }
    }

    /// The ledger, opened by another process's means.
    pub(crate) async fn ledger(&self) -> SqliteLedger {
        SqliteLedger::open(&self.path("retentiond.db"), &self.path("ledger.key")).await.expect("the ledger")
    }

    /// Nothing is left half done: every intent has an outcome, every run an end, no scrub is owed, the log is sound.
    pub(crate) fn assert_settled(&self) {
        let ledger = |query: &str| self.number("retentiond.db", query);
        assert_eq!(
            ledger("SELECT count(*) FROM intent WHERE ended_at IS NULL OR counts IS NULL"),
            0,
            "open intents"
        );
        assert_eq!(ledger("SELECT count(*) FROM intent WHERE sealed IS NOT NULL"), 0, "sealed batches");
        assert_eq!(ledger("SELECT count(*) FROM run WHERE status = 'running'"), 0, "open runs");
        assert_eq!(ledger("SELECT count(*) FROM scrub_owed"), 0, "owed scrubs");
        let unsettled = "SELECT count(*) FROM intent WHERE NOT EXISTS (SELECT 1 FROM outcome WHERE \
                         outcome.run_id = intent.run_id AND outcome.step_id = intent.step_id)";
        assert_eq!(ledger(unsettled), 0, "steps without an outcome");
        wait_for(async {
            let ledger = self.ledger().await;
            let now = instant("2030-01-01T00:00:00Z");
            let verdict = audit::verify(&self.path("audit"), Some(&ledger), now).await.expect("a verdict");
            assert!(verdict.sound, "{verdict:?}");
        });
    }
}

/// What a finished program answered.
pub(crate) fn answer_of(output: &Output, words: &[&str]) -> Ran {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{words:?}: {stderr}");
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Ran { code: output.status.code(), json, stderr }
}

/// Runs a future to its end; also from within a test that has several threads.
pub(crate) fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let run = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime").block_on(future)
    };
    if tokio::runtime::Handle::try_current().is_ok() { tokio::task::block_in_place(run) } else { run() }
}

/// An instant as RFC 3339.
pub(crate) fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_utc()
}

/// True where two JSON strings name the same instant.
pub(crate) fn same_instant(found: &Value, wanted: &str) -> bool {
    found.as_str().is_some_and(|found| instant(found) == instant(wanted))
}

/// The counts of one placement in a report of `enforce`.
pub(crate) fn placement<'a>(report: &'a Value, name: &str) -> &'a Value {
    let list = report["placements"].as_array().expect("placements");
    list.iter().find(|one| one["placement"] == name).unwrap_or_else(|| panic!("no `{name}` in {report:#}"))
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn name_below(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).expect("below").to_string_lossy().into_owned()
}
