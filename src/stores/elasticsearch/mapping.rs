//! What an index says about the fields that a policy names: by which name they are asked, how they lie in the document,
//! what an index on time means. It owns that judgement; it asks nobody.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::id::TenantId;
use crate::policy::{EpochUnit, EventTime, Placement, TenantSource};
use crate::stores::event_time::{DEFAULT_FORMAT, Field, Part, Shape, order};

/// What is wrong with a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The field of the policy.
    pub(super) field: &'static str,
    pub(super) message: String,
    pub(super) help: &'static str,
}

/// A field that holds whole values: what is asked for, and where the document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keyword {
    /// The name in queries: the field, or its `keyword` part.
    pub(super) query: String,
    /// The path in the document.
    pub(super) path: String,
    /// Longer values (in UTF-16 units) are not indexed, so that no query finds them.
    pub(super) longest: Option<u64>,
}

/// Where a document names its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TenantField {
    /// Nowhere: all are this one's.
    Constant(TenantId),
    /// In a field.
    Keyword(Keyword),
}

/// What an index on the event time can be asked, so that a query need not read everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeIndex {
    /// Nothing: every document is read and judged by its own text.
    Unusable,
    /// Instants, which are what the text means but for zone and end of day.
    Date,
    /// Counts.
    Count(EpochUnit),
    /// Texts that sort by date.
    Text,
}

/// Where a document says when it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimeField {
    pub(super) query: String,
    pub(super) path: String,
    pub(super) index: TimeIndex,
}

/// Where a document names a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SubjectField {
    /// No document of this index does.
    Absent(String),
    /// As whole text.
    Keyword(Keyword),
    /// As an integer; one beyond the largest is an error in a query.
    Integer { path: String, largest: u64 },
}

impl SubjectField {
    /// The path in the document.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Absent(path) | Self::Integer { path, .. } => path,
            Self::Keyword(keyword) => &keyword.path,
        }
    }
}

/// All fields of a placement in one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) tenant: TenantField,
    pub(super) time: Option<TimeField>,
    /// By the name in the policy.
    pub(super) subjects: BTreeMap<String, SubjectField>,
    /// True where the index has no field at all: nothing was ever written to it.
    pub(super) is_bare: bool,
}

impl Fields {
    /// The parts of a document that are needed to judge it.
    pub(super) fn paths(&self) -> Vec<&str> {
        let tenant = match &self.tenant {
            TenantField::Constant(_) => None,
            TenantField::Keyword(keyword) => Some(keyword.path.as_str()),
        };
        let time = self.time.as_ref().map(|time| time.path.as_str());
        let mut paths: Vec<&str> =
            tenant.into_iter().chain(time).chain(self.subjects.values().map(SubjectField::path)).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// The fields of a placement by the mapping of an index.
    ///
    /// # Errors
    /// Everything that stands between the policy and this index.
    pub(super) fn read(placement: &Placement, mapping: &Value) -> Result<Self, Vec<Fault>> {
        let mut faults = source_faults(mapping);
        let is_bare = mapping["properties"].as_object().is_none_or(Map::is_empty) && grows(mapping);
        let tenant = match &placement.tenant {
            TenantSource::Constant(tenant) => Ok(TenantField::Constant(tenant.clone())),
            TenantSource::Column(field) => {
                keyword(mapping, field, "tenant", is_bare).map(TenantField::Keyword)
            }
            TenantSource::Template => Err(Fault {
                field: "tenant",
                message: "documents name their tenant in a field".to_owned(),
                help: "write tenant = { field = \"…\" }",
            }),
        };
        let time = match &placement.event_time {
            None => Ok(None),
            Some(event_time) => time(mapping, event_time, is_bare).map(Some),
        };
        let mut subjects = BTreeMap::new();
        for field in placement.subjects.values().flat_map(|source| &source.columns) {
            match subject(mapping, field) {
                Ok(found) => drop(subjects.insert(field.clone(), found)),
                Err(fault) => faults.push(fault),
            }
        }
        match (tenant, time) {
            (Ok(tenant), Ok(time)) if faults.is_empty() => Ok(Self { tenant, time, subjects, is_bare }),
            (tenant, time) => {
                faults.extend(tenant.err());
                faults.extend(time.err());
                Err(faults)
            }
        }
    }
}

/// What is not in the stored document cannot be judged.
fn source_faults(mapping: &Value) -> Vec<Fault> {
    let source = &mapping["_source"];
    let is_cut = ["includes", "excludes"]
        .iter()
        .any(|key| source[key].as_array().is_some_and(|fields| !fields.is_empty()));
    let message = if source["enabled"] == false {
        "the index does not keep its documents (`_source` is off)"
    } else if is_cut {
        "the index keeps only parts of its documents (`_source` includes or excludes)"
    } else {
        return Vec::new();
    };
    let help = "reindex with a whole `_source`: tenant, time and subjects are judged by the document itself";
    vec![Fault { field: "index", message: message.to_owned(), help }]
}

/// A field in a mapping.
enum Lookup<'m> {
    Leaf { leaf: &'m Value, path: String },
    Nested,
    Missing { may_hide: bool },
}

/// True where a field that is not mapped yet becomes mapped by the first document that has it.
fn grows(node: &Value) -> bool {
    // `false_allow_templates` leaves out what no template names.
    let is_off = |word: &str| word.starts_with("false") || word == "runtime";
    !node["dynamic"].as_str().is_some_and(is_off) && node["dynamic"] != false && node["enabled"] != false
}

fn look_up<'m>(node: &'m Value, rest: &str, before: &str) -> Lookup<'m> {
    let mut may_hide = !grows(node);
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        let path = format!("{before}{name}");
        if rest == name {
            return if child["type"] == "nested" {
                Lookup::Nested
            } else {
                Lookup::Leaf { leaf: child, path }
            };
        }
        let Some(below) = rest.strip_prefix(name.as_str()).and_then(|below| below.strip_prefix('.')) else {
            continue;
        };
        if child["type"] == "nested" {
            return Lookup::Nested;
        }
        // A part of a field: asked by its own name, found in the document under the field's.
        if let Some(leaf) = child["fields"].get(below) {
            return Lookup::Leaf { leaf, path };
        }
        // A field that takes whole objects in (`flat_object`, `flattened`) holds every path below it, unmapped.
        may_hide |= child["type"].as_str().is_some_and(|kind| kind != "object");
        match look_up(child, below, &format!("{path}.")) {
            Lookup::Missing { may_hide: below } => may_hide |= below,
            found @ (Lookup::Leaf { .. } | Lookup::Nested) => return found,
        }
    }
    Lookup::Missing { may_hide }
}

