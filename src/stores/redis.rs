//! Redis as a store: one server, a cluster, or a primary behind sentinels; a record is a key, of whatever type.
//! It owns how the traits are answered; the way there is `link`, keys are read by `layout`, looking is `look` and
//! `find` over `scan`, changing is `erase` with `overwrite`.
//!
//! No command that reaches beyond the keys named is ever sent: no `KEYS`, no script, no `FLUSHDB`.

mod erase;
mod find;
mod grants;
mod inspect;
mod layout;
mod link;
mod look;
mod overwrite;
mod place;
mod read;
mod scan;
mod select;
mod topology;
mod trouble;
mod wire;

use std::collections::BTreeMap;

use async_trait::async_trait;

pub use self::grants::grants;
use self::layout::MARKER;
use self::link::{Duty, Link};
use self::place::Place;
use super::through::look_through_reader;
use super::{
    Batch, Budget, Erased, ErrorKind, Finding, Found, Identity, Key, NamedBy, NamingColumns, Position, Query,
    Read, Reader, Retry, Scrubbed, Seen, StillThere, Store, StoreError,
};
use crate::config::StoreConfig;
use crate::facts::{Capability, Survey};
use crate::id::StoreId;
use crate::plan::Residual;
use crate::policy::{Level, Method, Placement};

/// What Redis can do. Its snapshots and append-only files are not rebuilt by us.
pub fn capability() -> Capability {
    Capability {
        kind: "redis".to_owned(),
        levels: BTreeMap::from([
            (Method::Delete, Level::Deleted),
            (Method::OverwriteThenDelete, Level::Overwritten),
        ]),
        versions: false,
    }
}

/// Redis opened for looking.
#[derive(Debug)]
pub struct RedisReader {
    link: Link,
}

impl RedisReader {
    /// Connects.
    ///
    /// # Errors
    /// Where no server answers, or the login is refused.
    pub async fn open(id: &StoreId, config: &StoreConfig) -> Result<Self, StoreError> {
        Self::connect(id, config, Duty::Look).await
    }

    async fn connect(id: &StoreId, config: &StoreConfig, duty: Duty) -> Result<Self, StoreError> {
        let place = Place::of(config)
            .map_err(|message| trouble::error(id, "open", ErrorKind::Schema, Retry::Never, message))?;
        Ok(Self { link: Link::open(id, place, duty).await? })
    }

    fn names_nothing(&self, operation: &'static str) -> StoreError {
        refuse(&self.link, operation, ErrorKind::Unresolved, "keys name no other records")
    }
}

/// An error that trying again does not mend.
fn refuse(link: &Link, operation: &'static str, kind: ErrorKind, message: &str) -> StoreError {
    trouble::error(&link.store, operation, kind, Retry::Never, message)
}

#[async_trait]
impl Reader for RedisReader {
    fn capability(&self) -> Capability {
        capability()
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        look::identity(&self.link).await
    }

    async fn inspect(&self, placement: &Placement) -> Result<Vec<Finding>, StoreError> {
        inspect::inspect(&self.link, placement).await
    }

    async fn survey(&self, query: &Query) -> Result<Survey, StoreError> {
        look::survey(&self.link, query).await
    }

    async fn population(&self, placement: &Placement, at_most: u64) -> Result<u64, StoreError> {
        look::population(&self.link, placement, at_most).await
    }

    async fn look(&self, query: &Query, key: &[String]) -> Result<Option<Seen>, StoreError> {
        look::look(&self.link, query, key).await
    }

    async fn find(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
        naming: NamingColumns<'_>,
    ) -> Result<Option<Found>, StoreError> {
        if !naming.is_empty() {
            return Err(self.names_nothing("find keys"));
        }
        find::find(&self.link, query, after, budget).await
    }

    async fn read(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
    ) -> Result<Option<Read>, StoreError> {
        read::read(&self.link, query, after, budget).await
    }

    async fn absent(&self, query: &Query, batch: &Batch) -> Result<StillThere, StoreError> {
        look::absent(&self.link, query, batch).await
    }

    async fn naming_rows(
        &self,
        _placement: &Placement,
        _column: &str,
        _locators: &[String],
        _beside: &[Key],
    ) -> Result<NamedBy, StoreError> {
        Err(self.names_nothing("count the rows that name a key"))
    }
}

/// Redis opened for erasing. It looks over connections of its own, to primaries only.
#[derive(Debug)]
pub struct RedisStore {
    link: Link,
    reader: RedisReader,
}

impl RedisStore {
    /// Connects twice: to erase, and to read back.
    ///
    /// # Errors
    /// As [`RedisReader::open`]; also where the server is a replica.
    pub async fn open(id: &StoreId, config: &StoreConfig) -> Result<Self, StoreError> {
        let reader = RedisReader::connect(id, config, Duty::Erase).await?;
        let place = Place::of(config)
            .map_err(|message| trouble::error(id, "open", ErrorKind::Schema, Retry::Never, message))?;
        Ok(Self { link: Link::open(id, place, Duty::Erase).await?, reader })
    }
}

look_through_reader!(RedisStore);

#[async_trait]
impl Store for RedisStore {
    async fn mark(&self, ledger_id: &str, store: &StoreId) -> Result<(), StoreError> {
        erase::mark(&self.link, ledger_id, store).await
    }

    async fn erase(&self, query: &Query, batch: &Batch, method: Method) -> Result<Erased, StoreError> {
        erase::erase(&self.link, query, batch, method).await
    }

    /// Nothing is rebuilt: snapshots and append-only files are the server's own, so no more than the deletion holds.
    async fn scrub(&self, _placement: &Placement) -> Result<Scrubbed, StoreError> {
        let stays = |what: &str| Residual { what: what.to_owned(), until: None };
        let residual =
            vec![stays("append-only file until it is rewritten"), stays("snapshots until the next one")];
        Ok(Scrubbed { level: Level::Deleted, residual })
    }
}
