//! The audit log from outside: written, attacked byte by byte and entry by entry, and looked at again.
//! It owns the attacks; hashing and formats are tested where they are.

mod fake;
mod sqlite;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use chrono::{DateTime, Utc};
use retentiond::audit::{self, AuditError, Verdict, merkle};
use retentiond::id::{Category, PlacementId, PlanId, RequestId, RunId, StepId, StoreId, TenantId};
use retentiond::ledger::{ErasedScope, Head, RequestRow, RequestState, RunRow, StepOutcome};
use retentiond::plan::Counts;
use retentiond::policy::Level;

use fake::FakeLedger;

struct World {
    _root: tempfile::TempDir,
    dir: PathBuf,
    ledger: FakeLedger,
}

impl World {
    /// A log of so many entries (the first one records the key), published.
    async fn published(entries: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("audit");
        let world = Self { _root: root, dir, ledger: FakeLedger::with_entries(entries - 1) };
        assert_eq!(world.publish().await.size, entries as u64);
        world
    }

    async fn publish(&self) -> Head {
        audit::publish(&self.ledger, &self.dir, now()).await.unwrap()
    }

    async fn refused(&self) -> String {
        match audit::publish(&self.ledger, &self.dir, now()).await.unwrap_err() {
            AuditError::Refused(reason) => reason,
            other => panic!("another error: {other}"),
        }
    }

    async fn alone(&self) -> Verdict {
        audit::verify(&self.dir, None, now()).await.unwrap()
    }

    async fn with_ledger(&self) -> Verdict {
        audit::verify(&self.dir, Some(&self.ledger), now()).await.unwrap()
    }

    async fn doubt(&self) -> Option<String> {
        audit::doubt(&self.dir, Some(&self.ledger)).await.unwrap()
    }

    fn files(&self) -> Vec<String> {
        files_below(&self.dir)
    }
}

fn now() -> DateTime<Utc> {
    "2026-01-31T04:00:00Z".parse().unwrap()
}

