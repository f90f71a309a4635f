//! Evidence for people: outcomes and their place in the audit log become a certificate. Pure.
//! It owns what a certificate says and never says; whether an outcome is true was settled by a read-back before.

mod page;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::id::{Category, PlacementId, RequestId, RunId, StoreId, TenantId};
use crate::ledger::rows::{Head, RequestRow, RequestState, RunRow, StepOutcome};
use crate::plan::{Counts, NamedSubject, Residual, digest_of};
use crate::policy::{Level, Method};

pub use page::html;

/// What every certificate says of itself: deleting records in a store sanitises no medium.
const NOT_SANITISATION: &str = "The levels stated are those of retentiond, per store. Erasing records in a store is not \
                                media sanitization under NIST SP 800-88; no level below `media-cleared` speaks of the medium.";

/// Said where state and counts differ: then nothing is claimed.
const NOT_SHOWN: &str = "Not everything that was to be erased was shown absent; no erasure is claimed.";

/// What a certificate is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// An erasure request.
    Request(RequestId),
    /// One run.
    Run(RunId),
}

/// What was erased, where, how, verified when, and what is residual until when.
///
/// *Properties.* It is made from recorded outcomes only. It names subjects by keyed fingerprint. A level is the lowest
/// of the outcomes it covers. Erasure is claimed only where the state says so *and* every count was shown absent. A
/// request's certificate counts its own tenant only, and a run's names no tenant, so that no tenant's data stands
/// beside another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Hash of all the rest but the time at which it was made.
    pub certificate_id: String,
    /// Which program, in which version, did the work and made this.
    pub tool: String,
    /// When this was made.
    pub made_at: DateTime<Utc>,
    /// What it is about.
    pub about: About,
    /// Whose data, for a request.
    pub tenant: Option<TenantId>,
    /// The subjects that a request names.
    pub subjects: Vec<NamedSubject>,
    /// The categories concerned.
    pub categories: BTreeSet<Category>,
    /// Where the request or the run stands.
    pub state: String,
    /// When the request was received, or the run began.
    pub received_at: DateTime<Utc>,
    /// By when the last placement had to be gone, for a request.
    pub deadline: Option<DateTime<Utc>>,
    /// When the request was completed or the run ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// True where the statement claims that what is certified was erased, residuals aside.
    pub erasure_claimed: bool,
    /// What is and is not claimed, in one sentence.
    pub statement: String,
    /// By placement.
    pub placements: Vec<Certified>,
    /// The sentence on media sanitization.
    pub sanitization: &'static str,
    /// Where the evidence stands in the audit log.
    pub log: LogPlace,
}

/// What was done in one placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certified {
    /// Where.
    pub placement: PlacementId,
    /// In which store; `null` where nothing was found and so nothing was done.
    pub store: Option<StoreId>,
    /// Under which policy.
    pub category: Option<Category>,
    /// Why, as the outcomes say.
    pub reasons: BTreeSet<String>,
    /// Which texts were kept.
    pub clauses: BTreeSet<String>,
    /// How.
    pub methods: BTreeSet<String>,
    /// How many.
    pub counts: Counts,
    /// The lowest level reached; `null` where nothing was erased.
    pub level: Option<Level>,
    /// The highest level that one of the methods needs; `null` where nothing was erased.
    pub level_required: Option<Level>,
    /// When it was last looked for.
    pub verified_at: Option<DateTime<Utc>>,
    /// How far a request got here.
    pub state: Option<RequestState>,
    /// What remains, until when.
    pub residual: Vec<Residual>,
    /// What did not succeed.
    pub failures: BTreeSet<String>,
}

/// Where in the audit log an auditor finds the last entry that this certificate rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogPlace {
    /// Entries and root of the log when this was made.
    pub head: Option<Head>,
    /// The number of that entry.
    pub entry: Option<u64>,
    /// The entry itself.
    pub body: Option<String>,
    /// The proof that it is in the log (C2SP `tlog-proof`), to be checked with the public key alone.
    pub proof: Option<String>,
    /// What to type.
    pub verify: &'static str,
}

/// The certificate of a request.
pub fn of_request(
    row: &RequestRow,
    outcomes: &[StepOutcome],
    log: LogPlace,
    now: DateTime<Utc>,
) -> Certificate {
    let mut placements = certified(outcomes, Some(&row.tenant));
    for settled in &row.placements {
        let entry =
            placements.entry(settled.placement.clone()).or_insert_with(|| nothing_in(&settled.placement));
        entry.state = Some(settled.state);
        entry.residual = settled.residual.clone();
    }
    let placements: Vec<Certified> = placements.into_values().collect();
    let settled = row.placements.iter().all(|p| is_gone(p.state) && p.verified_absent >= p.erased);
    let erasure_claimed = is_gone(row.state) && settled && was_shown_absent(&placements);
    let statement = match row.state {
        RequestState::Completed | RequestState::Residual if !erasure_claimed => NOT_SHOWN,
        RequestState::Completed => {
            "Every placement was asked and no record that the request covers was found."
        }
        RequestState::Residual => {
            "Live records are gone; a rotating backup may hold them until the date stated."
        }
        RequestState::Waiting => {
            "Something lawful keeps records that the request covers; nothing is claimed for them."
        }
        RequestState::Received | RequestState::Enforcing => {
            "The request is not carried out yet; this is an interim account."
        }
        RequestState::Cancelled => "The request was withdrawn; what was erased before stands below.",
    };
    finished(Certificate {
        certificate_id: String::new(),
        tool: tool(),
        made_at: now,
        about: About::Request(row.request_id.clone()),
        tenant: Some(row.tenant.clone()),
        subjects: row.subjects.clone(),
        categories: row.categories.iter().cloned().collect(),
        state: word_of(row.state),
        received_at: row.received_at,
        deadline: Some(row.deadline),
        completed_at: row.completed_at,
        erasure_claimed,
        statement: statement.to_owned(),
        placements,
        sanitization: NOT_SANITISATION,
        log,
    })
}

