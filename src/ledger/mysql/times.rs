//! The spans that follow from the length of a lease. It owns these numbers; what is held by a lease is `leases`'s.

use std::time::Duration;

/// How long a lease is. Long enough for a slow server or a short break of the network, short enough that others take
/// over within a minute or two.
const LEASE: Duration = Duration::from_secs(30);

/// Another length in milliseconds, for tests; every process on a ledger must have the same.
const LEASE_VARIABLE: &str = "RETENTIOND_LEASE_MS";

/// The spans of a lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) lease: Duration,
}

impl Times {
    pub(super) fn new() -> Self {
        let told = std::env::var(LEASE_VARIABLE).ok().and_then(|text| text.parse().ok());
        let lease = told.map_or(LEASE, Duration::from_millis);
        Self { lease: lease.clamp(Duration::from_millis(300), Duration::from_secs(600)) }
    }

    pub(super) fn renewal(self) -> Duration {
        self.lease / 6
    }

    /// What must be left of a lease for something that erases to be begun.
    pub(super) fn margin(self) -> Duration {
        self.lease / 2
    }

    /// How long after the lease something may still go on that was begun with the margin left.
    pub(super) fn echo(self) -> Duration {
        self.lease * 3 / 2
    }
}
