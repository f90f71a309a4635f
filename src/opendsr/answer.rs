//! The bodies that we send: answers, callbacks, discovery, errors.
//! It owns their fields; it reads nothing and records nothing.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::body::Fault;
use super::signature::ALGORITHM;
use crate::ledger::{OpenDsrRow, RequestRow, RequestState};

/// The version that is spoken.
const VERSION: &str = "2.0";

/// How the specification calls a state. It has no word for what waits or rests: both are in progress.
pub fn status_of(state: RequestState) -> &'static str {
    match state {
        RequestState::Received => "pending",
        RequestState::Waiting | RequestState::Enforcing | RequestState::Residual => "in_progress",
        RequestState::Completed => "completed",
        RequestState::Cancelled => "cancelled",
    }
}

/// What is known of a request, for an answer.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// Our domain.
    pub domain: &'k str,
    /// How the tenant is called as a controller.
    pub controller_id: &'k str,
    /// What the controller sent, but for its subjects.
    pub asked: &'k OpenDsrRow,
    /// The request that it became.
    pub request: &'k RequestRow,
    /// What it waits for: `hold`, `export`.
    pub waits_for: &'k [&'static str],
}

/// The answer to a request that was received. `body` is the request, byte by byte.
pub fn received(known: Known<'_>, body: &[u8]) -> Value {
    json!({
        "controller_id": known.controller_id,
        "expected_completion_time": time(known.request.deadline),
        "received_time": time(known.request.received_at),
        "encoded_request": STANDARD.encode(body),
        "subject_request_id": known.asked.subject_request_id,
    })
}

/// Where a request stands.
pub fn status(known: Known<'_>) -> Value {
    json!({
        "controller_id": known.controller_id,
        "expected_completion_time": time(known.request.deadline),
        "subject_request_id": known.asked.subject_request_id,
        "request_status": status_of(known.request.state),
        "api_version": VERSION,
        "extensions": {known.domain: extension(known)},
    })
}

/// The answer to a request that was withdrawn.
pub fn cancelled(known: Known<'_>) -> Value {
    json!({
        "controller_id": known.controller_id,
        "subject_request_id": known.asked.subject_request_id,
        "received_time": time(known.request.received_at),
        "api_version": VERSION,
    })
}

/// What a controller is told when the status has changed; `url` is the address that is called.
pub fn callback(known: Known<'_>, url: &str) -> Value {
    json!({
        "controller_id": known.controller_id,
        "status_callback_url": url,
        "subject_request_id": known.asked.subject_request_id,
        "request_status": status_of(known.request.state),
        "expected_completion_time": time(known.request.deadline),
        "extensions": {known.domain: extension(known)},
    })
}

/// What we can do. `types` are those of the specification, `kinds` those of our extension.
pub fn discovery(domain: &str, types: &BTreeMap<String, String>, kinds: &BTreeSet<String>) -> Value {
    let identity = |kind: &str, format: &str| json!({"identity_type": kind, "identity_format": format});
    let types: Vec<Value> = types.keys().map(|name| identity(name, "raw")).collect();
    let mut own: Vec<Value> = Vec::new();
    for kind in kinds {
        own.push(identity(kind, "raw"));
        if kind == "phone" {
            own.push(identity(kind, "e164"));
        }
    }
    json!({
        "api_version": VERSION,
        "supported_identities": types,
        "supported_subject_request_types": ["erasure"],
        "processor_certificate": format!("https://{domain}/v2/certificate"),
        "signature_algorithm": ALGORITHM,
        "extensions": {domain: {"tenant_id": true, "identities": own}},
    })
}

/// An error. Neither identities nor credentials are ever in it.
pub fn error(domain: &str, code: u16, message: &str, faults: &[Fault]) -> Value {
    let errors: Vec<Value> = faults
        .iter()
        .map(|fault| json!({"domain": domain, "reason": fault.reason, "message": fault.message}))
        .collect();
    json!({"error": {"code": code, "message": message, "errors": errors}})
}

/// What the specification lacks.
fn extension(known: Known<'_>) -> Value {
    let request = known.request;
    let placements: Vec<Value> = request
        .placements
        .iter()
        .map(|placement| {
            json!({
                "placement": placement.placement,
                "state": placement.state,
                "erased": placement.erased,
                "verified_absent": placement.verified_absent,
                "residual": placement.residual,
            })
        })
        .collect();
    json!({
        "tenant_id": request.tenant,
        "request_id": request.request_id,
        "state": request.state,
        "waits_for": known.waits_for,
        "completed_time": request.completed_at.map(time),
        "placements": placements,
        "certificate_url": format!("https://{}/v1/certificates/{}", known.domain, request.request_id),
    })
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
