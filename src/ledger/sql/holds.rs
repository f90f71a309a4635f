//! Holds in the ledger.
//! It owns the hold table; it does not decide which records a hold keeps.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::SqlLedger;
use super::requests::{checked_subjects, named, open_subjects, seal_subjects};
use super::statement::{Row, Session, query};
use super::write::{
    During, damaged, get, get_instant, get_instant_if_any, get_json, micros, new_id, to_json,
};
use crate::facts::ActiveHold;
use crate::id::{HoldId, TenantId};
use crate::ledger::entry::words;
use crate::ledger::{HoldRow, LedgerError, NewHold};

/// Records the order.
pub(super) async fn place(
    ledger: &SqlLedger,
    new: &NewHold,
    now: DateTime<Utc>,
) -> Result<HoldRow, LedgerError> {
    let subjects = checked_subjects(&new.subjects)?;
    let named = named(ledger, &new.tenant, &subjects);
    let id = HoldId::new(new_id("hold", now)?);
    let mut write = ledger.write("place a hold").await?;
    let sealed = seal_subjects(&mut write, id.as_str(), &subjects).await?;
    query(
        "INSERT INTO hold (hold_id, tenant, subjects, categories, authority, placed_at, sealed)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(id.as_str())
    .bind(new.tenant.as_str())
    .bind(to_json(&named)?)
    .bind(to_json(&new.categories)?)
    .bind(&new.authority)
    .bind(micros(now))
    .bind(sealed)
    .execute(write.connection())
    .await
    .during("place a hold")?;
    write.touch(&new.tenant).await?;
    let row = one(write.connection(), &id).await?;
    let fields = json!({
        "hold_id": id, "tenant": new.tenant, "subjects": named, "categories": new.categories,
        "authority_sha256": words(&new.authority),
    });
    write.append("hold-placed", fields, now).await?;
    write.commit().await?;
    Ok(row)
}

/// Ends it.
pub(super) async fn release(
    ledger: &SqlLedger,
    id: &HoldId,
    now: DateTime<Utc>,
) -> Result<HoldRow, LedgerError> {
    let mut write = ledger.write("release a hold").await?;
    let before = one(write.connection(), id).await?;
    if before.released_at.is_some() {
        return Err(LedgerError::State(format!("hold `{id}` is released already")));
    }
    query("UPDATE hold SET released_at = ?, sealed = NULL WHERE hold_id = ?")
        .bind(micros(now))
        .bind(id.as_str())
        .execute(write.connection())
        .await
        .during("release a hold")?;
    write.destroy_key(id.as_str()).await?;
    write.touch(&before.tenant).await?;
    let row = one(write.connection(), id).await?;
    write.append("hold-released", json!({"hold_id": id, "tenant": before.tenant}), now).await?;
    write.commit().await?;
    Ok(row)
}

/// All holds, in order of placing.
pub(super) async fn all(ledger: &SqlLedger) -> Result<Vec<HoldRow>, LedgerError> {
    query("SELECT * FROM hold ORDER BY number")
        .fetch_all(&mut ledger.look().await?)
        .await
        .during("read holds")?
        .iter()
        .map(row_of)
        .collect()
}

/// Holds that are in force, with what they name.
pub(super) async fn active(
    ledger: &SqlLedger,
    connection: &mut Session,
) -> Result<Vec<ActiveHold>, LedgerError> {
    let rows = query("SELECT * FROM hold WHERE released_at IS NULL ORDER BY number")
        .fetch_all(&mut *connection)
        .await
        .during("read holds")?;
    let mut holds = Vec::with_capacity(rows.len());
    for row in &rows {
        let HoldRow { hold_id, tenant, categories, .. } = row_of(row)?;
        let subjects = open_subjects(ledger, connection, hold_id.as_str(), &tenant, row).await?;
        holds.push(ActiveHold { hold_id, tenant, subjects, categories });
    }
    Ok(holds)
}

async fn one(connection: &mut Session, id: &HoldId) -> Result<HoldRow, LedgerError> {
    let row = query("SELECT * FROM hold WHERE hold_id = ?")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .during("read a hold")?;
    row_of(&row.ok_or_else(|| LedgerError::Unknown { what: "hold", id: id.as_str().to_owned() })?)
}

fn row_of(row: &Row) -> Result<HoldRow, LedgerError> {
    Ok(HoldRow {
        hold_id: HoldId::new(get::<String>(row, "hold_id")?),
        tenant: TenantId::observed(get(row, "tenant")?).ok_or_else(|| damaged("tenant"))?,
        subjects: get_json(row, "subjects")?,
        categories: get_json(row, "categories")?,
        authority: get(row, "authority")?,
        placed_at: get_instant(row, "placed_at")?,
        released_at: get_instant_if_any(row, "released_at")?,
    })
}
