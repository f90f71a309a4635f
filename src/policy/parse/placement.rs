//! One `[[placements]]`: where records are, whose they are, when they happened, whom they name.
//! It owns which of its keys fit together; the small languages in them are read by `words` and `templates`.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::templates::{self, TenantMark};
use super::{span, tenant, words};
use crate::id::{PlacementId, StoreId};
use crate::policy::schema::{EVENT_TIME, FOUND_BY, SUBJECT, TENANT};
use crate::policy::tree::{Section, Value, Wrong};
use crate::policy::{
    EpochUnit, EventTime, Level, Placement, Records, Role, SubjectFormat, SubjectSource, TenantSource,
};

const ROLES: [(&str, Role); 4] =
    [("primary", Role::Primary), ("cache", Role::Cache), ("index", Role::Index), ("backup", Role::Backup)];

const UNITS: [(&str, EpochUnit); 2] =
    [("seconds", EpochUnit::Seconds), ("milliseconds", EpochUnit::Milliseconds)];

const FORMATS: [(&str, SubjectFormat); 3] =
    [("as-is", SubjectFormat::AsIs), ("e164", SubjectFormat::E164), ("digits", SubjectFormat::Digits)];

const FORMAT_DEFAULT: &str = "%Y-%m-%d %H:%M:%S";

/// What the placement is made of; it decides which other keys fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Table,
    Prefix,
    Keys,
    Index,
    FoundBy,
    Rotation,
}

const SHAPES: [(&str, Shape); 5] = [
    ("table", Shape::Table),
    ("prefix", Shape::Prefix),
    ("keys", Shape::Keys),
    ("index", Shape::Index),
    ("found_by", Shape::FoundBy),
];

/// Reads one placement; `None` after a fault.
pub(super) fn read(section: &Section<'_>, time_zone: Tz) -> Option<Placement> {
    let name = section.require("name", "name the placement; no two have the same name");
    let name = name.and_then(|value| value.parsed(words::name));
    let store = section.require("store", "name the store, as in [stores.NAME] of the configuration");
    let store = store.and_then(|value| value.parsed(words::name));
    let role = section.get("role").map_or(Some(Role::Primary), |value| value.word(&ROLES));
    let plausible_from = section.get("plausible_from").map_or(epoch_of_plausibility(), |value| value.date());
    let accept_level = section
        .get("accept_level")
        .map_or(Some(None), |value| value.word(&Level::ALL.map(|level| (level.word(), level))).map(Some));
    let rotation = span(section, "rotation").map_or(Some(None), |rotation| rotation.map(Some));
    let shape = shape_of(section, role)?;
    if shape != Shape::Table && section.get("key").is_some() {
        section.fault_of("key", "`key` has no meaning without `table`", "leave it out");
    }
    let tenant = read_tenant(section, shape);
    let constant = section.get("tenant").is_some_and(|value| value.has("constant"));
    let records = read_records(section, shape, if constant { TenantMark::Never } else { TenantMark::Once });
    let event_time = read_event_time(section, shape, time_zone);
    let subjects = read_subjects(section, shape);
    Some(Placement {
        name: PlacementId::new(name?),
        store: StoreId::new(store?),
        role: role?,
        records: records?,
        tenant: tenant?,
        event_time: event_time?,
        subjects: subjects?,
        plausible_from: plausible_from?,
        accept_level: accept_level?,
        rotation: rotation?,
    })
}

/// Before the year 2000 there were no such records: an earlier time is a default that nobody filled in.
fn epoch_of_plausibility() -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(2000, 1, 1)
}

fn shape_of(section: &Section<'_>, role: Option<Role>) -> Option<Shape> {
    let found: Vec<(&str, Shape)> =
        SHAPES.into_iter().filter(|(key, _)| section.get(key).is_some()).collect();
    let rotates = section.get("rotation").is_some();
    if rotates && role.is_some_and(|role| role != Role::Backup) {
        let help = "say role = \"backup\", or leave `rotation` out";
        section.fault_of("rotation", "only a backup forgets by rotation", help);
        return None;
    }
    match (found.as_slice(), rotates) {
        ([(_, shape)], false) => Some(*shape),
        ([], true) => Some(Shape::Rotation),
        ([], false) => {
            if !section.is_torn() {
                let help = "say one of table, prefix, keys, index, found_by; or rotation for a backup that rotates by itself";
                section.fault("the placement does not say where its records are", help);
            }
            None
        }
        ([(key, _), ..], true) => {
            let help = "a backup is either erased per tenant or forgets by itself; leave one of the two out";
            section.fault_of("rotation", &format!("`rotation` stands beside `{key}`"), help);
            None
        }
        ([(first, _), (second, _), ..], false) => {
            let help = "one placement is in one place; write a second [[placements]] for the other";
            section.fault_of(second, &format!("`{second}` stands beside `{first}`"), help);
            None
        }
    }
}

