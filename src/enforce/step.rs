//! What has come of a step so far. It owns the draft of an outcome; the ledger owns what is recorded.

use chrono::{DateTime, Utc};

use crate::facts::Capability;
use crate::id::{PlacementId, RunId};
use crate::ledger::{ErasedScope, StepOutcome};
use crate::plan::{Counts, CountsByTenant, Residual, Step, Times};
use crate::policy::{Level, Method, Placement};

/// The level of what was to be zeroed, after a scrub. Where the store cannot zero, it was erased by another method.
pub(super) fn reached(can: &Capability, placement: &Placement, scrubbed: Level) -> Level {
    let method = can.method_for(Method::Zero, placement.accept_level);
    let by_itself = can.levels.get(&method).filter(|_| method != Method::Zero);
    by_itself.map_or(scrubbed, |level| scrubbed.max(*level))
}

/// The outcome of a step while it is being made.
pub(super) struct Draft {
    /// The step.
    pub(super) step: Step,
    /// The lower level that the operator accepts on its placement.
    pub(super) accepted: Option<Level>,
    /// What was counted, batch by batch.
    pub(super) counts: CountsByTenant,
    /// The level that holds for all of it.
    pub(super) level: Level,
    /// What remains.
    pub(super) residual: Vec<Residual>,
    /// Why it is not done.
    pub(super) failure: Option<String>,
    /// True where nobody knows yet what came of a batch: the outcome is left to the recovery.
    pub(super) is_open: bool,
    /// When the last read-back was done.
    pub(super) verified_at: DateTime<Utc>,
}

impl Draft {
    /// Nothing done yet: the lowest level is all that can be said.
    pub(super) fn new(step: &Step, accepted: Option<Level>, now: DateTime<Utc>) -> Self {
        Self {
            step: step.clone(),
            accepted,
            counts: CountsByTenant::new(),
            level: Level::Deleted,
            residual: Vec::new(),
            failure: None,
            is_open: false,
            verified_at: now,
        }
    }

    /// Takes the counts of a batch in.
    pub(super) fn take(&mut self, counts: &CountsByTenant, now: DateTime<Utc>) {
        for (tenant, more) in counts {
            self.counts.entry(tenant.clone()).or_default().add(more);
        }
        self.verified_at = now;
    }

    /// The first failure is the one that is told.
    pub(super) fn fail(&mut self, why: impl Into<String>) {
        self.failure.get_or_insert(why.into());
    }

    /// True where this step's level is what a scrub of the placement reaches.
    pub(super) fn is_zero_on(&self, placement: &PlacementId) -> bool {
        self.step.method == Method::Zero && &self.step.placement == placement
    }

    /// How many records of the step were dealt with, whatever came of them.
    pub(super) fn handled(&self) -> u64 {
        let total = self.total();
        total.erased + total.already_absent + total.changed + total.failed
    }

    /// All tenants together.
    pub(super) fn total(&self) -> Counts {
        let mut total = Counts::default();
        for counts in self.counts.values() {
            total.add(counts);
        }
        total
    }

    /// The level that must be reached, or the lower one that the operator accepts.
    pub(super) fn wanted(&self) -> Level {
        self.accepted.map_or(self.step.level, |accepted| accepted.min(self.step.level))
    }

    /// States that a level was reached, and fails the step where that is not enough. Where nothing was erased there is
    /// nothing to reach.
    pub(super) fn reach(&mut self, level: Level) {
        self.level = level;
        if level < self.wanted() && self.total().erased > 0 {
            let wanted = self.wanted();
            self.fail(format!(
                "the level reached is `{}`, but `{}` was promised",
                level.word(),
                wanted.word()
            ));
        }
    }

    /// The outcome as it is recorded.
    pub(super) fn outcome(&self, run: &RunId) -> StepOutcome {
        let total = self.total();
        let failure = self.failure.clone().or_else(|| {
            (total.failed > 0)
                .then(|| format!("{} records are still there although they are due", total.failed))
        });
        StepOutcome {
            run_id: run.clone(),
            step_id: self.step.step_id.clone(),
            placement: self.step.placement.clone(),
            store: self.step.store.clone(),
            category: self.step.category.clone(),
            reason: self.step.reason.word().to_owned(),
            clause: self.step.clause.clone(),
            method: self.step.method.word().to_owned(),
            request_id: self.step.request_id.clone(),
            counts: self.counts.clone(),
            level: self.level,
            residual: self.residual.clone(),
            verified_at: self.verified_at,
            scope: scope_of(&self.step),
            failure,
        }
    }
}

/// What a step erases, as a scope that can be erased again after a restore.
fn scope_of(step: &Step) -> ErasedScope {
    let within = &step.selection.within;
    ErasedScope {
        subjects: within
            .iter()
            .filter_map(|scope| scope.subjects.as_ref())
            .flatten()
            .map(|subject| subject.fingerprint.clone())
            .collect(),
        up_to: within
            .iter()
            .filter_map(|scope| match &scope.times {
                Times::UpTo(until) => Some(*until),
                Times::Within(intervals) => intervals.iter().map(|interval| interval.to).max(),
                Times::Any | Times::Unusable | Times::UnusableBefore(_) => None,
            })
            .min(),
    }
}
