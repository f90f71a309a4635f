//! The part of the ledger that is about `OpenDSR`: what controllers sent, and what they were told.
//! It owns the trait; who may send and what a status means is not decided here.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{LedgerError, NewOpenDsr, OpenDsrClaim, OpenDsrRow};

/// Requests under the ids of their controllers. Every ledger has this part.
#[async_trait]
pub trait OpenDsrLedger: Send + Sync {
    /// What a controller sent is durable, or was before: one row for each tenant and id, whoever asks at the same time.
    async fn record_opendsr(&self, new: &NewOpenDsr, now: DateTime<Utc>)
    -> Result<OpenDsrClaim, LedgerError>;
    /// What was sent under an id, by whichever controllers.
    async fn opendsr_requests(&self, subject_request_id: &str) -> Result<Vec<OpenDsrRow>, LedgerError>;
    /// Those whose controllers were not yet told that they are completed or cancelled, in order.
    async fn opendsr_untold(&self) -> Result<Vec<OpenDsrRow>, LedgerError>;
    /// The messages about this status are enqueued.
    async fn tell_opendsr(&self, number: u64, status: &str) -> Result<(), LedgerError>;
}
