//! Who is alive: processes at work hold leases by the clock of the server, and renew them while they live.
//! It owns the tables `executor` and `lease`; it does not know what is done under a lease.
//!
//! Three spans follow from the length of a lease (30 s):
//!
//! 1. It is renewed after a third of it, so that two renewals may be lost.
//! 2. Nothing that erases is begun with less than half of it left. A process that was paused asks before it goes on,
//!    by a clock that ran on meanwhile, and stops.
//! 3. What was begun then is over one and a half leases after the lease is lost: a store answers within a minute or is
//!    given up. Only then does anybody who waits for batches believe that it is over.
//!
//! An executor whose lease has run out never gets it back: it would be another one, with another fence.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Server;
use super::fence::{is_held, next_fence};
use super::times::Times;
use super::wire::Pool;
use crate::clock::Vigil;
use crate::ledger::LedgerError;
use crate::ledger::seal::fill_random;
use crate::ledger::sql::SqlLedger;
use crate::ledger::sql::statement::{Query, Session, query};
use crate::ledger::sql::write::{During, Writing};

/// How often somebody who waits looks again.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// The leases of one process on one ledger.
pub(super) struct Leases {
    /// Connections of its own: who renews must not wait behind who writes.
    pool: Arc<Pool>,
    times: Times,
    /// Whose turn it is among the tasks of this process: one at a time leads a run, helps with one or waits to, so that
    /// no batch ever begins under the lease of another task's run.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The executor of the run that this process leads or has joined.
    run: Mutex<Option<Arc<Executor>>>,
    /// The executor of batches outside of any claim.
    alone: Mutex<Option<Arc<Executor>>>,
    /// Batches that have begun here and have no outcome yet.
    running: Mutex<BTreeSet<u64>>,
    /// What is being given back.
    returns: Mutex<Vec<JoinHandle<()>>>,
}

/// One holder of a lease.
pub(in crate::ledger) struct Executor {
    pub(super) id: String,
    /// A number that no holder of any lease had before.
    pub(super) fence: i64,
    /// The fence of the run that it works in; it works no more once the run's place has another.
    pub(super) run_fence: Option<i64>,
    times: Times,
    pool: Arc<Pool>,
    /// Since when the server has believed in it, at least.
    believed: Mutex<Vigil>,
    is_lost: AtomicBool,
}

/// A turn among the tasks of this process; it is over when nobody has it any more.
pub(super) type Turn = Arc<OwnedMutexGuard<()>>;

/// A place that is held until this is dropped.
struct Place {
    leases: Arc<Leases>,
    executor: Arc<Executor>,
    _turn: Option<Turn>,
}

/// Batches that are seen to run until this is dropped.
struct Running {
    leases: Arc<Leases>,
    executor: Arc<Executor>,
    numbers: Vec<u64>,
}

impl Server {
    /// Waits until no other process runs.
    pub(in crate::ledger) async fn claim_run(
        &self,
        ledger: &SqlLedger,
        operation: &'static str,
    ) -> Result<Box<dyn Any + Send>, LedgerError> {
        let turn = self.leases.turn().await;
        Ok(self.hold(self.claim(ledger, "run", operation).await?, turn))
    }

    /// Waits until no other process writes the audit log.
    pub(in crate::ledger) async fn claim_audit(
        &self,
        ledger: &SqlLedger,
        operation: &'static str,
    ) -> Result<Box<dyn Any + Send>, LedgerError> {
        let executor = self.claim(ledger, "audit", operation).await?;
        Ok(Box::new(Place { leases: Arc::clone(&self.leases), executor, _turn: None }))
    }

    /// True unless others may have taken the place of the run.
    pub(in crate::ledger) async fn keeps_place(&self, ledger: &SqlLedger) -> Result<bool, LedgerError> {
        let executor = lock(&self.leases.run).clone();
        match executor {
            Some(executor) => executor.is_valid(&mut ledger.write("look at a lease").await?).await,
            None => Ok(true),
        }
    }

    /// Waits until what was dropped is free for others.
    pub(in crate::ledger) async fn give_back(&self) {
        self.leases.give_back().await;
    }

