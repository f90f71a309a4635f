//! One connection to a SQLite file: how it is opened, how statements are sent over it, and what its errors mean.
//! It knows no table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, ValueRef};
use tokio::sync::{Mutex, MutexGuard};

use super::{instants, predicate};
use crate::id::StoreId;
use crate::stores::sql::Sql;
use crate::stores::{ErrorKind, Retry, StoreError, Value};

/// How long a statement waits for somebody else's lock before it is given up, to be tried again later.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages in a write-ahead log before SQLite copies them back by itself. The default of 1,000 made a run write ten
/// times as much, since each batch dirties the same index pages again.
const WAL_AUTOCHECKPOINT_PAGES: &str = "50000";

/// Page cache of the connection that erases, in KiB (SQLite wants them negative). An index on random values is touched
/// all over by each batch; with the default of 2 MiB its pages are written out and read again within one batch.
const WRITER_CACHE: &str = "-24000";

/// Page cache of the connection that looks, in KiB: it reads windows once, and rows behind an index.
const READER_CACHE: &str = "-4000";

/// A connection and whose it is.
#[derive(Debug)]
pub(super) struct Link {
    /// The store, for errors.
    pub(super) store: StoreId,
    /// The database file.
    pub(super) path: PathBuf,
    connection: Mutex<SqliteConnection>,
}

impl Link {
    /// Opens for looking only: SQLite itself refuses every change.
    pub(super) async fn open_reader(store: &StoreId, path: &Path) -> Result<Self, StoreError> {
        Self::open(store, path, guarded(path).read_only(true).pragma("cache_size", READER_CACHE)).await
    }

    /// Opens for erasing.
    pub(super) async fn open_writer(store: &StoreId, path: &Path) -> Result<Self, StoreError> {
        let options = guarded(path)
            .foreign_keys(true)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)
            .pragma("cache_size", WRITER_CACHE)
            // Keys of doomed rows wait in a temporary table; they never reach a disk.
            .pragma("temp_store", "MEMORY");
        Self::open(store, path, options).await
    }

    /// Takes the connection for one operation. Operations on one connection queue up.
    pub(super) async fn session(&self, operation: &'static str) -> Session<'_> {
        let connection = self.connection.lock().await;
        Session { trouble: Trouble { store: &self.store, operation }, path: &self.path, connection }
    }

    async fn open(store: &StoreId, path: &Path, options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let trouble = Trouble { store, operation: "open" };
        match std::fs::metadata(path) {
            Ok(file) if file.is_file() => {}
            Ok(_) => return Err(trouble.of(ErrorKind::Unreachable, "it is not a file")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(trouble.of(ErrorKind::Unreachable, "the file does not exist"));
            }
            Err(error) => return Err(trouble.of(ErrorKind::Unreachable, &error.to_string())),
        }
        let connection = options.connect().await.map_err(|error| trouble.from(&error))?;
        let link = Self { store: store.clone(), path: path.to_owned(), connection: Mutex::new(connection) };
        let mut session = link.session("open").await;
        if let Some(row) = session.row(&Sql::new("PRAGMA encoding")).await?
            && session.get::<String>(&row, 0)? != "UTF-8"
        {
            // Text would reach us in another encoding than the one in which we compare.
            return Err(trouble.schema("its texts are not encoded in UTF-8".to_owned()));
        }
        drop(session);
        Ok(link)
    }
}

/// Options for a file that somebody else wrote: nothing in its schema runs unseen, and a damaged page is an error.
fn guarded(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .pragma("mmap_size", "0")
        .collation(instants::COLLATION, instants::compare)
        .collation(instants::PLAIN, instants::compare_plain)
        .collation(predicate::NOBODY, predicate::compare_names)
        .disable_statement_logging()
}

/// What an error needs to know of its surroundings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble<'a> {
    pub(super) store: &'a StoreId,
    pub(super) operation: &'static str,
}

