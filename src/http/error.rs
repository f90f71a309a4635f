//! The one HTTP error: a status, a stable code, a sentence, the request's correlation id.
//! It owns what of an inner error may leave the house: no stack, no SQL, no path, no key, no subject's value.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::audit::AuditError;
use crate::desk::{DeskError, Kind};
use crate::gather::Trouble;
use crate::ledger::LedgerError;

/// Why a call was not answered as asked.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
    /// With a conflict: the state that does not allow it, where it has a word.
    pub state: Option<&'static str>,
    /// When to ask again, in seconds.
    pub retry_after: Option<u32>,
    /// What the log is told and the caller is not.
    pub cause: Option<String>,
}

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorFields,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorFields {
    /// A stable word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The correlation id of the call; the log of the service has it too.
    pub request: String,
    /// The state that does not allow what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub state: Option<String>,
}

impl ApiError {
    /// An error with this status, code and sentence.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), state: None, retry_after: None, cause: None }
    }

    /// What was sent is not as the document says (400).
    pub fn malformed(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// There is no such thing, or none that the caller may know of (404): both look the same.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is no such thing here")
    }

    /// The caller's role does not allow it (403).
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "the role of this token does not allow it")
    }

    /// Too much at once (429 or 503).
    pub fn later(status: StatusCode, code: &'static str, message: &str, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(status, code, message) }
    }

    /// Something failed that the caller cannot help (500).
    pub fn internal(cause: impl Into<String>) -> Self {
        let message = "something failed; the log of the service says what, under this request";
        let error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message);
        Self { cause: Some(cause.into()), ..error }
    }

    fn unreachable(cause: String) -> Self {
        let message = "what this needs is out of reach; ask again later";
        let error = Self::later(StatusCode::SERVICE_UNAVAILABLE, "unreachable", message, 5);
        Self { cause: Some(cause), ..error }
    }

    fn refused(cause: String) -> Self {
        let message = "refused: ledger, stores or audit log are in doubt; the log of the service says why";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "in-doubt", message);
        Self { cause: Some(cause), ..error }
    }

    /// The body, with the correlation id of the call.
    pub(super) fn body(&self, request: &str) -> String {
        let error = ErrorFields {
            code: self.code.to_owned(),
            message: self.message.clone(),
            request: request.to_owned(),
            state: self.state.map(str::to_owned),
        };
        serde_json::to_string(&ErrorBody { error }).unwrap_or_default()
    }
}

/// Status and headers; the body is written by `guard`, which knows the correlation id.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<DeskError> for ApiError {
    fn from(error: DeskError) -> Self {
        match error.kind {
            Kind::Usage => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unfit", error.message),
            Kind::Unknown => Self::not_found(),
            Kind::Conflict => {
                Self { state: error.state, ..Self::new(StatusCode::CONFLICT, "conflict", error.message) }
            }
            Kind::Refused => Self::new(StatusCode::FORBIDDEN, "refused", error.message),
            Kind::Unreachable => Self::unreachable(error.message),
            Kind::Unmet => Self::internal(error.message),
        }
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Doubt(why) => Self::refused(why),
            LedgerError::Unreachable { .. } | LedgerError::Unknown { .. } | LedgerError::State(_) => {
                DeskError::from(error).into()
            }
        }
    }
}

impl From<Trouble> for ApiError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unreachable(why) => Self::unreachable(why),
            Trouble::Schema(why) | Trouble::Doubt(why) | Trouble::Damaged(why) => Self::refused(why),
        }
    }
}

impl From<AuditError> for ApiError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Ledger(error) => error.into(),
            AuditError::Files { .. } => Self::unreachable(error.to_string()),
            AuditError::Usage(_) => Self::not_found(),
            AuditError::Refused(why) | AuditError::Damaged(why) => Self::refused(why),
        }
    }
}
