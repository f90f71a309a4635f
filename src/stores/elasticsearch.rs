//! The Elasticsearch and `OpenSearch` store, over REST: documents in indices. It owns what the traits promise; how is in its
//! parts. It decides nothing: which documents, why and how is said by a query and a method.
//!
//! A document is judged by its own stored text, never by what an index made of it. Questions narrow down; the judge decides.
//! A delete names the index, the id, the routing and the version of the document that was judged.

mod client;
mod document;
mod documents;
mod erase;
mod find;
mod grants;
mod indices;
mod inspect;
mod mapping;
mod overwrite;
mod predicate;
mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Value, json};

use self::client::{Body as Ask, Call, Client, Session};
pub use self::grants::grants;
use super::through::look_through_reader;
use super::{
    Batch, Body, Budget, Erased, ErrorKind, Finding, Found, Identity, Key, NamedBy, NamingColumns, Position,
    Query, Read, Reader, Scrubbed, Seen, StillThere, Store, StoreError,
};
use crate::facts::{Capability, Survey};
use crate::id::{StoreId, TenantId};
use crate::plan::Residual;
use crate::policy::{Level, Method, Placement, Records};

/// What a search cluster can do. Its files are rebuilt by merges of its own, so that nothing is ever scrubbed.
pub fn capability() -> Capability {
    Capability {
        kind: "elasticsearch".to_owned(),
        levels: BTreeMap::from([
            (Method::Delete, Level::Deleted),
            (Method::OverwriteThenDelete, Level::Overwritten),
        ]),
        versions: false,
    }
}

/// Where a cluster is and how to enter it.
#[derive(Debug, Clone, Copy)]
pub struct Entrance<'e> {
    /// Base URL.
    pub url: &'e str,
    /// User and password.
    pub user: Option<(&'e str, &'e SecretString)>,
    /// A certificate authority beside those of the system.
    pub ca_file: Option<&'e Path>,
}

impl<'e> Entrance<'e> {
    /// From the parts of a stanza; user and password come together.
    pub fn of(
        url: &'e str,
        user: &'e Option<String>,
        password: &'e Option<SecretString>,
        ca_file: &'e Option<PathBuf>,
    ) -> Self {
        Self { url, user: user.as_deref().zip(password.as_ref()), ca_file: ca_file.as_deref() }
    }
}

/// A search cluster, for looking only.
#[derive(Debug)]
pub struct ElasticsearchReader {
    client: Client,
    cluster: String,
}

/// A search cluster, for erasing. What it reads back it reads over connections of its own.
#[derive(Debug)]
pub struct ElasticsearchStore {
    reader: ElasticsearchReader,
    writer: Client,
}

impl ElasticsearchReader {
    /// Opens a cluster for looking.
    ///
    /// # Errors
    /// Where it cannot be reached, is no search cluster, or is too old.
    pub async fn open(id: &StoreId, entrance: Entrance<'_>) -> Result<Self, StoreError> {
        let client = client(id, entrance)?;
        let cluster = cluster(&client.session("open")).await?;
        Ok(Self { client, cluster })
    }

    /// A session with the cluster that was opened: an address may lead elsewhere later.
    async fn session(&self, operation: &'static str) -> Result<Session<'_>, StoreError> {
        same_cluster(&self.client, &self.cluster, operation).await
    }
}

impl ElasticsearchStore {
    /// Opens a cluster for erasing.
    ///
    /// # Errors
    /// As [`ElasticsearchReader::open`].
    pub async fn open(id: &StoreId, entrance: Entrance<'_>) -> Result<Self, StoreError> {
        let reader = ElasticsearchReader::open(id, entrance).await?;
        Ok(Self { reader, writer: client(id, entrance)? })
    }

    async fn session(&self, operation: &'static str) -> Result<Session<'_>, StoreError> {
        same_cluster(&self.writer, &self.reader.cluster, operation).await
    }
}

fn client(id: &StoreId, entrance: Entrance<'_>) -> Result<Client, StoreError> {
    let user = entrance.user.map(|(user, password)| (user.to_owned(), password.clone()));
    Client::new(id, entrance.url, user, entrance.ca_file)
}

async fn same_cluster<'c>(
    client: &'c Client,
    cluster_then: &str,
    operation: &'static str,
) -> Result<Session<'c>, StoreError> {
    let session = client.session(operation);
    if cluster(&session).await? == cluster_then {
        Ok(session)
    } else {
        Err(session.error(ErrorKind::Identity, "the address leads to another cluster than before"))
    }
}

/// What only this cluster says of itself.
async fn cluster(session: &Session<'_>) -> Result<String, StoreError> {
    let answer = session.ask(Call::Cluster, Ask::None).await?;
    let uuid = answer["cluster_uuid"].as_str().unwrap_or("_na_");
    if uuid == "_na_" {
        return Err(session.later("the cluster has no master yet, or this is no search cluster"));
    }
    let version = answer["version"]["number"].as_str().unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    // Below, patterns could not be resolved to names.
    let is_new_enough = answer["version"]["distribution"] == "opensearch" || (major, minor) >= (7, 9);
    if !is_new_enough {
        let message = format!("version {version} is too old; Elasticsearch 7.9 or any OpenSearch is needed");
        return Err(session.error(ErrorKind::Schema, message));
    }
    Ok(format!("{uuid}:{}", answer["cluster_name"].as_str().unwrap_or_default()))
}

