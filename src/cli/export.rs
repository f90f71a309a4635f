//! `export`: a tenant takes its data along, now; what was asked for is listed and withdrawn. It shapes the answers; when an
//! export counts as finished is `export`'s.

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, Desk};
use super::output::{Answer, Failure, note, warn};
use super::values;
use crate::export::{self, Exported};
use crate::gather::{self, World};
use crate::id::{Category, PlacementId, TenantId};
use crate::ledger::{ExportRow, ExportState, NewExport};
use crate::plan::cover::known_categories;
use crate::plan::text::{Column, moment, table};

/// What `export` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct ExportArgs {
    #[command(subcommand)]
    verb: Option<ExportVerb>,
    /// Whose data.
    #[arg(long, value_name = "T", required = true, allow_negative_numbers = true)]
    tenant: Option<String>,
    /// A folder that is empty or not there, or `STORE:PREFIX` or `s3://BUCKET/PREFIX` of a configured store.
    #[arg(long, value_name = "DIR_OR_BUCKET", required = true)]
    to: Option<String>,
    /// Only this category, or another one given.
    #[arg(long = "category", value_name = "C")]
    categories: Vec<String>,
}

/// The verbs of `export`.
#[derive(Debug, Subcommand)]
enum ExportVerb {
    /// List all exports.
    List,
    /// Withdraw an export: nothing waits for it any longer.
    Cancel {
        /// The export.
        id: String,
    },
}

impl ExportArgs {
    /// What fails when it fails.
    pub(super) fn operation(&self) -> &'static str {
        match self.verb {
            None => "export",
            Some(ExportVerb::List) => "list exports",
            Some(ExportVerb::Cancel { .. }) => "withdraw the export",
        }
    }
}

/// Answers `export …`.
pub(super) async fn answer(context: &Context, args: ExportArgs) -> Result<Answer, Failure> {
    match args.verb {
        Some(ExportVerb::List) => list(context).await,
        Some(ExportVerb::Cancel { id }) => cancel(context, &id).await,
        None => take(context, args).await,
    }
}

async fn take(context: &Context, args: ExportArgs) -> Result<Answer, Failure> {
    let tenant = values::tenant(args.tenant.as_deref().unwrap_or_default())?;
    let categories = values::categories(&args.categories);
    let target = target(&values::words("--to", args.to.as_deref().unwrap_or_default())?)?;
    let world = context.world()?;
    known_categories(&world.policies, &categories).map_err(Failure::usage)?;
    let desk = context.desk(&world.config).await?;
    let row = asked(&world, &desk, tenant, categories, target).await?;
    let done = carry_out(&world, &desk, &row).await;
    match done {
        Ok(done) => {
            let answer = shaped(&done, &world, context)?;
            Ok(desk.close(answer).await)
        }
        Err(failure) => {
            // That it failed is recorded too.
            drop(desk.close(Answer::new(&json!({}), "")?).await);
            Err(failure)
        }
    }
}

/// A folder from where it was typed; a bucket as it is.
fn target(to: &str) -> Result<String, Failure> {
    if to.contains(':') {
        return Ok(to.to_owned());
    }
    let path = std::path::absolute(Path::new(to))
        .map_err(|error| Failure::usage(format!("failed to find the folder of --to: {error}")))?;
    match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => Err(Failure::usage("the folder of --to is not written in UTF-8".to_owned())),
    }
}

/// The same export where one is unfinished, otherwise a new one.
async fn asked(
    world: &World,
    desk: &Desk,
    tenant: TenantId,
    categories: Vec<Category>,
    target: String,
) -> Result<ExportRow, Failure> {
    let is_open = |row: &&ExportRow| !matches!(row.state, ExportState::Finished | ExportState::Cancelled);
    let rows = desk.ledger.exports().await.map_err(|error| Failure::ledger(&error))?;
    let same = rows.iter().find(|row| {
        is_open(row)
            && row.between.is_none()
            && row.tenant == tenant
            && row.categories == categories
            && row.target == target
    });
    if let Some(row) = same {
        note(&format!("{} is taken up again", row.export_id));
        return Ok(row.clone());
    }
    export::check_target(world, &rows, &target).await.map_err(|trouble| Failure::trouble(&trouble))?;
    match gather::knows_tenant(world, &tenant).await {
        Ok(true) => {}
        Ok(false) => warn(&format!("no store knows tenant `{tenant}`")),
        Err(trouble) => return Err(Failure::trouble(&trouble)),
    }
    let new = NewExport { tenant, categories, target, between: None };
    desk.ledger.ask_export(&new, desk.now).await.map_err(|error| Failure::ledger(&error))
}

