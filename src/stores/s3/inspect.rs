//! What stands between a placement and its enforcement in a bucket: versions, locks, rules of the bucket's own, copies,
//! rights. It owns the findings; it changes nothing.

use aws_sdk_s3::types::{BucketVersioningStatus, ExpirationStatus, MfaDeleteStatus, ReplicationRuleStatus};

use super::bucket::{Bucket, code_of, is_unknown_request};
use super::look::layout_of;
use super::pages::{Ask, Mode};
use super::select::{Label, label_of};
use crate::policy::{EventTime, Placement};
use crate::stores::{ErrorKind, Finding, StoreError};

const OPERATION: &str = "inspect the bucket";

fn finding(fatal: bool, field: &str, message: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding { fatal, field: field.to_owned(), message: message.into(), help: help.into() }
}

/// Everything that is worth saying about a placement here.
pub(super) async fn inspect(bucket: &Bucket, placement: &Placement) -> Result<Vec<Finding>, StoreError> {
    let mut findings = about_the_placement(bucket, placement);
    if let Err(error) = bucket.client.head_bucket().bucket(&bucket.name).send().await {
        let known = bucket.failed(OPERATION, &error);
        if known.kind != ErrorKind::Refused {
            return Err(known);
        }
    }
    let versions = bucket.versions(&mut findings).await?;
    bucket.can_list(placement, versions, &mut findings).await?;
    bucket.locking(&mut findings).await?;
    bucket.lifecycle(&mut findings).await?;
    bucket.replication(&mut findings).await?;
    Ok(findings)
}

fn about_the_placement(bucket: &Bucket, placement: &Placement) -> Vec<Finding> {
    let mut findings = Vec::new();
    match layout_of(bucket, placement, OPERATION) {
        Ok(layout) if !layout.is_found_by && !placement.subjects.is_empty() => {
            let help = "write `subjects = \"none\"`, or have rows name the objects with `found_by`";
            findings.push(finding(true, "subjects", "objects name no subject", help));
        }
        Ok(_) => {}
        Err(error) => {
            let help = "a bucket holds `prefix = \"ivr/{tenant}/\"` or `found_by` placements";
            findings.push(finding(true, "records", error.message, help));
        }
    }
    if matches!(placement.event_time, Some(EventTime::Modified)) {
        let message = "the time of last modification moves when an object is copied or restored";
        let help = "put the date into the key and use `event_time = { key = \"…\" }`";
        findings.push(finding(false, "event_time", message, help));
    }
    let dear = match label_of(placement) {
        None => None,
        Some(Label::Metadata(_)) => Some("metadata is read object by object (HEAD)"),
        Some(Label::Tag(_)) => Some("a tag is read object by object"),
    };
    if let Some(message) = dear {
        let help = "with many objects, put the date into the key and use `event_time = { key = \"…\" }`";
        findings.push(finding(false, "event_time", message, help));
    }
    findings
}

impl Bucket {
    async fn versions(&self, findings: &mut Vec<Finding>) -> Result<Mode, StoreError> {
        match self.client.get_bucket_versioning().bucket(&self.name).send().await {
            Ok(answer) => {
                if answer.mfa_delete() == Some(&MfaDeleteStatus::Enabled) {
                    let message = "the bucket wants a second factor for deleting versions (MFA delete)";
                    findings.push(finding(true, "store", message, "switch MFA delete off for this bucket"));
                }
                if let Some(status) = answer.status() {
                    let state = match status {
                        BucketVersioningStatus::Suspended => "suspended; old versions stay",
                        BucketVersioningStatus::Enabled | _ => "on",
                    };
                    let message = format!("versioning is {state}: every version and delete marker is erased");
                    let help = if self.is_foreign {
                        "`s3:DeleteObjectVersion` and `s3:ListBucketVersions` are needed; some servers lose keys \
                         under delete markers between pages, so let old versions expire as well"
                    } else {
                        "nothing to do; `s3:DeleteObjectVersion` and `s3:ListBucketVersions` are needed"
                    };
                    findings.push(finding(false, "store", message, help));
                }
            }
            Err(error) => {
                let known = self.failed(OPERATION, &error);
                if known.kind != ErrorKind::Refused && !is_unknown_request(&error) {
                    return Err(known);
                }
                let help =
                    "grant `s3:GetBucketVersioning`; until then every version is listed, which costs more";
                let message = "the server does not say whether the bucket keeps versions";
                findings.push(finding(false, "store", message, help));
            }
        }
        match self.mode(OPERATION).await {
            Ok(Mode::Plain) if self.is_foreign && !self.lists_versions().await? => {
                let message = "the server cannot list versions: should it keep any, they are not seen";
                let help = "make sure that this server keeps no old versions of objects";
                findings.push(finding(false, "store", message, help));
                Ok(Mode::Plain)
            }
            Ok(mode) => Ok(mode),
            // `can_list` says it.
            Err(error) if error.kind == ErrorKind::Refused => Ok(Mode::Versions),
            Err(error) => Err(error),
        }
    }

