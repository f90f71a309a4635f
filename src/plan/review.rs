//! The second reading of a plan, by code that shares no rule with the planner: it recomputes dates with its own
//! arithmetic and looks for what must not be there. It owns the limits and the only way to a [`ReviewedPlan`].
//!
//! This is the one intended exception to "one rule, one place": a slip in the planner must not pass by the same slip.

mod calendar;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::{Disposition, Plan, Reason, Refusal, Scope, Step, TenantScope, Times};
use crate::facts::{ActiveHold, Facts, RequestScope};
use crate::id::{Category, PlacementId, StepId, StoreId, TenantId};
use crate::policy::{Placement, Policies, Policy, Records, Rule, Trigger};

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

/// What an operator has approved: so many records of a category in a store.
pub type Approvals = BTreeMap<(Category, StoreId), u64>;

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
/// 1. the plan and its steps are what their hashes say;
/// 2. a step whose tenants or policy changed since is stale, and not judged further;
/// 3. every other step is proven: right place, one tenant (or, for age, all but the special ones), not held, not
///    before its time;
/// 4. every placement of every policy was asked;
/// 5. limits: what is over them waits, together with the rows that name it and what those rows name.
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
    if let Some(only) = only {
        plan.steps.retain(|step| only.contains(&step.step_id));
    }
    let mut stale: BTreeSet<StepId> = BTreeSet::new();
    for step in &plan.steps {
        if step.expected_id() != step.step_id {
            wrong.push(format!("step `{}` is not what its id says", step.step_id));
        } else if is_stale(step, policies, facts) {
            stale.insert(step.step_id.clone());
        } else if let Err(why) = prove(step, &plan, policies, facts) {
            wrong.push(format!("step `{}` on `{}`: {why}", step.step_id, step.placement));
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
    let fresh: Vec<&Step> = plan.steps.iter().filter(|step| !stale.contains(&step.step_id)).collect();
    let mut refusals = over_limit(&fresh, facts, caps, approvals);
    for refusal in &mut refusals {
        refusal.approve = Some(plan.plan_id.clone());
    }
    let allowed = allowed_steps(&fresh, &refusals);
    plan.refusals = refusals;
    Ok(ReviewedPlan { plan, allowed, stale })
}

fn is_stale(step: &Step, policies: &Policies, facts: &Facts) -> bool {
    let policy_moved = policies.of(&step.category).is_none_or(|policy| policy.digest != step.policy_digest);
    policy_moved || facts.ledger.generation_of(step.tenant.as_ref()) != step.generation
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

fn prove(step: &Step, plan: &Plan, policies: &Policies, facts: &Facts) -> Result<(), String> {
    let (policy, placement) = policies.placement(&step.placement).ok_or("there is no such placement")?;
    if policy.category != step.category
        || placement.store != step.store
        || step.selection.placement != step.placement
    {
        return Err("category, store or selection belong to another placement".into());
    }
    if step.reason.disposition() != Disposition::Erase {
        return Err(format!("`{}` is no reason to erase", step.reason.word()));
    }
    let trigger = match step.reason {
        Reason::Request => Trigger::Request,
        Reason::Termination => Trigger::Termination,
        Reason::Age | Reason::Hold | Reason::Grace | Reason::Entitlement | Reason::Parked => Trigger::Age,
    };
    let rule = policy.rule(trigger).ok_or("the policy has no such rule")?;
    if rule.method != step.method || rule.clause != step.clause || step.level < step.method.level() {
        return Err("method, clause or level are not the rule's".into());
    }
    let rows = rows_behind(step, plan, policy, placement)?;
    match (&step.selection.tenants, &step.tenant) {
        (TenantScope::One(selected), Some(named)) if selected == named => {
            prove_not_held(step, named, policy, rows, &facts.ledger.holds)?;
        }
        (TenantScope::AllExcept(excepted), None) if step.reason == Reason::Age => {
            prove_special_excepted(excepted, policy, plan.at, facts)?;
        }
        (TenantScope::One(_) | TenantScope::AllExcept(_) | TenantScope::Nameless, _) => {
            return Err("the tenants selected are not the tenant named".into());
        }
    }
    match trigger {
        Trigger::Request => prove_requested(step, policy, rows, plan.at, facts),
        Trigger::Termination => prove_terminated(step, policy, rule, plan.at, facts),
        Trigger::Age => prove_over_age(step, policy, rule, plan.at, facts),
    }
}

/// The placement whose rows select the records; for records that rows name, the step of those rows must be there
/// and must select alike, so that no row goes before what it names.
fn rows_behind<'a>(
    step: &Step,
    plan: &Plan,
    policy: &'a Policy,
    placement: &'a Placement,
) -> Result<&'a Placement, String> {
    let Some(Records::FoundBy { placement: namer, .. }) = &placement.records else { return Ok(placement) };
    let rows =
        policy.placements.iter().find(|p| &p.name == namer).ok_or("the naming placement is not there")?;
    let id = step.found_by.as_ref().ok_or("records that rows name have no step of those rows")?;
    let of_rows = plan.step(id).ok_or("the step of the naming rows is missing")?;
    let alike = of_rows.placement == rows.name
        && of_rows.selection.tenants == step.selection.tenants
        && of_rows.selection.within == step.selection.within
        && of_rows.selection.except == step.selection.except;
    if alike { Ok(rows) } else { Err("the naming rows are selected otherwise".into()) }
}

