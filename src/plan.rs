//! The plan: what is erased and what is kept, with reason and clause, decided once and named by its hash.
//! It owns the types and [`plan`]; `due` does the calendar, `decide` the order of precedence, `review` reads it a
//! second time. Pure: no I/O, no clock, no randomness; planning the same facts twice gives the same bytes.

pub mod cover;
pub mod decide;
pub mod due;
pub mod fate;
pub mod render;
pub mod review;
pub mod text;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{
    Category, ExportId, Fingerprint, HoldId, PlacementId, PlanId, RequestId, StepId, StoreId, TenantId,
};
use crate::policy::{Level, Method};

pub use decide::{Group, PlanError, groups, plan};

/// A span of event times, half open: `from <= t < to`. Ticks are nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The first instant inside.
    pub from: DateTime<Utc>,
    /// The first instant outside.
    pub to: DateTime<Utc>,
}

impl Interval {
    /// True where the instant lies inside.
    pub fn contains(&self, instant: DateTime<Utc>) -> bool {
        self.from <= instant && instant < self.to
    }
}

/// Which event times belong.
///
/// A time is *usable* when it can be read, is not zero, is not before the placement's `plausible_from` and not
/// later than the real now plus a day. A placement without an event time has no usable ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Times {
    /// Every record, whatever its time.
    Any,
    /// Usable, and inside one of these (sorted, disjoint).
    Within(Vec<Interval>),
    /// Usable and not after this instant, or not usable: what a request received then covers.
    UpTo(DateTime<Utc>),
    /// Not usable. Selects nothing where the placement has no event time.
    Unusable,
    /// Not usable, and either null, zero, implausible, of the wrong type, in the future, or (where the stored form
    /// sorts like time, see [`crate::stores::event_time::order`]) sorting before this instant: what an age rule parks.
    /// What is unreadable but sorts later is not due yet by any reading and is found when its turn comes, so that a
    /// plan need not read the records that it keeps.
    UnusableBefore(DateTime<Utc>),
}

/// Whose records belong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TenantScope {
    /// One tenant, exactly.
    One(TenantId),
    /// Every named tenant but these (sorted). For age rules only.
    AllExcept(Vec<TenantId>),
    /// Records that name no tenant: only ever counted.
    Nameless,
}

impl TenantScope {
    /// True where it covers a tenant.
    pub fn covers(&self, tenant: &TenantId) -> bool {
        match self {
            Self::One(one) => one == tenant,
            Self::AllExcept(others) => !others.contains(tenant),
            Self::Nameless => false,
        }
    }
}

/// Where the executor finds the value behind a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectOrigin {
    /// In the request of this id.
    Request(RequestId),
    /// In the hold of this id.
    Hold(HoldId),
}

/// A subject as a plan may name it: never by value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubjectRef {
    /// The kind of key, `phone` for example.
    pub kind: String,
    /// The keyed fingerprint.
    pub fingerprint: Fingerprint,
    /// Who holds the value.
    pub origin: SubjectOrigin,
}

/// A condition on a record: it names one of the subjects (none given: whoever it names) and its time belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// One of these must be named; `None` asks for no subject. `Some` of nothing selects nothing.
    pub subjects: Option<Vec<SubjectRef>>,
    /// Which event times.
    pub times: Times,
}

/// What a step covers: records of `tenants` in `placement` that are inside every scope of `within` and inside none
/// of `except`. Two steps of a plan never cover the same record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The placement. For a `found_by` placement: the records named by these rows of the naming placement.
    pub placement: PlacementId,
    /// Whose records.
    pub tenants: TenantScope,
    /// All of these hold.
    pub within: Vec<Scope>,
    /// None of these holds.
    pub except: Vec<Scope>,
    /// Where a placement's pattern means several parts (the indices of a search cluster): those that it meant when the
    /// plan was made, sorted. A plan never reaches into a part that it did not know. Empty where there are no parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

impl Selection {
    /// SHA-256 (hex) of the canonical JSON.
    pub fn digest(&self) -> String {
        digest_of(self)
    }

    /// Every subject that the selection names.
    pub fn subjects(&self) -> impl Iterator<Item = &SubjectRef> {
        self.within.iter().chain(&self.except).filter_map(|scope| scope.subjects.as_ref()).flatten()
    }

    /// The tenant, where there is just one.
    pub fn tenant(&self) -> Option<&TenantId> {
        match &self.tenants {
            TenantScope::One(tenant) => Some(tenant),
            TenantScope::AllExcept(_) | TenantScope::Nameless => None,
        }
    }
}

/// Why a record is erased or kept. The order is the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Kept: a lawful order.
    Hold,
    /// Erased: a request.
    Request,
    /// Kept: the grace of a termination.
    Grace,
    /// Erased: a termination whose grace is over.
    Termination,
    /// Kept: longer storage.
    Entitlement,
    /// Erased: over age.
    Age,
    /// Kept: the tenant or the event time cannot be told.
    Parked,
}

impl Reason {
    /// The word in JSON, tables and the audit log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Request => "request",
            Self::Grace => "grace",
            Self::Termination => "termination",
            Self::Entitlement => "entitlement",
            Self::Age => "age",
            Self::Parked => "parked",
        }
    }

    /// What becomes of the record.
    pub fn disposition(self) -> Disposition {
        match self {
            Self::Request | Self::Termination | Self::Age => Disposition::Erase,
            Self::Hold | Self::Grace | Self::Entitlement | Self::Parked => Disposition::Retain,
        }
    }
}

/// The decided fate of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// It stays.
    Retain,
    /// It goes.
    Erase,
}

