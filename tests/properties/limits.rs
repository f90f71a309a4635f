//! How much a run may erase unasked: exactly at a limit, one more, and who waits with whom.
//! It owns no fixture but counts.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use retentiond::facts::{Facts, LedgerFacts, Survey, Tally, TerminatedTenant};
use retentiond::id::{Category, PlacementId, StepId, StoreId};
use retentiond::plan::decide::groups;
use retentiond::plan::review::{Approvals, Caps, ReviewedPlan, review};
use retentiond::plan::{Plan, Reason, plan};

use super::world::{policies, tenant};

const FEW: Caps = Caps { records: 1_000, share_percent: 20 };

fn now() -> DateTime<Utc> {
    "2025-06-15T04:00:00Z".parse().unwrap()
}

/// Facts in which so many records of each placement are due by age, or, of a terminated tenant, by termination.
fn facts(due: &[(&str, u64)], ended: bool, populations: &[(&str, u64)]) -> Facts {
    let mut facts = Facts::default();
    if ended {
        let terminated_at = now() - Duration::days(100);
        let gone = TerminatedTenant { tenant: tenant("t-1"), terminated_at, recorded_at: terminated_at };
        facts.ledger = LedgerFacts { terminated: vec![gone], ..LedgerFacts::default() };
    }
    let reason = if ended { Reason::Termination } else { Reason::Age };
    let old = Some(now() - Duration::days(400));
    let mut surveys = BTreeMap::new();
    for group in groups(&policies(), &facts, now()) {
        let due =
            due.iter().find(|(name, _)| *name == group.placement.name.as_str()).map_or(0, |(_, due)| *due);
        let mut survey = Survey::default();
        if due > 0 && group.reason == reason {
            survey.tenants.insert(tenant("t-1"), Tally { records: due, oldest: old, newest: old });
        }
        surveys.insert(group.selection.digest(), survey);
    }
    facts.surveys = surveys;
    for policy in &policies() {
        facts.surveyed.extend(policy.placements.iter().map(|placement| placement.name.clone()));
    }
    facts.populations = populations.iter().map(|(name, count)| (PlacementId::new(*name), *count)).collect();
    facts
}

fn reviewed(facts: &Facts, approvals: &Approvals) -> ReviewedPlan {
    let plan = plan(&policies(), facts, now()).unwrap();
    review(plan, None, &policies(), facts, FEW, approvals).unwrap()
}

fn allowed(reviewed: &ReviewedPlan) -> Vec<&str> {
    reviewed.allowed().map(|step| step.placement.as_str()).collect()
}

fn codes(reviewed: &ReviewedPlan) -> Vec<(&str, &str, &str)> {
    let refusals = reviewed.plan().refusals.iter();
    refusals
        .map(|refusal| (refusal.code.as_str(), refusal.category.as_str(), refusal.store.as_str()))
        .collect()
}

#[test]
fn as_many_as_the_limit_pass_and_one_more_waits() {
    let population = [("metrics", 1_000_000)];
    let at = reviewed(&facts(&[("metrics", 1_000)], false, &population), &Approvals::new());
    assert_eq!((allowed(&at), codes(&at)), (vec!["metrics"], vec![]));
    let over = reviewed(&facts(&[("metrics", 1_001)], false, &population), &Approvals::new());
    assert_eq!((allowed(&over), codes(&over)), (vec![], vec![("limit-records", "metrics", "db")]));
    let refusal = &over.plan().refusals[0];
    assert_eq!(refusal.approve.as_ref(), Some(&over.plan().plan_id));
    assert!(refusal.message.contains("1001") && refusal.message.contains("1000"), "{}", refusal.message);
    assert_eq!(over.plan().expected_id(), over.plan().plan_id, "refusals are no part of what the id names");
}

#[test]
fn the_limit_is_on_the_sum_of_a_category_in_a_store() {
    let population = [("calls", 1_000_000)];
    // Two placements in one store.
    let at = reviewed(
        &facts(&[("calls", 700), ("recordings", 600), ("transcripts", 400)], false, &population),
        &Approvals::new(),
    );
    assert_eq!(allowed(&at).len(), 3);
    let over = reviewed(
        &facts(&[("calls", 700), ("recordings", 600), ("transcripts", 401)], false, &population),
        &Approvals::new(),
    );
    assert_eq!(codes(&over), [("limit-records", "calls", "files")]);
    // Another category in the same store has its own sum.
    let apart = reviewed(
        &facts(
            &[("calls", 1_000), ("metrics", 1_000)],
            false,
            &[("calls", 1_000_000), ("metrics", 1_000_000)],
        ),
        &Approvals::new(),
    );
    assert_eq!(allowed(&apart).len(), 2);
}

