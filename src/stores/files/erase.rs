//! Everything in a files store that changes a file: the marker and the erasing of a batch. It owns the order
//! check, overwrite, unlink, sync; which file is meant is said by `select`.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::overwrite::{NotZeroed, zero_in_place};
use super::root::{FileFacts, MARKER, Marker, Root};
use super::select::{Layout, Selector, path_of};
use crate::id::StoreId;
use crate::plan::Counts;
use crate::policy::Method;
use crate::stores::{
    Batch, Erased, ErrorKind, Listed, Query, Retry, SeenTime, StoreError, Survival, Survivor,
};

/// Files overwritten at once: 4 were measured best, for each waits on its own sync.
const OVERWRITERS: usize = 4;

const OPERATION: &str = "erase files";

/// What became of one file.
#[derive(Debug)]
enum Fate {
    Erased,
    AlreadyAbsent,
    Changed,
    Failed(String),
}

/// Leaves the marker.
pub(super) fn mark(root: &Root, ledger_id: &str, store: &StoreId) -> Result<(), StoreError> {
    let operation = "leave the marker";
    let marker = Marker { ledger_id: ledger_id.to_owned(), store: store.as_str().to_owned() };
    let text = serde_json::to_vec(&marker)
        .map_err(|error| root.error(operation, ErrorKind::Refused, Retry::Never, error.to_string()))?;
    // Made under another name and linked, so that the marker is there whole or not at all, and never replaced.
    let draft = format!("{MARKER}.{}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&root.fd, &draft, flags, Mode::RUSR | Mode::WUSR)
        .and_then(|file| write_all(&file, &text).and_then(|()| rustix::fs::fsync(&file)))
        .and_then(|()| rustix::fs::linkat(&root.fd, &draft, &root.fd, MARKER, AtFlags::empty()));
    let cleared = rustix::fs::unlinkat(&root.fd, &draft, AtFlags::empty());
    match made.and(cleared).and_then(|()| rustix::fs::fsync(&root.fd)) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            let message = format!("there is a `{MARKER}` already");
            Err(root.error(operation, ErrorKind::Identity, Retry::Never, message))
        }
        Err(errno) => Err(root.errno(operation, errno)),
    }
}

fn write_all(file: &OwnedFd, mut rest: &[u8]) -> Result<(), Errno> {
    while !rest.is_empty() {
        let written = rustix::io::write(file, rest)?;
        rest = &rest[written..];
    }
    Ok(())
}

/// Erases a batch; blocks. Once it is given up it touches no other file. Guarded by
/// `an_erase_that_is_given_up_touches_no_other_file`.
pub(super) fn erase(
    root: &Root,
    query: &Query,
    batch: &Batch,
    method: Method,
    given_up: &AtomicBool,
) -> Result<Erased, StoreError> {
    let layout = Layout::of(&query.placement)
        .map_err(|message| root.error(OPERATION, ErrorKind::Schema, Retry::Never, message.into()))?;
    let selector = match layout {
        Layout::Prefix { .. } => Some(Selector::new(root, query, OPERATION)?),
        // Its selection is about the rows that name the files; they were asked when the list was made.
        Layout::FoundBy { .. } => None,
    };
    let Batch::List(listed) = batch else {
        let message = "files are erased by list, not by window".into();
        return Err(root.error(OPERATION, ErrorKind::Unresolved, Retry::Never, message));
    };
    root.require_marker(OPERATION)?;
    let work = Work { root, layout, selector: selector.as_ref(), method, given_up };
    let fates = work.all(listed)?;

    let mut erased = Erased::default();
    let mut directories = BTreeSet::new();
    for (index, (listed, fate)) in listed.iter().zip(fates).enumerate() {
        let counts: &mut Counts = erased.counts.entry(listed.tenant.clone()).or_default();
        let directory = || path_of(&listed.key).map(directory_of);
        match fate {
            Fate::Erased => {
                counts.erased += 1;
                directories.extend(directory());
            }
            Fate::AlreadyAbsent => {
                counts.already_absent += 1;
                // Perhaps we unlinked it ourselves and died before the sync.
                directories.extend(directory());
            }
            Fate::Changed => {
                counts.changed += 1;
                erased.survivors.push(Survivor { index, why: Survival::Changed });
            }
            Fate::Failed(why) => {
                counts.failed += 1;
                erased.survivors.push(Survivor { index, why: Survival::Failed(why) });
            }
        }
    }
    for directory in directories {
        sync(root, directory)?;
    }
    Ok(erased)
}

fn directory_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |at| &path[..at])
}

/// Forces a directory's new content to the medium: an unlinked name would come back after a power cut otherwise.
fn sync(root: &Root, directory: &[u8]) -> Result<(), StoreError> {
    let opened = if directory.is_empty() {
        root.fd.try_clone().map_err(|_| Errno::MFILE)
    } else {
        root.descend(&root.fd, directory)
    };
    match opened.and_then(rustix::fs::fsync) {
        // A directory that went took its names along. One that is none any more held nothing of ours either.
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(errno) => Err(root.errno(OPERATION, errno)),
    }
}

struct Work<'a> {
    root: &'a Root,
    layout: Layout<'a>,
    selector: Option<&'a Selector<'a>>,
    method: Method,
    given_up: &'a AtomicBool,
}

