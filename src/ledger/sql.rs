//! The ledger on a database that speaks SQL: `SQLite` in a file, or `MySQL` and `MariaDB` behind a server.
//! It owns which function carries out which method of the trait; those are in the modules below, once for both, and
//! what differs (how writers take turns, how a process is known to live) is in `sqlite` and `mysql`.

mod access;
mod batches;
pub(super) mod birth;
mod entitlements;
mod entries;
mod exports;
mod holds;
mod opendsr;
mod outcomes;
mod outside;
mod places;
mod requests;
pub(super) mod runs;
pub(super) mod statement;
mod tenants;
pub(super) mod write;

use std::any::Any;
use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::mysql::Server;
use super::seal::Seal;
use super::sqlite::Files;
use super::{
    AlarmRow, AnswerClaim, Claimed, DeliveryFate, DeliveryRow, EntitlementRow, Entry, ExportRow, GivenAnswer,
    Head, HoldRow, Intent, Ledger, LedgerError, Mark, NewAlarm, NewDelivery, NewEntitlement, NewExport,
    NewHold, NewRequest, NewToken, OpenIntent, Part, Permits, ProposalRow, ProposedAction, RefusedPlan,
    RequestPlacement, RequestRow, RequestState, RunRow, StepOutcome, Stop, TenantRow, TokenRow,
};
use crate::facts::LedgerFacts;
use crate::id::{
    Category, EntitlementId, HoldId, PlacementId, PlanId, ProposalId, RequestId, RunId, StepId, StoreId,
    SubjectKey, TenantId, TokenId,
};
use crate::plan::{CountsByTenant, Plan, Step, SubjectOrigin};

/// A ledger in a database.
pub struct SqlLedger {
    pub(super) id: String,
    pub(super) seal: Seal,
    pub(super) engine: Engine,
}

/// The database.
pub(super) enum Engine {
    Sqlite(Files),
    Mysql(Server),
}

impl SqlLedger {
    /// Closes files or connections. Dropping the ledger does the same, a little later.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite(files) => files.close().await,
            Engine::Mysql(server) => server.close().await,
        }
    }
}

/// Each method of the trait is a function of a module below.
macro_rules! carried_out {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $answer:ty = $module:ident::$function:ident;)*) => {
        #[async_trait]
        impl Ledger for SqlLedger {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$answer, LedgerError> {
                $module::$function(self, $($arg),*).await
            })*
        }
    };
}

