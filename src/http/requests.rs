//! `/v1/requests`: erasure requests are accepted, listed, shown and cancelled. It parses, calls one service function and
//! shapes the answer. *Accepted* means durable: the answer comes after the commit, with a signed receipt.

#![expect(unused_qualifications, reason = "utoipa writes types with their path where it expands them")]

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::inputs::{self, Params, no_body, time};
use super::once::{Again, json as answer, once};
use super::shapes::{Accepted, Errors, Key, Request, Requests, Subject};
use super::{Api, ApiError, Caller, Question, Reply, strict};
use crate::audit::receipt::{Receipt, Signer};
use crate::desk::{self, AskedRequest};
use crate::id::{Category, RequestId, TenantId};
use crate::ledger::{LedgerError, NewScope, RequestRow, RequestState, Role};

/// Most requests on one page.
const PAGE_MAX: u32 = 1_000;

/// An erasure request: exactly one of `subjects`, `categories` and `everything`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRequestBody {
    /// Whose data. A requester has one tenant and may leave it out; another one is refused.
    #[schema(nullable = false)]
    tenant: Option<String>,
    /// Records that name one of these.
    #[serde(default)]
    #[schema(value_type = Vec<Subject>, min_items = 1, max_items = 1000)]
    subjects: Vec<Map<String, Value>>,
    /// Everything in these categories.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 1000)]
    categories: Vec<String>,
    /// All data of the tenant.
    #[serde(default)]
    everything: bool,
    /// When it was received, as RFC 3339, where that was before this call; an operator says so.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    received_at: Option<String>,
}

/// Which requests are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listed {
    /// Only those recorded at this instant or later, as RFC 3339.
    #[param(value_type = Option<String>, format = DateTime, nullable = false)]
    since: Option<String>,
    /// Only those that are neither completed nor cancelled, where true.
    #[param(nullable = false)]
    open: Option<bool>,
    /// The page after this request.
    #[param(nullable = false)]
    after: Option<String>,
    /// Requests on the page.
    #[param(minimum = 1, maximum = 1000, nullable = false)]
    limit: Option<u32>,
}

/// Asks to have data erased.
#[utoipa::path(
    post, path = "/v1/requests", tag = "requests", params(Key), request_body = NewRequestBody,
    responses((status = 202, body = Accepted, description = "It is durable."), Errors), security(("bearer" = []))
)]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Requester, Role::Operator])?;
    let body: NewRequestBody = strict::parse(&question.body)?;
    let tenant = own_tenant(&caller, body.tenant.as_deref())?;
    let scope = scope_of(body.subjects, body.categories, body.everything)?;
    let received_at = body.received_at.as_deref().map(|text| time("received_at", text)).transpose()?;
    if received_at.is_some() && caller.role != Role::Operator {
        return Err(ApiError::forbidden());
    }
    // No principal holds a colon, so two principals' keys never meet.
    let idempotency_key = Some(format!("http:{}:{}", caller.principal, question.key));
    let asked = AskedRequest { tenant, scope, received_at, submitted_at: None, idempotency_key };
    let (work, sent) = (Arc::clone(&api), question.body.clone());
    once(&api, &caller, &question, Again::Harmless, async move { accept(&work, asked, &sent).await }).await
}

async fn accept(api: &Api, asked: AskedRequest, sent: &[u8]) -> Result<Reply, ApiError> {
    let world = api.world();
    let now = world.clock.now();
    // What could not be answered for is not accepted.
    let signer = Signer::open(api.ledger(), &world.config.audit, now).await?;
    let row = desk::create_request(&world, api.ledger(), asked, now).await?.row;
    let receipt = Receipt {
        id: row.request_id.as_str(),
        received_at: row.received_at,
        deadline: Some(row.deadline),
        body: sent,
    };
    let receipt = signer.sign(&receipt)?;
    let accepted = Accepted {
        request_id: row.request_id.to_string(),
        tenant: row.tenant.to_string(),
        known: row.known,
        received_at: row.received_at,
        deadline: row.deadline,
        categories: row.categories.iter().map(ToString::to_string).collect(),
        receipt,
    };
    Reply::new(StatusCode::ACCEPTED, &accepted)
}

