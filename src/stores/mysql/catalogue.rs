//! What the server says of its tables: columns, keys and indexes. Every identifier that reaches a statement comes from
//! here, byte for byte. It judges nothing but whether a name is there and whether rows can be addressed.

use sqlx::mysql::MySqlRow;

use super::instants::Clocked;
use super::session::Session;
use super::trouble::Trouble;
use super::wanted;
use crate::policy::{EventTime, Placement, Records};
use crate::stores::sql::{Sql, backticked};
use crate::stores::{ErrorKind, StoreError};

/// The table in which a store keeps the marker of its ledger; never a placement.
pub(super) const MARKER: &str = "retentiond_marker";

/// What a column holds, as far as comparing and overwriting it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole numbers, and years.
    Int {
        /// Without a sign.
        unsigned: bool,
    },
    /// Exact numbers with a fraction.
    Decimal {
        /// Digits.
        precision: u64,
        /// Of these behind the point.
        scale: u64,
    },
    /// Approximate numbers, which name no row.
    Float,
    /// Text with a character set and an order.
    Text {
        /// Its character set.
        charset: String,
        /// Its collation.
        collation: String,
    },
    /// Bytes.
    Bytes,
    /// JSON: text that must stay JSON.
    Json,
    /// One word of a list.
    Enum,
    /// Some words of a list.
    Set,
    /// Bits.
    Bit,
    /// A day.
    Date,
    /// A wall clock's reading.
    DateTime,
    /// An instant.
    Timestamp,
    /// A time of day.
    Time,
    /// `MariaDB`'s own type.
    Uuid,
    /// Anything else: places, addresses.
    Other,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Its name, as declared.
    pub(super) name: String,
    /// Its quoted name behind its table's.
    pub(super) sql: String,
    /// Its declared type.
    pub(super) declared: String,
    /// What it holds.
    pub(super) kind: Kind,
    /// May be NULL.
    pub(super) nullable: bool,
    /// Computed from other columns.
    pub(super) generated: bool,
}

/// An index over whole columns or their beginnings.
#[derive(Debug, Clone)]
pub(super) struct Index {
    /// Its name.
    pub(super) name: String,
    /// Of every value there is one at most.
    pub(super) unique: bool,
    /// Its columns in order; `None` for an expression.
    pub(super) columns: Vec<Option<String>>,
    /// True where a column is indexed by its beginning only, or the index is no tree.
    pub(super) partial: bool,
}

/// How rows are addressed within a run.
#[derive(Debug, Clone)]
pub(super) enum RowKey {
    /// By the columns of a unique index.
    Columns {
        /// Name of the index.
        index: String,
        /// Its columns, none of which may be NULL.
        columns: Vec<Column>,
    },
    /// By nothing: rows are told apart by all that is in them.
    None,
}

/// A table that a placement names.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: String,
    /// Its quoted name behind the database's.
    pub(super) source: String,
    /// It is cut into partitions.
    pub(super) partitioned: bool,
    /// Its columns, in order.
    pub(super) columns: Vec<Column>,
    /// Its indexes.
    pub(super) indexes: Vec<Index>,
    /// How its rows are addressed.
    pub(super) key: RowKey,
}

impl Table {
    /// Finds the table of a placement, with every column that the placement names, whether a query needs it or not.
    ///
    /// # Errors
    /// As [`Table::named_by`], and where a column is not there.
    pub(super) async fn of(session: &mut Session<'_>, placement: &Placement) -> Result<Self, StoreError> {
        let table = Self::named_by(session, placement).await?;
        match wanted::columns(&table, placement, session.trouble).into_iter().next() {
            Some(finding) => Err(session.trouble.schema(finding.message)),
            None => Ok(table),
        }
    }

