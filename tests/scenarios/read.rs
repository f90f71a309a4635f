//! Scenario files as data. It owns their words; a word that it does not know fails the test.

use std::fs;
use std::path::Path;

use chrono::{DateTime, Utc};
use retentiond::facts::{
    ActiveEntitlement, ActiveHold, LedgerFacts, OpenExport, OpenRequest, RequestScope, TerminatedTenant,
};
use retentiond::id::{Category, EntitlementId, ExportId, HoldId, RequestId, SubjectKey, TenantId};
use retentiond::plan::{Disposition, Reason};
use serde::Deserialize;

use super::judge::key;

/// A promise and what it means for single records.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The name of the file, without its ending.
    #[serde(skip)]
    pub(crate) file: String,
    /// The promise, in words.
    #[expect(dead_code, reason = "for those who read the file")]
    pub(crate) promise: String,
    /// The policy that keeps it.
    pub(crate) policy: String,
    /// Its rule.
    pub(crate) rule: String,
    /// True where records of other categories are looked at too.
    #[serde(default)]
    pub(crate) across: bool,
    /// What the ledger is told.
    #[serde(default)]
    pub(crate) told: Vec<Told>,
    /// Records and their fates.
    #[serde(rename = "record")]
    pub(crate) records: Vec<ToldRecord>,
}

/// Whom a record, a request or a hold names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subject {
    /// `phone`, `agent`, `email`.
    pub(crate) kind: String,
    /// The number, the staff ID.
    pub(crate) value: String,
}

/// Something that the ledger is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Told {
    /// An account ends; until it is reinstated.
    Termination { tenant: TenantId, at: DateTime<Utc>, reinstated: Option<DateTime<Utc>> },
    /// An erasure request; until it is cancelled.
    Request {
        tenant: TenantId,
        received: DateTime<Utc>,
        #[serde(default)]
        everything: bool,
        #[serde(default)]
        categories: Vec<Category>,
        #[serde(default)]
        subjects: Vec<Subject>,
        cancelled: Option<DateTime<Utc>>,
    },
    /// A lawful order to keep; until it is released.
    Hold {
        tenant: TenantId,
        placed: DateTime<Utc>,
        #[serde(default)]
        categories: Vec<Category>,
        #[serde(default)]
        subjects: Vec<Subject>,
        released: Option<DateTime<Utc>>,
    },
    /// The tenant wants to take its data along; until it has.
    Export {
        tenant: TenantId,
        asked: DateTime<Utc>,
        #[serde(default)]
        categories: Vec<Category>,
        finished: Option<DateTime<Utc>>,
    },
    /// Longer storage, until a day that was agreed on or until it is ended.
    Entitlement {
        tenant: TenantId,
        name: String,
        granted: DateTime<Utc>,
        #[serde(default)]
        categories: Vec<Category>,
        until: Option<DateTime<Utc>>,
    },
}

impl Told {
    pub(crate) fn tenant(&self) -> &TenantId {
        match self {
            Self::Termination { tenant, .. }
            | Self::Request { tenant, .. }
            | Self::Hold { tenant, .. }
            | Self::Export { tenant, .. }
            | Self::Entitlement { tenant, .. } => tenant,
        }
    }

