//! A fleet of mixed policies, its uninstall, and its return. No scenario.

use std::collections::BTreeMap;

use composio_operator::crd::{self, ComposioOrganization, ComposioProject};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{CustomResourceExt, Resource, ResourceExt};
use serde_json::json;
use testbed::controlplane::{ControlPlane, Options};
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};
use tokio::sync::{Mutex, MutexGuard};

static ONE: Mutex<()> = Mutex::const_new(());

/// Name and policy of each project.
pub(crate) const FLEET: [(&str, &str); 5] = [
    ("kept", "Retain"),
    ("kept-too", "Retain"),
    ("shop", "Delete"),
    ("shop-too", "Delete"),
    ("revoked", "DeleteAndRevoke"),
];

/// Waits until no other test uses the definitions.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().await
}

/// A world without operator, with the definitions of this release, whatever the test before has done to them.
pub(crate) async fn world() -> World {
    let control_plane = ControlPlane::shared(Options::with_crds(crd::all())).await.unwrap();
    release(control_plane).await;
    install(control_plane).await;
    World::without_operator().await
}

/// Nobody is left who would take the finalizers of the test before off.
async fn release(control_plane: &ControlPlane) {
    let client = control_plane.client().await.unwrap();
    for resource in [ComposioProject::api_resource(), ComposioOrganization::api_resource()] {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        // Without the definition there is nothing to release.
        for object in api.list(&ListParams::default()).await.map(|found| found.items).unwrap_or_default() {
            let namespace = object.namespace().unwrap_or_default();
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
            let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            let _ = api.patch_metadata(&object.name_any(), &PatchParams::default(), &patch).await;
        }
    }
}

/// The definitions of this release, served.
pub(crate) async fn install(control_plane: &ControlPlane) {
    let api: Api<CustomResourceDefinition> = Api::all(control_plane.client().await.unwrap());
    for name in names() {
        eventually(&format!("{name} is not being deleted"), PATIENCE, async || {
            match api.get_opt(&name).await.map_err(|error| error.to_string())? {
                Some(found) if found.metadata.deletion_timestamp.is_some() => Err("it is".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
    }
    control_plane.apply_crds(&crd::all()).await.unwrap();
}

fn names() -> Vec<String> {
    crd::all().iter().map(ResourceExt::name_any).collect()
}

/// Applies the fleet, and waits until it is Ready.
pub(crate) async fn fleet(world: &World) {
    for (name, policy) in FLEET {
        world.apply(name, json!({"deletionPolicy": policy})).await;
    }
    for (name, _) in FLEET {
        world.ready(name).await;
    }
}

/// Every key, by the name of its Secret, which must be there.
pub(crate) async fn keys(world: &World) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    for (name, _) in FLEET {
        let key = world.entry(name, "COMPOSIO_API_KEY").await;
        assert!(key.is_some(), "Secret {name} is gone, or has no key");
        keys.extend(key.map(|key| (name.to_owned(), key)));
    }
    keys
}

/// Deletes both definitions, and does not wait.
pub(crate) async fn delete_definitions(world: &World) {
    let api: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    for name in names() {
        api.delete(&name, &DeleteParams::default()).await.unwrap();
    }
}

/// Waits until both definitions are gone.
pub(crate) async fn definitions_gone(world: &World) {
    for name in names() {
        gone(world, &name).await;
    }
}

async fn gone(world: &World, definition: &str) {
    let api: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    eventually(&format!("{definition} is gone"), PATIENCE, async || {
        match api.get_opt(definition).await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(found) => Err(format!("{:?}", found.status.and_then(|status| status.conditions))),
        }
    })
    .await;
}

/// Takes the finalizer of the organization off, and waits until its definition is gone.
pub(crate) async fn strip_organizations(world: &World) {
    let organizations: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    organizations.patch("default", &PatchParams::default(), &patch).await.unwrap();
    gone(world, ComposioOrganization::crd_name()).await;
}

/// A Secret that belongs to a resource and that nobody releases: when it goes, the garbage collector has been there. It
/// learns late of a definition that is made again, so another bait shows first that it knows the kind.
pub(crate) async fn bait(world: &World, owner: &str) {
    world.apply("probe", json!({"suspend": true})).await;
    put_bait(world, "probe").await;
    world.delete("probe").await;
    bait_taken(world).await;
    put_bait(world, owner).await;
}

async fn put_bait(world: &World, owner: &str) {
    let owner = world.projects().get(owner).await.unwrap();
    let mut bait: Secret = serde_json::from_value(json!({"metadata": {"name": "bait"}})).unwrap();
    bait.metadata.owner_references = owner.controller_owner_ref(&()).map(|owner| vec![owner]);
    world.secrets().create(&PostParams::default(), &bait).await.unwrap();
}

/// Waits until the garbage collector has taken the bait.
pub(crate) async fn bait_taken(world: &World) {
    eventually("the garbage collector has looked", PATIENCE, async || {
        match world.secrets().get_opt("bait").await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(_) => Err("the bait is there".to_owned()),
        }
    })
    .await;
}

/// Nothing has happened at Composio, and all Secrets are there with their keys, without an owner.
pub(crate) async fn nothing_is_wiped(world: &World, keys_before: &BTreeMap<String, String>) {
    assert_eq!(world.control.projects(&world.organization.id).len(), FLEET.len(), "living projects");
    assert_eq!(world.control.count(&world.organization.id, Operation::Delete), 0, "deletions sent");
    assert_eq!(&keys(world).await, keys_before);
    for (name, _) in FLEET {
        assert!(
            world.secrets().get(name).await.unwrap().owner_references().is_empty(),
            "{name} has an owner"
        );
    }
}

/// Installed and applied again, everything is as it was, and nothing was created or issued for it.
pub(crate) async fn comes_back(world: &mut World, keys_before: &BTreeMap<String, String>) {
    install(world.control_plane).await;
    let key = world.organization.key.clone();
    world.add_organization("default", &key, json!({})).await;
    if !world.is_running() {
        world.start_operator().await;
    }
    world.organization_ready("default").await;
    fleet(world).await;
    assert_eq!(&keys(world).await, keys_before, "keys");
    let (organization, control) = (&world.organization.id, &world.control);
    assert_eq!(control.committed(organization, Operation::Create), FLEET.len(), "creations");
    assert_eq!(control.count(organization, Operation::Regenerate), 0, "keys issued anew");
    assert_eq!(control.count(organization, Operation::Delete), 0, "deletions");
}
