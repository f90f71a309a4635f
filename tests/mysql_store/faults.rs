//! Faults of a server and of the way to it: locks, deadlocks, killed and cut connections, servers that are not the primary.
//! Nothing is half done, nothing is counted that did not happen, and trying again ends well.

use std::time::Duration;

use retentiond::clock::Stopwatch;
use retentiond::stores::{Batch, ErrorKind, Retry, StoreError};

use super::*;
use crate::servers::mariadb::launch;
use crate::servers::proxy::Proxy;

const UNTIL: &str = "2025-06-01T00:00:00Z";

fn due() -> Query {
    query(calls(), of("t-1"), before(UNTIL))
}

async fn found(store: &MysqlStore) -> Batch {
    store.find(&due(), None, WIDE, &[]).await.unwrap().unwrap().batch
}

fn is_later(error: &StoreError) -> bool {
    error.retry == Retry::Later
}

/// As the caller does: again after a pause.
async fn insist(store: &MysqlStore, batch: &Batch) -> retentiond::stores::Erased {
    for _ in 0..4 {
        match store.erase(&due(), batch, Method::Delete).await {
            Ok(erased) => return erased,
            Err(error) => assert!(is_later(&error), "{error}"),
        }
    }
    panic!("four tries were not enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_somebody_else_is_waited_for_a_second_and_leaves_nothing_half_done() {
    let database = with(CALLS).await;
    let store = store(&database).await;
    let batch = found(&store).await;
    let mut other = database.connect().await;
    sqlx::raw_sql("START TRANSACTION; UPDATE call_record SET caller = 'x' WHERE id = 11")
        .execute(&mut other)
        .await
        .unwrap();
    let watch = Stopwatch::start();
    let error = store.erase(&due(), &batch, Method::Delete).await.unwrap_err();
    assert!(is_later(&error) && error.message.contains("lock"), "{error}");
    assert!(watch.elapsed() < Duration::from_secs(8));
    assert_eq!(ids(&database).await.len(), 12, "also the row that was not locked is still there");
    // The server undid the statement only; whatever the transaction held is free again.
    sqlx::raw_sql("UPDATE call_record SET caller = 'y' WHERE id = 1; COMMIT")
        .execute(&mut other)
        .await
        .unwrap();
    assert_eq!(insist(&store, &batch).await.counts[&tenant("t-1")].erased, 2);
    assert_eq!(ids(&database).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_tried_again_from_the_start() {
    let mut met = 0;
    for _ in 0..12 {
        let database = with(CALLS).await;
        let store = store(&database).await;
        let batch = found(&store).await;
        let mut other = database.connect().await;
        // The other one has the last row and changes many, so that the server ends ours and not its own.
        let held =
            "START TRANSACTION; INSERT INTO call_record SELECT seq, 'x', NULL, 'x' FROM seq_100_to_400;
                    UPDATE call_record SET caller = 'x' WHERE id = 11";
        sqlx::raw_sql(held).execute(&mut other).await.unwrap();
        let erasing = tokio::spawn(async move {
            let outcome = store.erase(&due(), &batch, Method::Delete).await;
            (store, batch, outcome)
        });
        tokio::time::sleep(Duration::from_millis(400)).await;
        sqlx::raw_sql("UPDATE call_record SET caller = 'x' WHERE id = 1; COMMIT")
            .execute(&mut other)
            .await
            .unwrap();
        let (store, batch, outcome) = erasing.await.unwrap();
        if let Err(error) = outcome {
            assert!(is_later(&error), "{error}");
            met += u32::from(error.message.contains("deadlock"));
            assert_eq!(
                texts(&database, "SELECT CAST(COUNT(*) AS CHAR) FROM call_record WHERE id < 100").await,
                ["12"]
            );
            assert_eq!(insist(&store, &batch).await.counts[&tenant("t-1")].erased, 2);
        }
        if met > 0 {
            return;
        }
    }
    panic!("no deadlock was met");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_connections_are_opened_again() {
    let database = with(CALLS).await;
    let store = store(&database).await;
    let batch = found(&store).await;
    let mut other = database.connect().await;
    let kill =
        "SELECT GROUP_CONCAT('KILL CONNECTION ', id SEPARATOR '; ') FROM information_schema.PROCESSLIST
                WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    let script: Vec<u8> = sqlx::query(kill).fetch_one(&mut other).await.unwrap().get_unchecked(0);
    database.run(&String::from_utf8(script).unwrap()).await;
    let error = store.erase(&due(), &batch, Method::Delete).await.unwrap_err();
    assert_eq!((error.kind, error.retry), (ErrorKind::Unreachable, Retry::Later), "{error}");
    assert_eq!(insist(&store, &batch).await.counts[&tenant("t-1")].erased, 2);
    let error = store.absent(&due(), &batch).await.unwrap_err();
    assert!(is_later(&error), "an error is never an empty answer: {error}");
    assert!(store.absent(&due(), &batch).await.unwrap().tenants.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_around_the_commit_ends_with_the_truth() {
    for reaches_server in [false, true] {
        let database = with(CALLS).await;
        let proxy = Proxy::to(database.port);
        let store = MysqlStore::open(&id(), &database.url_through(proxy.port)).await.unwrap();
        let batch = found(&store).await;
        if reaches_server {
            proxy.cut_after("COMMIT");
        } else {
            proxy.cut_before("COMMIT");
        }
        let error = store.erase(&due(), &batch, Method::Delete).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (ErrorKind::Unreachable, Retry::Later), "{error}");
        assert_eq!(proxy.sprung(), 1);
        proxy.mend();
        let still = store.absent(&due(), &batch).await;
        let still = match still {
            Ok(still) => still,
            Err(_) => store.absent(&due(), &batch).await.unwrap(),
        };
        let left = if reaches_server { 0 } else { 2 };
        assert_eq!(still.tenants.values().sum::<u64>(), left, "the read-back says how it is");
        let counts = insist(&store, &batch).await.counts[&tenant("t-1")];
        assert_eq!((counts.erased, counts.already_absent), (left, 2 - left), "and so does the second try");
        assert_eq!(ids(&database).await.len(), 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_an_error_and_a_slow_one_is_not() {
    let database = with(CALLS).await;
    let proxy = Proxy::to(database.port);
    let store = MysqlStore::open(&id(), &database.url_through(proxy.port)).await.unwrap();
    proxy.delay(Duration::from_millis(5));
    let batch = found(&store).await;
    assert_eq!(batch.records(), 2);
    proxy.cut_after_bytes(0);
    for _ in 0..2 {
        let error = store.survey(&due()).await.unwrap_err();
        assert!(is_later(&error), "{error}");
    }
    proxy.mend();
    assert_eq!(counted(&store.survey(&due()).await.unwrap()), map([("t-1", 2)]));
    proxy.swallow();
    // A caller that gives up leaves nothing behind on the connection.
    assert!(tokio::time::timeout(Duration::from_millis(300), store.survey(&due())).await.is_err());
    proxy.mend();
    assert_eq!(counted(&store.survey(&due()).await.unwrap()), map([("t-1", 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_moves_between_finding_and_erasing_survives() {
    let database = with(CALLS).await;
    let store = store(&database).await;
    let batch = found(&store).await;
    database.run("UPDATE call_record SET tenant_id = 'T-1' WHERE id = 1").await;
    let counts = store.erase(&due(), &batch, Method::Delete).await.unwrap().counts[&tenant("t-1")];
    assert_eq!(counts.erased, 1);
    assert!(ids(&database).await.contains(&"1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_was_found_is_never_erased() {
    for (method, tenants) in
        [(Method::Delete, of("t-1")), (Method::Delete, everyone()), (Method::OverwriteThenDelete, of("t-1"))]
    {
        let database = with(CALLS).await;
        database
            .run("DELETE FROM call_record; INSERT INTO call_record SELECT seq, 't-1', '2025-01-01', '' FROM seq_1_to_9;
                  UPDATE call_record SET started_at = '2026-01-01' WHERE id = 5")
            .await;
        let store = store(&database).await;
        let due = query(calls(), tenants, before(UNTIL));
        let batch = store.find(&due, None, WIDE, &[]).await.unwrap().unwrap().batch;
        assert!(matches!(batch, Batch::Window { .. }) && batch.records() == 8, "{batch:?}");
        database.run("UPDATE call_record SET started_at = '2025-01-01' WHERE id = 5").await;
        let error = store.erase(&due, &batch, method).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (ErrorKind::Refused, Retry::Never), "{error}");
        assert!(error.message.contains("scope exceeded"), "{error}");
        assert_eq!(ids(&database).await.len(), 9, "everything was rolled back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_and_a_replica_are_refused_for_erasing() {
    let server = launch(&[]);
    let database = Database::on(&server).await;
    database.run(CALLS).await;
    let store = store(&database).await;
    let batch = found(&store).await;
    let primary = store.identity().await.unwrap();
    database.run("SET GLOBAL read_only = ON").await;
    let error = store.erase(&due(), &batch, Method::Delete).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Identity, "{error}");
    assert_eq!(MysqlStore::open(&id(), &database.url()).await.unwrap_err().kind, ErrorKind::Identity);
    database
        .run("SET GLOBAL read_only = OFF; CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1")
        .await;
    let error = MysqlStore::open(&id(), &database.url()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Identity, "{error}");
    assert!(error.message.contains("replica"), "{error}");
    assert_eq!(ids(&database).await.len(), 12);
    // Looking is not erasing; and its own port and folder tell it from any other server.
    let reader = reader(&database).await;
    assert_eq!(reader.identity().await.unwrap(), primary);
    let other = Database::new().await;
    assert_ne!(super::reader(&other).await.identity().await.unwrap().fingerprint, primary.fingerprint);
    assert!(reader.log_kept_seconds().await.unwrap().is_some(), "the binary log is on");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_refuses_every_change_on_the_connection_that_looks() {
    let database = with(CALLS).await;
    let store = store(&database).await;
    store.mark("ledger-1", &id()).await.unwrap();
    let sessions = texts(
        &database,
        "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.PROCESSLIST WHERE db = DATABASE() AND id <> CONNECTION_ID()",
    )
    .await;
    assert_eq!(sessions, ["2"], "one connection that looks and one that erases, no pool");
    let error =
        MysqlReader::open(&id(), &secrecy::SecretString::from("mysql://root:hidden@127.0.0.1:1/calls"))
            .await
            .unwrap_err();
    assert_eq!((error.kind, error.retry), (ErrorKind::Unreachable, Retry::Later));
    assert!(!format!("{error:?} {error}").contains("hidden"), "{error}");
    for url in ["mysql://root@127.0.0.1", "nonsense"] {
        let error = MysqlReader::open(&id(), &secrecy::SecretString::from(url)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Schema, "{url}");
    }
}
