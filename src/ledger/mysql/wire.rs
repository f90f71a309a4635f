//! Connections to the server of a ledger: how they are opened, kept, and given up. It knows no table.
//!
//! A connection is taken out for one operation and put back only when it is known to be sound: after an answer, and
//! outside of a transaction. One that is lost, or whose operation was cut short, is closed; the server rolls back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Connections at once: what a run, HTTP handlers and the audit writer need, each for milliseconds. A server allows
/// some hundred to all its clients.
const CONNECTIONS_MAX: usize = 8;

/// How long a server may take to accept a connection. A host that swallows packets must not stop everything.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long one statement may take: longer than a writer waits for its turn, and a large plan takes to be stored.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every connection is set to. A text that does not fit is an error and never cut. A turn of a writer takes
/// milliseconds; a process that is paused in the middle of one would keep all others out, so the server closes a
/// connection that says nothing for 15 s, and who waits for a turn waits twice as long. Guarded by
/// `a_writer_that_is_paused_in_its_turn_keeps_nobody_out`.
const PINNED: &str = "SET SESSION autocommit = 1, time_zone = '+00:00', \
     sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
     innodb_lock_wait_timeout = 30, wait_timeout = 15, completion_type = 0";

/// Statements and results in UTF-8; texts of ours compare as code points.
const NAMES: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_bin";

/// A statement sees what is committed when it begins. Writers take turns, so nothing changes between two of theirs.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// The server itself refuses every change.
const READ_ONLY: &str = "SET SESSION TRANSACTION READ ONLY";

/// What connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Looking only.
    Look,
    /// Everything.
    Write,
}

/// The connections of one ledger.
pub(super) struct Pool {
    options: MySqlConnectOptions,
    role: Role,
    idle: Mutex<Vec<MySqlConnection>>,
    places: Arc<Semaphore>,
}

/// A connection that is taken for one operation.
pub(in crate::ledger) struct Wire {
    connection: Option<MySqlConnection>,
    is_working: bool,
    /// It was used before, and its server may have closed it since.
    has_rested: bool,
    pool: Arc<Pool>,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// Opens nothing yet.
    pub(super) fn new(options: MySqlConnectOptions, role: Role) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Arc::new(Self { options, role, idle: Mutex::default(), places })
    }

    /// As many connections again, to the same server.
    pub(super) fn sibling(&self) -> Arc<Self> {
        Self::new(self.options.clone(), self.role)
    }

    /// What they are for.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Takes a connection whose server answers, or opens one.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Wire, sqlx::Error> {
        loop {
            let mut wire = self.take_unasked().await?;
            if !wire.has_rested || wire.ask(async |connection| connection.ping().await).await.is_ok() {
                return Ok(wire);
            }
            // It was lost while it rested.
        }
    }

    /// Takes a connection, and begins a transaction that takes the turn of a writer with this statement.
    pub(super) async fn take_turn(self: &Arc<Self>, turn: &'static str) -> Result<Wire, sqlx::Error> {
        loop {
            let mut wire = self.take_unasked().await?;
            match wire.begin().await {
                Ok(()) => {
                    wire.raw(turn).await?;
                    return Ok(wire);
                }
                // It was lost while it rested, and nothing has begun.
                Err(_) if wire.has_rested => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn take_unasked(self: &Arc<Self>) -> Result<Wire, sqlx::Error> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let rested = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let has_rested = rested.is_some();
        let connection = match rested {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let (connection, pool) = (Some(connection), Arc::clone(self));
        Ok(Wire { connection, is_working: false, has_rested, pool, _place: place })
    }

    async fn connect(&self) -> Result<MySqlConnection, sqlx::Error> {
        let connected = timeout(CONNECT_PATIENCE, async {
            let mut connection = self.options.connect().await?;
            for statement in [PINNED, NAMES, ISOLATION] {
                sqlx::raw_sql(statement).execute(&mut connection).await?;
            }
            if self.role == Role::Look {
                sqlx::raw_sql(READ_ONLY).execute(&mut connection).await?;
            }
            Ok(connection)
        });
        connected.await.unwrap_or_else(|_| Err(silent()))
    }

    fn put_back(&self, connection: MySqlConnection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// Closes the connections that rest.
    pub(super) async fn close(&self) {
        let resting = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in resting {
            // A server that does not take leave has closed the connection too.
            let _left = timeout(CONNECT_PATIENCE, connection.close()).await;
        }
    }
}

impl Wire {
    /// Sends over the connection, which is lost where that is not seen through to its end.
    pub(in crate::ledger) async fn ask<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut MySqlConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let Some(mut connection) = self.connection.take() else { return Err(silent()) };
        match timeout(PATIENCE, ask(&mut connection)).await {
            Ok(answer) => {
                if answer.as_ref().err().is_none_or(|error| matches!(error, sqlx::Error::Database(_))) {
                    self.connection = Some(connection);
                }
                answer
            }
            Err(_) => Err(silent()),
        }
    }

    /// A statement without values and without an answer.
    pub(super) async fn raw(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.ask(async |connection| sqlx::raw_sql(sql).execute(connection).await).await?;
        Ok(())
    }

    /// Begins a transaction. Dropped without [`Wire::commit`], nothing has happened.
    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.is_working = true;
        self.raw("START TRANSACTION").await
    }

    /// Begins to read: everything that is read is as of one instant.
    pub(super) async fn begin_snapshot(&mut self) -> Result<(), sqlx::Error> {
        self.is_working = true;
        self.raw("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
        self.raw("START TRANSACTION WITH CONSISTENT SNAPSHOT").await
    }

    /// Makes everything durable. Where the answer is lost nobody knows whether it is.
    pub(in crate::ledger) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.raw("COMMIT").await?;
        self.is_working = false;
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if !self.is_working {
            self.pool.put_back(connection);
            return;
        }
        // Without a runtime the connection is closed, and the server rolls back.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let pool = Arc::clone(&self.pool);
        runtime.spawn(async move {
            let undone = timeout(CONNECT_PATIENCE, sqlx::raw_sql("ROLLBACK").execute(&mut connection)).await;
            if matches!(undone, Ok(Ok(_))) {
                pool.put_back(connection);
            }
        });
    }
}

fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the server does not answer"))
}
