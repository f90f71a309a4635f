//! Overwriting an object with zeros before it is deleted. It shows that the key was ours to write and nothing else: an
//! object store never writes over old bytes, it keeps the new ones beside them or in their place.

use std::fs::File;

use aws_sdk_s3::primitives::ByteStream;
use rustix::fs::MemfdFlags;

use super::bucket::{Bucket, code_of};
use super::entry::Entry;
use crate::stores::StoreError;

/// The most that one request can put.
const SIZE_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// What became of overwriting one object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Overwritten {
    /// There was nothing to overwrite.
    NoBytes,
    /// Zeros were put and read back, as this version.
    Zeroed {
        /// Its id, where there are versions.
        version: Option<String>,
        /// Its digest.
        etag: String,
    },
    /// Somebody wrote the object since.
    Changed,
    /// It was not overwritten.
    Failed(String),
}

impl Bucket {
    /// Puts as many zeros as the newest bytes were, provided that they are still the newest, and reads them back.
    pub(super) async fn overwrite(
        &self,
        operation: &'static str,
        entry: &Entry,
    ) -> Result<Overwritten, StoreError> {
        let Some(bytes) = entry.newest_bytes() else { return Ok(Overwritten::NoBytes) };
        if bytes.size > SIZE_MAX {
            let why = "it is larger than 5 GiB and cannot be overwritten in one request; use `delete`";
            return Ok(Overwritten::Failed(why.to_owned()));
        }
        let Ok(body) = zeros(bytes.size).await else {
            return Ok(Overwritten::Failed("no zeros could be made to overwrite it with".to_owned()));
        };
        let request = self.client.put_object().bucket(&self.name).key(&entry.key).body(body);
        let request = match entry.latest() {
            Some(latest) if !latest.is_marker && !latest.etag.is_empty() => request.if_match(&latest.etag),
            Some(_) | None => request.if_none_match("*"),
        };
        let put = match request.send().await {
            Ok(put) => put,
            Err(error) => {
                return match code_of(&error).as_str() {
                    "PreconditionFailed" | "ConditionalRequestConflict" | "NoSuchKey" => {
                        Ok(Overwritten::Changed)
                    }
                    "NotImplemented" | "InvalidRequest" => {
                        let why = "the server cannot make sure that only what was found is overwritten; use \
                                   `delete`";
                        Ok(Overwritten::Failed(why.to_owned()))
                    }
                    _ => Err(self.failed(operation, &error)),
                };
            }
        };
        let version = put.version_id().map(ToOwned::to_owned);
        let etag = put.e_tag().unwrap_or_default().to_owned();
        let asked = self.client.get_object().bucket(&self.name).key(&entry.key);
        let read = asked.set_version_id(version.clone()).send().await;
        let mut body = match read {
            Ok(answer) => answer.body,
            Err(error) => return Err(self.failed(operation, &error)),
        };
        let mut length: u64 = 0;
        loop {
            match body.try_next().await {
                Ok(Some(block)) if block.iter().all(|byte| *byte == 0) => length += block.len() as u64,
                Ok(None) if length == bytes.size => return Ok(Overwritten::Zeroed { version, etag }),
                Ok(Some(_) | None) => {
                    let why = "after the overwrite it does not read back as zeros";
                    return Ok(Overwritten::Failed(why.to_owned()));
                }
                Err(_) => {
                    return Err(self.untrue(operation, "the connection broke while zeros were read back"));
                }
            }
        }
    }
}

/// Zeros that take no memory: a file of the system's own without a name, all of it a hole.
async fn zeros(size: u64) -> Result<ByteStream, std::io::Error> {
    if size == 0 {
        return Ok(ByteStream::default());
    }
    let file = File::from(rustix::fs::memfd_create("zeros", MemfdFlags::CLOEXEC)?);
    file.set_len(size)?;
    let file = tokio::fs::File::from_std(file);
    ByteStream::read_from().file(file).build().await.map_err(std::io::Error::other)
}
