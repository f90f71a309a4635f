//! The SQLite store: a file whose tables hold records. It owns what the traits promise; how is in its parts.
//! It decides nothing: which records, why and how is said by a query and a method.
//!
//! Looking goes over a connection that SQLite itself keeps from writing, also when reading back what another
//! connection has erased.

mod catalogue;
mod erase;
mod find;
mod grants;
mod inspect;
mod instants;
mod overwrite;
mod predicate;
mod read;
mod rows;
mod scrub;
mod session;
mod survey;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use async_trait::async_trait;

use self::catalogue::MARKER;
pub use self::grants::grants;
use self::session::{Link, Session};
use super::sql::Sql;
use super::through::look_through_reader;
use super::{
    Batch, Budget, Erased, ErrorKind, Finding, Found, Identity, Key, NamedBy, NamingColumns, Position, Query,
    Read, Reader, Scrubbed, Seen, StillThere, Store, StoreError,
};
use crate::facts::{Capability, Survey};
use crate::id::StoreId;
use crate::policy::{Level, Method, Placement};

/// What a SQLite file can do.
pub fn capability() -> Capability {
    let methods = [Method::Delete, Method::OverwriteThenDelete, Method::Zero];
    let levels = [Level::Deleted, Level::Overwritten, Level::Scrubbed];
    Capability {
        kind: "sqlite".to_owned(),
        levels: methods.into_iter().zip(levels).collect(),
        versions: false,
    }
}

/// A SQLite file, for looking only.
#[derive(Debug)]
pub struct SqliteReader {
    link: Link,
}

/// A SQLite file, for erasing. What it reads it reads on a connection of its own.
#[derive(Debug)]
pub struct SqliteStore {
    reader: SqliteReader,
    writer: Link,
}

impl SqliteReader {
    /// Opens a file for looking.
    ///
    /// # Errors
    /// Where the file does not exist, is not a database, or its texts are not UTF-8. A file is never made.
    pub async fn open(id: &StoreId, path: &Path) -> Result<Self, StoreError> {
        Ok(Self { link: Link::open_reader(id, path).await? })
    }
}

impl SqliteStore {
    /// Opens a file for erasing.
    ///
    /// # Errors
    /// As [`SqliteReader::open`].
    pub async fn open(id: &StoreId, path: &Path) -> Result<Self, StoreError> {
        // The writer first: it rolls back what another one left that died in the middle, which a reader may not.
        let writer = Link::open_writer(id, path).await?;
        Ok(Self { reader: SqliteReader::open(id, path).await?, writer })
    }
}

#[async_trait]
impl Reader for SqliteReader {
    fn capability(&self) -> Capability {
        capability()
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        let mut session = self.link.session("read the identity").await;
        let file = std::fs::metadata(session.path)
            .map_err(|error| session.trouble.of(ErrorKind::Unreachable, &error.to_string()))?;
        let marker = marker(&mut session).await?;
        // Without the device, whose number may change whenever a machine starts.
        let (ledger_id, store) = marker.unzip();
        Ok(Identity { ledger_id, store, fingerprint: format!("inode {}", file.ino()) })
    }

    async fn inspect(&self, placement: &Placement) -> Result<Vec<Finding>, StoreError> {
        inspect::inspect(&mut self.link.session("inspect").await, placement).await
    }

    async fn survey(&self, query: &Query) -> Result<Survey, StoreError> {
        survey::survey(&mut self.link.session("count records").await, query).await
    }

    async fn population(&self, placement: &Placement, at_most: u64) -> Result<u64, StoreError> {
        survey::population(&mut self.link.session("count all records").await, placement, at_most).await
    }

    async fn look(&self, query: &Query, key: &[String]) -> Result<Option<Seen>, StoreError> {
        survey::look(&mut self.link.session("look at a record").await, query, key).await
    }

    async fn find(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
        naming: NamingColumns<'_>,
    ) -> Result<Option<Found>, StoreError> {
        find::find(&mut self.link.session("find records").await, query, after, budget, naming).await
    }

    async fn read(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
    ) -> Result<Option<Read>, StoreError> {
        read::read(&mut self.link.session("read records").await, query, after, budget).await
    }

    async fn absent(&self, query: &Query, batch: &Batch) -> Result<StillThere, StoreError> {
        find::absent(&mut self.link.session("read back").await, query, batch).await
    }

    async fn naming_rows(
        &self,
        placement: &Placement,
        column: &str,
        locators: &[String],
        beside: &[Key],
    ) -> Result<NamedBy, StoreError> {
        let mut session = self.link.session("count rows that name a record").await;
        survey::naming_rows(&mut session, placement, column, locators, beside).await
    }
}

look_through_reader!(SqliteStore);

