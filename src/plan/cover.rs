//! What a new request covers and by when: categories, placements, deadline, from the policies alone.
//! It owns the refusal of names that no policy knows; which records are erased is decided in [`super::decide`].

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::due::{deadline_at, due_at};
use crate::id::{Category, PlacementId};
use crate::policy::tree::nearest;
use crate::policy::{Placement, Policies, Policy, Records, Trigger};

/// What a request names, without any subject's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewScopeKinds {
    /// All data of the tenant.
    Everything,
    /// These categories.
    Categories(Vec<Category>),
    /// Subjects of these kinds.
    Subjects(Vec<String>),
}

/// What a request covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// The categories, in order.
    pub categories: Vec<Category>,
    /// Their placements that may hold such records, in order of category and policy file.
    pub placements: Vec<PlacementId>,
    /// The earliest deadline of the categories.
    pub deadline: DateTime<Utc>,
    /// Categories that name such subjects but promise nothing on request: their records stay. People are told.
    pub left_out: Vec<Category>,
}

/// Works out what a request covers, with the deadline that counts from an instant.
///
/// # Errors
/// A text for people (exit 2): a category or a kind of subject that no policy knows, a category without a
/// request rule, nothing named.
pub fn covered(
    policies: &Policies,
    scope: &NewScopeKinds,
    starts_at: DateTime<Utc>,
) -> Result<Covered, String> {
    let mut left_out = Vec::new();
    let chosen: Vec<&Policy> = match scope {
        NewScopeKinds::Everything => policies.iter().collect(),
        NewScopeKinds::Categories(names) => {
            known_categories(policies, names)?;
            policies.iter().filter(|policy| names.contains(&policy.category)).collect()
        }
        NewScopeKinds::Subjects(kinds) => {
            known_kinds(policies, kinds)?;
            let (with_rule, without): (Vec<&Policy>, Vec<&Policy>) = policies
                .iter()
                .filter(|policy| policy.placements.iter().any(|p| knows(policies, p, kinds)))
                .partition(|policy| policy.rule(Trigger::Request).is_some());
            left_out = without.into_iter().map(|policy| policy.category.clone()).collect();
            if with_rule.is_empty() {
                return Err(format!(
                    "no category with a request rule names a subject of kind {}",
                    quoted(kinds.iter().map(String::as_str))
                ));
            }
            with_rule
        }
    };
    let mut placements = Vec::new();
    let mut deadlines = Vec::new();
    for policy in &chosen {
        let rule = policy.rule(Trigger::Request).ok_or_else(|| {
            format!("category `{}` has no request rule, so nothing is promised on request", policy.category)
        })?;
        deadlines.push(deadline_at(starts_at, rule.deadline, policy.time_zone));
        placements.extend(
            policy.placements.iter().filter(|p| may_hold(policies, p, scope)).map(|p| p.name.clone()),
        );
    }
    let deadline = deadlines.into_iter().min().ok_or("no policy is in force, so nothing can be requested")?;
    let categories = chosen.into_iter().map(|policy| policy.category.clone()).collect();
    Ok(Covered { categories, placements, deadline, left_out })
}

/// The placements in force that may hold records of a request, also those that came after it.
pub fn placements_of(policies: &Policies, scope: &NewScopeKinds) -> Vec<PlacementId> {
    let named = |policy: &&Policy| match scope {
        NewScopeKinds::Categories(names) => names.contains(&policy.category),
        NewScopeKinds::Everything | NewScopeKinds::Subjects(_) => true,
    };
    policies
        .iter()
        .filter(|policy| policy.rule(Trigger::Request).is_some())
        .filter(named)
        .flat_map(|policy| &policy.placements)
        .filter(|placement| may_hold(policies, placement, scope))
        .map(|placement| placement.name.clone())
        .collect()
}

/// What falls due for a terminated tenant in one category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Falling {
    /// The category.
    pub category: Category,
    /// Nothing is touched before.
    pub grace_until: DateTime<Utc>,
    /// The last copy is gone by.
    pub deadline: DateTime<Utc>,
    /// The text that says so.
    pub clause: String,
}

/// What falls due when for a tenant terminated at an instant, by category; a category without a termination rule
/// is not there.
pub fn falling(policies: &Policies, terminated_at: DateTime<Utc>) -> Vec<Falling> {
    policies
        .iter()
        .filter_map(|policy| {
            let rule = policy.rule(Trigger::Termination)?;
            Some(Falling {
                category: policy.category.clone(),
                grace_until: rule
                    .grace
                    .map_or(terminated_at, |grace| due_at(terminated_at, grace, policy.time_zone)),
                deadline: deadline_at(terminated_at, rule.deadline, policy.time_zone),
                clause: rule.clause.clone(),
            })
        })
        .collect()
}

