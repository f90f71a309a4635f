//! Files that rows name: gone before their row, never outside the tenant's own prefix, never while a row still names
//! them.

use serde_json::json;

use crate::harness::{TENANTS, World, placement};

const AT: &str = "enforce --at 2021-07-31T10:00:00+08:00";

#[test]
fn a_name_outside_the_tenants_own_prefix_leaves_row_and_file_and_fails() {
    for outside in [
        "rec/t-10/b.wav",
        "rec/T-1/b.wav",
        "rec/t-1x/b.wav",
        "rec/t-1/../t-10/a.wav",
        "rec/t-1/./../../rec/t-10/a.wav",
        "rec/t-1",
        "rec/t-1/",
        "rec//t-1/a.wav",
        "/rec/t-1/a.wav",
        "../retentiond.toml",
        "rec/t-1/..",
        ".retentiond-marker",
    ] {
        let world = World::center();
        world.sql("calls.db", &format!("UPDATE call_record SET recording_key = '{outside}' WHERE id = 11"));
        let files = world.objects();
        let ran = world.exits(1, AT);
        assert_eq!(ran.json["status"], "failed", "{outside}");
        assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15], "{outside}");
        let own = |file: &String| file.starts_with("rec/t-1/") || file.ends_with("b.wav");
        assert_eq!(world.objects(), files.into_iter().filter(own).collect::<Vec<_>>(), "{outside}");
        for tenant in &TENANTS[1..] {
            assert_eq!(world.calls(tenant).len(), 4, "{outside}: the neighbours' rows go as ever");
        }
        assert!(world.path("retentiond.toml").exists());
    }
}

#[test]
fn a_neighbours_file_stays_while_only_a_stranger_names_it() {
    let world = World::center();
    world.sql("calls.db", "UPDATE call_record SET recording_key = 'rec/t-10/b.wav' WHERE id = 11");
    let ran = world.exits(1, AT);
    assert!(world.path("objects/rec/t-10/b.wav").exists());
    assert_eq!(placement(&ran.json, "recordings")["failed"], 1, "{:#}", ran.json);
}

#[test]
fn a_file_that_two_rows_name_stays_until_the_last_of_them_goes() {
    let world = World::center();
    world.sql("calls.db", "UPDATE call_record SET recording_key = 'rec/t-1/a.wav' WHERE id IN (12, 13)");
    world.ok(AT);
    assert_eq!(world.calls("t-1"), [12, 13, 14, 15]);
    assert!(world.path("objects/rec/t-1/a.wav").exists());
    world.ok("enforce --at 2021-09-15T09:00:00+08:00");
    assert_eq!(world.calls("t-1"), [13, 14, 15]);
    assert!(world.path("objects/rec/t-1/a.wav").exists());
    world.ok("enforce --at 2022-02-01T12:00:00+08:00");
    assert_eq!(world.calls("t-1"), [14]);
    assert!(!world.path("objects/rec/t-1/a.wav").exists());
    assert!(
        world.path("objects/rec/t-1/b.wav").exists(),
        "no row names it, so nobody says whose time has come"
    );
}

#[test]
fn a_file_that_rows_of_two_tenants_name_stays_and_so_do_both_rows() {
    let neighbours = "UPDATE call_record SET recording_key = 'rec/t-1/a.wav' WHERE id = 22";
    let nobodys = "UPDATE call_record SET recording_key = 'rec/t-1/a.wav', tenant_id = ' ' WHERE id = 22";
    for (stranger, left) in [(neighbours, &[22, 23, 24, 25][..]), (nobodys, &[23, 24, 25])] {
        let world = World::center();
        world.sql("calls.db", stranger);
        for at in [AT, "enforce --at 2022-02-01T12:00:00+08:00"] {
            let ran = world.exits(1, at);
            assert!(world.path("objects/rec/t-1/a.wav").exists(), "{stranger} {at}");
            assert!(world.calls("t-1").contains(&11), "{stranger} {at}: {:#}", ran.json);
            assert!(placement(&ran.json, "recordings")["failed"].as_u64() >= Some(1), "{:#}", ran.json);
            if at == AT {
                assert_eq!(world.calls("t-10"), left, "{stranger}");
            }
        }
        // A request of the owner does not take it either, and is not told that it is done.
        world.ok("request create --tenant t-1 --everything --received 2022-02-02T00:00:00+08:00");
        world.exits(1, "enforce --at 2022-02-03T12:00:00+08:00");
        assert_eq!(world.calls("t-1"), [11], "{stranger}");
        assert!(world.path("objects/rec/t-1/a.wav").exists());
    }
}

#[test]
fn two_rows_that_are_due_together_take_their_file_along() {
    let world = World::center();
    world.sql("calls.db", "UPDATE call_record SET recording_key = 'rec/t-1/a.wav' WHERE id = 12");
    let report = world.ok("enforce --at 2021-09-15T09:00:00+08:00");
    assert_eq!(world.calls("t-1"), [13, 14, 15]);
    assert!(!world.path("objects/rec/t-1/a.wav").exists());
    assert_eq!(placement(&report, "recordings")["verified_absent"], 4, "{report:#}");
}

