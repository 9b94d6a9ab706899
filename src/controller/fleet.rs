//! What sweeps over an organization's list have shown, as this process remembers it, and what one of them says of a project
//! whose read by id has failed. Losing it costs a sweep, never correctness. The sweep itself is `sweep`'s, and what its list
//! means is `domain::fleet`'s.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::organizations::Organization;
use crate::composio::BootInstant;
use crate::crd::ComposioProject;
use crate::domain::absence::{Absence, unread};
use crate::domain::fleet::{Absent, Counts, Mark, Unmanaged, Witness};
use crate::domain::ids::ProjectId;
use crate::domain::takeover::Presence;

/// One sweep that has ended well.
#[derive(Clone)]
pub struct Sweep {
    /// When it was begun.
    pub begun: BootInstant,
    /// The same by the clock on the wall, for status.
    pub time: Timestamp,
    /// How many projects there are.
    pub counts: Counts,
    /// The youngest of those that no claim has.
    pub newest: Vec<Unmanaged>,
    /// All living projects, sorted.
    pub living: Box<[Mark]>,
    /// Projects of resources that exist, which were not in the list.
    pub absent: BTreeMap<ProjectId, Absent>,
    /// Those of them that wait for an administrator.
    pub withheld: BTreeSet<ProjectId>,
}

impl Sweep {
    /// What it says of one project.
    pub fn says(&self, id: &ProjectId) -> Witness {
        if self.lists(id) {
            Witness::Listed
        } else if self.withheld.contains(id) {
            Witness::Withheld
        } else if self.absent.contains_key(id) {
            Witness::Absent
        } else {
            Witness::Silent
        }
    }

    fn lists(&self, id: &ProjectId) -> bool {
        self.living.binary_search(&Mark::of(id.as_str())).is_ok()
    }
}

/// See the module. Of one organization, and one key.
pub struct Fleet {
    /// When this process came to know of it.
    born: BootInstant,
    state: Mutex<State>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { born: BootInstant::now(), state: Mutex::default() }
    }
}

#[derive(Default)]
struct State {
    latest: Option<Arc<Sweep>>,
    /// Begin of the last sweep, whatever became of it.
    tried: Option<BootInstant>,
    is_under_way: bool,
    has_failed: bool,
    /// Somebody needs a sweep that begins later than the last one.
    is_wanted: bool,
    /// Who is told of it.
    waiting: HashSet<ObjectRef<ComposioProject>>,
}

impl Fleet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long this process has known of it.
    pub fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// The last sweep that has ended well.
    pub fn latest(&self) -> Option<Arc<Sweep>> {
        self.state().latest.clone()
    }

    /// The last sweep has ended well, and was begun at most so long ago.
    pub fn vouches(&self, longest: Duration) -> bool {
        let state = self.state();
        let is_young = state.latest.as_ref().is_some_and(|latest| latest.begun.elapsed() <= longest);
        is_young && !state.has_failed
    }

    /// A sweep that begins from now on is needed; the resource is told of it.
    pub fn want(&self, whose: Option<ObjectRef<ComposioProject>>) {
        let mut state = self.state();
        state.is_wanted = true;
        state.waiting.extend(whose);
    }

    /// Whether somebody needs one.
    pub fn is_wanted(&self) -> bool {
        self.state().is_wanted
    }

    /// Time until the next one may begin, where it is due after `due`; `None` while one is under way. `distance` is kept
    /// between one and the next that is wanted before it is due, and eight of it after a failure.
    pub fn starts_in(&self, due: Duration, distance: Duration) -> Option<Duration> {
        let state = self.state();
        if state.is_under_way {
            return None;
        }
        let distance = if state.has_failed { distance * 8 } else { distance };
        let rested = state.tried.map_or(Duration::ZERO, |tried| (tried + distance).remaining());
        Some(if state.is_wanted { rested } else { due.max(rested) })
    }

    /// A sweep begins.
    pub fn begin(&self) {
        let mut state = self.state();
        (state.is_under_way, state.is_wanted, state.tried) = (true, false, Some(BootInstant::now()));
    }

    /// It has ended; nothing where it has failed. Returns who is to be told.
    pub fn ended(&self, sweep: Option<Arc<Sweep>>) -> HashSet<ObjectRef<ComposioProject>> {
        let mut state = self.state();
        (state.is_under_way, state.has_failed) = (false, sweep.is_none());
        if sweep.is_none() {
            state.is_wanted |= !state.waiting.is_empty();
            return HashSet::new();
        }
        state.latest = sweep;
        // Those who came while it was under way look again, and ask for the next one if this one is too early for them.
        std::mem::take(&mut state.waiting)
    }

    /// An administrator has confirmed what the last sweep withholds.
    pub fn let_go(&self, sweep: &Sweep) {
        let mut state = self.state();
        if state.latest.as_ref().is_some_and(|latest| latest.begun == sweep.begun) {
            state.latest = Some(Arc::new(Sweep { withheld: BTreeSet::new(), ..sweep.clone() }));
        }
    }
}

