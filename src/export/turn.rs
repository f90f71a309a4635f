//! Whose turn it is to carry an export out, so that of several processes one does. It owns the lease; what is carried out is
//! [`super::run`]'s.

use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::gather::Trouble;
use crate::ledger::{ExportRow, ExportState, Ledger};

/// Who carries an export out says so this often.
const BEAT: TimeDelta = TimeDelta::minutes(1);

/// Who has not said so for this long is taken for dead, and another one carries it out. Ten beats, so that a slow disk is
/// not taken for a dead process.
const LEASE: TimeDelta = TimeDelta::minutes(10);

/// How often it is looked whether a beat is due.
const LOOK: Duration = Duration::from_secs(1);

/// Takes the turn to carry an export out. `None` where somebody else has it, or it is settled.
///
/// # Errors
/// Where the ledger cannot be reached.
pub async fn take_turn<'l>(
    ledger: &'l dyn Ledger,
    row: &ExportRow,
    now: DateTime<Utc>,
) -> Result<Option<Turn<'l>>, Trouble> {
    match row.state {
        ExportState::Asked | ExportState::Running | ExportState::Failed => {}
        ExportState::Finished | ExportState::Cancelled => return Ok(None),
    }
    let name = format!("export/{}", row.export_id);
    let last = ledger.last_tick(&name).await?;
    let is_free = last.is_none_or(|last| last + LEASE <= now);
    if !is_free || !ledger.swap_tick(&name, last, now, now).await? {
        return Ok(None);
    }
    Ok(Some(Turn { ledger, name, last: now }))
}

/// The right to carry an export out, until it is released or somebody else takes it.
pub struct Turn<'l> {
    ledger: &'l dyn Ledger,
    name: String,
    last: DateTime<Utc>,
}

impl Turn<'_> {
    /// Keeps the turn, or fails where somebody else has taken it.
    pub(super) async fn keep(&mut self, now: DateTime<Utc>) -> Result<(), Trouble> {
        if !self.ledger.swap_tick(&self.name, Some(self.last), now, now).await? {
            return Err(lost());
        }
        self.last = now;
        Ok(())
    }

    /// Keeps the turn while something is done, however long that is silent. Breaks it off where the turn is lost.
    pub(super) async fn during<T>(
        &mut self,
        clock: Clock,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let over = Notify::new();
        let mut beats = pin!(self.beats(clock, &over));
        let done = tokio::select! {
            done = work => done,
            kept = &mut beats => return Err(kept.err().unwrap_or_else(lost)),
        };
        // A beat that is on its way is waited for: what the ledger knows is known here too.
        over.notify_one();
        beats.await?;
        done
    }

    async fn beats(&mut self, clock: Clock, over: &Notify) -> Result<(), Trouble> {
        loop {
            tokio::select! {
                () = over.notified() => return Ok(()),
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = clock.now();
            if now >= self.last + BEAT {
                self.keep(now).await?;
            }
        }
    }

    /// Another one may take the turn at once.
    pub(super) async fn release(self, now: DateTime<Utc>) -> Result<(), Trouble> {
        self.ledger.swap_tick(&self.name, Some(self.last), now - LEASE, now).await?;
        Ok(())
    }
}

fn lost() -> Trouble {
    Trouble::Unreachable("failed to export: another process has taken it over".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Steps;
    use crate::id::TenantId;
    use crate::ledger::NewExport;

    #[tokio::test]
    async fn the_turn_is_kept_while_nothing_is_heard_of_the_work_and_released_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = crate::config::LedgerPlace::Sqlite { path: folder.path().join("ledger.db") };
        let config = crate::config::LedgerConfig { place, key_file: folder.path().join("key") };
        let ledger = crate::ledger::open(&config).await.expect("a ledger");
        let ledger = &*ledger;
        let start = DateTime::from_timestamp(1_700_000_000, 0).expect("an instant");
        let new = NewExport {
            tenant: TenantId::parse("t-1").expect("a tenant"),
            categories: Vec::new(),
            target: "taken".to_owned(),
            between: None,
        };
        let row = ledger.ask_export(&new, start).await.expect("a row");
        let steps = Steps::new(start);
        let mut turn = take_turn(ledger, &row, start).await.expect("an answer").expect("the turn");
        let name = turn.name.clone();
        let silent = async {
            // As the count of a large placement, or the bytes of a large object that is read back.
            for at in [start + BEAT, start + BEAT * 2] {
                steps.set(at);
                while ledger.last_tick(&name).await? != Some(at) {
                    tokio::task::yield_now().await;
                }
            }
            Ok(())
        };
        turn.during(Clock::Stepped(steps), silent).await.expect("it is kept");
        let late = start + BEAT + LEASE;
        assert!(take_turn(ledger, &row, late).await.expect("an answer").is_none());
        let failed = ExportRow { state: ExportState::Failed, ..row };
        assert!(take_turn(ledger, &failed, late).await.expect("an answer").is_none(), "a row is no word");
        turn.release(late).await.expect("it is released");
        let mut turn = take_turn(ledger, &failed, late).await.expect("an answer").expect("the turn");

        // Somebody else takes it: the work is broken off.
        ledger.swap_tick(&name, Some(late), late + BEAT, late).await.expect("an answer");
        steps.set(late + BEAT);
        let never = std::future::pending::<Result<(), Trouble>>();
        assert!(turn.during(Clock::Stepped(steps), never).await.is_err());
    }
}
