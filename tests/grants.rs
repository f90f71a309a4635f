//! `retentiond grants`: what it prints is enough and not more. Users get just that on real servers and do the work; with
//! one privilege less, a check or the run says which.

use std::sync::atomic::{AtomicU32, Ordering};

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::{Ran, World, wait_for};
use crate::servers::{mariadb, redis};

const POLICY: &str = r#"
category = "call-data"
title = "Call data"
time_zone = "Asia/Singapore"
method = "delete"
[[rules]]
trigger = "age"
period = "6 months"
clause = "DPSM §5"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
method = "zero"
clause = "SLA §7.5"
[[placements]]
name = "call-records"
store = "calls"
table = "call_record"
key = ["id"]
tenant = { column = "tenant_id" }
event_time = { column = "started_at", time_zone = "Asia/Singapore" }
subjects = "none"
accept_level = "overwritten"
"#;

const AGENTS: &str = r#"
category = "agents"
title = "Agents"
time_zone = "Asia/Singapore"
method = "overwrite-then-delete"
[[rules]]
trigger = "termination"
grace = "15 days"
deadline = "30 days"
clause = "SLA §7.5"
[[placements]]
name = "agents-online"
store = "online"
keys = "agent:{tenant}:{staff_id}"
subjects = "none"
"#;

const FILE: &str = "[ledger]\nurl = \"sqlite://retentiond.db\"\n[policies]\npath = \"policies\"\n[limits]\nrecords = 100\nshare = \"100%\"\n";

const ENFORCE: &str = "enforce --at 2021-09-30T12:00:00+08:00";

/// A name that no other test has: users belong to a whole server.
fn user() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("least{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn printed(world: &World) -> String {
    world.ok("grants")["grants"][0]["text"].as_str().unwrap().to_owned()
}

/// Everything that was said.
fn said(ran: &Ran) -> String {
    format!("{} {}", ran.json, ran.stderr)
}

/// Two old calls, two young ones, of two accounts of which one has ended. The user has what is printed but for the last
/// words.
struct Calls {
    world: World,
    database: mariadb::Database,
    user: String,
}

impl Calls {
    fn without(take_away: &str) -> Self {
        let calls =
            Self { world: World::empty(), database: wait_for(mariadb::Database::new()), user: user() };
        let url = calls.database.url_of(&format!("{}:secret", calls.user));
        calls.world.write(
            "retentiond.toml",
            &format!("{FILE}[stores.calls]\nkind = \"mysql\"\nurl = \"{}\"\n", url.expose_secret()),
        );
        calls.world.write("policies/call-data.toml", POLICY);
        calls.run(
            "CREATE TABLE call_record (id INT PRIMARY KEY, tenant_id VARCHAR(20), started_at DATETIME, note TEXT,
                 KEY (tenant_id, started_at));
             CREATE TABLE secret (id INT PRIMARY KEY, note TEXT);
             INSERT INTO call_record VALUES (1, 't-1', '2021-01-01', 'note'), (2, 't-1', '2021-09-01', 'note'),
                 (3, 't-2', '2021-01-01', 'note'), (4, 't-2', '2021-09-01', 'note')",
        );
        // Before there is such a user: nothing is asked of the server.
        let text = printed(&calls.world);
        for user in [&calls.user, &format!("{}_plan", calls.user)] {
            calls.run(&format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'secret'"));
        }
        calls.run(&text);
        if !take_away.is_empty() {
            let whole = format!("`{}`.*", calls.database.name.replace('_', "\\_"));
            let of = take_away.replace("DB.*", &whole).replace("DB", &calls.database.name);
            calls.run(&format!("REVOKE {of} FROM '{}'@'%'", calls.user));
        }
        calls
    }

    fn run(&self, script: &str) {
        wait_for(self.database.run(script));
    }

    fn left(&self) -> i64 {
        let count = async {
            let mut connection = self.database.connect().await;
            sqlx::query_scalar("SELECT COUNT(*) FROM call_record").fetch_one(&mut connection).await.unwrap()
        };
        wait_for(count)
    }
}

#[test]
fn the_printed_sql_is_enough_for_one_user_that_erases_and_one_that_plans() {
    let calls = Calls::without("");
    let world = &calls.world;
    assert_eq!(world.ok("check --online")["problems"], json!([]));
    world.ok("tenant terminate t-1 --at 2021-09-10T00:00:00+08:00");
    world.write("plan.toml", &std::fs::read_to_string(world.path("retentiond.toml")).unwrap());
    world.edit("plan.toml", &format!("{}:secret", calls.user), &format!("{}_plan:secret", calls.user));
    let check = world.ok("check --online --config plan.toml");
    assert!(check.to_string().contains("may only look at `call_record`"), "{check:#}");
    let plan = "plan --at 2021-09-30T12:00:00+08:00";
    assert_eq!(world.ok(&format!("{plan} --config plan.toml"))["steps"], world.ok(plan)["steps"]);
    let refused = world.exits(1, &format!("{ENFORCE} --config plan.toml"));
    assert!(said(&refused).contains("INSERT command denied"), "{refused:?}");
    assert_eq!(calls.left(), 4, "who only plans erases nothing");
    assert_eq!(world.ok(ENFORCE)["totals"]["verified_absent"], 3);
    assert_eq!(calls.left(), 1);
    world.ok(&format!("{plan} --config plan.toml"));
    world.assert_settled();
}

