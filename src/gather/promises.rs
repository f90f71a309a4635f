//! How every promise stands, asked of the stores now: what is due, late, soon late and kept, by placement and tenant.
//! It owns when a promise counts as at risk; which alarm follows from that is decided by `alarms`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Readers, Trouble, World, facts, ledger_facts, query_of};
use crate::facts::{Facts, Survey, Tally};
use crate::id::{Category, PlacementId, RequestId, StoreId, TenantId};
use crate::ledger::Ledger;
use crate::plan::decide::deadline_of;
use crate::plan::{Group, Reason, Scope, Times, due, groups};
use crate::policy::Trigger;

/// Records of one tenant in one placement that share one fate, and how it stands with their deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// Under which policy.
    pub category: Category,
    /// Where.
    pub placement: PlacementId,
    /// In which store.
    pub store: StoreId,
    /// Whose; `None` for records that name nobody.
    pub tenant: Option<TenantId>,
    /// Why they go or stay.
    pub reason: Reason,
    /// The text that is kept.
    pub clause: Option<String>,
    /// The request that asks for them.
    pub request_id: Option<RequestId>,
    /// How many.
    pub records: u64,
    /// How many of them have their deadline behind them.
    pub overdue: u64,
    /// How many more reach it within the lead.
    pub at_risk: u64,
    /// The earliest deadline among them, where they have one.
    pub deadline: Option<DateTime<Utc>>,
    /// By when the last of them is to be gone.
    pub gone_by: Option<DateTime<Utc>>,
    /// Until when they stay, where that is known.
    pub until: Option<DateTime<Utc>>,
}

impl Promise {
    /// True where the records are to be erased now.
    pub fn is_due(&self) -> bool {
        matches!(self.reason, Reason::Request | Reason::Termination | Reason::Age)
    }
}

/// Records that fall due in the time to come, where nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inflow {
    /// How many.
    pub records: u64,
    /// Within which time from now on.
    pub within: TimeDelta,
}

/// What the stores say of every promise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// By placement, tenant, reason and request.
    pub promises: Vec<Promise>,
    /// Age rules: what falls due soon. Empty where nobody asked for a forecast.
    pub inflows: Vec<Inflow>,
    /// Placements that were asked; nothing is known of the others.
    pub surveyed: BTreeSet<PlacementId>,
    /// Stores that could not be asked, with the reason.
    pub unreachable: BTreeMap<StoreId, String>,
    /// Those of them that answer but are not the ones meant.
    pub doubted: BTreeSet<StoreId>,
}

/// Whether a look also counts what falls due later; it costs a question more for every age rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// Only what is due now.
    No,
    /// Also what falls due until the deadline of what is due now.
    Yes,
}

/// Asks every store how the promises stand. A store that is silent is reported in the answer, and the others are asked
/// all the same.
///
/// # Errors
/// Where a placement does not fit its store, a question was refused or the ledger cannot be read.
pub async fn look(world: &World, ledger: Option<&dyn Ledger>, ahead: Ahead) -> Result<Look, Trouble> {
    let now = world.clock.now();
    let mut readers = Readers::open(world).await?;
    readers.prove(ledger).await?;
    let known = ledger_facts(ledger, now).await?;
    let facts = facts(world, &readers, known, now).await?;
    let mut inflows = Vec::new();
    if ahead == Ahead::Yes {
        for group in groups(&world.policies, &facts, now).iter().filter(|group| group.reason == Reason::Age) {
            inflows.extend(inflow(world, &readers, &facts, group, now).await?);
        }
    }
    Ok(Look {
        promises: promises(world, &readers, &facts, now).await?,
        inflows,
        surveyed: facts.surveyed.clone(),
        unreachable: facts.unreachable.clone(),
        doubted: readers.doubted().keys().cloned().collect(),
    })
}

/// Every group of records that was counted, by tenant.
pub(super) async fn promises(
    world: &World,
    readers: &Readers,
    facts: &Facts,
    now: DateTime<Utc>,
) -> Result<Vec<Promise>, Trouble> {
    let mut all = Vec::new();
    for group in groups(&world.policies, facts, now) {
        let Some(survey) = facts.surveys.get(&group.selection.digest()) else { continue };
        if survey.total().records == 0 {
            continue;
        }
        let soon = now + lead_of(world.config.alarms.lead, &group);
        let overdue = late(world, readers, facts, &group, survey, now).await?;
        let near = late(world, readers, facts, &group, survey, soon).await?;
        let nameless = Tally { records: survey.nameless, ..Tally::default() };
        let tenants = survey.tenants.iter().map(|(tenant, tally)| (Some(tenant), tally));
        for (tenant, tally) in tenants.chain([(None, &nameless)]).filter(|(_, tally)| tally.records > 0) {
            let of = |late: &Survey| match tenant {
                Some(tenant) => late.tenants.get(tenant).map_or(0, |tally| tally.records),
                None => late.nameless,
            };
            // Between two questions a record may have come or gone: neither number is ever larger than the whole.
            let overdue = of(&overdue).min(tally.records);
            all.push(Promise {
                category: group.policy.category.clone(),
                placement: group.placement.name.clone(),
                store: group.placement.store.clone(),
                tenant: tenant.cloned(),
                reason: group.reason,
                clause: group.rule.map(|rule| rule.clause.clone()),
                request_id: group.request.map(|request| request.request_id.clone()),
                records: tally.records,
                overdue,
                at_risk: of(&near).min(tally.records).saturating_sub(overdue),
                deadline: deadline(&group, tally.oldest),
                gone_by: deadline(&group, tally.newest),
                until: group.until,
            });
        }
    }
    Ok(all)
}

