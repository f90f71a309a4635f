//! Metrics as a scraper reads them, against numbers counted separately; and every name in alert rules and dashboard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use retentiond::alarms::{Board, Notes, watch_once};
use retentiond::clock::Clock;
use retentiond::http;
use retentiond::ledger::Ledger;
use retentiond::metrics::{MetricFacts, render};
use retentiond::service::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{World, wait_for};

type Labels = BTreeMap<String, String>;

/// A text in the format of `OpenMetrics`, read strictly: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
#[derive(Debug, Default)]
struct Exposition {
    kinds: BTreeMap<String, String>,
    samples: BTreeMap<String, Vec<(Labels, f64)>>,
}

impl Exposition {
    fn read(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("the end is said");
        let mut read = Self::default();
        let mut family = String::new();
        let mut is_helped = BTreeSet::new();
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help");
                assert!(help.ends_with('.') && is_helped.insert(name.to_owned()), "{line}");
                assert!(name.starts_with("retentiond_"), "{line}");
                family = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(name, family, "help and type belong together");
                assert!(["gauge", "counter", "histogram", "info"].contains(&kind), "{line}");
                assert!(read.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} comes twice");
            } else {
                assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
                read.sample(&family, line);
            }
        }
        read.check_histograms();
        read
    }

    fn sample(&mut self, family: &str, line: &str) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect("a name"));
        let endings: &[&str] = match self.kinds[family].as_str() {
            "gauge" => &[""],
            "counter" => &["_total"],
            "info" => &["_info"],
            _ => &["_bucket", "_sum", "_count"],
        };
        let ending = name.strip_prefix(family).expect("its own family");
        assert!(endings.contains(&ending), "{line}");
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => {
                rest.split_once("} ").map(|(labels, value)| (labels_of(labels), value)).expect("a value")
            }
            None => (Labels::new(), rest.trim_start()),
        };
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(value >= 0.0, "{line}");
        let samples = self.samples.entry(name.to_owned()).or_default();
        assert!(samples.iter().all(|(other, _)| *other != labels), "{line} comes twice");
        samples.push((labels, value));
    }

    fn check_histograms(&self) {
        for (name, _) in self.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
            let buckets = &self.samples[&format!("{name}_bucket")];
            let mut last = (f64::NEG_INFINITY, 0.0);
            for (labels, count) in buckets {
                let end: f64 = labels["le"].replace("+Inf", "inf").parse().unwrap();
                assert!(end > last.0 && *count >= last.1, "{name} is not cumulative");
                last = (end, *count);
            }
            assert!(last.0.is_infinite());
            assert_eq!(self.samples[&format!("{name}_count")][0].1, last.1);
        }
    }

    /// A sample with just these labels.
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let samples =
            self.samples.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.samples.keys()));
        let found = samples.iter().find(|(labels, _)| *labels == wanted);
        found.unwrap_or_else(|| panic!("no {wanted:?} in {samples:?}")).1
    }
}

fn labels_of(text: &str) -> Labels {
    let mut labels = Labels::new();
    for pair in text.split("\",") {
        let (name, value) = pair.split_once("=\"").expect("a label");
        labels.insert(name.to_owned(), value.trim_end_matches('"').to_owned());
    }
    labels
}

fn look(world: &World, board: &Board, now: DateTime<Utc>) -> Exposition {
    let text = wait_for(async {
        let ledger = world.ledger().await;
        let watched = watch_once(&world.load(now), &ledger, &Notes::default(), now).await.unwrap();
        board.post(watched, &ledger).await.unwrap();
        render(&MetricFacts { snapshot: board.snapshot(), now }).unwrap()
    });
    Exposition::read(&text)
}

const CALLS: [(&str, &str); 2] = [("category", "call-data"), ("store", "calls")];
const OBJECTS: [(&str, &str); 2] = [("category", "call-data"), ("store", "objects")];
const AGENTS: [(&str, &str); 2] = [("category", "agent-info"), ("store", "calls")];

