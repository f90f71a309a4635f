//! Erases a batch in one transaction: lock, count, erase what still matches, compare, commit. It chooses no records: the
//! batch says which keys, and the query's whole predicate stands in the erasing statement again.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Column, RowKey, Table};
use super::find::{RECORDS_MAX, by_window};
use super::keyless;
use super::overwrite;
use super::predicate::{Owner, predicate};
use super::reach;
use super::rows::{self, Carried, Standing};
use super::session::Session;
use super::trouble::Trouble;
use crate::id::TenantId;
use crate::plan::{Counts, CountsByTenant};
use crate::policy::Method;
use crate::stores::sql::Sql;
use crate::stores::{Batch, Erased, ErrorKind, Key, Listed, Query, StoreError, Survival, Survivor};

/// Erases a batch with a method.
///
/// Gates, in order; the first that fails leaves everything as it was:
/// 1. The server is the primary and may be written to (when the session was taken).
/// 2. Nothing in the schema erases more than is asked (cascades, triggers).
/// 3. The rows are locked and counted by the whole predicate.
/// 4. No more rows match than the batch was found with.
/// 5. As many rows are erased as were counted, no more and no less.
pub(super) async fn erase(
    session: &mut Session<'_>,
    query: &Query,
    batch: &Batch,
    method: Method,
) -> Result<Erased, StoreError> {
    let trouble = session.trouble;
    if method == Method::Zero {
        return Err(trouble.of(ErrorKind::Refused, "it cannot rebuild its files; name another method"));
    }
    if batch.records() > RECORDS_MAX {
        return Err(trouble.of(ErrorKind::Refused, "the batch is larger than a transaction may be"));
    }
    let table = Table::of(session, &query.placement).await?;
    if !session.is_clear(&table.name) {
        if let Some(reach) = reach::unasked(session, &table).await?.into_iter().next() {
            return Err(trouble.of(ErrorKind::Refused, &reach.message));
        }
        session.note_clear(&table.name);
    }
    let owner = Owner::of(&table, &query.placement, trouble)?;
    let predicate = predicate(&table, query, trouble)?;
    session.begin().await?;
    let erased = match (batch, &table.key) {
        (Batch::List(listed), RowKey::None) => {
            match keyless::Rows::of(&table, &query.placement, owner, predicate, trouble) {
                Ok(rows) => rows.erase(session, listed, method).await,
                Err(error) => Err(error),
            }
        }
        (Batch::Window { .. } | Batch::List(_), RowKey::None | RowKey::Columns { .. }) => {
            let work = Work { owner, predicate, table: &table, query, method };
            work.batch(session, batch).await
        }
    };
    match erased {
        Ok(erased) => {
            session.commit().await?;
            Ok(erased)
        }
        Err(error) => {
            // Said at once: after a lock wait the server keeps the transaction open, and its locks.
            session.rollback().await;
            Err(error)
        }
    }
}

struct Work<'a> {
    owner: Owner<'a>,
    predicate: Sql,
    table: &'a Table,
    query: &'a Query,
    method: Method,
}

