//! What a placement wants of a table: the columns that it names. It owns the findings about names that are not there; it
//! asks the server nothing.

use super::catalogue::Table;
use super::trouble::Trouble;
use crate::policy::{EventTime, Placement, Records, TenantSource};
use crate::stores::Finding;

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
        TenantSource::Template => findings.push(fatal(
            "tenant",
            "a table has no template".to_owned(),
            "name the column that holds the tenant",
        )),
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

/// Nothing can be enforced before it is mended.
pub(super) fn fatal(field: &str, message: String, help: &str) -> Finding {
    Finding { fatal: true, field: field.to_owned(), message, help: help.to_owned() }
}

/// It works, but not as it should.
pub(super) fn warning(field: &str, message: String, help: &str) -> Finding {
    Finding { fatal: false, field: field.to_owned(), message, help: help.to_owned() }
}