impl Trouble<'_> {
    /// An error of our own that trying again does not help.
    pub(super) fn of(&self, kind: ErrorKind, message: &str) -> StoreError {
        self.error(kind, Retry::Never, message.to_owned())
    }

    /// The policy and the schema do not fit.
    pub(super) fn schema(&self, message: String) -> StoreError {
        self.error(ErrorKind::Schema, Retry::Never, message)
    }

    /// An error that passes.
    pub(super) fn later(&self, message: &str) -> StoreError {
        self.error(ErrorKind::Refused, Retry::Later, message.to_owned())
    }

    /// What an error of the driver means.
    ///
    /// SQLite names tables, columns and constraints in its messages and never a value, with one exception: what a
    /// trigger raises is the trigger's own text, so it is left out.
    pub(super) fn from(&self, error: &sqlx::Error) -> StoreError {
        let sqlx::Error::Database(database) = error else {
            if let sqlx::Error::Io(io) = error {
                return self.error(ErrorKind::Unreachable, Retry::Later, io.to_string());
            }
            return if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
                self.of(
                    ErrorKind::Refused,
                    "a stored value is not of the type that it is read as, or not UTF-8",
                )
            } else {
                self.of(ErrorKind::Unreachable, "the connection is not usable any more")
            };
        };
        let code = database.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(1);
        let message = database.message().to_owned();
        // https://www.sqlite.org/rescode.html: the low byte is the primary code.
        match (code & 0xff, code) {
            (5 | 6, _) => self.later("the database is locked by somebody else"),
            // SQLITE_READONLY_ROLLBACK: looking may not write, and rolling back writes.
            (_, 776) => self.of(
                ErrorKind::Unreachable,
                "whoever wrote last died in the middle; the next run, or the next who writes, rolls it back",
            ),
            (8, _) => self.of(ErrorKind::Refused, "the database is read-only"),
            (_, 1811) => self.of(ErrorKind::Refused, "a trigger refused"),
            (3 | 19 | 20 | 23, _) => self.error(ErrorKind::Refused, Retry::Never, message),
            (13, _) => self.later("the disk is full"),
            (1 | 17, _) => self.error(ErrorKind::Schema, Retry::Never, message),
            (10, _) => self.error(ErrorKind::Unreachable, Retry::Later, message),
            _ => self.error(ErrorKind::Unreachable, Retry::Never, message),
        }
    }

    fn error(&self, kind: ErrorKind, retry: Retry, message: String) -> StoreError {
        StoreError { kind, retry, operation: self.operation, store: self.store.clone(), message }
    }
}

/// A connection taken for one operation.
pub(super) struct Session<'a> {
    pub(super) trouble: Trouble<'a>,
    pub(super) path: &'a Path,
    connection: MutexGuard<'a, SqliteConnection>,
}

impl<'a> Session<'a> {
    /// All rows of an answer. Callers ask only what is bounded: a batch, or one row per tenant.
    pub(super) async fn rows(&mut self, sql: &Sql) -> Result<Vec<SqliteRow>, StoreError> {
        let trouble = self.trouble;
        sql.sqlite().fetch_all(&mut *self.connection).await.map_err(|error| trouble.from(&error))
    }

    /// How SQLite would go about a statement, one line per step. Prepared anew: a kept plan outlives its index.
    pub(super) async fn plan(&mut self, sql: &Sql) -> Result<Vec<String>, StoreError> {
        let trouble = self.trouble;
        let sql = Sql::new("EXPLAIN QUERY PLAN ").append(sql);
        let steps = sql.sqlite().persistent(false).fetch_all(&mut *self.connection).await;
        let steps = steps.map_err(|error| trouble.from(&error))?;
        steps.iter().map(|row| trouble.get(row, 3)).collect()
    }

    /// The first row of an answer, if there is one.
    pub(super) async fn row(&mut self, sql: &Sql) -> Result<Option<SqliteRow>, StoreError> {
        Ok(self.rows(sql).await?.into_iter().next())
    }

    /// The one number that is asked for; NULL and no row are `None`.
    pub(super) async fn number(&mut self, sql: &Sql) -> Result<Option<i64>, StoreError> {
        let trouble = self.trouble;
        match self.row(sql).await? {
            Some(row) => row.try_get_unchecked(0).map_err(|error| trouble.from(&error)),
            None => Ok(None),
        }
    }