async fn carry_out(world: &World, desk: &Desk, row: &ExportRow) -> Result<Exported, Failure> {
    let turn = export::take_turn(&*desk.ledger, row, world.clock.now()).await;
    let Some(turn) = turn.map_err(|trouble| Failure::trouble(&trouble))? else {
        let message = format!("{} is being carried out by another process", row.export_id);
        return Err(Failure::unmet(message).hint("`retentiond export list` says how far it is"));
    };
    let said = std::sync::Mutex::new((PlacementId::new(""), 0_u64));
    let watch = |placement: &PlacementId, records: u64| {
        // A line for each placement, and one for each ten thousand records of it.
        let Ok(mut last) = said.lock() else { return };
        let step = records / 10_000;
        if last.0 != *placement || step > last.1 {
            *last = (placement.clone(), step);
            note(&format!("exporting {placement}: {records} records"));
        }
    };
    export::run(world, &*desk.ledger, row, turn, &watch).await.map_err(|trouble| {
        Failure::trouble(&trouble)
            .hint("the same command takes it up again; `retentiond export cancel` withdraws it")
    })
}

fn shaped(done: &Exported, world: &World, context: &Context) -> Result<Answer, Failure> {
    let columns = [
        Column::Left("placement"),
        Column::Right("records"),
        Column::Right("gone since"),
        Column::Right("without bytes"),
    ];
    let rows: Vec<Vec<String>> = done
        .placements
        .iter()
        .map(|taken| {
            vec![
                taken.placement.to_string(),
                taken.records.to_string(),
                taken.gone_since.to_string(),
                taken.without_bytes.to_string(),
            ]
        })
        .collect();
    let mut text = table(&columns, &rows);
    text.push_str(&format!(
        "{} is finished and verified: {} records, {} files, {} bytes ({})\n",
        done.row.export_id,
        done.row.records,
        done.files,
        done.bytes,
        done.row
            .settled_at
            .map(|at| moment(at, world.config.schedule.time_zone, context.now))
            .unwrap_or_default(),
    ));
    let not_proven: u64 = done.placements.iter().map(|taken| taken.not_proven).sum();
    if not_proven > 0 {
        warn(&format!("{not_proven} names in rows do not prove the tenant; what they name was left out"));
    }
    let mut document = serde_json::to_value(&done.row).unwrap_or_default();
    document["files"] = json!(done.files);
    document["bytes"] = json!(done.bytes);
    document["placements"] = json!(done.placements);
    Answer::new(&document, text)
}

async fn cancel(context: &Context, id: &str) -> Result<Answer, Failure> {
    let config = context.config()?;
    let desk = context.desk(&config).await?;
    let rows = desk.ledger.exports().await.map_err(|error| Failure::ledger(&error))?;
    let Some(row) = rows.into_iter().find(|row| row.export_id.as_str() == id) else {
        return Err(Failure::usage(format!("there is no export `{id}`")));
    };
    let withdrawn = ExportRow { state: ExportState::Cancelled, settled_at: Some(desk.now), ..row };
    desk.ledger.settle_export(&withdrawn, desk.now).await.map_err(|error| Failure::ledger(&error))?;
    let answer = Answer::new(&withdrawn, format!("{id} is withdrawn; nothing waits for it\n"))?;
    Ok(desk.close(answer).await)
}

async fn list(context: &Context) -> Result<Answer, Failure> {
    let config = context.config()?;
    let rows = match context.ledger_to_read(&config).await? {
        Some(ledger) => ledger.exports().await.map_err(|error| Failure::ledger(&error))?,
        None => Vec::new(),
    };
    let zone = config.schedule.time_zone;
    let columns = [
        Column::Left("export"),
        Column::Left("tenant"),
        Column::Left("state"),
        Column::Right("records"),
        Column::Left("asked"),
        Column::Left("settled"),
        Column::Left("to"),
    ];
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.export_id.to_string(),
                row.tenant.to_string(),
                word(row.state).to_owned(),
                row.records.to_string(),
                moment(row.asked_at, zone, context.now),
                row.settled_at.map(|at| moment(at, zone, context.now)).unwrap_or_default(),
                row.target.clone(),
            ]
        })
        .collect();
    let text =
        if lines.is_empty() { "No export was ever asked for.\n".to_owned() } else { table(&columns, &lines) };
    Answer::new(&json!({"exports": rows}), text)
}

fn word(state: ExportState) -> &'static str {
    match state {
        ExportState::Asked => "asked",
        ExportState::Running => "running",
        ExportState::Finished => "finished",
        ExportState::Failed => "failed",
        ExportState::Cancelled => "cancelled",
    }
}
