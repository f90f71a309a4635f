//! The stanza of the `SQLite` store, and how rows are written in tables of any kind.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use retentiond::id::StoreId;
use retentiond::policy::{EventTime, Placement, Records, SubjectFormat, SubjectSource, TenantSource};
use retentiond::stores::sqlite::{SqliteReader, SqliteStore};
use retentiond::stores::{Reader, Store};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use tempfile::TempDir;

use super::fixture::{Bench, Record, Shape, Time, When, ZONE, now};

/// A value as a table stores it.
#[derive(Debug, Clone)]
pub(crate) enum Stored {
    Null,
    Int(i64),
    Text(String),
}

/// An event time as a shape stores it.
pub(crate) fn stored_time(shape: Shape, when: When) -> Stored {
    let is_count = matches!(shape.time, Time::Seconds | Time::Milliseconds);
    match (when, shape.time) {
        (When::Null, _) => Stored::Null,
        (When::Zero, _) if is_count => Stored::Int(0),
        (When::Zero, _) => Stored::Text("0000-00-00 00:00:00".into()),
        (When::Unreadable, _) => Stored::Text("yesterday".into()),
        (When::NoSuchDay, _) => Stored::Text("2023-02-30 12:00:00".into()),
        (When::At(at), Time::Seconds) => Stored::Int(at.timestamp()),
        (When::At(at), Time::Milliseconds) => Stored::Int(at.timestamp_millis()),
        (When::At(at), Time::IsoText) => Stored::Text(at.format("%Y-%m-%dT%H:%M:%SZ").to_string()),
        (
            When::At(at),
            Time::Text | Time::Wall | Time::Timestamp | Time::Key | Time::Modified | Time::None,
        ) => Stored::Text(at.with_timezone(&ZONE).format("%Y-%m-%d %H:%M:%S").to_string()),
    }
}

/// Placements that name what a table does not have.
pub(crate) fn wrong_tables(shape: Shape) -> Vec<Placement> {
    let right = shape.placement();
    let table = |table: &str, key: &[&str]| {
        let key = key.iter().map(|&column| column.to_owned()).collect();
        Some(Records::Table { table: table.into(), key })
    };
    let time = EventTime::Text {
        column: "no such column".into(),
        format: "%Y-%m-%d %H:%M:%S".into(),
        time_zone: ZONE,
    };
    let subject = SubjectSource { columns: vec!["nobody".into()], format: SubjectFormat::AsIs };
    vec![
        Placement { records: table("missing", &[]), ..right.clone() },
        Placement { records: table("sqlite\"; --", &[]), ..right.clone() },
        Placement { records: table(shape.table_name(), &["no_id"]), ..right.clone() },
        Placement { tenant: TenantSource::Column("no_tenant".into()), ..right.clone() },
        Placement { event_time: Some(time), ..right.clone() },
        Placement { subjects: BTreeMap::from([("phone".into(), subject)]), ..right },
    ]
}

pub(crate) struct SqliteBench {
    shape: Shape,
    folder: TempDir,
    ids: BTreeMap<String, i64>,
}

