//! The claim: the operator's own record of one project, and its legal transitions. Fields are private, so that nothing
//! else can change one. How claims are kept is `controller::ledger`'s; late answers are merged in [`merge`].

mod end;
mod merge;
mod published;
mod rotation;
mod takeover;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::end::{Deletion, DeletionOutcome, Purpose, Receipt};
pub use self::merge::{Merge, merge};
pub use self::published::{Published, Superseded};
pub use self::rotation::{Rotation, RotationReason, Stage};
use super::evidence::began_after;
use super::ids::{OrganizationId, ProjectId, ProjectName, claim_name};
use super::key::{ApiKey, KeyRecord};
use super::settings::Settings;

/// The version of the claim's schema that this release writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The resource that a claim belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Namespace of the resource.
    pub namespace: String,
    /// UID of that namespace: one that is made again is another.
    pub namespace_uid: String,
    /// Name of the resource.
    pub name: String,
    /// UID of the resource.
    pub uid: String,
}

/// How far a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No project is known yet; with open attempts there may be one.
    Creating,
    /// The project is known, its key is not.
    KeyPending,
    /// Project and key are known.
    Owned,
    /// The deletion of its project is announced. A key that it has stays until the project is seen to be gone.
    Deleting,
}

/// How the project's id came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// From our own parsed answer.
    Created,
    /// Found by evidence.
    Recovered,
    /// Taken over, as `spec.adopt` says.
    Adopted,
}

/// A creation that was announced and is not settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Counted from 1, never used twice in one claim.
    pub number: u32,
    /// Server time of the announcement.
    pub started_time: Timestamp,
    /// A later attempt was answered 409 while this one was open.
    #[serde(default)]
    pub conflict: bool,
}

/// What the API last accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppliedSettings {
    /// The managed members.
    pub values: Settings,
    /// When they were accepted or seen, in server time.
    pub time: Timestamp,
}

/// A transition that the claim does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a claim that is {phase:?} cannot {transition}")]
pub struct Illegal {
    phase: Phase,
    transition: &'static str,
}

/// See the module. Serialized as `claim.json`, without secrets; unknown fields are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    version: u32,
    owner: Owner,
    organization: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organization_id: Option<OrganizationId>,
    project_name: ProjectName,
    phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
    #[serde(default)]
    attempts: Vec<Attempt>,
    #[serde(default)]
    last_attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project_id: Option<ProjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<KeyRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<Rotation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<Published>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    superseded: Vec<Superseded>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    applied_settings: Option<AppliedSettings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deletion: Option<Deletion>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

