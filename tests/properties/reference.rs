//! The promises read a second time, one record at a time, as plainly as can be. It shares no code with the planner:
//! dates are those of another library, and the order of the questions is that of the promises.

use chrono::{DateTime, Utc};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use retentiond::facts::RequestScope;
use retentiond::id::{SubjectKey, TenantId};
use retentiond::plan::Reason;
use retentiond::policy::{Period, Placement, Policy, Trigger};

use super::world::World;
use crate::scenarios::judge::Record;

/// Why a record goes or stays; nothing where it is simply not due.
pub(super) fn reason(world: &World, policy: &Policy, rows: &Placement, record: &Record) -> Option<Reason> {
    let reason = but_for_holds(world, policy, rows, record)?;
    let nobody = record.tenant.is_none();
    Some(if !nobody && is_held(world, policy, rows, record) { Reason::Hold } else { reason })
}

/// True where a lawful order keeps the record.
pub(super) fn is_held(world: &World, policy: &Policy, rows: &Placement, record: &Record) -> bool {
    let mut held = false;
    for hold in &world.ledger.holds {
        if Some(&hold.tenant) != record.tenant.as_ref() {
            continue;
        }
        if !hold.categories.is_empty() && !hold.categories.contains(&policy.category) {
            continue;
        }
        if hold.subjects.is_empty() || names_one(rows, record, &hold.subjects) {
            held = true;
        }
    }
    held
}

fn but_for_holds(world: &World, policy: &Policy, rows: &Placement, record: &Record) -> Option<Reason> {
    let now = world.now;
    let time = record.usable(rows, now);
    let Some(tenant) = &record.tenant else {
        // Of nobody: reported from the day on which it would go, or at once where no such day can be told.
        let age = policy.rules.iter().find(|rule| rule.trigger == Trigger::Age).and_then(|rule| rule.period);
        let is_young = age.zip(time).is_some_and(|(period, time)| ends(time, period, policy) > now);
        return if is_young { None } else { Some(Reason::Parked) };
    };
    let has = |trigger: Trigger| policy.rules.iter().any(|rule| rule.trigger == trigger);
    for request in world.ledger.requests.iter().filter(|request| request.tenant == *tenant) {
        let covers = match &request.scope {
            RequestScope::Everything => true,
            RequestScope::Categories(categories) => categories.contains(&policy.category),
            RequestScope::Subjects(keys) => names_one(rows, record, keys),
        };
        let came_after = time.is_some_and(|time| time > request.received_at);
        if has(Trigger::Request) && request.received_at <= now && covers && !came_after {
            let of_person = matches!(request.scope, RequestScope::Subjects(_));
            let rests =
                !of_person && is_awaited(world, policy, tenant, Trigger::Request, request.received_at);
            return Some(if rests { Reason::Grace } else { Reason::Request });
        }
    }
    for ended in world.ledger.terminated.iter().filter(|ended| ended.tenant == *tenant) {
        if has(Trigger::Termination) && ended.terminated_at <= now {
            let grace = policy.rules.iter().find_map(|rule| rule.grace).expect("a termination has its grace");
            let grace_ends = ends(ended.terminated_at, grace, policy);
            let rests = world.ledger.untouched.get(tenant).is_some_and(|until| *until > now);
            let over = grace_ends <= now
                && !(rests && grace_ends <= ended.recorded_at)
                && !is_awaited(world, policy, tenant, Trigger::Termination, ended.terminated_at);
            return Some(if over { Reason::Termination } else { Reason::Grace });
        }
    }
    let rule = policy.rules.iter().find(|rule| rule.trigger == Trigger::Age)?;
    let Some(time) = time else { return Some(Reason::Parked) };
    if ends(time, rule.period.expect("an age rule has its period"), policy) > now {
        return None;
    }
    for entitlement in world.ledger.entitlements.iter().filter(|entitlement| entitlement.tenant == *tenant) {
        let runs = entitlement.until.is_none_or(|until| now < until);
        let here = entitlement.categories.is_empty() || entitlement.categories.contains(&policy.category);
        if runs && here && rule.entitlement.as_deref() == Some(entitlement.name.as_str()) {
            return Some(Reason::Entitlement);
        }
    }
    Some(Reason::Age)
}

/// True where the tenant waits for an export of this category and live data has more than three days left.
pub(super) fn is_awaited(
    world: &World,
    policy: &Policy,
    tenant: &TenantId,
    trigger: Trigger,
    start: DateTime<Utc>,
) -> bool {
    let asked = world.ledger.exports.iter().any(|export| {
        export.tenant == *tenant
            && (export.categories.is_empty() || export.categories.contains(&policy.category))
    });
    let rule = policy.rules.iter().find(|rule| rule.trigger == trigger).expect("the policy has the rule");
    let mut last = earliest(start, rule.deadline, 1, policy);
    if let Some(rotation) =
        policy.placements.iter().filter_map(|placement| placement.rotation).max_by_key(|p| p.days)
    {
        last = earliest(last, rotation, -1, policy);
    }
    asked && world.now < earliest(last, Period { months: 0, days: 3 }, -1, policy)
}

/// Local time plus or minus a period, by the earlier of two readings.
fn earliest(start: DateTime<Utc>, period: Period, sign: i64, policy: &Policy) -> DateTime<Utc> {
    let nanos = i128::from(start.timestamp()) * 1_000_000_000 + i128::from(start.timestamp_subsec_nanos());
    let zone = TimeZone::get(policy.time_zone.name()).unwrap();
    let local = zone.to_datetime(Timestamp::from_nanosecond(nanos).unwrap());
    let months = local.checked_add(Span::new().months(sign * i64::from(period.months))).unwrap();
    let local = months.checked_add(Span::new().days(sign * i64::from(period.days))).unwrap();
    let read = zone.to_ambiguous_timestamp(local);
    let end = if sign < 0 { read.earlier() } else { read.compatible() }.unwrap();
    DateTime::from_timestamp(end.as_second(), u32::try_from(end.subsec_nanosecond()).unwrap()).unwrap()
}

fn names_one(rows: &Placement, record: &Record, keys: &[SubjectKey]) -> bool {
    keys.iter().any(|key| {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        record.subjects.iter().any(|(kind, value)| {
            let same =
                if kind == "phone" { digits(value) == digits(key.expose()) } else { value == key.expose() };
            rows.subjects.contains_key(kind) && kind == key.kind() && same
        })
    })
}

/// Local time plus a period; of two such instants the later, and a skipped one moved on.
fn ends(start: DateTime<Utc>, period: Period, policy: &Policy) -> DateTime<Utc> {
    let nanos = i128::from(start.timestamp()) * 1_000_000_000 + i128::from(start.timestamp_subsec_nanos());
    let zone = TimeZone::get(policy.time_zone.name()).unwrap();
    let local = zone.to_datetime(Timestamp::from_nanosecond(nanos).unwrap());
    let months = local.checked_add(Span::new().months(i64::from(period.months))).unwrap();
    let local = months.checked_add(Span::new().days(i64::from(period.days))).unwrap();
    let end = zone.to_ambiguous_timestamp(local).later().unwrap();
    DateTime::from_timestamp(end.as_second(), u32::try_from(end.subsec_nanosecond()).unwrap()).unwrap()
}
