//! Object lock: what keeps a version from being deleted, and until when. It only reads; nothing in this store ever asks
//! a server to bypass a lock.

use aws_sdk_s3::types::{ObjectLockEnabled, ObjectLockLegalHoldStatus, ObjectLockRetentionMode};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::future::try_join_all;

use super::bucket::{Bucket, code_of, is_unknown_request};
use super::entry::Entry;
use super::fresh::LANES;
use crate::stores::{ErrorKind, StoreError};

/// Codes by which servers say that a version has no lock of this sort.
const NO_LOCK: [&str; 4] =
    ["NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "NoSuchVersion", "NoSuchKey"];

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
            if let Some((at, mode)) = self.retention(operation, &entry.key, version.id.as_deref()).await?
                && at > now
            {
                until = Some(until.map_or((at, mode), |known| known.max((at, mode))));
            }
            is_held |= self.legal_hold(operation, &entry.key, version.id.as_deref()).await?;
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

    async fn retention(
        &self,
        operation: &'static str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Option<(DateTime<Utc>, &'static str)>, StoreError> {
        let asked = self
            .client
            .get_object_retention()
            .bucket(&self.name)
            .key(key)
            .set_version_id(version.map(ToOwned::to_owned))
            .send();
        match asked.await {
            Ok(answer) => Ok(answer.retention().and_then(|retention| {
                let until = retention.retain_until_date()?;
                let until = DateTime::from_timestamp(until.secs(), until.subsec_nanos())?;
                let mode = match retention.mode() {
                    Some(ObjectLockRetentionMode::Governance) => "governance",
                    Some(ObjectLockRetentionMode::Compliance) => "compliance",
                    Some(_) | None => "unknown mode",
                };
                Some((until, mode))
            })),
            // What we may not know, the delete will tell: it never asks to bypass a lock.
            Err(error) => self.unlocked_or(operation, &error).map(|()| None),
        }
    }

    async fn legal_hold(
        &self,
        operation: &'static str,
        key: &str,
        version: Option<&str>,
    ) -> Result<bool, StoreError> {
        let asked = self
            .client
            .get_object_legal_hold()
            .bucket(&self.name)
            .key(key)
            .set_version_id(version.map(ToOwned::to_owned))
            .send();
        match asked.await {
            Ok(answer) => {
                Ok(answer.legal_hold().and_then(|hold| hold.status()) == Some(&ObjectLockLegalHoldStatus::On))
            }
            Err(error) => self.unlocked_or(operation, &error).map(|()| false),
        }
    }

    fn unlocked_or<E>(
        &self,
        operation: &'static str,
        error: &aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
    ) -> Result<(), StoreError>
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        if NO_LOCK.contains(&code_of(error).as_str()) {
            return Ok(());
        }
        let known = self.failed(operation, error);
        if known.kind == ErrorKind::Refused { Ok(()) } else { Err(known) }
    }
}
