//! Writing into a folder or a bucket so that what is half written never looks whole: the manifest comes last, and only
//! after everything was read back. It owns files, objects and their order; what is in them is `take`'s.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::place::Place;
use crate::gather::Trouble;
use crate::id::ExportId;
use crate::stores::s3::depot::{Depot, Writing};
use crate::stores::{Body, ErrorKind, PIECE_BYTES, Retry, StoreError};

/// Says which export is being written; it goes once that is whole.
const MARK: &str = "export.partial";

/// The manifest before everything was read back.
pub(super) const UNPROVEN: &str = "manifest.json.partial";

/// The manifest; an export without it is none.
pub(crate) const MANIFEST: &str = "manifest.json";

/// What an export consists of beside.
const PARTS: [&str; 2] = ["records", "objects"];

/// What is taken of what a try left in a bucket: keys, and what keys begin with. Whatever else lies below the
/// same prefix is somebody else's.
const OWN: [&str; 3] = ["records/", "objects/", UNPROVEN];

/// An opened target.
#[derive(Debug)]
pub(super) enum Target {
    Folder(PathBuf),
    Bucket(Depot, String),
}

/// What lies in a target before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing, or what is left of an earlier try of the same export.
    Free,
    /// The same export, whole.
    Whole,
}

/// A file that was written, or read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Target {
    pub(super) async fn open(place: &Place) -> Result<Self, Trouble> {
        Ok(match place {
            Place::Folder(path) => Self::Folder(path.clone()),
            Place::Bucket(id, settings, prefix) => {
                Self::Bucket(Depot::open(id, settings).await?, prefix.clone())
            }
        })
    }

    /// What lies there. Anything but this export's own is refused.
    pub(super) async fn before(&self, id: &ExportId) -> Result<Before, Trouble> {
        let names = self.names().await?;
        if names.is_empty() {
            return Ok(Before::Free);
        }
        if let Some(head) = self.head(MANIFEST).await? {
            let is_own = head.contains(&format!("\"export_id\":\"{id}\""));
            return if is_own { Ok(Before::Whole) } else { Err(taken("it holds another export")) };
        }
        match self.head(MARK).await? {
            Some(head) if head.trim() == id.as_str() => Ok(Before::Free),
            Some(_) => Err(taken("another export is being written there, or was left unfinished")),
            None => Err(taken("it is not empty")),
        }
    }

    /// True where an export was finished there.
    pub(super) async fn is_whole(&self) -> Result<bool, Trouble> {
        Ok(self.head(MANIFEST).await?.is_some())
    }

    /// Takes what an earlier try of this export left, and leaves its mark.
    pub(super) async fn begin(&self, id: &ExportId) -> Result<(), Trouble> {
        match self {
            Self::Folder(root) => {
                let (root, id) = (root.clone(), id.clone());
                blocking(move || begin_in_folder(&root, &id)).await
            }
            Self::Bucket(depot, prefix) => {
                for own in OWN {
                    depot.clear(&format!("{prefix}{own}")).await?;
                }
                depot.give_up(&format!("{prefix}{MANIFEST}")).await?;
                let mut writing = depot.write(format!("{prefix}{MARK}"));
                writing.add(id.as_str().as_bytes()).await?;
                Ok(writing.close().await?)
            }
        }
    }

    /// Begins a file. `None` where a folder has its name, or a file stands where its folder would be.
    pub(super) async fn create(&self, name: &str) -> Result<Option<Sheet>, Trouble> {
        let to = match self {
            Self::Folder(root) => {
                let path = root.join(name);
                let made = blocking(move || make_file(&path)).await?;
                match made {
                    Some(file) => To::File(Some(file), Vec::new()),
                    None => return Ok(None),
                }
            }
            Self::Bucket(depot, prefix) => To::Object(depot.write(format!("{prefix}{name}"))),
        };
        Ok(Some(Sheet { name: name.to_owned(), to, bytes: 0, digest: Sha256::new() }))
    }

    /// The bytes of a file; `None` where there is none.
    pub(super) async fn read(&self, name: &str) -> Result<Option<Body>, Trouble> {
        match self {
            Self::Folder(root) => read_file(root.join(name)).await,
            Self::Bucket(depot, prefix) => Ok(depot.read(&format!("{prefix}{name}")).await?),
        }
    }

    /// Reads a file back and says what is in it; `None` where there is none.
    pub(super) async fn read_back(&self, name: &str) -> Result<Option<Written>, Trouble> {
        let Some(mut body) = self.read(name).await? else { return Ok(None) };
        let (mut bytes, mut digest) = (0, Sha256::new());
        while let Some(piece) = body.next(broken).await? {
            bytes += piece.len() as u64;
            digest.update(&piece);
        }
        Ok(Some(Written { name: name.to_owned(), bytes, sha256: hex::encode(digest.finalize()) }))
    }

    /// The manifest takes its name: from now on the export is whole. Everything else is durable before.
    pub(super) async fn publish(&self) -> Result<(), Trouble> {
        match self {
            Self::Folder(root) => {
                let root = root.clone();
                blocking(move || publish_in_folder(&root)).await
            }
            Self::Bucket(depot, prefix) => {
                let (from, to) = (format!("{prefix}{UNPROVEN}"), format!("{prefix}{MANIFEST}"));
                let Some(mut body) = depot.read(&from).await? else { return Err(Trouble::from(broken())) };
                let mut writing = depot.write(to);
                while let Some(piece) = body.next(broken).await? {
                    writing.add(&piece).await?;
                }
                writing.close().await?;
                depot.remove(&from).await?;
                Ok(depot.remove(&format!("{prefix}{MARK}")).await?)
            }
        }
    }

    async fn names(&self) -> Result<Vec<String>, Trouble> {
        match self {
            Self::Folder(root) => {
                let root = root.clone();
                blocking(move || match std::fs::read_dir(&root) {
                    Ok(entries) => entries
                        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                        .collect::<std::io::Result<Vec<String>>>(),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
                    Err(error) => Err(error),
                })
                .await
            }
            Self::Bucket(depot, prefix) => Ok(depot.keys(prefix).await?),
        }
    }

    /// The first bytes of a file, as text.
    async fn head(&self, name: &str) -> Result<Option<String>, Trouble> {
        let Some(mut body) = self.read(name).await? else { return Ok(None) };
        let first = body.next(broken).await?.unwrap_or_default();
        let first = first.get(..first.len().min(1_000)).unwrap_or_default();
        Ok(Some(String::from_utf8_lossy(first).into_owned()))
    }
}

