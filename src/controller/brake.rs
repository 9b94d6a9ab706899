//! The brake on deletions, as this process keeps it: one tally per organization, asked under one lock, so that workers
//! together never exceed the limit. It begins with what the ledger says, so that it survives restarts.
//! It is read from there once: who loses the lease ends its process, so that nobody else deletes while this one lives.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{ListParams, PartialObjectMeta};

use super::api_error::failure;
use super::context::Context;
use super::ledger::{Ledger, ORGANIZATION_LABEL, PHASE_LABEL, PROJECT_ID_ANNOTATION};
use super::organizations::Organization;
use super::tombstones::written_time;
use crate::composio::BootInstant;
use crate::domain::brake::{Permit, Tally};
use crate::domain::failure::Failure;

/// How long a process may take to hear of all resources that wait.
const WARMING_UP: Duration = Duration::from_mins(2);

/// See the module.
pub struct Brake {
    /// When this process began to keep it.
    since: BootInstant,
    tallies: Mutex<HashMap<String, Tally>>,
    /// Held while a tally is read from the ledger.
    loading: tokio::sync::Mutex<()>,
    /// Organizations whose next look asks Composio nothing: their held set has changed, or what the caches know of them.
    unprobed: Mutex<HashSet<String>>,
}

impl Default for Brake {
    fn default() -> Self {
        let (tallies, loading, unprobed) =
            (Mutex::default(), tokio::sync::Mutex::default(), Mutex::default());
        Self { since: BootInstant::now(), tallies, loading, unprobed }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    /// Whether a resource (by UID) may delete its project (by id) now.
    pub async fn may_delete(
        &self,
        organization: &Organization,
        resource: &str,
        project: &str,
    ) -> Result<Permit, Failure> {
        let name = &organization.name;
        self.load_tally(name).await?;
        let mut tallies = lock(&self.brake.tallies);
        let tally = tallies.entry(name.clone()).or_default();
        let before = tally.held().len();
        let permit = tally.ask(organization.deletions_per_hour, resource, project, Timestamp::now());
        let is_changed = tally.held().len() != before;
        drop(tallies);
        if is_changed {
            self.wake_unprobed(name);
        }
        Ok(permit)
    }

    async fn load_tally(&self, name: &str) -> Result<(), Failure> {
        let is_known = || lock(&self.brake.tallies).contains_key(name);
        if is_known() {
            return Ok(());
        }
        let _alone = self.brake.loading.lock().await;
        if is_known() {
            return Ok(());
        }
        let pinned = self.ledger.header().await?.header.organization(name).cloned().unwrap_or_default();
        let tally = Tally::new(self.ledger.endings(name).await?, pinned.confirmed_deletions);
        lock(&self.brake.tallies).insert(name.to_owned(), tally);
        Ok(())
    }

    /// A deletion that was permitted has certainly not happened.
    pub fn give_back(&self, organization: &str, project: &str) {
        if let Some(tally) = lock(&self.brake.tallies).get_mut(organization) {
            tally.give_back(project);
        }
    }

    /// A resource does not wait for a permit any more.
    pub fn withdraw(&self, organization: &str, resource: &str) {
        let mut tallies = lock(&self.brake.tallies);
        let is_changed = tallies.get_mut(organization).is_some_and(|tally| tally.withdraw(resource));
        drop(tallies);
        if is_changed {
            self.wake_unprobed(organization);
        }
    }

    /// UIDs of the resources of an organization that wait. Nothing if nobody has asked this process yet, which has just
    /// begun: what the status says of them may still be so.
    pub fn held_deletions(&self, organization: &str) -> Option<BTreeSet<String>> {
        let held = lock(&self.brake.tallies).get(organization).map(|tally| tally.held().clone());
        let is_warm = self.brake.since.elapsed() >= WARMING_UP;
        held.or_else(|| is_warm.then(BTreeSet::new))
    }

    /// UIDs of the resources of an organization that were let go and are not gone yet.
    pub fn confirmed_deletions(&self, organization: &str) -> BTreeSet<String> {
        lock(&self.brake.tallies).get(organization).map(|tally| tally.confirmed().clone()).unwrap_or_default()
    }

    /// Lets these resources go; that they were confirmed is in the header already.
    pub fn confirm_deletions(&self, organization: &str, resources: BTreeSet<String>) {
        if let Some(tally) = lock(&self.brake.tallies).get_mut(organization) {
            tally.confirm(resources);
        }
    }

    /// Asks for a look at an organization that asks Composio nothing, such as after a change of what is held.
    pub fn wake_unprobed(&self, organization: &str) {
        if lock(&self.brake.unprobed).insert(organization.to_owned()) {
            self.wake_organization(organization);
        }
    }

    /// Whether a look without a probe was asked for since the last time that this was asked.
    pub fn take_unprobed(&self, organization: &str) -> bool {
        lock(&self.brake.unprobed).remove(organization)
    }
}

impl Ledger {
    /// Ids of the projects of an organization that were deleted, with the time, or are being deleted, with the present
    /// time.
    async fn endings(&self, organization: &str) -> Result<Vec<(String, Timestamp)>, Failure> {
        let selector = format!("{ORGANIZATION_LABEL}={organization},{PHASE_LABEL} in (Deleted,Deleting)");
        let listed = self.secrets.list_metadata(&ListParams::default().labels(&selector)).await;
        let ending = |secret: PartialObjectMeta<Secret>| {
            let id = secret.annotations().get(PROJECT_ID_ANNOTATION)?.clone();
            let is_over = secret.labels().get(PHASE_LABEL).is_some_and(|phase| phase == "Deleted");
            let written = written_time(&secret).filter(|_| is_over);
            Some((id, written.unwrap_or_else(Timestamp::now)))
        };
        let listed = listed.map_err(|error| failure("reading the tombstones", &error))?;
        Ok(listed.items.into_iter().filter_map(ending).collect())
    }
}
