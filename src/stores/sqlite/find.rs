//! Finds batches and reads them back. It owns the choice between a window of rowids and a list of keys; it erases
//! nothing.
//!
//! What a run pays for finding grows with what is due, or at worst with one pass over the table: where few records
//! are left an index leads, otherwise the table is walked forward by key and each stretch is walked once.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;

use super::catalogue::{Column, RowKey, Table};
use super::predicate::{Owner, predicate};
use super::rows::{self, Counted};
use super::session::{Session, Trouble};
use crate::id::TenantId;
use crate::stores::sql::Sql;
use crate::stores::{
    Batch, Budget, ErrorKind, Found, Key, Listed, NamingColumns, Position, Query, StillThere, StoreError,
    Value,
};

/// Up to this many batches' worth of records are "few": an index then leads to all of them each time, which costs
/// at most twice what is erased.
const FEW_BATCHES: i64 = 2;

/// A window pays off where at least one in so many keys is due (measured: a tenth).
const SPARSE_ABOVE: u64 = 10;

/// The next batch of a selection after a position.
pub(super) async fn find(
    session: &mut Session<'_>,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
    naming: NamingColumns<'_>,
) -> Result<Option<Found>, StoreError> {
    let trouble = session.trouble;
    let table = Table::of(session, &query.placement).await?;
    let names = naming.iter().map(|name| table.column(name, trouble)).collect::<Result<Vec<&Column>, _>>()?;
    let search = Search::new(&table, query, after, budget, names, trouble)?;
    let RowKey::Rowid(rowid) = &table.key else {
        return search.list(session, Lead::Key).await;
    };
    let end = |name: &str| Sql::new(&format!("SELECT {name}({rowid}) FROM {}", table.source()));
    let Some(last) = session.number(&end("max")).await? else { return Ok(None) };
    let wide = i64::try_from(budget.window_keys.max(1) - 1).unwrap_or(i64::MAX);
    if search.names.is_empty() {
        // Where due records lie dense, the next stretch of keys is the next batch, and no index is asked.
        let next = match search.after.map(|key| key.0.as_slice()) {
            Some([Value::Int(key)]) => key.checked_add(1),
            Some(_) => None,
            None => session.number(&end("min")).await?,
        };
        if let Some(from) = next.filter(|from| *from <= last)
            && let Some(found) = search.dense(session, from, from.saturating_add(wide).min(last)).await?
        {
            return Ok(Some(found));
        }
    }
    let few = search.few(session).await?;
    if few == Some(0) {
        return Ok(None);
    }
    if !search.names.is_empty() {
        return search.list(session, if few.is_some() { Lead::Index } else { Lead::Key }).await;
    }
    let first = search.first(session, if few.is_some() { Lead::Index } else { Lead::Key }).await?;
    let Some(first) = first else { return Ok(None) };
    if let Some(few) = few
        && few.saturating_mul(SPARSE_ABOVE) < width(first, last)
    {
        return search.list(session, Lead::Index).await;
    }
    match search.dense(session, first, first.saturating_add(wide).min(last)).await? {
        Some(found) => Ok(Some(found)),
        None => search.list(session, Lead::Key).await,
    }
}

/// What is still there of a batch.
pub(super) async fn absent(
    session: &mut Session<'_>,
    query: &Query,
    batch: &Batch,
) -> Result<StillThere, StoreError> {
    let trouble = session.trouble;
    let table = Table::of(session, &query.placement).await?;
    let owner = Owner::of(&table, &query.placement, trouble)?;
    let predicate = predicate(&table, query, trouble)?;
    let mut still = StillThere::default();
    match batch {
        Batch::Window { from, to, .. } => {
            by_rowid(&table, trouble)?;
            let window = rows::between(&table, *from, *to);
            let sql = rows::presence_sql(&table, &owner, &predicate, &window, Counted::Matching);
            let present = rows::read_presence(&session.rows(&sql).await?, trouble)?;
            still.tenants = matching(&present);
        }
        Batch::List(listed) => {
            let keys = rows::keys_json(&table, listed.iter().map(|record| &record.key), trouble)?;
            let sql = rows::standing_sql(&table, &owner, &predicate, &keys);
            for row in rows::read_standing(&session.rows(&sql).await?, trouble)? {
                still.indexes.push(row.index);
                if row.matches {
                    let tenant = row.tenant.ok_or_else(|| rows::nameless_selected(trouble))?;
                    *still.tenants.entry(tenant).or_default() += 1;
                }
            }
            still.indexes.sort_unstable();
        }
    }
    Ok(still)
}

