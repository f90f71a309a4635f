//! What every command needs first: now, the files read, the ledger opened and not in doubt.
//! It owns the order of these gates; what is done behind them is each command's own.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use super::output::{Answer, Failure, stderr_has_color, warn};
use crate::audit;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::read::{Loaded, load, render_faults};
use crate::gather::World;
use crate::ledger::{self, Ledger};
use crate::policy::tree::has_errors;

/// Where the configuration is and what time it is; read once, so that one command has one now.
pub(super) struct Context {
    file: PathBuf,
    clock: Clock,
    /// The present instant.
    pub(super) now: DateTime<Utc>,
    /// Whether the answer is JSON, so that nothing else goes to standard output.
    pub(super) json: bool,
}

impl Context {
    /// A context at the clock's present instant.
    pub(super) fn new(file: PathBuf, json: bool, clock: Clock) -> Self {
        Self { file, clock, now: clock.now(), json }
    }

    /// The configuration's path, as typed.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Everything in the files, faults and all.
    pub(super) fn load(&self) -> Loaded {
        load(&self.file)
    }

    /// The configuration alone: what must work although a policy is broken (holds, the stop, the audit log).
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let mut loaded = self.load();
        loaded.config.take().ok_or_else(|| self.faulty(&loaded))
    }

    /// Configuration and policies, both without an error. Warnings are shown.
    pub(super) fn world(&self) -> Result<World, Failure> {
        self.world_of(&mut self.load())
    }

    /// As [`Context::world`], taken out of what was read.
    pub(super) fn world_of(&self, loaded: &mut Loaded) -> Result<World, Failure> {
        if has_errors(&loaded.faults) {
            return Err(self.faulty(loaded));
        }
        if !loaded.faults.is_empty() {
            warn(&format!("the files have warnings; see them with `retentiond check{}`", self.flag()));
        }
        match (loaded.config.take(), loaded.policies.take()) {
            (Some(config), Some(policies)) => Ok(World { config, policies, clock: self.clock }),
            (None, _) | (_, None) => Err(self.faulty(loaded)),
        }
    }

    /// The failure that shows what is wrong in the files.
    pub(super) fn faulty(&self, loaded: &Loaded) -> Failure {
        let problems = serde_json::to_value(&loaded.faults).unwrap_or(Value::Null);
        let message = format!("failed to read {}", self.file.display());
        let failure = Failure::usage(message).faults(render_faults(loaded, stderr_has_color()), problems);
        if self.file.exists() {
            failure.hint(format!("`retentiond check{}` shows all that is wrong in the files", self.flag()))
        } else {
            failure.hint("name the configuration with `--config FILE`; `retentiond demo` makes one to try")
        }
    }

    /// `--config FILE` where it is not the default, for commands that are suggested.
    fn flag(&self) -> String {
        if self.file == Path::new("retentiond.toml") {
            String::new()
        } else {
            format!(" --config {}", self.file.display())
        }
    }

    /// The ledger for reading, `None` where nothing was ever recorded.
    pub(super) async fn ledger_to_read(&self, config: &Config) -> Result<Option<Box<dyn Ledger>>, Failure> {
        let ledger = ledger_to_read(config).await?;
        let doubt =
            audit::doubt(&config.audit, ledger.as_deref()).await.map_err(|error| Failure::audit(&error))?;
        match doubt {
            Some(doubt) => Err(Failure::refused(doubt)
                .hint("a lost ledger has lost every hold: restore it from its backup before anything else")),
            None => Ok(ledger),
        }
    }

    /// The ledger for recording. In doubt, it is neither made nor opened.
    pub(super) async fn desk(&self, config: &Config) -> Result<Desk, Failure> {
        self.ledger_to_read(config).await?;
        let ledger = ledger::open(&config.ledger).await.map_err(|error| Failure::ledger(&error))?;
        Ok(Desk { ledger, audit: config.audit.clone(), now: self.now, zone: config.schedule.time_zone })
    }
}

/// The ledger for reading, in doubt or not.
pub(super) async fn ledger_to_read(config: &Config) -> Result<Option<Box<dyn Ledger>>, Failure> {
    ledger::open_read_only(&config.ledger).await.map_err(|error| Failure::ledger(&error))
}

/// Where facts are recorded: the ledger, and the audit log that is published after each.
pub(super) struct Desk {
    /// The ledger.
    pub(super) ledger: Box<dyn Ledger>,
    /// The present instant.
    pub(super) now: DateTime<Utc>,
    /// The operator's zone, for display.
    pub(super) zone: Tz,
    audit: PathBuf,
}

impl Desk {
    /// Publishes what was recorded in the audit log. The fact stands already, so the answer is given in any
    /// case; where publishing fails, with exit code 1.
    pub(super) async fn close(self, answer: Answer) -> Answer {
        match audit::publish(&*self.ledger, &self.audit, self.now).await {
            Ok(_) => answer,
            Err(error) => {
                warn(&format!("it is recorded, but the audit log could not be published: {error}"));
                answer.exit(1)
            }
        }
    }
}
