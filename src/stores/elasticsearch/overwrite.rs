//! Replaces a document's values by zeros of the same length and reads it again as zeros: evidence per document, no claim
//! about bytes on the disk, where the earlier version stays until segments are merged. It deletes nothing.
//!
//! Tenant and event time stay, as the key of a row does: a try that breaks off between the two writes must leave a document
//! that is found again. Dates, addresses and other typed values that have no zeros are taken out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::client::{Body, Call, Session};
use super::document::{Name, Selector, Version};
use super::documents::Known;
use super::erase::{Written, action, bulk};
use super::find::answers;
use super::indices::mappings;
use super::mapping::{Fields, TenantField, kind_at};
use crate::stores::{ErrorKind, Listed, Query, StoreError};

/// What is needed to overwrite documents of some indices.
pub(super) struct Overwriting {
    mappings: Value,
    /// Fields that stay, by index.
    kept: BTreeMap<String, BTreeSet<String>>,
    /// The query without its subjects, whose values are zeros once a document was overwritten.
    blind: Query,
}

impl Overwriting {
    /// Asks for the mappings of these indices.
    pub(super) async fn of(
        session: &Session<'_>,
        query: &Query,
        indices: BTreeSet<&str>,
    ) -> Result<Self, StoreError> {
        let names: Vec<String> = indices.into_iter().map(str::to_owned).collect();
        let mappings = mappings(session, &names).await?;
        let mut kept = BTreeMap::new();
        for name in names {
            // Documents that rows name have no fields of their own.
            let fields = Fields::read(&query.placement, &mappings[&name]["mappings"]);
            kept.insert(name, fields.map(|fields| kept_of(&fields)).unwrap_or_default());
        }
        let mut blind = query.clone();
        for scope in &mut blind.selection.within {
            scope.subjects = None;
        }
        blind.selection.except.retain(|scope| scope.subjects.is_none());
        Ok(Self { mappings, kept, blind })
    }

    fn zeros(&self, index: &str, source: &Value) -> Value {
        let kept = self.kept.get(index);
        let is_kept = |path: &str| kept.is_some_and(|kept| kept.contains(path));
        zeros(&self.mappings[index]["mappings"], &is_kept, "", source).unwrap_or_else(|| json!({}))
    }

    /// True for zeros that we left ourselves: nothing else is in the document, and tenant and time are still meant.
    pub(super) fn began(&self, known: &Known<'_>, listed: &Listed, name: &Name, source: &Value) -> bool {
        let (Some(fields), Ok(blind)) = (known.fields(&name.index), Selector::new(&self.blind)) else {
            return false;
        };
        let said = blind.said(fields, source);
        has_zeros(source)
            && self.zeros(&name.index, source) == *source
            && said.tenant.as_ref() == Some(&listed.tenant)
            && blind.matches(fields, source, &said)
    }

    /// Overwrites each document at its version and reads it back; a version that comes out reads as zeros.
    pub(super) async fn overwrite(
        &self,
        session: &Session<'_>,
        writes: &[(&Name, Version, &Value)],
    ) -> Result<Vec<Written>, StoreError> {
        let zeroed: Vec<Value> =
            writes.iter().map(|(name, _, source)| self.zeros(&name.index, source)).collect();
        let mut lines = Vec::with_capacity(writes.len() * 2);
        for ((name, version, _), zeros) in writes.iter().zip(&zeroed) {
            lines.extend([action("index", name, *version), zeros.clone()]);
        }
        let mut written = bulk(session, lines, writes.len(), "index").await?;
        let asked: Vec<Value> = writes
            .iter()
            .map(|(name, _, _)| {
                let mut asked = json!({ "_index": name.index, "_id": name.id });
                if let Some(routing) = &name.routing {
                    asked["routing"] = json!(routing);
                }
                asked
            })
            .collect();
        if asked.is_empty() {
            return Ok(written);
        }
        let answer = session.ask(Call::MultiGet, Body::Json(json!({ "docs": asked }))).await?;
        let read_back = answers(session, &answer["docs"], asked.len())?;
        for ((written, zeros), read) in written.iter_mut().zip(&zeroed).zip(read_back) {
            let Written::Done(Some(version)) = written else { continue };
            if Version::of(read) != Some(*version) {
                *written = Written::Conflict;
            } else if read["_source"] != *zeros {
                let message = "a document that was overwritten does not read as zeros";
                *written = Written::Refused(session.error(ErrorKind::Refused, message));
            }
        }
        Ok(written)
    }
}

