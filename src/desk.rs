//! The service functions behind every interface: what the command line, HTTP and `OpenDSR` ask for is checked, worked out
//! from the policies and recorded here, once. It owns these checks and the order in which they are made; it parses and
//! prints nothing.

pub mod checks;
mod error;
mod keep;
mod pairs;

use chrono::{DateTime, Utc};

use crate::gather::{self, World};
use crate::id::{RequestId, TenantId};
use crate::ledger::{
    Ledger, LedgerError, NewRequest, NewScope, RequestRow, RequestState, Stop, TenantRow, TenantState,
};
use crate::plan::cover::{Falling, NewScopeKinds, covered, falling};
use crate::policy::Policies;

pub use error::{DeskError, Kind};
pub use keep::{
    AskedGrant, AskedHold, end_entitlement, grant_entitlement, grant_of, hold_of, place_hold, record_hold,
    release_hold, wait_for_batches,
};
pub use pairs::{
    Carried, PROPOSAL_HOURS, approve, approved_plans, binding_of, carry_out, finish_approved,
    propose_approval, propose_release, propose_termination,
};

/// What was recorded, and what people should be told about it.
#[derive(Debug, Clone)]
#[must_use]
pub struct Recorded<T> {
    /// What stands now.
    pub row: T,
    /// Sentences for people; none of them is a reason to refuse.
    pub warnings: Vec<String>,
}

/// An erasure request, as asked for.
#[derive(Clone)]
pub struct AskedRequest {
    /// Whose data.
    pub tenant: TenantId,
    /// What is to be erased: exactly one of subjects, categories and everything.
    pub scope: NewScope,
    /// When it was received; now where nobody says.
    pub received_at: Option<DateTime<Utc>>,
    /// When it was made elsewhere, where that is known: the deadline counts from the earlier of the two. What is covered
    /// goes up to the receipt all the same.
    pub submitted_at: Option<DateTime<Utc>>,
    /// Given again with the same content, it makes no second request.
    pub idempotency_key: Option<String>,
}

/// Works out what a request covers and by when, and asks the stores whether they know the tenant. Records nothing.
///
/// # Errors
/// [`Kind::Usage`] where a name is unknown, nothing is named, a category has no request rule or the receipt lies in the
/// future.
pub async fn request_of(
    world: &World,
    asked: AskedRequest,
    now: DateTime<Utc>,
) -> Result<Recorded<NewRequest>, DeskError> {
    let AskedRequest { tenant, scope, received_at, submitted_at, idempotency_key } = asked;
    let received_at = received_at.unwrap_or(now);
    checks::not_in_future("the time of receipt", received_at, now)?;
    let kinds = kinds_of(&scope)?;
    let starts_at = submitted_at.map_or(received_at, |at| at.min(received_at));
    let covered = covered(&world.policies, &kinds, starts_at).map_err(DeskError::usage)?;
    let mut warnings: Vec<String> = covered
        .left_out
        .iter()
        .map(|category| {
            format!("category `{category}` names such subjects but has no request rule; its records stay")
        })
        .collect();
    // The receipt starts the clock, so a request is recorded although a store cannot say whether it knows the tenant.
    let known = match gather::knows_tenant(world, &tenant).await {
        Ok(true) => true,
        Ok(false) => {
            warnings
                .push(format!("no store knows the tenant `{tenant}`; the request is recorded all the same"));
            false
        }
        Err(trouble) => {
            warnings.push(unasked(&tenant, &trouble));
            false
        }
    };
    let row = NewRequest {
        tenant,
        scope,
        received_at,
        deadline: covered.deadline,
        covers: covered.categories,
        placements: covered.placements,
        known,
        idempotency_key,
    };
    Ok(Recorded { row, warnings })
}

/// The request is durable once this returns.
///
/// # Errors
/// [`Kind::Conflict`] where its idempotency key was given to another request before.
pub async fn record_request(
    ledger: &dyn Ledger,
    new: &NewRequest,
    now: DateTime<Utc>,
) -> Result<RequestRow, DeskError> {
    Ok(ledger.create_request(new, now).await?)
}

/// As [`request_of`] and [`record_request`].
///
/// # Errors
/// As [`request_of`]; [`Kind::Conflict`] where its idempotency key was given to another request before.
pub async fn create_request(
    world: &World,
    ledger: &dyn Ledger,
    asked: AskedRequest,
    now: DateTime<Utc>,
) -> Result<Recorded<RequestRow>, DeskError> {
    let Recorded { row, warnings } = request_of(world, asked, now).await?;
    Ok(Recorded { row: record_request(ledger, &row, now).await?, warnings })
}

/// The request is withdrawn: no batch that begins later serves it.
///
/// # Errors
/// [`Kind::Unknown`]; [`Kind::Conflict`] once it is completed or cancelled.
pub async fn cancel_request(
    ledger: &dyn Ledger,
    id: &RequestId,
    now: DateTime<Utc>,
) -> Result<RequestRow, DeskError> {
    Ok(ledger.cancel_request(id, now).await?)
}

