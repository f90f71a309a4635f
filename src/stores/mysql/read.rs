//! Reads rows out, whole and exact. It owns how a stored value becomes a field; which rows come next is said by `find`,
//! and by `keyless` for tables without a key.

use sqlx::mysql::MySqlRow;

use super::catalogue::{Column, Kind, RowKey, Table};
use super::find::{RECORDS_MAX, Search};
use super::keyless;
use super::predicate::{Owner, predicate};
use super::rows;
use super::session::Session;
use super::trouble::Trouble;
use super::values::{is_carried_raw, utf8_of};
use crate::stores::sql::Sql;
use crate::stores::{Budget, ErrorKind, Field, Position, Query, Read, Record, StoreError};

/// The next rows of a selection after a position.
pub(super) async fn read(
    session: &mut Session<'_>,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
) -> Result<Option<Read>, StoreError> {
    let trouble = session.trouble;
    let table = Table::of(session, &query.placement).await?;
    let shown: Vec<String> = table.columns.iter().map(shown).collect();
    let RowKey::Columns { index, columns } = &table.key else {
        let owner = Owner::of(&table, &query.placement, trouble)?;
        let predicate = predicate(&table, query, trouble)?;
        let rows = keyless::Rows::of(&table, &query.placement, owner, predicate, trouble)?;
        let records_max = budget.records_max.clamp(1, RECORDS_MAX);
        return rows.read(session, after, records_max, &shown).await;
    };
    let search = Search::new(&table, (index, columns), query, after, Vec::new(), trouble)?.at_most(budget);
    let Some(lead) = search.lead(session).await? else { return Ok(None) };
    let sql = Sql::new(&rows::shown_key(columns))
        .push(", ")
        .append(&search.owner.name())
        .push(&format!(", {}", shown.join(", ")));
    let mut records = Vec::new();
    for row in search.next(session, &sql, lead).await? {
        let key = rows::read_key(columns, &row, 0, trouble)?;
        let tenant = rows::read_tenant(&row, columns.len(), trouble)?
            .ok_or_else(|| rows::nameless_selected(trouble))?;
        let fields = fields(&table.columns, &row, columns.len() + 1, trouble)?;
        records.push(Record { tenant, key, fields, has_body: false });
    }
    let position = records.last().map(|last| Position(last.key.clone()));
    Ok(position.map(|position| Read { records, position }))
}

/// The fields of a row, from the column at `index` on.
pub(super) fn fields(
    columns: &[Column],
    row: &MySqlRow,
    index: usize,
    trouble: Trouble<'_>,
) -> Result<Vec<(String, Field)>, StoreError> {
    let mut fields = Vec::with_capacity(columns.len());
    for (place, column) in columns.iter().enumerate() {
        let stored: Option<Vec<u8>> = trouble.get(row, index + place)?;
        let field = stored.map_or(Ok(Field::Null), |stored| field(column, stored, trouble))?;
        fields.push((column.name.clone(), field));
    }
    Ok(fields)
}

/// A value as bytes from which nothing is lost: UTF-8, or what is stored where that is no text.
fn shown(column: &Column) -> String {
    match column.kind {
        Kind::Bytes | Kind::Other => format!("CAST({} AS BINARY)", column.sql),
        // The shortest decimal that reads back as the same number.
        Kind::Float if column.declared.to_ascii_lowercase().starts_with("float") => {
            format!("CAST(CAST({} AS DOUBLE) AS CHAR)", column.sql)
        }
        Kind::Float => format!("CAST({} AS CHAR)", column.sql),
        Kind::Text { .. } if is_carried_raw(column) => format!("CAST({} AS BINARY)", column.sql),
        Kind::Int { .. }
        | Kind::Decimal { .. }
        | Kind::Text { .. }
        | Kind::Json
        | Kind::Enum
        | Kind::Set
        | Kind::Bit
        | Kind::Date
        | Kind::DateTime
        | Kind::Timestamp
        | Kind::Time
        | Kind::Uuid => format!("CAST({} AS BINARY)", utf8_of(column)),
    }
}

fn field(column: &Column, stored: Vec<u8>, trouble: Trouble<'_>) -> Result<Field, StoreError> {
    let wrong = || trouble.of(ErrorKind::Refused, "a number is not written as one");
    let text = |stored: Vec<u8>| String::from_utf8(stored).map_err(|_| wrong());
    Ok(match column.kind {
        Kind::Int { .. } | Kind::Bit => Field::Int(text(stored)?.parse().map_err(|_| wrong())?),
        Kind::Decimal { .. } | Kind::Float => Field::Number(text(stored)?),
        Kind::Bytes | Kind::Other => Field::Bytes(stored),
        Kind::Text { .. } if is_carried_raw(column) => Field::Bytes(stored),
        Kind::Text { .. }
        | Kind::Json
        | Kind::Enum
        | Kind::Set
        | Kind::Date
        | Kind::DateTime
        | Kind::Timestamp
        | Kind::Time
        | Kind::Uuid => Field::of_bytes(stored),
    })
}
