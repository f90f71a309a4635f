//! What stands between a placement and its enforcement: missing columns and indexes, wrong types, and parts of the
//! schema that would erase or change what no policy names. It changes nothing.

use chrono::TimeDelta;

use super::catalogue::{Affinity, Column, Table};
use super::find::is_indexed;
use super::session::{Session, Trouble};
use crate::plan::Interval;
use crate::policy::{EventTime, Placement, Records, TenantSource};
use crate::stores::event_time::order::sorts_by_date;
use crate::stores::sql::{Sql, quoted};
use crate::stores::{ErrorKind, Finding, StoreError};

/// Everything that was found, fatal or not.
pub(super) async fn inspect(
    session: &mut Session<'_>,
    placement: &Placement,
) -> Result<Vec<Finding>, StoreError> {
    let table = match Table::named_by(session, placement).await {
        Ok(table) => table,
        Err(error) if error.kind == ErrorKind::Schema => {
            return Ok(vec![fatal(
                "table",
                error.message,
                "name an ordinary table of this file, exactly as it is written there",
            )]);
        }
        Err(error) => return Err(error),
    };
    let mut findings = columns(&table, placement, session.trouble);
    if findings.is_empty() {
        findings.extend(event_time(session, &table, placement).await?);
    }
    findings.extend(reaches(session, &table).await?);
    if rustix::fs::access(session.path, rustix::fs::Access::WRITE_OK).is_err() {
        findings.push(warning(
            "store",
            "the file may not be written to".to_owned(),
            "let retentiond write to it before it is to erase",
        ));
    }
    Ok(findings)
}

/// What a delete in this table would reach beyond its rows: other tables by foreign keys, anything by triggers.
pub(super) async fn reaches(session: &mut Session<'_>, table: &Table) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    let inbound = Sql::new(
        "SELECT m.name, f.on_delete FROM main.sqlite_schema AS m, pragma_foreign_key_list(m.name, 'main') AS f \
         WHERE m.type = 'table' AND f.seq = 0 AND lower(f.\"table\") = lower(",
    )
    .bind_text(&table.name)
    .push(") ORDER BY m.name, f.id");
    for row in session.rows(&inbound).await? {
        let (other, action): (String, String) = (session.get(&row, 0)?, session.get(&row, 1)?);
        let message =
            format!("rows of `{other}` refer to `{}` (on delete: {})", table.name, action.to_lowercase());
        findings.push(match action.as_str() {
            "CASCADE" | "SET NULL" | "SET DEFAULT" => fatal(
                "table",
                message,
                "take the action off the foreign key: it would change records that no step names",
            ),
            _ => warning("table", message, "erase the referring rows first; otherwise SQLite refuses"),
        });
    }
    let triggers = Sql::new(
        "SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND lower(tbl_name) = lower(",
    )
    .bind_text(&table.name)
    .push(") ORDER BY name");
    for row in session.rows(&triggers).await? {
        let (name, definition): (String, Option<String>) = (session.get(&row, 0)?, session.get(&row, 1)?);
        if fires_on_erasure(&definition.unwrap_or_default()) {
            findings.push(fatal(
                "table",
                format!("trigger `{name}` runs when a row of `{}` is deleted or updated", table.name),
                "drop the trigger: it would change what no policy names",
            ));
        }
    }
    Ok(findings)
}

/// False only for a trigger that surely fires on `INSERT` alone.
fn fires_on_erasure(definition: &str) -> bool {
    let upper = definition.to_ascii_uppercase();
    // The event stands before the first ON that follows it; quoted names in front may hold any word, so a trigger
    // counts as harmless only where neither word appears in front of its body at all.
    let head = upper.split_once("BEGIN").map_or(upper.as_str(), |(head, _)| head);
    let has =
        |word: &str| head.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|each| each == word);
    has("DELETE") || has("UPDATE") || !has("INSERT")
}

