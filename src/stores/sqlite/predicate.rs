//! The predicate: exactly the rows that a query selects, as one SQL condition. It owns how tenants, subjects and
//! scopes are compared; instants are `instants`' business, and it sends nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};

use super::catalogue::{Affinity, Column, Table};
use super::instants::{Clocked, is_text};
use super::session::Trouble;
use crate::id::TenantId;
use crate::plan::{Interval, Scope, Selection, SubjectRef, TenantScope, Times};
use crate::policy::{Placement, TenantSource};
use crate::stores::sql::{Sql, canonical_integer, json_list, quoted, subject_text};
use crate::stores::{ErrorKind, Query, StoreError, event_time};

/// The rows that a query selects: for one of its selections of its tenants, inside every scope of `within`, inside none
/// of `except`.
pub(super) fn predicate(table: &Table, query: &Query, trouble: Trouble<'_>) -> Result<Sql, StoreError> {
    predicate_at(table, query, &Moments::new(table, query, trouble)?, trouble)
}

/// The same, with event times as they are given: [`Moments::aside`] keeps their index from leading.
pub(super) fn predicate_at(
    table: &Table,
    query: &Query,
    times: &Moments,
    trouble: Trouble<'_>,
) -> Result<Sql, StoreError> {
    let one_of: Vec<Sql> = query
        .selections()
        .map(|selection| selected(table, query, selection, times, trouble))
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
    let tenants = tenants(table, query, &selection.tenants, trouble)?;
    if let Some(naming) = &query.naming {
        conditions.push(names_something(table.column(naming, trouble)?));
    }
    for scope in &selection.within {
        conditions.push(inside(table, query, times, scope, trouble)?);
    }
    for scope in &selection.except {
        conditions.push(inside(table, query, times, scope, trouble)?.not_true());
    }
    // SQLite tests in this order, so what is cheap and turns many away comes first.
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

    /// The same, so that no index on the event time leads.
    pub(super) fn aside(&self) -> Self {
        Self { clocked: self.clocked.as_ref().map(Clocked::aside), usable: self.usable }
    }

    /// Rows whose event time is usable.
    pub(super) fn usable(&self) -> Sql {
        self.clocked.as_ref().map_or_else(Sql::never, |clocked| clocked.inside(&[self.usable], self.usable))
    }

    /// Disjoint ranges in which everything lies that is parked up to an instant, and usable times beside.
    pub(super) fn parked_until(&self, until: DateTime<Utc>) -> Vec<Sql> {
        self.clocked.as_ref().map_or_else(Vec::new, |clocked| clocked.parked_until(until, self.usable))
    }

    fn condition(&self, times: &Times) -> Sql {
        let inside = |intervals: &[Interval]| {
            self.clocked.as_ref().map_or_else(Sql::never, |clocked| clocked.inside(intervals, self.usable))
        };
        match times {
            Times::Any => Sql::always(),
            Times::Within(intervals) => inside(intervals),
            // "Usable and not after, or not usable" is "not both usable and after"; so is every row of a placement
            // without event times.
            Times::UpTo(last) => match last.checked_add_signed(Duration::nanoseconds(1)) {
                Some(after) => inside(&[Interval { from: after, to: self.usable.to }]).not_true(),
                None => Sql::always(),
            },
            Times::Unusable | Times::UnusableBefore(_) if self.clocked.is_none() => Sql::never(),
            Times::Unusable => self.usable().not_true(),
            Times::UnusableBefore(until) => {
                Sql::all(&[Sql::any(&self.parked_until(*until)), self.usable().not_true()])
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

    /// The tenant's name as text; only for rows that name one.
    pub(super) fn name(&self) -> Sql {
        match self {
            Self::Column(column) => Sql::new(&text_of(column)),
            Self::Constant(tenant) => Sql::new("").bind_text(tenant.as_str()),
        }
    }

    /// The same for any row: NULL where it names nobody. Exact, whatever collation the column has.
    pub(super) fn name_or_null(&self) -> Sql {
        match self {
            Self::Column(_) => Sql::new("(CASE WHEN ")
                .append(&self.named())
                .push(" THEN ")
                .append(&self.name())
                .push(" END) COLLATE BINARY"),
            Self::Constant(_) => self.name(),
        }
    }

    /// Groups by exact name. A constant needs no groups.
    pub(super) fn group(&self) -> Option<String> {
        match self {
            Self::Column(column) => Some(format!("{} COLLATE BINARY", text_of(column))),
            Self::Constant(_) => None,
        }
    }

    /// Rows of which [`Owner::name`] is what is stored: not a blob or a fraction that only reads like a name.
    pub(super) fn may_be_named(&self) -> Sql {
        match self {
            Self::Column(column) => Sql::new(&format!("typeof({}) IN ('text', 'integer')", column.sql)),
            Self::Constant(_) => Sql::always(),
        }
    }

    /// Rows that name a tenant: text that is not only white space, or an integer. Blobs, fractions, NULL and text that
    /// is not UTF-8 name nobody.
    fn named(&self) -> Sql {
        match self {
            // No function where that can be, see `is_text`.
            Self::Column(column) => {
                let c = &column.sql;
                let other = match column.affinity {
                    Affinity::Text => "FALSE".to_owned(),
                    Affinity::Integer | Affinity::Numeric | Affinity::Blob => {
                        format!("typeof({c}) = 'integer'")
                    }
                };
                Sql::new("CASE WHEN ")
                    .append(&is_text(c))
                    .push(&format!(" THEN {c} COLLATE {NOBODY} <> '' ELSE {other} END"))
            }
            Self::Constant(_) => Sql::always(),
        }
    }
}

fn tenants(
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
            let names = list(excepted.iter().map(TenantId::as_str), trouble)?;
            let mut conditions = vec![owner.named()];
            if !excepted.is_empty() {
                conditions.push(
                    Sql::new(&text_of(column))
                        .push(" COLLATE BINARY NOT IN (SELECT value FROM json_each(")
                        .bind_text(names)
                        .push("))"),
                );
            }
            Sql::all(&conditions)
        }
        (TenantScope::AllExcept(excepted), Owner::Constant(constant)) => truth(!excepted.contains(constant)),
        (TenantScope::Nameless, Owner::Column(column)) => {
            let nobody = owner.named().not_true();
            match column.affinity {
                Affinity::Text if table.leads.contains(&column.name) => {
                    Sql::all(&[Sql::any(&where_nobody_is(table, column)), nobody])
                }
                Affinity::Text | Affinity::Integer | Affinity::Numeric | Affinity::Blob => nobody,
            }
        }
        (TenantScope::Nameless, Owner::Constant(_)) => Sql::never(),
    })
}

