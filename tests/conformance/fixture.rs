//! The records that every store is filled with, each tagged by hand with what holds for it, and the queries.
//! It owns the truth that stores are compared with; it computes none of it the way a store does.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use retentiond::id::{Fingerprint, PlacementId, RequestId, StoreId, SubjectKey, TenantId};
use retentiond::plan::{Interval, Scope, Selection, SubjectOrigin, SubjectRef, TenantScope, Times};
use retentiond::policy::{
    EpochUnit, EventTime, Placement, Records, Role, SubjectFormat, SubjectSource, TenantSource,
};
use retentiond::stores::{Query, Reader, Store};

pub(crate) const ZONE: Tz = Tz::Asia__Singapore;
pub(crate) const TENANTS: [&str; 4] = ["t-1", "t-10", "T-1", "t-1x"];

/// How the event time is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// Local text in the default format.
    Text,
    /// ISO 8601 in UTC.
    IsoText,
    Seconds,
    Milliseconds,
    /// A database's own type for a wall clock's reading.
    Wall,
    /// A database's own type for an instant.
    Timestamp,
    /// A date in the path.
    Key,
    Modified,
    /// The placement has none.
    None,
}

/// In which form a store is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) time: Time,
    pub(crate) is_table: bool,
    /// Documents of an index pattern.
    pub(crate) is_index: bool,
    /// Keys of hashes, or of any type where there is no event time.
    pub(crate) is_keys: bool,
    pub(crate) has_key: bool,
    pub(crate) has_index: bool,
}

impl Shape {
    pub(crate) fn table(time: Time) -> Self {
        Self { time, is_table: true, is_index: false, is_keys: false, has_key: true, has_index: false }
    }

    /// With an index on the time where it is stored the second way that a search cluster has for it.
    pub(crate) fn index(time: Time) -> Self {
        Self { is_table: false, is_index: true, ..Self::table(time) }
    }

    pub(crate) fn keys(time: Time) -> Self {
        Self { is_keys: true, ..Self::prefix(time) }
    }

    /// True where records name subjects.
    pub(crate) fn names_subjects(&self) -> bool {
        self.is_table || self.is_index || self.is_keys
    }

    pub(crate) fn prefix(time: Time) -> Self {
        Self { is_table: false, ..Self::table(time) }
    }

    pub(crate) fn without_key(self) -> Self {
        Self { has_key: false, ..self }
    }

    pub(crate) fn with_index(self) -> Self {
        Self { has_index: true, ..self }
    }

    /// Objects whose time is in their metadata rather than in their key.
    pub(crate) fn is_labelled(&self) -> bool {
        !self.is_table && !self.has_key
    }

