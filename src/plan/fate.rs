//! The fate of a single record, by the same order of precedence as `decide`, for `explain`.
//! It owns no rule of its own: dates come from `due`, and a property test holds it equal to the groups.

use chrono::{DateTime, Utc};

use super::decide::deadline_of;
use super::{Disposition, Reason, due};
use crate::facts::{LedgerFacts, RequestScope};
use crate::id::{Category, SubjectKey, TenantId};
use crate::policy::{Period, Placement, Policy, Trigger};

/// One record as a store shows it.
#[derive(Debug, Clone)]
pub struct Sighting<'a> {
    /// Whose it is; `None` where that cannot be told.
    pub tenant: Option<&'a TenantId>,
    /// Its event time, where it is usable.
    pub event_time: Option<DateTime<Utc>>,
    /// The subjects that it names: kind and stored value.
    pub subjects: &'a [(String, String)],
}

/// What becomes of a record, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// Whether it goes now.
    pub disposition: Disposition,
    /// Why; `None` where it is simply not due.
    pub reason: Option<Reason>,
    /// The clause of the rule that applies or would.
    pub clause: Option<String>,
    /// From when on it may go, as far as that is known.
    pub due_at: Option<DateTime<Utc>>,
    /// By when it is gone.
    pub deadline: Option<DateTime<Utc>>,
}

impl Fate {
    fn keep(reason: Option<Reason>) -> Self {
        Self { disposition: Disposition::Retain, reason, clause: None, due_at: None, deadline: None }
    }
}

/// Decides the fate of one record at `now`. A hold is asked last but wins over everything, since it only keeps what
/// would be due but for it; a record that is not due is not held, it is simply not due.
pub fn fate(
    policy: &Policy,
    rows: &Placement,
    seen: &Sighting<'_>,
    ledger: &LedgerFacts,
    now: DateTime<Utc>,
) -> Fate {
    let Some(tenant) = seen.tenant else { return of_nobody(policy, rows, seen, now) };
    let fate = unheld(policy, rows, seen, tenant, ledger, now);
    let is_due = fate.reason.is_some();
    let held = ledger.holds.iter().any(|hold| {
        &hold.tenant == tenant
            && names(&hold.categories, policy)
            && (hold.subjects.is_empty() || hold.subjects.iter().any(|key| is_named(rows, seen, key)))
    });
    if held && is_due {
        Fate { disposition: Disposition::Retain, reason: Some(Reason::Hold), ..fate }
    } else {
        fate
    }
}

/// A record that names no tenant: parked from the day on which the age rule would take it, or at once where there is
/// no such day.
fn of_nobody(policy: &Policy, rows: &Placement, seen: &Sighting<'_>, now: DateTime<Utc>) -> Fate {
    let period = policy.rule(Trigger::Age).and_then(|rule| rule.period);
    match (period, rows.event_time.as_ref(), seen.event_time) {
        (Some(period), Some(_), Some(event)) if now < due::due_at(event, period, policy.time_zone) => {
            Fate::keep(None)
        }
        (Some(_) | None, Some(_) | None, Some(_) | None) => Fate::keep(Some(Reason::Parked)),
    }
}

fn unheld(
    policy: &Policy,
    rows: &Placement,
    seen: &Sighting<'_>,
    tenant: &TenantId,
    ledger: &LedgerFacts,
    now: DateTime<Utc>,
) -> Fate {
    let of = |reason: Reason, trigger: Trigger, start: DateTime<Utc>, due_at: DateTime<Utc>| Fate {
        disposition: reason.disposition(),
        reason: Some(reason),
        clause: policy.rule(trigger).map(|rule| rule.clause.clone()),
        due_at: Some(due_at),
        deadline: policy.rule(trigger).map(|rule| deadline_of(policy, rule, start)),
    };
    let request = ledger.requests.iter().find(|request| {
        let asked = match &request.scope {
            RequestScope::Everything => true,
            RequestScope::Categories(categories) => categories.contains(&policy.category),
            RequestScope::Subjects(keys) => keys.iter().any(|key| is_named(rows, seen, key)),
        };
        let in_time = seen.event_time.is_none_or(|time| time <= request.received_at);
        &request.tenant == tenant && request.received_at <= now && asked && in_time
    });
    if let (Some(request), Some(_)) = (request, policy.rule(Trigger::Request)) {
        return of(Reason::Request, Trigger::Request, request.received_at, request.received_at);
    }
    let ended = ledger.terminated.iter().find(|t| &t.tenant == tenant && t.terminated_at <= now);
    if let (Some(ended), Some(rule)) = (ended, policy.rule(Trigger::Termination)) {
        let grace = rule.grace.unwrap_or(Period { months: 0, days: 0 });
        let grace_until = due::due_at(ended.terminated_at, grace, policy.time_zone);
        let reason = if grace_until <= now { Reason::Termination } else { Reason::Grace };
        return of(reason, Trigger::Termination, ended.terminated_at, grace_until);
    }
    let Some(rule) = policy.rule(Trigger::Age) else { return Fate::keep(None) };
    let (Some(period), Some(_)) = (rule.period, rows.event_time.as_ref()) else { return Fate::keep(None) };
    let Some(event) = seen.event_time else {
        return Fate { clause: Some(rule.clause.clone()), ..Fate::keep(Some(Reason::Parked)) };
    };
    let due_at = due::due_at(event, period, policy.time_zone);
    let entitled = ledger.entitlements.iter().find(|e| {
        &e.tenant == tenant
            && names(&e.categories, policy)
            && e.until.is_none_or(|until| now < until)
            && rule.entitlement.as_ref() == Some(&e.name)
    });
    let fate = of(Reason::Age, Trigger::Age, due_at, due_at);
    match (due_at <= now, entitled) {
        (false, _) => Fate { disposition: Disposition::Retain, reason: None, ..fate },
        (true, Some(_)) => {
            Fate { disposition: Disposition::Retain, reason: Some(Reason::Entitlement), ..fate }
        }
        (true, None) => fate,
    }
}

fn names(categories: &[Category], policy: &Policy) -> bool {
    categories.is_empty() || categories.contains(&policy.category)
}

fn is_named(rows: &Placement, seen: &Sighting<'_>, key: &SubjectKey) -> bool {
    rows.subjects.get(key.kind()).is_some_and(|source| {
        let written = source.format.write(key.expose());
        seen.subjects.iter().any(|(kind, value)| kind == key.kind() && *value == written)
    })
}
