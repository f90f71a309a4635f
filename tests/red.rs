//! What went wrong once, when somebody tried to make the program erase too much, claim too much or forget to erase.
//! It owns one small contact center per test; each test is named after what must not happen again.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use retentiond::clock::Clock;
use retentiond::config::read::load;
use retentiond::enforce::{Order, RunReport, RunStatus, run_once};
use retentiond::gather::{Trouble, World, plan_at, status};
use retentiond::id::{PlacementId, RequestId, RunId, StoreId, TenantId};
use retentiond::ledger::sqlite::SqliteLedger;
use retentiond::ledger::{
    HoldRow, Intent, Ledger, NewHold, NewRequest, NewScope, Permit, RequestRow, RequestState, RunRow,
};
use retentiond::plan::cover::{NewScopeKinds, covered};
use retentiond::policy::{Level, Method};
use retentiond::stores::{Batch, Budget, Key, Listed, Query, Value, open_store};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

/// Every test begins at noon in Singapore.
const NOW: &str = "2026-01-15T04:00:00Z";

const CONFIG: &str = r#"
[ledger]
url = "sqlite://retentiond.db"
[policies]
path = "policies"
[limits]
records = 2000
share = "100%"
[stores.calls]
kind = "sqlite"
url = "sqlite://calls.db"
[stores.more]
kind = "sqlite"
url = "sqlite://more.db"
[stores.objects]
kind = "files"
path = "objects"
"#;

const RULES: &str = r#"
category = "call-data"
title = "Calls"
method = "delete"
[[rules]]
trigger = "age"
period = "6 months"
clause = "DPSM §5"
entitlement = "extended-storage"
[[rules]]
trigger = "request"
deadline = "30 days"
clause = "DPSM §5"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
clause = "SLA §7.5"
"#;

const RECORDS: &str = r#"
[[placements]]
name = "call-records"
store = "calls"
table = "call_record"
key = ["id"]
tenant = { column = "tenant_id" }
event_time = { column = "started_at" }
subjects = { phone = ["caller"] }
"#;

const RECORDINGS: &str = r#"
[[placements]]
name = "recordings"
store = "objects"
found_by = { placement = "call-records", column = "recording_key", prefix = "rec/{tenant}/" }
"#;

const TABLE: &str = "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, \
    caller TEXT, recording_key TEXT);";

/// A contact center of one test.
struct Center {
    dir: tempfile::TempDir,
}