fn kept_of(fields: &Fields) -> BTreeSet<String> {
    let tenant = match &fields.tenant {
        TenantField::Constant(_) => None,
        TenantField::Keyword(keyword) => Some(keyword.path.clone()),
    };
    tenant.into_iter().chain(fields.time.as_ref().map(|time| time.path.clone())).collect()
}

/// Zeros of the same shape; `None` where there are none, so that the value is taken out. Zeros stay as they are.
fn zeros(mapping: &Value, is_kept: &dyn Fn(&str) -> bool, path: &str, value: &Value) -> Option<Value> {
    if is_kept(path) {
        return Some(value.clone());
    }
    if let Value::Array(items) = value {
        let items: Option<Vec<Value>> =
            items.iter().map(|item| zeros(mapping, is_kept, path, item)).collect();
        return items.map(Value::Array);
    }
    match (kind_at(mapping, path), value) {
        (_, Value::Null) => Some(Value::Null),
        // The same in every document, or part of what the document is to others.
        (Some("constant_keyword" | "join"), value) => Some(value.clone()),
        (Some("boolean"), _) => Some(json!(false)),
        (
            None
            | Some(
                "text" | "keyword" | "wildcard" | "match_only_text" | "search_as_you_type" | "flattened"
                | "flat_object" | "object" | "nested" | "long" | "integer" | "short" | "byte"
                | "unsigned_long" | "double" | "float" | "half_float" | "scaled_float",
            ),
            value,
        ) => Some(match value {
            Value::Object(entries) => Value::Object(
                entries
                    .iter()
                    .filter_map(|(name, child)| {
                        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                        Some((name.clone(), zeros(mapping, is_kept, &path, child)?))
                    })
                    .collect::<Map<_, _>>(),
            ),
            Value::String(text) => json!("0".repeat(text.len())),
            Value::Number(_) => json!(0),
            Value::Bool(_) | Value::Null | Value::Array(_) => json!(false),
        }),
        (Some(_), _) => None,
    }
}

/// True where some text in it is zeros.
fn has_zeros(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty() && text.bytes().all(|byte| byte == b'0'),
        Value::Array(items) => items.iter().any(has_zeros),
        Value::Object(entries) => entries.values().any(has_zeros),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_have_the_same_length_and_shape_and_stay_as_they_are() {
        let mapping = json!({ "properties": {
            "tenant_id": { "type": "keyword" },
            "at": { "type": "date" },
            "seen": { "type": "date" },
            "ip": { "type": "ip" },
            "ok": { "type": "boolean" },
            "who": { "properties": { "name": { "type": "text" }, "age": { "type": "integer" } } },
        }});
        let source = json!({ "tenant_id": "t-1", "at": "2025-01-01T00:00:00Z", "seen": "2025-01-01", "ip": "10.0.0.1",
            "ok": "true", "who": [{ "name": "Ann", "age": 41 }, { "name": null }], "who.name": "Bé", "other": { "x": true } });
        let is_kept = |path: &str| ["tenant_id", "at"].contains(&path);
        let zeroed = zeros(&mapping, &is_kept, "", &source).unwrap();
        let expected = json!({ "tenant_id": "t-1", "at": "2025-01-01T00:00:00Z", "ok": false,
            "who": [{ "name": "000", "age": 0 }, { "name": null }], "who.name": "000", "other": { "x": false } });
        assert_eq!(zeroed, expected);
        assert_eq!(zeros(&mapping, &is_kept, "", &zeroed), Some(expected));
        assert!(has_zeros(&zeroed) && !has_zeros(&source));
    }
}
