//! Deleting versions, markers and uploads by name. It owns batches, their pace, and that every single name is accounted
//! for; which names go is said by `erase`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::primitives::SdkBody;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::try_join_all;
use md5::{Digest as _, Md5};

use super::bucket::{Bucket, code_of};
use crate::config::DeleteIntegrity;
use crate::stores::{ErrorKind, Retry, StoreError};

/// The most names in one request.
const NAMES_MAX: usize = 1000;

/// Requests at once: measured, four are best, and eight hurt.
const LANES: usize = 4;

/// Something to delete, for the record at this index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) index: usize,
    pub(super) key: String,
    pub(super) version: Option<String>,
}

/// What became of a target that is not gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Left {
    /// The server was busy: ask again later.
    Busy,
    /// It refused.
    Refused(String),
}

/// How many names go into a request, and how many requests go at once; less after a server said that it is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    names: usize,
    lanes: usize,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { names: NAMES_MAX, lanes: LANES }
    }

    pub(super) fn slower(self) -> Self {
        Self { names: (self.names / 2).max(50), lanes: (self.lanes / 2).max(1) }
    }
}

impl Bucket {
    /// Deletes all targets. What is left comes back by index; a target that was gone before counts as gone.
    pub(super) async fn delete_all(
        &self,
        operation: &'static str,
        targets: Vec<Target>,
        pace: Pace,
    ) -> Result<BTreeMap<usize, Left>, StoreError> {
        let (batched, singly): (Vec<Target>, Vec<Target>) =
            targets.into_iter().partition(|target| !target.key.chars().any(char::is_control));
        let mut left = BTreeMap::new();
        let requests: Vec<&[Target]> = batched.chunks(pace.names).collect();
        for some in requests.chunks(pace.lanes) {
            let answers = try_join_all(some.iter().map(|names| self.delete_batch(operation, names))).await?;
            left.extend(answers.into_iter().flatten());
        }
        for some in singly.chunks(pace.lanes) {
            let answers = try_join_all(some.iter().map(|name| self.delete_one(operation, name))).await?;
            left.extend(answers.into_iter().flatten());
        }
        Ok(left)
    }

    async fn delete_batch(
        &self,
        operation: &'static str,
        targets: &[Target],
    ) -> Result<Vec<(usize, Left)>, StoreError> {
        let broken = |_| self.error(operation, ErrorKind::Unresolved, Retry::Never, "a name is missing");
        let mut delete = Delete::builder().quiet(false);
        for target in targets {
            let name = ObjectIdentifier::builder().key(&target.key).set_version_id(target.version.clone());
            delete = delete.objects(name.build().map_err(broken)?);
        }
        let delete = delete.build().map_err(broken)?;
        let request = self.client.delete_objects().bucket(&self.name).delete(delete);
        let sent = match self.integrity {
            DeleteIntegrity::Crc32 => request.send().await,
            DeleteIntegrity::Md5 => request.customize().mutate_request(sign_with_md5).send().await,
        };
        let answer = sent.map_err(|error| self.failed(operation, &error))?;

        let mut open: BTreeMap<(String, String), usize> = BTreeMap::new();
        for target in targets {
            let version = target.version.clone().unwrap_or_default();
            open.insert((target.key.clone(), version), target.index);
        }
        let plain: BTreeSet<usize> =
            targets.iter().filter(|target| target.version.is_none()).map(|target| target.index).collect();
        let untold = || self.untrue(operation, "the answer does not account for every object once");
        let take = |open: &mut BTreeMap<_, _>, key: Option<&str>, version: Option<&str>| {
            let key = key.unwrap_or_default();
            // Some servers leave the id out where it is `null`, or name a marker by its own id only; a plain delete was
            // asked without one.
            let ids = version.map_or(["null", ""], |version| [version, ""]);
            ids.iter().find_map(|id| open.remove(&(key.to_owned(), (*id).to_owned())))
        };
        let mut left = Vec::new();
        for deleted in answer.deleted() {
            let index =
                take(&mut open, deleted.key(), deleted.version_id().or(deleted.delete_marker_version_id()))
                    .or_else(|| take(&mut open, deleted.key(), None))
                    .ok_or_else(untold)?;
            // Somebody switched versioning on: nothing was erased, only hidden. The next round sees all versions.
            let is_hidden = deleted.delete_marker() == Some(true) && plain.contains(&index);
            left.extend(is_hidden.then_some((index, Left::Busy)));
        }
        for error in answer.errors() {
            let index = match take(&mut open, error.key(), error.version_id()) {
                Some(index) => index,
                // Some servers do not say which version they did not delete: one of those that are still open.
                None => {
                    let key = error.key().filter(|_| error.version_id().is_none());
                    let one = open.keys().find(|(open, _)| key == Some(open)).cloned();
                    one.and_then(|one| open.remove(&one)).ok_or_else(untold)?
                }
            };
            left.extend(left_by(error.code().unwrap_or_default()).map(|left| (index, left)));
        }
        if open.is_empty() { Ok(left) } else { Err(untold()) }
    }

