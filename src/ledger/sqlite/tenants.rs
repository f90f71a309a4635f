//! The life cycle of tenants, and the facts that the planner asks for in one piece.
//! It owns the tenant and generation tables; it does not know how long a grace is.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::write::{
    During, damaged, get, get_instant, get_instant_if_any, micros, micros_up, read_generation, unsigned,
};
use super::{SqliteLedger, entitlements, exports, holds, requests};
use crate::facts::{LedgerFacts, TerminatedTenant};
use crate::id::TenantId;
use crate::ledger::entry::at;
use crate::ledger::{LedgerError, TenantRow, TenantState};

/// The tenant's account has ended.
pub(super) async fn terminate(
    ledger: &SqliteLedger,
    tenant: &TenantId,
    terminated_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<TenantRow, LedgerError> {
    let mut write = ledger.write("terminate a tenant").await?;
    if let Some(before) = one(write.connection(), tenant).await?
        && before.state == TenantState::Terminated
    {
        return Err(LedgerError::State(format!("tenant `{tenant}` is terminated already")));
    }
    sqlx::query(
        "INSERT INTO tenant (tenant, state, terminated_at, recorded_at) VALUES (?, 'terminated', ?, ?)
         ON CONFLICT (tenant) DO UPDATE SET state = excluded.state, terminated_at = excluded.terminated_at,
             recorded_at = excluded.recorded_at",
    )
    .bind(tenant.as_str())
    // Rounded up: the grace must not end early.
    .bind(micros_up(terminated_at))
    .bind(micros_up(now))
    .execute(write.connection())
    .await
    .during("terminate a tenant")?;
    write.touch(tenant).await?;
    let row = one(write.connection(), tenant).await?.ok_or_else(|| damaged("tenant"))?;
    let fields = json!({"tenant": tenant, "terminated_at": at(row.terminated_at.unwrap_or(terminated_at))});
    write.append("tenant-terminated", fields, now).await?;
    write.commit().await?;
    Ok(row)
}

/// The tenant's account lives again.
pub(super) async fn reinstate(
    ledger: &SqliteLedger,
    tenant: &TenantId,
    now: DateTime<Utc>,
) -> Result<TenantRow, LedgerError> {
    let mut write = ledger.write("reinstate a tenant").await?;
    match one(write.connection(), tenant).await? {
        None => return Err(LedgerError::State(format!("tenant `{tenant}` was never terminated"))),
        Some(before) => match before.state {
            TenantState::Active => {
                return Err(LedgerError::State(format!("tenant `{tenant}` is not terminated")));
            }
            TenantState::Terminated => {}
        },
    }
    sqlx::query("UPDATE tenant SET state = 'active', terminated_at = NULL, recorded_at = ? WHERE tenant = ?")
        .bind(micros(now))
        .bind(tenant.as_str())
        .execute(write.connection())
        .await
        .during("reinstate a tenant")?;
    write.touch(tenant).await?;
    let row = one(write.connection(), tenant).await?.ok_or_else(|| damaged("tenant"))?;
    write.append("tenant-reinstated", json!({"tenant": tenant}), now).await?;
    write.commit().await?;
    Ok(row)
}

/// Every tenant whose life cycle was ever told.
pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<TenantRow>, LedgerError> {
    sqlx::query("SELECT * FROM tenant ORDER BY tenant")
        .fetch_all(connection)
        .await
        .during("read tenants")?
        .iter()
        .map(row_of)
        .collect()
}

/// What the planner may know of the ledger, as of one instant.
pub(super) async fn facts(ledger: &SqliteLedger) -> Result<LedgerFacts, LedgerError> {
    let mut read = ledger.read("read the facts").await?;
    let terminated = all(&mut read)
        .await?
        .into_iter()
        .filter(|row| row.state == TenantState::Terminated)
        .map(|row| {
            let terminated_at = row.terminated_at.ok_or_else(|| damaged("terminated_at"))?;
            Ok(TerminatedTenant { tenant: row.tenant, terminated_at, recorded_at: row.recorded_at })
        })
        .collect::<Result<_, LedgerError>>()?;
    let requests = requests::open(ledger, &mut read).await?;
    let holds = holds::active(ledger, &mut read).await?;
    let entitlements = entitlements::active(&mut read).await?;
    let exports = exports::open(&mut read).await?;
    let generation = unsigned(read_generation(&mut read).await?, "generation")?;
    let rows = sqlx::query("SELECT tenant, generation FROM tenant_generation")
        .fetch_all(&mut *read)
        .await
        .during("read the facts")?;
    let generations = rows
        .iter()
        .map(|row| {
            let tenant = TenantId::observed(get(row, "tenant")?).ok_or_else(|| damaged("tenant"))?;
            Ok((tenant, unsigned(get(row, "generation")?, "generation")?))
        })
        .collect::<Result<BTreeMap<_, _>, LedgerError>>()?;
    let told = LedgerFacts { terminated, requests, holds, entitlements, exports, ..LedgerFacts::default() };
    Ok(LedgerFacts { generation, generations, ..told })
}

async fn one(connection: &mut SqliteConnection, tenant: &TenantId) -> Result<Option<TenantRow>, LedgerError> {
    let row = sqlx::query("SELECT * FROM tenant WHERE tenant = ?")
        .bind(tenant.as_str())
        .fetch_optional(connection)
        .await
        .during("read a tenant")?;
    row.as_ref().map(row_of).transpose()
}

fn row_of(row: &SqliteRow) -> Result<TenantRow, LedgerError> {
    Ok(TenantRow {
        tenant: TenantId::observed(get(row, "tenant")?).ok_or_else(|| damaged("tenant"))?,
        state: match get::<&str>(row, "state")? {
            "terminated" => TenantState::Terminated,
            "active" => TenantState::Active,
            _ => return Err(damaged("state")),
        },
        terminated_at: get_instant_if_any(row, "terminated_at")?,
        recorded_at: get_instant(row, "recorded_at")?,
    })
}
