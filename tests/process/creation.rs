//! kill -9 at each boundary of the way from nothing to Ready, and a restart: the same end, without a human step.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use testbed::emulator::{Fault, Operation, Point};
use testbed::proxy::{Action, Gate};

use crate::scene::{Scene, arrived, reached};
use crate::writes;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_claim_is_created_it_starts_from_nothing() {
    let scene = Scene::start().await;
    let write = writes::claim_create(&scene.world);
    scene.dies_before(write, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_claim_and_call_it_creates_once() {
    let scene = Scene::start().await;
    let write = writes::claim_create(&scene.world);
    scene.dies_after(write, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_the_call_is_on_its_way_it_finds_the_project_that_is_made_late() {
    // So long that the project is made within it, however busy the machine is; nothing waits for its end.
    let mut scene = Scene::start_with(|settings| settings.settle_margin = Duration::from_secs(40)).await;
    let gate = scene.hold(Operation::Create, Point::BeforeCommit);
    scene.apply(json!({})).await;
    arrived(&gate).await;
    scene.kill().await;
    scene.restart().await;
    let namespace = scene.world.namespace.clone();
    scene.world.reaches(&namespace, "shop", "Reconciling", "True", "ResolvingOutcome").await;
    assert_eq!(scene.committed(Operation::Create), 0, "the project was there too early");
    gate.open();
    scene.ends_well(1).await;
    assert_eq!(scene.sent(Operation::Create), 1);
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_takes_a_claim_over_waits_for_the_answer_that_is_on_its_way() {
    let scene = Scene::start_with(|settings| settings.request_timeout = Duration::from_mins(1)).await;
    let gate = scene.hold(Operation::Create, Point::AfterCommit);
    scene.apply(json!({})).await;
    arrived(&gate).await;
    scene.world.apply("renamed", json!({"projectName": "shop"})).await;
    scene.world.not_ready("renamed", "ClaimHeld").await;
    scene.world.delete("shop").await;
    scene.world.not_ready("renamed", "Creating").await;
    gate.open();
    scene.world.ready("renamed").await;
    assert_eq!(scene.sent(Operation::Create), 1);
    assert_eq!(scene.committed(Operation::Regenerate), 0);
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_answer_came_it_finds_its_project() {
    let mut scene = Scene::start().await;
    let gate = scene.hold(Operation::Create, Point::AfterCommit);
    scene.apply(json!({})).await;
    arrived(&gate).await;
    scene.kill().await;
    gate.open();
    scene.restart().await;
    scene.ends_well(1).await;
    assert_eq!(scene.sent(Operation::Create), 1);
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_id_and_key_are_in_the_claim_it_finds_its_project() {
    let scene = Scene::start().await;
    let write = writes::claim_with_key(&scene.world);
    scene.dies_before(write, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_id_and_key_are_in_the_claim_it_publishes_that_key() {
    let scene = Scene::start().await;
    let write = writes::claim_with_key(&scene.world);
    scene.dies_after(write, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_secret_is_created_it_publishes_the_same_key() {
    let scene = Scene::start().await;
    let write = writes::secret_create(&scene.world);
    scene.dies_before(write, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_the_secret_was_created_it_knows_its_secret_again() {
    let scene = Scene::start().await;
    let write = writes::secret_create(&scene.world);
    scene.dies_after(write, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_the_secret_was_created_it_knows_its_secret_again_although_its_key_was_edited_meanwhile()
{
    let mut scene = Scene::start().await;
    let gate = Gate::new();
    let rule = scene.proxy.on(writes::secret_create(&scene.world).times(1), Action::hold_after(&gate));
    scene.apply(json!({})).await;
    reached(&gate).await;
    scene.kill().await;
    rule.remove();
    let edit = Patch::Merge(json!({"stringData": {"COMPOSIO_API_KEY": "edited"}}));
    scene.world.secrets().patch("shop", &PatchParams::default(), &edit).await.expect("a Secret to edit");
    scene.restart().await;
    scene.ends_well(0).await;
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_status_is_written_it_writes_it() {
    let scene = Scene::start().await;
    let write = writes::status_ready(&scene.world);
    scene.dies_before(write, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_the_status_was_written_it_has_nothing_left_to_do() {
    let scene = Scene::start().await;
    let write = writes::status_ready(&scene.world);
    scene.dies_after(write, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_event_is_written_it_has_nothing_left_to_do() {
    let mut scene = Scene::start().await;
    let gate = Gate::new();
    let rule = scene.proxy.on(writes::event(&scene.world).times(1), Action::hold_before(&gate));
    scene.apply(json!({})).await;
    scene.dies_at(&gate, rule).await;
    scene.ends_well(0).await;
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_a_refused_attempt_is_taken_back_it_creates_once() {
    let scene = Scene::start().await;
    scene.fault(Operation::Create, Fault::RateLimited { retry_after_seconds: 1 }, 1);
    let write = writes::claim_taken_back(&scene.world);
    scene.dies_before(write, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_a_refused_attempt_was_taken_back_it_creates_once() {
    let scene = Scene::start().await;
    scene.fault(Operation::Create, Fault::RateLimited { retry_after_seconds: 1 }, 1);
    let write = writes::claim_taken_back(&scene.world);
    scene.dies_after(write, 0).await;
}
