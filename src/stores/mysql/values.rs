//! How a column's value is written, compared and carried: as bytes of UTF-8, and as a typed constant that an index
//! understands. It owns these expressions by kind of column; it knows no predicate.

use super::catalogue::{Column, Kind};
use super::trouble::Trouble;
use crate::stores::sql::{Sql, canonical_integer};
use crate::stores::{ErrorKind, StoreError, Value};

/// The longest text that a carried value may be, in hexadecimal digits: an index key has 3,072 bytes at most, and four
/// of UTF-8 may stand for one of them.
pub(super) const CARRIED_MAX: usize = 16_000;

/// The value as UTF-8 text that is compared by code point.
pub(super) fn utf8_of(column: &Column) -> String {
    match column.kind {
        Kind::Text { .. } | Kind::Bytes | Kind::Json | Kind::Enum | Kind::Set => {
            format!("CONVERT({} USING utf8mb4) COLLATE utf8mb4_bin", column.sql)
        }
        // Added to zero, a number declared ZEROFILL is shown without the zeros in front: its name is its number.
        Kind::Bit | Kind::Int { .. } => {
            format!("CONVERT(CAST({} + 0 AS CHAR) USING utf8mb4) COLLATE utf8mb4_bin", column.sql)
        }
        Kind::Decimal { .. }
        | Kind::Float
        | Kind::Date
        | Kind::DateTime
        | Kind::Timestamp
        | Kind::Time
        | Kind::Uuid
        | Kind::Other => format!("CONVERT(CAST({} AS CHAR) USING utf8mb4) COLLATE utf8mb4_bin", column.sql),
    }
}

/// The value as bytes of UTF-8, which are equal only where all of them are: no folding, no padding, no coercion.
pub(super) fn bytes_of(column: &Column) -> String {
    match column.kind {
        Kind::Bytes => format!("CAST({} AS BINARY)", column.sql),
        Kind::Text { .. }
        | Kind::Json
        | Kind::Enum
        | Kind::Set
        | Kind::Bit
        | Kind::Int { .. }
        | Kind::Decimal { .. }
        | Kind::Float
        | Kind::Date
        | Kind::DateTime
        | Kind::Timestamp
        | Kind::Time
        | Kind::Uuid
        | Kind::Other => format!("CAST({} AS BINARY)", utf8_of(column)),
    }
}

/// A part of a key as bytes that [`typed`] makes the same value of again: UTF-8, or the bytes as they are stored where a
/// text does not survive the way to UTF-8 and back.
pub(super) fn key_of(column: &Column) -> String {
    if is_carried_raw(column) { format!("CAST({} AS BINARY)", column.sql) } else { bytes_of(column) }
}

/// True for texts in a character set of which some characters have no place in Unicode, or two of them the same one: a key
/// read as UTF-8 would name no row, or another one, and the row would be taken for gone.
pub(super) fn is_carried_raw(column: &Column) -> bool {
    const FAITHFUL: [&str; 9] =
        ["utf8mb4", "utf8mb3", "utf8", "ucs2", "utf16", "utf16le", "utf32", "latin1", "ascii"];
    matches!(&column.kind, Kind::Text { charset, .. } if !FAITHFUL.contains(&charset.as_str()))
}

/// A column holds exactly this text: the same bytes, or the number that is written so. An index on it leads.
pub(super) fn equals(column: &Column, text: &str) -> Sql {
    one_of(column, std::slice::from_ref(&text))
}

/// A column holds exactly one of these texts. Of none, no row.
pub(super) fn one_of(column: &Column, texts: &[&str]) -> Sql {
    let list = |before: &str, texts: &[&str], bind: fn(Sql, &str) -> Sql| {
        let mut sql = Sql::new(before).push(" IN (");
        for (place, text) in texts.iter().enumerate() {
            sql = bind(if place > 0 { sql.push(", ") } else { sql }, text);
        }
        sql.push(")")
    };
    let exact = |texts: &[&str]| {
        list(&bytes_of(column), texts, |sql, text| sql.push("CAST(").bind_bytes(text).push(" AS BINARY)"))
    };
    if texts.is_empty() {
        return Sql::never();
    }
    match &column.kind {
        Kind::Int { .. } => {
            let numbers: Vec<&str> = texts.iter().copied().filter(|text| is_integer(text)).collect();
            if numbers.is_empty() {
                return Sql::never();
            }
            list(&column.sql, &numbers, bind_integer)
        }
        // The bare column first, so that an index leads. What the column's character set cannot hold has no place in
        // such a comparison; every set holds ASCII.
        Kind::Text { .. } if texts.iter().all(|text| text.is_ascii()) => {
            Sql::all(&[list(&column.sql, texts, |sql, text| sql.bind_text(text)), exact(texts)])
        }
        Kind::Bytes => list(&column.sql, texts, |sql, text| sql.bind_bytes(text)),
        Kind::Text { .. }
        | Kind::Decimal { .. }
        | Kind::Float
        | Kind::Json
        | Kind::Enum
        | Kind::Set
        | Kind::Bit
        | Kind::Date
        | Kind::DateTime
        | Kind::Timestamp
        | Kind::Time
        | Kind::Other => exact(texts),
        Kind::Uuid => {
            // Only its one way of being written, as the server itself writes it.
            let own = |text: &&str| uuid::Uuid::parse_str(text).is_ok_and(|uuid| uuid.to_string() == *text);
            let uuids: Vec<&str> = texts.iter().copied().filter(own).collect();
            if uuids.is_empty() {
                return Sql::never();
            }
            list(&column.sql, &uuids, |sql, text| sql.push("CAST(").bind_text(text).push(" AS UUID)"))
        }
    }
}

