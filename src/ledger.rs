//! The ledger: what was asked, ordered, decided and done, and nothing that a store holds.
//! It owns the trait [`Ledger`] and its row types; [`SqlLedger`] keeps them, in a file or on a server. It makes no policy decision.

mod entry;
mod error;
mod mysql;
mod opendsr;
pub mod rows;
mod seal;
mod shown;
mod sql;
pub mod sqlite;

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::config::{LedgerConfig, LedgerPlace};
use crate::facts::LedgerFacts;
use crate::id::{
    Category, EntitlementId, HoldId, PlacementId, PlanId, ProposalId, RequestId, RunId, StepId, StoreId,
    SubjectKey, TenantId, TokenId,
};
use crate::plan::{CountsByTenant, Plan, Step, SubjectOrigin};

pub use error::LedgerError;
pub use opendsr::OpenDsrLedger;
pub use rows::*;
pub use sql::SqlLedger;

/// Opens the ledger that the configuration names, for writing; makes what is missing.
///
/// # Errors
/// [`LedgerError::Doubt`] where it is some other database, was made by another version, or its key does not fit;
/// [`LedgerError::Unreachable`] where it cannot be read or written.
pub async fn open(config: &LedgerConfig) -> Result<Box<dyn Ledger>, LedgerError> {
    match &config.place {
        LedgerPlace::Sqlite { path } => Ok(Box::new(SqlLedger::open(path, &config.key_file).await?)),
        LedgerPlace::Mysql { url } => Ok(Box::new(SqlLedger::connect(url, &config.key_file).await?)),
    }
}

/// Opens the ledger that the configuration names, for reading; `None` where there is none yet. Makes and changes nothing.
///
/// # Errors
/// As [`open`]; also [`LedgerError::Doubt`] where its schema is an older one.
pub async fn open_read_only(config: &LedgerConfig) -> Result<Option<Box<dyn Ledger>>, LedgerError> {
    match &config.place {
        LedgerPlace::Sqlite { path } => {
            let ledger = SqlLedger::open_read_only(path, &config.key_file).await?;
            Ok(ledger.map(|ledger| -> Box<dyn Ledger> { Box::new(ledger) }))
        }
        LedgerPlace::Mysql { url } => {
            let ledger = SqlLedger::connect_read_only(url, &config.key_file).await?;
            Ok(ledger.map(|ledger| -> Box<dyn Ledger> { Box::new(ledger) }))
        }
    }
}

/// The operational database. Each method says what is true once it returns. Every method that changes something
/// writes the audit entry of that fact in the same transaction. Safe with several processes at once.
#[async_trait]
pub trait Ledger: OpenDsrLedger + Send + Sync {
    /// The id that this ledger was born with; store markers carry it.
    async fn ledger_id(&self) -> Result<String, LedgerError>;

    /// Everything the planner needs, read in one transaction.
    async fn facts(&self) -> Result<LedgerFacts, LedgerError>;

    /// The values behind the fingerprints of an open request or an active hold.
    async fn subjects_of(&self, origin: &SubjectOrigin) -> Result<Vec<SubjectKey>, LedgerError>;

    /// The keyed fingerprint of a subject's value; the key is per tenant.
    async fn fingerprint(
        &self,
        tenant: &TenantId,
        kind: &str,
        value: &str,
    ) -> Result<SubjectKey, LedgerError>;

