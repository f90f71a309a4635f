//! Exports through the program itself: what a tenant takes along, whole and exact, what never looks finished, and how
//! destruction waits for it. It owns an independent reader of an export, which is Python's.

mod exact;
mod servers;
mod waiting;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use retentiond::ledger::{Ledger as _, NewExport};
use serde_json::Value;

use crate::harness::{TENANTS, World, instant, wait_for};
use crate::tenant;

/// Reads an export with nothing of ours: checks every digest, size and count, and that no file is left out of the
/// manifest. Prints what it found as JSON.
const READER: &str = r#"
import csv, hashlib, json, os, stat, sys
root = sys.argv[1]
manifest = json.load(open(os.path.join(root, 'manifest.json'), 'rb'))
assert manifest['format'] == 'retentiond-export/1'
listed, lines, rows = {}, {}, {}
for entry in manifest['files']:
    path = os.path.join(root, entry['file'])
    data = open(path, 'rb').read()
    assert len(data) == entry['bytes'], entry
    assert hashlib.sha256(data).hexdigest() == entry['sha256'], entry
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600, entry
    assert entry['file'] not in listed
    listed[entry['file']] = entry['sha256']
    if entry['file'].startswith('records/') and entry['file'].endswith('.jsonl'):
        lines[entry['placement']] = [json.loads(line) for line in data.decode().splitlines()]
        assert len(lines[entry['placement']]) == entry['records'], entry
    if entry['file'].startswith('records/') and entry['file'].endswith('.csv'):
        rows[entry['placement']] = list(csv.DictReader(data.decode().splitlines(keepends=True)))
        assert len(rows[entry['placement']]) == entry['records'], entry
there = {os.path.relpath(os.path.join(at, name), root) for at, _, names in os.walk(root) for name in names}
assert there == set(listed) | {'manifest.json'}, there ^ (set(listed) | {'manifest.json'})
for placement in lines.values():
    for line in placement:
        if line.get('file'):
            assert listed[line['file']] == line['sha256'], line
assert sum(len(found) for found in lines.values()) == manifest['records']
assert sum(entry['bytes'] for entry in manifest['files']) == manifest['bytes']
json.dump({'manifest': manifest, 'lines': lines, 'rows': rows}, sys.stdout)
"#;

/// What an independent reader finds in an export; it fails where anything is not as the manifest says.
pub(crate) fn read(folder: &Path) -> Value {
    let output = Command::new("python3").args(["-c", READER]).arg(folder).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All bytes of all files below a folder, with their names.
pub(crate) fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            bytes.extend(path.as_os_str().as_encoded_bytes());
            if path.is_dir() { folders.push(path) } else { bytes.extend(std::fs::read(path).unwrap()) }
        }
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn ids(found: &Value, placement: &str, field: &str) -> BTreeSet<String> {
    let lines = found["lines"][placement].as_array().unwrap();
    lines.iter().map(|line| line["fields"][field].to_string().replace('"', "")).collect()
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|&id| id.to_owned()).collect()
}

#[test]
fn a_tenant_takes_its_records_and_recordings_along_and_nothing_of_a_neighbour() {
    let world = World::center();
    let before = world.others("");
    for (n, tenant) in (1..).zip(TENANTS) {
        let to = format!("taken-{n}");
        let answer = world.ok(&format!("export --tenant {tenant} --to {to}"));
        assert_eq!(answer["state"], "finished", "{answer:#}");
        assert_eq!(answer["records"], 9, "five calls, two agents, two recordings: {answer:#}");
        let found = read(&world.path(&to));
        let own: Vec<String> = (1..=5).map(|m| format!("{n}{m}")).collect();
        assert_eq!(ids(&found, "call-records", "id"), own.iter().cloned().collect());
        assert_eq!(ids(&found, "agents", "staff_id"), set(&["A1", "A2"]));
        assert_eq!(found["rows"]["call-records"][0]["caller"], "+6591110001");
        assert_eq!(found["lines"]["call-records"][3]["fields"]["started_at"], Value::Null);
        assert_eq!(found["manifest"]["tenant"], tenant);
        for file in ["a", "b"] {
            let bytes =
                std::fs::read(world.path(&format!("{to}/objects/recordings/rec/{tenant}/{file}.wav")));
            assert_eq!(String::from_utf8(bytes.unwrap()).unwrap(), format!("{file} of {tenant}"));
        }
        let bytes = bytes_below(&world.path(&to));
        assert!(holds(&bytes, &format!("note of {tenant}\"")), "its own notes are there");
        for other in TENANTS.iter().filter(|other| **other != tenant) {
            for mark in [format!("note of {other}\""), format!("rec/{other}/"), format!("of {other}\n")] {
                assert!(!holds(&bytes, &mark), "{mark} in the export of {tenant}");
            }
        }
    }
    assert_eq!(world.others(""), before, "taking along changes nothing");
    let listed = world.ok("export list");
    assert_eq!(listed["exports"].as_array().unwrap().len(), 4);
    assert!(listed["exports"].as_array().unwrap().iter().all(|row| row["state"] == "finished"));
    world.assert_settled();
}

