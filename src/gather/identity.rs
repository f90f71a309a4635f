//! Whether a store is the one that the ledger knows. It owns that judgement; leaving the marker is `enforce`'s part.

use crate::gather::{Readers, Trouble, silence};
use crate::id::StoreId;
use crate::ledger::Ledger;
use crate::stores::Identity;

/// Why a store is not the one meant; `None` where nothing speaks against it. `own` is the ledger's id, `None` where
/// there is no ledger; `marked` says whether the ledger has left its marker in a store of this name.
pub(crate) fn doubt(id: &StoreId, found: &Identity, own: Option<&str>, marked: bool) -> Option<String> {
    match &found.ledger_id {
        Some(ledger) if Some(ledger.as_str()) != own => Some(format!("store `{id}` is marked by another ledger")),
        Some(_) if found.store.as_deref() != Some(id.as_str()) => {
            Some(format!("store `{id}` is marked under another name"))
        }
        None if marked => Some(format!(
            "store `{id}` has lost its marker: it may be a restored copy, an empty mount or a namesake"
        )),
        Some(_) | None => None,
    }
}

impl Readers {
    /// Sets aside every store that is not the one the ledger knows: from then on it counts as out of reach, so that
    /// nothing is planned there, nothing is recovered from it and no request is completed by what it lacks.
    /// Guarded by `an_empty_mount_in_the_place_of_a_store_completes_no_request`.
    ///
    /// # Errors
    /// Where the ledger cannot be read, or a store answers in a way that is not silence.
    pub(crate) async fn identify(&mut self, ledger: Option<&dyn Ledger>) -> Result<(), Trouble> {
        let (own, marked) = match ledger {
            Some(ledger) => (Some(ledger.ledger_id().await?), ledger.marked_stores().await?),
            None => Default::default(),
        };
        for (id, reader) in std::mem::take(&mut self.readers) {
            match reader.identity().await {
                Ok(found) => match doubt(&id, &found, own.as_deref(), marked.contains_key(&id)) {
                    Some(why) => {
                        self.strangers.insert(id, why);
                    }
                    None => {
                        self.readers.insert(id, reader);
                    }
                },
                Err(error) => silence(error, &mut self.unreachable)?,
            }
        }
        Ok(())
    }

    /// Stores that are not the ones the ledger knows, with the reason.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = (&StoreId, &String)> {
        self.strangers.iter()
    }

    /// Stores that answered and are the ones meant, or were never met.
    pub(crate) fn known(&self) -> impl Iterator<Item = &StoreId> {
        self.readers.keys()
    }

    /// Refuses where any store is not the one meant.
    pub(super) fn refuse_strangers(&self) -> Result<(), Trouble> {
        match self.strangers.first_key_value() {
            Some((_, why)) => Err(Trouble::Doubt(why.clone())),
            None => Ok(()),
        }
    }
}
