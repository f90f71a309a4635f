//! The process that serves: its schedule driven by a clock that is moved by hand, and the program itself with signals.
//! It owns the stories about time and processes; what a run erases is told elsewhere.

mod process;
mod schedule;
mod scheduled;

use std::sync::Arc;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use retentiond::clock::{Clock, Steps};
use retentiond::daemon::agenda::Cause;
use retentiond::daemon::{Runner, Turn};
use retentiond::enforce::RunStatus;
use retentiond::gather;
use retentiond::ledger::{self, Ledger};
use retentiond::service::Service;

use crate::harness::World;

/// The smallest step of time that the ledger keeps.
const TICK: TimeDelta = TimeDelta::microseconds(1);

/// A process that serves, without its loop: each turn is taken by the test.
struct Daemon {
    service: Arc<Service>,
    runner: Runner,
    hand: Steps,
}

impl Daemon {
    /// Starts at an instant.
    async fn start(world: &World, at: DateTime<Utc>) -> Self {
        Self::on(world, Steps::new(at)).await
    }

    /// Another process on the same clock and ledger.
    async fn beside(&self, world: &World) -> Self {
        Self::on(world, self.hand).await
    }

    async fn on(world: &World, hand: Steps) -> Self {
        let clock = Clock::Stepped(hand);
        let library = gather::World { clock, ..world.load(clock.now()) };
        let ledger = ledger::open(&library.config.ledger).await.expect("a ledger");
        let service = Arc::new(Service::new(library, Arc::from(ledger)));
        Self { runner: Runner::new(Arc::clone(&service)), service, hand }
    }

    /// One turn at an instant: why a run took place and how it ended, `None` where none did.
    async fn at(&mut self, instant: DateTime<Utc>) -> Option<(Cause, Option<RunStatus>)> {
        self.hand.set(instant);
        match self.runner.turn(&|| {}).await.expect("a ledger that answers") {
            Turn::Rested => None,
            Turn::Ran { cause, ended } => {
                Some((cause, ended.as_ref().as_ref().ok().map(|report| report.status)))
            }
        }
    }

    fn ledger(&self) -> &dyn Ledger {
        self.service.ledger().as_ref()
    }
}

/// The present, as the ledger keeps it: what commands record lies just before it.
fn present() -> DateTime<Utc> {
    Clock::System.now().trunc_subsecs(6)
}
