//! Buckets for tests, whoever serves them: made, filled and looked into with the client itself, behind the program's
//! back. It owns no server.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::types::{BucketVersioningStatus, Delete, ObjectIdentifier, VersioningConfiguration};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use retentiond::config::{DeleteIntegrity, S3Config};

/// A bucket of a test's own.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) endpoint: String,
}

/// What lies in a bucket: key, version and whether it is a delete marker.
pub(crate) type Lying = (String, String, bool);

fn client(endpoint: &str) -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .credentials_provider(Credentials::new("key", "secret", None, None, "tests"))
        .build();
    Client::from_conf(config)
}

impl Objects {
    /// A new bucket; `name` begins its name.
    pub(crate) async fn new(endpoint: &str, name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let objects = Self { client: client(endpoint), name, endpoint: endpoint.to_owned() };
        objects.client.create_bucket().bucket(&objects.name).send().await.unwrap();
        objects
    }

    /// A new bucket whose objects can be locked.
    pub(crate) async fn lockable(endpoint: &str, name: &str) -> Self {
        let objects = Self { client: client(endpoint), name: name.to_owned(), endpoint: endpoint.to_owned() };
        let made = objects.client.create_bucket().bucket(name).object_lock_enabled_for_bucket(true);
        made.send().await.unwrap();
        objects
    }

    /// As the configuration names it.
    pub(crate) fn config(&self) -> S3Config {
        S3Config {
            bucket: self.name.clone(),
            endpoint: Some(self.endpoint.clone()),
            region: None,
            path_style: true,
            delete_integrity: DeleteIntegrity::Crc32,
            keys: Some(("key".into(), "secret".into())),
        }
    }

    pub(crate) async fn version(&self, status: BucketVersioningStatus) {
        let configuration = VersioningConfiguration::builder().status(status).build();
        let put = self.client.put_bucket_versioning().bucket(&self.name);
        put.versioning_configuration(configuration).send().await.unwrap();
    }

    pub(crate) async fn put(&self, key: &str, content: &[u8]) -> Option<String> {
        let body = content.to_vec().into();
        let put = self.client.put_object().bucket(&self.name).key(key).body(body).send().await.unwrap();
        put.version_id().map(ToOwned::to_owned)
    }

    pub(crate) async fn put_with(&self, key: &str, content: &[u8], metadata: Option<(&str, String)>) {
        let mut put = self.client.put_object().bucket(&self.name).key(key).body(content.to_vec().into());
        if let Some((name, value)) = metadata {
            put = put.metadata(name, value);
        }
        put.send().await.unwrap();
    }

    /// A plain delete: on a versioned bucket it leaves a marker.
    pub(crate) async fn delete(&self, key: &str) {
        self.client.delete_object().bucket(&self.name).key(key).send().await.unwrap();
    }

    /// The content of the current version; `None` where a plain read finds nothing.
    pub(crate) async fn content(&self, key: &str) -> Option<Vec<u8>> {
        let got = self.client.get_object().bucket(&self.name).key(key).send().await.ok()?;
        Some(got.body.collect().await.unwrap().into_bytes().to_vec())
    }

    /// Begins an upload, puts one part, and leaves it so.
    pub(crate) async fn begin_upload(&self, key: &str) -> String {
        let begun = self.client.create_multipart_upload().bucket(&self.name).key(key).send().await.unwrap();
        let id = begun.upload_id().unwrap().to_owned();
        let part = self.client.upload_part().bucket(&self.name).key(key).upload_id(&id).part_number(1);
        part.body(b"a part".to_vec().into()).send().await.unwrap();
        id
    }

    /// Keys of all uploads that nobody completed.
    pub(crate) async fn uploads(&self) -> Vec<String> {
        let all = self.client.list_multipart_uploads().bucket(&self.name).send().await.unwrap();
        let mut keys: Vec<String> =
            all.uploads().iter().map(|upload| upload.key().unwrap().to_owned()).collect();
        keys.sort();
        keys
    }

    /// Everything in the bucket but the marker of retentiond, by a listing of versions and a plain one.
    pub(crate) async fn all(&self) -> Vec<Lying> {
        let mut all = BTreeSet::new();
        let mut next: Option<(String, String)> = None;
        loop {
            let mut list = self.client.list_object_versions().bucket(&self.name);
            if let Some((key, version)) = &next {
                list = list.key_marker(key).version_id_marker(version);
            }
            let page = list.send().await.unwrap();
            for version in page.versions() {
                let id = version.version_id().unwrap_or("null").to_owned();
                all.insert((version.key().unwrap().to_owned(), id, false));
            }
            for marker in page.delete_markers() {
                let id = marker.version_id().unwrap_or("null").to_owned();
                all.insert((marker.key().unwrap().to_owned(), id, true));
            }
            if page.is_truncated() != Some(true) {
                break;
            }
            let version = page.next_version_id_marker().unwrap_or("null").to_owned();
            next = Some((page.next_key_marker().unwrap().to_owned(), version));
        }
        let known: BTreeSet<String> = all.iter().map(|(key, ..)| key.clone()).collect();
        for key in self.current().await {
            if !known.contains(&key) {
                all.insert((key, "unlisted".into(), false));
            }
        }
        all.into_iter().filter(|(key, ..)| key != ".retentiond-marker").collect()
    }

    /// Keys that a plain listing shows, the marker left out.
    pub(crate) async fn current(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let list = self.client.list_objects_v2().bucket(&self.name).set_continuation_token(token);
            let page = list.send().await.unwrap();
            keys.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
            token = page.next_continuation_token().map(ToOwned::to_owned);
            if page.is_truncated() != Some(true) {
                break;
            }
        }
        keys.retain(|key| key != ".retentiond-marker");
        keys.sort();
        keys
    }

    /// Empties it, marker and all versions included.
    pub(crate) async fn clear(&self) {
        for _ in 0..5 {
            let page = self.client.list_object_versions().bucket(&self.name).send().await.unwrap();
            let versions = page.versions().iter().map(|v| (v.key().unwrap(), v.version_id()));
            let markers = page.delete_markers().iter().map(|m| (m.key().unwrap(), m.version_id()));
            let names: Vec<ObjectIdentifier> = versions
                .chain(markers)
                .map(|(key, version)| {
                    let version = version.map(ToOwned::to_owned);
                    ObjectIdentifier::builder().key(key).set_version_id(version).build().unwrap()
                })
                .collect();
            if names.is_empty() {
                return;
            }
            let delete = Delete::builder().set_objects(Some(names)).build().unwrap();
            self.client.delete_objects().bucket(&self.name).delete(delete).send().await.unwrap();
        }
        panic!("the bucket does not become empty");
    }
}
