//! Which indices a placement means, by their own names, and what each can be asked. It owns that a pattern becomes names
//! before anything is asked or erased; the predicate is not here.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::client::{Body, Call, Session, groups};
use super::mapping::{Fault, Fields, SubjectField};
use crate::policy::{Placement, Records};
use crate::stores::{ErrorKind, Query, StoreError};

/// The index with the marker. It is hidden, and never one of a placement's.
pub(super) const MARKER: &str = "retentiond-marker";

/// Documents in one answer: some hundred bytes each, since only the fields that matter are asked for.
const PAGE_MAX: u64 = 5_000;

/// What a pattern means now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resolution {
    /// Concrete names, sorted.
    pub(super) names: Vec<String>,
    /// Indices that fit the pattern and are left out since they are hidden.
    pub(super) hidden: Vec<String>,
    /// Indices that fit the pattern and are closed, so that nobody can tell what is in them.
    pub(super) closed: Vec<String>,
}

/// An index of a placement.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) shards: u64,
    /// The most documents that one page may hold.
    pub(super) page_max: u64,
    pub(super) fields: Fields,
}

/// The pattern of a placement.
///
/// # Errors
/// Where it has none: the records of a `found_by` placement are known by the rows that name them.
pub(super) fn pattern_of<'p>(session: &Session<'_>, placement: &'p Placement) -> Result<&'p str, StoreError> {
    match &placement.records {
        Some(Records::Index(pattern)) => Ok(pattern),
        Some(Records::FoundBy { .. }) => {
            let message = "its documents are known only by the rows that name them";
            Err(session.error(ErrorKind::Unresolved, message))
        }
        Some(Records::Table { .. } | Records::Prefix(_) | Records::Keys(_)) | None => Err(session.error(
            ErrorKind::Schema,
            "a search cluster holds documents only: give it an `index` or `found_by`",
        )),
    }
}

/// What a pattern means; a pattern that means nothing is an error and never zero documents.
pub(super) async fn resolve(session: &Session<'_>, pattern: &str) -> Result<Resolution, StoreError> {
    let answer = session.ask(Call::Resolve(pattern), Body::None).await?;
    let mut names = BTreeSet::new();
    let mut resolution = Resolution::default();
    for index in list(&answer["indices"]) {
        let name = text(session, &index["name"])?;
        let is = |what: &str| list(&index["attributes"]).iter().any(|attribute| attribute == what);
        if name == MARKER || name.starts_with('.') || is("system") {
            continue;
        }
        // Named exactly, a hidden index is meant.
        if is("hidden") && name != pattern {
            resolution.hidden.push(name.to_owned());
        } else if is("closed") {
            resolution.closed.push(name.to_owned());
        } else {
            names.insert(name.to_owned());
        }
    }
    for stream in list(&answer["data_streams"]) {
        let backing = &stream["backing_indices"];
        for name in list(backing).iter().chain(backing.is_string().then_some(backing)) {
            names.insert(text(session, name)?.to_owned());
        }
    }
    for alias in list(&answer["aliases"]) {
        let alias_name = text(session, &alias["name"])?;
        require_whole(session, alias_name).await?;
        for name in list(&alias["indices"]) {
            let name = text(session, name)?;
            if name == MARKER || name.starts_with('.') && !names.contains(name) {
                let message = format!("the alias `{alias_name}` leads to an internal index");
                return Err(session.error(ErrorKind::Schema, message));
            }
            if !resolution.closed.iter().any(|closed| closed == name) {
                names.insert(name.to_owned());
            }
        }
    }
    resolution.names = names.into_iter().collect();
    if resolution.names.is_empty() && resolution.closed.is_empty() {
        let message = format!("no index is there for `{pattern}`: create it, or correct the pattern");
        return Err(session.error(ErrorKind::Schema, message));
    }
    Ok(resolution)
}

/// An alias with a filter means fewer documents than its indices hold, which a concrete name would not say.
async fn require_whole(session: &Session<'_>, alias: &str) -> Result<(), StoreError> {
    let answer = session.ask(Call::Alias(alias), Body::None).await?;
    let is_cut = answer.as_object().into_iter().flat_map(Map::values).any(|index| {
        let alias = &index["aliases"][alias];
        !alias["filter"].is_null() || !alias["search_routing"].is_null()
    });
    if is_cut {
        let message = format!("the alias `{alias}` has a filter or a routing: name the index itself");
        return Err(session.error(ErrorKind::Schema, message));
    }
    Ok(())
}

