//! The stanza of the files store.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use retentiond::id::StoreId;
use retentiond::policy::{EpochUnit, EventTime, Placement, Records, TenantSource};
use retentiond::stores::files::{FilesReader, FilesStore};
use retentiond::stores::{Reader, Store};
use tempfile::TempDir;

use super::fixture::{Bench, Record, Shape, Time, When, ZONE, now};

/// Where a record lies below the root.
pub(crate) fn path_of(shape: Shape, record: &Record) -> String {
    let tenant = record.tenant.unwrap();
    let name = record.name;
    let day = match (shape.time, record.when) {
        (Time::Key, When::At(at)) => at.with_timezone(&ZONE).format("%Y/%m/%d/").to_string(),
        (Time::Key, When::Null) => String::new(),
        (Time::Key, When::Zero) => "0000/00/00/".into(),
        (Time::Key, When::Unreadable) => "2020/xx/01/".into(),
        (Time::Key, When::NoSuchDay) => "2023/02/30/".into(),
        _ => "deep/er/".into(),
    };
    format!("ivr/{tenant}/{day}{name}.wav")
}

pub(crate) struct FilesBench {
    shape: Shape,
    pub(crate) root: TempDir,
    sentinels: BTreeMap<String, String>,
    watched: BTreeMap<String, File>,
}

impl FilesBench {
    pub(crate) fn new(shape: Shape) -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { shape, root, sentinels: BTreeMap::new(), watched: BTreeMap::new() }
    }

    fn path(&self) -> PathBuf {
        self.root.path().to_owned()
    }
}

/// Writes a file with its folders, and its time of modification.
pub(crate) fn put(path: &Path, content: &[u8], modified: DateTime<Utc>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    set_modified(path, modified);
}

fn set_modified(path: &Path, modified: DateTime<Utc>) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(modified.into())).unwrap();
}

/// Every file below a folder, by path, with its content and time.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, (String, DateTime<Utc>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let facts = fs::symlink_metadata(&path).unwrap();
            if facts.is_dir() {
                folders.push(path);
            } else if facts.is_file() {
                let relative = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                found.insert(relative, (content, facts.modified().unwrap().into()));
            }
        }
    }
    found
}

#[async_trait]
impl Bench for FilesBench {
    async fn seed(&mut self, records: &[Record]) {
        for record in records {
            let relative = path_of(self.shape, record);
            let modified = match record.when {
                When::At(at) => at,
                When::Null | When::Zero | When::Unreadable | When::NoSuchDay => DateTime::UNIX_EPOCH,
            };
            put(&self.path().join(&relative), record.sentinel.repeat(300).as_bytes(), modified);
            self.sentinels.insert(relative, record.sentinel.clone());
        }
    }

    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(FilesStore::open(&StoreId::new("store"), &self.path()).unwrap())
    }

    async fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(FilesReader::open(&StoreId::new("store"), &self.path()).unwrap())
    }

    async fn dump(&self) -> BTreeMap<String, String> {
        tree(&self.path())
            .into_iter()
            .filter(|(path, _)| path != ".retentiond-marker")
            .map(|(path, (content, at))| (self.sentinels[&path].clone(), format!("{path} {at:?} {content}")))
            .collect()
    }

    async fn renew(&mut self, record: &Record) {
        let old = path_of(self.shape, record);
        if self.shape.time == Time::Modified {
            set_modified(&self.path().join(old), now());
            return;
        }
        // A date in a path changes by moving the file.
        let new = path_of(self.shape, &Record { when: When::At(now()), ..record.clone() });
        fs::create_dir_all(self.path().join(&new).parent().unwrap()).unwrap();
        fs::rename(self.path().join(&old), self.path().join(&new)).unwrap();
        self.sentinels.insert(new, record.sentinel.clone());
    }

    async fn watch(&mut self) {
        // An open descriptor shows the blocks of a file after its name went.
        for (relative, sentinel) in &self.sentinels {
            self.watched.insert(sentinel.clone(), File::open(self.path().join(relative)).unwrap());
        }
    }

    async fn holds_bytes(&mut self, sentinel: &str) -> Option<bool> {
        let file = self.watched.get_mut(sentinel)?;
        let mut content = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut content).unwrap();
        assert!(content.len() >= sentinel.len() * 300, "it was not cut short");
        Some(content.iter().any(|byte| *byte != 0))
    }

    async fn typed_key(&self, record: &Record) -> Vec<String> {
        vec![path_of(self.shape, record)]
    }

    fn wrong_placements(&self) -> Vec<Placement> {
        let placement = self.shape.placement();
        let table = Records::Table { table: "call_record".into(), key: Vec::new() };
        let epoch = EventTime::Epoch { column: "started_at".into(), unit: EpochUnit::Seconds };
        vec![
            Placement { records: Some(table), ..placement.clone() },
            Placement { records: Some(Records::Prefix("ivr/".into())), ..placement.clone() },
            Placement { records: Some(Records::Prefix("ivr/{tenant}".into())), ..placement.clone() },
            Placement { records: None, ..placement.clone() },
            Placement { tenant: TenantSource::Column("tenant_id".into()), ..placement.clone() },
            Placement { event_time: Some(epoch), ..placement },
        ]
    }
}
