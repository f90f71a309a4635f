//! How destruction waits for an export: days 26, 27 and 30, an operator's word, and what releases at once; and how several
//! processes share the work.

use chrono::{DateTime, Duration, Utc};
use retentiond::export::{due_rollovers, is_bucket, run, take_turn, work_off};
use retentiond::ledger::{ExportRow, ExportState, Ledger as _, NewExport};
use serde_json::Value;

use super::read;
use crate::harness::{World, instant, wait_for};
use crate::tenant;

const ENDED: &str = "2025-03-01T15:00:00+08:00";

/// A tenant that has left on [`ENDED`] and wants to take its data along.
fn left(world: &World) -> ExportRow {
    left_for(world, world.path("out").to_str().unwrap())
}

/// As [`left`], with another target.
fn left_for(world: &World, target: &str) -> ExportRow {
    world.ok(&format!("tenant terminate t-1 --at {ENDED}"));
    asked(world, "t-1", target)
}

fn asked(world: &World, whose: &str, target: &str) -> ExportRow {
    wait_for(async {
        let new = NewExport {
            tenant: tenant(whose),
            categories: Vec::new(),
            target: target.to_owned(),
            between: None,
        };
        world.ledger().await.ask_export(&new, instant("2025-03-02T00:00:00Z")).await.unwrap()
    })
}

/// A store of the configuration that is a place for exports.
fn with_a_place(world: &World) {
    let config = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
    world.write("retentiond.toml", &format!("{config}[stores.taken]\nkind = \"files\"\npath = \"taken\"\n"));
    world.write("taken/.keep", "");
}

fn codes(answer: &Value) -> Vec<&str> {
    answer["refusals"].as_array().unwrap().iter().map(|refusal| refusal["code"].as_str().unwrap()).collect()
}

fn of_t1(steps: &Value) -> usize {
    steps.as_array().unwrap().iter().filter(|step| step["tenant"] == "t-1").count()
}

#[test]
fn nothing_goes_before_day_27_and_from_then_on_only_with_an_operator_s_word() {
    let world = World::center();
    let row = left(&world);
    for at in
        ["2025-03-16T15:00:00+08:00", "2025-03-27T15:00:00+08:00", "2025-03-28T14:59:59.999999999+08:00"]
    {
        let plan = world.ok(&format!("plan --at {at}"));
        assert_eq!(of_t1(&plan["steps"]), 0, "{at}: {plan:#}");
        assert!(plan["refusals"].as_array().unwrap().is_empty());
        let kept = plan["kept"].as_array().unwrap();
        let kept: Vec<&Value> =
            kept.iter().filter(|k| k["tenant"] == "t-1" && k["reason"] == "grace").collect();
        assert!(!kept.is_empty());
        for kept in kept {
            assert!(crate::harness::same_instant(&kept["until"], "2025-03-28T15:00:00+08:00"), "{kept}");
        }
    }
    for at in ["2025-03-28T15:00:00+08:00", "2025-03-31T15:00:00+08:00", "2025-05-01T00:00:00+08:00"] {
        let plan = world.ok(&format!("plan --at {at}"));
        assert!(of_t1(&plan["steps"]) > 0 && codes(&plan).contains(&"export-unfinished"), "{at}: {plan:#}");
        let deadlines = plan["steps"].as_array().unwrap().iter().filter(|step| step["tenant"] == "t-1");
        for step in deadlines {
            assert!(
                crate::harness::same_instant(&step["deadline"], "2025-03-31T15:00:00+08:00"),
                "it stands"
            );
        }
    }
    let refused = world.exits(3, "enforce --at 2025-03-29T00:00:00+08:00").json;
    assert_eq!(world.calls("t-1").len(), 5, "{refused:#}");
    assert_eq!(refused["refusals"][0]["export_id"], row.export_id.as_str());
    assert_eq!(world.calls("t-10").len(), 1, "what is over age of others went: {refused:#}");
    let id = refused["refusals"][0]["approve"].as_str().unwrap();
    let done = world.ok(&format!("enforce --approve {id}"));
    assert_eq!(world.calls("t-1"), [0_u64; 0], "{done:#}");
    assert_eq!(world.objects().iter().filter(|file| file.starts_with("rec/t-1/")).count(), 0);
    world.assert_settled();
}

