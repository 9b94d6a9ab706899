//! A model of the Composio API, as far as a decision can see it: unique names, keys shown once, commits that come late,
//! a list and reads that lag behind. Written from the contract, not from the client.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::domain::evidence::Detail;
use crate::domain::ids::ProjectId;
use crate::domain::key::ApiKey;
use crate::domain::settings::{Member, Settings};

/// Who made a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::domain::plan) enum Maker {
    /// A creation that this claim (UID of its Secret) announced.
    Claim(String),
    Third,
}

/// How somebody else's project looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain::plan) enum Look {
    /// As one of ours: one key, born with it, no use.
    Untouched,
    TwoKeys,
    Used,
    NoKey,
    /// As one of ours, and its id stands in another claim of the ledger.
    Claimed,
}

#[derive(Clone)]
pub(in crate::domain::plan) struct Project {
    pub(in crate::domain::plan) id: ProjectId,
    pub(in crate::domain::plan) maker: Maker,
    born: Timestamp,
    /// From now on list and read know it.
    known_from: Timestamp,
    pub(in crate::domain::plan) is_alive: bool,
    is_used: bool,
    /// Its id stands in a claim that is not the model's.
    pub(in crate::domain::plan) is_claimed: bool,
    keys: Vec<(ApiKey, Timestamp)>,
    /// Those of them that somebody else made.
    foreign: Vec<ApiKey>,
    pub(in crate::domain::plan) settings: Settings,
}

impl Project {
    pub(in crate::domain::plan) fn has_key(&self, key: &ApiKey) -> bool {
        self.keys.iter().any(|(known, _)| known.is(key))
    }

    /// Somebody else has a key of it that works.
    pub(in crate::domain::plan) fn has_foreign_key(&self) -> bool {
        self.foreign.iter().any(|key| self.has_key(key))
    }

    /// Nobody has replaced a key or changed a setting.
    pub(in crate::domain::plan) fn is_as_born(&self) -> bool {
        self.keys.iter().all(|(_, born)| *born == self.born) && self.settings == born_settings()
    }

    /// Whether this member has the value that the API gave it.
    pub(in crate::domain::plan) fn has_own(&self, member: Member) -> bool {
        let value = |settings: &Settings| settings.to_wire(false).get(member.wire()).cloned();
        value(&self.settings) == value(&born_settings())
    }
}

/// What the API sets where nothing is asked for.
fn born_settings() -> Settings {
    Settings::from_iter([(Member::RequireMcpApiKey, Value::Bool(true))])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain::plan) enum Endpoint {
    Available,
    Gone,
    /// Accepts everything and changes nothing.
    Ignores,
}

/// A request that changes something.
#[derive(Debug, Clone)]
pub(in crate::domain::plan) enum Mutation {
    Create { claim_uid: String, config: Option<Settings> },
    Regenerate(ProjectId),
    Delete(ProjectId),
}

#[derive(Clone)]
pub(in crate::domain::plan) enum Reply {
    Created { id: ProjectId, key: Option<ApiKey> },
    Regenerated { id: ProjectId, key: ApiKey, born: Timestamp },
    Deleted,
    Refused(Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain::plan) enum Refusal {
    NotSent,
    Exists,
    NotFound,
    Forbidden,
}

pub(in crate::domain::plan) struct Remote {
    pub(in crate::domain::plan) projects: Vec<Project>,
    /// Sent, and not yet carried out.
    late: Vec<(Timestamp, Mutation)>,
    /// How long list and reads do not know a new project.
    pub(in crate::domain::plan) lag: Duration,
    /// Whether the API itself refuses a second project of a name. Where it does not, only the protocol is left.
    pub(in crate::domain::plan) refuses_twins: bool,
    pub(in crate::domain::plan) can_regenerate: bool,
    /// Whether the answer to a creation has the key.
    pub(in crate::domain::plan) shows_key: bool,
    pub(in crate::domain::plan) endpoint: Endpoint,
    serial: u32,
    /// Requests of any kind so far.
    pub(in crate::domain::plan) calls: u32,
}

impl Remote {
    pub(in crate::domain::plan) fn new(lag: Duration, refuses_twins: bool) -> Self {
        Self {
            projects: Vec::new(),
            late: Vec::new(),
            lag,
            refuses_twins,
            can_regenerate: true,
            shows_key: true,
            endpoint: Endpoint::Available,
            serial: 0,
            calls: 0,
        }
    }

    fn new_key(&mut self) -> ApiKey {
        self.serial += 1;
        ApiKey::parse(&format!("ak_{:020}", self.serial)).unwrap()
    }

    fn born(&mut self, maker: Maker, now: Timestamp) -> &mut Project {
        let key = self.new_key();
        let id = ProjectId::try_from(format!("pr_{}", self.serial)).unwrap();
        let lag = SignedDuration::try_from(self.lag).unwrap();
        self.projects.push(Project {
            id,
            maker,
            born: now,
            known_from: now + lag,
            is_alive: true,
            is_used: false,
            is_claimed: false,
            keys: vec![(key, now)],
            foreign: Vec::new(),
            settings: born_settings(),
        });
        self.projects.last_mut().unwrap()
    }

    /// The newest living project of the one name of this model.
    pub(in crate::domain::plan) fn living(&self) -> Option<&Project> {
        self.projects.iter().rev().find(|project| project.is_alive)
    }

