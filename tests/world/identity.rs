//! Doubts: a store that is not the one meant, a ledger that is not the one that wrote the log. Nothing is planned and
//! nothing is erased on a doubt; a store that is merely out of reach does not keep the others from their work.

use crate::harness::World;

const AT: &str = "--at 2021-07-31T10:00:00+08:00";

/// A center whose stores carry its ledger's marker, with something due again.
fn marked() -> World {
    let world = World::center();
    assert_eq!(world.ok(&format!("enforce {AT}"))["totals"]["erased"], 8);
    world.sql(
        "calls.db",
        "INSERT INTO call_record (id, tenant_id, started_at, recording_key)
        VALUES (11, 't-1', '2021-01-31 10:00:00', 'rec/t-1/a.wav')",
    );
    world.write("objects/rec/t-1/a.wav", "again");
    world
}

fn refused_everywhere(world: &World) {
    for line in [format!("plan {AT}"), format!("enforce {AT}")] {
        let ran = world.exits(3, &line);
        assert!(!ran.stderr.is_empty() || ran.json["refusals"][0]["code"] == "identity", "{ran:#?}");
    }
}

#[test]
fn the_database_of_another_ledger_in_the_place_of_ours_is_refused() {
    let (world, other) = (marked(), marked());
    std::fs::copy(other.path("calls.db"), world.path("calls.db")).unwrap();
    refused_everywhere(&world);
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    assert!(world.path("objects/rec/t-1/a.wav").exists());
}

#[test]
fn a_restored_copy_with_the_right_marker_is_refused_until_somebody_says_that_it_is_meant() {
    let world = marked();
    std::fs::copy(world.path("calls.db"), world.path("copy.db")).unwrap();
    std::fs::rename(world.path("copy.db"), world.path("calls.db")).unwrap();
    refused_everywhere(&world);
    world.exits(2, "check --online");
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    world.exits(2, "adopt nowhere --reason moved");
    world.exits(2, "adopt calls");
    let adopted = world.ok("adopt calls --reason moved");
    assert!(adopted["fingerprint"].as_str().unwrap().starts_with("inode "), "{adopted}");
    world.ok(&format!("enforce {AT}"));
    assert_eq!(world.calls("t-1"), [12, 13, 14, 15]);
    world.ok("audit verify");
}

#[test]
fn a_store_of_another_ledger_is_never_adopted() {
    let (world, other) = (marked(), marked());
    std::fs::copy(other.path("calls.db"), world.path("calls.db")).unwrap();
    world.exits(3, "adopt calls --reason moved");
    refused_everywhere(&world);
}

#[test]
fn a_store_that_lost_its_marker_is_marked_again_when_it_is_adopted() {
    let world = marked();
    world.sql("calls.db", "DROP TABLE retentiond_marker");
    world.ok("adopt calls --reason restored");
    assert_eq!(world.number("calls.db", "SELECT count(*) FROM retentiond_marker"), 1);
    world.ok(&format!("enforce {AT}"));
}

#[test]
fn a_database_whose_marker_vanished_is_refused() {
    let world = marked();
    world.sql("calls.db", "DROP TABLE retentiond_marker");
    refused_everywhere(&world);
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
}

#[test]
fn a_folder_whose_marker_vanished_is_refused() {
    let world = marked();
    std::fs::remove_file(world.path("objects/.retentiond-marker")).unwrap();
    refused_everywhere(&world);
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    assert!(world.path("objects/rec/t-1/a.wav").exists());
}

#[test]
fn an_empty_mount_in_the_place_of_a_store_completes_no_request() {
    let world = marked();
    let request = world.ok("request create --tenant t-1 --everything --received 2021-07-20T00:00:00+08:00");
    std::fs::rename(world.path("calls.db"), world.path("away.db")).unwrap();
    world.sql(
        "calls.db",
        "CREATE TABLE call_record (id INTEGER PRIMARY KEY, tenant_id TEXT, started_at TEXT, caller TEXT,
        callee TEXT, agent_id TEXT, note TEXT, recording_key TEXT);
        CREATE TABLE agent (tenant_id TEXT, staff_id TEXT, phone TEXT, PRIMARY KEY (tenant_id, staff_id));",
    );
    world.exits(3, "enforce --at 2021-07-21T00:00:00+08:00");
    let state = |world: &World| {
        world.ok(&format!("request show {}", request["request_id"].as_str().unwrap()))["state"].clone()
    };
    assert_ne!(state(&world), "completed");
    std::fs::rename(world.path("away.db"), world.path("calls.db")).unwrap();
    world.ok("enforce --at 2021-07-21T00:00:00+08:00");
    assert_eq!(state(&world), "completed");
    assert_eq!(world.calls("t-1"), [13]);
}

#[test]
fn a_store_is_marked_before_anything_is_due_there() {
    let world = World::center();
    world.ok("enforce --at 2021-01-01T00:00:00+08:00");
    world.ok("request create --tenant t-1 --everything --received 2021-07-20T00:00:00+08:00");
    std::fs::rename(world.path("objects"), world.path("away")).unwrap();
    std::fs::create_dir(world.path("objects")).unwrap();
    let ran = world.exits(3, "enforce --at 2021-07-21T00:00:00+08:00");
    assert_eq!(ran.json["refusals"][0]["code"], "identity");
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15], "the rows wait for their files");
    assert_ne!(world.ok("request list")["requests"][0]["state"], "completed");
}

