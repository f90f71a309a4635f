//! What makes a ledger the one that it is: its id, and the key that it was made with.
//! It owns what is remembered of both and what is refused; how it is stored is each database's business.

use std::path::Path;

use super::write::damaged;
use crate::ledger::LedgerError;
use crate::ledger::seal::{self, Seal, fill_random};

/// A ledger that is being made.
pub(in crate::ledger) struct Born {
    /// Its id.
    pub(in crate::ledger) id: String,
    /// Its key.
    pub(in crate::ledger) seal: Seal,
    /// The first rows of `meta`.
    pub(in crate::ledger) meta: Vec<(&'static str, String)>,
}

/// Makes an id, and the key file where there is none.
pub(in crate::ledger) fn born(key_file: &Path) -> Result<Born, LedgerError> {
    let mut random = [0; 16];
    fill_random(&mut random)?;
    let id = uuid::Builder::from_random_bytes(random).into_uuid().to_string();
    let seal = Seal::new(seal::make_or_read(key_file)?);
    let check = seal.check_value(&id);
    let meta = vec![("ledger_id", id.clone()), ("key_check", check), ("generation", "0".to_owned())];
    Ok(Born { id, seal, meta })
}

/// The ledger's id, and the key in the file, which must be the one that the ledger was made with. `None` for a
/// ledger that is not made yet.
pub(in crate::ledger) fn key_of(
    meta: &[(String, String)],
    key_file: &Path,
) -> Result<Option<(String, Seal)>, LedgerError> {
    if meta.is_empty() {
        return Ok(None);
    }
    let value =
        |name: &str| meta.iter().find(|(n, _)| n == name).map(|(_, v)| v).ok_or_else(|| damaged(name));
    let id = value("ledger_id")?;
    let Some(key) = seal::read(key_file)? else {
        return Err(LedgerError::Doubt(format!(
            "the key file {} of this ledger is missing; hint: it is kept beside every backup of the ledger",
            key_file.display()
        )));
    };
    let seal = Seal::new(key);
    if &seal.check_value(id) != value("key_check")? {
        return Err(LedgerError::Doubt(format!(
            "the key file {} holds another key than this ledger was made with",
            key_file.display()
        )));
    }
    Ok(Some((id.clone(), seal)))
}

/// The schema is one that this version does not know.
pub(in crate::ledger) fn other_version() -> LedgerError {
    LedgerError::Doubt(
        "the ledger was made by another version of retentiond; hint: use a newer one".to_owned(),
    )
}

/// The schema is older, and whoever only looks may not change it.
pub(in crate::ledger) fn older_schema() -> LedgerError {
    LedgerError::Doubt(
        "the ledger has an older schema; hint: a command that records something brings it up to date, \
         `retentiond enforce` for example"
            .to_owned(),
    )
}
