//! `/v1/exports/{id}/file`: a finished export is pulled, file by file, as its manifest names them. It parses, calls one
//! service function and passes the bytes on.

#![expect(unused_qualifications, reason = "utoipa writes types with their path where it expands them")]

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use super::inputs::Params;
use super::shapes::Errors;
use super::{Api, ApiError, Caller};
use crate::export;
use crate::gather::Trouble;
use crate::id::StoreId;
use crate::ledger::{ExportState, Role};
use crate::stores::{ErrorKind, Retry, StoreError};

/// Which file.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FileName {
    /// `manifest.json`, or a name that is in it.
    #[param(min_length = 1)]
    name: String,
}

/// A file of a finished export: a requester's own tenant's, or any.
#[utoipa::path(
    get, path = "/v1/exports/{id}/file", tag = "accounts", params(("id" = String, Path), FileName),
    responses(
        (status = 200, body = String, content_type = "application/octet-stream"), Errors
    ),
    security(("bearer" = []))
)]
pub(super) async fn file(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    Params(FileName { name }): Params<FileName>,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Requester, Role::Operator])?;
    let rows = api.ledger().exports().await?;
    let row = rows.into_iter().find(|row| row.export_id.as_str() == id && caller.may_see(&row.tenant));
    let Some(row) = row else { return Err(caller.not_found(&api, "export").await) };
    if row.state != ExportState::Finished {
        let message = "the export is not finished";
        return Err(ApiError::new(StatusCode::CONFLICT, "unfinished", message));
    }
    let place = api.pulls.begin(&caller.principal)?;
    let opened = tokio::time::timeout(api.limits.piece, export::open_file(&api.world(), &row, &name)).await;
    let body = match opened.unwrap_or_else(|_| Err(broken().into())) {
        Ok(Some(body)) => body,
        Ok(None) | Err(Trouble::Schema(_)) => return Err(caller.not_found(&api, "file").await),
        Err(trouble @ (Trouble::Unreachable(_) | Trouble::Doubt(_) | Trouble::Damaged(_))) => {
            return Err(trouble.into());
        }
    };
    if name == export::MANIFEST {
        let fields = json!({
            "export_id": row.export_id, "tenant": row.tenant,
            "principal": caller.principal, "token_id": caller.token,
        });
        api.ledger().record_entry("export-pulled", fields, api.now()).await?;
        api.published.notify_one();
    }
    let patience = api.limits.piece;
    let pieces = stream::unfold(Some((body, place)), move |open| async move {
        let (mut body, place) = open?;
        let next = tokio::time::timeout(patience, body.next(broken)).await;
        match next.unwrap_or_else(|_| Err(broken())) {
            Ok(Some(bytes)) => Some((Ok(bytes), Some((body, place)))),
            Ok(None) => None,
            // The connection breaks off, so that half a file is never taken for a whole one.
            Err(error) => Some((Err(error), None)),
        }
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn broken() -> StoreError {
    StoreError {
        kind: ErrorKind::Unreachable,
        retry: Retry::Later,
        store: StoreId::new("export"),
        operation: "read a file",
        message: "the file broke off".to_owned(),
    }
}
