//! The audit log beside a real ledger: several writers at once, a falsified database, an older copy of it.
//! It owns what only a database can show; the attacks on the files are in `audit`.

use std::path::PathBuf;

use retentiond::audit;
use retentiond::ledger::Ledger;
use retentiond::ledger::sqlite::SqliteLedger;
use sqlx::Connection;

use super::{messages, now};

struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    async fn ledger(&self) -> SqliteLedger {
        SqliteLedger::open(&self.path("ledger.db"), &self.path("ledger.key")).await.unwrap()
    }

    async fn falsify(&self, sql: &'static str) {
        let url = format!("sqlite://{}", self.path("ledger.db").display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

async fn record(ledger: &SqliteLedger, count: u64) {
    for n in 0..count {
        ledger.record_entry("test", serde_json::json!({ "n": n }), now()).await.unwrap();
    }
}

#[tokio::test]
async fn what_the_ledger_records_is_published_and_verifies_read_only() {
    let place = Place::new();
    let ledger = place.ledger().await;
    record(&ledger, 300).await;
    let head = audit::publish(&ledger, &place.path("audit"), now()).await.unwrap();
    assert_eq!(head.size, ledger.entry_count().await.unwrap());
    assert_eq!(ledger.head().await.unwrap(), Some(head.clone()));
    let reader = SqliteLedger::open_read_only(&place.path("ledger.db"), &place.path("ledger.key"))
        .await
        .unwrap()
        .unwrap();
    let verdict = audit::verify(&place.path("audit"), Some(&reader), now()).await.unwrap();
    assert!(verdict.sound, "{:?}", verdict.findings);
    assert_eq!((verdict.entries, verdict.head), (head.size, head.root));
    assert_eq!(audit::doubt(&place.path("audit"), Some(&reader)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_writers_and_a_reader_at_once_keep_one_sound_log() {
    let place = Place::new();
    let dir = place.path("audit");
    drop(place.ledger().await);
    let writers = (0..3).map(|_| {
        let (db, key, dir) = (place.path("ledger.db"), place.path("ledger.key"), dir.clone());
        tokio::spawn(async move {
            let ledger = SqliteLedger::open(&db, &key).await.unwrap();
            for _ in 0..8 {
                record(&ledger, 20).await;
                audit::publish(&ledger, &dir, now()).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let ledger = place.ledger().await;
    while writers.iter().any(|writer| !writer.is_finished()) {
        let verdict = audit::verify(&dir, Some(&ledger), now()).await.unwrap();
        assert!(verdict.sound, "{:?}", verdict.findings);
        assert_eq!(audit::doubt(&dir, Some(&ledger)).await.unwrap(), None);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let verdict = audit::verify(&dir, Some(&ledger), now()).await.unwrap();
    assert!(verdict.sound, "{:?}", verdict.findings);
    assert_eq!(verdict.entries, ledger.entry_count().await.unwrap());
}

#[tokio::test]
async fn an_entry_falsified_or_dropped_in_the_database_is_found() {
    for (sql, index) in [
        (r#"UPDATE entry SET body = replace(body, '"n":5', '"n":6') WHERE body LIKE '%"n":5,%'"#, Some(())),
        (r#"DELETE FROM entry WHERE body LIKE '%"n":5,%'"#, None),
        ("DELETE FROM entry WHERE idx >= 15", None),
    ] {
        let place = Place::new();
        let ledger = place.ledger().await;
        record(&ledger, 20).await;
        audit::publish(&ledger, &place.path("audit"), now()).await.unwrap();
        place.falsify(sql).await;
        let verdict = audit::verify(&place.path("audit"), Some(&ledger), now()).await.unwrap();
        assert!(!verdict.sound, "{sql}");
        assert!(
            index.is_none() || verdict.findings.iter().any(|f| f.index.is_some()),
            "{:?}",
            verdict.findings
        );
        assert!(audit::publish(&ledger, &place.path("audit"), now()).await.is_err(), "{sql}");
    }
}

#[tokio::test]
async fn an_older_copy_of_the_database_is_doubted() {
    let place = Place::new();
    let ledger = place.ledger().await;
    record(&ledger, 20).await;
    audit::publish(&ledger, &place.path("audit"), now()).await.unwrap();
    ledger.close().await;
    std::fs::copy(place.path("ledger.db"), place.path("older.db")).unwrap();
    let ledger = place.ledger().await;
    record(&ledger, 5).await;
    audit::publish(&ledger, &place.path("audit"), now()).await.unwrap();
    ledger.close().await;

    std::fs::copy(place.path("older.db"), place.path("ledger.db")).unwrap();
    let older = place.ledger().await;
    let doubt = audit::doubt(&place.path("audit"), Some(&older)).await.unwrap().unwrap();
    assert!(doubt.starts_with("the ledger is older than the audit log"), "{doubt}");
    record(&older, 50).await;
    let doubt = audit::doubt(&place.path("audit"), Some(&older)).await.unwrap().unwrap();
    assert!(doubt.starts_with("the ledger is older than the audit log"), "{doubt}");
    let verdict = audit::verify(&place.path("audit"), Some(&older), now()).await.unwrap();
    assert!(messages(&verdict)[0].starts_with("the ledger is older than the log"));
    assert!(audit::publish(&older, &place.path("audit"), now()).await.is_err());
}
