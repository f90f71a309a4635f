//! Answers that lie, and servers that are busy, elsewhere or closed: never "absent", never "erased".

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use retentiond::config::DeleteIntegrity;
use retentiond::policy::Method;
use retentiond::stores::{ErrorKind, Reader as _, Retry, Store as _, StoreError};

use super::{all_of, batch, counts, failures, found_by, marked, named, placement, reader, store};
use crate::servers::between::{Answers, Between, Changes};
use crate::servers::objects::Objects;
use crate::servers::{moto, seaweedfs};

const PREFIX: &str = "ivr/{tenant}/";

/// A bucket with some objects, marked; and the same bucket as it looks through a server that misbehaves.
async fn behind(name: &str, answers: Box<Answers>, changes: Box<Changes>) -> (Objects, Objects, Between) {
    let objects = Objects::new(&seaweedfs::endpoint(), name).await;
    for key in ["a", "b", "c", "d"] {
        objects.put(&format!("ivr/t-1/{key}"), b"bytes").await;
    }
    marked(&objects).await;
    let between = Between::start(&objects.endpoint, answers, changes);
    let through = Objects { endpoint: between.endpoint.clone(), ..objects.clone() };
    (objects, through, between)
}

fn unchanged() -> Box<Changes> {
    Box::new(|_, body| body)
}

fn is_delete_objects(head: &str) -> bool {
    head.starts_with("POST ") && head.lines().next().unwrap().contains("delete")
}

fn error(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>")
}