    async fn claim(
        &self,
        ledger: &SqlLedger,
        name: &'static str,
        operation: &'static str,
    ) -> Result<Arc<Executor>, LedgerError> {
        loop {
            if let Some(executor) = self.try_to_claim(ledger, name, operation).await? {
                return Ok(executor);
            }
            sleep(PAUSE).await;
        }
    }

    /// `None` where somebody living holds it.
    async fn try_to_claim(
        &self,
        ledger: &SqlLedger,
        name: &'static str,
        operation: &'static str,
    ) -> Result<Option<Arc<Executor>>, LedgerError> {
        self.writes(operation)?;
        if is_held(&mut self.look().await?, name).await.during(operation)? {
            return Ok(None);
        }
        let mut write = ledger.write(operation).await?;
        if is_held(write.connection(), name).await.during(operation)? {
            return Ok(None);
        }
        let fence = next_fence(&mut write, operation).await?;
        let run_fence = (name == "run").then_some(fence);
        let executor = self.leases.register(&mut write, fence, run_fence, operation).await?;
        query("REPLACE INTO lease (name, executor, fence) VALUES (?, ?, ?)")
            .bind(name)
            .bind(&executor.id)
            .bind(fence)
            .execute(write.connection())
            .await
            .during(operation)?;
        write.commit().await?;
        Ok(Some(executor))
    }

    /// The place of the run, if nobody living has it.
    pub(super) async fn try_to_lead(
        &self,
        ledger: &SqlLedger,
        operation: &'static str,
        turn: &Turn,
    ) -> Result<Option<Box<dyn Any + Send>>, LedgerError> {
        let claimed = self.try_to_claim(ledger, "run", operation).await?;
        Ok(claimed.map(|executor| self.hold(executor, Arc::clone(turn))))
    }

    /// A place in a run with this fence, which another process leads.
    pub(super) async fn enter_run(
        &self,
        write: &mut Writing<'_>,
        run_fence: i64,
        operation: &'static str,
    ) -> Result<Arc<Executor>, LedgerError> {
        let fence = next_fence(write, operation).await?;
        self.leases.register(write, fence, Some(run_fence), operation).await
    }

    /// Batches that begin here belong to this executor, until what this answers is dropped.
    pub(super) fn hold(&self, executor: Arc<Executor>, turn: Turn) -> Box<dyn Any + Send> {
        *lock(&self.leases.run) = Some(Arc::clone(&executor));
        Box::new(Place { leases: Arc::clone(&self.leases), executor, _turn: Some(turn) })
    }

    /// The executor of the run that this process leads or helps with.
    pub(in crate::ledger) fn of_run(&self) -> Option<Arc<Executor>> {
        lock(&self.leases.run).clone()
    }

    /// Who begins batches here: the executor of the run, or one of its own.
    pub(in crate::ledger) async fn executor(&self, ledger: &SqlLedger) -> Result<Arc<Executor>, LedgerError> {
        let operation = "begin a batch";
        let known = lock(&self.leases.run).clone().or_else(|| lock(&self.leases.alone).clone());
        if let Some(executor) = known {
            return Ok(executor);
        }
        let mut write = ledger.write(operation).await?;
        let fence = next_fence(&mut write, operation).await?;
        let executor = self.leases.register(&mut write, fence, None, operation).await?;
        write.commit().await?;
        Ok(Arc::clone(lock(&self.leases.alone).get_or_insert(executor)))
    }

    /// Batches that have begun; they are seen to run until what this answers is dropped.
    pub(in crate::ledger) fn running(&self, executor: Arc<Executor>, numbers: &[u64]) -> Box<dyn Any + Send> {
        lock(&self.leases.running).extend(numbers);
        Box::new(Running { leases: Arc::clone(&self.leases), executor, numbers: numbers.to_vec() })
    }

    /// These batches have outcomes.
    pub(in crate::ledger) fn finished(&self, numbers: impl Iterator<Item = u64>) {
        let mut running = lock(&self.leases.running);
        for number in numbers {
            running.remove(&number);
        }
    }

