//! What is asked and answered, end to end: receipts, states, holds, entitlements, evidence.

use std::time::Duration;

use retentiond::audit::checkpoint::{VerifierKey, open_note};
use retentiond::ledger::Role;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Served, caller_of};
use crate::harness::instant;

#[test]
fn an_accepted_request_has_id_deadline_and_a_receipt_that_the_public_key_verifies() {
    let served = Served::new();
    let token = served.token("rosa", Role::Requester, Some("t-1"));
    let body = caller_of("t-1");
    let accepted = served.post(&token, "/v1/requests", "k", &body).is(202);
    let row = &served.wait(served.ledger.requests()).unwrap()[0];
    assert_eq!(accepted["request_id"], row.request_id.as_str());
    assert_eq!(instant(accepted["deadline"].as_str().unwrap()), row.deadline);
    assert_eq!((&accepted["known"], &accepted["tenant"]), (&json!(true), &json!("t-1")));
    let key = std::fs::read_to_string(served.world.path("audit/log.key.pub")).unwrap();
    let key = VerifierKey::parse(&key).unwrap();
    let receipt = accepted["receipt"].as_str().unwrap();
    let text = open_note(receipt.as_bytes(), &key).unwrap();
    let digest = hex::encode(Sha256::digest(body.to_string()));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "retentiond receipt v1");
    assert_eq!(lines[1], format!("id {}", row.request_id));
    assert!(lines[2].starts_with("received_at ") && lines[3].starts_with("deadline "), "{text}");
    assert_eq!(lines[4], format!("body_sha256 {digest}"));
    let forged = receipt.replacen("body_sha256 ", "body_sha256 0", 1);
    assert!(open_note(forged.as_bytes(), &key).is_err());
}

#[test]
fn a_request_is_listed_shown_and_cancelled_before_it_is_begun() {
    let served = Served::new();
    let token = served.operator();
    let ids: Vec<String> = ["a", "b", "c"]
        .iter()
        .map(|key| {
            let made = served.post(&token, "/v1/requests", key, &caller_of("t-1")).is(202);
            made["request_id"].as_str().unwrap().to_owned()
        })
        .collect();
    let path = format!("/v1/requests/{}", ids[0]);
    let cancelled = served.send("DELETE", &token, &path, "d", &json!({})).is(200);
    assert_eq!(cancelled["state"], "cancelled");
    let again = served.send("DELETE", &token, &path, "e", &json!({})).refused(409, "conflict");
    assert_eq!(again["error"]["state"], "cancelled");
    let listed = |query: &str| -> (Vec<String>, Value) {
        let page = served.get(&token, &format!("/v1/requests{query}")).is(200);
        let ids = page["requests"].as_array().unwrap().iter();
        (ids.map(|row| row["request_id"].as_str().unwrap().to_owned()).collect(), page["next"].clone())
    };
    assert_eq!(listed("?open=true").0, ids[1..]);
    assert_eq!(listed("?limit=2"), (ids[..2].to_vec(), json!(ids[1])));
    assert_eq!(listed(&format!("?after={}", ids[1])), (ids[2..].to_vec(), Value::Null));
    assert_eq!(listed("?since=2999-01-01T00:00:00Z").0, Vec::<String>::new());
    assert_eq!(listed("?since=2020-01-01T00:00:00Z").0, ids);
    for bad in ["?since=yesterday", "?limit=0", "?limit=1001", "?after=req-1", "?open=perhaps", "?tenant=t-1"]
    {
        assert_eq!(served.get(&token, &format!("/v1/requests{bad}")).status, 400, "{bad}");
    }
}

#[test]
fn a_request_that_was_begun_is_not_cancelled_and_the_state_is_told() {
    let served = Served::new();
    let token = served.operator();
    let made = served.post(&token, "/v1/requests", "k", &caller_of("t-1")).is(202);
    let id = made["request_id"].as_str().unwrap();
    served.world.ok("enforce");
    let path = format!("/v1/requests/{id}");
    let state = served.get(&token, &path).is(200)["state"].clone();
    assert_eq!(state, "completed");
    let refused = served.send("DELETE", &token, &path, "d", &json!({})).refused(409, "conflict");
    assert_eq!(refused["error"]["state"], state);
    // Begun, but the request not yet settled: the outcome is what counts.
    served.world.sql("retentiond.db", "UPDATE request SET state = 'received', completed_at = NULL");
    let refused = served.send("DELETE", &token, &path, "e", &json!({})).refused(409, "conflict");
    assert_eq!(refused["error"]["state"], "enforcing");
}

