//! What a run did, as people and scripts read it (`contract.md`, `enforce --json`). It owns the shape only.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Run;
use crate::gather::Trouble;
use crate::id::{PlacementId, PlanId, RunId};
use crate::plan::{Counts, Refusal, Residual};
use crate::policy::Level;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// All that was due and allowed is gone.
    Done,
    /// Something that should have happened did not (exit 1).
    Failed,
    /// Something waits for an approval, a `go` or a store that proves its identity (exit 3).
    Refused,
    /// The process was to stop; what is left is due again at the next run (exit 1).
    Interrupted,
}

impl RunStatus {
    /// The word in JSON and in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
        }
    }

    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed | Self::Interrupted => 1,
            Self::Refused => 3,
        }
    }
}

/// What a run did.
#[must_use]
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The run.
    pub run_id: RunId,
    /// The plan.
    pub plan_id: PlanId,
    /// The instant of the plan.
    pub at: DateTime<Utc>,
    /// How it ended.
    pub status: RunStatus,
    /// By placement.
    pub placements: Vec<PlacementReport>,
    /// What waits.
    pub refusals: Vec<Refusal>,
    /// Why something did not happen.
    pub failures: Vec<String>,
    /// All placements together.
    pub totals: Counts,
}

/// What a run did in one placement.
#[derive(Debug, Clone, Serialize)]
pub struct PlacementReport {
    /// Where.
    pub placement: PlacementId,
    /// The counts.
    #[serde(flatten)]
    pub counts: Counts,
    /// The lowest level of its steps.
    pub level: Level,
    /// What remains, until when.
    pub residual: Vec<Residual>,
}

impl Run<'_> {
    /// Outcomes are durable, each with its audit entry; but for those that the next run has to ask for.
    pub(super) async fn record(&mut self) -> Result<(), Trouble> {
        for draft in &self.drafts {
            let outcome = draft.outcome(&self.row.run_id);
            if let Some(why) = &outcome.failure {
                self.failures.push(format!("placement `{}`: {why}", outcome.placement));
            }
            if !draft.is_open {
                self.ledger.record_outcome(&outcome, self.world.clock.now()).await?;
            }
        }
        Ok(())
    }

    /// The run has ended and says how.
    pub(super) async fn end(mut self) -> Result<RunReport, Trouble> {
        self.failures.dedup();
        let status = match (self.failures.is_empty(), self.refusals.is_empty()) {
            _ if self.is_interrupted => RunStatus::Interrupted,
            (false, _) => RunStatus::Failed,
            (true, false) => RunStatus::Refused,
            (true, true) => RunStatus::Done,
        };
        self.ledger.end_run(&self.row.run_id, status.word(), self.world.clock.now()).await?;
        let mut placements: BTreeMap<PlacementId, PlacementReport> = BTreeMap::new();
        let mut totals = Counts::default();
        for draft in &self.drafts {
            let counts = draft.total();
            totals.add(&counts);
            let report = placements.entry(draft.step.placement.clone()).or_insert_with(|| PlacementReport {
                placement: draft.step.placement.clone(),
                counts: Counts::default(),
                level: draft.level,
                residual: Vec::new(),
            });
            report.counts.add(&counts);
            report.level = report.level.min(draft.level);
            report.residual.extend(draft.residual.iter().cloned());
            report.residual.sort();
            report.residual.dedup();
        }
        Ok(RunReport {
            run_id: self.row.run_id,
            plan_id: self.row.plan_id,
            at: self.row.at,
            status,
            placements: placements.into_values().collect(),
            refusals: self.refusals,
            failures: self.failures,
            totals,
        })
    }
}
