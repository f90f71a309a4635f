//! The shapes of what is read: status, plan, certificate, log. It owns names and descriptions, as the document tells them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{NamedSubject, Residual};

/// The promises at a glance.
#[derive(Debug, ToSchema)]
pub struct Status {
    /// Records that may be erased now.
    #[schema(minimum = 0)]
    pub due: u64,
    /// Past their deadline.
    #[schema(minimum = 0)]
    pub overdue: u64,
    /// Records whose deadline is near.
    #[schema(minimum = 0)]
    pub at_risk: u64,
    /// Kept by a hold.
    #[schema(minimum = 0)]
    pub held: u64,
    /// Tenant or time cannot be told.
    #[schema(minimum = 0)]
    pub parked: u64,
    /// Requests that are neither completed nor cancelled.
    #[schema(minimum = 0)]
    pub requests_open: u64,
    /// The last run.
    pub last_run: Option<LastRun>,
    /// The head of the audit log.
    pub audit_head: Option<Head>,
    /// Why the emergency stop is on, if it is.
    pub stopped: Option<String>,
    /// False where a promise is overdue.
    pub ok: bool,
}

/// The last run.
#[derive(Debug, ToSchema)]
pub struct LastRun {
    /// The run.
    pub run_id: String,
    /// How it ended.
    pub status: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The head of the audit log.
#[derive(Debug, ToSchema)]
pub struct Head {
    /// Number of entries.
    #[schema(minimum = 0)]
    pub size: u64,
    /// Root hash (RFC 6962, hex).
    pub root: String,
}

/// What is due and what is kept.
#[derive(Debug, ToSchema)]
pub struct Plan {
    /// The hash of its content.
    pub plan_id: String,
    /// For which instant.
    pub at: DateTime<Utc>,
    /// Over all policies.
    pub policy_digest: String,
    /// What is erased.
    pub steps: Vec<Step>,
    /// What is kept although it would be due.
    pub kept: Vec<Kept>,
    /// What may not run without approval.
    pub refusals: Vec<Refusal>,
    /// Distinct records.
    pub totals: Totals,
}

/// One decision to erase.
#[derive(Debug, ToSchema)]
pub struct Step {
    /// The hash of its content.
    pub step_id: String,
    /// Where.
    pub placement: String,
    /// In which store.
    pub store: String,
    /// Under which policy.
    pub category: String,
    /// Whose; null for all tenants but the excepted.
    pub tenant: Option<String>,
    /// `age`, `request` or `termination`.
    pub reason: String,
    /// Which text is kept.
    pub clause: String,
    /// How.
    pub method: String,
    /// How far it must reach.
    pub level: String,
    /// How many.
    #[schema(minimum = 0)]
    pub records: u64,
    /// The earliest event time.
    pub oldest: Option<DateTime<Utc>>,
    /// The latest.
    pub newest: Option<DateTime<Utc>>,
    /// Since when the first has been due.
    pub due_since: DateTime<Utc>,
    /// By when they are gone.
    pub deadline: DateTime<Utc>,
    /// The request that asked.
    pub request_id: Option<String>,
    /// The subject, where the request names just one.
    pub subject: Option<NamedSubject>,
    /// The step whose rows name these records.
    pub found_by: Option<String>,
    /// Exactly which records.
    pub selection: serde_json::Value,
    /// The ledger's generation when it was decided.
    #[schema(minimum = 0)]
    pub generation: u64,
    /// The policy when it was decided.
    pub policy_digest: String,
}

/// Records that would be due but for a reason.
#[derive(Debug, ToSchema)]
pub struct Kept {
    /// Where.
    pub placement: String,
    /// In which store.
    pub store: String,
    /// Under which policy.
    pub category: String,
    /// Whose.
    pub tenant: Option<String>,
    /// `hold`, `entitlement`, `grace`, `parked` or `export`.
    pub reason: String,
    /// How many.
    #[schema(minimum = 0)]
    pub records: u64,
    /// The earliest event time.
    pub oldest: Option<DateTime<Utc>>,
    /// The latest.
    pub newest: Option<DateTime<Utc>>,
    /// Until when, where that is known.
    pub until: Option<DateTime<Utc>>,
    /// The text that says so.
    pub clause: Option<String>,
    /// The hold.
    pub hold_id: Option<String>,
    /// The request that would erase it but for the hold.
    pub request_id: Option<String>,
}

/// Steps that may not run without approval.
#[derive(Debug, ToSchema)]
pub struct Refusal {
    /// A stable code.
    pub code: String,
    /// Whose steps.
    pub category: String,
    /// In which store.
    pub store: String,
    /// For people.
    pub message: String,
    /// The plan to approve.
    pub approve: Option<String>,
}

/// Distinct records by fate.
#[derive(Debug, ToSchema)]
pub struct Totals {
    /// To be erased.
    #[schema(minimum = 0)]
    pub erase: u64,
    /// Kept by a hold.
    #[schema(minimum = 0)]
    pub held: u64,
    /// Kept by an entitlement.
    #[schema(minimum = 0)]
    pub entitled: u64,
    /// Kept by a grace.
    #[schema(minimum = 0)]
    pub grace: u64,
    /// Tenant or time cannot be told.
    #[schema(minimum = 0)]
    pub parked: u64,
}

/// What was erased, where, how, verified when, and what is residual until when.
#[derive(Debug, ToSchema)]
pub struct Certificate {
    /// Hash of all the rest but the time at which it was made.
    pub certificate_id: String,
    /// Which program, in which version.
    pub tool: String,
    /// When this was made.
    pub made_at: DateTime<Utc>,
    /// What it is about: a request or a run.
    pub about: serde_json::Value,
    /// Whose data, for a request.
    pub tenant: Option<String>,
    /// The subjects that a request names.
    pub subjects: Vec<NamedSubject>,
    /// The categories concerned.
    pub categories: Vec<String>,
    /// Where the request or the run stands.
    pub state: String,
    /// When it was received or begun.
    pub received_at: DateTime<Utc>,
    /// By when the last copy had to be gone.
    pub deadline: Option<DateTime<Utc>>,
    /// When it was completed.
    pub completed_at: Option<DateTime<Utc>>,
    /// True where the statement claims that it was erased.
    pub erasure_claimed: bool,
    /// What is and is not claimed.
    pub statement: String,
    /// By placement.
    pub placements: Vec<Certified>,
    /// On media sanitization.
    pub sanitization: String,
    /// Where the evidence stands in the log.
    pub log: LogPlace,
}

/// What was done in one placement.
#[derive(Debug, ToSchema)]
pub struct Certified {
    /// Where.
    pub placement: String,
    /// In which store.
    pub store: Option<String>,
    /// Under which policy.
    pub category: Option<String>,
    /// Why.
    pub reasons: Vec<String>,
    /// Which texts were kept.
    pub clauses: Vec<String>,
    /// How.
    pub methods: Vec<String>,
    /// How many.
    pub counts: Counts,
    /// The lowest level reached.
    pub level: Option<String>,
    /// The level that was needed.
    pub level_required: Option<String>,
    /// When it was last looked for.
    pub verified_at: Option<DateTime<Utc>>,
    /// How far a request got here.
    pub state: Option<String>,
    /// What remains.
    pub residual: Vec<Residual>,
    /// What did not succeed.
    pub failures: Vec<String>,
}

/// Records by outcome.
#[derive(Debug, ToSchema)]
pub struct Counts {
    /// Deleted by us.
    #[schema(minimum = 0)]
    pub erased: u64,
    /// Not there any more when we came.
    #[schema(minimum = 0)]
    pub already_absent: u64,
    /// No longer matching; they survive.
    #[schema(minimum = 0)]
    pub changed: u64,
    /// Still there although they should not be.
    #[schema(minimum = 0)]
    pub failed: u64,
    /// Shown absent by a separate read.
    #[schema(minimum = 0)]
    pub verified_absent: u64,
}

/// Where the evidence stands in the log.
#[derive(Debug, ToSchema)]
pub struct LogPlace {
    /// The log when this was made.
    pub head: Option<Head>,
    /// The number of the entry.
    #[schema(minimum = 0)]
    pub entry: Option<u64>,
    /// The entry.
    pub body: Option<String>,
    /// The proof that it is in the log (C2SP tlog-proof).
    pub proof: Option<String>,
    /// What to type.
    pub verify: String,
}

/// The signed head of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignedHead {
    /// C2SP tlog-checkpoint, to be checked with `log.key.pub`.
    pub checkpoint: String,
}

/// The proof that an entry is in the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Proof {
    /// The entry's number.
    #[schema(minimum = 0)]
    pub index: u64,
    /// C2SP tlog-proof: RFC 6962 inclusion proof with the signed head.
    pub proof: String,
}
