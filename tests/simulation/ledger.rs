//! Writes that the laws look at: of claims and of published Secrets. Whoever watches is told.

use composio_operator::domain::claim::{Claim, Phase, Record};
use composio_operator::domain::key::ApiKey;

use crate::cluster::{Key, Refused, Secret, SecretKey};
use crate::guard::Guard;
use crate::laws;
use crate::realm::Realm;

impl Realm {
    pub(crate) fn create_claim(&mut self, claim: &Claim) -> Result<Record, Refused> {
        let record = self.cluster.create_claim(claim)?;
        laws::claim_written(self, None, &record);
        self.tell_watchers(&record);
        Ok(record)
    }

    pub(crate) fn update_claim(
        &mut self,
        seen: &Record,
        claim: &Claim,
        key: Option<&ApiKey>,
    ) -> Result<Record, Refused> {
        let before = self.cluster.claims.get(seen.claim.project_name().as_str()).cloned();
        let record = self.cluster.update_claim(seen, claim, key, self.has(Guard::CompareAndSwap))?;
        laws::claim_written(self, before.as_ref(), &record);
        self.tell_watchers(&record);
        Ok(record)
    }

    pub(crate) fn remove_claim(&mut self, seen: &Record) -> Result<(), Refused> {
        self.cluster.remove_claim(seen, self.has(Guard::CompareAndSwap))?;
        let name = seen.claim.project_name().as_str();
        self.tell(|| format!("claim {name} is removed"));
        laws::claim_removed(self, seen);
        Ok(())
    }

    /// Tombstone, then the claim is removed; `controller::tombstones`.
    pub(crate) fn bury(&mut self, seen: Option<&Record>) -> Result<(), Refused> {
        let seen = seen.ok_or(Refused::NotFound)?;
        self.cluster.remove_claim(seen, self.has(Guard::CompareAndSwap))?;
        self.cluster.buried.extend(seen.claim.project_id().cloned());
        self.tell(|| format!("claim {} is buried", seen.claim.project_name()));
        laws::buried(self, seen);
        Ok(())
    }

    /// The finalizer falls; with a policy that deletes, the Secret goes with the resource.
    pub(crate) fn release(&mut self, key: Key, uid: &str) -> Result<(), Refused> {
        let found = self.cluster.resources.get(&key).cloned();
        self.cluster.write_finalizer(key, uid, false)?;
        self.count("a resource was released");
        if let Some(found) = found {
            laws::released(self, key, &found);
        }
        Ok(())
    }

    pub(crate) fn remove_secret(&mut self, at: SecretKey, seen: &Secret) -> Result<(), Refused> {
        let found = self.cluster.secrets.get(&at).ok_or(Refused::NotFound)?;
        if found.uid != seen.uid || found.resource_version != seen.resource_version {
            return Err(Refused::Conflict);
        }
        let is_foreign = found.is_foreign;
        self.law(!is_foreign, "a foreign Secret is never removed");
        self.cluster.secrets.remove(&at);
        self.count("a Secret that was renamed away was removed");
        Ok(())
    }

    pub(crate) fn write_secret(
        &mut self,
        at: SecretKey,
        seen: Option<&Secret>,
        secret: Secret,
        record: &Record,
    ) -> Result<(), Refused> {
        let before = self.cluster.secrets.get(&at).cloned();
        self.cluster.write_secret(at, seen, secret)?;
        self.count("a Secret was written");
        self.tell(|| format!("Secret {at:?} is written for {}", record.claim.owner().uid));
        laws::secret_written(self, at, before.as_ref(), record);
        Ok(())
    }

    /// Whether a claim is one that its own watch looks at.
    pub(crate) fn is_unsettled(&self, name: &str) -> bool {
        let found = self.cluster.claims.get(name);
        found.is_some_and(|record| matches!(record.claim.phase(), Phase::Creating | Phase::Deleting))
    }

    fn tell_watchers(&mut self, record: &Record) {
        let name = record.claim.project_name().as_str();
        self.tell(|| format!("claim {name} is {}", told(record)));
        if self.is_unsettled(name) {
            for process in 0..self.processes.len() {
                let soon = self.now + self.latency();
                self.processes[process].look_at_claim(name, soon);
            }
        }
    }
}

/// A claim in a story.
pub(crate) fn told(record: &Record) -> String {
    let claim = &record.claim;
    let open: Vec<_> = claim.attempts().iter().map(|open| (open.number, open.conflict)).collect();
    let key = claim.rotation().map(|rotation| (rotation.attempt, rotation.stage));
    let (owner, id) =
        (claim.owner(), claim.project_id().map(composio_operator::domain::ids::ProjectId::as_str));
    let has_key = record.key.is_some();
    format!(
        "{:?} {id:?} attempts {open:?} regenerate {key:?} key {has_key} of {} ({})",
        claim.phase(),
        owner.uid,
        record.uid
    )
}
