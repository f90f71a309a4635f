//! Batches: the permit before a store is touched, the intent, and who waits until they are over.
//! It owns the intent table and the barrier between holds and batches; it does not touch a store.
//!
//! How a hold knows that nothing erases against it:
//!
//! 1. A batch takes a shared lock first. 2. Only then, in one writing transaction, it reads generation, policy and
//!    stop, and writes its intent. 3. It keeps the lock until its guard is dropped.
//!
//! A hold is written, then waits for an exclusive lock. A batch that read before the hold was written holds the
//! lock already, so it is waited for; one that reads later sees that the generation moved. So that new batches,
//! which keep coming, cannot make a hold wait for ever, there are two lock files used in turn: who waits moves all
//! later batches over to the other file (an epoch), and waits for the first to drain.

use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;

use super::SqliteLedger;
use super::locks::Lock;
use super::runs::{close_if_settled, stopped};
use super::write::{
    During, Writing, damaged, get, meta_number, micros, read_generation, signed, to_json, unsigned,
};
use crate::id::{PlacementId, RunId, StepId};
use crate::ledger::{Intent, LedgerError, OpenIntent, Permit, Permits};
use crate::plan::CountsByTenant;

/// Lets a batch begin, or says why not. Guarded by `a_hold_waits_for_the_batch_that_runs`.
pub(super) async fn begin(
    ledger: &SqliteLedger,
    intents: &[Intent],
    now: DateTime<Utc>,
) -> Result<Permits, LedgerError> {
    loop {
        let mut read = ledger.read("begin a batch").await?;
        let epoch = meta_number(&mut read, "batch_epoch").await?;
        drop(read);
        let lock = ledger.locks.shared(Lock::Batch { epoch }).await?;
        let mut write = ledger.write("begin a batch").await?;
        if meta_number(write.connection(), "batch_epoch").await? != epoch {
            // Somebody began to wait in between and does not look at this lock.
            continue;
        }
        let mut numbers = Vec::new();
        for (index, intent) in intents.iter().enumerate() {
            if let Some(why) = objection(write.connection(), intent).await? {
                // Nothing is committed, so none of them begins.
                return Ok(Permits::Refused { index, why });
            }
            numbers.push(unsigned(record(ledger, &mut write, intent, now).await?, "number")?);
        }
        write.commit().await?;
        return Ok(Permits::Granted { numbers, lock: Box::new(lock) });
    }
}

/// Why a batch of a step may not begin.
async fn objection(
    connection: &mut SqliteConnection,
    intent: &Intent,
) -> Result<Option<Permit>, LedgerError> {
    if let Some(stop) = stopped(connection).await? {
        return Ok(Some(Permit::Stopped(stop)));
    }
    if generation_of(connection, intent).await? != intent.generation {
        return Ok(Some(Permit::Moved));
    }
    Ok((!policy_stands(connection, intent).await?).then_some(Permit::PolicyMoved))
}

/// Records what came of a batch, for each step that it served; its sealed keys go.
pub(super) async fn finish(
    ledger: &SqliteLedger,
    outcomes: &[(u64, CountsByTenant)],
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let mut write = ledger.write("finish a batch").await?;
    for (number, counts) in outcomes {
        finish_one(&mut write, *number, counts, now).await?;
    }
    write.commit().await
}

async fn finish_one(
    write: &mut Writing<'_>,
    number: u64,
    counts: &CountsByTenant,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let unknown = || LedgerError::Unknown { what: "batch", id: number.to_string() };
    let row = sqlx::query("SELECT run_id, ended_at FROM intent WHERE number = ?")
        .bind(signed(number)?)
        .fetch_optional(write.connection())
        .await
        .during("finish a batch")?
        .ok_or_else(unknown)?;
    if get::<Option<i64>>(&row, "ended_at")?.is_some() {
        return Err(LedgerError::State(format!("batch {number} has an outcome already")));
    }
    sqlx::query("UPDATE intent SET ended_at = ?, counts = ?, sealed = NULL WHERE number = ?")
        .bind(micros(now))
        .bind(to_json(counts)?)
        .bind(signed(number)?)
        .execute(write.connection())
        .await
        .during("finish a batch")?;
    close_if_settled(write, get(&row, "run_id")?).await
}

