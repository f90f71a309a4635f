//! Rows about requests that came over `OpenDSR`.
//! It owns their shapes; no subject is in them.

use chrono::{DateTime, Utc};
use secrecy::zeroize::Zeroizing;

use crate::id::{RequestId, TenantId};

/// What a controller sent, beside the request that it became.
#[derive(Clone)]
pub struct NewOpenDsr {
    /// Whose data.
    pub tenant: TenantId,
    /// The controller's own id of it.
    pub subject_request_id: String,
    /// The request that it became.
    pub request_id: RequestId,
    /// The body, as sent: it names subjects, so only a keyed digest is kept.
    pub body: Zeroizing<String>,
    /// Where changes are to be told.
    pub callbacks: Vec<String>,
    /// The status that the answer tells.
    pub told: String,
}

/// The same, as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDsrRow {
    /// Its number.
    pub number: u64,
    /// Whose data.
    pub tenant: TenantId,
    /// The controller's own id of it.
    pub subject_request_id: String,
    /// The request that it became.
    pub request_id: RequestId,
    /// Where changes are to be told.
    pub callbacks: Vec<String>,
    /// When it was received first.
    pub received_at: DateTime<Utc>,
    /// The status that was told last.
    pub told: String,
}

/// What a request under a controller's id meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenDsrClaim {
    /// Nobody sent one under this id before.
    Recorded(OpenDsrRow),
    /// The same was sent before.
    Same(OpenDsrRow),
    /// Another was sent under this id before.
    Other,
}