/// The type at a path of a document; `None` where the mapping does not say.
pub(super) fn kind_at<'m>(mapping: &'m Value, path: &str) -> Option<&'m str> {
    match look_up(mapping, path, "") {
        Lookup::Leaf { leaf, .. } => leaf["type"].as_str(),
        Lookup::Nested | Lookup::Missing { .. } => None,
    }
}

const KEYWORD_HELP: &str =
    "map it as `keyword` without a normalizer, or give it a `keyword` part, and reindex";

fn keyword(mapping: &Value, field: &str, of: &'static str, is_bare: bool) -> Result<Keyword, Fault> {
    let fault = |message: String| Err(Fault { field: of, message, help: KEYWORD_HELP });
    let (leaf, path) = match look_up(mapping, field, "") {
        Lookup::Leaf { leaf, path } => (leaf, path),
        Lookup::Nested => return fault(format!("the field `{field}` lies in nested documents")),
        Lookup::Missing { .. } if is_bare => {
            return Ok(Keyword { query: field.to_owned(), path: field.to_owned(), longest: None });
        }
        Lookup::Missing { .. } => return fault(format!("the field `{field}` is not mapped")),
    };
    let parts = leaf["fields"].as_object();
    let part = parts.and_then(|parts| {
        let named = parts.get_key_value("keyword").filter(|(_, part)| part["type"] == "keyword");
        named.or_else(|| parts.iter().find(|(_, part)| part["type"] == "keyword"))
    });
    let (query, leaf) = match (leaf["type"].as_str(), part) {
        (Some("keyword"), _) => (field.to_owned(), leaf),
        (Some("text"), Some((name, part))) => (format!("{field}.{name}"), part),
        (kind, _) => {
            let kind = kind.unwrap_or("object");
            return fault(format!(
                "the field `{field}` is mapped as `{kind}`, which does not compare whole values"
            ));
        }
    };
    if !leaf["normalizer"].is_null() {
        return fault(format!(
            "the field `{field}` has a normalizer, so that different values become the same"
        ));
    }
    if leaf["index"] == false {
        return fault(format!("the field `{field}` is not indexed, so that it cannot be asked for"));
    }
    Ok(Keyword { query, path, longest: leaf["ignore_above"].as_u64() })
}

