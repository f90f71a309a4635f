//! The predicate: exactly the rows that a query selects, as one SQL condition. It owns how tenants, subjects and scopes
//! are put together; how a column is compared is `values`' and `instants`' business, and it sends nothing.

use std::collections::BTreeMap;

use chrono::Duration;

use super::catalogue::{Column, Kind, Table};
use super::instants::Clocked;
use super::trouble::Trouble;
use super::values::{bytes_of, equals, one_of, utf8_of};
use crate::id::TenantId;
use crate::plan::{Interval, Scope, Selection, SubjectRef, TenantScope, Times};
use crate::policy::{Placement, TenantSource};
use crate::stores::sql::{Sql, subject_text};
use crate::stores::{ErrorKind, Query, StoreError, event_time};

/// The rows that a query selects: for one of its selections of its tenants, inside every scope of `within`, inside none
/// of `except`.
pub(super) fn predicate(table: &Table, query: &Query, trouble: Trouble<'_>) -> Result<Sql, StoreError> {
    let times = Moments::new(table, query, trouble)?;
    let one_of: Vec<Sql> = query
        .selections()
        .map(|selection| selected(table, query, selection, &times, trouble))
        .collect::<Result<_, _>>()?;
    Ok(Sql::any(&one_of))
}

fn selected(
    table: &Table,
    query: &Query,
    selection: &Selection,
    times: &Moments,
    trouble: Trouble<'_>,
) -> Result<Sql, StoreError> {
    let mut conditions = Vec::new();
    let tenants = covered(table, query, &selection.tenants, trouble)?;
    if let Some(naming) = &query.naming {
        conditions.push(names_something(table.column(naming, trouble)?));
    }
    for scope in &selection.within {
        conditions.push(inside(table, query, times, scope, trouble)?);
    }
    for scope in &selection.except {
        conditions.push(inside(table, query, times, scope, trouble)?.not_true());
    }
    // The server tests in this order, so what is cheap and turns many away comes first.
    match selection.tenants {
        TenantScope::One(_) => conditions.insert(0, tenants),
        TenantScope::AllExcept(_) | TenantScope::Nameless => conditions.push(tenants),
    }
    Ok(Sql::all(&conditions))
}

/// The event time of a placement, with the span in which one is usable at a query's present.
pub(super) struct Moments {
    pub(super) clocked: Option<Clocked>,
    pub(super) usable: Interval,
}

impl Moments {
    /// For a query.
    pub(super) fn new(table: &Table, query: &Query, trouble: Trouble<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            clocked: table.clocked(&query.placement, trouble)?,
            usable: event_time::usable_span(&query.placement, query.time_zone, query.now),
        })
    }

    /// Rows whose event time is usable.
    pub(super) fn usable(&self) -> Sql {
        self.clocked.as_ref().map_or_else(Sql::never, |clocked| clocked.inside(&[self.usable], self.usable))
    }

    fn condition(&self, times: &Times) -> Sql {
        let Some(clocked) = &self.clocked else {
            return match times {
                Times::Any | Times::UpTo(_) => Sql::always(),
                Times::Within(_) | Times::Unusable | Times::UnusableBefore(_) => Sql::never(),
            };
        };
        match times {
            Times::Any => Sql::always(),
            Times::Within(intervals) => clocked.inside(intervals, self.usable),
            // "Usable and not after, or not usable" is "not both usable and after".
            Times::UpTo(last) => match last.checked_add_signed(Duration::nanoseconds(1)) {
                Some(from) => {
                    clocked.inside(&[Interval { from, to: self.usable.to }], self.usable).not_true()
                }
                None => Sql::always(),
            },
            Times::Unusable => self.usable().not_true(),
            Times::UnusableBefore(until) => {
                Sql::all(&[clocked.parked_until(*until, self.usable), self.usable().not_true()])
            }
        }
    }
}

