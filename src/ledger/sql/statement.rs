//! Statements that `SQLite` and `MySQL` both understand, with the values bound to them, and the rows that come back.
//! It owns how one text reaches either database; it knows no table.
//!
//! Every statement of the ledger exists once. That works because writers take turns on both (`write`): what a dialect
//! would say in one statement of its own, an upsert for example, is an update and then, where nothing matched, an
//! insert.

use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Decode, MySql, Row as _, Sqlite, Transaction, Type};

use crate::ledger::mysql::Wire;

/// A connection that is taken for one operation.
pub(in crate::ledger) enum Session {
    /// A connection of an embedded ledger, for one look.
    Sqlite(PoolConnection<Sqlite>),
    /// A transaction of an embedded ledger.
    SqliteWork(Transaction<'static, Sqlite>),
    /// A connection to a server, with a transaction or without.
    Mysql(Wire),
}

/// A statement with its values.
pub(in crate::ledger) struct Query {
    sql: &'static str,
    values: Vec<Bound>,
}

/// A value for a statement.
pub(in crate::ledger) enum Bound {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// What a statement did.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger) struct Done {
    rows: u64,
}

/// A row of an answer.
pub(in crate::ledger) enum Row {
    Sqlite(SqliteRow),
    Mysql(MySqlRow),
}

/// A type that a column may be read as.
pub(in crate::ledger) trait Readable<'r>:
    Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, MySql>
{
}

impl<'r, T> Readable<'r> for T where T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, MySql> {}

/// A statement without values yet; `?` stands for each.
pub(in crate::ledger) fn query(sql: &'static str) -> Query {
    Query { sql, values: Vec::new() }
}

impl Query {
    /// The next value.
    pub(in crate::ledger) fn bind(mut self, value: impl Into<Bound>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it.
    pub(in crate::ledger) async fn execute(self, session: &mut Session) -> Result<Done, sqlx::Error> {
        let rows = match session {
            Session::Sqlite(connection) => self.sqlite().execute(&mut **connection).await?.rows_affected(),
            Session::SqliteWork(work) => self.sqlite().execute(&mut **work).await?.rows_affected(),
            Session::Mysql(wire) => {
                let query = self.mysql();
                wire.ask(async |connection| query.execute(connection).await).await?.rows_affected()
            }
        };
        Ok(Done { rows })
    }

    /// All rows of its answer.
    pub(in crate::ledger) async fn fetch_all(self, session: &mut Session) -> Result<Vec<Row>, sqlx::Error> {
        let rows = match session {
            Session::Sqlite(connection) => self.sqlite().fetch_all(&mut **connection).await?,
            Session::SqliteWork(work) => self.sqlite().fetch_all(&mut **work).await?,
            Session::Mysql(wire) => {
                let query = self.mysql();
                let rows = wire.ask(async |connection| query.fetch_all(connection).await).await?;
                return Ok(rows.into_iter().map(Row::Mysql).collect());
            }
        };
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }

    /// The first row of its answer, if there is one. Callers ask for one row or add a limit.
    pub(in crate::ledger) async fn fetch_optional(
        self,
        session: &mut Session,
    ) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.fetch_all(session).await?.into_iter().next())
    }

    /// The one row of its answer.
    pub(in crate::ledger) async fn fetch_one(self, session: &mut Session) -> Result<Row, sqlx::Error> {
        self.fetch_optional(session).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// The one number of its answer.
    pub(in crate::ledger) async fn number(self, session: &mut Session) -> Result<i64, sqlx::Error> {
        self.fetch_one(session).await?.at(0)
    }

    /// The one number of its answer, if there is a row.
    pub(in crate::ledger) async fn number_if_any(
        self,
        session: &mut Session,
    ) -> Result<Option<i64>, sqlx::Error> {
        self.fetch_optional(session).await?.map(|row| row.at(0)).transpose()
    }

    /// The one text of its answer, if there is a row.
    pub(in crate::ledger) async fn text_if_any(
        self,
        session: &mut Session,
    ) -> Result<Option<String>, sqlx::Error> {
        self.fetch_optional(session).await?.map(|row| row.at(0)).transpose()
    }

    /// True where its answer has a row.
    pub(in crate::ledger) async fn exists(self, session: &mut Session) -> Result<bool, sqlx::Error> {
        Ok(self.fetch_optional(session).await?.is_some())
    }

    fn sqlite(self) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
        self.values.into_iter().fold(sqlx::query(self.sql), |query, value| match value {
            Bound::Int(value) => query.bind(value),
            Bound::Text(value) => query.bind(value),
            Bound::Bytes(value) => query.bind(value),
        })
    }

    fn mysql(self) -> sqlx::query::Query<'static, MySql, MySqlArguments> {
        self.values.into_iter().fold(sqlx::query(self.sql), |query, value| match value {
            Bound::Int(value) => query.bind(value),
            Bound::Text(value) => query.bind(value),
            Bound::Bytes(value) => query.bind(value),
        })
    }
}

impl Done {
    /// How many rows there were to insert, to delete or to update, changed by that or not.
    pub(in crate::ledger) fn rows_affected(self) -> u64 {
        self.rows
    }
}

impl Row {
    /// A column by its name.
    pub(in crate::ledger) fn column<'r, T: Readable<'r>>(&'r self, name: &str) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(name),
            // Names are bytes in a server's tables, and a driver would refuse to read them as text.
            Self::Mysql(row) => row.try_get_unchecked(name),
        }
    }

    /// A column by its place.
    pub(in crate::ledger) fn at<'r, T: Readable<'r>>(&'r self, place: usize) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(place),
            Self::Mysql(row) => row.try_get_unchecked(place),
        }
    }
}

impl From<i64> for Bound {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Bound {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Bound {
    fn from(value: u32) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl From<bool> for Bound {
    fn from(value: bool) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl From<&str> for Bound {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Bound {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<&String> for Bound {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

impl From<Option<&str>> for Bound {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(ToOwned::to_owned))
    }
}

impl From<Option<String>> for Bound {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<Option<&String>> for Bound {
    fn from(value: Option<&String>) -> Self {
        Self::Text(value.cloned())
    }
}

impl From<&Option<String>> for Bound {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Vec<u8>> for Bound {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(value))
    }
}

impl From<Option<Vec<u8>>> for Bound {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::Bytes(value)
    }
}
