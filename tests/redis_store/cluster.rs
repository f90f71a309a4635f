//! A cluster of three primaries: every key of every slot, slots that move, slots that nobody serves.

use retentiond::config::StoreConfig;
use retentiond::plan::{TenantScope, Times};
use retentiond::policy::Method;
use retentiond::stores::redis::{RedisReader, RedisStore};
use retentiond::stores::{Batch, ErrorKind, Reader as _, Retry, Store as _};

use super::{all_of, fails, found, id, named, old_of, query, tenant};
use crate::servers::redis::{cluster, cluster_config, own_server, send};

const TEMPLATE: &str = "agent:{tenant}:{id}";

/// A client that goes to whatever node serves a key, as applications have one.
fn application() -> redis::cluster::ClusterConnection {
    let nodes: Vec<String> = cluster().iter().map(|node| format!("redis://{}", node.address())).collect();
    redis::cluster::ClusterClient::new(nodes).unwrap().get_connection().unwrap()
}

fn seed(tenants: &[&str], keys: usize) {
    let mut application = application();
    for tenant in tenants {
        for number in 0..keys {
            let key = format!("agent:{tenant}:{number}");
            redis::cmd("HSET").arg(key).arg("at").arg("1700000000").exec(&mut application).unwrap();
        }
    }
}

fn count(tenant: &str) -> usize {
    let mut all = 0;
    for node in cluster() {
        let mut connection = crate::servers::redis::connect(&format!("redis://{}", node.address()));
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("agent:{tenant}:*")).query(&mut connection).unwrap();
        all += keys.len();
    }
    all
}

async fn open() -> RedisStore {
    RedisStore::open(&id(), &cluster_config()).await.unwrap()
}

/// One test: what it does to the slots would disturb others.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_all_slots_go_and_those_whose_slot_moves_are_gone_after() {
    tokio::task::spawn_blocking(|| seed(&["t-1", "t-10", "{a}", "{a}b"], 300)).await.unwrap();
    let store = open().await;
    store.mark("ledger-1", &id()).await.unwrap();
    assert!(store.mark("ledger-2", &id()).await.is_err());
    let reader = RedisReader::open(&id(), &cluster_config()).await.unwrap();
    assert_eq!(reader.identity().await.unwrap().ledger_id.as_deref(), Some("ledger-1"));

    let everybody = query(named(TEMPLATE), TenantScope::AllExcept(vec![]), Times::Any);
    let survey = reader.survey(&everybody).await.unwrap();
    assert_eq!(survey.tenants.values().map(|tally| tally.records).collect::<Vec<_>>(), [300; 4]);
    assert_eq!(reader.population(&named(TEMPLATE), 10_000).await.unwrap(), 1_200);

    // By name, by field, overwritten: none of them puts two slots into one command.
    for (query, method, name) in [
        (all_of(TEMPLATE, "t-1"), Method::Delete, "t-1"),
        (old_of(TEMPLATE, "{a}"), Method::Delete, "{a}"),
        (all_of(TEMPLATE, "{a}b"), Method::OverwriteThenDelete, "{a}b"),
    ] {
        let batch = Batch::List(found(&reader, &query, 70).await);
        assert_eq!(batch.records(), 300, "{name}");
        assert_eq!(reader.absent(&query, &batch).await.unwrap().indexes.len(), 300, "{name}");
        let erased = store.erase(&query, &batch, method).await.unwrap();
        assert_eq!(erased.counts[&tenant(name)].erased, 300, "{name}");
        assert_eq!(reader.absent(&query, &batch).await.unwrap().indexes, Vec::<usize>::new());
        assert_eq!(
            store.erase(&query, &batch, method).await.unwrap().counts[&tenant(name)].already_absent,
            300
        );
        assert_eq!(count(name), 0, "{name}");
    }
    assert_eq!(count("t-10"), 300, "the neighbour's keys stay");
    slots_that_move(&store, &reader).await;
}

async fn slots_that_move(store: &RedisStore, reader: &RedisReader) {
    let query = old_of(TEMPLATE, "t-10");
    let batch = Batch::List(found(reader, &query, 1_000).await);
    let nodes: Vec<String> = cluster().iter().map(|node| format!("redis://{}", node.address())).collect();
    let ids: Vec<String> = nodes.iter().map(|node| text(node, &["CLUSTER", "MYID"])).collect();
    let key = "agent:t-10:7";
    let slot = match send(&mut connect(&nodes[0]), &["CLUSTER", "KEYSLOT", key]) {
        redis::Value::Int(slot) => slot.to_string(),
        other => panic!("{other:?}"),
    };
    let owner =
        (0..3).find(|at| redis::cmd("EXISTS").arg(key).exec(&mut connect(&nodes[*at])).is_ok()).unwrap();
    let other = (owner + 1) % 3;
    let set = |at: usize, words: &[&str]| {
        drop(send(&mut connect(&nodes[at]), &[&["CLUSTER", "SETSLOT", &slot], words].concat()));
    };
    set(other, &["IMPORTING", &ids[owner]]);
    set(owner, &["MIGRATING", &ids[other]]);
    // A key that travels may be passed over: while that is so, nobody says how many there are.
    fails(reader.survey(&query).await, ErrorKind::Unreachable, Retry::Later);
    fails(reader.find(&query, None, super::WIDE, &[]).await, ErrorKind::Unreachable, Retry::Later);
    let port = cluster()[other].port.to_string();
    loop {
        let keys: Vec<String> = redis::cmd("CLUSTER")
            .arg("GETKEYSINSLOT")
            .arg(&slot)
            .arg(10)
            .query(&mut connect(&nodes[owner]))
            .unwrap();
        if keys.is_empty() {
            break;
        }
        for key in keys {
            send(&mut connect(&nodes[owner]), &["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
        }
    }
    for at in [other, owner, 3 - owner - other] {
        set(at, &["NODE", &ids[other]]);
    }
    // Both were connected before; they go after the key.
    let erased = store.erase(&query, &batch, Method::Delete).await.unwrap();
    assert_eq!(erased.counts[&tenant("t-10")].erased, 300);
    assert_eq!(erased.survivors, []);
    let still = match reader.absent(&query, &batch).await {
        // Its own view is old; asked again it knows.
        Err(error) => {
            assert_eq!(error.retry, Retry::Later);
            reader.absent(&query, &batch).await.unwrap()
        }
        Ok(still) => still,
    };
    assert_eq!(still.indexes, Vec::<usize>::new());
    assert_eq!(count("t-10"), 0);
}

fn connect(url: &str) -> redis::Connection {
    crate::servers::redis::connect(url)
}

fn text(url: &str, words: &[&str]) -> String {
    match send(&mut connect(url), words) {
        redis::Value::BulkString(bytes) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_slots_that_nobody_serves_is_down_and_not_empty() {
    let alone = own_server(&["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]);
    let config = |nodes: Vec<String>| StoreConfig::Redis {
        url: None,
        nodes,
        sentinel: vec![],
        user: None,
        password: None,
    };
    let error = RedisReader::open(&id(), &config(vec![alone.address()])).await;
    assert!(fails(error, ErrorKind::Unreachable, Retry::Later).message.contains("down"));
    let single = own_server(&[]);
    let error = RedisReader::open(&id(), &config(vec![single.address()])).await;
    fails(error, ErrorKind::Refused, Retry::Never);
    let error =
        RedisReader::open(&id(), &config(vec![format!("127.0.0.1:{}", crate::servers::free_port())])).await;
    fails(error, ErrorKind::Unreachable, Retry::Later);
}
