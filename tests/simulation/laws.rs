//! What must hold after every step, whatever has happened. What must hold when all is quiet again is in [`crate::ending`].

use std::collections::{BTreeMap, BTreeSet};

use composio_operator::domain::answer::Answer;
use composio_operator::domain::claim::{Claim, Origin, Phase, Purpose, Record};
use composio_operator::domain::condition::Outcome;
use composio_operator::domain::evidence::in_window;
use composio_operator::domain::ids::ProjectId;
use composio_operator::domain::key::ApiKey;
use composio_operator::domain::plan::{Action, Step};
use composio_operator::domain::reason::Reason;
use composio_operator::domain::settings::Settings;
use composio_operator::domain::world::{DeletionPolicy, Desired, InvalidKeyPolicy, World};

use crate::cluster::{Key, Resource, Secret, SecretKey, resource_name};
use crate::driver::PASS_DEADLINE;
use crate::process::{GATE, SETTLE};
use crate::realm::{Realm, Time, timestamp};
use crate::remote::{Maker, Mutation, Project};

#[derive(Default)]
pub(crate) struct Laws {
    /// The first law that did not hold.
    pub(crate) broken: Option<String>,
    /// How the last pass over each resource ended, with the UID of the resource.
    pub(crate) outcomes: BTreeMap<Key, (String, Outcome)>,
    /// What claims (UID) have ever announced: creations and regenerates by number.
    announced: BTreeSet<(String, &'static str, u32)>,
    /// Names of projects that were mistaken for ours: nothing is known of them any more.
    pub(crate) mistaken: BTreeSet<String>,
    /// Deletions that claims (UID) have ever announced.
    deletions: BTreeSet<(String, ProjectId)>,
    /// When the policy of a resource (UID) that is being deleted was withdrawn.
    pub(crate) withdrawn: BTreeMap<String, Time>,
    /// When a resource (UID) was last there and not being deleted.
    last_wanted: BTreeMap<String, Time>,
    /// An answer could not be stored for so long that it was given up.
    pub(crate) has_given_up: bool,
}

impl Laws {
    pub(crate) fn breaks(&mut self, law: &str) {
        self.broken.get_or_insert_with(|| law.to_owned());
    }

    pub(crate) fn ended(&mut self, key: Key, uid: &str, outcome: &Outcome) {
        self.outcomes.insert(key, (uid.to_owned(), outcome.clone()));
    }

    pub(crate) fn gave_up(&mut self) {
        self.has_given_up = true;
    }
}

impl Realm {
    pub(crate) fn law(&mut self, holds: bool, law: &str) {
        if !holds {
            self.laws.breaks(law);
        }
    }

    fn is_alive(&self, uid: &str) -> bool {
        self.cluster.resources.values().any(|found| found.uid == uid)
    }

    /// Notes which resources are there and not being deleted.
    pub(crate) fn note_wanted(&mut self) {
        let now = self.now;
        for found in self.cluster.resources.values().filter(|found| !found.is_leaving) {
            match self.laws.last_wanted.get_mut(&found.uid) {
                Some(time) => *time = now,
                None => drop(self.laws.last_wanted.insert(found.uid.clone(), now)),
            }
        }
    }

    /// Whether a resource was there a gate ago and not being deleted.
    fn was_wanted(&self, uid: &str) -> bool {
        self.laws.last_wanted.get(uid).is_some_and(|time| self.now - time <= GATE)
    }

    fn is_ours(&self, id: &ProjectId) -> bool {
        self.remote.get(id).is_some_and(Project::is_ours)
    }

