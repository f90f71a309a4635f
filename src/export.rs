//! A tenant takes its data along: records as JSON Lines and CSV, objects and files as they are, and a manifest with a digest
//! of each. It owns when an export counts as finished: everything was read back, and compared with a fresh count.
//!
//! What is in an export is personal data by nature: files are for their owner alone, and no value of it is in a log, an
//! error or the ledger.

mod door;
mod lines;
mod manifest;
mod names;
mod place;
mod rollover;
mod take;
mod target;
mod turn;

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use self::door::require_apart;
pub use self::door::{check_store, check_target};
pub use self::manifest::ManifestFile;
use self::manifest::{Manifest, Sums, prove, sums_of};
use self::place::Place;
pub use self::rollover::{LATENESS, due_rollovers, roll_over};
pub use self::take::TakenPlacement;
use self::take::{Taking, placements};
use self::target::{Before, Target, UNPROVEN};
pub use self::turn::{Turn, take_turn};

pub(crate) use self::target::MANIFEST;
use crate::audit;
use crate::gather::{Readers, Trouble, World};
use crate::id::PlacementId;
use crate::ledger::{ExportRow, ExportState, Ledger};
use crate::policy::Records;
use crate::stores::Body;

/// The shortest pause after an export failed.
const PAUSE_MIN: TimeDelta = TimeDelta::minutes(5);

/// The longest: with it an export is tried four times on the last day before an operator has to decide.
const PAUSE_MAX: TimeDelta = TimeDelta::hours(6);

/// Somebody who is told how far an export has come: in which placement, and how many records of it.
pub type Watcher<'a> = &'a (dyn Fn(&PlacementId, u64) + Send + Sync);

/// A finished export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its row in the ledger.
    pub row: ExportRow,
    /// What each placement came to.
    pub placements: Vec<TakenPlacement>,
    /// Files beside the manifest.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// True where a target is a bucket of the configuration. Who asks from outside may name no folder of this machine.
pub fn is_bucket(world: &World, target: &str) -> bool {
    matches!(Place::of(world, target), Ok(Place::Bucket(..)))
}

/// False for an export that failed so short a time ago that trying again would be in vain. The pause grows with the time
/// that was spent in vain already.
fn is_time(row: &ExportRow, now: DateTime<Utc>) -> bool {
    let pause = |failed: DateTime<Utc>| ((failed - row.asked_at) / 2).clamp(PAUSE_MIN, PAUSE_MAX);
    row.state != ExportState::Failed || row.settled_at.is_none_or(|failed| failed + pause(failed) <= now)
}

/// Carries an export out, whole: written, read back, compared with a fresh count of its source, and only then finished.
/// Where it fails, that is recorded and it can be tried again; a half is never taken for a whole.
///
/// # Errors
/// What kept it from being finished.
pub async fn run(
    world: &World,
    ledger: &dyn Ledger,
    row: &ExportRow,
    mut turn: Turn<'_>,
    watcher: Watcher<'_>,
) -> Result<Exported, Trouble> {
    // What failed before stays said until it is finished: being tried again is no news to who waits for it.
    let running = ExportRow { state: ExportState::Running, ..row.clone() };
    ledger.settle_export(&running, world.clock.now()).await?;
    let done = carry_out(world, ledger, &running, &mut turn, watcher).await;
    let now = world.clock.now();
    match done {
        Ok(sums) => {
            let finished = ExportRow {
                state: ExportState::Finished,
                records: sums.records,
                manifest: Some(sums.sha256),
                failure: None,
                settled_at: Some(now),
                ..running
            };
            ledger.settle_export(&finished, now).await?;
            drop(turn.release(now).await);
            let (placements, files, bytes) = (sums.placements, sums.files, sums.bytes);
            Ok(Exported { row: finished, placements, files, bytes })
        }
        Err(trouble) => {
            let failed =
                ExportRow { state: ExportState::Failed, failure: Some(trouble.to_string()), ..running };
            // Withdrawn meanwhile: then it stays so, and what went wrong is said all the same. Who has lost the turn
            // says nothing over who has it.
            if turn.keep(now).await.is_ok() {
                drop(ledger.settle_export(&failed, now).await);
                drop(turn.release(now).await);
            }
            Err(trouble)
        }
    }
}

