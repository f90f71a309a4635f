//! What takes two persons over the network: one proposes, another approves, and only then is it done. It owns what is
//! proposed and that it is done once; who may propose or approve is decided by who asks here.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Cycle, DeskError, Kind, checks, cycle_of, terminate};
use crate::enforce::{Approval, Terms};
use crate::gather::World;
use crate::id::{HoldId, PlanId, ProposalId, TenantId};
use crate::ledger::{
    HoldRow, Ledger, LedgerError, ProposalRow, ProposedAction, RefusedPlan, TenantRow, TenantState,
};

/// How long a proposal waits: a day, so that who approves still knows what it was about.
pub const PROPOSAL_HOURS: i64 = 24;

/// What came of an approval.
#[derive(Debug, Clone)]
pub enum Carried {
    /// The hold is released.
    Released(HoldRow),
    /// The account has ended.
    Terminated(Box<Cycle>),
    /// The plan is carried out by the next run: see [`approved_plans`].
    ToBeRun(PlanId),
}

/// Proposes to release a hold.
///
/// # Errors
/// [`super::Kind::Usage`] without a reason; [`super::Kind::Unknown`]; [`super::Kind::Conflict`] where it is released.
pub async fn propose_release(
    ledger: &dyn Ledger,
    hold_id: &HoldId,
    reason: &str,
    by: &str,
    now: DateTime<Utc>,
) -> Result<ProposalRow, DeskError> {
    let reason = checks::words("the reason", reason)?;
    let hold = hold(ledger, hold_id).await?;
    if hold.released_at.is_some() {
        return Err(DeskError::conflict(format!("hold `{hold_id}` is released already")).in_state("released"));
    }
    propose(ledger, &ProposedAction::ReleaseHold { hold_id: hold_id.clone(), reason }, by, now).await
}

/// Proposes to end a tenant's account.
///
/// # Errors
/// [`super::Kind::Usage`] where `at` lies in the future; [`super::Kind::Conflict`] where the tenant is terminated.
pub async fn propose_termination(
    ledger: &dyn Ledger,
    tenant: &TenantId,
    at: Option<DateTime<Utc>>,
    by: &str,
    now: DateTime<Utc>,
) -> Result<ProposalRow, DeskError> {
    let terminated_at = at.unwrap_or(now);
    checks::not_in_future("the time of termination", terminated_at, now)?;
    if super::tenant(Some(ledger), tenant, now).await?.state == TenantState::Terminated {
        return Err(
            DeskError::conflict(format!("tenant `{tenant}` is terminated already")).in_state("terminated")
        );
    }
    let action = ProposedAction::TerminateTenant { tenant: tenant.clone(), terminated_at };
    propose(ledger, &action, by, now).await
}

/// Proposes to carry out the refused steps of a stored plan.
///
/// # Errors
/// [`super::Kind::Unknown`]; [`super::Kind::Conflict`] where they were approved already.
pub async fn propose_approval(
    ledger: &dyn Ledger,
    plan_id: &PlanId,
    by: &str,
    now: DateTime<Utc>,
) -> Result<ProposalRow, DeskError> {
    let RefusedPlan { plan, steps, refused_at } = ledger.refused(plan_id).await?;
    let refused = plan.steps.iter().filter(|step| steps.contains(&step.step_id));
    let records = refused.map(|step| step.records).sum();
    let action = ProposedAction::ApprovePlan { plan_id: plan_id.clone(), records, refused_at };
    propose(ledger, &action, by, now).await
}

/// What an approval binds: SHA-256 (hex) of the proposed action as JSON. Who approves repeats it, so that nothing is
/// approved unseen.
///
/// # Errors
/// [`super::Kind::Unmet`] where it cannot be written.
pub fn binding_of(action: &ProposedAction) -> Result<String, DeskError> {
    let text = serde_json::to_vec(action)
        .map_err(|error| DeskError::unmet(format!("failed to write the action as JSON: {error}")))?;
    Ok(hex::encode(Sha256::digest(text)))
}

