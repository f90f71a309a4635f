//! What stands between a placement and its enforcement: missing columns and indexes, wrong types, foreign keys, triggers,
//! privileges. It changes nothing.

use super::catalogue::{Column, Kind, RowKey, Table};
use super::grants;
use super::reach;
use super::session::Session;
use super::trouble::Trouble;
use super::wanted::{columns, fatal, warning};
use crate::policy::{EventTime, Placement, TenantSource};
use crate::stores::event_time::order::sorts_by_date;
use crate::stores::sql::{Sql, backticked};
use crate::stores::{ErrorKind, Finding, StoreError};

/// Everything that was found, fatal or not.
pub(super) async fn inspect(
    session: &mut Session<'_>,
    placement: &Placement,
) -> Result<Vec<Finding>, StoreError> {
    let trouble = session.trouble;
    if session
        .rows(&Sql::new("SELECT 1 FROM JSON_TABLE('[]', '$[*]' COLUMNS (k0 INT PATH '$')) AS j"))
        .await
        .is_err()
    {
        return Ok(vec![fatal(
            "store",
            "the server is too old: it does not know JSON_TABLE".to_owned(),
            "MariaDB 10.6 and MySQL 8.0 are the oldest that can be enforced on",
        )]);
    }
    let table = match Table::named_by(session, placement).await {
        Ok(table) => table,
        Err(error) if error.kind == ErrorKind::Schema => {
            return Ok(vec![fatal(
                "table",
                error.message,
                "name an InnoDB table of this database, exactly as it is written there",
            )]);
        }
        Err(error) => return Err(error),
    };
    let mut findings = columns(&table, placement, trouble);
    if findings.is_empty() {
        findings.extend(event_time(&table, placement, trouble)?);
        findings.extend(tenant(&table, placement, trouble)?);
    }
    findings.extend(shape(&table));
    findings.extend(reach::unasked(session, &table).await?);
    findings.extend(grants::inspect(session, &table).await?);
    Ok(findings)
}

/// How rows are addressed, and parts that are erased row by row all the same.
fn shape(table: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    if matches!(table.key, RowKey::None) {
        findings.push(warning(
            "key",
            format!("`{}` has no primary key; its rows are told apart by all that is in them", table.name),
            "add one: ALTER TABLE … ADD COLUMN id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY",
        ));
    }
    if table.partitioned {
        findings.push(warning(
            "table",
            format!("`{}` is partitioned; it is erased row by row, and no partition is dropped", table.name),
            "nothing needs to be done",
        ));
    }
    findings
}

/// A tenant that is not kept as text or a number.
fn tenant(table: &Table, placement: &Placement, trouble: Trouble<'_>) -> Result<Vec<Finding>, StoreError> {
    let TenantSource::Column(column) = &placement.tenant else { return Ok(Vec::new()) };
    let column = table.column(column, trouble)?;
    Ok(match column.kind {
        Kind::Float
        | Kind::Bit
        | Kind::Set
        | Kind::Date
        | Kind::DateTime
        | Kind::Timestamp
        | Kind::Time
        | Kind::Other => {
            vec![warning(
                "tenant",
                format!(
                    "`{}` is declared {} and names tenants as that is shown",
                    column.name, column.declared
                ),
                "keep tenants as text or as whole numbers",
            )]
        }
        Kind::Int { .. }
        | Kind::Decimal { .. }
        | Kind::Text { .. }
        | Kind::Bytes
        | Kind::Json
        | Kind::Enum
        | Kind::Uuid => Vec::new(),
    })
}

/// Whether the event-time column can hold what the policy expects, and whether an index leads to what is due.
fn event_time(
    table: &Table,
    placement: &Placement,
    trouble: Trouble<'_>,
) -> Result<Vec<Finding>, StoreError> {
    let (column, is_text, sorts) = match &placement.event_time {
        Some(EventTime::Text { column, format, .. }) => {
            let column = table.column(column, trouble)?;
            let is_text = matches!(column.kind, Kind::Text { .. } | Kind::Bytes);
            (column, true, !is_text || sorts_by_date(format))
        }
        Some(EventTime::Epoch { column, .. }) => (table.column(column, trouble)?, false, true),
        Some(EventTime::Key(_) | EventTime::Modified) | None => return Ok(Vec::new()),
    };
    let mut findings: Vec<Finding> = type_finding(column, is_text).into_iter().collect();
    if !sorts {
        findings.push(warning(
            "event_time",
            format!("texts in `{}` do not sort by time, so every run reads the whole table", column.name),
            "keep the event time as DATETIME or as a count of seconds, with an index",
        ));
    } else if !has_index(table, placement, column) {
        let columns = match &placement.tenant {
            TenantSource::Column(tenant) => format!("{}, {}", backticked(tenant), backticked(&column.name)),
            TenantSource::Constant(_) | TenantSource::Template => backticked(&column.name),
        };
        findings.push(warning(
            "event_time",
            format!(
                "no index begins with `{}` or with the tenant and it, so every run reads the whole table",
                column.name
            ),
            &format!("CREATE INDEX … ON {} ({columns})", backticked(&table.name)),
        ));
    }
    Ok(findings)
}

fn has_index(table: &Table, placement: &Placement, column: &Column) -> bool {
    let tenant = match &placement.tenant {
        TenantSource::Column(tenant) => Some(tenant.as_str()),
        TenantSource::Constant(_) | TenantSource::Template => None,
    };
    table.indexes.iter().filter(|index| !index.partial).any(|index| {
        let columns: Vec<Option<&str>> = index.columns.iter().map(Option::as_deref).collect();
        match columns.as_slice() {
            [Some(first), ..] if *first == column.name => true,
            [first, Some(second), ..] => tenant.is_some() && *first == tenant && *second == column.name,
            _ => false,
        }
    })
}

fn type_finding(column: &Column, is_text: bool) -> Option<Finding> {
    let (name, declared) = (&column.name, &column.declared);
    match (&column.kind, is_text) {
        (Kind::DateTime | Kind::Date | Kind::Timestamp | Kind::Text { .. } | Kind::Bytes, true)
        | (Kind::Int { .. }, false) => None,
        (_, true) => Some(fatal(
            "event_time",
            format!("`{name}` is declared {declared}, so no row would have a usable time"),
            "say what it counts: unit = \"seconds\" or \"milliseconds\", or name a column of dates",
        )),
        (_, false) => Some(fatal(
            "event_time",
            format!(
                "`{name}` is declared {declared} and holds no whole numbers, so no row would have a usable time"
            ),
            "leave `unit` out and say the zone, or name a column of whole numbers",
        )),
    }
}
