//! A key in the Secret that the claim does not know, after an older ledger was restored: proven, and taken up if it lives.

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use testbed::emulator::{Fault, Operation, Point};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::scene::{KEY, edit, holds, ledger, published, rewrite_claim};

const STAMP: &str = "composio.dev/key-issued-at";

fn stamp(time: &str) -> Value {
    json!({"metadata": {"annotations": {STAMP: time}}})
}

/// As somebody writes a key with a stamp into the Secret.
async fn plant(world: &World, key: &str, time: &str) {
    let mut change = stamp(time);
    change["stringData"] = json!({KEY: key});
    edit(world, "shop", change).await;
}

fn soon() -> String {
    (jiff::Timestamp::now() - jiff::SignedDuration::from_millis(1)).to_string()
}

async fn claim_has(world: &World, key: &str) {
    eventually("the claim has the key", PATIENCE, async || match world.claims().await.key("shop") {
        Some(known) if known == key => Ok(()),
        _ => Err("it has another one, or none".to_owned()),
    })
    .await;
}

fn id(world: &World) -> String {
    world.control.projects(&world.organization.id)[0].id.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_key_that_is_stamped_newer_than_the_claims_is_taken_up() {
    let (world, old) = published().await;
    let newer = world.control.add_project_key(&id(&world));
    plant(&world, &newer, &soon()).await;
    claim_has(&world, &newer).await;
    world.ready("shop").await;
    holds(&world, "shop", &newer).await;
    assert_ne!(old, newer);
    assert_eq!(world.control.count(&world.organization.id, Operation::Regenerate), 0);
    let claims = world.claims().await;
    assert_eq!(claims.of("shop").unwrap()["origin"], "Created");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_stamp_from_the_future_does_not_outlive_the_server_time() {
    let (world, _) = published().await;
    let newer = world.control.add_project_key(&id(&world));
    plant(&world, &newer, "2999-01-01T00:00:00Z").await;
    claim_has(&world, &newer).await;
    let issued: jiff::Timestamp = {
        let claims = world.claims().await;
        claims.of("shop").unwrap()["key"]["issuedTime"].as_str().unwrap().parse().unwrap()
    };
    assert!(issued < jiff::Timestamp::now() + jiff::SignedDuration::from_mins(1), "{issued}");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_stamp_on_a_dead_or_strange_key_is_overwritten_and_no_other_projects_key_is_sent() {
    let (world, key) = published().await;
    world.apply("other", json!({})).await;
    world.ready("other").await;
    let theirs = world.entry("other", KEY).await.unwrap();
    for strange in [&*theirs, "ak_deaddeaddeaddeaddead", "password-of-somebody", "oak_0123456789abcdefghij"] {
        let mark = world.control.mark();
        plant(&world, strange, &soon()).await;
        holds(&world, "shop", &key).await;
        let calls = world.control.journal_since(mark).into_iter();
        let sent = calls.filter(|call| call.operation == Some(Operation::Categories)).count();
        assert_eq!(sent, 0, "a key that the project does not list was sent");
    }
    assert_eq!(world.claims().await.key("shop"), Some(&*key));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_an_older_stamp_is_overwritten_without_a_call() {
    let (world, key) = published().await;
    let other = world.control.add_project_key(&id(&world));
    let mark = world.control.mark();
    plant(&world, &other, "2001-01-01T00:00:00Z").await;
    holds(&world, "shop", &key).await;
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_proof_fails_by_accident_is_neither_overwritten_nor_called_dead_in_the_status() {
    let (world, _) = published().await;
    let newer = world.control.add_project_key(&id(&world));
    let organization = world.organization.id.clone();
    let fault = Fault::Cut { point: Point::BeforeCommit };
    world.control.fault(&organization, Operation::Categories, fault, 2);
    plant(&world, &newer, &soon()).await;
    claim_has(&world, &newer).await;
    assert_eq!(world.control.faults_left(&organization), 0, "the proof did not fail");
    holds(&world, "shop", &newer).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_has_lost_its_key_takes_it_from_the_secret_instead_of_killing_it() {
    let mut world = World::start().await;
    let key = crate::scene::ready(&world).await;
    world.stop_operator().await;
    let pending = |claim: &mut Value| {
        claim["phase"] = json!("KeyPending");
        for lost in ["key", "published"] {
            claim.as_object_mut().unwrap().remove(lost);
        }
    };
    rewrite_claim(&world, pending, None).await;
    world.start_operator().await;
    claim_has(&world, &key).await;
    world.ready("shop").await;
    assert_eq!(world.control.count(&world.organization.id, Operation::Regenerate), 0);
    assert_eq!(world.claims().await.of("shop").unwrap()["origin"], "Created");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_ledger_takes_the_key_of_a_secret_that_was_made_after_it() {
    let mut world = World::start().await;
    crate::scene::ready(&world).await;
    world.stop_operator().await;
    // The project has got a new key since the backup, the old one is dead, and the Secret was made again.
    let newer = world.control.add_project_key(&id(&world));
    let old = world.claims().await.key("shop").unwrap().to_owned();
    world.control.set_key_state(&old, testbed::emulator::KeyState::Expired);
    crate::scene::delete(&world, "shop").await;
    let again = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {KEY: newer, "COMPOSIO_PROJECT_ID": id(&world)},
        "metadata": {"name": "shop", "labels": {"composio.dev/project": "shop"}, "annotations": {STAMP: soon()}}
    });
    world.apply_to::<Secret>(&world.namespace, &again).await.unwrap();
    world.start_operator().await;
    claim_has(&world, &newer).await;
    world.ready("shop").await;
    let (_, claim) = ledger(&world).await;
    assert!(claim.data.is_some());
    assert_eq!(world.control.count(&world.organization.id, Operation::Regenerate), 0);
    world.finish(&[]).await;
}
