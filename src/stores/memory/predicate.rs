//! How a record in memory says whose it is, when it happened and whom it names, and whether it belongs to a query.
//! It reads columns and paths; what a selection means is said by [`Judge`], and it holds no records.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};

use super::Columns;
use crate::id::TenantId;
use crate::policy::template::{prefix_of, proves, tenant_of, tenant_text};
use crate::policy::{EventTime, Placement, Records, TenantSource};
use crate::stores::judge::{Judge, Judged};
use crate::stores::{Key, Query, SeenTime, Value, event_time};

/// Where a file's time of modification stands beside the columns of rows.
const MODIFIED: &str = "(modified)";

/// A query made ready.
#[derive(Debug)]
pub(super) struct Predicate<'q> {
    query: &'q Query,
    judge: Judge<'q>,
}

impl<'q> Predicate<'q> {
    /// Fails where a subject's value is missing: that never means "nobody".
    pub(super) fn new(query: &'q Query) -> Result<Self, &'static str> {
        Ok(Self { query, judge: Judge::new(query)? })
    }

    /// True where the record belongs to the selection.
    pub(super) fn matches(&self, key: &Key, columns: &Columns) -> bool {
        let time_text = match &self.query.placement.event_time {
            Some(EventTime::Text { column, .. }) => match columns.get(column) {
                Some(Some(Value::Text(text))) => Some(text.as_str()),
                Some(Some(Value::Int(_) | Value::Bytes(_)) | None) | None => None,
            },
            Some(EventTime::Epoch { .. } | EventTime::Key(_) | EventTime::Modified) | None => None,
        };
        self.judge.matches(&Judged {
            tenant: self.tenant(key, columns).as_ref(),
            time: self.time(key, columns),
            time_text,
            text_in: &|column| Some(text_in(columns, column)),
        })
    }

    /// Whose the record is.
    pub(super) fn tenant(&self, key: &Key, columns: &Columns) -> Option<TenantId> {
        tenant_in(&self.query.placement, key, columns)
    }

    /// When it happened.
    pub(super) fn time(&self, key: &Key, columns: &Columns) -> SeenTime {
        let value = |column: &str| columns.get(column).cloned().flatten();
        let read = match &self.query.placement.event_time {
            None => return SeenTime::None,
            Some(EventTime::Text { column, format, time_zone }) => match value(column) {
                Some(Value::Text(text)) => event_time::read_text(&text, format, *time_zone),
                Some(Value::Int(_) | Value::Bytes(_)) | None => None,
            },
            Some(EventTime::Epoch { column, unit }) => match value(column) {
                Some(Value::Int(count)) => event_time::read_epoch(count, *unit),
                Some(Value::Text(_) | Value::Bytes(_)) | None => None,
            },
            Some(EventTime::Key(template)) => {
                event_time::read_key(path_in(key), template, self.query.time_zone)
            }
            Some(EventTime::Modified) => {
                DateTime::parse_from_rfc3339(&text_in(columns, MODIFIED)).ok().map(|at| at.to_utc())
            }
        };
        self.judge.seen(read)
    }

    /// The values that name subjects, by kind.
    pub(super) fn subjects(&self, columns: &Columns) -> Vec<(String, String)> {
        let sources = &self.query.placement.subjects;
        sources
            .iter()
            .flat_map(|(kind, source)| source.columns.iter().map(move |column| (kind, column)))
            .map(|(kind, column)| (kind.clone(), text_in(columns, column)))
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }
}

/// Whose a record of a placement is.
pub(super) fn tenant_in(placement: &Placement, key: &Key, columns: &Columns) -> Option<TenantId> {
    match (&placement.tenant, &placement.records) {
        (TenantSource::Column(column), _) => TenantId::observed(&text_in(columns, column)),
        (TenantSource::Constant(tenant), _) => Some(tenant.clone()),
        (TenantSource::Template, Some(Records::Prefix(template))) => tenant_of(template, path_in(key)),
        (TenantSource::Template, _) => None,
    }
}

/// The text of a column; empty for NULL.
fn text_in(columns: &Columns, column: &str) -> String {
    match columns.get(column) {
        Some(Some(Value::Text(text))) => text.clone(),
        Some(Some(Value::Int(number))) => number.to_string(),
        Some(Some(Value::Bytes(_)) | None) | None => String::new(),
    }
}

fn path_in(key: &Key) -> &str {
    match key.0.as_slice() {
        [Value::Text(path)] => path,
        _ => "",
    }
}

/// A file as columns.
pub(super) fn of_file(modified: Option<DateTime<Utc>>) -> Columns {
    let text = modified.map(|at| Value::Text(at.to_rfc3339_opts(SecondsFormat::Nanos, true)));
    Columns::from([(MODIFIED.to_owned(), text)])
}

/// The locators that a row holds in these columns.
pub(super) fn names_in(columns: &Columns, naming: &[String]) -> BTreeMap<String, String> {
    let named = naming.iter().map(|column| (column.clone(), text_in(columns, column)));
    named.filter(|(_, locator)| !locator.is_empty()).collect()
}

/// Every column that a placement names.
pub(super) fn columns_of(placement: &Placement) -> impl Iterator<Item = &str> {
    let key = match &placement.records {
        Some(Records::Table { key, .. }) => key.as_slice(),
        Some(Records::FoundBy { .. } | Records::Prefix(_) | Records::Keys(_) | Records::Index(_)) | None => {
            &[]
        }
    };
    let tenant = match &placement.tenant {
        TenantSource::Column(column) => Some(column.as_str()),
        TenantSource::Constant(_) | TenantSource::Template => None,
    };
    let time = match &placement.event_time {
        Some(EventTime::Text { column, .. } | EventTime::Epoch { column, .. }) => Some(column.as_str()),
        Some(EventTime::Key(_) | EventTime::Modified) | None => None,
    };
    let subjects = placement.subjects.values().flat_map(|source| &source.columns);
    key.iter().chain(subjects).map(String::as_str).chain(tenant).chain(time)
}

/// True where a path is one of the placement's, whether or not its place names a tenant.
pub(super) fn lies_below(template: &str, source: &TenantSource, path: &str) -> bool {
    if let TenantSource::Constant(tenant) = source {
        return proves(template, tenant, path);
    }
    let parts: Vec<&str> = path.split('/').collect();
    let components: Vec<&str> = template.split('/').collect();
    // The template ends in a separator, so its last component is empty: at least a file name must stand there.
    components.len() <= parts.len()
        && components[..components.len() - 1]
            .iter()
            .zip(&parts)
            .all(|(component, part)| component == part || tenant_text(component, part).is_some())
}

/// True where a record is the one that a person typed.
pub(super) fn is_meant(
    placement: &Placement,
    own: &Key,
    columns: &Columns,
    typed: &[String],
) -> Result<bool, &'static str> {
    match &placement.records {
        Some(Records::Table { key, .. }) if key.is_empty() => {
            let mut meant = !typed.is_empty();
            for pair in typed {
                let (column, value) =
                    pair.split_once('=').ok_or("a table without a key needs COLUMN=VALUE")?;
                meant &= columns.contains_key(column) && text_in(columns, column) == value;
            }
            Ok(meant)
        }
        Some(Records::Table { key, .. }) if key.len() != typed.len() => {
            Err("the key has another number of columns")
        }
        Some(Records::Table { key, .. }) => {
            Ok(key.iter().zip(typed).all(|(column, value)| text_in(columns, column) == *value))
        }
        Some(Records::Prefix(_) | Records::FoundBy { .. } | Records::Keys(_) | Records::Index(_)) | None => {
            Ok(matches!(typed, [path] if path_in(own) == path))
        }
    }
}

/// True where a tenant has a place of its own and the path lies in it.
pub(super) fn is_in_place(placement: &Placement, tenant: &TenantId, path: &str) -> bool {
    match &placement.records {
        Some(Records::FoundBy { prefix, .. } | Records::Prefix(prefix)) => {
            prefix_of(prefix, tenant).is_some() && proves(prefix, tenant, path)
        }
        Some(Records::Table { .. } | Records::Keys(_) | Records::Index(_)) | None => true,
    }
}