/// Lists requests in order of receipt: a requester's own, or all.
#[utoipa::path(
    get, path = "/v1/requests", tag = "requests", params(Listed),
    responses((status = 200, body = Requests), Errors), security(("bearer" = []))
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Params(listed): Params<Listed>,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Requester, Role::Operator, Role::Auditor])?;
    let since = listed.since.as_deref().map(|text| time("since", text)).transpose()?;
    let limit = listed.limit.unwrap_or(PAGE_MAX);
    if limit == 0 || limit > PAGE_MAX {
        return Err(ApiError::malformed("limit", "a page has 1 to 1000 requests"));
    }
    let mut rows = api.ledger().requests().await?;
    rows.retain(|row| caller.may_see(&row.tenant));
    if let Some(after) = &listed.after {
        let at = rows.iter().position(|row| row.request_id.as_str() == after);
        let Some(at) = at else {
            return Err(ApiError::malformed("after", "there is no such request in the list"));
        };
        rows.drain(..=at);
    }
    rows.retain(|row| is_listed(row, since, listed.open == Some(true)));
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > most;
    rows.truncate(most);
    let next = rows.last().filter(|_| has_more).map(|row| row.request_id.clone());
    answer(&json!({"requests": rows, "next": next}))
}

fn is_listed(row: &RequestRow, since: Option<DateTime<Utc>>, only_open: bool) -> bool {
    let is_open = !matches!(row.state, RequestState::Completed | RequestState::Cancelled);
    since.is_none_or(|since| row.recorded_at >= since) && (is_open || !only_open)
}

/// Shows one request, by placement.
#[utoipa::path(
    get, path = "/v1/requests/{id}", tag = "requests", params(("id" = String, Path)),
    responses((status = 200, body = Request), Errors), security(("bearer" = []))
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Requester, Role::Operator, Role::Auditor])?;
    answer(&seen(&api, &caller, &RequestId::new(id)).await?)
}

/// Withdraws a request, as long as nothing was erased for it.
#[utoipa::path(
    delete, path = "/v1/requests/{id}", tag = "requests", params(("id" = String, Path), Key),
    responses((status = 200, body = Request), Errors), security(("bearer" = []))
)]
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Requester, Role::Operator])?;
    no_body(&question)?;
    let (work, who) = (Arc::clone(&api), caller.clone());
    once(&api, &caller, &question, Again::Harmful, async move {
        let id = RequestId::new(id);
        seen(&work, &who, &id).await?;
        let row = desk::cancel_untouched_request(work.ledger(), &id, work.now()).await?;
        Reply::new(StatusCode::OK, &row)
    })
    .await
}

/// A request that the caller may know of.
pub(super) async fn seen(api: &Api, caller: &Caller, id: &RequestId) -> Result<RequestRow, ApiError> {
    match api.ledger().request(id).await {
        Ok(row) if caller.may_see(&row.tenant) => Ok(row),
        Ok(_) | Err(LedgerError::Unknown { .. }) => Err(caller.not_found(api, "request").await),
        Err(error) => Err(error.into()),
    }
}

/// The tenant that a call is about: a requester's comes from its token, and another one is refused.
pub(super) fn own_tenant(caller: &Caller, named: Option<&str>) -> Result<TenantId, ApiError> {
    let named = named.map(inputs::tenant).transpose()?;
    match (&caller.tenant, named) {
        (Some(own), Some(named)) if *own != named => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "other-tenant",
            "the tenant is not the one of this token",
        )),
        (Some(own), _) => Ok(own.clone()),
        (None, Some(named)) => Ok(named),
        (None, None) => Err(ApiError::malformed("malformed", "the field `tenant` is missing")),
    }
}

fn scope_of(
    subjects: Vec<Map<String, Value>>,
    categories: Vec<String>,
    everything: bool,
) -> Result<NewScope, ApiError> {
    match (subjects.is_empty(), categories.is_empty(), everything) {
        (false, true, false) => Ok(NewScope::Subjects(inputs::subjects(subjects)?)),
        (true, false, false) => Ok(NewScope::Categories(categories.into_iter().map(Category::new).collect())),
        (true, true, true) => Ok(NewScope::Everything),
        (true, true, false) => Err(ApiError::malformed(
            "scope",
            "nothing says what is to be erased: give `subjects`, `categories` or `everything`",
        )),
        (false, false, _) | (false, true, true) | (true, false, true) => Err(ApiError::malformed(
            "scope",
            "more than one of `subjects`, `categories` and `everything` is given: ask for each by itself",
        )),
    }
}
