//! Everything in an object store that only looks: counting, finding and reading back. It calls nothing that changes an
//! object.

use std::collections::{BTreeMap, BTreeSet};

use super::bucket::Bucket;
use super::entry::{Entry, Upload};
use super::pages::{Mode, PAGE_MAX};
use super::select::{Label, Layout, Said, Selector, Whose, label_of};
use super::walk::{Mark, Walk, Walked};
use crate::facts::{Survey, Tally};
use crate::id::TenantId;
use crate::plan::TenantScope;
use crate::policy::Placement;
use crate::policy::template::{TENANT_MARK, prefix_of};
use crate::stores::{
    Batch, Budget, ErrorKind, Found, Key, Listed, Position, Query, Retry, Seen, SeenTime, StillThere,
    StoreError, Value,
};

/// What a key of a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Named<'k> {
    /// An object with all its versions.
    Object(&'k str),
    /// An upload in parts: its key and id.
    Upload(&'k str, &'k str),
}

impl<'k> Named<'k> {
    /// What a key names; `None` where it names nothing here.
    pub(super) fn of(key: &'k Key) -> Option<Self> {
        match key.0.as_slice() {
            [Value::Text(key)] => Some(Self::Object(key)),
            [Value::Text(key), Value::Text(upload)] => Some(Self::Upload(key, upload)),
            [] | [_] | [_, _] | [_, _, _, ..] => None,
        }
    }

    pub(super) fn key(self) -> &'k str {
        match self {
            Self::Object(key) | Self::Upload(key, _) => key,
        }
    }
}

/// Where `find` goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stand {
    Objects(Option<Mark>),
    /// Behind this upload.
    Uploads(Option<(String, String)>),
}

impl Stand {
    fn of(position: Option<&Position>) -> Option<Self> {
        let Some(Position(key)) = position else { return Some(Self::Objects(None)) };
        let objects = |mark| Some(Self::Objects(Some(mark)));
        match key.0.as_slice() {
            [] => objects(Mark::Ended),
            [Value::Text(key)] => objects(Mark::Current(key.clone(), None)),
            [Value::Text(key), Value::Int(_)] => objects(Mark::Hidden(key.clone())),
            [Value::Text(key), Value::Int(_), Value::Text(token)] => {
                objects(Mark::Current(key.clone(), Some(token.clone())))
            }
            [Value::Text(key), Value::Text(upload)] => {
                Some(Self::Uploads(Some((key.clone(), upload.clone()))))
            }
            _ => None,
        }
    }

    fn position(mark: &Mark) -> Position {
        let text = |text: &str| Value::Text(text.to_owned());
        Position(Key(match mark {
            Mark::Current(key, None) => vec![text(key)],
            Mark::Current(key, Some(token)) => vec![text(key), Value::Int(0), text(token)],
            Mark::Hidden(key) => vec![text(key), Value::Int(0)],
            Mark::Ended => Vec::new(),
        }))
    }
}

/// Counts the selection.
pub(super) async fn survey(bucket: &Bucket, query: &Query) -> Result<Survey, StoreError> {
    let operation = "count objects";
    let selector = Selector::new(bucket, query, operation)?;
    let layout = prefix_layout(bucket, &query.placement, operation)?;
    let label = label_of(&query.placement);
    let mut survey = Survey::default();
    let mut count = |tenant: Option<TenantId>, time: SeenTime| {
        let at = match time {
            SeenTime::Usable(at) => Some(at),
            SeenTime::None | SeenTime::Unusable => None,
        };
        match tenant {
            Some(tenant) => {
                survey.tenants.entry(tenant).or_default().add(&Tally { records: 1, oldest: at, newest: at });
            }
            None => survey.nameless += 1,
        }
    };
    let wanted = |tenant: Option<&TenantId>| selector.tenant_matches(tenant);
    let mut walk = Walk::begin(bucket, layout, operation, only(query), &wanted, None).await?;
    while let Some(walked) = walk.next(PAGE_MAX).await? {
        for (walked, text) in labelled(bucket, operation, label, &selector, walked).await? {
            let said = Said::by_entry(&walked.entry, text.as_deref());
            if selector.matches(walked.tenant.as_ref(), said) {
                count(walked.tenant, selector.time_of(said));
            }
        }
    }
    for (tenant, upload) in uploads(bucket, operation, layout, only(query), &selector).await? {
        count(tenant, selector.time_of(Said::by_upload(&upload)));
    }
    Ok(survey)
}

