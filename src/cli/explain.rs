//! `explain`: one record, when it is due, why or why not. It shapes the answer.

use chrono::{DateTime, Utc};
use clap::Args;

use super::context::Context;
use super::output::{Answer, Failure, bold};
use super::values;
use crate::gather;
use crate::id::PlacementId;
use crate::plan::Disposition;
use crate::plan::text::{moment, shown};

/// What `explain` takes.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The placement, by the name that its policy gives it.
    placement: String,
    /// The record: a value for each key column, a name in the store, or COLUMN=VALUE where the table has no key.
    #[arg(required = true, allow_negative_numbers = true)]
    key: Vec<String>,
    /// Explain as of this instant, past or future, as RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    at: Option<DateTime<Utc>>,
}

/// Answers `explain`.
pub(super) async fn explain(context: &Context, args: ExplainArgs) -> Result<Answer, Failure> {
    let world = context.world()?;
    let placement = PlacementId::new(args.placement);
    let at = args.at.unwrap_or(context.now);
    let explanation = gather::explain(&world, &placement, &args.key, at)
        .await
        .map_err(|trouble| Failure::trouble(&trouble))?;
    let zone = world.config.schedule.time_zone;
    let when = |instant: Option<DateTime<Utc>>| instant.map(|at| moment(at, zone, context.now));
    let lead = match (explanation.disposition, explanation.reason) {
        (Disposition::Erase, _) => "This record is to be erased.",
        (Disposition::Retain, Some(_)) => "This record is kept.",
        (Disposition::Retain, None) => "This record is kept: it is not due.",
    };
    let mut text = format!("{}\n", bold(lead));
    for (name, value) in [
        ("tenant", explanation.tenant.as_ref().map(ToString::to_string)),
        ("event time", when(explanation.event_time)),
        ("reason", explanation.reason.map(|reason| reason.word().to_owned())),
        ("clause", explanation.clause.clone()),
        ("due", when(explanation.due_at)),
        ("gone by", when(explanation.deadline)),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("  {name:<10}  {}\n", shown(&value)));
        }
    }
    Answer::new(&explanation, text)
}
