//! Finds batches and reads them back. It owns the choice between a window of keys and a list of keys; it erases nothing.
//!
//! What a run pays for finding grows with what is due, or at worst with one pass over the table: where few records are
//! left an index leads, otherwise the table is walked forward by key and each stretch is walked once.

use std::collections::BTreeMap;

use sqlx::mysql::MySqlRow;

use super::catalogue::{Column, RowKey, Table};
use super::keyless;
use super::predicate::{Owner, predicate, tenants};
use super::rows::{self, Presence};
use super::session::Session;
use super::trouble::Trouble;
use super::values::bytes_of;
use crate::id::TenantId;
use crate::stores::sql::{Sql, backticked};
use crate::stores::{
    Batch, Budget, ErrorKind, Found, Key, Listed, NamingColumns, Position, Query, StillThere, StoreError,
    Value,
};

/// Up to this many batches' worth of records are "few": an index then leads to all of them each time, which costs
/// at most twice what is erased.
const FEW_BATCHES: u64 = 2;

/// A window pays off where at least one in so many keys is due (measured: a tenth).
const SPARSE_ABOVE: u64 = 10;

/// Never more records than this in a batch: a transaction of more holds up replicas and readers.
pub(super) const RECORDS_MAX: u64 = 5_000;

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
    let RowKey::Columns { index, columns } = &table.key else {
        let owner = Owner::of(&table, &query.placement, trouble)?;
        let predicate = predicate(&table, query, trouble)?;
        let records_max = budget.records_max.clamp(1, RECORDS_MAX);
        let rows = keyless::Rows::of(&table, &query.placement, owner, predicate, trouble)?;
        return rows.find(session, after, records_max, &names).await;
    };
    let search = Search::new(&table, (index, columns), query, after, names, trouble)?;
    let search = search.at_most(budget);
    match table.window_column().filter(|_| search.names.is_empty()) {
        Some(column) => search.window_or_list(session, column, budget.window_keys).await,
        None => match search.lead(session).await? {
            Some(lead) => search.list(session, lead).await,
            None => Ok(None),
        },
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
    match (batch, &table.key) {
        (Batch::Window { from, to, .. }, _) => {
            let window = rows::between(by_window(&table, trouble)?, *from, *to);
            let sql = rows::count_sql(&table, &owner, &Sql::all(&[window, predicate]));
            let (counts, nameless) = rows::read_counts(&session.rows(&sql).await?, trouble)?;
            if nameless > 0 {
                return Err(rows::nameless_selected(trouble));
            }
            still.tenants = counts;
        }
        (Batch::List(listed), RowKey::None) => {
            let rows = keyless::Rows::of(&table, &query.placement, owner, predicate, trouble)?;
            return rows.absent(session, listed).await;
        }
        (Batch::List(listed), RowKey::Columns { columns, .. }) => {
            let keys = rows::carried_keys(columns, listed.iter().map(|record| &record.key), trouble)?;
            let sql = rows::standing_sql(&table, columns, &owner, &predicate, &keys);
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

/// A window means whole numbers as keys; a table without them never had one.
pub(super) fn by_window<'t>(table: &'t Table, trouble: Trouble<'_>) -> Result<&'t Column, StoreError> {
    table
        .window_column()
        .ok_or_else(|| trouble.of(ErrorKind::Schema, "the key of the table is no whole number any more"))
}

/// What leads to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// The key, forward.
    Key,
    /// Another index, sorted afterwards.
    Index,
}

/// A search for the next batch in a table with a key.
pub(super) struct Search<'a> {
    table: &'a Table,
    columns: &'a [Column],
    index: &'a str,
    pub(super) owner: Owner<'a>,
    predicate: Sql,
    tenants: Sql,
    after: Option<&'a Key>,
    names: Vec<&'a Column>,
    records_max: u64,
}

impl<'a> Search<'a> {
    /// After a position; with columns that name something.
    pub(super) fn new(
        table: &'a Table,
        (index, columns): (&'a str, &'a [Column]),
        query: &'a Query,
        after: Option<&'a Position>,
        names: Vec<&'a Column>,
        trouble: Trouble<'_>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            table,
            columns,
            index,
            owner: Owner::of(table, &query.placement, trouble)?,
            predicate: predicate(table, query, trouble)?,
            tenants: tenants(table, query, trouble)?,
            after: after.map(|position| &position.0),
            names,
            records_max: RECORDS_MAX,
        })
    }

    /// The same search for no more records than a budget allows.
    pub(super) fn at_most(self, budget: Budget) -> Self {
        Self { records_max: budget.records_max.clamp(1, RECORDS_MAX), ..self }
    }

    /// What leads to the next rows, where they are read one by one; `None` where there are none.
    pub(super) async fn lead(&self, session: &mut Session<'_>) -> Result<Option<Lead>, StoreError> {
        Ok(match self.few(session).await? {
            Some(0) => None,
            Some(_) => Some(Lead::Index),
            None => Some(Lead::Key),
        })
    }

    /// The next rows, in order of their key, as they are shown.
    pub(super) async fn next(
        &self,
        session: &mut Session<'_>,
        shown: &Sql,
        lead: Lead,
    ) -> Result<Vec<MySqlRow>, StoreError> {
        let sql = self
            .selected(shown, lead, session.trouble)?
            .push(&self.order())
            .push(&format!(" LIMIT {}", self.records_max));
        session.rows(&sql).await
    }

    async fn window_or_list(
        &self,
        session: &mut Session<'_>,
        column: &Column,
        window_keys: u64,
    ) -> Result<Option<Found>, StoreError> {
        let Some(last) = self.end(session, column, "MAX").await? else { return Ok(None) };
        let wide = i64::try_from(window_keys.max(1) - 1).unwrap_or(i64::MAX);
        // Where due records lie dense, the next stretch of keys is the next batch, and no index is asked.
        let next = match self.after.map(|key| key.0.as_slice()) {
            Some([Value::Int(key)]) => key.checked_add(1),
            Some(_) => None,
            None => self.end(session, column, "MIN").await?,
        };
        if let Some(from) = next.filter(|from| *from <= last)
            && let Some(found) =
                self.dense(session, column, from, from.saturating_add(wide).min(last)).await?
        {
            return Ok(Some(found));
        }
        let few = self.few(session).await?;
        let lead = match few {
            Some(0) => return Ok(None),
            Some(_) => Lead::Index,
            None => Lead::Key,
        };
        let first = match self.first(session, lead).await? {
            First::None => return Ok(None),
            First::Beyond => return self.list(session, lead).await,
            First::At(first) => first,
        };
        if let Some(few) = few
            && few.saturating_mul(SPARSE_ABOVE) < width(first, last)
        {
            return self.list(session, Lead::Index).await;
        }
        match self.dense(session, column, first, first.saturating_add(wide).min(last)).await? {
            Some(found) => Ok(Some(found)),
            None => self.list(session, lead).await,
        }
    }

    /// The lowest or the highest key; what lies beyond the reach of windows is their end.
    async fn end(
        &self,
        session: &mut Session<'_>,
        column: &Column,
        name: &str,
    ) -> Result<Option<i64>, StoreError> {
        let sql = format!("SELECT CAST({name}({}) AS CHAR) FROM {}", column.sql, self.table.source);
        let Some(row) = session.row(&Sql::new(&sql)).await? else { return Ok(None) };
        let shown = session.trouble.text(&row, 0)?;
        Ok((!shown.is_empty()).then(|| shown.parse().unwrap_or(i64::MAX)))
    }

    /// How many records are left, where an index leads to them and they are few.
    async fn few(&self, session: &mut Session<'_>) -> Result<Option<u64>, StoreError> {
        let limit = self.records_max.saturating_mul(FEW_BATCHES);
        let rows = self
            .selected(&Sql::new("1 AS one"), Lead::Index, session.trouble)?
            .push(&format!(" LIMIT {}", limit.saturating_add(1)));
        if !is_indexed(session, &rows, &self.table.name).await? {
            return Ok(None);
        }
        let count = session.count(&Sql::new("SELECT COUNT(*) FROM (").append(&rows).push(") AS few")).await?;
        Ok(Some(count).filter(|count| *count <= limit))
    }

    /// The key of the next record.
    async fn first(&self, session: &mut Session<'_>, lead: Lead) -> Result<First, StoreError> {
        let shown = Sql::new(&rows::shown_key(self.columns));
        let sql = self.selected(&shown, lead, session.trouble)?.push(&self.order()).push(" LIMIT 1");
        let Some(row) = session.row(&sql).await? else { return Ok(First::None) };
        let Key(parts) = rows::read_key(self.columns, &row, 0, session.trouble)?;
        Ok(match parts.as_slice() {
            [Value::Int(first)] => First::At(*first),
            _ => First::Beyond,
        })
    }

    /// A window, cut so that it holds no more than allowed; `None` where it would be too sparse.
    async fn dense(
        &self,
        session: &mut Session<'_>,
        column: &Column,
        from: i64,
        to: i64,
    ) -> Result<Option<Found>, StoreError> {
        let mut to = to;
        let mut present = self.presence(session, column, from, to).await?;
        if total(&present) > self.records_max {
            let condition = Sql::all(&[rows::between(column, from, to), self.predicate.clone()]);
            let sql = Sql::new(&format!("SELECT {} FROM {} WHERE ", column.sql, self.table.source_by_key()))
                .append(&condition)
                .push(&format!(" ORDER BY {} LIMIT 1 OFFSET {}", column.sql, self.records_max - 1));
            to = session.number(&sql).await?.unwrap_or(from);
            present = self.presence(session, column, from, to).await?;
        }
        let records = total(&present);
        // A row written in between may make the window too full; a list counts for itself.
        if records == 0
            || records > self.records_max
            || records.saturating_mul(SPARSE_ABOVE) < width(from, to)
        {
            return Ok(None);
        }
        let rows = present.iter().map(|(tenant, counts)| (tenant.clone(), counts.rows)).collect();
        let found = present.into_iter().map(|(tenant, counts)| (tenant, counts.matching)).collect();
        let position = Position(Key(vec![Value::Int(to)]));
        Ok(Some(Found { batch: Batch::Window { from, to, found, rows }, position }))
    }

    /// What matches in a window per tenant, and how many rows each of these tenants has there, in one look.
    async fn presence(
        &self,
        session: &mut Session<'_>,
        column: &Column,
        from: i64,
        to: i64,
    ) -> Result<BTreeMap<TenantId, Presence>, StoreError> {
        let window = Sql::all(&[rows::between(column, from, to), self.tenants.clone()]);
        let sql = rows::presence_sql(self.table, &self.owner, &self.predicate, &window);
        let mut present = rows::read_presence(&session.rows(&sql).await?, session.trouble)?;
        present.retain(|_, counts| counts.matching > 0);
        Ok(present)
    }

    /// The next records, one by one.
    async fn list(&self, session: &mut Session<'_>, lead: Lead) -> Result<Option<Found>, StoreError> {
        let trouble = session.trouble;
        let mut shown = Sql::new(&rows::shown_key(self.columns)).push(", ").append(&self.owner.name());
        for name in &self.names {
            shown = shown.push(&format!(", {}", bytes_of(name)));
        }
        let answer = self.next(session, &shown, lead).await?;
        let listed = answer.iter().map(|row| self.listed(row, trouble)).collect::<Result<Vec<_>, _>>()?;
        Ok(listed
            .last()
            .map(|last| Position(last.key.clone()))
            .map(|position| Found { batch: Batch::List(listed), position }))
    }

    fn listed(&self, row: &MySqlRow, trouble: Trouble<'_>) -> Result<Listed, StoreError> {
        let tenant_at = self.columns.len();
        Ok(Listed {
            tenant: rows::read_tenant(row, tenant_at, trouble)?
                .ok_or_else(|| rows::nameless_selected(trouble))?,
            key: rows::read_key(self.columns, row, 0, trouble)?,
            names: read_names(&self.names, row, tenant_at + 1, trouble)?,
            stamp: String::new(),
        })
    }

    /// `SELECT … WHERE` the predicate holds and the key comes after the position.
    fn selected(&self, shown: &Sql, lead: Lead, trouble: Trouble<'_>) -> Result<Sql, StoreError> {
        let source = match lead {
            Lead::Key => self.table.source_by_key(),
            Lead::Index => format!("{} IGNORE INDEX ({})", self.table.source, backticked(self.index)),
        };
        let mut conditions = vec![self.predicate.clone()];
        if let Some(key) = self.after {
            conditions.push(rows::after(self.columns, key, trouble)?);
        }
        Ok(Sql::new("SELECT ")
            .append(shown)
            .push(&format!(" FROM {source} WHERE "))
            .append(&Sql::all(&conditions)))
    }

    fn order(&self) -> String {
        let parts: Vec<&str> = self.columns.iter().map(|column| column.sql.as_str()).collect();
        format!(" ORDER BY {}", parts.join(", "))
    }
}

