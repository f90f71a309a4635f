//! Cron expressions with the meaning that crontab(5) gives them. It owns what an expression says and when it fires
//! next; it does not wait, and it does not know what is run.
//!
//! The `cron` crate does the search, on wall-clock time without a zone. What it means otherwise is translated here:
//! five fields (six: seconds first), weekdays 0–7 with 0 and 7 as Sunday, day of month *or* day of week where both
//! are restricted, and the clock changes below. `L`, `W`, `#`, `?` and a field of years are refused. Expressions fire
//! up to the end of the year 2100.
//!
//! # Clock changes
//! An expression whose hours begin with `*`, or are all 24, follows the clock: in a skipped hour it does not fire, in a repeated
//! one it fires twice. One with chosen hours fires once each: in a skipped hour at the first instant after the gap,
//! in a repeated one at its first turn.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

/// The `cron` crate knows no year after this one.
const LAST_YEAR: i32 = 2100;

/// A cron expression that fires at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronExpr {
    text: String,
    /// Two where day of month and day of week are both restricted: either is enough.
    schedules: Vec<cron::Schedule>,
    hours: Hours,
    pace: Pace,
}

/// What an expression does at a clock change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hours {
    /// Every hour, or every so many: it follows the clock.
    All,
    /// Chosen hours: once each.
    Chosen,
}

/// How often it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    EveryMinute,
    Slower,
}

/// Why a text is not a cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schedule `{expression}` is not valid: {why}")]
pub struct CronError {
    /// The text.
    pub expression: String,
    /// What is wrong with it, a lower-case fragment.
    pub why: String,
}

impl CronExpr {
    /// Reads five fields (minute, hour, day of month, month, day of week), six (seconds first), or one of `@yearly`,
    /// `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly`.
    ///
    /// A range may run over the end: `22-2` are the hours 22, 23, 0, 1 and 2.
    ///
    /// # Errors
    /// Where the text is not such an expression, or can never fire (`0 0 31 2 *`).
    pub fn parse(text: &str) -> Result<Self, CronError> {
        Self::read(text.trim()).map_err(|why| CronError { expression: text.to_owned(), why })
    }

    /// The first instant after another at which the expression fires on a zone's clock; `None` where there is none
    /// up to the end of 2100.
    pub fn next_after(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        self.schedules.iter().filter_map(|schedule| self.next_of(schedule, after, zone)).min()
    }