impl Center {
    async fn new(placements: &[&str]) -> Self {
        let center = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(center.path("policies")).unwrap();
        std::fs::create_dir(center.path("objects")).unwrap();
        std::fs::write(center.path("retentiond.toml"), CONFIG).unwrap();
        center.policy(&format!("{RULES}{}", placements.concat()));
        center.sql("calls.db", TABLE).await;
        center.sql("more.db", &TABLE.replace("call_record", "more_record")).await;
        center
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn policy(&self, text: &str) {
        std::fs::write(self.path("policies/call-data.toml"), text).unwrap();
    }

    async fn open(&self, file: &str) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.path(file)).create_if_missing(true).connect().await.unwrap()
    }

    async fn sql(&self, file: &str, script: &str) {
        let mut connection = self.open(file).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(script.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn count(&self, file: &str, from: &str) -> i64 {
        let mut connection = self.open(file).await;
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {from}"));
        let count = sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0);
        connection.close().await.unwrap();
        count
    }

    /// A call: its tenant, day, caller and recording (empty: none), which is written too.
    async fn call(&self, tenant: &str, day: &str, caller: &str, recording: &str) {
        let key = if recording.is_empty() { "NULL".to_owned() } else { format!("'{recording}'") };
        self.sql(
            "calls.db",
            &format!(
                "INSERT INTO call_record (tenant_id, started_at, caller, recording_key)
                 VALUES ('{tenant}', '{day} 10:00:00', '{caller}', {key})"
            ),
        )
        .await;
        if !recording.is_empty() {
            self.object(recording);
        }
    }

    fn object(&self, key: &str) {
        let path = self.path("objects").join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "a recording").unwrap();
    }

    fn has(&self, key: &str) -> bool {
        self.path("objects").join(key).exists()
    }

    fn world(&self, now: &str) -> World {
        let mut loaded = load(&self.path("retentiond.toml"));
        let faults: Vec<String> =
            loaded.faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
        let (Some(config), Some(policies)) = (loaded.config.take(), loaded.policies.take()) else {
            panic!("{faults:?}")
        };
        World { config, policies, clock: Clock::Fixed(at(now)) }
    }

    async fn ledger(&self) -> SqliteLedger {
        SqliteLedger::open(&self.path("retentiond.db"), &self.path("ledger.key")).await.unwrap()
    }

    async fn enforce(&self, now: &str) -> Result<RunReport, Trouble> {
        self.order(now, Order::Now { at: at(now) }).await
    }

    async fn order(&self, now: &str, order: Order) -> Result<RunReport, Trouble> {
        run_once(&self.world(now), order, &|_| {}).await
    }

    /// A request; of no subject for everything.
    async fn request(&self, tenant: &str, subject: Option<&str>, now: &str) -> RequestId {
        let (scope, kinds) = match subject {
            Some(value) => (
                NewScope::Subjects(vec![("phone".to_owned(), value.to_owned())]),
                NewScopeKinds::Subjects(vec!["phone".to_owned()]),
            ),
            None => (NewScope::Everything, NewScopeKinds::Everything),
        };
        let covered = covered(&self.world(now).policies, &kinds, at(now)).unwrap();
        let new = NewRequest {
            tenant: tenant_of(tenant),
            scope,
            received_at: at(now),
            deadline: covered.deadline,
            covers: covered.categories,
            placements: covered.placements,
            known: true,
            idempotency_key: None,
        };
        self.ledger().await.create_request(&new, at(now)).await.unwrap().request_id
    }

    async fn show(&self, id: &RequestId) -> RequestRow {
        self.ledger().await.request(id).await.unwrap()
    }

    async fn hold(&self, tenant: &str, subject: Option<&str>, now: &str) -> HoldRow {
        let new = NewHold {
            tenant: tenant_of(tenant),
            subjects: subject.map(|value| ("phone".to_owned(), value.to_owned())).into_iter().collect(),
            categories: Vec::new(),
            authority: "a court".to_owned(),
        };
        self.ledger().await.place_hold(&new, at(now)).await.unwrap()
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn tenant_of(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

#[tokio::test]
async fn a_request_is_not_completed_by_an_earlier_one_that_a_hold_keeps_waiting() {
    let center = Center::new(&[RECORDS, RECORDINGS]).await;
    center.call("t-1", "2026-01-01", "+651", "rec/t-1/a.wav").await;
    center.call("t-1", "2026-01-01", "+652", "").await;
    center.call("t-10", "2026-01-01", "+651", "rec/t-10/a.wav").await;
    center.hold("t-1", Some("+651"), NOW).await;
    let first = center.request("t-1", None, NOW).await;
    let second = center.request("t-1", Some("+651"), NOW).await;
    let other = center.request("t-1", Some("+652"), NOW).await;
    let report = center.enforce(NOW).await.unwrap();
    assert_eq!(report.status, RunStatus::Done);
    assert_eq!(center.count("calls.db", "call_record WHERE tenant_id = 't-1'").await, 1);
    assert!(center.has("rec/t-1/a.wav") && center.has("rec/t-10/a.wav"));
    assert_eq!(center.show(&first).await.state, RequestState::Waiting);
    assert_eq!(center.show(&second).await.state, RequestState::Waiting);
    assert_eq!(center.show(&other).await.state, RequestState::Completed);
}

#[tokio::test]
async fn a_request_is_not_completed_in_a_placement_that_came_after_it() {
    let center = Center::new(&[RECORDS]).await;
    center.call("t-1", "2026-01-01", "+651", "").await;
    let request = center.request("t-1", Some("+651"), NOW).await;
    let more = RECORDS
        .replace("call-records", "more-records")
        .replace("\"calls\"", "\"more\"")
        .replace("call_record", "more_record");
    center.policy(&format!("{RULES}{RECORDS}{more}"));
    std::fs::rename(center.path("more.db"), center.path("away.db")).unwrap();
    let report = center.enforce(NOW).await.unwrap();
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(center.count("calls.db", "call_record").await, 0);
    let row = center.show(&request).await;
    assert_eq!(row.state, RequestState::Enforcing);
    std::fs::rename(center.path("away.db"), center.path("more.db")).unwrap();
    let _report = center.enforce(NOW).await.unwrap();
    let row = center.show(&request).await;
    assert_eq!(row.state, RequestState::Completed);
    assert!(row.placements.iter().any(|placement| placement.placement == PlacementId::new("more-records")));
}

#[tokio::test]
async fn an_empty_namesake_of_a_store_is_never_taken_for_the_store() {
    let center = Center::new(&[RECORDS, RECORDINGS]).await;
    center.call("t-1", "2025-01-01", "+651", "").await;
    center.call("t-1", "2026-01-01", "+651", "").await;
    assert_eq!(center.enforce(NOW).await.unwrap().status, RunStatus::Done);
    std::fs::rename(center.path("calls.db"), center.path("real.db")).unwrap();
    center.sql("calls.db", TABLE).await;
    let request = center.request("t-1", Some("+651"), NOW).await;
    let report = center.enforce(NOW).await.unwrap();
    assert_eq!(report.status, RunStatus::Refused, "{:?}", report.failures);
    assert_eq!(report.refusals[0].code, "identity");
    assert_ne!(center.show(&request).await.state, RequestState::Completed);
    assert!(matches!(plan_at(&center.world(NOW), at(NOW)).await, Err(Trouble::Doubt(_))));
    assert!(matches!(status(&center.world(NOW)).await, Err(Trouble::Doubt(_))));
    // The real one is back: everything goes on.
    std::fs::rename(center.path("real.db"), center.path("calls.db")).unwrap();
    assert_eq!(center.enforce(NOW).await.unwrap().status, RunStatus::Done);
    assert_eq!(center.show(&request).await.state, RequestState::Completed);
    assert_eq!(center.count("calls.db", "call_record").await, 0);
}

#[tokio::test]
async fn a_store_that_falls_silent_while_it_is_counted_fails_the_run() {
    let more = RECORDS
        .replace("call-records", "more-records")
        .replace("\"calls\"", "\"more\"")
        .replace("call_record", "more_record");
    let center = Center::new(&[RECORDS, &more]).await;
    center.call("t-1", "2025-01-01", "+651", "").await;
    // The root page of the table is damaged; the schema can still be read.
    center
        .sql(
            "more.db",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
             INSERT INTO more_record SELECT i, 't-1', '2025-01-01 10:00:00', '+651', NULL FROM n",
        )
        .await;
    let mut bytes = std::fs::read(center.path("more.db")).unwrap();
    let page = 4096;
    bytes[page..page + 64].fill(0xa5);
    std::fs::write(center.path("more.db"), bytes).unwrap();
    let report = center.enforce(NOW).await.unwrap();
    assert_eq!(center.count("calls.db", "call_record").await, 0, "the other store is worked on");
    assert_eq!(report.status, RunStatus::Failed, "{report:?}");
}

#[tokio::test]
async fn a_record_that_two_places_name_is_not_erased_with_the_first_while_the_second_is_held() {
    let again = RECORDINGS.replace("\"recordings\"", "\"voicemail\"").replace("call-records", "more-records");
    let more = RECORDS
        .replace("call-records", "more-records")
        .replace("\"calls\"", "\"more\"")
        .replace("call_record", "more_record");
    let center = Center::new(&[RECORDS, RECORDINGS, &more, &again]).await;
    center.call("t-1", "2025-01-01", "+651", "rec/t-1/a.wav").await;
    center.call("t-1", "2025-01-01", "+651", "rec/t-1/b.wav").await;
    center
        .sql(
            "more.db",
            "INSERT INTO more_record VALUES (1, 't-1', '2025-01-01 10:00:00', '+652', 'rec/t-1/a.wav')",
        )
        .await;
    center.hold("t-1", Some("+652"), NOW).await;
    let _report = center.enforce(NOW).await.unwrap();
    assert!(!center.has("rec/t-1/b.wav"));
    assert!(center.has("rec/t-1/a.wav"), "the hold keeps the row that names it");
}

#[tokio::test]
async fn a_request_is_not_completed_while_a_row_of_others_keeps_its_recording() {
    for (others, stays) in
        [("('t-1', '2026-01-01 10:00:00', '+652'", true), ("('t-10', '2026-01-01 10:00:00', '+652'", true)]
    {
        let center = Center::new(&[RECORDS, RECORDINGS]).await;
        center.call("t-1", "2026-01-01", "+651", "rec/t-1/a.wav").await;
        center.call("t-1", "2026-01-01", "+651", "rec/t-1/b.wav").await;
        let insert = "INSERT INTO call_record (tenant_id, started_at, caller, recording_key) VALUES";
        center.sql("calls.db", &format!("{insert} {others}, 'rec/t-1/a.wav')")).await;
        let request = center.request("t-1", Some("+651"), NOW).await;
        let report = center.enforce(NOW).await.unwrap();
        assert_eq!(center.has("rec/t-1/a.wav"), stays);
        assert!(!center.has("rec/t-1/b.wav"));
        assert_eq!(report.status, RunStatus::Failed, "{others}");
        assert_eq!(center.show(&request).await.state, RequestState::Enforcing, "{others}");
        // Once nobody else names it, it goes, and the row that led to it.
        center.sql("calls.db", "DELETE FROM call_record WHERE caller = '+652'").await;
        assert_eq!(center.enforce(NOW).await.unwrap().status, RunStatus::Done);
        assert!(!center.has("rec/t-1/a.wav"));
        assert_eq!(center.show(&request).await.state, RequestState::Completed);
    }
}

#[tokio::test]
async fn a_recording_that_rows_of_two_batches_name_goes_with_the_last_of_them() {
    let center = Center::new(&[RECORDS, RECORDINGS]).await;
    center.object("rec/t-1/a.wav");
    center
        .sql(
            "calls.db",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
             INSERT INTO call_record SELECT i, 't-1', '2026-01-01 10:00:00', '+651',
               CASE WHEN i IN (1, 900) THEN 'rec/t-1/a.wav' END FROM n",
        )
        .await;
    let request = center.request("t-1", Some("+651"), NOW).await;
    let report = center.enforce(NOW).await.unwrap();
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.failures);
    assert!(!center.has("rec/t-1/a.wav"));
    assert_eq!(center.count("calls.db", "call_record").await, 0);
    assert_eq!(center.show(&request).await.state, RequestState::Completed);
}

#[tokio::test]
async fn a_plan_file_never_erases_for_a_tenant_that_is_not_in_it() {
    let center = Center::new(&[RECORDS]).await;
    for tenant in ["t-1", "t-10"] {
        center.call(tenant, "2025-12-01", "+651", "").await;
    }
    let ledger = center.ledger().await;
    let ended = "2025-12-15T04:00:00Z";
    ledger.terminate(&tenant_of("t-1"), at(ended), at(ended)).await.unwrap();
    let plan = plan_at(&center.world(NOW), at(NOW)).await.unwrap();
    assert_eq!(plan.steps.len(), 1);
    // Both tenants moved since: t-1 is named by the plan, t-10 is not.
    ledger.terminate(&tenant_of("t-10"), at(ended), at(NOW)).await.unwrap();
    center.hold("t-1", Some("+659"), NOW).await;
    let _report = center.order(NOW, Order::File(Box::new(plan))).await.unwrap();
    assert_eq!(center.count("calls.db", "call_record WHERE tenant_id = 't-1'").await, 0);
    assert_eq!(center.count("calls.db", "call_record WHERE tenant_id = 't-10'").await, 1);
}

#[tokio::test]
async fn steps_that_take_the_place_of_one_are_together_no_larger_than_it() {
    let center = Center::new(&[RECORDS]).await;
    for tenant in ["t-1", "t-10", "t-1x"] {
        center.call(tenant, "2025-01-01", "+651", "").await;
    }
    let plan = plan_at(&center.world(NOW), at(NOW)).await.unwrap();
    assert_eq!(plan.steps.iter().map(|step| step.records).sum::<u64>(), 3);
    // More came in with old times, and the step over all tenants falls apart in three.
    for tenant in ["t-1", "t-10", "t-1x"] {
        center.call(tenant, "2025-01-01", "+651", "").await;
        center.hold(tenant, Some("+659"), NOW).await;
    }
    let _report = center.order(NOW, Order::File(Box::new(plan))).await.unwrap();
    assert!(center.count("calls.db", "call_record").await >= 3);
}

#[tokio::test]
async fn recordings_named_since_the_plan_was_made_are_not_erased_by_it() {
    let center = Center::new(&[RECORDS, RECORDINGS]).await;
    center.call("t-1", "2025-01-01", "+651", "rec/t-1/a.wav").await;
    for _ in 0..3 {
        center.call("t-1", "2025-01-01", "+651", "").await;
    }
    let plan = plan_at(&center.world(NOW), at(NOW)).await.unwrap();
    for key in ["rec/t-1/b.wav", "rec/t-1/c.wav"] {
        center.object(key);
    }
    center
        .sql(
            "calls.db",
            "UPDATE call_record SET recording_key = 'rec/t-1/b.wav' WHERE id = 2;
             UPDATE call_record SET recording_key = 'rec/t-1/c.wav' WHERE id = 3",
        )
        .await;
    let report = center.order(NOW, Order::File(Box::new(plan))).await.unwrap();
    let left = ["a", "b", "c"].iter().filter(|name| center.has(&format!("rec/t-1/{name}.wav"))).count();
    assert_eq!(left, 2, "{report:?}");
    assert_eq!(center.count("calls.db", "call_record").await, 2, "rows stay with what they name");
}

#[tokio::test]
async fn a_scrub_that_no_policy_leads_to_any_more_is_an_alarm() {
    let center = Center::new(&[RECORDS]).await;
    let ledger = center.ledger().await;
    ledger.owe_scrub(&PlacementId::new("renamed-since")).await.unwrap();
    let report = center.enforce(NOW).await.unwrap();
    assert_eq!(report.status, RunStatus::Failed);
    assert!(report.failures.iter().any(|why| why.contains("renamed-since")), "{:?}", report.failures);
}

#[tokio::test]
async fn a_request_past_its_deadline_is_overdue_although_no_record_is_left() {
    let center = Center::new(&[RECORDS]).await;
    let ledger = center.ledger().await;
    let request = center.request("t-1", Some("+651"), NOW).await;
    ledger.owe_scrub(&PlacementId::new("call-records")).await.unwrap();
    let row = center.show(&request).await;
    ledger.settle_request(&request, RequestState::Enforcing, &row.placements, at(NOW)).await.unwrap();
    assert_eq!(status(&center.world("2026-02-13T04:00:00Z")).await.unwrap().overdue, 0);
    let late = status(&center.world("2026-02-14T04:00:00Z")).await.unwrap();
    assert_eq!((late.overdue, late.ok), (1, false));
}

/// What another process does while a run is under way: after its first batch, once.
fn meanwhile<F>(center: &Center, act: F) -> impl Fn(retentiond::enforce::Progress) + Send + Sync + use<F>
where
    F: AsyncFnOnce(SqliteLedger) + Send + 'static,
{
    let (ledger, key) = (center.path("retentiond.db"), center.path("ledger.key"));
    let act = std::sync::Mutex::new(Some(act));
    move |_| {
        let Some(act) = act.lock().unwrap().take() else { return };
        let (ledger, key) = (ledger.clone(), key.clone());
        let other = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { act(SqliteLedger::open(&ledger, &key).await.unwrap()).await });
        });
        other.join().unwrap();
    }
}

