//! The promises, one file each, read by lawyers and held by the shipped policies.
//! It owns the reading of scenario files and their proof; the promises are in `scenarios/*.toml`.
//!
//! A scenario says what the ledger was told and, for single records, from when on which fate is theirs. Each fate is
//! asked for on the instant at which it begins, one tick after, half way to the next one, and one tick before that:
//! of the fate of the single record, of the groups that plans are made of, and of the plan itself, which is reviewed.

pub(crate) mod judge;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Duration, Utc};
use retentiond::config::read::{load_with, render_faults};
use retentiond::facts::{Facts, LedgerFacts};
use retentiond::id::{PlacementId, TenantId};
use retentiond::plan::decide::{Group, groups, rows_of};
use retentiond::plan::fate::{Fate, Sighting, fate};
use retentiond::plan::review::{Approvals, Caps, review};
use retentiond::plan::{Disposition, Reason, Step, plan};
use retentiond::policy::{Placement, Policies, Policy, Trigger};

use self::judge::{Record, covers, facts_of, keys_of};
use self::read::{Phase, Scenario, Subject, Told};

/// Far over what a scenario counts.
const CAPS: Caps = Caps { records: 1_000_000, share_percent: 100 };

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The shipped policies, read with the shipped configuration, as an operator would have them.
pub(crate) fn shipped() -> Policies {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("policies")).unwrap();
    for entry in fs::read_dir(folder("policies")).unwrap() {
        let file = entry.unwrap();
        fs::copy(file.path(), home.path().join("policies").join(file.file_name())).unwrap();
    }
    let config = home.path().join("retentiond.toml");
    fs::copy(folder("docs/retentiond.example.toml"), &config).unwrap();
    let loaded = load_with(&config, &|_| Some("a-value".to_owned()));
    let faults = render_faults(&loaded, false);
    loaded.policies.unwrap_or_else(|| panic!("the shipped policies do not load:\n{faults}"))
}

fn scenarios() -> Vec<Scenario> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder("tests/scenarios"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files.iter().map(|file| read::scenario(file)).collect()
}

#[test]
fn every_promise_is_kept() {
    let policies = shipped();
    let scenarios = scenarios();
    let mut looks = 0;
    for scenario in &scenarios {
        looks += Proof { policies: &policies, scenario }.prove();
    }
    assert!(scenarios.len() >= 18 && looks > 1_000, "{looks} looks at {} scenarios", scenarios.len());
}

#[test]
fn every_rule_of_every_shipped_policy_has_its_scenario() {
    let mut promised = BTreeSet::new();
    for policy in &shipped() {
        for rule in &policy.rules {
            promised.insert(format!("{}-{}", policy.category, word(rule.trigger)));
        }
    }
    let told: BTreeSet<String> = scenarios().iter().map(|scenario| scenario.file.clone()).collect();
    let missing: Vec<&String> = promised.difference(&told).collect();
    assert!(missing.is_empty(), "rules without a scenario file of their name: {missing:?}");
    assert_eq!(promised.len(), 12);
}

#[test]
fn every_scenario_names_a_policy_and_a_rule_that_exist_and_a_rule_s_own_file_is_about_that_rule() {
    let policies = shipped();
    for scenario in scenarios() {
        let policy = policies.iter().find(|policy| policy.category.as_str() == scenario.policy);
        let policy =
            policy.unwrap_or_else(|| panic!("{}: there is no policy `{}`", scenario.file, scenario.policy));
        let rules: Vec<&str> = policy.rules.iter().map(|rule| word(rule.trigger)).collect();
        let named = rules.contains(&scenario.rule.as_str());
        assert!(named, "{}: policy `{}` has no rule `{}`", scenario.file, scenario.policy, scenario.rule);
        for other in policies.iter().flat_map(|policy| {
            policy.rules.iter().map(move |rule| (policy.category.as_str(), word(rule.trigger)))
        }) {
            if scenario.file == format!("{}-{}", other.0, other.1) {
                assert_eq!((scenario.policy.as_str(), scenario.rule.as_str()), other, "{}", scenario.file);
            }
        }
    }
}

