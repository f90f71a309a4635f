//! Reads objects out: what is known of each, and their bytes as a plain read finds them. It owns the stream of bytes; order
//! and selection are those of `look`.

use aws_sdk_s3::primitives::ByteStream;

use super::bucket::{Bucket, code_of};
use super::look::{Named, find, layout_of, list_of};
use crate::id::TenantId;
use crate::policy::Placement;
use crate::stores::{
    Body, Budget, ErrorKind, Field, Key, Listed, PIECE_BYTES, Pieces, Position, Query, Read, Record, Retry,
    StoreError,
};

/// The next objects, and uploads that nobody completed: their parts are records, but no bytes that could be read.
pub(super) async fn read(
    bucket: &Bucket,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
) -> Result<Option<Read>, StoreError> {
    let Some(found) = find(bucket, query, after, budget).await? else { return Ok(None) };
    let listed = list_of(bucket, "read objects", &found.batch)?;
    let records = listed.iter().map(record).collect();
    Ok(Some(Read { records, position: found.position }))
}

fn record(listed: &Listed) -> Record {
    let text = |name: &str, value: &str| (name.to_owned(), Field::Text(value.to_owned()));
    let (mut fields, mut has_body) = (Vec::new(), false);
    match Named::of(&listed.key) {
        Some(Named::Object(key)) => {
            has_body = true;
            fields.push(text("key", key));
            // As `Entry::stamp` writes it.
            let mut parts = listed.stamp.rsplitn(3, ':');
            let size = parts.next().and_then(|size| size.parse().ok()).map_or(Field::Null, Field::Int);
            let nanoseconds = parts.next().and_then(|nanoseconds| nanoseconds.parse().ok());
            let at = nanoseconds.map(chrono::DateTime::from_timestamp_nanos);
            let modified = |at: chrono::DateTime<chrono::Utc>| {
                Field::Text(at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
            };
            fields.push(("size".to_owned(), size));
            fields.push(("modified".to_owned(), at.map_or(Field::Null, modified)));
            fields.push(text("etag", parts.next().unwrap_or_default()));
            fields.push(("upload".to_owned(), Field::Null));
        }
        Some(Named::Upload(key, upload)) => {
            fields.push(text("key", key));
            fields.extend(["size", "modified", "etag"].map(|name| (name.to_owned(), Field::Null)));
            fields.push(text("upload", upload));
        }
        None => {}
    }
    Record { tenant: listed.tenant.clone(), key: listed.key.clone(), fields, has_body }
}

/// The bytes of an object, whose key proves the tenant; `None` where a plain read finds none.
pub(super) async fn body(
    bucket: &Bucket,
    placement: &Placement,
    tenant: &TenantId,
    key: &Key,
) -> Result<Option<Body>, StoreError> {
    let operation = "read an object";
    let layout = layout_of(bucket, placement, operation)?;
    let Some(Named::Object(key)) = Named::of(key).filter(|named| layout.proves(tenant, named.key())) else {
        let message = "it lies outside the prefix of its tenant";
        return Err(bucket.error(operation, ErrorKind::Refused, Retry::Never, message));
    };
    let got = match bucket.client.get_object().bucket(&bucket.name).key(key).send().await {
        Ok(got) => got,
        Err(error) if code_of(&error) == "NoSuchKey" => return Ok(None),
        Err(error) => return Err(bucket.failed(operation, &error)),
    };
    let (pieces, mut body) = Body::channel();
    let about =
        |name: &str, text: Option<&str>| text.map(|text| (name.to_owned(), Field::Text(text.to_owned())));
    body.about.extend(about("content_type", got.content_type()));
    let mut labels: Vec<_> = got.metadata().into_iter().flatten().collect();
    labels.sort();
    body.about
        .extend(labels.into_iter().filter_map(|(name, text)| about(&format!("metadata:{name}"), Some(text))));
    let length = got.content_length().and_then(|length| u64::try_from(length).ok());
    let broken = bucket.error(operation, ErrorKind::Unreachable, Retry::Later, "the connection broke");
    // It ends with the object, or when nobody reads any more.
    drop(tokio::spawn(give(got.body, length, pieces, broken)));
    Ok(Some(body))
}

pub(super) async fn give(mut bytes: ByteStream, length: Option<u64>, pieces: Pieces, broken: StoreError) {
    let mut given = 0_u64;
    loop {
        match bytes.next().await {
            Some(Ok(more)) => {
                given = given.saturating_add(more.len() as u64);
                for piece in more.chunks(PIECE_BYTES) {
                    if pieces.give(piece.to_vec()).await.is_err() {
                        return;
                    }
                }
            }
            Some(Err(_)) => return pieces.end(Err(broken)).await,
            // An answer that is shorter than it said is none.
            None if length.is_some_and(|length| length != given) => return pieces.end(Err(broken)).await,
            None => return pieces.end(Ok(())).await,
        }
    }
}