#[test]
fn only_the_categories_named_are_taken_and_an_unknown_one_is_a_usage_error() {
    let world = World::center();
    world.ok("export --tenant t-1 --to agents --category agent-info");
    let found = read(&world.path("agents"));
    assert_eq!(ids(&found, "agents", "staff_id"), set(&["A1", "A2"]));
    assert!(found["lines"].get("call-records").is_none(), "{found:#}");
    world.exits(2, "export --tenant t-1 --to nothing --category agent-infos");
    world.exits(2, "export --tenant t-1");
    world.exits(2, "export --to nothing");
    assert!(!world.path("nothing").exists());
    assert_eq!(world.ok("export list")["exports"].as_array().unwrap().len(), 1, "nothing else was recorded");
}

#[test]
fn a_folder_that_holds_something_else_is_refused_and_left_as_it_is() {
    let world = World::center();
    world.write("full/note.txt", "mine");
    world.exits(2, "export --tenant t-1 --to full");
    assert_eq!(std::fs::read_to_string(world.path("full/note.txt")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(world.path("full")).unwrap().count(), 1);
    world.ok("export --tenant t-1 --to own");
    world.exits(2, "export --tenant t-10 --to own");
    world.exits(2, "export --tenant t-1 --to own");
    assert_eq!(read(&world.path("own"))["manifest"]["tenant"], "t-1");
    // Where a store or the audit log is, an export would become data, or damage.
    for own in ["objects", "objects/rec/t-1/new", "audit", ".", "policies/x"] {
        world.exits(2, &format!("export --tenant t-1 --to {own}"));
    }
    world.exits(2, "export --tenant t-1 --to s3://nowhere/x");
}

#[test]
fn a_target_that_lies_in_that_of_another_export_or_holds_it_is_refused_at_the_door() {
    let world = World::center();
    let asked = wait_for(async {
        let new = NewExport {
            tenant: tenant("t-10"),
            categories: Vec::new(),
            target: world.path("out/b").to_str().unwrap().to_owned(),
            between: None,
        };
        world.ledger().await.ask_export(&new, instant("2021-06-01T00:00:00Z")).await.unwrap()
    });
    for near in ["out", "out/b", "out/b/c", "out/b/records"] {
        let refused = world.exits(2, &format!("export --tenant t-1 --to {near}"));
        assert!(refused.stderr.contains(asked.export_id.as_str()), "{}", refused.stderr);
    }
    world.ok("export --tenant t-1 --to out/bc");
    world.ok("export --tenant t-10 --to out/b");
    world.exits(2, "export --tenant t-1 --to out/b/c");
    assert_eq!(world.ok("export list")["exports"].as_array().unwrap().len(), 2, "nothing else was recorded");
    // Nor is one begun that was asked for before anybody looked.
    wait_for(async {
        let new = NewExport {
            tenant: tenant("t-1x"),
            categories: Vec::new(),
            target: world.path("out/b/c").to_str().unwrap().to_owned(),
            between: None,
        };
        world.ledger().await.ask_export(&new, instant("2021-06-01T00:00:00Z")).await.unwrap()
    });
    world.exits(2, "export --tenant t-1x --to out/b/c");
    assert!(!world.path("out/b/c").exists());
    // One that was finished and taken away is in nobody's way.
    std::fs::remove_dir_all(world.path("out/b")).unwrap();
    world.ok("export --tenant t-1x --to out/b/c");
}

#[test]
fn names_that_prove_another_tenant_are_left_and_missing_recordings_are_counted() {
    let world = World::center();
    world.sql(
        "calls.db",
        "UPDATE call_record SET recording_key = 'rec/t-10/a.wav' WHERE id = 12;
         UPDATE call_record SET recording_key = 'rec/t-1/../t-10/a.wav' WHERE id = 14;
         UPDATE call_record SET recording_key = 'rec/t-1/a.wav' WHERE id = 15;",
    );
    std::fs::remove_file(world.path("objects/rec/t-1/b.wav")).unwrap();
    let answer = world.ok("export --tenant t-1 --to out");
    let recordings = answer["placements"].as_array().unwrap().iter().find(|p| p["placement"] == "recordings");
    let recordings = recordings.unwrap();
    assert_eq!(
        (&recordings["records"], &recordings["without_bytes"], &recordings["not_proven"]),
        (&2.into(), &1.into(), &2.into()),
        "a once, b without bytes: {answer:#}"
    );
    let found = read(&world.path("out"));
    assert_eq!(found["lines"]["call-records"].as_array().unwrap().len(), 5);
    assert!(!holds(&bytes_below(&world.path("out")), "a of t-10"));
}

#[test]
fn what_broke_off_never_looks_finished_and_the_same_command_takes_it_up_again() {
    let world = World::center();
    // A file that cannot be read: everything before it is written.
    std::fs::remove_file(world.path("objects/rec/t-1/b.wav")).unwrap();
    std::os::unix::fs::symlink("a.wav", world.path("objects/rec/t-1/b.wav")).unwrap();
    let failed = world.exits(1, "export --tenant t-1 --to out");
    assert!(!failed.stderr.contains("b.wav"), "no name of a file is in an error: {}", failed.stderr);
    assert!(!world.path("out/manifest.json").exists());
    assert!(world.path("out/records/call-records.jsonl").exists(), "it had begun");
    assert_eq!(world.ok("export list")["exports"][0]["state"], "failed");
    world.exits(2, "export --tenant t-10 --to out");
    world.write("out/objects/recordings/rec/t-1/left.wav", "left by a try that died");
    std::fs::remove_file(world.path("objects/rec/t-1/b.wav")).unwrap();
    world.write("objects/rec/t-1/b.wav", "b of t-1");
    let done = world.ok("export --tenant t-1 --to out");
    assert_eq!(done["records"], 9);
    read(&world.path("out"));
    assert_eq!(world.ok("export list")["exports"].as_array().unwrap().len(), 1, "the same export");
}

#[test]
fn a_process_that_dies_before_the_ledger_knows_is_found_out_by_reading_back() {
    let world = World::center();
    world.ok("export --tenant t-1 --to out");
    // As if it had died after the manifest took its name.
    world.sql("retentiond.db", "UPDATE export SET state = 'failed', manifest = NULL, records = 0");
    let again = world.ok("export --tenant t-1 --to out");
    assert_eq!((&again["state"], &again["records"]), (&"finished".into(), &9.into()));
    // And where a byte has changed since, it is no export.
    world.sql("retentiond.db", "UPDATE export SET state = 'failed', manifest = NULL, records = 0");
    let file = world.path("out/objects/recordings/rec/t-1/a.wav");
    std::fs::write(&file, "A of t-1").unwrap();
    let failed = world.exits(1, "export --tenant t-1 --to out");
    assert!(failed.stderr.contains("does not read back"), "{}", failed.stderr);
    assert_eq!(world.ok("export list")["exports"][0]["state"], "failed");
}

#[test]
fn a_full_disk_fails_the_export_and_leaves_no_manifest() {
    let world = World::center();
    world.write("objects/rec/t-1/a.wav", &"sound ".repeat(1_500_000));
    // No file may grow beyond 4 MiB; to the program that is a disk that is full.
    let command = format!(
        "trap '' XFSZ; ulimit -f 8192; exec {} export --tenant t-1 --to out --json",
        env!("CARGO_BIN_EXE_retentiond")
    );
    let output = Command::new("sh").args(["-c", &command]).current_dir(world.path(".")).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!world.path("out/manifest.json").exists());
    let row = &world.ok("export list")["exports"][0];
    assert_eq!(row["state"], "failed", "{row:#}");
    assert!(row["failure"].as_str().unwrap().contains("too large"), "{row:#}");
    world.ok("export --tenant t-1 --to out");
    read(&world.path("out"));
}
