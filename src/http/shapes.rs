//! The shapes of bodies, as the `OpenAPI` document tells them. It owns names and descriptions; a test holds that every
//! field that is answered is in them.

#![expect(unused_qualifications, reason = "utoipa writes types with their path where it expands them")]

pub mod evidence;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{self, ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi, ToSchema};

use super::error::{ErrorBody, ErrorFields};

/// The document without its paths, which come from the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "retentiond",
        description = "Erasure requests, accounts, holds and evidence. Errors have one shape and a stable `code`. Every \
                       call that changes something carries an `Idempotency-Key`."
    ),
    components(schemas(ErrorBody, ErrorFields)),
    modifiers(&Bearer)
)]
pub struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token made by `retentiond token create`."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Live {
    /// Always true.
    pub live: bool,
}

/// Whether the process can be asked.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// All of the others are as they should be.
    pub ready: bool,
    /// The ledger answers.
    pub ledger: bool,
    /// Policies are in force.
    pub policies: bool,
    /// The process is to stop and takes no new calls.
    pub stopping: bool,
}

/// The header under which a call that changes something is asked.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Key {
    /// The same key and the same body give the same answer, for 30 days.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    pub key: String,
}

/// Every status under which the one error is answered.
pub struct Errors;

impl IntoResponses for Errors {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let body = || ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
        let response = |text: &str| {
            let response = ResponseBuilder::new().description(text).content("application/json", body());
            RefOr::T(response.build())
        };
        [
            ("400", "Path, header or body is not as this document says."),
            ("401", "There is no good token."),
            ("403", "The role of the token does not allow it, or it is refused."),
            ("404", "There is no such thing, or none that the caller may know of."),
            ("405", "This method has no effect here."),
            ("408", "The body did not arrive in time."),
            ("409", "A state does not allow it, or the same is being answered just now."),
            ("411", "The body has no Content-Length."),
            ("413", "The body is too large."),
            ("415", "The body is not JSON."),
            ("422", "What is asked for cannot be, or the key was given to another question."),
            ("429", "The caller calls too often."),
            ("431", "The head of the call is too large."),
            ("500", "Something failed."),
            ("503", "Out of reach, in doubt, or too much at once; nothing was accepted."),
        ]
        .into_iter()
        .map(|(status, text)| (status.to_owned(), response(text)))
        .collect()
    }
}

/// A person as a request or a hold names them. Kinds are those of the policies, `phone` for example.
#[derive(Debug, ToSchema)]
pub struct Subject {
    /// The kind of key.
    #[schema(min_length = 1)]
    pub kind: String,
    /// The value. It is never answered, logged or kept in the clear.
    #[schema(min_length = 1)]
    pub value: String,
}

/// A subject as it is answered: never by value.
#[derive(Debug, ToSchema)]
pub struct NamedSubject {
    /// The kind of key.
    pub kind: String,
    /// A fingerprint under a key of the ledger.
    pub fingerprint: String,
}

/// What was accepted: it is durable. The same key and body give this answer again, to the byte.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted {
    /// The request.
    pub request_id: String,
    /// Whose data.
    pub tenant: String,
    /// Whether a store knew the tenant.
    pub known: bool,
    /// Start of its clock.
    pub received_at: DateTime<Utc>,
    /// By when the last copy is gone.
    pub deadline: DateTime<Utc>,
    /// The categories that it covers.
    pub categories: Vec<String>,
    /// A note signed by the key of the audit log, to be kept: id, receipt, deadline and SHA-256 of the body.
    pub receipt: String,
}

/// A request as it stands.
#[derive(Debug, ToSchema)]
pub struct Request {
    /// The request.
    pub request_id: String,
    /// Whose data.
    pub tenant: String,
    /// Whether a store knew the tenant when it was recorded.
    pub known: bool,
    /// `received`, `waiting`, `enforcing`, `residual`, `completed` or `cancelled`.
    pub state: String,
    /// Start of its clock.
    pub received_at: DateTime<Utc>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// By when the last copy is gone.
    pub deadline: DateTime<Utc>,
    /// When it was completed.
    pub completed_at: Option<DateTime<Utc>>,
    /// The categories that it covers.
    pub categories: Vec<String>,
    /// Whom it names.
    pub subjects: Vec<NamedSubject>,
    /// True where it asks for all data of the tenant.
    pub everything: bool,
    /// How far it got, by placement.
    pub placements: Vec<RequestPlacement>,
}

/// How far a request got in one placement.
#[derive(Debug, ToSchema)]
pub struct RequestPlacement {
    /// Where.
    pub placement: String,
    /// As of the request.
    pub state: String,
    /// Erased for it so far.
    #[schema(minimum = 0)]
    pub erased: u64,
    /// Shown absent by a separate read.
    #[schema(minimum = 0)]
    pub verified_absent: u64,
    /// What remains.
    pub residual: Vec<Residual>,
}

