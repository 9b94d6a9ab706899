//! The plain path and what it costs.

use serde_json::json;
use testbed::emulator::Operation;
use testbed::world::{World, complete_settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_becomes_ready_and_its_key_is_in_the_secret() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    let shop = world.ready("shop").await;
    let status = shop.status.unwrap();
    let project = status.project.unwrap();
    let key = world.entry("shop", "COMPOSIO_API_KEY").await.unwrap();
    assert_eq!(world.control.project_of_key(&key), project.id);
    assert_eq!(world.entry("shop", "COMPOSIO_PROJECT_ID").await, project.id);
    assert_eq!(world.control.count(&world.organization.id, Operation::Create), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_are_complete_go_with_the_creation() {
    let world = World::start().await;
    world.apply("shop", json!({"settings": complete_settings()})).await;
    world.ready("shop").await;
    assert_eq!(world.control.count(&world.organization.id, Operation::PatchSettings), 0);
    world.finish(&[]).await;
}
