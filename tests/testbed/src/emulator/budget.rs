//! The fixed rate window of an organization (API 9). The clock is passed in.

use std::time::{Duration, Instant};

/// What the three rate headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateHeaders {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    pub(super) window_seconds: u32,
}

/// The budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OverBudget {
    /// Whole seconds until the window ends, at least 1.
    pub(super) retry_after_seconds: u64,
}

/// Requests counted in the window that runs now. A window begins with the first request after the end of the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    used: u32,
    since: Option<Instant>,
}

impl Budget {
    /// Counts `requests` of other callers; never fails.
    pub(super) fn burn(&mut self, requests: u32, window_seconds: u32, now: Instant) {
        self.turn(window_seconds, now);
        self.used = self.used.saturating_add(requests);
    }

    /// Forgets the window.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Counts one request, unless the budget is spent.
    pub(super) fn take(&mut self, limit: u32, window_seconds: u32, now: Instant) -> Result<(), OverBudget> {
        let since = self.turn(window_seconds, now);
        if self.used >= limit {
            let left = Duration::from_secs(window_seconds.max(1).into()).saturating_sub(now - since);
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            return Err(OverBudget { retry_after_seconds: seconds.max(1) });
        }
        self.used += 1;
        Ok(())
    }

    /// The headers of an answer sent now.
    pub(super) fn headers(&self, limit: u32, window_seconds: u32, now: Instant) -> RateHeaders {
        let mut shown = *self;
        shown.turn(window_seconds, now);
        RateHeaders {
            limit,
            remaining: limit.saturating_sub(shown.used),
            window_seconds: window_seconds.max(1),
        }
    }

    fn turn(&mut self, window_seconds: u32, now: Instant) -> Instant {
        let window = Duration::from_secs(window_seconds.max(1).into());
        match self.since {
            Some(since) if now.saturating_duration_since(since) < window => since,
            _ => {
                *self = Self { used: 0, since: Some(now) };
                now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_fixed_and_begins_anew_after_its_end() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(budget.take(2, 60, at(0)), Ok(()));
        assert_eq!(budget.take(2, 60, at(10_000)), Ok(()));
        assert_eq!(budget.take(2, 60, at(10_500)), Err(OverBudget { retry_after_seconds: 50 }));
        assert_eq!(budget.headers(2, 60, at(10_500)).remaining, 0);
        assert_eq!(budget.take(2, 60, at(59_999)), Err(OverBudget { retry_after_seconds: 1 }));
        assert_eq!(budget.take(2, 60, at(60_000)), Ok(()));
        assert_eq!(budget.headers(2, 60, at(60_001)).remaining, 1);
        assert_eq!(budget.headers(2, 60, at(120_001)).remaining, 2);
    }

    #[test]
    fn other_traffic_burns_the_same_budget() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        budget.burn(7, 60, now);
        assert_eq!(budget.headers(5, 60, now).remaining, 0);
        assert!(budget.take(5, 60, now).is_err());
        budget.reset();
        assert!(budget.take(5, 60, now).is_ok());
    }
}
