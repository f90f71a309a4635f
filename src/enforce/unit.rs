//! One unit: the rows of a step and whatever they name, batch by batch, locator last. It owns the order within a
//! batch: permit, what the rows name, the rows, the read-back, the outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::pace::{next_window, records_max, window_of};
use super::shared::together;
use super::step::Draft;
use super::verify::{Verified, verified};
use super::{Progress, Run, spans};
use crate::clock::Stopwatch;
use crate::gather::{self, Trouble};
use crate::ledger::{Intent, Lease, Permit};
use crate::plan::decide::{named_by, rows_of};
use crate::plan::{CountsByTenant, Refusal, Step};
use crate::policy::{Method, Placement, Records, template};
use crate::stores::{
    Batch, Budget, Erased, ErrorKind, Found, Key, Listed, Position, Query, Retry, Store, StoreError, Value,
};

/// Tries of one store call; with the pauses below, some seconds, which outlasts an ordinary lock.
const TRIES_MAX: u32 = 4;

/// The first pause between tries; doubled each time.
const PAUSE: Duration = Duration::from_millis(200);

/// Whether a unit or a pass goes on.
pub(super) enum Next {
    GoOn,
    Halt,
}

/// A step with the store that it works on.
pub(super) struct Line {
    pub(super) step: Step,
    pub(super) placement: Placement,
    pub(super) store: Arc<dyn Store>,
    pub(super) query: Query,
    pub(super) column: Option<String>,
    pub(super) draft: usize,
}

impl Line {
    /// The next batch of rows.
    async fn find(
        &self,
        after: Option<&Position>,
        budget: Budget,
        naming: &[String],
    ) -> Result<Option<Found>, StoreError> {
        insist(|| self.store.find(&self.query, after, budget, naming)).await
    }

    /// How it is erased: as the rule says, or as this store can where the operator accepts less.
    pub(super) fn method(&self) -> Method {
        self.store.capability().method_for(self.step.method, self.placement.accept_level)
    }
}

