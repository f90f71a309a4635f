//! Reads a log's folder from end to end and finds what is not as the signed checkpoint says.
//! It owns the check of the files alone; what the ledger has to say comes after.

use std::fs::File;
use std::io::{BufRead, BufReader};

use crate::audit::checkpoint::{Checkpoint, VerifierKey};
use crate::audit::folder::{CHECKPOINT, Folder, KEY, LINES, PUBLIC_KEY, TEMPORARY, TILES};
use crate::audit::layout::{Edge, Kind, TILE_WIDTH, Tile};
use crate::audit::merkle::{Hash, leaf_hash};
use crate::audit::verify::Findings;
use crate::audit::{KEY_ENTRY, entry, key};

/// What goes along while the entries are read.
struct Scan<'a> {
    folder: &'a Folder,
    findings: Findings,
    edge: Edge,
    /// The last public key that an entry records.
    recorded_key: Option<String>,
    lines: Option<BufReader<File>>,
}

/// Checks the files. The checkpoint is given where it is accepted; a folder without a log is sound and has none.
pub(super) fn scan(folder: &Folder) -> (Option<Checkpoint>, Findings) {
    let mut scan = Scan {
        folder,
        findings: Findings::default(),
        edge: Edge::default(),
        recorded_key: None,
        lines: None,
    };
    if !folder.has(CHECKPOINT) && !folder.has(TILES) {
        scan.surplus(0);
        return (None, scan.findings);
    }
    let Some((checkpoint, key)) = scan.accepted() else { return (None, scan.findings) };
    if scan.entries(checkpoint.size) {
        scan.conclude(&checkpoint, &key);
    }
    scan.surplus(checkpoint.size);
    (Some(checkpoint), scan.findings)
}

