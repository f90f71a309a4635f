//! The rows of the ledger, as plain data. It owns their shapes; [`super::Ledger`] says what becomes of them.

mod opendsr;
mod outside;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{
    Category, EntitlementId, Fingerprint, HoldId, PlacementId, PlanId, RequestId, RunId, StepId, StoreId,
    TenantId,
};
use crate::plan::{CountsByTenant, NamedSubject, Plan, Residual};
use crate::policy::Level;

pub use opendsr::{NewOpenDsr, OpenDsrClaim, OpenDsrRow};
pub use outside::{
    AlarmRow, AnswerClaim, DeliveryFate, DeliveryRow, ExportRow, ExportState, GivenAnswer, NewAlarm,
    NewDelivery, NewExport, NewToken, ProposalRow, ProposedAction, Role, TokenRow,
};

/// A store that carries the marker of this ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Since when.
    pub marked_at: DateTime<Utc>,
    /// What it said of itself when it was met, see [`crate::stores::Identity`]; `None` where nobody asked it yet.
    pub fingerprint: Option<String>,
}

/// The head of the audit log: how many entries, and the root over them (RFC 6962, hex).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// Root hash, 64 hex digits.
    pub root: String,
}

/// What someone asks to have erased, as given on the command line or over HTTP.
#[derive(Clone)]
pub struct NewRequest {
    /// Whose data.
    pub tenant: TenantId,
    /// Exactly one of: subjects (kind, value), categories, everything (both empty and `everything`).
    pub scope: NewScope,
    /// Start of its clock. The `now` of the call where the caller was told none: then it does not count when two
    /// requests with the same idempotency key are compared.
    pub received_at: DateTime<Utc>,
    /// By when the last placement is gone; computed by the caller from the policies.
    pub deadline: DateTime<Utc>,
    /// The categories that it covers, computed by the caller.
    pub covers: Vec<Category>,
    /// The placements that it covers, computed by the caller.
    pub placements: Vec<PlacementId>,
    /// Whether a store knew the tenant when it was recorded.
    pub known: bool,
    /// Same key and same content: the same request, made once. Same key, other content: refused.
    pub idempotency_key: Option<String>,
}

/// What a new request or hold names.
#[derive(Clone, PartialEq, Eq)]
pub enum NewScope {
    /// All data of the tenant.
    Everything,
    /// Everything in these categories.
    Categories(Vec<Category>),
    /// Records that name one of these subjects: kind and value.
    Subjects(Vec<(String, String)>),
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestState {
    /// Recorded, nothing done yet.
    Received,
    /// A hold or an export keeps it from being carried out.
    Waiting,
    /// Partly carried out.
    Enforcing,
    /// Live records are gone, something still rotates.
    Residual,
    /// Everything is gone; its key is destroyed.
    Completed,
    /// Withdrawn before it was carried out.
    Cancelled,
}

/// A request as it stands in the ledger. Subjects by fingerprint only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRow {
    /// Its id.
    pub request_id: RequestId,
    /// Whose data.
    pub tenant: TenantId,
    /// Whether a store knew the tenant when it was recorded.
    pub known: bool,
    /// Where it stands.
    pub state: RequestState,
    /// Start of its clock.
    pub received_at: DateTime<Utc>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// By when the last placement is gone.
    pub deadline: DateTime<Utc>,
    /// When it was completed.
    pub completed_at: Option<DateTime<Utc>>,
    /// The categories that it covers.
    pub categories: Vec<Category>,
    /// The subjects that it names, by fingerprint; empty for whole categories and everything.
    pub subjects: Vec<NamedSubject>,
    /// True where it asks for all data of the tenant.
    pub everything: bool,
    /// By placement.
    pub placements: Vec<RequestPlacement>,
}

/// How far a request got in one placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestPlacement {
    /// Where.
    pub placement: PlacementId,
    /// How far.
    pub state: RequestState,
    /// Erased for it so far, already absent records included.
    pub erased: u64,
    /// Shown absent by a separate read.
    pub verified_absent: u64,
    /// What remains, until when.
    pub residual: Vec<Residual>,
}