    /// Named like a keyword where there is no key, for good measure.
    pub(crate) fn table_name(&self) -> &'static str {
        if self.has_key { "call_record" } else { "order" }
    }

    /// The indices of this shape, in a cluster that all shapes share.
    pub(crate) fn pattern(&self) -> String {
        let way = if self.has_index { "second" } else { "first" };
        format!("conformance-{}-{way}-*", format!("{:?}", self.time).to_lowercase())
    }

    /// Where there is an event time, phones are in fields beside it; otherwise all is in the key.
    pub(crate) fn key_template(&self) -> &'static str {
        if self.time == Time::None {
            "agent:{tenant}:{group}:{caller}:{callee}:{name}"
        } else {
            "agent:{tenant}:{group}:{name}"
        }
    }

    fn phone_format(&self) -> SubjectFormat {
        match self.time {
            Time::Seconds => SubjectFormat::Digits,
            Time::Milliseconds => SubjectFormat::E164,
            Time::Text
            | Time::IsoText
            | Time::Wall
            | Time::Timestamp
            | Time::Key
            | Time::Modified
            | Time::None => SubjectFormat::AsIs,
        }
    }

    /// A phone number as this shape stores it.
    pub(crate) fn phone(&self, number: &str) -> String {
        match self.phone_format() {
            SubjectFormat::Digits => number.trim_start_matches('+').to_owned(),
            SubjectFormat::AsIs | SubjectFormat::E164 => number.to_owned(),
        }
    }

    /// The smallest step of the stored time.
    fn tick(&self) -> TimeDelta {
        match self.time {
            Time::Milliseconds => TimeDelta::milliseconds(1),
            Time::Modified => TimeDelta::nanoseconds(1),
            Time::Text
            | Time::IsoText
            | Time::Seconds
            | Time::Wall
            | Time::Timestamp
            | Time::Key
            | Time::None => TimeDelta::seconds(1),
        }
    }

    pub(crate) fn placement(&self) -> Placement {
        let table = Records::Table {
            table: self.table_name().into(),
            key: if self.has_key { vec!["id".into()] } else { Vec::new() },
        };
        let text = |time_zone| EventTime::Text {
            column: if self.is_labelled() { "metadata:started-at" } else { "started_at" }.into(),
            format: "%Y-%m-%d %H:%M:%S".into(),
            time_zone,
        };
        let epoch = |unit| EventTime::Epoch { column: "started_at".into(), unit };
        let columns = |names: &[&str], format| SubjectSource {
            columns: names.iter().map(|&name| name.to_owned()).collect(),
            format,
        };
        Placement {
            name: PlacementId::new("records"),
            store: StoreId::new("store"),
            role: Role::Primary,
            records: Some(match (self.is_table, self.is_index, self.is_keys) {
                (true, _, _) => table,
                (false, true, _) => Records::Index(self.pattern()),
                (false, false, true) => Records::Keys(self.key_template().into()),
                (false, false, false) => Records::Prefix("ivr/{tenant}/".into()),
            }),
            tenant: if self.is_table || self.is_index {
                TenantSource::Column("tenant_id".into())
            } else {
                TenantSource::Template
            },
            event_time: match self.time {
                Time::Text | Time::Wall => Some(text(ZONE)),
                Time::IsoText | Time::Timestamp => Some(text(Tz::Europe__Berlin)),
                Time::Seconds => Some(epoch(EpochUnit::Seconds)),
                Time::Milliseconds => Some(epoch(EpochUnit::Milliseconds)),
                Time::Key => Some(EventTime::Key("ivr/{tenant}/%Y/%m/%d/".into())),
                Time::Modified => Some(EventTime::Modified),
                Time::None => None,
            },
            subjects: if self.names_subjects() {
                BTreeMap::from([
                    ("phone".into(), columns(&["caller", "callee"], self.phone_format())),
                    ("agent".into(), columns(&["group"], SubjectFormat::AsIs)),
                ])
            } else {
                BTreeMap::new()
            },
            plausible_from: NaiveDate::from_ymd_opt(2000, 1, 1).unwrap(),
            accept_level: None,
            rotation: None,
        }
    }
}

/// The event time of a record, before it is written the way of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    At(DateTime<Utc>),
    Null,
    Zero,
    Unreadable,
    /// A date that no calendar has.
    NoSuchDay,
}

/// One record and everything that is true of it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Unique in the store: `<<t-1|old>>`. Also the text whose bytes must go.
    pub(crate) sentinel: String,
    pub(crate) name: &'static str,
    pub(crate) tenant: Option<&'static str>,
    pub(crate) when: When,
    /// The event time that a store must understand, where it is usable.
    pub(crate) at: Option<DateTime<Utc>>,
    pub(crate) caller: &'static str,
    pub(crate) callee: &'static str,
    pub(crate) agent: &'static str,
    /// What it names elsewhere; `Some("")` is empty and names nothing.
    pub(crate) recording: Option<String>,
    pub(crate) is_due: bool,
    pub(crate) is_parked: bool,
    pub(crate) is_before_receipt: bool,
    pub(crate) names_phone: bool,
    pub(crate) names_agent: bool,
}

pub(crate) fn local(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(&format!("{text}+08:00")).unwrap().to_utc()
}

/// The real present of all cases: noon in Singapore.
pub(crate) fn now() -> DateTime<Utc> {
    local("2025-09-30T12:00:00")
}

/// Where the due set ends.
fn cut() -> DateTime<Utc> {
    local("2025-03-31T00:00:00")
}

/// A gap in the due set, as a clock change makes one.
fn gap() -> Interval {
    Interval { from: local("2024-06-01T00:00:00"), to: local("2024-06-03T00:00:00") }
}

