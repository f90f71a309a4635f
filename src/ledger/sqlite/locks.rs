//! Locks between processes, as locks on files beside the ledger: the kernel frees them when a process dies.
//! It owns how they are taken; it does not know what is done under them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::ledger::LedgerError;

/// The first wait before a taken lock is tried again.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// The longest wait: a hold that waits for batches should return soon after the last of them.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// What a lock is for; each is a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) enum Lock {
    /// Shared by the batches that run, exclusive for who waits for them. There are two, used in turn: see
    /// `batches`.
    Batch {
        /// The epoch in which the batch began.
        epoch: i64,
    },
    /// Exclusive: one at a time waits for batches.
    Wait,
    /// Exclusive: one run at a time.
    Run,
    /// Exclusive: one writer of the audit log at a time.
    Audit,
    /// Exclusive: one process at a time makes a ledger.
    Make,
}

/// The folder of locks of one ledger.
#[derive(Debug, Clone)]
pub(super) struct Locks {
    folder: PathBuf,
}

/// A lock that is held; it is given back when this is dropped or the process dies.
#[derive(Debug)]
pub(in crate::ledger) struct Held {
    _file: File,
}

impl Locks {
    /// The locks of the ledger at this path. They live in a folder beside it, which is no part of a backup.
    pub(super) fn beside(ledger: &Path) -> Self {
        let mut folder = ledger.as_os_str().to_owned();
        folder.push(".locks");
        Self { folder: folder.into() }
    }

    /// Waits until nobody holds it exclusively.
    pub(super) async fn shared(&self, lock: Lock) -> Result<Held, LedgerError> {
        self.take(lock, FlockOperation::NonBlockingLockShared).await
    }

    /// Waits until nobody holds it at all.
    pub(super) async fn exclusive(&self, lock: Lock) -> Result<Held, LedgerError> {
        self.take(lock, FlockOperation::NonBlockingLockExclusive).await
    }

    /// Tries instead of blocking in the kernel, so that a caller who gives up leaves no thread behind.
    async fn take(&self, lock: Lock, operation: FlockOperation) -> Result<Held, LedgerError> {
        let path = self.folder.join(lock.file_name());
        let mut pause = PAUSE_MIN;
        loop {
            // The file is opened anew each time: a lock belongs to an open file, so this also works among the
            // tasks of one process.
            let file = self.open(&path)?;
            match flock(&file, operation) {
                Ok(()) if is_at(&file, &path) => return Ok(Held { _file: file }),
                // Somebody removed the file: a lock on what is gone keeps nobody out.
                Ok(()) => {}
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(failed(&path, &error.into())),
            }
        }
    }

    fn open(&self, path: &Path) -> Result<File, LedgerError> {
        let open =
            || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        match open() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&self.folder)
                    .map_err(|error| failed(&self.folder, &error))?;
                open().map_err(|error| failed(path, &error))
            }
            other => other.map_err(|error| failed(path, &error)),
        }
    }
}

impl Lock {
    fn file_name(self) -> &'static str {
        match self {
            Self::Batch { epoch } if epoch % 2 == 0 => "batch-0",
            Self::Batch { .. } => "batch-1",
            Self::Wait => "wait",
            Self::Run => "run",
            Self::Audit => "audit",
            Self::Make => "make",
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => open.dev() == there.dev() && open.ino() == there.ino(),
        _ => false,
    }
}

fn failed(path: &Path, error: &std::io::Error) -> LedgerError {
    LedgerError::Unreachable { operation: "take a lock", message: format!("{}: {error}", path.display()) }
}
