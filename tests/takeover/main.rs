//! Scenarios of taking projects over: adoption, grants, lost and restored ledgers, missing projects, lost status.
#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod adopt;
mod lost_ledger;
mod missing;
mod retained;
mod status;

use composio_operator::crd::{ComposioOrganization, ComposioProject};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::canary::Kind;
use testbed::emulator::{Operation, ProjectState, ThirdPartyProject};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

/// A project that somebody else made, with one key.
fn third_party(world: &World, name: &str) -> ProjectState {
    let project = ThirdPartyProject { name: name.to_owned(), with_key: true, ..ThirdPartyProject::default() };
    world.control.create_project(&world.organization.id, project)
}

/// Changes what ComposioOrganization `default` permits, and waits until a running operator knows it.
async fn permit(world: &World, spec: Value) {
    world.add_organization("default", &world.organization.key, spec).await;
    if world.is_running() {
        observed(world, "default").await;
    }
}

/// Waits until the operator has looked at the present spec of an organization.
async fn observed(world: &World, name: &str) {
    let api: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
    eventually("the organization is looked at", PATIENCE, async || {
        let object = api.get(name).await.map_err(|error| error.to_string())?;
        let observed = object.status.clone().unwrap_or_default().observed_generation;
        if observed == object.metadata.generation { Ok(()) } else { Err(format!("{observed:?}")) }
    })
    .await;
}

fn grant(name: &str, namespace: &str) -> Value {
    json!({"grants": [{"projectName": name, "namespace": namespace}]})
}

/// Writes a Secret of a tenant.
async fn secret(world: &World, name: &str, entry: &str, value: &str) {
    world.history.permit(Kind::Project, &world.namespace, name);
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {entry: value}
    });
    world.apply_to::<Secret>(&world.namespace, &object).await.unwrap();
}

fn adopt_with_secret(id: &str, secret: &str) -> Value {
    json!({"adopt": {"projectId": id, "keySource": "Secret", "secretRef": {"name": secret}}})
}

fn adopt_and_regenerate(id: &str) -> Value {
    json!({"adopt": {"projectId": id, "keySource": "Regenerate"}})
}

fn id(project: &ComposioProject) -> String {
    project.status.clone().unwrap().project.unwrap().id.unwrap_or_default()
}

fn origin(project: &ComposioProject) -> String {
    project.status.clone().unwrap().project.unwrap().origin.unwrap_or_default()
}

/// The message of the condition `Ready`.
fn message(project: &ComposioProject) -> String {
    let conditions = project.status.clone().unwrap().conditions;
    conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap().message
}

/// Calls that change something at Composio, which were sent so far.
fn mutations(world: &World) -> usize {
    let operations = [Operation::Create, Operation::Delete, Operation::Regenerate, Operation::PatchSettings];
    operations.into_iter().map(|operation| world.control.count(&world.organization.id, operation)).sum()
}

fn claims(world: &World) -> (Api<Secret>, ListParams) {
    let api = Api::namespaced(world.client.clone(), &world.system);
    (api, ListParams::default().labels("composio.dev/phase"))
}

/// The claims are gone, as after a reinstallation; the header stays.
async fn lose_claims(world: &World) {
    let (api, params) = claims(world);
    api.delete_collection(&DeleteParams::default(), &params).await.unwrap();
}

/// Waits until the ledger knows a project of this name.
async fn claim_of(world: &World, name: &str) {
    eventually(&format!("a claim of {name}"), PATIENCE, async || {
        let claims = world.claims().await;
        match claims.of(name).is_some_and(|claim| claim["projectId"].is_string()) {
            true => Ok(()),
            false => Err("there is none".to_owned()),
        }
    })
    .await;
}

/// Waits until the last `poke` is answered for in status.
async fn handled(world: &World, name: &str) {
    eventually(&format!("{name} was looked at"), PATIENCE, async || {
        let object = world.projects().get(name).await.map_err(|error| error.to_string())?;
        let asked = object.annotations().get("composio.dev/reconcile-requested-at").cloned();
        let status = object.status.unwrap_or_default();
        match status.last_handled_reconcile_at == asked {
            true => Ok(()),
            false => Err(format!("its status is {:?}", status.conditions)),
        }
    })
    .await;
}

/// Changes `claim.json` of the one claim of this project name, as only an administrator can.
async fn change_claim(world: &World, name: &str, change: impl FnOnce(&mut Value)) {
    let (api, params) = claims(world);
    let content = |claim: &Secret| -> Value {
        serde_json::from_slice(&claim.data.as_ref().unwrap()["claim.json"].0).unwrap()
    };
    let all = api.list(&params).await.unwrap().items;
    let claim = all.iter().find(|claim| content(claim)["projectName"] == name).unwrap();
    let mut changed = content(claim);
    change(&mut changed);
    let patch = json!({"stringData": {"claim.json": changed.to_string()}});
    api.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// The key is not fresh any more: what Composio says of a fresh one is not believed.
async fn age_key(world: &World, name: &str) {
    change_claim(world, name, |claim| claim["key"]["issuedTime"] = json!("2026-01-01T00:00:00Z")).await;
}

/// Removes the claim of this project name, as only an administrator can.
async fn remove_claim(world: &World, name: &str) {
    let (api, params) = claims(world);
    for claim in api.list(&params).await.unwrap().items {
        if claim.annotations().get("composio.dev/project-name").is_some_and(|known| known == name) {
            api.delete(&claim.name_any(), &DeleteParams::default()).await.unwrap();
        }
    }
}
