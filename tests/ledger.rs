//! What every ledger promises, whichever database holds it: each test takes two handles on one ledger.
//! It owns the suite and its fixtures; what only one database can show is in `sqlite` and `mariadb`.

mod batches;
mod facts;
mod log;
mod mariadb;
mod outside;
mod sqlite;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use retentiond::id::{Category, PlacementId, PlanId, RunId, StepId, StoreId, TenantId};
use retentiond::ledger::{
    Intent, Ledger, LedgerError, NewHold, NewRequest, NewScope, RequestPlacement, RequestState, RunRow,
};
use retentiond::plan::{Plan, Reason, Selection, Step, TenantScope, Totals};
use retentiond::policy::{Level, Method};

/// Runs each test on `SQLite`, with two handles on one file, and on `MariaDB`, with two on one database.
macro_rules! on_every_ledger {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let place = crate::ledger::sqlite::Place::new();
                    let (one, other) = (place.open().await, place.open().await);
                    super::$name(&one, &other).await;
                }
            )*
        }
        mod on_mariadb {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let place = crate::ledger::mariadb::Place::new().await;
                    let (one, other) = (place.open().await, place.open().await);
                    super::$name(&one, &other).await;
                }
            )*
        }
    };
}
pub(crate) use on_every_ledger;

/// The tenants of every fixture: one, and neighbours that a prefix, a fold or a pattern would take for it.
pub(crate) const TENANTS: [&str; 4] = ["t-1", "t-10", "T-1", "t-1x"];

/// The tick-th microsecond of the fixtures' day.
pub(crate) fn at(tick: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_760_000_000_000_000 + tick).expect("an instant")
}

pub(crate) fn tenant(text: &str) -> TenantId {
    TenantId::parse(text).expect("a tenant")
}

pub(crate) fn category(text: &str) -> Category {
    Category::new(text)
}

/// A request for everything of a tenant, received at a tick.
pub(crate) fn request(of: &str, scope: NewScope, received: i64) -> NewRequest {
    NewRequest {
        tenant: tenant(of),
        scope,
        received_at: at(received),
        deadline: at(received) + TimeDelta::days(30),
        covers: vec![category("call-data")],
        placements: vec![PlacementId::new("call-records"), PlacementId::new("recordings")],
        known: true,
        idempotency_key: None,
    }
}

pub(crate) fn phone(value: &str) -> NewScope {
    NewScope::Subjects(vec![("phone".to_owned(), value.to_owned())])
}

pub(crate) fn hold(of: &str, subjects: Vec<(String, String)>) -> NewHold {
    NewHold { tenant: tenant(of), subjects, categories: vec![], authority: "court order 7".to_owned() }
}

/// Every placement of a request in one state.
pub(crate) fn all_in(state: RequestState) -> Vec<RequestPlacement> {
    ["call-records", "recordings"]
        .map(|name| RequestPlacement {
            placement: PlacementId::new(name),
            state,
            erased: 3,
            verified_absent: 3,
            residual: vec![],
        })
        .to_vec()
}

/// A plan with this many steps for tenant `t-1`.
pub(crate) fn plan(steps: usize) -> Plan {
    let step = |records: u64| {
        let mut step = Step {
            step_id: StepId::new(""),
            placement: PlacementId::new("call-records"),
            store: StoreId::new("calls"),
            category: category("call-data"),
            tenant: Some(tenant("t-1")),
            reason: Reason::Age,
            clause: "DPSM §5".to_owned(),
            method: Method::Delete,
            level: Level::Deleted,
            records,
            oldest: None,
            newest: None,
            due_since: at(0),
            deadline: at(1),
            request_id: None,
            subject: None,
            found_by: None,
            selection: Selection {
                placement: PlacementId::new("call-records"),
                tenants: TenantScope::One(tenant("t-1")),
                within: vec![],
                except: vec![],
                parts: vec![],
            },
            generation: 0,
            policy_digest: "d1".to_owned(),
        };
        step.step_id = step.expected_id();
        step
    };
    let mut plan = Plan {
        plan_id: PlanId::new(""),
        at: at(0),
        policy_digest: "all".to_owned(),
        steps: (1u64..).take(steps).map(step).collect(),
        kept: vec![],
        refusals: vec![],
        totals: Totals::default(),
    };
    plan.plan_id = plan.expected_id();
    plan
}

pub(crate) fn run(name: &str, plan: &Plan) -> RunRow {
    RunRow {
        run_id: RunId::new(name),
        plan_id: plan.plan_id.clone(),
        at: plan.at,
        status: "running".to_owned(),
        started_at: at(5),
        ended_at: None,
    }
}

pub(crate) fn policies() -> BTreeMap<Category, String> {
    BTreeMap::from([(category("call-data"), "d1".to_owned())])
}

/// Begins a run of this name over a plan of one step.
pub(crate) async fn begin_run(ledger: &dyn Ledger, name: &str) -> RunId {
    let plan = plan(1);
    let run = run(name, &plan);
    ledger.begin_run(&run, &plan, &policies()).await.expect("the run begins");
    run.run_id
}

/// A batch of a run, decided for `t-1` (or all tenants) at a generation.
pub(crate) fn intent(run: &RunId, of: Option<&str>, generation: u64) -> Intent {
    Intent {
        run_id: run.clone(),
        step_id: StepId::new("step-1"),
        tenant: of.map(tenant),
        generation,
        policy: (category("call-data"), "d1".to_owned()),
        batch: r#"{"keys":["1"]}"#.to_owned(),
        placement: PlacementId::new("call-records"),
    }
}

/// Kinds of all entries, in order.
pub(crate) async fn kinds(ledger: &dyn Ledger) -> Vec<String> {
    let entries = ledger.entries(0, 10_000).await.expect("entries");
    entries
        .iter()
        .map(|entry| {
            let body: serde_json::Value = serde_json::from_str(&entry.body).expect("JSON");
            body["kind"].as_str().expect("a kind").to_owned()
        })
        .collect()
}

/// The error must be one of state: exit 2.
pub(crate) fn refused<T>(result: Result<T, LedgerError>) {
    match result {
        Err(LedgerError::State(_)) => {}
        Err(other) => panic!("refused otherwise: {other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

/// The error must be a doubt: exit 3.
pub(crate) fn doubted<T>(result: Result<T, LedgerError>) {
    match result {
        Err(LedgerError::Doubt(_)) => {}
        Err(other) => panic!("failed otherwise: {other}"),
        Ok(_) => panic!("there was no doubt"),
    }
}

/// The error must be that there is no such row: exit 2.
pub(crate) fn unknown<T>(result: Result<T, LedgerError>) {
    match result {
        Err(LedgerError::Unknown { .. }) => {}
        Err(other) => panic!("failed otherwise: {other}"),
        Ok(_) => panic!("it was found"),
    }
}
