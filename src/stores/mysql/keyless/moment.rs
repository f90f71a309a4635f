//! The event time of rows without a key: how it is ordered, written down and compared again. It reads no instants.

use sqlx::mysql::MySqlRow;

use crate::stores::mysql::catalogue::{Column, Kind};
use crate::stores::mysql::trouble::Trouble;
use crate::stores::mysql::values::{bytes_of, typed};
use crate::stores::sql::Sql;
use crate::stores::{StoreError, Value};

/// Stands for NULL where a time does.
pub(super) const NO_TIME: Value = Value::Int(0);

/// What an index of the time sorts by, where that is the order of what is compared.
pub(super) fn order(time: &Column) -> String {
    if is_typed(time) { time.sql.clone() } else { bytes_of(time) }
}

/// A time as it is written down: what the server shows, or the digits of its bytes.
pub(super) fn shown(time: &Column) -> String {
    if is_typed(time) { bytes_of(time) } else { format!("HEX({})", bytes_of(time)) }
}

/// A time that was written down, as what [`order`] is compared with.
pub(super) fn bound(time: &Column, moment: &Value) -> Sql {
    let text = match moment {
        Value::Text(text) => text.clone(),
        Value::Int(_) | Value::Bytes(_) => String::new(),
    };
    let cast = if is_typed(time) { typed(time, "\u{0}") } else { "UNHEX(\u{0})".to_owned() };
    match cast.split_once('\u{0}') {
        Some((before, behind)) => Sql::new(before).bind_text(text).push(behind),
        None => Sql::never(),
    }
}

fn is_typed(time: &Column) -> bool {
    match time.kind {
        Kind::Int { .. } | Kind::Date | Kind::DateTime | Kind::Timestamp | Kind::Time => true,
        Kind::Decimal { .. }
        | Kind::Float
        | Kind::Text { .. }
        | Kind::Bytes
        | Kind::Json
        | Kind::Enum
        | Kind::Set
        | Kind::Bit
        | Kind::Uuid
        | Kind::Other => false,
    }
}

/// What a written time sorts by here: as the server sorts it.
pub(super) fn sorting<'v>(time: &Column, moment: &'v Value) -> (i128, &'v str) {
    match (moment, &time.kind) {
        (Value::Text(text), Kind::Int { .. }) => (text.parse().unwrap_or(0), ""),
        (Value::Text(text), _) => (0, text),
        (Value::Int(_) | Value::Bytes(_), _) => (0, ""),
    }
}

/// Reads what [`shown`] shows.
pub(super) fn read_time(row: &MySqlRow, index: usize, trouble: Trouble<'_>) -> Result<Value, StoreError> {
    let shown: Option<Vec<u8>> = trouble.get(row, index)?;
    Ok(match shown {
        None => NO_TIME,
        Some(shown) => Value::Text(String::from_utf8_lossy(&shown).into_owned()),
    })
}
