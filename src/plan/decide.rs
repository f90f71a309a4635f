//! The order of precedence: hold > request > termination > entitlement > age, decided once for whole groups of
//! records. It owns which group a record falls into; the calendar is `due`'s, the counting is the stores'.

mod rest;
mod shown;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

pub(super) use self::rest::{awaited_until, rests_until};
use self::shown::{keep, kept_of, step_of, totals_of};
use super::due;
use super::{
    Disposition, Interval, Plan, Reason, Scope, Selection, Step, SubjectOrigin, SubjectRef, TenantScope,
    Times,
};
use crate::facts::{ActiveEntitlement, ActiveHold, Facts, LedgerFacts, OpenRequest, RequestScope};
use crate::id::{Category, HoldId, PlacementId, PlanId, SubjectKey, TenantId};
use crate::policy::{Period, Placement, Policies, Policy, Records, Rule, Trigger};

/// Records of one placement that share one fate, before they are counted. Two groups never cover the same record.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    /// Under which policy.
    pub policy: &'a Policy,
    /// The placement whose records are meant.
    pub placement: &'a Placement,
    /// The placement whose rows say which records: itself, or for `found_by` the one that names them.
    pub rows: &'a Placement,
    /// For `found_by`: the column of `rows` that names them.
    pub column: Option<&'a str>,
    /// Exactly which records.
    pub selection: Selection,
    /// Why they go or stay.
    pub reason: Reason,
    /// The rule that makes them go, or would but for the reason.
    pub rule: Option<&'a Rule>,
    /// What the rule counts from, where that is one instant for the whole group: receipt, termination.
    pub start: Option<DateTime<Utc>>,
    /// Until when they stay, where that is known.
    pub until: Option<DateTime<Utc>>,
    /// The request that asks for them.
    pub request: Option<&'a OpenRequest>,
    /// The hold that keeps them.
    pub hold_id: Option<HoldId>,
}

/// Why no plan could be made. Both are bugs of who counted, and nothing is planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A group was not counted. Missing never means zero.
    #[error("the records of placement `{0}` were not counted")]
    NotSurveyed(PlacementId),
    /// Records were counted as over age without the event times that make them so.
    #[error("records of placement `{0}` were counted as over age, but not their event times")]
    Undated(PlacementId),
}

/// Every group of every placement that can be asked, in the order in which steps are carried out: records that rows
/// name before those rows.
pub fn groups<'a>(policies: &'a Policies, facts: &'a Facts, now: DateTime<Utc>) -> Vec<Group<'a>> {
    let mut all = Vec::new();
    for policy in policies {
        // Once for all tenants and placements: it is the costliest part of deciding.
        let over_age = over_age(policy, now);
        for placement in &policy.placements {
            let Some((rows, _)) = rows_of(policy, placement) else { continue };
            if is_unreachable(policy, rows, facts) {
                continue;
            }
            all.extend(groups_of(policy, placement, facts, &over_age, now));
        }
    }
    all.sort_by_key(|group| (group.policy.category.clone(), group.column.is_none()));
    all
}

/// Turns groups and their counts into a plan. The same input gives the same bytes.
///
/// # Errors
/// Where a group was not surveyed, or counted without the times that it must have.
pub fn plan(policies: &Policies, facts: &Facts, now: DateTime<Utc>) -> Result<Plan, PlanError> {
    let mut steps: Vec<Step> = Vec::new();
    let mut kept = Vec::new();
    // Rows first, so that a record they name can refer to their step; the order is put right below.
    let mut groups = groups(policies, facts, now);
    groups.sort_by_key(|group| (group.policy.category.clone(), group.column.is_some()));
    for group in &groups {
        let survey = facts
            .surveys
            .get(&group.selection.digest())
            .ok_or_else(|| PlanError::NotSurveyed(group.placement.name.clone()))?;
        match group.reason.disposition() {
            Disposition::Erase => {
                steps.extend(step_of(group, survey, facts, &steps)?);
            }
            Disposition::Retain => kept_of(group, survey).into_iter().for_each(|more| keep(&mut kept, more)),
        }
    }
    steps.sort_by_key(|step| {
        (depth(&facts.children, &step.placement), step.category.clone(), step.found_by.is_none())
    });
    let totals = totals_of(&steps, &kept);
    let mut plan = Plan {
        plan_id: PlanId::new(""),
        at: now,
        policy_digest: policies.digest().to_owned(),
        steps,
        kept,
        refusals: Vec::new(),
        totals,
    };
    plan.plan_id = plan.expected_id();
    Ok(plan)
}

