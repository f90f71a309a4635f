//! `enforce`: one run, of what is due now, of a plan in a file, or of a refused plan that is approved.
//! It shows progress and shapes the report; what may be erased is decided elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clap::Args;
use indicatif::ProgressBar;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::output::{Answer, Failure, alarm, bar, bold, note, with_headings};
use super::values;
use crate::enforce::{
    Order, PlacementReport, Progress, RunReport, RunStatus, Trouble, Watcher, World, run_once_until,
};
use crate::id::{PlacementId, PlanId};
use crate::plan::Plan;
use crate::plan::text::{Column, absolute, count, counted, moment, shown, table};
use crate::telemetry;

/// Largest plan file read: a plan of a million steps. What is larger was not written by `plan`.
const PLAN_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// What `enforce` takes.
#[derive(Debug, Args)]
pub(super) struct EnforceArgs {
    /// Enforce as of this past instant, as RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = values::time, conflicts_with_all = ["plan", "approve"])]
    at: Option<DateTime<Utc>>,
    /// Carry out the plan in this file, as written by `plan --out`.
    #[arg(long, value_name = "FILE", conflicts_with = "approve")]
    plan: Option<PathBuf>,
    /// Let the refused plan of this id pass, as stored.
    #[arg(long, value_name = "PLAN_ID")]
    approve: Option<String>,
}

/// Answers `enforce`; the exit code follows the report.
pub(super) async fn enforce(context: &Context, args: EnforceArgs) -> Result<Answer, Failure> {
    let order = order_of(args, context.now)?;
    let world = context.world()?;
    let bars = Bars::default();
    let watcher = |progress| bars.show(&progress);
    let run = until_signal(&world, order, &watcher);
    let report = telemetry::during(&world.config.telemetry, run).await;
    bars.clear();
    let report = report.map_err(|trouble| Failure::trouble(&trouble))?;
    let text = text_of(&report, world.config.schedule.time_zone, context.now);
    Ok(Answer::new(&report, with_headings(&text))?.exit(report.status.exit_code()))
}

/// One run; at the first SIGINT or SIGTERM the batch that runs is finished and no other begins, at the second it ends.
async fn until_signal(world: &World, order: Order, watcher: Watcher<'_>) -> Result<RunReport, Trouble> {
    let failed =
        |error: std::io::Error| Trouble::Unreachable(format!("failed to listen to signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let stop = CancellationToken::new();
    let run = run_once_until(world, order, watcher, &stop);
    tokio::pin!(run);
    loop {
        tokio::select! {
            ended = &mut run => return ended,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.is_cancelled() {
            let why = "it was stopped at once; the next run asks the stores what came of the batch under way";
            return Err(Trouble::Unreachable(why.to_owned()));
        }
        stop.cancel();
        note("stopping: the batch under way is finished; a second signal stops at once");
    }
}

fn order_of(args: EnforceArgs, now: DateTime<Utc>) -> Result<Order, Failure> {
    match (args.plan, args.approve) {
        (Some(file), _) => Ok(Order::File(Box::new(read_plan(&file)?))),
        (None, Some(id)) => Ok(Order::Approve(PlanId::new(values::words("--approve", &id)?).into())),
        (None, None) => {
            let at = args.at.unwrap_or(now);
            values::not_in_future("--at", at, now)?;
            Ok(Order::Now { at })
        }
    }
}

fn read_plan(file: &Path) -> Result<Plan, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("failed to read the plan in {}: {error}", file.display()))
            .hint("give a file that `retentiond plan --out FILE` has written, unchanged")
    };
    let size = std::fs::metadata(file).map_err(|error| failed(&error))?.len();
    if size > PLAN_BYTES_MAX {
        return Err(failed(&"it is larger than any plan"));
    }
    let text = std::fs::read(file).map_err(|error| failed(&error))?;
    let plan: Plan = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
    // A plan is named by its content: one that was changed by hand is not the one that was read and agreed to.
    if plan.plan_id != plan.expected_id() || plan.steps.iter().any(|step| step.step_id != step.expected_id())
    {
        let message = format!("the plan in {} does not have the content that its id names", file.display());
        return Err(
            Failure::refused(message).hint("plan again: a plan is carried out unchanged or not at all")
        );
    }
    Ok(plan)
}

