//! What is next, and when: the ticks of the schedule, requests whose delay is over, retries, and deadlines that a rare
//! schedule would miss. It owns these instants and nothing else: it asks nobody what time it is and starts nothing.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::schedule::CronExpr;

/// The first pause after a run that failed; doubled each time.
const RETRY_MIN: TimeDelta = TimeDelta::minutes(1);

/// The longest pause between tries: a store that came back is noticed within the hour, and a deadline of a day still
/// leaves two dozen tries.
const RETRY_MAX: TimeDelta = TimeDelta::hours(1);

/// Doublings that lead from the shortest pause past the longest.
const RETRY_DOUBLINGS: u32 = 6;

/// However short a deadline is, runs for its sake are not closer together than this.
const DEADLINE_PAUSE_MIN: TimeDelta = TimeDelta::hours(1);

/// Everything that the next run depends on.
#[derive(Debug, Clone)]
pub struct Outlook<'a> {
    /// The schedule.
    pub cron: &'a CronExpr,
    /// On which clock it fires.
    pub zone: Tz,
    /// The last instant of the schedule that somebody attended to.
    pub ticked: DateTime<Utc>,
    /// Since when there is a schedule at all: what was missed before is not made up.
    pub begun: DateTime<Utc>,
    /// Up to which instant everything that was due has been tried: the instant of the last run; `None` before the first.
    pub tried: Option<DateTime<Utc>>,
    /// When each open request may be acted on.
    pub requests: Vec<DateTime<Utc>>,
    /// What falls due for whole tenants, and by when it is gone.
    pub windows: Vec<Window>,
    /// The shortest time that an age rule gives between due and gone.
    pub age_deadline: Option<TimeDelta>,
    /// Runs that failed, one after the other, since the last that did not.
    pub failed: Option<Failed>,
    /// A run began at this instant and never came to its end.
    pub unfinished: Option<DateTime<Utc>>,
    /// Since this instant something may be erased that was kept before: a hold was released, a stop lifted.
    pub freed: Option<DateTime<Utc>>,
}

/// From when on something may be erased, and by when it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From when on.
    pub due_at: DateTime<Utc>,
    /// By when.
    pub deadline: DateTime<Utc>,
}

/// Runs that failed one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// How many.
    pub times: u32,
    /// When the last of them ended.
    pub at: DateTime<Utc>,
}

/// Why a run is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A run that broke off is taken up again.
    Unfinished,
    /// The schedule says so.
    Tick,
    /// A request has waited long enough.
    Request,
    /// A hold was released or the emergency stop lifted.
    Freed,
    /// The last run failed.
    Retry,
    /// The schedule is so rare that a deadline would come first.
    Deadline,
}

impl Cause {
    /// The word in the log, and the name under which its instants are claimed in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unfinished => "unfinished",
            Self::Tick => "run",
            Self::Request => "request",
            Self::Freed => "freed",
            Self::Retry => "retry",
            Self::Deadline => "deadline",
        }
    }
}

/// A run, its instant and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Appointment {
    /// When.
    pub at: DateTime<Utc>,
    /// Why.
    pub cause: Cause,
}

impl Outlook<'_> {
    /// True where no run has tried what is due from this instant on.
    fn is_untried(&self, instant: DateTime<Utc>) -> bool {
        self.tried.is_none_or(|tried| instant > tried)
    }
}

/// What comes, soonest first; what lies at or before `now` is due.
///
/// *Properties.* A schedule's missed instants are one appointment, at the last of them. Nothing comes back that a run at
/// or after its instant has tried; what such a run left undone comes back as a retry or with the next tick.
pub fn appointments(outlook: &Outlook<'_>, now: DateTime<Utc>) -> Vec<Appointment> {
    let request = outlook.requests.iter().copied().filter(|ready| outlook.is_untried(*ready)).min();
    let freed = outlook.freed.filter(|since| outlook.is_untried(*since));
    let found = [
        (outlook.unfinished, Cause::Unfinished),
        (tick(outlook, now), Cause::Tick),
        (request, Cause::Request),
        (freed, Cause::Freed),
        (outlook.failed.map(retry_at), Cause::Retry),
        (deadline(outlook), Cause::Deadline),
    ];
    let mut all: Vec<Appointment> =
        found.into_iter().filter_map(|(at, cause)| Some(Appointment { at: at?, cause })).collect();
    all.sort();
    all
}