#[test]
fn a_finished_export_releases_at_once_and_so_does_one_that_is_withdrawn() {
    let world = World::center();
    left(&world);
    let at = "enforce --at 2025-03-20T00:00:00+08:00";
    world.ok(at);
    assert_eq!(world.calls("t-1").len(), 5);
    let done = world.ok("export --tenant t-1 --to out");
    assert_eq!(done["state"], "finished");
    world.ok(at);
    assert_eq!(world.calls("t-1"), [0_u64; 0]);
    assert_eq!(
        read(&world.path("out"))["lines"]["call-records"].as_array().unwrap().len(),
        5,
        "it took all along"
    );

    let world = World::center();
    let row = left(&world);
    world.exits(3, "enforce --at 2025-03-29T00:00:00+08:00");
    world.ok(&format!("export cancel {}", row.export_id));
    world.exits(2, &format!("export cancel {}", row.export_id));
    world.exits(2, "export cancel exp-of-nobody");
    world.ok("enforce --at 2025-03-29T00:00:00+08:00");
    assert_eq!(world.calls("t-1"), [0_u64; 0]);
}

#[test]
fn an_export_asked_for_after_the_approval_is_not_covered_by_it() {
    let world = World::center();
    left(&world);
    let refused = world.exits(3, "enforce --at 2025-03-29T00:00:00+08:00").json;
    let id = refused["refusals"][0]["approve"].as_str().unwrap().to_owned();
    wait_for(async {
        let to = world.path("other").to_str().unwrap().to_owned();
        let new = NewExport { tenant: tenant("t-1"), categories: Vec::new(), target: to, between: None };
        world.ledger().await.ask_export(&new, instant("2025-03-29T00:00:00Z")).await.unwrap()
    });
    world.run(&format!("enforce --approve {id}"));
    assert_eq!(world.calls("t-1").len(), 5, "nobody has decided about the second export");
}

#[test]
fn a_request_for_everything_waits_too_and_says_so() {
    let world = World::center();
    let request = world.ok("request create --tenant t-1 --everything --received 2025-03-01T15:00:00+08:00");
    let to = world.path("out").to_str().unwrap().to_owned();
    wait_for(async {
        let new = NewExport { tenant: tenant("t-1"), categories: Vec::new(), target: to, between: None };
        world.ledger().await.ask_export(&new, instant("2025-03-02T00:00:00Z")).await.unwrap()
    });
    world.ok("enforce --at 2025-03-05T00:00:00+08:00");
    let id = request["request_id"].as_str().unwrap();
    assert_eq!(world.ok(&format!("request show {id}"))["state"], "waiting");
    assert_eq!(world.calls("t-1").len(), 5);
    // A person's own request is not delayed.
    world.ok("request create --tenant t-1 --subject agent=A1 --received 2025-03-02T15:00:00+08:00");
    world.ok("export --tenant t-1 --to out");
    world.ok("enforce --at 2025-03-06T00:00:00+08:00");
    assert_eq!(world.calls("t-1"), [0_u64; 0]);
    assert_eq!(world.ok(&format!("request show {id}"))["state"], "completed");
}

#[test]
fn one_process_has_the_turn_until_it_falls_silent_and_failures_are_tried_again_later() {
    let world = World::center();
    with_a_place(&world);
    let row = left_for(&world, "taken");
    let place = format!("taken/{}", row.export_id);
    let now = instant("2025-03-03T00:00:00Z");
    wait_for(async {
        let ledger = world.ledger().await;
        let other = world.ledger().await;
        assert!(take_turn(&ledger, &row, now).await.unwrap().is_some());
        assert!(take_turn(&other, &row, now).await.unwrap().is_none());
        assert!(take_turn(&other, &row, now + Duration::minutes(9)).await.unwrap().is_none());
        assert!(
            take_turn(&other, &row, now + Duration::minutes(10)).await.unwrap().is_some(),
            "it fell silent"
        );
        assert!(take_turn(&ledger, &row, now + Duration::minutes(11)).await.unwrap().is_none());

        // Its folder is taken by something else: it fails, rests and is tried again.
        std::fs::create_dir_all(world.path(&format!("{place}/mine"))).unwrap();
        let at = |at: DateTime<Utc>| world.load(at);
        let later = now + Duration::hours(1);
        let tried = work_off(&at(later), &ledger, later).await.unwrap();
        assert_eq!((tried.len(), tried[0].state), (1, ExportState::Failed));
        assert_eq!(work_off(&at(later), &other, later + Duration::minutes(1)).await.unwrap(), []);
        std::fs::remove_dir(world.path(&format!("{place}/mine"))).unwrap();
        let much_later = later + Duration::hours(13);
        let tried = work_off(&at(much_later), &other, much_later).await.unwrap();
        assert_eq!((tried.len(), tried[0].state), (1, ExportState::Finished));
        assert_eq!(work_off(&at(much_later), &ledger, much_later + Duration::days(1)).await.unwrap(), []);
    });
    read(&world.path(&place));
}

