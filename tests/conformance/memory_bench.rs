//! The stanza of the store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use retentiond::id::StoreId;
use retentiond::policy::Placement;
use retentiond::stores::memory::{Columns, MemoryStore};
use retentiond::stores::{Reader, Store, Value};

use super::files_bench::path_of;
use super::fixture::{Bench, Record, Shape, When, now};
use super::sqlite_bench::{Stored, stored_time, wrong_tables};

pub(crate) struct MemoryBench {
    shape: Shape,
    store: MemoryStore,
    numbers: BTreeMap<String, i64>,
    paths: BTreeMap<String, String>,
}

impl MemoryBench {
    pub(crate) fn new(shape: Shape) -> Self {
        let store = MemoryStore::new(StoreId::new("store"));
        if shape.is_table {
            let columns =
                ["id", "tenant_id", "started_at", "caller", "callee", "group", "recording_key", "remarks"];
            store.create_table(shape.table_name(), &columns);
        }
        Self { shape, store, numbers: BTreeMap::new(), paths: BTreeMap::new() }
    }
}

fn value(stored: Stored) -> Option<Value> {
    match stored {
        Stored::Null => None,
        Stored::Int(number) => Some(Value::Int(number)),
        Stored::Text(text) => Some(Value::Text(text)),
    }
}

fn modified(when: When) -> Option<chrono::DateTime<chrono::Utc>> {
    match when {
        When::At(at) => Some(at),
        When::Zero => chrono::DateTime::from_timestamp(0, 0),
        When::Null | When::Unreadable | When::NoSuchDay => None,
    }
}

#[async_trait]
impl Bench for MemoryBench {
    async fn seed(&mut self, records: &[Record]) {
        for (id, record) in (1..).zip(records) {
            if !self.shape.is_table {
                let path = path_of(self.shape, record);
                self.store.put(&path, modified(record.when));
                self.paths.insert(path, record.sentinel.clone());
                continue;
            }
            let text = |text: &str| Some(Value::Text(text.to_owned()));
            let row: Columns = [
                ("id", Some(Value::Int(id))),
                ("tenant_id", record.tenant.and_then(text)),
                ("started_at", value(stored_time(self.shape, record.when))),
                ("caller", text(&self.shape.phone(record.caller))),
                ("callee", text(&self.shape.phone(record.callee))),
                ("group", text(record.agent)),
                ("recording_key", record.recording.as_deref().and_then(text)),
                ("remarks", text(&record.sentinel)),
            ]
            .map(|(column, value)| (column.to_owned(), value))
            .into();
            let number = self.store.insert(self.shape.table_name(), row);
            self.numbers.insert(record.sentinel.clone(), number);
        }
    }

    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    async fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(self.store.reader())
    }

    async fn dump(&self) -> BTreeMap<String, String> {
        if !self.shape.is_table {
            let files = self.store.files();
            return files
                .iter()
                .map(|(path, at)| (self.paths[path].clone(), format!("{path} {at:?}")))
                .collect();
        }
        let rows = self.store.rows(self.shape.table_name());
        rows.values()
            .map(|row| {
                let Some(Some(Value::Text(sentinel))) = row.get("remarks") else { panic!("it has remarks") };
                (sentinel.clone(), format!("{row:?}"))
            })
            .collect()
    }

    async fn renew(&mut self, record: &Record) {
        if self.shape.is_table {
            let number = self.numbers[&record.sentinel];
            let time = value(stored_time(self.shape, When::At(now())));
            self.store.set(self.shape.table_name(), number, "started_at", time);
        } else if self.shape.time == super::fixture::Time::Modified {
            self.store.put(&path_of(self.shape, record), Some(now()));
        } else {
            // A date in a path changes by moving the file.
            let old = path_of(self.shape, record);
            let new = path_of(self.shape, &Record { when: When::At(now()), ..record.clone() });
            self.store.take(&old);
            self.store.put(&new, None);
            self.paths.insert(new, record.sentinel.clone());
        }
    }

    async fn watch(&mut self) {}

    async fn holds_bytes(&mut self, _sentinel: &str) -> Option<bool> {
        None
    }

    async fn typed_key(&self, record: &Record) -> Vec<String> {
        if !self.shape.is_table {
            vec![path_of(self.shape, record)]
        } else if self.shape.has_key {
            vec![self.numbers[&record.sentinel].to_string()]
        } else {
            vec![format!("remarks={}", record.sentinel)]
        }
    }

    fn wrong_placements(&self) -> Vec<Placement> {
        if self.shape.is_table {
            return wrong_tables(self.shape);
        }
        Vec::new()
    }
}
