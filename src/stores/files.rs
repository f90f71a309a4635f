//! A folder as a store, reached by directory descriptor and never through a link. It owns how the traits are
//! answered; opening is `root`, order is `walk`, the predicate `select`, looking `look`, changing `erase`.

mod erase;
mod grants;
mod look;
mod overwrite;
mod read;
mod root;
mod select;
mod walk;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

pub use self::grants::grants;
use self::root::{Medium, Root};
use super::through::look_through_reader;
use super::{
    Batch, Body, Budget, Erased, ErrorKind, Finding, Found, Identity, Key, NamedBy, NamingColumns, Position,
    Query, Read, Reader, Retry, Scrubbed, Seen, StillThere, Store, StoreError,
};
use crate::facts::{Capability, Survey};
use crate::id::{StoreId, TenantId};
use crate::plan::Residual;
use crate::policy::{Level, Method, Placement};

/// What a folder can do at best, on a file system that overwrites in place.
pub fn capability() -> Capability {
    capability_on(Medium::InPlace)
}

fn capability_on(medium: Medium) -> Capability {
    Capability {
        kind: "files".to_owned(),
        levels: BTreeMap::from([
            (Method::Delete, Level::Deleted),
            (Method::OverwriteThenDelete, Level::Overwritten),
            (Method::Zero, medium.zero_level()),
        ]),
        versions: false,
    }
}

/// A folder opened for looking.
#[derive(Debug)]
pub struct FilesReader {
    root: Arc<Root>,
}

impl FilesReader {
    /// Opens a folder. It is never made.
    ///
    /// # Errors
    /// Where the folder is missing, a symbolic link, no folder, or the root of the machine.
    pub fn open(id: &StoreId, path: &Path) -> Result<Self, StoreError> {
        Ok(Self { root: Arc::new(Root::open(id, path)?) })
    }

    /// Runs work that blocks on the disk where it holds up nobody else.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let root = Arc::clone(&self.root);
        match tokio::task::spawn_blocking(move || work(&root)).await {
            Ok(done) => done,
            Err(_) => {
                let message = "the work broke off".into();
                Err(self.root.error("work", ErrorKind::Unresolved, Retry::Never, message))
            }
        }
    }
}

/// True from when the work that holds this is dropped, done or not.
#[derive(Default)]
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[async_trait]
impl Reader for FilesReader {
    fn capability(&self) -> Capability {
        capability_on(self.root.medium)
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.blocking(Root::identity).await
    }

    async fn inspect(&self, placement: &Placement) -> Result<Vec<Finding>, StoreError> {
        let placement = placement.clone();
        self.blocking(move |root| Ok(look::inspect(root, &placement))).await
    }

    async fn survey(&self, query: &Query) -> Result<Survey, StoreError> {
        let query = query.clone();
        self.blocking(move |root| look::survey(root, &query)).await
    }

    async fn population(&self, placement: &Placement, at_most: u64) -> Result<u64, StoreError> {
        let placement = placement.clone();
        self.blocking(move |root| look::population(root, &placement, at_most)).await
    }

    async fn look(&self, query: &Query, key: &[String]) -> Result<Option<Seen>, StoreError> {
        let (query, key) = (query.clone(), key.to_vec());
        self.blocking(move |root| look::look(root, &query, &key)).await
    }

    async fn find(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
        naming: NamingColumns<'_>,
    ) -> Result<Option<Found>, StoreError> {
        if !naming.is_empty() {
            return Err(self.names_nothing("find files"));
        }
        let (query, after) = (query.clone(), after.cloned());
        self.blocking(move |root| look::find(root, &query, after.as_ref(), budget)).await
    }

    async fn read(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
    ) -> Result<Option<Read>, StoreError> {
        let (query, after) = (query.clone(), after.cloned());
        self.blocking(move |root| read::read(root, &query, after.as_ref(), budget)).await
    }

    async fn body(
        &self,
        placement: &Placement,
        tenant: &TenantId,
        key: &Key,
    ) -> Result<Option<Body>, StoreError> {
        let (placement, tenant, key) = (placement.clone(), tenant.clone(), key.clone());
        self.blocking(move |root| read::body(root, &placement, &tenant, &key)).await
    }

    async fn absent(&self, query: &Query, batch: &Batch) -> Result<StillThere, StoreError> {
        let (query, batch) = (query.clone(), batch.clone());
        self.blocking(move |root| look::absent(root, &query, &batch)).await
    }

    async fn naming_rows(
        &self,
        _placement: &Placement,
        _column: &str,
        _locators: &[String],
        _beside: &[Key],
    ) -> Result<NamedBy, StoreError> {
        Err(self.names_nothing("count the rows that name a file"))
    }

    async fn inventory(
        &self,
        placement: &Placement,
        after: &str,
        at_most: usize,
    ) -> Result<Vec<String>, StoreError> {
        let (placement, after) = (placement.clone(), after.to_owned());
        self.blocking(move |root| look::inventory(root, &placement, &after, at_most)).await
    }
}

impl FilesReader {
    fn names_nothing(&self, operation: &'static str) -> StoreError {
        let message = "files name no other records".into();
        self.root.error(operation, ErrorKind::Unresolved, Retry::Never, message)
    }
}

/// A folder opened for erasing.
#[derive(Debug)]
pub struct FilesStore {
    reader: FilesReader,
}

impl FilesStore {
    /// Opens a folder. It is never made.
    ///
    /// # Errors
    /// As [`FilesReader::open`].
    pub fn open(id: &StoreId, path: &Path) -> Result<Self, StoreError> {
        Ok(Self { reader: FilesReader::open(id, path)? })
    }
}

look_through_reader!(FilesStore);

#[async_trait]
impl Store for FilesStore {
    async fn mark(&self, ledger_id: &str, store: &StoreId) -> Result<(), StoreError> {
        let (ledger_id, store) = (ledger_id.to_owned(), store.clone());
        self.reader.blocking(move |root| erase::mark(root, &ledger_id, &store)).await
    }

    async fn erase(&self, query: &Query, batch: &Batch, method: Method) -> Result<Erased, StoreError> {
        let (query, batch) = (query.clone(), batch.clone());
        // Whoever gives this up means it: a thread cannot be dropped, so it is told.
        let given_up = GivenUp::default();
        let sign = Arc::clone(&given_up.0);
        let erased =
            self.reader.blocking(move |root| erase::erase(root, &query, &batch, method, &sign)).await;
        drop(given_up);
        erased
    }

    /// Nothing is left to rebuild: zeroed files were overwritten where they lay, before their names went.
    async fn scrub(&self, _placement: &Placement) -> Result<Scrubbed, StoreError> {
        let medium = self.reader.root.medium;
        let stays = |what: &str| Residual { what: what.to_owned(), until: None };
        let mut residual = vec![stays("file names in directory blocks and journal")];
        match medium {
            Medium::InPlace => {}
            Medium::InPlaceUnlessShared => residual.push(stays("blocks shared with another file (reflink)")),
            Medium::Elsewhere => residual.push(stays("earlier blocks on a copying or unknown file system")),
        }
        Ok(Scrubbed { level: medium.zero_level(), residual })
    }
}
