//! `OpenDSR` over HTTP: discovery, requests, their status and withdrawal, under the names of versions 2 and 1.
//! It parses, calls the service functions and shapes the answer as the specification says, errors included; what a
//! request means is in [`crate::opendsr`].

mod answers;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use secrecy::zeroize::Zeroizing;

use self::answers::{Refusal, plain, signed};
use super::once::{body_of, is_json};
use super::{Api, ApiError, Caller, strict};
use crate::config::outside::OpenDsrConfig;
use crate::desk::{self, AskedRequest};
use crate::gather::World;
use crate::id::TenantId;
use crate::ledger::{LedgerError, NewOpenDsr, NewScope, OpenDsrClaim, OpenDsrRow, RequestRow, Role};
use crate::opendsr::answer::{self, Known};
use crate::opendsr::body::{self, Asked, Fault, Terms};
use crate::opendsr::signature::Signer;
use crate::opendsr::{controller_id, kinds, types, waits_for};
use crate::outgoing::Outgoing;

/// The routes. Those of version 1 are the same under older names.
pub(super) fn routes(api: &Arc<Api>) -> Router<Arc<Api>> {
    let desk = Arc::new(Desk { api: Arc::clone(api), means: Mutex::new(None) });
    let mut router = Router::new()
        .route("/v2/status", get(health))
        .route("/v2/certificate", get(certificate))
        .route("/v2/discovery", get(discovery))
        .route("/discovery", get(discovery));
    for name in ["/v2/requests", "/v2/opengdpr_requests", "/v1/opengdpr_requests", "/opengdpr_requests"] {
        router = router
            .route(name, axum::routing::post(create))
            .route(&format!("{name}/{{id}}"), get(show).delete(cancel));
    }
    router.with_state(desk)
}

/// What these handlers share.
struct Desk {
    api: Arc<Api>,
    means: Mutex<Option<Arc<Means>>>,
}

/// What follows from the configuration, as long as it is the same.
struct Means {
    world: Arc<World>,
    config: OpenDsrConfig,
    signer: Signer,
    outgoing: Outgoing,
}

impl Desk {
    /// Configuration, key and client as they are now.
    fn means(&self) -> Result<Arc<Means>, Refusal> {
        let world = self.api.world();
        let mut kept = super::locked(&self.means);
        if let Some(means) = kept.as_ref().filter(|means| Arc::ptr_eq(&means.world, &world)) {
            return Ok(Arc::clone(means));
        }
        let config = world.config.opendsr.clone().ok_or_else(|| Refusal::from(ApiError::not_found()))?;
        // What could not be answered for is not accepted, so a key that does not fit closes the door.
        let broken = |why: String| {
            tracing::error!(error = %why, "OpenDSR requests cannot be answered");
            let message = "what this needs is out of order; ask again later";
            Refusal::from(ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "out-of-order", message, 60))
        };
        let signer = Signer::read(&config).map_err(broken)?;
        let outgoing = Outgoing::new(&world.config).map_err(broken)?;
        let means = Arc::new(Means { world, config, signer, outgoing });
        *kept = Some(Arc::clone(&means));
        Ok(means)
    }
}

async fn health(State(desk): State<Arc<Desk>>) -> Response {
    match desk.means() {
        Ok(_) => plain(StatusCode::OK, &serde_json::json!({"status": "ok", "api_version": "2.0"})),
        Err(refusal) => refusal.answer(""),
    }
}

async fn certificate(State(desk): State<Arc<Desk>>) -> Response {
    match desk.means() {
        Ok(means) => answers::pem(means.signer.certificates()),
        Err(refusal) => refusal.answer(""),
    }
}

async fn discovery(State(desk): State<Arc<Desk>>) -> Response {
    let means = match desk.means() {
        Ok(means) => means,
        Err(refusal) => return refusal.answer(""),
    };
    let kinds = kinds(&means.world.policies);
    let types = types(&means.config, &kinds);
    plain(StatusCode::OK, &answer::discovery(&means.config.domain, &types, &kinds))
}

async fn create(State(desk): State<Arc<Desk>>, call: Request) -> Response {
    answered(&desk, async |means| receive(&desk, means, call).await).await
}

