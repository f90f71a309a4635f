//! Records that several rows name. It owns the rule that such a record goes with the last row that names it, wherever
//! that row is, and that who asked for it is not told that it is gone before; erasing is `unit`'s.

use std::collections::{BTreeMap, BTreeSet};

use super::Run;
use super::pace::NAMING_ROWS_MAX;
use super::unit::{Line, insist};
use crate::gather::Trouble;
use crate::id::TenantId;
use crate::plan::{CountsByTenant, Reason};
use crate::policy::{Placement, Records, template};
use crate::stores::{Key, Listed};

/// Names in some rows that other rows hold too.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// Rows beside these hold them.
    pub(super) others: BTreeSet<String>,
    /// Rows of another tenant than the one whose they are hold them, or rows of nobody.
    pub(super) contested: BTreeSet<String>,
}

impl Run<'_> {
    /// Names in these rows that other rows hold too, in any column that leads into the same store. `None` where that
    /// could not be asked; the step has failed then.
    pub(super) async fn named_by_others(
        &mut self,
        rows_line: &Line,
        named: &[Line],
        rows: &[Listed],
        kept: &BTreeSet<usize>,
    ) -> Result<Option<Sharing>, Trouble> {
        let mut sharing = Sharing::default();
        for line in named {
            let Some(column) = &line.column else { continue };
            let owners: BTreeMap<&String, &TenantId> = here(rows, kept)
                .filter(|row| is_own(line, row))
                .filter_map(|row| Some((row.names.get(column)?, &row.tenant)))
                .collect();
            let names: BTreeSet<&String> = here(rows, kept).filter_map(|row| row.names.get(column)).collect();
            let locators: Vec<String> = names.into_iter().cloned().collect();
            if locators.is_empty() {
                continue;
            }
            let policies = &self.world.policies;
            let namers: Vec<(Placement, String)> = policies
                .iter()
                .flat_map(|policy| &policy.placements)
                .filter(|placement| placement.store == line.placement.store)
                .filter_map(|placement| match &placement.records {
                    Some(Records::FoundBy { placement, column, .. }) => {
                        policies.placement(placement).map(|(_, rows)| (rows.clone(), column.clone()))
                    }
                    Some(
                        Records::Table { .. } | Records::Prefix(_) | Records::Keys(_) | Records::Index(_),
                    )
                    | None => None,
                })
                .collect();
            for (namer, column) in namers {
                let Some(store) = self.store(&namer.store, &rows_line.step).await? else { return Ok(None) };
                let is_here = namer.name == rows_line.placement.name;
                // Rows of the batch are told by their keys and not by what they named when they were found: one that has
                // lost its name since must not stand for another row that took it.
                let beside: Vec<Key> =
                    here(rows, kept).filter(|_| is_here).map(|row| row.key.clone()).collect();
                let counts = match insist(|| store.naming_rows(&namer, &column, &locators, &beside)).await {
                    Ok(counts) => counts,
                    Err(error) => {
                        self.fail(rows_line.draft, &error);
                        return Ok(None);
                    }
                };
                for row in here(rows, kept).filter(|_| is_here) {
                    let Some(locator) = row.names.get(&column) else { continue };
                    if owners.get(locator).is_some_and(|owner| **owner != row.tenant) {
                        sharing.contested.insert(locator.clone());
                    }
                }
                for (locator, by_tenant) in counts {
                    let is_strange =
                        |owner: &&TenantId| by_tenant.keys().any(|who| who.as_ref() != Some(*owner));
                    if owners.get(&locator).is_some_and(is_strange) {
                        sharing.contested.insert(locator.clone());
                    }
                    sharing.others.insert(locator);
                }
            }
        }
        Ok(Some(sharing))
    }

    /// Keeps rows whose record rows of another tenant name too: whose word counts is for a person to say. Without these
    /// rows nobody would prove any more whose the record is.
    pub(super) fn keep_contested(
        &mut self,
        named: &[Line],
        rows: &[Listed],
        contested: &BTreeSet<String>,
        kept: &mut BTreeSet<usize>,
    ) {
        for line in named {
            let Some(column) = &line.column else { continue };
            let mut counts = CountsByTenant::new();
            for (index, row) in rows.iter().enumerate() {
                let is_contested = row.names.get(column).is_some_and(|name| contested.contains(name));
                if is_contested && is_own(line, row) && kept.insert(index) {
                    counts.entry(row.tenant.clone()).or_default().failed += 1;
                }
            }
            if !counts.is_empty()
                && let Some(draft) = self.drafts.get_mut(line.draft)
            {
                draft.take(&counts, self.world.clock.now());
                draft.fail(
                    "rows of other tenants, or of nobody, name the same records; these and all rows that name them \
                     are left as they are",
                );
            }
        }
    }

    /// Keeps rows that share a name with others: for a later batch, or, in the last, because whoever asked for the
    /// record would be told that it is gone. What is over age goes all the same: its record follows the last row.
    pub(super) fn keep_shared(
        &mut self,
        line: &Line,
        rows: &[Listed],
        others: &BTreeSet<String>,
        kept: &mut BTreeSet<usize>,
        mut later: Option<&mut Vec<Listed>>,
    ) {
        let mut counts = CountsByTenant::new();
        for (index, row) in rows.iter().enumerate() {
            if kept.contains(&index) || !row.names.values().any(|name| others.contains(name)) {
                continue;
            }
            match (&mut later, line.step.reason) {
                (Some(later), _) => later.push(row.clone()),
                (None, Reason::Age) => continue,
                (
                    None,
                    Reason::Request
                    | Reason::Termination
                    | Reason::Hold
                    | Reason::Grace
                    | Reason::Entitlement
                    | Reason::Parked,
                ) => counts.entry(row.tenant.clone()).or_default().failed += 1,
            }
            kept.insert(index);
        }
        if !counts.is_empty()
            && let Some(draft) = self.drafts.get_mut(line.draft)
        {
            draft.take(&counts, self.world.clock.now());
            draft.fail(
                "rows name records that rows outside the step name too; both stay until those rows are gone",
            );
        }
    }

    /// Cuts what is named to what the step still has; the rows of the rest stay and count as changed.
    pub(super) fn keep_excess(
        &mut self,
        rows_line: &Line,
        line: &Line,
        rows: &[Listed],
        by_locator: &mut BTreeMap<String, Vec<usize>>,
        kept: &mut BTreeSet<usize>,
    ) {
        let handled = self.drafts.get(line.draft).map_or(0, super::step::Draft::handled);
        let left = usize::try_from(line.step.records.saturating_sub(handled)).unwrap_or(usize::MAX);
        let mut counts = CountsByTenant::new();
        while by_locator.len() > left {
            let Some((_, here)) = by_locator.pop_last() else { break };
            for index in here {
                if let Some(row) = rows.get(index).filter(|_| kept.insert(index)) {
                    counts.entry(row.tenant.clone()).or_default().changed += 1;
                }
            }
        }
        if !counts.is_empty()
            && let Some(draft) = self.drafts.get_mut(rows_line.draft)
        {
            draft.take(&counts, self.world.clock.now());
        }
    }
}

