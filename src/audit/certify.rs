//! Fetches what a certificate rests on: rows, outcomes, and the place of the last entry in the signed log.
//! It owns the fetching; what a certificate says is [`crate::evidence`]'s.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::{AuditError, prove};
use crate::evidence::{Certificate, LogPlace, of_request, of_run};
use crate::id::{RequestId, RunId};
use crate::ledger::{Entry, Ledger};

/// Entries read at once while looking backwards for the last one about an id.
const PAGE: u32 = 256;

/// The certificate of the request or run of this id.
///
/// # Errors
/// [`AuditError::Ledger`] where there is no such request or run, or the ledger or log cannot be read.
pub async fn certify(
    ledger: &dyn Ledger,
    dir: &Path,
    id: &str,
    now: DateTime<Utc>,
) -> Result<Certificate, AuditError> {
    if id.starts_with("run-") {
        let run = RunId::new(id);
        let rows = ledger.runs(u32::MAX).await?;
        let row = rows.into_iter().find(|row| row.run_id == run).ok_or_else(|| unknown("run", id))?;
        let outcomes = ledger.outcomes_of_run(&run).await?;
        return Ok(of_run(&row, &outcomes, place_of(ledger, dir, id).await?, now));
    }
    let request = RequestId::new(id);
    let row = ledger.request(&request).await?;
    let outcomes = ledger.outcomes_of_request(&request).await?;
    Ok(of_request(&row, &outcomes, place_of(ledger, dir, id).await?, now))
}

fn unknown(what: &'static str, id: &str) -> AuditError {
    AuditError::Ledger(crate::ledger::LedgerError::Unknown { what, id: id.to_owned() })
}

/// The last signed entry that names the id, with its proof.
async fn place_of(ledger: &dyn Ledger, dir: &Path, id: &str) -> Result<LogPlace, AuditError> {
    let head = ledger.head().await?;
    let mut place = LogPlace {
        head: head.clone(),
        entry: None,
        body: None,
        proof: None,
        verify: "retentiond audit verify",
    };
    let quoted = format!("\"{id}\"");
    let mut end = head.map_or(0, |head| head.size);
    while end > 0 {
        let start = end.saturating_sub(u64::from(PAGE));
        let page = ledger.entries(start, PAGE).await?;
        let within = |entry: &&Entry| entry.index < end && entry.body.contains(&quoted);
        if let Some(entry) = page.iter().rev().find(within) {
            place.entry = Some(entry.index);
            place.body = Some(entry.body.clone());
            place.proof = Some(prove(dir, entry.index).await?);
            break;
        }
        end = start;
    }
    Ok(place)
}
