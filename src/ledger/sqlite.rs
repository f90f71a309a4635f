//! The ledger on `SQLite`, the embedded default: one file, any number of processes on one machine.
//! It owns the trait's implementation, method by method; the statements are in the modules below.
//!
//! Facts are written in `BEGIN IMMEDIATE` transactions with the log forced to disk (`synchronous = FULL`), read
//! from snapshots. Locks are files beside the database (`locks`). How to back it up is in `docs/backup.md`.

mod access;
mod batches;
mod entitlements;
mod entries;
mod exports;
mod holds;
mod locks;
mod open;
mod opendsr;
mod outcomes;
mod outside;
mod requests;
mod runs;
mod tenants;
mod write;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::SqlitePool;

use self::locks::{Lock, Locks};
use self::write::During;
use super::seal::Seal;
use super::{
    AlarmRow, AnswerClaim, DeliveryFate, DeliveryRow, EntitlementRow, Entry, ExportRow, GivenAnswer, Head,
    HoldRow, Intent, Ledger, LedgerError, Mark, NewAlarm, NewDelivery, NewEntitlement, NewExport, NewHold,
    NewRequest, NewToken, OpenIntent, Permits, ProposalRow, ProposedAction, RequestPlacement, RequestRow,
    RequestState, RunRow, StepOutcome, Stop, TenantRow, TokenRow,
};
use crate::facts::LedgerFacts;
use crate::id::{
    Category, EntitlementId, HoldId, PlacementId, PlanId, ProposalId, RequestId, RunId, StepId, StoreId,
    SubjectKey, TenantId, TokenId,
};
use crate::plan::{CountsByTenant, Plan, Step, SubjectOrigin};

/// A ledger in a `SQLite` file.
pub struct SqliteLedger {
    id: String,
    seal: Seal,
    /// One connection, so that the tasks of a process queue here instead of failing in the database. `None` where
    /// the ledger is open for reading only.
    writer: Option<SqlitePool>,
    readers: SqlitePool,
    locks: Locks,
    /// True while bytes of a destroyed key may still be in the write-ahead log.
    remains: AtomicBool,
}

impl SqliteLedger {
    /// Opens the ledger for writing. Makes the database (0600), its schema and the key file (0600) where they are
    /// missing, and brings an older schema up to date.
    ///
    /// # Errors
    /// [`LedgerError::Doubt`] where the file is some other database, or was made by a newer version, or the key
    /// file is missing, is another one, or can be read by others; [`LedgerError::Unreachable`] where the folder is
    /// missing or the file cannot be read or written.
    pub async fn open(path: &Path, key_file: &Path) -> Result<Self, LedgerError> {
        open::open(path, key_file).await
    }

    /// Opens the ledger for reading; `None` where there is none yet. Makes and changes nothing; every method that
    /// would is refused.
    ///
    /// # Errors
    /// As [`SqliteLedger::open`]; also [`LedgerError::Doubt`] where the schema is an older one.
    pub async fn open_read_only(path: &Path, key_file: &Path) -> Result<Option<Self>, LedgerError> {
        open::open_read_only(path, key_file).await
    }

    /// Closes the database files. Dropping the ledger does the same, a little later.
    pub async fn close(&self) {
        self.readers.close().await;
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }

    fn writer(&self, operation: &'static str) -> Result<&SqlitePool, LedgerError> {
        self.writer.as_ref().ok_or_else(|| LedgerError::Unreachable {
            operation,
            message: "it is open for reading only".to_owned(),
        })
    }

