//! Alarms about what leaves: exports that are not finished and messages that nobody received. It owns when they are raised;
//! it asks nobody. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::{alarm, shown};
use crate::alarms::known::Known;
use crate::ledger::NewAlarm;

/// How long an export of a living account may take.
const EXPORT_MAX: TimeDelta = TimeDelta::days(1);

/// How long a message that was given up is told of.
const GIVEN_UP_TOLD: TimeDelta = TimeDelta::days(7);

/// Exports that keep an ended account's data from going, have failed, or take too long.
pub(super) fn exports(known: &Known, now: DateTime<Utc>) -> Vec<NewAlarm> {
    let mut all = Vec::new();
    for export in &known.exports {
        let grace_until = known
            .endings
            .iter()
            .find(|ending| ending.tenant == export.tenant)
            .and_then(crate::alarms::known::Ending::grace_until);
        // Nothing waits for a rollover.
        let delays = export.between.is_none() && grace_until.is_some_and(|until| until <= now);
        if !delays && export.failure.is_none() && now - export.asked_at < EXPORT_MAX {
            continue;
        }
        let what = if delays { ": it delays the erasure of an ended account" } else { "" };
        let message = format!("export {} of {} is not finished{what}", export.export_id, export.tenant);
        let fields = json!({
            "export_id": export.export_id, "tenant": export.tenant, "state": export.state,
            "asked_at": shown(export.asked_at), "delays_erasure": delays,
        });
        let key = format!("export-unfinished/{}", export.export_id);
        all.push(alarm(key, "export-unfinished", message, fields));
    }
    all
}

/// Messages that nobody received. One alarm for each host: an alarm that cannot be delivered must not make others.
pub(super) fn given_up(known: &Known, now: DateTime<Utc>) -> Vec<NewAlarm> {
    let mut by_host: BTreeMap<String, u64> = BTreeMap::new();
    for row in &known.undelivered {
        let is_recent = row.given_up_at.is_some_and(|at| now - at < GIVEN_UP_TOLD);
        let is_withdrawn = row.failure.as_deref() == Some(crate::alarms::notices::WITHDRAWN);
        if is_recent && !is_withdrawn {
            *by_host.entry(host_of(&row.url)).or_default() += 1;
        }
    }
    let one = |(host, messages): (String, u64)| {
        let message = format!("{messages} messages to {host} were given up");
        let fields = json!({"host": host, "messages": messages});
        alarm(format!("delivery-given-up/{host}"), "delivery-given-up", message, fields)
    };
    by_host.into_iter().map(one).collect()
}

/// The host of an address: the rest of it may hold a secret.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}