    /// Adds to a ledger what is known at an instant.
    pub(crate) fn tell(&self, number: u64, now: DateTime<Utc>, ledger: &mut LedgerFacts) {
        let is_over = |end: Option<DateTime<Utc>>| end.is_some_and(|end| end <= now);
        match self.clone() {
            Self::Termination { tenant, at, reinstated } => {
                if !is_over(reinstated) {
                    ledger.terminated.push(TerminatedTenant { tenant, terminated_at: at, recorded_at: at });
                }
            }
            Self::Request { tenant, received, everything, categories, subjects, cancelled } => {
                let scope = match (everything, categories.is_empty(), subjects.is_empty()) {
                    (true, true, true) => RequestScope::Everything,
                    (false, false, true) => RequestScope::Categories(categories),
                    (false, true, false) => RequestScope::Subjects(keys(&subjects)),
                    _ => panic!("a request asks for everything, for categories or for subjects"),
                };
                if !is_over(cancelled) {
                    let request_id = RequestId::new(format!("req-{number}"));
                    let (received_at, recorded_at) = (received, received);
                    ledger.requests.push(OpenRequest { request_id, tenant, scope, received_at, recorded_at });
                }
            }
            Self::Hold { tenant, placed, categories, subjects, released } => {
                if placed <= now && !is_over(released) {
                    let (hold_id, subjects) = (HoldId::new(format!("hold-{number}")), keys(&subjects));
                    ledger.holds.push(ActiveHold { hold_id, tenant, subjects, categories });
                }
            }
            Self::Export { tenant, asked, categories, finished } => {
                if asked <= now && !is_over(finished) {
                    let export_id = ExportId::new(format!("exp-{number}"));
                    ledger.exports.push(OpenExport { export_id, tenant, categories, asked_at: asked });
                }
            }
            Self::Entitlement { tenant, name, granted, categories, until } => {
                if granted <= now {
                    let entitlement_id = EntitlementId::new(format!("ent-{number}"));
                    ledger.entitlements.push(ActiveEntitlement {
                        entitlement_id,
                        name,
                        tenant,
                        categories,
                        until,
                    });
                }
            }
        }
    }
}

fn keys(subjects: &[Subject]) -> Vec<SubjectKey> {
    subjects.iter().map(|subject| key(&subject.kind, &subject.value)).collect()
}

/// A record, in one or several placements, and its fates.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToldRecord {
    /// In words.
    pub(crate) what: String,
    /// Where it lies; the same holds in each.
    pub(crate) placements: Vec<String>,
    /// Whose it is; left out where it does not say.
    pub(crate) tenant: Option<TenantId>,
    /// When it happened; left out where that cannot be read.
    pub(crate) happened: Option<DateTime<Utc>>,
    /// Whom it names.
    #[serde(default)]
    pub(crate) subjects: Vec<Subject>,
    /// Its fates, in order.
    pub(crate) then: Vec<Phase>,
}

/// A fate and from when on it holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Phase {
    /// From this instant on.
    pub(crate) from: DateTime<Utc>,
    /// `kept: not due`, `kept: hold`, `erased: age`, `refused: termination` …
    fate: String,
    /// Which text is kept.
    pub(crate) clause: Option<String>,
    /// `delete` or `zero`.
    pub(crate) method: Option<String>,
    /// Since when it is due.
    pub(crate) due: Option<DateTime<Utc>>,
    /// By when live data is gone.
    pub(crate) deadline: Option<DateTime<Utc>>,
    /// By when the last copy is gone, backups included, where that is later.
    pub(crate) last_copy: Option<DateTime<Utc>>,
}

impl Phase {
    /// True where it may go by now, but only once an operator has said so.
    pub(crate) fn is_refused(&self) -> bool {
        self.fate.starts_with("refused: ")
    }

    pub(crate) fn fate(&self) -> (Disposition, Option<Reason>) {
        match self.fate.as_str() {
            "kept: not due" => (Disposition::Retain, None),
            "kept: hold" => (Disposition::Retain, Some(Reason::Hold)),
            "kept: grace" => (Disposition::Retain, Some(Reason::Grace)),
            "kept: entitlement" => (Disposition::Retain, Some(Reason::Entitlement)),
            "kept: parked" => (Disposition::Retain, Some(Reason::Parked)),
            "erased: request" => (Disposition::Erase, Some(Reason::Request)),
            "erased: termination" | "refused: termination" => (Disposition::Erase, Some(Reason::Termination)),
            "refused: request" => (Disposition::Erase, Some(Reason::Request)),
            "erased: age" => (Disposition::Erase, Some(Reason::Age)),
            other => panic!("`{other}` is no fate"),
        }
    }

    pub(crate) fn disposition(&self) -> Disposition {
        self.fate().0
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        self.fate().1
    }
}

/// Reads a file.
pub(crate) fn scenario(file: &Path) -> Scenario {
    let text = fs::read_to_string(file).unwrap();
    let mut scenario: Scenario =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    scenario.file = file.file_stem().unwrap().to_str().unwrap().to_owned();
    scenario
}