#[test]
fn every_placement_of_a_rule_is_looked_at_in_its_scenario() {
    let scenarios = scenarios();
    for policy in &shipped() {
        for rule in &policy.rules {
            let name = format!("{}-{}", policy.category, word(rule.trigger));
            let scenario = scenarios.iter().find(|scenario| scenario.file == name).expect("has its file");
            let erased: BTreeSet<&str> = scenario
                .records
                .iter()
                .filter(|record| {
                    record.then.iter().any(|phase| phase.reason() == Some(reason_of(rule.trigger)))
                })
                .flat_map(|record| record.placements.iter().map(String::as_str))
                .collect();
            for placement in policy.placements.iter().filter(|placement| placement.records.is_some()) {
                assert!(
                    erased.contains(placement.name.as_str()),
                    "{name} never looks into `{}`",
                    placement.name
                );
            }
        }
    }
}

#[test]
fn a_scenario_that_is_not_true_is_noticed() {
    let policies = shipped();
    let good =
        scenarios().into_iter().find(|scenario| scenario.file == "call-data-age").expect("it is there");
    type Untruth = fn(&mut Phase);
    let untruths: [(&str, Untruth); 6] = [
        ("one tick too early", |phase| phase.from -= Duration::nanoseconds(1)),
        ("one tick too late", |phase| phase.from += Duration::nanoseconds(1)),
        ("another clause", |phase| phase.clause = Some("DPSM §6".to_owned())),
        ("another method", |phase| phase.method = Some("zero".to_owned())),
        ("another deadline", |phase| phase.deadline = phase.deadline.map(|at| at + Duration::days(1))),
        ("another due", |phase| phase.due = phase.due.map(|at| at + Duration::seconds(1))),
    ];
    for (what, untruth) in untruths {
        let mut bad = good.clone();
        let phases = bad.records.iter_mut().flat_map(|record| &mut record.then);
        untruth(
            phases.into_iter().find(|phase| phase.reason() == Some(Reason::Age)).expect("it goes by age"),
        );
        let proof = || Proof { policies: &policies, scenario: &bad }.prove();
        // What it would print stays with this test.
        let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(proof)).is_err();
        assert!(noticed, "{what} is not noticed");
    }
}

fn word(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Age => "age",
        Trigger::Request => "request",
        Trigger::Termination => "termination",
    }
}

fn reason_of(trigger: Trigger) -> Reason {
    match trigger {
        Trigger::Age => Reason::Age,
        Trigger::Request => Reason::Request,
        Trigger::Termination => Reason::Termination,
    }
}

/// A scenario held to the policies.
struct Proof<'a> {
    policies: &'a Policies,
    scenario: &'a Scenario,
}

/// The policy of one category, in force by itself: other categories are no part of its promises.
fn alone(policy: &Policy) -> Policies {
    Policies::new(vec![policy.clone()])
}

/// One record in one placement at one instant.
struct Look<'a> {
    policies: &'a Policies,
    policy: &'a Policy,
    placement: &'a Placement,
    rows: &'a Placement,
    record: &'a Record,
    now: DateTime<Utc>,
    what: String,
}

