//! The object store against real servers: versions, markers, uploads, locks, strange keys, and answers that lie.

mod faults;
mod findings;
mod keys;
mod locks;
mod through_the_binary;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use retentiond::id::{PlacementId, StoreId, TenantId};
use retentiond::plan::{Counts, Scope, Selection, TenantScope, Times};
use retentiond::policy::{EventTime, Method, Placement, Records, Role, TenantSource};
use retentiond::stores::s3::{S3Reader, S3Store};
use retentiond::stores::{Batch, Budget, Erased, Key, Listed, Query, Reader, Store, Survival, Value};

use crate::servers::objects::Objects;

const ZONE: Tz = Tz::Asia__Singapore;
const WIDE: Budget = Budget { records_max: 1_000, window_keys: 1 };

fn tenant(name: &str) -> TenantId {
    TenantId::observed(name).unwrap()
}

fn now() -> DateTime<Utc> {
    retentiond::clock::Clock::System.now()
}

fn placement(prefix: &str, event_time: Option<EventTime>) -> Placement {
    Placement {
        name: PlacementId::new("audio"),
        store: StoreId::new("store"),
        role: Role::Primary,
        records: Some(Records::Prefix(prefix.into())),
        tenant: TenantSource::Template,
        event_time,
        subjects: BTreeMap::new(),
        plausible_from: NaiveDate::from_ymd_opt(2000, 1, 1).unwrap(),
        accept_level: None,
        rotation: None,
    }
}

fn found_by(prefix: &str) -> Placement {
    let records = Records::FoundBy {
        placement: PlacementId::new("rows"),
        column: "recording_key".into(),
        prefix: prefix.into(),
    };
    Placement { records: Some(records), ..placement(prefix, None) }
}

fn query(placement: Placement, tenants: TenantScope, times: Times) -> Query {
    let selection = Selection {
        placement: placement.name.clone(),
        tenants,
        within: vec![Scope { subjects: None, times }],
        except: Vec::new(),
        parts: vec![],
    };
    Query {
        placement: Arc::new(placement),
        time_zone: ZONE,
        selection,
        subjects: BTreeMap::new(),
        now: now(),
        also: Vec::new(),
        naming: None,
    }
}

/// Everything of a tenant.
fn all_of(placement: Placement, name: &str) -> Query {
    query(placement, TenantScope::One(tenant(name)), Times::Any)
}

async fn store(objects: &Objects) -> S3Store {
    S3Store::open(&StoreId::new("store"), &objects.config()).await.unwrap()
}

async fn marked(objects: &Objects) -> S3Store {
    let store = store(objects).await;
    store.mark("ledger-1", &StoreId::new("store")).await.unwrap();
    store
}

async fn reader(objects: &Objects) -> S3Reader {
    S3Reader::open(&StoreId::new("store"), &objects.config()).await.unwrap()
}

async fn batches(reader: &dyn Reader, query: &Query, budget: Budget) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut after = None;
    while let Some(found) = reader.find(query, after.as_ref(), budget, &[]).await.unwrap() {
        after = Some(found.position);
        batches.push(found.batch);
        assert!(batches.len() < 10_000);
    }
    batches
}

/// The one batch of a query.
async fn batch(reader: &dyn Reader, query: &Query) -> Batch {
    let mut all = batches(reader, query, WIDE).await;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn names(batch: &Batch) -> Vec<String> {
    let Batch::List(listed) = batch else { panic!("a list") };
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    listed.iter().map(|listed| listed.key.0.first().map(text).unwrap()).collect()
}

/// Objects as rows name them.
fn named(name: &str, keys: &[&str]) -> Batch {
    let listed = keys.iter().map(|key| Listed {
        tenant: tenant(name),
        key: Key(vec![Value::Text((*key).to_owned())]),
        names: BTreeMap::new(),
        stamp: String::new(),
    });
    Batch::List(listed.collect())
}

fn counts(erased: &Erased, name: &str) -> Counts {
    erased.counts.get(&tenant(name)).copied().unwrap_or_default()
}

fn failures(erased: &Erased) -> Vec<String> {
    let failed = erased.survivors.iter().filter_map(|survivor| match &survivor.why {
        Survival::Failed(why) => Some(why.clone()),
        Survival::Changed => None,
    });
    failed.collect()
}

/// All records of a tenant go, and a look on another connection agrees.
async fn erases_all(objects: &Objects, placement: Placement, name: &str, method: Method) -> u64 {
    let query = all_of(placement, name);
    let (store, reader) = (store(objects).await, reader(objects).await);
    let counted = reader.survey(&query).await.unwrap().total().records;
    let mut erased = 0;
    for batch in batches(&reader, &query, WIDE).await {
        let done = store.erase(&query, &batch, method).await.unwrap();
        assert_eq!(done.survivors, []);
        assert_eq!(counts(&done, name).erased, batch.records());
        erased += batch.records();
        let still = reader.absent(&query, &batch).await.unwrap();
        assert_eq!(still.indexes, Vec::<usize>::new());
    }
    assert_eq!(erased, counted, "what was found is what was counted");
    assert_eq!(reader.survey(&query).await.unwrap().total().records, 0);
    erased
}

fn days_ago(days: i64) -> DateTime<Utc> {
    now() - TimeDelta::days(days)
}