/// Every index of a placement, with its fields; where one of them does not fit the policy, that is an error.
pub(super) async fn indices(session: &Session<'_>, placement: &Placement) -> Result<Vec<Index>, StoreError> {
    let resolution = resolve(session, pattern_of(session, placement)?).await?;
    if let Some(closed) = resolution.closed.first() {
        let message = format!("the index `{closed}` is closed: open it, or leave it out of the pattern");
        return Err(session.error(ErrorKind::Unreachable, message));
    }
    let mappings = mappings(session, &resolution.names).await?;
    let settings = settings(session, &resolution.names).await?;
    let mut indices = Vec::with_capacity(resolution.names.len());
    for name in resolution.names {
        let (mapping, settings) = (&mappings[&name]["mappings"], &settings[&name]["settings"]);
        let fields = Fields::read(placement, mapping).map_err(|faults| schema(session, &name, &faults))?;
        let number = |key: &str| settings[key].as_str().and_then(|text| text.parse::<u64>().ok());
        let shards = number("index.number_of_shards").filter(|shards| *shards > 0).ok_or_else(|| {
            session.error(ErrorKind::Unreachable, format!("the index `{name}` does not say its shards"))
        })?;
        let page_max = number("index.max_result_window").unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        indices.push(Index { name, shards, page_max, fields });
    }
    if let Some(field) = unknown_subject(indices.iter().map(|index| &index.fields)) {
        let message = format!("the field `{field}` is mapped in none of its indices");
        return Err(session.error(ErrorKind::Schema, message));
    }
    Ok(indices)
}

/// Those indices of a query's placement that the query asks for.
pub(super) async fn queried(session: &Session<'_>, query: &Query) -> Result<Vec<Index>, StoreError> {
    let mut indices = indices(session, &query.placement).await?;
    let parts = &query.selection.parts;
    indices.retain(|index| parts.is_empty() || parts.contains(&index.name));
    Ok(indices)
}

/// A subject field that no index has, where any has a field at all.
pub(super) fn unknown_subject<'f>(fields: impl Iterator<Item = &'f Fields>) -> Option<String> {
    let written: Vec<&Fields> = fields.filter(|fields| !fields.is_bare).collect();
    let names = written.first()?.subjects.keys();
    let is_absent =
        |fields: &&Fields, name| matches!(fields.subjects.get(name), Some(SubjectField::Absent(_)));
    names.into_iter().find(|name| written.iter().all(|fields| is_absent(fields, *name))).cloned()
}

fn schema(session: &Session<'_>, index: &str, faults: &[Fault]) -> StoreError {
    let what = faults.first().map(|fault| fault.message.as_str()).unwrap_or_default();
    session.error(ErrorKind::Schema, format!("in index `{index}` {what}"))
}

/// The mappings of concrete indices, by name.
pub(super) async fn mappings(session: &Session<'_>, names: &[String]) -> Result<Value, StoreError> {
    let mut all = Map::new();
    for group in groups(names.iter().map(String::as_str)) {
        merge(&mut all, session.ask(Call::Mapping(&group), Body::None).await?);
    }
    Ok(Value::Object(all))
}

/// The settings of concrete indices, by name and then by flat key.
pub(super) async fn settings(session: &Session<'_>, names: &[String]) -> Result<Value, StoreError> {
    let mut all = Map::new();
    for group in groups(names.iter().map(String::as_str)) {
        merge(&mut all, session.ask(Call::Settings(&group), Body::None).await?);
    }
    Ok(Value::Object(all))
}

fn merge(all: &mut Map<String, Value>, answer: Value) {
    if let Value::Object(answer) = answer {
        all.extend(answer);
    }
}

/// Makes searchable what was written to these indices: without it a deleted document is still found, and a new one not.
pub(super) async fn refresh<'n>(
    session: &Session<'_>,
    names: impl IntoIterator<Item = &'n str>,
) -> Result<(), StoreError> {
    for group in groups(names) {
        // A refresh would wait a minute for a shard that has no place. Who may not ask waits.
        let health = session.send(Call::Health(&group), Body::None).await?;
        if health.status == 200 && health.body["status"] == "red" {
            return Err(session.later("a shard of an index has no place, so that nobody knows what is in it"));
        }
        let answer = session.ask(Call::Refresh(&group), Body::None).await?;
        if answer["_shards"]["failed"].as_u64() != Some(0) {
            return Err(session.later("a shard could not be refreshed"));
        }
    }
    Ok(())
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(session: &Session<'_>, value: &'v Value) -> Result<&'v str, StoreError> {
    value
        .as_str()
        .ok_or_else(|| session.error(ErrorKind::Unreachable, "an index without a name was answered"))
}
