//! Notices before an ended account's data goes: seven days and one day before, to the tenant's address or the
//! operator's. It owns when each is due and what it says; sending is `outgoing`'s.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::json;

use super::known::{Ending, Known};
use super::tell::digest;
use crate::gather::{Trouble, World};
use crate::id::TenantId;
use crate::ledger::{DeliveryFate, DeliveryRow, Ledger, NewDelivery};

/// How many days before, the earlier first.
const DAYS_BEFORE: [i64; 2] = [7, 1];

/// A backdated termination is first touched so long after it was told.
const BACKDATED: TimeDelta = TimeDelta::hours(24);

/// Why a notice is no longer sent: the account has come back, or ended anew.
pub(super) const WITHDRAWN: &str = "withdrawn: the termination no longer stands";

/// Enqueues every notice that is due, and withdraws those that are on their way for a termination that no longer
/// stands. Safe to repeat.
pub(super) async fn enqueue(
    world: &World,
    ledger: &dyn Ledger,
    known: &Known,
    now: DateTime<Utc>,
) -> Result<(), Trouble> {
    for ending in &known.endings {
        let own = world.config.tenants.get(&ending.tenant).and_then(|tenant| tenant.notices.as_ref());
        // What goes to the tenant's own address is signed with the tenant's secret, if it has one.
        let addresses: Vec<(&String, Option<TenantId>)> = match own {
            Some(url) => vec![(url, Some(ending.tenant.clone()))],
            None => world.config.alarms.webhooks.iter().map(|url| (url, None)).collect(),
        };
        let Some((goes_at, days)) = due(ending, now) else { continue };
        for (url, tenant) in addresses {
            let notice = notice(ending, (goes_at, days), (url, tenant), now);
            ledger.enqueue(&notice, now).await?;
        }
    }
    for row in known.undelivered.iter().filter(|row| is_void(row, known)) {
        let fate = DeliveryFate::GivenUp { failure: WITHDRAWN.to_owned() };
        ledger.settle_delivery(row.number, &fate, now).await?;
    }
    Ok(())
}

/// When the data goes, and which of the notices before it is due now: of two, the nearer. `None` while it is too early,
/// and from when the data goes.
fn due(ending: &Ending, now: DateTime<Utc>) -> Option<(DateTime<Utc>, i64)> {
    let grace_until = ending.grace_until()?;
    // Only one that was due when it was told rests for a while; any other goes when its grace is over.
    let rest = (grace_until <= ending.recorded_at).then_some(ending.recorded_at + BACKDATED);
    let goes_at = rest.unwrap_or(grace_until);
    if now >= goes_at {
        return None;
    }
    let days = DAYS_BEFORE.into_iter().filter(|days| goes_at - TimeDelta::days(*days) <= now).min()?;
    Some((goes_at, days))
}

fn notice(
    ending: &Ending,
    (goes_at, days): (DateTime<Utc>, i64),
    (url, about): (&str, Option<TenantId>),
    now: DateTime<Utc>,
) -> NewDelivery {
    let tenant = &ending.tenant;
    let when = shown(goes_at);
    let message = format!(
        "The data of {tenant} is erased from {when} on. Until then the account can be reinstated, and its data \
         exported; afterwards neither is possible."
    );
    let body = json!({
        "type": "notice",
        "tenant": tenant,
        "message": message,
        "terminated_at": ending.terminated_at,
        "erased_from": goes_at,
        "gone_by": ending.deadline(),
        "still_possible": ["reinstate", "export"],
        "made_at": now,
    });
    NewDelivery {
        key: format!("{}{days}/{}", start_of_key(ending), digest(url)),
        kind: "notice".to_owned(),
        tenant: about,
        url: url.to_owned(),
        body: body.to_string(),
    }
}

/// What the keys of all notices of one termination begin with. It ends in a slash, and no tenant has one in its name.
fn start_of_key(ending: &Ending) -> String {
    format!("notice/{}/{}/", ending.tenant, shown(ending.terminated_at))
}

/// True for a notice on its way whose termination no longer stands.
fn is_void(row: &DeliveryRow, known: &Known) -> bool {
    row.kind == "notice"
        && row.given_up_at.is_none()
        && !known.endings.iter().any(|ending| row.key.starts_with(&start_of_key(ending)))
}

fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Category, TenantId};
    use crate::plan::cover::Falling;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).expect("an instant").to_utc()
    }

    fn ending(recorded_at: &str) -> Ending {
        Ending {
            tenant: TenantId::parse("acme").expect("a tenant"),
            terminated_at: at("2026-01-01T00:00:00Z"),
            recorded_at: at(recorded_at),
            falling: vec![Falling {
                category: Category::new("call-data"),
                grace_until: at("2026-01-16T00:00:00Z"),
                deadline: at("2026-01-31T00:00:00Z"),
                clause: "SLA §7.5".to_owned(),
            }],
        }
    }

    #[test]
    fn a_notice_is_due_seven_days_and_one_day_before_and_not_a_tick_earlier() {
        let ending = ending("2026-01-01T00:00:00Z");
        let days = |now: &str| due(&ending, at(now)).map(|(_, days)| days);
        assert_eq!(days("2026-01-08T23:59:59.999999Z"), None);
        assert_eq!(days("2026-01-09T00:00:00Z"), Some(7));
        assert_eq!(days("2026-01-14T23:59:59.999999Z"), Some(7));
        assert_eq!(days("2026-01-15T00:00:00Z"), Some(1));
        assert_eq!(days("2026-01-15T23:59:59.999999Z"), Some(1));
        assert_eq!(days("2026-01-16T00:00:00Z"), None, "it goes now: no notice says that it will");
    }

    #[test]
    fn a_backdated_termination_that_is_due_already_has_its_notice_at_once() {
        let ending = ending("2026-03-01T12:00:00Z");
        assert_eq!(due(&ending, at("2026-03-01T12:00:00Z")), Some((at("2026-03-02T12:00:00Z"), 1)));
        assert_eq!(due(&ending, at("2026-03-02T12:00:00Z")), None);
    }

    #[test]
    fn a_termination_told_late_has_only_the_nearer_notice() {
        let ending = ending("2026-01-15T08:00:00Z");
        let goes_at = at("2026-01-16T00:00:00Z");
        assert_eq!(due(&ending, at("2026-01-15T08:00:00Z")), Some((goes_at, 1)), "it does not rest");
        assert_eq!(due(&ending, goes_at), None);
    }
}
