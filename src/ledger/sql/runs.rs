//! Runs, their plans, refused plans and the emergency stop.
//! It owns those tables and the digests of the policies in force; batches are in `batches`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::SqlLedger;
use super::places::require_place;
use super::statement::{Row, Session, query};
use super::write::{
    During, Writing, from_json, get, get_instant, get_instant_if_any, get_json, micros, to_json,
};
use crate::id::{Category, PlanId, RunId, StepId};
use crate::ledger::entry::{at, words};
use crate::ledger::{LedgerError, RefusedPlan, RunRow, Stop};
use crate::plan::{Plan, Step};

/// Records that the run has begun. Runs that are still marked as running are interrupted ones: the caller holds the
/// run's place.
pub(super) async fn begin(
    ledger: &SqlLedger,
    run: &RunRow,
    plan: &Plan,
    policies: &BTreeMap<Category, String>,
) -> Result<(), LedgerError> {
    if run.plan_id != plan.plan_id {
        return Err(LedgerError::State("the run names another plan than the one given".to_owned()));
    }
    let mut write = ledger.write("begin a run").await?;
    if exists(write.connection(), &run.run_id).await? {
        return Err(LedgerError::State(format!("run `{}` has begun already", run.run_id)));
    }
    let now = run.started_at;
    require_place(ledger, &mut write).await?;
    interrupt_others(&mut write, now).await?;
    keep_plan(&mut write, plan, now).await?;
    query("INSERT INTO run (run_id, plan_id, at, status, started_at) VALUES (?, ?, ?, 'running', ?)")
        .bind(run.run_id.as_str())
        .bind(run.plan_id.as_str())
        .bind(micros(run.at))
        .bind(micros(run.started_at))
        .execute(write.connection())
        .await
        .during("begin a run")?;
    write.new_key(run.run_id.as_str()).await?;
    query("DELETE FROM policy").execute(write.connection()).await.during("begin a run")?;
    for (category, digest) in policies {
        query("INSERT INTO policy (category, digest) VALUES (?, ?)")
            .bind(category.as_str())
            .bind(digest)
            .execute(write.connection())
            .await
            .during("begin a run")?;
    }
    let fields = json!({
        "run_id": run.run_id, "plan_id": run.plan_id, "plan_at": at(run.at), "policies": policies,
    });
    write.append("run-started", fields, now).await?;
    write.commit().await
}

/// Records that it has ended.
pub(super) async fn end(
    ledger: &SqlLedger,
    id: &RunId,
    status: &str,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    if !["done", "failed", "refused", "interrupted"].contains(&status) {
        return Err(LedgerError::State(format!("a run does not end as `{status}`")));
    }
    let mut write = ledger.write("end a run").await?;
    require_place(ledger, &mut write).await?;
    let ended = query("UPDATE run SET status = ?, ended_at = ? WHERE run_id = ? AND ended_at IS NULL")
        .bind(status)
        .bind(micros(now))
        .bind(id.as_str())
        .execute(write.connection())
        .await
        .during("end a run")?;
    if ended.rows_affected() == 0 {
        return Err(if exists(write.connection(), id).await? {
            LedgerError::State(format!("run `{id}` has ended already"))
        } else {
            LedgerError::Unknown { what: "run", id: id.as_str().to_owned() }
        });
    }
    close_if_settled(&mut write, id.as_str()).await?;
    write.append("run-ended", json!({"run_id": id, "status": status}), now).await?;
    write.commit().await
}

/// Records a plan that the run made while it was under way.
pub(super) async fn extend(
    ledger: &SqlLedger,
    id: &RunId,
    plan: &Plan,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let mut write = ledger.write("record a run's plan").await?;
    keep_plan(&mut write, plan, now).await?;
    query("REPLACE INTO run_plan (run_id, plan_id) VALUES (?, ?)")
        .bind(id.as_str())
        .bind(plan.plan_id.as_str())
        .execute(write.connection())
        .await
        .during("record a run's plan")?;
    write.commit().await
}

/// A step of the plan that a run was begun with, or of one that it made under way.
pub(super) async fn step_of(ledger: &SqlLedger, id: &RunId, step: &StepId) -> Result<Step, LedgerError> {
    let rows = query(
        "SELECT body FROM plan WHERE plan_id IN (
             SELECT plan_id FROM run WHERE run_id = ? UNION SELECT plan_id FROM run_plan WHERE run_id = ?)",
    )
    .bind(id.as_str())
    .bind(id.as_str())
    .fetch_all(&mut ledger.look().await?)
    .await
    .during("read a run's plans")?;
    for row in &rows {
        let plan: Plan = get_json(row, "body")?;
        if let Some(found) = plan.step(step) {
            return Ok(found.clone());
        }
    }
    Err(LedgerError::Unknown { what: "step", id: step.as_str().to_owned() })
}