impl Run<'_> {
    /// Erases the rows of a step and what they name. Trouble with the store fails the step, not the run. Where one of
    /// the steps moved, all of them are planned anew: rows and what they name go together or not at all.
    pub(super) async fn run_unit(&mut self, rows: &Step, named: &[&Step]) -> Result<(), Trouble> {
        let moved = self.moved.len();
        self.run_lines(rows, named).await?;
        if self.moved.len() > moved {
            self.moved.truncate(moved);
            self.moved.push(rows.clone());
            self.moved.extend(named.iter().copied().cloned());
        }
        Ok(())
    }

    async fn run_lines(&mut self, rows: &Step, named: &[&Step]) -> Result<(), Trouble> {
        let Some(line) = self.line(rows).await? else { return Ok(()) };
        let mut lines = Vec::new();
        for step in named {
            match self.line(step).await? {
                Some(line) => lines.push(line),
                None => return Ok(()),
            }
        }
        let policies = &self.world.policies;
        let Some((policy, _)) = policies.placement(&rows.placement) else { return Ok(()) };
        let naming: Vec<String> =
            named_by(policy, &rows.placement).into_iter().map(|(_, column)| column.to_owned()).collect();
        let pace = line.store.pace();
        let most = records_max(pace, line.method(), !naming.is_empty());
        let mut keys = pace.window_keys_start;
        let mut left = self.left_of(&line);
        let mut shared = Vec::new();
        let mut next =
            line.find(None, Budget { records_max: left.min(most), window_keys: keys }, &naming).await;
        loop {
            let found = match next {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) => {
                    self.fail(line.draft, &error);
                    return Ok(());
                }
            };
            let window = window_of(&found.batch);
            left = left.saturating_sub(found.batch.records());
            let budget = Budget { records_max: left.min(most), window_keys: keys };
            let ahead = async {
                if left == 0 { Ok(None) } else { line.find(Some(&found.position), budget, &naming).await }
            };
            let run = self.run_batch(&line, &lines, found.batch, Some(&mut shared));
            let ran;
            // The next window is looked for while this one is erased: they hold different keys. A list is not: a search
            // that begins anew (slots that moved, a server that repeats itself) would find again what is being erased.
            (ran, next) = match window {
                Some(_) => tokio::join!(run, ahead),
                None => match run.await? {
                    Next::GoOn => (Ok(Next::GoOn), ahead.await),
                    Next::Halt => return Ok(()),
                },
            };
            if let Next::Halt = ran? {
                return Ok(());
            }
            keys = next_window(pace, keys, window, self.erasing);
            (self.watcher)(Progress {
                placement: rows.placement.clone(),
                done: rows.records.saturating_sub(left),
                of: rows.records,
            });
        }
        for rows in together(shared) {
            if let Next::Halt = self.run_batch(&line, &lines, Batch::List(rows), None).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Opens the store of a step and begins its draft. `None` where that cannot be, or the step moved.
    pub(super) async fn line(&mut self, step: &Step) -> Result<Option<Line>, Trouble> {
        let Some((policy, placement)) = self.world.policies.placement(&step.placement) else {
            return Ok(None);
        };
        let Some(store) = self.store(&step.store, step).await? else { return Ok(None) };
        let known = gather::ledger_facts(Some(self.ledger), self.world.clock.now()).await?;
        let query =
            match gather::own_query_of(&self.world.policies, &known, &step.selection, self.world.clock.now())
            {
                Ok(query) => query,
                Err(_) => {
                    // A subject's value is gone: its request or hold has ended since. That is planned anew.
                    self.moved.push(step.clone());
                    return Ok(None);
                }
            };
        if step.method == Method::Zero {
            self.ledger.owe_scrub(&step.placement).await?;
        }
        let now = self.world.clock.now();
        let mut draft = Draft::new(step, placement.accept_level, now);
        if let Some(counts) = self.inherited.remove(&step.step_id) {
            draft.take(&counts, now);
        }
        self.drafts.push(draft);
        let column = rows_of(policy, placement).and_then(|(_, column)| column.map(ToOwned::to_owned));
        let draft = self.drafts.len() - 1;
        Ok(Some(Line { step: step.clone(), placement: placement.clone(), store, query, column, draft }))
    }

    /// How many records a step may still erase: what a process that died had done of it counts.
    pub(super) fn left_of(&self, line: &Line) -> u64 {
        let handled = self.drafts.get(line.draft).map_or(0, Draft::handled);
        line.step.records.saturating_sub(handled)
    }

    pub(super) fn fail(&mut self, draft: usize, error: &StoreError) {
        if let Some(draft) = self.drafts.get_mut(draft) {
            draft.fail(error.to_string());
        }
    }

    fn leave_open(&mut self, draft: usize, error: &StoreError) {
        self.fail(draft, error);
        if let Some(draft) = self.drafts.get_mut(draft) {
            draft.is_open = true;
        }
    }

    /// One batch of rows: first what they name, then the rows whose every name is shown absent. Rows that share a name
    /// with rows outside the batch are put into `shared`, for a later batch of all that share; where there is none
    /// (`None`), this is that batch.
    async fn run_batch(
        &mut self,
        line: &Line,
        named: &[Line],
        batch: Batch,
        shared: Option<&mut Vec<Listed>>,
    ) -> Result<Next, Trouble> {
        let batch = match batch {
            Batch::List(mut rows) if rows.iter().any(|row| !row.names.is_empty()) => {
                let mut kept: BTreeSet<usize> = BTreeSet::new();
                kept.extend(self.unplanned(line, named, &rows));
                let Some(sharing) = self.named_by_others(line, named, &rows, &kept).await? else {
                    return Ok(Next::Halt);
                };
                self.keep_contested(named, &rows, &sharing.contested, &mut kept);
                self.keep_shared(line, &rows, &sharing.others, &mut kept, shared);
                for child in named {
                    match self.run_named(line, child, &rows, &sharing.others, &mut kept).await? {
                        Next::GoOn => {}
                        Next::Halt => return Ok(Next::Halt),
                    }
                }
                let mut index = 0;
                rows.retain(|_| {
                    index += 1;
                    !kept.contains(&(index - 1))
                });
                Batch::List(rows)
            }
            plain @ (Batch::List(_) | Batch::Window { .. }) => plain,
        };
        if batch.records() == 0 {
            return Ok(Next::GoOn);
        }
        Ok(match self.erase(line, &batch).await? {
            Some(_) => Next::GoOn,
            None => Next::Halt,
        })
    }

    /// Rows that name something for which the plan has no step: they changed since it was made, and stay.
    fn unplanned(&mut self, line: &Line, named: &[Line], rows: &[Listed]) -> Vec<usize> {
        let planned = |column: &String| named.iter().any(|child| child.column.as_ref() == Some(column));
        let mut counts = CountsByTenant::new();
        let mut kept = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            if !row.names.keys().all(planned) {
                counts.entry(row.tenant.clone()).or_default().changed += 1;
                kept.push(index);
            }
        }
        let now = self.world.clock.now();
        if let Some(draft) = self.drafts.get_mut(line.draft) {
            draft.take(&counts, now);
        }
        kept
    }

    /// Erases what a column of the rows names. Rows whose record is not shown absent are added to `kept`.
    ///
    /// Gates, for each row that names something:
    /// 1. the name must lie below the tenant's own prefix, or the row is left and reported;
    /// 2. a record that others name too stays until the last of them goes;
    /// 3. no more records go than the step has, and the rows of the others stay with them;
    /// 4. what remains is erased and read back.
    async fn run_named(
        &mut self,
        rows_line: &Line,
        line: &Line,
        rows: &[Listed],
        others: &BTreeSet<String>,
        kept: &mut BTreeSet<usize>,
    ) -> Result<Next, Trouble> {
        let (Some(column), Some(Records::FoundBy { prefix, .. })) = (&line.column, &line.placement.records)
        else {
            return Ok(Next::GoOn);
        };
        let mut by_locator: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut outside = CountsByTenant::new();
        for (index, row) in
            rows.iter().enumerate().filter(|(index, _)| !kept.contains(index)).collect::<Vec<_>>()
        {
            let Some(locator) = row.names.get(column) else { continue };
            if template::proves(prefix, &row.tenant, locator) {
                by_locator.entry(locator.clone()).or_default().push(index);
            } else {
                outside.entry(row.tenant.clone()).or_default().failed += 1;
                kept.insert(index);
            }
        }
        self.report_outside(line, &outside);
        by_locator.retain(|locator, _| !others.contains(locator));
        self.keep_excess(rows_line, line, rows, &mut by_locator, kept);
        let listed: Vec<Listed> = by_locator
            .iter()
            .filter_map(|(locator, here)| {
                let row = here.first().and_then(|index| rows.get(*index))?;
                Some(Listed {
                    tenant: row.tenant.clone(),
                    key: Key(vec![Value::Text(locator.clone())]),
                    names: BTreeMap::new(),
                    stamp: String::new(),
                })
            })
            .collect();
        if listed.is_empty() {
            return Ok(Next::GoOn);
        }
        match self.erase(line, &Batch::List(listed)).await? {
            Some(result) => {
                for (place, here) in by_locator.values().enumerate() {
                    if result.left.contains(&place) {
                        kept.extend(here);
                    }
                }
                Ok(Next::GoOn)
            }
            None => Ok(Next::Halt),
        }
    }

    fn report_outside(&mut self, line: &Line, outside: &CountsByTenant) {
        if outside.is_empty() {
            return;
        }
        let now = self.world.clock.now();
        if let Some(draft) = self.drafts.get_mut(line.draft) {
            draft.take(outside, now);
            draft.fail("rows name records outside the prefix of their own tenant; both are left as they are");
        }
    }

    /// What the ledger is told before a batch of a step begins.
    pub(super) fn intent(&self, step: &Step, batch: &Batch) -> Result<Intent, Trouble> {
        Ok(Intent {
            run_id: self.row.run_id.clone(),
            step_id: step.step_id.clone(),
            tenant: step.tenant.clone(),
            generation: step.generation,
            policy: (step.category.clone(), step.policy_digest.clone()),
            batch: serde_json::to_string(batch).map_err(|error| Trouble::Doubt(error.to_string()))?,
            placement: step.placement.clone(),
        })
    }

    /// Notes why a batch of a step may not begin. What moved is planned anew and others go on; a stop stops all.
    pub(super) fn halted(&mut self, step: &Step, why: Permit) -> Next {
        match why {
            Permit::Granted(_) => Next::GoOn,
            Permit::Moved | Permit::PolicyMoved => {
                self.moved.push(step.clone());
                Next::GoOn
            }
            Permit::Stopped(stop) => {
                self.refusals.push(Refusal {
                    code: "stopped".to_owned(),
                    category: step.category.clone(),
                    store: step.store.clone(),
                    message: format!("the emergency stop was thrown: {}", stop.reason),
                    approve: None,
                    export_id: None,
                });
                self.stop = Some(stop.reason);
                Next::Halt
            }
            Permit::Lost => {
                self.lose();
                Next::Halt
            }
        }
    }

    /// Others may have taken over what this process had begun: nothing more is done, and nothing recorded.
    pub(super) fn lose(&mut self) {
        self.is_lost = true;
        self.stop = Some("the lease was lost".to_owned());
    }

    /// Permit, erase, read back, outcome. `None` where the unit must halt.
    #[tracing::instrument(level = "debug", name = "batch", skip_all, fields(records = batch.records()))]
    async fn erase(&mut self, line: &Line, batch: &Batch) -> Result<Option<Verified>, Trouble> {
        if self.is_to_stop() {
            return Ok(None);
        }
        let intent = self.intent(&line.step, batch)?;
        let guard = match self.ledger.begin_batch(&intent, self.world.clock.now()).await? {
            Permit::Granted(guard) => guard,
            why @ (Permit::Moved | Permit::PolicyMoved | Permit::Stopped(_) | Permit::Lost) => {
                self.halted(&line.step, why);
                return Ok(None);
            }
        };
        let watch = Stopwatch::start();
        let erased = erase_within(&guard.lease, &*line.store, &line.query, batch, line.method()).await;
        self.erasing = watch.elapsed();
        let still = insist(|| line.store.absent(&line.query, batch)).await;
        if !guard.lease.is_good() {
            // Whoever takes over asks the store what came of it.
            self.lose();
            return Ok(None);
        }
        let now = self.world.clock.now();
        let result = match (erased, still) {
            (Ok(erased), Ok(still)) => verified(batch, erased, &still),
            (Err(error), Ok(still)) => {
                self.fail(line.draft, &error);
                match super::recover::as_found(&*line.store, &line.query, batch, &still).await {
                    Ok(counts) => {
                        self.ledger.finish_batch(guard.number, &counts, now).await?;
                        if let Some(draft) = self.drafts.get_mut(line.draft) {
                            draft.take(&counts, now);
                        }
                    }
                    Err(error) => self.leave_open(line.draft, &error),
                }
                return Ok(None);
            }
            // Nobody knows what is there now. The intent stays open, and the next run asks the store again.
            (_, Err(error)) => {
                self.leave_open(line.draft, &error);
                return Ok(None);
            }
        };
        self.ledger.finish_batch(guard.number, &result.counts, now).await?;
        spans::batch_done(&line.step, guard.number, &result.counts);
        drop(guard);
        if let Some(draft) = self.drafts.get_mut(line.draft) {
            draft.take(&result.counts, now);
            if let Some(why) = result.failures.first() {
                draft.fail(why.clone());
            }
        }
        Ok(Some(result))
    }
}

