//! Gathers what a certificate needs: rows of the ledger and the proof that the log holds their entry.
//! It owns the gathering; what the certificate claims is decided in [`crate::evidence`].

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::audit::folder::{CHECKPOINT, Folder};
use crate::audit::merkle::leaf_hash;
use crate::audit::publish::blocking;
use crate::audit::{AuditError, PAGE_ENTRIES, accepted, proof_of};
use crate::evidence::{Asked, Certificate, Covered, Done, Logged, Occasion, Progress, Ran};
use crate::id::{RequestId, RunId};
use crate::ledger::{Entry, Ledger, RequestRow, RequestState, RunRow, StepOutcome};
use crate::policy::{Level, Method};

/// The certificate of a request (`req-…`) or a run (`run-…`), as the ledger knows it now. With the proof from the
/// signed log where the log holds an entry about it already: call [`crate::audit::publish`] first.
///
/// # Errors
/// [`AuditError::Usage`] where the id is of neither kind, the ledger's error where it knows no such row,
/// [`AuditError::Damaged`] where the log does not hold the entry that the ledger has.
pub async fn certify(
    ledger: &dyn Ledger,
    dir: &Path,
    id: &str,
    now: DateTime<Utc>,
) -> Result<Certificate, AuditError> {
    let (occasion, outcomes, field) = if id.starts_with("req-") {
        let id = RequestId::new(id);
        let row = ledger.request(&id).await?;
        (Occasion::Request(asked(row)), ledger.outcomes_of_request(&id).await?, "request_id")
    } else if id.starts_with("run-") {
        let run = RunId::new(id);
        let row = ledger.runs(u32::MAX).await?.into_iter().find(|row| row.run_id == run);
        let row = row.ok_or_else(|| AuditError::Usage(format!("there is no run `{id}`")))?;
        (Occasion::Run(ran(row)), ledger.outcomes_of_run(&run).await?, "run_id")
    } else {
        return Err(AuditError::Usage(format!("`{id}` is neither a request (`req-…`) nor a run (`run-…`)")));
    };
    let done: Vec<Done> = outcomes.into_iter().map(done).collect();
    let log = logged(ledger, dir, field, id).await?;
    Ok(Certificate::new(occasion, &done, log, now))
}

/// The last entry about this id in the signed log, with its proof.
async fn logged(
    ledger: &dyn Ledger,
    dir: &Path,
    field: &str,
    id: &str,
) -> Result<Option<Logged>, AuditError> {
    let folder = Folder::new(dir);
    if !folder.has(CHECKPOINT) {
        return Ok(None);
    }
    let (checkpoint, _) = accepted(&folder)?;
    let Some(Entry { index, body }) = last_entry(ledger, checkpoint.size, field, id).await? else {
        return Ok(None);
    };
    let (leaf, proof) = blocking(move || proof_of(&folder, index)).await?;
    if leaf != leaf_hash(body.as_bytes()) {
        return Err(AuditError::Damaged(format!("it does not hold entry {index} as the ledger has it")));
    }
    let (size, root) = (checkpoint.size, hex::encode(checkpoint.root));
    Ok(Some(Logged { size, root, index, entry: body, proof }))
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

fn asked(row: RequestRow) -> Asked {
    Asked {
        request_id: row.request_id,
        tenant: row.tenant,
        progress: progress(row.state),
        received_at: row.received_at,
        deadline: row.deadline,
        completed_at: row.completed_at,
        everything: row.everything,
        categories: row.categories,
        subjects: row.subjects,
        placements: row
            .placements
            .into_iter()
            .map(|placement| Covered {
                placement: placement.placement,
                progress: progress(placement.state),
                erased: placement.erased,
                verified_absent: placement.verified_absent,
                residual: placement.residual,
            })
            .collect(),
    }
}

fn ran(row: RunRow) -> Ran {
    Ran {
        run_id: row.run_id,
        plan_id: row.plan_id,
        at: row.at,
        status: row.status,
        started_at: row.started_at,
        ended_at: row.ended_at,
    }
}

fn done(outcome: StepOutcome) -> Done {
    Done {
        level_required: required(&outcome.method),
        placement: outcome.placement,
        store: outcome.store,
        category: outcome.category,
        reason: outcome.reason,
        clause: outcome.clause,
        method: outcome.method,
        counts: outcome.counts,
        level: outcome.level,
        residual: outcome.residual,
        verified_at: outcome.verified_at,
        failure: outcome.failure,
    }
}

/// The level that a method needs, by the method's word in the outcome; `rotation` and the like have none.
fn required(method: &str) -> Option<Level> {
    [Method::Delete, Method::OverwriteThenDelete, Method::Zero]
        .into_iter()
        .find(|known| serde_json::to_value(known).is_ok_and(|word| word == method))
        .map(Method::level)
}

fn progress(state: RequestState) -> Progress {
    match state {
        RequestState::Received | RequestState::Waiting | RequestState::Enforcing => Progress::Open,
        RequestState::Residual => Progress::Residual,
        RequestState::Completed => Progress::Completed,
        RequestState::Cancelled => Progress::Cancelled,
    }
}
