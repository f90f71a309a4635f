//! Whether each store is the one meant, asked before anything that it says is believed. It owns the judgement on a
//! marker and a fingerprint; leaving a marker at the first meeting is the executor's.

use std::collections::BTreeMap;

use super::{Readers, Trouble, World};
use crate::id::StoreId;
use crate::ledger::Ledger;
use crate::ledger::rows::Mark;
use crate::stores::{self, ErrorKind, Identity};

impl Readers {
    /// Opens the stores and makes sure that each is the one meant.
    ///
    /// # Errors
    /// As [`Readers::open`]; a store that is not the one meant is a doubt.
    pub(super) async fn proven(world: &World, ledger: Option<&dyn Ledger>) -> Result<Self, Trouble> {
        let mut readers = Self::open(world).await?;
        readers.prove(ledger).await?;
        match readers.doubted.pop_first() {
            Some((_, why)) => Err(Trouble::Doubt(why)),
            None => Ok(readers),
        }
    }

    /// Takes out every store that is not the one meant: "nothing found" in a restored copy, an empty mount or a
    /// namesake says nothing about the store.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub(crate) async fn prove(&mut self, ledger: Option<&dyn Ledger>) -> Result<(), Trouble> {
        let (own, marked) = match ledger {
            Some(ledger) => (ledger.ledger_id().await?, ledger.marked_stores().await?),
            // No ledger has an empty id: where there is none, every marker names another one.
            None => (String::new(), BTreeMap::new()),
        };
        for (id, reader) in std::mem::take(&mut self.readers) {
            match reader.identity().await {
                Ok(identity) => match stranger(&id, &identity, &own, marked.get(&id)) {
                    Some(why) => {
                        self.doubted.insert(id, why);
                    }
                    None => {
                        self.readers.insert(id, reader);
                    }
                },
                Err(error) if error.kind == ErrorKind::Identity => {
                    self.doubted.insert(id, error.to_string());
                }
                Err(error) => {
                    self.unreachable.insert(id, error.to_string());
                }
            }
        }
        Ok(())
    }

    /// Stores that answered and are believed.
    pub(crate) fn believed(&self) -> impl Iterator<Item = &StoreId> {
        self.readers.keys()
    }

    /// Stores that are not the ones meant, with the reason.
    pub(crate) fn doubted(&self) -> &BTreeMap<StoreId, String> {
        &self.doubted
    }
}

/// Why a store is not the one meant. One that never carried a marker is believed: there is nothing to compare.
///
/// A copy carries the marker of the store that it was made of. What it says of itself, its fingerprint, gives it away:
/// a replica, a restored copy or a namesake lives in another place.
pub(crate) fn stranger(id: &StoreId, identity: &Identity, own: &str, mark: Option<&Mark>) -> Option<String> {
    let hint = format!("if it was moved on purpose, say `retentiond adopt {id} --reason TEXT`");
    match (&identity.ledger_id, mark) {
        (Some(ledger), _) if ledger != own => Some(format!("store `{id}` is marked by another ledger")),
        (Some(_), _) if identity.store.as_deref() != Some(id.as_str()) => {
            Some(format!("store `{id}` is marked under another name"))
        }
        (None, Some(_)) => Some(format!(
            "store `{id}` has lost its marker: it may be a restored copy, an empty mount or a namesake; {hint}"
        )),
        (Some(_), Some(Mark { fingerprint: Some(met), .. })) if *met != identity.fingerprint => {
            Some(format!(
                "store `{id}` carries the right marker but says of itself `{}`, and not `{met}` as when it was marked: \
             it may be a replica or a restored copy; {hint}",
                identity.fingerprint
            ))
        }
        (Some(_), Some(_)) | (_, None) => None,
    }
}

/// What an operator takes a store for by saying that it was moved: its marker is left again where it was lost.
///
/// # Errors
/// Where the store cannot be opened, is marked by another ledger or under another name, or is not configured.
pub async fn adopt(
    world: &World,
    ledger: &dyn Ledger,
    id: &StoreId,
    reason: &str,
) -> Result<String, Trouble> {
    let config = world.config.stores.get(id).ok_or_else(|| Trouble::no_store(id))?;
    let store = stores::open_store(id, config).await?;
    let identity = store.identity().await?;
    let own = ledger.ledger_id().await?;
    if let Some(why) = stranger(id, &identity, &own, None) {
        return Err(Trouble::Doubt(why));
    }
    if identity.ledger_id.is_none() {
        store.mark(&own, id).await?;
    }
    ledger.adopt_store(id, &identity.fingerprint, reason, world.clock.now()).await?;
    Ok(identity.fingerprint)
}
