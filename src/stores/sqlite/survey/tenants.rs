//! Which tenants a table knows, read off an index that begins with them: so what is due of all of them is counted one
//! tenant after the other, without going from the index to the rows. It counts no record.

use super::super::catalogue::{Affinity, Table};
use super::super::find::is_indexed;
use super::super::predicate::Moments;
use super::super::session::Session;
use crate::id::TenantId;
use crate::plan::{TenantScope, Times};
use crate::policy::{EventTime, TenantSource};
use crate::stores::sql::Sql;
use crate::stores::{Query, StoreError};

/// With more tenants than this, one question for each of them costs more than it spares.
const TENANTS_MAX: i64 = 1_000;

/// With fewer due records than this, going to each of their rows costs little.
const DUE_MIN: i64 = 20_000;

/// The tenants of a query for all but some, where they are better counted one by one: an index begins with the tenant
/// and the event time, there are not too many tenants and not too few due records. `None` otherwise.
pub(super) async fn by_index(
    session: &mut Session<'_>,
    table: &Table,
    moments: &Moments,
    query: &Query,
) -> Result<Option<Vec<TenantId>>, StoreError> {
    let TenantScope::AllExcept(excepted) = &query.selection.tenants else { return Ok(None) };
    let (
        TenantSource::Column(tenant),
        Some(EventTime::Text { column: time, .. } | EventTime::Epoch { column: time, .. }),
    ) = (&query.placement.tenant, &query.placement.event_time)
    else {
        return Ok(None);
    };
    let due = query.selection.within.iter().find_map(|scope| match &scope.times {
        Times::Within(intervals) => Some(intervals),
        Times::Any | Times::UpTo(_) | Times::Unusable | Times::UnusableBefore(_) => None,
    });
    let (Some(due), Some(clocked)) = (due, &moments.clocked) else { return Ok(None) };
    let column = table.column(tenant, session.trouble)?;
    if column.affinity != Affinity::Text || !begins_an_index(session, table, tenant, time).await? {
        return Ok(None);
    }
    let some = Sql::new(&format!("SELECT 1 FROM {} WHERE ", table.source()))
        .append(&clocked.inside(due, moments.usable))
        .push(" LIMIT ")
        .bind_int(DUE_MIN);
    if is_indexed(session, &some).await? {
        let some = Sql::new("SELECT count(*) FROM (").append(&some).push(")");
        if session.number(&some).await?.unwrap_or(0) < DUE_MIN {
            return Ok(None);
        }
    }
    let (c, source) = (&column.sql, table.source());
    let next = format!("SELECT min({c} COLLATE BINARY) FROM {source} WHERE {c} COLLATE BINARY < x''");
    let names = Sql::new(&format!(
        "WITH RECURSIVE tenant (name) AS ({next} UNION ALL \
         SELECT ({next} AND {c} COLLATE BINARY > tenant.name) FROM tenant WHERE tenant.name IS NOT NULL) \
         SELECT name FROM tenant WHERE name IS NOT NULL LIMIT "
    ))
    .bind_int(TENANTS_MAX + 1);
    let mut tenants = Vec::new();
    let answer = session.rows(&names).await?;
    if i64::try_from(answer.len()).unwrap_or(i64::MAX) > TENANTS_MAX {
        return Ok(None);
    }
    for row in &answer {
        let name: Vec<u8> = session.get(row, 0)?;
        // What is not UTF-8 is refused where all are counted together.
        let Ok(name) = String::from_utf8(name) else { return Ok(None) };
        tenants.extend(TenantId::observed(&name).filter(|tenant| !excepted.contains(tenant)));
    }
    Ok(Some(tenants))
}

/// True where an index of the whole table has these columns first, in this order, compared byte by byte.
async fn begins_an_index(
    session: &mut Session<'_>,
    table: &Table,
    tenant: &str,
    time: &str,
) -> Result<bool, StoreError> {
    let sql = Sql::new("SELECT count(*) FROM pragma_index_list(")
        .bind_text(&table.name)
        .push(", 'main') AS l, pragma_index_xinfo(l.name, 'main') AS a, pragma_index_xinfo(l.name, 'main') AS b \
               WHERE l.partial = 0 AND a.seqno = 0 AND b.seqno = 1 AND a.coll = 'BINARY' AND b.coll = 'BINARY' \
               AND a.name = ")
        .bind_text(tenant)
        .push(" AND b.name = ")
        .bind_text(time);
    Ok(session.number(&sql).await?.unwrap_or(0) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Interval;
    use crate::stores::sqlite::tests::{Scratch, due_query};

    #[tokio::test]
    async fn tenants_are_read_off_an_index_one_seek_each_and_only_where_much_is_due() {
        let table = "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20003)
             INSERT INTO call_record SELECT i, CASE i % 5 WHEN 0 THEN 't-1' WHEN 1 THEN 'T-1' WHEN 2 THEN 't-10'
               WHEN 3 THEN NULL ELSE ' ' END, '2021-01-01 00:00:00' FROM n;
             INSERT INTO call_record VALUES (30000, x'742d31', '2021-01-01 00:00:00');
             CREATE INDEX by_time ON call_record (started_at);";
        let by_tenant = "CREATE INDEX by_tenant ON call_record (tenant_id, started_at);";
        let names = |names: &[&str]| -> Vec<TenantId> {
            names.iter().map(|name| TenantId::parse(name).unwrap()).collect()
        };
        for (script, expected) in [
            (format!("{table}{by_tenant}"), Some(names(&["T-1", "t-10"]))),
            (table.to_owned(), None),
            (format!("{table}{by_tenant} DELETE FROM call_record WHERE id < 10;"), None),
            (format!("{table} CREATE INDEX n ON call_record (tenant_id COLLATE NOCASE, started_at);"), None),
        ] {
            let scratch = Scratch::new(&script).await;
            let due =
                Interval { from: chrono::DateTime::UNIX_EPOCH, to: "2025-01-01T00:00:00Z".parse().unwrap() };
            let query = due_query(TenantScope::AllExcept(names(&["t-1"])), vec![due]);
            let link = scratch.writer().await;
            let mut session = link.session("test").await;
            let table = Table::of(&mut session, &query.placement).await.unwrap();
            let moments = Moments::new(&table, &query, session.trouble).unwrap();
            let found = by_index(&mut session, &table, &moments, &query).await.unwrap();
            assert_eq!(found, expected, "{script}");
            let seek = "EXPLAIN QUERY PLAN SELECT min(t.tenant_id COLLATE BINARY) FROM main.call_record AS t \
                 WHERE t.tenant_id COLLATE BINARY < x'' AND t.tenant_id COLLATE BINARY > 'T-1'";
            let row = session.row(&Sql::new(seek)).await.unwrap().unwrap();
            let step: String = session.get(&row, 3).unwrap();
            if expected.is_some() {
                assert_eq!(step, "SEARCH t USING COVERING INDEX by_tenant (tenant_id>? AND tenant_id<?)");
            }
        }
    }
}