/// A file that is being written. It counts what it is given.
#[derive(Debug)]
pub(super) struct Sheet {
    name: String,
    to: To,
    bytes: u64,
    digest: Sha256,
}

#[derive(Debug)]
enum To {
    /// The file, away while it is written to, and what waits to be written.
    File(Option<std::fs::File>, Vec<u8>),
    Object(Writing),
}

impl Sheet {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.bytes += bytes.len() as u64;
        self.digest.update(bytes);
        match &mut self.to {
            To::Object(writing) => Ok(writing.add(bytes).await?),
            To::File(file, waiting) => {
                waiting.extend_from_slice(bytes);
                if waiting.len() < PIECE_BYTES {
                    return Ok(());
                }
                let (bytes, open) = (std::mem::take(waiting), file.take());
                *file = blocking(move || append(open, &bytes)).await?;
                Ok(())
            }
        }
    }

    /// It is durable, with all that it was given.
    pub(super) async fn close(self) -> Result<Written, Trouble> {
        match self.to {
            To::Object(writing) => writing.close().await?,
            To::File(file, waiting) => {
                blocking(move || match append(file, &waiting)? {
                    Some(file) => file.sync_all(),
                    None => Ok(()),
                })
                .await?;
            }
        }
        Ok(Written { name: self.name, bytes: self.bytes, sha256: hex::encode(self.digest.finalize()) })
    }
}