carried_out! {
    fn ledger_id() -> String = own::id;
    fn facts() -> LedgerFacts = tenants::facts;
    fn subjects_of(origin: &SubjectOrigin) -> Vec<SubjectKey> = requests::subjects_of;
    fn fingerprint(tenant: &TenantId, kind: &str, value: &str) -> SubjectKey = own::fingerprint;
    fn create_request(new: &NewRequest, now: DateTime<Utc>) -> RequestRow = requests::create;
    fn requests() -> Vec<RequestRow> = requests::all;
    fn request(id: &RequestId) -> RequestRow = requests::read;
    fn cancel_request(id: &RequestId, now: DateTime<Utc>) -> RequestRow = requests::cancel;
    fn settle_request(id: &RequestId, state: RequestState, placements: &[RequestPlacement], now: DateTime<Utc>) -> () = requests::settle;
    fn terminate(tenant: &TenantId, terminated_at: DateTime<Utc>, now: DateTime<Utc>) -> TenantRow = tenants::terminate;
    fn reinstate(tenant: &TenantId, now: DateTime<Utc>) -> TenantRow = tenants::reinstate;
    fn tenants() -> Vec<TenantRow> = tenants::every;
    fn place_hold(new: &NewHold, now: DateTime<Utc>) -> HoldRow = holds::place;
    fn release_hold(id: &HoldId, now: DateTime<Utc>) -> HoldRow = holds::release;
    fn holds() -> Vec<HoldRow> = holds::all;
    fn wait_for_batches() -> () = places::wait;
    fn grant_entitlement(new: &NewEntitlement, now: DateTime<Utc>) -> EntitlementRow = entitlements::grant;
    fn end_entitlement(id: &EntitlementId, now: DateTime<Utc>) -> EntitlementRow = entitlements::end;
    fn entitlements() -> Vec<EntitlementRow> = entitlements::all;
    fn stop(reason: &str, now: DateTime<Utc>) -> () = runs::stop;
    fn go(now: DateTime<Utc>) -> bool = runs::go;
    fn stopped() -> Option<Stop> = runs::stop_on;
    fn claim_run() -> Box<dyn Any + Send> = places::claim_run;
    fn claim_part() -> Part = places::claim_part;
    fn join() -> Option<Part> = places::join;
    fn share_run(run: &RunId, steps: &[StepId]) -> bool = places::share_run;
    fn is_led(run: &RunId) -> bool = places::is_led;
    fn claim_steps(run: &RunId, steps: &[StepId]) -> Option<Vec<Claimed>> = places::claim_steps;
    fn hand_in(run: &RunId, steps: &[StepId], text: &str) -> bool = places::hand_in;
    fn handed_in(run: &RunId, known: u64) -> Vec<(StepId, String)> = places::handed_in;
    fn plan_of_run(run: &RunId) -> Plan = runs::plan_of;
    fn counts_of_step(run: &RunId, step: &StepId) -> CountsByTenant = outcomes::of_step;
    fn keeps_place() -> bool = places::keeps_place;
    fn give_back() -> () = places::give_back;
    fn begin_run(run: &RunRow, plan: &Plan, policies: &BTreeMap<Category, String>) -> () = runs::begin;
    fn end_run(run: &RunId, status: &str, now: DateTime<Utc>) -> () = runs::end;
    fn runs(most: u32) -> Vec<RunRow> = runs::latest;
    fn store_refused(plan: &Plan, steps: &[StepId], now: DateTime<Utc>) -> () = runs::store_refused;
    fn refused(id: &PlanId) -> RefusedPlan = runs::refused;
    fn approve(id: &PlanId, now: DateTime<Utc>) -> () = runs::approve;
    fn begin_batches(intents: &[Intent], now: DateTime<Utc>) -> Permits = batches::begin;
    fn finish_batches(outcomes: &[(u64, CountsByTenant)], now: DateTime<Utc>) -> () = batches::finish;
    fn open_intents() -> Vec<OpenIntent> = batches::open;
    fn extend_run(run: &RunId, plan: &Plan, now: DateTime<Utc>) -> () = runs::extend;
    fn step_of_run(run: &RunId, step: &StepId) -> Step = runs::step_of;
    fn unsettled() -> Vec<(RunId, StepId, CountsByTenant)> = outcomes::unsettled;
    fn owe_scrub(placement: &PlacementId) -> () = outcomes::owe_scrub;
    fn scrub_paid(placement: &PlacementId) -> () = outcomes::scrub_paid;
    fn scrubs_owed() -> Vec<PlacementId> = outcomes::scrubs_owed;
    fn record_outcome(outcome: &StepOutcome, now: DateTime<Utc>) -> () = outcomes::record;
    fn outcomes_of_run(run: &RunId) -> Vec<StepOutcome> = outcomes::of_run;
    fn outcomes_of_request(request: &RequestId) -> Vec<StepOutcome> = outcomes::of_request;
    fn marked_stores() -> BTreeMap<StoreId, Mark> = outcomes::marked;
    fn record_mark(store: &StoreId, fingerprint: &str, now: DateTime<Utc>) -> () = outcomes::mark;
    fn adopt_store(store: &StoreId, fingerprint: &str, reason: &str, now: DateTime<Utc>) -> () = outcomes::adopt;
    fn make_token(new: &NewToken, now: DateTime<Utc>) -> TokenRow = access::make_token;
    fn revoke_token(id: &TokenId, now: DateTime<Utc>) -> TokenRow = access::revoke_token;
    fn tokens() -> Vec<TokenRow> = access::tokens;
    fn token_of_digest(digest: &str) -> Option<TokenRow> = access::token_of_digest;
    fn propose(action: &ProposedAction, by: &str, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> ProposalRow = access::propose;
    fn proposals() -> Vec<ProposalRow> = access::proposals;
    fn approve_proposal(id: &ProposalId, by: &str, now: DateTime<Utc>) -> ProposalRow = access::approve_proposal;
    fn claim_answer(principal: &str, key: &str, content: &str, now: DateTime<Utc>) -> AnswerClaim = access::claim_answer;
    fn give_answer(principal: &str, key: &str, answer: Option<&GivenAnswer>) -> () = access::give_answer;
    fn forget_answers(before: DateTime<Utc>) -> u64 = access::forget_answers;
    fn enqueue(new: &NewDelivery, now: DateTime<Utc>) -> bool = outside::enqueue;
    fn take_deliveries(most: u32, until: DateTime<Utc>, now: DateTime<Utc>) -> Vec<DeliveryRow> = outside::take_deliveries;
    fn settle_delivery(number: u64, fate: &DeliveryFate, now: DateTime<Utc>) -> () = outside::settle_delivery;
    fn undelivered(most: u32) -> Vec<DeliveryRow> = outside::undelivered;
    fn set_alarms(standing: &[NewAlarm], now: DateTime<Utc>) -> Vec<AlarmRow> = outside::set_alarms;
    fn alarms(since: DateTime<Utc>) -> Vec<AlarmRow> = outside::alarms;
    fn claim_tick(name: &str, due_at: DateTime<Utc>, now: DateTime<Utc>) -> bool = outside::claim_tick;
    fn swap_tick(name: &str, read: Option<DateTime<Utc>>, due_at: DateTime<Utc>, now: DateTime<Utc>) -> bool = outside::swap_tick;
    fn last_tick(name: &str) -> Option<DateTime<Utc>> = outside::last_tick;
    fn ask_export(new: &NewExport, now: DateTime<Utc>) -> ExportRow = exports::ask;
    fn settle_export(row: &ExportRow, now: DateTime<Utc>) -> () = exports::settle;
    fn exports() -> Vec<ExportRow> = exports::all;
    fn record_entry(kind: &str, fields: serde_json::Value, now: DateTime<Utc>) -> () = entries::record;
    fn entry_count() -> u64 = entries::count;
    fn entries(from: u64, most: u32) -> Vec<Entry> = entries::from;
    fn head() -> Option<Head> = entries::head;
    fn set_head(head: &Head) -> () = entries::set_head;
    fn claim_audit() -> Box<dyn Any + Send> = places::claim_audit;
}

/// What a ledger knows of itself.
mod own {
    use super::{LedgerError, SqlLedger, SubjectKey, TenantId};

    pub(super) async fn id(ledger: &SqlLedger) -> Result<String, LedgerError> {
        Ok(ledger.id.clone())
    }

    pub(super) async fn fingerprint(
        ledger: &SqlLedger,
        tenant: &TenantId,
        kind: &str,
        value: &str,
    ) -> Result<SubjectKey, LedgerError> {
        Ok(SubjectKey::new(kind, value, ledger.seal.fingerprint(tenant, kind, value)))
    }
}
