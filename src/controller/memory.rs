//! What this process remembers between passes. Losing it costs time, never correctness.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use crate::composio::BootInstant;
use crate::crd::ComposioProject;
use crate::domain::claim::{Claim, Record};
use crate::domain::evidence::Settling;
use crate::domain::ids::ProjectId;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When this process first saw what a claim announces, and when its walks began to find nothing.
#[derive(Default)]
pub struct Sightings(Mutex<HashMap<String, Sighting>>);

struct Sighting {
    announced: Announced,
    since: BootInstant,
    nothing_since: Option<BootInstant>,
}

/// What is announced: last attempt, last key replacement, deletion.
type Announced = (u32, Option<u32>, Option<Timestamp>);

fn announced(claim: &Claim) -> Announced {
    let rotation = claim.rotation().map(|rotation| rotation.attempt);
    (claim.last_attempt(), rotation, claim.deletion_started_time())
}

impl Sightings {
    /// The clocks for what `record` announces, noting the first sight of it; forgets what is settled.
    pub fn settling(&self, record: &Record, now: Timestamp, settle: Duration) -> Settling {
        let mut sightings = lock(&self.0);
        if !record.claim.is_uncertain() {
            sightings.remove(&record.uid);
            return Settling { now, settle, seen_for: Duration::ZERO, nothing_for: None };
        }
        let fresh = || Sighting {
            announced: announced(&record.claim),
            since: BootInstant::now(),
            nothing_since: None,
        };
        let sighting = sightings.entry(record.uid.clone()).or_insert_with(fresh);
        if sighting.announced != announced(&record.claim) {
            sighting.announced = announced(&record.claim);
            sighting.since = BootInstant::now();
            sighting.nothing_since = None;
        }
        let nothing_for = sighting.nothing_since.map(BootInstant::elapsed);
        Settling { now, settle, seen_for: sighting.since.elapsed(), nothing_for }
    }

    /// Notes a complete walk for a claim: whether it found nothing although the youngest attempt was settled.
    pub fn walked(&self, claim_uid: &str, is_witness: bool) {
        if let Some(sighting) = lock(&self.0).get_mut(claim_uid) {
            let since = sighting.nothing_since.unwrap_or_else(BootInstant::now);
            sighting.nothing_since = is_witness.then_some(since);
        }
    }
}

/// Projects that may be gone from Composio, until something shows that they are there.
#[derive(Default)]
pub struct Absences(Mutex<HashMap<ProjectId, Absence>>);

/// What is known of a project that may be gone.
#[derive(Debug, Clone, Copy)]
pub enum Absence {
    /// Something points to it. A sweep that was begun at this time or later tells more.
    Suspected(BootInstant),
    /// At this time neither the read by id nor the list knew it, and no look since has shown it.
    Gone(BootInstant),
}

impl Absences {
    /// What is known.
    pub fn get(&self, id: &ProjectId) -> Option<Absence> {
        lock(&self.0).get(id).copied()
    }

    /// Something points to its absence, since this time; returns what is known now.
    pub fn suspect(&self, id: &ProjectId, since: BootInstant) -> Absence {
        *lock(&self.0).entry(id.clone()).or_insert(Absence::Suspected(since))
    }

    /// Both witnesses say so. The first time counts.
    pub fn gone(&self, id: &ProjectId) {
        let mut absences = lock(&self.0);
        let known = absences.entry(id.clone()).or_insert_with(|| Absence::Gone(BootInstant::now()));
        if matches!(known, Absence::Suspected(_)) {
            *known = Absence::Gone(BootInstant::now());
        }
    }

    /// What was seen counts no more: it begins anew at this time.
    pub fn restart(&self, id: &ProjectId, since: BootInstant) {
        lock(&self.0).insert(id.clone(), Absence::Suspected(since));
    }

    /// It is there.
    pub fn forget(&self, id: &ProjectId) {
        lock(&self.0).remove(id);
    }

    /// A sweep has shown those that `is_listed` names: what was gone begins anew.
    pub fn swept(&self, begun: BootInstant, is_listed: impl Fn(&ProjectId) -> bool) {
        for (id, absence) in lock(&self.0).iter_mut() {
            if matches!(absence, Absence::Gone(_)) && is_listed(id) {
                *absence = Absence::Suspected(begun);
            }
        }
    }

    /// Since when a project has been gone.
    pub fn gone_for(&self, id: &ProjectId) -> Option<Duration> {
        match self.get(id)? {
            Absence::Gone(since) => Some(since.elapsed()),
            Absence::Suspected(_) => None,
        }
    }
}

/// Names of the claims for which a task of this process is waiting for an answer.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Mutex<HashSet<String>>>);

/// Ends the entry when the task ends, however it ends.
pub struct InFlightGuard(InFlight, String);

impl InFlight {
    /// Notes a task for this claim.
    pub fn enter(&self, claim_name: String) -> InFlightGuard {
        lock(&self.0).insert(claim_name.clone());
        InFlightGuard(self.clone(), claim_name)
    }

    /// Whether a task is waiting.
    pub fn contains(&self, claim_name: &str) -> bool {
        lock(&self.0).contains(claim_name)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        lock(&self.0.0).remove(&self.1);
    }
}

/// Resources that wait for a claim of another one.
#[derive(Default)]
pub struct Waiters(Mutex<HashMap<ObjectRef<ComposioProject>, Waiting>>);

struct Waiting {
    claim_name: String,
    holder_uid: String,
}

impl Waiters {
    /// Notes that a resource waits.
    pub fn wait(&self, object: ObjectRef<ComposioProject>, claim_name: String, holder_uid: String) {
        lock(&self.0).insert(object, Waiting { claim_name, holder_uid });
    }

    /// Takes out who waits for this claim or for this holder.
    pub fn take(
        &self,
        claim_name: Option<&str>,
        holder_uid: Option<&str>,
    ) -> Vec<ObjectRef<ComposioProject>> {
        let is_meant = |waiting: &Waiting| {
            claim_name == Some(&waiting.claim_name) || holder_uid == Some(&waiting.holder_uid)
        };
        lock(&self.0).extract_if(|_, waiting| is_meant(waiting)).map(|(object, _)| object).collect()
    }
}

/// Failures in a row, by the UID of the object.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// Counts one more and returns how many there are now.
    pub fn count(&self, uid: &str) -> u32 {
        let mut counts = lock(&self.0);
        let count = counts.entry(uid.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// Forgets an object: it has succeeded, or is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.0).remove(uid);
    }
}
