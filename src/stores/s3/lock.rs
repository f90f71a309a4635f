//! Object lock: what keeps a version from being deleted, and until when. It only reads; nothing in this store ever asks
//! a server to bypass a lock.

use aws_sdk_s3::types::{ObjectLockEnabled, ObjectLockLegalHoldStatus, ObjectLockMode};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::future::try_join_all;

use super::bucket::{Bucket, code_of, is_unknown_request};
use super::entry::Entry;
use super::fresh::LANES;
use crate::stores::{ErrorKind, StoreError};

/// Codes by which servers say that objects of a bucket are never locked.
const NO_LOCK: [&str; 2] = ["NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"];

impl Bucket {
    /// True where objects of this bucket can be locked, or where the server does not let us know.
    pub(super) async fn can_lock(&self, operation: &'static str) -> Result<bool, StoreError> {
        match self.client.get_object_lock_configuration().bucket(&self.name).send().await {
            Ok(answer) => {
                let configuration = answer.object_lock_configuration();
                let enabled = configuration.and_then(|known| known.object_lock_enabled());
                Ok(enabled == Some(&ObjectLockEnabled::Enabled))
            }
            Err(error) if NO_LOCK.contains(&code_of(&error).as_str()) || is_unknown_request(&error) => {
                Ok(false)
            }
            Err(error) => {
                let known = self.failed(operation, &error);
                if known.kind == ErrorKind::Refused { Ok(true) } else { Err(known) }
            }
        }
    }

    /// Why each of these may not be erased yet; `None` where nothing is known to stand in the way.
    pub(super) async fn locks(
        &self,
        operation: &'static str,
        entries: &[&Entry],
        now: DateTime<Utc>,
    ) -> Result<Vec<Option<String>>, StoreError> {
        let mut locks = Vec::with_capacity(entries.len());
        for some in entries.chunks(LANES) {
            locks.extend(try_join_all(some.iter().map(|entry| self.lock(operation, entry, now))).await?);
        }
        Ok(locks)
    }

    async fn lock(
        &self,
        operation: &'static str,
        entry: &Entry,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, StoreError> {
        let mut until: Option<(DateTime<Utc>, &'static str)> = None;
        let mut is_held = false;
        // Markers are never locked, and must not hide a version that is.
        for version in entry.versions.iter().filter(|version| !version.is_marker) {
            let lock = self.lock_of(operation, &entry.key, version.id.as_deref()).await?;
            if let Some((at, mode)) = lock.until.filter(|(at, _)| *at > now) {
                until = Some(until.map_or((at, mode), |known| known.max((at, mode))));
            }
            is_held |= lock.is_held;
        }
        Ok(match (is_held, until) {
            (true, _) => Some("blocked by a legal hold in the bucket, until somebody lifts it".to_owned()),
            (false, Some((at, mode))) => {
                let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
                Some(format!("blocked until {at} by object lock ({mode})"))
            }
            (false, None) => None,
        })
    }

    /// What the head of a version says. Without the right to see it, it says nothing; then the delete will tell, for it
    /// never asks to bypass a lock.
    async fn lock_of(
        &self,
        operation: &'static str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Lock, StoreError> {
        let version = version.map(ToOwned::to_owned);
        let asked = self.client.head_object().bucket(&self.name).key(key).set_version_id(version).send();
        let head = match asked.await {
            Ok(head) => head,
            Err(error) => {
                let is_gone = error.raw_response().is_some_and(|answer| answer.status().as_u16() == 404);
                let known = self.failed(operation, &error);
                return if is_gone || known.kind == ErrorKind::Refused {
                    Ok(Lock::default())
                } else {
                    Err(known)
                };
            }
        };
        let mode = match head.object_lock_mode() {
            Some(ObjectLockMode::Governance) => "governance",
            Some(ObjectLockMode::Compliance) => "compliance",
            Some(_) | None => "unknown mode",
        };
        let until = head.object_lock_retain_until_date();
        let until = until.and_then(|until| DateTime::from_timestamp(until.secs(), until.subsec_nanos()));
        let is_held = head.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On);
        Ok(Lock { until: until.map(|at| (at, mode)), is_held })
    }
}

/// What keeps one version.
#[derive(Debug, Clone, Copy, Default)]
struct Lock {
    until: Option<(DateTime<Utc>, &'static str)>,
    is_held: bool,
}
