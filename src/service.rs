//! What a process that serves shares between its schedule and its HTTP interface: the world as last read, the ledger,
//! and two signals. It owns who sees which world; it reads no file and starts nothing.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::alarms::Board;
use crate::gather::World;
use crate::ledger::Ledger;

/// The shared state of a process that serves.
pub struct Service {
    world: RwLock<Arc<World>>,
    ledger: Arc<dyn Ledger>,
    /// What the last look at the promises found.
    pub board: Board,
    /// Cancelled when the process is to stop: nothing new begins, what runs finishes its batch.
    pub stop: CancellationToken,
    /// Told when something was recorded that may bring the next run forward.
    pub news: Notify,
}

impl Service {
    /// Begins with a world and a ledger that is open.
    pub fn new(world: World, ledger: Arc<dyn Ledger>) -> Self {
        Self {
            world: RwLock::new(Arc::new(world)),
            ledger,
            board: Board::default(),
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
}
