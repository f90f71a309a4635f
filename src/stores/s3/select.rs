//! Which objects a placement means and what the selection says of one of them. It owns tenants and event times; the
//! selection itself is `judge`'s, and nothing is fetched here.

use chrono::{DateTime, Utc};

use super::bucket::Bucket;
use super::entry::{Entry, Upload};
use super::marker::MARKER;
use crate::id::TenantId;
use crate::policy::template::{TENANT_MARK, prefix_of, proves, tenant_text};
use crate::policy::{EventTime, Placement, Records, TenantSource};
use crate::stores::judge::{Judge, Judged};
use crate::stores::{ErrorKind, Query, Retry, SeenTime, StoreError, event_time};

/// A column of this form is an entry of an object's own metadata, one of the other form a tag of it.
const METADATA: &str = "metadata:";
const TAG: &str = "tag:";

/// Where an object itself carries a text, for a request of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label<'p> {
    /// User metadata, without `x-amz-meta-`.
    Metadata(&'p str),
    /// A tag.
    Tag(&'p str),
}

impl<'p> Label<'p> {
    fn of_column(column: &'p str) -> Option<Self> {
        let metadata = column.strip_prefix(METADATA).map(Self::Metadata);
        metadata.or_else(|| column.strip_prefix(TAG).map(Self::Tag))
    }
}

/// Where the event time must be fetched from, object by object; `None` where the listing says it.
pub(super) fn label_of(placement: &Placement) -> Option<Label<'_>> {
    match &placement.event_time {
        Some(EventTime::Text { column, .. } | EventTime::Epoch { column, .. }) => Label::of_column(column),
        Some(EventTime::Key(_) | EventTime::Modified) | None => None,
    }
}

/// The query made ready for one object after the other.
#[derive(Debug)]
pub(super) struct Selector<'q> {
    query: &'q Query,
    judge: Judge<'q>,
}

/// What an object says of its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'r> {
    pub(super) key: &'r str,
    pub(super) modified: Option<DateTime<Utc>>,
    pub(super) label: Option<&'r str>,
}

impl<'r> Said<'r> {
    pub(super) fn by_entry(entry: &'r Entry, label: Option<&'r str>) -> Self {
        Self { key: &entry.key, modified: entry.modified(), label }
    }

    /// The parts of an upload have neither metadata that can be read nor tags.
    pub(super) fn by_upload(upload: &'r Upload) -> Self {
        Self { key: &upload.key, modified: upload.initiated, label: None }
    }
}

impl<'q> Selector<'q> {
    /// Fails for a question that objects cannot answer.
    pub(super) fn new(
        bucket: &Bucket,
        query: &'q Query,
        operation: &'static str,
    ) -> Result<Self, StoreError> {
        let unresolved =
            |message: &str| bucket.error(operation, ErrorKind::Unresolved, Retry::Never, message);
        if query.naming.is_some() {
            return Err(unresolved("objects name no other records"));
        }
        Ok(Self { query, judge: Judge::new(query).map_err(unresolved)? })
    }

    /// The event time of an object.
    pub(super) fn time_of(&self, said: Said<'_>) -> SeenTime {
        let read = match &self.query.placement.event_time {
            None => return SeenTime::None,
            Some(EventTime::Key(template)) => event_time::read_key(said.key, template, self.query.time_zone),
            Some(EventTime::Modified) => said.modified,
            Some(EventTime::Text { format, time_zone, .. }) => {
                said.label.and_then(|text| event_time::read_text(text, format, *time_zone))
            }
            Some(EventTime::Epoch { unit, .. }) => said
                .label
                .and_then(|text| text.parse().ok())
                .and_then(|count| event_time::read_epoch(count, *unit)),
        };
        self.judge.seen(read)
    }

    /// True where an object of this tenant belongs to the selection.
    pub(super) fn matches(&self, tenant: Option<&TenantId>, said: Said<'_>) -> bool {
        let time = self.time_of(said);
        let time_text = match &self.query.placement.event_time {
            Some(EventTime::Text { .. }) => said.label,
            Some(EventTime::Epoch { .. } | EventTime::Key(_) | EventTime::Modified) | None => None,
        };
        // An object names no subject, so a scope that asks for one holds for none.
        self.judge.matches(&Judged { tenant, time, time_text, text_in: &|_| None })
    }

    /// True where objects of this tenant can belong at all.
    pub(super) fn tenant_matches(&self, tenant: Option<&TenantId>) -> bool {
        self.judge.tenant_matches(tenant)
    }
}

/// Whose an object is, by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// It is no record of this placement.
    NotOurs,
    /// It lies where records lie and proves no tenant: parked.
    Nobody,
    /// This tenant's, proven.
    Tenant(TenantId),
}

/// How the records of a placement lie in the bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout<'p> {
    /// The template, with a separator at its end.
    pub(super) template: &'p str,
    /// The tenant of all of them, where the template names none.
    pub(super) constant: Option<&'p TenantId>,
    /// True where only those are records that rows elsewhere name.
    pub(super) is_found_by: bool,
}