/// Approves a proposal and does what it proposes. Guarded by `an_approval_needs_another_person_and_the_same_binding`.
///
/// # Errors
/// [`super::Kind::Unknown`]; [`super::Kind::Refused`] for who proposed it and where `binding` is of another action;
/// [`super::Kind::Conflict`] once it is approved or expired, or its action is no longer possible.
pub async fn approve(
    world: &World,
    ledger: &dyn Ledger,
    id: &ProposalId,
    binding: &str,
    by: &str,
    now: DateTime<Utc>,
) -> Result<(ProposalRow, Carried), DeskError> {
    let row = proposal(ledger, id).await?;
    if binding_of(&row.action)? != binding {
        return Err(DeskError::refused(format!("the digest is not that of proposal `{id}`; read it again")));
    }
    if row.proposed_by == by {
        return Err(DeskError::refused(format!(
            "proposal `{id}` is approved by another person than who made it"
        )));
    }
    refuse_moved(ledger, &row).await?;
    // Who approved it may ask again where the process died before it was done.
    let row = match &row.approved_by {
        Some(before) if before == by && is_undone(ledger, &row).await? => row,
        Some(_) | None => ledger.approve_proposal(id, by, now).await?,
    };
    let carried = carry_out(world, ledger, &row, now).await?;
    Ok((row, carried))
}

/// Does what an approved proposal proposes, unless it is done.
///
/// # Errors
/// [`super::Kind::Conflict`] where it is not approved, has expired or is no longer possible.
pub async fn carry_out(
    world: &World,
    ledger: &dyn Ledger,
    row: &ProposalRow,
    now: DateTime<Utc>,
) -> Result<Carried, DeskError> {
    let Some(approved_at) = row.approved_at else {
        return Err(DeskError::conflict(format!("proposal `{}` is not approved", row.proposal_id)));
    };
    if now >= row.expires_at {
        return Err(DeskError::conflict(format!(
            "proposal `{}` has expired before it was done; make it again",
            row.proposal_id
        ))
        .in_state("expired"));
    }
    refuse_moved(ledger, row).await?;
    match &row.action {
        ProposedAction::ReleaseHold { hold_id, .. } => {
            let hold = hold(ledger, hold_id).await?;
            Ok(Carried::Released(match hold.released_at {
                Some(_) => hold,
                None => ledger.release_hold(hold_id, now).await?,
            }))
        }
        ProposedAction::TerminateTenant { tenant, terminated_at } => {
            let before = super::tenant(Some(ledger), tenant, approved_at - TimeDelta::seconds(1)).await?;
            let cycle = if before.recorded_at >= approved_at {
                cycle_of(&world.policies, before)
            } else {
                terminate(world, ledger, tenant, Some(*terminated_at), now).await?.row
            };
            Ok(Carried::Terminated(Box::new(cycle)))
        }
        ProposedAction::ApprovePlan { plan_id, .. } => Ok(Carried::ToBeRun(plan_id.clone())),
    }
}

/// Approvals of plans that two persons gave, that are good now and that no run has carried out yet, in order.
///
/// # Errors
/// Where the ledger cannot be read.
pub async fn approved_plans(ledger: &dyn Ledger, now: DateTime<Utc>) -> Result<Vec<Approval>, DeskError> {
    let mut plans: Vec<Approval> = Vec::new();
    for row in ledger.proposals().await? {
        if let ProposedAction::ApprovePlan { plan_id, refused_at, .. } = &row.action
            && row.approved_at.is_some()
            && now < row.expires_at
            && !plans.iter().any(|known| &known.plan_id == plan_id)
            && is_undone(ledger, &row).await?
        {
            let terms = Terms { refused_at: *refused_at, expires_at: row.expires_at };
            plans.push(Approval { plan_id: plan_id.clone(), terms: Some(terms) });
        }
    }
    Ok(plans)
}

