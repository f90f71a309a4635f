//! The walk over the objects of a prefix placement: tenant by tenant, page by page, forward only. It owns order and
//! resumption; which objects are meant is said by `select`. It changes nothing.

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
    /// Behind this key, among the current objects of its place; or where the server's own token says.
    Current(String, Option<String>),
    /// Behind this key, among those that a delete marker hides.
    Hidden(String),
    /// At the end.
    Ended,
}

/// Which objects of a place are being listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Current,
    Hidden,
}

/// An object on the walk. Of a current one only the current version is known here.
#[derive(Debug)]
pub(super) struct Walked {
    /// Whose it is; `None` where its key proves nobody.
    pub(super) tenant: Option<TenantId>,
    /// What lies there.
    pub(super) entry: Entry,
}

/// A walk.
///
/// Current objects come from the plain listing, which every server keeps in order from page to page; the listing of
/// versions only shows what lies under delete markers. Some servers lose keys between two pages of the latter.
pub(super) struct Walk<'b> {
    bucket: &'b Bucket,
    layout: Layout<'b>,
    operation: &'static str,
    mode: Mode,
    places: std::vec::IntoIter<Place>,
    place: Option<Place>,
    stage: Stage,
    next: Option<Next>,
    /// The key whose versions go on in the next page, although it was dealt with.
    cut: Option<String>,
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
        let mut stage = Stage::Current;
        let mut next = None;
        let resumed = match &after {
            None => None,
            Some(Mark::Current(key, token)) => {
                let next = token.clone().map_or_else(|| Next::After(key.clone()), Next::Token);
                Some((key, Stage::Current, next))
            }
            Some(Mark::Hidden(key)) => Some((key, Stage::Hidden, Next::After(key.clone()))),
            Some(Mark::Ended) => {
                places.clear();
                None
            }
        };
        if let Some((key, of, behind)) = resumed {
            places.retain(|place| place.prefix > *key || key.starts_with(&place.prefix));
            if places.first().is_some_and(|place| key.starts_with(&place.prefix)) {
                stage = of;
                next = Some(behind);
            }
        }
        let mut places = places.into_iter();
        let place = places.next();
        Ok(Self { bucket, layout, operation, mode, places, place, stage, next, cut: None, mark: after })
    }

    /// Where the walk stands, to go on from.
    pub(super) fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// The next objects, at most `most` keys; `None` at the end. May be empty in between.
    pub(super) async fn next(&mut self, most: i32) -> Result<Option<Vec<Walked>>, StoreError> {
        let Some(place) = self.place.clone() else { return Ok(None) };
        let next = self.next.take();
        let ask = Ask {
            operation: self.operation,
            prefix: &place.prefix,
            next: next.as_ref(),
            most: most.clamp(1, PAGE_MAX),
            folders: false,
        };
        let entries = match self.stage {
            Stage::Current => {
                let page = self.bucket.page(Mode::Plain, ask).await?;
                self.next = page.next;
                // Of servers that are not AWS only the token is sure: some keep another order than that of bytes.
                let token = match &self.next {
                    Some(Next::Token(token)) if self.bucket.is_foreign => Some(token.clone()),
                    Some(_) | None => None,
                };
                let last = page.entries.last().map_or(&place.prefix, |last| &last.key);
                self.mark = Some(Mark::Current(last.clone(), token));
                page.entries
            }
            Stage::Hidden => self.hidden(ask).await?,
        };
        if self.next.is_none() {
            match (self.stage, self.mode) {
                (Stage::Current, Mode::Versions) => {
                    self.stage = Stage::Hidden;
                    self.mark = Some(Mark::Hidden(place.prefix.clone()));
                }
                (Stage::Current, Mode::Plain) | (Stage::Hidden, _) => {
                    self.stage = Stage::Current;
                    self.place = self.places.next();
                    let begins = |next: &Place| Mark::Current(next.prefix.clone(), None);
                    self.mark = Some(self.place.as_ref().map_or(Mark::Ended, begins));
                }
            }
            self.cut = None;
        }
        let owned = entries.into_iter().filter_map(|entry| match self.layout.whose(&entry.key) {
            Whose::NotOurs => None,
            Whose::Nobody => Some(Walked { tenant: None, entry }),
            Whose::Tenant(tenant) => Some(Walked { tenant: Some(tenant), entry }),
        });
        Ok(Some(owned.collect()))
    }

    /// One page of what a plain read does not find, each entry whole.
    async fn hidden(&mut self, ask: Ask<'_>) -> Result<Vec<Entry>, StoreError> {
        let page = self.bucket.page(Mode::Versions, ask).await?;
        self.next = page.next;
        if let Some(last) = page.entries.last() {
            self.mark = Some(Mark::Hidden(last.key.clone()));
        }
        let before = std::mem::replace(&mut self.cut, page.cut.clone());
        let mut hidden = Vec::new();
        for entry in page.entries {
            let is_current = |entry: &Entry| entry.latest().is_some_and(|latest| !latest.is_marker);
            if is_current(&entry) || before.as_ref() == Some(&entry.key) {
                continue;
            }
            // Cut by the end of the page, or by a server that lost its newest version: asked for by its key.
            if page.cut.as_ref() == Some(&entry.key) || entry.latest().is_none() {
                let whole = self.bucket.exact(self.mode, self.operation, &entry.key).await?;
                hidden.extend(whole.filter(|whole| !is_current(whole)));
            } else {
                hidden.push(entry);
            }
        }
        Ok(hidden)
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
