//! Ledger and stores in, facts out, and everything that follows from facts without changing anything: plans, reports.
//! It owns the questions that are put to the stores; it holds [`Reader`]s only and decides nothing.

mod calendar;
mod identity;
mod promises;
mod report;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::audit;
use crate::clock::Clock;
use crate::config::Config;
use crate::facts::{Facts, LedgerFacts, Survey};
use crate::id::{Fingerprint, PlacementId, StoreId, SubjectKey, TenantId};
use crate::ledger::{self, Ledger};
use crate::plan::decide::rows_of;
use crate::plan::review::{Approvals, Caps, review};
use crate::plan::{Plan, Reason, Scope, Selection, TenantScope, Times, groups, plan};
use crate::policy::{Placement, Policies, Records};
use crate::stores::{self, ErrorKind, Finding, Query, Reader, StoreError};

pub use promises::{Ahead, Inflow, Look, Promise, lead_within, look};
pub use report::{
    Explanation, LastRun, Problem, SimulatedDay, Simulation, Status, check_online, explain, simulate, status,
};
pub use trouble::Trouble;

pub use identity::adopt;
pub(crate) use identity::stranger;

/// What a command works with: configuration, policies and a clock.
#[derive(Debug, Clone)]
pub struct World {
    /// The configuration.
    pub config: Config,
    /// The policies in force.
    pub policies: Policies,
    /// Where "now" comes from.
    pub clock: Clock,
}

/// The stores that the policies use, opened for looking.
pub struct Readers {
    readers: BTreeMap<StoreId, Arc<dyn Reader>>,
    unreachable: BTreeMap<StoreId, String>,
    doubted: BTreeMap<StoreId, String>,
}

impl Readers {
    /// Opens every store that a placement names. One that cannot be reached is remembered, not fatal.
    ///
    /// # Errors
    /// Where a store is not configured or is of a kind that this version does not open.
    pub async fn open(world: &World) -> Result<Self, Trouble> {
        let mut readers: BTreeMap<StoreId, Arc<dyn Reader>> = BTreeMap::new();
        let mut unreachable = BTreeMap::new();
        for placement in world.policies.iter().flat_map(|policy| &policy.placements) {
            let id = &placement.store;
            if readers.contains_key(id) || unreachable.contains_key(id) || placement.records.is_none() {
                continue;
            }
            let config = world.config.stores.get(id).ok_or_else(|| Trouble::no_store(id))?;
            match stores::open_reader(id, config).await {
                Ok(reader) => {
                    readers.insert(id.clone(), reader);
                }
                Err(error) => silence(error, &mut unreachable)?,
            }
        }
        Ok(Self { readers, unreachable, doubted: BTreeMap::new() })
    }

    /// As [`Readers::open`], for a caller that is going to write: what a writer left in a store that died in the middle
    /// keeps readers out, until somebody opens it for writing. Guarded by
    /// `what_a_dead_writer_left_in_the_middle_keeps_no_run_out`.
    ///
    /// # Errors
    /// As [`Readers::open`].
    pub(crate) async fn open_mended(world: &World) -> Result<Self, Trouble> {
        let readers = Self::open(world).await?;
        let mut is_mended = false;
        for id in readers.unreachable.keys() {
            let Some(config) = world.config.stores.get(id) else { continue };
            is_mended |= stores::open_store(id, config).await.is_ok();
        }
        if is_mended { Self::open(world).await } else { Ok(readers) }
    }

    /// A store's reader.
    ///
    /// # Errors
    /// Where the store could not be opened.
    pub fn get(&self, id: &StoreId) -> Result<&Arc<dyn Reader>, Trouble> {
        self.readers.get(id).ok_or_else(|| Trouble::unreachable(id, self.unreachable.get(id)))
    }
}

