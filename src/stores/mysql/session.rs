//! One connection to a `MySQL` or `MariaDB` server: how it is opened and pinned, how statements are sent over it, and how
//! it is opened again when it is lost. It knows no table, and what errors mean is `trouble`'s business.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::{Column, ConnectOptions, Decode, MySql, MySqlConnection, Row, TypeInfo};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use super::identity;
use super::trouble::{Trouble, is_lost};
use crate::clock::Stopwatch;
use crate::config::server_options;
use crate::id::StoreId;
use crate::stores::sql::Sql;
use crate::stores::{ErrorKind, StoreError};

/// How long a server may take to accept a connection. A host that swallows packets must not stop a run.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long one statement may take. Counting a table without an index is the longest that is ever asked.
const LOOK_PATIENCE: Duration = Duration::from_secs(900);

/// How long an erasing statement may take: it holds locks, and a batch is small.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// How long a look at foreign keys and triggers is believed. It asks every table of the server, which is too much for
/// every batch; who adds a cascade in the middle of a run is noticed within this.
const CLEAR_FOR: Duration = Duration::from_secs(60);

/// What every connection is set to, whatever the server's own settings are; all of it is checked afterwards. Invalid dates are
/// allowed, since tables may hold them and they are compared with.
const PINNED: &str = "SET SESSION autocommit = 1, time_zone = '+00:00', \
     sql_mode = 'STRICT_TRANS_TABLES,ALLOW_INVALID_DATES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
     lock_wait_timeout = 1, innodb_lock_wait_timeout = 1, foreign_key_checks = 1, completion_type = 0, \
     sql_big_selects = 1, sql_select_limit = 18446744073709551615";

/// Statements and results in UTF-8; texts of ours compare as code points.
const NAMES: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_bin";

/// Only what is erased is locked, and every statement sees what is committed.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// The server itself refuses every change.
const READ_ONLY: &str = "SET SESSION TRANSACTION READ ONLY";

/// What some servers do not know or do not grant. The binary log then keeps less: keys only, not what was erased.
const WISHES: [&str; 3] = [
    "SET SESSION default_regex_flags = ''",
    "SET SESSION in_predicate_conversion_threshold = 0",
    "SET SESSION binlog_row_image = MINIMAL",
];

/// What the pinned settings read back as.
const PINS: [(&[&str], &str); 6] = [
    (&["autocommit"], "ON"),
    (&["foreign_key_checks"], "ON"),
    // A server that cuts answers short would hide what is still there.
    (&["sql_select_limit"], "18446744073709551615"),
    (&["time_zone"], "+00:00"),
    (&["tx_isolation", "transaction_isolation"], "READ-COMMITTED"),
    (
        &["sql_mode"],
        "STRICT_TRANS_TABLES,ALLOW_INVALID_DATES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
    ),
];

/// The server and database of a store, and how its connection is used.
pub(super) struct Link {
    store: StoreId,
    options: MySqlConnectOptions,
    schema: String,
    role: Role,
    wire: Mutex<Wire>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Look,
    Erase,
}

/// A connection, if there is one at the moment.
#[derive(Debug, Default)]
struct Wire {
    connection: Option<MySqlConnection>,
    /// A transaction was begun and not ended: whoever finds it so closes the connection, and the server rolls back.
    in_transaction: bool,
    /// Tables in whose schema nothing was found that erases more than is asked, and when that was.
    clear: BTreeMap<String, Stopwatch>,
}

impl std::fmt::Debug for Link {
    // The options hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("store", &self.store).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Link {
    /// Opens for looking only: the server itself refuses every change.
    pub(super) async fn open_reader(store: &StoreId, url: &SecretString) -> Result<Self, StoreError> {
        Self::open(store, url, Role::Look).await
    }

    /// Opens for erasing.
    pub(super) async fn open_writer(store: &StoreId, url: &SecretString) -> Result<Self, StoreError> {
        Self::open(store, url, Role::Erase).await
    }

    /// The user and the database of an address; `None` where it cannot be read or names no database.
    pub(super) fn names_in(url: &SecretString) -> Option<(String, String)> {
        let options = server_options(url)?;
        let database = options.get_database().filter(|database| !database.is_empty())?;
        Some((options.get_username().to_owned(), database.to_owned()))
    }