/// Erases, and asks the lease before each try and each time that an answer of the store has come: a process that was
/// paused goes no further, and what it had not yet committed is undone. Guarded by
/// `a_paused_process_erases_nothing_when_it_wakes`.
pub(super) async fn erase_within(
    lease: &Lease,
    store: &dyn Store,
    query: &Query,
    batch: &Batch,
    method: Method,
) -> Result<Erased, StoreError> {
    insist(|| async {
        let mut erasing = std::pin::pin!(store.erase(query, batch, method));
        std::future::poll_fn(|context| match lease.is_good() {
            true => erasing.as_mut().poll(context),
            false => Poll::Ready(Err(run_out(query))),
        })
        .await
    })
    .await
}

fn run_out(query: &Query) -> StoreError {
    StoreError {
        kind: ErrorKind::Refused,
        retry: Retry::Never,
        operation: "erase",
        store: query.placement.store.clone(),
        message: "the lease of this process has run out".to_owned(),
    }
}

/// Calls a store until it answers or says that trying again is of no use. What a store is asked to erase is asked
/// again with the whole predicate, so a second try never takes more than the first.
pub(super) async fn insist<T, F, Fut>(call: F) -> Result<T, StoreError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, StoreError>>,
{
    let mut pause = PAUSE;
    for _ in 1..TRIES_MAX {
        match call().await {
            Err(error) if error.retry == Retry::Later => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer,
        }
    }
    call().await.map_err(|error| StoreError { retry: Retry::Exhausted, ..error })
}
