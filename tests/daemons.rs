//! Several processes on one ledger on a server: they share a run, finish what a killed one has begun, and one that was
//! paused does nothing more. It owns these stories; what a ledger promises is tested with the ledger.

use std::process::{Child, Output, Stdio};

use retentiond::enforce::{Order, help_once};
use retentiond::id::{RunId, TenantId};
use retentiond::ledger::{Ledger as _, RunRow, SqlLedger};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret as _;
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;

use crate::harness::{World, instant, wait_for};
use crate::servers::mariadb::Database;

/// Much shorter than in earnest, and long enough for a busy machine.
const LEASE_MS: &str = "4000";

/// When everything of those whose account ended is due.
const AT: &str = "2021-06-20T00:00:00+08:00";

/// Tenants whose account ended.
const TENANTS: u64 = 24;

/// Calls of each, every one with a recording.
const CALLS: u64 = 6;

const SCHEMA: &str = "
    CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(64), started_at DATETIME, caller VARCHAR(32),
        callee VARCHAR(32), agent_id VARCHAR(32), note TEXT, recording_key VARCHAR(255), KEY (tenant_id, started_at),
        KEY (recording_key));
    CREATE TABLE agent (tenant_id VARCHAR(64) COLLATE utf8mb4_bin, staff_id VARCHAR(32) COLLATE utf8mb4_bin,
        phone VARCHAR(32), PRIMARY KEY (tenant_id, staff_id));";

/// A center on `MariaDB` with its ledger on the same server, in which the accounts of many tenants have ended.
struct Cluster {
    world: World,
    calls: Database,
    ledger: Database,
}

impl Cluster {
    fn new() -> Self {
        let world = World::center();
        let (calls, ledger) = wait_for(async { (Database::new().await, Database::new().await) });
        wait_for(calls.run(SCHEMA));
        let address = |database: &Database| database.url().expose_secret().to_owned();
        world.edit("retentiond.toml", "sqlite://retentiond.db", &address(&ledger));
        let store = format!("kind = \"mysql\"\nurl = \"{}\"", address(&calls));
        world.edit("retentiond.toml", "kind = \"sqlite\"\nurl = \"sqlite://calls.db\"", &store);
        let mut rows = Vec::new();
        for tenant in 0..=TENANTS {
            for call in 0..CALLS {
                let (id, file) = (tenant * 100 + call, format!("rec/end-{tenant}/{call}.wav"));
                rows.push(format!(
                    "({id}, 'end-{tenant}', '2021-05-01 10:00:00', '+1', '+2', 'A', 'n', '{file}')"
                ));
                world.write(&format!("objects/{file}"), "a call");
            }
        }
        wait_for(calls.run(&format!("INSERT INTO call_record VALUES {}", rows.join(","))));
        let cluster = Self { world, calls, ledger };
        wait_for(async {
            let ledger = cluster.open().await;
            // The last one stays.
            for tenant in 0..TENANTS {
                let tenant = TenantId::parse(&format!("end-{tenant}")).unwrap();
                let ended = instant("2021-06-01T00:00:00+08:00");
                ledger.terminate(&tenant, ended, instant("2021-06-01T00:00:00+08:00")).await.unwrap();
            }
            ledger.close().await;
        });
        cluster
    }

    async fn open(&self) -> SqlLedger {
        SqlLedger::connect(&self.ledger.url(), &self.world.path("ledger.key")).await.unwrap()
    }