/// The placement whose rows say which records a placement holds, and the column that names them. `None` for a
/// backup that only rotates: nothing in it can be erased by us.
pub fn rows_of<'a>(policy: &'a Policy, placement: &'a Placement) -> Option<(&'a Placement, Option<&'a str>)> {
    match placement.records.as_ref()? {
        Records::FoundBy { placement: name, column, .. } => policy
            .placements
            .iter()
            .find(|candidate| &candidate.name == name)
            .map(|rows| (rows, Some(column.as_str()))),
        Records::Table { .. } | Records::Prefix(_) | Records::Keys(_) | Records::Index(_) => {
            Some((placement, None))
        }
    }
}

/// The placements whose records the rows of this one name.
pub fn named_by<'a>(policy: &'a Policy, rows: &PlacementId) -> Vec<(&'a Placement, &'a str)> {
    policy
        .placements
        .iter()
        .filter_map(|candidate| match candidate.records.as_ref()? {
            Records::FoundBy { placement, column, .. } if placement == rows => {
                Some((candidate, column.as_str()))
            }
            Records::FoundBy { .. }
            | Records::Table { .. }
            | Records::Prefix(_)
            | Records::Keys(_)
            | Records::Index(_) => None,
        })
        .collect()
}

/// The date by which live records must be gone so that a backup that rotates has forgotten them by the deadline.
pub fn deadline_of(policy: &Policy, rule: &Rule, start: DateTime<Utc>) -> DateTime<Utc> {
    let deadline = due::deadline_at(start, rule.deadline, policy.time_zone);
    if rule.trigger == Trigger::Age {
        return deadline;
    }
    policy
        .placements
        .iter()
        .filter_map(|placement| placement.rotation)
        .map(|rotation| due::lead_deadline(deadline, rotation, policy.time_zone))
        .min()
        .unwrap_or(deadline)
}

/// True where rows, or anything that they name, lie in a store that could not be asked. A row is only erased after
/// what it names, so one silent store stops both.
fn is_unreachable(policy: &Policy, rows: &Placement, facts: &Facts) -> bool {
    facts.unreachable.contains_key(&rows.store)
        || named_by(policy, &rows.name).iter().any(|(named, _)| facts.unreachable.contains_key(&named.store))
}

fn over_age(policy: &Policy, now: DateTime<Utc>) -> Vec<Interval> {
    let period = policy.rule(Trigger::Age).and_then(|rule| rule.period);
    period.map_or(Vec::new(), |period| due::due_set(now, period, policy.time_zone))
}

fn groups_of<'a>(
    policy: &'a Policy,
    placement: &'a Placement,
    facts: &'a Facts,
    over_age: &[Interval],
    now: DateTime<Utc>,
) -> Vec<Group<'a>> {
    let Some((rows, column)) = rows_of(policy, placement) else { return Vec::new() };
    let ledger = &facts.ledger;
    let parts = facts.parts.get(&placement.name).map_or(&[][..], Vec::as_slice);
    let frame = Frame { policy, placement, rows, column, over_age, parts, now };
    let special = special_tenants(&policy.category, ledger, now);
    let mut groups = Vec::new();
    for tenant in &special {
        let (whole, by_subject) = holds_on(ledger, tenant, &policy.category);
        for group in frame.of_tenant(tenant, ledger) {
            groups.extend(frame.hold_back(group, whole, &by_subject));
        }
    }
    let rest = TenantScope::AllExcept(special);
    groups.extend(frame.of_age(&rest, None, &[]));
    groups.extend(frame.of_nobody());
    groups
}

/// Tenants of whom the ledger says anything that touches this category now: they get steps of their own.
fn special_tenants(category: &Category, ledger: &LedgerFacts, now: DateTime<Utc>) -> Vec<TenantId> {
    let holds = ledger.holds.iter().filter(|hold| names(&hold.categories, category)).map(|hold| &hold.tenant);
    let requests = ledger
        .requests
        .iter()
        .filter(|r| r.received_at <= now && covers(r, category))
        .map(|request| &request.tenant);
    let terminated = ledger.terminated.iter().filter(|t| t.terminated_at <= now).map(|t| &t.tenant);
    let entitled = ledger
        .entitlements
        .iter()
        .filter(|e| names(&e.categories, category) && runs(e, now))
        .map(|entitlement| &entitlement.tenant);
    let mut all: Vec<TenantId> = holds.chain(requests).chain(terminated).chain(entitled).cloned().collect();
    all.sort();
    all.dedup();
    all
}

