//! Erasing a batch of objects: asked anew, judged again, and only then deleted, versions first and markers last. It owns
//! that order and the count; how names are deleted is said by `delete`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::try_join_all;

use super::bucket::Bucket;
use super::delete::{Left, Pace, Target};
use super::entry::{Entry, Upload, Version};
use super::look::{Named, Now, layout_of, list_of};
use super::overwrite::Overwritten;
use super::select::{Layout, Said, Selector, label_of};
use crate::plan::Counts;
use crate::policy::Method;
use crate::stores::{Batch, Erased, Listed, Query, StoreError, Survival, Survivor};

const OPERATION: &str = "erase objects";

/// Times that a busy server is asked again.
const ROUNDS: u32 = 5;

/// The first pause; doubled each time.
const PAUSE: Duration = Duration::from_millis(200);

/// Objects overwritten at once.
const OVERWRITERS: usize = 4;

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Erased,
    AlreadyAbsent,
    Changed,
    Failed(String),
}

/// Erases a batch.
pub(super) async fn erase(
    bucket: &Bucket,
    query: &Query,
    batch: &Batch,
    method: Method,
) -> Result<Erased, StoreError> {
    let layout = layout_of(bucket, &query.placement, OPERATION)?;
    // The selection of what rows name is about those rows; they were asked when the list was made.
    let selector = if layout.is_found_by { None } else { Some(Selector::new(bucket, query, OPERATION)?) };
    let listed = list_of(bucket, OPERATION, batch)?;
    bucket.require_marker(OPERATION).await?;
    let can_lock = bucket.can_lock(OPERATION).await?;
    let mut work = Work {
        bucket,
        query,
        layout,
        selector: selector.as_ref(),
        method,
        can_lock,
        pace: Pace::new(),
        listed,
        fates: BTreeMap::new(),
        begun: BTreeMap::new(),
    };
    let mut open: Vec<usize> = (0..listed.len()).collect();
    let mut pause = PAUSE;
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(pause).await;
            pause *= 2;
            work.pace = work.pace.slower();
        }
        // Each round asks and judges anew: what was written while we waited is another record.
        open = work.round(&open).await?;
        if open.is_empty() {
            break;
        }
    }
    for index in open {
        work.settle(index, Fate::Failed("the server was busy too often (SlowDown)".to_owned()));
    }
    Ok(work.counted())
}

struct Work<'a> {
    bucket: &'a Bucket,
    query: &'a Query,
    layout: Layout<'a>,
    selector: Option<&'a Selector<'a>>,
    method: Method,
    can_lock: bool,
    pace: Pace,
    listed: &'a [Listed],
    fates: BTreeMap<usize, Fate>,
    /// The versions that were found when a record was judged. What comes later is not ours to erase.
    begun: BTreeMap<usize, BTreeSet<String>>,
}

/// A record that is to go now.
struct Going {
    index: usize,
    entry: Option<Entry>,
    uploads: Vec<Upload>,
}

