//! A model of the Composio API, written from its contract: names that are unique (or not), keys shown once, commits and
//! answers that come late or never, a list and reads that lag behind.

use std::collections::BTreeMap;

use composio_operator::domain::answer::CallError;
use composio_operator::domain::evidence::Detail;
use composio_operator::domain::ids::ProjectId;
use composio_operator::domain::key::ApiKey;
use composio_operator::domain::settings::{Member, Settings};
use serde_json::Value;

use crate::realm::{Dice, NEVER, SECOND, Time, timestamp};
use crate::weather::{Bias, Weather};

/// Who made a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Maker {
    /// A creation that this claim (UID of its Secret) announced.
    Claim(String),
    Third,
}

/// How somebody else's project looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// As one of ours: one key, born with it, no use.
    Untouched,
    TwoKeys,
    Used,
    NoKey,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Project {
    pub(crate) id: ProjectId,
    pub(crate) name: String,
    pub(crate) maker: Maker,
    pub(crate) born: Time,
    pub(crate) is_alive: bool,
    /// From now on reads know it.
    read_from: Time,
    /// From now on the list knows it.
    listed_from: Time,
    /// The list overlooks it in between.
    overlooked: (Time, Time),
    /// The list shows it until then, although it is gone.
    listed_until: Time,
    pub(crate) is_used: bool,
    pub(crate) keys: Vec<(ApiKey, Time)>,
    /// Those of them that somebody else made.
    foreign: Vec<(ApiKey, Time)>,
    pub(crate) settings: Settings,
    /// Somebody else has made or revoked keys of it, used it or deleted it.
    pub(crate) is_touched: bool,
    /// Somebody else made it so much like one of ours, and at such a moment, that nothing tells them apart.
    pub(crate) is_mistaken: bool,
}

impl Project {
    pub(crate) fn is_ours(&self) -> bool {
        self.maker != Maker::Third || self.is_mistaken
    }

    pub(crate) fn has_key(&self, key: &ApiKey) -> bool {
        self.is_alive && self.keys.iter().any(|(known, _)| known.is(key))
    }

    /// Somebody else has a key of it that works, and that was made before this time.
    pub(crate) fn has_foreign_key(&self, before: Time) -> bool {
        self.foreign.iter().any(|(key, born)| *born < before && self.has_key(key))
    }

    fn is_listed(&self, now: Time) -> bool {
        let is_overlooked = (self.overlooked.0..self.overlooked.1).contains(&now);
        let is_there = self.is_alive || now < self.listed_until;
        is_there && now >= self.listed_from && !is_overlooked
    }
}

/// A request that changes something.
#[derive(Debug, Clone)]
pub(crate) enum Mutation {
    Create { name: String, claim_uid: String, attempt: u32, config: Option<Settings> },
    Regenerate(ProjectId),
    Delete(ProjectId),
}

/// A 2xx.
#[derive(Clone)]
pub(crate) enum Reply {
    Created { id: ProjectId, key: Option<ApiKey> },
    Regenerated { key: ApiKey, born: Time },
    Deleted,
}

/// What goes wrong on the way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fate {
    /// When the server carries it out; `None`: it never gets there.
    pub(crate) commit: Option<Time>,
    /// When the answer would arrive; `NEVER`: it is lost.
    pub(crate) answer: Time,
}

pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) due: Time,
    pub(crate) mutation: Mutation,
}

#[expect(clippy::struct_excessive_bools, reason = "each is an ability of its own")]
pub(crate) struct Remote {
    pub(crate) projects: Vec<Project>,
    /// Sent, and not yet carried out.
    pub(crate) pending: Vec<Request>,
    replies: BTreeMap<u64, Result<Reply, CallError>>,
    /// Whether the API itself refuses a second project of a name. Where it does not, only the protocol is left.
    pub(crate) refuses_twins: bool,
    pub(crate) can_regenerate: bool,
    pub(crate) can_delete: bool,
    pub(crate) shows_key: bool,
    /// The settings endpoint answers.
    pub(crate) has_settings: bool,
    /// Latest commit after a request was sent.
    latest_commit: Time,
    /// Longest time until list and read know what was made.
    longest_lag: Time,
    /// List and read lag behind more often than not.
    is_shaky: bool,
    /// Most answers are lost or late.
    loses_answers: bool,
    serial: u64,
    pub(crate) mutations: u64,
}

fn born_settings() -> Settings {
    Settings::from_iter([(Member::RequireMcpApiKey, Value::Bool(true))])
}

