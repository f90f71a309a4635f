//! Reports for people and scripts, made from plans and single looks: status, explain, simulate, online checks.
//! It owns their shapes (`contract.md`, JSON answers); the decisions in them are the planner's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::Serialize;

use super::calendar::{Calendar, Due};
use super::promises::promises;
use super::{Readers, Trouble, World, facts, findings, ledger_facts, ledger_view, query_of, stranger};
use crate::facts::{Facts, LedgerFacts};
use crate::id::{PlacementId, TenantId};
use crate::ledger::{Head, RequestRow, RequestState};
use crate::plan::decide::rows_of;
use crate::plan::fate::{Sighting, fate};
use crate::plan::{Disposition, Reason, Scope, Selection, TenantScope, Times, due, groups};
use crate::policy::{Placement, Policy};
use crate::stores::{ErrorKind, SeenTime};

/// Names that are looked up at once: one question to each of two stores.
const NAMES_AT_ONCE: usize = 500;

/// Names that are looked up at most: a check answers while somebody waits for it.
const NAMES_MAX: usize = 100_000;

/// Something that keeps policies from being enforced, or might.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The file it concerns, where one does.
    pub file: String,
    /// The line in it, from 1; 0 where none does.
    pub line: usize,
    /// Placement and field.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Asks every store whether the policies fit it. Sends no mutating command.
///
/// # Errors
/// Where the ledger is in doubt. A store that cannot be reached is a problem in the answer.
pub async fn check_online(world: &World) -> Result<Vec<Problem>, Trouble> {
    let ledger = ledger_view(world).await?;
    let (own, marked) = match &ledger {
        Some(ledger) => (ledger.ledger_id().await?, ledger.marked_stores().await?),
        None => (String::new(), BTreeMap::new()),
    };
    let readers = Readers::open(world).await?;
    let mut problems: Vec<Problem> = readers
        .unreachable
        .iter()
        .map(|(id, why)| error(format!("stores.{id}"), why.clone(), None))
        .collect();
    for (id, reader) in &readers.readers {
        let identity = match reader.identity().await {
            Ok(identity) => identity,
            Err(trouble) => {
                problems.push(error(format!("stores.{id}"), trouble.to_string(), None));
                continue;
            }
        };
        if let Some(why) = stranger(id, &identity, &own, marked.get(id)) {
            let help = "make sure that this is the store meant, not a restored copy or a namesake".to_owned();
            problems.push(error(format!("stores.{id}"), why, Some(help)));
        }
    }
    for policy in &world.policies {
        for placement in policy.placements.iter().filter(|placement| placement.records.is_some()) {
            let Ok(reader) = readers.get(&placement.store) else { continue };
            problems.extend(levels(policy, placement, &reader.capability()));
            if let Some((rows, Some(column))) = rows_of(policy, placement)
                && let Ok(naming) = readers.get(&rows.store)
                && let Err(trouble) = naming.naming_rows(rows, column, &[], &[]).await
            {
                problems.push(error(format!("{}.found_by", placement.name), trouble.to_string(), None));
            }
            match unnamed(policy, placement, &readers).await {
                Ok(problem) => problems.extend(problem),
                Err(trouble) => problems.push(error(placement.name.to_string(), trouble.to_string(), None)),
            }
            match findings(world, reader.as_ref(), placement).await {
                Ok((findings, _)) => problems.extend(findings.into_iter().map(|finding| Problem {
                    severity: if finding.fatal { "error" } else { "warning" },
                    file: String::new(),
                    line: 0,
                    field: format!("{}.{}", placement.name, finding.field),
                    message: finding.message,
                    help: Some(finding.help),
                })),
                Err(trouble) => problems.push(error(placement.name.to_string(), trouble.to_string(), None)),
            }
        }
    }
    Ok(problems)
}

