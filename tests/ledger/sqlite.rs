//! What only the embedded ledger can show: its files, its key, opening and restoring it.
//! It owns these tests and the place that the suite runs in.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use retentiond::ledger::sqlite::SqliteLedger;
use retentiond::ledger::{Ledger, LedgerError, NewScope, Permit, RequestState};
use retentiond::plan::CountsByTenant;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::{all_in, at, begin_run, doubted, hold, intent, kinds, phone, request};

/// A folder with a ledger and its key.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) async fn open(&self) -> SqliteLedger {
        SqliteLedger::open(&self.db(), &self.key()).await.expect("the ledger opens")
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("retentiond.db")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("ledger.key")
    }

    /// How often some bytes are in the files of the ledger.
    fn scan(&self, bytes: &[u8]) -> usize {
        self.scan_all(&[bytes])[0]
    }

    /// How often each of some texts is in the files of the ledger, in one pass over them.
    fn scan_all(&self, wanted: &[&[u8]]) -> Vec<usize> {
        let mut starts = vec![Vec::new(); 1 << 16];
        for (n, bytes) in wanted.iter().enumerate() {
            starts[usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))].push(n);
        }
        let mut found = vec![0; wanted.len()];
        for file in files_below(self.dir.path()) {
            let text = std::fs::read(file).expect("a file");
            for (at, pair) in text.windows(2).enumerate() {
                for n in &starts[usize::from(u16::from_be_bytes([pair[0], pair[1]]))] {
                    found[*n] += usize::from(text[at..].starts_with(wanted[*n]));
                }
            }
        }
        found
    }

    /// The cipher text of every key that a row has, by owner, without nonce and tag.
    async fn wrapped(&self) -> Vec<(String, Vec<u8>)> {
        let mut raw = SqliteConnectOptions::new().filename(self.db()).connect().await.expect("opens");
        let rows: Vec<(String, Vec<u8>)> =
            sqlx::query_as("SELECT owner, wrapped FROM row_key ORDER BY owner")
                .fetch_all(&mut raw)
                .await
                .expect("rows");
        raw.close().await.expect("closes");
        rows.into_iter()
            .map(|(owner, stored)| {
                let end = stored.len() - 16;
                (owner, stored[end - 32..end].to_vec())
            })
            .collect()
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .expect("a folder")
        .flat_map(|entry| {
            let path = entry.expect("an entry").path();
            if path.is_dir() { files_below(&path) } else { vec![path] }
        })
        .collect()
}

