//! The whole program on a bucket: rows in SQLite name objects, others lie by tenant, a backup does too.

use std::sync::OnceLock;

use aws_sdk_s3::types::BucketVersioningStatus;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::harness::{TENANTS, World, placement};
use crate::servers::objects::Objects;
use crate::servers::{moto, seaweedfs};

const AT: &str = "enforce --at 2021-07-31T10:00:00+08:00";

const PLACEMENTS: &str = r#"
[[placements]]
name = "ivr-audio"
store = "objects"
prefix = "ivr/{tenant}/"
event_time = { key = "ivr/{tenant}/%Y/%m/%d/" }
[[placements]]
name = "prompts"
store = "objects"
prefix = "prompt/{tenant}/"
event_time = { tag = "started", time_zone = "Asia/Singapore" }
[[placements]]
name = "backup-audio"
store = "objects"
prefix = "backup/{tenant}/"
event_time = { metadata = "Started-At", unit = "seconds" }
role = "backup"
"#;

/// Runs a future on the one runtime of these tests, to which the connections of their clients belong.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap()).block_on(future)
}

/// The center of `World::center` with its files in a versioned bucket, and more of it below other prefixes.
fn center(endpoint: &str) -> (World, Objects) {
    let world = World::center();
    let objects = wait_for(filled(endpoint));
    let config = format!(
        "kind = \"s3\"\nbucket = \"{}\"\nendpoint = \"{endpoint}\"\npath_style = true\naccess_key = \"key\"\n\
         secret_key = \"secret\"",
        objects.name
    );
    world.edit("retentiond.toml", "kind = \"files\"\npath = \"objects\"", &config);
    let policy = std::fs::read_to_string(world.path("policies/call-data.toml")).unwrap();
    world.write("policies/call-data.toml", &format!("{policy}{PLACEMENTS}"));
    (world, objects)
}

/// The bucket of the center.
async fn filled(endpoint: &str) -> Objects {
    let objects = Objects::new(endpoint, "center").await;
    objects.version(BucketVersioningStatus::Enabled).await;
    for tenant in TENANTS {
        for file in ["a", "b"] {
            objects.put(&format!("rec/{tenant}/{file}.wav"), b"an earlier version").await;
            objects.put(&format!("rec/{tenant}/{file}.wav"), b"audio").await;
        }
        for (day, epoch) in [("2021/01/31", "1612058400"), ("2021/03/15", "1615770000")] {
            // A date alone is the end of that day: this one is due.
            let ivr = day.replace("01/31", "01/30");
            objects.put(&format!("ivr/{tenant}/{ivr}/a.wav"), b"audio").await;
            let key = format!("backup/{tenant}/{}", day.replace('/', "-"));
            objects.put_with(&key, b"a copy", Some(("started-at", epoch.into()))).await;
            let put = objects.client.put_object().bucket(&objects.name);
            let put =
                put.key(format!("prompt/{tenant}/{}", day.replace('/', "-"))).body(b"audio".to_vec().into());
            let tag = format!("started={}%2010%3A00%3A00", day.replace('/', "-"));
            put.tagging(tag).send().await.unwrap();
        }
    }
    objects
}

fn erased(report: &Value, name: &str) -> (u64, u64) {
    let found = placement(report, name);
    (found["erased"].as_u64().unwrap(), found["verified_absent"].as_u64().unwrap())
}

fn keys(objects: &Objects) -> Vec<String> {
    let mut keys: Vec<String> = wait_for(objects.all()).into_iter().map(|(key, ..)| key).collect();
    keys.dedup();
    keys
}

