//! One writing transaction: the fact, the generation that it moves and its audit entry, all or nothing.
//! It owns how facts are made durable and how rows are read; it does not know any table but those three.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::statement::{Readable, Row, Session, query};
use super::{Engine, SqlLedger};
use crate::id::TenantId;
use crate::ledger::seal::{RowKey, fill_random};
use crate::ledger::{LedgerError, entry};

/// A transaction that writes. Dropped without [`Writing::commit`], nothing has happened.
pub(in crate::ledger) struct Writing<'a> {
    ledger: &'a SqlLedger,
    session: Session,
    operation: &'static str,
    entries: Vec<String>,
    key_destroyed: bool,
}

impl SqlLedger {
    /// Begins to write; waits for other writers. `operation` is a verb for error texts.
    pub(in crate::ledger) async fn write(&self, operation: &'static str) -> Result<Writing<'_>, LedgerError> {
        let session = match &self.engine {
            Engine::Sqlite(files) => files.begin(operation).await?,
            Engine::Mysql(server) => server.begin(operation).await?,
        };
        Ok(Writing { ledger: self, session, operation, entries: Vec::new(), key_destroyed: false })
    }

    /// Begins to read: everything that is read is as of one instant.
    pub(super) async fn read(&self, operation: &'static str) -> Result<Session, LedgerError> {
        match &self.engine {
            Engine::Sqlite(files) => files.snapshot(operation).await,
            Engine::Mysql(server) => server.snapshot(operation).await,
        }
    }

    /// A connection for one look.
    pub(super) async fn look(&self) -> Result<Session, LedgerError> {
        match &self.engine {
            Engine::Sqlite(files) => files.look().await,
            Engine::Mysql(server) => server.look().await,
        }
    }
}

impl Writing<'_> {
    /// The connection, for statements.
    pub(in crate::ledger) fn connection(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Appends the audit entry of the fact.
    pub(super) async fn append(
        &mut self,
        kind: &str,
        fields: Value,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let operation = self.operation;
        let next = query("SELECT coalesce(max(idx) + 1, 0) FROM entry")
            .number(self.connection())
            .await
            .during(operation)?;
        let mut bodies = Vec::new();
        if next == 0 {
            // The first fact has the first clock that the ledger is told of.
            let id = serde_json::json!({"ledger_id": self.ledger.id});
            bodies.push(entry::body("ledger-made", id, now)?);
        }
        bodies.push(entry::body(kind, fields, now)?);
        for (index, body) in (next..).zip(bodies) {
            query("INSERT INTO entry (idx, body) VALUES (?, ?)")
                .bind(index)
                .bind(&body)
                .execute(self.connection())
                .await
                .during(operation)?;
            self.entries.push(body);
        }
        Ok(())
    }

    /// Counts a change that can alter a plan for this tenant.
    pub(super) async fn touch(&mut self, tenant: &TenantId) -> Result<(), LedgerError> {
        let operation = self.operation;
        let generation = read_generation(self.connection()).await? + 1;
        query("UPDATE meta SET value = ? WHERE name = 'generation'")
            .bind(generation.to_string())
            .execute(self.connection())
            .await
            .during(operation)?;
        query("REPLACE INTO tenant_generation (tenant, generation) VALUES (?, ?)")
            .bind(tenant.as_str())
            .bind(generation)
            .execute(self.connection())
            .await
            .during(operation)?;
        Ok(())
    }

    /// Makes the own key of a row.
    pub(super) async fn new_key(&mut self, owner: &str) -> Result<RowKey, LedgerError> {
        let operation = self.operation;
        let (key, stored) = self.ledger.seal.new_row_key(owner)?;
        query("INSERT INTO row_key (owner, wrapped) VALUES (?, ?)")
            .bind(owner)
            .bind(stored)
            .execute(self.connection())
            .await
            .during(operation)?;
        Ok(key)
    }

    /// Destroys the own key of a row, if it still has one. Once committed, its bytes leave the files too.
    pub(super) async fn destroy_key(&mut self, owner: &str) -> Result<(), LedgerError> {
        let operation = self.operation;
        let gone = query("DELETE FROM row_key WHERE owner = ?")
            .bind(owner)
            .execute(self.connection())
            .await
            .during(operation)?;
        self.key_destroyed |= gone.rows_affected() > 0;
        Ok(())
    }

    /// Makes everything durable, then tells the entries to the process's own log.
    pub(in crate::ledger) async fn commit(self) -> Result<(), LedgerError> {
        let Self { ledger, session, operation, entries, key_destroyed } = self;
        match session {
            Session::SqliteWork(transaction) => transaction.commit().await,
            Session::Mysql(mut wire) => wire.commit().await,
            // Never begun, so there is nothing to make durable.
            Session::Sqlite(_) => Ok(()),
        }
        .during(operation)?;
        for body in entries {
            tracing::info!(target: "retentiond::audit", entry = %body);
        }
        match &ledger.engine {
            Engine::Sqlite(files) => files.tidy_up(key_destroyed).await,
            Engine::Mysql(_) => {}
        }
        Ok(())
    }
}

/// Gives a database error the verb of what was being done.
pub(in crate::ledger) trait During<T> {
    /// See the trait.
    fn during(self, operation: &'static str) -> Result<T, LedgerError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, operation: &'static str) -> Result<T, LedgerError> {
        self.map_err(|error| LedgerError::Unreachable { operation, message: error.to_string() })
    }
}

/// The ledger's generation.
pub(super) async fn read_generation(connection: &mut Session) -> Result<i64, LedgerError> {
    meta_number(connection, "generation").await
}

/// A number in `meta`.
pub(in crate::ledger) async fn meta_number(
    connection: &mut Session,
    name: &'static str,
) -> Result<i64, LedgerError> {
    let text = query("SELECT value FROM meta WHERE name = ?").bind(name).text_if_any(connection).await;
    text.during("read")?.and_then(|text| text.parse().ok()).ok_or_else(|| damaged(name))
}

/// A column of a row.
pub(in crate::ledger) fn get<'r, T: Readable<'r>>(
    row: &'r Row,
    column: &'static str,
) -> Result<T, LedgerError> {
    row.column(column).map_err(|_| damaged(column))
}

/// A column that holds an instant.
pub(super) fn get_instant(row: &Row, column: &'static str) -> Result<DateTime<Utc>, LedgerError> {
    instant(get(row, column)?, column)
}

/// A column that holds an instant or null.
pub(super) fn get_instant_if_any(
    row: &Row,
    column: &'static str,
) -> Result<Option<DateTime<Utc>>, LedgerError> {
    get::<Option<i64>>(row, column)?.map(|micros| instant(micros, column)).transpose()
}

/// A column that holds JSON.
pub(in crate::ledger) fn get_json<T: DeserializeOwned>(
    row: &Row,
    column: &'static str,
) -> Result<T, LedgerError> {
    from_json(get(row, column)?, column)
}

/// A column that holds the word of an enum.
pub(super) fn get_word<T: DeserializeOwned>(row: &Row, column: &'static str) -> Result<T, LedgerError> {
    let word: String = get(row, column)?;
    serde_json::from_value(Value::String(word)).map_err(|_| damaged(column))
}

/// The word of an enum, for a column.
pub(super) fn word_of<T: Serialize>(value: &T) -> Result<String, LedgerError> {
    let json = to_json(value)?;
    Ok(json.trim_matches('"').to_owned())
}

/// JSON text as a value; `what` names it in the error.
pub(super) fn from_json<T: DeserializeOwned>(text: &str, what: &'static str) -> Result<T, LedgerError> {
    serde_json::from_str(text).map_err(|_| damaged(what))
}

/// A value as JSON text.
pub(in crate::ledger) fn to_json<T: Serialize>(value: &T) -> Result<String, LedgerError> {
    serde_json::to_string(value)
        .map_err(|error| LedgerError::State(format!("failed to write JSON for the ledger: {error}")))
}

/// The microsecond in which an instant lies.
pub(super) fn micros(instant: DateTime<Utc>) -> i64 {
    instant.timestamp_micros()
}

/// The first microsecond that is not before an instant: for what keeps records, which must never end early.
pub(super) fn micros_up(instant: DateTime<Utc>) -> i64 {
    let whole = instant.timestamp_micros();
    if instant.timestamp_subsec_nanos().is_multiple_of(1000) { whole } else { whole.saturating_add(1) }
}

/// A count that a row holds.
pub(super) fn unsigned(count: i64, what: &'static str) -> Result<u64, LedgerError> {
    u64::try_from(count).map_err(|_| damaged(what))
}

/// A count for a row.
pub(super) fn signed(count: u64) -> Result<i64, LedgerError> {
    i64::try_from(count).map_err(|_| LedgerError::State(format!("the number {count} is too large")))
}

/// A row does not hold what it must.
pub(in crate::ledger) fn damaged(what: &str) -> LedgerError {
    LedgerError::Doubt(format!("the ledger is damaged: `{what}` cannot be read"))
}

/// A new id: a prefix and a `UUIDv7` of `now`.
pub(in crate::ledger) fn new_id(prefix: &str, now: DateTime<Utc>) -> Result<String, LedgerError> {
    let mut random = [0; 10];
    fill_random(&mut random)?;
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
    Ok(format!("{prefix}-{}", uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()))
}

fn instant(micros: i64, column: &'static str) -> Result<DateTime<Utc>, LedgerError> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| damaged(column))
}
