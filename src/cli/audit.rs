//! `audit`: the tamper-evident log is verified, shown and exported. It shapes the answers; what is sound is said by
//! [`crate::audit`].

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::context::{Context, ledger_to_read};
use super::output::{Answer, Failure, alarm, bold, warn};
use crate::audit::{self, Shown};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::plan::text::{Column, counted, moment, shown, table};

/// Entries that are asked for at once: a bundle of the log.
const PAGE_ENTRIES: u32 = 256;

/// The verbs of `audit`.
#[derive(Debug, Subcommand)]
pub(super) enum AuditVerb {
    /// Verify that no entry was changed, dropped, swapped or cut off.
    Verify,
    /// Show the entries.
    Show,
    /// Copy the log, without its signing key, into a new folder for an auditor.
    Export {
        /// Where to.
        dir: PathBuf,
    },
}

impl AuditVerb {
    /// What fails when it fails.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Verify => "verify the audit log",
            Self::Show => "show the audit log",
            Self::Export { .. } => "export the audit log",
        }
    }
}

/// Answers `audit …`. A ledger in doubt is no obstacle: this is what one looks at then.
pub(super) async fn answer(context: &Context, verb: AuditVerb) -> Result<Answer, Failure> {
    let config = context.config()?;
    match verb {
        AuditVerb::Verify => verify(context, &config).await,
        AuditVerb::Show => show(context, &config).await,
        AuditVerb::Export { dir } => {
            let head = audit::export(&config.audit, &dir).await.map_err(|error| Failure::audit(&error))?;
            let entries = counted(head.size, "entry", "entries");
            let text = format!("{entries} copied to {}\nroot {}\n", dir.display(), head.root);
            Answer::new(&json!({"entries": head.size, "head": head.root, "dir": dir}), text)
        }
    }
}

async fn verify(context: &Context, config: &Config) -> Result<Answer, Failure> {
    let ledger = ledger_to_read(config).await?;
    if ledger.is_none() {
        warn("there is no ledger to compare with, so a log rolled back to an older copy cannot be told");
    }
    let verdict = audit::verify(&config.audit, ledger.as_deref(), context.now)
        .await
        .map_err(|error| Failure::audit(&error))?;
    let lead = if verdict.sound {
        bold("The audit log is sound.")
    } else {
        alarm("The audit log is damaged or does not fit its ledger.")
    };
    let mut text =
        format!("{lead}\n  {}, root {}\n", counted(verdict.entries, "entry", "entries"), verdict.head);
    for finding in &verdict.findings {
        let place = finding.index.map(|index| format!("entry {index}: ")).unwrap_or_default();
        text.push_str(&format!("  {place}{}\n", shown(&finding.message)));
    }
    let exit = if verdict.sound { 0 } else { 5 };
    Ok(Answer::new(&verdict, text)?.exit(exit))
}

async fn show(context: &Context, config: &Config) -> Result<Answer, Failure> {
    let entries = match ledger_to_read(config).await? {
        Some(ledger) => all_entries(&*ledger).await?,
        None => Vec::new(),
    };
    let zone = config.schedule.time_zone;
    let columns = [Column::Right("entry"), Column::Left("at"), Column::Left("kind"), Column::Left("says")];
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|one| {
            let at = one.entry["at"].as_str().and_then(|text| text.parse().ok());
            let when = at.map(|at| moment(at, zone, context.now)).unwrap_or_default();
            vec![one.index.to_string(), when, word(&one.entry["kind"]), fields(&one.entry)]
        })
        .collect();
    let text =
        if rows.is_empty() { "The audit log has no entry yet.\n".to_owned() } else { table(&columns, &rows) };
    Answer::new(&json!({"entries": entries}), text)
}

async fn all_entries(ledger: &dyn Ledger) -> Result<Vec<Shown>, Failure> {
    let mut entries: Vec<Shown> = Vec::new();
    loop {
        let from = entries.last().map_or(0, |last| last.index + 1);
        let page = audit::show(ledger, from, PAGE_ENTRIES).await.map_err(|error| Failure::audit(&error))?;
        if page.is_empty() {
            return Ok(entries);
        }
        entries.extend(page);
    }
}

/// What an entry says beside its time and kind: `tenant acme, erased 412`.
fn fields(entry: &Value) -> String {
    let Value::Object(fields) = entry else { return word(entry) };
    fields
        .iter()
        .filter(|(name, value)| !matches!(name.as_str(), "at" | "kind") && !value.is_null())
        .map(|(name, value)| format!("{} {}", name.replace('_', " "), word(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}
