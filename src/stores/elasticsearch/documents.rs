//! Documents by name: as they are this instant, and as a search still finds them. It owns the read-back; what is done with
//! a document is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::client::{Body, Call, Session};
use super::document::{Name, Selector, Version, names_in};
use super::find::{answers, by_ids, names_now, selector};
use super::indices::{Index, MARKER, queried, refresh};
use super::mapping::Fields;
use crate::policy::template::{proves, tenant_of};
use crate::policy::{Placement, Records, TenantSource};
use crate::stores::{Batch, ErrorKind, Listed, Query, Seen, SeenTime, StillThere, StoreError};

/// Documents asked for at once: names and a few short fields of each.
pub(super) const GET_MAX: usize = 1_000;

/// How the documents of a batch are known.
pub(super) enum Known<'q> {
    /// By a pattern, and judged by their own text.
    Selected { indices: BTreeMap<String, Index>, selector: Selector<'q> },
    /// By a row that names each, whose tenant the name proves.
    Named { prefix: &'q str },
}

/// One document as it is now.
#[derive(Debug)]
pub(super) enum State {
    /// It is not there.
    Absent,
    /// It is there, and the query means it or not.
    There { version: Version, matches: bool, source: Value },
    /// Something else is there under its name.
    Other,
}

impl<'q> Known<'q> {
    /// Makes ready to tell about documents of a query; asks the cluster which indices its pattern means now.
    pub(super) async fn of(session: &Session<'_>, query: &'q Query) -> Result<Self, StoreError> {
        if let Some(Records::FoundBy { prefix, .. }) = &query.placement.records {
            // Its selection is about the rows that name the documents; they were asked when the list was made.
            require_prefix(session, &query.placement, prefix)?;
            return Ok(Self::Named { prefix });
        }
        let selector = selector(session, query)?;
        let indices = queried(session, query).await?;
        let indices = indices.into_iter().map(|index| (index.name.clone(), index)).collect();
        Ok(Self::Selected { indices, selector })
    }

    /// The document that a listed record means; an error text where it may not be touched.
    pub(super) fn name(&self, listed: &Listed) -> Result<Name, &'static str> {
        match self {
            Self::Selected { .. } => Name::of_key(&listed.key).ok_or("its key names no document"),
            Self::Named { prefix } => {
                let [crate::stores::Value::Text(locator)] = listed.key.0.as_slice() else {
                    return Err("its key names no document");
                };
                if !proves(prefix, &listed.tenant, locator) {
                    return Err("it lies outside the prefix of its tenant");
                }
                name_of_locator(locator).ok_or("its name is not INDEX/ID of an ordinary index")
            }
        }
    }

    /// The parts of documents in an index that are needed to judge them.
    fn paths(&self, index: &str) -> Value {
        match self {
            Self::Selected { indices, .. } => {
                indices.get(index).map_or(json!(false), |index| json!(index.fields.paths()))
            }
            Self::Named { .. } => json!(false),
        }
    }

    /// True where the pattern still means this index.
    pub(super) fn covers(&self, index: &str) -> bool {
        match self {
            Self::Selected { indices, .. } => indices.contains_key(index),
            Self::Named { .. } => true,
        }
    }

    /// True where the query means this document of this tenant.
    pub(super) fn matches(&self, listed: &Listed, index: &str, source: &Value) -> bool {
        match self {
            Self::Named { .. } => true,
            Self::Selected { indices, selector } => indices.get(index).is_some_and(|index| {
                let said = selector.said(&index.fields, source);
                said.tenant.as_ref() == Some(&listed.tenant) && selector.matches(&index.fields, source, &said)
            }),
        }
    }

    /// The fields of an index.
    pub(super) fn fields(&self, index: &str) -> Option<&Fields> {
        match self {
            Self::Selected { indices, .. } => indices.get(index).map(|index| &index.fields),
            Self::Named { .. } => None,
        }
    }

    /// How each of these documents is this instant, refreshed or not; `whole` asks for all of its text.
    pub(super) async fn states(
        &self,
        session: &Session<'_>,
        listed: &[(&Listed, &Name)],
        whole: bool,
    ) -> Result<Vec<State>, StoreError> {
        let mut states = Vec::with_capacity(listed.len());
        for listed in listed.chunks(GET_MAX) {
            let asked: Vec<Value> = listed
                .iter()
                .map(|(_, name)| {
                    let source = if whole { json!(true) } else { self.paths(&name.index) };
                    let mut asked = json!({ "_index": name.index, "_id": name.id, "_source": source });
                    if let Some(routing) = &name.routing {
                        asked["routing"] = json!(routing);
                    }
                    asked
                })
                .collect();
            let answer = session.ask(Call::MultiGet, Body::Json(json!({ "docs": asked }))).await?;
            for ((listed, name), got) in listed.iter().zip(answers(session, &answer["docs"], listed.len())?) {
                states.push(self.state(session, listed, name, got)?);
            }
        }
        Ok(states)
    }

    fn state(
        &self,
        session: &Session<'_>,
        listed: &Listed,
        name: &Name,
        got: &Value,
    ) -> Result<State, StoreError> {
        let error = &got["error"];
        if error["type"] == "index_not_found_exception" {
            return Ok(State::Absent);
        }
        if !error.is_null() {
            let status = match error["type"].as_str() {
                // Without a routing that the index demands it cannot be told where the document lies.
                Some("routing_missing_exception" | "illegal_argument_exception") => 400,
                Some("security_exception") => 403,
                _ => 503,
            };
            return Err(session.refusal_of(status, error));
        }
        match (got["found"].as_bool(), Name::of(got), Version::of(got)) {
            (Some(false), _, _) => Ok(State::Absent),
            // The shard that was asked holds the id under another routing.
            (Some(true), Some(there), _) if there != *name => Ok(State::Other),
            (Some(true), Some(_), Some(version)) => {
                let source = got["_source"].clone();
                let matches = self.matches(listed, &name.index, &source);
                Ok(State::There { version, matches, source })
            }
            _ => Err(session.later("a document was answered for without saying whether it is there")),
        }
    }
}

