//! A document in our hands: what its own text says of tenant, time and subjects, and whether a query means it. It owns how
//! a path is read in a document; the rule is the judge's. It fetches nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::mapping::{Fields, TenantField};
use crate::id::TenantId;
use crate::policy::EventTime;
use crate::stores::judge::{Judge, Judged};
use crate::stores::{Key, Query, SeenTime, Value as KeyValue, event_time};

/// What names a document: its index, its id, and the routing that says in which shard it lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) index: String,
    pub(super) id: String,
    pub(super) routing: Option<String>,
}

impl Name {
    /// The name of a hit or of an answer to a get.
    pub(super) fn of(hit: &Value) -> Option<Self> {
        Some(Self {
            index: hit["_index"].as_str()?.to_owned(),
            id: hit["_id"].as_str()?.to_owned(),
            routing: hit["_routing"].as_str().map(str::to_owned),
        })
    }

    /// As a key.
    pub(super) fn key(self) -> Key {
        let parts = [Some(self.index), Some(self.id), self.routing];
        Key(parts.into_iter().flatten().map(KeyValue::Text).collect())
    }

    /// The name in a key; `None` where it is none.
    pub(super) fn of_key(key: &Key) -> Option<Self> {
        let texts: Option<Vec<&String>> = key
            .0
            .iter()
            .map(|part| match part {
                KeyValue::Text(text) => Some(text),
                KeyValue::Int(_) | KeyValue::Bytes(_) => None,
            })
            .collect();
        match texts?.as_slice() {
            [index, id] => Some(Self { index: (*index).clone(), id: (*id).clone(), routing: None }),
            [index, id, routing] => {
                let routing = Some((*routing).clone());
                Some(Self { index: (*index).clone(), id: (*id).clone(), routing })
            }
            _ => None,
        }
    }
}

/// Which version of a document was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) seq_no: i64,
    pub(super) primary_term: i64,
}

impl Version {
    /// The version of a hit; `None` in indices that count none.
    pub(super) fn of(hit: &Value) -> Option<Self> {
        let (seq_no, primary_term) = (hit["_seq_no"].as_i64()?, hit["_primary_term"].as_i64()?);
        (seq_no >= 0 && primary_term > 0).then_some(Self { seq_no, primary_term })
    }

    /// As a stamp.
    pub(super) fn stamp(self) -> String {
        format!("{}:{}", self.seq_no, self.primary_term)
    }
}

/// A query made ready for one document after the other.
#[derive(Debug)]
pub(super) struct Selector<'q> {
    query: &'q Query,
    judge: Judge<'q>,
}

/// What a document says of itself.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) tenant: Option<TenantId>,
    pub(super) time: SeenTime,
    time_text: Option<String>,
}

impl<'q> Selector<'q> {
    /// Fails for a question that documents cannot answer.
    pub(super) fn new(query: &'q Query) -> Result<Self, &'static str> {
        if query.naming.is_some() {
            return Err("documents name no other records");
        }
        Ok(Self { query, judge: Judge::new(query)? })
    }

    /// Tenant and time of a document.
    pub(super) fn said(&self, fields: &Fields, source: &Value) -> Said {
        let tenant = match &fields.tenant {
            TenantField::Constant(tenant) => Some(tenant.clone()),
            TenantField::Keyword(keyword) => only(source, &keyword.path).and_then(|value| {
                // A number or a list is no tenant: whose it is cannot be told.
                value.as_str().and_then(TenantId::observed)
            }),
        };
        let value = fields.time.as_ref().and_then(|time| only(source, &time.path));
        let time_text = value.and_then(Value::as_str).map(str::to_owned);
        let time = match &self.query.placement.event_time {
            None => SeenTime::None,
            Some(EventTime::Text { format, time_zone, .. }) => self
                .judge
                .seen(time_text.as_deref().and_then(|text| event_time::read_text(text, format, *time_zone))),
            Some(EventTime::Epoch { unit, .. }) => self
                .judge
                .seen(value.and_then(Value::as_i64).and_then(|count| event_time::read_epoch(count, *unit))),
            // Refused with the mapping already.
            Some(EventTime::Key(_) | EventTime::Modified) => SeenTime::Unusable,
        };
        Said { tenant, time, time_text }
    }

    /// True where the query means a document.
    pub(super) fn matches(&self, fields: &Fields, source: &Value, said: &Said) -> bool {
        let record = Judged {
            tenant: said.tenant.as_ref(),
            time: said.time,
            time_text: said.time_text.as_deref(),
            text_in: &|_| None,
        };
        self.judge
            .matches_naming(&record, &|_, field, wanted| names_in(fields, source, field).contains(wanted))
    }
}

/// Every text in a field of subjects; numbers and truth values as they are written.
pub(super) fn names_in(fields: &Fields, source: &Value, field: &str) -> BTreeSet<String> {
    let Some(found) = fields.subjects.get(field) else { return BTreeSet::new() };
    values(source, found.path())
        .into_iter()
        .filter_map(|value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        })
        .collect()
}

/// The one value at a path; `None` where there is none, or different ones.
fn only<'s>(source: &'s Value, path: &str) -> Option<&'s Value> {
    let found = values(source, path);
    let (first, rest) = found.split_first()?;
    rest.iter().all(|other| other == first).then_some(*first)
}

/// Every value at a path, however the document nests it: `{"a":{"b":1}}`, `{"a.b":1}`, lists of either.
pub(super) fn values<'s>(source: &'s Value, path: &str) -> Vec<&'s Value> {
    let mut found = Vec::new();
    collect(source, Some(path), &mut found);
    found
}

fn collect<'s>(node: &'s Value, path: Option<&str>, found: &mut Vec<&'s Value>) {
    match (node, path) {
        (Value::Array(items), _) => items.iter().for_each(|item| collect(item, path, found)),
        (Value::Object(entries), Some(path)) => {
            for (name, child) in entries {
                if name == path {
                    collect(child, None, found);
                } else if let Some(below) = path.strip_prefix(name.as_str()).and_then(|b| b.strip_prefix('.'))
                {
                    collect(child, Some(below), found);
                }
            }
        }
        (_, None) => found.push(node),
        (_, Some(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_read_however_the_document_nests_it() {
        for document in [json!({"a": {"b": "x"}}), json!({"a.b": "x"}), json!({"a": [{"b": ["x"]}]})] {
            assert_eq!(only(&document, "a.b"), Some(&json!("x")), "{document}");
        }
        for document in
            [json!({"a": "x"}), json!({"b": "x"}), json!({"a": {"b": ["x", "y"]}}), json!({"ab": "x"})]
        {
            assert_eq!(only(&document, "a.b"), None, "{document}");
        }
        // The same value twice is one value; null beside it is another.
        assert_eq!(only(&json!({"a": ["x", "x"]}), "a"), Some(&json!("x")));
        assert_eq!(only(&json!({"a": ["x", null]}), "a"), None);
    }

    #[test]
    fn a_name_comes_back_out_of_its_key() {
        for routing in [None, Some("r 1".to_owned())] {
            let name = Name { index: "cc-logs".into(), id: "a/b c".into(), routing };
            assert_eq!(Name::of_key(&name.clone().key()), Some(name));
        }
        assert_eq!(Name::of_key(&Key(vec![KeyValue::Int(1)])), None);
    }
}