#[tokio::test]
async fn no_file_of_the_ledger_holds_a_subject_in_plain() {
    let place = Place::new();
    let ledger = place.open().await;
    let sentinel = format!("s{}", uuid::Uuid::now_v7().simple());
    let mut new = request("t-1", phone(&sentinel), 0);
    new.idempotency_key = Some(sentinel.clone());
    let id = ledger.create_request(&new, at(0)).await.expect("recorded").request_id;
    let named = vec![("phone".to_owned(), sentinel.clone())];
    let held = ledger.place_hold(&hold("t-10", named), at(1)).await.expect("placed").hold_id;
    let run = begin_run(&ledger, "run-1").await;
    let mut batch = intent(&run, Some("T-1"), 0);
    batch.batch = format!(r#"{{"keys":["{sentinel}"]}}"#);
    let Permit::Granted(guard) = ledger.begin_batch(&batch, at(2)).await.expect("an answer") else {
        panic!("not granted")
    };
    let read_back = &ledger.open_intents().await.expect("intents")[0].batch;
    assert!(read_back.contains(&sentinel), "the ledger does hold it, sealed");
    assert_eq!(place.scan(sentinel.as_bytes()), 0, "while everything is open");
    assert!(place.scan(b"request-received") > 0, "the scan does see what is written in plain");
    ledger.finish_batch(guard.number, &CountsByTenant::new(), at(3)).await.expect("finished");
    ledger.end_run(&run, "done", at(4)).await.expect("ended");
    ledger.release_hold(&held, at(5)).await.expect("released");
    ledger
        .settle_request(&id, RequestState::Completed, &all_in(RequestState::Completed), at(6))
        .await
        .expect("done");
    assert_eq!(place.scan(sentinel.as_bytes()), 0);
    ledger.close().await;
    assert_eq!(place.scan(sentinel.as_bytes()), 0);
}

#[tokio::test]
async fn a_destroyed_key_is_in_no_file_while_its_neighbours_still_open() {
    let place = Place::new();
    let ledger = place.open().await;
    let mut ids = Vec::new();
    for n in 0..120 {
        let new = request("t-1", phone(&format!("+65{n}")), n);
        ids.push(ledger.create_request(&new, at(n)).await.expect("recorded").request_id);
    }
    let keys = place.wrapped().await;
    assert_eq!(keys.len(), ids.len());
    let wanted: Vec<&[u8]> = keys.iter().map(|(_, key)| &key[..]).collect();
    assert!(place.scan_all(&wanted).iter().all(|found| *found > 0), "the scan sees the keys while they live");
    // Two of three go, in an order of their own, so that pages fill, split and merge.
    let done: Vec<_> = (0..ids.len()).map(|n| n * 7 % ids.len()).filter(|n| n % 3 != 0).collect();
    for n in &done {
        let placements = all_in(RequestState::Completed);
        ledger
            .settle_request(&ids[*n], RequestState::Completed, &placements, at(200))
            .await
            .expect("completed");
    }
    let live = place.wrapped().await;
    assert_eq!(live.len(), ids.len() - done.len());
    for ((owner, _), found) in keys.iter().zip(place.scan_all(&wanted)) {
        let lives = live.iter().any(|(other, _)| other == owner);
        assert_eq!(found > 0, lives, "the key of {owner}");
    }
    assert_eq!(ledger.facts().await.expect("facts").requests.len(), live.len(), "the others still open");
}

#[tokio::test]
async fn the_keys_of_holds_runs_and_cancelled_requests_go_too() {
    let place = Place::new();
    let ledger = place.open().await;
    let named = vec![("phone".to_owned(), "+1".to_owned())];
    let held = ledger.place_hold(&hold("t-1", named), at(1)).await.expect("placed").hold_id;
    let id =
        ledger.create_request(&request("t-1", phone("+1"), 0), at(1)).await.expect("recorded").request_id;
    let run = begin_run(&ledger, "run-1").await;
    let keys = place.wrapped().await;
    assert_eq!(keys.len(), 3);
    ledger.release_hold(&held, at(2)).await.expect("released");
    ledger.cancel_request(&id, at(2)).await.expect("cancelled");
    ledger.end_run(&run, "done", at(2)).await.expect("ended");
    assert!(place.wrapped().await.is_empty());
    for (owner, key) in keys {
        assert_eq!(place.scan(&key), 0, "{owner}");
    }
}

#[tokio::test]
async fn a_reader_delays_the_going_of_key_bytes_but_the_next_write_makes_up_for_it() {
    let place = Place::new();
    let ledger = place.open().await;
    let id =
        ledger.create_request(&request("t-1", phone("+1"), 0), at(1)).await.expect("recorded").request_id;
    let key = place.wrapped().await.remove(0).1;
    let mut raw =
        SqliteConnectOptions::new().filename(place.db()).read_only(true).connect().await.expect("opens");
    let mut reading = raw.begin().await.expect("begins");
    let _: i64 =
        sqlx::query_scalar("SELECT count(*) FROM request").fetch_one(&mut *reading).await.expect("reads");
    ledger.cancel_request(&id, at(2)).await.expect("cancelled all the same");
    assert!(place.scan(&key) > 0, "the reader still sees the older state");
    reading.rollback().await.expect("ends");
    raw.close().await.expect("closes");
    ledger.stop("any write", at(3)).await.expect("stopped");
    assert_eq!(place.scan(&key), 0);
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let place = Place::new();
    let ledger = place.open().await;
    ledger.create_request(&request("t-1", phone("+1"), 0), at(1)).await.expect("recorded");
    drop(ledger.claim_run().await.expect("claimed"));
    let files = files_below(place.dir.path());
    assert!(files.contains(&place.db()) && files.contains(&place.key()) && files.len() >= 4, "{files:?}");
    for file in files {
        assert_eq!(std::fs::metadata(&file).expect("there").mode() & 0o077, 0, "{}", file.display());
    }
}

#[tokio::test]
async fn another_key_or_none_is_a_doubt() {
    let place = Place::new();
    let ledger = place.open().await;
    ledger.create_request(&request("t-1", phone("+1"), 0), at(1)).await.expect("recorded");
    ledger.close().await;
    let away = place.dir.path().join("away.key");
    std::fs::rename(place.key(), &away).expect("moved");
    doubted(SqliteLedger::open(&place.db(), &place.key()).await);
    doubted(SqliteLedger::open_read_only(&place.db(), &place.key()).await);
    assert!(!place.key().exists(), "no new key was made beside a ledger that has one");
    let stranger = Place::new();
    stranger.open().await.close().await;
    doubted(SqliteLedger::open(&place.db(), &stranger.key()).await);
    doubted(SqliteLedger::open_read_only(&place.db(), &stranger.key()).await);
    std::fs::set_permissions(&away, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    doubted(SqliteLedger::open(&place.db(), &away).await);
    std::fs::set_permissions(&away, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let ledger = SqliteLedger::open(&place.db(), &away).await.expect("the right one");
    assert_eq!(ledger.facts().await.expect("facts").requests.len(), 1);
}

#[tokio::test]
async fn reading_makes_no_ledger_and_changes_none() {
    let place = Place::new();
    assert!(SqliteLedger::open_read_only(&place.db(), &place.key()).await.expect("no error").is_none());
    assert!(files_below(place.dir.path()).is_empty());
    std::fs::write(place.db(), "").expect("an empty file");
    assert!(SqliteLedger::open_read_only(&place.db(), &place.key()).await.expect("no error").is_none());
    let ledger = place.open().await;
    let id = ledger.ledger_id().await.expect("an id");
    ledger.create_request(&request("t-1", phone("+1"), 0), at(1)).await.expect("recorded");
    ledger.close().await;
    let before = std::fs::read(place.db()).expect("bytes");
    let reader =
        SqliteLedger::open_read_only(&place.db(), &place.key()).await.expect("opens").expect("there");
    assert_eq!(reader.ledger_id().await.expect("an id"), id);
    assert_eq!(reader.facts().await.expect("facts").requests.len(), 1);
    let refused = |result: Result<(), LedgerError>| {
        assert!(matches!(result, Err(LedgerError::Unreachable { .. })));
    };
    refused(reader.stop("no", at(2)).await);
    refused(reader.wait_for_batches().await);
    refused(reader.claim_run().await.map(|_| ()));
    refused(reader.create_request(&request("t-1", NewScope::Everything, 0), at(2)).await.map(|_| ()));
    reader.close().await;
    assert_eq!(std::fs::read(place.db()).expect("bytes"), before);
}

#[tokio::test]
async fn a_reader_beside_a_writer_sees_what_was_committed() {
    let place = Place::new();
    let ledger = place.open().await;
    let reader =
        SqliteLedger::open_read_only(&place.db(), &place.key()).await.expect("opens").expect("there");
    ledger.place_hold(&hold("t-1", vec![]), at(1)).await.expect("placed");
    assert_eq!(reader.holds().await.expect("holds").len(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_refused_and_stays_as_it_is() {
    let place = Place::new();
    let mut raw = SqliteConnectOptions::new()
        .filename(place.db())
        .create_if_missing(true)
        .connect()
        .await
        .expect("a data store");
    sqlx::query("CREATE TABLE call_record (id INTEGER)").execute(&mut raw).await.expect("a table");
    raw.close().await.expect("closes");
    let before = std::fs::read(place.db()).expect("bytes");
    doubted(SqliteLedger::open(&place.db(), &place.key()).await);
    doubted(SqliteLedger::open_read_only(&place.db(), &place.key()).await);
    assert_eq!(std::fs::read(place.db()).expect("bytes"), before);
    assert!(!place.key().exists());
    std::fs::write(place.db(), "this is a text of some length, but no database at all, not even nearly so")
        .expect("a text");
    assert!(SqliteLedger::open(&place.db(), &place.key()).await.is_err());
    let nowhere = place.dir.path().join("missing").join("retentiond.db");
    let Err(error) = SqliteLedger::open(&nowhere, &place.key()).await else { panic!("it opened") };
    assert!(error.to_string().contains("does not exist"), "{error}");
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn another_version_of_the_schema_is_a_doubt() {
    for (change, both) in [
        ("DELETE FROM _sqlx_migrations", false),
        ("UPDATE _sqlx_migrations SET checksum = x'00'", true),
        (
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'later', 1, x'00', 0)",
            true,
        ),
    ] {
        let place = Place::new();
        place.open().await.close().await;
        let mut raw = SqliteConnectOptions::new().filename(place.db()).connect().await.expect("opens");
        sqlx::query(change).execute(&mut raw).await.expect("changed");
        raw.close().await.expect("closes");
        doubted(SqliteLedger::open_read_only(&place.db(), &place.key()).await);
        if both {
            doubted(SqliteLedger::open(&place.db(), &place.key()).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_come_first_at_once_make_one_ledger() {
    for _ in 0..5 {
        let place = Place::new();
        let (db, key) = (place.db(), place.key());
        let opening: Vec<_> = (0..6)
            .map(|_| {
                let (db, key) = (db.clone(), key.clone());
                tokio::spawn(async move { SqliteLedger::open(&db, &key).await.expect("opens") })
            })
            .collect();
        let mut ids = std::collections::BTreeSet::new();
        for task in opening {
            ids.insert(task.await.expect("no panic").ledger_id().await.expect("an id"));
        }
        assert_eq!(ids.len(), 1);
    }
}

#[tokio::test]
async fn a_copy_made_while_it_runs_is_a_whole_ledger() {
    let place = Place::new();
    let ledger = place.open().await;
    ledger.create_request(&request("t-1", phone("+1"), 0), at(1)).await.expect("recorded");
    ledger.place_hold(&hold("t-10", vec![]), at(1)).await.expect("placed");

    // As docs/backup.md says: the key file, then (after the log) the database in one statement.
    let backup = Place::new();
    std::fs::copy(place.key(), backup.key()).expect("copied");
    let mut raw = SqliteConnectOptions::new().filename(place.db()).connect().await.expect("opens");
    sqlx::query("VACUUM INTO ?")
        .bind(backup.db().to_str().expect("a path"))
        .execute(&mut raw)
        .await
        .expect("copied");
    raw.close().await.expect("closes");
    ledger.stop("after the backup", at(2)).await.expect("stopped");

    let restored = backup.open().await;
    assert_eq!(restored.ledger_id().await.expect("an id"), ledger.ledger_id().await.expect("an id"));
    assert_eq!(restored.facts().await.expect("facts").requests, {
        let facts = ledger.facts().await.expect("facts");
        facts.requests
    });
    assert_eq!(kinds(&restored).await, ["ledger-made", "request-received", "hold-placed"]);
    let (then, now) =
        (restored.entry_count().await.expect("a count"), ledger.entry_count().await.expect("a count"));
    assert!(
        then < now,
        "an older ledger has fewer entries than the log beside it: that is how it is found out"
    );
    restored.close().await;
}
