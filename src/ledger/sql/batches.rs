//! Batches: the permit before a store is touched, the intent, and who waits until they are over.
//! It owns the intent table and the barrier between holds and batches; it does not touch a store.
//!
//! How a hold knows that nothing erases against it:
//!
//! 1. A batch makes itself seen first (`places`: a lock, or a lease). 2. Only then, in one writing transaction, it reads
//!    generation, policy and stop, and writes its intent. 3. It is seen until its guard is dropped.
//!
//! A hold is written, then waits for what is seen. A batch that read before the hold was written is seen already, so it
//! is waited for; one that reads later sees that the generation moved.

use chrono::{DateTime, Utc};

use super::SqlLedger;
use super::places::{self, Entry};
use super::runs::{close_if_settled, stopped};
use super::statement::{Session, query};
use super::write::{During, Writing, damaged, get, micros, read_generation, signed, to_json, unsigned};
use crate::id::{PlacementId, RunId, StepId};
use crate::ledger::{Intent, LedgerError, OpenIntent, Permit, Permits};
use crate::plan::CountsByTenant;

/// Lets a batch begin, or says why not. Guarded by `a_hold_waits_for_the_batch_that_runs`.
pub(super) async fn begin(
    ledger: &SqlLedger,
    intents: &[Intent],
    now: DateTime<Utc>,
) -> Result<Permits, LedgerError> {
    loop {
        let entry = places::enter(ledger).await?;
        let mut write = ledger.write("begin a batch").await?;
        match entry.still_counts(&mut write).await? {
            places::Counts::Yes => {}
            places::Counts::EnterAgain => continue,
            places::Counts::Lost => return Ok(Permits::Refused { index: 0, why: Permit::Lost }),
        }
        let mut numbers = Vec::new();
        for (index, intent) in intents.iter().enumerate() {
            if let Some(why) = objection(write.connection(), intent).await? {
                // Nothing is committed, so none of them begins.
                return Ok(Permits::Refused { index, why });
            }
            numbers.push(unsigned(record(ledger, &mut write, intent, &entry, now).await?, "number")?);
        }
        write.commit().await?;
        let (lock, lease) = entry.granted(ledger, &numbers);
        return Ok(Permits::Granted { numbers, lock, lease });
    }
}

/// Why a batch of a step may not begin.
async fn objection(connection: &mut Session, intent: &Intent) -> Result<Option<Permit>, LedgerError> {
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
    ledger: &SqlLedger,
    outcomes: &[(u64, CountsByTenant)],
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let mut write = ledger.write("finish a batch").await?;
    for (number, counts) in outcomes {
        finish_one(&mut write, *number, counts, now).await?;
    }
    write.commit().await?;
    places::finished(ledger, outcomes.iter().map(|(number, _)| *number));
    Ok(())
}

async fn finish_one(
    write: &mut Writing<'_>,
    number: u64,
    counts: &CountsByTenant,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let unknown = || LedgerError::Unknown { what: "batch", id: number.to_string() };
    let row = query("SELECT run_id, ended_at FROM intent WHERE number = ?")
        .bind(signed(number)?)
        .fetch_optional(write.connection())
        .await
        .during("finish a batch")?
        .ok_or_else(unknown)?;
    if get::<Option<i64>>(&row, "ended_at")?.is_some() {
        return Err(LedgerError::State(format!("batch {number} has an outcome already")));
    }
    query("UPDATE intent SET ended_at = ?, counts = ?, sealed = NULL WHERE number = ?")
        .bind(micros(now))
        .bind(to_json(counts)?)
        .bind(signed(number)?)
        .execute(write.connection())
        .await
        .during("finish a batch")?;
    close_if_settled(write, get(&row, "run_id")?).await
}

/// Intents that no outcome followed and that can still be read.
pub(super) async fn open(ledger: &SqlLedger) -> Result<Vec<OpenIntent>, LedgerError> {
    let rows = places::open_intents(ledger)
        .fetch_all(&mut ledger.look().await?)
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

async fn record(
    ledger: &SqlLedger,
    write: &mut Writing<'_>,
    intent: &Intent,
    entry: &Entry,
    now: DateTime<Utc>,
) -> Result<i64, LedgerError> {
    let run = intent.run_id.as_str();
    let stored = query(
        "SELECT wrapped FROM row_key JOIN run ON run.run_id = row_key.owner
         WHERE owner = ? AND status = 'running'",
    )
    .bind(run)
    .fetch_optional(write.connection())
    .await
    .during("begin a batch")?;
    let stored = stored.ok_or_else(|| LedgerError::State(format!("run `{run}` is not running")))?;
    let stored: Vec<u8> = get(&stored, "wrapped")?;
    let number = query("SELECT coalesce(max(number), 0) + 1 FROM intent")
        .number(write.connection())
        .await
        .during("begin a batch")?;
    let sealed = ledger.seal.row_key(run, &stored)?.seal(&place_of(number), &intent.batch)?;
    query(
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
    entry.sign(write, number).await?;
    Ok(number)
}

async fn generation_of(connection: &mut Session, intent: &Intent) -> Result<u64, LedgerError> {
    let generation = match &intent.tenant {
        None => read_generation(connection).await?,
        Some(tenant) => {
            let own = query("SELECT generation FROM tenant_generation WHERE tenant = ?")
                .bind(tenant.as_str())
                .number_if_any(connection)
                .await
                .during("begin a batch")?;
            own.unwrap_or(0)
        }
    };
    unsigned(generation, "generation")
}

/// True where the policy in force is the step's; a category without one is not.
async fn policy_stands(connection: &mut Session, intent: &Intent) -> Result<bool, LedgerError> {
    let (category, digest) = &intent.policy;
    let in_force = query("SELECT digest FROM policy WHERE category = ?")
        .bind(category.as_str())
        .text_if_any(connection)
        .await
        .during("begin a batch")?;
    Ok(in_force.as_ref() == Some(digest))
}

fn place_of(number: i64) -> String {
    format!("batch-{number}")
}
