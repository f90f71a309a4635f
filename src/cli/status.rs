//! `status`: the promises at a glance. It shapes the answer; exit code 4 where a promise is overdue.

use chrono_tz::Tz;
use serde_json::Value;

use super::context::Context;
use super::output::{Answer, Failure, alarm, bold};
use crate::gather;
use crate::plan::text::{Column, count, moment, shown, table};

/// Answers `status`.
pub(super) async fn status(context: &Context) -> Result<Answer, Failure> {
    let world = context.world()?;
    let status = gather::status(&world).await.map_err(|trouble| Failure::trouble(&trouble))?;
    let json = serde_json::to_value(&status)
        .map_err(|error| Failure::unmet(format!("failed to read the status: {error}")))?;
    let overdue = json["overdue"].as_u64().is_some_and(|records| records > 0);
    let text = text_of(&json, overdue, world.config.schedule.time_zone, context);
    Ok(Answer::new(&json, text)?.exit(if overdue { 4 } else { 0 }))
}

fn text_of(json: &Value, overdue: bool, zone: Tz, context: &Context) -> String {
    let lead = match (overdue, json["ok"].as_bool()) {
        (true, _) => alarm("A promise is overdue."),
        (false, Some(true)) => bold("All promises are kept."),
        (false, _) => alarm("Something needs attention."),
    };
    let number = |field: &str| json[field].as_u64().map(count).unwrap_or_else(|| said(&json[field]));
    let rows: Vec<Vec<String>> = [
        ("due", "records to erase now"),
        ("overdue", "records past their deadline"),
        ("at_risk", "records whose deadline is near"),
        ("held", "records kept by a hold"),
        ("parked", "records whose tenant or time cannot be told"),
        ("requests_open", "requests not yet completed"),
    ]
    .into_iter()
    .map(|(field, meaning)| vec![field.replace('_', " "), number(field), meaning.to_owned()])
    .collect();
    let columns = [Column::Left(""), Column::Right(""), Column::Left("")];
    let table = table(&columns, &rows);
    let last_run = run_of(&json["last_run"], zone, context);
    let head = said(&json["audit_head"]);
    let head = if head.is_empty() { "no entry yet" } else { &head };
    format!(
        "{lead}\n{}\n  last run    {last_run}\n  audit head  {head}\n",
        table.trim_start_matches(['\n', ' ']).trim_end()
    )
}

/// The last run, whether it is given as an instant, an id or an object with both.
fn run_of(run: &Value, zone: Tz, context: &Context) -> String {
    match run {
        Value::Null => "none yet".to_owned(),
        Value::Object(fields) => {
            let ended = ["ended_at", "at", "started_at"].iter().find_map(|name| fields.get(*name)?.as_str());
            let when = ended
                .and_then(|text| text.parse().ok())
                .map(|at| moment(at, zone, context.now))
                .unwrap_or_default();
            let word = |name: &str| fields.get(name).map(said).unwrap_or_default();
            [word("status"), when, word("run_id")]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(", ")
        }
        Value::String(text) => text.parse().map_or_else(|_| shown(text), |at| moment(at, zone, context.now)),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => said(run),
    }
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => shown(text),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name} {}", said(value)))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}