/// Whose a row is, as far as SQL can say it.
pub(super) enum Owner<'a> {
    /// What the column holds.
    Column(&'a Column),
    /// Always the same tenant.
    Constant(&'a TenantId),
}

impl<'a> Owner<'a> {
    /// For a placement.
    ///
    /// # Errors
    /// Where the column is not there, or the placement takes the tenant from a key template.
    pub(super) fn of(
        table: &'a Table,
        placement: &'a Placement,
        trouble: Trouble<'_>,
    ) -> Result<Self, StoreError> {
        match &placement.tenant {
            TenantSource::Column(column) => Ok(Self::Column(table.column(column, trouble)?)),
            TenantSource::Constant(tenant) => Ok(Self::Constant(tenant)),
            TenantSource::Template => Err(trouble
                .of(ErrorKind::Schema, "rows of a table name their tenant in a column, not in a template")),
        }
    }

    /// The tenant's name as bytes of UTF-8, or NULL, or bytes that name nobody.
    pub(super) fn name(&self) -> Sql {
        match self {
            Self::Column(column) => Sql::new(&bytes_of(column)),
            Self::Constant(tenant) => Sql::new("CAST(").bind_bytes(tenant.as_str()).push(" AS BINARY)"),
        }
    }

    /// Rows that name a tenant: what is not only white space, and is UTF-8.
    fn named(&self) -> Sql {
        match self {
            Self::Column(column) => match column.kind {
                Kind::Int { .. }
                | Kind::Decimal { .. }
                | Kind::Float
                | Kind::Bit
                | Kind::Date
                | Kind::DateTime
                | Kind::Timestamp
                | Kind::Time
                | Kind::Uuid => Sql::new(&column.sql).push(" IS NOT NULL"),
                Kind::Text { .. } | Kind::Json | Kind::Enum | Kind::Set | Kind::Other => is_visible(column),
                Kind::Bytes => {
                    let utf8 = format!("CAST({} AS BINARY) = {}", utf8_of(column), bytes_of(column));
                    Sql::all(&[Sql::new(&utf8), is_visible(column)])
                }
            },
            Self::Constant(_) => Sql::always(),
        }
    }
}

/// True where something else than white space is in a text, and not the character that stands for bytes which could
/// not be read: what names somebody, as [`TenantId::is_name`] has it. Nearly every name begins with a plain character,
/// which is seen for a tenth of what the search costs.
fn is_visible(column: &Column) -> Sql {
    let white_space: String = ('\u{1}'..='\u{3000}').filter(|character| character.is_whitespace()).collect();
    let text = utf8_of(column);
    Sql::new(&format!("CASE WHEN ASCII({text}) BETWEEN 33 AND 126 THEN TRUE ELSE {text} REGEXP "))
        .bind_text(format!("[^{white_space}]"))
        .push(" END AND LOCATE(")
        .bind_text(char::REPLACEMENT_CHARACTER)
        .push(&format!(", {text}) = 0"))
}

/// Rows of the tenants that a query selects.
pub(super) fn tenants(table: &Table, query: &Query, trouble: Trouble<'_>) -> Result<Sql, StoreError> {
    let one_of: Vec<Sql> = query
        .selections()
        .map(|selection| covered(table, query, &selection.tenants, trouble))
        .collect::<Result<_, _>>()?;
    Ok(Sql::any(&one_of))
}

fn covered(
    table: &Table,
    query: &Query,
    scope: &TenantScope,
    trouble: Trouble<'_>,
) -> Result<Sql, StoreError> {
    let owner = Owner::of(table, &query.placement, trouble)?;
    let truth = |holds: bool| if holds { Sql::always() } else { Sql::never() };
    Ok(match (scope, &owner) {
        (TenantScope::One(tenant), Owner::Column(column)) => equals(column, tenant.as_str()),
        (TenantScope::One(tenant), Owner::Constant(constant)) => truth(tenant == *constant),
        (TenantScope::AllExcept(excepted), Owner::Column(column)) => {
            let mut conditions = vec![owner.named()];
            if !excepted.is_empty() {
                let mut others = Sql::new(&bytes_of(column)).push(" NOT IN (");
                for (place, tenant) in excepted.iter().enumerate() {
                    others = if place > 0 { others.push(", ") } else { others };
                    others = others.push("CAST(").bind_bytes(tenant.as_str()).push(" AS BINARY)");
                }
                conditions.push(others.push(")"));
            }
            Sql::all(&conditions)
        }
        (TenantScope::AllExcept(excepted), Owner::Constant(constant)) => truth(!excepted.contains(constant)),
        (TenantScope::Nameless, Owner::Column(_)) => owner.named().not_true(),
        (TenantScope::Nameless, Owner::Constant(_)) => Sql::never(),
    })
}

/// Rows that name something in a column.
fn names_something(column: &Column) -> Sql {
    Sql::new(&column.sql).push(&format!(" IS NOT NULL AND LENGTH({}) > 0", bytes_of(column)))
}

fn inside(
    table: &Table,
    query: &Query,
    times: &Moments,
    scope: &Scope,
    trouble: Trouble<'_>,
) -> Result<Sql, StoreError> {
    let mut conditions = Vec::new();
    if let Some(subjects) = &scope.subjects {
        conditions.push(named_subjects(table, query, subjects, trouble)?);
    }
    conditions.push(times.condition(&scope.times));
    Ok(Sql::all(&conditions))
}

/// Rows that name one of the subjects in a column of its kind. A kind that the placement does not know is named
/// nowhere in it.
fn named_subjects(
    table: &Table,
    query: &Query,
    subjects: &[SubjectRef],
    trouble: Trouble<'_>,
) -> Result<Sql, StoreError> {
    let mut by_kind: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for subject in subjects {
        let Some(key) = query.subjects.get(&subject.fingerprint) else {
            let message = format!("subject {} has no value", subject.fingerprint);
            return Err(trouble.of(ErrorKind::Unresolved, &message));
        };
        let Some(source) = query.placement.subjects.get(&subject.kind) else { continue };
        by_kind.entry(&subject.kind).or_default().extend(subject_text(key.expose(), source.format));
    }
    let mut conditions = Vec::new();
    for (kind, values) in by_kind {
        let Some(source) = query.placement.subjects.get(kind) else { continue };
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        for column in &source.columns {
            conditions.push(one_of(table.column(column, trouble)?, &values));
        }
    }
    Ok(Sql::any(&conditions))
}
