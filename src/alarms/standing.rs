//! Which alarms stand, given what is known: one function from facts to alarms. It owns the kinds, their keys and when
//! each is raised; it asks nobody and records nothing. Pure.
//!
//! # Properties
//! - A record that was asked after and is overdue is told of by exactly one `overdue` alarm, that of its placement and
//!   tenant; a tenant whose records are not overdue has none. Guarded by
//!   `the_overdue_alarms_are_exactly_those_of_the_overdue_records`.
//! - Where a placement could not be asked, what was known of it stands, and what was at risk there becomes overdue when
//!   its deadline passes.
//! - No alarm says anything that a subject, a store or another server wrote.

mod outward;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::Notes;
use super::forecast::{Forecast, forecast};
use super::known::{Known, Refused, Sight};
use crate::gather::{Look, Promise, lead_within};
use crate::id::{Category, PlacementId, RequestId, StoreId, TenantId};
use crate::ledger::{AlarmRow, NewAlarm, RequestRow, RequestState};
use crate::plan::Reason;

/// Every kind of alarm that this module raises.
pub const KINDS: [&str; 13] = [
    "overdue",
    "at-risk",
    "held-past-deadline",
    "parked",
    "run-failed",
    "run-refused",
    "policy-broken",
    "store-unreachable",
    "in-doubt",
    "audit-stale",
    "delivery-given-up",
    "export-unfinished",
    "stopped",
];

/// The kinds that speak of records in a placement.
const OF_RECORDS: [&str; 4] = ["overdue", "at-risk", "held-past-deadline", "parked"];

/// Most tenants of one placement that have an alarm each; above, one alarm speaks of all of them. A night without a run
/// makes every tenant late at once, and nobody reads a thousand messages.
const TENANTS_MAX: usize = 100;

/// Names that an alarm about many lists at most.
const NAMES_MAX: usize = 20;

/// How long an entry may wait to be signed: a run publishes at its end, and a run may take long.
const UNSIGNED_MAX: TimeDelta = TimeDelta::hours(1);

/// How long the emergency stop may be on before that is told: whoever threw it knows, for a while.
const STOPPED_MAX: TimeDelta = TimeDelta::hours(1);

/// How far the clock may be behind what the ledger has seen; the executor refuses to begin beyond the same.
const CLOCK_SLACK: TimeDelta = TimeDelta::minutes(5);

/// How long what another process said stands without being said again.
const NOTE_TOLD: TimeDelta = TimeDelta::minutes(15);

/// Parked records that have become more are told of again after this time, or once they have doubled.
const PARKED_AGAIN: TimeDelta = TimeDelta::days(1);

/// Every alarm that stands, by key.
pub fn standing(known: &Known, notes: &Notes, now: DateTime<Utc>) -> Vec<NewAlarm> {
    let mut all = Vec::new();
    if let Sight::Seen(look) = &known.sight {
        all.extend(of_records("overdue", overdue(look), "past their deadline"));
        all.extend(of_records("at-risk", at_risk(known, look, now), "at risk of missing their deadline"));
        let held = sums(look, |promise| if promise.reason == Reason::Hold { promise.overdue } else { 0 });
        all.extend(of_records("held-past-deadline", held, "kept by a hold past their deadline"));
        all.extend(parked(known, look, now));
    }
    all.extend(remembered(known, now));
    all.extend(requests(known, now));
    all.extend(endings(known, now));
    all.extend(runs(known));
    let noted = silent(known).into_iter().chain(notes.alarms.iter().cloned());
    all.extend(noted.map(|alarm| signed(alarm, notes, now)));
    all.extend(own_state(known, now));
    all.extend(outward::exports(known, now));
    all.extend(outward::given_up(known, now));
    all.extend(said_by_others(known, notes, now));
    all.sort_by(|one, other| one.key.cmp(&other.key));
    all.dedup_by(|one, other| one.key == other.key);
    all
}