fn names(categories: &[Category], category: &Category) -> bool {
    categories.is_empty() || categories.contains(category)
}

fn runs(entitlement: &ActiveEntitlement, now: DateTime<Utc>) -> bool {
    entitlement.until.is_none_or(|until| now < until)
}

fn covers(request: &OpenRequest, category: &Category) -> bool {
    match &request.scope {
        RequestScope::Everything | RequestScope::Subjects(_) => true,
        RequestScope::Categories(categories) => categories.contains(category),
    }
}

fn holds_on<'a>(
    ledger: &'a LedgerFacts,
    tenant: &TenantId,
    category: &Category,
) -> (Option<&'a ActiveHold>, Vec<&'a ActiveHold>) {
    let mut on: Vec<&ActiveHold> = ledger
        .holds
        .iter()
        .filter(|hold| &hold.tenant == tenant && names(&hold.categories, category))
        .collect();
    // By id, so that the order in which the ledger tells of them changes no plan.
    on.sort_by_key(|hold| &hold.hold_id);
    let (whole, by_subject): (Vec<_>, Vec<_>) = on.into_iter().partition(|hold| hold.subjects.is_empty());
    (whole.first().copied(), by_subject)
}

/// How many placements have to go before this one, one after the other: rows go before the rows that they refer to.
fn depth(children: &BTreeMap<PlacementId, BTreeSet<PlacementId>>, placement: &PlacementId) -> usize {
    let mut depth = 0;
    let mut level = BTreeSet::from([placement]);
    // Tables that refer to each other in a circle have no first one; then any order is as good as another.
    while depth <= children.len() {
        level = level.iter().filter_map(|of| children.get(*of)).flatten().collect();
        if level.is_empty() {
            break;
        }
        depth += 1;
    }
    depth
}

fn any() -> Scope {
    Scope { subjects: None, times: Times::Any }
}

/// One placement at one instant: what all its groups have in common.
struct Frame<'a, 'i> {
    policy: &'a Policy,
    placement: &'a Placement,
    rows: &'a Placement,
    column: Option<&'a str>,
    over_age: &'i [Interval],
    parts: &'i [String],
    now: DateTime<Utc>,
}

