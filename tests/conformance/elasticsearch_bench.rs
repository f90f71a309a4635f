//! The stanza of the Elasticsearch store, on a real `OpenSearch` node: an index of two shards and one of one in each shape.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use retentiond::id::StoreId;
use retentiond::policy::{EventTime, Placement, Records, SubjectFormat, SubjectSource, TenantSource};
use retentiond::stores::elasticsearch::{ElasticsearchReader, ElasticsearchStore, Entrance};
use retentiond::stores::{Reader, Store};
use serde_json::{Value, json};

use super::fixture::{Bench, Record, Shape, Time, ZONE, now};
use super::sqlite_bench::{Stored, stored_time};
use crate::servers::opensearch;

pub(crate) struct ElasticsearchBench {
    shape: Shape,
    url: String,
    places: BTreeMap<String, (String, String)>,
}

impl ElasticsearchBench {
    pub(crate) async fn new(shape: Shape) -> Self {
        opensearch::forget_the_marker().await;
        let time = match (shape.time, shape.has_index) {
            (Time::Text, _) => {
                json!({ "type": "date", "format": "yyyy-MM-dd HH:mm:ss", "ignore_malformed": true })
            }
            (Time::IsoText, true) => json!({ "type": "keyword" }),
            (Time::Milliseconds, true) => {
                json!({ "type": "date", "format": "epoch_millis", "ignore_malformed": true })
            }
            (Time::Seconds | Time::Milliseconds, _) => json!({ "type": "long", "ignore_malformed": true }),
            (Time::IsoText | Time::None | Time::Key | Time::Modified | Time::Wall | Time::Timestamp, _) => {
                json!({ "type": "date", "ignore_malformed": true })
            }
        };
        let keyword = json!({ "type": "keyword", "ignore_above": 256 });
        // The way that a cluster maps text by itself.
        let both = json!({ "type": "text", "fields": { "keyword": keyword } });
        let mut mapping = json!({
            "settings": { "number_of_shards": 1, "number_of_replicas": 0, "index.translog.durability": "async" },
            "mappings": { "properties": {
                "tenant_id": keyword, "started_at": time, "caller": keyword, "callee": both, "group": both,
                "note": { "type": "text" },
            }},
        });
        let pattern = shape.pattern();
        for (part, shards) in [("a", 2), ("b", 1)] {
            mapping["settings"]["number_of_shards"] = json!(shards);
            let index = pattern.replace('*', part);
            let (status, answer) = opensearch::request("PUT", &format!("/{index}"), Some(&mapping)).await;
            let is_there = answer["error"]["type"] == "resource_already_exists_exception";
            assert!(status == 200 || is_there, "{answer}");
        }
        let all = json!({ "query": { "match_all": {} } });
        opensearch::done("POST", &format!("/{pattern}/_delete_by_query?refresh=true"), all).await;
        Self { shape, url: opensearch::url().await, places: BTreeMap::new() }
    }

    fn entrance(&self) -> Entrance<'_> {
        Entrance { url: &self.url, user: None, ca_file: None }
    }
}

fn time_of(shape: Shape, record: &Record) -> Value {
    match stored_time(shape, record.when) {
        Stored::Null => Value::Null,
        Stored::Int(number) => json!(number),
        Stored::Text(text) => json!(text),
    }
}

#[async_trait]
impl Bench for ElasticsearchBench {
    async fn seed(&mut self, records: &[Record]) {
        let mut documents = Vec::new();
        for (turn, record) in records.iter().enumerate() {
            let mut document = json!({
                "started_at": time_of(self.shape, record),
                "caller": self.shape.phone(record.caller),
                "callee": [self.shape.phone(record.callee)],
                "group": record.agent,
                "note": record.sentinel,
            });
            if let Some(tenant) = record.tenant {
                document["tenant_id"] = json!(tenant);
            } else if turn % 2 == 0 {
                document["tenant_id"] = Value::Null;
            }
            let index = self.shape.pattern().replace('*', if turn % 3 == 0 { "a" } else { "b" });
            let id = format!("{turn} {}", record.name);
            self.places.insert(record.sentinel.clone(), (index, id));
            let routing = if turn % 5 == 0 { "elsewhere" } else { "" };
            documents.push((record.sentinel.clone(), routing, document));
        }
        let documents: Vec<(&str, &str, &str, Value)> = documents
            .iter()
            .map(|(sentinel, routing, document)| {
                let (index, id) = &self.places[sentinel];
                (index.as_str(), id.as_str(), *routing, document.clone())
            })
            .collect();
        opensearch::write(&documents).await;
    }

    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(ElasticsearchStore::open(&StoreId::new("store"), self.entrance()).await.unwrap())
    }

    async fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(ElasticsearchReader::open(&StoreId::new("store"), self.entrance()).await.unwrap())
    }

    async fn dump(&self) -> BTreeMap<String, String> {
        let by_place: BTreeMap<&(String, String), &String> =
            self.places.iter().map(|(sentinel, place)| (place, sentinel)).collect();
        opensearch::all(&self.shape.pattern())
            .await
            .into_iter()
            .map(|(index, id, routing, document)| {
                let text = format!("{index} {id} {routing:?} {document}");
                (by_place[&(index, id)].clone(), text)
            })
            .collect()
    }

    async fn renew(&mut self, record: &Record) {
        let renewed = Record { when: super::fixture::When::At(now()), ..record.clone() };
        let time = time_of(self.shape, &renewed);
        let (index, id) = &self.places[&record.sentinel];
        let all = opensearch::all(index).await;
        let (_, _, routing, mut document) = all.into_iter().find(|(_, found, ..)| found == id).unwrap();
        document["started_at"] = time;
        opensearch::write(&[(index, id, routing.as_deref().unwrap_or(""), document)]).await;
    }

    async fn watch(&mut self) {}

    /// What segments keep until they are merged is not looked into: nothing beyond a delete is claimed.
    async fn holds_bytes(&mut self, _sentinel: &str) -> Option<bool> {
        None
    }

    async fn typed_key(&self, record: &Record) -> Vec<String> {
        let (index, id) = self.places[&record.sentinel].clone();
        vec![index, id]
    }

    fn wrong_placements(&self) -> Vec<Placement> {
        let right = self.shape.placement();
        let field = |field: &str| TenantSource::Column(field.into());
        let time = |column: &str| EventTime::Text {
            column: column.into(),
            format: "%Y-%m-%d %H:%M:%S".into(),
            time_zone: ZONE,
        };
        let subject = |column: &str| {
            let source = SubjectSource { columns: vec![column.into()], format: SubjectFormat::AsIs };
            BTreeMap::from([("phone".into(), source)])
        };
        let index = |pattern: &str| Some(Records::Index(pattern.into()));
        vec![
            Placement { records: index("conformance-missing"), ..right.clone() },
            Placement { records: index("conformance-missing-*"), ..right.clone() },
            Placement { records: index("retentiond-marker"), ..right.clone() },
            Placement { records: Some(Records::Prefix("ivr/{tenant}/".into())), ..right.clone() },
            Placement { records: None, ..right.clone() },
            Placement { tenant: field("no_tenant"), ..right.clone() },
            Placement { tenant: field("note"), ..right.clone() },
            Placement { tenant: TenantSource::Template, ..right.clone() },
            Placement { event_time: Some(time("no_time")), ..right.clone() },
            Placement { event_time: Some(time("note")), ..right.clone() },
            Placement { event_time: Some(EventTime::Modified), ..right.clone() },
            Placement { subjects: subject("nobody"), ..right.clone() },
            Placement { subjects: subject("note"), ..right },
        ]
    }
}
