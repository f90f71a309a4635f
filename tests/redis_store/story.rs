//! The whole program over Redis: agents of a contact center under a policy, to the certificate.

use crate::harness::{TENANTS, World, placement};
use crate::servers::redis::{connect, database, own_server, replica_of, send};

const RULES: &str = r#"
time_zone = "Asia/Singapore"
method = "delete"
[[rules]]
trigger = "request"
deadline = "20 days"
clause = "DPSM §5"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
clause = "SLA §7.5"
"#;

const AGENTS: &str = r#"
[[placements]]
name = "agents-online"
store = "cache"
role = "cache"
keys = "agent:{tenant}:{staff_id}"
subjects = { agent = ["staff_id"] }
"#;

const SESSIONS: &str = r#"
[[rules]]
trigger = "age"
period = "6 months"
deadline = "2 days"
clause = "DPSM §5"
[[placements]]
name = "sessions"
store = "cache"
keys = "session:{tenant}:{session_id}"
event_time = { field = "started_at", unit = "seconds" }
subjects = { agent = ["staff_id"], phone = ["phone"] }
"#;

/// For each tenant: two agents of different types, and sessions of 2021-01-31, 2021-08-01 and of no known time.
fn center(url: &str) -> World {
    let world = World::empty();
    world.edit(
        "retentiond.toml",
        "[stores.calls]",
        &format!("[stores.cache]\nkind = \"redis\"\nurl = \"{url}\"\n[stores.calls]"),
    );
    for (category, placements) in [("agent-state", AGENTS), ("sessions", SESSIONS)] {
        let head = format!("category = \"{category}\"\ntitle = \"{category}\"");
        world.write(&format!("policies/{category}.toml"), &format!("{head}{RULES}{placements}"));
    }
    let mut connection = connect(url);
    for name in TENANTS {
        send(&mut connection, &["HSET", &format!("agent:{name}:A1"), "name", "Ann"]);
        send(&mut connection, &["SET", &format!("agent:{name}:A2"), "{\"name\":\"Bob\"}"]);
        for (session, at, agent) in
            [("1", "1612058400", "A1"), ("2", "1627790400", "A1"), ("3", "never", "A2")]
        {
            let key = format!("session:{name}:{session}");
            send(
                &mut connection,
                &["HSET", &key, "started_at", at, "staff_id", agent, "phone", "+6591110001"],
            );
        }
    }
    world
}

fn keys(url: &str, pattern: &str) -> Vec<String> {
    let mut keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut connect(url)).unwrap();
    keys.sort();
    keys
}

#[test]
fn sessions_go_by_age_an_agent_by_request_and_a_tenant_by_termination() {
    let url = database();
    let world = center(&url);
    world.ok("check --online");
    let plan = world.ok("plan --at 2021-07-31T10:00:00+08:00");
    assert_eq!(plan["totals"]["erase"], 4, "{plan:#}");
    assert_eq!(plan["totals"]["parked"], 4, "{plan:#}");
    let report = world.ok("enforce --at 2021-07-31T10:00:00+08:00");
    assert_eq!(
        (&report["totals"]["erased"], &report["totals"]["failed"]),
        (&4.into(), &0.into()),
        "{report:#}"
    );
    assert_eq!(keys(&url, "session:*").len(), 8);
    assert_eq!(keys(&url, "session:*:1"), Vec::<String>::new());

    let seen = world.ok("explain sessions session:t-1:2 --at 2021-07-31T10:00:00+08:00");
    assert!(seen.to_string().contains("2022-02-01"), "{seen:#}");

    let held = world.ok("hold place --tenant t-1 --subject phone=+6591110001 --authority court");
    world.ok("request create --tenant t-1 --subject agent=A1 --received 2021-08-15T00:00:00+08:00");
    world.ok("request create --tenant t-10 --subject agent=A1 --received 2021-08-15T00:00:00+08:00");
    let report = world.ok("enforce --at 2021-08-20T10:00:00+08:00");
    assert_eq!(placement(&report, "agents-online")["erased"], 2, "{report:#}");
    assert_eq!(placement(&report, "sessions")["erased"], 1, "the other is held: {report:#}");
    assert_eq!(keys(&url, "*:t-1:*"), ["agent:t-1:A2", "session:t-1:2", "session:t-1:3"]);
    assert_eq!(keys(&url, "*:t-10:*"), ["agent:t-10:A2", "session:t-10:3"]);
    world.ok(&format!("hold release {}", held["hold_id"].as_str().unwrap()));

    world.ok("tenant terminate T-1 --at 2021-09-01T00:00:00+08:00");
    let report = world.ok("enforce --at 2021-09-20T10:00:00+08:00");
    assert_eq!(keys(&url, "*:T-1:*"), Vec::<String>::new(), "{report:#}");
    assert_eq!(keys(&url, "*:t-1:*"), ["agent:t-1:A2", "session:t-1:3"], "released, the request takes it");
    assert_eq!(keys(&url, "*:t-1x:*").len(), 4, "the neighbour has lost its one old session only");
    assert_eq!(
        world.ok("enforce --at 2021-09-20T10:00:00+08:00")["totals"]["erased"],
        0,
        "a second run agrees"
    );
    world.assert_settled();
}

#[test]
fn a_replica_or_an_emptied_database_in_the_place_of_the_store_is_refused() {
    let primary = own_server(&[]);
    let url = format!("redis://{}/0", primary.address());
    let world = center(&url);
    world.ok("enforce --at 2021-07-31T10:00:00+08:00");
    let replica = replica_of(&primary);
    let replica_url = format!("redis://{}/0", replica.address());
    send(&mut connect(&url), &["HSET", "session:t-1:1", "started_at", "1612058400"]);
    world.edit("retentiond.toml", &url, &replica_url);
    for verb in ["plan", "enforce"] {
        world.exits(3, &format!("{verb} --at 2021-07-31T10:00:00+08:00"));
    }
    assert_eq!(keys(&url, "session:t-1:1").len(), 1);
    world.edit("retentiond.toml", &replica_url, &url.replace("/0", "/1"));
    world.exits(3, "enforce --at 2021-07-31T10:00:00+08:00");
    world.edit("retentiond.toml", &url.replace("/0", "/1"), &url);
    assert_eq!(world.ok("enforce --at 2021-07-31T10:00:00+08:00")["totals"]["erased"], 1);
}