async fn show(State(desk): State<Arc<Desk>>, Path(id): Path<String>, call: Request) -> Response {
    answered(&desk, async |means| {
        let caller = caller(&desk, call, &[Role::Requester, Role::Operator, Role::Auditor]).await?.0;
        let (asked, request) = find(&desk, &caller, &id).await?;
        let waits_for = waits_for(desk.api.ledger(), &request).await.map_err(ApiError::from)?;
        let body = answer::status(known(means, &asked, &request, &waits_for));
        signed(&means.signer, StatusCode::OK, &body)
    })
    .await
}

async fn cancel(State(desk): State<Arc<Desk>>, Path(id): Path<String>, call: Request) -> Response {
    answered(&desk, async |means| {
        let caller = caller(&desk, call, &[Role::Requester, Role::Operator]).await?.0;
        let (asked, request) = find(&desk, &caller, &id).await?;
        let status = answer::status_of(request.state);
        if status != "pending" {
            return Err(in_state(status));
        }
        let cancelled =
            desk::cancel_untouched_request(desk.api.ledger(), &request.request_id, desk.api.now());
        let request = cancelled.await.map_err(|error| match error.state {
            Some(_) => in_state("in_progress"),
            None => ApiError::from(error).into(),
        })?;
        desk.api.tell();
        signed(&means.signer, StatusCode::ACCEPTED, &answer::cancelled(known(means, &asked, &request, &[])))
    })
    .await
}

/// The answer of a handler, or its refusal in the form of the specification.
async fn answered(desk: &Desk, work: impl AsyncFnOnce(&Means) -> Result<Response, Refusal>) -> Response {
    match desk.means() {
        Ok(means) => {
            let done = work(&means).await;
            done.unwrap_or_else(|refusal| refusal.answer(&means.config.domain))
        }
        Err(refusal) => refusal.answer(""),
    }
}

/// Who calls, where it has one of these roles, and what is left of the call.
async fn caller(desk: &Desk, call: Request, roles: &[Role]) -> Result<(Caller, Request), Refusal> {
    let (mut parts, body) = call.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &desk.api).await?;
    caller.must_be(roles)?;
    Ok((caller, Request::from_parts(parts, body)))
}

/// Takes a request: once this answers 201 it is durable.
async fn receive(desk: &Desk, means: &Means, call: Request) -> Result<Response, Refusal> {
    let (caller, call) = caller(desk, call, &[Role::Requester, Role::Operator]).await?;
    if !call.headers().get(header::CONTENT_TYPE).is_some_and(is_json) {
        return Err(Refusal::new(415, "the body is JSON and says so: Content-Type: application/json"));
    }
    let _place = desk.api.queue.try_acquire().map_err(|_| {
        ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "busy", "too much at once; nothing was accepted", 1)
    })?;
    let bytes = body_of(call, &desk.api).await?;
    let now = desk.api.now();
    let kinds = kinds(&means.world.policies);
    let types = types(&means.config, &kinds);
    let terms = Terms { domain: &means.config.domain, types: &types, kinds: &kinds, now };
    let asked = body::read(&strict::parse(&bytes)?, &terms).map_err(Refusal::faults)?;
    let tenant = tenant_of(&caller, asked.tenant.as_ref())?;
    check_callbacks(means, &asked, &tenant)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Refusal::new(400, "the body is not UTF-8"))?;
    let request = request_of(desk, means, &asked, &tenant, now).await?;
    let new = NewOpenDsr {
        tenant,
        subject_request_id: asked.subject_request_id,
        request_id: request.request_id.clone(),
        body: Zeroizing::new(text.to_owned()),
        callbacks: asked.callbacks,
        told: "pending".to_owned(),
    };
    match desk.api.ledger().record_opendsr(&new, now).await.map_err(ApiError::from)? {
        OpenDsrClaim::Recorded(row) | OpenDsrClaim::Same(row) => {
            desk.api.tell();
            signed(
                &means.signer,
                StatusCode::CREATED,
                &answer::received(known(means, &row, &request, &[]), &bytes),
            )
        }
        OpenDsrClaim::Other => Err(other_request()),
    }
}

