//! The second reading of a plan, by code that shares no rule with the planner: it recomputes dates with its own
//! arithmetic and looks for what must not be there. It owns the limits and the only way to a [`ReviewedPlan`].
//!
//! This is the one intended exception to "one rule, one place": a slip in the planner must not pass by the same slip.

mod calendar;
mod prove;

use std::collections::{BTreeMap, BTreeSet};

use self::prove::{Sampled, excepted_without_reason, prove, unfinished};
use super::{Plan, Reason, Refusal, Step};
use crate::facts::Facts;
use crate::id::{Category, ExportId, PlacementId, StepId, StoreId};
use crate::policy::{Placement, Policies, Records};

/// Up to this many due records the share of a placement does not matter: small tables would never be cleaned.
const SHARE_FREE_RECORDS: u64 = 100;

/// How much a run may erase unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Records per run, category and store.
    pub records: u64,
    /// Percent of a placement, for age rules.
    pub share_percent: u32,
}

/// What an operator has approved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Approvals {
    /// So many records of a category in a store.
    pub records: BTreeMap<(Category, StoreId), u64>,
    /// That what these exports were to hold goes although they are not finished.
    pub exports: BTreeSet<ExportId>,
}

impl Approvals {
    /// Nothing is approved.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<const N: usize> From<[((Category, StoreId), u64); N]> for Approvals {
    fn from(records: [((Category, StoreId), u64); N]) -> Self {
        Self { records: records.into(), exports: BTreeSet::new() }
    }
}

/// A plan that passed. Only [`review`] makes one, and only one of these can be enforced.
#[derive(Debug, Clone)]
pub struct ReviewedPlan {
    plan: Plan,
    allowed: BTreeSet<StepId>,
    stale: BTreeSet<StepId>,
}

impl ReviewedPlan {
    /// The plan, with the refusals of the review.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The steps that may be carried out, in order.
    pub fn allowed(&self) -> impl Iterator<Item = &Step> {
        self.plan.steps.iter().filter(|step| self.allowed.contains(&step.step_id))
    }

    /// True where the step may be carried out.
    pub fn allows(&self, step: &StepId) -> bool {
        self.allowed.contains(step)
    }

    /// Steps that were decided before something changed; they are planned anew.
    pub fn stale(&self) -> impl Iterator<Item = &Step> {
        self.plan.steps.iter().filter(|step| self.stale.contains(&step.step_id))
    }

    /// Steps that wait for an approval.
    pub fn refused(&self) -> Vec<StepId> {
        let waits =
            |step: &&Step| !self.allowed.contains(&step.step_id) && !self.stale.contains(&step.step_id);
        self.plan.steps.iter().filter(waits).map(|step| step.step_id.clone()).collect()
    }
}

/// What the second reading found that must not be. Nothing of the plan is carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the review found {} that must not be, first: {}", self.0.len(), self.0.first().map_or("", String::as_str))]
pub struct Violations(pub Vec<String>);

