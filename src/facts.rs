//! What is known when a plan is made, as plain data. It owns the types that the planner sees; `gather` fills them.
//! Nothing here asks a store, a ledger or a clock, so that any day of any future can be planned in a test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{
    Category, EntitlementId, ExportId, HoldId, PlacementId, RequestId, StoreId, SubjectKey, TenantId,
};
use crate::policy::{Level, Method};

/// How long a termination that was due as soon as it was recorded rests before a scheduled run touches the tenant: a
/// working day in which a slip of the hand can be taken back.
pub const BACKDATED_REST: TimeDelta = TimeDelta::hours(24);

/// Everything that the planner may know.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What the ledger knows of tenants, requests, holds and entitlements.
    pub ledger: LedgerFacts,
    /// What each configured store can do.
    pub capabilities: BTreeMap<StoreId, Capability>,
    /// What the stores answered, by the digest of the selection asked for.
    pub surveys: BTreeMap<String, Survey>,
    /// Records in a placement, counted no further than the limits need to know.
    pub populations: BTreeMap<PlacementId, u64>,
    /// Placements whose rows refer to rows of this one and have to go before them.
    pub children: BTreeMap<PlacementId, BTreeSet<PlacementId>>,
    /// What the patterns of placements mean now, see [`crate::plan::Selection::parts`].
    pub parts: BTreeMap<PlacementId, Vec<String>>,
    /// Placements that were surveyed, so that a reviewer can tell "nothing due" from "not asked".
    pub surveyed: BTreeSet<PlacementId>,
    /// Stores that could not be asked, with the reason. Nothing is planned for placements that need them.
    pub unreachable: BTreeMap<StoreId, String>,
}

/// The ledger's part of the facts.
#[derive(Debug, Clone, Default)]
pub struct LedgerFacts {
    /// Tenants that are terminated and were not reinstated.
    pub terminated: Vec<TerminatedTenant>,
    /// Requests that are neither completed nor cancelled, in order of receipt, then of id.
    pub requests: Vec<OpenRequest>,
    /// Holds that are not released.
    pub holds: Vec<ActiveHold>,
    /// Entitlements that were not ended.
    pub entitlements: Vec<ActiveEntitlement>,
    /// Exports that are neither finished nor withdrawn.
    pub exports: Vec<OpenExport>,
    /// For a scheduled run: tenants whose termination was backdated, and until when it rests if it was due already when
    /// it was recorded. Empty for whoever acts by an explicit order.
    pub untouched: BTreeMap<TenantId, DateTime<Utc>>,
    /// Counts every change to the above; a step is dropped when the number of its tenants has moved.
    pub generation: u64,
    /// For each tenant ever named above: the generation of its last change.
    pub generations: BTreeMap<TenantId, u64>,
}

impl LedgerFacts {
    /// The same as a scheduled run sees it at `at`: a request that has not waited `delay` since it was recorded is not
    /// there yet, so that it can still be cancelled, and a backdated termination rests for [`BACKDATED_REST`].
    #[must_use]
    pub fn as_scheduled(mut self, at: DateTime<Utc>, delay: Duration) -> Self {
        self.requests.retain(|request| request.recorded_at + delay <= at);
        let backdated = self.terminated.iter().filter(|ended| ended.terminated_at < ended.recorded_at);
        self.untouched =
            backdated.map(|ended| (ended.tenant.clone(), ended.recorded_at + BACKDATED_REST)).collect();
        self
    }

    /// The generation that a step for this tenant carries: the tenant's own, or, for a step over all tenants but
    /// some, the ledger's.
    pub fn generation_of(&self, tenant: Option<&TenantId>) -> u64 {
        match tenant {
            Some(tenant) => self.generations.get(tenant).copied().unwrap_or(0),
            None => self.generation,
        }
    }
}

/// A tenant whose account has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminatedTenant {
    /// Who.
    pub tenant: TenantId,
    /// From when the grace and the deadline count.
    pub terminated_at: DateTime<Utc>,
    /// When it was told to us.
    pub recorded_at: DateTime<Utc>,
}

