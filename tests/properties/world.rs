//! Random facts, aimed at where something turns: neighbours' names, month ends, edges of grace, receipt and six months.
//! It owns the policies and the generators; it decides nothing.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Duration, Utc};
use proptest::prelude::*;
use retentiond::facts::{
    ActiveEntitlement, ActiveHold, LedgerFacts, OpenExport, OpenRequest, RequestScope, TerminatedTenant,
};
use retentiond::id::{Category, EntitlementId, ExportId, HoldId, RequestId, SubjectKey, TenantId};
use retentiond::policy::parse::parse_policy;
use retentiond::policy::{Placement, Policies};

use crate::scenarios::judge::{Record, key};

/// Three categories that differ in all that the planner looks at: rules, event times, subjects, zones, names, backups.
const POLICIES: [&str; 3] = [
    r#"
category = "calls"
title = "Calls"
time_zone = "Asia/Singapore"
method = "delete"
[[rules]]
trigger = "age"
period = "6 months"
deadline = "2 days"
clause = "A"
entitlement = "longer"
[[rules]]
trigger = "request"
deadline = "30 days"
method = "zero"
level = "verified"
clause = "R"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
method = "zero"
clause = "T"
[[placements]]
name = "calls"
store = "db"
table = "call"
key = ["id"]
tenant = { column = "tenant" }
event_time = { column = "at", time_zone = "Asia/Singapore" }
subjects = { phone = { columns = ["caller"], format = "e164" }, agent = ["agent"] }
[[placements]]
name = "recordings"
store = "files"
found_by = { placement = "calls", column = "recording", prefix = "rec/{tenant}/" }
[[placements]]
name = "transcripts"
store = "files"
found_by = { placement = "calls", column = "transcript", prefix = "txt/{tenant}/" }
[[placements]]
name = "calls-backup"
store = "tapes"
role = "backup"
rotation = "14 days"
"#,
    r#"
category = "notes"
title = "Notes"
time_zone = "Europe/Berlin"
method = "zero"
[[rules]]
trigger = "request"
deadline = "30 days"
clause = "R"
[[rules]]
trigger = "termination"
grace = "1 month"
deadline = "2 months"
clause = "T"
[[placements]]
name = "notes"
store = "db"
table = "note"
key = ["id"]
tenant = { column = "tenant" }
subjects = { agent = ["agent"] }
"#,
    r#"
category = "metrics"
title = "Metrics"
time_zone = "America/New_York"
method = "delete"
[[rules]]
trigger = "age"
period = "6 months"
clause = "A"
[[placements]]
name = "metrics"
store = "db"
table = "metric"
key = ["id"]
tenant = { column = "tenant" }
event_time = { column = "at", time_zone = "UTC" }
subjects = "none"
"#,
];

/// The policies, read as files would be.
pub(super) fn policies() -> Policies {
    let parsed = POLICIES.iter().map(|text| {
        let mut faults = Vec::new();
        let policy = parse_policy(Path::new("policy.toml"), text.as_bytes(), &mut faults);
        policy.unwrap_or_else(|| panic!("{faults:?}"))
    });
    Policies::new(parsed.collect())
}

/// Everything that a case consists of.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) now: DateTime<Utc>,
    pub(super) ledger: LedgerFacts,
    /// By placement whose rows they are.
    pub(super) records: BTreeMap<String, Vec<Record>>,
}

impl World {
    pub(super) fn of(&self, rows: &Placement) -> &[Record] {
        self.records.get(rows.name.as_str()).map_or(&[], Vec::as_slice)
    }
}

/// A tenant; the last is one of whom the ledger never says anything.
pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn any_tenant() -> impl Strategy<Value = TenantId> {
    prop::sample::select(vec!["t-1", "t-10", "T-1", "t-1x"]).prop_map(tenant)
}

/// Two numbers of which one begins like the other, and two agents.
fn any_key() -> impl Strategy<Value = SubjectKey> {
    let keys = vec![
        ("phone", "+65 9123-4567"),
        ("phone", "+65912345678"),
        ("agent", "S-1"),
        ("agent", "S-10"),
        ("email", "a@b.c"),
    ];
    prop::sample::select(keys).prop_map(|(kind, value)| key(kind, value))
}

