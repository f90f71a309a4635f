//! What the next run depends on, asked of the ledger and of what this process remembers.
//! It owns the questions; what follows from the answers is decided in [`super::agenda`].

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::agenda::{Failed, Outlook, Window};
use crate::facts::{BACKDATED_REST, LedgerFacts, OpenRequest};
use crate::gather::{Trouble, World};
use crate::id::{ExportId, HoldId, RequestId};
use crate::ledger::{Ledger, RunRow};
use crate::plan::cover::falling;
use crate::policy::{Policies, Trigger};
use crate::schedule::CronExpr;

/// The name under which the ledger keeps the instants of the schedule.
pub(super) const TICKS: &str = "run";

/// The name under which the ledger keeps when the schedule was first attended to.
const FIRST: &str = "first";

/// Runs that are looked at: more failures in a row than that make the pause no longer.
const RUNS_MAX: u32 = 32;

/// How long a run's place is asked for to see whether anybody holds it. Who lives holds it all the time.
const PLACE_WAIT: Duration = Duration::from_millis(200);

/// A request that is recorded while a run begins may become visible this much later than its instant says.
const COMMIT_LAG: TimeDelta = TimeDelta::minutes(1);

/// What a process remembers from look to look; a new process begins with nothing and looks for what was left.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The instant of the last run that this process tried.
    pub(super) tried: Option<DateTime<Utc>>,
    /// Runs of this process that could not even begin, so that the ledger knows nothing of them.
    pub(super) broke: Option<Failed>,
    /// Requests that were there when it was tried, of those recorded shortly before.
    served: BTreeSet<RequestId>,
    holds: Option<BTreeSet<HoldId>>,
    exports: Option<BTreeSet<ExportId>>,
    was_stopped: bool,
    delay: Option<Duration>,
    freed: Option<DateTime<Utc>>,
}

/// The answers.
#[derive(Debug, Clone)]
pub(super) struct Look {
    cron: CronExpr,
    ticked: DateTime<Utc>,
    begun: DateTime<Utc>,
    tried: Option<DateTime<Utc>>,
    requests: Vec<DateTime<Utc>>,
    recent: BTreeSet<RequestId>,
    windows: Vec<Window>,
    age_deadline: Option<TimeDelta>,
    failed: Option<Failed>,
    unfinished: Option<DateTime<Utc>>,
    freed: Option<DateTime<Utc>>,
}

impl Look {
    /// How many runs failed one after the other.
    pub(super) fn failures(&self) -> u32 {
        self.failed.map_or(0, |failed| failed.times)
    }

    /// The same as the agenda takes it.
    pub(super) fn outlook(&self, world: &World) -> Outlook<'_> {
        Outlook {
            cron: &self.cron,
            zone: world.config.schedule.time_zone,
            ticked: self.ticked,
            begun: self.begun,
            tried: self.tried,
            requests: self.requests.clone(),
            windows: self.windows.clone(),
            age_deadline: self.age_deadline,
            failed: self.failed,
            unfinished: self.unfinished,
            freed: self.freed,
        }
    }
}

/// Looks once.
///
/// # Errors
/// Where the ledger cannot be asked.
pub(super) async fn look(
    world: &World,
    ledger: &dyn Ledger,
    memory: &mut Memory,
    now: DateTime<Utc>,
) -> Result<Look, Trouble> {
    let cron =
        CronExpr::parse(&world.config.schedule.cron).map_err(|why| Trouble::Schema(why.to_string()))?;
    let (ticked, first) = ticks(ledger, now).await?;
    let runs = ledger.runs(RUNS_MAX).await?;
    let known = ledger.facts().await?;
    let is_stopped = ledger.stopped().await?.is_some();
    let delay = world.config.schedule.request_delay;
    memory.notice(&known, is_stopped, delay, now);
    // The instant of a plan is that up to which everything due was in it.
    let by_runs = runs.iter().map(|run| run.at).max();
    let is_new = memory.tried.is_none();
    let left = unfinished(ledger, runs.first(), memory.tried).await?;
    // A tick that somebody took and that no run came of: its process died before it could begin one.
    let lost =
        Some(ticked).filter(|ticked| is_new && *ticked > first && by_runs.is_none_or(|at| at < *ticked));
    let ready = |request: &OpenRequest| match request.recorded_at + delay {
        // It was not there yet when the run was made that should have tried it.
        ready if memory.has_overlooked(request, ready) => now,
        ready => ready,
    };
    let is_recent = |request: &&OpenRequest| request.recorded_at + delay > now - COMMIT_LAG;
    Ok(Look {
        cron,
        ticked,
        begun: first,
        tried: by_runs.max(memory.tried),
        requests: known.requests.iter().map(ready).collect(),
        recent: known.requests.iter().filter(is_recent).map(|request| request.request_id.clone()).collect(),
        windows: windows(&world.policies, &known),
        age_deadline: age_deadline(&world.policies),
        failed: together(failed(&runs), memory.broke),
        unfinished: left.or(lost),
        freed: memory.freed,
    })
}

