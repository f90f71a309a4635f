//! Looks without batches: counts per tenant, the size of a placement, one record by its key, and how many rows name
//! a locator. It erases nothing and finds no batch.

mod tenants;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::catalogue::{Affinity, Table};
use super::find::is_indexed;
use super::instants::Clocked;
use super::predicate::{Moments, Owner, equals, list, predicate_at};
use super::rows;
use super::session::{Session, Trouble};
use crate::facts::{Survey, Tally};
use crate::id::TenantId;
use crate::plan::{TenantScope, Times};
use crate::policy::{EventTime, Placement, Records};
use crate::stores::sql::Sql;
use crate::stores::{ErrorKind, Key, NamedBy, Query, Seen, SeenTime, StoreError, Value, event_time};

/// Counts a selection per tenant, with the range of usable event times.
pub(super) async fn survey(session: &mut Session<'_>, query: &Query) -> Result<Survey, StoreError> {
    let trouble = session.trouble;
    let table = Table::of(session, &query.placement).await?;
    let owner = Owner::of(&table, &query.placement, trouble)?;
    let moments = Moments::new(&table, query, trouble)?;
    let one_by_one = tenants::by_index(session, &table, &moments, query).await?;
    let queries = match one_by_one {
        Some(tenants) => tenants.into_iter().map(|tenant| of_one(query, tenant)).collect(),
        None => vec![query.clone()],
    };
    let mut survey = Survey::default();
    for query in &queries {
        let aside = moments.aside();
        let moments = match query.selection.tenants {
            TenantScope::Nameless => {
                // An index that begins with the tenant finds who names nobody among all that is due.
                let sql = survey_sql(&table, &owner, &aside, query, true, trouble)?;
                if leads_everywhere(session, &sql).await? { &aside } else { &moments }
            }
            TenantScope::One(_) | TenantScope::AllExcept(_) => &moments,
        };
        count(session, &table, &owner, moments, query, &mut survey).await?;
    }
    Ok(survey)
}

fn of_one(query: &Query, tenant: TenantId) -> Query {
    let mut query = query.clone();
    query.selection.tenants = TenantScope::One(tenant);
    query
}

