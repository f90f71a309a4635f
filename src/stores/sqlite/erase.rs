//! Erases a batch in one transaction: count, erase what still matches, compare, commit. It chooses no records: the
//! batch says which keys, and the query's whole predicate stands in the erasing statement again.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Column, Table};
use super::find::by_rowid;
use super::inspect;
use super::overwrite;
use super::predicate::{Owner, predicate};
use super::rows::{self, Counted, Presence};
use super::session::{Session, Writing};
use crate::id::TenantId;
use crate::policy::Method;
use crate::stores::sql::Sql;
use crate::stores::sql::outcome::{judge, list_outcome, missing, window_counts};
use crate::stores::{Batch, Erased, ErrorKind, Key, Listed, Query, StoreError};

/// Counts changes to the schema.
const SCHEMA_VERSION: &str = "PRAGMA main.schema_version";

/// Erases a batch with a method.
///
/// Gates, in order; the first that fails leaves everything as it was:
/// 1. Nothing in the schema erases more than is asked (cascades, triggers).
/// 2. The write lock is held before anything is counted, so that what is counted is what is erased.
/// 3. The batch is counted by the whole predicate.
/// 4. No more rows match than the batch was found with.
/// 5. As many rows are erased as were counted, no more and no less.
pub(super) async fn erase(
    session: &mut Session<'_>,
    query: &Query,
    batch: &Batch,
    method: Method,
) -> Result<Erased, StoreError> {
    let trouble = session.trouble;
    let schema = session.number(&Sql::new(SCHEMA_VERSION)).await?;
    let table = Table::of(session, &query.placement).await?;
    if let Some(reach) = inspect::reaches(session, &table).await?.into_iter().find(|reach| reach.fatal) {
        return Err(trouble.of(ErrorKind::Refused, &reach.message));
    }
    if method == Method::Zero {
        // Clears most of the freed blocks in place; the rest is for `scrub`.
        session.rows(&Sql::new("PRAGMA secure_delete = ON")).await?;
    }
    if method == Method::OverwriteThenDelete {
        overwrite::prepare(session, &table).await?;
    }
    let work = Work {
        owner: Owner::of(&table, &query.placement, trouble)?,
        predicate: predicate(&table, query, trouble)?,
        table: &table,
        query,
        method,
        schema,
    };
    match batch {
        Batch::Window { from, to, found, rows } => {
            by_rowid(&table, trouble)?;
            work.window(session, rows::between(&table, *from, *to), found, rows).await
        }
        Batch::List(listed) => work.list(session, listed).await,
    }
}

struct Work<'a> {
    owner: Owner<'a>,
    predicate: Sql,
    table: &'a Table,
    query: &'a Query,
    method: Method,
    schema: Option<i64>,
}

impl Work<'_> {
    async fn window(
        &self,
        session: &mut Session<'_>,
        window: Sql,
        found: &BTreeMap<TenantId, u64>,
        rows_then: &BTreeMap<TenantId, u64>,
    ) -> Result<Erased, StoreError> {
        let mut writing = self.begin(session).await?;
        let count = |counted| rows::presence_sql(self.table, &self.owner, &self.predicate, &window, counted);
        let sql = count(Counted::Matching);
        let mut present = rows::read_presence(&writing.rows(&sql).await?, writing.trouble)?;
        let of = |tenant: &TenantId| present.get(tenant).map_or(0, |counts| counts.matching);
        if found.iter().any(|(tenant, found)| of(tenant) < *found) {
            // Only then does anybody ask what became of the others.
            let sql = count(Counted::All);
            present = rows::read_presence(&writing.rows(&sql).await?, writing.trouble)?;
        }
        let counted: u64 = present.values().map(|counts| counts.matching).sum();
        let matching = present.iter().map(|(tenant, counts)| (tenant.clone(), counts.matching)).collect();
        if self.query.is_exceeded(&matching, found) {
            // A step never erases more than it says; what came in since belongs to a later one.
            return Err(writing.trouble.of(ErrorKind::Refused, "more records match than were found"));
        }
        self.erase_counted(writing, &window, counted).await?;
        let of = |pick: fn(&Presence) -> u64| -> BTreeMap<TenantId, u64> {
            present.iter().map(|(tenant, presence)| (tenant.clone(), pick(presence))).collect()
        };
        let counts = window_counts(&of(|now| now.matching), &of(|now| now.rows), found, rows_then);
        Ok(Erased { counts, survivors: Vec::new() })
    }

    async fn list(&self, session: &mut Session<'_>, listed: &[Listed]) -> Result<Erased, StoreError> {
        let mut writing = self.begin(session).await?;
        let trouble = writing.trouble;
        let keys = rows::keys_json(self.table, listed.iter().map(|record| &record.key), trouble)?;
        let sql = rows::standing_sql(self.table, &self.owner, &self.predicate, &keys);
        let standing = rows::read_standing(&writing.rows(&sql).await?, trouble)?;
        let (mut doomed, mut changed) = judge(listed, &standing);
        for index in self.renamed(&mut writing, listed, &keys).await? {
            doomed.remove(&index);
            changed.insert(index);
        }
        let keys: Vec<&Key> =
            doomed.iter().filter_map(|index| listed.get(*index)).map(|record| &record.key).collect();
        let counted = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        let these = rows::one_of(self.table, &rows::keys_json(self.table, keys, trouble)?);
        self.erase_counted(writing, &these, counted).await?;
        Ok(list_outcome(listed, &doomed, &changed, &missing(listed, &standing)))
    }

    /// Rows that name something else than when they were found: with the row, nobody would find that any more.
    async fn renamed(
        &self,
        writing: &mut Writing<'_>,
        listed: &[Listed],
        keys: &str,
    ) -> Result<Vec<usize>, StoreError> {
        let trouble = writing.trouble;
        let columns: BTreeSet<&String> = listed.iter().flat_map(|record| record.names.keys()).collect();
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let columns: Vec<&Column> =
            columns.into_iter().map(|name| self.table.column(name, trouble)).collect::<Result<_, _>>()?;
        let mut renamed = Vec::new();
        for row in &writing.rows(&rows::names_sql(self.table, &columns, keys)).await? {
            let index = usize::try_from(trouble.count(row, 0)?).unwrap_or(usize::MAX);
            let names = rows::read_names(&columns, row, 1, trouble)?;
            if listed.get(index).is_none_or(|record| record.names != names) {
                renamed.push(index);
            }
        }
        Ok(renamed)
    }

    /// Takes the write lock, under which the schema is still the one that was read.
    async fn begin<'s>(&self, session: &'s mut Session<'_>) -> Result<Writing<'s>, StoreError> {
        let mut writing = session.writing().await?;
        if writing.number(&Sql::new(SCHEMA_VERSION)).await? != self.schema {
            return Err(writing.trouble.later("the schema was changed just now"));
        }
        Ok(writing)
    }

    /// Erases those of `these` rows that the predicate selects; they must be as many as were counted.
    async fn erase_counted(
        &self,
        mut writing: Writing<'_>,
        these: &Sql,
        counted: u64,
    ) -> Result<(), StoreError> {
        if counted == 0 {
            return writing.rollback().await;
        }
        let erased = match self.method {
            Method::Delete | Method::Zero => {
                writing.execute(&delete_sql(self.table, these, &self.predicate)).await?
            }
            Method::OverwriteThenDelete => {
                overwrite::erase(
                    &mut writing,
                    self.table,
                    &Sql::all(&[these.clone(), self.predicate.clone()]),
                )
                .await?
            }
        };
        if erased != counted {
            return Err(scope_exceeded(writing, counted, erased).await);
        }
        writing.commit().await
    }
}

