//! Object lock and legal hold: reported, with the day, and never forced.

use aws_sdk_s3::primitives::DateTime as Stamp;
use aws_sdk_s3::types::{
    ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockRetention, ObjectLockRetentionMode,
};
use chrono::{DateTime, TimeDelta, Utc};
use retentiond::policy::Method;
use retentiond::stores::{Reader as _, Store as _};

use super::{all_of, batch, counts, failures, marked, now, placement};
use crate::servers::between::Between;
use crate::servers::moto;
use crate::servers::objects::Objects;

impl Objects {
    async fn retain(
        &self,
        key: &str,
        version: Option<String>,
        mode: ObjectLockRetentionMode,
        until: DateTime<Utc>,
    ) {
        let retention = ObjectLockRetention::builder()
            .mode(mode)
            .retain_until_date(Stamp::from_secs(until.timestamp()))
            .build();
        let put = self.client.put_object_retention().bucket(&self.name).key(key).set_version_id(version);
        put.retention(retention).send().await.unwrap();
    }

    async fn hold(&self, key: &str, status: ObjectLockLegalHoldStatus) {
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let put = self.client.put_object_legal_hold().bucket(&self.name).key(key);
        put.legal_hold(hold).send().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_or_on_legal_hold_is_reported_with_its_day_and_never_forced() {
    let objects = Objects::lockable(&moto::endpoint(), "locked").await;
    let keys = ["compliance", "free", "governance", "held", "hidden", "lapsed", "older"];
    for key in keys {
        objects.put(&format!("ivr/t-1/{key}"), b"bytes").await;
    }
    objects.put("ivr/t-10/free", b"a neighbour's").await;
    let until = now() + TimeDelta::days(400);
    objects.retain("ivr/t-1/compliance", None, ObjectLockRetentionMode::Compliance, until).await;
    objects.retain("ivr/t-1/governance", None, ObjectLockRetentionMode::Governance, until).await;
    objects
        .retain("ivr/t-1/lapsed", None, ObjectLockRetentionMode::Governance, now() - TimeDelta::days(1))
        .await;
    objects.hold("ivr/t-1/held", ObjectLockLegalHoldStatus::On).await;
    // Locked, and then hidden under a marker, which is never locked itself.
    objects.retain("ivr/t-1/hidden", None, ObjectLockRetentionMode::Compliance, until).await;
    objects.delete("ivr/t-1/hidden").await;
    // Only the older version is locked.
    let older = objects.all().await.into_iter().find(|(key, ..)| key == "ivr/t-1/older").unwrap().1;
    objects.put("ivr/t-1/older", b"newer").await;
    objects.retain("ivr/t-1/older", Some(older), ObjectLockRetentionMode::Governance, until).await;
    marked(&objects).await;
    let before = objects.all().await;

    let between = Between::noting(&objects.endpoint);
    let through = Objects { endpoint: between.endpoint.clone(), ..objects.clone() };
    let store = super::store(&through).await;
    let all = all_of(placement("ivr/{tenant}/", None), "t-1");
    let batch = batch(&store, &all).await;
    assert_eq!(batch.records(), 7);
    let erased = store.erase(&all, &batch, Method::Delete).await.unwrap();
    let counted = counts(&erased, "t-1");
    assert_eq!((counted.erased, counted.failed, counted.changed), (2, 5, 0), "{erased:?}");
    let whys = failures(&erased);
    let day = format!("blocked until {}", until.format("%Y-%m-%d"));
    assert_eq!(whys.iter().filter(|why| why.starts_with(&day)).count(), 4, "{whys:?}");
    assert_eq!(whys.iter().filter(|why| why.contains("legal hold")).count(), 1, "{whys:?}");
    let gone = |key: &str| ["ivr/t-1/free", "ivr/t-1/lapsed"].contains(&key);
    let left: Vec<_> = before.into_iter().filter(|(key, ..)| !gone(key)).collect();
    assert_eq!(objects.all().await, left, "of what is locked nothing goes, not even a marker");
    let still = store.absent(&all, &batch).await.unwrap();
    assert_eq!(still.indexes, erased.survivors.iter().map(|survivor| survivor.index).collect::<Vec<_>>());

    assert!(!between.requests("POST ").is_empty());
    for head in between.requests("") {
        assert!(!head.to_lowercase().contains("bypass"), "{head}");
    }

    objects.hold("ivr/t-1/held", ObjectLockLegalHoldStatus::Off).await;
    let again = store.erase(&all, &batch, Method::Delete).await.unwrap();
    assert_eq!(counts(&again, "t-1").erased, 1, "lifted: {again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_the_server_is_told_key_by_key_where_we_may_not_read_the_lock() {
    let objects = Objects::lockable(&moto::endpoint(), "locked-unseen").await;
    objects.put("ivr/t-1/free", b"bytes").await;
    objects.put("ivr/t-1/locked", b"bytes").await;
    let until = now() + TimeDelta::days(9);
    objects.retain("ivr/t-1/locked", None, ObjectLockRetentionMode::Compliance, until).await;
    marked(&objects).await;
    let refused = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    let between = Between::start(
        &objects.endpoint,
        Box::new(move |head, _| {
            let line = head.lines().next().unwrap();
            let is_lock = head.starts_with("HEAD ") || line.contains("?object-lock");
            is_lock.then(|| (403, refused.to_owned()))
        }),
        Box::new(|_, body| body),
    );
    let through = Objects { endpoint: between.endpoint.clone(), ..objects.clone() };
    let store = super::store(&through).await;
    let all = all_of(placement("ivr/{tenant}/", None), "t-1");
    let batch = batch(&store, &all).await;
    let erased = store.erase(&all, &batch, Method::Delete).await.unwrap();
    assert_eq!((counts(&erased, "t-1").erased, counts(&erased, "t-1").failed), (1, 1), "{erased:?}");
    assert!(failures(&erased)[0].contains("AccessDenied"), "{erased:?}");
    let keys: Vec<String> = objects.all().await.into_iter().map(|(key, ..)| key).collect();
    assert_eq!(keys, ["ivr/t-1/locked"]);
}
