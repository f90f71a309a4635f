//! What a run that died left behind: intents without outcome, steps without outcome. It owns the rule that after a
//! crash the store is asked and nothing is guessed.

use std::collections::{BTreeMap, BTreeSet};

use super::step::Draft;
use crate::gather::{self, Readers, Trouble, World};
use crate::id::{RunId, StepId, TenantId};
use crate::ledger::{Ledger, OpenIntent};
use crate::plan::CountsByTenant;
use crate::policy::{Level, Method};
use crate::stores::{Batch, Query, Reader, StillThere, StoreError};

/// Closes what earlier runs left open. The caller holds the run's place, so whatever is open belongs to the dead.
/// Answers what stays open since its store cannot be asked now: the next run asks again, the others go on.
pub(super) async fn recover(
    world: &World,
    ledger: &dyn Ledger,
    readers: &Readers,
) -> Result<Vec<String>, Trouble> {
    let mut unknown = Vec::new();
    let mut still_open: BTreeSet<(RunId, StepId)> = BTreeSet::new();
    for intent in ledger.open_intents().await? {
        match ask(world, ledger, readers, &intent).await {
            Ok(counts) => ledger.finish_batch(intent.number, &counts, world.clock.now()).await?,
            Err(trouble) => {
                unknown.push(without_outcome(&intent, &trouble));
                still_open.insert((intent.run_id, intent.step_id));
            }
        }
    }
    let owed: BTreeSet<_> = ledger.scrubs_owed().await?.into_iter().collect();
    for (run, step_id, counts) in ledger.unsettled().await? {
        if still_open.contains(&(run.clone(), step_id.clone())) {
            continue;
        }
        let step = ledger.step_of_run(&run, &step_id).await?;
        let accepted =
            world.policies.placement(&step.placement).and_then(|(_, placement)| placement.accept_level);
        let mut draft = Draft::new(&step, accepted, world.clock.now());
        draft.take(&counts, world.clock.now());
        // The level of a step that died before its scrub is the lowest; the scrub is still owed and comes later. One
        // that was paid reached what the operator accepts, and nobody knows whether it reached more.
        let reached = if step.method == Method::Zero && owed.contains(&step.placement) {
            Level::Deleted
        } else {
            accepted.map_or(step.method.level(), |accepted| accepted.min(step.method.level()))
        };
        draft.level = reached;
        draft.fail("the run was interrupted before this step was settled");
        ledger.record_outcome(&draft.outcome(&run), world.clock.now()).await?;
    }
    Ok(unknown)
}

/// Closes what a dead process left open of one step. Answers what stays open since its store cannot be asked now.
pub(super) async fn recover_step(
    world: &World,
    ledger: &dyn Ledger,
    readers: &Readers,
    run: &RunId,
    step: &StepId,
) -> Result<Vec<String>, Trouble> {
    let mut unknown = Vec::new();
    let open = ledger.open_intents().await?;
    for intent in open.into_iter().filter(|intent| &intent.run_id == run && &intent.step_id == step) {
        match ask(world, ledger, readers, &intent).await {
            Ok(counts) => ledger.finish_batch(intent.number, &counts, world.clock.now()).await?,
            Err(trouble) => unknown.push(without_outcome(&intent, &trouble)),
        }
    }
    Ok(unknown)
}

fn without_outcome(intent: &OpenIntent, trouble: &Trouble) -> String {
    format!(
        "a batch of run `{}` in placement `{}` is still without outcome: {trouble}",
        intent.run_id, intent.placement
    )
}

/// Asks the store what is left of a batch whose outcome nobody wrote down.
async fn ask(
    world: &World,
    ledger: &dyn Ledger,
    readers: &Readers,
    intent: &OpenIntent,
) -> Result<CountsByTenant, Trouble> {
    let step = ledger.step_of_run(&intent.run_id, &intent.step_id).await?;
    let batch: Batch = serde_json::from_str(&intent.batch)
        .map_err(|_| Trouble::Doubt(format!("an intent of run `{}` cannot be read", intent.run_id)))?;
    let known = gather::ledger_facts(Some(ledger), world.clock.now()).await?;
    let query = match gather::own_query_of(&world.policies, &known, &step.selection, world.clock.now()) {
        Ok(query) => query,
        // Its request or hold has ended, or its placement left the policies: nobody can ask any more, so nothing is
        // claimed for this batch. What is still due is planned anew.
        Err(_) => return Ok(CountsByTenant::new()),
    };
    let reader = readers.get(&step.store)?;
    let still = reader.absent(&query, &batch).await?;
    Ok(as_found(&**reader, &query, &batch, &still).await?)
}

/// Counts of a batch of which only a later look is known: what is gone was absent already, what is there has not been
/// erased and is found again by the next plan. Of a window, a record that the selection does not find any more is gone
/// only where a row is: it may as well have changed, and then it is still there and nothing is claimed for it.
pub(super) async fn as_found<R: Reader + ?Sized>(
    reader: &R,
    query: &Query,
    batch: &Batch,
    still: &StillThere,
) -> Result<CountsByTenant, StoreError> {
    let there = match batch {
        Batch::Window { .. } => reader.absent(&without_scopes(query), batch).await?.tenants,
        Batch::List(_) => BTreeMap::new(),
    };
    let mut counts = CountsByTenant::new();
    let mut gone = |tenant: &TenantId, records: u64| {
        let entry = counts.entry(tenant.clone()).or_default();
        entry.already_absent += records;
        entry.verified_absent += records;
    };
    match batch {
        Batch::Window { found, rows, .. } => {
            for (tenant, records) in found {
                let of = |counts: &BTreeMap<TenantId, u64>| counts.get(tenant).copied().unwrap_or(0);
                let rows_gone = rows.get(tenant).copied().unwrap_or(*records).saturating_sub(of(&there));
                gone(tenant, records.saturating_sub(of(&still.tenants)).min(rows_gone));
            }
        }
        Batch::List(listed) => {
            for (index, record) in listed.iter().enumerate() {
                if !still.indexes.contains(&index) {
                    gone(&record.tenant, 1);
                }
            }
        }
    }
    Ok(counts)
}

/// The same question about every record of the tenants, whatever its time and subjects.
fn without_scopes(query: &Query) -> Query {
    let mut query = query.clone();
    for selection in std::iter::once(&mut query.selection).chain(&mut query.also) {
        selection.within.clear();
        selection.except.clear();
    }
    query
}
