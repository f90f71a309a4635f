//! The tamper-evident log: every audit entry of the ledger in a Merkle tree whose head is signed.
//! It owns publishing, checking and handing out the log; what an entry says is the ledger's business.

pub mod certify;
pub mod checkpoint;
pub mod entry;
mod folder;
mod key;
mod layout;
pub mod merkle;
mod publish;
pub mod receipt;
mod verify;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::Serialize;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::folder::{Access, CHECKPOINT, Folder, LINES, PUBLIC_KEY, TILES, failed};
use crate::audit::layout::{Kind, Tile, tiles_of};
use crate::ledger::{Entry, Head, Ledger, LedgerError};

pub use publish::{publish, rebuild};
pub use verify::{Finding, Verdict, verify};

/// Kind of the entry that records the log's public key.
pub(crate) const KEY_ENTRY: &str = "log-key";

/// Entries that are asked of the ledger at once: one bundle.
const PAGE_ENTRIES: u32 = 256;

/// What went wrong at the audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file of the log cannot be read or written (exit 1).
    #[error("failed to {operation} `{name}` in the audit log: {message}")]
    Files {
        /// What was being done, as a verb.
        operation: &'static str,
        /// Which file.
        name: String,
        /// A lower-case fragment.
        message: String,
    },
    /// Ledger, key and log do not belong together or do not continue each other: nothing is signed (exit 3).
    #[error("{0}")]
    Refused(String),
    /// What is in the log is not what was signed (exit 5).
    #[error("the audit log is damaged: {0}")]
    Damaged(String),
    /// What was asked for is not there, or a folder is not empty (exit 2).
    #[error("{0}")]
    Usage(String),
}

impl AuditError {
    /// The exit code that tells it to scripts.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Ledger(LedgerError::Unreachable { .. }) | Self::Files { .. } => 1,
            Self::Ledger(LedgerError::Unknown { .. } | LedgerError::State(_)) | Self::Usage(_) => 2,
            Self::Ledger(LedgerError::Doubt(_)) | Self::Refused(_) => 3,
            Self::Damaged(_) => 5,
        }
    }
}

/// An entry as `audit show` gives it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// Counted from 0.
    pub index: u64,
    /// What it says.
    pub entry: serde_json::Value,
}

/// The name of the log of this ledger.
pub fn origin_of(ledger_id: &str) -> String {
    format!("retentiond/{ledger_id}")
}

/// A quick look before anything is planned: says why the ledger cannot be the one that wrote this log, or is an older
/// copy of it. A lost ledger would have lost every hold. `None` where nothing speaks against it.
///
/// *Properties.* Its cost does not grow with the log. It compares names, sizes, the last head and the last entries;
/// [`verify`] compares all.
///
/// # Errors
/// Where the ledger or the folder cannot be read.
pub async fn doubt(dir: &Path, ledger: Option<&dyn Ledger>) -> Result<Option<String>, AuditError> {
    let folder = Folder::new(dir);
    let note = match folder.read(CHECKPOINT)? {
        Some(note) => note,
        None => {
            let doubt = doubt_without_checkpoint(&folder, ledger).await?;
            // The first checkpoint may have been published while the ledger was asked.
            match folder.read(CHECKPOINT)?.filter(|_| doubt.is_some()) {
                Some(note) => note,
                None => return Ok(doubt),
            }
        }
    };
    let signed = match key::public(&folder)? {
        None => return Ok(Some("the audit log's public key log.key.pub is missing".into())),
        Some(Err(error)) => return Ok(Some(format!("the audit log's public key is not accepted: {error}"))),
        Some(Ok(key)) => match Checkpoint::open(&note, &key) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return Ok(Some(format!("the audit log's checkpoint is not accepted: {error}"))),
        },
    };
    if signed.size == 0 {
        return Ok(None);
    }
    let Some(ledger) = ledger else {
        return Ok(Some(format!(
            "there is no ledger, but an audit log of {} entries; hint: restore the ledger from its backup",
            signed.size
        )));
    };
    let (count, head) = (ledger.entry_count().await?, ledger.head().await?);
    if count > 0 && signed.origin != origin_of(&ledger.ledger_id().await?) {
        return Ok(Some(format!("the audit log `{}` belongs to another ledger", signed.origin)));
    }
    let promised = head.map(|head| publish::promised_of(&head)).transpose();
    let compared = match promised {
        Ok(promised) => publish::refuse_what_is_older(Some(&signed), promised, count),
        Err(error) => Err(error),
    };
    if let Err(error) = compared {
        return refusal(error);
    }
    match folder.edge(signed.size)? {
        // Damage is for `verify` to find and for `publish` to repair; it says nothing about the ledger.
        None => Ok(None),
        Some(edge) => match publish::open_entries(ledger, &edge).await {
            Ok(_) => Ok(None),
            Err(error) => refusal(error),
        },
    }
}

