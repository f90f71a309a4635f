//! Looks without batches: counts per tenant, the size of a placement, one record by its key, and how many rows name a
//! locator. It erases nothing and finds no batch.

use chrono::{DateTime, Utc};

use super::catalogue::{Column, Kind, Table};
use super::predicate::{Moments, Owner, predicate};
use super::rows::{self, Carried};
use super::session::Session;
use super::trouble::Trouble;
use super::values::{bytes_of, equals, is_carried_raw, same};
use crate::facts::{Survey, Tally};
use crate::plan::{TenantScope, Times};
use crate::policy::{EventTime, Placement, Records};
use crate::stores::sql::Sql;
use crate::stores::{ErrorKind, Key, NamedBy, Query, Seen, SeenTime, StoreError};

/// Up to so many tenants are looked up one by one in an index; of more, the table is read instead.
const LEADING_MAX: usize = 1_000;

/// Counts a selection per tenant, with the range of usable event times.
pub(super) async fn survey(session: &mut Session<'_>, query: &Query) -> Result<Survey, StoreError> {
    let trouble = session.trouble;
    let table = Table::of(session, &query.placement).await?;
    let owner = Owner::of(&table, &query.placement, trouble)?;
    let moments = Moments::new(&table, query, trouble)?;
    let is_nameless = query.selection.tenants == TenantScope::Nameless;
    let is_parked =
        query.selection.within.iter().any(|scope| matches!(scope.times, Times::UnusableBefore(_)));
    let all_usable = query.selection.within.iter().any(|scope| matches!(scope.times, Times::Within(_)));
    // What is parked or names nobody has no time to tell.
    let clocked = moments.clocked.as_ref().filter(|_| !is_nameless && !is_parked);
    let extremes = clocked.map_or_else(
        || Sql::new("NULL, NULL"),
        |clocked| clocked.extremes(&if all_usable { Sql::always() } else { moments.usable() }),
    );
    // One tenant is one group; so are records of nobody.
    let (name, group) = match &query.selection.tenants {
        TenantScope::One(tenant) => (Sql::new("CAST(").bind_bytes(tenant.as_str()).push(" AS BINARY)"), ""),
        TenantScope::AllExcept(_) => (owner.name(), " GROUP BY 1"),
        TenantScope::Nameless => (Sql::new("NULL"), ""),
    };
    let sql = Sql::new("SELECT ")
        .append(&name)
        .push(", COUNT(*), ")
        .append(&extremes)
        .push(&format!(" FROM {} WHERE ", table.source))
        .append(&Sql::all(&[lead(session, &table, query, &owner).await?, predicate(&table, query, trouble)?]))
        .push(group);
    let mut survey = Survey::default();
    for row in &session.rows(&sql).await? {
        let records = trouble.count(row, 1)?;
        if records == 0 {
            continue;
        }
        if is_nameless {
            survey.nameless += records;
            continue;
        }
        let times: Vec<DateTime<Utc>> = match clocked {
            Some(clocked) => clocked.read_extremes(row, 2, trouble)?,
            None => Vec::new(),
        };
        let tenant = rows::read_tenant(row, 0, trouble)?.ok_or_else(|| rows::nameless_selected(trouble))?;
        let tally =
            Tally { records, oldest: times.iter().min().copied(), newest: times.iter().max().copied() };
        survey.tenants.entry(tenant).or_default().add(&tally);
    }
    Ok(survey)
}

