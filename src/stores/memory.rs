//! A store in memory: the contract of [`Reader`] and [`Store`] in its plainest form, against which the others are
//! tested. It owns records and a log of mutations; the predicate is in `predicate`. Nobody configures it.

mod predicate;
mod read;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use self::predicate::Predicate;
use super::grants::Need;
use super::{
    Batch, Body, Budget, Erased, ErrorKind, Finding, Found, Identity, Key, Listed, NamedBy, NamingColumns,
    Position, Query, Read, Reader, Retry, Scrubbed, Seen, SeenTime, StillThere, Store, StoreError, Survival,
    Survivor, Value,
};
use crate::config::StoreConfig;
use crate::facts::{Capability, Survey, Tally};
use crate::id::{StoreId, TenantId};
use crate::policy::{Level, Method, Placement, Records};

/// The columns of a row; `None` is NULL.
pub type Columns = BTreeMap<String, Option<Value>>;

/// What memory can do: everything, for a byte that is dropped is kept nowhere.
pub fn capability() -> Capability {
    Capability {
        kind: "memory".to_owned(),
        levels: BTreeMap::from([
            (Method::Delete, Level::Deleted),
            (Method::OverwriteThenDelete, Level::Overwritten),
            (Method::Zero, Level::Scrubbed),
        ]),
        versions: false,
    }
}

/// Nothing is granted to memory: it is our own.
pub fn grants(_config: &StoreConfig, _needs: &[Need<'_>]) -> String {
    String::new()
}

/// A change that was made to the store through its traits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutation {
    /// The marker was left.
    Marked,
    /// A record was erased, by this method.
    Erased(Key, Method),
    /// The placement's leftovers were scrubbed.
    Scrubbed,
}

/// Rows by a number that they keep, as a database's row number.
#[derive(Debug, Default)]
struct Table {
    columns: Vec<String>,
    rows: BTreeMap<i64, Columns>,
    last: i64,
}

#[derive(Debug, Default)]
struct State {
    tables: BTreeMap<String, Table>,
    files: BTreeMap<String, Option<DateTime<Utc>>>,
    marker: Option<(String, String)>,
    mutations: Vec<Mutation>,
    fail_next_erase: Option<ErrorKind>,
    survive: Vec<Key>,
}

/// A store in memory, opened for looking.
#[derive(Debug, Clone)]
pub struct MemoryReader {
    id: StoreId,
    state: Arc<Mutex<State>>,
}

/// A store in memory, opened for erasing. Its clones share the records.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    reader: MemoryReader,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(id: StoreId) -> Self {
        Self { reader: MemoryReader { id, state: Arc::default() } }
    }

    /// A handle that only looks.
    pub fn reader(&self) -> MemoryReader {
        self.reader.clone()
    }

    /// Makes a table with these columns, empty.
    pub fn create_table(&self, table: &str, columns: &[&str]) {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        self.reader.lock().tables.insert(table.to_owned(), Table { columns, ..Table::default() });
    }

    /// Puts a row into a table, which is made where it is missing; columns not given are NULL. Gives its number.
    pub fn insert(&self, table: &str, row: Columns) -> i64 {
        let mut state = self.reader.lock();
        let table = state.tables.entry(table.to_owned()).or_default();
        for column in row.keys() {
            if !table.columns.contains(column) {
                table.columns.push(column.clone());
            }
        }
        table.last += 1;
        table.rows.insert(table.last, row);
        table.last
    }

    /// Changes a column of a row, as an application would. Nothing happens where there is no such row.
    pub fn set(&self, table: &str, row: i64, column: &str, value: Option<Value>) {
        let mut state = self.reader.lock();
        if let Some(row) = state.tables.get_mut(table).and_then(|table| table.rows.get_mut(&row)) {
            row.insert(column.to_owned(), value);
        }
    }

    /// Puts a file, with its time of modification, below the root.
    pub fn put(&self, path: &str, modified: Option<DateTime<Utc>>) {
        self.reader.lock().files.insert(path.to_owned(), modified);
    }

    /// Takes a file away, as an application would. Nothing happens where there is none.
    pub fn take(&self, path: &str) {
        self.reader.lock().files.remove(path);
    }

    /// All rows of a table, by number.
    pub fn rows(&self, table: &str) -> BTreeMap<i64, Columns> {
        self.reader.lock().tables.get(table).map(|table| table.rows.clone()).unwrap_or_default()
    }

    /// All files with their times of modification.
    pub fn files(&self) -> BTreeMap<String, Option<DateTime<Utc>>> {
        self.reader.lock().files.clone()
    }

    /// Every change made through the traits, in order.
    pub fn mutations(&self) -> Vec<Mutation> {
        self.reader.lock().mutations.clone()
    }

    /// For tests of what is above: the next `erase` fails with this kind of error, and nothing is erased.
    pub fn fail_next_erase(&self, kind: ErrorKind) {
        self.reader.lock().fail_next_erase = Some(kind);
    }

    /// For tests of what is above: this record says that it is erased and is not, so only a read-back finds it.
    pub fn survive_erase(&self, key: Key) {
        self.reader.lock().survive.push(key);
    }
}