/// Reads a plan a second time. `only` limits it to some steps (those that were approved); the others count as absent.
///
/// Gates, in this order:
/// 1. the plan and its steps are what their hashes say, and the totals are the sums of what is in it;
/// 2. a step whose tenants or policy changed since is stale, and not judged further;
/// 3. every other step is proven: right place, one tenant (or, for age, all but the special ones), not held, not
///    before its time, nothing taken twice and nothing of it forgotten;
/// 4. every placement of every policy was asked;
/// 5. limits: what is over them waits, together with the rows that name it and what those rows name; so does what a
///    tenant still waits to take along.
///
/// # Properties
/// It does not know which records there are: a step that was left out of a plan together with everything tied to it
/// is not missed here. That nothing due is left out is held by `tests/properties.rs`.
///
/// # Errors
/// Where a gate from 1, 3 or 4 does not hold: a bug, or a plan that somebody edited.
pub fn review(
    mut plan: Plan,
    only: Option<&BTreeSet<StepId>>,
    policies: &Policies,
    facts: &Facts,
    caps: Caps,
    approvals: &Approvals,
) -> Result<ReviewedPlan, Violations> {
    let mut wrong = Vec::new();
    if plan.expected_id() != plan.plan_id {
        wrong.push(format!("plan `{}` is not what its id says", plan.plan_id));
    }
    if let Err(why) = sums_agree(&plan) {
        wrong.push(format!("plan `{}`: {why}", plan.plan_id));
    }
    if let Some(only) = only {
        plan.steps.retain(|step| only.contains(&step.step_id));
    }
    let mut stale: BTreeSet<StepId> = BTreeSet::new();
    let mut sampled = Sampled::new();
    for step in &plan.steps {
        if step.expected_id() != step.step_id {
            wrong.push(format!("step `{}` is not what its id says", step.step_id));
        } else if is_stale(step, &plan, policies, facts) {
            stale.insert(step.step_id.clone());
        } else if let Err(why) = prove(step, &plan, policies, facts, &mut sampled) {
            wrong.push(format!("step `{}` on `{}`: {why}", step.step_id, step.placement));
        }
    }
    let fresh: Vec<&Step> = plan.steps.iter().filter(|step| !stale.contains(&step.step_id)).collect();
    for (later, step) in fresh.iter().enumerate() {
        if fresh.iter().take(later).any(|earlier| is_same_group(earlier, step)) {
            wrong.push(format!(
                "step `{}` on `{}` takes what another step takes",
                step.step_id, step.placement
            ));
        }
    }
    for placement in policies.iter().flat_map(|policy| &policy.placements) {
        if only.is_none() && !was_asked(placement, policies, facts) {
            wrong.push(format!("placement `{}` was never asked", placement.name));
        }
    }
    if !wrong.is_empty() {
        return Err(Violations(wrong));
    }
    let mut refusals = over_limit(&fresh, facts, caps, approvals);
    let mut out = refused_by(&fresh, &refusals);
    let (unexported, waiting) = not_exported(&fresh, facts, approvals);
    refusals.extend(unexported);
    out.extend(waiting);
    for refusal in &mut refusals {
        refusal.approve = Some(plan.plan_id.clone());
    }
    let allowed = allowed_steps(&fresh, out);
    plan.refusals = refusals;
    Ok(ReviewedPlan { plan, allowed, stale })
}

/// The ledger or the policy has moved since the step was decided. An entitlement that ran out moves nothing, but its
/// tenant is no longer special: the step that spares it would leave its records to nobody.
fn is_stale(step: &Step, plan: &Plan, policies: &Policies, facts: &Facts) -> bool {
    let policy_moved = policies.of(&step.category).is_none_or(|policy| policy.digest != step.policy_digest);
    policy_moved
        || facts.ledger.generation_of(step.tenant.as_ref()) != step.generation
        || excepted_without_reason(step, plan.at, facts)
}

/// Two steps that both hold to the order of precedence can only meet where everything that tells groups apart is
/// the same.
fn is_same_group(one: &Step, other: &Step) -> bool {
    one.placement == other.placement
        && one.tenant == other.tenant
        && one.reason == other.reason
        && one.request_id == other.request_id
}

/// The totals of a plan are the sums over its steps and over what it keeps.
fn sums_agree(plan: &Plan) -> Result<(), String> {
    let kept = |reason: Reason| -> u64 {
        plan.kept.iter().filter(|group| group.reason == reason).map(|group| group.records).sum()
    };
    let totals = plan.totals;
    let said = [totals.erase, totals.held, totals.entitled, totals.grace, totals.parked];
    let erased: u64 = plan.steps.iter().map(|step| step.records).sum();
    let counted =
        [erased, kept(Reason::Hold), kept(Reason::Entitlement), kept(Reason::Grace), kept(Reason::Parked)];
    if said == counted { Ok(()) } else { Err("the totals are not the sums of what is in it".into()) }
}

fn was_asked(placement: &Placement, policies: &Policies, facts: &Facts) -> bool {
    let rotates_only = placement.records.is_none();
    let namer = match &placement.records {
        Some(Records::FoundBy { placement, .. }) => {
            policies.placement(placement).map(|(_, rows)| &rows.store)
        }
        Some(Records::Table { .. } | Records::Prefix(_) | Records::Keys(_) | Records::Index(_)) | None => {
            None
        }
    };
    let named_silent = policies.iter().flat_map(|policy| &policy.placements).any(|other| {
        matches!(&other.records, Some(Records::FoundBy { placement: rows, .. }) if rows == &placement.name)
            && facts.unreachable.contains_key(&other.store)
    });
    let silent = |store: &StoreId| facts.unreachable.contains_key(store);
    rotates_only
        || facts.surveyed.contains(&placement.name)
        || silent(&placement.store)
        || namer.is_some_and(silent)
        || named_silent
}

