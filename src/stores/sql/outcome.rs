//! What became of a batch of rows, from what a database counted before it erased: one rule for every database. It sends
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::TenantId;
use crate::plan::{Counts, CountsByTenant};
use crate::stores::{Erased, Listed, Survival, Survivor};

/// How a row under a listed key stands.
pub(crate) struct Standing {
    /// The key's place in the list.
    pub(crate) index: usize,
    /// Whose the row is now; `None` where it names nobody.
    pub(crate) tenant: Option<TenantId>,
    /// Whether the predicate still holds.
    pub(crate) matches: bool,
}

/// Which listed records go and which survive since they changed. A record that belongs to somebody else by now has
/// changed, even where the selection covers both.
pub(crate) fn judge(listed: &[Listed], standing: &[Standing]) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let (mut doomed, mut changed) = (BTreeSet::new(), BTreeSet::new());
    for row in standing {
        let same_tenant =
            listed.get(row.index).is_some_and(|record| row.tenant.as_ref() == Some(&record.tenant));
        let fate = if row.matches && same_tenant { &mut doomed } else { &mut changed };
        fate.insert(row.index);
    }
    (doomed, changed)
}

/// Places of a list that are in none of these rows.
pub(crate) fn missing(listed: &[Listed], standing: &[Standing]) -> BTreeSet<usize> {
    let there: BTreeSet<usize> = standing.iter().map(|row| row.index).collect();
    (0..listed.len()).filter(|index| !there.contains(index)).collect()
}

/// What became of each listed record.
pub(crate) fn list_outcome(
    listed: &[Listed],
    doomed: &BTreeSet<usize>,
    changed: &BTreeSet<usize>,
    missing: &BTreeSet<usize>,
) -> Erased {
    let mut counts = CountsByTenant::new();
    for (index, record) in listed.iter().enumerate() {
        let count = counts.entry(record.tenant.clone()).or_default();
        count.erased += u64::from(doomed.contains(&index));
        count.changed += u64::from(changed.contains(&index));
        count.already_absent += u64::from(missing.contains(&index));
    }
    let survivors = changed.iter().map(|index| Survivor { index: *index, why: Survival::Changed }).collect();
    Erased { counts, survivors }
}

/// What became of the records that a window had: as many as rows are missing now are gone, the others have changed.
/// `rows_now` are the rows, selected or not, as they were right before this batch, where anybody asked.
pub(crate) fn window_counts(
    erased: &BTreeMap<TenantId, u64>,
    rows_now: &BTreeMap<TenantId, u64>,
    found: &BTreeMap<TenantId, u64>,
    rows_then: &BTreeMap<TenantId, u64>,
) -> CountsByTenant {
    let mut counts = CountsByTenant::new();
    for (tenant, erased) in erased.iter().filter(|(_, erased)| **erased > 0) {
        counts.insert(tenant.clone(), Counts { erased: *erased, ..Counts::default() });
    }
    for (tenant, found) in found {
        let lacking = found.saturating_sub(erased.get(tenant).copied().unwrap_or(0));
        let then = rows_then.get(tenant).copied().unwrap_or(*found);
        let gone = then.saturating_sub(rows_now.get(tenant).copied().unwrap_or(0));
        let count = counts.entry(tenant.clone()).or_default();
        count.already_absent = lacking.min(gone);
        count.changed = lacking - count.already_absent;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn what_is_missing_of_a_window_is_gone_where_rows_are_gone_and_changed_where_not() {
        let of = |count| BTreeMap::from([(tenant("t-1"), count)]);
        let counts = |erased, rows| window_counts(&of(erased), &of(rows), &of(5), &of(8))[&tenant("t-1")];
        assert_eq!(counts(5, 8), Counts { erased: 5, ..Counts::default() });
        assert_eq!(counts(4, 8), Counts { erased: 4, changed: 1, ..Counts::default() });
        assert_eq!(counts(4, 7), Counts { erased: 4, already_absent: 1, ..Counts::default() });
        assert_eq!(counts(0, 3), Counts { already_absent: 5, ..Counts::default() });
        assert_eq!(counts(0, 0), Counts { already_absent: 5, ..Counts::default() });
        let nothing = BTreeMap::new();
        let of_nothing = window_counts(&nothing, &nothing, &of(5), &of(8))[&tenant("t-1")];
        assert_eq!(of_nothing, Counts { already_absent: 5, ..Counts::default() });
    }

    #[test]
    fn a_listed_record_of_somebody_else_by_now_has_changed_although_it_matches() {
        let listed = |name: &str| Listed {
            tenant: tenant(name),
            key: crate::stores::Key(vec![]),
            names: BTreeMap::new(),
            stamp: String::new(),
        };
        let listed = [listed("t-1"), listed("t-1"), listed("t-1"), listed("t-1")];
        let standing =
            |index, name: Option<&str>, matches| Standing { index, tenant: name.map(tenant), matches };
        let rows = [
            standing(0, Some("t-1"), true),
            standing(1, Some("t-10"), true),
            standing(2, Some("t-1"), false),
        ];
        let (doomed, changed) = judge(&listed, &rows);
        assert_eq!((doomed.clone(), changed.clone()), (BTreeSet::from([0]), BTreeSet::from([1, 2])));
        let erased = list_outcome(&listed, &doomed, &changed, &missing(&listed, &rows));
        let expected = Counts { erased: 1, changed: 2, already_absent: 1, ..Counts::default() };
        assert_eq!(erased.counts[&tenant("t-1")], expected);
        assert_eq!(erased.survivors.len(), 2);
    }
}
