//! The two traits that a store implements, what they speak in, and the table of kinds.
//! It owns the contract; it decides nothing: which records, why and how is said by a [`Query`] and a [`Method`].

pub mod elasticsearch;
mod error;
pub mod event_time;
pub mod files;
pub mod grants;
mod judge;
pub mod memory;
pub mod mysql;
mod record;
pub mod redis;
pub mod s3;
pub mod sql;
pub mod sqlite;
mod through;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

pub use self::error::{ErrorKind, Retry, StoreError};
use self::grants::Need;
pub use self::record::{Body, Field, NobodyReads, PIECE_BYTES, Pieces, Read, Record, Seen, SeenTime};
use crate::config::StoreConfig;
use crate::facts::{Capability, Survey};
use crate::id::{Fingerprint, StoreId, SubjectKey, TenantId};
use crate::plan::{CountsByTenant, Residual, Selection};
use crate::policy::{Level, Method, Placement};

/// A selection made ready for a store: with the placement, the policy's zone, the values behind the fingerprints,
/// and the real present (which alone says whether an event time lies in the future).
#[derive(Debug, Clone)]
pub struct Query {
    /// The placement asked about. Records that rows name are counted and found through the placement of those rows;
    /// they are erased and read back in their own.
    pub placement: Arc<Placement>,
    /// Zone of the policy, for dates in keys.
    pub time_zone: Tz,
    /// Which records.
    pub selection: Selection,
    /// Selections of other steps that share the pass: a record of any of them belongs too. Tables only; [`Reader::find`],
    /// [`Reader::absent`] and [`Store::erase`] ask for them. Two of them never select the same tenant.
    pub also: Vec<Selection>,
    /// Every subject that the selection names, by fingerprint. One that is missing is an error, never "nobody".
    pub subjects: BTreeMap<Fingerprint, SubjectKey>,
    /// The real clock's now: an event time later than this plus a day is not usable.
    pub now: DateTime<Utc>,
    /// Only rows that name something in this column (not NULL, not empty): what a `found_by` placement counts.
    pub naming: Option<String>,
}

impl Query {
    /// The one tenant whose records can belong, where there is just one.
    pub fn only_tenant(&self) -> Option<&TenantId> {
        self.selection.tenant().filter(|_| self.also.is_empty())
    }

    /// Every selection of the pass.
    pub fn selections(&self) -> impl Iterator<Item = &Selection> {
        std::iter::once(&self.selection).chain(&self.also)
    }

    /// True where more records of one selection match than a batch was found with. What one step of a pass has lost
    /// since, another one must not take instead: each began with its own number, and a step with none did not begin.
    pub fn is_exceeded(&self, matching: &BTreeMap<TenantId, u64>, found: &BTreeMap<TenantId, u64>) -> bool {
        self.selections().any(|selection| {
            let of = |counts: &BTreeMap<TenantId, u64>| -> u64 {
                let own = counts.iter().filter(|(tenant, _)| selection.tenants.covers(tenant));
                own.map(|(_, count)| count).sum()
            };
            of(matching) > of(found)
        })
    }
}

/// A value of a key, exact to the byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// An integer.
    Int(i64),
    /// Text.
    Text(String),
    /// Bytes, for file names that are not UTF-8 and for blobs.
    Bytes(Vec<u8>),
}

/// What names one record in its placement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub Vec<Value>);

/// One record of a list batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Whose it is, as the store itself says.
    pub tenant: TenantId,
    /// What names it.
    pub key: Key,
    /// For rows that others are found by: column → the locator in it (NULL and empty are left out).
    #[serde(default)]
    pub names: BTreeMap<String, String>,
    /// What tells this record from a later one under the same key (a file's inode, size and times); may be empty.
    #[serde(default)]
    pub stamp: String,
}

/// The slice of a placement that is worked on at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Batch {
    /// A window of the key space (both ends inside) with its matching records counted per tenant.
    Window {
        /// The first key.
        from: i64,
        /// The last key.
        to: i64,
        /// How many records of each tenant matched when it was found.
        found: BTreeMap<TenantId, u64>,
        /// How many rows each of these tenants had in the window then, matching or not: what is missing of them later
        /// is gone, what is not has changed.
        #[serde(default)]
        rows: BTreeMap<TenantId, u64>,
    },
    /// Single records, in key order.
    List(Vec<Listed>),
}