    /// Waits until every batch that has begun has an outcome, is given up, or its executor is lost for good.
    pub(in crate::ledger) async fn wait_for_batches(&self) -> Result<(), LedgerError> {
        let operation = "wait for batches";
        let last = query("SELECT coalesce(max(number), 0) FROM intent").number(&mut self.look().await?).await;
        let last = last.during(operation)?;
        let echo = self.leases.echo();
        loop {
            let running = query(
                "SELECT 1 FROM intent JOIN executor ON executor.executor = intent.executor
                 WHERE intent.ended_at IS NULL AND intent.number <= ?
                     AND executor.expires_at + ? > CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED) LIMIT 1",
            );
            let running = running.bind(last).bind(echo).exists(&mut self.look().await?).await;
            if !running.during(operation)? {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }
}

impl Leases {
    pub(super) fn new(pool: Arc<Pool>) -> Arc<Self> {
        Arc::new(Self {
            pool,
            times: Times::new(),
            turn: Arc::default(),
            run: Mutex::default(),
            alone: Mutex::default(),
            running: Mutex::default(),
            returns: Mutex::default(),
        })
    }

    /// How long after its lease an executor may still be in the middle of something; microseconds, for statements.
    pub(super) fn echo(&self) -> i64 {
        micros(self.times.echo())
    }

    /// Waits for the other tasks of this process.
    pub(super) async fn turn(&self) -> Turn {
        Arc::new(Arc::clone(&self.turn).lock_owned().await)
    }

    /// `None` where another task of this process has its turn.
    pub(super) fn turn_if_free(&self) -> Option<Turn> {
        Arc::clone(&self.turn).try_lock_owned().ok().map(Arc::new)
    }

    /// A new executor, in the transaction that gives it something to hold; renewed from now on.
    pub(super) async fn register(
        &self,
        write: &mut Writing<'_>,
        fence: i64,
        run_fence: Option<i64>,
        operation: &'static str,
    ) -> Result<Arc<Executor>, LedgerError> {
        let mut random = [0; 8];
        fill_random(&mut random)?;
        let id = format!("exec-{fence}-{}", hex::encode(random));
        let believed = Vigil::start();
        query(
            "INSERT INTO executor (executor, fence, expires_at)
             VALUES (?, ?, CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED) + ?)",
        )
        .bind(&id)
        .bind(fence)
        .bind(micros(self.times.lease))
        .execute(write.connection())
        .await
        .during(operation)?;
        // Those that died a day ago are remembered by nobody.
        query("DELETE FROM executor WHERE expires_at + 86400000000 < CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)")
            .execute(write.connection())
            .await
            .during(operation)?;
        let executor = Arc::new(Executor {
            id,
            fence,
            run_fence,
            times: self.times,
            pool: Arc::clone(&self.pool),
            believed: Mutex::new(believed),
            is_lost: AtomicBool::new(false),
        });
        executor.keep();
        Ok(executor)
    }

    /// Everything that was dropped is free for others once this returns.
    pub(super) async fn give_back(&self) {
        let alone = lock(&self.alone).take();
        if let Some(executor) = alone {
            executor.leave().await;
        }
        let returns = std::mem::take(&mut *lock(&self.returns));
        for task in returns {
            // A task that panicked has given nothing back; the lease runs out by itself.
            let _left = task.await;
        }
    }

    /// Does it a moment later: what is dropped cannot wait.
    fn later(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Without a runtime nothing is given back, and the lease runs out by itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut returns = lock(&self.returns);
        returns.retain(|task| !task.is_finished());
        returns.push(runtime.spawn(work));
    }
}

impl Executor {
    /// True while there is enough left of the lease to begin something that erases. Asks nobody. Once it is not, it never
    /// is again: what was given up half done may still go on in a store, and only time tells that it is over.
    pub(in crate::ledger) fn is_good(&self) -> bool {
        let elapsed = lock(&self.believed).elapsed();
        if elapsed + self.times.margin() >= self.times.lease {
            self.is_lost.store(true, Ordering::Release);
        }
        !self.is_lost.load(Ordering::Acquire)
    }

