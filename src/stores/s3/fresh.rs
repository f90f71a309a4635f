//! What lies under given keys at this moment: asked anew before every erasing and for every read-back. It owns how few
//! requests that takes; a key counts as absent only where a whole listing, or one of that very key, did not show it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use super::bucket::Bucket;
use super::entry::Entry;
use super::pages::{Ask, Mode, Next, PAGE_MAX};
use super::select::Label;
use crate::stores::{ErrorKind, Retry, StoreError};

/// Requests about single keys at once.
pub(super) const LANES: usize = 12;

/// A folder with fewer keys than this is not worth a listing.
const KEYS_MIN: usize = 3;

impl Bucket {
    /// Everything that lies under these keys. A key that is missing in the answer is absent.
    pub(super) async fn fresh(
        &self,
        mode: Mode,
        operation: &'static str,
        keys: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, Entry>, StoreError> {
        let mut folders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for key in keys {
            let end = key.rfind('/').map_or(0, |at| at + 1);
            folders.entry(key.get(..end).unwrap_or_default()).or_default().insert(key);
        }
        let mut found = BTreeMap::new();
        let mut singles: Vec<&str> = Vec::new();
        for (folder, keys) in folders {
            if keys.len() < KEYS_MIN {
                singles.extend(keys);
                continue;
            }
            let unseen = match mode {
                Mode::Versions => self.look_once(operation, folder, keys, &mut found).await?,
                Mode::Plain => self.look_along(operation, folder, keys, &mut found).await?,
            };
            singles.extend(unseen);
        }
        for some in singles.chunks(LANES) {
            let entries = try_join_all(some.iter().map(|key| self.exact(mode, operation, key))).await?;
            found.extend(entries.into_iter().flatten().map(|entry| (entry.key.clone(), entry)));
        }
        Ok(found)
    }

    /// One page of a folder: where that is all of it, it says everything. Gives back the keys still to be asked for.
    ///
    /// Listings of versions are not followed over pages: servers were seen that lose keys between two of them.
    async fn look_once<'k>(
        &self,
        operation: &'static str,
        folder: &str,
        keys: BTreeSet<&'k str>,
        found: &mut BTreeMap<String, Entry>,
    ) -> Result<BTreeSet<&'k str>, StoreError> {
        let ask = Ask { operation, prefix: folder, next: None, most: PAGE_MAX, folders: false };
        let page = self.page(Mode::Versions, ask).await?;
        if page.next.is_some() {
            return Ok(keys);
        }
        found.extend(
            page.entries
                .into_iter()
                .filter(|entry| keys.contains(entry.key.as_str()))
                .map(|entry| (entry.key.clone(), entry)),
        );
        Ok(BTreeSet::new())
    }

    /// The stretch of a folder in which the keys lie. Gives back the keys still to be asked for.
    async fn look_along<'k>(
        &self,
        operation: &'static str,
        folder: &str,
        keys: BTreeSet<&'k str>,
        found: &mut BTreeMap<String, Entry>,
    ) -> Result<BTreeSet<&'k str>, StoreError> {
        let mut unseen = keys.clone();
        let (Some(first), Some(last)) = (keys.first().copied(), keys.last().copied()) else {
            return Ok(unseen);
        };
        // Just before the first key: the key without its last letter, where that is still inside the folder.
        let before = first.char_indices().last().and_then(|(at, _)| first.get(..at));
        let mut next = before.filter(|key| key.len() > folder.len()).map(|key| Next::After(key.to_owned()));
        let mut previous = String::new();
        for _ in 0..2 + keys.len() / 50 {
            let ask = Ask { operation, prefix: folder, next: next.as_ref(), most: PAGE_MAX, folders: false };
            let page = self.page(Mode::Plain, ask).await?;
            for entry in page.entries {
                let is_child = entry.key.get(folder.len()..).is_some_and(|rest| !rest.contains('/'));
                if !is_child {
                    continue;
                }
                if entry.key <= previous {
                    // Not in order: then what was not seen may still come.
                    return Ok(unseen);
                }
                previous.clone_from(&entry.key);
                if unseen.remove(entry.key.as_str()) {
                    found.insert(entry.key.clone(), entry);
                }
            }
            if page.next.is_none() || previous.as_str() > last {
                return Ok(BTreeSet::new());
            }
            next = page.next;
        }
        Ok(unseen)
    }

    /// What lies under exactly this key; `None` where nothing does.
    pub(super) async fn exact(
        &self,
        mode: Mode,
        operation: &'static str,
        key: &str,
    ) -> Result<Option<Entry>, StoreError> {
        let mut versions = Vec::new();
        let mut next: Option<Next> = None;
        loop {
            let ask = Ask { operation, prefix: key, next: next.as_ref(), most: PAGE_MAX, folders: false };
            let page = self.page(mode, ask).await?;
            let shows_others = page.entries.iter().any(|entry| entry.key != key);
            versions
                .extend(page.entries.into_iter().filter(|entry| entry.key == key).flat_map(|e| e.versions));
            // The key sorts before every longer one, so behind the first of those nothing of it can come.
            if page.next.is_none() || shows_others {
                break;
            }
            next = page.next;
        }
        Ok((!versions.is_empty()).then(|| Entry { key: key.to_owned(), versions }))
    }

    /// The text in the metadata or a tag of the newest bytes; `None` where there is none. For objects that went
    /// meanwhile as well: their next listing says so.
    pub(super) async fn label(
        &self,
        operation: &'static str,
        label: Label<'_>,
        entry: &Entry,
    ) -> Result<Option<String>, StoreError> {
        let Some(version) = entry.newest_bytes() else { return Ok(None) };
        let id = version.id.clone();
        match label {
            Label::Metadata(name) => {
                let asked =
                    self.client.head_object().bucket(&self.name).key(&entry.key).set_version_id(id).send();
                match asked.await {
                    Ok(answer) => Ok(answer.metadata().and_then(|all| all.get(name).cloned())),
                    Err(error) if error.raw_response().is_some_and(|r| r.status().as_u16() == 404) => {
                        Ok(None)
                    }
                    Err(error) => Err(self.failed(operation, &error)),
                }
            }
            Label::Tag(name) => {
                let asked = self
                    .client
                    .get_object_tagging()
                    .bucket(&self.name)
                    .key(&entry.key)
                    .set_version_id(id)
                    .send();
                match asked.await {
                    Ok(answer) => {
                        let tag = answer.tag_set().iter().find(|tag| tag.key() == name);
                        Ok(tag.map(|tag| tag.value().to_owned()))
                    }
                    Err(error) => {
                        let known = self.failed(operation, &error);
                        let gone = ["NoSuchKey", "NoSuchVersion", "NoSuchTagSet"];
                        if gone.contains(&super::bucket::code_of(&error).as_str()) {
                            return Ok(None);
                        }
                        Err(known)
                    }
                }
            }
        }
    }

    /// The labels of many, in their order.
    pub(super) async fn labels(
        &self,
        operation: &'static str,
        label: Option<Label<'_>>,
        entries: &[&Entry],
    ) -> Result<Vec<Option<String>>, StoreError> {
        let Some(label) = label else { return Ok(vec![None; entries.len()]) };
        let mut labels = Vec::with_capacity(entries.len());
        for some in entries.chunks(LANES) {
            labels.extend(try_join_all(some.iter().map(|entry| self.label(operation, label, entry))).await?);
        }
        if labels.len() == entries.len() {
            return Ok(labels);
        }
        let message = "not every object was asked for its time";
        Err(self.error(operation, ErrorKind::Unresolved, Retry::Never, message))
    }
}
