//! Checks a log against itself and against its ledger, and says what does not fit, entry by entry.
//! It owns the verdict; it changes nothing, and it reads a log of any size in constant memory (`scan` does the files).

use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::folder::{CHECKPOINT, Folder};
use crate::audit::layout::{Kind, TILE_WIDTH, Tile};
use crate::audit::merkle::{Frontier, leaf_hash};
use crate::audit::publish::{blocking, promised_of};
use crate::audit::{AuditError, entry, entry_pages, origin_of};
use crate::ledger::{Entry, Ledger};

mod scan;

/// Findings that are listed; more would hide the first ones.
const FINDINGS_MAX: usize = 200;

/// One thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The entry concerned, where it is one.
    pub index: Option<u64>,
    /// What does not fit, as a sentence fragment.
    pub message: String,
}

/// What came of checking a log.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// True where nothing speaks against the log.
    pub sound: bool,
    /// Entries in the signed log.
    pub entries: u64,
    /// The signed root in hex; empty where no checkpoint is accepted.
    pub head: String,
    /// When it was checked.
    pub checked_at: DateTime<Utc>,
    /// What does not fit, at most 200 and a line that says how many more; empty where the log is sound.
    pub findings: Vec<Finding>,
}

/// Findings as they come in, counted further than they are kept.
#[derive(Debug, Default)]
struct Findings {
    kept: Vec<Finding>,
    more: u64,
}

impl Findings {
    fn log(&mut self, message: impl Into<String>) {
        self.add(None, message.into());
    }

    fn entry(&mut self, index: u64, message: impl Into<String>) {
        self.add(Some(index), message.into());
    }

