//! Runs that die: at every durable write, before it and after it, once and twice, and by `kill -9` in between. The next
//! run finds what is left, erases all that is due and nothing else, and leaves nothing open.

mod mortal;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, Utc};
use retentiond::enforce::{Order, RunReport, RunStatus, run_on, run_once};
use retentiond::gather::Trouble;
use retentiond::id::PlanId;

use crate::crash::mortal::{Dies, Mortal};
use crate::harness::{CALLER, World, instant, wait_for};

/// When everything in [`center`] that can be due is due.
const AT: &str = "2021-08-01T00:00:00+08:00";

/// Most writes that a run of such a small center may take; more would mean that the loop below never ends.
const WRITES_MAX: u32 = 200;

/// Every clock and a hold: a request that zeroes, a termination, age, and two neighbours who stay.
fn center() -> World {
    let world = World::center();
    world.zero_requests();
    world.ok(&format!("request create --tenant t-1 --subject {CALLER} --received 2021-07-01T00:00:00+08:00"));
    world.ok("tenant terminate T-1 --at 2021-06-01T00:00:00+08:00");
    world.ok("hold place --tenant t-10 --authority court");
    world
}

/// What must be left of [`center`].
fn is_done(world: &World) {
    assert_eq!(world.calls("t-1"), [13, 15], "the request took three");
    assert_eq!(world.agents("t-1"), ["A2"]);
    assert_eq!(world.calls("t-10"), [21, 22, 23, 24, 25], "held");
    assert!(world.calls("T-1").is_empty() && world.agents("T-1").is_empty(), "terminated");
    assert_eq!(world.calls("t-1x"), [42, 43, 44, 45], "over age");
    let files: BTreeSet<String> = world.objects().into_iter().collect();
    let left = ["rec/t-1/b.wav", "rec/t-10/a.wav", "rec/t-10/b.wav", "rec/t-1x/b.wav"];
    assert_eq!(files, left.map(str::to_owned).into());
    let requests = world.texts("retentiond.db", "SELECT state FROM request");
    assert_eq!(requests, ["completed"]);
    world.assert_settled();
}

fn now() -> DateTime<Utc> {
    instant("2031-01-01T00:00:00Z")
}

/// One run that dies at a write; `None` where it came to its end.
fn run_to_death(world: &World, order: &Order, at: u32, dies: Dies) -> Option<Result<RunReport, Trouble>> {
    let library = world.load(now());
    wait_for(async {
        let ledger = Mortal::new(world.ledger().await, at, dies);
        let ended = run_on(&library, &ledger, order.clone(), &|_| {}).await;
        if ledger.is_dead() { None } else { Some(ended) }
    })
}

fn finish(world: &World) -> RunReport {
    let library = world.load(now());
    wait_for(run_once(&library, Order::Now { at: instant(AT) }, &|_| {})).expect("a run after a crash")
}

fn dies_everywhere(dies: Dies, deaths: u32, stride: usize) {
    let template = center();
    let order = Order::Now { at: instant(AT) };
    for (died, at) in (1..WRITES_MAX).step_by(stride).enumerate() {
        let world = template.copy();
        let ended = run_to_death(&world, &order, at, dies);
        for _ in 1..deaths {
            // What is left is less, so this one may come to its end.
            drop(run_to_death(&world, &order, at, dies));
        }
        let report = finish(&world);
        assert_eq!(report.status, RunStatus::Done, "after dying {dies:?} write {at}: {report:#?}");
        is_done(&world);
        if at % 8 == 0 {
            let before = world.others("");
            let again = finish(&world);
            assert_eq!(
                (again.status, again.totals.erased),
                (RunStatus::Done, 0),
                "after dying {dies:?} write {at}"
            );
            assert_eq!(world.others(""), before);
        }
        if let Some(ended) = ended {
            assert_eq!(ended.expect("an undisturbed run").status, RunStatus::Done);
            assert!(died > 7, "it never died in the middle");
            return;
        }
    }
    panic!("a run took more than {WRITES_MAX} writes");
}

#[test]
fn a_run_that_dies_before_any_of_its_writes_is_made_good_by_the_next() {
    dies_everywhere(Dies::Before, 1, 1);
}

#[test]
fn a_run_that_dies_after_any_of_its_writes_is_made_good_by_the_next() {
    dies_everywhere(Dies::After, 1, 1);
}

#[test]
fn a_run_that_dies_twice_is_made_good_by_the_next() {
    dies_everywhere(Dies::After, 2, 3);
}

