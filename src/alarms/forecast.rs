//! Whether what is due can be gone in time, at the speed that was measured. It owns the arithmetic, in whole numbers;
//! it asks nobody. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::gather::Look;
use crate::plan::Reason;

/// Fewest records that a speed is read off: below that, most of a run's time goes to opening and looking.
pub const MEASURED_RECORDS_MIN: u64 = 1_000;

/// How fast past runs were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Throughput {
    /// Records that they erased.
    pub records: u64,
    /// Seconds that they took.
    pub seconds: u64,
    /// How many runs.
    pub runs: u64,
}

impl Throughput {
    /// Records per hour, at least one.
    pub fn per_hour(self) -> u64 {
        (self.records.saturating_mul(3_600) / self.seconds.max(1)).max(1)
    }
}

/// The arithmetic behind a judgement, as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Records that are due now, in every placement: one run works them off one after the other.
    pub due_now: u64,
    /// Records that fall due until the deadline.
    pub falls_due: u64,
    /// Records per hour that past runs erased.
    pub per_hour: u64,
    /// How many runs that was measured in.
    pub measured_runs: u64,
    /// Seconds that erasing takes at this speed.
    pub needed_seconds: u64,
    /// Seconds from the next run to the deadline.
    pub left_seconds: u64,
}

impl Forecast {
    /// True where it can be done in time.
    pub fn is_enough(&self) -> bool {
        self.needed_seconds <= self.left_seconds
    }
}

/// What a deadline asks for, at the speed that was measured, if work begins at `begins_at`.
pub fn forecast(
    look: &Look,
    speed: Throughput,
    begins_at: DateTime<Utc>,
    deadline: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Forecast {
    let due_now: u64 =
        look.promises.iter().filter(|promise| promise.is_due()).map(|promise| promise.records).sum();
    let ahead = seconds(deadline - now);
    let by_age: u64 = look
        .inflows
        .iter()
        .map(|inflow| share(inflow.records, ahead, seconds(inflow.within)))
        .fold(0, u64::saturating_add);
    let by_grace: u64 = look
        .promises
        .iter()
        .filter(|promise| {
            promise.reason == Reason::Grace && promise.until.is_some_and(|until| until <= deadline)
        })
        .map(|promise| promise.records)
        .sum();
    let falls_due = by_age.saturating_add(by_grace);
    let per_hour = speed.per_hour();
    Forecast {
        due_now,
        falls_due,
        per_hour,
        measured_runs: speed.runs,
        needed_seconds: share(due_now.saturating_add(falls_due), 3_600, per_hour),
        left_seconds: seconds(deadline - begins_at),
    }
}

/// `of * times / per`, without overflow on the way; what is more than can be counted is the largest number.
fn share(of: u64, times: u64, per: u64) -> u64 {
    let exact = u128::from(of) * u128::from(times) / u128::from(per.max(1));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

fn seconds(span: TimeDelta) -> u64 {
    u64::try_from(span.num_seconds()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::{Inflow, Promise};
    use crate::id::{Category, PlacementId, StoreId, TenantId};

    fn promise(reason: Reason, records: u64, until: Option<DateTime<Utc>>) -> Promise {
        Promise {
            category: Category::new("call-data"),
            placement: PlacementId::new("call-records"),
            store: StoreId::new("calls"),
            tenant: TenantId::parse("acme").ok(),
            reason,
            clause: None,
            request_id: None,
            records,
            overdue: 0,
            at_risk: 0,
            deadline: None,
            gone_by: None,
            until,
        }
    }

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    #[test]
    fn work_that_takes_exactly_the_time_left_is_in_time_and_one_record_more_is_not() {
        let speed = Throughput { records: 7_200, seconds: 3_600, runs: 2 };
        let judge = |records| {
            let look = Look { promises: vec![promise(Reason::Request, records, None)], ..Look::default() };
            forecast(&look, speed, at(0), at(10), at(0))
        };
        assert_eq!(judge(72_000).needed_seconds, 36_000);
        assert!(judge(72_000).is_enough());
        assert!(!judge(72_002).is_enough(), "two records a second: {:?}", judge(72_002));
    }

    #[test]
    fn what_falls_due_until_the_deadline_counts_and_what_falls_due_after_it_does_not() {
        let speed = Throughput { records: 3_600, seconds: 3_600, runs: 1 };
        let look = Look {
            promises: vec![
                promise(Reason::Age, 100, None),
                promise(Reason::Grace, 10, Some(at(24))),
                promise(Reason::Grace, 1_000, Some(at(25))),
                promise(Reason::Hold, 5_000, None),
            ],
            inflows: vec![Inflow { records: 48, within: TimeDelta::hours(48) }],
            ..Look::default()
        };
        let found = forecast(&look, speed, at(2), at(24), at(0));
        assert_eq!((found.due_now, found.falls_due), (100, 24 + 10));
        assert_eq!((found.needed_seconds, found.left_seconds), (134, 22 * 3_600));
    }

    #[test]
    fn a_deadline_that_is_behind_leaves_no_time() {
        let speed = Throughput { records: 1, seconds: 1, runs: 1 };
        let look = Look { promises: vec![promise(Reason::Age, 1, None)], ..Look::default() };
        assert_eq!(forecast(&look, speed, at(3), at(2), at(3)).left_seconds, 0);
    }
}
