//! Overwrites rows with zeros of the same length, reads them again as zeros, and deletes them: evidence per row. It
//! makes no claim about bytes on the disk, in the undo log or in the binary log.

use std::collections::BTreeSet;

use super::catalogue::{Column, Kind, Table};
use super::reach;
use super::rows::{self, Carried};
use super::session::Session;
use super::trouble::Trouble;
use super::values::bytes_of;
use crate::policy::{EventTime, Placement, TenantSource};
use crate::stores::sql::Sql;
use crate::stores::{ErrorKind, StoreError};

/// Overwrites, re-reads and deletes the rows of a list of keys, which are locked already; how many were deleted.
pub(super) async fn erase(
    session: &mut Session<'_>,
    table: &Table,
    placement: &Placement,
    keys: &Carried,
    counted: u64,
) -> Result<u64, StoreError> {
    let trouble = session.trouble;
    let columns = table.key_columns(trouble)?;
    if counted == 0 {
        return Ok(0);
    }
    let values = values(session, table, placement).await?;
    let these = rows::joined(table, columns, keys);
    if !values.is_empty() {
        let update = Sql::new("UPDATE ").append(&these).push(&format!(" SET {}", zeros(&values)));
        session.execute(&update).await?;
        let check =
            Sql::new("SELECT COUNT(*) FROM ").append(&these).push(&format!(" WHERE {}", not_zero(&values)));
        if session.count(&check).await? != 0 {
            return Err(not_overwritten(trouble));
        }
    }
    session.execute(&Sql::new(&format!("DELETE {} FROM ", table.source)).append(&these)).await
}

/// The columns that are overwritten: everything but what addresses the row, says whose it is and when it happened, what
/// the server computes, and what other rows or tables hang on.
///
/// # Errors
/// Where a column holds what cannot be overwritten.
pub(super) async fn values<'t>(
    session: &mut Session<'_>,
    table: &'t Table,
    placement: &Placement,
) -> Result<Vec<&'t Column>, StoreError> {
    let trouble = session.trouble;
    let mut kept: BTreeSet<String> = BTreeSet::new();
    for index in table.indexes.iter().filter(|index| index.unique) {
        kept.extend(index.columns.iter().flatten().cloned());
    }
    if let TenantSource::Column(column) = &placement.tenant {
        kept.insert(column.clone());
    }
    if let Some(EventTime::Text { column, .. } | EventTime::Epoch { column, .. }) = &placement.event_time {
        kept.insert(column.clone());
    }
    kept.extend(in_foreign_keys(session, table).await?);
    let values: Vec<&Column> =
        table.columns.iter().filter(|column| !column.generated && !kept.contains(&column.name)).collect();
    if let Some(column) = values.iter().find(|column| column.kind == Kind::Other) {
        let message = format!(
            "column `{}` ({}) cannot be overwritten; use the method delete",
            column.name, column.declared
        );
        return Err(trouble.of(ErrorKind::Refused, &message));
    }
    Ok(values)
}

/// Columns that refer to another table, or that another table refers to.
async fn in_foreign_keys(session: &mut Session<'_>, table: &Table) -> Result<Vec<String>, StoreError> {
    let trouble = session.trouble;
    let sql = Sql::new(
        "SELECT COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE \
         WHERE REFERENCED_TABLE_NAME IS NOT NULL AND TABLE_SCHEMA = ",
    )
    .bind_text(session.schema)
    .push(" AND TABLE_NAME = ")
    .bind_text(table.name.as_str());
    let mut columns = Vec::new();
    for row in &session.rows(&sql).await? {
        columns.push(trouble.text(row, 0)?);
    }
    for child in reach::children(session, table).await? {
        columns.extend(child.refers_to);
    }
    Ok(columns)
}

/// `column = zero, …`
pub(super) fn zeros(values: &[&Column]) -> String {
    let zeros: Vec<String> =
        values.iter().map(|column| format!("{} = {}", column.sql, zero(column))).collect();
    zeros.join(", ")
}

/// True where one of the columns is something else than zeros, byte for byte.
pub(super) fn not_zero(values: &[&Column]) -> String {
    let other: Vec<String> = values
        .iter()
        .map(|column| {
            let zero = Column { sql: format!("({})", zero(column)), ..(*column).clone() };
            format!("NOT ({} <=> {})", read_back(column), read_back(&zero))
        })
        .collect();
    format!("({})", other.join(" OR "))
}

/// A value in a form in which what was written and what is read are the same bytes.
pub(super) fn read_back(column: &Column) -> String {
    let sql = &column.sql;
    match &column.kind {
        Kind::Enum | Kind::Set | Kind::Bit | Kind::Float => format!("CAST({sql} + 0 AS CHAR)"),
        Kind::Decimal { precision, scale } => {
            format!("CAST(CAST({sql} AS DECIMAL({precision},{scale})) AS CHAR)")
        }
        Kind::DateTime | Kind::Timestamp => format!("CAST(CAST({sql} AS DATETIME(6)) AS CHAR)"),
        Kind::Time => format!("CAST(CAST({sql} AS TIME(6)) AS CHAR)"),
        Kind::Int { .. }
        | Kind::Text { .. }
        | Kind::Bytes
        | Kind::Json
        | Kind::Date
        | Kind::Uuid
        | Kind::Other => bytes_of(column),
    }
}

/// A row that does not read as it was written says so.
pub(super) fn not_overwritten(trouble: Trouble<'_>) -> StoreError {
    trouble.of(
        ErrorKind::Refused,
        "a row that was overwritten does not read as zeros; everything was rolled back",
    )
}

/// Zeros of the same type and length. Applied to zeros it changes nothing, which is how they are recognised.
pub(super) fn zero(column: &Column) -> String {
    let value = &column.sql;
    let kept_null = |zero: &str| format!("CASE WHEN {value} IS NULL THEN NULL ELSE {zero} END");
    match &column.kind {
        Kind::Int { .. } | Kind::Decimal { .. } | Kind::Float | Kind::Bit | Kind::Set => kept_null("0"),
        Kind::Text { charset, collation } => {
            format!("REPEAT(CONVERT('0' USING {charset}) COLLATE {collation}, CHAR_LENGTH({value}))")
        }
        Kind::Bytes => format!("REPEAT(x'00', LENGTH({value}))"),
        // A word of zeros is JSON, zeros alone are not.
        Kind::Json => kept_null(&format!(
            "CASE WHEN CHAR_LENGTH({value}) < 3 THEN '0' ELSE CONCAT('\"', REPEAT('0', CHAR_LENGTH({value}) - 2), '\"') END"
        )),
        // The first word of the list.
        Kind::Enum => kept_null("1"),
        Kind::Date => kept_null("CAST('1970-01-01' AS DATE)"),
        Kind::DateTime | Kind::Timestamp => kept_null("CAST('1970-01-02 00:00:00' AS DATETIME)"),
        Kind::Time => kept_null("CAST('00:00:00' AS TIME)"),
        Kind::Uuid => kept_null("CAST('00000000-0000-0000-0000-000000000000' AS UUID)"),
        Kind::Other => value.clone(),
    }
}
