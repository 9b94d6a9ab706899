//! A model of the API server: namespaces and resources with UIDs, Secrets, claims; writes by `resourceVersion`, deletes
//! with preconditions. What happens to resources is logged, so that caches may be behind.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use composio_operator::domain::claim::{Claim, Record};
use composio_operator::domain::failure::Failure;
use composio_operator::domain::ids::ProjectId;
use composio_operator::domain::key::ApiKey;
use composio_operator::domain::takeover::MissingPolicy;
use composio_operator::domain::world::{DeletionPolicy, InvalidKeyPolicy};

use crate::realm::Time;

/// A resource: number of its namespace, and its own.
pub(crate) type Key = (usize, usize);
/// A Secret: number of its namespace, and its own.
pub(crate) type SecretKey = (usize, usize);

/// Namespaces there may be.
pub(crate) const NAMESPACES: usize = 3;
/// Names of resources in each.
pub(crate) const NAMES: usize = 3;

pub(crate) fn namespace_name(namespace: usize) -> String {
    format!("team-{namespace}")
}

/// One name that every namespace has, one that two of them share, and one of its own.
pub(crate) fn resource_name(key: Key) -> String {
    match key.1 {
        0 => "shop".to_owned(),
        1 => format!("pair-{}", key.0 / 2),
        _ => format!("own-{}", key.0),
    }
}

/// What a user asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    pub(crate) project_name: Option<String>,
    /// Which settings, see `driver::settings`.
    pub(crate) settings: usize,
    pub(crate) secret: usize,
    pub(crate) suspend: bool,
    pub(crate) policy: DeletionPolicy,
    pub(crate) on_missing: MissingPolicy,
    pub(crate) on_invalid: InvalidKeyPolicy,
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Resource {
    pub(crate) uid: String,
    #[expect(clippy::struct_field_names, reason = "its name in the API")]
    pub(crate) resource_version: u64,
    pub(crate) generation: u64,
    pub(crate) spec: Spec,
    /// `status.project.name`
    pub(crate) known_as: Option<String>,
    /// `status.project.id`
    pub(crate) known_id: Option<ProjectId>,
    /// Somebody has asked for a look.
    pub(crate) is_doubted: bool,
    /// The status says that something is wrong with the key.
    pub(crate) is_reported: bool,
    /// Being deleted, while the finalizer is there.
    pub(crate) is_leaving: bool,
    pub(crate) has_finalizer: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    pub(crate) uid: String,
    /// Being deleted: when its content goes, and when it is gone itself.
    pub(crate) ends: Option<(Time, Time)>,
}

#[derive(Clone)]
pub(crate) struct Secret {
    pub(crate) uid: String,
    pub(crate) resource_version: u64,
    /// Nobody has written our entries into it.
    pub(crate) is_foreign: bool,
    /// The label with the name of the resource.
    pub(crate) label: String,
    pub(crate) key: Option<ApiKey>,
    pub(crate) project_id: String,
    /// Somebody has changed another of our entries.
    pub(crate) is_edited: bool,
}

/// Why a write was not carried out, or not heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Conflict,
    NotFound,
    /// The namespace is being deleted, or not there.
    Forbidden,
    /// No answer came.
    Lost,
}

impl Refused {
    pub(crate) fn failure(self) -> Failure {
        match self {
            Refused::Conflict => Failure::conflict("somebody else has written"),
            other => Failure::transient(format!("a write was refused: {other:?}")),
        }
    }
}

