//! The proof of a single step: that it may erase exactly what it says, no record more and none fewer.
//! It owns the reviewer's own reading of the order of precedence; limits and hashes are the parent's.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, NaiveDate, Utc};

use super::calendar;
use crate::facts::{ActiveHold, Facts, OpenExport, OpenRequest, RequestScope};
use crate::id::{Category, SubjectKey, TenantId};
use crate::plan::{
    Disposition, Interval, Plan, Reason, Scope, Selection, Step, SubjectOrigin, SubjectRef, TenantScope,
    Times,
};
use crate::policy::{Level, Period, Placement, Policies, Policy, Records, Rule, Trigger};

/// A tenant that waits for an export delays what takes all of a category until so many days before the deadline.
const EXPORT_DAYS: u64 = 3;

/// Intervals that our own calendar agrees with, by policy and first plausible day: looked at once, not for each step.
pub(super) type Sampled = BTreeMap<(Category, NaiveDate), Vec<Interval>>;

/// Proves a step, or says why it must not be carried out.
///
/// Gates, in this order:
/// 1. category, store, method, clause and level are those of placement and rule;
/// 2. rows and what they name are selected alike, and neither goes without the other;
/// 3. the tenants are one, or, for age, all but those with a step of their own;
/// 4. its reason holds at the plan's instant: asked for, grace over, over age, and no export is to be waited for;
/// 5. its conditions are those of its reason, less what a hold keeps and what an earlier request takes: not one
///    more, which would leave records to nobody, and not one fewer;
/// 6. its dates are not later than they should be.
pub(super) fn prove(
    step: &Step,
    plan: &Plan,
    policies: &Policies,
    facts: &Facts,
    sampled: &mut Sampled,
) -> Result<(), String> {
    let (policy, placement) = policies.placement(&step.placement).ok_or("there is no such placement")?;
    if policy.category != step.category
        || placement.store != step.store
        || step.selection.placement != step.placement
    {
        return Err("category, store or selection belong to another placement".into());
    }
    if facts.parts.contains_key(&step.placement) && step.selection.parts.is_empty() {
        // No parts would mean all of them, also those that the plan did not know.
        return Err("it does not say which parts of the placement's pattern it means".into());
    }
    if step.reason.disposition() != Disposition::Erase {
        return Err(format!("`{}` is no reason to erase", step.reason.word()));
    }
    let rule = policy.rule(trigger_of(step.reason)).ok_or("the policy has no such rule")?;
    let level = rule.level.map_or(step.method.level(), |asked: Level| asked.max(step.method.level()));
    if rule.method != step.method || rule.clause != step.clause || step.level != level {
        return Err("method, clause or level are not the rule's".into());
    }
    let case =
        Case { step, policy, rule, rows: rows_behind(step, plan, policy, placement)?, at: plan.at, facts };
    case.names_go_along(plan)?;
    case.tenants()?;
    let own = match trigger_of(step.reason) {
        Trigger::Request => case.requested()?,
        Trigger::Termination => case.terminated()?,
        Trigger::Age => case.over_age(sampled)?,
    };
    case.waits_for_no_export()?;
    if !alike(&step.selection.within, &[own]) {
        return Err("it selects other records than its reason gives".into());
    }
    if !alike(&step.selection.except, &case.spared()?) {
        return Err("what holds and requests take out of it is not what it spares".into());
    }
    case.dates()
}

/// True where an age step spares a tenant of whom the ledger says nothing: nobody would erase that tenant's records.
pub(super) fn excepted_without_reason(step: &Step, at: DateTime<Utc>, facts: &Facts) -> bool {
    match &step.selection.tenants {
        TenantScope::AllExcept(excepted) => {
            let special = special_tenants(&step.category, at, facts);
            excepted.iter().any(|tenant| !special.contains(tenant))
        }
        TenantScope::One(_) | TenantScope::Nameless => false,
    }
}

