//! Which keys a query means: the tenant by the key, the event time and subjects by hash fields or segments.
//! It owns what must be read of a key and what it then means; it reads nothing itself.

use ::redis::Value as Reply;
use chrono::{DateTime, Utc};

use super::layout::{Fitting, Layout};
use super::wire::{bytes, parts};
use crate::id::TenantId;
use crate::plan::{Scope, SubjectOrigin, SubjectRef, TenantScope, Times};
use crate::policy::EventTime;
use crate::stores::judge::{Judge, Judged};
use crate::stores::{Key, Query, SeenTime, Value, event_time};

/// What the answer to a question depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Whether a key belongs.
    Belongs,
    /// Also when it happened.
    AndWhen,
    /// Also every subject that it names.
    Whole,
}

/// A query made ready for one key after the other.
#[derive(Debug)]
pub(super) struct Selector<'q> {
    query: &'q Query,
    judge: Judge<'q>,
    pub(super) layout: Layout,
    fields: Vec<&'q str>,
}

/// The values of [`Selector::fields`] in one key; all missing where the key is no hash.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    values: Vec<Option<Vec<u8>>>,
    /// The key is no hash, so nobody can tell whom it names.
    is_no_hash: bool,
}

impl Fields {
    /// From the answer to `HMGET`.
    pub(super) fn of(reply: Reply) -> Self {
        Self { values: parts(reply).into_iter().map(bytes).collect(), is_no_hash: false }
    }

    /// Of a key that is no hash.
    pub(super) fn of_no_hash() -> Self {
        Self { values: Vec::new(), is_no_hash: true }
    }

    /// True where the key has none of them: perhaps it is gone.
    pub(super) fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }
}

