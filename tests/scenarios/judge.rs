//! A store of the simplest kind: a list of records, and the meaning of a selection read off its definition.
//! It owns counting; it knows no policy's rules.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use retentiond::facts::{Facts, LedgerFacts, RequestScope, Survey, Tally};
use retentiond::id::{Fingerprint, SubjectKey, TenantId};
use retentiond::plan::decide::{Group, groups};
use retentiond::plan::{Scope, Selection, TenantScope, Times};
use retentiond::policy::{Placement, Policies};

/// A record of a placement, as its rows have it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Whose; `None` where the row does not say.
    pub(crate) tenant: Option<TenantId>,
    /// When it happened, as written; `None` where that cannot be read.
    pub(crate) happened: Option<DateTime<Utc>>,
    /// Kind and stored value of whom it names.
    pub(crate) subjects: Vec<(String, String)>,
    /// The columns in which it names a file or object.
    pub(crate) names: Vec<String>,
}

impl Record {
    /// The event time where it is usable: there is one, not before the placement's first plausible day, not after
    /// tomorrow.
    pub(crate) fn usable(&self, rows: &Placement, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let plausible = rows.plausible_from.and_hms_opt(0, 0, 0).unwrap().and_utc();
        self.happened
            .filter(|_| rows.event_time.is_some())
            .filter(|time| plausible <= *time && *time <= now + Duration::days(1))
    }
}

/// The values behind fingerprints.
pub(crate) type Keys = BTreeMap<Fingerprint, SubjectKey>;

/// A key whose fingerprint is made of the value; any function will do that tells values apart.
pub(crate) fn key(kind: &str, value: &str) -> SubjectKey {
    let fingerprint = retentiond::plan::digest_of(&(kind, value))[..32].to_owned();
    SubjectKey::new(kind, value, Fingerprint::new(fingerprint))
}

/// Every key that the ledger knows.
pub(crate) fn keys_of(ledger: &LedgerFacts) -> Keys {
    let mut keys = Keys::new();
    for request in &ledger.requests {
        if let RequestScope::Subjects(named) = &request.scope {
            keys.extend(named.iter().map(|key| (key.fingerprint().clone(), key.clone())));
        }
    }
    for hold in &ledger.holds {
        keys.extend(hold.subjects.iter().map(|key| (key.fingerprint().clone(), key.clone())));
    }
    keys
}

/// True where a selection covers a record, whatever column names it.
pub(crate) fn selects(
    selection: &Selection,
    rows: &Placement,
    record: &Record,
    keys: &Keys,
    now: DateTime<Utc>,
) -> bool {
    let tenant = match (&selection.tenants, &record.tenant) {
        (TenantScope::One(one), Some(tenant)) => one == tenant,
        (TenantScope::AllExcept(excepted), Some(tenant)) => !excepted.contains(tenant),
        (TenantScope::Nameless, None) => true,
        (TenantScope::One(_) | TenantScope::AllExcept(_), None) | (TenantScope::Nameless, Some(_)) => false,
    };
    let inside = |scope: &Scope| {
        let usable = record.usable(rows, now);
        let in_time = match &scope.times {
            Times::Any => true,
            Times::Within(spans) => usable.is_some_and(|time| spans.iter().any(|span| span.contains(time))),
            Times::UpTo(last) => usable.is_none_or(|time| time <= *last),
            // What our records have for a time is not a text that might sort late.
            Times::Unusable | Times::UnusableBefore(_) => rows.event_time.is_some() && usable.is_none(),
        };
        let named = scope.subjects.as_ref().is_none_or(|subjects| {
            subjects.iter().any(|subject| {
                let key = keys.get(&subject.fingerprint).expect("the ledger knows every subject of a plan");
                let source = rows.subjects.get(&subject.kind).expect("rows are asked for what they name");
                let written = source.format.write(key.expose());
                record.subjects.iter().any(|(kind, value)| *kind == subject.kind && *value == written)
            })
        });
        in_time && named
    };
    tenant && selection.within.iter().all(inside) && !selection.except.iter().any(inside)
}

/// True where a group covers what a record is, or what it names.
pub(crate) fn covers(group: &Group<'_>, record: &Record, keys: &Keys, now: DateTime<Utc>) -> bool {
    let is_named = group.column.is_none_or(|column| record.names.iter().any(|name| name == column));
    is_named && selects(&group.selection, group.rows, record, keys, now)
}

/// Counts records as a store would.
pub(crate) fn count(group: &Group<'_>, records: &[Record], keys: &Keys, now: DateTime<Utc>) -> Survey {
    let mut survey = Survey::default();
    for record in records.iter().filter(|record| covers(group, record, keys, now)) {
        let Some(tenant) = &record.tenant else {
            survey.nameless += 1;
            continue;
        };
        let time = record.usable(group.rows, now);
        let tally = Tally { records: 1, oldest: time, newest: time };
        survey.tenants.entry(tenant.clone()).or_default().add(&tally);
    }
    survey
}

/// The facts of a world that holds these records, by the placement whose rows they are.
pub(crate) fn facts_of(
    policies: &Policies,
    ledger: LedgerFacts,
    records: &BTreeMap<String, Vec<Record>>,
    now: DateTime<Utc>,
) -> Facts {
    let keys = keys_of(&ledger);
    let mut facts = Facts { ledger, ..Facts::default() };
    let mut surveys = BTreeMap::new();
    for group in groups(policies, &facts, now) {
        let of_rows = records.get(group.rows.name.as_str()).map_or(&[][..], Vec::as_slice);
        surveys.insert(group.selection.digest(), count(&group, of_rows, &keys, now));
    }
    facts.surveys = surveys;
    for policy in policies {
        for placement in policy.placements.iter().filter(|placement| placement.records.is_some()) {
            facts.surveyed.insert(placement.name.clone());
            let population = records.get(placement.name.as_str()).map_or(0, Vec::len);
            facts.populations.insert(placement.name.clone(), u64::try_from(population).unwrap());
        }
    }
    facts
}
