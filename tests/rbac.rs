//! The operator with exactly the rights of `docs/rbac.yaml`, as a ServiceAccount with a real token: every write that it
//! knows of is made once.
#![expect(
    clippy::expect_used,
    reason = "a test ends where something is not as expected, in the functions that tests share too"
)]

use std::process::Stdio;
use std::time::Duration;

use composio_operator::crd::ComposioOrganization;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::config::Kubeconfig;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use testbed::controlplane::{client_for, write_kubeconfig};
use testbed::emulator::{Operation, ThirdPartyProject};
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
    grant(&world).await;
    let kubeconfig = world.control_plane.service_account_kubeconfig(&world.system, "composio-operator").await;
    let kubeconfig = kubeconfig.unwrap();
    let restricted = client_for(kubeconfig.clone()).await.unwrap();
    world.lead_by_lease();
    world.superseded_retention = Duration::from_secs(1);
    world.start_operator_with(restricted.clone()).await;
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
    the_whole_life(&world).await;

    world.apply("left", json!({"deletionPolicy": "Delete"})).await;
    world.ready("left").await;
    world.stop_operator().await;
    release(&kubeconfig, &world.system).await;
    assert_eq!(world.projects().get("left").await.unwrap().finalizers(), [""; 0]);
    world.start_operator_with(restricted).await;
    world.organization_ready("default").await;
    world.finish(&[&theirs.id]).await;
}

/// `composio-operator release` in all namespaces, with the operator's rights.
async fn release(kubeconfig: &Kubeconfig, system: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("kubeconfig.yaml");
    write_kubeconfig(&path, kubeconfig).expect("a file");
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_composio-operator"));
    command.args(["release", "--namespace", system]).env("KUBECONFIG", &path).stdin(Stdio::null());
    let output = command.output().await.expect("the binary runs");
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{out}{err}");
    for what in ["finalizers of ComposioProjects", "owner references of Secrets", "of ComposioOrganizations"]
    {
        assert!(out.contains(what), "nothing of {what:?} was released: {out}{err}");
    }
}

/// A Secret that is restored and renamed; finalizers of project and organization; the deletion with its tombstone.
async fn the_whole_life(world: &World) {
    world.apply("life", json!({"deletionPolicy": "Delete"})).await;
    world.ready("life").await;
    eventually("the organization has its finalizer", PATIENCE, async || {
        let organizations: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
        let found = organizations.get("default").await.map_err(|error| error.to_string())?;
        let finalizers = found.finalizers().to_vec();
        let is_there = finalizers.iter().any(|finalizer| finalizer == "composio.dev/in-use");
        is_there.then_some(()).ok_or_else(|| format!("it has {finalizers:?}"))
    })
    .await;
    let key = world.entry("life", "COMPOSIO_API_KEY").await.expect("a key");
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let uid = secrets.get("life").await.expect("a Secret").uid();
    secrets.delete("life", &DeleteParams::default()).await.expect("a deletion");
    eventually("the Secret is back", PATIENCE, async || match secrets.get_opt("life").await {
        Ok(Some(secret)) if secret.uid() != uid => Ok(()),
        other => Err(format!("{:?}", other.map(|found| found.is_some()))),
    })
    .await;
    world.apply("life", json!({"deletionPolicy": "Delete", "secret": {"name": "renamed"}})).await;
    eventually("the renamed Secret has the key", PATIENCE, async || {
        let found = world.entry("renamed", "COMPOSIO_API_KEY").await;
        (found.as_ref() == Some(&key)).then_some(()).ok_or_else(|| "it has not".to_owned())
    })
    .await;
    eventually("the old Secret is gone", PATIENCE, async || match secrets.get_opt("life").await {
        Ok(None) => Ok(()),
        other => Err(format!("{:?}", other.map(|found| found.is_some()))),
    })
    .await;
    world.delete("life").await;
    eventually("project, claim and Secret are gone", PATIENCE, async || {
        let project = world.projects().get_opt("life").await.map_err(|error| error.to_string())?;
        let is_gone = project.is_none() && world.claims().await.of("life").is_none();
        is_gone.then_some(()).ok_or_else(|| format!("the resource is there: {}", project.is_some()))
    })
    .await;
    let deletions = world.control.count(&world.organization.id, Operation::Delete);
    assert_eq!(deletions, 1);
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
