//! What this process remembers between passes. Losing it costs time, never correctness.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use crate::composio::BootInstant;
use crate::crd::ComposioProject;
use crate::domain::absence::{Absence, Look, listed};
use crate::domain::claim::{Claim, Record};
use crate::domain::evidence::Settling;
use crate::domain::ids::ProjectId;
use crate::domain::world::KeyCheck;

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

impl Absences {
    /// What is known.
    pub fn get(&self, id: &ProjectId) -> Option<Absence> {
        lock(&self.0).get(id).copied()
    }

    /// Something points to its absence, since this time.
    pub fn suspect(&self, id: &ProjectId, since: BootInstant) {
        lock(&self.0).entry(id.clone()).or_insert(Absence::Suspected(since.since_boot()));
    }

    /// A read by id does not know it; `look` says what follows from what was known.
    pub fn unread(&self, id: &ProjectId, look: impl FnOnce(Option<Absence>) -> Look) -> Look {
        let mut absences = lock(&self.0);
        let look = look(absences.get(id).copied());
        match look.known {
            Some(known) => absences.insert(id.clone(), known),
            None => absences.remove(id),
        };
        look
    }

    /// It is there.
    pub fn forget(&self, id: &ProjectId) {
        lock(&self.0).remove(id);
    }

    /// Forgets the projects that no claim has: they were let go, deleted or replaced, and nobody looks for them any more.
    pub fn keep(&self, is_claimed: impl Fn(&ProjectId) -> bool) {
        lock(&self.0).retain(|id, _| is_claimed(id));
    }

    /// A sweep has shown those that `is_listed` names.
    pub fn swept(&self, begun: BootInstant, is_listed: impl Fn(&ProjectId) -> bool) {
        for (_, known) in lock(&self.0).iter_mut().filter(|(id, _)| is_listed(id)) {
            *known = listed(*known, begun.since_boot());
        }
    }

    /// Since when a project has been gone.
    pub fn gone_for(&self, id: &ProjectId) -> Option<Duration> {
        match self.get(id)? {
            Absence::Gone(since) => Some(BootInstant::from_boot(since).elapsed()),
            Absence::Suspected(_) => None,
        }
    }
}

/// UIDs of the resources whose key was rejected, or was looked at for a reason, and has not been seen to work since.
#[derive(Default)]
pub struct KeySuspicions(Mutex<HashSet<String>>);

impl KeySuspicions {
    /// A look begins for which there is a reason; it may come to nothing.
    pub fn look(&self, uid: &str) {
        lock(&self.0).insert(uid.to_owned());
    }

    /// Notes what a look at the key has shown.
    pub fn looked(&self, uid: &str, seen: &KeyCheck) {
        match seen {
            KeyCheck::Unseen => {}
            KeyCheck::Lives => self.forget(uid),
            KeyCheck::Rejected(_) => self.look(uid),
        }
    }

    /// Whether the key is to be looked at again.
    pub fn has(&self, uid: &str) -> bool {
        lock(&self.0).contains(uid)
    }

    /// The resource is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.0).remove(uid);
    }
}

/// Keys that are being replaced: since when their workloads may have none that works. By UID of the claim.
#[derive(Clone, Default)]
pub struct Gaps(Arc<Mutex<HashMap<String, BootInstant>>>);

impl Gaps {
    /// A regenerate is about to be sent. One that is repeated prolongs the gap.
    pub fn begin(&self, claim_uid: &str) {
        lock(&self.0).entry(claim_uid.to_owned()).or_insert_with(BootInstant::now);
    }

    /// The new key is published, or there will be none.
    pub fn end(&self, claim_uid: &str) -> Option<Duration> {
        lock(&self.0).remove(claim_uid).map(BootInstant::elapsed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_claim_has_is_not_looked_for_any_more() {
        let (absences, now) = (Absences::default(), BootInstant::now());
        let [held, gone] = ["pr_held", "pr_gone"].map(|id| ProjectId::try_from(id.to_owned()).unwrap());
        absences.suspect(&held, now);
        absences.suspect(&gone, now);
        absences.keep(|id| *id == held);
        assert!(absences.get(&held).is_some() && absences.get(&gone).is_none());
    }
}