    /// Finds the table of a placement; its columns may be others than the placement thinks.
    ///
    /// # Errors
    /// Where the placement has no table, the table is not there, or it is a view, without transactions or our own marker.
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
        let sql = Sql::new(
            "SELECT TABLE_NAME, TABLE_TYPE, ENGINE, CREATE_OPTIONS FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = ",
        )
        .bind_text(session.schema)
        .push(" AND TABLE_NAME = ")
        .bind_text(name.as_str());
        let mut found = None;
        for row in session.rows(&sql).await? {
            // The catalogue may compare without case.
            if trouble.text(&row, 0)? == *name {
                found = Some((trouble.text(&row, 1)?, trouble.text(&row, 2)?, trouble.text(&row, 3)?));
            }
        }
        let Some((table_type, engine, options)) = found else {
            return Err(trouble.schema(format!("there is no table `{name}`")));
        };
        if table_type != "BASE TABLE" || name == MARKER {
            return Err(trouble
                .schema(format!("`{name}` is not an ordinary table; only ordinary tables hold records")));
        }
        if !engine.eq_ignore_ascii_case("innodb") {
            return Err(trouble.schema(format!(
                "`{name}` is kept by the engine {engine}, which has no transactions; a batch could stay half done"
            )));
        }
        let columns = columns(session, name).await?;
        let indexes = indexes(session, name).await?;
        let key = row_key(&columns, &indexes);
        Ok(Self {
            source: format!("{}.{}", backticked(session.schema), backticked(name)),
            name: name.clone(),
            partitioned: options.contains("partitioned"),
            columns,
            indexes,
            key,
        })
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
        let Some(event) = &placement.event_time else { return Ok(None) };
        match event {
            EventTime::Text { column, .. } | EventTime::Epoch { column, .. } => {
                Ok(Some(Clocked::new(self.column(column, trouble)?, event)))
            }
            EventTime::Key(_) | EventTime::Modified => {
                Err(trouble.schema("rows of a table have their event time in a column".to_owned()))
            }
        }
    }

    /// The table, read by its key only: no other index may lead, so that a slice costs what the slice holds.
    pub(super) fn source_by_key(&self) -> String {
        match &self.key {
            RowKey::Columns { index, .. } => format!("{} FORCE INDEX ({})", self.source, backticked(index)),
            RowKey::None => self.source.clone(),
        }
    }

    /// The columns of the key.
    ///
    /// # Errors
    /// Where there is no key.
    pub(super) fn key_columns(&self, trouble: Trouble<'_>) -> Result<&[Column], StoreError> {
        match &self.key {
            RowKey::Columns { columns, .. } => Ok(columns),
            RowKey::None => Err(trouble.of(ErrorKind::Schema, "the table has no key any more")),
        }
    }

    /// The only column of the key, where it is an integer: keys then lie in windows.
    pub(super) fn window_column(&self) -> Option<&Column> {
        match &self.key {
            RowKey::Columns { columns, .. } => match columns.as_slice() {
                [column] if matches!(column.kind, Kind::Int { .. }) => Some(column),
                _ => None,
            },
            RowKey::None => None,
        }
    }
}

async fn columns(session: &mut Session<'_>, table: &str) -> Result<Vec<Column>, StoreError> {
    let trouble = session.trouble;
    let sql = Sql::new(
        "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, \
         CAST(NUMERIC_PRECISION AS CHAR), CAST(NUMERIC_SCALE AS CHAR), EXTRA, TABLE_NAME \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ",
    )
    .bind_text(session.schema)
    .push(" AND TABLE_NAME = ")
    .bind_text(table)
    .push(" ORDER BY ORDINAL_POSITION");
    let mut columns = Vec::new();
    for row in &session.rows(&sql).await? {
        if trouble.text(row, 9)? != table {
            continue;
        }
        let (name, declared) = (trouble.text(row, 0)?, trouble.text(row, 2)?);
        let extra = trouble.text(row, 8)?.to_ascii_uppercase();
        columns.push(Column {
            sql: format!("{}.{}", backticked(table), backticked(&name)),
            kind: kind(row, &declared, trouble)?,
            nullable: trouble.text(row, 3)? == "YES",
            generated: extra.contains("GENERATED") && !extra.contains("DEFAULT_GENERATED"),
            declared,
            name,
        });
    }
    let json = checked_json(session, table).await?;
    for column in &mut columns {
        if json.contains(&column.name) {
            column.kind = Kind::Json;
        }
    }
    Ok(columns)
}