impl Batch {
    /// How many records matched when it was found.
    pub fn records(&self) -> u64 {
        match self {
            Self::Window { found, .. } => found.values().sum(),
            Self::List(listed) => listed.len() as u64,
        }
    }
}

/// How much one batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Never more records than this in one batch. At least 1.
    pub records_max: u64,
    /// Width of a window, in keys, where the store works with windows.
    pub window_keys: u64,
}

/// How a store wants its batches: what is measured best differs between stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// A batch should hold its locks this long.
    pub target: Duration,
    /// Narrowest window, in keys.
    pub window_keys_min: u64,
    /// The first window of a step, in keys.
    pub window_keys_start: u64,
    /// Widest window, in keys.
    pub window_keys_max: u64,
    /// Most records in one batch, however wide it is.
    pub records_max: u64,
}

impl Default for Pace {
    /// As measured on SQLite. The target is short enough that an application's own statement, waiting behind a batch,
    /// stays well under the 400 ms that we promise, and long enough that commits do not dominate. Each batch touches pages
    /// all over an index on random values, and each touched page is written twice: narrower windows only make a slow
    /// disk slower, and wider ones only locks longer.
    fn default() -> Self {
        Self {
            target: Duration::from_millis(250),
            window_keys_min: 4_000,
            window_keys_start: 16_000,
            window_keys_max: 64_000,
            records_max: 16_000,
        }
    }
}

/// Which columns of the rows found name records elsewhere; a non-empty one asks for list batches.
pub type NamingColumns<'a> = &'a [String];

/// For each locator, how many rows of each tenant name it; `None` stands for rows that name no tenant.
pub type NamedBy = BTreeMap<String, BTreeMap<Option<TenantId>, u64>>;

/// Where the next `find` goes on; made by the store, opaque to everybody else. Forward only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position(pub Key);

/// A batch and where to go on after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The batch; it holds at least one record.
    pub batch: Batch,
    /// Give this to the next `find`.
    pub position: Position,
}

/// Why a listed record is still there after `erase`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// Its place in the list.
    pub index: usize,
    /// Why.
    pub why: Survival,
}

/// Why a record survived an `erase`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Survival {
    /// It no longer matched when the erasing statement ran. As it should be.
    Changed,
    /// It should be gone and is not; the text names no subject's value.
    Failed(String),
}

/// What `erase` did, as the store itself counted.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// Per tenant; `verified_absent` stays 0 here, only a read-back fills it.
    pub counts: CountsByTenant,
    /// Listed records that are still there, in order of index.
    pub survivors: Vec<Survivor>,
}

/// What a read-back still finds of a batch: per tenant, and for lists by place in the list.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StillThere {
    /// Records of the batch's selection that are still there.
    pub tenants: BTreeMap<TenantId, u64>,
    /// For a list: which of its entries are still there, whether they match the selection or not.
    pub indexes: Vec<usize>,
}

/// What `scrub` reached.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrubbed {
    /// The level that now holds for everything erased from this placement before the scrub began.
    pub level: Level,
    /// What the store still keeps of it, and until when.
    pub residual: Vec<Residual>,
}

/// Who a store says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The ledger that left its marker here, if one did.
    pub ledger_id: Option<String>,
    /// The name under which it was configured then.
    pub store: Option<String>,
    /// What differs between a store and a copy, a replica or a namesake of it, and stays as it is while the store is the
    /// same: the inode of its root, the identity of its server. It holds no secret.
    pub fingerprint: String,
}

/// Something that `check --online` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// True where nothing can be enforced before it is mended (exit 2); false for a warning.
    pub fatal: bool,
    /// The field of the policy that it concerns, `event_time` for example.
    pub field: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// A table whose rows refer to rows of a placement in such a way that the store refuses to erase those before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its name, behind its database's where that is another one.
    pub table: String,
    /// The column that refers.
    pub column: String,
}

/// All that looks. Holds a read-only connection and sends no mutating command, whatever is asked.
///
/// *Properties.* Every answer is about exactly the records of the query's selection; the stored tenant, subjects and
/// keys are compared as bytes, without folding and without type coercion. An error is never an empty answer: a
/// store that cannot see says so.
#[async_trait]
pub trait Reader: Send + Sync {
    /// What this store can do. Asks nobody.
    fn capability(&self) -> Capability;

