//! `/v1/tenants`, `/v1/entitlements` and `/v1/exports`: the life of an account. It parses, calls one service function and
//! shapes the answer; ending an account takes two persons and is only proposed here.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::inputs::{no_body, tenant as read_tenant, time};
use super::once::{Again, json as answer, once};
use super::pairs::proposed;
use super::shapes::{Entitlement, Entitlements, Errors, Export, Exports, Key, Proposal, Tenant, Tenants};
use super::{Api, ApiError, Caller, Question, Reply, strict};
use crate::config::StoreConfig;
use crate::desk::{self, AskedGrant, Cycle, DeskError, cycle_of};
use crate::export;
use crate::id::{Category, EntitlementId, StoreId};
use crate::ledger::{NewExport, Role, TenantState};
use crate::plan::cover::known_categories;

/// The end of an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TerminationBody {
    /// When it ended, as RFC 3339; now where left out.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    at: Option<String>,
}

/// Longer storage.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEntitlementBody {
    /// The name that age rules refer to.
    #[schema(min_length = 1)]
    name: String,
    /// Whose data.
    #[schema(min_length = 1)]
    tenant: String,
    /// Only these categories; none means every one whose rule names it.
    #[serde(default)]
    #[schema(max_items = 1000)]
    categories: Vec<String>,
    /// Until when it runs, as RFC 3339; until it is ended where left out.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    until: Option<String>,
}

/// What a tenant takes along.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewExportBody {
    /// Whose data.
    #[schema(min_length = 1)]
    tenant: String,
    /// Only these categories; none means every one.
    #[serde(default)]
    #[schema(max_items = 1000)]
    categories: Vec<String>,
    /// Where to: the name of a bucket or folder in the configuration.
    #[schema(min_length = 1)]
    target: String,
}

/// Lists the tenants of whom anything was told; a requester's own only.
#[utoipa::path(
    get, path = "/v1/tenants", tag = "accounts",
    responses((status = 200, body = Tenants), Errors), security(("bearer" = []))
)]
pub(super) async fn tenants(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Requester, Role::Operator, Role::Auditor])?;
    let world = api.world();
    let rows = api.ledger().tenants().await?.into_iter().filter(|row| caller.may_see(&row.tenant));
    let tenants = rows.map(|row| view(&cycle_of(&world.policies, row))).collect();
    answer(&Tenants { tenants })
}

/// Shows one tenant. Tenants need no registration: one of whom nothing was told is active.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}", tag = "accounts", params(("tenant" = String, Path)),
    responses((status = 200, body = Tenant), Errors), security(("bearer" = []))
)]
pub(super) async fn tenant(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(tenant): Path<String>,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Requester, Role::Operator, Role::Auditor])?;
    let tenant = read_tenant(&tenant)?;
    if !caller.may_see(&tenant) {
        return Err(caller.not_found(&api, "tenant").await);
    }
    let row = desk::tenant(Some(api.ledger()), &tenant, api.now()).await?;
    answer(&view(&cycle_of(&api.world().policies, row)))
}

/// Proposes that an account has ended; another person approves.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/terminate", tag = "accounts",
    params(("tenant" = String, Path), Key), request_body = TerminationBody,
    responses((status = 202, body = Proposal), Errors), security(("bearer" = []))
)]
pub(super) async fn terminate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(tenant): Path<String>,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator])?;
    let tenant = read_tenant(&tenant)?;
    let body: TerminationBody = strict::parse(&question.body)?;
    let at = body.at.as_deref().map(|text| time("at", text)).transpose()?;
    let (work, by) = (Arc::clone(&api), caller.principal.clone());
    once(&api, &caller, &question, Again::Harmful, async move {
        let row = desk::propose_termination(work.ledger(), &tenant, at, &by, work.now()).await?;
        Reply::new(StatusCode::ACCEPTED, &proposed(row)?)
    })
    .await
}

/// Tells that an account has come back: no batch serves its termination from now on.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/reinstate", tag = "accounts", params(("tenant" = String, Path), Key),
    responses((status = 200, body = Tenant), Errors), security(("bearer" = []))
)]
pub(super) async fn reinstate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(tenant): Path<String>,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator])?;
    let tenant = read_tenant(&tenant)?;
    no_body(&question)?;
    let work = Arc::clone(&api);
    once(&api, &caller, &question, Again::Harmful, async move {
        let row = desk::reinstate(work.ledger(), &tenant, work.now()).await?;
        Reply::new(StatusCode::OK, &view(&Cycle { row, falling: Vec::new() }))
    })
    .await
}

pub(super) fn view(Cycle { row, falling }: &Cycle) -> Tenant {
    let state = match row.state {
        TenantState::Active => "active",
        TenantState::Terminated => "terminated",
    };
    Tenant {
        tenant: row.tenant.to_string(),
        state: state.to_owned(),
        terminated_at: row.terminated_at,
        grace_until: falling.iter().map(|one| one.grace_until).max(),
        deadline: falling.iter().map(|one| one.deadline).min(),
    }
}