/// Does what was approved but not done since the process died or something failed in between. What has expired meanwhile
/// is never done, and that is told once.
///
/// # Errors
/// Where the ledger cannot be read or written.
pub async fn finish_approved(
    world: &World,
    ledger: &dyn Ledger,
    now: DateTime<Utc>,
) -> Result<(), DeskError> {
    for row in ledger.proposals().await? {
        if row.approved_at.is_some() && is_undone(ledger, &row).await? {
            if now >= row.expires_at {
                tell_expired(ledger, &row, now).await?;
                continue;
            }
            match carry_out(world, ledger, &row, now).await {
                Ok(_) => {}
                // Somebody did it, or the like of it, by another way: nothing is left to do.
                Err(error) if matches!(error.kind, Kind::Conflict | Kind::Unknown) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Several daemons and every later start meet the same proposal: the first of them tells.
async fn tell_expired(ledger: &dyn Ledger, row: &ProposalRow, now: DateTime<Utc>) -> Result<(), DeskError> {
    let id = &row.proposal_id;
    let name = format!("expired:{id}");
    if ledger.last_tick(&name).await?.is_some() || !ledger.claim_tick(&name, row.expires_at, now).await? {
        return Ok(());
    }
    tracing::warn!(proposal_id = %id, "an approved proposal has expired before it was done; it is not done any more");
    let fields = json!({"proposal_id": id, "approved_by": row.approved_by, "expires_at": row.expires_at});
    Ok(ledger.record_entry("approval-expired", fields, now).await?)
}

/// A termination is proposed of a tenant as it stands; what was recorded of it since nobody has approved.
async fn refuse_moved(ledger: &dyn Ledger, row: &ProposalRow) -> Result<(), DeskError> {
    let ProposedAction::TerminateTenant { tenant, .. } = &row.action else { return Ok(()) };
    let until = row.approved_at.unwrap_or(DateTime::<Utc>::MAX_UTC);
    let tenants = ledger.tenants().await?;
    let is_moved = |known: &TenantRow| {
        &known.tenant == tenant && known.recorded_at >= row.proposed_at && known.recorded_at < until
    };
    if tenants.iter().any(is_moved) {
        return Err(DeskError::conflict(format!(
            "tenant `{tenant}` was terminated or reinstated since this was proposed; propose it again"
        )));
    }
    Ok(())
}

async fn is_undone(ledger: &dyn Ledger, row: &ProposalRow) -> Result<bool, DeskError> {
    let Some(approved_at) = row.approved_at else { return Ok(true) };
    Ok(match &row.action {
        ProposedAction::ReleaseHold { hold_id, .. } => hold(ledger, hold_id).await?.released_at.is_none(),
        ProposedAction::TerminateTenant { tenant, .. } => {
            let before = approved_at - TimeDelta::seconds(1);
            super::tenant(Some(ledger), tenant, before).await?.recorded_at < approved_at
        }
        ProposedAction::ApprovePlan { plan_id, refused_at, .. } => match ledger.refused(plan_id).await {
            Ok(waiting) => waiting.refused_at == *refused_at,
            Err(LedgerError::Unknown { .. } | LedgerError::State(_)) => false,
            Err(error) => return Err(error.into()),
        },
    })
}

async fn propose(
    ledger: &dyn Ledger,
    action: &ProposedAction,
    by: &str,
    now: DateTime<Utc>,
) -> Result<ProposalRow, DeskError> {
    Ok(ledger.propose(action, by, now + TimeDelta::hours(PROPOSAL_HOURS), now).await?)
}

async fn hold(ledger: &dyn Ledger, id: &HoldId) -> Result<HoldRow, DeskError> {
    let holds = ledger.holds().await?;
    let unknown = || LedgerError::Unknown { what: "hold", id: id.to_string() };
    Ok(holds.into_iter().find(|hold| &hold.hold_id == id).ok_or_else(unknown)?)
}

async fn proposal(ledger: &dyn Ledger, id: &ProposalId) -> Result<ProposalRow, DeskError> {
    let rows = ledger.proposals().await?;
    let unknown = || LedgerError::Unknown { what: "proposal", id: id.to_string() };
    Ok(rows.into_iter().find(|row| &row.proposal_id == id).ok_or_else(unknown)?)
}
