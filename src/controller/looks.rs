//! When this process has looked at the settings of each project, for the schedule of the looks, and which tries are not
//! repeated before the next one. A few bytes per project; losing them costs time, never correctness.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::composio::BootInstant;
use crate::domain::drift::{LookView, Schedule};
use crate::domain::world::Desired;

/// A hash of a UID or of wishes: ten thousand projects must not cost megabytes.
type Short = u64;

fn short(value: impl Hash) -> Short {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What is wanted of the settings.
fn wishes(desired: &Desired) -> Short {
    let settings = serde_json::to_string(&desired.settings).unwrap_or_default();
    short((settings, desired.drift.policy))
}

/// The looks of this process, by the UID of the resource.
pub struct Looks {
    begun: BootInstant,
    made: Mutex<HashMap<Short, Look>>,
}

struct Look {
    /// Milliseconds of the clock of [`BootInstant`].
    at: u64,
    /// It ended with differences, for these wishes; 0: without.
    tried: Short,
}

fn milliseconds(time: BootInstant) -> u64 {
    u64::try_from(time.since_boot().as_millis()).unwrap_or(u64::MAX)
}

impl Default for Looks {
    fn default() -> Self {
        Self { begun: BootInstant::now(), made: Mutex::default() }
    }
}

impl Looks {
    fn lock(&self) -> MutexGuard<'_, HashMap<Short, Look>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings, or the key that reads them, were looked at or made by a call.
    pub fn looked(&self, uid: &str) {
        let at = milliseconds(BootInstant::now());
        self.lock().entry(short(uid)).or_insert(Look { at, tried: 0 }).at = at;
    }

    /// How a pass that has looked has ended: with differences that only a person or time can settle, or without.
    pub fn concluded(&self, desired: &Desired, has_differences: bool) {
        let tried = if has_differences { wishes(desired) } else { 0 };
        if let Some(look) = self.lock().get_mut(&short(&desired.uid)) {
            look.tried = tried;
        }
    }

    /// Forgets a resource that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(&short(uid));
    }

    /// How long until the next scheduled look. A new process goes on with the schedule: nothing is due because it is new.
    pub fn due_in(&self, uid: &str, interval: Duration) -> Duration {
        let phase = short(uid);
        let made = self.lock().get(&phase).map(|look| Duration::from_millis(look.at));
        let last = made.unwrap_or(self.begun.since_boot());
        Schedule { interval, phase }.due_in(last, made.is_some(), BootInstant::now().since_boot())
    }

    /// For a decision.
    pub fn view(&self, desired: &Desired, interval: Duration) -> LookView {
        let is_due = desired.drift.is_asked || self.due_in(&desired.uid, interval).is_zero();
        let is_tried = match self.lock().get_mut(&short(&desired.uid)) {
            Some(look) if look.tried == 0 => false,
            Some(look) if look.tried == wishes(desired) => true,
            // Whoever comes back to earlier wishes tries again.
            Some(look) => {
                look.tried = 0;
                false
            }
            // An earlier process has said so.
            None => desired.drift.trouble.is_some(),
        };
        LookView { is_due, is_tried }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_process_looks_at_a_project_within_an_interval_and_not_at_once() {
        let (looks, interval) = (Looks::default(), Duration::from_mins(10));
        let left = looks.due_in("some-uid", interval);
        assert!(!left.is_zero() && left <= interval, "{left:?}");
        looks.looked("some-uid");
        assert!(looks.due_in("some-uid", interval) > interval / 3, "a look is not followed by one at once");
    }

    #[test]
    fn ten_thousand_looks_are_remembered_in_less_than_half_a_mebibyte() {
        let looks = Looks::default();
        (0..10_000).for_each(|number| looks.looked(&format!("uid-{number}")));
        let entries = looks.lock().capacity() * 8 / 7;
        let each = size_of::<(Short, Look)>() + 1;
        assert!(entries * each < 512 << 10, "{entries} of {each} bytes");
        (0..10_000).for_each(|number| looks.forget(&format!("uid-{number}")));
        assert!(looks.lock().is_empty());
    }
}