/// How long before its deadline a promise counts as at risk: the lead, but for short deadlines a quarter of the time
/// allowed. A rule with two days would be at risk from its first minute.
pub fn lead_within(lead: TimeDelta, allowed: TimeDelta) -> TimeDelta {
    lead.min(allowed / 4).max(TimeDelta::zero())
}

fn lead_of(lead: TimeDelta, group: &Group<'_>) -> TimeDelta {
    let Some(rule) = group.rule else { return TimeDelta::zero() };
    // The shortest months there are: a lead that is a little too short is never as long as the time allowed.
    lead_within(lead, TimeDelta::days(i64::from(rule.deadline.months) * 28 + i64::from(rule.deadline.days)))
}

/// The deadline of a record with this event time.
fn deadline(group: &Group<'_>, event: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    let rule = group.rule?;
    match (rule.trigger, group.start) {
        (Trigger::Request | Trigger::Termination, start) => Some(deadline_of(group.policy, rule, start?)),
        (Trigger::Age, _) => {
            let due_at = due::due_at(event?, rule.period?, group.policy.time_zone);
            Some(deadline_of(group.policy, rule, due_at))
        }
    }
}

/// Records of a group that have their deadline at or before `instant`.
async fn late(
    world: &World,
    readers: &Readers,
    facts: &Facts,
    group: &Group<'_>,
    all: &Survey,
    instant: DateTime<Utc>,
) -> Result<Survey, Trouble> {
    let none = Survey::default();
    let Some(rule) = group.rule else { return Ok(none) };
    match group.reason {
        Reason::Hold | Reason::Request | Reason::Termination | Reason::Age => {}
        Reason::Grace | Reason::Entitlement | Reason::Parked => return Ok(none),
    }
    if let (Trigger::Request | Trigger::Termination, Some(start)) = (rule.trigger, group.start) {
        let deadline = deadline_of(group.policy, rule, start);
        return Ok(if deadline <= instant { all.clone() } else { none });
    }
    let Some(period) = rule.period.filter(|_| rule.trigger == Trigger::Age) else { return Ok(none) };
    // Late is what was due one deadline ago: the whole day is given where the calendar leaves a doubt.
    let was_due = due::lead_deadline(instant, rule.deadline, group.policy.time_zone);
    let intervals = due::due_set(was_due, period, group.policy.time_zone);
    let mut selection = group.selection.clone();
    selection.within.push(Scope { subjects: None, times: Times::Within(intervals) });
    let query = query_of(&world.policies, &facts.ledger, &selection, world.clock.now())?;
    Ok(readers.get(&group.rows.store)?.survey(&query).await?)
}

/// What an age rule adds until the deadline of what is due now.
async fn inflow(
    world: &World,
    readers: &Readers,
    facts: &Facts,
    group: &Group<'_>,
    now: DateTime<Utc>,
) -> Result<Option<Inflow>, Trouble> {
    let Some((rule, period)) = group.rule.and_then(|rule| Some((rule, rule.period?))) else {
        return Ok(None);
    };
    let Some(now_due) = facts.surveys.get(&group.selection.digest()) else { return Ok(None) };
    let zone = group.policy.time_zone;
    let later = due::deadline_at(now, rule.deadline, zone);
    let mut selection = group.selection.clone();
    selection.within =
        vec![Scope { subjects: None, times: Times::Within(due::due_set(later, period, zone)) }];
    let query = query_of(&world.policies, &facts.ledger, &selection, now)?;
    let then = readers.get(&group.rows.store)?.survey(&query).await?.total().records;
    Ok(Some(Inflow { records: then.saturating_sub(now_due.total().records), within: later - now }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_is_a_quarter_of_the_time_allowed_where_that_is_shorter() {
        let lead = TimeDelta::hours(72);
        for (allowed_hours, lead_minutes) in
            [(30 * 24, 72 * 60), (12 * 24, 72 * 60), (48, 12 * 60), (1, 15), (0, 0)]
        {
            let found = lead_within(lead, TimeDelta::hours(allowed_hours));
            assert_eq!(found, TimeDelta::minutes(lead_minutes), "{allowed_hours} hours");
        }
    }
}
