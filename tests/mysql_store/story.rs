//! One story through the program itself: the center of the other stories, with its calls and agents in `MariaDB`.

use secrecy::ExposeSecret as _;

use super::*;
use crate::harness::{World, wait_for};

const SCHEMA: &str = "
    CREATE TABLE call_record (id BIGINT UNSIGNED PRIMARY KEY, tenant_id VARCHAR(64), started_at DATETIME, caller VARCHAR(32),
        callee VARCHAR(32), agent_id VARCHAR(32), note TEXT, recording_key VARCHAR(255), KEY (tenant_id, started_at), KEY (recording_key));
    CREATE TABLE agent (tenant_id VARCHAR(64) COLLATE utf8mb4_bin, staff_id VARCHAR(32) COLLATE utf8mb4_bin, phone VARCHAR(32),
        PRIMARY KEY (tenant_id, staff_id));";

/// Moves the tables of a world's SQLite file to a database.
fn moved() -> (World, Database) {
    let world = World::center();
    let database = wait_for(with(SCHEMA));
    for (table, columns) in [
        ("call_record", "id, tenant_id, started_at, caller, callee, agent_id, note, recording_key"),
        ("agent", "tenant_id, staff_id, phone"),
    ] {
        let quoted: Vec<String> = columns.split(", ").map(|column| format!("quote({column})")).collect();
        let rows = world.texts("calls.db", &format!("SELECT {} FROM {table}", quoted.join(" || ',' || ")));
        wait_for(database.run(&format!("INSERT INTO {table} VALUES ({})", rows.join("), ("))));
    }
    let address = format!("kind = \"mysql\"\nurl = \"{}\"", database.url().expose_secret());
    world.edit("retentiond.toml", "kind = \"sqlite\"\nurl = \"sqlite://calls.db\"", &address);
    (world, database)
}

fn left(database: &Database, tenant: &str) -> Vec<String> {
    let sql =
        format!("SELECT CAST(id AS CHAR) FROM call_record WHERE BINARY tenant_id = '{tenant}' ORDER BY id");
    wait_for(texts(database, &sql))
}

#[test]
fn due_calls_and_their_recordings_go_and_a_request_takes_the_rest_of_a_caller() {
    let (world, database) = moved();
    let at = "--at 2021-07-31T10:00:00+08:00";
    let report = world.ok(&format!("enforce {at}"));
    assert_eq!(report["totals"]["erased"], 8, "{report:#}");
    for (n, tenant) in (1..).zip(["t-1", "t-10", "T-1", "t-1x"]) {
        let expected: Vec<String> = (2..=5).map(|m| format!("{n}{m}")).collect();
        assert_eq!(left(&database, tenant), expected, "{tenant}");
        assert!(!world.path(&format!("objects/rec/{tenant}/a.wav")).exists());
        assert!(world.path(&format!("objects/rec/{tenant}/b.wav")).exists());
    }
    assert_eq!(world.ok(&format!("enforce {at}"))["totals"]["erased"], 0);
    world.ok("request create --tenant t-1 --subject phone=+6591110001 --received 2021-08-02T00:00:00+08:00");
    world.ok("enforce --at 2021-08-03T10:00:00+08:00");
    assert_eq!(left(&database, "t-1"), ["13"], "the caller's other calls went, whatever their time");
    assert_eq!(left(&database, "t-10").len(), 4);
    let agents = wait_for(texts(&database, "SELECT CONCAT(tenant_id, staff_id) FROM agent ORDER BY 1"));
    assert_eq!(agents, ["T-1A1", "T-1A2", "t-10A1", "t-10A2", "t-1A2", "t-1xA1", "t-1xA2"]);
    // A copy of the database under another name carries the marker of ours, but a namesake without it is refused.
    wait_for(database.run("DROP TABLE retentiond_marker"));
    world.exits(3, "enforce --at 2021-08-03T10:00:00+08:00");
}

