//! The walk over the files of a prefix placement, forward in byte order of their paths, one directory in memory at
//! each depth. It owns order and tenants; which files are meant is said by `select`. It changes nothing.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::root::{FileFacts, MARKER, Root};
use super::select::has_place;
use crate::id::TenantId;
use crate::policy::template::{TENANT_MARK, tenant_text};
use crate::stores::{ErrorKind, Retry, StoreError};

/// Deeper trees are refused: every depth holds a descriptor, and 1024 of them is a common limit.
const DEPTH_MAX: usize = 128;

/// One file on the walk.
#[derive(Debug)]
pub(super) struct Walked {
    /// Its path below the root.
    pub(super) path: Vec<u8>,
    /// What it is.
    pub(super) kind: FileType,
    /// Whose it is; `None` where its place names nobody.
    pub(super) tenant: Option<TenantId>,
}

/// Whether the directories of a tenant (or of nobody) are entered.
pub(super) type Wanted<'r> = Box<dyn Fn(Option<&TenantId>) -> bool + 'r>;

/// A walk. Symbolic links are walked over like files and never followed.
pub(super) struct Walk<'r> {
    root: &'r Root,
    operation: &'static str,
    template: String,
    components: Vec<String>,
    constant: Option<TenantId>,
    wanted: Wanted<'r>,
    after: Vec<u8>,
    frames: Vec<Frame>,
}

/// A directory that the walk is in.
struct Frame {
    fd: OwnedFd,
    /// Its path with a separator at the end; empty for the root.
    path: Vec<u8>,
    entries: std::vec::IntoIter<Entry>,
}

/// What is left to walk in a directory, in order.
struct Entry {
    /// The name; for a directory with a separator at its end, which makes the order that of whole paths.
    name: Vec<u8>,
    kind: FileType,
    tenant: Whose,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    NotYetSaid,
    Nobody,
    Tenant(TenantId),
}

impl<'r> Walk<'r> {
    /// Begins after a path (at the first file where it is empty). Only directories of tenants that are `wanted` are
    /// entered.
    pub(super) fn begin(
        root: &'r Root,
        operation: &'static str,
        template: &str,
        constant: Option<&TenantId>,
        wanted: Wanted<'r>,
        after: &[u8],
    ) -> Result<Self, StoreError> {
        let mut components: Vec<String> = template.split('/').map(str::to_owned).collect();
        components.pop();
        if let Some(tenant) = constant {
            components.iter_mut().for_each(|part| *part = part.replace(TENANT_MARK, tenant.as_str()));
        }
        let mut walk = Self {
            root,
            operation,
            template: template.to_owned(),
            components,
            constant: constant.cloned(),
            wanted,
            after: after.to_owned(),
            frames: Vec::new(),
        };
        let tenant = match constant {
            Some(tenant) if !has_place(template, tenant) || !(walk.wanted)(Some(tenant)) => return Ok(walk),
            Some(tenant) => Whose::Tenant(tenant.clone()),
            None => Whose::NotYetSaid,
        };
        let fd = walk.root.fd.try_clone().map_err(|_| walk.failed(Errno::MFILE))?;
        walk.enter(fd, Vec::new(), tenant)?;
        Ok(walk)
    }

    /// The next file; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Walked>, StoreError> {
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(None) };
            let Some(entry) = frame.entries.next() else {
                self.frames.pop();
                continue;
            };
            let path = [frame.path.as_slice(), entry.name.as_slice()].concat();
            if entry.kind != FileType::Directory {
                let tenant = match entry.tenant {
                    Whose::Tenant(tenant) => Some(tenant),
                    Whose::Nobody | Whose::NotYetSaid => None,
                };
                return Ok(Some(Walked { path, kind: entry.kind, tenant }));
            }
            let name = entry.name.strip_suffix(b"/").unwrap_or(&entry.name);
            match self.root.descend(&frame.fd, name) {
                Ok(fd) => self.enter(fd, path, entry.tenant)?,
                // It went while we walked.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.failed(errno)),
            }
        }
    }

    /// What the file that `next` gave last is now; `None` where it went.
    pub(super) fn facts(&self, walked: &Walked) -> Result<Option<FileFacts>, StoreError> {
        let Some(frame) = self.frames.last() else { return Ok(None) };
        let name = walked.path.get(frame.path.len()..).unwrap_or_default();
        match rustix::fs::statat(&frame.fd, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileFacts::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed(errno)),
        }
    }

    fn enter(&mut self, fd: OwnedFd, path: Vec<u8>, tenant: Whose) -> Result<(), StoreError> {
        if self.frames.len() >= DEPTH_MAX {
            let message = format!("its folders are nested more than {DEPTH_MAX} deep");
            return Err(self.root.error(self.operation, ErrorKind::Refused, Retry::Never, message));
        }
        let mut entries = self.entries_of(&fd, &path, &tenant).map_err(|errno| self.failed(errno))?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.frames.push(Frame { fd, path, entries: entries.into_iter() });
        Ok(())
    }

    fn entries_of(&self, fd: &OwnedFd, path: &[u8], tenant: &Whose) -> Result<Vec<Entry>, Errno> {
        let component = self.components.get(self.frames.len());
        let mut entries = Vec::new();
        for item in Dir::read_from(fd)? {
            let item = item?;
            let name = item.file_name().to_bytes();
            if matches!(name, b"." | b"..") || path.is_empty() && name == MARKER.as_bytes() {
                continue;
            }
            let mut kind = item.file_type();
            if kind == FileType::Unknown {
                match rustix::fs::statat(fd, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => kind = FileFacts::of(&stat).kind,
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno),
                }
            }
            let tenant = match component {
                None => tenant.clone(),
                // Inside the template only its own directories lead to records.
                Some(_) if kind != FileType::Directory => continue,
                Some(component) => match self.whose(component, name, tenant) {
                    Some(whose) => whose,
                    None => continue,
                },
            };
            let mut name = name.to_owned();
            if kind == FileType::Directory {
                name.push(b'/');
            }
            if self.lies_ahead(path, &name, kind) {
                entries.push(Entry { name, kind, tenant });
            }
        }
        Ok(entries)
    }

    /// Whose a directory is that stands where `component` stands in the template; `None` where it does not fit or
    /// is not wanted.
    fn whose(&self, component: &str, name: &[u8], before: &Whose) -> Option<Whose> {
        if self.constant.is_some() || !component.contains(TENANT_MARK) {
            return (component.as_bytes() == name).then(|| before.clone());
        }
        let lossy = String::from_utf8_lossy(name);
        let text = tenant_text(component, &lossy)?;
        let named = std::str::from_utf8(name)
            .ok()
            .and_then(|_| TenantId::observed(text))
            .filter(|tenant| has_place(&self.template, tenant));
        let whose = named.map_or(Whose::Nobody, Whose::Tenant);
        let fits = *before == Whose::NotYetSaid || *before == whose;
        let wanted = match &whose {
            Whose::Tenant(tenant) => (self.wanted)(Some(tenant)),
            Whose::Nobody | Whose::NotYetSaid => (self.wanted)(None),
        };
        (fits && wanted).then_some(whose)
    }

    /// True where a file comes after the start of the walk, or a directory may hold such files.
    fn lies_ahead(&self, path: &[u8], name: &[u8], kind: FileType) -> bool {
        if self.after.is_empty() {
            return true;
        }
        let whole = [path, name].concat();
        whole > self.after || kind == FileType::Directory && self.after.starts_with(&whole)
    }

    fn failed(&self, errno: Errno) -> StoreError {
        self.root.errno(self.operation, errno)
    }
}
