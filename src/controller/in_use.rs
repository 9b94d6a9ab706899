//! The finalizer of ComposioOrganization: it stays as long as one of its ComposioProjects has a finalizer, since their
//! projects are deleted with its key.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, CustomResourceExt, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard};

use super::api_error::{failure, is_conflict, is_not_found};
use super::cached::CachedProject;
use super::context::Context;
use super::finalizer;
use super::ledger::FIELD_MANAGER;
use crate::composio::BootInstant;
use crate::crd::{ComposioOrganization, ComposioProject, ORGANIZATION_FINALIZER};
use crate::domain::failure::Failure;

/// How often a change is tried again after a conflict within one pass.
const TRIES: usize = 5;
/// Most objects of one answer.
const PAGE: u32 = 500;

/// See the module.
pub struct InUse {
    /// Read by those who add a finalizer to a project, written by those who take one from an organization: nobody counts
    /// while somebody adds.
    gate: RwLock<()>,
    /// Caches of the projects; set once.
    projects: OnceLock<Vec<Store<CachedProject>>>,
    /// Watched namespaces; empty is all.
    namespaces: Vec<String>,
}

impl InUse {
    /// For the watched namespaces; empty is all.
    pub fn new(namespaces: Vec<String>) -> Self {
        Self { gate: RwLock::new(()), projects: OnceLock::new(), namespaces }
    }

    /// Takes the caches of the watches over; once.
    pub fn watched(&self, projects: Vec<Store<CachedProject>>) {
        let _ = self.projects.set(projects);
    }

    /// How many projects an organization has; `None` until the caches are filled.
    pub fn projects_of(&self, organization: &str) -> Option<usize> {
        Some(self.all()?.filter(|project| project.organization() == organization).count())
    }

    /// Whether the caches have the resource of this UID.
    pub fn has(&self, namespace: &str, name: &str, uid: &str) -> bool {
        let reference = ObjectRef::new(name).within(namespace);
        let found = |store: &Store<CachedProject>| store.get(&reference)?.uid();
        self.projects.get().into_iter().flatten().any(|store| found(store).as_deref() == Some(uid))
    }

    /// Whether this process watches a namespace.
    pub fn watches(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|watched| watched == namespace)
    }

    /// All cached projects, once each cache has been filled; nothing as long as one has not.
    pub fn all(&self) -> Option<impl Iterator<Item = Arc<CachedProject>>> {
        let stores = self.projects.get()?;
        let is_filled =
            |store: &Store<CachedProject>| matches!(store.wait_until_ready().now_or_never(), Some(Ok(())));
        stores.iter().all(is_filled).then(|| stores.iter().flat_map(Store::state))
    }

    /// How many projects of an organization carry the finalizer, as far as the caches know.
    fn count(&self, organization: &str) -> usize {
        let projects = self.projects.get().into_iter().flatten().flat_map(Store::state);
        projects
            .filter(|project| finalizer::has(&**project) && project.organization() == organization)
            .count()
    }
}

/// Name of the ComposioOrganization that a project refers to.
pub fn organization_of(project: &ComposioProject) -> &str {
    let reference = project.spec.organization_ref.as_ref().and_then(|reference| reference.name.as_deref());
    reference.unwrap_or("default")
}

fn has(object: &impl ResourceExt) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == ORGANIZATION_FINALIZER)
}

