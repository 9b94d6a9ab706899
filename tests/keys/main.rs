//! Scenarios of keys that do not work any more, and of their replacement, on a real control plane and the emulator.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod answers;
mod meanings;
mod policies;
mod revoked;

use composio_operator::crd::ComposioProject;
use serde_json::{Value, json};
use testbed::emulator::{Fault, Operation};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

/// A key of this age is judged.
const OLD: i64 = 120_000;

/// A world with the project `shop`, whose key is not fresh any more; and the project's id.
async fn world_with_shop(spec: Value) -> (World, String) {
    let world = World::start().await;
    world.apply("shop", spec).await;
    let shop = world.ready("shop").await;
    later(&world, OLD);
    (world, id(&shop))
}

/// Composio's clock, by which everything is dated, goes on by so many milliseconds.
fn later(world: &World, milliseconds: i64) {
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.clock_skew_milliseconds += milliseconds);
}

fn id(project: &ComposioProject) -> String {
    project.status.clone().unwrap().project.unwrap().id.unwrap_or_default()
}

/// The message of the condition `Ready`.
fn message(project: &ComposioProject) -> String {
    let conditions = project.status.clone().unwrap().conditions;
    conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap().message
}

/// The key of a project at Composio, of which it has one.
fn remote_key(world: &World, id: &str) -> String {
    world.control.project(id).unwrap().keys.remove(0)
}

async fn published(world: &World, name: &str) -> String {
    world.entry(name, "COMPOSIO_API_KEY").await.unwrap_or_default()
}

/// Regenerates that Composio has carried out.
fn replaced(world: &World) -> usize {
    world.control.committed(&world.organization.id, Operation::Regenerate)
}

/// Regenerates that were sent.
fn asked(world: &World) -> usize {
    world.control.count(&world.organization.id, Operation::Regenerate)
}

/// The calls with a project's key.
const CALLS: [Operation; 2] = [Operation::ReadSettings, Operation::Categories];

/// Calls with a project's key so far.
fn looks(world: &World) -> usize {
    CALLS.into_iter().map(|call| world.control.count(&world.organization.id, call)).sum()
}

/// Every call with a project's key meets this so many times; the rules.
fn fault_looks(world: &World, fault: &Fault, times: u32) -> Vec<u64> {
    let rule = |call| world.control.fault(&world.organization.id, call, fault.clone(), times);
    CALLS.into_iter().map(rule).collect()
}

fn clear(world: &World, rules: &[u64]) {
    for rule in rules {
        world.control.clear_fault(*rule);
    }
}

/// Waits until the last `poke` is answered for in status.
async fn handled(world: &World, name: &str) -> ComposioProject {
    eventually(&format!("{name} was looked at"), PATIENCE, async || {
        let object = world.projects().get(name).await.map_err(|error| error.to_string())?;
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        let asked = annotations.get("composio.dev/reconcile-requested-at").cloned();
        let status = object.status.clone().unwrap_or_default();
        match status.last_handled_reconcile_at == asked {
            true => Ok(object),
            false => Err(format!("its status is {:?}", status.conditions)),
        }
    })
    .await
}

/// Waits until the published key is one that works, and not `old`.
async fn works_again(world: &World, name: &str, id: &str, old: &str) {
    eventually(&format!("{name} has a key that works"), PATIENCE, async || {
        let key = published(world, name).await;
        match key != old && world.control.project_of_key(&key).as_deref() == Some(id) {
            true => Ok(()),
            false => Err("the published key does not work".to_owned()),
        }
    })
    .await;
}

/// Waits until nothing about the key is uncertain any more.
async fn settled(world: &World, name: &str) {
    eventually(&format!("the replacement of the key of {name} is done"), PATIENCE, async || {
        let claims = world.claims().await;
        let rotation = claims.of(name).map(|claim| claim["rotation"].clone()).unwrap_or_default();
        match rotation["stage"] == "Done" && rotation["doubtfulSince"].is_null() {
            true => Ok(()),
            false => Err(rotation.to_string()),
        }
    })
    .await;
}

fn on_invalid_key(policy: &str) -> Value {
    json!({"onInvalidKey": policy})
}