/// Records below the prefix of a `found_by` placement that no row names: nothing will ever find them.
async fn unnamed(
    policy: &Policy,
    placement: &Placement,
    readers: &Readers,
) -> Result<Option<Problem>, Trouble> {
    let Some((rows, Some(column))) = rows_of(policy, placement) else { return Ok(None) };
    let (Ok(own), Ok(naming)) = (readers.get(&placement.store), readers.get(&rows.store)) else {
        return Ok(None);
    };
    let (mut after, mut looked_at, mut without) = (String::new(), 0, 0);
    loop {
        let names = match own.inventory(placement, &after, NAMES_AT_ONCE).await {
            Ok(names) => names,
            // A store that does not list what rows name.
            Err(error) if error.kind == ErrorKind::Unresolved => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(last) = names.last() else { break };
        let named = naming.naming_rows(rows, column, &names, &[]).await?;
        without += names.iter().filter(|name| !named.contains_key(*name)).count();
        looked_at += names.len();
        if looked_at >= NAMES_MAX || names.len() < NAMES_AT_ONCE {
            break;
        }
        after.clone_from(last);
    }
    let of = if looked_at >= NAMES_MAX { format!(" of the first {looked_at}") } else { String::new() };
    Ok((without > 0).then(|| Problem {
        severity: "warning",
        file: String::new(),
        line: 0,
        field: format!("{}.found_by", placement.name),
        message: format!("{without} records{of} are named by no row of `{}`", rows.name),
        help: Some(
            "no rule will ever find them: give them a placement with a prefix, or erase them by hand once nobody \
             needs them"
                .to_owned(),
        ),
    }))
}

fn error(field: String, message: String, help: Option<String>) -> Problem {
    Problem { severity: "error", file: String::new(), line: 0, field, message, help }
}

fn levels(policy: &Policy, placement: &Placement, store: &crate::facts::Capability) -> Vec<Problem> {
    let short = |rule: &&crate::policy::Rule| {
        let wanted = rule.level.unwrap_or(rule.method.level()).max(rule.method.level());
        let wanted = placement.accept_level.map_or(wanted, |accepted| wanted.min(accepted));
        let method = store.method_for(rule.method, placement.accept_level);
        store.levels.get(&method).is_none_or(|level| *level < wanted)
    };
    let problem = |rule: &crate::policy::Rule| {
        error(
            format!("{}.method", placement.name),
            format!("store `{}` does not reach the level that `{}` needs", placement.store, rule.clause),
            Some(
                "choose another method, or say `accept_level` on the placement: certificates then say so"
                    .to_owned(),
            ),
        )
    };
    policy.rules.iter().filter(short).map(problem).collect()
}

/// One record: when it is due, why or why not, under which clause.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// Where.
    pub placement: PlacementId,
    /// The key as it was typed.
    pub key: Vec<String>,
    /// Whose; `null` where it names nobody.
    pub tenant: Option<TenantId>,
    /// When it happened, where that is usable.
    pub event_time: Option<DateTime<Utc>>,
    /// `retain` or `erase`.
    pub disposition: Disposition,
    /// Why; `null` where it is simply not due.
    pub reason: Option<Reason>,
    /// The clause that applies or would.
    pub clause: Option<String>,
    /// From when on it may go.
    pub due_at: Option<DateTime<Utc>>,
    /// By when it is gone.
    pub deadline: Option<DateTime<Utc>>,
}

/// Explains one record.
///
/// # Errors
/// Where there is no such placement or record, or the key is ambiguous (2), or as for a plan.
pub async fn explain(
    world: &World,
    placement: &PlacementId,
    key: &[String],
    at: DateTime<Utc>,
) -> Result<Explanation, Trouble> {
    let ledger = ledger_view(world).await?;
    let view = ledger.as_deref();
    let ledger = ledger_facts(view, world.clock.now()).await?;
    let (policy, _) = world.policies.placement(placement).ok_or_else(|| Trouble::no_placement(placement))?;
    let readers = Readers::proven(world, view).await?;
    let selection = Selection {
        placement: placement.clone(),
        tenants: TenantScope::AllExcept(Vec::new()),
        within: vec![Scope { subjects: None, times: Times::Any }],
        except: Vec::new(),
        parts: Vec::new(),
    };
    // A record that a row names shares its fate, so that row is looked at.
    let query = query_of(&world.policies, &ledger, &selection, world.clock.now())?;
    let rows = Arc::clone(&query.placement);
    let seen = match readers.get(&rows.store)?.look(&query, key).await {
        Err(error) if error.kind == ErrorKind::Ambiguous && query.naming.is_some() => {
            let text =
                format!("several rows of `{}` name it, and it goes with the last: explain those", rows.name);
            return Err(Trouble::Schema(text));
        }
        looked => looked?,
    };
    let seen = seen.ok_or_else(|| Trouble::Schema(format!("there is no such record in `{placement}`")))?;
    let event_time = match seen.event_time {
        SeenTime::Usable(time) => Some(time),
        SeenTime::None | SeenTime::Unusable => None,
    };
    let sighting = Sighting { tenant: seen.tenant.as_ref(), event_time, subjects: &seen.subjects };
    let fate = fate(policy, &rows, &sighting, &ledger, at);
    Ok(Explanation {
        placement: placement.clone(),
        key: key.to_vec(),
        tenant: seen.tenant,
        event_time,
        disposition: fate.disposition,
        reason: fate.reason,
        clause: fate.clause,
        due_at: fate.due_at,
        deadline: fate.deadline,
    })
}

/// What will be erased when.
#[derive(Debug, Clone, Serialize)]
pub struct Simulation {
    /// By day, placement and reason; only where something falls due. What was due before the span counts on its
    /// first day.
    pub days: Vec<SimulatedDay>,
}

/// What falls due on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SimulatedDay {
    /// The local date in the schedule's zone.
    pub date: NaiveDate,
    /// Where.
    pub placement: PlacementId,
    /// Why.
    pub reason: Reason,
    /// How many.
    pub records: u64,
}

