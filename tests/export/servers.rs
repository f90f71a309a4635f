//! Exports from real servers into a folder and into the tenant's own bucket: five thousand calls in `MariaDB`, their
//! recordings in object storage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use chrono::Duration;
use retentiond::export::{LATENESS, due_rollovers, work_off};
use retentiond::ledger::{ExportState, Ledger as _};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use tokio::runtime::Runtime;

use super::read;
use crate::harness::{Call, World, calls_csv, instant};
use crate::servers::{mariadb, objects::Objects, seaweedfs};

const TENANTS: [&str; 4] = ["t-1", "t-10", "T-1", "t-1x"];

const CALL_DATA: &str = r#"
category = "call-data"
title = "Call data"
time_zone = "Asia/Singapore"
method = "delete"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
clause = "SLA §7.5"
[[placements]]
name = "call-records"
store = "cc-mysql"
table = "call_record"
key = ["id"]
tenant = { column = "tenant_id" }
event_time = { column = "started_at", time_zone = "Asia/Singapore" }
subjects = { agent = ["agent"] }
[[placements]]
name = "recordings"
store = "cc-objects"
found_by = { placement = "call-records", column = "recording_key", prefix = "rec/{tenant}/" }
"#;

/// Runs a future on the one runtime of these tests, to which the connections of their clients belong.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap()).block_on(future)
}