/// What is still there of a batch: by name this instant, and by a search after a refresh in every shard.
pub(super) async fn absent(
    session: &Session<'_>,
    query: &Query,
    batch: &Batch,
) -> Result<StillThere, StoreError> {
    let Batch::List(listed) = batch else {
        return Err(session.error(ErrorKind::Unresolved, "documents are erased by list, not by window"));
    };
    let known = Known::of(session, query).await?;
    let mut still: BTreeMap<usize, bool> = BTreeMap::new();
    let mut names = Vec::new();
    for (index, listed) in listed.iter().enumerate() {
        match known.name(listed) {
            Ok(name) => names.push((index, listed, name)),
            // Where we cannot see, it counts as still there.
            Err(_) => drop(still.insert(index, true)),
        }
    }
    let asked: Vec<(&Listed, &Name)> = names.iter().map(|(_, listed, name)| (*listed, name)).collect();
    let states = known.states(session, &asked, false).await?;
    for ((index, _, _), state) in names.iter().zip(states) {
        match state {
            State::Absent => {}
            State::There { matches, .. } => drop(still.insert(*index, matches)),
            State::Other => drop(still.insert(*index, false)),
        }
    }
    search_for(session, query, &known, &names, &mut still).await?;
    let mut answer = StillThere::default();
    for (index, belongs) in still {
        answer.indexes.push(index);
        if let (true, Some(listed)) = (belongs, listed.get(index)) {
            *answer.tenants.entry(listed.tenant.clone()).or_default() += 1;
        }
    }
    Ok(answer)
}

/// A record of the list: its place, itself, and the document that it means.
type Asked<'l> = (usize, &'l Listed, Name);