    async fn claim(&self, lock: Lock, operation: &'static str) -> Result<Box<dyn Any + Send>, LedgerError> {
        self.writer(operation)?;
        Ok(Box::new(self.locks.exclusive(lock).await?))
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn ledger_id(&self) -> Result<String, LedgerError> {
        Ok(self.id.clone())
    }

    async fn facts(&self) -> Result<LedgerFacts, LedgerError> {
        tenants::facts(self).await
    }

    async fn subjects_of(&self, origin: &SubjectOrigin) -> Result<Vec<SubjectKey>, LedgerError> {
        requests::subjects_of(self, origin).await
    }

    async fn fingerprint(
        &self,
        tenant: &TenantId,
        kind: &str,
        value: &str,
    ) -> Result<SubjectKey, LedgerError> {
        Ok(SubjectKey::new(kind, value, self.seal.fingerprint(tenant, kind, value)))
    }

    async fn create_request(&self, new: &NewRequest, now: DateTime<Utc>) -> Result<RequestRow, LedgerError> {
        requests::create(self, new, now).await
    }

    async fn requests(&self) -> Result<Vec<RequestRow>, LedgerError> {
        requests::all(self).await
    }

    async fn request(&self, id: &RequestId) -> Result<RequestRow, LedgerError> {
        let mut connection = self.readers.acquire().await.during("read a request")?;
        requests::one(&mut connection, id).await
    }

    async fn cancel_request(&self, id: &RequestId, now: DateTime<Utc>) -> Result<RequestRow, LedgerError> {
        requests::cancel(self, id, now).await
    }

    async fn settle_request(
        &self,
        id: &RequestId,
        state: RequestState,
        placements: &[RequestPlacement],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        requests::settle(self, id, state, placements, now).await
    }

    async fn terminate(
        &self,
        tenant: &TenantId,
        terminated_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<TenantRow, LedgerError> {
        tenants::terminate(self, tenant, terminated_at, now).await
    }

    async fn reinstate(&self, tenant: &TenantId, now: DateTime<Utc>) -> Result<TenantRow, LedgerError> {
        tenants::reinstate(self, tenant, now).await
    }

    async fn tenants(&self) -> Result<Vec<TenantRow>, LedgerError> {
        let mut connection = self.readers.acquire().await.during("read tenants")?;
        tenants::all(&mut connection).await
    }

    async fn place_hold(&self, new: &NewHold, now: DateTime<Utc>) -> Result<HoldRow, LedgerError> {
        holds::place(self, new, now).await
    }

    async fn release_hold(&self, id: &HoldId, now: DateTime<Utc>) -> Result<HoldRow, LedgerError> {
        holds::release(self, id, now).await
    }

    async fn holds(&self) -> Result<Vec<HoldRow>, LedgerError> {
        holds::all(self).await
    }

    async fn wait_for_batches(&self) -> Result<(), LedgerError> {
        self.writer("wait for batches")?;
        batches::wait(self).await
    }

    async fn grant_entitlement(
        &self,
        new: &NewEntitlement,
        now: DateTime<Utc>,
    ) -> Result<EntitlementRow, LedgerError> {
        entitlements::grant(self, new, now).await
    }

    async fn end_entitlement(
        &self,
        id: &EntitlementId,
        now: DateTime<Utc>,
    ) -> Result<EntitlementRow, LedgerError> {
        entitlements::end(self, id, now).await
    }

    async fn entitlements(&self) -> Result<Vec<EntitlementRow>, LedgerError> {
        entitlements::all(self).await
    }

    async fn stop(&self, reason: &str, now: DateTime<Utc>) -> Result<(), LedgerError> {
        runs::stop(self, reason, now).await
    }

    async fn go(&self, now: DateTime<Utc>) -> Result<bool, LedgerError> {
        runs::go(self, now).await
    }

    async fn stopped(&self) -> Result<Option<Stop>, LedgerError> {
        let mut connection = self.readers.acquire().await.during("read the stop")?;
        runs::stopped(&mut connection).await
    }

    async fn claim_run(&self) -> Result<Box<dyn Any + Send>, LedgerError> {
        self.claim(Lock::Run, "claim the place of the run").await
    }

    async fn begin_run(
        &self,
        run: &RunRow,
        plan: &Plan,
        policies: &BTreeMap<Category, String>,
    ) -> Result<(), LedgerError> {
        runs::begin(self, run, plan, policies).await
    }

    async fn end_run(&self, run: &RunId, status: &str, now: DateTime<Utc>) -> Result<(), LedgerError> {
        runs::end(self, run, status, now).await
    }

    async fn runs(&self, most: u32) -> Result<Vec<RunRow>, LedgerError> {
        runs::latest(self, most).await
    }

    async fn store_refused(
        &self,
        plan: &Plan,
        steps: &[StepId],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        runs::store_refused(self, plan, steps, now).await
    }

    async fn refused(&self, id: &PlanId) -> Result<(Plan, Vec<StepId>), LedgerError> {
        runs::refused(self, id).await
    }

    async fn approve(&self, id: &PlanId, now: DateTime<Utc>) -> Result<(), LedgerError> {
        runs::approve(self, id, now).await
    }

    async fn begin_batches(&self, intents: &[Intent], now: DateTime<Utc>) -> Result<Permits, LedgerError> {
        self.writer("begin a batch")?;
        batches::begin(self, intents, now).await
    }

    async fn finish_batches(
        &self,
        outcomes: &[(u64, CountsByTenant)],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        batches::finish(self, outcomes, now).await
    }

    async fn open_intents(&self) -> Result<Vec<OpenIntent>, LedgerError> {
        batches::open(self).await
    }

    async fn extend_run(&self, run: &RunId, plan: &Plan, now: DateTime<Utc>) -> Result<(), LedgerError> {
        runs::extend(self, run, plan, now).await
    }

    async fn step_of_run(&self, run: &RunId, step: &StepId) -> Result<Step, LedgerError> {
        runs::step_of(self, run, step).await
    }

    async fn unsettled(&self) -> Result<Vec<(RunId, StepId, CountsByTenant)>, LedgerError> {
        outcomes::unsettled(self).await
    }

    async fn owe_scrub(&self, placement: &PlacementId) -> Result<(), LedgerError> {
        outcomes::owe_scrub(self, placement).await
    }

    async fn scrub_paid(&self, placement: &PlacementId) -> Result<(), LedgerError> {
        outcomes::scrub_paid(self, placement).await
    }

    async fn scrubs_owed(&self) -> Result<Vec<PlacementId>, LedgerError> {
        outcomes::scrubs_owed(self).await
    }

    async fn record_outcome(&self, outcome: &StepOutcome, now: DateTime<Utc>) -> Result<(), LedgerError> {
        outcomes::record(self, outcome, now).await
    }

    async fn outcomes_of_run(&self, run: &RunId) -> Result<Vec<StepOutcome>, LedgerError> {
        outcomes::of_run(self, run).await
    }

    async fn outcomes_of_request(&self, request: &RequestId) -> Result<Vec<StepOutcome>, LedgerError> {
        outcomes::of_request(self, request).await
    }

    async fn marked_stores(&self) -> Result<BTreeMap<StoreId, Mark>, LedgerError> {
        outcomes::marked(self).await
    }

    async fn record_mark(
        &self,
        store: &StoreId,
        fingerprint: &str,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        outcomes::mark(self, store, fingerprint, now).await
    }

    async fn adopt_store(
        &self,
        store: &StoreId,
        fingerprint: &str,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        outcomes::adopt(self, store, fingerprint, reason, now).await
    }

    async fn make_token(&self, new: &NewToken, now: DateTime<Utc>) -> Result<TokenRow, LedgerError> {
        access::make_token(self, new, now).await
    }

    async fn revoke_token(&self, id: &TokenId, now: DateTime<Utc>) -> Result<TokenRow, LedgerError> {
        access::revoke_token(self, id, now).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, LedgerError> {
        access::tokens(self).await
    }

    async fn token_of_digest(&self, digest: &str) -> Result<Option<TokenRow>, LedgerError> {
        access::token_of_digest(self, digest).await
    }

    async fn propose(
        &self,
        action: &ProposedAction,
        by: &str,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<ProposalRow, LedgerError> {
        access::propose(self, action, by, expires_at, now).await
    }

    async fn proposals(&self) -> Result<Vec<ProposalRow>, LedgerError> {
        access::proposals(self).await
    }

    async fn approve_proposal(
        &self,
        id: &ProposalId,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<ProposalRow, LedgerError> {
        access::approve_proposal(self, id, by, now).await
    }

    async fn claim_answer(
        &self,
        principal: &str,
        key: &str,
        content: &str,
        now: DateTime<Utc>,
    ) -> Result<AnswerClaim, LedgerError> {
        access::claim_answer(self, principal, key, content, now).await
    }

    async fn give_answer(
        &self,
        principal: &str,
        key: &str,
        answer: Option<&GivenAnswer>,
    ) -> Result<(), LedgerError> {
        access::give_answer(self, principal, key, answer).await
    }

    async fn forget_answers(&self, before: DateTime<Utc>) -> Result<u64, LedgerError> {
        access::forget_answers(self, before).await
    }

    async fn enqueue(&self, new: &NewDelivery, now: DateTime<Utc>) -> Result<bool, LedgerError> {
        outside::enqueue(self, new, now).await
    }

    async fn take_deliveries(
        &self,
        most: u32,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<DeliveryRow>, LedgerError> {
        outside::take_deliveries(self, most, until, now).await
    }

    async fn settle_delivery(
        &self,
        number: u64,
        fate: &DeliveryFate,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        outside::settle_delivery(self, number, fate, now).await
    }

    async fn undelivered(&self, most: u32) -> Result<Vec<DeliveryRow>, LedgerError> {
        outside::undelivered(self, most).await
    }

    async fn set_alarms(
        &self,
        standing: &[NewAlarm],
        now: DateTime<Utc>,
    ) -> Result<Vec<AlarmRow>, LedgerError> {
        outside::set_alarms(self, standing, now).await
    }

    async fn alarms(&self, since: DateTime<Utc>) -> Result<Vec<AlarmRow>, LedgerError> {
        outside::alarms(self, since).await
    }

    async fn claim_tick(
        &self,
        name: &str,
        due_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, LedgerError> {
        outside::claim_tick(self, name, due_at, now).await
    }

    async fn last_tick(&self, name: &str) -> Result<Option<DateTime<Utc>>, LedgerError> {
        outside::last_tick(self, name).await
    }

    async fn ask_export(&self, new: &NewExport, now: DateTime<Utc>) -> Result<ExportRow, LedgerError> {
        exports::ask(self, new, now).await
    }

    async fn settle_export(&self, row: &ExportRow, now: DateTime<Utc>) -> Result<(), LedgerError> {
        exports::settle(self, row, now).await
    }

    async fn exports(&self) -> Result<Vec<ExportRow>, LedgerError> {
        exports::all(self).await
    }

    async fn record_entry(
        &self,
        kind: &str,
        fields: serde_json::Value,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        entries::record(self, kind, fields, now).await
    }

    async fn entry_count(&self) -> Result<u64, LedgerError> {
        entries::count(self).await
    }

    async fn entries(&self, from: u64, most: u32) -> Result<Vec<Entry>, LedgerError> {
        entries::from(self, from, most).await
    }

    async fn head(&self) -> Result<Option<Head>, LedgerError> {
        entries::head(self).await
    }

    async fn set_head(&self, head: &Head) -> Result<(), LedgerError> {
        entries::set_head(self, head).await
    }

    async fn claim_audit(&self) -> Result<Box<dyn Any + Send>, LedgerError> {
        self.claim(Lock::Audit, "claim the audit log").await
    }
}
