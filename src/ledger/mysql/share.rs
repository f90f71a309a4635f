//! Steps of one run among several processes: who is at which, and what was handed in.
//! It owns the table `step_claim` and which run takes help; what a lease is, is `leases`'s.

use std::sync::Arc;

use super::Server;
use super::leases::{PAUSE, Turn};
use crate::id::{RunId, StepId};
use crate::ledger::sql::SqlLedger;
use crate::ledger::sql::runs::row_of;
use crate::ledger::sql::statement::query;
use crate::ledger::sql::write::{During, get, get_json, to_json};
use crate::ledger::{Claimed, LedgerError, Part};

/// The run that takes help and is led by somebody living.
const LED: &str = "SELECT run.* FROM run
    JOIN lease ON lease.name = 'run' AND lease.fence = run.fence
    JOIN executor ON executor.executor = lease.executor
    WHERE run.status = 'running' AND executor.expires_at > CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)";

/// Who is at a step, whether that one lives or may still be in the middle of something, and whether the step was handed in.
const CLAIM: &str = "SELECT step_claim.executor, step_claim.handed_in IS NOT NULL AS is_over,
        executor.executor IS NOT NULL AS is_alive
    FROM step_claim LEFT JOIN executor ON executor.executor = step_claim.executor
        AND executor.expires_at + ? > CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)
    WHERE step_claim.run_id = ? AND step_claim.step_id = ?";

/// Claims of runs that are long over; those of the last ten are there for whoever wonders who did what.
const FORGET: &str = "DELETE FROM step_claim WHERE run_id IN (
    SELECT run_id FROM run WHERE status <> 'running' AND number + 10 < (
        SELECT number FROM (SELECT number FROM run WHERE run_id = ?) AS this))";