/// Tiles without a checkpoint are what a first publication leaves that broke off, and what someone leaves who took the
/// checkpoint away. The ledger's head tells them apart.
async fn doubt_without_checkpoint(
    folder: &Folder,
    ledger: Option<&dyn Ledger>,
) -> Result<Option<String>, AuditError> {
    if !folder.has(TILES) {
        return Ok(None);
    }
    let Some(ledger) = ledger else {
        return Ok(Some(
            "there is no ledger, but an audit log; hint: restore the ledger from its backup".into(),
        ));
    };
    if ledger.entry_count().await? == 0 {
        return Ok(Some("the ledger is empty, but the audit log beside it is not".into()));
    }
    Ok(None)
}

/// A refusal is a reason to doubt; any other error is an error.
fn refusal(error: AuditError) -> Result<Option<String>, AuditError> {
    match error {
        AuditError::Refused(reason) => Ok(Some(reason)),
        AuditError::Ledger(_) | AuditError::Files { .. } | AuditError::Damaged(_) | AuditError::Usage(_) => {
            Err(error)
        }
    }
}

/// Entries from an index, at most `most`.
///
/// # Errors
/// Where the ledger cannot be read or an entry is not JSON.
pub async fn show(ledger: &dyn Ledger, from: u64, most: u32) -> Result<Vec<Shown>, AuditError> {
    let entries = ledger.entries(from, most).await?;
    entries
        .into_iter()
        .map(|entry| {
            let value = serde_json::from_str(&entry.body)
                .map_err(|_| AuditError::Damaged(format!("entry {} is not JSON", entry.index)))?;
            Ok(Shown { index: entry.index, entry: value })
        })
        .collect()
}

/// The self-contained proof (C2SP `tlog-proof`) that the log holds this entry; whoever has `log.key.pub` and the entry
/// can check it without us.
///
/// # Errors
/// [`AuditError::Usage`] where there is no such entry in the signed log, [`AuditError::Damaged`] where the log's files
/// do not prove it.
pub async fn prove(dir: &Path, index: u64) -> Result<String, AuditError> {
    let folder = Folder::new(dir);
    publish::blocking(move || proof_while_it_grows(&folder, index)).await
}

/// The log may be published while it is read, and what a larger tile replaces goes: then the proof is made anew.
fn proof_while_it_grows(folder: &Folder, index: u64) -> Result<String, AuditError> {
    loop {
        let before = folder.read(CHECKPOINT)?;
        match proof_of(folder, index) {
            Err(AuditError::Damaged(_)) if folder.read(CHECKPOINT)? != before => {}
            done => return done.map(|(_, proof)| proof),
        }
    }
}

/// The signed head of the log, to be checked with its public key.
///
/// # Errors
/// [`AuditError::Usage`] where nothing was published yet, [`AuditError::Damaged`] where it is not accepted.
pub async fn signed_head(dir: &Path) -> Result<String, AuditError> {
    let folder = Folder::new(dir);
    publish::blocking(move || accepted(&folder).map(|(_, note)| note)).await
}

/// A tile of the log by its path, `tile/0/000` for example; `None` where that is not exactly the path of one that is there.
///
/// # Errors
/// Where it cannot be read.
pub async fn tile(dir: &Path, path: &str) -> Result<Option<Vec<u8>>, AuditError> {
    let Some(tile) = Tile::parse(path) else { return Ok(None) };
    let folder = Folder::new(dir);
    publish::blocking(move || folder.read(&tile.path())).await
}

/// A copy of the log is in the new folder `to` once this returns: checkpoint, tiles, public key, and every entry as a
/// line of `entries.jsonl`. The signing key stays where it is. [`verify`] checks the copy as it does the log.
///
/// # Errors
/// [`AuditError::Usage`] where `to` is there and not empty, [`AuditError::Damaged`] where a file of the log is missing.
pub async fn export(dir: &Path, to: &Path) -> Result<Head, AuditError> {
    let (from, to) = (Folder::new(dir), to.to_owned());
    publish::blocking(move || {
        if to.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(AuditError::Usage(format!("the folder `{}` is not empty", to.display())));
        }
        let (checkpoint, note) = accepted(&from)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&to)
            .map_err(|error| failed("make the folder", &to.display().to_string(), &error))?;
        let mut copy = Folder::new(&to);
        for tile in tiles_of(checkpoint.size) {
            let bytes = needed(&from, &tile.path())?;
            copy.write(&tile.path(), &bytes, Access::Shared)?;
        }
        write_lines(&from, &to, checkpoint.size)?;
        copy.write(PUBLIC_KEY, &needed(&from, PUBLIC_KEY)?, Access::Shared)?;
        // Last, so that a copy that broke off is seen to be none.
        copy.write(CHECKPOINT, note.as_bytes(), Access::Shared)?;
        copy.sync()?;
        Ok(Head { size: checkpoint.size, root: hex::encode(checkpoint.root) })
    })
    .await
}