async fn leads_everywhere(session: &mut Session<'_>, passes: &[Sql]) -> Result<bool, StoreError> {
    for sql in passes {
        if !is_indexed(session, sql).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn count(
    session: &mut Session<'_>,
    table: &Table,
    owner: &Owner<'_>,
    moments: &Moments,
    query: &Query,
    survey: &mut Survey,
) -> Result<(), StoreError> {
    let trouble = session.trouble;
    for quick in [true, false] {
        let mut counted = Survey::default();
        let mut is_told = true;
        for sql in survey_sql(table, owner, moments, query, quick, trouble)? {
            let answer = session.rows(&sql).await?;
            is_told &= take_in(&mut counted, moments, query, &answer, trouble)?;
        }
        // Where texts do not tell which of them is the earliest, all of them are read as times.
        if is_told {
            survey.nameless += counted.nameless;
            for (tenant, tally) in counted.tenants {
                survey.tenants.entry(tenant).or_default().add(&tally);
            }
            break;
        }
    }
    Ok(())
}

/// Adds an answer; false where it does not say which time is the earliest or the latest.
fn take_in(
    survey: &mut Survey,
    moments: &Moments,
    query: &Query,
    answer: &[SqliteRow],
    trouble: Trouble<'_>,
) -> Result<bool, StoreError> {
    for row in answer {
        let mut tally = Tally { records: trouble.count(row, 1)?, ..Tally::default() };
        if row.len() > 4 {
            let plain = trouble.count(row, 4)?;
            for index in [2, 3] {
                let Some(text) = trouble.get::<Option<Vec<u8>>>(row, index)? else { continue };
                let text = String::from_utf8(text).unwrap_or_default();
                let at = moments.clocked.as_ref().and_then(|clocked| clocked.read_plain(&text));
                let Some(at) = at.filter(|_| plain == tally.records) else { return Ok(false) };
                tally.add(&Tally { records: 0, oldest: Some(at), newest: Some(at) });
            }
        } else {
            tally.oldest = read_moment(query, row, 2, trouble)?;
            tally.newest = read_moment(query, row, 3, trouble)?;
        }
        if tally.records == 0 {
            continue;
        }
        if query.selection.tenants == TenantScope::Nameless {
            survey.nameless += tally.records;
            continue;
        }
        let tenant = rows::read_tenant(row, 0, trouble)?.ok_or_else(|| rows::nameless_selected(trouble))?;
        survey.tenants.entry(tenant).or_default().add(&tally);
    }
    Ok(true)
}

/// Passes over what the selection holds, through an index where there is one. One pass, or where it asks for what is
/// parked, one for each range in which such values lie: asked together, SQLite might read all of a tenant's rows.
pub(super) fn survey_sql(
    table: &Table,
    owner: &Owner<'_>,
    moments: &Moments,
    query: &Query,
    quick: bool,
    trouble: Trouble<'_>,
) -> Result<Vec<Sql>, StoreError> {
    // One tenant is one group; so are records of nobody.
    let group = match &query.selection.tenants {
        TenantScope::AllExcept(_) => owner.group(),
        TenantScope::One(_) | TenantScope::Nameless => None,
    };
    let name = match (&query.selection.tenants, &group) {
        (TenantScope::One(tenant), _) => Sql::new("").bind_text(tenant.as_str()),
        (TenantScope::AllExcept(_), _) => owner.name(),
        (TenantScope::Nameless, _) => Sql::new("NULL"),
    };
    let all_usable = query.selection.within.iter().any(|scope| matches!(scope.times, Times::Within(_)));
    let usable = if all_usable { Sql::always() } else { moments.usable() };
    // What is parked or names nobody has no time to tell.
    let has_times = query.selection.tenants != TenantScope::Nameless
        && !query.selection.within.iter().any(|scope| matches!(scope.times, Times::UnusableBefore(_)));
    let extremes = match &moments.clocked {
        Some(clocked) if has_times => clocked.extremes(&usable, quick),
        Some(_) | None => Sql::new("NULL, NULL"),
    };
    let sql = Sql::new("SELECT ")
        .append(&name)
        .push(", count(*), ")
        .append(&extremes)
        .push(&format!(" FROM {} WHERE ", table.source()))
        .append(&predicate_at(table, query, moments, trouble)?);
    let parked = query.selection.within.iter().find_map(|scope| match scope.times {
        Times::UnusableBefore(until) => Some(moments.parked_until(until)),
        Times::Any | Times::Within(_) | Times::UpTo(_) | Times::Unusable => None,
    });
    let passes: Vec<Sql> = match parked {
        Some(ranges) => ranges.iter().map(|range| sql.clone().push(" AND ").append(range)).collect(),
        None => vec![sql],
    };
    let by_tenant = group.map(|group| format!(" GROUP BY {group}")).unwrap_or_default();
    Ok(passes.into_iter().map(|sql| sql.push(&by_tenant)).collect())
}

/// Counts all records of a placement, but no further than a number.
pub(super) async fn population(
    session: &mut Session<'_>,
    placement: &Placement,
    at_most: u64,
) -> Result<u64, StoreError> {
    let table = Table::of(session, placement).await?;
    let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
    let sql = Sql::new(&format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT ", table.source()))
        .bind_int(limit)
        .push(")");
    Ok(session.number(&sql).await?.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
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
            table.column(column, trouble)?.sql.clone()
        }
        Some(EventTime::Key(_) | EventTime::Modified) | None => "NULL".to_owned(),
    };
    let mut sql = Sql::new("SELECT ").append(&owner.name_or_null()).push(", ").push(&moment);
    for (_, column) in &subjects {
        sql = sql.push(&format!(", CAST({} AS TEXT)", table.column(column, trouble)?.sql));
    }
    let sql = sql
        .push(&format!(" FROM {} WHERE ", table.source()))
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
        if let Some(value) = trouble.get::<Option<String>>(row, 2 + place)?.filter(|value| !value.is_empty())
        {
            named.push(((*kind).to_owned(), value));
        }
    }
    Ok(Some(Seen {
        tenant: rows::read_tenant(row, 0, trouble)?,
        event_time: seen_time(query, &moments, row, trouble)?,
        subjects: named,
    }))
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
    let same = match column.affinity {
        Affinity::Text => format!("{} COLLATE BINARY IN (j.value, CAST(j.value AS BLOB))", column.sql),
        Affinity::Integer | Affinity::Numeric | Affinity::Blob => {
            format!("CAST({} AS TEXT) COLLATE BINARY = j.value", column.sql)
        }
    };
    let sql = Sql::new("SELECT j.key, count(*), ")
        .append(&owner.name_or_null())
        .push(" FROM json_each(")
        .bind_text(list(locators.iter().map(String::as_str), trouble)?)
        .push(&format!(") AS j CROSS JOIN {} WHERE {same} AND NOT (", table.source()))
        .append(&rows::one_of(&table, &rows::keys_json(&table, beside, trouble)?))
        .push(") GROUP BY 1, 3");
    let mut named = NamedBy::new();
    for row in &session.rows(&sql).await? {
        let place = usize::try_from(trouble.count(row, 0)?).unwrap_or(usize::MAX);
        if let Some(locator) = locators.get(place) {
            let tenant = rows::read_tenant(row, 2, trouble)?;
            *named.entry(locator.clone()).or_default().entry(tenant).or_default() += trouble.count(row, 1)?;
        }
    }
    Ok(named)
}

fn read_moment(
    query: &Query,
    row: &SqliteRow,
    index: usize,
    trouble: Trouble<'_>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    match &query.placement.event_time {
        Some(EventTime::Text { .. }) => {
            Ok(trouble.get::<Option<String>>(row, index)?.as_deref().and_then(Clocked::read_extreme))
        }
        Some(EventTime::Epoch { unit, .. }) => {
            Ok(trouble.get::<Option<i64>>(row, index)?.and_then(|count| event_time::read_epoch(count, *unit)))
        }
        Some(EventTime::Key(_) | EventTime::Modified) | None => Ok(None),
    }
}

