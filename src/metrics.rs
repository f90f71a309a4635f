//! Metrics in the text format of `OpenMetrics`, made from what the last look found. It owns names, labels and meanings; it
//! asks neither ledger nor stores, so that nobody can make them work by asking for metrics.
//!
//! # Properties
//! - Labels are categories, stores, methods, kinds and words of ours: never a tenant, a subject or a key.
//! - What is not known has no sample: no number is ever zero because nobody looked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::alarms::standing::KINDS;
use crate::alarms::{Known, Sight, Snapshot, Watched};
use crate::gather::{Look, Promise};
use crate::ledger::AlarmRow;
use crate::plan::Reason;

/// What a scraper is told that it gets.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper ends of the classes of run durations, in seconds: from a second to a day.
const RUN_SECONDS: [f64; 9] = [1.0, 5.0, 30.0, 60.0, 300.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0];

/// How runs end.
const STATUSES: [&str; 4] = ["done", "failed", "refused", "interrupted"];

type Number = Gauge<f64, AtomicU64>;

/// Everything that is shown.
#[derive(Debug, Clone)]
pub struct MetricFacts {
    /// What the last look found, and the counters.
    pub snapshot: Snapshot,
    /// The present instant; ages are counted from it.
    pub now: DateTime<Utc>,
}