/// The records; `Some(None)` for a backup that only rotates.
fn read_records(section: &Section<'_>, shape: Shape, mark: TenantMark) -> Option<Option<Records>> {
    let records = match shape {
        Shape::Table => {
            let table = section.get("table").and_then(|value| value.parsed(words::identifier));
            let key = section.get("key").map_or(Some(Vec::new()), |value| columns(&value, words::identifier));
            Records::Table { table: table?, key: key? }
        }
        Shape::Prefix => {
            Records::Prefix(section.get("prefix")?.parsed(|text| templates::prefix(text, mark))?)
        }
        Shape::Keys => Records::Keys(section.get("keys")?.parsed(|text| templates::keys(text, mark))?),
        Shape::Index => Records::Index(section.get("index")?.parsed(templates::index)?),
        Shape::FoundBy => read_found_by(&section.get("found_by")?.section(&FOUND_BY)?, mark)?,
        Shape::Rotation => return Some(None),
    };
    Some(Some(records))
}

fn read_found_by(section: &Section<'_>, mark: TenantMark) -> Option<Records> {
    let placement = section.require("placement", "name the placement whose rows name these records");
    let placement = placement.and_then(|value| value.parsed(words::name));
    let column = section.require("column", "name the column that holds the name of the record");
    let column = column.and_then(|value| value.parsed(words::identifier));
    let prefix =
        section.require("prefix", "write what every name must start with, for example \"rec/{tenant}/\"");
    let prefix = prefix.and_then(|value| value.parsed(|text| templates::prefix(text, mark)));
    Some(Records::FoundBy { placement: PlacementId::new(placement?), column: column?, prefix: prefix? })
}

/// Names in a list, none of them twice, at least one.
fn columns(value: &Value<'_>, parse: fn(&str) -> Result<String, Wrong>) -> Option<Vec<String>> {
    let names = value.texts(parse)?;
    if names.is_empty() {
        value.fault("the list is empty", "name at least one, or leave the key out");
        return None;
    }
    let twice =
        names.iter().enumerate().find(|(at, name)| names.get(..*at).is_some_and(|all| all.contains(name)));
    if let Some((_, name)) = twice {
        value.fault(&format!("`{name}` stands in the list twice"), "name each once");
        return None;
    }
    Some(names)
}

fn read_tenant(section: &Section<'_>, shape: Shape) -> Option<TenantSource> {
    let (own, parse): (Option<&str>, fn(&str) -> _) = match shape {
        Shape::Table => (Some("column"), words::identifier),
        Shape::Index => (Some("field"), words::field),
        Shape::Prefix | Shape::Keys | Shape::FoundBy | Shape::Rotation => (None, words::identifier),
    };
    let help = match own {
        Some(own) => format!("say tenant = {{ {own} = \"tenant_id\" }}, or {{ constant = \"…\" }}"),
        None => {
            "the template says it with {tenant}; leave `tenant` out, or say { constant = \"…\" }".to_owned()
        }
    };
    if own.is_none() && section.get("tenant").is_none() {
        return Some(TenantSource::Template);
    }
    let source = section.require("tenant", &help)?.section(&TENANT)?;
    let entries: Vec<_> = source.entries().collect();
    let [(key, value)] = entries.as_slice() else {
        source.fault("`tenant` says exactly one thing", &help);
        return None;
    };
    match *key {
        "constant" => {
            let constant = value.parsed(tenant)?;
            if constant.looks_mixed() {
                let help = "it is taken exactly as it is; write it again if that is not what you mean";
                value.warn("the tenant mixes letters of different scripts that look alike", help);
            }
            Some(TenantSource::Constant(constant))
        }
        key if Some(key) == own => value.parsed(parse).map(TenantSource::Column),
        "column" | "field" => {
            source.fault_of(key, &format!("`{key}` does not fit the records of this placement"), &help);
            None
        }
        // An unknown key has its fault already.
        _ => None,
    }
}

