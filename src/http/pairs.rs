//! `/v1/proposals` and the approval of refused plans: what takes two persons. It parses, calls one service function and
//! shapes the answer. Whoever approves repeats the digest of what is proposed: nothing is approved by following a link.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::inputs::no_body;
use super::once::{Again, json as answer, once};
use super::shapes::{Errors, Key, Proposal, Proposals};
use super::{Api, ApiError, Caller, Question, Reply, strict};
use crate::desk;
use crate::id::{PlanId, ProposalId};
use crate::ledger::{ProposalRow, Role};

/// What is approved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalBody {
    /// The proposal's `digest`.
    #[schema(min_length = 64, max_length = 64)]
    digest: String,
}

/// Lists all proposals.
#[utoipa::path(
    get, path = "/v1/proposals", tag = "two persons",
    responses((status = 200, body = Proposals), Errors), security(("bearer" = []))
)]
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator, Role::Approver, Role::Auditor])?;
    let rows = api.ledger().proposals().await?;
    answer(&Proposals { proposals: rows.into_iter().map(proposed).collect::<Result<_, ApiError>>()? })
}

/// Shows one proposal, with the digest that its approval repeats.
#[utoipa::path(
    get, path = "/v1/proposals/{id}", tag = "two persons", params(("id" = String, Path)),
    responses((status = 200, body = Proposal), Errors), security(("bearer" = []))
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator, Role::Approver, Role::Auditor])?;
    let rows = api.ledger().proposals().await?;
    let row = rows.into_iter().find(|row| row.proposal_id.as_str() == id);
    answer(&proposed(row.ok_or_else(ApiError::not_found)?)?)
}

/// Approves what another person proposed; it is done before the answer. A plan is carried out by the next run.
#[utoipa::path(
    post, path = "/v1/proposals/{id}/approve", tag = "two persons", params(("id" = String, Path), Key),
    request_body = ApprovalBody,
    responses((status = 200, body = Proposal), Errors), security(("bearer" = []))
)]
pub(super) async fn approve(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Approver])?;
    let body: ApprovalBody = strict::parse(&question.body)?;
    let (work, by) = (Arc::clone(&api), caller.principal.clone());
    once(&api, &caller, &question, Again::Harmful, async move {
        let (id, world, now) = (ProposalId::new(id), work.world(), work.now());
        let (row, _) = desk::approve(&world, work.ledger(), &id, &body.digest, &by, now).await?;
        Reply::new(StatusCode::OK, &proposed(row)?)
    })
    .await
}

/// Proposes to carry out the refused steps of a stored plan; another person approves.
#[utoipa::path(
    post, path = "/v1/plans/{id}/approve", tag = "two persons", params(("id" = String, Path), Key),
    responses((status = 202, body = Proposal), Errors), security(("bearer" = []))
)]
pub(super) async fn propose_plan(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator])?;
    no_body(&question)?;
    let (work, by) = (Arc::clone(&api), caller.principal.clone());
    once(&api, &caller, &question, Again::Harmful, async move {
        let row = desk::propose_approval(work.ledger(), &PlanId::new(id), &by, work.now()).await?;
        Reply::new(StatusCode::ACCEPTED, &proposed(row)?)
    })
    .await
}

/// A proposal with the digest that its approval repeats.
pub(super) fn proposed(row: ProposalRow) -> Result<Proposal, ApiError> {
    let action = serde_json::to_value(&row.action)
        .map_err(|error| ApiError::internal(format!("failed to write JSON: {error}")))?;
    Ok(Proposal {
        proposal_id: row.proposal_id.to_string(),
        digest: desk::binding_of(&row.action)?,
        action,
        proposed_by: row.proposed_by,
        proposed_at: row.proposed_at,
        expires_at: row.expires_at,
        approved_by: row.approved_by,
        approved_at: row.approved_at,
    })
}