/// What remains of erased records, and until when.
#[derive(Debug, ToSchema)]
pub struct Residual {
    /// What.
    pub what: String,
    /// Until when, where somebody can say.
    pub until: Option<DateTime<Utc>>,
}

/// A page of requests.
#[derive(Debug, ToSchema)]
pub struct Requests {
    /// In order of receipt.
    pub requests: Vec<Request>,
    /// Give it as `after` for the next page; null on the last one.
    pub next: Option<String>,
}

/// A tenant as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tenant {
    /// Who.
    pub tenant: String,
    /// `active` or `terminated`.
    pub state: String,
    /// From when the grace counts.
    pub terminated_at: Option<DateTime<Utc>>,
    /// Nothing is touched before.
    pub grace_until: Option<DateTime<Utc>>,
    /// The last copy is gone by.
    pub deadline: Option<DateTime<Utc>>,
}

/// Tenants of whom anything was told.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tenants {
    /// In no order.
    pub tenants: Vec<Tenant>,
}

/// A hold as it stands.
#[derive(Debug, ToSchema)]
pub struct Hold {
    /// The hold.
    pub hold_id: String,
    /// Whose data.
    pub tenant: String,
    /// Only records that name one of these; empty means every record.
    pub subjects: Vec<NamedSubject>,
    /// Only these categories; empty means every one.
    pub categories: Vec<String>,
    /// Who ordered it.
    pub authority: String,
    /// Since when.
    pub placed_at: DateTime<Utc>,
    /// Until when.
    pub released_at: Option<DateTime<Utc>>,
}

/// All holds.
#[derive(Debug, ToSchema)]
pub struct Holds {
    /// In order of placing.
    pub holds: Vec<Hold>,
}

/// Longer storage as it stands.
#[derive(Debug, ToSchema)]
pub struct Entitlement {
    /// The entitlement.
    pub entitlement_id: String,
    /// The name that rules refer to.
    pub name: String,
    /// Whose data.
    pub tenant: String,
    /// Only these categories; empty means every one whose rule names it.
    pub categories: Vec<String>,
    /// Since when.
    pub granted_at: DateTime<Utc>,
    /// Until when it was granted.
    pub until: Option<DateTime<Utc>>,
    /// When it was ended before that.
    pub ended_at: Option<DateTime<Utc>>,
}

/// All entitlements.
#[derive(Debug, ToSchema)]
pub struct Entitlements {
    /// In order of granting.
    pub entitlements: Vec<Entitlement>,
}

/// An export as it stands.
#[derive(Debug, ToSchema)]
pub struct Export {
    /// The export.
    pub export_id: String,
    /// Whose data.
    pub tenant: String,
    /// Only these categories; empty means every one.
    pub categories: Vec<String>,
    /// Where to.
    pub target: String,
    /// Only records with an event time after the first and up to the second; null means all.
    pub between: Option<Vec<DateTime<Utc>>>,
    /// `asked`, `running`, `finished`, `failed` or `cancelled`.
    pub state: String,
    /// When it was asked for.
    pub asked_at: DateTime<Utc>,
    /// When it was finished, failed or withdrawn.
    pub settled_at: Option<DateTime<Utc>>,
    /// Records in it.
    #[schema(minimum = 0)]
    pub records: u64,
    /// SHA-256 of its manifest, hex.
    pub manifest: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// Exports that the caller may know of.
#[derive(Debug, ToSchema)]
pub struct Exports {
    /// In order of asking.
    pub exports: Vec<Export>,
}

/// What one person proposed and another has to approve.
#[derive(Debug, Serialize, ToSchema)]
pub struct Proposal {
    /// The proposal.
    pub proposal_id: String,
    /// What is proposed: `kind` is `release-hold`, `terminate-tenant` or `approve-plan`; the other fields say what it
    /// concerns and how many records.
    pub action: serde_json::Value,
    /// SHA-256 (hex) of the action: who approves repeats it.
    pub digest: String,
    /// Who proposed it.
    pub proposed_by: String,
    /// When.
    pub proposed_at: DateTime<Utc>,
    /// From when on nobody can approve it any more.
    pub expires_at: DateTime<Utc>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When.
    pub approved_at: Option<DateTime<Utc>>,
}

/// All proposals.
#[derive(Debug, Serialize, ToSchema)]
pub struct Proposals {
    /// In order.
    pub proposals: Vec<Proposal>,
}

/// The emergency stop.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stopped {
    /// Whether it is on now.
    pub stopped: bool,
    /// Since when.
    pub stopped_at: Option<DateTime<Utc>>,
    /// Why.
    pub reason: Option<String>,
}
