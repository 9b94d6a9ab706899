//! The users: they edit, delete and make resources, Secrets and namespaces, one deed after the other, and remember what
//! they want. They reach the API server directly and repeat what an outage has swallowed, as people and GitOps tools do.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use composio_operator::crd::ComposioProject;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::manifest::Spec;
use super::schedule::{Deed, Policy};
use super::tally::{Count, Tally};
use crate::emulator::Control;

/// How long an outage may last for a user.
const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(150);
const MOST_GRANTS: usize = 256;

/// A resource that a user wants to be there.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) spec: Spec,
}

/// What must have become of the project of a name that no resource has any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is there, if it ever was.
    Stays,
    /// It is gone: the finalizer and the policy were there when the resource was deleted.
    Goes,
    /// The policy said so, but the finalizer was not there: whoever comes first.
    Either,
}

/// Name of the `number`-th resource of a slot, and of its project.
fn project_name(slot: usize, number: u32) -> String {
    format!("p{slot:03}-{number}")
}

/// Namespace and project name of all grants: every second slot may take its first projects with it into a namespace that
/// was made again. As many as an organization can have.
pub(super) fn grants(slots: usize, namespaces: &[String]) -> Vec<(String, String)> {
    let of_slot = |slot: usize| {
        let namespace = &namespaces[slot % namespaces.len()];
        (1..=2).map(move |number| (namespace.clone(), project_name(slot, number)))
    };
    (0..slots).step_by(2).flat_map(of_slot).take(MOST_GRANTS).collect()
}

/// All that users want, and what they have done.
pub(super) struct Fleet {
    client: Client,
    dashboard: Dashboard,
    tally: Arc<Tally>,
    namespaces: Vec<Home>,
    slots: Vec<Slot>,
    /// By name of the project, for all names that have ever been used: how its last resource ended, and the UID of that.
    pub(super) ends: BTreeMap<String, (End, String)>,
    /// Names whose project may have been deleted at some time.
    pub(super) may_go: BTreeSet<String>,
    /// Projects whose keys were revoked, with the youngest request at Composio before the first time.
    pub(super) revoked: BTreeMap<String, u64>,
}

/// What users do at Composio.
pub(super) struct Dashboard {
    pub(super) control: Control,
    pub(super) organization_id: String,
}

#[derive(Debug)]
struct Home {
    name: String,
    is_deleted: bool,
}

#[derive(Debug)]
struct Slot {
    home: usize,
    /// How many names it has had.
    names: u32,
    wanted: Option<Wanted>,
}

/// How the API server refused, by status code; an outage is waited for.
type Answer<T> = Result<T, u16>;

impl Fleet {
    /// Users of so many resources in these namespaces, which exist. Nothing is made yet.
    pub(super) fn new(
        client: Client,
        dashboard: Dashboard,
        tally: Arc<Tally>,
        namespaces: Vec<String>,
        slots: usize,
    ) -> Self {
        let homes = namespaces.len();
        let namespaces = namespaces.into_iter().map(|name| Home { name, is_deleted: false }).collect();
        let slots = (0..slots).map(|slot| Slot { home: slot % homes, names: 0, wanted: None }).collect();
        Self {
            client,
            dashboard,
            tally,
            namespaces,
            slots,
            ends: BTreeMap::new(),
            may_go: BTreeSet::new(),
            revoked: BTreeMap::new(),
        }
    }

    /// Makes all resources.
    pub(super) async fn settle_in(&mut self) -> anyhow::Result<()> {
        for slot in 0..self.slots.len() {
            self.make(slot, true).await?;
        }
        Ok(())
    }

    /// Does what comes, until nothing comes any more.
    pub(super) async fn act(mut self, mut deeds: UnboundedReceiver<Deed>) -> anyhow::Result<Self> {
        while let Some(deed) = deeds.recv().await {
            self.perform(deed).await?;
        }
        Ok(self)
    }

