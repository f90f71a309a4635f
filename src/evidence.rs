//! The certificate: what was erased, where, how, how far, seen gone when, and what remains until when.
//! It is pure and makes a document of what it is given; it never claims more than the outcomes say.

mod page;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{Category, PlacementId, PlanId, RequestId, RunId, StoreId, TenantId};
use crate::plan::{Counts, CountsByTenant, NamedSubject, Residual, digest_of};
use crate::policy::Level;

pub use page::html;

/// What is certified: a request, or a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// What was asked for, and how far it got.
    Request(Asked),
    /// What one execution of a plan did, for all its tenants.
    Run(Ran),
}

/// An erasure request. Subjects by fingerprint only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Its id.
    pub request_id: RequestId,
    /// Whose data.
    pub tenant: TenantId,
    /// How far it got, as the ledger says.
    pub progress: Progress,
    /// Start of its clock.
    pub received_at: DateTime<Utc>,
    /// By when the last placement is gone.
    pub deadline: DateTime<Utc>,
    /// When it was completed.
    pub completed_at: Option<DateTime<Utc>>,
    /// True where it asks for all data of the tenant.
    pub everything: bool,
    /// The categories that it covers.
    pub categories: Vec<Category>,
    /// The subjects that it names.
    pub subjects: Vec<NamedSubject>,
    /// Every placement that it covers, those where nothing was found included.
    pub placements: Vec<Covered>,
}

/// How far a request got in one placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// Where.
    pub placement: PlacementId,
    /// How far.
    pub progress: Progress,
    /// Erased for it, already absent records included.
    pub erased: u64,
    /// Shown absent by a separate read.
    pub verified_absent: u64,
    /// What remains, until when.
    pub residual: Vec<Residual>,
}

/// How far something got. Ordered: the lowest of several is what may be said of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// Withdrawn before it was carried out.
    Cancelled,
    /// Not, or only partly, carried out.
    Open,
    /// The live records are gone and verified absent; something still rotates.
    Residual,
    /// Everything is gone and verified absent.
    Completed,
}

/// An execution of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its id.
    pub run_id: RunId,
    /// Which plan.
    pub plan_id: PlanId,
    /// The instant of the plan.
    pub at: DateTime<Utc>,
    /// `running`, `done`, `failed`, `refused` or `interrupted`.
    pub status: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The outcome of one step, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Where.
    pub placement: PlacementId,
    /// In which store.
    pub store: StoreId,
    /// Under which policy.
    pub category: Category,
    /// Why.
    pub reason: String,
    /// Which text is kept.
    pub clause: String,
    /// How.
    pub method: String,
    /// By tenant.
    pub counts: CountsByTenant,
    /// The level reached.
    pub level: Level,
    /// The level that its method needs, where that is known.
    pub level_required: Option<Level>,
    /// What remains, until when.
    pub residual: Vec<Residual>,
    /// When the last read-back was done.
    pub verified_at: DateTime<Utc>,
    /// Why it is not done, where it is not.
    pub failure: Option<String>,
}

/// The place of the evidence in the signed log, checkable by an outsider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// Entries in the signed log.
    pub size: u64,
    /// Its root in hex.
    pub root: String,
    /// Number of the last entry about the request or run.
    pub index: u64,
    /// That entry, byte by byte as it is in the log.
    pub entry: String,
    /// C2SP `tlog-proof` text that the log holds it.
    pub proof: String,
}

/// What was done in one placement, in one way, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Where.
    pub placement: PlacementId,
    /// In which store.
    pub store: StoreId,
    /// Under which policy.
    pub category: Category,
    /// Why.
    pub reason: String,
    /// Which text is kept.
    pub clause: String,
    /// How.
    pub method: String,
    /// How many; of the request's tenant only, where a request is certified.
    pub counts: Counts,
    /// The lowest level that an outcome reached.
    pub level: Level,
    /// The level that had to be reached, where that is known.
    pub level_required: Option<Level>,
    /// When the last read-back was done.
    pub verified_at: DateTime<Utc>,
    /// What remains, until when.
    pub residual: Vec<Residual>,
    /// Why something is not done.
    pub failures: Vec<String>,
}

