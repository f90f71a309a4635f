//! Walking the documents of a placement: index by index, shard by shard, in the order in which they were written, so that
//! a place in the walk is never passed twice and nothing must be kept open between two batches. It changes nothing.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::client::{Body, Call, Session, groups};
use super::document::{Name, Said, Selector, Version};
use super::indices::{Index, indices, list, pattern_of, queried, refresh, resolve};
use super::predicate;
use crate::facts::{Survey, Tally};
use crate::policy::Placement;
use crate::stores::{
    Batch, Budget, ErrorKind, Found, Key, Listed, Position, Query, SeenTime, StoreError, Value as KeyValue,
};

/// Pages are not smaller than this even where a batch needs fewer: not each document that is found is meant.
const PAGE_MIN: u64 = 500;

/// Counts the selection.
pub(super) async fn survey(session: &Session<'_>, query: &Query) -> Result<Survey, StoreError> {
    let selector = selector(session, query)?;
    let mut walk = Walk::begin(session, query, &selector, None, u64::MAX).await?;
    let mut survey = Survey::default();
    while let Some(met) = walk.next().await? {
        let at = match met.said.time {
            SeenTime::Usable(at) => Some(at),
            SeenTime::None | SeenTime::Unusable => None,
        };
        match met.said.tenant {
            Some(tenant) => {
                survey.tenants.entry(tenant).or_default().add(&Tally { records: 1, oldest: at, newest: at });
            }
            None => survey.nameless += 1,
        }
    }
    Ok(survey)
}

/// Counts everything, up to a number.
pub(super) async fn population(
    session: &Session<'_>,
    placement: &Placement,
    at_most: u64,
) -> Result<u64, StoreError> {
    // The mapping is looked at as well: a count of documents that nobody could judge helps nobody.
    let indices = indices(session, placement).await?;
    let names = || indices.iter().map(|index| index.name.as_str());
    refresh(session, names()).await?;
    let mut documents = 0_u64;
    for group in groups(names()) {
        let answer = session.ask(Call::Count(&group), Body::None).await?;
        if answer["_shards"]["failed"].as_u64() != Some(0) {
            return Err(session.later("a shard did not count its documents"));
        }
        let count = answer["count"].as_u64();
        documents = documents.saturating_add(count.ok_or_else(|| session.later("a count was not answered"))?);
    }
    Ok(documents.min(at_most))
}

/// The next batch.
pub(super) async fn find(
    session: &Session<'_>,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
) -> Result<Option<Found>, StoreError> {
    let selector = selector(session, query)?;
    let after = match after {
        None => None,
        Some(position) => Some(Place::of(&position.0).ok_or_else(|| {
            session.error(ErrorKind::Unresolved, "the position is not a place in an index")
        })?),
    };
    let most = budget.records_max.max(1);
    let mut walk = Walk::begin(session, query, &selector, after, most).await?;
    let mut listed = Vec::new();
    let mut position = None;
    while (listed.len() as u64) < most {
        let Some(met) = walk.next().await? else { break };
        // Records without a tenant are only ever counted.
        let Some(tenant) = met.said.tenant else { continue };
        position = Some(met.place);
        let stamp = met.version.stamp();
        listed.push(Listed { tenant, key: met.name.key(), names: BTreeMap::new(), stamp });
    }
    Ok(position.map(|place| Found { batch: Batch::List(listed), position: Position(place.key()) }))
}

/// The query made ready, or the reason why it cannot be answered.
pub(super) fn selector<'q>(session: &Session<'_>, query: &'q Query) -> Result<Selector<'q>, StoreError> {
    Selector::new(query).map_err(|why| session.error(ErrorKind::Unresolved, why))
}

/// A place in the walk: behind the write of this number in this shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    index: String,
    shard: u64,
    seq_no: i64,
}

