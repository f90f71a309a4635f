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
