//! `simulate`: the calendar of what will be erased when. It shapes the answer.

use chrono::{DateTime, Utc};

use super::context::Context;
use super::output::{Answer, Failure};
use crate::gather;
use crate::plan::text::{Column, count, counted, table};

/// Answers `simulate`.
pub(super) async fn simulate(
    context: &Context,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Answer, Failure> {
    if from > to {
        return Err(Failure::usage("--from lies after --to".to_owned()));
    }
    let world = context.world()?;
    let simulation =
        gather::simulate(&world, from, to).await.map_err(|trouble| Failure::trouble(&trouble))?;
    let columns =
        [Column::Left("date"), Column::Left("placement"), Column::Left("why"), Column::Right("records")];
    let rows: Vec<Vec<String>> = simulation
        .days
        .iter()
        .map(|day| {
            vec![
                day.date.to_string(),
                day.placement.to_string(),
                day.reason.word().to_owned(),
                count(day.records),
            ]
        })
        .collect();
    let total = simulation.days.iter().map(|day| day.records).sum();
    let text = if rows.is_empty() {
        "Nothing falls due in this time.\n".to_owned()
    } else {
        format!("{}\nTotal: {}\n", table(&columns, &rows), counted(total, "record", "records"))
    };
    Answer::new(&simulation, text)
}