impl Work<'_> {
    /// Works on some records; gives back those for which the server was too busy.
    async fn round(&mut self, open: &[usize]) -> Result<Vec<usize>, StoreError> {
        let some: Vec<Listed> = open.iter().filter_map(|index| self.listed.get(*index).cloned()).collect();
        let label = label_of(&self.query.placement);
        let now = Now::ask(self.bucket, self.layout, OPERATION, label, &some).await?;
        let mut going = self.judge(open, &now);
        self.keep_locked(&mut going).await?;
        match self.method {
            // No store of objects can zero old bytes; zeros beside them cost room and gain nothing.
            Method::Delete | Method::Zero => {}
            Method::OverwriteThenDelete => self.overwrite(&mut going).await?,
        }
        let mut left = self.delete(&going, false).await?;
        // A marker goes only after every version that it hides, or these would show again.
        going.retain(|going| !left.contains_key(&going.index));
        left.extend(self.delete(&going, true).await?);
        for going in &going {
            if left.contains_key(&going.index) {
                continue;
            }
            let mut fate = Some(Fate::Erased);
            for upload in &going.uploads {
                match self.bucket.abort(OPERATION, &upload.key, &upload.id).await? {
                    None => {}
                    Some(Left::Busy) => fate = None,
                    Some(Left::Refused(why)) => fate = Some(Fate::Failed(why)),
                }
            }
            match fate {
                Some(fate) => self.settle(going.index, fate),
                None => {
                    left.insert(going.index, Left::Busy);
                }
            }
        }
        let mut again = Vec::new();
        for (index, left) in left {
            match left {
                Left::Busy => again.push(index),
                Left::Refused(why) => self.settle(index, Fate::Failed(why)),
            }
        }
        Ok(again)
    }

    /// The order decides which reason is stated where several hold:
    ///
    /// 1. its key proves the tenant,
    /// 2. something is there,
    /// 3. it is what was found,
    /// 4. it still belongs to the selection.
    fn judge(&mut self, open: &[usize], now: &Now) -> Vec<Going> {
        let mut going = Vec::new();
        for &index in open {
            let Some(listed) = self.listed.get(index) else { continue };
            // 1
            let named =
                Named::of(&listed.key).filter(|named| self.layout.proves(&listed.tenant, named.key()));
            let (entry, uploads): (Option<&Entry>, Vec<Upload>) = match named {
                None => {
                    let why = "it lies outside the prefix of its tenant";
                    self.settle(index, Fate::Failed(why.to_owned()));
                    continue;
                }
                Some(Named::Object(key)) if self.layout.is_found_by => {
                    (now.entries.get(key), now.uploads_of(key).cloned().collect())
                }
                Some(Named::Object(key)) => (now.entries.get(key), Vec::new()),
                Some(Named::Upload(key, id)) => {
                    (None, now.uploads_of(key).filter(|upload| upload.id == id).cloned().collect())
                }
            };
            // 2
            if entry.is_none() && uploads.is_empty() {
                let was_ours = self.begun.contains_key(&index);
                self.settle(index, if was_ours { Fate::Erased } else { Fate::AlreadyAbsent });
                continue;
            }
            // 3, 4
            let versions = entry.into_iter().flat_map(|entry| &entry.versions).map(Version::stamp);
            let is_same = match self.begun.get(&index) {
                Some(begun) => versions.clone().all(|version| begun.contains(&version)),
                None => {
                    let stamp = match (entry, uploads.first()) {
                        (Some(entry), _) => entry.stamp(),
                        (None, upload) => upload.map(Upload::stamp).unwrap_or_default(),
                    };
                    let said = match (entry, uploads.first()) {
                        (Some(entry), _) => Some(now.said(entry)),
                        (None, upload) => upload.map(Said::by_upload),
                    };
                    (listed.stamp.is_empty() || listed.stamp == stamp)
                        && self.selector.is_none_or(|selector| {
                            said.is_some_and(|said| selector.matches(Some(&listed.tenant), said))
                        })
                }
            };
            if !is_same {
                self.settle(index, Fate::Changed);
                continue;
            }
            self.begun.entry(index).or_insert_with(|| versions.collect());
            going.push(Going { index, entry: entry.cloned(), uploads });
        }
        going
    }

    /// Leaves out, and reports, every record of which a version is locked: all of it stays.
    async fn keep_locked(&mut self, going: &mut Vec<Going>) -> Result<(), StoreError> {
        if !self.can_lock {
            return Ok(());
        }
        let entries: Vec<&Entry> = going.iter().filter_map(|going| going.entry.as_ref()).collect();
        let locks = self.bucket.locks(OPERATION, &entries, self.query.now).await?;
        let with_entry = going.iter().filter(|going| going.entry.is_some());
        let locked: BTreeMap<usize, String> =
            with_entry.zip(locks).filter_map(|(going, lock)| lock.map(|lock| (going.index, lock))).collect();
        going.retain(|going| !locked.contains_key(&going.index));
        for (index, why) in locked {
            self.settle(index, Fate::Failed(why));
        }
        Ok(())
    }

    async fn overwrite(&mut self, going: &mut Vec<Going>) -> Result<(), StoreError> {
        let mode = self.bucket.mode(OPERATION).await?;
        let mut kept = Vec::new();
        for some in std::mem::take(going).chunks_mut(OVERWRITERS) {
            let done = try_join_all(some.iter().map(|going| async {
                match &going.entry {
                    Some(entry) => self.bucket.overwrite(OPERATION, entry).await,
                    None => Ok(Overwritten::NoBytes),
                }
            }))
            .await?;
            for (going, done) in some.iter_mut().zip(done) {
                let index = going.index;
                let uploads = std::mem::take(&mut going.uploads);
                let entry = going.entry.take();
                match (done, entry) {
                    (Overwritten::NoBytes, entry) => kept.push(Going { index, entry, uploads }),
                    (Overwritten::Changed, _) => self.settle(index, Fate::Changed),
                    (Overwritten::Failed(why), _) => self.settle(index, Fate::Failed(why)),
                    (Overwritten::Zeroed { .. }, None) => {}
                    (Overwritten::Zeroed { version, etag }, Some(entry)) => {
                        // The zeros may be a version of their own, which goes too. Whatever else is new stays.
                        let entry = self.bucket.exact(mode, OPERATION, &entry.key).await?;
                        let begun = self.begun.entry(index).or_default();
                        let versions = entry.iter().flat_map(|entry| &entry.versions);
                        let zeros = versions.clone().filter(|found| match &version {
                            Some(version) => found.id.as_ref() == Some(version),
                            None => found.etag == etag,
                        });
                        begun.extend(zeros.map(Version::stamp));
                        if versions.clone().all(|version| begun.contains(&version.stamp())) {
                            kept.push(Going { index, entry, uploads });
                        } else {
                            self.settle(index, Fate::Changed);
                        }
                    }
                }
            }
        }
        *going = kept;
        Ok(())
    }

    async fn delete(&self, going: &[Going], markers: bool) -> Result<BTreeMap<usize, Left>, StoreError> {
        let mut targets = Vec::new();
        for going in going {
            let Some(entry) = &going.entry else { continue };
            let versions = entry.versions.iter().filter(|version| version.is_marker == markers);
            targets.extend(versions.map(|version| Target {
                index: going.index,
                key: entry.key.clone(),
                version: version.id.clone(),
            }));
        }
        self.bucket.delete_all(OPERATION, targets, self.pace).await
    }

    fn settle(&mut self, index: usize, fate: Fate) {
        self.fates.insert(index, fate);
    }

    fn counted(self) -> Erased {
        let mut erased = Erased::default();
        for (index, listed) in self.listed.iter().enumerate() {
            let counts: &mut Counts = erased.counts.entry(listed.tenant.clone()).or_default();
            match self.fates.get(&index) {
                Some(Fate::Erased) => counts.erased += 1,
                Some(Fate::AlreadyAbsent) => counts.already_absent += 1,
                Some(Fate::Changed) => {
                    counts.changed += 1;
                    erased.survivors.push(Survivor { index, why: Survival::Changed });
                }
                Some(Fate::Failed(why)) => {
                    counts.failed += 1;
                    erased.survivors.push(Survivor { index, why: Survival::Failed(why.clone()) });
                }
                None => {
                    counts.failed += 1;
                    let why = "nothing is known of it".to_owned();
                    erased.survivors.push(Survivor { index, why: Survival::Failed(why) });
                }
            }
        }
        erased
    }
}