/// Where the next record is.
enum First {
    /// There is none.
    None,
    /// At this key.
    At(i64),
    /// At a key that no window reaches.
    Beyond,
}

/// What the columns of a row name, from the column at `index` on; NULL and empty are left out.
pub(super) fn read_names(
    names: &[&Column],
    row: &MySqlRow,
    index: usize,
    trouble: Trouble<'_>,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut read = BTreeMap::new();
    for (place, column) in names.iter().enumerate() {
        let name: Option<Vec<u8>> = trouble.get(row, index + place)?;
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            // What is not UTF-8 lies below no prefix: the row is left and reported, and hinders no other.
            let name = String::from_utf8(name).unwrap_or_else(|_| char::REPLACEMENT_CHARACTER.to_string());
            read.insert(column.name.clone(), name);
        }
    }
    Ok(read)
}

/// True where the server would go through an index and not through the whole table.
pub(super) async fn is_indexed(
    session: &mut Session<'_>,
    sql: &Sql,
    table: &str,
) -> Result<bool, StoreError> {
    let steps = session.plan(sql).await?;
    Ok(steps
        .iter()
        .filter(|step| step.table == table)
        .all(|step| !step.index.is_empty() && !matches!(step.access.as_str(), "ALL" | "index")))
}

fn total(present: &BTreeMap<TenantId, Presence>) -> u64 {
    present.values().map(|counts| counts.matching).sum()
}

/// How many keys lie between two, both inside.
fn width(from: i64, to: i64) -> u64 {
    to.abs_diff(from).saturating_add(1)
}