impl Remote {
    pub(crate) fn new(dice: &mut Dice, weather: Weather) -> Self {
        let refuses_twins = !dice.once_in(4);
        // Where nothing refuses twins, a commit and its appearance in the list together stay within the settle time.
        let (latest_commit, longest_lag) = if refuses_twins { (55, 60) } else { (34, 20) };
        Self {
            projects: Vec::new(),
            pending: Vec::new(),
            replies: BTreeMap::new(),
            refuses_twins,
            can_regenerate: true,
            can_delete: true,
            shows_key: true,
            has_settings: true,
            latest_commit: latest_commit * SECOND,
            longest_lag: longest_lag * SECOND,
            is_shaky: weather.bias == Bias::Overlooking,
            loses_answers: weather.bias == Bias::LostAnswers,
            serial: 0,
            mutations: 0,
        }
    }

    fn new_key(&mut self) -> ApiKey {
        self.serial += 1;
        ApiKey::parse(&format!("ak_{:020}", self.serial)).unwrap()
    }

    /// When the server carries a request out and when its answer comes. `is_calm`: soon.
    pub(crate) fn fate(&self, dice: &mut Dice, now: Time, weather: u32, is_calm: bool) -> Fate {
        let soon = now + dice.between(20, 400);
        let late = now + dice.between(0, self.latest_commit);
        let back = dice.between(5, 60);
        let deadline = now + 30 * SECOND;
        match dice.below(if self.loses_answers { 8 } else { 12 } * weather as usize) {
            _ if is_calm => Fate { commit: Some(soon), answer: soon + back },
            0 => Fate { commit: None, answer: NEVER },
            1 | 2 => Fate { commit: Some(soon), answer: NEVER },
            3 => Fate { commit: Some(late), answer: NEVER },
            4 | 5 => Fate { commit: Some(late), answer: late + back },
            6 => Fate { commit: Some(soon), answer: dice.between(soon, deadline) },
            _ => Fate { commit: Some(soon), answer: soon + back },
        }
    }

    pub(crate) fn send(&mut self, mutation: Mutation, fate: Fate) -> u64 {
        self.serial += 1;
        let id = self.serial;
        if let Some(due) = fate.commit {
            self.pending.push(Request { id, due, mutation });
        }
        id
    }

    /// Takes the next request out that the server carries out by now.
    pub(crate) fn next_due(&mut self, now: Time) -> Option<Request> {
        let due = self.pending.iter().enumerate().filter(|(_, request)| request.due <= now);
        let at = due.min_by_key(|(_, request)| request.due)?.0;
        Some(self.pending.swap_remove(at))
    }

    pub(crate) fn answer(&mut self, id: u64, reply: Result<Reply, CallError>) {
        self.replies.insert(id, reply);
    }

    pub(crate) fn take_reply(&mut self, id: u64) -> Option<Result<Reply, CallError>> {
        self.replies.remove(&id)
    }

    pub(crate) fn get(&self, id: &ProjectId) -> Option<&Project> {
        self.projects.iter().rev().find(|project| project.id == *id)
    }

    pub(crate) fn get_mut(&mut self, id: &ProjectId) -> Option<&mut Project> {
        self.projects.iter_mut().rev().find(|project| project.id == *id)
    }

    /// The newest living project of a name.
    pub(crate) fn living(&self, name: &str) -> Option<&Project> {
        self.projects.iter().rev().find(|project| project.is_alive && project.name == name)
    }

    /// Makes a project, with one key.
    pub(crate) fn born(&mut self, dice: &mut Dice, now: Time, name: &str, maker: Maker) -> &mut Project {
        let key = self.new_key();
        let id = ProjectId::try_from(format!("pr_{}", self.serial)).unwrap();
        let (longest, is_shaky) = (self.longest_lag, self.is_shaky);
        let lag = |dice: &mut Dice| {
            if dice.once_in(if is_shaky { 2 } else { 4 }) { dice.between(0, longest) } else { 0 }
        };
        // A list that overlooks one for a while, once, for less than a settle time.
        let overlooked = match dice.once_in(if is_shaky { 2 } else { 6 }) {
            true => {
                let from = now + dice.between(0, 70 * SECOND);
                (from, from + dice.between(SECOND, 40 * SECOND))
            }
            false => (0, 0),
        };
        self.projects.push(Project {
            id,
            name: name.to_owned(),
            maker,
            born: now,
            is_alive: true,
            read_from: now + lag(dice),
            listed_from: now + lag(dice),
            overlooked: if self.refuses_twins { overlooked } else { (0, 0) },
            listed_until: 0,
            is_used: false,
            keys: vec![(key, now)],
            foreign: Vec::new(),
            settings: born_settings(),
            is_touched: false,
            is_mistaken: false,
        });
        self.projects.last_mut().unwrap()
    }

