//! Every call that changes something is asked under an idempotency key and done once: the same key and body give the same
//! answer, also after a restart. It owns the key's form and what each encounter means; the ledger keeps the answers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::{Api, Caller};
use crate::ledger::{AnswerClaim, GivenAnswer};

/// Largest body.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 255;

/// What is asked under an idempotency key.
#[derive(Debug, Clone)]
pub struct Question {
    /// The key.
    pub key: String,
    /// Digest of method, path and body.
    pub content: String,
    /// The body as it came.
    pub body: Bytes,
}

/// An answer that will be given again to whoever asks the same.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: String,
}

/// Whether a question may be asked of the ledger again while nobody knows what came of it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// What it does has an idempotency key of its own in the ledger.
    Harmless,
    /// It would be done twice.
    Harmful,
}

impl Reply {
    /// A reply with a JSON body.
    ///
    /// # Errors
    /// 500 where the value cannot be written.
    pub fn new<T: Serialize>(status: StatusCode, value: &T) -> Result<Self, ApiError> {
        Ok(Self { status, body: json_of(value)? })
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        respond(self.status, self.body)
    }
}

/// A JSON answer.
///
/// # Errors
/// 500 where the value cannot be written.
pub(super) fn json<T: Serialize>(value: &T) -> Result<Response, ApiError> {
    Ok(respond(StatusCode::OK, json_of(value)?))
}

fn json_of<T: Serialize>(value: &T) -> Result<String, ApiError> {
    serde_json::to_string(value).map_err(|error| ApiError::internal(format!("failed to write JSON: {error}")))
}

fn respond(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl FromRequest<Arc<Api>> for Question {
    type Rejection = ApiError;

    async fn from_request(call: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        let key = key_of(call.headers())?;
        let (method, path) = (call.method().clone(), call.uri().path().to_owned());
        let is_json = call.headers().get(header::CONTENT_TYPE).map(is_json);
        let body = body_of(call, api).await?;
        if !body.is_empty() && is_json != Some(true) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "the body is JSON and says so: Content-Type: application/json",
            ));
        }
        let digest = Sha256::new()
            .chain_update(method.as_str())
            .chain_update([0])
            .chain_update(&path)
            .chain_update([0])
            .chain_update(&body)
            .finalize();
        Ok(Self { key, content: hex::encode(digest), body })
    }
}

pub(super) fn is_json(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let (kind, rest) = text.split_once(';').unwrap_or((text, ""));
    let rest = rest.trim();
    kind.trim().eq_ignore_ascii_case("application/json")
        && (rest.is_empty() || rest.eq_ignore_ascii_case("charset=utf-8"))
}

fn key_of(headers: &HeaderMap) -> Result<String, ApiError> {
    let mut given = headers.get_all("idempotency-key").iter();
    let refuse = |why: &'static str| Err(ApiError::malformed("idempotency-key", why));
    let value = match (given.next(), given.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (None, _) => {
            return refuse("the header Idempotency-Key is missing: what changes something needs one");
        }
        (Some(_), Some(_)) => return refuse("the header Idempotency-Key is given twice"),
    };
    let is_fit = !value.is_empty()
        && value.len() <= KEY_BYTES_MAX
        && value.bytes().all(|byte| byte.is_ascii_graphic());
    if is_fit {
        Ok(value.to_owned())
    } else {
        refuse("an idempotency key is 1 to 255 visible ASCII characters")
    }
}

/// The body, whole, in time and not too long.
pub(super) async fn body_of(call: Request, api: &Api) -> Result<Bytes, ApiError> {
    let announced = call.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let too_long = || ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "a body has at most 256 KiB");
    if announced.is_some_and(|text| text.parse::<usize>().is_ok_and(|length| length > BODY_BYTES_MAX)) {
        return Err(too_long());
    }
    let read = axum::body::to_bytes(call.into_body(), BODY_BYTES_MAX);
    match tokio::time::timeout(api.limits.body_read, read).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(ApiError::malformed("body", "the body could not be read to its end")),
        Err(_) => {
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "the body did not arrive in time"))
        }
    }
}

/// Answers a question: does the work if nobody did, else gives the answer that was given. The work goes on although the
/// caller hangs up.
///
/// # Errors
/// What the work says; 409 while the same is being answered, 422 for another question under the same key, 503 where too
/// much is being answered.
pub(super) async fn once<F>(
    api: &Arc<Api>,
    caller: &Caller,
    question: &Question,
    again: Again,
    work: F,
) -> Result<Response, ApiError>
where
    F: Future<Output = Result<Reply, ApiError>> + Send + 'static,
{
    let busy = || {
        let message = "too much is being answered; nothing was accepted, ask again";
        ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "busy", message, 1)
    };
    let place = Arc::clone(&api.queue).try_acquire_owned().map_err(|_| busy())?;
    let name = (caller.principal.clone(), question.key.clone());
    let content = content_of(question, caller)?;
    let flight = super::Flight::begin(api, name.clone()).ok_or_else(running)?;
    let api = Arc::clone(api);
    let tasks = api.tasks.clone();
    // On a task of its own: whoever asked may hang up at any point, and a claim must not be left without an answer.
    let answered = tasks.spawn(async move {
        let came = settle(&api, &name, &content, again, work).await;
        drop((flight, place));
        came
    });
    match answered.await {
        Ok(came) => came,
        Err(_) => Err(ApiError::internal("a handler panicked")),
    }
}

/// What is compared: the question and the rights under which it is asked. A principal may hold tokens of several tenants and
/// roles, and none of them is given another one's answer.
fn content_of(question: &Question, caller: &Caller) -> Result<String, ApiError> {
    let rights = json_of(&(&question.content, caller.role, &caller.tenant))?;
    Ok(hex::encode(Sha256::digest(rights)))
}

async fn settle<F>(
    api: &Api,
    (principal, key): &(String, String),
    content: &str,
    again: Again,
    work: F,
) -> Result<Response, ApiError>
where
    F: Future<Output = Result<Reply, ApiError>>,
{
    match api.ledger().claim_answer(principal, key, content, api.now()).await? {
        AnswerClaim::New => {}
        AnswerClaim::Running if again == Again::Harmless => {}
        AnswerClaim::Running => return Err(running()),
        AnswerClaim::Other => {
            let message = "another question was asked under this idempotency key";
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "other-question", message));
        }
        AnswerClaim::Given(GivenAnswer { status, body }) => {
            let status = StatusCode::from_u16(status)
                .map_err(|_| ApiError::internal("a recorded answer has no HTTP status"))?;
            let mut response = respond(status, body);
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
            return Ok(response);
        }
    }
    let reply = work.await;
    let given = reply
        .as_ref()
        .ok()
        .map(|reply| GivenAnswer { status: reply.status.as_u16(), body: reply.body.clone() });
    // What was done is durable, so it is answered also where the answer itself could not be kept.
    if let Err(error) = api.ledger().give_answer(principal, key, given.as_ref()).await {
        tracing::warn!(%error, "failed to keep an answer under its idempotency key");
    }
    if given.is_some() {
        api.tell();
    }
    reply.map(|reply| respond(reply.status, reply.body))
}

fn running() -> ApiError {
    ApiError::later(StatusCode::CONFLICT, "in-flight", "the same is being answered just now", 1)
}
