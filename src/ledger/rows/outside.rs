//! Rows about the world outside of a run: who may ask, what was proposed, answered, told and exported.
//! It owns their shapes; [`crate::ledger::Ledger`] says what becomes of them. No row holds a secret or a subject's value.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{Category, ExportId, HoldId, PlanId, ProposalId, TenantId, TokenId};

/// What the bearer of a token may do; nobody holds two roles with one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Asks for its own tenant: erasure requests, exports; sees no other tenant.
    Requester,
    /// Runs the service: every tenant, holds, entitlements, stop and go; proposes what takes two persons.
    Operator,
    /// Approves what another person proposed, and nothing else.
    Approver,
    /// Reads: status, certificates, audit log.
    Auditor,
}

/// A token, as made. The token itself is shown once and never kept.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The person or service that bears it: two tokens of one principal are one person.
    pub principal: String,
    /// What it may do.
    pub role: Role,
    /// The one tenant of a requester; `None` for the other roles.
    pub tenant: Option<TenantId>,
    /// SHA-256 of the token, hex: it has 256 random bits, so no slow digest is needed.
    pub digest: String,
    /// From when on it is no longer good.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A token as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Its id; it opens nothing.
    pub token_id: TokenId,
    /// Who bears it.
    pub principal: String,
    /// What it may do.
    pub role: Role,
    /// The one tenant of a requester.
    pub tenant: Option<TenantId>,
    /// Since when.
    pub made_at: DateTime<Utc>,
    /// From when on it is no longer good.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What takes two persons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ProposedAction {
    /// Release a hold.
    ReleaseHold {
        /// Which.
        hold_id: HoldId,
        /// Why, in the words of who proposes it.
        reason: String,
    },
    /// End a tenant's account.
    TerminateTenant {
        /// Whose.
        tenant: TenantId,
        /// From when the grace counts.
        terminated_at: DateTime<Utc>,
    },
    /// Carry out the refused steps of a stored plan.
    ApprovePlan {
        /// Which.
        plan_id: PlanId,
        /// How many records they hold: shown to who approves.
        records: u64,
        /// When they were refused. Refused anew, they need an approval anew.
        refused_at: DateTime<Utc>,
    },
}

/// A proposal as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalRow {
    /// Its id.
    pub proposal_id: ProposalId,
    /// What is proposed.
    pub action: ProposedAction,
    /// The principal who proposed it.
    pub proposed_by: String,
    /// When.
    pub proposed_at: DateTime<Utc>,
    /// From when on nobody can approve it any more.
    pub expires_at: DateTime<Utc>,
    /// The principal who approved it: never the one who proposed it.
    pub approved_by: Option<String>,
    /// When.
    pub approved_at: Option<DateTime<Utc>>,
}

/// An answer that was given, for whoever asks the same again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, to the byte.
    pub body: String,
}

/// What a question under an idempotency key meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerClaim {
    /// Nobody asked under this key before: whoever asks now has to answer.
    New,
    /// The same question is being answered just now.
    Running,
    /// It was answered.
    Given(GivenAnswer),
    /// Another question was asked under this key.
    Other,
}

/// A message to somebody outside: an alarm, a notice, a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// What makes it the same message: it is sent once, however often and by however many daemons it is enqueued.
    pub key: String,
    /// `alarm`, `notice` or `opendsr-callback`.
    pub kind: String,
    /// The tenant that it is about: its own list of hosts and its own secret count too.
    pub tenant: Option<TenantId>,
    /// Where to.
    pub url: String,
    /// What to say: JSON with ids, counts and digests only.
    pub body: String,
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// Its number.
    pub number: u64,
    /// As in [`NewDelivery::key`].
    pub key: String,
    /// As in [`NewDelivery::kind`].
    pub kind: String,
    /// As in [`NewDelivery::tenant`].
    pub tenant: Option<TenantId>,
    /// Where to.
    pub url: String,
    /// What to say.
    pub body: String,
    /// When it was enqueued.
    pub enqueued_at: DateTime<Utc>,
    /// How often it was taken for sending.
    pub tries: u32,
    /// When it was received.
    pub delivered_at: Option<DateTime<Utc>>,
    /// When it was given up.
    pub given_up_at: Option<DateTime<Utc>>,
    /// Why the last try failed.
    pub failure: Option<String>,
}

/// What came of one try to send a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryFate {
    /// It was received.
    Received,
    /// It was not, and is tried again.
    Later {
        /// Why, without anything that the other side wrote.
        failure: String,
        /// When.
        next_at: DateTime<Utc>,
    },
    /// It was not, and is not tried again.
    GivenUp {
        /// Why.
        failure: String,
    },
}

/// Something that is not as promised, or soon will not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAlarm {
    /// What makes it the same alarm while it stands, `overdue/call-records/acme` for example.
    pub key: String,
    /// `overdue`, `at-risk`, `run-failed`, `policy-broken`, …
    pub kind: String,
    /// One sentence for people.
    pub message: String,
    /// What else is to be said, as a JSON object without subject values.
    pub fields: serde_json::Value,
}

/// An alarm as it stands, or stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmRow {
    /// Its number.
    pub number: u64,
    /// What it says.
    #[serde(flatten)]
    pub alarm: NewAlarm,
    /// Since when.
    pub raised_at: DateTime<Utc>,
    /// Until when.
    pub cleared_at: Option<DateTime<Utc>>,
}

/// What a tenant wants to take along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExport {
    /// Whose data.
    pub tenant: TenantId,
    /// Only these categories; empty means every one.
    pub categories: Vec<Category>,
    /// Where to: a directory, or a bucket's name in the configuration. Holds no password.
    pub target: String,
    /// Only records with an event time after this instant and up to the other: a rollover. `None` means all.
    pub between: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// Where an export stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportState {
    /// Asked for.
    Asked,
    /// Being written.
    Running,
    /// Written, and read back as the manifest says.
    Finished,
    /// It failed and is tried again.
    Failed,
    /// Withdrawn.
    Cancelled,
}

/// An export as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRow {
    /// Its id.
    pub export_id: ExportId,
    /// Whose data.
    pub tenant: TenantId,
    /// The categories named; empty means every one.
    pub categories: Vec<Category>,
    /// Where to.
    pub target: String,
    /// As in [`NewExport::between`].
    pub between: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Where it stands.
    pub state: ExportState,
    /// When it was asked for.
    pub asked_at: DateTime<Utc>,
    /// When it was finished, failed or withdrawn.
    pub settled_at: Option<DateTime<Utc>>,
    /// Records in it.
    pub records: u64,
    /// SHA-256 of its manifest, hex.
    pub manifest: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
}