/// The event time; `Some(None)` where the placement has none.
fn read_event_time(section: &Section<'_>, shape: Shape, time_zone: Tz) -> Option<Option<EventTime>> {
    let Some(value) = section.get("event_time") else {
        return Some(None);
    };
    let (allowed, help): (&[&str], &str) = match shape {
        Shape::Table => (&["column", "format", "time_zone", "unit"], "say { column = \"started_at\" }"),
        Shape::Index | Shape::Keys => (&["field", "format", "time_zone", "unit"], "say { field = \"…\" }"),
        Shape::Prefix => {
            let keys = &["key", "modified", "metadata", "tag", "format", "time_zone", "unit"];
            (keys, "say { key = \"ivr/{tenant}/%Y/%m/%d/\" } or { modified = true }")
        }
        Shape::FoundBy => (&[], "leave it out: it is that of the row which names the record"),
        Shape::Rotation => (&[], "leave it out: what rotates by itself is not looked into"),
    };
    if allowed.is_empty() {
        section.fault_of("event_time", "`event_time` does not fit the records of this placement", help);
        return None;
    }
    let source = value.section(&EVENT_TIME)?;
    let mut fits = true;
    for (key, _) in source.entries() {
        if EVENT_TIME.keys.iter().any(|known| known.name == key) && !allowed.contains(&key) {
            source.fault_of(key, &format!("`{key}` does not fit the records of this placement"), help);
            fits = false;
        }
    }
    let event_time = match shape {
        Shape::Prefix => event_time_of_object(section, &source, time_zone, help),
        Shape::Table => event_time_of_value(&source, "column", words::identifier, time_zone, help),
        Shape::Index | Shape::Keys => event_time_of_value(&source, "field", words::field, time_zone, help),
        Shape::FoundBy | Shape::Rotation => None,
    };
    event_time.filter(|_| fits).map(Some)
}

fn event_time_of_value(
    source: &Section<'_>,
    own: &str,
    parse: fn(&str) -> Result<String, Wrong>,
    policy_zone: Tz,
    help: &str,
) -> Option<EventTime> {
    let column = source.require(own, help).and_then(|value| value.parsed(parse));
    event_time_in(source, column, policy_zone)
}

/// The time in a column, a field or a label, by whatever says how it is written there.
fn event_time_in(source: &Section<'_>, column: Option<String>, policy_zone: Tz) -> Option<EventTime> {
    let format = source
        .get("format")
        .map_or(Some(FORMAT_DEFAULT.to_owned()), |value| value.parsed(words::time_format));
    let time_zone = source.get("time_zone").map_or(Some(policy_zone), |value| value.parsed(words::zone));
    let Some(unit) = source.get("unit") else {
        return Some(EventTime::Text { column: column?, format: format?, time_zone: time_zone? });
    };
    for key in ["format", "time_zone"] {
        if source.get(key).is_some() {
            let help = "a number counts from the epoch in UTC; leave one of the two out";
            source.fault_of(key, &format!("`{key}` stands beside `unit`"), help);
            return None;
        }
    }
    Some(EventTime::Epoch { unit: unit.word(&UNITS)?, column: column? })
}

/// The time of a file or object: in its key, its metadata, a tag, or that of its modification.
fn event_time_of_object(
    section: &Section<'_>,
    source: &Section<'_>,
    policy_zone: Tz,
    help: &str,
) -> Option<EventTime> {
    let labels = ["metadata", "tag"];
    let Some(label) = labels.into_iter().find(|label| source.get(label).is_some()) else {
        for key in ["format", "time_zone", "unit"] {
            if source.get(key).is_some() {
                let help = "leave it out, or say { metadata = \"…\" } or { tag = \"…\" }";
                source.fault_of(key, &format!("`{key}` stands without `metadata` or `tag`"), help);
                return None;
            }
        }
        return event_time_of_key(section, source, help);
    };
    for other in ["key", "modified", "tag"] {
        if other != label && source.get(other).is_some() {
            source.fault_of(other, &format!("`{other}` stands beside `{label}`"), "keep one of the two");
            return None;
        }
    }
    let name = source.get(label).and_then(|value| value.parsed(words::identifier));
    // Servers keep the names of metadata in small letters.
    let name = name.map(|name| if label == "metadata" { name.to_lowercase() } else { name });
    event_time_in(source, name.map(|name| format!("{label}:{name}")), policy_zone)
}