#[async_trait]
impl Store for SqliteStore {
    async fn mark(&self, ledger_id: &str, store: &StoreId) -> Result<(), StoreError> {
        let mut session = self.writer.session("leave the marker").await;
        if marker(&mut session).await?.is_some() {
            return Err(session.trouble.of(ErrorKind::Identity, "it carries a marker already"));
        }
        let mut writing = session.writing().await?;
        let table = format!("CREATE TABLE main.{MARKER} (ledger_id TEXT NOT NULL, store TEXT NOT NULL)");
        writing.execute(&Sql::new(&table)).await?;
        let row = Sql::new(&format!("INSERT INTO main.{MARKER} (ledger_id, store) VALUES ("))
            .bind_text(ledger_id)
            .push(", ")
            .bind_text(store.as_str())
            .push(")");
        writing.execute(&row).await?;
        writing.commit().await
    }

    async fn erase(&self, query: &Query, batch: &Batch, method: Method) -> Result<Erased, StoreError> {
        erase::erase(&mut self.writer.session("erase").await, query, batch, method).await
    }

    async fn scrub(&self, placement: &Placement) -> Result<Scrubbed, StoreError> {
        scrub::scrub(&mut self.writer.session("scrub").await, placement).await
    }
}

/// The ledger and the name in the marker; `None` where there is no marker table.
async fn marker(session: &mut Session<'_>) -> Result<Option<(String, String)>, StoreError> {
    let known = Sql::new("SELECT count(*) FROM main.sqlite_schema WHERE name = ").bind_text(MARKER);
    if session.number(&known).await? == Some(0) {
        return Ok(None);
    }
    let rows =
        session.rows(&Sql::new(&format!("SELECT ledger_id, store FROM main.{MARKER} LIMIT 2"))).await?;
    match rows.as_slice() {
        [row] => Ok(Some((session.get(row, 0)?, session.get(row, 1)?))),
        _ => {
            Err(session.trouble.of(ErrorKind::Identity, "its marker does not say which ledger it belongs to"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::Arc;

    use chrono_tz::Tz;
    use sqlx::ConnectOptions;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;
    use crate::id::PlacementId;
    use crate::plan::{Interval, Scope, Selection, TenantScope, Times};
    use crate::policy::{EventTime, Records, Role, TenantSource};
    use crate::stores::event_time::DEFAULT_FORMAT;

    /// A database file for unit tests of the parts.
    pub(super) struct Scratch {
        path: PathBuf,
        _dir: tempfile::TempDir,
    }

    impl Scratch {
        pub(super) async fn new(script: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("scratch.db");
            let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
            let mut connection = options.connect().await.unwrap();
            let script = sqlx::AssertSqlSafe(script.to_owned());
            sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
            sqlx::Connection::close(connection).await.unwrap();
            Self { path, _dir: dir }
        }

        pub(super) async fn writer(&self) -> Link {
            Link::open_writer(&StoreId::new("scratch"), &self.path).await.unwrap()
        }
    }

    /// Records of `call_record` whose time in `started_at` lies in these intervals.
    pub(super) fn due_query(tenants: TenantScope, intervals: Vec<Interval>) -> Query {
        let placement = Placement {
            name: PlacementId::new("call-records"),
            store: StoreId::new("scratch"),
            role: Role::Primary,
            records: Some(Records::Table { table: "call_record".into(), key: vec!["id".into()] }),
            tenant: TenantSource::Column("tenant_id".into()),
            event_time: Some(EventTime::Text {
                column: "started_at".into(),
                format: DEFAULT_FORMAT.into(),
                time_zone: Tz::Asia__Singapore,
            }),
            subjects: BTreeMap::new(),
            plausible_from: "2000-01-01".parse().unwrap(),
            accept_level: None,
            rotation: None,
        };
        Query {
            selection: Selection {
                placement: placement.name.clone(),
                tenants,
                within: vec![Scope { subjects: None, times: Times::Within(intervals) }],
                except: vec![],
                parts: vec![],
            },
            placement: Arc::new(placement),
            also: Vec::new(),
            time_zone: Tz::Asia__Singapore,
            subjects: BTreeMap::new(),
            now: "2026-01-15T04:00:00Z".parse().unwrap(),
            naming: None,
        }
    }

    #[tokio::test]
    async fn nothing_is_written_over_the_connection_that_looks() {
        let scratch = Scratch::new("CREATE TABLE t (c)").await;
        let link = Link::open_reader(&StoreId::new("scratch"), &scratch.path).await.unwrap();
        let mut session = link.session("test").await;
        let error = session.execute(&Sql::new("INSERT INTO t VALUES (1)")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused);
        assert!(error.to_string().contains("read-only"), "{error}");
    }
}
