//! Tenants that are hostile, odd or all but alike: refused on the command line where they could mean several or none,
//! and otherwise exact, byte by byte, so that nobody else is touched.

use std::collections::BTreeMap;

use crate::harness::{TENANTS, World};

const REFUSED: [&str; 45] = [
    "",
    " ",
    "\t",
    "\u{a0}",
    "\u{200b}",
    "\u{3000}",
    "*",
    "acme*",
    "ac?e",
    "acm[e]",
    "acm\\e",
    "{a,b}",
    "t-1/",
    "t-1/../t-10",
    "cafe\u{301}",
    "t-1 ",
    " t-1",
    "%",
    "t-%",
    "t%1",
    "' OR '1'='1",
    "x'; DROP TABLE call_record;--",
    "`",
    "\"",
    "\\",
    "\n",
    "t-1\r",
    "..",
    ".",
    "a/b",
    "a\\b",
    "C:",
    "con",
    "~",
    "t-1\u{202e}",
    "t-1,t-10",
    "t-1;t-10",
    "t-1|t-10",
    "t-1\u{feff}",
    "t-1 OR 1=1",
    "$(id)",
    "t-1&t-10",
    "t-1#",
    "(t-1)",
    "t-1\u{7f}",
];

/// Accepted, and each of them somebody else than all the others.
const EXACT: [&str; 27] = [
    "t-1",
    "t-10",
    "T-1",
    "t-1x",
    "t_1",
    "tenant-1",
    "tenant-10",
    "tenant-100",
    "ACME",
    "acme",
    "\u{430}cme",
    "stra\u{df}e",
    "strasse",
    "STRASSE",
    "\u{131}",
    "i",
    "caf\u{e9}",
    "cafe",
    "null",
    "NULL",
    "None",
    "NaN",
    "true",
    "0",
    "-1",
    "01",
    "1e3",
];

#[test]
fn what_could_mean_several_tenants_a_path_or_none_is_refused_by_every_command() {
    let world = World::center();
    let before = world.hashes();
    let mut long = REFUSED.map(str::to_owned).to_vec();
    long.extend(["t".repeat(256), "t".repeat(64 * 1024)]);
    for (number, tenant) in long.iter().enumerate() {
        let tenant = format!("--tenant={tenant}");
        let words = match number % 4 {
            0 => vec!["hold", "place", &tenant, "--authority", "a"],
            1 => vec!["entitlement", "grant", "extended-storage", &tenant],
            2 => vec!["tenant", "terminate", "--", &tenant["--tenant=".len()..]],
            _ => vec!["request", "create", &tenant, "--subject", "phone=+6591110001"],
        };
        for words in [words, vec!["request", "create", &tenant, "--everything"]] {
            let ran = if words.contains(&"--") {
                let output =
                    world.command(&["tenant", "terminate"]).arg("--").arg(words[3]).output().unwrap();
                crate::harness::answer_of(&output, &words)
            } else {
                world.run_words(&words)
            };
            assert_eq!(ran.code, Some(2), "{words:?}: {ran:?}");
        }
    }
    assert_eq!(world.hashes(), before, "nothing was made and nothing changed");
}

#[test]
fn a_request_for_a_name_that_is_all_but_another_takes_only_its_own() {
    let world = World::center();
    let mut script = "DELETE FROM call_record;".to_owned();
    for (n, tenant) in EXACT.iter().enumerate() {
        script.push_str(&format!(
            "INSERT INTO call_record (id, tenant_id, started_at) VALUES
            ({n}, '{tenant}', '2021-03-01 00:00:00'), (1{n:03}, '{tenant}', NULL);"
        ));
    }
    script.push_str("INSERT INTO call_record (id, tenant_id, started_at) VALUES (9002, X'742d31', NULL);");
    world.sql("calls.db", &script);
    let rows = || -> BTreeMap<String, Vec<String>> {
        let dump =
            world.texts("calls.db", "SELECT quote(tenant_id) || ' ' || id FROM call_record ORDER BY id");
        let mut by_tenant = BTreeMap::<String, Vec<String>>::new();
        for row in dump {
            let (tenant, id) = row.split_once(' ').unwrap();
            by_tenant.entry(tenant.to_owned()).or_default().push(id.to_owned());
        }
        by_tenant
    };
    let mut expected = rows();
    for tenant in ["t-1", "acme", "strasse", "\u{131}", "cafe", "null", "0", "-1", "t_1", "tenant-10", "true"]
    {
        let create = [
            "request",
            "create",
            "--tenant",
            tenant,
            "--everything",
            "--received",
            "2021-07-01T00:00:00+08:00",
        ];
        assert_eq!(world.run_words(&create).code, Some(0), "{tenant}");
        world.run("enforce --at 2021-07-02T00:00:00+08:00");
        assert_eq!(expected.remove(&format!("'{tenant}'")).map(|ids| ids.len()), Some(2), "{tenant}");
        assert_eq!(rows(), expected, "after the request of {tenant}");
    }
}

