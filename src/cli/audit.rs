//! `audit`: the tamper-evident log is verified, shown and exported. It shapes the answers.

use std::path::PathBuf;

use clap::Subcommand;

use super::context::Context;
use super::output::{Answer, Failure};

/// The verbs of `audit`.
#[derive(Debug, Subcommand)]
pub(super) enum AuditVerb {
    /// Verify that no entry was changed, dropped, swapped or cut off.
    Verify,
    /// Show the entries.
    Show,
    /// Copy the log for an auditor.
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

/// Answers `audit …`.
pub(super) async fn answer(_context: &Context, _verb: AuditVerb) -> Result<Answer, Failure> {
    Err(Failure::unmet("being built".to_owned()))
}
