//! What comes in a path, a query or a field, as our own types. It owns the parsing; a text that fails does not come back.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::once::Question;
use crate::desk::checks;
use crate::id::TenantId;

/// The query of a call; what is not known in it is refused.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Query(params) = Query::try_from_uri(&parts.uri)
            .map_err(|_| ApiError::malformed("query", "the query is not as the document says"))?;
        Ok(Self(params))
    }
}

/// The query of a call that takes none.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// An instant as RFC 3339.
pub(super) fn time(name: &str, text: &str) -> Result<DateTime<Utc>, ApiError> {
    checks::time(text).map_err(|_| {
        ApiError::malformed("malformed", format!("`{name}` is not an RFC 3339 time with an offset"))
    })
}

/// A tenant, exactly as written.
pub(super) fn tenant(text: &str) -> Result<TenantId, ApiError> {
    TenantId::parse(text).map_err(|error| ApiError::malformed("tenant", error.to_string()))
}

/// Subjects: each has a kind and a value and nothing else.
pub(super) fn subjects(given: Vec<Map<String, Value>>) -> Result<Vec<(String, String)>, ApiError> {
    let refuse = || ApiError::malformed("malformed", "a subject has a `kind` and a `value`, both text");
    let pair = |mut subject: Map<String, Value>| match (subject.remove("kind"), subject.remove("value")) {
        (Some(Value::String(kind)), Some(Value::String(value))) if subject.is_empty() => Ok((kind, value)),
        (Some(_) | None, _) => Err(refuse()),
    };
    let subjects = given.into_iter().map(pair).collect::<Result<Vec<_>, ApiError>>()?;
    // What is wrong with a value is the form of the call; what no policy knows is told later.
    checks::subjects(&subjects).map_err(|error| ApiError::malformed("subject", error.message))?;
    Ok(subjects)
}

/// Refuses a body where nothing is to be said.
pub(super) fn no_body(question: &Question) -> Result<(), ApiError> {
    if question.body.is_empty() {
        return Ok(());
    }
    super::strict::parse::<Nothing>(&question.body).map(|Nothing {}| ())
}
