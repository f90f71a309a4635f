//! Token buckets: how often somebody may ask. Pure: time is a parameter. It owns the arithmetic and that the number of
//! buckets stays bounded; whom a bucket belongs to is decided by its callers.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// A millionth of a call: so small that rounding never gives or takes one.
const MICRO: u64 = 1_000_000;

/// Most buckets kept: with a few dozen bytes each this stays below a megabyte.
const BUCKETS_MAX: usize = 10_000;

/// A bucket for each of many callers.
#[derive(Debug)]
pub struct Buckets<K> {
    per_second: u64,
    burst: u64,
    buckets: HashMap<K, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    micros: u64,
    at: Duration,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// Buckets that fill by so many a second and hold at most `burst`.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: u64::from(per_second), burst: u64::from(burst) * MICRO, buckets: HashMap::new() }
    }

    /// Takes one call from somebody's bucket. False where it is empty. `now` is the time since any fixed instant.
    pub fn take(&mut self, who: &K, now: Duration) -> bool {
        let left = self.left(who, now);
        let Some(rest) = left.checked_sub(MICRO) else { return false };
        if self.buckets.len() >= BUCKETS_MAX && !self.buckets.contains_key(who) {
            self.forget_full(now);
        }
        if self.buckets.len() < BUCKETS_MAX || self.buckets.contains_key(who) {
            self.buckets.insert(who.clone(), Bucket { micros: rest, at: now });
        }
        true
    }

    /// True where somebody's bucket has nothing left.
    pub fn is_empty(&self, who: &K, now: Duration) -> bool {
        self.left(who, now) < MICRO
    }

    fn left(&self, who: &K, now: Duration) -> u64 {
        self.buckets.get(who).map_or(self.burst, |bucket| self.filled(*bucket, now))
    }

    fn filled(&self, bucket: Bucket, now: Duration) -> u64 {
        let passed = now.saturating_sub(bucket.at).as_micros();
        let gained = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(self.per_second);
        bucket.micros.saturating_add(gained).min(self.burst)
    }

    /// A full bucket is as good as none.
    fn forget_full(&mut self, now: Duration) {
        let burst = self.burst;
        let per_second = self.per_second;
        self.buckets.retain(|_, bucket| {
            let passed = u64::try_from(now.saturating_sub(bucket.at).as_micros()).unwrap_or(u64::MAX);
            bucket.micros.saturating_add(passed.saturating_mul(per_second)) < burst
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_call_for_each_share_of_a_second() {
        let mut buckets = Buckets::new(10, 3);
        let at = Duration::from_millis;
        assert!((0..3).all(|_| buckets.take(&"a", at(0))));
        assert!(!buckets.take(&"a", at(0)));
        assert!(!buckets.take(&"a", at(99)), "one tick before");
        assert!(buckets.take(&"a", at(100)), "the instant itself");
        assert!(!buckets.take(&"a", at(100)));
        assert!(buckets.take(&"b", at(100)), "each has a bucket of its own");
        assert!((0..3).all(|_| buckets.take(&"a", at(10_000))), "never more than the burst");
        assert!(!buckets.take(&"a", at(10_000)));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let mut buckets = Buckets::new(1, 1);
        assert!(buckets.take(&1, Duration::from_secs(9)));
        assert!(!buckets.take(&1, Duration::from_secs(9)));
        assert!(!buckets.take(&1, Duration::from_secs(3)));
    }

    #[test]
    fn the_number_of_buckets_stays_bounded() {
        let mut buckets = Buckets::new(1, 2);
        for who in 0..3 * BUCKETS_MAX {
            assert!(buckets.take(&who, Duration::ZERO));
        }
        assert_eq!(buckets.buckets.len(), BUCKETS_MAX);
        assert!(buckets.take(&usize::MAX, Duration::from_secs(10)));
        assert_eq!(buckets.buckets.len(), 1, "the full ones are forgotten");
    }
}
