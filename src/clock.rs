//! The only reader of the wall clock. It owns "now"; it does not do calendar arithmetic (see `plan::due`).

use chrono::{DateTime, Utc};

/// Where "now" comes from: the system, or a fixed instant in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The system's wall clock.
    System,
    /// Always the same instant.
    Fixed(DateTime<Utc>),
}

impl Clock {
    /// The present instant, in UTC.
    #[expect(clippy::disallowed_methods, reason = "the one place that may ask the system")]
    pub fn now(self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now(),
            Self::Fixed(instant) => instant,
        }
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