impl Context {
    /// Before a finalizer is added to a project: its organization has one, where there is such an organization. Keep the
    /// guard until it is added.
    pub async fn use_organization(&self, name: &str) -> Result<RwLockReadGuard<'_, ()>, Failure> {
        let guard = self.in_use.gate.read().await;
        for _ in 0..TRIES {
            let found = self.organization_objects().get_opt(name).await;
            let found = found.map_err(|error| failure("reading the organization", &error))?;
            let Some(found) =
                found.filter(|found| !has(found) && found.metadata.deletion_timestamp.is_none())
            else {
                return Ok(guard);
            };
            match self.write_in_use(&found, true).await {
                Ok(()) => return Ok(guard),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(failure("writing the organization's finalizer", &error)),
            }
        }
        Err(Failure::conflict("somebody else wrote the organization"))
    }

    /// Adds or removes the finalizer of an organization; returns how many of its projects carry theirs.
    pub async fn keep_in_use(&self, object: &ComposioOrganization) -> Result<usize, Failure> {
        let name = object.name_any();
        let count = self.in_use.count(&name);
        let writing = |error: kube::Error| failure("writing the organization's finalizer", &error);
        let is_ending = object.metadata.deletion_timestamp.is_some();
        // Where the definition of the projects is gone, nothing tells the caches of their end.
        if count > 0 && !(is_ending && self.is_kind_gone().await?) {
            if !has(object) && !is_ending {
                self.write_in_use(object, true).await.map_err(writing)?;
            }
            return Ok(count);
        }
        if !has(object) {
            return Ok(0);
        }
        let _alone = self.in_use.gate.write().await;
        let begun = BootInstant::now();
        let count = self.count_live(&name).await?;
        self.leads()?;
        // A process that was stopped in between must not write: its successor may have made a project meanwhile.
        if begun.elapsed() >= self.limits.gate {
            return Err(Failure::conflict("the look at the projects is too old"));
        }
        if count == 0 {
            self.write_in_use(object, false).await.map_err(writing)?;
        }
        Ok(count)
    }

    fn organization_objects(&self) -> Api<ComposioOrganization> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn write_in_use(&self, object: &ComposioOrganization, is_wanted: bool) -> Result<(), kube::Error> {
        let others = object.finalizers().iter().filter(|finalizer| *finalizer != ORGANIZATION_FINALIZER);
        let mut finalizers: Vec<_> = others.cloned().collect();
        finalizers.extend(is_wanted.then(|| ORGANIZATION_FINALIZER.to_owned()));
        let patch = json!({"metadata": {
            "uid": object.uid(), "resourceVersion": object.resource_version(), "finalizers": finalizers
        }});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.organization_objects();
        match api.patch_metadata(&object.name_any(), &params, &Patch::Merge(patch)).await {
            Err(error) if !is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn project_objects(&self) -> Vec<Api<DynamicObject>> {
        let (resource, client) = (ComposioProject::api_resource(), &self.client);
        if self.in_use.namespaces.is_empty() {
            return vec![Api::all_with(client.clone(), &resource)];
        }
        let of = |namespace: &String| Api::namespaced_with(client.clone(), namespace, &resource);
        self.in_use.namespaces.iter().map(of).collect()
    }

    /// Whether there is no such kind as ComposioProject any more, as in an uninstall.
    async fn is_kind_gone(&self) -> Result<bool, Failure> {
        let Some(api) = self.project_objects().into_iter().next() else { return Ok(false) };
        match api.list_metadata(&ListParams::default().limit(1)).await {
            Ok(_) => Ok(false),
            Err(error) if is_not_found(&error) => Ok(true),
            Err(error) => Err(failure("looking for projects", &error)),
        }
    }

    /// The same count by the API server, also of projects that this release cannot read.
    async fn count_live(&self, name: &str) -> Result<usize, Failure> {
        let is_user = |project: &DynamicObject| {
            let organization = project.data.pointer("/spec/organizationRef/name").and_then(Value::as_str);
            finalizer::has(project) && organization.unwrap_or("default") == name
        };
        let mut count = 0;
        for api in self.project_objects() {
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let page = match api.list(&params).await {
                    // Without their definition there are none.
                    Err(error) if is_not_found(&error) => break,
                    page => page,
                };
                let page = page.map_err(|error| failure("counting the organization's projects", &error))?;
                count += page.items.iter().filter(|project| is_user(project)).count();
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => params = params.continue_token(&token),
                    None => break,
                }
            }
        }
        Ok(count)
    }

    /// A project's finalizer has gone: an organization that is being deleted may go as well.
    pub fn wake_if_ending(&self, organization: &str) {
        if self.organizations.is_ending(organization) {
            self.wake_organization(organization);
        }
    }
}
