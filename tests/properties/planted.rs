//! Bugs planted in good plans, with every hash made right again: only the second reading can find them.
//! It owns the bugs; a new field of a step wants a new one here.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use retentiond::facts::{
    ActiveEntitlement, ActiveHold, Facts, LedgerFacts, OpenExport, OpenRequest, RequestScope, Survey,
    TerminatedTenant,
};
use retentiond::id::{Category, EntitlementId, ExportId, HoldId, PlacementId, RequestId, StoreId};
use retentiond::plan::review::{Approvals, review};
use retentiond::plan::{
    Interval, NamedSubject, Plan, Reason, Scope, Step, SubjectOrigin, SubjectRef, TenantScope, Times, plan,
};
use retentiond::policy::{Level, Method};

use super::NO_CAPS;
use super::world::{policies, tenant};
use crate::scenarios::judge::{Record, facts_of, key};

fn now() -> DateTime<Utc> {
    "2025-02-28T04:00:00Z".parse().unwrap()
}

fn phone(value: &str) -> retentiond::id::SubjectKey {
    key("phone", value)
}

/// A ledger that gives every kind of step, and every kind of condition in one.
fn ledger() -> LedgerFacts {
    let request = |id: &str, name: &str, scope: RequestScope, days: i64| OpenRequest {
        request_id: RequestId::new(id),
        tenant: tenant(name),
        scope,
        received_at: now() - Duration::days(days),
        recorded_at: now() - Duration::days(days),
    };
    let hold = |id: &str, name: &str, subjects: Vec<retentiond::id::SubjectKey>| ActiveHold {
        hold_id: HoldId::new(id),
        tenant: tenant(name),
        subjects,
        categories: Vec::new(),
    };
    let ended = |name: &str, days: i64| TerminatedTenant {
        tenant: tenant(name),
        terminated_at: now() - Duration::days(days),
        recorded_at: now(),
    };
    let both = RequestScope::Subjects(vec![phone("+651"), key("agent", "S-1")]);
    let mut ledger = LedgerFacts {
        terminated: vec![ended("t-10", 20), ended("gone", 40)],
        requests: vec![
            request("req-early", "t-1", both.clone(), 5),
            request("req-gone", "gone", RequestScope::Subjects(vec![phone("+651")]), 4),
            request("req-aged", "T-1", both, 3),
            request("req-late", "t-1", RequestScope::Categories(vec![Category::new("calls")]), 2),
        ],
        holds: vec![
            hold("hold-1", "t-1", vec![phone("+652")]),
            hold("hold-10", "t-10", vec![phone("+652")]),
            hold("hold-aged", "T-1", vec![phone("+652")]),
            hold("hold-all", "held", Vec::new()),
        ],
        entitlements: vec![ActiveEntitlement {
            entitlement_id: EntitlementId::new("ent-1"),
            name: "longer".to_owned(),
            tenant: tenant("t-1x"),
            categories: Vec::new(),
            until: Some(now() + Duration::days(1)),
        }],
        generation: 9,
        ..LedgerFacts::default()
    };
    ledger.generations = ["t-1", "T-1", "t-10", "gone"].map(|name| (tenant(name), 9)).into();
    ledger
}

/// For every tenant, records over age and young, of every subject and of none, with everything that they name.
fn records() -> BTreeMap<String, Vec<Record>> {
    let mut records = Vec::new();
    for name in ["t-1", "t-10", "T-1", "t-1x", "gone", "held", "stranger"] {
        for days in [400, 200, 10, 1] {
            for subject in [None, Some(("phone", "+651")), Some(("phone", "+652")), Some(("agent", "S-1"))] {
                records.push(Record {
                    tenant: Some(tenant(name)),
                    happened: Some(now() - Duration::days(days)),
                    subjects: subject
                        .into_iter()
                        .map(|(kind, value)| (kind.to_owned(), value.to_owned()))
                        .collect(),
                    names: vec!["recording".to_owned(), "transcript".to_owned()],
                });
            }
        }
    }
    ["calls", "notes", "metrics"].map(|name| (name.to_owned(), records.clone())).into()
}