    /// Starts a process that carries out what is due.
    fn enforce(&self) -> Child {
        let mut command = self.world.command(&["enforce", "--at", AT]);
        command.env("RETENTIOND_LEASE_MS", LEASE_MS).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn numbers(&self, sql: &str) -> Vec<u64> {
        wait_for(numbers(&self.ledger, sql))
    }

    fn number(&self, sql: &str) -> u64 {
        self.numbers(sql).first().copied().unwrap_or(0)
    }

    /// Asks the ledger until it answers with at least this; every question takes its time, so nobody sleeps.
    fn until(&self, sql: &str, least: u64) {
        for _ in 0..200_000 {
            if self.number(sql) >= least {
                return;
            }
        }
        panic!("`{sql}` never became {least}");
    }

    /// As [`Cluster::until`], beside other work.
    async fn until_async(&self, sql: &str, least: u64) {
        while numbers(&self.ledger, sql).await.first().is_none_or(|number| *number < least) {
            tokio::task::yield_now().await;
        }
    }

    fn left(&self, tenant: u64) -> (u64, usize) {
        let rows = format!("SELECT count(*) FROM call_record WHERE tenant_id = 'end-{tenant}'");
        let rows = wait_for(numbers(&self.calls, &rows))[0];
        let prefix = format!("rec/end-{tenant}/");
        (rows, self.world.objects().iter().filter(|file| file.starts_with(&prefix)).count())
    }

    /// Everything due is gone and nothing else; every record is accounted for once; nothing is left half done.
    fn assert_done(&self) {
        for tenant in 0..TENANTS {
            assert_eq!(self.left(tenant), (0, 0), "end-{tenant}");
        }
        assert_eq!(self.left(TENANTS), (CALLS, usize::try_from(CALLS).unwrap()), "the neighbour stays");
        for (placement, expected) in [("call-records", TENANTS * CALLS), ("recordings", TENANTS * CALLS)] {
            let counted = |field: &str| -> u64 {
                let outcomes = wait_for(texts(&self.ledger, "SELECT body FROM outcome"));
                let outcomes =
                    outcomes.iter().map(|body| serde_json::from_str::<serde_json::Value>(body).unwrap());
                let mine = outcomes.filter(|outcome| outcome["placement"] == placement);
                mine.flat_map(|outcome| {
                    let counts = outcome["counts"].as_object().unwrap().values().cloned().collect::<Vec<_>>();
                    counts.into_iter().map(|counts| counts[field].as_u64().unwrap()).collect::<Vec<_>>()
                })
                .sum()
            };
            assert_eq!(counted("verified_absent"), expected, "{placement}");
            assert_eq!(counted("erased") + counted("already_absent"), expected, "{placement}");
        }
        for nothing in [
            "SELECT count(*) FROM intent WHERE ended_at IS NULL OR counts IS NULL OR sealed IS NOT NULL",
            "SELECT count(*) FROM run WHERE status = 'running'",
            "SELECT count(*) FROM scrub_owed",
            "SELECT count(*) FROM intent WHERE NOT EXISTS (SELECT 1 FROM outcome WHERE
                outcome.run_id = intent.run_id AND outcome.step_id = intent.step_id)",
        ] {
            assert_eq!(self.number(nothing), 0, "{nothing}");
        }
        assert_eq!(self.world.ok("audit verify")["sound"], true);
    }
}

async fn texts(database: &Database, sql: &str) -> Vec<String> {
    let mut connection = database.connect().await;
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| sqlx::Row::try_get_unchecked(row, 0).unwrap()).collect()
}

async fn numbers(database: &Database, sql: &str) -> Vec<u64> {
    let mut connection = database.connect().await;
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
    let number = |row| sqlx::Row::try_get_unchecked::<i64, _>(row, 0).unwrap();
    rows.iter().map(|row| u64::try_from(number(row)).unwrap()).collect()
}

fn ended(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    output
}

fn ended_well(child: Child) {
    let output = ended(child);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

const FINISHED: &str = "SELECT count(*) FROM intent WHERE ended_at IS NOT NULL";
const RUN_OUT: &str = "SELECT count(*) FROM executor
    WHERE expires_at < CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)";
const WORKERS: &str = "SELECT count(DISTINCT executor) FROM step_claim";

#[test]
fn three_processes_share_one_run_and_every_record_is_counted_once() {
    let cluster = Cluster::new();
    let leader = cluster.enforce();
    cluster.until("SELECT count(*) FROM run WHERE fence IS NOT NULL", 1);
    let helpers = [cluster.enforce(), cluster.enforce()];
    ended_well(leader);
    helpers.into_iter().for_each(ended_well);
    cluster.assert_done();
    assert!(cluster.number(WORKERS) > 1, "the helpers had nothing to do");
    assert_eq!(cluster.number("SELECT count(*) FROM run WHERE status <> 'done'"), 0);
}

#[test]
fn when_the_leader_is_killed_its_helpers_finish_its_work() {
    let cluster = Cluster::new();
    let mut leader = cluster.enforce();
    cluster.until("SELECT count(*) FROM run WHERE fence IS NOT NULL", 1);
    let helpers = [cluster.enforce(), cluster.enforce()];
    cluster.until(FINISHED, 6);
    leader.kill().unwrap();
    leader.wait().unwrap();
    helpers.into_iter().for_each(ended_well);
    cluster.assert_done();
}

