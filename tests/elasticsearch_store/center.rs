//! The whole program over a search cluster: the promises for logs, and documents that rows of another store name.

use serde_json::{Value, json};

use super::{ids, make_index};
use crate::harness::{TENANTS, World, placement, wait_for};
use crate::servers::opensearch::{self, write};

const LOGS: &str = r#"
category = "logs"
title = "Logs"
time_zone = "Asia/Singapore"
method = "delete"
[[rules]]
trigger = "age"
period = "6 months"
clause = "by agreement"
[[rules]]
trigger = "request"
deadline = "30 days"
clause = "Privacy §6"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
clause = "SLA §7.5; Privacy §6"
[[placements]]
name = "trajectory"
store = "logs"
index = "center-logs-*"
tenant = { field = "tenant_id" }
event_time = { field = "@timestamp", time_zone = "UTC" }
subjects = { phone = ["caller"], agent = ["agent_id"] }
"#;

fn center(url: &str) -> World {
    let world = World::empty();
    let config = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
    world.write(
        "retentiond.toml",
        &format!("{config}[stores.logs]\nkind = \"elasticsearch\"\nurl = \"{url}\"\n"),
    );
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_keep_their_promises_from_the_plan_to_the_certificate() {
    let _alone = opensearch::alone_with_the_marker().await;
    for month in ["2021.01", "2021.07"] {
        make_index(&format!("center-logs-{month}"), 2, json!({})).await;
    }
    let mut documents = Vec::new();
    for tenant in TENANTS {
        let log = |at: &str, caller: &str, agent: &str| json!({ "tenant_id": tenant, "@timestamp": at, "caller": caller, "agent_id": agent, "note": "said" });
        for (index, id, log) in [
            // Singapore's 31 January, 6 months later its 31 July at the same hour.
            ("center-logs-2021.01", "due", log("2021-01-31T02:00:00Z", "+6591110001", "A1")),
            ("center-logs-2021.01", "next", log("2021-01-31T02:00:00.001Z", "+6591110002", "A2")),
            ("center-logs-2021.07", "young", log("2021-07-01T00:00:00Z", "+6591110001", "A1")),
            ("center-logs-2021.07", "held", log("2021-01-15T00:00:00Z", "+6591110009", "A9")),
        ] {
            documents.push((index, format!("{tenant}/{id}"), log));
        }
    }
    let documents: Vec<_> =
        documents.iter().map(|(index, id, log)| (*index, id.as_str(), "", log.clone())).collect();
    write(&documents).await;
    write(&[("center-logs-2021.01", "nobody", "", json!({ "@timestamp": "2020-01-01T00:00:00Z" }))]).await;
    let url = opensearch::url().await;
    let left = tokio::task::spawn_blocking(move || story(&url)).await.unwrap();
    assert_eq!(left, 0);
}

/// What is left of `t-1` and `t-10` at the end.
fn story(url: &str) -> usize {
    let of = |name: &str| {
        let all = wait_for(ids("center-logs-*"));
        let prefix = format!("{name}/");
        let mut own: Vec<String> =
            all.into_iter().filter_map(|id| id.strip_prefix(&prefix).map(str::to_owned)).collect();
        own.sort();
        own
    };
    let world = center(url);
    world.write("policies/logs.toml", LOGS);
    world.ok("check --online");
    world.ok("hold place --tenant t-1 --subject agent=A9 --authority order-1");
    let plan = world.ok("plan --at 2021-07-31T09:59:59+08:00");
    let due = |plan: &Value| -> u64 {
        plan["steps"].as_array().unwrap().iter().map(|step| step["records"].as_u64().unwrap()).sum()
    };
    // The documents of agent A9 that nobody holds.
    assert_eq!(due(&plan), TENANTS.len() as u64 - 1, "{plan:#}");
    let report = world.ok("enforce --at 2021-07-31T10:00:00+08:00");
    let counts = placement(&report, "trajectory");
    let erased = 2 * TENANTS.len() as u64 - 1;
    assert_eq!(
        (&counts["erased"], &counts["verified_absent"]),
        (&json!(erased), &json!(erased)),
        "{report:#}"
    );
    assert_eq!(of("t-1"), ["held", "next", "young"]);
    assert_eq!(of("t-10"), ["next", "young"]);
    assert_eq!(world.ok("enforce --at 2021-07-31T10:00:00+08:00")["totals"]["erased"], 0, "a second run");

    let request =
        world.ok("request create --tenant t-1 --subject agent=A1 --received 2021-08-01T00:00:00+08:00");
    // By then the next is over age as well.
    let report = world.ok("enforce --at 2021-08-02T00:00:00+08:00");
    assert_eq!(of("t-1"), ["held"], "{report:#}");
    assert_eq!(of("t-10"), ["young"]);
    let shown = world.ok(&format!("request show {}", request["request_id"].as_str().unwrap()));
    assert_eq!(shown["state"], "completed", "{shown:#}");

    let explained =
        world.ok("explain trajectory center-logs-2021.07 t-1/held --at 2021-08-02T00:00:00+08:00");
    assert!(explained.to_string().contains("hold"), "{explained:#}");
    world.ok("tenant terminate t-10 --at 2021-08-02T00:00:00+08:00");
    assert_eq!(
        world.ok("enforce --at 2021-08-16T23:59:59+08:00")["totals"]["erased"],
        0,
        "in the grace period"
    );
    world.ok("enforce --at 2021-08-17T00:00:00+08:00");
    assert_eq!(of("t-10"), Vec::<String>::new());
    let holds = world.ok("hold list");
    let hold = holds["holds"][0]["hold_id"].as_str().unwrap().to_owned();
    world.ok(&format!("hold release {hold}"));
    world.ok("enforce --at 2021-08-17T00:00:00+08:00");
    world.assert_settled();
    let mut all = wait_for(ids("center-logs-*"));
    all.sort();
    assert_eq!(
        all,
        ["T-1/young", "nobody", "t-1x/young"].map(str::to_owned),
        "neighbours, and what names nobody"
    );

    // Another center's ledger finds the marker of this one.
    let stranger = center(url);
    stranger.write("policies/logs.toml", LOGS);
    let ran = stranger.run("enforce --at 2021-12-31T00:00:00+08:00");
    assert_eq!(ran.code, Some(3), "{ran:#?}");
    assert_eq!(wait_for(ids("center-logs-*")).len(), all.len());
    of("t-1").len() + of("t-10").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_a_row_names_goes_before_the_row_and_one_of_a_neighbour_keeps_both() {
    let _alone = opensearch::alone_with_the_marker().await;
    make_index("center-said", 2, json!({})).await;
    let all: Vec<String> =
        TENANTS.iter().flat_map(|tenant| [format!("{tenant}/a"), format!("{tenant}/b")]).collect();
    let documents: Vec<_> =
        all.iter().map(|id| ("center-said", id.as_str(), "", json!({ "text": "said" }))).collect();
    write(&documents).await;
    let url = opensearch::url().await;
    tokio::task::spawn_blocking(move || {
        let world = World::center();
        let config = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
        let logs = format!("{config}[stores.logs]\nkind = \"elasticsearch\"\nurl = \"{url}\"\n");
        world.write("retentiond.toml", &logs);
        let found_by = "store = \"objects\"\nfound_by = { placement = \"call-records\", column = \"recording_key\", prefix = \"rec/{tenant}/\" }";
        let by_document = "store = \"logs\"\nfound_by = { placement = \"call-records\", column = \"recording_key\", prefix = \"center-said/{tenant}/\" }";
        world.edit("policies/call-data.toml", found_by, by_document);
        world.sql("calls.db", "UPDATE call_record SET recording_key = replace(replace(recording_key, 'rec/', 'center-said/'), '.wav', '')");
        world.sql("calls.db", "UPDATE call_record SET recording_key = 'center-said/t-10/b' WHERE id = 11");
        let ran = world.exits(1, "enforce --at 2021-07-31T10:00:00+08:00");
        assert_eq!(placement(&ran.json, "recordings")["failed"], 1, "{:#}", ran.json);
        assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
        assert_eq!(world.calls("t-10"), [22, 23, 24, 25]);
        let left = wait_for(ids("center-said"));
        assert_eq!(left, ["T-1/b", "t-1/a", "t-1/b", "t-10/b", "t-1x/b"]);
        world.assert_settled();
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_never_reaches_into_an_index_that_it_did_not_know() {
    let _alone = opensearch::alone_with_the_marker().await;
    let log = |tenant: &str| json!({ "tenant_id": tenant, "@timestamp": "2021-01-31T02:00:00Z", "caller": "+65", "agent_id": "A1", "note": "said" });
    make_index("frozen-logs-a", 1, json!({})).await;
    write(&[("frozen-logs-a", "old", "", log("t-1")), ("frozen-logs-a", "beside", "", log("t-10"))]).await;
    let world = center(&opensearch::url().await);
    world.write("policies/logs.toml", &LOGS.replace("center-logs-*", "frozen-logs-*"));
    let plan = world.path("plan.json");
    world.ok(&format!("plan --at 2021-08-01T00:00:00+08:00 --out {}", plan.display()));
    assert!(std::fs::read_to_string(&plan).unwrap().contains("frozen-logs-a"), "the plan names its indices");
    make_index("frozen-logs-b", 1, json!({})).await;
    write(&[("frozen-logs-b", "new", "", log("t-1"))]).await;
    let report = world.ok(&format!("enforce --plan {}", plan.display()));
    assert_eq!(placement(&report, "trajectory")["erased"], 2, "{report:#}");
    assert_eq!(ids("frozen-logs-*").await, ["new"], "it waits for a plan that knows its index");
    world.ok("enforce --at 2021-08-01T00:00:00+08:00");
    assert_eq!(ids("frozen-logs-*").await, [""; 0]);
}
