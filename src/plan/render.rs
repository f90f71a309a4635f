//! A plan as text for people, and the differences between two plans. It owns the words and their order;
//! how counts, instants and tables look is in [`super::text`], and the JSON of a plan is its serialisation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::text::{Column, absolute, count, counted, date, moment, relative, table};
use super::{Kept, Plan, Reason, Step, TenantScope};
use crate::policy::Method;

/// Tenants that a line names before it only counts the rest: more would push the columns off the screen.
const TENANTS_NAMED_MAX: usize = 3;

/// The whole plan: what goes, what stays and why, what is refused, and what to type next.
pub fn render_text(plan: &Plan, zone: Tz, now: DateTime<Utc>) -> String {
    let mut text = format!("Plan {} as of {}\n", plan.plan_id, moment(plan.at, zone, now));
    erased(&mut text, plan, zone, now);
    kept(&mut text, plan, zone, now);
    refused(&mut text, plan);
    totals(&mut text, plan);
    next(&mut text, plan, now);
    text
}

fn erased(text: &mut String, plan: &Plan, zone: Tz, now: DateTime<Utc>) {
    let mut groups: BTreeMap<Group<'_>, Vec<&Step>> = BTreeMap::new();
    for step in &plan.steps {
        groups.entry(Group::of(step)).or_default().push(step);
    }
    let categories: BTreeSet<&str> = groups.keys().map(|group| group.category).collect();
    for category in categories {
        let rows: Vec<Vec<String>> = groups
            .iter()
            .filter(|(group, _)| group.category == category)
            .map(|(group, steps)| group.row(steps, zone, now))
            .collect();
        push(text, format_args!("\nTo erase in {category}\n{}", table(&ERASE_COLUMNS, &rows)));
    }
}

const ERASE_COLUMNS: [Column; 8] = [
    Column::Left("placement"),
    Column::Left("tenant"),
    Column::Left("why"),
    Column::Left("clause"),
    Column::Left("method"),
    Column::Right("records"),
    Column::Left("event times"),
    Column::Left("gone by"),
];

/// Steps that one line of the text stands for.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group<'a> {
    category: &'a str,
    placement: &'a str,
    reason: Reason,
    request: Option<&'a str>,
    clause: &'a str,
    method: Method,
}

impl<'a> Group<'a> {
    fn of(step: &'a Step) -> Self {
        Self {
            category: step.category.as_str(),
            placement: step.placement.as_str(),
            reason: step.reason,
            request: step.request_id.as_ref().map(|id| id.as_str()),
            clause: &step.clause,
            method: step.method,
        }
    }

    fn row(&self, steps: &[&Step], zone: Tz, now: DateTime<Utc>) -> Vec<String> {
        let records = steps.iter().map(|step| step.records).sum();
        let oldest = steps.iter().filter_map(|step| step.oldest).min();
        let newest = steps.iter().filter_map(|step| step.newest).max();
        let deadline = steps.iter().map(|step| step.deadline).min();
        let mut why = self.reason.word().to_owned();
        if let Some(request) = self.request {
            push(&mut why, format_args!(" {request}"));
        }
        for subject in steps.iter().filter_map(|step| step.subject.as_ref()).take(1) {
            push(&mut why, format_args!(" ({} {:.8}…)", subject.kind, subject.fingerprint.as_str()));
        }
        vec![
            self.placement.to_owned(),
            tenants_of(steps),
            why,
            self.clause.to_owned(),
            self.method.word().to_owned(),
            count(records),
            span(oldest, newest, zone),
            deadline.map(|at| late_or_moment(at, zone, now)).unwrap_or_default(),
        ]
    }
}

