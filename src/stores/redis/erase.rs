//! Everything in a Redis store that changes a key: the marker and the erasing of a batch. It owns the order check,
//! overwrite, unlink, and that each key is accounted for; which key is meant is said by `select`.

use ::redis::{Cmd, Value as Reply};

use super::MARKER;
use super::link::{Link, Session};
use super::look::{CHUNK, list_of, require_marker, selector};
use super::overwrite::{Overwrite, prepare};
use super::select::{Depth, Fields, Selector, bytes_of};
use super::topology::slot_of;
use super::trouble::{Wrong, of_answer};
use super::wire::{cmd, cmd_of, cmd_on};
use crate::id::StoreId;
use crate::plan::Counts;
use crate::policy::Method;
use crate::stores::{Batch, Erased, ErrorKind, Listed, Query, Retry, StoreError, Survival, Survivor};

const OPERATION: &str = "erase keys";

/// Keys watched at once: a change to any of them breaks the transaction of all.
const WATCHED: usize = 100;

/// How often keys that are written all the time are tried, each on its own after the first.
const TRIES_MAX: usize = 8;

/// How often slots are looked up anew within one batch.
const ROUNDS_MAX: usize = 4;

/// What became of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Erased,
    AlreadyAbsent,
    Changed,
    Failed(String),
}

/// Leaves the marker: both fields or none, and never over another one.
pub(super) async fn mark(link: &Link, ledger_id: &str, store: &StoreId) -> Result<(), StoreError> {
    let mut session = link.session("leave the marker").await?;
    let primary = session.owner(MARKER);
    let commands = vec![
        cmd(&["MULTI"]),
        cmd_on("HSETNX", MARKER, &["ledger_id", ledger_id]),
        cmd_on("HSETNX", MARKER, &["store", store.as_str()]),
        cmd(&["EXEC"]),
    ];
    match transacted(&mut session, primary, commands).await {
        Ok(Some(replies)) if replies == [Reply::Int(1), Reply::Int(1)] => Ok(()),
        Ok(_) => {
            let message = "there is a marker already";
            Err(session.error(ErrorKind::Identity, Retry::Never, message))
        }
        Err(Wrong::Store(error)) => Err(error),
        Err(Wrong::Moved) => Err(link.moving(session.operation)),
    }
}

/// Erases a batch.
pub(super) async fn erase(
    link: &Link,
    query: &Query,
    batch: &Batch,
    method: Method,
) -> Result<Erased, StoreError> {
    let selector = selector(link, query, OPERATION, Depth::Belongs)?;
    let listed = list_of(link, batch, OPERATION)?;
    let mut session = link.session(OPERATION).await?;
    require_marker(&mut session).await?;
    let mut work = Work { selector: &selector, method, listed, fates: vec![None; listed.len()] };
    work.judge_names();
    for _ in 0..ROUNDS_MAX {
        if work.round(&mut session).await? {
            return Ok(work.counted());
        }
        session.refresh().await?;
        // Another primary may serve now: it must be the same store.
        require_marker(&mut session).await?;
    }
    Err(link.moving(OPERATION))
}

struct Work<'w> {
    selector: &'w Selector<'w>,
    method: Method,
    listed: &'w [Listed],
    fates: Vec<Option<Fate>>,
}

impl<'w> Work<'w> {
    /// Settles what the name of a key alone tells: it must prove its tenant, and belong.
    fn judge_names(&mut self) {
        for (listed, fate) in self.listed.iter().zip(&mut self.fates) {
            let fitting = bytes_of(&listed.key).and_then(|key| self.selector.layout.read(key));
            match fitting {
                Some(fitting) if fitting.tenant.as_ref() == Some(&listed.tenant) => {
                    let is_told = self.selector.fields().is_empty();
                    let belongs = if is_told {
                        self.selector.matches(&fitting, &Fields::default())
                    } else {
                        self.selector.tenant_matches(fitting.tenant.as_ref())
                    };
                    if !belongs {
                        *fate = Some(Fate::Changed);
                    }
                }
                Some(_) | None => *fate = Some(Fate::Failed("the key does not prove its tenant".into())),
            }
        }
    }