    /// Who the store says it is; proves that it can be reached.
    async fn identity(&self) -> Result<Identity, StoreError>;

    /// What stands between the placement and its enforcement: table, columns and their types, indexes, foreign
    /// keys, cascades and triggers. Fatal findings make `plan` and `enforce` stop with exit code 2.
    async fn inspect(&self, placement: &Placement) -> Result<Vec<Finding>, StoreError>;

    /// Counts the selection per tenant, with oldest and newest usable event time.
    async fn survey(&self, query: &Query) -> Result<Survey, StoreError>;

    /// Counts all records of the placement, but stops counting at `at_most`.
    async fn population(&self, placement: &Placement, at_most: u64) -> Result<u64, StoreError>;

    /// One record by its key, as typed by a person (`explain`); for a table without key, `COLUMN=VALUE` pairs. Where the
    /// query is about rows that name something, the row that names this: the key is the one name.
    /// More than one match is an error of kind [`ErrorKind::Ambiguous`].
    async fn look(&self, query: &Query, key: &[String]) -> Result<Option<Seen>, StoreError>;

    /// The next batch of the selection after a position, in key order; `None` when there is no more.
    /// With naming columns the batch is a list and carries the locators of each row.
    async fn find(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
        naming: NamingColumns<'_>,
    ) -> Result<Option<Found>, StoreError>;

    /// The next records of the selection after a position, whole, for their tenant to take along; `None` when there is no
    /// more. Forward only, led as `find` is, and no more in memory than the budget's records.
    async fn read(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
    ) -> Result<Option<Read>, StoreError>;

    /// The bytes of a record that lies in this placement, proven to be this tenant's, as a plain read finds them; `None`
    /// where there is none. Stores whose records are all fields answer with an error, as this does.
    async fn body(
        &self,
        placement: &Placement,
        _tenant: &TenantId,
        _key: &Key,
    ) -> Result<Option<Body>, StoreError> {
        Err(StoreError {
            kind: ErrorKind::Unresolved,
            retry: Retry::Never,
            operation: "read bytes",
            store: placement.store.clone(),
            message: "its records have no bytes beside their fields".to_owned(),
        })
    }

    /// What is still there of a batch, read where a restore would read, on a connection that did not erase.
    async fn absent(&self, query: &Query, batch: &Batch) -> Result<StillThere, StoreError>;

    /// How many rows of the placement (of any tenant, due or not) name each of these locators in `column`, by tenant.
    /// Rows under the keys `beside` are not counted, whatever they name. Locators that nobody names are left out. Stores
    /// whose records name nothing answer with an error.
    async fn naming_rows(
        &self,
        placement: &Placement,
        column: &str,
        locators: &[String],
        beside: &[Key],
    ) -> Result<NamedBy, StoreError>;

    /// The parts that the pattern of this placement means now, sorted; none where it is no pattern. A selection that names
    /// parts selects nothing outside them.
    async fn parts(&self, _placement: &Placement) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// Tables whose rows have to go before those of this placement that they refer to.
    async fn children(&self, _placement: &Placement) -> Result<Vec<Child>, StoreError> {
        Ok(Vec::new())
    }

    /// What the store keeps by itself of records of this placement that are erased now, and until when: logs from which
    /// it would restore, soft deletes, snapshots. Nothing where it is known to keep nothing.
    async fn residual(
        &self,
        _placement: &Placement,
        _now: DateTime<Utc>,
    ) -> Result<Vec<Residual>, StoreError> {
        Ok(Vec::new())
    }

    /// Names of records of a `found_by` placement, whosever they are, in byte order after a name, at most so many; fewer
    /// only at the end. For counting those that no row names. Stores whose records are found by no row answer with an
    /// error, as this does.
    async fn inventory(
        &self,
        placement: &Placement,
        _after: &str,
        _at_most: usize,
    ) -> Result<Vec<String>, StoreError> {
        Err(StoreError {
            kind: ErrorKind::Unresolved,
            retry: Retry::Never,
            operation: "list all names",
            store: placement.store.clone(),
            message: "no row names its records".to_owned(),
        })
    }
}