impl Work<'_> {
    async fn batch(&self, session: &mut Session<'_>, batch: &Batch) -> Result<Erased, StoreError> {
        match batch {
            Batch::Window { from, to, found, rows } => {
                let column = by_window(self.table, session.trouble)?;
                self.window(session, column, (*from, *to), found, rows).await
            }
            Batch::List(listed) => self.list(session, listed).await,
        }
    }

    async fn window(
        &self,
        session: &mut Session<'_>,
        column: &Column,
        (from, to): (i64, i64),
        found: &BTreeMap<TenantId, u64>,
        rows_then: &BTreeMap<TenantId, u64>,
    ) -> Result<Erased, StoreError> {
        let trouble = session.trouble;
        let window = rows::between(column, from, to);
        let these = Sql::all(&[window.clone(), self.predicate.clone()]);
        let most: u64 = found.values().sum();
        let only = self.query.selection.tenant().filter(|_| self.query.also.is_empty());
        let present = match (self.method, only) {
            // One tenant is one number, and the server counts what it deletes.
            (Method::Delete | Method::Zero, Some(tenant)) => {
                let erased = session.execute(&self.delete(&these)).await?;
                no_more_than(erased, most, trouble)?;
                BTreeMap::from([(tenant.clone(), erased)])
            }
            (Method::Delete | Method::Zero, None) => {
                let counted = self.locked(session, &these).await?;
                let expected: u64 = counted.values().sum();
                no_more_than(expected, most, trouble)?;
                if expected > 0 {
                    exactly(session.execute(&self.delete(&these)).await?, expected, trouble)?;
                }
                counted
            }
            (Method::OverwriteThenDelete, _) => {
                let columns = std::slice::from_ref(column);
                let standing = self.locked_rows(session, columns, &these).await?;
                let keys: Vec<&Key> = standing.iter().map(|(_, key)| key).collect();
                no_more_than(keys.len() as u64, most, trouble)?;
                let carried = rows::carried_keys(columns, keys.iter().copied(), trouble)?;
                let placement = &self.query.placement;
                let erased =
                    overwrite::erase(session, self.table, placement, &carried, keys.len() as u64).await?;
                exactly(erased, keys.len() as u64, trouble)?;
                let mut counted = BTreeMap::new();
                for (tenant, _) in standing {
                    *counted.entry(tenant).or_default() += 1;
                }
                counted
            }
        };
        let of = |tenant: &TenantId| present.get(tenant).copied().unwrap_or(0);
        let mut rows_now = BTreeMap::new();
        if found.iter().any(|(tenant, found)| of(tenant) < *found) {
            // Only then does anybody ask what became of the others.
            let sql = rows::count_sql(self.table, &self.owner, &window);
            rows_now = rows::read_counts(&session.rows(&sql).await?, trouble)?.0;
            for (tenant, erased) in &present {
                *rows_now.entry(tenant.clone()).or_default() += erased;
            }
        }
        Ok(Erased { counts: window_counts(&present, &rows_now, found, rows_then), survivors: Vec::new() })
    }

    async fn list(&self, session: &mut Session<'_>, listed: &[Listed]) -> Result<Erased, StoreError> {
        let trouble = session.trouble;
        let columns = self.table.key_columns(trouble)?;
        let keys = rows::carried_keys(columns, listed.iter().map(|record| &record.key), trouble)?;
        let sql =
            rows::standing_sql(self.table, columns, &self.owner, &self.predicate, &keys).push(" FOR UPDATE");
        let standing = rows::read_standing(&session.rows(&sql).await?, trouble)?;
        let (doomed, changed) = judge(listed, &standing);
        let doomed_keys: Vec<&Key> =
            doomed.iter().filter_map(|index| listed.get(*index)).map(|record| &record.key).collect();
        let expected = doomed_keys.len() as u64;
        if expected > 0 {
            let carried = rows::carried_keys(columns, doomed_keys.iter().copied(), trouble)?;
            let erased = match self.method {
                Method::Delete | Method::Zero => {
                    session.execute(&self.delete_listed(columns, &carried)).await?
                }
                Method::OverwriteThenDelete => {
                    overwrite::erase(session, self.table, &self.query.placement, &carried, expected).await?
                }
            };
            exactly(erased, expected, trouble)?;
        }
        Ok(list_outcome(listed, &doomed, &changed, &rows::missing(listed, &standing)))
    }

    /// Counts per tenant, and keeps others from changing what is counted.
    async fn locked(
        &self,
        session: &mut Session<'_>,
        these: &Sql,
    ) -> Result<BTreeMap<TenantId, u64>, StoreError> {
        let sql = rows::count_sql(self.table, &self.owner, these).push(" FOR UPDATE");
        let (counts, nameless) = rows::read_counts(&session.rows(&sql).await?, session.trouble)?;
        if nameless > 0 {
            return Err(rows::nameless_selected(session.trouble));
        }
        Ok(counts)
    }

    /// The same, row by row.
    async fn locked_rows(
        &self,
        session: &mut Session<'_>,
        columns: &[Column],
        these: &Sql,
    ) -> Result<Vec<(TenantId, Key)>, StoreError> {
        let trouble = session.trouble;
        let sql = Sql::new(&format!("SELECT {}, ", rows::shown_key(columns)))
            .append(&self.owner.name())
            .push(&format!(" FROM {} WHERE ", self.table.source_by_key()))
            .append(these)
            .push(&format!(" LIMIT {} FOR UPDATE", RECORDS_MAX + 1));
        let mut found = Vec::new();
        for row in &session.rows(&sql).await? {
            let tenant = rows::read_tenant(row, columns.len(), trouble)?
                .ok_or_else(|| rows::nameless_selected(trouble))?;
            found.push((tenant, rows::read_key(columns, row, 0, trouble)?));
        }
        Ok(found)
    }

    fn delete(&self, these: &Sql) -> Sql {
        Sql::new(&format!("DELETE {0} FROM {1} WHERE ", self.table.source, self.table.source_by_key()))
            .append(these)
    }

    fn delete_listed(&self, columns: &[Column], carried: &Carried) -> Sql {
        Sql::new(&format!("DELETE {} FROM ", self.table.source))
            .append(&rows::joined(self.table, columns, carried))
            .push(" WHERE ")
            .append(&self.predicate)
    }
}