#[test]
fn marked_stores_without_any_ledger_or_log_are_refused() {
    let world = marked();
    for file in ["retentiond.db", "retentiond.db-wal", "retentiond.db-shm", "ledger.key"] {
        drop(std::fs::remove_file(world.path(file)));
    }
    std::fs::remove_dir_all(world.path("audit")).unwrap();
    refused_everywhere(&world);
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
}

#[test]
fn a_lost_ledger_beside_a_log_is_refused_and_not_made_anew() {
    let world = marked();
    world.ok("hold place --tenant t-1 --authority court");
    for file in ["retentiond.db", "retentiond.db-wal", "retentiond.db-shm"] {
        if world.path(file).exists() {
            std::fs::remove_file(world.path(file)).unwrap();
        }
    }
    refused_everywhere(&world);
    for line in
        ["status", "hold place --tenant t-1 --authority court", "request create --tenant t-1 --everything"]
    {
        world.exits(3, line);
    }
    assert!(!world.path("retentiond.db").exists());
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
}

#[test]
fn an_older_copy_of_the_ledger_is_refused_for_it_may_lack_a_hold() {
    let world = marked();
    let copies: Vec<(String, Vec<u8>)> = ["retentiond.db", "retentiond.db-wal"]
        .into_iter()
        .filter_map(|file| Some((file.to_owned(), std::fs::read(world.path(file)).ok()?)))
        .collect();
    world.ok("hold place --tenant t-1 --authority court");
    for file in ["retentiond.db", "retentiond.db-wal", "retentiond.db-shm"] {
        drop(std::fs::remove_file(world.path(file)));
    }
    for (file, bytes) in copies {
        std::fs::write(world.path(&file), bytes).unwrap();
    }
    refused_everywhere(&world);
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
}

#[test]
fn another_ledger_key_is_refused() {
    let world = marked();
    let key = std::fs::read(world.path("ledger.key")).unwrap();
    let other = marked();
    std::fs::copy(other.path("ledger.key"), world.path("ledger.key")).unwrap();
    world.exits(3, &format!("enforce {AT}"));
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15]);
    std::fs::write(world.path("ledger.key"), key).unwrap();
    assert_eq!(world.ok(&format!("enforce {AT}"))["totals"]["erased"], 2);
}

#[test]
fn a_store_out_of_reach_fails_the_run_and_the_other_stores_are_done() {
    let world = marked();
    world.edit(
        "retentiond.toml",
        "[stores.objects]",
        "[stores.spare]\nkind = \"sqlite\"\nurl = \"sqlite://spare.db\"\n[stores.objects]",
    );
    world.sql(
        "spare.db",
        "CREATE TABLE chat (id INTEGER PRIMARY KEY, tenant_id TEXT, at TEXT);
        INSERT INTO chat VALUES (1, 't-1', '2021-01-01 00:00:00'), (2, 't-1', '2021-07-01 00:00:00');",
    );
    world.write(
        "policies/chat.toml",
        "category = \"chat\"\ntitle = \"Chat\"\ntime_zone = \"Asia/Singapore\"\nmethod = \"delete\"\n\
        [[rules]]\ntrigger = \"age\"\nperiod = \"6 months\"\nclause = \"SLA §1.9\"\n\
        [[placements]]\nname = \"chats\"\nstore = \"spare\"\ntable = \"chat\"\nkey = [\"id\"]\n\
        tenant = { column = \"tenant_id\" }\nevent_time = { column = \"at\" }\nsubjects = \"none\"\n",
    );
    std::fs::rename(world.path("calls.db"), world.path("away.db")).unwrap();
    world.exits(1, &format!("plan {AT}"));
    let ran = world.exits(1, &format!("enforce {AT}"));
    assert_eq!((&ran.json["status"], &ran.json["totals"]["erased"]), (&"failed".into(), &1.into()));
    assert_eq!(world.texts("spare.db", "SELECT CAST(id AS TEXT) FROM chat"), ["2"]);
    assert!(!world.path("calls.db").exists(), "a data store is never made");
    std::fs::rename(world.path("away.db"), world.path("calls.db")).unwrap();
    assert_eq!(world.ok(&format!("enforce {AT}"))["totals"]["erased"], 2);
}

#[test]
fn a_table_or_column_that_is_not_there_is_an_error_of_the_policy_and_nothing_goes() {
    for (from, to) in [
        ("table = \"call_record\"", "table = \"call_records\""),
        ("column = \"started_at\"", "column = \"begun_at\""),
        ("key = [\"id\"]", "key = [\"identity\"]"),
        ("\"caller\", \"callee\"", "\"caller\", \"called\""),
        ("column = \"recording_key\"", "column = \"recording\""),
    ] {
        let world = World::center();
        world.edit("policies/call-data.toml", from, to);
        let before = world.others("");
        world.exits(2, "enforce");
        world.exits(2, "check --online");
        assert_eq!(world.others(""), before, "{to}");
    }
}