fn facts() -> Facts {
    facts_of(&policies(), ledger(), &records(), now())
}

/// A good plan and its facts, to be spoilt.
struct Spoilt {
    plan: Plan,
    facts: Facts,
}

impl Spoilt {
    fn new() -> Self {
        let facts = facts();
        let plan = plan(&policies(), &facts, now()).unwrap();
        Self { plan, facts }
    }

    /// The step on a placement, for a reason and a tenant (none: all but some).
    fn step(&mut self, placement: &str, reason: Reason, name: &str) -> &mut Step {
        let is_it = |step: &Step| {
            step.placement.as_str() == placement
                && step.reason == reason
                && step.tenant.as_ref().map_or("", |tenant| tenant.as_str()) == name
        };
        self.plan
            .steps
            .iter_mut()
            .find(|step| is_it(step))
            .unwrap_or_else(|| panic!("{placement} {reason:?} {name}"))
    }

    /// The steps on calls and on what calls name, for a reason and a tenant: what a bug in one rule spoils alike.
    fn family(&mut self, reason: Reason, name: &str, mut spoil: impl FnMut(&mut Step)) {
        for placement in ["calls", "recordings", "transcripts"] {
            spoil(self.step(placement, reason, name));
        }
    }

    /// The second request of a tenant has steps of its own.
    fn late_request(&mut self, mut spoil: impl FnMut(&mut Step)) {
        let of = |step: &&mut Step| step.request_id.as_ref().is_some_and(|id| id.as_str() == "req-late");
        self.plan.steps.iter_mut().filter(of).for_each(&mut spoil);
    }

    fn drop_step(&mut self, placement: &str, reason: Reason, name: &str) {
        let step = self.step(placement, reason, name).clone();
        self.plan.steps.retain(|other| other.step_id != step.step_id);
    }

    /// Makes every hash, total and count right, so that nothing but the meaning is wrong.
    fn sealed(mut self) -> Self {
        let mut renamed = BTreeMap::new();
        for named in [false, true] {
            for step in self.plan.steps.iter_mut().filter(|step| step.found_by.is_some() == named) {
                if let Some(rows) = step.found_by.as_mut().and_then(|rows| renamed.get(rows).cloned()) {
                    step.found_by = Some(rows);
                }
                let old = step.step_id.clone();
                step.step_id = step.expected_id();
                renamed.insert(old, step.step_id.clone());
            }
        }
        for step in &self.plan.steps {
            let survey = Survey { tenants: BTreeMap::new(), nameless: step.records };
            self.facts.surveys.entry(step.selection.digest()).or_insert(survey);
        }
        self.plan.totals.erase = self.plan.steps.iter().map(|step| step.records).sum();
        self.plan.plan_id = self.plan.expected_id();
        self
    }

    /// What the review finds; nothing where it lets the plan pass whole.
    fn found(self) -> Option<Vec<String>> {
        let steps = self.plan.steps.len();
        match review(self.plan, None, &policies(), &self.facts, NO_CAPS, &Approvals::new()) {
            Ok(reviewed) => {
                (reviewed.allowed().count() < steps).then(|| vec!["some steps are not allowed".to_owned()])
            }
            Err(wrong) => Some(wrong.0),
        }
    }
}

fn intervals(step: &mut Step) -> &mut Vec<Interval> {
    match &mut step.selection.within[0].times {
        Times::Within(intervals) => intervals,
        other => panic!("{other:?} are no intervals"),
    }
}

fn last_end(step: &mut Step, by: Duration) {
    let last = intervals(step).last_mut().unwrap();
    last.to += by;
}

fn excepted(step: &mut Step) -> &mut Vec<retentiond::id::TenantId> {
    match &mut step.selection.tenants {
        TenantScope::AllExcept(excepted) => excepted,
        other => panic!("{other:?} excepts nobody"),
    }
}

