//! Erasing a batch of documents. It owns that each delete names the very version that was judged: the cluster itself then
//! refuses to delete a document that changed in between, which is stronger than repeating the predicate in a query.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Body, Call, Session};
use super::document::{Name, Version};
use super::documents::{GET_MAX, Known, State, indices_of, is_there};
use super::find::{answers, by_ids};
use super::indices::refresh;
use super::overwrite::Overwriting;
use crate::plan::Counts;
use crate::policy::Method;
use crate::stores::{Batch, Erased, ErrorKind, Listed, Query, Retry, StoreError, Survival, Survivor};

/// How often a document that conflicted or was turned away is looked at anew.
const ROUNDS_MAX: u32 = 4;

/// The pause before documents are sent again that a busy cluster turned away; doubled each time.
const PAUSE: Duration = Duration::from_millis(200);

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Erased,
    AlreadyAbsent,
    Changed,
    Failed(String),
}

/// A document of the batch: its place in the list, and its whole name.
#[derive(Debug, Clone)]
struct Target {
    place: usize,
    name: Name,
}

/// What the cluster said to one write.
pub(super) enum Written {
    Done(Option<Version>),
    /// Its version is another one now, or it is gone.
    Conflict,
    /// Turned away for now.
    Busy,
    Refused(StoreError),
}

/// Erases a batch.
pub(super) async fn erase(
    session: &Session<'_>,
    query: &Query,
    batch: &Batch,
    method: Method,
) -> Result<Erased, StoreError> {
    let known = Known::of(session, query).await?;
    let Batch::List(listed) = batch else {
        return Err(session.error(ErrorKind::Unresolved, "documents are erased by list, not by window"));
    };
    let mut work = Work { session, query, known: &known, listed, fates: BTreeMap::new(), refusal: None };
    let targets = work.targets().await?;
    let chunk = match method {
        Method::Delete => GET_MAX,
        // Whole documents, twice in memory.
        Method::OverwriteThenDelete => 100,
        Method::Zero => {
            let message = "a search cluster cannot be scrubbed: ask for another method, or accept a level";
            return Err(session.error(ErrorKind::Refused, message));
        }
    };
    for targets in targets.chunks(chunk.max(1)) {
        work.chunk(targets.to_vec(), method).await?;
    }
    work.erased()
}

struct Work<'w> {
    session: &'w Session<'w>,
    query: &'w Query,
    known: &'w Known<'w>,
    listed: &'w [Listed],
    fates: BTreeMap<usize, Fate>,
    refusal: Option<StoreError>,
}