/// Exports that the tenant of a step still waits for and that hold what the step takes. A person's request takes its few
/// records whatever the tenant waits for, and so does age.
pub(super) fn unfinished<'f>(step: &Step, facts: &'f Facts) -> impl Iterator<Item = &'f OpenExport> {
    let of_person = facts.ledger.requests.iter().any(|request| {
        Some(&request.request_id) == step.request_id.as_ref()
            && matches!(request.scope, RequestScope::Subjects(_))
    });
    let takes_all = match step.reason {
        Reason::Termination => true,
        Reason::Request => !of_person,
        Reason::Age | Reason::Hold | Reason::Grace | Reason::Entitlement | Reason::Parked => false,
    };
    facts.ledger.exports.iter().filter(move |export| {
        takes_all
            && Some(&export.tenant) == step.tenant.as_ref()
            && concerns(&export.categories, &step.category)
    })
}

fn trigger_of(reason: Reason) -> Trigger {
    match reason {
        Reason::Request => Trigger::Request,
        Reason::Termination => Trigger::Termination,
        Reason::Age | Reason::Hold | Reason::Grace | Reason::Entitlement | Reason::Parked => Trigger::Age,
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
    let Some(Records::FoundBy { placement: namer, .. }) = &placement.records else {
        let stands_alone = placement.records.is_some() && step.found_by.is_none();
        return if stands_alone { Ok(placement) } else { Err("no rows name these records".into()) };
    };
    let rows =
        policy.placements.iter().find(|p| &p.name == namer).ok_or("the naming placement is not there")?;
    let id = step.found_by.as_ref().ok_or("records that rows name have no step of those rows")?;
    let of_rows = plan.step(id).ok_or("the step of the naming rows is missing")?;
    let alike = of_rows.placement == rows.name
        && of_rows.reason == step.reason
        && of_rows.selection.tenants == step.selection.tenants
        && of_rows.selection.within == step.selection.within
        && of_rows.selection.except == step.selection.except;
    if alike { Ok(rows) } else { Err("the naming rows are selected otherwise".into()) }
}

fn concerns(categories: &[Category], category: &Category) -> bool {
    categories.is_empty() || categories.contains(category)
}

fn asks_for(request: &OpenRequest, category: &Category) -> bool {
    match &request.scope {
        RequestScope::Everything | RequestScope::Subjects(_) => true,
        RequestScope::Categories(categories) => categories.contains(category),
    }
}

/// Every tenant of whom the ledger says something that touches a category at an instant.
fn special_tenants<'a>(category: &Category, at: DateTime<Utc>, facts: &'a Facts) -> BTreeSet<&'a TenantId> {
    let ledger = &facts.ledger;
    let mut special = BTreeSet::new();
    for hold in ledger.holds.iter().filter(|hold| concerns(&hold.categories, category)) {
        special.insert(&hold.tenant);
    }
    for request in ledger.requests.iter().filter(|r| r.received_at <= at && asks_for(r, category)) {
        special.insert(&request.tenant);
    }
    for ended in ledger.terminated.iter().filter(|ended| ended.terminated_at <= at) {
        special.insert(&ended.tenant);
    }
    for entitlement in ledger.entitlements.iter().filter(|e| concerns(&e.categories, category)) {
        if entitlement.until.is_none_or(|until| at < until) {
            special.insert(&entitlement.tenant);
        }
    }
    special
}

/// The same conditions, in whatever order they and their subjects stand.
fn alike(found: &[Scope], expected: &[Scope]) -> bool {
    let same = |one: &Scope, other: &Scope| {
        let subjects = |scope: &Scope| {
            scope.subjects.as_ref().map(|named| named.iter().cloned().collect::<BTreeSet<_>>())
        };
        one.times == other.times && subjects(one) == subjects(other)
    };
    found.len() == expected.len()
        && found.iter().all(|one| expected.iter().any(|other| same(one, other)))
        && expected.iter().all(|one| found.iter().any(|other| same(one, other)))
}