async fn many_calls(center: &Center, calls: u32, named_from: u32) {
    for call in named_from..=calls {
        center.object(&format!("rec/t-1/{call}.wav"));
    }
    center
        .sql(
            "calls.db",
            &format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {calls})
                 INSERT INTO call_record SELECT i, 't-1', '2025-01-01 10:00:00', '+651',
                   CASE WHEN i >= {named_from} THEN 'rec/t-1/' || i || '.wav' END FROM n"
            ),
        )
        .await;
}

#[tokio::test]
async fn an_approval_is_in_the_log_before_what_it_allows_is_done() {
    let center = Center::new(&[RECORDS]).await;
    many_calls(&center, 2500, 2501).await;
    let refused = center.enforce(NOW).await.unwrap();
    assert_eq!(refused.status, RunStatus::Refused);
    let id = refused.refusals[0].approve.clone().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let look = meanwhile(&center, async move |ledger: SqliteLedger| {
        let entries = ledger.entries(0, 100).await.unwrap();
        tell.send(entries.iter().any(|entry| entry.body.contains("\"plan-approved\""))).unwrap();
    });
    let report = run_once(&center.world(NOW), Order::Approve(id.into()), &look).await.unwrap();
    assert_eq!((report.status, report.totals.erased), (RunStatus::Done, 2500));
    assert_eq!(told.recv(), Ok(true));
}