/// Records of one tenant in one placement, whatever the reason.
struct Sum {
    category: Category,
    store: StoreId,
    records: u64,
    deadline: Option<DateTime<Utc>>,
    reasons: BTreeSet<&'static str>,
    requests: BTreeSet<RequestId>,
    forecast: Option<Forecast>,
}

type Sums = BTreeMap<(PlacementId, Option<TenantId>), Sum>;

fn overdue(look: &Look) -> Sums {
    sums(look, |promise| if promise.is_due() { promise.overdue } else { 0 })
}

fn sums(look: &Look, count: impl Fn(&Promise) -> u64) -> Sums {
    let mut all = Sums::new();
    for promise in &look.promises {
        add(&mut all, promise, count(promise));
    }
    all
}

fn add(all: &mut Sums, promise: &Promise, records: u64) {
    if records == 0 {
        return;
    }
    let sum = all.entry((promise.placement.clone(), promise.tenant.clone())).or_insert_with(|| Sum {
        category: promise.category.clone(),
        store: promise.store.clone(),
        records: 0,
        deadline: None,
        reasons: BTreeSet::new(),
        requests: BTreeSet::new(),
        forecast: None,
    });
    sum.records += records;
    sum.deadline = [sum.deadline, promise.deadline].into_iter().flatten().min();
    sum.reasons.insert(promise.reason.word());
    sum.requests.extend(promise.request_id.clone());
}

/// Records near their deadline, and records that cannot be gone by theirs at the speed that was measured.
fn at_risk(known: &Known, look: &Look, now: DateTime<Utc>) -> Sums {
    let mut all = sums(look, |promise| if promise.is_due() { promise.at_risk } else { 0 });
    let Some(speed) = known.speed else { return all };
    let begins_at = known.next_run.unwrap_or(now);
    for promise in
        look.promises.iter().filter(|promise| promise.is_due() && promise.overdue < promise.records)
    {
        let Some(deadline) = promise.gone_by.filter(|deadline| *deadline > now) else { continue };
        let judged = forecast(look, speed, begins_at, deadline, now);
        if judged.is_enough() {
            continue;
        }
        add(&mut all, promise, promise.records - promise.overdue - promise.at_risk);
        if let Some(sum) = all.get_mut(&(promise.placement.clone(), promise.tenant.clone())) {
            sum.forecast.get_or_insert(judged);
        }
    }
    all
}

/// One alarm for each tenant of a placement, or one for all of them where they are many.
fn of_records(kind: &str, sums: Sums, what: &str) -> Vec<NewAlarm> {
    let mut by_placement: BTreeMap<PlacementId, Vec<(Option<TenantId>, Sum)>> = BTreeMap::new();
    for ((placement, tenant), sum) in sums {
        by_placement.entry(placement).or_default().push((tenant, sum));
    }
    let mut all = Vec::new();
    for (placement, tenants) in by_placement {
        if tenants.len() > TENANTS_MAX {
            all.extend(of_many(kind, &placement, &tenants, what));
            continue;
        }
        for (tenant, sum) in tenants {
            let whose = tenant.as_ref().map_or("nobody".to_owned(), ToString::to_string);
            let by = sum.deadline.map(|at| format!(" ({})", shown(at))).unwrap_or_default();
            let message = format!("{} records of {whose} in {placement} are {what}{by}", sum.records);
            let fields = json!({
                "placement": placement, "store": sum.store, "category": sum.category, "tenant": tenant,
                "records": sum.records, "deadline": sum.deadline.map(shown), "reasons": sum.reasons,
                "requests": sum.requests.iter().take(NAMES_MAX).collect::<Vec<_>>(), "forecast": sum.forecast,
            });
            let end = tenant.map(|tenant| format!("/{tenant}")).unwrap_or_default();
            all.push(alarm(format!("{kind}/{placement}{end}"), kind, message, fields));
        }
    }
    all
}