fn any_categories() -> impl Strategy<Value = Vec<Category>> {
    prop::collection::vec(
        prop::sample::select(vec!["calls", "notes", "metrics"]).prop_map(Category::new),
        0..3,
    )
}

fn any_nudge() -> impl Strategy<Value = Duration> {
    prop_oneof![
        3 => (-1_i64..=1).prop_map(Duration::nanoseconds),
        2 => (-50_i64..=50).prop_map(Duration::hours),
        1 => (-100_i64..=100).prop_map(Duration::days),
    ]
}

/// An instant near one at which something turns for `now`: six months, the graces, now itself.
fn any_turn(now: DateTime<Utc>) -> impl Strategy<Value = DateTime<Utc>> {
    let months = |months: u32, days: i64| {
        now.checked_sub_months(chrono::Months::new(months)).unwrap() - Duration::days(days)
    };
    let turns = vec![
        months(6, 0),
        months(6, 0),
        months(6, 2),
        months(6, -2),
        months(1, 0),
        months(0, 15),
        now,
        now,
        months(0, 30),
        // Three days before the deadlines of requests and terminations, their backups' rotation taken off or not.
        months(0, 13),
        months(0, 27),
        months(2, -3),
    ];
    (prop::sample::select(turns), any_nudge()).prop_map(|(turn, nudge)| turn + nudge)
}

/// A month's end in Singapore, a clock change in New York or Berlin, or any time.
fn any_now() -> impl Strategy<Value = DateTime<Utc>> {
    let turns = [
        "2025-02-28T04:00:00Z",
        "2024-02-29T15:59:59Z",
        "2025-08-31T16:00:00Z",
        "2025-11-02T06:30:00Z",
        "2025-03-30T01:15:00Z",
        "2025-04-30T12:00:00Z",
    ];
    let turns: Vec<DateTime<Utc>> = turns.iter().map(|text| text.parse().unwrap()).collect();
    (prop::sample::select(turns), any_nudge()).prop_map(|(turn, nudge)| turn + nudge)
}

fn any_hold() -> impl Strategy<Value = ActiveHold> {
    (any_tenant(), prop::collection::vec(any_key(), 0..3), any_categories()).prop_map(
        |(tenant, subjects, categories)| ActiveHold {
            hold_id: HoldId::new(""),
            tenant,
            subjects,
            categories,
        },
    )
}

fn any_request(now: DateTime<Utc>) -> impl Strategy<Value = OpenRequest> {
    let categories =
        prop::collection::vec(prop::sample::select(vec!["calls", "notes"]).prop_map(Category::new), 1..3);
    let scope = prop_oneof![
        1 => Just(RequestScope::Everything),
        2 => categories.prop_map(RequestScope::Categories),
        3 => prop::collection::vec(any_key(), 1..3).prop_map(RequestScope::Subjects),
    ];
    (any_tenant(), scope, any_turn(now)).prop_map(|(tenant, scope, received_at)| OpenRequest {
        request_id: RequestId::new(""),
        tenant,
        scope,
        received_at,
        recorded_at: received_at,
    })
}

fn any_entitlement(now: DateTime<Utc>) -> impl Strategy<Value = ActiveEntitlement> {
    let name = prop::sample::select(vec!["longer", "longer", "other"]);
    (any_tenant(), name, any_categories(), prop::option::of(any_turn(now))).prop_map(
        |(tenant, name, categories, until)| ActiveEntitlement {
            entitlement_id: EntitlementId::new(""),
            name: name.to_owned(),
            tenant,
            categories,
            until,
        },
    )
}

fn any_export(now: DateTime<Utc>) -> impl Strategy<Value = OpenExport> {
    (any_tenant(), any_categories()).prop_map(move |(tenant, categories)| OpenExport {
        export_id: ExportId::new(""),
        tenant,
        categories,
        asked_at: now,
    })
}

