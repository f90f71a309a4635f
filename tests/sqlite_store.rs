//! The SQLite store against real files: what it selects, what it erases, and what is left of it in the bytes.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use retentiond::facts::Survey;
use retentiond::id::{Fingerprint, HoldId, PlacementId, StoreId, SubjectKey, TenantId};
use retentiond::plan::{Counts, Interval, Scope, Selection, SubjectOrigin, SubjectRef, TenantScope, Times};
use retentiond::policy::{
    EpochUnit, EventTime, Level, Method, Placement, Records, Role, SubjectFormat, SubjectSource, TenantSource,
};
use retentiond::stores::event_time;
use retentiond::stores::sqlite::{SqliteReader, SqliteStore};
use retentiond::stores::{
    Batch, Budget, ErrorKind, Found, Key, Query, Reader, Retry, Seen, SeenTime, Store, StoreError, Survival,
    Value,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

const SINGAPORE: Tz = Tz::Asia__Singapore;
const WIDE: Budget = Budget { records_max: 1_000, window_keys: 64_000 };

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-01-15T04:00:00Z")
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// A database file in a folder of its own.
struct World {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl World {
    async fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls.db");
        let world = Self { dir, path };
        world.run(script).await;
        world
    }

    async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(&self.path).create_if_missing(true).connect().await.unwrap()
    }

    /// Another program's statements.
    async fn run(&self, script: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(script.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Rows of a one-column query, each as text.
    async fn texts(&self, sql: &str) -> Vec<String> {
        let mut connection = self.connect().await;
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.get_unchecked::<Option<String>, _>(0).unwrap_or("NULL".into())).collect()
    }

    async fn store(&self) -> SqliteStore {
        SqliteStore::open(&StoreId::new("calls"), &self.path).await.unwrap()
    }

    async fn reader(&self) -> SqliteReader {
        SqliteReader::open(&StoreId::new("calls"), &self.path).await.unwrap()
    }

    /// How many pieces of twelve bytes of these texts occur in any file of the folder: fragments count too.
    fn residue(&self, sentinels: &[String]) -> usize {
        let pieces: HashSet<&[u8]> = sentinels.iter().flat_map(|text| text.as_bytes().windows(12)).collect();
        std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .map(|bytes| bytes.windows(12).filter(|window| pieces.contains(window)).count())
            .sum()
    }
}

fn placement(table: &str, key: &[&str], event_time: Option<EventTime>) -> Placement {
    Placement {
        name: PlacementId::new("call-records"),
        store: StoreId::new("calls"),
        role: Role::Primary,
        records: Some(Records::Table {
            table: table.into(),
            key: key.iter().map(|column| (*column).to_owned()).collect(),
        }),
        tenant: TenantSource::Column("tenant_id".into()),
        event_time,
        subjects: BTreeMap::new(),
        plausible_from: "2000-01-01".parse().unwrap(),
        accept_level: None,
        rotation: None,
    }
}

fn text_time(column: &str) -> Option<EventTime> {
    Some(EventTime::Text {
        column: column.into(),
        format: event_time::DEFAULT_FORMAT.into(),
        time_zone: SINGAPORE,
    })
}

fn selection(tenants: TenantScope, times: Times) -> Selection {
    Selection {
        placement: PlacementId::new("call-records"),
        tenants,
        within: vec![Scope { subjects: None, times }],
        except: vec![],
        parts: vec![],
    }
}

fn query(placement: Placement, selection: Selection) -> Query {
    Query {
        placement: Arc::new(placement),
        time_zone: SINGAPORE,
        selection,
        subjects: BTreeMap::new(),
        now: now(),
        also: Vec::new(),
        naming: None,
    }
}

fn before(instant: &str) -> Times {
    Times::Within(vec![Interval { from: DateTime::<Utc>::MIN_UTC, to: at(instant) }])
}

fn everyone() -> TenantScope {
    TenantScope::AllExcept(vec![])
}

fn counted(survey: &Survey) -> BTreeMap<String, u64> {
    survey.tenants.iter().map(|(tenant, tally)| (tenant.to_string(), tally.records)).collect()
}

async fn survey(world: &World, query: &Query) -> BTreeMap<String, u64> {
    counted(&world.reader().await.survey(query).await.unwrap())
}

fn map<const N: usize>(entries: [(&str, u64); N]) -> BTreeMap<String, u64> {
    entries.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// Finds and erases until nothing is left, reading each batch back; counts per tenant.
async fn erase_all(
    store: &SqliteStore,
    query: &Query,
    budget: Budget,
    method: Method,
) -> BTreeMap<String, u64> {
    let mut erased = BTreeMap::new();
    let mut after = None;
    while let Some(Found { batch, position }) = store.find(query, after.as_ref(), budget, &[]).await.unwrap()
    {
        assert!(batch.records() >= 1 && batch.records() <= budget.records_max, "{batch:?}");
        let outcome = store.erase(query, &batch, method).await.unwrap();
        assert!(outcome.survivors.is_empty());
        for (tenant, counts) in outcome.counts {
            assert_eq!((counts.already_absent, counts.changed, counts.failed), (0, 0, 0));
            *erased.entry(tenant.to_string()).or_default() += counts.erased;
        }
        let still = store.absent(query, &batch).await.unwrap();
        assert!(still.tenants.is_empty() && still.indexes.is_empty(), "{still:?}");
        after = Some(position);
    }
    erased
}

const CALLS: &str = "
    CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, caller TEXT, callee TEXT, recording_key TEXT);
    CREATE INDEX call_started ON call_record (started_at);
    INSERT INTO call_record (id, tenant_id, started_at, caller, callee, recording_key) VALUES
      (1, 't-1',  '2025-01-01 00:00:00', '+6591', '+6592', 'rec/t-1/1'),
      (2, 't-10', '2025-01-01 00:00:00', '+6591', '+6593', 'rec/t-10/2'),
      (3, 'T-1',  '2025-01-01 00:00:00', '+6591', '+6593', NULL),
      (4, 't-1x', '2025-01-01 00:00:00', '+6591', '+6593', ''),
      (5, 't-1',  '2025-06-01 08:00:00', '+6594', '+6591', 'rec/t-1/5'),
      (6, 't-1',  '2025-06-01 07:59:59', '+6594', '+65911', 'rec/t-1/1'),
      (7, NULL,   '2025-01-01 00:00:00', '+6591', '+6593', NULL),
      (8, ' ',    '2025-01-01 00:00:00', '+6591', '+6593', NULL),
      (9, 't-1',  NULL, '+6591', '+6593', NULL),
      (10, 't-1', 'yesterday', '+6595', '+6593', NULL),
      (11, 't-1', '2027-01-01 00:00:00', '+6595', '+6593', NULL),
      (12, 't-1', '1999-12-31 23:59:59', '+6595', '+6593', NULL);";

fn calls() -> Placement {
    let mut placement = placement("call_record", &["id"], text_time("started_at"));
    placement.subjects.insert(
        "phone".into(),
        SubjectSource { columns: vec!["caller".into(), "callee".into()], format: SubjectFormat::E164 },
    );
    placement
}

fn subject(kind: &str, value: &str) -> (SubjectRef, SubjectKey) {
    let fingerprint = Fingerprint::new(format!("{kind}-of-{}", value.len()));
    (
        SubjectRef {
            kind: kind.into(),
            fingerprint: fingerprint.clone(),
            origin: SubjectOrigin::Hold(HoldId::new("hold-1")),
        },
        SubjectKey::new(kind, value, fingerprint),
    )
}

#[tokio::test]
async fn a_selection_takes_one_tenant_and_none_of_its_neighbours() {
    let world = World::new(CALLS).await;
    let due = before("2025-06-01T00:00:00Z");
    let one = query(calls(), selection(TenantScope::One(tenant("t-1")), due.clone()));
    assert_eq!(survey(&world, &one).await, map([("t-1", 2)]));
    let all = query(calls(), selection(everyone(), due.clone()));
    assert_eq!(survey(&world, &all).await, map([("T-1", 1), ("t-1", 2), ("t-10", 1), ("t-1x", 1)]));
    let excepted = TenantScope::AllExcept(vec![tenant("t-1"), tenant("t-10")]);
    let rest = query(calls(), selection(excepted, due.clone()));
    assert_eq!(survey(&world, &rest).await, map([("T-1", 1), ("t-1x", 1)]));
    let nameless = query(calls(), selection(TenantScope::Nameless, Times::Any));
    let counted = world.reader().await.survey(&nameless).await.unwrap();
    assert_eq!((counted.nameless, counted.tenants.len()), (2, 0));
}

#[tokio::test]
async fn the_edge_of_an_interval_is_exact() {
    let world = World::new(CALLS).await;
    // Record 5 begins at 2025-06-01T00:00:00Z.
    for (edge, expected) in
        [("2025-06-01T00:00:00Z", 2), ("2025-06-01T00:00:00.000000001Z", 3), ("2025-05-31T23:59:59Z", 1)]
    {
        let query = query(calls(), selection(TenantScope::One(tenant("t-1")), before(edge)));
        assert_eq!(survey(&world, &query).await, map([("t-1", expected)]), "{edge}");
    }
}

#[tokio::test]
async fn oldest_and_newest_are_instants() {
    let world = World::new(CALLS).await;
    let query = query(calls(), selection(TenantScope::One(tenant("t-1")), Times::Any));
    let counted = world.reader().await.survey(&query).await.unwrap();
    let tally = &counted.tenants[&tenant("t-1")];
    assert_eq!(tally.records, 7);
    assert_eq!(tally.oldest, Some(at("2024-12-31T16:00:00Z")));
    assert_eq!(tally.newest, Some(at("2025-06-01T00:00:00Z")));
}

#[tokio::test]
async fn what_is_not_usable_is_parked_and_covered_by_a_request_only() {
    let world = World::new(CALLS).await;
    let parked = query(calls(), selection(everyone(), Times::Unusable));
    assert_eq!(survey(&world, &parked).await, map([("t-1", 4)]));
    let received = at("2025-06-01T00:00:00Z");
    let one = TenantScope::One(tenant("t-1"));
    let request = query(calls(), selection(one.clone(), Times::UpTo(received)));
    assert_eq!(survey(&world, &request).await, map([("t-1", 7)]));
    let tick = received - TimeDelta::nanoseconds(1);
    let request = query(calls(), selection(one.clone(), Times::UpTo(tick)));
    assert_eq!(survey(&world, &request).await, map([("t-1", 6)]));
    let mut timeless = calls();
    timeless.event_time = None;
    for (times, expected) in [
        (Times::Any, map([("t-1", 7)])),
        (Times::UpTo(tick), map([("t-1", 7)])),
        (Times::Unusable, map([])),
        (before("2027-01-01T00:00:00Z"), map([])),
    ] {
        let query = query(timeless.clone(), selection(one.clone(), times));
        assert_eq!(survey(&world, &query).await, expected);
    }
}

#[tokio::test]
async fn what_an_age_rule_parks_is_all_that_is_not_usable_but_what_sorts_like_a_time_not_due_yet() {
    let world = World::new(
        "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at, caller TEXT, callee TEXT);
         CREATE INDEX call_started ON call_record (started_at);
         INSERT INTO call_record (tenant_id, started_at) VALUES
           ('null', NULL), ('zero', 0), ('number', 20250101), ('fraction', 1.5), ('empty', ''),
           ('zeros', '0000-00-00 00:00:00'), ('implausible', '1999-12-31 23:59:59'), ('no day', '2024-02-30'),
           ('slashes', '2024/12/31'), ('no zero', '2024-7-1'), ('january', '2024-1-1'), ('compact', '20241231'),
           ('future', '2026-01-16 12:00:01'), ('far', '9999-12-31'), ('word', 'soon'), ('bytes', x'00'),
           ('usable', '2024-01-01 00:00:00'), ('kept', '2024-12-31 00:00:00'), ('tomorrow', '2026-01-16 12:00:00'),
           ('no day yet', '2025-02-30'), ('next slashes', '2025/01/01');",
    )
    .await;
    let all = [
        "null",
        "zero",
        "number",
        "fraction",
        "empty",
        "zeros",
        "implausible",
        "no day",
        "slashes",
        "no zero",
        "january",
        "compact",
        "future",
        "far",
        "word",
        "bytes",
    ];
    let until = |instant| query(calls(), selection(everyone(), Times::UnusableBefore(at(instant))));
    let expected = all.iter().map(|&name| (name.to_owned(), 1)).collect();
    assert_eq!(survey(&world, &until("2024-06-30T00:00:00Z")).await, expected);
    let late = ["no day yet", "next slashes"];
    let expected = all.iter().chain(&late).map(|&name| (name.to_owned(), 1)).collect();
    assert_eq!(survey(&world, &until("2025-06-30T00:00:00Z")).await, expected);
    let mut excepting = until("2024-06-30T00:00:00Z");
    excepting.selection.except = std::mem::take(&mut excepting.selection.within);
    let expected =
        ["usable", "kept", "tomorrow"].iter().chain(&late).map(|&name| (name.to_owned(), 1)).collect();
    assert_eq!(survey(&world, &excepting).await, expected);
}

#[tokio::test]
async fn tenants_counted_one_by_one_have_the_counts_that_they_have_together() {
    let script = "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, caller TEXT, callee TEXT);
         CREATE INDEX call_started ON call_record (started_at);
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
         INSERT INTO call_record (tenant_id, started_at)
           SELECT CASE i % 7 WHEN 0 THEN 't-1' WHEN 1 THEN 'T-1' WHEN 2 THEN 't-10' WHEN 3 THEN NULL WHEN 4 THEN ' '
               WHEN 5 THEN 't-1x' ELSE x'742d31' END,
             CASE i % 11 WHEN 0 THEN NULL WHEN 1 THEN '2025-08-01T00:00:00Z' WHEN 2 THEN '2024-02-30 00:00:00'
               WHEN 3 THEN '2024-02-29T12:00:00+08:00' ELSE datetime('2024-01-01', i || ' seconds') END FROM n;";
    let query = query(
        calls(),
        selection(TenantScope::AllExcept(vec![tenant("t-1x")]), before("2025-01-01T00:00:00Z")),
    );
    let together = World::new(script).await.reader().await.survey(&query).await.unwrap();
    assert_eq!(together.tenants.len(), 3);
    assert!(
        together.tenants.values().all(|tally| tally.newest == Some(at("2024-02-29T04:00:00Z"))),
        "{together:?}"
    );
    let by_tenant = "CREATE INDEX by_tenant ON call_record (tenant_id, started_at);";
    let one_by_one =
        World::new(&format!("{script}{by_tenant}")).await.reader().await.survey(&query).await.unwrap();
    assert_eq!(one_by_one, together);
}

#[tokio::test]
async fn a_subject_is_named_by_any_column_of_its_kind_and_by_nothing_longer() {
    let world = World::new(CALLS).await;
    let (named, key) = subject("phone", "+65 91");
    let mut query = query(calls(), selection(TenantScope::One(tenant("t-1")), Times::Any));
    query.selection.within[0].subjects = Some(vec![named.clone()]);
    let error = world.reader().await.survey(&query).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unresolved);
    query.subjects.insert(named.fingerprint.clone(), key);
    assert_eq!(survey(&world, &query).await, map([("t-1", 3)]));
    query.selection.within[0].subjects = None;
    query.selection.except = vec![Scope { subjects: Some(vec![named]), times: Times::Any }];
    assert_eq!(survey(&world, &query).await, map([("t-1", 4)]));
}