/// As [`cancel_request`], but only while nothing was erased for it. Who asks from afar does not see what is going on and
/// is told the state instead.
///
/// # Errors
/// As [`cancel_request`]; [`Kind::Conflict`] with the state where erasing has begun.
pub async fn cancel_untouched_request(
    ledger: &dyn Ledger,
    id: &RequestId,
    now: DateTime<Utc>,
) -> Result<RequestRow, DeskError> {
    let row = ledger.request(id).await?;
    let refuse = |state: RequestState| {
        Err(DeskError::conflict(format!("request `{id}` is {} and cannot be cancelled", word(state)))
            .in_state(word(state)))
    };
    match row.state {
        RequestState::Received | RequestState::Waiting if is_begun(ledger, id).await? => {
            refuse(RequestState::Enforcing)
        }
        RequestState::Received | RequestState::Waiting => cancel_request(ledger, id, now).await,
        RequestState::Enforcing
        | RequestState::Residual
        | RequestState::Completed
        | RequestState::Cancelled => refuse(row.state),
    }
}

/// A tenant's life cycle, with what falls due when.
#[derive(Debug, Clone)]
pub struct Cycle {
    /// Where the account stands.
    pub row: TenantRow,
    /// What falls due when, by category.
    pub falling: Vec<Falling>,
}

/// The tenant counts as terminated from `at`, now where nobody says.
///
/// # Errors
/// [`Kind::Usage`] where `at` lies in the future; [`Kind::Conflict`] where the tenant is terminated already.
pub async fn terminate(
    world: &World,
    ledger: &dyn Ledger,
    tenant: &TenantId,
    at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Recorded<Cycle>, DeskError> {
    let at = at.unwrap_or(now);
    checks::not_in_future("the time of termination", at, now)?;
    let mut warnings = Vec::new();
    match gather::knows_tenant(world, tenant).await {
        Ok(true) => {}
        Ok(false) => warnings.push(format!("no store knows the tenant `{tenant}`; is it spelled right?")),
        Err(trouble) => warnings.push(unasked(tenant, &trouble)),
    }
    let row = ledger.terminate(tenant, at, now).await?;
    Ok(Recorded { row: cycle_of(&world.policies, row), warnings })
}

/// The account has come back: no batch that begins later serves its termination.
///
/// # Errors
/// [`Kind::Conflict`] where the tenant is not terminated.
pub async fn reinstate(
    ledger: &dyn Ledger,
    tenant: &TenantId,
    now: DateTime<Utc>,
) -> Result<TenantRow, DeskError> {
    Ok(ledger.reinstate(tenant, now).await?)
}

/// What falls due for a tenant as it stands.
pub fn cycle_of(policies: &Policies, row: TenantRow) -> Cycle {
    let falling = match (row.state, row.terminated_at) {
        (TenantState::Terminated, Some(at)) => falling(policies, at),
        (TenantState::Terminated, None) | (TenantState::Active, _) => Vec::new(),
    };
    Cycle { row, falling }
}

/// One tenant. Tenants need no registration: one of whom nothing was told lives.
///
/// # Errors
/// Where the ledger cannot be read.
pub async fn tenant(
    ledger: Option<&dyn Ledger>,
    tenant: &TenantId,
    now: DateTime<Utc>,
) -> Result<TenantRow, DeskError> {
    let rows = match ledger {
        Some(ledger) => ledger.tenants().await?,
        None => Vec::new(),
    };
    Ok(rows.into_iter().find(|row| &row.tenant == tenant).unwrap_or_else(|| TenantRow {
        tenant: tenant.clone(),
        state: TenantState::Active,
        terminated_at: None,
        recorded_at: now,
    }))
}

/// No batch begins anywhere until [`go`]. Answers the stop that is on: since when and why it came first.
///
/// # Errors
/// Where the ledger cannot be written.
pub async fn stop(ledger: &dyn Ledger, reason: &str, now: DateTime<Utc>) -> Result<Stop, DeskError> {
    ledger.stop(reason, now).await?;
    let stop = ledger.stopped().await?;
    stop.ok_or_else(|| DeskError::conflict("somebody has ended the stop already".to_owned()))
}

/// Batches may begin again. Answers whether a stop was on.
///
/// # Errors
/// Where the ledger cannot be written.
pub async fn go(ledger: &dyn Ledger, now: DateTime<Utc>) -> Result<bool, DeskError> {
    Ok(ledger.go(now).await?)
}

/// The word for a state, as JSON has it.
pub fn word(state: RequestState) -> &'static str {
    match state {
        RequestState::Received => "received",
        RequestState::Waiting => "waiting",
        RequestState::Enforcing => "enforcing",
        RequestState::Residual => "residual",
        RequestState::Completed => "completed",
        RequestState::Cancelled => "cancelled",
    }
}

fn kinds_of(scope: &NewScope) -> Result<NewScopeKinds, DeskError> {
    Ok(match scope {
        NewScope::Everything => NewScopeKinds::Everything,
        NewScope::Categories(categories) => NewScopeKinds::Categories(categories.clone()),
        NewScope::Subjects(subjects) => {
            checks::subjects(subjects)?;
            NewScopeKinds::Subjects(checks::kinds(subjects))
        }
    })
}

fn unasked(tenant: &TenantId, trouble: &gather::Trouble) -> String {
    format!("nobody can say now whether the tenant `{tenant}` is known: {trouble}")
}

/// True where a step of the request has an outcome, or a batch of it has begun and has none yet.
async fn is_begun(ledger: &dyn Ledger, id: &RequestId) -> Result<bool, DeskError> {
    if !ledger.outcomes_of_request(id).await?.is_empty() {
        return Ok(true);
    }
    for intent in ledger.open_intents().await? {
        match ledger.step_of_run(&intent.run_id, &intent.step_id).await {
            Ok(step) if step.request_id.as_ref() == Some(id) => return Ok(true),
            // A step that is gone with its run serves nobody any more.
            Ok(_) | Err(LedgerError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}