/// Sums per category and store against the cap on records, and per placement, for age, against its share.
fn over_limit(steps: &[&Step], facts: &Facts, caps: Caps, approvals: &Approvals) -> Vec<Refusal> {
    let mut sums: BTreeMap<(Category, StoreId), u64> = BTreeMap::new();
    let mut by_age: BTreeMap<(PlacementId, Category, StoreId), u64> = BTreeMap::new();
    for step in steps {
        *sums.entry((step.category.clone(), step.store.clone())).or_default() += step.records;
        if step.reason == Reason::Age && step.found_by.is_none() {
            let key = (step.placement.clone(), step.category.clone(), step.store.clone());
            *by_age.entry(key).or_default() += step.records;
        }
    }
    let approved = |category: &Category, store: &StoreId| {
        let key = (category.clone(), store.clone());
        sums.get(&key).is_some_and(|sum| approvals.records.get(&key).is_some_and(|most| sum <= most))
    };
    let refusal = |code: &str, category: &Category, store: &StoreId, message: String| Refusal {
        code: code.to_owned(),
        category: category.clone(),
        store: store.clone(),
        message,
        approve: None,
        export_id: None,
    };
    let mut refusals = Vec::new();
    for ((category, store), sum) in &sums {
        if *sum > caps.records && !approved(category, store) {
            let message = format!(
                "{sum} records of `{category}` in store `{store}` are over the limit of {}",
                caps.records
            );
            refusals.push(refusal("limit-records", category, store, message));
        }
    }
    for ((placement, category, store), due) in &by_age {
        // A population that nobody counted counts as nothing: the share is then over any limit.
        let population = facts.populations.get(placement).copied().unwrap_or(0);
        let over = u128::from(*due) * 100 > u128::from(population) * u128::from(caps.share_percent);
        if *due > SHARE_FREE_RECORDS && over && !approved(category, store) {
            let message = format!(
                "{due} records over age in `{placement}` are more than {} % of it",
                caps.share_percent
            );
            refusals.push(refusal("limit-share", category, store, message));
        }
    }
    refusals
}

/// Steps whose tenant waits for an export of what they take: the promise to wait is over, and an operator decides.
/// Only they wait, whatever else is in their category and store.
fn not_exported<'s>(
    steps: &[&'s Step],
    facts: &Facts,
    approvals: &Approvals,
) -> (Vec<Refusal>, Vec<&'s StepId>) {
    let mut refusals: Vec<Refusal> = Vec::new();
    let mut waiting = Vec::new();
    for step in steps {
        for export in unfinished(step, facts).filter(|export| !approvals.exports.contains(&export.export_id))
        {
            waiting.push(&step.step_id);
            let is_said = refusals.iter().any(|refusal| {
                refusal.export_id.as_ref() == Some(&export.export_id)
                    && refusal.category == step.category
                    && refusal.store == step.store
            });
            if !is_said {
                refusals.push(Refusal {
                    code: "export-unfinished".to_owned(),
                    category: step.category.clone(),
                    store: step.store.clone(),
                    message: format!(
                        "tenant `{}` waits for export `{}`, and the deadline is near: finish it, withdraw it with \
                         `retentiond export cancel`, or approve",
                        export.tenant, export.export_id
                    ),
                    approve: None,
                    export_id: Some(export.export_id.clone()),
                });
            }
        }
    }
    (refusals, waiting)
}

fn refused_by<'s>(steps: &[&'s Step], refusals: &[Refusal]) -> BTreeSet<&'s StepId> {
    let refused = |step: &Step| refusals.iter().any(|r| r.category == step.category && r.store == step.store);
    steps.iter().filter(|step| refused(step)).map(|step| &step.step_id).collect()
}

