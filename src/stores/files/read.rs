//! Reads files out: what is known of each, and their bytes, by descriptor and never through a link. It owns the stream of
//! bytes; order and selection are those of `look`.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::look::{find, layout_of};
use super::root::{FileFacts, Root};
use super::select::path_of;
use crate::id::TenantId;
use crate::policy::Placement;
use crate::stores::{
    Batch, Body, Budget, ErrorKind, Field, Found, Key, Listed, PIECE_BYTES, Pieces, Position, Query, Read,
    Record, Retry, StoreError,
};

/// The next files. What is no regular file has no bytes; it is there all the same, so that it is not passed over unseen.
pub(super) fn read(
    root: &Root,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
) -> Result<Option<Read>, StoreError> {
    let operation = "read files";
    let Some(Found { batch, position }) = find(root, query, after, budget)? else { return Ok(None) };
    let listed = match batch {
        Batch::List(listed) => listed,
        Batch::Window { .. } => Vec::new(),
    };
    let mut records = Vec::with_capacity(listed.len());
    for Listed { tenant, key, .. } in listed {
        let path = path_of(&key).unwrap_or_default();
        // One that went meanwhile is left out, as if it had gone a moment before.
        let Some(facts) = root.facts_at(path).map_err(|errno| root.errno(operation, errno))? else {
            continue;
        };
        let fields = vec![
            ("path".to_owned(), Field::of_bytes(path.to_vec())),
            ("size".to_owned(), Field::Int(facts.size.into())),
            ("modified".to_owned(), modified(&facts)),
        ];
        records.push(Record { tenant, key, fields, has_body: facts.kind == FileType::RegularFile });
    }
    Ok(Some(Read { records, position }))
}

fn modified(facts: &FileFacts) -> Field {
    let at = chrono::DateTime::from_timestamp(facts.modified_seconds, facts.modified_nanoseconds);
    at.map_or(Field::Null, |at| Field::Text(at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)))
}

/// The bytes of one file. Gates, in this order:
/// 1. its path proves the tenant;
/// 2. the way to it follows no link and enters no other file system;
/// 3. it is a regular file.
pub(super) fn body(
    root: &Root,
    placement: &Placement,
    tenant: &TenantId,
    key: &Key,
) -> Result<Option<Body>, StoreError> {
    let operation = "read a file";
    let layout = layout_of(root, placement, operation)?;
    let refused = |message: &str| root.error(operation, ErrorKind::Refused, Retry::Never, message.to_owned());
    // 1
    let Some(path) = path_of(key).filter(|path| layout.proves(tenant, path)) else {
        return Err(refused("it lies outside the prefix of its tenant"));
    };
    // 2
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = root
        .parent_of(path)
        .and_then(|(directory, name)| rustix::fs::openat(&directory, name, flags, Mode::empty()));
    let file = match opened {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => return Err(refused("it is a link, or lies behind one")),
        Err(errno) => return Err(root.errno(operation, errno)),
    };
    // 3
    let stat = rustix::fs::fstat(&file).map_err(|errno| root.errno(operation, errno))?;
    let facts = FileFacts::of(&stat);
    if facts.kind != FileType::RegularFile || facts.device != root.device {
        return Err(refused("it is not a regular file of this file system"));
    }
    let (pieces, body) = Body::channel();
    let store = root.id.clone();
    let broken = move |errno: Errno| StoreError {
        kind: ErrorKind::Unreachable,
        retry: Retry::Later,
        operation,
        store: store.clone(),
        message: errno.to_string(),
    };
    // A thread of the pool for itself: it ends with the file, or when nobody reads any more.
    drop(tokio::task::spawn_blocking(move || give(&file, pieces, broken)));
    Ok(Some(body))
}

fn give(file: &OwnedFd, pieces: Pieces, broken: impl Fn(Errno) -> StoreError) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = match rustix::io::read(file, &mut piece[..]) {
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(errno) => return pieces.end_blocking(Err(broken(errno))),
        };
        if read == 0 {
            return pieces.end_blocking(Ok(()));
        }
        piece.truncate(read);
        if pieces.give_blocking(piece).is_err() {
            return;
        }
    }
}