impl Server {
    /// Waits for the place of the run, or helps whoever has it.
    pub(in crate::ledger) async fn claim_part(&self, ledger: &SqlLedger) -> Result<Part, LedgerError> {
        let turn = self.leases.turn().await;
        loop {
            if let Some(part) = self.enter(ledger, &turn).await? {
                return Ok(part);
            }
            if let Some(place) = self.try_to_lead(ledger, "claim the place of the run", &turn).await? {
                // Whoever had it before has lost it, and may still be in the middle of a batch.
                self.wait_for_batches().await?;
                return Ok(Part::Lead(place));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Helps whoever runs, if that run takes help and no other task of this process runs, helps or waits to. Guarded by
    /// `two_tasks_of_one_process_never_share_a_lease`.
    pub(in crate::ledger) async fn join(&self, ledger: &SqlLedger) -> Result<Option<Part>, LedgerError> {
        match self.leases.turn_if_free() {
            Some(turn) => self.enter(ledger, &turn).await,
            None => Ok(None),
        }
    }

    async fn enter(&self, ledger: &SqlLedger, turn: &Turn) -> Result<Option<Part>, LedgerError> {
        let operation = "join a run";
        if !query(LED).exists(&mut self.look().await?).await.during(operation)? {
            return Ok(None);
        }
        let mut write = ledger.write(operation).await?;
        let Some(row) = query(LED).fetch_optional(write.connection()).await.during(operation)? else {
            return Ok(None);
        };
        let executor = self.enter_run(&mut write, get(&row, "fence")?, operation).await?;
        write.commit().await?;
        let shared = get_json(&row, "shared")?;
        Ok(Some(Part::Help { run: row_of(&row)?, shared, place: self.hold(executor, Arc::clone(turn)) }))
    }

    /// The run takes help from now on.
    pub(in crate::ledger) async fn share_run(
        &self,
        ledger: &SqlLedger,
        run: &RunId,
        steps: &[StepId],
    ) -> Result<bool, LedgerError> {
        let operation = "share a run";
        let Some(fence) = self.of_run().and_then(|executor| executor.run_fence) else { return Ok(false) };
        let mut write = ledger.write(operation).await?;
        query("UPDATE run SET fence = ?, shared = ? WHERE run_id = ?")
            .bind(fence)
            .bind(to_json(&steps)?)
            .bind(run.as_str())
            .execute(write.connection())
            .await
            .during(operation)?;
        query(FORGET).bind(run.as_str()).execute(write.connection()).await.during(operation)?;
        write.commit().await?;
        Ok(true)
    }

    /// True while the run goes on, and whoever leads it lives.
    pub(in crate::ledger) async fn is_led(&self, run: &RunId) -> Result<bool, LedgerError> {
        let row = query(LED).fetch_optional(&mut self.look().await?).await.during("look at a run")?;
        row.map_or(Ok(false), |row| Ok(get::<&str>(&row, "run_id")? == run.as_str()))
    }

    /// Claims those of the steps that nobody living is at and nobody has handed in.
    pub(in crate::ledger) async fn claim_steps(
        &self,
        ledger: &SqlLedger,
        run: &RunId,
        steps: &[StepId],
    ) -> Result<Option<Vec<Claimed>>, LedgerError> {
        let operation = "claim steps";
        let Some(executor) = self.of_run() else { return Ok(None) };
        let mut write = ledger.write(operation).await?;
        if !executor.is_valid(&mut write).await? {
            return Ok(None);
        }
        let mut claimed = Vec::new();
        for step in steps {
            let echo = self.leases.echo();
            let before = query(CLAIM).bind(echo).bind(run.as_str()).bind(step.as_str());
            let before = before.fetch_optional(write.connection()).await.during(operation)?;
            let is_inherited = before.is_some();
            if let Some(before) = &before
                && (get(before, "is_over")? || get(before, "is_alive")?)
            {
                continue;
            }
            query("REPLACE INTO step_claim (run_id, step_id, executor, fence) VALUES (?, ?, ?, ?)")
                .bind(run.as_str())
                .bind(step.as_str())
                .bind(&executor.id)
                .bind(executor.fence)
                .execute(write.connection())
                .await
                .during(operation)?;
            claimed.push(Claimed { step_id: step.clone(), is_inherited });
        }
        if !claimed.is_empty() {
            write.commit().await?;
        }
        Ok(Some(claimed))
    }

    /// What came of claimed steps is told to who leads the run: all of it or nothing.
    pub(in crate::ledger) async fn hand_in(
        &self,
        ledger: &SqlLedger,
        run: &RunId,
        steps: &[StepId],
        text: &str,
    ) -> Result<bool, LedgerError> {
        let operation = "hand in steps";
        let Some(executor) = self.of_run() else { return Ok(false) };
        let mut write = ledger.write(operation).await?;
        if !executor.is_valid(&mut write).await? {
            return Ok(false);
        }
        for (place, step) in steps.iter().enumerate() {
            let done = query(
                "UPDATE step_claim SET handed_in = ?
                 WHERE run_id = ? AND step_id = ? AND executor = ? AND handed_in IS NULL",
            );
            let done = done
                .bind(if place == 0 { text } else { "" })
                .bind(run.as_str())
                .bind(step.as_str())
                .bind(&executor.id)
                .execute(write.connection())
                .await
                .during(operation)?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
        }
        write.commit().await?;
        Ok(true)
    }

    /// What was handed in, once that is more than so many steps.
    pub(in crate::ledger) async fn handed_in(
        &self,
        run: &RunId,
        known: u64,
    ) -> Result<Vec<(StepId, String)>, LedgerError> {
        let operation = "read what was handed in";
        let mut look = self.look().await?;
        let count = query("SELECT count(*) FROM step_claim WHERE run_id = ? AND handed_in IS NOT NULL");
        let count = count.bind(run.as_str()).number(&mut look).await.during(operation)?;
        if u64::try_from(count).unwrap_or(0) <= known {
            return Ok(Vec::new());
        }
        let rows = query(
            "SELECT step_id, handed_in FROM step_claim WHERE run_id = ? AND handed_in IS NOT NULL ORDER BY step_id",
        );
        rows.bind(run.as_str())
            .fetch_all(&mut look)
            .await
            .during(operation)?
            .iter()
            .map(|row| Ok((StepId::new(get::<String>(row, "step_id")?), get(row, "handed_in")?)))
            .collect()
    }
}