fn concerns(categories: &[Category], policy: &Policy) -> bool {
    categories.is_empty() || categories.contains(&policy.category)
}

fn prove_not_held(
    step: &Step,
    tenant: &TenantId,
    policy: &Policy,
    rows: &Placement,
    holds: &[ActiveHold],
) -> Result<(), String> {
    for hold in holds.iter().filter(|hold| hold.tenant == *tenant && concerns(&hold.categories, policy)) {
        if hold.subjects.is_empty() {
            return Err(format!("hold `{}` keeps all of it", hold.hold_id));
        }
        for key in hold.subjects.iter().filter(|key| rows.subjects.contains_key(key.kind())) {
            let spared = step.selection.except.iter().any(|scope| {
                scope.times == Times::Any
                    && scope.subjects.as_ref().is_some_and(|subjects| {
                        subjects.iter().any(|s| s.kind == key.kind() && s.fingerprint == *key.fingerprint())
                    })
            });
            if !spared {
                return Err(format!("hold `{}` keeps a subject that is not spared", hold.hold_id));
            }
        }
    }
    Ok(())
}

fn prove_special_excepted(
    excepted: &[TenantId],
    policy: &Policy,
    at: DateTime<Utc>,
    facts: &Facts,
) -> Result<(), String> {
    let ledger = &facts.ledger;
    let held = ledger.holds.iter().filter(|hold| concerns(&hold.categories, policy)).map(|hold| &hold.tenant);
    let ended = ledger.terminated.iter().filter(|t| t.terminated_at <= at).map(|t| &t.tenant);
    let entitled = ledger.entitlements.iter().filter(|e| {
        let running = e.until.is_none() || e.until > Some(at);
        running && concerns(&e.categories, policy)
    });
    match held.chain(ended).chain(entitled.map(|e| &e.tenant)).find(|tenant| !excepted.contains(tenant)) {
        Some(tenant) => Err(format!("tenant `{tenant}` should be excepted")),
        None => Ok(()),
    }
}

