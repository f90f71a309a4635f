//! What only a ledger on a server can show: opening it, and leases that run out.
//! It owns these tests and the place that the suite runs in.

use std::path::PathBuf;
use std::time::Duration;

use retentiond::ledger::{Ledger, LedgerError, Permit, SqlLedger};
use retentiond::plan::CountsByTenant;
use secrecy::SecretString;

use super::{at, begin_run, doubted, hold, intent, phone, refused, request};
use crate::servers::mariadb::Database;

/// How long something may take that must happen: generous, for a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A database with a ledger, and a folder with its key.
pub(crate) struct Place {
    database: Database,
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self { database: Database::new().await, dir: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) async fn open(&self) -> SqlLedger {
        SqlLedger::connect(&self.database.url(), &self.key()).await.expect("the ledger opens")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("ledger.key")
    }

    /// Lets every lease run out long ago, as if whoever holds one had been paused since.
    async fn run_out(&self) {
        self.database.run("UPDATE executor SET expires_at = 0").await;
    }
}

#[tokio::test]
async fn a_database_that_is_empty_or_holds_something_else_is_no_ledger() {
    let place = Place::new().await;
    let url = place.database.url();
    assert!(SqlLedger::connect_read_only(&url, &place.key()).await.expect("no error").is_none());
    place.database.run("CREATE TABLE call_record (id BIGINT PRIMARY KEY)").await;
    doubted(SqlLedger::connect_read_only(&url, &place.key()).await);
    doubted(SqlLedger::connect(&url, &place.key()).await);
    assert!(!place.key().exists(), "and no key was made");
}

