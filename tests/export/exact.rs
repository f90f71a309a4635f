//! Values that other programs change when they write them down. It owns what must be read back.

use retentiond::export::open_file;
use retentiond::ledger::Ledger as _;
use serde_json::json;

use super::{ids, read, set};
use crate::harness::{World, instant, wait_for};

const POLICY: &str = r#"
category = "odd"
title = "Odd values"
method = "delete"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
clause = "T"
[[placements]]
name = "odd-values"
store = "calls"
table = "odd"
key = ["id"]
tenant = { column = "tenant" }
event_time = { column = "at", time_zone = "Asia/Singapore" }
subjects = "none"
[[placements]]
name = "files-of-its-own"
store = "objects"
prefix = "own/{tenant}/"
event_time = { modified = true }
"#;

fn world() -> World {
    let world = World::empty();
    world.write("policies/odd.toml", POLICY);
    world.sql(
        "calls.db",
        "CREATE TABLE odd (id INTEGER PRIMARY KEY, tenant TEXT, at TEXT, big INTEGER, fee REAL, raw BLOB, words TEXT, any);
         INSERT INTO odd VALUES
           (1, 't-1', '2021-02-01 10:00:00', 9223372036854775807, 0.1, x'00ff10', 'a,\"b\"' || char(10) || 'c', 'text'),
           (2, 't-1', '0000-00-00 00:00:00', -9007199254740993, 1e300, NULL, '', 7),
           (3, 't-1', 'yesterday', 9007199254740992, 0.0, x'', CAST(x'61ff62' AS TEXT), 2.5),
           (4, 't-1', NULL, NULL, NULL, NULL, NULL, NULL),
           (5, 't-1', '2999-01-01 00:00:00', 1, 12345678901234567890.0, NULL, '=1+1', NULL),
           (6, 't-10', '2021-02-01 10:00:00', 1, 1, NULL, 'not ours', NULL),
           (7, NULL, '2021-02-01 10:00:00', 1, 1, NULL, 'nobody''s', NULL),
           (8, 'T-1', '2021-02-01 10:00:00', 1, 1, NULL, 'not ours', NULL);",
    );
    world
}

#[test]
fn numbers_blobs_and_times_that_cannot_be_read_arrive_as_they_are_stored() {
    let world = world();
    world.ok("export --tenant t-1 --to out");
    let found = read(&world.path("out"));
    assert_eq!(ids(&found, "odd-values", "id"), set(&["1", "2", "3", "4", "5"]));
    let row = |n: usize| &found["lines"]["odd-values"][n]["fields"];
    assert_eq!(row(0)["big"], json!({"$int": "9223372036854775807"}));
    assert_eq!(row(1)["big"], json!({"$int": "-9007199254740993"}));
    assert_eq!(row(2)["big"], json!(9_007_199_254_740_992_i64));
    assert_eq!(row(0)["raw"], json!({"$base64": "AP8Q"}));
    assert_eq!(row(2)["raw"], json!({"$base64": ""}), "an empty blob is not NULL");
    assert_eq!(row(0)["words"], "a,\"b\"\nc");
    assert_eq!(row(1)["words"], "");
    assert_eq!(row(2)["words"], json!({"$base64": "Yf9i"}), "a text that is not UTF-8");
    assert!(row(3)["words"].is_null() && row(3)["at"].is_null());
    assert_eq!((&row(1)["at"], &row(2)["at"]), (&json!("0000-00-00 00:00:00"), &json!("yesterday")));
    assert_eq!((&row(0)["any"], &row(1)["any"]), (&json!("text"), &json!(7)));
    for (n, fee) in [(0, 0.1), (1, 1e300), (2, 0.0), (4, 12_345_678_901_234_567_890.0)] {
        let digits = row(n)["fee"]["$number"].as_str().unwrap();
        assert_eq!(digits.parse::<f64>().unwrap().to_bits(), f64::to_bits(fee), "{digits}");
    }
    let cells = &found["rows"]["odd-values"];
    assert_eq!((&cells[0]["words"], &cells[4]["words"]), (&json!("a,\"b\"\nc"), &json!("=1+1")));
}

#[test]
fn files_with_strange_names_are_taken_under_safe_ones_and_can_be_pulled() {
    let world = world();
    for (name, content) in [("a b%.wav", "1"), ("deep/x/y", "2"), ("-rf", "3"), ("é~", "4")] {
        world.write(&format!("objects/own/t-1/{name}"), content);
        world.write(&format!("objects/own/t-10/{name}"), "not ours");
    }
    std::os::unix::fs::symlink("/etc/passwd", world.path("objects/own/t-1/link")).unwrap();
    let done = world.ok("export --tenant t-1 --to out");
    let found = read(&world.path("out"));
    let lines = found["lines"]["files-of-its-own"].as_array().unwrap();
    assert_eq!(lines.len(), 5, "{lines:#?}");
    let link = lines.iter().find(|line| line["fields"]["path"] == "own/t-1/link").unwrap();
    assert!(link["file"].is_null(), "a link is told of and not followed: {link}");
    assert!(!super::holds(&super::bytes_below(&world.path("out")), "root:"));
    let gather = world.load(instant("2026-01-01T00:00:00Z"));
    wait_for(async {
        let ledger = world.ledger().await;
        let row = ledger.exports().await.unwrap().pop().unwrap();
        assert_eq!(row.manifest.as_deref(), done["manifest"].as_str());
        for line in lines.iter().filter(|line| !line["file"].is_null()) {
            let mut body = open_file(&gather, &row, line["file"].as_str().unwrap()).await.unwrap().unwrap();
            let first = body.next(|| panic!("it breaks off")).await.unwrap().unwrap();
            assert_eq!(first.len(), 1);
        }
        for wrong in [
            "../retentiond.toml",
            "/etc/passwd",
            "records/../../calls.db",
            "export.partial",
            "objects//x",
            "",
        ] {
            assert!(!matches!(open_file(&gather, &row, wrong).await, Ok(Some(_))), "{wrong}");
        }
        assert!(open_file(&gather, &row, "objects/nothing").await.unwrap().is_none());
    });
}

#[test]
fn what_the_rows_of_a_table_that_is_not_primary_name_is_taken_with_them() {
    let world = World::empty();
    world.write(
        "policies/odd.toml",
        &format!(
            "{}[[placements]]\nname = \"named\"\nstore = \"objects\"\n\
             found_by = {{ placement = \"odd-values\", column = \"words\", prefix = \"named/{{tenant}}/\" }}\n",
            POLICY.replace("subjects = \"none\"", "subjects = \"none\"\nrole = \"index\"")
        ),
    );
    world.sql(
        "calls.db",
        "CREATE TABLE odd (id INTEGER PRIMARY KEY, tenant TEXT, at TEXT, words TEXT);
         INSERT INTO odd VALUES (1, 't-1', '2021-02-01 10:00:00', 'named/t-1/a.wav');",
    );
    world.write("objects/named/t-1/a.wav", "a of t-1");
    world.write("objects/own/t-1/b", "b of t-1");
    world.ok("export --tenant t-1 --to out");
    let taken = std::fs::read_to_string(world.path("out/objects/named/named/t-1/a.wav")).unwrap();
    assert_eq!(taken, "a of t-1");
    assert_eq!(read(&world.path("out"))["lines"]["named"].as_array().unwrap().len(), 1);
}
