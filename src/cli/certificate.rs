//! `certificate`: what was erased, as a document. (being built)

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::output::{Answer, Failure};

/// What `certificate` takes.
#[derive(Debug, Args)]
pub(super) struct CertificateArgs {
    /// A request or a run.
    id: String,
    /// Also write it as a page for people.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Answers `certificate`.
pub(super) async fn certificate(_context: &Context, _args: CertificateArgs) -> Result<Answer, Failure> {
    Err(Failure::unmet("being built".to_owned()))
}