fn write_lines(from: &Folder, to: &Path, size: u64) -> Result<(), AuditError> {
    use std::io::Write;

    let failed = |error: std::io::Error| failed("write", LINES, &error);
    let file = std::fs::File::create_new(to.join(LINES)).map_err(failed)?;
    let mut lines = std::io::BufWriter::new(file);
    for tile in (0..).map_while(|index| Tile::of_size(Kind::Entries, index, size)) {
        let bundle = needed(from, &tile.path())?;
        let entries = entry::split(&bundle)
            .ok_or_else(|| AuditError::Damaged(format!("`{}` cannot be read", tile.path())))?;
        for entry in entries {
            lines.write_all(entry).and_then(|()| lines.write_all(b"\n")).map_err(failed)?;
        }
    }
    lines.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)
}

/// The hash of an entry and the proof text for it, checked once before it is handed out.
fn proof_of(folder: &Folder, index: u64) -> Result<(merkle::Hash, String), AuditError> {
    let (Checkpoint { size, root, .. }, note) = accepted(folder)?;
    let hashes = merkle::inclusion_proof(index, size, |node| folder.node(node, size))?.ok_or_else(|| {
        AuditError::Usage(format!("there is no entry {index} in the signed audit log, which has {size}"))
    })?;
    let leaf = folder.node(merkle::Node { level: 0, index }, size)?;
    if !merkle::verify_inclusion(&leaf, index, size, &hashes, &root) {
        return Err(AuditError::Damaged(format!("its tiles do not prove entry {index}")));
    }
    Ok((leaf, checkpoint::proof_text(index, &hashes, &note)))
}

/// The checkpoint of a log that has one, opened with the public key beside it, and its note.
fn accepted(folder: &Folder) -> Result<(Checkpoint, String), AuditError> {
    let note = folder
        .read(CHECKPOINT)?
        .ok_or_else(|| AuditError::Usage("there is no audit log yet: nothing was recorded".into()))?;
    let key = key::public(folder)?
        .ok_or_else(|| AuditError::Damaged("its public key is missing".into()))?
        .map_err(|error| AuditError::Damaged(format!("its public key is not accepted: {error}")))?;
    let checkpoint = Checkpoint::open(&note, &key)
        .map_err(|error| AuditError::Damaged(format!("its checkpoint is not accepted: {error}")))?;
    Ok((checkpoint, String::from_utf8_lossy(&note).into_owned()))
}

fn needed(folder: &Folder, name: &str) -> Result<Vec<u8>, AuditError> {
    folder.read(name)?.ok_or_else(|| AuditError::Damaged(format!("`{name}` is missing")))
}

/// Reads the ledger's entries from one index up to another, page by page.
pub(crate) struct Pages<'a> {
    ledger: &'a dyn Ledger,
    at: u64,
    to: u64,
}

/// The entries `from..to`.
pub(crate) fn entry_pages(ledger: &dyn Ledger, from: u64, to: u64) -> Pages<'_> {
    Pages { ledger, at: from, to }
}

impl Pages<'_> {
    /// The next page, at most up to the end of a bundle; `None` at the end. An entry that is missing is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Entry>>, AuditError> {
        if self.at >= self.to {
            return Ok(None);
        }
        let page_end = (self.at / u64::from(PAGE_ENTRIES) + 1) * u64::from(PAGE_ENTRIES);
        let most = u32::try_from(page_end.min(self.to) - self.at).unwrap_or(PAGE_ENTRIES);
        let page = self.ledger.entries(self.at, most).await?;
        let expected = self.at..self.at + u64::from(most);
        if !page.iter().map(|entry| entry.index).eq(expected.clone()) {
            let present =
                page.iter().zip(expected.clone()).take_while(|(entry, index)| entry.index == *index);
            let missing = expected.start + present.count() as u64;
            return Err(AuditError::Refused(format!("the ledger lacks audit entry {missing}")));
        }
        self.at = expected.end;
        Ok(Some(page))
    }
}
