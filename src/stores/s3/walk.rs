//! The walk over the objects of a prefix placement: tenant by tenant, page by page, forward only. It owns order and
//! resumption; which objects are meant is said by `select`. It changes nothing.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use super::bucket::Bucket;
use super::entry::Entry;
use super::pages::{Ask, Mode, Next, PAGE_MAX};
use super::select::{Layout, Whose};
use crate::id::TenantId;
use crate::policy::template::{TENANT_MARK, prefix_of, tenant_text};
use crate::stores::StoreError;

/// A prefix to list, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    prefix: String,
    tenant: Option<TenantId>,
}

/// Where a walk stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// Behind this key, in the listing.
    Listed(String),
    /// Behind this key, among what the listing of versions had lost.
    Recovered(String),
}

/// Whether the listing of a place is being read, or what it may have lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Listing,
    Recovering,
}

/// An object on the walk.
#[derive(Debug)]
pub(super) struct Walked {
    /// Whose it is; `None` where its key proves nobody.
    pub(super) tenant: Option<TenantId>,
    /// What lies there.
    pub(super) entry: Entry,
}

/// A walk.
///
/// Some servers lose keys between two pages of a listing of versions (seen with a folder `d/` beside a key `d-1`), but
/// not of a plain listing. So behind a listing of versions that took several pages, a server that is not AWS is asked
/// for the plain one too, and what only that one shows is looked at by its key.
pub(super) struct Walk<'b> {
    bucket: &'b Bucket,
    layout: Layout<'b>,
    operation: &'static str,
    mode: Mode,
    places: std::vec::IntoIter<Place>,
    place: Option<Place>,
    stage: Stage,
    next: Option<Next>,
    /// The key whose versions were completed by a listing of their own.
    completed: Option<String>,
    seen: HashSet<u64>,
    hasher: RandomState,
    /// True where `seen` holds every key of the place that its listing shows.
    saw_all: bool,
    pages: u64,
    mark: Option<Mark>,
}

impl<'b> Walk<'b> {
    /// Begins, or goes on behind a mark. Only places of tenants that are `wanted` are listed.
    pub(super) async fn begin(
        bucket: &'b Bucket,
        layout: Layout<'b>,
        operation: &'static str,
        only: Option<&TenantId>,
        wanted: &(dyn Fn(Option<&TenantId>) -> bool + Sync),
        after: Option<Mark>,
    ) -> Result<Self, StoreError> {
        let mode = bucket.mode(operation).await?;
        let mut places = places(bucket, layout, mode, operation, only).await?;
        places.retain(|place| wanted(place.tenant.as_ref()) || wanted(None));
        places.sort();
        places.dedup();
        let mut walk = Self {
            bucket,
            layout,
            operation,
            mode,
            places: Vec::new().into_iter(),
            place: None,
            stage: Stage::Listing,
            next: None,
            completed: None,
            seen: HashSet::new(),
            hasher: RandomState::new(),
            saw_all: true,
            pages: 0,
            mark: after.clone(),
        };
        if let Some((Mark::Listed(key) | Mark::Recovered(key), mark)) =
            after.as_ref().map(|mark| (mark, mark))
        {
            places.retain(|place| place.prefix.as_str() > key.as_str() || key.starts_with(&place.prefix));
            walk.places = places.into_iter();
            walk.place = walk.places.next();
            if walk.place.as_ref().is_some_and(|place| key.starts_with(&place.prefix)) {
                walk.next = Some(Next::After(key.clone()));
                walk.saw_all = false;
                if matches!(mark, Mark::Recovered(_)) {
                    walk.stage = Stage::Recovering;
                    walk.look_again().await?;
                }
            }
        } else {
            walk.places = places.into_iter();
            walk.place = walk.places.next();
        }
        Ok(walk)
    }

    /// Where the walk stands, to go on from.
    pub(super) fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// The next objects, at most `most` keys; `None` at the end. May be empty in between.
    pub(super) async fn next(&mut self, most: i32) -> Result<Option<Vec<Walked>>, StoreError> {
        let Some(place) = self.place.clone() else { return Ok(None) };
        match self.stage {
            Stage::Listing => {
                let mut entries = self.list(&place, most).await?;
                if let Some(last) = entries.last() {
                    self.mark = Some(Mark::Listed(last.key.clone()));
                }
                if self.remembers() {
                    let (seen, hasher) = (&mut self.seen, &self.hasher);
                    seen.extend(entries.iter().map(|entry| hasher.hash_one(&entry.key)));
                }
                if self.next.is_none() {
                    self.listing_ended().await?;
                }
                Ok(Some(self.owned(entries.drain(..))))
            }
            Stage::Recovering => {
                let next = self.next.take();
                let ask = self.ask(&place.prefix, next.as_ref(), most);
                let page = self.bucket.page(Mode::Plain, ask).await?;
                if let Some(last) = page.entries.last() {
                    self.mark = Some(Mark::Recovered(last.key.clone()));
                }
                let mut entries = Vec::new();
                for entry in page.entries {
                    if !self.seen.contains(&self.hasher.hash_one(&entry.key)) {
                        entries.extend(self.bucket.exact(self.mode, self.operation, &entry.key).await?);
                    }
                }
                self.next = page.next;
                if self.next.is_none() {
                    self.leave_place();
                }
                Ok(Some(self.owned(entries.into_iter())))
            }
        }
    }