/// Carries out every export that is asked for or failed and whose turn it is; safe with several processes. Answers with
/// what became of each.
///
/// A folder that somebody named is one of the machine they were on, and this may be another, or a process that is shown
/// other files: what would be finished here would be nowhere there. Such exports are left to the command that asked for
/// them, and stay unfinished until it carries them out.
///
/// # Errors
/// Where the ledger cannot be reached. What goes wrong with a single export is in its row.
pub async fn work_off(
    world: &World,
    ledger: &dyn Ledger,
    now: DateTime<Utc>,
) -> Result<Vec<ExportRow>, Trouble> {
    let mut tried = Vec::new();
    for row in ledger.exports().await? {
        if Path::new(&row.target).is_absolute() || !is_time(&row, now) {
            continue;
        }
        let Some(turn) = take_turn(ledger, &row, now).await? else { continue };
        match run(world, ledger, &row, turn, &|_, _| {}).await {
            Ok(done) => {
                tracing::info!(export_id = %row.export_id, records = done.row.records, "export finished");
            }
            Err(trouble) => tracing::warn!(export_id = %row.export_id, error = %trouble, "export failed"),
        }
        tried.push(row.export_id);
    }
    if !tried.is_empty() {
        audit::publish(ledger, &world.config.audit, world.clock.now()).await?;
    }
    let rows = ledger.exports().await?;
    Ok(rows.into_iter().filter(|row| tried.contains(&row.export_id)).collect())
}

/// A file of a finished export, by its name in the manifest or `manifest.json` itself; `None` where there is none.
///
/// # Errors
/// Where the export is not finished, or the name is none of a file in it.
pub async fn open_file(world: &World, row: &ExportRow, name: &str) -> Result<Option<Body>, Trouble> {
    let is_inside = name == MANIFEST
        || (name.starts_with("records/") || name.starts_with("objects/"))
            && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if row.state != ExportState::Finished || !is_inside {
        return Err(Trouble::Schema("the export is not finished, or has no such file".to_owned()));
    }
    Target::open(&Place::of_export(world, &row.target, &row.export_id)?).await?.read(name).await
}

/// Writes and proves it with the turn kept all the while, and publishes it.
async fn carry_out(
    world: &World,
    ledger: &dyn Ledger,
    row: &ExportRow,
    turn: &mut Turn<'_>,
    watcher: Watcher<'_>,
) -> Result<Sums, Trouble> {
    let written = write(world, ledger, row, watcher);
    let (sums, unpublished) = turn.during(world.clock, written).await?;
    // Whoever took it over writes into the same place: nothing is published against them.
    turn.keep(world.clock.now()).await?;
    if let Some(target) = unpublished {
        turn.during(world.clock, target.publish()).await?;
    }
    Ok(sums)
}

/// Writes it and reads it back. Answers with the target too where it is not published yet.
async fn write(
    world: &World,
    ledger: &dyn Ledger,
    row: &ExportRow,
    watcher: Watcher<'_>,
) -> Result<(Sums, Option<Target>), Trouble> {
    let place = Place::of_export(world, &row.target, &row.export_id)?;
    let mut others = ledger.exports().await?;
    others.retain(|other| other.export_id != row.export_id);
    require_apart(world, &others, &place).await?;
    let target = Target::open(&place).await?;
    if target.before(&row.export_id).await? == Before::Whole {
        // The process died between the last file and the ledger.
        let sums = sums_of(&target, MANIFEST).await?;
        prove(&target, MANIFEST, &sums).await?;
        return Ok((sums, None));
    }
    let mut readers = Readers::open(world).await?;
    readers.prove(Some(ledger)).await?;
    if let Some(why) = readers.doubted().values().next() {
        return Err(Trouble::Doubt(why.clone()));
    }
    target.begin(&row.export_id).await?;
    let started_at = world.clock.now();
    let mut manifest = Manifest::begin(&target, world, row, started_at).await?;
    let taking = Taking { world, readers: &readers, target: &target, row, started_at };
    for (policy, placement) in placements(&world.policies, row) {
        // What rows name is taken with them.
        if !matches!(placement.records, Some(Records::FoundBy { .. })) {
            taking.placement(policy, placement, &mut manifest, watcher).await?;
        }
    }
    let sums = manifest.close().await?;
    prove(&target, UNPROVEN, &sums).await?;
    Ok((sums, Some(target)))
}
