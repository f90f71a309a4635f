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

/// Time that has passed in the world, also while the process was stopped or the machine slept: for leases. Where the
/// clocks disagree the longest counts, so that nobody believes in a lease that others may have taken.
#[derive(Debug, Clone, Copy)]
pub struct Vigil {
    awake: std::time::Instant,
    boot: std::time::Duration,
    wall: std::time::SystemTime,
}

impl Vigil {
    /// Starts counting.
    #[expect(clippy::disallowed_methods, reason = "the one place that may ask the system")]
    pub fn start() -> Self {
        Self { awake: std::time::Instant::now(), boot: since_boot(), wall: std::time::SystemTime::now() }
    }

    /// The most time that can have passed since the start.
    #[expect(clippy::disallowed_methods, reason = "the one place that may ask the system")]
    pub fn elapsed(self) -> std::time::Duration {
        let wall = std::time::SystemTime::now().duration_since(self.wall).unwrap_or_default();
        self.awake.elapsed().max(since_boot().saturating_sub(self.boot)).max(wall)
    }
}

/// The kernel's time since boot, which goes on while the machine sleeps.
fn since_boot() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    std::time::Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
