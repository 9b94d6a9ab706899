//! What must hold when nothing has gone wrong for hours: every resource is as wished, or says truly what keeps it from
//! that; nothing has leaked, and nothing is uncertain.

use std::rc::Rc;

use composio_operator::domain::claim::{Phase, Record};
use composio_operator::domain::condition::Outcome;
use composio_operator::domain::plan::Step;
use composio_operator::domain::reason::Reason;
use composio_operator::domain::world::InvalidKeyPolicy;

use crate::cluster::{Key, Resource, resource_name};
use crate::driver::settings_of;
use crate::realm::Realm;

/// Checks it all.
pub(crate) fn check(realm: &mut Realm) {
    let resources: Vec<_> =
        realm.cluster.resources.iter().map(|(key, found)| (*key, found.clone())).collect();
    for (key, resource) in resources {
        let outcome = realm.laws.outcomes.get(&key).filter(|(uid, _)| *uid == resource.uid).cloned();
        if resource.is_leaving {
            let told =
                format!("what is being deleted goes, or says why not: {key:?} {} {outcome:?}", resource.uid);
            let is_blocked = outcome.as_ref().is_some_and(|(_, outcome)| is_blocked(realm, outcome));
            realm.law(is_blocked, &told);
            continue;
        }
        let is_so = outcome.as_ref().is_some_and(|(_, outcome)| is_true(realm, key, &resource, outcome));
        let told = format!("an end is what it says: {key:?} {} {outcome:?}", resource.uid);
        realm.law(is_so, &told);
        if let Some((_, outcome)) = outcome {
            realm.count(named(&outcome));
        }
    }
    leaks(realm);
    claims(realm);
}

/// A person keeps the project from being deleted.
fn is_blocked(realm: &Realm, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Step(Step::Stall(Reason::ClaimMissing, _)) => true,
        Outcome::Failed(failure, _) => failure.reason == Reason::DeletionBlocked && !realm.remote.can_delete,
        Outcome::Step(_) => false,
    }
}

fn named(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Step(Step::Done) => "an end: done",
        Outcome::Step(Step::Stall(Reason::SecretConflict, _)) => "an end: a foreign Secret",
        Outcome::Step(Step::Stall(Reason::RebindDenied, _)) => "an end: another namespace's claim",
        Outcome::Step(Step::Stall(Reason::KeyUnavailable, _)) => "an end: no key",
        Outcome::Step(Step::Stall(Reason::KeyRejected, _)) => "an end: a dead key that is reported",
        Outcome::Step(Step::Stall(Reason::RotationNotEnabled, _)) => "an end: a dead key that stays",
        Outcome::Step(Step::Stall(..)) => "an end: another stall",
        Outcome::Step(Step::Wait(Reason::ClaimHeld, ..)) => "an end: a claim that is held",
        Outcome::Step(Step::Wait(Reason::Suspended, ..)) => "an end: suspended",
        Outcome::Failed(failure, _) if failure.reason == Reason::NameTaken => "an end: a name that is taken",
        _ => "an end: another one",
    }
}

/// Somebody who lacks a name or a key asks for it again and again.
pub(crate) fn asks_again(realm: &Realm) -> bool {
    realm.laws.outcomes.values().any(|(_, outcome)| match outcome {
        Outcome::Step(Step::Stall(reason, _)) => *reason == Reason::KeyUnavailable,
        Outcome::Failed(..) => true,
        Outcome::Step(_) => false,
    })
}

/// The full name that a resource renders.
pub(crate) fn project_name(key: Key, resource: &Resource) -> String {
    let name = resource.spec.project_name.clone().unwrap_or_else(|| resource_name(key));
    format!("prod-{name}")
}