/// The plan that a run was begun with.
pub(super) async fn plan_of(ledger: &SqlLedger, id: &RunId) -> Result<Plan, LedgerError> {
    let row = query("SELECT body FROM plan JOIN run ON run.plan_id = plan.plan_id WHERE run.run_id = ?")
        .bind(id.as_str())
        .fetch_optional(&mut ledger.look().await?)
        .await
        .during("read a run's plan")?;
    get_json(&row.ok_or_else(|| LedgerError::Unknown { what: "run", id: id.to_string() })?, "body")
}

/// Runs, latest first.
pub(super) async fn latest(ledger: &SqlLedger, most: u32) -> Result<Vec<RunRow>, LedgerError> {
    query("SELECT * FROM run ORDER BY number DESC LIMIT ?")
        .bind(most)
        .fetch_all(&mut ledger.look().await?)
        .await
        .during("read runs")?
        .iter()
        .map(row_of)
        .collect()
}

/// Keeps what was refused, for approval. A plan that is refused again needs approval again.
pub(super) async fn store_refused(
    ledger: &SqlLedger,
    plan: &Plan,
    steps: &[StepId],
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    if steps.is_empty() || steps.iter().any(|id| plan.step(id).is_none()) {
        return Err(LedgerError::State("the refused steps are not steps of the plan".to_owned()));
    }
    let mut write = ledger.write("keep a refused plan").await?;
    keep_plan(&mut write, plan, now).await?;
    query("REPLACE INTO refused_plan (plan_id, body, steps, refused_at) VALUES (?, ?, ?, ?)")
        .bind(plan.plan_id.as_str())
        .bind(to_json(plan)?)
        .bind(to_json(&steps)?)
        .bind(micros(now))
        .execute(write.connection())
        .await
        .during("keep a refused plan")?;
    let fields = json!({
        "plan_id": plan.plan_id, "steps": steps,
        "refusals": plan.refusals.iter().map(|refusal| json!({
            "code": refusal.code, "category": refusal.category, "store": refusal.store,
        })).collect::<Vec<_>>(),
    });
    write.append("plan-refused", fields, now).await?;
    write.commit().await
}

/// A refused plan with the steps that wait for approval.
pub(super) async fn refused(ledger: &SqlLedger, id: &PlanId) -> Result<RefusedPlan, LedgerError> {
    let mut read = ledger.read("read a refused plan").await?;
    let row = refused_row(&mut read, id).await?;
    Ok(RefusedPlan {
        plan: from_json(get(&row, "body")?, "plan")?,
        steps: from_json(get(&row, "steps")?, "steps")?,
        refused_at: get_instant(&row, "refused_at")?,
    })
}

/// Records the approval.
pub(super) async fn approve(ledger: &SqlLedger, id: &PlanId, now: DateTime<Utc>) -> Result<(), LedgerError> {
    let mut write = ledger.write("approve a plan").await?;
    require_place(ledger, &mut write).await?;
    refused_row(write.connection(), id).await?;
    query("UPDATE refused_plan SET approved_at = ? WHERE plan_id = ?")
        .bind(micros(now))
        .bind(id.as_str())
        .execute(write.connection())
        .await
        .during("approve a plan")?;
    write.append("plan-approved", json!({"plan_id": id}), now).await?;
    write.commit().await
}

/// Turns the stop on. One that is on stays as it is: since when and why it came first.
pub(super) async fn stop(ledger: &SqlLedger, reason: &str, now: DateTime<Utc>) -> Result<(), LedgerError> {
    let mut write = ledger.write("stop").await?;
    if stopped(write.connection()).await?.is_some() {
        return Ok(());
    }
    query("INSERT INTO stop (stopped_at, reason) VALUES (?, ?)")
        .bind(micros(now))
        .bind(reason)
        .execute(write.connection())
        .await
        .during("stop")?;
    write.append("stop", json!({"reason_sha256": words(reason)}), now).await?;
    write.commit().await
}

/// Turns the stop off; false where none was on.
pub(super) async fn go(ledger: &SqlLedger, now: DateTime<Utc>) -> Result<bool, LedgerError> {
    let mut write = ledger.write("go").await?;
    let lifted = query("UPDATE stop SET lifted_at = ? WHERE lifted_at IS NULL")
        .bind(micros(now))
        .execute(write.connection())
        .await
        .during("go")?;
    if lifted.rows_affected() == 0 {
        return Ok(false);
    }
    write.append("go", json!({}), now).await?;
    write.commit().await?;
    Ok(true)
}