#[tokio::test]
async fn nobody_is_named_by_an_empty_list_or_an_unknown_kind() {
    let world = World::new(CALLS).await;
    let (stranger, key) = subject("agent", "4711");
    let mut query = query(calls(), selection(TenantScope::One(tenant("t-1")), Times::Any));
    query.subjects.insert(stranger.fingerprint.clone(), key);
    for nobody in [vec![], vec![stranger]] {
        query.selection.within[0].subjects = Some(nobody.clone());
        query.selection.except = vec![];
        assert_eq!(survey(&world, &query).await, map([]));
        query.selection.within[0].subjects = None;
        query.selection.except = vec![Scope { subjects: Some(nobody), times: Times::Any }];
        assert_eq!(survey(&world, &query).await, map([("t-1", 7)]));
    }
}

#[tokio::test]
async fn a_null_in_a_hold_s_columns_keeps_no_other_record_from_erasure() {
    let world = World::new(CALLS).await;
    world.run("UPDATE call_record SET caller = NULL, callee = NULL WHERE id = 1").await;
    let (held, key) = subject("phone", "+6591");
    let mut query =
        query(calls(), selection(TenantScope::One(tenant("t-1")), before("2025-06-01T00:00:01Z")));
    query.subjects.insert(held.fingerprint.clone(), key);
    query.selection.except = vec![Scope { subjects: Some(vec![held]), times: Times::Any }];
    let store = world.store().await;
    assert_eq!(erase_all(&store, &query, WIDE, Method::Delete).await, map([("t-1", 2)]));
    let left =
        world.texts("SELECT CAST(id AS TEXT) FROM call_record WHERE tenant_id = 't-1' ORDER BY id").await;
    assert_eq!(left, ["5", "9", "10", "11", "12"], "record 5 is held");
}