#[test]
fn when_a_helper_is_killed_the_leader_finishes_its_steps() {
    let cluster = Cluster::new();
    let leader = cluster.enforce();
    cluster.until("SELECT count(*) FROM run WHERE fence IS NOT NULL", 1);
    let mut helper = cluster.enforce();
    cluster.until(WORKERS, 2);
    helper.kill().unwrap();
    helper.wait().unwrap();
    ended_well(leader);
    cluster.assert_done();
    assert_eq!(cluster.number("SELECT count(*) FROM run WHERE status = 'interrupted'"), 0, "the run went on");
}

#[test]
fn a_paused_process_erases_nothing_when_it_wakes() {
    let cluster = Cluster::new();
    let paused = cluster.enforce();
    cluster.until(FINISHED, 4);
    signal(&paused, Signal::STOP);
    // A tenant that nobody is at.
    let begun = wait_for(texts(&cluster.ledger, "SELECT step_id FROM step_claim"));
    let plan = wait_for(texts(&cluster.ledger, "SELECT body FROM plan")).remove(0);
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let waits = |step: &&serde_json::Value| {
        step["placement"] == "call-records" && !begun.contains(&step["step_id"].as_str().unwrap().to_owned())
    };
    let step = plan["steps"].as_array().unwrap().iter().rfind(waits).expect("the process was too quick");
    let tenant = step["tenant"].as_str().unwrap().to_owned();
    let number: u64 = tenant.strip_prefix("end-").unwrap().parse().unwrap();
    // The order returns although the process never says anything any more.
    let mut hold = cluster.world.command(&["hold", "place", "--tenant", &tenant, "--authority", "court"]);
    let placed = hold.env("RETENTIOND_LEASE_MS", LEASE_MS).output().unwrap();
    assert!(placed.status.success(), "{placed:?}");
    cluster.until(RUN_OUT, 1);
    let before: Vec<_> = (0..=TENANTS).map(|tenant| cluster.left(tenant)).collect();
    signal(&paused, Signal::CONT);
    let woken = ended(paused);
    assert_ne!(woken.status.code(), Some(0), "it did not finish, and says so");
    let after: Vec<_> = (0..=TENANTS).map(|tenant| cluster.left(tenant)).collect();
    assert_eq!(after, before, "nothing more was erased");
    // Another process carries on, and keeps what is held.
    ended_well(cluster.enforce());
    let all = (CALLS, usize::try_from(CALLS).unwrap());
    for tenant in 0..=TENANTS {
        let expected = if [number, TENANTS].contains(&tenant) { all } else { (0, 0) };
        assert_eq!(cluster.left(tenant), expected, "end-{tenant}");
    }
    assert_eq!(cluster.world.ok("audit verify")["sound"], true);
}

#[test]
fn a_helper_carries_out_nothing_that_who_leads_was_refused() {
    let cluster = Cluster::new();
    let world = cluster.world.load(instant("2026-01-01T00:00:00Z"));
    wait_for(async {
        let (leader, helper) = (cluster.open().await, cluster.open().await);
        let plan = retentiond::gather::plan_at(&world, instant(AT)).await.unwrap();
        let mut rows = plan.steps.iter().filter(|step| step.found_by.is_none());
        let allowed = rows.next_back().expect("a step").clone();
        let _place = leader.claim_run().await.unwrap();
        let run = RunRow {
            run_id: RunId::new("run-led"),
            plan_id: plan.plan_id.clone(),
            at: plan.at,
            status: "running".to_owned(),
            started_at: instant("2026-01-01T00:00:00Z"),
            ended_at: None,
        };
        let in_force = world.policies.iter().map(|policy| (policy.category.clone(), policy.digest.clone()));
        leader.begin_run(&run, &plan, &in_force.collect()).await.unwrap();
        assert!(leader.share_run(&run.run_id, std::slice::from_ref(&allowed.step_id)).await.unwrap());
        let (order, stop) = (Order::Now { at: instant(AT) }, CancellationToken::new());
        let help = help_once(&world, &helper, &order, &|_| {}, &stop);
        let end = async {
            cluster.until_async("SELECT count(*) FROM step_claim WHERE handed_in IS NOT NULL", 1).await;
            stop.cancel();
        };
        let (helped, ()) = tokio::join!(help, end);
        assert!(helped.unwrap(), "there was a run to help with");
        let tenant = allowed.tenant.expect("an account that ended");
        for number in 0..TENANTS {
            let rows = format!("SELECT count(*) FROM call_record WHERE tenant_id = 'end-{number}'");
            let rows = numbers(&cluster.calls, &rows).await[0];
            let expected = if tenant.as_str() == format!("end-{number}") { 0 } else { CALLS };
            assert_eq!(rows, expected, "end-{number}");
        }
    });
}