#[tokio::test]
async fn another_key_or_another_version_of_the_schema_is_a_doubt() {
    let (place, stranger) = (Place::new().await, Place::new().await);
    place.open().await.close().await;
    stranger.open().await.close().await;
    let url = place.database.url();
    doubted(SqlLedger::connect(&url, &stranger.key()).await);
    doubted(SqlLedger::connect(&url, &place.dir.path().join("none.key")).await);
    place.database.run("DELETE FROM retentiond_schema ORDER BY version DESC LIMIT 1").await;
    doubted(SqlLedger::connect_read_only(&url, &place.key()).await);
    place.open().await.close().await;
    assert!(
        SqlLedger::connect_read_only(&url, &place.key()).await.expect("opens").is_some(),
        "brought up to date"
    );
    place.database.run("INSERT INTO retentiond_schema VALUES (9999, 'later', '00')").await;
    doubted(SqlLedger::connect(&url, &place.key()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_come_first_at_once_make_one_ledger() {
    let place = Place::new().await;
    let opening: Vec<_> = (0..6)
        .map(|_| {
            let (url, key) = (place.database.url(), place.key());
            tokio::spawn(async move { SqlLedger::connect(&url, &key).await.expect("opens") })
        })
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for task in opening {
        ids.insert(task.await.expect("no panic").ledger_id().await.expect("an id"));
    }
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_reader_changes_nothing_and_the_server_sees_to_it() {
    let place = Place::new().await;
    let ledger = place.open().await;
    ledger.place_hold(&hold("t-1", vec![]), at(1)).await.expect("placed");
    let reader = SqlLedger::connect_read_only(&place.database.url(), &place.key()).await;
    let reader = reader.expect("opens").expect("there");
    assert_eq!(reader.holds().await.expect("holds"), ledger.holds().await.expect("holds"));
    assert!(matches!(reader.claim_run().await, Err(LedgerError::Unreachable { .. })));
    assert!(matches!(reader.stop("no", at(2)).await, Err(LedgerError::Unreachable { .. })));
    assert!(matches!(reader.wait_for_batches().await, Err(LedgerError::Unreachable { .. })));
}

#[tokio::test]
async fn a_server_that_is_away_is_out_of_reach_and_no_text_holds_the_password() {
    let dir = tempfile::tempdir().expect("a folder");
    let port = crate::servers::free_port();
    let url = SecretString::from(format!("mysql://ledger:t0p-secret@127.0.0.1:{port}/retentiond"));
    let Err(error) = SqlLedger::connect(&url, &dir.path().join("ledger.key")).await else {
        panic!("it opened")
    };
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
    let place = Place::new().await;
    let url = SecretString::from(format!("mysql://nobody:t0p-secret@127.0.0.1:{}/x", place.database.port));
    let Err(denied) = SqlLedger::connect(&url, &dir.path().join("ledger.key")).await else {
        panic!("it opened")
    };
    assert!(!format!("{error} {error:?} {denied} {denied:?}").contains("t0p-secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tasks_of_one_process_never_share_a_lease() {
    let place = Place::new().await;
    let (leader, process) = (place.open().await, place.open().await);
    let leading = leader.claim_run().await.expect("the place");
    let run = begin_run(&leader, "run-1").await;
    assert!(leader.share_run(&run, &[]).await.expect("shared"));
    let helping = process.join().await.expect("asked").expect("there is a run to help with");
    drop(leading);
    leader.give_back().await.expect("given back");
    // The place is free, and another task of the process that still helps wants it.
    assert!(process.join().await.expect("asked").is_none(), "it helps already");
    let early = tokio::time::timeout(Duration::from_millis(500), process.claim_run()).await;
    assert!(early.is_err(), "it would begin batches of the one run under the lease of the other");
    drop(helping);
    let own = tokio::time::timeout(SOON, process.claim_run()).await.expect("soon").expect("the place");
    assert!(process.join().await.expect("asked").is_none());
    drop(own);
}

#[tokio::test]
async fn who_lost_the_place_of_the_run_records_nothing_for_it() {
    let place = Place::new().await;
    let (one, other) = (place.open().await, place.open().await);
    let lost = one.claim_run().await.expect("the place");
    let run = begin_run(&one, "run-1").await;
    place.run_out().await;
    let away = |done: Result<(), LedgerError>| {
        assert!(matches!(done, Err(LedgerError::Unreachable { .. })), "{done:?}");
    };
    away(one.end_run(&run, "done", at(2)).await);
    away(one.record_outcome(&crate::audit::outcome(run.as_str(), None), at(2)).await);
    let _place = other.claim_run().await.expect("the place is free");
    let theirs = begin_run(&other, "run-2").await;
    away(one.end_run(&theirs, "failed", at(3)).await);
    drop(lost);
    let runs = other.runs(2).await.expect("runs");
    assert_eq!(runs[0].status, "running", "theirs goes on: {runs:?}");
    other.end_run(&theirs, "done", at(4)).await.expect("they have the place");
}

#[tokio::test]
async fn no_table_holds_a_subject_in_plain() {
    let place = Place::new().await;
    let ledger = place.open().await;
    let mut new = request("t-1", phone("+6591234567"), 0);
    new.idempotency_key = Some("+6591234567".to_owned());
    ledger.create_request(&new, at(0)).await.expect("recorded");
    let run = begin_run(&ledger, "run-1").await;
    let mut batch = intent(&run, Some("T-1"), 0);
    batch.batch = r#"{"keys":["+6591234567"]}"#.to_owned();
    let Permit::Granted(guard) = ledger.begin_batch(&batch, at(2)).await.expect("an answer") else {
        panic!("refused")
    };
    drop(guard);
    ledger.give_back().await.expect("given back");
    assert!(
        ledger.open_intents().await.expect("intents")[0].batch.contains("+6591234567"),
        "sealed, but there"
    );
    let mut raw = place.database.connect().await;
    for table in ["request", "intent", "entry", "row_key"] {
        let dump = format!("SELECT * FROM `{table}`");
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(dump)).fetch_all(&mut raw).await.expect("rows");
        assert!(!rows.is_empty(), "{table}");
        for row in &rows {
            for place in 0..sqlx::Row::len(row) {
                let bytes: Option<Vec<u8>> = sqlx::Row::try_get_unchecked(row, place).expect("bytes");
                let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
                assert!(!text.contains("6591234567"), "{table}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_whose_lease_has_run_out_begins_nothing_and_gets_it_never_back() {
    let place = Place::new().await;
    let (one, other) = (place.open().await, place.open().await);
    let claim = one.claim_run().await.expect("claimed");
    let run = begin_run(&one, "run-1").await;
    let batch = intent(&run, Some("t-1"), 0);
    let Permit::Granted(guard) = one.begin_batch(&batch, at(2)).await.expect("an answer") else {
        panic!("refused")
    };
    assert!(guard.lease.is_good() && one.keeps_place().await.expect("an answer"));
    place.run_out().await;
    assert!(matches!(one.begin_batch(&batch, at(3)).await.expect("an answer"), Permit::Lost));
    assert!(!guard.lease.is_good(), "whoever was told once knows it for all batches");
    assert!(!one.keeps_place().await.expect("an answer"));
    // Another process takes over, and finds the batch that nobody is at any more.
    let next = tokio::time::timeout(SOON, other.claim_run()).await.expect("soon").expect("claimed");
    assert_eq!(other.open_intents().await.expect("intents").len(), 1);
    assert!(other.keeps_place().await.expect("an answer"));
    other.finish_batch(guard.number, &CountsByTenant::new(), at(4)).await.expect("settled");
    refused(one.finish_batch(guard.number, &CountsByTenant::new(), at(5)).await);
    // Even a lease that is written back belongs to a fence that is over.
    place.database.run("UPDATE executor SET expires_at = 9000000000000000").await;
    assert!(matches!(one.begin_batch(&batch, at(6)).await.expect("an answer"), Permit::Lost));
    drop((claim, next, guard));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fence_grows_with_each_holder() {
    let place = Place::new().await;
    let (one, other) = (place.open().await, place.open().await);
    let mut last = 0;
    for ledger in [&one, &other, &one] {
        drop(ledger.claim_run().await.expect("claimed"));
        ledger.give_back().await.expect("given back");
        let mut raw = place.database.connect().await;
        let fence: i64 = sqlx::query_scalar("SELECT fence FROM lease WHERE name = 'run'")
            .fetch_one(&mut raw)
            .await
            .expect("a fence");
        assert!(fence > last);
        last = fence;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_does_not_wait_for_a_batch_whose_executor_is_lost() {
    let place = Place::new().await;
    let (one, other) = (place.open().await, place.open().await);
    let run = begin_run(&one, "run-1").await;
    let batch = intent(&run, Some("t-1"), 0);
    let Permit::Granted(guard) = one.begin_batch(&batch, at(2)).await.expect("an answer") else {
        panic!("refused")
    };
    other.place_hold(&hold("t-1", vec![]), at(3)).await.expect("placed");
    let mut wait = other.wait_for_batches();
    assert!(
        tokio::time::timeout(Duration::from_millis(150), &mut wait).await.is_err(),
        "the batch still runs"
    );
    place.run_out().await;
    tokio::time::timeout(SOON, wait).await.expect("soon").expect("waited");
    drop(guard);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_server_closed_is_opened_again() {
    let place = Place::new().await;
    let ledger = place.open().await;
    ledger.record_entry("z", serde_json::json!({}), at(1)).await.expect("written");
    let mut raw = place.database.connect().await;
    let ids: Vec<u64> = sqlx::query_scalar(
        "SELECT CAST(id AS UNSIGNED) FROM information_schema.processlist
         WHERE db = DATABASE() AND id <> CONNECTION_ID()",
    )
    .fetch_all(&mut raw)
    .await
    .expect("connections");
    assert!(!ids.is_empty());
    for id in ids {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("KILL {id}"))).execute(&mut raw).await.expect("killed");
    }
    assert_eq!(ledger.entry_count().await.expect("a count"), 2, "a look");
    ledger.record_entry("z", serde_json::json!({}), at(2)).await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_paused_in_its_turn_keeps_nobody_out() {
    let place = Place::new().await;
    let ledger = place.open().await;
    // As a connection of the ledger is set, and as a process leaves it that is stopped in the middle.
    let mut paused = place.database.connect().await;
    sqlx::raw_sql("SET SESSION wait_timeout = 15; START TRANSACTION; SELECT value FROM meta WHERE name = 'turn' FOR UPDATE")
        .fetch_all(&mut paused)
        .await
        .expect("the turn");
    let placed = tokio::time::timeout(SOON, ledger.place_hold(&hold("t-1", vec![]), at(1))).await;
    placed.expect("soon").expect("placed");
    let settings =
        "SELECT CAST(count(*) AS SIGNED) FROM information_schema.processlist WHERE id = CONNECTION_ID()";
    assert!(sqlx::query(settings).fetch_all(&mut paused).await.is_err(), "the server has closed it");
}