#[test]
fn a_look_alike_in_another_script_is_accepted_with_a_warning() {
    let world = World::center();
    let ran = world.run_words(&["hold", "place", "--tenant", "\u{430}cme", "--authority", "a"]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.contains("two scripts"), "{}", ran.stderr);
}

#[test]
fn hostile_tenants_in_the_data_are_only_names_and_their_neighbours_are_untouched() {
    let world = World::center();
    let hostile = [
        "*",
        "%",
        "t-%",
        "..",
        "t-1/../t-10",
        "'' OR ''1''=''1",
        "x''; DROP TABLE call_record;--",
        "{tenant}",
        "[t]-1",
        "t-1 ",
    ];
    for (n, tenant) in hostile.iter().enumerate() {
        world.sql(
            "calls.db",
            &format!(
                "INSERT INTO call_record (id, tenant_id, started_at) VALUES
            (90{n}, '{tenant}', '2021-02-01 00:00:00'), (91{n}, '{tenant}', '2021-07-02 00:00:00');"
            ),
        );
    }
    let young = "SELECT CAST(count(*) AS TEXT) FROM call_record WHERE id BETWEEN 910 AND 919";
    let old = "SELECT CAST(count(*) AS TEXT) FROM call_record WHERE id BETWEEN 900 AND 909";
    world.ok("request create --tenant t-1 --everything --received 2021-07-01T00:00:00+08:00");
    world.ok("enforce --at 2021-07-02T00:00:00+08:00");
    assert_eq!((world.number("calls.db", old), world.number("calls.db", young)), (10, 10));
    world.ok("hold place --tenant t-10 --authority court");
    world.ok("enforce --at 2021-08-01T00:00:00+08:00");
    assert_eq!(
        (world.number("calls.db", old), world.number("calls.db", young)),
        (0, 10),
        "over age like everybody's"
    );
    assert_eq!(world.calls("t-10"), [21, 22, 23, 24, 25]);
    assert_eq!(world.calls("t-1x"), [42, 43, 44, 45]);
    world.assert_settled();
}

#[test]
fn a_hostile_tenant_in_the_data_reaches_no_file_of_another() {
    for (tenant, key) in [
        ("t-1/../t-10", "rec/t-1/../t-10/b.wav"),
        ("..", "rec/../rec/t-10/b.wav"),
        (".", "rec/./t-10/b.wav"),
        ("t-10/", "rec/t-10//b.wav"),
        ("", "rec//t-10/b.wav"),
        ("T-10", "rec/t-10/b.wav"),
        ("t-10 ", "rec/t-10 /../t-10/b.wav"),
    ] {
        let world = World::center();
        let before = world.objects();
        world.sql(
            "calls.db",
            &format!(
                "DELETE FROM call_record; INSERT INTO call_record (id, tenant_id, started_at,
            recording_key) VALUES (1, '{tenant}', '2021-02-01 00:00:00', '{key}');"
            ),
        );
        world.run("enforce --at 2021-09-01T00:00:00+08:00");
        assert_eq!(world.objects(), before, "{tenant:?} {key}");
        assert_eq!(
            world.number("calls.db", "SELECT CAST(count(*) AS TEXT) FROM call_record"),
            1,
            "{tenant:?}"
        );
    }
}

#[test]
fn the_id_of_a_tenant_that_came_back_is_not_hit_by_an_old_plan() {
    let world = World::center();
    world.ok("tenant terminate t-1 --at 2021-06-01T00:00:00+08:00");
    world.ok("plan --at 2021-06-20T00:00:00+08:00 --out old.json");
    world.ok("enforce --at 2021-06-20T00:00:00+08:00");
    world.ok("tenant reinstate t-1");
    world.sql(
        "calls.db",
        "INSERT INTO call_record (id, tenant_id, started_at) VALUES (77, 't-1', '2021-03-01 00:00:00')",
    );
    world.run("enforce --plan old.json");
    assert_eq!(world.calls("t-1"), [77]);
    assert_eq!(world.calls(TENANTS[1]).len(), 5);
}
