//! Outcomes of steps, what was erased for replay after a restore, and markers left in stores.
//! It owns those tables; it judges no outcome.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::SqlLedger;
use super::places::require_place;
use super::statement::query;
use super::write::{During, Writing, get, get_instant, get_json, micros, to_json};
use crate::id::{PlacementId, RequestId, RunId, StepId, StoreId, TenantId};
use crate::ledger::entry::{at, words};
use crate::ledger::rows::Mark;
use crate::ledger::{LedgerError, StepOutcome};
use crate::plan::{Counts, CountsByTenant};

/// Records what came of a step: the outcome, what was erased, one entry per tenant.
pub(super) async fn record(
    ledger: &SqlLedger,
    outcome: &StepOutcome,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let mut write = ledger.write("record an outcome").await?;
    require_place(ledger, &mut write).await?;
    let (run, step) = (outcome.run_id.as_str(), outcome.step_id.as_str());
    let before = query("SELECT 1 FROM outcome WHERE run_id = ? AND step_id = ?").bind(run).bind(step);
    if before.exists(write.connection()).await.during("record an outcome")? {
        return Err(LedgerError::State(format!("step `{step}` of run `{run}` has an outcome already")));
    }
    query("INSERT INTO outcome (run_id, step_id, request_id, recorded_at, body) VALUES (?, ?, ?, ?, ?)")
        .bind(run)
        .bind(step)
        .bind(outcome.request_id.as_ref().map(RequestId::as_str))
        .bind(micros(now))
        .bind(to_json(outcome)?)
        .execute(write.connection())
        .await
        .during("record an outcome")?;
    for (tenant, counts) in &outcome.counts {
        // Only what was looked for again counts as erased.
        if counts.verified_absent > 0 {
            remember(&mut write, outcome, tenant, now).await?;
        }
        write.append("step-outcome", fields_of(outcome, Some(tenant), counts), now).await?;
    }
    if outcome.counts.is_empty() {
        write.append("step-outcome", fields_of(outcome, None, &Counts::default()), now).await?;
    }
    write.commit().await
}

/// Outcomes of a run, in order.
pub(super) async fn of_run(ledger: &SqlLedger, run: &RunId) -> Result<Vec<StepOutcome>, LedgerError> {
    query("SELECT body FROM outcome WHERE run_id = ? ORDER BY number")
        .bind(run.as_str())
        .fetch_all(&mut ledger.look().await?)
        .await
        .during("read outcomes")?
        .iter()
        .map(|row| get_json(row, "body"))
        .collect()
}

/// Outcomes that served a request, in order.
pub(super) async fn of_request(
    ledger: &SqlLedger,
    request: &RequestId,
) -> Result<Vec<StepOutcome>, LedgerError> {
    query("SELECT body FROM outcome WHERE request_id = ? ORDER BY number")
        .bind(request.as_str())
        .fetch_all(&mut ledger.look().await?)
        .await
        .during("read outcomes")?
        .iter()
        .map(|row| get_json(row, "body"))
        .collect()
}

/// Stores that carry this ledger's marker.
pub(super) async fn marked(ledger: &SqlLedger) -> Result<BTreeMap<StoreId, Mark>, LedgerError> {
    query("SELECT store, marked_at, fingerprint FROM marked_store")
        .fetch_all(&mut ledger.look().await?)
        .await
        .during("read marked stores")?
        .iter()
        .map(|row| {
            let mark =
                Mark { marked_at: get_instant(row, "marked_at")?, fingerprint: get(row, "fingerprint")? };
            Ok((StoreId::new(get::<String>(row, "store")?), mark))
        })
        .collect()
}

/// Records that a store carries it. Since when stays as it was first recorded, and so does what it said of itself.
pub(super) async fn mark(
    ledger: &SqlLedger,
    store: &StoreId,
    fingerprint: &str,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let mut write = ledger.write("record a marker").await?;
    let known =
        query("SELECT 1 FROM marked_store WHERE store = ? AND fingerprint IS NOT NULL").bind(store.as_str());
    if known.exists(write.connection()).await.during("record a marker")? {
        return Ok(());
    }
    set_fingerprint(&mut write, store, fingerprint, now).await?;
    write.append("store-marked", json!({"store": store, "fingerprint": fingerprint}), now).await?;
    write.commit().await
}

/// Takes another fingerprint for the store's own.
pub(super) async fn adopt(
    ledger: &SqlLedger,
    store: &StoreId,
    fingerprint: &str,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let mut write = ledger.write("adopt a store").await?;
    set_fingerprint(&mut write, store, fingerprint, now).await?;
    let entry = json!({"store": store, "fingerprint": fingerprint, "reason_sha256": words(reason)});
    write.append("store-adopted", entry, now).await?;
    write.commit().await
}

