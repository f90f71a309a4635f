//! Counted groups as the plan shows them: a step for what goes, an entry for what stays, the totals over both.
//! It owns the dates and numbers of steps; which records a group holds was decided before.

use chrono::{DateTime, Utc};

use super::{Group, PlanError, deadline_of};
use crate::facts::{Facts, OpenRequest, RequestScope, Survey, Tally};
use crate::id::{RequestId, StepId, TenantId};
use crate::plan::{Kept, NamedSubject, Reason, Selection, Step, Totals, due};
use crate::policy::{Period, Policy};

/// The step of a group; `None` where there is nothing to erase.
pub(super) fn step_of(
    group: &Group<'_>,
    survey: &Survey,
    facts: &Facts,
    steps: &[Step],
) -> Result<Option<Step>, PlanError> {
    let tally = survey.total();
    if tally.records == 0 {
        return Ok(None);
    }
    let undated = || PlanError::Undated(group.placement.name.clone());
    let rule = group.rule.ok_or_else(undated)?;
    let (start, due_since) = match (group.reason, rule.period) {
        (Reason::Age, Some(period)) => {
            let first = first_due(&tally, period, group.policy).ok_or_else(undated)?;
            (first, first)
        }
        (_, _) => {
            let start = group.start.ok_or_else(undated)?;
            (start, group.until.unwrap_or(start))
        }
    };
    let tenant = group.selection.tenant().cloned();
    let found_by = match group.column {
        None => None,
        Some(_) => {
            // The rows are selected alike but for the placement. Where none was counted, they went between the two
            // counts, and nothing names these records any more.
            let of_rows = Selection { placement: group.rows.name.clone(), ..group.selection.clone() };
            let Some(rows) = steps.iter().find(|step| step.selection == of_rows) else { return Ok(None) };
            Some(rows.step_id.clone())
        }
    };
    let mut step = Step {
        step_id: StepId::new(""),
        placement: group.placement.name.clone(),
        store: group.placement.store.clone(),
        category: group.policy.category.clone(),
        reason: group.reason,
        clause: rule.clause.clone(),
        method: rule.method,
        level: rule.level.unwrap_or(rule.method.level()).max(rule.method.level()),
        records: tally.records,
        oldest: tally.oldest,
        newest: tally.newest,
        due_since,
        deadline: deadline_of(group.policy, rule, start),
        request_id: group.request.map(|request| request.request_id.clone()),
        subject: group.request.and_then(single_subject),
        found_by,
        selection: group.selection.clone(),
        generation: facts.ledger.generation_of(tenant.as_ref()),
        policy_digest: group.policy.digest.clone(),
        tenant,
    };
    step.step_id = step.expected_id();
    Ok(Some(step))
}

/// Since when the first of the counted records has been due, or a few hours before: at the end of a long month the
/// oldest record need not be the first (29 August at noon and 30 August at dawn are both due on 28 February), and a
/// deadline counted from the oldest would come too late for the others.
fn first_due(tally: &Tally, period: Period, policy: &Policy) -> Option<DateTime<Utc>> {
    let (oldest, newest) = tally.oldest.zip(tally.newest)?;
    let zone = policy.time_zone;
    let of_oldest = due::due_at(oldest, period, zone);
    let next_day = due::start_of_day(oldest.with_timezone(&zone).date_naive().succ_opt()?, zone);
    Some(if newest < next_day { of_oldest } else { of_oldest.min(due::due_at(next_day, period, zone)) })
}

fn single_subject(request: &OpenRequest) -> Option<NamedSubject> {
    match &request.scope {
        RequestScope::Subjects(keys) if keys.len() == 1 => keys
            .first()
            .map(|key| NamedSubject { kind: key.kind().to_owned(), fingerprint: key.fingerprint().clone() }),
        RequestScope::Subjects(_) | RequestScope::Everything | RequestScope::Categories(_) => None,
    }
}

