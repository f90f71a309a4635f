//! One policy file: bytes in, a [`Policy`] or faults out.
//! It owns what a single file must say; what must fit across files and stores is judged by `validate`.

mod placement;
mod templates;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono_tz::Tz;
use sha2::{Digest, Sha256};

use super::schema::{PLACEMENT, POLICY, POLICY_GROUPS, RULE};
use super::tree::{Dialect, Document, Fault, Mark, Secrets, Section, Severity, Wrong, text_of};
use super::{Level, Method, Period, Policy, Rule, Trigger};
use crate::id::Category;

pub use words::{name, zone};

/// Most rules or placements in one file. There is one rule for each of three triggers; a thousand is a mistake.
const LIST_MAX: usize = 1_000;

/// Zone of a policy that names none: where the promises were made.
pub const TIME_ZONE_DEFAULT: Tz = Tz::Asia__Singapore;

/// Deadline of an age rule that names none: two nightly runs after due.
const AGE_DEADLINE_DEFAULT: Period = Period { months: 0, days: 2 };

/// A policy with the places of its values, so that later faults point at a line too.
#[derive(Debug, Clone)]
pub struct ParsedPolicy {
    /// The policy.
    pub policy: Policy,
    /// The file it came from.
    pub file: PathBuf,
    marks: BTreeMap<String, Mark>,
}

impl ParsedPolicy {
    /// A fault about the value at `field`, or, where that was left out, about what encloses it.
    pub fn fault(&self, severity: Severity, field: &str, message: String, help: String) -> Fault {
        let mut path = field;
        let mark = loop {
            if let Some(mark) = self.marks.get(path) {
                break Some(mark);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => break None,
            }
        };
        Fault {
            severity,
            file: self.file.clone(),
            line: mark.map_or(1, |mark| mark.line),
            column: mark.map_or(1, |mark| mark.column),
            span: mark.map(|mark| mark.span.clone()),
            field: field.to_owned(),
            message,
            help: Some(help),
        }
    }
}

/// Reads one policy. Every fault of the file goes to `faults`; `None` where one of them is an error.
pub fn parse_policy(file: &Path, bytes: &[u8], faults: &mut Vec<Fault>) -> Option<Policy> {
    parse_marked(file, bytes, faults).map(|parsed| parsed.policy)
}

/// As [`parse_policy`], with the places of the values.
pub fn parse_marked(file: &Path, bytes: &[u8], faults: &mut Vec<Fault>) -> Option<ParsedPolicy> {
    let text = match text_of(file, bytes) {
        Ok(text) => text,
        Err(fault) => {
            faults.push(*fault);
            return None;
        }
    };
    let dialect = Dialect { groups: POLICY_GROUPS, lookup: None, secrets: Secrets::Refused };
    let document = Document::parse(file, text, dialect);
    if document.is_empty() {
        let help = "an empty policy erases nothing and is an error; remove the file or write its rules";
        faults.push(Fault::of_file(file, "the policy is empty", help));
        return None;
    }
    let policy = read_policy(&document.root(&POLICY), hex::encode(Sha256::digest(bytes)));
    let policy = policy.filter(|_| !document.has_errors());
    let parsed = policy.map(|policy| ParsedPolicy { policy, file: file.to_owned(), marks: document.marks() });
    faults.extend(document.into_faults());
    parsed
}

fn read_policy(root: &Section<'_>, digest: String) -> Option<Policy> {
    let category = root
        .require("category", "name the category, for example category = \"call-data\"")
        .and_then(|value| value.parsed(name))
        .map(Category::new);
    let title = root.get("title").map(|value| value.text());
    let time_zone = root.get("time_zone").map_or(Some(TIME_ZONE_DEFAULT), |value| value.parsed(zone));
    let method = root
        .require("method", "say how records are erased: \"delete\", \"overwrite-then-delete\" or \"zero\"")
        .and_then(|value| value.word(&Method::ALL.map(|method| (method.word(), method))));
    let rules = read_rules(root, method);
    // Placements are read with some zone even where the policy's is wrong, so that their faults are shown too.
    let placements = read_placements(root, time_zone.unwrap_or(TIME_ZONE_DEFAULT));
    let category = category?;
    Some(Policy {
        title: match title {
            Some(title) => title?,
            None => category.as_str().to_owned(),
        },
        category,
        time_zone: time_zone?,
        method: method?,
        rules: rules?,
        placements: placements?,
        digest,
    })
}

/// The tables of a list that must be there and hold at least one.
fn sections<'d>(
    root: &Section<'d>,
    name: &str,
    group: &'static super::tree::Group,
    help: &str,
) -> Option<Vec<Section<'d>>> {
    let value = root.require(name, help)?;
    let count = value.items_count();
    if count == Some(0) && !root.is_torn() {
        value.fault(&format!("`{name}` is empty"), help);
        return None;
    }
    if count.is_some_and(|count| count > LIST_MAX) {
        value.fault(&format!("`{name}` has more than 1,000 entries"), "one file holds one category");
        return None;
    }
    value.sections(group)
}

