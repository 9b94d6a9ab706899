//! Key replacements: the first key of a project that is known without one, and the replacement of a key that a claim holds.
//! A regenerate kills every key of its project (API 5.6), so that a lost answer leaves the key on record in doubt. How
//! answers come into the claim is [`super::merge`]'s.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Claim, Illegal, Origin, Phase};

/// The last key replacement. It is never removed, only replaced, so that no number is used twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// Counted from 1.
    pub attempt: u32,
    /// Server time of the announcement.
    pub started_time: Timestamp,
    /// How far it is.
    pub stage: Stage,
    /// Why a key that the claim had is replaced; `None`: the project had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RotationReason>,
    /// Server time of the first announcement before this one that was never answered: it may have been carried out, or may
    /// still be, and any other key be dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubtful_since: Option<Timestamp>,
}

impl Rotation {
    /// The key is to be proven, and published, before the replacement counts as done.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Stored || self.open_since().is_some()
    }

    /// Server time since which a regenerate may have been carried out whose answer is not here.
    pub fn open_since(&self) -> Option<Timestamp> {
        let announced = (self.stage == Stage::Announced).then_some(self.started_time);
        self.doubtful_since.or(announced)
    }
}

/// How far a key replacement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// May have been sent; its answer is not in the claim.
    Announced,
    /// Its key is in the claim, and has not been proven yet.
    Stored,
    /// Its key is in the claim.
    Done,
    /// Taken back: refused, not sent, without effect, or for a project that is gone.
    Withdrawn,
}

/// Why a key is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RotationReason {
    /// Composio does not accept it any more, as `spec.onInvalidKey` says.
    InvalidKey,
}

impl Claim {
    /// A regenerate may have been carried out whose answer is not here: any other key may be dead.
    pub fn is_key_doubtful(&self) -> bool {
        self.rotation.as_ref().is_some_and(|rotation| rotation.open_since().is_some())
    }

    /// A replacement is under way.
    pub fn is_rotation_open(&self) -> bool {
        self.rotation.as_ref().is_some_and(Rotation::is_open)
    }

    /// A regenerate may have been sent whose answer is not here.
    pub fn is_key_announced(&self) -> bool {
        self.rotation.as_ref().is_some_and(|rotation| rotation.stage == Stage::Announced)
    }

    /// The last replacement of a key that the claim had, once the new one is in it.
    pub fn last_rotation(&self) -> Option<(&Rotation, RotationReason)> {
        let stored = |rotation: &&Rotation| matches!(rotation.stage, Stage::Stored | Stage::Done);
        let rotation = self.rotation.as_ref().filter(stored)?;
        Some((rotation, rotation.reason?))
    }

    /// `KeyPending`: announces a regenerate and returns its number.
    pub fn announce_key(self, now: Timestamp) -> Result<(Self, u32), Illegal> {
        self.only_in(Phase::KeyPending, "announce a key")?;
        Ok(self.announced(now, None))
    }

    /// `Owned`: announces a regenerate that replaces the key, and returns its number. The key stays until the new one is
    /// there. What was announced before and never answered is not waited for: that would prolong the outage.
    pub fn announce_rotation(self, now: Timestamp, reason: RotationReason) -> Result<(Self, u32), Illegal> {
        self.only_in(Phase::Owned, "announce the replacement of its key")?;
        Ok(self.announced(now, Some(reason)))
    }

    fn announced(mut self, now: Timestamp, reason: Option<RotationReason>) -> (Self, u32) {
        let last = self.rotation.as_ref();
        let attempt = last.map_or(0, |rotation| rotation.attempt) + 1;
        let doubtful_since = last.and_then(Rotation::open_since);
        self.rotation =
            Some(Rotation { attempt, started_time: now, stage: Stage::Announced, reason, doubtful_since });
        (self, attempt)
    }

    /// Any phase: the key on record was seen to work, when nothing announced could come to anything any more: so nothing
    /// has.
    #[must_use]
    pub fn key_proven(mut self) -> Self {
        if let Some(rotation) = &mut self.rotation {
            rotation.doubtful_since = None;
            rotation.stage = match rotation.stage {
                Stage::Announced | Stage::Withdrawn => Stage::Withdrawn,
                Stage::Stored | Stage::Done => Stage::Done,
            };
        }
        self
    }

    fn announced_key(&mut self, attempt: u32) -> Option<&mut Rotation> {
        let is_meant =
            |rotation: &&mut Rotation| rotation.attempt == attempt && rotation.stage == Stage::Announced;
        self.rotation.as_mut().filter(is_meant)
    }

    /// Any phase: a definite refusal, or not having been sent, takes that announcement back.
    #[must_use]
    pub fn key_refused(mut self, attempt: u32) -> Self {
        if let Some(rotation) = self.announced_key(attempt) {
            rotation.stage = Stage::Withdrawn;
        }
        self
    }

    /// Any phase: the regenerate of that announcement was answered 404. A project that was younger than `settle` may not
    /// be known everywhere yet (API 16, 17), so that only the announcement is taken back; an older one is gone. One whose
    /// key was published is looked for otherwise.
    pub fn key_missed(mut self, attempt: u32, settle: Duration) -> Result<Self, Illegal> {
        let born = self.created_time;
        let is_old = self.announced_key(attempt).zip(born).is_some_and(|(rotation, born)| {
            Duration::try_from(rotation.started_time.duration_since(born)).unwrap_or_default() >= settle
        });
        // Whether another one is made in place of an adopted project is `spec.onProjectMissing`'s to say.
        let may_go = self.phase == Phase::KeyPending && self.origin != Some(Origin::Adopted);
        if is_old && may_go { self.gone() } else { Ok(self.key_refused(attempt)) }
    }
}
