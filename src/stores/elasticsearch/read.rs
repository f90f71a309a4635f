//! Reads documents out, letter by letter as they were written. It owns how an answer becomes records; which documents come
//! next is `find`'s.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::client::{Body as Ask, Call, Session};
use super::document::Name;
use super::documents::{Known, name_of_locator};
use super::find::{by_ids, find};
use super::indices::refresh;
use crate::id::TenantId;
use crate::policy::template::proves;
use crate::policy::{Placement, Records};
use crate::stores::{
    Batch, Body, Budget, ErrorKind, Field, Key, Listed, Position, Query, Read, Record, StoreError,
    Value as KeyValue,
};

/// Documents asked for at once, whole: one may be large.
const WHOLE_MAX: u64 = 100;

/// One answer to a get of many.
#[derive(Deserialize)]
struct Answers<'a> {
    #[serde(borrow)]
    docs: Vec<Got<'a>>,
}

#[derive(Deserialize)]
struct Got<'a> {
    #[serde(default)]
    found: bool,
    #[serde(default)]
    error: Option<Value>,
    #[serde(borrow, rename = "_source")]
    source: Option<&'a RawValue>,
}

/// The next documents.
pub(super) async fn read(
    session: &Session<'_>,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
) -> Result<Option<Read>, StoreError> {
    let budget = Budget { records_max: budget.records_max.min(WHOLE_MAX), ..budget };
    let Some(found) = find(session, query, after, budget).await? else { return Ok(None) };
    let known = Known::of(session, query).await?;
    let listed = match found.batch {
        Batch::List(listed) => listed,
        Batch::Window { .. } => Vec::new(),
    };
    let mut names = Vec::with_capacity(listed.len());
    for listed in &listed {
        names.push(known.name(listed).map_err(|why| session.error(ErrorKind::Unresolved, why))?);
    }
    let asked: Vec<Value> = names.iter().map(asked_for).collect();
    let bytes = session.ask_bytes(Call::MultiGet, Ask::Json(json!({ "docs": asked }))).await?;
    let answers: Answers<'_> =
        serde_json::from_slice(&bytes).map_err(|_| session.later("the answer cannot be read"))?;
    if answers.docs.len() != names.len() {
        return Err(session.later("not every document was answered for"));
    }
    let mut records = Vec::new();
    for ((listed, name), got) in listed.into_iter().zip(names).zip(answers.docs) {
        records.extend(record(session, &known, listed, name, &got)?);
    }
    Ok(Some(Read { records, position: found.position }))
}

fn asked_for(name: &Name) -> Value {
    let mut asked = json!({ "_index": name.index, "_id": name.id, "_source": true });
    if let Some(routing) = &name.routing {
        asked["routing"] = json!(routing);
    }
    asked
}

/// The record of a document; `None` where it is gone, or is not meant any more.
fn record(
    session: &Session<'_>,
    known: &Known<'_>,
    listed: Listed,
    name: Name,
    got: &Got<'_>,
) -> Result<Option<Record>, StoreError> {
    match &got.error {
        Some(error) if error["type"] == "index_not_found_exception" => return Ok(None),
        Some(error) => return Err(session.refusal_of(503, error)),
        None => {}
    }
    if !got.found {
        return Ok(None);
    }
    let Some(source) = got.source else {
        return Err(session.error(ErrorKind::Schema, "documents of the index do not keep what was written"));
    };
    let judged: Value =
        serde_json::from_str(source.get()).map_err(|_| session.later("a document cannot be read"))?;
    if !known.matches(&listed, &name.index, &judged) {
        return Ok(None);
    }
    let text = |name: &str, value: String| (name.to_owned(), Field::Text(value));
    let mut fields = vec![text("index", name.index), text("id", name.id)];
    fields.push(("routing".to_owned(), name.routing.map_or(Field::Null, Field::Text)));
    fields.push(("source".to_owned(), Field::Json(source.get().to_owned())));
    Ok(Some(Record { tenant: listed.tenant, key: listed.key, fields, has_body: false }))
}

/// A document that a row names, as its bytes.
pub(super) async fn body(
    session: &Session<'_>,
    placement: &Placement,
    tenant: &TenantId,
    key: &Key,
) -> Result<Option<Body>, StoreError> {
    let Some(Records::FoundBy { prefix, .. }) = &placement.records else {
        return Err(session.error(ErrorKind::Unresolved, "documents have no bytes beside their fields"));
    };
    let [KeyValue::Text(locator)] = key.0.as_slice() else { return Ok(None) };
    if !proves(prefix, tenant, locator) {
        return Err(session.error(ErrorKind::Refused, "it lies outside the prefix of its tenant"));
    }
    let Some(name) = name_of_locator(locator) else { return Ok(None) };
    let answer = session.send(Call::Settings(&name.index), Ask::None).await?;
    match answer.status {
        200 => {}
        404 => return Ok(None),
        _ => return Err(session.refusal(&answer)),
    }
    refresh(session, [name.index.as_str()]).await?;
    // In whatever shard it lies, its routing with it.
    let mut names: Vec<Name> =
        by_ids(session, &name.index, &[&name.id], &json!(false)).await?.iter().filter_map(Name::of).collect();
    let Some(name) = names.pop() else { return Ok(None) };
    let asked = json!({ "docs": [asked_for(&name)] });
    let bytes = session.ask_bytes(Call::MultiGet, Ask::Json(asked)).await?;
    let answers: Answers<'_> =
        serde_json::from_slice(&bytes).map_err(|_| session.later("the answer cannot be read"))?;
    let source = answers.docs.first().filter(|got| got.found).and_then(|got| got.source);
    Ok(source.map(|source| Body::of(source.get().as_bytes().to_vec())))
}
