//! The finalizer of ComposioProject and the owner reference of its Secret: both exist only where the project is to be
//! deleted with the resource.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::api_error::{failure, is_not_found};
use super::ledger::FIELD_MANAGER;
use crate::crd::{ComposioProject, PROJECT_FINALIZER, PROJECT_LABEL};
use crate::domain::failure::Failure;

fn params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// Whether the resource carries the finalizer.
pub fn has(object: &impl ResourceExt) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == PROJECT_FINALIZER)
}

/// The patch of an object that is still as it was read.
fn patch_of(object: &impl ResourceExt, field: &str, value: Value) -> Patch<Value> {
    let mut metadata = json!({"uid": object.uid(), "resourceVersion": object.resource_version()});
    metadata[field] = value;
    Patch::Merge(json!({ "metadata": metadata }))
}

/// Adds the finalizer; returns the resource as it is then.
pub async fn add(client: &Client, object: &ComposioProject) -> Result<ComposioProject, Failure> {
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(PROJECT_FINALIZER.to_owned());
    write(client, object, finalizers).await
}

/// Removes the finalizer; returns the resource as it is then, or was.
pub async fn remove(client: &Client, object: &ComposioProject) -> Result<ComposioProject, Failure> {
    let others = object.finalizers().iter().filter(|finalizer| *finalizer != PROJECT_FINALIZER);
    write(client, object, others.cloned().collect()).await
}

async fn write(
    client: &Client,
    object: &ComposioProject,
    finalizers: Vec<String>,
) -> Result<ComposioProject, Failure> {
    let api: Api<ComposioProject> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let patch = patch_of(object, "finalizers", json!(finalizers));
    // The answer is metadata only: an object that this release cannot read can be let go as well.
    match api.patch_metadata(&object.name_any(), &params(), &patch).await {
        Ok(written) => Ok(ComposioProject { metadata: written.metadata, ..object.clone() }),
        Err(error) if is_not_found(&error) => Ok(object.clone()),
        Err(error) => Err(failure("writing the finalizer", &error)),
    }
}

/// Takes the owner reference to this resource from its Secrets, so that they stay when it goes.
pub async fn disown(client: &Client, object: &ComposioProject) -> Result<(), Failure> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let params_of = ListParams::default().labels(&format!("{PROJECT_LABEL}={}", object.name_any()));
    let listed = api.list_metadata(&params_of).await;
    for secret in listed.map_err(|error| failure("reading the Secrets", &error))? {
        let others: Vec<_> = secret
            .owner_references()
            .iter()
            .filter(|owner| Some(&owner.uid) != object.meta().uid.as_ref())
            .cloned()
            .collect();
        if others.len() == secret.owner_references().len() {
            continue;
        }
        let patch = patch_of(&secret, "ownerReferences", json!(others));
        match api.patch_metadata(&secret.name_any(), &params(), &patch).await {
            Err(error) if !is_not_found(&error) => return Err(failure("releasing the Secret", &error)),
            _ => {}
        }
    }
    Ok(())
}
