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
mod rows;
mod session;
mod survey;
mod texts;
mod trouble;
mod values;
mod wanted;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use self::catalogue::Table;
pub use self::reach::Child;
use self::session::Link;
use super::sql::Sql;
use super::through::look_through_reader;
use super::{
    Batch, Budget, Erased, ErrorKind, Finding, Found, Identity, NamingColumns, Pace, Position, Query, Reader,
    Scrubbed, Seen, StillThere, Store, StoreError,
};
use crate::facts::{Capability, Survey};
use crate::id::StoreId;
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

    /// The tables whose rows refer to the rows of a placement by a foreign key: their rows have to go first.
    ///
    /// # Errors
    /// Where the placement names no table of the database.
    pub async fn children(&self, placement: &Placement) -> Result<Vec<Child>, StoreError> {
        let mut session = self.link.session("read foreign keys").await?;
        let table = Table::named_by(&mut session, placement).await?;
        reach::children(&mut session, &table).await
    }

    /// How many seconds the binary log keeps what it says of erased rows; `None` where the server writes none, zero
    /// where it keeps it until somebody removes it. With `binlog_row_image = MINIMAL`, which every session of ours asks for,
    /// that is their keys; a server that does not grant it writes whole rows.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub async fn log_kept_seconds(&self) -> Result<Option<u64>, StoreError> {
        let mut session = self.link.session("ask for the binary log").await?;
        if session.number(&Sql::new("SELECT CAST(@@GLOBAL.log_bin AS SIGNED)")).await? != Some(1) {
            return Ok(None);
        }
        let seconds = "SELECT CAST(@@GLOBAL.binlog_expire_logs_seconds AS SIGNED)";
        Ok(Some(session.count(&Sql::new(seconds)).await?))
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

    async fn absent(&self, query: &Query, batch: &Batch) -> Result<StillThere, StoreError> {
        find::absent(&mut self.link.session("read back").await?, query, batch).await
    }

    async fn naming_rows(
        &self,
        placement: &Placement,
        column: &str,
        locators: &[String],
    ) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut session = self.link.session("count rows that name a record").await?;
        survey::naming_rows(&mut session, placement, column, locators).await
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

    async fn scrub(&self, placement: &Placement) -> Result<Scrubbed, StoreError> {
        let session = self.writer.session("scrub").await?;
        let message =
            format!("the files behind placement `{}` are not rebuilt by this version", placement.name);
        Err(session.trouble.of(ErrorKind::Refused, &message))
    }
}