impl Memory {
    /// A run is made of what was seen.
    pub(super) fn tries(&mut self, seen: &Look, now: DateTime<Utc>) {
        self.tried = Some(now);
        self.served.clone_from(&seen.recent);
    }

    fn has_overlooked(&self, request: &OpenRequest, ready: DateTime<Utc>) -> bool {
        self.tried.is_some_and(|tried| ready <= tried && tried - COMMIT_LAG < ready)
            && !self.served.contains(&request.request_id)
    }

    /// Notices what was kept before and is so no longer: by a hold, for an export, by the emergency stop, by a longer delay.
    fn notice(&mut self, known: &LedgerFacts, is_stopped: bool, delay: Duration, now: DateTime<Utc>) {
        let holds: BTreeSet<HoldId> = known.holds.iter().map(|hold| hold.hold_id.clone()).collect();
        let is_released = self.holds.as_ref().is_some_and(|before| !before.is_subset(&holds));
        // What waited for an export that is finished or withdrawn may be due now.
        let exports: BTreeSet<ExportId> =
            known.exports.iter().map(|export| export.export_id.clone()).collect();
        let is_exported = self.exports.as_ref().is_some_and(|before| !before.is_subset(&exports));
        let is_shorter = self.delay.is_some_and(|before| delay < before);
        if is_released || is_exported || is_shorter || (self.was_stopped && !is_stopped) {
            self.freed = Some(now);
        }
        (self.holds, self.exports) = (Some(holds), Some(exports));
        (self.delay, self.was_stopped) = (Some(delay), is_stopped);
    }
}

/// The last instant of the schedule that somebody attended to, and the first ever. Where there is none, now is: what was
/// missed before anybody kept a schedule is not made up.
async fn ticks(ledger: &dyn Ledger, now: DateTime<Utc>) -> Result<(DateTime<Utc>, DateTime<Utc>), Trouble> {
    if ledger.last_tick(FIRST).await?.is_none() {
        ledger.claim_tick(FIRST, now, now).await?;
        ledger.claim_tick(TICKS, now, now).await?;
    }
    let first = ledger.last_tick(FIRST).await?.unwrap_or(now);
    Ok((ledger.last_tick(TICKS).await?.unwrap_or(first), first))
}

/// Since when the latest run is left unfinished, if this process has not tried since to take it up.
async fn unfinished(
    ledger: &dyn Ledger,
    latest: Option<&RunRow>,
    tried: Option<DateTime<Utc>>,
) -> Result<Option<DateTime<Utc>>, Trouble> {
    let Some(run) = latest.filter(|run| tried.is_none_or(|tried| run.started_at > tried)) else {
        return Ok(None);
    };
    Ok(match run.status.as_str() {
        "interrupted" => Some(run.started_at),
        // Somebody carries it on, or has died in it: then its place is free.
        "running" => match tokio::time::timeout(PLACE_WAIT, ledger.claim_run()).await {
            Ok(place) => {
                drop(place?);
                Some(run.started_at)
            }
            Err(_) => None,
        },
        _ => None,
    })
}

/// Failed runs at the head of the ledger's list, latest first.
fn failed(runs: &[RunRow]) -> Option<Failed> {
    let failed = || runs.iter().take_while(|run| run.status == "failed");
    let last = failed().next()?;
    let times = u32::try_from(failed().count()).unwrap_or(RUNS_MAX);
    Some(Failed { times, at: last.ended_at.unwrap_or(last.started_at) })
}

fn together(one: Option<Failed>, other: Option<Failed>) -> Option<Failed> {
    match (one, other) {
        (Some(one), Some(other)) => {
            Some(Failed { times: one.times.saturating_add(other.times), at: one.at.max(other.at) })
        }
        (one, other) => one.or(other),
    }
}

