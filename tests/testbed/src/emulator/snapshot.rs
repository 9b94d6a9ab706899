//! What tests and admin routes are shown of the state, and what third parties put into it. `Debug` of these types masks keys.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::identifiers::mask;
use super::modes::{Modes, Plan};
use super::state::{NewProject, OrganizationState, Project, State};

/// A new organization with its first key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// `ok_` and 12 characters, unless chosen.
    pub id: String,
    /// As given.
    pub name: String,
    /// A key that works, `oak_` and 20 characters.
    pub key: String,
}

impl fmt::Debug for Organization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, name, key) = (&self.id, &self.name, mask(&self.key));
        formatter.debug_struct("Organization").field("id", id).field("name", name).field("key", &key).finish()
    }
}

/// An organization as it is now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganizationSummary {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its plan.
    pub plan: Plan,
    /// Keys that work, in full.
    pub keys: Vec<String>,
    /// Its switches.
    pub modes: Modes,
    /// How many live projects it has.
    pub projects: usize,
    /// Creations and deletions so far: the numbers that [`View`] counts in.
    pub commits: u64,
}

/// A project as it is now. `Debug` masks the keys.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ProjectState {
    /// `pr_` and 12 characters.
    pub id: String,
    /// Its exact name.
    pub name: String,
    /// The organization that owns it.
    pub organization_id: String,
    /// By the organization's clock, in whole milliseconds.
    pub created_at: Timestamp,
    /// By the organization's clock, in whole milliseconds.
    pub updated_at: Timestamp,
    /// Set once somebody has subscribed to triggers.
    pub last_subscribed_at: Option<Timestamp>,
    /// Whether it has been deleted.
    pub deleted: bool,
    /// Keys that have not been revoked, in full, oldest first.
    pub keys: Vec<String>,
    /// Settings that are set.
    pub config: Map<String, Value>,
    /// The job that revokes upstream credentials, after a deletion that asked for it.
    pub revoke_job_id: Option<String>,
}

impl fmt::Debug for ProjectState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(|key| mask(key)).collect();
        formatter
            .debug_struct("ProjectState")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("organization_id", &self.organization_id)
            .field("created_at", &self.created_at)
            .field("deleted", &self.deleted)
            .field("keys", &keys)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl From<&Project> for ProjectState {
    fn from(project: &Project) -> Self {
        Self {
            id: project.id.clone(),
            name: project.name.clone(),
            organization_id: project.organization.clone(),
            created_at: project.created_at,
            updated_at: project.updated_at,
            last_subscribed_at: project.last_subscribed_at,
            deleted: project.is_deleted(),
            keys: project.keys.iter().map(|key| key.value.clone()).collect(),
            config: project.config.clone(),
            revoke_job_id: project.revoke_job_id.clone(),
        }
    }
}

/// A project that somebody else makes, not through the API under test. Its name is not checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThirdPartyProject {
    /// Its name.
    pub name: String,
    /// Whether it has a key. Default false.
    #[serde(default)]
    pub with_key: bool,
    /// When it was created; default now, by the organization's clock.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// Whether somebody has subscribed to triggers. Default false.
    #[serde(default)]
    pub subscribed: bool,
    /// Settings over the defaults of API 15.3.
    #[serde(default)]
    pub config: Map<String, Value>,
}

impl ThirdPartyProject {
    /// A project of this name, without a key, created now.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// With one key.
    #[must_use]
    pub fn with_key(mut self) -> Self {
        self.with_key = true;
        self
    }

    /// Created at this time.
    #[must_use]
    pub fn created_at(mut self, time: Timestamp) -> Self {
        self.created_at = Some(time);
        self
    }

    /// In use: somebody has subscribed to triggers.
    #[must_use]
    pub fn subscribed(mut self) -> Self {
        self.subscribed = true;
        self
    }
}

/// The views on the state.
impl State {
    pub(super) fn summaries(&self) -> Vec<OrganizationSummary> {
        let live = |id: &str| {
            self.projects.iter().filter(|project| project.organization == id && !project.is_deleted()).count()
        };
        let summary = |(id, known): (&String, &OrganizationState)| OrganizationSummary {
            id: id.clone(),
            name: known.name.clone(),
            plan: known.plan,
            keys: known.keys.iter().cloned().collect(),
            modes: known.modes.clone(),
            projects: live(id),
            commits: known.commits,
        };
        self.organizations.iter().map(summary).collect()
    }

    pub(super) fn project_states(&self, organization: &str, deleted_too: bool) -> Vec<ProjectState> {
        let wanted = |project: &&Project| {
            project.organization == organization && (deleted_too || !project.is_deleted())
        };
        self.projects.iter().filter(wanted).map(ProjectState::from).collect()
    }

    /// `None`: no such organization.
    pub(super) fn third_party_creates(
        &mut self,
        organization: &str,
        new: ThirdPartyProject,
    ) -> Option<ProjectState> {
        let ThirdPartyProject { name, with_key, created_at, subscribed, config } = new;
        let new = NewProject { name, with_key, config, created_at, subscribed };
        let place = self.make_project(organization, new)?;
        Some(ProjectState::from(&self.projects[place]))
    }

    /// `None`: no such live project.
    pub(super) fn add_project_key(&mut self, project_id: &str) -> Option<String> {
        let place = self.find(project_id).filter(|place| !self.projects[*place].is_deleted())?;
        Some(self.make_key(place, None).value)
    }
}
