//! The plain facts that alarms follow from, read from ledger and stores. It owns what is asked; it judges nothing and
//! changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::forecast::{MEASURED_RECORDS_MIN, Throughput};
use crate::audit::{self, AuditError};
use crate::gather::{self, Ahead, Look, Trouble, World};
use crate::id::{Category, PlacementId, PlanId, StoreId, TenantId};
use crate::ledger::{
    AlarmRow, DeliveryRow, ExportRow, ExportState, Head, Ledger, LedgerError, RefusedPlan, RequestRow,
    RequestState, RunRow, Stop, TenantState,
};
use crate::plan::cover::{Falling, falling};
use crate::plan::decide::rows_of;
use crate::schedule::CronExpr;

/// Runs that are read back: more than there are in a day of hourly runs, few enough to be read each minute.
const RUNS_MAX: u32 = 30;

/// Runs whose speed is measured: a week of nightly ones.
const MEASURED_RUNS_MAX: usize = 7;

/// Messages that are read back. More than this at once is an outage, and its size is told as this.
const DELIVERIES_MAX: u32 = 10_000;

/// What the stores said, or why nobody knows.
#[derive(Debug, Clone)]
pub enum Sight {
    /// They were asked; some of them may have been silent.
    Seen(Look),
    /// Nothing could be asked.
    Blind {
        /// A stable word: `unreachable`, `invalid`, `refused`, `damaged`.
        code: &'static str,
        /// Why.
        message: String,
    },
}

/// An account that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Whose.
    pub tenant: TenantId,
    /// From when the grace counts.
    pub terminated_at: DateTime<Utc>,
    /// When it was told.
    pub recorded_at: DateTime<Utc>,
    /// What falls due when, by category.
    pub falling: Vec<Falling>,
}

impl Ending {
    /// From when on the first of its data goes. `None` where no policy has a rule for terminations.
    pub fn grace_until(&self) -> Option<DateTime<Utc>> {
        self.falling.iter().map(|one| one.grace_until).min()
    }

    /// By when the first category is to be gone.
    pub fn deadline(&self) -> Option<DateTime<Utc>> {
        self.falling.iter().map(|one| one.deadline).min()
    }
}

/// Under which policy and in which store a placement is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The category.
    pub category: Category,
    /// The store.
    pub store: StoreId,
    /// How its records are erased, by the rules of the policy.
    pub methods: BTreeSet<&'static str>,
}

/// A refused plan that waits for an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub plan_id: PlanId,
    /// How many records its refused steps hold.
    pub records: u64,
    /// The codes of what was refused.
    pub codes: BTreeSet<String>,
}

/// What became of what the latest run was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It waits for an approval.
    Waiting(Waiting),
    /// It was approved.
    Approved,
    /// No plan waits: nothing was refused, or something that no approval helps.
    Otherwise,
}

/// How far the audit log is published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditState {
    /// The head that was signed last.
    pub head: Option<Head>,
    /// Entries in the ledger.
    pub entries: u64,
    /// When the newest entry below the head was made.
    pub head_at: Option<DateTime<Utc>>,
    /// Since when the oldest entry waits that is not below the head.
    pub unsigned_since: Option<DateTime<Utc>>,
}

/// Everything that alarms follow from.
#[derive(Debug, Clone)]
pub struct Known {
    /// When it was asked.
    pub at: DateTime<Utc>,
    /// What the stores said.
    pub sight: Sight,
    /// Placements that hold records of their own: those that a look has to have asked.
    pub placements: BTreeMap<PlacementId, Place>,
    /// Requests that are neither completed nor cancelled.
    pub requests: Vec<RequestRow>,
    /// Accounts that have ended.
    pub endings: Vec<Ending>,
    /// The latest runs, newest first.
    pub runs: Vec<RunRow>,
    /// What became of what the latest run that ended was refused.
    pub refused: Refused,
    /// Exports that are neither finished nor withdrawn.
    pub exports: Vec<ExportRow>,
    /// Messages that were not received: on their way or given up.
    pub undelivered: Vec<DeliveryRow>,
    /// How far the audit log is published.
    pub audit: AuditState,
    /// The emergency stop.
    pub stopped: Option<Stop>,
    /// How fast past runs were; `None` where none was large enough to tell.
    pub speed: Option<Throughput>,
    /// When the next run begins by the schedule.
    pub next_run: Option<DateTime<Utc>>,
    /// `[alarms] lead`.
    pub lead: TimeDelta,
    /// Alarms that stand already.
    pub before: Vec<AlarmRow>,
}

impl Known {
    /// Placements of which nothing is known now.
    pub fn unseen(&self) -> BTreeSet<&PlacementId> {
        match &self.sight {
            Sight::Seen(look) => {
                self.placements.keys().filter(|placement| !look.surveyed.contains(*placement)).collect()
            }
            Sight::Blind { .. } => self.placements.keys().collect(),
        }
    }

    /// The instant up to which the last run that did everything had everything that was due.
    pub fn done_up_to(&self) -> Option<DateTime<Utc>> {
        self.runs.iter().filter(|run| run.status == "done").map(|run| run.at).max()
    }

    /// When the last run that did everything ended.
    pub fn last_done(&self) -> Option<DateTime<Utc>> {
        self.runs.iter().filter(|run| run.status == "done").filter_map(|run| run.ended_at).max()
    }

    /// The latest run that has ended.
    pub fn last_ended(&self) -> Option<&RunRow> {
        self.runs.iter().find(|run| run.status != "running")
    }
}