/// Refuses categories that no policy defines, and one named twice.
///
/// # Errors
/// A text for people (exit 2), with the nearest known name.
pub fn known_categories(policies: &Policies, names: &[Category]) -> Result<(), String> {
    for (at, name) in names.iter().enumerate() {
        if policies.of(name).is_none() {
            let known = || policies.iter().map(|policy| policy.category.as_str());
            return Err(unknown("category", name.as_str(), &known().collect::<Vec<_>>()));
        }
        if names[..at].contains(name) {
            return Err(format!("category `{name}` is named twice"));
        }
    }
    Ok(())
}

/// Refuses kinds of subject that no placement of any policy knows.
///
/// # Errors
/// A text for people (exit 2), with the nearest known kind and all others.
pub fn known_kinds(policies: &Policies, kinds: &[String]) -> Result<(), String> {
    let known: BTreeSet<&str> = policies
        .iter()
        .flat_map(|policy| &policy.placements)
        .flat_map(|placement| placement.subjects.keys())
        .map(String::as_str)
        .collect();
    match kinds.iter().find(|kind| !known.contains(kind.as_str())) {
        Some(kind) => Err(unknown("kind of subject", kind, &known.into_iter().collect::<Vec<_>>())),
        None => Ok(()),
    }
}

/// Refuses an entitlement that would suspend nothing: no age rule names it, or not that of each category given.
///
/// # Errors
/// A text for people (exit 2).
pub fn known_entitlement(policies: &Policies, name: &str, categories: &[Category]) -> Result<(), String> {
    known_categories(policies, categories)?;
    let mut named: BTreeMap<&str, Vec<&Category>> = BTreeMap::new();
    for policy in policies {
        if let Some(entitlement) = policy.rule(Trigger::Age).and_then(|rule| rule.entitlement.as_deref()) {
            named.entry(entitlement).or_default().push(&policy.category);
        }
    }
    let Some(suspended) = named.get(name) else {
        return Err(unknown("entitlement", name, &named.into_keys().collect::<Vec<_>>()));
    };
    match categories.iter().find(|category| !suspended.contains(category)) {
        Some(category) => {
            Err(format!("the age rule of category `{category}` does not name entitlement `{name}`"))
        }
        None => Ok(()),
    }
}

