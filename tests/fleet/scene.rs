//! What the scenarios share: a world that is swept often, the organization's status, and counts in the journal.

use std::time::Duration;

use composio_operator::crd::{ComposioOrganization, ComposioOrganizationStatus, ComposioProject, HeldStatus};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::emulator::{Entry, Operation, ThirdPartyProject};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

/// A world that is swept every so many seconds, and a project of somebody else, so that the list is never empty.
pub(crate) async fn world_swept_every(seconds: u64) -> (World, String) {
    let mut world = World::without_operator().await;
    let other = third_party(&world, "other");
    world.sweep_interval = Duration::from_secs(seconds);
    world.start_operator().await;
    world.organization_ready("default").await;
    (world, other)
}

/// Says in the name of an earlier operator when the organization was swept last.
pub(crate) async fn last_swept(world: &World, time: &str) {
    let patch = Patch::Merge(json!({"status": {"lastSweepTime": time}}));
    organizations(world).patch_status("default", &PatchParams::default(), &patch).await.unwrap();
}

/// A project that somebody else makes.
pub(crate) fn third_party(world: &World, name: &str) -> String {
    world.control.create_project(&world.organization.id, ThirdPartyProject::named(name)).id
}

/// Applies projects and waits until all are Ready; gives their ids.
pub(crate) async fn ready(world: &World, names: &[&str], spec: Value) -> Vec<String> {
    for name in names {
        world.apply(name, spec.clone()).await;
    }
    let mut ids = Vec::new();
    for name in names {
        ids.push(id(&world.ready(name).await));
    }
    ids
}

pub(crate) fn id(project: &ComposioProject) -> String {
    project.status.clone().unwrap().project.unwrap().id.unwrap_or_default()
}

pub(crate) fn organizations(world: &World) -> Api<ComposioOrganization> {
    Api::namespaced(world.client.clone(), &world.system)
}

/// Waits until the status of the organization is as wanted; gives it.
pub(crate) async fn status(
    world: &World,
    what: &str,
    is_wanted: impl Fn(&ComposioOrganizationStatus) -> bool,
) -> ComposioOrganizationStatus {
    eventually(what, PATIENCE, async || {
        let object = organizations(world).get("default").await.map_err(|error| error.to_string())?;
        let status = object.status.unwrap_or_default();
        if is_wanted(&status) { Ok(status) } else { Err(format!("its status is {status:?}")) }
    })
    .await
}

/// Waits until so many projects are held as vanished.
pub(crate) async fn held(world: &World, count: i32) -> HeldStatus {
    let is_held = |held: &&HeldStatus| held.kind == "FleetVanished" && held.count == count;
    let status =
        status(world, "the fleet is held", |status| status.held.iter().any(|held| is_held(&held))).await;
    status.held.iter().find(is_held).cloned().unwrap()
}

/// Sets the annotation.
pub(crate) async fn confirm(world: &World, token: &str) {
    let patch = json!({"metadata": {"annotations": {"composio.dev/confirm": token}}});
    organizations(world).patch("default", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Requests for the first page of a complete walk since a mark.
pub(crate) fn walks(world: &World, mark: u64) -> usize {
    world.control.journal_since(mark).iter().filter(|entry| entry.path.ends_with("/list?limit=50")).count()
}

/// Waits until so many sweeps that were begun from now on have ended: another one was begun after them, which is never
/// done before the one before is judged.
pub(crate) async fn swept(world: &World, times: usize) {
    let mark = world.control.mark();
    eventually("the fleet is swept", PATIENCE, async || match walks(world, mark) {
        walks if walks > times + 1 => Ok(()),
        walks => Err(format!("{walks} walks were begun")),
    })
    .await;
}

/// Reads by id of one project since a mark.
pub(crate) fn reads(world: &World, mark: u64, id: &str) -> usize {
    let is_read =
        |entry: &&Entry| entry.operation == Some(Operation::Read) && entry.project_id.as_deref() == Some(id);
    world.control.journal_since(mark).iter().filter(is_read).count()
}

/// Calls that change something at Composio, which were sent so far.
pub(crate) fn mutations(world: &World) -> usize {
    let operations = [Operation::Create, Operation::Delete, Operation::Regenerate, Operation::PatchSettings];
    operations.into_iter().map(|operation| world.control.count(&world.organization.id, operation)).sum()
}

/// Asks for a look at a project, and waits until it was taken.
pub(crate) async fn looked_at(world: &World, name: &str) {
    world.poke(name).await;
    eventually(&format!("{name} was looked at"), PATIENCE, async || {
        let object = world.projects().get(name).await.map_err(|error| error.to_string())?;
        let asked = object.annotations().get("composio.dev/reconcile-requested-at").cloned();
        let status = object.status.unwrap_or_default();
        let is_handled = status.last_handled_reconcile_at == asked;
        is_handled.then_some(()).ok_or_else(|| format!("its status is {:?}", status.conditions))
    })
    .await;
}
