//! Carries out a [`ReviewedPlan`]: order, leases, read-back, outcomes. It owns one run from claim to report.
//! It has no choice left to make about records: which, why and how is in the plan.

mod again;
mod order;
pub mod pace;
mod pass;
mod recover;
mod report;
mod scrub;
mod settle;
mod share;
mod shared;
mod spans;
mod step;
mod unit;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::audit;
use crate::gather::{self, Readers};
use crate::id::{Category, PlacementId, RunId, StepId, StoreId};
use crate::ledger::{self, Ledger, RunRow};
use crate::plan::review::ReviewedPlan;
use crate::plan::{CountsByTenant, Refusal, Step};
use crate::policy::Policy;
use crate::stores::{self, Store};

pub use crate::gather::{Trouble, World};
use order::{Reading, plan_anew, read, refuse_doubts};

pub use order::{Approval, Order, Terms};
pub use report::{PlacementReport, RunReport, RunStatus};
pub use share::help_once;

/// How far a step has come; for people.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Where.
    pub placement: PlacementId,
    /// Records done.
    pub done: u64,
    /// Records in the step.
    pub of: u64,
}

/// Stores that could not be asked, with the reason.
type Silent = BTreeMap<StoreId, String>;

/// Tells somebody how far a run has come.
pub type Watcher<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// One run: claim, recover, gather, plan, review, erase, verify, scrub, settle, publish.
///
/// # Errors
/// Where nothing could be begun: a doubt, a stop, a plan that does not hold, a policy that does not fit. What goes
/// wrong with single stores, steps or records is in the report.
pub async fn run_once(world: &World, order: Order, watcher: Watcher<'_>) -> Result<RunReport, Trouble> {
    run_once_until(world, order, watcher, &CancellationToken::new()).await
}

/// As [`run_once`], until the process is to stop, see [`run_until`].
///
/// # Errors
/// As [`run_until`].
pub async fn run_once_until(
    world: &World,
    order: Order,
    watcher: Watcher<'_>,
    stop: &CancellationToken,
) -> Result<RunReport, Trouble> {
    // In doubt a ledger is not even made: an empty one beside the log would stand where the lost one belongs.
    gather::ledger_view(world).await?;
    let ledger = ledger::open(&world.config.ledger).await?;
    let report = run_until(world, ledger.as_ref(), order, watcher, stop).await;
    // Evidence is published whatever came of the run.
    let published = audit::publish(ledger.as_ref(), &world.config.audit, world.clock.now()).await;
    ledger.give_back().await?;
    published?;
    report
}

/// As [`run_once`], on a ledger that is open.
///
/// # Errors
/// As [`run_once`].
pub async fn run_on(
    world: &World,
    ledger: &dyn Ledger,
    order: Order,
    watcher: Watcher<'_>,
) -> Result<RunReport, Trouble> {
    run_until(world, ledger, order, watcher, &CancellationToken::new()).await
}

/// As [`run_on`], until the process is to stop: from then on no batch begins, the one under way comes to its end with
/// its outcome, and the report says [`RunStatus::Interrupted`]. What is left is due again at the next run.
///
/// # Errors
/// As [`run_once`]; also where the process is to stop before anything was begun.
#[tracing::instrument(name = "run", skip_all, fields(run_id, plan_id))]
pub async fn run_until(
    world: &World,
    ledger: &dyn Ledger,
    order: Order,
    watcher: Watcher<'_>,
    stop: &CancellationToken,
) -> Result<RunReport, Trouble> {
    let _place = share::place(world, ledger, &order, watcher, stop).await?;
    refuse_doubts(world, ledger, &order).await?;
    let mut readers = unless(stop, Readers::open_mended(world)).await?;
    readers.prove(Some(ledger)).await?;
    let unknown = recover::recover(world, ledger, &readers).await?;
    let Reading { reviewed, approvals, silent, in_order } =
        unless(stop, read(world, ledger, &readers, &order)).await?;
    let mut run = Run::begin(world, ledger, &reviewed, watcher, stop).await?;
    run.failures.extend(unknown);
    run.report_silent(&silent, &readers);
    run.meet(&readers).await?;
    if matches!(order, Order::Approve(_)) {
        // Before anything is done that only the approval allows.
        ledger.approve(&reviewed.plan().plan_id, world.clock.now()).await?;
    }
    let steps: Vec<Step> = reviewed.allowed().cloned().collect();
    // What an approval allows is for the one who has it.
    let shared = share::free(world, &steps, &in_order);
    if !matches!(order, Order::Approve(_)) && ledger.share_run(&run.row.run_id, &shared).await? {
        run.is_shared = true;
        run.lead(&steps, &readers).await?;
    } else {
        run.carry_out(&steps).await?;
    }
    if run.is_lost {
        return Ok(run.leave());
    }
    let moved: Vec<Step> = reviewed.stale().cloned().chain(run.moved.drain(..)).collect();
    if !moved.is_empty() && run.stop.is_none() {
        let at = reviewed.plan().at;
        let (again, silent) = plan_anew(world, ledger, &readers, &order, at, &approvals).await?;
        run.report_silent(&silent, &readers);
        ledger.extend_run(&run.row.run_id, again.plan(), world.clock.now()).await?;
        let steps = again::replacements(&again, &moved, &run.drafts, order.is_fixed());
        run.carry_out(&steps).await?;
        run.wait_for_approval(&again, &moved, order.is_fixed()).await?;
        if !run.moved.is_empty() {
            run.failures.push("something changed twice while the run was under way; run it again".to_owned());
        }
    }
    if run.is_lost || !ledger.keeps_place().await? {
        return Ok(run.leave());
    }
    run.scrub().await?;
    if !ledger.keeps_place().await? {
        return Ok(run.leave());
    }
    let refused = reviewed.refused();
    if !refused.is_empty() && !matches!(order, Order::Approve(_)) {
        ledger.store_refused(reviewed.plan(), &refused, world.clock.now()).await?;
    }
    run.refusals.extend(reviewed.plan().refusals.iter().cloned());
    run.record().await?;
    if !run.is_to_stop() {
        settle::settle(world, ledger, &readers, &order, reviewed.plan().at).await?;
    }
    if !ledger.keeps_place().await? {
        return Ok(run.leave());
    }
    run.end().await
}