    fn owned(&self, entries: impl Iterator<Item = Entry>) -> Vec<Walked> {
        entries
            .filter_map(|entry| match self.layout.whose(&entry.key) {
                Whose::NotOurs => None,
                Whose::Nobody => Some(Walked { tenant: None, entry }),
                Whose::Tenant(tenant) => Some(Walked { tenant: Some(tenant), entry }),
            })
            .collect()
    }

    /// One page of a place, each entry whole.
    async fn list(&mut self, place: &Place, most: i32) -> Result<Vec<Entry>, StoreError> {
        let next = self.next.take();
        let page = self.bucket.page(self.mode, self.ask(&place.prefix, next.as_ref(), most)).await?;
        self.pages += 1;
        self.next = page.next;
        let mut entries = page.entries;
        if let Some(done) = &self.completed {
            entries.retain(|entry| entry.key != *done);
        }
        if let Some(cut) = page.cut
            && let Some(entry) = entries.iter_mut().find(|entry| entry.key == cut)
        {
            if let Some(whole) = self.bucket.exact(self.mode, self.operation, &cut).await? {
                *entry = whole;
            }
            self.completed = Some(cut);
        }
        Ok(entries)
    }

    fn ask<'a>(&self, prefix: &'a str, next: Option<&'a Next>, most: i32) -> Ask<'a> {
        Ask { operation: self.operation, prefix, next, most: most.clamp(1, PAGE_MAX), folders: false }
    }

    /// True where a listing of this server may have lost something.
    fn remembers(&self) -> bool {
        self.mode == Mode::Versions && self.bucket.is_foreign
    }

    async fn listing_ended(&mut self) -> Result<(), StoreError> {
        let is_doubtful = self.remembers() && (self.pages > 1 || !self.saw_all);
        if !is_doubtful {
            self.leave_place();
            return Ok(());
        }
        self.stage = Stage::Recovering;
        if !self.saw_all {
            self.look_again().await?;
        }
        Ok(())
    }

    /// Reads the listing of the place from its start, only to know what it shows.
    async fn look_again(&mut self) -> Result<(), StoreError> {
        let Some(place) = self.place.clone() else { return Ok(()) };
        let mut next: Option<Next> = None;
        loop {
            let page = self.bucket.page(self.mode, self.ask(&place.prefix, next.as_ref(), PAGE_MAX)).await?;
            let (seen, hasher) = (&mut self.seen, &self.hasher);
            seen.extend(page.entries.iter().map(|entry| hasher.hash_one(&entry.key)));
            next = page.next;
            if next.is_none() {
                self.saw_all = true;
                return Ok(());
            }
        }
    }

    fn leave_place(&mut self) {
        self.place = self.places.next();
        self.stage = Stage::Listing;
        self.next = None;
        self.completed = None;
        self.seen.clear();
        self.saw_all = true;
        self.pages = 0;
    }
}

/// The prefixes that hold records.
async fn places(
    bucket: &Bucket,
    layout: Layout<'_>,
    mode: Mode,
    operation: &'static str,
    only: Option<&TenantId>,
) -> Result<Vec<Place>, StoreError> {
    if let Some(tenant) = layout.constant.or(only) {
        let differs = layout.constant.is_some_and(|constant| only.is_some_and(|only| only != constant));
        let prefix = prefix_of(layout.template, tenant).filter(|_| !differs);
        return Ok(prefix.map(|prefix| Place { prefix, tenant: Some(tenant.clone()) }).into_iter().collect());
    }
    let head = layout.template.find(TENANT_MARK).and_then(|at| layout.template.get(..at)).unwrap_or_default();
    let component = layout.template.split('/').find(|part| part.contains(TENANT_MARK)).unwrap_or_default();
    let mut places = Vec::new();
    // As the walk does: where versions are listed, the plain listing is asked for folders too.
    let modes: &[Mode] = match mode {
        Mode::Versions => &[Mode::Versions, Mode::Plain],
        Mode::Plain => &[Mode::Plain],
    };
    for mode in modes {
        let mut next: Option<Next> = None;
        loop {
            let ask = Ask { operation, prefix: head, next: next.as_ref(), most: PAGE_MAX, folders: true };
            let page = bucket.page(*mode, ask).await?;
            for folder in page.folders {
                let name = folder.strip_suffix('/').unwrap_or(&folder).rsplit('/').next().unwrap_or_default();
                let Some(text) = tenant_text(component, name) else { continue };
                let own = TenantId::observed(text)
                    .and_then(|tenant| prefix_of(layout.template, &tenant).map(|prefix| (tenant, prefix)));
                places.push(match own {
                    Some((tenant, prefix)) => Place { prefix, tenant: Some(tenant) },
                    None => Place { prefix: folder, tenant: None },
                });
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
    }
    Ok(places)
}
