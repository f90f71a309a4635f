//! The question that is sent to an index: at least every document that a query can mean. It owns typed clauses made of
//! values, never of text; which of the documents found are meant is decided by `document`, by the judge of all stores.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use serde_json::{Value, json};

use super::mapping::{Fields, Keyword, SubjectField, TenantField, TimeField, TimeIndex};
use crate::plan::{Interval, Scope, SubjectRef, TenantScope, Times};
use crate::policy::{EpochUnit, EventTime};
use crate::stores::event_time::order::{TextSpan, parked_until, text_after, text_before};
use crate::stores::{Query, event_time};

/// How far the instant of a `date` field may lie from what the policy reads in the same text: the index takes a local
/// time as UTC (14 hours at most), and a date alone as its beginning instead of its end.
const APART: TimeDelta = TimeDelta::hours(48);

/// More spans than this are asked as one that covers them all: a query holds 1024 clauses at most.
const SPANS_MAX: usize = 200;

/// At least the documents of a query's selection in an index with these fields.
pub(super) fn at_least(query: &Query, fields: &Fields) -> Result<Value, String> {
    let mut filter = Vec::new();
    let mut must_not = Vec::new();
    match (&query.selection.tenants, &fields.tenant) {
        (TenantScope::One(one), TenantField::Keyword(keyword)) => {
            if !is_indexed(keyword, one.as_str()) {
                return Err("the tenant is longer than what its field indexes (`ignore_above`)".to_owned());
            }
            filter.push(json!({ "term": { &keyword.query: one.as_str() } }));
        }
        (TenantScope::AllExcept(others), TenantField::Keyword(keyword)) if !others.is_empty() => {
            must_not.push(json!({ "terms": { &keyword.query: others } }));
        }
        // What names nobody cannot be asked for: a list of tenants names nobody either, and looks like the first.
        (TenantScope::AllExcept(_) | TenantScope::Nameless, TenantField::Keyword(_)) => {}
        (TenantScope::One(one), TenantField::Constant(constant)) if one == constant => {}
        (TenantScope::AllExcept(others), TenantField::Constant(constant)) if !others.contains(constant) => {}
        (
            TenantScope::One(_) | TenantScope::AllExcept(_) | TenantScope::Nameless,
            TenantField::Constant(_),
        ) => {
            return Ok(nothing());
        }
    }
    for scope in &query.selection.within {
        filter.extend(scope_clauses(query, fields, scope));
    }
    // Exceptions only ever take away; the judge applies them to each document.
    Ok(json!({ "bool": { "filter": filter, "must_not": must_not } }))
}

fn scope_clauses(query: &Query, fields: &Fields, scope: &Scope) -> Vec<Value> {
    let subjects = scope.subjects.as_ref().and_then(|subjects| subject_clause(query, fields, subjects));
    let times = fields.time.as_ref().and_then(|time| time_clause(query, time, &scope.times));
    subjects.into_iter().chain(times).collect()
}

fn nothing() -> Value {
    json!({ "match_none": {} })
}

fn any_of(clauses: Vec<Value>) -> Value {
    json!({ "bool": { "should": clauses, "minimum_should_match": 1 } })
}

fn is_indexed(keyword: &Keyword, value: &str) -> bool {
    // A term has 32,766 bytes at most.
    let longest = keyword.longest.unwrap_or(u64::MAX);
    value.encode_utf16().count() as u64 <= longest && value.len() < 32_766
}

/// Documents that name one of the subjects; `None` where the index cannot tell.
fn subject_clause(query: &Query, fields: &Fields, subjects: &[SubjectRef]) -> Option<Value> {
    let mut clauses = Vec::new();
    for (kind, source) in &query.placement.subjects {
        let wanted: BTreeSet<String> = subjects
            .iter()
            .filter(|subject| &subject.kind == kind)
            .filter_map(|subject| query.subjects.get(&subject.fingerprint))
            .map(|value| source.format.write(value.expose()))
            .collect();
        for column in &source.columns {
            match fields.subjects.get(column)? {
                SubjectField::Absent(_) => {}
                SubjectField::Keyword(keyword) => {
                    if !wanted.iter().all(|value| is_indexed(keyword, value)) {
                        return None;
                    }
                    clauses.push(json!({ "terms": { &keyword.query: wanted } }));
                }
                SubjectField::Integer { path, largest } => {
                    let whole = wanted.iter().filter_map(|value| value.parse::<i64>().ok());
                    let whole: Vec<i64> = whole.filter(|value| value.unsigned_abs() <= *largest).collect();
                    clauses.push(json!({ "terms": { path: whole } }));
                }
            }
        }
    }
    Some(any_of_or_nothing(clauses))
}