#[test]
fn an_export_can_be_carried_out_on_any_thread() {
    fn sent<T: Send>(future: T) -> T {
        future
    }
    let world = World::center();
    with_a_place(&world);
    left_for(&world, "taken");
    let now = instant("2025-03-03T00:00:00Z");
    wait_for(async {
        let (gather, ledger) = (world.load(now), world.ledger().await);
        assert!(!is_bucket(&gather, "/srv/out") && !is_bucket(&gather, "calls:x"));
        sent(due_rollovers(&gather, &ledger, now)).await.unwrap();
        let done = sent(work_off(&gather, &ledger, now)).await.unwrap();
        assert_eq!(done[0].state, ExportState::Finished, "{done:?}");
    });
}

#[test]
fn the_name_of_a_store_that_holds_nothing_is_a_place_of_the_export_s_own() {
    let world = World::center();
    with_a_place(&world);
    world.ok("tenant terminate t-1x --at 2025-03-01T15:00:00+08:00");
    let now = instant("2025-03-03T00:00:00Z");
    let rows = wait_for(async {
        let (gather, ledger) = (world.load(now), world.ledger().await);
        for target in ["taken", "objects"] {
            let new = NewExport {
                tenant: tenant("t-1"),
                categories: Vec::new(),
                target: target.to_owned(),
                between: None,
            };
            ledger.ask_export(&new, now).await.unwrap();
        }
        work_off(&gather, &ledger, now).await.unwrap()
    });
    assert_eq!((rows[0].state, rows[1].state), (ExportState::Finished, ExportState::Failed), "{rows:?}");
    read(&world.path(&format!("taken/{}", rows[0].export_id)));
}

#[test]
fn a_rollover_to_what_is_no_bucket_is_an_error_and_none_is_asked_for() {
    let world = World::center();
    let config = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
    world.write(
        "retentiond.toml",
        &format!("{config}[rollovers.nightly]\ntenant = \"t-1\"\nto = \"objects:x\"\ncron = \"0 3 * * *\"\n"),
    );
    let now = instant("2025-03-03T00:00:00Z");
    wait_for(async {
        let gather = world.load(now);
        let error = due_rollovers(&gather, &world.ledger().await, now).await.unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(world.ledger().await.exports().await.unwrap(), []);
    });
    for (key, wrong) in
        [("cron = \"0 3 * * *\"", "cron = \"sometimes\""), ("to = \"objects:x\"", "to = \"x\"")]
    {
        let good = std::fs::read_to_string(world.path("retentiond.toml")).unwrap();
        world.edit("retentiond.toml", key, wrong);
        world.exits(2, "check");
        world.write("retentiond.toml", &good);
    }
    world.ok("check");
}

#[test]
fn a_folder_of_the_command_line_is_left_to_it_and_nothing_is_released_by_what_lies_elsewhere() {
    let world = World::center();
    let row = left(&world);
    let now = instant("2025-03-03T00:00:00Z");
    wait_for(async {
        let (gather, ledger) = (world.load(now), world.ledger().await);
        assert_eq!(work_off(&gather, &ledger, now).await.unwrap(), [], "it may be another machine's");
        assert_eq!(ledger.exports().await.unwrap(), std::slice::from_ref(&row), "it stays as it was");
        let failed = ExportRow { state: ExportState::Failed, failure: Some("x".to_owned()), ..row.clone() };
        ledger.settle_export(&failed, now).await.unwrap();
        let later = now + Duration::days(1);
        assert_eq!(work_off(&world.load(later), &ledger, later).await.unwrap(), []);
        assert_eq!(ledger.exports().await.unwrap()[0].state, ExportState::Failed);
    });
    assert!(!world.path("out").exists());
    world.ok("enforce --at 2025-03-20T00:00:00+08:00");
    assert_eq!(world.calls("t-1").len(), 5, "it is waited for");
    let done = world.ok("export --tenant t-1 --to out");
    assert_eq!(done["export_id"], row.export_id.as_str(), "the same one, taken up by whoever has the folder");
    read(&world.path("out"));
}

#[test]
fn who_has_lost_the_turn_settles_nothing_over_who_has_it() {
    let world = World::center();
    let row = left(&world);
    let now = instant("2025-03-03T00:00:00Z");
    wait_for(async {
        let (ledger, other) = (world.ledger().await, world.ledger().await);
        let turn = take_turn(&ledger, &row, now).await.unwrap().unwrap();
        let later = now + Duration::minutes(10);
        assert!(take_turn(&other, &row, later).await.unwrap().is_some(), "it fell silent");
        run(&world.load(now), &ledger, &row, turn, &|_, _| {}).await.unwrap_err();
        let row = ledger.exports().await.unwrap().remove(0);
        assert_eq!((row.state, row.failure), (ExportState::Running, None));
        assert!(!world.path("out/manifest.json").exists(), "nor does it publish anything");
    });
}