/// When the request was received: the last instant of a day, so that dates in paths have an edge there too.
pub(crate) fn receipt() -> DateTime<Utc> {
    local("2025-08-31T23:59:59.999999999")
}

/// Every event time in the due set.
pub(crate) fn due() -> Times {
    Times::Within(vec![
        Interval { from: local("2000-01-01T00:00:00"), to: gap().from },
        Interval { from: gap().to, to: cut() },
    ])
}

/// Every event time that an age rule with this due set parks.
pub(crate) fn parked() -> Times {
    Times::UnusableBefore(cut())
}

/// The older part of it only.
pub(crate) fn older() -> Times {
    Times::Within(vec![Interval { from: local("1990-01-01T00:00:00"), to: gap().from }])
}

pub(crate) fn is_older(record: &Record) -> bool {
    record.at.is_some_and(|at| at < gap().from)
}

const P: &str = "+6590000001";
const LONGER: &str = "+65900000011";
const OTHER: &str = "+6599999999";

/// All records, in the order in which they are put in.
pub(crate) fn records(shape: Shape) -> Vec<Record> {
    let tick = shape.tick();
    let at = When::At;
    let (yes, no) = (true, false);
    // name, when, due, parked, before receipt, caller, callee, agent
    let rows: Vec<(&'static str, When, [bool; 3], [&'static str; 3])> = vec![
        ("old", at(local("2025-01-10T12:00:00")), [yes, no, yes], [P, OTHER, "A7"]),
        ("first", at(local("2000-01-01T00:00:00")), [yes, no, yes], [OTHER, P, ""]),
        ("ancient", at(local("2000-01-01T00:00:00") - tick), [no, yes, yes], [P, P, "a7"]),
        ("gap-before", at(gap().from - tick), [yes, no, yes], [OTHER, OTHER, "A7"]),
        ("gap-begins", at(gap().from), [no, no, yes], [P, OTHER, "A7"]),
        ("gap-last", at(gap().to - tick), [no, no, yes], [OTHER, OTHER, ""]),
        ("gap-ends", at(gap().to), [yes, no, yes], [LONGER, OTHER, "A77"]),
        ("edge-before", at(cut() - tick), [yes, no, yes], [OTHER, P, "A7"]),
        ("edge", at(cut()), [no, no, yes], [P, OTHER, "A7"]),
        ("edge-after", at(cut() + tick), [no, no, yes], [OTHER, OTHER, "a7"]),
        ("receipt", at(local("2025-08-31T23:59:59")), [no, no, yes], [P, OTHER, ""]),
        ("late", at(local("2025-09-01T00:00:00")), [no, no, no], [P, OTHER, "A7"]),
        ("tomorrow", at(now() + TimeDelta::days(1)), [no, no, no], [P, OTHER, "A7"]),
        ("future", at(now() + TimeDelta::days(1) + tick), [no, yes, yes], [P, OTHER, "A7"]),
        ("null", When::Null, [no, yes, yes], [OTHER, OTHER, "A7"]),
        ("zero", When::Zero, [no, yes, yes], [P, OTHER, ""]),
        ("garbled", When::Unreadable, [no, yes, yes], [OTHER, OTHER, ""]),
        ("no-such-day", When::NoSuchDay, [no, yes, yes], [OTHER, P, "A7"]),
    ];
    let named: Vec<(Option<&'static str>, &'static str)> = TENANTS
        .iter()
        .map(|&tenant| (Some(tenant), tenant))
        .chain([(None, "null"), (Some(""), "empty"), (Some("  "), "spaces")])
        .collect();
    let mut records = Vec::new();
    // Row by row, so that neighbours of a tenant's records are other tenants'.
    for (name, when, [is_due, is_parked, is_before_receipt], [caller, callee, agent]) in rows {
        for (tenant, label) in &named {
            let recording = match name {
                "old" | "edge" | "first" => Some(format!("rec/{label}/{name}.wav")),
                "late" => Some(String::new()),
                _ => None,
            };
            let record = Record {
                sentinel: format!("<<{label}|{name}>>"),
                name,
                tenant: *tenant,
                when,
                at: match when {
                    When::At(at) if !is_parked => Some(at),
                    When::At(_) | When::Null | When::Zero | When::Unreadable | When::NoSuchDay => None,
                },
                caller,
                callee,
                agent,
                recording,
                is_due,
                is_parked,
                is_before_receipt,
                names_phone: caller == P || callee == P,
                names_agent: agent == "A7",
            };
            records.extend(adapt(shape, record));
        }
    }
    records
}

