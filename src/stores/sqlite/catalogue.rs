//! What the file says of its tables: columns, keys, indexes, foreign keys, triggers. Every identifier that reaches
//! a statement comes from here, byte for byte. It judges nothing but whether a name is there.

use std::collections::BTreeSet;

use crate::policy::{EventTime, Placement, Records};
use crate::stores::sql::{Sql, quoted};
use crate::stores::{ErrorKind, StoreError};

use super::inspect;
use super::instants::Clocked;
use super::session::{Session, Trouble};

/// The table in which a store keeps the marker of its ledger; never a placement.
pub(super) const MARKER: &str = "retentiond_marker";

/// How a column turns what is stored into it (<https://www.sqlite.org/datatype3.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affinity {
    /// Numbers become text.
    Text,
    /// Text that looks like a number becomes one.
    Integer,
    /// The same, whole or not.
    Numeric,
    /// Nothing is turned.
    Blob,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Its name, as declared.
    pub(super) name: String,
    /// `t."name"`: qualified, so that SQLite never takes it for a string.
    pub(super) sql: String,
    /// Its declared type.
    pub(super) declared: String,
    /// What becomes of stored values.
    pub(super) affinity: Affinity,
    /// Its place in the primary key, from 1; 0 where it is not part of it.
    pub(super) key_place: i64,
    /// Computed from other columns.
    pub(super) generated: bool,
}

/// How rows are addressed within a run.
#[derive(Debug, Clone)]
pub(super) enum RowKey {
    /// By rowid: `t.rowid`, or another name of it where a column took that one.
    Rowid(String),
    /// By the declared primary key of a table without rowid: `t."a"`, `t."b"`.
    Columns(Vec<String>),
}

/// A table that a placement names.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: String,
    /// Its columns, in order.
    pub(super) columns: Vec<Column>,
    /// How its rows are addressed.
    pub(super) key: RowKey,
    /// Columns that an index of the whole table begins with, compared byte by byte.
    pub(super) leads: BTreeSet<String>,
}

impl Table {
    /// Finds the table of a placement, with every column that the placement names, whether a query needs it or not.
    ///
    /// # Errors
    /// As [`Table::named_by`], and where a column is not there.
    pub(super) async fn of(session: &mut Session<'_>, placement: &Placement) -> Result<Self, StoreError> {
        let table = Self::named_by(session, placement).await?;
        match inspect::columns(&table, placement, session.trouble).into_iter().next() {
            Some(finding) => Err(session.trouble.schema(finding.message)),
            None => Ok(table),
        }
    }

    /// Finds the table of a placement; its columns may be others than the placement thinks.
    ///
    /// # Errors
    /// Where the placement has no table, the table is not there, or it is a view, a virtual table or our own marker.
    pub(super) async fn named_by(
        session: &mut Session<'_>,
        placement: &Placement,
    ) -> Result<Self, StoreError> {
        let trouble = session.trouble;
        let name = match &placement.records {
            Some(Records::Table { table, .. }) => table,
            Some(Records::FoundBy { .. } | Records::Prefix(_) | Records::Keys(_) | Records::Index(_))
            | None => {
                return Err(trouble.schema(format!("placement `{}` names no table", placement.name)));
            }
        };
        // This reads the file, so that the connection notices when somebody has changed the schema since.
        session.number(&Sql::new("SELECT count(*) FROM main.sqlite_schema")).await?;
        let sql = Sql::new("SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ")
            .bind_text(name)
            .push(" COLLATE BINARY");
        let Some(row) = session.row(&sql).await? else {
            return Err(trouble.schema(format!("there is no table `{name}`")));
        };
        let kind: String = session.get(&row, 0)?;
        let without_rowid: bool = session.get::<i64>(&row, 1)? != 0;
        if kind != "table" || name == MARKER || name.to_ascii_lowercase().starts_with("sqlite_") {
            return Err(trouble
                .schema(format!("`{name}` is not an ordinary table; only ordinary tables hold records")));
        }
        let columns = columns(session, name).await?;
        let key = row_key(&columns, without_rowid)
            .ok_or_else(|| trouble.schema(format!("columns of `{name}` hide every name of its rowid")))?;
        let leads = leads(session, name).await?;
        Ok(Self { name: name.clone(), columns, key, leads })
    }