#[tokio::test]
async fn a_column_that_folds_letters_keeps_its_tenants_apart() {
    let world = World::new(
        "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT COLLATE NOCASE, started_at TEXT);
         CREATE INDEX by_tenant ON call_record (tenant_id, started_at);
         INSERT INTO call_record VALUES (1,'acme','2025-01-01 00:00:00'), (2,'ACME','2025-01-01 00:00:00'), (3,'Acme','2025-01-01 00:00:00');",
    )
    .await;
    let placement = placement("call_record", &["id"], text_time("started_at"));
    let due = before("2025-06-01T00:00:00Z");
    let all = query(placement.clone(), selection(everyone(), due.clone()));
    assert_eq!(survey(&world, &all).await, map([("ACME", 1), ("Acme", 1), ("acme", 1)]));
    let excepted = TenantScope::AllExcept(vec![tenant("acme")]);
    let rest = query(placement.clone(), selection(excepted, due.clone()));
    assert_eq!(survey(&world, &rest).await, map([("ACME", 1), ("Acme", 1)]));
    let one = query(placement, selection(TenantScope::One(tenant("acme")), due));
    let store = world.store().await;
    assert_eq!(erase_all(&store, &one, WIDE, Method::Delete).await, map([("acme", 1)]));
    assert_eq!(world.texts("SELECT tenant_id FROM call_record ORDER BY id").await, ["ACME", "Acme"]);
}

#[tokio::test]
async fn an_integer_tenant_is_named_by_its_decimal_and_by_no_other_text() {
    for declared in ["INTEGER", "TEXT", "", "NUMERIC"] {
        let world = World::new(&format!(
            "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id {declared}, started_at TEXT);
             INSERT INTO call_record VALUES (1,42,'2025-01-01 00:00:00'), (2,420,'2025-01-01 00:00:00'), (3,4.5,'2025-01-01 00:00:00'), (4,x'3432','2025-01-01 00:00:00'), (5,'42abc','2025-01-01 00:00:00');"
        ))
        .await;
        let placement = placement("call_record", &["id"], text_time("started_at"));
        let of = |name: &str| query(placement.clone(), selection(TenantScope::One(tenant(name)), Times::Any));
        assert_eq!(survey(&world, &of("42")).await, map([("42", 1)]), "{declared}");
        for other in ["042", "+42", "4.2e1", "42.0"] {
            assert_eq!(survey(&world, &of(other)).await, map([]), "{declared} {other}");
        }
        let all = query(placement.clone(), selection(TenantScope::AllExcept(vec![tenant("42")]), Times::Any));
        let expected = if declared == "TEXT" {
            map([("4.5", 1), ("420", 1), ("42abc", 1)])
        } else {
            map([("420", 1), ("42abc", 1)])
        };
        assert_eq!(survey(&world, &all).await, expected, "{declared}");
        let nameless = query(placement, selection(TenantScope::Nameless, Times::Any));
        let parked = world.reader().await.survey(&nameless).await.unwrap().nameless;
        assert_eq!(parked, if declared == "TEXT" { 1 } else { 2 }, "{declared}");
    }
}

#[tokio::test]
async fn a_tenant_of_unicode_white_space_is_nobody() {
    let world = World::new(
        "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT);
         INSERT INTO call_record VALUES (1, char(0x3000, 9, 0xa0, 0x2003), NULL), (2, '', NULL), (3, char(0x3000) || 'a', NULL), (4, char(0x200b), NULL);",
    )
    .await;
    let placement = placement("call_record", &["id"], text_time("started_at"));
    let nameless = query(placement.clone(), selection(TenantScope::Nameless, Times::Any));
    assert_eq!(world.reader().await.survey(&nameless).await.unwrap().nameless, 2);
    let named = query(placement, selection(everyone(), Times::Any));
    assert_eq!(survey(&world, &named).await, map([("\u{3000}a", 1), ("\u{200b}", 1)]));
}

#[tokio::test]
async fn a_constant_tenant_owns_every_row_and_nobody_else_does() {
    let world = World::new(CALLS).await;
    let mut placement = calls();
    placement.tenant = TenantSource::Constant(tenant("acme"));
    let of = |tenants| query(placement.clone(), selection(tenants, Times::Any));
    assert_eq!(survey(&world, &of(TenantScope::One(tenant("acme")))).await, map([("acme", 12)]));
    assert_eq!(survey(&world, &of(TenantScope::One(tenant("t-1")))).await, map([]));
    assert_eq!(survey(&world, &of(everyone())).await, map([("acme", 12)]));
    assert_eq!(survey(&world, &of(TenantScope::AllExcept(vec![tenant("acme")]))).await, map([]));
    assert_eq!(world.reader().await.survey(&of(TenantScope::Nameless)).await.unwrap().nameless, 0);
    let store = world.store().await;
    let erased = erase_all(&store, &of(TenantScope::One(tenant("acme"))), WIDE, Method::Delete).await;
    assert_eq!(erased, map([("acme", 12)]));
}

