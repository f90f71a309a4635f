//! What must fit across policies and between policies and stores.
//! It owns those judgements; what one file says by itself was judged by `parse`. It opens nothing and asks nobody.

mod overlap;

use std::collections::BTreeMap;

use super::parse::ParsedPolicy;
use super::tree::{Fault, Severity, nearest};
use super::{Level, Method, Period, Placement, Records, Rule, Trigger};
use crate::facts::Capability;
use crate::id::{PlacementId, StoreId};

/// Judges all policies together. `stores` says what each configured store can do; `None` where the configuration could
/// not be read, and then nothing is said about stores.
pub fn validate(policies: &[ParsedPolicy], stores: Option<&BTreeMap<StoreId, Capability>>) -> Vec<Fault> {
    let mut faults = Vec::new();
    one_file_each(policies, &mut faults);
    one_placement_each(policies, &mut faults);
    overlap::judge(policies, &mut faults);
    for policy in policies {
        for (index, rule) in policy.policy.rules.iter().enumerate() {
            time_is_left(policy, index, rule, &mut faults);
        }
        for (index, placement) in policy.policy.placements.iter().enumerate() {
            let view = View { policies, policy, index, placement };
            view.event_time(&mut faults);
            view.found_by(&mut faults);
            if let Some(stores) = stores {
                view.store(stores, &mut faults);
            }
        }
    }
    faults
}

fn one_file_each(policies: &[ParsedPolicy], faults: &mut Vec<Fault>) {
    for (at, later) in policies.iter().enumerate() {
        let earlier =
            policies.iter().take(at).find(|earlier| earlier.policy.category == later.policy.category);
        if let Some(earlier) = earlier {
            let message = format!("the category `{}` has a policy already", later.policy.category);
            let help = format!("it is in {}; one category has one file", earlier.file.display());
            faults.push(later.fault(Severity::Error, "category", message, help));
        }
    }
}

fn one_placement_each(policies: &[ParsedPolicy], faults: &mut Vec<Fault>) {
    let mut seen: BTreeMap<&PlacementId, &ParsedPolicy> = BTreeMap::new();
    for policy in policies {
        for (index, placement) in policy.policy.placements.iter().enumerate() {
            if let Some(first) = seen.insert(&placement.name, policy) {
                let message = format!("there is a second placement with the name `{}`", placement.name);
                let help = format!("the other is in {}; every name is used once", first.file.display());
                faults.push(policy.fault(
                    Severity::Error,
                    &format!("placements[{index}].name"),
                    message,
                    help,
                ));
            }
        }
    }
}

/// The grace ends before the deadline, and a backup has rotated in between.
fn time_is_left(policy: &ParsedPolicy, index: usize, rule: &Rule, faults: &mut Vec<Fault>) {
    let none = Period { months: 0, days: 0 };
    let grace = rule.grace.unwrap_or(none);
    let left = days_between(grace, rule.deadline);
    if left <= 0 {
        let message =
            "the grace period is not shorter than the deadline, so no time is left to erase".to_owned();
        let help =
            "the deadline counts from termination too; months are taken at their shortest here".to_owned();
        faults.push(policy.fault(Severity::Error, &format!("rules[{index}].grace"), message, help));
        return;
    }
    match rule.trigger {
        // What rotates shows as residual of an age rule; nothing was promised about its backups.
        Trigger::Age => return,
        Trigger::Request | Trigger::Termination => {}
    }
    for (at, placement) in policy.policy.placements.iter().enumerate() {
        let Some(rotation) = placement.rotation else { continue };
        if days_at_most(rotation) >= left {
            let message = format!(
                "the rotation of `{}` leaves no time: the {} rule has {left} days for erasing and rotating",
                placement.name,
                rule.trigger.word()
            );
            let help =
                "shorten the rotation, or erase the backup per tenant; months count 31 days here".to_owned();
            faults.push(policy.fault(Severity::Error, &format!("placements[{at}].rotation"), message, help));
        }
    }
}

/// Most days that a span can have.
fn days_at_most(span: Period) -> i64 {
    i64::from(span.days) + i64::from(span.months / 12) * 366 + i64::from(span.months % 12) * 31
}

/// Fewest days that a span can have.
fn days_at_least(span: Period) -> i64 {
    i64::from(span.days) + i64::from(span.months / 12) * 365 + i64::from(span.months % 12) * 28
}

/// Days that certainly lie between the ends of two spans with the same start.
fn days_between(shorter: Period, longer: Period) -> i64 {
    let months = shorter.months.min(longer.months);
    let rest = |span: Period| Period { months: span.months - months, days: span.days };
    days_at_least(rest(longer)) - days_at_most(rest(shorter))
}

/// One placement, seen with everything around it.
struct View<'p> {
    policies: &'p [ParsedPolicy],
    policy: &'p ParsedPolicy,
    index: usize,
    placement: &'p Placement,
}