/// One decision to erase, so specific that the executor has no choice left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Hash of all the rest.
    pub step_id: StepId,
    /// Where.
    pub placement: PlacementId,
    /// In which store.
    pub store: StoreId,
    /// Under which policy.
    pub category: Category,
    /// Whose; `null` for all tenants but the excepted ones.
    pub tenant: Option<TenantId>,
    /// Why.
    pub reason: Reason,
    /// Which text is kept.
    pub clause: String,
    /// How.
    pub method: Method,
    /// The level that must be reached.
    pub level: Level,
    /// How many records; the executor never erases more.
    pub records: u64,
    /// The earliest event time among them.
    pub oldest: Option<DateTime<Utc>>,
    /// The latest.
    pub newest: Option<DateTime<Utc>>,
    /// Since when the first of them has been due.
    pub due_since: DateTime<Utc>,
    /// By when they are gone.
    pub deadline: DateTime<Utc>,
    /// The request that asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<RequestId>,
    /// The subject, where the request names just one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<NamedSubject>,
    /// The step whose rows name these records; they go before those rows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub found_by: Option<StepId>,
    /// Exactly which records.
    pub selection: Selection,
    /// [`crate::facts::LedgerFacts::generation_of`] when it was decided.
    pub generation: u64,
    /// Digest of the policy when it was decided.
    pub policy_digest: String,
}

/// A subject as JSON answers name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedSubject {
    /// The kind of key.
    pub kind: String,
    /// The keyed fingerprint.
    pub fingerprint: Fingerprint,
}

/// A group of records that would be due but for its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Where.
    pub placement: PlacementId,
    /// In which store.
    pub store: StoreId,
    /// Under which policy.
    pub category: Category,
    /// Whose; `null` where the record names no tenant, or for parked records of all tenants together.
    pub tenant: Option<TenantId>,
    /// Why.
    pub reason: Reason,
    /// How many.
    pub records: u64,
    /// The earliest usable event time among them.
    pub oldest: Option<DateTime<Utc>>,
    /// The latest.
    pub newest: Option<DateTime<Utc>>,
    /// Until when it is kept, where that is known.
    pub until: Option<DateTime<Utc>>,
    /// The clause that the keeping follows, for grace and entitlement.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clause: Option<String>,
    /// The hold, for [`Reason::Hold`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hold_id: Option<HoldId>,
    /// The request that would erase it but for the hold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<RequestId>,
}

/// Steps of one category and store that may not run without approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable code, `limit-records` or `limit-share` for example.
    pub code: String,
    /// Whose steps.
    pub category: Category,
    /// In which store.
    pub store: StoreId,
    /// For people.
    pub message: String,
    /// What to give to `enforce --approve`.
    pub approve: Option<PlanId>,
    /// The export that its tenant still waits for, for the code `export-unfinished`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub export_id: Option<ExportId>,
}

/// Distinct records by fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// To be erased.
    pub erase: u64,
    /// Kept by a hold.
    pub held: u64,
    /// Kept by an entitlement.
    pub entitled: u64,
    /// Kept by the grace of a termination.
    pub grace: u64,
    /// Kept since tenant or time cannot be told.
    pub parked: u64,
}

/// What is erased and what is kept, immutable and named by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Hash of all the rest, refusals left out.
    pub plan_id: PlanId,
    /// The instant for which it was made.
    pub at: DateTime<Utc>,
    /// Digest over all policies.
    pub policy_digest: String,
    /// Decisions to erase, in the order in which they are carried out.
    pub steps: Vec<Step>,
    /// Groups that are kept, with their reason.
    pub kept: Vec<Kept>,
    /// What may not run without approval; filled by the review.
    pub refusals: Vec<Refusal>,
    /// Distinct records.
    pub totals: Totals,
}

impl Plan {
    /// The id that this content must have.
    pub fn expected_id(&self) -> PlanId {
        let bare = Self { plan_id: PlanId::new(""), refusals: Vec::new(), ..self.clone() };
        PlanId::new(&digest_of(&bare)[..32])
    }

    /// Steps by id.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| &step.step_id == id)
    }
}

impl Step {
    /// The id that this content must have.
    pub fn expected_id(&self) -> StepId {
        let bare = Self { step_id: StepId::new(""), ..self.clone() };
        StepId::new(&digest_of(&bare)[..16])
    }
}

/// SHA-256 (hex) of the canonical JSON of a value: keys sorted, no white space.
pub fn digest_of<T: Serialize>(value: &T) -> String {
    // `serde_json::Value` keeps object keys sorted, which makes the bytes canonical. Our own types serialise
    // without fail: they hold no map with keys other than strings.
    let canonical = serde_json::to_value(value).map(|v| v.to_string()).unwrap_or_default();
    hex::encode(Sha256::digest(canonical.as_bytes()))
}

/// What came of a group of records.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Deleted by us.
    pub erased: u64,
    /// Not there any more when we came.
    pub already_absent: u64,
    /// No longer matching when the erasing statement ran; they survive.
    pub changed: u64,
    /// Still there although they should not be.
    pub failed: u64,
    /// Shown absent by a separate read afterwards.
    pub verified_absent: u64,
}

impl Counts {
    /// Takes other counts in.
    pub fn add(&mut self, other: &Self) {
        self.erased += other.erased;
        self.already_absent += other.already_absent;
        self.changed += other.changed;
        self.failed += other.failed;
        self.verified_absent += other.verified_absent;
    }
}

/// Counts by tenant.
pub type CountsByTenant = BTreeMap<TenantId, Counts>;

/// What remains and cannot be reached, with the date on which it goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Residual {
    /// What it is, `write-ahead log` for example.
    pub what: String,
    /// When it is gone; `None` where nobody can say.
    pub until: Option<DateTime<Utc>>,
}
