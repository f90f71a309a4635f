//! Faults of servers and of the way to them: each is an error of its kind, and never an empty answer.

use retentiond::config::StoreConfig;
use retentiond::policy::Method;
use retentiond::stores::redis::{RedisReader, RedisStore};
use retentiond::stores::{Batch, Budget, ErrorKind, Reader as _, Retry, Store as _};

use super::proxy::{Proxy, Rule};
use super::{WIDE, all_of, fails, found, id, marked, names, old_of, put_old, reader, set, store, tenant};
use crate::servers::redis::{config, connect, database, own_server, replica_of, send, sentinel_of};

const TEMPLATE: &str = "agent:{tenant}:{id}";

fn seeded(url: &str, keys: usize) {
    let mut connection = connect(url);
    for number in 0..keys {
        put_old(&mut connection, &format!("agent:t-1:{number}"));
        put_old(&mut connection, &format!("agent:t-10:{number}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_after_the_keys_went_is_found_out_by_asking_again() {
    for query in [all_of(TEMPLATE, "t-1"), old_of(TEMPLATE, "t-1")] {
        let url = database();
        seeded(&url, 20);
        marked(&url).await;
        let proxy = Proxy::start(&url, Rule::CutAfter(b"UNLINK"));
        let store = store(&proxy.url(&url)).await;
        let batch = Batch::List(found(&store, &query, 100).await);
        fails(store.erase(&query, &batch, Method::Delete).await, ErrorKind::Unreachable, Retry::Later);
        assert!(proxy.has_struck());
        assert_eq!(store.absent(&query, &batch).await.unwrap().indexes, Vec::<usize>::new(), "they went");
        let again = store.erase(&query, &batch, Method::Delete).await.unwrap();
        assert_eq!(again.counts[&tenant("t-1")].already_absent, 20);
        assert_eq!(names(&url).len(), 20, "the neighbour's stay");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_before_the_keys_went_leaves_them_and_the_next_try_takes_them() {
    let url = database();
    seeded(&url, 20);
    marked(&url).await;
    let query = old_of(TEMPLATE, "t-1");
    let proxy = Proxy::start(&url, Rule::CutBefore(b"UNLINK"));
    let store = store(&proxy.url(&url)).await;
    let batch = Batch::List(found(&store, &query, 100).await);
    fails(store.erase(&query, &batch, Method::Delete).await, ErrorKind::Unreachable, Retry::Later);
    assert_eq!(store.absent(&query, &batch).await.unwrap().indexes.len(), 20, "nothing went");
    assert_eq!(store.erase(&query, &batch, Method::Delete).await.unwrap().counts[&tenant("t-1")].erased, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_while_looking_is_an_error_and_the_search_begins_anew() {
    let url = database();
    seeded(&url, 50);
    let query = all_of(TEMPLATE, "t-1");
    let proxy = Proxy::start(&url, Rule::CutBefore(b"SCAN"));
    let cut = reader(&proxy.url(&url)).await;
    fails(cut.survey(&query).await, ErrorKind::Unreachable, Retry::Later);
    assert!(proxy.has_struck());
    assert_eq!(cut.survey(&query).await.unwrap().total().records, 50);
    let reader = reader(&url).await;
    let few = Budget { records_max: 10, window_keys: 1 };
    let first = reader.find(&query, None, few, &[]).await.unwrap().unwrap();
    // Connections to this database alone, for other tests share the server.
    let number = url.rsplit_once('/').unwrap().1;
    let mut elsewhere = connect(&database());
    let clients = send(&mut elsewhere, &["CLIENT", "LIST"]);
    let redis::Value::BulkString(clients) = clients else { panic!("{clients:?}") };
    let own = String::from_utf8(clients).unwrap();
    for line in own.lines().filter(|line| line.contains(&format!(" db={number} "))) {
        let client = line.split([' ', '=']).nth(1).unwrap();
        redis::cmd("CLIENT").arg("KILL").arg("ID").arg(client).exec(&mut elsewhere).unwrap();
    }
    fails(reader.find(&query, Some(&first.position), few, &[]).await, ErrorKind::Unreachable, Retry::Later);
    // A cursor of the lost connection may mean nothing to the next server: everything is gone through again.
    let mut seen: Vec<_> = Vec::new();
    let mut position = Some(first.position);
    while let Some(next) = reader.find(&query, position.as_ref(), few, &[]).await.unwrap() {
        let Batch::List(listed) = next.batch else { panic!() };
        seen.extend(listed.into_iter().map(|one| one.key));
        position = Some(next.position);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_unreachable_and_a_wrong_password_is_refused_and_not_repeated() {
    let nobody = format!("redis://127.0.0.1:{}/0", crate::servers::free_port());
    fails(RedisReader::open(&id(), &config(&nobody)).await, ErrorKind::Unreachable, Retry::Later);
    let server = own_server(&["--requirepass", "right-horse"]);
    for login in [":wrong-horse@", "nobody:wrong-horse@"] {
        let url = format!("redis://{login}{}", server.address());
        let error = fails(RedisReader::open(&id(), &config(&url)).await, ErrorKind::Refused, Retry::Never);
        assert!(!error.to_string().contains("horse"), "{error}");
    }
    let url = format!("redis://{}", server.address());
    fails(RedisReader::open(&id(), &config(&url)).await, ErrorKind::Refused, Retry::Never);
    let url = format!("redis://:right-horse@{}", server.address());
    assert_eq!(reader(&url).await.identity().await.unwrap().ledger_id, None);
    assert!(!reader(&url).await.identity().await.unwrap().fingerprint.contains("horse"));
    assert!(
        RedisReader::open(&id(), &config(&format!("{url}/99"))).await.is_err(),
        "there is no such database"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_permission_is_refused_and_nothing_goes() {
    let server = own_server(&[]);
    let url = format!("redis://{}", server.address());
    seeded(&url, 3);
    let mut connection = connect(&url);
    let marker = "~retentiond:*";
    send(
        &mut connection,
        &[
            "ACL", "SETUSER", "looks", "on", ">pw", "~agent:*", marker, "+@read", "+watch", "+multi",
            "+exec", "+unwatch",
        ],
    );
    send(
        &mut connection,
        &[
            "ACL", "SETUSER", "erases", "on", ">pw", "~agent:*", marker, "+@read", "+watch", "+multi",
            "+exec", "+unwatch", "+unlink",
        ],
    );
    send(&mut connection, &["ACL", "SETUSER", "other", "on", ">pw", "~other:*", marker, "+@read", "+unlink"]);
    send(&mut connection, &["ACL", "SETUSER", "none", "on", ">pw"]);
    marked(&url).await;
    let of = |user: &str| format!("redis://{user}:pw@{}", server.address());
    let before = names(&url);
    for query in [all_of(TEMPLATE, "t-1"), old_of(TEMPLATE, "t-1")] {
        let looks = store(&of("looks")).await;
        let batch = Batch::List(found(&looks, &query, 10).await);
        fails(looks.erase(&query, &batch, Method::Delete).await, ErrorKind::Refused, Retry::Never);
        fails(
            store(&of("other")).await.erase(&query, &batch, Method::Delete).await,
            ErrorKind::Refused,
            Retry::Never,
        );
        fails(reader(&of("other")).await.absent(&query, &batch).await, ErrorKind::Refused, Retry::Never);
        let none = reader(&of("none")).await;
        fails(none.survey(&query).await, ErrorKind::Refused, Retry::Never);
        fails(none.find(&query, None, WIDE, &[]).await, ErrorKind::Refused, Retry::Never);
        fails(none.absent(&query, &batch).await, ErrorKind::Refused, Retry::Never);
        fails(none.identity().await, ErrorKind::Refused, Retry::Never);
        assert_eq!(names(&url), before);
    }
    fails(
        reader(&of("other")).await.survey(&old_of(TEMPLATE, "t-1")).await,
        ErrorKind::Refused,
        Retry::Never,
    );
    let erases = store(&of("erases")).await;
    for query in [old_of(TEMPLATE, "t-1"), all_of(TEMPLATE, "t-10")] {
        let batch = Batch::List(found(&erases, &query, 10).await);
        let erased = erases.erase(&query, &batch, Method::Delete).await.unwrap();
        assert_eq!(erased.counts.values().next().unwrap().erased, 3, "few permissions are enough");
        assert_eq!(erases.absent(&query, &batch).await.unwrap().indexes, Vec::<usize>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_never_believed_nor_erased_from() {
    let primary = own_server(&[]);
    let (url, replica) = (format!("redis://{}", primary.address()), replica_of(&primary));
    let replica_url = format!("redis://{}", replica.address());
    seeded(&url, 3);
    let open = marked(&url).await;
    let query = all_of(TEMPLATE, "t-1");
    let batch = Batch::List(found(&open, &query, 10).await);
    fails(RedisStore::open(&id(), &config(&replica_url)).await, ErrorKind::Identity, Retry::Never);
    // What is not found on a replica may only not have come yet.
    fails(reader(&replica_url).await.identity().await, ErrorKind::Identity, Retry::Never);
    let findings = reader(&replica_url).await.inspect(&query.placement).await.unwrap();
    assert!(findings.iter().any(|finding| finding.message.contains("replica")), "{findings:?}");

    // A primary that is made a replica while we are connected to it.
    send(&mut connect(&replica_url), &["REPLICAOF", "NO", "ONE"]);
    let port = replica.port.to_string();
    send(&mut connect(&url), &["REPLICAOF", "127.0.0.1", &port]);
    let error = open.erase(&query, &batch, Method::Delete).await;
    fails(error, ErrorKind::Identity, Retry::Never);
    fails(open.erase(&query, &batch, Method::Delete).await, ErrorKind::Identity, Retry::Never);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_marker_nothing_is_erased_and_nothing_counts_as_absent() {
    let (url, other) = (database(), database());
    seeded(&url, 3);
    let query = all_of(TEMPLATE, "t-1");
    let batch = Batch::List(found(&marked(&url).await, &query, 10).await);
    let elsewhere = store(&other).await;
    fails(elsewhere.absent(&query, &batch).await, ErrorKind::Identity, Retry::Never);
    fails(elsewhere.erase(&query, &batch, Method::Delete).await, ErrorKind::Identity, Retry::Never);
    set(&mut connect(&other), b"retentiond:marker");
    fails(elsewhere.absent(&query, &batch).await, ErrorKind::Refused, Retry::Never);
    assert!(elsewhere.mark("ledger-1", &id()).await.is_err(), "somebody else's key stays what it is");
    let fingerprints =
        [reader(&url).await.identity().await.unwrap(), reader(&database()).await.identity().await.unwrap()];
    assert_ne!(fingerprints[0].fingerprint, fingerprints[1].fingerprint, "databases are told apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_or_cannot_save_is_tried_again_later() {
    let server = own_server(&["--busy-reply-threshold", "5", "--dbfilename", "blocked.rdb"]);
    let url = format!("redis://{}", server.address());
    seeded(&url, 3);
    let store = marked(&url).await;
    let query = all_of(TEMPLATE, "t-1");
    let batch = Batch::List(found(&store, &query, 10).await);
    let busy = url.clone();
    let script = std::thread::spawn(move || {
        let endless = redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut connect(&busy));
        endless.unwrap_err()
    });
    // Until the server says that it is busy.
    let mut connection = connect(&url);
    while redis::cmd("PING").exec(&mut connection).is_ok() {
        std::thread::yield_now();
    }
    for error in [
        store.survey(&query).await.map(drop),
        store.erase(&query, &batch, Method::Delete).await.map(drop),
        store.absent(&query, &batch).await.map(drop),
    ] {
        fails(error, ErrorKind::Unreachable, Retry::Later);
    }
    redis::cmd("SCRIPT").arg("KILL").exec(&mut connection).unwrap();
    script.join().unwrap();
    assert_eq!(store.survey(&query).await.unwrap().total().records, 3);

    // A snapshot that cannot be written stops all changes.
    std::fs::create_dir(server.folder.join("blocked.rdb")).unwrap();
    send(&mut connection, &["CONFIG", "SET", "save", "3600 1"]);
    redis::cmd("SAVE").exec(&mut connection).unwrap_err();
    redis::cmd("BGSAVE").exec(&mut connection).unwrap();
    while redis::cmd("SET").arg("x").arg("y").exec(&mut connection).is_ok() {
        std::thread::yield_now();
    }
    let error = store.erase(&query, &batch, Method::Delete).await;
    let error = fails(error, ErrorKind::Unreachable, Retry::Later);
    assert!(error.message.contains("snapshots fail"), "{error}");
    assert_eq!(store.absent(&query, &batch).await.unwrap().indexes.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_says_where_the_primary_is() {
    let primary = own_server(&[]);
    let url = format!("redis://{}", primary.address());
    seeded(&url, 3);
    let (one, two) = (sentinel_of(&primary, &["cache"]), sentinel_of(&primary, &["cache", "queue"]));
    let of = |sentinels: &[String]| StoreConfig::Redis {
        url: None,
        nodes: vec![],
        sentinel: sentinels.to_vec(),
        user: None,
        password: None,
    };
    let dead = format!("127.0.0.1:{}/cache", crate::servers::free_port());
    for sentinels in [
        vec![one.address()],
        vec![format!("{}/cache", one.address())],
        vec![format!("{}/cache", two.address())],
        vec![format!("redis://{}/queue", two.address())],
        vec![dead.clone(), format!("{}/cache", one.address())],
    ] {
        let store = RedisStore::open(&id(), &of(&sentinels)).await.unwrap();
        let records = store.survey(&all_of(TEMPLATE, "t-1")).await.unwrap().total().records;
        assert_eq!(records, 3, "{sentinels:?}");
    }
    send(&mut connect(&url), &["ACL", "SETUSER", "retention", "on", ">right-horse", "~*", "+@all"]);
    send(&mut connect(&url), &["CONFIG", "SET", "requirepass", "right-horse"]);
    for (user, password, is_let_in) in [
        (None, Some("right-horse"), true),
        (Some("retention"), Some("right-horse"), true),
        (Some("retention"), Some("wrong-horse"), false),
        (None, None, false),
    ] {
        let login = StoreConfig::Redis {
            url: None,
            nodes: vec![],
            sentinel: vec![one.address()],
            user: user.map(ToOwned::to_owned),
            password: password.map(Into::into),
        };
        match RedisStore::open(&id(), &login).await {
            Ok(_) => assert!(is_let_in, "{user:?} {password:?}"),
            Err(error) => {
                assert_eq!((error.kind, is_let_in), (ErrorKind::Refused, false), "{error}");
                assert!(!error.to_string().contains("horse") && !format!("{login:?}").contains("horse"));
            }
        }
    }
    let open = |sentinels: Vec<String>| async move { RedisReader::open(&id(), &of(&sentinels)).await };
    let error = fails(open(vec![two.address()]).await, ErrorKind::Schema, Retry::Never);
    assert!(error.message.contains("several"), "{error}");
    fails(open(vec![format!("{}/other", one.address())]).await, ErrorKind::Unreachable, Retry::Later);
    fails(open(vec![dead]).await, ErrorKind::Unreachable, Retry::Later);
    fails(open(vec![primary.address()]).await, ErrorKind::Refused, Retry::Never);
}