    /// What is wanted now.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        self.slots.iter().filter_map(|slot| slot.wanted.as_ref())
    }

    /// Namespaces of resources, and whether each has been deleted and not yet made again.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = (&str, bool)> {
        self.namespaces.iter().map(|home| (home.name.as_str(), home.is_deleted))
    }

    async fn perform(&mut self, deed: Deed) -> anyhow::Result<()> {
        match deed {
            Deed::DeleteNamespace(home) => self.delete_namespace(home).await,
            Deed::Make(slot, is_new) => {
                self.delete(slot).await?;
                self.make(slot, is_new).await
            }
            Deed::Delete(slot) => self.delete(slot).await,
            Deed::Edit(slot, change) => {
                let Some(wanted) = &mut self.slots[slot].wanted else { return Ok(()) };
                wanted.spec.change(change);
                self.tally.add(Count::Edits);
                self.apply(slot).await
            }
            Deed::DeleteSecret(slot) => {
                self.secret(slot, async |api, name| {
                    api.delete(&name, &DeleteParams::default()).await.map(drop)
                })
                .await
            }
            Deed::SpoilSecret(slot) => {
                let data =
                    json!({"stringData": {"COMPOSIO_API_KEY": "spoilt", "KEY_1": "spoilt", ".env": ""}});
                self.merge_secret(slot, &data).await
            }
            Deed::UnlabelSecret(slot) => {
                let labels = json!({"metadata": {"labels": {"composio.dev/project": null, "app.kubernetes.io/managed-by": null}}});
                self.merge_secret(slot, &labels).await
            }
            Deed::WipeStatus(slot) => self.wipe_status(slot).await,
            Deed::RevokeKeys(slot) => {
                self.revoke_keys(slot);
                Ok(())
            }
        }
    }

    /// The operator finds it out by itself, when it looks at the project.
    fn revoke_keys(&mut self, slot: usize) {
        let Some(wanted) = &self.slots[slot].wanted else { return };
        let Dashboard { control, organization_id } = &self.dashboard;
        let found = control.projects(organization_id).into_iter().find(|found| found.name == wanted.name);
        let Some(project) = found else { return };
        self.revoked.entry(project.id.clone()).or_insert_with(|| control.mark());
        control.revoke_project_keys(&project.id);
        self.tally.add(Count::KeysRevoked);
    }

    fn projects(&self, slot: usize) -> Api<ComposioProject> {
        Api::namespaced(self.client.clone(), &self.namespaces[self.slots[slot].home].name)
    }

    /// Creates the resource, under its last name or a new one.
    async fn make(&mut self, slot: usize, is_new: bool) -> anyhow::Result<()> {
        let home = self.slots[slot].home;
        if self.slots[slot].wanted.is_some() || !self.is_open(home).await? {
            return Ok(());
        }
        let place = &mut self.slots[slot];
        place.names += u32::from(is_new || place.names == 0);
        let (number, name) = (place.names, project_name(slot, place.names));
        let spec = Spec::first(u32::try_from(slot)?.wrapping_add(number));
        let api = self.projects(slot);
        let object: ComposioProject = serde_json::from_value(spec.manifest(&name))?;
        let created = persist(async || match api.create(&PostParams::default(), &object).await {
            // Of an earlier try, whose answer was lost; or the one that is being deleted.
            Err(kube::Error::Api(status)) if status.code == 409 => match api.get(&name).await? {
                found if found.metadata.deletion_timestamp.is_none() => Ok(found),
                _ => Err(kube::Error::Api(status)),
            },
            created => created,
        })
        .await?;
        if let Ok(created) = created {
            let (namespace, uid) = (self.namespaces[home].name.clone(), created.uid().unwrap_or_default());
            self.ends.remove(&name);
            self.slots[slot].wanted = Some(Wanted { namespace, name, uid, spec });
            self.tally.add(Count::Made);
        }
        Ok(())
    }

    async fn apply(&mut self, slot: usize) -> anyhow::Result<()> {
        let (api, Some(wanted)) = (self.projects(slot), &self.slots[slot].wanted) else { return Ok(()) };
        let manifest = wanted.spec.manifest(&wanted.name);
        let params = PatchParams::apply("users").force();
        let applied =
            persist(async || api.patch(&wanted.name, &params, &Patch::Apply(&manifest)).await).await?;
        match applied {
            Ok(_) => Ok(()),
            Err(code) => bail!("{code} to an edit of {}/{}", wanted.namespace, wanted.name),
        }
    }

    /// Deletes the resource exactly as it was seen, so that what has to come of it is known.
    async fn delete(&mut self, slot: usize) -> anyhow::Result<()> {
        let (api, Some(wanted)) = (self.projects(slot), self.slots[slot].wanted.take()) else {
            return Ok(());
        };
        self.tally.add(Count::Deleted);
        let end = Cell::new(End::Stays);
        persist(async || {
            let Some(found) = api.get_opt(&wanted.name).await? else { return Ok(()) };
            if found.metadata.deletion_timestamp.is_some() {
                return Ok(());
            }
            end.set(end_of(&found, wanted.spec.policy));
            let preconditions =
                Preconditions { resource_version: found.resource_version(), uid: found.uid() };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match api.delete(&wanted.name, &params).await {
                // Somebody has written in between: look again.
                Err(kube::Error::Api(status)) if status.code == 409 => Err(outage()),
                deleted => deleted.map(drop),
            }
        })
        .await?
        .ok();
        self.has_ended(wanted, end.get());
        Ok(())
    }

    fn has_ended(&mut self, resource: Wanted, end: End) {
        let Wanted { name, uid, .. } = resource;
        if end != End::Stays {
            self.may_go.insert(name.clone());
        }
        self.ends.insert(name, (end, uid));
    }

    async fn delete_namespace(&mut self, home: usize) -> anyhow::Result<()> {
        if self.namespaces[home].is_deleted {
            return Ok(());
        }
        let name = self.namespaces[home].name.clone();
        let projects: Api<ComposioProject> = Api::namespaced(self.client.clone(), &name);
        let found = persist(async || projects.list(&ListParams::default()).await).await?;
        let found = found.map(|list| list.items).unwrap_or_default();
        let of_it = self.slots.iter_mut().filter(|slot| slot.home == home);
        for wanted in of_it.filter_map(|slot| slot.wanted.take()).collect::<Vec<_>>() {
            let object = found.iter().find(|object| object.name_any() == wanted.name);
            let end = object.map_or(End::Stays, |object| end_of(object, wanted.spec.policy));
            self.has_ended(wanted, end);
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        persist(async || namespaces.delete(&name, &DeleteParams::default()).await.map(drop)).await?.ok();
        self.namespaces[home].is_deleted = true;
        self.tally.add(Count::NamespacesDeleted);
        Ok(())
    }

    /// Whether the namespace is there; one that is gone is made again.
    async fn is_open(&mut self, home: usize) -> anyhow::Result<bool> {
        if self.namespaces[home].is_deleted {
            let namespaces: Api<Namespace> = Api::all(self.client.clone());
            let object: Namespace =
                serde_json::from_value(json!({"metadata": {"name": self.namespaces[home].name}}))?;
            let made = persist(async || namespaces.create(&PostParams::default(), &object).await).await?;
            if made.is_ok() {
                self.tally.add(Count::NamespacesMade);
            }
            self.namespaces[home].is_deleted = made.is_err();
        }
        Ok(!self.namespaces[home].is_deleted)
    }

    async fn merge_secret(&mut self, slot: usize, change: &Value) -> anyhow::Result<()> {
        self.secret(slot, async |api, name| {
            api.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
        })
        .await
    }

    /// Does something to the published Secret, if there is one.
    async fn secret(
        &mut self,
        slot: usize,
        change: impl AsyncFn(Api<Secret>, String) -> kube::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(wanted) = &self.slots[slot].wanted else { return Ok(()) };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &wanted.namespace);
        let name = wanted.spec.secret_name(&wanted.name);
        if persist(async || change(api.clone(), name.clone()).await).await?.is_ok() {
            self.tally.add(Count::SecretsTouched);
        }
        Ok(())
    }

    async fn wipe_status(&mut self, slot: usize) -> anyhow::Result<()> {
        let (api, Some(wanted)) = (self.projects(slot), &self.slots[slot].wanted) else { return Ok(()) };
        let nothing = json!({"status": null});
        let params = PatchParams::default();
        let wiped =
            persist(async || api.patch_status(&wanted.name, &params, &Patch::Merge(&nothing)).await).await?;
        if wiped.is_ok() {
            self.tally.add(Count::StatusWiped);
        }
        Ok(())
    }
}

fn end_of(object: &ComposioProject, policy: Policy) -> End {
    match (policy, object.finalizers().is_empty()) {
        (Policy::Retain, _) => End::Stays,
        (_, false) => End::Goes,
        (_, true) => End::Either,
    }
}

fn outage() -> kube::Error {
    kube::Error::Service("once more".into())
}

/// Repeats a request until the API server has answered it. A 404 counts only where it is about an object: while it starts,
/// the API server does not know all kinds yet.
pub(super) async fn persist<T>(request: impl AsyncFn() -> kube::Result<T>) -> anyhow::Result<Answer<T>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let error = match request().await {
            Ok(done) => return Ok(Ok(done)),
            Err(kube::Error::Api(status)) if is_final(&status) => return Ok(Err(status.code)),
            Err(error) => error,
        };
        if tokio::time::Instant::now() >= deadline {
            bail!("the API server does not answer: {error}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_final(status: &kube::core::Status) -> bool {
    let is_of_an_object = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
    match status.code {
        404 => status.reason == "NotFound" && is_of_an_object,
        400 | 403 | 409 | 422 => true,
        _ => false,
    }
}