fn all_but(step: &mut Step, names: &[&str]) {
    step.tenant = None;
    step.selection.tenants = TenantScope::AllExcept(names.iter().map(|name| tenant(name)).collect());
}

fn one(step: &mut Step, name: &str) {
    step.tenant = Some(tenant(name));
    step.selection.tenants = TenantScope::One(tenant(name));
}

fn upto(step: &mut Step, by: Duration) {
    match &mut step.selection.within[0].times {
        Times::UpTo(last) => *last += by,
        other => panic!("{other:?} have no last instant"),
    }
}

fn reference(kind: &str, value: &str, origin: SubjectOrigin) -> SubjectRef {
    let fingerprint = key(kind, value).fingerprint().clone();
    SubjectRef { kind: kind.to_owned(), fingerprint, origin }
}

fn subjects(step: &mut Step) -> &mut Vec<SubjectRef> {
    step.selection.within[0].subjects.as_mut().expect("it names subjects")
}

fn is_of_hold(scope: &Scope) -> bool {
    scope.subjects.iter().flatten().any(|subject| matches!(subject.origin, SubjectOrigin::Hold(_)))
}

/// Gives a step another reason, with all that its rule says.
fn dress(step: &mut Step, reason: Reason, method: Method, clause: &str) {
    step.reason = reason;
    step.method = method;
    step.level = method.level();
    step.clause = clause.to_owned();
}

const TICK: Duration = Duration::nanoseconds(1);
const HOUR: Duration = Duration::hours(1);
const DAY: Duration = Duration::days(1);