impl Proof<'_> {
    /// How many looks were taken; panics at the first that finds something else than promised.
    fn prove(&self) -> usize {
        let policy =
            self.policies.iter().find(|policy| policy.category.as_str() == self.scenario.policy).unwrap();
        let mut looks = 0;
        for told in &self.scenario.records {
            assert!(
                !told.then.is_empty() && !told.placements.is_empty(),
                "{}: `{}`",
                self.scenario.file,
                told.what
            );
            for name in &told.placements {
                let found = self.policies.placement(&PlacementId::new(name));
                let (of, placement) = found.unwrap_or_else(|| panic!("there is no placement `{name}`"));
                assert!(
                    of.category == policy.category || self.scenario.across,
                    "`{name}` is of `{}`",
                    of.category
                );
                let own = alone(of);
                let (rows, column) = rows_of(of, placement).expect("what only rotates is not looked at");
                let record = record_of(told, rows, column);
                for (index, phase) in told.then.iter().enumerate() {
                    let next = told.then.get(index + 1).map(|phase| phase.from);
                    for now in instants(phase.from, next) {
                        let what = format!("{}: {} in `{name}` at {now}", self.scenario.file, told.what);
                        let look =
                            Look { policies: &own, policy: of, placement, rows, record: &record, now, what };
                        self.look(&look, phase);
                        looks += 1;
                    }
                }
            }
        }
        looks
    }

    fn look(&self, look: &Look<'_>, phase: &Phase) {
        let ledger = ledger_at(&self.scenario.told, look.now);
        let told = fate_of(look, look.record, &ledger);
        assert_eq!((told.disposition, told.reason), phase.fate(), "the fate of {}", look.what);
        if let Some(clause) = &phase.clause {
            assert_eq!(told.clause.as_ref(), Some(clause), "the clause for {}", look.what);
        }
        if phase.disposition() == Disposition::Erase {
            assert_eq!(told.due_at, phase.due, "since when due is {}", look.what);
            assert_eq!(told.deadline, phase.deadline, "by when gone is {}", look.what);
        }
        let mut here = vec![look.record.clone()];
        here.extend(neighbours(look.record));
        let world = BTreeMap::from([(look.rows.name.as_str().to_owned(), here)]);
        let facts = facts_of(look.policies, ledger, &world, look.now);
        let mut groups = groups(look.policies, &facts, look.now);
        groups.retain(|group| group.placement.name == look.placement.name);
        look_at_groups(look, look.record, &facts.ledger, &groups, &told);
        let step = self.look_at_plan(look, &facts, phase);
        for neighbour in neighbours(look.record) {
            self.look_at_neighbour(look, &neighbour, &facts.ledger, &groups, step.as_ref());
        }
    }

    /// The plan over a world of this record and its neighbours says what was promised, and the review agrees.
    fn look_at_plan(&self, look: &Look<'_>, facts: &Facts, phase: &Phase) -> Option<Step> {
        let made = plan(look.policies, facts, look.now).expect("everything was counted");
        let reviewed = review(made, None, look.policies, facts, CAPS, &Approvals::new())
            .unwrap_or_else(|wrong| panic!("the review of {}: {:?}", look.what, wrong.0));
        let keys = keys_of(&facts.ledger);
        let waits = |step: &&Step| !reviewed.allows(&step.step_id);
        let steps: Vec<&Step> = reviewed
            .plan()
            .steps
            .iter()
            .filter(|step| waits(step) == phase.is_refused())
            .filter(|step| step.placement == look.placement.name)
            .filter(|step| judge::selects(&step.selection, look.rows, look.record, &keys, look.now))
            .collect();
        match phase.disposition() {
            Disposition::Retain => {
                assert!(steps.is_empty(), "a step takes {}", look.what);
                let (_, reason) = phase.fate();
                let kept = reviewed.plan().kept.iter().any(|kept| {
                    kept.placement == look.placement.name
                        && kept.tenant == look.record.tenant
                        && Some(kept.reason) == reason
                });
                assert_eq!(kept, reason.is_some(), "the plan says why it keeps {}", look.what);
                None
            }
            Disposition::Erase => {
                let [step] = steps.as_slice() else { panic!("{} steps take {}", steps.len(), look.what) };
                assert_eq!(Some(step.reason), phase.reason(), "the reason for {}", look.what);
                assert_eq!(Some(&step.clause), phase.clause.as_ref(), "the clause for {}", look.what);
                assert_eq!(Some(step.method.word()), phase.method.as_deref(), "the method for {}", look.what);
                assert_eq!(Some(step.due_since), phase.due, "since when due is {}", look.what);
                assert_eq!(Some(step.deadline), phase.deadline, "by when gone is {}", look.what);
                self.look_at_last_copy(look, phase, step);
                let refused =
                    reviewed.plan().refusals.iter().any(|refusal| refusal.code == "export-unfinished");
                assert_eq!(refused, phase.is_refused(), "whether an operator decides on {}", look.what);
                Some((*step).clone())
            }
        }
    }

    /// Where backups rotate, the live data goes so early that the last backup has forgotten it by the promised day.
    fn look_at_last_copy(&self, look: &Look<'_>, phase: &Phase, step: &Step) {
        let rotation = look
            .policy
            .placements
            .iter()
            .filter_map(|placement| placement.rotation)
            .map(|rotation| rotation.days)
            .max();
        let counts = step.reason != Reason::Age;
        let left = Duration::days(rotation.filter(|_| counts).map_or(0, i64::from));
        assert_eq!(
            Some(step.deadline + left),
            phase.last_copy.or(phase.deadline),
            "the last copy of {}",
            look.what
        );
    }

    /// What was told of one tenant changes nothing for a neighbour.
    fn look_at_neighbour(
        &self,
        look: &Look<'_>,
        record: &Record,
        ledger: &LedgerFacts,
        groups: &[Group<'_>],
        step: Option<&Step>,
    ) {
        let named = self.scenario.told.iter().any(|told| Some(told.tenant()) == record.tenant.as_ref());
        assert!(!named, "a neighbour is told of in {}", look.what);
        let untold = fate_of(look, record, &LedgerFacts::default());
        assert_eq!(fate_of(look, record, ledger), untold, "a neighbour of {}", look.what);
        look_at_groups(look, record, ledger, groups, &untold);
        let taken = step.is_some_and(|step| {
            judge::selects(&step.selection, look.rows, record, &keys_of(ledger), look.now)
        });
        let goes_too = step.is_some_and(|step| step.tenant.is_none()) && untold.reason == Some(Reason::Age);
        assert_eq!(taken, goes_too, "a neighbour goes along with {}", look.what);
    }
}

