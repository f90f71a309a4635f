//! What one process at a time may do, and how others see that a batch of a process still runs: by locks of the operating
//! system on an embedded ledger, by leases on a server. It owns the two ways side by side; see `sqlite::locks` and
//! `mysql::leases` for how each is held.
//!
//! On an embedded ledger a batch shares a lock, and who waits asks for it alone. So that new batches, which keep coming,
//! cannot make a hold wait for ever, there are two lock files used in turn: who waits moves all later batches over to
//! the other file (an epoch), and waits for the first to drain. On a server, intents are numbered, and who waits looks
//! at those up to the last number only.

use std::any::Any;
use std::sync::Arc;

use super::statement::{Query, query};
use super::write::{During, Writing, damaged, meta_number};
use super::{Engine, SqlLedger};
use crate::id::{RunId, StepId};
use crate::ledger::mysql::Executor;
use crate::ledger::sqlite::{Held, Lock};
use crate::ledger::{Claimed, Lease, LedgerError, Part};

/// A batch that is seen by who waits, before it knows whether it may begin.
pub(super) enum Entry {
    /// By a lock of this epoch.
    Locked { epoch: i64, held: Held },
    /// By the lease of this executor.
    Leased(Arc<Executor>),
}

/// Whether who waits still sees it.
pub(super) enum Counts {
    Yes,
    /// Somebody began to wait in between and does not look there.
    EnterAgain,
    /// Its lease is lost.
    Lost,
}

/// Waits for the place of the run.
pub(super) async fn claim_run(ledger: &SqlLedger) -> Result<Box<dyn Any + Send>, LedgerError> {
    let operation = "claim the place of the run";
    match &ledger.engine {
        Engine::Sqlite(files) => files.claim(Lock::Run, operation).await,
        Engine::Mysql(server) => {
            let place = server.claim_run(ledger, operation).await?;
            // Whoever had it before has lost it, and may still be in the middle of a batch.
            server.wait_for_batches().await?;
            Ok(place)
        }
    }
}

/// Waits for the place of the run, or helps whoever has it.
pub(super) async fn claim_part(ledger: &SqlLedger) -> Result<Part, LedgerError> {
    match &ledger.engine {
        Engine::Sqlite(_) => Ok(Part::Lead(claim_run(ledger).await?)),
        Engine::Mysql(server) => server.claim_part(ledger).await,
    }
}

/// Helps whoever runs, if there is somebody.
pub(super) async fn join(ledger: &SqlLedger) -> Result<Option<Part>, LedgerError> {
    match &ledger.engine {
        Engine::Sqlite(_) => Ok(None),
        Engine::Mysql(server) => server.join(ledger).await,
    }
}

/// The run takes help from now on.
pub(super) async fn share_run(
    ledger: &SqlLedger,
    run: &RunId,
    steps: &[StepId],
) -> Result<bool, LedgerError> {
    match &ledger.engine {
        Engine::Sqlite(_) => Ok(false),
        Engine::Mysql(server) => server.share_run(ledger, run, steps).await,
    }
}

/// True while the run goes on, and whoever leads it lives.
pub(super) async fn is_led(ledger: &SqlLedger, run: &RunId) -> Result<bool, LedgerError> {
    match &ledger.engine {
        Engine::Sqlite(_) => Ok(false),
        Engine::Mysql(server) => server.is_led(run).await,
    }
}

/// Claims those of the steps that nobody is at.
pub(super) async fn claim_steps(
    ledger: &SqlLedger,
    run: &RunId,
    steps: &[StepId],
) -> Result<Option<Vec<Claimed>>, LedgerError> {
    match &ledger.engine {
        Engine::Sqlite(_) => {
            let claimed = |step: &StepId| Claimed { step_id: step.clone(), is_inherited: false };
            Ok(Some(steps.iter().map(claimed).collect()))
        }
        Engine::Mysql(server) => server.claim_steps(ledger, run, steps).await,
    }
}

/// What came of claimed steps is told to who leads the run.
pub(super) async fn hand_in(
    ledger: &SqlLedger,
    run: &RunId,
    steps: &[StepId],
    text: &str,
) -> Result<bool, LedgerError> {
    match &ledger.engine {
        Engine::Sqlite(_) => Ok(true),
        Engine::Mysql(server) => server.hand_in(ledger, run, steps, text).await,
    }
}

/// What was handed in.
pub(super) async fn handed_in(
    ledger: &SqlLedger,
    run: &RunId,
    known: u64,
) -> Result<Vec<(StepId, String)>, LedgerError> {
    match &ledger.engine {
        Engine::Sqlite(_) => Ok(Vec::new()),
        Engine::Mysql(server) => server.handed_in(run, known).await,
    }
}

/// True unless others may have taken the place of the run.
pub(super) async fn keeps_place(ledger: &SqlLedger) -> Result<bool, LedgerError> {
    match &ledger.engine {
        Engine::Sqlite(_) => Ok(true),
        Engine::Mysql(server) => server.keeps_place(ledger).await,
    }
}

