//! `MariaDB`: a table of calls of which some are due, in five shapes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use retentiond::clock::Stopwatch;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tokio::runtime::Runtime;

use crate::runs::{
    Measured, Outcome, assert_reported, configured, cpu_of, retentiond, run, say, show, spread, terminate,
};
use crate::tests::servers::mariadb::launch;
use crate::tests::servers::{Server, folder};

const TECHNIQUES: [&str; 2] = ["`pt-archiver --purge --bulk-delete --limit 1000 --commit-each`", "`enforce`"];

/// Pause between the starts of two operations of somebody else.
const FOREGROUND: Duration = Duration::from_millis(10);

/// Older than this is due, by weeks on both sides.
const CUTOFF: &str = "(NOW() - INTERVAL 190 DAY)";

const SCHEMA: &str = "id BIGINT AUTO_INCREMENT PRIMARY KEY, tenant_id VARCHAR(40) NOT NULL, started_at DATETIME NOT NULL,
    caller VARCHAR(32), callee VARCHAR(32), agent_id VARCHAR(16), provider VARCHAR(16), seconds INT, remarks VARCHAR(255),
    recording_key VARCHAR(100)";

const INDEXES: &str =
    "ADD KEY k_tenant (tenant_id, started_at), ADD KEY k_ts (started_at), ADD KEY k_caller (caller)";

/// Which rows are due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// As it is called.
    pub(crate) letter: &'static str,
    title: &'static str,
    tenants: u64,
    /// A condition on `id` and `tenant` (a number): rows that are old.
    old: &'static str,
    /// The accounts of so many tenants ended, instead of rows being old.
    ended: u64,
}

/// All shapes.
pub(crate) const SHAPES: [Shape; 5] = [
    Shape { letter: "A", title: "25 % due, contiguous", tenants: 20, old: "id <= {rows} DIV 4", ended: 0 },
    Shape {
        letter: "B",
        title: "25 % due, 5 tenants of 20 interleaved",
        tenants: 20,
        old: "tenant < 5",
        ended: 0,
    },
    Shape { letter: "C", title: "0.5 % due", tenants: 20, old: "id % 200 = 7", ended: 0 },
    Shape { letter: "D", title: "20 tenants of 80 ended", tenants: 80, old: "FALSE", ended: 20 },
    Shape { letter: "E", title: "nothing due", tenants: 20, old: "FALSE", ended: 0 },
];

impl Shape {
    /// What a hand-written condition says, one for each run of the peer.
    fn conditions(&self) -> Vec<String> {
        if self.ended == 0 {
            return vec![format!("started_at < {CUTOFF}")];
        }
        self.ended_tenants().iter().map(|tenant| format!("tenant_id = '{tenant}'")).collect()
    }

    fn ended_tenants(&self) -> Vec<String> {
        (0..self.ended).map(|number| format!("t-{number:02}")).collect()
    }

    fn due(&self) -> String {
        format!("({})", self.conditions().join(" OR "))
    }

    fn policy(&self) -> String {
        let rule = if self.ended == 0 {
            "trigger = \"age\"\nperiod = \"6 months\""
        } else {
            "trigger = \"termination\"\ngrace = \"15 days\"\ndeadline = \"30 days\""
        };
        format!(
            "category = \"calls\"\ntitle = \"Calls\"\ntime_zone = \"Asia/Singapore\"\nmethod = \"delete\"\n\
             [[rules]]\n{rule}\nclause = \"bench\"\n\
             [[placements]]\nname = \"call-records\"\nstore = \"center\"\ntable = \"call_record\"\nkey = [\"id\"]\n\
             tenant = {{ column = \"tenant_id\" }}\n\
             event_time = {{ column = \"started_at\", time_zone = \"UTC\" }}\n\
             subjects = {{ phone = [\"caller\", \"callee\"] }}\n"
        )
    }
}

/// Measures both techniques on every shape, and what planning costs where nothing is due.
pub(crate) fn measure(rows: u64, rounds: u64, shapes: &[Shape]) -> Outcome<()> {
    let mut center = Center::new()?;
    for shape in shapes {
        let (snapshot, due) = center.snapshot(shape, rows)?;
        let mut results = vec![Vec::new(); TECHNIQUES.len()];
        for round in 1..=rounds {
            for (place, technique) in TECHNIQUES.iter().enumerate() {
                center.restore(&snapshot)?;
                let measured = center.one_run(shape, place == 1, rows, due)?;
                say(&format!("MariaDB {}, round {round}", shape.letter), technique, &measured);
                if let Some(results) = results.get_mut(place) {
                    results.push(measured);
                }
            }
        }
        show(&format!("MariaDB {}, {rows} rows, {}", shape.letter, shape.title), &TECHNIQUES, &results, due);
        if due == 0 {
            center.nothing(shape, rows)?;
        }
        fs::remove_dir_all(snapshot)?;
    }
    Ok(())
}

/// The server with the one table.
struct Center {
    server: Server,
    process: u32,
    runtime: Runtime,
    connection: MySqlConnection,
}