    fn add(&mut self, index: Option<u64>, message: String) {
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(Finding { index, message });
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<Finding> {
        if self.more > 0 {
            self.kept.push(Finding { index: None, message: format!("and {} more findings", self.more) });
        }
        self.kept
    }
}

/// Checks the whole log: the checkpoint's signature, every entry, every tile, the root over the entries, and that
/// nothing else lies in the folder. With the ledger also: that the log is no older than the ledger's head, that the
/// ledger is no older than the log, and that both hold the same entries.
///
/// *Properties.* Any changed, dropped, swapped, inserted or cut entry is found. A log rolled back to an older copy of
/// itself is found with the ledger, or with a checkpoint kept elsewhere, and not without. A log that is being written
/// meanwhile is looked at again before anything is said against it.
///
/// # Errors
/// Where the ledger cannot be read. Whatever is wrong with the files is a finding.
pub async fn verify(
    dir: &Path,
    ledger: Option<&dyn Ledger>,
    now: DateTime<Utc>,
) -> Result<Verdict, AuditError> {
    let folder = Folder::new(dir);
    let before = folder.read(CHECKPOINT).ok().flatten();
    let verdict = look(dir, ledger, now).await?;
    if verdict.sound {
        return Ok(verdict);
    }
    match ledger {
        // While we hold the right to write, nobody is halfway through writing.
        Some(ledger) => match ledger.claim_audit().await {
            Ok(_claim) => look(dir, Some(ledger), now).await,
            Err(_) => Ok(verdict),
        },
        None if folder.read(CHECKPOINT).ok().flatten() != before => look(dir, None, now).await,
        None => Ok(verdict),
    }
}

async fn look(dir: &Path, ledger: Option<&dyn Ledger>, now: DateTime<Utc>) -> Result<Verdict, AuditError> {
    let folder = Folder::new(dir);
    let (checkpoint, mut findings) = blocking(move || Ok(scan::scan(&folder))).await?;
    if let Some(ledger) = ledger {
        compare(&mut findings, dir, checkpoint.as_ref(), ledger).await?;
    }
    let findings = findings.finish();
    Ok(Verdict {
        sound: findings.is_empty(),
        entries: checkpoint.as_ref().map_or(0, |c| c.size),
        head: checkpoint.map_or(String::new(), |c| hex::encode(c.root)),
        checked_at: now,
        findings,
    })
}

async fn compare(
    findings: &mut Findings,
    dir: &Path,
    checkpoint: Option<&Checkpoint>,
    ledger: &dyn Ledger,
) -> Result<(), AuditError> {
    let count = ledger.entry_count().await?;
    let size = checkpoint.map_or(0, |c| c.size);
    let head = match ledger.head().await?.map(|head| promised_of(&head)).transpose() {
        Ok(head) => head,
        Err(error) => {
            findings.log(error.to_string());
            None
        }
    };
    if let Some(checkpoint) = checkpoint
        && size > 0
        && checkpoint.origin != origin_of(&ledger.ledger_id().await?)
    {
        findings.log(format!("the log `{}` belongs to another ledger", checkpoint.origin));
    }
    let head_size = head.map_or(0, |(size, _)| size);
    if count < size || head_size < size {
        findings.log(format!(
            "the ledger is older than the log: it has {count} entries and knows of {head_size} published ones, the \
             log has {size}"
        ));
    }
    if head_size > size {
        findings.log(format!(
            "the log is older than the ledger's head: it has {size} entries, {head_size} were published; it was \
             rolled back, or its last publication broke off (the next run completes that)"
        ));
    }
    if let (Some(checkpoint), Some((head_size, root))) = (checkpoint, head)
        && head_size == size
        && root != checkpoint.root
    {
        findings.log(format!(
            "the log has forked: at {size} entries the ledger's root is {}, the log's {}",
            hex::encode(root),
            hex::encode(checkpoint.root)
        ));
    }
    compare_entries(findings, dir, size, head, count, ledger).await
}

/// Reads the ledger's entries once: each must be in the log's bundles, and together they must have the root that the
/// ledger has promised.
async fn compare_entries(
    findings: &mut Findings,
    dir: &Path,
    size: u64,
    head: Option<(u64, [u8; 32])>,
    count: u64,
    ledger: &dyn Ledger,
) -> Result<(), AuditError> {
    let head_size = head.map_or(0, |(size, _)| size);
    let mut frontier = Frontier::new();
    let mut pages = entry_pages(ledger, 0, head_size.max(size).min(count));
    loop {
        let page = match pages.next().await {
            Ok(Some(page)) => page,
            Ok(None) => break,
            // The ledger answered a moment ago: what it cannot give now is missing or damaged in it.
            Err(error) => {
                findings.log(error.to_string());
                return Ok(());
            }
        };
        for entry in &page {
            if frontier.size() < head_size {
                frontier.push(leaf_hash(entry.body.as_bytes()));
            }
        }
        let folder = Folder::new(dir);
        let differing = blocking(move || Ok(differing(&folder, size, &page))).await?;
        for index in differing {
            findings.entry(index, "it differs between the log and the ledger");
        }
    }
    if let Some((head_size, root)) = head
        && frontier.size() == head_size
        && frontier.root() != root
    {
        findings.log(format!(
                "the ledger's first {head_size} entries are not those that were signed: one was changed in the ledger"
            ));
    }
    Ok(())
}

/// Indices of a page's entries that the bundle on disk has otherwise. A bundle that cannot be read is a finding of the
/// scan already.
fn differing(folder: &Folder, size: u64, page: &[Entry]) -> Vec<u64> {
    let Some(first) = page.first() else { return Vec::new() };
    let bundle = Tile::of_size(Kind::Entries, first.index / TILE_WIDTH, size)
        .and_then(|tile| folder.read(&tile.path()).ok().flatten());
    let Some(logged) = bundle.as_deref().and_then(entry::split) else { return Vec::new() };
    page.iter()
        .filter(|entry| {
            let at = usize::try_from(entry.index % TILE_WIDTH).ok();
            let logged = at.and_then(|at| logged.get(at));
            entry.index < size && logged.is_some_and(|logged| *logged != entry.body.as_bytes())
        })
        .map(|entry| entry.index)
        .collect()
}