impl SqliteBench {
    pub(crate) async fn new(shape: Shape) -> Self {
        let bench = Self { shape, folder: tempfile::tempdir().unwrap(), ids: BTreeMap::new() };
        let mut connection = bench.connect(true).await;
        let table = shape.table_name();
        let id = if shape.has_key { "id INTEGER PRIMARY KEY" } else { "id INTEGER" };
        let time = match shape.time {
            Time::Seconds | Time::Milliseconds => "INTEGER",
            Time::Text
            | Time::IsoText
            | Time::Wall
            | Time::Timestamp
            | Time::Key
            | Time::Modified
            | Time::None => "TEXT",
        };
        let create = format!(
            "CREATE TABLE \"{table}\" ({id}, tenant_id TEXT, started_at {time}, caller TEXT, callee TEXT, \
             \"group\" TEXT, recording_key TEXT, remarks TEXT)"
        );
        sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
        if shape.has_index {
            let index = format!("CREATE INDEX by_time ON \"{table}\" (tenant_id, started_at)");
            sqlx::query(AssertSqlSafe(index)).execute(&mut connection).await.unwrap();
            let index = format!("CREATE INDEX by_remarks ON \"{table}\" (remarks)");
            sqlx::query(AssertSqlSafe(index)).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
        bench
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("calls.db")
    }

    async fn connect(&self, create: bool) -> SqliteConnection {
        let options = SqliteConnectOptions::new()
            .filename(self.path())
            .create_if_missing(create)
            // Only what the store itself writes needs to be safe.
            .synchronous(SqliteSynchronous::Off);
        // Half of the shapes with a write-ahead log, as applications have it.
        let options = if create && self.shape.has_index {
            options.journal_mode(SqliteJournalMode::Wal)
        } else {
            options
        };
        options.connect().await.unwrap()
    }
}

#[async_trait]
impl Bench for SqliteBench {
    async fn seed(&mut self, records: &[Record]) {
        let mut connection = self.connect(false).await;
        let insert = format!("INSERT INTO \"{}\" VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self.shape.table_name());
        let mut transaction = connection.begin().await.unwrap();
        for (index, record) in (0_i64..).zip(records) {
            // Gaps in the keys, and where none is declared also the same one twice.
            let id = if self.shape.has_key { index * 3 - 5 } else { index / 2 };
            self.ids.insert(record.sentinel.clone(), id);
            let query = sqlx::query(AssertSqlSafe(insert.clone())).bind(id).bind(record.tenant);
            let query = match stored_time(self.shape, record.when) {
                Stored::Null => query.bind(None::<String>),
                Stored::Int(number) => query.bind(number),
                Stored::Text(text) => query.bind(text),
            };
            query
                .bind(self.shape.phone(record.caller))
                .bind(self.shape.phone(record.callee))
                .bind(record.agent)
                .bind(record.recording.clone())
                .bind(record.sentinel.clone())
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        transaction.commit().await.unwrap();
        connection.close().await.unwrap();
    }

    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&StoreId::new("store"), &self.path()).await.unwrap())
    }

    async fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(SqliteReader::open(&StoreId::new("store"), &self.path()).await.unwrap())
    }

    async fn dump(&self) -> BTreeMap<String, String> {
        let mut connection = self.connect(false).await;
        let columns =
            ["id", "tenant_id", "started_at", "caller", "callee", "\"group\"", "recording_key", "remarks"];
        let whole = columns.map(|column| format!("quote({column})")).join(" || '|' || ");
        let select = format!("SELECT remarks, {whole} FROM \"{}\"", self.shape.table_name());
        let rows = sqlx::query(AssertSqlSafe(select)).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    async fn renew(&mut self, record: &Record) {
        let mut connection = self.connect(false).await;
        let update = format!("UPDATE \"{}\" SET started_at = ? WHERE remarks = ?", self.shape.table_name());
        let query = sqlx::query(AssertSqlSafe(update));
        let query = match stored_time(self.shape, When::At(now())) {
            Stored::Null => query.bind(None::<String>),
            Stored::Int(number) => query.bind(number),
            Stored::Text(text) => query.bind(text),
        };
        let done = query.bind(record.sentinel.clone()).execute(&mut connection).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
        connection.close().await.unwrap();
    }

    async fn watch(&mut self) {}

    async fn holds_bytes(&mut self, sentinel: &str) -> Option<bool> {
        let files = fs::read_dir(self.folder.path()).unwrap();
        Some(
            files
                .map(|file| fs::read(file.unwrap().path()).unwrap())
                .any(|bytes| bytes.windows(sentinel.len()).any(|window| window == sentinel.as_bytes())),
        )
    }

    async fn typed_key(&self, record: &Record) -> Vec<String> {
        if self.shape.has_key {
            vec![self.ids[&record.sentinel].to_string()]
        } else {
            vec![format!("remarks={}", record.sentinel)]
        }
    }

    fn wrong_placements(&self) -> Vec<Placement> {
        wrong_tables(self.shape)
    }
}
