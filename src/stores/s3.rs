//! A bucket as a store: S3, COS and what else speaks that language. It owns how the traits are answered; reaching it is
//! `bucket`, one page `pages`, order `walk`, given keys `fresh`, the predicate `select`, looking `look`, changing `erase`.

mod bucket;
mod delete;
pub mod depot;
mod entry;
mod erase;
mod fresh;
mod grants;
mod inspect;
mod lock;
mod look;
mod marker;
mod overwrite;
mod pages;
mod read;
mod select;
mod walk;

use std::collections::BTreeMap;

use async_trait::async_trait;

use self::bucket::Bucket;
pub use self::grants::grants;
use super::through::look_through_reader;
use super::{
    Batch, Body, Budget, Erased, ErrorKind, Finding, Found, Identity, Key, NamedBy, NamingColumns, Position,
    Query, Read, Reader, Retry, Scrubbed, Seen, StillThere, Store, StoreError,
};
use crate::config::S3Config;
use crate::facts::{Capability, Survey};
use crate::id::{StoreId, TenantId};
use crate::plan::Residual;
use crate::policy::{Level, Method, Placement};

/// What a bucket can do. Overwriting shows only that the key was ours to write: no object store writes over old bytes.
pub fn capability() -> Capability {
    Capability {
        kind: "s3".to_owned(),
        levels: BTreeMap::from([
            (Method::Delete, Level::Deleted),
            (Method::OverwriteThenDelete, Level::Overwritten),
        ]),
        versions: true,
    }
}

/// A bucket opened for looking.
#[derive(Debug)]
pub struct S3Reader {
    bucket: Bucket,
}

impl S3Reader {
    /// Makes a client. The bucket is first asked by the first question.
    ///
    /// # Errors
    /// Where there are no credentials.
    pub async fn open(id: &StoreId, settings: &S3Config) -> Result<Self, StoreError> {
        Ok(Self { bucket: Bucket::open(id, settings).await? })
    }

    fn names_nothing(&self, operation: &'static str) -> StoreError {
        let message = "objects name no other records";
        self.bucket.error(operation, ErrorKind::Unresolved, Retry::Never, message)
    }
}

#[async_trait]
impl Reader for S3Reader {
    fn capability(&self) -> Capability {
        capability()
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.bucket.identity().await
    }

    async fn inspect(&self, placement: &Placement) -> Result<Vec<Finding>, StoreError> {
        inspect::inspect(&self.bucket, placement).await
    }

    async fn survey(&self, query: &Query) -> Result<Survey, StoreError> {
        look::survey(&self.bucket, query).await
    }

    async fn population(&self, placement: &Placement, at_most: u64) -> Result<u64, StoreError> {
        look::population(&self.bucket, placement, at_most).await
    }

    async fn look(&self, query: &Query, key: &[String]) -> Result<Option<Seen>, StoreError> {
        look::look(&self.bucket, query, key).await
    }

    async fn find(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
        naming: NamingColumns<'_>,
    ) -> Result<Option<Found>, StoreError> {
        if !naming.is_empty() {
            return Err(self.names_nothing("find objects"));
        }
        look::find(&self.bucket, query, after, budget).await
    }

    async fn read(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
    ) -> Result<Option<Read>, StoreError> {
        read::read(&self.bucket, query, after, budget).await
    }

    async fn body(
        &self,
        placement: &Placement,
        tenant: &TenantId,
        key: &Key,
    ) -> Result<Option<Body>, StoreError> {
        read::body(&self.bucket, placement, tenant, key).await
    }

    async fn absent(&self, query: &Query, batch: &Batch) -> Result<StillThere, StoreError> {
        look::absent(&self.bucket, query, batch).await
    }

    async fn naming_rows(
        &self,
        _placement: &Placement,
        _column: &str,
        _locators: &[String],
        _beside: &[Key],
    ) -> Result<NamedBy, StoreError> {
        Err(self.names_nothing("count the rows that name an object"))
    }

    async fn inventory(
        &self,
        placement: &Placement,
        after: &str,
        at_most: usize,
    ) -> Result<Vec<String>, StoreError> {
        look::inventory(&self.bucket, placement, after, at_most).await
    }
}

/// A bucket opened for erasing.
#[derive(Debug)]
pub struct S3Store {
    bucket: Bucket,
    /// On connections of its own: a read-back never trusts those that erased.
    reader: S3Reader,
}

impl S3Store {
    /// Makes two clients, one to erase and one to look.
    ///
    /// # Errors
    /// As [`S3Reader::open`].
    pub async fn open(id: &StoreId, settings: &S3Config) -> Result<Self, StoreError> {
        let reader = S3Reader::open(id, settings).await?;
        Ok(Self { bucket: Bucket::open(id, settings).await?, reader })
    }
}

look_through_reader!(S3Store);

#[async_trait]
impl Store for S3Store {
    async fn mark(&self, ledger_id: &str, store: &StoreId) -> Result<(), StoreError> {
        self.bucket.mark(ledger_id, store).await
    }

    async fn erase(&self, query: &Query, batch: &Batch, method: Method) -> Result<Erased, StoreError> {
        erase::erase(&self.bucket, query, batch, method).await
    }

    /// Nothing can be rebuilt from outside: what the server keeps of deleted bytes is its own affair.
    async fn scrub(&self, _placement: &Placement) -> Result<Scrubbed, StoreError> {
        let what = "bytes and names that the object store has not reclaimed yet".to_owned();
        Ok(Scrubbed { level: Level::Deleted, residual: vec![Residual { what, until: None }] })
    }
}
