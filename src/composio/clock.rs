//! The two clocks of the safety protocols: one that also runs while the machine is suspended, and the server's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// A point in time of a clock that also runs while the process or the machine is suspended (`CLOCK_BOOTTIME`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// Now.
    pub fn now() -> Self {
        let time = clock_gettime(CLOCK);
        let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or_default());
        Self(seconds + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default()))
    }

    /// Time since then.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// Time until then.
    pub fn remaining(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    /// So much before; at the earliest when the clock began.
    #[must_use]
    pub fn earlier(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }

    /// Time since the clock began, for decisions that take a `Duration`.
    pub fn since_boot(self) -> Duration {
        self.0
    }

    /// The other way round.
    pub fn from_boot(time: Duration) -> Self {
        Self(time)
    }
}

impl std::ops::Add<Duration> for BootInstant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

/// The server's time: the own clock plus the offset of the last `Date` header.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    offset_milliseconds: AtomicI64,
}

impl ServerClock {
    /// Now, in the server's time.
    pub(super) fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.offset_milliseconds.load(Ordering::Relaxed));
        let now = Timestamp::now().checked_add(offset).unwrap_or_else(|_| Timestamp::now());
        // No finer than the API's own times.
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// Takes up a `Date` header; it counts whole seconds, so that half of one is added on average.
    pub(super) fn observe(&self, date: &str) {
        let Ok(date) = jiff::fmt::rfc2822::parse(date) else {
            return;
        };
        let offset = date.timestamp().duration_since(Timestamp::now()) + SignedDuration::from_millis(500);
        let milliseconds = i64::try_from(offset.as_millis()).unwrap_or_default();
        // Below the header's own resolution nothing is known.
        let known = if milliseconds.abs() <= 1_000 { 0 } else { milliseconds };
        self.offset_milliseconds.store(known, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_in_another_time_is_followed_and_a_close_one_is_left_alone() {
        let clock = ServerClock::default();
        let ahead = Timestamp::now() + SignedDuration::from_mins(10);
        clock.observe(
            &jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&ahead).unwrap(),
        );
        let offset = clock.now().duration_since(Timestamp::now());
        assert!((offset - SignedDuration::from_mins(10)).abs() < SignedDuration::from_secs(2), "{offset:?}");
        clock.observe("nonsense");
        assert!(clock.now() > Timestamp::now() + SignedDuration::from_mins(9));
    }
}