pub(super) fn kept_of(group: &Group<'_>, survey: &Survey) -> Vec<Kept> {
    let clause = match group.reason {
        Reason::Grace | Reason::Entitlement => group.rule.map(|rule| rule.clause.clone()),
        Reason::Hold | Reason::Parked | Reason::Request | Reason::Termination | Reason::Age => None,
    };
    let kept = |tenant: Option<&TenantId>, tally: &Tally| Kept {
        placement: group.placement.name.clone(),
        store: group.placement.store.clone(),
        category: group.policy.category.clone(),
        tenant: tenant.cloned(),
        reason: group.reason,
        records: tally.records,
        oldest: tally.oldest,
        newest: tally.newest,
        until: group.until,
        clause: clause.clone(),
        hold_id: group.hold_id.clone(),
        request_id: group.request.map(|request: &OpenRequest| -> RequestId { request.request_id.clone() }),
    };
    let nameless = Tally { records: survey.nameless, ..Tally::default() };
    survey
        .tenants
        .iter()
        .map(|(tenant, tally)| kept(Some(tenant), tally))
        .chain([kept(None, &nameless)])
        .filter(|group| group.records > 0)
        .collect()
}

/// Adds a group to what is kept. Records of nobody in one placement are one group, whatever their times.
pub(super) fn keep(kept: &mut Vec<Kept>, more: Kept) {
    let same = |other: &&mut Kept| {
        more.tenant.is_none()
            && other.tenant.is_none()
            && (&other.category, &other.placement) == (&more.category, &more.placement)
    };
    match kept.iter_mut().find(same) {
        Some(other) => other.records += more.records,
        None => kept.push(more),
    }
}

pub(super) fn totals_of(steps: &[Step], kept: &[Kept]) -> Totals {
    let mut totals = Totals { erase: steps.iter().map(|step| step.records).sum(), ..Totals::default() };
    for group in kept {
        match group.reason {
            Reason::Hold => totals.held += group.records,
            Reason::Entitlement => totals.entitled += group.records,
            Reason::Grace => totals.grace += group.records,
            Reason::Parked => totals.parked += group.records,
            Reason::Request | Reason::Termination | Reason::Age => {}
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Method;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn policy() -> Policy {
        Policy {
            category: crate::id::Category::new("calls"),
            title: String::new(),
            time_zone: chrono_tz::Tz::Asia__Singapore,
            method: Method::Delete,
            rules: Vec::new(),
            placements: Vec::new(),
            digest: String::new(),
        }
    }

    fn first(oldest: &str, newest: &str) -> Option<DateTime<Utc>> {
        let tally = Tally { records: 2, oldest: Some(at(oldest)), newest: Some(at(newest)) };
        first_due(&tally, Period { months: 6, days: 0 }, &policy())
    }

    #[test]
    fn the_oldest_record_is_the_first_that_was_due_but_for_the_ends_of_long_months() {
        let june = first("2024-06-10T12:00:00+08:00", "2024-06-20T12:00:00+08:00");
        assert_eq!(june, Some(at("2024-12-10T12:00:00+08:00")));
        // The 30th at dawn is due before the 29th at noon; nobody knows whether there is such a record.
        let august = first("2024-08-29T12:00:00+08:00", "2024-08-30T06:00:00+08:00");
        assert_eq!(august, Some(at("2025-02-28T00:00:00+08:00")));
        let same_day = first("2024-08-29T12:00:00+08:00", "2024-08-29T18:00:00+08:00");
        assert_eq!(same_day, Some(at("2025-02-28T12:00:00+08:00")));
        let last_day = first("2024-08-31T12:00:00+08:00", "2024-09-01T18:00:00+08:00");
        assert_eq!(last_day, Some(at("2025-02-28T12:00:00+08:00")));
    }

    #[test]
    fn without_times_nobody_knows_since_when() {
        let tally = Tally { records: 1, ..Tally::default() };
        assert_eq!(first_due(&tally, Period { months: 6, days: 0 }, &policy()), None);
    }
}
