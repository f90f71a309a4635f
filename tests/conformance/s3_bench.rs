//! The stanza of the object store, on `SeaweedFS`. A shape "with index" is a versioned bucket, where every record has
//! two versions and some end in a delete marker; one "without key" has its time in the objects' metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::types::BucketVersioningStatus;
use futures_util::future::join_all;
use retentiond::id::StoreId;
use retentiond::policy::{EpochUnit, EventTime, Placement, Records, TenantSource};
use retentiond::stores::s3::{S3Reader, S3Store};
use retentiond::stores::{Reader, Store};
use tokio::sync::{Mutex, OnceCell};

use super::files_bench::path_of;
use super::fixture::{Bench, Record, Shape, Time, When, now};
use super::sqlite_bench::{Stored, stored_time};
use crate::servers::objects::Objects;
use crate::servers::seaweedfs;

/// A bucket takes room on the server, so each shape has one, emptied for every case.
static BUCKETS: OnceCell<Mutex<BTreeMap<String, Objects>>> = OnceCell::const_new();

pub(crate) struct S3Bench {
    shape: Shape,
    objects: Objects,
    sentinels: BTreeMap<String, String>,
}

/// What the metadata of a record say of its time.
fn label(shape: Shape, record: &Record) -> Option<(&'static str, String)> {
    let text = match stored_time(shape, record.when) {
        Stored::Text(text) => text,
        Stored::Null | Stored::Int(_) => return None,
    };
    Some(("started-at", text))
}

impl S3Bench {
    pub(crate) async fn new(shape: Shape) -> Self {
        let buckets = BUCKETS.get_or_init(|| async { Mutex::new(BTreeMap::new()) }).await;
        let mut buckets = buckets.lock().await;
        let name = format!("{shape:?}");
        let objects = match buckets.get(&name) {
            Some(objects) => {
                objects.clear().await;
                objects.clone()
            }
            None => {
                let objects = Objects::new(&seaweedfs::endpoint(), "conformance").await;
                if shape.has_index {
                    objects.version(BucketVersioningStatus::Enabled).await;
                }
                buckets.insert(name, objects.clone());
                objects
            }
        };
        Self { shape, objects, sentinels: BTreeMap::new() }
    }

    async fn put(&self, key: &str, record: &Record) {
        let metadata = if self.shape.is_labelled() { label(self.shape, record) } else { None };
        if self.shape.has_index {
            self.objects.put(key, b"an earlier version").await;
        }
        self.objects.put_with(key, record.sentinel.as_bytes(), metadata).await;
        if self.shape.has_index && record.name.starts_with("gap") {
            self.objects.delete(key).await;
        }
    }
}

#[async_trait]
impl Bench for S3Bench {
    async fn seed(&mut self, records: &[Record]) {
        let shape = self.shape;
        let path = |record| path_of(shape, record);
        let bench = &*self;
        for some in records.chunks(16) {
            join_all(some.iter().map(|record| async move { bench.put(&path(record), record).await })).await;
        }
        self.sentinels.extend(records.iter().map(|record| (path(record), record.sentinel.clone())));
    }

    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(S3Store::open(&StoreId::new("store"), &self.objects.config()).await.unwrap())
    }

    async fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(S3Reader::open(&StoreId::new("store"), &self.objects.config()).await.unwrap())
    }

    async fn dump(&self) -> BTreeMap<String, String> {
        let mut dump: BTreeMap<String, String> = BTreeMap::new();
        for (key, version, is_marker) in self.objects.all().await {
            let all = dump.entry(self.sentinels[&key].clone()).or_default();
            all.push_str(&format!("{key} {version} {is_marker};"));
        }
        dump
    }

    async fn renew(&mut self, record: &Record) {
        let renewed = Record { when: When::At(now()), ..record.clone() };
        let (old, new) = (path_of(self.shape, record), path_of(self.shape, &renewed));
        self.put(&new, &renewed).await;
        if self.shape.time == Time::Key {
            // A date in a key changes by copying; whoever moves an object takes its old versions away.
            for (key, version, _) in self.objects.all().await {
                if key == old {
                    let delete = self.objects.client.delete_object().bucket(&self.objects.name).key(&old);
                    delete.version_id(version).send().await.unwrap();
                }
            }
        }
        self.sentinels.insert(new, record.sentinel.clone());
    }

    async fn watch(&mut self) {}

    /// What a server keeps of deleted bytes cannot be seen through its interface.
    async fn holds_bytes(&mut self, _sentinel: &str) -> Option<bool> {
        None
    }

    async fn typed_key(&self, record: &Record) -> Vec<String> {
        vec![path_of(self.shape, record)]
    }

    fn wrong_placements(&self) -> Vec<Placement> {
        let placement = self.shape.placement();
        let table = Records::Table { table: "call_record".into(), key: Vec::new() };
        let epoch = EventTime::Epoch { column: "started_at".into(), unit: EpochUnit::Seconds };
        vec![
            Placement { records: Some(table), ..placement.clone() },
            Placement { records: Some(Records::Prefix("ivr/".into())), ..placement.clone() },
            Placement { records: Some(Records::Prefix("ivr/{tenant}".into())), ..placement.clone() },
            Placement { records: None, ..placement.clone() },
            Placement { tenant: TenantSource::Column("tenant_id".into()), ..placement.clone() },
            Placement { event_time: Some(epoch), ..placement },
        ]
    }
}