#[tokio::test]
async fn rows_whose_recordings_moved_under_way_are_planned_again_with_them() {
    let center = Center::new(&[RECORDS, RECORDINGS]).await;
    many_calls(&center, 600, 1).await;
    let act = meanwhile(&center, async |ledger: SqliteLedger| {
        let hold = NewHold {
            tenant: tenant_of("t-9"),
            subjects: Vec::new(),
            categories: Vec::new(),
            authority: "a court".to_owned(),
        };
        ledger.place_hold(&hold, at(NOW)).await.unwrap();
    });
    let report = run_once(&center.world(NOW), Order::Now { at: at(NOW) }, &act).await.unwrap();
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.failures);
    assert_eq!((report.totals.erased, report.totals.changed), (1200, 0));
    assert_eq!(center.count("calls.db", "call_record").await, 0);
    assert!(!center.has("rec/t-1/600.wav"));
}

#[tokio::test]
async fn what_moved_under_way_and_is_over_a_limit_by_then_waits_for_approval_aloud() {
    let center = Center::new(&[RECORDS, RECORDINGS]).await;
    many_calls(&center, 600, 601).await;
    let calls = center.path("calls.db");
    let act = meanwhile(&center, async move |ledger: SqliteLedger| {
        let hold = NewHold {
            tenant: tenant_of("t-9"),
            subjects: Vec::new(),
            categories: Vec::new(),
            authority: "a court".to_owned(),
        };
        ledger.place_hold(&hold, at(NOW)).await.unwrap();
        let mut other = SqliteConnectOptions::new().filename(&calls).connect().await.unwrap();
        let more = "WITH RECURSIVE n(i) AS (SELECT 1001 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
             INSERT INTO call_record SELECT i, 't-1', '2025-01-01 10:00:00', '+651', NULL FROM n";
        sqlx::query(more).execute(&mut other).await.unwrap();
        other.close().await.unwrap();
    });
    let report = run_once(&center.world(NOW), Order::Now { at: at(NOW) }, &act).await.unwrap();
    assert_eq!(report.status, RunStatus::Refused);
    assert_eq!(report.totals.erased, 500);
    let id = report.refusals[0].approve.clone().unwrap();
    let report = center.order(NOW, Order::Approve(id.into())).await.unwrap();
    assert_eq!((report.status, report.totals.erased), (RunStatus::Done, 3100));
}