/// Counts everything, up to a number.
pub(super) async fn population(
    bucket: &Bucket,
    placement: &Placement,
    at_most: u64,
) -> Result<u64, StoreError> {
    let operation = "count objects";
    let layout = prefix_layout(bucket, placement, operation)?;
    let mut walk = Walk::begin(bucket, layout, operation, None, &|_| true, None).await?;
    let mut records = 0;
    while records < at_most {
        match walk.next(PAGE_MAX).await? {
            Some(walked) => records += walked.len() as u64,
            None => {
                let is_record = |upload: &Upload| layout.whose(&upload.key) != Whose::NotOurs;
                let head = head_of(layout, None);
                records += bucket.uploads(operation, &head, &is_record).await?.len() as u64;
                break;
            }
        }
    }
    Ok(records.min(at_most))
}

/// Keys of current objects that rows may name, in the order of the walk, behind a key.
pub(super) async fn inventory(
    bucket: &Bucket,
    placement: &Placement,
    after: &str,
    at_most: usize,
) -> Result<Vec<String>, StoreError> {
    let operation = "list all objects";
    let layout = layout_of(bucket, placement, operation)?;
    let behind = (!after.is_empty()).then(|| Mark::Current(after.to_owned(), None));
    let mut walk = Walk::begin(bucket, layout, operation, None, &|_| true, behind).await?;
    let mut keys = Vec::new();
    while keys.len() < at_most {
        let page = i32::try_from(at_most - keys.len()).unwrap_or(PAGE_MAX);
        let Some(walked) = walk.next(page).await? else { break };
        let current = walked.into_iter().filter(|walked| walked.entry.latest().is_some_and(|v| !v.is_marker));
        keys.extend(current.map(|walked| walked.entry.key));
    }
    keys.truncate(at_most);
    Ok(keys)
}

/// The next batch: first objects, then uploads that nobody completed.
pub(super) async fn find(
    bucket: &Bucket,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
) -> Result<Option<Found>, StoreError> {
    let operation = "find objects";
    let selector = Selector::new(bucket, query, operation)?;
    let layout = prefix_layout(bucket, &query.placement, operation)?;
    let label = label_of(&query.placement);
    let most = usize::try_from(budget.records_max.max(1)).unwrap_or(usize::MAX);
    let Some(stand) = Stand::of(after) else {
        let message = "the position is not one of an object";
        return Err(bucket.error(operation, ErrorKind::Unresolved, Retry::Never, message));
    };
    let mut listed = Vec::new();
    let mut position = None;
    let upload_after = match stand {
        Stand::Uploads(after) => after,
        Stand::Objects(mark) => {
            let wanted = |tenant: Option<&TenantId>| selector.tenant_matches(tenant);
            let mut walk = Walk::begin(bucket, layout, operation, only(query), &wanted, mark).await?;
            loop {
                let left = most - listed.len();
                // A page is taken whole or not at all, and small pages are dear.
                if left == 0 || !listed.is_empty() && left < most / 4 {
                    return Ok(position.map(|position| Found { batch: Batch::List(listed), position }));
                }
                let page = i32::try_from(left).unwrap_or(PAGE_MAX);
                let Some(mut walked) = walk.next(page).await? else { break };
                // Records without a tenant are only ever counted.
                walked.retain(|walked| walked.tenant.is_some());
                for (walked, text) in labelled(bucket, operation, label, &selector, walked).await? {
                    let said = Said::by_entry(&walked.entry, text.as_deref());
                    let Some(tenant) =
                        walked.tenant.clone().filter(|tenant| selector.matches(Some(tenant), said))
                    else {
                        continue;
                    };
                    let key = Key(vec![Value::Text(walked.entry.key.clone())]);
                    listed.push(Listed { tenant, key, names: BTreeMap::new(), stamp: walked.entry.stamp() });
                    position = walk.mark().map(Stand::position);
                }
            }
            None
        }
    };
    for (tenant, upload) in uploads(bucket, operation, layout, only(query), &selector).await? {
        let here = (upload.key.clone(), upload.id.clone());
        let is_behind = upload_after.as_ref().is_none_or(|after| here > *after);
        let Some(tenant) = tenant.filter(|_| is_behind && listed.len() < most) else { continue };
        let stamp = upload.stamp();
        let key = Key(vec![Value::Text(upload.key), Value::Text(upload.id)]);
        position = Some(Position(key.clone()));
        listed.push(Listed { tenant, key, names: BTreeMap::new(), stamp });
    }
    Ok(position.map(|position| Found { batch: Batch::List(listed), position }))
}