/// Deletes those of `these` rows that the predicate selects.
fn delete_sql(table: &Table, these: &Sql, predicate: &Sql) -> Sql {
    Sql::new("DELETE FROM ")
        .push(&table.source_by_key())
        .push(" WHERE ")
        .append(&Sql::all(&[these.clone(), predicate.clone()]))
}

/// Rolls back and says so.
async fn scope_exceeded(writing: Writing<'_>, counted: u64, erased: u64) -> StoreError {
    let trouble = writing.trouble;
    match writing.rollback().await {
        Ok(()) => trouble.of(
            ErrorKind::Refused,
            &format!(
                "{counted} records were counted but {erased} would have gone; everything was rolled back"
            ),
        ),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;

    use super::*;
    use crate::plan::{Interval, TenantScope};
    use crate::policy::{EpochUnit, EventTime};
    use crate::stores::Value;
    use crate::stores::sqlite::tests::{Scratch, due_query};

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[tokio::test]
    async fn the_statement_that_deletes_calls_no_function_so_that_sqlite_keeps_no_copy_of_the_pages() {
        let scratch = Scratch::new(
            "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, count INTEGER);",
        )
        .await;
        let due = Interval { from: DateTime::UNIX_EPOCH, to: "2025-01-01T00:00:00Z".parse().unwrap() };
        let epoch = EventTime::Epoch { column: "count".into(), unit: EpochUnit::Seconds };
        for tenants in [
            TenantScope::One(tenant("t-1")),
            TenantScope::AllExcept(vec![]),
            TenantScope::AllExcept(vec![tenant("t-10")]),
        ] {
            for event in [None, Some(epoch.clone())] {
                let mut query = due_query(tenants.clone(), vec![due]);
                if let Some(event) = event {
                    Arc::make_mut(&mut query.placement).event_time = Some(event);
                }
                let link = scratch.writer().await;
                let mut session = link.session("test").await;
                let trouble = session.trouble;
                let table = Table::of(&mut session, &query.placement).await.unwrap();
                let predicate = predicate(&table, &query, trouble).unwrap();
                let keys = rows::keys_json(&table, [&Key(vec![Value::Int(1)])], trouble).unwrap();
                for these in [rows::between(&table, 1, 9), rows::one_of(&table, &keys)] {
                    let sql = Sql::new("EXPLAIN ").append(&delete_sql(&table, &these, &predicate));
                    let steps = session.rows(&sql).await.unwrap();
                    let codes: Vec<String> = steps.iter().map(|row| session.get(row, 1).unwrap()).collect();
                    assert!(codes.contains(&"Delete".to_owned()));
                    assert!(!codes.iter().any(|code| code.contains("Function")), "{codes:?}");
                }
            }
        }
    }
}
