//! Notices that requests have changed, and enqueues what controllers are to be told.
//! It owns when a callback is due; sending and signing happen later.

use chrono::{DateTime, Utc};

use super::answer::{Known, callback, status_of};
use super::controller_id;
use crate::config::Config;
use crate::id::TenantId;
use crate::ledger::{ExportState, Ledger, LedgerError, NewDelivery, RequestRow, RequestState};

/// The kind of these messages in the ledger.
pub const CALLBACK: &str = "opendsr-callback";

/// Enqueues a callback for every request whose status is another one than its controller was last told; how many. Asked
/// again, also by another process, it enqueues nothing twice.
///
/// # Errors
/// Where the ledger cannot be read or written.
pub async fn note_changes(
    ledger: &dyn Ledger,
    config: &Config,
    now: DateTime<Utc>,
) -> Result<usize, LedgerError> {
    let Some(opendsr) = &config.opendsr else { return Ok(0) };
    let mut enqueued = 0;
    for asked in ledger.opendsr_untold().await? {
        let request = ledger.request(&asked.request_id).await?;
        let status = status_of(request.state);
        if status == asked.told {
            continue;
        }
        let waits_for = waits_for(ledger, &request).await?;
        let known = Known {
            domain: &opendsr.domain,
            controller_id: controller_id(config, &asked.tenant),
            asked: &asked,
            request: &request,
            waits_for: &waits_for,
        };
        for (index, url) in asked.callbacks.iter().enumerate() {
            let message = NewDelivery {
                key: format!("opendsr/{}/{status}/{index}", asked.request_id),
                kind: CALLBACK.to_owned(),
                tenant: Some(asked.tenant.clone()),
                url: url.clone(),
                body: callback(known, url).to_string(),
            };
            enqueued += usize::from(ledger.enqueue(&message, now).await?);
        }
        // Only now: a process that dies in between enqueues again, and the key keeps that from being a second message.
        ledger.tell_opendsr(asked.number, status).await?;
    }
    Ok(enqueued)
}

/// What keeps an open request from being carried out.
///
/// # Errors
/// Where the ledger cannot be read.
pub async fn waits_for(ledger: &dyn Ledger, request: &RequestRow) -> Result<Vec<&'static str>, LedgerError> {
    if request.state != RequestState::Waiting {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let is_of = |tenant: &TenantId| *tenant == request.tenant;
    if ledger.holds().await?.iter().any(|hold| is_of(&hold.tenant) && hold.released_at.is_none()) {
        found.push("hold");
    }
    let is_open = |state: ExportState| match state {
        ExportState::Asked | ExportState::Running | ExportState::Failed => true,
        ExportState::Finished | ExportState::Cancelled => false,
    };
    if ledger.exports().await?.iter().any(|export| is_of(&export.tenant) && is_open(export.state)) {
        found.push("export");
    }
    Ok(found)
}