/// Steps that have batches with outcomes but no outcome of their own, with the sum of those batches.
pub(super) async fn unsettled(
    ledger: &SqlLedger,
) -> Result<Vec<(RunId, StepId, CountsByTenant)>, LedgerError> {
    let rows = query(
        "SELECT run_id, step_id, counts FROM intent WHERE counts IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM outcome WHERE outcome.run_id = intent.run_id AND outcome.step_id = intent.step_id)
         ORDER BY run_id, step_id",
    )
    .fetch_all(&mut ledger.look().await?)
    .await
    .during("read unsettled steps")?;
    let mut steps: Vec<(RunId, StepId, CountsByTenant)> = Vec::new();
    for row in &rows {
        let run = RunId::new(get::<String>(row, "run_id")?);
        let step = StepId::new(get::<String>(row, "step_id")?);
        let counts: CountsByTenant = get_json(row, "counts")?;
        if steps.last().is_none_or(|(last_run, last_step, _)| *last_run != run || *last_step != step) {
            steps.push((run, step, CountsByTenant::new()));
        }
        if let Some((_, _, sum)) = steps.last_mut() {
            for (tenant, more) in &counts {
                sum.entry(tenant.clone()).or_default().add(more);
            }
        }
    }
    Ok(steps)
}

/// The sum of the finished batches of a step.
pub(super) async fn of_step(
    ledger: &SqlLedger,
    run: &RunId,
    step: &StepId,
) -> Result<CountsByTenant, LedgerError> {
    let rows = query("SELECT counts FROM intent WHERE counts IS NOT NULL AND run_id = ? AND step_id = ?")
        .bind(run.as_str())
        .bind(step.as_str())
        .fetch_all(&mut ledger.look().await?)
        .await
        .during("read finished batches")?;
    let mut sum = CountsByTenant::new();
    for row in &rows {
        for (tenant, more) in get_json::<CountsByTenant>(row, "counts")? {
            sum.entry(tenant).or_default().add(&more);
        }
    }
    Ok(sum)
}

/// Records that a scrub of the placement is owed.
pub(super) async fn owe_scrub(ledger: &SqlLedger, placement: &PlacementId) -> Result<(), LedgerError> {
    let mut write = ledger.write("record that a scrub is owed").await?;
    query("REPLACE INTO scrub_owed (placement) VALUES (?)")
        .bind(placement.as_str())
        .execute(write.connection())
        .await
        .during("record that a scrub is owed")?;
    write.commit().await
}

/// Records that it is owed no longer.
pub(super) async fn scrub_paid(ledger: &SqlLedger, placement: &PlacementId) -> Result<(), LedgerError> {
    let mut write = ledger.write("record a scrub").await?;
    query("DELETE FROM scrub_owed WHERE placement = ?")
        .bind(placement.as_str())
        .execute(write.connection())
        .await
        .during("record a scrub")?;
    write.commit().await
}

/// Placements whose scrub is owed, by name.
pub(super) async fn scrubs_owed(ledger: &SqlLedger) -> Result<Vec<PlacementId>, LedgerError> {
    query("SELECT placement FROM scrub_owed ORDER BY placement")
        .fetch_all(&mut ledger.look().await?)
        .await
        .during("read owed scrubs")?
        .iter()
        .map(|row| Ok(PlacementId::new(get::<String>(row, "placement")?)))
        .collect()
}

/// What the store says of itself; since when it is marked stays as it was first recorded.
async fn set_fingerprint(
    write: &mut Writing<'_>,
    store: &StoreId,
    fingerprint: &str,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let known = query("UPDATE marked_store SET fingerprint = ? WHERE store = ?")
        .bind(fingerprint)
        .bind(store.as_str())
        .execute(write.connection())
        .await
        .during("record a marker")?;
    if known.rows_affected() > 0 {
        return Ok(());
    }
    query("INSERT INTO marked_store (store, marked_at, fingerprint) VALUES (?, ?, ?)")
        .bind(store.as_str())
        .bind(micros(now))
        .bind(fingerprint)
        .execute(write.connection())
        .await
        .during("record a marker")?;
    Ok(())
}

/// Remembers the scope that was erased.
async fn remember(
    write: &mut Writing<'_>,
    outcome: &StepOutcome,
    tenant: &TenantId,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let subjects =
        if outcome.scope.subjects.is_empty() { None } else { Some(to_json(&outcome.scope.subjects)?) };
    query(
        "INSERT INTO erased_scope (tenant, subjects, category, placement, up_to, run_id, step_id, erased_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant.as_str())
    .bind(subjects)
    .bind(outcome.category.as_str())
    .bind(outcome.placement.as_str())
    // Rounded down: a replay erases no record that was not erased before.
    .bind(outcome.scope.up_to.map(micros))
    .bind(outcome.run_id.as_str())
    .bind(outcome.step_id.as_str())
    .bind(micros(now))
    .execute(write.connection())
    .await
    .during("record an outcome")?;
    Ok(())
}

fn fields_of(outcome: &StepOutcome, tenant: Option<&TenantId>, counts: &Counts) -> Value {
    let residual: Vec<Value> =
        outcome.residual.iter().map(|left| json!({"what": left.what, "until": left.until.map(at)})).collect();
    json!({
        "run_id": outcome.run_id, "step_id": outcome.step_id, "placement": outcome.placement,
        "store": outcome.store, "category": outcome.category, "tenant": tenant, "reason": outcome.reason,
        "clause": outcome.clause, "method": outcome.method, "level": outcome.level,
        "request_id": outcome.request_id, "counts": counts, "residual": residual,
        "verified_at": at(outcome.verified_at),
        "failure_sha256": outcome.failure.as_deref().map(words),
    })
}