/// The document of the marker; `None` where there is none.
async fn marker(session: &Session<'_>) -> Result<Option<Value>, StoreError> {
    let answer = session.send(Call::ReadMarker, Ask::None).await?;
    match answer.status {
        200 => Ok(Some(answer.body["_source"].clone())),
        404 => Ok(None),
        _ => Err(session.refusal(&answer)),
    }
}

#[async_trait]
impl Reader for ElasticsearchReader {
    fn capability(&self) -> Capability {
        capability()
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        let session = self.session("read the identity").await?;
        let Some(marker) = marker(&session).await? else {
            return Ok(Identity { ledger_id: None, store: None, fingerprint: self.cluster.clone() });
        };
        let (Some(ledger_id), Some(store)) = (marker["ledger_id"].as_str(), marker["store"].as_str()) else {
            let message = "its marker does not say which ledger it belongs to";
            return Err(session.error(ErrorKind::Identity, message));
        };
        Ok(Identity {
            ledger_id: Some(ledger_id.to_owned()),
            store: Some(store.to_owned()),
            fingerprint: self.cluster.clone(),
        })
    }

    async fn inspect(&self, placement: &Placement) -> Result<Vec<Finding>, StoreError> {
        inspect::inspect(&self.session("inspect").await?, placement).await
    }

    async fn parts(&self, placement: &Placement) -> Result<Vec<String>, StoreError> {
        if !matches!(placement.records, Some(Records::Index(_))) {
            return Ok(Vec::new());
        }
        let indices = indices::indices(&self.session("resolve the indices").await?, placement).await?;
        let mut names: Vec<String> = indices.into_iter().map(|index| index.name).collect();
        names.sort();
        Ok(names)
    }

    async fn survey(&self, query: &Query) -> Result<Survey, StoreError> {
        find::survey(&self.session("count documents").await?, query).await
    }

    async fn population(&self, placement: &Placement, at_most: u64) -> Result<u64, StoreError> {
        find::population(&self.session("count all documents").await?, placement, at_most).await
    }

    async fn look(&self, query: &Query, key: &[String]) -> Result<Option<Seen>, StoreError> {
        documents::look(&self.session("look at a document").await?, query, key).await
    }

    async fn find(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
        naming: NamingColumns<'_>,
    ) -> Result<Option<Found>, StoreError> {
        let session = self.session("find documents").await?;
        if !naming.is_empty() {
            return Err(session.error(ErrorKind::Unresolved, "documents name no other records"));
        }
        find::find(&session, query, after, budget).await
    }

    async fn read(
        &self,
        query: &Query,
        after: Option<&Position>,
        budget: Budget,
    ) -> Result<Option<Read>, StoreError> {
        read::read(&self.session("read documents").await?, query, after, budget).await
    }

    async fn body(
        &self,
        placement: &Placement,
        tenant: &TenantId,
        key: &Key,
    ) -> Result<Option<Body>, StoreError> {
        read::body(&self.session("read a document").await?, placement, tenant, key).await
    }

    async fn absent(&self, query: &Query, batch: &Batch) -> Result<StillThere, StoreError> {
        documents::absent(&self.session("read back documents").await?, query, batch).await
    }

    async fn naming_rows(
        &self,
        _placement: &Placement,
        _column: &str,
        _locators: &[String],
        _beside: &[Key],
    ) -> Result<NamedBy, StoreError> {
        let session = self.client.session("count the documents that name a record");
        Err(session.error(ErrorKind::Unresolved, "documents name no other records"))
    }
}

look_through_reader!(ElasticsearchStore);

#[async_trait]
impl Store for ElasticsearchStore {
    async fn mark(&self, ledger_id: &str, store: &StoreId) -> Result<(), StoreError> {
        let session = self.session("leave the marker").await?;
        let index = json!({
            "settings": { "index.hidden": true, "index.number_of_shards": 1, "index.auto_expand_replicas": "0-1" },
            "mappings": { "dynamic": false },
        });
        let made = session.send(Call::MakeMarker, Ask::Json(index)).await?;
        let was_there = made.body["error"]["type"] == "resource_already_exists_exception";
        if made.status != 200 && !was_there {
            return Err(session.refusal(&made));
        }
        let document = json!({ "ledger_id": ledger_id, "store": store.as_str() });
        let left = session.send(Call::LeaveMarker, Ask::Json(document)).await?;
        match left.status {
            201 => Ok(()),
            409 => Err(session.error(ErrorKind::Identity, "it carries a marker already")),
            _ => Err(session.refusal(&left)),
        }
    }

    async fn erase(&self, query: &Query, batch: &Batch, method: Method) -> Result<Erased, StoreError> {
        erase::erase(&self.session("erase documents").await?, query, batch, method).await
    }

    /// Nothing is rebuilt: segments are the cluster's own, so no more holds than what erasing reached.
    async fn scrub(&self, _placement: &Placement) -> Result<Scrubbed, StoreError> {
        let what = "segments until they are merged, and the translog".to_owned();
        Ok(Scrubbed { level: Level::Deleted, residual: vec![Residual { what, until: None }] })
    }
}