    /// The request is durable, or is the one that the same idempotency key and content made before.
    async fn create_request(&self, new: &NewRequest, now: DateTime<Utc>) -> Result<RequestRow, LedgerError>;
    /// All requests, in order of receipt.
    async fn requests(&self) -> Result<Vec<RequestRow>, LedgerError>;
    /// One request.
    async fn request(&self, id: &RequestId) -> Result<RequestRow, LedgerError>;
    /// No batch that begins later serves this request. Refused once it is completed or cancelled.
    async fn cancel_request(&self, id: &RequestId, now: DateTime<Utc>) -> Result<RequestRow, LedgerError>;
    /// How far the request got is recorded; with [`RequestState::Completed`] its key is destroyed.
    async fn settle_request(
        &self,
        id: &RequestId,
        state: RequestState,
        placements: &[RequestPlacement],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;

    /// The tenant counts as terminated from `terminated_at`. Refused where it is terminated already.
    async fn terminate(
        &self,
        tenant: &TenantId,
        terminated_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<TenantRow, LedgerError>;
    /// No batch that begins later serves the termination. Refused where the tenant is not terminated.
    async fn reinstate(&self, tenant: &TenantId, now: DateTime<Utc>) -> Result<TenantRow, LedgerError>;
    /// Every tenant whose life cycle was ever told.
    async fn tenants(&self) -> Result<Vec<TenantRow>, LedgerError>;

    /// The hold is durable and in force for every batch that begins later, in any process. To know that none that
    /// began before still runs, call [`Ledger::wait_for_batches`].
    async fn place_hold(&self, new: &NewHold, now: DateTime<Utc>) -> Result<HoldRow, LedgerError>;
    /// The hold is no longer in force.
    async fn release_hold(&self, id: &HoldId, now: DateTime<Utc>) -> Result<HoldRow, LedgerError>;
    /// All holds, in order of placing.
    async fn holds(&self) -> Result<Vec<HoldRow>, LedgerError>;
    /// Returns when no batch that began before the call is still running, in any process.
    async fn wait_for_batches(&self) -> Result<(), LedgerError>;

    /// The entitlement runs.
    async fn grant_entitlement(
        &self,
        new: &NewEntitlement,
        now: DateTime<Utc>,
    ) -> Result<EntitlementRow, LedgerError>;
    /// The entitlement runs no longer.
    async fn end_entitlement(
        &self,
        id: &EntitlementId,
        now: DateTime<Utc>,
    ) -> Result<EntitlementRow, LedgerError>;
    /// All entitlements, in order of granting.
    async fn entitlements(&self) -> Result<Vec<EntitlementRow>, LedgerError>;

    /// No batch begins anywhere until [`Ledger::go`].
    async fn stop(&self, reason: &str, now: DateTime<Utc>) -> Result<(), LedgerError>;
    /// Batches may begin again. Answers whether a stop was on.
    async fn go(&self, now: DateTime<Utc>) -> Result<bool, LedgerError>;
    /// The stop that is on.
    async fn stopped(&self) -> Result<Option<Stop>, LedgerError>;

    /// Only one run at a time: waits until no other process runs, then holds the place until the guard is dropped
    /// or the process dies.
    async fn claim_run(&self) -> Result<Box<dyn std::any::Any + Send>, LedgerError>;
    /// Waits for the place of the run, or helps whoever has it, if that run takes help.
    async fn claim_part(&self) -> Result<Part, LedgerError> {
        Ok(Part::Lead(self.claim_run().await?))
    }
    /// Helps whoever runs, if there is a run that takes help.
    async fn join(&self) -> Result<Option<Part>, LedgerError> {
        Ok(None)
    }
    /// The run takes help with these steps from now on, and they are claimed one by one. False where nobody could help.
    async fn share_run(&self, _run: &RunId, _steps: &[StepId]) -> Result<bool, LedgerError> {
        Ok(false)
    }
    /// True while the run goes on, and whoever leads it lives.
    async fn is_led(&self, _run: &RunId) -> Result<bool, LedgerError> {
        Ok(false)
    }
    /// Those of the steps that nobody living is at and nobody has handed in are this process's from now on. `None` where
    /// its lease is lost.
    async fn claim_steps(&self, _run: &RunId, steps: &[StepId]) -> Result<Option<Vec<Claimed>>, LedgerError> {
        let claimed = |step: &StepId| Claimed { step_id: step.clone(), is_inherited: false };
        Ok(Some(steps.iter().map(claimed).collect()))
    }
    /// What came of steps that this process has claimed is told to who leads the run: durable, once and for all. False
    /// where its lease is lost.
    async fn hand_in(&self, _run: &RunId, _steps: &[StepId], _text: &str) -> Result<bool, LedgerError> {
        Ok(true)
    }
    /// What was handed in, once that is more than so many steps; nothing otherwise. Of steps handed in together the first
    /// has the text, and the others an empty one.
    async fn handed_in(&self, _run: &RunId, _known: u64) -> Result<Vec<(StepId, String)>, LedgerError> {
        Ok(Vec::new())
    }
    /// The plan that a run was begun with.
    async fn plan_of_run(&self, run: &RunId) -> Result<Plan, LedgerError> {
        Err(LedgerError::Unknown { what: "run", id: run.to_string() })
    }
    /// What came of the finished batches of a step in a run.
    async fn counts_of_step(&self, _run: &RunId, _step: &StepId) -> Result<CountsByTenant, LedgerError> {
        Ok(CountsByTenant::new())
    }
    /// False where others may have taken the place of the run meanwhile: then nothing more is recorded for it here.
    async fn keeps_place(&self) -> Result<bool, LedgerError> {
        Ok(true)
    }
    /// What was claimed and dropped is free for others once this returns; without it, a moment later.
    async fn give_back(&self) -> Result<(), LedgerError> {
        Ok(())
    }
    /// The run and its plan are durable; the digests of the policies that are in force are recorded.
    async fn begin_run(
        &self,
        run: &RunRow,
        plan: &Plan,
        policies: &BTreeMap<Category, String>,
    ) -> Result<(), LedgerError>;
    /// The run has ended; its own key is destroyed, or as soon as each of its batches has an outcome.
    async fn end_run(&self, run: &RunId, status: &str, now: DateTime<Utc>) -> Result<(), LedgerError>;
    /// All runs, latest first, at most `most`.
    async fn runs(&self, most: u32) -> Result<Vec<RunRow>, LedgerError>;

    /// The refused steps of a plan are kept for approval, with what was refused.
    async fn store_refused(
        &self,
        plan: &Plan,
        steps: &[StepId],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;
    /// A refused plan that was not yet approved.
    async fn refused(&self, id: &PlanId) -> Result<RefusedPlan, LedgerError>;
    /// The refused plan has been approved and cannot be approved again.
    async fn approve(&self, id: &PlanId, now: DateTime<Utc>) -> Result<(), LedgerError>;

    /// Takes the process-wide permit first, then compares, then writes the intents of a batch that serves one step or
    /// several. With [`Permits::Granted`] all of them are durable; otherwise none is.
    async fn begin_batches(&self, intents: &[Intent], now: DateTime<Utc>) -> Result<Permits, LedgerError>;
    /// The outcomes of the batch are durable, one for each intent; its sealed keys are gone.
    async fn finish_batches(
        &self,
        outcomes: &[(u64, CountsByTenant)],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;
    /// As [`Ledger::begin_batches`], for one step.
    async fn begin_batch(&self, intent: &Intent, now: DateTime<Utc>) -> Result<Permit, LedgerError> {
        Ok(match self.begin_batches(std::slice::from_ref(intent), now).await? {
            Permits::Granted { numbers, lock, lease } => {
                let number = numbers.first().copied();
                let number = number.ok_or_else(|| LedgerError::State("a batch has no number".to_owned()))?;
                Permit::Granted(BatchGuard { number, lock, lease })
            }
            Permits::Refused { why, .. } => why,
        })
    }
    /// As [`Ledger::finish_batches`], for one step.
    async fn finish_batch(
        &self,
        number: u64,
        counts: &CountsByTenant,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        self.finish_batches(&[(number, counts.clone())], now).await
    }
    /// Intents that no outcome followed. Call while holding the run's place.
    async fn open_intents(&self) -> Result<Vec<OpenIntent>, LedgerError>;
    /// The plan that a run made while it was under way is durable too.
    async fn extend_run(&self, run: &RunId, plan: &Plan, now: DateTime<Utc>) -> Result<(), LedgerError>;
    /// A step of any plan of a run.
    async fn step_of_run(&self, run: &RunId, step: &StepId) -> Result<Step, LedgerError>;
    /// Steps of ended runs whose batches have outcomes but which have none of their own: the process died in between.
    /// Counts are those of their finished batches.
    async fn unsettled(&self) -> Result<Vec<(RunId, StepId, CountsByTenant)>, LedgerError>;
    /// A scrub of the placement is owed until [`Ledger::scrub_paid`]; recorded before the first batch that needs it.
    async fn owe_scrub(&self, placement: &PlacementId) -> Result<(), LedgerError>;
    /// The scrub reached its level and is owed no longer.
    async fn scrub_paid(&self, placement: &PlacementId) -> Result<(), LedgerError>;
    /// Placements whose scrub is owed.
    async fn scrubs_owed(&self) -> Result<Vec<PlacementId>, LedgerError>;
    /// The outcome of a step, its erased scope and its audit entry (one per tenant) are durable.
    async fn record_outcome(&self, outcome: &StepOutcome, now: DateTime<Utc>) -> Result<(), LedgerError>;
    /// Outcomes of a run, in order.
    async fn outcomes_of_run(&self, run: &RunId) -> Result<Vec<StepOutcome>, LedgerError>;
    /// Outcomes that served a request, in order.
    async fn outcomes_of_request(&self, request: &RequestId) -> Result<Vec<StepOutcome>, LedgerError>;

    /// Stores that this ledger has left its marker in.
    async fn marked_stores(&self) -> Result<BTreeMap<StoreId, Mark>, LedgerError>;
    /// The marker is known, and what the store said of itself. What was recorded at the first meeting stays.
    async fn record_mark(
        &self,
        store: &StoreId,
        fingerprint: &str,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;
    /// From now on the store is the one that says this of itself: an operator says that it was moved.
    async fn adopt_store(
        &self,
        store: &StoreId,
        fingerprint: &str,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;

    /// The token is good from now on.
    async fn make_token(&self, new: &NewToken, now: DateTime<Utc>) -> Result<TokenRow, LedgerError>;
    /// The token is no longer good. Refused where it is revoked already.
    async fn revoke_token(&self, id: &TokenId, now: DateTime<Utc>) -> Result<TokenRow, LedgerError>;
    /// All tokens, in order of making.
    async fn tokens(&self) -> Result<Vec<TokenRow>, LedgerError>;
    /// The token with this digest (SHA-256, hex), good or not.
    async fn token_of_digest(&self, digest: &str) -> Result<Option<TokenRow>, LedgerError>;
    /// The proposal waits for another person until it expires.
    async fn propose(
        &self,
        action: &ProposedAction,
        by: &str,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<ProposalRow, LedgerError>;
    /// All proposals, in order.
    async fn proposals(&self) -> Result<Vec<ProposalRow>, LedgerError>;
    /// Another person has approved it. Refused for who proposed it, a second time, and once it has expired.
    async fn approve_proposal(
        &self,
        id: &ProposalId,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<ProposalRow, LedgerError>;
    /// Whoever is told [`AnswerClaim::New`] has to answer the question; nobody else is told so for two minutes.
    async fn claim_answer(
        &self,
        principal: &str,
        key: &str,
        content: &str,
        now: DateTime<Utc>,
    ) -> Result<AnswerClaim, LedgerError>;
    /// The answer is durable. `None` gives the claim back: nothing was done, and the same may be asked again.
    async fn give_answer(
        &self,
        principal: &str,
        key: &str,
        answer: Option<&GivenAnswer>,
    ) -> Result<(), LedgerError>;
    /// Answers to questions asked before an instant are forgotten; how many.
    async fn forget_answers(&self, before: DateTime<Utc>) -> Result<u64, LedgerError>;

    /// The message is durable. False where one with its key was enqueued before.
    async fn enqueue(&self, new: &NewDelivery, now: DateTime<Utc>) -> Result<bool, LedgerError>;
    /// Messages whose turn it is, at most so many; nobody else is given them before `until`.
    async fn take_deliveries(
        &self,
        most: u32,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<DeliveryRow>, LedgerError>;
    /// What came of a try to send a message is durable.
    async fn settle_delivery(
        &self,
        number: u64,
        fate: &DeliveryFate,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;
    /// Messages that were not received, on their way or given up, in order, at most so many.
    async fn undelivered(&self, most: u32) -> Result<Vec<DeliveryRow>, LedgerError>;
    /// These alarms stand and no others; what one says that stood before is brought up to date. Answers what was raised
    /// or cleared by that.
    async fn set_alarms(
        &self,
        standing: &[NewAlarm],
        now: DateTime<Utc>,
    ) -> Result<Vec<AlarmRow>, LedgerError>;
    /// Alarms that stand, and those cleared since an instant, in order.
    async fn alarms(&self, since: DateTime<Utc>) -> Result<Vec<AlarmRow>, LedgerError>;
    /// Takes an instant of a schedule. False where somebody took it, or a later one, before.
    async fn claim_tick(
        &self,
        name: &str,
        due_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, LedgerError>;
    /// Puts an instant in the place of the one that was read. False where another one is there by now.
    async fn swap_tick(
        &self,
        name: &str,
        read: Option<DateTime<Utc>>,
        due_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, LedgerError>;
    /// The last instant of a schedule that somebody took.
    async fn last_tick(&self, name: &str) -> Result<Option<DateTime<Utc>>, LedgerError>;

    /// The export is asked for; unless it is a rollover, it is among the facts until it is finished or withdrawn.
    async fn ask_export(&self, new: &NewExport, now: DateTime<Utc>) -> Result<ExportRow, LedgerError>;
    /// How far the export got is durable: state, records, manifest and failure of the row. Refused once it is finished
    /// or withdrawn.
    async fn settle_export(&self, row: &ExportRow, now: DateTime<Utc>) -> Result<(), LedgerError>;
    /// All exports, in order of asking.
    async fn exports(&self) -> Result<Vec<ExportRow>, LedgerError>;

    /// An audit entry that records no other fact. `fields` is a JSON object without subject values.
    async fn record_entry(
        &self,
        kind: &str,
        fields: serde_json::Value,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;
    /// How many audit entries there are.
    async fn entry_count(&self) -> Result<u64, LedgerError>;
    /// Audit entries from an index, at most `most`.
    async fn entries(&self, from: u64, most: u32) -> Result<Vec<Entry>, LedgerError>;
    /// The head that was last about to be signed.
    async fn head(&self) -> Result<Option<Head>, LedgerError>;
    /// The head is durable. Call before signing it; refused where it is smaller than the one before.
    async fn set_head(&self, head: &Head) -> Result<(), LedgerError>;
    /// Holds the exclusive right to write the audit log until the guard is dropped or the process dies.
    async fn claim_audit(&self) -> Result<Box<dyn std::any::Any + Send>, LedgerError>;
}
