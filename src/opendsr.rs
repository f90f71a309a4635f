//! `OpenDSR` 2.0: a controller asks over a standard protocol that a subject be forgotten; we are the processor.
//! It owns bodies, statuses, signatures and callbacks; what a request covers and what becomes of it are the same as for
//! one from anywhere else.

pub mod answer;
pub mod body;
mod notes;
pub mod signature;

use std::collections::{BTreeMap, BTreeSet};

use crate::config::outside::OpenDsrConfig;
use crate::id::TenantId;
use crate::policy::{Policies, Trigger};

pub use notes::{CALLBACK, note_changes, waits_for};

/// The identity types of the specification.
pub const IDENTITY_TYPES: [&str; 11] = [
    "controller_customer_id",
    "android_advertising_id",
    "android_id",
    "email",
    "fire_advertising_id",
    "ios_advertising_id",
    "ios_vendor_id",
    "microsoft_advertising_id",
    "microsoft_publisher_id",
    "roku_publisher_id",
    "roku_advertising_id",
];

/// Kinds of subject that a request can name: those of categories that promise something on request.
pub fn kinds(policies: &Policies) -> BTreeSet<String> {
    policies
        .iter()
        .filter(|policy| policy.rule(Trigger::Request).is_some())
        .flat_map(|policy| &policy.placements)
        .flat_map(|placement| placement.subjects.keys().cloned())
        .collect()
}

/// The identity types that can be matched, each with its kind of subject: as configured, or a kind of the same name.
pub fn types(config: &OpenDsrConfig, kinds: &BTreeSet<String>) -> BTreeMap<String, String> {
    IDENTITY_TYPES
        .into_iter()
        .filter_map(|name| {
            let kind = config.identities.get(name).map_or(name, String::as_str);
            kinds.contains(kind).then(|| (name.to_owned(), kind.to_owned()))
        })
        .collect()
}

/// How a tenant is called as a controller.
pub fn controller_id<'c>(config: &'c crate::config::Config, tenant: &'c TenantId) -> &'c str {
    config.tenants.get(tenant).and_then(|own| own.controller.as_deref()).unwrap_or(tenant.as_str())
}