/// True for every row; where an index begins with the tenant and the event time, it names all tenants, so that this index
/// leads to what is due of each, and holds all that is asked: one on the time alone would lead to rows that must be read.
async fn lead(
    session: &mut Session<'_>,
    table: &Table,
    query: &Query,
    owner: &Owner<'_>,
) -> Result<Sql, StoreError> {
    let (Owner::Column(tenant), false) = (owner, query.selection.tenant().is_some()) else {
        return Ok(Sql::always());
    };
    let (Some(EventTime::Text { column, .. } | EventTime::Epoch { column, .. }), Kind::Text { .. }) =
        (&query.placement.event_time, &tenant.kind)
    else {
        return Ok(Sql::always());
    };
    let begins = |columns: &[&String]| {
        let whole = table.indexes.iter().filter(|index| !index.partial);
        whole.into_iter().any(|index| {
            index.columns.len() >= columns.len()
                && index.columns.iter().zip(columns).all(|(is, wanted)| is.as_ref() == Some(*wanted))
        })
    };
    let limited = query.selection.within.iter().any(|scope| scope.times != Times::Any);
    if !limited || !begins(&[&tenant.name, column]) {
        return Ok(Sql::always());
    }
    // The server jumps from name to name in the index. Names that its collation takes for equal are one to it, and lead
    // to the rows of all of them.
    let sql = format!("SELECT DISTINCT {0} FROM {1} LIMIT {2}", tenant.sql, table.source, LEADING_MAX + 1);
    let rows = session.rows(&Sql::new(&sql)).await?;
    let (mut names, mut sql) =
        (0, Sql::new(&tenant.sql).push(" IS NULL OR ").push(&tenant.sql).push(" IN ("));
    for row in &rows {
        let name: Option<Vec<u8>> = session.trouble.get(row, 0)?;
        match name.map(String::from_utf8) {
            None => {}
            // Only what every character set holds can be compared in the column's own.
            Some(Ok(name)) if name.is_ascii() => {
                sql = if names > 0 { sql.push(", ") } else { sql }.bind_text(name);
                names += 1;
            }
            Some(_) => return Ok(Sql::always()),
        }
    }
    Ok(if names == 0 || rows.len() > LEADING_MAX { Sql::always() } else { sql.push(")") })
}

/// Counts all records of a placement, but no further than a number.
pub(super) async fn population(
    session: &mut Session<'_>,
    placement: &Placement,
    at_most: u64,
) -> Result<u64, StoreError> {
    let table = Table::of(session, placement).await?;
    let sql = format!("SELECT COUNT(*) FROM (SELECT 1 AS one FROM {} LIMIT {at_most}) AS some", table.source);
    session.count(&Sql::new(&sql)).await
}

/// One record by its key, as a person typed it. Tenants and scopes of the query do not narrow it down: `explain`
/// also tells of records that nothing selects.
pub(super) async fn look(
    session: &mut Session<'_>,
    query: &Query,
    key: &[String],
) -> Result<Option<Seen>, StoreError> {
    let trouble = session.trouble;
    let placement = &*query.placement;
    let table = Table::of(session, placement).await?;
    let owner = Owner::of(&table, placement, trouble)?;
    let moments = Moments::new(&table, query, trouble)?;
    let subjects: Vec<(&str, &str)> = placement
        .subjects
        .iter()
        .flat_map(|(kind, source)| source.columns.iter().map(move |column| (kind.as_str(), column.as_str())))
        .collect();
    let moment = match &placement.event_time {
        Some(EventTime::Text { column, .. } | EventTime::Epoch { column, .. }) => {
            bytes_of(table.column(column, trouble)?)
        }
        Some(EventTime::Key(_) | EventTime::Modified) | None => "NULL".to_owned(),
    };
    let mut sql = Sql::new("SELECT ").append(&owner.name()).push(", ").push(&moment);
    for (_, column) in &subjects {
        sql = sql.push(&format!(", {}", bytes_of(table.column(column, trouble)?)));
    }
    let sql = sql
        .push(&format!(" FROM {} WHERE ", table.source))
        .append(&match (&query.naming, key) {
            (Some(column), [locator]) => equals(table.column(column, trouble)?, locator),
            (Some(_), _) => return Err(trouble.schema("a record that rows name has one name".to_owned())),
            (None, _) => named_by(&table, placement, key, trouble)?,
        })
        .push(" LIMIT 2");
    let answer = session.rows(&sql).await?;
    let row = match answer.as_slice() {
        [] => return Ok(None),
        [row] => row,
        _ => return Err(trouble.of(ErrorKind::Ambiguous, "more than one record matches")),
    };
    let mut named = Vec::new();
    for (place, (kind, _)) in subjects.iter().enumerate() {
        let value: Option<Vec<u8>> = trouble.get(row, 2 + place)?;
        if let Some(value) = value.and_then(|value| String::from_utf8(value).ok()).filter(|v| !v.is_empty()) {
            named.push(((*kind).to_owned(), value));
        }
    }
    let event_time = match &moments.clocked {
        None => SeenTime::None,
        Some(clocked) => {
            // A text that is not UTF-8 is not an event time.
            let shown: Option<Vec<u8>> = trouble.get(row, 1)?;
            let shown = shown.and_then(|shown| String::from_utf8(shown).ok());
            let read = shown.and_then(|shown| clocked.read(&shown));
            read.filter(|at| moments.usable.contains(*at)).map_or(SeenTime::Unusable, SeenTime::Usable)
        }
    };
    Ok(Some(Seen { tenant: rows::read_tenant(row, 0, trouble)?, event_time, subjects: named }))
}