/// A window means rowids; a table without them never had one.
pub(super) fn by_rowid(table: &Table, trouble: Trouble<'_>) -> Result<(), StoreError> {
    match table.key {
        RowKey::Rowid(_) => Ok(()),
        RowKey::Columns(_) => Err(trouble.of(ErrorKind::Schema, "the table has no rowids any more")),
    }
}

/// Tenants with records that the predicate selects.
fn matching(present: &BTreeMap<TenantId, rows::Presence>) -> BTreeMap<TenantId, u64> {
    present
        .iter()
        .filter(|(_, counts)| counts.matching > 0)
        .map(|(tenant, counts)| (tenant.clone(), counts.matching))
        .collect()
}

/// What leads to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// The key: the table is walked forward.
    Key,
    /// Whatever index fits the predicate; all that is left is looked at, then put in order.
    Index,
}

/// A search for the next batch.
pub(super) struct Search<'a> {
    table: &'a Table,
    pub(super) owner: Owner<'a>,
    predicate: Sql,
    after: Option<&'a Key>,
    names: Vec<&'a Column>,
    records_max: i64,
}

impl<'a> Search<'a> {
    /// After a position; with columns that name something.
    pub(super) fn new(
        table: &'a Table,
        query: &'a Query,
        after: Option<&'a Position>,
        budget: Budget,
        names: Vec<&'a Column>,
        trouble: Trouble<'_>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            table,
            owner: Owner::of(table, &query.placement, trouble)?,
            predicate: predicate(table, query, trouble)?,
            after: after.map(|position| &position.0),
            names,
            records_max: i64::try_from(budget.records_max.max(1)).unwrap_or(i64::MAX),
        })
    }

    /// What leads to the next rows, where they are read one by one; `None` where there are none.
    pub(super) async fn lead(&self, session: &mut Session<'_>) -> Result<Option<Lead>, StoreError> {
        Ok(match (&self.table.key, self.few(session).await?) {
            (_, Some(0)) => None,
            (RowKey::Rowid(_), Some(_)) => Some(Lead::Index),
            (RowKey::Rowid(_), None) | (RowKey::Columns(_), _) => Some(Lead::Key),
        })
    }

    /// The next rows, in order of their key, as they are shown.
    pub(super) async fn next(
        &self,
        session: &mut Session<'_>,
        shown: &Sql,
        lead: Lead,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let sql = self
            .selected(shown, lead, session.trouble)?
            .push(&self.order(lead))
            .push(" LIMIT ")
            .bind_int(self.records_max);
        session.rows(&sql).await
    }

    /// How many records are left, where an index can tell and they are few.
    async fn few(&self, session: &mut Session<'_>) -> Result<Option<u64>, StoreError> {
        let limit = self.records_max.saturating_mul(FEW_BATCHES);
        let rows = self
            .rows_sql("1", Lead::Index, session.trouble)?
            .push(" LIMIT ")
            .bind_int(limit.saturating_add(1));
        if !is_indexed(session, &rows).await? {
            return Ok(None);
        }
        let count = Sql::new("SELECT count(*) FROM (").append(&rows).push(")");
        let count = session.number(&count).await?.unwrap_or(0);
        Ok(u64::try_from(count).ok().filter(|_| count <= limit))
    }

    /// The rowid of the next record.
    async fn first(&self, session: &mut Session<'_>, lead: Lead) -> Result<Option<i64>, StoreError> {
        let key = self.table.key.list();
        let sql = self.rows_sql(&key, lead, session.trouble)?.push(&self.order(lead)).push(" LIMIT 1");
        session.number(&sql).await
    }

    /// A window, cut so that it holds no more than allowed; `None` where it would be too sparse.
    async fn dense(
        &self,
        session: &mut Session<'_>,
        from: i64,
        to: i64,
    ) -> Result<Option<Found>, StoreError> {
        let mut to = to;
        let mut present = self.presence(session, from, to).await?;
        let mut found = matching(&present);
        let limit = u64::try_from(self.records_max).unwrap_or(1);
        if found.values().sum::<u64>() > limit {
            let key = self.table.key.list();
            let last = Sql::new(&format!("SELECT {key} FROM {} WHERE ", self.table.source_by_key()))
                .append(&Sql::all(&[self.predicate.clone(), rows::between(self.table, from, to)]))
                .push(&format!(" ORDER BY {key} LIMIT 1 OFFSET "))
                .bind_int(self.records_max - 1);
            to = session.number(&last).await?.unwrap_or(from);
            present = self.presence(session, from, to).await?;
            found = matching(&present);
        }
        let records: u64 = found.values().sum();
        // A row written in between may make the window too full; a list counts for itself.
        if records == 0 || records > limit || records.saturating_mul(SPARSE_ABOVE) < width(from, to) {
            return Ok(None);
        }
        let rows =
            found.keys().filter_map(|t| present.get(t).map(|counts| (t.clone(), counts.rows))).collect();
        let position = Position(Key(vec![Value::Int(to)]));
        Ok(Some(Found { batch: Batch::Window { from, to, found, rows }, position }))
    }

    async fn presence(
        &self,
        session: &mut Session<'_>,
        from: i64,
        to: i64,
    ) -> Result<BTreeMap<TenantId, rows::Presence>, StoreError> {
        let window = rows::between(self.table, from, to);
        let sql = rows::presence_sql(self.table, &self.owner, &self.predicate, &window, Counted::All);
        rows::read_presence(&session.rows(&sql).await?, session.trouble)
    }

    /// The next records, one by one.
    async fn list(&self, session: &mut Session<'_>, lead: Lead) -> Result<Option<Found>, StoreError> {
        let trouble = session.trouble;
        let mut shown = Sql::new(&self.table.key.list()).push(", ").append(&self.owner.name());
        shown = shown.push(&rows::shown_names(&self.names));
        let answer = self.next(session, &shown, lead).await?;
        let listed = answer.iter().map(|row| self.listed(row, trouble)).collect::<Result<Vec<_>, _>>()?;
        Ok(listed
            .last()
            .map(|last| Position(last.key.clone()))
            .map(|position| Found { batch: Batch::List(listed), position }))
    }

    fn listed(&self, row: &SqliteRow, trouble: Trouble<'_>) -> Result<Listed, StoreError> {
        let tenant_at = self.table.key.parts().len();
        Ok(Listed {
            tenant: rows::read_tenant(row, tenant_at, trouble)?
                .ok_or_else(|| rows::nameless_selected(trouble))?,
            key: rows::read_key(self.table, row, 0, trouble)?,
            names: rows::read_names(&self.names, row, tenant_at + 1, trouble)?,
            stamp: String::new(),
        })
    }

    fn rows_sql(&self, shown: &str, lead: Lead, trouble: Trouble<'_>) -> Result<Sql, StoreError> {
        self.selected(&Sql::new(shown), lead, trouble)
    }

    /// `SELECT … WHERE` the predicate holds and the key comes after the position.
    fn selected(&self, shown: &Sql, lead: Lead, trouble: Trouble<'_>) -> Result<Sql, StoreError> {
        let source = match lead {
            Lead::Key => self.table.source_by_key(),
            Lead::Index => self.table.source(),
        };
        let sql = Sql::new("SELECT ")
            .append(shown)
            .push(&format!(" FROM {source} WHERE ("))
            .append(&self.predicate)
            .push(")");
        let Some(key) = self.after else { return Ok(sql) };
        let after = match (lead, key.0.as_slice()) {
            // The sign keeps SQLite from walking the table by rowid after all.
            (Lead::Index, [rowid]) => {
                Sql::new("+").push(&self.table.key.list()).push(" > ").bind(rowid.clone())
            }
            (Lead::Index | Lead::Key, _) => rows::after(self.table, key, trouble)?,
        };
        Ok(sql.push(" AND ").append(&after))
    }

    fn order(&self, lead: Lead) -> String {
        let sign = match lead {
            Lead::Key => "",
            Lead::Index => "+",
        };
        let parts: Vec<String> = self.table.key.parts().iter().map(|part| format!("{sign}{part}")).collect();
        format!(" ORDER BY {}", parts.join(", "))
    }
}

/// True where SQLite would go through an index and not through the whole table.
pub(super) async fn is_indexed(session: &mut Session<'_>, sql: &Sql) -> Result<bool, StoreError> {
    Ok(session.plan(sql).await?.iter().any(|step| step.starts_with("SEARCH t ")))
}

/// How many keys lie between two, both inside.
fn width(from: i64, to: i64) -> u64 {
    to.abs_diff(from).saturating_add(1)
}