fn any_ledger(now: DateTime<Utc>) -> impl Strategy<Value = LedgerFacts> {
    (
        prop::collection::vec(any_hold(), 0..4),
        prop::collection::vec(any_request(now), 0..4),
        prop::collection::btree_map(
            any_tenant(),
            (any_turn(now), prop::sample::select(vec![0, 1, 40])),
            0..3,
        ),
        prop::collection::vec(any_entitlement(now), 0..4),
        prop::collection::vec(any_export(now), 0..3),
        any_turn(now),
    )
        .prop_map(|(mut holds, mut requests, terminated, mut entitlements, mut exports, rest)| {
            // Ids are given once the lists are there, so that no two are the same.
            for (number, hold) in holds.iter_mut().enumerate() {
                hold.hold_id = HoldId::new(format!("hold-{number}"));
            }
            for (number, request) in requests.iter_mut().enumerate() {
                request.request_id = RequestId::new(format!("req-{number}"));
            }
            for (number, entitlement) in entitlements.iter_mut().enumerate() {
                entitlement.entitlement_id = EntitlementId::new(format!("ent-{number}"));
            }
            for (number, export) in exports.iter_mut().enumerate() {
                export.export_id = ExportId::new(format!("exp-{number}"));
            }
            requests.sort_by(|a, b| (a.received_at, &a.request_id).cmp(&(b.received_at, &b.request_id)));
            // Told at once, or later: then a scheduled run may let them rest.
            let told = |(tenant, (at, days)): (TenantId, (DateTime<Utc>, i64))| TerminatedTenant {
                tenant,
                terminated_at: at,
                recorded_at: at + Duration::days(days),
            };
            let terminated: Vec<TerminatedTenant> = terminated.into_iter().map(told).collect();
            let backdated = terminated.iter().filter(|ended| ended.terminated_at < ended.recorded_at);
            let untouched = backdated.map(|ended| (ended.tenant.clone(), rest)).collect();
            LedgerFacts {
                terminated,
                requests,
                holds,
                entitlements,
                exports,
                untouched,
                generation: 7,
                ..LedgerFacts::default()
            }
        })
}

/// Of a tenant, of a stranger to the ledger, or of nobody; at a turn, at a request's receipt, or of no time.
fn any_record(now: DateTime<Utc>, receipts: Vec<DateTime<Utc>>) -> impl Strategy<Value = Record> {
    let owner =
        prop_oneof![8 => any_tenant().prop_map(Some), 2 => Just(Some(tenant("stranger"))), 1 => Just(None)];
    let receipt = if receipts.is_empty() { vec![now] } else { receipts };
    let at_receipt =
        (prop::sample::select(receipt), -1_i64..=1).prop_map(|(at, tick)| at + Duration::nanoseconds(tick));
    let odd = prop::sample::select(vec![
        DateTime::UNIX_EPOCH,
        now + Duration::days(1),
        now + Duration::days(1) + Duration::nanoseconds(1),
    ]);
    let happened = prop_oneof![
        6 => any_turn(now).prop_map(Some),
        2 => at_receipt.prop_map(Some),
        1 => odd.prop_map(Some),
        1 => Just(None),
    ];
    let subjects =
        vec![("phone", "+6591234567"), ("phone", "+65912345678"), ("agent", "S-1"), ("agent", "S-10")];
    let subject =
        prop::sample::select(subjects).prop_map(|(kind, value)| (kind.to_owned(), value.to_owned()));
    let names = prop::sample::subsequence(vec!["recording", "transcript"], 0..=2);
    (owner, happened, prop::collection::vec(subject, 0..3), names).prop_map(
        |(tenant, happened, subjects, names)| Record {
            tenant,
            happened,
            subjects,
            names: names.into_iter().map(str::to_owned).collect(),
        },
    )
}

/// A now, a ledger, and records in every placement that has its own.
pub(super) fn any_world() -> impl Strategy<Value = World> {
    any_now().prop_flat_map(|now| (Just(now), any_ledger(now))).prop_flat_map(|(now, ledger)| {
        let receipts = ledger.requests.iter().map(|request| request.received_at).collect();
        let records = prop::collection::vec(any_record(now, receipts), 24);
        (Just(now), Just(ledger), records).prop_map(|(now, ledger, records)| {
            let (calls, rest) = records.split_at(12);
            let (notes, metrics) = rest.split_at(6);
            let of = |name: &str, records: &[Record]| (name.to_owned(), records.to_vec());
            let records = BTreeMap::from([of("calls", calls), of("notes", notes), of("metrics", metrics)]);
            World { now, ledger, records }
        })
    })
}
