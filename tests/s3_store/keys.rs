//! Strange keys: exact or parked, the neighbour never touched.

use retentiond::plan::{TenantScope, Times};
use retentiond::policy::{EventTime, Method};
use retentiond::stores::{Reader as _, Store as _};

use super::{
    all_of, batch, counts, erases_all, found_by, marked, named, names, placement, query, reader, store,
    tenant,
};
use crate::servers::objects::Objects;
use crate::servers::{moto, seaweedfs};

const PREFIX: &str = "ivr/{tenant}/";

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_shape_are_erased_exactly_or_parked() {
    let objects = Objects::new(&moto::endpoint(), "keys").await;
    let long = format!("ivr/t-1/{}", "k".repeat(1_016));
    let exact = [
        "ivr/t-1/a b",
        "ivr/t-1/a+b",
        "ivr/t-1/a%20b",
        "ivr/t-1/a%2Fb",
        "ivr/t-1/&<>'\"",
        "ivr/t-1/*?[x]",
        "ivr/t-1/é",
        "ivr/t-1/e\u{301}",
        "ivr/t-1/\u{1F4DE}",
        "ivr/t-1/ivr/t-10/a",
        "ivr/t-1/.retentiond-marker",
        "ivr/t-1/...",
        &long,
    ];
    let parked = ["ivr/t-1//a", "ivr/t-1/./a", "ivr/t-1/../t-10/a", "ivr/t-1/folder/", "ivr//a", "ivr/ /a"];
    let others =
        ["/ivr/t-1/a", "ivr/t-1", "ivr", "x/ivr/t-1/a", "IVR/t-1/a", "ivr/t-10/a", "ivr/t-1x/a", "ivr/T-1/a"];
    for key in exact.iter().chain(&parked).chain(&others) {
        objects.put(key, b"bytes").await;
    }
    let store = marked(&objects).await;
    let nameless = query(placement(PREFIX, None), TenantScope::Nameless, Times::Any);
    assert_eq!(store.survey(&nameless).await.unwrap().nameless, parked.len() as u64);
    let all = all_of(placement(PREFIX, None), "t-1");
    let found = batch(&store, &all).await;
    let mut keys = names(&found);
    keys.sort();
    let mut wanted: Vec<&str> = exact.to_vec();
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    assert_eq!(erases_all(&objects, placement(PREFIX, None), "t-1", Method::Delete).await, 13);
    let mut left: Vec<&str> = parked.iter().chain(&others).copied().collect();
    left.sort_unstable();
    assert_eq!(objects.current().await, left);
}

/// Letters that the body of a batch cannot carry: such keys go one by one.
#[tokio::test(flavor = "multi_thread")]
async fn keys_with_control_letters_are_exact_too() {
    for is_versioned in [false, true] {
        let objects = Objects::new(&seaweedfs::endpoint(), "control").await;
        if is_versioned {
            objects.version(aws_sdk_s3::types::BucketVersioningStatus::Enabled).await;
        }
        for key in ["ivr/t-1/a\nb", "ivr/t-1/a\tb", "ivr/t-1/a\rb", "ivr/t-1/ab", "ivr/t-10/a\nb"] {
            objects.put(key, b"bytes").await;
        }
        marked(&objects).await;
        assert_eq!(erases_all(&objects, placement(PREFIX, None), "t-1", Method::Delete).await, 4);
        assert_eq!(objects.current().await, ["ivr/t-10/a\nb"]);
    }
}

/// U+0001 cannot stand in XML at all. A plain listing encodes it; where a listing of versions shows something else in
/// its place, it is an error, and what is there is never called absent.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_listing_cannot_show_is_erased_or_parked_and_never_called_gone() {
    for is_versioned in [false, true] {
        let objects = Objects::new(&seaweedfs::endpoint(), "unshown").await;
        if is_versioned {
            objects.version(aws_sdk_s3::types::BucketVersioningStatus::Enabled).await;
        }
        objects.put("ivr/t-1/a\u{1}b", b"bytes").await;
        let store = marked(&objects).await;
        let all = all_of(placement(PREFIX, None), "t-1");
        assert_eq!(store.survey(&all).await.unwrap().total().records, 1);
        let batch = batch(&store, &all).await;
        if is_versioned {
            // Which versions it has cannot be told.
            assert!(store.erase(&all, &batch, Method::Delete).await.is_err());
            assert!(store.absent(&all, &batch).await.is_err());
            assert!(objects.content("ivr/t-1/a\u{1}b").await.is_some());
            continue;
        }
        assert_eq!(erases_all(&objects, placement(PREFIX, None), "t-1", Method::Delete).await, 1);
        assert_eq!(objects.content("ivr/t-1/a\u{1}b").await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_marker_is_never_a_record() {
    let objects = Objects::new(&moto::endpoint(), "own").await;
    objects.put("t-1/a", b"bytes").await;
    marked(&objects).await;
    let root = placement("{tenant}/", None);
    let everybody = query(root.clone(), TenantScope::AllExcept(Vec::new()), Times::Any);
    assert_eq!(names(&batch(&reader(&objects).await, &everybody).await), ["t-1/a"]);
    assert_eq!(reader(&objects).await.population(&root, 10).await.unwrap(), 1);
    let rows =
        named("t-1", &[".retentiond-marker", "rec/t-10/a", "rec/t-1/../t-10/a", "rec/t-1/", "rec/t-1"]);
    let all = all_of(found_by("rec/{tenant}/"), "t-1");
    let erased = store(&objects).await.erase(&all, &rows, Method::Delete).await.unwrap();
    assert_eq!(counts(&erased, "t-1").failed, 5, "{erased:?}");
    assert_eq!(reader(&objects).await.absent(&all, &rows).await.unwrap().indexes, [0, 1, 2, 3, 4]);
    assert!(objects.content(".retentiond-marker").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_in_two_parts_and_a_constant_tenant_mean_their_own_places_only() {
    let objects = Objects::new(&seaweedfs::endpoint(), "parts").await;
    for key in [
        "x/app-t-1/y/a",
        "x/app-t-10/y/a",
        "x/app-t-1/z/a",
        "x/app-t-1",
        "x/t-1/y/a",
        "all/2020/01/01/a",
        "all/b",
        "al/c",
    ] {
        objects.put(key, b"bytes").await;
    }
    let store = marked(&objects).await;
    let parts = placement("x/app-{tenant}/y/", None);
    assert_eq!(store.population(&parts, 100).await.unwrap(), 2);
    assert_eq!(names(&batch(&store, &all_of(parts, "t-1")).await), ["x/app-t-1/y/a"]);
    let by_key = Some(EventTime::Key("all/%Y/%m/%d/".into()));
    let constant = retentiond::policy::Placement {
        tenant: retentiond::policy::TenantSource::Constant(tenant("t-1")),
        ..placement("all/", by_key)
    };
    let everybody = query(constant.clone(), TenantScope::AllExcept(Vec::new()), Times::Any);
    let mut found = names(&batch(&store, &everybody).await);
    found.sort();
    assert_eq!(found, ["all/2020/01/01/a", "all/b"]);
    let other = all_of(constant, "t-10");
    assert_eq!(store.survey(&other).await.unwrap().total().records, 0);
}
