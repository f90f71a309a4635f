//! Everything in a files store that only looks. It owns counting, finding and reading back; it calls nothing that
//! changes a file.

use std::collections::BTreeMap;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::root::{Medium, Root};
use super::select::{Layout, Selector, key_of, needs_facts, path_of};
use super::walk::Walk;
use crate::facts::{Survey, Tally};
use crate::id::TenantId;
use crate::policy::template::{proves, tenant_of};
use crate::policy::{EventTime, Level, Placement};
use crate::stores::{
    Batch, Budget, ErrorKind, Finding, Found, Listed, Position, Query, Retry, Seen, SeenTime, StillThere,
    StoreError,
};

/// Counts the selection.
pub(super) fn survey(root: &Root, query: &Query) -> Result<Survey, StoreError> {
    let operation = "count files";
    let selector = Selector::new(root, query, operation)?;
    let mut walk = walk_of(root, query, &selector, operation, &[])?;
    let each_looked_at = needs_facts(&query.placement);
    let mut survey = Survey::default();
    while let Some(walked) = walk.next()? {
        let facts = if each_looked_at { walk.facts(&walked)? } else { None };
        if each_looked_at && facts.is_none() {
            continue;
        }
        let time = selector.time_of(&walked.path, walked.kind, facts.as_ref());
        if !selector.matches(walked.tenant.as_ref(), time) {
            continue;
        }
        let at = match time {
            SeenTime::Usable(at) => Some(at),
            SeenTime::None | SeenTime::Unusable => None,
        };
        match walked.tenant {
            Some(tenant) => {
                survey.tenants.entry(tenant).or_default().add(&Tally { records: 1, oldest: at, newest: at });
            }
            None => survey.nameless += 1,
        }
    }
    Ok(survey)
}

/// Counts everything, up to a number.
pub(super) fn population(root: &Root, placement: &Placement, at_most: u64) -> Result<u64, StoreError> {
    let operation = "count files";
    let (template, constant) = prefix_layout(root, placement, operation)?;
    let mut walk = Walk::begin(root, operation, template, constant, Box::new(|_| true), &[])?;
    let mut records = 0;
    while records < at_most && walk.next()?.is_some() {
        records += 1;
    }
    Ok(records)
}

/// Names of all files that rows may name, in order; one that is not UTF-8 is named by no row and shown as it can be.
pub(super) fn inventory(
    root: &Root,
    placement: &Placement,
    after: &str,
    at_most: usize,
) -> Result<Vec<String>, StoreError> {
    let operation = "list all files";
    let (template, constant) = match Layout::of(placement) {
        Ok(Layout::Prefix { template, constant } | Layout::FoundBy { template, constant }) => {
            (template, constant)
        }
        Err(why) => return Err(root.error(operation, ErrorKind::Schema, Retry::Never, why.to_owned())),
    };
    let mut walk = Walk::begin(root, operation, template, constant, Box::new(|_| true), after.as_bytes())?;
    let mut names = Vec::new();
    while names.len() < at_most
        && let Some(walked) = walk.next()?
    {
        names.push(String::from_utf8_lossy(&walked.path).into_owned());
    }
    Ok(names)
}

/// The next batch.
pub(super) fn find(
    root: &Root,
    query: &Query,
    after: Option<&Position>,
    budget: Budget,
) -> Result<Option<Found>, StoreError> {
    let operation = "find files";
    let selector = Selector::new(root, query, operation)?;
    let after = match after {
        None => &[],
        Some(position) => path_of(&position.0).ok_or_else(|| {
            let message = "the position is not a path".into();
            root.error(operation, ErrorKind::Unresolved, Retry::Never, message)
        })?,
    };
    let mut walk = walk_of(root, query, &selector, operation, after)?;
    let mut listed = Vec::new();
    let mut position = None;
    while (listed.len() as u64) < budget.records_max.max(1) {
        let Some(walked) = walk.next()? else { break };
        // Records without a tenant are only ever counted.
        let Some(tenant) = &walked.tenant else { continue };
        let Some(facts) = walk.facts(&walked)? else { continue };
        let time = selector.time_of(&walked.path, facts.kind, Some(&facts));
        if selector.matches(Some(tenant), time) {
            let key = key_of(&walked.path);
            position = Some(Position(key.clone()));
            listed.push(Listed { tenant: tenant.clone(), key, names: BTreeMap::new(), stamp: facts.stamp() });
        }
    }
    Ok(position.map(|position| Found { batch: Batch::List(listed), position }))
}

