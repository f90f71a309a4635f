//! Plans as files, and the promise that looking changes nothing.

use retentiond::plan::{Plan, Times};
use serde_json::Value;

use crate::harness::{World, placement};

const AT: &str = "2021-07-31T10:00:00+08:00";

#[test]
fn a_plan_that_was_written_is_carried_out_unchanged_and_a_second_time_finds_nothing() {
    let world = World::center();
    let plan = world.ok(&format!("plan --at {AT} --out plan.json"));
    let written: Value = serde_json::from_slice(&std::fs::read(world.path("plan.json")).unwrap()).unwrap();
    assert_eq!(written, plan);
    let report = world.ok("enforce --plan plan.json");
    assert_eq!(report["plan_id"], plan["plan_id"]);
    assert_eq!(placement(&report, "call-records")["erased"], 4);
    assert_eq!(world.ok("enforce --plan plan.json")["totals"]["erased"], 0);
    world.assert_settled();
}

#[test]
fn a_plan_file_that_was_edited_is_refused_and_nothing_goes() {
    let world = World::center();
    let plan = world.ok(&format!("plan --at {AT} --out plan.json")).to_string();
    let id = serde_json::from_str::<Value>(&plan).unwrap()["plan_id"].as_str().unwrap().to_owned();
    let before = world.others("");
    let one_more = plan.replacen("\"records\":4", "\"records\":5", 1);
    let other_tenant = plan.replacen("\"all-except\":[]", "\"one\":\"t-1\"", 1);
    let later = plan.replacen("2021-07-31T02:00:00Z", "2021-08-31T02:00:00Z", 1);
    for (what, text, code) in [
        ("one record more", one_more, 3),
        ("another tenant", other_tenant, 3),
        ("another instant", later, 3),
        ("its hash in upper case", plan.replace(&id, &id.to_uppercase()), 3),
        ("the hash of another plan", plan.replace(&id, "00000000000000000000000000000000"), 3),
        ("an empty hash", plan.replace(&id, ""), 3),
        ("cut off", plan[..plan.len() / 2].to_owned(), 2),
        ("empty", String::new(), 2),
        ("a list", "[]".to_owned(), 2),
        ("a number", "1e999".to_owned(), 2),
    ] {
        assert_ne!(text, plan, "{what}");
        world.write("edited.json", &text);
        world.exits(code, "enforce --plan edited.json");
        assert_eq!(world.others(""), before, "{what}");
    }
    world.exits(2, "enforce --plan nowhere.json");
    assert_eq!(world.ok("enforce --plan plan.json")["totals"]["erased"], 8);
}

#[test]
fn a_plan_that_was_edited_and_hashed_anew_is_refused_where_it_would_be_early() {
    let world = World::center();
    world.ok(&format!("plan --at {AT} --out plan.json"));
    let before = world.others("");
    let mut plan: Plan = serde_json::from_slice(&std::fs::read(world.path("plan.json")).unwrap()).unwrap();
    for step in &mut plan.steps {
        for scope in &mut step.selection.within {
            if let Times::Within(intervals) = &mut scope.times {
                let last = intervals.last_mut().unwrap();
                last.to += chrono::TimeDelta::nanoseconds(1);
            }
        }
    }
    // The files' step names the rows' step, so the rows come first.
    let rows = plan.steps.iter().position(|step| step.found_by.is_none()).unwrap();
    plan.steps[rows].step_id = plan.steps[rows].expected_id();
    let id = plan.steps[rows].step_id.clone();
    for step in plan.steps.iter_mut().filter(|step| step.found_by.is_some()) {
        step.found_by = Some(id.clone());
        step.step_id = step.expected_id();
    }
    plan.plan_id = plan.expected_id();
    world.write("early.json", &serde_json::to_string(&plan).unwrap());
    let ran = world.exits(3, "enforce --plan early.json");
    assert!(ran.stderr.contains("before its time"), "{}", ran.stderr);
    assert_eq!(world.others(""), before);
}

#[test]
fn a_plan_for_a_request_does_not_pass_in_another_center() {
    let staging = World::center();
    staging.ok("request create --tenant t-1 --everything --received 2021-07-01T00:00:00+08:00");
    staging.ok("plan --at 2021-07-02T00:00:00+08:00 --out plan.json");
    let production = World::center();
    let before = production.others("");
    std::fs::copy(staging.path("plan.json"), production.path("plan.json")).unwrap();
    production.run("enforce --plan plan.json");
    assert_eq!(production.others(""), before);
}

#[test]
fn a_plan_in_which_nothing_is_due_is_carried_out_and_recorded() {
    let world = World::center();
    let plan = world.ok("plan --at 2021-01-01T00:00:00Z --out plan.json");
    assert_eq!(plan["steps"].as_array().unwrap().len(), 0);
    assert_eq!(world.ok("enforce --plan plan.json")["status"], "done");
    assert_eq!(world.texts("retentiond.db", "SELECT status FROM run"), ["done"]);
}

#[test]
fn looking_makes_no_ledger_and_changes_no_byte() {
    for journal in ["DELETE", "WAL"] {
        let world = World::center();
        world.sql("calls.db", &format!("PRAGMA journal_mode = {journal}"));
        let before = world.hashes();
        for line in [
            "check",
            "check --online",
            "plan --at 2021-07-31T10:00:00+08:00",
            "plan",
            "explain call-records 11",
            "simulate --from 2021-07-01T00:00:00Z --to 2021-07-05T00:00:00Z",
            "status",
            "audit verify",
            "audit show",
            "request list",
            "hold list",
            "entitlement list",
            "tenant list",
            "tenant show t-1",
        ] {
            world.run(line);
            let after = world.hashes();
            for (file, hash) in &before {
                assert_eq!(after.get(file), Some(hash), "{line}: {file} changed");
            }
            let made: Vec<&String> = after.keys().filter(|file| !before.contains_key(*file)).collect();
            assert!(made.iter().all(|file| file.starts_with("calls.db-")), "{line} made {made:?}");
        }
    }
}

#[test]
fn looking_changes_no_byte_of_ledger_and_log_either() {
    let world = World::center();
    world.ok("hold place --tenant t-10 --authority court");
    world.ok(&format!("enforce --at {AT}"));
    let before = world.hashes();
    for line in ["check --online", "plan", "explain call-records 12", "status", "audit verify", "hold list"] {
        world.run(line);
        let after = world.hashes();
        for (file, hash) in before.iter().filter(|(file, _)| !file.ends_with("-shm")) {
            assert_eq!(after.get(file), Some(hash), "{line}: {file} changed");
        }
    }
}

#[test]
fn planning_twice_gives_the_same_plan() {
    let world = World::center();
    assert_eq!(world.ok(&format!("plan --at {AT}")), world.ok(&format!("plan --at {AT}")));
}
