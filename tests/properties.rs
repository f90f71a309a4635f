//! What holds of planner and reviewer whatever the facts: held to a second reading of the promises, to shuffled facts,
//! to planted bugs and to the limits. It owns the generators; single promises are in `scenarios/`.

mod limits;
mod planted;
mod reference;
mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};
use retentiond::facts::RequestScope;
use retentiond::plan::decide::{groups, rows_of};
use retentiond::plan::fate::{Sighting, fate};
use retentiond::plan::review::{Approvals, Caps, review};
use retentiond::plan::{Disposition, Plan, Reason, Step, Totals, plan};

use self::world::{World, any_world, policies};
use crate::scenarios::judge::{Record, covers, facts_of, keys_of};

/// So large that no limit is met.
const NO_CAPS: Caps = Caps { records: u64::MAX, share_percent: 100 };

/// The same cases in every run, so that a failure is never lost.
fn config() -> Config {
    Config {
        cases: 120,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(27),
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_record_is_in_one_group_at_most_and_its_fate_says_the_same(world in any_world()) {
        let policies = policies();
        let facts = facts_of(&policies, world.ledger.clone(), &world.records, world.now);
        let keys = keys_of(&facts.ledger);
        let groups = groups(&policies, &facts, world.now);
        for (policy, placement) in policies.iter().flat_map(|policy| policy.placements.iter().map(move |p| (policy, p))) {
            let Some((rows, column)) = rows_of(policy, placement) else { continue };
            for record in world.of(rows) {
                if column.is_some_and(|column| !record.names.iter().any(|name| name == column)) {
                    continue;
                }
                let found: Vec<Reason> = groups
                    .iter()
                    .filter(|group| group.placement.name == placement.name)
                    .filter(|group| covers(group, record, &keys, world.now))
                    .map(|group| group.reason)
                    .collect();
                let seen = Sighting {
                    tenant: record.tenant.as_ref(),
                    event_time: record.usable(rows, world.now),
                    subjects: &record.subjects,
                };
                let told = fate(policy, rows, &seen, &facts.ledger, world.now);
                prop_assert_eq!(&found, &Vec::from_iter(told.reason), "{:?} in {}", record, placement.name);
                let goes = found.iter().any(|reason| reason.disposition() == Disposition::Erase);
                prop_assert_eq!(goes, told.disposition == Disposition::Erase);
                prop_assert!(!(goes && reference::is_held(&world, policy, rows, record)), "{:?} is held", record);
            }
        }
    }

    #[test]
    fn the_review_agrees_with_the_plan_and_its_totals_are_those_of_a_count_by_hand(world in any_world()) {
        let policies = policies();
        let facts = facts_of(&policies, world.ledger.clone(), &world.records, world.now);
        let made = plan(&policies, &facts, world.now).unwrap();
        let mut by_hand = Totals::default();
        let mut erased: BTreeMap<(String, Reason), u64> = BTreeMap::new();
        for policy in &policies {
            for placement in &policy.placements {
                let Some((rows, column)) = rows_of(policy, placement) else { continue };
                for record in world.of(rows) {
                    if column.is_some_and(|column| !record.names.iter().any(|name| name == column)) {
                        continue;
                    }
                    match reference::reason(&world, policy, rows, record) {
                        None => {}
                        Some(Reason::Hold) => by_hand.held += 1,
                        Some(Reason::Grace) => by_hand.grace += 1,
                        Some(Reason::Entitlement) => by_hand.entitled += 1,
                        Some(Reason::Parked) => by_hand.parked += 1,
                        Some(reason) => {
                            by_hand.erase += 1;
                            *erased.entry((placement.name.to_string(), reason)).or_default() += 1;
                        }
                    }
                }
            }
        }
        prop_assert_eq!(made.totals, by_hand);
        let mut planned: BTreeMap<(String, Reason), u64> = BTreeMap::new();
        for step in &made.steps {
            *planned.entry((step.placement.to_string(), step.reason)).or_default() += step.records;
        }
        prop_assert_eq!(planned, erased);
        let approvals = Approvals {
            exports: world.ledger.exports.iter().map(|export| export.export_id.clone()).collect(),
            ..Approvals::new()
        };
        let steps = made.steps.len();
        let waiting: Vec<_> = made.steps.iter().filter(|step| waits(&world, step)).map(|step| step.step_id.clone()).collect();
        let unapproved = review(made.clone(), None, &policies, &facts, NO_CAPS, &Approvals::new());
        let unapproved = unapproved.map_err(|wrong| TestCaseError::fail(format!("{:?}", wrong.0)))?;
        prop_assert_eq!(unapproved.refused(), waiting);
        prop_assert!(unapproved.plan().refusals.iter().all(|refusal| refusal.code == "export-unfinished"));
        let reviewed = review(made, None, &policies, &facts, NO_CAPS, &approvals);
        let reviewed = reviewed.map_err(|wrong| TestCaseError::fail(format!("{:?}", wrong.0)))?;
        prop_assert_eq!(reviewed.allowed().count(), steps);
        prop_assert_eq!(reviewed.stale().count(), 0);
        prop_assert!(reviewed.plan().refusals.is_empty());
    }

    #[test]
    fn the_same_facts_give_the_same_bytes_and_their_order_changes_nothing(world in any_world(), turn in 1_usize..5) {
        let policies = policies();
        let bytes = |world: &World| {
            let facts = facts_of(&policies, world.ledger.clone(), &world.records, world.now);
            serde_json::to_string(&plan(&policies, &facts, world.now).unwrap()).unwrap()
        };
        let first = bytes(&world);
        prop_assert_eq!(&first, &bytes(&world));
        let mut turned = world.clone();
        turned.ledger.holds.reverse();
        turned.ledger.entitlements.reverse();
        turned.ledger.terminated.reverse();
        rotate(&mut turned.ledger.holds, turn);
        rotate(&mut turned.ledger.entitlements, turn);
        for records in turned.records.values_mut() {
            rotate(records, turn);
        }
        prop_assert_eq!(first, bytes(&turned));
    }

    #[test]
    fn no_two_steps_take_the_same_record(world in any_world()) {
        let policies = policies();
        let facts = facts_of(&policies, world.ledger.clone(), &world.records, world.now);
        let made = plan(&policies, &facts, world.now).unwrap();
        let taken = taken_by(&world, &made);
        prop_assert!(taken.iter().all(|(_, steps)| *steps == 1), "{taken:?}");
        let records: u64 = made.steps.iter().map(|step| step.records).sum();
        prop_assert_eq!(records, u64::try_from(taken.len()).unwrap());
    }
}

#[test]
fn the_worlds_are_worth_looking_at() {
    let mut runner = TestRunner::new(config());
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for _ in 0..60 {
        let world = any_world().new_tree(&mut runner).unwrap().current();
        let policies = policies();
        let facts = facts_of(&policies, world.ledger.clone(), &world.records, world.now);
        let made = plan(&policies, &facts, world.now).unwrap();
        for step in &made.steps {
            let whose = if step.tenant.is_some() { "of one" } else { "of all others" };
            *seen.entry((step.reason.word(), whose)).or_default() += 1;
            let parts = step.selection.except.len() + step.selection.within.len();
            *seen.entry(("parts", if parts > 2 { "many" } else { "few" })).or_default() += 1;
        }
        for kept in &made.kept {
            *seen.entry((kept.reason.word(), "kept")).or_default() += 1;
        }
    }
    let common: Vec<_> = seen.iter().filter(|(_, times)| **times >= 5).map(|(what, _)| *what).collect();
    let expected = [
        ("age", "of all others"),
        ("age", "of one"),
        ("entitlement", "kept"),
        ("grace", "kept"),
        ("hold", "kept"),
        ("parked", "kept"),
        ("parts", "few"),
        ("parts", "many"),
        ("request", "of one"),
        ("termination", "of one"),
    ];
    assert_eq!(common, expected, "{seen:?}");
}

/// True where the tenant of a step still waits to take along what the step takes, so that an operator decides.
fn waits(world: &World, step: &Step) -> bool {
    let of_person = world.ledger.requests.iter().any(|request| {
        Some(&request.request_id) == step.request_id.as_ref()
            && matches!(request.scope, RequestScope::Subjects(_))
    });
    step.reason != Reason::Age
        && !of_person
        && world.ledger.exports.iter().any(|export| {
            Some(&export.tenant) == step.tenant.as_ref()
                && (export.categories.is_empty() || export.categories.contains(&step.category))
        })
}

/// Each record that a plan erases with how many steps take it.
fn taken_by(world: &World, plan: &Plan) -> Vec<(String, usize)> {
    let policies = policies();
    let keys = keys_of(&world.ledger);
    let mut taken = Vec::new();
    for (policy, placement) in
        policies.iter().flat_map(|policy| policy.placements.iter().map(move |p| (policy, p)))
    {
        let Some((rows, column)) = rows_of(policy, placement) else { continue };
        let named =
            |record: &&Record| column.is_none_or(|column| record.names.iter().any(|name| name == column));
        for (number, record) in world.of(rows).iter().enumerate().filter(|(_, record)| named(record)) {
            let steps = plan.steps.iter().filter(|step| {
                step.placement == placement.name
                    && crate::scenarios::judge::selects(&step.selection, rows, record, &keys, world.now)
            });
            let count = steps.count();
            if count > 0 {
                taken.push((format!("{} {number}", placement.name), count));
            }
        }
    }
    taken
}

fn rotate<T>(things: &mut [T], turn: usize) {
    if !things.is_empty() {
        things.rotate_left(turn % things.len());
    }
}
