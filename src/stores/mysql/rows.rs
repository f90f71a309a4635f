//! Rows by their keys: how keys of a batch travel as one bound value, how rows are read back by them, and how rows are
//! counted per tenant. Used to find, to erase and to read back; it changes nothing.

use std::collections::BTreeMap;

use sqlx::mysql::MySqlRow;

use super::catalogue::{Column, Table};
use super::predicate::Owner;
use super::trouble::Trouble;
use super::values::{CARRIED_MAX, carried, key_of, read, same, typed};
use crate::id::TenantId;
use crate::stores::sql::Sql;
use crate::stores::sql::outcome::Standing;
use crate::stores::{ErrorKind, Key, StoreError};

/// Counts of one tenant in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Presence {
    /// Rows that the predicate selects.
    pub(super) matching: u64,
    /// Rows, selected or not, where they were counted.
    pub(super) rows: u64,
}

/// A condition: the key lies between two, both inside.
pub(super) fn between(column: &Column, from: i64, to: i64) -> Sql {
    Sql::new(&column.sql).push(" BETWEEN ").bind_int(from).push(" AND ").bind_int(to)
}

/// A condition: the key comes after another, in the order of its index. The server compares, so that nothing is
/// skipped whatever order a collation has.
pub(super) fn after(columns: &[Column], key: &Key, trouble: Trouble<'_>) -> Result<Sql, StoreError> {
    let mut bounds = Vec::new();
    for (column, value) in fitting(columns, key, trouble)?.iter().zip(&key.0) {
        // Whole numbers need no help, and a bare placeholder is what an index likes best.
        bounds.push((column, carried(column, value, trouble)?));
    }
    let compare = |(column, value): &(&Column, String), sign: &str| {
        let (before, behind) = split(&typed(column, "\u{0}"));
        Sql::new(&format!("{} {sign} {before}", column.sql)).bind_text(value.as_str()).push(&behind)
    };
    let mut condition: Option<Sql> = None;
    for (place, bound) in bounds.iter().enumerate().rev() {
        let beyond = compare(bound, ">");
        condition = Some(match condition {
            None => beyond,
            Some(rest) => Sql::any(&[beyond, Sql::all(&[compare(bound, "="), rest])]),
        });
        if place == 0 && bounds.len() > 1 {
            condition = condition.map(|sql| Sql::all(&[compare(bound, ">="), sql]));
        }
    }
    condition.ok_or_else(|| trouble.of(ErrorKind::Schema, "the table has no key any more"))
}

/// Keys as one bound value: an array of arrays of texts.
pub(super) struct Carried {
    json: String,
    /// How wide the widest part is, rounded up so that few statements differ.
    width: usize,
}

impl Carried {
    /// From the parts of each key.
    pub(super) fn new(keys: &[Vec<String>], trouble: Trouble<'_>) -> Result<Self, StoreError> {
        let widest = keys.iter().flatten().map(String::len).max().unwrap_or(0);
        let json = serde_json::to_string(keys)
            .map_err(|_| trouble.of(ErrorKind::Refused, "a key cannot be written as JSON"))?;
        Ok(Self { json, width: widest.next_power_of_two().clamp(32, CARRIED_MAX) })
    }

    /// As a table `j`: `place` counts from 1, `k0` … are the parts.
    pub(super) fn source(&self, parts: usize) -> Sql {
        let columns: Vec<String> =
            (0..parts).map(|part| format!("k{part} VARCHAR({}) PATH '$[{part}]'", self.width)).collect();
        Sql::new("JSON_TABLE(")
            .bind_text(self.json.as_str())
            .push(&format!(", '$[*]' COLUMNS (place FOR ORDINALITY, {})) AS j", columns.join(", ")))
    }
}

/// The keys of a list, ready to travel.
pub(super) fn carried_keys<'a>(
    columns: &[Column],
    keys: impl IntoIterator<Item = &'a Key>,
    trouble: Trouble<'_>,
) -> Result<Carried, StoreError> {
    let mut all = Vec::new();
    for key in keys {
        let parts = fitting(columns, key, trouble)?
            .iter()
            .zip(&key.0)
            .map(|(column, value)| carried(column, value, trouble))
            .collect::<Result<Vec<String>, _>>()?;
        all.push(parts);
    }
    Carried::new(&all, trouble)
}

/// A list of keys and the rows under them. The list leads, so that the cost is that of the list.
pub(super) fn joined(table: &Table, columns: &[Column], keys: &Carried) -> Sql {
    let on = is_under(columns);
    keys.source(columns.len()).push(&format!(" STRAIGHT_JOIN {} ON {on}", table.source_by_key()))
}

/// Those of a list of keys under which the row at hand is.
pub(super) fn under(columns: &[Column], keys: &Carried) -> Sql {
    keys.source(columns.len()).push(&format!(" WHERE {}", is_under(columns)))
}

fn is_under(columns: &[Column]) -> String {
    let parts = columns.iter().enumerate().map(|(part, column)| same(column, &format!("j.k{part}")));
    parts.collect::<Vec<_>>().join(" AND ")
}

