//! Rows by their keys: how keys of a batch travel as one bound value, how rows are read back by them, and how rows
//! are counted per tenant. Used to find, to erase and to read back; it changes nothing.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;

use super::catalogue::{Column, RowKey, Table};
use super::predicate::Owner;
use super::session::Trouble;
use crate::id::TenantId;
use crate::stores::sql::Sql;
use crate::stores::sql::outcome::Standing;
use crate::stores::{ErrorKind, Key, StoreError, Value};

/// Counts of one tenant in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Presence {
    /// Rows that the predicate selects.
    pub(super) matching: u64,
    /// Rows, selected or not, where they were counted.
    pub(super) rows: u64,
}

/// A condition: the key lies between two rowids, both inside.
pub(super) fn between(table: &Table, from: i64, to: i64) -> Sql {
    Sql::new(&table.key.list()).push(" BETWEEN ").bind_int(from).push(" AND ").bind_int(to)
}

/// A condition: the key comes after another, in the order of the key.
pub(super) fn after(table: &Table, key: &Key, trouble: Trouble<'_>) -> Result<Sql, StoreError> {
    fits(table, key, trouble)?;
    let mut sql = Sql::new("(").push(&table.key.list()).push(") > (");
    for (place, value) in key.0.iter().enumerate() {
        sql = if place > 0 { sql.push(", ") } else { sql };
        sql = sql.bind(value.clone());
    }
    Ok(sql.push(")"))
}

/// A condition: the key is one of these (made by [`keys_json`]).
pub(super) fn one_of(table: &Table, keys: &str) -> Sql {
    let parts: Vec<String> = (0..table.key.parts().len()).map(|place| part(table, place)).collect();
    Sql::new("(")
        .push(&table.key.list())
        .push(") IN (SELECT ")
        .push(&parts.join(", "))
        .push(" FROM json_each(")
        .bind_text(keys)
        .push(") AS j)")
}

/// Keys as one bound value: rowids as an array, other keys as an array of arrays. Integers and texts are themselves, a
/// blob is its hexadecimal digits in an array of their own, so that no value can pass for one of another type.
pub(super) fn keys_json<'a>(
    table: &Table,
    keys: impl IntoIterator<Item = &'a Key>,
    trouble: Trouble<'_>,
) -> Result<String, StoreError> {
    let mut all = Vec::new();
    for key in keys {
        fits(table, key, trouble)?;
        let mut parts = Vec::new();
        for value in &key.0 {
            parts.push(match value {
                Value::Int(number) => serde_json::json!(number),
                Value::Text(text) if text.contains('\0') => {
                    return Err(trouble.of(ErrorKind::Refused, "a key holds a NUL character"));
                }
                Value::Text(text) => serde_json::json!(text),
                Value::Bytes(bytes) => serde_json::json!([hex::encode(bytes)]),
            });
        }
        all.push(match (&table.key, parts.pop()) {
            (RowKey::Rowid(_), Some(rowid)) => rowid,
            (RowKey::Rowid(_) | RowKey::Columns(_), last) => {
                parts.extend(last);
                serde_json::Value::Array(parts)
            }
        });
    }
    Ok(serde_json::Value::Array(all).to_string())
}

/// How the rows under listed keys stand: one row per key that is still there. The list leads, so that the cost is
/// that of the list.
pub(super) fn standing_sql(table: &Table, owner: &Owner<'_>, predicate: &Sql, keys: &str) -> Sql {
    Sql::new("SELECT j.key, ")
        .append(&owner.name_or_null())
        .push(", CASE WHEN ")
        .append(predicate)
        .push(" THEN 1 ELSE 0 END")
        .append(&under(table, keys))
}

/// What the rows under listed keys name now in some columns: one row per key that is still there.
pub(super) fn names_sql(table: &Table, columns: &[&Column], keys: &str) -> Sql {
    Sql::new("SELECT j.key").push(&shown_names(columns)).append(&under(table, keys))
}

fn under(table: &Table, keys: &str) -> Sql {
    let same: Vec<String> = table
        .key
        .parts()
        .iter()
        .enumerate()
        .map(|(place, key)| format!("{key} = {}", part(table, place)))
        .collect();
    Sql::new(" FROM json_each(")
        .bind_text(keys)
        .push(") AS j CROSS JOIN ")
        .push(&table.source_by_key())
        .push(" WHERE ")
        .push(&same.join(" AND "))
}

/// Columns that name something, behind others, to be read by [`read_names`].
pub(super) fn shown_names(columns: &[&Column]) -> String {
    columns.iter().map(|column| format!(", CAST({} AS TEXT)", column.sql)).collect()
}

