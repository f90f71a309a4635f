//! Several processes at once: a hold waits for the batch that runs and stops the next one; two runs take turns.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::harness::{World, answer_of, wait_for};

/// Rows that name a file go in batches of five hundred; so many more make a second batch.
const ROWS: u64 = 600;
const FIRST_BATCH: u64 = 500;

fn crowded() -> World {
    let world = World::center();
    world.sql(
        "calls.db",
        &format!(
            "DELETE FROM call_record;
         WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO call_record (id, tenant_id, started_at, recording_key)
         SELECT i, 't-1', '2021-01-01 00:00:00', 'rec/t-1/' || i || '.wav' FROM n;"
        ),
    );
    for n in 1..=ROWS {
        world.write(&format!("objects/rec/t-1/{n}.wav"), "words");
    }
    // The first run leaves its marker in the file, before somebody locks it.
    world.ok("enforce --at 2021-01-02T00:00:00+08:00");
    world
}

fn begin(world: &World, line: &str) -> Child {
    let words: Vec<&str> = line.split_whitespace().collect();
    world.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until a batch of rows has begun; the process must not end before.
fn wait_for_batch(world: &World, run: &mut Child) {
    let begun =
        "SELECT CAST(count(*) AS TEXT) FROM intent WHERE placement = 'call-records' AND ended_at IS NULL";
    while world.number("retentiond.db", begun) == 0 {
        assert_eq!(run.try_wait().unwrap(), None, "the run ended before its batch of rows began");
        std::thread::yield_now();
    }
}

#[test]
fn a_hold_placed_while_a_batch_runs_waits_for_it_and_stops_the_next() {
    let world = crowded();
    let lock = wait_for(async {
        let mut connection = world.connect("calls.db").await;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        connection
    });
    let mut run = begin(&world, "enforce --at 2021-08-01T00:00:00+08:00");
    // Every file of the first batch is gone, and the statement for its rows waits for the lock.
    wait_for_batch(&world, &mut run);
    let mut hold = begin(&world, "hold place --tenant t-1 --authority court");
    let mut said = String::new();
    BufReader::new(hold.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("waiting for batches"), "{said}");
    assert_eq!(hold.try_wait().unwrap(), None, "it returned while a batch was running");
    assert_eq!(world.ok("hold list")["holds"][0]["tenant"], "t-1", "it is in force already");
    drop(lock);
    let placed = answer_of(&hold.wait_with_output().unwrap(), &["hold"]);
    assert_eq!(placed.code, Some(0));
    let left = world.calls("t-1").len() as u64;
    assert_eq!(left, ROWS - FIRST_BATCH, "the batch that ran has ended, and no other began");
    let report = answer_of(&run.wait_with_output().unwrap(), &["enforce"]);
    assert_eq!((report.code, &report.json["status"]), (Some(0), &"done".into()), "{report:#?}");
    assert_eq!(world.calls("t-1").len() as u64, ROWS - FIRST_BATCH);
    assert_eq!(
        world.objects().iter().filter(|file| file.starts_with("rec/t-1/")).count() as u64,
        ROWS - FIRST_BATCH + 2
    );
    world.assert_settled();
}

#[test]
fn a_stop_thrown_while_a_batch_runs_stops_the_next() {
    let world = crowded();
    let lock = wait_for(async {
        let mut connection = world.connect("calls.db").await;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        connection
    });
    let mut run = begin(&world, "enforce --at 2021-08-01T00:00:00+08:00");
    wait_for_batch(&world, &mut run);
    world.ok("stop --reason halt");
    drop(lock);
    let report = answer_of(&run.wait_with_output().unwrap(), &["enforce"]);
    assert_eq!((report.code, &report.json["status"]), (Some(3), &"refused".into()), "{report:#?}");
    assert_eq!(world.calls("t-1").len() as u64, ROWS - FIRST_BATCH);
    world.ok("go");
    assert_eq!(world.ok("enforce --at 2021-08-01T00:00:00+08:00")["status"], "done");
    assert!(world.calls("t-1").is_empty());
    world.assert_settled();
}

#[test]
fn two_runs_at_once_take_turns_and_erase_each_record_once() {
    let world = crowded();
    let runs = [0, 1].map(|_| begin(&world, "enforce --at 2021-08-01T00:00:00+08:00"));
    let mut erased = 0;
    for run in runs {
        let report = answer_of(&run.wait_with_output().unwrap(), &["enforce"]);
        assert_eq!(report.code, Some(0), "{report:#?}");
        erased += report.json["totals"]["erased"].as_u64().unwrap();
    }
    assert_eq!(erased, 2 * ROWS, "each row and each file once");
    world.assert_settled();
}