#[tokio::test]
async fn a_store_that_falls_silent_does_not_complete_a_request_elsewhere() {
    let ivr = "
[[placements]]
name = \"ivr\"
store = \"objects\"
prefix = \"ivr/{tenant}/\"
event_time = { modified = true }
subjects = \"none\"
";
    let center = Center::new(&[RECORDS, RECORDINGS, ivr]).await;
    center.call("t-1", "2026-01-01", "+651", "rec/t-1/a.wav").await;
    // Deeper than the files store goes.
    center.object(&format!("ivr/t-1/{}x", "d/".repeat(140)));
    center.object("ivr/t-10/x");
    let request = center.request("t-1", Some("+651"), NOW).await;
    let report = center.enforce(NOW).await.unwrap();
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(center.count("calls.db", "call_record").await, 1);
    assert_eq!(center.show(&request).await.state, RequestState::Enforcing);
}

#[tokio::test]
async fn a_backup_that_rotates_counts_from_when_the_live_data_was_gone() {
    let backup = "
[[placements]]
name = \"backup\"
store = \"objects\"
role = \"backup\"
rotation = \"14 days\"
";
    let center = Center::new(&[RECORDS, backup]).await;
    center.call("t-1", "2026-01-01", "+651", "").await;
    let hold = center.hold("t-1", None, NOW).await;
    let request = center.request("t-1", Some("+651"), NOW).await;
    let _report = center.enforce(NOW).await.unwrap();
    assert_eq!(center.show(&request).await.state, RequestState::Waiting);
    // It goes by another hand, twenty days after the first look.
    center.ledger().await.release_hold(&hold.hold_id, at(NOW)).await.unwrap();
    center.sql("calls.db", "DELETE FROM call_record").await;
    let _report = center.enforce("2026-02-04T04:00:00Z").await.unwrap();
    assert_eq!(center.show(&request).await.state, RequestState::Residual);
    let _report = center.enforce("2026-02-18T03:59:59Z").await.unwrap();
    assert_eq!(center.show(&request).await.state, RequestState::Residual);
    let _report = center.enforce("2026-02-18T04:00:00Z").await.unwrap();
    assert_eq!(center.show(&request).await.state, RequestState::Completed);
}

