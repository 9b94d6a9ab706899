//! What goes wrong, and what people do, at moments that nobody chose: users, third parties at Composio, processes.

use composio_operator::domain::ids::ProjectId;
use composio_operator::domain::settings::{Member, Settings};
use composio_operator::domain::takeover::MissingPolicy;
use composio_operator::domain::world::{DeletionPolicy, InvalidKeyPolicy};
use serde_json::json;

use crate::cluster::{Key, NAMES, NAMESPACES, Spec};
use crate::process::Process;
use crate::realm::{MINUTE, Realm, SECOND};
use crate::remote::Look;
use crate::weather::Bias;

/// Names that resources may render, and third parties may take.
const PROJECTS: [&str; 4] = ["prod-shop", "prod-pair-0", "prod-own-1", "prod-books"];
/// Names of Secrets in each namespace.
const SECRETS: usize = 3;
const POLICIES: [DeletionPolicy; 4] =
    [DeletionPolicy::Retain, DeletionPolicy::Retain, DeletionPolicy::Delete, DeletionPolicy::DeleteAndRevoke];
const ON_INVALID: [InvalidKeyPolicy; 4] = [
    InvalidKeyPolicy::RegenerateIfNoneLeft,
    InvalidKeyPolicy::RegenerateIfNoneLeft,
    InvalidKeyPolicy::Regenerate,
    InvalidKeyPolicy::Report,
];
/// Kinds of settings, see `driver::settings`.
const SETTINGS: usize = 4;

/// One thing happens.
pub(crate) fn act(realm: &mut Realm) {
    match (realm.dice.below(40), realm.weather.bias) {
        (0..=9, Bias::Stops) => stop(realm),
        (0..=9, Bias::Withdrawals) => withdraw(realm),
        (0..=9, Bias::Keys) => keys(realm),
        (0..=9, Bias::Strangers) | (21..=25, _) => third_party(realm),
        (0..=20, _) => user(realm),
        (26, _) => mode(realm),
        _ => process(realm),
    }
}

fn any_key(realm: &mut Realm) -> Key {
    (realm.dice.below(NAMESPACES), realm.dice.below(NAMES))
}

fn spec(realm: &mut Realm, key: Key) -> Spec {
    let dice = &mut realm.dice;
    Spec {
        project_name: dice.once_in(5).then(|| "books".to_owned()),
        settings: dice.below(SETTINGS),
        secret: if dice.once_in(6) { dice.below(SECRETS) } else { key.1 },
        suspend: dice.once_in(12),
        policy: *dice.pick(&POLICIES).unwrap(),
        on_missing: if dice.once_in(2) { MissingPolicy::Recreate } else { MissingPolicy::Report },
        on_invalid: *dice.pick(&ON_INVALID).unwrap(),
    }
}

fn user(realm: &mut Realm) {
    let key = any_key(realm);
    let secret = (key.0, realm.dice.below(SECRETS));
    match realm.dice.below(24) {
        0..=7 if realm.cluster.is_open(key.0) && !realm.cluster.resources.contains_key(&key) => {
            let spec = spec(realm, key);
            realm.count("a resource was created");
            realm.tell(|| format!("a user creates {key:?} {spec:?}"));
            realm.cluster.make_resource(key, spec);
        }
        8..=11 if realm.cluster.resources.contains_key(&key) => {
            realm.count("a resource was deleted");
            realm.tell(|| format!("a user deletes {key:?}"));
            realm.cluster.delete_resource(key);
        }
        12 | 13 => edit(realm, key),
        14 | 15 => {
            realm.tell(|| format!("a user deletes Secret {secret:?}"));
            if realm.cluster.secrets.remove(&secret).is_some() {
                realm.count("a Secret was deleted");
            }
        }
        16 if realm.cluster.is_open(key.0) => {
            realm.count("a Secret was made or changed by a user");
            realm.tell(|| format!("a user changes Secret {secret:?}"));
            let is_key_lost = realm.dice.once_in(2);
            realm.cluster.user_writes_secret(secret, |secret| {
                secret.is_edited = true;
                if is_key_lost {
                    secret.key = None;
                }
            });
        }
        17 => drop(realm.cluster.write_status(key, None, None, None, false)),
        18 if realm.dice.once_in(3) => end_namespace(realm, key.0),
        19..=21 if realm.cluster.namespace_uid(key.0).is_none() => {
            realm.count("a namespace was made again");
            realm.tell(|| format!("namespace {} is made again", key.0));
            realm.cluster.make_namespace(key.0);
        }
        22 => realm.cluster.ask(key),
        _ => {}
    }
}

