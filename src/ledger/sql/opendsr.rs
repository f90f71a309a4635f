//! What controllers sent over `OpenDSR`, as the ledger keeps it: their id, whom to tell, what was told last.
//! It owns that table; the request that it became is in another, and no subject is in this one.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::zeroize::Zeroizing;

use super::SqlLedger;
use super::statement::{Row, Session, query};
use super::write::{During, damaged, get, get_instant, get_json, micros, signed, to_json, unsigned};
use crate::id::{RequestId, TenantId};
use crate::ledger::{LedgerError, NewOpenDsr, OpenDsrClaim, OpenDsrLedger, OpenDsrRow};

#[async_trait]
impl OpenDsrLedger for SqlLedger {
    async fn record_opendsr(
        &self,
        new: &NewOpenDsr,
        now: DateTime<Utc>,
    ) -> Result<OpenDsrClaim, LedgerError> {
        record(self, new, now).await
    }

    async fn opendsr_requests(&self, subject_request_id: &str) -> Result<Vec<OpenDsrRow>, LedgerError> {
        under(self, subject_request_id).await
    }

    async fn opendsr_untold(&self) -> Result<Vec<OpenDsrRow>, LedgerError> {
        untold(self).await
    }

    async fn tell_opendsr(&self, number: u64, status: &str) -> Result<(), LedgerError> {
        tell(self, number, status).await
    }
}

/// It is recorded, or was before.
async fn record(
    ledger: &SqlLedger,
    new: &NewOpenDsr,
    now: DateTime<Utc>,
) -> Result<OpenDsrClaim, LedgerError> {
    let content = content_of(ledger, new);
    let mut write = ledger.write("record what a controller sent").await?;
    if let Some(before) = one(write.connection(), new).await? {
        let is_same = get::<&str>(&before, "content")? == content;
        return Ok(if is_same { OpenDsrClaim::Same(row_of(&before)?) } else { OpenDsrClaim::Other });
    }
    query(
        "INSERT INTO opendsr_request (tenant, subject_request_id, request_id, content, callbacks, received_at, told)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(new.tenant.as_str())
    .bind(&new.subject_request_id)
    .bind(new.request_id.as_str())
    .bind(&content)
    .bind(to_json(&new.callbacks)?)
    .bind(micros(now))
    .bind(&new.told)
    .execute(write.connection())
    .await
    .during("record what a controller sent")?;
    let row = one(write.connection(), new).await?.ok_or_else(|| damaged("opendsr_request"))?;
    let row = row_of(&row)?;
    write.commit().await?;
    Ok(OpenDsrClaim::Recorded(row))
}

async fn one(session: &mut Session, new: &NewOpenDsr) -> Result<Option<Row>, LedgerError> {
    query("SELECT * FROM opendsr_request WHERE tenant = ? AND subject_request_id = ?")
        .bind(new.tenant.as_str())
        .bind(&new.subject_request_id)
        .fetch_optional(session)
        .await
        .during("record what a controller sent")
}

/// Every tenant's request under a controller's id.
async fn under(ledger: &SqlLedger, subject_request_id: &str) -> Result<Vec<OpenDsrRow>, LedgerError> {
    let rows = query("SELECT * FROM opendsr_request WHERE subject_request_id = ? ORDER BY number")
        .bind(subject_request_id)
        .fetch_all(&mut ledger.look().await?)
        .await;
    rows.during("read what controllers sent")?.iter().map(row_of).collect()
}

/// Those whose controller was not yet told the last word.
async fn untold(ledger: &SqlLedger) -> Result<Vec<OpenDsrRow>, LedgerError> {
    let rows =
        query("SELECT * FROM opendsr_request WHERE told NOT IN ('completed', 'cancelled') ORDER BY number")
            .fetch_all(&mut ledger.look().await?)
            .await;
    rows.during("read what controllers sent")?.iter().map(row_of).collect()
}

/// The messages about this status are enqueued.
async fn tell(ledger: &SqlLedger, number: u64, status: &str) -> Result<(), LedgerError> {
    let mut write = ledger.write("record what a controller was told").await?;
    query("UPDATE opendsr_request SET told = ? WHERE number = ?")
        .bind(status)
        .bind(signed(number)?)
        .execute(write.connection())
        .await
        .during("record what a controller was told")?;
    write.commit().await
}

/// A keyed digest: the body names subjects, and a plain digest of a phone number can be tried out.
fn content_of(ledger: &SqlLedger, new: &NewOpenDsr) -> String {
    let text = Zeroizing::new(format!("{}\0{}", new.tenant, new.body.as_str()));
    ledger.seal.digest("opendsr", &text)
}

fn row_of(row: &Row) -> Result<OpenDsrRow, LedgerError> {
    Ok(OpenDsrRow {
        number: unsigned(get(row, "number")?, "number")?,
        tenant: TenantId::observed(get(row, "tenant")?).ok_or_else(|| damaged("tenant"))?,
        subject_request_id: get(row, "subject_request_id")?,
        request_id: RequestId::new(get::<String>(row, "request_id")?),
        callbacks: get_json(row, "callbacks")?,
        received_at: get_instant(row, "received_at")?,
        told: get(row, "told")?,
    })
}