fn read_rules(root: &Section<'_>, method: Option<Method>) -> Option<Vec<Rule>> {
    let help = "write at least one [[rules]] with a trigger: age, request or termination";
    let sections = sections(root, "rules", &RULE, help)?;
    let mut seen = Vec::new();
    let mut rules = Vec::new();
    for section in &sections {
        let rule = read_rule(section, method);
        let trigger = section.get("trigger").filter(|_| rule.is_some());
        if let (Some(rule), Some(place)) = (&rule, trigger) {
            if seen.contains(&rule.trigger) {
                let word = rule.trigger.word();
                let help = "one rule for each trigger; keep one of them";
                place.fault(&format!("there is a second rule with the trigger `{word}`"), help);
            }
            seen.push(rule.trigger);
        }
        rules.push(rule);
    }
    rules.into_iter().collect()
}

fn read_rule(section: &Section<'_>, policy_method: Option<Method>) -> Option<Rule> {
    let trigger = section
        .require("trigger", "say what starts the period: \"age\", \"request\" or \"termination\"")
        .and_then(|value| value.word(&Trigger::ALL.map(|trigger| (trigger.word(), trigger))));
    let clause =
        section.require("clause", "cite the text that this rule keeps, for example clause = \"DPSM §5\"");
    let clause = clause.and_then(|value| value.text());
    let method = match section.get("method") {
        Some(value) => value.word(&Method::ALL.map(|method| (method.word(), method))),
        None => policy_method,
    };
    let level = section.get("level").map(|value| value.word(&Level::ALL.map(|level| (level.word(), level))));
    if let (Some(value), Some(Some(level)), Some(method)) = (section.get("level"), level, method)
        && level < method.level()
    {
        let reached = method.level().word();
        let message = format!("`{}` is less than the method must reach: `{reached}`", level.word());
        value.fault(&message, "leave `level` out, or ask for more; a placement lowers it with accept_level");
    }
    let entitlement = section.get("entitlement").map(|value| value.parsed(name));
    let period = span(section, "period");
    let grace = span(section, "grace");
    let deadline = span(section, "deadline");
    let trigger = trigger?;
    let fits = fits_trigger(section, trigger);
    let deadline = deadline.unwrap_or_else(|| default_deadline(trigger));
    fits?;
    Some(Rule {
        trigger,
        period: period.map_or(Some(None), |period| period.map(Some))?,
        grace: grace.map_or(Some(None), |grace| grace.map(Some))?,
        deadline: deadline?,
        method: method?,
        level: level.map_or(Some(None), |level| level.map(Some))?,
        clause: clause?,
        entitlement: entitlement.map_or(Some(None), |entitlement| entitlement.map(Some))?,
    })
}

/// A span under a key: `None` where the key is left out, `Some(None)` where it is wrong.
fn span(section: &Section<'_>, key: &str) -> Option<Option<Period>> {
    section.get(key).map(|value| value.parsed(words::period))
}

fn default_deadline(trigger: Trigger) -> Option<Period> {
    match trigger {
        Trigger::Age => Some(AGE_DEADLINE_DEFAULT),
        Trigger::Request | Trigger::Termination => None,
    }
}

/// Which keys a rule must and must not have, by its trigger. `None` after a fault.
fn fits_trigger(section: &Section<'_>, trigger: Trigger) -> Option<()> {
    let (needed, foreign): (&[&str], &[&str]) = match trigger {
        Trigger::Age => (&["period"], &["grace"]),
        Trigger::Request => (&["deadline"], &["period", "grace", "entitlement"]),
        Trigger::Termination => (&["grace", "deadline"], &["period", "entitlement"]),
    };
    let word = trigger.word();
    let mut fits = Some(());
    for key in needed {
        if section.get(key).is_none() {
            section
                .require(key, &format!("a rule with the trigger `{word}` says it, for example \"30 days\""));
            fits = None;
        }
    }
    for key in foreign {
        if section.get(key).is_some() {
            let home = if *key == "grace" { "termination" } else { "age" };
            let message = format!("`{key}` has no meaning in a rule with the trigger `{word}`");
            section.fault_of(
                key,
                &message,
                &format!("`{key}` belongs in the rule with the trigger `{home}`"),
            );
            fits = None;
        }
    }
    fits
}

fn read_placements(root: &Section<'_>, time_zone: Tz) -> Option<Vec<super::Placement>> {
    let help = "write [[placements]] for every place that holds records of the category";
    let sections = sections(root, "placements", &PLACEMENT, help)?;
    let placements: Vec<_> = sections.iter().map(|section| placement::read(section, time_zone)).collect();
    placements.into_iter().collect()
}

/// Joins an advice to a text that is not a valid tenant.
fn tenant(text: &str) -> Result<crate::id::TenantId, Wrong> {
    crate::id::TenantId::parse(text).map_err(|invalid| {
        Wrong::new(format!("the constant tenant is refused: {}", invalid.why), "name one tenant, exactly")
    })
}