/// Names of the placement that are not in the table; each is fatal.
pub(super) fn columns(table: &Table, placement: &Placement, trouble: Trouble<'_>) -> Vec<Finding> {
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match &placement.records {
        Some(Records::Table { key, .. }) => wanted.extend(key.iter().map(|column| ("key", column.as_str()))),
        Some(Records::FoundBy { .. } | Records::Prefix(_) | Records::Keys(_) | Records::Index(_)) | None => {}
    }
    let mut findings = Vec::new();
    match &placement.tenant {
        TenantSource::Column(column) => wanted.push(("tenant", column)),
        TenantSource::Constant(_) => {}
        TenantSource::Template => {
            findings.push(fatal(
                "tenant",
                "a table has no template".to_owned(),
                "name the column that holds the tenant",
            ));
        }
    }
    match &placement.event_time {
        Some(EventTime::Text { column, .. } | EventTime::Epoch { column, .. }) => {
            wanted.push(("event_time", column));
        }
        Some(EventTime::Key(_) | EventTime::Modified) => findings.push(fatal(
            "event_time",
            "rows of a table have their event time in a column".to_owned(),
            "name the column, or leave event_time out",
        )),
        None => {}
    }
    for source in placement.subjects.values() {
        wanted.extend(source.columns.iter().map(|column| ("subjects", column.as_str())));
    }
    for (field, column) in wanted {
        if let Err(error) = table.column(column, trouble) {
            let near = table.columns.iter().find(|other| other.name.eq_ignore_ascii_case(column));
            let help = near.map_or_else(
                || "name a column of the table, exactly as it is written there".to_owned(),
                |near| format!("the table calls it `{}`", near.name),
            );
            findings.push(fatal(field, error.message, &help));
        }
    }
    findings
}

/// Whether the event-time column can hold what the policy expects, and whether an index leads to what is due.
async fn event_time(
    session: &mut Session<'_>,
    table: &Table,
    placement: &Placement,
) -> Result<Vec<Finding>, StoreError> {
    let trouble = session.trouble;
    let (column, is_text, can_lead) = match &placement.event_time {
        Some(EventTime::Text { column, format, .. }) => {
            (table.column(column, trouble)?, true, sorts_by_date(format))
        }
        Some(EventTime::Epoch { column, .. }) => (table.column(column, trouble)?, false, true),
        Some(EventTime::Key(_) | EventTime::Modified) | None => return Ok(Vec::new()),
    };
    let mut findings = Vec::new();
    findings.extend(type_finding(column, is_text));
    if !can_lead {
        findings.push(warning(
            "event_time",
            format!("texts in `{}` do not sort by time, so every run reads the whole table", column.name),
            "keep the event time as %Y-%m-%d %H:%M:%S or as a count of seconds, with an index",
        ));
    } else if !leads(session, table, placement).await? {
        findings.push(warning(
            "event_time",
            format!("no index begins with `{}`, so every run reads the whole table", column.name),
            &format!("CREATE INDEX … ON {} ({})", quoted(&table.name), quoted(&column.name)),
        ));
    }
    Ok(findings)
}

fn type_finding(column: &Column, is_text: bool) -> Option<Finding> {
    let (name, declared) = (&column.name, &column.declared);
    match (column.affinity, is_text) {
        (Affinity::Text, false) => Some(fatal(
            "event_time",
            format!(
                "`{name}` is declared {declared} and holds no numbers, so no row would have a usable time"
            ),
            "leave `unit` out and say how the text is written",
        )),
        (Affinity::Integer, true) => Some(warning(
            "event_time",
            format!("`{name}` is declared {declared}; numbers in it have no usable time"),
            "say what it counts: unit = \"seconds\" or \"milliseconds\"",
        )),
        (Affinity::Text, true)
        | (Affinity::Integer, false)
        | (Affinity::Numeric | Affinity::Blob, true | false) => None,
    }
}

/// True where a short span of event times is found through an index.
async fn leads(session: &mut Session<'_>, table: &Table, placement: &Placement) -> Result<bool, StoreError> {
    let Some(clocked) = table.clocked(placement, session.trouble)? else { return Ok(false) };
    let from = chrono::DateTime::UNIX_EPOCH + TimeDelta::days(10_000);
    let hour = Interval { from, to: from + TimeDelta::hours(1) };
    let sql =
        Sql::new(&format!("SELECT 1 FROM {} WHERE ", table.source())).append(&clocked.inside(&[hour], hour));
    is_indexed(session, &sql).await
}

fn fatal(field: &str, message: String, help: &str) -> Finding {
    Finding { fatal: true, field: field.to_owned(), message, help: help.to_owned() }
}

fn warning(field: &str, message: String, help: &str) -> Finding {
    Finding { fatal: false, field: field.to_owned(), message, help: help.to_owned() }
}
