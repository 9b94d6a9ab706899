//! What the emulated service knows: organizations, projects, keys. Plain data behind one lock; no HTTP, no waiting.
//! The rules of the operations are in `operations` and `settings`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::budget::{Budget, RateHeaders};
use super::faults::Rules;
use super::gates::Gates;
use super::identifiers;
use super::journal::Journal;
use super::modes::{Modes, OrganizationOptions, Plan, View};

/// One lie of one witness about one project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// Lists leave the project out.
    ListOmits,
    /// Lists show the project with `deleted: true`.
    ListSaysDeleted,
    /// Reads by id answer 404.
    #[serde(rename = "read_says_404")]
    ReadSays404,
    /// Reads by id answer the project with `deleted: true`.
    ReadSaysDeleted,
}

/// What a project key may do (API 6, 10.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Everything.
    #[default]
    Live,
    /// Nothing any more: 401/811.
    Expired,
    /// Nothing from this address: 401/902.
    AddressNotAllowed,
    /// Only these areas, such as `toolkits`; elsewhere 403/812. No area covers the settings endpoint (API 6).
    Scoped(BTreeSet<String>),
}

/// A living key of a project.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) value: String,
    pub(super) created_at: Timestamp,
    pub(super) state: KeyState,
    /// Uses that are still refused, see [`Modes::fresh_key_refusals`].
    pub(super) refusals: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) organization: String,
    pub(super) name: String,
    pub(super) email: String,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) last_subscribed_at: Option<Timestamp>,
    /// Members that are set; unset ones are absent.
    pub(super) config: Map<String, Value>,
    /// Living keys only, oldest first.
    pub(super) keys: Vec<Key>,
    pub(super) revoke_job_id: Option<String>,
    pub(super) lies: BTreeSet<Lie>,
    /// The commits of the organization that made and ended it.
    pub(super) made_by: u64,
    pub(super) ended_by: Option<u64>,
}

impl Project {
    pub(super) fn is_deleted(&self) -> bool {
        self.ended_by.is_some()
    }

    /// Sets a member of the settings; `null` unsets it.
    pub(super) fn set_setting(&mut self, member: &str, value: Value) {
        if value.is_null() {
            self.config.remove(member);
        } else {
            self.config.insert(member.to_owned(), value);
        }
    }
}

pub(super) struct OrganizationState {
    pub(super) name: String,
    pub(super) plan: Plan,
    pub(super) keys: BTreeSet<String>,
    pub(super) revoked_keys: BTreeSet<String>,
    pub(super) modes: Modes,
    pub(super) budget: Budget,
    /// Creations and deletions so far.
    pub(super) commits: u64,
}

impl OrganizationState {
    /// The clock of this organization, in whole milliseconds as on the wire.
    pub(super) fn now(&self) -> Timestamp {
        skewed(Timestamp::now(), self.modes.clock_skew_milliseconds)
    }

    pub(super) fn rate_limit(&self) -> u32 {
        self.modes.rate_limit.unwrap_or_else(|| self.plan.rate_limit())
    }

    pub(super) fn rate_headers(&self) -> RateHeaders {
        self.budget.headers(self.rate_limit(), self.modes.rate_window_seconds, Instant::now())
    }

    /// Makes one more key; gives it.
    pub(super) fn add_key(&mut self) -> String {
        let key = identifiers::organization_key();
        self.keys.insert(key.clone());
        key
    }

    /// Traffic of others.
    pub(super) fn burn(&mut self, requests: u32) {
        self.budget.burn(requests, self.modes.rate_window_seconds, Instant::now());
    }

    /// The commit up to which a view reaches.
    pub(super) fn horizon(&self, view: View) -> u64 {
        match view {
            View::Live => self.commits,
            View::Behind(commits) => self.commits.saturating_sub(commits),
            View::FrozenAt(commit) => commit,
        }
    }
}

fn skewed(time: Timestamp, milliseconds: i64) -> Timestamp {
    let shifted = time.checked_add(SignedDuration::from_millis(milliseconds)).unwrap_or(time);
    Timestamp::from_millisecond(shifted.as_millisecond()).unwrap_or(shifted)
}

