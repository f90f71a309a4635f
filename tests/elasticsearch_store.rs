//! What only a search cluster can do to us, on a real node: versions, routings, aliases, mappings, shards that do not
//! answer. What all stores have in common is in the conformance suite.

mod center;
mod faults;
mod fields;
mod gateway;
mod names;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use retentiond::id::{PlacementId, StoreId, TenantId};
use retentiond::plan::{Counts, Interval, Scope, Selection, TenantScope, Times};
use retentiond::policy::{EventTime, Placement, Records, Role, SubjectFormat, SubjectSource, TenantSource};
use retentiond::stores::elasticsearch::{ElasticsearchStore, Entrance};
use retentiond::stores::{Batch, Budget, Erased, Listed, Query, Reader as _};
use serde_json::{Value, json};

use crate::harness::instant;
use crate::servers::opensearch::{self, done};

const MANY: Budget = Budget { records_max: 10_000, window_keys: 1 };

async fn store() -> ElasticsearchStore {
    store_at(&opensearch::url().await).await
}

async fn store_at(url: &str) -> ElasticsearchStore {
    let entrance = Entrance { url, user: None, ca_file: None };
    ElasticsearchStore::open(&StoreId::new("logs"), entrance).await.unwrap()
}

/// One index with these fields beside the ordinary ones; a field given again replaces the ordinary one.
async fn make_index(name: &str, shards: u64, fields: Value) {
    let mut properties = json!({
        "tenant_id": { "type": "keyword" },
        "@timestamp": { "type": "date" },
        "caller": { "type": "keyword" },
        "agent_id": { "type": "keyword" },
    });
    properties.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let body = json!({
        "settings": { "number_of_shards": shards, "number_of_replicas": 0 },
        "mappings": { "properties": properties },
    });
    done("PUT", &format!("/{name}"), body).await;
}

fn log(tenant: &str, at: &str) -> Value {
    json!({ "tenant_id": tenant, "@timestamp": at, "caller": "+6590000001", "note": "secret" })
}

fn placement(pattern: &str) -> Placement {
    let columns = |names: &[&str]| SubjectSource {
        columns: names.iter().map(|&name| name.to_owned()).collect(),
        format: SubjectFormat::AsIs,
    };
    Placement {
        name: PlacementId::new("logs"),
        store: StoreId::new("logs"),
        role: Role::Primary,
        records: Some(Records::Index(pattern.into())),
        tenant: TenantSource::Column("tenant_id".into()),
        event_time: Some(EventTime::Text {
            column: "@timestamp".into(),
            format: "%Y-%m-%d %H:%M:%S".into(),
            time_zone: Tz::UTC,
        }),
        subjects: BTreeMap::from([
            ("phone".into(), columns(&["caller"])),
            ("agent".into(), columns(&["agent_id"])),
        ]),
        plausible_from: NaiveDate::from_ymd_opt(2000, 1, 1).unwrap(),
        accept_level: None,
        rotation: None,
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::observed(name).unwrap()
}

fn query(placement: Placement, tenants: TenantScope, times: Times) -> Query {
    Query {
        selection: Selection {
            placement: placement.name.clone(),
            tenants,
            within: vec![Scope { subjects: None, times }],
            except: vec![],
            parts: vec![],
        },
        placement: Arc::new(placement),
        time_zone: Tz::Asia__Singapore,
        subjects: BTreeMap::new(),
        now: instant("2026-01-15T04:00:00Z"),
        also: Vec::new(),
        naming: None,
    }
}

fn all_of(pattern: &str, name: &str) -> Query {
    query(placement(pattern), TenantScope::One(tenant(name)), Times::Any)
}

fn before(at: &str) -> Times {
    let from: DateTime<Utc> = instant("2000-01-01T00:00:00Z");
    Times::Within(vec![Interval { from, to: instant(at) }])
}

/// The one batch of a query.
async fn batch(store: &ElasticsearchStore, query: &Query) -> Batch {
    store.find(query, None, MANY, &[]).await.unwrap().expect("something is found").batch
}

fn listed(batch: &Batch) -> &[Listed] {
    let Batch::List(listed) = batch else { panic!("documents are listed") };
    listed
}

fn counts(erased: &Erased) -> Counts {
    let mut sum = Counts::default();
    for counts in erased.counts.values() {
        sum.erased += counts.erased;
        sum.already_absent += counts.already_absent;
        sum.changed += counts.changed;
        sum.failed += counts.failed;
    }
    sum
}

fn four(erased: u64, already_absent: u64, changed: u64, failed: u64) -> Counts {
    Counts { erased, already_absent, changed, failed, ..Counts::default() }
}

/// The ids that are left in a pattern.
async fn ids(pattern: &str) -> Vec<String> {
    opensearch::all(pattern).await.into_iter().map(|(_, id, ..)| id).collect()
}
