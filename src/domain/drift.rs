//! Settings that somebody else changes: what a spec wants done about it, when a look is due, and how a difference is told.
//! The decisions are `plan::settings`'s.

use std::time::Duration;

use super::reason::Reason;

/// `spec.onDrift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum DriftPolicy {
    /// Put back what differs.
    #[default]
    Correct,
    /// Change nothing after creation, and say what differs.
    Report,
}

/// What is wanted where settings differ, and what the status says of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DriftSpec {
    /// `spec.onDrift`.
    pub policy: DriftPolicy,
    /// A look is due whatever the schedule says: somebody asks for it, or the status says that the key or the address is
    /// refused.
    pub is_asked: bool,
    /// What the status says of settings that differ, for the present spec: reason and detail. A hint, which puts a try off
    /// to the next scheduled look and decides nothing else.
    pub trouble: Option<(Reason, String)>,
}

/// What this process knows of its last look at the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LookView {
    /// A look is due by the schedule, or asked for.
    pub is_due: bool,
    /// The last look ended with the differences that the claim shows, for these very wishes: nothing is tried again before
    /// the next one.
    pub is_tried: bool,
}

/// A managed member whose value at Composio is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Name as in `spec.settings`.
    pub field: &'static str,
    /// The wanted value, as a word.
    pub desired: String,
    /// The value at Composio; `None` where there is none.
    pub observed: Option<String>,
}

/// When the settings of one project are looked at: once in each interval, at a moment that differs from project to project.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Distance between two looks; longer than nothing.
    pub interval: Duration,
    /// Any number that stays the same for the project.
    pub phase: u64,
}

impl Schedule {
    /// How long until the next look is due; zero where it is. Both times are of one clock: `last` that of the last look, or
    /// of the start of the process where it has made none (`is_made` tells). After a look at another moment than its own,
    /// such as right after the creation, half an interval passes at least.
    pub fn due_in(&self, last: Duration, is_made: bool, now: Duration) -> Duration {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4);
        let interval = milliseconds(self.interval).max(1);
        let phase = self.phase % interval;
        let earliest = milliseconds(last) + if is_made { interval / 2 } else { 0 };
        let slot = (earliest + phase) / interval + 1;
        Duration::from_millis((slot * interval - phase).saturating_sub(milliseconds(now)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_mins(10);

    proptest! {
        #[test]
        fn a_project_is_looked_at_once_in_each_interval_and_always_at_its_own_moment(
            phase in any::<u64>(), start in 0..10_000_000_u64, late in 0..250_000_u64,
        ) {
            let schedule = Schedule { interval: INTERVAL, phase };
            let start = Duration::from_millis(start);
            let first = start + schedule.due_in(start, false, start);
            prop_assert!(first > start && first <= start + INTERVAL, "the first look of a process is not at once");
            // A look that comes late moves none of those after it.
            let made = first + Duration::from_millis(late);
            prop_assert_eq!(made + schedule.due_in(made, true, made), first + INTERVAL);
            prop_assert!(schedule.due_in(made, true, first + INTERVAL).is_zero());
        }

        #[test]
        fn a_look_at_another_moment_is_not_followed_by_one_at_once(phase in any::<u64>(), made in 0..10_000_000_u64) {
            let schedule = Schedule { interval: INTERVAL, phase };
            let made = Duration::from_millis(made);
            let left = schedule.due_in(made, true, made);
            prop_assert!(left >= INTERVAL / 2 && left <= INTERVAL.mul_f64(1.5));
        }
    }

    #[test]
    fn ten_thousand_projects_spread_over_the_interval() {
        let start = Duration::from_hours(5);
        let mut minutes = [0_u32; 10];
        for number in 0..10_000_u64 {
            let phase = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let left = Schedule { interval: INTERVAL, phase }.due_in(start, false, start);
            minutes[usize::try_from((left.as_secs() / 60).min(9)).unwrap()] += 1;
        }
        assert!(minutes.iter().all(|count| (800..=1200).contains(count)), "{minutes:?}");
    }
}
