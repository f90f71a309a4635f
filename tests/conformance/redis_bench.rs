//! The stanza of the Redis store.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use retentiond::id::StoreId;
use retentiond::policy::{EventTime, Placement, Records, TenantSource};
use retentiond::stores::redis::{RedisReader, RedisStore};
use retentiond::stores::{Reader, Store};

use super::fixture::{Bench, Record, Shape, Time, When, now};
use super::sqlite_bench::{Stored, stored_time};
use crate::servers::redis::{config, connect, database, everything, send};

pub(crate) struct RedisBench {
    shape: Shape,
    url: String,
    sentinels: BTreeMap<Vec<u8>, String>,
}

impl RedisBench {
    pub(crate) async fn new(shape: Shape) -> Self {
        let url = tokio::task::spawn_blocking(database).await.unwrap();
        Self { shape, url, sentinels: BTreeMap::new() }
    }

    fn key(&self, record: &Record) -> String {
        let (tenant, group, name) = (record.tenant.unwrap(), record.agent, record.name);
        if self.shape.time == Time::None {
            let (caller, callee) = (self.shape.phone(record.caller), self.shape.phone(record.callee));
            return format!("agent:{tenant}:{group}:{caller}:{callee}:{name}");
        }
        format!("agent:{tenant}:{group}:{name}")
    }
}

#[async_trait]
impl Bench for RedisBench {
    async fn seed(&mut self, records: &[Record]) {
        let mut connection = connect(&self.url);
        // Keys beside the placement's, which nobody may touch.
        for stranger in ["agent:t-1", "agent:t-1:A7:old:x:y:z", "Agent:t-1:A7:old", "other"] {
            send(&mut connection, &["SET", stranger, stranger]);
            self.sentinels.insert(stranger.into(), String::new());
        }
        for (turn, record) in records.iter().enumerate() {
            let key = self.key(record);
            let sentinel = record.sentinel.as_str();
            match (self.shape.time, turn % 6) {
                (Time::None, 0) => drop(send(&mut connection, &["SET", &key, sentinel])),
                (Time::None, 1) => drop(send(&mut connection, &["RPUSH", &key, sentinel, "", sentinel])),
                (Time::None, 2) => drop(send(&mut connection, &["SADD", &key, sentinel, "1", "2"])),
                (Time::None, 3) => drop(send(&mut connection, &["ZADD", &key, "1.5", sentinel, "2", "b"])),
                (Time::None, 4) => {
                    send(&mut connection, &["XADD", &key, "*", "remarks", sentinel, "more", "x"]);
                    send(&mut connection, &["XADD", &key, "*", "remarks", sentinel]);
                }
                _ => {
                    let (caller, callee) = (self.shape.phone(record.caller), self.shape.phone(record.callee));
                    let words = ["HSET", &key, "caller", &caller, "callee", &callee, "remarks", sentinel];
                    send(&mut connection, &words);
                }
            }
            let time = match stored_time(self.shape, record.when) {
                Stored::Null => None,
                Stored::Int(number) => Some(number.to_string()),
                Stored::Text(text) => Some(text),
            };
            if let Some(time) = time.filter(|_| self.shape.time != Time::None) {
                send(&mut connection, &["HSET", &key, "started_at", &time]);
            }
            self.sentinels.insert(key.into_bytes(), record.sentinel.clone());
        }
    }

    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(RedisStore::open(&StoreId::new("store"), &config(&self.url)).await.unwrap())
    }

    async fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(RedisReader::open(&StoreId::new("store"), &config(&self.url)).await.unwrap())
    }

    async fn dump(&self) -> BTreeMap<String, String> {
        let mut strangers = 0;
        let mut dump = BTreeMap::new();
        for (key, value) in everything(&mut connect(&self.url)) {
            match self.sentinels[&key].as_str() {
                "" => strangers += 1,
                sentinel => {
                    dump.insert(sentinel.to_owned(), format!("{key:?} {value:?}"));
                }
            }
        }
        assert_eq!(strangers, 4, "keys that fit no template are nobody's");
        dump
    }

    async fn renew(&mut self, record: &Record) {
        let time = match stored_time(self.shape, When::At(now())) {
            Stored::Null => panic!("it has a time"),
            Stored::Int(number) => number.to_string(),
            Stored::Text(text) => text,
        };
        send(&mut connect(&self.url), &["HSET", &self.key(record), "started_at", &time]);
    }

    async fn watch(&mut self) {}

    async fn holds_bytes(&mut self, _sentinel: &str) -> Option<bool> {
        None
    }

    async fn typed_key(&self, record: &Record) -> Vec<String> {
        vec![self.key(record)]
    }

    fn wrong_placements(&self) -> Vec<Placement> {
        let right = self.shape.placement();
        let table = Records::Table { table: "call_record".into(), key: Vec::new() };
        let keys = |template: &str| Some(Records::Keys(template.into()));
        vec![
            Placement { records: Some(table), ..right.clone() },
            Placement { records: Some(Records::Prefix("ivr/{tenant}/".into())), ..right.clone() },
            Placement { records: keys("agent:{name}"), ..right.clone() },
            Placement { records: keys("{tenant}:{name}"), ..right.clone() },
            Placement { records: keys("agent:{tenant}{name}"), ..right.clone() },
            Placement { records: keys("agent:{tenant"), ..right.clone() },
            Placement { records: None, ..right.clone() },
            Placement { tenant: TenantSource::Column("tenant_id".into()), ..right.clone() },
            Placement { event_time: Some(EventTime::Modified), ..right.clone() },
            Placement { event_time: Some(EventTime::Key("agent:{tenant}".into())), ..right },
        ]
    }
}