/// The text of a deleted object in the answer, for the key that ends so.
fn entry(key: &str) -> String {
    format!("<Deleted><Key>ivr/t-1/{key}</Key></Deleted>")
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_inside_an_answer_of_200_are_told_record_by_record() {
    let refused = "<Error><Key>ivr/t-1/b</Key><Code>AccessDenied</Code><Message>no</Message></Error>";
    let changes = move |head: &str, body: String| {
        if is_delete_objects(head) { body.replace(&entry("b"), refused) } else { body }
    };
    // The request itself leaves that object out, as a server that refuses it does.
    let (_, through, _between) = behind("partial", Box::new(|_, _| None), Box::new(changes)).await;
    let store = store(&through).await;
    let all = all_of(placement(PREFIX, None), "t-1");
    let batch = batch(&store, &all).await;
    let erased = store.erase(&all, &batch, Method::Delete).await.unwrap();
    assert_eq!((counts(&erased, "t-1").erased, counts(&erased, "t-1").failed), (3, 1), "{erased:?}");
    assert_eq!(erased.survivors[0].index, 1);
    assert!(failures(&erased)[0].contains("AccessDenied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_leaves_out_or_repeats_an_object_is_an_error() {
    let lies: [fn(String) -> String; 4] = [
        |body| body.replace(&entry("b"), ""),
        |body| body.replace(&entry("b"), &entry("a")),
        |body| body.replace(&entry("b"), &format!("{}{}", entry("b"), entry("b"))),
        |body| body.replace(&entry("b"), &format!("{}{}", entry("b"), entry("stranger"))),
    ];
    for lie in lies {
        let changes = move |head: &str, body: String| if is_delete_objects(head) { lie(body) } else { body };
        let (_, through, _between) = behind("lies", Box::new(|_, _| None), Box::new(changes)).await;
        let store = store(&through).await;
        let all = all_of(placement(PREFIX, None), "t-1");
        let batch = batch(&store, &all).await;
        let error = store.erase(&all, &batch, Method::Delete).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (ErrorKind::Unreachable, Retry::Later), "{error}");
        // The next try asks anew and counts what is gone as gone.
        let again = store.erase(&all, &batch, Method::Delete).await.unwrap();
        assert_eq!(counts(&again, "t-1").already_absent, 4, "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_is_asked_again_for_what_it_left_only() {
    let asked = Arc::new(AtomicUsize::new(0));
    let turn = Arc::clone(&asked);
    let busy = format!(
        "<DeleteResult>{}<Error><Key>ivr/t-1/b</Key><Code>SlowDown</Code><Message>no</Message></Error>\
         <Error><Key>ivr/t-1/c</Key><Code>InternalError</Code><Message>no</Message></Error>{}</DeleteResult>",
        entry("a"),
        entry("d")
    );
    // The server between answers the first delete itself: nothing is deleted by it, whatever it says.
    let answers = move |head: &str, _: &[u8]| {
        (is_delete_objects(head) && turn.fetch_add(1, Ordering::Relaxed) == 0).then(|| (200, busy.clone()))
    };
    let (objects, through, between) = behind("busy", Box::new(answers), unchanged()).await;
    let store = store(&through).await;
    let all = all_of(placement(PREFIX, None), "t-1");
    let batch = batch(&store, &all).await;
    let erased = store.erase(&all, &batch, Method::Delete).await.unwrap();
    assert_eq!(counts(&erased, "t-1").erased, 4, "as the server says");
    assert_eq!(between.requests("POST ").len(), 2);
    assert_eq!(objects.current().await, ["ivr/t-1/a", "ivr/t-1/d"], "the lie of the first answer");
    assert_eq!(reader(&objects).await.absent(&all, &batch).await.unwrap().indexes, [0, 3], "is found out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_busy_leaves_records_that_are_reported() {
    let answers = |head: &str, body: &[u8]| {
        let keys = String::from_utf8_lossy(body).into_owned();
        is_delete_objects(head).then(|| {
            let errors: String = ["a", "b", "c", "d"]
                .iter()
                .filter(|key| keys.contains(&format!("ivr/t-1/{key}<")))
                .map(|key| format!("<Error><Key>ivr/t-1/{key}</Key><Code>SlowDown</Code></Error>"))
                .collect();
            (200, format!("<DeleteResult>{errors}</DeleteResult>"))
        })
    };
    let (objects, through, between) = behind("always-busy", Box::new(answers), unchanged()).await;
    let store = store(&through).await;
    let all = all_of(placement(PREFIX, None), "t-1");
    let batch = batch(&store, &all).await;
    let erased = store.erase(&all, &batch, Method::Delete).await.unwrap();
    assert_eq!((counts(&erased, "t-1").erased, counts(&erased, "t-1").failed), (0, 4));
    assert!(between.requests("POST ").len() >= 4, "it was asked again");
    assert_eq!(objects.current().await.len(), 4);
}

/// What a search of any kind answers where the server answers like this.
async fn every_look(through: &Objects) -> Vec<StoreError> {
    let store = store(through).await;
    let (all, found) = (all_of(placement(PREFIX, None), "t-1"), all_of(found_by("ivr/{tenant}/"), "t-1"));
    let rows = named("t-1", &["ivr/t-1/a", "ivr/t-1/b", "ivr/t-1/c", "ivr/t-1/d", "ivr/t-1/e"]);
    vec![
        store.survey(&all).await.unwrap_err(),
        store.find(&all, None, super::WIDE, &[]).await.unwrap_err(),
        store.absent(&found, &rows).await.unwrap_err(),
        store.erase(&found, &rows, Method::Delete).await.unwrap_err(),
        store.look(&all, &["ivr/t-1/none".into()]).await.unwrap_err(),
        store.population(&placement(PREFIX, None), 9).await.unwrap_err(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_elsewhere_or_in_trouble_never_says_absent() {
    let cases = [
        (403, "AccessDenied", ErrorKind::Refused, Retry::Never),
        (403, "InvalidAccessKeyId", ErrorKind::Refused, Retry::Never),
        (403, "SignatureDoesNotMatch", ErrorKind::Refused, Retry::Never),
        (400, "ExpiredToken", ErrorKind::Refused, Retry::Later),
        (403, "RequestTimeTooSkewed", ErrorKind::Identity, Retry::Never),
        (404, "NoSuchBucket", ErrorKind::Unreachable, Retry::Never),
        (301, "PermanentRedirect", ErrorKind::Unreachable, Retry::Never),
        (400, "AuthorizationHeaderMalformed", ErrorKind::Unreachable, Retry::Never),
        (503, "SlowDown", ErrorKind::Unreachable, Retry::Later),
        (500, "InternalError", ErrorKind::Unreachable, Retry::Later),
        (429, "TooManyRequests", ErrorKind::Unreachable, Retry::Later),
    ];
    for (status, code, kind, retry) in cases {
        // The marker is read, so that it is the listing that is refused.
        let answers = move |head: &str, _: &[u8]| {
            let is_marker = head.lines().next().unwrap().contains(".retentiond-marker");
            (!is_marker).then(|| (status, error(code)))
        };
        let (objects, through, _between) = behind("refusing", Box::new(answers), unchanged()).await;
        for error in every_look(&through).await {
            assert_eq!((error.kind, error.retry), (kind, retry), "{code}: {error}");
            assert!(!error.to_string().contains("t-1"), "no key in {error}");
        }
        assert_eq!(objects.current().await.len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_bucket_or_a_server_that_is_away_is_an_error() {
    for endpoint in [seaweedfs::endpoint(), moto::endpoint()] {
        let objects = Objects::new(&endpoint, "there").await;
        let wrong = Objects { name: "not-there-at-all".into(), ..objects.clone() };
        for error in every_look(&wrong).await {
            assert_eq!((error.kind, error.retry), (ErrorKind::Unreachable, Retry::Never), "{error}");
        }
        assert!(store(&wrong).await.identity().await.is_err());
    }
    let away =
        Objects { endpoint: "http://127.0.0.1:9".into(), ..Objects::new(&moto::endpoint(), "away").await };
    for error in every_look(&away).await {
        assert_eq!((error.kind, error.retry), (ErrorKind::Unreachable, Retry::Later), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_our_marker_is_neither_erased_from_nor_read_back() {
    let objects = Objects::new(&seaweedfs::endpoint(), "unmarked").await;
    objects.put("ivr/t-1/a", b"bytes").await;
    let store = store(&objects).await;
    let all = all_of(placement(PREFIX, None), "t-1");
    let batch = batch(&store, &all).await;
    assert_eq!(store.erase(&all, &batch, Method::Delete).await.unwrap_err().kind, ErrorKind::Identity);
    assert_eq!(store.absent(&all, &batch).await.unwrap_err().kind, ErrorKind::Identity);
    assert_eq!(objects.current().await, ["ivr/t-1/a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_loses_a_page_or_goes_in_circles_is_an_error() {
    let lies: [fn(String) -> String; 3] = [
        // It goes on, but does not say where.
        |body| body.replace("<IsTruncated>false", "<IsTruncated>true"),
        // It goes on where it was already.
        |body| {
            body.replace(
                "<IsTruncated>false",
                "<NextContinuationToken>again</NextContinuationToken><IsTruncated>true",
            )
        },
        // It shows another tenant's.
        |body| body.replace("ivr/t-1/b", "ivr/t-10/b"),
    ];
    for lie in lies {
        let changes = move |head: &str, body: String| {
            if head.lines().next().unwrap().contains("list-type=2") { lie(body) } else { body }
        };
        // Whatever token it gave is taken for the start by the server behind.
        let answers = |_: &str, _: &[u8]| None;
        let (objects, through, _between) = behind("circles", Box::new(answers), Box::new(changes)).await;
        let store = store(&through).await;
        let all = all_of(placement(PREFIX, None), "t-1");
        let error = store.survey(&all).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        let rows = named("t-1", &["ivr/t-1/a", "ivr/t-1/b", "ivr/t-1/x"]);
        assert!(store.absent(&all_of(found_by("ivr/{tenant}/"), "t-1"), &rows).await.is_err());
        assert_eq!(objects.current().await.len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_carry_the_checksum_that_the_configuration_names() {
    for integrity in [DeleteIntegrity::Crc32, DeleteIntegrity::Md5] {
        for endpoint in [seaweedfs::endpoint(), moto::endpoint()] {
            let objects = Objects::new(&endpoint, "integrity").await;
            objects.put("ivr/t-1/a", b"bytes").await;
            marked(&objects).await;
            let between = Between::noting(&endpoint);
            let config = retentiond::config::S3Config {
                endpoint: Some(between.endpoint.clone()),
                delete_integrity: integrity,
                ..objects.config()
            };
            let id = retentiond::id::StoreId::new("store");
            let store = retentiond::stores::s3::S3Store::open(&id, &config).await.unwrap();
            let all = all_of(placement(PREFIX, None), "t-1");
            let batch = batch(&store, &all).await;
            let erased = store.erase(&all, &batch, Method::Delete).await.unwrap();
            assert_eq!(counts(&erased, "t-1").erased, 1);
            let heads = between.requests("POST ");
            let head = heads[0].to_lowercase();
            let is_md5 = integrity == DeleteIntegrity::Md5;
            assert_eq!(head.contains("\r\ncontent-md5: "), is_md5, "{head}");
            assert_eq!(head.contains("\r\nx-amz-checksum-crc32: "), !is_md5, "{head}");
            assert_eq!(objects.all().await, []);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_puts_zeros_of_the_same_size_over_what_was_found_and_nothing_else() {
    let zeroed = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&zeroed);
    let answers = move |head: &str, body: &[u8]| {
        if head.starts_with("PUT ") && !head.contains("marker") {
            assert!(body.iter().all(|byte| *byte == 0));
            assert!(head.to_lowercase().contains("\r\nif-match: "), "{head}");
            seen.fetch_add(body.len(), Ordering::Relaxed);
        }
        None
    };
    let (objects, through, _between) = behind("zeros", Box::new(answers), unchanged()).await;
    objects.put("ivr/t-1/empty", b"").await;
    objects.put("ivr/t-1/large", &vec![7; 3_000_000]).await;
    let store = store(&through).await;
    let all = all_of(placement(PREFIX, None), "t-1");
    let batch = batch(&store, &all).await;
    let erased = store.erase(&all, &batch, Method::OverwriteThenDelete).await.unwrap();
    assert_eq!(counts(&erased, "t-1").erased, 6, "{erased:?}");
    assert_eq!(zeroed.load(Ordering::Relaxed), 4 * 5 + 3_000_000);
    assert_eq!(objects.all().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_that_does_not_read_back_as_zeros_fails_the_record() {
    let changes = |head: &str, body: String| {
        if head.starts_with("GET ") && head.lines().next().unwrap().contains("/ivr/t-1/c") {
            "bytes".to_owned()
        } else {
            body
        }
    };
    let (objects, through, _between) = behind("no-zeros", Box::new(|_, _| None), Box::new(changes)).await;
    let store = store(&through).await;
    let all = all_of(placement(PREFIX, None), "t-1");
    let batch = batch(&store, &all).await;
    let erased = store.erase(&all, &batch, Method::OverwriteThenDelete).await.unwrap();
    assert_eq!((counts(&erased, "t-1").erased, counts(&erased, "t-1").failed), (3, 1), "{erased:?}");
    assert_eq!(objects.current().await, ["ivr/t-1/c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_breaks_off_or_does_not_say_that_it_is_whole_is_an_error_and_not_absence() {
    let lies: [fn(String) -> String; 3] = [
        // Cut at its first object, as where a connection ends and nothing tells how long the answer is.
        |body| body.find("<Contents>").map_or(body.clone(), |at| body[..at].to_owned()),
        |body| {
            let (root, rest) = body.split_once("<Contents>").unwrap_or((&body, ""));
            if rest.is_empty() { body.clone() } else { format!("{root}</ListBucketResult>") }
                .replace("<IsTruncated>false</IsTruncated>", "")
        },
        |body| if body.contains("<ListBucketResult") { "<ListBucketResult/>".to_owned() } else { body },
    ];
    for (turn, lie) in lies.into_iter().enumerate() {
        let changes = move |head: &str, body: String| {
            if head.contains("list-type=2") && head.contains("ivr") { lie(body) } else { body }
        };
        let (_, through, _between) = behind("cut", Box::new(|_, _| None), Box::new(changes)).await;
        let all = all_of(placement(PREFIX, None), "t-1");
        let listed = named("t-1", &["ivr/t-1/a", "ivr/t-1/b", "ivr/t-1/c", "ivr/t-1/d"]);
        let reader = reader(&through).await;
        let surveyed = reader.survey(&all).await;
        assert!(surveyed.is_err(), "{turn}: {surveyed:?}");
        let still = reader.absent(&all, &listed).await;
        assert!(still.is_err(), "{turn}: {still:?}");
    }
}
