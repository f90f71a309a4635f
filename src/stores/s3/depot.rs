//! A bucket as the place where a tenant's export is put: its own objects are written, read back and, where a try broke off,
//! taken away again. It owns uploads in parts; it knows no placement and touches nothing outside a prefix that it is given.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::bucket::{Bucket, code_of};
use super::read::give;
use crate::config::S3Config;
use crate::id::StoreId;
use crate::stores::{Body, ErrorKind, Retry, StoreError};

/// Up to this size an object goes in one request, and in parts of this size above: servers take parts from 5 MiB on.
const PART_BYTES: usize = 8 << 20;

/// So many parts are small; the later ones are larger, since a server takes no more than 10,000.
const SMALL_PARTS: usize = 1_000;

/// The size of later parts.
const LATE_PART_BYTES: usize = 64 << 20;

/// What is done here, for errors.
const OPERATION: &str = "write an export";

/// A bucket, opened for writing exports.
#[derive(Debug, Clone)]
pub struct Depot {
    bucket: Bucket,
}

/// An object that is being written. It is there only once it is closed.
#[derive(Debug)]
pub struct Writing {
    depot: Depot,
    key: String,
    waiting: Vec<u8>,
    upload: Option<String>,
    parts: Vec<CompletedPart>,
}

impl Depot {
    /// Makes a client; the bucket is first asked by the first question.
    ///
    /// # Errors
    /// Where there are no credentials.
    pub async fn open(id: &StoreId, settings: &S3Config) -> Result<Self, StoreError> {
        Ok(Self { bucket: Bucket::open(id, settings).await? })
    }

    /// Keys below a prefix, in the server's order, at most a page of them.
    ///
    /// # Errors
    /// Where the server does not answer or refuses.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let asked = self.bucket.client.list_objects_v2().bucket(&self.bucket.name).prefix(prefix);
        let page = asked.send().await.map_err(|error| self.bucket.failed(OPERATION, &error))?;
        Ok(page.contents().iter().filter_map(|object| object.key().map(ToOwned::to_owned)).collect())
    }

    /// Takes an object of ours away.
    ///
    /// # Errors
    /// As [`Depot::keys`].
    pub async fn remove(&self, key: &str) -> Result<(), StoreError> {
        let asked = self.bucket.client.delete_object().bucket(&self.bucket.name).key(key);
        asked.send().await.map(drop).map_err(|error| self.bucket.failed(OPERATION, &error))
    }

    /// Gives up uploads to a key or, where it ends in `/`, to every key below it, that nobody completed.
    ///
    /// # Errors
    /// As [`Depot::keys`].
    pub async fn give_up(&self, key: &str) -> Result<(), StoreError> {
        let is_meant = |other: &str| other == key || key.ends_with('/') && other.starts_with(key);
        for upload in self.bucket.uploads(OPERATION, key, &|upload| is_meant(&upload.key)).await? {
            self.abort(&upload.key, &upload.id).await?;
        }
        Ok(())
    }

    /// Takes away an object or, where the key ends in `/`, every object below it, and gives up the uploads to these.
    ///
    /// # Errors
    /// As [`Depot::keys`].
    pub async fn clear(&self, key: &str) -> Result<(), StoreError> {
        self.give_up(key).await?;
        if !key.ends_with('/') {
            return self.remove(key).await;
        }
        loop {
            let keys = self.keys(key).await?;
            if keys.is_empty() {
                return Ok(());
            }
            for key in keys {
                self.remove(&key).await?;
            }
        }
    }

    /// The bytes of an object; `None` where there is none.
    ///
    /// # Errors
    /// As [`Depot::keys`].
    pub async fn read(&self, key: &str) -> Result<Option<Body>, StoreError> {
        let operation = "read an export back";
        let got = match self.bucket.client.get_object().bucket(&self.bucket.name).key(key).send().await {
            Ok(got) => got,
            Err(error) if code_of(&error) == "NoSuchKey" => return Ok(None),
            Err(error) => return Err(self.bucket.failed(operation, &error)),
        };
        let (pieces, body) = Body::channel();
        let length = got.content_length().and_then(|length| u64::try_from(length).ok());
        let broken =
            self.bucket.error(operation, ErrorKind::Unreachable, Retry::Later, "the connection broke");
        drop(tokio::spawn(give(got.body, length, pieces, broken)));
        Ok(Some(body))
    }

    /// Begins an object.
    pub fn write(&self, key: String) -> Writing {
        Writing { depot: self.clone(), key, waiting: Vec::new(), upload: None, parts: Vec::new() }
    }

    async fn abort(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        let client = &self.bucket.client;
        let asked = client.abort_multipart_upload().bucket(&self.bucket.name).key(key).upload_id(upload);
        match asked.send().await {
            Ok(_) => Ok(()),
            Err(error) if code_of(&error) == "NoSuchUpload" => Ok(()),
            Err(error) => Err(self.bucket.failed(OPERATION, &error)),
        }
    }
}

impl Writing {
    /// Takes bytes; sends them in parts once there are enough.
    ///
    /// # Errors
    /// As [`Depot::keys`].
    pub async fn add(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.waiting.extend_from_slice(bytes);
        let enough = if self.parts.len() < SMALL_PARTS { PART_BYTES } else { LATE_PART_BYTES };
        while self.waiting.len() > enough {
            let rest = self.waiting.split_off(enough);
            let part = std::mem::replace(&mut self.waiting, rest);
            self.send(part).await?;
        }
        Ok(())
    }

    /// Makes the object be there, whole.
    ///
    /// # Errors
    /// As [`Depot::keys`].
    pub async fn close(mut self) -> Result<(), StoreError> {
        let rest = std::mem::take(&mut self.waiting);
        let Bucket { client, name, .. } = &self.depot.bucket;
        if self.upload.is_none() {
            let put =
                client.put_object().bucket(name).key(&self.key).body(ByteStream::from(rest)).send().await;
            return put.map(drop).map_err(|error| self.depot.bucket.failed(OPERATION, &error));
        }
        if !rest.is_empty() {
            self.send(rest).await?;
        }
        let Some(upload) = &self.upload else { return Ok(()) };
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
        let Bucket { client, name, .. } = &self.depot.bucket;
        let asked = client
            .complete_multipart_upload()
            .bucket(name)
            .key(&self.key)
            .upload_id(upload)
            .multipart_upload(parts);
        asked.send().await.map(drop).map_err(|error| self.depot.bucket.failed(OPERATION, &error))
    }

    async fn send(&mut self, part: Vec<u8>) -> Result<(), StoreError> {
        let bucket = &self.depot.bucket;
        let upload = match &self.upload {
            Some(upload) => upload.clone(),
            None => {
                let asked = bucket.client.create_multipart_upload().bucket(&bucket.name).key(&self.key);
                let made = asked.send().await.map_err(|error| bucket.failed(OPERATION, &error))?;
                let Some(upload) = made.upload_id() else {
                    let message = "the server gave an upload no id";
                    return Err(bucket.error(OPERATION, ErrorKind::Unreachable, Retry::Later, message));
                };
                self.upload = Some(upload.to_owned());
                upload.to_owned()
            }
        };
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let asked = bucket
            .client
            .upload_part()
            .bucket(&bucket.name)
            .key(&self.key)
            .upload_id(upload)
            .part_number(number)
            .body(ByteStream::from(part));
        let sent = asked.send().await.map_err(|error| bucket.failed(OPERATION, &error))?;
        self.parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag().map(ToOwned::to_owned))
                .build(),
        );
        Ok(())
    }
}