/// A step with all that it is judged by.
struct Case<'a> {
    step: &'a Step,
    policy: &'a Policy,
    rule: &'a Rule,
    rows: &'a Placement,
    at: DateTime<Utc>,
    facts: &'a Facts,
}

impl Case<'_> {
    /// Whatever the rows of this step name has a step too, unless it was counted and there is none of it.
    fn names_go_along(&self, plan: &Plan) -> Result<(), String> {
        for placement in &self.policy.placements {
            let Some(Records::FoundBy { placement: namer, .. }) = &placement.records else { continue };
            if *namer != self.step.placement
                || plan
                    .steps
                    .iter()
                    .any(|s| s.found_by.as_ref() == Some(&self.step.step_id) && s.placement == placement.name)
            {
                continue;
            }
            let of_named = Selection { placement: placement.name.clone(), ..self.step.selection.clone() };
            match self.facts.surveys.get(&of_named.digest()) {
                Some(survey) if survey.total().records == 0 => {}
                Some(_) => {
                    return Err(format!("records of `{}` that its rows name have no step", placement.name));
                }
                None => return Err(format!("nobody asked what its rows name in `{}`", placement.name)),
            }
        }
        Ok(())
    }

    fn tenants(&self) -> Result<(), String> {
        match (&self.step.selection.tenants, &self.step.tenant) {
            (TenantScope::One(selected), Some(named)) if selected == named => Ok(()),
            (TenantScope::AllExcept(excepted), None) if self.step.reason == Reason::Age => {
                let special = special_tenants(&self.policy.category, self.at, self.facts);
                match special.iter().find(|tenant| !excepted.contains(tenant)) {
                    Some(tenant) => Err(format!("tenant `{tenant}` should be excepted")),
                    None => Ok(()),
                }
            }
            (TenantScope::One(_) | TenantScope::AllExcept(_) | TenantScope::Nameless, _) => {
                Err("the tenants selected are not the tenant named".into())
            }
        }
    }

    /// Requests of the step's tenant that were received by then and ask for this category, in order of receipt.
    fn requests(&self) -> impl Iterator<Item = &OpenRequest> {
        let answered = self.policy.rule(Trigger::Request).is_some();
        self.facts.ledger.requests.iter().filter(move |request| {
            answered
                && Some(&request.tenant) == self.step.tenant.as_ref()
                && request.received_at <= self.at
                && asks_for(request, &self.policy.category)
        })
    }

    /// The records that a request asks for here; `None` where they never name such a subject.
    fn asked(&self, request: &OpenRequest) -> Option<Scope> {
        let subjects = match &request.scope {
            RequestScope::Everything | RequestScope::Categories(_) => None,
            RequestScope::Subjects(keys) => {
                Some(self.named(keys, &SubjectOrigin::Request(request.request_id.clone()))?)
            }
        };
        Some(Scope { subjects, times: Times::UpTo(request.received_at) })
    }

    fn named(&self, keys: &[SubjectKey], origin: &SubjectOrigin) -> Option<Vec<SubjectRef>> {
        let mut named = Vec::new();
        for key in keys.iter().filter(|key| self.rows.subjects.contains_key(key.kind())) {
            let (kind, fingerprint) = (key.kind().to_owned(), key.fingerprint().clone());
            named.push(SubjectRef { kind, fingerprint, origin: origin.clone() });
        }
        (!named.is_empty()).then_some(named)
    }

    fn requested(&self) -> Result<Scope, String> {
        let id = self.step.request_id.as_ref().ok_or("no request is named")?;
        let open = &self.facts.ledger.requests;
        let request = open.iter().find(|r| r.request_id == *id).ok_or("the request is not open")?;
        if Some(&request.tenant) != self.step.tenant.as_ref() || self.at < request.received_at {
            return Err("the request is another tenant's, or was not received by then".into());
        }
        if !asks_for(request, &self.policy.category) {
            return Err("the request asks for other categories".into());
        }
        self.asked(request).ok_or_else(|| "these records never name a subject of the request".into())
    }

    /// Until shortly before the deadline nothing is taken from a tenant that still waits for its export.
    fn waits_for_no_export(&self) -> Result<(), String> {
        if unfinished(self.step, self.facts).next().is_none() {
            return Ok(());
        }
        let until = calendar::days_before(self.step.deadline, EXPORT_DAYS, self.policy.time_zone);
        match until {
            Some(until) if until <= self.at => Ok(()),
            Some(_) | None => Err("the tenant waits for an export of it".into()),
        }
    }

    fn terminated(&self) -> Result<Scope, String> {
        let mut all = self.facts.ledger.terminated.iter();
        let ended = all
            .find(|t| Some(&t.tenant) == self.step.tenant.as_ref())
            .ok_or("the tenant is not terminated")?;
        let grace = self.rule.grace.ok_or("the rule has no grace")?;
        let is_over = |at| calendar::is_over(ended.terminated_at, grace, self.policy.time_zone, at);
        if !is_over(self.at) {
            return Err("the grace is not over".into());
        }
        let rests = self.facts.ledger.untouched.get(&ended.tenant).is_some_and(|until| self.at < *until);
        if rests && is_over(ended.recorded_at) {
            return Err("the termination was due when it was recorded, and rests".into());
        }
        Ok(Scope { subjects: None, times: Times::Any })
    }

    fn over_age(&self, sampled: &mut Sampled) -> Result<Scope, String> {
        let ledger = &self.facts.ledger;
        if let Some(tenant) = &self.step.tenant {
            let ended = ledger.terminated.iter().any(|t| &t.tenant == tenant && t.terminated_at <= self.at);
            if ended && self.policy.rule(Trigger::Termination).is_some() {
                return Err("age rules rest for a terminated tenant".into());
            }
            let entitled = ledger.entitlements.iter().any(|e| {
                &e.tenant == tenant
                    && concerns(&e.categories, &self.policy.category)
                    && self.rule.entitlement.as_deref() == Some(e.name.as_str())
                    && e.until.is_none_or(|until| self.at < until)
            });
            if entitled {
                return Err("an entitlement is running".into());
            }
        }
        let period = self.rule.period.ok_or("the rule has no period")?;
        let [Scope { times: Times::Within(intervals), .. }] = self.step.selection.within.as_slice() else {
            return Err("no event times are named".into());
        };
        self.sample(intervals, period, sampled)?;
        let within =
            |time: Option<DateTime<Utc>>| time.is_some_and(|time| intervals.iter().any(|i| i.contains(time)));
        if !within(self.step.oldest) || !within(self.step.newest) {
            return Err("the records counted are not of the event times named".into());
        }
        Ok(Scope { subjects: None, times: Times::Within(intervals.clone()) })
    }

    /// Our own calendar against the intervals, in both directions. All steps of a policy have the same ones.
    fn sample(&self, intervals: &[Interval], period: Period, sampled: &mut Sampled) -> Result<(), String> {
        let (zone, from) = (self.policy.time_zone, self.rows.plausible_from);
        let key = (self.policy.category.clone(), from);
        if sampled.get(&key).is_some_and(|known| known == intervals) {
            return Ok(());
        }
        if let Some(early) = calendar::first_early(intervals, period, zone, self.at) {
            return Err(format!("a record of {} would be erased before its time", early.to_rfc3339()));
        }
        if let Some(late) = calendar::first_forgotten(intervals, from, period, zone, self.at) {
            return Err(format!("a record of {} is over age and left out", late.to_rfc3339()));
        }
        sampled.insert(key, intervals.to_vec());
        Ok(())
    }

    /// What is taken out of the step: what holds keep, and what requests take that come before it.
    fn spared(&self) -> Result<Vec<Scope>, String> {
        let Some(tenant) = &self.step.tenant else { return Ok(Vec::new()) };
        let mut spared: Vec<Scope> = self
            .requests()
            .take_while(|request| Some(&request.request_id) != self.step.request_id.as_ref())
            .filter_map(|request| self.asked(request))
            .collect();
        let on_it =
            |hold: &&ActiveHold| hold.tenant == *tenant && concerns(&hold.categories, &self.policy.category);
        for hold in self.facts.ledger.holds.iter().filter(on_it) {
            if hold.subjects.is_empty() {
                return Err(format!("hold `{}` keeps all of it", hold.hold_id));
            }
            let origin = SubjectOrigin::Hold(hold.hold_id.clone());
            let kept = self.named(&hold.subjects, &origin);
            spared.extend(kept.map(|subjects| Scope { subjects: Some(subjects), times: Times::Any }));
        }
        Ok(spared)
    }

    /// Since when it is due and by when it is gone, neither later than promised; and whom a request names.
    fn dates(&self) -> Result<(), String> {
        let step = self.step;
        let ledger = &self.facts.ledger;
        let request =
            ledger.requests.iter().find(|request| Some(&request.request_id) == step.request_id.as_ref());
        let ended = ledger.terminated.iter().find(|ended| Some(&ended.tenant) == step.tenant.as_ref());
        let before = step.due_since - Duration::nanoseconds(1);
        let is_over = |start, period: Option<Period>, at| {
            period.is_some_and(|period| calendar::is_over(start, period, self.policy.time_zone, at))
        };
        let (start, holds) = match trigger_of(step.reason) {
            Trigger::Request => {
                let received = request.ok_or("the request is not open")?.received_at;
                (received, step.due_since == received)
            }
            Trigger::Termination => {
                let ended_at = ended.ok_or("the tenant is not terminated")?.terminated_at;
                let grace = self.rule.grace;
                (ended_at, is_over(ended_at, grace, step.due_since) && !is_over(ended_at, grace, before))
            }
            // The oldest need not be the first that was due; it must not have been due before.
            Trigger::Age => {
                let was_due = |oldest| is_over(oldest, self.rule.period, before);
                (step.due_since, step.oldest.is_some_and(|oldest| !was_due(oldest)))
            }
        };
        if !holds || step.due_since > self.at {
            return Err("it is due since another instant".into());
        }
        if !self.is_deadline(start) {
            return Err("its deadline is not the promised one".into());
        }
        let of_request = if step.reason == Reason::Request { request } else { None };
        self.names_the_request(of_request)
    }

    /// The promised deadline; where backups rotate, the last instant that lets them forget by then, give or take
    /// the few days by which months differ.
    fn is_deadline(&self, start: DateTime<Utc>) -> bool {
        let zone = self.policy.time_zone;
        let Some(last) = calendar::deadline(start, self.rule.deadline, zone) else { return false };
        let counts = self.step.reason != Reason::Age;
        let rotations: Vec<Period> =
            self.policy.placements.iter().filter_map(|p| p.rotation).filter(|_| counts).collect();
        if rotations.is_empty() {
            return self.step.deadline == last;
        }
        let forgets = |from, rotation: &Period| {
            calendar::deadline(from, *rotation, zone).is_some_and(|forgotten| forgotten <= last)
        };
        let later = self.step.deadline + Duration::days(4);
        rotations.iter().all(|rotation| forgets(self.step.deadline, rotation))
            && !rotations.iter().all(|rotation| forgets(later, rotation))
    }

    fn names_the_request(&self, request: Option<&OpenRequest>) -> Result<(), String> {
        let only = request.and_then(|request| match &request.scope {
            RequestScope::Subjects(keys) if keys.len() == 1 => keys.first(),
            RequestScope::Subjects(_) | RequestScope::Everything | RequestScope::Categories(_) => None,
        });
        let told = self.step.subject.as_ref().map(|subject| (subject.kind.as_str(), &subject.fingerprint));
        let asked = only.map(|key| (key.kind(), key.fingerprint()));
        let fits =
            told == asked && request.map(|request| &request.request_id) == self.step.request_id.as_ref();
        if fits { Ok(()) } else { Err("the request or the subject that it names is not the one".into()) }
    }
}