/// Puts the ledger back to where a run died: after its batches and its scrub, before its outcomes.
async fn die(center: &Center) {
    let script =
        "UPDATE run SET status = 'running', ended_at = NULL; DELETE FROM outcome; DELETE FROM erased_scope;";
    center.sql("retentiond.db", script).await;
}

#[tokio::test]
async fn a_run_that_died_after_its_scrub_claims_no_more_than_the_operator_accepts() {
    let accepting = RECORDS.replace("key = [", "accept_level = \"deleted\"\nkey = [");
    let center = Center::new(&[&accepting]).await;
    let zero = RULES.replace("method = \"delete\"", "method = \"zero\"");
    center.policy(&format!("{zero}{accepting}"));
    center.call("t-1", "2025-01-01", "+651", "").await;
    center.sql("calls.db", "PRAGMA journal_mode = WAL").await;
    let mut reader = center.open("calls.db").await;
    let mut reading = reader.begin().await.unwrap();
    sqlx::query("SELECT * FROM call_record").fetch_all(&mut *reading).await.unwrap();
    let report = center.enforce(NOW).await.unwrap();
    assert_eq!((report.status, report.placements[0].level), (RunStatus::Done, Level::Deleted));
    die(&center).await;
    let _report = center.enforce(NOW).await.unwrap();
    let ledger = center.ledger().await;
    let outcomes = ledger.outcomes_of_run(&report.run_id).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].level, Level::Deleted);
    reading.rollback().await.unwrap();
}

#[tokio::test]
async fn a_run_that_died_is_recovered_although_its_placement_left_the_policies() {
    let center = Center::new(&[RECORDS]).await;
    center.call("t-1", "2025-01-01", "+651", "").await;
    let report = center.enforce(NOW).await.unwrap();
    die(&center).await;
    center.policy(&format!("{RULES}{}", RECORDS.replace("call-records", "calls-renamed")));
    assert_eq!(center.enforce(NOW).await.unwrap().status, RunStatus::Done);
    let outcomes = center.ledger().await.outcomes_of_run(&report.run_id).await.unwrap();
    assert_eq!(outcomes.len(), 1);
}

