//! An object as a listing shows it: a key with all its versions and delete markers, which are one record. It owns what
//! tells such a record from a later one; it asks nobody.

use chrono::{DateTime, Utc};

/// One version of an object, or a delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// The id; `None` where the listing knows no versions.
    pub(super) id: Option<String>,
    /// True where it is a delete marker: it has no bytes and no lock.
    pub(super) is_marker: bool,
    /// True where a plain read finds this one.
    pub(super) is_latest: bool,
    /// When it was written.
    pub(super) modified: DateTime<Utc>,
    /// The digest that the server states; empty for markers.
    pub(super) etag: String,
    /// Its size in bytes.
    pub(super) size: u64,
}

impl Version {
    /// What tells this version from any other.
    pub(super) fn stamp(&self) -> String {
        let Self { id, etag, modified, size, .. } = self;
        let nanoseconds = modified.timestamp_nanos_opt().unwrap_or_default();
        format!("{}:{etag}:{nanoseconds}:{size}", id.as_deref().unwrap_or_default())
    }
}

/// A key and everything that lies under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// At least one.
    pub(super) versions: Vec<Version>,
}

impl Entry {
    /// When the newest of it was written. Never earlier than any version, so an age counted from it is never early.
    pub(super) fn modified(&self) -> Option<DateTime<Utc>> {
        self.newest().map(|version| version.modified)
    }

    /// What tells this record from one that was written later under the same key. A plain listing says the same as one
    /// of versions, so ids are left out.
    pub(super) fn stamp(&self) -> String {
        let stamp = |version: &Version| {
            let nanoseconds = version.modified.timestamp_nanos_opt().unwrap_or_default();
            format!("{}:{nanoseconds}:{}", version.etag, version.size)
        };
        self.latest().or_else(|| self.newest()).map(stamp).unwrap_or_default()
    }

    /// The version whose bytes are the newest; `None` where only markers are left.
    pub(super) fn newest_bytes(&self) -> Option<&Version> {
        let with_bytes = || self.versions.iter().filter(|version| !version.is_marker);
        with_bytes().find(|version| version.is_latest).or_else(|| first_newest(with_bytes()))
    }

    /// What a plain read finds.
    pub(super) fn latest(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.is_latest)
    }

    fn newest(&self) -> Option<&Version> {
        self.latest()
            .filter(|latest| self.versions.iter().all(|version| version.modified <= latest.modified))
            .or_else(|| first_newest(self.versions.iter()))
    }
}

/// The newest of some versions; of several in one second (many servers count no finer) the one that is listed first,
/// for newer ones come first.
fn first_newest<'v>(versions: impl Iterator<Item = &'v Version>) -> Option<&'v Version> {
    versions.reduce(|newest, version| if version.modified > newest.modified { version } else { newest })
}

/// An upload in parts that was begun and neither completed nor aborted: its parts hold bytes that no listing of
/// objects shows. A record of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upload {
    /// The key that it was begun for.
    pub(super) key: String,
    /// Its id.
    pub(super) id: String,
    /// When it was begun.
    pub(super) initiated: Option<DateTime<Utc>>,
}

impl Upload {
    /// As [`Entry::stamp`]; the id says it all.
    pub(super) fn stamp(&self) -> String {
        self.id.clone()
    }
}
