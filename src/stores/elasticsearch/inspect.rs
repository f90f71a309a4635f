//! What stands between a placement and its enforcement in a search cluster, and what to do about it. It owns the findings;
//! what a field must be is said by `mapping`. It changes nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::{Body, Call, Session};
use super::documents::prefix_fault;
use super::find::{hits, whole};
use super::indices::{mappings, pattern_of, resolve, settings, unknown_subject};
use super::mapping::{Fields, TenantField, TimeIndex};
use crate::policy::{EventTime, Placement, Records, TenantSource};
use crate::stores::{ErrorKind, Finding, StoreError};

/// Everything that was found.
pub(super) async fn inspect(
    session: &Session<'_>,
    placement: &Placement,
) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Findings::default();
    if let Some(Records::FoundBy { prefix, .. }) = &placement.records {
        if let Some(message) = prefix_fault(placement, prefix) {
            findings.fatal("records", message, "write INDEX/ and a prefix of ids such as \"docs/{tenant}/\"");
        }
        let index = prefix.split('/').next().unwrap_or_default();
        if !index.contains('{') {
            named_index(session, index, &mut findings).await?;
        }
        return Ok(findings.list);
    }
    let names = match pattern_of(session, placement) {
        Ok(pattern) => match resolve(session, pattern).await {
            Ok(resolution) => resolution,
            Err(error) if matches!(error.kind, ErrorKind::Schema | ErrorKind::Refused) => {
                findings.fatal("index", &error.message, "name an index that is there and may be read");
                return Ok(findings.list);
            }
            Err(error) => return Err(error),
        },
        Err(error) => {
            findings.fatal("records", &error.message, "write index = \"cc-logs-*\", or `found_by`");
            return Ok(findings.list);
        }
    };
    for closed in &names.closed {
        let message = format!("the index `{closed}` is closed, so that nobody can tell what is in it");
        findings.fatal("index", &message, "open it, or leave it out of the pattern");
    }
    if !names.hidden.is_empty() {
        let message =
            format!("hidden indices fit the pattern and are left alone: {}", names.hidden.join(", "));
        findings.warning(
            "index",
            &message,
            "name a hidden index exactly, in a placement of its own, if it holds records",
        );
    }
    fields(session, placement, &names.names, &mut findings).await?;
    foreign(session, &names.names, &mut findings).await?;
    Ok(findings.list)
}

#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    fn fatal(&mut self, field: &str, message: &str, help: &str) {
        self.push(true, field, message, help);
    }

    fn warning(&mut self, field: &str, message: &str, help: &str) {
        self.push(false, field, message, help);
    }

    fn push(&mut self, fatal: bool, field: &str, message: &str, help: &str) {
        let finding = Finding { fatal, field: field.into(), message: message.into(), help: help.into() };
        if !self.list.contains(&finding) {
            self.list.push(finding);
        }
    }
}

async fn named_index(session: &Session<'_>, index: &str, findings: &mut Findings) -> Result<(), StoreError> {
    let answer = session.send(Call::Settings(index), Body::None).await?;
    match answer.status {
        200 if answer.body.get(index).is_some() => {}
        200 => findings.fatal(
            "records",
            &format!("`{index}` is no index but another name for some"),
            "write the name of the index itself",
        ),
        404 => findings.fatal(
            "records",
            &format!("the index `{index}` is not there"),
            "create it, or correct the prefix",
        ),
        _ => return Err(session.refusal(&answer)),
    }
    Ok(())
}

/// Mappings, and documents that do not show in them.
async fn fields(
    session: &Session<'_>,
    placement: &Placement,
    names: &[String],
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let mappings = mappings(session, names).await?;
    let mut known = BTreeMap::new();
    for name in names {
        match Fields::read(placement, &mappings[name]["mappings"]) {
            Ok(fields) => drop(known.insert(name.as_str(), fields)),
            Err(faults) => {
                for fault in faults {
                    findings.fatal(fault.field, &format!("in index `{name}` {}", fault.message), fault.help);
                }
            }
        }
    }
    if let Some(field) = unknown_subject(known.values()) {
        let message = format!("the field `{field}` is mapped in none of its indices");
        findings.fatal("subjects", &message, "correct the name of the field");
    }
    for (name, fields) in &known {
        if let Some(time) = &fields.time
            && time.index == TimeIndex::Unusable
            && !fields.is_bare
        {
            let message = format!(
                "in index `{name}` the index on `{}` does not mean what the policy reads, so that every document is read",
                time.path
            );
            let help = "map it as `date` in the policy's format, as `long` for counts, or as `keyword` for ISO dates";
            findings.warning("event_time", &message, help);
        }
        unseen(session, name, fields, findings).await?;
    }
    if matches!(placement.tenant, TenantSource::Constant(_)) {
        let message = "every document of the pattern counts as this one tenant's";
        findings.warning("tenant", message, "name a field where documents say whose they are");
    }
    if let Some(EventTime::Text { time_zone, .. }) = &placement.event_time
        && *time_zone != chrono_tz::Tz::UTC
    {
        let message =
            format!("texts without an offset are read in {time_zone}; the cluster itself takes them as UTC");
        findings.warning("event_time", &message, "write time_zone = \"UTC\" if the application wrote UTC");
    }
    Ok(())
}