#[test]
fn the_numbers_are_those_that_are_counted_separately() {
    let world = World::center();
    world.ok("hold place --tenant T-1 --authority court");
    world.ok("request create --tenant t-10 --category agent-info --received 2026-01-01T00:00:00Z");
    let board = Board::default();
    let now = Clock::System.now();
    let before = look(&world, &board, now);
    let rows = |condition: &str| {
        world.number("calls.db", &format!("SELECT count(*) FROM call_record WHERE {condition}"))
    };
    let number = |of: u64| f64::from(u32::try_from(of).unwrap());
    // All of the center is from 2021: every row with a time is long past its deadline, unless it is held.
    let due = rows("started_at IS NOT NULL AND tenant_id <> 'T-1'");
    let named = rows("recording_key IS NOT NULL AND tenant_id <> 'T-1'");
    assert_eq!((due, named), (12, 6));
    assert_eq!(before.get("retentiond_records_due", &CALLS), number(due));
    assert_eq!(before.get("retentiond_records_overdue", &CALLS), number(due));
    assert_eq!(before.get("retentiond_records_due", &OBJECTS), number(named));
    assert_eq!(before.get("retentiond_records_at_risk", &CALLS), 0.0);
    let untimed = rows("started_at IS NULL AND tenant_id <> 'T-1'");
    assert_eq!(before.get("retentiond_records_parked", &CALLS), number(untimed));
    assert_eq!(before.get("retentiond_records_held", &CALLS), number(rows("tenant_id = 'T-1'")));
    let held_late = rows("tenant_id = 'T-1' AND started_at IS NOT NULL");
    assert_eq!(before.get("retentiond_records_held_past_deadline", &CALLS), number(held_late));
    assert_eq!(before.get("retentiond_records_due", &AGENTS), 2.0);
    assert_eq!(before.get("retentiond_records_overdue", &AGENTS), 2.0);
    assert_eq!(before.get("retentiond_requests_open", &[]), 1.0);
    assert_eq!(before.get("retentiond_requests_past_deadline", &[]), 1.0);
    let received: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let age = (now - received).to_std().unwrap().as_secs_f64();
    assert!((before.get("retentiond_request_oldest_age_seconds", &[]) - age).abs() < 0.1);
    assert_eq!(
        before.get("retentiond_alarms", &[("kind", "held-past-deadline")]),
        2.0,
        "rows and recordings"
    );
    // Three tenants in two placements, and the agents of one.
    assert_eq!(before.get("retentiond_alarms", &[("kind", "overdue")]), 7.0);
    assert_eq!(before.get("retentiond_runs_total", &[("status", "done")]), 0.0);
    assert!(!before.samples.contains_key("retentiond_last_success_timestamp_seconds"), "there is no run");
    let report = world.ok("enforce");
    assert_eq!(report["status"], "done");
    let after = look(&world, &board, Clock::System.now());
    let gone = due - rows("started_at IS NOT NULL AND tenant_id <> 'T-1'");
    let how = |place: [(&'static str, &'static str); 2]| [place[0], ("method", "delete"), place[1]];
    assert_eq!(after.get("retentiond_records_erased_total", &how(CALLS)), number(gone));
    assert_eq!(after.get("retentiond_records_erased_total", &how(OBJECTS)), number(named));
    assert_eq!(after.get("retentiond_records_erased_total", &how(AGENTS)), 2.0);
    assert_eq!(after.get("retentiond_records_failed_total", &how(CALLS)), 0.0);
    assert_eq!(after.get("retentiond_records_due", &CALLS), 0.0);
    assert_eq!(after.get("retentiond_runs_total", &[("status", "done")]), 1.0);
    assert_eq!(after.get("retentiond_run_duration_seconds_count", &[]), 1.0);
    assert_eq!(after.get("retentiond_requests_open", &[]), 0.0);
    assert_eq!(after.get("retentiond_alarms", &[("kind", "overdue")]), 0.0);
    let entries = world.number("retentiond.db", "SELECT count(*) FROM entry");
    assert!(after.get("retentiond_audit_entries", &[]) <= number(entries));
    assert_eq!(
        after.get("retentiond_audit_head_size", &[]),
        number(world.number("retentiond.db", "SELECT size FROM head"))
    );
    let again = look(&world, &board, Clock::System.now());
    assert_eq!(again.get("retentiond_runs_total", &[("status", "done")]), 1.0, "a run is counted once");
}