impl<'p> Layout<'p> {
    /// Fails for placements that a bucket cannot hold.
    pub(super) fn of(placement: &'p Placement) -> Result<Self, &'static str> {
        let constant = match &placement.tenant {
            TenantSource::Constant(tenant) => Some(tenant),
            TenantSource::Template => None,
            TenantSource::Column(_) if matches!(placement.records, Some(Records::FoundBy { .. })) => None,
            TenantSource::Column(_) => return Err("objects have no columns that name a tenant"),
        };
        let (template, is_found_by) = match &placement.records {
            Some(Records::Prefix(template)) => (template.as_str(), false),
            Some(Records::FoundBy { prefix, .. }) => (prefix.as_str(), true),
            Some(Records::Table { .. } | Records::Keys(_) | Records::Index(_)) | None => {
                return Err("a bucket holds objects only: give it a `prefix` or `found_by`");
            }
        };
        if !template.ends_with('/') {
            return Err("the prefix does not end in a separator");
        }
        if constant.is_none() && !template.contains(TENANT_MARK) {
            return Err("the prefix names no tenant");
        }
        match &placement.event_time {
            Some(EventTime::Text { column, .. } | EventTime::Epoch { column, .. })
                if Label::of_column(column).is_none() =>
            {
                Err("objects have no columns that hold a time")
            }
            Some(
                EventTime::Text { .. } | EventTime::Epoch { .. } | EventTime::Key(_) | EventTime::Modified,
            )
            | None => Ok(Self { template, constant, is_found_by }),
        }
    }

    /// True where the key lies in this tenant's own place and is not the marker.
    pub(super) fn proves(&self, tenant: &TenantId, key: &str) -> bool {
        self.constant.is_none_or(|constant| constant == tenant)
            && proves(self.template, tenant, key)
            && key != MARKER
            // What a server puts in the place of a letter that its listing cannot carry: not the key itself.
            && !key.contains('\u{FFFD}')
    }

    /// Whose a key is.
    pub(super) fn whose(&self, key: &str) -> Whose {
        if key == MARKER {
            return Whose::NotOurs;
        }
        if let Some(constant) = self.constant {
            return match prefix_of(self.template, constant) {
                Some(prefix) if key.starts_with(&prefix) => self.proven(constant, key),
                Some(_) | None => Whose::NotOurs,
            };
        }
        let mut named: Option<&str> = None;
        let mut parts = key.split('/');
        let components = self.template.strip_suffix('/').unwrap_or(self.template);
        for component in components.split('/') {
            let Some(part) = parts.next() else { return Whose::NotOurs };
            if !component.contains(TENANT_MARK) {
                if component != part {
                    return Whose::NotOurs;
                }
                continue;
            }
            match (tenant_text(component, part), named) {
                (None, _) => return Whose::NotOurs,
                (Some(text), Some(before)) if text != before => return Whose::NotOurs,
                (Some(text), _) => named = Some(text),
            }
        }
        // The last component is a folder, so something must stand behind it.
        if parts.next().is_none() {
            return Whose::NotOurs;
        }
        match named.and_then(TenantId::observed) {
            Some(tenant) => self.proven(&tenant, key),
            None => Whose::Nobody,
        }
    }

    fn proven(&self, tenant: &TenantId, key: &str) -> Whose {
        if self.proves(tenant, key) { Whose::Tenant(tenant.clone()) } else { Whose::Nobody }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(template: &str) -> Layout<'_> {
        Layout { template, constant: None, is_found_by: false }
    }

    #[test]
    fn a_key_is_its_own_tenants_or_parked_or_no_record() {
        let tenant = |name: &str| Whose::Tenant(TenantId::observed(name).unwrap());
        let cases = [
            ("ivr/t-1/a", tenant("t-1")),
            ("ivr/t-10/a", tenant("t-10")),
            ("ivr/T-1/ivr/t-1/a", tenant("T-1")),
            ("ivr/t-1//a", Whose::Nobody),
            ("ivr/t-1/", Whose::Nobody),
            ("ivr/t-1/../t-2/a", Whose::Nobody),
            ("ivr/t-1/a\u{FFFD}", Whose::Nobody),
            ("ivr/ /a", Whose::Nobody),
            ("ivr//a", Whose::Nobody),
            ("ivr/t-1", Whose::NotOurs),
            ("ivr/", Whose::NotOurs),
            ("/ivr/t-1/a", Whose::NotOurs),
            ("rec/t-1/a", Whose::NotOurs),
            (".retentiond-marker", Whose::NotOurs),
        ];
        for (key, whose) in cases {
            assert_eq!(layout("ivr/{tenant}/").whose(key), whose, "{key:?}");
        }
        assert_eq!(layout("{tenant}/").whose("t-1/a"), tenant("t-1"));
        assert_eq!(layout("x/app-{tenant}/y/").whose("x/app-t-1/y/a"), tenant("t-1"));
        assert_eq!(layout("x/app-{tenant}/y/").whose("x/app-t-1/z/a"), Whose::NotOurs);
    }
}
