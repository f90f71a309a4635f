//! Audit entries in the ledger: numbering, form, and the head.
//! It owns these tests; the log's files are tested with the audit.

use retentiond::ledger::{Head, Ledger};
use serde_json::json;

use super::{at, doubted, on_every_ledger, plan, policies, refused, run};

on_every_ledger! {
    entries_of_two_writers_at_once_are_contiguous,
    an_entry_is_canonical_and_short,
    the_head_only_grows_and_covers_what_is_there,
}

async fn entries_of_two_writers_at_once_are_contiguous(one: &dyn Ledger, other: &dyn Ledger) {
    let write = async |ledger: &dyn Ledger, who: &str| {
        for n in 0..50 {
            ledger.record_entry("clock-doubt", json!({"who": who, "n": n}), at(n)).await.expect("written");
        }
    };
    tokio::join!(write(one, "one"), write(other, "other"));
    assert_eq!(one.entry_count().await.expect("a count"), 101, "and the one of the making");
    let entries = other.entries(0, 1000).await.expect("entries");
    assert_eq!(entries.iter().map(|e| e.index).collect::<Vec<_>>(), (0..101).collect::<Vec<u64>>());
    for who in ["one", "other"] {
        let order: Vec<i64> = entries
            .iter()
            .map(|e| serde_json::from_str::<serde_json::Value>(&e.body).expect("JSON"))
            .filter(|body| body["who"] == who)
            .map(|body| body["n"].as_i64().expect("a number"))
            .collect();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
    assert_eq!(one.entries(99, 10).await.expect("entries"), entries[99..]);
    assert_eq!(one.entries(7, 1).await.expect("entries"), entries[7..8]);
    assert!(one.entries(101, 10).await.expect("entries").is_empty());
}

async fn an_entry_is_canonical_and_short(one: &dyn Ledger, _other: &dyn Ledger) {
    one.record_entry("z", json!({"b": {"y": 1, "x": 2}, "a": null}), at(1)).await.expect("written");
    let entries = one.entries(0, 10).await.expect("entries");
    let id = one.ledger_id().await.expect("an id");
    assert_eq!(
        entries[0].body,
        format!(r#"{{"at":"2025-10-09T08:53:20.000001Z","kind":"ledger-made","ledger_id":"{id}","v":1}}"#)
    );
    assert_eq!(
        entries[1].body,
        r#"{"a":null,"at":"2025-10-09T08:53:20.000001Z","b":{"x":2,"y":1},"kind":"z","v":1}"#
    );
    refused(one.record_entry("z", json!({"v": 2}), at(1)).await);
    refused(one.record_entry("z", json!({"share": 0.5}), at(1)).await);
    refused(one.record_entry("z", json!("text"), at(1)).await);
    let plan = plan(400);
    one.begin_run(&run("run-1", &plan), &plan, &policies()).await.expect("begun");
    let made = &one.entries(2, 1).await.expect("entries")[0];
    assert!(made.body.len() <= 8192);
    let body: serde_json::Value = serde_json::from_str(&made.body).expect("JSON");
    assert_eq!((&body["kind"], &body["steps"]["count"]), (&"plan-made".into(), &400.into()));
    assert_eq!(body["plan_id"], plan.plan_id.as_str());
}

async fn the_head_only_grows_and_covers_what_is_there(one: &dyn Ledger, other: &dyn Ledger) {
    let head = |size: u64, root: &str| Head { size, root: root.repeat(64) };
    doubted(one.set_head(&head(1, "a")).await);
    for n in 0..2 {
        one.record_entry("z", json!({}), at(n)).await.expect("written");
    }
    one.set_head(&head(2, "a")).await.expect("set");
    one.set_head(&head(2, "a")).await.expect("the same again");
    doubted(other.set_head(&head(2, "b")).await);
    doubted(other.set_head(&head(1, "a")).await);
    doubted(other.set_head(&head(4, "c")).await);
    other.set_head(&head(3, "c")).await.expect("set");
    assert_eq!(one.head().await.expect("a head"), Some(head(3, "c")));
}
