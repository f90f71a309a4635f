//! A ledger that dies at its N-th durable write, just before it or just after. It owns the dying; what is written is
//! written by the real ledger.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use retentiond::facts::LedgerFacts;
use retentiond::id::{
    Category, EntitlementId, HoldId, PlacementId, PlanId, ProposalId, RequestId, RunId, StepId, StoreId,
    SubjectKey, TenantId, TokenId,
};
use retentiond::ledger::sqlite::SqliteLedger;
use retentiond::ledger::{
    AlarmRow, AnswerClaim, DeliveryFate, DeliveryRow, EntitlementRow, Entry, ExportRow, GivenAnswer, Head,
    HoldRow, Intent, Ledger, LedgerError, Mark, NewAlarm, NewDelivery, NewEntitlement, NewExport, NewHold,
    NewOpenDsr, NewRequest, NewToken, OpenDsrClaim, OpenDsrLedger, OpenDsrRow, OpenIntent, Permits,
    ProposalRow, ProposedAction, RefusedPlan, RequestPlacement, RequestRow, RequestState, RunRow,
    StepOutcome, Stop, TenantRow, TokenRow,
};
use retentiond::plan::{CountsByTenant, Plan, Step, SubjectOrigin};

/// On which side of the write the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dies {
    /// What went before is done and this write is lost.
    Before,
    /// This write is durable and nothing that follows is done.
    After,
}

/// The ledger and how many writes it has left.
pub(super) struct Mortal {
    inner: SqliteLedger,
    dies: Dies,
    at: u32,
    written: AtomicU32,
}

impl Mortal {
    /// Dies at the write of this number, counted from 1.
    pub(super) fn new(inner: SqliteLedger, at: u32, dies: Dies) -> Self {
        Self { inner, dies, at, written: AtomicU32::new(0) }
    }

    /// True where it has died.
    pub(super) fn is_dead(&self) -> bool {
        let written = self.written.load(Ordering::SeqCst);
        written >= self.at
    }

    fn alive(&self) -> Result<(), LedgerError> {
        if self.is_dead() { Err(dead()) } else { Ok(()) }
    }

    fn before(&self) -> Result<(), LedgerError> {
        self.alive()?;
        let number = self.written.fetch_add(1, Ordering::SeqCst) + 1;
        if number >= self.at && self.dies == Dies::Before { Err(dead()) } else { Ok(()) }
    }
}

fn dead() -> LedgerError {
    LedgerError::Unreachable { operation: "go on", message: "the process has died".to_owned() }
}

macro_rules! mortal {
    (
        $trait:ident
        reads { $(fn $read:ident($($r:ident: $rt:ty),*) -> $ro:ty;)* }
        writes { $(fn $write:ident($($w:ident: $wt:ty),*) -> $wo:ty;)* }
    ) => {
        #[async_trait]
        impl $trait for Mortal {
            $(async fn $read(&self, $($r: $rt),*) -> Result<$ro, LedgerError> {
                self.alive()?;
                self.inner.$read($($r),*).await
            })*
            $(async fn $write(&self, $($w: $wt),*) -> Result<$wo, LedgerError> {
                self.before()?;
                let done = self.inner.$write($($w),*).await?;
                self.alive()?;
                Ok(done)
            })*
        }
    };
}

