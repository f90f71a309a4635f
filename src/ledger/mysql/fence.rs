//! The numbers by which holders of leases are told apart, and whether a name is held by somebody living.
//! It owns how both are asked; who holds what is `leases`'s.

use crate::ledger::LedgerError;
use crate::ledger::sql::statement::{Session, query};
use crate::ledger::sql::write::{During, Writing, damaged, meta_number};

/// True where somebody living holds it.
pub(super) async fn is_held(session: &mut Session, name: &'static str) -> Result<bool, sqlx::Error> {
    query(
        "SELECT 1 FROM lease JOIN executor ON executor.executor = lease.executor
         WHERE lease.name = ? AND executor.expires_at > CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)",
    )
    .bind(name)
    .exists(session)
    .await
}

/// A number that no holder of any lease had before.
pub(super) async fn next_fence(write: &mut Writing<'_>, operation: &'static str) -> Result<i64, LedgerError> {
    let fence = meta_number(write.connection(), "fence").await?;
    let fence = fence.checked_add(1).ok_or_else(|| damaged("fence"))?;
    query("UPDATE meta SET value = ? WHERE name = 'fence'")
        .bind(fence.to_string())
        .execute(write.connection())
        .await
        .during(operation)?;
    Ok(fence)
}
