//! Answers in the form of the specification: signed bodies, and errors with a number as their code.
//! It owns that form; what is said is made by the handlers.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use crate::http::ApiError;
use crate::opendsr::answer;
use crate::opendsr::body::Fault;
use crate::opendsr::signature::Signer;

/// Why a call was not answered as asked.
pub(super) struct Refusal {
    status: u16,
    message: String,
    faults: Vec<Fault>,
    retry_after: Option<u32>,
}

impl Refusal {
    /// With this status and sentence.
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), faults: Vec::new(), retry_after: None }
    }

    /// What was sent is not as it has to be (400).
    pub(super) fn faults(faults: Vec<Fault>) -> Self {
        let message = faults.first().map(|fault| fault.message.clone()).unwrap_or_default();
        Self { faults, ..Self::new(400, message) }
    }

    /// The answer; `domain` is who says so.
    pub(super) fn answer(&self, domain: &str) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = plain(status, &answer::error(domain, self.status, &self.message, &self.faults));
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        if let Some(cause) = &error.cause {
            tracing::warn!(%cause, "an OpenDSR call failed");
        }
        let status = error.status.as_u16();
        Self { retry_after: error.retry_after, ..Self::new(status, error.message) }
    }
}

/// A JSON answer that nobody signs.
pub(super) fn plain(status: StatusCode, body: &Value) -> Response {
    respond(status, "application/json", body.to_string())
}

/// A JSON answer with the signature over exactly its bytes.
pub(super) fn signed(signer: &Signer, status: StatusCode, body: &Value) -> Result<Response, Refusal> {
    let body = body.to_string();
    let headers = signer.headers(body.as_bytes()).map_err(ApiError::internal)?;
    let mut response = respond(status, "application/json", body);
    for (name, value) in headers {
        let name: HeaderName = name.parse().map_err(|_| ApiError::internal("a header without a name"))?;
        let value = value.parse().map_err(|_| ApiError::internal("a header that is not ASCII"))?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Certificates.
pub(super) fn pem(text: &str) -> Response {
    respond(StatusCode::OK, "application/x-pem-file", text.to_owned())
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