fn files_below(dir: &Path) -> Vec<String> {
    fn walk(at: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for name in files_below(from) {
        fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

fn messages(verdict: &Verdict) -> Vec<&str> {
    verdict.findings.iter().map(|finding| finding.message.as_str()).collect()
}

/// Puts other entries into the one bundle of a small log.
fn rewrite_bundle(dir: &Path, width: usize, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let path = dir.join(format!("tile/entries/000.p/{width}"));
    let bytes = fs::read(&path).unwrap();
    let mut entries: Vec<Vec<u8>> = audit::entry::split(&bytes).unwrap().iter().map(|e| e.to_vec()).collect();
    change(&mut entries);
    let mut bundle = Vec::new();
    for entry in entries {
        audit::entry::append(&mut bundle, std::str::from_utf8(&entry).unwrap()).unwrap();
    }
    fs::write(path, bundle).unwrap();
}

#[tokio::test]
async fn a_published_log_has_the_agreed_files_and_nothing_else() {
    let world = World::published(300).await;
    assert_eq!(
        world.files(),
        [
            "checkpoint",
            "log.key",
            "log.key.pub",
            "tile/0/000",
            "tile/0/001.p/44",
            "tile/1/000.p/1",
            "tile/entries/000",
            "tile/entries/001.p/44",
        ]
    );
    let mode = fs::metadata(world.dir.join("log.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let verdict = world.with_ledger().await;
    assert!(verdict.sound, "{:?}", verdict.findings);
    assert_eq!(verdict.entries, 300);
    assert_eq!(verdict.checked_at, now());
    assert_eq!(verdict.head, world.ledger.rows().head.unwrap().root);
    assert_eq!(verdict.head.len(), 64);
    assert_eq!(world.alone().await, verdict);
}

#[tokio::test]
async fn nothing_recorded_makes_no_log_and_is_sound() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("audit");
    let ledger = FakeLedger::with_entries(0);
    assert_eq!(audit::publish(&ledger, &dir, now()).await.unwrap().size, 0);
    assert!(!dir.exists());
    let verdict = audit::verify(&dir, Some(&ledger), now()).await.unwrap();
    assert!(verdict.sound && verdict.entries == 0);
    assert_eq!(audit::doubt(&dir, None).await.unwrap(), None);
    assert!(matches!(audit::prove(&dir, 0).await, Err(AuditError::Usage(_))));
}

#[tokio::test]
async fn growing_by_steps_gives_the_same_files_as_growing_at_once() {
    let world = World::published(2).await;
    for step in [1, 253, 1, 254, 1, 2, 600] {
        world.ledger.grow(step);
        world.publish().await;
        let verdict = world.with_ledger().await;
        assert!(verdict.sound, "{:?}", verdict.findings);
    }
    let at_once = world._root.path().join("at-once");
    fs::create_dir(&at_once).unwrap();
    for name in ["log.key", "log.key.pub"] {
        fs::copy(world.dir.join(name), at_once.join(name)).unwrap();
    }
    audit::publish(&world.ledger, &at_once, now()).await.unwrap();
    assert_eq!(files_below(&at_once), world.files());
    for name in world.files() {
        assert_eq!(
            fs::read(at_once.join(&name)).unwrap(),
            fs::read(world.dir.join(&name)).unwrap(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn publishing_again_without_news_changes_no_file() {
    let world = World::published(5).await;
    let times = |world: &World| -> Vec<_> {
        world.files().iter().map(|f| fs::metadata(world.dir.join(f)).unwrap().modified().unwrap()).collect()
    };
    let before = times(&world);
    assert_eq!(world.publish().await, world.ledger.rows().head.unwrap());
    assert_eq!(times(&world), before);
}

#[tokio::test]
async fn a_flipped_byte_in_any_file_is_found() {
    let world = World::published(3).await;
    let broken = world._root.path().join("broken");
    copy(&world.dir, &broken);
    for name in world.files().iter().filter(|name| *name != "log.key") {
        let whole = fs::read(world.dir.join(name)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(broken.join(name), &bytes).unwrap();
            let verdict = audit::verify(&broken, None, now()).await.unwrap();
            assert!(!verdict.sound, "{name}, byte {at}");
            assert!(!verdict.findings.is_empty());
        }
        fs::write(broken.join(name), &whole[..whole.len() - 1]).unwrap();
        let cut = audit::verify(&broken, None, now()).await.unwrap();
        // The one byte that may go is the newline behind the public key.
        assert_eq!(cut.sound, name == "log.key.pub", "{name}, cut");
        fs::remove_file(broken.join(name)).unwrap();
        assert!(!audit::verify(&broken, None, now()).await.unwrap().sound, "{name}, missing");
        fs::write(broken.join(name), &whole).unwrap();
        assert!(audit::verify(&broken, None, now()).await.unwrap().sound);
    }
}

#[tokio::test]
async fn a_changed_entry_is_named_by_its_index() {
    let world = World::published(300).await;
    let path = world.dir.join("tile/entries/000");
    let text = String::from_utf8(fs::read(&path).unwrap()).unwrap();
    fs::write(&path, text.replace(r#""n":77}"#, r#""n":78}"#)).unwrap();
    let verdict = world.alone().await;
    assert_eq!(verdict.findings[0].index, Some(77));
    assert_eq!(verdict.findings[0].message, "it is not the entry whose hash is in `tile/0/000`");
    let verdict = world.with_ledger().await;
    assert!(verdict.findings.iter().any(|f| f.index == Some(77) && f.message.contains("the ledger")));
}

#[tokio::test]
async fn dropped_swapped_doubled_inserted_and_cut_entries_are_found() {
    type Attack = fn(&mut Vec<Vec<u8>>);
    let attacks: [(&str, Attack); 6] = [
        ("dropped", |entries| drop(entries.remove(7))),
        ("swapped", |entries| entries.swap(3, 4)),
        ("doubled", |entries| entries[6] = entries[5].clone()),
        ("doubled and longer", |entries| entries.insert(6, entries[5].clone())),
        ("inserted and cut", |entries| {
            entries.insert(9, br#"{"kind":"test","n":99}"#.to_vec());
            entries.pop();
        }),
        ("cut", |entries| drop(entries.pop())),
    ];
    for (name, attack) in attacks {
        let world = World::published(20).await;
        rewrite_bundle(&world.dir, 20, attack);
        let verdict = world.alone().await;
        assert!(!verdict.sound && verdict.findings.iter().any(|f| f.index.is_some()), "{name}");
        assert!(!world.with_ledger().await.sound, "{name}");
    }
}

#[tokio::test]
async fn entries_that_are_not_canonical_are_named_although_signed_by_a_careless_log() {
    let world = World::published(3).await;
    for body in [r#"{"a":1,"a":2}"#, r#"{"a":0.5}"#, r#"{"b":1,"a":1}"#, r#"{ "a":1}"#] {
        world.ledger.change(|rows| rows.entries.push(body.into()));
        assert!(world.refused().await.contains("entry 3 is not fit for the log"), "{body}");
        world.ledger.change(|rows| drop(rows.entries.pop()));
    }
    rewrite_bundle(&world.dir, 3, |entries| entries[1] = br#"{"a":1,"a":2}"#.to_vec());
    let verdict = world.alone().await;
    assert_eq!(verdict.findings[0].index, Some(1));
    assert_eq!(verdict.findings[0].message, "its JSON is not canonical");
}

#[tokio::test]
async fn an_entry_that_is_too_large_is_refused() {
    let world = World::published(3).await;
    world.ledger.change(|rows| rows.entries.push(format!(r#"{{"a":"{}"}}"#, "x".repeat(8_185))));
    assert!(world.refused().await.contains("larger than 8 KiB"));
    assert_eq!(world.ledger.rows().head.unwrap().size, 3, "nothing was promised");
}

#[tokio::test]
async fn a_rolled_back_log_is_found_with_the_ledger_and_healed_from_it() {
    let world = World::published(20).await;
    let older = world._root.path().join("older");
    copy(&world.dir, &older);
    world.ledger.grow(300);
    let head = world.publish().await;
    copy(&older, &world.dir);
    let verdict = world.with_ledger().await;
    assert!(!verdict.sound);
    assert!(messages(&verdict)[0].starts_with("the log is older than the ledger's head"), "{verdict:?}");
    assert!(world.alone().await.sound, "nobody can tell from the older copy alone");
    assert_eq!(world.publish().await, head);
    assert!(world.with_ledger().await.sound);
}

#[tokio::test]
async fn a_ledger_that_is_older_lost_or_another_is_doubted() {
    let world = World::published(20).await;
    assert_eq!(world.doubt().await, None);
    let older = world.ledger.rows();
    world.ledger.grow(5);
    assert_eq!(world.doubt().await, None, "a ledger may be ahead");
    world.publish().await;

    world.ledger.change(|rows| *rows = older.clone());
    assert!(
        world.doubt().await.unwrap().starts_with("the ledger is older than the audit log: it has 20 entries")
    );
    assert!(world.refused().await.starts_with("the ledger is older"));
    assert!(messages(&world.with_ledger().await)[0].starts_with("the ledger is older than the log"));

    // The older ledger has grown again to the very same size: its head gives it away.
    world.ledger.grow(5);
    assert!(world.doubt().await.unwrap().contains("it knows of 20 published entries, the log has 25"));
    assert!(world.refused().await.starts_with("the ledger is older"));

    let nobody = audit::doubt(&world.dir, None).await.unwrap().unwrap();
    assert!(nobody.starts_with("there is no ledger, but an audit log of 25 entries"));
    let empty = FakeLedger::with_entries(0);
    assert!(
        audit::doubt(&world.dir, Some(&empty)).await.unwrap().unwrap().starts_with("the ledger is older")
    );
    let mut neighbour = FakeLedger::with_entries(25);
    neighbour.id = "led-10".into();
    let other = audit::doubt(&world.dir, Some(&neighbour)).await.unwrap().unwrap();
    assert!(other.contains("belongs to another ledger"), "{other}");
}

#[tokio::test]
async fn a_log_whose_checkpoint_was_taken_away_is_doubted_beside_an_empty_ledger() {
    let world = World::published(3).await;
    fs::remove_file(world.dir.join("checkpoint")).unwrap();
    assert!(audit::doubt(&world.dir, None).await.unwrap().is_some());
    let empty = FakeLedger::with_entries(0);
    assert!(audit::doubt(&world.dir, Some(&empty)).await.unwrap().is_some());
    assert!(!world.alone().await.sound);
    fs::remove_dir_all(world.dir.join("tile")).unwrap();
    let verdict = world.with_ledger().await;
    assert!(messages(&verdict)[0].starts_with("the log is older than the ledger's head"));
}

#[tokio::test]
async fn a_fork_is_neither_signed_nor_overlooked() {
    let world = World::published(20).await;
    world.ledger.change(|rows| {
        rows.entries[19] = r#"{"kind":"test","n":1000}"#.into();
        rows.head = Some(Head { size: 20, root: "00".repeat(32) });
    });
    assert!(world.doubt().await.unwrap().starts_with("the audit log has forked: at 20 entries"));
    world.ledger.grow(1);
    assert!(world.refused().await.starts_with("the audit log has forked"));
    let verdict = world.with_ledger().await;
    assert!(messages(&verdict)[0].starts_with("the log has forked"));
    assert!(verdict.findings.iter().any(|f| f.index == Some(19)));
}

#[tokio::test]
async fn an_entry_changed_in_the_ledger_is_found_and_never_signed_over() {
    for index in [1, 299] {
        let world = World::published(300).await;
        world.ledger.change(|rows| rows.entries[index] = r#"{"kind":"test","n":1000}"#.into());
        let verdict = world.with_ledger().await;
        assert_eq!(verdict.findings[0].index, Some(index as u64));
        assert!(messages(&verdict).iter().any(|m| m.contains("one was changed in the ledger")));
        // With the edge gone all would be made anew from the ledger, were it not compared first.
        fs::remove_file(world.dir.join("tile/0/001.p/44")).unwrap();
        world.ledger.grow(1);
        let before: Vec<_> = world.files().iter().map(|f| fs::read(world.dir.join(f)).unwrap()).collect();
        assert!(world.refused().await.contains("are not those that were signed"));
        let after: Vec<_> = world.files().iter().map(|f| fs::read(world.dir.join(f)).unwrap()).collect();
        assert_eq!(before, after, "the evidence is untouched");
    }
}

#[tokio::test]
async fn a_gap_in_the_ledger_is_refused() {
    let world = World::published(20).await;
    world.ledger.change(|rows| {
        rows.entries.remove(5);
        rows.entries.push("{}".into());
    });
    assert!(world.refused().await.contains("is not the one that was signed"));
    assert!(!world.with_ledger().await.sound);
}

#[tokio::test]
async fn a_log_signed_again_with_another_key_is_found() {
    let world = World::published(20).await;
    // Someone publishes the same entries with a key of their own.
    let other = World::published(20).await;
    copy(&world.dir, &other.dir);
    for name in ["log.key", "log.key.pub", "checkpoint"] {
        fs::remove_file(other.dir.join(name)).unwrap();
    }
    fs::remove_dir_all(other.dir.join("tile")).unwrap();
    other.ledger.change(|rows| *rows = fake::Rows { head: None, ..world.ledger.rows() });
    other.publish().await;
    fs::copy(other.dir.join("checkpoint"), world.dir.join("checkpoint")).unwrap();
    assert_eq!(
        messages(&world.alone().await)[0],
        "the checkpoint is not accepted: it is not signed by the log's key"
    );
    // With the public key replaced too, the log's own first entry and the ledger tell.
    let verdict = audit::verify(&other.dir, Some(&world.ledger), now()).await.unwrap();
    assert!(!verdict.sound);
}

#[tokio::test]
async fn a_replaced_public_key_contradicts_the_entry_that_records_it() {
    let world = World::published(20).await;
    let entry = world.ledger.rows().entries[19].clone();
    let recorded = serde_json::from_str::<serde_json::Value>(&entry).unwrap();
    let text = fs::read_to_string(world.dir.join("log.key.pub")).unwrap();
    assert_eq!(recorded["verifier"].as_str().unwrap(), text.trim_end());

    // A thief of nothing but the folder signs the very same tree with a key of their own.
    let thief = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let head = world.ledger.rows().head.unwrap();
    let mut root = [0; 32];
    hex::decode_to_slice(&head.root, &mut root).unwrap();
    let checkpoint =
        audit::checkpoint::Checkpoint { origin: "retentiond/led-1".into(), size: head.size, root };
    fs::write(world.dir.join("checkpoint"), checkpoint.sign(&thief).unwrap()).unwrap();
    let key = audit::checkpoint::VerifierKey::new("retentiond/led-1", thief.verifying_key()).unwrap();
    fs::write(world.dir.join("log.key.pub"), format!("{key}\n")).unwrap();
    assert_eq!(messages(&world.alone().await), ["`log.key.pub` is not the key that the log itself records"]);
    assert_eq!(world.refused().await, "log.key.pub is not the public half of log.key");
}

#[tokio::test]
async fn a_key_that_is_missing_or_open_to_others_stops_publishing() {
    let world = World::published(3).await;
    let key = world.dir.join("log.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(world.refused().await.contains("chmod 600"));
    fs::remove_file(&key).unwrap();
    world.ledger.grow(1);
    assert!(world.refused().await.starts_with("log.key is missing, but the audit log is not empty"));
    fs::remove_dir_all(&world.dir).unwrap();
    assert!(
        world.refused().await.starts_with("log.key is missing"),
        "the ledger remembers that there was a log"
    );
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn a_checkpoint_with_carriage_returns_is_refused() {
    let world = World::published(3).await;
    let path = world.dir.join("checkpoint");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace('\n', "\r\n")).unwrap();
    assert!(messages(&world.alone().await)[0].contains("it holds a control character"));
    assert!(world.refused().await.contains("checkpoint is not accepted"));
    assert!(world.doubt().await.unwrap().contains("checkpoint is not accepted"));
}

#[tokio::test]
async fn surplus_files_and_links_are_found() {
    let world = World::published(3).await;
    for name in
        ["notes.txt", "tile/0/001", "tile/entries/000.p/4", "tile/0/000.p/2", "tile/x/000", "tile/0/000.p/x"]
    {
        let path = world.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, [0; 64]).unwrap();
        let verdict = world.alone().await;
        assert_eq!(messages(&verdict), [format!("`{name}` does not belong to the log")]);
        fs::remove_file(path).unwrap();
    }
    let moved = world._root.path().join("moved");
    fs::rename(world.dir.join("tile/0/000.p/3"), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, world.dir.join("tile/0/000.p/3")).unwrap();
    assert!(!world.alone().await.sound, "a link is not the log's own file");
}

#[tokio::test]
async fn a_crash_before_the_signature_is_completed_by_the_next_publication() {
    let world = World::published(250).await;
    world.ledger.grow(10);
    world.ledger.change(|rows| rows.dies_at_head = true);
    assert!(audit::publish(&world.ledger, &world.dir, now()).await.is_err());
    assert_eq!(world.ledger.rows().head.unwrap().size, 260);
    assert!(world.alone().await.findings.iter().all(|f| f.message.contains("does not belong")));
    fs::write(world.dir.join(".new"), b"half a ti").unwrap();

    // What was promised for 260 entries binds, although nothing was signed.
    let promised = world.ledger.rows();
    world.ledger.change(|rows| {
        rows.dies_at_head = false;
        rows.entries[255] = "{}".into();
    });
    assert!(world.refused().await.contains("first 260 entries are not those that were signed"));
    world.ledger.change(|rows| *rows = fake::Rows { dies_at_head: false, ..promised });
    world.ledger.grow(1);
    world.publish().await;
    let verdict = world.with_ledger().await;
    assert!(verdict.sound, "{:?}", verdict.findings);
    assert_eq!(
        world.files(),
        [
            "checkpoint",
            "log.key",
            "log.key.pub",
            "tile/0/000",
            "tile/0/001.p/5",
            "tile/1/000.p/1",
            "tile/entries/000",
            "tile/entries/001.p/5",
        ]
    );
}

#[tokio::test]
async fn missing_and_damaged_tiles_are_made_anew_from_the_ledger() {
    let world = World::published(600).await;
    let whole = world._root.path().join("whole");
    copy(&world.dir, &whole);
    fs::remove_dir_all(world.dir.join("tile")).unwrap();
    world.publish().await;
    assert!(world.with_ledger().await.sound, "the edge was missing: all was made anew");
    fs::write(world.dir.join("tile/0/000"), [0; 8192]).unwrap();
    fs::remove_file(world.dir.join("tile/entries/001")).unwrap();
    world.publish().await;
    assert!(!world.with_ledger().await.sound, "publishing looks at the edge only");
    audit::rebuild(&world.ledger, &world.dir, now()).await.unwrap();
    assert!(world.with_ledger().await.sound);
    for name in world.files() {
        assert_eq!(fs::read(whole.join(&name)).unwrap(), fs::read(world.dir.join(&name)).unwrap(), "{name}");
    }
}

#[tokio::test]
async fn every_entry_can_be_proven_to_an_outsider() {
    let world = World::published(300).await;
    let note = fs::read_to_string(world.dir.join("checkpoint")).unwrap();
    for index in [0, 1, 255, 256, 298, 299] {
        let proof = audit::prove(&world.dir, index).await.unwrap();
        let (head, checkpoint) = proof.split_once("\n\n").unwrap();
        assert_eq!(checkpoint, note);
        let mut lines = head.lines();
        assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
        assert_eq!(lines.next(), Some(format!("index {index}").as_str()));
        let hashes: Vec<merkle::Hash> = lines
            .map(|line| base64::engine::general_purpose::STANDARD.decode(line).unwrap().try_into().unwrap())
            .collect();
        let mut root = [0; 32];
        hex::decode_to_slice(world.ledger.rows().head.unwrap().root, &mut root).unwrap();
        let leaf = merkle::leaf_hash(world.ledger.rows().entries[index as usize].as_bytes());
        assert!(merkle::verify_inclusion(&leaf, index, 300, &hashes, &root), "{index}");
    }
    assert!(matches!(audit::prove(&world.dir, 300).await, Err(AuditError::Usage(_))));
    assert!(matches!(audit::prove(&world.dir, u64::MAX).await, Err(AuditError::Usage(_))));
    fs::write(world.dir.join("tile/0/000"), [0; 8192]).unwrap();
    assert!(matches!(audit::prove(&world.dir, 7).await, Err(AuditError::Damaged(_))));
}

#[tokio::test]
async fn an_exported_copy_verifies_by_itself_and_has_no_signing_key() {
    let world = World::published(300).await;
    let to = world._root.path().join("copy");
    let head = audit::export(&world.dir, &to).await.unwrap();
    assert_eq!(head, world.ledger.rows().head.unwrap());
    assert!(!to.join("log.key").exists());
    let lines = fs::read_to_string(to.join("entries.jsonl")).unwrap();
    assert!(lines.lines().eq(world.ledger.rows().entries.iter()));
    assert!(audit::verify(&to, None, now()).await.unwrap().sound);
    assert!(matches!(audit::export(&world.dir, &to).await, Err(AuditError::Usage(_))));

    fs::write(to.join("entries.jsonl"), lines.replace(r#""n":77}"#, r#""n":78}"#)).unwrap();
    let verdict = audit::verify(&to, None, now()).await.unwrap();
    assert_eq!(verdict.findings[0].index, Some(77));
    fs::write(to.join("entries.jsonl"), format!("{lines}{{}}\n")).unwrap();
    assert!(!audit::verify(&to, None, now()).await.unwrap().sound);
}

#[tokio::test]
async fn show_gives_entries_as_json() {
    let world = World::published(5).await;
    let shown = audit::show(&world.ledger, 1, 2).await.unwrap();
    assert_eq!(serde_json::to_string(&shown[0]).unwrap(), r#"{"index":1,"entry":{"kind":"test","n":1}}"#);
    assert_eq!(shown.len(), 2);
}

#[tokio::test]
async fn findings_are_listed_up_to_a_limit_and_counted_beyond_it() {
    let world = World::published(256).await;
    let other = World::published(256).await;
    other.ledger.change(|rows| {
        rows.entries.iter_mut().for_each(|entry| *entry = entry.replace("test", "tess"));
    });
    let verdict = audit::verify(&world.dir, Some(&other.ledger), now()).await.unwrap();
    assert_eq!(verdict.findings.len(), 201);
    assert!(verdict.findings[200].message.ends_with("more findings"));
}

pub(crate) fn outcome(run: &str, request: Option<&str>) -> StepOutcome {
    StepOutcome {
        run_id: RunId::new(run),
        step_id: StepId::new("0123456789abcdef"),
        placement: PlacementId::new("call-records"),
        store: StoreId::new("calls"),
        category: Category::new("call-data"),
        reason: "request".into(),
        clause: "DPSM §5".into(),
        method: "zero".into(),
        request_id: request.map(RequestId::new),
        counts: [("t-1", 3), ("t-10", 7)]
            .map(|(tenant, n)| {
                let counts = Counts { erased: n, verified_absent: n, ..Counts::default() };
                (TenantId::parse(tenant).unwrap(), counts)
            })
            .into(),
        level: Level::Scrubbed,
        residual: Vec::new(),
        verified_at: now(),
        scope: ErasedScope { subjects: Vec::new(), up_to: None },
        failure: None,
    }
}

#[tokio::test]
async fn a_certificate_carries_the_proof_of_its_last_entry() {
    let world = World::published(300).await;
    let request = RequestRow {
        request_id: RequestId::new("req-1"),
        tenant: TenantId::parse("t-1").unwrap(),
        known: true,
        state: RequestState::Completed,
        received_at: now(),
        recorded_at: now(),
        deadline: now(),
        completed_at: Some(now()),
        categories: vec![Category::new("call-data")],
        subjects: Vec::new(),
        everything: true,
        placements: Vec::new(),
    };
    let run = RunRow {
        run_id: RunId::new("run-1"),
        plan_id: PlanId::new("00"),
        at: now(),
        status: "done".into(),
        started_at: now(),
        ended_at: Some(now()),
    };
    world.ledger.change(|rows| {
        rows.request = Some(request);
        rows.run = Some(run);
        rows.outcomes = vec![outcome("run-1", Some("req-1"))];
        rows.entries.push(r#"{"kind":"request-settled","request_id":"req-1","tenant":"t-1"}"#.into());
        rows.entries.push(r#"{"kind":"run-ended","run_id":"run-1"}"#.into());
        rows.entries.push(r#"{"kind":"run-ended","run_id":"run-10"}"#.into());
    });
    let early = audit::certify::certify(&world.ledger, &world.dir, "req-1", now()).await.unwrap();
    assert_eq!(early.log.entry, None, "not signed yet");
    assert_eq!(early.log.head.unwrap().size, 300);
    world.ledger.grow(400);
    world.publish().await;
    let certificate = audit::certify::certify(&world.ledger, &world.dir, "req-1", now()).await.unwrap();
    assert!(certificate.erasure_claimed);
    assert_eq!(certificate.placements[0].counts.erased, 3, "the neighbour's records are not its own");
    assert_eq!(certificate.placements[0].level, Some(Level::Scrubbed));
    let log = certificate.log;
    assert_eq!((log.entry, log.head.unwrap().size), (Some(300), 703));
    assert_eq!(log.proof.unwrap(), audit::prove(&world.dir, 300).await.unwrap());
    assert!(log.body.unwrap().contains("request-settled"));

    let certificate = audit::certify::certify(&world.ledger, &world.dir, "run-1", now()).await.unwrap();
    assert_eq!(certificate.placements[0].counts.erased, 10);
    assert_eq!(certificate.log.entry, Some(301));

    for unknown in ["run-2", "req-2", "plan-1", ""] {
        let error = audit::certify::certify(&world.ledger, &world.dir, unknown, now()).await.unwrap_err();
        assert_eq!(error.exit_code(), 2, "{unknown}");
    }
    world.ledger.change(|rows| rows.entries[301] = r#"{"kind":"run-ended","run_id":"run-1","x":1}"#.into());
    let error = audit::certify::certify(&world.ledger, &world.dir, "run-1", now()).await.unwrap_err();
    assert_eq!(error.exit_code(), 5);
}