/// The record as a shape can hold it; `None` where it cannot.
fn adapt(shape: Shape, mut record: Record) -> Option<Record> {
    if !shape.is_table {
        record.recording = None;
    }
    if shape.is_keys {
        // Between two separators stands a text.
        record.tenant?;
    } else if !shape.names_subjects() {
        record.names_phone = false;
        record.names_agent = false;
        // A directory has a name.
        record.tenant.filter(|tenant| !tenant.is_empty())?;
    }
    match shape.time {
        Time::None => {
            record.at = None;
            record.is_due = false;
            record.is_parked = false;
            record.is_before_receipt = true;
        }
        Time::Key => {
            let end = |at: DateTime<Utc>| {
                let day = at.with_timezone(&ZONE).date_naive();
                let end = NaiveTime::from_hms_nano_opt(23, 59, 59, 999_999_999).unwrap();
                day.and_time(end).and_local_timezone(ZONE).unwrap().to_utc()
            };
            record.at = record.at.map(end);
            // The end of that day lies beyond the day from now.
            if record.name == "tomorrow" {
                return None;
            }
        }
        Time::Modified => {
            if matches!(record.when, When::Null | When::Unreadable | When::NoSuchDay) {
                return None;
            }
        }
        Time::Text | Time::IsoText | Time::Seconds | Time::Milliseconds | Time::Wall | Time::Timestamp => {}
    }
    Some(record)
}

/// An empty store of some kind, and what tests do to it behind its back.
#[async_trait]
pub(crate) trait Bench: Send {
    /// Puts records in, as an application would.
    async fn seed(&mut self, records: &[Record]);
    /// Opened for erasing.
    async fn store(&self) -> Arc<dyn Store>;
    /// Opened for looking, on a connection of its own.
    async fn reader(&self) -> Arc<dyn Reader>;
    /// Everything that is in the store: by sentinel, all that belongs to the record.
    async fn dump(&self) -> BTreeMap<String, String>;
    /// Moves a record to a time after every due date, as an application would.
    async fn renew(&mut self, record: &Record);
    /// Gets ready to find out what stays of bytes.
    async fn watch(&mut self);
    /// True where the bytes of this sentinel are still in what the store keeps. `None` where it keeps nothing.
    async fn holds_bytes(&mut self, sentinel: &str) -> Option<bool>;
    /// The key of a record as a person types it.
    async fn typed_key(&self, record: &Record) -> Vec<String>;
    /// A placement with a table or prefix that is not there, or a column that is not; empty where neither can be.
    fn wrong_placements(&self) -> Vec<Placement>;
}

/// A subject as selections name it.
pub(crate) fn subject(kind: &str) -> SubjectRef {
    SubjectRef {
        kind: kind.into(),
        fingerprint: fingerprint(kind),
        origin: SubjectOrigin::Request(RequestId::new("req-1")),
    }
}

fn fingerprint(kind: &str) -> Fingerprint {
    Fingerprint::new(format!("{kind:0<32}"))
}

pub(crate) fn scope(subjects: Option<Vec<SubjectRef>>, times: Times) -> Scope {
    Scope { subjects, times }
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::observed(name).unwrap()
}

pub(crate) fn selection(tenants: TenantScope, within: Vec<Scope>, except: Vec<Scope>) -> Selection {
    Selection { placement: PlacementId::new("records"), tenants, within, except }
}

pub(crate) fn query(placement: Placement, selection: Selection) -> Query {
    let values = [("phone", P), ("agent", "A7")];
    Query {
        placement: Arc::new(placement),
        time_zone: ZONE,
        selection,
        subjects: values
            .iter()
            .map(|(kind, value)| (fingerprint(kind), SubjectKey::new(*kind, *value, fingerprint(kind))))
            .collect(),
        now: now(),
        also: Vec::new(),
        naming: None,
    }
}
