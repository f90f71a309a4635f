//! The `[rollovers.NAME]` sections. It owns their form; whether a target is there is asked when it is used.

use std::collections::BTreeMap;

use super::settings::cron;
use crate::config::RolloverConfig;
use crate::id::{Category, TenantId};
use crate::policy::parse::name;
use crate::policy::schema::ROLLOVER;
use crate::policy::tree::{Section, Value, Wrong};

/// Reads every section; `None` where one of them is wrong.
pub(super) fn read(root: &Section<'_>) -> Option<BTreeMap<String, RolloverConfig>> {
    let Some(value) = root.get("rollovers") else { return Some(BTreeMap::new()) };
    let all: Vec<_> = value.free_section()?.entries().map(|(name, value)| one(name, &value)).collect();
    all.into_iter().collect()
}

fn one(id: &str, value: &Value<'_>) -> Option<(String, RolloverConfig)> {
    let id = name(id).map_err(|wrong| value.fault(&wrong.message, &wrong.help)).ok();
    let section = value.section(&ROLLOVER)?;
    let tenant =
        section.require("tenant", "say whose data is rolled over").and_then(|value| value.parsed(tenant));
    let to = section.require("to", "name the tenant's bucket: to = \"STORE:PREFIX\"");
    let to = to.and_then(|value| value.parsed(bucket));
    let schedule = section.require("cron", "say when, for example cron = \"0 3 * * *\"");
    let schedule = schedule.and_then(|value| value.parsed(cron));
    let categories = match section.get("categories") {
        None => Some(Vec::new()),
        Some(value) => value
            .texts(|text| Ok(text.to_owned()))
            .map(|texts| texts.into_iter().map(Category::new).collect()),
    };
    let rollover = RolloverConfig { tenant: tenant?, categories: categories?, to: to?, cron: schedule? };
    Some((id?.to_string(), rollover))
}

fn tenant(text: &str) -> Result<TenantId, Wrong> {
    TenantId::parse(text)
        .map_err(|why| Wrong::new(format!("this is no tenant: {why}"), "write the tenant's name"))
}

fn bucket(text: &str) -> Result<String, Wrong> {
    if text.contains(':') && !text.starts_with(':') {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        "this is not a bucket",
        "write STORE:PREFIX, with STORE a store of kind s3, or s3://BUCKET/PREFIX",
    ))
}
