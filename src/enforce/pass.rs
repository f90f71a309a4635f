//! One pass for several steps over the same table: what is read and locked once serves all of them. It owns which steps
//! share a pass, and how a batch is told apart by step; what a batch goes through is `unit`'s.
//!
//! A record is told to be one step's by its tenant, so no two steps of a pass cover the same tenant. Guarded by
//! `steps_that_share_a_pass_are_counted_each_by_itself`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pace::{next_window, records_max, window_of};
use super::step::Draft;
use super::unit::{Line, Next, erase_within, insist};
use super::verify::verified;
use super::{Progress, Run, recover, spans};
use crate::clock::Stopwatch;
use crate::gather::Trouble;
use crate::id::TenantId;
use crate::ledger::Permits;
use crate::plan::decide::named_by;
use crate::plan::{CountsByTenant, Step, TenantScope};
use crate::policy::{Policies, Records};
use crate::stores::{Batch, Budget, Erased, Pace, Query, StillThere, StoreError};

/// Most steps in one pass: each adds its conditions and its bound values to every statement.
const STEPS_MAX: usize = 64;

/// Puts steps that may share a pass together, in the order of the first of each; a step that may not is alone.
///
/// Gates, for two steps to share one:
/// 1. the same placement, a table whose rows name nothing elsewhere, and the same method;
/// 2. no tenant is covered by both.
pub(super) fn passes<'s>(policies: &Policies, steps: impl Iterator<Item = &'s Step>) -> Vec<Vec<&'s Step>> {
    let mut passes: Vec<Vec<&Step>> = Vec::new();
    for step in steps {
        let shares = |pass: &&mut Vec<&Step>| {
            pass.len() < STEPS_MAX
                && pass.iter().all(|other| {
                    other.placement == step.placement
                        && other.method == step.method
                        && are_apart(&other.selection.tenants, &step.selection.tenants)
                })
        };
        match passes.iter_mut().find(shares).filter(|_| may_share(policies, step)) {
            Some(pass) => pass.push(step),
            None => passes.push(vec![step]),
        }
    }
    passes
}

fn may_share(policies: &Policies, step: &Step) -> bool {
    policies.placement(&step.placement).is_some_and(|(policy, placement)| {
        matches!(placement.records, Some(Records::Table { .. }))
            && named_by(policy, &placement.name).is_empty()
    })
}

/// True where no tenant is in both.
fn are_apart(one: &TenantScope, other: &TenantScope) -> bool {
    match (one, other) {
        (TenantScope::One(one), TenantScope::One(other)) => one != other,
        (TenantScope::One(one), TenantScope::AllExcept(others))
        | (TenantScope::AllExcept(others), TenantScope::One(one)) => others.contains(one),
        (TenantScope::AllExcept(_), TenantScope::AllExcept(_))
        | (TenantScope::Nameless, _)
        | (_, TenantScope::Nameless) => false,
    }
}

/// A step at work in a pass, and how many records it may still erase.
struct Share {
    line: Line,
    left: u64,
}

impl Share {
    fn covers(&self, tenant: &TenantId) -> bool {
        self.line.step.selection.tenants.covers(tenant)
    }

    /// What of a batch is this step's.
    fn part_of(&self, batch: &Batch) -> Batch {
        match batch {
            Batch::Window { from, to, found, rows } => {
                let own = |counts: &BTreeMap<TenantId, u64>| {
                    let own = counts.iter().filter(|(tenant, _)| self.covers(tenant));
                    own.map(|(tenant, count)| (tenant.clone(), *count)).collect()
                };
                Batch::Window { from: *from, to: *to, found: own(found), rows: own(rows) }
            }
            Batch::List(listed) => {
                Batch::List(listed.iter().filter(|record| self.covers(&record.tenant)).cloned().collect())
            }
        }
    }

