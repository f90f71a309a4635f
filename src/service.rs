//! What a process that serves shares between its schedule and its HTTP interface: the world as last read, the ledger,
//! two signals, and what the process knows of itself. It owns who sees which world; it reads no file and starts nothing.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::gather::World;
use crate::ledger::Ledger;

/// The shared state of a process that serves.
pub struct Service {
    world: RwLock<Arc<World>>,
    ledger: Arc<dyn Ledger>,
    notes: Mutex<Notes>,
    /// Cancelled when the process is to stop: nothing new begins, what runs finishes its batch.
    pub stop: CancellationToken,
    /// Told when something was recorded that may bring the next run forward.
    pub news: Notify,
}

/// What a process that serves knows of itself and nobody else can know; alarms and readiness are made from it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Notes {
    /// When the schedule last came round: it works.
    pub turned_at: Option<DateTime<Utc>>,
    /// Since when a run is under way.
    pub running_since: Option<DateTime<Utc>>,
    /// The next run, as far as it is known.
    pub next_run: Option<NextRun>,
    /// Runs that failed one after the other, those included that could not even begin; the next try is
    /// [`Notes::next_run`].
    pub failures: u32,
    /// Why the last run failed; cleared by one that did not.
    pub failed: Option<Note>,
    /// Why the last run was refused, wholly or in part: a limit, a stop, a doubt. It is not retried by itself.
    pub refused: Option<Note>,
    /// Why the files on disk are not those that are in force.
    pub files_broken: Option<Note>,
    /// What was changed in the files and needs a restart.
    pub restart_needed: Option<Note>,
    /// Why the audit log could not be published.
    pub unpublished: Option<Note>,
    /// Why the ledger could not be asked.
    pub ledger_lost: Option<Note>,
}

/// Something to be noticed, and since when it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Since when.
    pub since: DateTime<Utc>,
    /// What; without a subject's value.
    pub message: String,
}

/// A run that is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NextRun {
    /// When.
    pub at: DateTime<Utc>,
    /// Why, in one word.
    pub cause: &'static str,
}

impl Note {
    /// Notes something: what stands already keeps its beginning, whatever it says by now.
    pub fn put(slot: &mut Option<Self>, message: impl Into<String>, now: DateTime<Utc>) {
        let since = slot.as_ref().map_or(now, |note| note.since);
        *slot = Some(Self { since, message: message.into() });
    }
}

impl Service {
    /// Begins with a world and a ledger that is open.
    pub fn new(world: World, ledger: Arc<dyn Ledger>) -> Self {
        Self {
            world: RwLock::new(Arc::new(world)),
            ledger,
            notes: Mutex::new(Notes::default()),
            stop: CancellationToken::new(),
            news: Notify::new(),
        }
    }

    /// Configuration, policies and clock as last read. Whoever has it keeps it: a reload changes nothing under way.
    pub fn world(&self) -> Arc<World> {
        // A panic elsewhere cannot leave half a world: only whole ones are put in.
        Arc::clone(&self.world.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another world from now on.
    pub fn replace(&self, world: World) {
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
    }

    /// The ledger.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// What the process knows of itself now.
    pub fn notes(&self) -> Notes {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what the process knows of itself.
    pub fn note(&self, change: impl FnOnce(&mut Notes)) {
        change(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