    /// For keys with letters that the body of a batch cannot carry.
    async fn delete_one(
        &self,
        operation: &'static str,
        target: &Target,
    ) -> Result<Option<(usize, Left)>, StoreError> {
        let request = self
            .client
            .delete_object()
            .bucket(&self.name)
            .key(&target.key)
            .set_version_id(target.version.clone());
        match request.send().await {
            Ok(_) => Ok(None),
            Err(error) => {
                let known = self.failed(operation, &error);
                match known.kind {
                    ErrorKind::Refused => Ok(left_by(&code_of(&error)).map(|left| (target.index, left))),
                    ErrorKind::Unreachable
                    | ErrorKind::Schema
                    | ErrorKind::Identity
                    | ErrorKind::Ambiguous
                    | ErrorKind::Unresolved => Err(known),
                }
            }
        }
    }

    /// Ends an upload in parts. `Ok(None)` where it is gone.
    pub(super) async fn abort(
        &self,
        operation: &'static str,
        key: &str,
        upload: &str,
    ) -> Result<Option<Left>, StoreError> {
        let request = self.client.abort_multipart_upload().bucket(&self.name).key(key).upload_id(upload);
        match request.send().await {
            Ok(_) => Ok(None),
            Err(error) if code_of(&error) == "NoSuchUpload" => Ok(None),
            Err(error) => {
                let known = self.failed(operation, &error);
                match known.kind {
                    ErrorKind::Refused => Ok(left_by(&code_of(&error))),
                    ErrorKind::Unreachable
                    | ErrorKind::Schema
                    | ErrorKind::Identity
                    | ErrorKind::Ambiguous
                    | ErrorKind::Unresolved => Err(known),
                }
            }
        }
    }
}

/// What the code of a single error means; `None` where it means gone.
fn left_by(code: &str) -> Option<Left> {
    match code {
        "NoSuchKey" | "NoSuchVersion" => None,
        "SlowDown" | "ServiceUnavailable" | "InternalError" | "OperationAborted" | "RequestTimeout" => {
            Some(Left::Busy)
        }
        "" => Some(Left::Refused("the server did not delete it and does not say why".to_owned())),
        code => Some(Left::Refused(format!("the server did not delete it: {code}"))),
    }
}

/// COS and others want this instead of the client's own checksum. It runs before the request is signed.
fn sign_with_md5(request: &mut aws_sdk_s3::config::http::HttpRequest) {
    let Some(body) = SdkBody::bytes(request.body()) else { return };
    let sum = STANDARD.encode(Md5::digest(body));
    let own: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("x-amz-checksum") || name == "x-amz-sdk-checksum-algorithm")
        .collect();
    for name in own {
        request.headers_mut().remove(name);
    }
    request.headers_mut().insert("Content-MD5", sum);
}
