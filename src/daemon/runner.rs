//! The schedule at work: [`run`] waits, [`Runner::turn`] looks once and carries out what is due.
//! It owns when a run begins and what is noted of it; what is due is decided in [`super::agenda`], what is erased in
//! [`crate::enforce`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::agenda::{Appointment, Cause, Failed, appointments};
use super::outlook::{Memory, TICKS, look};
use super::systemd;
use crate::audit;
use crate::clock::Stopwatch;
use crate::enforce::{self, Order, RunReport, RunStatus};
use crate::gather::{self, Trouble, World};
use crate::ledger::Ledger;
use crate::service::{NextRun, Note, Service};

/// How often the loop comes round: soon enough for a request that waits no delay, rare enough to cost nothing, for a round
/// without news asks the ledger for one number.
const ROUND: Duration = Duration::from_secs(1);

/// The ledger is looked at whole at least this often: what is due without anything recorded (a run of another process that
/// died) is noticed by then.
const LOOK_PAUSE_MAX: TimeDelta = TimeDelta::minutes(1);

/// A look takes at most this part of the time, however many requests are open and however often something is recorded.
const LOOK_SHARE: u32 = 20;

/// What another daemon has claimed is left to it for this long; where no run came of it by then, its daemon has died.
const CLAIM_PATIENCE: TimeDelta = TimeDelta::minutes(1);

/// What came of one turn.
#[derive(Debug)]
pub enum Turn {
    /// Nothing is due.
    Rested,
    /// A run took place.
    Ran {
        /// Why.
        cause: Cause,
        /// What came of it.
        ended: Box<Result<RunReport, Trouble>>,
    },
}