    /// A column by its exact name.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn column(&self, name: &str, trouble: Trouble<'_>) -> Result<&Column, StoreError> {
        self.columns
            .iter()
            .find(|column| column.name == name)
            .ok_or_else(|| trouble.schema(format!("table `{}` has no column `{name}`", self.name)))
    }

    /// The event time of a placement in this table.
    ///
    /// # Errors
    /// Where the column is not there, or the placement wants a time that rows do not have.
    pub(super) fn clocked(
        &self,
        placement: &Placement,
        trouble: Trouble<'_>,
    ) -> Result<Option<Clocked>, StoreError> {
        let Some(event) = &placement.event_time else {
            return Ok(None);
        };
        let column = match event {
            EventTime::Text { column, .. } | EventTime::Epoch { column, .. } => {
                self.column(column, trouble)?
            }
            EventTime::Key(_) | EventTime::Modified => {
                return Err(trouble.schema("rows of a table have their event time in a column".to_owned()));
            }
        };
        Clocked::new(column, event)
            .map(Some)
            .ok_or_else(|| trouble.of(ErrorKind::Schema, "rows of a table have their event time in a column"))
    }

    /// `main."table" AS t`.
    pub(super) fn source(&self) -> String {
        format!("main.{} AS t", quoted(&self.name))
    }

    /// The same, read by its key only: no index of the table may lead, so that a slice costs what the slice holds.
    pub(super) fn source_by_key(&self) -> String {
        match self.key {
            RowKey::Rowid(_) => format!("{} NOT INDEXED", self.source()),
            RowKey::Columns(_) => self.source(),
        }
    }
}

impl RowKey {
    /// The expressions that make up the key.
    pub(super) fn parts(&self) -> &[String] {
        match self {
            Self::Rowid(name) => std::slice::from_ref(name),
            Self::Columns(columns) => columns,
        }
    }

    /// The key as a list of expressions.
    pub(super) fn list(&self) -> String {
        self.parts().join(", ")
    }
}

async fn columns(session: &mut Session<'_>, table: &str) -> Result<Vec<Column>, StoreError> {
    let sql = Sql::new("SELECT name, type, pk, hidden FROM pragma_table_xinfo(")
        .bind_text(table)
        .push(", 'main') ORDER BY cid");
    let mut columns = Vec::new();
    for row in session.rows(&sql).await? {
        let name: String = session.get(&row, 0)?;
        let declared: String = session.get(&row, 1)?;
        columns.push(Column {
            sql: format!("t.{}", quoted(&name)),
            affinity: affinity(&declared),
            declared,
            key_place: session.get(&row, 2)?,
            generated: session.get::<i64>(&row, 3)? != 0,
            name,
        });
    }
    Ok(columns)
}

async fn leads(session: &mut Session<'_>, table: &str) -> Result<BTreeSet<String>, StoreError> {
    let sql = Sql::new("SELECT x.name FROM pragma_index_list(")
        .bind_text(table)
        .push(", 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x ")
        .push("WHERE l.partial = 0 AND x.seqno = 0 AND x.coll = 'BINARY' AND x.name IS NOT NULL");
    session.rows(&sql).await?.iter().map(|row| session.get(row, 0)).collect()
}

fn row_key(columns: &[Column], without_rowid: bool) -> Option<RowKey> {
    if without_rowid {
        let mut key: Vec<&Column> = columns.iter().filter(|column| column.key_place > 0).collect();
        key.sort_by_key(|column| column.key_place);
        return Some(RowKey::Columns(key.into_iter().map(|column| column.sql.clone()).collect()));
    }
    let taken = |name: &str| columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    let free = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !taken(name))?;
    Some(RowKey::Rowid(format!("t.{free}")))
}

/// The rules of SQLite, in its order.
fn affinity(declared: &str) -> Affinity {
    let declared = declared.to_ascii_uppercase();
    let has = |word: &str| declared.contains(word);
    if has("INT") {
        Affinity::Integer
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        Affinity::Text
    } else if declared.is_empty() || has("BLOB") || declared == "ANY" {
        Affinity::Blob
    } else {
        Affinity::Numeric
    }
}
