//! The claim's key in the model: its replacement, its proof and the second witness, and what is remembered of them. See
//! `controller::project::own_key`.

use super::Model;
use super::remote::{Mutation, Refusal, Reply};
use super::shell::{Ended, Sent};
use crate::domain::claim::Claim;
use crate::domain::key::ApiKey;
use crate::domain::plan::Step;
use crate::domain::reason::Reason;
use crate::domain::world::{Capability, KeyCheck, KeysSeen, OwnKey, Pass};

impl Model {
    /// The same for a key that the claim has, and keeps until the new one is there.
    pub(super) fn replace_key(&mut self, claim: Claim, attempt: u32, key: ApiKey) -> Result<bool, Ended> {
        let id = claim.project_id().cloned().ok_or(Ended("no project"))?;
        let is_repeated = claim.rotation().is_some_and(|rotation| rotation.doubtful_since.is_some());
        self.turns.insert(if is_repeated { "a replacement was repeated" } else { "a key was replaced" });
        let record = self.write(claim, Some(key))?;
        self.settling();
        match self.call(&record, attempt, Mutation::Regenerate(id))? {
            Sent::Answered(Reply::Refused(Refusal::Forbidden)) => {
                self.desired.regenerate_key = Capability::Unavailable;
                Ok(true)
            }
            Sent::Answered(Reply::Refused(_)) => Err(Ended("no key")),
            Sent::Unknown if is_repeated => Err(Ended("no key")),
            Sent::Answered(_) | Sent::Unknown => Ok(false),
        }
    }

    pub(super) fn read_keys(&mut self, key: &ApiKey) -> KeysSeen {
        let (now, id) = (self.now, self.claim.as_ref().and_then(|record| record.claim.project_id().cloned()));
        let Some(detail) = id.and_then(|id| self.remote.read(&id, now)) else { return KeysSeen::NoProject };
        // A key that is listed here works, and was not rejected.
        let is_dead = self.remote.opened_by(key).is_none();
        self.law(is_dead, "only a rejected key costs a second look");
        KeysSeen::Listed { own: OwnKey::Unlisted, others: detail.keys }
    }

    /// See `controller::memory::KeySuspicions`.
    pub(super) fn note_key(&mut self, pass: &Pass) {
        self.is_key_suspected = match pass.key {
            KeyCheck::Unseen => self.is_key_suspected,
            KeyCheck::Lives => false,
            KeyCheck::Rejected(_) => true,
        };
    }

    /// What the status says after the pass, and what was asked for.
    pub(super) fn report(&mut self, step: &Step) {
        let reason = match step {
            Step::Stall(reason, _) | Step::Wait(reason, ..) => Some(*reason),
            _ => None,
        };
        self.desired.key_health.is_asked = false;
        self.desired.key_health.is_reported =
            reason.is_some_and(|reason| matches!(reason, Reason::KeyRejected | Reason::RotationNotEnabled));
    }

    /// One that is made while a regenerate is not answered cannot be told from the one that this may have issued.
    pub(super) fn third_changes_keys(&mut self, revokes: bool) {
        let Some(record) = self.claim.as_ref().filter(|record| record.key.is_some()) else { return };
        let Some(id) = record.claim.project_id().cloned() else { return };
        if revokes || !record.claim.is_key_doubtful() {
            self.remote.third_changes_keys(&id, revokes, self.now);
        }
    }
}
