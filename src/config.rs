//! The service configuration, `retentiond.toml`, as plain types, and its reader.
//! It owns which keys exist and their defaults; it opens nothing.

pub mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;
use secrecy::SecretString;

use crate::id::{Category, StoreId, TenantId};

/// Everything in `retentiond.toml`, with paths made absolute and defaults filled in.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file itself.
    pub file: PathBuf,
    /// `[ledger]`.
    pub ledger: LedgerConfig,
    /// `[policies] path`.
    pub policies: PathBuf,
    /// `[schedule]`.
    pub schedule: ScheduleConfig,
    /// `[audit] path`.
    pub audit: PathBuf,
    /// `[limits]`.
    pub limits: Limits,
    /// `[http]`.
    pub http: HttpConfig,
    /// `[stores.NAME]`.
    pub stores: BTreeMap<StoreId, StoreConfig>,
    /// `[rollovers.NAME]`.
    pub rollovers: BTreeMap<String, RolloverConfig>,
}

/// Where the ledger is and what encrypts it.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// The database.
    pub place: LedgerPlace,
    /// Holds the key that wraps the keys of requests; made on first use, mode 0600.
    pub key_file: PathBuf,
}

/// The database that is the ledger.
#[derive(Debug, Clone)]
pub enum LedgerPlace {
    /// A `SQLite` file (`sqlite://…`).
    Sqlite {
        /// The file.
        path: PathBuf,
    },
}

impl LedgerPlace {
    /// Its file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite { path } => Some(path),
        }
    }
}

/// Where the HTTP interface is.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Address and port.
    pub listen: String,
    /// The certificate chain (PEM), where it is served over TLS.
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    pub key: Option<PathBuf>,
    /// Address and port of the metrics' own listener.
    pub metrics: Option<String>,
    /// Calls a second that one principal may make.
    pub rate: Option<u64>,
}

/// When the daemon runs.
#[derive(Debug, Clone)]
pub struct ScheduleConfig {
    /// A cron expression with 5 fields, or 6 with seconds first.
    pub cron: String,
    /// Its zone.
    pub time_zone: Tz,
    /// What a request waits before the daemon acts on it.
    pub request_delay: Duration,
}

/// What one run may erase without approval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Records per run, category and store.
    pub records: u64,
    /// Share of a placement, in percent, 1 to 100; for age rules, above 100 due records.
    pub share_percent: u32,
}

/// What is carried to a tenant's own bucket on a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloverConfig {
    /// Whose data.
    pub tenant: TenantId,
    /// Only these categories; empty means every one.
    pub categories: Vec<Category>,
    /// Where to: `STORE:PREFIX`, or `s3://BUCKET/PREFIX` of a configured store.
    pub to: String,
    /// When, in the schedule's zone.
    pub cron: String,
}

/// One `[stores.NAME]` stanza.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// MySQL or MariaDB.
    Mysql {
        /// `mysql://…`; holds a password.
        url: SecretString,
    },
    /// A SQLite file.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// Redis: one server, a cluster or sentinels.
    Redis {
        /// `redis://…` of a single server.
        url: Option<SecretString>,
        /// Nodes of a cluster.
        nodes: Vec<String>,
        /// Sentinels, each with the primary's name behind a slash where it is needed.
        sentinel: Vec<String>,
        /// User for nodes and the primary behind sentinels.
        user: Option<String>,
        /// Password beside it, or alone.
        password: Option<SecretString>,
    },
    /// S3, COS or another object store with the same API.
    S3(S3Config),
    /// Elasticsearch or `OpenSearch`.
    Elasticsearch {
        /// Base URL.
        url: String,
        /// User.
        user: Option<String>,
        /// Password.
        password: Option<SecretString>,
        /// Own certificate authority.
        ca_file: Option<PathBuf>,
    },
    /// A folder.
    Files {
        /// The folder.
        path: PathBuf,
    },
}

/// A bucket and how it is reached.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Own endpoint; AWS where there is none.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Bucket in the path rather than in the host name.
    pub path_style: bool,
    /// How a delete of many proves that it arrived whole.
    pub delete_integrity: DeleteIntegrity,
    /// Access key and secret key; the environment is asked where there are none.
    pub keys: Option<(SecretString, SecretString)>,
}

/// How a delete of many objects proves that it arrived whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteIntegrity {
    /// The client's own way.
    Crc32,
    /// What COS and others insist on.
    Md5,
}

impl StoreConfig {
    /// The value of `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Mysql { .. } => "mysql",
            Self::Sqlite { .. } => "sqlite",
            Self::Redis { .. } => "redis",
            Self::S3(_) => "s3",
            Self::Elasticsearch { .. } => "elasticsearch",
            Self::Files { .. } => "files",
        }
    }
}