/// Documents of which the index says that they name no tenant or no time, while their text does: they were written before
/// the field was mapped, and no query finds them.
async fn unseen(
    session: &Session<'_>,
    index: &str,
    fields: &Fields,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let tenant = match &fields.tenant {
        TenantField::Keyword(keyword) => Some(("tenant", &keyword.query, &keyword.path)),
        TenantField::Constant(_) => None,
    };
    let time = fields.time.as_ref().filter(|time| time.index != TimeIndex::Unusable);
    let time = time.map(|time| ("event_time", &time.query, &time.path));
    for (field, query, path) in tenant.into_iter().chain(time) {
        let body = json!({
            "query": { "bool": { "must_not": [{ "exists": { "field": query } }] } },
            "size": UNSEEN_MAX,
            "_source": [path],
        });
        let mut answer = session.ask(Call::Search(index), Body::Json(body)).await?;
        whole(session, &answer)?;
        let hides = hits(session, &mut answer)?.iter().any(|hit| {
            let values = super::document::values(&hit["_source"], path);
            let is_tenant = |text: &str| crate::id::TenantId::observed(text).is_some();
            // A time that the index could not read is parked; one that it never saw would be forgotten.
            let ignored = super::indices::list(&hit["_ignored"]).iter().any(|name| name == query);
            !ignored && values.iter().any(|value| value.as_str().is_some_and(is_tenant) || value.is_number())
        });
        if hides {
            let message = format!(
                "documents of index `{index}` hold a `{path}` that is not indexed, so that no query finds them"
            );
            findings.fatal(
                field,
                &message,
                "reindex (`_update_by_query` without a query rewrites each document)",
            );
        }
    }
    Ok(())
}

/// Documents looked at for what the index does not show; if it happens, it happened to many.
const UNSEEN_MAX: u64 = 200;

/// Others who delete or keep, and what keeps us from deleting.
async fn foreign(session: &Session<'_>, names: &[String], findings: &mut Findings) -> Result<(), StoreError> {
    let settings = settings(session, names).await?;
    for name in names {
        let settings = &settings[name]["settings"];
        for block in ["read_only", "read_only_allow_delete", "write"] {
            if settings[format!("index.blocks.{block}")] == "true" {
                let message = format!(
                    "the index `{name}` is blocked (`index.blocks.{block}`), so that nothing in it can be erased"
                );
                findings.warning(
                    "index",
                    &message,
                    "lift the block before the deadline; a full disk sets `read_only_allow_delete`",
                );
            }
        }
        if settings["index.blocks.read"] == "true" {
            let message = format!("the index `{name}` may not be read (`index.blocks.read`)");
            findings.fatal("index", &message, "lift the block");
        }
        if let Some(policy) = settings["index.lifecycle.name"].as_str() {
            let message = format!(
                "the lifecycle policy `{policy}` (ILM) manages index `{name}` and may delete it by the index's age"
            );
            findings.warning("index", &message, FOREIGN_HELP);
        }
        let final_pipeline =
            settings["index.final_pipeline"].as_str().filter(|pipeline| *pipeline != "_none");
        if final_pipeline.is_some() {
            let message = format!(
                "the index `{name}` has a final pipeline, so that `overwrite-then-delete` may fail there"
            );
            findings.warning("method", &message, "use `delete`, or take the pipeline off");
        }
    }
    snapshots(session, findings).await?;
    for group in super::client::groups(names.iter().map(String::as_str)) {
        // Clusters without that plugin do not know the question.
        let answer = session.send(Call::Lifecycle(&group), Body::None).await?;
        for name in names.iter().filter(|_| answer.status == 200) {
            if let Some(policy) = managed_by(&answer.body[name]) {
                let message = format!(
                    "the lifecycle policy `{policy}` (ISM) manages index `{name}` and may delete it by the index's age"
                );
                findings.warning("index", &message, FOREIGN_HELP);
            }
        }
    }
    Ok(())
}

/// Who may not ask about snapshots is not told of them.
async fn snapshots(session: &Session<'_>, findings: &mut Findings) -> Result<(), StoreError> {
    let answer = session.send(Call::Repositories, Body::None).await?;
    let names: Vec<&str> =
        answer.body.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if answer.status == 200 && !names.is_empty() {
        let message =
            format!("snapshots in `{}` keep erased documents until they are deleted", names.join("`, `"));
        let help = "give the snapshots a placement with role = \"backup\" and rotation = \"…\"";
        findings.warning("index", &message, help);
    }
    Ok(())
}

const FOREIGN_HELP: &str = "make sure that it keeps documents at least as long as the policy, and knows no holds: it cannot wait for one";

fn managed_by(explained: &Value) -> Option<&str> {
    let keys = ["index.plugins.index_state_management.policy_id", "policy_id"];
    keys.iter().find_map(|key| explained[*key].as_str())
}
