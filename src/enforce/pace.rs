//! How large the next batch is, from how long the last one took. Pure: it owns the steering, not the clock.

use std::time::Duration;

use crate::policy::Method;

/// A batch should hold its locks this long: short enough that an application's own statement, waiting behind it,
/// stays well under the 400 ms that we promise; long enough that commits do not dominate.
const TARGET: Duration = Duration::from_millis(250);

/// Narrowest window, in keys. Each batch touches pages all over an index on random values, and each touched page is
/// written twice: below this a slow disk only gets slower by narrower windows.
const WINDOW_KEYS_MIN: u64 = 4_000;

/// Widest window, in keys: measured as the knee on SQLite, beyond it only locks grow.
const WINDOW_KEYS_MAX: u64 = 64_000;

/// The first window of a step, in keys.
pub const WINDOW_KEYS_START: u64 = 16_000;

/// Most records in one batch: about as many as are erased in the time that a batch should take, however wide it is.
const BATCH_RECORDS_MAX: u64 = 16_000;

/// Most records in a batch that are overwritten first: a store may keep a copy of all that changes until it is done.
const OVERWRITTEN_MAX: u64 = 4_000;

/// Most rows in a batch whose rows name other records: each of those is handled on its own.
pub const NAMING_ROWS_MAX: u64 = 500;

/// Most records in one batch of a method; fewer where its rows name other records.
pub fn records_max(method: Method, is_naming: bool) -> u64 {
    match method {
        Method::Delete | Method::Zero | Method::OverwriteThenDelete if is_naming => NAMING_ROWS_MAX,
        Method::Delete | Method::Zero => BATCH_RECORDS_MAX,
        Method::OverwriteThenDelete => OVERWRITTEN_MAX,
    }
}

/// The width of the next window, from how long erasing the last one took, locks included. Doubles or halves at most, so
/// that one odd measurement does little harm.
pub fn next_window(keys: u64, took: Duration) -> u64 {
    let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let target = u64::try_from(TARGET.as_micros()).unwrap_or(1);
    let wished = keys.saturating_mul(target) / took;
    wished.clamp(keys / 2, keys.saturating_mul(2)).clamp(WINDOW_KEYS_MIN, WINDOW_KEYS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_batch_makes_the_next_one_narrower_but_never_too_narrow() {
        assert_eq!(next_window(16_000, Duration::from_millis(500)), 8_000);
        assert_eq!(next_window(16_000, Duration::from_secs(50)), 8_000);
        assert_eq!(next_window(4_000, Duration::from_secs(50)), WINDOW_KEYS_MIN);
    }

    #[test]
    fn a_quick_batch_makes_the_next_one_wider_but_never_too_wide() {
        assert_eq!(next_window(16_000, Duration::from_millis(1)), 32_000);
        assert_eq!(next_window(64_000, Duration::from_millis(1)), WINDOW_KEYS_MAX);
    }
}
