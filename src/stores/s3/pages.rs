//! One page of a listing, made into whole entries. It owns the requests and what may be believed of their answers;
//! which pages are asked for is said by `walk` and `fresh`. It changes nothing.

use std::collections::BTreeMap;

use aws_sdk_s3::primitives::DateTime as Stamp;
use aws_sdk_s3::types::EncodingType;
use chrono::{DateTime, Utc};

use super::bucket::{Bucket, is_unknown_request};
use super::entry::{Entry, Upload, Version};
use crate::stores::{ErrorKind, Retry, StoreError};

/// The most that a server lists at once.
pub(super) const PAGE_MAX: i32 = 1000;

/// More uploads than this that nobody completed are not held in memory.
const UPLOADS_MAX: usize = 100_000;

/// How a bucket is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Every version and marker.
    Versions,
    /// The bucket was never versioned, or the server knows no versions: current objects are all there is.
    Plain,
}

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Behind every version of this key.
    After(String),
    /// Behind this version of this key.
    Version(String, String),
    /// Where the server's own token says.
    Token(String),
}

/// One page.
#[derive(Debug, Clone)]
pub(super) struct Page {
    /// What it shows, in byte order of keys (of the server's own order where that is a plain listing).
    pub(super) entries: Vec<Entry>,
    /// Where the next begins; `None` at the end.
    pub(super) next: Option<Next>,
    /// The first components below the prefix, where they were asked for.
    pub(super) folders: Vec<String>,
    /// The key whose versions may go on in the next page.
    pub(super) cut: Option<String>,
}

/// What to list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) operation: &'static str,
    pub(super) prefix: &'a str,
    pub(super) next: Option<&'a Next>,
    pub(super) most: i32,
    /// Only what lies right below the prefix.
    pub(super) folders: bool,
}

impl Bucket {
    /// How this bucket must be listed. Where the server does not say, every version is asked for.
    pub(super) async fn mode(&self, operation: &'static str) -> Result<Mode, StoreError> {
        match self.client.get_bucket_versioning().bucket(&self.name).send().await {
            // On, suspended, or a word that we do not know: old versions may lie there.
            Ok(answer) => Ok(if answer.status().is_none() { Mode::Plain } else { Mode::Versions }),
            Err(error) => {
                let known = self.failed(operation, &error);
                let says_nothing = known.kind == ErrorKind::Refused || is_unknown_request(&error);
                if !says_nothing {
                    return Err(known);
                }
                let tried = self.client.list_object_versions().bucket(&self.name).max_keys(1).send().await;
                match tried {
                    Ok(_) => Ok(Mode::Versions),
                    Err(error) if is_unknown_request(&error) => Ok(Mode::Plain),
                    Err(error) => Err(self.failed(operation, &error)),
                }
            }
        }
    }

    /// One page.
    pub(super) async fn page(&self, mode: Mode, ask: Ask<'_>) -> Result<Page, StoreError> {
        let page = match mode {
            Mode::Versions => self.page_of_versions(ask).await?,
            Mode::Plain => self.page_of_objects(ask).await?,
        };
        if page.next.is_some() && page.next.as_ref() == ask.next {
            return Err(self.untrue(ask.operation, "the listing does not move on: its token came twice"));
        }
        Ok(page)
    }

    async fn page_of_objects(&self, ask: Ask<'_>) -> Result<Page, StoreError> {
        let mut request = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(ask.prefix)
            .max_keys(ask.most)
            .encoding_type(EncodingType::Url);
        if ask.folders {
            request = request.delimiter("/");
        }
        request = match ask.next {
            None => request,
            Some(Next::Token(token)) => request.continuation_token(token),
            Some(Next::After(key) | Next::Version(key, _)) => request.start_after(key),
        };
        let answer = request.send().await.map_err(|error| self.failed(ask.operation, &error))?;
        let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
        let mut entries = Vec::with_capacity(answer.contents().len());
        for object in answer.contents() {
            let key = self.key(ask, object.key(), is_encoded)?;
            if matches!(ask.next, Some(Next::After(after)) if *after == key) {
                continue;
            }
            let version = Version {
                id: None,
                is_marker: false,
                is_latest: true,
                modified: self.instant(ask.operation, object.last_modified())?,
                etag: object.e_tag().unwrap_or_default().to_owned(),
                size: object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            };
            entries.push(Entry { key, versions: vec![version] });
        }
        let next = match (answer.is_truncated(), answer.next_continuation_token()) {
            (Some(true), Some(token)) => Some(Next::Token(token.to_owned())),
            (Some(true), None) => return Err(self.lost(ask.operation)),
            (Some(false), _) => None,
            (None, _) => return Err(self.unsaid(ask.operation)),
        };
        let folders = self.folders(ask, answer.common_prefixes(), is_encoded)?;
        Ok(Page { entries, next, folders, cut: None })
    }

