//! Keys that the answer to a creation did not bring.

use serde_json::json;
use testbed::emulator::{Fault, FaultRule, Operation, Point};
use testbed::world::World;

fn without_key() -> Fault {
    Fault::SetMember { name: "api_key".to_owned(), value: serde_json::Value::Null }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_answered_without_a_key_gets_one_by_regenerate() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Create, without_key(), 1);
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    assert_eq!(world.control.committed(&organization, Operation::Create), 1);
    assert_eq!(world.control.committed(&organization, Operation::Regenerate), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_regenerate_is_refused_an_empty_project_of_ours_is_made_again_with_a_key() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.regenerate_enabled = false);
    world.control.fault(&organization, Operation::Create, without_key(), 1);
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    assert_eq!(world.control.committed(&organization, Operation::Create), 2);
    assert_eq!(world.control.committed(&organization, Operation::Delete), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_key_can_be_had_at_all_the_project_is_kept_and_the_state_reported() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.regenerate_enabled = false);
    world
        .control
        .inject(FaultRule::new(without_key()).organization(&organization).operation(Operation::Create));
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "KeyUnavailable").await;
    assert_eq!(world.control.committed(&organization, Operation::Create), 3, "the replacements are bounded");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovered_project_is_never_deleted_because_regenerate_is_refused() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.regenerate_enabled = false);
    world.control.fault(&organization, Operation::Create, Fault::Cut { point: Point::AfterCommit }, 1);
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "KeyUnavailable").await;
    assert_eq!(world.control.count(&organization, Operation::Delete), 0);
    world.control.set_modes(&organization, |modes| modes.regenerate_enabled = true);
    world.poke("shop").await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_regenerate_leads_to_a_second_one_and_a_key_that_works() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Create, without_key(), 1);
    world.control.fault(&organization, Operation::Regenerate, Fault::Cut { point: Point::AfterCommit }, 1);
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    assert_eq!(world.control.committed(&organization, Operation::Regenerate), 2);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_outlives_the_pass_still_brings_its_key_into_the_claim() {
    let mut world = World::start().await;
    let organization = world.organization.id.clone();
    let hold = Fault::Hold { point: Point::AfterCommit, gate: "answer".to_owned() };
    world.control.fault(&organization, Operation::Create, hold, 1);
    world.apply("shop", json!({})).await;
    let gate = world.control.gate("answer");
    gate.arrived(1).await;
    // The shutdown comes while the answer is awaited.
    let stopping = world.stop_operator();
    let opening = async { gate.open() };
    tokio::join!(stopping, opening);
    assert!(world.claims().await.key("shop").is_some(), "the key was lost with the process");
    world.start_operator().await;
    world.ready("shop").await;
    assert_eq!(world.control.count(&organization, Operation::Regenerate), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_whose_claim_was_removed_while_its_answer_was_under_way_is_deleted_and_made_again() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    let hold = Fault::Hold { point: Point::AfterCommit, gate: "answer".to_owned() };
    world.control.fault(&organization, Operation::Create, hold, 1);
    world.apply("shop", json!({})).await;
    let gate = world.control.gate("answer");
    gate.arrived(1).await;
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(world.client.clone(), &world.system);
    let claims = kube::api::ListParams::default().labels("composio.dev/phase");
    secrets.delete_collection(&kube::api::DeleteParams::default(), &claims).await.unwrap();
    gate.open();
    world.ready("shop").await;
    assert_eq!(world.control.all_projects(&organization).len(), 2);
    assert_eq!(world.control.committed(&organization, Operation::Delete), 1);
    world.finish(&[]).await;
}
