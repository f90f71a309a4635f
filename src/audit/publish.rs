//! Brings the log's folder up to the ledger: tiles first, then the head in the ledger, then the signature.
//! It owns the order of these writes; it never signs what does not continue everything that was signed before.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::entry;
use crate::audit::folder::{Access, CHECKPOINT, Folder, TILES};
use crate::audit::key::LogKey;
use crate::audit::layout::{Edge, Kind, TILE_WIDTH, Tile, levels_of};
use crate::audit::merkle::{Hash, empty_root, leaf_hash};
use crate::audit::{AuditError, Head, KEY_ENTRY, entry_pages, origin_of};
use crate::ledger::Ledger;

/// Everything that the ledger holds is in the log, and the log's checkpoint is signed, once this returns. Without
/// new entries it reads a few small files and writes nothing; a ledger without entries makes no log.
///
/// *Properties.* Safe to call from any process at any time and after any crash. What a crash left half done is
/// completed. A checkpoint is signed only after its head is durable in the ledger. Where the tiles on the right edge
/// are missing or damaged, all tiles are made anew from the ledger, if it still has what was signed.
///
/// # Errors
/// [`AuditError::Refused`] where the ledger and the log do not belong together or do not continue each other, where
/// the key is missing beside a log that is not empty, and where an entry is not fit for the log.
pub async fn publish(ledger: &dyn Ledger, dir: &Path, now: DateTime<Utc>) -> Result<Head, AuditError> {
    run(ledger, dir, now, From::TheEdge).await
}

/// As [`publish`], but reads all entries and repairs every tile and bundle that is missing or differs.
///
/// # Errors
/// As [`publish`].
pub async fn rebuild(ledger: &dyn Ledger, dir: &Path, now: DateTime<Utc>) -> Result<Head, AuditError> {
    run(ledger, dir, now, From::TheStart).await
}

/// Where the writing begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    TheEdge,
    TheStart,
}

async fn run(ledger: &dyn Ledger, dir: &Path, now: DateTime<Utc>, from: From) -> Result<Head, AuditError> {
    if ledger.entry_count().await? == 0 && ledger.head().await?.is_none() && !Folder::new(dir).has(CHECKPOINT)
    {
        return Ok(Head { size: 0, root: hex::encode(empty_root()) });
    }
    let _claim = ledger.claim_audit().await?;
    let origin = origin_of(&ledger.ledger_id().await?);
    let mut folder = Folder::new(dir);
    folder.make_root()?;
    folder.remove_temporary()?;
    let promised = ledger.head().await?.map(|head| promised_of(&head)).transpose()?;

    let key = open_key(ledger, &mut folder, &origin, promised.is_some(), now).await?;
    let signed = signed_head(&folder, &key)?;
    let count = ledger.entry_count().await?;
    refuse_what_is_older(signed.as_ref(), promised, count)?;

    let signed = signed.map_or((0, empty_root()), |c| (c.size, c.root));
    let resumed = match from {
        From::TheEdge => resume(ledger, &folder, signed).await?,
        From::TheStart => None,
    };
    let writer = match resumed {
        Some(writer) => writer,
        None => Writer::new(folder, Edge::default(), Vec::new()),
    };
    // What was promised earlier is compared before a byte is written, so that a ledger that tells another story
    // never overwrites the evidence against it.
    let promises = promised.into_iter().chain([signed]).collect::<Vec<_>>();
    keep_promises(ledger, &writer, &promises).await?;

    let head = Writer::fill(writer, ledger, count, &key, signed).await?;
    tracing::info!(target: "retentiond::audit", size = head.size, root = %head.root, published_at = %now, "audit log published");
    Ok(head)
}

/// The log's key. It is made where nothing was ever published, and only there: a key that is missing beside a log
/// that is not empty would let anyone start the log anew.
async fn open_key(
    ledger: &dyn Ledger,
    folder: &mut Folder,
    origin: &str,
    head_is_known: bool,
    now: DateTime<Utc>,
) -> Result<LogKey, AuditError> {
    if let Some(key) = LogKey::load(folder, origin)? {
        return Ok(key);
    }
    if head_is_known || folder.has(CHECKPOINT) || folder.has(TILES) {
        return Err(AuditError::Refused(
            "log.key is missing, but the audit log is not empty; hint: restore the audit folder, log.key included, \
             from its backup"
                .into(),
        ));
    }
    let key = LogKey::generate(origin)?;
    // The entry comes first: where a crash follows, the next key writes another one, and the last one counts.
    ledger.record_entry(KEY_ENTRY, json!({ "verifier": key.verifier().to_string() }), now).await?;
    key.save(folder)?;
    Ok(key)
}