/// How many rows of each tenant name each locator in a column; the locators lead.
pub(super) async fn naming_rows(
    session: &mut Session<'_>,
    placement: &Placement,
    column: &str,
    locators: &[String],
    beside: &[Key],
) -> Result<NamedBy, StoreError> {
    let trouble = session.trouble;
    let table = Table::of(session, placement).await?;
    let owner = Owner::of(&table, placement, trouble)?;
    let column = table.column(column, trouble)?;
    let carried: Vec<Vec<String>> = locators.iter().map(|locator| vec![hex::encode(locator)]).collect();
    let list = Carried::new(&carried, trouble)?;
    let sql = Sql::new("SELECT CAST(j.place AS SIGNED), COUNT(*), ")
        .append(&owner.name())
        .push(" FROM ")
        .append(&list.source(1))
        .push(&format!(" STRAIGHT_JOIN {} ON {}", table.source, names(column)));
    let sql = if beside.is_empty() {
        sql
    } else {
        let columns = table.key_columns(trouble)?;
        let keys = rows::carried_keys(columns, beside, trouble)?;
        sql.push(" AND NOT EXISTS (SELECT 1 FROM ").append(&rows::under(columns, &keys)).push(")")
    };
    let sql = sql.push(" GROUP BY 1, 3");
    let mut named = NamedBy::new();
    for row in &session.rows(&sql).await? {
        let place = usize::try_from(trouble.count(row, 0)?).unwrap_or(usize::MAX);
        if let Some(locator) = place.checked_sub(1).and_then(|place| locators.get(place)) {
            let tenant = rows::read_tenant(row, 2, trouble)?;
            *named.entry(locator.clone()).or_default().entry(tenant).or_default() += trouble.count(row, 1)?;
        }
    }
    Ok(named)
}

/// The column holds the bytes of a carried text.
fn names(column: &Column) -> String {
    match column.kind {
        // Locators travel as UTF-8.
        Kind::Text { .. } if is_carried_raw(column) => format!("{} = UNHEX(j.k0)", bytes_of(column)),
        Kind::Text { .. } | Kind::Bytes => same(column, "j.k0"),
        Kind::Int { .. }
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
        | Kind::Uuid
        | Kind::Other => format!("{} = UNHEX(j.k0)", bytes_of(column)),
    }
}

/// The condition that a person's key stands for: values of the key columns in their order, or `COLUMN=VALUE` pairs
/// where the policy names no key.
fn named_by(
    table: &Table,
    placement: &Placement,
    key: &[String],
    trouble: Trouble<'_>,
) -> Result<Sql, StoreError> {
    let columns: &[String] = match &placement.records {
        Some(Records::Table { key, .. }) => key,
        Some(Records::FoundBy { .. } | Records::Prefix(_) | Records::Keys(_) | Records::Index(_)) | None => {
            &[]
        }
    };
    if key.is_empty() || !columns.is_empty() && columns.len() != key.len() {
        let wanted = if columns.is_empty() { "COLUMN=VALUE pairs".to_owned() } else { columns.join(", ") };
        return Err(trouble.schema(format!("the key does not fit; table `{}` wants {wanted}", table.name)));
    }
    let mut conditions = Vec::new();
    for (place, text) in key.iter().enumerate() {
        let (column, value) = match columns.get(place) {
            Some(column) => (column.as_str(), text.as_str()),
            None => text.split_once('=').ok_or_else(|| {
                trouble.schema(format!("table `{}` has no key; give COLUMN=VALUE pairs", table.name))
            })?,
        };
        conditions.push(equals(table.column(column, trouble)?, value));
    }
    Ok(Sql::all(&conditions))
}