/// Lists longer storage.
#[utoipa::path(
    get, path = "/v1/entitlements", tag = "accounts",
    responses((status = 200, body = Entitlements), Errors), security(("bearer" = []))
)]
pub(super) async fn entitlements(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator, Role::Auditor])?;
    answer(&json!({"entitlements": api.ledger().entitlements().await?}))
}

/// Grants longer storage.
#[utoipa::path(
    post, path = "/v1/entitlements", tag = "accounts", params(Key), request_body = NewEntitlementBody,
    responses((status = 201, body = Entitlement), Errors), security(("bearer" = []))
)]
pub(super) async fn grant(
    State(api): State<Arc<Api>>,
    caller: Caller,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator])?;
    let body: NewEntitlementBody = strict::parse(&question.body)?;
    let asked = AskedGrant {
        name: body.name,
        tenant: read_tenant(&body.tenant)?,
        categories: body.categories.into_iter().map(Category::new).collect(),
        until: body.until.as_deref().map(|text| time("until", text)).transpose()?,
    };
    let work = Arc::clone(&api);
    once(&api, &caller, &question, Again::Harmful, async move {
        let (world, now) = (work.world(), work.now());
        let new = desk::grant_of(&world.policies, asked, now)?;
        Reply::new(StatusCode::CREATED, &desk::grant_entitlement(work.ledger(), &new, now).await?)
    })
    .await
}

/// Ends longer storage; what is over age is due.
#[utoipa::path(
    post, path = "/v1/entitlements/{id}/end", tag = "accounts", params(("id" = String, Path), Key),
    responses((status = 200, body = Entitlement), Errors), security(("bearer" = []))
)]
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator])?;
    no_body(&question)?;
    let work = Arc::clone(&api);
    once(&api, &caller, &question, Again::Harmful, async move {
        let row = desk::end_entitlement(work.ledger(), &EntitlementId::new(id), work.now()).await?;
        Reply::new(StatusCode::OK, &row)
    })
    .await
}

/// Lists exports: a requester's own, or all.
#[utoipa::path(
    get, path = "/v1/exports", tag = "accounts",
    responses((status = 200, body = Exports), Errors), security(("bearer" = []))
)]
pub(super) async fn exports(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Requester, Role::Operator, Role::Auditor])?;
    let mut rows = api.ledger().exports().await?;
    rows.retain(|row| caller.may_see(&row.tenant));
    answer(&json!({"exports": rows}))
}

/// Shows one export.
#[utoipa::path(
    get, path = "/v1/exports/{id}", tag = "accounts", params(("id" = String, Path)),
    responses((status = 200, body = Export), Errors), security(("bearer" = []))
)]
pub(super) async fn export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Requester, Role::Operator, Role::Auditor])?;
    let rows = api.ledger().exports().await?;
    match rows.into_iter().find(|row| row.export_id.as_str() == id && caller.may_see(&row.tenant)) {
        Some(row) => answer(&row),
        None => Err(caller.not_found(&api, "export").await),
    }
}

/// Asks for an export. Where it goes is a name of the configuration: no path and no address comes from outside.
#[utoipa::path(
    post, path = "/v1/exports", tag = "accounts", params(Key), request_body = NewExportBody,
    responses((status = 202, body = Export), Errors), security(("bearer" = []))
)]
pub(super) async fn ask_export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    question: Question,
) -> Result<Response, ApiError> {
    caller.must_be(&[Role::Operator])?;
    let body: NewExportBody = strict::parse(&question.body)?;
    let new = NewExport {
        tenant: read_tenant(&body.tenant)?,
        categories: body.categories.into_iter().map(Category::new).collect(),
        target: body.target,
        between: None,
    };
    let world = api.world();
    match world.config.stores.get(&StoreId::new(new.target.clone())) {
        Some(StoreConfig::S3(_) | StoreConfig::Files { .. }) => {}
        Some(
            StoreConfig::Mysql { .. }
            | StoreConfig::Sqlite { .. }
            | StoreConfig::Redis { .. }
            | StoreConfig::Elasticsearch { .. },
        )
        | None => {
            let message = "the target is not a bucket or folder of the configuration";
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "unfit", message));
        }
    }
    // A store that holds data is no place for a copy of it.
    export::check_store(&world, &api.ledger().exports().await?, &new.target)
        .await
        .map_err(|trouble| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "unfit", trouble.to_string()))?;
    known_categories(&world.policies, &new.categories).map_err(DeskError::usage)?;
    let work = Arc::clone(&api);
    once(&api, &caller, &question, Again::Harmful, async move {
        Reply::new(StatusCode::ACCEPTED, &work.ledger().ask_export(&new, work.now()).await?)
    })
    .await
}