    /// Takes the connection for one operation, and opens it again where it was lost. Operations queue up.
    pub(super) async fn session(&self, operation: &'static str) -> Result<Session<'_>, StoreError> {
        let trouble = Trouble { store: &self.store, operation };
        let mut wire = self.wire.lock().await;
        if wire.in_transaction {
            *wire = Wire::default();
        }
        let patience = match self.role {
            Role::Look => LOOK_PATIENCE,
            Role::Erase => WRITE_PATIENCE,
        };
        let is_new = wire.connection.is_none();
        if is_new {
            wire.connection = Some(self.connect(trouble).await?);
        }
        let mut session = Session { trouble, schema: &self.schema, patience, wire };
        if self.role == Role::Erase {
            // Another server may have taken over since, behind the same address.
            identity::refuse_read_only(&mut session).await?;
            if is_new {
                identity::refuse_replica(&mut session).await?;
            }
        }
        Ok(session)
    }

    async fn open(store: &StoreId, url: &SecretString, role: Role) -> Result<Self, StoreError> {
        let trouble = Trouble { store, operation: "open" };
        let options = server_options(url).ok_or_else(|| {
            trouble.of(ErrorKind::Schema, "its url cannot be read; write mysql://USER:PASSWORD@HOST/DATABASE")
        })?;
        let schema = options
            .get_database()
            .filter(|database| !database.is_empty())
            .ok_or_else(|| trouble.of(ErrorKind::Schema, "its url names no database: mysql://HOST/DATABASE"))?
            .to_owned();
        let link = Self { store: store.clone(), options, schema, role, wire: Mutex::default() };
        drop(link.session("open").await?);
        Ok(link)
    }

    async fn connect(&self, trouble: Trouble<'_>) -> Result<MySqlConnection, StoreError> {
        let connected = timeout(CONNECT_PATIENCE, async {
            let mut connection = self.options.connect().await?;
            for statement in [PINNED, NAMES, ISOLATION] {
                sqlx::raw_sql(statement).execute(&mut connection).await?;
            }
            for wish in WISHES {
                match sqlx::raw_sql(wish).execute(&mut connection).await {
                    Ok(_) | Err(sqlx::Error::Database(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            if self.role == Role::Look {
                sqlx::raw_sql(READ_ONLY).execute(&mut connection).await?;
            }
            let settings = sqlx::raw_sql(
                "SHOW SESSION VARIABLES WHERE Variable_name IN \
                 ('autocommit', 'foreign_key_checks', 'sql_select_limit', 'time_zone', 'tx_isolation', \
                 'transaction_isolation', 'sql_mode')",
            )
            .fetch_all(&mut connection)
            .await?;
            Ok((connection, settings))
        })
        .await;
        let (connection, settings) = match connected {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(trouble.from(&error)),
            Err(_) => return Err(trouble.lost("the server does not answer")),
        };
        let mut found = Vec::new();
        for row in &settings {
            found.push((trouble.text(row, 0)?, trouble.text(row, 1)?));
        }
        for (names, expected) in PINS {
            let is_set =
                found.iter().any(|(name, value)| names.contains(&name.as_str()) && value == expected);
            if !is_set {
                let message = format!("the session does not keep its setting of `{}`", names.join("` or `"));
                return Err(trouble.of(ErrorKind::Unreachable, &message));
            }
        }
        Ok(connection)
    }
}

/// One step of how the server goes about a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlanStep {
    /// The table read; empty where the server knows without reading.
    pub(super) table: String,
    /// `range`, `ref`, `ALL` …
    pub(super) access: String,
    /// The index, if one leads.
    pub(super) index: String,
    /// How many rows the server thinks that it reads.
    pub(super) rows: u64,
}

/// The server's guess at the rows of a step; where it does not say, none. `MariaDB` writes it as text.
fn rows_read(row: &MySqlRow) -> u64 {
    let Some(column) = row.columns().iter().find(|column| column.name() == "rows") else { return 0 };
    let place = column.ordinal();
    if column.type_info().name().contains("INT") {
        let rows: Option<i64> = row.try_get_unchecked(place).unwrap_or(None);
        return rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0);
    }
    let rows: Option<Vec<u8>> = row.try_get_unchecked(place).unwrap_or(None);
    rows.and_then(|rows| String::from_utf8(rows).ok()).and_then(|rows| rows.parse().ok()).unwrap_or(0)
}

/// A connection taken for one operation.
pub(super) struct Session<'a> {
    pub(super) trouble: Trouble<'a>,
    /// The database.
    pub(super) schema: &'a str,
    patience: Duration,
    wire: MutexGuard<'a, Wire>,
}

impl Session<'_> {
    /// All rows of an answer. Callers ask only what is bounded: a batch, or one row per tenant.
    pub(super) async fn rows(&mut self, sql: &Sql) -> Result<Vec<MySqlRow>, StoreError> {
        let query = sql.mysql();
        self.send(async |connection| query.fetch_all(connection).await).await
    }

    /// The same for a statement that servers do not prepare.
    pub(super) async fn raw_rows(&mut self, sql: &'static str) -> Result<Vec<MySqlRow>, StoreError> {
        self.send(async |connection| sqlx::raw_sql(sql).fetch_all(connection).await).await
    }

    /// The first row of an answer, if there is one.
    pub(super) async fn row(&mut self, sql: &Sql) -> Result<Option<MySqlRow>, StoreError> {
        Ok(self.rows(sql).await?.into_iter().next())
    }

    /// The one number that is asked for; NULL and no row are `None`.
    pub(super) async fn number(&mut self, sql: &Sql) -> Result<Option<i64>, StoreError> {
        match self.row(sql).await? {
            Some(row) => self.trouble.get(&row, 0),
            None => Ok(None),
        }
    }

    /// The one count that is asked for.
    pub(super) async fn count(&mut self, sql: &Sql) -> Result<u64, StoreError> {
        let count = self.number(sql).await?.unwrap_or(0);
        u64::try_from(count).map_err(|_| self.trouble.of(ErrorKind::Unreachable, "a count is negative"))
    }

    /// Runs a statement; how many rows it changed (of an update: matched).
    pub(super) async fn execute(&mut self, sql: &Sql) -> Result<u64, StoreError> {
        let query = sql.mysql();
        Ok(self.send(async |connection| query.execute(connection).await).await?.rows_affected())
    }

    /// How the server would go about a statement. Prepared anew: a kept plan outlives its index.
    pub(super) async fn plan(&mut self, sql: &Sql) -> Result<Vec<PlanStep>, StoreError> {
        let query = Sql::new("EXPLAIN ").append(sql).mysql().persistent(false);
        let rows = self.send(async |connection| query.fetch_all(connection).await).await?;
        // MySQL has columns that MariaDB has not, so they are told by name.
        let text = |row: &MySqlRow, name: &str| {
            let place = row.columns().iter().position(|column| column.name() == name);
            place.map_or(Ok(String::new()), |place| self.trouble.text(row, place))
        };
        rows.iter()
            .map(|row| {
                Ok(PlanStep {
                    table: text(row, "table")?,
                    access: text(row, "type")?,
                    index: text(row, "key")?,
                    rows: rows_read(row),
                })
            })
            .collect()
    }

    /// Begins a transaction. Without [`Session::commit`] or [`Session::rollback`] the connection is closed by whoever
    /// takes it next.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        self.wire.in_transaction = true;
        self.raw("START TRANSACTION").await
    }