/// A document for a human, made from evidence only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// `cert-` and the hash of all the rest.
    pub certificate_id: String,
    /// Program and version.
    pub tool: String,
    /// When it was made.
    pub issued_at: DateTime<Utc>,
    /// What is certified.
    #[serde(flatten)]
    pub occasion: Occasion,
    /// How far it got, as far as the outcomes bear it out.
    pub progress: Progress,
    /// The same in a sentence.
    pub statement: String,
    /// The lowest level that any outcome reached; `None` without outcomes.
    pub level: Option<Level>,
    /// What this says about the media, in a sentence.
    pub media: String,
    /// By placement, store, reason, clause and method.
    pub lines: Vec<Line>,
    /// Everything together.
    pub totals: Counts,
    /// Where the evidence is in the signed log; `None` where it is not in it yet.
    pub log: Option<Logged>,
    /// How an outsider checks this.
    pub how_to_verify: Vec<String>,
}

impl Certificate {
    /// Makes the document.
    ///
    /// *Properties.* Completion is claimed only where the ledger says so *and* every count was shown absent. The level
    /// is the lowest of all outcomes. For a request only its own tenant's counts go in. No subject's value goes in,
    /// for none is given.
    pub fn new(occasion: Occasion, done: &[Done], log: Option<Logged>, issued_at: DateTime<Utc>) -> Self {
        let lines = lines_of(&occasion, done);
        let progress = borne_out(&occasion, &lines);
        let level = lines.iter().map(|line| line.level).min();
        let mut totals = Counts::default();
        lines.iter().for_each(|line| totals.add(&line.counts));
        let mut certificate = Self {
            certificate_id: String::new(),
            tool: concat!("retentiond ", env!("CARGO_PKG_VERSION")).to_owned(),
            issued_at,
            statement: statement(&occasion, progress, &lines),
            occasion,
            progress,
            level,
            media: media(level).to_owned(),
            lines,
            totals,
            how_to_verify: how_to_verify(log.as_ref()),
            log,
        };
        certificate.certificate_id = certificate.expected_id();
        certificate
    }

    /// The id that this content must have. Another one means that something was changed afterwards; whoever changes
    /// the id too is found by checking the numbers against the log.
    pub fn expected_id(&self) -> String {
        let bare = Self { certificate_id: String::new(), ..self.clone() };
        format!("cert-{}", &digest_of(&bare)[..32])
    }
}

/// The word of a level, as everywhere outside.
pub fn level_word(level: Level) -> &'static str {
    match level {
        Level::Deleted => "deleted",
        Level::Overwritten => "overwritten",
        Level::Scrubbed => "scrubbed",
        Level::Verified => "verified",
        Level::MediaCleared => "media-cleared",
    }
}

fn lines_of(occasion: &Occasion, done: &[Done]) -> Vec<Line> {
    let mut lines: BTreeMap<_, Line> = BTreeMap::new();
    for outcome in done {
        let mut counts = Counts::default();
        for (tenant, of_tenant) in &outcome.counts {
            let ours = match occasion {
                Occasion::Request(asked) => *tenant == asked.tenant,
                Occasion::Run(_) => true,
            };
            if ours {
                counts.add(of_tenant);
            }
        }
        let name = (
            outcome.placement.clone(),
            outcome.store.clone(),
            outcome.reason.clone(),
            outcome.clause.clone(),
            outcome.method.clone(),
        );
        let line = lines.entry(name).or_insert_with(|| Line {
            placement: outcome.placement.clone(),
            store: outcome.store.clone(),
            category: outcome.category.clone(),
            reason: outcome.reason.clone(),
            clause: outcome.clause.clone(),
            method: outcome.method.clone(),
            counts: Counts::default(),
            level: outcome.level,
            level_required: outcome.level_required,
            verified_at: outcome.verified_at,
            residual: Vec::new(),
            failures: Vec::new(),
        });
        line.counts.add(&counts);
        line.level = line.level.min(outcome.level);
        line.level_required = line.level_required.max(outcome.level_required);
        line.verified_at = line.verified_at.max(outcome.verified_at);
        line.residual.extend(outcome.residual.iter().cloned());
        line.residual.sort();
        line.residual.dedup();
        line.failures.extend(outcome.failure.clone());
    }
    lines.into_values().collect()
}