#[test]
fn a_request_for_a_subject_never_seen_is_accepted_and_closes_with_evidence() {
    let served = Served::new();
    let token = served.token("rosa", Role::Requester, Some("t-1"));
    let body = json!({"subjects": [{"kind": "phone", "value": "+6599999999"}]});
    let made = served.post(&token, "/v1/requests", "k", &body).is(202);
    let before = served.world.calls("t-1");
    served.world.ok("enforce");
    assert_eq!(served.world.calls("t-1").len(), before.iter().filter(|id| **id == 14).count());
    let path = format!("/v1/certificates/{}", made["request_id"].as_str().unwrap());
    let certificate = served.get(&token, &path).is(200);
    assert_eq!(certificate["state"], "completed");
    assert!(certificate["log"]["proof"].is_string(), "{certificate}");
    assert!(!certificate.to_string().contains("99999999"));
}

#[test]
fn a_hold_is_answered_only_when_no_batch_begun_before_it_still_runs() {
    let served = Served::new();
    let token = served.operator();
    for (key, body) in [
        ("a", json!({"tenant": "t-1", "authority": "x"})),
        ("b", json!({"tenant": "t-1", "everything": true, "categories": ["call-data"], "authority": "x"})),
        (
            "c",
            json!({"tenant": "t-1", "everything": true, "authority": "x", "until": "2020-01-01T00:00:00Z"}),
        ),
        ("d", json!({"tenant": "t-1", "everything": true})),
    ] {
        assert_eq!(served.post(&token, "/v1/holds", key, &body).status, 400, "{body}");
    }
    for (key, body) in [
        ("e", json!({"tenant": "t-1", "everything": true, "authority": " "})),
        ("f", json!({"tenant": "t-1", "categories": ["no-such"], "authority": "x"})),
    ] {
        served.post(&token, "/v1/holds", key, &body).refused(422, "unfit");
    }
    assert!(served.wait(served.ledger.holds()).unwrap().is_empty());
    // Batches of another process hold these locks as long as they run.
    let batches: Vec<std::fs::File> = ["batch-0", "batch-1"]
        .iter()
        .map(|name| {
            let path = served.world.path("retentiond.db.locks").join(name);
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            file.lock_shared().unwrap();
            file
        })
        .collect();
    let body = json!({"tenant": "t-1", "everything": true, "authority": "Court order 7"});
    let placed = std::thread::scope(|scope| {
        let asked = scope.spawn(|| served.post(&token, "/v1/holds", "g", &body).is(201));
        let in_force = async {
            while served.ledger.holds().await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        served.wait(in_force);
        // In force for what begins later, and not yet answered: the same key is still in flight.
        served.post(&token, "/v1/holds", "g", &body).refused(409, "in-flight");
        assert!(!asked.is_finished());
        drop(batches);
        asked.join().unwrap()
    });
    assert!(placed["released_at"].is_null());
    let held = served.get(&token, "/v1/plan").is(200);
    let steps = held["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["tenant"] != "t-1"), "{held}");
}

#[test]
fn entitlements_stop_and_go_are_recorded() {
    let served = Served::new();
    let token = served.operator();
    let grant = json!({"name": "extended-storage", "tenant": "t-1"});
    let granted = served.post(&token, "/v1/entitlements", "a", &grant).is(201);
    let unknown = json!({"name": "no-such", "tenant": "t-1"});
    served.post(&token, "/v1/entitlements", "b", &unknown).refused(422, "unfit");
    let past = json!({"name": "extended-storage", "tenant": "t-1", "until": "2020-01-01T00:00:00Z"});
    served.post(&token, "/v1/entitlements", "c", &past).refused(422, "unfit");
    let end = format!("/v1/entitlements/{}/end", granted["entitlement_id"].as_str().unwrap());
    served.post(&token, &end, "d", &json!({})).is(200);
    served.post(&token, &end, "e", &json!({})).refused(409, "conflict");
    let approver = served.token("anna", Role::Approver, None);
    let stopped = served.post(&approver, "/v1/stop", "f", &json!({"reason": "a drill"})).is(200);
    assert_eq!((&stopped["stopped"], &stopped["reason"]), (&json!(true), &json!("a drill")));
    served.post(&approver, "/v1/go", "g", &json!({})).refused(403, "forbidden");
    served.world.exits(3, "enforce");
    assert_eq!(served.post(&token, "/v1/go", "h", &json!({})).is(200)["stopped"], false);
    assert_eq!(served.post(&token, "/v1/go", "i", &json!({})).is(200)["stopped"], false);
}

#[test]
fn an_export_is_asked_for_by_a_name_of_the_configuration_only() {
    let served = Served::new();
    let token = served.operator();
    for (key, target) in
        ["/etc", "../objects", "objects", "calls", "no-such", "https://elsewhere", ""].iter().enumerate()
    {
        let body = json!({"tenant": "t-1", "target": target});
        let key = format!("k{key}");
        served.post(&token, "/v1/exports", &key, &body).refused(422, "unfit");
    }
    let body = json!({"tenant": "t-1", "target": "takeaway", "categories": ["call-data"]});
    let asked = served.post(&token, "/v1/exports", "a", &body).is(202);
    let path = format!("/v1/exports/{}", asked["export_id"].as_str().unwrap());
    assert_eq!(served.get(&token, &path).is(200), asked);
    let own = served.token("rosa", Role::Requester, Some("t-1"));
    assert_eq!(served.get(&own, &path).is(200), asked);
    let other = served.token("rolf", Role::Requester, Some("t-10"));
    served.get(&other, &path).refused(404, "not-found");
    let file = |name: &str| format!("{path}/file?name={name}");
    served.get(&own, &file("manifest.json")).refused(409, "unfinished");
    assert_eq!(served.work_off_exports(), 1);
    let manifest = served.get(&own, &file("manifest.json")).is(200);
    for one in manifest["files"].as_array().unwrap() {
        let pulled = served.get(&own, &file(one["file"].as_str().unwrap()));
        let sum = hex::encode(Sha256::digest(&pulled.text));
        assert_eq!((pulled.status, &json!(sum)), (200, &one["sha256"]), "{one}");
        assert_eq!(json!(pulled.text.len()), one["bytes"]);
    }
    served.get(&other, &file("manifest.json")).refused(404, "not-found");
    let told = served.entries("export-pulled");
    assert_eq!(told.len(), 1, "the manifest was pulled once");
    assert_eq!(
        (&told[0]["export_id"], &told[0]["principal"], &told[0]["tenant"]),
        (&asked["export_id"], &json!("rosa"), &json!("t-1"))
    );
    // What cannot be read is out of reach, not absent.
    let folder = served.world.path("takeaway").join(asked["export_id"].as_str().unwrap());
    std::os::unix::fs::symlink("loop", folder.join("records/loop")).unwrap();
    served.get(&own, &file("records/loop")).refused(503, "unreachable");
    for bad in ["../manifest.json", "records/../manifest.json", "no-such", "/etc/passwd"] {
        served.get(&own, &file(bad)).refused(404, "not-found");
    }
}

#[test]
fn the_log_is_read_with_proofs_that_its_public_key_verifies() {
    let served = Served::new();
    let token = served.token("arno", Role::Auditor, None);
    served.post(&served.operator(), "/v1/requests", "k", &caller_of("t-1")).is(202);
    let published = async {
        while retentiond::audit::signed_head(&served.world.path("audit")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    served.wait(async { tokio::time::timeout(Duration::from_secs(30), published).await }).unwrap();
    let key = std::fs::read_to_string(served.world.path("audit/log.key.pub")).unwrap();
    let key = VerifierKey::parse(&key).unwrap();
    let head = served.get(&token, "/v1/audit/checkpoint").is(200);
    open_note(head["checkpoint"].as_str().unwrap().as_bytes(), &key).unwrap();
    let proof = served.get(&token, "/v1/audit/proof?index=0").is(200);
    let note = proof["proof"].as_str().unwrap().split_once("\n\n").unwrap().1;
    open_note(note.as_bytes(), &key).unwrap();
    served.get(&token, "/v1/audit/proof?index=999999").refused(404, "not-found");
    for bad in ["", "?index=-1", "?index=a", "?index=1&index=2"] {
        assert_eq!(served.get(&token, &format!("/v1/audit/proof{bad}")).status, 400, "{bad}");
    }
    let size: u64 = head["checkpoint"].as_str().unwrap().lines().nth(1).unwrap().parse().unwrap();
    let tile = served.get(&token, &format!("/v1/audit/tile/0/000.p/{size}"));
    assert_eq!((tile.status, tile.headers["content-type"].as_str()), (200, "application/octet-stream"));
    for bad in ["0/999", "log.key", "0/000.p/0", "entries/../../log.key"] {
        assert!([400, 404].contains(&served.get(&token, &format!("/v1/audit/tile/{bad}")).status), "{bad}");
    }
}

#[test]
fn status_and_plan_are_those_of_the_command_line() {
    let served = Served::new();
    let token = served.token("arno", Role::Auditor, None);
    let status = served.get(&token, "/v1/status").is(200);
    assert_eq!(status["due"], served.world.run("status").json["due"]);
    let at = "2021-12-01T00:00:00Z";
    let plan = served.get(&token, &format!("/v1/plan?at={at}")).is(200);
    assert_eq!(plan["plan_id"], served.world.ok(&format!("plan --at {at}"))["plan_id"]);
    assert_eq!(served.get(&token, "/v1/plan?at=soon").status, 400);
}

#[test]
fn no_answer_and_no_ledger_file_holds_a_subjects_value() {
    let served = Served::new();
    let token = served.operator();
    let made = served.post(&token, "/v1/requests", "k", &caller_of("t-1"));
    assert!(!made.text.contains("659111"), "{made:?}");
    let shown = served.get(&token, "/v1/requests");
    assert!(!shown.text.contains("659111"), "{shown:?}");
    for file in ["retentiond.db", "retentiond.db-wal"] {
        let bytes = std::fs::read(served.world.path(file)).unwrap_or_default();
        assert!(!bytes.windows(10).any(|window| window == b"6591110001"), "{file}");
    }
}