fn any_of_or_nothing(clauses: Vec<Value>) -> Value {
    if clauses.is_empty() { nothing() } else { any_of(clauses) }
}

/// Documents whose time may belong; `None` where the index cannot narrow it down.
fn time_clause(query: &Query, time: &TimeField, times: &Times) -> Option<Value> {
    let usable = event_time::usable_span(&query.placement, query.time_zone, query.now);
    match times {
        Times::Within(intervals) => {
            let spans: Vec<Interval> = if intervals.len() > SPANS_MAX {
                let (first, last) = (intervals.first()?, intervals.last()?);
                vec![Interval { from: first.from, to: last.to }]
            } else {
                intervals.clone()
            };
            let clauses: Option<Vec<Value>> = spans.iter().map(|span| within(time, *span)).collect();
            let mut clauses = clauses?;
            if !clauses.is_empty() {
                clauses.push(without(time));
            }
            Some(any_of_or_nothing(clauses))
        }
        Times::UnusableBefore(until) => {
            let mut clauses = unusable_before(query, time, *until, usable)?;
            clauses.push(without(time));
            Some(any_of(clauses))
        }
        // A time that cannot be read may be anywhere in the index, or nowhere.
        Times::Any | Times::UpTo(_) | Times::Unusable => None,
    }
}

/// Documents whose time is not in the index. It may stand in their text all the same, and be one that the policy reads:
/// `ignore_malformed` and `ignore_above` leave such values out without a word.
fn without(time: &TimeField) -> Value {
    json!({ "bool": { "must_not": [{ "exists": { "field": time.query } }] } })
}

/// Everything that the index holds of an interval, and a little more.
fn within(time: &TimeField, span: Interval) -> Option<Value> {
    match time.index {
        TimeIndex::Unusable => None,
        TimeIndex::Date => {
            date_range(time, span.from.checked_sub_signed(APART), span.to.checked_add_signed(APART))
        }
        TimeIndex::Count(unit) => {
            // A second later, since what lies within the last second is cut off.
            let (from, to) = (count(unit, span.from), count(unit, span.to).saturating_add(1));
            Some(json!({ "range": { &time.query: { "gte": from, "lte": to } } }))
        }
        TimeIndex::Text => text_range(time, text_before(span.from), text_after(span.to)),
    }
}

fn unusable_before(
    query: &Query,
    time: &TimeField,
    until: DateTime<Utc>,
    usable: Interval,
) -> Option<Vec<Value>> {
    match time.index {
        TimeIndex::Unusable => None,
        TimeIndex::Date => Some(vec![
            date_range(time, None, until.max(usable.from).checked_add_signed(APART))?,
            date_range(time, usable.to.checked_sub_signed(APART), None)?,
        ]),
        TimeIndex::Count(unit) => {
            let (low, high) = (count(unit, until.max(usable.from)).saturating_add(1), count(unit, usable.to));
            Some(vec![
                json!({ "range": { &time.query: { "lte": low } } }),
                json!({ "range": { &time.query: { "gte": high } } }),
            ])
        }
        TimeIndex::Text => {
            let Some(EventTime::Text { format, .. }) = &query.placement.event_time else { return None };
            let spans = parked_until(format, until, usable).into_iter();
            spans.map(|TextSpan { from, to }| text_range(time, from, to)).collect()
        }
    }
}

