//! Whether the process lives and whether it can be asked, and the document. It owns these answers; nobody needs a token
//! for them, and they tell nothing about anybody.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::once::{Reply, json};
use super::shapes::{Live, Ready};
use super::{Api, ApiError};

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Live)))]
pub(super) async fn live() -> Result<Response, ApiError> {
    json(&Live { live: true })
}

/// The process can be asked: the ledger answers, and policies are in force. An edit of a policy that is faulty does not
/// make it unready, for the ones before stay in force; that is an alarm.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses((status = 200, body = Ready), (status = 503, body = Ready))
)]
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let ledger = match api.ledger().entry_count().await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "the ledger does not answer");
            false
        }
    };
    let policies = api.world().policies.iter().next().is_some();
    let stopping = api.service.stop.is_cancelled();
    let body = Ready { ready: ledger && policies && !stopping, ledger, policies, stopping };
    let status = if body.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(Reply::new(status, &body)?.into_response())
}

/// The document.
pub(super) fn document(text: String) -> Response {
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
