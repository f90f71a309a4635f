//! The fate of a single record, by the same order of precedence as `decide`, for `explain`.
//! It owns no rule of its own: dates come from `due`, and a property test holds it equal to the groups.

use chrono::{DateTime, Utc};

use super::decide::{awaited_until, deadline_of, rests_until};
use super::{Disposition, Reason, due};
use crate::facts::{LedgerFacts, RequestScope};
use crate::id::{Category, SubjectKey, TenantId};
use crate::policy::{Period, Placement, Policy, Rule, Trigger};

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

/// A record that names no tenant is parked: where time tells that it is not over age yet, from that day on.
fn of_nobody(policy: &Policy, rows: &Placement, seen: &Sighting<'_>, now: DateTime<Utc>) -> Fate {
    let period = policy.rule(Trigger::Age).and_then(|rule| rule.period).filter(|_| rows.event_time.is_some());
    let is_young = period
        .zip(seen.event_time)
        .is_some_and(|(period, event)| now < due::due_at(event, period, policy.time_zone));
    Fate::keep(if is_young { None } else { Some(Reason::Parked) })
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
    let rests = |rule: &Rule, start: DateTime<Utc>| {
        awaited_until(policy, tenant, ledger, deadline_of(policy, rule, start)).filter(|until| now < *until)
    };
    if let (Some(request), Some(rule)) = (request, policy.rule(Trigger::Request)) {
        let received = request.received_at;
        let rests = match &request.scope {
            RequestScope::Everything | RequestScope::Categories(_) => rests(rule, received),
            RequestScope::Subjects(_) => None,
        };
        let reason = if rests.is_some() { Reason::Grace } else { Reason::Request };
        return of(reason, Trigger::Request, received, rests.unwrap_or(received));
    }
    let ended = ledger.terminated.iter().find(|t| &t.tenant == tenant && t.terminated_at <= now);
    if let (Some(ended), Some(rule)) = (ended, policy.rule(Trigger::Termination)) {
        let grace = rule.grace.unwrap_or(Period { months: 0, days: 0 });
        let grace_until = due::due_at(ended.terminated_at, grace, policy.time_zone);
        let rest = grace_until.max(rests_until(ledger, ended, grace_until));
        let due_at = rest.max(rests(rule, ended.terminated_at).unwrap_or(rest));
        let reason = if due_at <= now { Reason::Termination } else { Reason::Grace };
        return of(reason, Trigger::Termination, ended.terminated_at, due_at);
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::facts::{ActiveHold, OpenRequest, TerminatedTenant};
    use crate::id::{Fingerprint, HoldId, RequestId};
    use crate::policy::parse::parse_policy;

    const NOTES: &str = r#"
category = "notes"
title = "Notes"
method = "delete"
[[rules]]
trigger = "age"
period = "6 months"
deadline = "2 days"
clause = "A"
[[rules]]
trigger = "request"
deadline = "30 days"
clause = "R"
[[placements]]
name = "notes"
store = "db"
table = "note"
key = ["id"]
tenant = { column = "tenant" }
event_time = { column = "at", time_zone = "Asia/Singapore" }
subjects = { phone = { columns = ["phone"], format = "digits" } }
"#;

    fn policy() -> Policy {
        parse_policy(Path::new("notes.toml"), NOTES.as_bytes(), &mut Vec::new()).expect("it is a policy")
    }

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn decided(
        name: Option<&str>,
        event: Option<&str>,
        ledger: &LedgerFacts,
        now: &str,
    ) -> (Option<Reason>, Disposition) {
        let policy = policy();
        let owner = name.map(tenant);
        let subjects = [("phone".to_owned(), "6591234567".to_owned())];
        let seen = Sighting { tenant: owner.as_ref(), event_time: event.map(at), subjects: &subjects };
        let fate = fate(&policy, &policy.placements[0], &seen, ledger, at(now));
        (fate.reason, fate.disposition)
    }

    const EVENT: Option<&str> = Some("2024-08-31T12:00:00+08:00");

    #[test]
    fn age_begins_on_the_instant() {
        let ledger = LedgerFacts::default();
        let before = decided(Some("t-1"), EVENT, &ledger, "2025-02-28T11:59:59.999999999+08:00");
        assert_eq!(before, (None, Disposition::Retain));
        let on = decided(Some("t-1"), EVENT, &ledger, "2025-02-28T12:00:00+08:00");
        assert_eq!(on, (Some(Reason::Age), Disposition::Erase));
    }

    #[test]
    fn without_tenant_or_time_a_record_is_parked() {
        let parked = (Some(Reason::Parked), Disposition::Retain);
        assert_eq!(decided(None, EVENT, &LedgerFacts::default(), "2025-02-28T12:00:00+08:00"), parked);
        assert_eq!(decided(None, None, &LedgerFacts::default(), "2024-09-01T00:00:00Z"), parked);
        let young = (None, Disposition::Retain);
        assert_eq!(decided(None, EVENT, &LedgerFacts::default(), "2025-02-28T11:59:59+08:00"), young);
        assert_eq!(decided(Some("t-1"), None, &LedgerFacts::default(), "2030-01-01T00:00:00Z"), parked);
    }

    #[test]
    fn a_subject_is_compared_as_the_column_writes_it_and_only_for_its_tenant() {
        let key = |value: &str| SubjectKey::new("phone", value, Fingerprint::new(value));
        let ledger = |value: &str| {
            let request = OpenRequest {
                request_id: RequestId::new("req-1"),
                tenant: tenant("t-1"),
                scope: RequestScope::Subjects(vec![key(value)]),
                received_at: at("2024-10-01T00:00:00Z"),
                recorded_at: at("2024-10-01T00:00:00Z"),
            };
            LedgerFacts { requests: vec![request], ..LedgerFacts::default() }
        };
        let now = "2024-10-01T00:00:00Z";
        let asked = (Some(Reason::Request), Disposition::Erase);
        let not_due = (None, Disposition::Retain);
        assert_eq!(decided(Some("t-1"), EVENT, &ledger("+65 9123-4567"), now), asked);
        assert_eq!(decided(Some("t-1"), EVENT, &ledger("+65 9123-45678"), now), not_due);
        for neighbour in ["t-10", "T-1", "t-1x"] {
            assert_eq!(decided(Some(neighbour), EVENT, &ledger("+65 9123-4567"), now), not_due);
        }
        assert_eq!(decided(Some("t-1"), EVENT, &ledger("+65 9123-4567"), "2024-09-30T23:59:59Z"), not_due);
    }

    #[test]
    fn a_hold_keeps_what_is_due_and_says_nothing_of_what_is_not() {
        let hold = ActiveHold {
            hold_id: HoldId::new("hold-1"),
            tenant: tenant("t-1"),
            subjects: Vec::new(),
            categories: vec![Category::new("notes")],
        };
        let ledger = LedgerFacts { holds: vec![hold], ..LedgerFacts::default() };
        let held = (Some(Reason::Hold), Disposition::Retain);
        assert_eq!(decided(Some("t-1"), EVENT, &ledger, "2025-02-28T12:00:00+08:00"), held);
        assert_eq!(
            decided(Some("t-1"), EVENT, &ledger, "2025-02-28T11:00:00+08:00"),
            (None, Disposition::Retain)
        );
        let erased = (Some(Reason::Age), Disposition::Erase);
        assert_eq!(decided(Some("t-10"), EVENT, &ledger, "2025-02-28T12:00:00+08:00"), erased);
    }

    #[test]
    fn a_category_that_promises_nothing_on_termination_goes_on_by_age() {
        let ended = TerminatedTenant {
            tenant: tenant("t-1"),
            terminated_at: at("2025-02-01T00:00:00Z"),
            recorded_at: at("2025-02-01T00:00:00Z"),
        };
        let ledger = LedgerFacts { terminated: vec![ended], ..LedgerFacts::default() };
        let by_age = decided(Some("t-1"), EVENT, &ledger, "2025-02-28T12:00:00+08:00");
        assert_eq!(by_age, (Some(Reason::Age), Disposition::Erase));
    }
}
