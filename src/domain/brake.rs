//! The brake on deletions: how many projects of one organization may be deleted in an hour without an administrator. Pure;
//! `controller::brake` keeps one tally per organization and asks under a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `spec.limits.deletionsPerHour` where it is absent.
pub const DEFAULT_LIMIT: u32 = 20;
/// How long a deletion counts.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// The answer to a resource that is about to delete its project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permit {
    /// It may, and counts from now on.
    Granted,
    /// It may not, until it is confirmed; after this time the hour may have room again.
    Held(Duration),
}

/// What one organization has deleted lately, what waits, and what was confirmed.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// By project id: when it was deleted, or when its deletion was permitted.
    recent: BTreeMap<String, Timestamp>,
    /// UIDs of the resources that wait.
    held: BTreeSet<String>,
    /// UIDs of the resources that an administrator has let go. A UID never comes again, and so a confirmation works once.
    confirmed: BTreeSet<String>,
}

impl Tally {
    /// From what the ledger says: deletions (project id and time) and UIDs of confirmed resources.
    pub fn new(
        recent: impl IntoIterator<Item = (String, Timestamp)>,
        confirmed: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            recent: recent.into_iter().collect(),
            held: BTreeSet::new(),
            confirmed: confirmed.into_iter().collect(),
        }
    }

    /// May `resource` (UID) delete `project` (id) now? `limit` 0 is no brake. Whoever has asked and was permitted within
    /// the hour is asking for the same deletion again.
    pub fn ask(&mut self, limit: u32, resource: &str, project: &str, now: Timestamp) -> Permit {
        self.recent.retain(|_, time| now.duration_since(*time) < WINDOW);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_free = limit == 0 || self.recent.len() < limit;
        if is_free || self.confirmed.contains(resource) || self.recent.contains_key(project) {
            self.recent.entry(project.to_owned()).or_insert(now);
            self.held.remove(resource);
            return Permit::Granted;
        }
        self.held.insert(resource.to_owned());
        let oldest = self.recent.values().min().copied().unwrap_or(now);
        let left = Duration::try_from(WINDOW - now.duration_since(oldest)).unwrap_or_default();
        Permit::Held(left)
    }

    /// A deletion that was permitted has certainly not happened.
    pub fn give_back(&mut self, project: &str) {
        self.recent.remove(project);
    }

    /// The resource does not wait any more: it is gone, or keeps its project. Returns whether it did.
    pub fn withdraw(&mut self, resource: &str) -> bool {
        self.confirmed.remove(resource);
        self.held.remove(resource)
    }

    /// UIDs of the resources that wait.
    pub fn held(&self) -> &BTreeSet<String> {
        &self.held
    }

    /// UIDs of the resources that were let go and are not gone yet.
    pub fn confirmed(&self) -> &BTreeSet<String> {
        &self.confirmed
    }

    /// An administrator lets these resources go.
    pub fn confirm(&mut self, resources: impl IntoIterator<Item = String>) {
        for resource in resources {
            self.held.remove(&resource);
            self.confirmed.insert(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn ask(tally: &mut Tally, limit: u32, number: usize, second: i64) -> bool {
        tally.ask(limit, &format!("uid-{number}"), &format!("pr_{number}"), at(second)) == Permit::Granted
    }

    #[test]
    fn what_is_beyond_the_limit_is_held_until_the_hour_has_room_or_it_is_confirmed() {
        let mut tally = Tally::new([("pr_old".to_owned(), at(0))], []);
        assert!(ask(&mut tally, 2, 1, 10));
        assert_eq!(tally.ask(2, "uid-2", "pr_2", at(600)), Permit::Held(Duration::from_mins(50)));
        assert_eq!(tally.held().len(), 1);
        assert!(ask(&mut tally, 2, 2, 3600), "the old one is out of the window");
        assert_eq!(tally.held().len(), 0);
        assert!(!ask(&mut tally, 2, 3, 3601));
        tally.confirm(tally.held().clone());
        assert!(ask(&mut tally, 2, 3, 3601));
        assert!(!ask(&mut tally, 2, 4, 3601), "only what was confirmed");
    }

    #[test]
    fn a_deletion_that_is_asked_for_again_counts_once_and_one_given_back_not_at_all() {
        let mut tally = Tally::default();
        assert!(ask(&mut tally, 1, 1, 0) && ask(&mut tally, 1, 1, 5));
        assert!(!ask(&mut tally, 1, 2, 6));
        tally.give_back("pr_1");
        assert!(ask(&mut tally, 1, 2, 7));
    }

    #[test]
    fn a_resource_that_was_confirmed_and_kept_its_project_needs_a_new_confirmation() {
        let mut tally = Tally::new([("pr_old".to_owned(), at(0))], ["uid-1".to_owned()]);
        assert!(!tally.withdraw("uid-1"));
        assert!(!ask(&mut tally, 1, 1, 1));
    }

    proptest! {
        #[test]
        fn in_no_hour_more_is_deleted_than_the_limit_and_the_confirmations_allow(
            limit in 1u32..5,
            steps in prop::collection::vec((0usize..30, 0i64..900, prop::bool::weighted(0.1)), 0..120),
        ) {
            let (mut tally, mut now) = (Tally::default(), 0);
            let (mut granted, mut confirmed) = (BTreeMap::new(), BTreeSet::new());
            for (number, later, confirms) in steps {
                now += later;
                if confirms {
                    confirmed.extend(tally.held().iter().cloned());
                    tally.confirm(tally.held().clone());
                }
                if granted.contains_key(&number) {
                    continue;
                }
                if ask(&mut tally, limit, number, now) {
                    granted.insert(number, now);
                }
                let in_window = granted.iter().filter(|(other, time)| {
                    now - **time < 3600 && !confirmed.contains(&format!("uid-{other}"))
                });
                prop_assert!(in_window.count() <= limit as usize);
            }
        }

        #[test]
        fn without_a_limit_nothing_is_held(numbers in prop::collection::vec(0usize..50, 0..50)) {
            let mut tally = Tally::default();
            for number in numbers {
                prop_assert!(ask(&mut tally, 0, number, 0));
            }
            prop_assert!(tally.held().is_empty());
        }
    }
}