impl Center {
    fn new() -> Outcome<Self> {
        let server = launch(&[
            "--innodb-buffer-pool-size=1G",
            "--innodb-log-file-size=512M",
            "--innodb-flush-method=fsync",
            "--innodb-flush-log-at-trx-commit=1",
            "--skip-log-bin",
        ]);
        let process = fs::read_to_string(server.folder.join("server.pid"))?.trim().parse()?;
        let runtime = Runtime::new()?;
        let options = MySqlConnectOptions::new().host("127.0.0.1").port(server.port).username("root");
        let mut connection = runtime.block_on(options.disable_statement_logging().connect())?;
        runtime.block_on(async {
            sqlx::raw_sql("CREATE DATABASE calls; USE calls").execute(&mut connection).await
        })?;
        Ok(Self { server, process, runtime, connection })
    }

    fn run(&mut self, script: String) -> Outcome<()> {
        self.runtime.block_on(sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut self.connection))?;
        Ok(())
    }

    fn number(&mut self, sql: String) -> Outcome<u64> {
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.connection);
        let number: i64 = self.runtime.block_on(query)?;
        Ok(u64::try_from(number)?)
    }

    fn data(&self) -> PathBuf {
        self.server.folder.join("data").join("calls")
    }

    /// A table of a shape, as files; and how many of its rows are due.
    fn snapshot(&mut self, shape: &Shape, rows: u64) -> Outcome<(PathBuf, u64)> {
        let old = shape.old.replace("{rows}", &rows.to_string());
        self.run(format!(
            "DROP TABLE IF EXISTS call_record; CREATE TABLE call_record ({SCHEMA});
             SET unique_checks = 0;
             INSERT INTO call_record
               SELECT id, CONCAT('t-', LPAD(tenant, 2, '0')),
                 NOW() - INTERVAL IF({old}, 620, 150) DAY + INTERVAL (id * 86400 * 140 DIV {rows}) SECOND,
                 CONCAT('+65', LPAD(CRC32(id * 7) % 100000000, 8, '0')), CONCAT('+656', LPAD(CRC32(id * 3) % 400, 7, '0')),
                 CONCAT('A', CRC32(id) % 97), 'StarTel', CRC32(id) % 900, REPEAT('pressed 1, ', 6),
                 CONCAT('rec/', tenant, '/', LPAD(id, 9, '0'), '.wav')
               FROM (SELECT seq AS id, CRC32(seq) % {} AS tenant FROM seq_1_to_{rows}) AS made;
             ALTER TABLE call_record {INDEXES}",
            shape.tenants
        ))?;
        let due = self.number(format!("SELECT COUNT(*) FROM call_record WHERE {}", shape.due()))?;
        self.run("FLUSH TABLES call_record FOR EXPORT".to_owned())?;
        let snapshot = folder("snapshot");
        for end in ["ibd", "cfg"] {
            let name = format!("call_record.{end}");
            fs::copy(self.data().join(&name), snapshot.join(&name))?;
        }
        self.run("UNLOCK TABLES".to_owned())?;
        Ok((snapshot, due))
    }

    /// The table as it was, all of it in memory and nothing left to do for the server.
    fn restore(&mut self, snapshot: &std::path::Path) -> Outcome<()> {
        self.run(format!(
            "DROP TABLE IF EXISTS call_record, retentiond_marker; CREATE TABLE call_record ({SCHEMA});
             ALTER TABLE call_record {INDEXES}; ALTER TABLE call_record DISCARD TABLESPACE"
        ))?;
        for end in ["ibd", "cfg"] {
            let name = format!("call_record.{end}");
            fs::copy(snapshot.join(&name), self.data().join(&name))?;
        }
        self.run("ALTER TABLE call_record IMPORT TABLESPACE; ANALYZE TABLE call_record".to_owned())?;
        for index in ["PRIMARY", "k_tenant", "k_ts", "k_caller"] {
            self.number(format!(
                "SELECT COUNT(*) FROM call_record FORCE INDEX ({index}) WHERE caller IS NOT NULL"
            ))?;
        }
        self.purged()
    }

    /// Waits until the server has removed what was only marked as deleted.
    fn purged(&mut self) -> Outcome<()> {
        for _ in 0..600 {
            let sql = "SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM information_schema.GLOBAL_STATUS \
                       WHERE VARIABLE_NAME = 'INNODB_HISTORY_LIST_LENGTH'";
            if self.number(sql.to_owned())? < 20 {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err("the server does not catch up".into())
    }

    fn reads(&mut self) -> Outcome<u64> {
        let sql = "SELECT CAST(SUM(VARIABLE_VALUE) AS SIGNED) FROM information_schema.GLOBAL_STATUS \
                   WHERE VARIABLE_NAME LIKE 'HANDLER_READ%'";
        self.number(sql.to_owned())
    }

    fn one_run(&mut self, shape: &Shape, ours: bool, rows: u64, due: u64) -> Outcome<Measured> {
        let place = configured(&self.store(), &shape.policy())?;
        let command = if ours {
            terminate(place.path(), &shape.ended_tenants())?;
            retentiond(place.path(), &["enforce"])
        } else {
            let mut command = Command::new("sh");
            command.args(["-e", "-c", &self.peer(shape)]);
            command
        };
        let stop = Arc::new(AtomicBool::new(false));
        let port = self.server.port;
        let foreground = thread::spawn({
            let stop = Arc::clone(&stop);
            move || foreground(port, rows, &stop).map_err(|error| error.to_string())
        });
        thread::sleep(Duration::from_millis(300));
        let (cpu, reads) = (cpu_of(self.process)?, self.reads()?);
        let ran = run(command, place.path());
        stop.store(true, Ordering::Relaxed);
        let p99_ms = foreground.join().map_err(|_| "the foreground failed")??;
        let mut measured = ran?;
        measured.reads = (self.reads()? - reads) as f64;
        self.purged()?;
        measured.server_cpu = cpu_of(self.process)? - cpu;
        measured.p99_ms = p99_ms;
        let left = self.number(format!("SELECT COUNT(*) FROM call_record WHERE {}", shape.due()))?;
        let all = self.number(format!("SELECT COUNT(*) FROM call_record WHERE id <= {rows}"))?;
        // The highest key stays with pt-archiver unless it is told otherwise; a peer is not held to that row.
        let is_whole = left == 0 && all == rows - due || !ours && left <= 20 && all == rows - due + left;
        if !is_whole {
            return Err(format!("{left} due rows are left, {all} of {} are there", rows - due).into());
        }
        if ours {
            assert_reported(place.path(), due)?;
        }
        Ok(measured)
    }

    fn store(&self) -> String {
        format!("kind = \"mysql\"\nurl = \"mysql://root@{}/calls\"", self.server.address())
    }

    fn peer(&self, shape: &Shape) -> String {
        let port = self.server.port;
        let runs: Vec<String> = shape
            .conditions()
            .iter()
            .map(|condition| {
                format!(
                    "pt-archiver --source h=127.0.0.1,P={port},u=root,D=calls,t=call_record --no-version-check \
                     --no-check-charset --purge --bulk-delete --limit 1000 --commit-each --where \"{condition}\""
                )
            })
            .collect();
        runs.join("\n")
    }

    /// What planning takes where nothing is due, in an empty table and in ever larger ones.
    fn nothing(&mut self, shape: &Shape, rows: u64) -> Outcome<()> {
        println!("\n| rows, nothing due | `plan` ms, median of 9 | rows read |\n|---|---|---|");
        let place = configured(&self.store(), &shape.policy())?;
        self.run("DROP TABLE IF EXISTS retentiond_marker".to_owned())?;
        for rows in [0, rows / 10, rows] {
            if rows == 0 {
                self.run("TRUNCATE TABLE call_record".to_owned())?;
            } else {
                let (snapshot, _) = self.snapshot(shape, rows)?;
                self.restore(&snapshot)?;
                fs::remove_dir_all(snapshot)?;
            }
            let own = self.reads()?;
            let own = self.reads()? - own;
            let before = self.reads()?;
            let mut times = Vec::new();
            for _ in 0..9 {
                let watch = Stopwatch::start();
                let output = retentiond(place.path(), &["plan"]).output()?;
                times.push(watch.elapsed().as_secs_f64() * 1e3);
                if !output.status.success() {
                    return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
                }
            }
            let reads = (self.reads()? - before - own) / 9;
            println!("| {rows} | {} | {reads} |", spread(&times, 1));
        }
        Ok(())
    }
}

/// Somebody else's program: four of five operations read a row by its key, one writes a new row. How long 99 of 100 took
/// at most, from the moment at which each should have begun.
#[tokio::main(flavor = "current_thread")]
async fn foreground(port: u16, rows: u64, stop: &AtomicBool) -> Outcome<f64> {
    let options = MySqlConnectOptions::new().host("127.0.0.1").port(port).username("root").database("calls");
    let mut connection = options.disable_statement_logging().connect().await?;
    let watch = Stopwatch::start();
    let mut took = Vec::new();
    let mut turn: u32 = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = FOREGROUND * turn;
        tokio::time::sleep(due.saturating_sub(watch.elapsed())).await;
        if turn % 5 == 4 {
            let new = "INSERT INTO call_record (tenant_id, started_at, caller) VALUES ('t-99', NOW(), '+6500000000')";
            sqlx::query(new).execute(&mut connection).await?;
        } else {
            let id = u64::from(turn).wrapping_mul(2_654_435_761) % rows;
            sqlx::query("SELECT * FROM call_record WHERE id = ?")
                .bind(id)
                .fetch_optional(&mut connection)
                .await?;
        }
        took.push((watch.elapsed() - due).as_secs_f64() * 1e3);
        turn += 1;
    }
    took.sort_by(f64::total_cmp);
    Ok(took.get(took.len() * 99 / 100).copied().unwrap_or_default())
}
