//! The ledger on `SQLite`, the embedded default: one file, any number of processes on one machine.
//! It owns the files, and the locks between processes; the statements are in `sql`.
//!
//! Facts are written in `BEGIN IMMEDIATE` transactions with the log forced to disk (`synchronous = FULL`), read
//! from snapshots. Locks are files beside the database (`locks`). How to back it up is in `docs/backup.md`.

mod locks;
mod open;

use std::any::Any;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::Row;
use sqlx::sqlite::SqlitePool;

use self::locks::Locks;
use super::LedgerError;
use super::sql::SqlLedger;
use super::sql::statement::Session;
use super::sql::write::During;

pub(super) use self::locks::{Held, Lock};

/// A ledger in a `SQLite` file.
pub type SqliteLedger = SqlLedger;

/// The files of a ledger.
pub(super) struct Files {
    /// One connection, so that the tasks of a process queue here instead of failing in the database. `None` where
    /// the ledger is open for reading only.
    writer: Option<SqlitePool>,
    readers: SqlitePool,
    locks: Locks,
    /// True while bytes of a destroyed key may still be in the write-ahead log.
    remains: AtomicBool,
}

impl SqlLedger {
    /// Opens the ledger in a file for writing. Makes the database (0600), its schema and the key file (0600) where they
    /// are missing, and brings an older schema up to date.
    ///
    /// # Errors
    /// [`LedgerError::Doubt`] where the file is some other database, or was made by a newer version, or the key
    /// file is missing, is another one, or can be read by others; [`LedgerError::Unreachable`] where the folder is
    /// missing or the file cannot be read or written.
    pub async fn open(path: &Path, key_file: &Path) -> Result<Self, LedgerError> {
        open::open(path, key_file).await
    }

    /// Opens the ledger in a file for reading; `None` where there is none yet. Makes and changes nothing; every method
    /// that would is refused.
    ///
    /// # Errors
    /// As [`SqlLedger::open`]; also [`LedgerError::Doubt`] where the schema is an older one.
    pub async fn open_read_only(path: &Path, key_file: &Path) -> Result<Option<Self>, LedgerError> {
        open::open_read_only(path, key_file).await
    }
}

impl Files {
    pub(super) async fn close(&self) {
        self.readers.close().await;
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }

    fn writer(&self, operation: &'static str) -> Result<&SqlitePool, LedgerError> {
        self.writer.as_ref().ok_or_else(|| LedgerError::Unreachable {
            operation,
            message: "it is open for reading only".to_owned(),
        })
    }

    /// Begins a writing transaction; waits for other writers.
    pub(super) async fn begin(&self, operation: &'static str) -> Result<Session, LedgerError> {
        let transaction = self.writer(operation)?.begin_with("BEGIN IMMEDIATE").await;
        Ok(Session::SqliteWork(transaction.during(operation)?))
    }

    /// Begins to read: everything that is read is as of one instant.
    pub(super) async fn snapshot(&self, operation: &'static str) -> Result<Session, LedgerError> {
        Ok(Session::SqliteWork(self.readers.begin().await.during(operation)?))
    }

    /// A connection for one look.
    pub(super) async fn look(&self) -> Result<Session, LedgerError> {
        Ok(Session::Sqlite(self.readers.acquire().await.during("read")?))
    }

    /// Waits until nobody else holds the lock, then holds it until the guard is dropped or the process dies.
    pub(super) async fn claim(
        &self,
        lock: Lock,
        operation: &'static str,
    ) -> Result<Box<dyn Any + Send>, LedgerError> {
        self.writer(operation)?;
        Ok(Box::new(self.locks.exclusive(lock).await?))
    }

    /// Shares a lock.
    pub(super) async fn share(&self, lock: Lock, operation: &'static str) -> Result<Held, LedgerError> {
        self.writer(operation)?;
        self.locks.shared(lock).await
    }

    /// After a commit: what was destroyed leaves the files too.
    pub(super) async fn tidy_up(&self, has_destroyed: bool) {
        if has_destroyed {
            self.remains.store(true, Ordering::Release);
        }
        if self.remains.load(Ordering::Acquire) {
            self.truncate_log().await;
        }
    }

    /// Makes the bytes of a destroyed key leave the write-ahead log. A reader of an older state can keep them
    /// there; then the next write tries again, and so does the next opening.
    async fn truncate_log(&self) {
        let Some(writer) = &self.writer else { return };
        let truncated = async {
            let mut connection = writer.acquire().await?;
            // A long reader must not keep a hold or a batch waiting for the full busy time.
            sqlx::query("PRAGMA busy_timeout = 200").execute(&mut *connection).await?;
            let busy = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
            sqlx::query("PRAGMA busy_timeout = 10000").execute(&mut *connection).await?;
            busy?.try_get::<i64, _>(0)
        }
        .await;
        match truncated {
            Ok(0) => self.remains.store(false, Ordering::Release),
            Ok(_) => tracing::debug!(
                "a reader keeps the write-ahead log of the ledger; tried again at the next write"
            ),
            Err(error) => tracing::warn!(%error, "failed to truncate the write-ahead log of the ledger"),
        }
    }
}
