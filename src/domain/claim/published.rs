//! What a claim says of the published Secret: the one that workloads read, those that were renamed away, and a key that
//! was found in one. How a Secret is told from a foreign one is `controller::secrets`'s.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Claim, Illegal, KeyRecord, Phase, Record, Stage};
use crate::domain::key::{ApiKey, FingerprintKey};

/// The Secret that workloads read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Name in the owner's namespace.
    pub name: String,
    /// UID of the Secret.
    pub uid: String,
}

/// A Secret that was published under an earlier name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Superseded {
    /// Name in the owner's namespace.
    pub name: String,
    /// UID of the Secret.
    pub uid: String,
    /// Server time at which its successor was recorded.
    pub since_time: Timestamp,
}

impl Claim {
    /// `Owned`: the Secret that workloads read. One of another name that was recorded before is superseded at `now`
    /// (server time); one that is published again is not superseded any more.
    pub fn publishing(mut self, published: Published, now: Timestamp) -> Result<Self, Illegal> {
        self.only_in(Phase::Owned, "publish")?;
        if let Some(Published { name, uid }) = self.published.take().filter(|old| old.name != published.name)
        {
            self.superseded.retain(|known| known.name != name);
            self.superseded.push(Superseded { name, uid, since_time: now });
        }
        self.superseded.retain(|known| known.name != published.name);
        self.published = Some(published);
        Ok(self)
    }

    /// Any phase: a superseded Secret is removed, or is not ours any more.
    #[must_use]
    pub fn without_superseded(mut self, uid: &str) -> Self {
        self.superseded.retain(|known| known.uid != uid);
        self
    }

    /// The Secret of this UID is the published one, or was.
    pub fn has_published(&self, uid: &str) -> bool {
        self.published.as_ref().is_some_and(|published| published.uid == uid)
            || self.superseded.iter().any(|superseded| superseded.uid == uid)
    }
}

impl Record {
    /// `KeyPending`, `Owned`: the key of this project that was found in a Secret, and is proven to live, is taken up as
    /// issued at `issued_time`. In `KeyPending`, whoever calls this has waited until no announced regenerate can come to
    /// anything any more: then a living key shows that none has. In `Owned` what is in doubt stays so.
    pub fn taking_up(
        &self,
        key: &ApiKey,
        issued_time: Timestamp,
        secret: &FingerprintKey,
    ) -> Result<Claim, Illegal> {
        let mut claim = self.claim.clone();
        let had_none = claim.phase != Phase::Owned;
        if had_none {
            claim.only_in(Phase::KeyPending, "take up a key that was found")?;
        }
        claim.phase = Phase::Owned;
        // A key that replaces another is never older: answers are ordered by this time.
        let issued_time = claim.key.as_ref().map_or(issued_time, |known| known.issued_time.max(issued_time));
        claim.key = Some(KeyRecord::new(key, issued_time, secret));
        if let Some(rotation) = claim.rotation.as_mut().filter(|_| had_none) {
            rotation.doubtful_since = None;
            if rotation.stage == Stage::Announced {
                rotation.stage = Stage::Withdrawn;
            }
        }
        Ok(claim)
    }
}