    fn key(&self, index: usize) -> &'w [u8] {
        self.listed.get(index).and_then(|listed| bytes_of(&listed.key)).unwrap_or_default()
    }

    fn settle(&mut self, index: usize, fate: Fate) {
        if let Some(own) = self.fates.get_mut(index) {
            *own = Some(fate);
        }
    }

    /// Works on every key that is not settled. False where some keys are on another primary now.
    async fn round(&mut self, session: &mut Session<'_>) -> Result<bool, StoreError> {
        let mut by_primary: Vec<Vec<usize>> = vec![Vec::new(); session.primaries()];
        for (index, fate) in self.fates.iter().enumerate() {
            let owner = session.owner(self.key(index));
            if let Some(own) = by_primary.get_mut(owner).filter(|_| fate.is_none()) {
                own.push(index);
            }
        }
        let mut is_done = true;
        for (primary, own) in by_primary.into_iter().enumerate() {
            let plain = self.method == Method::Delete && self.selector.fields().is_empty();
            let done = if plain {
                self.unlink(session, primary, own).await
            } else {
                self.guarded(session, primary, own).await
            };
            match done {
                Ok(()) => {}
                Err(Wrong::Moved) => is_done = false,
                Err(Wrong::Store(error)) => return Err(error),
            }
        }
        Ok(is_done)
    }

    /// The name alone decides, so nothing can change in between. One command takes many keys of a single tenant and
    /// tells how many there were; in a cluster each key has its own, for keys of several slots never stand in one.
    async fn unlink(
        &mut self,
        session: &mut Session<'_>,
        primary: usize,
        mut own: Vec<usize>,
    ) -> Result<(), Wrong> {
        if session.link.is_cluster() {
            for chunk in own.chunks(CHUNK) {
                let commands: Vec<Cmd> =
                    chunk.iter().map(|index| cmd_on("UNLINK", self.key(*index), &[])).collect();
                let mut moved = false;
                for (index, reply) in chunk.iter().zip(session.ask(primary, commands).await?) {
                    match answered(session, reply) {
                        Ok(Reply::Int(0)) => self.settle(*index, Fate::AlreadyAbsent),
                        Ok(_) => self.settle(*index, Fate::Erased),
                        Err(Wrong::Moved) => moved = true,
                        Err(error) => return Err(error),
                    }
                }
                if moved {
                    return Err(Wrong::Moved);
                }
            }
            return Ok(());
        }
        own.sort_by_key(|index| self.listed.get(*index).map(|listed| &listed.tenant));
        let groups: Vec<&[usize]> = own
            .chunk_by(|a, b| self.listed.get(*a).map(|a| &a.tenant) == self.listed.get(*b).map(|b| &b.tenant))
            .flat_map(|of_tenant| of_tenant.chunks(CHUNK))
            .collect();
        for group in groups {
            let command = cmd_of("UNLINK", group.iter().map(|index| self.key(*index)));
            let mut replies = session.ask(primary, vec![command]).await?;
            let Reply::Int(gone) = answered(session, replies.pop().unwrap_or_default())? else {
                let message = "the server did not say how many keys it deleted";
                return Err(session.error(ErrorKind::Unreachable, Retry::Later, message).into());
            };
            let gone = usize::try_from(gone).unwrap_or(0);
            // Which of them were there nobody can tell, and nobody asks: only the numbers are kept.
            for (place, index) in group.iter().enumerate() {
                self.settle(*index, if place < gone { Fate::Erased } else { Fate::AlreadyAbsent });
            }
        }
        Ok(())
    }

    /// The fields decide, or values are overwritten: keys are watched, judged anew, and erased in a transaction that
    /// does not happen where one of them changed meanwhile.
    async fn guarded(
        &mut self,
        session: &mut Session<'_>,
        primary: usize,
        mut own: Vec<usize>,
    ) -> Result<(), Wrong> {
        let is_cluster = session.link.is_cluster();
        // Neither may keys of several slots stand in one transaction.
        let slot = |index: &usize| if is_cluster { slot_of(self.key(*index)) } else { 0 };
        own.sort_by_key(slot);
        let at_once = match self.method {
            Method::Delete => WATCHED,
            // One at a time: its values stay in memory, here and there, until the transaction is over.
            Method::OverwriteThenDelete | Method::Zero => 1,
        };
        let groups: Vec<Vec<usize>> = own
            .chunk_by(|a, b| slot(a) == slot(b))
            .flat_map(|of_slot| of_slot.chunks(at_once))
            .map(<[usize]>::to_vec)
            .collect();
        for group in groups {
            if self.guarded_group(session, primary, &group).await? {
                continue;
            }
            for index in group {
                let mut tries = 1;
                while !self.guarded_group(session, primary, &[index]).await? {
                    tries += 1;
                    if tries == TRIES_MAX {
                        self.settle(index, Fate::Failed("the key is written all the time".into()));
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// False where a key changed between the look and the transaction, and nothing was erased.
    async fn guarded_group(
        &mut self,
        session: &mut Session<'_>,
        primary: usize,
        group: &[usize],
    ) -> Result<bool, Wrong> {
        let doomed = self.watch(session, primary, group).await?;
        let mut commands = vec![cmd(&["MULTI"])];
        let mut checks: Vec<Overwrite> = Vec::new();
        let mut erasing = Vec::new();
        for index in doomed {
            if self.method != Method::Delete {
                match prepare(session, primary, self.key(index)).await? {
                    Ok(mut overwrite) => {
                        commands.append(&mut overwrite.commands);
                        checks.push(overwrite);
                    }
                    Err(why) => {
                        self.settle(index, Fate::Failed(why));
                        continue;
                    }
                }
            }
            commands.push(cmd_on("UNLINK", self.key(index), &[]));
            erasing.push(index);
        }
        if erasing.is_empty() {
            return Ok(true);
        }
        commands.push(cmd(&["EXEC"]));
        let Some(replies) = transacted(session, primary, commands).await? else { return Ok(false) };
        let mut replies = replies.into_iter();
        let mut checks = checks.iter();
        for index in erasing {
            let is_zero = checks.next().is_none_or(|check| check.read_back_as_zeros(&mut replies));
            let fate = match replies.next() {
                Some(Reply::Int(0)) => Fate::AlreadyAbsent,
                Some(Reply::Int(_)) if is_zero => Fate::Erased,
                Some(Reply::Int(_)) => {
                    Fate::Failed("it was deleted, but was not read back as zeros before".into())
                }
                _ => Fate::Failed("the server did not say that it deleted the key".into()),
            };
            self.settle(index, fate);
        }
        Ok(true)
    }

    /// Watches keys and judges them as they are now. Those that are to be erased remain.
    async fn watch(
        &mut self,
        session: &mut Session<'_>,
        primary: usize,
        group: &[usize],
    ) -> Result<Vec<usize>, Wrong> {
        let watch = cmd_of("WATCH", group.iter().map(|index| self.key(*index)));
        // What an earlier group still watches does not break this one's transaction.
        let mut commands = vec![cmd(&["UNWATCH"]), watch];
        for index in group {
            commands.push(cmd_on("EXISTS", self.key(*index), &[]));
            if !self.selector.fields().is_empty() {
                commands.push(cmd_on("HMGET", self.key(*index), self.selector.fields()));
            }
        }
        let mut replies = session.ask(primary, commands).await?.into_iter();
        for _ in 0..2 {
            answered(session, replies.next().unwrap_or_default())?;
        }
        let mut doomed = Vec::new();
        for index in group {
            let exists = answered(session, replies.next().unwrap_or_default())? != Reply::Int(0);
            let fields = if self.selector.fields().is_empty() {
                Fields::default()
            } else {
                match replies.next() {
                    Some(Reply::ServerError(answer)) if answer.code() == "WRONGTYPE" => Fields::of_no_hash(),
                    reply => Fields::of(answered(session, reply.unwrap_or_default())?),
                }
            };
            let fitting = self.selector.layout.read(self.key(*index));
            if !exists {
                self.settle(*index, Fate::AlreadyAbsent);
            } else if fitting.is_some_and(|fitting| self.selector.matches(&fitting, &fields)) {
                doomed.push(*index);
            } else {
                self.settle(*index, Fate::Changed);
            }
        }
        Ok(doomed)
    }

    fn counted(self) -> Erased {
        let mut erased = Erased::default();
        for (index, (listed, fate)) in self.listed.iter().zip(self.fates).enumerate() {
            let counts: &mut Counts = erased.counts.entry(listed.tenant.clone()).or_default();
            match fate {
                Some(Fate::Erased) => counts.erased += 1,
                Some(Fate::AlreadyAbsent) => counts.already_absent += 1,
                Some(Fate::Changed) => {
                    counts.changed += 1;
                    erased.survivors.push(Survivor { index, why: Survival::Changed });
                }
                Some(Fate::Failed(why)) => {
                    counts.failed += 1;
                    erased.survivors.push(Survivor { index, why: Survival::Failed(why) });
                }
                None => {
                    counts.failed += 1;
                    let why = Survival::Failed("nothing was done with it".into());
                    erased.survivors.push(Survivor { index, why });
                }
            }
        }
        erased
    }
}

/// An answer, or what its error means.
pub(super) fn answered(session: &Session<'_>, reply: Reply) -> Result<Reply, Wrong> {
    if let Reply::ServerError(answer) = &reply {
        return Err(of_answer(&session.link.store, session.operation, answer));
    }
    Ok(reply)
}

/// Sends `MULTI … EXEC` in one write; `None` where a watched key changed. An error of any command in it is an error of
/// the whole, for what was queued then did not happen.
async fn transacted(
    session: &mut Session<'_>,
    primary: usize,
    commands: Vec<Cmd>,
) -> Result<Option<Vec<Reply>>, Wrong> {
    let mut replies = session.ask(primary, commands).await?;
    let executed = replies.pop().unwrap_or_default();
    for reply in replies {
        answered(session, reply)?;
    }
    let executed = answered(session, executed)?;
    if executed == Reply::Nil {
        return Ok(None);
    }
    let Reply::Array(replies) = executed else {
        let message = "the server gave no answer to a transaction";
        return Err(session.error(ErrorKind::Unreachable, Retry::Later, message).into());
    };
    let mut checked = Vec::with_capacity(replies.len());
    for reply in replies {
        checked.push(answered(session, reply)?);
    }
    Ok(Some(checked))
}
