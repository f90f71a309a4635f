//! How far each request has got, asked of the stores after a run. It owns the rule when a request is completed:
//! every placement asked and found empty, no level missing, no rotating backup that may still hold it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::facts::Facts;
use crate::gather::{self, Readers, Trouble, World};
use crate::id::PlacementId;
use crate::ledger::{Ledger, RequestPlacement, RequestRow, RequestState, StepOutcome};
use crate::plan::{Reason, Residual, due, groups};
use crate::policy::{Placement, Policy, Trigger};

/// What is left of a request in one placement.
#[derive(Default, Clone, Copy)]
struct Left {
    erase: u64,
    held: u64,
}

/// Settles every open request that was received by `at`.
pub(super) async fn settle(
    world: &World,
    ledger: &dyn Ledger,
    readers: &Readers,
    at: DateTime<Utc>,
) -> Result<(), Trouble> {
    let now = world.clock.now();
    let known = gather::ledger_facts(Some(ledger), now).await?;
    if known.requests.iter().all(|request| request.received_at > at) {
        return Ok(());
    }
    let facts = gather::facts(world, readers, known, at).await?;
    let owed = ledger.scrubs_owed().await?;
    for open in facts.ledger.requests.iter().filter(|request| request.received_at <= at) {
        let row = ledger.request(&open.request_id).await?;
        let outcomes = ledger.outcomes_of_request(&open.request_id).await?;
        let mut left: BTreeMap<&PlacementId, Left> = BTreeMap::new();
        for group in groups(&world.policies, &facts, at) {
            if group.request.is_some_and(|request| request.request_id == open.request_id) {
                let survey = facts.surveys.get(&group.selection.digest());
                let records = survey.map_or(0, |survey| survey.total().records);
                let entry = left.entry(&group.placement.name).or_default();
                match group.reason {
                    Reason::Hold => entry.held += records,
                    Reason::Request => entry.erase += records,
                    Reason::Grace
                    | Reason::Termination
                    | Reason::Entitlement
                    | Reason::Age
                    | Reason::Parked => {}
                }
            }
        }
        let placements: Vec<RequestPlacement> = row
            .placements
            .iter()
            .map(|before| {
                let left = left.get(&before.placement).copied().unwrap_or_default();
                let is_owed = owed.contains(&before.placement);
                settle_placement(world, &facts, before, &outcomes, left, is_owed, now)
            })
            .collect();
        let state = overall(world, &row, &placements);
        if state != row.state || placements != row.placements {
            ledger.settle_request(&open.request_id, state, &placements, now).await?;
        }
    }
    Ok(())
}

fn settle_placement(
    world: &World,
    facts: &Facts,
    before: &RequestPlacement,
    outcomes: &[StepOutcome],
    left: Left,
    is_owed: bool,
    now: DateTime<Utc>,
) -> RequestPlacement {
    let mine: Vec<&StepOutcome> =
        outcomes.iter().filter(|outcome| outcome.placement == before.placement).collect();
    let sum = |pick: fn(&crate::plan::Counts) -> u64| -> u64 {
        mine.iter().flat_map(|outcome| outcome.counts.values()).map(pick).sum()
    };
    let mut residual: Vec<Residual> =
        mine.iter().flat_map(|outcome| outcome.residual.iter().cloned()).collect();
    residual.sort();
    residual.dedup();
    let state = match world.policies.placement(&before.placement) {
        None => RequestState::Enforcing,
        Some((policy, placement)) => match rotation_end(policy, placement, before, outcomes, now) {
            Some(until) => {
                residual = vec![Residual {
                    what: format!("rotating backup `{}`", placement.name),
                    until: Some(until),
                }];
                if until <= now { RequestState::Completed } else { RequestState::Residual }
            }
            None if !facts.surveyed.contains(&before.placement) || left.erase > 0 || is_owed => {
                RequestState::Enforcing
            }
            None if left.held > 0 => RequestState::Waiting,
            None => RequestState::Completed,
        },
    };
    RequestPlacement {
        placement: before.placement.clone(),
        state,
        erased: sum(|counts| counts.erased),
        verified_absent: sum(|counts| counts.verified_absent),
        residual,
    }
}

/// For a backup that rotates: when its newest set that may hold the data is gone, counted from the last erasure for
/// this request. Settled once, it only moves when something more was erased.
fn rotation_end(
    policy: &Policy,
    placement: &Placement,
    before: &RequestPlacement,
    outcomes: &[StepOutcome],
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let rotation = placement.rotation?;
    let last_erased = outcomes
        .iter()
        .filter(|outcome| outcome.category == policy.category)
        .filter(|outcome| outcome.counts.values().any(|counts| counts.verified_absent > 0))
        .map(|outcome| outcome.verified_at)
        .max();
    let from_last = last_erased.map(|instant| due::due_at(instant, rotation, policy.time_zone));
    let settled = before.residual.iter().find_map(|residual| residual.until);
    // Where nothing was ever found, a set may still hold what was gone before we came: it counts from the first look.
    Some(from_last.or(settled).unwrap_or_else(|| due::due_at(now, rotation, policy.time_zone)))
}

fn overall(world: &World, row: &RequestRow, placements: &[RequestPlacement]) -> RequestState {
    let any = |state: RequestState| placements.iter().any(|placement| placement.state == state);
    let without_rule = row.categories.iter().any(|category| {
        world.policies.of(category).is_none_or(|policy| policy.rule(Trigger::Request).is_none())
    });
    if without_rule || any(RequestState::Enforcing) {
        RequestState::Enforcing
    } else if any(RequestState::Waiting) {
        RequestState::Waiting
    } else if any(RequestState::Residual) {
        RequestState::Residual
    } else {
        RequestState::Completed
    }
}
