//! Plans that two persons approved are carried out, one after the other. It owns when; how is the run's.

use std::sync::Arc;
use std::time::Duration;

use super::Api;
use crate::desk;
use crate::enforce::{Approval, Order, run_until};

/// How long until a plan that could not be carried out is tried again.
const AGAIN: Duration = Duration::from_secs(900);

/// Carries out what is approved until the process is to stop. A run under way then finishes its batch.
pub(super) async fn carry_plans(api: Arc<Api>) {
    let stop = api.service.stop.clone();
    loop {
        match desk::approved_plans(api.ledger(), api.now()).await {
            Ok(plans) => {
                for approval in plans {
                    if stop.is_cancelled() {
                        return;
                    }
                    // On the heap: a run is deep, and the stacks of worker threads are not.
                    Box::pin(carry_out(&api, approval)).await;
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

async fn carry_out(api: &Api, approval: Approval) {
    let world = api.world();
    let plan = approval.plan_id.clone();
    let order = Order::Approve(approval);
    match run_until(&world, api.ledger(), order, &|_| {}, &api.service.stop).await {
        Ok(report) => {
            tracing::info!(%plan, status = report.status.word(), "an approved plan was carried out");
        }
        Err(error) => tracing::warn!(%plan, %error, "failed to carry out an approved plan"),
    }
    api.publish().await;
}
