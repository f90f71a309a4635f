//! Reads rows out, whole and exact. It owns how a stored value becomes a field; which rows come next is `find`'s.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, ValueRef};

use super::find::Search;
use super::rows;
use super::session::{Session, Trouble};
use crate::stores::sql::Sql;
use crate::stores::{Budget, Field, Position, Query, Read, Record, StoreError};

/// The next rows of a selection after a position.
pub(super) async fn read(
    session: &mut Session<'_>,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
) -> Result<Option<Read>, StoreError> {
    let trouble = session.trouble;
    let table = super::catalogue::Table::of(session, &query.placement).await?;
    let search = Search::new(&table, query, after, budget, Vec::new(), trouble)?;
    let Some(lead) = search.lead(session).await? else { return Ok(None) };
    let mut shown = Sql::new(&table.key.list()).push(", ").append(&search.owner.name());
    for column in &table.columns {
        // As a blob where it is a text, so that bytes that are no UTF-8 arrive as they are; its type goes beside it.
        let sql = &column.sql;
        shown = shown.push(&format!(
            ", CASE typeof({sql}) WHEN 'text' THEN CAST({sql} AS BLOB) ELSE {sql} END, typeof({sql})"
        ));
    }
    let mut records = Vec::new();
    for row in search.next(session, &shown, lead).await? {
        let key = rows::read_key(&table, &row, 0, trouble)?;
        let tenant_at = table.key.parts().len();
        let tenant =
            rows::read_tenant(&row, tenant_at, trouble)?.ok_or_else(|| rows::nameless_selected(trouble))?;
        let mut fields = Vec::with_capacity(table.columns.len());
        for (place, column) in table.columns.iter().enumerate() {
            fields.push((column.name.clone(), field(&row, tenant_at + 1 + 2 * place, trouble)?));
        }
        records.push(Record { tenant, key, fields, has_body: false });
    }
    let position = records.last().map(|last| Position(last.key.clone()));
    Ok(position.map(|position| Read { records, position }))
}

fn field(row: &SqliteRow, index: usize, trouble: Trouble<'_>) -> Result<Field, StoreError> {
    let raw = row.try_get_raw(index).map_err(|error| trouble.from(&error))?;
    if raw.is_null() {
        return Ok(Field::Null);
    }
    let kind: String = trouble.get(row, index + 1)?;
    Ok(match kind.as_str() {
        "integer" => Field::Int(trouble.get::<i64>(row, index)?.into()),
        // The shortest digits that read back as the same number; SQLite itself writes fewer.
        "real" => Field::Number(format!("{:?}", trouble.get::<f64>(row, index)?)),
        "text" => Field::of_bytes(trouble.get(row, index)?),
        _ => Field::Bytes(trouble.get(row, index)?),
    })
}
