//! Erases a batch in one transaction: lock, count, erase what still matches, compare, commit. It chooses no records: the
//! batch says which keys, and the query's whole predicate stands in the erasing statement again.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Column, RowKey, Table};
use super::find::{RECORDS_MAX, by_window, read_names};
use super::keyless;
use super::overwrite;
use super::predicate::{Owner, predicate};
use super::reach;
use super::rows::{self, Carried};
use super::session::Session;
use super::trouble::Trouble;
use super::values::bytes_of;
use crate::id::TenantId;
use crate::policy::Method;
use crate::stores::sql::Sql;
use crate::stores::sql::outcome::{judge, list_outcome, missing, window_counts};
use crate::stores::{Batch, Erased, ErrorKind, Key, Listed, Query, StoreError};

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
        let present = match (self.method, self.query.only_tenant()) {
            // One tenant is one number, and the server counts what it deletes.
            (Method::Delete | Method::Zero, Some(tenant)) => {
                let erased = session.execute(&self.delete(&these)).await?;
                no_more_than(erased, most, trouble)?;
                BTreeMap::from([(tenant.clone(), erased)])
            }
            (Method::Delete | Method::Zero, None) => {
                let counted = self.locked(session, &these).await?;
                let expected: u64 = counted.values().sum();
                self.no_more_than_found(&counted, found, trouble)?;
                if expected > 0 {
                    exactly(session.execute(&self.delete(&these)).await?, expected, trouble)?;
                }
                counted
            }
            (Method::OverwriteThenDelete, _) => {
                let columns = std::slice::from_ref(column);
                let standing = self.locked_rows(session, columns, &these).await?;
                let mut counted = BTreeMap::new();
                for (tenant, _) in &standing {
                    *counted.entry(tenant.clone()).or_default() += 1;
                }
                self.no_more_than_found(&counted, found, trouble)?;
                let keys: Vec<&Key> = standing.iter().map(|(_, key)| key).collect();
                let carried = rows::carried_keys(columns, keys.iter().copied(), trouble)?;
                let placement = &self.query.placement;
                let erased =
                    overwrite::erase(session, self.table, placement, &carried, keys.len() as u64).await?;
                exactly(erased, keys.len() as u64, trouble)?;
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
        let (mut doomed, mut changed) = judge(listed, &standing);
        for index in self.renamed(session, columns, listed, &keys).await? {
            doomed.remove(&index);
            changed.insert(index);
        }
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
        Ok(list_outcome(listed, &doomed, &changed, &missing(listed, &standing)))
    }

    fn no_more_than_found(
        &self,
        matching: &BTreeMap<TenantId, u64>,
        found: &BTreeMap<TenantId, u64>,
        trouble: Trouble<'_>,
    ) -> Result<(), StoreError> {
        if self.query.is_exceeded(matching, found) {
            return Err(exceeded(matching.values().sum(), found.values().sum(), trouble));
        }
        Ok(())
    }

    /// Rows that name something else than when they were found: with the row, nobody would find that any more.
    async fn renamed(
        &self,
        session: &mut Session<'_>,
        key: &[Column],
        listed: &[Listed],
        keys: &Carried,
    ) -> Result<Vec<usize>, StoreError> {
        let trouble = session.trouble;
        let columns: BTreeSet<&String> = listed.iter().flat_map(|record| record.names.keys()).collect();
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let columns: Vec<&Column> =
            columns.into_iter().map(|name| self.table.column(name, trouble)).collect::<Result<_, _>>()?;
        let shown: String = columns.iter().map(|column| format!(", {}", bytes_of(column))).collect();
        // A look without lock would see the rows as they were when the transaction began.
        let sql = Sql::new(&format!("SELECT CAST(j.place AS SIGNED){shown} FROM "))
            .append(&rows::joined(self.table, key, keys))
            .push(" FOR UPDATE");
        let mut renamed = Vec::new();
        for row in &session.rows(&sql).await? {
            let place = usize::try_from(trouble.count(row, 0)?).ok().and_then(|place| place.checked_sub(1));
            let index = place.unwrap_or(usize::MAX);
            let names = read_names(&columns, row, 1, trouble)?;
            if listed.get(index).is_none_or(|record| record.names != names) {
                renamed.push(index);
            }
        }
        Ok(renamed)
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
    if matching <= most { Ok(()) } else { Err(exceeded(matching, most, trouble)) }
}

fn exceeded(matching: u64, found: u64, trouble: Trouble<'_>) -> StoreError {
    let message = format!(
        "scope exceeded: {matching} records match, {found} were found, or one of the steps lost some and another one \
         got more; everything was rolled back"
    );
    trouble.of(ErrorKind::Refused, &message)
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