#[test]
fn no_label_names_a_tenant_and_what_is_not_known_has_no_sample() {
    let world = World::center();
    world.ok("enforce");
    let board = Board::default();
    let seen = look(&world, &board, Clock::System.now());
    let known = ["category", "store", "method", "kind", "status", "result", "le", "version"];
    for (labels, _) in seen.samples.values().flatten() {
        assert!(labels.keys().all(|name| known.contains(&name.as_str())), "{labels:?}");
        assert!(
            labels.values().all(|value| !crate::harness::TENANTS.contains(&value.as_str())),
            "{labels:?}"
        );
    }
    std::fs::rename(world.path("calls.db"), world.path("away.db")).unwrap();
    let blind = look(&world, &board, Clock::System.now());
    assert!(
        !blind.samples.contains_key("retentiond_records_due"),
        "nobody looked: {:?}",
        blind.samples.keys()
    );
    assert_eq!(blind.get("retentiond_stores_unreachable", &[]), 1.0);
    assert_eq!(blind.get("retentiond_placements_unseen", &[]), 3.0);
    board.lost();
    let text = render(&MetricFacts { snapshot: board.snapshot(), now: Clock::System.now() }).unwrap();
    assert_eq!(Exposition::read(&text).get("retentiond_ledger_up", &[]), 0.0);
    let empty =
        render(&MetricFacts { snapshot: Board::default().snapshot(), now: Clock::System.now() }).unwrap();
    Exposition::read(&empty);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scraper_gets_them_from_a_listener_of_their_own_and_nothing_else() {
    let world = World::center();
    let now = Clock::System.now();
    let ledger: Arc<dyn Ledger> = Arc::new(world.ledger().await);
    let service = Arc::new(Service::new(world.load(now), Arc::clone(&ledger)));
    let watched = watch_once(&service.world(), ledger.as_ref(), &Notes::default(), now).await.unwrap();
    service.board.post(watched, ledger.as_ref()).await.unwrap();
    let listener = http::metrics::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(http::metrics::serve(Arc::clone(&service), listener));
    let ask = async |line: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let call = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(call.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = ask("GET /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.to_lowercase().contains(kind), "{head}");
    assert_eq!(Exposition::read(body).get("retentiond_records_overdue", &CALLS), 16.0);
    for line in ["GET /", "GET /v1/status", "GET /openapi.json", "GET /metrics/x"] {
        assert!(ask(line).await.starts_with("HTTP/1.1 404"), "{line}");
    }
    assert!(ask("POST /metrics").await.starts_with("HTTP/1.1 405"));
    service.stop.cancel();
    serving.await.unwrap();
}

/// Names of metrics, each with the labels that are used of it, in text that has queries in it.
fn used(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (at, _) in text.match_indices("retentiond_") {
        let rest = &text[at..];
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len());
        let labels = all.entry(rest[..end].to_owned()).or_default();
        if let Some(selector) = rest[end..].strip_prefix('{') {
            let selector = selector.split('}').next().unwrap();
            labels.extend(
                selector.split(',').map(|one| one.split(['=', '!']).next().unwrap().trim().to_owned()),
            );
        }
    }
    all
}

#[test]
fn every_metric_and_label_of_the_alert_rules_and_the_dashboard_is_there() {
    let world = World::center();
    world.ok("request create --tenant t-10 --category agent-info");
    let board = Board::default();
    look(&world, &board, Clock::System.now());
    world.ok("enforce");
    // What was asked for after the run is still open.
    world.ok("request create --tenant t-1 --category agent-info");
    let seen = look(&world, &board, Clock::System.now());
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, at_least) in [("deploy/prometheus/alerts.yml", 15), ("deploy/grafana/dashboard.json", 25)] {
        let text = std::fs::read_to_string(root.join(file)).unwrap().replace("\\\"", "\"");
        let used = used(&text);
        assert!(used.len() >= at_least, "{file}: {used:?}");
        for (name, labels) in used {
            let samples = seen.samples.get(&name).unwrap_or_else(|| panic!("{file}: there is no {name}"));
            for label in labels {
                assert!(
                    samples.iter().any(|(has, _)| has.contains_key(&label)),
                    "{file}: {name} has no {label}"
                );
            }
        }
        // `by (category, store)` and the like: every label exists on some metric of that rule.
        let all: BTreeSet<&str> = seen
            .samples
            .values()
            .flatten()
            .flat_map(|(labels, _)| labels.keys().map(String::as_str))
            .collect();
        for (at, _) in text.match_indices("by (") {
            let inner = text[at + 4..].split(')').next().unwrap();
            for label in inner.split(',').map(str::trim) {
                assert!(all.contains(label), "{file}: by ({inner})");
            }
        }
    }
    let dashboard = std::fs::read_to_string(root.join("deploy/grafana/dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(
        dashboard["panels"].as_array().unwrap().iter().all(|panel| !panel["targets"][0]["expr"].is_null())
    );
}
