//! `hold`: lawful orders to keep data are placed, released and listed. `place` returns only when no batch begun before
//! it still runs. It shapes the answers; that a hold wins is decided in the plan.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, Desk};
use super::output::{Answer, Failure, note};
use super::values;
use crate::desk::{self, AskedHold, DeskError};
use crate::id::HoldId;
use crate::ledger::HoldRow;
use crate::plan::text::{Column, moment, table};

/// How long `place` waits for running batches before it says so: longer than a batch takes as a rule.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// The verbs of `hold`.
#[derive(Debug, Subcommand)]
pub(super) enum HoldVerb {
    /// Order that data be kept. Nothing named means all of the tenant.
    Place(PlaceArgs),
    /// End a hold; what was due is due at once.
    Release {
        /// The hold.
        id: String,
    },
    /// List all holds.
    List,
}

impl HoldVerb {
    /// What fails when it fails.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Place(_) => "place the hold",
            Self::Release { .. } => "release the hold",
            Self::List => "list holds",
        }
    }
}

/// What `hold place` takes.
#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// Whose data.
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    tenant: String,
    /// Only records that name this subject, or another one given.
    #[arg(long = "subject", value_name = "KIND=VALUE")]
    subjects: Vec<String>,
    /// Only this category, or another one given.
    #[arg(long = "category", value_name = "C")]
    categories: Vec<String>,
    /// Who ordered it: a court, a reference.
    #[arg(long, value_name = "TEXT")]
    authority: String,
}

/// Answers `hold …`.
pub(super) async fn answer(context: &Context, verb: HoldVerb) -> Result<Answer, Failure> {
    match verb {
        HoldVerb::Place(args) => place(context, args).await,
        HoldVerb::Release { id } => release(context, id).await,
        HoldVerb::List => list(context).await,
    }
}

async fn place(context: &Context, args: PlaceArgs) -> Result<Answer, Failure> {
    let tenant = values::tenant(&args.tenant)?;
    let subjects = values::subjects(&args.subjects)?;
    let categories = values::categories(&args.categories);
    let authority = values::words("--authority", &args.authority)?;
    let (config, policies) = if subjects.is_empty() && categories.is_empty() {
        // All of a tenant can be held although a policy is broken.
        (context.config()?, None)
    } else {
        let world = context.world()?;
        (world.config, Some(world.policies))
    };
    let asked = AskedHold { tenant, subjects, categories, authority };
    let new = desk::hold_of(policies.as_ref(), asked).map_err(|error| Failure::desk(&error))?;
    let desk = context.desk(&config).await?;
    let row =
        desk::record_hold(&*desk.ledger, &new, desk.now).await.map_err(|error| Failure::desk(&error))?;
    let waited = wait(&desk, &row).await;
    let answer = Answer::new(&row, format!("{}\n", row.hold_id))?;
    let answer = desk.close(answer).await;
    match waited {
        Ok(()) => Ok(answer),
        Err(error) => Err(Failure::desk(&error)),
    }
}

async fn wait(desk: &Desk, row: &HoldRow) -> Result<(), DeskError> {
    let waiting = desk::wait_for_batches(&*desk.ledger, &row.hold_id);
    tokio::pin!(waiting);
    match tokio::time::timeout(SILENT_WAIT, &mut waiting).await {
        Ok(done) => done,
        Err(_) => {
            note(&format!("{} is in force; waiting for batches begun before it", row.hold_id));
            waiting.await
        }
    }
}

async fn release(context: &Context, id: String) -> Result<Answer, Failure> {
    let config = context.config()?;
    let desk = context.desk(&config).await?;
    let row = desk::release_hold(&*desk.ledger, &HoldId::new(id), desk.now)
        .await
        .map_err(|error| Failure::desk(&error))?;
    let text = format!("{} is released; what was due is due at once\n", row.hold_id);
    let answer = Answer::new(&row, text)?;
    Ok(desk.close(answer).await)
}

async fn list(context: &Context) -> Result<Answer, Failure> {
    let config = context.config()?;
    let holds = match context.ledger_to_read(&config).await? {
        Some(ledger) => ledger.holds().await.map_err(|error| Failure::ledger(&error))?,
        None => Vec::new(),
    };
    let zone = config.schedule.time_zone;
    let columns = [
        Column::Left("hold"),
        Column::Left("tenant"),
        Column::Left("keeps"),
        Column::Left("authority"),
        Column::Left("placed"),
        Column::Left("released"),
    ];
    let rows: Vec<Vec<String>> = holds
        .iter()
        .map(|hold| {
            vec![
                hold.hold_id.to_string(),
                hold.tenant.to_string(),
                keeps(hold),
                hold.authority.clone(),
                moment(hold.placed_at, zone, context.now),
                hold.released_at.map(|at| moment(at, zone, context.now)).unwrap_or_default(),
            ]
        })
        .collect();
    let text = if rows.is_empty() { "No hold was ever placed.\n".to_owned() } else { table(&columns, &rows) };
    Answer::new(&json!({"holds": holds}), text)
}

fn keeps(hold: &HoldRow) -> String {
    let subjects: Vec<String> =
        hold.subjects.iter().map(|s| format!("{} {:.8}…", s.kind, s.fingerprint.as_str())).collect();
    let categories: Vec<&str> = hold.categories.iter().map(|category| category.as_str()).collect();
    match (subjects.is_empty(), categories.is_empty()) {
        (true, true) => "everything".to_owned(),
        (true, false) => categories.join(", "),
        (false, true) => subjects.join(" or "),
        (false, false) => format!("{} in {}", subjects.join(" or "), categories.join(", ")),
    }
}
