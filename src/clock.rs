//! The only reader of the wall clock. It owns "now"; it does not do calendar arithmetic (see `plan::due`).

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};

/// Where "now" comes from: the system, or in a test a fixed instant or one that is moved by hand.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The system's wall clock.
    System,
    /// Always the same instant.
    Fixed(DateTime<Utc>),
    /// Whatever instant it was last set to.
    Stepped(Steps),
}

impl Clock {
    /// The present instant, in UTC.
    #[expect(clippy::disallowed_methods, reason = "the one place that may ask the system")]
    pub fn now(self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now(),
            Self::Fixed(instant) => instant,
            Self::Stepped(steps) => DateTime::from_timestamp_nanos(steps.0.load(Ordering::SeqCst)),
        }
    }
}

/// The hand of a clock that stands until somebody moves it; every copy shows the same instant.
#[derive(Debug, Clone, Copy)]
pub struct Steps(&'static AtomicI64);

impl Steps {
    /// A hand at an instant. It is never given back: a test makes one or two.
    pub fn new(at: DateTime<Utc>) -> Self {
        let steps = Self(Box::leak(Box::new(AtomicI64::new(0))));
        steps.set(at);
        steps
    }

    /// Moves the hand. Instants beyond the years 1677 to 2262 become the nearest of them.
    pub fn set(self, at: DateTime<Utc>) {
        let end = if at < DateTime::UNIX_EPOCH { i64::MIN } else { i64::MAX };
        self.0.store(at.timestamp_nanos_opt().unwrap_or(end), Ordering::SeqCst);
    }
}

/// A monotonic stopwatch, for durations that are shown to people and steer batch sizes, never for due dates.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts counting.
    #[expect(clippy::disallowed_methods, reason = "the one place that may ask the system")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(self) -> std::time::Duration {
        self.0.elapsed()
    }
}
