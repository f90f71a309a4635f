//! Several steps over one table in one pass: read and locked once, told apart by tenant.

use std::process::Stdio;

use crate::harness::{World, placement, wait_for};

/// Three accounts that end, beside one that does not.
fn ended() -> World {
    let world = World::center();
    for tenant in ["t-1", "t-10", "T-1"] {
        world.ok(&format!("tenant terminate {tenant} --at 2021-06-01T12:00:00+08:00"));
    }
    world
}

const AT: &str = "enforce --at 2021-07-01T00:00:00+08:00";

#[test]
fn steps_that_share_a_pass_are_counted_each_by_itself() {
    let world = ended();
    world.sql("calls.db", "INSERT INTO agent VALUES ('t-10', 'A3', '+6591110009');");
    let others = world.others("T-1").into_iter().filter(|row| row.contains("t-1x")).count();
    let report = world.ok(AT);
    assert_eq!(placement(&report, "agents")["verified_absent"], 7);
    for (tenant, left) in [("t-1", 0), ("t-10", 0), ("T-1", 0), ("t-1x", 2)] {
        assert_eq!(world.agents(tenant).len(), left, "{tenant}");
    }
    assert_eq!(world.calls("t-1x").len(), 5, "its rows of {others} are not in the pass");
    let intents = |what: &str| {
        world.number("retentiond.db", &format!("SELECT count({what}) FROM intent WHERE placement = 'agents'"))
    };
    assert_eq!(intents("DISTINCT step_id"), 3, "each step has an intent of its own");
    assert_eq!(intents("DISTINCT begun_at"), 1, "all of them begin with the same batch");
    let counted = world.texts(
        "retentiond.db",
        "SELECT json_extract(counts, '$.\"t-1\".erased') || ',' || coalesce(json_extract(counts, '$.\"t-10\".erased'), '')
         FROM intent WHERE placement = 'agents' AND json_extract(counts, '$.\"t-1\".erased') IS NOT NULL",
    );
    assert_eq!(counted, ["2,"], "what the step of t-1 counted is its own only");
    let steps = "SELECT json_extract(body, '$.counts') FROM outcome
                 WHERE json_extract(body, '$.placement') = 'agents' ORDER BY 1";
    let outcomes = world.texts("retentiond.db", steps);
    assert_eq!(outcomes.len(), 3, "{outcomes:#?}");
    for (tenant, erased) in [("T-1", 2), ("t-1", 2), ("t-10", 3)] {
        let own = outcomes.iter().filter(|counts| counts.contains(&format!("\"{tenant}\"")));
        let own: Vec<&String> = own.collect();
        assert_eq!(own.len(), 1, "{outcomes:#?}");
        assert!(own[0].contains(&format!("\"erased\":{erased}")), "{outcomes:#?}");
    }
    world.assert_settled();
}

#[test]
fn a_hold_placed_while_a_pass_runs_stops_its_own_step_and_no_other() {
    let world = ended();
    // So many rows that one batch does not hold them, those of the three accounts in turns.
    world.sql(
        "calls.db",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 24000)
         INSERT INTO agent SELECT CASE i % 3 WHEN 0 THEN 't-1' WHEN 1 THEN 't-10' ELSE 'T-1' END, 'B' || i, NULL FROM n;",
    );
    world.ok("enforce --at 2021-01-02T00:00:00+08:00");
    let lock = wait_for(async {
        let mut connection = world.connect("calls.db").await;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        connection
    });
    let start = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        world.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Requests for the category alone, so that the first batch of the run is one of agents.
    world.edit(
        "policies/call-data.toml",
        "trigger = \"termination\"\ngrace = \"15 days\"\n",
        "trigger = \"termination\"\ngrace = \"29 days\"\n",
    );
    let mut run = start("enforce --at 2021-06-20T00:00:00+08:00");
    let begun = "SELECT CAST(count(*) AS TEXT) FROM intent WHERE placement = 'agents' AND ended_at IS NULL";
    while world.number("retentiond.db", begun) < 3 {
        assert_eq!(run.try_wait().unwrap(), None, "the run ended before its first batch began");
        std::thread::yield_now();
    }
    let placed = "SELECT CAST(count(*) AS TEXT) FROM hold";
    let hold = start("hold place --tenant t-10 --authority court");
    while world.number("retentiond.db", placed) == 0 {
        std::thread::yield_now();
    }
    drop(lock);
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(hold.wait_with_output().unwrap().status.success());
    assert!(world.agents("t-1").is_empty() && world.agents("T-1").is_empty());
    let kept = world.agents("t-10").len();
    assert!(kept > 0 && kept < 8002, "{kept}: what the first batch held is gone, the rest is held");
    assert_eq!(world.agents("t-1x").len(), 2);
    world.assert_settled();
}

/// A row of a step that has nothing in a batch is not erased with that batch, for the step was not asked whether it may
/// begin: a hold may have come.
#[test]
fn a_step_without_records_in_a_batch_loses_none_by_it() {
    let world = ended();
    world.sql(
        "calls.db",
        "DELETE FROM agent WHERE tenant_id = 'T-1';
         WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
         INSERT INTO agent (rowid, tenant_id, staff_id)
           SELECT 1000 + i, CASE i % 2 WHEN 0 THEN 't-1' ELSE 't-10' END, 'B' || i FROM n;
         INSERT INTO agent (rowid, tenant_id, staff_id) SELECT 1000000 + rowid, 'T-1', staff_id FROM agent WHERE staff_id LIKE 'B%';",
    );
    let of = world.agents("T-1").len();
    world.ok("enforce --at 2021-01-02T00:00:00+08:00");
    let mut lock = wait_for(async {
        let mut connection = world.connect("calls.db").await;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        connection
    });
    let start = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        world.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    world.edit(
        "policies/call-data.toml",
        "trigger = \"termination\"\ngrace = \"15 days\"\n",
        "trigger = \"termination\"\ngrace = \"29 days\"\n",
    );
    let mut run = start("enforce --at 2021-06-20T00:00:00+08:00");
    let begun = "SELECT CAST(count(*) AS TEXT) FROM intent WHERE placement = 'agents' AND ended_at IS NULL";
    while world.number("retentiond.db", begun) < 2 {
        assert_eq!(run.try_wait().unwrap(), None, "the run ended before its first batch began");
        std::thread::yield_now();
    }
    assert_eq!(world.number("retentiond.db", begun), 2, "T-1 has nothing in the first batch");
    let hold = start("hold place --tenant T-1 --authority court");
    while world.number("retentiond.db", "SELECT CAST(count(*) AS TEXT) FROM hold") == 0 {
        std::thread::yield_now();
    }
    wait_for(async {
        let script = "DELETE FROM agent WHERE rowid = 1500; INSERT INTO agent (rowid, tenant_id, staff_id) VALUES (1500, 'T-1', 'C1'); COMMIT";
        sqlx::raw_sql(script).execute(&mut lock).await.unwrap();
    });
    drop(lock);
    let output = run.wait_with_output().unwrap();
    assert!(hold.wait_with_output().unwrap().status.success());
    assert_eq!(world.agents("T-1").len(), of + 1, "{}", String::from_utf8_lossy(&output.stdout));
    assert!(world.agents("t-1").is_empty() && world.agents("t-10").is_empty());
    world.assert_settled();
}