impl<'q> Selector<'q> {
    /// Fails where a subject's value is missing.
    pub(super) fn new(query: &'q Query, layout: Layout, depth: Depth) -> Result<Self, &'static str> {
        if query.naming.is_some() {
            return Err("keys name no other records");
        }
        let judge = Judge::new(query)?;
        let selection = &query.selection;
        let scopes = || selection.within.iter().chain(&selection.except);
        let asks_when = |scope: &Scope| match scope.times {
            Times::Any => false,
            Times::Within(_) | Times::UpTo(_) | Times::Unusable | Times::UnusableBefore(_) => true,
        };
        let mut fields: Vec<&str> = Vec::new();
        if depth != Depth::Belongs || scopes().any(asks_when) {
            match &query.placement.event_time {
                Some(EventTime::Text { column, .. } | EventTime::Epoch { column, .. }) => fields.push(column),
                Some(EventTime::Key(_) | EventTime::Modified) | None => {}
            }
        }
        for (kind, source) in &query.placement.subjects {
            let is_asked = depth == Depth::Whole || selection.subjects().any(|subject| subject.kind == *kind);
            for column in source.columns.iter().filter(|_| is_asked) {
                let is_known = layout.names().any(|name| name == column) || fields.contains(&column.as_str());
                if !is_known {
                    fields.push(column);
                }
            }
        }
        Ok(Self { query, judge, layout, fields })
    }

    /// The hash fields to read; empty where the key alone says all.
    pub(super) fn fields(&self) -> &[&'q str] {
        &self.fields
    }

    /// What the server is asked for.
    pub(super) fn pattern(&self) -> Vec<u8> {
        match &self.query.selection.tenants {
            TenantScope::One(tenant) => self.layout.pattern(Some(tenant)),
            TenantScope::AllExcept(_) | TenantScope::Nameless => self.layout.pattern(None),
        }
    }

    /// True where keys of this tenant can belong at all.
    pub(super) fn tenant_matches(&self, tenant: Option<&TenantId>) -> bool {
        self.judge.tenant_matches(tenant)
    }

    /// When the record of a key happened.
    pub(super) fn time(&self, fields: &Fields) -> SeenTime {
        let read: Option<DateTime<Utc>> = match &self.query.placement.event_time {
            None => return SeenTime::None,
            Some(EventTime::Text { column, format, time_zone }) => {
                self.field(fields, column).and_then(|text| event_time::read_text(text, format, *time_zone))
            }
            Some(EventTime::Epoch { column, unit }) => self
                .field(fields, column)
                .and_then(integer)
                .and_then(|count| event_time::read_epoch(count, *unit)),
            // Refused by `Layout::of` already.
            Some(EventTime::Key(_) | EventTime::Modified) => None,
        };
        self.judge.seen(read)
    }

    /// True where the record of a key belongs to the selection.
    pub(super) fn matches(&self, fitting: &Fitting<'_>, fields: &Fields) -> bool {
        let time_text = match &self.query.placement.event_time {
            Some(EventTime::Text { column, .. }) => self.field(fields, column),
            Some(EventTime::Epoch { .. } | EventTime::Key(_) | EventTime::Modified) | None => None,
        };
        let record = Judged {
            tenant: fitting.tenant.as_ref(),
            time: self.time(fields),
            time_text,
            text_in: &|name| self.text_in(fitting, fields, name),
        };
        // A key that is no hash may name anybody: it is held with whoever is held, and is nobody's by request.
        let names = |subject: &SubjectRef, name: &str, wanted: &str| {
            if fields.is_no_hash && !self.layout.names().any(|own| own == name) {
                matches!(subject.origin, SubjectOrigin::Hold(_))
            } else {
                self.text_in(fitting, fields, name).as_deref() == Some(wanted)
            }
        };
        self.judge.matches_naming(&record, &names)
    }

    /// The values that name subjects, by kind.
    pub(super) fn subjects(&self, fitting: &Fitting<'_>, fields: &Fields) -> Vec<(String, String)> {
        let sources = &self.query.placement.subjects;
        sources
            .iter()
            .flat_map(|(kind, source)| source.columns.iter().map(move |column| (kind, column)))
            .filter_map(|(kind, column)| Some((kind.clone(), self.text_in(fitting, fields, column)?)))
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    /// A segment of that name, or else a field.
    fn text_in(&self, fitting: &Fitting<'_>, fields: &Fields, name: &str) -> Option<String> {
        if self.layout.names().any(|own| own == name) {
            return self.layout.segment(fitting, name).map(ToOwned::to_owned);
        }
        self.field(fields, name).map(ToOwned::to_owned)
    }

    fn field<'f>(&self, fields: &'f Fields, name: &str) -> Option<&'f str> {
        let place = self.fields.iter().position(|own| *own == name)?;
        std::str::from_utf8(fields.values.get(place)?.as_ref()?).ok()
    }
}

/// A count as an application writes one: digits without zeros in front. `1.5`, `+1`, `0x1` and `1e9` are none.
fn integer(text: &str) -> Option<i64> {
    let count: i64 = text.parse().ok()?;
    (count.to_string() == text).then_some(count)
}

/// The bytes of the key that names a record; `None` where it names none.
pub(super) fn bytes_of(key: &Key) -> Option<&[u8]> {
    match key.0.as_slice() {
        [Value::Text(text)] => Some(text.as_bytes()),
        [Value::Bytes(bytes)] => Some(bytes),
        [] | [Value::Int(_)] | [_, _, ..] => None,
    }
}

/// The name of a record, exact to the byte.
pub(super) fn key_of(bytes: Vec<u8>) -> Key {
    Key(vec![match String::from_utf8(bytes) {
        Ok(text) => Value::Text(text),
        Err(not_text) => Value::Bytes(not_text.into_bytes()),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_digits_are_a_count() {
        assert_eq!(integer("1700000000"), Some(1_700_000_000));
        assert_eq!(integer("0"), Some(0));
        assert_eq!(integer("-1"), Some(-1));
        for text in ["", "+1", "01", "1.0", "1e9", "0x10", " 1", "1 ", "9223372036854775808", "-0"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }
}