impl MemoryReader {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked while holding it was a test; the records are whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, operation: &'static str, kind: ErrorKind, message: impl Into<String>) -> StoreError {
        StoreError { kind, retry: Retry::Never, operation, store: self.id.clone(), message: message.into() }
    }

    fn predicate<'q>(&self, query: &'q Query, operation: &'static str) -> Result<Predicate<'q>, StoreError> {
        let state = self.lock();
        if let Some(Records::Table { table, .. }) = &query.placement.records {
            self.check_columns(&state, table, &query.placement, query.naming.as_deref(), operation)?;
        } else if query.naming.is_some() {
            return Err(self.error(operation, ErrorKind::Unresolved, "files name no other records"));
        }
        Predicate::new(query).map_err(|message| self.error(operation, ErrorKind::Unresolved, message))
    }

    fn check_columns(
        &self,
        state: &State,
        table: &str,
        placement: &Placement,
        naming: Option<&str>,
        operation: &'static str,
    ) -> Result<(), StoreError> {
        let Some(found) = state.tables.get(table) else {
            return Err(self.error(operation, ErrorKind::Schema, format!("there is no table `{table}`")));
        };
        for column in predicate::columns_of(placement).chain(naming) {
            if !found.columns.iter().any(|known| known == column) {
                let message = format!("table `{table}` has no column `{column}`");
                return Err(self.error(operation, ErrorKind::Schema, message));
            }
        }
        Ok(())
    }

    /// Every record of a placement in key order; for `found_by` placements there is no such list.
    fn records(
        &self,
        state: &State,
        placement: &Placement,
        operation: &'static str,
    ) -> Result<Vec<(Key, Columns)>, StoreError> {
        match &placement.records {
            Some(Records::Table { table, .. }) => {
                self.check_columns(state, table, placement, None, operation)?;
                let rows = state.tables.get(table).map(|table| &table.rows).into_iter().flatten();
                Ok(rows.map(|(number, row)| (Key(vec![Value::Int(*number)]), row.clone())).collect())
            }
            Some(Records::Prefix(template)) => Ok(state
                .files
                .iter()
                .filter(|(path, _)| predicate::lies_below(template, &placement.tenant, path))
                .map(|(path, modified)| (Key(vec![Value::Text(path.clone())]), predicate::of_file(*modified)))
                .collect()),
            Some(Records::FoundBy { .. }) => {
                let message = "its records are known only by the rows that name them";
                Err(self.error(operation, ErrorKind::Unresolved, message))
            }
            Some(Records::Keys(_) | Records::Index(_)) | None => {
                Err(self.error(operation, ErrorKind::Schema, "memory holds tables and files only"))
            }
        }
    }

    /// True where the key names something that is there.
    fn get(state: &State, placement: &Placement, key: &Key) -> Option<Columns> {
        match (&placement.records, key.0.as_slice()) {
            (Some(Records::Table { table, .. }), [Value::Int(number)]) => {
                state.tables.get(table)?.rows.get(number).cloned()
            }
            (Some(Records::Prefix(_) | Records::FoundBy { .. }), [Value::Text(path)]) => {
                state.files.get(path).map(|modified| predicate::of_file(*modified))
            }
            _ => None,
        }
    }
}

#[async_trait]
impl Reader for MemoryReader {
    fn capability(&self) -> Capability {
        capability()
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        let (ledger_id, store) = self.lock().marker.clone().unzip();
        Ok(Identity { ledger_id, store, fingerprint: format!("memory:{}", self.id) })
    }

    async fn inspect(&self, placement: &Placement) -> Result<Vec<Finding>, StoreError> {
        let state = self.lock();
        let Some(Records::Table { table, .. }) = &placement.records else { return Ok(Vec::new()) };
        match self.check_columns(&state, table, placement, None, "inspect") {
            Ok(()) => Ok(Vec::new()),
            Err(error) => Ok(vec![Finding {
                fatal: true,
                field: "table".to_owned(),
                message: error.message,
                help: "name the table and its columns as the store has them".to_owned(),
            }]),
        }
    }

    async fn survey(&self, query: &Query) -> Result<Survey, StoreError> {
        let operation = "count records";
        let predicate = self.predicate(query, operation)?;
        let mut survey = Survey::default();
        for (key, columns) in self.records(&self.lock(), &query.placement, operation)? {
            if !predicate.matches(&key, &columns) {
                continue;
            }
            let at = match predicate.time(&key, &columns) {
                SeenTime::Usable(at) => Some(at),
                SeenTime::None | SeenTime::Unusable => None,
            };
            match predicate.tenant(&key, &columns) {
                Some(tenant) => {
                    let tally = Tally { records: 1, oldest: at, newest: at };
                    survey.tenants.entry(tenant).or_default().add(&tally);
                }
                None => survey.nameless += 1,
            }
        }
        Ok(survey)
    }

    async fn population(&self, placement: &Placement, at_most: u64) -> Result<u64, StoreError> {
        let records = self.records(&self.lock(), placement, "count records")?;
        Ok((records.len() as u64).min(at_most))
    }

