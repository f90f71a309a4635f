//! What takes the place of steps that moved while a run was under way. It owns the rule that the second pass erases
//! nothing that the first could not have erased, and no more of it; planning again is the planner's. Pure.

use super::step::Draft;
use crate::plan::review::ReviewedPlan;
use crate::plan::{Selection, Step, TenantScope};

/// Steps of the new plan that take the place of those that moved, each cut to what is left of them: what came in
/// since waits for the next run.
pub(super) fn replacements(
    again: &ReviewedPlan,
    moved: &[Step],
    drafts: &[Draft],
    is_fixed: bool,
) -> Vec<Step> {
    let done = |old: &Step| -> u64 {
        drafts.iter().filter(|draft| draft.step.step_id == old.step_id).map(Draft::handled).sum()
    };
    let mut left: Vec<(&Step, u64)> =
        moved.iter().map(|old| (old, old.records.saturating_sub(done(old)))).collect();
    let is_new = |step: &&Step| drafts.iter().all(|draft| draft.step.step_id != step.step_id);
    let mut steps = Vec::new();
    for step in again.allowed().filter(is_new) {
        let mut records = 0;
        for (_, left) in left.iter_mut().filter(|(old, _)| takes_place(step, old, is_fixed)) {
            let more = (*left).min(step.records - records);
            *left -= more;
            records += more;
        }
        if records > 0 {
            steps.push(Step { records, ..step.clone() });
        }
    }
    steps
}

/// True where a step may be carried out in the place of an old one: the same place, reason and request, and no tenant
/// but the old one's. Where the order was a fixed plan, every record of the new step lies in the old one's selection.
pub(super) fn takes_place(step: &Step, old: &Step, is_fixed: bool) -> bool {
    let same =
        old.placement == step.placement && old.reason == step.reason && old.request_id == step.request_id;
    let tenants = old.tenant.is_none() || old.tenant == step.tenant || step.tenant.is_none();
    same && tenants && (!is_fixed || lies_in(&step.selection, &old.selection))
}

/// True where every record of one selection surely belongs to the other.
fn lies_in(new: &Selection, old: &Selection) -> bool {
    let tenants = match (&new.tenants, &old.tenants) {
        (TenantScope::One(new), TenantScope::One(old)) => new == old,
        (TenantScope::One(new), TenantScope::AllExcept(excepted)) => !excepted.contains(new),
        (TenantScope::AllExcept(new), TenantScope::AllExcept(old)) => {
            old.iter().all(|tenant| new.contains(tenant))
        }
        (TenantScope::AllExcept(_), TenantScope::One(_) | TenantScope::Nameless)
        | (TenantScope::One(_), TenantScope::Nameless)
        | (TenantScope::Nameless, _) => false,
    };
    // Parts that came since are none that the old one knew.
    let parts =
        old.parts.is_empty() == new.parts.is_empty() && new.parts.iter().all(|part| old.parts.contains(part));
    tenants
        && parts
        && old.within.iter().all(|scope| new.within.contains(scope))
        && old.except.iter().all(|scope| new.except.contains(scope))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PlacementId;

    #[test]
    fn a_selection_that_reaches_into_a_part_which_came_since_does_not_lie_in_the_old_one() {
        let of = |parts: &[&str]| Selection {
            placement: PlacementId::new("logs"),
            tenants: TenantScope::AllExcept(Vec::new()),
            within: Vec::new(),
            except: Vec::new(),
            parts: parts.iter().map(|&part| part.to_owned()).collect(),
        };
        assert!(lies_in(&of(&["logs-a", "logs-b"]), &of(&["logs-a", "logs-b"])));
        assert!(lies_in(&of(&["logs-a"]), &of(&["logs-a", "logs-b"])), "one of them is gone");
        assert!(!lies_in(&of(&["logs-a", "logs-c"]), &of(&["logs-a", "logs-b"])));
        assert!(!lies_in(&of(&[]), &of(&["logs-a"])), "no parts are all parts");
        assert!(lies_in(&of(&[]), &of(&[])), "a table has none");
    }
}