#[test]
fn rows_that_refer_to_others_go_first_and_without_a_placement_nothing_is_begun() {
    let (world, database) = moved();
    wait_for(database.run(
        "CREATE TABLE a_part (id BIGINT PRIMARY KEY, call_id BIGINT UNSIGNED NOT NULL, tenant_id VARCHAR(64), at DATETIME,
           KEY (tenant_id, at), CONSTRAINT of_call FOREIGN KEY (call_id) REFERENCES call_record (id));
         INSERT INTO a_part SELECT id * 10, id, tenant_id, started_at FROM call_record WHERE started_at IS NOT NULL;",
    ));
    let at = "--at 2021-07-31T10:00:00+08:00";
    for line in [format!("plan {at}"), format!("enforce {at}"), "check --online".to_owned()] {
        let ran = world.exits(2, &line);
        let said = format!("{}{}", ran.json, ran.stderr);
        assert!(said.contains("rows of `a_part` refer to its rows by column `call_id`"), "{said}");
    }
    assert_eq!(left(&database, "t-1"), ["11", "12", "13", "14", "15"]);
    // Behind the rows that they refer to, as the policy has them.
    let policy = std::fs::read_to_string(world.path("policies/call-data.toml")).unwrap();
    let parts = "[[placements]]\nname = \"parts\"\nstore = \"calls\"\ntable = \"a_part\"\nkey = [\"id\"]\n\
                 tenant = { column = \"tenant_id\" }\nevent_time = { column = \"at\" }\nsubjects = \"none\"\n";
    world.write("policies/call-data.toml", &format!("{policy}{parts}"));
    let report = world.ok(&format!("enforce {at}"));
    assert_eq!(report["totals"]["erased"], 12, "four calls, their parts and their files: {report:#}");
    assert_eq!(left(&database, "t-1"), ["12", "13", "14", "15"]);
    let parts = wait_for(texts(&database, "SELECT CAST(count(*) AS CHAR) FROM a_part"));
    assert_eq!(parts, ["12"]);
}

#[test]
fn steps_of_several_tenants_share_a_pass_and_are_counted_each_by_itself() {
    let (world, database) = moved();
    for tenant in ["t-1", "t-10", "T-1"] {
        world.ok(&format!("tenant terminate {tenant} --at 2021-06-01T12:00:00+08:00"));
    }
    wait_for(database.run("INSERT INTO agent VALUES ('t-10', 'A3', NULL)"));
    let report = world.ok("enforce --at 2021-06-20T00:00:00+08:00");
    let agents = crate::harness::placement(&report, "agents").clone();
    assert_eq!((&agents["erased"], &agents["verified_absent"]), (&7.into(), &7.into()), "{report:#}");
    assert_eq!(
        wait_for(texts(&database, "SELECT CONCAT(tenant_id, staff_id) FROM agent ORDER BY 1")),
        ["t-1xA1", "t-1xA2"]
    );
    let begun =
        "SELECT count(DISTINCT begun_at) || ' of ' || count(*) FROM intent WHERE placement = 'agents'";
    assert_eq!(world.texts("retentiond.db", begun), ["1 of 3"]);
    let counts = world.texts(
        "retentiond.db",
        "SELECT json_extract(body, '$.counts') FROM outcome WHERE json_extract(body, '$.placement') = 'agents' ORDER BY 1",
    );
    for (tenant, erased) in [("T-1", 2), ("t-1", 2), ("t-10", 3)] {
        let own = |counts: &&String| {
            counts.contains(&format!("\"{tenant}\"")) && counts.contains(&format!("\"erased\":{erased}"))
        };
        assert_eq!(counts.iter().filter(own).count(), 1, "{counts:#?}");
    }
    assert_eq!(report["placements"][0]["residual"][0]["what"], "binlog", "{report:#}");
    world.assert_settled();
}

#[test]
fn a_file_that_rows_of_two_tenants_name_stays_with_both_rows() {
    let (world, database) = moved();
    // Tenants that a collation takes for one are two.
    wait_for(database.run("UPDATE call_record SET recording_key = 'rec/t-1/a.wav' WHERE id = 32"));
    world.exits(1, "enforce --at 2021-07-31T10:00:00+08:00");
    assert!(world.path("objects/rec/t-1/a.wav").exists());
    assert_eq!(left(&database, "t-1"), ["11", "12", "13", "14", "15"]);
    assert_eq!(left(&database, "T-1"), ["32", "33", "34", "35"]);
    assert_eq!(left(&database, "t-10"), ["22", "23", "24", "25"]);
}
