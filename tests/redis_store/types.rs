//! Values of every type, and keys that change between the look and the erasing.

use std::collections::BTreeMap;
use std::sync::Arc;

use retentiond::id::{Fingerprint, HoldId, RequestId, SubjectKey};
use retentiond::plan::{Scope, Selection, SubjectOrigin, SubjectRef, Times};
use retentiond::policy::{Method, SubjectFormat, SubjectSource};
use retentiond::stores::{Batch, Query, Reader as _, SeenTime, Store as _, Survival};

use super::proxy::{Proxy, Rule};
use super::{all_of, found, marked, names, old_of, put_old, tenant};
use crate::servers::redis::{connect, database, own_server, send};

const TEMPLATE: &str = "agent:{tenant}:{id}";

fn seed_types(connection: &mut redis::Connection) {
    for words in [
        &["SET", "agent:t-1:string", "secret-of-ann"][..],
        &["SET", "agent:t-1:number", "12345"],
        &["SET", "agent:t-1:empty", ""],
        &["HSET", "agent:t-1:hash", "name", "secret-of-ann", "none", ""],
        &["RPUSH", "agent:t-1:list", "secret-of-ann", "b", "", "secret-of-ann"],
        &["SADD", "agent:t-1:set", "secret-of-ann", "secret-of-bob", "c"],
        &["SADD", "agent:t-1:numbers", "1", "2"],
        &["ZADD", "agent:t-1:zset", "1", "secret-of-ann", "2", "secret-of-bob"],
        &["XADD", "agent:t-1:stream", "*", "name", "secret-of-ann", "more", "x"],
        &["XADD", "agent:t-1:stream", "*", "name", "secret-of-bob"],
        &["SET", "agent:t-10:string", "secret-of-ann"],
    ] {
        send(connection, words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_are_overwritten_before_their_key_goes() {
    // Its append-only file shows what was done to each.
    let server = own_server(&["--appendonly", "yes", "--appendfsync", "always"]);
    let url = format!("redis://{}", server.address());
    seed_types(&mut connect(&url));
    let store = marked(&url).await;
    let query = all_of(TEMPLATE, "t-1");
    let log = server.folder.join("appendonlydir/appendonly.aof.1.incr.aof");
    let before = std::fs::read(&log).unwrap().len();
    let batch = Batch::List(found(&store, &query, 100).await);
    let erased = store.erase(&query, &batch, Method::OverwriteThenDelete).await.unwrap();
    assert_eq!(erased.survivors, []);
    assert_eq!(erased.counts[&tenant("t-1")].erased, 9);
    assert_eq!(names(&url), [b"agent:t-10:string".to_vec()]);
    let written = std::fs::read(&log).unwrap().split_off(before);
    let has = |needle: &[u8]| written.windows(needle.len()).any(|window| window == needle);
    for command in
        ["MULTI", "SETRANGE", "HSET", "LSET", "SADD", "SREM", "ZADD", "ZREM", "XADD", "XTRIM", "UNLINK"]
    {
        assert!(has(format!("\r\n{command}\r\n").as_bytes()), "{command}");
    }
    assert!(has(b"$13\r\n\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n"), "zeros of the same length");
    let again = store.erase(&query, &batch, Method::OverwriteThenDelete).await.unwrap();
    assert_eq!(again.counts[&tenant("t-1")].already_absent, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_are_deleted() {
    let url = database();
    seed_types(&mut connect(&url));
    let store = marked(&url).await;
    let query = all_of(TEMPLATE, "t-1");
    let batch = Batch::List(found(&store, &query, 2).await);
    assert_eq!(store.erase(&query, &batch, Method::Delete).await.unwrap().counts[&tenant("t-1")].erased, 9);
    assert_eq!(names(&url), [b"agent:t-10:string".to_vec()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_to_overwrite_in_one_transaction_fails_and_stays_whole() {
    let url = database();
    let mut connection = connect(&url);
    redis::cmd("RPUSH").arg("agent:t-1:long").arg(vec!["x"; 100_001]).exec(&mut connection).unwrap();
    let store = marked(&url).await;
    let query = all_of(TEMPLATE, "t-1");
    let batch = Batch::List(found(&store, &query, 2).await);
    let erased = store.erase(&query, &batch, Method::OverwriteThenDelete).await.unwrap();
    assert_eq!(erased.counts[&tenant("t-1")].failed, 1);
    let Survival::Failed(why) = &erased.survivors[0].why else { panic!("{erased:?}") };
    assert!(why.contains("list") && why.contains("`delete`"), "{why}");
    assert_eq!(send(&mut connection, &["LLEN", "agent:t-1:long"]), redis::Value::Int(100_001));
    assert_eq!(store.erase(&query, &batch, Method::Delete).await.unwrap().counts[&tenant("t-1")].erased, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_the_field_or_of_another_type_is_parked() {
    let url = database();
    let mut connection = connect(&url);
    put_old(&mut connection, "agent:t-1:old");
    for words in [
        &["SET", "agent:t-1:string", "1700000000"][..],
        &["RPUSH", "agent:t-1:list", "1700000000"],
        &["HSET", "agent:t-1:none", "name", "Ann"],
        &["HSET", "agent:t-1:empty", "at", ""],
        &["HSET", "agent:t-1:zero", "at", "0"],
        &["HSET", "agent:t-1:milliseconds", "at", "1700000000000"],
        &["HSET", "agent:t-1:text", "at", "2023-11-14"],
        &["HSET", "agent:t-1:float", "at", "1700000000.0"],
        &["HSET", "agent:t-1:plus", "at", "+1700000000"],
        &["HSET", "agent:t-1:negative", "at", "-1"],
        &["HSET", "agent:t-1:never", "at", "253402214400"],
    ] {
        send(&mut connection, words);
    }
    send(&mut connection, &["HSET", "agent:t-1:bytes", "at", "17000\u{0}0000"]);
    let store = marked(&url).await;
    let query = old_of(TEMPLATE, "t-1");
    let survey = store.survey(&query).await.unwrap();
    assert_eq!(survey.total().records, 1);
    assert_eq!(survey.total().oldest.unwrap().timestamp(), 1_700_000_000);
    let mut parked = query.clone();
    parked.selection.within[0].times = Times::Unusable;
    assert_eq!(store.survey(&parked).await.unwrap().total().records, 12);
    let seen = store.look(&query, &["agent:t-1:string".to_owned()]).await.unwrap().unwrap();
    assert_eq!((seen.event_time, seen.tenant), (SeenTime::Unusable, Some(tenant("t-1"))));
    assert_eq!(seen.subjects, [("agent".to_owned(), "string".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_renamed_made_anew_or_replaced_survives_as_what_it_is_now() {
    let url = database();
    let mut connection = connect(&url);
    for key in ["gone", "renamed", "renewed", "replaced", "same", "old"] {
        put_old(&mut connection, &format!("agent:t-1:{key}"));
    }
    let store = marked(&url).await;
    let query = old_of(TEMPLATE, "t-1");
    let batch = Batch::List(found(&store, &query, 100).await);
    send(&mut connection, &["DEL", "agent:t-1:gone"]);
    send(&mut connection, &["RENAME", "agent:t-1:renamed", "agent:t-1:elsewhere"]);
    send(&mut connection, &["DEL", "agent:t-1:renewed"]);
    send(&mut connection, &["HSET", "agent:t-1:renewed", "at", "1767225600"]);
    send(&mut connection, &["SET", "agent:t-1:replaced", "new"]);
    send(&mut connection, &["DEL", "agent:t-1:same"]);
    put_old(&mut connection, "agent:t-1:same");
    let erased = store.erase(&query, &batch, Method::Delete).await.unwrap();
    let counts = erased.counts[&tenant("t-1")];
    assert_eq!((counts.erased, counts.already_absent, counts.changed, counts.failed), (2, 2, 2, 0));
    let left = ["agent:t-1:elsewhere", "agent:t-1:renewed", "agent:t-1:replaced"];
    assert_eq!(names(&url), left.map(|key| key.as_bytes().to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_changes_between_the_judgement_and_the_transaction_survives() {
    for method in [Method::Delete, Method::OverwriteThenDelete] {
        let url = database();
        let mut connection = connect(&url);
        for key in ["1", "2", "3"] {
            put_old(&mut connection, &format!("agent:t-1:{key}"));
        }
        let direct = url.clone();
        // The application writes in the very moment before the first transaction arrives.
        let writes = move || drop(send(&mut connect(&direct), &["HSET", "agent:t-1:2", "at", "1767225600"]));
        let proxy = Proxy::start(&url, Rule::Before(b"MULTI", Box::new(writes)));
        let query = old_of(TEMPLATE, "t-1");
        let batch = Batch::List(found(&marked(&url).await, &query, 100).await);
        let store = super::store(&proxy.url(&url)).await;
        let erased = store.erase(&query, &batch, method).await.unwrap();
        let counts = erased.counts[&tenant("t-1")];
        assert_eq!((counts.erased, counts.changed, counts.failed), (2, 1, 0), "{method:?}");
        assert_eq!(names(&url), [b"agent:t-1:2".to_vec()]);
        assert!(proxy.has_struck(), "the write came in between");
        let name = send(&mut connection, &["HGET", "agent:t-1:2", "name"]);
        assert_eq!(name, redis::Value::BulkString(b"Ann".to_vec()), "{method:?}: it is whole");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_is_held_with_whoever_is_held_for_nobody_can_tell_whom_it_names() {
    let url = database();
    let mut connection = connect(&url);
    send(&mut connection, &["SET", "agent:t-1:a", "A7 as an old release wrote it"]);
    send(&mut connection, &["HSET", "agent:t-1:b", "staff", "A7"]);
    send(&mut connection, &["HSET", "agent:t-1:c", "staff", "A9"]);
    let store = marked(&url).await;
    let fingerprint = Fingerprint::new("a".repeat(32));
    let mut query = all_of(TEMPLATE, "t-1");
    let staff = SubjectSource { columns: vec!["staff".into()], format: SubjectFormat::AsIs };
    Arc::make_mut(&mut query.placement).subjects = BTreeMap::from([("agent".into(), staff)]);
    query.subjects.insert(fingerprint.clone(), SubjectKey::new("agent", "A7", fingerprint.clone()));
    for (origin, left) in [
        (SubjectOrigin::Hold(HoldId::new("hold-1")), vec!["agent:t-1:c"]),
        (SubjectOrigin::Request(RequestId::new("req-1")), vec!["agent:t-1:a", "agent:t-1:c"]),
    ] {
        let subject =
            SubjectRef { kind: "agent".into(), fingerprint: fingerprint.clone(), origin: origin.clone() };
        let scope = Scope { subjects: Some(vec![subject]), times: Times::Any };
        query.selection.except = vec![scope.clone()];
        let mut keys: Vec<String> = found(&store, &query, 10)
            .await
            .into_iter()
            .map(|one| String::from_utf8(super::bytes_of(&one)).unwrap())
            .collect();
        keys.sort();
        assert_eq!(keys, left, "{origin:?}: all but what is named");
        let named = Selection { within: vec![scope], except: vec![], ..query.selection.clone() };
        let survey = store.survey(&Query { selection: named, ..query.clone() }).await.unwrap();
        assert_eq!(survey.total().records, 3 - left.len() as u64, "{origin:?}: what is named");
    }
    // Listed before the hold came, and left when it is looked at again.
    let hold = SubjectRef {
        kind: "agent".into(),
        fingerprint: fingerprint.clone(),
        origin: SubjectOrigin::Hold(HoldId::new("hold-1")),
    };
    query.selection.except = vec![Scope { subjects: Some(vec![hold]), times: Times::Any }];
    let batch = Batch::List(vec![super::listed("t-1", "agent:t-1:a")]);
    let erased = store.erase(&query, &batch, Method::Delete).await.unwrap();
    assert_eq!(erased.counts[&tenant("t-1")].changed, 1);
    assert_eq!(names(&url).len(), 3);
}
