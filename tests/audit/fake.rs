//! A ledger that holds audit entries in memory and lets a test falsify them. It owns nothing else: every other method
//! answers that it is absent.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use retentiond::facts::LedgerFacts;
use retentiond::id::{
    Category, EntitlementId, HoldId, PlanId, RequestId, RunId, StepId, StoreId, SubjectKey, TenantId,
};
use retentiond::ledger::{
    self, EntitlementRow, Entry, Head, HoldRow, Intent, Ledger, LedgerError, Mark, NewEntitlement, NewHold,
    NewOpenDsr, NewRequest, OpenDsrClaim, OpenDsrLedger, OpenDsrRow, OpenIntent, Permits, RequestPlacement,
    RequestRow, RequestState, RunRow, StepOutcome, Stop, TenantRow,
};
use retentiond::plan::{CountsByTenant, Plan, SubjectOrigin};

/// What the ledger holds, open to every test.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    /// Bodies of the audit entries.
    pub(crate) entries: Vec<String>,
    /// The head that was last set.
    pub(crate) head: Option<Head>,
    /// Dies when a head is set, as a crash just before the signature would.
    pub(crate) dies_at_head: bool,
    /// The one request.
    pub(crate) request: Option<RequestRow>,
    /// The one run.
    pub(crate) run: Option<RunRow>,
    /// Outcomes of both.
    pub(crate) outcomes: Vec<StepOutcome>,
}

/// The ledger.
pub(crate) struct FakeLedger {
    pub(crate) id: String,
    pub(crate) rows: Mutex<Rows>,
}

impl FakeLedger {
    pub(crate) fn with_entries(count: usize) -> Self {
        let ledger = Self { id: "led-1".into(), rows: Mutex::default() };
        ledger.grow(count);
        ledger
    }