    /// Makes it so; committed when it returns. Where the answer is lost nobody knows, and the error says so: asking
    /// again finds out, since what is gone is then counted as absent.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        self.raw("COMMIT").await?;
        self.wire.in_transaction = false;
        Ok(())
    }

    /// Leaves everything as it was; closes the connection where that cannot be said over it.
    pub(super) async fn rollback(&mut self) {
        match self.raw("ROLLBACK").await {
            Ok(()) => self.wire.in_transaction = false,
            Err(_) => *self.wire = Wire::default(),
        }
    }

    /// True where somebody looked a short time ago and found that erasing in a table reaches nothing else.
    pub(super) fn is_clear(&self, table: &str) -> bool {
        self.wire.clear.get(table).is_some_and(|since| since.elapsed() < CLEAR_FOR)
    }

    /// Somebody looked just now.
    pub(super) fn note_clear(&mut self, table: &str) {
        self.wire.clear.insert(table.to_owned(), Stopwatch::start());
    }

    async fn raw(&mut self, sql: &'static str) -> Result<(), StoreError> {
        self.send(async |connection| sqlx::raw_sql(sql).execute(connection).await).await?;
        Ok(())
    }

    /// Sends over the connection, which is lost where that is not seen through to its end.
    async fn send<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let Some(mut connection) = self.wire.connection.take() else {
            return Err(self.trouble.lost("the connection was lost"));
        };
        match timeout(self.patience, ask(&mut connection)).await {
            Ok(Ok(answer)) => {
                self.wire.connection = Some(connection);
                Ok(answer)
            }
            Ok(Err(error)) => {
                if !is_lost(&error) {
                    self.wire.connection = Some(connection);
                }
                Err(self.trouble.from(&error))
            }
            Err(_) => Err(self.trouble.lost("the server did not answer in time")),
        }
    }
}

impl Trouble<'_> {
    /// Reads a column of a row.
    pub(super) fn get<'r, T>(&self, row: &'r MySqlRow, index: usize) -> Result<T, StoreError>
    where
        T: Decode<'r, MySql>,
    {
        row.try_get_unchecked(index).map_err(|error| self.from(&error))
    }

    /// Reads a count.
    pub(super) fn count(&self, row: &MySqlRow, index: usize) -> Result<u64, StoreError> {
        let count: i64 = self.get(row, index)?;
        u64::try_from(count).map_err(|_| self.of(ErrorKind::Unreachable, "a count is negative"))
    }

    /// Reads a text that the server itself wrote; NULL is empty.
    pub(super) fn text(&self, row: &MySqlRow, index: usize) -> Result<String, StoreError> {
        let bytes: Option<Vec<u8>> = self.get(row, index)?;
        String::from_utf8(bytes.unwrap_or_default())
            .map_err(|_| self.of(ErrorKind::Refused, "a text of the catalogue is not UTF-8"))
    }
}