impl Context {
    /// Whether the second look at a project has to wait for the list of a sweep, which is asked for then and wakes the
    /// resource. Until then a read would be in vain.
    pub fn awaits_list(
        &self,
        organization: &Organization,
        id: &ProjectId,
        whose: &ObjectRef<ComposioProject>,
    ) -> bool {
        let Some(Absence::Gone(first)) = self.absences.get(id) else { return false };
        let since = BootInstant::from_boot(first + self.limits.settle());
        if !since.remaining().is_zero()
            || organization.fleet.latest().is_some_and(|latest| latest.begun >= since)
        {
            return false;
        }
        organization.fleet.want(Some(whose.clone()));
        self.wake_organization(&organization.name);
        true
    }

    /// What the sweeps say of a project that a read by id does not know. Where the last one is too old for that, the next is
    /// asked for, which wakes the resource: nobody waits for a walk in a pass.
    pub fn listed_presence(
        &self,
        organization: &Organization,
        id: &ProjectId,
        whose: ObjectRef<ComposioProject>,
    ) -> Presence {
        let latest = organization.fleet.latest();
        let latest = latest.map(|latest| (latest.begun.since_boot(), latest.says(id)));
        let (now, settle) = (BootInstant::now().since_boot(), self.limits.settle());
        let look = self.absences.unread(id, |known| unread(known, now, settle, latest));
        if look.wants_sweep {
            organization.fleet.want(Some(whose));
            self.wake_organization(&organization.name);
        }
        look.presence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep() -> Arc<Sweep> {
        Arc::new(Sweep {
            begun: BootInstant::now(),
            time: Timestamp::UNIX_EPOCH,
            counts: Counts::default(),
            newest: Vec::new(),
            living: Box::default(),
            absent: BTreeMap::new(),
            withheld: BTreeSet::new(),
        })
    }

    #[test]
    fn one_sweep_at_a_time_and_a_distance_between_those_that_are_asked_for() {
        let (fleet, due, distance) = (Fleet::default(), Duration::from_mins(5), Duration::from_secs(8));
        assert_eq!(fleet.starts_in(due, distance), Some(due));
        fleet.want(Some(ObjectRef::new("shop").within("team")));
        assert_eq!(fleet.starts_in(due, distance), Some(Duration::ZERO));
        fleet.begin();
        assert_eq!(fleet.starts_in(due, distance), None);
        assert!(fleet.ended(None).is_empty(), "a failure tells nobody");
        let rest = fleet.starts_in(due, distance).unwrap();
        assert!(rest > Duration::from_mins(1) && rest <= distance * 8, "{rest:?}");
        fleet.begin();
        assert_eq!(fleet.ended(Some(sweep())).len(), 1);
        assert_eq!(fleet.starts_in(due, distance), Some(due));
        assert!(fleet.vouches(due) && !Fleet::default().vouches(due));
        fleet.want(None);
        let rest = fleet.starts_in(due, distance).unwrap();
        assert!(rest > Duration::ZERO && rest <= distance, "{rest:?}");
    }
}