/// A store that cannot be reached, or refuses, is left out and reported: one store never stops the others. Whatever
/// else is wrong ends the command.
fn silence(error: StoreError, unreachable: &mut BTreeMap<StoreId, String>) -> Result<(), Trouble> {
    match error.kind {
        ErrorKind::Unreachable | ErrorKind::Refused => {
            unreachable.insert(error.store.clone(), error.to_string());
            Ok(())
        }
        ErrorKind::Schema | ErrorKind::Identity | ErrorKind::Ambiguous | ErrorKind::Unresolved => {
            Err(Trouble::from(error))
        }
    }
}

/// Opens the ledger for looking and asks whether it can be trusted. `None` where there is none yet.
///
/// # Errors
/// Where the ledger is missing, empty or older beside an audit log that is not.
pub async fn ledger_view(world: &World) -> Result<Option<Box<dyn Ledger>>, Trouble> {
    let ledger = ledger::open_read_only(&world.config.ledger).await?;
    match audit::doubt(&world.config.audit, ledger.as_deref()).await? {
        Some(why) => Err(Trouble::Doubt(why)),
        None => Ok(ledger),
    }
}

/// The ledger's part of the facts. An entitlement that is over now does not count, whatever instant is planned.
pub(crate) async fn ledger_facts(
    ledger: Option<&dyn Ledger>,
    now: DateTime<Utc>,
) -> Result<LedgerFacts, Trouble> {
    let Some(ledger) = ledger else { return Ok(LedgerFacts::default()) };
    let mut facts = ledger.facts().await?;
    facts.entitlements.retain(|entitlement| entitlement.until.is_none_or(|until| now < until));
    Ok(facts)
}

/// Asks the stores everything that the planner needs to know at `at`.
///
/// # Errors
/// Where a placement does not fit its store (a missing table or column) or a question was refused. A store that
/// falls silent is recorded in [`Facts::unreachable`].
pub async fn facts(
    world: &World,
    readers: &Readers,
    ledger: LedgerFacts,
    at: DateTime<Utc>,
) -> Result<Facts, Trouble> {
    let mut facts = Facts { ledger, unreachable: readers.unreachable.clone(), ..Facts::default() };
    facts.unreachable.extend(readers.doubted.clone());
    for (id, reader) in &readers.readers {
        facts.capabilities.insert(id.clone(), reader.capability());
    }
    inspect(world, readers, &mut facts).await?;
    let mut missing = survey(world, readers, &mut facts, at).await?;
    while missing {
        // A store fell silent while it was asked: what depends on it is left out, the rest is asked again.
        missing = survey(world, readers, &mut facts, at).await?;
    }
    populate(world, readers, &mut facts, at).await?;
    Ok(facts)
}

async fn inspect(world: &World, readers: &Readers, facts: &mut Facts) -> Result<(), Trouble> {
    let mut fatal = Vec::new();
    for placement in world.policies.iter().flat_map(|policy| &policy.placements) {
        let Some(reader) = readers.readers.get(&placement.store).filter(|_| placement.records.is_some())
        else {
            continue;
        };
        match findings(world, reader.as_ref(), placement).await {
            Ok((findings, children)) => {
                if !children.is_empty() {
                    facts.children.insert(placement.name.clone(), children);
                }
                match reader.parts(placement).await {
                    Ok(parts) if parts.is_empty() => {}
                    Ok(parts) => {
                        facts.parts.insert(placement.name.clone(), parts);
                    }
                    Err(error) => silence(error, &mut facts.unreachable)?,
                }
                let wrong = findings.into_iter().filter(|finding| finding.fatal);
                fatal.extend(wrong.map(|finding| {
                    let (field, message, help) = (finding.field, finding.message, finding.help);
                    format!("placement `{}`, {field}: {message} ({help})", placement.name)
                }));
            }
            Err(error) => silence(error, &mut facts.unreachable)?,
        }
    }
    if fatal.is_empty() { Ok(()) } else { Err(Trouble::Schema(fatal.join("; "))) }
}

