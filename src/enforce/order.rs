//! What a run is asked to do, and what is read before anything is begun: doubts, facts, plan and review. It owns no effect.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Silent;
use crate::facts::LedgerFacts;
use crate::gather::{self, Readers, Trouble, World};
use crate::id::{PlacementId, PlanId, StepId};
use crate::ledger::{Ledger, RefusedPlan};
use crate::plan::review::{Approvals, ReviewedPlan, review};
use crate::plan::{Plan, plan};

/// How far a clock may be behind what the ledger has seen before nothing is erased any more: enough for ordinary
/// corrections by NTP, far less than any period.
const CLOCK_SLACK_MINUTES: i64 = 5;

/// What to carry out.
#[derive(Debug, Clone)]
pub enum Order {
    /// Whatever is due at this instant, which does not lie in the future.
    Now {
        /// The instant.
        at: DateTime<Utc>,
    },
    /// Whatever is due at this instant but for what nobody has asked for explicitly yet: requests that are younger than
    /// the delay, and terminations that were due when they were recorded, see [`LedgerFacts::as_scheduled`].
    Scheduled {
        /// The instant.
        at: DateTime<Utc>,
        /// What a request waits since it was recorded.
        request_delay: Duration,
    },
    /// A plan that was written to a file.
    File(Box<Plan>),
    /// The refused steps of a stored plan.
    Approve(Approval),
}

/// The approval of a refused plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Which plan.
    pub plan_id: PlanId,
    /// What it is good for, where it was not given just now.
    pub terms: Option<Terms>,
}

/// What an approval is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// When the plan was refused that was approved. The same plan, refused again, is not.
    pub refused_at: DateTime<Utc>,
    /// From when on nothing is begun on it.
    pub expires_at: DateTime<Utc>,
}

impl From<PlanId> for Approval {
    /// Given just now, for the plan as it waits.
    fn from(plan_id: PlanId) -> Self {
        Self { plan_id, terms: None }
    }
}

impl Approval {
    /// # Errors
    /// [`Trouble::Schema`] where it is for another refusal, or has expired.
    fn check(&self, refused_at: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Trouble> {
        let refuse = |why: &str| Err(Trouble::Schema(format!("plan `{}` {why}", self.plan_id)));
        match self.terms {
            Some(terms) if terms.refused_at != refused_at => {
                refuse("was refused again since it was approved")
            }
            Some(terms) if now >= terms.expires_at => refuse("was approved, and the approval has expired"),
            Some(_) | None => Ok(()),
        }
    }
}

impl Order {
    /// What of all that the ledger knows this order goes by.
    pub(super) fn sees(&self, known: LedgerFacts) -> LedgerFacts {
        match self {
            Self::Scheduled { at, request_delay } => known.as_scheduled(*at, *request_delay),
            Self::Now { .. } | Self::File(_) | Self::Approve(_) => known,
        }
    }

    /// True where nothing may be erased that is not in a plan that was made before.
    pub(super) fn is_fixed(&self) -> bool {
        match self {
            Self::Now { .. } | Self::Scheduled { .. } => false,
            Self::File(_) | Self::Approve(_) => true,
        }
    }
}

/// A stop, a clock that runs behind the ledger, or an instant in the future: nothing is begun.
pub(super) async fn refuse_doubts(world: &World, ledger: &dyn Ledger, order: &Order) -> Result<(), Trouble> {
    let now = world.clock.now();
    if let Some(stop) = ledger.stopped().await? {
        let text =
            format!("the emergency stop is on since {}: {}", stop.stopped_at.to_rfc3339(), stop.reason);
        return Err(Trouble::Doubt(text));
    }
    if let Some(run) = ledger.runs(1).await?.first()
        && run.started_at > now + chrono::Duration::minutes(CLOCK_SLACK_MINUTES)
    {
        let text =
            format!("the clock says {now}, but a run began at {}: set the clock right", run.started_at);
        return Err(Trouble::Doubt(text));
    }
    let at = match order {
        Order::Now { at } | Order::Scheduled { at, .. } => *at,
        Order::File(plan) => plan.at,
        Order::Approve(_) => return Ok(()),
    };
    if at > now {
        return Err(Trouble::Schema(format!(
            "{} lies in the future; only `plan` may look ahead",
            at.to_rfc3339()
        )));
    }
    Ok(())
}

/// What was read before a run begins.
pub(super) struct Reading {
    /// The plan that may be carried out.
    pub(super) reviewed: ReviewedPlan,
    /// What an operator has approved.
    pub(super) approvals: Approvals,
    /// Stores that could not be asked.
    pub(super) silent: Silent,
    /// Placements whose rows refer to rows of another one, or are referred to: their order is that of the plan.
    pub(super) in_order: BTreeSet<PlacementId>,
}

/// Facts, plan and review for an order.
pub(super) async fn read(
    world: &World,
    ledger: &dyn Ledger,
    readers: &Readers,
    order: &Order,
) -> Result<Reading, Trouble> {
    let (stored, only) = match order {
        Order::Now { .. } | Order::Scheduled { .. } => (None, None),
        Order::File(plan) => (Some((**plan).clone()), None),
        Order::Approve(approval) => {
            let RefusedPlan { plan, steps, refused_at } = ledger.refused(&approval.plan_id).await?;
            approval.check(refused_at, world.clock.now())?;
            (Some(plan), Some(steps.into_iter().collect::<BTreeSet<StepId>>()))
        }
    };
    let at = match (order, &stored) {
        (Order::Now { at } | Order::Scheduled { at, .. }, _) => *at,
        (_, Some(plan)) => plan.at,
        (_, None) => world.clock.now(),
    };
    let mut approvals = Approvals::new();
    if let (Some(plan), Some(only)) = (&stored, &only) {
        for step in plan.steps.iter().filter(|step| only.contains(&step.step_id)) {
            *approvals.records.entry((step.category.clone(), step.store.clone())).or_default() +=
                step.records;
        }
        // Only exports that the plan named: one that was asked for since was not approved by anybody.
        approvals.exports.extend(plan.refusals.iter().filter_map(|refusal| refusal.export_id.clone()));
    }
    let known = order.sees(gather::ledger_facts(Some(ledger), world.clock.now()).await?);
    let facts = gather::facts(world, readers, known, at).await?;
    let plan = match stored {
        Some(plan) => plan,
        None => plan(&world.policies, &facts, at)?,
    };
    let reviewed = review(plan, only.as_ref(), &world.policies, &facts, gather::caps(world), &approvals)?;
    let in_order = facts.children.iter().flat_map(|(rows, children)| children.iter().chain([rows]).cloned());
    Ok(Reading { reviewed, approvals, in_order: in_order.collect(), silent: facts.unreachable })
}

pub(super) async fn plan_anew(
    world: &World,
    ledger: &dyn Ledger,
    readers: &Readers,
    order: &Order,
    at: DateTime<Utc>,
    approvals: &Approvals,
) -> Result<(ReviewedPlan, Silent), Trouble> {
    let known = order.sees(gather::ledger_facts(Some(ledger), world.clock.now()).await?);
    let facts = gather::facts(world, readers, known, at).await?;
    let plan = plan(&world.policies, &facts, at)?;
    let reviewed = review(plan, None, &world.policies, &facts, gather::caps(world), approvals)?;
    Ok((reviewed, facts.unreachable))
}
