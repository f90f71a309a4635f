//! Zeroed means zeroed: no byte of what was erased stays in the database, beside it, or in the file's old blocks.

use std::io::{Read, Seek, SeekFrom};

use crate::harness::{World, placement};

/// Words that occur nowhere else.
const WORDS: [&str; 3] = ["sentinel-of-the-note-7f3a", "+6598127734", "sentinel-of-the-file-91cd"];

fn center(journal: &str) -> World {
    let world = World::center();
    world.zero_requests();
    let [note, phone, file] = WORDS;
    world.sql(
        "calls.db",
        &format!(
            "PRAGMA journal_mode = {journal};
        CREATE INDEX call_record_caller ON call_record (caller);
        UPDATE call_record SET note = '{note}', caller = '{phone}' WHERE id IN (11, 12);"
        ),
    );
    // Rows that moved leave their bytes on free pages and in the slack of others.
    world.sql(
        "calls.db",
        &format!(
            "UPDATE call_record SET note = note || '{}' WHERE id = 11;
        UPDATE call_record SET note = '{note}' WHERE id = 11;",
            "x".repeat(9_000)
        ),
    );
    world.write("objects/rec/t-1/a.wav", &format!("{file} {}", file.repeat(3_000)));
    world
}

/// Where one of the words still is.
fn traces(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for file in world.hashes().keys() {
        let bytes = std::fs::read(world.path(file)).expect("a file");
        for word in WORDS {
            if bytes.windows(word.len()).any(|window| window == word.as_bytes()) {
                found.push(format!("{word} in {file}"));
            }
        }
    }
    found
}

#[test]
fn no_byte_of_a_zeroed_record_stays_in_any_file_in_either_journal_mode() {
    for journal in ["WAL", "DELETE"] {
        let world = center(journal);
        assert!(traces(&world).len() >= 3, "the search finds what is there: {:?}", traces(&world));
        let others = world.others("t-1");
        let mut open = std::fs::File::open(world.path("objects/rec/t-1/a.wav")).unwrap();
        let request = world.ok(&format!(
            "request create --tenant t-1 --subject phone={} --received 2021-07-01T00:00:00+08:00",
            WORDS[1]
        ));
        let report = world.ok("enforce --at 2021-07-02T00:00:00+08:00");
        assert_eq!(placement(&report, "call-records")["erased"], 2, "{journal}");
        assert_eq!(placement(&report, "call-records")["level"], "scrubbed", "{journal}");
        assert_eq!(traces(&world), Vec::<String>::new(), "{journal}");
        let mut old = Vec::new();
        open.seek(SeekFrom::Start(0)).unwrap();
        open.read_to_end(&mut old).unwrap();
        assert!(old.iter().all(|byte| *byte == 0), "{journal}: the old blocks of the file are zeroed");
        assert_eq!(world.calls("t-1"), [13, 14, 15]);
        assert_eq!(world.others("t-1"), others);
        assert_eq!(world.texts("calls.db", "PRAGMA integrity_check"), ["ok"]);
        assert_eq!(world.texts("calls.db", "PRAGMA journal_mode"), [journal.to_lowercase()]);
        let shown = world.ok(&format!("request show {}", request["request_id"].as_str().unwrap()));
        assert_eq!(shown["state"], "completed");
        world.assert_settled();
    }
}

#[test]
fn a_delete_claims_no_more_than_deleted() {
    let world = World::center();
    world.ok("request create --tenant t-1 --everything --received 2021-07-01T00:00:00+08:00");
    let report = world.ok("enforce --at 2021-07-02T00:00:00+08:00");
    for one in report["placements"].as_array().unwrap() {
        assert_eq!(one["level"], "deleted");
    }
}

#[test]
fn a_reader_that_keeps_the_old_pages_fails_the_scrub_and_the_next_run_pays_it() {
    let world = center("WAL");
    let request = world.ok(&format!(
        "request create --tenant t-1 --subject phone={} --received 2021-07-01T00:00:00+08:00",
        WORDS[1]
    ));
    let show = format!("request show {}", request["request_id"].as_str().unwrap());
    let reading = crate::harness::wait_for(async {
        let mut connection = world.connect("calls.db").await;
        let begun = sqlx::raw_sql("BEGIN; SELECT count(*) FROM call_record").execute(&mut connection).await;
        begun.unwrap();
        connection
    });
    let ran = world.exits(1, "enforce --at 2021-07-02T00:00:00+08:00");
    assert_eq!(ran.json["status"], "failed");
    assert_eq!(world.calls("t-1"), [13, 14, 15]);
    assert_ne!(world.ok(&show)["state"], "completed");
    drop(reading);
    world.ok("enforce --at 2021-07-02T00:00:00+08:00");
    assert_eq!(traces(&world), Vec::<String>::new());
    assert_eq!(world.ok(&show)["state"], "completed");
    world.assert_settled();
}