/// What is waited for before anything is begun is not waited for any longer once the process is to stop.
async fn unless<T, E: Into<Trouble>>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Trouble> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Trouble::Unreachable("the process is to stop; nothing was begun".into())),
        done = work => done.map_err(Into::into),
    }
}

/// A run under way.
struct Run<'a> {
    world: &'a World,
    ledger: &'a dyn Ledger,
    watcher: Watcher<'a>,
    row: RunRow,
    stores: BTreeMap<StoreId, Arc<dyn Store>>,
    drafts: Vec<step::Draft>,
    moved: Vec<Step>,
    refusals: Vec<Refusal>,
    failures: Vec<String>,
    stop: Option<String>,
    /// Cancelled when the process is to stop.
    sign: &'a CancellationToken,
    is_interrupted: bool,
    /// Others may have taken over: nothing more is done, and nothing recorded.
    is_lost: bool,
    /// False for a helper, which records nothing itself.
    is_leader: bool,
    /// True where others may still be at batches of the run although this process has stopped.
    is_shared: bool,
    /// Where it begins among the steps that several processes share.
    offset: u16,
    /// What processes that died had done of steps.
    inherited: BTreeMap<StepId, CountsByTenant>,
    /// How long the store took to erase the last batch: about as long as it held its locks.
    erasing: Duration,
}

impl<'a> Run<'a> {
    /// The run, its plan and the policies in force are durable before anything else happens.
    async fn begin(
        world: &'a World,
        ledger: &'a dyn Ledger,
        reviewed: &ReviewedPlan,
        watcher: Watcher<'a>,
        sign: &'a CancellationToken,
    ) -> Result<Self, Trouble> {
        let plan = reviewed.plan();
        let row = RunRow {
            run_id: RunId::new(format!("run-{}", Uuid::now_v7())),
            plan_id: plan.plan_id.clone(),
            at: plan.at,
            status: "running".to_owned(),
            started_at: world.clock.now(),
            ended_at: None,
        };
        let in_force =
            world.policies.iter().map(|policy| (policy.category.clone(), policy.digest.clone())).collect();
        ledger.begin_run(&row, plan, &in_force).await?;
        spans::run_is(&row.run_id, plan);
        Ok(Self { is_leader: true, offset: 0, ..Self::of(world, ledger, row, watcher, sign) })
    }

    /// A part in a run that another process has begun.
    fn of(
        world: &'a World,
        ledger: &'a dyn Ledger,
        row: RunRow,
        watcher: Watcher<'a>,
        sign: &'a CancellationToken,
    ) -> Self {
        let [.., high, low] = Uuid::now_v7().into_bytes();
        Self {
            world,
            ledger,
            watcher,
            row,
            stores: BTreeMap::new(),
            drafts: Vec::new(),
            moved: Vec::new(),
            refusals: Vec::new(),
            failures: Vec::new(),
            stop: None,
            sign,
            is_interrupted: false,
            is_lost: false,
            is_leader: false,
            is_shared: false,
            offset: u16::from_be_bytes([high, low]),
            inherited: BTreeMap::new(),
            erasing: Duration::ZERO,
        }
    }

    /// Stores that could not be asked, also while they were counted: the run did not do what it should. A store that
    /// is not the one meant is a refusal.
    fn report_silent(&mut self, silent: &Silent, readers: &Readers) {
        for (id, why) in silent {
            if readers.doubted().contains_key(id) {
                let of_store = |policy: &&Policy| policy.placements.iter().any(|p| &p.store == id);
                if let Some(policy) = self.world.policies.iter().find(of_store) {
                    self.doubt(id, policy.category.clone(), why.clone());
                }
            } else if !self.failures.contains(why) {
                self.failures.push(why.clone());
            }
        }
    }