    pub(in crate::domain::plan) fn get(&self, id: &ProjectId) -> Option<&Project> {
        self.projects.iter().find(|project| project.id == *id)
    }

    fn known(&mut self, id: &ProjectId, now: Timestamp) -> Option<&mut Project> {
        let mut projects = self.projects.iter_mut();
        projects.find(|project| project.id == *id && project.is_alive && project.known_from <= now)
    }

    /// Carries a mutation out.
    pub(in crate::domain::plan) fn commit(&mut self, mutation: &Mutation, now: Timestamp) -> Reply {
        self.calls += 1;
        match mutation {
            Mutation::Create { .. } if self.refuses_twins && self.living().is_some() => {
                Reply::Refused(Refusal::Exists)
            }
            Mutation::Create { claim_uid, config } => {
                let shows_key = self.shows_key;
                let project = self.born(Maker::Claim(claim_uid.clone()), now);
                if let Some(config) = config {
                    project.settings = config.clone().over(&project.settings);
                }
                Reply::Created { id: project.id.clone(), key: shows_key.then(|| project.keys[0].0.clone()) }
            }
            Mutation::Regenerate(id) => {
                let (can_regenerate, key) = (self.can_regenerate, self.new_key());
                match self.known(id, now) {
                    None => Reply::Refused(Refusal::NotFound),
                    Some(_) if !can_regenerate => Reply::Refused(Refusal::Forbidden),
                    Some(project) => {
                        project.keys = vec![(key.clone(), now)];
                        let id = project.id.clone();
                        Reply::Regenerated { id, key, born: now }
                    }
                }
            }
            Mutation::Delete(id) => match self.known(id, now) {
                None => Reply::Refused(Refusal::NotFound),
                Some(project) => {
                    project.is_alive = false;
                    Reply::Deleted
                }
            },
        }
    }

    pub(in crate::domain::plan) fn commit_later(&mut self, mutation: Mutation, due: Timestamp) {
        self.late.push((due, mutation));
    }

    /// Carries out what has become due; nobody hears the answer.
    pub(in crate::domain::plan) fn advance(&mut self, now: Timestamp) {
        while let Some(next) = self.late.iter().position(|(due, _)| *due <= now) {
            let (due, mutation) = self.late.remove(next);
            self.commit(&mutation, due);
        }
    }

    pub(in crate::domain::plan) fn is_quiet(&self) -> bool {
        self.late.is_empty()
    }

    /// A complete walk: id and birth of the project of the name.
    pub(in crate::domain::plan) fn list(&mut self, now: Timestamp) -> Option<(ProjectId, Timestamp)> {
        self.calls += 1;
        let mut newest_first = self.projects.iter().rev();
        let listed = newest_first.find(|project| project.is_alive && project.known_from <= now);
        listed.map(|project| (project.id.clone(), project.born))
    }

    pub(in crate::domain::plan) fn read(&mut self, id: &ProjectId, now: Timestamp) -> Option<Detail> {
        self.calls += 1;
        self.known(id, now).map(|project| Detail {
            keys: project.keys.iter().map(|(_, born)| *born).collect(),
            is_used: project.is_used,
        })
    }

    /// Somebody else makes a project of the name, where that is free.
    pub(in crate::domain::plan) fn third_creates(&mut self, look: Look, now: Timestamp) {
        if self.living().is_some() {
            return;
        }
        let second = self.new_key();
        let project = self.born(Maker::Third, now);
        match look {
            Look::Untouched => {}
            Look::Claimed => project.is_claimed = true,
            Look::TwoKeys => project.keys.push((second, now)),
            Look::Used => project.is_used = true,
            Look::NoKey => project.keys.clear(),
        }
    }

    /// Somebody revokes every key of a project, or makes one more.
    pub(in crate::domain::plan) fn third_changes_keys(
        &mut self,
        id: &ProjectId,
        revokes: bool,
        now: Timestamp,
    ) {
        let key = self.new_key();
        if let Some(project) = self.known(id, now) {
            if revokes {
                project.keys.clear();
            } else {
                project.keys.push((key.clone(), now));
                project.foreign.push(key.clone());
            }
        }
    }

    pub(in crate::domain::plan) fn third_deletes(&mut self) {
        for project in &mut self.projects {
            project.is_alive = false;
        }
    }

    /// Somebody else changes settings of the living project, if that is ours.
    pub(in crate::domain::plan) fn third_sets(&mut self, members: Settings) {
        let is_own = |project: &&mut Project| project.is_alive && project.maker != Maker::Third;
        if let Some(project) = self.projects.iter_mut().rev().find(is_own) {
            project.settings = members.over(&project.settings);
        }
    }

    /// The living project that this key opens.
    pub(in crate::domain::plan) fn opened_by(&mut self, key: &ApiKey) -> Option<&mut Project> {
        let mut living = self.projects.iter_mut().filter(|project| project.is_alive);
        living.find(|project| project.keys.iter().any(|(known, _)| known.is(key)))
    }

    /// Projects of ours that live.
    pub(in crate::domain::plan) fn own(&self) -> impl Iterator<Item = &Project> {
        let is_own = |project: &&Project| project.is_alive && project.maker != Maker::Third;
        self.projects.iter().filter(is_own)
    }
}
