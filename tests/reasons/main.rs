//! Reasons that no other scenario needs: each is reached once, so that `docs/reasons.md` can name a scenario for all.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use testbed::emulator::{Fault, Operation, Point, View};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_whose_key_lives_but_whose_address_is_banned_is_told_so() {
    let world = World::without_operator().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.address_banned = true);
    let mut world = world;
    world.start_operator().await;
    world.organization_reaches("default", "False", "AddressNotAllowed").await;
    world.control.set_modes(&organization, |modes| modes.address_banned = false);
    let key = world.control.add_organization_key(&organization);
    world.set_organization_key("default", &key).await;
    world.organization_reaches("default", "True", "KeyAccepted").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_with_an_impossible_port_is_invalid() {
    let world = World::start().await;
    let key = world.organization.key.clone();
    world
        .add_organization("second", &key, json!({"endpoint": {"url": "https://composio.example:99999"}}))
        .await;
    world.organization_reaches("second", "False", "EndpointInvalid").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_fail_for_a_while_are_a_transient_failure() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    let fault = Fault::server_error(Point::BeforeCommit);
    let rule = world.control.fault(&organization, Operation::ReadSettings, fault, 1000);
    world.apply("shop", json!({"settings": {"displayName": "Shop"}})).await;
    world.not_ready("shop", "TransientFailure").await;
    world.control.clear_fault(rule);
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_composio_rejects_and_still_lists_is_not_judged() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    for operation in [Operation::ReadSettings, Operation::Categories] {
        world.control.fault(&organization, operation, Fault::InvalidProjectKey, 1000);
    }
    // A key that was issued a moment ago may not be known everywhere yet; this one is older.
    world.control.set_modes(&organization, |modes| modes.clock_skew_milliseconds += 120_000);
    world.apply("shop", json!({"settings": {"displayName": "Shop"}})).await;
    world.not_ready("shop", "TransientFailure").await;
    assert_eq!(world.control.count(&organization, Operation::Regenerate), 0, "a key was replaced");
    world.control.clear_faults(&organization);
    world.poke("shop").await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_composio_confirms_and_still_shows_goes_on_until_it_is_proven() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.ready("shop").await;
    world.control.set_modes(&organization, |modes| modes.read_view = View::FrozenAt(1));
    world.projects().delete("shop", &DeleteParams::default()).await.unwrap();
    world.not_ready("shop", "Deleting").await;
    world.control.set_modes(&organization, |modes| modes.read_view = View::Live);
    world.delete("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_contradicts_itself_is_a_fault_of_the_operator_and_stops_one_project_only() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    // The last write of its creation comes after Ready, and would conflict with ours.
    eventually("its Secret is recorded", PATIENCE, async || {
        let is_recorded = world.claims().await.of("shop").is_some_and(|claim| claim["published"].is_object());
        is_recorded.then_some(()).ok_or_else(|| "it is not".to_owned())
    })
    .await;
    let ledger: Api<Secret> = Api::namespaced(world.client.clone(), &world.system);
    let claims = ledger.list(&ListParams::default().labels("composio.dev/phase=Owned")).await.unwrap();
    let mut claim = claims.items.into_iter().next().unwrap();
    let data = claim.data.as_mut().unwrap();
    let whole = data["claim.json"].clone();
    let mut json: Value = serde_json::from_slice(&whole.0).unwrap();
    json.as_object_mut().unwrap().remove("projectId");
    data.get_mut("claim.json").unwrap().0 = serde_json::to_vec(&json).unwrap();
    let mut broken = ledger.replace(&claim.name_any(), &PostParams::default(), &claim).await.unwrap();
    world.poke("shop").await;
    world.not_ready("shop", "InternalError").await;
    world.apply("other", json!({})).await;
    world.ready("other").await;
    broken.data.as_mut().unwrap().insert("claim.json".to_owned(), whole);
    ledger.replace(&claim.name_any(), &PostParams::default(), &broken).await.unwrap();
    world.poke("shop").await;
    world.ready("shop").await;
    world.finish(&[]).await;
}