/// What a project is made from, by a request or by a third party.
#[derive(Clone, Debug, Default)]
pub(super) struct NewProject {
    pub(super) name: String,
    pub(super) with_key: bool,
    /// Members over the defaults of API 15.3.
    pub(super) config: Map<String, Value>,
    /// Default: the organization's clock.
    pub(super) created_at: Option<Timestamp>,
    /// Whether triggers have been subscribed to.
    pub(super) subscribed: bool,
}

/// Everything, behind one lock.
#[derive(Default)]
pub(super) struct State {
    pub(super) organizations: BTreeMap<String, OrganizationState>,
    /// In order of creation.
    pub(super) projects: Vec<Project>,
    by_id: HashMap<String, usize>,
    /// Every key that ever was, so that calls with dead keys can be attributed.
    by_key: HashMap<String, usize>,
    pub(super) journal: Journal,
    pub(super) rules: Rules,
    pub(super) gates: Gates,
}

impl State {
    /// Makes an organization with one key; gives id and key. `None`: the id is in use.
    pub(super) fn add_organization(&mut self, options: OrganizationOptions) -> Option<(String, String)> {
        let id = options.id.unwrap_or_else(identifiers::organization_id);
        if self.organizations.contains_key(&id) {
            return None;
        }
        let key = identifiers::organization_key();
        let organization = OrganizationState {
            name: options.name,
            plan: options.plan,
            keys: BTreeSet::from([key.clone()]),
            revoked_keys: BTreeSet::new(),
            modes: options.modes,
            budget: Budget::default(),
            commits: 0,
        };
        self.organizations.insert(id.clone(), organization);
        Some((id, key))
    }

    /// The organization that a key belongs to; second: whether the key lives.
    pub(super) fn organization_of_key(&self, key: &str) -> Option<(&String, bool)> {
        self.organizations.iter().find_map(|(id, organization)| {
            let lives = organization.keys.contains(key);
            (lives || organization.revoked_keys.contains(key)).then_some((id, lives))
        })
    }

    /// Ends a key. False: there is no such living key.
    pub(super) fn revoke_organization_key(&mut self, key: &str) -> bool {
        self.organizations.values_mut().any(|organization| {
            organization.keys.remove(key) && organization.revoked_keys.insert(key.to_owned())
        })
    }

    pub(super) fn find(&self, project_id: &str) -> Option<usize> {
        self.by_id.get(project_id).copied()
    }

    pub(super) fn find_mut(&mut self, project_id: &str) -> Option<&mut Project> {
        let place = self.find(project_id)?;
        self.projects.get_mut(place)
    }

    /// The project that a key belongs or belonged to.
    pub(super) fn project_of_key(&self, key: &str) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// The living key of this value.
    pub(super) fn key_mut(&mut self, value: &str) -> Option<&mut Key> {
        let place = self.project_of_key(value)?;
        self.projects[place].keys.iter_mut().find(|key| key.value == value)
    }

    /// Whether a project of the organization has this name; deleted ones count where the modes say so.
    pub(super) fn name_is_taken(&self, organization_id: &str, name: &str) -> bool {
        let Some(organization) = self.organizations.get(organization_id) else {
            return false;
        };
        let same = |other: &str| {
            other == name || organization.modes.names_ignore_case && other.eq_ignore_ascii_case(name)
        };
        self.projects.iter().any(|project| {
            project.organization == organization_id
                && (!project.is_deleted() || organization.modes.deleted_names_reserved)
                && same(&project.name)
        })
    }

