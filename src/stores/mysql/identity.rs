//! Who a server is: its marker, what differs between it and a copy, and whether it is one that must not be erased on.
//! It erases nothing.

use super::catalogue::MARKER;
use super::session::Session;
use crate::id::StoreId;
use crate::stores::sql::{Sql, backticked};
use crate::stores::{ErrorKind, Identity, StoreError};

/// Facts that differ between a server and its replica, its copy or its namesake. The list is of `MySQL`'s and
/// `MariaDB`'s; each server knows some of them.
const FACTS: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
     ('server_uuid', 'server_id', 'hostname', 'port', 'datadir')";

/// Who the server says it is.
pub(super) async fn identity(session: &mut Session<'_>) -> Result<Identity, StoreError> {
    let mut facts = Vec::new();
    for row in session.raw_rows(FACTS).await? {
        facts.push((session.trouble.text(&row, 0)?, session.trouble.text(&row, 1)?));
    }
    facts.sort();
    let mut facts: Vec<String> = facts.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    facts.push(format!("database={}", session.schema));
    let (ledger_id, store) = marker(session).await?.unzip();
    Ok(Identity { ledger_id, store, fingerprint: facts.join(" ") })
}

/// Leaves the marker. A table for it that somebody made in advance, empty, is used: so the user that erases need not
/// be allowed to make tables.
pub(super) async fn mark(
    session: &mut Session<'_>,
    ledger_id: &str,
    store: &StoreId,
) -> Result<(), StoreError> {
    if marker(session).await?.is_some() {
        return Err(session.trouble.of(ErrorKind::Identity, "it carries a marker already"));
    }
    let table = table(session);
    if !has_table(session).await? {
        session.execute(&Sql::new(&create_table(&table))).await?;
    }
    let row = Sql::new(&format!("INSERT INTO {table} (ledger_id, store) VALUES ("))
        .bind_text(ledger_id)
        .push(", ")
        .bind_text(store.as_str())
        .push(")");
    session.execute(&row).await?;
    Ok(())
}

/// Makes the table of the marker, whose quoted name is given. The one row of it: whoever comes second is refused by its
/// key.
pub(super) fn create_table(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (one TINYINT NOT NULL DEFAULT 1 PRIMARY KEY, \
         ledger_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
         store VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL) ENGINE = InnoDB"
    )
}

/// Erasing on a server that is read-only would be refused or, with too many privileges, would be done on a replica.
pub(super) async fn refuse_read_only(session: &mut Session<'_>) -> Result<(), StoreError> {
    // By its shown value: newer servers know more words than OFF and ON, and as a number all of those are 0.
    let answer = session.raw_rows("SHOW GLOBAL VARIABLES WHERE Variable_name = 'read_only'").await?;
    if let [row] = answer.as_slice()
        && session.trouble.text(row, 1)? == "OFF"
    {
        return Ok(());
    }
    Err(session
        .trouble
        .of(ErrorKind::Identity, "the server is read-only: it may be a replica; name the primary"))
}

/// A server that follows another one gets its changes from there.
pub(super) async fn refuse_replica(session: &mut Session<'_>) -> Result<(), StoreError> {
    // The first is what MySQL 8.4 knows alone, the second what older ones do. Without the privilege nobody can tell.
    for question in ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"] {
        match session.raw_rows(question).await {
            Ok(sources) if sources.is_empty() => return Ok(()),
            Ok(_) => {
                return Err(session
                    .trouble
                    .of(ErrorKind::Identity, "the server is a replica of another one; name the primary"));
            }
            Err(error) if error.retry == crate::stores::Retry::Later => return Err(error),
            Err(_) => {}
        }
    }
    Ok(())
}

/// The ledger and the name in the marker; `None` where there is no marker table, or nothing in it.
async fn marker(session: &mut Session<'_>) -> Result<Option<(String, String)>, StoreError> {
    if !has_table(session).await? {
        return Ok(None);
    }
    let sql = Sql::new(&format!("SELECT ledger_id, store FROM {} LIMIT 2", table(session)));
    let rows = session.rows(&sql).await?;
    match rows.as_slice() {
        [] => Ok(None),
        [row] => Ok(Some((session.trouble.text(row, 0)?, session.trouble.text(row, 1)?))),
        _ => {
            Err(session.trouble.of(ErrorKind::Identity, "its marker does not say which ledger it belongs to"))
        }
    }
}

async fn has_table(session: &mut Session<'_>) -> Result<bool, StoreError> {
    let sql = Sql::new("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ")
        .bind_text(session.schema)
        .push(" AND TABLE_NAME = ")
        .bind_text(MARKER);
    Ok(session.count(&sql).await? > 0)
}

fn table(session: &Session<'_>) -> String {
    format!("{}.{}", backticked(session.schema), backticked(MARKER))
}
