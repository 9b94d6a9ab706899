//! Flux's kustomize-controller: it applies, waits, fails, prunes.

use composio_operator::crd::ComposioOrganization;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::emulator::{Operation, ThirdPartyProject};
use testbed::eventually::eventually;
use testbed::gitops::kstatus;
use testbed::world::{PATIENCE, World};

use crate::fields::assert_only_status_and_finalizer;
use crate::scene::{Scene, files, is_gone};

/// Says what the controller of Deployments says, which does not run here.
async fn roll_out(world: &World, name: &str) {
    let api: Api<Deployment> = Api::namespaced(world.client.clone(), &world.namespace);
    let deployment = eventually(&format!("Deployment {name} is there"), PATIENCE, async || {
        api.get(name).await.map_err(|error| error.to_string())
    })
    .await;
    let status = json!({"status": {
        "observedGeneration": deployment.metadata.generation, "replicas": 1, "updatedReplicas": 1,
        "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
        ]
    }});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flux_applies_the_examples_waits_until_all_is_ready_and_prunes() {
    let mut scene = Scene::new().await;
    scene.push(&files()).await;
    scene.follow("composio-organization", "dev").await;
    scene.follow("shop", "dev").await;

    // Nobody has looked at the organization yet: it is waited for, and what depends on it too.
    scene.reaches("composio-organization", "Unknown", "Progressing").await;
    scene.reaches("shop", "False", "DependencyNotReady").await;

    scene.world.start_operator().await;
    scene.reaches("composio-organization", "True", "ReconciliationSucceeded").await;
    roll_out(&scene.world, "shop").await;
    scene.reaches("shop", "True", "ReconciliationSucceeded").await;
    let shop = scene.world.ready("shop").await;
    assert_eq!(
        shop.status.as_ref().and_then(|status| status.project.as_ref()).expect("a project").name,
        "dev-shop"
    );
    assert!(scene.world.entry("shop", "COMPOSIO_API_KEY").await.is_some(), "it was Ready before its Secret");
    assert_eq!(shop.finalizers(), ["composio.dev/project"]);
    assert_only_status_and_finalizer(&shop);
    let organizations: Api<ComposioOrganization> =
        Api::namespaced(scene.world.client.clone(), &scene.world.system);
    assert_only_status_and_finalizer(&organizations.get("default").await.expect("an organization"));

    // Git does not have the project any more, and in dev it goes with its resource.
    let mut without = files();
    for (path, text) in &mut without {
        if path == "gitops/base/shop/kustomization.yaml" {
            *text = text.replace("- project.yaml\n", "");
        }
    }
    scene.push(&without).await;
    scene.reaches("shop", "True", "ReconciliationSucceeded").await;
    is_gone(&scene.world, "shop").await;
    let organization = scene.world.organization.id.clone();
    assert_eq!(scene.world.control.count(&organization, Operation::Delete), 1);
    scene.forget("shop").await;
    scene.forget("composio-organization").await;
    scene.world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stalled_fails_at_once_and_with_the_words_of_the_operator() {
    let mut scene = Scene::new().await;
    let organization = scene.world.organization.id.clone();
    let theirs = scene.world.control.create_project(&organization, ThirdPartyProject::named("prod-shop"));
    scene.world.start_operator().await;
    scene.push(&files()).await;
    scene.follow("composio-organization", "prod").await;
    scene.follow("shop", "prod").await;
    roll_out(&scene.world, "shop").await;
    // The Kustomization would wait for ten minutes, which is longer than this test does.
    let message = scene.reaches("shop", "False", "HealthCheckFailed").await;
    assert!(message.contains("ComposioProject") && message.contains("shop"), "{message}");
    scene.world.not_ready("shop", "NameTaken").await;

    // A prune by mistake takes the resource, and nothing else is lost.
    scene.forget("shop").await;
    scene.forget("composio-organization").await;
    scene.world.delete("shop").await;
    scene.world.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_of_kustomize_reaches_what_refers_to_a_project() {
    let mut scene = Scene::new().await;
    scene.world.start_operator().await;
    scene.push(&files()).await;
    scene.follow("composio-organization", "stage").await;
    scene.follow("shop", "stage").await;
    roll_out(&scene.world, "blue-shop").await;
    scene.reaches("shop", "True", "ReconciliationSucceeded").await;
    scene.world.ready("blue-shop").await;
    let api: Api<Deployment> = Api::namespaced(scene.world.client.clone(), &scene.world.namespace);
    let deployment = api.get("blue-shop").await.expect("a Deployment");
    let template = deployment.spec.and_then(|spec| spec.template.spec).expect("a template");
    let secret = template.containers[0].env_from.as_ref().and_then(|from| from[0].secret_ref.clone());
    let secret = secret.expect("a reference").name;
    assert!(scene.world.entry(&secret, "COMPOSIO_API_KEY").await.is_some(), "{secret} is not the Secret");
    scene.forget("shop").await;
    scene.forget("composio-organization").await;
    scene.world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kstatus_knows_each_phase_and_never_calls_a_new_object_current() {
    let mut world = World::without_operator().await;
    let organizations: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
    world.apply("shop", json!({})).await;
    let seen = async |world: &World| {
        let shop = world.projects().get("shop").await.expect("a project");
        let organization = organizations.get("default").await.expect("an organization");
        let objects = [serde_json::to_value(&shop), serde_json::to_value(&organization)];
        let objects = objects.map(|object| object.expect("JSON"));
        let answers = kstatus(&objects).await.expect("kstatus");
        answers.into_iter().map(|answer| answer.status).collect::<Vec<_>>()
    };
    assert_eq!(seen(&world).await, ["InProgress", "InProgress"], "nobody has looked at them yet");

    world.start_operator().await;
    world.organization_ready("default").await;
    world.ready("shop").await;
    assert_eq!(seen(&world).await, ["Current", "Current"]);

    world.stop_operator().await;
    world.apply("shop", json!({"settings": {"displayName": "Shop"}})).await;
    assert_eq!(seen(&world).await[0], "InProgress", "nobody has looked at the new spec yet");
    world.start_operator().await;
    world.ready("shop").await;

    world.apply("shop", json!({"suspend": true})).await;
    world.reaches(&world.namespace, "shop", "Ready", "True", "Suspended").await;
    assert_eq!(seen(&world).await[0], "Current", "a wait would never end");
    world.apply("shop", json!({})).await;
    world.ready("shop").await;

    world.set_organization_key("default", "oak_of_nobody").await;
    world.organization_reaches("default", "False", "KeyInvalid").await;
    assert_eq!(seen(&world).await[1], "Failed");
    let key = world.organization.key.clone();
    world.set_organization_key("default", &key).await;
    world.organization_ready("default").await;
    world.finish(&[]).await;
}