/// Comes round until the process is to stop.
pub(super) async fn run(service: Arc<Service>) {
    let mut runner = Runner::new(Arc::clone(&service));
    while !service.stop.is_cancelled() {
        match runner.turn(&systemd::alive).await {
            Ok(Turn::Rested) => runner.help(&systemd::alive).await,
            Ok(Turn::Ran { .. }) => {}
            Err(trouble) => runner.lost(&trouble),
        }
        systemd::alive();
        tokio::select! {
            () = service.stop.cancelled() => {}
            () = service.news.notified() => {}
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

/// The schedule of one process.
pub struct Runner {
    service: Arc<Service>,
    memory: Memory,
    looked: Option<Looked>,
    left_to_others: BTreeMap<Cause, LeftTo>,
    /// Why it could not help another process the last time.
    unhelpful: Option<String>,
}

/// The last look: what it found next, and how long it took.
struct Looked {
    at: DateTime<Utc>,
    entries: u64,
    next: Option<Appointment>,
    took: Duration,
    since: Stopwatch,
}

/// What another daemon has claimed, and until when it is left to it.
struct LeftTo {
    due_at: DateTime<Utc>,
    until: DateTime<Utc>,
}

impl Runner {
    /// A schedule that remembers nothing yet: its first turn looks for what an earlier process left.
    pub fn new(service: Arc<Service>) -> Self {
        let left_to_others = BTreeMap::new();
        Self { service, memory: Memory::default(), looked: None, left_to_others, unhelpful: None }
    }

    /// One turn: nothing where nothing was recorded and nothing is due; else a look, and the run that is due. `alive` is
    /// called now and then while a run is under way.
    ///
    /// # Errors
    /// Where the ledger cannot be asked. What goes wrong in a run is in [`Turn::Ran`].
    pub async fn turn(&mut self, alive: &(dyn Fn() + Send + Sync)) -> Result<Turn, Trouble> {
        let world = self.service.world();
        let now = world.clock.now();
        let ledger = Arc::clone(self.service.ledger());
        let entries = ledger.entry_count().await?;
        self.service.note(|notes| {
            notes.turned_at = Some(now);
            notes.ledger_lost = None;
        });
        if !self.is_to_look(entries, now) {
            return Ok(Turn::Rested);
        }
        let watch = Stopwatch::start();
        let seen = Box::pin(look(&world, ledger.as_ref(), &mut self.memory, now)).await?;
        let coming = appointments(&seen.outlook(&world), now);
        tracing::debug!(now = %now, ?coming, "looked");
        let due = self.claim(ledger.as_ref(), &coming, now).await?;
        let next = coming.iter().find(|appointment| appointment.at > now).copied();
        self.looked =
            Some(Looked { at: now, entries, next, took: watch.elapsed(), since: Stopwatch::start() });
        let times = seen.failures();
        self.service.note(|notes| {
            notes.failures = times;
            notes.next_run = next.map(|next| NextRun { at: next.at, cause: next.cause.word() });
        });
        let Some(cause) = due else { return Ok(Turn::Rested) };
        self.memory.tries(&seen, now);
        let ended = Box::pin(self.run_once(cause, now, alive)).await;
        // What is next depends on what came of it.
        self.looked = None;
        Ok(Turn::Ran { cause, ended: Box::new(ended) })
    }

    /// Gates, any of which is enough:
    /// 1. nobody looked yet, or the last look is a minute old, or the clock was set back;
    /// 2. what was next is due;
    /// 3. something was recorded since, and looking does not take up too much of the time.
    fn is_to_look(&self, entries: u64, now: DateTime<Utc>) -> bool {
        let Some(last) = &self.looked else { return true };
        let is_old = now < last.at || now - last.at >= LOOK_PAUSE_MAX;
        let is_due = last.next.is_some_and(|next| next.at <= now);
        let is_rested = last.since.elapsed() >= last.took * LOOK_SHARE;
        is_old || is_due || (entries != last.entries && is_rested)
    }

    /// The cause of the run that is due, if this process is the one to make it. Of several daemons one takes each
    /// instant; what none came of is taken by another after a while. Ticks are never taken twice.
    async fn claim(
        &mut self,
        ledger: &dyn Ledger,
        coming: &[Appointment],
        now: DateTime<Utc>,
    ) -> Result<Option<Cause>, Trouble> {
        let mut taken = None;
        // Every instant that is due is claimed, for one run serves them all.
        for due in coming.iter().filter(|appointment| appointment.at <= now) {
            let is_mine = match due.cause {
                Cause::Freed => true,
                Cause::Tick => ledger.claim_tick(TICKS, due.at, now).await?,
                Cause::Unfinished | Cause::Request | Cause::Retry | Cause::Deadline => {
                    ledger.claim_tick(due.cause.word(), due.at, now).await? || self.is_left_over(*due, now)
                }
            };
            if is_mine {
                // Told is the strongest of the causes, in the order of their declaration.
                taken = Some(taken.map_or(due.cause, |taken: Cause| taken.min(due.cause)));
            }
        }
        Ok(taken)
    }

    /// True where another daemon had its time for this and made no run of it.
    fn is_left_over(&mut self, due: Appointment, now: DateTime<Utc>) -> bool {
        match self.left_to_others.get(&due.cause) {
            Some(left) if left.due_at == due.at => left.until <= now,
            Some(_) | None => {
                let left = LeftTo { due_at: due.at, until: now + CLAIM_PATIENCE };
                self.left_to_others.insert(due.cause, left);
                false
            }
        }
    }

    /// One run of what is due now, published, noted and logged.
    async fn run_once(
        &mut self,
        cause: Cause,
        now: DateTime<Utc>,
        alive: &(dyn Fn() + Send + Sync),
    ) -> Result<RunReport, Trouble> {
        tracing::info!(cause = cause.word(), at = %now, "run begins");
        systemd::status("a run is under way");
        self.service.note(|notes| notes.running_since = Some(now));
        let ended = Box::pin(self.carried_out(now, alive)).await;
        let world = self.service.world();
        let ended_at = world.clock.now();
        self.remember(&ended, ended_at);
        driven(alive, publish(&self.service)).await;
        self.service.note(|notes| notes.running_since = None);
        log(cause, &ended);
        ended
    }

    /// Helps with the run of another process, if there is one and the ledger is shared. Why it cannot is said once: what
    /// is wrong here, with policies that differ for example, is told by the run of its own.
    async fn help(&mut self, alive: &(dyn Fn() + Send + Sync)) {
        let world = self.service.world();
        let order = scheduled(&world, world.clock.now());
        let ledger = self.service.ledger().as_ref();
        let watcher = |_| {};
        match driven(alive, enforce::help_once(&world, ledger, &order, &watcher, &self.service.stop)).await {
            Ok(true) => tracing::info!("helped with a run of another process"),
            Ok(false) => self.unhelpful = None,
            Err(trouble) => {
                let why = trouble.to_string();
                if self.unhelpful.as_ref() != Some(&why) {
                    tracing::warn!(error = %why, "failed to help with a run of another process");
                }
                self.unhelpful = Some(why);
            }
        }
    }

    async fn carried_out(
        &self,
        now: DateTime<Utc>,
        alive: &(dyn Fn() + Send + Sync),
    ) -> Result<RunReport, Trouble> {
        let world = self.service.world();
        gather::ledger_view(&world).await?;
        let order = scheduled(&world, now);
        let ledger = self.service.ledger().as_ref();
        let watcher = |_| {};
        driven(alive, enforce::run_until(&world, ledger, order, &watcher, &self.service.stop)).await
    }

    /// What the next looks and the alarms have to know of a run.
    fn remember(&mut self, ended: &Result<RunReport, Trouble>, at: DateTime<Utc>) {
        let is_to_stop = self.service.stop.is_cancelled();
        let broke =
            |before: Option<Failed>| Failed { times: before.map_or(1, |b| b.times.saturating_add(1)), at };
        self.memory.broke = match ended {
            Ok(_) => None,
            Err(Trouble::Doubt(_)) => None,
            Err(_) if is_to_stop => None,
            Err(Trouble::Unreachable(_) | Trouble::Schema(_) | Trouble::Damaged(_)) => {
                Some(broke(self.memory.broke))
            }
        };
        self.service.note(|notes| match ended {
            Ok(report) => match report.status {
                RunStatus::Done => (notes.failed, notes.refused) = (None, None),
                RunStatus::Refused => {
                    notes.failed = None;
                    let why = report.refusals.first().map(|refusal| refusal.message.clone());
                    Note::put(&mut notes.refused, why.unwrap_or_default(), at);
                }
                RunStatus::Failed => Note::put(&mut notes.failed, first_of(&report.failures), at),
                RunStatus::Interrupted => {}
            },
            Err(_) if is_to_stop => {}
            Err(Trouble::Doubt(why)) => Note::put(&mut notes.refused, why.clone(), at),
            Err(trouble) => Note::put(&mut notes.failed, trouble.to_string(), at),
        });
    }

    /// The ledger cannot be asked: said once, and again when it changes.
    fn lost(&self, trouble: &Trouble) {
        let now = self.service.world().clock.now();
        let message = trouble.to_string();
        let known = self.service.notes().ledger_lost;
        if known.is_none_or(|note| note.message != message) {
            tracing::error!(error = %message, "failed to ask the ledger what is due");
        }
        self.service.note(|notes| {
            notes.turned_at = Some(now);
            Note::put(&mut notes.ledger_lost, message, now);
        });
    }
}

/// Long work with signs of life. It is driven by this very task, so that work which holds the task up stops the signs too.
async fn driven<T>(alive: &(dyn Fn() + Send + Sync), work: impl Future<Output = T>) -> T {
    // On the heap: a run is deep, and the stacks of worker threads are not.
    let mut work = Box::pin(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(ROUND) => alive(),
        }
    }
}

/// Publishes the audit log; what goes wrong is noted, and said once. The facts stand in any case.
pub(super) async fn publish(service: &Service) {
    let world = service.world();
    let now = world.clock.now();
    match audit::publish(service.ledger().as_ref(), &world.config.audit, now).await {
        Ok(_) => service.note(|notes| notes.unpublished = None),
        Err(error) => {
            let message = error.to_string();
            if service.notes().unpublished.is_none_or(|note| note.message != message) {
                tracing::error!(error = %message, "failed to publish the audit log");
            }
            service.note(|notes| Note::put(&mut notes.unpublished, message, now));
        }
    }
}

/// What a run of the schedule, at an instant, goes by.
fn scheduled(world: &World, at: DateTime<Utc>) -> Order {
    Order::Scheduled { at, request_delay: world.config.schedule.request_delay }
}

fn log(cause: Cause, ended: &Result<RunReport, Trouble>) {
    let cause = cause.word();
    match ended {
        Ok(report) => {
            let (run, status, totals) = (&report.run_id, report.status.word(), &report.totals);
            let (erased, absent) = (totals.erased, totals.verified_absent);
            match report.status {
                RunStatus::Done | RunStatus::Interrupted => {
                    tracing::info!(cause, run_id = %run, status, erased, verified_absent = absent, "run ended");
                }
                RunStatus::Failed => {
                    let why = first_of(&report.failures);
                    tracing::error!(cause, run_id = %run, status, erased, verified_absent = absent, why, "run ended");
                }
                RunStatus::Refused => {
                    let why = report.refusals.first().map(|refusal| refusal.message.as_str());
                    tracing::warn!(cause, run_id = %run, status, erased, verified_absent = absent, why, "run ended");
                }
            }
        }
        Err(trouble) => tracing::error!(cause, error = %trouble, "run did not begin"),
    }
}

fn first_of(failures: &[String]) -> String {
    match failures {
        [] => String::new(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}
