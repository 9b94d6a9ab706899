//! One process of the operator: what it remembers (`controller::memory`), its caches, and what it will look at when.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use composio_operator::domain::claim::{Claim, Record};
use composio_operator::domain::drift::LookView;
use composio_operator::domain::evidence::Settling;
use composio_operator::domain::ids::ProjectId;
use composio_operator::domain::settings::Settings;
use composio_operator::domain::takeover::Presence;
use composio_operator::domain::world::{Capability, Desired};
use jiff::Timestamp;

use crate::cluster::{Cluster, Key, Resource};
use crate::realm::{Dice, MINUTE, SECOND, Time};

/// Request deadline (30 s), send gate (5 s) and margin (30 s), as by default.
pub(crate) const SETTLE: Duration = Duration::from_secs(65);
/// Distance between two looks at the settings of one project.
const LOOK_INTERVAL: Time = 30 * MINUTE;
/// The gate, in milliseconds.
pub(crate) const GATE: Time = 5 * SECOND;

/// What is announced: last attempt, last key replacement, deletion.
type Announced = (u32, Option<u32>, Option<Timestamp>);

struct Sighting {
    announced: Announced,
    since: Time,
    nothing_since: Option<Time>,
}

pub(crate) struct Process {
    pub(crate) is_alive: bool,
    /// Nothing of it runs before this.
    pub(crate) paused_until: Time,
    /// It ends at this time: another one leads already.
    pub(crate) retires: Option<Time>,
    /// What its idea of the server's clock is off by.
    pub(crate) clock_error: Time,
    sightings: BTreeMap<String, Sighting>,
    /// Names of projects for whose claims an answer is awaited.
    pub(crate) in_flight: BTreeSet<String>,
    pub(crate) cache: BTreeMap<Key, Rc<Resource>>,
    /// How much of the cluster's log is in the cache.
    pub(crate) seen: usize,
    /// When the next of it arrives.
    pub(crate) delivery: Option<Time>,
    /// Next look at each resource.
    pub(crate) due: BTreeMap<Key, Time>,
    /// Next look at each claim that is not settled.
    pub(crate) claims_due: BTreeMap<String, Time>,
    pub(crate) running: BTreeSet<Key>,
    pub(crate) running_claims: BTreeSet<String>,
    pub(crate) failures: BTreeMap<String, u32>,
    pub(crate) capability: Capability,
    /// Whether Composio issues keys by regenerate.
    pub(crate) regenerates: Capability,
    /// Resources (UID) whose key was rejected; see `controller::memory::KeySuspicions`.
    pub(crate) key_suspicions: BTreeSet<String>,
    /// No calls before this, after a 429.
    pub(crate) throttled_until: Time,
    /// Projects that were not found, since when.
    absences: BTreeMap<ProjectId, Time>,
    begun: Time,
    /// Last look at the settings by UID of the resource, and the wishes for which it ended with differences.
    looks: BTreeMap<String, (Time, Option<Settings>)>,
}

fn announced(claim: &Claim) -> Announced {
    (claim.last_attempt(), claim.rotation().map(|rotation| rotation.attempt), claim.deletion_started_time())
}

fn duration(time: Time) -> Duration {
    Duration::from_millis(time.max(0).unsigned_abs())
}

impl Process {
    /// A new process; it looks at everything soon.
    pub(crate) fn new(cluster: &Cluster, dice: &mut Dice, now: Time) -> Self {
        let soon = |dice: &mut Dice| now + dice.between(50, 2 * SECOND);
        Self {
            is_alive: true,
            paused_until: 0,
            retires: None,
            clock_error: dice.between(-SECOND, SECOND),
            sightings: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            cache: cluster.resources.clone(),
            seen: cluster.log.len(),
            delivery: None,
            due: cluster.resources.keys().map(|key| (*key, soon(dice))).collect(),
            claims_due: cluster.claims.keys().map(|name| (name.clone(), soon(dice))).collect(),
            running: BTreeSet::new(),
            running_claims: BTreeSet::new(),
            failures: BTreeMap::new(),
            capability: Capability::Unknown,
            regenerates: Capability::Unknown,
            key_suspicions: BTreeSet::new(),
            throttled_until: 0,
            absences: BTreeMap::new(),
            begun: now,
            looks: BTreeMap::new(),
        }
    }

    pub(crate) fn look_at(&mut self, key: Key, time: Time) {
        let due = self.due.entry(key).or_insert(time);
        *due = (*due).min(time);
    }

    pub(crate) fn look_at_claim(&mut self, name: &str, time: Time) {
        match self.claims_due.get_mut(name) {
            Some(due) => *due = (*due).min(time),
            None => drop(self.claims_due.insert(name.to_owned(), time)),
        }
    }

    /// The clocks for what a claim announces; see `controller::memory::Sightings::settling`.
    pub(crate) fn settling(&mut self, record: &Record, now: Time, server_now: Timestamp) -> Settling {
        let none = Settling { now: server_now, settle: SETTLE, seen_for: Duration::ZERO, nothing_for: None };
        if !record.claim.is_uncertain() {
            self.sightings.remove(&record.uid);
            return none;
        }
        let announced = announced(&record.claim);
        let fresh = || Sighting { announced, since: now, nothing_since: None };
        let sighting = self.sightings.entry(record.uid.clone()).or_insert_with(fresh);
        if sighting.announced != announced {
            *sighting = fresh();
        }
        Settling {
            seen_for: duration(now - sighting.since),
            nothing_for: sighting.nothing_since.map(|since| duration(now - since)),
            ..none
        }
    }

    pub(crate) fn gone_for(&self, id: &ProjectId, now: Time) -> Option<Duration> {
        self.absences.get(id).map(|since| duration(now - since))
    }

    /// Notes what both witnesses say; see `controller::memory::Absences`.
    pub(crate) fn looked_for(&mut self, id: &ProjectId, is_gone: bool, now: Time) -> Presence {
        if !is_gone {
            self.absences.remove(id);
            return Presence::There;
        }
        match self.gone_for(id, now) {
            Some(gone_for) if gone_for >= SETTLE => Presence::GoneAgain,
            Some(_) => Presence::Gone,
            None => {
                self.absences.insert(id.clone(), now);
                Presence::Gone
            }
        }
    }

    /// What is known of the last look; see `controller::looks`.
    pub(crate) fn look_view(&self, desired: &Desired, now: Time) -> LookView {
        let known = self.looks.get(&desired.uid);
        let last = known.map_or(self.begun, |(last, _)| *last);
        let tried = known.and_then(|(_, tried)| tried.as_ref());
        LookView { is_due: now - last >= LOOK_INTERVAL, is_tried: tried == Some(&desired.settings) }
    }

    pub(crate) fn looked(&mut self, uid: &str, now: Time) {
        self.looks.entry(uid.to_owned()).or_insert((now, None)).0 = now;
    }

    /// How a pass that has looked has ended.
    pub(crate) fn concluded(&mut self, desired: &Desired, has_differences: bool) {
        if let Some((_, tried)) = self.looks.get_mut(&desired.uid) {
            *tried = has_differences.then(|| desired.settings.clone());
        }
    }

    /// Notes a complete walk; see `controller::memory::Sightings::walked`.
    pub(crate) fn walked(&mut self, claim_uid: &str, is_witness: bool, now: Time) {
        if let Some(sighting) = self.sightings.get_mut(claim_uid) {
            let since = sighting.nothing_since.unwrap_or(now);
            sighting.nothing_since = is_witness.then_some(since);
        }
    }
}
