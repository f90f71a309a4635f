//! What erasing in a table reaches beyond its rows: other tables by foreign keys, anything by triggers. It owns the
//! questions to the catalogue; what is done about the answers is said by whoever asks.

use super::catalogue::Table;
use super::session::Session;
use super::wanted::fatal;
use crate::stores::sql::Sql;
use crate::stores::{Finding, StoreError};

/// A table whose rows refer to another table's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its name, behind its database's where that is another one.
    pub table: String,
    /// The column that refers.
    pub column: String,
    /// What becomes of its rows: `RESTRICT`, `CASCADE` …
    pub on_delete: String,
    /// The columns that are referred to.
    pub refers_to: Vec<String>,
}

impl Child {
    /// True where the server refuses to erase a row that is referred to, and changes nothing by itself.
    pub fn is_refusing(&self) -> bool {
        matches!(self.on_delete.as_str(), "RESTRICT" | "NO ACTION")
    }
}

/// The tables that refer to a table, as far as the user may see them.
pub(super) async fn children(session: &mut Session<'_>, table: &Table) -> Result<Vec<Child>, StoreError> {
    let trouble = session.trouble;
    // This alone asks every table of the server; the rest is asked of tables that refer.
    let sql = Sql::new(
        "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, DELETE_RULE \
         FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE UNIQUE_CONSTRAINT_SCHEMA = ",
    )
    .bind_text(session.schema)
    .push(" AND REFERENCED_TABLE_NAME = ")
    .bind_text(table.name.as_str())
    .push(" ORDER BY 1, 2, 3");
    let mut children = Vec::new();
    for row in &session.rows(&sql).await? {
        let (schema, name, key) = (trouble.text(row, 0)?, trouble.text(row, 1)?, trouble.text(row, 2)?);
        let sql = Sql::new(
            "SELECT COLUMN_NAME, REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = ",
        )
        .bind_text(schema.as_str())
        .push(" AND TABLE_NAME = ")
        .bind_text(name.as_str())
        .push(" AND CONSTRAINT_NAME = ")
        .bind_text(key)
        .push(" ORDER BY ORDINAL_POSITION");
        let (mut column, mut refers_to) = (String::new(), Vec::new());
        for row in &session.rows(&sql).await? {
            if refers_to.is_empty() {
                column = trouble.text(row, 0)?;
            }
            refers_to.push(trouble.text(row, 1)?);
        }
        children.push(Child {
            table: if schema == session.schema { name } else { format!("{schema}.{name}") },
            column,
            on_delete: trouble.text(row, 3)?,
            refers_to,
        });
    }
    Ok(children)
}

/// What an erasure in this table would change without being asked; each is fatal.
pub(super) async fn unasked(session: &mut Session<'_>, table: &Table) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    for child in children(session, table).await? {
        if !child.is_refusing() {
            findings.push(fatal(
                "table",
                format!(
                    "rows of `{}` refer to `{}` by column `{}` (on delete: {})",
                    child.table,
                    table.name,
                    child.column,
                    child.on_delete.to_lowercase()
                ),
                "take the action off the foreign key: it would change records that no step names",
            ));
        }
    }
    let trouble = session.trouble;
    let triggers = Sql::new(
        "SELECT TRIGGER_NAME, EVENT_MANIPULATION FROM information_schema.TRIGGERS \
         WHERE EVENT_MANIPULATION IN ('DELETE', 'UPDATE') AND EVENT_OBJECT_SCHEMA = ",
    )
    .bind_text(session.schema)
    .push(" AND EVENT_OBJECT_TABLE = ")
    .bind_text(table.name.as_str())
    .push(" ORDER BY 1");
    for row in &session.rows(&triggers).await? {
        findings.push(fatal(
            "table",
            format!(
                "trigger `{}` runs when a row of `{}` is subject to {}",
                trouble.text(row, 0)?,
                table.name,
                trouble.text(row, 1)?
            ),
            "drop the trigger: it would change what no policy names",
        ));
    }
    Ok(findings)
}