    /// Adds entries that say their own number.
    pub(crate) fn grow(&self, count: usize) {
        let entries = &mut self.rows.lock().unwrap().entries;
        for _ in 0..count {
            entries.push(format!(r#"{{"kind":"test","n":{}}}"#, entries.len()));
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Rows)) {
        change(&mut self.rows.lock().unwrap());
    }

    pub(crate) fn rows(&self) -> Rows {
        self.rows.lock().unwrap().clone()
    }
}

fn absent<T>() -> Result<T, LedgerError> {
    Err(LedgerError::State("the fake ledger has no such method".into()))
}

fn unknown<T>(what: &'static str, id: &str) -> Result<T, LedgerError> {
    Err(LedgerError::Unknown { what, id: id.into() })
}

#[async_trait]
impl OpenDsrLedger for FakeLedger {
    async fn record_opendsr(&self, _: &NewOpenDsr, _: DateTime<Utc>) -> Result<OpenDsrClaim, LedgerError> {
        absent()
    }
    async fn opendsr_requests(&self, _: &str) -> Result<Vec<OpenDsrRow>, LedgerError> {
        absent()
    }
    async fn opendsr_untold(&self) -> Result<Vec<OpenDsrRow>, LedgerError> {
        absent()
    }
    async fn tell_opendsr(&self, _: u64, _: &str) -> Result<(), LedgerError> {
        absent()
    }
}

#[async_trait]
impl Ledger for FakeLedger {
    async fn ledger_id(&self) -> Result<String, LedgerError> {
        Ok(self.id.clone())
    }
    async fn record_entry(
        &self,
        kind: &str,
        fields: serde_json::Value,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let mut entry = fields;
        entry["kind"] = kind.into();
        entry["at"] = now.to_rfc3339().into();
        self.change(|rows| rows.entries.push(entry.to_string()));
        Ok(())
    }
    async fn extend_run(&self, _: &RunId, _: &Plan, _: DateTime<Utc>) -> Result<(), LedgerError> {
        absent()
    }
    async fn step_of_run(&self, _: &RunId, _: &StepId) -> Result<retentiond::plan::Step, LedgerError> {
        absent()
    }
    async fn unsettled(&self) -> Result<Vec<(RunId, StepId, CountsByTenant)>, LedgerError> {
        absent()
    }
    async fn owe_scrub(&self, _: &retentiond::id::PlacementId) -> Result<(), LedgerError> {
        absent()
    }
    async fn scrub_paid(&self, _: &retentiond::id::PlacementId) -> Result<(), LedgerError> {
        absent()
    }
    async fn scrubs_owed(&self) -> Result<Vec<retentiond::id::PlacementId>, LedgerError> {
        absent()
    }
    async fn make_token(
        &self,
        _: &ledger::NewToken,
        _: DateTime<Utc>,
    ) -> Result<ledger::TokenRow, LedgerError> {
        absent()
    }
    async fn revoke_token(
        &self,
        _: &retentiond::id::TokenId,
        _: DateTime<Utc>,
    ) -> Result<ledger::TokenRow, LedgerError> {
        absent()
    }
    async fn tokens(&self) -> Result<Vec<ledger::TokenRow>, LedgerError> {
        absent()
    }
    async fn token_of_digest(&self, _: &str) -> Result<Option<ledger::TokenRow>, LedgerError> {
        absent()
    }
    async fn propose(
        &self,
        _: &ledger::ProposedAction,
        _: &str,
        _: DateTime<Utc>,
        _: DateTime<Utc>,
    ) -> Result<ledger::ProposalRow, LedgerError> {
        absent()
    }
    async fn proposals(&self) -> Result<Vec<ledger::ProposalRow>, LedgerError> {
        absent()
    }
    async fn approve_proposal(
        &self,
        _: &retentiond::id::ProposalId,
        _: &str,
        _: DateTime<Utc>,
    ) -> Result<ledger::ProposalRow, LedgerError> {
        absent()
    }
    async fn claim_answer(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: DateTime<Utc>,
    ) -> Result<ledger::AnswerClaim, LedgerError> {
        absent()
    }
    async fn give_answer(
        &self,
        _: &str,
        _: &str,
        _: Option<&ledger::GivenAnswer>,
    ) -> Result<(), LedgerError> {
        absent()
    }
    async fn forget_answers(&self, _: DateTime<Utc>) -> Result<u64, LedgerError> {
        absent()
    }
    async fn enqueue(&self, _: &ledger::NewDelivery, _: DateTime<Utc>) -> Result<bool, LedgerError> {
        absent()
    }
    async fn take_deliveries(
        &self,
        _: u32,
        _: DateTime<Utc>,
        _: DateTime<Utc>,
    ) -> Result<Vec<ledger::DeliveryRow>, LedgerError> {
        absent()
    }
    async fn settle_delivery(
        &self,
        _: u64,
        _: &ledger::DeliveryFate,
        _: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        absent()
    }
    async fn undelivered(&self, _: u32) -> Result<Vec<ledger::DeliveryRow>, LedgerError> {
        absent()
    }
    async fn set_alarms(
        &self,
        _: &[ledger::NewAlarm],
        _: DateTime<Utc>,
    ) -> Result<Vec<ledger::AlarmRow>, LedgerError> {
        absent()
    }
    async fn alarms(&self, _: DateTime<Utc>) -> Result<Vec<ledger::AlarmRow>, LedgerError> {
        absent()
    }
    async fn claim_tick(&self, _: &str, _: DateTime<Utc>, _: DateTime<Utc>) -> Result<bool, LedgerError> {
        absent()
    }
    async fn swap_tick(
        &self,
        _: &str,
        _: Option<DateTime<Utc>>,
        _: DateTime<Utc>,
        _: DateTime<Utc>,
    ) -> Result<bool, LedgerError> {
        absent()
    }
    async fn last_tick(&self, _: &str) -> Result<Option<DateTime<Utc>>, LedgerError> {
        absent()
    }
    async fn ask_export(
        &self,
        _: &ledger::NewExport,
        _: DateTime<Utc>,
    ) -> Result<ledger::ExportRow, LedgerError> {
        absent()
    }
    async fn settle_export(&self, _: &ledger::ExportRow, _: DateTime<Utc>) -> Result<(), LedgerError> {
        absent()
    }
    async fn exports(&self) -> Result<Vec<ledger::ExportRow>, LedgerError> {
        absent()
    }
    async fn entry_count(&self) -> Result<u64, LedgerError> {
        Ok(self.rows().entries.len() as u64)
    }
    async fn entries(&self, from: u64, most: u32) -> Result<Vec<Entry>, LedgerError> {
        let rows = self.rows.lock().unwrap();
        let entries =
            rows.entries.iter().enumerate().map(|(i, body)| Entry { index: i as u64, body: body.clone() });
        Ok(entries.skip(from as usize).take(most as usize).collect())
    }
    async fn head(&self) -> Result<Option<Head>, LedgerError> {
        Ok(self.rows().head)
    }
    async fn set_head(&self, head: &Head) -> Result<(), LedgerError> {
        let dies = self.rows().dies_at_head;
        self.change(|rows| rows.head = Some(head.clone()));
        if dies { absent() } else { Ok(()) }
    }
    async fn claim_audit(&self) -> Result<Box<dyn std::any::Any + Send>, LedgerError> {
        Ok(Box::new(()))
    }
    async fn request(&self, id: &RequestId) -> Result<RequestRow, LedgerError> {
        self.rows()
            .request
            .filter(|row| &row.request_id == id)
            .map_or_else(|| unknown("request", id.as_str()), Ok)
    }
    async fn outcomes_of_request(&self, request: &RequestId) -> Result<Vec<StepOutcome>, LedgerError> {
        Ok(self.rows().outcomes.into_iter().filter(|o| o.request_id.as_ref() == Some(request)).collect())
    }
    async fn outcomes_of_run(&self, run: &RunId) -> Result<Vec<StepOutcome>, LedgerError> {
        Ok(self.rows().outcomes.into_iter().filter(|o| &o.run_id == run).collect())
    }
    async fn runs(&self, _most: u32) -> Result<Vec<RunRow>, LedgerError> {
        Ok(self.rows().run.into_iter().collect())
    }
    async fn facts(&self) -> Result<LedgerFacts, LedgerError> {
        absent()
    }
    async fn subjects_of(&self, _origin: &SubjectOrigin) -> Result<Vec<SubjectKey>, LedgerError> {
        absent()
    }
    async fn fingerprint(
        &self,
        _tenant: &TenantId,
        _kind: &str,
        _value: &str,
    ) -> Result<SubjectKey, LedgerError> {
        absent()
    }
    async fn create_request(
        &self,
        _new: &NewRequest,
        _now: DateTime<Utc>,
    ) -> Result<RequestRow, LedgerError> {
        absent()
    }
    async fn requests(&self) -> Result<Vec<RequestRow>, LedgerError> {
        absent()
    }
    async fn cancel_request(&self, _id: &RequestId, _now: DateTime<Utc>) -> Result<RequestRow, LedgerError> {
        absent()
    }
    async fn settle_request(
        &self,
        _id: &RequestId,
        _state: RequestState,
        _placements: &[RequestPlacement],
        _now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        absent()
    }
    async fn terminate(
        &self,
        _tenant: &TenantId,
        _terminated_at: DateTime<Utc>,
        _now: DateTime<Utc>,
    ) -> Result<TenantRow, LedgerError> {
        absent()
    }
    async fn reinstate(&self, _tenant: &TenantId, _now: DateTime<Utc>) -> Result<TenantRow, LedgerError> {
        absent()
    }
    async fn tenants(&self) -> Result<Vec<TenantRow>, LedgerError> {
        absent()
    }
    async fn place_hold(&self, _new: &NewHold, _now: DateTime<Utc>) -> Result<HoldRow, LedgerError> {
        absent()
    }
    async fn release_hold(&self, _id: &HoldId, _now: DateTime<Utc>) -> Result<HoldRow, LedgerError> {
        absent()
    }
    async fn holds(&self) -> Result<Vec<HoldRow>, LedgerError> {
        absent()
    }
    async fn wait_for_batches(&self) -> Result<(), LedgerError> {
        absent()
    }
    async fn grant_entitlement(
        &self,
        _new: &NewEntitlement,
        _now: DateTime<Utc>,
    ) -> Result<EntitlementRow, LedgerError> {
        absent()
    }
    async fn end_entitlement(
        &self,
        _id: &EntitlementId,
        _now: DateTime<Utc>,
    ) -> Result<EntitlementRow, LedgerError> {
        absent()
    }
    async fn entitlements(&self) -> Result<Vec<EntitlementRow>, LedgerError> {
        absent()
    }
    async fn stop(&self, _reason: &str, _now: DateTime<Utc>) -> Result<(), LedgerError> {
        absent()
    }
    async fn go(&self, _now: DateTime<Utc>) -> Result<bool, LedgerError> {
        absent()
    }
    async fn stopped(&self) -> Result<Option<Stop>, LedgerError> {
        absent()
    }
    async fn claim_run(&self) -> Result<Box<dyn std::any::Any + Send>, LedgerError> {
        absent()
    }
    async fn begin_run(
        &self,
        _run: &RunRow,
        _plan: &Plan,
        _policies: &BTreeMap<Category, String>,
    ) -> Result<(), LedgerError> {
        absent()
    }
    async fn end_run(&self, _run: &RunId, _status: &str, _now: DateTime<Utc>) -> Result<(), LedgerError> {
        absent()
    }
    async fn store_refused(
        &self,
        _plan: &Plan,
        _steps: &[StepId],
        _now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        absent()
    }
    async fn refused(&self, _id: &PlanId) -> Result<ledger::RefusedPlan, LedgerError> {
        absent()
    }
    async fn approve(&self, _id: &PlanId, _now: DateTime<Utc>) -> Result<(), LedgerError> {
        absent()
    }
    async fn begin_batches(&self, _intents: &[Intent], _now: DateTime<Utc>) -> Result<Permits, LedgerError> {
        absent()
    }
    async fn finish_batches(
        &self,
        _outcomes: &[(u64, CountsByTenant)],
        _now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        absent()
    }
    async fn open_intents(&self) -> Result<Vec<OpenIntent>, LedgerError> {
        absent()
    }
    async fn record_outcome(&self, _outcome: &StepOutcome, _now: DateTime<Utc>) -> Result<(), LedgerError> {
        absent()
    }
    async fn marked_stores(&self) -> Result<BTreeMap<StoreId, Mark>, LedgerError> {
        absent()
    }
    async fn record_mark(
        &self,
        _store: &StoreId,
        _fingerprint: &str,
        _now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        absent()
    }
    async fn adopt_store(
        &self,
        _store: &StoreId,
        _fingerprint: &str,
        _reason: &str,
        _now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        absent()
    }
}