fn of_many(
    kind: &str,
    placement: &PlacementId,
    tenants: &[(Option<TenantId>, Sum)],
    what: &str,
) -> Option<NewAlarm> {
    let (_, first) = tenants.first()?;
    let records: u64 = tenants.iter().map(|(_, sum)| sum.records).sum();
    let deadline = tenants.iter().filter_map(|(_, sum)| sum.deadline).min();
    let message = format!("{records} records of {} tenants in {placement} are {what}", tenants.len());
    let names: Vec<_> = tenants.iter().filter_map(|(tenant, _)| tenant.as_ref()).take(NAMES_MAX).collect();
    let fields = json!({
        "placement": placement, "store": first.store, "category": first.category, "tenant": null,
        "tenants": tenants.len(), "among_them": names, "records": records, "deadline": deadline.map(shown),
    });
    Some(alarm(format!("{kind}/{placement}"), kind, message, fields))
}

/// Records whose tenant or time cannot be told. The alarm stands as long as there are any, and is raised anew when
/// they have become more.
fn parked(known: &Known, look: &Look, now: DateTime<Utc>) -> Vec<NewAlarm> {
    let mut by_placement: BTreeMap<&PlacementId, (u64, &Promise)> = BTreeMap::new();
    for promise in look.promises.iter().filter(|promise| promise.reason == Reason::Parked) {
        by_placement.entry(&promise.placement).or_insert((0, promise)).0 += promise.records;
    }
    let mut all = Vec::new();
    for (placement, (records, promise)) in by_placement {
        let start = format!("parked/{placement}/");
        let before = known.before.iter().find_map(|row| {
            let told: u64 = row.alarm.key.strip_prefix(&start)?.parse().ok()?;
            Some((told, row.raised_at))
        });
        let told = match before {
            Some((told, raised_at)) if records > told => {
                let is_time = now - raised_at >= PARKED_AGAIN || records >= told.saturating_mul(2);
                if is_time { records } else { told }
            }
            Some((told, _)) => told,
            None => records,
        };
        let message =
            format!("{records} records in {placement} are parked: their tenant or their time cannot be told");
        let fields = json!({
            "placement": placement, "store": promise.store, "category": promise.category, "records": records,
        });
        all.push(alarm(format!("{start}{told}"), "parked", message, fields));
    }
    all
}

/// What was known last of placements that cannot be asked now. What was at risk is overdue once its deadline passes.
fn remembered(known: &Known, now: DateTime<Utc>) -> Vec<NewAlarm> {
    let unseen = known.unseen();
    let is_of_unseen = |row: &&AlarmRow| {
        OF_RECORDS.contains(&row.alarm.kind.as_str())
            && field(row, "placement").is_some_and(|name| unseen.iter().any(|one| one.as_str() == name))
    };
    let passed = |row: &AlarmRow| {
        let deadline = field(row, "deadline").and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        row.alarm.kind == "at-risk" && deadline.is_some_and(|deadline| deadline <= now)
    };
    let kept = known.before.iter().filter(is_of_unseen);
    kept.map(|row| if passed(row) { as_overdue(row) } else { row.alarm.clone() }).collect()
}

fn as_overdue(row: &AlarmRow) -> NewAlarm {
    let key = format!("overdue{}", row.alarm.key.trim_start_matches("at-risk"));
    let message = row.alarm.message.replace("at risk of missing their deadline", "past their deadline");
    NewAlarm { key, kind: "overdue".to_owned(), message, fields: row.alarm.fields.clone() }
}

fn field<'r>(row: &'r AlarmRow, name: &str) -> Option<&'r str> {
    row.alarm.fields.get(name)?.as_str()
}

