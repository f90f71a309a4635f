//! Adds up what falls due day by day, each record once. Pure; it owns the counting, not the days.

use std::collections::BTreeMap;

use crate::id::{PlacementId, TenantId};
use crate::plan::Reason;

/// What is due, by placement and tenant, and there by reason.
pub(super) type Due = BTreeMap<(PlacementId, TenantId), BTreeMap<Reason, u64>>;

/// What was counted on earlier days. A record that is over age when its tenant's grace begins is not due in the
/// grace and due again after it, but it went on its first day: so the most that was ever due of a tenant counts.
#[derive(Default)]
pub(super) struct Calendar {
    gone: BTreeMap<(PlacementId, TenantId), u64>,
    before: Due,
}

impl Calendar {
    /// What a day adds, by placement and reason, where `due` is due at its end.
    pub(super) fn turn(&mut self, due: Due) -> BTreeMap<(PlacementId, Reason), u64> {
        let mut added = BTreeMap::new();
        for (place, reasons) in &due {
            let gone = self.gone.entry(place.clone()).or_default();
            let total: u64 = reasons.values().sum();
            let mut new = total.saturating_sub(*gone);
            *gone = total.max(*gone);
            for (reason, records) in reasons {
                let before =
                    self.before.get(place).and_then(|reasons| reasons.get(reason)).copied().unwrap_or(0);
                let risen = records.saturating_sub(before).min(new);
                new -= risen;
                if risen > 0 {
                    *added.entry((place.0.clone(), *reason)).or_default() += risen;
                }
            }
        }
        self.before = due;
        added
    }
}
