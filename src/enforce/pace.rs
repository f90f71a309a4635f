//! How large the next batch is, from how long the last one took. Pure: it owns the steering, not the clock.

use std::time::Duration;

use crate::policy::Method;
use crate::stores::{Batch, Pace};

/// Most records in a batch that are overwritten first: a store may keep a copy of all that changes until it is done.
const OVERWRITTEN_MAX: u64 = 4_000;

/// Most rows in a batch whose rows name other records: each of those is handled on its own.
pub const NAMING_ROWS_MAX: u64 = 500;

/// Most records in one batch of a method; fewer where its rows name other records.
pub fn records_max(pace: Pace, method: Method, is_naming: bool) -> u64 {
    match method {
        Method::Delete | Method::Zero | Method::OverwriteThenDelete if is_naming => NAMING_ROWS_MAX,
        Method::Delete | Method::Zero => pace.records_max,
        Method::OverwriteThenDelete => OVERWRITTEN_MAX.min(pace.records_max),
    }
}

/// How wide a window is and how many records it holds; `None` for a list.
pub fn window_of(batch: &Batch) -> Option<(u64, u64)> {
    match batch {
        Batch::Window { from, to, .. } => Some((to.abs_diff(*from).saturating_add(1), batch.records())),
        Batch::List(_) => None,
    }
}

/// The width of the next window, where it was to be so many keys wide, from how wide the last one was, how many records
/// it held, and how long erasing them took, locks included. Doubles or halves at most, so that one odd measurement does
/// little harm; and no wider than would hold as many records as a batch may, for a window that is cut is looked at twice.
pub fn next_window(pace: Pace, keys: u64, window: Option<(u64, u64)>, took: Duration) -> u64 {
    let (width, records) = window.unwrap_or((keys, 0));
    let width = width.min(keys);
    let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let target = u64::try_from(pace.target.as_micros()).unwrap_or(1);
    let wished = (width.saturating_mul(target) / took).clamp(width / 2, width.saturating_mul(2));
    let fitting = width.saturating_mul(pace.records_max / 16 * 15).checked_div(records);
    wished.min(fitting.unwrap_or(u64::MAX)).clamp(pace.window_keys_min, pace.window_keys_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(keys: u64, window: (u64, u64), took: Duration) -> u64 {
        next_window(Pace::default(), keys, Some(window), took)
    }

    #[test]
    fn a_slow_batch_makes_the_next_one_narrower_but_never_too_narrow() {
        assert_eq!(next(16_000, (16_000, 10), Duration::from_millis(500)), 8_000);
        assert_eq!(next(16_000, (16_000, 10), Duration::from_secs(50)), 8_000);
        assert_eq!(next(4_000, (4_000, 10), Duration::from_secs(50)), 4_000);
    }

    #[test]
    fn a_quick_batch_makes_the_next_one_wider_but_never_too_wide() {
        assert_eq!(next(16_000, (16_000, 10), Duration::from_millis(1)), 32_000);
        assert_eq!(next(64_000, (64_000, 10), Duration::from_millis(1)), 64_000);
        assert_eq!(next_window(Pace::default(), 16_000, None, Duration::from_millis(1)), 32_000);
    }

    #[test]
    fn the_next_window_holds_no_more_records_than_a_batch_may() {
        assert_eq!(next(32_000, (32_000, 16_000), Duration::from_millis(1)), 30_000);
        assert_eq!(next(64_000, (20_000, 16_000), Duration::from_millis(1)), 18_750, "cut from 64,000");
    }
}
