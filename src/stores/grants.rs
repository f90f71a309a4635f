//! The least privileges that the configured stores need. It owns what each store is asked to grant; how that is written
//! is said by each kind. It opens no store.

use std::collections::BTreeSet;

use serde::Serialize;

use super::KINDS;
use crate::config::Config;
use crate::id::StoreId;
use crate::policy::{Method, Placement, Policies, Records};

/// What is done with a placement in its store.
#[derive(Debug, Clone)]
pub struct Need<'p> {
    /// The placement.
    pub placement: &'p Placement,
    /// How its records are erased, by whichever rule.
    pub methods: BTreeSet<Method>,
}

impl Need<'_> {
    /// True where a rule has values overwritten.
    pub fn overwrites(&self) -> bool {
        self.methods.iter().any(|method| match method {
            Method::OverwriteThenDelete | Method::Zero => true,
            Method::Delete => false,
        })
    }
}

/// The privileges of one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grants {
    /// The store.
    pub store: StoreId,
    /// Its kind.
    pub kind: &'static str,
    /// SQL, ACL, JSON or shell, with comments for people.
    pub text: String,
}

/// For a store of which nothing is ever asked.
const NOTHING: &str = "# No records are looked for here, so nothing is needed.\n";

/// The privileges of every configured store, in order of name.
pub fn all(config: &Config, policies: &Policies) -> Vec<Grants> {
    let one = |(id, store): (&StoreId, &crate::config::StoreConfig)| {
        let kind = KINDS.iter().find(|kind| kind.name == store.kind())?;
        let capability = (kind.capability)();
        let mut needs = Vec::new();
        for policy in policies {
            let here = |placement: &&Placement| &placement.store == id && placement.records.is_some();
            for placement in policy.placements.iter().filter(here) {
                let method = |asked: Method| capability.method_for(asked, placement.accept_level);
                let methods = policy.rules.iter().map(|rule| method(rule.method)).collect();
                needs.push(Need { placement, methods });
            }
        }
        let text = if needs.is_empty() { NOTHING.to_owned() } else { (kind.grants)(store, &needs) };
        Some(Grants { store: id.clone(), kind: kind.name, text })
    };
    config.stores.iter().filter_map(one).collect()
}

/// The fixed beginning of a prefix template: all that is known before a tenant is.
pub(super) fn fixed_prefix(records: &Records) -> Option<&str> {
    match records {
        Records::Prefix(template) | Records::FoundBy { prefix: template, .. } => {
            Some(template.split('{').next().unwrap_or_default())
        }
        Records::Table { .. } | Records::Keys(_) | Records::Index(_) => None,
    }
}

/// A word for a POSIX shell.
pub(super) fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
