//! Where a key may be stored: in the ledger, in the Secrets that ComposioProjects ask for, in the Secrets that hold the
//! organizations' keys, and where a test says that it has put one itself. Nowhere else, and not beside the entry.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use serde_json::Value;

use super::{Kind, keys_in, without_keys};

const PROJECTS: &str = "/registry/composio.dev/composioprojects/";
const SECRETS: &str = "/registry/secrets/";

/// How the API server begins what it stores as protobuf.
const PROTOBUF: &[u8] = b"k8s\0";

/// `runtime.Unknown` of Kubernetes: the envelope.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

/// `core/v1.Secret`. Fields of later versions of Kubernetes would not be searched, so the metadata is not parsed.
#[derive(Clone, PartialEq, Message)]
struct Secret {
    #[prost(bytes = "vec", tag = "1")]
    metadata: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "2")]
    data: BTreeMap<String, Vec<u8>>,
    #[prost(string, tag = "3")]
    kind: String,
}

/// What has been found so far, and where keys may be.
#[derive(Default)]
pub(super) struct Places {
    /// Namespaces of operators.
    ledgers: BTreeSet<String>,
    /// Namespace and name of the Secrets that a ComposioProject has ever asked for.
    wanted: BTreeSet<(String, String)>,
    /// Secrets that tests have declared.
    declared: BTreeSet<(Kind, String, String)>,
    /// Keys where none belongs, for a person.
    pub(super) findings: BTreeSet<String>,
    /// How many keys were found where they belong.
    pub(super) in_place: u64,
}

impl Places {
    /// Declares the namespace of an operator: its claims hold keys.
    pub(super) fn ledger(&mut self, namespace: &str) {
        self.ledgers.insert(namespace.to_owned());
    }

    /// Declares a Secret that a test fills itself.
    pub(super) fn declare(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.declared.insert((kind, namespace.to_owned(), name.to_owned()));
    }

    /// Searches one value that etcd has stored, and its key.
    pub(super) fn search(&mut self, key: &str, value: &[u8]) {
        self.found(keys_in(key.as_bytes()), key, "its name");
        if let Some((namespace, name)) = below(key, PROJECTS) {
            self.wanted.insert((namespace.to_owned(), wanted_secret(value, name)));
        }
        let Some((namespace, name)) = below(key, SECRETS) else {
            return self.found(keys_in(value), key, "its content");
        };
        let Some(secret) = parse(value) else {
            self.findings.insert(format!("{}: not a Secret that can be searched", without_keys(key)));
            return;
        };
        self.found(keys_in(&secret.metadata), key, "its metadata");
        self.found(keys_in(secret.kind.as_bytes()), key, "its type");
        for (entry, value) in &secret.data {
            self.found(keys_in(entry.as_bytes()), key, "the name of an entry");
            for kind in keys_in(value) {
                match self.permits(kind, namespace, name, entry) {
                    true => self.in_place += 1,
                    false => self.found([kind].into(), key, &format!("entry {entry}")),
                }
            }
        }
    }

    fn permits(&self, kind: Kind, namespace: &str, name: &str, entry: &str) -> bool {
        let is_declared = self.declared.contains(&(kind, namespace.to_owned(), name.to_owned()));
        let is_project = kind == Kind::Project;
        let is_in_ledger = self.ledgers.contains(namespace);
        let is_claim = is_in_ledger && name.starts_with("claim-") && entry == "apiKey";
        let is_wanted = !is_in_ledger && self.wanted.contains(&(namespace.to_owned(), name.to_owned()));
        is_declared || is_project && (is_claim || is_wanted)
    }

    fn found(&mut self, kinds: BTreeSet<Kind>, key: &str, place: &str) {
        for kind in kinds {
            self.findings.insert(without_keys(&format!("{kind:?} key in {place} of {key}")));
        }
    }
}

/// Namespace and name of an object by its key in etcd.
fn below<'a>(key: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    key.strip_prefix(prefix)?.split_once('/')
}

fn parse(value: &[u8]) -> Option<Secret> {
    let envelope = Envelope::decode(value.strip_prefix(PROTOBUF)?).ok()?;
    Secret::decode(&*envelope.raw).ok()
}

/// The name of the Secret that a ComposioProject asks for.
fn wanted_secret(value: &[u8], name: &str) -> String {
    let object: Value = serde_json::from_slice(value).unwrap_or_default();
    object["spec"]["secret"]["name"].as_str().unwrap_or(name).to_owned()
}