fn unknown(what: &str, typed: &str, known: &[&str]) -> String {
    let hint = match nearest(typed, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? "),
        None => String::new(),
    };
    let rest = if known.is_empty() {
        "no policy defines any".to_owned()
    } else {
        format!("the policies know {}", quoted(known.iter().copied()))
    };
    format!("no policy knows the {what} `{typed}`; {hint}{rest}")
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn may_hold(policies: &Policies, placement: &Placement, scope: &NewScopeKinds) -> bool {
    match scope {
        NewScopeKinds::Everything | NewScopeKinds::Categories(_) => true,
        // What rotates by itself may hold every record of its category, whoever it names.
        NewScopeKinds::Subjects(kinds) => placement.rotation.is_some() || knows(policies, placement, kinds),
    }
}

/// True where records of the placement, or the rows that name them, name subjects of one of the kinds.
fn knows(policies: &Policies, placement: &Placement, kinds: &[String]) -> bool {
    let mut placement = placement;
    let mut seen = Vec::new();
    loop {
        if kinds.iter().any(|kind| placement.subjects.contains_key(kind)) {
            return true;
        }
        seen.push(&placement.name);
        let Some(Records::FoundBy { placement: naming, .. }) = &placement.records else { return false };
        match policies.placement(naming) {
            // A cycle is refused by validation; here it only must not loop.
            Some((_, next)) if !seen.contains(&&next.name) => placement = next,
            Some(_) | None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StoreId;
    use crate::policy::{Method, Period, Role, Rule, SubjectSource, TenantSource};

    fn rule(trigger: Trigger, deadline_days: u32) -> Rule {
        Rule {
            trigger,
            period: None,
            grace: None,
            deadline: Period { months: 0, days: deadline_days },
            method: Method::Delete,
            level: None,
            clause: "§1".to_owned(),
            entitlement: None,
        }
    }

    fn placement(name: &str, records: Records, kinds: &[&str]) -> Placement {
        let source = |kind: &&str| {
            let columns = vec!["who".to_owned()];
            ((*kind).to_owned(), SubjectSource { columns, format: crate::policy::SubjectFormat::AsIs })
        };
        Placement {
            name: PlacementId::new(name),
            store: StoreId::new("db"),
            role: Role::Primary,
            records: Some(records),
            tenant: TenantSource::Column("tenant".to_owned()),
            event_time: None,
            subjects: kinds.iter().map(source).collect(),
            plausible_from: chrono::NaiveDate::from_ymd_opt(2000, 1, 1).unwrap(),
            accept_level: None,
            rotation: None,
        }
    }

    fn table(name: &str, kinds: &[&str]) -> Placement {
        placement(name, Records::Table { table: name.to_owned(), key: Vec::new() }, kinds)
    }

    fn policy(category: &str, rules: Vec<Rule>, placements: Vec<Placement>) -> Policy {
        Policy {
            category: Category::new(category),
            title: String::new(),
            time_zone: chrono_tz::Tz::Asia__Singapore,
            method: Method::Delete,
            rules,
            placements,
            digest: category.to_owned(),
        }
    }

    fn contact_center() -> Policies {
        let found = Records::FoundBy {
            placement: PlacementId::new("calls"),
            column: "recording".to_owned(),
            prefix: "rec/{tenant}/".to_owned(),
        };
        let mut age = rule(Trigger::Age, 2);
        age.entitlement = Some("extended-storage".to_owned());
        let mut ending = rule(Trigger::Termination, 30);
        ending.grace = Some(Period { months: 0, days: 15 });
        Policies::new(vec![
            policy(
                "call-data",
                vec![age, rule(Trigger::Request, 30), ending],
                vec![table("calls", &["phone"]), placement("recordings", found, &[]), table("prompts", &[])],
            ),
            policy("logs", vec![rule(Trigger::Request, 10)], vec![table("log", &["agent", "phone"])]),
            policy("metrics", vec![], vec![table("metric", &["phone"])]),
        ])
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn names(placements: &[PlacementId]) -> Vec<&str> {
        placements.iter().map(PlacementId::as_str).collect()
    }

    #[test]
    fn a_subject_covers_what_names_it_and_what_those_rows_name_and_nothing_else() {
        let asked = NewScopeKinds::Subjects(vec!["phone".to_owned()]);
        let found = covered(&contact_center(), &asked, at("2026-01-31T04:00:00Z")).unwrap();
        assert_eq!(found.categories, [Category::new("call-data"), Category::new("logs")]);
        assert_eq!(names(&found.placements), ["calls", "recordings", "log"]);
        assert_eq!(found.left_out, [Category::new("metrics")]);
        assert_eq!(found.deadline, at("2026-02-10T04:00:00Z"));
    }

    #[test]
    fn a_kind_that_nobody_knows_is_refused_and_the_known_ones_are_named() {
        let asked = NewScopeKinds::Subjects(vec!["phone".to_owned(), "phnoe".to_owned()]);
        let why = covered(&contact_center(), &asked, at("2026-01-31T04:00:00Z")).unwrap_err();
        assert!(why.contains("`phnoe`") && why.contains("did you mean `phone`?"), "{why}");
        assert!(why.contains("`agent`, `phone`"), "{why}");
    }

    #[test]
    fn a_category_without_a_request_rule_is_refused_by_name_and_within_everything() {
        for asked in [NewScopeKinds::Everything, NewScopeKinds::Categories(vec![Category::new("metrics")])] {
            let why = covered(&contact_center(), &asked, at("2026-01-31T04:00:00Z")).unwrap_err();
            assert!(why.contains("`metrics` has no request rule"), "{why}");
        }
    }

    #[test]
    fn a_category_is_covered_with_every_placement_and_its_own_deadline() {
        let asked = NewScopeKinds::Categories(vec![Category::new("call-data")]);
        let found = covered(&contact_center(), &asked, at("2026-01-31T04:00:00Z")).unwrap();
        assert_eq!(names(&found.placements), ["calls", "recordings", "prompts"]);
        assert_eq!(found.deadline, at("2026-03-02T04:00:00Z"));
    }

    #[test]
    fn a_mistyped_or_repeated_category_is_refused() {
        let refused = |names: &[&str]| {
            let names: Vec<Category> = names.iter().map(|name| Category::new(*name)).collect();
            known_categories(&contact_center(), &names).unwrap_err()
        };
        assert!(refused(&["call-dta"]).contains("did you mean `call-data`?"));
        assert!(refused(&["logs", "logs"]).contains("twice"));
        assert!(refused(&[""]).contains("no policy knows the category ``"));
    }

    #[test]
    fn an_entitlement_that_would_suspend_nothing_is_refused() {
        let policies = contact_center();
        assert_eq!(known_entitlement(&policies, "extended-storage", &[]), Ok(()));
        assert!(known_entitlement(&policies, "extended-storag", &[]).unwrap_err().contains("did you mean"));
        let logs = [Category::new("logs")];
        assert!(known_entitlement(&policies, "extended-storage", &logs).unwrap_err().contains("`logs`"));
    }

    #[test]
    fn a_termination_falls_due_only_where_a_rule_says_so() {
        let due = falling(&contact_center(), at("2026-01-31T04:00:00Z"));
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].grace_until, at("2026-02-15T04:00:00Z"));
        assert_eq!(due[0].deadline, at("2026-03-02T04:00:00Z"));
    }
}