/// Asked in the transaction that records something for a run: refused where others may have taken it over. Guarded by
/// `who_lost_the_place_of_the_run_records_nothing_for_it`.
pub(super) async fn require_place(ledger: &SqlLedger, write: &mut Writing<'_>) -> Result<(), LedgerError> {
    let Engine::Mysql(server) = &ledger.engine else { return Ok(()) };
    let Some(executor) = server.of_run() else { return Ok(()) };
    if executor.is_valid(write).await? {
        return Ok(());
    }
    Err(LedgerError::Unreachable {
        operation: "keep the place of the run",
        message: "this process was out of reach for longer than its lease, and others may carry on"
            .to_owned(),
    })
}

/// Waits until what was dropped is free for others.
pub(super) async fn give_back(ledger: &SqlLedger) -> Result<(), LedgerError> {
    match &ledger.engine {
        Engine::Sqlite(_) => {}
        Engine::Mysql(server) => server.give_back().await,
    }
    Ok(())
}

/// Waits for the right to write the audit log.
pub(super) async fn claim_audit(ledger: &SqlLedger) -> Result<Box<dyn Any + Send>, LedgerError> {
    let operation = "claim the audit log";
    match &ledger.engine {
        Engine::Sqlite(files) => files.claim(Lock::Audit, operation).await,
        Engine::Mysql(server) => server.claim_audit(ledger, operation).await,
    }
}

/// Waits for the batches that run. Guarded by `a_hold_is_not_starved_by_batches_that_keep_coming`.
pub(super) async fn wait(ledger: &SqlLedger) -> Result<(), LedgerError> {
    let files = match &ledger.engine {
        Engine::Sqlite(files) => files,
        Engine::Mysql(server) => {
            server.writes("wait for batches")?;
            return server.wait_for_batches().await;
        }
    };
    // One at a time: the file that this turn drains must not be in use again before it is drained.
    let _turn = files.claim(Lock::Wait, "wait for batches").await?;
    let epoch = meta_number(&mut ledger.look().await?, "batch_epoch").await?;
    // An earlier turn that was cut short may have left the other file undrained, and it is in use again next.
    drop(files.claim(Lock::Batch { epoch: epoch - 1 }, "wait for batches").await?);
    let mut write = ledger.write("wait for batches").await?;
    let next = epoch.checked_add(1).ok_or_else(|| damaged("batch_epoch"))?;
    query("UPDATE meta SET value = ? WHERE name = 'batch_epoch'")
        .bind(next.to_string())
        .execute(write.connection())
        .await
        .during("wait for batches")?;
    write.commit().await?;
    drop(files.claim(Lock::Batch { epoch }, "wait for batches").await?);
    Ok(())
}

/// Makes a batch seen.
pub(super) async fn enter(ledger: &SqlLedger) -> Result<Entry, LedgerError> {
    match &ledger.engine {
        Engine::Sqlite(files) => {
            let epoch = meta_number(&mut ledger.look().await?, "batch_epoch").await?;
            let held = files.share(Lock::Batch { epoch }, "begin a batch").await?;
            Ok(Entry::Locked { epoch, held })
        }
        Engine::Mysql(server) => Ok(Entry::Leased(server.executor(ledger).await?)),
    }
}

/// The statement that reads intents which nobody is at.
pub(super) fn open_intents(ledger: &SqlLedger) -> Query {
    match &ledger.engine {
        Engine::Sqlite(_) => query(
            "SELECT intent.*, row_key.wrapped FROM intent JOIN row_key ON row_key.owner = intent.run_id
             WHERE intent.ended_at IS NULL ORDER BY intent.number",
        ),
        Engine::Mysql(server) => server.open_intents(),
    }
}

/// These batches have outcomes.
pub(super) fn finished(ledger: &SqlLedger, numbers: impl Iterator<Item = u64>) {
    match &ledger.engine {
        Engine::Sqlite(_) => {}
        Engine::Mysql(server) => server.finished(numbers),
    }
}

impl Entry {
    /// Asks in the transaction that lets the batch begin.
    pub(super) async fn still_counts(&self, write: &mut Writing<'_>) -> Result<Counts, LedgerError> {
        Ok(match self {
            Self::Locked { epoch, .. } if meta_number(write.connection(), "batch_epoch").await? == *epoch => {
                Counts::Yes
            }
            Self::Locked { .. } => Counts::EnterAgain,
            Self::Leased(executor) if executor.is_valid(write).await? => Counts::Yes,
            Self::Leased(_) => Counts::Lost,
        })
    }

    /// Writes down who is at the batch.
    pub(super) async fn sign(&self, write: &mut Writing<'_>, number: i64) -> Result<(), LedgerError> {
        match self {
            Self::Locked { .. } => Ok(()),
            Self::Leased(executor) => executor.sign(write, number).await,
        }
    }

    /// What whoever runs the batch holds on to, and how long it may go on.
    pub(super) fn granted(self, ledger: &SqlLedger, numbers: &[u64]) -> (Box<dyn Any + Send>, Lease) {
        match (self, &ledger.engine) {
            (Self::Leased(executor), Engine::Mysql(server)) => {
                (server.running(Arc::clone(&executor), numbers), Lease::of(move || executor.is_good()))
            }
            (Self::Leased(executor), Engine::Sqlite(_)) => {
                (Box::new(()), Lease::of(move || executor.is_good()))
            }
            (Self::Locked { held, .. }, _) => (Box::new(held), Lease::endless()),
        }
    }
}
