//! The operator with exactly the rights of `docs/rbac.yaml`, as a ServiceAccount with a real token: every write that it
//! knows of is made once.
#![expect(
    clippy::expect_used,
    reason = "a test ends where something is not as expected, in the functions that tests share too"
)]

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use testbed::controlplane::client_for;
use testbed::emulator::ThirdPartyProject;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

const MANIFEST: &str = include_str!("../docs/rbac.yaml");
const CLUSTER_WIDE: [&str; 2] = ["ClusterRole", "ClusterRoleBinding"];

/// Grants what the manifest grants, to the ServiceAccount of this world; names of the cluster get the world's suffix.
async fn grant(world: &World) {
    let text = MANIFEST
        .replace("namespace: composio-system", &format!("namespace: {}", world.system))
        .replace("composio-operator-projects", &format!("projects-of-{}", world.system))
        .replace("composio-operator-cluster", &format!("cluster-of-{}", world.system));
    let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(&text).expect("manifests");
    assert!(objects.len() > 1, "the manifest grants something");
    for object in objects {
        apply(&world.client, &object).await;
    }
}

async fn apply(client: &Client, object: &DynamicObject) {
    let types = object.types.clone().expect("a kind");
    let is_cluster_wide = CLUSTER_WIDE.contains(&types.kind.as_str());
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types).expect("a kind"));
    let api: Api<DynamicObject> = if is_cluster_wide {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), &object.namespace().expect("a namespace"), &resource)
    };
    let params = PatchParams::apply("tests").validation_strict();
    let applied = api.patch(&object.name_any(), &params, &Patch::Apply(object)).await;
    applied.expect("a manifest that the API server accepts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough_for_everything_that_the_operator_does() {
    let mut world = World::without_operator().await;
    world.superseded_retention = Duration::from_secs(1);
    grant(&world).await;
    let kubeconfig = world.control_plane.service_account_kubeconfig(&world.system, "composio-operator").await;
    let restricted = client_for(kubeconfig.unwrap()).await.unwrap();
    world.lead_by_lease();
    world.start_operator_with(restricted).await;
    world.organization_ready("default").await;

    // Claim, call, claim, Secret, status, Event; settings by PATCH.
    world.apply("shop", json!({"settings": {"displayName": "Shop"}})).await;
    world.ready("shop").await;
    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    eventually("the Event is there", PATIENCE, async || {
        let events = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let is_there = events.items.iter().any(|event| event.reason.as_deref() == Some("Reconciled"));
        is_there.then_some(()).ok_or_else(|| format!("there are {}", events.items.len()))
    })
    .await;

    // An update of the Secret.
    world.apply("shop", json!({"secret": {"template": {"more": "{projectName}"}}})).await;
    eventually("the Secret has the further entry", PATIENCE, async || {
        world.entry("shop", "more").await.ok_or_else(|| "it has not".to_owned())
    })
    .await;

    // A deleted Secret comes back: the watch on Secrets.
    let secrets = world.secrets();
    secrets.delete("shop", &DeleteParams::default()).await.unwrap();
    eventually("the Secret is back", PATIENCE, async || {
        world.entry("shop", "more").await.ok_or_else(|| "it is not".to_owned())
    })
    .await;

    // A Secret whose name has changed is removed.
    world.apply("shop", json!({"secret": {"name": "renamed"}})).await;
    eventually("the old Secret is gone", PATIENCE, async || {
        match secrets.get_opt("shop").await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(_) => Err("it is there".to_owned()),
        }
    })
    .await;

    // Finalizers of the project and of its organization, owner reference, tombstone; and all of it taken back.
    for name in ["short-lived", "kept"] {
        world.apply(name, json!({"deletionPolicy": "Delete"})).await;
        world.ready(name).await;
    }
    world.delete("short-lived").await;
    world.apply("kept", json!({"deletionPolicy": "Retain"})).await;
    world.ready("kept").await;
    assert_eq!(secrets.get("kept").await.unwrap().owner_references(), []);
    world.delete("kept").await;

    // A claim that nothing came of is removed with its resource.
    let theirs = world.control.create_project(&world.organization.id, ThirdPartyProject::named("taken"));
    world.apply("taken", json!({})).await;
    world.not_ready("taken", "NameTaken").await;
    assert!(world.claims().await.of("taken").is_some());
    world.delete("taken").await;
    eventually("the claim is gone", PATIENCE, async || match world.claims().await.of("taken") {
        None => Ok(()),
        Some(claim) => Err(format!("it is {}", claim["phase"])),
    })
    .await;
    world.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_without_these_rights_is_refused() {
    // What the other test proves rests on this.
    let world = World::without_operator().await;
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "powerless", "namespace": world.system}
    });
    apply(&world.client, &serde_json::from_value(account).unwrap()).await;
    let kubeconfig = world.control_plane.service_account_kubeconfig(&world.system, "powerless").await;
    let powerless = client_for(kubeconfig.unwrap()).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(powerless, &world.system);
    let refused = secrets.list(&ListParams::default()).await;
    assert!(refused.is_err_and(|error| matches!(error, kube::Error::Api(status) if status.is_forbidden())));
    world.finish(&[]).await;
}