    /// True where it fires in every minute of every day: more often than a run usually takes.
    pub fn is_every_minute(&self) -> bool {
        match self.pace {
            Pace::EveryMinute => true,
            Pace::Slower => false,
        }
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn read(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = expand_nickname(text)?.split_ascii_whitespace().collect();
        let (second, fields) = match *fields.as_slice() {
            [minute, hour, day, month, weekday] => ("0", [minute, hour, day, month, weekday]),
            [second, minute, hour, day, month, weekday] => (second, [minute, hour, day, month, weekday]),
            [] => return Err("it is empty".to_owned()),
            _ => {
                return Err(format!(
                    "it has {} fields; write 5 (minute, hour, day of month, month, day of week), or 6 with seconds first",
                    fields.len()
                ));
            }
        };
        let [minute, hour, day, month, weekday] = fields;
        let second = SECOND.read(second)?;
        let minute = MINUTE.read(minute)?;
        let hour = HOUR.read(hour)?;
        let day = DAY.read(day)?;
        let month = MONTH.read(month)?;
        let weekday = WEEKDAY.read(weekday)?;

        let compose = |day: &Values, weekday: &Values| {
            let parts = [&second, &minute, &hour, day, &month].map(Values::as_numbers).join(" ");
            cron::Schedule::from_str(&format!("{parts} {}", weekday.as_weekdays()))
                .map_err(|error| format!("it cannot be read: {error}"))
        };
        // crontab(5): a day matches either field where both are restricted, that is, neither begins with a star.
        let (schedules, all_days) = if day.is_star || weekday.is_star {
            (vec![compose(&day, &weekday)?], day.is_full() && weekday.is_full())
        } else {
            let either = vec![compose(&day, &WEEKDAY.read("*")?)?, compose(&DAY.read("*")?, &weekday)?];
            (either, day.is_full() || weekday.is_full())
        };
        if schedules.iter().all(|schedule| schedule.after(&DateTime::<Utc>::UNIX_EPOCH).next().is_none()) {
            return Err("it never fires: no such month has such a day".to_owned());
        }
        let every_minute = minute.is_full() && hour.is_full() && month.is_full() && all_days;
        Ok(Self {
            text: text.to_owned(),
            schedules,
            hours: if hour.is_full() || hour.is_star { Hours::All } else { Hours::Chosen },
            pace: if every_minute { Pace::EveryMinute } else { Pace::Slower },
        })
    }

    /// Wall-clock times come in order, and so do their first instants. So the first of them that is after `after`
    /// ends the search; only the second turn of an earlier wall-clock time can still be before it.
    fn next_of(&self, schedule: &cron::Schedule, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let mut best: Option<DateTime<Utc>> = None;
        for wall in schedule.after(&self.begin(after, zone)?.and_utc()) {
            let (first, second) = self.instants_of(wall.naive_utc(), zone);
            if let Some(second) = second.filter(|second| *second > after) {
                best = Some(best.map_or(second, |best| best.min(second)));
            }
            if let Some(first) = first.filter(|first| *first > after) {
                return Some(best.map_or(first, |best| best.min(first)));
            }
        }
        best
    }

    /// The wall-clock time from which on candidates are asked for: that of `after`, or, in the first turn of a
    /// repeated hour, so much before that the second turn of its beginning is not missed.
    fn begin(&self, after: DateTime<Utc>, zone: Tz) -> Option<NaiveDateTime> {
        let utc = after.naive_utc();
        let local = utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix())?;
        let back = match (self.hours, zone.from_local_datetime(&local)) {
            (Hours::All, LocalResult::Ambiguous(_, second)) => {
                (second.to_utc() - after).max(TimeDelta::zero())
            }
            (Hours::All | Hours::Chosen, _) => TimeDelta::zero(),
        };
        let first = NaiveDate::from_ymd_opt(1970, 1, 1)?.and_hms_opt(0, 0, 0)?;
        let begin = local.checked_sub_signed(back)?.max(first);
        (begin.year() <= LAST_YEAR).then_some(begin)
    }

    /// When a wall-clock time fires: once, twice, or not at all.
    fn instants_of(&self, wall: NaiveDateTime, zone: Tz) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        match (zone.from_local_datetime(&wall), self.hours) {
            (LocalResult::Single(instant), Hours::All | Hours::Chosen) => (Some(instant.to_utc()), None),
            (LocalResult::Ambiguous(first, second), Hours::All) => {
                (Some(first.to_utc()), Some(second.to_utc()))
            }
            (LocalResult::Ambiguous(first, _), Hours::Chosen) => (Some(first.to_utc()), None),
            (LocalResult::None, Hours::All) => (None, None),
            (LocalResult::None, Hours::Chosen) => {
                let gap_end = GapInfo::new(&wall, &zone).and_then(|gap| gap.end);
                (gap_end.map(|end| end.to_utc()), None)
            }
        }
    }
}

impl std::fmt::Display for CronExpr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for CronExpr {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        Self::parse(text)
    }
}

fn expand_nickname(text: &str) -> Result<&str, String> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    match text {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ => Err(
            "of the names with `@` there are @yearly, @annually, @monthly, @weekly, @daily, @midnight and \
                  @hourly"
                .to_owned(),
        ),
    }
}

/// A field of an expression: what it may hold.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// From `min` on.
    names: &'static [&'static str],
    /// A second number for `min`: 7 for Sunday.
    alias: Option<u32>,
}

const SECOND: Field = Field { name: "second", min: 0, max: 59, names: &[], alias: None };
const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[], alias: None };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[], alias: None };
const DAY: Field = Field { name: "day of month", min: 1, max: 31, names: &[], alias: None };
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    alias: None,
};
const WEEKDAY: Field = Field {
    name: "day of week",
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    alias: Some(7),
};

/// The values that a field was found to hold.
struct Values {
    values: BTreeSet<u32>,
    /// The field begins with a star, which crontab(5) calls unrestricted even with a step.
    is_star: bool,
    /// How many there could be.
    possible: usize,
}

impl Values {
    fn is_full(&self) -> bool {
        self.values.len() == self.possible
    }

    fn as_numbers(&self) -> String {
        self.values.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
    }