    /// Makes a project; gives its place. `None`: there is no such organization. Names are not checked here.
    pub(super) fn make_project(&mut self, organization_id: &str, new: NewProject) -> Option<usize> {
        let place = self.projects.len();
        let organization = self.organizations.get_mut(organization_id)?;
        organization.commits += 1;
        let now = new.created_at.unwrap_or_else(|| organization.now());
        let mut config = default_config(organization.plan);
        config.extend(new.config);
        config.retain(|_, value| !value.is_null());
        let project = Project {
            id: identifiers::project_id(),
            organization: organization_id.to_owned(),
            name: new.name,
            email: format!("project-{}@composio.dev", place + 1),
            created_at: now,
            updated_at: now,
            last_subscribed_at: new.subscribed.then_some(now),
            config,
            keys: Vec::new(),
            revoke_job_id: None,
            lies: BTreeSet::new(),
            made_by: organization.commits,
            ended_by: None,
        };
        self.by_id.insert(project.id.clone(), place);
        self.projects.push(project);
        if new.with_key {
            self.make_key(place, Some(now));
        }
        Some(place)
    }

    /// Adds a key to a project; the time is by default that of the organization's clock.
    pub(super) fn make_key(&mut self, place: usize, created_at: Option<Timestamp>) -> Key {
        let organization = self.organizations.get(&self.projects[place].organization);
        let key = Key {
            id: Uuid::new_v4().to_string(),
            name: identifiers::key_name(),
            value: identifiers::project_key(),
            created_at: created_at
                .or_else(|| organization.map(OrganizationState::now))
                .unwrap_or_else(Timestamp::now),
            state: KeyState::Live,
            refusals: organization.map_or(0, |organization| organization.modes.fresh_key_refusals),
        };
        self.by_key.insert(key.value.clone(), place);
        self.projects[place].keys.push(key.clone());
        key
    }

    /// Deletes a project and its keys. False: it was deleted before.
    pub(super) fn end_project(&mut self, place: usize, revoke: bool) -> bool {
        let Some(project) = self.projects.get_mut(place) else {
            return false;
        };
        let Some(organization) = self.organizations.get_mut(&project.organization) else {
            return false;
        };
        if project.is_deleted() {
            return false;
        }
        organization.commits += 1;
        project.ended_by = Some(organization.commits);
        project.updated_at = organization.now();
        project.keys.clear();
        project.revoke_job_id = revoke.then(identifiers::revoke_job_id);
        true
    }

    /// Notes that somebody subscribes to triggers of a project now. False: there is no such project.
    pub(super) fn subscribe(&mut self, project_id: &str) -> bool {
        let Some(place) = self.find(project_id) else {
            return false;
        };
        let project = &mut self.projects[place];
        project.last_subscribed_at =
            self.organizations.get(&project.organization).map(OrganizationState::now);
        true
    }

    /// `Date` header and rate headers of an answer to this organization, or to nobody known.
    pub(super) fn answer_headers(&self, organization: Option<&str>) -> (Timestamp, RateHeaders) {
        if let Some(known) = organization.and_then(|id| self.organizations.get(id)) {
            return (known.now(), known.rate_headers());
        }
        let nobody = Budget::default().headers(Plan::default().rate_limit(), 60, Instant::now());
        (Timestamp::now(), nobody)
    }

    /// Counts a request of an organization; over budget: the seconds to wait and the limit with its window.
    pub(super) fn take_budget(&mut self, organization: &str) -> Result<(), (u64, u32, Duration)> {
        let Some(organization) = self.organizations.get_mut(organization) else {
            return Ok(());
        };
        let (limit, window) = (organization.rate_limit(), organization.modes.rate_window_seconds.max(1));
        let taken = organization.budget.take(limit, window, Instant::now());
        taken.map_err(|over| (over.retry_after_seconds, limit, Duration::from_secs(window.into())))
    }
}

/// The defaults of API 15.3.
fn default_config(plan: Plan) -> Map<String, Value> {
    let logs = if plan == Plan::Enterprise { "dont_store_data" } else { "show_all" };
    Map::from_iter([
        ("is_2FA_enabled".to_owned(), Value::Bool(true)),
        ("mask_secret_keys_in_connected_account".to_owned(), Value::Bool(true)),
        ("log_visibility_setting".to_owned(), Value::String(logs.to_owned())),
        ("require_mcp_api_key".to_owned(), Value::Bool(true)),
    ])
}
