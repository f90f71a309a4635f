//! What a run says of itself while it works: spans and lines by which one request can be followed from its step to its
//! end. It owns their names and fields: ids and counts, never a key or a value.

use tracing::Span;
use tracing::field::Empty;

use super::step::Draft;
use crate::id::RunId;
use crate::ledger::{RequestRow, RequestState};
use crate::plan::{Counts, CountsByTenant, Plan, Step};

/// The run under way has its ids from now on.
pub(super) fn run_is(run: &RunId, plan: &Plan) {
    let span = Span::current();
    span.record("run_id", run.as_str());
    span.record("plan_id", plan.plan_id.as_str());
    let (steps, records) = (plan.steps.len(), plan.totals.erase);
    tracing::info!(steps, records, policy_digest = plan.policy_digest, "run begins");
}

/// A step at work.
pub(super) fn of_step(step: &Step) -> Span {
    let span = tracing::info_span!(
        "step",
        step_id = %step.step_id,
        placement = %step.placement,
        store = %step.store,
        category = %step.category,
        reason = step.reason.word(),
        tenant = Empty,
        request_id = Empty,
    );
    if let Some(tenant) = &step.tenant {
        span.record("tenant", tenant.as_str());
    }
    if let Some(request) = &step.request_id {
        span.record("request_id", request.as_str());
    }
    span
}

/// Several steps that share one pass; each of them is told of by itself where it begins and where it ends.
pub(super) fn of_pass(steps: &[&Step]) -> Span {
    let placement = steps.first().map(|step| step.placement.as_str());
    tracing::info_span!("pass", placement, steps = steps.len())
}

/// A step begins.
pub(super) fn begins(step: &Step) {
    of_step(step).in_scope(|| {
        tracing::info!(records = step.records, method = step.method.word(), "step begins");
    });
}

/// What came of a batch for a step.
pub(super) fn batch_done(step: &Step, batch: u64, counts: &CountsByTenant) {
    let mut all = Counts::default();
    counts.values().for_each(|counts| all.add(counts));
    of_step(step).in_scope(|| {
        tracing::debug!(
            batch,
            erased = all.erased,
            already_absent = all.already_absent,
            changed = all.changed,
            failed = all.failed,
            verified_absent = all.verified_absent,
            "batch done"
        );
    });
}

/// What came of a step.
pub(super) fn ended(draft: &Draft) {
    let all = draft.total();
    of_step(&draft.step).in_scope(|| {
        tracing::info!(
            erased = all.erased,
            already_absent = all.already_absent,
            changed = all.changed,
            failed = all.failed,
            verified_absent = all.verified_absent,
            level = draft.level.word(),
            failure = draft.failure,
            "step ends"
        );
    });
}

/// How far a request got.
pub(super) fn settled(row: &RequestRow, state: RequestState) {
    tracing::info!(
        request_id = %row.request_id,
        tenant = %row.tenant,
        state = ?state,
        deadline = %row.deadline,
        "request settled"
    );
}