/// Open requests of which the stores say nothing: no record was found that is still to go, or a placement could not be
/// asked. Their deadlines are watched by the ledger alone.
fn requests(known: &Known, now: DateTime<Utc>) -> Vec<NewAlarm> {
    let unseen = known.unseen();
    let mut all = Vec::new();
    for request in &known.requests {
        let is_counted = matches!(&known.sight, Sight::Seen(look) if look.promises.iter().any(|promise| {
            promise.request_id.as_ref() == Some(&request.request_id)
        }));
        let is_hidden = request.placements.iter().any(|placement| {
            placement.state != RequestState::Completed && unseen.contains(&placement.placement)
        });
        // A hold kept it when it was last settled, and nobody can say that it does no more.
        let is_kept = is_hidden && request.state == RequestState::Waiting;
        if is_counted && !is_hidden || is_kept {
            continue;
        }
        let lead = lead_within(known.lead, request.deadline - request.received_at);
        let rotates_too_long = rotates_until(request).is_some_and(|until| until > request.deadline);
        let rotates_in_time = request.state == RequestState::Residual && !rotates_too_long && !is_hidden;
        let (kind, what) = if request.deadline <= now {
            ("overdue", "is past its deadline")
        } else if rotates_too_long || request.deadline - lead <= now && !rotates_in_time {
            ("at-risk", "is at risk of missing its deadline")
        } else {
            continue;
        };
        let message = format!(
            "request {} of {} {what} ({})",
            request.request_id,
            request.tenant,
            shown(request.deadline)
        );
        let fields = json!({
            "request_id": request.request_id, "tenant": request.tenant, "state": request.state,
            "deadline": shown(request.deadline), "stores_silent": is_hidden,
        });
        all.push(alarm(format!("{kind}/request/{}", request.request_id), kind, message, fields));
    }
    all
}

/// When the last backup that may hold a request's data has rotated.
fn rotates_until(request: &RequestRow) -> Option<DateTime<Utc>> {
    let rotating = request.placements.iter().filter(|placement| placement.state == RequestState::Residual);
    rotating.flat_map(|placement| &placement.residual).filter_map(|residual| residual.until).max()
}

/// Ended accounts while a placement cannot be asked: their deadlines are watched by the ledger alone, unless a run has
/// done everything since their grace was over.
fn endings(known: &Known, now: DateTime<Utc>) -> Vec<NewAlarm> {
    let mut all = Vec::new();
    if known.unseen().is_empty() {
        return all;
    }
    for ending in &known.endings {
        let (Some(deadline), Some(last_grace)) =
            (ending.deadline(), ending.falling.iter().map(|one| one.grace_until).max())
        else {
            continue;
        };
        if known.done_up_to().is_some_and(|done| done >= last_grace) {
            continue;
        }
        let lead = lead_within(known.lead, deadline - ending.terminated_at);
        let (kind, what) = if deadline <= now {
            ("overdue", "is past its deadline")
        } else if deadline - lead <= now {
            ("at-risk", "is at risk of missing its deadline")
        } else {
            continue;
        };
        let tenant = &ending.tenant;
        let message = format!("the termination of {tenant} {what} ({})", shown(deadline));
        let fields = json!({
            "tenant": tenant, "terminated_at": shown(ending.terminated_at), "deadline": shown(deadline),
            "stores_silent": true,
        });
        all.push(alarm(format!("{kind}/termination/{tenant}"), kind, message, fields));
    }
    all
}

/// The latest run that has ended, where it did not do everything.
fn runs(known: &Known) -> Vec<NewAlarm> {
    let Some(run) = known.last_ended() else { return Vec::new() };
    let ended_at = run.ended_at.map(shown);
    let mut all = Vec::new();
    if run.status == "failed" {
        let message = format!("the last run, {}, has failed", run.run_id);
        let fields = json!({"run_id": run.run_id, "status": run.status, "ended_at": ended_at});
        all.push(alarm("run-failed".to_owned(), "run-failed", message, fields));
    }
    match &known.refused {
        Refused::Waiting(waiting) => {
            let (plan, records) = (&waiting.plan_id, waiting.records);
            let message =
                format!("{records} records are over a limit and wait for the approval of plan {plan}");
            let fields = json!({
                "run_id": run.run_id, "plan_id": plan, "records": records, "codes": waiting.codes,
            });
            all.push(alarm(format!("run-refused/{plan}"), "run-refused", message, fields));
        }
        Refused::Otherwise if run.status == "refused" => {
            let message = format!("the last run, {}, was refused in part", run.run_id);
            let fields = json!({"run_id": run.run_id, "ended_at": ended_at});
            all.push(alarm("run-refused".to_owned(), "run-refused", message, fields));
        }
        Refused::Otherwise | Refused::Approved => {}
    }
    all
}