/// True where what a row names for a step lies below its own tenant's prefix.
fn is_own(line: &Line, row: &Listed) -> bool {
    let name = line.column.as_ref().and_then(|column| row.names.get(column));
    match (&line.placement.records, name) {
        (Some(Records::FoundBy { prefix, .. }), Some(name)) => template::proves(prefix, &row.tenant, name),
        (
            Some(
                Records::FoundBy { .. }
                | Records::Table { .. }
                | Records::Prefix(_)
                | Records::Keys(_)
                | Records::Index(_),
            )
            | None,
            _,
        ) => false,
    }
}

fn here<'r>(rows: &'r [Listed], kept: &'r BTreeSet<usize>) -> impl Iterator<Item = &'r Listed> {
    rows.iter().enumerate().filter(|(index, _)| !kept.contains(index)).map(|(_, row)| row)
}

/// Puts rows that share a name, also by way of others, into the same batch.
pub(super) fn together(rows: Vec<Listed>) -> Vec<Vec<Listed>> {
    let mut groups: Vec<Vec<Listed>> = Vec::new();
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        let mut known: Vec<usize> =
            row.names.values().filter_map(|name| by_name.get(name).copied()).collect();
        known.sort_unstable();
        known.dedup();
        let home = known.first().copied().unwrap_or(groups.len());
        if home == groups.len() {
            groups.push(Vec::new());
        }
        for other in known.into_iter().skip(1) {
            let moved = groups.get_mut(other).map(std::mem::take).unwrap_or_default();
            for name in moved.iter().flat_map(|row| row.names.values()) {
                by_name.insert(name.clone(), home);
            }
            if let Some(group) = groups.get_mut(home) {
                group.extend(moved);
            }
        }
        for name in row.names.values() {
            by_name.insert(name.clone(), home);
        }
        if let Some(group) = groups.get_mut(home) {
            group.push(row);
        }
    }
    let mut batches: Vec<Vec<Listed>> = Vec::new();
    for group in groups.into_iter().filter(|group| !group.is_empty()) {
        match batches.last_mut().filter(|batch| (batch.len() + group.len()) as u64 <= NAMING_ROWS_MAX) {
            Some(batch) => batch.extend(group),
            None => batches.push(group),
        }
    }
    batches
}
