//! Configuration and policies while the process serves: read again every minute and on SIGHUP, and taken over whole or
//! not at all. It owns when what is on disk replaces what is in force; what it may say is judged in [`crate::config`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::config::Config;
use crate::config::read::{Loaded, load};
use crate::gather::{Trouble, World};
use crate::ledger::Ledger;
use crate::policy::tree::{Severity, has_errors};
use crate::service::{Note, Service};

/// How often the files are read again. No notification of the file system is relied on: it does not come for what is
/// mounted, linked or replaced by a folder.
const PAUSE: Duration = Duration::from_secs(60);

/// A change is believed once two readings this far apart agree: an editor or a copy is not caught in the middle.
const SETTLING: Duration = Duration::from_secs(1);

/// Sections that are opened once, when the process starts.
const AT_START: [&str; 3] = ["ledger", "audit", "http"];

/// What came of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reread {
    /// The files say what they said before.
    Unchanged,
    /// They changed since the reading just before: they are read again soon.
    Unsettled,
    /// They are in force from now on.
    Replaced,
    /// They are faulty; what was in force stays so.
    Kept,
}

/// The files as they were last judged.
pub struct Files {
    file: PathBuf,
    judged: String,
    /// What the reading just before gave, where it was another one.
    settling: Option<String>,
    /// The sections of [`AT_START`] as they were at the start.
    at_start: toml::Table,
}

/// Reads again until the process is to stop; `again` asks for it at once.
pub(super) async fn run(service: Arc<Service>, mut files: Files, again: Arc<Notify>) {
    let mut pause = PAUSE;
    loop {
        tokio::select! {
            () = service.stop.cancelled() => return,
            () = again.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = match files.reread(&service).await {
            Ok(Reread::Unsettled) => SETTLING,
            Ok(Reread::Unchanged | Reread::Replaced | Reread::Kept) => PAUSE,
            Err(trouble) => {
                tracing::error!(error = %trouble, "failed to take over the files");
                SETTLING
            }
        };
    }
}

impl Files {
    /// The files that a process starts with.
    pub fn new(file: &Path, loaded: &Loaded) -> Self {
        Self {
            file: file.to_owned(),
            judged: digest_of(loaded),
            settling: None,
            at_start: sections(file, &loaded.sources),
        }
    }

    /// Reads once. A change is judged when two readings in a row give the same; where it is good it replaces the world
    /// whole, and the audit log says so.
    ///
    /// # Errors
    /// Where the change could not be recorded; nothing was replaced then, and the next reading tries again.
    pub async fn reread(&mut self, service: &Service) -> Result<Reread, Trouble> {
        let file = self.file.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&file))
            .await
            .map_err(|error| Trouble::Unreachable(format!("failed to read the files: {error}")))?;
        let digest = digest_of(&loaded);
        if digest == self.judged {
            self.settling = None;
            return Ok(Reread::Unchanged);
        }
        if self.settling.as_ref() != Some(&digest) {
            self.settling = Some(digest);
            return Ok(Reread::Unsettled);
        }
        let reread = self.judge(service, loaded).await?;
        self.judged = digest;
        self.settling = None;
        Ok(reread)
    }

    async fn judge(&self, service: &Service, mut loaded: Loaded) -> Result<Reread, Trouble> {
        let before = service.world();
        let now = before.clock.now();
        let whole = loaded.config.take().zip(loaded.policies.take()).filter(|_| !has_errors(&loaded.faults));
        let Some((config, policies)) = whole else {
            let message = faults_of(&loaded);
            tracing::error!(faults = %message, "the files are faulty; what was in force stays so");
            service.note(|notes| Note::put(&mut notes.files_broken, message, now));
            return Ok(Reread::Kept);
        };
        let changed = changed(&self.at_start, &sections(&self.file, &loaded.sources));
        let world = World { config: keep(config, &before.config), policies, clock: before.clock };
        record(service.ledger().as_ref(), &world).await?;
        tracing::info!(policy_digest = world.policies.digest(), "the files are in force");
        service.replace(world);
        service.note(|notes| {
            notes.files_broken = None;
            if changed.is_empty() {
                notes.restart_needed = None;
            } else {
                let message = format!("{} changed: restart to put it in force", changed.join(", "));
                tracing::warn!(
                    sections = changed.join(","),
                    "a change needs a restart; the old one is in force"
                );
                Note::put(&mut notes.restart_needed, message, now);
            }
        });
        // The schedule may have changed.
        service.news.notify_one();
        Ok(Reread::Replaced)
    }
}

/// The new configuration, with what was opened at the start as it was then.
fn keep(new: Config, old: &Config) -> Config {
    Config { ledger: old.ledger.clone(), audit: old.audit.clone(), http: old.http.clone(), ..new }
}

async fn record(ledger: &dyn Ledger, world: &World) -> Result<(), Trouble> {
    let digests: BTreeMap<&str, &str> =
        world.policies.iter().map(|policy| (policy.category.as_str(), policy.digest.as_str())).collect();
    let fields = json!({"policy_digest": world.policies.digest(), "policies": digests});
    Ok(ledger.record_entry("files-loaded", fields, world.clock.now()).await?)
}

/// SHA-256 over everything that was read, and over what could not be.
fn digest_of(loaded: &Loaded) -> String {
    let mut digest = Sha256::new();
    let mut piece = |bytes: &[u8]| {
        digest.update(bytes.len().to_le_bytes());
        digest.update(bytes);
    };
    for (file, text) in &loaded.sources {
        piece(file.as_os_str().as_encoded_bytes());
        piece(text.as_bytes());
    }
    for fault in &loaded.faults {
        piece(fault.message.as_bytes());
    }
    hex::encode(digest.finalize())
}

/// The sections that a start reads. A configuration that is not TOML has none; it is judged elsewhere.
fn sections(file: &Path, sources: &BTreeMap<PathBuf, String>) -> toml::Table {
    let table: toml::Table = sources.get(file).and_then(|text| text.parse().ok()).unwrap_or_default();
    table.into_iter().filter(|(name, _)| AT_START.contains(&name.as_str())).collect()
}

fn changed(before: &toml::Table, after: &toml::Table) -> Vec<String> {
    let differ = |name: &&str| before.get(*name) != after.get(*name);
    AT_START.iter().copied().filter(differ).map(|name| format!("[{name}]")).collect()
}

/// The first errors, for a log line and an alarm; `retentiond check` shows all of them.
fn faults_of(loaded: &Loaded) -> String {
    let errors: Vec<_> = loaded.faults.iter().filter(|fault| fault.severity == Severity::Error).collect();
    let first = errors.iter().take(3).map(|fault| {
        let name = fault.file.file_name().unwrap_or_default().to_string_lossy();
        format!("{name}:{}: {}", fault.line, fault.message)
    });
    let shown = first.collect::<Vec<_>>().join("; ");
    match errors.len() {
        0..=3 => shown,
        more => format!("{shown} (and {} more)", more - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> toml::Table {
        text.parse().unwrap()
    }

    #[test]
    fn sections_that_are_opened_at_the_start_are_compared_by_value() {
        let start = table("[ledger]\nurl = \"a\"\n[http]\nlisten = \"b\"\n");
        let same = table("# moved\n[http]\nlisten='b'\n[ledger]\nurl = 'a'\n");
        assert_eq!(changed(&start, &same), Vec::<String>::new());
        let moved = table("[ledger]\nurl = \"c\"\n[audit]\npath = \"d\"\n[http]\nlisten = \"b\"\n");
        assert_eq!(changed(&start, &moved), ["[ledger]", "[audit]"]);
    }
}