/// Exactly one group covers the record, and for the same reason; none where it is simply not due.
fn look_at_groups(look: &Look<'_>, record: &Record, ledger: &LedgerFacts, groups: &[Group<'_>], told: &Fate) {
    let keys = keys_of(ledger);
    let covering = groups.iter().filter(|group| covers(group, record, &keys, look.now));
    let found: Vec<Reason> = covering.map(|group| group.reason).collect();
    assert_eq!(found, Vec::from_iter(told.reason), "the groups of {}", look.what);
}

/// The instant itself, a tick later, half way, and a tick before the next one.
fn instants(from: DateTime<Utc>, next: Option<DateTime<Utc>>) -> Vec<DateTime<Utc>> {
    let tick = Duration::nanoseconds(1);
    match next {
        Some(next) => {
            assert!(from < next, "{from} is not before {next}");
            vec![from, from + tick, from + (next - from) / 2, next - tick]
        }
        None => vec![from, from + tick, from + Duration::days(3), from + Duration::days(400)],
    }
}

fn record_of(told: &read::ToldRecord, rows: &Placement, column: Option<&str>) -> Record {
    let mut subjects = Vec::new();
    for Subject { kind, value } in &told.subjects {
        // A record names whom its rows can name.
        if let Some(source) = rows.subjects.get(kind) {
            subjects.push((kind.clone(), source.format.write(value)));
        }
    }
    Record {
        tenant: told.tenant.clone(),
        happened: told.happened,
        subjects,
        names: column.map(ToOwned::to_owned).into_iter().collect(),
    }
}

fn fate_of(look: &Look<'_>, record: &Record, ledger: &LedgerFacts) -> Fate {
    let seen = Sighting {
        tenant: record.tenant.as_ref(),
        event_time: record.usable(look.rows, look.now),
        subjects: &record.subjects,
    };
    fate(look.policy, look.rows, &seen, ledger, look.now)
}

/// The same record of tenants whose names could be taken for its own.
fn neighbours(record: &Record) -> Vec<Record> {
    let Some(tenant) = &record.tenant else { return Vec::new() };
    let name = tenant.as_str();
    let mut capital = name.to_owned();
    capital[..1].make_ascii_uppercase();
    [format!("{name}0"), format!("{name}-1"), capital, name[..name.len() - 1].to_owned()]
        .iter()
        .map(|name| Record { tenant: Some(TenantId::parse(name).unwrap()), ..record.clone() })
        .collect()
}

/// What the ledger knows at an instant. Requests and terminations of a later day are in it too: they must not count.
fn ledger_at(told: &[Told], now: DateTime<Utc>) -> LedgerFacts {
    let mut ledger = LedgerFacts::default();
    for (number, fact) in (1..).zip(told) {
        ledger.generation = number;
        ledger.generations.insert(fact.tenant().clone(), number);
        fact.tell(number, now, &mut ledger);
    }
    ledger.requests.sort_by(|a, b| (a.received_at, &a.request_id).cmp(&(b.received_at, &b.request_id)));
    ledger
}