    /// The claim that has this project, as the ledger is now.
    pub(crate) fn claim_of(&self, id: &ProjectId) -> Option<&Record> {
        self.cluster.claims.values().find(|record| record.claim.project_id() == Some(id))
    }
}

/// A decision of `plan`.
pub(crate) fn step(realm: &mut Realm, desired: &Desired, world: &World, step: &Step) {
    match step {
        Step::Do(action) => self::action(realm, desired, world, action),
        Step::Wait(_, _, time) => realm.law(!time.is_zero(), "every wait has a length"),
        Step::Stall(reason, detail) => {
            realm.law(reason.remedy().is_some() && reason.stalls(), "a person is told what to do");
            realm.law(*reason != Reason::InternalError, "no transition is illegal");
            realm.law(!detail.contains("ak_"), "no key is shown");
        }
        Step::Fail(failure) => realm.law(!failure.detail.contains("ak_"), "no key is shown"),
        Step::Ignore | Step::Done => {}
    }
}

fn action(realm: &mut Realm, desired: &Desired, world: &World, action: &Action) {
    let is_suspended = desired.is_suspended;
    match action {
        Action::CreateProject { config, .. } => {
            realm.law(!is_suspended, "a suspended resource starts no creation");
            wanted_only(realm, desired, config.as_ref());
        }
        Action::AcquireKey { claim, .. } => {
            // One that was announced before is finished.
            let is_first = claim.rotation().is_none_or(|rotation| rotation.doubtful_since.is_none());
            let was_announced = matches!(&world.claim,
                composio_operator::domain::world::ClaimView::Present(record) if record.claim.is_key_announced());
            realm.law(
                !is_suspended || was_announced || !is_first,
                "a suspended resource starts no regenerate",
            );
            if let composio_operator::domain::world::ClaimView::Present(record) = &world.claim
                && record.key.is_some()
            {
                replaced(realm, desired, world, record);
            }
        }
        Action::DeleteUnusable(claim) => {
            realm.law(!is_suspended, "a suspended resource starts no deletion");
            realm.law(claim.origin() == Some(Origin::Created), "only what our own answer made is deleted");
            realm.law(claim.published().is_none(), "nothing that was published is deleted");
        }
        Action::PatchSettings(members) => wanted_only(realm, desired, Some(members)),
        Action::PublishSecret => realm.law(!is_suspended, "a suspended resource publishes nothing"),
        Action::ReadProject => {
            if let composio_operator::domain::world::ClaimView::Present(record) = &world.claim {
                judges_deletion(realm, &record.claim);
            }
        }
        _ => {}
    }
}

/// A key that a claim has is about to be replaced.
fn replaced(realm: &mut Realm, desired: &Desired, world: &World, record: &Record) {
    let (claim, health) = (&record.claim, &desired.key_health);
    let is_open = claim.is_key_doubtful();
    realm.law(
        is_open || health.on_invalid != InvalidKeyPolicy::Report,
        "what is only to be reported is not replaced",
    );
    let last = claim.last_rotation().map(|(last, _)| world.settling.now.duration_since(last.started_time));
    realm.law(is_open || last.is_none_or(|age| age.as_secs() >= 3600), "a key is replaced once per hour");
    // What was made since the look is nobody's fault, and a single key may be the one that was never answered.
    let before = realm.now - PASS_DEADLINE;
    let project = claim.project_id().and_then(|id| realm.remote.get(id));
    let is_hurt =
        project.is_some_and(|found| found.has_foreign_key(before) && (!is_open || found.keys.len() > 1));
    realm.law(
        !is_hurt || health.on_invalid == InvalidKeyPolicy::Regenerate,
        "no key of somebody else is killed by default",
    );
}

fn wanted_only(realm: &mut Realm, desired: &Desired, sent: Option<&Settings>) {
    let unwanted = sent.map(|sent| sent.differing_from(&desired.settings));
    realm.law(unwanted.is_none_or(|unwanted| unwanted.is_empty()), "an unmanaged setting is never sent");
}

/// Whether a deletion was carried out is looked up only when it cannot be any more.
pub(crate) fn judges_deletion(realm: &mut Realm, claim: &Claim) {
    let pending = realm.remote.pending.iter();
    let is_open = pending.filter_map(|request| match &request.mutation {
        Mutation::Delete(id) => Some(id),
        _ => None,
    });
    let is_open = is_open.into_iter().any(|id| claim.project_id() == Some(id));
    realm.law(!is_open, "a deletion is judged only when it is settled");
}

/// A mutation is sent. `announced`: the claim and the number; `None` for the deletion of what no claim can hold.
pub(crate) fn sent(
    realm: &mut Realm,
    _process: usize,
    mutation: &Mutation,
    announced: Option<(&Record, u32)>,
) {
    let was_announced = |realm: &Realm, kind: &'static str| {
        announced.is_some_and(|(record, attempt)| {
            realm.laws.announced.contains(&(record.uid.clone(), kind, attempt))
        })
    };
    match mutation {
        Mutation::Create { name, .. } => {
            realm.count("a creation was sent");
            let is_announced = was_announced(realm, "create");
            realm.law(is_announced, "no creation without its announcement in a claim");
            let is_wanted = announced.is_some_and(|(record, _)| realm.was_wanted(&record.claim.owner().uid));
            realm.law(is_wanted, "nothing is created for a resource that is gone");
            let same =
                |other: &Mutation| matches!(other, Mutation::Create { name: known, .. } if known == name);
            let is_open = realm.remote.pending.iter().any(|request| same(&request.mutation));
            realm.law(!is_open, "never two creations that can both come to something");
        }
        Mutation::Regenerate(id) => {
            realm.count("a regenerate was sent");
            let is_announced = was_announced(realm, "key");
            realm.law(is_announced, "no regenerate without its announcement in a claim");
            realm.law(realm.is_ours(id), "no key of somebody else's project is replaced");
            let project = realm.remote.get(id);
            let lives = |key: &ApiKey| project.is_some_and(|project| project.has_key(key));
            let is_living = realm.claim_of(id).is_some_and(|record| record.key.as_ref().is_some_and(lives));
            // While an earlier one may still be answered, its key may come at any moment.
            let is_first = announced.is_some_and(|(record, _)| {
                record.claim.rotation().is_none_or(|rotation| rotation.doubtful_since.is_none())
            });
            realm.law(!is_living || !is_first, "no living key that a claim holds is replaced");
        }
        Mutation::Delete(id) => {
            realm.count("a deletion was sent");
            realm.law(realm.is_ours(id), "nothing of somebody else is deleted");
            let claim = realm.claim_of(id);
            let purpose = announced.and_then(|(record, _)| record.claim.deletion().map(|open| open.purpose));
            let is_in_use = claim.is_some_and(|record| record.key.is_some());
            let is_announced = match &purpose {
                None => claim.is_none_or(|record| record.claim.phase() == Phase::Deleting),
                Some(_) => announced.is_some_and(|(record, _)| {
                    realm.laws.deletions.contains(&(record.uid.clone(), id.clone()))
                }),
            };
            realm.law(is_announced, "no deletion without its announcement in a claim");
            if let Some(Purpose::Delete | Purpose::DeleteAndRevoke) = purpose {
                realm.count("a deletion by policy was sent");
                let owner = announced.map(|(record, _)| record.claim.owner().uid.clone());
                // What is gone already can be deleted by whoever comes late.
                let is_gone = realm.remote.get(id).is_none_or(|project| !project.is_alive);
                let is_wanted = is_gone || owner.is_some_and(|uid| is_leaving(realm, &uid));
                realm.law(is_wanted, "only what is being deleted with that policy in force is deleted");
            } else {
                let mut secrets = realm.cluster.secrets.values();
                let is_published = secrets.any(|secret| secret.project_id == id.as_str());
                realm.law(!is_in_use && !is_published, "nothing in use is deleted");
            }
        }
    }
}

