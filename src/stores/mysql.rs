//! The `MySQL` and `MariaDB` store: a database whose tables hold records. It owns what the traits promise; how is in its
//! parts. It decides nothing: which records, why and how is said by a query and a method.
//!
//! Looking goes over a connection on which the server itself refuses every change, also when reading back what another
//! connection has erased. Both are one connection each, opened again when lost, and no pool.

mod catalogue;
mod erase;
mod find;
mod grants;
mod identity;
mod inspect;
mod instants;
mod keyless;
mod overwrite;
mod predicate;
mod reach;
mod read;
mod rows;
mod session;
mod survey;
mod texts;
mod trouble;
mod values;
mod wanted;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;

use self::catalogue::Table;
pub use self::grants::grants;
use self::session::Link;
use super::sql::Sql;
use super::through::look_through_reader;
use super::{
    Batch, Budget, Child, Erased, Finding, Found, Identity, Key, NamedBy, NamingColumns, Pace, Position,
    Query, Read, Reader, Scrubbed, Seen, StillThere, Store, StoreError,
};
use crate::facts::{Capability, Survey};
use crate::id::StoreId;
use crate::plan::Residual;
use crate::policy::{Level, Method, Placement};

/// What a `MySQL` or `MariaDB` server can do.
pub fn capability() -> Capability {
    let methods = [Method::Delete, Method::OverwriteThenDelete];
    let levels = [Level::Deleted, Level::Overwritten];
    Capability {
        kind: "mysql".to_owned(),
        levels: methods.into_iter().zip(levels).collect(),
        versions: false,
    }
}

/// A database, for looking only.
#[derive(Debug)]
pub struct MysqlReader {
    link: Link,
}

/// A database, for erasing. What it reads it reads on a connection of its own.
#[derive(Debug)]
pub struct MysqlStore {
    reader: MysqlReader,
    writer: Link,
}

impl MysqlReader {
    /// Opens a database for looking.
    ///
    /// # Errors
    /// Where the server cannot be reached, does not let the user in, or the address names no database.
    pub async fn open(id: &StoreId, url: &SecretString) -> Result<Self, StoreError> {
        Ok(Self { link: Link::open_reader(id, url).await? })
    }
}

impl MysqlStore {
    /// Opens a database for erasing.
    ///
    /// # Errors
    /// As [`MysqlReader::open`], and where the server is read-only or a replica.
    pub async fn open(id: &StoreId, url: &SecretString) -> Result<Self, StoreError> {
        let writer = Link::open_writer(id, url).await?;
        Ok(Self { reader: MysqlReader::open(id, url).await?, writer })
    }
}

#[async_trait]
impl Reader for MysqlReader {
    fn capability(&self) -> Capability {
        capability()
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        identity::identity(&mut self.link.session("read the identity").await?).await
    }

    async fn inspect(&self, placement: &Placement) -> Result<Vec<Finding>, StoreError> {
        inspect::inspect(&mut self.link.session("inspect").await?, placement).await
    }

    async fn survey(&self, query: &Query) -> Result<Survey, StoreError> {
        survey::survey(&mut self.link.session("count records").await?, query).await
    }

    async fn population(&self, placement: &Placement, at_most: u64) -> Result<u64, StoreError> {
        survey::population(&mut self.link.session("count all records").await?, placement, at_most).await
    }

    async fn look(&self, query: &Query, key: &[String]) -> Result<Option<Seen>, StoreError> {
        survey::look(&mut self.link.session("look at a record").await?, query, key).await
    }

    async fn find(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
        naming: NamingColumns<'_>,
    ) -> Result<Option<Found>, StoreError> {
        find::find(&mut self.link.session("find records").await?, query, after, budget, naming).await
    }

    async fn read(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
    ) -> Result<Option<Read>, StoreError> {
        read::read(&mut self.link.session("read records").await?, query, after, budget).await
    }

    async fn absent(&self, query: &Query, batch: &Batch) -> Result<StillThere, StoreError> {
        find::absent(&mut self.link.session("read back").await?, query, batch).await
    }

    async fn naming_rows(
        &self,
        placement: &Placement,
        column: &str,
        locators: &[String],
        beside: &[Key],
    ) -> Result<NamedBy, StoreError> {
        let mut session = self.link.session("count rows that name a record").await?;
        survey::naming_rows(&mut session, placement, column, locators, beside).await
    }

    async fn children(&self, placement: &Placement) -> Result<Vec<Child>, StoreError> {
        let mut session = self.link.session("read foreign keys").await?;
        let table = Table::named_by(&mut session, placement).await?;
        let all = reach::children(&mut session, &table).await?.into_iter();
        let refusing = all.filter(reach::Reference::is_refusing);
        Ok(refusing.map(|child| Child { table: child.table, column: child.column }).collect())
    }

    /// With `binlog_row_image = MINIMAL`, which every session of ours asks for, what the log keeps of erased rows is their
    /// keys; a server that does not grant it writes whole rows.
    async fn residual(
        &self,
        _placement: &Placement,
        now: DateTime<Utc>,
    ) -> Result<Vec<Residual>, StoreError> {
        let mut session = self.link.session("ask for the binary log").await?;
        if session.number(&Sql::new("SELECT CAST(@@GLOBAL.log_bin AS SIGNED)")).await? != Some(1) {
            return Ok(Vec::new());
        }
        let kept = "SELECT CAST(@@GLOBAL.binlog_expire_logs_seconds AS SIGNED)";
        let seconds = session.number(&Sql::new(kept)).await?.filter(|seconds| *seconds > 0);
        // Zero: until somebody removes it.
        let until = seconds.and_then(TimeDelta::try_seconds).and_then(|kept| now.checked_add_signed(kept));
        Ok(vec![Residual { what: "binlog".to_owned(), until }])
    }
}

look_through_reader!(MysqlStore);

#[async_trait]
impl Store for MysqlStore {
    async fn mark(&self, ledger_id: &str, store: &StoreId) -> Result<(), StoreError> {
        identity::mark(&mut self.writer.session("leave the marker").await?, ledger_id, store).await
    }

    /// Commits are cheap here and waiting is dear: beyond some thousand rows only locks and replication packets grow.
    fn pace(&self) -> Pace {
        Pace {
            target: Duration::from_millis(50),
            window_keys_min: 100,
            window_keys_start: 4_000,
            window_keys_max: 64_000,
            records_max: find::RECORDS_MAX,
        }
    }

    async fn erase(&self, query: &Query, batch: &Batch, method: Method) -> Result<Erased, StoreError> {
        erase::erase(&mut self.writer.session("erase").await?, query, batch, method).await
    }

    /// Nothing is rebuilt: the files are the server's own, so no more holds than what erasing reached.
    async fn scrub(&self, _placement: &Placement) -> Result<Scrubbed, StoreError> {
        let what = "undo and redo logs, and pages that the server has not used again".to_owned();
        Ok(Scrubbed { level: Level::Deleted, residual: vec![Residual { what, until: None }] })
    }
}