/// The certificate of a run.
pub fn of_run(row: &RunRow, outcomes: &[StepOutcome], log: LogPlace, now: DateTime<Utc>) -> Certificate {
    let placements: Vec<Certified> = certified(outcomes, None).into_values().collect();
    let failed = placements.iter().any(|p| p.counts.failed > 0 || !p.failures.is_empty());
    let erasure_claimed = row.status == "done" && !failed && was_shown_absent(&placements);
    let statement = match row.status.as_str() {
        "done" if !erasure_claimed => NOT_SHOWN,
        "done" => "All that was due and allowed was erased and looked for again.",
        "refused" => {
            "Part of what was due waits for an approval or a doubt to be settled; the rest was erased."
        }
        _ => "The run did not do all that it should; what it did stands below.",
    };
    finished(Certificate {
        certificate_id: String::new(),
        tool: tool(),
        made_at: now,
        about: About::Run(row.run_id.clone()),
        tenant: None,
        subjects: Vec::new(),
        categories: outcomes.iter().map(|outcome| outcome.category.clone()).collect(),
        state: row.status.clone(),
        received_at: row.started_at,
        deadline: None,
        completed_at: row.ended_at,
        erasure_claimed,
        statement: statement.to_owned(),
        placements,
        sanitization: NOT_SANITISATION,
        log,
    })
}

fn tool() -> String {
    format!("retentiond {}", env!("CARGO_PKG_VERSION"))
}

/// The id covers everything but itself and the time of making: the same evidence gives the same id.
fn finished(certificate: Certificate) -> Certificate {
    let bare = Certificate { made_at: DateTime::<Utc>::UNIX_EPOCH, ..certificate.clone() };
    Certificate { certificate_id: format!("cert-{}", &digest_of(&bare)[..32]), ..certificate }
}

fn word_of(state: RequestState) -> String {
    serde_json::to_value(state).ok().and_then(|word| word.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

fn nothing_in(placement: &PlacementId) -> Certified {
    Certified {
        placement: placement.clone(),
        store: None,
        category: None,
        reasons: BTreeSet::new(),
        clauses: BTreeSet::new(),
        methods: BTreeSet::new(),
        counts: Counts::default(),
        level: None,
        level_required: None,
        verified_at: None,
        state: None,
        residual: Vec::new(),
        failures: BTreeSet::new(),
    }
}

/// True where the state says that the live records are gone.
fn is_gone(state: RequestState) -> bool {
    match state {
        RequestState::Residual | RequestState::Completed => true,
        RequestState::Received
        | RequestState::Waiting
        | RequestState::Enforcing
        | RequestState::Cancelled => false,
    }
}

/// What was not looked at again is not gone.
fn was_shown_absent(placements: &[Certified]) -> bool {
    placements
        .iter()
        .all(|p| p.counts.verified_absent >= p.counts.erased.saturating_add(p.counts.already_absent))
}

/// The level that a method must reach, by the method's word.
fn required(method: &str) -> Option<Level> {
    [Method::Delete, Method::OverwriteThenDelete, Method::Zero]
        .into_iter()
        .find(|known| serde_json::to_value(known).is_ok_and(|word| word == method))
        .map(Method::level)
}

/// Sums up outcomes by placement: of one tenant, or of all.
fn certified(outcomes: &[StepOutcome], tenant: Option<&TenantId>) -> BTreeMap<PlacementId, Certified> {
    let mut placements: BTreeMap<PlacementId, Certified> = BTreeMap::new();
    for outcome in outcomes {
        let entry =
            placements.entry(outcome.placement.clone()).or_insert_with(|| nothing_in(&outcome.placement));
        entry.store = Some(outcome.store.clone());
        entry.category = Some(outcome.category.clone());
        entry.reasons.insert(outcome.reason.clone());
        entry.clauses.insert(outcome.clause.clone());
        entry.methods.insert(outcome.method.clone());
        let mut counts = Counts::default();
        for (_, more) in outcome.counts.iter().filter(|(whose, _)| tenant.is_none_or(|ours| *whose == ours)) {
            counts.add(more);
        }
        entry.counts.add(&counts);
        if counts.erased > 0 || counts.already_absent > 0 {
            // Never rounded up: the lowest level of all that was erased. What was absent already may have been left
            // so by a run that died.
            entry.level = Some(entry.level.map_or(outcome.level, |level| level.min(outcome.level)));
            entry.level_required = entry.level_required.max(required(&outcome.method));
        }
        entry.verified_at = entry.verified_at.max(Some(outcome.verified_at));
        entry.residual.extend(outcome.residual.iter().cloned());
        entry.residual.sort();
        entry.residual.dedup();
        entry.failures.extend(outcome.failure.clone());
    }
    placements
}

#[cfg(test)]
mod tests;