fn tenants_of(steps: &[&Step]) -> String {
    let excepted = steps.iter().find_map(|step| match &step.selection.tenants {
        TenantScope::AllExcept(tenants) => Some(tenants.len()),
        TenantScope::One(_) | TenantScope::Nameless => None,
    });
    let named: BTreeSet<&str> =
        steps.iter().filter_map(|step| step.tenant.as_ref()).map(|tenant| tenant.as_str()).collect();
    match (excepted, named.is_empty()) {
        (None, _) => some_of(&named),
        (Some(0), _) => "all".to_owned(),
        (Some(excepted), true) => format!("all but {}", count(u64::try_from(excepted).unwrap_or(u64::MAX))),
        (Some(_), false) => format!("all others, {}", some_of(&named)),
    }
}

fn some_of(names: &BTreeSet<&str>) -> String {
    let shown: Vec<&str> = names.iter().take(TENANTS_NAMED_MAX).copied().collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn span(oldest: Option<DateTime<Utc>>, newest: Option<DateTime<Utc>>, zone: Tz) -> String {
    match (oldest, newest) {
        (Some(oldest), Some(newest)) if date(oldest, zone) == date(newest, zone) => date(oldest, zone),
        (Some(oldest), Some(newest)) => format!("{} to {}", date(oldest, zone), date(newest, zone)),
        (Some(one), None) | (None, Some(one)) => date(one, zone),
        (None, None) => String::new(),
    }
}

fn late_or_moment(deadline: DateTime<Utc>, zone: Tz, now: DateTime<Utc>) -> String {
    if deadline < now {
        format!("OVERDUE since {} ({})", absolute(deadline, zone), relative(deadline, now))
    } else {
        moment(deadline, zone, now)
    }
}

fn kept(text: &mut String, plan: &Plan, zone: Tz, now: DateTime<Utc>) {
    if plan.kept.is_empty() {
        return;
    }
    let columns = [
        Column::Left("placement"),
        Column::Left("tenant"),
        Column::Left("why"),
        Column::Left("clause"),
        Column::Right("records"),
        Column::Left("event times"),
        Column::Left("until"),
    ];
    let rows: Vec<Vec<String>> = plan.kept.iter().map(|group| kept_row(group, zone, now)).collect();
    push(text, format_args!("\nKept, although due or not to be told\n{}", table(&columns, &rows)));
}

fn kept_row(group: &Kept, zone: Tz, now: DateTime<Utc>) -> Vec<String> {
    let why = match &group.hold_id {
        Some(hold) => format!("{} {hold}", group.reason.word()),
        None => group.reason.word().to_owned(),
    };
    let until = match (group.until, group.reason) {
        (Some(until), _) => moment(until, zone, now),
        (None, Reason::Hold) => "the hold is released".to_owned(),
        (None, Reason::Entitlement) => "the entitlement ends".to_owned(),
        (None, Reason::Parked) => "its tenant or time can be told".to_owned(),
        (None, Reason::Grace | Reason::Request | Reason::Termination | Reason::Age) => String::new(),
    };
    vec![
        group.placement.to_string(),
        group.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
        why,
        group.clause.clone().unwrap_or_default(),
        count(group.records),
        span(group.oldest, group.newest, zone),
        until,
    ]
}

fn refused(text: &mut String, plan: &Plan) {
    if plan.refusals.is_empty() {
        return;
    }
    push(text, format_args!("\nRefused\n"));
    for refusal in &plan.refusals {
        push(
            text,
            format_args!(
                "  {} in store {} ({}): {}\n",
                refusal.category, refusal.store, refusal.code, refusal.message
            ),
        );
    }
}

fn totals(text: &mut String, plan: &Plan) {
    let totals = &plan.totals;
    let kept: Vec<String> = [
        (totals.held, "held"),
        (totals.entitled, "under an entitlement"),
        (totals.grace, "in a grace period"),
        (totals.parked, "parked"),
    ]
    .into_iter()
    .filter(|(records, _)| *records > 0)
    .map(|(records, word)| format!("{} {word}", count(records)))
    .collect();
    push(text, format_args!("\nTotal: {} to erase", counted(totals.erase, "record", "records")));
    if !kept.is_empty() {
        push(text, format_args!("; kept: {}", kept.join(", ")));
    }
    text.push('\n');
}

fn next(text: &mut String, plan: &Plan, now: DateTime<Utc>) {
    let line = if plan.steps.is_empty() {
        "Nothing is due.".to_owned()
    } else if plan.at > now {
        "This is a look ahead; nothing is erased before its time.".to_owned()
    } else if let Some(id) = plan.refusals.iter().find_map(|refusal| refusal.approve.as_ref()) {
        format!(
            "Next: `retentiond enforce` erases what is not refused and stores the rest; \
             `retentiond enforce --approve {id}` then lets it pass."
        )
    } else {
        "Next: `retentiond enforce` erases what is due; `retentiond plan --out FILE` and \
         `retentiond enforce --plan FILE` erase exactly what you have read."
            .to_owned()
    };
    push(text, format_args!("{line}\n"));
}

/// What a second plan says that a first one did not, a line for each: `+` new, `-` gone, `~` another count. Empty
/// where both say the same.
pub fn differences(old: &Plan, new: &Plan) -> String {
    let (old, new) = (said(old), said(new));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut text = String::new();
    for key in keys {
        match (old.get(key), new.get(key)) {
            (Some(before), None) => push(&mut text, format_args!("- {key}: {}\n", count(*before))),
            (None, Some(after)) => push(&mut text, format_args!("+ {key}: {}\n", count(*after))),
            (Some(before), Some(after)) if before != after => {
                push(&mut text, format_args!("~ {key}: {}, was {}\n", count(*after), count(*before)));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    text
}

fn said(plan: &Plan) -> BTreeMap<String, u64> {
    let mut lines = BTreeMap::new();
    for step in &plan.steps {
        let tenant = step.tenant.as_ref().map_or("all", |tenant| tenant.as_str());
        let request = step.request_id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
        let line = format!("erase {} of {tenant}, {}{request}", step.placement, step.reason.word());
        *lines.entry(line).or_insert(0) += step.records;
    }
    for group in &plan.kept {
        let tenant = group.tenant.as_ref().map_or("all", |tenant| tenant.as_str());
        let hold = group.hold_id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
        let line = format!("keep {} of {tenant}, {}{hold}", group.placement, group.reason.word());
        *lines.entry(line).or_insert(0) += group.records;
    }
    lines
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    if text.write_fmt(arguments).is_err() {
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Category, HoldId, PlacementId, PlanId, StepId, StoreId, TenantId};
    use crate::plan::{Refusal, Selection, Totals};
    use crate::policy::{Level, Method};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn step(name: Option<&str>, records: u64) -> Step {
        let tenants = match name {
            Some(name) => TenantScope::One(tenant(name)),
            None => TenantScope::AllExcept(vec![tenant("t-1"), tenant("t-10")]),
        };
        let placement = PlacementId::new("call-records");
        Step {
            step_id: StepId::new("0"),
            placement: placement.clone(),
            store: StoreId::new("calls"),
            category: Category::new("call-data"),
            tenant: name.map(tenant),
            reason: Reason::Age,
            clause: "DPSM §5".to_owned(),
            method: Method::Delete,
            level: Level::Deleted,
            records,
            oldest: Some(at("2021-01-01T04:00:00Z")),
            newest: Some(at("2021-03-30T04:00:00Z")),
            due_since: at("2021-07-01T04:00:00Z"),
            deadline: at("2021-10-02T04:00:00Z"),
            request_id: None,
            subject: None,
            found_by: None,
            selection: Selection {
                placement,
                tenants,
                within: Vec::new(),
                except: Vec::new(),
                parts: Vec::new(),
            },
            generation: 0,
            policy_digest: String::new(),
        }
    }

    fn plan(steps: Vec<Step>) -> Plan {
        let kept = Kept {
            placement: PlacementId::new("call-records"),
            store: StoreId::new("calls"),
            category: Category::new("call-data"),
            tenant: Some(tenant("t-1")),
            reason: Reason::Hold,
            records: 17,
            oldest: None,
            newest: None,
            until: None,
            clause: None,
            hold_id: Some(HoldId::new("hold-7")),
            request_id: None,
        };
        let erase = steps.iter().map(|step| step.records).sum();
        Plan {
            plan_id: PlanId::new("p-1"),
            at: at("2021-09-30T04:00:00Z"),
            policy_digest: String::new(),
            steps,
            kept: vec![kept],
            refusals: Vec::new(),
            totals: Totals { erase, held: 17, ..Totals::default() },
        }
    }

    fn text(plan: &Plan, now: &str) -> String {
        render_text(plan, Tz::Asia__Singapore, at(now))
    }

    #[test]
    fn a_plan_says_what_goes_what_stays_and_what_to_type_next() {
        let shown = text(&plan(vec![step(None, 4_964)]), "2021-09-30T04:00:00Z");
        insta::assert_snapshot!(shown, @r"
        Plan p-1 as of now, 2021-09-30 12:00 +08:00

        To erase in call-data
          placement     tenant     why  clause   method  records  event times               gone by
          call-records  all but 2  age  DPSM §5  delete    4,964  2021-01-01 to 2021-03-30  in 2 days, 2021-10-02 12:00 +08:00

        Kept, although due or not to be told
          placement     tenant  why          records  until
          call-records  t-1     hold hold-7       17  the hold is released

        Total: 4,964 records to erase; kept: 17 held
        Next: `retentiond enforce` erases what is due; `retentiond plan --out FILE` and `retentiond enforce --plan FILE` erase exactly what you have read.
        ");
    }

    #[test]
    fn steps_of_many_tenants_are_one_line_that_counts_them() {
        let names = ["t-1", "t-10", "t-1x", "T-1"];
        let shown = text(&plan(names.map(|name| step(Some(name), 1)).into()), "2021-09-30T04:00:00Z");
        assert!(shown.contains("T-1, t-1, t-10 and 1 more  age  DPSM §5  delete        4"), "{shown}");
    }

    #[test]
    fn a_deadline_is_overdue_only_once_it_has_passed() {
        let late = plan(vec![step(None, 1)]);
        assert!(!text(&late, "2021-10-02T04:00:00Z").contains("OVERDUE"));
        assert!(text(&late, "2021-10-02T04:00:01Z").contains("OVERDUE since 2021-10-02 12:00 +08:00"));
    }

    #[test]
    fn a_refusal_names_what_lets_it_pass() {
        let mut refused = plan(vec![step(None, 1)]);
        refused.refusals.push(Refusal {
            code: "limit-records".to_owned(),
            category: Category::new("call-data"),
            store: StoreId::new("calls"),
            message: "1 record, 0 at most".to_owned(),
            approve: Some(PlanId::new("p-1")),
            export_id: None,
        });
        let shown = text(&refused, "2021-09-30T04:00:00Z");
        assert!(shown.contains("call-data in store calls (limit-records): 1 record, 0 at most"), "{shown}");
        assert!(shown.contains("`retentiond enforce --approve p-1`"), "{shown}");
    }

    #[test]
    fn nothing_due_and_a_look_ahead_say_so() {
        assert!(text(&plan(Vec::new()), "2021-09-30T04:00:00Z").contains("Nothing is due."));
        assert!(text(&plan(vec![step(None, 1)]), "2021-09-30T03:59:59Z").contains("a look ahead"));
    }

    #[test]
    fn differences_name_what_is_new_gone_and_counted_otherwise() {
        let old = plan(vec![step(Some("t-1"), 3), step(Some("t-10"), 2)]);
        let new = plan(vec![step(Some("t-1"), 4), step(Some("t-1x"), 1)]);
        let said = differences(&old, &new);
        assert_eq!(
            said,
            "~ erase call-records of t-1, age: 4, was 3\n- erase call-records of t-10, age: 2\n\
             + erase call-records of t-1x, age: 1\n"
        );
        assert_eq!(differences(&old, &old), "");
    }
}
