//! Sets of points on a line of nanoseconds, as half-open spans. It owns their algebra; it knows no calendar.

/// Nanoseconds since the Unix epoch, of an instant or of a local reading. Wide enough that sums of anything in the
/// calendar cannot overflow.
pub(super) type Nanos = i128;

/// A second.
pub(super) const SECOND: Nanos = 1_000_000_000;

/// A day of 24 hours.
pub(super) const DAY: Nanos = 86_400 * SECOND;

/// Half open: `from <= point < to`. Empty where `to <= from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// The first point inside.
    pub(super) from: Nanos,
    /// The first point outside.
    pub(super) to: Nanos,
}

impl Span {
    /// An open start: far before the calendar's beginning, near enough that shifting it cannot overflow.
    pub(super) const OPEN: Nanos = -(1 << 100);

    /// True where the point lies inside.
    pub(super) fn contains(self, point: Nanos) -> bool {
        self.from <= point && point < self.to
    }

    /// Moved by a distance.
    pub(super) fn shifted(self, by: Nanos) -> Self {
        Self { from: self.from + by, to: self.to + by }
    }

    /// What both hold.
    pub(super) fn intersection(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), to: self.to.min(other.to) }
    }

    fn is_empty(self) -> bool {
        self.to <= self.from
    }
}

/// The same points, sorted, disjoint, with touching spans joined and empty ones gone.
pub(super) fn merge(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| !span.is_empty());
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.from <= last.to => last.to = last.to.max(span.to),
            Some(_) | None => merged.push(span),
        }
    }
    merged
}

/// The points of the first set that are not in the second. Both are merged.
pub(super) fn subtract(spans: &[Span], without: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    for span in spans {
        let mut rest = *span;
        for hole in without.iter().filter(|hole| hole.to > span.from && hole.from < span.to) {
            left.push(Span { from: rest.from, to: hole.from });
            rest.from = rest.from.max(hole.to);
        }
        left.push(rest);
    }
    merge(left)
}
