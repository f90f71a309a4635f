//! How far each request has got, asked of the stores after a run. It owns the rule when a request is completed:
//! every placement asked and found empty, no level missing, no rotating backup that may still hold it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::Order;
use crate::facts::{Facts, LedgerFacts, OpenRequest, RequestScope};
use crate::gather::{self, Readers, Trouble, World};
use crate::id::PlacementId;
use crate::ledger::{Ledger, LedgerError, RequestPlacement, RequestRow, RequestState, StepOutcome};
use crate::plan::cover::{NewScopeKinds, placements_of};
use crate::plan::{Reason, Residual, due, groups};
use crate::policy::{Placement, Policy, Trigger};

/// What is left of a request in one placement.
#[derive(Default, Clone, Copy)]
struct Left {
    erase: u64,
    held: u64,
}

type LeftBy = BTreeMap<PlacementId, Left>;

/// Settles every open request that was received by `at`.
pub(super) async fn settle(
    world: &World,
    ledger: &dyn Ledger,
    readers: &Readers,
    order: &Order,
    at: DateTime<Utc>,
) -> Result<(), Trouble> {
    let now = world.clock.now();
    // A request that the run left out is not settled by it either: nobody has begun it, and it can be cancelled.
    let known = order.sees(gather::ledger_facts(Some(ledger), now).await?);
    if known.requests.iter().all(|request| request.received_at > at) {
        return Ok(());
    }
    let facts = gather::facts(world, readers, known, at).await?;
    let owed = ledger.scrubs_owed().await?;
    for open in facts.ledger.requests.iter().filter(|request| request.received_at <= at) {
        let row = ledger.request(&open.request_id).await?;
        let outcomes = ledger.outcomes_of_request(&open.request_id).await?;
        let (left, surveyed) = left_of(world, readers, &facts, open, at).await?;
        let look = Look {
            world,
            row: &row,
            outcomes: &outcomes,
            left: &left,
            surveyed: &surveyed,
            owed: &owed,
            now,
        };
        let placements = look.placements(open);
        let state = overall(world, &row, &placements);
        if state != row.state || placements != row.placements {
            match ledger.settle_request(&open.request_id, state, &placements, now).await {
                // It was cancelled while the stores were asked: there is nothing to settle any more.
                Ok(()) | Err(LedgerError::State(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// What is left of a request, and which placements were asked. A record counts under its first request only; where an
/// earlier one of the same tenant has something left, what this one covers is counted as if it were alone.
async fn left_of(
    world: &World,
    readers: &Readers,
    facts: &Facts,
    open: &OpenRequest,
    at: DateTime<Utc>,
) -> Result<(LeftBy, BTreeSet<PlacementId>), Trouble> {
    let earlier = facts.ledger.requests.iter().take_while(|request| request.request_id != open.request_id);
    let hides = earlier
        .filter(|request| request.tenant == open.tenant)
        .any(|request| !counted(world, facts, request, at).is_empty());
    if !hides {
        return Ok((counted(world, facts, open, at), facts.surveyed.clone()));
    }
    let alone = LedgerFacts { requests: vec![open.clone()], ..facts.ledger.clone() };
    let facts = gather::facts(world, readers, alone, at).await?;
    Ok((counted(world, &facts, open, at), facts.surveyed))
}

/// Records that are still there of what a request covers, where there are any.
fn counted(world: &World, facts: &Facts, open: &OpenRequest, at: DateTime<Utc>) -> LeftBy {
    let mut left = LeftBy::new();
    for group in groups(&world.policies, facts, at) {
        if group.request.is_none_or(|request| request.request_id != open.request_id) {
            continue;
        }
        let records = facts.surveys.get(&group.selection.digest()).map_or(0, |survey| survey.total().records);
        if records > 0 {
            let entry = left.entry(group.placement.name.clone()).or_default();
            match group.reason {
                // A request whose tenant waits for an export rests as under a hold.
                Reason::Hold | Reason::Grace => entry.held += records,
                Reason::Request => entry.erase += records,
                Reason::Termination | Reason::Entitlement | Reason::Age | Reason::Parked => {}
            }
        }
    }
    left
}

/// Everything that is known of one request after a run.
struct Look<'a> {
    world: &'a World,
    row: &'a RequestRow,
    outcomes: &'a [StepOutcome],
    left: &'a LeftBy,
    surveyed: &'a BTreeSet<PlacementId>,
    owed: &'a [PlacementId],
    now: DateTime<Utc>,
}

impl Look<'_> {
    /// Every placement that it covers, those included that came after it: first the live ones, for what rotates
    /// forgets only what is gone from them.
    fn placements(&self, open: &OpenRequest) -> Vec<RequestPlacement> {
        let mut all = self.row.placements.clone();
        for name in placements_of(&self.world.policies, &kinds_of(open)) {
            if all.iter().all(|placement| placement.placement != name) {
                all.push(untouched(name));
            }
        }
        let rotates = |placement: &RequestPlacement| {
            self.world.policies.placement(&placement.placement).is_some_and(|(_, p)| p.rotation.is_some())
        };
        let live: Vec<RequestPlacement> =
            all.iter().filter(|before| !rotates(before)).map(|before| self.settled(before, &[])).collect();
        all.iter()
            .map(|before| match live.iter().find(|placement| placement.placement == before.placement) {
                Some(settled) => settled.clone(),
                None => self.settled(before, &live),
            })
            .collect()
    }

    fn settled(&self, before: &RequestPlacement, live: &[RequestPlacement]) -> RequestPlacement {
        let mine: Vec<&StepOutcome> =
            self.outcomes.iter().filter(|outcome| outcome.placement == before.placement).collect();
        let sum = |pick: fn(&crate::plan::Counts) -> u64| -> u64 {
            mine.iter().flat_map(|outcome| outcome.counts.values()).map(pick).sum()
        };
        let mut residual: Vec<Residual> =
            mine.iter().flat_map(|outcome| outcome.residual.iter().cloned()).collect();
        residual.sort();
        residual.dedup();
        let left = self.left.get(&before.placement).copied().unwrap_or_default();
        let is_owed = self.owed.contains(&before.placement);
        let state = match self.world.policies.placement(&before.placement) {
            None => RequestState::Enforcing,
            Some((policy, placement)) => match self.rotation_end(policy, placement, before, live) {
                Some(until) => {
                    residual = vec![Residual { what: rotating(placement), until: Some(until) }];
                    if until <= self.now { RequestState::Completed } else { RequestState::Residual }
                }
                None if !self.surveyed.contains(&before.placement) || left.erase > 0 || is_owed => {
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

    /// For a backup that rotates: when its newest set that may hold the data is gone. Until everything live is seen
    /// gone, its next set may hold it again; from then on it only moves when something more was erased.
    fn rotation_end(
        &self,
        policy: &Policy,
        placement: &Placement,
        before: &RequestPlacement,
        live: &[RequestPlacement],
    ) -> Option<DateTime<Utc>> {
        let rotation = placement.rotation?;
        let from = |instant| due::due_at(instant, rotation, policy.time_zone);
        let of_policy = |placement: &&RequestPlacement| {
            policy.placements.iter().any(|p| p.name == placement.placement && p.rotation.is_none())
        };
        let is_gone = |placement: &RequestPlacement| placement.state == RequestState::Completed;
        let last_erased = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.category == policy.category)
            .filter(|outcome| outcome.counts.values().any(|counts| counts.verified_absent > 0))
            .map(|outcome| outcome.verified_at)
            .max();
        let settled = before.residual.iter().find_map(|residual| residual.until);
        let was_gone = self.row.placements.iter().filter(of_policy).all(is_gone);
        if !live.iter().filter(of_policy).all(is_gone) {
            return Some(from(self.now));
        }
        // Where nothing was ever found, a set may still hold what was gone before we came: it counts from the first
        // look that found everything gone.
        let settled = settled.filter(|_| was_gone).unwrap_or_else(|| from(self.now));
        Some(last_erased.map_or(settled, |instant| settled.max(from(instant))))
    }
}

/// How a backup that rotates is called where something of it remains.
pub(super) fn rotating(backup: &Placement) -> String {
    format!("rotating backup `{}`", backup.name)
}

fn kinds_of(open: &OpenRequest) -> NewScopeKinds {
    match &open.scope {
        RequestScope::Everything => NewScopeKinds::Everything,
        RequestScope::Categories(categories) => NewScopeKinds::Categories(categories.clone()),
        RequestScope::Subjects(keys) => {
            NewScopeKinds::Subjects(keys.iter().map(|key| key.kind().to_owned()).collect())
        }
    }
}

fn untouched(placement: PlacementId) -> RequestPlacement {
    let state = RequestState::Received;
    RequestPlacement { placement, state, erased: 0, verified_absent: 0, residual: Vec::new() }
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