/// How the rows under listed keys stand: one row per key that is still there.
pub(super) fn standing_sql(
    table: &Table,
    columns: &[Column],
    owner: &Owner<'_>,
    predicate: &Sql,
    keys: &Carried,
) -> Sql {
    Sql::new("SELECT CAST(j.place AS SIGNED), ")
        .append(&owner.name())
        .push(", CASE WHEN ")
        .append(predicate)
        .push(" THEN 1 ELSE 0 END FROM ")
        .append(&joined(table, columns, keys))
}

/// Reads an answer to [`standing_sql`].
pub(super) fn read_standing(rows: &[MySqlRow], trouble: Trouble<'_>) -> Result<Vec<Standing>, StoreError> {
    rows.iter()
        .map(|row| {
            let index =
                usize::try_from(trouble.count(row, 0)?)
                    .ok()
                    .and_then(|place| place.checked_sub(1))
                    .ok_or_else(|| trouble.of(ErrorKind::Unreachable, "a place in a list is out of range"))?;
            let matches = trouble.get::<i64>(row, 2)? != 0;
            Ok(Standing { index, tenant: read_tenant(row, 1, trouble)?, matches })
        })
        .collect()
}

/// Counts the rows of a window per tenant: name, how many the predicate selects, how many there are.
pub(super) fn presence_sql(table: &Table, owner: &Owner<'_>, predicate: &Sql, window: &Sql) -> Sql {
    Sql::new("SELECT ")
        .append(&owner.name())
        .push(", COUNT(CASE WHEN ")
        .append(predicate)
        .push(&format!(" THEN 1 END), COUNT(*) FROM {} WHERE ", table.source_by_key()))
        .append(window)
        .push(" GROUP BY 1")
}

/// Reads an answer to [`presence_sql`]. Rows that name nobody are never selected by a batch and are left out.
pub(super) fn read_presence(
    rows: &[MySqlRow],
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

/// Counts rows that meet a condition per tenant, in one look: name, count.
pub(super) fn count_sql(table: &Table, owner: &Owner<'_>, condition: &Sql) -> Sql {
    Sql::new("SELECT ")
        .append(&owner.name())
        .push(&format!(", COUNT(*) FROM {} WHERE ", table.source_by_key()))
        .append(condition)
        .push(" GROUP BY 1")
}

/// Reads an answer to [`count_sql`]: per tenant, and how many name nobody.
pub(super) fn read_counts(
    rows: &[MySqlRow],
    trouble: Trouble<'_>,
) -> Result<(BTreeMap<TenantId, u64>, u64), StoreError> {
    let (mut counts, mut nameless) = (BTreeMap::new(), 0);
    for row in rows {
        let count = trouble.count(row, 1)?;
        match read_tenant(row, 0, trouble)? {
            Some(tenant) => *counts.entry(tenant).or_default() += count,
            None => nameless += count,
        }
    }
    Ok((counts, nameless))
}

/// Reads whose a row is. A name that is not UTF-8 is nobody's: it does not hide the rows of others, and a batch that
/// would hold it is refused.
pub(super) fn read_tenant(
    row: &MySqlRow,
    index: usize,
    trouble: Trouble<'_>,
) -> Result<Option<TenantId>, StoreError> {
    let name = trouble.get::<Option<Vec<u8>>>(row, index)?.and_then(|name| String::from_utf8(name).ok());
    Ok(name.and_then(|name| TenantId::observed(&name)))
}

/// The columns of a key, to be read by [`read_key`].
pub(super) fn shown_key(columns: &[Column]) -> String {
    columns.iter().map(key_of).collect::<Vec<_>>().join(", ")
}

/// Reads the key of a row from the columns that begin at an index.
pub(super) fn read_key(
    columns: &[Column],
    row: &MySqlRow,
    index: usize,
    trouble: Trouble<'_>,
) -> Result<Key, StoreError> {
    let mut parts = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        let stored: Option<Vec<u8>> = trouble.get(row, index + place)?;
        let stored = stored.ok_or_else(|| trouble.of(ErrorKind::Schema, "a part of a key is NULL"))?;
        parts.push(read(column, stored, trouble)?);
    }
    Ok(Key(parts))
}

/// A batch that holds records of nobody is a bug: nothing may be done with it.
pub(super) fn nameless_selected(trouble: Trouble<'_>) -> StoreError {
    trouble.of(
        ErrorKind::Unresolved,
        "the selection takes records that name no tenant, which are only ever counted",
    )
}

fn fitting<'c>(columns: &'c [Column], key: &Key, trouble: Trouble<'_>) -> Result<&'c [Column], StoreError> {
    if key.0.len() == columns.len() {
        return Ok(columns);
    }
    Err(trouble.of(ErrorKind::Schema, "a key has not as many parts as the table's key has"))
}

/// What stands before and behind the one place of a value.
fn split(expression: &str) -> (String, String) {
    let (before, behind) = expression.split_once('\u{0}').unwrap_or((expression, ""));
    (before.to_owned(), behind.to_owned())
}