/// An erasure request that is still to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    /// Its id.
    pub request_id: RequestId,
    /// Whose data.
    pub tenant: TenantId,
    /// Which of it.
    pub scope: RequestScope,
    /// Start of its clock, and the last event time that it covers.
    pub received_at: DateTime<Utc>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// What an erasure request asks for. There is no "nothing named": that is refused at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestScope {
    /// All data of the tenant.
    Everything,
    /// Everything in these categories.
    Categories(Vec<Category>),
    /// Every record that names one of these subjects, in every category.
    Subjects(Vec<SubjectKey>),
}

/// An export that its tenant still waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenExport {
    /// Its id.
    pub export_id: ExportId,
    /// Whose data.
    pub tenant: TenantId,
    /// Only these categories; empty means every one.
    pub categories: Vec<Category>,
    /// When it was asked for.
    pub asked_at: DateTime<Utc>,
}

/// A lawful order to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveHold {
    /// Its id.
    pub hold_id: HoldId,
    /// Whose data.
    pub tenant: TenantId,
    /// Only records that name one of these; empty means every record.
    pub subjects: Vec<SubjectKey>,
    /// Only these categories; empty means every category.
    pub categories: Vec<Category>,
}

/// Longer storage, bought or tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveEntitlement {
    /// Its id.
    pub entitlement_id: EntitlementId,
    /// The name that rules refer to.
    pub name: String,
    /// Whose data.
    pub tenant: TenantId,
    /// Only these categories; empty means every category whose rule names it.
    pub categories: Vec<Category>,
    /// From when on it runs no longer; `None` until it is ended.
    pub until: Option<DateTime<Utc>>,
}

/// What a store can do, as data: asked instead of tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// The kind, as in the configuration.
    pub kind: String,
    /// The level that each method reaches here; a method that is missing cannot be done.
    pub levels: BTreeMap<Method, Level>,
    /// True where several versions of a record may be kept.
    pub versions: bool,
}

impl Capability {
    /// The method by which a store does what a rule asks: the rule's own or, where the store cannot do that and the
    /// operator accepts a lower level, the one that reaches just this level.
    pub fn method_for(&self, asked: Method, accepted: Option<Level>) -> Method {
        if self.levels.contains_key(&asked) {
            return asked;
        }
        let enough = self.levels.iter().filter(|(_, level)| accepted.is_some_and(|least| **level >= least));
        enough.min_by_key(|(_, level)| **level).map_or(asked, |(method, _)| *method)
    }
}

/// What a store holds of a selection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// By tenant. Records whose tenant is missing are in `nameless`.
    pub tenants: BTreeMap<TenantId, Tally>,
    /// Records that name no tenant.
    pub nameless: u64,
}

/// A count with the range of event times, where the placement has usable ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many records.
    pub records: u64,
    /// The earliest event time.
    pub oldest: Option<DateTime<Utc>>,
    /// The latest event time.
    pub newest: Option<DateTime<Utc>>,
}

impl Tally {
    /// Takes another tally in.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.oldest = [self.oldest, other.oldest].into_iter().flatten().min();
        self.newest = [self.newest, other.newest].into_iter().flatten().max();
    }
}

impl Survey {
    /// Everything together, nameless records included.
    pub fn total(&self) -> Tally {
        let mut total = Tally { records: self.nameless, ..Tally::default() };
        for tally in self.tenants.values() {
            total.add(tally);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_a_store_cannot_do_becomes_the_one_that_reaches_just_what_is_accepted() {
        let levels =
            [(Method::Delete, Level::Deleted), (Method::OverwriteThenDelete, Level::Overwritten)].into();
        let can = Capability { kind: "mysql".to_owned(), levels, versions: false };
        for (accepted, method) in [
            (None, Method::Zero),
            (Some(Level::Deleted), Method::Delete),
            (Some(Level::Overwritten), Method::OverwriteThenDelete),
            (Some(Level::Scrubbed), Method::Zero),
        ] {
            assert_eq!(can.method_for(Method::Zero, accepted), method, "{accepted:?}");
        }
        assert_eq!(can.method_for(Method::Delete, Some(Level::Overwritten)), Method::Delete, "it can");
    }
}