    /// Runs a statement; how many rows it changed.
    pub(super) async fn execute(&mut self, sql: &Sql) -> Result<u64, StoreError> {
        let trouble = self.trouble;
        let done = sql.sqlite().execute(&mut *self.connection).await.map_err(|error| trouble.from(&error))?;
        Ok(done.rows_affected())
    }

    /// Begins to write: takes the lock at once, so that nothing changes between counting and erasing. Without
    /// [`Writing::commit`] everything is rolled back.
    pub(super) async fn writing(&mut self) -> Result<Writing<'_>, StoreError> {
        let trouble = self.trouble;
        let transaction =
            self.connection.begin_with("BEGIN IMMEDIATE").await.map_err(|error| trouble.from(&error))?;
        Ok(Writing { trouble: Trouble { store: trouble.store, operation: trouble.operation }, transaction })
    }

    /// Reads a column of a row.
    pub(super) fn get<'r, T>(&self, row: &'r SqliteRow, index: usize) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite>,
    {
        self.trouble.get(row, index)
    }
}

impl Trouble<'_> {
    /// Reads a column of a row.
    pub(super) fn get<'r, T>(&self, row: &'r SqliteRow, index: usize) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite>,
    {
        row.try_get_unchecked(index).map_err(|error| self.from(&error))
    }

    /// Reads a count.
    pub(super) fn count(&self, row: &SqliteRow, index: usize) -> Result<u64, StoreError> {
        let count: i64 = self.get(row, index)?;
        u64::try_from(count).map_err(|_| self.of(ErrorKind::Unreachable, "a count is negative"))
    }

    /// Reads a column with the type that its value has; NULL is `None`.
    pub(super) fn value(&self, row: &SqliteRow, index: usize) -> Result<Option<Value>, StoreError> {
        let raw = row.try_get_raw(index).map_err(|error| self.from(&error))?;
        if raw.is_null() {
            return Ok(None);
        }
        let stored = sqlx::TypeInfo::name(&*raw.type_info()).to_owned();
        match stored.as_str() {
            "INTEGER" => Ok(Some(Value::Int(self.get(row, index)?))),
            "TEXT" => Ok(Some(Value::Text(self.get(row, index)?))),
            "BLOB" => Ok(Some(Value::Bytes(self.get(row, index)?))),
            _ => {
                Err(self
                    .schema("a key holds a fractional number, which does not name a row exactly".to_owned()))
            }
        }
    }
}

/// A transaction that holds the write lock.
pub(super) struct Writing<'a> {
    pub(super) trouble: Trouble<'a>,
    transaction: sqlx::Transaction<'a, sqlx::Sqlite>,
}

impl Writing<'_> {
    /// As [`Session::rows`], inside the transaction.
    pub(super) async fn rows(&mut self, sql: &Sql) -> Result<Vec<SqliteRow>, StoreError> {
        let trouble = self.trouble;
        sql.sqlite().fetch_all(&mut *self.transaction).await.map_err(|error| trouble.from(&error))
    }

    /// As [`Session::number`], inside the transaction.
    pub(super) async fn number(&mut self, sql: &Sql) -> Result<Option<i64>, StoreError> {
        let trouble = self.trouble;
        match self.rows(sql).await?.first() {
            Some(row) => row.try_get_unchecked(0).map_err(|error| trouble.from(&error)),
            None => Ok(None),
        }
    }

    /// As [`Session::execute`], inside the transaction.
    pub(super) async fn execute(&mut self, sql: &Sql) -> Result<u64, StoreError> {
        let trouble = self.trouble;
        let done =
            sql.sqlite().execute(&mut *self.transaction).await.map_err(|error| trouble.from(&error))?;
        Ok(done.rows_affected())
    }

    /// Makes it so; committed when it returns.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let trouble = self.trouble;
        self.transaction.commit().await.map_err(|error| trouble.from(&error))
    }

    /// Leaves everything as it was.
    pub(super) async fn rollback(self) -> Result<(), StoreError> {
        let trouble = self.trouble;
        self.transaction.rollback().await.map_err(|error| trouble.from(&error))
    }
}