/// True for the one and only way of writing an integer of 64 bits, with a sign or without.
fn is_integer(text: &str) -> bool {
    canonical_integer(text).is_some() || text.parse::<u64>().is_ok_and(|number| number.to_string() == text)
}

fn bind_integer(sql: Sql, text: &str) -> Sql {
    match canonical_integer(text) {
        Some(number) => sql.bind_int(number),
        None => sql.push("CAST(").bind_text(text).push(" AS UNSIGNED)"),
    }
}

/// What a key's column is read as.
pub(super) fn read(column: &Column, stored: Vec<u8>, trouble: Trouble<'_>) -> Result<Value, StoreError> {
    if column.kind == Kind::Bytes || is_carried_raw(column) {
        return Ok(Value::Bytes(stored));
    }
    let text = String::from_utf8(stored)
        .map_err(|_| trouble.of(ErrorKind::Refused, "a key holds a text that is not UTF-8"))?;
    Ok(match (&column.kind, canonical_integer(&text)) {
        (Kind::Int { .. }, Some(number)) => Value::Int(number),
        _ => Value::Text(text),
    })
}

/// A key's value as the text that [`typed`] makes a constant of.
pub(super) fn carried(column: &Column, value: &Value, trouble: Trouble<'_>) -> Result<String, StoreError> {
    let carried = match (&column.kind, value) {
        (Kind::Text { .. }, Value::Text(text)) if !is_carried_raw(column) => hex::encode(text),
        (Kind::Bytes | Kind::Text { .. }, Value::Bytes(bytes)) => hex::encode(bytes),
        (Kind::Int { .. }, Value::Int(number)) => number.to_string(),
        (Kind::Int { unsigned: true }, Value::Text(text)) if is_integer(text) => text.clone(),
        (
            Kind::Decimal { .. } | Kind::Date | Kind::DateTime | Kind::Timestamp | Kind::Time | Kind::Uuid,
            Value::Text(text),
        ) => text.clone(),
        _ => return Err(trouble.of(ErrorKind::Schema, "a key is not of the type that its column has now")),
    };
    if carried.len() > CARRIED_MAX {
        return Err(trouble.of(ErrorKind::Refused, "a key is longer than an index can hold"));
    }
    Ok(carried)
}

/// A constant of the column's own type from a carried text: a placeholder's or a list's.
pub(super) fn typed(column: &Column, carried: &str) -> String {
    match &column.kind {
        Kind::Int { unsigned: false } => format!("CAST({carried} AS SIGNED)"),
        Kind::Int { unsigned: true } => format!("CAST({carried} AS UNSIGNED)"),
        Kind::Decimal { precision, scale } => format!("CAST({carried} AS DECIMAL({precision},{scale}))"),
        Kind::Text { charset, collation } if is_carried_raw(column) => {
            format!("CONVERT(UNHEX({carried}) USING {charset}) COLLATE {collation}")
        }
        Kind::Text { charset, collation } => {
            let utf8 = format!("CONVERT(UNHEX({carried}) USING utf8mb4)");
            format!("CONVERT({utf8} USING {charset}) COLLATE {collation}")
        }
        Kind::Bytes => format!("UNHEX({carried})"),
        Kind::Date => format!("CAST({carried} AS DATE)"),
        Kind::DateTime | Kind::Timestamp => format!("CAST({carried} AS DATETIME(6))"),
        Kind::Time => format!("CAST({carried} AS TIME(6))"),
        Kind::Uuid => format!("CAST({carried} AS UUID)"),
        Kind::Float | Kind::Json | Kind::Enum | Kind::Set | Kind::Bit | Kind::Other => carried.to_owned(),
    }
}

/// A condition: the column equals a carried text, byte for byte.
pub(super) fn same(column: &Column, carried: &str) -> String {
    let typed = typed(column, carried);
    match column.kind {
        // An index in the column's own order leads; bytes decide.
        Kind::Text { .. } => {
            format!("{} = {typed} AND {} = UNHEX({carried})", column.sql, key_of(column))
        }
        Kind::Int { .. }
        | Kind::Decimal { .. }
        | Kind::Float
        | Kind::Bytes
        | Kind::Json
        | Kind::Enum
        | Kind::Set
        | Kind::Bit
        | Kind::Date
        | Kind::DateTime
        | Kind::Timestamp
        | Kind::Time
        | Kind::Uuid
        | Kind::Other => format!("{} = {typed}", column.sql),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: Kind) -> Column {
        Column {
            name: "c".into(),
            sql: "`t`.`c`".into(),
            declared: String::new(),
            kind,
            nullable: false,
            generated: false,
        }
    }

    #[test]
    fn a_number_is_never_compared_with_a_text_that_only_begins_like_it() {
        let number = column(Kind::Int { unsigned: true });
        for text in ["1abc", "01", "1.0", "+1", " 1", "1e3", "0x10", "18446744073709551616", ""] {
            assert_eq!(equals(&number, text), Sql::never(), "{text}");
        }
        assert_eq!(equals(&number, "1"), Sql::new("`t`.`c` IN (").bind_int(1).push(")"));
        let largest = equals(&number, "18446744073709551615");
        assert_eq!(largest.text(), "`t`.`c` IN (CAST(? AS UNSIGNED))");
    }

    #[test]
    fn a_uuid_is_compared_in_its_one_form() {
        let column = column(Kind::Uuid);
        for text in ["{67e55044-10b1-426f-9247-bb680e5fe0c8}", "67E55044-10B1-426F-9247-BB680E5FE0C8", "x"] {
            assert_eq!(equals(&column, text), Sql::never(), "{text}");
        }
        assert_ne!(equals(&column, "67e55044-10b1-426f-9247-bb680e5fe0c8"), Sql::never());
    }
}
