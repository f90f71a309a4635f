//! What a query means, evaluated for one record after the other in plain Rust: the definition that every store's
//! own query language must agree with. It owns the predicate; it holds no records.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};

use super::Columns;
use crate::id::TenantId;
use crate::plan::{Interval, Scope, SubjectRef, TenantScope, Times};
use crate::policy::template::{prefix_of, proves, tenant_of, tenant_text};
use crate::policy::{EventTime, Placement, Records, TenantSource};
use crate::stores::event_time::order::parked_until;
use crate::stores::{Key, Query, SeenTime, Value, event_time};

/// Where a file's time of modification stands beside the columns of rows.
const MODIFIED: &str = "(modified)";

/// A query made ready.
#[derive(Debug)]
pub(super) struct Predicate<'q> {
    query: &'q Query,
    usable: Interval,
}

impl<'q> Predicate<'q> {
    /// Fails where a subject's value is missing: that never means "nobody".
    pub(super) fn new(query: &'q Query) -> Result<Self, &'static str> {
        if query.selection.subjects().any(|subject| !query.subjects.contains_key(&subject.fingerprint)) {
            return Err("the query names a subject without its value");
        }
        let usable = event_time::usable_span(&query.placement, query.time_zone, query.now);
        Ok(Self { query, usable })
    }

    /// True where the record belongs to the selection.
    pub(super) fn matches(&self, key: &Key, columns: &Columns) -> bool {
        let selection = &self.query.selection;
        let tenant = self.tenant(key, columns);
        let tenant_belongs = match (&selection.tenants, &tenant) {
            (TenantScope::One(one), tenant) => tenant.as_ref() == Some(one),
            (TenantScope::AllExcept(others), Some(tenant)) => !others.contains(tenant),
            (TenantScope::AllExcept(_), None) => false,
            (TenantScope::Nameless, tenant) => tenant.is_none(),
        };
        let names_something =
            self.query.naming.as_ref().is_none_or(|column| !text_in(columns, column).is_empty());
        tenant_belongs
            && names_something
            && selection.within.iter().all(|scope| self.is_inside(scope, key, columns))
            && !selection.except.iter().any(|scope| self.is_inside(scope, key, columns))
    }

    fn is_inside(&self, scope: &Scope, key: &Key, columns: &Columns) -> bool {
        let names_one = match &scope.subjects {
            None => true,
            Some(subjects) => subjects.iter().any(|subject| self.names(subject, columns)),
        };
        let time = self.time(key, columns);
        let time_belongs = match &scope.times {
            Times::Any => true,
            Times::Within(intervals) => {
                matches!(time, SeenTime::Usable(at) if intervals.iter().any(|interval| interval.contains(at)))
            }
            Times::UpTo(last) => match time {
                SeenTime::Usable(at) => at <= *last,
                SeenTime::None | SeenTime::Unusable => true,
            },
            Times::Unusable => time == SeenTime::Unusable,
            Times::UnusableBefore(until) => time == SeenTime::Unusable && self.may_be_parked(columns, *until),
        };
        names_one && time_belongs
    }

    /// False only for a text that sorts like a time that is not due yet.
    fn may_be_parked(&self, columns: &Columns, until: DateTime<Utc>) -> bool {
        let Some(EventTime::Text { column, format, .. }) = &self.query.placement.event_time else {
            return true;
        };
        match columns.get(column) {
            Some(Some(Value::Text(text))) => {
                parked_until(format, until, self.usable).iter().any(|span| span.contains(text))
            }
            Some(Some(Value::Int(_) | Value::Bytes(_)) | None) | None => true,
        }
    }

    fn names(&self, subject: &SubjectRef, columns: &Columns) -> bool {
        let (Some(source), Some(value)) =
            (self.query.placement.subjects.get(&subject.kind), self.query.subjects.get(&subject.fingerprint))
        else {
            return false;
        };
        let wanted = source.format.write(value.expose());
        // An empty value would be found in every row that names nobody.
        !wanted.is_empty() && source.columns.iter().any(|column| text_in(columns, column) == wanted)
    }

    /// Whose the record is.
    pub(super) fn tenant(&self, key: &Key, columns: &Columns) -> Option<TenantId> {
        match (&self.query.placement.tenant, &self.query.placement.records) {
            (TenantSource::Column(column), _) => TenantId::observed(&text_in(columns, column)),
            (TenantSource::Constant(tenant), _) => Some(tenant.clone()),
            (TenantSource::Template, Some(Records::Prefix(template))) => tenant_of(template, path_in(key)),
            (TenantSource::Template, _) => None,
        }
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
        match read {
            Some(at) if self.usable.contains(at) => SeenTime::Usable(at),
            Some(_) | None => SeenTime::Unusable,
        }
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