#[test]
fn an_approval_that_dies_never_erases_more_than_was_approved() {
    let template = World::center();
    template.edit("retentiond.toml", "records = 1000000", "records = 2");
    let refused = template.exits(3, "enforce --at 2021-07-31T10:00:00+08:00").json;
    let id = PlanId::new(refused["refusals"][0]["approve"].as_str().unwrap());
    for at in 1..WRITES_MAX {
        let world = template.copy();
        let order = Order::Approve(id.clone().into());
        let ended = run_to_death(&world, &order, at, Dies::Before);
        let gone = 20 - world.number("calls.db", "SELECT CAST(count(*) AS TEXT) FROM call_record");
        world.sql("calls.db", "INSERT INTO call_record (id, tenant_id, started_at) VALUES
            (1, 't-1', '2021-01-01 00:00:00'), (2, 't-1', '2021-01-01 00:00:00'), (3, 't-1', '2021-01-01 00:00:00')");
        world.run(&format!("enforce --approve {id}"));
        let left = world.number("calls.db", "SELECT CAST(count(*) AS TEXT) FROM call_record");
        assert!(
            23 - left <= 4,
            "write {at}: {gone} and then {} were erased, 4 were approved",
            23 - left - gone
        );
        if let Some(ended) = ended {
            assert_eq!(ended.unwrap().status, RunStatus::Done);
            return;
        }
    }
    panic!("a run took more than {WRITES_MAX} writes");
}

#[test]
fn a_store_that_is_out_of_reach_after_a_crash_does_not_keep_the_others_waiting() {
    let template = center();
    template.edit(
        "retentiond.toml",
        "[stores.objects]",
        "[stores.spare]\nkind = \"sqlite\"\nurl = \"sqlite://spare.db\"\n[stores.objects]",
    );
    template.sql(
        "spare.db",
        "CREATE TABLE chat (id INTEGER PRIMARY KEY, tenant_id TEXT, at TEXT);
        INSERT INTO chat VALUES (1, 't-1', '2021-01-01 00:00:00');",
    );
    template.write(
        "policies/chat.toml",
        "category = \"chat\"\ntitle = \"Chat\"\ntime_zone = \"Asia/Singapore\"\nmethod = \"delete\"\n\
        [[rules]]\ntrigger = \"age\"\nperiod = \"6 months\"\nclause = \"SLA §1.9\"\n\
        [[placements]]\nname = \"chats\"\nstore = \"spare\"\ntable = \"chat\"\nkey = [\"id\"]\n\
        tenant = { column = \"tenant_id\" }\nevent_time = { column = \"at\" }\nsubjects = \"none\"\n",
    );
    let order = Order::Now { at: instant(AT) };
    // A batch of rows, which lie in the store that is moved away; the files that they name lie in another.
    let rows =
        "SELECT CAST(count(*) AS TEXT) FROM intent WHERE ended_at IS NULL AND placement = 'call-records'";
    let open = |world: &World| world.number("retentiond.db", rows);
    let mut deaths = (1..).map(|at| {
        let world = template.copy();
        assert!(run_to_death(&world, &order, at, Dies::After).is_none(), "no write leaves an open intent");
        world
    });
    let world = deaths.find(|world| open(world) > 0).unwrap();
    std::fs::rename(world.path("calls.db"), world.path("away.db")).unwrap();
    assert_eq!(finish(&world).status, RunStatus::Failed);
    assert_eq!(world.number("spare.db", "SELECT CAST(count(*) AS TEXT) FROM chat"), 0);
    assert!(open(&world) > 0, "nobody could ask what came of it");
    std::fs::rename(world.path("away.db"), world.path("calls.db")).unwrap();
    assert_eq!(finish(&world).status, RunStatus::Done);
    is_done(&world);
}

#[test]
fn what_a_dead_writer_left_in_the_middle_keeps_no_run_out() {
    let template = center();
    let world = wait_for(async {
        let mut connection = template.connect("calls.db").await;
        // So small a cache writes pages into the file before the end, and so many rows do not fit it.
        sqlx::raw_sql(
            "PRAGMA cache_size = 1; BEGIN IMMEDIATE; UPDATE call_record SET note = hex(zeroblob(20000));",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        template.copy()
    });
    assert!(world.path("calls.db-journal").exists(), "the copy is what a writer leaves that died");
    let ran = world.exits(1, &format!("plan --at {AT}"));
    assert!(ran.stderr.contains("died in the middle"), "{}", ran.stderr);
    assert_eq!(finish(&world).status, RunStatus::Done);
    is_done(&world);
    assert_eq!(
        world.dump("calls.db", "call_record", "length(note) > 100"),
        Vec::<String>::new(),
        "it is rolled back"
    );
}

#[test]
fn a_process_that_is_killed_again_and_again_leaves_nothing_half_done() {
    for journal in ["DELETE", "WAL"] {
        let world = center();
        world.sql("calls.db", &format!("PRAGMA journal_mode = {journal}"));
        let line = format!("enforce --at {AT}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut kills = 0;
        for wait in (1_u64..).map(|n| Duration::from_millis(n * 7)) {
            let mut run = world.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // There is no signal to wait for: the point is to die wherever it happens to be.
            std::thread::sleep(wait);
            if run.try_wait().unwrap().is_some() {
                break;
            }
            run.kill().unwrap();
            run.wait().unwrap();
            kills += 1;
            assert!(kills < 1_000, "it never comes to its end");
        }
        assert!(kills > 0);
        world.ok(&line);
        is_done(&world);
    }
}
