//! Versions, delete markers and uploads: all of them are the record, and none stays.

use aws_sdk_s3::types::BucketVersioningStatus;
use futures_util::future::join_all;
use retentiond::plan::{Interval, TenantScope, Times};
use retentiond::policy::{EventTime, Method};
use retentiond::stores::{Budget, Reader as _, SeenTime, Store as _, Survival};

use super::{
    WIDE, all_of, batch, batches, counts, days_ago, erases_all, found_by, marked, named, names, now,
    placement, query, reader, store,
};
use crate::servers::objects::Objects;
use crate::servers::{moto, seaweedfs};

const PREFIX: &str = "ivr/{tenant}/";

async fn of_neighbours(objects: &Objects) -> usize {
    for key in ["ivr/t-10/a", "ivr/T-1/a", "ivr/t-1x/a", "ivr/t-1", "other/ivr/t-1/a"] {
        objects.put(key, b"a neighbour's").await;
    }
    5
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_and_marker_of_a_versioned_bucket_goes() {
    for endpoint in [seaweedfs::endpoint(), moto::endpoint()] {
        let objects = Objects::new(&endpoint, "versioned").await;
        objects.put("ivr/t-1/before", b"from before versioning: the null version").await;
        objects.version(BucketVersioningStatus::Enabled).await;
        let others = of_neighbours(&objects).await;
        for key in ["ivr/t-1/before", "ivr/t-1/twice", "ivr/t-1/twice", "ivr/t-1/hidden", "ivr/t-1/d/x"] {
            objects.put(key, b"another version").await;
        }
        // Deleted by an application: the bytes are all there, under a marker.
        objects.delete("ivr/t-1/hidden").await;
        objects.delete("ivr/t-1/d/x").await;
        objects.put("ivr/t-1/d/x", b"and back again").await;
        // A marker alone.
        let version = objects.put("ivr/t-1/only-a-marker", b"bytes").await;
        objects.delete("ivr/t-1/only-a-marker").await;
        let delete = objects.client.delete_object().bucket(&objects.name).key("ivr/t-1/only-a-marker");
        delete.set_version_id(version).send().await.unwrap();
        marked(&objects).await;
        let erased = erases_all(&objects, placement(PREFIX, None), "t-1", Method::Delete).await;
        assert_eq!(erased, 5, "{endpoint}: a key with all its versions is one record");
        let left = objects.all().await;
        assert_eq!(left.len(), others, "{endpoint}: {left:?}");
        assert!(left.iter().all(|(key, ..)| !key.starts_with("ivr/t-1/")), "{endpoint}: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_bucket_loses_its_null_versions_too() {
    for endpoint in [seaweedfs::endpoint(), moto::endpoint()] {
        let objects = Objects::new(&endpoint, "suspended").await;
        objects.version(BucketVersioningStatus::Enabled).await;
        objects.put("ivr/t-1/a", b"a version").await;
        objects.version(BucketVersioningStatus::Suspended).await;
        objects.put("ivr/t-1/a", b"the null version").await;
        objects.put("ivr/t-1/b", b"the null version").await;
        objects.put("ivr/t-1x/b", b"a neighbour's").await;
        marked(&objects).await;
        assert_eq!(erases_all(&objects, placement(PREFIX, None), "t-1", Method::Delete).await, 2);
        let keys: Vec<String> = objects.all().await.into_iter().map(|(key, ..)| key).collect();
        assert_eq!(keys, ["ivr/t-1x/b"], "{endpoint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_under_a_delete_marker_are_never_called_absent() {
    let objects = Objects::new(&seaweedfs::endpoint(), "hidden").await;
    objects.version(BucketVersioningStatus::Enabled).await;
    objects.put("rec/t-1/a", b"still here").await;
    marked(&objects).await;
    objects.delete("rec/t-1/a").await;
    assert_eq!(objects.content("rec/t-1/a").await, None, "a plain read finds nothing");
    let all = all_of(found_by("rec/{tenant}/"), "t-1");
    let rows = named("t-1", &["rec/t-1/a", "rec/t-1/none"]);
    let reader = reader(&objects).await;
    assert_eq!(reader.absent(&all, &rows).await.unwrap().indexes, [0]);
    let erased = store(&objects).await.erase(&all, &rows, Method::Delete).await.unwrap();
    assert_eq!((counts(&erased, "t-1").erased, counts(&erased, "t-1").already_absent), (1, 1));
    assert_eq!(reader.absent(&all, &rows).await.unwrap().indexes, Vec::<usize>::new());
    assert_eq!(objects.all().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_nobody_completed_are_records_and_go() {
    for endpoint in [seaweedfs::endpoint(), moto::endpoint()] {
        let objects = Objects::new(&endpoint, "uploads").await;
        objects.put("ivr/t-1/2020/01/01/a", b"complete").await;
        for key in [
            "ivr/t-1/2020/01/01/a",
            "ivr/t-1/2020/01/01/up",
            "ivr/t-1/2099/01/01/up",
            "ivr/t-10/2020/01/01/up",
        ] {
            objects.begin_upload(key).await;
        }
        objects.begin_upload("ivr/t-1/2020/01/01/up").await;
        marked(&objects).await;
        let by_key = placement(PREFIX, Some(EventTime::Key("ivr/{tenant}/%Y/%m/%d/".into())));
        let old = Times::Within(vec![Interval { from: days_ago(9_000), to: days_ago(30) }]);
        let query = query(by_key.clone(), TenantScope::One(super::tenant("t-1")), old);
        let (store, reader) = (store(&objects).await, reader(&objects).await);
        assert_eq!(reader.survey(&query).await.unwrap().total().records, 4, "{endpoint}");
        let budget = Budget { records_max: 2, window_keys: 1 };
        let mut erased = 0;
        for batch in batches(&reader, &query, budget).await {
            assert!(batch.records() <= 2);
            let done = store.erase(&query, &batch, Method::Delete).await.unwrap();
            assert_eq!(done.survivors, []);
            erased += counts(&done, "t-1").erased;
            assert_eq!(reader.absent(&query, &batch).await.unwrap().indexes, Vec::<usize>::new());
            let again = store.erase(&query, &batch, Method::Delete).await.unwrap();
            assert_eq!(counts(&again, "t-1").already_absent, batch.records(), "{endpoint}");
        }
        assert_eq!(erased, 4, "{endpoint}");
        assert_eq!(
            objects.uploads().await,
            ["ivr/t-1/2099/01/01/up", "ivr/t-10/2020/01/01/up"],
            "{endpoint}"
        );
        assert_eq!(reader.population(&by_key, 100).await.unwrap(), 2, "{endpoint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_with_the_object_that_rows_name() {
    let objects = Objects::new(&seaweedfs::endpoint(), "row-uploads").await;
    objects.put("rec/t-1/a", b"complete").await;
    for key in ["rec/t-1/a", "rec/t-1/b", "rec/t-1/ab"] {
        objects.begin_upload(key).await;
    }
    marked(&objects).await;
    let all = all_of(found_by("rec/{tenant}/"), "t-1");
    let rows = named("t-1", &["rec/t-1/a", "rec/t-1/b"]);
    let (store, reader) = (store(&objects).await, reader(&objects).await);
    assert_eq!(reader.absent(&all, &rows).await.unwrap().indexes, [0, 1]);
    let erased = store.erase(&all, &rows, Method::Delete).await.unwrap();
    assert_eq!(counts(&erased, "t-1").erased, 2);
    assert_eq!(reader.absent(&all, &rows).await.unwrap().indexes, Vec::<usize>::new());
    assert_eq!(objects.uploads().await, ["rec/t-1/ab"], "only under exactly that key");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_between_find_and_erase_survives() {
    for method in [Method::Delete, Method::OverwriteThenDelete] {
        for is_versioned in [false, true] {
            let objects = Objects::new(&seaweedfs::endpoint(), "between").await;
            if is_versioned {
                objects.version(BucketVersioningStatus::Enabled).await;
            }
            objects.put("ivr/t-1/a", b"old").await;
            objects.put("ivr/t-1/b", b"old").await;
            let store = marked(&objects).await;
            let all = all_of(placement(PREFIX, None), "t-1");
            let batch = batch(&store, &all).await;
            objects.put("ivr/t-1/a", b"new and of another time").await;
            let erased = store.erase(&all, &batch, method).await.unwrap();
            let counts = counts(&erased, "t-1");
            assert_eq!((counts.erased, counts.changed, counts.failed), (1, 1, 0));
            assert_eq!(erased.survivors[0].why, Survival::Changed);
            assert_eq!(objects.content("ivr/t-1/a").await.as_deref(), Some(&b"new and of another time"[..]));
            assert_eq!(objects.current().await, ["ivr/t-1/a"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_modification_is_that_of_the_newest_version() {
    let objects = Objects::new(&seaweedfs::endpoint(), "modified").await;
    objects.version(BucketVersioningStatus::Enabled).await;
    objects.put("ivr/t-1/a", b"old").await;
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    let between = now();
    objects.put("ivr/t-1/a", b"new").await;
    objects.put("ivr/t-1/b", b"new").await;
    let store = marked(&objects).await;
    let modified = placement(PREFIX, Some(EventTime::Modified));
    let one = || TenantScope::One(super::tenant("t-1"));
    let all = query(modified.clone(), one(), Times::Any);
    let seen = store.look(&all, &["ivr/t-1/a".into()]).await.unwrap().unwrap();
    // Servers count whole seconds.
    let SeenTime::Usable(at) = seen.event_time else { panic!("{seen:?}") };
    assert!(at.timestamp() >= between.timestamp(), "{at}: never earlier than any version");
    let before = Times::Within(vec![Interval { from: days_ago(2), to: at }]);
    let early = query(modified.clone(), one(), before);
    assert_eq!(store.survey(&early).await.unwrap().total().records, 0);
    let after = Times::Within(vec![Interval { from: at, to: now() }]);
    let due = query(modified, one(), after);
    assert_eq!(names(&batch(&store, &due).await), ["ivr/t-1/a", "ivr/t-1/b"]);
}

/// A folder beside a key that begins like it, of which one server loses the folder between two pages.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_objects_are_counted_found_and_erased_over_many_pages() {
    for is_versioned in [false, true] {
        let objects = Objects::new(&seaweedfs::endpoint(), "many").await;
        if is_versioned {
            objects.version(BucketVersioningStatus::Enabled).await;
        }
        let mut keys: Vec<String> = (0..2_494).map(|n| format!("ivr/t-1/2020/{:02}/{n}", n % 12)).collect();
        keys.extend(["p/1", "p/d/1", "p/d-1", "p/d.x/1", "p-1", "p.1"].map(|key| format!("ivr/t-1/{key}")));
        let neighbours = of_neighbours(&objects).await;
        for some in keys.chunks(32) {
            join_all(some.iter().map(|key| objects.put(key, b"x"))).await;
        }
        let store = marked(&objects).await;
        assert_eq!(store.population(&placement(PREFIX, None), 100_000).await.unwrap(), 2_503);
        let all = all_of(placement(PREFIX, None), "t-1");
        for records_max in [700, 2_000] {
            let budget = Budget { records_max, window_keys: 1 };
            let mut found: Vec<String> = batches(&store, &all, budget).await.iter().flat_map(names).collect();
            found.sort();
            keys.sort();
            assert_eq!(found, keys, "versioned: {is_versioned}");
        }
        for batch in batches(&store, &all, WIDE).await {
            let erased = store.erase(&all, &batch, Method::Delete).await.unwrap();
            assert_eq!(counts(&erased, "t-1").erased, batch.records());
            assert_eq!(store.absent(&all, &batch).await.unwrap().indexes, Vec::<usize>::new());
        }
        assert_eq!(objects.all().await.len(), neighbours, "versioned: {is_versioned}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_pages_of_versions_lose_no_key() {
    let objects = Objects::new(&seaweedfs::endpoint(), "small").await;
    objects.version(BucketVersioningStatus::Enabled).await;
    let mut keys = ["p/1", "p/d/1", "p/d-1", "p/d.x/1", "p-1", "p.1"].map(|key| format!("ivr/t-1/{key}"));
    for key in &keys {
        objects.put(key, b"1").await;
        objects.put(key, b"2").await;
    }
    // Tenants whose folders sort differently with and without the separator.
    for name in ["t", "t-1.x", "t-1 x"] {
        objects.put(&format!("ivr/{name}/a"), b"a").await;
    }
    keys.sort();
    let reader = reader(&objects).await;
    let all = all_of(placement(PREFIX, None), "t-1");
    for records_max in [1, 2, 3, 5, 1000] {
        let budget = Budget { records_max, window_keys: 1 };
        let mut found: Vec<String> = batches(&reader, &all, budget).await.iter().flat_map(names).collect();
        found.sort();
        assert_eq!(found, keys, "{records_max}");
        let everybody = query(placement(PREFIX, None), TenantScope::AllExcept(Vec::new()), Times::Any);
        let found = batches(&reader, &everybody, budget).await;
        assert_eq!(found.iter().map(retentiond::stores::Batch::records).sum::<u64>(), 9, "{records_max}");
    }
}
