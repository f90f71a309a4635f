//! What every call passes, whatever it asks for: the path and the headers are plain, it ends in time, it is answered in
//! one shape with a correlation id, and it is logged once. It owns these rules; who calls is asked behind it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::error::ApiError;
use crate::clock::Stopwatch;

/// From the first byte of the body to the last byte of the answer.
const TOTAL: Duration = Duration::from_secs(30);

/// The correlation id of a call.
#[derive(Debug, Clone)]
pub struct CallId(pub String);

/// Lets a call through and shapes what comes back.
pub(super) async fn guard(mut call: Request, next: Next) -> Response {
    let id = new_id();
    let watch = Stopwatch::start();
    let method = call.method().clone();
    call.extensions_mut().insert(CallId(id.clone()));
    let refusal = path_fault(call.uri()).or_else(|| header_fault(call.headers(), call.version()));
    let mut response = match refusal {
        Some(error) => close(error.into_response()),
        None => answer(call, next).await,
    };
    let error = response.extensions_mut().remove::<ApiError>();
    let route = response.extensions_mut().remove::<Route>().map_or(String::new(), |route| route.0);
    let status = response.status();
    let code = error.as_ref().map_or("", |error| error.code);
    let took_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(request = %id, %method, route, status = status.as_u16(), code, took_ms, "answered");
    if let Some(cause) = error.as_ref().and_then(|error| error.cause.as_ref()) {
        tracing::warn!(request = %id, code, cause, "failed to answer a call");
    }
    dress(response, error, &id)
}

/// The route that answered, as it is written in the document: it holds no id and no tenant.
#[derive(Clone)]
struct Route(String);

async fn answer(call: Request, next: Next) -> Response {
    let route = call.extensions().get::<MatchedPath>().map(|path| Route(path.as_str().to_owned()));
    let work = AssertUnwindSafe(next.run(call)).catch_unwind();
    let mut response = match tokio::time::timeout(TOTAL, work).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ApiError::internal("a handler panicked").into_response(),
        Err(_) => {
            let message = "it took too long; what was begun goes on, and the same key tells what came of it";
            close(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too-slow", message).into_response())
        }
    };
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// Why a path is not taken. Two ways to write one path are one too many for whoever guards it by its text.
fn path_fault(uri: &Uri) -> Option<ApiError> {
    let refuse = |why: &'static str| Some(ApiError::malformed("path", why));
    if uri.authority().is_some() || uri.scheme().is_some() {
        return refuse("the target is a path and nothing else");
    }
    let path = uri.path();
    if !path.starts_with('/') {
        return refuse("the target is a path and nothing else");
    }
    if uri.query().is_some_and(|query| query.len() > 4_096) || path.len() > 4_096 {
        return refuse("the target is longer than 4096 bytes");
    }
    let Some(plain) = decoded(path) else {
        return refuse("the path has an escape that is not UTF-8 in hexadecimal");
    };
    if plain.chars().any(|c| c.is_control() || matches!(c, '\\' | '%' | ';' | '?' | '#')) {
        return refuse("the path holds a control character or one that is not taken in paths");
    }
    if plain.matches('/').count() != path.matches('/').count() {
        return refuse("the path holds an escaped slash");
    }
    if plain.split('/').skip(1).any(|part| part.is_empty() || part == "." || part == "..") {
        return refuse("the path has an empty part, or one that means another place");
    }
    None
}

/// The path with its escapes undone, once.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let text = std::str::from_utf8(digits).ok()?;
            if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(text, 16).ok()?);
            rest = after;
        } else if byte.is_ascii() {
            bytes.push(*byte);
        } else {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}

fn header_fault(headers: &HeaderMap, version: Version) -> Option<ApiError> {
    if version != Version::HTTP_11 {
        return Some(ApiError::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "version",
            "only HTTP/1.1 is spoken here",
        ));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // A body with a length and in chunks is two bodies; a small one needs no chunks.
        let message = "send the body with its Content-Length and not in chunks";
        return Some(ApiError::new(StatusCode::LENGTH_REQUIRED, "length-required", message));
    }
    if headers.contains_key(header::UPGRADE) || headers.contains_key(header::EXPECT) {
        return Some(ApiError::malformed("header", "neither upgrades nor expectations are taken"));
    }
    let is_plain = |value: &HeaderValue| value.to_str().is_ok();
    if headers.values().all(is_plain) {
        None
    } else {
        Some(ApiError::malformed("header", "a header is not plain ASCII"))
    }
}

/// What was not read of the body must not be taken for the next call.
fn close(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn dress(mut response: Response, error: Option<ApiError>, id: &str) -> Response {
    let error = error.or_else(|| shape(response.status(), response.headers()));
    if let Some(error) = error {
        let body = error.body(id);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.body_mut() = Body::from(body);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-request-id", id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An answer that the framework made itself gets our shape too.
fn shape(status: StatusCode, headers: &HeaderMap) -> Option<ApiError> {
    let is_ours = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    match status {
        _ if is_ours || status.is_success() || status.is_redirection() => None,
        StatusCode::NOT_FOUND => Some(ApiError::not_found()),
        StatusCode::METHOD_NOT_ALLOWED => {
            Some(ApiError::new(status, "method", "this method has no effect here"))
        }
        _ if status.is_client_error() => {
            Some(ApiError::new(status, "malformed", "the call is not as the document says"))
        }
        _ => Some(ApiError::internal("an answer without a shape")),
    }
}

/// 128 random bits; without randomness a call is still answered.
fn new_id() -> String {
    let mut random = [0; 16];
    match getrandom::fill(&mut random) {
        Ok(()) => hex::encode(random),
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_way_to_be_written() {
        for path in [
            "/v1/tenants/a%2F..%2Fb",
            "/v1//tenants",
            "/v1/tenants/",
            "/v1/tenants/a%00",
            "/v1/tenants/a;x",
            "/v1/tenants/a%3bx",
            "/v1/tenants/a%252Fb",
            "/v1/tenants/..",
            "/v1/tenants/%2e%2e/b",
            "/v1/./tenants",
            "/v1/tenants/a%5Cb",
            "/v1/tenants/%ff",
            "/v1/tenants/%4",
            "/v1/tenants/%zz",
            "/v1/tenants/%0a",
            "http://elsewhere/v1/tenants",
        ] {
            let uri: Uri = path.parse().unwrap();
            assert_eq!(path_fault(&uri).map(|error| error.status), Some(StatusCode::BAD_REQUEST), "{path}");
        }
        for path in
            ["/v1/tenants/acme", "/v1/tenants/caf%C3%A9", "/", "/v1/requests?since=2026-01-01T00:00:00Z"]
        {
            let uri: Uri = path.parse().unwrap();
            assert!(path == "/" || path_fault(&uri).is_none(), "{path}");
        }
    }
}