    async fn look(&self, query: &Query, key: &[String]) -> Result<Option<Seen>, StoreError> {
        let operation = "look at a record";
        let predicate = self.predicate(query, operation)?;
        let mut seen = None;
        for (own, columns) in self.records(&self.lock(), &query.placement, operation)? {
            let meant = match &query.naming {
                Some(column) => predicate::names_in(&columns, std::slice::from_ref(column)).values().eq(key),
                None => predicate::is_meant(&query.placement, &own, &columns, key)
                    .map_err(|message| self.error(operation, ErrorKind::Schema, message))?,
            };
            if meant && seen.is_some() {
                return Err(self.error(operation, ErrorKind::Ambiguous, "the key names several records"));
            }
            if meant {
                seen = Some(Seen {
                    tenant: predicate.tenant(&own, &columns),
                    event_time: predicate.time(&own, &columns),
                    subjects: predicate.subjects(&columns),
                });
            }
        }
        Ok(seen)
    }

    async fn find(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
        naming: NamingColumns<'_>,
    ) -> Result<Option<Found>, StoreError> {
        let operation = "find records";
        let predicate = self.predicate(query, operation)?;
        let state = self.lock();
        match &query.placement.records {
            Some(Records::Table { table, .. }) => {
                for column in naming {
                    self.check_columns(&state, table, &query.placement, Some(column), operation)?;
                }
            }
            Some(_) | None if !naming.is_empty() => {
                return Err(self.error(operation, ErrorKind::Unresolved, "files name no other records"));
            }
            Some(_) | None => {}
        }
        let listed: Vec<Listed> = self
            .records(&state, &query.placement, operation)?
            .into_iter()
            .filter(|(key, columns)| {
                after.is_none_or(|after| *key > after.0) && predicate.matches(key, columns)
            })
            .filter_map(|(key, columns)| {
                let tenant = predicate.tenant(&key, &columns)?;
                let names = predicate::names_in(&columns, naming);
                Some(Listed { tenant, key, names, stamp: String::new() })
            })
            .take(usize::try_from(budget.records_max.max(1)).unwrap_or(usize::MAX))
            .collect();
        Ok(listed
            .last()
            .map(|last| Position(last.key.clone()))
            .map(|position| Found { batch: Batch::List(listed), position }))
    }

    async fn read(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
    ) -> Result<Option<Read>, StoreError> {
        read::read(self, query, after, budget)
    }

    async fn body(
        &self,
        placement: &Placement,
        tenant: &TenantId,
        key: &Key,
    ) -> Result<Option<Body>, StoreError> {
        read::body(self, placement, tenant, key)
    }

    async fn absent(&self, query: &Query, batch: &Batch) -> Result<StillThere, StoreError> {
        let operation = "read back records";
        let by_place = matches!(query.placement.records, Some(Records::FoundBy { .. }));
        let predicate = if by_place { None } else { Some(self.predicate(query, operation)?) };
        let state = self.lock();
        let mut still = StillThere::default();
        let mut count = |tenant: TenantId| *still.tenants.entry(tenant).or_default() += 1;
        match (batch, &predicate) {
            (Batch::List(listed), _) => {
                for (index, listed) in listed.iter().enumerate() {
                    let Some(columns) = Self::get(&state, &query.placement, &listed.key) else { continue };
                    still.indexes.push(index);
                    if predicate.as_ref().is_none_or(|predicate| predicate.matches(&listed.key, &columns)) {
                        count(listed.tenant.clone());
                    }
                }
            }
            (Batch::Window { from, to, .. }, Some(predicate)) => {
                for (key, columns) in self.records(&state, &query.placement, operation)? {
                    if is_inside(&key, *from, *to)
                        && predicate.matches(&key, &columns)
                        && let Some(tenant) = predicate.tenant(&key, &columns)
                    {
                        count(tenant);
                    }
                }
            }
            (Batch::Window { .. }, None) => {
                return Err(self.error(operation, ErrorKind::Unresolved, "named records are listed"));
            }
        }
        Ok(still)
    }

    async fn naming_rows(
        &self,
        placement: &Placement,
        column: &str,
        locators: &[String],
        beside: &[Key],
    ) -> Result<NamedBy, StoreError> {
        let operation = "count the rows that name a record";
        let state = self.lock();
        let Some(Records::Table { table, .. }) = &placement.records else {
            return Err(self.error(operation, ErrorKind::Unresolved, "files name no other records"));
        };
        self.check_columns(&state, table, placement, Some(column), operation)?;
        let mut rows = NamedBy::new();
        for (key, columns) in self.records(&state, placement, operation)? {
            if let Some(Some(Value::Text(locator))) = columns.get(column)
                && locators.contains(locator)
                && !beside.contains(&key)
            {
                let tenant = predicate::tenant_in(placement, &key, &columns);
                *rows.entry(locator.clone()).or_default().entry(tenant).or_default() += 1;
            }
        }
        Ok(rows)
    }
}

fn is_inside(key: &Key, from: i64, to: i64) -> bool {
    matches!(key.0.as_slice(), [Value::Int(number)] if (from..=to).contains(number))
}
