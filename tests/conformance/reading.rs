//! The cases of reading out: everything of one tenant, whole, and nothing of anybody else. It owns what must come of it.

use std::collections::BTreeSet;

use retentiond::plan::{Selection, TenantScope, Times};
use retentiond::stores::{Body, Budget, ErrorKind, Field, Key, Position, Query, Reader, StoreError, Value};

use super::cases::Suite;
use super::fixture::{Record, due, query, scope, selection, tenant};

/// Texts of a field, also those inside of it.
fn texts(field: &Field, into: &mut String) {
    match field {
        Field::Null => {}
        Field::Int(number) => into.push_str(&format!("{number}\n")),
        Field::Number(text) | Field::Text(text) | Field::Json(text) => into.push_str(&format!("{text}\n")),
        Field::Bytes(bytes) => into.push_str(&format!("{}\n", String::from_utf8_lossy(bytes))),
        Field::List(fields) => fields.iter().for_each(|field| texts(field, into)),
    }
}

fn broken() -> StoreError {
    panic!("the stream broke off")
}

async fn bytes_of(mut body: Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next(broken).await.unwrap() {
        bytes.extend(piece);
    }
    bytes
}

/// One record that was read, in words.
struct Seen {
    text: String,
    body: Option<Vec<u8>>,
}

async fn read_all(reader: &dyn Reader, query: &Query, records_max: u64) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut keys = BTreeSet::new();
    let mut after: Option<Position> = None;
    let budget = Budget { records_max, window_keys: 1_000 };
    while let Some(read) = reader.read(query, after.as_ref(), budget).await.unwrap() {
        assert!(read.records.len() as u64 <= records_max, "a batch keeps to its budget");
        assert_ne!(after.as_ref(), Some(&read.position), "the position moves on");
        for record in read.records {
            assert!(keys.insert(record.key.clone()), "each record is read once");
            let own = &query.selection.tenants;
            assert!(own.covers(&record.tenant), "{} is not of {own:?}", record.tenant);
            let mut text = String::new();
            record.fields.iter().for_each(|(_, field)| texts(field, &mut text));
            let body = if record.has_body {
                match reader.body(&query.placement, &record.tenant, &record.key).await.unwrap() {
                    Some(body) => Some(bytes_of(body).await),
                    None => None,
                }
            } else {
                None
            };
            seen.push(Seen { text, body });
        }
        after = Some(read.position);
        assert!(seen.len() < 10_000, "it ends");
    }
    seen
}

impl Suite<'_> {
    pub(crate) async fn everything_of_a_tenant_is_read_out_whole(&self) {
        let (bench, records) = self.filled().await;
        let reader = bench.reader().await;
        let before = bench.dump().await;
        type Belongs = fn(&Record) -> bool;
        let asked: [(&str, Selection, Belongs); 3] = [
            ("t-1", selection(TenantScope::One(tenant("t-1")), vec![], vec![]), |r| r.tenant == Some("t-1")),
            (
                "any time of a neighbour",
                selection(TenantScope::One(tenant("T-1")), vec![scope(None, Times::Any)], vec![]),
                |r| r.tenant == Some("T-1"),
            ),
            (
                "due of t-10",
                selection(TenantScope::One(tenant("t-10")), vec![scope(None, due())], vec![]),
                |r| r.tenant == Some("t-10") && r.is_due,
            ),
        ];
        for (title, selection, belongs) in asked {
            let query = query(self.shape.placement(), selection);
            for records_max in [1, 3, 1_000] {
                let context = format!("{} {:?}: {title} by {records_max}", self.kind, self.shape);
                let mut seen = read_all(&*reader, &query, records_max).await;
                for record in &records {
                    // A file in memory holds its path; a bucket with versions also has objects that a plain read misses.
                    let is_path = ["memory", "s3"].contains(&self.kind) && !self.shape.is_table;
                    let mark = if is_path {
                        bench.typed_key(record).await.concat()
                    } else {
                        record.sentinel.clone()
                    };
                    let body_of =
                        |seen: &Seen| seen.body.as_deref().map(String::from_utf8_lossy).map(String::from);
                    let has = |seen: &Seen| {
                        let body = body_of(seen).unwrap_or_default();
                        if is_path {
                            return seen.text.lines().any(|line| line == mark) || body == mark;
                        }
                        seen.text.contains(&mark) || body.contains(&mark)
                    };
                    let count = seen.iter().filter(|seen| has(seen)).count();
                    assert_eq!(count, usize::from(belongs(record)), "{context}: {}", record.sentinel);
                    if self.shape.names_subjects() && count == 1 {
                        let text = &seen.iter().find(|seen| has(seen)).unwrap().text;
                        assert!(text.contains(&self.shape.phone(record.caller)), "{context}: {text}");
                    }
                    if self.kind == "s3" && count == 1 {
                        let body = body_of(seen.iter().find(|seen| has(seen)).unwrap());
                        let is_deleted = self.shape.has_index && record.name.starts_with("gap");
                        assert_eq!(body, (!is_deleted).then(|| record.sentinel.clone()), "{context}");
                    }
                    seen.retain(|seen| !has(seen));
                }
                assert_eq!(seen.len(), 0, "{context}: nothing else is read");
            }
        }
        assert_eq!(bench.dump().await, before, "reading changes nothing");
    }

    pub(crate) async fn bytes_are_read_only_where_the_place_proves_the_tenant(&self) {
        let (bench, records) = self.filled().await;
        let reader = bench.reader().await;
        let placement = self.shape.placement();
        let record = records.iter().find(|record| record.tenant == Some("t-1")).unwrap();
        let path = bench.typed_key(record).await.concat();
        let key = Key(vec![Value::Text(path.clone())]);
        if self.shape.is_table || self.shape.is_index || self.shape.is_keys {
            let error = reader.body(&placement, &tenant("t-1"), &key).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unresolved, "{} {:?}", self.kind, self.shape);
            return;
        }
        assert!(reader.body(&placement, &tenant("t-1"), &key).await.unwrap().is_some());
        let missing = Key(vec![Value::Text(format!("{path}-not-there"))]);
        assert!(reader.body(&placement, &tenant("t-1"), &missing).await.unwrap().is_none());
        for neighbour in ["t-10", "T-1", "t-1x"] {
            assert!(reader.body(&placement, &tenant(neighbour), &key).await.is_err(), "{neighbour}");
        }
        for wrong in ["ivr/t-1/../t-10/x", "/etc/passwd", "ivr/t-1"] {
            let key = Key(vec![Value::Text(wrong.to_owned())]);
            assert!(!matches!(reader.body(&placement, &tenant("t-1"), &key).await, Ok(Some(_))), "{wrong}");
        }
    }
}