/// What is said where a stream of our own breaks off.
pub(super) fn broken() -> StoreError {
    StoreError {
        kind: ErrorKind::Unreachable,
        retry: Retry::Later,
        operation: "read bytes",
        store: crate::id::StoreId::new("export"),
        message: "they broke off".to_owned(),
    }
}

fn taken(why: &str) -> Trouble {
    Trouble::Schema(format!("failed to use the export's target: {why}"))
}

/// Runs what may block on a disk. The text of an error names no file: names may hold a subject's value.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Trouble> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Trouble::Unreachable(format!("failed to write the export: {error}"))),
        Err(_) => Err(Trouble::Unreachable("failed to write the export: the work broke off".to_owned())),
    }
}

fn make_folders(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn begin_in_folder(root: &Path, id: &ExportId) -> std::io::Result<()> {
    make_folders(root)?;
    let mark = root.join(MARK);
    match new_file(&mark) {
        Ok(mut file) => {
            file.write_all(id.as_str().as_bytes())?;
            file.sync_all()?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            if std::fs::read_to_string(&mark)?.trim() != id.as_str() {
                return Err(std::io::Error::other("another export is being written there"));
            }
        }
        Err(error) => return Err(error),
    }
    for part in PARTS {
        match std::fs::remove_dir_all(root.join(part)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    match std::fs::remove_file(root.join(UNPROVEN)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::File::open(root)?.sync_all()
}

/// For its owner alone, and never over something that is there, be it a link.
fn new_file(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn make_file(path: &Path) -> std::io::Result<Option<std::fs::File>> {
    use std::io::ErrorKind::{AlreadyExists, IsADirectory, NotADirectory};
    let made = path.parent().map_or(Ok(()), make_folders).and_then(|()| new_file(path));
    match made {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.kind(), AlreadyExists | IsADirectory | NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

fn append(file: Option<std::fs::File>, bytes: &[u8]) -> std::io::Result<Option<std::fs::File>> {
    let Some(mut file) = file else {
        return Err(std::io::Error::other("an earlier write to the file broke off"));
    };
    file.write_all(bytes)?;
    Ok(Some(file))
}

fn publish_in_folder(root: &Path) -> std::io::Result<()> {
    let mut folders = BTreeSet::from([root.to_owned()]);
    for part in PARTS {
        collect_folders(&root.join(part), &mut folders)?;
    }
    for folder in &folders {
        std::fs::File::open(folder)?.sync_all()?;
    }
    std::fs::rename(root.join(UNPROVEN), root.join(MANIFEST))?;
    std::fs::File::open(root)?.sync_all()?;
    std::fs::remove_file(root.join(MARK))?;
    std::fs::File::open(root)?.sync_all()
}

fn collect_folders(folder: &Path, folders: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    folders.insert(folder.to_owned());
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_folders(&entry.path(), folders)?;
        }
    }
    Ok(())
}

async fn read_file(path: PathBuf) -> Result<Option<Body>, Trouble> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let opened = blocking(move || match std::fs::File::open(&path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        Err(error) => Err(error),
    });
    let Some(mut file) = opened.await? else { return Ok(None) };
    let (pieces, body) = Body::channel();
    drop(tokio::spawn(async move {
        loop {
            // One piece at a time: no thread waits for who reads.
            match blocking(move || next_piece(file)).await {
                Ok((_, piece)) if piece.is_empty() => return pieces.end(Ok(())).await,
                Ok((open, piece)) => {
                    file = open;
                    if pieces.give(piece).await.is_err() {
                        return;
                    }
                }
                Err(_) => return pieces.end(Err(broken())).await,
            }
        }
    }));
    Ok(Some(body))
}

fn next_piece(mut file: std::fs::File) -> std::io::Result<(std::fs::File, Vec<u8>)> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(read) => {
                piece.truncate(read);
                return Ok((file, piece));
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
