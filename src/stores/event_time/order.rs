//! How texts that begin with a date sort beside the instants that they mean, so that an index on them can lead.
//! It owns bounds only; what a text means is said by [`super::read_text`].

use chrono::{DateTime, Duration, Utc};

use super::{DEFAULT_FORMAT, Field, Part, Shape};
use crate::plan::Interval;

/// Texts from one to before another, compared as bytes; open where there is no bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextSpan {
    /// The first text inside.
    pub from: Option<String>,
    /// The first text outside.
    pub to: Option<String>,
}

impl TextSpan {
    /// True where the text lies inside.
    pub fn contains(&self, text: &str) -> bool {
        self.from.as_deref().is_none_or(|from| from <= text) && self.to.as_deref().is_none_or(|to| text < to)
    }
}

/// Texts of this format sort by date.
pub fn sorts_by_date(format: &str) -> bool {
    if format == DEFAULT_FORMAT {
        return true;
    }
    let Some(shape) = Shape::parse(format) else { return false };
    match shape.parts() {
        [
            Part::Number(Field::Year),
            Part::Literal(one),
            Part::Number(Field::Month),
            Part::Literal(two),
            Part::Number(Field::Day),
            ..,
        ] => one == "-" && two == "-",
        _ => false,
    }
}

/// A text before which every text sorts that means an earlier instant, in whatever zone: a text of the last day must
/// come before it whatever stands behind its date, so it is 25 hours and one more day later. `None` where the year
/// has not four digits, which does not sort.
pub fn text_after(instant: DateTime<Utc>) -> Option<String> {
    date(instant.checked_add_signed(Duration::hours(25 + 24))?)
}

/// A text that sorts before every text that means this instant or a later one; wider than any offset and any day that
/// was skipped. `None` as in [`text_after`].
pub fn text_before(instant: DateTime<Utc>) -> Option<String> {
    date(instant.checked_sub_signed(Duration::days(3))?)
}

/// Where texts lie that an age rule parks when it has come as far as `until`: all but those that sort between it and
/// the end of the usable span. Those are either usable, or unreadable and not due yet by any reading.
///
/// A date written with other separators or without zeros in front sorts behind the rest of its year; such texts of the
/// year of `until` belong as well, so that they are found when their year begins and not when it is over.
pub fn parked_until(format: &str, until: DateTime<Utc>, usable: Interval) -> Vec<TextSpan> {
    let everything = vec![TextSpan { from: None, to: None }];
    let bounds = (text_after(until.max(usable.from)), text_before(usable.to));
    let (true, (Some(low), Some(high))) = (sorts_by_date(format), bounds) else { return everything };
    if high <= low {
        return everything;
    }
    let year = &low[..4];
    let odd =
        [(format!("{year}-1-"), format!("{year}-1.")), (format!("{year}-2"), format!("{year}\u{10ffff}"))];
    let mut spans = vec![TextSpan { from: None, to: Some(low.clone()) }];
    for (from, to) in odd {
        let (from, to) = (from.max(low.clone()), to.min(high.clone()));
        if from < to {
            spans.push(TextSpan { from: Some(from), to: Some(to) });
        }
    }
    spans.push(TextSpan { from: Some(high), to: None });
    spans
}

fn date(instant: DateTime<Utc>) -> Option<String> {
    let text = instant.format("%Y-%m-%d").to_string();
    (text.len() == 10).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_parked(text: &str) -> bool {
        let utc = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let usable = Interval { from: utc("2000-01-01T00:00:00Z"), to: utc("2026-01-16T00:00:00Z") };
        let spans = parked_until(DEFAULT_FORMAT, utc("2024-06-30T00:00:00Z"), usable);
        let inside = spans.iter().filter(|span| span.contains(text)).count();
        assert!(inside < 2, "spans never overlap: {text}");
        inside == 1
    }

    #[test]
    fn what_sorts_before_the_due_date_or_after_the_present_may_be_parked() {
        for text in [
            "",
            "0000-00-00 00:00:00",
            "1999-12-31 23:59:59",
            "2024-06-30",
            "2024-07-01 23:59:59",
            "2024/09/01 00:00:00",
            "2024-7-1 00:00:00",
            "2024-1-31",
            "20241231",
            "2026-01-13",
            "9999-12-31 00:00:00",
            "soon",
        ] {
            assert!(is_parked(text), "{text}");
        }
        for text in ["2024-07-02", "2024-12-31 23:59:59", "2025-13-45", "2025/01/01", "2026-01-12 23:59:59"] {
            assert!(!is_parked(text), "{text}");
        }
    }

    #[test]
    fn texts_that_do_not_sort_by_date_may_all_be_parked() {
        let utc = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let usable = Interval { from: utc("2000-01-01T00:00:00Z"), to: utc("2026-01-16T00:00:00Z") };
        let everything = vec![TextSpan { from: None, to: None }];
        assert_eq!(parked_until("%d/%m/%Y", utc("2024-06-30T00:00:00Z"), usable), everything);
        assert_eq!(parked_until(DEFAULT_FORMAT, usable.to, usable), everything);
        assert_eq!(parked_until(DEFAULT_FORMAT, DateTime::<Utc>::MAX_UTC, usable), everything);
        assert_eq!(parked_until("%Y-%m-%d %H:%M", utc("2024-06-30T00:00:00Z"), usable).len(), 4);
    }
}