    async fn page_of_versions(&self, ask: Ask<'_>) -> Result<Page, StoreError> {
        let mut request = self
            .client
            .list_object_versions()
            .bucket(&self.name)
            .prefix(ask.prefix)
            .max_keys(ask.most)
            .encoding_type(EncodingType::Url);
        if ask.folders {
            request = request.delimiter("/");
        }
        request = match ask.next {
            None => request,
            Some(Next::After(key) | Next::Token(key)) => request.key_marker(key),
            Some(Next::Version(key, version)) => request.key_marker(key).version_id_marker(version),
        };
        let answer = request.send().await.map_err(|error| self.failed(ask.operation, &error))?;
        let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
        let mut grouped: BTreeMap<String, Vec<Version>> = BTreeMap::new();
        for version in answer.versions() {
            let key = self.key(ask, version.key(), is_encoded)?;
            grouped.entry(key).or_default().push(Version {
                id: version.version_id().map(ToOwned::to_owned),
                is_marker: false,
                is_latest: version.is_latest().unwrap_or_default(),
                modified: self.instant(ask.operation, version.last_modified())?,
                etag: version.e_tag().unwrap_or_default().to_owned(),
                size: version.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            });
        }
        for marker in answer.delete_markers() {
            let key = self.key(ask, marker.key(), is_encoded)?;
            grouped.entry(key).or_default().push(Version {
                id: marker.version_id().map(ToOwned::to_owned),
                is_marker: true,
                is_latest: marker.is_latest().unwrap_or_default(),
                modified: self.instant(ask.operation, marker.last_modified())?,
                etag: String::new(),
                size: 0,
            });
        }
        if let Some(Next::After(after)) = ask.next {
            // Some servers begin with the key itself.
            grouped.remove(after);
        }
        let (next, cut) = match (answer.is_truncated(), answer.next_key_marker()) {
            (Some(true), Some(key)) => {
                let key = self.key(ask, Some(key), is_encoded)?;
                match answer.next_version_id_marker().filter(|version| !version.is_empty()) {
                    Some(version) => (Some(Next::Version(key.clone(), version.to_owned())), Some(key)),
                    None => (Some(Next::After(key)), None),
                }
            }
            (Some(true), None) => return Err(self.lost(ask.operation)),
            (Some(false), _) => (None, None),
            (None, _) => return Err(self.unsaid(ask.operation)),
        };
        let folders = self.folders(ask, answer.common_prefixes(), is_encoded)?;
        let entries = grouped.into_iter().map(|(key, versions)| Entry { key, versions }).collect();
        Ok(Page { entries, next, folders, cut })
    }