#[test]
fn the_user_that_erases_may_read_nothing_else_and_change_no_table() {
    let calls = Calls::without("");
    let url = calls.database.url_of(&format!("{}:secret", calls.user));
    for statement in [
        "SELECT * FROM secret",
        "DELETE FROM secret",
        "INSERT INTO call_record VALUES (9, 't', NULL, NULL)",
        "DROP TABLE call_record",
        "ALTER TABLE call_record DROP COLUMN note",
        "CREATE TABLE other (id INT)",
        "DELETE FROM retentiond_marker",
        "UPDATE retentiond_marker SET store = 'other'",
    ] {
        let refused = wait_for(async {
            let mut connection =
                <sqlx::MySqlConnection as sqlx::Connection>::connect(url.expose_secret()).await.unwrap();
            sqlx::raw_sql(statement).execute(&mut connection).await
        });
        assert!(refused.is_err_and(|error| error.to_string().contains("denied")), "{statement}");
    }
}

#[test]
fn mysql_with_one_privilege_less_is_told_clearly() {
    for (take_away, words) in [
        ("SELECT ON DB.call_record", "may not SELECT in `call_record`"),
        ("DELETE ON DB.call_record", "may not DELETE in `call_record`"),
        ("UPDATE ON DB.call_record", "may not UPDATE `call_record`"),
        ("TRIGGER ON DB.call_record", "hides triggers"),
        ("REFERENCES ON DB.*", "tables that may refer to it"),
    ] {
        let calls = Calls::without(take_away);
        let check = calls.world.run("check --online");
        assert!(said(&check).contains(words), "{take_away}: {check:?}");
    }
    for (take_away, words) in [
        ("UPDATE ON DB.call_record", "UPDATE command denied"),
        ("DELETE ON DB.call_record", "may not DELETE"),
        ("INSERT ON DB.retentiond_marker", "INSERT command denied"),
    ] {
        let calls = Calls::without(take_away);
        calls.world.ok("tenant terminate t-1 --at 2021-09-10T00:00:00+08:00");
        let ran = calls.world.run(ENFORCE);
        assert!(ran.code != Some(0) && said(&ran).contains(words), "{take_away}: {ran:#?}");
        assert!(!said(&ran).contains("secret@"), "no password is told");
    }
}

#[test]
fn a_cascade_is_seen_with_what_is_printed_and_not_without_it() {
    let child = "CREATE TABLE child (id INT PRIMARY KEY, call_id INT,
                 FOREIGN KEY (call_id) REFERENCES call_record (id) ON DELETE CASCADE)";
    let calls = Calls::without("");
    calls.run(child);
    let check = calls.world.exits(2, "check --online");
    assert!(said(&check).contains("on delete: cascade"), "{check:?}");
}

/// The agents of an account that has ended and one of another, in a logical database of its own.
struct Agents {
    world: World,
    url: String,
    user: String,
}

impl Agents {
    fn new() -> Self {
        let agents = Self { world: World::empty(), url: redis::database(), user: user() };
        let own = agents.url.replace("redis://", &format!("redis://{}:secret@", agents.user));
        agents
            .world
            .write("retentiond.toml", &format!("{FILE}[stores.online]\nkind = \"redis\"\nurl = \"{own}\"\n"));
        agents.world.write("policies/agents.toml", AGENTS);
        let text = printed(&agents.world);
        let acl = text.lines().find(|line| line.starts_with("ACL ")).unwrap();
        agents.send(&acl.split(' ').collect::<Vec<_>>());
        agents.change(">secret");
        agents.world.ok("tenant terminate t-1 --at 2021-09-10T00:00:00+08:00");
        agents.fill();
        agents
    }

    /// One of each type.
    fn fill(&self) {
        for words in [
            &["SET", "agent:t-1:1", "v"][..],
            &["HSET", "agent:t-1:2", "f", "v"],
            &["RPUSH", "agent:t-1:3", "v", "w"],
            &["SADD", "agent:t-1:4", "v", "w"],
            &["ZADD", "agent:t-1:5", "1", "v"],
            &["XADD", "agent:t-1:6", "*", "f", "v"],
            &["SET", "agent:t-2:1", "v"],
            &["SET", "other:t-1:1", "v"],
        ] {
            self.send(words);
        }
    }

    fn send(&self, words: &[&str]) -> ::redis::Value {
        redis::send(&mut redis::connect(&self.url), words)
    }

    fn change(&self, rule: &str) {
        self.send(&["ACL", "SETUSER", &self.user, rule]);
    }