/// Adds what a search finds, index by index. An index that is gone holds nothing; one that cannot be asked is an error.
async fn search_for(
    session: &Session<'_>,
    query: &Query,
    known: &Known<'_>,
    names: &[Asked<'_>],
    still: &mut BTreeMap<usize, bool>,
) -> Result<(), StoreError> {
    let mut by_index: BTreeMap<&str, BTreeMap<&str, Vec<&Asked<'_>>>> = BTreeMap::new();
    for one in names {
        by_index.entry(one.2.index.as_str()).or_default().entry(one.2.id.as_str()).or_default().push(one);
    }
    for (index, by_id) in by_index {
        if !is_there(session, query, known, index).await? {
            continue;
        }
        refresh(session, [index]).await?;
        let ids: Vec<&str> = by_id.keys().copied().collect();
        for hit in by_ids(session, index, &ids, &known.paths(index)).await? {
            let Some(found) = Name::of(&hit) else {
                return Err(session.later("a document without a name was found"));
            };
            for (place, listed, name) in by_id.get(found.id.as_str()).into_iter().flatten() {
                // A name without routing, as rows give it, means the document in whatever shard.
                if *name == found || matches!(known, Known::Named { .. }) {
                    let matches = known.matches(listed, index, &hit["_source"]);
                    let entry = still.entry(*place).or_insert(matches);
                    *entry |= matches;
                }
            }
        }
    }
    Ok(())
}

/// False where an index that a batch names was dropped since. Everything else that keeps us from looking is an error.
pub(super) async fn is_there(
    session: &Session<'_>,
    query: &Query,
    known: &Known<'_>,
    index: &str,
) -> Result<bool, StoreError> {
    let answer = session.send(Call::Settings(index), Body::None).await?;
    match answer.status {
        // An alias answers with the names of its indices.
        200 if answer.body.get(index).is_some() => {}
        200 => {
            let message = format!("`{index}` is no index but another name for some");
            return Err(session.error(ErrorKind::Schema, message));
        }
        404 => return Ok(false),
        _ => return Err(session.refusal(&answer)),
    }
    if !known.covers(index) && names_now(session, &query.placement).await?.iter().all(|name| name != index) {
        let message = format!("the index `{index}` does not belong to the pattern any more");
        return Err(session.error(ErrorKind::Schema, message));
    }
    Ok(true)
}

/// One document by its name: `ID`, `INDEX ID` or `INDEX ID ROUTING`.
pub(super) async fn look(
    session: &Session<'_>,
    query: &Query,
    key: &[String],
) -> Result<Option<Seen>, StoreError> {
    if let Some(Records::FoundBy { prefix, .. }) = &query.placement.records {
        return look_named(session, &query.placement, prefix, key).await;
    }
    let selector = selector(session, query)?;
    let indices = queried(session, query).await?;
    let (within, id, routing) = match key {
        [id] => (None, id, None),
        [index, id] => (Some(index), id, None),
        [index, id, routing] => (Some(index), id, Some(routing)),
        _ => {
            let message = "a document is named by its id, or by index and id, or by index, id and routing";
            return Err(session.error(ErrorKind::Schema, message));
        }
    };
    let mut seen = Vec::new();
    for index in indices.iter().filter(|index| within.is_none_or(|name| *name == index.name)) {
        refresh(session, [index.name.as_str()]).await?;
        for hit in by_ids(session, &index.name, &[id], &json!(index.fields.paths())).await? {
            if routing.is_some_and(|routing| hit["_routing"] != **routing) {
                continue;
            }
            let source = &hit["_source"];
            let said = selector.said(&index.fields, source);
            let subjects = query.placement.subjects.iter().flat_map(|(kind, subject)| {
                let texts = subject.columns.iter().flat_map(|field| names_in(&index.fields, source, field));
                texts.filter(|text| !text.is_empty()).map(|text| (kind.clone(), text))
            });
            let subjects = subjects.collect();
            seen.push(Seen { tenant: said.tenant, event_time: said.time, subjects });
        }
    }
    match seen.len() {
        0 | 1 => Ok(seen.pop()),
        _ => Err(session.error(ErrorKind::Ambiguous, "several documents have this id: name the index too")),
    }
}

async fn look_named(
    session: &Session<'_>,
    placement: &Placement,
    prefix: &str,
    key: &[String],
) -> Result<Option<Seen>, StoreError> {
    let [locator] = key else {
        return Err(session.error(ErrorKind::Schema, "a document that rows name is named by INDEX/ID"));
    };
    require_prefix(session, placement, prefix)?;
    let tenant = match &placement.tenant {
        TenantSource::Constant(constant) => proves(prefix, constant, locator).then(|| constant.clone()),
        TenantSource::Template | TenantSource::Column(_) => tenant_of(prefix, locator),
    };
    let (Some(tenant), Some(name)) = (tenant, name_of_locator(locator)) else { return Ok(None) };
    let answer = session.send(Call::Settings(&name.index), Body::None).await?;
    match answer.status {
        200 if answer.body.get(&name.index).is_some() => {}
        200 | 404 => return Ok(None),
        _ => return Err(session.refusal(&answer)),
    }
    refresh(session, [name.index.as_str()]).await?;
    let found = by_ids(session, &name.index, &[&name.id], &json!(false)).await?;
    let seen = Seen { tenant: Some(tenant), event_time: SeenTime::None, subjects: Vec::new() };
    Ok((!found.is_empty()).then_some(seen))
}

/// The document that a row means by `INDEX/ID`; `None` for anything but one ordinary index, said by its own name.
pub(super) fn name_of_locator(locator: &str) -> Option<Name> {
    let (index, id) = locator.split_once('/')?;
    let is_pattern =
        index.contains(|c: char| "*?,<>|\\\"#:% ".contains(c) || c.is_uppercase() || c.is_control());
    let is_internal = index.starts_with(['.', '_', '-', '+']) || index == MARKER;
    let is_name = !index.is_empty() && !is_pattern && !is_internal && !id.is_empty() && id.len() <= 512;
    is_name.then(|| Name { index: index.to_owned(), id: id.to_owned(), routing: None })
}

/// Fails for a prefix that proves no tenant or no index.
fn require_prefix(session: &Session<'_>, placement: &Placement, prefix: &str) -> Result<(), StoreError> {
    match prefix_fault(placement, prefix) {
        None => Ok(()),
        Some(message) => Err(session.error(ErrorKind::Schema, message)),
    }
}

/// What is wrong with the prefix of a `found_by` placement.
pub(super) fn prefix_fault(placement: &Placement, prefix: &str) -> Option<&'static str> {
    let is_constant = matches!(placement.tenant, TenantSource::Constant(_));
    if !prefix.ends_with('/') {
        Some("the prefix does not end in a separator")
    } else if !is_constant && !prefix.contains(crate::policy::template::TENANT_MARK) {
        Some("the prefix names no tenant")
    } else {
        None
    }
}

/// The indices that a list of documents lies in.
pub(super) fn indices_of<'n>(names: impl IntoIterator<Item = &'n Name>) -> BTreeSet<&'n str> {
    names.into_iter().map(|name| name.index.as_str()).collect()
}
