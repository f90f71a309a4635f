//! `schema`: the JSON Schema of a policy or of the configuration, for editors.

use clap::ValueEnum;

use super::output::{Answer, Failure};
use crate::policy::schema::{config_schema, policy_schema};

/// Of which file.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Which {
    /// A policy.
    Policy,
    /// `retentiond.toml`.
    Config,
}

/// Answers `schema`.
pub(super) fn schema(which: Which) -> Result<Answer, Failure> {
    let schema = match which {
        Which::Policy => policy_schema(),
        Which::Config => config_schema(),
    };
    let text = format!("{schema:#}\n");
    Answer::new(&schema, text)
}