impl Place {
    fn of(key: &Key) -> Option<Self> {
        match key.0.as_slice() {
            [KeyValue::Text(index), KeyValue::Int(shard), KeyValue::Int(seq_no)] => {
                Some(Self { index: index.clone(), shard: u64::try_from(*shard).ok()?, seq_no: *seq_no })
            }
            _ => None,
        }
    }

    fn key(self) -> Key {
        let shard = i64::try_from(self.shard).unwrap_or(i64::MAX);
        Key(vec![KeyValue::Text(self.index), KeyValue::Int(shard), KeyValue::Int(self.seq_no)])
    }
}

/// A document of the selection, met on the walk.
struct Met {
    name: Name,
    version: Version,
    place: Place,
    said: Said,
}

struct Walk<'w> {
    session: &'w Session<'w>,
    selector: &'w Selector<'w>,
    indices: Vec<(Index, Value)>,
    /// Which of the indices, which of its shards, and behind which write.
    at: (usize, u64, Option<i64>),
    wanted: u64,
    page: VecDeque<Met>,
}

impl<'w> Walk<'w> {
    async fn begin(
        session: &'w Session<'w>,
        query: &'w Query,
        selector: &'w Selector<'w>,
        after: Option<Place>,
        wanted: u64,
    ) -> Result<Self, StoreError> {
        let mut targets = Vec::new();
        for index in queried(session, query).await? {
            let question = predicate::at_least(query, &index.fields).map_err(|why| {
                session.error(ErrorKind::Schema, format!("in index `{}` {why}", index.name))
            })?;
            targets.push((index, question));
        }
        if after.is_none() {
            refresh(session, targets.iter().map(|(index, _)| index.name.as_str())).await?;
        }
        let at = match &after {
            None => (0, 0, None),
            Some(place) => {
                let begin = targets.partition_point(|(index, _)| index.name < place.index);
                match targets.get(begin) {
                    Some((index, _)) if index.name == place.index => (begin, place.shard, Some(place.seq_no)),
                    // It was dropped meanwhile; the walk goes on behind it.
                    Some(_) | None => (begin, 0, None),
                }
            }
        };
        Ok(Self { session, selector, indices: targets, at, wanted, page: VecDeque::new() })
    }

    async fn next(&mut self) -> Result<Option<Met>, StoreError> {
        loop {
            if let Some(met) = self.page.pop_front() {
                return Ok(Some(met));
            }
            let (place, shard, behind) = self.at;
            let Some((index, question)) = self.indices.get(place) else { return Ok(None) };
            if shard >= index.shards {
                self.at = (place + 1, 0, None);
                continue;
            }
            let size = self.wanted.max(PAGE_MIN).min(index.page_max);
            let hits = page(self.session, index, question, (shard, behind, size)).await?;
            let full = hits.len() as u64 >= size;
            let mut last = behind;
            for hit in hits {
                let met = read(self.session, self.selector, index, shard, &hit)?;
                if last.is_some_and(|last| met.0.seq_no <= last) {
                    return Err(self.session.later("a page was answered out of order"));
                }
                last = Some(met.0.seq_no);
                self.page.extend(met.1);
            }
            self.at = if full { (place, shard, last) } else { (place, shard + 1, None) };
        }
    }
}

/// One page of a shard. Whatever is missing from it is an error: "nothing" must mean that there is nothing.
async fn page(
    session: &Session<'_>,
    index: &Index,
    question: &Value,
    (shard, behind, size): (u64, Option<i64>, u64),
) -> Result<Vec<Value>, StoreError> {
    let mut body = json!({
        "query": question,
        "size": size,
        "sort": [{ "_seq_no": "asc" }],
        "seq_no_primary_term": true,
        "track_total_hits": false,
        "_source": index.fields.paths(),
    });
    if let Some(behind) = behind {
        body["search_after"] = json!([behind]);
    }
    let mut answer = session.ask(Call::SearchShard(&index.name, shard), Body::Json(body)).await?;
    whole(session, &answer)?;
    if answer["_shards"]["total"].as_u64() != Some(1) {
        return Err(session.later(format!("a shard of the index `{}` did not answer", index.name)));
    }
    hits(session, &mut answer)
}

