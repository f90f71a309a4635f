//! What stores that speak SQL share: statements made of text and bound values, quoting of identifiers, lists that
//! travel as one bound value, how a subject is written, and what became of a batch. It knows no table and opens no
//! connection.

pub(crate) mod outcome;

use sqlx::mysql::MySqlArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, MySql, Sqlite};

use crate::policy::SubjectFormat;
use crate::stores::Value;

/// A statement, or a piece of one: text in which every value is a placeholder, and the values in order.
///
/// The only ways from here to a database are [`Sql::sqlite`] and [`Sql::mysql`]. Text is pushed by this crate only: literals of our own
/// and identifiers that came out of the catalogue and through [`quoted`] or [`backticked`].
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    /// Starts with a text.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    /// True for every row.
    pub(crate) fn always() -> Self {
        Self::new("TRUE")
    }

    /// True for no row.
    pub(crate) fn never() -> Self {
        Self::new("FALSE")
    }

    /// Adds text.
    pub(crate) fn push(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Adds a placeholder and its value.
    pub(crate) fn bind(mut self, value: Value) -> Self {
        self.text.push('?');
        self.values.push(value);
        self
    }

    /// Adds a placeholder and a text.
    pub(crate) fn bind_text(self, text: impl Into<String>) -> Self {
        self.bind(Value::Text(text.into()))
    }

    /// Adds a placeholder and an integer.
    pub(crate) fn bind_int(self, number: i64) -> Self {
        self.bind(Value::Int(number))
    }

    /// Adds a placeholder and bytes.
    pub(crate) fn bind_bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.bind(Value::Bytes(bytes.into()))
    }

    /// Adds another piece as it is.
    pub(crate) fn append(mut self, other: &Self) -> Self {
        self.text.push_str(&other.text);
        self.values.extend(other.values.iter().cloned());
        self
    }

    /// All of these conditions hold; of none, every row.
    pub(crate) fn all(conditions: &[Self]) -> Self {
        Self::joined(conditions, " AND ", Self::always)
    }

    /// One of these conditions holds; of none, no row.
    pub(crate) fn any(conditions: &[Self]) -> Self {
        Self::joined(conditions, " OR ", Self::never)
    }

    /// The condition does not hold or cannot be told: NULL counts as "does not hold", so that a record which cannot
    /// be compared is never taken for one that matches.
    pub(crate) fn not_true(&self) -> Self {
        Self::new("(").append(self).push(") IS NOT TRUE")
    }

    /// The text, with placeholders.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Ready to be sent to SQLite.
    pub(crate) fn sqlite(&self) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
        let mut query = sqlx::query(AssertSqlSafe(self.text.clone()));
        for value in &self.values {
            query = match value {
                Value::Int(number) => query.bind(*number),
                Value::Text(text) => query.bind(text.clone()),
                Value::Bytes(bytes) => query.bind(bytes.clone()),
            };
        }
        query
    }

    /// Ready to be sent to `MySQL` or `MariaDB`.
    pub(crate) fn mysql(&self) -> sqlx::query::Query<'static, MySql, MySqlArguments> {
        let mut query = sqlx::query(AssertSqlSafe(self.text.clone()));
        for value in &self.values {
            query = match value {
                Value::Int(number) => query.bind(*number),
                Value::Text(text) => query.bind(text.clone()),
                Value::Bytes(bytes) => query.bind(bytes.clone()),
            };
        }
        query
    }

    fn joined(conditions: &[Self], word: &str, none: fn() -> Self) -> Self {
        match conditions {
            [] => none(),
            [only] => only.clone(),
            [first, rest @ ..] => {
                let mut sql = Self::new("(").append(first).push(")");
                for condition in rest {
                    sql = sql.push(word).push("(").append(condition).push(")");
                }
                sql
            }
        }
    }
}

/// An identifier in double quotes, as SQLite and standard SQL read it. It must have been seen in the catalogue.
pub(crate) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// An identifier in backticks, as `MySQL` and `MariaDB` read it in every mode. It must have been seen in the catalogue.
pub(crate) fn backticked(identifier: &str) -> String {
    format!("`{}`", identifier.replace('`', "``"))
}

/// Any number of texts as one bound value, for `json_each(?)`. `None` where one of them holds a NUL character, which
/// JSON functions of databases cut short.
pub(crate) fn json_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let texts: Vec<&str> = texts.into_iter().collect();
    if texts.iter().any(|text| text.contains('\0')) {
        return None;
    }
    serde_json::to_string(&texts).ok()
}

/// The integer that a text is the one and only way of writing: `42`, but neither `042`, `+42` nor `4e1`.
pub(crate) fn canonical_integer(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

/// A subject's value as the columns of a placement hold it; `None` for nothing, which no column can name.
pub(crate) fn subject_text(value: &str, format: SubjectFormat) -> Option<String> {
    Some(format.write(value)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_in_the_order_of_their_placeholders() {
        let left = Sql::new("a = ").bind_int(1);
        let right = Sql::new("b = ").bind_text("x");
        let both = Sql::all(&[left, right]).push(" AND c = ").bind_int(2);
        assert_eq!(both.text(), "(a = ?) AND (b = ?) AND c = ?");
        assert_eq!(both.values, [Value::Int(1), Value::Text("x".into()), Value::Int(2)]);
    }

    #[test]
    fn no_condition_means_every_row_for_all_and_no_row_for_any() {
        assert_eq!(Sql::all(&[]).text(), "TRUE");
        assert_eq!(Sql::any(&[]).text(), "FALSE");
    }

    #[test]
    fn a_quote_in_an_identifier_is_doubled() {
        assert_eq!(quoted(r#"a"b; DROP TABLE x"#), r#""a""b; DROP TABLE x""#);
    }

    #[test]
    fn a_backtick_in_an_identifier_is_doubled() {
        assert_eq!(backticked("a`b; DROP TABLE x"), "`a``b; DROP TABLE x`");
    }

    #[test]
    fn only_the_canonical_decimal_is_an_integer() {
        assert_eq!(canonical_integer("42"), Some(42));
        assert_eq!(canonical_integer("-7"), Some(-7));
        assert_eq!(canonical_integer("9223372036854775807"), Some(i64::MAX));
        for other in ["042", "+42", "42 ", "4e1", "42.0", "-0", "9223372036854775808", "", "1abc"] {
            assert_eq!(canonical_integer(other), None, "{other}");
        }
    }

    #[test]
    fn a_list_with_a_nul_character_cannot_travel_as_json() {
        assert_eq!(json_list(["a\"b", "c"]).as_deref(), Some(r#"["a\"b","c"]"#));
        assert_eq!(json_list(["a\0b"]), None);
    }

    #[test]
    fn a_phone_number_is_written_as_the_placement_writes_it() {
        assert_eq!(subject_text("+65 9123-4567", SubjectFormat::E164).as_deref(), Some("+6591234567"));
        assert_eq!(subject_text("+65 9123-4567", SubjectFormat::Digits).as_deref(), Some("6591234567"));
        assert_eq!(subject_text("+65 9123-4567", SubjectFormat::AsIs).as_deref(), Some("+65 9123-4567"));
        assert_eq!(subject_text("anonymous", SubjectFormat::Digits).as_deref(), Some("anonymous"));
        assert_eq!(subject_text("", SubjectFormat::AsIs), None);
    }
}