/// The checkpoint in the folder, where there is one.
fn signed_head(folder: &Folder, key: &LogKey) -> Result<Option<Checkpoint>, AuditError> {
    let Some(note) = folder.read(CHECKPOINT)? else { return Ok(None) };
    Checkpoint::open(&note, key.verifier())
        .map(Some)
        .map_err(|error| AuditError::Refused(format!("the audit log's checkpoint is not accepted: {error}")))
}

/// The head is durable in the ledger before it is signed, so a ledger can be ahead of the log, never behind it.
pub(crate) fn refuse_what_is_older(
    signed: Option<&Checkpoint>,
    promised: Option<(u64, Hash)>,
    count: u64,
) -> Result<(), AuditError> {
    let signed_size = signed.map_or(0, |checkpoint| checkpoint.size);
    let (promised_size, promised_root) = promised.unwrap_or((0, empty_root()));
    let needed = signed_size.max(promised_size);
    if count < needed {
        return Err(AuditError::Refused(format!(
            "the ledger is older than the audit log: it has {count} entries, the log {needed}"
        )));
    }
    if promised_size < signed_size {
        return Err(AuditError::Refused(format!(
            "the ledger is older than the audit log: it knows of {promised_size} published entries, the log has \
             {signed_size}"
        )));
    }
    match signed {
        Some(checkpoint) if checkpoint.size == promised_size && checkpoint.root != promised_root => {
            Err(AuditError::Refused(format!(
                "the audit log has forked: at {signed_size} entries the ledger's root is {}, the log's {}",
                hex::encode(promised_root),
                hex::encode(checkpoint.root)
            )))
        }
        Some(_) | None => Ok(()),
    }
}

/// Continues at the right edge of the signed log; `None` where its tiles do not give the signed root.
async fn resume(
    ledger: &dyn Ledger,
    folder: &Folder,
    (size, root): (u64, Hash),
) -> Result<Option<Writer>, AuditError> {
    let edge = match folder.edge(size) {
        Ok(Some(edge)) if edge.root() == root => edge,
        Ok(_) | Err(_) => return Ok(None),
    };
    let bodies = open_entries(ledger, &edge).await?;
    let mut bundle = Vec::new();
    for body in &bodies {
        append(&mut bundle, body, size)?;
    }
    if let Some(tile) = Tile::of_size(Kind::Entries, size / TILE_WIDTH, size)
        && folder.read(&tile.path()).ok().flatten().as_ref() != Some(&bundle)
    {
        return Ok(None);
    }
    Ok(Some(Writer::new(Folder::new(folder.path()), edge, bundle)))
}

/// The entries of the bundle that is not yet full, which must be those that were signed.
pub(crate) async fn open_entries(ledger: &dyn Ledger, edge: &Edge) -> Result<Vec<String>, AuditError> {
    let leaves = edge.open_leaves();
    let from = edge.size() - edge.size() % TILE_WIDTH;
    let mut bodies = Vec::new();
    let mut pages = entry_pages(ledger, from, edge.size());
    while let Some(page) = pages.next().await? {
        for entry in page {
            let known = usize::try_from(entry.index - from).ok().and_then(|at| leaves.get(at));
            if known != Some(&leaf_hash(entry.body.as_bytes())) {
                return Err(AuditError::Refused(format!(
                    "the ledger's entry {} is not the one that was signed",
                    entry.index
                )));
            }
            bodies.push(entry.body);
        }
    }
    Ok(bodies)
}

/// Compares what the ledger holds now with every head that was promised or signed.
async fn keep_promises(
    ledger: &dyn Ledger,
    writer: &Writer,
    promises: &[(u64, Hash)],
) -> Result<(), AuditError> {
    let mut ahead: Vec<_> = promises.iter().filter(|(size, _)| *size >= writer.edge.size()).collect();
    ahead.sort_by_key(|(size, _)| *size);
    let mut edge = writer.edge.clone();
    for (size, root) in ahead {
        let mut pages = entry_pages(ledger, edge.size(), *size);
        while let Some(page) = pages.next().await? {
            for entry in page {
                edge.push(leaf_hash(entry.body.as_bytes()));
            }
        }
        if edge.root() != *root {
            return Err(AuditError::Refused(format!(
                "the ledger's first {size} entries are not those that were signed: their root is {}, the signed one {}",
                hex::encode(edge.root()),
                hex::encode(root)
            )));
        }
    }
    Ok(())
}