/// Plans the end of each local day in the span, as everything is known now, and tells what each adds.
///
/// # Errors
/// Where the span is empty or longer than ten years (2), or as for a plan.
pub async fn simulate(world: &World, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Simulation, Trouble> {
    if to <= from || (to - from).num_days() > 3_660 {
        return Err(Trouble::Schema("the span is empty, runs backwards or is longer than ten years".into()));
    }
    let ledger = ledger_view(world).await?;
    let view = ledger.as_deref();
    let ledger = ledger_facts(view, world.clock.now()).await?;
    let readers = Readers::proven(world, view).await?;
    let zone = world.config.schedule.time_zone;
    let mut days = Vec::new();
    let mut calendar = Calendar::default();
    let mut date = from.with_timezone(&zone).date_naive();
    let last = to.with_timezone(&zone).date_naive();
    while date <= last {
        let at = due::end_of_day(date, zone).min(to);
        let facts = reached(world, &readers, ledger.clone(), at).await?;
        for ((placement, reason), records) in calendar.turn(due_in(world, &facts, at)) {
            days.push(SimulatedDay { date, placement, reason, records });
        }
        date = date
            .checked_add_days(Days::new(1))
            .ok_or_else(|| Trouble::Schema("the span leaves the calendar".into()))?;
    }
    Ok(Simulation { days })
}

/// What is due, by placement, tenant and reason.
fn due_in(world: &World, facts: &Facts, at: DateTime<Utc>) -> Due {
    let mut due = Due::new();
    for group in groups(&world.policies, facts, at) {
        if let (Disposition::Erase, Some(survey)) =
            (group.reason.disposition(), facts.surveys.get(&group.selection.digest()))
        {
            for (tenant, tally) in &survey.tenants {
                let place = (group.placement.name.clone(), tenant.clone());
                *due.entry(place).or_default().entry(group.reason).or_default() += tally.records;
            }
        }
    }
    due
}

async fn reached(
    world: &World,
    readers: &Readers,
    ledger: LedgerFacts,
    at: DateTime<Utc>,
) -> Result<Facts, Trouble> {
    let facts = facts(world, readers, ledger, at).await?;
    match facts.unreachable.first_key_value() {
        Some((id, why)) => Err(Trouble::unreachable(id, Some(why))),
        None => Ok(facts),
    }
}

/// The promises at a glance.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Records that may be erased now.
    pub due: u64,
    /// Records whose deadline has passed, and open requests past theirs that nothing lawful keeps.
    pub overdue: u64,
    /// Records whose deadline is near.
    pub at_risk: u64,
    /// Records kept by a hold.
    pub held: u64,
    /// Records whose tenant or time cannot be told.
    pub parked: u64,
    /// Requests that are neither completed nor cancelled.
    pub requests_open: u64,
    /// The last run.
    pub last_run: Option<LastRun>,
    /// The head of the audit log.
    pub audit_head: Option<Head>,
    /// Why the emergency stop is on, if it is.
    pub stopped: Option<String>,
    /// False where a promise is overdue.
    pub ok: bool,
}

/// The last run, as `status` tells it.
#[derive(Debug, Clone, Serialize)]
pub struct LastRun {
    /// Its id.
    pub run_id: String,
    /// How it ended.
    pub status: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The promises at a glance, asked of ledger and stores now.
///
/// # Errors
/// As for a plan.
pub async fn status(world: &World) -> Result<Status, Trouble> {
    let now = world.clock.now();
    let ledger = ledger_view(world).await?;
    let view = ledger.as_deref();
    let known = ledger_facts(view, now).await?;
    let readers = Readers::proven(world, view).await?;
    let facts = reached(world, &readers, known, now).await?;
    let mut status = Status {
        due: 0,
        overdue: 0,
        at_risk: 0,
        held: 0,
        parked: 0,
        requests_open: 0,
        last_run: None,
        audit_head: None,
        stopped: None,
        ok: true,
    };
    let mut counted_requests = BTreeSet::new();
    for promise in promises(world, &readers, &facts, now).await? {
        counted_requests.extend(promise.request_id);
        match promise.reason {
            Reason::Hold => status.held += promise.records,
            Reason::Parked => status.parked += promise.records,
            Reason::Grace | Reason::Entitlement => {}
            Reason::Request | Reason::Termination | Reason::Age => {
                status.due += promise.records;
                status.overdue += promise.overdue;
                status.at_risk += promise.at_risk;
            }
        }
    }
    if let Some(ledger) = &ledger {
        let requests = ledger.requests().await?;
        let open = |state: RequestState| !matches!(state, RequestState::Completed | RequestState::Cancelled);
        status.requests_open = requests.iter().filter(|request| open(request.state)).count() as u64;
        // What a request's records already say is not said twice.
        let is_late = |request: &&RequestRow| {
            open(request.state) && request.deadline <= now && !counted_requests.contains(&request.request_id)
        };
        status.overdue += requests.iter().filter(is_late).count() as u64;
        status.last_run = ledger.runs(1).await?.into_iter().next().map(|run| LastRun {
            run_id: run.run_id.to_string(),
            status: run.status,
            started_at: run.started_at,
            ended_at: run.ended_at,
        });
        status.audit_head = ledger.head().await?;
        status.stopped = ledger.stopped().await?.map(|stop| stop.reason);
    }
    status.ok = status.overdue == 0;
    Ok(status)
}