/// The stop that is on, for a reader.
pub(super) async fn stop_on(ledger: &SqlLedger) -> Result<Option<Stop>, LedgerError> {
    stopped(&mut ledger.look().await?).await
}

/// The stop that is on.
pub(super) async fn stopped(connection: &mut Session) -> Result<Option<Stop>, LedgerError> {
    let row = query("SELECT stopped_at, reason FROM stop WHERE lifted_at IS NULL ORDER BY number LIMIT 1")
        .fetch_optional(connection)
        .await
        .during("read the stop")?;
    row.as_ref()
        .map(|row| Ok(Stop { stopped_at: get_instant(row, "stopped_at")?, reason: get(row, "reason")? }))
        .transpose()
}

/// Marks runs that nobody carries on as interrupted. Their keys stay while a batch of theirs has no outcome.
async fn interrupt_others(write: &mut Writing<'_>, now: DateTime<Utc>) -> Result<(), LedgerError> {
    let rows = query("SELECT run_id FROM run WHERE status = 'running'")
        .fetch_all(write.connection())
        .await
        .during("begin a run")?;
    for row in rows {
        let id: String = get(&row, "run_id")?;
        query("UPDATE run SET status = 'interrupted' WHERE run_id = ?")
            .bind(&id)
            .execute(write.connection())
            .await
            .during("begin a run")?;
        write.append("run-ended", json!({"run_id": id, "status": "interrupted"}), now).await?;
        close_if_settled(write, &id).await?;
    }
    Ok(())
}

/// Destroys the key of a run that has ended once none of its batches lacks an outcome.
pub(super) async fn close_if_settled(write: &mut Writing<'_>, run: &str) -> Result<(), LedgerError> {
    let waiting = query(
        "SELECT 1 FROM intent WHERE run_id = ? AND ended_at IS NULL
         UNION SELECT 1 FROM run WHERE run_id = ? AND status = 'running'",
    )
    .bind(run)
    .bind(run)
    .exists(write.connection())
    .await
    .during("end a run")?;
    if waiting { Ok(()) } else { write.destroy_key(run).await }
}

/// Keeps a plan, once, with its entry.
async fn keep_plan(write: &mut Writing<'_>, plan: &Plan, now: DateTime<Utc>) -> Result<(), LedgerError> {
    let before = query("SELECT 1 FROM plan WHERE plan_id = ?").bind(plan.plan_id.as_str());
    if before.exists(write.connection()).await.during("keep a plan")? {
        return Ok(());
    }
    query("INSERT INTO plan (plan_id, body) VALUES (?, ?)")
        .bind(plan.plan_id.as_str())
        .bind(to_json(plan)?)
        .execute(write.connection())
        .await
        .during("keep a plan")?;
    let steps: Vec<Value> = plan
        .steps
        .iter()
        .map(|step| {
            json!({
                "step_id": step.step_id, "placement": step.placement, "tenant": step.tenant,
                "reason": step.reason.word(), "records": step.records,
            })
        })
        .collect();
    let fields = json!({
        "plan_id": plan.plan_id, "plan_at": at(plan.at), "policy_digest": plan.policy_digest,
        "totals": plan.totals, "steps": steps,
    });
    write.append("plan-made", fields, now).await
}

async fn refused_row(connection: &mut Session, id: &PlanId) -> Result<Row, LedgerError> {
    let row = query("SELECT * FROM refused_plan WHERE plan_id = ?")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .during("read a refused plan")?
        .ok_or_else(|| LedgerError::Unknown { what: "plan", id: id.as_str().to_owned() })?;
    if get_instant_if_any(&row, "approved_at")?.is_some() {
        return Err(LedgerError::State(format!("plan `{id}` was approved already")));
    }
    Ok(row)
}

async fn exists(connection: &mut Session, id: &RunId) -> Result<bool, LedgerError> {
    query("SELECT 1 FROM run WHERE run_id = ?")
        .bind(id.as_str())
        .exists(connection)
        .await
        .during("read a run")
}

/// The row of a run.
pub(in crate::ledger) fn row_of(row: &Row) -> Result<RunRow, LedgerError> {
    Ok(RunRow {
        run_id: RunId::new(get::<String>(row, "run_id")?),
        plan_id: PlanId::new(get::<String>(row, "plan_id")?),
        at: get_instant(row, "at")?,
        status: get(row, "status")?,
        started_at: get_instant(row, "started_at")?,
        ended_at: get_instant_if_any(row, "ended_at")?,
    })
}