/// What is still there of a batch, by a descriptor opened afresh.
pub(super) fn absent(root: &Root, query: &Query, batch: &Batch) -> Result<StillThere, StoreError> {
    let operation = "read back files";
    let root = &root.reopen()?;
    root.require_marker(operation)?;
    let layout = layout_of(root, &query.placement, operation)?;
    let selector = match layout {
        Layout::Prefix { .. } => Some(Selector::new(root, query, operation)?),
        Layout::FoundBy { .. } => None,
    };
    let Batch::List(listed) = batch else {
        let message = "files are erased by list, not by window".into();
        return Err(root.error(operation, ErrorKind::Unresolved, Retry::Never, message));
    };
    let mut still = StillThere::default();
    for (index, listed) in listed.iter().enumerate() {
        let path = path_of(&listed.key).filter(|path| layout.proves(&listed.tenant, path));
        let belongs = match path.map(|path| (path, root.facts_at(path))) {
            Some((_, Ok(None))) => continue,
            Some((path, Ok(Some(facts)))) => selector.as_ref().is_none_or(|selector| {
                selector.matches(Some(&listed.tenant), selector.time_of(path, facts.kind, Some(&facts)))
            }),
            // Where we cannot see, it counts as still there.
            None | Some((_, Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV))) => true,
            Some((_, Err(errno))) => return Err(root.errno(operation, errno)),
        };
        still.indexes.push(index);
        if belongs {
            *still.tenants.entry(listed.tenant.clone()).or_default() += 1;
        }
    }
    Ok(still)
}

/// One file by its path.
pub(super) fn look(root: &Root, query: &Query, key: &[String]) -> Result<Option<Seen>, StoreError> {
    let operation = "look at a file";
    let [path] = key else {
        let message = "a file is named by one path below the root".into();
        return Err(root.error(operation, ErrorKind::Schema, Retry::Never, message));
    };
    let (Layout::Prefix { template, constant } | Layout::FoundBy { template, constant }) =
        layout_of(root, &query.placement, operation)?;
    let tenant = match constant {
        Some(constant) => proves(template, constant, path).then(|| constant.clone()),
        None => tenant_of(template, path),
    };
    let Some(tenant) = tenant else { return Ok(None) };
    let facts = match root.facts_at(path.as_bytes()) {
        Ok(Some(facts)) if facts.kind != FileType::Directory => facts,
        Ok(_) | Err(Errno::LOOP | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(root.errno(operation, errno)),
    };
    let selector = Selector::new(root, query, operation)?;
    let event_time = selector.time_of(path.as_bytes(), facts.kind, Some(&facts));
    Ok(Some(Seen { tenant: Some(tenant), event_time, subjects: Vec::new() }))
}

/// What stands between the placement and its enforcement.
pub(super) fn inspect(root: &Root, placement: &Placement) -> Vec<Finding> {
    let finding = |fatal, field: &str, message: &str, help: &str| Finding {
        fatal,
        field: field.into(),
        message: message.into(),
        help: help.into(),
    };
    let mut findings = Vec::new();
    if let Err(error) = root.reopen() {
        let help = "mount or restore the folder that the configuration names";
        findings.push(finding(true, "store", &error.message, help));
    }
    match Layout::of(placement) {
        Ok(Layout::Prefix { .. }) if !placement.subjects.is_empty() => {
            let help = "write `subjects = \"none\"`, or have rows name the files with `found_by`";
            findings.push(finding(true, "subjects", "files name no subject", help));
        }
        Ok(Layout::Prefix { .. } | Layout::FoundBy { .. }) => {}
        Err(message) => {
            let help = "a folder holds `prefix = \"ivr/{tenant}/\"` or `found_by` placements";
            findings.push(finding(true, "records", message, help));
        }
    }
    if matches!(placement.event_time, Some(EventTime::Modified)) {
        let help = "put the date into the path and use `event_time = { key = \"…\" }`";
        let message = "the time of modification moves when a file is copied or restored";
        findings.push(finding(false, "event_time", message, help));
    }
    let accepted = placement.accept_level.is_some_and(|level| level <= Level::Deleted);
    match root.medium {
        Medium::InPlace => {}
        Medium::InPlaceUnlessShared => {
            let message =
                "on xfs, files that share blocks (`cp --reflink`) keep the old bytes in the other file";
            findings.push(finding(false, "method", message, "do not reflink files of this store"));
        }
        Medium::Elsewhere if !accepted => {
            let message = "its file system may keep overwritten bytes, so `zero` reaches `deleted` only";
            let help = "use ext4 or xfs, or say `accept_level = \"deleted\"`";
            findings.push(finding(false, "method", message, help));
        }
        Medium::Elsewhere => {}
    }
    findings
}

pub(super) fn layout_of<'p>(
    root: &Root,
    placement: &'p Placement,
    operation: &'static str,
) -> Result<Layout<'p>, StoreError> {
    Layout::of(placement)
        .map_err(|message| root.error(operation, ErrorKind::Schema, Retry::Never, message.into()))
}

fn prefix_layout<'p>(
    root: &Root,
    placement: &'p Placement,
    operation: &'static str,
) -> Result<(&'p str, Option<&'p TenantId>), StoreError> {
    match layout_of(root, placement, operation)? {
        Layout::Prefix { template, constant } => Ok((template, constant)),
        Layout::FoundBy { .. } => {
            let message = "its files are known only by the rows that name them".into();
            Err(root.error(operation, ErrorKind::Unresolved, Retry::Never, message))
        }
    }
}

fn walk_of<'r>(
    root: &'r Root,
    query: &'r Query,
    selector: &'r Selector<'r>,
    operation: &'static str,
    after: &[u8],
) -> Result<Walk<'r>, StoreError> {
    let (template, constant) = prefix_layout(root, &query.placement, operation)?;
    let wanted = Box::new(|tenant: Option<&TenantId>| selector.tenant_matches(tenant));
    Walk::begin(root, operation, template, constant, wanted, after)
}