/// Intents that no outcome followed and that can still be read.
pub(super) async fn open(ledger: &SqliteLedger) -> Result<Vec<OpenIntent>, LedgerError> {
    let rows = sqlx::query(
        "SELECT intent.*, row_key.wrapped FROM intent JOIN row_key ON row_key.owner = intent.run_id
         WHERE intent.ended_at IS NULL ORDER BY intent.number",
    )
    .fetch_all(&ledger.readers)
    .await
    .during("read open batches")?;
    rows.iter()
        .map(|row| {
            let run: String = get(row, "run_id")?;
            let number: i64 = get(row, "number")?;
            let sealed = get::<Option<&[u8]>>(row, "sealed")?.ok_or_else(|| damaged("sealed"))?;
            let key = ledger.seal.row_key(&run, get(row, "wrapped")?)?;
            Ok(OpenIntent {
                number: unsigned(number, "number")?,
                batch: key.open(&place_of(number), sealed)?.to_string(),
                run_id: RunId::new(run),
                step_id: StepId::new(get::<String>(row, "step_id")?),
                placement: PlacementId::new(get::<String>(row, "placement")?),
            })
        })
        .collect()
}

/// Waits for the batches that run. Guarded by `a_hold_is_not_starved_by_batches_that_keep_coming`.
pub(super) async fn wait(ledger: &SqliteLedger) -> Result<(), LedgerError> {
    // One at a time: the file that this turn drains must not be in use again before it is drained.
    let _turn = ledger.locks.exclusive(Lock::Wait).await?;
    let mut read = ledger.read("wait for batches").await?;
    let epoch = meta_number(&mut read, "batch_epoch").await?;
    drop(read);
    // An earlier turn that was cut short may have left the other file undrained, and it is in use again next.
    drop(ledger.locks.exclusive(Lock::Batch { epoch: epoch - 1 }).await?);
    let mut write = ledger.write("wait for batches").await?;
    let next = epoch.checked_add(1).ok_or_else(|| damaged("batch_epoch"))?;
    sqlx::query("UPDATE meta SET value = ? WHERE name = 'batch_epoch'")
        .bind(next.to_string())
        .execute(write.connection())
        .await
        .during("wait for batches")?;
    write.commit().await?;
    drop(ledger.locks.exclusive(Lock::Batch { epoch }).await?);
    Ok(())
}

async fn record(
    ledger: &SqliteLedger,
    write: &mut Writing<'_>,
    intent: &Intent,
    now: DateTime<Utc>,
) -> Result<i64, LedgerError> {
    let run = intent.run_id.as_str();
    let stored: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT wrapped FROM row_key JOIN run ON run.run_id = row_key.owner
         WHERE owner = ? AND status = 'running'",
    )
    .bind(run)
    .fetch_optional(write.connection())
    .await
    .during("begin a batch")?;
    let stored = stored.ok_or_else(|| LedgerError::State(format!("run `{run}` is not running")))?;
    let number: i64 = sqlx::query_scalar("SELECT coalesce(max(number), 0) + 1 FROM intent")
        .fetch_one(write.connection())
        .await
        .during("begin a batch")?;
    let sealed = ledger.seal.row_key(run, &stored)?.seal(&place_of(number), &intent.batch)?;
    sqlx::query(
        "INSERT INTO intent (number, run_id, step_id, placement, begun_at, sealed) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(number)
    .bind(run)
    .bind(intent.step_id.as_str())
    .bind(intent.placement.as_str())
    .bind(micros(now))
    .bind(sealed)
    .execute(write.connection())
    .await
    .during("begin a batch")?;
    Ok(number)
}

async fn generation_of(connection: &mut SqliteConnection, intent: &Intent) -> Result<u64, LedgerError> {
    let generation = match &intent.tenant {
        None => read_generation(connection).await?,
        Some(tenant) => {
            let own: Option<i64> =
                sqlx::query_scalar("SELECT generation FROM tenant_generation WHERE tenant = ?")
                    .bind(tenant.as_str())
                    .fetch_optional(connection)
                    .await
                    .during("begin a batch")?;
            own.unwrap_or(0)
        }
    };
    unsigned(generation, "generation")
}

/// True where the policy in force is the step's; a category without one is not.
async fn policy_stands(connection: &mut SqliteConnection, intent: &Intent) -> Result<bool, LedgerError> {
    let (category, digest) = &intent.policy;
    let in_force: Option<String> = sqlx::query_scalar("SELECT digest FROM policy WHERE category = ?")
        .bind(category.as_str())
        .fetch_optional(connection)
        .await
        .during("begin a batch")?;
    Ok(in_force.as_ref() == Some(digest))
}

fn place_of(number: i64) -> String {
    format!("batch-{number}")
}