fn edit(realm: &mut Realm, key: Key) {
    let wanted = spec(realm, key);
    let kind = realm.dice.below(7);
    realm.tell(|| format!("a user edits {key:?}, {kind}: {wanted:?}"));
    let found = realm.cluster.resources.get(&key);
    let leaving =
        found.filter(|found| found.is_leaving && kind == 4 && wanted.policy == DeletionPolicy::Retain);
    if let Some(uid) = leaving.map(|found| found.uid.clone()) {
        realm.count("a policy was withdrawn while its resource was being deleted");
        let now = realm.now;
        realm.laws.withdrawn.insert(uid, now);
    }
    realm.cluster.edit(key, |spec| match kind {
        0 | 1 => spec.suspend = !spec.suspend,
        2 => spec.settings = wanted.settings,
        3 => spec.secret = wanted.secret,
        4 => spec.policy = wanted.policy,
        5 => spec.on_invalid = wanted.on_invalid,
        // The name of the project cannot be changed: the API server refuses it.
        _ => spec.on_missing = wanted.on_missing,
    });
}

/// A namespace with all its content is deleted, which takes at least five seconds.
fn end_namespace(realm: &mut Realm, namespace: usize) {
    let content = realm.now + realm.dice.between(0, SECOND);
    let end = content + realm.dice.between(5 * SECOND, 20 * SECOND);
    if let Some(found) = &mut realm.cluster.namespaces[namespace]
        && found.ends.is_none()
    {
        found.ends = Some((content, end));
        realm.count("a namespace was deleted");
        realm.tell(|| format!("namespace {namespace} is deleted"));
    }
}

fn third_party(realm: &mut Realm) {
    let name = *realm.dice.pick(&PROJECTS).unwrap();
    let now = realm.now;
    let living = realm.remote.living(name).map(|project| project.id.clone());
    let is_theirs = living.as_ref().and_then(|id| realm.remote.get(id)).is_some_and(|found| !found.is_ours());
    match (realm.dice.below(12), living) {
        (0..=3, None) => {
            let looks = [Look::TwoKeys, Look::Used, Look::NoKey, Look::Untouched];
            let look = *realm.dice.pick(&looks).unwrap();
            realm.count("somebody else made a project");
            realm.tell(|| format!("somebody else creates {name} {look:?}"));
            realm.remote.third_creates(&mut realm.dice, now, name, look);
        }
        (at, Some(id)) if at == 4 || (at <= 9 && is_theirs) => {
            realm.count("somebody else deleted a project");
            realm.tell(|| format!("somebody else deletes {name} {id}"));
            if let Some(project) = realm.remote.get_mut(&id) {
                project.is_touched = true;
            }
            realm.remote.end(&mut realm.dice, now, &id);
        }
        (5..=7, Some(id)) => {
            realm.count("somebody else changed settings");
            realm.tell(|| format!("somebody else changes settings of {name} {id}"));
            let theirs = [(Member::DisplayName, json!("theirs")), (Member::Is2FaEnabled, json!(false))];
            if let Some(project) = realm.remote.get_mut(&id) {
                project.settings = theirs.into_iter().collect::<Settings>().over(&project.settings);
            }
        }
        (8 | 9, Some(id)) => {
            let revokes = realm.dice.once_in(2);
            change_keys(realm, &id, revokes);
        }
        (10, Some(id)) => {
            if let Some(project) = realm.remote.get_mut(&id) {
                project.is_used = true;
                project.is_touched = true;
            }
        }
        _ => {}
    }
}

/// Somebody else makes a further key of a project, or revokes all of them. What no claim has is touched by that, and not
/// ours any more as far as the API shows.
fn change_keys(realm: &mut Realm, id: &ProjectId, revokes: bool) {
    let is_claimed = realm.claim_of(id).is_some();
    realm.count("somebody else changed keys");
    realm.tell(|| format!("somebody else changes keys of {id}, revokes: {revokes}"));
    let now = realm.now;
    realm.remote.third_changes_keys(id, now, revokes, !is_claimed);
}

