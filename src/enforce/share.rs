//! Several processes in one run: who leads it and who helps. It owns how steps are handed out and what came of them is
//! handed in; what a step goes through is `unit`'s and `pass`'s.
//!
//! A helper takes the stored plan, reviews it itself, and claims what nobody is at. Who leads does the same, collects
//! what helpers hand in, and is the only one to scrub, to record outcomes, and to settle. Where a helper dies, its steps
//! are claimed again; where the leader dies, its helpers stop, and whoever is first plans anew what is left.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::step::Draft;
use super::{Order, Run, Watcher, pass, recover, refuse_doubts, unless};
use crate::gather::{self, Readers, Trouble, World};
use crate::id::{PlacementId, StepId, StoreId};
use crate::ledger::{Claimed, Ledger, Part, RunRow};
use crate::plan::review::{Approvals, review};
use crate::plan::{CountsByTenant, Refusal, Step};
use crate::policy::{Placement, Records};

/// How often who waits for the others looks again.
const PAUSE: Duration = Duration::from_millis(100);

/// What came of a unit or of a step of a pass, from a helper to who leads.
#[derive(Serialize, Deserialize)]
struct HandedIn {
    drafts: Vec<HandedDraft>,
    moved: Vec<Step>,
    refusals: Vec<Refusal>,
    failures: Vec<String>,
}

/// The draft of an outcome.
#[derive(Serialize, Deserialize)]
struct HandedDraft {
    step: Step,
    counts: CountsByTenant,
    failure: Option<String>,
    is_open: bool,
    verified_at: DateTime<Utc>,
}

/// The place of the run. Whoever comes while another process runs helps it first, where the ledger allows that, and
/// where its own order is to do whatever is due; then its own run has less left to do.
pub(super) async fn place(
    world: &World,
    ledger: &dyn Ledger,
    order: &Order,
    watcher: Watcher<'_>,
    stop: &CancellationToken,
) -> Result<Box<dyn std::any::Any + Send>, Trouble> {
    if order.is_fixed() {
        return unless(stop, ledger.claim_run()).await;
    }
    loop {
        match unless(stop, ledger.claim_part()).await? {
            Part::Lead(place) => return Ok(place),
            Part::Help { run, shared, place } => {
                let helped = match refuse_doubts(world, ledger, order).await {
                    Ok(()) => help(world, ledger, (run, shared), order, watcher, stop).await,
                    Err(doubt) => Err(doubt),
                };
                drop(place);
                ledger.give_back().await?;
                if let Err(error) = helped {
                    // Whatever is wrong here, with other policies for example, is told by the run of its own.
                    tracing::warn!(%error, "failed to help with a run that is under way; waiting for its end");
                    return unless(stop, ledger.claim_run()).await;
                }
            }
        }
    }
}

/// Helps with a run that another process leads, if there is one; says whether there was.
///
/// # Errors
/// As [`super::run_once`].
pub async fn help_once(
    world: &World,
    ledger: &dyn Ledger,
    order: &Order,
    watcher: Watcher<'_>,
    stop: &CancellationToken,
) -> Result<bool, Trouble> {
    let Some(Part::Help { run, shared, place }) = ledger.join().await? else { return Ok(false) };
    let helped = help(world, ledger, (run, shared), order, watcher, stop).await;
    drop(place);
    ledger.give_back().await?;
    helped.map(|()| true)
}