    /// By name, because the `cron` crate counts from Sunday as 1.
    fn as_weekdays(&self) -> String {
        let names =
            self.values.iter().filter_map(|day| WEEKDAY.names.get(usize::try_from(*day).ok()?).copied());
        names.collect::<Vec<_>>().join(",")
    }
}

impl Field {
    /// A list of `*`, numbers, names and ranges; stars and ranges with or without a step.
    fn read(&self, text: &str) -> Result<Values, String> {
        let mut values = BTreeSet::new();
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(self.step(step)?)),
                None => (item, None),
            };
            let (from, to) = if range == "*" {
                (self.min, self.max)
            } else if let Some((from, to)) = range.split_once('-') {
                (self.value(from)?, self.value(to)?)
            } else if step.is_some() {
                return Err(format!(
                    "in the {}, a step needs a range: `{}-{}/…`, `*/…`",
                    self.name, range, self.max
                ));
            } else {
                let value = self.value(range)?;
                (value, value)
            };
            values.extend(self.range(from, to).step_by(step.unwrap_or(1)).map(|value| self.canonical(value)));
        }
        let possible = (self.min..=self.max).count();
        Ok(Values { values, is_star: text.starts_with('*'), possible })
    }

    /// Both ends inside; over the end of the field where it runs backwards.
    fn range(&self, from: u32, to: u32) -> Box<dyn Iterator<Item = u32>> {
        if from <= to { Box::new(from..=to) } else { Box::new((from..=self.max).chain(self.min..=to)) }
    }

    fn canonical(&self, value: u32) -> u32 {
        if self.alias == Some(value) { self.min } else { value }
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().zip(self.min..).find(|(name, _)| name.eq_ignore_ascii_case(text));
        if let Some((_, value)) = named {
            return Ok(value);
        }
        let max = self.alias.unwrap_or(self.max);
        number(text)
            .filter(|value| (self.min..=max).contains(value))
            .ok_or_else(|| format!("the {} `{text}` is not one of {} to {max}", self.name, self.min))
    }

    fn step(&self, text: &str) -> Result<usize, String> {
        number(text)
            .filter(|step| (1..=self.max).contains(step))
            .and_then(|step| usize::try_from(step).ok())
            .ok_or_else(|| format!("in the {}, the step `{text}` is not one of 1 to {}", self.name, self.max))
    }
}