/// Whether a resource is being deleted with a policy that deletes its project, or was a gate ago.
fn is_leaving(realm: &Realm, uid: &str) -> bool {
    let found = realm.cluster.resources.values().find(|found| found.uid == uid);
    let is_in_force =
        found.is_some_and(|found| found.is_leaving && found.spec.policy != DeletionPolicy::Retain);
    let withdrawn = realm.laws.withdrawn.get(uid);
    is_in_force || withdrawn.is_some_and(|time| realm.now - time <= GATE)
}

/// A mutation is about to be carried out.
pub(crate) fn committing(realm: &mut Realm, mutation: &Mutation) {
    if let Mutation::Create { name, .. } = mutation
        && !realm.remote.refuses_twins
    {
        let mut living = realm.remote.projects.iter().filter(|found| found.is_alive && found.name == *name);
        let is_twin = living.any(|found| found.maker != Maker::Third && !found.is_touched);
        realm.law(!is_twin, "at most one living project of ours for a name");
    }
}

/// A claim was written.
pub(crate) fn claim_written(realm: &mut Realm, before: Option<&Record>, after: &Record) {
    let claim = &after.claim;
    let is_readable = claim.key().is_some() == after.key.is_some();
    realm.law(is_readable, "a claim has its key exactly while it is owned");
    for attempt in claim.attempts() {
        realm.laws.announced.insert((after.uid.clone(), "create", attempt.number));
    }
    if let Some(rotation) = claim.rotation() {
        realm.laws.announced.insert((after.uid.clone(), "key", rotation.attempt));
    }
    if claim.phase() == Phase::Deleting {
        realm.laws.deletions.extend(claim.project_id().map(|id| (after.uid.clone(), id.clone())));
    }
    if let Some(id) = claim.project_id() {
        let mut holders = realm.cluster.claims.values();
        let others = holders.any(|other| other.uid != after.uid && other.claim.project_id() == Some(id));
        realm.law(!others, "no project stands in two claims");
        let before_id = before.and_then(|before| before.claim.project_id());
        if before_id != Some(id) {
            taken_up(realm, before, id);
            realm.law(before_id.is_none(), "a claim does not change its project");
        }
    } else {
        forgotten(realm, after);
    }
    if let Some(before) = before {
        changed(realm, before, after);
    }
}

