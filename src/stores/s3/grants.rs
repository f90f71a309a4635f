//! The least that a bucket must let us do, as a bucket policy. It owns which request needs which action, and asks nobody.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::marker::MARKER;
use super::select::{Label, label_of};
use crate::config::StoreConfig;
use crate::stores::grants::{Need, fixed_prefix};

/// On the bucket itself. Without the right to list, a server answers 403 where an object is not there, and nothing could
/// be shown absent.
const LISTING: [&str; 3] = ["s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"];

/// What `check --online` asks about the bucket.
const SETTINGS: [&str; 4] = [
    "s3:GetBucketVersioning",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetReplicationConfiguration",
];

/// On each record: its facts (`HEAD` asks for a right to read), its lock, and its end.
const ERASING: [&str; 7] = [
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:AbortMultipartUpload",
];

/// What retentiond never does, whoever else allows it.
const NEVER: [&str; 4] =
    ["s3:BypassGovernanceRetention", "s3:PutObjectRetention", "s3:PutObjectLegalHold", "s3:DeleteBucket"];

/// The bucket policy.
pub fn grants(config: &StoreConfig, needs: &[Need<'_>]) -> String {
    let StoreConfig::S3(settings) = config else { return String::new() };
    let bucket = format!("arn:aws:s3:::{}", settings.bucket);
    let mut statements = vec![
        allow("List", &LISTING, std::slice::from_ref(&bucket)),
        allow("Settings", &SETTINGS, std::slice::from_ref(&bucket)),
        allow("Marker", &["s3:GetObject", "s3:PutObject"], &[format!("{bucket}/{MARKER}")]),
        allow("Erase", &ERASING, &below(&bucket, needs, |_| true)),
    ];
    let overwritten = below(&bucket, needs, |need| need.overwrites());
    if !overwritten.is_empty() {
        statements.push(allow("Overwrite", &["s3:PutObject"], &overwritten));
    }
    let tagged = below(&bucket, needs, |need| matches!(label_of(need.placement), Some(Label::Tag(_))));
    if !tagged.is_empty() {
        let reading = ["s3:GetObjectTagging", "s3:GetObjectVersionTagging"];
        statements.push(allow("Tags", &reading, &tagged));
    }
    let mut never = allow("Never", &NEVER, &[bucket.clone(), format!("{bucket}/*")]);
    never["Effect"] = json!("Deny");
    statements.push(never);
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    format!(
        "# A bucket policy. Put the account and the user of the access key in the place of ACCOUNT and retentiond; as a\n\
         # policy of that user, leave every Principal out. Other servers than AWS write users in ways of their own.\n\
         {policy:#}\n"
    )
}

fn allow(name: &str, actions: &[&str], resources: &[String]) -> Value {
    json!({
        "Sid": format!("Retentiond{name}"),
        "Effect": "Allow",
        "Principal": { "AWS": "arn:aws:iam::ACCOUNT:user/retentiond" },
        "Action": actions,
        "Resource": resources,
    })
}

/// The objects below the fixed beginnings of the placements' prefixes.
fn below(bucket: &str, needs: &[Need<'_>], is_meant: impl Fn(&Need<'_>) -> bool) -> Vec<String> {
    let records =
        needs.iter().filter(|need| is_meant(need)).filter_map(|need| need.placement.records.as_ref());
    let prefixes: BTreeSet<&str> = records.filter_map(fixed_prefix).collect();
    prefixes.into_iter().map(|prefix| format!("{bucket}/{}*", literal(prefix))).collect()
}

/// `*`, `?` and `$` mean something in a policy.
fn literal(prefix: &str) -> String {
    let mut text = String::with_capacity(prefix.len());
    for letter in prefix.chars() {
        match letter {
            '*' | '?' | '$' => text.push_str(&format!("${{{letter}}}")),
            letter => text.push(letter),
        }
    }
    text
}
