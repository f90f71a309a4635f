//! What a selection means for one record that a store holds in its hands: the rule in plain Rust, for stores that
//! cannot carry the whole predicate in their own query language. It fetches nothing.

use chrono::{DateTime, Utc};

use super::event_time::order::parked_until;
use super::{Query, SeenTime, event_time};
use crate::id::TenantId;
use crate::plan::{Interval, Scope, Selection, SubjectRef, TenantScope, Times};
use crate::policy::EventTime;

/// A query made ready for one record after the other.
#[derive(Debug)]
pub(crate) struct Judge<'q> {
    query: &'q Query,
    usable: Interval,
}

/// One record, as far as a selection asks.
pub(crate) struct Judged<'r> {
    /// Whose it is; `None` where that cannot be told.
    pub tenant: Option<&'r TenantId>,
    /// When it happened.
    pub time: SeenTime,
    /// The stored event time where it is a text, readable or not.
    pub time_text: Option<&'r str>,
    /// The text in a column, field or segment; `None` where there is none.
    pub text_in: &'r dyn Fn(&str) -> Option<String>,
}

/// Whether a column, field or segment names this subject, whose value is given as it would be written there.
pub(crate) type Names<'n> = &'n dyn Fn(&SubjectRef, &str, &str) -> bool;

impl<'q> Judge<'q> {
    /// Fails where a subject's value is missing: that never means "nobody".
    pub(crate) fn new(query: &'q Query) -> Result<Self, &'static str> {
        let mut named = query.selections().flat_map(Selection::subjects);
        if named.any(|subject| !query.subjects.contains_key(&subject.fingerprint)) {
            return Err("the query names a subject without its value");
        }
        let usable = event_time::usable_span(&query.placement, query.time_zone, query.now);
        Ok(Self { query, usable })
    }

    /// What an instant that was read is worth: unreadable, implausible or in the future is not usable.
    pub(crate) fn seen(&self, read: Option<DateTime<Utc>>) -> SeenTime {
        match read {
            Some(at) if self.usable.contains(at) => SeenTime::Usable(at),
            Some(_) | None => SeenTime::Unusable,
        }
    }

    /// True where the record belongs to a selection of the query.
    pub(crate) fn matches(&self, record: &Judged<'_>) -> bool {
        self.matches_naming(record, &|_, column, wanted| (record.text_in)(column).as_deref() == Some(wanted))
    }

    /// As [`Judge::matches`], for records that may hold several texts in one field: `names` says whether one of them is
    /// the one given.
    pub(crate) fn matches_naming(&self, record: &Judged<'_>, names: Names<'_>) -> bool {
        let names_something = self
            .query
            .naming
            .as_ref()
            .is_none_or(|column| (record.text_in)(column).is_some_and(|name| !name.is_empty()));
        names_something && self.query.selections().any(|selection| self.selects(selection, record, names))
    }

    /// True where records of this tenant can belong at all.
    pub(crate) fn tenant_matches(&self, tenant: Option<&TenantId>) -> bool {
        self.query.selections().any(|selection| covers(&selection.tenants, tenant))
    }

    fn selects(&self, selection: &Selection, record: &Judged<'_>, names: Names<'_>) -> bool {
        covers(&selection.tenants, record.tenant)
            && selection.within.iter().all(|scope| self.is_inside(scope, record, names))
            && !selection.except.iter().any(|scope| self.is_inside(scope, record, names))
    }

    fn is_inside(&self, scope: &Scope, record: &Judged<'_>, names: Names<'_>) -> bool {
        let names_one = match &scope.subjects {
            None => true,
            Some(subjects) => subjects.iter().any(|subject| self.names(subject, names)),
        };
        names_one
            && match (&scope.times, record.time) {
                (Times::Any, SeenTime::None | SeenTime::Usable(_) | SeenTime::Unusable) => true,
                (Times::Within(intervals), SeenTime::Usable(at)) => intervals.iter().any(|i| i.contains(at)),
                (Times::UpTo(last), SeenTime::Usable(at)) => at <= *last,
                (Times::UpTo(_), SeenTime::None | SeenTime::Unusable)
                | (Times::Unusable, SeenTime::Unusable) => true,
                (Times::UnusableBefore(until), SeenTime::Unusable) => self.may_be_parked(record, *until),
                (Times::Within(_), SeenTime::None | SeenTime::Unusable)
                | (Times::Unusable | Times::UnusableBefore(_), SeenTime::None | SeenTime::Usable(_)) => false,
            }
    }

    /// False only for a text that sorts like a time that is not due yet. What is no text sorts nowhere.
    fn may_be_parked(&self, record: &Judged<'_>, until: DateTime<Utc>) -> bool {
        match (&self.query.placement.event_time, record.time_text) {
            (Some(EventTime::Text { format, .. }), Some(text)) => {
                parked_until(format, until, self.usable).iter().any(|span| span.contains(text))
            }
            (
                Some(
                    EventTime::Text { .. }
                    | EventTime::Epoch { .. }
                    | EventTime::Key(_)
                    | EventTime::Modified,
                )
                | None,
                _,
            ) => true,
        }
    }

    fn names(&self, subject: &SubjectRef, names: Names<'_>) -> bool {
        let (Some(source), Some(value)) =
            (self.query.placement.subjects.get(&subject.kind), self.query.subjects.get(&subject.fingerprint))
        else {
            return false;
        };
        let wanted = source.format.write(value.expose());
        // An empty value would be found in every record that names nobody.
        !wanted.is_empty() && source.columns.iter().any(|column| names(subject, column, &wanted))
    }
}

fn covers(scope: &TenantScope, tenant: Option<&TenantId>) -> bool {
    match tenant {
        Some(tenant) => scope.covers(tenant),
        None => *scope == TenantScope::Nameless,
    }
}
