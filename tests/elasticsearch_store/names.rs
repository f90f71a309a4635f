//! Names: of indices, aliases and data streams, of documents with routings and odd ids, and of documents that rows name.

use std::collections::BTreeMap;

use retentiond::id::PlacementId;
use retentiond::plan::{TenantScope, Times};
use retentiond::policy::{Method, Placement, Records, TenantSource};
use retentiond::stores::{
    Batch, ErrorKind, Key, Listed, Reader as _, Store as _, Survival, Value as KeyValue,
};
use serde_json::json;

use super::{all_of, batch, counts, four, ids, listed, log, make_index, placement, query, store, tenant};
use crate::servers::opensearch::{all, done, write};

const AT: &str = "2024-01-01T00:00:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn documents_with_one_id_and_different_routings_are_told_apart() {
    make_index("names-routed", 5, json!({})).await;
    let routings = ["", "a", "b", "c", "d", "e", "f"];
    // The same id in several shards: some of t-1, some of its neighbour. In one shard an id stands once.
    let mut written = Vec::new();
    for (turn, routing) in routings.iter().enumerate() {
        let owner = if turn % 2 == 0 { "t-1" } else { "t-10" };
        written.push(("names-routed", "same", *routing, log(owner, AT)));
    }
    write(&written).await;
    let before = all("names-routed").await;
    assert!(before.len() > 2, "the id stands in several shards: {before:?}");
    let store = store().await;
    let question = all_of("names-routed", "t-1");
    let found = batch(&store, &question).await;
    let own = before.iter().filter(|(.., document)| document["tenant_id"] == "t-1").count() as u64;
    assert_eq!(found.records(), own);
    let looked = store.look(&question, &["same".to_owned()]).await;
    assert_eq!(looked.unwrap_err().kind, ErrorKind::Ambiguous);
    for (index, id, routing, document) in &before {
        let Some(routing) = routing else { continue };
        let seen =
            store.look(&question, &[index.clone(), id.clone(), routing.clone()]).await.unwrap().unwrap();
        assert_eq!(seen.tenant, Some(tenant(document["tenant_id"].as_str().unwrap())));
    }
    assert_eq!(counts(&store.erase(&question, &found, Method::Delete).await.unwrap()), four(own, 0, 0, 0));
    let left = all("names-routed").await;
    assert!(left.iter().all(|(.., document)| document["tenant_id"] == "t-10"));
    assert_eq!(left.len() as u64, before.len() as u64 - own);
    assert_eq!(store.absent(&question, &found).await.unwrap().indexes, Vec::<usize>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_exact_to_the_byte() {
    make_index("names-odd", 2, json!({})).await;
    let long = "é".repeat(256);
    let odd = [
        long.as_str(),
        " ",
        "a b",
        "_all",
        "_leading",
        "*",
        "a/b",
        "../names-odd",
        "a,b",
        "a\nb",
        "\u{1}",
        "ID",
        "id",
        "a%20b",
        "\"",
        "{\"query\":{\"match_all\":{}}}",
        "?",
        "#",
        "0",
        "00",
    ];
    let documents: Vec<_> = odd.iter().map(|&id| ("names-odd", id, "", log("t-1", AT))).collect();
    write(&documents).await;
    write(&[("names-odd", "other", "", log("T-1", AT))]).await;
    let store = store().await;
    let question = all_of("names-odd", "t-1");
    for id in odd {
        let seen = store.look(&question, &["names-odd".to_owned(), id.to_owned()]).await.unwrap();
        assert_eq!(seen.unwrap().tenant, Some(tenant("t-1")), "{id:?}");
    }
    let found = batch(&store, &question).await;
    for method in [Method::OverwriteThenDelete, Method::Delete] {
        let half: Vec<Listed> = listed(&found)
            .iter()
            .enumerate()
            .filter(|(turn, _)| (turn % 2 == 0) == (method == Method::Delete))
            .map(|(_, listed)| listed.clone())
            .collect();
        let half = Batch::List(half);
        assert_eq!(counts(&store.erase(&question, &half, method).await.unwrap()), four(10, 0, 0, 0));
        assert_eq!(store.absent(&question, &half).await.unwrap().indexes, Vec::<usize>::new());
    }
    assert_eq!(ids("names-odd").await, ["other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_means_its_indices_aliases_and_streams_and_nothing_hidden() {
    for name in ["names-pat-1", "names-pat-2", "names-elsewhere", "names-patience"] {
        make_index(name, 1, json!({})).await;
        write(&[(name, "1", "", log("t-1", AT))]).await;
    }
    let hidden = json!({ "settings": { "index.hidden": true } });
    done("PUT", "/names-pat-hidden", hidden).await;
    let add =
        |index: &str, alias: &str| json!({ "actions": [{ "add": { "index": index, "alias": alias } }] });
    done("POST", "/_aliases", add("names-elsewhere", "names-pat-alias")).await;
    let stream = json!({ "index_patterns": ["names-pat-stream*"], "data_stream": {}, "priority": 500, "template": {
        "settings": { "number_of_replicas": 0 }, "mappings": { "properties": { "tenant_id": { "type": "keyword" },
        "caller": { "type": "keyword" }, "agent_id": { "type": "keyword" } } } } });
    done("PUT", "/_index_template/names-pat", stream).await;
    done("POST", "/names-pat-stream/_doc?refresh=true", log("t-1", AT)).await;

    let store = store().await;
    let question = all_of("names-pat-*", "t-1");
    let found = batch(&store, &question).await;
    let mut indices: BTreeMap<String, u64> = BTreeMap::new();
    for listed in listed(&found) {
        let KeyValue::Text(index) = &listed.key.0[0] else { panic!("an index is text") };
        *indices.entry(index.clone()).or_default() += 1;
    }
    let names: Vec<&str> = indices.keys().map(String::as_str).collect();
    assert_eq!(names, [".ds-names-pat-stream-000001", "names-elsewhere", "names-pat-1", "names-pat-2"]);
    let findings = store.inspect(&question.placement).await.unwrap();
    assert!(findings.iter().all(|finding| !finding.fatal), "{findings:?}");
    assert!(findings.iter().any(|finding| finding.message.contains("names-pat-hidden")), "{findings:?}");
    assert_eq!(counts(&store.erase(&question, &found, Method::Delete).await.unwrap()), four(4, 0, 0, 0));
    assert_eq!(ids("names-patience").await, ["1"], "a neighbour of the pattern");

    // A batch found before the alias was taken away does not reach that index any more.
    write(&[("names-elsewhere", "1", "", log("t-1", AT)), ("names-pat-1", "1", "", log("t-1", AT))]).await;
    let found = batch(&store, &question).await;
    let remove =
        json!({ "actions": [{ "remove": { "index": "names-elsewhere", "alias": "names-pat-alias" } }] });
    done("POST", "/_aliases", remove).await;
    let erased = store.erase(&question, &found, Method::Delete).await.unwrap();
    assert_eq!(counts(&erased), four(1, 0, 0, 1));
    assert!(matches!(&erased.survivors[0].why, Survival::Failed(why) if why.contains("pattern")));
    assert_eq!(store.absent(&question, &found).await.unwrap_err().kind, ErrorKind::Schema);
    assert_eq!(ids("names-elsewhere").await, ["1"]);

    // An alias that shows a part only would come to mean the whole.
    let filtered = json!({ "actions": [{ "add": { "index": "names-elsewhere", "alias": "names-part",
        "filter": { "term": { "tenant_id": "t-1" } } } }] });
    done("POST", "/_aliases", filtered).await;
    let error = store.survey(&all_of("names-part", "t-1")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Schema, "{error}");
    assert!(error.message.contains("filter"), "{error}");
}

fn named(prefix: &str) -> Placement {
    let records = Records::FoundBy {
        placement: PlacementId::new("calls"),
        column: "log".into(),
        prefix: prefix.into(),
    };
    Placement {
        records: Some(records),
        tenant: TenantSource::Template,
        event_time: None,
        subjects: BTreeMap::new(),
        ..placement("unused")
    }
}

fn locators(names: &[(&str, &str)]) -> Batch {
    let listed = names.iter().map(|(owner, locator)| Listed {
        tenant: tenant(owner),
        key: Key(vec![KeyValue::Text((*locator).to_owned())]),
        names: BTreeMap::new(),
        stamp: String::new(),
    });
    Batch::List(listed.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_rows_name_go_by_name_and_never_outside_the_tenants_prefix() {
    make_index("names-docs", 3, json!({})).await;
    let put = ["t-1/a", "t-1/b", "t-1/c d", "t-10/a", "T-1/a", "t-1x/a", "t-1"];
    let documents: Vec<_> = put.iter().map(|&id| ("names-docs", id, "", json!({ "text": "said" }))).collect();
    write(&documents).await;
    // Its routing is not in the name, so that it lies in a shard that the name alone would not find.
    for routing in ["x", "y", "z"] {
        write(&[("names-docs", "t-1/routed", routing, json!({ "text": "said" }))]).await;
    }
    let store = store().await;
    let placement = named("names-docs/{tenant}/");
    assert!(store.inspect(&placement).await.unwrap().iter().all(|finding| !finding.fatal));
    let question = query(placement.clone(), TenantScope::One(tenant("t-1")), Times::Any);
    let batch = locators(&[
        ("t-1", "names-docs/t-1/a"),
        ("t-1", "names-docs/t-1/c d"),
        ("t-1", "names-docs/t-1/gone"),
        ("t-1", "names-docs/t-1/routed"),
        ("t-1", "names-docs/t-10/a"),
        ("t-1", "names-docs/t-1"),
        ("t-1", "names-*/t-1/a"),
        ("t-1", "names-docs/t-1/../T-1/a"),
    ]);
    assert_eq!(store.absent(&question, &batch).await.unwrap().indexes, [0, 1, 3, 4, 5, 6, 7]);
    let erased = store.erase(&question, &batch, Method::OverwriteThenDelete).await.unwrap();
    assert_eq!(counts(&erased), four(3, 1, 0, 4));
    assert_eq!(ids("names-docs").await, ["T-1/a", "t-1", "t-1/b", "t-10/a", "t-1x/a"]);
    assert_eq!(
        store.absent(&question, &batch).await.unwrap().indexes,
        [4, 5, 6, 7],
        "what is not looked at may be there"
    );

    let alias = json!({ "actions": [{ "add": { "index": "names-docs", "alias": "names-other" } }] });
    done("POST", "/_aliases", alias).await;
    let question = query(named("names-other/{tenant}/"), TenantScope::One(tenant("t-1")), Times::Any);
    let other = locators(&[("t-1", "names-other/t-1/b")]);
    assert_eq!(store.erase(&question, &other, Method::Delete).await.unwrap_err().kind, ErrorKind::Schema);
    assert!(store.inspect(&question.placement).await.unwrap().iter().any(|finding| finding.fatal));
    let marker = query(named("{tenant}/"), TenantScope::One(tenant("retentiond-marker")), Times::Any);
    let own = locators(&[("retentiond-marker", "retentiond-marker/retentiond-marker")]);
    assert_eq!(counts(&store.erase(&marker, &own, Method::Delete).await.unwrap()), four(0, 0, 0, 1));
    assert_eq!(store.survey(&question).await.unwrap_err().kind, ErrorKind::Unresolved);
}