/// `None` where neither bound can be written, so that it would mean everything.
fn date_range(time: &TimeField, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Option<Value> {
    let mut range = serde_json::Map::new();
    for (bound, at) in [("gte", from), ("lte", to)] {
        // Outside of these years a field of nanoseconds cannot be asked.
        if let Some(at) = at.filter(|at| (1971..2262).contains(&at.year())) {
            range.insert(bound.to_owned(), at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string().into());
        }
    }
    if range.is_empty() {
        return None;
    }
    range.insert("format".to_owned(), "strict_date_time".into());
    Some(json!({ "range": { &time.query: range } }))
}

fn text_range(time: &TimeField, from: Option<String>, to: Option<String>) -> Option<Value> {
    let mut range = serde_json::Map::new();
    for (bound, text) in [("gte", from), ("lt", to)] {
        if let Some(text) = text {
            range.insert(bound.to_owned(), text.into());
        }
    }
    (!range.is_empty()).then(|| json!({ "range": { &time.query: range } }))
}

fn count(unit: EpochUnit, at: DateTime<Utc>) -> i64 {
    match unit {
        EpochUnit::Seconds => at.timestamp(),
        EpochUnit::Milliseconds => at.timestamp_millis(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use chrono_tz::Tz;

    use super::*;
    use crate::id::{PlacementId, StoreId, TenantId};
    use crate::plan::Selection;
    use crate::policy::{Placement, Records, Role, TenantSource};

    fn named(name: &str) -> TenantId {
        TenantId::observed(name).unwrap()
    }

    fn fields() -> Fields {
        let whole = |name: &str| Keyword { query: name.into(), path: name.into(), longest: Some(256) };
        Fields {
            tenant: TenantField::Keyword(whole("tenant_id")),
            time: Some(TimeField { query: "at".into(), path: "at".into(), index: TimeIndex::Date }),
            subjects: BTreeMap::from([("caller".into(), SubjectField::Keyword(whole("caller")))]),
            is_bare: false,
        }
    }

    fn query(tenants: TenantScope, times: Times) -> Query {
        let placement = Placement {
            name: PlacementId::new("logs"),
            store: StoreId::new("logs"),
            role: Role::Primary,
            records: Some(Records::Index("cc-*".into())),
            tenant: TenantSource::Column("tenant_id".into()),
            event_time: None,
            subjects: BTreeMap::new(),
            plausible_from: "2000-01-01".parse().unwrap(),
            accept_level: None,
            rotation: None,
        };
        let within = vec![Scope { subjects: None, times }];
        Query {
            selection: Selection {
                placement: placement.name.clone(),
                tenants,
                within,
                except: vec![],
                parts: vec![],
            },
            placement: Arc::new(placement),
            time_zone: Tz::UTC,
            subjects: BTreeMap::new(),
            now: "2026-01-15T04:00:00Z".parse().unwrap(),
            also: Vec::new(),
            naming: None,
        }
    }

    #[test]
    fn a_value_never_becomes_part_of_the_question() {
        let name = "x\"}},{\"match_all\":{}}";
        let one = query(TenantScope::One(named(name)), Times::Any);
        let asked = at_least(&one, &fields()).unwrap();
        assert_eq!(asked["bool"]["filter"], json!([{ "term": { "tenant_id": name } }]));
        let long = query(TenantScope::One(named(&"x".repeat(257))), Times::Any);
        assert!(at_least(&long, &fields()).is_err());
    }

    #[test]
    fn a_selection_of_nothing_asks_for_nothing_and_a_time_for_a_little_more() {
        let one = || TenantScope::One(named("t-1"));
        let none = at_least(&query(one(), Times::Within(vec![])), &fields()).unwrap();
        assert_eq!(none["bool"]["filter"][1], nothing());
        let span = Interval {
            from: "2000-01-01T00:00:00Z".parse().unwrap(),
            to: "2025-01-10T00:00:00Z".parse().unwrap(),
        };
        let due = at_least(&query(one(), Times::Within(vec![span])), &fields()).unwrap();
        let range = &due["bool"]["filter"][1]["bool"]["should"][0]["range"]["at"];
        assert_eq!(range["gte"], "1999-12-30T00:00:00.000Z");
        assert_eq!(range["lte"], "2025-01-12T00:00:00.000Z");
        let constant = Fields { tenant: TenantField::Constant(named("t-10")), ..fields() };
        assert_eq!(at_least(&query(one(), Times::Any), &constant).unwrap(), nothing());
    }
}