    fn own(&self, counts: &CountsByTenant) -> CountsByTenant {
        let own = counts.iter().filter(|(tenant, _)| self.covers(tenant));
        own.map(|(tenant, counts)| (tenant.clone(), *counts)).collect()
    }
}

/// The question that finds the records of all of them.
fn joint<'s>(mut shares: impl Iterator<Item = &'s Share>) -> Option<Query> {
    let mut query = shares.next()?.line.query.clone();
    let others = shares;
    for other in others {
        query.also.push(other.line.query.selection.clone());
        query.subjects.extend(other.line.query.subjects.clone());
    }
    Some(query)
}

/// What of a batch belongs to which step, by its place; steps of which it holds nothing are left out.
fn parts_of(shares: &[Share], batch: &Batch) -> Vec<(usize, Batch)> {
    let parts = shares.iter().enumerate().map(|(index, share)| (index, share.part_of(batch)));
    parts.filter(|(_, part)| part.records() > 0).collect()
}

impl Run<'_> {
    /// Erases the records of several steps that share a pass.
    pub(super) async fn run_pass(&mut self, steps: &[&Step]) -> Result<(), Trouble> {
        let mut shares = Vec::new();
        for step in steps {
            if let Some(line) = self.line(step).await? {
                shares.push(Share { left: self.left_of(&line), line });
            }
        }
        let pace = shares.first().map_or_else(Pace::default, |share| share.line.store.pace());
        let most = shares.first().map_or(1, |share| records_max(pace, share.line.method(), false));
        let all: u64 = shares.iter().map(|share| share.left).sum();
        let (mut position, mut keys, mut narrowed) = (None, pace.window_keys_start, None);
        loop {
            shares.retain(|share| share.left > 0);
            let (Some(query), Some(store)) =
                (joint(shares.iter()), shares.first().map(|share| Arc::clone(&share.line.store)))
            else {
                return Ok(());
            };
            let left: u64 = shares.iter().map(|share| share.left).sum();
            let budget =
                Budget { records_max: left.min(most).min(narrowed.unwrap_or(most)), window_keys: keys };
            let found = match insist(|| store.find(&query, position.as_ref(), budget, &[])).await {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.fail_all(&shares, &error);
                    return Ok(());
                }
            };
            let over = shares.iter().find(|share| share.part_of(&found.batch).records() > share.left);
            if let Some(share) = over {
                // No more goes than the step says: what came in since belongs to a later plan.
                narrowed = Some(share.left);
                continue;
            }
            match self.run_shared_batch(&mut shares, &found.batch).await? {
                Some(Next::GoOn) => {}
                // A step left the pass; the others are looked for again without it.
                None => continue,
                Some(Next::Halt) => return Ok(()),
            }
            keys = next_window(pace, keys, window_of(&found.batch), self.erasing);
            (position, narrowed) = (Some(found.position), None);
            let left: u64 = shares.iter().map(|share| share.left).sum();
            if let Some(step) = steps.first() {
                (self.watcher)(Progress {
                    placement: step.placement.clone(),
                    done: all.saturating_sub(left),
                    of: all,
                });
            }
        }
    }

    /// Permit, erase, read back, outcomes. `None` where a step of the batch may not begin and has left the pass; nothing
    /// was erased then.
    #[tracing::instrument(level = "debug", name = "batch", skip_all, fields(records = batch.records()))]
    async fn run_shared_batch(
        &mut self,
        shares: &mut Vec<Share>,
        batch: &Batch,
    ) -> Result<Option<Next>, Trouble> {
        if self.is_to_stop() {
            return Ok(Some(Next::Halt));
        }
        let parts = parts_of(shares, batch);
        let mut intents = Vec::new();
        for (index, part) in &parts {
            if let Some(share) = shares.get(*index) {
                intents.push(self.intent(&share.line.step, part)?);
            }
        }
        let (numbers, lock, lease) = match self.ledger.begin_batches(&intents, self.world.clock.now()).await?
        {
            Permits::Granted { numbers, lock, lease } => (numbers, lock, lease),
            Permits::Refused { index, why } => {
                let Some((place, _)) = parts.get(index) else { return Ok(Some(Next::Halt)) };
                let share = shares.remove(*place);
                return Ok(match self.halted(&share.line.step, why) {
                    Next::GoOn => None,
                    Next::Halt => Some(Next::Halt),
                });
            }
        };
        // A step that has nothing in the batch was not asked whether it may begin, so what came in for it since stays.
        let begun = joint(parts.iter().filter_map(|(index, _)| shares.get(*index)));
        let (Some(first), Some(query)) = (shares.first(), begun) else { return Ok(Some(Next::Halt)) };
        let (store, method) = (Arc::clone(&first.line.store), first.line.method());
        let watch = Stopwatch::start();
        let erased = erase_within(&lease, &*store, &query, batch, method).await;
        self.erasing = watch.elapsed();
        let still = insist(|| store.absent(&query, batch)).await;
        if !lease.is_good() {
            // Whoever takes over asks the store what came of it.
            self.lose();
            return Ok(Some(Next::Halt));
        }
        let now = self.world.clock.now();
        let Some((counts, failures, next)) = self.known(shares, &query, batch, (erased, still)).await else {
            self.leave_parts_open(shares, &parts);
            return Ok(Some(Next::Halt));
        };
        let outcomes: Vec<(u64, CountsByTenant)> = numbers
            .iter()
            .zip(&parts)
            .filter_map(|(number, (index, _))| Some((*number, shares.get(*index)?.own(&counts))))
            .collect();
        self.ledger.finish_batches(&outcomes, now).await?;
        drop(lock);
        for ((index, part), (number, counts)) in parts.iter().zip(&outcomes) {
            let Some(share) = shares.get_mut(*index) else { continue };
            spans::batch_done(&share.line.step, *number, counts);
            share.left = share.left.saturating_sub(part.records());
            if let Some(draft) = self.drafts.get_mut(share.line.draft) {
                settle(draft, counts, &failures, now);
            }
        }
        Ok(Some(next))
    }

    /// What came of a batch, and whether the pass goes on. `None` where nobody knows what is there now: the intents stay
    /// open, and the next run asks the store again.
    async fn known(
        &mut self,
        shares: &[Share],
        query: &Query,
        batch: &Batch,
        answers: (Result<Erased, StoreError>, Result<StillThere, StoreError>),
    ) -> Option<(CountsByTenant, Vec<String>, Next)> {
        match answers {
            (Ok(erased), Ok(still)) => {
                let result = verified(batch, erased, &still);
                Some((result.counts, result.failures, Next::GoOn))
            }
            (Err(error), Ok(still)) => {
                self.fail_all(shares, &error);
                let store = Arc::clone(&shares.first()?.line.store);
                let counts = recover::as_found(&*store, query, batch, &still).await.ok()?;
                Some((counts, Vec::new(), Next::Halt))
            }
            (_, Err(error)) => {
                self.fail_all(shares, &error);
                None
            }
        }
    }

    fn leave_parts_open(&mut self, shares: &[Share], parts: &[(usize, Batch)]) {
        for share in parts.iter().filter_map(|(index, _)| shares.get(*index)) {
            if let Some(draft) = self.drafts.get_mut(share.line.draft) {
                draft.is_open = true;
            }
        }
    }

    fn fail_all(&mut self, shares: &[Share], error: &StoreError) {
        for share in shares {
            self.fail(share.line.draft, error);
        }
    }
}

fn settle(
    draft: &mut Draft,
    counts: &CountsByTenant,
    failures: &[String],
    now: chrono::DateTime<chrono::Utc>,
) {
    draft.take(counts, now);
    if let Some(why) = failures.first()
        && counts.values().any(|counts| counts.failed > 0)
    {
        draft.fail(why.clone());
    }
}
