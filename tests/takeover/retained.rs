//! Retained claims: who takes them back, and who needs a grant.

use kube::api::Api;
use serde_json::json;
use testbed::world::World;

use super::{change_claim, grant, id, mutations, permit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_namespace_takes_a_retained_project_over_with_a_grant_and_gets_the_same_key() {
    let mut world = World::without_operator().await;
    let other = world.add_namespace().await;
    world.start_operator().await;
    world.organization_ready("default").await;
    world.apply("shop", json!({})).await;
    let before = world.ready("shop").await;
    let key = world.entry("shop", "COMPOSIO_API_KEY").await;
    world.delete("shop").await;
    world.apply_in(&other, "shop", json!({})).await;
    world.reaches(&other, "shop", "Ready", "False", "RebindDenied").await;
    // A grant of another project, and one of another namespace, permit nothing.
    let wrong = json!({"grants": [
        {"projectName": "shop", "namespace": other, "projectId": "pr_another"},
        {"projectName": "shop", "namespace": world.namespace},
    ]});
    permit(&world, wrong).await;
    world.organization_ready("default").await;
    world.reaches(&other, "shop", "Ready", "False", "RebindDenied").await;
    let mark = world.control.mark();
    permit(&world, grant("shop", &other)).await;
    let after = world.reaches(&other, "shop", "Ready", "True", "Reconciled").await;
    assert_eq!(id(&after), id(&before));
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls for taking a claim over");
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(world.client.clone(), &other);
    let secret = secrets.get("shop").await.unwrap().data.unwrap();
    assert_eq!(String::from_utf8(secret["COMPOSIO_API_KEY"].0.clone()).ok(), key);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_was_made_again_inherits_nothing_without_a_grant() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    let before = world.ready("shop").await;
    world.delete("shop").await;
    // A namespace takes seconds to go: the claim is made to remember another UID instead.
    change_claim(&world, "shop", |claim| claim["owner"]["namespaceUid"] = json!("of-the-namespace-before"))
        .await;
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "RebindDenied").await;
    permit(&world, grant("shop", &world.namespace)).await;
    assert_eq!(id(&world.ready("shop").await), id(&before));
    assert_eq!(mutations(&world), 1, "the creation");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_owner_exists_a_grant_gives_nothing_away() {
    let mut world = World::without_operator().await;
    let other = world.add_namespace().await;
    world.start_operator().await;
    world.organization_ready("default").await;
    permit(&world, grant("shop", &other)).await;
    world.apply("shop", json!({})).await;
    let before = world.ready("shop").await;
    world.apply_in(&other, "shop", json!({})).await;
    world.reaches(&other, "shop", "Ready", "False", "ClaimHeld").await;
    world.delete("shop").await;
    let after = world.reaches(&other, "shop", "Ready", "True", "Reconciled").await;
    assert_eq!(id(&after), id(&before));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_resource_keeps_its_project_and_its_key() {
    let world = World::start().await;
    world.apply("old", json!({"projectName": "shop"})).await;
    let before = world.ready("old").await;
    let key = world.entry("old", "COMPOSIO_API_KEY").await;
    world.apply("new", json!({"projectName": "shop"})).await;
    world.not_ready("new", "ClaimHeld").await;
    world.delete("old").await;
    let after = world.ready("new").await;
    assert_eq!(id(&after), id(&before));
    assert_eq!(world.entry("new", "COMPOSIO_API_KEY").await, key);
    assert_eq!(mutations(&world), 1, "the creation");
    world.finish(&[]).await;
}
