//! Transitions of a claim that takes up a project which it has not made, or loses one that it had. Whether that is
//! permitted and proven is the plan's to decide.

use jiff::Timestamp;

use super::{Claim, Illegal, Origin, Phase, Stage};
use crate::domain::ids::ProjectId;
use crate::domain::key::KeyRecord;

impl Claim {
    /// Knows no project, and no announced creation may still make one: as good as no claim.
    pub fn is_vacant(&self) -> bool {
        self.phase == Phase::Creating && self.attempts.is_empty()
    }

    fn taken_up(mut self, origin: Origin, id: ProjectId, created_time: Timestamp) -> Result<Self, Illegal> {
        if !self.is_vacant() {
            return Err(Illegal { phase: self.phase, transition: "take up a project" });
        }
        self.phase = Phase::KeyPending;
        self.origin = Some(origin);
        self.project_id = Some(id);
        self.created_time = Some(created_time);
        Ok(self)
    }

    fn opened_by(mut self, about: KeyRecord) -> Self {
        self.phase = Phase::Owned;
        self.key = Some(about);
        self
    }

    /// Vacant: a project that somebody else made is taken over; a key is to be issued for it.
    pub fn adopted(self, id: ProjectId, created_time: Timestamp) -> Result<Self, Illegal> {
        self.taken_up(Origin::Adopted, id, created_time)
    }

    /// Vacant: a project that somebody else made is taken over with a key that was proven.
    pub fn adopted_with_key(
        self,
        id: ProjectId,
        created_time: Timestamp,
        about: KeyRecord,
    ) -> Result<Self, Illegal> {
        Ok(self.taken_up(Origin::Adopted, id, created_time)?.opened_by(about))
    }

    /// Vacant: the ledger had lost the project, and a key that was proven brings it back.
    pub fn recovered_with_key(
        self,
        id: ProjectId,
        created_time: Timestamp,
        about: KeyRecord,
    ) -> Result<Self, Illegal> {
        Ok(self.taken_up(Origin::Recovered, id, created_time)?.opened_by(about))
    }

    /// `KeyPending`, `Owned`: the project is gone by two witnesses, twice: back to `Creating`, without its key. The Secret
    /// that workloads read stays on record.
    pub fn lost(mut self) -> Result<Self, Illegal> {
        if !matches!(self.phase, Phase::KeyPending | Phase::Owned) {
            return Err(Illegal { phase: self.phase, transition: "lose its project" });
        }
        self.phase = Phase::Creating;
        self.origin = None;
        self.project_id = None;
        self.created_time = None;
        self.key = None;
        self.applied_settings = None;
        if let Some(rotation) = &mut self.rotation {
            if rotation.stage == Stage::Announced {
                rotation.stage = Stage::Withdrawn;
            }
            rotation.doubtful_since = None;
        }
        Ok(self)
    }
}