/// Writes tiles and bundles from left to right.
struct Writer {
    folder: Folder,
    edge: Edge,
    /// The bundle that is not yet full, as bytes.
    bundle: Vec<u8>,
    from: u64,
}

impl Writer {
    fn new(folder: Folder, edge: Edge, bundle: Vec<u8>) -> Self {
        let from = edge.size();
        Self { folder, edge, bundle, from }
    }

    /// Takes the ledger's entries in up to `count`, and signs the result.
    async fn fill(
        mut self,
        ledger: &dyn Ledger,
        count: u64,
        key: &LogKey,
        signed: (u64, Hash),
    ) -> Result<Head, AuditError> {
        let mut pages = entry_pages(ledger, self.from, count);
        while let Some(page) = pages.next().await? {
            self = blocking(move || {
                for entry in &page {
                    self.push(&entry.body)?;
                }
                Ok(self)
            })
            .await?;
        }
        let checkpoint =
            Checkpoint { origin: key.verifier().name().to_owned(), size: count, root: self.edge.root() };
        let head = Head { size: count, root: hex::encode(checkpoint.root) };
        if self.from == count && (count, checkpoint.root) == signed {
            return Ok(head);
        }
        self = blocking(move || {
            self.write_edge()?;
            Ok(self)
        })
        .await?;
        // Durable before the signature leaves this function: a later signature can only continue this one.
        ledger.set_head(&head).await?;
        let note = key.sign(&checkpoint)?;
        blocking(move || {
            self.folder.write(CHECKPOINT, note.as_bytes(), Access::Shared)?;
            self.folder.sync()?;
            self.clean()
        })
        .await?;
        Ok(head)
    }

    fn push(&mut self, body: &str) -> Result<(), AuditError> {
        let index = self.edge.size();
        if let Some(fault) = entry::fault_of(body) {
            return Err(AuditError::Refused(format!(
                "the ledger's entry {index} is not fit for the log: {fault}"
            )));
        }
        append(&mut self.bundle, body, index)?;
        let filled = self.edge.push(leaf_hash(body.as_bytes()));
        for (tile, hashes) in filled {
            self.folder.write(&tile.path(), hashes.as_flattened(), Access::Shared)?;
            if tile.kind == Kind::Hashes(0) {
                let bundle = Tile { kind: Kind::Entries, ..tile };
                self.folder.write(&bundle.path(), &self.bundle, Access::Shared)?;
                self.bundle.clear();
            }
        }
        Ok(())
    }

    /// The whole tree of this size is on disk for good once this returns.
    fn write_edge(&mut self) -> Result<(), AuditError> {
        for (tile, hashes) in self.edge.partials() {
            self.folder.write(&tile.path(), hashes.as_flattened(), Access::Shared)?;
        }
        if !self.bundle.is_empty() {
            let size = self.edge.size();
            if let Some(tile) = Tile::of_size(Kind::Entries, size / TILE_WIDTH, size) {
                self.folder.write(&tile.path(), &self.bundle, Access::Shared)?;
            }
        }
        self.folder.sync()
    }

    /// Removes the partial pieces that larger ones have replaced since.
    fn clean(mut self) -> Result<(), AuditError> {
        let size = self.edge.size();
        for kind in (0..levels_of(size)).map(Kind::Hashes).chain([Kind::Entries]) {
            let first = match kind {
                Kind::Hashes(level) => self.from >> (8 * (level + 1)).min(63),
                Kind::Entries => self.from / TILE_WIDTH,
            };
            for index in first.. {
                let Some(tile) = Tile::of_size(kind, index, size) else { break };
                self.folder.remove_partials(tile)?;
            }
        }
        self.folder.sync()
    }
}

/// The head as the ledger has it, with its root as bytes.
pub(crate) fn promised_of(head: &Head) -> Result<(u64, Hash), AuditError> {
    let mut root = [0; 32];
    hex::decode_to_slice(&head.root, &mut root)
        .map_err(|_| AuditError::Refused("the ledger's head of the audit log is not a hash".into()))?;
    Ok((head.size, root))
}

/// Runs work on files where it holds up nobody else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AuditError> + Send + 'static,
) -> Result<T, AuditError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| AuditError::Refused(format!("the work on the audit log broke off: {error}")))?
}

fn append(bundle: &mut Vec<u8>, body: &str, index: u64) -> Result<(), AuditError> {
    entry::append(bundle, body)
        .ok_or_else(|| AuditError::Refused(format!("the ledger's entry {index} is too large for the log")))
}
