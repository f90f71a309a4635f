//! The root of a files store and the only way down from it: by descriptor, one component after the other, no link
//! followed and no other file system entered. It owns opening and the marker's reading; it changes nothing.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::id::StoreId;
use crate::policy::Level;
use crate::stores::{ErrorKind, Identity, Retry, StoreError};

/// The name of the marker in the root. It is never a record.
pub(super) const MARKER: &str = ".retentiond-marker";

/// The marker in another case: where it is found too, the file system folds names and proves nothing.
const MARKER_FOLDED: &str = ".RETENTIOND-MARKER";

/// A marker is a few dozen bytes; a file that is larger is not one.
const MARKER_BYTES_MAX: usize = 64 * 1024;

/// How a directory is opened on the way down.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What the marker says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) ledger_id: String,
    pub(super) store: String,
}

/// What overwriting in place is worth on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    /// New bytes take the place of the old ones.
    InPlace,
    /// As in place, except for files that share blocks with another one (`cp --reflink`), which XFS allows.
    InPlaceUnlessShared,
    /// Copy-on-write, layered, on a network or unknown: old bytes may stay.
    Elsewhere,
}

impl Medium {
    /// By the magic number of `statfs(2)`.
    fn of(magic: i128) -> Self {
        match magic {
            // ext2 to ext4, tmpfs.
            0xEF53 | 0x0102_1994 => Self::InPlace,
            // XFS.
            0x5846_5342 => Self::InPlaceUnlessShared,
            _ => Self::Elsewhere,
        }
    }

    /// The level that zeroing files reaches.
    pub(super) fn zero_level(self) -> Level {
        match self {
            Self::InPlace | Self::InPlaceUnlessShared => Level::Scrubbed,
            Self::Elsewhere => Level::Deleted,
        }
    }
}

/// What is known of a file or directory without opening it, in types that are the same on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileFacts {
    pub(super) kind: FileType,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) single_link: bool,
    pub(super) size: u64,
    pub(super) allocated: u64,
    pub(super) block: u64,
    pub(super) modified_seconds: i64,
    pub(super) modified_nanoseconds: u32,
}

impl FileFacts {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            device: stat.st_dev,
            inode: stat.st_ino,
            single_link: stat.st_nlink == 1,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            allocated: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            block: u64::try_from(stat.st_blksize).unwrap_or(1).max(1),
            modified_seconds: stat.st_mtime,
            modified_nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        }
    }

    /// What tells this file from a later one of the same name.
    pub(super) fn stamp(&self) -> String {
        let Self { device, inode, size, .. } = self;
        let nanoseconds =
            i128::from(self.modified_seconds) * 1_000_000_000 + i128::from(self.modified_nanoseconds);
        format!("{device}:{inode}:{size}:{nanoseconds}")
    }
}

/// An opened root.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) id: StoreId,
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) medium: Medium,
}