/// Ranges of an index in which all rows of a text column lie that name nobody: NULL, texts that begin with white space
/// or are empty, blobs, and texts that are not UTF-8, which may lie anywhere: the index is asked for each of its names
/// once.
fn where_nobody_is(table: &Table, column: &Column) -> Vec<Sql> {
    let c = &column.sql;
    // Up to the plain space every character is white space or a control character.
    let mut ranges = vec![
        Sql::new(c).push(" IS NULL"),
        Sql::new("unlikely(").push(c).push(" < '!')"),
        Sql::new("unlikely(").push(c).push(" >= x'')"),
    ];
    for space in white_space().chars().filter(|space| !space.is_ascii()) {
        let next = char::from_u32(u32::from(space) + 1).unwrap_or(space);
        let from = Sql::new(c).push(" >= ").bind_text(space).push(" AND ");
        ranges.push(from.push(c).push(" < ").bind_text(next));
    }
    let u = format!("u.{} COLLATE BINARY", quoted(&column.name));
    let next = format!("SELECT min({u}) FROM main.{} AS u WHERE {u} < x''", quoted(&table.name));
    ranges.push(Sql::new(&format!(
        "{c} COLLATE BINARY IN (WITH RECURSIVE named (name) AS ({next} UNION ALL \
         SELECT ({next} AND {u} > named.name) FROM named WHERE named.name IS NOT NULL) \
         SELECT name FROM named WHERE name COLLATE {NOBODY} = '')"
    )));
    ranges
}

