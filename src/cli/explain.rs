//! `explain`: one record, when it is due, why or why not. It shapes the answer.

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Deserialize;

use super::context::Context;
use super::output::{Answer, Failure, bold};
use super::values;
use crate::gather;
use crate::id::PlacementId;
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
    let unreadable = |error| Failure::unmet(format!("failed to read the explanation: {error}"));
    let json = serde_json::to_value(&explanation).map_err(unreadable)?;
    let view = ExplanationView::deserialize(&json).map_err(unreadable)?;
    let zone = world.config.schedule.time_zone;
    let when = |instant: Option<DateTime<Utc>>| instant.map(|at| moment(at, zone, context.now));
    let lead = match view.disposition.as_str() {
        "erase" => "This record is due to be erased.",
        _ => "This record is kept.",
    };
    let mut text = format!("{}\n", bold(lead));
    for (name, value) in [
        ("tenant", view.tenant),
        ("event time", when(view.event_time)),
        ("reason", view.reason),
        ("clause", view.clause),
        ("due", when(view.due_at)),
        ("gone by", when(view.deadline)),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("  {name:<10}  {}\n", shown(&value)));
        }
    }
    Answer::new(&json, text)
}

/// The explanation as `contract.md` has it.
#[derive(Deserialize)]
struct ExplanationView {
    tenant: Option<String>,
    event_time: Option<DateTime<Utc>>,
    disposition: String,
    reason: Option<String>,
    clause: Option<String>,
    due_at: Option<DateTime<Utc>>,
    deadline: Option<DateTime<Utc>>,
}