fn prove_requested(
    step: &Step,
    policy: &Policy,
    rows: &Placement,
    at: DateTime<Utc>,
    facts: &Facts,
) -> Result<(), String> {
    let id = step.request_id.as_ref().ok_or("no request is named")?;
    let request =
        facts.ledger.requests.iter().find(|r| r.request_id == *id).ok_or("the request is not open")?;
    if Some(&request.tenant) != step.tenant.as_ref() || at < request.received_at {
        return Err("the request is another tenant's, or was not received by then".into());
    }
    let covered = |scope: &Scope| match scope.times {
        Times::UpTo(until) => until <= request.received_at,
        Times::Any | Times::Within(_) | Times::Unusable | Times::UnusableBefore(_) => false,
    };
    let scope = step
        .selection
        .within
        .iter()
        .find(|scope| covered(scope))
        .ok_or("records after the receipt are in it")?;
    let fits = match (&request.scope, &scope.subjects) {
        (RequestScope::Everything, None) => true,
        (RequestScope::Categories(categories), None) => categories.contains(&policy.category),
        (RequestScope::Subjects(keys), Some(subjects)) => {
            !subjects.is_empty()
                && subjects.iter().all(|s| {
                    rows.subjects.contains_key(&s.kind)
                        && keys.iter().any(|key| key.kind() == s.kind && *key.fingerprint() == s.fingerprint)
                })
        }
        (RequestScope::Everything | RequestScope::Categories(_), Some(_))
        | (RequestScope::Subjects(_), None) => false,
    };
    if fits { Ok(()) } else { Err("it covers what the request does not ask for".into()) }
}

fn prove_terminated(
    step: &Step,
    policy: &Policy,
    rule: &Rule,
    at: DateTime<Utc>,
    facts: &Facts,
) -> Result<(), String> {
    let ended = facts
        .ledger
        .terminated
        .iter()
        .find(|t| Some(&t.tenant) == step.tenant.as_ref())
        .ok_or("the tenant is not terminated")?;
    let grace = rule.grace.ok_or("the rule has no grace")?;
    if calendar::is_over(ended.terminated_at, grace, policy.time_zone, at) {
        Ok(())
    } else {
        Err("the grace is not over".into())
    }
}

fn prove_over_age(
    step: &Step,
    policy: &Policy,
    rule: &Rule,
    at: DateTime<Utc>,
    facts: &Facts,
) -> Result<(), String> {
    if let Some(tenant) = &step.tenant {
        let ended = facts.ledger.terminated.iter().any(|t| &t.tenant == tenant && t.terminated_at <= at);
        if ended && policy.rule(Trigger::Termination).is_some() {
            return Err("age rules rest for a terminated tenant".into());
        }
        let entitled = facts.ledger.entitlements.iter().any(|e| {
            &e.tenant == tenant
                && concerns(&e.categories, policy)
                && rule.entitlement.as_deref() == Some(e.name.as_str())
                && (e.until.is_none() || e.until > Some(at))
        });
        if entitled {
            return Err("an entitlement is running".into());
        }
    }
    let period = rule.period.ok_or("the rule has no period")?;
    let intervals = step
        .selection
        .within
        .iter()
        .find_map(|scope| match &scope.times {
            Times::Within(intervals) => Some(intervals),
            Times::Any | Times::UpTo(_) | Times::Unusable | Times::UnusableBefore(_) => None,
        })
        .ok_or("no event times are named")?;
    match calendar::first_early(intervals, period, policy.time_zone, at) {
        Some(early) => Err(format!("a record of {} would be erased before its time", early.to_rfc3339())),
        None => Ok(()),
    }
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
        sums.get(&key).is_some_and(|sum| approvals.get(&key).is_some_and(|most| sum <= most))
    };
    let refusal = |code: &str, category: &Category, store: &StoreId, message: String| Refusal {
        code: code.to_owned(),
        category: category.clone(),
        store: store.clone(),
        message,
        approve: None,
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

/// Steps outside every refusal, and not tied to a refused one: rows and what they name go together or not at all.
fn allowed_steps(steps: &[&Step], refusals: &[Refusal]) -> BTreeSet<StepId> {
    let refused = |step: &Step| refusals.iter().any(|r| r.category == step.category && r.store == step.store);
    let mut out: BTreeSet<&StepId> =
        steps.iter().filter(|step| refused(step)).map(|step| &step.step_id).collect();
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