/// A claim takes a project up.
fn taken_up(realm: &mut Realm, before: Option<&Record>, id: &ProjectId) {
    let attempts = before.map(|before| before.claim.attempts()).unwrap_or_default();
    let Some(project) = realm.remote.get_mut(id) else {
        return realm.laws.breaks("a claim knows only what exists");
    };
    // Nothing that the API shows tells them apart (docs/how-it-works.md).
    let is_alike = project.maker == Maker::Third
        && matches!(project.keys.as_slice(), [(_, born)] if *born == project.born)
        && !project.is_used
        && in_window(attempts, timestamp(project.born), SETTLE);
    project.is_mistaken |= is_alike;
    let (is_ours, name) = (project.is_ours(), project.name.clone());
    if is_alike {
        realm.count("somebody else's project that nothing tells from ours");
        realm.laws.mistaken.insert(name);
    }
    realm.law(is_ours, "somebody else's project is never taken");
}

/// A claim without a project: what it does not announce any more cannot come to anything.
fn forgotten(realm: &mut Realm, after: &Record) {
    let attempts = after.claim.attempts();
    let is_forgotten = realm.remote.pending.iter().any(|request| match &request.mutation {
        Mutation::Create { claim_uid, attempt, .. } => {
            *claim_uid == after.uid && !attempts.iter().any(|open| open.number == *attempt)
        }
        _ => false,
    });
    realm.law(!is_forgotten, "no attempt is forgotten that can still come to something");
}

fn changed(realm: &mut Realm, before: &Record, after: &Record) {
    let (old, new) = (before.claim.owner(), after.claim.owner());
    if old.uid != new.uid {
        realm.count("a claim was taken back");
        let is_held = realm.is_alive(&old.uid);
        realm.law(!is_held, "a claim stays with its owner");
        let home = realm.cluster.resources.iter().find(|(_, found)| found.uid == new.uid);
        let uid = home.and_then(|(key, _)| realm.cluster.namespace_uid(key.0));
        let is_same = uid.is_none_or(|uid| uid == old.namespace_uid);
        realm.law(is_same, "a claim goes to its own namespace only");
    }
    if before.claim.phase() == Phase::Deleting && after.claim.phase() != Phase::Deleting {
        let open = realm.remote.pending.iter();
        let is_open = open.map(|request| &request.mutation).any(
            |mutation| matches!(mutation, Mutation::Delete(id) if before.claim.project_id() == Some(id)),
        );
        realm.law(!is_open, "a deletion that may still be carried out is not taken back");
    }
    if after.claim.project_id().is_none() {
        let project = before.claim.project_id().and_then(|id| realm.remote.get(id));
        let lives = project.is_some_and(|project| project.is_alive);
        realm.law(!lives, "a living project is not let go");
    }
    if let Some(key) = &before.key
        && after.key.as_ref().is_none_or(|kept| !kept.is(key))
    {
        let id = before.claim.project_id();
        let lives = id.and_then(|id| realm.remote.get(id)).is_some_and(|project| project.has_key(key));
        realm.law(!lives, "a living key is never dropped");
    }
    if after.claim.phase() == Phase::KeyPending
        && after.claim.origin() == Some(Origin::Recovered)
        && before.claim.phase() == Phase::Creating
    {
        realm.count("a project found by evidence");
    }
}

/// A claim was removed.
pub(crate) fn claim_removed(realm: &mut Realm, seen: &Record) {
    realm.count("a claim was removed");
    let name = seen.claim.project_name().as_str();
    let mut projects = realm.remote.projects.iter();
    let is_left = projects.any(|found| {
        found.is_alive
            && found.name == name
            && !found.is_touched
            && found.maker == Maker::Claim(seen.uid.clone())
    });
    // Nothing is known of a name whose project was mistaken for ours.
    let is_mistaken = realm.laws.mistaken.contains(name);
    realm.law(!is_left || is_mistaken, "a claim is removed only when nothing has come of it");
    let is_open = realm.remote.pending.iter().any(
        |request| matches!(&request.mutation, Mutation::Create { claim_uid, .. } if *claim_uid == seen.uid),
    );
    realm.law(!is_open, "a claim is removed only when nothing can come of it any more");
}

