//! The `MySQL` and `MariaDB` store against a real server: what it selects, what it erases, what it refuses.

mod effort;
mod faults;
mod schemas;
mod story;
mod times;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use retentiond::facts::Survey;
use retentiond::id::{PlacementId, StoreId, TenantId};
use retentiond::plan::{Interval, Scope, Selection, TenantScope, Times};
use retentiond::policy::{EventTime, Method, Placement, Records, Role, TenantSource};
use retentiond::stores::event_time;
use retentiond::stores::mysql::{MysqlReader, MysqlStore};
use retentiond::stores::{Budget, Found, Query, Reader, Store};
use sqlx::{AssertSqlSafe, Row as _};

use crate::servers::mariadb::Database;

const SINGAPORE: Tz = Tz::Asia__Singapore;
const WIDE: Budget = Budget { records_max: 1_000, window_keys: 64_000 };

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-01-15T04:00:00Z")
}

fn tenant(name: &str) -> TenantId {
    TenantId::observed(name).unwrap()
}

fn id() -> StoreId {
    StoreId::new("calls")
}

async fn with(script: &str) -> Database {
    let database = Database::new().await;
    database.run(script).await;
    database
}

async fn store(database: &Database) -> MysqlStore {
    MysqlStore::open(&id(), &database.url()).await.unwrap()
}

async fn reader(database: &Database) -> MysqlReader {
    MysqlReader::open(&id(), &database.url()).await.unwrap()
}

/// Rows of a one-column query, each as text.
async fn texts(database: &Database, sql: &str) -> Vec<String> {
    let mut connection = database.connect().await;
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
    let text =
        |bytes: Option<Vec<u8>>| bytes.map_or("NULL".into(), |bytes| String::from_utf8(bytes).unwrap());
    rows.iter().map(|row| text(row.get_unchecked(0))).collect()
}

async fn ids(database: &Database) -> Vec<String> {
    texts(database, "SELECT CAST(id AS CHAR) FROM call_record ORDER BY id").await
}

fn local_time(column: &str, time_zone: Tz) -> Option<EventTime> {
    Some(EventTime::Text { column: column.into(), format: event_time::DEFAULT_FORMAT.into(), time_zone })
}

fn placement(table: &str, key: &[&str], event_time: Option<EventTime>) -> Placement {
    Placement {
        name: PlacementId::new("call-records"),
        store: id(),
        role: Role::Primary,
        records: Some(Records::Table {
            table: table.into(),
            key: key.iter().map(|column| (*column).to_owned()).collect(),
        }),
        tenant: TenantSource::Column("tenant_id".into()),
        event_time,
        subjects: BTreeMap::new(),
        plausible_from: "2000-01-01".parse().unwrap(),
        accept_level: None,
        rotation: None,
    }
}

fn calls() -> Placement {
    placement("call_record", &["id"], local_time("started_at", SINGAPORE))
}

fn query(placement: Placement, tenants: TenantScope, times: Times) -> Query {
    Query {
        placement: Arc::new(placement),
        time_zone: SINGAPORE,
        selection: Selection {
            placement: PlacementId::new("call-records"),
            tenants,
            within: vec![Scope { subjects: None, times }],
            except: vec![],
        },
        subjects: BTreeMap::new(),
        now: now(),
        naming: None,
        also: vec![],
    }
}

fn before(instant: &str) -> Times {
    Times::Within(vec![Interval { from: DateTime::<Utc>::MIN_UTC, to: at(instant) }])
}

fn everyone() -> TenantScope {
    TenantScope::AllExcept(vec![])
}

fn of(name: &str) -> TenantScope {
    TenantScope::One(tenant(name))
}

fn counted(survey: &Survey) -> BTreeMap<String, u64> {
    survey.tenants.iter().map(|(tenant, tally)| (tenant.to_string(), tally.records)).collect()
}

fn map<const N: usize>(entries: [(&str, u64); N]) -> BTreeMap<String, u64> {
    entries.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// Finds and erases until nothing is left, reading each batch back; counts per tenant.
async fn erase_all(
    store: &MysqlStore,
    query: &Query,
    budget: Budget,
    method: Method,
) -> BTreeMap<String, u64> {
    let mut erased = BTreeMap::new();
    let mut after = None;
    while let Some(Found { batch, position }) = store.find(query, after.as_ref(), budget, &[]).await.unwrap()
    {
        assert!(batch.records() >= 1 && batch.records() <= budget.records_max, "{batch:?}");
        let outcome = store.erase(query, &batch, method).await.unwrap();
        assert!(outcome.survivors.is_empty());
        for (tenant, counts) in outcome.counts {
            assert_eq!((counts.already_absent, counts.changed, counts.failed), (0, 0, 0));
            *erased.entry(tenant.to_string()).or_default() += counts.erased;
        }
        let still = store.absent(query, &batch).await.unwrap();
        assert!(still.tenants.is_empty() && still.indexes.is_empty(), "{still:?}");
        after = Some(position);
    }
    erased
}

const CALLS: &str = "
    CREATE TABLE call_record (id BIGINT PRIMARY KEY, tenant_id VARCHAR(40), started_at DATETIME(6) NULL, caller VARCHAR(40),
        KEY by_time (tenant_id, started_at)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
    INSERT INTO call_record VALUES
      (1, 't-1',  '2025-01-01 00:00:00', '+6591'),
      (2, 't-10', '2025-01-01 00:00:00', '+6591'),
      (3, 'T-1',  '2025-01-01 00:00:00', '+6591'),
      (4, 't-1x', '2025-01-01 00:00:00', '+6591'),
      (5, 't-1 ', '2025-01-01 00:00:00', '+6591'),
      (6, 't-\u{ed}', '2025-01-01 00:00:00', '+6591'),
      (7, NULL,   '2025-01-01 00:00:00', '+6591'),
      (8, ' ',    '2025-01-01 00:00:00', '+6591'),
      (9, 't-1',  NULL, '+6591'),
      (10, 't-1', '2025-06-01 08:00:00', '+6591'),
      (11, 't-1', '2025-06-01 07:59:59.999999', '+6591'),
      (12, 't-1', '2027-01-01 00:00:00', '+6591');";