impl Work<'_> {
    /// The documents that the list means. What may not be touched or is not there gets its fate at once.
    async fn targets(&mut self) -> Result<Vec<Target>, StoreError> {
        let mut targets = Vec::new();
        for (place, listed) in self.listed.iter().enumerate() {
            match self.known.name(listed) {
                Ok(name) => targets.push(Target { place, name }),
                Err(why) => self.settle(place, Fate::Failed(why.to_owned())),
            }
        }
        if let Known::Selected { .. } = self.known {
            let (covered, others) = targets.into_iter().partition(|one| self.known.covers(&one.name.index));
            self.outside(others).await?;
            return Ok(covered);
        }
        self.in_every_shard(targets).await
    }

    /// Documents of indices that the pattern does not mean any more: gone with their index, or not ours to touch.
    async fn outside(&mut self, targets: Vec<Target>) -> Result<(), StoreError> {
        let names = indices_of(targets.iter().map(|target| &target.name));
        let mut gone = BTreeMap::new();
        for name in names {
            let answer = self.session.send(Call::Settings(name), Body::None).await?;
            let is_gone = match answer.status {
                404 => true,
                200 => false,
                _ => return Err(self.session.refusal(&answer)),
            };
            gone.insert(name.to_owned(), is_gone);
        }
        for target in targets {
            let fate = if gone.get(&target.name.index) == Some(&true) {
                Fate::AlreadyAbsent
            } else {
                Fate::Failed("its index does not belong to the pattern any more".to_owned())
            };
            self.settle(target.place, fate);
        }
        Ok(())
    }

    /// Rows name documents without their routing, so that they are searched for in every shard.
    async fn in_every_shard(&mut self, targets: Vec<Target>) -> Result<Vec<Target>, StoreError> {
        let mut by_index: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
        for target in targets {
            let by_id = by_index.entry(target.name.index).or_default();
            by_id.entry(target.name.id).or_default().push(target.place);
        }
        let mut found = Vec::new();
        for (index, by_id) in &by_index {
            let mut seen: BTreeMap<&str, Vec<Name>> = BTreeMap::new();
            if is_there(self.session, self.query, self.known, index).await? {
                refresh(self.session, [index.as_str()]).await?;
                let ids: Vec<&str> = by_id.keys().map(String::as_str).collect();
                for hit in by_ids(self.session, index, &ids, &json!(false)).await? {
                    let name = Name::of(&hit).filter(|name| name.index == *index);
                    let name =
                        name.ok_or_else(|| self.session.later("a document without a name was found"))?;
                    if let Some((id, _)) = by_id.get_key_value(&name.id) {
                        seen.entry(id).or_default().push(name);
                    }
                }
            }
            for (id, places) in by_id {
                for &place in places {
                    match seen.get(id.as_str()) {
                        None => self.settle(place, Fate::AlreadyAbsent),
                        Some(names) => {
                            found.extend(names.iter().map(|name| Target { place, name: name.clone() }));
                        }
                    }
                }
            }
        }
        Ok(found)
    }

    /// Some documents, looked at anew until each has its fate.
    async fn chunk(&mut self, mut pending: Vec<Target>, method: Method) -> Result<(), StoreError> {
        let overwriting = match method {
            Method::OverwriteThenDelete => {
                let names = indices_of(pending.iter().map(|target| &target.name));
                Some(Overwriting::of(self.session, self.query, names).await?)
            }
            Method::Delete | Method::Zero => None,
        };
        let mut pause = PAUSE;
        for round in 1..=ROUNDS_MAX {
            let (next, is_busy) = self.round(pending, overwriting.as_ref()).await?;
            pending = next;
            if pending.is_empty() {
                return Ok(());
            }
            if is_busy && round < ROUNDS_MAX {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        for target in pending {
            let why = "the cluster turned it away each time, or it changed each time";
            self.refusal.get_or_insert_with(|| self.session.later(why));
            self.settle(target.place, Fate::Failed(why.to_owned()));
        }
        Ok(())
    }

    /// The documents that may go, each at the version that was judged. The others get their fate.
    async fn judged(
        &mut self,
        pending: Vec<Target>,
        overwriting: Option<&Overwriting>,
    ) -> Result<Vec<(Target, Version, Value)>, StoreError> {
        let asked: Vec<(&Listed, &Name)> = pending
            .iter()
            .filter_map(|target| Some((self.listed.get(target.place)?, &target.name)))
            .collect();
        let states = self.known.states(self.session, &asked, overwriting.is_some()).await?;
        let mut doomed = Vec::new();
        for (target, state) in pending.into_iter().zip(states) {
            let Some(listed) = self.listed.get(target.place) else { continue };
            match state {
                State::Absent => self.settle(target.place, Fate::AlreadyAbsent),
                State::Other => self.settle(target.place, Fate::Changed),
                State::There { version, matches, source } => {
                    let is_same = listed.stamp.is_empty() || listed.stamp == version.stamp();
                    // Zeros of ours, left by a try that broke off between the two writes.
                    let is_ours = || {
                        overwriting.is_some_and(|overwriting| {
                            overwriting.began(self.known, listed, &target.name, &source)
                        })
                    };
                    if matches && is_same || is_ours() {
                        doomed.push((target, version, source));
                    } else {
                        self.settle(target.place, Fate::Changed);
                    }
                }
            }
        }
        Ok(doomed)
    }

    /// Looks, judges, writes; what is still open comes back, with whether the cluster was busy.
    async fn round(
        &mut self,
        pending: Vec<Target>,
        overwriting: Option<&Overwriting>,
    ) -> Result<(Vec<Target>, bool), StoreError> {
        let doomed = self.judged(pending, overwriting).await?;
        let mut open = Vec::new();
        let mut is_busy = false;
        let doomed = match overwriting {
            None => doomed.into_iter().map(|(target, version, _)| (target, version)).collect(),
            Some(overwriting) => {
                let writes: Vec<(&Name, Version, &Value)> =
                    doomed.iter().map(|(target, version, source)| (&target.name, *version, source)).collect();
                let written = overwriting.overwrite(self.session, &writes).await?;
                let mut zeroed = Vec::new();
                for ((target, _, _), written) in doomed.into_iter().zip(written) {
                    match written {
                        Written::Done(Some(version)) => zeroed.push((target, version)),
                        other @ (Written::Done(None)
                        | Written::Conflict
                        | Written::Busy
                        | Written::Refused(_)) => is_busy |= self.not_done(target, other, &mut open),
                    }
                }
                zeroed
            }
        };
        let count = doomed.len();
        let deletes: Vec<Value> =
            doomed.iter().map(|(target, version)| action("delete", &target.name, *version)).collect();
        for ((target, _), written) in
            doomed.into_iter().zip(bulk(self.session, deletes, count, "delete").await?)
        {
            match written {
                Written::Done(_) => self.settle(target.place, Fate::Erased),
                other @ (Written::Conflict | Written::Busy | Written::Refused(_)) => {
                    is_busy |= self.not_done(target, other, &mut open);
                }
            }
        }
        Ok((open, is_busy))
    }

    /// Puts a document back for another round, or settles it; true where the cluster is busy.
    fn not_done(&mut self, target: Target, written: Written, open: &mut Vec<Target>) -> bool {
        match written {
            Written::Conflict | Written::Done(_) => open.push(target),
            Written::Busy => {
                open.push(target);
                return true;
            }
            Written::Refused(error) => {
                self.settle(target.place, Fate::Failed(error.message.clone()));
                self.refusal.get_or_insert(error);
            }
        }
        false
    }

    /// The worst of what became of the documents that a record means.
    fn settle(&mut self, place: usize, fate: Fate) {
        let rank = |fate: &Fate| match fate {
            Fate::AlreadyAbsent => 0,
            Fate::Erased => 1,
            Fate::Changed => 2,
            Fate::Failed(_) => 3,
        };
        match self.fates.get(&place) {
            Some(known) if rank(known) >= rank(&fate) => {}
            Some(_) | None => drop(self.fates.insert(place, fate)),
        }
    }

    /// Every record of the list accounted for. Where the cluster refused and nothing at all was done, that is an error.
    fn erased(self) -> Result<Erased, StoreError> {
        let mut erased = Erased::default();
        let mut is_any_done = false;
        for (index, listed) in self.listed.iter().enumerate() {
            let counts: &mut Counts = erased.counts.entry(listed.tenant.clone()).or_default();
            let fate = self.fates.get(&index).cloned();
            match fate.unwrap_or_else(|| Fate::Failed("it was not worked on".to_owned())) {
                Fate::Erased => counts.erased += 1,
                Fate::AlreadyAbsent => counts.already_absent += 1,
                Fate::Changed => {
                    counts.changed += 1;
                    erased.survivors.push(Survivor { index, why: Survival::Changed });
                }
                Fate::Failed(why) => {
                    counts.failed += 1;
                    erased.survivors.push(Survivor { index, why: Survival::Failed(why) });
                    continue;
                }
            }
            is_any_done = true;
        }
        match self.refusal {
            Some(refusal) if !is_any_done => Err(refusal),
            Some(_) | None => Ok(erased),
        }
    }
}

/// The first line of a write that holds for one version of one document only.
pub(super) fn action(verb: &str, name: &Name, version: Version) -> Value {
    let mut target = json!({
        "_index": name.index,
        "_id": name.id,
        "if_seq_no": version.seq_no,
        "if_primary_term": version.primary_term,
    });
    if let Some(routing) = &name.routing {
        target["routing"] = json!(routing);
    }
    if verb == "index" {
        // A pipeline would put its own values in.
        target["pipeline"] = json!("_none");
    }
    json!({ verb: target })
}

/// Sends writes and reads what became of each; counted as the cluster says, never as asked.
pub(super) async fn bulk(
    session: &Session<'_>,
    lines: Vec<Value>,
    asked: usize,
    verb: &str,
) -> Result<Vec<Written>, StoreError> {
    if asked == 0 {
        return Ok(Vec::new());
    }
    let answer = session.ask(Call::Bulk, Body::Lines(lines)).await?;
    let items = answers(session, &answer["items"], asked)?;
    Ok(items.iter().map(|item| written(session, &item[verb])).collect())
}

fn written(session: &Session<'_>, item: &Value) -> Written {
    let status = item["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(500);
    // Copies that did not follow are named in the answer although the write was made.
    let shards_failed = item["_shards"]["failed"].as_u64().unwrap_or(0);
    match (status, item["result"].as_str()) {
        (200 | 201, Some("deleted" | "updated" | "created")) if shards_failed == 0 => {
            Written::Done(Version::of(item))
        }
        (200 | 201, Some("deleted" | "updated" | "created")) => Written::Conflict,
        (404 | 409, _) => Written::Conflict,
        _ => {
            // A block is not a busy cluster, although a full disk is told with the same number.
            let refusal = session.refusal_of(status, &item["error"]);
            if refusal.retry == Retry::Later { Written::Busy } else { Written::Refused(refusal) }
        }
    }
}