/// A tenant's life cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRow {
    /// Who.
    pub tenant: TenantId,
    /// `terminated` or `active` (reinstated).
    pub state: TenantState,
    /// From when the grace counts.
    pub terminated_at: Option<DateTime<Utc>>,
    /// When it was told to us.
    pub recorded_at: DateTime<Utc>,
}

/// Whether an account lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TenantState {
    /// It lives.
    Active,
    /// It has ended.
    Terminated,
}

/// A lawful order, as asked for.
#[derive(Clone)]
pub struct NewHold {
    /// Whose data.
    pub tenant: TenantId,
    /// Only records that name one of these (kind and value); empty means every record.
    pub subjects: Vec<(String, String)>,
    /// Only these categories; empty means every category.
    pub categories: Vec<Category>,
    /// Who ordered it, in words.
    pub authority: String,
}

/// A hold as it stands in the ledger. Subjects by fingerprint only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRow {
    /// Its id.
    pub hold_id: HoldId,
    /// Whose data.
    pub tenant: TenantId,
    /// The subjects named.
    pub subjects: Vec<NamedSubject>,
    /// The categories named; empty means every one.
    pub categories: Vec<Category>,
    /// Who ordered it.
    pub authority: String,
    /// Since when.
    pub placed_at: DateTime<Utc>,
    /// Until when.
    pub released_at: Option<DateTime<Utc>>,
}

/// Longer storage, as asked for.
#[derive(Debug, Clone)]
pub struct NewEntitlement {
    /// The name that rules refer to.
    pub name: String,
    /// Whose data.
    pub tenant: TenantId,
    /// Only these categories; empty means every one whose rule names it.
    pub categories: Vec<Category>,
    /// From when on it runs no longer.
    pub until: Option<DateTime<Utc>>,
}

/// An entitlement as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitlementRow {
    /// Its id.
    pub entitlement_id: EntitlementId,
    /// The name that rules refer to.
    pub name: String,
    /// Whose data.
    pub tenant: TenantId,
    /// The categories named; empty means every one whose rule names it.
    pub categories: Vec<Category>,
    /// Since when.
    pub granted_at: DateTime<Utc>,
    /// Until when it was granted.
    pub until: Option<DateTime<Utc>>,
    /// When it was ended before that.
    pub ended_at: Option<DateTime<Utc>>,
}

/// A plan whose refused steps wait for approval.
#[derive(Debug, Clone, PartialEq)]
pub struct RefusedPlan {
    /// The plan, whole.
    pub plan: Plan,
    /// Its refused steps.
    pub steps: Vec<StepId>,
    /// When they were refused last.
    pub refused_at: DateTime<Utc>,
}

/// One execution of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its id.
    pub run_id: RunId,
    /// Which plan.
    pub plan_id: PlanId,
    /// The instant of the plan.
    pub at: DateTime<Utc>,
    /// `running`, `done`, `failed`, `refused` or `interrupted`.
    pub status: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The emergency stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Since when.
    pub stopped_at: DateTime<Utc>,
    /// Why, in the operator's words.
    pub reason: String,
}

/// What is about to be erased: durable before a store is touched.
#[derive(Clone)]
pub struct Intent {
    /// The run.
    pub run_id: RunId,
    /// The step.
    pub step_id: StepId,
    /// The step's tenant; `None` for all but the excepted.
    pub tenant: Option<TenantId>,
    /// Generation that the step carries.
    pub generation: u64,
    /// The category and the digest of its policy that the step carries.
    pub policy: (Category, String),
    /// The batch as JSON, sealed by the ledger under the run's own key.
    pub batch: String,
    /// Where the batch is.
    pub placement: PlacementId,
}

/// What a process does in a run.
pub enum Part {
    /// It leads one of its own, until this is dropped or the process dies.
    Lead(Box<dyn std::any::Any + Send>),
    /// It helps with one that another process leads.
    Help {
        /// The run.
        run: RunRow,
        /// The steps that it takes help with: who leads was allowed them, and they wait for no other.
        shared: Vec<StepId>,
        /// It counts as a helper until this is dropped or the process dies.
        place: Box<dyn std::any::Any + Send>,
    },
}