/// What falls due for tenants whose account has ended, as a scheduled run sees it.
fn windows(policies: &Policies, known: &LedgerFacts) -> Vec<Window> {
    let of = |ended: &crate::facts::TerminatedTenant| {
        let (terminated_at, recorded_at) = (ended.terminated_at, ended.recorded_at);
        falling(policies, terminated_at).into_iter().map(move |one| {
            let rests = terminated_at < recorded_at && one.grace_until <= recorded_at;
            let rest = if rests { recorded_at + BACKDATED_REST } else { one.grace_until };
            Window { due_at: one.grace_until.max(rest), deadline: one.deadline }
        })
    };
    known.terminated.iter().flat_map(of).collect()
}

/// The shortest time that an age rule gives; months count as their shortest.
fn age_deadline(policies: &Policies) -> Option<TimeDelta> {
    let rules = policies.iter().filter_map(|policy| policy.rule(Trigger::Age));
    rules
        .map(|rule| TimeDelta::days(i64::from(rule.deadline.months) * 28 + i64::from(rule.deadline.days)))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::OpenExport;
    use crate::id::{PlanId, RunId};

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn run(status: &str, minute: u32) -> RunRow {
        let started_at = at(&format!("2025-06-10T02:{minute:02}:00Z"));
        RunRow {
            run_id: RunId::new(format!("run-{minute}")),
            plan_id: PlanId::new("plan"),
            at: started_at,
            status: status.to_owned(),
            started_at,
            ended_at: Some(started_at + TimeDelta::seconds(30)),
        }
    }

    #[test]
    fn only_failures_since_the_last_run_that_did_not_fail_count() {
        let runs = [run("failed", 9), run("failed", 8), run("done", 7), run("failed", 6)];
        assert_eq!(failed(&runs), Some(Failed { times: 2, at: at("2025-06-10T02:09:30Z") }));
        assert_eq!(failed(&runs[2..]), None);
        let broke = Failed { times: 3, at: at("2025-06-10T02:20:00Z") };
        let both = Failed { times: 5, at: broke.at };
        assert_eq!(together(failed(&runs), Some(broke)), Some(both));
        assert_eq!(together(None, Some(broke)), Some(broke));
    }

    #[test]
    fn a_hold_that_is_gone_and_a_stop_that_is_lifted_set_something_free() {
        let hold = |id: &str| crate::facts::ActiveHold {
            hold_id: HoldId::new(id),
            tenant: crate::id::TenantId::parse("t-1").unwrap(),
            subjects: Vec::new(),
            categories: Vec::new(),
        };
        let held = LedgerFacts { holds: vec![hold("a"), hold("b")], ..LedgerFacts::default() };
        let less = LedgerFacts { holds: vec![hold("b")], ..LedgerFacts::default() };
        let now = at("2025-06-10T03:00:00Z");
        let hour = Duration::from_secs(3_600);
        let mut memory = Memory::default();
        memory.notice(&less, false, hour, now);
        memory.notice(&held, false, hour, now);
        assert_eq!(memory.freed, None, "a new hold frees nothing");
        memory.notice(&less, false, hour, now);
        assert_eq!(memory.freed, Some(now));
        let mut memory = Memory::default();
        memory.notice(&less, true, hour, now);
        memory.notice(&less, true, hour * 2, now);
        assert_eq!(memory.freed, None);
        memory.notice(&less, false, hour * 2, now);
        assert_eq!(memory.freed, Some(now));
        let mut memory = Memory::default();
        memory.notice(&less, false, hour, now);
        memory.notice(&less, false, Duration::ZERO, now);
        assert_eq!(memory.freed, Some(now), "a delay that became shorter");
        let export = OpenExport {
            export_id: ExportId::new("exp-1"),
            tenant: crate::id::TenantId::parse("t-1").unwrap(),
            categories: Vec::new(),
            asked_at: now,
        };
        let waiting = LedgerFacts { exports: vec![export], ..less.clone() };
        let mut memory = Memory::default();
        memory.notice(&less, false, hour, now);
        memory.notice(&waiting, false, hour, now);
        assert_eq!(memory.freed, None, "a new export frees nothing");
        memory.notice(&less, false, hour, now);
        assert_eq!(memory.freed, Some(now), "an export that is finished or withdrawn");
    }
}