#[tokio::test]
async fn a_batch_without_outcome_is_asked_for_after_its_run_has_ended() {
    let more = RECORDS
        .replace("call-records", "more-records")
        .replace("\"calls\"", "\"more\"")
        .replace("call_record", "more_record");
    let center = Center::new(&[RECORDS, &more]).await;
    center.call("t-1", "2025-01-01", "+651", "").await;
    let world = center.world(NOW);
    let plan = plan_at(&world, at(NOW)).await.unwrap();
    let _report = center.enforce(NOW).await.unwrap();
    let ledger = center.ledger().await;
    // A run whose read-back failed: it ended, and nobody knows what came of its batch.
    let row = RunRow {
        run_id: RunId::new("run-1"),
        plan_id: plan.plan_id.clone(),
        at: plan.at,
        status: "running".to_owned(),
        started_at: at(NOW),
        ended_at: None,
    };
    let in_force =
        world.policies.iter().map(|policy| (policy.category.clone(), policy.digest.clone())).collect();
    ledger.begin_run(&row, &plan, &in_force).await.unwrap();
    let listed = Listed {
        tenant: tenant_of("t-1"),
        key: Key(vec![Value::Int(1)]),
        names: Default::default(),
        stamp: String::new(),
    };
    let step = &plan.steps[0];
    let intent = Intent {
        run_id: row.run_id.clone(),
        step_id: step.step_id.clone(),
        tenant: step.tenant.clone(),
        generation: step.generation,
        policy: (step.category.clone(), step.policy_digest.clone()),
        batch: serde_json::to_string(&Batch::List(vec![listed])).unwrap(),
        placement: step.placement.clone(),
    };
    assert!(matches!(ledger.begin_batch(&intent, at(NOW)).await.unwrap(), Permit::Granted(_)));
    ledger.end_run(&row.run_id, "failed", at(NOW)).await.unwrap();
    // Its store is away: the others are worked on, and the batch stays without outcome.
    center
        .sql("more.db", "INSERT INTO more_record VALUES (1, 't-1', '2025-01-01 10:00:00', '+652', NULL)")
        .await;
    std::fs::rename(center.path("calls.db"), center.path("away.db")).unwrap();
    assert_eq!(center.enforce(NOW).await.unwrap().status, RunStatus::Failed);
    assert_eq!(center.count("more.db", "more_record").await, 0);
    assert!(ledger.outcomes_of_run(&row.run_id).await.unwrap().is_empty());
    std::fs::rename(center.path("away.db"), center.path("calls.db")).unwrap();
    let _report = center.enforce(NOW).await.unwrap();
    let outcomes = ledger.outcomes_of_run(&row.run_id).await.unwrap();
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].counts[&tenant_of("t-1")].already_absent, 1);
    assert!(ledger.open_intents().await.unwrap().is_empty());
    assert_eq!(center.count("retentiond.db", "row_key WHERE owner = 'run-1'").await, 0);
}

#[tokio::test]
async fn a_request_is_not_completed_below_the_level_that_was_promised() {
    let center = Center::new(&[RECORDS]).await;
    center.call("t-1", "2026-01-01", "+651", "").await;
    let request = center.request("t-1", Some("+651"), NOW).await;
    let promised = RULES.replace(
        "deadline = \"30 days\"\nclause = \"DPSM",
        "deadline = \"30 days\"\nmethod = \"zero\"\nclause = \"DPSM",
    );
    center.policy(&format!("{promised}{RECORDS}"));
    // Somebody reads and keeps the write-ahead log from being cut.
    center.sql("calls.db", "PRAGMA journal_mode = WAL").await;
    let mut reader = center.open("calls.db").await;
    let mut reading = reader.begin().await.unwrap();
    sqlx::query("SELECT * FROM call_record").fetch_all(&mut *reading).await.unwrap();
    let report = center.enforce(NOW).await.unwrap();
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(center.show(&request).await.state, RequestState::Enforcing);
    reading.rollback().await.unwrap();
    reader.close().await.unwrap();
    assert_eq!(center.enforce(NOW).await.unwrap().status, RunStatus::Done);
    assert_eq!(center.show(&request).await.state, RequestState::Completed);
}

#[tokio::test]
async fn a_row_whose_texts_are_not_utf8_hinders_no_other() {
    for index in
        ["", "CREATE INDEX i ON call_record (tenant_id)", "CREATE INDEX i ON call_record (started_at)"]
    {
        let center = Center::new(&[RECORDS, RECORDINGS]).await;
        center.sql("calls.db", index).await;
        center.call("t-1", "2025-01-01", "+651", "rec/t-1/a.wav").await;
        center.call("café", "2025-01-01", "+651", "").await;
        center
            .sql(
                "calls.db",
                "INSERT INTO call_record (tenant_id, started_at, recording_key) VALUES
               (CAST(x'742dff' AS TEXT), '2025-01-01 10:00:00', NULL),
               (CAST(x'636166c3' AS TEXT), '2025-01-01 10:00:00', NULL),
               ('t-1', '2025-01-01 10:00:00', CAST(x'7265632f742d312fff' AS TEXT))",
            )
            .await;
        let plan = plan_at(&center.world(NOW), at(NOW)).await.unwrap();
        // Two rows of nobody are parked, in the placement and not in what it names.
        assert_eq!((plan.totals.erase, plan.totals.parked), (5, 2));
        let report = center.enforce(NOW).await.unwrap();
        assert_eq!(report.status, RunStatus::Failed, "the row whose recording cannot be told");
        assert_eq!((report.totals.erased, report.totals.failed), (3, 1));
        assert_eq!(center.count("calls.db", "call_record").await, 3);
        assert!(!center.has("rec/t-1/a.wav"));
    }
}