/// What is still there of a batch: versions, markers and uploads, listed anew.
pub(super) async fn absent(bucket: &Bucket, query: &Query, batch: &Batch) -> Result<StillThere, StoreError> {
    let operation = "read back objects";
    let layout = layout_of(bucket, &query.placement, operation)?;
    let selector = if layout.is_found_by { None } else { Some(Selector::new(bucket, query, operation)?) };
    let listed = list_of(bucket, operation, batch)?;
    bucket.require_marker(operation).await?;
    let now = Now::ask(bucket, layout, operation, label_of(&query.placement), listed).await?;
    let mut still = StillThere::default();
    for (index, listed) in listed.iter().enumerate() {
        let named = Named::of(&listed.key).filter(|named| layout.proves(&listed.tenant, named.key()));
        let belongs = match named {
            // What can never have been a record of this tenant counts as still there.
            None => true,
            Some(Named::Object(key)) => match (now.entries.get(key), now.uploads_of(key).next()) {
                (None, None) => continue,
                (Some(entry), _) => {
                    let said = now.said(entry);
                    selector.as_ref().is_none_or(|selector| selector.matches(Some(&listed.tenant), said))
                }
                // Uploads go with the object that rows name; elsewhere they are records of their own.
                (None, Some(_)) if layout.is_found_by => true,
                (None, Some(_)) => continue,
            },
            Some(Named::Upload(key, id)) => match now.uploads_of(key).find(|upload| upload.id == id) {
                None => continue,
                Some(upload) => selector
                    .as_ref()
                    .is_none_or(|selector| selector.matches(Some(&listed.tenant), Said::by_upload(upload))),
            },
        };
        still.indexes.push(index);
        if belongs {
            *still.tenants.entry(listed.tenant.clone()).or_default() += 1;
        }
    }
    Ok(still)
}

/// What lies under the keys of a batch at this moment.
pub(super) struct Now {
    pub(super) entries: BTreeMap<String, Entry>,
    uploads: Vec<Upload>,
    /// The texts that event times are in, by key, where they must be fetched.
    texts: BTreeMap<String, String>,
}

impl Now {
    /// Asks. Only uploads under keys of the batch are kept.
    pub(super) async fn ask(
        bucket: &Bucket,
        layout: Layout<'_>,
        operation: &'static str,
        label: Option<Label<'_>>,
        listed: &[Listed],
    ) -> Result<Self, StoreError> {
        let mode = bucket.mode(operation).await?;
        let mut objects = BTreeSet::new();
        let mut tenants = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for listed in listed {
            let Some(named) = Named::of(&listed.key) else { continue };
            if !layout.proves(&listed.tenant, named.key()) {
                continue;
            }
            if let Named::Object(key) = named {
                objects.insert(key);
            }
            if layout.is_found_by || matches!(named, Named::Upload(..)) {
                tenants.insert(&listed.tenant);
                keys.insert(named.key());
            }
        }
        let entries = bucket.fresh(mode, operation, &objects).await?;
        let mut uploads = Vec::new();
        let is_meant = |upload: &Upload| keys.contains(upload.key.as_str());
        for tenant in tenants {
            uploads.extend(bucket.uploads(operation, &head_of(layout, Some(tenant)), &is_meant).await?);
        }
        uploads.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
        uploads.dedup();
        let all: Vec<&Entry> = entries.values().collect();
        let texts = bucket.labels(operation, label, &all).await?;
        let texts = all.iter().zip(texts).filter_map(|(entry, text)| Some((entry.key.clone(), text?)));
        let texts = texts.collect();
        Ok(Self { entries, uploads, texts })
    }

    /// What an object says of its time.
    pub(super) fn said<'n>(&'n self, entry: &'n Entry) -> Said<'n> {
        Said::by_entry(entry, self.texts.get(&entry.key).map(String::as_str))
    }

    /// Uploads under exactly this key.
    pub(super) fn uploads_of<'n>(&'n self, key: &str) -> impl Iterator<Item = &'n Upload> {
        let from = self.uploads.partition_point(|upload| upload.key.as_str() < key);
        let to = self.uploads.partition_point(|upload| upload.key.as_str() <= key);
        self.uploads.get(from..to).unwrap_or_default().iter()
    }
}

