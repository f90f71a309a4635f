//! The ledger on `MySQL` or `MariaDB`, for several daemons on several machines.
//! It owns the connections, and who is alive (`leases`); the statements are in `sql`.
//!
//! Writers take turns: each transaction that writes locks one row first, and keeps it until it is done. So audit
//! entries are numbered without a gap in the transaction of the fact that they record, no two writers can wait for each
//! other, and whatever holds for the writers of an embedded ledger holds here too.

mod fence;
mod leases;
mod open;
mod share;
mod times;
mod wire;

use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;

use self::wire::{Pool, Role};
use super::LedgerError;
use super::sql::SqlLedger;
use super::sql::statement::{Query, Session, query};
use super::sql::write::During;

pub(super) use self::leases::Executor;
pub(super) use self::wire::Wire;

/// Takes the turn of a writer.
const TURN: &str = "SELECT value FROM meta WHERE name = 'turn' FOR UPDATE";

/// Intents without outcome that nobody is at, or can still be in the middle of.
const OPEN_INTENTS: &str =
    "SELECT intent.*, row_key.wrapped FROM intent JOIN row_key ON row_key.owner = intent.run_id
     WHERE intent.ended_at IS NULL AND NOT EXISTS (
         SELECT 1 FROM executor WHERE executor.executor = intent.executor
             AND executor.expires_at + ? > CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED))
     ORDER BY intent.number";

/// The server of a ledger.
pub(super) struct Server {
    pool: Arc<Pool>,
    leases: Arc<leases::Leases>,
}

impl SqlLedger {
    /// Connects to the ledger on a server, for writing. Makes the schema and the key file (0600) where they are
    /// missing, and brings an older schema up to date. The database itself must be there.
    ///
    /// # Errors
    /// [`LedgerError::Doubt`] where the database holds something else, was made by a newer version, or the key file is
    /// missing, is another one, or can be read by others; [`LedgerError::Unreachable`] where the server cannot be
    /// reached or refuses.
    pub async fn connect(url: &SecretString, key_file: &Path) -> Result<Self, LedgerError> {
        open::connect(url, key_file).await
    }

    /// Connects to the ledger on a server, for reading; `None` where the database is empty. Makes and changes nothing;
    /// every method that would is refused.
    ///
    /// # Errors
    /// As [`SqlLedger::connect`]; also [`LedgerError::Doubt`] where the schema is an older one.
    pub async fn connect_read_only(url: &SecretString, key_file: &Path) -> Result<Option<Self>, LedgerError> {
        open::connect_read_only(url, key_file).await
    }
}

impl Server {
    /// The statement that reads [`OPEN_INTENTS`].
    pub(in crate::ledger) fn open_intents(&self) -> Query {
        query(OPEN_INTENTS).bind(self.leases.echo())
    }

    fn new(pool: Arc<Pool>) -> Self {
        let leases = leases::Leases::new(pool.sibling());
        Self { pool, leases }
    }

    /// Refuses where the ledger is open for reading only.
    pub(super) fn writes(&self, operation: &'static str) -> Result<(), LedgerError> {
        match self.pool.role() {
            Role::Write => Ok(()),
            Role::Look => {
                let message = "it is open for reading only".to_owned();
                Err(LedgerError::Unreachable { operation, message })
            }
        }
    }

    /// Begins a writing transaction; waits for its turn.
    pub(super) async fn begin(&self, operation: &'static str) -> Result<Session, LedgerError> {
        self.writes(operation)?;
        Ok(Session::Mysql(self.pool.take_turn(TURN).await.during(operation)?))
    }

    /// Begins to read: everything that is read is as of one instant.
    pub(super) async fn snapshot(&self, operation: &'static str) -> Result<Session, LedgerError> {
        let mut wire = self.pool.take().await.during(operation)?;
        wire.begin_snapshot().await.during(operation)?;
        Ok(Session::Mysql(wire))
    }

    /// A connection for one look.
    pub(super) async fn look(&self) -> Result<Session, LedgerError> {
        Ok(Session::Mysql(self.pool.take().await.during("read")?))
    }

    /// Gives back what is held, then closes the connections.
    pub(super) async fn close(&self) {
        self.leases.give_back().await;
        self.pool.close().await;
    }
}