#[tokio::test]
async fn a_window_never_takes_more_than_it_was_found_with() {
    let center = Center::new(&[RECORDS]).await;
    many_calls(&center, 10, 11).await;
    center.sql("calls.db", "UPDATE call_record SET started_at = '2026-01-14 10:00:00' WHERE id = 5").await;
    let world = center.world(NOW);
    let id = StoreId::new("calls");
    let store = open_store(&id, &world.config.stores[&id]).await.unwrap();
    let plan = plan_at(&world, at(NOW)).await.unwrap();
    let (policy, placement) = world.policies.placement(&plan.steps[0].placement).unwrap();
    let query = Query {
        placement: std::sync::Arc::new(placement.clone()),
        time_zone: policy.time_zone,
        selection: plan.steps[0].selection.clone(),
        subjects: Default::default(),
        now: at(NOW),
        also: Vec::new(),
        naming: None,
    };
    let budget = Budget { records_max: 100, window_keys: 100 };
    let found = store.find(&query, None, budget, &[]).await.unwrap().unwrap();
    assert!(matches!(found.batch, Batch::Window { .. }));
    assert_eq!(found.batch.records(), 9);
    center.sql("calls.db", "UPDATE call_record SET started_at = '2025-01-01 10:00:00' WHERE id = 5").await;
    let error = store.erase(&query, &found.batch, Method::Delete).await.unwrap_err();
    assert!(error.to_string().contains("more records match"), "{error}");
    assert_eq!(center.count("calls.db", "call_record").await, 10);
}

#[tokio::test]
async fn a_request_that_is_cancelled_while_it_is_settled_does_not_break_the_run() {
    let more = RECORDS
        .replace("call-records", "more-records")
        .replace("\"calls\"", "\"more\"")
        .replace("call_record", "more_record");
    let center = Center::new(&[RECORDS, &more]).await;
    center.call("t-1", "2026-01-01", "+651", "").await;
    let request = center.request("t-1", Some("+651"), NOW).await;
    let (file, id) = (center.path("more.db"), request.clone());
    let (locked, is_locked) = std::sync::mpsc::channel();
    let is_locked = std::sync::Mutex::new(is_locked);
    let (ledger, key) = (center.path("retentiond.db"), center.path("ledger.key"));
    let other = std::sync::Mutex::new(Some(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
            sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await.unwrap();
            locked.send(()).unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            let ledger = SqliteLedger::open(&ledger, &key).await.unwrap();
            ledger.cancel_request(&id, at(NOW)).await.unwrap();
            sqlx::query("ROLLBACK").execute(&mut connection).await.unwrap();
        });
    }));
    let watcher = move |_| {
        if let Some(other) = other.lock().unwrap().take() {
            std::thread::spawn(other);
            is_locked.lock().unwrap().recv().unwrap();
        }
    };
    let report = run_once(&center.world(NOW), Order::Now { at: at(NOW) }, &watcher).await.unwrap();
    assert_eq!((report.status, report.totals.erased), (RunStatus::Done, 1));
    assert_eq!(center.show(&request).await.state, RequestState::Cancelled);
}

#[tokio::test]
async fn a_record_that_changed_is_not_claimed_for_a_batch_whose_run_died() {
    let center = Center::new(&[RECORDS]).await;
    for _ in 0..3 {
        center.call("t-1", "2025-01-01", "+651", "").await;
    }
    center.call("t-1", "2026-01-01", "+651", "").await;
    let world = center.world(NOW);
    let plan = plan_at(&world, at(NOW)).await.unwrap();
    let ledger = center.ledger().await;
    let row = RunRow {
        run_id: RunId::new("run-1"),
        plan_id: plan.plan_id.clone(),
        at: plan.at,
        status: "running".to_owned(),
        started_at: at(NOW),
        ended_at: None,
    };
    let in_force =
        world.policies.iter().map(|policy| (policy.category.clone(), policy.digest.clone())).collect();
    ledger.begin_run(&row, &plan, &in_force).await.unwrap();
    let step = &plan.steps[0];
    assert_eq!(step.records, 3);
    let counts = |count| std::collections::BTreeMap::from([(tenant_of("t-1"), count)]);
    let batch = Batch::Window { from: 1, to: 4, found: counts(3), rows: counts(4) };
    let intent = Intent {
        run_id: row.run_id.clone(),
        step_id: step.step_id.clone(),
        tenant: step.tenant.clone(),
        generation: step.generation,
        policy: (step.category.clone(), step.policy_digest.clone()),
        batch: serde_json::to_string(&batch).unwrap(),
        placement: step.placement.clone(),
    };
    assert!(matches!(ledger.begin_batch(&intent, at(NOW)).await.unwrap(), Permit::Granted(_)));
    // The run died before it erased anything. One record goes by itself, one is corrected and is not due any more.
    center
        .sql(
            "calls.db",
            "DELETE FROM call_record WHERE id = 1; UPDATE call_record SET started_at = '2026-01-02 10:00:00' WHERE id = 2",
        )
        .await;
    let _report = center.enforce(NOW).await.unwrap();
    let outcomes = ledger.outcomes_of_run(&row.run_id).await.unwrap();
    let counts = outcomes[0].counts[&tenant_of("t-1")];
    assert_eq!((counts.erased, counts.already_absent, counts.verified_absent), (0, 1, 1));
    assert_eq!(center.count("calls.db", "call_record").await, 2);
}