/// A column names exactly this text: the same bytes, whatever collation the column was declared with, or the
/// integer that is written so.
pub(super) fn equals(column: &Column, text: &str) -> Sql {
    let as_text = || {
        let same = Sql::new(&column.sql).push(" = ").bind_text(text).push(" COLLATE BINARY");
        match column.affinity {
            // No other type equals a text there, and a function would cost (see `is_text`).
            Affinity::Text => same,
            Affinity::Integer | Affinity::Numeric | Affinity::Blob => {
                Sql::new("typeof(").push(&column.sql).push(") = 'text' AND ").append(&same)
            }
        }
    };
    let as_integer = |number: i64| {
        Sql::new("typeof(")
            .push(&column.sql)
            .push(") = 'integer' AND ")
            .push(&column.sql)
            .push(" = ")
            .bind_int(number)
    };
    // Affinity has already turned the other kind of value away, which leaves one comparison for an index.
    match (column.affinity, canonical_integer(text)) {
        (Affinity::Text, _) | (_, None) => as_text(),
        (Affinity::Integer, Some(number)) => as_integer(number),
        (Affinity::Numeric | Affinity::Blob, Some(number)) => Sql::any(&[as_text(), as_integer(number)]),
    }
}

/// Rows that name something in a column.
fn names_something(column: &Column) -> Sql {
    Sql::new(&column.sql)
        .push(" IS NOT NULL AND CAST(")
        .push(&column.sql)
        .push(" AS TEXT) COLLATE BINARY <> ''")
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
        let values = list(values.iter().map(String::as_str), trouble)?;
        for column in &source.columns {
            conditions.push(names_one_of(table.column(column, trouble)?, &values));
        }
    }
    Ok(Sql::any(&conditions))
}

/// A column names one of the texts of a JSON list, as text or as the same bytes in a blob.
fn names_one_of(column: &Column, values: &str) -> Sql {
    match column.affinity {
        // The bare column, so that an index leads.
        Affinity::Text => Sql::new(&column.sql)
            .push(" COLLATE BINARY IN (SELECT value FROM json_each(")
            .bind_text(values)
            .push(") UNION ALL SELECT CAST(value AS BLOB) FROM json_each(")
            .bind_text(values)
            .push("))"),
        Affinity::Integer | Affinity::Numeric | Affinity::Blob => Sql::new("CAST(")
            .push(&column.sql)
            .push(" AS TEXT) COLLATE BINARY IN (SELECT value FROM json_each(")
            .bind_text(values)
            .push("))"),
    }
}

/// A column's value as text.
pub(super) fn text_of(column: &Column) -> String {
    match column.affinity {
        Affinity::Text => column.sql.clone(),
        Affinity::Integer | Affinity::Numeric | Affinity::Blob => format!("CAST({} AS TEXT)", column.sql),
    }
}

/// A list of texts as one bound value.
pub(super) fn list<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    trouble: Trouble<'_>,
) -> Result<String, StoreError> {
    json_list(texts)
        .ok_or_else(|| trouble.of(ErrorKind::Unresolved, "a text to compare with holds a NUL character"))
}

/// Under this collation a text that names nobody equals the empty one, see [`compare_names`].
pub(super) const NOBODY: &str = "retentiond_nobody";

/// Finds texts that name nobody, by the rule that reads them: they equal the empty text. What is not UTF-8 reaches a
/// collation with replacement characters in its place, and so names nobody either.
pub(super) fn compare_names(left: &str, right: &str) -> std::cmp::Ordering {
    let name = |text| if TenantId::is_name(text) { text } else { "" };
    name(left).cmp(name(right))
}

/// Every character that `TenantId::observed` takes for white space, for ranges of an index.
fn white_space() -> String {
    ('\u{1}'..='\u{3000}').filter(|character| character.is_whitespace()).collect()
}