    /// Ends a project; the list may show it for a while.
    pub(crate) fn end(&mut self, dice: &mut Dice, now: Time, id: &ProjectId) {
        let longest = self.longest_lag;
        if let Some(project) = self.get_mut(id) {
            project.is_alive = false;
            project.listed_until = if dice.once_in(5) { now + dice.between(0, longest) } else { 0 };
        }
    }

    /// Carries a mutation out.
    pub(crate) fn commit(
        &mut self,
        dice: &mut Dice,
        now: Time,
        mutation: &Mutation,
    ) -> Result<Reply, CallError> {
        self.mutations += 1;
        let missing = || CallError::NotFound("no such project".to_owned());
        match mutation {
            Mutation::Create { name, .. } if self.refuses_twins && self.living(name).is_some() => {
                Err(CallError::AlreadyExists("it exists".to_owned()))
            }
            Mutation::Create { name, claim_uid, config, .. } => {
                let shows_key = self.shows_key;
                let project = self.born(dice, now, name, Maker::Claim(claim_uid.clone()));
                if let Some(config) = config {
                    project.settings = config.clone().over(&project.settings);
                }
                let key = shows_key.then(|| project.keys[0].0.clone());
                Ok(Reply::Created { id: project.id.clone(), key })
            }
            Mutation::Regenerate(id) => {
                let (can_regenerate, key) = (self.can_regenerate, self.new_key());
                let found = self.get_mut(id).filter(|project| project.is_alive && project.read_from <= now);
                let project = found.ok_or_else(missing)?;
                if !can_regenerate {
                    return Err(CallError::Forbidden("regeneration is not enabled".to_owned()));
                }
                project.keys = vec![(key.clone(), now)];
                Ok(Reply::Regenerated { key, born: now })
            }
            Mutation::Delete(id) => {
                let found = self.get(id).filter(|project| project.is_alive && project.read_from <= now);
                found.ok_or_else(missing)?;
                if !self.can_delete {
                    return Err(CallError::Forbidden("not permitted".to_owned()));
                }
                self.end(dice, now, id);
                Ok(Reply::Deleted)
            }
        }
    }

    /// A complete walk: the project of this name, newest first.
    pub(crate) fn listed(&self, name: &str, now: Time) -> Option<&Project> {
        self.projects.iter().rev().find(|project| project.name == name && project.is_listed(now))
    }

    /// Whether a walk shows this id.
    pub(crate) fn lists(&self, id: &ProjectId, now: Time) -> bool {
        self.get(id).is_some_and(|project| project.is_listed(now))
    }

    /// One read by id.
    pub(crate) fn read(&self, id: &ProjectId, now: Time) -> Option<Detail> {
        let found = self.get(id).filter(|project| project.is_alive && project.read_from <= now);
        found.map(|project| Detail {
            keys: project.keys.iter().map(|(_, born)| timestamp(*born)).collect(),
            is_used: project.is_used,
        })
    }

    /// The living project that this key opens.
    pub(crate) fn opened_by(&mut self, key: &ApiKey) -> Option<&mut Project> {
        self.projects.iter_mut().rev().find(|project| project.has_key(key))
    }

    /// Somebody else makes a project, where the name is free.
    pub(crate) fn third_creates(&mut self, dice: &mut Dice, now: Time, name: &str, look: Look) {
        if self.living(name).is_some() {
            return;
        }
        let second = self.new_key();
        let project = self.born(dice, now, name, Maker::Third);
        match look {
            Look::Untouched => {}
            Look::TwoKeys => project.keys.push((second, now)),
            Look::Used => project.is_used = true,
            Look::NoKey => project.keys.clear(),
        }
    }

    /// Somebody makes a further key of a project, or revokes all of them.
    pub(crate) fn third_changes_keys(&mut self, id: &ProjectId, now: Time, revokes: bool, touches: bool) {
        let key = self.new_key();
        if let Some(project) = self.get_mut(id) {
            project.is_touched |= touches;
            if revokes {
                project.keys.clear();
            } else {
                project.keys.push((key.clone(), now));
                project.foreign.push((key, now));
            }
        }
    }
}
