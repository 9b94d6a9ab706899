//! The claim's key: regenerate, its proof, and the second witness. Mirrors `controller::project::own_key`.

use composio_operator::domain::answer::CallError;
use composio_operator::domain::claim::{Claim, Phase};
use composio_operator::domain::failure::Failure;
use composio_operator::domain::key::ApiKey;
use composio_operator::domain::world::{Capability, KeyCheck, KeysSeen, OwnKey, Pass, SettingsView};

use super::execute::{Work, failure, project_id};
use crate::guard::Guard;
use crate::realm::{Realm, timestamp};
use crate::remote::Mutation;

impl Work<'_> {
    /// Returns whether Composio refuses to issue a key.
    pub(super) async fn acquire_key(&self, claim: &Claim, attempt: u32) -> Result<bool, Failure> {
        let id = project_id(claim)?;
        let replaces = claim.phase() == Phase::Owned;
        let is_repeated = claim.rotation().is_some_and(|rotation| rotation.doubtful_since.is_some());
        if replaces {
            self.still_there().await?;
            let turn = if is_repeated { "a replacement was repeated" } else { "a key was replaced" };
            self.ctx.with(|realm| realm.count(turn));
        }
        let is_announced = self.ctx.has(Guard::KeyAnnounced);
        match self.announced(claim, attempt, None, |_| Mutation::Regenerate(id), is_announced).await? {
            None => Ok(false),
            Some(CallError::Forbidden(_)) => {
                self.ctx.process(|process| process.regenerates = Capability::Unavailable);
                Ok(true)
            }
            Some(CallError::Unknown { .. }) if replaces && !is_repeated => Ok(false),
            Some(error) => Err(failure(self.ctx, error)),
        }
    }

    pub(super) fn begin_look(&self) {
        let health = &self.desired.key_health;
        if health.is_asked || health.is_reported {
            self.ctx.process(|process| process.key_suspicions.insert(self.desired.uid.clone()));
        }
    }

    pub(super) fn note_key(&self, seen: &KeyCheck) {
        self.ctx.process(|process| match seen {
            KeyCheck::Unseen => {}
            KeyCheck::Lives => drop(process.key_suspicions.remove(&self.desired.uid)),
            KeyCheck::Rejected(_) => drop(process.key_suspicions.insert(self.desired.uid.clone())),
        });
    }

    fn own_key(&self) -> Result<&ApiKey, Failure> {
        self.record()?.key.as_ref().ok_or_else(|| Failure::bug("a proof without a key"))
    }

    /// One call with the key. Once in a while a living key is rejected: somewhere it is not known.
    async fn proves(&self) -> Result<bool, Failure> {
        let key = self.own_key()?;
        let lives =
            self.ctx.look(|realm: &mut Realm| !realm.fault(12) && realm.remote.opened_by(key).is_some());
        lives.await.map_err(|error| failure(self.ctx, error))
    }

    pub(super) async fn prove_own_key(&self, pass: &mut Pass, is_routine: bool) -> Result<(), Failure> {
        self.begin_look();
        if is_routine {
            self.note_look();
        }
        match self.proves().await {
            Ok(true) => pass.key = KeyCheck::Lives,
            Ok(false) => pass.key = KeyCheck::Rejected(String::new()),
            Err(failure) => pass.saw_settings(SettingsView::Failed(failure)),
        }
        self.note_key(&pass.key);
        Ok(())
    }

    pub(super) async fn read_keys(&self) -> Result<(KeysSeen, bool), Failure> {
        let (id, key) = (project_id(&self.record()?.claim)?, self.own_key()?.clone());
        let seen = self.ctx.look(|realm: &mut Realm| {
            realm.remote.read(&id, realm.now)?;
            let keys = realm.remote.get(&id).map(|project| project.keys.clone())?;
            let others = keys.iter().filter(|(known, _)| !known.is(&key)).map(|(_, born)| timestamp(*born));
            Some((keys.iter().any(|(known, _)| known.is(&key)), others.collect::<Vec<_>>()))
        });
        let Some((is_listed, others)) = seen.await.map_err(|error| failure(self.ctx, error))? else {
            return Ok((KeysSeen::NoProject, false));
        };
        let is_listed = is_listed && self.ctx.has(Guard::SecondWitness);
        let others = if self.ctx.has(Guard::OthersKeys) { others } else { Vec::new() };
        let lives = is_listed && self.proves().await?;
        let own = if is_listed { OwnKey::Listed } else { OwnKey::Unlisted };
        Ok((KeysSeen::Listed { own, others }, lives))
    }
}
