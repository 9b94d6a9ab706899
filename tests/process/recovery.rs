//! The answer to a creation is lost, and the process is killed at each boundary of the way back to a key.

use serde_json::json;
use testbed::emulator::{Fault, Operation, Point};

use crate::scene::{Scene, arrived};
use crate::writes;

/// A scene in which the project is made and the answer is lost.
async fn scene() -> Scene {
    let scene = Scene::start().await;
    scene.fault(Operation::Create, Fault::Cut { point: Point::AfterCommit }, 1);
    scene
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_found_project_is_in_the_claim_it_finds_it_again() {
    let scene = scene().await;
    let write = writes::claim_found(&scene.world);
    scene.dies_before(write, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_the_found_project_is_in_the_claim_it_acquires_a_key() {
    let scene = scene().await;
    let write = writes::claim_found(&scene.world);
    scene.dies_after(write, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_a_key_is_announced_it_acquires_one() {
    let scene = scene().await;
    let write = writes::claim_announcing_key(&scene.world);
    scene.dies_before(write, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_a_key_was_announced_it_acquires_one() {
    let scene = scene().await;
    let write = writes::claim_announcing_key(&scene.world);
    scene.dies_after(write, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_answer_with_the_new_key_came_it_acquires_another() {
    let mut scene = scene().await;
    let gate = scene.hold(Operation::Regenerate, Point::AfterCommit);
    scene.apply(json!({})).await;
    arrived(&gate).await;
    scene.kill().await;
    gate.open();
    scene.restart().await;
    scene.ends_well(2).await;
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_the_call_for_a_key_is_on_its_way_it_publishes_a_key_that_lives() {
    let mut scene = scene().await;
    let gate = scene.hold(Operation::Regenerate, Point::BeforeCommit);
    scene.apply(json!({})).await;
    arrived(&gate).await;
    scene.kill().await;
    scene.restart().await;
    let namespace = scene.world.namespace.clone();
    scene.world.reaches(&namespace, "shop", "Reconciling", "True", "AcquiringKey").await;
    assert_eq!(scene.committed(Operation::Regenerate), 0, "the first key was issued too early");
    gate.open();
    scene.ends_well(2).await;
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_new_key_is_in_the_claim_it_acquires_another() {
    let scene = scene().await;
    let write = writes::claim_with_key(&scene.world);
    scene.dies_before(write, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_the_new_key_is_in_the_claim_it_publishes_it() {
    let scene = scene().await;
    let write = writes::claim_with_key(&scene.world);
    scene.dies_after(write, 1).await;
}