impl<'a> Frame<'a, '_> {
    fn group(
        &self,
        tenants: &TenantScope,
        within: Scope,
        except: &[Scope],
        reason: Reason,
        rule: Option<&'a Rule>,
    ) -> Group<'a> {
        Group {
            policy: self.policy,
            placement: self.placement,
            rows: self.rows,
            column: self.column,
            selection: Selection {
                placement: self.placement.name.clone(),
                tenants: tenants.clone(),
                within: vec![within],
                except: except.to_vec(),
                parts: self.parts.to_vec(),
            },
            reason,
            rule,
            start: None,
            until: None,
            request: None,
            hold_id: None,
        }
    }

    /// Everything about one tenant but its holds. Gates, in order of precedence:
    /// 1. each request takes what it covers, or keeps it while the tenant waits for an export of it;
    /// 2. a termination takes the rest, or keeps it while the grace runs or the tenant waits for an export;
    /// 3. only without a termination: an entitlement keeps what is over age, or age takes it.
    fn of_tenant(&self, tenant: &TenantId, ledger: &'a LedgerFacts) -> Vec<Group<'a>> {
        let one = TenantScope::One(tenant.clone());
        let mut groups = Vec::new();
        let mut taken: Vec<Scope> = Vec::new();
        let requests = ledger.requests.iter().filter(|request| {
            &request.tenant == tenant
                && request.received_at <= self.now
                && covers(request, &self.policy.category)
        });
        for request in requests {
            let Some(rule) = self.policy.rule(Trigger::Request) else { continue };
            let Some(scope) = self.request_scope(request) else { continue };
            let mut group = self.group(&one, scope.clone(), &taken, Reason::Request, Some(rule));
            group.start = Some(request.received_at);
            group.request = Some(request);
            let rests = match &request.scope {
                RequestScope::Everything | RequestScope::Categories(_) => {
                    self.kept_for_export(tenant, ledger, rule, request.received_at)
                }
                RequestScope::Subjects(_) => None,
            };
            if rests.is_some() {
                (group.reason, group.until) = (Reason::Grace, rests);
            }
            groups.push(group);
            taken.push(scope);
        }
        let ended = ledger.terminated.iter().find(|t| &t.tenant == tenant && t.terminated_at <= self.now);
        if let (Some(ended), Some(rule)) = (ended, self.policy.rule(Trigger::Termination)) {
            let grace = rule.grace.unwrap_or(Period { months: 0, days: 0 });
            let grace_until = due::due_at(ended.terminated_at, grace, self.policy.time_zone);
            let rest = rests_until(ledger, ended, grace_until);
            let awaited = self.kept_for_export(tenant, ledger, rule, ended.terminated_at);
            let rest = grace_until.max(rest).max(awaited.unwrap_or(grace_until));
            let is_over = rest <= self.now;
            let reason = if is_over { Reason::Termination } else { Reason::Grace };
            let mut group = self.group(&one, any(), &taken, reason, Some(rule));
            group.start = Some(ended.terminated_at);
            group.until = Some(if is_over { grace_until } else { rest });
            groups.push(group);
            return groups;
        }
        let running = ledger.entitlements.iter().filter(|e| {
            &e.tenant == tenant
                && names(&e.categories, &self.policy.category)
                && runs(e, self.now)
                && self.policy.rule(Trigger::Age).and_then(|rule| rule.entitlement.as_ref()) == Some(&e.name)
        });
        // Of several the one that runs longest says until when; none is longer than one without an end.
        let entitlement =
            running.max_by_key(|e| (e.until.is_none(), e.until, std::cmp::Reverse(&e.entitlement_id)));
        groups.extend(self.of_age(&one, entitlement, &taken));
        groups
    }

    /// Until when an export that is not finished keeps what a rule would take now.
    fn kept_for_export(
        &self,
        tenant: &TenantId,
        ledger: &LedgerFacts,
        rule: &Rule,
        start: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let deadline = deadline_of(self.policy, rule, start);
        awaited_until(self.policy, tenant, ledger, deadline).filter(|until| self.now < *until)
    }

    /// What the age rule takes or leaves to an entitlement, and what it must park. Nothing without an event time.
    fn of_age(
        &self,
        tenants: &TenantScope,
        entitlement: Option<&ActiveEntitlement>,
        taken: &[Scope],
    ) -> Vec<Group<'a>> {
        let Some(rule) = self.policy.rule(Trigger::Age) else { return Vec::new() };
        if rule.period.is_none() || self.rows.event_time.is_none() {
            return Vec::new();
        }
        let (within, parked) = self.by_age();
        let reason = if entitlement.is_some() { Reason::Entitlement } else { Reason::Age };
        let mut group = self.group(tenants, within, taken, reason, Some(rule));
        group.until = entitlement.and_then(|e| e.until);
        vec![group, self.group(tenants, parked, taken, Reason::Parked, Some(rule))]
    }

    /// Records that name no tenant. Nobody can say which rule would take them, so under an age rule they are parked
    /// from the day on which they would be over age, which an index on the event time finds without reading what is
    /// kept; without one there is no such day, and all of them are.
    fn of_nobody(&self) -> Vec<Group<'a>> {
        let nobody = |scope| self.group(&TenantScope::Nameless, scope, &[], Reason::Parked, None);
        let has_age = self.policy.rule(Trigger::Age).is_some_and(|rule| rule.period.is_some());
        if !has_age || self.rows.event_time.is_none() {
            return vec![nobody(any())];
        }
        let (within, parked) = self.by_age();
        vec![nobody(within), nobody(parked)]
    }

    /// Usable times that are over age now, and the others that have to be parked by now.
    fn by_age(&self) -> (Scope, Scope) {
        let until = self.over_age.iter().map(|interval| interval.to).max().unwrap_or(due::FAR_PAST);
        let of = |times| Scope { subjects: None, times };
        (of(Times::Within(self.over_age.to_vec())), of(Times::UnusableBefore(until)))
    }

    /// Takes out of a group what holds keep: all of it, or the records of the subjects named.
    fn hold_back(
        &self,
        group: Group<'a>,
        whole: Option<&ActiveHold>,
        by_subject: &[&ActiveHold],
    ) -> Vec<Group<'a>> {
        let held = |group: &Group<'a>, hold: &ActiveHold| Group {
            reason: Reason::Hold,
            until: None,
            hold_id: Some(hold.hold_id.clone()),
            ..group.clone()
        };
        if let Some(hold) = whole {
            return vec![held(&group, hold)];
        }
        let mut rest = group;
        let mut groups = Vec::new();
        for hold in by_subject {
            let origin = SubjectOrigin::Hold(hold.hold_id.clone());
            let Some(subjects) = self.known_subjects(&hold.subjects, &origin) else { continue };
            let scope = Scope { subjects: Some(subjects), times: Times::Any };
            let mut kept = held(&rest, hold);
            kept.selection.within.push(scope.clone());
            groups.push(kept);
            rest.selection.except.push(scope);
        }
        groups.push(rest);
        groups
    }

    /// What a request covers here; `None` where it names only kinds of subject that these records never name.
    fn request_scope(&self, request: &OpenRequest) -> Option<Scope> {
        let times = Times::UpTo(request.received_at);
        match &request.scope {
            RequestScope::Everything | RequestScope::Categories(_) => Some(Scope { subjects: None, times }),
            RequestScope::Subjects(keys) => {
                let origin = SubjectOrigin::Request(request.request_id.clone());
                self.known_subjects(keys, &origin).map(|subjects| Scope { subjects: Some(subjects), times })
            }
        }
    }

    fn known_subjects(&self, keys: &[SubjectKey], origin: &SubjectOrigin) -> Option<Vec<SubjectRef>> {
        let mut known: Vec<SubjectRef> = keys
            .iter()
            .filter(|key| self.rows.subjects.contains_key(key.kind()))
            .map(|key| SubjectRef {
                kind: key.kind().to_owned(),
                fingerprint: key.fingerprint().clone(),
                origin: origin.clone(),
            })
            .collect();
        known.sort();
        known.dedup();
        if known.is_empty() { None } else { Some(known) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::id::{EntitlementId, StoreId};
    use crate::plan::Interval;
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
entitlement = "longer"
[[rules]]
trigger = "request"
deadline = "30 days"
clause = "R"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
clause = "T"
[[placements]]
name = "calls"
store = "db"
table = "call"
key = ["id"]
tenant = { column = "tenant" }
event_time = { column = "at", time_zone = "Asia/Singapore" }
subjects = { phone = ["caller"] }
[[placements]]
name = "recordings"
store = "files"
found_by = { placement = "calls", column = "recording", prefix = "rec/{tenant}/" }
[[placements]]
name = "tapes"
store = "tapes"
role = "backup"
rotation = "14 days"
[[placements]]
name = "disks"
store = "disks"
role = "backup"
rotation = "3 days"
"#;

    fn policies() -> Policies {
        let policy = parse_policy(Path::new("calls.toml"), CALLS.as_bytes(), &mut Vec::new());
        Policies::new(vec![policy.expect("it is a policy")])
    }

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn now() -> DateTime<Utc> {
        at("2025-06-15T12:00:00+08:00")
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn longer(id: &str, until: Option<DateTime<Utc>>) -> ActiveEntitlement {
        ActiveEntitlement {
            entitlement_id: EntitlementId::new(id),
            name: "longer".to_owned(),
            tenant: tenant("t-1"),
            categories: Vec::new(),
            until,
        }
    }

    #[test]
    fn live_data_goes_before_the_slowest_backup_has_forgotten_it_and_age_does_not_wait_for_backups() {
        let policies = policies();
        let policy = policies.iter().next().unwrap();
        let start = at("2025-01-31T10:00:00+08:00");
        let deadline = |trigger| deadline_of(policy, policy.rule(trigger).unwrap(), start);
        assert_eq!(deadline(Trigger::Request), at("2025-02-16T10:00:00+08:00"));
        assert_eq!(deadline(Trigger::Termination), at("2025-02-16T10:00:00+08:00"));
        assert_eq!(deadline(Trigger::Age), at("2025-02-02T10:00:00+08:00"));
    }

    #[test]
    fn records_that_rows_name_follow_their_rows_and_a_backup_that_rotates_has_none() {
        let policies = policies();
        let policy = policies.iter().next().unwrap();
        let names = |index: usize| {
            rows_of(policy, &policy.placements[index]).map(|(rows, column)| (rows.name.as_str(), column))
        };
        assert_eq!(names(0), Some(("calls", None)));
        assert_eq!(names(1), Some(("calls", Some("recording"))));
        assert_eq!(names(2), None);
        let named = named_by(policy, &policy.placements[0].name);
        assert_eq!(
            named.iter().map(|(placement, _)| placement.name.as_str()).collect::<Vec<_>>(),
            ["recordings"]
        );
        let mut order: Vec<_> = groups(&policies, &Facts::default(), now())
            .iter()
            .map(|group| group.placement.name.to_string())
            .collect();
        order.dedup();
        assert_eq!(order, ["recordings", "calls"], "what rows name comes before the rows");
    }

    #[test]
    fn one_silent_store_stops_rows_and_what_they_name() {
        for store in ["db", "files"] {
            let mut facts = Facts::default();
            facts.unreachable.insert(StoreId::new(store), "no route".to_owned());
            assert!(groups(&policies(), &facts, now()).is_empty(), "{store}");
        }
        let mut facts = Facts::default();
        facts.unreachable.insert(StoreId::new("tapes"), "no route".to_owned());
        assert!(!groups(&policies(), &facts, now()).is_empty(), "what only rotates is not asked");
    }

    #[test]
    fn what_was_not_counted_is_an_error_and_never_nothing() {
        let policies = policies();
        let uncounted = plan(&policies, &Facts::default(), now());
        assert_eq!(uncounted, Err(PlanError::NotSurveyed(PlacementId::new("calls"))));
        let nothing = Facts::default();
        let surveys = groups(&policies, &nothing, now()).into_iter().map(|group| {
            let survey =
                if group.reason == Reason::Age { undated() } else { crate::facts::Survey::default() };
            (group.selection.digest(), survey)
        });
        let facts = Facts { surveys: surveys.collect(), ..Facts::default() };
        assert_eq!(plan(&policies, &facts, now()), Err(PlanError::Undated(PlacementId::new("calls"))));
    }

    fn undated() -> crate::facts::Survey {
        let tally = crate::facts::Tally { records: 1, ..crate::facts::Tally::default() };
        crate::facts::Survey { tenants: [(tenant("t-1"), tally)].into(), nameless: 0 }
    }

    #[test]
    fn of_several_entitlements_the_longest_says_until_when() {
        let soon = longer("ent-1", Some(now() + chrono::Duration::days(1)));
        let later = longer("ent-2", Some(now() + chrono::Duration::days(9)));
        let over = longer("ent-3", Some(now()));
        let open = longer("ent-4", None);
        let until = |entitlements: Vec<ActiveEntitlement>| {
            let facts =
                Facts { ledger: LedgerFacts { entitlements, ..LedgerFacts::default() }, ..Facts::default() };
            let policies = policies();
            let all = groups(&policies, &facts, now());
            let kept: Vec<_> =
                all.iter().filter(|group| group.reason == Reason::Entitlement).map(|g| g.until).collect();
            kept.first().copied()
        };
        assert_eq!(until(vec![soon.clone(), later.clone(), over.clone()]), Some(later.until));
        assert_eq!(until(vec![later.clone(), soon.clone()]), Some(later.until));
        assert_eq!(until(vec![later, open, soon]), Some(None));
        assert_eq!(until(vec![over]), None, "on the instant of its end it runs no longer");
    }

    #[test]
    fn a_tenant_of_whom_the_ledger_speaks_is_spared_by_the_step_for_all_others() {
        let mut facts = Facts::default();
        facts.ledger.entitlements.push(longer("ent-1", None));
        let policies = policies();
        let all = groups(&policies, &facts, now());
        let spared: Vec<_> = all
            .iter()
            .filter_map(|group| match &group.selection.tenants {
                TenantScope::AllExcept(spared) => Some(spared.clone()),
                TenantScope::One(_) | TenantScope::Nameless => None,
            })
            .collect();
        assert!(!spared.is_empty() && spared.iter().all(|spared| *spared == [tenant("t-1")]));
        let within = |times: &Times| matches!(times, Times::Within(spans) if spans.len() == 1);
        let spans: Vec<&Interval> = all
            .iter()
            .flat_map(|group| &group.selection.within)
            .filter(|scope| within(&scope.times))
            .flat_map(|scope| match &scope.times {
                Times::Within(spans) => spans.as_slice(),
                Times::Any | Times::UpTo(_) | Times::Unusable | Times::UnusableBefore(_) => &[],
            })
            .collect();
        assert_eq!(spans.first().map(|span| span.to), Some(at("2024-12-15T12:00:00.000000001+08:00")));
    }
}