mortal! {
    Ledger
    reads {
        fn ledger_id() -> String;
        fn facts() -> LedgerFacts;
        fn subjects_of(origin: &SubjectOrigin) -> Vec<SubjectKey>;
        fn fingerprint(tenant: &TenantId, kind: &str, value: &str) -> SubjectKey;
        fn requests() -> Vec<RequestRow>;
        fn request(id: &RequestId) -> RequestRow;
        fn tenants() -> Vec<TenantRow>;
        fn holds() -> Vec<HoldRow>;
        fn wait_for_batches() -> ();
        fn entitlements() -> Vec<EntitlementRow>;
        fn stopped() -> Option<Stop>;
        fn claim_run() -> Box<dyn Any + Send>;
        fn runs(most: u32) -> Vec<RunRow>;
        fn refused(id: &PlanId) -> RefusedPlan;
        fn open_intents() -> Vec<OpenIntent>;
        fn step_of_run(run: &RunId, step: &StepId) -> Step;
        fn unsettled() -> Vec<(RunId, StepId, CountsByTenant)>;
        fn scrubs_owed() -> Vec<PlacementId>;
        fn outcomes_of_run(run: &RunId) -> Vec<StepOutcome>;
        fn outcomes_of_request(request: &RequestId) -> Vec<StepOutcome>;
        fn marked_stores() -> BTreeMap<StoreId, Mark>;
        fn entry_count() -> u64;
        fn entries(from: u64, most: u32) -> Vec<Entry>;
        fn head() -> Option<Head>;
        fn claim_audit() -> Box<dyn Any + Send>;
        fn tokens() -> Vec<TokenRow>;
        fn token_of_digest(digest: &str) -> Option<TokenRow>;
        fn proposals() -> Vec<ProposalRow>;
        fn undelivered(most: u32) -> Vec<DeliveryRow>;
        fn alarms(since: DateTime<Utc>) -> Vec<AlarmRow>;
        fn last_tick(name: &str) -> Option<DateTime<Utc>>;
        fn exports() -> Vec<ExportRow>;
    }
    writes {
        fn create_request(new: &NewRequest, now: DateTime<Utc>) -> RequestRow;
        fn cancel_request(id: &RequestId, now: DateTime<Utc>) -> RequestRow;
        fn settle_request(
            id: &RequestId, state: RequestState, placements: &[RequestPlacement], now: DateTime<Utc>
        ) -> ();
        fn terminate(tenant: &TenantId, terminated_at: DateTime<Utc>, now: DateTime<Utc>) -> TenantRow;
        fn reinstate(tenant: &TenantId, now: DateTime<Utc>) -> TenantRow;
        fn place_hold(new: &NewHold, now: DateTime<Utc>) -> HoldRow;
        fn release_hold(id: &HoldId, now: DateTime<Utc>) -> HoldRow;
        fn grant_entitlement(new: &NewEntitlement, now: DateTime<Utc>) -> EntitlementRow;
        fn end_entitlement(id: &EntitlementId, now: DateTime<Utc>) -> EntitlementRow;
        fn stop(reason: &str, now: DateTime<Utc>) -> ();
        fn go(now: DateTime<Utc>) -> bool;
        fn begin_run(run: &RunRow, plan: &Plan, policies: &BTreeMap<Category, String>) -> ();
        fn end_run(run: &RunId, status: &str, now: DateTime<Utc>) -> ();
        fn store_refused(plan: &Plan, steps: &[StepId], now: DateTime<Utc>) -> ();
        fn approve(id: &PlanId, now: DateTime<Utc>) -> ();
        fn begin_batches(intents: &[Intent], now: DateTime<Utc>) -> Permits;
        fn finish_batches(outcomes: &[(u64, CountsByTenant)], now: DateTime<Utc>) -> ();
        fn extend_run(run: &RunId, plan: &Plan, now: DateTime<Utc>) -> ();
        fn owe_scrub(placement: &PlacementId) -> ();
        fn scrub_paid(placement: &PlacementId) -> ();
        fn record_outcome(outcome: &StepOutcome, now: DateTime<Utc>) -> ();
        fn make_token(new: &NewToken, now: DateTime<Utc>) -> TokenRow;
        fn revoke_token(id: &TokenId, now: DateTime<Utc>) -> TokenRow;
        fn propose(action: &ProposedAction, by: &str, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> ProposalRow;
        fn approve_proposal(id: &ProposalId, by: &str, now: DateTime<Utc>) -> ProposalRow;
        fn claim_answer(principal: &str, key: &str, content: &str, now: DateTime<Utc>) -> AnswerClaim;
        fn give_answer(principal: &str, key: &str, answer: Option<&GivenAnswer>) -> ();
        fn forget_answers(before: DateTime<Utc>) -> u64;
        fn enqueue(new: &NewDelivery, now: DateTime<Utc>) -> bool;
        fn take_deliveries(most: u32, until: DateTime<Utc>, now: DateTime<Utc>) -> Vec<DeliveryRow>;
        fn settle_delivery(number: u64, fate: &DeliveryFate, now: DateTime<Utc>) -> ();
        fn set_alarms(standing: &[NewAlarm], now: DateTime<Utc>) -> Vec<AlarmRow>;
        fn claim_tick(name: &str, due_at: DateTime<Utc>, now: DateTime<Utc>) -> bool;
        fn swap_tick(name: &str, read: Option<DateTime<Utc>>, due_at: DateTime<Utc>, now: DateTime<Utc>) -> bool;
        fn ask_export(new: &NewExport, now: DateTime<Utc>) -> ExportRow;
        fn settle_export(row: &ExportRow, now: DateTime<Utc>) -> ();
        fn record_mark(store: &StoreId, fingerprint: &str, now: DateTime<Utc>) -> ();
        fn adopt_store(store: &StoreId, fingerprint: &str, reason: &str, now: DateTime<Utc>) -> ();
        fn record_entry(kind: &str, fields: serde_json::Value, now: DateTime<Utc>) -> ();
        fn set_head(head: &Head) -> ();
    }
}

mortal! {
    OpenDsrLedger
    reads {
        fn opendsr_requests(subject_request_id: &str) -> Vec<OpenDsrRow>;
        fn opendsr_untold() -> Vec<OpenDsrRow>;
    }
    writes {
        fn record_opendsr(new: &NewOpenDsr, now: DateTime<Utc>) -> OpenDsrClaim;
        fn tell_opendsr(number: u64, status: &str) -> ();
    }
}
