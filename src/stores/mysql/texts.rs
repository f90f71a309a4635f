//! Event times that are written as text: the rule of `stores::event_time` once more, in expressions of the server. Every
//! readable text is rewritten to one form that sorts as the instants do, and only that is compared.
//!
//! The form is `YYYY-MM-DD HH:MM:SS.nnnnnnnnn`: local time where the text names no offset, else UTC. Nothing but
//! texts of the right shape reaches an expression that could fail, since an erasing statement fails with it.

use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;

use super::catalogue::{Column, Kind};
use super::values::{bytes_of, utf8_of};
use crate::plan::Interval;
use crate::plan::due::local_intervals;
use crate::stores::event_time::order::{parked_until, sorts_by_date, text_after, text_before};
use crate::stores::event_time::{self, DEFAULT_FORMAT, Field, Part, Shape};
use crate::stores::sql::Sql;

/// A day that exists, from 0002 to 9998: beyond lies nothing plausible, and arithmetic of the server ends there.
pub(super) const DATE: &str = "(?:(?!000[01]|9999)(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])\
     |(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))\
     |(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29))";

const CLOCK: &str = "(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]|23:59:60)";

/// The longest text of the default format: date, time, nine digits, offset.
const LONGEST: usize = 35;

/// A text column and how its values are read.
#[derive(Debug, Clone)]
pub(super) struct TextClock {
    /// The bare column, for an index.
    lead: String,
    /// Its bytes.
    bytes: String,
    /// True where the column's own order is that of its bytes.
    sorts_as_bytes: bool,
    format: String,
    zone: Tz,
    /// The text is readable, as far as its shape and its day go.
    is_readable: Sql,
    /// The text names an offset.
    is_zoned: Option<String>,
    /// Its local time, in the one form.
    local: String,
    /// Its instant, in the one form.
    utc: String,
}

impl TextClock {
    /// `None` for a format that is none.
    pub(super) fn new(column: &Column, format: &str, zone: Tz) -> Option<Self> {
        let x = utf8_of(column);
        let is_binary =
            |kind: &Kind| matches!(kind, Kind::Text { collation, .. } if collation.ends_with("_bin"));
        let sorts_as_bytes = column.kind == Kind::Bytes || is_binary(&column.kind);
        let own = Self {
            lead: column.sql.clone(),
            bytes: bytes_of(column),
            sorts_as_bytes,
            format: format.to_owned(),
            zone,
            is_readable: Sql::never(),
            is_zoned: None,
            local: String::new(),
            utc: String::new(),
        };
        if format == DEFAULT_FORMAT { Some(own.iso(&x)) } else { own.shaped(&x, &Shape::parse(format)?) }
    }

    /// The zone of texts that name none.
    pub(super) fn zone(&self) -> Tz {
        self.zone
    }

    /// True where texts may name an offset, so that there are two kinds of extremes.
    pub(super) fn has_zoned(&self) -> bool {
        self.is_zoned.is_some()
    }

    /// The instant that a text means.
    pub(super) fn read(&self, text: &str) -> Option<DateTime<Utc>> {
        event_time::read_text(text, &self.format, self.zone)
    }

    /// The text means an instant in one of these.
    pub(super) fn inside(&self, intervals: &[Interval]) -> Sql {
        let between = |value: &str, from: NaiveDateTime, to: NaiveDateTime| {
            let bound =
                |local: NaiveDateTime| Sql::new("CAST(").bind_text(one_form(local)).push(" AS BINARY)");
            let value = format!("CAST({value} AS BINARY)");
            Sql::new(&value)
                .push(" >= ")
                .append(&bound(from))
                .push(&format!(" AND {value} < "))
                .append(&bound(to))
        };
        let locals: Vec<Sql> = local_intervals(intervals, self.zone)
            .iter()
            .map(|span| between(&self.local, span.from, span.to))
            .collect();
        let mut exact =
            Sql::new("CASE WHEN NOT COALESCE(").append(&self.is_readable).push(", FALSE) THEN FALSE ");
        if let Some(is_zoned) = &self.is_zoned {
            let instants: Vec<Sql> = intervals
                .iter()
                .map(|span| between(&self.utc, span.from.naive_utc(), span.to.naive_utc()))
                .collect();
            exact = exact.push(&format!("WHEN {is_zoned} THEN ")).append(&Sql::any(&instants)).push(" ");
        }
        let exact = exact.push("ELSE ").append(&Sql::any(&locals)).push(" END");
        let mut conditions = self.coarse(intervals);
        conditions.push(exact);
        Sql::all(&conditions)
    }

    /// Where texts lie that may be parked.
    pub(super) fn parked_until(&self, until: DateTime<Utc>, usable: Interval) -> Sql {
        let value = if self.sorts_as_bytes { &self.lead } else { &self.bytes };
        let bound = |sign: &str, text: &str| {
            Sql::new(value).push(sign).push("CAST(").bind_bytes(text).push(" AS BINARY)")
        };
        let mut ranges = vec![Sql::new(&self.lead).push(" IS NULL")];
        for span in parked_until(&self.format, until, usable) {
            let from = span.from.map(|text| bound(" >= ", &text));
            let to = span.to.map(|text| bound(" < ", &text));
            ranges.push(Sql::all(&[from, to].into_iter().flatten().collect::<Vec<_>>()));
        }
        Sql::any(&ranges)
    }

    /// The earliest and the latest: of the texts without an offset, and of those with one.
    pub(super) fn extremes(&self, condition: &Sql, both: impl Fn(&str, &Sql) -> Sql) -> Sql {
        let Some(is_zoned) = &self.is_zoned else { return both(&self.local, condition) };
        let plain = Sql::all(&[condition.clone(), Sql::new("NOT ").push(is_zoned)]);
        let zoned = Sql::all(&[condition.clone(), Sql::new(is_zoned)]);
        both(&self.local, &plain).push(", ").append(&both(&self.utc, &zoned))
    }