type Bug = (&'static str, fn(&mut Spoilt));

/// Which records: too many.
const TOO_MANY: [Bug; 25] = [
    ("a tenant waits for an export", |s| {
        s.facts.ledger.exports.push(OpenExport {
            export_id: ExportId::new("exp-1"),
            tenant: tenant("gone"),
            categories: Vec::new(),
            asked_at: now(),
        });
    }),
    ("a hold is forgotten in a termination", |s| {
        s.family(Reason::Termination, "t-10", |step| {
            step.selection.except.retain(|scope| !is_of_hold(scope));
        });
    }),
    ("a hold is forgotten in a request", |s| {
        s.late_request(|step| step.selection.except.retain(|scope| !is_of_hold(scope)));
    }),
    ("a hold is forgotten by age", |s| {
        s.family(Reason::Age, "T-1", |step| step.selection.except.retain(|scope| !is_of_hold(scope)));
    }),
    ("a hold spares only what happened by now", |s| {
        s.family(Reason::Termination, "t-10", |step| step.selection.except[0].times = Times::UpTo(now()));
    }),
    ("a hold spares somebody else", |s| {
        let other = reference("phone", "+651", SubjectOrigin::Hold(HoldId::new("hold-10")));
        s.family(Reason::Termination, "t-10", |step| {
            step.selection.except[0].subjects = Some(vec![other.clone()]);
        });
    }),
    ("a request takes what an earlier one takes", |s| {
        s.late_request(|step| step.selection.except.retain(is_of_hold));
    }),
    ("a termination takes what a request takes", |s| {
        s.family(Reason::Termination, "gone", |step| step.selection.except.clear());
    }),
    ("age takes what a request takes", |s| {
        s.family(Reason::Age, "T-1", |step| step.selection.except.retain(is_of_hold));
    }),
    ("one tenant becomes all but the special ones", |s| {
        s.family(Reason::Age, "T-1", |step| all_but(step, &["T-1", "gone", "held", "t-1", "t-10", "t-1x"]));
    }),
    ("one tenant becomes all", |s| s.family(Reason::Termination, "t-10", |step| all_but(step, &[]))),
    ("age spares nobody", |s| s.family(Reason::Age, "", |step| all_but(step, &[]))),
    ("age does not spare a held tenant", |s| {
        s.family(Reason::Age, "", |step| excepted(step).retain(|t| *t != tenant("held")));
    }),
    ("age does not spare one who asked", |s| {
        s.family(Reason::Age, "", |step| excepted(step).retain(|t| *t != tenant("T-1")));
    }),
    ("age does not spare a terminated tenant", |s| {
        s.step("metrics", Reason::Age, "").selection.tenants =
            TenantScope::AllExcept(["T-1", "held", "t-1", "t-10", "t-1x"].map(tenant).into());
    }),
    ("age does not spare an entitled tenant", |s| {
        s.family(Reason::Age, "", |step| excepted(step).retain(|t| *t != tenant("t-1x")));
    }),
    ("age spares a neighbour instead", |s| {
        s.family(Reason::Age, "", |step| {
            excepted(step).iter_mut().filter(|t| **t == tenant("t-1x")).for_each(|t| *t = tenant("t-1xx"));
        });
    }),
    ("an interval ends a tick late", |s| s.family(Reason::Age, "", |step| last_end(step, TICK))),
    ("an interval ends an hour late", |s| s.family(Reason::Age, "T-1", |step| last_end(step, HOUR))),
    ("an interval ends a day late", |s| {
        last_end(s.step("metrics", Reason::Age, ""), DAY);
    }),
    ("an interval of last week is added", |s| {
        s.family(Reason::Age, "", |step| {
            intervals(step).push(Interval { from: now() - Duration::days(7), to: now() - Duration::days(6) });
        });
    }),
    ("a request takes what came a tick after it", |s| {
        s.family(Reason::Request, "T-1", |step| upto(step, TICK));
    }),
    ("a request takes what came after it", |s| {
        s.late_request(|step| step.selection.within[0].times = Times::Any);
    }),
    ("a request takes all of the tenant", |s| {
        s.family(Reason::Request, "T-1", |step| step.selection.within[0].subjects = None);
    }),
    ("a request takes one more subject", |s| {
        let more = reference("phone", "+653", SubjectOrigin::Request(RequestId::new("req-aged")));
        s.family(Reason::Request, "T-1", |step| subjects(step).push(more.clone()));
    }),
];

/// Which records: too few, or of somebody else.
const TOO_FEW_OR_OTHERS: [Bug; 26] = [
    ("age spares somebody of whom nobody said anything", |s| {
        s.family(Reason::Age, "", |step| excepted(step).push(tenant("stranger")));
    }),
    ("an interval ends a tick early", |s| s.family(Reason::Age, "", |step| last_end(step, -TICK))),
    ("an interval ends an hour early", |s| s.family(Reason::Age, "", |step| last_end(step, -HOUR))),
    ("an interval is left out", |s| {
        s.family(Reason::Age, "", |step| assert!(intervals(step).pop().is_some()));
    }),
    ("an interval begins late", |s| {
        s.family(Reason::Age, "", |step| intervals(step)[0].from = now() - Duration::days(500));
    }),
    ("an interval has a hole", |s| {
        s.family(Reason::Age, "", |step| {
            let first = intervals(step)[0];
            let hole = now() - Duration::days(300);
            intervals(step)[0].to = hole;
            intervals(step).insert(1, Interval { from: hole + HOUR, to: first.to });
        });
    }),
    ("a request leaves its last instant", |s| s.family(Reason::Request, "T-1", |step| upto(step, -TICK))),
    ("a request leaves a subject", |s| s.family(Reason::Request, "T-1", |step| drop(subjects(step).pop()))),
    ("a request names nobody", |s| s.family(Reason::Request, "T-1", |step| subjects(step).clear())),
    ("a request's subject is looked up in a hold", |s| {
        s.family(Reason::Request, "T-1", |step| {
            subjects(step)[0].origin = SubjectOrigin::Hold(HoldId::new("hold-aged"));
        });
    }),
    ("a termination takes one subject only", |s| {
        let subjects =
            Some(vec![reference("phone", "+651", SubjectOrigin::Request(RequestId::new("req-gone")))]);
        s.family(Reason::Termination, "t-10", |step| {
            step.selection.within.push(Scope { subjects: subjects.clone(), times: Times::Any });
        });
    }),
    ("a termination takes what is over age only", |s| {
        let within = s.step("calls", Reason::Age, "").selection.within.clone();
        s.family(Reason::Termination, "t-10", |step| step.selection.within = within.clone());
    }),
    ("a termination spares somebody", |s| {
        let subjects =
            Some(vec![reference("phone", "+651", SubjectOrigin::Request(RequestId::new("req-gone")))]);
        s.family(Reason::Termination, "t-10", |step| {
            step.selection.except.push(Scope { subjects: subjects.clone(), times: Times::Any });
        });
    }),
    ("what a row names is left out", |s| s.drop_step("recordings", Reason::Termination, "t-10")),
    ("the rows are left out", |s| s.drop_step("calls", Reason::Termination, "t-10")),
    ("what a row names stands alone", |s| s.step("recordings", Reason::Age, "").found_by = None),
    ("what a row names hangs on other rows", |s| {
        let other = s.step("calls", Reason::Age, "T-1").step_id.clone();
        s.step("recordings", Reason::Age, "").found_by = Some(other);
    }),
    ("rows hang on rows", |s| {
        let other = s.step("calls", Reason::Age, "T-1").step_id.clone();
        s.step("calls", Reason::Age, "").found_by = Some(other);
    }),
    ("what a row names is selected otherwise than the row", |s| {
        s.step("recordings", Reason::Termination, "t-10").selection.except.clear();
    }),
    ("the tenants of one step are another's", |s| s.family(Reason::Age, "T-1", |step| one(step, "t-1"))),
    ("a termination is a neighbour's", |s| s.family(Reason::Termination, "t-10", |step| one(step, "t-1"))),
    ("the tenant named is not the one selected", |s| {
        s.family(Reason::Termination, "t-10", |step| step.tenant = Some(tenant("t-1")));
    }),
    ("the tenant selected is not the one named", |s| {
        s.family(Reason::Termination, "t-10", |step| {
            step.selection.tenants = TenantScope::One(tenant("t-1"));
        });
    }),
    ("records of nobody are taken", |s| {
        s.family(Reason::Age, "", |step| step.selection.tenants = TenantScope::Nameless);
    }),
    ("the same records are taken twice", |s| {
        let mut again = s.step("metrics", Reason::Age, "").clone();
        again.records += 1;
        s.plan.steps.push(again);
    }),
    ("a placement is not the one selected", |s| {
        s.step("notes", Reason::Termination, "gone").selection.placement = PlacementId::new("metrics");
    }),
];

/// Why, how, when, and by which request.
const OTHERWISE_WRONG: [Bug; 37] = [
    ("age is called termination", |s| s.family(Reason::Age, "T-1", |step| step.reason = Reason::Termination)),
    ("termination is called age", |s| {
        s.family(Reason::Termination, "t-10", |step| step.reason = Reason::Age);
    }),
    ("a request is called termination", |s| {
        s.family(Reason::Request, "gone", |step| step.reason = Reason::Termination);
    }),
    ("age is called a request", |s| s.family(Reason::Age, "T-1", |step| step.reason = Reason::Request)),
    ("age is dressed as a termination", |s| {
        s.family(Reason::Age, "T-1", |step| dress(step, Reason::Termination, Method::Zero, "T"));
    }),
    ("a termination is dressed as age", |s| {
        s.family(Reason::Termination, "t-10", |step| dress(step, Reason::Age, Method::Delete, "A"));
    }),
    ("a request is dressed as a termination", |s| {
        s.family(Reason::Request, "T-1", |step| dress(step, Reason::Termination, Method::Zero, "T"));
    }),
    ("a termination is dressed as a request", |s| {
        s.family(Reason::Termination, "gone", |step| {
            dress(step, Reason::Request, Method::Zero, "R");
            step.level = Level::Verified;
            step.request_id = Some(RequestId::new("req-gone"));
        });
    }),
    ("a hold is a reason to erase", |s| s.family(Reason::Age, "T-1", |step| step.reason = Reason::Hold)),
    ("an entitlement is a reason to erase", |s| {
        s.family(Reason::Age, "T-1", |step| step.reason = Reason::Entitlement);
    }),
    ("what should be zeroed is deleted", |s| {
        s.family(Reason::Termination, "t-10", |step| step.method = Method::Delete);
    }),
    ("what should be zeroed is deleted and said to be", |s| {
        s.family(Reason::Termination, "t-10", |step| {
            step.method = Method::Delete;
            step.level = Level::Deleted;
        });
    }),
    ("the level is less than the rule asks for", |s| {
        s.family(Reason::Request, "T-1", |step| step.level = Level::Scrubbed);
    }),
    ("the level is less than the method must reach", |s| {
        s.family(Reason::Termination, "t-10", |step| step.level = Level::Deleted);
    }),
    ("the level is more than anybody asked for", |s| {
        s.family(Reason::Age, "", |step| step.level = Level::MediaCleared);
    }),
    ("the clause is another rule's", |s| {
        s.family(Reason::Termination, "t-10", |step| step.clause = "A".to_owned());
    }),
    ("the store is another", |s| s.family(Reason::Age, "", |step| step.store = StoreId::new("tapes"))),
    ("the category is another", |s| s.step("metrics", Reason::Age, "").category = Category::new("calls")),
    ("the placement is unknown", |s| {
        s.step("metrics", Reason::Age, "").placement = PlacementId::new("metric");
    }),
    ("a placement that only rotates is erased", |s| {
        let step = s.step("calls", Reason::Termination, "t-10");
        step.placement = PlacementId::new("calls-backup");
        step.store = StoreId::new("tapes");
        step.selection.placement = PlacementId::new("calls-backup");
        s.plan.steps.retain(|step| step.found_by.is_none());
    }),
    ("a deadline is a day late", |s| s.step("notes", Reason::Termination, "gone").deadline += DAY),
    ("a deadline is a tick late where a backup rotates", |s| {
        s.family(Reason::Termination, "t-10", |step| step.deadline += TICK);
    }),
    ("a deadline forgets that a backup rotates", |s| {
        s.family(Reason::Request, "T-1", |step| step.deadline += Duration::days(14));
    }),
    ("a deadline is weeks early", |s| {
        s.family(Reason::Request, "T-1", |step| step.deadline -= Duration::days(10));
    }),
    ("a deadline by age is a tick late", |s| s.step("metrics", Reason::Age, "").deadline += TICK),
    ("due since too late", |s| {
        let step = s.step("metrics", Reason::Age, "");
        step.due_since += DAY;
        step.deadline += DAY;
    }),
    ("a request is due since later than its receipt", |s| {
        s.family(Reason::Request, "T-1", |step| step.due_since += TICK);
    }),
    ("a termination is due since earlier than its grace ends", |s| {
        s.family(Reason::Termination, "t-10", |step| step.due_since -= TICK);
    }),
    ("the records counted are too young", |s| {
        s.step("metrics", Reason::Age, "").newest = Some(now() - Duration::days(9));
    }),
    ("the records counted have no time", |s| s.step("metrics", Reason::Age, "").newest = None),
    ("the request is another tenant's", |s| {
        s.family(Reason::Request, "T-1", |step| step.request_id = Some(RequestId::new("req-gone")));
    }),
    ("the request is not open", |s| {
        s.family(Reason::Request, "T-1", |step| step.request_id = Some(RequestId::new("req-old")));
    }),
    ("no request is named", |s| s.family(Reason::Request, "T-1", |step| step.request_id = None)),
    ("a termination names a request", |s| {
        s.family(Reason::Termination, "gone", |step| step.request_id = Some(RequestId::new("req-gone")));
    }),
    ("a step names another subject than its request", |s| {
        s.family(Reason::Request, "gone", |step| {
            step.subject = Some(NamedSubject {
                kind: "phone".to_owned(),
                fingerprint: phone("+652").fingerprint().clone(),
            });
        });
    }),
    ("the category was not asked for", |s| {
        let of = s
            .plan
            .steps
            .iter()
            .find(|step| step.request_id.as_ref().is_some_and(|id| id.as_str() == "req-late"));
        let late = of.unwrap().clone();
        let rule = s.step("notes", Reason::Termination, "gone").clone();
        let mut step = Step {
            placement: rule.placement.clone(),
            store: rule.store,
            category: rule.category,
            level: Level::Scrubbed,
            policy_digest: rule.policy_digest,
            found_by: None,
            ..late
        };
        step.selection.placement = rule.placement;
        step.selection.except.clear();
        step.deadline = step.due_since + Duration::days(30);
        s.plan.steps.push(step);
    }),
    ("the plan is said to be of a day later", |s| s.plan.at += DAY),
];

/// What changed about the facts although the plan is good.
const OTHER_FACTS: [Bug; 9] = [
    ("a termination that was due when it was recorded still rests", |s| {
        s.facts.ledger.untouched.insert(tenant("t-10"), now() + TICK);
    }),
    ("the grace ends a second later", |s| {
        // 15 days before, the zone's clock showed the same: it has no clock changes.
        s.facts.ledger.terminated[0].terminated_at = now() - Duration::days(15) + Duration::seconds(1);
    }),
    ("the tenant is not terminated", |s| drop(s.facts.ledger.terminated.remove(0))),
    ("a request is received a second later than the plan", |s| {
        s.facts.ledger.requests[2].received_at = now() + Duration::seconds(1);
    }),
    ("a request was cancelled", |s| drop(s.facts.ledger.requests.remove(2))),
    ("a hold was placed", |s| s.facts.ledger.holds[3].tenant = tenant("T-1")),
    ("an entitlement was granted", |s| s.facts.ledger.entitlements[0].tenant = tenant("T-1")),
    ("a placement was not asked", |s| assert!(s.facts.surveyed.remove(&PlacementId::new("transcripts")))),
    ("nobody asked what a row names", |s| {
        s.drop_step("recordings", Reason::Termination, "t-10");
        s.facts.surveys.clear();
    }),
];

#[test]
fn a_good_plan_holds_every_kind_of_step_and_passes() {
    let mut good = Spoilt::new();
    let kinds: BTreeSet<(&str, bool)> =
        good.plan.steps.iter().map(|step| (step.reason.word(), step.tenant.is_some())).collect();
    assert_eq!(kinds, [("age", false), ("age", true), ("request", true), ("termination", true)].into());
    assert!(good.step("calls", Reason::Termination, "gone").selection.except.len() == 1);
    assert!(good.step("calls", Reason::Age, "T-1").selection.except.len() == 2);
    assert!(intervals(good.step("calls", Reason::Age, "")).len() > 1, "a month's end has several intervals");
    assert_eq!(good.sealed().found(), None);
}

#[test]
fn every_planted_bug_is_found() {
    let bugs: Vec<&Bug> =
        TOO_MANY.iter().chain(&TOO_FEW_OR_OTHERS).chain(&OTHERWISE_WRONG).chain(&OTHER_FACTS).collect();
    let names: BTreeSet<&str> = bugs.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), bugs.len(), "each bug has its own name");
    let mut missed = Vec::new();
    for (name, plant) in bugs {
        let mut spoilt = Spoilt::new();
        let good = spoilt.plan.clone();
        let known = format!("{:?}", spoilt.facts);
        plant(&mut spoilt);
        assert!(spoilt.plan != good || format!("{:?}", spoilt.facts) != known, "`{name}` changes nothing");
        if spoilt.sealed().found().is_none() {
            missed.push(*name);
        }
    }
    assert!(missed.is_empty(), "the review lets pass: {missed:#?}");
}

