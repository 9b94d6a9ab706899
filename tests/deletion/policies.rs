//! The three policies, and changes between them.

use composio_operator::crd::{ComposioProject, DeletionPolicy};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

const FINALIZER: &str = "composio.dev/project";

fn owner_uids(secret: &impl ResourceExt) -> Vec<String> {
    secret.owner_references().iter().map(|owner| owner.uid.clone()).collect()
}

/// Waits until a Secret of the world's namespace is there or gone.
async fn secret_is(world: &World, name: &str, is_there: bool) {
    eventually(&format!("Secret {name} is there: {is_there}"), PATIENCE, async || {
        let found = world.secrets().get_opt(name).await.map_err(|error| error.to_string())?;
        if found.is_some() == is_there { Ok(()) } else { Err(format!("there: {}", found.is_some())) }
    })
    .await;
}

/// The tombstones of the ledger.
async fn tombstones(world: &World) -> Vec<Value> {
    let api: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(world.client.clone(), &world.system);
    let params = kube::api::ListParams::default().labels("composio.dev/phase=Deleted");
    let read = |secret: k8s_openapi::api::core::v1::Secret| {
        let data = secret.data.unwrap_or_default();
        assert_eq!(data.len(), 1, "a tombstone holds the claim and nothing else: {:?}", data.keys());
        serde_json::from_slice(&data["claim.json"].0).unwrap()
    };
    api.list(&params).await.unwrap().into_iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retain_has_no_finalizer_and_no_owner_reference_and_everything_stays() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    let shop = world.ready("shop").await;
    assert_eq!(shop.finalizers(), [""; 0]);
    assert_eq!(shop.status.unwrap().effective.unwrap().deletion_policy, Some(DeletionPolicy::Retain));
    assert_eq!(owner_uids(&world.secrets().get("shop").await.unwrap()), [""; 0]);
    let mark = world.control.mark();
    let before = world.entry("shop", "COMPOSIO_API_KEY").await;
    world.delete("shop").await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    assert_eq!(world.calls_since(mark).len(), 0);
    assert_eq!(world.entry("shop", "COMPOSIO_API_KEY").await, before);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_removes_project_claim_and_secret_and_leaves_a_tombstone_without_a_key() {
    let world = World::start().await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    let shop = world.ready("shop").await;
    assert_eq!(shop.finalizers(), [FINALIZER]);
    assert_eq!(owner_uids(&world.secrets().get("shop").await.unwrap()), [shop.uid().unwrap()]);
    let mark = world.control.mark();
    world.delete("shop").await;
    secret_is(&world, "shop", false).await;
    let organization = &world.organization.id;
    assert_eq!(world.control.projects(organization).len(), 0);
    assert_eq!(world.control.committed(organization, Operation::Delete), 1);
    assert_eq!(world.calls_since(mark).len(), 2, "the deletion, and one read as its proof");
    assert_eq!(world.claims().await.all().count(), 0);
    let tombstones = tombstones(&world).await;
    assert_eq!(tombstones.len(), 1);
    assert_eq!(tombstones[0]["phase"], "Deleted");
    assert_eq!(tombstones[0]["projectName"], "shop");
    assert_eq!(tombstones[0]["deleted"]["revokeJobId"], Value::Null);
    assert_eq!(tombstones[0]["deleted"]["requestIds"].as_array().unwrap().len(), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_and_revoke_asks_for_the_revocation_and_keeps_its_job_in_the_tombstone() {
    let world = World::start().await;
    world.apply("shop", json!({"deletionPolicy": "DeleteAndRevoke"})).await;
    world.ready("shop").await;
    world.delete("shop").await;
    let ended = world.control.all_projects(&world.organization.id);
    let job = ended[0].revoke_job_id.clone().unwrap();
    assert_eq!(tombstones(&world).await[0]["deleted"]["revokeJobId"], job.as_str());
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_policy_adds_and_removes_finalizer_and_owner_reference() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    let shop = world.ready("shop").await;
    assert_eq!(shop.finalizers(), [FINALIZER]);
    assert_eq!(owner_uids(&world.secrets().get("shop").await.unwrap()), [shop.uid().unwrap()]);
    world.apply("shop", json!({"deletionPolicy": "Retain"})).await;
    let shop = world.ready("shop").await;
    assert_eq!(shop.finalizers(), [""; 0]);
    assert_eq!(owner_uids(&world.secrets().get("shop").await.unwrap()), [""; 0]);
    world.delete("shop").await;
    assert!(world.secrets().get_opt("shop").await.unwrap().is_some());
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_deletion_says_why_and_ends_with_retain_which_keeps_project_and_secret() {
    let world = World::start().await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.ready("shop").await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Delete, testbed::emulator::Fault::Forbidden, 1000);
    world.projects().delete("shop", &DeleteParams::default()).await.unwrap();
    let blocked: ComposioProject = world.not_ready("shop", "DeletionBlocked").await;
    let message = serde_json::to_string(&blocked.status).unwrap();
    assert!(message.contains("Retain"), "{message}");
    world.apply("shop", json!({"deletionPolicy": "Retain"})).await;
    eventually("the resource is gone", PATIENCE, async || {
        match world.projects().get_opt("shop").await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(_) => Err("it is there".to_owned()),
        }
    })
    .await;
    assert_eq!(world.control.projects(&organization).len(), 1);
    assert!(world.secrets().get("shop").await.unwrap().owner_references().is_empty());
    world.finish(&[]).await;
}