/// One object by its key.
pub(super) async fn look(bucket: &Bucket, query: &Query, key: &[String]) -> Result<Option<Seen>, StoreError> {
    let operation = "look at an object";
    let layout = layout_of(bucket, &query.placement, operation)?;
    let [key] = key else {
        let message = "an object is named by one key";
        return Err(bucket.error(operation, ErrorKind::Schema, Retry::Never, message));
    };
    let tenant = match layout.whose(key) {
        Whose::NotOurs => return Ok(None),
        Whose::Nobody => None,
        Whose::Tenant(tenant) => Some(tenant),
    };
    let mode: Mode = bucket.mode(operation).await?;
    let Some(entry) = bucket.exact(mode, operation, key).await? else { return Ok(None) };
    let text = match label_of(&query.placement) {
        Some(label) => bucket.label(operation, label, &entry).await?,
        None => None,
    };
    let selector = Selector::new(bucket, query, operation)?;
    let event_time = selector.time_of(Said::by_entry(&entry, text.as_deref()));
    Ok(Some(Seen { tenant, event_time, subjects: Vec::new() }))
}

/// The records of a list batch.
pub(super) fn list_of<'b>(
    bucket: &Bucket,
    operation: &'static str,
    batch: &'b Batch,
) -> Result<&'b [Listed], StoreError> {
    match batch {
        Batch::List(listed) => Ok(listed),
        Batch::Window { .. } => {
            let message = "objects are erased by list, not by window";
            Err(bucket.error(operation, ErrorKind::Unresolved, Retry::Never, message))
        }
    }
}

/// The layout of any placement of objects.
pub(super) fn layout_of<'p>(
    bucket: &Bucket,
    placement: &'p Placement,
    operation: &'static str,
) -> Result<Layout<'p>, StoreError> {
    Layout::of(placement).map_err(|message| bucket.error(operation, ErrorKind::Schema, Retry::Never, message))
}

fn prefix_layout<'p>(
    bucket: &Bucket,
    placement: &'p Placement,
    operation: &'static str,
) -> Result<Layout<'p>, StoreError> {
    let layout = layout_of(bucket, placement, operation)?;
    if layout.is_found_by {
        let message = "its objects are known only by the rows that name them";
        return Err(bucket.error(operation, ErrorKind::Unresolved, Retry::Never, message));
    }
    Ok(layout)
}

/// The one tenant that is asked for, where it is one.
fn only(query: &Query) -> Option<&TenantId> {
    match &query.selection.tenants {
        TenantScope::One(tenant) => Some(tenant),
        TenantScope::AllExcept(_) | TenantScope::Nameless => None,
    }
}

/// What every key of a layout begins with; of one tenant, where one is meant.
fn head_of(layout: Layout<'_>, tenant: Option<&TenantId>) -> String {
    let own = layout.constant.or(tenant).and_then(|tenant| prefix_of(layout.template, tenant));
    own.unwrap_or_else(|| {
        let end = layout.template.find(TENANT_MARK).unwrap_or_default();
        layout.template.get(..end).unwrap_or_default().to_owned()
    })
}

/// The uploads of the selection, in order of key and id.
async fn uploads(
    bucket: &Bucket,
    operation: &'static str,
    layout: Layout<'_>,
    only: Option<&TenantId>,
    selector: &Selector<'_>,
) -> Result<Vec<(Option<TenantId>, Upload)>, StoreError> {
    // A tenant that could leave its own prefix has no place, and so no uploads.
    if only.is_some_and(|only| prefix_of(layout.template, only).is_none()) {
        return Ok(Vec::new());
    }
    let whose = |upload: &Upload| match layout.whose(&upload.key) {
        Whose::NotOurs => None,
        Whose::Nobody => Some(None),
        Whose::Tenant(tenant) => Some(Some(tenant)),
    };
    let wanted = |upload: &Upload| {
        whose(upload).is_some_and(|tenant| selector.matches(tenant.as_ref(), Said::by_upload(upload)))
    };
    let found = bucket.uploads(operation, &head_of(layout, only), &wanted).await?;
    Ok(found.into_iter().filter_map(|upload| whose(&upload).map(|tenant| (tenant, upload))).collect())
}

/// The objects with the text that their time is in. Only those whose tenant can belong are asked for it.
async fn labelled(
    bucket: &Bucket,
    operation: &'static str,
    label: Option<Label<'_>>,
    selector: &Selector<'_>,
    mut walked: Vec<Walked>,
) -> Result<Vec<(Walked, Option<String>)>, StoreError> {
    walked.retain(|walked| selector.tenant_matches(walked.tenant.as_ref()));
    let entries: Vec<_> = walked.iter().map(|walked| &walked.entry).collect();
    let labels = bucket.labels(operation, label, &entries).await?;
    Ok(walked.into_iter().zip(labels).collect())
}