    /// Asks the ledger, in the transaction that lets a batch begin.
    pub(in crate::ledger) async fn is_valid(&self, write: &mut Writing<'_>) -> Result<bool, LedgerError> {
        let operation = "begin a batch";
        if !self.is_good() {
            return Ok(false);
        }
        let alive = query(
            "SELECT 1 FROM executor WHERE executor = ?
                 AND expires_at > CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)",
        );
        if !alive.bind(&self.id).exists(write.connection()).await.during(operation)? {
            self.is_lost.store(true, Ordering::Release);
            return Ok(false);
        }
        let Some(fence) = self.run_fence else { return Ok(true) };
        let stands = query("SELECT 1 FROM lease WHERE name = 'run' AND fence = ?").bind(fence);
        stands.exists(write.connection()).await.during(operation)
    }

    /// Writes down that it is at the batch.
    pub(in crate::ledger) async fn sign(
        &self,
        write: &mut Writing<'_>,
        number: i64,
    ) -> Result<(), LedgerError> {
        query("UPDATE intent SET executor = ? WHERE number = ?")
            .bind(&self.id)
            .bind(number)
            .execute(write.connection())
            .await
            .during("begin a batch")?;
        Ok(())
    }

    /// Renews the lease as long as somebody holds it.
    fn keep(self: &Arc<Self>) {
        let executor = Arc::downgrade(self);
        let pause = self.times.renewal();
        tokio::spawn(async move {
            loop {
                sleep(pause).await;
                let Some(executor) = executor.upgrade() else { return };
                if !executor.is_good() {
                    return;
                }
                match timeout(pause, executor.renew()).await {
                    Ok(Ok(Renewal::Done)) => {}
                    Ok(Ok(Renewal::Lost)) => return executor.is_lost.store(true, Ordering::Release),
                    // The server is asked again; meanwhile the lease runs on, and `is_good` knows how far.
                    Ok(Err(error)) => tracing::warn!(%error, "failed to renew a lease on the ledger"),
                    Err(_) => tracing::warn!("failed to renew a lease on the ledger: no answer in time"),
                }
            }
        });
    }

    async fn renew(&self) -> Result<Renewal, sqlx::Error> {
        let now = Vigil::start();
        let mut session = Session::Mysql(self.pool.take().await?);
        let renewed = query(
            "UPDATE executor SET expires_at = CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED) + ?
             WHERE executor = ? AND expires_at > CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)",
        );
        let renewed = renewed.bind(micros(self.times.lease)).bind(&self.id).execute(&mut session).await?;
        if renewed.rows_affected() == 0 {
            return Ok(Renewal::Lost);
        }
        *lock(&self.believed) = now;
        Ok(Renewal::Done)
    }

    /// Gives the lease back. One that is lost runs out by itself: until then, and a while longer, whoever waits for batches
    /// must go on waiting.
    async fn leave(&self) {
        if !self.is_good() || self.is_lost.swap(true, Ordering::AcqRel) {
            return;
        }
        let left = query("DELETE FROM executor WHERE executor = ?").bind(&self.id);
        send(&self.pool, left).await;
    }
}

enum Renewal {
    Done,
    Lost,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut run = lock(&self.leases.run);
        if run.as_ref().is_some_and(|executor| Arc::ptr_eq(executor, &self.executor)) {
            *run = None;
        }
        drop(run);
        let executor = Arc::clone(&self.executor);
        self.leases.later(async move { executor.leave().await });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = lock(&self.leases.running);
        let left: Vec<u64> = self.numbers.iter().copied().filter(|number| running.remove(number)).collect();
        drop(running);
        if !self.executor.is_good() {
            // What was begun may still go on in a store: the lease that runs out says when it is over.
            return;
        }
        for number in left.into_iter().filter_map(|number| i64::try_from(number).ok()) {
            // Nobody is at it any more, and nobody wrote down what came of it.
            let left = query("UPDATE intent SET executor = NULL WHERE number = ?").bind(number);
            let pool = Arc::clone(&self.leases.pool);
            self.leases.later(async move { send(&pool, left).await });
        }
    }
}

/// Tells the server something that it finds out by itself a little later if it is not told.
async fn send(pool: &Arc<Pool>, statement: Query) {
    let sent = async {
        let mut session = Session::Mysql(pool.take().await?);
        statement.execute(&mut session).await
    };
    if let Err(error) = sent.await {
        tracing::warn!(%error, "failed to give back a lease on the ledger; it runs out by itself");
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
