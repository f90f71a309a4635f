//! The faults of a search cluster, provoked on the real node or by a gateway before it: nothing that could not be seen
//! counts as absent, nothing that was not answered counts as erased.

use std::sync::atomic::{AtomicUsize, Ordering};

use retentiond::plan::Times;
use retentiond::policy::Method;
use retentiond::stores::{ErrorKind, Reader as _, Retry, Store as _, Survival};
use serde_json::{Value, json};

use super::gateway::{Does, Gateway};
use super::{
    MANY, all_of, batch, before, counts, four, ids, listed, log, make_index, placement, query, store,
    store_at, tenant,
};
use crate::servers::opensearch::{self, done, write};

async fn filled(index: &str, documents: usize) {
    make_index(index, 2, json!({})).await;
    let ids: Vec<String> = (0..documents).map(|n| format!("d{n}")).collect();
    let mut all: Vec<_> =
        ids.iter().map(|id| (index, id.as_str(), "", log("t-1", "2024-01-01T00:00:00Z"))).collect();
    for neighbour in ["t-10", "T-1", "t-1x"] {
        all.push((index, neighbour, "", log(neighbour, "2024-01-01T00:00:00Z")));
    }
    write(&all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_changed_after_it_was_found_survives() {
    for method in [Method::Delete, Method::OverwriteThenDelete] {
        let index = format!("faults-changed-{}", method.word());
        filled(&index, 4).await;
        let store = store().await;
        let due = query(
            placement(&index),
            retentiond::plan::TenantScope::One(tenant("t-1")),
            before("2025-01-01T00:00:00Z"),
        );
        let found = batch(&store, &due).await;
        // Renewed, given to another tenant, and only touched: each is another version than the one that was judged.
        write(&[
            (&index, "d0", "", log("t-1", "2025-12-01T00:00:00Z")),
            (&index, "d1", "", log("t-10", "2024-01-01T00:00:00Z")),
            (
                &index,
                "d2",
                "",
                json!({ "tenant_id": "t-1", "@timestamp": "2024-01-01T00:00:00Z", "note": "new" }),
            ),
        ])
        .await;
        let erased = store.erase(&due, &found, method).await.unwrap();
        assert_eq!(counts(&erased), four(1, 0, 3, 0));
        assert!(erased.survivors.iter().all(|survivor| survivor.why == Survival::Changed));
        assert_eq!(ids(&index).await, ["T-1", "d0", "d1", "d2", "t-10", "t-1x"]);
        let still = store.absent(&due, &found).await.unwrap();
        assert_eq!(still.indexes.len(), 3);
        assert_eq!(still.tenants[&tenant("t-1")], 1, "the one that was only touched is due and found again");
        let again = batch(&store, &due).await;
        assert_eq!(counts(&store.erase(&due, &again, method).await.unwrap()), four(1, 0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_index_and_a_red_shard_are_errors_and_never_nothing() {
    filled("faults-closed-a", 2).await;
    filled("faults-closed-b", 2).await;
    let store = store().await;
    let all = all_of("faults-closed-*", "t-1");
    let found = batch(&store, &all).await;
    done("POST", "/faults-closed-b/_close", Value::Null).await;
    for error in [
        store.survey(&all).await.unwrap_err(),
        store.find(&all, None, MANY, &[]).await.unwrap_err(),
        store.absent(&all, &found).await.unwrap_err(),
        store.erase(&all, &found, Method::Delete).await.unwrap_err(),
        store.population(&all.placement, 10).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.message.contains("faults-closed-b"), "{error}");
    }
    let findings = store.inspect(&all.placement).await.unwrap();
    assert!(
        findings.iter().any(|finding| finding.fatal && finding.message.contains("closed")),
        "{findings:?}"
    );

    let nowhere = json!({ "settings": { "number_of_shards": 1, "number_of_replicas": 0,
        "index.routing.allocation.require._name": "nobody" }, "mappings": { "properties": {
        "tenant_id": { "type": "keyword" }, "@timestamp": { "type": "date" }, "caller": { "type": "keyword" },
        "agent_id": { "type": "keyword" } } } });
    done("PUT", "/faults-red?wait_for_active_shards=0", nowhere).await;
    let red = all_of("faults-red", "t-1");
    for error in [
        store.survey(&red).await.unwrap_err(),
        store.find(&red, None, MANY, &[]).await.unwrap_err(),
        store.population(&red.placement, 10).await.unwrap_err(),
    ] {
        assert_eq!((error.kind, error.retry), (ErrorKind::Unreachable, Retry::Later), "{error}");
    }
    // A document that is asked for by name in that shard.
    let mut gone = found.clone();
    if let retentiond::stores::Batch::List(listed) = &mut gone {
        listed.truncate(1);
        listed[0].key.0[0] = retentiond::stores::Value::Text("faults-red".into());
    }
    assert_eq!(store.absent(&red, &gone).await.unwrap_err().retry, Retry::Later);
    // A red index would keep other tests from a healthy cluster.
    done("DELETE", "/faults-red", Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_index_refuses_with_its_reason_and_nothing_is_claimed() {
    filled("faults-blocked", 3).await;
    let store = store().await;
    let all = all_of("faults-blocked", "t-1");
    let found = batch(&store, &all).await;
    for block in ["write", "read_only", "read_only_allow_delete"] {
        done("PUT", "/faults-blocked/_settings", json!({ format!("index.blocks.{block}"): true })).await;
        for method in [Method::Delete, Method::OverwriteThenDelete] {
            let error = store.erase(&all, &found, method).await.unwrap_err();
            assert_eq!((error.kind, error.retry), (ErrorKind::Refused, Retry::Never), "{error}");
            assert!(error.message.contains("blocked"), "{error}");
        }
        assert_eq!(store.absent(&all, &found).await.unwrap().indexes, [0, 1, 2]);
        let findings = store.inspect(&all.placement).await.unwrap();
        assert!(findings.iter().any(|f| !f.fatal && f.message.contains(block)), "{block}: {findings:?}");
        done("PUT", "/faults-blocked/_settings", json!({ format!("index.blocks.{block}"): null })).await;
    }
    assert_eq!(counts(&store.erase(&all, &found, Method::Delete).await.unwrap()), four(3, 0, 0, 0));
    assert_eq!(ids("faults-blocked").await, ["T-1", "t-10", "t-1x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_documents_than_a_page_holds_are_counted_found_and_erased() {
    make_index("faults-many", 3, json!({})).await;
    let ids: Vec<String> = (0..10_500).map(|n| format!("n{n}")).collect();
    for part in ids.chunks(5_000) {
        let documents: Vec<_> = part
            .iter()
            .map(|id| ("faults-many", id.as_str(), "", log("t-1", "2024-01-01T00:00:00Z")))
            .collect();
        write(&documents).await;
    }
    write(&[("faults-many", "other", "", log("t-10", "2024-01-01T00:00:00Z"))]).await;
    done("PUT", "/faults-many/_settings", json!({ "index.max_result_window": 2_000 })).await;
    let store = store().await;
    let all = all_of("faults-many", "t-1");
    assert_eq!(store.survey(&all).await.unwrap().tenants[&tenant("t-1")].records, 10_500);
    assert_eq!(store.population(&all.placement, 20_000).await.unwrap(), 10_501);
    let budget = retentiond::stores::Budget { records_max: 6_000, window_keys: 1 };
    let (mut after, mut erased) = (None, 0);
    while let Some(found) = store.find(&all, after.as_ref(), budget, &[]).await.unwrap() {
        let sum = counts(&store.erase(&all, &found.batch, Method::Delete).await.unwrap());
        assert_eq!(sum, four(found.batch.records(), 0, 0, 0));
        erased += sum.erased;
        assert_eq!(store.absent(&all, &found.batch).await.unwrap().indexes, Vec::<usize>::new());
        after = Some(found.position);
    }
    assert_eq!(erased, 10_500);
    done("PUT", "/faults-many/_settings", json!({ "index.max_result_window": null })).await;
    assert_eq!(super::ids("faults-many").await, ["other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_delete_names_the_version_it_means_and_no_request_deletes_an_index() {
    filled("faults-verbs", 3).await;
    let gateway = Gateway::start(|_| Does::Pass).await;
    let store = store_at(&gateway.url).await;
    let all = all_of("faults-verbs", "t-1");
    let found = batch(&store, &all).await;
    store.survey(&all).await.unwrap();
    store.inspect(&all.placement).await.unwrap();
    let erased = store.erase(&all, &found, Method::OverwriteThenDelete).await.unwrap();
    assert_eq!(counts(&erased), four(3, 0, 0, 0));
    assert_eq!(store.absent(&all, &found).await.unwrap().indexes, Vec::<usize>::new());
    let seen = gateway.seen();
    assert!(seen.iter().all(|request| ["GET", "POST"].contains(&request.method.as_str())), "{seen:?}");
    assert!(!seen.iter().any(|request| request.path.contains("delete")));
    let bulk: Vec<Value> = seen
        .iter()
        .filter(|request| request.is("_bulk"))
        .flat_map(|request| {
            request.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
        })
        .collect();
    let deletes: Vec<&Value> = bulk.iter().filter_map(|line| line.get("delete")).collect();
    assert_eq!(deletes.len(), 3);
    for delete in deletes {
        assert!(delete["if_seq_no"].is_i64() && delete["if_primary_term"].is_i64(), "{delete}");
        assert_eq!(delete["_index"], "faults-verbs");
    }
    // What stood there was replaced before, in the same length.
    let zeros: Vec<&Value> = bulk.iter().filter(|line| line.get("note").is_some()).collect();
    assert_eq!(zeros.len(), 3);
    for zeros in zeros {
        assert_eq!((&zeros["note"], &zeros["caller"]), (&json!("000000"), &json!("00000000000")));
        assert_eq!(zeros["tenant_id"], "t-1");
    }
    assert_eq!(ids("faults-verbs").await, ["T-1", "t-10", "t-1x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_busy_cluster_turned_away_is_sent_again_and_never_claimed() {
    filled("faults-busy", 4).await;
    let turns = AtomicUsize::new(0);
    let gateway = Gateway::start(move |request| {
        if request.is("_bulk") && turns.fetch_add(1, Ordering::SeqCst) == 0 {
            let item =
                json!({ "delete": { "status": 429, "error": { "type": "rejected_execution_exception" } } });
            return Does::Say(200, json!({ "errors": true, "items": [item, item, item, item] }));
        }
        Does::Pass
    })
    .await;
    let store = store_at(&gateway.url).await;
    let all = all_of("faults-busy", "t-1");
    let found = batch(&store, &all).await;
    assert_eq!(counts(&store.erase(&all, &found, Method::Delete).await.unwrap()), four(4, 0, 0, 0));

    filled("faults-busier", 2).await;
    let gateway = Gateway::start(|request| {
        if request.is("_bulk") {
            return Does::Say(
                429,
                json!({ "error": { "type": "rejected_execution_exception" }, "status": 429 }),
            );
        }
        Does::Pass
    })
    .await;
    let store = store_at(&gateway.url).await;
    let all = all_of("faults-busier", "t-1");
    let found = batch(&store, &all).await;
    let error = store.erase(&all, &found, Method::Delete).await.unwrap_err();
    assert_eq!(error.retry, Retry::Later, "{error}");
    assert_eq!(ids("faults-busier").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_asked_for_again_and_the_rest_is_absent_already() {
    filled("faults-lost", 3).await;
    let turns = AtomicUsize::new(0);
    let gateway = Gateway::start(move |request| {
        if request.is("_bulk") && turns.fetch_add(1, Ordering::SeqCst) == 0 { Does::Lose } else { Does::Pass }
    })
    .await;
    let store = store_at(&gateway.url).await;
    let all = all_of("faults-lost", "t-1");
    let found = batch(&store, &all).await;
    let error = store.erase(&all, &found, Method::Delete).await.unwrap_err();
    assert_eq!((error.kind, error.retry), (ErrorKind::Unreachable, Retry::Later), "{error}");
    assert_eq!(counts(&store.erase(&all, &found, Method::Delete).await.unwrap()), four(0, 3, 0, 0));
    assert_eq!(store.absent(&all, &found).await.unwrap().indexes, Vec::<usize>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_that_breaks_off_between_the_zeros_and_the_delete_is_finished_by_the_next() {
    filled("faults-between", 3).await;
    let turns = AtomicUsize::new(0);
    let gateway = Gateway::start(move |request| {
        // The first bulk request writes zeros, the second deletes.
        if request.is("_bulk") && turns.fetch_add(1, Ordering::SeqCst) == 1 { Does::Drop } else { Does::Pass }
    })
    .await;
    let store = store_at(&gateway.url).await;
    let due = query(
        placement("faults-between"),
        retentiond::plan::TenantScope::One(tenant("t-1")),
        before("2025-01-01T00:00:00Z"),
    );
    let found = batch(&store, &due).await;
    assert!(store.erase(&due, &found, Method::OverwriteThenDelete).await.is_err());
    assert_eq!(store.absent(&due, &found).await.unwrap().indexes, [0, 1, 2], "zeros are not absence");
    // One of them is used again by the application: it is no zeros of ours any more.
    let touched = listed(&found)[1].key.0[1].clone();
    let retentiond::stores::Value::Text(id) = touched else { panic!("an id is text") };
    write(&[("faults-between", &id, "", log("t-1", "2024-01-01T00:00:00Z"))]).await;
    let erased = store.erase(&due, &found, Method::OverwriteThenDelete).await.unwrap();
    assert_eq!(counts(&erased), four(2, 0, 1, 0));
    // And a later run finds by tenant and time what an interrupted one left.
    assert_eq!(store.survey(&due).await.unwrap().tenants[&tenant("t-1")].records, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_cover_everything_is_an_error() {
    filled("faults-partial", 3).await;
    let direct = store().await;
    let all = all_of("faults-partial", "t-1");
    let found = batch(&direct, &all).await;
    type Change = fn(&mut Value);
    let rules: [(&str, Change); 5] = [
        ("_search", |answer| answer["_shards"]["failed"] = json!(1)),
        ("_search", |answer| answer["_shards"] = json!({ "total": 2, "successful": 1, "failed": 0 })),
        ("_search", |answer| answer["timed_out"] = json!(true)),
        ("_search", |answer| answer["terminated_early"] = json!(true)),
        ("_refresh", |answer| answer["_shards"]["failed"] = json!(1)),
    ];
    for (what, change) in rules {
        let gateway =
            Gateway::start(move |request| if request.is(what) { Does::Change(change) } else { Does::Pass })
                .await;
        let store = store_at(&gateway.url).await;
        for error in [
            store.survey(&all).await.unwrap_err(),
            store.find(&all, None, MANY, &[]).await.unwrap_err(),
            store.absent(&all, &found).await.unwrap_err(),
            store.look(&all, &["d0".to_owned()]).await.unwrap_err(),
        ] {
            assert_eq!((error.kind, error.retry), (ErrorKind::Unreachable, Retry::Later), "{what}: {error}");
        }
    }
    let rules: [(&str, u16, Value, ErrorKind); 4] = [
        ("_search", 403, json!({ "error": { "type": "security_exception" } }), ErrorKind::Refused),
        ("_mget", 401, json!({ "error": { "type": "security_exception" } }), ErrorKind::Refused),
        ("_mget", 200, json!({ "docs": [] }), ErrorKind::Unreachable),
        ("_search", 502, Value::Null, ErrorKind::Unreachable),
    ];
    for (what, status, body, kind) in rules {
        let gateway =
            Gateway::start(
                move |request| {
                    if request.is(what) { Does::Say(status, body.clone()) } else { Does::Pass }
                },
            )
            .await;
        let error = store_at(&gateway.url).await.absent(&all, &found).await.unwrap_err();
        assert_eq!(error.kind, kind, "{what} {status}: {error}");
    }
    assert_eq!(ids("faults-partial").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_to_another_cluster_later_is_refused() {
    filled("faults-cluster", 2).await;
    let all = all_of("faults-cluster", "t-1");
    let found = batch(&store().await, &all).await;
    let turns = AtomicUsize::new(0);
    let gateway = Gateway::start(move |request| {
        if request.path == "/" && turns.fetch_add(1, Ordering::SeqCst) > 0 {
            return Does::Change(|answer| answer["cluster_uuid"] = json!("another"));
        }
        Does::Pass
    })
    .await;
    let store = store_at(&gateway.url).await;
    for error in [
        store.erase(&all, &found, Method::Delete).await.unwrap_err(),
        store.absent(&all, &found).await.unwrap_err(),
        store.identity().await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Identity, "{error}");
    }
    assert_eq!(ids("faults-cluster").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_dropped_after_the_find_is_absent_and_an_unused_name_is_an_error() {
    filled("faults-dropped-1", 2).await;
    filled("faults-dropped-2", 1).await;
    let store = store().await;
    let all = all_of("faults-dropped-*", "t-1");
    let found = batch(&store, &all).await;
    done("DELETE", "/faults-dropped-1", Value::Null).await;
    let erased = store.erase(&all, &found, Method::Delete).await.unwrap();
    assert_eq!(counts(&erased), four(1, 2, 0, 0));
    assert_eq!(store.absent(&all, &found).await.unwrap().indexes, Vec::<usize>::new());
    done("DELETE", "/faults-dropped-2", Value::Null).await;
    // Nothing is there for the whole pattern: that may as well be a restored cluster.
    assert_eq!(store.absent(&all, &found).await.unwrap_err().kind, ErrorKind::Schema);
    assert!(opensearch::request("GET", "/faults-dropped-1", None).await.0 == 404, "no write made it again");
    let everything =
        query(placement("faults-dropped-*"), retentiond::plan::TenantScope::AllExcept(vec![]), Times::Any);
    assert_eq!(store.survey(&everything).await.unwrap_err().kind, ErrorKind::Schema);
}