    /// Bounds on the text itself, by date, for an index. They leave out nothing that the exact part would take: what
    /// is readable begins with digits and hyphens in the same places, which every collation sorts alike.
    fn coarse(&self, intervals: &[Interval]) -> Vec<Sql> {
        if !sorts_by_date(&self.format) {
            return Vec::new();
        }
        let lower = intervals.iter().map(|span| span.from).min().and_then(text_before);
        let upper = intervals.iter().map(|span| span.to).max().and_then(text_after);
        let bound = |sign: &str, text: String| Sql::new(&self.lead).push(sign).bind_text(text);
        [lower.map(|text| bound(" >= ", text)), upper.map(|text| bound(" < ", text))]
            .into_iter()
            .flatten()
            .collect()
    }

    fn iso(mut self, x: &str) -> Self {
        let pattern = format!(
            "^{DATE}(?:[ T]{CLOCK}(?:\\.[0-9]{{1,9}})?(?:Z|(?!-00:00)[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?)?\\z"
        );
        self.is_readable =
            Sql::new(&format!("(CHAR_LENGTH({x}) <= {LONGEST} AND {x} REGEXP ")).bind_text(pattern).push(")");
        let has_offset = format!(
            "(CHAR_LENGTH({x}) > 19 AND (RIGHT({x}, 1) = 'Z' OR SUBSTRING({x}, -6, 1) IN ('+', '-')))"
        );
        let date = format!("LEFT({x}, 10)");
        let clock = format!("SUBSTRING({x}, 12, 8)");
        let second = leap(&date, &clock);
        let fraction = format!(
            "CASE WHEN SUBSTRING({x}, 20, 1) = '.' THEN RPAD(REGEXP_SUBSTR(SUBSTRING({x}, 21), '^[0-9]+'), 9, '0') \
             ELSE '000000000' END"
        );
        self.local = format!(
            "CASE WHEN CHAR_LENGTH({x}) = 10 THEN CONCAT({x}, ' 23:59:59.999999999') \
             ELSE CONCAT({second}, '.', {fraction}) END"
        );
        let minutes = format!(
            "CASE WHEN RIGHT({x}, 1) = 'Z' THEN 0 ELSE CASE SUBSTRING({x}, -6, 1) WHEN '-' THEN -1 ELSE 1 END \
             * (CAST(SUBSTRING({x}, -5, 2) AS SIGNED) * 60 + CAST(RIGHT({x}, 2) AS SIGNED)) END"
        );
        self.utc = format!(
            "CONCAT(CAST(DATE_SUB(CAST({second} AS DATETIME), INTERVAL ({minutes}) MINUTE) AS CHAR), '.', {fraction})"
        );
        self.is_zoned = Some(has_offset);
        self
    }

    /// Every part of another format stands in a place of its own.
    fn shaped(mut self, x: &str, shape: &Shape) -> Option<Self> {
        let mut place = 1;
        let mut pattern = String::from("^");
        let mut at = std::collections::BTreeMap::new();
        for part in shape.parts() {
            match part {
                Part::Literal(literal) => {
                    pattern.push_str(&escaped(literal));
                    place += literal.chars().count();
                }
                Part::Number(field) => {
                    pattern.push_str(&format!("[0-9]{{{}}}", field.width()));
                    at.insert(*field, format!("SUBSTRING({x}, {place}, {})", field.width()));
                    place += field.width();
                }
                Part::Segment(_) => return None,
            }
        }
        pattern.push_str("\\z");
        let part = |field: Field, late: &str| at.get(&field).cloned().unwrap_or_else(|| format!("'{late}'"));
        let date = format!(
            "CONCAT({}, '-', {}, '-', {})",
            at.get(&Field::Year)?,
            at.get(&Field::Month)?,
            at.get(&Field::Day)?
        );
        let (hour, minute, second) =
            (part(Field::Hour, "23"), part(Field::Minute, "59"), part(Field::Second, "59"));
        let clock = format!("CONCAT({hour}, ':', {minute}, ':', {second})");
        let fraction = if at.contains_key(&Field::Second) { "000000000" } else { "999999999" };
        self.is_readable = Sql::new(&format!("(CHAR_LENGTH({x}) = {} AND {x} REGEXP ", place - 1))
            .bind_text(pattern)
            .push(&format!(" AND {date} REGEXP "))
            .bind_text(format!("^{DATE}\\z"))
            .push(&format!(" AND {clock} REGEXP "))
            .bind_text(format!("^{CLOCK}\\z"))
            .push(")");
        self.local = format!("CONCAT({}, '.{fraction}')", leap(&date, &clock));
        self.utc = "NULL".to_owned();
        Some(self)
    }
}

/// Date and time of day; a leap second is the first second of the next day.
fn leap(date: &str, clock: &str) -> String {
    format!(
        "CASE {clock} WHEN '23:59:60' THEN CONCAT(CAST(DATE_ADD({date}, INTERVAL 1 DAY) AS CHAR), ' 00:00:00') \
         ELSE CONCAT({date}, ' ', {clock}) END"
    )
}

/// A literal text in a regular expression.
fn escaped(literal: &str) -> String {
    let mut escaped = String::new();
    for character in literal.chars() {
        if character.is_ascii() && !character.is_ascii_alphanumeric() {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The form in which times are compared. What has no four digits of a year lies beyond all that is readable.
fn one_form(local: NaiveDateTime) -> String {
    let text = local.format("%Y-%m-%d %H:%M:%S%.9f").to_string();
    if text.len() == 29 { text } else { "9999-12-31 23:59:59.999999999".to_owned() }
}