/// What stands between a placement and its enforcement, and the placements whose rows have to go before its own.
pub(crate) async fn findings(
    world: &World,
    reader: &dyn Reader,
    placement: &Placement,
) -> Result<(Vec<Finding>, BTreeSet<PlacementId>), StoreError> {
    let mut findings = reader.inspect(placement).await?;
    let mut children = BTreeSet::new();
    if findings.iter().any(|finding| finding.fatal) {
        return Ok((findings, children));
    }
    for child in reader.children(placement).await? {
        let placed = world.policies.iter().flat_map(|policy| &policy.placements).find(|other| {
            other.store == placement.store
                && matches!(&other.records, Some(Records::Table { table, .. }) if *table == child.table)
        });
        match placed {
            Some(placed) => {
                children.insert(placed.name.clone());
            }
            None => findings.push(Finding {
                fatal: true,
                field: "table".to_owned(),
                message: format!(
                    "rows of `{}` refer to its rows by column `{}`, and the server refuses to erase what they refer to",
                    child.table, child.column
                ),
                help: "give that table a placement of its own, so that its rows go first".to_owned(),
            }),
        }
    }
    Ok((findings, children))
}

/// Counts every group that is not counted yet. True where a store fell silent.
async fn survey(
    world: &World,
    readers: &Readers,
    facts: &mut Facts,
    at: DateTime<Utc>,
) -> Result<bool, Trouble> {
    let now = world.clock.now();
    let mut surveys: BTreeMap<String, Survey> = std::mem::take(&mut facts.surveys);
    let mut surveyed = BTreeSet::new();
    let mut unreachable = facts.unreachable.clone();
    for group in groups(&world.policies, facts, at) {
        let digest = group.selection.digest();
        if unreachable.contains_key(&group.rows.store) {
            continue;
        }
        if surveys.contains_key(&digest) {
            surveyed.insert(group.placement.name.clone());
            continue;
        }
        let query = query_of(&world.policies, &facts.ledger, &group.selection, now)?;
        match readers.get(&group.rows.store)?.survey(&query).await {
            Ok(survey) => {
                surveys.insert(digest, survey);
                surveyed.insert(group.placement.name.clone());
            }
            Err(error) => silence(error, &mut unreachable)?,
        }
    }
    let fell_silent = unreachable.len() > facts.unreachable.len();
    facts.surveys = surveys;
    facts.surveyed = surveyed;
    facts.unreachable = unreachable;
    Ok(fell_silent)
}

/// Counts placements as far as the limit on shares needs: it asks only whether the due records are too large a part.
async fn populate(
    world: &World,
    readers: &Readers,
    facts: &mut Facts,
    at: DateTime<Utc>,
) -> Result<(), Trouble> {
    let mut due: BTreeMap<PlacementId, u64> = BTreeMap::new();
    for group in groups(&world.policies, facts, at) {
        if group.reason == Reason::Age && group.column.is_none() {
            let records =
                facts.surveys.get(&group.selection.digest()).map_or(0, |survey| survey.total().records);
            *due.entry(group.placement.name.clone()).or_default() += records;
        }
    }
    let share = u64::from(world.config.limits.share_percent).max(1);
    for (name, due) in due.into_iter().filter(|(_, due)| *due > 0) {
        let Some((_, placement)) = world.policies.placement(&name) else { continue };
        let enough = due.saturating_mul(100).div_ceil(share);
        let population = readers.get(&placement.store)?.population(placement, enough).await?;
        facts.populations.insert(name, population);
    }
    Ok(())
}