fn event_time_of_key(section: &Section<'_>, source: &Section<'_>, help: &str) -> Option<EventTime> {
    match (source.get("key"), source.get("modified")) {
        (Some(key), None) => key.parsed(|text| check_key_template(section, text)).map(EventTime::Key),
        (None, Some(modified)) => {
            if modified.boolean()? {
                let message = "the time of last modification is not the event time; plans say so";
                modified.warn(
                    message,
                    "a copied or touched file looks younger than its event; use { key = … } if you can",
                );
                Some(EventTime::Modified)
            } else {
                modified.fault("`modified = false` says nothing", "leave `event_time` out");
                None
            }
        }
        (Some(_), Some(_)) => {
            source.fault("`key` stands beside `modified`", "keep one of the two");
            None
        }
        (None, None) => {
            if !source.is_torn() {
                source.fault("`event_time` does not say where the time is", help);
            }
            None
        }
    }
}

/// A key template begins with the placement's own prefix and names a date after it.
fn check_key_template(section: &Section<'_>, text: &str) -> Result<String, Wrong> {
    let prefix = section.get("prefix").and_then(|value| value.parsed(|prefix| Ok(prefix.to_owned())));
    let prefix = prefix.unwrap_or_default();
    let Some(dates) = text.strip_prefix(&prefix) else {
        let message = "the key template does not begin with the prefix of the placement";
        return Err(Wrong::new(message, format!("begin it with \"{}\"", words::cut(&prefix))));
    };
    words::directives(dates, |c| c.is_alphanumeric() || "-_./=".contains(c))?;
    if dates.split('/').any(|segment| segment == "." || segment == "..") || dates.contains("//") {
        return Err(Wrong::new(
            "the key template holds an empty segment, `.` or `..`",
            "write folders and a date",
        ));
    }
    Ok(text.to_owned())
}

fn read_subjects(section: &Section<'_>, shape: Shape) -> Option<BTreeMap<String, SubjectSource>> {
    let help =
        "say subjects = { phone = [\"caller\", \"callee\"] }, or \"none\" where no record names a person";
    let value = match shape {
        Shape::Table | Shape::Keys | Shape::Index => section.require("subjects", help)?,
        Shape::Prefix | Shape::Rotation | Shape::FoundBy => match section.get("subjects") {
            Some(value) => value,
            None => return Some(BTreeMap::new()),
        },
    };
    if value.is_text() {
        return value.word(&[("none", ())]).map(|()| BTreeMap::new());
    }
    if matches!(shape, Shape::Prefix | Shape::FoundBy | Shape::Rotation) {
        let help =
            "leave it out; only rows, keys and documents name subjects, and found_by takes those of its row";
        value.fault("a placement of this kind names no subjects itself", help);
        return None;
    }
    let kinds = value.free_section()?;
    let parse = if shape == Shape::Index { words::field } else { words::identifier };
    let sources: Vec<_> = kinds.entries().map(|(kind, value)| read_subject(kind, &value, parse)).collect();
    if sources.is_empty() {
        value.fault("`subjects` is empty", help);
        return None;
    }
    sources.into_iter().collect()
}

fn read_subject(
    kind: &str,
    value: &Value<'_>,
    parse: fn(&str) -> Result<String, Wrong>,
) -> Option<(String, SubjectSource)> {
    let name = words::name(kind).map_err(|wrong| value.fault(&wrong.message, &wrong.help)).ok();
    if !value.is_table() {
        let columns = columns(value, parse)?;
        return Some((name?, SubjectSource { columns, format: SubjectFormat::AsIs }));
    }
    let source = value.section(&SUBJECT)?;
    let columns_value = source.require("columns", "list the columns that hold the values");
    let named = columns_value.and_then(|value| columns(&value, parse));
    let format = source.get("format").map_or(Some(SubjectFormat::AsIs), |value| value.word(&FORMATS));
    Some((name?, SubjectSource { columns: named?, format: format? }))
}
