//! Looks at the ledger all the time: a key that has been stored never changes unless somebody has revoked it, and no claim
//! changes its project or passes into another namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::stage::SYSTEM;
use crate::emulator::Control;

/// Distance between two looks.
const LOOK: Duration = Duration::from_millis(700);
const CLAIM_TYPE: &str = "composio.dev/project-claim";

/// A claim, read from the outside.
#[derive(Clone)]
pub(super) struct SeenClaim {
    pub(super) content: Value,
    pub(super) key: Option<String>,
}

impl SeenClaim {
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.content.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.content["projectId"].as_str()
    }

    pub(super) fn name(&self) -> &str {
        self.text("/projectName")
    }

    pub(super) fn phase(&self) -> &str {
        self.text("/phase")
    }
}

/// The whole ledger.
pub(super) async fn claims(client: &Client) -> kube::Result<Vec<SeenClaim>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    let listed = api.list(&ListParams::default().fields(&format!("type={CLAIM_TYPE}"))).await?;
    let read = |secret: Secret| {
        let mut data = secret.data.unwrap_or_default();
        let content = data.remove("claim.json").and_then(|json| serde_json::from_slice(&json.0).ok());
        let key = data.remove("apiKey").and_then(|key| String::from_utf8(key.0).ok());
        SeenClaim { content: content.unwrap_or_default(), key }
    };
    Ok(listed.into_iter().map(read).collect())
}

/// What was seen of one project first.
struct First {
    key: [u8; 32],
    namespace_uid: String,
    /// Youngest request at Composio at that time.
    mark: u64,
}

/// Everything that was seen.
#[derive(Default)]
pub(super) struct Testimony {
    /// By project id.
    owned: BTreeMap<String, First>,
    /// Projects whose key was another one later: id and name.
    changed: BTreeMap<String, String>,
    /// What must not be.
    pub(super) wrong: BTreeSet<String>,
    pub(super) takeovers: u64,
    holder: Option<String>,
    pub(super) looks: u64,
}

impl Testimony {
    /// Ids of projects that stood in a claim with their key.
    pub(super) fn has_owned(&self, id: &str) -> bool {
        self.owned.contains_key(id)
    }

    /// Keys that have changed although nobody had revoked them.
    pub(super) fn changed_keys(&self, revoked: &BTreeMap<String, u64>) -> impl Iterator<Item = String> {
        let changed = self.changed.iter().filter(|(id, _)| !revoked.contains_key(*id));
        changed.map(|(_, name)| format!("the key of {name} has changed"))
    }

    /// Requests for a new key that had an effect after the claim had one, and before anybody had revoked it.
    pub(super) fn needless_keys(&self, control: &Control, revoked: &BTreeMap<String, u64>) -> usize {
        let is_needless = |entry: &crate::emulator::Entry| {
            let Some(id) = &entry.project_id else { return false };
            let has_key = self.owned.get(id).is_some_and(|first| entry.sequence > first.mark);
            let is_revoked = revoked.get(id).is_some_and(|mark| entry.sequence > *mark);
            entry.committed
                && entry.operation == Some(crate::emulator::Operation::Regenerate)
                && has_key
                && !is_revoked
        };
        control.journal().iter().filter(|entry| is_needless(entry)).count()
    }

    fn claim(&mut self, claim: &SeenClaim, mark: u64, is_granted: bool) {
        let (Some(id), Some(key), "Owned") = (claim.id(), &claim.key, claim.phase()) else { return };
        let key: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let namespace_uid = claim.text("/owner/namespaceUid").to_owned();
        let Some(first) = self.owned.get(id) else {
            self.owned.insert(id.to_owned(), First { key, namespace_uid, mark });
            return;
        };
        if first.key != key {
            self.changed.insert(id.to_owned(), claim.name().to_owned());
        }
        if first.namespace_uid != namespace_uid && !is_granted {
            self.wrong.insert(format!("{} has passed into another namespace", claim.name()));
        }
    }

    fn lease(&mut self, lease: &Lease) {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        let holder = holder.filter(|holder| !holder.is_empty());
        if holder.is_some() && holder != self.holder {
            self.takeovers += u64::from(self.holder.is_some());
            self.holder = holder;
        }
    }
}

/// Looks until it is told to stop.
pub(super) struct Observer {
    stop: CancellationToken,
    task: JoinHandle<Testimony>,
}

impl Observer {
    pub(super) fn start(client: Client, control: Control, grants: BTreeSet<String>) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(watch(client, control, grants, stop.clone())), stop }
    }

    pub(super) async fn end(self) -> anyhow::Result<Testimony> {
        self.stop.cancel();
        Ok(self.task.await?)
    }
}

async fn watch(
    client: Client,
    control: Control,
    grants: BTreeSet<String>,
    stop: CancellationToken,
) -> Testimony {
    let mut testimony = Testimony::default();
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM);
    loop {
        // Before the look: a request after it came when the claim had its key already, or is not counted.
        let seen = claims(&client).await;
        let mark = control.mark();
        for claim in seen.iter().flatten() {
            testimony.claim(claim, mark, grants.contains(claim.name()));
        }
        for lease in leases.list(&ListParams::default()).await.into_iter().flatten() {
            testimony.lease(&lease);
        }
        testimony.looks += 1;
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return testimony;
        }
    }
}