impl Work<'_> {
    /// The fate of each file, in the order of the list.
    fn all(&self, listed: &[Listed]) -> Result<Vec<Fate>, StoreError> {
        let workers = match self.method {
            Method::Delete => 1,
            Method::OverwriteThenDelete | Method::Zero => OVERWRITERS.min(listed.len()),
        };
        if workers <= 1 {
            return Ok(listed.iter().map(|listed| self.one(listed)).collect());
        }
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(listed) = listed.get(index) else { return done };
                done.push((index, self.one(listed)));
            }
        };
        let mut fates = thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
            let mut fates = Vec::with_capacity(listed.len());
            for worker in workers {
                fates.extend(worker.join().map_err(|_| self.broken())?);
            }
            Ok::<_, StoreError>(fates)
        })?;
        fates.sort_unstable_by_key(|(index, _)| *index);
        Ok(fates.into_iter().map(|(_, fate)| fate).collect())
    }

    fn broken(&self) -> StoreError {
        let message = "a worker broke off".into();
        self.root.error(OPERATION, ErrorKind::Unresolved, Retry::Never, message)
    }

    /// One file. The order decides which reason is stated where several hold:
    ///
    /// 1. its path proves the tenant,
    /// 2. something is there,
    /// 3. it is a regular file on our file system,
    /// 4. it is the one that was found,
    /// 5. it still belongs to the selection,
    /// 6. it has no second name,
    /// 7. it is overwritten where the method asks for it,
    /// 8. it is unlinked.
    fn one(&self, listed: &Listed) -> Fate {
        if self.given_up.load(Ordering::Acquire) {
            return Fate::Failed("it was given up".into());
        }
        // 1
        let Some(path) = path_of(&listed.key).filter(|path| self.layout.proves(&listed.tenant, path)) else {
            return Fate::Failed("it lies outside the prefix of its tenant".into());
        };
        // 2
        let (directory, name) = match self.root.parent_of(path) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NAMETOOLONG) => return Fate::AlreadyAbsent,
            Err(errno) => return unreachable_path(errno),
        };
        let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NAMETOOLONG) => return Fate::AlreadyAbsent,
            Err(errno) => return unreachable_path(errno),
        };
        let facts = FileFacts::of(&stat);
        // 3
        if facts.kind != FileType::RegularFile {
            return Fate::Failed("it is not a regular file".into());
        }
        if facts.device != self.root.device {
            return Fate::Failed("it lies on another file system".into());
        }
        // 4
        if !listed.stamp.is_empty() && listed.stamp != facts.stamp() {
            return Fate::Changed;
        }
        // 5
        if let Some(selector) = self.selector {
            let time: SeenTime = selector.time_of(path, facts.kind, Some(&facts));
            if !selector.matches(Some(&listed.tenant), time) {
                return Fate::Changed;
            }
        }
        // 6
        if !facts.single_link {
            return Fate::Failed("it has a second name (hard link)".into());
        }
        // 7
        match self.method {
            Method::Delete => {}
            Method::OverwriteThenDelete | Method::Zero => {
                match zero_in_place(&directory, name, &facts) {
                    Ok(()) => {}
                    Err(NotZeroed::Gone) => return Fate::AlreadyAbsent,
                    Err(NotZeroed::Replaced) => return Fate::Changed,
                    Err(NotZeroed::Failed(why)) => return Fate::Failed(why),
                }
                match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) if (stat.st_dev, stat.st_ino) == (facts.device, facts.inode) => {}
                    // A new file took the name; ours is overwritten and gone.
                    Ok(_) => return Fate::Changed,
                    Err(Errno::NOENT) => return Fate::AlreadyAbsent,
                    Err(errno) => return unreachable_path(errno),
                }
            }
        }
        // 8
        match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) => Fate::Erased,
            Err(Errno::NOENT) => Fate::AlreadyAbsent,
            Err(errno) => Fate::Failed(format!("it could not be deleted: {errno}")),
        }
    }
}

fn unreachable_path(errno: Errno) -> Fate {
    Fate::Failed(match errno {
        Errno::LOOP | Errno::NOTDIR => "a folder on its path is not a folder".into(),
        Errno::XDEV => "a folder on its path lies on another file system".into(),
        other => format!("it cannot be reached: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::id::TenantId;
    use crate::policy::Placement;
    use crate::policy::parse::parse_policy;
    use crate::stores::{Key, Value};

    const FILES: &str = r#"
category = "audio"
title = "Audio"
method = "delete"
[[rules]]
trigger = "request"
deadline = "30 days"
clause = "c"
[[placements]]
name = "audio"
store = "objects"
prefix = "rec/{tenant}/"
subjects = "none"
"#;

    fn placement() -> Placement {
        let policy = parse_policy(Path::new("audio.toml"), FILES.as_bytes(), &mut Vec::new());
        policy.expect("it is a policy").placements.remove(0)
    }

    #[test]
    fn an_erase_that_is_given_up_touches_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("rec/t-1")).unwrap();
        let file = |number: u32| format!("rec/t-1/{number}.wav");
        for number in 0..8 {
            std::fs::write(folder.path().join(file(number)), b"a call").unwrap();
        }
        let root = Root::open(&StoreId::new("objects"), folder.path()).unwrap();
        let listed = |number| Listed {
            tenant: TenantId::parse("t-1").unwrap(),
            key: Key(vec![Value::Bytes(file(number).into_bytes())]),
            names: std::collections::BTreeMap::new(),
            stamp: String::new(),
        };
        let listed: Vec<Listed> = (0..8).map(listed).collect();
        let placement = placement();
        for method in [Method::Delete, Method::Zero] {
            let given_up = AtomicBool::new(true);
            let layout = Layout::of(&placement).unwrap();
            let work = Work { root: &root, layout, selector: None, method, given_up: &given_up };
            let fates = work.all(&listed).unwrap();
            assert!(fates.iter().all(|fate| matches!(fate, Fate::Failed(_))), "{fates:?}");
            let left = std::fs::read_dir(folder.path().join("rec/t-1")).unwrap().count();
            assert_eq!(left, 8, "{method:?}");
        }
    }
}
