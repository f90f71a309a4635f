//! Zeros in the place of a file's bytes, written, forced to the medium and read back. It owns that and nothing else;
//! whether the file may be overwritten at all has been decided before.

use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Advice, FileType, Mode, OFlags, SeekFrom, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::root::FileFacts;

/// How much is written or read at once: larger blocks were not faster, and four workers hold one each.
const BLOCK_BYTES: usize = 1024 * 1024;

/// Why a file was not overwritten.
#[derive(Debug)]
pub(super) enum NotZeroed {
    /// Another file lies under the name by now.
    Replaced,
    /// It went.
    Gone,
    /// A lower-case fragment.
    Failed(String),
}

impl From<Errno> for NotZeroed {
    fn from(errno: Errno) -> Self {
        Self::Failed(format!("it could not be overwritten: {errno}"))
    }
}

/// A span of bytes of a file, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    from: u64,
    to: u64,
}

/// Overwrites a file in place with zeros and reads them back. `seen` is what was decided on.
///
/// *Properties.* Holes stay holes, so a sparse file does not grow. Nothing is truncated or punched: both would leave
/// the old bytes on the medium. The time of modification stays, so that a file found half overwritten after a crash
/// is as old as it was.
pub(super) fn zero_in_place(directory: &OwnedFd, name: &OsStr, seen: &FileFacts) -> Result<(), NotZeroed> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Err(NotZeroed::Gone),
        Err(errno) => return Err(errno.into()),
    };
    let opened = FileFacts::of(&rustix::fs::fstat(&file)?);
    if (opened.device, opened.inode, opened.kind) != (seen.device, seen.inode, FileType::RegularFile) {
        return Err(NotZeroed::Replaced);
    }
    if !opened.single_link {
        return Err(NotZeroed::Failed("it has a second name (hard link)".into()));
    }
    let mut block = vec![0; BLOCK_BYTES];
    let extents = extents_of(&file, &opened)?;
    for extent in &extents {
        write_zeros(&file, *extent, &block)?;
    }
    let kept = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: opened.modified_seconds,
            tv_nsec: opened.modified_nanoseconds.into(),
        },
    };
    rustix::fs::futimens(&file, &kept)?;
    rustix::fs::fdatasync(&file)?;
    for extent in &extents {
        // So that the read comes from the medium. A refusal only makes the read-back weaker, not the overwriting.
        let length = NonZeroU64::new(extent.to - extent.from);
        rustix::fs::fadvise(&file, extent.from, length, Advice::DontNeed).or_else(ignore_unsupported)?;
        read_zeros(&file, *extent, &mut block)?;
    }
    Ok(())
}

fn ignore_unsupported(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::INVAL || errno == Errno::NOSYS { Ok(()) } else { Err(errno) }
}

/// The spans that hold data; the last one reaches to the end of its allocated block.
fn extents_of(file: impl AsFd, facts: &FileFacts) -> Result<Vec<Extent>, Errno> {
    // A tail shorter than a block is overwritten up to the block's end, but a file that has no block of its own
    // (small ones can lie in the inode) is not moved out of its place.
    let end = facts.size.next_multiple_of(facts.block).min(facts.size.max(facts.allocated));
    let mut extents = Vec::new();
    let mut at = 0;
    while at < facts.size {
        let from = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(from) => from,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(vec![Extent { from: 0, to: end }]),
            Err(errno) => return Err(errno),
        };
        let to = rustix::fs::seek(&file, SeekFrom::Hole(from))?;
        if to <= from {
            break;
        }
        extents.push(Extent { from, to: if to >= facts.size { end.max(to) } else { to } });
        at = to;
    }
    Ok(extents)
}

fn write_zeros(file: impl AsFd, extent: Extent, zeros: &[u8]) -> Result<(), Errno> {
    let mut at = extent.from;
    while at < extent.to {
        let length = length_of(extent.to - at, zeros.len());
        let written = rustix::io::pwrite(&file, &zeros[..length], at)?;
        if written == 0 {
            return Err(Errno::IO);
        }
        at += written as u64;
    }
    Ok(())
}

fn read_zeros(file: impl AsFd, extent: Extent, block: &mut [u8]) -> Result<(), NotZeroed> {
    let mut at = extent.from;
    while at < extent.to {
        let length = length_of(extent.to - at, block.len());
        let read = rustix::io::pread(&file, &mut block[..length], at)?;
        if read == 0 || block[..read].iter().any(|byte| *byte != 0) {
            return Err(NotZeroed::Failed("it was not read back as zeros".into()));
        }
        at += read as u64;
    }
    Ok(())
}

fn length_of(left: u64, most: usize) -> usize {
    usize::try_from(left).unwrap_or(most).min(most)
}