impl View<'_> {
    fn fault(&self, key: &str, message: String, help: String) -> Fault {
        self.policy.fault(Severity::Error, &format!("placements[{}].{key}", self.index), message, help)
    }

    /// A category with an age rule knows the event time of all its records.
    fn event_time(&self, faults: &mut Vec<Fault>) {
        let aged = self.policy.policy.rule(Trigger::Age).is_some();
        let takes_it = match &self.placement.records {
            Some(Records::FoundBy { .. }) | None => false,
            Some(Records::Table { .. } | Records::Prefix(_) | Records::Keys(_) | Records::Index(_)) => true,
        };
        if aged && takes_it && self.placement.event_time.is_none() {
            let message =
                format!("`{}` has no event_time, but the category has an age rule", self.placement.name);
            let help = "a store that cannot tell the event time has no age rule: say event_time, or move the placement to a category without one".to_owned();
            faults.push(self.fault("event_time", message, help));
        }
    }

    /// What names records is a table with a key, of the same category.
    fn found_by(&self, faults: &mut Vec<Fault>) {
        let Some(Records::FoundBy { placement: named, .. }) = &self.placement.records else { return };
        let field = "found_by.placement";
        let own = self.policy.policy.placements.iter().find(|placement| &placement.name == named);
        let Some(own) = own else {
            let other =
                self.policies.iter().find(|p| p.policy.placements.iter().any(|place| &place.name == named));
            let (message, help) = match other {
                Some(other) => (
                    format!("`{named}` is a placement of another category, `{}`", other.policy.category),
                    "records are found by rows of their own category, under the same rules".to_owned(),
                ),
                None => {
                    let names = self.policy.policy.placements.iter().map(|placement| placement.name.as_str());
                    let near = nearest(named.as_str(), names);
                    let help = near.map(|near| format!("did you mean `{near}`?"));
                    let help =
                        help.unwrap_or_else(|| "name a placement of this file that has a table".to_owned());
                    (format!("there is no placement `{named}`"), help)
                }
            };
            faults.push(self.fault(field, message, help));
            return;
        };
        let why = match &own.records {
            Some(Records::Table { key, .. }) if key.is_empty() => "has a table without key",
            Some(Records::Table { .. }) => return,
            Some(Records::FoundBy { .. }) if own.name == self.placement.name => "would be found by itself",
            Some(Records::FoundBy { .. }) => "is itself found by another",
            Some(Records::Prefix(_) | Records::Keys(_) | Records::Index(_)) | None => "has no table",
        };
        let help = "records are found by the rows of a table whose key names each row".to_owned();
        faults.push(self.fault(field, format!("nothing can be found by `{named}`: it {why}"), help));
    }

    /// The store is there, is of a kind that has such records, and reaches what the rules ask for.
    fn store(&self, stores: &BTreeMap<StoreId, Capability>, faults: &mut Vec<Fault>) {
        let store = &self.placement.store;
        let Some(capability) = stores.get(store) else {
            let near = nearest(store.as_str(), stores.keys().map(StoreId::as_str));
            let help = near.map(|near| format!("did you mean `{near}`?"));
            let help = help.unwrap_or_else(|| format!("add [stores.{store}] to the configuration"));
            faults.push(self.fault("store", format!("the store `{store}` is not configured"), help));
            return;
        };
        let Some(records) = &self.placement.records else { return };
        let (key, kinds): (&str, &[&str]) = match records {
            Records::Table { .. } => ("table", &["sqlite", "mysql", "memory"]),
            Records::Prefix(_) => ("prefix", &["files", "s3", "memory"]),
            Records::FoundBy { .. } => ("found_by", &["files", "s3", "elasticsearch", "memory"]),
            Records::Keys(_) => ("keys", &["redis", "memory"]),
            Records::Index(_) => ("index", &["elasticsearch", "memory"]),
        };
        let kind = capability.kind.as_str();
        if !kinds.contains(&kind) {
            let message = format!("`{key}` does not fit the store `{store}`, which is of kind {kind}");
            let fitting: Vec<&str> = kinds.iter().copied().filter(|kind| *kind != "memory").collect();
            faults.push(self.fault(
                key,
                message,
                format!("`{key}` is for stores of kind {}", fitting.join(" or ")),
            ));
            return;
        }
        self.methods(capability, faults);
    }

    fn methods(&self, capability: &Capability, faults: &mut Vec<Fault>) {
        let mut judged: Vec<(Method, Level)> = Vec::new();
        for rule in &self.policy.policy.rules {
            let needed = rule.level.unwrap_or(rule.method.level());
            if judged.contains(&(rule.method, needed)) {
                continue;
            }
            judged.push((rule.method, needed));
            let by_method = capability.levels.get(&rule.method).copied();
            if by_method.is_some_and(|level| level >= needed) {
                continue;
            }
            // A store that cannot do the method falls back to its best other one, where the operator accepts that.
            let best = by_method.or_else(|| capability.levels.values().copied().max());
            let accepted =
                self.placement.accept_level.zip(best).is_some_and(|(accepted, best)| best >= accepted);
            if accepted {
                continue;
            }
            let (trigger, method) = (rule.trigger.word(), rule.method.word());
            let kind = &capability.kind;
            let message = match by_method {
                Some(level) => format!(
                    "a store of kind {kind} reaches `{}` with `{method}`, not `{}` as the {trigger} rule asks",
                    level.word(),
                    needed.word()
                ),
                None => {
                    format!("a store of kind {kind} cannot do `{method}`, which the {trigger} rule asks for")
                }
            };
            let help = match best {
                Some(best) => format!(
                    "say accept_level = \"{}\" on `{}`, and every certificate says so",
                    best.word(),
                    self.placement.name
                ),
                None => "put the records into another store".to_owned(),
            };
            faults.push(self.fault("store", message, help));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(months: u32, days: u32) -> Period {
        Period { months, days }
    }

    #[test]
    fn days_between_are_never_counted_too_long() {
        for (shorter, longer, days) in [
            (span(0, 15), span(0, 30), 15),
            (span(0, 30), span(0, 30), 0),
            (span(0, 15), span(1, 0), 13),
            (span(1, 0), span(0, 30), -1),
            (span(11, 0), span(12, 0), 28),
            (span(0, 0), span(12, 0), 365),
            (span(12, 0), span(0, 366), 0),
        ] {
            assert_eq!(days_between(shorter, longer), days, "{shorter:?} {longer:?}");
        }
    }
}