/// Columns that `MariaDB` calls JSON: long texts with a constraint.
async fn checked_json(session: &mut Session<'_>, table: &str) -> Result<Vec<String>, StoreError> {
    let trouble = session.trouble;
    let sql =
        Sql::new("SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = ")
            .bind_text(session.schema)
            .push(" AND TABLE_NAME = ")
            .bind_text(table);
    match session.rows(&sql).await {
        Ok(rows) => {
            let mut names = Vec::new();
            for row in &rows {
                let clause = trouble.text(row, 0)?;
                let inner = clause.strip_prefix("json_valid(`").and_then(|rest| rest.strip_suffix("`)"));
                names.extend(inner.map(|name| name.replace("``", "`")));
            }
            Ok(names)
        }
        // MySQL's table has no such column, and it has a type of its own for JSON.
        Err(error) if error.kind == ErrorKind::Schema => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn kind(row: &MySqlRow, declared: &str, trouble: Trouble<'_>) -> Result<Kind, StoreError> {
    let number = |index| Ok::<u64, StoreError>(trouble.text(row, index)?.parse().unwrap_or(0));
    Ok(match trouble.text(row, 1)?.to_ascii_lowercase().as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
            Kind::Int { unsigned: declared.to_ascii_lowercase().contains("unsigned") }
        }
        "year" => Kind::Int { unsigned: true },
        "decimal" => Kind::Decimal { precision: number(6)?, scale: number(7)? },
        "float" | "double" => Kind::Float,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
            Kind::Text { charset: trouble.text(row, 4)?, collation: trouble.text(row, 5)? }
        }
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Bytes,
        "json" => Kind::Json,
        "enum" => Kind::Enum,
        "set" => Kind::Set,
        "bit" => Kind::Bit,
        "date" => Kind::Date,
        "datetime" => Kind::DateTime,
        "timestamp" => Kind::Timestamp,
        "time" => Kind::Time,
        "uuid" => Kind::Uuid,
        _ => Kind::Other,
    })
}

async fn indexes(session: &mut Session<'_>, table: &str) -> Result<Vec<Index>, StoreError> {
    let trouble = session.trouble;
    let sql = Sql::new(
        "SELECT INDEX_NAME, CAST(NON_UNIQUE AS SIGNED), COLUMN_NAME, SUB_PART IS NOT NULL, INDEX_TYPE, TABLE_NAME \
         FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ",
    )
    .bind_text(session.schema)
    .push(" AND TABLE_NAME = ")
    .bind_text(table)
    .push(" ORDER BY INDEX_NAME, SEQ_IN_INDEX");
    let mut indexes: Vec<Index> = Vec::new();
    for row in &session.rows(&sql).await? {
        if trouble.text(row, 5)? != table {
            continue;
        }
        let name = trouble.text(row, 0)?;
        let column = Some(trouble.text(row, 2)?).filter(|column| !column.is_empty());
        let partial = trouble.get::<i64>(row, 3)? != 0 || trouble.text(row, 4)? != "BTREE";
        match indexes.last_mut().filter(|index| index.name == name) {
            Some(index) => {
                index.columns.push(column);
                index.partial |= partial;
            }
            None => indexes.push(Index {
                name,
                unique: trouble.get::<i64>(row, 1)? == 0,
                columns: vec![column],
                partial,
            }),
        }
    }
    Ok(indexes)
}

/// The primary key, or else a unique index whose every column is always there.
fn row_key(columns: &[Column], indexes: &[Index]) -> RowKey {
    let addressing = |index: &Index| {
        index
            .columns
            .iter()
            .map(|name| {
                let column = columns.iter().find(|column| Some(&column.name) == name.as_ref())?;
                (!column.nullable && names_exactly(&column.kind)).then(|| column.clone())
            })
            .collect::<Option<Vec<Column>>>()
    };
    let mut unique: Vec<&Index> = indexes.iter().filter(|index| index.unique && !index.partial).collect();
    unique.sort_by_key(|index| (index.name != "PRIMARY", index.columns.len()));
    unique
        .into_iter()
        .find_map(|index| {
            addressing(index).map(|columns| RowKey::Columns { index: index.name.clone(), columns })
        })
        .unwrap_or(RowKey::None)
}

/// True where a value reads back as exactly what is compared.
fn names_exactly(kind: &Kind) -> bool {
    match kind {
        Kind::Int { .. }
        | Kind::Decimal { .. }
        | Kind::Text { .. }
        | Kind::Bytes
        | Kind::Date
        | Kind::DateTime
        | Kind::Timestamp
        | Kind::Time
        | Kind::Uuid => true,
        Kind::Float | Kind::Json | Kind::Enum | Kind::Set | Kind::Bit | Kind::Other => false,
    }
}
