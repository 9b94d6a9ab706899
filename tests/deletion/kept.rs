//! Minds that change while a deletion is under way: another policy, a finalizer that is stripped.

use axum::http::Method;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use testbed::controlplane::client_for;
use testbed::emulator::{Fault, Operation, Point};
use testbed::eventually::eventually;
use testbed::proxy::{Action, ApiProxy, Exchange, Gate, Match};
use testbed::world::{PATIENCE, World};

use crate::shared::{
    always, committed, delete, gone, id, is_sent, owner_uids, ready_when_asked, secret_is, sent, shop, strip,
    tombstones,
};

async fn claim_is(world: &World, phase: &str) {
    eventually(&format!("the claim is {phase}"), PATIENCE, async || {
        let claims = world.claims().await;
        let found = claims.of("shop").map(|claim| claim["phase"].clone()).unwrap_or_default();
        if found == phase { Ok(()) } else { Err(format!("it is {found}")) }
    })
    .await;
}

/// Applied again, the resource has its project and key as before, and nothing was made, issued or deleted for it.
async fn comes_back(world: World, key: Option<String>) {
    world.control.clear_faults(&world.organization.id);
    world.apply("shop", json!({})).await;
    ready_when_asked(&world, "shop").await;
    assert_eq!(world.entry("shop", "COMPOSIO_API_KEY").await, key, "the key is another");
    assert_eq!(committed(&world, Operation::Create), 1, "creations");
    assert_eq!(committed(&world, Operation::Regenerate), 0, "keys issued anew");
    assert_eq!(committed(&world, Operation::Delete), 0, "deletions");
    assert_eq!(tombstones(&world).await.len(), 0, "tombstones");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retain_set_after_a_deletion_that_did_not_arrive_keeps_everything() {
    let world = shop().await;
    let key = world.entry("shop", "COMPOSIO_API_KEY").await;
    always(&world, Operation::Delete, Fault::Cut { point: Point::BeforeCommit });
    delete(&world, "shop").await;
    is_sent(&world, Operation::Delete, 1).await;
    world.apply("shop", json!({"deletionPolicy": "Retain"})).await;
    gone(&world, "shop").await;
    claim_is(&world, "Owned").await;
    assert_eq!(owner_uids(&world.secrets().get("shop").await.unwrap()), [""; 0]);
    comes_back(world, key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retain_set_after_a_deletion_that_did_arrive_keeps_the_secret_and_the_proof() {
    let world = shop().await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Delete, Fault::Cut { point: Point::AfterCommit }, 1);
    always(&world, Operation::Read, Fault::server_error(Point::BeforeCommit));
    delete(&world, "shop").await;
    is_sent(&world, Operation::Read, 1).await;
    world.apply("shop", json!({"deletionPolicy": "Retain"})).await;
    gone(&world, "shop").await;
    world.control.clear_faults(&organization);
    eventually("the claim is settled", PATIENCE, async || match tombstones(&world).await.len() {
        1 => Ok(()),
        count => Err(format!("{count} tombstones, claims {:?}", world.claims().await.of("shop"))),
    })
    .await;
    assert_eq!(world.control.projects(&organization).len(), 0, "projects");
    secret_is(&world, "shop", true).await;
    world.finish(&[]).await;
}

/// `claim.json` in the body of a write.
fn claim(exchange: &Exchange) -> Option<Value> {
    let secret: Secret = serde_json::from_value(exchange.body.clone()?).ok()?;
    let content = secret.data.unwrap_or_default().remove("claim.json")?;
    serde_json::from_slice(&content.0).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retain_set_between_the_announcement_and_the_call_prevents_the_call() {
    let mut world = World::without_operator().await;
    let proxy = ApiProxy::start(world.control_plane.kubeconfig()).await.unwrap();
    let client = client_for(proxy.kubeconfig().unwrap()).await.unwrap();
    world.start_operator_with(client).await;
    world.organization_ready("default").await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.ready("shop").await;
    let key = world.entry("shop", "COMPOSIO_API_KEY").await;
    let gate = Gate::new();
    let announces = |write: &Exchange| claim(write).is_some_and(|claim| claim["phase"] == "Deleting");
    let announcement = Match::method(Method::PUT).path_contains("/secrets/claim-").when(announces).times(1);
    let rule = proxy.on(announcement, Action::hold_after(&gate));
    delete(&world, "shop").await;
    rule.hit().await;
    gate.reached().await;
    world.apply("shop", json!({"deletionPolicy": "Retain"})).await;
    gate.open();
    gone(&world, "shop").await;
    assert_eq!(sent(&world, Operation::Delete), 0, "deletions sent");
    claim_is(&world, "Owned").await;
    comes_back(world, key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_whose_finalizer_was_stripped_leaves_its_project_to_the_next_one() {
    let world = shop().await;
    let before = world.ready("shop").await;
    let key = world.entry("shop", "COMPOSIO_API_KEY").await;
    always(&world, Operation::Delete, Fault::Forbidden);
    delete(&world, "shop").await;
    world.not_ready("shop", "DeletionBlocked").await;
    strip(&world, "shop").await;
    gone(&world, "shop").await;
    // It went with the owner reference: that is what the policy said.
    secret_is(&world, "shop", false).await;
    world.control.clear_faults(&world.organization.id);
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    assert_eq!(id(&ready_when_asked(&world, "shop").await), id(&before));
    world.apply("shop", json!({"deletionPolicy": "Retain"})).await;
    world.ready("shop").await;
    comes_back(world, key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_announced_before_the_finalizer_was_stripped_is_settled_by_a_read() {
    let world = shop().await;
    let key = world.entry("shop", "COMPOSIO_API_KEY").await;
    always(&world, Operation::Delete, Fault::Cut { point: Point::BeforeCommit });
    delete(&world, "shop").await;
    is_sent(&world, Operation::Delete, 1).await;
    strip(&world, "shop").await;
    gone(&world, "shop").await;
    comes_back(world, key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_deleted_before_the_finalizer_was_stripped_is_made_anew_for_the_next_one() {
    let world = shop().await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Delete, Fault::Cut { point: Point::AfterCommit }, 1);
    always(&world, Operation::Read, Fault::server_error(Point::BeforeCommit));
    delete(&world, "shop").await;
    is_sent(&world, Operation::Read, 1).await;
    strip(&world, "shop").await;
    gone(&world, "shop").await;
    world.apply("shop", json!({})).await;
    world.control.clear_faults(&organization);
    ready_when_asked(&world, "shop").await;
    assert_eq!(tombstones(&world).await.len(), 1, "tombstones");
    assert_eq!(committed(&world, Operation::Create), 2, "creations");
    world.finish(&[]).await;
}