/// Makes a selection ready for the store whose rows say which records: with the values behind its fingerprints.
///
/// # Errors
/// Where the placement is not there, or a subject's value is not known: missing never means nobody.
pub(crate) fn query_of(
    policies: &Policies,
    ledger: &LedgerFacts,
    selection: &Selection,
    now: DateTime<Utc>,
) -> Result<Query, Trouble> {
    let (policy, placement) = policies
        .placement(&selection.placement)
        .ok_or_else(|| Trouble::no_placement(&selection.placement))?;
    let (rows, column) =
        rows_of(policy, placement).ok_or_else(|| Trouble::no_placement(&selection.placement))?;
    let known: BTreeMap<&Fingerprint, &SubjectKey> =
        keys_of(ledger).map(|key| (key.fingerprint(), key)).collect();
    let mut subjects = BTreeMap::new();
    for named in selection.subjects() {
        let key = known.get(&named.fingerprint).ok_or_else(|| {
            Trouble::Doubt(format!(
                "subject {} of placement `{}` is not known",
                named.fingerprint, placement.name
            ))
        })?;
        subjects.insert(named.fingerprint.clone(), (*key).clone());
    }
    Ok(Query {
        placement: Arc::new(rows.clone()),
        time_zone: policy.time_zone,
        selection: selection.clone(),
        also: Vec::new(),
        subjects,
        now,
        naming: column.map(ToOwned::to_owned),
    })
}

/// As [`query_of`], for the store that holds the records themselves: records that rows name are erased and read back
/// in their own placement, where the prefix proves the tenant.
pub(crate) fn own_query_of(
    policies: &Policies,
    ledger: &LedgerFacts,
    selection: &Selection,
    now: DateTime<Utc>,
) -> Result<Query, Trouble> {
    let query = query_of(policies, ledger, selection, now)?;
    let (_, own) = policies
        .placement(&selection.placement)
        .ok_or_else(|| Trouble::no_placement(&selection.placement))?;
    Ok(Query { placement: Arc::new(own.clone()), naming: None, ..query })
}

fn keys_of(ledger: &LedgerFacts) -> impl Iterator<Item = &SubjectKey> {
    use crate::facts::RequestScope;
    let asked = ledger.requests.iter().flat_map(|request| match &request.scope {
        RequestScope::Subjects(keys) => keys.as_slice(),
        RequestScope::Everything | RequestScope::Categories(_) => &[],
    });
    asked.chain(ledger.holds.iter().flat_map(|hold| &hold.subjects))
}

/// The limits of the configuration, as the review takes them.
pub(crate) fn caps(world: &World) -> Caps {
    Caps { records: world.config.limits.records, share_percent: world.config.limits.share_percent }
}

/// What is due and what is kept at `at`; changes nothing and makes no ledger. Limits that are passed stand in
/// [`Plan::refusals`].
///
/// # Errors
/// Where a store is out of reach (1), the schema does not fit (2) or the ledger is in doubt (3).
pub async fn plan_at(world: &World, at: DateTime<Utc>) -> Result<Plan, Trouble> {
    let ledger = ledger_view(world).await?;
    let view = ledger.as_deref();
    let readers = Readers::proven(world, view).await?;
    let ledger = ledger_facts(view, world.clock.now()).await?;
    let facts = facts(world, &readers, ledger, at).await?;
    if let Some((id, why)) = facts.unreachable.first_key_value() {
        return Err(Trouble::unreachable(id, Some(why)));
    }
    let plan = plan(&world.policies, &facts, at)?;
    let reviewed = review(plan, None, &world.policies, &facts, caps(world), &Approvals::new())?;
    Ok(reviewed.plan().clone())
}

/// True where some placement holds a record of the tenant.
///
/// # Errors
/// As [`plan_at`].
pub async fn knows_tenant(world: &World, tenant: &TenantId) -> Result<bool, Trouble> {
    let readers = Readers::open(world).await?;
    for placement in world.policies.iter().flat_map(|policy| &policy.placements) {
        let is_named = matches!(placement.records, Some(Records::FoundBy { .. }) | None);
        let Some(reader) = readers.readers.get(&placement.store).filter(|_| !is_named) else { continue };
        let selection = Selection {
            placement: placement.name.clone(),
            tenants: TenantScope::One(tenant.clone()),
            within: vec![Scope { subjects: None, times: Times::Any }],
            except: Vec::new(),
            parts: Vec::new(),
        };
        let query = query_of(&world.policies, &LedgerFacts::default(), &selection, world.clock.now())?;
        if reader.survey(&query).await?.total().records > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