/// Asks ledger and stores.
///
/// # Errors
/// Where the ledger cannot be read.
pub(super) async fn gather(world: &World, ledger: &dyn Ledger, now: DateTime<Utc>) -> Result<Known, Trouble> {
    let runs = ledger.runs(RUNS_MAX).await?;
    let speed = speed(ledger, &runs).await?;
    let ahead = if speed.is_some() { Ahead::Yes } else { Ahead::No };
    let sight = match audit::doubt(&world.config.audit, Some(ledger)).await {
        // The ledger is another matter: without it nothing is known at all.
        Err(error @ AuditError::Ledger(_)) => return Err(error.into()),
        Err(error) => Sight::Blind { code: "audit", message: error.to_string() },
        Ok(Some(why)) => Sight::Blind { code: "refused", message: why },
        Ok(None) => match gather::look(world, Some(ledger), ahead).await {
            Ok(look) => Sight::Seen(look),
            Err(trouble) => Sight::Blind { code: trouble.code(), message: trouble.to_string() },
        },
    };
    let is_open =
        |request: &RequestRow| !matches!(request.state, RequestState::Completed | RequestState::Cancelled);
    let is_unfinished = |export: &ExportRow| {
        matches!(export.state, ExportState::Asked | ExportState::Running | ExportState::Failed)
    };
    Ok(Known {
        at: now,
        sight,
        placements: placements(world),
        requests: ledger.requests().await?.into_iter().filter(is_open).collect(),
        endings: endings(world, ledger).await?,
        refused: refused(ledger, &runs).await?,
        exports: ledger.exports().await?.into_iter().filter(is_unfinished).collect(),
        undelivered: ledger.undelivered(DELIVERIES_MAX).await?,
        audit: audit_state(ledger).await?,
        stopped: ledger.stopped().await?,
        speed,
        next_run: CronExpr::parse(&world.config.schedule.cron)
            .ok()
            .and_then(|cron| cron.next_after(now, world.config.schedule.time_zone)),
        lead: world.config.alarms.lead,
        before: ledger.alarms(now).await?.into_iter().filter(|row| row.cleared_at.is_none()).collect(),
        runs,
    })
}

fn placements(world: &World) -> BTreeMap<PlacementId, Place> {
    let mut all = BTreeMap::new();
    for policy in &world.policies {
        for placement in policy.placements.iter().filter(|placement| rows_of(policy, placement).is_some()) {
            let methods = policy.rules.iter().map(|rule| rule.method.word()).collect();
            let place = Place { category: policy.category.clone(), store: placement.store.clone(), methods };
            all.insert(placement.name.clone(), place);
        }
    }
    all
}

async fn endings(world: &World, ledger: &dyn Ledger) -> Result<Vec<Ending>, Trouble> {
    let rows = ledger.tenants().await?.into_iter().filter(|row| row.state == TenantState::Terminated);
    Ok(rows
        .filter_map(|row| {
            let terminated_at = row.terminated_at?;
            let falling = falling(&world.policies, terminated_at);
            Some(Ending { tenant: row.tenant, terminated_at, recorded_at: row.recorded_at, falling })
        })
        .collect())
}

async fn refused(ledger: &dyn Ledger, runs: &[RunRow]) -> Result<Refused, Trouble> {
    let Some(run) = runs.iter().find(|run| run.status != "running") else { return Ok(Refused::Otherwise) };
    match ledger.refused(&run.plan_id).await {
        Ok(RefusedPlan { plan, steps, .. }) => Ok(Refused::Waiting(Waiting {
            records: steps.iter().filter_map(|id| plan.step(id)).map(|step| step.records).sum(),
            codes: plan.refusals.iter().map(|refusal| refusal.code.clone()).collect(),
            plan_id: plan.plan_id,
        })),
        Err(LedgerError::State(_)) => Ok(Refused::Approved),
        Err(LedgerError::Unknown { .. }) => Ok(Refused::Otherwise),
        Err(error @ (LedgerError::Unreachable { .. } | LedgerError::Doubt(_))) => Err(error.into()),
    }
}

/// How fast the latest runs were that had enough to do.
async fn speed(ledger: &dyn Ledger, runs: &[RunRow]) -> Result<Option<Throughput>, Trouble> {
    let (mut records, mut seconds, mut measured) = (0_u64, 0_u64, 0_u64);
    for run in runs.iter().filter(|run| run.ended_at.is_some()).take(MEASURED_RUNS_MAX) {
        let Some(ended_at) = run.ended_at else { continue };
        let outcomes = ledger.outcomes_of_run(&run.run_id).await?;
        let erased: u64 =
            outcomes.iter().flat_map(|outcome| outcome.counts.values()).map(|counts| counts.erased).sum();
        if erased >= MEASURED_RECORDS_MIN {
            records = records.saturating_add(erased);
            seconds += u64::try_from((ended_at - run.started_at).num_seconds()).unwrap_or(0).max(1);
            measured += 1;
        }
    }
    Ok((measured > 0).then_some(Throughput { records, seconds, runs: measured }))
}

async fn audit_state(ledger: &dyn Ledger) -> Result<AuditState, Trouble> {
    let (head, entries) = (ledger.head().await?, ledger.entry_count().await?);
    let size = head.as_ref().map_or(0, |head| head.size);
    let head_at = match size.checked_sub(1) {
        Some(last) => made_at(ledger, last).await?,
        None => None,
    };
    let unsigned_since = if size < entries { made_at(ledger, size).await? } else { None };
    Ok(AuditState { head, entries, head_at, unsigned_since })
}

async fn made_at(ledger: &dyn Ledger, index: u64) -> Result<Option<DateTime<Utc>>, Trouble> {
    let entries = ledger.entries(index, 1).await?;
    let at = |body: &str| {
        let entry: serde_json::Value = serde_json::from_str(body).ok()?;
        DateTime::parse_from_rfc3339(entry.get("at")?.as_str()?).ok().map(|at| at.to_utc())
    };
    Ok(entries.first().and_then(|entry| at(&entry.body)))
}