/// The last instant of the schedule up to now that nobody attended to, or else the next one.
fn tick(outlook: &Outlook<'_>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let next = |after| outlook.cron.next_after(after, outlook.zone);
    let first = next(outlook.ticked)?;
    if first > now {
        return Some(first);
    }
    // Looked for backwards in steps that double, so that a year of missed minutes is not walked through one by one.
    let mut back = TimeDelta::minutes(1);
    let mut last = loop {
        let from = (now - back).max(outlook.ticked);
        match next(from).filter(|fires| *fires <= now) {
            Some(fires) => break fires,
            None if from == outlook.ticked => return Some(first),
            None => back = back + back,
        }
    };
    while let Some(later) = next(last).filter(|fires| *fires <= now) {
        last = later;
    }
    Some(last)
}

/// When a run that failed is tried again; it is never given up.
fn retry_at(failed: Failed) -> DateTime<Utc> {
    let doublings = failed.times.saturating_sub(1).min(RETRY_DOUBLINGS);
    failed.at + (RETRY_MIN * (1 << doublings)).min(RETRY_MAX)
}

/// The latest instant at which a run still leaves half of the time that every promise gives between due and gone. A
/// schedule that comes round sooner has made its run by then, and nothing is added to it.
fn deadline(outlook: &Outlook<'_>) -> Option<DateTime<Utc>> {
    // A run by hand long before there was a schedule is no reason to begin with one.
    let last = outlook.tried.map_or(outlook.begun, |tried| tried.max(outlook.begun));
    let by_age = outlook.age_deadline.map(|given| last + (given / 2).max(DEADLINE_PAUSE_MIN));
    let untried = outlook.windows.iter().filter(|window| outlook.is_untried(window.due_at));
    let halfway = untried.map(|window| {
        let given = (window.deadline - window.due_at).max(TimeDelta::zero());
        window.due_at + given / 2
    });
    halfway.chain(by_age).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: TimeDelta = TimeDelta::nanoseconds(1);

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn cron(text: &str) -> CronExpr {
        CronExpr::parse(text).unwrap()
    }

    /// Nightly at half past two in Singapore, last attended to on 10 June.
    fn outlook(cron: &CronExpr) -> Outlook<'_> {
        Outlook {
            cron,
            zone: Tz::Asia__Singapore,
            ticked: at("2025-06-10T02:30:00+08:00"),
            begun: at("2025-06-01T00:00:00+08:00"),
            tried: Some(at("2025-06-10T02:30:00+08:00")),
            requests: Vec::new(),
            windows: Vec::new(),
            age_deadline: None,
            failed: None,
            unfinished: None,
            freed: None,
        }
    }

    fn first(outlook: &Outlook<'_>, now: &str) -> (DateTime<Utc>, Cause) {
        let all = appointments(outlook, at(now));
        let first = all.first().expect("there is always a next one");
        (first.at, first.cause)
    }

    #[test]
    fn the_next_tick_comes_on_the_schedule_s_own_clock() {
        let nightly = cron("30 2 * * *");
        let next = (at("2025-06-11T02:30:00+08:00"), Cause::Tick);
        assert_eq!(first(&outlook(&nightly), "2025-06-10T02:30:00+08:00"), next);
        assert_eq!(first(&outlook(&nightly), "2025-06-11T02:29:59.999999999+08:00"), next);
        assert_eq!(first(&outlook(&nightly), "2025-06-11T02:30:00+08:00"), next, "it is due");
    }

    #[test]
    fn missed_ticks_are_made_up_once_by_the_last_of_them() {
        let nightly = cron("30 2 * * *");
        let last = (at("2025-06-20T02:30:00+08:00"), Cause::Tick);
        assert_eq!(first(&outlook(&nightly), "2025-06-20T02:30:00+08:00"), last);
        assert_eq!(first(&outlook(&nightly), "2025-06-20T23:00:00+08:00"), last);
        let attended = Outlook { ticked: last.0, ..outlook(&nightly) };
        let next = (at("2025-06-21T02:30:00+08:00"), Cause::Tick);
        assert_eq!(first(&attended, "2025-06-20T23:00:00+08:00"), next);
    }

    #[test]
    fn a_year_of_missed_minutes_is_made_up_by_the_last_one() {
        let minutely = cron("* 3 * * *");
        let last = (at("2026-06-10T03:59:00+08:00"), Cause::Tick);
        assert_eq!(first(&outlook(&minutely), "2026-06-10T12:00:00+08:00"), last);
        let yearly = cron("0 0 1 7 *");
        let only = (at("2025-07-01T00:00:00+08:00"), Cause::Tick);
        assert_eq!(first(&outlook(&yearly), "2026-06-30T23:59:59+08:00"), only);
    }

    #[test]
    fn a_request_is_due_when_its_delay_is_over_and_once_only() {
        let nightly = cron("30 2 * * *");
        let ready = at("2025-06-10T12:00:00+08:00");
        let asked = Outlook { requests: vec![ready], ..outlook(&nightly) };
        assert_eq!(first(&asked, "2025-06-10T11:59:59+08:00"), (ready, Cause::Request));
        let tried = |tried| Outlook { tried: Some(tried), ..asked.clone() };
        assert_eq!(first(&tried(ready - TICK), "2025-06-10T12:00:00+08:00"), (ready, Cause::Request));
        assert_eq!(first(&tried(ready), "2025-06-10T12:00:00+08:00").1, Cause::Tick, "a run has tried it");
    }

    #[test]
    fn before_the_first_run_only_what_somebody_asked_for_is_due() {
        let nightly = cron("30 2 * * *");
        let begun = at("2025-06-10T12:00:00+08:00");
        let age_deadline = Some(TimeDelta::days(2));
        let new = Outlook { begun, ticked: begun, tried: None, age_deadline, ..outlook(&nightly) };
        let next = (at("2025-06-11T02:30:00+08:00"), Cause::Tick);
        assert_eq!(first(&new, "2025-06-10T12:00:00+08:00"), next);
        let by_hand = Outlook { tried: Some(at("2021-01-02T00:00:00Z")), ..new.clone() };
        assert_eq!(first(&by_hand, "2025-06-10T12:00:00+08:00"), next, "a run by hand, years ago");
        let ready = at("2025-06-09T00:00:00+08:00");
        let asked = Outlook { requests: vec![ready], ..new };
        assert_eq!(first(&asked, "2025-06-10T12:00:00+08:00"), (ready, Cause::Request));
    }

    #[test]
    fn a_failed_run_is_retried_with_pauses_that_double_up_to_an_hour_and_never_end() {
        let yearly = cron("0 0 1 1 *");
        let ended = at("2025-06-10T03:00:00+08:00");
        for (times, minutes) in
            [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60), (1_000, 60)]
        {
            let failed = Some(Failed { times, at: ended });
            let outlook = Outlook { failed, ..outlook(&yearly) };
            let again = (ended + TimeDelta::minutes(minutes), Cause::Retry);
            assert_eq!(first(&outlook, "2025-06-10T03:00:00+08:00"), again, "after {times}");
        }
    }

    #[test]
    fn a_schedule_that_is_rarer_than_a_deadline_is_helped_out_halfway() {
        let monthly = cron("0 0 1 * *");
        let aged = Outlook { age_deadline: Some(TimeDelta::days(2)), ..outlook(&monthly) };
        let next = (at("2025-06-11T02:30:00+08:00"), Cause::Deadline);
        assert_eq!(first(&aged, "2025-06-10T12:00:00+08:00"), next);
        let nightly = cron("30 2 * * *");
        let nightly = Outlook { age_deadline: Some(TimeDelta::days(3)), ..outlook(&nightly) };
        assert_eq!(first(&nightly, "2025-06-10T12:00:00+08:00").1, Cause::Tick);
        let none = Outlook { age_deadline: Some(TimeDelta::zero()), ..outlook(&monthly) };
        assert_eq!(first(&none, "2025-06-10T12:00:00+08:00").0, at("2025-06-10T03:30:00+08:00"));
    }

    #[test]
    fn what_a_termination_leaves_between_grace_and_deadline_is_used_up_to_the_half() {
        let yearly = cron("0 0 1 1 *");
        let (due_at, deadline) = (at("2025-06-15T00:00:00+08:00"), at("2025-06-30T00:00:00+08:00"));
        let ended = Outlook { windows: vec![Window { due_at, deadline }], ..outlook(&yearly) };
        let halfway = at("2025-06-22T12:00:00+08:00");
        assert_eq!(first(&ended, "2025-06-15T00:00:00+08:00"), (halfway, Cause::Deadline));
        let tried = Outlook { tried: Some(due_at), ..ended.clone() };
        assert_eq!(first(&tried, "2025-06-15T00:00:00+08:00").1, Cause::Tick, "a run has tried it");
        let late = Outlook { windows: vec![Window { due_at: deadline, deadline: due_at }], ..ended };
        assert_eq!(first(&late, "2025-06-15T00:00:00+08:00"), (deadline, Cause::Deadline), "past it already");
    }

    #[test]
    fn what_was_left_unfinished_or_let_go_comes_at_once() {
        let nightly = cron("30 2 * * *");
        let since = at("2025-06-10T05:00:00+08:00");
        let unfinished = Outlook { unfinished: Some(since), freed: Some(since), ..outlook(&nightly) };
        assert_eq!(first(&unfinished, "2025-06-10T05:00:00+08:00"), (since, Cause::Unfinished));
        let freed = Outlook { unfinished: None, ..unfinished };
        assert_eq!(first(&freed, "2025-06-10T05:00:00+08:00"), (since, Cause::Freed));
        let tried = Outlook { tried: Some(since), ..freed };
        assert_eq!(first(&tried, "2025-06-10T05:00:00+08:00").1, Cause::Tick);
    }
}