struct Center {
    world: World,
    database: mariadb::Database,
    bucket: Objects,
    own: Objects,
    calls: Vec<(Call, &'static str)>,
}

/// What a recording sounds like. One of them is so long that it travels in parts.
fn recording(call: &Call) -> Vec<u8> {
    let times = if call.call_id == "ID0001" { 1_500_000 } else { 2_000 };
    format!("{} said; ", call.call_id).repeat(times).into_bytes()
}

fn is_recorded(index: usize) -> bool {
    index % 100 < 4
}

fn center() -> Center {
    let calls: Vec<(Call, &'static str)> =
        calls_csv().into_iter().enumerate().map(|(index, call)| (call, TENANTS[index % 4])).collect();
    let (database, bucket, own) = wait_for(async {
        let database = mariadb::Database::new().await;
        let bucket = Objects::new(&seaweedfs::endpoint(), "export-source").await;
        let own = Objects::new(&seaweedfs::endpoint(), "export-own").await;
        (database, bucket, own)
    });
    wait_for(fill(&database, &bucket, &calls));
    let world = World::empty();
    let s3 = |name: &str, bucket: &Objects| {
        format!(
            "[stores.{name}]\nkind = \"s3\"\nbucket = \"{}\"\nendpoint = \"{}\"\npath_style = true\n\
             access_key = \"key\"\nsecret_key = \"secret\"\n",
            bucket.name, bucket.endpoint
        )
    };
    world.write(
        "retentiond.toml",
        &format!(
            "[ledger]\nurl = \"sqlite://retentiond.db\"\n[policies]\npath = \"policies\"\n\
             [limits]\nrecords = 100000\nshare = \"100%\"\n[stores.cc-mysql]\nkind = \"mysql\"\nurl = \"{}\"\n{}{}",
            database.url().expose_secret(),
            s3("cc-objects", &bucket),
            s3("own", &own),
        ),
    );
    world.write("policies/call-data.toml", CALL_DATA);
    Center { world, database, bucket, own, calls }
}

async fn fill(database: &mariadb::Database, bucket: &Objects, calls: &[(Call, &'static str)]) {
    database
        .run(
            "CREATE TABLE call_record (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, call_id VARCHAR(16) NOT NULL,
             tenant_id VARCHAR(64) NOT NULL, started_at DATETIME NOT NULL, agent VARCHAR(64), topic VARCHAR(64),
             fee DECIMAL(30,10) DEFAULT 12345678901234567890.0123456789, raw VARBINARY(8) DEFAULT x'00ff', ratio DOUBLE DEFAULT 1.0000000000000002, small FLOAT DEFAULT 0.1,
             many BIGINT UNSIGNED DEFAULT 18446744073709551615, marks BIT(9) DEFAULT b'100000001', doc JSON DEFAULT '{\"n\": 1.10}',
             recording_key VARCHAR(200), KEY by_time (tenant_id, started_at))",
        )
        .await;
    let mut connection = database.connect().await;
    for (part, some) in calls.chunks(500).enumerate() {
        let values = vec!["(?, ?, STR_TO_DATE(?, '%d/%m/%Y %H:%i:%s'), ?, ?, ?)"; some.len()].join(", ");
        let insert = format!(
            "INSERT INTO call_record (call_id, tenant_id, started_at, agent, topic, recording_key) VALUES {values}"
        );
        let mut query = sqlx::query(AssertSqlSafe(insert));
        for (index, (call, tenant)) in some.iter().enumerate() {
            let key = format!("rec/{tenant}/{}.wav", call.call_id);
            query = query
                .bind(&call.call_id)
                .bind(*tenant)
                .bind(format!("{} {}", call.date, call.time))
                .bind(&call.agent)
                .bind(&call.topic)
                .bind(is_recorded(part * 500 + index).then_some(key));
        }
        query.execute(&mut connection).await.unwrap();
    }
    for (index, (call, tenant)) in calls.iter().enumerate().filter(|(index, _)| is_recorded(*index)) {
        assert!(is_recorded(index));
        bucket.put(&format!("rec/{tenant}/{}.wav", call.call_id), &recording(call)).await;
    }
}

impl Center {
    fn own_ids(&self, tenant: &str) -> BTreeSet<String> {
        self.calls.iter().filter(|(_, own)| *own == tenant).map(|(call, _)| call.call_id.clone()).collect()
    }
}

fn call_ids(lines: &Value) -> Vec<String> {
    let lines = lines.as_array().unwrap().iter();
    lines.map(|line| line["fields"]["call_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn calls_and_recordings_of_real_servers_go_into_a_folder_and_the_tenant_s_own_bucket() {
    let center = center();
    let Center { world, bucket, own, calls, .. } = &center;
    let before = wait_for(bucket.all());
    let done = world.ok("export --tenant t-1 --to out");
    let found = read(&world.path("out"));
    let ids = call_ids(&found["lines"]["call-records"]);
    assert_eq!(ids.len(), 1_250);
    assert_eq!(ids.iter().cloned().collect::<BTreeSet<_>>(), center.own_ids("t-1"), "{done:#}");
    let first = &found["lines"]["call-records"][0]["fields"];
    assert_eq!(first["fee"]["$number"], "12345678901234567890.0123456789");
    assert_eq!(first["raw"]["$base64"], "AP8=");
    assert_eq!(first["ratio"]["$number"].as_str().unwrap().parse(), Ok(1.000_000_000_000_000_2_f64));
    assert_eq!(first["small"]["$number"].as_str().unwrap().parse(), Ok(0.1_f32), "{first}");
    assert_eq!(first["many"]["$int"], "18446744073709551615");
    assert_eq!((&first["marks"], &first["doc"]), (&257.into(), &"{\"n\": 1.10}".into()), "{first}");
    let recorded: Vec<&(Call, &str)> = calls
        .iter()
        .enumerate()
        .filter(|(index, (_, of))| is_recorded(*index) && *of == "t-1")
        .map(|(_, c)| c)
        .collect();
    assert_eq!(recorded.len(), 50);
    for (call, _) in &recorded {
        let file = format!("out/objects/recordings/rec/t-1/{}.wav", call.call_id);
        assert_eq!(std::fs::read(world.path(&file)).unwrap(), recording(call), "{file}");
    }
    for (call, tenant) in calls.iter().filter(|(_, tenant)| *tenant != "t-1") {
        assert!(!world.path(&format!("out/objects/recordings/rec/{tenant}/{}.wav", call.call_id)).exists());
    }

    // Into the bucket: the same, object by object, and nothing else below its prefix.
    let done = world.ok("export --tenant t-1 --to own:taken/t-1");
    assert_eq!(done["records"], 1_300);
    let keys: BTreeSet<String> = wait_for(own.current()).into_iter().collect();
    let manifest = wait_for(own.content("taken/t-1/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut expected = BTreeSet::from(["taken/t-1/manifest.json".to_owned()]);
    for file in manifest["files"].as_array().unwrap() {
        let key = format!("taken/t-1/{}", file["file"].as_str().unwrap());
        let content = wait_for(own.content(&key)).unwrap();
        assert_eq!(hex::encode(Sha256::digest(&content)), file["sha256"].as_str().unwrap(), "{key}");
        expected.insert(key);
    }
    assert_eq!(keys, expected);
    assert_eq!(wait_for(own.uploads()), Vec::<String>::new(), "no upload is left open");
    let uri = format!("export --tenant t-10 --to s3://{}/taken/t-1", own.name);
    world.exits(2, &uri);
    world.exits(2, "export --tenant t-1 --to cc-objects:taken");
    world.exits(2, "export --tenant t-1 --to cc-mysql:taken");
    assert_eq!(wait_for(bucket.all()), before, "the source is as it was");

    // Then the tenant's data goes, and the export stays.
    world.ok("tenant terminate t-1 --at 2021-06-01T00:00:00+08:00");
    world.ok("enforce --at 2021-06-20T00:00:00+08:00");
    let left = wait_for(bucket.current());
    assert!(left.iter().all(|key| !key.starts_with("rec/t-1/")) && left.len() == 150, "{}", left.len());
    assert_eq!(wait_for(own.current()).len(), keys.len());
    read(&world.path("out"));
    let count = "SELECT CAST(COUNT(*) AS CHAR) FROM call_record WHERE BINARY tenant_id = 't-1'";
    let gone: String = wait_for(async {
        let mut connection = center.database.connect().await;
        sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut connection).await.unwrap()
    });
    assert_eq!(gone, "0");
}

#[test]
fn a_try_that_died_in_a_bucket_is_cleared_away_and_rollovers_take_each_call_once() {
    let center = center();
    let Center { world, own, .. } = &center;
    let to = format!("s3://{}/half", own.name);
    wait_for(bucket_of_a_dead_try(&center, &to));
    world.ok(&format!("export --tenant T-1 --to {to}"));
    let keys = wait_for(own.current());
    assert!(!keys.iter().any(|key| key.contains("left") || key.contains("partial")), "{keys:?}");
    assert_eq!(wait_for(own.uploads()), Vec::<String>::new());

    let config = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
    world.write(
        "retentiond.toml",
        &format!(
            "{config}[rollovers.nightly]\ntenant = \"t-1x\"\ncategories = [\"call-data\"]\nto = \"own:rolled\"\n\
             cron = \"0 3 * * *\"\n"
        ),
    );
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    // Three nights, one of them missed, two processes each time.
    for at in ["2021-02-01T03:00:30+08:00", "2021-02-02T03:00:30+08:00", "2021-04-05T09:00:00+08:00"] {
        let now = instant(at);
        let rows = wait_for(async {
            let (ledger, other) = (world.ledger().await, world.ledger().await);
            let gather = world.load(now);
            let asked = due_rollovers(&gather, &ledger, now).await.unwrap();
            assert_eq!(asked.len(), 1, "{at}");
            assert_eq!(due_rollovers(&gather, &other, now + Duration::minutes(1)).await.unwrap(), []);
            assert_eq!(ledger.facts().await.unwrap().exports, [], "destruction waits for no rollover");
            work_off(&gather, &ledger, now).await.unwrap()
        });
        assert_eq!((rows.len(), rows[0].state), (1, ExportState::Finished), "{at}: {rows:?}");
        let (after, up_to) = rows[0].between.unwrap();
        assert!(up_to <= now - LATENESS && after < up_to);
        let prefix = rows[0].target.strip_prefix("own:").unwrap();
        let lines = wait_for(own.content(&format!("{prefix}/records/call-records.jsonl"))).unwrap();
        for line in String::from_utf8(lines).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            *seen.entry(line["fields"]["call_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert!(seen.values().all(|times| *times == 1), "no call twice");
    assert_eq!(seen.into_keys().collect::<BTreeSet<_>>(), center.own_ids("t-1x"), "and none left out");
}

#[test]
fn a_retry_in_a_whole_bucket_leaves_what_others_have_there_as_it_is() {
    let center = center();
    let Center { world, own, .. } = &center;
    world.ok("status");
    let others = ["T-1/manifest.json", "T-1/records/x.jsonl", "manifest.jsonl", "recordings/a.wav"];
    wait_for(async {
        let new = retentiond::ledger::NewExport {
            tenant: crate::tenant("T-1"),
            categories: Vec::new(),
            target: "own:".to_owned(),
            between: None,
        };
        let row = world.ledger().await.ask_export(&new, instant("2021-06-01T00:00:00Z")).await.unwrap();
        own.put("export.partial", row.export_id.as_str().as_bytes()).await;
        for left in ["records/left.jsonl", "objects/recordings/left.wav", "manifest.json.partial"] {
            own.put(left, b"left").await;
        }
        for left in ["objects/left", "manifest.json"] {
            own.begin_upload(left).await;
        }
        for other in others {
            own.put(other, b"another's").await;
        }
        own.begin_upload("T-1/objects/x").await;
    });
    world.ok("export --tenant T-1 --to own:");
    for other in others {
        assert_eq!(wait_for(own.content(other)).as_deref(), Some(b"another's".as_slice()), "{other}");
    }
    let keys = wait_for(own.current());
    assert!(!keys.iter().any(|key| key.contains("left") || key.contains("partial")), "{keys:?}");
    assert_eq!(wait_for(own.uploads()), ["T-1/objects/x"]);
    // And from now on nothing else is put below it, as long as it is there.
    let refused = world.exits(2, "export --tenant t-1 --to own:beside");
    assert!(refused.stderr.contains("another export"), "{}", refused.stderr);
    wait_for(own.delete("manifest.json"));
    world.ok("export --tenant t-1 --to own:beside");
}

/// As a process leaves it that died in the middle: its mark, a file, an upload, and a row that is running.
async fn bucket_of_a_dead_try(center: &Center, to: &str) {
    center.world.ok("status");
    let new = retentiond::ledger::NewExport {
        tenant: crate::tenant("T-1"),
        categories: Vec::new(),
        target: to.to_owned(),
        between: None,
    };
    let row = center.world.ledger().await.ask_export(&new, instant("2021-06-01T00:00:00Z")).await.unwrap();
    center.own.put("half/export.partial", row.export_id.as_str().as_bytes()).await;
    center.own.put("half/records/left.jsonl", b"left").await;
    center.own.put("half/manifest.json.partial", b"{").await;
    center.own.begin_upload("half/objects/left").await;
}