/// A step that this process has claimed in a run that several share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Which.
    pub step_id: StepId,
    /// Another process had it before, and has lost its lease.
    pub is_inherited: bool,
}

/// Whether a batch may begin.
pub enum Permit {
    /// It may; it counts as running until the guard is dropped.
    Granted(BatchGuard),
    /// The generation of the step's tenants has moved: plan again.
    Moved,
    /// The policy in force has another digest: plan again.
    PolicyMoved,
    /// The emergency stop is on.
    Stopped(Stop),
    /// This process has lost its lease, and others carry on what it had begun: do nothing more.
    Lost,
}

/// How long whoever runs a batch may go on: asked before each call that erases. Costs nothing and asks nobody.
#[derive(Clone, Default)]
pub struct Lease(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Lease {
    /// As long as the process lives: the kernel tells others when it does not.
    pub fn endless() -> Self {
        Self(None)
    }

    /// As long as this says.
    pub(super) fn of(is_good: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_good)))
    }

    /// True where there is time enough for one more call.
    pub fn is_good(&self) -> bool {
        self.0.as_ref().is_none_or(|is_good| is_good())
    }
}

/// Whether a batch that serves several steps may begin.
pub enum Permits {
    /// It may, for all of them; it counts as running until the lock is dropped.
    Granted {
        /// The intents' numbers, in the order in which they were given.
        numbers: Vec<u64>,
        /// As [`BatchGuard::lock`].
        lock: Box<dyn std::any::Any + Send>,
        /// As [`BatchGuard::lease`].
        lease: Lease,
    },
    /// It may not, since this one of its steps may not; never [`Permit::Granted`].
    Refused {
        /// The place of its intent in what was given.
        index: usize,
        /// Why.
        why: Permit,
    },
}

/// A batch that is running. While any guard of any process lives, [`super::Ledger::wait_for_batches`] waits.
pub struct BatchGuard {
    /// The intent's number, for [`super::Ledger::finish_batch`].
    pub number: u64,
    /// Releases the process-wide permit when dropped, also when the process dies.
    pub lock: Box<dyn std::any::Any + Send>,
    /// Asked before each call that erases.
    pub lease: Lease,
}

/// An intent that no outcome followed: the process died in between.
#[derive(Clone)]
pub struct OpenIntent {
    /// The intent's number.
    pub number: u64,
    /// The run that died.
    pub run_id: RunId,
    /// The step.
    pub step_id: StepId,
    /// Where.
    pub placement: PlacementId,
    /// The batch as JSON, unsealed.
    pub batch: String,
}

/// The outcome of one step in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutcome {
    /// The run.
    pub run_id: RunId,
    /// The step.
    pub step_id: StepId,
    /// Where.
    pub placement: PlacementId,
    /// In which store.
    pub store: StoreId,
    /// Under which policy.
    pub category: Category,
    /// Why.
    pub reason: String,
    /// Which text is kept.
    pub clause: String,
    /// How.
    pub method: String,
    /// The request that asked.
    pub request_id: Option<RequestId>,
    /// By tenant.
    pub counts: CountsByTenant,
    /// The level reached.
    pub level: Level,
    /// What remains, until when.
    pub residual: Vec<Residual>,
    /// When the last read-back was done.
    pub verified_at: DateTime<Utc>,
    /// What was erased, for replay after a restore: subjects by fingerprint, up to which event time.
    pub scope: ErasedScope,
    /// Why it is not done, where it is not.
    pub failure: Option<String>,
}

/// The memory of what was erased (a tombstone): a scope, not a list of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedScope {
    /// Subjects by fingerprint; empty means every record in time.
    pub subjects: Vec<Fingerprint>,
    /// Up to which event time; `None` means any.
    pub up_to: Option<DateTime<Utc>>,
}

/// An audit entry: its number and its canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 0.
    pub index: u64,
    /// Canonical JSON, at most 8 KiB.
    pub body: String,
}