    async fn lists_versions(&self) -> Result<bool, StoreError> {
        match self.client.list_object_versions().bucket(&self.name).max_keys(1).send().await {
            Ok(_) => Ok(true),
            Err(error) if is_unknown_request(&error) => Ok(false),
            Err(error) => {
                let known = self.failed(OPERATION, &error);
                if known.kind == ErrorKind::Refused { Ok(true) } else { Err(known) }
            }
        }
    }

    async fn can_list(
        &self,
        placement: &Placement,
        mode: Mode,
        findings: &mut Vec<Finding>,
    ) -> Result<(), StoreError> {
        let Ok(layout) = layout_of(self, placement, OPERATION) else { return Ok(()) };
        let prefix = layout.template.split('{').next().unwrap_or_default();
        let ask = Ask { operation: OPERATION, prefix, next: None, most: 1, folders: false };
        match self.page(mode, ask).await {
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::Refused => {
                let help = "grant `s3:ListBucket` and `s3:ListBucketVersions`: without them nothing is known to be absent";
                findings.push(finding(true, "store", error.message, help));
            }
            Err(error) => return Err(error),
        }
        let asked = self.client.list_multipart_uploads().bucket(&self.name).prefix(prefix).max_uploads(1);
        if let Err(error) = asked.send().await
            && !is_unknown_request(&error)
        {
            let known = self.failed(OPERATION, &error);
            if known.kind != ErrorKind::Refused {
                return Err(known);
            }
            let help = "grant `s3:ListBucketMultipartUploads` and `s3:AbortMultipartUpload`";
            findings.push(finding(true, "store", known.message, help));
        }
        Ok(())
    }

    async fn locking(&self, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        if self.can_lock(OPERATION).await? {
            let message = "objects of this bucket can be locked: what is locked or on legal hold is reported as \
                           blocked and never forced";
            let help = "keep the lock's time below the deadline of every rule, and grant \
                        `s3:GetObjectRetention` and `s3:GetObjectLegalHold`";
            findings.push(finding(false, "store", message, help));
        }
        Ok(())
    }

    async fn lifecycle(&self, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        let asked = self.client.get_bucket_lifecycle_configuration().bucket(&self.name).send().await;
        match asked {
            Ok(answer) => {
                let on = answer.rules().iter().filter(|rule| rule.status() == &ExpirationStatus::Enabled);
                let rules = on
                    .filter(|rule| {
                        rule.expiration().is_some() || rule.noncurrent_version_expiration().is_some()
                    })
                    .count();
                if rules > 0 {
                    let message =
                        format!("{rules} lifecycle rules of the bucket delete objects beside retentiond");
                    let help = "such deletes know no holds and leave no evidence; remove them, or let them act only \
                                long after every deadline";
                    findings.push(finding(false, "store", message, help));
                }
                Ok(())
            }
            Err(error) if code_of(&error) == "NoSuchLifecycleConfiguration" => Ok(()),
            Err(error) => self.unknown(findings, "lifecycle rules", "s3:GetLifecycleConfiguration", &error),
        }
    }

    async fn replication(&self, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        match self.client.get_bucket_replication().bucket(&self.name).send().await {
            Ok(answer) => {
                let rules = answer.replication_configuration().map(|known| known.rules()).unwrap_or_default();
                let on = rules.iter().filter(|rule| rule.status() == &ReplicationRuleStatus::Enabled);
                let mut targets: Vec<&str> =
                    on.filter_map(|rule| rule.destination().map(|target| target.bucket())).collect();
                targets.sort_unstable();
                targets.dedup();
                for target in targets {
                    let message =
                        format!("the bucket is copied to `{target}`, and deletes of versions are not");
                    let help = "declare that bucket as a store, with a placement of role `backup` for the same prefix";
                    findings.push(finding(false, "store", message, help));
                }
                Ok(())
            }
            Err(error)
                if matches!(
                    code_of(&error).as_str(),
                    "ReplicationConfigurationNotFoundError" | "NoSuchReplicationConfiguration"
                ) =>
            {
                Ok(())
            }
            Err(error) => {
                self.unknown(findings, "copies to other buckets", "s3:GetReplicationConfiguration", &error)
            }
        }
    }

    /// A question that was refused is told; a server that knows no such thing has none of it.
    fn unknown<E>(
        &self,
        findings: &mut Vec<Finding>,
        what: &str,
        right: &str,
        error: &aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
    ) -> Result<(), StoreError>
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let known = self.failed(OPERATION, error);
        if is_unknown_request(error) {
            return Ok(());
        }
        if known.kind != ErrorKind::Refused {
            return Err(known);
        }
        let message = format!("it cannot be told whether the bucket has {what}: {}", known.message);
        findings.push(finding(false, "store", message, format!("grant `{right}`")));
        Ok(())
    }
}