macro_rules! readers {
    ($($(#[$doc:meta])* $field:ident: $type:ty => $read:expr;)*) => {
        $($(#[$doc])*
        pub fn $field(&self) -> $type {
            let read: fn(&Claim) -> $type = $read;
            read(self)
        })*
    };
}

impl Claim {
    readers! {
        /// Version of the schema that it was written with.
        version: u32 => |claim| claim.version;
        /// The resource it belongs to.
        owner: &Owner => |claim| &claim.owner;
        /// Name of the ComposioOrganization.
        organization: &str => |claim| &claim.organization;
        /// Id of the organization at Composio, once known.
        organization_id: Option<&OrganizationId> => |claim| claim.organization_id.as_ref();
        /// Exact name at Composio.
        project_name: &ProjectName => |claim| &claim.project_name;
        /// How far it is.
        phase: Phase => |claim| claim.phase;
        /// How the id came to be known; `None` while `Creating`.
        origin: Option<Origin> => |claim| claim.origin;
        /// Announced and not settled; not empty = uncertain.
        attempts: &[Attempt] => |claim| &claim.attempts;
        /// Number of the last attempt ever announced.
        last_attempt: u32 => |claim| claim.last_attempt;
        /// From `KeyPending` on.
        project_id: Option<&ProjectId> => |claim| claim.project_id.as_ref();
        /// Server time of the project's creation, from `KeyPending` on.
        created_time: Option<Timestamp> => |claim| claim.created_time;
        /// Describes the key, from `Owned` on.
        key: Option<&KeyRecord> => |claim| claim.key.as_ref();
        /// The last key replacement.
        rotation: Option<&Rotation> => |claim| claim.rotation.as_ref();
        /// The Secret that workloads read, once recorded.
        published: Option<&Published> => |claim| claim.published.as_ref();
        /// Secrets that were published under an earlier name and are not removed yet.
        superseded: &[Superseded] => |claim| &claim.superseded;
        /// What the API last accepted.
        applied_settings: Option<&AppliedSettings> => |claim| claim.applied_settings.as_ref();
    }

    /// A claim for a project that does not exist yet, without an attempt.
    pub fn new(
        owner: Owner,
        organization: String,
        organization_id: Option<OrganizationId>,
        project_name: ProjectName,
    ) -> Self {
        Self {
            version: VERSION,
            owner,
            organization,
            organization_id,
            project_name,
            phase: Phase::Creating,
            origin: None,
            attempts: Vec::new(),
            last_attempt: 0,
            project_id: None,
            created_time: None,
            key: None,
            rotation: None,
            published: None,
            superseded: Vec::new(),
            applied_settings: None,
            deletion: None,
            unknown: BTreeMap::new(),
        }
    }

    /// The name under which the ledger keeps it.
    pub fn name(&self) -> String {
        claim_name(&self.organization, &self.project_name)
    }

    /// Something was announced that has to be finished, or may still come to something.
    pub fn is_uncertain(&self) -> bool {
        !self.attempts.is_empty() || self.is_key_doubtful() || self.phase == Phase::Deleting
    }

    fn only_in(&self, phase: Phase, transition: &'static str) -> Result<(), Illegal> {
        if self.phase == phase { Ok(()) } else { Err(Illegal { phase: self.phase, transition }) }
    }

    /// `Creating`: announces a creation that starts at `now` (server time) and returns its number.
    pub fn announce(mut self, now: Timestamp) -> Result<(Self, u32), Illegal> {
        self.only_in(Phase::Creating, "announce a creation")?;
        self.last_attempt += 1;
        let attempt = Attempt { number: self.last_attempt, started_time: now, conflict: false };
        self.attempts.push(attempt);
        let number = self.last_attempt;
        Ok((self, number))
    }

    /// Any phase: a definite answer, or not having been sent, removes that attempt only. `conflict` (409) is noted on
    /// the attempts that stay open, since one of them may be its cause.
    #[must_use]
    pub fn refused(mut self, number: u32, conflict: bool) -> Self {
        self.attempts.retain(|attempt| attempt.number != number);
        for attempt in &mut self.attempts {
            attempt.conflict |= conflict;
        }
        self
    }

    /// `Creating`: the project of one of the attempts was found by evidence; its key is not known. Attempts that began
    /// after its birth did not make it and may still come to something: they stay open.
    pub fn recovered(mut self, id: ProjectId, created_time: Timestamp) -> Result<Self, Illegal> {
        self.only_in(Phase::Creating, "take up a project that was found")?;
        self.phase = Phase::KeyPending;
        self.origin = Some(Origin::Recovered);
        self.project_id = Some(id);
        self.created_time = Some(created_time);
        self.attempts.retain(|attempt| began_after(attempt, created_time));
        Ok(self)
    }

    /// Any phase: evidence has shown that no open attempt has made, or will make, a project.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.attempts.clear();
        self
    }

    /// Any phase: evidence has shown so of all open attempts but the youngest.
    #[must_use]
    pub fn settled_but_youngest(mut self) -> Self {
        let youngest = self.attempts.iter().map(|attempt| attempt.number).max();
        self.attempts.retain(|attempt| Some(attempt.number) == youngest);
        self
    }

    /// Any phase: another resource of the same name takes the claim over. Whether it may is the plan's to decide.
    #[must_use]
    pub fn rebound(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    /// Any phase but `Creating`: the API accepted or showed these settings.
    pub fn with_settings(mut self, values: Settings, time: Timestamp) -> Result<Self, Illegal> {
        if self.phase == Phase::Creating {
            return Err(Illegal { phase: self.phase, transition: "have settings" });
        }
        self.applied_settings = Some(AppliedSettings { values, time });
        Ok(self)
    }

    /// Any phase: the organization's id, once it is known.
    #[must_use]
    pub fn of_organization(mut self, id: Option<&OrganizationId>) -> Self {
        self.organization_id = self.organization_id.or_else(|| id.cloned());
        self
    }
}

/// A claim as the ledger holds it.
#[derive(Clone)]
pub struct Record {
    /// Without secrets.
    pub claim: Claim,
    /// The key that `claim.key` describes.
    pub key: Option<ApiKey>,
    /// UID of the Secret that keeps it.
    pub uid: String,
    /// Precondition of the next write.
    pub resource_version: String,
}