#[test]
fn a_file_that_is_gone_already_lets_its_row_go() {
    let world = World::center();
    std::fs::remove_file(world.path("objects/rec/t-1/a.wav")).unwrap();
    let report = world.ok(AT);
    let counts = placement(&report, "recordings");
    assert_eq!(
        (&counts["erased"], &counts["already_absent"], &counts["verified_absent"]),
        (&json!(3), &json!(1), &json!(4))
    );
    assert_eq!(world.calls("t-1"), [12, 13, 14, 15]);
}

#[test]
fn a_link_is_never_followed_and_its_row_stays() {
    let world = World::center();
    world.write("elsewhere/a.wav", "not ours");
    std::fs::remove_dir_all(world.path("objects/rec/t-1")).unwrap();
    std::os::unix::fs::symlink(world.path("elsewhere"), world.path("objects/rec/t-1")).unwrap();
    let ran = world.exits(1, AT);
    assert_eq!(std::fs::read_to_string(world.path("elsewhere/a.wav")).unwrap(), "not ours");
    assert_eq!(world.calls("t-1"), [11, 12, 13, 14, 15], "{:#}", ran.json);
    assert_eq!(world.calls("t-10"), [22, 23, 24, 25]);
}

#[test]
fn a_folder_in_the_place_of_a_file_is_not_taken_for_it() {
    let world = World::center();
    std::fs::remove_file(world.path("objects/rec/t-1/a.wav")).unwrap();
    world.write("objects/rec/t-1/a.wav/inside", "not named by any row");
    let ran = world.run(AT);
    assert!(world.path("objects/rec/t-1/a.wav/inside").exists());
    if world.calls("t-1").contains(&11) {
        assert_eq!(ran.code, Some(1), "a row that stays although it is due is told");
    }
}

#[test]
fn files_with_names_of_their_own_are_found_below_the_tenants_prefix_by_the_date_in_their_name() {
    let world = World::center();
    let mut policy = std::fs::read_to_string(world.path("policies/call-data.toml")).unwrap();
    policy.push_str(
        "[[placements]]\nname = \"ivr-audio\"\nstore = \"objects\"\nprefix = \"ivr/{tenant}/\"\n\
                     event_time = { key = \"ivr/{tenant}/%Y/%m/%d/\" }\nsubjects = \"none\"\n",
    );
    world.write("policies/call-data.toml", &policy);
    for tenant in TENANTS {
        for day in ["2021/01/30", "2021/01/31", "2021/02/01", "nonsense"] {
            world.write(&format!("objects/ivr/{tenant}/{day}/x.wav"), tenant);
        }
    }
    world.ok("tenant terminate t-1 --at 2021-06-01T00:00:00+08:00");
    world.ok("enforce --at 2021-07-30T23:59:59+08:00");
    let there = |tenant: &str, day: &str| world.path(&format!("objects/ivr/{tenant}/{day}/x.wav")).exists();
    assert!(!there("t-1", "2021/02/01") && !there("t-1", "nonsense"), "all of a terminated tenant");
    assert!(there("t-10", "2021/01/30"), "a date alone means the end of that day");
    world.ok("enforce --at 2021-07-31T00:00:00+08:00");
    for tenant in &TENANTS[1..] {
        assert!(
            !there(tenant, "2021/01/30") && there(tenant, "2021/01/31") && there(tenant, "nonsense"),
            "{tenant}"
        );
    }
}

#[test]
fn a_check_counts_the_files_that_no_row_names() {
    let world = World::center();
    let orphans = |world: &World| {
        let problems = world.ok("check --online")["problems"].clone();
        let message = |problem: &serde_json::Value| problem["message"].as_str().map(ToOwned::to_owned);
        let list = problems.as_array().unwrap();
        list.iter().find(|problem| problem["field"] == "recordings.found_by").and_then(message)
    };
    assert_eq!(orphans(&world), None);
    world.write("objects/rec/t-1/left.wav", "nobody's");
    world.write("objects/rec/t-99/left.wav", "nobody's");
    // Outside the placement's prefix: somebody else's concern.
    world.write("objects/other/left.wav", "nobody's");
    let message = orphans(&world).unwrap();
    assert!(message.starts_with("2 records are named by no row of `call-records`"), "{message}");
    assert!(world.path("objects/rec/t-1/left.wav").exists(), "a check erases nothing");
}

#[test]
fn a_file_is_explained_by_the_row_that_names_it() {
    let world = World::center();
    let at = "--at 2021-07-31T09:59:59+08:00";
    let of_file = world.ok(&format!("explain recordings rec/t-1/a.wav {at}"));
    let of_row = world.ok(&format!("explain call-records 11 {at}"));
    for field in ["tenant", "event_time", "disposition", "reason", "clause", "due_at", "deadline"] {
        assert_eq!(of_file[field], of_row[field], "{field}");
    }
    assert_eq!(of_file["placement"], "recordings");
    assert_eq!(of_file["disposition"], "retain");
    assert_eq!(
        world.ok("explain recordings rec/t-1/a.wav --at 2021-07-31T10:00:00+08:00")["disposition"],
        "erase"
    );
    world.exits(2, "explain recordings rec/t-1/unknown.wav");
    world.sql("calls.db", "UPDATE call_record SET recording_key = 'rec/t-1/a.wav' WHERE id = 12");
    let several = world.exits(2, "explain recordings rec/t-1/a.wav");
    assert!(several.stderr.contains("several rows"), "{}", several.stderr);
}
