//! The log's folder on disk: whole files read and written so that a crash leaves the old or the new one.
//! It owns paths, modes and `fsync`; it does not know what the files mean.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::audit::AuditError;
use crate::audit::layout::{Edge, Kind, Tile};
use crate::audit::merkle::{Hash, Node};

/// The one name under which new content is written before it is renamed into place. One name is enough, since the
/// ledger lets only one process write the log, and it is simply overwritten where a crash left it.
pub(crate) const TEMPORARY: &str = ".new";

/// Names at the top of the folder.
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const KEY: &str = "log.key";
pub(crate) const PUBLIC_KEY: &str = "log.key.pub";
pub(crate) const TILES: &str = "tile";
/// Only in an exported log: the same entries, one a line.
pub(crate) const LINES: &str = "entries.jsonl";

/// A full bundle of the largest entries that the format allows; nothing larger is ever read.
const FILE_BYTES_MAX: u64 = 256 * (2 + 65_535);

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only its owner.
    Secret,
    /// Whoever may enter the folder.
    Shared,
}

/// The folder, with the sub-folders whose names are not yet on disk for good.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    unsynced: BTreeSet<PathBuf>,
}

impl Folder {
    /// Names the folder; touches nothing.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), unsynced: BTreeSet::new() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// True where something of this name is there, whatever it is.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path.join(name).symlink_metadata().is_ok()
    }

    /// The content of a file; `None` where it is not there. Links are not followed.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, AuditError> {
        let failed = |error: io::Error| failed("read", name, &error);
        let Some(file) = self.open(name)? else { return Ok(None) };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(failed(io::Error::other("it is not a file of the log's size")));
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// A file for reading; `None` where it is not there. Links are not followed.
    pub(crate) fn open(&self, name: &str) -> Result<Option<File>, AuditError> {
        let no_follow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(no_follow.bits()).unwrap_or(0);
        match OpenOptions::new().read(true).custom_flags(flags).open(self.path.join(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(failed("open", name, &error)),
        }
    }

    /// The hashes of a tile; `None` where it is missing or has another length.
    pub(crate) fn hashes(&self, tile: Tile) -> Result<Option<Vec<Hash>>, AuditError> {
        let Some(bytes) = self.read(&tile.path())? else { return Ok(None) };
        let (hashes, rest) = bytes.as_chunks::<32>();
        let complete = rest.is_empty() && u64::try_from(hashes.len()) == Ok(tile.width);
        Ok(complete.then(|| hashes.to_vec()))
    }

    /// The edge of a log of `size` entries; `None` where a tile of it is missing or has another length.
    pub(crate) fn edge(&self, size: u64) -> Result<Option<Edge>, AuditError> {
        let mut levels = Vec::new();
        for tile in Edge::tiles(size) {
            match tile {
                None => levels.push(Vec::new()),
                Some(tile) => match self.hashes(tile)? {
                    Some(hashes) => levels.push(hashes),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(Edge::resume(size, levels)))
    }

    /// The hash of a complete subtree in a log of `size` entries, out of the tiles.
    pub(crate) fn node(&self, node: Node, size: u64) -> Result<Hash, AuditError> {
        let (level, height) = (node.level / 8, node.level % 8);
        let first = node.index << height;
        let tile = Tile::of_size(Kind::Hashes(level), first / 256, size);
        let hashes = match tile {
            Some(tile) => self.hashes(tile)?,
            None => None,
        };
        let start = usize::try_from(first % 256).unwrap_or(usize::MAX);
        hashes
            .as_deref()
            .and_then(|hashes| hashes.get(start..)?.get(..1 << height))
            .map(|hashes| crate::audit::merkle::root_of(hashes.iter().copied()))
            .ok_or_else(|| AuditError::Damaged("a tile that the proof needs is missing or cut".into()))
    }

    /// The file has this content once this returns; its name is on disk for good after [`Folder::sync`]. A file that
    /// has this content already is left alone.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8], access: Access) -> Result<(), AuditError> {
        if self.read(name).is_ok_and(|present| present.as_deref() == Some(bytes)) {
            return Ok(());
        }
        let mode = match access {
            Access::Secret => 0o600,
            Access::Shared => 0o644,
        };
        let target = self.path.join(name);
        let temporary = self.path.join(TEMPORARY);
        let write = || -> io::Result<()> {
            // Made anew each time, so that the mode holds and no link is written through.
            remove_file(&temporary)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &target)
        };
        if let Some(parent) = Path::new(name).parent() {
            self.make(parent)?;
            self.unsynced.insert(self.path.join(parent));
        }
        write().map_err(|error| failed("write", name, &error))
    }

    /// Makes the folder itself, readable by its owner's group at most.
    pub(crate) fn make_root(&mut self) -> Result<(), AuditError> {
        if !self.path.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(&self.path)
                .map_err(|error| failed("make the folder of", "the log", &error))?;
            if let Some(parent) = self.path.parent() {
                self.unsynced.insert(parent.to_owned());
            }
        }
        Ok(())
    }

    /// Every name written or removed so far is on disk for good once this returns.
    pub(crate) fn sync(&mut self) -> Result<(), AuditError> {
        for directory in std::mem::take(&mut self.unsynced) {
            // The parent of a relative path of one component is the empty path, which means here.
            let directory = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };
            File::open(&directory)
                .and_then(|file| file.sync_all())
                .map_err(|error| failed("write", &directory.display().to_string(), &error))?;
        }
        Ok(())
    }

    /// Removes what a crash may have left of an unfinished write.
    pub(crate) fn remove_temporary(&self) -> Result<(), AuditError> {
        remove_file(&self.path.join(TEMPORARY)).map_err(|error| failed("remove", TEMPORARY, &error))
    }

    /// Removes the partial versions of a piece but the one that is to stay.
    pub(crate) fn remove_partials(&mut self, tile: Tile) -> Result<(), AuditError> {
        let name = tile.partials_path();
        let directory = self.path.join(&name);
        let keep = self.path.join(tile.path());
        let failed = |error: io::Error| failed("remove", &name, &error);
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let mut kept = false;
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path == keep {
                kept = true;
            } else {
                remove_file(&path).map_err(failed)?;
            }
        }
        if kept {
            self.unsynced.insert(directory);
        } else {
            std::fs::remove_dir(&directory).map_err(failed)?;
            self.unsynced.remove(&directory);
            self.unsynced.extend(directory.parent().map(Path::to_owned));
        }
        Ok(())
    }

    /// Makes the missing folders of a path, and remembers the parents whose names have changed.
    fn make(&mut self, below: &Path) -> Result<(), AuditError> {
        let mut at = self.path.clone();
        for component in below.components() {
            let parent = at.clone();
            at.push(component);
            match std::fs::create_dir(&at) {
                Ok(()) => {
                    self.unsynced.insert(parent);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("make the folder", &below.display().to_string(), &error)),
            }
        }
        Ok(())
    }
}

/// An error at a file of the log.
pub(crate) fn failed(operation: &'static str, name: &str, error: &io::Error) -> AuditError {
    AuditError::Files { operation, name: name.to_owned(), message: error.to_string().to_lowercase() }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
