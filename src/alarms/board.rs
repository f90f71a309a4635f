//! What the last look found, for whoever shows it: metrics, the console. It owns the counters that a process keeps while
//! it lives; it asks nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};

use super::Watched;
use crate::gather::Trouble;
use crate::id::{Category, RunId, StoreId};
use crate::ledger::{Ledger, RunRow, StepOutcome};

/// What was erased and what failed, by where and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records erased.
    pub erased: u64,
    /// Records that are still there although they should not be.
    pub failed: u64,
}

/// Counters since the process began. They count every run that ended since, whichever process carried it out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tallies {
    /// Runs by how they ended.
    pub runs: BTreeMap<String, u64>,
    /// How long each of them took, in seconds.
    pub run_seconds: Vec<f64>,
    /// Records by category, store and method.
    pub records: BTreeMap<(Category, StoreId, String), Tally>,
    /// Reloads of the policies: accepted, refused.
    pub reloads: (u64, u64),
}

/// What came of reading the policies again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// They are in force now.
    Accepted,
    /// They are faulty: those before stay in force.
    Refused,
}

/// What is shown.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// What the last look found; `None` before the first.
    pub watched: Option<Arc<Watched>>,
    /// True where the last look could not read the ledger: the rest is older.
    pub is_ledger_lost: bool,
    /// The counters.
    pub tallies: Tallies,
}

/// Where the last look is kept for everybody in the process.
#[derive(Debug, Default)]
pub struct Board(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    shown: Snapshot,
    /// Runs that are counted, or that ended before the process began.
    seen: BTreeSet<RunId>,
    is_begun: bool,
}

impl Board {
    /// Takes in what a look found, and counts the runs that have ended since the last.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub async fn post(&self, watched: Watched, ledger: &dyn Ledger) -> Result<(), Trouble> {
        let mut news = Vec::new();
        for run in watched.known.runs.iter().filter(|run| run.ended_at.is_some()) {
            match self.sight_of(&run.run_id) {
                Sighting::Counted => {}
                // What ended before the process began is in no counter of it: a counter only ever grows.
                Sighting::Before => news.push((run.clone(), None)),
                Sighting::New => {
                    news.push((run.clone(), Some(ledger.outcomes_of_run(&run.run_id).await?)));
                }
            }
        }
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.is_begun = true;
        for (run, outcomes) in news {
            if let (true, Some(outcomes)) = (inner.seen.insert(run.run_id.clone()), outcomes) {
                count(&mut inner.shown.tallies, &run, &outcomes);
            }
        }
        inner.shown.watched = Some(Arc::new(watched));
        inner.shown.is_ledger_lost = false;
        Ok(())
    }

    /// The ledger could not be read; what was known stays.
    pub fn lost(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).shown.is_ledger_lost = true;
    }

    /// The policies were read again.
    pub fn reloaded(&self, reload: Reload) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let reloads = &mut inner.shown.tallies.reloads;
        match reload {
            Reload::Accepted => reloads.0 += 1,
            Reload::Refused => reloads.1 += 1,
        }
    }

    /// What there is to show.
    pub fn snapshot(&self) -> Snapshot {
        self.0.read().unwrap_or_else(PoisonError::into_inner).shown.clone()
    }

    fn sight_of(&self, run: &RunId) -> Sighting {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match (inner.seen.contains(run), inner.is_begun) {
            (true, _) => Sighting::Counted,
            (false, true) => Sighting::New,
            (false, false) => Sighting::Before,
        }
    }
}

/// What is known of a run that has ended.
enum Sighting {
    Counted,
    Before,
    New,
}

fn count(tallies: &mut Tallies, run: &RunRow, outcomes: &[StepOutcome]) {
    *tallies.runs.entry(run.status.clone()).or_default() += 1;
    if let Some(ended_at) = run.ended_at {
        tallies.run_seconds.push(seconds(ended_at, run.started_at));
    }
    for outcome in outcomes {
        let place = (outcome.category.clone(), outcome.store.clone(), outcome.method.clone());
        let tally = tallies.records.entry(place).or_default();
        for counts in outcome.counts.values() {
            tally.erased += counts.erased;
            tally.failed += counts.failed;
        }
    }
}

fn seconds(to: DateTime<Utc>, from: DateTime<Utc>) -> f64 {
    (to - from).to_std().map_or(0.0, |span| span.as_secs_f64())
}