fn seen_time(
    query: &Query,
    moments: &Moments,
    row: &SqliteRow,
    trouble: Trouble<'_>,
) -> Result<SeenTime, StoreError> {
    let Some(event) = &query.placement.event_time else {
        return Ok(SeenTime::None);
    };
    // A fraction or a blob is not an event time, and neither is text that is not UTF-8.
    let stored = trouble.value(row, 1).ok().flatten();
    let instant = match (event, stored) {
        (EventTime::Text { format, time_zone, .. }, Some(Value::Text(text))) => {
            event_time::read_text(&text, format, *time_zone)
        }
        (EventTime::Epoch { unit, .. }, Some(Value::Int(count))) => event_time::read_epoch(count, *unit),
        (EventTime::Text { .. } | EventTime::Epoch { .. } | EventTime::Key(_) | EventTime::Modified, _) => {
            None
        }
    };
    Ok(instant.filter(|at| moments.usable.contains(*at)).map_or(SeenTime::Unusable, SeenTime::Usable))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Interval;
    use crate::policy::EpochUnit;
    use crate::stores::sqlite::tests::{Scratch, due_query};

    async fn plan(scratch: &Scratch, query: &Query) -> Vec<String> {
        let link = scratch.writer().await;
        let mut session = link.session("test").await;
        let trouble = session.trouble;
        let table = Table::of(&mut session, &query.placement).await.unwrap();
        let owner = Owner::of(&table, &query.placement, trouble).unwrap();
        let moments = Moments::new(&table, query, trouble).unwrap();
        let mut plans = Vec::new();
        let aside = moments.aside();
        let passes = survey_sql(&table, &owner, &aside, query, true, trouble).unwrap();
        let is_led = query.selection.tenants == TenantScope::Nameless
            && leads_everywhere(&mut session, &passes).await.unwrap();
        let moments = if is_led { &aside } else { &moments };
        for sql in survey_sql(&table, &owner, moments, query, true, trouble).unwrap() {
            plans.extend(session.plan(&sql).await.unwrap());
        }
        plans
    }

    #[tokio::test]
    async fn counting_what_is_due_goes_through_an_index_where_there_is_one() {
        let table =
            "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at, caller TEXT);";
        let by_time = "CREATE INDEX by_time ON call_record (started_at);";
        let by_tenant = "CREATE INDEX by_tenant ON call_record (tenant_id, started_at);";
        let one = TenantScope::One(TenantId::parse("t-1").unwrap());
        let all = TenantScope::AllExcept(vec![TenantId::parse("t-10").unwrap()]);
        for (indexes, tenants, expected) in [
            (by_time.to_owned(), one.clone(), "SEARCH t USING INDEX by_time (started_at>? AND started_at<?)"),
            (by_time.to_owned(), all.clone(), "SEARCH t USING INDEX by_time (started_at>? AND started_at<?)"),
            (
                by_tenant.to_owned(),
                one.clone(),
                "SEARCH t USING COVERING INDEX by_tenant (tenant_id=? AND started_at>? AND started_at<?)",
            ),
            (
                format!("{by_time}{by_tenant}"),
                one,
                "SEARCH t USING COVERING INDEX by_tenant (tenant_id=? AND started_at>? AND started_at<?)",
            ),
            (
                format!("{by_time}{by_tenant}"),
                all,
                "SEARCH t USING INDEX by_time (started_at>? AND started_at<?)",
            ),
        ] {
            let scratch = Scratch::new(&format!("{table}{indexes}")).await;
            let day = |n| DateTime::UNIX_EPOCH + chrono::TimeDelta::days(n);
            // Months that clamp make a due set of several pieces.
            let pieces = vec![
                Interval { from: day(0), to: day(20_000) },
                Interval { from: day(20_001), to: day(20_002) },
            ];
            let mut query = due_query(tenants, pieces);
            assert!(plan(&scratch, &query).await.contains(&expected.to_owned()), "{indexes}");
            let epoch = EventTime::Epoch { column: "started_at".into(), unit: EpochUnit::Seconds };
            std::sync::Arc::make_mut(&mut query.placement).event_time = Some(epoch);
            assert!(plan(&scratch, &query).await.contains(&expected.to_owned()), "{indexes}");
        }
        let scratch = Scratch::new(table).await;
        let query = due_query(
            TenantScope::AllExcept(vec![]),
            vec![Interval { from: DateTime::UNIX_EPOCH, to: DateTime::<Utc>::MAX_UTC }],
        );
        assert!(plan(&scratch, &query).await.contains(&"SCAN t".to_owned()), "the test can tell");
    }

    #[tokio::test]
    async fn counting_what_is_parked_and_what_names_nobody_reads_nothing_that_is_kept() {
        let table =
            "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at, caller TEXT);
             CREATE INDEX by_tenant ON call_record (tenant_id, started_at);";
        let by_time = "CREATE INDEX by_time ON call_record (started_at);";
        let due = Interval { from: DateTime::UNIX_EPOCH, to: "2025-01-01T00:00:00Z".parse().unwrap() };
        let one = TenantScope::One(TenantId::parse("t-1").unwrap());
        let all = TenantScope::AllExcept(vec![TenantId::parse("t-10").unwrap()]);
        for (indexes, tenants, times, led_by) in [
            (by_time, one.clone(), Times::UnusableBefore(due.to), "by_tenant (tenant_id=? AND started_at"),
            ("", one, Times::UnusableBefore(due.to), "by_tenant (tenant_id=? AND started_at"),
            (by_time, all, Times::UnusableBefore(due.to), "by_time (started_at"),
            (by_time, TenantScope::Nameless, Times::UnusableBefore(due.to), "by_tenant (tenant_id"),
            (by_time, TenantScope::Nameless, Times::Within(vec![due]), "by_tenant (tenant_id"),
            ("", TenantScope::Nameless, Times::Any, "by_tenant (tenant_id"),
        ] {
            let scratch = Scratch::new(&format!("{table}{indexes}")).await;
            let mut query = due_query(tenants, vec![]);
            query.selection.within[0].times = times;
            let steps = plan(&scratch, &query).await;
            // `u` is the table once more, asked for its tenants.
            let reads: Vec<&String> =
                steps.iter().filter(|step| step.contains(" t ") || step.contains(" u ")).collect();
            assert!(!steps.iter().any(|step| ["SCAN t", "SCAN u"].contains(&step.as_str())), "{steps:?}");
            let is_led = |step: &&String| {
                step.starts_with("SEARCH u") || step.starts_with("SEARCH t") && step.contains(led_by)
            };
            let is_range = |step: &&String| step.ends_with("=?)") || step.contains(['<', '>']);
            assert!(
                !reads.is_empty() && reads.iter().all(|step| is_led(step) && is_range(step)),
                "{steps:?}"
            );
        }
    }
}