/// Digits only: no sign, no blank.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGAPORE: Tz = Tz::Asia__Singapore;
    const NEW_YORK: Tz = Tz::America__New_York;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn fires(text: &str, from: &str, zone: Tz, times: usize) -> Vec<String> {
        let expression = CronExpr::parse(text).unwrap();
        let mut now = at(from);
        let mut fired = Vec::new();
        for _ in 0..times {
            now = expression.next_after(now, zone).unwrap();
            fired.push(now.with_timezone(&zone).format("%a %Y-%m-%dT%H:%M:%S%:z").to_string());
        }
        fired
    }

    fn why(text: &str) -> String {
        CronExpr::parse(text).unwrap_err().why
    }

    #[test]
    fn five_fields_fire_on_the_zone_s_clock() {
        assert_eq!(
            fires("0 3 * * *", "2025-08-31T02:59:59+08:00", SINGAPORE, 2),
            ["Sun 2025-08-31T03:00:00+08:00", "Mon 2025-09-01T03:00:00+08:00"]
        );
        // Strictly after, to the nanosecond.
        assert_eq!(
            fires("0 3 * * *", "2025-08-31T03:00:00+08:00", SINGAPORE, 1),
            ["Mon 2025-09-01T03:00:00+08:00"]
        );
        assert_eq!(
            fires("0 3 * * *", "2025-08-31T02:59:59.999999999+08:00", SINGAPORE, 1),
            ["Sun 2025-08-31T03:00:00+08:00"]
        );
        assert_eq!(
            fires("30 0 3 * * *", "2025-08-31T03:00:00+08:00", SINGAPORE, 1),
            ["Sun 2025-08-31T03:00:30+08:00"]
        );
    }

    #[test]
    fn weekdays_count_from_sunday_as_nought_and_seven() {
        let next = |weekday: &str| {
            let fired = fires(&format!("0 3 * * {weekday}"), "2025-08-31T12:00:00+08:00", SINGAPORE, 7);
            let mut days: Vec<String> = fired.iter().map(|text| text.chars().take(3).collect()).collect();
            days.dedup();
            days.join(" ")
        };
        assert_eq!(next("0"), "Sun");
        assert_eq!(next("7"), "Sun");
        assert_eq!(next("SUN"), "Sun");
        assert_eq!(next("1"), "Mon");
        assert_eq!(next("6"), "Sat");
        assert_eq!(next("1-5"), "Mon Tue Wed Thu Fri Mon Tue");
        assert_eq!(next("mon-fri"), next("1-5"));
        assert_eq!(next("5-7"), "Fri Sat Sun Fri Sat Sun Fri");
        assert_eq!(next("fri-sun"), next("5-7"));
        assert_eq!(next("sat-mon"), "Mon Sat Sun Mon Sat Sun Mon");
        assert_eq!(next("0,3"), "Wed Sun Wed Sun Wed Sun Wed");
        assert_eq!(next("1-7/2"), "Mon Wed Fri Sun Mon Wed Fri");
    }

    #[test]
    fn a_day_of_month_or_a_day_of_week_is_enough_where_both_are_given() {
        assert_eq!(
            fires("0 0 13 * 5", "2026-02-10T00:00:00Z", Tz::UTC, 4),
            [
                "Fri 2026-02-13T00:00:00+00:00",
                "Fri 2026-02-20T00:00:00+00:00",
                "Fri 2026-02-27T00:00:00+00:00",
                "Fri 2026-03-06T00:00:00+00:00",
            ]
        );
        assert_eq!(
            fires("0 0 1 * 1", "2026-02-27T00:00:00Z", Tz::UTC, 3),
            [
                "Sun 2026-03-01T00:00:00+00:00",
                "Mon 2026-03-02T00:00:00+00:00",
                "Mon 2026-03-09T00:00:00+00:00"
            ]
        );
        // A star with a step counts as unrestricted, so both must hold.
        assert_eq!(
            fires("0 0 */2 * 1", "2026-02-27T00:00:00Z", Tz::UTC, 2),
            ["Mon 2026-03-09T00:00:00+00:00", "Mon 2026-03-23T00:00:00+00:00"]
        );
    }

    #[test]
    fn a_range_may_run_over_the_end() {
        let hours = fires("0 22-2 * * *", "2025-08-31T12:00:00Z", Tz::UTC, 6);
        let hours: Vec<&str> = hours.iter().filter_map(|text| text.get(15..17)).collect();
        assert_eq!(hours, ["22", "23", "00", "01", "02", "22"]);
    }

    #[test]
    fn names_with_an_at_sign_stand_for_expressions() {
        for (name, expression) in [
            ("@yearly", "0 0 1 1 *"),
            ("@annually", "0 0 1 1 *"),
            ("@monthly", "0 0 1 * *"),
            ("@weekly", "0 0 * * 0"),
            ("@daily", "0 0 * * *"),
            ("@midnight", "0 0 * * *"),
            ("@hourly", "0 * * * *"),
        ] {
            let from = "2025-08-31T12:00:00Z";
            assert_eq!(fires(name, from, SINGAPORE, 3), fires(expression, from, SINGAPORE, 3), "{name}");
        }
        assert!(why("@reboot").contains("@daily"));
    }

    #[test]
    fn what_is_not_an_expression_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("* * * *", "it has 4 fields"),
            ("0 0 0 1 1 * 2025", "it has 7 fields"),
            ("60 * * * *", "the minute `60` is not one of 0 to 59"),
            ("* 24 * * *", "the hour `24` is not one of 0 to 23"),
            ("* * 0 * *", "the day of month `0` is not one of 1 to 31"),
            ("* * * 13 *", "the month `13` is not one of 1 to 12"),
            ("* * * * 8", "the day of week `8` is not one of 0 to 7"),
            ("60 * * * * *", "the second `60` is not one of 0 to 59"),
            ("0 0 31 2 *", "it never fires"),
            ("0 0 30 feb *", "it never fires"),
            ("0 0 31 4,6,9,11 *", "it never fires"),
            ("*/0 * * * *", "in the minute, the step `0` is not one of 1 to 59"),
            ("5/15 * * * *", "in the minute, a step needs a range"),
            ("*/ * * * *", "in the minute, the step `` is not"),
            ("1, * * * *", "the minute `` is not"),
            ("-1 * * * *", "the minute `` is not"),
            ("+1 * * * *", "the minute `+1` is not"),
            ("1--2 * * * *", "the minute `-2` is not"),
            ("* * L * *", "the day of month `L` is not"),
            ("* * ? * *", "the day of month `?` is not"),
            ("* * * * 5#2", "the day of week `5#2` is not"),
            ("* * * * monday", "the day of week `monday` is not"),
            ("99999999999 * * * *", "the minute `99999999999` is not"),
        ] {
            assert!(why(text).starts_with(reason), "{text}: {}", why(text));
        }
        let error = CronExpr::parse("60 * * * *").unwrap_err().to_string();
        assert_eq!(error, "schedule `60 * * * *` is not valid: the minute `60` is not one of 0 to 59");
    }

    #[test]
    fn a_day_that_only_leap_years_have_is_waited_for() {
        assert_eq!(
            fires("0 0 29 2 *", "2025-01-01T00:00:00Z", Tz::UTC, 2),
            ["Tue 2028-02-29T00:00:00+00:00", "Sun 2032-02-29T00:00:00+00:00"]
        );
    }

    #[test]
    fn a_chosen_hour_that_is_skipped_fires_right_after_the_gap() {
        assert_eq!(
            fires("30 2 * * *", "2026-03-08T01:00:00-05:00", NEW_YORK, 2),
            ["Sun 2026-03-08T03:00:00-04:00", "Mon 2026-03-09T02:30:00-04:00"]
        );
    }

    #[test]
    fn a_chosen_hour_that_is_repeated_fires_at_its_first_turn_only() {
        assert_eq!(
            fires("30 1 * * *", "2026-11-01T00:00:00-04:00", NEW_YORK, 2),
            ["Sun 2026-11-01T01:30:00-04:00", "Mon 2026-11-02T01:30:00-05:00"]
        );
        let from_the_second_turn = fires("30 1 * * *", "2026-11-01T01:10:00-05:00", NEW_YORK, 1);
        assert_eq!(from_the_second_turn, ["Mon 2026-11-02T01:30:00-05:00"]);
    }

    #[test]
    fn every_hour_follows_the_clock() {
        assert_eq!(
            fires("*/30 * * * *", "2026-11-01T01:00:00-04:00", NEW_YORK, 4),
            [
                "Sun 2026-11-01T01:30:00-04:00",
                "Sun 2026-11-01T01:00:00-05:00",
                "Sun 2026-11-01T01:30:00-05:00",
                "Sun 2026-11-01T02:00:00-05:00",
            ]
        );
        assert_eq!(
            fires("*/30 * * * *", "2026-03-08T01:30:00-05:00", NEW_YORK, 2),
            ["Sun 2026-03-08T03:00:00-04:00", "Sun 2026-03-08T03:30:00-04:00"]
        );
    }

    #[test]
    fn every_minute_is_told_from_slower() {
        for text in ["* * * * *", "*/1 0-23 1-31 * *", "30 * * * * *", "* * * * * *", "* * * * 0-6"] {
            assert!(CronExpr::parse(text).unwrap().is_every_minute(), "{text}");
        }
        for text in
            ["*/2 * * * *", "* 3 * * *", "* * 1 * *", "* * * 1 *", "* * * * 1", "* * */2 * *", "@hourly"]
        {
            assert!(!CronExpr::parse(text).unwrap().is_every_minute(), "{text}");
        }
    }

    #[test]
    fn the_ends_of_the_calendar_are_no_trouble() {
        let daily = CronExpr::parse("@daily").unwrap();
        for zone in [Tz::UTC, SINGAPORE, NEW_YORK] {
            assert_eq!(daily.next_after(DateTime::<Utc>::MAX_UTC, zone), None);
            assert!(daily.next_after(at("0001-01-01T00:00:00Z"), zone).is_some());
            assert!(daily.next_after(DateTime::<Utc>::UNIX_EPOCH, zone).is_some());
            let _ = daily.next_after(DateTime::<Utc>::MIN_UTC, zone);
        }
        assert_eq!(daily.next_after(at("2100-12-31T00:00:00Z"), Tz::UTC), None);
    }
}