/// A resource that was being deleted is gone. With a policy that deletes, so is its project.
pub(crate) fn released(realm: &mut Realm, key: Key, resource: &Resource) {
    if resource.spec.policy == DeletionPolicy::Retain {
        return;
    }
    realm.count("a resource was released after its project");
    let owned = realm.cluster.claims.values().find(|record| record.claim.owner().uid == resource.uid);
    let is_left = owned.is_some();
    realm.law(!is_left, "a policy that deletes leaves no claim");
    // The garbage collector removes what the resource owns.
    let projects = &realm.remote.projects;
    let gone: Vec<SecretKey> = realm
        .cluster
        .secrets
        .iter()
        .filter(|(at, secret)| at.0 == key.0 && secret.label == resource_name(key) && !secret.is_foreign)
        .filter(|(_, secret)| {
            projects.iter().any(|project| project.id.as_str() == secret.project_id && !project.is_alive)
        })
        .map(|(at, _)| *at)
        .collect();
    for at in gone {
        realm.cluster.secrets.remove(&at);
    }
}

/// A claim was replaced by a tombstone.
pub(crate) fn buried(realm: &mut Realm, seen: &Record) {
    realm.count("a tombstone");
    let project = seen.claim.project_id().and_then(|id| realm.remote.get(id));
    let lives = project.is_some_and(|project| project.is_alive);
    realm.law(!lives, "a tombstone stands for a project that is gone");
    realm.law(seen.claim.phase() == Phase::Deleting, "a tombstone follows a deletion");
}

/// An answer has been put into its claim, as far as it can be.
pub(crate) fn absorbed(realm: &mut Realm, announced: &Record, answer: &Answer, is_nobodys: bool) {
    let (id, has_key) = match answer {
        Answer::Created { id, key, .. } => (id, key.is_some()),
        Answer::Regenerated { id, .. } => (id, true),
    };
    realm.count(if has_key { "an answer with a key" } else { "an answer without a key" });
    let lives = realm.remote.get(id).is_some_and(|project| project.is_alive);
    let current = realm.cluster.claims.get(announced.claim.project_name().as_str());
    let Some(record) = current.filter(|record| record.uid == announced.uid && lives && !is_nobodys) else {
        return;
    };
    let (claim, is_known) = (&record.claim, record.claim.project_id() == Some(id));
    let is_excused = claim.is_key_doubtful() || claim.phase() == Phase::Deleting;
    let is_kept = !has_key || record.key.is_some() || is_excused;
    realm.law(is_known || realm.laws.has_given_up, "a project that was answered stands in the claim");
    realm.law(!is_known || is_kept || realm.laws.has_given_up, "a key that was shown once is not lost");
}

/// A published Secret was written, for the owner of `record`.
pub(crate) fn secret_written(realm: &mut Realm, at: SecretKey, before: Option<&Secret>, record: &Record) {
    let owner = record.claim.owner();
    let is_wanted = realm.was_wanted(&owner.uid);
    realm.law(is_wanted, "nothing is published for a resource that is gone");
    let is_home = realm.cluster.namespace_uid(at.0) == Some(&owner.namespace_uid);
    realm.law(is_home, "a key lands in its owner's namespace only");
    let is_key = |secret: &Secret| {
        secret.key.as_ref().zip(record.key.as_ref()).is_some_and(|(theirs, ours)| theirs.is(ours))
    };
    let is_foreign = before.is_some_and(|before| before.is_foreign && !is_key(before));
    realm.law(!is_foreign, "a foreign Secret is never written");
    if let Some(before) = before.filter(|before| !before.project_id.is_empty()) {
        let mut claims = realm.cluster.claims.values();
        let theirs = claims.find(|other| {
            other.claim.project_id().is_some_and(|id| id.as_str() == before.project_id)
                && other.claim.published().is_some_and(|published| published.uid == before.uid)
        });
        let is_others = theirs.is_some_and(|theirs| {
            theirs.uid != record.uid && realm.is_alive(&theirs.claim.owner().uid) && !is_key(before)
        });
        realm.law(!is_others, "another resource's Secret is never written");
    }
}
