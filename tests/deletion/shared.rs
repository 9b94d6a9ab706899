//! What the scenarios share: to delete without waiting, to wait for an end, and to read what is left. No scenario.

use composio_operator::crd::ComposioProject;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::emulator::{Fault, Operation};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

/// The finalizer of a ComposioProject whose project is to be deleted with it.
pub(crate) const FINALIZER: &str = "composio.dev/project";

/// Often enough to be always.
pub(crate) const ALWAYS: u32 = 100_000;

/// A world with `shop`, which is Ready and has the policy `Delete`.
pub(crate) async fn shop() -> World {
    let world = World::start().await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.ready("shop").await;
    world
}

/// UIDs of all owners.
pub(crate) fn owner_uids(secret: &impl ResourceExt) -> Vec<String> {
    secret.owner_references().iter().map(|owner| owner.uid.clone()).collect()
}

/// The project's id, as the status shows it.
pub(crate) fn id(project: &ComposioProject) -> String {
    project.status.clone().unwrap().project.unwrap().id.unwrap()
}

/// The last calls of an operation fail in this way, until the faults are cleared.
pub(crate) fn always(world: &World, operation: Operation, fault: Fault) {
    world.control.fault(&world.organization.id, operation, fault, ALWAYS);
}

/// How many calls of this operation were sent.
pub(crate) fn sent(world: &World, operation: Operation) -> usize {
    world.control.count(&world.organization.id, operation)
}

/// How many calls of this operation have had their effect.
pub(crate) fn committed(world: &World, operation: Operation) -> usize {
    world.control.committed(&world.organization.id, operation)
}

/// Waits until at least so many calls of this operation were sent.
pub(crate) async fn is_sent(world: &World, operation: Operation, times: usize) {
    eventually(&format!("{operation:?} was sent {times} times"), PATIENCE, async || {
        match sent(world, operation) {
            count if count >= times => Ok(()),
            count => Err(format!("{count} times")),
        }
    })
    .await;
}

/// Deletes a resource and does not wait.
pub(crate) async fn delete(world: &World, name: &str) {
    world.projects().delete(name, &DeleteParams::default()).await.unwrap();
}

/// Waits until a resource is gone.
pub(crate) async fn gone(world: &World, name: &str) {
    eventually(&format!("ComposioProject {name} is gone"), PATIENCE, async || {
        match world.projects().get_opt(name).await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(found) => Err(format!("it has {:?} and {:?}", found.finalizers(), found.status)),
        }
    })
    .await;
}

/// Waits until a Secret of the world's namespace is there or gone.
pub(crate) async fn secret_is(world: &World, name: &str, is_there: bool) {
    eventually(&format!("Secret {name} is there: {is_there}"), PATIENCE, async || {
        let found = world.secrets().get_opt(name).await.map_err(|error| error.to_string())?;
        if found.is_some() == is_there { Ok(()) } else { Err(format!("there: {}", found.is_some())) }
    })
    .await;
}

/// Takes every finalizer off, as a person does who has lost patience.
pub(crate) async fn strip(world: &World, name: &str) {
    let patch = json!({"metadata": {"finalizers": null}});
    world.projects().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Asks for looks until the resource is Ready.
pub(crate) async fn ready_when_asked(world: &World, name: &str) -> ComposioProject {
    eventually(&format!("ComposioProject {name} is Ready when asked for a look"), PATIENCE, async || {
        world.poke(name).await;
        let found = world.projects().get(name).await.map_err(|error| error.to_string())?;
        let status = found.status.clone().unwrap_or_default();
        let is_ready = |known: &_| is_ready(known);
        if status.conditions.iter().any(is_ready) { Ok(found) } else { Err(format!("{status:?}")) }
    })
    .await
}

fn is_ready(condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition) -> bool {
    condition.type_ == "Ready" && condition.status == "True"
}

/// The Secrets of the operator's namespace.
pub(crate) fn ledger(world: &World) -> Api<Secret> {
    Api::namespaced(world.client.clone(), &world.system)
}

/// The only claim, as a Secret.
pub(crate) async fn claim(world: &World) -> Secret {
    let params = ListParams::default().fields("type=composio.dev/project-claim");
    let mut claims = ledger(world).list(&params).await.unwrap().items;
    assert_eq!(claims.len(), 1, "claims");
    claims.remove(0)
}

/// The tombstones of the ledger.
pub(crate) async fn tombstones(world: &World) -> Vec<Value> {
    let params = ListParams::default().labels("composio.dev/phase=Deleted");
    let read = |secret: Secret| {
        let data = secret.data.unwrap_or_default();
        assert_eq!(data.len(), 1, "a tombstone holds the claim and nothing else: {:?}", data.keys());
        serde_json::from_slice(&data["claim.json"].0).unwrap()
    };
    ledger(world).list(&params).await.unwrap().into_iter().map(read).collect()
}

/// The resource is gone, and so is everything that it stood for, by one deletion; one tombstone says so.
pub(crate) async fn ends_deleted(world: World) {
    gone(&world, "shop").await;
    assert_eq!(committed(&world, Operation::Delete), 1, "deletions");
    ends_without_project(world).await;
}

/// The same where another one may have deleted it.
pub(crate) async fn ends_without_project(world: World) {
    gone(&world, "shop").await;
    assert_eq!(world.control.projects(&world.organization.id).len(), 0, "living projects");
    assert_eq!(world.claims().await.all().count(), 0, "claims");
    assert_eq!(tombstones(&world).await.len(), 1, "tombstones");
    secret_is(&world, "shop", false).await;
    world.finish(&[]).await;
}