#[test]
fn the_rest_of_a_backdated_termination_ends_on_its_instant_and_is_none_where_the_grace_still_ran() {
    let mut over = Spoilt::new();
    over.facts.ledger.untouched.insert(tenant("t-10"), now());
    assert_eq!(over.sealed().found(), None);
    let mut ran = Spoilt::new();
    for ended in ran.facts.ledger.terminated.iter_mut().filter(|ended| ended.tenant == tenant("t-10")) {
        ended.recorded_at = ended.terminated_at + Duration::days(1);
    }
    ran.facts.ledger.untouched.insert(tenant("t-10"), now() + TICK);
    assert_eq!(ran.sealed().found(), None);
}

#[test]
fn a_plan_whose_hashes_do_not_fit_is_refused() {
    let mut step_edited = Spoilt::new();
    step_edited.step("metrics", Reason::Age, "").records += 1;
    step_edited.plan.plan_id = step_edited.plan.expected_id();
    assert!(step_edited.found().is_some_and(|wrong| wrong.iter().any(|text| text.starts_with("step"))));
    let mut plan_edited = Spoilt::new();
    plan_edited.plan.at += TICK;
    assert!(plan_edited.found().is_some_and(|wrong| wrong.iter().any(|text| text.contains("its id"))));
    let mut totals_edited = Spoilt::new().sealed();
    totals_edited.plan.totals.held += 1;
    totals_edited.plan.plan_id = totals_edited.plan.expected_id();
    assert!(totals_edited.found().is_some_and(|wrong| wrong.iter().any(|text| text.contains("totals"))));
}