fn is_true(realm: &Realm, key: Key, resource: &Rc<Resource>, outcome: &Outcome) -> bool {
    let name = project_name(key, resource);
    let record = realm.cluster.claims.get(&name);
    let is_mine = record.is_some_and(|record| record.claim.owner().uid == resource.uid);
    let project = record.and_then(|record| realm.remote.get(record.claim.project_id()?));
    let is_excused = project.is_none_or(|project| project.is_touched);
    match outcome {
        Outcome::Step(Step::Done) => {
            is_mine && record.is_some_and(|record| is_done(realm, key, resource, record))
        }
        Outcome::Step(Step::Wait(Reason::ClaimHeld, ..)) => {
            let owner = record.map(|record| &record.claim.owner().uid);
            !is_mine && realm.cluster.resources.values().any(|found| Some(&found.uid) == owner)
        }
        Outcome::Step(Step::Wait(Reason::Suspended, ..)) => resource.spec.suspend,
        Outcome::Step(Step::Stall(reason, _)) => match reason {
            Reason::SecretConflict => realm.cluster.secrets.contains_key(&(key.0, resource.spec.secret)),
            Reason::RebindDenied => !is_mine && record.is_some(),
            Reason::KeyUnavailable => !realm.remote.can_regenerate,
            Reason::SettingsIncomplete | Reason::SettingsUnavailable => !realm.remote.has_settings,
            Reason::KeyRejected => {
                is_excused || record.is_some_and(|record| is_reported(realm, resource, record))
            }
            Reason::RotationNotEnabled => {
                let key = record.and_then(|record| record.key.as_ref()).zip(project);
                !realm.remote.can_regenerate && key.is_some_and(|(key, project)| !project.has_key(key))
            }
            Reason::ProjectMissing => project.is_none_or(|project| !project.is_alive),
            _ => false,
        },
        Outcome::Failed(failure, _) => match failure.reason {
            Reason::NameTaken if realm.laws.mistaken.contains(&name) => true,
            Reason::NameTaken => {
                realm.remote.living(&name).is_some_and(|found| !found.is_ours() || found.is_touched)
            }
            Reason::KeyUnavailable => !realm.remote.can_delete && !realm.remote.can_regenerate,
            _ => false,
        },
        Outcome::Step(_) => false,
    }
}

/// The key is dead, and the spec does not want it replaced as things are.
fn is_reported(realm: &Realm, resource: &Resource, record: &Record) -> bool {
    let project = record.claim.project_id().and_then(|id| realm.remote.get(id));
    let Some((project, key)) = project.zip(record.key.as_ref()) else { return false };
    let is_wanted = match resource.spec.on_invalid {
        InvalidKeyPolicy::Report => false,
        InvalidKeyPolicy::Regenerate => true,
        InvalidKeyPolicy::RegenerateIfNoneLeft => !project.has_foreign_key(realm.now),
    };
    !project.has_key(key) && !is_wanted
}

/// Claim, Secret and Composio have the same living key, and the settings are as wished.
fn is_done(realm: &Realm, key: Key, resource: &Resource, record: &Record) -> bool {
    let secret = realm.cluster.secrets.get(&(key.0, resource.spec.secret));
    let published = secret.and_then(|secret| secret.key.as_ref());
    let Some((claimed, published)) = record.key.as_ref().zip(published) else { return false };
    let project = record.claim.project_id().and_then(|id| realm.remote.get(id));
    let Some(project) = project else { return false };
    let settings = settings_of(resource.spec.settings);
    let is_alive = (project.has_key(claimed) && !record.claim.is_key_doubtful()) || project.is_touched;
    // What somebody else changes where nobody can look stays unseen.
    let is_set = settings.differing_from(&project.settings).is_empty()
        || project.is_touched
        || !realm.remote.has_settings;
    claimed.is(published) && is_alive && is_set && record.claim.attempts().is_empty()
}

fn leaks(realm: &mut Realm) {
    let unclaimed = realm.remote.projects.iter().find(|project| {
        let is_known = !project.is_touched && !realm.laws.mistaken.contains(&project.name);
        let is_kept = realm.claim_of(&project.id).is_some();
        project.is_alive && project.is_ours() && is_known && !is_kept
    });
    let told =
        unclaimed.map(|project| format!("no project of ours has leaked: {} {}", project.name, project.id));
    if let Some(told) = told.filter(|_| !realm.laws.has_given_up) {
        realm.laws.breaks(&told);
    }
}

/// A claim without owner is retained; nothing about it is uncertain.
fn claims(realm: &mut Realm) {
    let mut uncertain = realm.cluster.claims.values().filter(|record| {
        let owner = &record.claim.owner().uid;
        let is_owned = realm.cluster.resources.values().any(|found| found.uid == *owner);
        let is_retained = matches!(record.claim.phase(), Phase::Owned | Phase::KeyPending);
        !is_owned && !is_retained
    });
    let told = uncertain
        .next()
        .map(|record| format!("no claim without owner is uncertain: {}", crate::ledger::told(record)));
    if let Some(told) = told {
        realm.laws.breaks(&told);
    }
}
