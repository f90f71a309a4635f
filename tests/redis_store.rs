//! What only the Redis store does: odd keys, types, faults of servers and of the way to them, clusters, sentinels.
//! It owns these stories; what all stores have in common is in the conformance suite.

mod cluster;
mod faults;
mod findings;
mod keys;
mod proxy;
mod story;
mod types;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use redis::{Connection, Value as Reply};
use retentiond::id::{PlacementId, StoreId, TenantId};
use retentiond::plan::{Interval, Scope, Selection, TenantScope, Times};
use retentiond::policy::{
    EpochUnit, EventTime, Placement, Records, Role, SubjectFormat, SubjectSource, TenantSource,
};
use retentiond::stores::redis::{RedisReader, RedisStore};
use retentiond::stores::{
    Batch, Budget, ErrorKind, Found, Listed, Query, Reader, Retry, Store, StoreError, Value,
};

use crate::servers::redis::{config, connect, everything, send};

const WIDE: Budget = Budget { records_max: 64_000, window_keys: 1 };

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn id() -> StoreId {
    StoreId::new("cache")
}

fn tenant(name: &str) -> TenantId {
    TenantId::observed(name).unwrap()
}

/// Keys of a template without an event time.
fn named(template: &str) -> Placement {
    let subjects = SubjectSource { columns: vec!["id".into()], format: SubjectFormat::AsIs };
    Placement {
        name: PlacementId::new("agents"),
        store: id(),
        role: Role::Cache,
        records: Some(Records::Keys(template.into())),
        tenant: TenantSource::Template,
        event_time: None,
        subjects: BTreeMap::from([("agent".into(), subjects)]),
        plausible_from: NaiveDate::from_ymd_opt(2000, 1, 1).unwrap(),
        accept_level: None,
        rotation: None,
    }
}

/// Hashes with a time in seconds.
fn timed(template: &str) -> Placement {
    let time = EventTime::Epoch { column: "at".into(), unit: EpochUnit::Seconds };
    Placement { event_time: Some(time), ..named(template) }
}

fn query(placement: Placement, tenants: TenantScope, times: Times) -> Query {
    let within = vec![Scope { subjects: None, times }];
    Query {
        selection: Selection {
            placement: placement.name.clone(),
            tenants,
            within,
            except: vec![],
            parts: vec![],
        },
        placement: Arc::new(placement),
        time_zone: Tz::UTC,
        subjects: BTreeMap::new(),
        now: at("2026-01-15T04:00:00Z"),
        also: Vec::new(),
        naming: None,
    }
}

fn all_of(template: &str, name: &str) -> Query {
    query(named(template), TenantScope::One(tenant(name)), Times::Any)
}

/// Everything of a tenant that happened before 2025.
fn old_of(template: &str, name: &str) -> Query {
    let until = Interval { from: at("2000-01-01T00:00:00Z"), to: at("2025-01-01T00:00:00Z") };
    query(timed(template), TenantScope::One(tenant(name)), Times::Within(vec![until]))
}

async fn store(url: &str) -> RedisStore {
    RedisStore::open(&id(), &config(url)).await.unwrap()
}

async fn reader(url: &str) -> RedisReader {
    RedisReader::open(&id(), &config(url)).await.unwrap()
}

async fn marked(url: &str) -> RedisStore {
    let store = store(url).await;
    store.mark("ledger-1", &id()).await.unwrap();
    store
}

/// All that is found, in batches of this size.
async fn found(reader: &dyn Reader, query: &Query, records_max: u64) -> Vec<Listed> {
    let mut all = Vec::new();
    let mut position = None;
    while let Some(Found { batch, position: next }) =
        reader.find(query, position.as_ref(), Budget { records_max, window_keys: 1 }, &[]).await.unwrap()
    {
        let Batch::List(listed) = batch else { panic!("keys are listed") };
        all.extend(listed);
        position = Some(next);
    }
    all
}

/// The bytes of the key that names a record.
fn bytes_of(listed: &Listed) -> Vec<u8> {
    match listed.key.0.as_slice() {
        [Value::Text(text)] => text.clone().into_bytes(),
        [Value::Bytes(bytes)] => bytes.clone(),
        other => panic!("no key of Redis: {other:?}"),
    }
}

/// The names of all keys, the marker left out.
fn names(url: &str) -> Vec<Vec<u8>> {
    everything(&mut connect(url)).into_iter().map(|(key, _)| key).collect()
}

fn set(connection: &mut Connection, key: &[u8]) {
    let reply: Reply = redis::cmd("SET").arg(key).arg("value").query(connection).unwrap();
    assert_eq!(reply, Reply::Okay);
}

fn put_old(connection: &mut Connection, key: &str) {
    send(connection, &["HSET", key, "at", "1700000000", "name", "Ann"]);
}

fn listed(name: &str, key: &str) -> Listed {
    let key = retentiond::stores::Key(vec![Value::Text(key.into())]);
    Listed { tenant: tenant(name), key, names: BTreeMap::new(), stamp: String::new() }
}

fn fails<T>(result: Result<T, StoreError>, kind: ErrorKind, retry: Retry) -> StoreError {
    match result {
        Ok(_) => panic!("it worked, and should have failed as {kind:?}"),
        Err(error) => {
            assert_eq!((error.kind, error.retry), (kind, retry), "{error}");
            error
        }
    }
}