/// Keys of a project that a resource has are changed, and that is noticed at once.
fn keys(realm: &mut Realm) {
    let owned = realm.cluster.claims.values().filter(|record| record.key.is_some());
    let owned: Vec<_> = owned.map(|record| record.claim.owner().uid.clone()).collect();
    let Some(uid) = realm.dice.pick(&owned).cloned() else { return user(realm) };
    let record = realm.cluster.claims.values().find(|record| record.claim.owner().uid == uid);
    let id = record.and_then(|record| record.claim.project_id().cloned());
    let key = realm.cluster.resources.iter().find(|(_, found)| found.uid == uid).map(|(key, _)| *key);
    let (Some(id), Some(key)) = (id, key) else { return user(realm) };
    match realm.dice.below(4) {
        0 => change_keys(realm, &id, false),
        1 | 2 => change_keys(realm, &id, true),
        _ => {}
    }
    realm.cluster.ask(key);
}

/// The organization changes.
fn mode(realm: &mut Realm) {
    let is_on = !realm.dice.once_in(4);
    match realm.dice.below(4) {
        0 => realm.remote.can_regenerate = is_on,
        1 => realm.remote.shows_key = is_on,
        2 => realm.remote.can_delete = is_on,
        _ => realm.remote.has_settings = is_on,
    }
}

fn process(realm: &mut Realm) {
    let alive: Vec<usize> = (0..realm.processes.len()).filter(|at| realm.processes[*at].is_alive).collect();
    let Some(&at) = realm.dice.pick(&alive) else { return };
    let now = realm.now;
    match realm.dice.below(10) {
        0..=2 => {
            realm.count("a crash");
            realm.tell(|| format!("p{at} crashes"));
            realm.processes[at].is_alive = false;
            if alive.len() == 1 {
                start(realm);
            }
        }
        3 | 4 if alive.len() < 3 => {
            realm.count("a takeover");
            let retires = now + realm.dice.between(0, 3 * MINUTE);
            realm.tell(|| format!("p{at} is deposed, and runs until {retires}"));
            for old in alive {
                realm.processes[old].retires.get_or_insert(retires);
            }
            start(realm);
        }
        5..=7 => stop(realm),
        _ => {}
    }
}

/// One that lives is stopped for a while, as by a debugger, a full node or a sleeping machine.
fn stop(realm: &mut Realm) {
    let alive: Vec<usize> = (0..realm.processes.len()).filter(|at| realm.processes[*at].is_alive).collect();
    let Some(&at) = realm.dice.pick(&alive) else { return };
    realm.count("a process was stopped for a while");
    let longest = if realm.dice.once_in(2) { 10 * SECOND } else { 4 * MINUTE };
    let until = realm.now + realm.dice.between(0, longest);
    realm.tell(|| format!("p{at} is stopped until {until}"));
    realm.processes[at].paused_until = until;
}

/// Of one that is being deleted the policy is withdrawn; else one is deleted that has a policy.
fn withdraw(realm: &mut Realm) {
    let mut has_policy = |is_leaving: bool| {
        let found = realm.cluster.resources.iter().filter(|(_, found)| {
            found.is_leaving == is_leaving && found.spec.policy != DeletionPolicy::Retain
        });
        let keys: Vec<Key> = found.map(|(key, _)| *key).collect();
        realm.dice.pick(&keys).copied()
    };
    if let Some(key) = has_policy(true) {
        let (uid, now) = (realm.cluster.resources[&key].uid.clone(), realm.now);
        realm.count("a policy was withdrawn while its resource was being deleted");
        realm.tell(|| format!("a user withdraws the policy of {key:?}"));
        realm.laws.withdrawn.insert(uid, now);
        realm.cluster.edit(key, |spec| spec.policy = DeletionPolicy::Retain);
    } else if let Some(key) = has_policy(false) {
        realm.count("a resource was deleted");
        realm.tell(|| format!("a user deletes {key:?}"));
        realm.cluster.delete_resource(key);
    } else {
        user(realm);
    }
}

/// A new process.
pub(crate) fn start(realm: &mut Realm) {
    let process = Process::new(&realm.cluster, &mut realm.dice, realm.now);
    realm.processes.push(process);
}

/// From now on nothing goes wrong, nobody changes anything, and one process leads.
pub(crate) fn calm(realm: &mut Realm) {
    realm.tell(|| "from here on nothing goes wrong".to_owned());
    realm.is_calm = true;
    for process in &mut realm.processes {
        process.is_alive = false;
    }
    for namespace in 0..NAMESPACES {
        if realm.cluster.namespace_uid(namespace).is_none() {
            realm.cluster.make_namespace(namespace);
        }
    }
    // No look at keys has a schedule here; projects that are gone are not looked for.
    let staying = realm.cluster.resources.iter().filter(|(_, found)| !found.is_leaving);
    for key in staying.map(|(key, _)| *key).collect::<Vec<_>>() {
        realm.cluster.suspect_key(key);
    }
    start(realm);
}