#[test]
fn a_step_whose_tenant_or_policy_moved_is_stale_and_the_others_run() {
    let good = Spoilt::new();
    let mut facts = good.facts.clone();
    facts.ledger.generations.insert(tenant("t-10"), 10);
    let reviewed = review(good.plan.clone(), None, &policies(), &facts, NO_CAPS, &Approvals::new()).unwrap();
    let of_t10 = |step: &&Step| step.tenant == Some(tenant("t-10"));
    assert_eq!(reviewed.stale().count(), good.plan.steps.iter().filter(of_t10).count());
    assert!(reviewed.stale().all(|step| of_t10(&step)) && reviewed.stale().count() > 0);
    assert_eq!(reviewed.allowed().count() + reviewed.stale().count(), good.plan.steps.len());
    assert!(reviewed.refused().is_empty());

    let mut facts = good.facts.clone();
    facts.ledger.generation += 1;
    let reviewed = review(good.plan.clone(), None, &policies(), &facts, NO_CAPS, &Approvals::new()).unwrap();
    assert!(reviewed.stale().all(|step| step.tenant.is_none()) && reviewed.stale().count() > 0);

    let mut plan = good.plan.clone();
    for step in plan.steps.iter_mut().filter(|step| step.placement.as_str() == "metrics") {
        step.policy_digest = "another".to_owned();
    }
    let spoilt = Spoilt { plan, facts: good.facts }.sealed();
    let reviewed = review(spoilt.plan, None, &policies(), &spoilt.facts, NO_CAPS, &Approvals::new()).unwrap();
    assert!(
        reviewed.stale().all(|step| step.placement.as_str() == "metrics") && reviewed.stale().count() > 0
    );
}

#[test]
fn an_entitlement_that_ran_out_since_makes_the_step_that_spares_its_tenant_stale() {
    let mut old = Spoilt::new();
    old.facts.ledger.entitlements.clear();
    let reviewed = review(old.plan, None, &policies(), &old.facts, NO_CAPS, &Approvals::new()).unwrap();
    assert!(reviewed.stale().count() > 0);
    assert!(reviewed.stale().all(|step| step.tenant.is_none() && step.reason == Reason::Age));
}
