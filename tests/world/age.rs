//! Age: six calendar months from each record's own time, to the second, for every tenant alike.

use serde_json::json;

use crate::harness::{TENANTS, World, instant, placement, same_instant};

#[test]
fn nothing_goes_a_second_before_six_months_and_all_that_is_due_goes_then() {
    let world = World::center();
    let before = world.hashes();
    let early = world.ok("enforce --at 2021-07-31T09:59:59+08:00");
    assert_eq!(early["status"], "done");
    assert_eq!(early["totals"]["erased"], 0);
    assert_eq!(world.hashes()["objects/rec/t-1/a.wav"], before["objects/rec/t-1/a.wav"]);
    for tenant in TENANTS {
        assert_eq!(world.calls(tenant).len(), 5);
    }
    let report = world.ok("enforce --at 2021-07-31T10:00:00+08:00");
    let all = json!({"erased": 8, "already_absent": 0, "changed": 0, "failed": 0, "verified_absent": 8});
    assert_eq!(report["totals"], all);
    assert_eq!(placement(&report, "call-records")["erased"], 4);
    assert_eq!(placement(&report, "call-records")["level"], "deleted");
    assert_eq!(placement(&report, "recordings")["verified_absent"], 4);
    for (n, tenant) in (1..).zip(TENANTS) {
        assert_eq!(world.calls(tenant), [n * 10 + 2, n * 10 + 3, n * 10 + 4, n * 10 + 5]);
        assert_eq!(world.agents(tenant), ["A1", "A2"]);
    }
    let left: Vec<String> = TENANTS.iter().map(|tenant| format!("rec/{tenant}/b.wav")).collect();
    assert_eq!(world.objects().iter().collect::<std::collections::BTreeSet<_>>(), left.iter().collect());
    assert_eq!(world.ok("enforce --at 2021-07-31T10:00:00+08:00")["totals"]["erased"], 0);
    world.assert_settled();
}

#[test]
fn a_plan_says_which_clause_how_many_since_when_and_until_when() {
    let world = World::center();
    let plan = world.ok("plan --at 2021-09-15T09:00:00+08:00");
    let step =
        plan["steps"].as_array().unwrap().iter().find(|step| step["placement"] == "call-records").unwrap();
    assert_eq!(step["store"], "calls");
    assert_eq!(step["category"], "call-data");
    assert_eq!(step["tenant"], json!(null));
    assert_eq!(step["reason"], "age");
    assert_eq!(step["clause"], "DPSM §5");
    assert_eq!(step["method"], "delete");
    assert_eq!(step["records"], 8);
    assert!(same_instant(&step["oldest"], "2021-01-31T10:00:00+08:00"), "{step}");
    assert!(same_instant(&step["newest"], "2021-03-15T09:00:00+08:00"), "{step}");
    assert!(same_instant(&step["due_since"], "2021-07-31T10:00:00+08:00"), "{step}");
    assert!(same_instant(&step["deadline"], "2021-08-02T10:00:00+08:00"), "{step}");
    assert_eq!(plan["totals"], json!({"erase": 12, "held": 0, "entitled": 0, "grace": 0, "parked": 4}));
    assert_eq!(plan["refusals"], json!([]));
    assert!(plan["plan_id"].is_string() && plan["policy_digest"].is_string());
}

#[test]
fn records_without_a_usable_time_are_parked_and_said_so() {
    let world = World::center();
    world.sql(
        "calls.db",
        "INSERT INTO call_record (id, tenant_id, started_at) VALUES (1, NULL, '2021-01-01 00:00:00'),
        (2, '', '2021-01-01 00:00:00'), (3, '  ', '2021-01-01 00:00:00'), (4, 't-1', '2020-13-01 00:00:00');",
    );
    let report = world.ok("enforce");
    assert_eq!(placement(&report, "call-records")["erased"], 16);
    for tenant in TENANTS {
        assert_eq!(world.calls(tenant).last().unwrap() % 10, 4, "{tenant}");
    }
    assert_eq!(world.number("calls.db", "SELECT CAST(count(*) AS TEXT) FROM call_record"), 8);
    let plan = world.ok("plan");
    assert_eq!(plan["totals"], json!({"erase": 0, "held": 0, "entitled": 0, "grace": 0, "parked": 8}));
    assert!(plan["kept"].as_array().unwrap().iter().all(|kept| kept["reason"] == "parked"), "{plan}");
}

#[test]
fn a_time_in_the_future_is_a_usage_error_wherever_only_the_past_counts() {
    let world = World::center();
    let before = world.hashes();
    for line in [
        "enforce --at 2999-01-01T00:00:00Z",
        "tenant terminate t-1 --at 2999-01-01T00:00:00Z",
        "request create --tenant t-1 --everything --received 2999-01-01T00:00:00Z",
        "enforce --at 2021-07-31",
        "enforce --at yesterday",
    ] {
        let ran = world.exits(2, line);
        assert_eq!(ran.json["error"]["code"], "usage", "{line}");
    }
    assert_eq!(world.hashes(), before);
}

#[test]
fn a_backup_that_rotates_is_residual_until_its_day_also_after_an_age_rule() {
    let world = World::center();
    let more = "[[placements]]\nname = \"call-backup\"\nstore = \"objects\"\nrole = \"backup\"\nrotation = \"14 days\"\n";
    world.edit(
        "policies/call-data.toml",
        "[[placements]]\nname = \"recordings\"",
        &format!("{more}[[placements]]\nname = \"recordings\""),
    );
    let before = retentiond::clock::Clock::System.now();
    let report = world.ok("enforce --at 2021-07-31T10:00:00+08:00");
    let residual = &placement(&report, "call-records")["residual"];
    assert_eq!(residual[0]["what"], "rotating backup `call-backup`", "{residual:#}");
    let until = instant(residual[0]["until"].as_str().unwrap());
    let days = (until - before).num_hours() / 24;
    assert!((13..=15).contains(&days), "{until}");
}