/// What the ledger says, lowered to what the counts bear out: what was not looked at again is not gone.
fn borne_out(occasion: &Occasion, lines: &[Line]) -> Progress {
    let unseen = lines.iter().any(|line| {
        line.counts.verified_absent < line.counts.erased.saturating_add(line.counts.already_absent)
    });
    match occasion {
        Occasion::Request(asked) => {
            let unseen = unseen || asked.placements.iter().any(|p| p.verified_absent < p.erased);
            let said = asked.placements.iter().map(|p| p.progress).fold(asked.progress, Progress::min);
            match (asked.progress, said) {
                (Progress::Cancelled, _) => Progress::Cancelled,
                (_, Progress::Cancelled) => Progress::Open,
                (_, said) if unseen => said.min(Progress::Open),
                (_, said) => said,
            }
        }
        Occasion::Run(ran) => {
            let failed = lines.iter().any(|line| line.counts.failed > 0 || !line.failures.is_empty());
            if ran.status != "done" || failed || unseen {
                Progress::Open
            } else if lines.iter().any(|line| !line.residual.is_empty()) {
                Progress::Residual
            } else {
                Progress::Completed
            }
        }
    }
}

fn statement(occasion: &Occasion, progress: Progress, lines: &[Line]) -> String {
    let what = match occasion {
        Occasion::Request(_) => "the request covers",
        Occasion::Run(_) => "the plan's steps cover",
    };
    let mut text = match progress {
        Progress::Cancelled => "The request was cancelled; no erasure is certified.".to_owned(),
        Progress::Open => {
            format!(
                "This certifies no completed erasure: not everything that {what} has been erased and verified absent."
            )
        }
        Progress::Residual => format!(
            "Every live record that {what} has been erased and was verified absent; what remains, and until when, is listed as residual."
        ),
        Progress::Completed => format!("Every record that {what} has been erased and was verified absent."),
    };
    let below =
        lines.iter().filter(|line| line.level_required.is_some_and(|needed| line.level < needed)).count();
    if below > 0 {
        text.push_str(&format!(
            " In {below} of {} lines the level reached is below the level required.",
            lines.len()
        ));
    }
    text
}

fn media(level: Option<Level>) -> &'static str {
    match level {
        Some(Level::MediaCleared) => "A scan of the raw device found nothing of the erased data.",
        None | Some(Level::Deleted | Level::Overwritten | Level::Scrubbed | Level::Verified) => {
            "This is not media sanitization under NIST SP 800-88."
        }
    }
}

fn how_to_verify(log: Option<&Logged>) -> Vec<String> {
    match log {
        None => {
            vec!["The evidence is not yet in a signed checkpoint; ask for this certificate again.".to_owned()]
        }
        Some(logged) => vec![
            format!(
                "Hash the entry as RFC 6962 has it (SHA-256 of a zero byte and the entry) and follow the inclusion \
                 proof: it leads to the root of the signed checkpoint over {} entries.",
                logged.size
            ),
            "Check the checkpoint's signature with the operator's log.key.pub (C2SP signed note, Ed25519)."
                .to_owned(),
            "Check the whole log with: retentiond audit verify".to_owned(),
        ],
    }
}

#[cfg(test)]
mod tests;