/// A step never erases more than it says; what came in since belongs to a later one.
fn no_more_than(matching: u64, most: u64, trouble: Trouble<'_>) -> Result<(), StoreError> {
    if matching <= most {
        return Ok(());
    }
    let message =
        format!("scope exceeded: {matching} records match, {most} were found; everything was rolled back");
    Err(trouble.of(ErrorKind::Refused, &message))
}

/// What was counted under lock is what goes.
pub(super) fn exactly(erased: u64, counted: u64, trouble: Trouble<'_>) -> Result<(), StoreError> {
    if erased == counted {
        return Ok(());
    }
    let message = format!(
        "scope exceeded: {counted} records were counted, {erased} would have gone; everything was rolled back"
    );
    Err(trouble.of(ErrorKind::Refused, &message))
}

/// Which listed records go and which survive since they changed. A record that belongs to somebody else by now has
/// changed, even where the selection covers both.
fn judge(listed: &[Listed], standing: &[Standing]) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let mut doomed = BTreeSet::new();
    let mut changed = BTreeSet::new();
    for row in standing {
        let same_tenant =
            listed.get(row.index).is_some_and(|record| row.tenant.as_ref() == Some(&record.tenant));
        if row.matches && same_tenant {
            doomed.insert(row.index)
        } else {
            changed.insert(row.index)
        };
    }
    (doomed, changed)
}

/// What became of each listed record.
pub(super) fn list_outcome(
    listed: &[Listed],
    doomed: &BTreeSet<usize>,
    changed: &BTreeSet<usize>,
    missing: &BTreeSet<usize>,
) -> Erased {
    let mut counts = CountsByTenant::new();
    for (index, record) in listed.iter().enumerate() {
        let count = counts.entry(record.tenant.clone()).or_default();
        count.erased += u64::from(doomed.contains(&index));
        count.changed += u64::from(changed.contains(&index));
        count.already_absent += u64::from(missing.contains(&index));
    }
    let survivors = changed.iter().map(|index| Survivor { index: *index, why: Survival::Changed }).collect();
    Erased { counts, survivors }
}

/// What became of the records that a window had: as many as rows are missing now are gone, the others have changed.
/// `rows_now` are the rows as they were before this batch, where anybody asked.
fn window_counts(
    erased: &BTreeMap<TenantId, u64>,
    rows_now: &BTreeMap<TenantId, u64>,
    found: &BTreeMap<TenantId, u64>,
    rows_then: &BTreeMap<TenantId, u64>,
) -> CountsByTenant {
    let mut counts = CountsByTenant::new();
    for (tenant, erased) in erased.iter().filter(|(_, erased)| **erased > 0) {
        counts.insert(tenant.clone(), Counts { erased: *erased, ..Counts::default() });
    }
    for (tenant, found) in found {
        let lacking = found.saturating_sub(erased.get(tenant).copied().unwrap_or(0));
        let then = rows_then.get(tenant).copied().unwrap_or(*found);
        let gone = then.saturating_sub(rows_now.get(tenant).copied().unwrap_or(0));
        let count = counts.entry(tenant.clone()).or_default();
        count.already_absent = lacking.min(gone);
        count.changed = lacking - count.already_absent;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn what_is_missing_of_a_window_is_gone_where_rows_are_gone_and_changed_where_not() {
        let found = BTreeMap::from([(tenant("t-1"), 5)]);
        let rows_then = BTreeMap::from([(tenant("t-1"), 8)]);
        let of = |erased: u64, rows: u64| {
            let erased = BTreeMap::from([(tenant("t-1"), erased)]);
            let rows_now = BTreeMap::from([(tenant("t-1"), rows)]);
            window_counts(&erased, &rows_now, &found, &rows_then)[&tenant("t-1")]
        };
        assert_eq!(of(5, 8), Counts { erased: 5, ..Counts::default() });
        assert_eq!(of(4, 8), Counts { erased: 4, changed: 1, ..Counts::default() });
        assert_eq!(of(4, 7), Counts { erased: 4, already_absent: 1, ..Counts::default() });
        assert_eq!(of(0, 3), Counts { already_absent: 5, ..Counts::default() });
        assert_eq!(of(0, 0), Counts { already_absent: 5, ..Counts::default() });
    }
}
