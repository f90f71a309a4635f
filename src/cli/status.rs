//! `status`: the promises at a glance. It shapes the answer; exit code 4 where a promise is overdue.

use super::context::Context;
use super::output::{Answer, Failure, alarm, bold};
use crate::gather::{self, Status};
use crate::plan::text::{Column, count, moment, shown, table};

/// Answers `status`.
pub(super) async fn status(context: &Context) -> Result<Answer, Failure> {
    let world = context.world()?;
    let status = gather::status(&world).await.map_err(|trouble| Failure::trouble(&trouble))?;
    let mut text = counts_of(&status);
    let last_run = match &status.last_run {
        Some(run) => {
            let at = run.ended_at.unwrap_or(run.started_at);
            let when = moment(at, world.config.schedule.time_zone, context.now);
            format!("{}, {when} ({})", run.status, run.run_id)
        }
        None => "none yet".to_owned(),
    };
    let head = match &status.audit_head {
        Some(head) => format!("{} entries, root {:.16}…", count(head.size), head.root),
        None => "no entry yet".to_owned(),
    };
    text.push_str(&format!("\n  last run    {last_run}\n  audit head  {head}\n"));
    let exit = if status.overdue > 0 { 4 } else { 0 };
    Ok(Answer::new(&status, text)?.exit(exit))
}

fn counts_of(status: &Status) -> String {
    let mut text = if status.overdue > 0 {
        format!("{}\n", alarm("A promise is overdue."))
    } else {
        format!("{}\n", bold("No promise is overdue."))
    };
    if let Some(reason) = &status.stopped {
        let why = if reason.is_empty() { String::new() } else { format!(" ({})", shown(reason)) };
        text.push_str(&format!("{}\n", alarm(&format!("The emergency stop is on{why}: nothing is erased."))));
    }
    let rows: Vec<Vec<String>> = [
        ("due", status.due, "records to erase now"),
        ("overdue", status.overdue, "past the deadline"),
        ("at risk", status.at_risk, "deadline is near"),
        ("held", status.held, "kept by a hold"),
        ("parked", status.parked, "tenant or time cannot be told"),
        ("open requests", status.requests_open, "not yet completed"),
    ]
    .into_iter()
    .map(|(name, number, meaning)| vec![name.to_owned(), count(number), meaning.to_owned()])
    .collect();
    let columns = [Column::Left("promises"), Column::Right("now"), Column::Left("meaning")];
    text.push_str(&format!("\n{}", table(&columns, &rows)));
    text
}
