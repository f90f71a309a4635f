//! The ledger: what was asked, ordered, decided and done, and nothing that a store holds.
//! It owns the trait [`Ledger`] and its row types; `sqlite` is the embedded default. It makes no policy decision.

mod entry;
mod error;
mod seal;
mod shown;
pub mod sqlite;

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::facts::LedgerFacts;
use crate::id::{
    Category, EntitlementId, Fingerprint, HoldId, PlacementId, PlanId, RequestId, RunId, StepId, StoreId,
    SubjectKey, TenantId,
};
use crate::plan::{CountsByTenant, NamedSubject, Plan, Residual, SubjectOrigin};
use crate::policy::Level;

pub use error::LedgerError;

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
}

/// A batch that is running. While any guard of any process lives, [`Ledger::wait_for_batches`] waits.
pub struct BatchGuard {
    /// The intent's number, for [`Ledger::finish_batch`].
    pub number: u64,
    /// Releases the process-wide permit when dropped, also when the process dies.
    pub lock: Box<dyn std::any::Any + Send>,
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

/// The operational database. Each method says what is true once it returns. Every method that changes something
/// writes the audit entry of that fact in the same transaction. Safe with several processes at once.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The id that this ledger was born with; store markers carry it.
    async fn ledger_id(&self) -> Result<String, LedgerError>;

    /// Everything the planner needs, read in one transaction.
    async fn facts(&self) -> Result<LedgerFacts, LedgerError>;

    /// The values behind the fingerprints of an open request or an active hold.
    async fn subjects_of(&self, origin: &SubjectOrigin) -> Result<Vec<SubjectKey>, LedgerError>;

    /// The keyed fingerprint of a subject's value; the key is per tenant.
    async fn fingerprint(
        &self,
        tenant: &TenantId,
        kind: &str,
        value: &str,
    ) -> Result<SubjectKey, LedgerError>;

