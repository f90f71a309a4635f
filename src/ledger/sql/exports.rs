//! Exports as the ledger keeps them: what a tenant wants to take along, and how far it got.
//! It owns the export table; an unfinished export moves the tenant's generation, since it can delay destruction.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::SqlLedger;
use super::statement::{Row, Session, query};
use super::write::{
    During, damaged, get, get_instant, get_instant_if_any, get_json, get_word, micros, new_id, signed,
    to_json, unsigned, word_of,
};
use crate::facts::OpenExport;
use crate::id::{ExportId, TenantId};
use crate::ledger::entry::at;
use crate::ledger::{ExportRow, ExportState, LedgerError, NewExport};

/// The export is asked for.
pub(super) async fn ask(
    ledger: &SqlLedger,
    new: &NewExport,
    now: DateTime<Utc>,
) -> Result<ExportRow, LedgerError> {
    let mut write = ledger.write("record an export").await?;
    let id = ExportId::new(new_id("exp", now)?);
    let (after, up_to) = new.between.unzip();
    query(
        "INSERT INTO export (export_id, tenant, categories, target, after_at, up_to, state, asked_at, records)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
    )
    .bind(id.as_str())
    .bind(new.tenant.as_str())
    .bind(to_json(&new.categories)?)
    .bind(&new.target)
    .bind(after.map(micros))
    .bind(up_to.map(micros))
    .bind(word_of(&ExportState::Asked)?)
    .bind(micros(now))
    .execute(write.connection())
    .await
    .during("record an export")?;
    write.touch(&new.tenant).await?;
    let row = one(write.connection(), &id).await?;
    let fields = json!({
        "export_id": id, "tenant": new.tenant, "categories": new.categories,
        "after": after.map(at), "up_to": up_to.map(at),
    });
    write.append("export-asked", fields, now).await?;
    write.commit().await?;
    Ok(row)
}

/// How far it got. One that is finished or withdrawn stays so.
pub(super) async fn settle(
    ledger: &SqlLedger,
    row: &ExportRow,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let mut write = ledger.write("settle an export").await?;
    let before = one(write.connection(), &row.export_id).await?;
    match before.state {
        ExportState::Asked | ExportState::Running | ExportState::Failed => {}
        ExportState::Finished | ExportState::Cancelled => {
            return Err(LedgerError::State(format!("export `{}` is settled already", row.export_id)));
        }
    }
    let settled_at = match row.state {
        ExportState::Asked | ExportState::Running => None,
        ExportState::Finished | ExportState::Failed | ExportState::Cancelled => Some(micros(now)),
    };
    query(
        "UPDATE export SET state = ?, settled_at = ?, records = ?, manifest = ?, failure = ? WHERE export_id = ?",
    )
    .bind(word_of(&row.state)?)
    .bind(settled_at)
    .bind(signed(row.records)?)
    .bind(&row.manifest)
    .bind(&row.failure)
    .bind(row.export_id.as_str())
    .execute(write.connection())
    .await
    .during("settle an export")?;
    if matches!(row.state, ExportState::Finished | ExportState::Cancelled) {
        write.touch(&before.tenant).await?;
    }
    let fields = json!({
        "export_id": row.export_id, "tenant": before.tenant, "state": row.state, "records": row.records,
        "manifest": row.manifest,
    });
    write.append("export-settled", fields, now).await?;
    write.commit().await
}

/// All exports, in order of asking.
pub(super) async fn all(ledger: &SqlLedger) -> Result<Vec<ExportRow>, LedgerError> {
    let rows = query("SELECT * FROM export ORDER BY number").fetch_all(&mut ledger.look().await?).await;
    rows.during("read exports")?.iter().map(row_of).collect()
}

/// Those that are neither finished nor withdrawn and take all of what they name, as the planner takes them.
pub(super) async fn open(connection: &mut Session) -> Result<Vec<OpenExport>, LedgerError> {
    let rows = query(
        "SELECT * FROM export WHERE state NOT IN ('finished', 'cancelled') AND up_to IS NULL ORDER BY number",
    )
    .fetch_all(connection)
    .await
    .during("read exports")?;
    let open = |row: &Row| {
        let row = row_of(row)?;
        Ok(OpenExport {
            export_id: row.export_id,
            tenant: row.tenant,
            categories: row.categories,
            asked_at: row.asked_at,
        })
    };
    rows.iter().map(open).collect()
}

async fn one(connection: &mut Session, id: &ExportId) -> Result<ExportRow, LedgerError> {
    let row = query("SELECT * FROM export WHERE export_id = ?").bind(id.as_str()).fetch_optional(connection);
    let unknown = || LedgerError::Unknown { what: "export", id: id.to_string() };
    row_of(&row.await.during("read an export")?.ok_or_else(unknown)?)
}

fn row_of(row: &Row) -> Result<ExportRow, LedgerError> {
    let after = get_instant_if_any(row, "after_at")?;
    Ok(ExportRow {
        export_id: ExportId::new(get::<String>(row, "export_id")?),
        tenant: TenantId::observed(get(row, "tenant")?).ok_or_else(|| damaged("tenant"))?,
        categories: get_json(row, "categories")?,
        target: get(row, "target")?,
        between: after.zip(get_instant_if_any(row, "up_to")?),
        state: get_word(row, "state")?,
        asked_at: get_instant(row, "asked_at")?,
        settled_at: get_instant_if_any(row, "settled_at")?,
        records: unsigned(get(row, "records")?, "records")?,
        manifest: get(row, "manifest")?,
        failure: get(row, "failure")?,
    })
}
