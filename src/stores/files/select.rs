//! Which files a query means: the tenant by the place, the event time by name or file, the scopes.
//! It owns the predicate for files; it opens nothing.

use chrono::DateTime;
use rustix::fs::FileType;

use super::root::{FileFacts, Root};
use crate::id::TenantId;
use crate::policy::template::{TENANT_MARK, prefix_of, proves_bytes};
use crate::policy::{EventTime, Placement, Records, TenantSource};
use crate::stores::judge::{Judge, Judged};
use crate::stores::{ErrorKind, Key, Query, Retry, SeenTime, StoreError, Value, event_time};

/// The query made ready for one file after the other.
#[derive(Debug)]
pub(super) struct Selector<'q> {
    query: &'q Query,
    judge: Judge<'q>,
}

impl<'q> Selector<'q> {
    /// Fails for a question that files cannot answer.
    pub(super) fn new(root: &Root, query: &'q Query, operation: &'static str) -> Result<Self, StoreError> {
        let unresolved =
            |message: &str| Err(root.error(operation, ErrorKind::Unresolved, Retry::Never, message.into()));
        if query.naming.is_some() {
            return unresolved("files name no other records");
        }
        match Judge::new(query) {
            Ok(judge) => Ok(Self { query, judge }),
            Err(why) => unresolved(why),
        }
    }

    /// The event time of a file; `facts` may be left out where [`needs_facts`] says so.
    pub(super) fn time_of(&self, path: &[u8], kind: FileType, facts: Option<&FileFacts>) -> SeenTime {
        let read = match &self.query.placement.event_time {
            None => return SeenTime::None,
            // What is no regular file is parked: it cannot be erased, and must not go unseen.
            Some(_) if kind != FileType::RegularFile => None,
            Some(EventTime::Key(template)) => {
                event_time::read_key(&String::from_utf8_lossy(path), template, self.query.time_zone)
            }
            Some(EventTime::Modified) => facts.and_then(|facts| {
                DateTime::from_timestamp(facts.modified_seconds, facts.modified_nanoseconds)
            }),
            // Refused by `Layout::of` already.
            Some(EventTime::Text { .. } | EventTime::Epoch { .. }) => None,
        };
        self.judge.seen(read)
    }

    /// True where a file of this tenant and time belongs to the selection.
    pub(super) fn matches(&self, tenant: Option<&TenantId>, time: SeenTime) -> bool {
        // A file names no subject, so a scope that asks for one holds for none.
        self.judge.matches(&Judged { tenant, time, time_text: None, text_in: &|_| None })
    }

    /// True where files of this tenant can belong at all.
    pub(super) fn tenant_matches(&self, tenant: Option<&TenantId>) -> bool {
        self.judge.tenant_matches(tenant)
    }
}

/// True where the event time is not in the name, so that each file must be looked at.
pub(super) fn needs_facts(placement: &Placement) -> bool {
    matches!(placement.event_time, Some(EventTime::Modified))
}

/// How the records of a placement lie below the root.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layout<'p> {
    /// All regular files below the prefix.
    Prefix {
        /// The template, with a separator at its end.
        template: &'p str,
        /// The tenant of all of them, where the template names none.
        constant: Option<&'p TenantId>,
    },
    /// Those that rows elsewhere name.
    FoundBy {
        /// The template, with a separator at its end.
        template: &'p str,
        /// As above.
        constant: Option<&'p TenantId>,
    },
}

impl<'p> Layout<'p> {
    /// Fails for placements that a folder cannot hold.
    pub(super) fn of(placement: &'p Placement) -> Result<Self, &'static str> {
        let constant = match &placement.tenant {
            TenantSource::Constant(tenant) => Some(tenant),
            TenantSource::Template | TenantSource::Column(_) => None,
        };
        match &placement.records {
            Some(Records::Prefix(template)) => {
                if !template.ends_with('/') {
                    return Err("the prefix does not end in a separator");
                }
                if matches!(placement.tenant, TenantSource::Column(_)) {
                    return Err("files have no columns that name a tenant");
                }
                if matches!(placement.event_time, Some(EventTime::Text { .. } | EventTime::Epoch { .. })) {
                    return Err("files have no columns that hold a time");
                }
                if constant.is_none() && !template.contains(TENANT_MARK) {
                    return Err("the prefix names no tenant");
                }
                Ok(Self::Prefix { template, constant })
            }
            Some(Records::FoundBy { prefix, .. }) => {
                if !prefix.ends_with('/') {
                    return Err("the prefix does not end in a separator");
                }
                if constant.is_none() && !prefix.contains(TENANT_MARK) {
                    return Err("the prefix names no tenant");
                }
                Ok(Self::FoundBy { template: prefix, constant })
            }
            Some(Records::Table { .. } | Records::Keys(_) | Records::Index(_)) | None => {
                Err("a folder holds files only: give it a `prefix` or `found_by`")
            }
        }
    }

    /// True where the path lies in this tenant's own place and is not the marker.
    pub(super) fn proves(&self, tenant: &TenantId, path: &[u8]) -> bool {
        let (Self::Prefix { template, constant } | Self::FoundBy { template, constant }) = self;
        constant.is_none_or(|constant| constant == tenant)
            && proves_bytes(template, tenant, path)
            && path != super::root::MARKER.as_bytes()
    }
}

/// True where the tenant has a place of its own below this template.
pub(super) fn has_place(template: &str, tenant: &TenantId) -> bool {
    prefix_of(template, tenant).is_some()
}

/// The path that a key means; `None` where it means none.
pub(super) fn path_of(key: &Key) -> Option<&[u8]> {
    match key.0.as_slice() {
        [Value::Text(text)] => Some(text.as_bytes()),
        [Value::Bytes(bytes)] => Some(bytes),
        [] | [Value::Int(_)] | [_, _, ..] => None,
    }
}

/// The key of a path.
pub(super) fn key_of(path: &[u8]) -> Key {
    Key(vec![match std::str::from_utf8(path) {
        Ok(text) => Value::Text(text.to_owned()),
        Err(_) => Value::Bytes(path.to_owned()),
    }])
}
