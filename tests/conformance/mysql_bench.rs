//! The stanza of the `MySQL` and `MariaDB` store.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use retentiond::id::StoreId;
use retentiond::policy::Placement;
use retentiond::stores::mysql::{MysqlReader, MysqlStore};
use retentiond::stores::{Reader, Store};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::fixture::{Bench, Record, Shape, Time, When, ZONE, now};
use super::sqlite_bench::{Stored, stored_time, wrong_tables};
use crate::servers::mariadb::Database;

const COLUMNS: [&str; 8] =
    ["id", "tenant_id", "started_at", "caller", "callee", "group", "recording_key", "remarks"];

pub(crate) struct MysqlBench {
    shape: Shape,
    database: Database,
    ids: BTreeMap<String, i64>,
}

impl MysqlBench {
    pub(crate) async fn new(shape: Shape) -> Self {
        let database = Database::new().await;
        let time = match shape.time {
            Time::Seconds => "INT UNSIGNED",
            Time::Milliseconds => "BIGINT",
            // A default of its own would be set to the present by every update.
            Time::Timestamp => "TIMESTAMP NULL DEFAULT NULL",
            Time::Wall => "DATETIME",
            Time::Text | Time::IsoText | Time::Key | Time::Modified | Time::None => "VARCHAR(40)",
        };
        let key = if shape.has_key { ", PRIMARY KEY (id)" } else { "" };
        // Case and accents are folded and trailing spaces padded, as most applications have it.
        let table = shape.table_name();
        database
            .run(&format!(
                "CREATE TABLE `{table}` (id BIGINT NOT NULL{key}, tenant_id VARCHAR(40) NULL, started_at {time}, \
                 caller VARCHAR(40), callee VARCHAR(40), `group` VARCHAR(10), recording_key VARCHAR(200), \
                 remarks VARCHAR(200)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
            ))
            .await;
        if shape.has_index {
            let index = format!("CREATE INDEX by_time ON `{table}` (tenant_id, started_at)");
            database.run(&format!("{index}; CREATE INDEX by_remarks ON `{table}` (remarks)")).await;
        }
        Self { shape, database, ids: BTreeMap::new() }
    }
}

/// An event time as a column of this store's own types holds it; the others as in every table.
fn stored(shape: Shape, when: When) -> Stored {
    match (shape.time, when) {
        (Time::Wall, When::Unreadable) => Stored::Text("2023-00-00 00:00:00".into()),
        // A column of instants holds nothing else that is none.
        (Time::Timestamp, When::Unreadable | When::NoSuchDay) => Stored::Text("0000-00-00 00:00:00".into()),
        (Time::Timestamp, When::At(at)) => Stored::Text(at.format("%Y-%m-%d %H:%M:%S").to_string()),
        (Time::Wall, When::At(at)) => {
            Stored::Text(at.with_timezone(&ZONE).format("%Y-%m-%d %H:%M:%S").to_string())
        }
        _ => stored_time(shape, when),
    }
}

#[async_trait]
impl Bench for MysqlBench {
    async fn seed(&mut self, records: &[Record]) {
        let mut connection = self.database.connect().await;
        sqlx::raw_sql("SET SESSION sql_mode = 'ALLOW_INVALID_DATES'").execute(&mut connection).await.unwrap();
        let insert = format!("INSERT INTO `{}` VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self.shape.table_name());
        let mut transaction = connection.begin().await.unwrap();
        for (index, record) in (0_i64..).zip(records) {
            // Gaps in the keys, and where none is declared also the same one twice.
            let id = if self.shape.has_key { index * 3 - 5 } else { index / 2 };
            self.ids.insert(record.sentinel.clone(), id);
            let query = sqlx::query(AssertSqlSafe(insert.clone())).bind(id).bind(record.tenant);
            let query = match stored(self.shape, record.when) {
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
    }

    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(MysqlStore::open(&StoreId::new("store"), &self.database.url()).await.unwrap())
    }

    async fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(MysqlReader::open(&StoreId::new("store"), &self.database.url()).await.unwrap())
    }

    async fn dump(&self) -> BTreeMap<String, String> {
        let mut connection = self.database.connect().await;
        let whole = COLUMNS.map(|column| format!("IFNULL(HEX(`{column}`), 'NULL')")).join(", ");
        let select = format!(
            "SELECT CAST(remarks AS BINARY), CAST(CONCAT_WS('|', {whole}) AS BINARY) FROM `{}`",
            self.shape.table_name()
        );
        let rows = sqlx::query(AssertSqlSafe(select)).fetch_all(&mut connection).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        rows.iter().map(|row| (text(row.get(0)), text(row.get(1)))).collect()
    }

    async fn renew(&mut self, record: &Record) {
        let mut connection = self.database.connect().await;
        let update = format!(
            "UPDATE `{}` SET started_at = ? WHERE remarks = ? COLLATE utf8mb4_bin",
            self.shape.table_name()
        );
        let query = sqlx::query(AssertSqlSafe(update));
        let query = match stored(self.shape, When::At(now())) {
            Stored::Null => query.bind(None::<String>),
            Stored::Int(number) => query.bind(number),
            Stored::Text(text) => query.bind(text),
        };
        let done = query.bind(record.sentinel.clone()).execute(&mut connection).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
    }

    async fn watch(&mut self) {}

    async fn holds_bytes(&mut self, _sentinel: &str) -> Option<bool> {
        // Undo and redo logs and the binary log keep them for a time; nothing is claimed about them.
        None
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
