//! Holds and entitlements: what keeps data longer. It owns the checks before they are recorded; that a hold wins is decided
//! in the plan.

use chrono::{DateTime, Utc};

use super::{DeskError, checks};
use crate::id::{Category, EntitlementId, HoldId, TenantId};
use crate::ledger::{EntitlementRow, HoldRow, Ledger, NewEntitlement, NewHold};
use crate::plan::cover::{known_categories, known_entitlement, known_kinds};
use crate::policy::Policies;

/// A lawful order, as asked for. Nothing named means all of the tenant.
#[derive(Clone)]
pub struct AskedHold {
    /// Whose data.
    pub tenant: TenantId,
    /// Only records that name one of these: kind and value.
    pub subjects: Vec<(String, String)>,
    /// Only these categories.
    pub categories: Vec<Category>,
    /// Who ordered it, in words.
    pub authority: String,
}

/// Longer storage, as asked for.
#[derive(Debug, Clone)]
pub struct AskedGrant {
    /// The name that rules refer to.
    pub name: String,
    /// Whose data.
    pub tenant: TenantId,
    /// Only these categories; empty means every one whose rule names it.
    pub categories: Vec<Category>,
    /// From when on it runs no longer.
    pub until: Option<DateTime<Utc>>,
}

/// Checks a hold. All of a tenant can be held although a policy is broken (`None`); a hold on what no policy knows would
/// keep nothing, and nobody would notice.
///
/// # Errors
/// [`super::Kind::Usage`] where a category or a kind of subject is unknown, or the authority is empty.
pub fn hold_of(policies: Option<&Policies>, asked: AskedHold) -> Result<NewHold, DeskError> {
    let AskedHold { tenant, subjects, categories, authority } = asked;
    let authority = checks::words("the authority", &authority)?;
    checks::subjects(&subjects)?;
    if !subjects.is_empty() || !categories.is_empty() {
        let policies = policies.ok_or_else(|| {
            DeskError::refused("the policies cannot be read, so only all of a tenant can be held")
        })?;
        known_categories(policies, &categories).map_err(DeskError::usage)?;
        known_kinds(policies, &checks::kinds(&subjects)).map_err(DeskError::usage)?;
    }
    Ok(NewHold { tenant, subjects, categories, authority })
}

/// The hold is durable and in force for every batch that begins later. [`wait_for_batches`] waits for those before.
///
/// # Errors
/// Where the ledger cannot be written.
pub async fn record_hold(
    ledger: &dyn Ledger,
    new: &NewHold,
    now: DateTime<Utc>,
) -> Result<HoldRow, DeskError> {
    Ok(ledger.place_hold(new, now).await?)
}

/// Returns when no batch that began before the hold still runs, in any process.
///
/// # Errors
/// [`super::Kind::Unmet`]: the hold is in force, but nobody can say whether an earlier batch still runs.
pub async fn wait_for_batches(ledger: &dyn Ledger, hold: &HoldId) -> Result<(), DeskError> {
    ledger.wait_for_batches().await.map_err(|error| {
        DeskError::unmet(format!(
            "failed to wait for batches begun before {hold}, which is in force for all later ones: {error}"
        ))
    })
}

/// Places a hold and returns when nothing erases against it any more.
///
/// # Errors
/// As [`record_hold`] and [`wait_for_batches`].
pub async fn place_hold(
    ledger: &dyn Ledger,
    new: &NewHold,
    now: DateTime<Utc>,
) -> Result<HoldRow, DeskError> {
    let row = record_hold(ledger, new, now).await?;
    wait_for_batches(ledger, &row.hold_id).await?;
    Ok(row)
}

/// The hold is no longer in force; what was due is due at once.
///
/// # Errors
/// [`super::Kind::Unknown`]; [`super::Kind::Conflict`] where it is released already.
pub async fn release_hold(
    ledger: &dyn Ledger,
    id: &HoldId,
    now: DateTime<Utc>,
) -> Result<HoldRow, DeskError> {
    Ok(ledger.release_hold(id, now).await?)
}

/// Checks a grant.
///
/// # Errors
/// [`super::Kind::Usage`] where no rule knows the name or a category is unknown, or it would never run.
pub fn grant_of(
    policies: &Policies,
    asked: AskedGrant,
    now: DateTime<Utc>,
) -> Result<NewEntitlement, DeskError> {
    let AskedGrant { name, tenant, categories, until } = asked;
    if until.is_some_and(|until| until <= now) {
        return Err(DeskError::usage("the end lies in the past, so it would never run".to_owned()));
    }
    known_entitlement(policies, &name, &categories).map_err(DeskError::usage)?;
    Ok(NewEntitlement { name, tenant, categories, until })
}

/// The entitlement runs.
///
/// # Errors
/// Where the ledger cannot be written.
pub async fn grant_entitlement(
    ledger: &dyn Ledger,
    new: &NewEntitlement,
    now: DateTime<Utc>,
) -> Result<EntitlementRow, DeskError> {
    Ok(ledger.grant_entitlement(new, now).await?)
}

/// The entitlement runs no longer; what is over age is due.
///
/// # Errors
/// [`super::Kind::Unknown`]; [`super::Kind::Conflict`] where it has ended already.
pub async fn end_entitlement(
    ledger: &dyn Ledger,
    id: &EntitlementId,
    now: DateTime<Utc>,
) -> Result<EntitlementRow, DeskError> {
    Ok(ledger.end_entitlement(id, now).await?)
}