    /// The request is durable, or is the one that the same idempotency key and content made before.
    async fn create_request(&self, new: &NewRequest, now: DateTime<Utc>) -> Result<RequestRow, LedgerError>;
    /// All requests, in order of receipt.
    async fn requests(&self) -> Result<Vec<RequestRow>, LedgerError>;
    /// One request.
    async fn request(&self, id: &RequestId) -> Result<RequestRow, LedgerError>;
    /// No batch that begins later serves this request. Refused once it is completed or cancelled.
    async fn cancel_request(&self, id: &RequestId, now: DateTime<Utc>) -> Result<RequestRow, LedgerError>;
    /// How far the request got is recorded; with [`RequestState::Completed`] its key is destroyed.
    async fn settle_request(
        &self,
        id: &RequestId,
        state: RequestState,
        placements: &[RequestPlacement],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;

    /// The tenant counts as terminated from `terminated_at`. Refused where it is terminated already.
    async fn terminate(
        &self,
        tenant: &TenantId,
        terminated_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<TenantRow, LedgerError>;
    /// No batch that begins later serves the termination. Refused where the tenant is not terminated.
    async fn reinstate(&self, tenant: &TenantId, now: DateTime<Utc>) -> Result<TenantRow, LedgerError>;
    /// Every tenant whose life cycle was ever told.
    async fn tenants(&self) -> Result<Vec<TenantRow>, LedgerError>;

    /// The hold is durable and in force for every batch that begins later, in any process. To know that none that
    /// began before still runs, call [`Ledger::wait_for_batches`].
    async fn place_hold(&self, new: &NewHold, now: DateTime<Utc>) -> Result<HoldRow, LedgerError>;
    /// The hold is no longer in force.
    async fn release_hold(&self, id: &HoldId, now: DateTime<Utc>) -> Result<HoldRow, LedgerError>;
    /// All holds, in order of placing.
    async fn holds(&self) -> Result<Vec<HoldRow>, LedgerError>;
    /// Returns when no batch that began before the call is still running, in any process.
    async fn wait_for_batches(&self) -> Result<(), LedgerError>;

    /// The entitlement runs.
    async fn grant_entitlement(
        &self,
        new: &NewEntitlement,
        now: DateTime<Utc>,
    ) -> Result<EntitlementRow, LedgerError>;
    /// The entitlement runs no longer.
    async fn end_entitlement(
        &self,
        id: &EntitlementId,
        now: DateTime<Utc>,
    ) -> Result<EntitlementRow, LedgerError>;
    /// All entitlements, in order of granting.
    async fn entitlements(&self) -> Result<Vec<EntitlementRow>, LedgerError>;

    /// No batch begins anywhere until [`Ledger::go`].
    async fn stop(&self, reason: &str, now: DateTime<Utc>) -> Result<(), LedgerError>;
    /// Batches may begin again. Answers whether a stop was on.
    async fn go(&self, now: DateTime<Utc>) -> Result<bool, LedgerError>;
    /// The stop that is on.
    async fn stopped(&self) -> Result<Option<Stop>, LedgerError>;

    /// Only one run at a time: waits until no other process runs, then holds the place until the guard is dropped
    /// or the process dies.
    async fn claim_run(&self) -> Result<Box<dyn std::any::Any + Send>, LedgerError>;
    /// The run and its plan are durable; the digests of the policies that are in force are recorded.
    async fn begin_run(
        &self,
        run: &RunRow,
        plan: &Plan,
        policies: &BTreeMap<Category, String>,
    ) -> Result<(), LedgerError>;
    /// The run has ended; its own key is destroyed.
    async fn end_run(&self, run: &RunId, status: &str, now: DateTime<Utc>) -> Result<(), LedgerError>;
    /// All runs, latest first, at most `most`.
    async fn runs(&self, most: u32) -> Result<Vec<RunRow>, LedgerError>;

    /// The refused steps of a plan are kept for approval, with what was refused.
    async fn store_refused(
        &self,
        plan: &Plan,
        steps: &[StepId],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;
    /// A refused plan and its refused steps that were not yet approved.
    async fn refused(&self, id: &PlanId) -> Result<(Plan, Vec<StepId>), LedgerError>;
    /// The refused plan has been approved and cannot be approved again.
    async fn approve(&self, id: &PlanId, now: DateTime<Utc>) -> Result<(), LedgerError>;

    /// Takes the process-wide permit first, then compares, then writes the intent. With [`Permit::Granted`] the
    /// intent is durable; otherwise nothing is.
    async fn begin_batch(&self, intent: &Intent, now: DateTime<Utc>) -> Result<Permit, LedgerError>;
    /// The outcome of the batch is durable; its sealed keys are gone.
    async fn finish_batch(
        &self,
        number: u64,
        counts: &CountsByTenant,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;
    /// Intents that no outcome followed. Call while holding the run's place.
    async fn open_intents(&self) -> Result<Vec<OpenIntent>, LedgerError>;
    /// The outcome of a step, its erased scope and its audit entry (one per tenant) are durable.
    async fn record_outcome(&self, outcome: &StepOutcome, now: DateTime<Utc>) -> Result<(), LedgerError>;
    /// Outcomes of a run, in order.
    async fn outcomes_of_run(&self, run: &RunId) -> Result<Vec<StepOutcome>, LedgerError>;
    /// Outcomes that served a request, in order.
    async fn outcomes_of_request(&self, request: &RequestId) -> Result<Vec<StepOutcome>, LedgerError>;

    /// Stores that this ledger has left its marker in.
    async fn marked_stores(&self) -> Result<BTreeMap<StoreId, DateTime<Utc>>, LedgerError>;
    /// The marker is known.
    async fn record_mark(&self, store: &StoreId, now: DateTime<Utc>) -> Result<(), LedgerError>;

    /// An audit entry that records no other fact. `fields` is a JSON object without subject values.
    async fn record_entry(
        &self,
        kind: &str,
        fields: serde_json::Value,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;
    /// How many audit entries there are.
    async fn entry_count(&self) -> Result<u64, LedgerError>;
    /// Audit entries from an index, at most `most`.
    async fn entries(&self, from: u64, most: u32) -> Result<Vec<Entry>, LedgerError>;
    /// The head that was last about to be signed.
    async fn head(&self) -> Result<Option<Head>, LedgerError>;
    /// The head is durable. Call before signing it; refused where it is smaller than the one before.
    async fn set_head(&self, head: &Head) -> Result<(), LedgerError>;
    /// Holds the exclusive right to write the audit log until the guard is dropped or the process dies.
    async fn claim_audit(&self) -> Result<Box<dyn std::any::Any + Send>, LedgerError>;
}
