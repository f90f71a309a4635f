//! What is not as promised, or soon will not be, and who is told: alarms, and notices before an account's data goes.
//! It owns one look ([`watch_once`]) from facts to messages in the ledger; who sends them, and how often it looks, is
//! not decided here. It erases nothing.

mod board;
pub mod forecast;
pub mod known;
mod notices;
pub mod standing;
mod tell;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::Stopwatch;
use crate::gather::{Trouble, World};
use crate::ledger::{AlarmRow, Ledger, NewAlarm};

pub use board::{Board, Reload, Snapshot, Tallies};
pub use known::{Known, Sight};

/// Shortest pause between two looks: a promise is late for a minute at most before somebody hears of it.
pub const PAUSE_MIN: Duration = Duration::from_secs(60);

/// Longest pause: however slow the stores are, they are asked once an hour.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// How many times as long as a look took the pause after it is: looking takes a twentieth of the stores' time at most.
const PAUSE_FACTOR: u32 = 20;

/// Cleared alarms are told of again for so long, so that a crash between recording and telling loses none.
const TOLD_AGAIN: TimeDelta = TimeDelta::days(1);

/// What a process knows by itself: a faulty edit of a policy, for example.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// Which process says so; a host name. What another one said stands until it has been silent for a while.
    pub node: String,
    /// What it says, with keys that are stable while it stands.
    pub alarms: Vec<NewAlarm>,
}

/// What one look found.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The facts.
    pub known: Known,
    /// Alarms that stand from now on.
    pub standing: Vec<AlarmRow>,
    /// Alarms that were raised or cleared by this look.
    pub changed: Vec<AlarmRow>,
    /// How long it took.
    pub took: Duration,
}

impl Watched {
    /// How long to wait before the next look, where nothing is recorded in between.
    pub fn pause(&self) -> Duration {
        self.took.saturating_mul(PAUSE_FACTOR).clamp(PAUSE_MIN, PAUSE_MAX)
    }
}

/// Looks once: what stands now is in the ledger, and a message for everybody who is to be told of it, once this returns.
///
/// *Properties.* Safe to repeat, at any time and from any process: a message is enqueued once, by its key. Where the
/// process dies in the middle, the next look makes up for it. Where the stores cannot be asked, what was known last
/// stands, and deadlines of requests and terminations are watched by the ledger alone.
///
/// # Errors
/// Where the ledger cannot be read or written. What keeps the stores from being asked is an alarm.
pub async fn watch_once(
    world: &World,
    ledger: &dyn Ledger,
    notes: &Notes,
    now: DateTime<Utc>,
) -> Result<Watched, Trouble> {
    let watch = Stopwatch::start();
    let known = known::gather(world, ledger, now).await?;
    let alarms = standing::standing(&known, notes, now);
    let changed = ledger.set_alarms(&alarms, now).await?;
    let rows = ledger.alarms(now - TOLD_AGAIN).await?;
    tell::enqueue(&world.config.alarms.webhooks, ledger, &rows, now).await?;
    notices::enqueue(world, ledger, &known, now).await?;
    for row in &changed {
        let (number, kind, key) = (row.number, row.alarm.kind.as_str(), row.alarm.key.as_str());
        match row.cleared_at {
            None => tracing::warn!(alarm = number, kind, key, "alarm raised"),
            Some(_) => tracing::info!(alarm = number, kind, key, "alarm cleared"),
        }
    }
    let standing = rows.into_iter().filter(|row| row.cleared_at.is_none()).collect();
    Ok(Watched { known, standing, changed, took: watch.elapsed() })
}
