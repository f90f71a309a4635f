//! Whether a place may be a new export's, or still is an export's own: it holds no data, nothing else lies in it, and no
//! other export lies in it, around it or there. It owns these refusals; how a place is written is `place`'s.

use super::place::Place;
use super::target::Target;
use crate::gather::{Trouble, World};
use crate::id::ExportId;
use crate::ledger::{ExportRow, ExportState};

/// Whether a target can take a new export, before one is asked for. `exports` are all that the ledger knows.
///
/// # Errors
/// Where it names no place, or one that is not free.
pub async fn check_target(world: &World, exports: &[ExportRow], target: &str) -> Result<(), Trouble> {
    let place = Place::of(world, target)?;
    require_apart(world, exports, &place).await?;
    // An id that no export has, so that only what is empty is free.
    Target::open(&place).await?.before(&ExportId::new("")).await.map(drop)
}

/// Whether a store of the configuration is a place for exports: one that holds no data itself, and is not in the target
/// of another export as a whole. `exports` are all that the ledger knows.
///
/// # Errors
/// Where it is none, or a placement uses it.
pub async fn check_store(world: &World, exports: &[ExportRow], name: &str) -> Result<(), Trouble> {
    // Which export it is for makes no difference.
    let place = Place::of_export(world, name, &ExportId::new("exp-"))?;
    require_apart(world, exports, &place).await
}

/// What is put in the place of another export would be taken for a part of it, or be lost with what that leaves when it is
/// tried again. One that is withdrawn is never tried again, and one that was finished and taken away is over.
pub(super) async fn require_apart(world: &World, others: &[ExportRow], place: &Place) -> Result<(), Trouble> {
    for other in others {
        // A place that the configuration knows no longer is none that anything is put into.
        let Ok(theirs) = Place::of_export(world, &other.target, &other.export_id) else { continue };
        if !theirs.meets(place) {
            continue;
        }
        let is_in_the_way = match other.state {
            ExportState::Asked | ExportState::Running | ExportState::Failed => true,
            ExportState::Finished => Target::open(&theirs).await?.is_whole().await?,
            ExportState::Cancelled => false,
        };
        if is_in_the_way {
            let id = &other.export_id;
            return Err(Trouble::Schema(format!(
                "failed to use the export's target: it is that of another export ({id}), lies in it or holds it"
            )));
        }
    }
    Ok(())
}
