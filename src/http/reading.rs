//! `/v1/status`, `/v1/plan`, `/v1/certificates` and `/v1/audit`: what is read and changes nothing. It parses, calls one
//! service function and shapes the answer.

#![expect(unused_qualifications, reason = "utoipa writes types with their path where it expands them")]

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::SemaphorePermit;
use utoipa::IntoParams;

use super::inputs::{Params, time};
use super::once::json as answer;
use super::shapes::Errors;
use super::shapes::evidence::{Certificate, Plan, Proof, SignedHead, Status};
use super::{Api, ApiError, Caller};
use crate::audit::{self, certify::certify};
use crate::gather;
use crate::id::RequestId;
use crate::ledger::Role;

/// For which instant.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Instant {
    /// As RFC 3339, past or future; now where left out.
    #[param(value_type = Option<String>, format = DateTime, nullable = false)]
    at: Option<String>,
}

/// Which entry.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EntryIndex {
    /// Counted from 0.
    #[param(minimum = 0)]
    index: u64,
}

/// The promises at a glance, asked of ledger and stores now.
#[utoipa::path(
    get, path = "/v1/status", tag = "reading",
    responses((status = 200, body = Status), Errors), security(("bearer" = []))
)]
pub(super) async fn status(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator, Role::Auditor])?;
    let _place = heavy(&api)?;
    answer(&gather::status(&api.world()).await?)
}

/// What would be erased and what is kept, and why. Changes nothing.
#[utoipa::path(
    get, path = "/v1/plan", tag = "reading", params(Instant),
    responses((status = 200, body = Plan), Errors), security(("bearer" = []))
)]
pub(super) async fn plan(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(Instant { at }): Params<Instant>,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator, Role::Auditor])?;
    let at = at.as_deref().map(|text| time("at", text)).transpose()?;
    let _place = heavy(&api)?;
    let world = api.world();
    answer(&gather::plan_at(&world, at.unwrap_or_else(|| world.clock.now())).await?)
}

/// What was erased for a request or in a run, where, how, verified when, and what is residual until when.
#[utoipa::path(
    get, path = "/v1/certificates/{id}", tag = "reading", params(("id" = String, Path)),
    responses((status = 200, body = Certificate), Errors), security(("bearer" = []))
)]
pub(super) async fn certificate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Requester, Role::Operator, Role::Auditor])?;
    if caller.role == Role::Requester {
        // A run concerns every tenant; a requester sees its own requests only.
        super::requests::seen(&api, &caller, &RequestId::new(id.clone())).await?;
    }
    let world = api.world();
    answer(&certify(api.ledger(), &world.config.audit, &id, world.clock.now()).await?)
}

/// The signed head of the audit log.
#[utoipa::path(
    get, path = "/v1/audit/checkpoint", tag = "reading",
    responses((status = 200, body = SignedHead), Errors), security(("bearer" = []))
)]
pub(super) async fn checkpoint(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator, Role::Auditor])?;
    let checkpoint = audit::signed_head(&api.world().config.audit).await?;
    answer(&SignedHead { checkpoint })
}

/// The proof that an entry is in the log, to be checked with the public key alone.
#[utoipa::path(
    get, path = "/v1/audit/proof", tag = "reading", params(EntryIndex),
    responses((status = 200, body = Proof), Errors), security(("bearer" = []))
)]
pub(super) async fn proof(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(EntryIndex { index }): Params<EntryIndex>,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator, Role::Auditor])?;
    let proof = audit::prove(&api.world().config.audit, index).await?;
    answer(&Proof { index, proof })
}

/// A tile of the log (C2SP tlog-tiles), by its path below `tile/`.
#[utoipa::path(
    get, path = "/v1/audit/tile/{*path}", tag = "reading", params(("path" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), Errors),
    security(("bearer" = []))
)]
pub(super) async fn tile(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator, Role::Auditor])?;
    let bytes = audit::tile(&api.world().config.audit, &format!("tile/{path}")).await?;
    let mut response = bytes.ok_or_else(ApiError::not_found)?.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// A place among the calls that ask every store.
fn heavy(api: &Api) -> Result<SemaphorePermit<'_>, ApiError> {
    api.heavy.try_acquire().map_err(|_| {
        let message = "the stores are being asked by others; ask again";
        ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "busy", message, 2)
    })
}