#[test]
fn rows_and_the_objects_that_they_name_go_together_on_real_servers() {
    for endpoint in [seaweedfs::endpoint(), moto::endpoint()] {
        let (world, objects) = center(&endpoint);
        world.ok("check");
        let checked = world.ok("check --online");
        let is_told = checked["problems"].to_string().contains("versioning is on");
        assert!(is_told || endpoint == moto::endpoint(), "{checked:#}");
        let report = world.ok(AT);
        for name in ["recordings", "ivr-audio", "prompts", "backup-audio"] {
            assert_eq!(erased(&report, name), (4, 4), "{name}: {report:#}");
            assert_eq!(placement(&report, name)["level"], "deleted");
        }
        let mut left = Vec::new();
        for tenant in TENANTS {
            left.extend([
                format!("rec/{tenant}/b.wav"),
                format!("ivr/{tenant}/2021/03/15/a.wav"),
                format!("prompt/{tenant}/2021-03-15"),
                format!("backup/{tenant}/2021-03-15"),
            ]);
        }
        left.sort();
        assert_eq!(keys(&objects), left, "{endpoint}: every version of what was due, and nothing else");
        assert_eq!(world.calls("t-1"), [12, 13, 14, 15]);
        let again = world.ok(AT);
        assert_eq!(again["totals"]["erased"], 0, "{again:#}");
        world.assert_settled();
    }
}

#[test]
fn a_request_for_one_tenant_takes_its_backup_along_and_no_neighbours() {
    let (world, objects) = center(&seaweedfs::endpoint());
    let before = keys(&objects);
    world.ok("request create --tenant t-1 --everything --received 2026-01-01T00:00:00+08:00");
    let report = world.ok("enforce --at 2026-01-02T00:00:00+08:00");
    assert_eq!(report["status"], "done", "{report:#}");
    // Age takes the others of that time too; so it is a tenant's own prefix that is looked at.
    assert!(!keys(&objects).iter().any(|key| key.contains("/t-1/")), "{:?}", keys(&objects));
    assert!(before.iter().any(|key| key.starts_with("backup/t-1/")));
    world.assert_settled();
}

#[test]
fn a_row_that_names_a_neighbours_object_leaves_both() {
    let (world, objects) = center(&seaweedfs::endpoint());
    world.sql("calls.db", "UPDATE call_record SET recording_key = 'rec/t-10/b.wav' WHERE id = 11");
    let ran = world.exits(1, AT);
    assert_eq!(placement(&ran.json, "recordings")["failed"], 1, "{:#}", ran.json);
    assert!(keys(&objects).contains(&"rec/t-10/b.wav".to_owned()));
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
}

#[test]
fn a_namesake_that_lost_its_marker_is_refused() {
    let (world, objects) = center(&seaweedfs::endpoint());
    world.ok(AT);
    let twin = wait_for(Objects::new(&objects.endpoint, "twin"));
    world.edit("retentiond.toml", &objects.name, &twin.name);
    let ran = world.exits(3, "enforce --at 2021-09-15T09:00:00+08:00");
    assert!(format!("{ran:?}").contains("lost its marker"), "{ran:#?}");
}

#[test]
fn an_event_time_of_objects_says_one_thing() {
    let world = World::center();
    let policy = std::fs::read_to_string(world.path("policies/call-data.toml")).unwrap();
    for (time, field) in [
        ("{ metadata = \"a\", tag = \"b\" }", "event_time.tag"),
        ("{ tag = \"a\", modified = true }", "event_time.modified"),
        ("{ metadata = \"a\", unit = \"seconds\", format = \"%Y-%m-%d\" }", "event_time.format"),
        ("{ modified = true, unit = \"seconds\" }", "event_time.unit"),
        ("{ column = \"a\" }", "event_time.column"),
        ("{ metadata = \"\" }", "event_time.metadata"),
    ] {
        let placements = PLACEMENTS.replace("{ key = \"ivr/{tenant}/%Y/%m/%d/\" }", time);
        world.write("policies/call-data.toml", &format!("{policy}{placements}"));
        let checked = world.exits(2, "check").json;
        let fields = checked["problems"].as_array().unwrap().iter().map(|p| p["field"].to_string());
        assert!(fields.clone().any(|found| found.contains(field)), "{time}: {checked:#}");
    }
}