fn subject(mapping: &Value, field: &str) -> Result<SubjectField, Fault> {
    let largest_of = |leaf: &Value| match leaf["type"].as_str() {
        Some("long") => Some(i64::MAX.unsigned_abs()),
        Some("integer") => Some(u64::from(i32::MAX.unsigned_abs())),
        _ => None,
    };
    match look_up(mapping, field, "") {
        Lookup::Leaf { leaf, path } if let Some(largest) = largest_of(leaf) => {
            if leaf["index"] == false {
                let message = format!("the field `{field}` is not indexed, so that it cannot be asked for");
                return Err(Fault { field: "subjects", message, help: "map it as indexed and reindex" });
            }
            Ok(SubjectField::Integer { path, largest })
        }
        Lookup::Missing { may_hide: false } => Ok(SubjectField::Absent(field.to_owned())),
        Lookup::Missing { may_hide: true } => Err(Fault {
            field: "subjects",
            message: format!(
                "the field `{field}` is not mapped, and documents may hold it unseen (`dynamic` is off)"
            ),
            help: KEYWORD_HELP,
        }),
        Lookup::Leaf { .. } | Lookup::Nested => {
            keyword(mapping, field, "subjects", false).map(SubjectField::Keyword)
        }
    }
}

fn time(mapping: &Value, event_time: &EventTime, is_bare: bool) -> Result<TimeField, Fault> {
    let help = "map it as `date`, `keyword` or `long`, or name another field";
    let fault = |message: String| Err(Fault { field: "event_time", message, help });
    let (EventTime::Text { column: field, .. } | EventTime::Epoch { column: field, .. }) = event_time else {
        return fault("documents tell their time in a field".to_owned());
    };
    let (leaf, path) = match look_up(mapping, field, "") {
        Lookup::Leaf { leaf, path } => (leaf, path),
        Lookup::Nested => return fault(format!("the field `{field}` lies in nested documents")),
        Lookup::Missing { .. } if is_bare => {
            let (query, path) = (field.clone(), field.clone());
            return Ok(TimeField { query, path, index: TimeIndex::Unusable });
        }
        Lookup::Missing { .. } => return fault(format!("the field `{field}` is not mapped")),
    };
    let usable = |index: TimeIndex, leaf: &Value| {
        // A stand-in for null would look like a time.
        if leaf["index"] == false || !leaf["null_value"].is_null() { TimeIndex::Unusable } else { index }
    };
    let kind = leaf["type"].as_str().unwrap_or("object");
    let index = match (event_time, kind) {
        (_, "date" | "date_nanos") => {
            let index = if agrees(event_time, leaf["format"].as_str()) {
                TimeIndex::Date
            } else {
                TimeIndex::Unusable
            };
            usable(index, leaf)
        }
        (EventTime::Epoch { unit, .. }, "long") => usable(TimeIndex::Count(*unit), leaf),
        (EventTime::Epoch { unit: EpochUnit::Seconds, .. }, "integer") => TimeIndex::Unusable,
        (EventTime::Text { format, .. }, "keyword" | "text") => {
            let keyword = keyword(mapping, field, "event_time", is_bare)?;
            let index = if order::sorts_by_date(format) { TimeIndex::Text } else { TimeIndex::Unusable };
            return Ok(TimeField { query: keyword.query, path, index: usable(index, leaf) });
        }
        (_, kind) => {
            return fault(format!(
                "the field `{field}` is mapped as `{kind}`, which does not fit its unit or format"
            ));
        }
    };
    Ok(TimeField { query: field.clone(), path, index })
}

/// The formats of a `date` that mean what the policy's default format means, but for zone and end of day.
const ISO_FORMATS: [&str; 12] = [
    "strict_date_optional_time",
    "strict_date_optional_time_nanos",
    "date_optional_time",
    "strict_date_time",
    "strict_date_time_no_millis",
    "date_time",
    "date_time_no_millis",
    "strict_date",
    "date",
    "iso8601",
    "yyyy-MM-dd HH:mm:ss",
    "uuuu-MM-dd HH:mm:ss",
];

/// True where the instants of a `date` field are what the policy reads in the same document, but for zone and end of day.
/// Where that is not certain, its index is not asked, and every document is read.
fn agrees(event_time: &EventTime, format: Option<&str>) -> bool {
    let formats: Vec<&str> =
        format.unwrap_or("strict_date_optional_time||epoch_millis").split("||").map(str::trim).collect();
    match event_time {
        EventTime::Text { format, .. } if format == DEFAULT_FORMAT => {
            // A count is no text that the policy could read, so that it does not matter how it is taken.
            formats.iter().all(|name| ISO_FORMATS.contains(name) || name.starts_with("epoch_"))
        }
        EventTime::Text { format, .. } => java_of(format).is_some_and(|java| formats == [java]),
        EventTime::Epoch { unit, .. } => {
            let name = match unit {
                EpochUnit::Seconds => "epoch_second",
                EpochUnit::Milliseconds => "epoch_millis",
            };
            let counts: Vec<&&str> = formats.iter().filter(|name| !ISO_FORMATS.contains(name)).collect();
            counts == [&name]
        }
        EventTime::Key(_) | EventTime::Modified => false,
    }
}