/// Progress by placement: bars on a terminal, lines in the log otherwise.
#[derive(Default)]
struct Bars(Mutex<BTreeMap<PlacementId, Option<ProgressBar>>>);

impl Bars {
    fn show(&self, progress: &Progress) {
        let mut bars = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = bars
            .entry(progress.placement.clone())
            .or_insert_with(|| bar(progress.placement.as_str(), progress.of));
        match known {
            Some(bar) => {
                bar.set_length(progress.of);
                bar.set_position(progress.done);
            }
            None => {
                tracing::info!(placement = %progress.placement, done = progress.done, of = progress.of, "erasing");
            }
        }
    }

    fn clear(&self) {
        for bar in self.0.lock().unwrap_or_else(PoisonError::into_inner).values().flatten() {
            bar.finish_and_clear();
        }
    }
}

const COLUMNS: [Column; 7] = [
    Column::Left("placement"),
    Column::Right("erased"),
    Column::Right("already absent"),
    Column::Right("changed"),
    Column::Right("failed"),
    Column::Right("verified absent"),
    Column::Left("level"),
];

fn text_of(report: &RunReport, zone: Tz, now: DateTime<Utc>) -> String {
    let status = match report.status {
        RunStatus::Done => bold("done"),
        RunStatus::Failed => alarm("failed"),
        RunStatus::Refused => alarm("refused"),
        RunStatus::Interrupted => alarm("interrupted"),
    };
    let at = absolute(report.at, zone);
    let mut text = format!("{status}: {} of plan {}, as of {at}\n", report.run_id, report.plan_id);
    if !report.placements.is_empty() {
        let rows: Vec<Vec<String>> = report.placements.iter().map(row).collect();
        text.push_str(&format!("\nErased\n{}", table(&COLUMNS, &rows)));
    }
    text.push_str(&residuals(report, zone, now));
    if !report.failures.is_empty() {
        let lines: String = report.failures.iter().map(|why| format!("  {}\n", shown(why))).collect();
        text.push_str(&format!("\nNot done\n{lines}"));
    }
    text.push_str(&refused(report));
    let totals = &report.totals;
    text.push_str(&format!(
        "\nTotal: {} erased, {} verified absent, {} failed\n",
        counted(totals.erased, "record", "records"),
        count(totals.verified_absent),
        count(totals.failed)
    ));
    if totals.erased > 0 {
        text.push_str(&format!("Evidence: `retentiond certificate {}`\n", report.run_id));
    }
    text
}

fn row(placement: &PlacementReport) -> Vec<String> {
    let counts = &placement.counts;
    vec![
        placement.placement.to_string(),
        count(counts.erased),
        count(counts.already_absent),
        count(counts.changed),
        count(counts.failed),
        count(counts.verified_absent),
        placement.level.word().to_owned(),
    ]
}

fn residuals(report: &RunReport, zone: Tz, now: DateTime<Utc>) -> String {
    let mut rows = Vec::new();
    for placement in &report.placements {
        for residual in &placement.residual {
            let until = residual.until.map_or("nobody can say".to_owned(), |until| moment(until, zone, now));
            rows.push(vec![placement.placement.to_string(), residual.what.clone(), until]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let columns = [Column::Left("placement"), Column::Left("what"), Column::Left("until")];
    format!("\nResidual\n{}", table(&columns, &rows))
}

fn refused(report: &RunReport) -> String {
    if report.refusals.is_empty() {
        return String::new();
    }
    let mut text = "\nRefused\n".to_owned();
    for refusal in &report.refusals {
        let message = shown(&refusal.message);
        text.push_str(&format!(
            "  {} in store {} ({}): {message}\n",
            refusal.category, refusal.store, refusal.code
        ));
        if let Some(id) = &refusal.approve {
            text.push_str(&format!("    to let it pass: `retentiond enforce --approve {id}`\n"));
        }
    }
    text
}
