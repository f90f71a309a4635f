//! `/v1/holds`, `/v1/stop` and `/v1/go`: what keeps data, and what keeps everything from being erased. It parses, calls one
//! service function and shapes the answer; releasing a hold takes two persons and is only proposed here.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::inputs::{no_body, subjects, tenant};
use super::once::{Again, json as answer, once};
use super::pairs::proposed;
use super::shapes::{Errors, Hold, Holds, Key, Proposal, Stopped, Subject};
use super::{Api, ApiError, Caller, Question, Reply, strict};
use crate::desk::{self, AskedHold, checks};
use crate::id::{Category, HoldId};
use crate::ledger::{Role, Stop};

/// A lawful order: at least one of `subjects` and `categories`, or `everything`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewHoldBody {
    /// Whose data.
    #[schema(min_length = 1)]
    tenant: String,
    /// Only records that name one of these.
    #[serde(default)]
    #[schema(value_type = Vec<Subject>, max_items = 1000)]
    subjects: Vec<Map<String, Value>>,
    /// Only these categories.
    #[serde(default)]
    #[schema(max_items = 1000)]
    categories: Vec<String>,
    /// All data of the tenant.
    #[serde(default)]
    everything: bool,
    /// Who ordered it: a court, a reference.
    #[schema(min_length = 1)]
    authority: String,
}

/// Why a hold should end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseBody {
    /// In words, for who approves.
    #[schema(min_length = 1)]
    reason: String,
}

/// Why everything stops.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StopBody {
    /// In words, for whoever is stopped.
    #[schema(min_length = 1)]
    reason: String,
}

/// Lists all holds.
#[utoipa::path(
    get, path = "/v1/holds", tag = "orders",
    responses((status = 200, body = Holds), Errors), security(("bearer" = []))
)]
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator, Role::Auditor])?;
    answer(&json!({"holds": api.ledger().holds().await?}))
}

/// Places a hold. The answer comes when no batch that began before it still runs, in any process.
#[utoipa::path(
    post, path = "/v1/holds", tag = "orders", params(Key), request_body = NewHoldBody,
    responses((status = 201, body = Hold), Errors), security(("bearer" = []))
)]
pub(super) async fn place(
    State(api): State<Arc<Api>>,
    caller: Caller,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator])?;
    let body: NewHoldBody = strict::parse(&question.body)?;
    let is_narrow = !(body.subjects.is_empty() && body.categories.is_empty());
    if is_narrow == body.everything {
        let message = "say what is held: `subjects`, `categories` or both; or `everything`";
        return Err(ApiError::malformed("scope", message));
    }
    let asked = AskedHold {
        tenant: tenant(&body.tenant)?,
        subjects: subjects(body.subjects)?,
        categories: body.categories.into_iter().map(Category::new).collect(),
        authority: body.authority,
    };
    let work = Arc::clone(&api);
    once(&api, &caller, &question, Again::Harmful, async move {
        let new = desk::hold_of(Some(&work.world().policies), asked)?;
        Reply::new(StatusCode::CREATED, &desk::place_hold(work.ledger(), &new, work.now()).await?)
    })
    .await
}

/// Proposes to release a hold; another person approves.
#[utoipa::path(
    post, path = "/v1/holds/{id}/release", tag = "orders", params(("id" = String, Path), Key),
    request_body = ReleaseBody,
    responses((status = 202, body = Proposal), Errors), security(("bearer" = []))
)]
pub(super) async fn release(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator])?;
    let body: ReleaseBody = strict::parse(&question.body)?;
    let (work, by) = (Arc::clone(&api), caller.principal.clone());
    once(&api, &caller, &question, Again::Harmful, async move {
        let id = HoldId::new(id);
        let row = desk::propose_release(work.ledger(), &id, &body.reason, &by, work.now()).await?;
        Reply::new(StatusCode::ACCEPTED, &proposed(row)?)
    })
    .await
}

/// The emergency stop: no batch begins anywhere until `go`.
#[utoipa::path(
    post, path = "/v1/stop", tag = "orders", params(Key), request_body = StopBody,
    responses((status = 200, body = Stopped), Errors), security(("bearer" = []))
)]
pub(super) async fn stop(
    State(api): State<Arc<Api>>,
    caller: Caller,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator, Role::Approver])?;
    let body: StopBody = strict::parse(&question.body)?;
    let reason = checks::words("the reason", &body.reason)?;
    let work = Arc::clone(&api);
    once(&api, &caller, &question, Again::Harmless, async move {
        let stop = desk::stop(work.ledger(), &reason, work.now()).await?;
        Reply::new(StatusCode::OK, &stopped(Some(stop)))
    })
    .await
}

/// Ends the emergency stop.
#[utoipa::path(
    post, path = "/v1/go", tag = "orders", params(Key),
    responses((status = 200, body = Stopped), Errors), security(("bearer" = []))
)]
pub(super) async fn go(
    State(api): State<Arc<Api>>,
    caller: Caller,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator])?;
    no_body(&question)?;
    let work = Arc::clone(&api);
    once(&api, &caller, &question, Again::Harmful, async move {
        desk::go(work.ledger(), work.now()).await?;
        Reply::new(StatusCode::OK, &stopped(None))
    })
    .await
}

fn stopped(stop: Option<Stop>) -> Stopped {
    Stopped {
        stopped: stop.is_some(),
        stopped_at: stop.as_ref().map(|stop| stop.stopped_at),
        reason: stop.map(|stop| stop.reason),
    }
}