/// The text that a scraper reads.
///
/// # Errors
/// Where the text cannot be written, which a text in memory always can.
pub fn render(facts: &MetricFacts) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("retentiond");
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let build = prometheus_client::metrics::info::Info::new(vec![("version", version)]);
    registry.register("build", "Version of the program", build);
    of_process(&mut registry, facts);
    if let Some(watched) = &facts.snapshot.watched {
        of_look(&mut registry, watched);
        of_ledger(&mut registry, &watched.known, facts.now);
        of_alarms(&mut registry, &watched.standing);
    }
    of_tallies(&mut registry, facts);
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Place {
    category: String,
    store: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct How {
    category: String,
    store: String,
    method: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Status {
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Outcome {
    result: String,
}

fn of_process(registry: &mut Registry, facts: &MetricFacts) {
    let up = if facts.snapshot.is_ledger_lost { 0.0 } else { 1.0 };
    gauge(registry, "ledger_up", "Whether the last look could read the ledger", up);
    if let Some(watched) = &facts.snapshot.watched {
        let at = seconds_of(watched.known.at);
        gauge(registry, "look_timestamp_seconds", "When ledger and stores were last asked", at);
        let took = watched.took.as_secs_f64();
        gauge(registry, "look_duration_seconds", "How long that took", took);
    }
}

/// Records by how their promise stands. Stores that could not be asked are told of, and have no records.
fn of_look(registry: &mut Registry, watched: &Watched) {
    let Sight::Seen(look) = &watched.known.sight else {
        gauge(registry, "plan_possible", "Whether the stores could be asked at all", 0.0);
        return;
    };
    gauge(registry, "plan_possible", "Whether the stores could be asked at all", 1.0);
    let silent = count(look.unreachable.len());
    gauge(registry, "stores_unreachable", "Stores that could not be asked", silent);
    let unseen = count(watched.known.unseen().len());
    gauge(registry, "placements_unseen", "Placements of which nothing is known now", unseen);
    let due = |promise: &Promise| if promise.is_due() { promise.records } else { 0 };
    let overdue = |promise: &Promise| if promise.is_due() { promise.overdue } else { 0 };
    let at_risk = |promise: &Promise| if promise.is_due() { promise.at_risk } else { 0 };
    let of =
        |reason: Reason| move |promise: &Promise| if promise.reason == reason { promise.records } else { 0 };
    let held_late = |promise: &Promise| if promise.reason == Reason::Hold { promise.overdue } else { 0 };
    records(registry, look, watched, "records_due", "Records that may be erased now", due);
    records(registry, look, watched, "records_overdue", "Records past their deadline", overdue);
    records(registry, look, watched, "records_at_risk", "Records near their deadline", at_risk);
    records(registry, look, watched, "records_held", "Records kept by a hold", of(Reason::Hold));
    records(
        registry,
        look,
        watched,
        "records_held_past_deadline",
        "Held records past their deadline",
        held_late,
    );
    let help = "Records whose tenant or time cannot be told";
    records(registry, look, watched, "records_parked", help, of(Reason::Parked));
}

/// One number for every category and store that was asked, also where it is zero.
fn records(
    registry: &mut Registry,
    look: &Look,
    watched: &Watched,
    name: &str,
    help: &str,
    of: impl Fn(&Promise) -> u64,
) {
    let mut sums: BTreeMap<Place, u64> = BTreeMap::new();
    for (placement, place) in &watched.known.placements {
        if look.surveyed.contains(placement) {
            let place = Place { category: place.category.to_string(), store: place.store.to_string() };
            sums.entry(place).or_default();
        }
    }
    for promise in &look.promises {
        let place = Place { category: promise.category.to_string(), store: promise.store.to_string() };
        *sums.entry(place).or_default() += of(promise);
    }
    family(registry, name, help, sums.into_iter().map(|(place, records)| (place, whole(records))));
}

fn of_ledger(registry: &mut Registry, known: &Known, now: DateTime<Utc>) {
    gauge(registry, "requests_open", "Requests that are not yet completed", count(known.requests.len()));
    let late = known.requests.iter().filter(|request| request.deadline <= now).count();
    gauge(registry, "requests_past_deadline", "Open requests past their deadline", count(late));
    if let Some(oldest) = known.requests.iter().map(|request| request.received_at).min() {
        let help = "Age of the oldest request that is not yet completed";
        gauge(registry, "request_oldest_age_seconds", help, age(oldest, now));
    }
    if let Some(done) = known.last_done() {
        let help = "When the last run ended that did everything";
        gauge(registry, "last_success_timestamp_seconds", help, seconds_of(done));
    }
    if let Some(started) = known.runs.iter().map(|run| run.started_at).max() {
        gauge(registry, "last_run_timestamp_seconds", "When the last run began", seconds_of(started));
    }
    let pending = known.undelivered.iter().filter(|row| row.given_up_at.is_none()).count();
    gauge(registry, "deliveries_pending", "Messages on their way", count(pending));
    let given_up = known.undelivered.len() - pending;
    gauge(registry, "deliveries_given_up", "Messages that nobody received", count(given_up));
    let size = known.audit.head.as_ref().map_or(0, |head| head.size);
    gauge(registry, "audit_entries", "Entries in the ledger", whole(known.audit.entries));
    gauge(registry, "audit_head_size", "Entries below the signed head", whole(size));
    if let Some(at) = known.audit.head_at {
        let help = "Age of the newest entry below the signed head";
        gauge(registry, "audit_head_age_seconds", help, age(at, now));
    }
    let waits = known.audit.unsigned_since.map_or(0.0, |since| age(since, now));
    let help = "How long the oldest entry has waited to be below the signed head";
    gauge(registry, "audit_unsigned_age_seconds", help, waits);
    let stopped = if known.stopped.is_some() { 1.0 } else { 0.0 };
    gauge(registry, "stopped", "Whether the emergency stop is on", stopped);
}

fn of_alarms(registry: &mut Registry, standing: &[AlarmRow]) {
    let kinds: BTreeSet<&str> =
        KINDS.into_iter().chain(standing.iter().map(|row| row.alarm.kind.as_str())).collect();
    let of = |kind: &str| standing.iter().filter(|row| row.alarm.kind == kind).count();
    let numbers = kinds.into_iter().map(|kind| (Kind { kind: kind.to_owned() }, count(of(kind))));
    family(registry, "alarms", "Alarms that stand", numbers);
}

/// What ended since the process began.
fn of_tallies(registry: &mut Registry, facts: &MetricFacts) {
    let tallies = &facts.snapshot.tallies;
    let statuses: BTreeSet<&str> =
        STATUSES.into_iter().chain(tallies.runs.keys().map(String::as_str)).collect();
    let runs = Family::<Status, Counter>::default();
    for status in statuses {
        let ended = tallies.runs.get(status).copied().unwrap_or_default();
        runs.get_or_create(&Status { status: status.to_owned() }).inc_by(ended);
    }
    registry.register("runs", "Runs that ended", runs);
    let durations = Histogram::new(RUN_SECONDS);
    tallies.run_seconds.iter().for_each(|seconds| durations.observe(*seconds));
    registry.register("run_duration_seconds", "How long runs took", durations);
    let (erased, failed) = records_of(facts);
    registry.register("records_erased", "Records erased", erased);
    registry.register("records_failed", "Records that are still there although they should not be", failed);
    let reloads = Family::<Outcome, Counter>::default();
    for (result, times) in [("accepted", tallies.reloads.0), ("refused", tallies.reloads.1)] {
        reloads.get_or_create(&Outcome { result: result.to_owned() }).inc_by(times);
    }
    registry.register("policy_reloads", "Times that the policies were read again", reloads);
}

/// Every series begins at zero, for a counter that begins at its first event shows no increase.
fn records_of(facts: &MetricFacts) -> (Family<How, Counter>, Family<How, Counter>) {
    let (erased, failed) = (Family::<How, Counter>::default(), Family::<How, Counter>::default());
    let tallies = &facts.snapshot.tallies;
    for place in facts.snapshot.watched.iter().flat_map(|watched| watched.known.placements.values()) {
        for method in &place.methods {
            let (category, store) = (place.category.to_string(), place.store.to_string());
            let how = How { category, store, method: (*method).to_owned() };
            drop((erased.get_or_create(&how), failed.get_or_create(&how)));
        }
    }
    for ((category, store, method), tally) in &tallies.records {
        let how = How { category: category.to_string(), store: store.to_string(), method: method.clone() };
        erased.get_or_create(&how).inc_by(tally.erased);
        failed.get_or_create(&how).inc_by(tally.failed);
    }
    (erased, failed)
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Number::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn family<L>(registry: &mut Registry, name: &str, help: &str, numbers: impl Iterator<Item = (L, f64)>)
where
    L: Clone + Eq + Hash + Debug + EncodeLabelSet + Send + Sync + 'static,
{
    let family = Family::<L, Number>::default();
    for (labels, value) in numbers {
        family.get_or_create(&labels).set(value);
    }
    registry.register(name, help, family);
}

fn age(of: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - of).to_std().map_or(0.0, |span| span.as_secs_f64())
}

fn seconds_of(at: DateTime<Utc>) -> f64 {
    (at - DateTime::UNIX_EPOCH).to_std().map_or(0.0, |span| span.as_secs_f64())
}

fn count(of: usize) -> f64 {
    whole(u64::try_from(of).unwrap_or(u64::MAX))
}

/// A count as the format has numbers. Above 2^53 it is rounded, which no store holds.
#[expect(clippy::cast_precision_loss, reason = "the format knows no other number")]
fn whole(of: u64) -> f64 {
    of as f64
}
