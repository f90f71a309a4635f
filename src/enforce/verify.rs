//! The read-back: what was erased and what a separate look still finds become counts that may be believed.
//! Pure; it owns the one rule that *verified absent* never counts a record that was not looked for again.

use std::collections::BTreeSet;

use crate::id::TenantId;
use crate::plan::CountsByTenant;
use crate::stores::{Batch, Erased, StillThere, Survival};

/// Counts of a batch after its read-back, and the listed records that are still there although they should not be.
pub(super) struct Verified {
    /// Per tenant, `verified_absent` included.
    pub(super) counts: CountsByTenant,
    /// Places in the list that are not gone, for whatever reason.
    pub(super) left: BTreeSet<usize>,
    /// Why records that should be gone are not; no subject's value in it.
    pub(super) failures: Vec<String>,
}

/// Joins what `erase` counted with what `absent` still found.
pub(super) fn verified(batch: &Batch, erased: Erased, still: &StillThere) -> Verified {
    let mut counts = erased.counts;
    let mut left: BTreeSet<usize> = erased.survivors.iter().map(|survivor| survivor.index).collect();
    let mut failures: Vec<String> = erased
        .survivors
        .iter()
        .filter_map(|survivor| match &survivor.why {
            Survival::Changed => None,
            Survival::Failed(why) => Some(why.clone()),
        })
        .collect();
    failures.dedup();
    let mut unexpected: Vec<(TenantId, u64)> = Vec::new();
    match batch {
        Batch::Window { .. } => {
            unexpected.extend(still.tenants.iter().map(|(tenant, n)| (tenant.clone(), *n)));
        }
        Batch::List(listed) => {
            for index in
                still.indexes.iter().filter(|index| !left.contains(index)).copied().collect::<Vec<_>>()
            {
                left.insert(index);
                if let Some(record) = listed.get(index) {
                    unexpected.push((record.tenant.clone(), 1));
                }
            }
        }
    }
    for (tenant, n) in unexpected.into_iter().filter(|(_, n)| *n > 0) {
        // The store said it was gone and it is not: that many of its claims are taken back.
        let entry = counts.entry(tenant).or_default();
        let taken_back = n.min(entry.erased);
        entry.erased -= taken_back;
        entry.already_absent -= (n - taken_back).min(entry.already_absent);
        entry.failed += n;
        failures.push("a read-back still finds records that were reported erased".to_owned());
    }
    for entry in counts.values_mut() {
        entry.verified_absent = entry.erased + entry.already_absent;
    }
    Verified { counts, left, failures }
}