/// All that changes.
///
/// *Properties.* Idempotent: erasing a batch twice leaves the same, and the second answer counts *already absent*.
/// The query's whole predicate is repeated in the erasing statement, so a record that changed in between survives
/// and is counted as changed. A partial batch is normal: each record that is left is accounted for. Erasing is
/// committed when the call returns. An error says whether to try again.
#[async_trait]
pub trait Store: Reader {
    /// Leaves the marker by which this store proves later that it is the one meant. Fails where there is one already.
    async fn mark(&self, ledger_id: &str, store: &StoreId) -> Result<(), StoreError>;

    /// How large it wants its batches. Asks nobody.
    fn pace(&self) -> Pace {
        Pace::default()
    }

    /// Erases a batch.
    async fn erase(&self, query: &Query, batch: &Batch, method: Method) -> Result<Erased, StoreError>;

    /// Rebuilds what the store still keeps of erased bytes, and checks that it had effect. Once per run, after all
    /// batches with [`Method::Zero`]. Live records are untouched.
    async fn scrub(&self, placement: &Placement) -> Result<Scrubbed, StoreError>;
}

/// A kind of store: how the configuration names it, what it can do, how it is opened.
pub struct Kind {
    /// The value of `kind` in a `[stores.NAME]` stanza.
    pub name: &'static str,
    /// What stores of this kind can do, for validation without opening one.
    pub capability: fn() -> Capability,
    /// The least that a store of this kind must let us do, as text to copy. Asks nobody; holds no password.
    pub grants: fn(&StoreConfig, &[Need<'_>]) -> String,
}

/// The table of kinds that this build can open, one line each.
pub const KINDS: [Kind; 7] = [
    Kind { name: "memory", capability: memory::capability, grants: memory::grants },
    Kind { name: "sqlite", capability: sqlite::capability, grants: sqlite::grants },
    Kind { name: "files", capability: files::capability, grants: files::grants },
    Kind { name: "elasticsearch", capability: elasticsearch::capability, grants: elasticsearch::grants },
    Kind { name: "redis", capability: redis::capability, grants: redis::grants },
    Kind { name: "s3", capability: s3::capability, grants: s3::grants },
    Kind { name: "mysql", capability: mysql::capability, grants: mysql::grants },
];

/// Opens a store for looking only.
///
/// # Errors
/// Where the store cannot be opened or does not exist.
pub async fn open_reader(id: &StoreId, config: &StoreConfig) -> Result<Arc<dyn Reader>, StoreError> {
    match config {
        StoreConfig::Sqlite { path } => Ok(Arc::new(sqlite::SqliteReader::open(id, path).await?)),
        StoreConfig::Files { path } => Ok(Arc::new(files::FilesReader::open(id, path)?)),
        StoreConfig::Elasticsearch { url, user, password, ca_file } => {
            let entrance = elasticsearch::Entrance::of(url, user, password, ca_file);
            Ok(Arc::new(elasticsearch::ElasticsearchReader::open(id, entrance).await?))
        }
        StoreConfig::Redis { .. } => Ok(Arc::new(redis::RedisReader::open(id, config).await?)),
        StoreConfig::S3(settings) => Ok(Arc::new(s3::S3Reader::open(id, settings).await?)),
        StoreConfig::Mysql { url } => Ok(Arc::new(mysql::MysqlReader::open(id, url).await?)),
    }
}

/// Opens a store for erasing.
///
/// # Errors
/// As [`open_reader`].
pub async fn open_store(id: &StoreId, config: &StoreConfig) -> Result<Arc<dyn Store>, StoreError> {
    match config {
        StoreConfig::Sqlite { path } => Ok(Arc::new(sqlite::SqliteStore::open(id, path).await?)),
        StoreConfig::Files { path } => Ok(Arc::new(files::FilesStore::open(id, path)?)),
        StoreConfig::Elasticsearch { url, user, password, ca_file } => {
            let entrance = elasticsearch::Entrance::of(url, user, password, ca_file);
            Ok(Arc::new(elasticsearch::ElasticsearchStore::open(id, entrance).await?))
        }
        StoreConfig::Redis { .. } => Ok(Arc::new(redis::RedisStore::open(id, config).await?)),
        StoreConfig::S3(settings) => Ok(Arc::new(s3::S3Store::open(id, settings).await?)),
        StoreConfig::Mysql { url } => Ok(Arc::new(mysql::MysqlStore::open(id, url).await?)),
    }
}
