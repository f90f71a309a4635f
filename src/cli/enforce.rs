//! `enforce`: one run, of what is due now, of a plan in a file, or of a refused plan that is approved.
//! It shows progress and shapes the report; what may be erased is decided elsewhere.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clap::Args;
use indicatif::ProgressBar;
use serde::Deserialize;

use super::context::Context;
use super::output::{Answer, Failure, alarm, bar, bold, with_headings};
use super::values;
use crate::enforce::{Order, Progress, run_once};
use crate::id::{PlacementId, PlanId};
use crate::plan::text::{Column, absolute, count, counted, moment, shown, table};
use crate::plan::{Counts, Plan, Refusal, Residual};

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
    let report = run_once(&world, order, &|progress| bars.show(&progress)).await;
    bars.clear();
    let report = report.map_err(|trouble| Failure::trouble(&trouble))?;
    let json = serde_json::to_value(&report)
        .map_err(|error| Failure::unmet(format!("failed to read the report: {error}")))?;
    let view = ReportView::deserialize(&json)
        .map_err(|error| Failure::unmet(format!("failed to read the report: {error}")))?;
    let exit = match view.status {
        Status::Done => 0,
        Status::Failed => 1,
        Status::Refused => 3,
    };
    let text = view.text(world.config.schedule.time_zone, context.now);
    Ok(Answer::new(&json, with_headings(&text))?.exit(exit))
}

fn order_of(args: EnforceArgs, now: DateTime<Utc>) -> Result<Order, Failure> {
    match (args.plan, args.approve) {
        (Some(file), _) => Ok(Order::File(Box::new(read_plan(&file)?))),
        (None, Some(id)) => Ok(Order::Approve(PlanId::new(values::words("--approve", &id)?))),
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
        let Ok(mut bars) = self.0.lock() else { return };
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
        let Ok(bars) = self.0.lock() else { return };
        for bar in bars.values().flatten() {
            bar.finish_and_clear();
        }
    }
}

/// The report as `contract.md` has it: the text is made from what scripts read, so the two never differ.
#[derive(Deserialize)]
struct ReportView {
    run_id: String,
    plan_id: String,
    at: DateTime<Utc>,
    status: Status,
    placements: Vec<PlacementView>,
    refusals: Vec<Refusal>,
    totals: Counts,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Done,
    Failed,
    Refused,
}

#[derive(Deserialize)]
struct PlacementView {
    placement: String,
    #[serde(flatten)]
    counts: Counts,
    level: Option<String>,
    #[serde(default)]
    residual: Vec<Residual>,
    #[serde(default)]
    failure: Option<String>,
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

impl ReportView {
    fn text(&self, zone: Tz, now: DateTime<Utc>) -> String {
        let status = match self.status {
            Status::Done => bold("done"),
            Status::Failed => alarm("failed"),
            Status::Refused => alarm("refused"),
        };
        let mut text = format!(
            "{status}: {} of plan {}, as of {}\n",
            self.run_id,
            self.plan_id,
            absolute(self.at, zone)
        );
        if !self.placements.is_empty() {
            let rows: Vec<Vec<String>> = self.placements.iter().map(PlacementView::row).collect();
            text.push_str(&format!("\nErased\n{}", table(&COLUMNS, &rows)));
        }
        text.push_str(&self.residuals(zone, now));
        let failures: String = self
            .placements
            .iter()
            .filter_map(|p| p.failure.as_ref().map(|why| format!("  {}: {}\n", p.placement, shown(why))))
            .collect();
        if !failures.is_empty() {
            text.push_str(&format!("\nNot done\n{failures}"));
        }
        text.push_str(&self.refused());
        let totals = &self.totals;
        text.push_str(&format!(
            "\nTotal: {} erased, {} verified absent, {} failed\n",
            counted(totals.erased, "record", "records"),
            count(totals.verified_absent),
            count(totals.failed)
        ));
        if matches!(self.status, Status::Done) && totals.erased > 0 {
            text.push_str(&format!("Evidence: `retentiond certificate {}`\n", self.run_id));
        }
        text
    }

    fn residuals(&self, zone: Tz, now: DateTime<Utc>) -> String {
        let mut rows = Vec::new();
        for placement in &self.placements {
            for residual in &placement.residual {
                let until =
                    residual.until.map_or("nobody can say".to_owned(), |until| moment(until, zone, now));
                rows.push(vec![placement.placement.clone(), residual.what.clone(), until]);
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        let columns = [Column::Left("placement"), Column::Left("what"), Column::Left("until")];
        format!("\nResidual\n{}", table(&columns, &rows))
    }

    fn refused(&self) -> String {
        if self.refusals.is_empty() {
            return String::new();
        }
        let mut text = "\nRefused\n".to_owned();
        for refusal in &self.refusals {
            text.push_str(&format!(
                "  {} in store {} ({}): {}\n",
                refusal.category,
                refusal.store,
                refusal.code,
                shown(&refusal.message)
            ));
            if let Some(id) = &refusal.approve {
                text.push_str(&format!("    to let it pass: `retentiond enforce --approve {id}`\n"));
            }
        }
        text
    }
}

impl PlacementView {
    fn row(&self) -> Vec<String> {
        vec![
            self.placement.clone(),
            count(self.counts.erased),
            count(self.counts.already_absent),
            count(self.counts.changed),
            count(self.counts.failed),
            count(self.counts.verified_absent),
            self.level.clone().unwrap_or_default(),
        ]
    }
}