#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) namespaces: [Option<Namespace>; NAMESPACES],
    pub(crate) resources: BTreeMap<Key, Rc<Resource>>,
    pub(crate) secrets: BTreeMap<SecretKey, Secret>,
    /// By project name.
    pub(crate) claims: BTreeMap<String, Record>,
    /// What has happened to resources.
    pub(crate) log: Vec<(Key, Option<Rc<Resource>>)>,
    /// How often a claim was written or removed.
    /// Projects that have a tombstone.
    pub(crate) buried: BTreeSet<ProjectId>,
    pub(crate) claim_writes: u64,
    pub(crate) secret_writes: u64,
    serial: u64,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let mut cluster = Self::default();
        for namespace in 0..NAMESPACES {
            cluster.make_namespace(namespace);
        }
        cluster
    }

    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn uid(&mut self, kind: &str) -> String {
        format!("{kind}-{}", self.next())
    }

    pub(crate) fn make_namespace(&mut self, namespace: usize) {
        let uid = self.uid("namespace");
        self.namespaces[namespace] = Some(Namespace { uid, ends: None });
    }

    /// The UID of a namespace, while it is there.
    pub(crate) fn namespace_uid(&self, namespace: usize) -> Option<&str> {
        self.namespaces[namespace].as_ref().map(|found| found.uid.as_str())
    }

    pub(crate) fn is_open(&self, namespace: usize) -> bool {
        self.namespaces[namespace].as_ref().is_some_and(|found| found.ends.is_none())
    }

    /// Namespaces that are being deleted go on with it.
    pub(crate) fn advance(&mut self, now: Time) {
        for namespace in 0..NAMESPACES {
            let Some((content, end)) = self.namespaces[namespace].as_ref().and_then(|found| found.ends)
            else {
                continue;
            };
            if content <= now {
                let gone: Vec<Key> =
                    self.resources.keys().filter(|key| key.0 == namespace).copied().collect();
                for key in gone {
                    self.delete_resource(key);
                }
                self.secrets.retain(|key, _| key.0 != namespace);
            }
            let is_empty = !self.resources.keys().any(|key| key.0 == namespace);
            if end <= now && !is_empty {
                self.namespaces[namespace].as_mut().unwrap().ends = Some((content, now + 5_000));
            } else if end <= now {
                self.namespaces[namespace] = None;
            }
        }
    }

    pub(crate) fn next_change(&self) -> Option<Time> {
        let ends = self.namespaces.iter().flatten().filter_map(|found| found.ends);
        ends.map(|(_, end)| end).min()
    }

    fn put(&mut self, key: Key, resource: Resource) {
        let resource = Rc::new(resource);
        self.resources.insert(key, resource.clone());
        self.log.push((key, Some(resource)));
    }

    pub(crate) fn make_resource(&mut self, key: Key, spec: Spec) {
        let (uid, resource_version) = (self.uid("resource"), self.next());
        self.put(
            key,
            Resource {
                uid,
                resource_version,
                generation: 1,
                spec,
                known_as: None,
                known_id: None,
                is_doubted: false,
                is_reported: false,
                is_leaving: false,
                has_finalizer: false,
            },
        );
    }

    /// A user asks for a look.
    pub(crate) fn ask(&mut self, key: Key) {
        if let Some(found) = self.resources.get(&key) {
            let mut resource = (**found).clone();
            resource.is_doubted = true;
            // As good as a change: the annotation is news to whoever watches.
            resource.generation += 1;
            resource.resource_version = self.next();
            self.put(key, resource);
        }
    }

    /// As after a status that says that something is wrong with the key.
    pub(crate) fn suspect_key(&mut self, key: Key) {
        if let Some(found) = self.resources.get(&key) {
            let mut resource = (**found).clone();
            resource.is_reported = true;
            resource.generation += 1;
            resource.resource_version = self.next();
            self.put(key, resource);
        }
    }

    /// A user changes the spec.
    pub(crate) fn edit(&mut self, key: Key, change: impl FnOnce(&mut Spec)) {
        let Some(resource) = self.resources.get(&key) else { return };
        let mut resource = (**resource).clone();
        change(&mut resource.spec);
        resource.generation += 1;
        resource.resource_version = self.next();
        self.put(key, resource);
    }

    /// Adds or removes our finalizer; without it a resource that is being deleted is gone.
    pub(crate) fn write_finalizer(&mut self, key: Key, uid: &str, is_wanted: bool) -> Result<(), Refused> {
        let found = self.resources.get(&key).filter(|found| found.uid == uid).ok_or(Refused::NotFound)?;
        if is_wanted && found.is_leaving {
            return Err(Refused::Forbidden);
        }
        let mut resource = (**found).clone();
        resource.has_finalizer = is_wanted;
        resource.resource_version = self.next();
        let is_gone = resource.is_leaving && !is_wanted;
        self.put(key, resource);
        if is_gone {
            self.resources.remove(&key);
            self.log.push((key, None));
        }
        Ok(())
    }

    pub(crate) fn delete_resource(&mut self, key: Key) {
        if let Some(found) = self.resources.get(&key).filter(|found| found.has_finalizer) {
            if !found.is_leaving {
                let mut resource = (**found).clone();
                resource.is_leaving = true;
                resource.generation += 1;
                resource.resource_version = self.next();
                self.put(key, resource);
            }
            return;
        }
        if self.resources.remove(&key).is_some() {
            self.log.push((key, None));
        }
    }

    /// Writes the status; `version` is that of the look, `None` for somebody who does not care.
    pub(crate) fn write_status(
        &mut self,
        key: Key,
        version: Option<u64>,
        known_as: Option<String>,
        known_id: Option<ProjectId>,
        is_reported: bool,
    ) -> Result<(), Refused> {
        let resource = self.resources.get(&key).ok_or(Refused::NotFound)?;
        if version.is_some_and(|version| version != resource.resource_version) {
            return Err(Refused::Conflict);
        }
        let mut resource = (**resource).clone();
        resource.known_as = known_as;
        resource.known_id = known_id;
        resource.is_doubted = false;
        resource.is_reported = is_reported;
        resource.resource_version = self.next();
        self.put(key, resource);
        Ok(())
    }

    pub(crate) fn create_claim(&mut self, claim: &Claim) -> Result<Record, Refused> {
        let name = claim.project_name().as_str();
        if self.claims.contains_key(name) {
            return Err(Refused::Conflict);
        }
        let (uid, resource_version) = (self.uid("claim"), self.next().to_string());
        let record = Record { claim: claim.clone(), key: None, uid, resource_version };
        self.claim_writes += 1;
        self.claims.insert(name.to_owned(), record.clone());
        Ok(record)
    }

    /// Replaces a claim, if it is still as `seen` has it; without `compares` whatever it is.
    pub(crate) fn update_claim(
        &mut self,
        seen: &Record,
        claim: &Claim,
        key: Option<&ApiKey>,
        compares: bool,
    ) -> Result<Record, Refused> {
        let version = self.next().to_string();
        let record = self.claims.get_mut(seen.claim.project_name().as_str()).ok_or(Refused::NotFound)?;
        if compares && (record.uid != seen.uid || record.resource_version != seen.resource_version) {
            return Err(Refused::Conflict);
        }
        (record.claim, record.key) = (claim.clone(), key.cloned());
        record.resource_version = version;
        self.claim_writes += 1;
        Ok(record.clone())
    }

    pub(crate) fn remove_claim(&mut self, seen: &Record, compares: bool) -> Result<(), Refused> {
        let name = seen.claim.project_name().as_str();
        let Some(record) = self.claims.get(name) else { return Ok(()) };
        if compares && (record.uid != seen.uid || record.resource_version != seen.resource_version) {
            return Err(Refused::Conflict);
        }
        self.claim_writes += 1;
        self.claims.remove(name);
        Ok(())
    }

    /// Creates a Secret, or replaces the one that was seen.
    pub(crate) fn write_secret(
        &mut self,
        at: SecretKey,
        seen: Option<&Secret>,
        mut secret: Secret,
    ) -> Result<(), Refused> {
        if !self.is_open(at.0) && (seen.is_none() || self.namespaces[at.0].is_none()) {
            return Err(Refused::Forbidden);
        }
        secret.resource_version = self.next();
        match (seen, self.secrets.get(&at)) {
            (None, Some(_)) => return Err(Refused::Conflict),
            (None, None) => secret.uid = self.uid("secret"),
            (Some(_), None) => return Err(Refused::NotFound),
            (Some(seen), Some(found)) if seen.resource_version != found.resource_version => {
                return Err(Refused::Conflict);
            }
            (Some(_), Some(found)) => secret.uid.clone_from(&found.uid),
        }
        self.secret_writes += 1;
        self.secrets.insert(at, secret);
        Ok(())
    }

    /// A user makes a Secret, or changes one.
    pub(crate) fn user_writes_secret(&mut self, at: SecretKey, change: impl FnOnce(&mut Secret)) {
        let (uid, resource_version) = (self.uid("secret"), self.next());
        let secret = self.secrets.entry(at).or_insert_with(|| Secret {
            uid,
            resource_version,
            is_foreign: true,
            label: String::new(),
            key: None,
            project_id: String::new(),
            is_edited: false,
        });
        secret.resource_version = resource_version;
        change(secret);
    }
}