impl Scan<'_> {
    fn accepted(&mut self) -> Option<(Checkpoint, VerifierKey)> {
        let key = match key::public(self.folder) {
            Ok(Some(Ok(key))) => Some(key),
            Ok(None) => self.say(format!("`{PUBLIC_KEY}` is missing")),
            Ok(Some(Err(error))) => self.say(format!("`{PUBLIC_KEY}` is not accepted: {error}")),
            Err(error) => self.say(error.to_string()),
        }?;
        let note = match self.folder.read(CHECKPOINT) {
            Ok(Some(note)) => Some(note),
            Ok(None) => self.say("the checkpoint is missing, but there are tiles".into()),
            Err(error) => self.say(error.to_string()),
        }?;
        match Checkpoint::open(&note, &key) {
            Ok(checkpoint) => Some((checkpoint, key)),
            Err(error) => self.say(format!("the checkpoint is not accepted: {error}")),
        }
    }

    /// Reads every bundle, and compares every full tile on the way. False where it had to stop.
    fn entries(&mut self, size: u64) -> bool {
        self.lines = self.folder.open(LINES).ok().flatten().map(BufReader::new);
        for tile in (0..).map_while(|index| Tile::of_size(Kind::Entries, index, size)) {
            let first = tile.index * TILE_WIDTH;
            let leaves = match self.bundle(tile, first) {
                Some(leaves) => leaves,
                // The bundle is gone, but its leaf hashes let us judge the rest.
                None => match self.folder.hashes(Tile { kind: Kind::Hashes(0), ..tile }) {
                    Ok(Some(leaves)) => leaves,
                    Ok(None) | Err(_) => {
                        self.findings.entry(first, "it and what follows cannot be judged");
                        return false;
                    }
                },
            };
            for leaf in leaves {
                for (full, hashes) in self.edge.push(leaf) {
                    self.tile(full, &hashes);
                }
            }
        }
        true
    }

    /// The leaf hashes of a bundle; `None` where it cannot be read as the entries that it should hold.
    fn bundle(&mut self, tile: Tile, first: u64) -> Option<Vec<Hash>> {
        let path = tile.path();
        let bytes = match self.folder.read(&path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.findings.entry(first, format!("`{path}` is missing"));
                return None;
            }
            Err(error) => {
                self.findings.entry(first, error.to_string());
                return None;
            }
        };
        let entries = entry::split(&bytes).unwrap_or_default();
        if u64::try_from(entries.len()) != Ok(tile.width) {
            self.findings.entry(first, format!("`{path}` does not hold {} entries", tile.width));
            return None;
        }
        Some((first..).zip(entries).map(|(index, bytes)| self.entry(index, bytes)).collect())
    }

    fn entry(&mut self, index: u64, bytes: &[u8]) -> Hash {
        match std::str::from_utf8(bytes) {
            Ok(body) => {
                if let Some(fault) = entry::fault_of(body) {
                    self.findings.entry(index, fault);
                }
                self.note_key(body);
            }
            Err(_) => self.findings.entry(index, "it is not UTF-8"),
        }
        if let Some(lines) = &mut self.lines {
            let mut line = Vec::new();
            let read = lines.read_until(b'\n', &mut line);
            if read.is_err() || line.strip_suffix(b"\n") != Some(bytes) {
                self.findings.entry(index, format!("`{LINES}` has another line for it"));
                self.lines = None;
            }
        }
        leaf_hash(bytes)
    }

    fn note_key(&mut self, body: &str) {
        // Most entries are no key entries; they need not be read twice.
        if !body.contains(KEY_ENTRY) {
            return;
        }
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(body)
            && value["kind"] == KEY_ENTRY
        {
            self.recorded_key = value["verifier"].as_str().map(str::to_owned);
        }
    }

    /// A tile must hold exactly the hashes that the entries give.
    fn tile(&mut self, tile: Tile, expected: &[Hash]) {
        let path = tile.path();
        match self.folder.hashes(tile) {
            Ok(Some(hashes)) if hashes == expected => {}
            Ok(Some(hashes)) => {
                let at = hashes.iter().zip(expected).take_while(|(a, b)| a == b).count();
                let index = tile.index * TILE_WIDTH + u64::try_from(at).unwrap_or(0);
                match tile.kind {
                    Kind::Hashes(0) => {
                        self.findings.entry(index, format!("it is not the entry whose hash is in `{path}`"));
                    }
                    Kind::Hashes(_) | Kind::Entries => {
                        self.findings.log(format!("hash {at} in `{path}` is not that of the tile below"));
                    }
                }
            }
            Ok(None) => self.findings.log(format!("`{path}` is missing or has another length")),
            Err(error) => self.findings.log(error.to_string()),
        }
    }

    fn conclude(&mut self, checkpoint: &Checkpoint, key: &VerifierKey) {
        let edge = std::mem::take(&mut self.edge);
        for (tile, hashes) in edge.partials() {
            self.tile(tile, hashes);
        }
        if edge.root() != checkpoint.root {
            self.findings.log(format!(
                "the entries are not those that were signed: their root is {}, the signed one {}",
                hex::encode(edge.root()),
                hex::encode(checkpoint.root)
            ));
        }
        if self.recorded_key.take().is_some_and(|recorded| recorded != key.to_string()) {
            self.findings.log(format!("`{PUBLIC_KEY}` is not the key that the log itself records"));
        }
        if let Some(mut lines) = self.lines.take()
            && !lines.fill_buf().is_ok_and(<[u8]>::is_empty)
        {
            self.findings.log(format!("`{LINES}` has more lines than the log entries"));
        }
    }

    /// Nothing but the log's own files may lie in its folder.
    fn surplus(&mut self, size: u64) {
        let mut folders = vec![String::new()];
        while let Some(name) = folders.pop() {
            let Ok(entries) = self.folder.path().join(&name).read_dir() else { continue };
            for entry in entries.flatten() {
                let Ok(file_name) = entry.file_name().into_string() else {
                    self.findings.log("a file whose name is not UTF-8 does not belong to the log");
                    continue;
                };
                let path = if name.is_empty() { file_name } else { format!("{name}/{file_name}") };
                let kind = entry.file_type();
                let of_tiles = path == TILES || name.starts_with(TILES);
                if of_tiles && kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
                    folders.push(path);
                } else if !kind.is_ok_and(|kind| kind.is_file()) || !self.belongs(&path, size) {
                    self.findings.log(format!("`{path}` does not belong to the log"));
                }
            }
        }
    }

    fn belongs(&self, path: &str, size: u64) -> bool {
        if [CHECKPOINT, KEY, PUBLIC_KEY, TEMPORARY, LINES].contains(&path) {
            return true;
        }
        let Some(tile) = Tile::parse(path) else { return false };
        match Tile::of_size(tile.kind, tile.index, size) {
            Some(signed) if signed == tile => true,
            // A smaller version that a larger one has replaced may stay a while; it must be its beginning.
            Some(signed) if tile.width < signed.width => self.begins(tile, signed),
            Some(_) | None => false,
        }
    }

    fn begins(&self, smaller: Tile, larger: Tile) -> bool {
        let (Ok(Some(beginning)), Ok(Some(whole))) =
            (self.folder.read(&smaller.path()), self.folder.read(&larger.path()))
        else {
            return false;
        };
        let complete = match smaller.kind {
            Kind::Hashes(_) => u64::try_from(beginning.len()) == Ok(32 * smaller.width),
            Kind::Entries => entry::split(&beginning)
                .is_some_and(|entries| u64::try_from(entries.len()) == Ok(smaller.width)),
        };
        complete && whole.starts_with(&beginning)
    }

    fn say<T>(&mut self, message: String) -> Option<T> {
        self.findings.log(message);
        None
    }
}