    /// Every upload below a prefix that nobody completed, in order of key and id.
    pub(super) async fn uploads(
        &self,
        operation: &'static str,
        prefix: &str,
        wanted: &(dyn Fn(&Upload) -> bool + Sync),
    ) -> Result<Vec<Upload>, StoreError> {
        let mut uploads = Vec::new();
        let mut markers: Option<(String, String)> = None;
        loop {
            let mut request = self
                .client
                .list_multipart_uploads()
                .bucket(&self.name)
                .prefix(prefix)
                .max_uploads(PAGE_MAX)
                .encoding_type(EncodingType::Url);
            if let Some((key, upload)) = &markers {
                request = request.key_marker(key).upload_id_marker(upload);
            }
            let answer = match request.send().await {
                Ok(answer) => answer,
                // A server that knows no uploads in parts keeps none.
                Err(error) if is_unknown_request(&error) => return Ok(uploads),
                Err(error) => return Err(self.failed(operation, &error)),
            };
            let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
            let ask = Ask { operation, prefix, next: None, most: PAGE_MAX, folders: false };
            for upload in answer.uploads() {
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else {
                    return Err(self.untrue(operation, "an upload in the listing has no key or no id"));
                };
                // Some servers say that names are encoded and do not encode them.
                let key = decoded(key, is_encoded).filter(|key| key.starts_with(prefix));
                let key = match key {
                    Some(key) => key,
                    None => self.key(ask, upload.key(), false)?,
                };
                let initiated = upload.initiated().and_then(instant_of);
                let upload = Upload { key, id: id.to_owned(), initiated };
                if wanted(&upload) {
                    uploads.push(upload);
                }
            }
            if uploads.len() > UPLOADS_MAX {
                let message = "more than 100000 uploads were begun and not completed: abort them by a lifecycle \
                               rule first (AbortIncompleteMultipartUpload)";
                return Err(self.error(operation, ErrorKind::Refused, Retry::Never, message));
            }
            let next = (answer.next_key_marker().unwrap_or_default(), answer.next_upload_id_marker());
            let next = (next.0.to_owned(), next.1.unwrap_or_default().to_owned());
            match answer.is_truncated() {
                Some(true) => {}
                Some(false) => break,
                None => return Err(self.unsaid(operation)),
            }
            if next == (String::new(), String::new()) {
                return Err(self.lost(operation));
            }
            if markers.as_ref() == Some(&next) {
                return Err(self.untrue(operation, "the listing does not move on: its token came twice"));
            }
            markers = Some(next);
        }
        uploads.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
        uploads.dedup();
        Ok(uploads)
    }

    /// A key as it is, and surely below the prefix that was asked for.
    fn key(&self, ask: Ask<'_>, key: Option<&str>, is_encoded: bool) -> Result<String, StoreError> {
        let key = key.and_then(|key| decoded(key, is_encoded));
        match key {
            Some(key) if key.starts_with(ask.prefix) => Ok(key),
            Some(_) => Err(self.untrue(ask.operation, "the listing shows keys outside the prefix asked for")),
            None => Err(self.untrue(ask.operation, "the listing shows a key that cannot be read")),
        }
    }

    fn folders(
        &self,
        ask: Ask<'_>,
        prefixes: &[aws_sdk_s3::types::CommonPrefix],
        is_encoded: bool,
    ) -> Result<Vec<String>, StoreError> {
        prefixes.iter().map(|prefix| self.key(ask, prefix.prefix(), is_encoded)).collect()
    }

    fn instant(&self, operation: &'static str, stamp: Option<&Stamp>) -> Result<DateTime<Utc>, StoreError> {
        stamp
            .and_then(instant_of)
            .ok_or_else(|| self.untrue(operation, "the listing does not say when an object was written"))
    }

    fn lost(&self, operation: &'static str) -> StoreError {
        self.untrue(operation, "the listing goes on but does not say where: a page is lost")
    }

    fn unsaid(&self, operation: &'static str) -> StoreError {
        self.untrue(operation, "the listing does not say whether it is whole")
    }

    /// A listing that cannot be believed is never taken for "nothing there".
    pub(super) fn untrue(&self, operation: &'static str, message: &str) -> StoreError {
        self.error(operation, ErrorKind::Unreachable, Retry::Later, message)
    }
}

fn instant_of(stamp: &Stamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(stamp.secs(), stamp.subsec_nanos())
}

/// A key out of an answer. Where the server encoded it, `+` is a space and `%2B` a plus.
fn decoded(key: &str, is_encoded: bool) -> Option<String> {
    if !is_encoded {
        return Some(key.to_owned());
    }
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_key_is_read_exactly_and_a_broken_one_not_at_all() {
        let cases = [
            ("a/y+z", Some("a/y z")),
            ("a/y%20z", Some("a/y z")),
            ("a/p%2Bq", Some("a/p+q")),
            ("a/pct%2541", Some("a/pct%41")),
            ("a/nl%0Ax%01", Some("a/nl\nx\u{1}")),
            ("a/%C3%A9", Some("a/é")),
            ("a/%C3", None),
            ("a/%4", None),
            ("a/%zz", None),
        ];
        for (encoded, key) in cases {
            assert_eq!(decoded(encoded, true).as_deref(), key, "{encoded}");
        }
        assert_eq!(decoded("a+b%20c", false).as_deref(), Some("a+b%20c"));
    }
}