/// Steps that nothing refuses, and not tied to a refused one: rows and what they name go together or not at all.
fn allowed_steps<'s>(steps: &[&'s Step], mut out: BTreeSet<&'s StepId>) -> BTreeSet<StepId> {
    loop {
        let tied = |step: &&&Step| {
            let rows_out = step.found_by.as_ref().is_some_and(|rows| out.contains(rows));
            let named_out = steps
                .iter()
                .any(|other| other.found_by.as_ref() == Some(&step.step_id) && out.contains(&other.step_id));
            !out.contains(&step.step_id) && (rows_out || named_out)
        };
        let more: Vec<&StepId> = steps.iter().filter(tied).map(|step| &step.step_id).collect();
        if more.is_empty() {
            break;
        }
        out.extend(more);
    }
    steps.iter().filter(|step| !out.contains(&step.step_id)).map(|step| step.step_id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use chrono::{DateTime, Utc};

    use super::*;
    use crate::facts::{Survey, Tally};
    use crate::id::TenantId;
    use crate::plan::{groups, plan};
    use crate::policy::parse::parse_policy;

    const CALLS: &str = r#"
category = "calls"
title = "Calls"
method = "delete"
[[rules]]
trigger = "age"
period = "6 months"
deadline = "2 days"
clause = "A"
[[placements]]
name = "calls"
store = "db"
table = "call"
key = ["id"]
tenant = { column = "tenant" }
event_time = { column = "at", time_zone = "Asia/Singapore" }
subjects = "none"
[[placements]]
name = "recordings"
store = "files"
found_by = { placement = "calls", column = "recording", prefix = "rec/{tenant}/" }
"#;

    fn policies() -> Policies {
        let policy = parse_policy(Path::new("calls.toml"), CALLS.as_bytes(), &mut Vec::new());
        Policies::new(vec![policy.expect("it is a policy")])
    }

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2025-06-15T12:00:00+08:00").unwrap().to_utc()
    }

    fn facts(records: u64) -> Facts {
        let old = Some(now() - chrono::Duration::days(300));
        let tally = Tally { records, oldest: old, newest: old };
        let counted = Survey { tenants: [(TenantId::parse("t-1").unwrap(), tally)].into(), nameless: 0 };
        let policies = policies();
        let nothing = Facts::default();
        let surveys = groups(&policies, &nothing, now()).into_iter().map(|group| {
            let survey = if group.reason == Reason::Age { counted.clone() } else { Survey::default() };
            (group.selection.digest(), survey)
        });
        let mut facts = Facts { surveys: surveys.collect(), ..Facts::default() };
        for name in ["calls", "recordings"] {
            facts.surveyed.insert(PlacementId::new(name));
            facts.populations.insert(PlacementId::new(name), 1_000);
        }
        facts
    }

    fn read(facts: &Facts, caps: Caps) -> Result<ReviewedPlan, Violations> {
        let made = plan(&policies(), facts, now()).unwrap();
        review(made, None, &policies(), facts, caps, &Approvals::new())
    }

    const CAPS: Caps = Caps { records: 100, share_percent: 20 };

    #[test]
    fn a_plan_that_holds_passes_whole() {
        let reviewed = read(&facts(100), CAPS).unwrap();
        assert_eq!(reviewed.allowed().count(), 2);
        assert!(reviewed.plan().steps.iter().all(|step| reviewed.allows(&step.step_id)));
        assert!(reviewed.refused().is_empty() && reviewed.stale().count() == 0);
    }

    #[test]
    fn what_is_over_the_limit_waits_and_is_told_how_to_pass() {
        let reviewed = read(&facts(101), CAPS).unwrap();
        assert_eq!(reviewed.allowed().count(), 0);
        assert_eq!(reviewed.refused().len(), 2);
        assert!(
            reviewed.plan().refusals.iter().all(|r| r.approve.as_ref() == Some(&reviewed.plan().plan_id))
        );
    }

    #[test]
    fn a_placement_that_was_not_asked_is_refused_unless_its_store_is_silent() {
        let mut unasked = facts(1);
        unasked.surveyed.remove(&PlacementId::new("recordings"));
        let wrong = read(&unasked, CAPS).unwrap_err();
        assert_eq!(wrong.0, ["placement `recordings` was never asked"]);
        let mut silent = facts(1);
        silent.surveyed.clear();
        silent.unreachable.insert(StoreId::new("files"), "no route".to_owned());
        assert_eq!(read(&silent, CAPS).unwrap().plan().steps.len(), 0, "rows wait for what they name");
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let facts = facts(1);
        let mut made = plan(&policies(), &facts, now()).unwrap();
        for step in &mut made.steps {
            step.clause = "another".to_owned();
        }
        let wrong = review(made, None, &policies(), &facts, CAPS, &Approvals::new()).unwrap_err();
        assert_eq!(wrong.0.len(), 3);
        assert!(wrong.to_string().starts_with("the review found 3 that must not be, first: plan `"));
    }

    #[test]
    fn a_step_that_does_not_say_which_parts_of_a_pattern_it_means_is_refused() {
        let facts = facts(1);
        let made = plan(&policies(), &facts, now()).unwrap();
        let mut parted = facts.clone();
        parted.parts.insert(PlacementId::new("calls"), vec!["calls-a".to_owned()]);
        let wrong = review(made, None, &policies(), &parted, CAPS, &Approvals::new()).unwrap_err();
        assert!(wrong.to_string().contains("which parts of the placement's pattern"), "{wrong}");
    }
}
