//! Fetches what a certificate rests on: rows, outcomes, and the place of the last entry in the signed log.
//! It owns the fetching; what a certificate says is [`crate::evidence`]'s.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::folder::{CHECKPOINT, Folder};
use super::merkle::leaf_hash;
use super::publish::blocking;
use super::{AuditError, PAGE_ENTRIES, accepted, proof_of};
use crate::evidence::{Certificate, LogPlace, of_request, of_run};
use crate::id::{RequestId, RunId};
use crate::ledger::{Entry, Head, Ledger};

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
        return Ok(of_run(&row, &outcomes, place_of(ledger, dir, "run_id", id).await?, now));
    }
    let request = RequestId::new(id);
    let row = ledger.request(&request).await?;
    let outcomes = ledger.outcomes_of_request(&request).await?;
    Ok(of_request(&row, &outcomes, place_of(ledger, dir, "request_id", id).await?, now))
}

fn unknown(what: &'static str, id: &str) -> AuditError {
    AuditError::Ledger(crate::ledger::LedgerError::Unknown { what, id: id.to_owned() })
}

/// The last signed entry about the id, with its proof. The entry is the ledger's, the proof the log's: a proof that is
/// not of this very entry is damage and no certificate is made.
async fn place_of(ledger: &dyn Ledger, dir: &Path, field: &str, id: &str) -> Result<LogPlace, AuditError> {
    let mut place =
        LogPlace { head: None, entry: None, body: None, proof: None, verify: "retentiond audit verify" };
    let folder = Folder::new(dir);
    if !folder.has(CHECKPOINT) {
        return Ok(place);
    }
    let (checkpoint, _) = accepted(&folder)?;
    place.head = Some(Head { size: checkpoint.size, root: hex::encode(checkpoint.root) });
    if let Some(Entry { index, body }) = last_entry(ledger, checkpoint.size, field, id).await? {
        let (leaf, proof) = blocking(move || proof_of(&folder, index)).await?;
        if leaf != leaf_hash(body.as_bytes()) {
            return Err(AuditError::Damaged(format!("it does not hold entry {index} as the ledger has it")));
        }
        place.entry = Some(index);
        place.body = Some(body);
        place.proof = Some(proof);
    }
    Ok(place)
}

/// Looks from the end, page by page: the last entry about a request or run says how it ended.
async fn last_entry(
    ledger: &dyn Ledger,
    size: u64,
    field: &str,
    id: &str,
) -> Result<Option<Entry>, AuditError> {
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(u64::from(PAGE_ENTRIES));
        let most = u32::try_from(end - start).unwrap_or(PAGE_ENTRIES);
        let found = ledger.entries(start, most).await?.into_iter().rev().find(|entry| {
            // Only what can match is parsed.
            entry.body.contains(id)
                && serde_json::from_str::<serde_json::Value>(&entry.body).is_ok_and(|body| body[field] == id)
        });
        if found.is_some() {
            return Ok(found);
        }
        end = start;
    }
    Ok(None)
}
