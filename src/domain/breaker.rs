//! The breaker of one organization: while it is open nobody calls but one probe per interval, which grows, whatever the
//! size of the fleet. What opens it: a refused organization key, or calls that bring no answer at all.

use std::time::Duration;

use super::reason::Reason;

/// So many calls in a row without any answer mean that Composio cannot be reached.
const MOST_FAILURES: u32 = 5;
/// Longest distance of two probes.
const LONGEST: Duration = Duration::from_mins(5);
/// One that was not opened for so long begins with the shortest distance again: blips of months are not one trouble.
const FORGOTTEN: Duration = Duration::from_hours(1);

/// Whether calls are answered at all, by whomever and whatever.
#[derive(Debug, Clone, Default)]
pub struct Contact {
    failures: u32,
    is_lost: bool,
}

impl Contact {
    /// An answer came.
    pub fn answered(&mut self) {
        self.failures = 0;
    }

    /// No connection, or no answer. Returns whether contact is lost by this one.
    pub fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        let is_news = !self.is_lost && self.failures >= MOST_FAILURES;
        self.is_lost |= is_news;
        is_news
    }

    /// It was lost, and no probe has found it again.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// A probe was answered. Returns whether contact was lost before.
    pub fn restored(&mut self) -> bool {
        self.failures = 0;
        std::mem::take(&mut self.is_lost)
    }
}

/// See the module. Times are since boot. It is forgotten with the next mutation that succeeds, with a new key, or after
/// some time; a probe that succeeds only shuts it, so that the distance grows while probe and work disagree.
#[derive(Debug, Clone)]
pub struct Breaker {
    reason: Reason,
    words: String,
    is_open: bool,
    in_a_row: u32,
    opened_at: Duration,
    probe_at: Duration,
}

impl Breaker {
    /// One that has never opened.
    pub fn new(reason: Reason) -> Self {
        let (opened_at, probe_at) = (Duration::ZERO, Duration::ZERO);
        Self { reason, words: String::new(), is_open: false, in_a_row: 0, opened_at, probe_at }
    }

    /// Calls are refused, or not answered. Many may fail at once; they count once. Returns the time until the next probe.
    /// `words` say what was seen, redacted.
    pub fn open(&mut self, reason: Reason, words: &str, now: Duration) -> Duration {
        if self.probe_at <= now {
            if now.saturating_sub(self.opened_at) > FORGOTTEN {
                self.in_a_row = 0;
            }
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.opened_at = now;
            self.reason = reason;
            words.clone_into(&mut self.words);
            self.probe_at = now + Duration::from_secs(1 << self.in_a_row.min(16)).min(LONGEST);
        }
        self.is_open = true;
        self.probe_at.saturating_sub(now)
    }

    /// A probe has succeeded.
    pub fn shut(&mut self) {
        self.is_open = false;
        self.probe_at = Duration::ZERO;
    }

    /// Why, in which words, and how long not even a probe is to be sent.
    pub fn closed_to_probes(&self, now: Duration) -> Option<(Reason, String, Duration)> {
        let left = self.probe_at.saturating_sub(now);
        (!left.is_zero()).then(|| (self.reason, self.words.clone(), left))
    }

    /// Nobody calls but the probe.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Why it opened last.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_distance_of_probes_grows_to_five_minutes_and_many_failures_count_once() {
        let (mut breaker, mut now) = (Breaker::new(Reason::KeyInvalid), seconds(100));
        for expected in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            for _ in 0..1_000 {
                assert_eq!(breaker.open(Reason::KeyInvalid, "no", now), seconds(expected));
            }
            let closed = Some((Reason::KeyInvalid, "no".to_owned(), seconds(expected)));
            assert_eq!(breaker.closed_to_probes(now), closed);
            now += seconds(expected);
            assert_eq!(breaker.closed_to_probes(now), None);
            assert!(breaker.is_open(), "until a probe has succeeded");
        }
    }

    #[test]
    fn a_probe_that_succeeds_shuts_it_and_the_distance_goes_on_growing() {
        let mut breaker = Breaker::new(Reason::KeyInvalid);
        breaker.open(Reason::KeyInvalid, "no", seconds(1));
        breaker.shut();
        assert!(!breaker.is_open() && breaker.closed_to_probes(seconds(1)).is_none());
        assert_eq!(breaker.open(Reason::KeyInvalid, "no", seconds(2)), seconds(4));
    }

    #[test]
    fn refusals_that_lie_hours_apart_do_not_add_up() {
        let (mut breaker, mut now) = (Breaker::new(Reason::KeyInvalid), seconds(100));
        for _ in 0..9 {
            assert_eq!(breaker.open(Reason::KeyInvalid, "no", now), seconds(2));
            breaker.shut();
            now += FORGOTTEN * 2;
        }
    }

    #[test]
    fn five_failures_in_a_row_lose_contact_once_and_an_answer_begins_anew() {
        let mut contact = Contact::default();
        for _ in 0..3 {
            assert!((1..5).all(|_| !contact.failed()));
            contact.answered();
        }
        assert!((1..5).all(|_| !contact.failed()) && contact.failed() && !contact.failed());
        contact.answered();
        assert!(contact.is_lost(), "a late answer is no probe");
        assert!(contact.restored() && !contact.is_lost() && !contact.restored());
    }
}