/// A format of the policy in the words of a mapping; `None` where it has literal letters, which would need quotes.
fn java_of(format: &str) -> Option<String> {
    let mut java = String::new();
    for part in Shape::parse(format)?.parts() {
        match part {
            Part::Number(field) => java.push_str(match field {
                Field::Year => "yyyy",
                Field::Month => "MM",
                Field::Day => "dd",
                Field::Hour => "HH",
                Field::Minute => "mm",
                Field::Second => "ss",
            }),
            Part::Literal(text) if text.chars().all(|c| " -./:".contains(c)) => java.push_str(text),
            Part::Literal(_) | Part::Segment(_) => return None,
        }
    }
    Some(java)
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;
    use serde_json::json;

    use super::*;

    fn text(format: &str) -> EventTime {
        EventTime::Text { column: "at".into(), format: format.into(), time_zone: Tz::UTC }
    }

    fn index_of(event_time: &EventTime, leaf: &Value) -> Option<TimeIndex> {
        let mapping = json!({ "properties": { "at": leaf } });
        time(&mapping, event_time, false).ok().map(|time| time.index)
    }

    #[test]
    fn an_index_on_time_is_asked_only_where_it_means_what_the_policy_reads() {
        let seconds = EventTime::Epoch { column: "at".into(), unit: EpochUnit::Seconds };
        let millis = EventTime::Epoch { column: "at".into(), unit: EpochUnit::Milliseconds };
        let iso = text(DEFAULT_FORMAT);
        let cases = [
            (&iso, json!({ "type": "date" }), Some(TimeIndex::Date)),
            (&iso, json!({ "type": "date_nanos" }), Some(TimeIndex::Date)),
            (
                &iso,
                json!({ "type": "date", "format": "yyyy-MM-dd HH:mm:ss||strict_date" }),
                Some(TimeIndex::Date),
            ),
            (&iso, json!({ "type": "date", "format": "MM/dd/yyyy" }), Some(TimeIndex::Unusable)),
            (&iso, json!({ "type": "date", "null_value": "2020-01-01" }), Some(TimeIndex::Unusable)),
            (&iso, json!({ "type": "date", "index": false }), Some(TimeIndex::Unusable)),
            (&iso, json!({ "type": "keyword" }), Some(TimeIndex::Text)),
            (&iso, json!({ "type": "long" }), None),
            (&text("%d/%m/%Y"), json!({ "type": "date", "format": "dd/MM/yyyy" }), Some(TimeIndex::Date)),
            (&text("%d/%m/%Y"), json!({ "type": "date", "format": "MM/dd/yyyy" }), Some(TimeIndex::Unusable)),
            (&text("%d/%m/%Y"), json!({ "type": "date" }), Some(TimeIndex::Unusable)),
            (&text("%d/%m/%Y"), json!({ "type": "keyword" }), Some(TimeIndex::Unusable)),
            (&seconds, json!({ "type": "long" }), Some(TimeIndex::Count(EpochUnit::Seconds))),
            (&seconds, json!({ "type": "date", "format": "epoch_second" }), Some(TimeIndex::Date)),
            (&seconds, json!({ "type": "date" }), Some(TimeIndex::Unusable)),
            (&millis, json!({ "type": "date" }), Some(TimeIndex::Date)),
            (&millis, json!({ "type": "double" }), None),
            (&millis, json!({ "type": "keyword" }), None),
        ];
        for (event_time, leaf, expected) in cases {
            assert_eq!(index_of(event_time, &leaf), expected, "{event_time:?} {leaf}");
        }
    }

    #[test]
    fn a_path_is_looked_up_through_objects_parts_and_dotted_names() {
        let mapping = json!({ "properties": {
            "a": { "properties": { "b": { "type": "keyword" } } },
            "c.d": { "type": "keyword" },
            "t": { "type": "text", "fields": { "raw": { "type": "keyword" } } },
            "n": { "type": "nested", "properties": { "x": { "type": "keyword" } } },
        }});
        let found = |field: &str| keyword(&mapping, field, "tenant", false).ok();
        let whole = |name: &str| Keyword { query: name.into(), path: name.into(), longest: None };
        assert_eq!(found("a.b"), Some(whole("a.b")));
        assert_eq!(found("c.d"), Some(whole("c.d")));
        assert_eq!(found("t"), Some(Keyword { query: "t.raw".into(), path: "t".into(), longest: None }));
        assert_eq!(found("t.raw"), found("t"));
        for field in ["n.x", "n", "a", "a.c", "ab", "x"] {
            assert_eq!(found(field), None, "{field}");
        }
    }
}
