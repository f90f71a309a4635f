//! (being built)
use crate::facts::{Capability, Survey};
use crate::id::StoreId;
use crate::policy::{Method, Placement};
use crate::stores::*;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::path::Path;
/// (being built)
pub fn capability() -> Capability {
    unimplemented!()
}
/// (being built)
pub struct FilesReader;
/// (being built)
pub struct FilesStore;
impl FilesReader {
    /// (being built)
    pub fn open(_id: &StoreId, _path: &Path) -> Result<Self, StoreError> {
        unimplemented!()
    }
}
impl FilesStore {
    /// (being built)
    pub fn open(_id: &StoreId, _path: &Path) -> Result<Self, StoreError> {
        unimplemented!()
    }
}
#[async_trait]
impl Reader for FilesReader {
    fn capability(&self) -> Capability {
        unimplemented!()
    }
    async fn identity(&self) -> Result<Identity, StoreError> {
        unimplemented!()
    }
    async fn inspect(&self, _placement: &Placement) -> Result<Vec<Finding>, StoreError> {
        unimplemented!()
    }
    async fn survey(&self, _query: &Query) -> Result<Survey, StoreError> {
        unimplemented!()
    }
    async fn population(&self, _placement: &Placement, _at_most: u64) -> Result<u64, StoreError> {
        unimplemented!()
    }
    async fn look(&self, _query: &Query, _key: &[String]) -> Result<Option<Seen>, StoreError> {
        unimplemented!()
    }
    async fn find(
        &self,
        _query: &Query,
        _after: Option<&Position>,
        _budget: Budget,
        _naming: NamingColumns<'_>,
    ) -> Result<Option<Found>, StoreError> {
        unimplemented!()
    }
    async fn absent(&self, _query: &Query, _batch: &Batch) -> Result<StillThere, StoreError> {
        unimplemented!()
    }
    async fn naming_rows(
        &self,
        _placement: &Placement,
        _column: &str,
        _locators: &[String],
    ) -> Result<BTreeMap<String, u64>, StoreError> {
        unimplemented!()
    }
}
#[async_trait]
impl Reader for FilesStore {
    fn capability(&self) -> Capability {
        unimplemented!()
    }
    async fn identity(&self) -> Result<Identity, StoreError> {
        unimplemented!()
    }
    async fn inspect(&self, _placement: &Placement) -> Result<Vec<Finding>, StoreError> {
        unimplemented!()
    }
    async fn survey(&self, _query: &Query) -> Result<Survey, StoreError> {
        unimplemented!()
    }
    async fn population(&self, _placement: &Placement, _at_most: u64) -> Result<u64, StoreError> {
        unimplemented!()
    }
    async fn look(&self, _query: &Query, _key: &[String]) -> Result<Option<Seen>, StoreError> {
        unimplemented!()
    }
    async fn find(
        &self,
        _query: &Query,
        _after: Option<&Position>,
        _budget: Budget,
        _naming: NamingColumns<'_>,
    ) -> Result<Option<Found>, StoreError> {
        unimplemented!()
    }
    async fn absent(&self, _query: &Query, _batch: &Batch) -> Result<StillThere, StoreError> {
        unimplemented!()
    }
    async fn naming_rows(
        &self,
        _placement: &Placement,
        _column: &str,
        _locators: &[String],
    ) -> Result<BTreeMap<String, u64>, StoreError> {
        unimplemented!()
    }
}
#[async_trait]
impl Store for FilesStore {
    async fn mark(&self, _ledger_id: &str, _store: &StoreId) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn erase(&self, _query: &Query, _batch: &Batch, _method: Method) -> Result<Erased, StoreError> {
        unimplemented!()
    }
    async fn scrub(&self, _placement: &Placement) -> Result<Scrubbed, StoreError> {
        unimplemented!()
    }
}