    /// Leaves the marker in stores that were never met, whether anything is due there or not: from now on no empty
    /// mount is taken for them. Guarded by `a_store_is_marked_before_anything_is_due_there`.
    async fn meet(&mut self, readers: &Readers) -> Result<(), Trouble> {
        let marked = self.ledger.marked_stores().await?;
        for id in readers.believed().filter(|id| !marked.contains_key(id)) {
            self.reopen(id).await?;
        }
        Ok(())
    }

    /// Asked before each batch, where the emergency stop is asked too: true where the process is to stop.
    fn is_to_stop(&mut self) -> bool {
        if self.sign.is_cancelled() && self.stop.is_none() {
            self.is_interrupted = true;
            self.stop = Some("the process is to stop".to_owned());
        }
        self.is_interrupted
    }

    fn doubt(&mut self, store: &StoreId, category: Category, message: String) {
        let known = |refusal: &Refusal| refusal.code == "identity" && &refusal.store == store;
        if !self.refusals.iter().any(known) {
            let code = "identity".to_owned();
            self.refusals.push(Refusal {
                code,
                category,
                store: store.clone(),
                message,
                approve: None,
                export_id: None,
            });
        }
    }

    /// Runs steps: the rows of each, with what they name, or several in one pass.
    async fn carry_out(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        let rows = steps.iter().filter(|step| step.found_by.is_none());
        for pass in pass::passes(&self.world.policies, rows) {
            if self.stop.is_some() {
                return Ok(());
            }
            self.run_one(&pass, steps).await?;
        }
        Ok(())
    }

    /// Runs one of them.
    async fn run_one(&mut self, pass: &[&Step], steps: &[Step]) -> Result<(), Trouble> {
        pass.iter().for_each(|step| spans::begins(step));
        match pass {
            [alone] => {
                let named: Vec<&Step> =
                    steps.iter().filter(|step| step.found_by.as_ref() == Some(&alone.step_id)).collect();
                self.run_unit(alone, &named).instrument(spans::of_step(alone)).await
            }
            together => self.run_pass(together).instrument(spans::of_pass(together)).await,
        }
    }

    /// What would take the place of steps that moved but is over a limit by now waits as any other refused step.
    async fn wait_for_approval(
        &mut self,
        again: &ReviewedPlan,
        moved: &[Step],
        is_fixed: bool,
    ) -> Result<(), Trouble> {
        let refused: BTreeSet<StepId> = again.refused().into_iter().collect();
        let waiting: Vec<&Step> = again
            .plan()
            .steps
            .iter()
            .filter(|step| refused.contains(&step.step_id))
            .filter(|step| moved.iter().any(|old| again::takes_place(step, old, is_fixed)))
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let of_these = |refusal: &&Refusal| {
            waiting.iter().any(|step| step.category == refusal.category && step.store == refusal.store)
        };
        self.refusals.extend(again.plan().refusals.iter().filter(of_these).cloned());
        let ids: Vec<StepId> = waiting.iter().map(|step| step.step_id.clone()).collect();
        Ok(self.ledger.store_refused(again.plan(), &ids, self.world.clock.now()).await?)
    }

    /// Opens a store for erasing, once, and makes sure that it is the one meant. `None` where it is refused or out of
    /// reach; the report says so.
    async fn store(&mut self, id: &StoreId, step: &Step) -> Result<Option<Arc<dyn Store>>, Trouble> {
        if let Some(store) = self.stores.get(id) {
            return Ok(Some(Arc::clone(store)));
        }
        let Some(config) = self.world.config.stores.get(id) else { return Ok(None) };
        let store = match stores::open_store(id, config).await {
            Ok(store) => store,
            Err(error) => {
                self.failures.push(error.to_string());
                return Ok(None);
            }
        };
        match self.identify(id, store.as_ref()).await {
            Ok(()) => {
                self.stores.insert(id.clone(), Arc::clone(&store));
                Ok(Some(store))
            }
            Err(Trouble::Doubt(message)) => {
                self.doubt(id, step.category.clone(), message);
                Ok(None)
            }
            Err(other) => {
                self.failures.push(other.to_string());
                Ok(None)
            }
        }
    }

    /// A store proves by its marker that it is the one meant; at the first meeting the marker is left in it.
    async fn identify(&self, id: &StoreId, store: &dyn Store) -> Result<(), Trouble> {
        let identity = store.identity().await?;
        let own = self.ledger.ledger_id().await?;
        let marked = self.ledger.marked_stores().await?;
        if let Some(why) = gather::stranger(id, &identity, &own, marked.get(id)) {
            return Err(Trouble::Doubt(why));
        }
        if marked.get(id).is_some_and(|mark| mark.fingerprint.is_some()) {
            return Ok(());
        }
        if identity.ledger_id.is_none() {
            store.mark(&own, id).await?;
        }
        Ok(self.ledger.record_mark(id, &identity.fingerprint, self.world.clock.now()).await?)
    }
}