/// Helps with a run that another process leads, until it is over, nobody leads it any more, or this process is to stop.
/// It does only what both who leads and its own reading allow; what its own order does not see it leaves to the others.
/// Guarded by `a_helper_carries_out_nothing_that_who_leads_was_refused`.
async fn help(
    world: &World,
    ledger: &dyn Ledger,
    (row, shared): (RunRow, Vec<StepId>),
    order: &Order,
    watcher: Watcher<'_>,
    stop: &CancellationToken,
) -> Result<(), Trouble> {
    let mut readers = Readers::open_mended(world).await?;
    readers.prove(Some(ledger)).await?;
    let plan = ledger.plan_of_run(&row.run_id).await?;
    let known = order.sees(gather::ledger_facts(Some(ledger), world.clock.now()).await?);
    let facts = gather::facts(world, &readers, known, plan.at).await?;
    let reviewed = review(plan, None, &world.policies, &facts, gather::caps(world), &Approvals::default())?;
    let shared: BTreeSet<StepId> = shared.into_iter().collect();
    // What rows name goes with them.
    let is_shared = |step: &&Step| shared.contains(step.found_by.as_ref().unwrap_or(&step.step_id));
    let steps: Vec<Step> = reviewed.allowed().filter(is_shared).cloned().collect();
    let mut run = Run::of(world, ledger, row, watcher, stop);
    while run.stop.is_none() && !stop.is_cancelled() && ledger.is_led(&run.row.run_id).await? {
        if !run.take_turns(&steps, &readers, &mut BTreeSet::new()).await? {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// The steps that several processes may carry out in any order. Who leads keeps the others to itself: rows that refer to
/// others or are referred to, and rows that might name the same record as those of another step, for of two that go the
/// later one must see that the earlier is gone, and take the record along.
pub(super) fn free(world: &World, steps: &[Step], in_order: &BTreeSet<PlacementId>) -> Vec<StepId> {
    let placements = || world.policies.iter().flat_map(|policy| &policy.placements);
    let named_in = |rows: &PlacementId| -> BTreeSet<&StoreId> {
        let names = |other: &&Placement| matches!(&other.records, Some(Records::FoundBy { placement, .. }) if placement == rows);
        placements().filter(names).map(|other| &other.store).collect()
    };
    let rows: Vec<(&Step, BTreeSet<&StoreId>)> = steps
        .iter()
        .filter(|step| step.found_by.is_none())
        .map(|step| (step, named_in(&step.placement)))
        .collect();
    let may_meet = |(step, stores): &(&Step, BTreeSet<&StoreId>)| {
        let others = rows.iter().filter(|(other, _)| other.step_id != step.step_id);
        let mut meeting = others.filter(|(_, theirs)| !stores.is_disjoint(theirs));
        match &step.tenant {
            Some(tenant) => meeting.any(|(other, _)| other.selection.tenants.covers(tenant)),
            None => meeting.next().is_some(),
        }
    };
    let is_free = |row: &&(&Step, BTreeSet<&StoreId>)| !in_order.contains(&row.0.placement) && !may_meet(row);
    rows.iter().filter(is_free).map(|(step, _)| step.step_id.clone()).collect()
}

impl Run<'_> {
    /// Leads: works on whatever nobody is at, and waits for what helpers are at.
    pub(super) async fn lead(&mut self, steps: &[Step], readers: &Readers) -> Result<(), Trouble> {
        let (mut over, mut collected) = (BTreeSet::new(), 0);
        let claims: BTreeSet<StepId> =
            steps.iter().filter(|step| step.found_by.is_none()).map(|step| step.step_id.clone()).collect();
        loop {
            let has_worked = self.take_turns(steps, readers, &mut over).await?;
            for (id, text) in self.ledger.handed_in(&self.row.run_id, collected).await? {
                // Of steps that were handed in together, the first tells for all.
                if over.insert(id) {
                    collected += 1;
                    if !text.is_empty() {
                        self.collect(&text).await?;
                    }
                }
            }
            if self.stop.is_some() || claims.is_subset(&over) {
                return Ok(());
            }
            if !has_worked {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Goes once through the steps and works on those that nobody else is at. Says whether there were any.
    async fn take_turns(
        &mut self,
        steps: &[Step],
        readers: &Readers,
        over: &mut BTreeSet<StepId>,
    ) -> Result<bool, Trouble> {
        let rows = steps.iter().filter(|step| step.found_by.is_none());
        let mut passes = pass::passes(&self.world.policies, rows);
        if !passes.is_empty() {
            // Each process begins elsewhere, so that they meet at the end only.
            let from = usize::from(self.offset) % passes.len();
            passes.rotate_left(from);
        }
        let mut has_worked = false;
        for pass in passes {
            if self.stop.is_some() {
                return Ok(has_worked);
            }
            let wanted: Vec<StepId> =
                pass.iter().map(|step| step.step_id.clone()).filter(|id| !over.contains(id)).collect();
            if wanted.is_empty() {
                continue;
            }
            let Some(claimed) = self.ledger.claim_steps(&self.row.run_id, &wanted).await? else {
                self.lose();
                return Ok(has_worked);
            };
            let mine: Vec<&Step> = pass
                .iter()
                .copied()
                .filter(|step| claimed.iter().any(|claim| claim.step_id == step.step_id))
                .collect();
            if mine.is_empty() {
                continue;
            }
            has_worked = true;
            let before = self.marks();
            let unknown = self.inherit(&claimed, steps, readers).await?;
            self.run_one(&mine, steps).await?;
            // What came of a dead process's batch is left to the recovery.
            let [drafts, ..] = before;
            for draft in self.drafts.iter_mut().skip(drafts) {
                draft.is_open |= unknown.contains(&draft.step.step_id);
            }
            if self.stop.is_none() {
                self.hand_in(&mine, before).await?;
                over.extend(mine.iter().map(|step| step.step_id.clone()));
            }
        }
        Ok(has_worked)
    }

    /// What a dead process had begun of these steps is asked of the stores, and what it had done counts.
    async fn inherit(
        &mut self,
        claimed: &[Claimed],
        steps: &[Step],
        readers: &Readers,
    ) -> Result<BTreeSet<StepId>, Trouble> {
        let mut unknown = BTreeSet::new();
        for claim in claimed.iter().filter(|claim| claim.is_inherited) {
            let id = &claim.step_id;
            let theirs =
                steps.iter().filter(|step| &step.step_id == id || step.found_by.as_ref() == Some(id));
            for step in theirs {
                let (world, ledger) = (self.world, self.ledger);
                let open =
                    recover::recover_step(world, ledger, readers, &self.row.run_id, &step.step_id).await?;
                if !open.is_empty() {
                    unknown.insert(step.step_id.clone());
                }
                self.failures.extend(open);
                let counts = ledger.counts_of_step(&self.row.run_id, &step.step_id).await?;
                self.inherited.insert(step.step_id.clone(), counts);
            }
        }
        Ok(unknown)
    }

    fn marks(&self) -> [usize; 4] {
        [self.drafts.len(), self.moved.len(), self.refusals.len(), self.failures.len()]
    }

    /// A helper tells what came of steps; who leads keeps it.
    async fn hand_in(&mut self, mine: &[&Step], from: [usize; 4]) -> Result<(), Trouble> {
        if self.is_leader {
            return Ok(());
        }
        let [drafts, moved, refusals, failures] = from;
        let told = HandedIn {
            drafts: self.drafts.split_off(drafts).into_iter().map(handed).collect(),
            moved: self.moved.split_off(moved),
            refusals: self.refusals.split_off(refusals),
            failures: self.failures.split_off(failures),
        };
        let text = serde_json::to_string(&told).map_err(|error| Trouble::Doubt(error.to_string()))?;
        let ids: Vec<StepId> = mine.iter().map(|step| step.step_id.clone()).collect();
        if !self.ledger.hand_in(&self.row.run_id, &ids, &text).await? {
            self.lose();
        }
        Ok(())
    }

    /// Takes over what a helper tells, as if it had been done here.
    async fn collect(&mut self, text: &str) -> Result<(), Trouble> {
        let told: HandedIn = serde_json::from_str(text)
            .map_err(|_| Trouble::Doubt("what a helper of the run handed in cannot be read".to_owned()))?;
        for handed in told.drafts {
            let step = handed.step;
            // Its levels and what remains are asked of the store at the end.
            self.store(&step.store, &step).await?;
            let accepted = self.world.policies.placement(&step.placement).and_then(|(_, p)| p.accept_level);
            let mut draft = Draft::new(&step, accepted, handed.verified_at);
            draft.take(&handed.counts, handed.verified_at);
            draft.is_open = handed.is_open;
            draft.failure = handed.failure;
            self.drafts.push(draft);
        }
        self.moved.extend(told.moved);
        self.refusals.extend(told.refusals);
        self.failures.extend(told.failures);
        Ok(())
    }
}

fn handed(draft: Draft) -> HandedDraft {
    HandedDraft {
        step: draft.step,
        counts: draft.counts,
        failure: draft.failure,
        is_open: draft.is_open,
        verified_at: draft.verified_at,
    }
}
