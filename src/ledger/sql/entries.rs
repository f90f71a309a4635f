//! Audit entries as the ledger numbers them, and the head that was last about to be signed.
//! It owns reading them back; they are appended with the facts that they record (`write`).

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::SqlLedger;
use super::statement::query;
use super::write::{During, damaged, get, signed, unsigned};
use crate::ledger::{Entry, Head, LedgerError};

/// An entry that records no other fact.
pub(super) async fn record(
    ledger: &SqlLedger,
    kind: &str,
    fields: Value,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let mut write = ledger.write("record an audit entry").await?;
    write.append(kind, fields, now).await?;
    write.commit().await
}

/// How many there are.
pub(super) async fn count(ledger: &SqlLedger) -> Result<u64, LedgerError> {
    let count = query("SELECT coalesce(max(idx) + 1, 0) FROM entry")
        .number(&mut ledger.look().await?)
        .await
        .during("count audit entries")?;
    unsigned(count, "idx")
}

/// Entries from an index on. A gap is damage, not an end.
pub(super) async fn from(ledger: &SqlLedger, first: u64, most: u32) -> Result<Vec<Entry>, LedgerError> {
    let rows = query("SELECT idx, body FROM entry WHERE idx >= ? ORDER BY idx LIMIT ?")
        .bind(signed(first)?)
        .bind(most)
        .fetch_all(&mut ledger.look().await?)
        .await
        .during("read audit entries")?;
    (first..)
        .zip(&rows)
        .map(|(index, row)| {
            if unsigned(get(row, "idx")?, "idx")? != index {
                return Err(damaged("entry"));
            }
            Ok(Entry { index, body: get(row, "body")? })
        })
        .collect()
}

/// The head.
pub(super) async fn head(ledger: &SqlLedger) -> Result<Option<Head>, LedgerError> {
    let row = query("SELECT size, root FROM head")
        .fetch_optional(&mut ledger.look().await?)
        .await
        .during("read the audit head")?;
    row.map(|row| Ok(Head { size: unsigned(get(&row, "size")?, "size")?, root: get(&row, "root")? }))
        .transpose()
}

/// Records the head that is about to be signed. It only ever grows, and covers no entry that is not there.
pub(super) async fn set_head(ledger: &SqlLedger, head: &Head) -> Result<(), LedgerError> {
    let mut write = ledger.write("record the audit head").await?;
    let row = query("SELECT size, root FROM head")
        .fetch_optional(write.connection())
        .await
        .during("record the audit head")?;
    if let Some(row) = row {
        let size = unsigned(get(&row, "size")?, "size")?;
        if head.size < size || head.size == size && head.root != get::<&str>(&row, "root")? {
            return Err(LedgerError::Doubt(format!(
                "the audit log has a head over {} entries that does not follow the one over {size} entries",
                head.size
            )));
        }
    }
    let entries = query("SELECT coalesce(max(idx) + 1, 0) FROM entry")
        .number(write.connection())
        .await
        .during("record the audit head")?;
    if head.size > unsigned(entries, "idx")? {
        return Err(LedgerError::Doubt(format!(
            "the audit log has a head over {} entries, the ledger has {entries}",
            head.size
        )));
    }
    query("REPLACE INTO head (one, size, root) VALUES (1, ?, ?)")
        .bind(signed(head.size)?)
        .bind(&head.root)
        .execute(write.connection())
        .await
        .during("record the audit head")?;
    write.commit().await
}