#[tokio::test]
async fn counts_since_the_epoch_are_cut_exactly() {
    for (unit, tick) in [(EpochUnit::Seconds, 1), (EpochUnit::Milliseconds, 1_000)] {
        let edge = 1_748_736_000_i64; // 2025-06-01T00:00:00Z
        let world = World::new(&format!(
            "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at INTEGER);
             CREATE INDEX call_started ON call_record (started_at);
             INSERT INTO call_record VALUES (1,'t-1',{0} - 1), (2,'t-1',{0}), (3,'t-1',{0} + 1), (4,'t-1',0), (5,'t-1',-1), (6,'t-1','soon'), (7,'t-1',NULL), (8,'t-1',1.5), (9,'t-1',{0} * 1000);",
            edge * tick
        ))
        .await;
        let event = EventTime::Epoch { column: "started_at".into(), unit };
        let placement = placement("call_record", &["id"], Some(event));
        let of = |times| query(placement.clone(), selection(everyone(), times));
        assert_eq!(survey(&world, &of(before("2025-06-01T00:00:00Z"))).await, map([("t-1", 1)]));
        assert_eq!(survey(&world, &of(before("2025-06-01T00:00:00.000000001Z"))).await, map([("t-1", 2)]));
        assert_eq!(survey(&world, &of(Times::Unusable)).await, map([("t-1", 6)]));
        let pieces = [
            ("2025-05-01T00:00:00Z", "2025-06-01T00:00:00Z"),
            ("2025-06-01T00:00:00.0001Z", "2025-07-01T00:00:00Z"),
        ]
        .map(|(from, to)| Interval { from: at(from), to: at(to) });
        assert_eq!(survey(&world, &of(Times::Within(pieces.into()))).await, map([("t-1", 2)]));
        let counted = world.reader().await.survey(&of(Times::Any)).await.unwrap();
        let tally = &counted.tenants[&tenant("t-1")];
        assert_eq!(tally.records, 9);
        let step = TimeDelta::milliseconds(1_000 / tick);
        assert_eq!(tally.oldest, Some(at("2025-06-01T00:00:00Z") - step));
        assert_eq!(tally.newest, Some(at("2025-06-01T00:00:00Z") + step));
    }
}

/// Texts as stores really hold them, readable and not, around an instant.
fn texts_around(instant: DateTime<Utc>, zone: Tz) -> Vec<String> {
    let mut texts = Vec::new();
    for seconds in [
        -90_000, -86_400, -7_200, -3_601, -3_600, -3_599, -1, 0, 1, 3_599, 3_600, 3_601, 7_200, 86_400,
        90_000,
    ] {
        let local = (instant + TimeDelta::seconds(seconds)).with_timezone(&zone);
        for shape in [
            "%Y-%m-%d %H:%M:%S",
            "%Y-%m-%dT%H:%M:%S",
            "%Y-%m-%d",
            "%Y-%m-%d %H:%M:%S.5",
            "%Y-%m-%d %H:%M:%S.000000001",
            "%Y-%m-%d %H:%M:%S.0",
            "%Y-%m-%dT%H:%M:%SZ",
            "%Y-%m-%d %H:%M:%S%:z",
            "%Y-%m-%dT%H:%M:%S.25+23:59",
            "%Y-%m-%dT%H:%M:%S-23:59",
            "%Y-%m-%dT%H:%M:%S-00:00",
            "%Y-%m-%d %H:%M",
            "%Y/%m/%d %H:%M:%S",
            "%d/%m/%Y %H:%M:%S",
            "%Y-%m-%dt%H:%M:%S",
            "%Y-%m-%d %H:%M:%S ",
            " %Y-%m-%d %H:%M:%S",
            "%Y-%m-%d  %H:%M:%S",
            "%Y-%m-%d %H:%M:%S.",
            "%Y-%m-%d %H:%M:%S.0000000000",
            "%Y%m%d",
            "%Y-%m-%d %H:%M:%S+24:00",
            "%Y-%m-%d %H:%M:60",
            "+%Y-%m-%d %H:%M:%S",
        ] {
            texts.push(local.format(shape).to_string());
        }
    }
    for odd in [
        "",
        "i0 0",
        "t",
        "2023-02-29 00:00:00",
        "2024-02-29 00:00:00",
        "2025-13-01",
        "2025-06-31",
        "2025-06-01 24:00:00",
        "2025-06-01 25:00:00",
        "2025-12-31T23:59:60Z",
        "2025-12-31 23:59:60.7",
        "0000-00-00 00:00:00",
        "1970-01-01T00:00:00Z",
        "9999-12-31",
        "9999-12-31 23:59:59",
        "10000-01-01",
        "2011-12-30 10:00:00",
        "2025-W01-1",
        "２０２５-06-01",
        "1748736000",
        "null",
        "2025-06-01 00:00:00\0",
        "2025-06-01\0 00:00:00",
    ] {
        texts.push(odd.to_owned());
    }
    texts.sort();
    texts.dedup();
    texts
}

/// Whether a record with this usable event time, or none, belongs.
type Rule = Box<dyn Fn(Option<DateTime<Utc>>) -> bool>;