/// Fails for an answer that does not cover all that was asked.
pub(super) fn whole(session: &Session<'_>, answer: &Value) -> Result<(), StoreError> {
    let shards = &answer["_shards"];
    let all = shards["total"].as_u64();
    if shards["failed"].as_u64() != Some(0) || all.is_none() || shards["successful"].as_u64() != all {
        return Err(session.later("a shard did not answer, so that nobody knows what is in it"));
    }
    if answer["timed_out"] != false || answer["terminated_early"] == true {
        return Err(session.later("a search was cut short"));
    }
    Ok(())
}

/// The hits of an answer.
pub(super) fn hits(session: &Session<'_>, answer: &mut Value) -> Result<Vec<Value>, StoreError> {
    match answer["hits"]["hits"].take() {
        Value::Array(hits) => Ok(hits),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Err(session.later("a search was answered without hits"))
        }
    }
}

/// A hit: its version, and the document where the selection means it.
fn read(
    session: &Session<'_>,
    selector: &Selector<'_>,
    index: &Index,
    shard: u64,
    hit: &Value,
) -> Result<(Version, Option<Met>), StoreError> {
    let (Some(name), Some(version)) = (Name::of(hit), Version::of(hit)) else {
        let message = format!("documents of the index `{}` have no version", index.name);
        return Err(session.error(ErrorKind::Schema, message));
    };
    let source = &hit["_source"];
    let said = selector.said(&index.fields, source);
    if !selector.matches(&index.fields, source, &said) {
        return Ok((version, None));
    }
    let place = Place { index: name.index.clone(), shard, seq_no: version.seq_no };
    Ok((version, Some(Met { name, version, place, said })))
}

/// The names that a placement's pattern means now, so that a batch made earlier never reaches an index that is none of
/// them any more.
pub(super) async fn names_now(
    session: &Session<'_>,
    placement: &Placement,
) -> Result<Vec<String>, StoreError> {
    let resolution = resolve(session, pattern_of(session, placement)?).await?;
    Ok(resolution.names)
}

/// Documents with these ids in one index, in whatever shard, by a search: with their parts that matter.
pub(super) async fn by_ids(
    session: &Session<'_>,
    index: &str,
    ids: &[&str],
    paths: &Value,
) -> Result<Vec<Value>, StoreError> {
    let mut found = Vec::new();
    let mut open: Vec<&[&str]> = ids.chunks(IDS_MAX).collect();
    while let Some(ids) = open.pop() {
        // One id may stand in several shards, once for each routing.
        let body = json!({
            "query": { "ids": { "values": ids } },
            "size": SAME_IDS_MAX,
            "seq_no_primary_term": true,
            "track_total_hits": true,
            "_source": paths,
        });
        let mut answer = session.ask(Call::Search(index), Body::Json(body)).await?;
        whole(session, &answer)?;
        let total = answer["hits"]["total"]["value"].as_u64();
        let hits = hits(session, &mut answer)?;
        if total == Some(hits.len() as u64) {
            found.extend(hits);
        } else if ids.len() > 1 {
            let (one, other) = ids.split_at(ids.len() / 2);
            open.extend([one, other]);
        } else {
            let message = format!("too many documents of the index `{index}` share an id");
            return Err(session.error(ErrorKind::Ambiguous, message));
        }
    }
    Ok(found)
}

/// Ids asked for at once.
const IDS_MAX: usize = 1_000;

/// Room for documents that share an id beside those asked for; where it is too small, fewer are asked for at once.
const SAME_IDS_MAX: u64 = 2_000;

/// The documents in a list of answers, none missing.
pub(super) fn answers<'a>(
    session: &Session<'_>,
    value: &'a Value,
    asked: usize,
) -> Result<&'a [Value], StoreError> {
    let answers = list(value);
    if answers.len() == asked {
        Ok(answers)
    } else {
        Err(session.later("not every document was answered for"))
    }
}
