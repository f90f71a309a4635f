//! The manifest: every file of an export with its size and digest, one line each, so that a million of them need no memory.
//! It owns its form and how it is proven; it is only believed once everything in it was read back.

use serde::{Deserialize, Serialize};

use super::take::TakenPlacement;
use super::target::{Sheet, Target, UNPROVEN, Written, broken};
use crate::gather::{Trouble, World};
use crate::id::PlacementId;
use crate::ledger::ExportRow;
use crate::stores::Body;

/// What the form is called.
const FORMAT: &str = "retentiond-export/1";

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its name below the target.
    pub file: String,
    /// Of which placement.
    pub placement: PlacementId,
    /// Records in it.
    pub records: u64,
    /// Its size.
    pub bytes: u64,
    /// Its digest, hex.
    pub sha256: String,
}

/// A manifest that is being written.
#[derive(Debug)]
pub(super) struct Manifest {
    sheet: Sheet,
    files: u64,
    bytes: u64,
    placements: Vec<TakenPlacement>,
}

impl Manifest {
    /// Begins it: whose, what and when. The id stands first, so that whoever finds it knows whose it is.
    pub(super) async fn begin(
        target: &Target,
        world: &World,
        row: &ExportRow,
        made_at: chrono::DateTime<chrono::Utc>,
    ) -> Result<Self, Trouble> {
        let mut sheet = target.create(UNPROVEN).await?.ok_or_else(|| {
            Trouble::Doubt("failed to export: a manifest has been there already".to_owned())
        })?;
        let between = row.between.map(|(after, up_to)| serde_json::json!({"after": after, "up_to": up_to}));
        let head = format!(
            "{{\"format\":{},\"export_id\":{},\"tenant\":{},\"categories\":{},\"between\":{},\"policy_digest\":{},\
             \"made_at\":{},\"files\":[\n",
            text(FORMAT)?,
            text(&row.export_id)?,
            text(&row.tenant)?,
            text(&row.categories)?,
            text(&between)?,
            text(world.policies.digest())?,
            text(&made_at)?,
        );
        sheet.write(head.as_bytes()).await?;
        Ok(Self { sheet, files: 0, bytes: 0, placements: Vec::new() })
    }

    /// Adds a file that is durable.
    pub(super) async fn file(
        &mut self,
        placement: &PlacementId,
        records: u64,
        written: &Written,
    ) -> Result<(), Trouble> {
        let file = ManifestFile {
            file: written.name.clone(),
            placement: placement.clone(),
            records,
            bytes: written.bytes,
            sha256: written.sha256.clone(),
        };
        let comma = if self.files == 0 { "" } else { ",\n" };
        self.files += 1;
        self.bytes += written.bytes;
        self.sheet.write(format!("{comma}{}", text(&file)?).as_bytes()).await
    }

    /// Adds what was counted of a placement.
    pub(super) fn placement(&mut self, done: TakenPlacement) {
        self.placements.push(done);
    }

    /// Ends it.
    pub(super) async fn close(mut self) -> Result<Sums, Trouble> {
        let records = self.placements.iter().map(|done| done.records).sum();
        let tail = format!(
            "\n],\"placements\":{},\"records\":{records},\"bytes\":{}}}\n",
            text(&self.placements)?,
            self.bytes
        );
        self.sheet.write(tail.as_bytes()).await?;
        let written = self.sheet.close().await?;
        Ok(Sums {
            records,
            files: self.files,
            bytes: self.bytes,
            sha256: written.sha256,
            placements: self.placements,
        })
    }
}

/// What an export comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) records: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Of the manifest.
    pub(super) sha256: String,
    pub(super) placements: Vec<TakenPlacement>,
}

/// Reads back every file that a manifest in the target names, and the manifest itself.
///
/// # Errors
/// Where anything is missing, or is not as it says.
pub(super) async fn prove(target: &Target, name: &str, sums: &Sums) -> Result<(), Trouble> {
    let unlike = |what: &str| Trouble::Unreachable(format!("failed to verify the export: {what}"));
    let manifest = target.read_back(name).await?.ok_or_else(|| unlike("the manifest is not there"))?;
    if manifest.sha256 != sums.sha256 {
        return Err(unlike("the manifest does not read back as it was written"));
    }
    let body = target.read(name).await?.ok_or_else(|| unlike("the manifest is not there"))?;
    let mut lines = Lines { body, waiting: Vec::new(), is_over: false };
    let (mut files, mut bytes) = (0, 0);
    while let Some(line) = lines.next().await? {
        let Ok(file) = serde_json::from_str::<ManifestFile>(line.trim_end_matches(',')) else { continue };
        let back = target.read_back(&file.file).await?.ok_or_else(|| unlike("a file is not there"))?;
        if (back.bytes, &back.sha256) != (file.bytes, &file.sha256) {
            return Err(unlike("a file does not read back as it was written"));
        }
        files += 1;
        bytes += back.bytes;
    }
    if (files, bytes) == (sums.files, sums.bytes) {
        Ok(())
    } else {
        Err(unlike("files are missing in the manifest"))
    }
}

/// What a manifest that is there already comes to.
///
/// # Errors
/// Where it cannot be read.
pub(super) async fn sums_of(target: &Target, name: &str) -> Result<Sums, Trouble> {
    #[derive(Deserialize)]
    struct Tail {
        placements: Vec<TakenPlacement>,
        records: u64,
        bytes: u64,
    }
    let unreadable =
        || Trouble::Unreachable("failed to verify the export: its manifest cannot be read".to_owned());
    let back = target.read_back(name).await?.ok_or_else(unreadable)?;
    let body = target.read(name).await?.ok_or_else(unreadable)?;
    let mut lines = Lines { body, waiting: Vec::new(), is_over: false };
    let (mut files, mut last) = (0, String::new());
    while let Some(line) = lines.next().await? {
        if serde_json::from_str::<ManifestFile>(line.trim_end_matches(',')).is_ok() {
            files += 1;
        } else if !line.is_empty() {
            last = line;
        }
    }
    let tail = last.strip_prefix("],").map(|tail| format!("{{{tail}")).ok_or_else(unreadable)?;
    let Tail { placements, records, bytes } = serde_json::from_str(&tail).map_err(|_| unreadable())?;
    Ok(Sums { records, files, bytes, sha256: back.sha256, placements })
}

fn text<T: Serialize + ?Sized>(value: &T) -> Result<String, Trouble> {
    serde_json::to_string(value)
        .map_err(|error| Trouble::Doubt(format!("failed to write the manifest: {error}")))
}

/// A stream, line by line.
struct Lines {
    body: Body,
    waiting: Vec<u8>,
    is_over: bool,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<String>, Trouble> {
        loop {
            if let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
                let rest = self.waiting.split_off(end + 1);
                let line = std::mem::replace(&mut self.waiting, rest);
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if self.is_over {
                let line = std::mem::take(&mut self.waiting);
                return Ok((!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned()));
            }
            match self.body.next(broken).await? {
                Some(piece) => self.waiting.extend(piece),
                None => self.is_over = true,
            }
        }
    }
}