#[test]
fn a_fifth_of_a_placement_passes_and_one_record_more_waits() {
    let at = reviewed(&facts(&[("metrics", 200)], false, &[("metrics", 1_000)]), &Approvals::new());
    assert_eq!((allowed(&at), codes(&at)), (vec!["metrics"], vec![]));
    let over = reviewed(&facts(&[("metrics", 201)], false, &[("metrics", 1_000)]), &Approvals::new());
    assert_eq!((allowed(&over), codes(&over)), (vec![], vec![("limit-share", "metrics", "db")]));
    let fewer = reviewed(&facts(&[("metrics", 200)], false, &[("metrics", 999)]), &Approvals::new());
    assert_eq!(codes(&fewer), [("limit-share", "metrics", "db")]);
}

#[test]
fn up_to_a_hundred_records_the_share_does_not_matter() {
    let hundred = reviewed(&facts(&[("metrics", 100)], false, &[("metrics", 100)]), &Approvals::new());
    assert_eq!((allowed(&hundred), codes(&hundred)), (vec!["metrics"], vec![]));
    let more = reviewed(&facts(&[("metrics", 101)], false, &[("metrics", 101)]), &Approvals::new());
    assert_eq!(codes(&more), [("limit-share", "metrics", "db")]);
}

#[test]
fn a_placement_that_nobody_counted_is_over_any_share() {
    let uncounted = reviewed(&facts(&[("metrics", 101)], false, &[]), &Approvals::new());
    assert_eq!(codes(&uncounted), [("limit-share", "metrics", "db")]);
}

#[test]
fn a_termination_counts_against_the_number_only() {
    let at = reviewed(&facts(&[("calls", 1_000)], true, &[("calls", 1_000)]), &Approvals::new());
    assert_eq!((allowed(&at), codes(&at)), (vec!["calls"], vec![]));
    let over = reviewed(&facts(&[("calls", 1_001)], true, &[("calls", 1_001)]), &Approvals::new());
    assert_eq!(codes(&over), [("limit-records", "calls", "db")]);
}

#[test]
fn rows_and_what_they_name_wait_for_each_other() {
    let population = [("calls", 1_000_000), ("metrics", 1_000_000)];
    let named = reviewed(
        &facts(&[("calls", 900), ("recordings", 1_001), ("metrics", 5)], false, &population),
        &Approvals::new(),
    );
    assert_eq!(codes(&named), [("limit-records", "calls", "files")]);
    assert_eq!(allowed(&named), ["metrics"], "no row goes before what it names");
    let rows = reviewed(
        &facts(
            &[("calls", 1_001), ("recordings", 10), ("transcripts", 10), ("metrics", 5)],
            false,
            &population,
        ),
        &Approvals::new(),
    );
    assert_eq!(codes(&rows), [("limit-records", "calls", "db")]);
    assert_eq!(allowed(&rows), ["metrics"], "what a row names stays with the row");
    assert_eq!(rows.refused().len(), 3);
}

#[test]
fn an_approval_covers_so_many_records_and_not_one_more() {
    let facts = facts(&[("metrics", 1_500)], false, &[("metrics", 1_500)]);
    let approval =
        |records: u64| Approvals::from([((Category::new("metrics"), StoreId::new("db")), records)]);
    assert_eq!(allowed(&reviewed(&facts, &approval(1_500))), ["metrics"]);
    let short = reviewed(&facts, &approval(1_499));
    assert_eq!(codes(&short), [("limit-records", "metrics", "db"), ("limit-share", "metrics", "db")]);
    assert!(allowed(&short).is_empty());
    let elsewhere = Approvals::from([((Category::new("metrics"), StoreId::new("files")), 9_999)]);
    assert!(allowed(&reviewed(&facts, &elsewhere)).is_empty());
}

#[test]
fn only_the_steps_that_were_approved_are_read_and_allowed() {
    let facts = facts(&[("calls", 10), ("metrics", 10)], false, &[]);
    let whole: Plan = plan(&policies(), &facts, now()).unwrap();
    let only: BTreeSet<StepId> = whole
        .steps
        .iter()
        .filter(|step| step.placement.as_str() == "metrics")
        .map(|step| step.step_id.clone())
        .collect();
    let reviewed = review(whole, Some(&only), &policies(), &facts, FEW, &Approvals::new()).unwrap();
    assert_eq!(allowed(&reviewed), ["metrics"]);
    assert_eq!(reviewed.plan().steps.len(), 1);
}