/// The request of this controller's id: the one that was made before, or a new one, durable either way.
async fn request_of(
    desk: &Desk,
    means: &Means,
    asked: &Asked,
    tenant: &TenantId,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<RequestRow, Refusal> {
    let ledger = desk.api.ledger();
    let before = ledger.opendsr_requests(&asked.subject_request_id).await.map_err(ApiError::from)?;
    if let Some(before) = before.iter().find(|row| row.tenant == *tenant) {
        return Ok(ledger.request(&before.request_id).await.map_err(ApiError::from)?);
    }
    let new = AskedRequest {
        tenant: tenant.clone(),
        scope: NewScope::Subjects(asked.subjects.clone()),
        // Received is what arrives here: what a controller writes may bring the deadline nearer and takes nothing out.
        received_at: None,
        submitted_at: Some(asked.submitted_at),
        // A process that dies before the controller's id is recorded is asked again, and makes no second request.
        idempotency_key: Some(format!("opendsr:{tenant}:{}", asked.subject_request_id)),
    };
    match desk::create_request(&means.world, ledger, new, now).await {
        Ok(recorded) => Ok(recorded.row),
        Err(error) => match error.kind {
            desk::Kind::Conflict => Err(other_request()),
            desk::Kind::Usage => Err(Refusal::faults(vec![Fault::new("unfit", error.message)])),
            desk::Kind::Unknown | desk::Kind::Refused | desk::Kind::Unreachable | desk::Kind::Unmet => {
                Err(ApiError::from(error).into())
            }
        },
    }
}

/// The tenant is the credential's; what our extension says has to agree, and counts where the credential has none.
fn tenant_of(caller: &Caller, named: Option<&TenantId>) -> Result<TenantId, Refusal> {
    match (&caller.tenant, named) {
        (Some(own), Some(named)) if own != named => {
            Err(Refusal::new(403, "the tenant is not the one of this token"))
        }
        (Some(own), _) => Ok(own.clone()),
        (None, Some(named)) => Ok(named.clone()),
        (None, None) => {
            let message = "`tenant_id` is missing in our extension, and this token has no tenant of its own";
            Err(Refusal::faults(vec![Fault::new("missing_tenant", message)]))
        }
    }
}

fn check_callbacks(means: &Means, asked: &Asked, tenant: &TenantId) -> Result<(), Refusal> {
    let check = |url: &String| means.outgoing.check(url, Some(tenant)).err();
    let faults: Vec<Fault> = asked
        .callbacks
        .iter()
        .filter_map(check)
        .map(|why| Fault::new("callback_not_allowed", format!("a callback cannot be called: {why}")))
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Refusal::faults(faults)) }
}

/// A request that the caller may know of, by its controller's id.
async fn find(desk: &Desk, caller: &Caller, id: &str) -> Result<(OpenDsrRow, RequestRow), Refusal> {
    let ledger = desk.api.ledger();
    let mut rows = ledger.opendsr_requests(id).await.map_err(ApiError::from)?;
    rows.retain(|row| caller.may_see(&row.tenant));
    let asked = match (rows.pop(), rows.is_empty()) {
        (Some(row), true) => row,
        (Some(_), false) => {
            return Err(Refusal::new(
                400,
                "several tenants have a request of this id: ask with a token of one",
            ));
        }
        (None, _) => return Err(caller.not_found(&desk.api, "opendsr-request").await.into()),
    };
    let request =
        ledger.request(&asked.request_id).await.map_err(|error: LedgerError| ApiError::from(error))?;
    Ok((asked, request))
}

fn known<'k>(
    means: &'k Means,
    asked: &'k OpenDsrRow,
    request: &'k RequestRow,
    waits_for: &'k [&'static str],
) -> Known<'k> {
    let controller_id = controller_id(&means.world.config, &asked.tenant);
    Known { domain: &means.config.domain, controller_id, asked, request, waits_for }
}

fn other_request() -> Refusal {
    let message = "another request was made under this `subject_request_id` before";
    Refusal::faults(vec![Fault::new("other_request", message)])
}

fn in_state(status: &str) -> Refusal {
    let message = format!("the request is {status}; only one that is pending can be cancelled");
    Refusal::faults(vec![Fault::new("not_pending", message)])
}
