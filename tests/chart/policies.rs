//! The admission policies of `examples/policies/`, judged by the API server while no operator runs.

use std::fs;
use std::path::Path;

use composio_operator::crd::ComposioProject;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use testbed::controlplane::client_for;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World, project};

use crate::policy::is_refused;

/// Applies an example, and waits until it refuses this project.
async fn in_force(world: &World, file: &str, namespace: &str, refused: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies").join(file);
    let text = fs::read_to_string(path).expect("an example");
    let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(&text).expect("YAML");
    for object in objects {
        world.apply_any(object).await;
    }
    eventually("the policy is in force", PATIENCE, async || {
        match create(&world.client, namespace, refused).await {
            Err(kube::Error::Api(status)) if status.message.contains("denied") => Ok(()),
            answer => Err(format!("{:?}", answer.map(drop))),
        }
    })
    .await;
}

/// Without effect.
async fn create(client: &Client, namespace: &str, object: &Value) -> kube::Result<ComposioProject> {
    let api: Api<ComposioProject> = Api::namespaced(client.clone(), namespace);
    let object = serde_json::from_value(object.clone()).expect("a ComposioProject");
    api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await
}

/// Sets the finalizer as the operator does.
async fn hold(world: &World, namespace: &str, name: &str) {
    finalizers(world, namespace, name, json!(["composio.dev/project"])).await;
}

/// Deletes it, and takes the finalizer off as the operator does: then it is gone.
async fn let_go(world: &World, namespace: &str, name: &str) {
    let api: Api<ComposioProject> = Api::namespaced(world.client.clone(), namespace);
    api.delete(name, &DeleteParams::default()).await.expect("a project that can be deleted");
    finalizers(world, namespace, name, json!([])).await;
    assert!(api.get_opt(name).await.expect("an answer").is_none(), "{name} is still there");
}

async fn finalizers(world: &World, namespace: &str, name: &str, finalizers: Value) {
    let api: Api<ComposioProject> = Api::namespaced(world.client.clone(), namespace);
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    api.patch(name, &PatchParams::default(), &patch).await.expect("finalizers that can be written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_production_no_project_can_be_deleted_with_its_resource() {
    let mut world = World::without_operator().await;
    let (production, words) = (world.add_namespace().await, "has to be Retain");
    world.label_namespace(&production, json!({"environment": "production"})).await;
    let with = |policy: &str| project("shop", &json!({"deletionPolicy": policy}));
    // There before the policy: it stays as it is, and can go.
    world.apply_in(&production, "earlier", json!({"deletionPolicy": "Delete"})).await;
    hold(&world, &production, "earlier").await;
    in_force(&world, "retain-in-production.yaml", &production, &with("Delete")).await;
    for policy in ["Delete", "DeleteAndRevoke"] {
        assert!(is_refused(create(&world.client, &production, &with(policy)).await, words), "{policy}");
        assert!(!is_refused(create(&world.client, &world.namespace, &with(policy)).await, words), "{policy}");
    }
    for object in [with("Retain"), project("shop", &json!({}))] {
        assert!(!is_refused(create(&world.client, &production, &object).await, words));
    }
    // Nor later.
    world.apply_in(&production, "shop", json!({})).await;
    let api: Api<ComposioProject> = Api::namespaced(world.client.clone(), &production);
    let patch = async |name: &str, spec: Value| {
        let patch = Patch::Merge(json!({"spec": spec}));
        api.patch(name, &PatchParams::default(), &patch).await
    };
    assert!(is_refused(patch("shop", json!({"deletionPolicy": "Delete"})).await, words));
    assert!(is_refused(patch("earlier", json!({"deletionPolicy": "DeleteAndRevoke"})).await, words));
    assert!(!is_refused(patch("earlier", json!({"suspend": true})).await, words));
    let_go(&world, &production, "earlier").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_platform_team_has_projects_taken_over() {
    let world = World::without_operator().await;
    let mut kubeconfig = world.control_plane.kubeconfig();
    let user = kubeconfig.auth_infos[0].auth_info.get_or_insert_default();
    user.impersonate = Some("somebody".to_owned());
    user.impersonate_groups = Some(["platform-team", "system:masters"].map(ToOwned::to_owned).to_vec());
    let platform = client_for(kubeconfig).await.unwrap();
    let adopting =
        project("shop", &json!({"adopt": {"projectId": "pr_1a2b3c4d5e6f", "keySource": "Regenerate"}}));
    in_force(&world, "adoption-by-platform-team.yaml", &world.namespace, &adopting).await;
    let words = "members of the group platform-team only";
    assert!(is_refused(create(&world.client, &world.namespace, &adopting).await, words));
    assert!(!is_refused(create(&platform, &world.namespace, &adopting).await, words));
    assert!(!is_refused(create(&world.client, &world.namespace, &project("shop", &json!({}))).await, words));
    // What is there may be edited.
    let api: Api<ComposioProject> = Api::namespaced(platform, &world.namespace);
    let object = serde_json::from_value(adopting).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    let patch = async |spec: Value| {
        let patch = Patch::Merge(json!({"spec": spec}));
        world.projects().patch("shop", &PatchParams::default(), &patch).await
    };
    assert!(!is_refused(patch(json!({"suspend": true})).await, words));
    assert!(!is_refused(patch(json!({"adopt": null})).await, words));
    let again = json!({"adopt": {"projectId": "pr_1", "keySource": "Regenerate"}});
    assert!(is_refused(patch(again).await, words));
    // What has been given it can go.
    let adopting =
        project("going", &json!({"adopt": {"projectId": "pr_1a2b3c4d5e6f", "keySource": "Regenerate"}}));
    api.create(&PostParams::default(), &serde_json::from_value(adopting).unwrap()).await.unwrap();
    hold(&world, &world.namespace, "going").await;
    let_go(&world, &world.namespace, "going").await;
    world.finish(&[]).await;
}