/// Stores that cannot be asked, or are not the ones meant.
fn silent(known: &Known) -> Vec<NewAlarm> {
    match &known.sight {
        Sight::Seen(look) => {
            let one = |store: &StoreId| {
                let (kind, what) = if look.doubted.contains(store) {
                    ("in-doubt", "is not the one meant")
                } else {
                    ("store-unreachable", "cannot be asked")
                };
                let message = format!("store {store} {what}; `retentiond check --online` says why");
                alarm(format!("{kind}/{store}"), kind, message, json!({"store": store}))
            };
            look.unreachable.keys().map(one).collect()
        }
        Sight::Blind { code, .. } => {
            let (kind, what) = match *code {
                "unreachable" => ("store-unreachable", "a store fell silent while it was asked"),
                "invalid" => ("policy-broken", "the policies do not fit the stores"),
                _ => ("in-doubt", "the ledger, the audit log or a store is in doubt"),
            };
            let message = format!("nothing can be planned: {what}; `retentiond plan` says why");
            vec![alarm(format!("{kind}/plan"), kind, message, json!({"code": code}))]
        }
    }
}

/// The audit log, the emergency stop and the clock.
fn own_state(known: &Known, now: DateTime<Utc>) -> Vec<NewAlarm> {
    let mut all = Vec::new();
    if let Some(since) = known.audit.unsigned_since.filter(|since| now - *since > UNSIGNED_MAX) {
        let size = known.audit.head.as_ref().map_or(0, |head| head.size);
        let message = format!("the audit log has not been signed since {}", shown(since));
        let fields = json!({"since": shown(since), "head_size": size});
        all.push(alarm("audit-stale".to_owned(), "audit-stale", message, fields));
    }
    if let Some(stop) = known.stopped.as_ref().filter(|stop| now - stop.stopped_at > STOPPED_MAX) {
        let since = shown(stop.stopped_at);
        let message = format!("the emergency stop is on since {since}: nothing is erased");
        all.push(alarm("stopped".to_owned(), "stopped", message, json!({"since": since})));
    }
    let latest = known.runs.iter().map(|run| run.started_at).max();
    if let Some(latest) = latest.filter(|latest| *latest > now + CLOCK_SLACK) {
        let message = format!("the clock says {}, but a run began at {}", shown(now), shown(latest));
        let fields = json!({"latest_run": shown(latest)});
        all.push(alarm("in-doubt/clock".to_owned(), "in-doubt", message, fields));
    }
    all
}

/// What one process alone can know, with its name and the time: what it cannot see, another may.
fn signed(mut alarm: NewAlarm, notes: &Notes, now: DateTime<Utc>) -> NewAlarm {
    if let Value::Object(fields) = &mut alarm.fields {
        fields.insert("node".to_owned(), json!(notes.node));
        fields.insert("seen_at".to_owned(), json!(shown(now)));
    }
    alarm
}

/// What another process said of itself or of its view a while ago: it is not for this one to take it back.
fn said_by_others(known: &Known, notes: &Notes, now: DateTime<Utc>) -> Vec<NewAlarm> {
    let others = known.before.iter().filter(|row| {
        let seen_at = field(row, "seen_at").and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        field(row, "node").is_some_and(|node| node != notes.node)
            && seen_at.is_some_and(|seen_at| now - seen_at.to_utc() < NOTE_TOLD)
    });
    others.map(|row| row.alarm.clone()).collect()
}

fn alarm(key: String, kind: &str, message: String, fields: Value) -> NewAlarm {
    NewAlarm { key, kind: kind.to_owned(), message, fields }
}

fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests;
