//! What fields may be and what documents may hold in them: tenants, times and subjects that only look like ones.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use retentiond::id::{Fingerprint, RequestId, SubjectKey};
use retentiond::plan::{Scope, SubjectOrigin, SubjectRef, TenantScope, Times};
use retentiond::policy::{EpochUnit, EventTime, Method, TenantSource};
use retentiond::stores::event_time::{DEFAULT_FORMAT, read_text};
use retentiond::stores::{ErrorKind, Query, Reader as _, SeenTime, Store as _};
use serde_json::{Value, json};

use super::{
    MANY, all_of, batch, before, counts, four, ids, log, make_index, placement, query, store, tenant,
};
use crate::harness::instant;
use crate::servers::opensearch::{done, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_cannot_be_told_is_parked_and_its_neighbours_are_exact() {
    make_index("fields-tenants", 2, json!({})).await;
    let at = "2024-01-01T00:00:00Z";
    let mut documents =
        vec![("one", json!("t-1")), ("once", json!(["t-1"])), ("twice", json!(["t-1", "t-1"]))];
    let others = ["t-10", "T-1", "t-1x", "t-1 ", "t_1", "t-*", "null"];
    documents.extend(others.iter().map(|&other| (other, json!(other))));
    let nobody = [
        ("both", json!(["t-1", "t-10"])),
        ("nulls", json!(["t-1", null])),
        ("number", json!(1)),
        ("true", json!(true)),
        ("none", Value::Null),
        ("empty", json!("")),
        ("blank", json!(" \t")),
        ("list", json!([])),
    ];
    documents.extend(nobody.iter().cloned());
    let documents: Vec<_> = documents
        .into_iter()
        .map(|(id, tenant)| ("fields-tenants", id, "", json!({ "tenant_id": tenant, "@timestamp": at })))
        .chain([("fields-tenants", "missing", "", json!({ "@timestamp": at }))])
        .collect();
    write(&documents).await;
    let store = store().await;
    let everybody = query(placement("fields-tenants"), TenantScope::AllExcept(vec![]), Times::Any);
    let survey = store.survey(&everybody).await.unwrap();
    let mut expected: BTreeMap<_, u64> = others.iter().map(|other| (tenant(other), 1)).collect();
    expected.insert(tenant("t-1"), 3);
    let found: BTreeMap<_, u64> =
        survey.tenants.into_iter().map(|(tenant, tally)| (tenant, tally.records)).collect();
    assert_eq!(found, expected);
    let nameless = query(placement("fields-tenants"), TenantScope::Nameless, Times::Any);
    assert_eq!(store.survey(&nameless).await.unwrap().nameless, 9);
    assert_eq!(store.find(&nameless, None, MANY, &[]).await.unwrap(), None);
    let all = all_of("fields-tenants", "t-1");
    let found = batch(&store, &all).await;
    assert_eq!(counts(&store.erase(&all, &found, Method::Delete).await.unwrap()), four(3, 0, 0, 0));
    assert_eq!(ids("fields-tenants").await.len(), 16, "the other tenants' and nobody's stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_does_not_compare_whole_values_is_refused() {
    let keyword = json!({ "type": "keyword" });
    let folded = json!({ "type": "keyword", "normalizer": "lowercase" });
    let cases: [(&str, &str, Value, bool); 9] = [
        ("tenant", "tenant_id", json!({ "type": "text" }), false),
        ("tenant", "tenant_id", json!({ "type": "text", "fields": { "keyword": keyword } }), true),
        ("tenant", "tenant_id", json!({ "type": "text", "fields": { "keyword": folded } }), false),
        ("tenant", "tenant_id", folded.clone(), false),
        ("tenant", "tenant_id", json!({ "type": "long" }), false),
        ("tenant", "tenant_id", json!({ "type": "keyword", "index": false }), false),
        ("subjects", "caller", json!({ "type": "text" }), false),
        ("subjects", "caller", folded, false),
        ("event_time", "@timestamp", json!({ "type": "double" }), false),
    ];
    let store = store().await;
    for (turn, (field, name, mapping, fits)) in cases.into_iter().enumerate() {
        let index = format!("fields-kind-{turn}");
        make_index(&index, 1, json!({ name: mapping })).await;
        let findings = store.inspect(&placement(&index)).await.unwrap();
        let fatal: Vec<_> = findings.iter().filter(|finding| finding.fatal).collect();
        assert_eq!(fatal.is_empty(), fits, "{mapping}: {findings:?}");
        let surveyed = store.survey(&all_of(&index, "t-1")).await;
        if fits {
            assert!(surveyed.is_ok());
        } else {
            assert_eq!(fatal[0].field, field, "{mapping}");
            assert!(!fatal[0].help.is_empty());
            assert_eq!(surveyed.unwrap_err().kind, ErrorKind::Schema, "{mapping}");
        }
    }
    // Where one index of a pattern fits and another does not, the pattern does not.
    let all = all_of("fields-kind-*", "t-1");
    assert_eq!(store.survey(&all).await.unwrap_err().kind, ErrorKind::Schema);

    let cut = json!({ "mappings": { "_source": { "excludes": ["caller"] }, "properties": {
        "tenant_id": keyword, "@timestamp": { "type": "date" }, "caller": keyword, "agent_id": keyword } } });
    done("PUT", "/fields-cut", cut).await;
    let findings = store.inspect(&placement("fields-cut")).await.unwrap();
    assert!(findings.iter().any(|f| f.fatal && f.message.contains("_source")), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_longer_than_what_is_indexed_is_an_error_and_not_nobody() {
    make_index("fields-long", 1, json!({ "tenant_id": { "type": "keyword", "ignore_above": 4 } })).await;
    write(&[("fields-long", "1", "", log("t-100", "2024-01-01T00:00:00Z"))]).await;
    let store = store().await;
    let error = store.survey(&all_of("fields-long", "t-100")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Schema, "{error}");
    let everybody = query(placement("fields-long"), TenantScope::AllExcept(vec![]), Times::Any);
    assert_eq!(store.survey(&everybody).await.unwrap().tenants[&tenant("t-100")].records, 1);
}

/// The forms in which an application may write a time, and what only looks like one.
const TIMES: [&str; 22] = [
    "2025-03-31",
    "2025-03-30T16:00:00Z",
    "2025-03-30T15:59:59Z",
    "2025-03-30T15:59:59.999Z",
    "2025-03-30T16:00:00.001Z",
    "2025-03-31T00:00:00+08:00",
    "2025-03-30T23:59:59.999999999+08:00",
    "2025-03-31T00:00:00",
    "2025-03-30T23:59:59",
    "2025-03-30T16:00:00",
    "2025-03-30T15:59:59",
    "2025-03-31T01:00:00",
    "2025-03-30",
    "2025-03-29",
    "2025-03-31T05:00:00+14:00",
    "2025-03-30T03:59:59-12:00",
    "2025-03",
    "2025",
    "2025-03-30T16:00Z",
    "1743350399999",
    "1999-12-31T15:59:59Z",
    "2026-01-16T04:00:00.001Z",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_due_set_is_the_one_of_the_documents_text_whatever_the_index_makes_of_it() {
    let store = store().await;
    let due_before = instant("2025-03-30T16:00:00Z");
    for (turn, kind) in ["date", "date_nanos", "keyword"].into_iter().enumerate() {
        let index = format!("fields-times-{turn}");
        make_index(&index, 1, json!({ "@timestamp": { "type": kind } })).await;
        let documents: Vec<_> = TIMES.iter().map(|&at| (index.as_str(), at, "", log("t-1", at))).collect();
        write(&documents).await;
        for time_zone in [Tz::UTC, Tz::Asia__Singapore, Tz::Pacific__Kiritimati, Tz::Etc__GMTPlus12] {
            let mut placement = placement(&index);
            let column = "@timestamp".to_owned();
            placement.event_time =
                Some(EventTime::Text { column, format: DEFAULT_FORMAT.to_owned(), time_zone });
            let one = || TenantScope::One(tenant("t-1"));
            let usable = |at: &&&str| {
                read_text(at, DEFAULT_FORMAT, time_zone).filter(|at| {
                    *at >= instant("1999-12-31T16:00:00Z") && *at <= instant("2026-01-16T04:00:00Z")
                })
            };
            let due: Vec<&str> =
                TIMES.iter().filter(|at| usable(at).is_some_and(|at| at < due_before)).copied().collect();
            let parked = TIMES.iter().filter(|at| usable(at).is_none()).count() as u64;
            let question = query(placement.clone(), one(), before("2025-03-30T16:00:00Z"));
            let found = batch(&store, &question).await;
            let mut found: Vec<String> = super::listed(&found)
                .iter()
                .map(|listed| match &listed.key.0[1] {
                    retentiond::stores::Value::Text(id) => id.clone(),
                    other => panic!("{other:?}"),
                })
                .collect();
            found.sort();
            let mut expected = due.clone();
            expected.sort_unstable();
            assert_eq!(found, expected, "{kind} in {time_zone}");
            let question = query(placement, one(), Times::Unusable);
            let survey = store.survey(&question).await.unwrap();
            assert_eq!(survey.tenants[&tenant("t-1")].records, parked, "{kind} in {time_zone}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_in_the_wrong_unit_a_text_and_a_list_are_parked() {
    make_index("fields-counts", 1, json!({ "@timestamp": { "type": "long" } })).await;
    let values = [
        ("due", json!(1_704_067_200)),
        ("edge", json!(1_735_689_600)),
        ("milliseconds", json!(1_704_067_200_000_i64)),
        ("text", json!("1704067200")),
        ("part", json!(1_704_067_200.5)),
        ("list", json!([1_704_067_200, 1_704_067_201])),
        ("zero", json!(0)),
        ("minus", json!(-1)),
        ("u32", json!(4_294_967_296_i64)),
    ];
    let documents: Vec<_> = values
        .iter()
        .map(|(id, at)| ("fields-counts", *id, "", json!({ "tenant_id": "t-1", "@timestamp": at })))
        .collect();
    write(&documents).await;
    let mut placement = placement("fields-counts");
    placement.event_time = Some(EventTime::Epoch { column: "@timestamp".into(), unit: EpochUnit::Seconds });
    let store = store().await;
    let one = || TenantScope::One(tenant("t-1"));
    let due = query(placement.clone(), one(), before("2025-01-01T00:00:00Z"));
    let survey = store.survey(&due).await.unwrap();
    assert_eq!(survey.tenants[&tenant("t-1")].records, 1);
    assert_eq!(survey.tenants[&tenant("t-1")].newest, Some(instant("2024-01-01T00:00:00Z")));
    let parked = query(placement.clone(), one(), Times::Unusable);
    assert_eq!(store.survey(&parked).await.unwrap().tenants[&tenant("t-1")].records, 7);
    let by_now = query(placement.clone(), one(), Times::UnusableBefore(instant("2025-01-01T00:00:00Z")));
    assert_eq!(store.survey(&by_now).await.unwrap().tenants[&tenant("t-1")].records, 7);
    let seen = store.look(&due, &["list".to_owned()]).await.unwrap().unwrap();
    assert_eq!(seen.event_time, SeenTime::Unusable);
}

fn about(mut query: Query, kind: &str, value: &str, except: bool) -> Query {
    let fingerprint = Fingerprint::new(format!("{kind:0<32}"));
    let origin = SubjectOrigin::Request(RequestId::new("req-1"));
    let subject = SubjectRef { kind: kind.into(), fingerprint: fingerprint.clone(), origin };
    let scope = Scope { subjects: Some(vec![subject]), times: Times::Any };
    if except {
        query.selection.except.push(scope);
    } else {
        query.selection.within.push(scope);
    }
    query.subjects.insert(fingerprint.clone(), SubjectKey::new(kind, value, fingerprint));
    query
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_found_in_lists_in_nested_paths_and_as_a_number_and_a_hold_on_it_too() {
    let fields =
        json!({ "caller": { "type": "keyword" }, "agent": { "properties": { "id": { "type": "long" } } } });
    make_index("fields-subjects", 1, fields).await;
    let with = |mut document: Value, more: Value| {
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document
    };
    let base = || log("t-1", "2024-01-01T00:00:00Z");
    write(&[
        ("fields-subjects", "list", "", with(base(), json!({ "caller": ["+651", "+652"] }))),
        ("fields-subjects", "nested", "", with(base(), json!({ "agent": { "id": 7 } }))),
        ("fields-subjects", "dotted", "", with(base(), json!({ "agent.id": 7 }))),
        ("fields-subjects", "text", "", with(base(), json!({ "agent": [{ "id": "7" }, { "id": 8 }] }))),
        ("fields-subjects", "other", "", with(base(), json!({ "agent": { "id": 77 }, "caller": "+6511" }))),
    ])
    .await;
    let mut placement = placement("fields-subjects");
    placement.subjects.get_mut("agent").unwrap().columns = vec!["agent.id".into()];
    let store = store().await;
    let all = || query(placement.clone(), TenantScope::One(tenant("t-1")), before("2025-01-01T00:00:00Z"));
    let count = async |query: Query| {
        let survey = store.survey(&query).await.unwrap();
        survey.tenants.get(&tenant("t-1")).map_or(0, |tally| tally.records)
    };
    assert_eq!(count(about(all(), "agent", "7", false)).await, 3);
    assert_eq!(count(about(all(), "agent", "7", true)).await, 2, "a hold on the agent keeps three");
    assert_eq!(count(about(all(), "agent", "A7", false)).await, 0);
    for phone in ["+651", "+652"] {
        assert_eq!(count(about(all(), "phone", phone, false)).await, 1, "{phone}");
        assert_eq!(count(about(all(), "phone", phone, true)).await, 4, "{phone}");
    }
    let both = about(about(all(), "phone", "+651", false), "agent", "7", false);
    assert_eq!(count(both).await, 0);
    // A hold placed on the second of a list, after the batch was found for the first.
    let found = batch(&store, &about(all(), "phone", "+651", false)).await;
    let mut held = about(all(), "phone", "+651", false);
    let keep = about(all(), "phone", "+652", true);
    let other = Fingerprint::new(format!("{:0<32}", "other"));
    let mut scope = keep.selection.except[0].clone();
    scope.subjects.as_mut().unwrap()[0].fingerprint = other.clone();
    held.selection.except.push(scope);
    held.subjects.insert(other.clone(), SubjectKey::new("phone", "+652", other));
    assert_eq!(counts(&store.erase(&held, &found, Method::Delete).await.unwrap()), four(0, 0, 1, 0));
    assert_eq!(ids("fields-subjects").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_were_written_before_their_field_was_mapped_are_told() {
    let body = json!({ "mappings": { "dynamic": false, "properties": {
        "@timestamp": { "type": "date" }, "caller": { "type": "keyword" }, "agent_id": { "type": "keyword" } } } });
    done("PUT", "/fields-unseen", body).await;
    write(&[("fields-unseen", "early", "", log("t-1", "2024-01-01T00:00:00Z"))]).await;
    let tenant_field = json!({ "properties": { "tenant_id": { "type": "keyword" } } });
    done("PUT", "/fields-unseen/_mapping", tenant_field).await;
    let store = store().await;
    let findings = store.inspect(&placement("fields-unseen")).await.unwrap();
    assert!(
        findings.iter().any(|f| f.fatal && f.field == "tenant" && f.message.contains("not indexed")),
        "{findings:?}"
    );
    // The help that it gives mends it.
    done("POST", "/fields-unseen/_update_by_query?refresh=true", json!({ "query": { "match_all": {} } }))
        .await;
    let findings = store.inspect(&placement("fields-unseen")).await.unwrap();
    assert!(findings.iter().all(|finding| !finding.fatal), "{findings:?}");
    assert_eq!(
        store.survey(&all_of("fields-unseen", "t-1")).await.unwrap().tenants[&tenant("t-1")].records,
        1
    );
    let mut hidden = placement("fields-unseen");
    hidden.tenant = TenantSource::Column("nowhere".into());
    assert!(store.inspect(&hidden).await.unwrap().iter().any(|finding| finding.fatal));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_the_index_left_out_is_read_in_the_document() {
    let store = store().await;
    let due = "2024-01-01 00:00:00";
    let kinds = [
        ("date", json!({ "type": "date", "ignore_malformed": true })),
        ("short", json!({ "type": "keyword", "ignore_above": 4 })),
    ];
    for (name, mapping) in kinds {
        let index = format!("fields-left-out-{name}");
        make_index(&index, 1, json!({ "@timestamp": mapping })).await;
        write(&[(&index, "due", "", log("t-1", due)), (&index, "none", "", json!({ "tenant_id": "t-1" }))])
            .await;
        let one = query(placement(&index), TenantScope::One(tenant("t-1")), before("2025-01-01T00:00:00Z"));
        let found = batch(&store, &one).await;
        assert_eq!(
            counts(&store.erase(&one, &found, Method::Delete).await.unwrap()),
            four(1, 0, 0, 0),
            "{name}"
        );
        assert_eq!(ids(&index).await, ["none"], "{name}: what has no time is not due by it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_below_a_field_that_takes_whole_objects_in_is_not_taken_for_nobody() {
    make_index("fields-flat-a", 1, json!({ "labels.caller": { "type": "keyword" } })).await;
    make_index("fields-flat-b", 1, json!({ "labels": { "type": "flat_object" } })).await;
    let document = json!({ "tenant_id": "t-1", "@timestamp": "2024-01-01T00:00:00Z",
        "labels": { "caller": "+6590000001" } });
    write(&[("fields-flat-b", "1", "", document)]).await;
    let store = store().await;
    let mut flat = placement("fields-flat-*");
    flat.subjects.get_mut("phone").unwrap().columns = vec!["labels.caller".to_owned()];
    let findings = store.inspect(&flat).await.unwrap();
    assert!(findings.iter().any(|finding| finding.fatal && finding.field == "subjects"), "{findings:?}");
    let asked = query(flat, TenantScope::One(tenant("t-1")), Times::Any);
    assert_eq!(store.survey(&asked).await.unwrap_err().kind, ErrorKind::Schema);
}