/// What the columns of a row name, from the column at `index` on; NULL and empty are left out.
pub(super) fn read_names(
    columns: &[&Column],
    row: &SqliteRow,
    index: usize,
    trouble: Trouble<'_>,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut names = BTreeMap::new();
    for (place, column) in columns.iter().enumerate() {
        let name: Option<Vec<u8>> = trouble.get(row, index + place)?;
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            // What is not UTF-8 lies below no prefix: the row is left and reported, and hinders no other.
            let name = String::from_utf8(name).unwrap_or_else(|_| char::REPLACEMENT_CHARACTER.to_string());
            names.insert(column.name.clone(), name);
        }
    }
    Ok(names)
}

/// Reads an answer to [`standing_sql`].
pub(super) fn read_standing(rows: &[SqliteRow], trouble: Trouble<'_>) -> Result<Vec<Standing>, StoreError> {
    rows.iter()
        .map(|row| {
            let index = usize::try_from(trouble.count(row, 0)?)
                .map_err(|_| trouble.of(ErrorKind::Unreachable, "a place in a list is out of range"))?;
            let matches = trouble.get::<i64>(row, 2)? != 0;
            Ok(Standing { index, tenant: read_tenant(row, 1, trouble)?, matches })
        })
        .collect()
}

/// What is counted of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// Rows that the predicate selects.
    Matching,
    /// These, and all rows beside: twice the work.
    All,
}

/// Counts a window per tenant, in one look.
pub(super) fn presence_sql(
    table: &Table,
    owner: &Owner<'_>,
    predicate: &Sql,
    window: &Sql,
    counted: Counted,
) -> Sql {
    let by_tenant = owner.group().map(|group| format!(" GROUP BY {group}")).unwrap_or_default();
    let matching = Sql::new("SELECT ")
        .append(&owner.name())
        .push(&format!(", count(*), 0 FROM {} WHERE ", table.source_by_key()))
        .append(&Sql::all(&[window.clone(), predicate.clone()]))
        .push(&by_tenant);
    match counted {
        Counted::Matching => matching,
        Counted::All => matching
            .push(" UNION ALL SELECT ")
            .append(&owner.name())
            .push(&format!(", 0, count(*) FROM {} WHERE ", table.source_by_key()))
            .append(&Sql::all(&[window.clone(), owner.may_be_named()]))
            .push(&by_tenant),
    }
}

/// Reads an answer to [`presence_sql`]. Rows that name nobody are never selected by a batch and are left out.
pub(super) fn read_presence(
    rows: &[SqliteRow],
    trouble: Trouble<'_>,
) -> Result<BTreeMap<TenantId, Presence>, StoreError> {
    let mut present = BTreeMap::new();
    for row in rows {
        let counts = Presence { matching: trouble.count(row, 1)?, rows: trouble.count(row, 2)? };
        match read_tenant(row, 0, trouble)? {
            Some(tenant) => {
                let entry: &mut Presence = present.entry(tenant).or_default();
                entry.matching += counts.matching;
                entry.rows += counts.rows;
            }
            None if counts.matching == 0 => {}
            None => return Err(nameless_selected(trouble)),
        }
    }
    Ok(present)
}

/// Reads whose a row is. A name that is not UTF-8 is nobody's: it does not hide the rows of others, and a batch that
/// would hold it is refused.
pub(super) fn read_tenant(
    row: &SqliteRow,
    index: usize,
    trouble: Trouble<'_>,
) -> Result<Option<TenantId>, StoreError> {
    let name = trouble.get::<Option<Vec<u8>>>(row, index)?.and_then(|name| String::from_utf8(name).ok());
    Ok(name.and_then(|name| TenantId::observed(&name)))
}

/// Reads the key of a row from the columns that begin at an index.
pub(super) fn read_key(
    table: &Table,
    row: &SqliteRow,
    index: usize,
    trouble: Trouble<'_>,
) -> Result<Key, StoreError> {
    (index..index + table.key.parts().len())
        .map(|place| {
            trouble.value(row, place)?.ok_or_else(|| trouble.of(ErrorKind::Schema, "a part of a key is NULL"))
        })
        .collect::<Result<Vec<Value>, StoreError>>()
        .map(Key)
}

/// A batch that holds records of nobody is a bug: nothing may be done with it.
pub(super) fn nameless_selected(trouble: Trouble<'_>) -> StoreError {
    trouble.of(
        ErrorKind::Unresolved,
        "the selection takes records that name no tenant, which are only ever counted",
    )
}

/// A part of a key that travels in [`keys_json`].
fn part(table: &Table, place: usize) -> String {
    match table.key {
        // No function, see `instants::is_text`.
        RowKey::Rowid(_) => "j.value".to_owned(),
        RowKey::Columns(_) => format!(
            "CASE json_type(j.value, '$[{place}]') WHEN 'array' THEN unhex(json_extract(j.value, '$[{place}][0]')) \
             ELSE json_extract(j.value, '$[{place}]') END"
        ),
    }
}

fn fits(table: &Table, key: &Key, trouble: Trouble<'_>) -> Result<(), StoreError> {
    if key.0.len() == table.key.parts().len() {
        return Ok(());
    }
    Err(trouble.of(ErrorKind::Schema, "a key has not as many parts as the table's key has"))
}