    fn left(&self) -> Vec<String> {
        let all = redis::everything(&mut redis::connect(&self.url)).into_iter();
        all.map(|(key, _)| String::from_utf8(key).unwrap()).collect()
    }
}

#[test]
fn the_printed_acl_is_enough_and_with_one_command_less_that_is_told_clearly() {
    let agents = Agents::new();
    let world = &agents.world;
    let check = world.ok("check --online");
    assert!(!check.to_string().contains("may not run"), "{check:#}");
    agents.change("-hsetnx");
    let ran = world.run(ENFORCE);
    assert!(ran.code != Some(0) && said(&ran).contains("permission"), "-hsetnx: {ran:?}");
    agents.change("+hsetnx");
    world.ok(ENFORCE);
    assert_eq!(agents.left(), ["agent:t-2:1", "other:t-1:1"]);
    let commands =
        ["scan", "exists", "hmget", "hexists", "watch", "multi", "unlink", "type", "hset", "xtrim", "select"];
    for command in commands {
        agents.fill();
        agents.change(&format!("-{command}"));
        let ran = world.run(ENFORCE);
        let told = ["permission", "may not run", "refuses the transaction", "logical database"];
        assert!(ran.code != Some(0), "-{command}: {ran:?}");
        assert!(told.iter().any(|words| said(&ran).contains(words)), "-{command}: {ran:?}");
        assert!(!said(&ran).contains("secret"), "no password is told");
        agents.change(&format!("+{command}"));
        world.ok(ENFORCE);
        assert_eq!(agents.left(), ["agent:t-2:1", "other:t-1:1"], "+{command}");
    }
    agents.change("-info");
    assert!(world.ok("check --online").to_string().contains("may not run INFO"));
}

#[test]
fn the_user_of_the_printed_acl_reaches_no_other_key_and_no_other_command() {
    let agents = Agents::new();
    let own = agents.url.replace("redis://", &format!("redis://{}:secret@", agents.user));
    let mut connection = redis::connect(&own);
    for words in [
        &["GET", "other:t-1:1"][..],
        &["UNLINK", "other:t-1:1"],
        &["FLUSHDB"],
        &["KEYS", "*"],
        &["CONFIG", "GET", "requirepass"],
        &["EVAL", "return 1", "0"],
        &["RENAME", "agent:t-1:1", "agent:t-1:9"],
    ] {
        let mut command = ::redis::Cmd::new();
        command.arg(words);
        let refused = command.query::<::redis::Value>(&mut connection).unwrap_err();
        assert_eq!(refused.code(), Some("NOPERM"), "{words:?}");
    }
}

/// The whole output for what is shipped, and for stores that lie on this machine.
#[test]
fn what_is_printed_for_the_shipped_policies_is_this() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let world = World::empty();
    let example = std::fs::read_to_string(root.join("docs/retentiond.example.toml")).unwrap();
    let own = "[stores.own]\nkind = \"sqlite\"\nurl = \"sqlite:///var/lib/it's.db\"\n\
               [stores.root]\nkind = \"files\"\npath = \"/var/lib/objects\"\n";
    world.write("retentiond.toml", &format!("{example}{own}"));
    for entry in std::fs::read_dir(root.join("policies")).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        world.write(&format!("policies/{name}"), &std::fs::read_to_string(&file).unwrap());
    }
    let placements = "category = \"local\"\ntitle = \"Local\"\ntime_zone = \"UTC\"\nmethod = \"delete\"\n\
        [[rules]]\ntrigger = \"request\"\ndeadline = \"30 days\"\nclause = \"-\"\n\
        [[placements]]\nname = \"own\"\nstore = \"own\"\ntable = \"t\"\nkey = [\"id\"]\n\
        tenant = { column = \"tenant_id\" }\nsubjects = \"none\"\n\
        [[placements]]\nname = \"root\"\nstore = \"root\"\nprefix = \"chat/{tenant}/\"\nsubjects = \"none\"\n";
    world.write("policies/local.toml", placements);
    let run = |words: &[&str]| {
        let mut command = world.command(words);
        for name in [
            "CC_MYSQL_PASSWORD",
            "CC_REDIS_PASSWORD",
            "CC_S3_ACCESS_KEY",
            "CC_S3_SECRET_KEY",
            "CC_ES_PASSWORD",
        ] {
            command.env(name, "hush");
        }
        let output =
            command.env("CC_MYSQL_USER", "retentiond").env("CC_ES_USER", "retentiond").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let printed = run(&["grants"]);
    assert!(!printed.to_string().contains("hush"), "no password is printed");
    let mut whole = String::new();
    for one in printed["grants"].as_array().unwrap() {
        let word = |name: &str| one[name].as_str().unwrap();
        whole.push_str(&format!("== {} ({})\n{}\n", word("store"), word("kind"), word("text")));
    }
    insta::assert_snapshot!(whole);
}
