//! `stop` and `go`: the emergency stop. They need the configuration only, so that a broken policy is no obstacle.

use serde_json::json;

use super::context::Context;
use super::output::{Answer, Failure};
use super::values;
use crate::desk;

/// Answers `stop`.
pub(super) async fn stop(context: &Context, reason: Option<&str>) -> Result<Answer, Failure> {
    let reason = reason.map(|text| values::words("--reason", text)).transpose()?.unwrap_or_default();
    let config = context.config()?;
    let desk = context.desk(&config).await?;
    let stop = desk::stop(&*desk.ledger, &reason, desk.now).await.map_err(|error| Failure::desk(&error))?;
    let json = json!({"stopped": true, "stopped_at": stop.stopped_at, "reason": stop.reason});
    let answer = Answer::new(&json, "Stopped: no batch begins anywhere until `retentiond go`\n")?;
    Ok(desk.close(answer).await)
}

/// Answers `go`.
pub(super) async fn go(context: &Context) -> Result<Answer, Failure> {
    let config = context.config()?;
    let desk = context.desk(&config).await?;
    let was_stopped = desk::go(&*desk.ledger, desk.now).await.map_err(|error| Failure::desk(&error))?;
    let text = if was_stopped { "Batches may begin again\n" } else { "No stop was on\n" };
    let answer = Answer::new(&json!({"stopped": false, "was_stopped": was_stopped}), text)?;
    Ok(desk.close(answer).await)
}
