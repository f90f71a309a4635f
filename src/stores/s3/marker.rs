//! The marker by which a bucket proves that it is the one meant: an object at its root. It owns reading and leaving it.

use aws_sdk_s3::primitives::ByteStream;
use serde::{Deserialize, Serialize};

use super::bucket::{Bucket, code_of};
use super::pages::Mode;
use crate::id::StoreId;
use crate::stores::{ErrorKind, Identity, Retry, StoreError};

/// The key of the marker. It is never a record.
pub(super) const MARKER: &str = ".retentiond-marker";

/// A marker is a few dozen bytes; an object that is larger is not one.
const MARKER_BYTES_MAX: i64 = 64 * 1024;

/// What the marker says.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    ledger_id: String,
    store: String,
}

impl Bucket {
    /// Who the store says it is.
    pub(super) async fn identity(&self) -> Result<Identity, StoreError> {
        let (ledger_id, store) = match self.marker().await? {
            Some(marker) => (Some(marker.ledger_id), Some(marker.store)),
            None => (None, None),
        };
        Ok(Identity { ledger_id, store, fingerprint: self.fingerprint.clone() })
    }

    /// Fails unless the marker is there: in an emptied or foreign bucket "not found" proves nothing.
    pub(super) async fn require_marker(&self, operation: &'static str) -> Result<(), StoreError> {
        match self.marker().await? {
            Some(_) => Ok(()),
            None => {
                let message = format!("its marker `{MARKER}` is missing; is it the bucket that was marked?");
                Err(self.error(operation, ErrorKind::Identity, Retry::Later, message))
            }
        }
    }

    /// Leaves the marker.
    pub(super) async fn mark(&self, ledger_id: &str, store: &StoreId) -> Result<(), StoreError> {
        let operation = "leave the marker";
        let already = || {
            let message = format!("there is a `{MARKER}` already");
            self.error(operation, ErrorKind::Identity, Retry::Never, message)
        };
        // An earlier version or a delete marker counts too: somebody marked this bucket before.
        let mode = self.mode(operation).await?;
        let earlier = self.exact(mode, operation, MARKER).await?;
        let hidden = mode == Mode::Versions && earlier.is_some();
        if hidden || self.marker().await?.is_some() {
            return Err(already());
        }
        let marker = Marker { ledger_id: ledger_id.to_owned(), store: store.as_str().to_owned() };
        let text = serde_json::to_vec(&marker)
            .map_err(|error| self.error(operation, ErrorKind::Refused, Retry::Never, error.to_string()))?;
        let put = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(MARKER)
            .if_none_match("*")
            .body(ByteStream::from(text))
            .send()
            .await;
        match put {
            Ok(_) => Ok(()),
            Err(error) if code_of(&error) == "PreconditionFailed" => Err(already()),
            Err(error) => Err(self.failed(operation, &error)),
        }
    }

    async fn marker(&self) -> Result<Option<Marker>, StoreError> {
        let operation = "read the marker";
        let answer = match self.client.get_object().bucket(&self.name).key(MARKER).send().await {
            Ok(answer) => answer,
            Err(error) if code_of(&error) == "NoSuchKey" => return Ok(None),
            Err(error) => return Err(self.failed(operation, &error)),
        };
        let unreadable = || {
            let message = format!("`{MARKER}` cannot be read");
            self.error(operation, ErrorKind::Identity, Retry::Never, message)
        };
        if answer.content_length().is_none_or(|length| length > MARKER_BYTES_MAX) {
            return Err(unreadable());
        }
        let text = answer.body.collect().await.map_err(|_| {
            let message = "the connection broke";
            self.error(operation, ErrorKind::Unreachable, Retry::Later, message)
        })?;
        serde_json::from_slice(&text.into_bytes()).map(Some).map_err(|_| unreadable())
    }
}