#[tokio::test]
async fn what_a_query_selects_is_what_the_rule_says_of_each_text() {
    let instants = [
        "2025-03-30T01:00:00Z",
        "2025-10-26T01:00:00Z",
        "2024-02-29T12:00:00Z",
        "2011-12-30T10:00:00Z",
        "2025-06-01T00:00:00Z",
    ];
    for (format, zone) in [
        (event_time::DEFAULT_FORMAT, Tz::Europe__Berlin),
        (event_time::DEFAULT_FORMAT, Tz::Asia__Singapore),
        (event_time::DEFAULT_FORMAT, Tz::Pacific__Apia),
        ("%d/%m/%Y %H:%M:%S", Tz::Europe__Berlin),
        ("%Y-%m-%d", Tz::Pacific__Apia),
    ] {
        for instant in instants.map(at) {
            let texts = texts_around(instant, zone);
            let world = World::new("CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT); CREATE INDEX i ON call_record (started_at);").await;
            let mut connection = world.connect().await;
            sqlx::raw_sql("BEGIN").execute(&mut connection).await.unwrap();
            for (place, text) in texts.iter().enumerate() {
                sqlx::query("INSERT INTO call_record (tenant_id, started_at) VALUES (?, ?)")
                    .bind(format!("n{place}"))
                    .bind(text)
                    .execute(&mut connection)
                    .await
                    .unwrap();
            }
            sqlx::raw_sql("COMMIT").execute(&mut connection).await.unwrap();
            let event =
                EventTime::Text { column: "started_at".into(), format: format.into(), time_zone: zone };
            let placement = placement("call_record", &["id"], Some(event));
            let usable = event_time::usable_span(&placement, SINGAPORE, now());
            let read =
                |text: &str| event_time::read_text(text, format, zone).filter(|at| usable.contains(*at));
            let tick = TimeDelta::nanoseconds(1);
            let pieces = vec![
                Interval {
                    from: instant - TimeDelta::seconds(90_000),
                    to: instant - TimeDelta::seconds(3_600),
                },
                Interval { from: instant - tick, to: instant + TimeDelta::seconds(1) },
            ];
            let cases: [(Times, Rule); 5] = [
                (Times::Any, Box::new(|_| true)),
                (Times::Unusable, Box::new(|at| at.is_none())),
                (Times::UpTo(instant), Box::new(move |at| at.is_none_or(|at| at <= instant))),
                (
                    Times::Within(vec![Interval { from: DateTime::<Utc>::MIN_UTC, to: instant }]),
                    Box::new(move |at| at.is_some_and(|at| at < instant)),
                ),
                (
                    Times::Within(pieces.clone()),
                    Box::new(move |at| at.is_some_and(|at| pieces.iter().any(|piece| piece.contains(at)))),
                ),
            ];
            let reader = world.reader().await;
            for (times, belongs) in cases {
                let query = query(placement.clone(), selection(everyone(), times.clone()));
                let survey = reader.survey(&query).await.unwrap();
                for (place, text) in texts.iter().enumerate() {
                    let tally = survey.tenants.get(&tenant(&format!("n{place}")));
                    let instant = read(text);
                    assert_eq!(tally.is_some(), belongs(instant), "{text:?} {format} {zone} {times:?}");
                    if let Some(tally) = tally {
                        assert_eq!((tally.oldest, tally.newest), (instant, instant), "{text:?}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn every_kind_of_table_is_erased_to_the_last_due_record() {
    let tables = [
        (
            "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, body TEXT)",
            vec!["id"],
        ),
        ("CREATE TABLE call_record (tenant_id TEXT, started_at TEXT, body TEXT, rowid TEXT)", vec![]),
        (
            "CREATE TABLE call_record (tenant_id TEXT, started_at TEXT, body TEXT, PRIMARY KEY (tenant_id, body)) WITHOUT ROWID",
            vec!["tenant_id", "body"],
        ),
        (
            "CREATE TABLE call_record (tenant_id TEXT, started_at TEXT, body TEXT, blob BLOB DEFAULT (randomblob(8)), PRIMARY KEY (blob, body)) WITHOUT ROWID",
            vec!["body"],
        ),
        (
            "CREATE TABLE call_record (tenant_id TEXT NOT NULL, started_at TEXT, body TEXT UNIQUE, n REAL DEFAULT 1.5, twice TEXT AS (body || body)) STRICT",
            vec![],
        ),
    ];
    for (ddl, key) in tables {
        for index in ["", "CREATE INDEX by_tenant ON call_record (tenant_id, started_at);"] {
            for (method, budget) in [
                (Method::Delete, WIDE),
                (Method::Zero, Budget { records_max: 7, window_keys: 10 }),
                (Method::OverwriteThenDelete, Budget { records_max: 5, window_keys: 1_000 }),
            ] {
                let world = World::new(&format!(
                    "{ddl}; {index} WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
                     INSERT INTO call_record (tenant_id, started_at, body)
                     SELECT CASE i % 3 WHEN 0 THEN 't-1' WHEN 1 THEN 't-10' ELSE 'T-1' END,
                            CASE WHEN i % 5 < 2 THEN '2025-01-01 00:00:00' ELSE '2025-12-01 00:00:00' END, 'text-' || i FROM n"
                ))
                .await;
                let placement = placement("call_record", &key, text_time("started_at"));
                let due = before("2025-06-01T00:00:00Z");
                let store = world.store().await;
                let one = query(placement.clone(), selection(TenantScope::One(tenant("t-1")), due.clone()));
                assert_eq!(
                    erase_all(&store, &one, budget, method).await,
                    map([("t-1", 8)]),
                    "{ddl} {index} {method:?}"
                );
                let all = query(placement, selection(everyone(), due));
                assert_eq!(erase_all(&store, &all, budget, method).await, map([("T-1", 8), ("t-10", 8)]));
                let left = world
                    .texts(
                        "SELECT tenant_id || count(*) || min(started_at) FROM call_record GROUP BY tenant_id",
                    )
                    .await;
                assert_eq!(
                    left,
                    ["T-1122025-12-01 00:00:00", "t-1122025-12-01 00:00:00", "t-10122025-12-01 00:00:00"]
                );
            }
        }
    }
}

#[tokio::test]
async fn words_of_the_language_are_names_like_any_other() {
    let world = World::new(
        r#"CREATE TABLE "order" ("group" TEXT, "start" TEXT, "end" TEXT, "a""b" TEXT, PRIMARY KEY ("a""b"));
           INSERT INTO "order" VALUES ('t-1', '2025-01-01 00:00:00', '+6591', 'x'), ('t-10', '2025-01-01 00:00:00', '+6591', 'y');"#,
    )
    .await;
    let mut placement = placement("order", &["a\"b"], text_time("start"));
    placement.tenant = TenantSource::Column("group".into());
    placement
        .subjects
        .insert("phone".into(), SubjectSource { columns: vec!["end".into()], format: SubjectFormat::AsIs });
    let query = query(placement, selection(TenantScope::One(tenant("t-1")), before("2025-06-01T00:00:00Z")));
    let store = world.store().await;
    assert!(store.inspect(&query.placement).await.unwrap().iter().all(|finding| !finding.fatal));
    let seen = store.look(&query, &["x".to_owned()]).await.unwrap().unwrap();
    assert_eq!(seen.subjects, [("phone".to_owned(), "+6591".to_owned())]);
    assert_eq!(erase_all(&store, &query, WIDE, Method::OverwriteThenDelete).await, map([("t-1", 1)]));
    assert_eq!(world.texts(r#"SELECT "a""b" FROM "order""#).await, ["y"]);
}

async fn first_batch(store: &SqliteStore, query: &Query, budget: Budget) -> Batch {
    store.find(query, None, budget, &[]).await.unwrap().unwrap().batch
}

/// Sixty rows, every second one due, so that a window pays off; a list comes of a tiny window.
async fn dense() -> (World, Query) {
    let world = World::new(
        "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, caller TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
         INSERT INTO call_record SELECT i, CASE WHEN i % 4 = 0 THEN 't-10' ELSE 't-1' END,
           CASE WHEN i % 2 = 0 THEN '2025-01-01 00:00:00' ELSE '2025-12-01 00:00:00' END, '+6591' FROM n;",
    )
    .await;
    let query = query(
        placement("call_record", &["id"], text_time("started_at")),
        selection(everyone(), before("2025-06-01T00:00:00Z")),
    );
    (world, query)
}

#[tokio::test]
async fn many_due_make_a_window_and_few_make_a_list() {
    let (world, query) = dense().await;
    let store = world.store().await;
    match first_batch(&store, &query, WIDE).await {
        Batch::Window { from, to, found, rows } => {
            assert_eq!((from, to), (1, 60));
            assert_eq!(found, BTreeMap::from([(tenant("t-1"), 15), (tenant("t-10"), 15)]));
            assert_eq!(rows, BTreeMap::from([(tenant("t-1"), 45), (tenant("t-10"), 15)]));
        }
        other @ Batch::List(_) => panic!("{other:?}"),
    }
    match first_batch(&store, &query, Budget { records_max: 5, window_keys: 64_000 }).await {
        Batch::Window { from, to, found, .. } => {
            assert_eq!((from, to), (1, 10), "the window ends where it is full");
            assert_eq!(found.values().sum::<u64>(), 5);
        }
        other @ Batch::List(_) => panic!("{other:?}"),
    }
    world.run("DELETE FROM call_record WHERE id NOT IN (2, 58)").await;
    world.run("INSERT INTO call_record VALUES (1000, 't-1', '2025-12-01 00:00:00', NULL)").await;
    match first_batch(&store, &query, WIDE).await {
        Batch::List(listed) => {
            let keys: Vec<Key> = listed.iter().map(|record| record.key.clone()).collect();
            assert_eq!(keys, [Key(vec![Value::Int(2)]), Key(vec![Value::Int(58)])]);
            assert_eq!(listed[0].tenant, tenant("t-1"));
        }
        other @ Batch::Window { .. } => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_record_that_changed_since_it_was_found_survives_and_is_counted() {
    for naming in [vec![], vec!["caller".to_owned()]] {
        let (world, query) = dense().await;
        let store = world.store().await;
        let batch = store.find(&query, None, WIDE, &naming).await.unwrap().unwrap().batch;
        world.run("UPDATE call_record SET started_at = '2025-12-24 00:00:00' WHERE id = 2; DELETE FROM call_record WHERE id = 4;").await;
        let outcome = store.erase(&query, &batch, Method::Delete).await.unwrap();
        assert_eq!(outcome.counts[&tenant("t-1")], Counts { erased: 14, changed: 1, ..Counts::default() });
        assert_eq!(
            outcome.counts[&tenant("t-10")],
            Counts { erased: 14, already_absent: 1, ..Counts::default() }
        );
        let still = store.absent(&query, &batch).await.unwrap();
        assert!(still.tenants.is_empty());
        if let Batch::List(_) = batch {
            assert_eq!(outcome.survivors.len(), 1);
            assert_eq!((outcome.survivors[0].index, &outcome.survivors[0].why), (0, &Survival::Changed));
            assert_eq!(still.indexes, [0], "it is there, though it does not match");
        }
        assert_eq!(
            world.texts("SELECT started_at FROM call_record WHERE id = 2").await,
            ["2025-12-24 00:00:00"]
        );
    }
}

#[tokio::test]
async fn erasing_twice_finds_everything_already_absent() {
    for naming in [vec![], vec!["caller".to_owned()]] {
        let (world, query) = dense().await;
        let store = world.store().await;
        let batch = store.find(&query, None, WIDE, &naming).await.unwrap().unwrap().batch;
        let first = store.erase(&query, &batch, Method::Delete).await.unwrap();
        assert_eq!(first.counts[&tenant("t-1")], Counts { erased: 15, ..Counts::default() });
        let left = world.texts("SELECT CAST(count(*) AS TEXT) FROM call_record").await;
        let second = store.erase(&query, &batch, Method::Delete).await.unwrap();
        for name in ["t-1", "t-10"] {
            assert_eq!(second.counts[&tenant(name)], Counts { already_absent: 15, ..Counts::default() });
        }
        assert_eq!(world.texts("SELECT CAST(count(*) AS TEXT) FROM call_record").await, left);
    }
}

#[tokio::test]
async fn a_listed_record_that_moved_to_another_tenant_survives() {
    let (world, query) = dense().await;
    let store = world.store().await;
    let batch = store.find(&query, None, WIDE, &["caller".to_owned()]).await.unwrap().unwrap().batch;
    world.run("UPDATE call_record SET tenant_id = 't-1x' WHERE id = 2").await;
    let outcome = store.erase(&query, &batch, Method::Delete).await.unwrap();
    assert_eq!(outcome.counts[&tenant("t-1")].changed, 1);
    assert_eq!(world.texts("SELECT tenant_id FROM call_record WHERE id = 2").await, ["t-1x"]);
}

#[tokio::test]
async fn a_listed_row_that_names_another_record_by_now_survives() {
    for (method, change) in [
        (Method::Delete, "'rec/t-1/new'"),
        (Method::OverwriteThenDelete, "'rec/t-1/new'"),
        (Method::Delete, "NULL"),
    ] {
        let world = World::new(CALLS).await;
        let query =
            query(calls(), selection(TenantScope::One(tenant("t-1")), before("2025-06-01T00:00:01Z")));
        let store = world.store().await;
        let batch =
            store.find(&query, None, WIDE, &["recording_key".to_owned()]).await.unwrap().unwrap().batch;
        world.run(&format!("UPDATE call_record SET recording_key = {change} WHERE id = 5")).await;
        let outcome = store.erase(&query, &batch, method).await.unwrap();
        let counts = outcome.counts[&tenant("t-1")];
        assert_eq!(
            (counts.erased, counts.changed),
            (2, 1),
            "{method:?} {change}: its new record would be nobody's"
        );
        assert_eq!(world.texts("SELECT id FROM call_record WHERE tenant_id = 't-1' AND id < 9").await, ["5"]);
    }
}

#[tokio::test]
async fn rows_carry_what_they_name_and_are_counted_by_it() {
    let world = World::new(CALLS).await;
    let mut query =
        query(calls(), selection(TenantScope::One(tenant("t-1")), before("2025-06-01T00:00:01Z")));
    let naming = ["recording_key".to_owned()];
    let store = world.store().await;
    let Batch::List(listed) = store.find(&query, None, WIDE, &naming).await.unwrap().unwrap().batch else {
        panic!("rows that name something are listed");
    };
    let names: Vec<&String> = listed.iter().map(|record| &record.names["recording_key"]).collect();
    assert_eq!(names, ["rec/t-1/1", "rec/t-1/5", "rec/t-1/1"]);
    let asked = ["rec/t-1/1", "rec/t-1/5", "rec/t-1/", "REC/T-1/1"].map(str::to_owned);
    let named = store.naming_rows(&query.placement, "recording_key", &asked, &[]).await.unwrap();
    let of = |name: &str, rows: u64| BTreeMap::from([(TenantId::observed(name), rows)]);
    assert_eq!(
        named,
        BTreeMap::from([("rec/t-1/1".to_owned(), of("t-1", 2)), ("rec/t-1/5".to_owned(), of("t-1", 1))])
    );
    query.selection.tenants = everyone();
    query.naming = Some("recording_key".into());
    assert_eq!(survey(&world, &query).await, map([("t-1", 3), ("t-10", 1)]), "NULL and empty name nothing");
    for (tenant_id, id) in [("'T-1'", 2), ("NULL", 3), ("' '", 4)] {
        let change = format!("recording_key = 'rec/t-1/5', tenant_id = {tenant_id} WHERE id = {id}");
        world.run(&format!("UPDATE call_record SET {change}")).await;
    }
    let named = store.naming_rows(&query.placement, "recording_key", &asked[1..2], &[]).await.unwrap();
    let expected =
        BTreeMap::from([(TenantId::observed("t-1"), 1), (TenantId::observed("T-1"), 1), (None, 2)]);
    assert_eq!(named["rec/t-1/5"], expected, "tenants as they are, and nobody");
}

/// Found naming a record, then another row that is not due takes the name over: the record is named by somebody else now.
#[tokio::test]
async fn a_name_that_another_row_took_over_since_is_named_by_that_row() {
    let world = World::new(CALLS).await;
    let query = query(calls(), selection(TenantScope::One(tenant("t-1")), before("2025-06-01T00:00:01Z")));
    let store = world.store().await;
    let naming = ["recording_key".to_owned()];
    let Batch::List(listed) = store.find(&query, None, WIDE, &naming).await.unwrap().unwrap().batch else {
        panic!("rows that name something are listed");
    };
    let beside: Vec<_> = listed.iter().map(|row| row.key.clone()).collect();
    let asked = ["rec/t-1/5".to_owned()];
    let count = async |beside: &[_]| {
        store.naming_rows(&query.placement, "recording_key", &asked, beside).await.unwrap().len()
    };
    assert_eq!(count(&beside).await, 0, "only the batch names it");
    world.run("UPDATE call_record SET recording_key = NULL WHERE recording_key = 'rec/t-1/5'").await;
    world.run("INSERT INTO call_record (id, tenant_id, started_at, recording_key) VALUES (900, 't-1', '2026-01-01 00:00:00', 'rec/t-1/5')").await;
    assert_eq!(count(&beside).await, 1, "the row that took it over");
}

#[tokio::test]
async fn one_record_is_looked_at_by_its_exact_key() {
    let world = World::new(CALLS).await;
    let reader = world.reader().await;
    let by_id = query(calls(), selection(everyone(), Times::Any));
    let look = |query: Query, key: &[&str]| {
        let key: Vec<String> = key.iter().map(|part| (*part).to_owned()).collect();
        let reader = &reader;
        async move { reader.look(&query, &key).await }
    };
    let seen = look(by_id.clone(), &["5"]).await.unwrap().unwrap();
    assert_eq!(
        seen,
        Seen {
            tenant: Some(tenant("t-1")),
            event_time: SeenTime::Usable(at("2025-06-01T00:00:00Z")),
            subjects: vec![("phone".into(), "+6594".into()), ("phone".into(), "+6591".into())],
        }
    );
    assert_eq!(look(by_id.clone(), &["7"]).await.unwrap().unwrap().tenant, None);
    for parked in ["9", "10", "11", "12"] {
        assert_eq!(look(by_id.clone(), &[parked]).await.unwrap().unwrap().event_time, SeenTime::Unusable);
    }
    for nothing in ["05", "5 ", "5.0", "99"] {
        assert_eq!(look(by_id.clone(), &[nothing]).await.unwrap(), None, "{nothing}");
    }
    let mut keyless = calls();
    keyless.records = Some(Records::Table { table: "call_record".into(), key: vec![] });
    let by_pairs = query(keyless, selection(everyone(), Times::Any));
    let found = look(by_pairs.clone(), &["tenant_id=t-1", "callee=+65911"]).await.unwrap();
    assert_eq!(found.unwrap().event_time, SeenTime::Usable(at("2025-05-31T23:59:59Z")));
    let several = look(by_pairs.clone(), &["tenant_id=t-1"]).await.unwrap_err();
    assert_eq!(several.kind, ErrorKind::Ambiguous);
    for wrong in [vec![], vec!["t-1"], vec!["nosuch=1"]] {
        assert_eq!(look(by_pairs.clone(), &wrong).await.unwrap_err().kind, ErrorKind::Schema);
    }
    assert_eq!(look(by_id, &["1", "2"]).await.unwrap_err().kind, ErrorKind::Schema);
}

#[tokio::test]
async fn names_must_be_in_the_catalogue_byte_by_byte() {
    let world = World::new(&format!("{CALLS} CREATE VIEW calls_view AS SELECT * FROM call_record; CREATE VIRTUAL TABLE calls_text USING fts5(tenant_id, started_at);")).await;
    let reader = world.reader().await;
    for table in [
        "CALL_RECORD",
        "nosuch",
        "calls_view",
        "calls_text",
        "sqlite_schema",
        "call_record; DROP TABLE call_record",
        "call_record\" --",
    ] {
        let query = query(placement(table, &[], text_time("started_at")), selection(everyone(), Times::Any));
        assert_eq!(reader.survey(&query).await.unwrap_err().kind, ErrorKind::Schema, "{table}");
        let findings = reader.inspect(&query.placement).await.unwrap();
        assert!(findings.len() == 1 && findings[0].fatal, "{table} {findings:?}");
    }
    for column in ["STARTED_AT", "nosuch", "rowid"] {
        let query =
            query(placement("call_record", &["id"], text_time(column)), selection(everyone(), Times::Any));
        assert_eq!(reader.survey(&query).await.unwrap_err().kind, ErrorKind::Schema, "{column}");
        let findings = reader.inspect(&query.placement).await.unwrap();
        assert!(findings.iter().any(|finding| finding.fatal && finding.field == "event_time"), "{column}");
    }
    assert_eq!(reader.population(&calls(), 1_000).await.unwrap(), 12);
    assert_eq!(reader.population(&calls(), 5).await.unwrap(), 5);
}

#[tokio::test]
async fn inspection_finds_what_would_reach_further_than_the_policy() {
    let world = World::new(&format!(
        "{CALLS} CREATE TABLE note (id INTEGER PRIMARY KEY, call_id INTEGER REFERENCES call_record(id) ON DELETE CASCADE);"
    ))
    .await;
    let store = world.store().await;
    let due = query(calls(), selection(TenantScope::One(tenant("t-1")), before("2025-06-01T00:00:00Z")));
    let findings = store.inspect(&due.placement).await.unwrap();
    assert_eq!(findings.iter().filter(|finding| finding.fatal).count(), 1, "{findings:?}");
    let batch = first_batch(&store, &due, WIDE).await;
    let error = store.erase(&due, &batch, Method::Delete).await.unwrap_err();
    assert_eq!((error.kind, error.retry), (ErrorKind::Refused, Retry::Never));
    world.run("DROP TABLE note; CREATE TRIGGER echo AFTER DELETE ON call_record BEGIN INSERT INTO call_record (tenant_id) VALUES (old.tenant_id); END;").await;
    assert!(store.inspect(&due.placement).await.unwrap().iter().any(|finding| finding.fatal));
    assert_eq!(store.erase(&due, &batch, Method::Delete).await.unwrap_err().kind, ErrorKind::Refused);
    world
        .run("DROP TRIGGER echo; CREATE TRIGGER welcome AFTER INSERT ON call_record BEGIN SELECT 1; END;")
        .await;
    assert!(store.inspect(&due.placement).await.unwrap().is_empty());
    world.run("DROP INDEX call_started").await;
    let findings = store.inspect(&due.placement).await.unwrap();
    assert!(findings.len() == 1 && !findings[0].fatal && findings[0].field == "event_time", "{findings:?}");
    let mut epoch = calls();
    epoch.event_time = Some(EventTime::Epoch { column: "started_at".into(), unit: EpochUnit::Seconds });
    assert!(store.inspect(&epoch).await.unwrap().iter().any(|finding| finding.fatal));
}

#[tokio::test]
async fn a_constraint_rolls_everything_back_and_names_no_value() {
    let world = World::new(&format!(
        "{CALLS} CREATE TABLE note (id INTEGER PRIMARY KEY, call_id INTEGER REFERENCES call_record(id)); INSERT INTO note VALUES (1, 6);"
    ))
    .await;
    let store = world.store().await;
    let due = query(calls(), selection(TenantScope::One(tenant("t-1")), before("2025-06-01T00:00:00Z")));
    let batch = first_batch(&store, &due, WIDE).await;
    let error = store.erase(&due, &batch, Method::Delete).await.unwrap_err();
    assert_eq!((error.kind, error.retry), (ErrorKind::Refused, Retry::Never));
    assert!(error.to_string().contains("FOREIGN KEY constraint failed"), "{error}");
    assert_eq!(survey(&world, &due).await, map([("t-1", 2)]), "nothing is half done");

    let world = World::new(
        "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, direction TEXT CONSTRAINT known CHECK (direction IN ('in','out')));
         INSERT INTO call_record VALUES (1,'t-1','2025-01-01 00:00:00','in');",
    )
    .await;
    let store = world.store().await;
    let due = query(
        placement("call_record", &["id"], text_time("started_at")),
        selection(everyone(), before("2025-06-01T00:00:00Z")),
    );
    let batch = first_batch(&store, &due, WIDE).await;
    let error = store.erase(&due, &batch, Method::OverwriteThenDelete).await.unwrap_err();
    assert!(error.to_string().contains("known") && !error.to_string().contains("0000"), "{error}");
    assert_eq!(world.texts("SELECT direction FROM call_record").await, ["in"]);
    assert_eq!(erase_all(&store, &due, WIDE, Method::Delete).await, map([("t-1", 1)]));
}

#[tokio::test]
async fn overwriting_does_not_trip_over_a_reference_to_another_table() {
    let world = World::new(
        "CREATE TABLE agent (id INTEGER PRIMARY KEY);
         CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, agent_id INTEGER REFERENCES agent(id));
         INSERT INTO agent VALUES (7); INSERT INTO call_record VALUES (1,'t-1','2025-01-01 00:00:00',7), (2,'t-1','2025-12-01 00:00:00',7);",
    )
    .await;
    let due = query(
        placement("call_record", &["id"], text_time("started_at")),
        selection(everyone(), before("2025-06-01T00:00:00Z")),
    );
    let store = world.store().await;
    assert_eq!(erase_all(&store, &due, WIDE, Method::OverwriteThenDelete).await, map([("t-1", 1)]));
    assert_eq!(world.texts("SELECT id || ' ' || agent_id FROM call_record").await, ["2 7"]);
}

#[tokio::test]
async fn a_reader_cannot_write_and_a_missing_file_is_not_made() {
    let world = World::new(CALLS).await;
    let gone = world.dir.path().join("gone.db");
    for error in [
        SqliteReader::open(&StoreId::new("calls"), &gone).await.map(|_| ()).unwrap_err(),
        SqliteStore::open(&StoreId::new("calls"), &gone).await.map(|_| ()).unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.to_string().contains("does not exist"), "{error}");
    }
    assert!(!gone.exists());
    let junk = world.dir.path().join("junk.db");
    std::fs::write(&junk, vec![b'x'; 8_192]).unwrap();
    let opened = SqliteReader::open(&StoreId::new("calls"), &junk).await;
    let error = match opened {
        Ok(reader) => reader.identity().await.map(|_| ()).unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind, ErrorKind::Unreachable);
}

#[tokio::test]
async fn looking_changes_no_byte() {
    let world = World::new(CALLS).await;
    let bytes = std::fs::read(&world.path).unwrap();
    let reader = world.reader().await;
    let query = query(calls(), selection(everyone(), Times::Any));
    reader.identity().await.unwrap();
    reader.inspect(&query.placement).await.unwrap();
    assert_eq!(reader.survey(&query).await.unwrap().total().records, 10);
    let batch = reader.find(&query, None, WIDE, &[]).await.unwrap().unwrap().batch;
    assert_eq!(reader.absent(&query, &batch).await.unwrap().tenants.values().sum::<u64>(), 10);
    assert_eq!(std::fs::read(&world.path).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(world.dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_store_knows_the_ledger_that_marked_it() {
    let world = World::new(CALLS).await;
    let store = world.store().await;
    let before = store.identity().await.unwrap();
    assert_eq!((before.ledger_id, before.store), (None, None));
    store.mark("ledger-1", &StoreId::new("calls")).await.unwrap();
    let after = world.reader().await.identity().await.unwrap();
    assert_eq!((after.ledger_id.as_deref(), after.store.as_deref()), (Some("ledger-1"), Some("calls")));
    assert_eq!(after.fingerprint, before.fingerprint);
    assert_eq!(store.mark("ledger-2", &StoreId::new("calls")).await.unwrap_err().kind, ErrorKind::Identity);
    assert_eq!(store.identity().await.unwrap().ledger_id.as_deref(), Some("ledger-1"));
    let own = query(placement("retentiond_marker", &[], None), selection(everyone(), Times::Any));
    assert_eq!(store.survey(&own).await.unwrap_err().kind, ErrorKind::Schema);
}

/// Six hundred due rows with incompressible values of their own, two hundred live ones.
async fn with_sentinels(mode: SqliteJournalMode) -> (World, Vec<String>, SqliteConnection) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls.db");
    let world = World { dir, path };
    let mut connection = SqliteConnectOptions::new()
        .filename(&world.path)
        .create_if_missing(true)
        .journal_mode(mode)
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql("CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, caller TEXT); CREATE INDEX by_caller ON call_record (caller); CREATE INDEX by_time ON call_record (started_at);")
        .execute(&mut connection)
        .await
        .unwrap();
    let mut sentinels = Vec::new();
    sqlx::raw_sql("BEGIN").execute(&mut connection).await.unwrap();
    for n in 0..800 {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).unwrap();
        let sentinel = hex::encode(random);
        let (tenant, date) =
            if n % 4 == 0 { ("t-10", "2025-12-01 00:00:00") } else { ("t-1", "2025-01-01 00:00:00") };
        sqlx::query("INSERT INTO call_record (tenant_id, started_at, caller) VALUES (?, ?, ?)")
            .bind(tenant)
            .bind(date)
            .bind(&sentinel)
            .execute(&mut connection)
            .await
            .unwrap();
        if n % 4 != 0 {
            sentinels.push(sentinel);
        }
    }
    sqlx::raw_sql("COMMIT; ANALYZE").execute(&mut connection).await.unwrap();
    // The last write of the application leaves old pages in its own journal.
    sqlx::raw_sql("UPDATE call_record SET tenant_id = tenant_id").execute(&mut connection).await.unwrap();
    (world, sentinels, connection)
}

#[tokio::test]
async fn after_a_scrub_no_byte_of_an_erased_value_is_left_in_any_file() {
    for mode in [
        SqliteJournalMode::Delete,
        SqliteJournalMode::Truncate,
        SqliteJournalMode::Persist,
        SqliteJournalMode::Wal,
    ] {
        // The application stays connected: its journal files stay too.
        let (world, sentinels, application) = with_sentinels(mode).await;
        let live = "SELECT id || tenant_id || started_at || caller FROM call_record WHERE tenant_id = 't-10' ORDER BY id";
        let live_before = world.texts(live).await;
        assert!(world.residue(&sentinels) >= 600 * 21, "the scan sees them before");
        let store = world.store().await;
        let due = query(
            placement("call_record", &["id"], text_time("started_at")),
            selection(everyone(), before("2025-06-01T00:00:00Z")),
        );
        assert_eq!(erase_all(&store, &due, WIDE, Method::Zero).await, map([("t-1", 600)]));
        let scrubbed = store.scrub(&due.placement).await.unwrap();
        assert_eq!(
            (scrubbed.level, scrubbed.residual.as_slice()),
            (Level::Scrubbed, [].as_slice()),
            "{mode:?}"
        );
        assert_eq!(world.residue(&sentinels), 0, "{mode:?}");
        assert_eq!(world.texts(live).await, live_before, "live records are untouched");
        drop(application);
    }
}

#[tokio::test]
async fn a_reader_in_the_middle_of_something_is_named_as_what_still_keeps_erased_bytes() {
    let (world, sentinels, mut application) = with_sentinels(SqliteJournalMode::Wal).await;
    let mut reading = application.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM call_record").fetch_one(&mut *reading).await.unwrap();
    let store = world.store().await;
    let due = query(
        placement("call_record", &["id"], text_time("started_at")),
        selection(everyone(), before("2025-06-01T00:00:00Z")),
    );
    assert_eq!(erase_all(&store, &due, WIDE, Method::Zero).await, map([("t-1", 600)]));
    let scrubbed = store.scrub(&due.placement).await.unwrap();
    assert_eq!(scrubbed.level, Level::Deleted);
    assert!(scrubbed.residual.iter().any(|residual| residual.what == "write-ahead log"), "{scrubbed:?}");
    assert!(world.residue(&sentinels) > 0);
    reading.rollback().await.unwrap();
    let scrubbed = store.scrub(&due.placement).await.unwrap();
    assert_eq!(scrubbed.level, Level::Scrubbed);
    assert_eq!(world.residue(&sentinels), 0);
}

#[tokio::test]
async fn somebody_else_s_lock_passes() {
    let world = World::new(CALLS).await;
    let store = world.store().await;
    let due = query(calls(), selection(TenantScope::One(tenant("t-1")), before("2025-06-01T00:00:00Z")));
    let batch = first_batch(&store, &due, WIDE).await;
    let mut other = world.connect().await;
    let lock = other.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    let erasing = async { store.erase(&due, &batch, Method::Delete).await };
    let (erased, ()): (Result<_, StoreError>, ()) = tokio::join!(erasing, async {
        tokio::task::yield_now().await;
        lock.rollback().await.unwrap();
    });
    assert_eq!(erased.unwrap().counts[&tenant("t-1")].erased, 2);
}

#[tokio::test]
async fn any_number_of_excepted_tenants_fits() {
    let world = World::new(CALLS).await;
    let mut excepted: Vec<TenantId> = (0..50_000).map(|n| tenant(&format!("x{n}"))).collect();
    excepted.push(tenant("t-1"));
    let query = query(calls(), selection(TenantScope::AllExcept(excepted), Times::Any));
    assert_eq!(survey(&world, &query).await, map([("T-1", 1), ("t-10", 1), ("t-1x", 1)]));
}

#[test]
fn a_store_can_do_each_method_at_its_own_level() {
    let levels = retentiond::stores::sqlite::capability().levels;
    for method in [Method::Delete, Method::OverwriteThenDelete, Method::Zero] {
        assert_eq!(levels[&method], method.level());
    }
}
