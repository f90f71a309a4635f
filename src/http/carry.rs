//! Plans that two persons approved are carried out, one after the other. It owns when; how is the run's.

use std::sync::Arc;
use std::time::Duration;

use super::Api;
use crate::desk;
use crate::enforce::{Order, run_on};
use crate::id::PlanId;

/// How long until a plan that could not be carried out is tried again.
const AGAIN: Duration = Duration::from_secs(900);

/// How long a run may go on once the process is to stop.
const LAST_BATCHES: Duration = Duration::from_secs(20);

/// Carries out what is approved until the process is to stop. A run that does not end soon then is closed by the next one,
/// as after a crash.
pub(super) async fn carry_plans(api: Arc<Api>) {
    let stop = api.service.stop.clone();
    loop {
        match desk::approved_plans(api.ledger()).await {
            Ok(plans) => {
                for plan in plans {
                    let mut run = std::pin::pin!(carry_out(&api, plan));
                    let is_done = tokio::select! {
                        () = run.as_mut() => true,
                        () = stop.cancelled() => false,
                    };
                    if !is_done {
                        drop(tokio::time::timeout(LAST_BATCHES, run).await);
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "failed to ask which plans are approved"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = api.approved.notified() => {}
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn carry_out(api: &Api, plan: PlanId) {
    let world = api.world();
    match run_on(&world, api.ledger(), Order::Approve(plan.clone()), &|_| {}).await {
        Ok(report) => {
            tracing::info!(%plan, status = report.status.word(), "an approved plan was carried out");
        }
        Err(error) => tracing::warn!(%plan, %error, "failed to carry out an approved plan"),
    }
    api.publish().await;
}
