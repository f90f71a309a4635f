//! `plan`: what is due and what is kept. It asks for the plan, writes it where wanted, and shapes the answer.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;

use super::context::Context;
use super::output::{Answer, Failure, note, with_headings};
use super::values;
use crate::gather;
use crate::plan::render::render_text;

/// What `plan` takes.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Plan as of this instant, past or future, as RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    at: Option<DateTime<Utc>>,
    /// Also write the plan as JSON to a file, for `enforce --plan`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Answers `plan`.
pub(super) async fn plan(context: &Context, args: PlanArgs) -> Result<Answer, Failure> {
    let world = context.world()?;
    let plan = gather::plan_at(&world, args.at.unwrap_or(context.now))
        .await
        .map_err(|trouble| Failure::trouble(&trouble))?;
    if let Some(file) = &args.out {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::unmet(format!("failed to write the plan to {}: {error}", file.display()))
        };
        let mut text = serde_json::to_vec_pretty(&plan).map_err(|error| failed(&error))?;
        text.push(b'\n');
        std::fs::write(file, text).map_err(|error| failed(&error))?;
        note(&format!("the plan is in {0}; `retentiond enforce --plan {0}` carries it out", file.display()));
    }
    let text = render_text(&plan, world.config.schedule.time_zone, context.now);
    Answer::new(&plan, with_headings(&text))
}
