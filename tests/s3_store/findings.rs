//! What `check --online` says of a bucket.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketVersioningStatus, ExpirationStatus, LifecycleExpiration,
    LifecycleRule, LifecycleRuleFilter,
};
use retentiond::policy::EventTime;
use retentiond::stores::{Finding, Reader as _};

use super::{placement, reader};
use crate::servers::between::Between;
use crate::servers::objects::Objects;
use crate::servers::{moto, seaweedfs};

async fn findings(objects: &Objects) -> Vec<Finding> {
    reader(objects).await.inspect(&placement("ivr/{tenant}/", None)).await.unwrap()
}

fn says(findings: &[Finding], is_fatal: bool, words: &str) -> bool {
    findings.iter().any(|f| f.fatal == is_fatal && f.message.contains(words) && !f.help.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_bucket_gives_no_findings_and_one_with_versions_and_rules_does() {
    for endpoint in [seaweedfs::endpoint(), moto::endpoint()] {
        let objects = Objects::new(&endpoint, "plain").await;
        let found = findings(&objects).await;
        // One of them does not give a readable answer to whether a plain bucket has versions.
        assert!(found.is_empty() || says(&found, false, "does not say whether"), "{endpoint}: {found:?}");
        objects.version(BucketVersioningStatus::Enabled).await;
        let rule = LifecycleRule::builder()
            .id("old")
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix("ivr/").build())
            .expiration(LifecycleExpiration::builder().days(30).build())
            .build()
            .unwrap();
        let rules = BucketLifecycleConfiguration::builder().rules(rule).build().unwrap();
        let put = objects.client.put_bucket_lifecycle_configuration().bucket(&objects.name);
        put.lifecycle_configuration(rules).send().await.unwrap();
        let found = findings(&objects).await;
        let is_told = !says(&found, false, "does not say whether");
        assert_eq!(says(&found, false, "versioning is on"), is_told, "{endpoint}: {found:?}");
        assert!(is_told || endpoint == moto::endpoint());
        assert!(says(&found, false, "lifecycle rules"), "{endpoint}: {found:?}");
        assert!(!found.iter().any(|finding| finding.fatal), "{endpoint}: {found:?}");
        objects.version(BucketVersioningStatus::Suspended).await;
        assert_eq!(says(&findings(&objects).await, false, "suspended"), is_told, "{endpoint}");
    }
    let lockable = Objects::lockable(&moto::endpoint(), "lockable").await;
    assert!(says(&findings(&lockable).await, false, "can be locked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mfa_delete_copies_and_missing_rights_are_found() {
    let cases: [(&str, u16, &str, bool, &str); 5] = [
        (
            "versioning",
            200,
            "<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>",
            true,
            "MFA delete",
        ),
        (
            "replication",
            200,
            "<ReplicationConfiguration><Role>r</Role><Rule><Status>Enabled</Status><Destination>\
             <Bucket>arn:aws:s3:::elsewhere</Bucket></Destination></Rule></ReplicationConfiguration>",
            false,
            "copied to `arn:aws:s3:::elsewhere`",
        ),
        ("versions", 403, "<Error><Code>AccessDenied</Code></Error>", true, "AccessDenied"),
        ("uploads", 403, "<Error><Code>AccessDenied</Code></Error>", true, "AccessDenied"),
        ("versioning", 403, "<Error><Code>AccessDenied</Code></Error>", false, "does not say whether"),
    ];
    let objects = Objects::new(&moto::endpoint(), "found").await;
    for (asked, status, answer, is_fatal, words) in cases {
        let between = Between::start(
            &objects.endpoint,
            Box::new(move |head, _| {
                let line = head.lines().next().unwrap();
                line.contains(asked).then(|| (status, answer.to_owned()))
            }),
            Box::new(|_, body| body),
        );
        let through = Objects { endpoint: between.endpoint.clone(), ..objects.clone() };
        let found = findings(&through).await;
        assert!(says(&found, is_fatal, words), "{asked} {status}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_are_dear_or_move_are_said() {
    let objects = Objects::new(&moto::endpoint(), "times").await;
    let reader = reader(&objects).await;
    let text = |column: &str| EventTime::Text {
        column: column.into(),
        format: "%Y-%m-%d %H:%M:%S".into(),
        time_zone: super::ZONE,
    };
    for (time, is_fatal, words) in [
        (EventTime::Modified, false, "moves when"),
        (text("metadata:started-at"), false, "object by object"),
        (text("tag:started-at"), false, "object by object"),
        (text("started_at"), true, "no columns"),
    ] {
        let found = reader.inspect(&placement("ivr/{tenant}/", Some(time))).await.unwrap();
        assert!(says(&found, is_fatal, words), "{words}: {found:?}");
    }
}
