//! Whether each store is the one meant, asked before anything that it says is believed. It owns the judgement on a
//! marker; leaving one is the executor's.

use std::collections::BTreeMap;

use super::{Readers, Trouble, World};
use crate::id::StoreId;
use crate::ledger::Ledger;
use crate::stores::{ErrorKind, Identity};

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
                Ok(identity) => match stranger(&id, &identity, &own, marked.contains_key(&id)) {
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
pub(crate) fn stranger(id: &StoreId, identity: &Identity, own: &str, is_marked: bool) -> Option<String> {
    match &identity.ledger_id {
        Some(ledger) if ledger != own => Some(format!("store `{id}` is marked by another ledger")),
        Some(_) if identity.store.as_deref() != Some(id.as_str()) => {
            Some(format!("store `{id}` is marked under another name"))
        }
        Some(_) => None,
        None if is_marked => Some(format!(
            "store `{id}` has lost its marker: it may be a restored copy, an empty mount or a namesake"
        )),
        None => None,
    }
}
