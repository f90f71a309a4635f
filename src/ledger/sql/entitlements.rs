//! Entitlements in the ledger.
//! It owns the entitlement table; it does not know which rule an entitlement suspends.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::SqlLedger;
use super::statement::{Row, Session, query};
use super::write::{
    During, damaged, get, get_instant, get_instant_if_any, get_json, micros, micros_up, new_id, to_json,
};
use crate::facts::ActiveEntitlement;
use crate::id::{EntitlementId, TenantId};
use crate::ledger::entry::at;
use crate::ledger::{EntitlementRow, LedgerError, NewEntitlement};

/// Records that it runs.
pub(super) async fn grant(
    ledger: &SqlLedger,
    new: &NewEntitlement,
    now: DateTime<Utc>,
) -> Result<EntitlementRow, LedgerError> {
    let id = EntitlementId::new(new_id("ent", now)?);
    let mut write = ledger.write("grant an entitlement").await?;
    query(
        "INSERT INTO entitlement (entitlement_id, name, tenant, categories, granted_at, until)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(id.as_str())
    .bind(&new.name)
    .bind(new.tenant.as_str())
    .bind(to_json(&new.categories)?)
    .bind(micros(now))
    // Rounded up: it must not end early.
    .bind(new.until.map(micros_up))
    .execute(write.connection())
    .await
    .during("grant an entitlement")?;
    write.touch(&new.tenant).await?;
    let row = one(write.connection(), &id).await?;
    let fields = json!({
        "entitlement_id": id, "name": new.name, "tenant": new.tenant, "categories": new.categories,
        "until": row.until.map(at),
    });
    write.append("entitlement-granted", fields, now).await?;
    write.commit().await?;
    Ok(row)
}

/// Records that it runs no longer.
pub(super) async fn end(
    ledger: &SqlLedger,
    id: &EntitlementId,
    now: DateTime<Utc>,
) -> Result<EntitlementRow, LedgerError> {
    let mut write = ledger.write("end an entitlement").await?;
    let before = one(write.connection(), id).await?;
    if before.ended_at.is_some() {
        return Err(LedgerError::State(format!("entitlement `{id}` has ended already")));
    }
    query("UPDATE entitlement SET ended_at = ? WHERE entitlement_id = ?")
        .bind(micros(now))
        .bind(id.as_str())
        .execute(write.connection())
        .await
        .during("end an entitlement")?;
    write.touch(&before.tenant).await?;
    let row = one(write.connection(), id).await?;
    let fields = json!({"entitlement_id": id, "name": before.name, "tenant": before.tenant});
    write.append("entitlement-ended", fields, now).await?;
    write.commit().await?;
    Ok(row)
}

/// All entitlements, in order of granting.
pub(super) async fn all(ledger: &SqlLedger) -> Result<Vec<EntitlementRow>, LedgerError> {
    query("SELECT * FROM entitlement ORDER BY number")
        .fetch_all(&mut ledger.look().await?)
        .await
        .during("read entitlements")?
        .iter()
        .map(row_of)
        .collect()
}

/// Entitlements that were not ended; the planner judges until when each runs.
pub(super) async fn active(connection: &mut Session) -> Result<Vec<ActiveEntitlement>, LedgerError> {
    let rows = query("SELECT * FROM entitlement WHERE ended_at IS NULL ORDER BY number")
        .fetch_all(connection)
        .await
        .during("read entitlements")?;
    rows.iter()
        .map(|row| {
            let EntitlementRow { entitlement_id, name, tenant, categories, until, .. } = row_of(row)?;
            Ok(ActiveEntitlement { entitlement_id, name, tenant, categories, until })
        })
        .collect()
}

async fn one(connection: &mut Session, id: &EntitlementId) -> Result<EntitlementRow, LedgerError> {
    let row = query("SELECT * FROM entitlement WHERE entitlement_id = ?")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .during("read an entitlement")?;
    row_of(&row.ok_or_else(|| LedgerError::Unknown { what: "entitlement", id: id.as_str().to_owned() })?)
}

fn row_of(row: &Row) -> Result<EntitlementRow, LedgerError> {
    Ok(EntitlementRow {
        entitlement_id: EntitlementId::new(get::<String>(row, "entitlement_id")?),
        name: get(row, "name")?,
        tenant: TenantId::observed(get(row, "tenant")?).ok_or_else(|| damaged("tenant"))?,
        categories: get_json(row, "categories")?,
        granted_at: get_instant(row, "granted_at")?,
        until: get_instant_if_any(row, "until")?,
        ended_at: get_instant_if_any(row, "ended_at")?,
    })
}