impl Root {
    /// Opens the root itself. Refuses the root of the machine, links and what is not a directory.
    pub(super) fn open(id: &StoreId, path: &Path) -> Result<Self, StoreError> {
        let fail = |kind, message: String| StoreError {
            kind,
            retry: if kind == ErrorKind::Unreachable { Retry::Later } else { Retry::Never },
            operation: "open",
            store: id.clone(),
            message,
        };
        // A trailing separator would have the kernel follow a link in spite of O_NOFOLLOW.
        let path: PathBuf = path.components().collect();
        let facts = rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| FileFacts::of(&stat))
            .map_err(|errno| fail(ErrorKind::Unreachable, format!("`{}`: {errno}", path.display())))?;
        if facts.kind == FileType::Symlink {
            return Err(fail(ErrorKind::Refused, format!("`{}` is a symbolic link", path.display())));
        }
        if facts.kind != FileType::Directory {
            return Err(fail(ErrorKind::Refused, format!("`{}` is not a folder", path.display())));
        }
        let fd = rustix::fs::openat(CWD, &path, DIRECTORY, Mode::empty())
            .map_err(|errno| fail(ErrorKind::Unreachable, format!("`{}`: {errno}", path.display())))?;
        let opened = rustix::fs::fstat(&fd)
            .map(|stat| FileFacts::of(&stat))
            .map_err(|errno| fail(ErrorKind::Unreachable, errno.to_string()))?;
        let machine = rustix::fs::statat(CWD, "/", AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| FileFacts::of(&stat))
            .map_err(|errno| fail(ErrorKind::Unreachable, errno.to_string()))?;
        if (opened.device, opened.inode) == (machine.device, machine.inode) {
            return Err(fail(ErrorKind::Refused, "the root of the machine is not a store".into()));
        }
        let magic = rustix::fs::fstatfs(&fd).map(|statfs| i128::from(statfs.f_type)).unwrap_or(0);
        let (device, inode) = (opened.device, opened.inode);
        Ok(Self { id: id.clone(), path, fd, device, inode, medium: Medium::of(magic) })
    }

    /// A second descriptor by the path, for reading back where a restore would read. It must be the same folder.
    pub(super) fn reopen(&self) -> Result<Self, StoreError> {
        let again = Self::open(&self.id, &self.path)?;
        if (again.device, again.inode) == (self.device, self.inode) {
            Ok(again)
        } else {
            let message = "another folder lies at its path than when it was opened".into();
            Err(self.error("read back", ErrorKind::Identity, Retry::Later, message))
        }
    }

    /// What differs between this folder and a copy of it. The number of a device may change whenever a machine starts.
    pub(super) fn fingerprint(&self) -> String {
        format!("inode {}", self.inode)
    }

    /// Opens a directory below an opened one, by one name or by several joined with `/`.
    pub(super) fn descend(&self, from: impl AsFd, relative: &[u8]) -> Result<OwnedFd, Errno> {
        let path = OsStr::from_bytes(relative);
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        // A rename elsewhere in the tree can make the kernel give up once; it says EAGAIN then.
        for _ in 0..16 {
            match rustix::fs::openat2(from.as_fd(), path, DIRECTORY, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                // Old kernels and some sandboxes know no openat2.
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
                    return self.descend_by_component(from, relative);
                }
                done @ (Ok(_) | Err(_)) => return done,
            }
        }
        self.descend_by_component(from, relative)
    }

    fn descend_by_component(&self, from: impl AsFd, relative: &[u8]) -> Result<OwnedFd, Errno> {
        let mut at = from.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?;
        for name in relative.split(|byte| *byte == b'/') {
            if matches!(name, b"" | b"." | b"..") {
                return Err(Errno::XDEV);
            }
            at = rustix::fs::openat(&at, OsStr::from_bytes(name), DIRECTORY, Mode::empty())?;
            if rustix::fs::fstat(&at)?.st_dev != self.device {
                return Err(Errno::XDEV);
            }
        }
        Ok(at)
    }

    /// The directory that holds a file, and the file's name in it. The path must have been proven before.
    pub(super) fn parent_of<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p OsStr), Errno> {
        match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => Ok((self.descend(&self.fd, &path[..at])?, OsStr::from_bytes(&path[at + 1..]))),
            None => Ok((self.fd.try_clone().map_err(|_| Errno::MFILE)?, OsStr::from_bytes(path))),
        }
    }

    /// What lies at a path; `None` where nothing does.
    pub(super) fn facts_at(&self, path: &[u8]) -> Result<Option<FileFacts>, Errno> {
        let found = self
            .parent_of(path)
            .and_then(|(directory, name)| rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW));
        match found {
            Ok(stat) => Ok(Some(FileFacts::of(&stat))),
            // No file can have a name that is too long for its file system.
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Who the store says it is.
    pub(super) fn identity(&self) -> Result<Identity, StoreError> {
        let marker = self.marker()?;
        let (ledger_id, store) = match marker {
            Some(marker) => (Some(marker.ledger_id), Some(marker.store)),
            None => (None, None),
        };
        Ok(Identity { ledger_id, store, fingerprint: self.fingerprint() })
    }

    fn marker(&self) -> Result<Option<Marker>, StoreError> {
        let operation = "read the marker";
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.fd, MARKER, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.errno(operation, errno)),
        };
        let mut text = Vec::new();
        let mut block = vec![0; 4096];
        loop {
            let read = rustix::io::read(&file, &mut block[..]).map_err(|e| self.errno(operation, e))?;
            text.extend_from_slice(&block[..read]);
            if read == 0 || text.len() > MARKER_BYTES_MAX {
                break;
            }
        }
        serde_json::from_slice(&text).map(Some).map_err(|_| {
            self.error(operation, ErrorKind::Identity, Retry::Never, format!("`{MARKER}` cannot be read"))
        })
    }

    /// Fails unless the marker is there: without it, "not found" may only mean that a mount is gone. Fails too
    /// where the file system folds names, for a name would not prove a tenant then.
    pub(super) fn require_marker(&self, operation: &'static str) -> Result<(), StoreError> {
        if self.marker()?.is_none() {
            let message = format!("its marker `{MARKER}` is missing; is the file system mounted?");
            return Err(self.error(operation, ErrorKind::Identity, Retry::Later, message));
        }
        match rustix::fs::statat(&self.fd, MARKER_FOLDED, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.errno(operation, errno)),
            Ok(_) => {
                let message = "its file system does not tell upper from lower case".into();
                Err(self.error(operation, ErrorKind::Refused, Retry::Never, message))
            }
        }
    }

    /// An error of this store. The text must name no file: file names may hold a subject's value.
    pub(super) fn error(
        &self,
        operation: &'static str,
        kind: ErrorKind,
        retry: Retry,
        message: String,
    ) -> StoreError {
        StoreError { kind, retry, operation, store: self.id.clone(), message }
    }

    /// An error of the operating system.
    pub(super) fn errno(&self, operation: &'static str, errno: Errno) -> StoreError {
        match errno {
            Errno::ACCESS | Errno::PERM | Errno::ROFS => {
                self.error(operation, ErrorKind::Refused, Retry::Never, errno.to_string())
            }
            Errno::XDEV => {
                let message = "another file system is mounted below its root".into();
                self.error(operation, ErrorKind::Refused, Retry::Never, message)
            }
            Errno::LOOP | Errno::NOTDIR => {
                let message = "a folder below its root became something else".into();
                self.error(operation, ErrorKind::Refused, Retry::Later, message)
            }
            other => self.error(operation, ErrorKind::Unreachable, Retry::Later, other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_down_follow_no_link_and_never_go_up() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/file"), b"").unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("a/link")).unwrap();
        let root = Root::open(&StoreId::new("s"), folder.path()).unwrap();
        let inode = |fd: OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        let expected = rustix::fs::stat(folder.path().join("a/b")).unwrap().st_ino;
        assert_eq!(root.descend(&root.fd, b"a/b").map(inode), Ok(expected));
        assert_eq!(root.descend_by_component(&root.fd, b"a/b").map(inode), Ok(expected));
        for path in ["a/link", "a/file", "a/none", "..", "a/../..", "/", "/a", "a//b"] {
            let path = path.as_bytes();
            assert!(root.descend_by_component(&root.fd, path).is_err(), "{path:?}");
            // The kernel reads `a//b` as `a/b`, which is no way out; such paths are refused before.
            assert!(path == b"a//b" || root.descend(&root.fd, path).is_err(), "{path:?}");
        }
    }
}
