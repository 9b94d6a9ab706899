//! Projects that somebody deleted at Composio, and witnesses that lie.

use serde_json::{Value, json};
use testbed::emulator::{Lie, Operation};
use testbed::world::World;

use super::{age_key, handled, id, mutations, third_party};

/// A world with a project `shop`, and one of somebody else, so that the list is never empty.
async fn world_with_shop(spec: Value) -> (World, String, String) {
    let world = World::start().await;
    let other = third_party(&world, "other").id;
    world.apply("shop", spec).await;
    let shop = id(&world.ready("shop").await);
    (world, shop, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_project_is_reported_after_two_looks_and_nothing_is_made() {
    let (world, shop, other) = world_with_shop(json!({})).await;
    world.control.delete_project(&shop);
    let sent = mutations(&world);
    world.poke("shop").await;
    world.not_ready("shop", "ProjectMissing").await;
    let reads = world.control.count(&world.organization.id, Operation::Read);
    assert!(reads >= 2, "one look alone was believed: {reads}");
    assert_eq!(mutations(&world), sent);
    // The claim keeps what it knows: restoring is Composio's support's to do.
    assert_eq!(world.claims().await.of("shop").map(|claim| claim["projectId"].clone()), Some(json!(shop)));
    world.apply("shop", json!({"onProjectMissing": "Recreate"})).await;
    let made_anew = world.ready("shop").await;
    assert_ne!(id(&made_anew), shop);
    world.finish(&[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_project_is_made_anew_where_the_resource_says_so_and_the_secret_gets_its_key() {
    let (world, shop, other) = world_with_shop(json!({"onProjectMissing": "Recreate"})).await;
    let old = world.entry("shop", "COMPOSIO_API_KEY").await;
    world.control.delete_project(&shop);
    world.poke("shop").await;
    testbed::eventually::eventually(
        "the project is made anew",
        testbed::world::PATIENCE,
        async || match world.entry("shop", "COMPOSIO_PROJECT_ID").await {
            Some(now) if now != shop => Ok(()),
            now => Err(format!("the Secret has {now:?}")),
        },
    )
    .await;
    // The status follows the Secret.
    testbed::eventually::eventually(
        "the status has the new id",
        testbed::world::PATIENCE,
        async || match id(&world.ready("shop").await) {
            now if now != shop => Ok(()),
            now => Err(now),
        },
    )
    .await;
    assert_ne!(world.entry("shop", "COMPOSIO_API_KEY").await, old);
    assert_eq!(world.control.committed(&world.organization.id, Operation::Create), 2);
    world.finish(&[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_witness_that_lies_changes_nothing() {
    for lie in [Lie::ReadSays404, Lie::ReadSaysDeleted, Lie::ListOmits, Lie::ListSaysDeleted] {
        let (world, shop, other) = world_with_shop(json!({"onProjectMissing": "Recreate"})).await;
        let sent = mutations(&world);
        world.control.lie(&shop, lie);
        world.poke("shop").await;
        handled(&world, "shop").await;
        assert_eq!(id(&world.ready("shop").await), shop, "{lie:?}");
        assert_eq!(mutations(&world), sent, "{lie:?}");
        world.control.tell_the_truth(&shop);
        world.finish(&[&other]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_is_there_again_at_the_second_look_was_never_missing() {
    let (world, shop, other) = world_with_shop(json!({"onProjectMissing": "Recreate"})).await;
    let sent = mutations(&world);
    let mark = world.control.mark();
    world.control.lie(&shop, Lie::ReadSays404);
    world.control.lie(&shop, Lie::ListOmits);
    world.poke("shop").await;
    let organization = world.organization.id.clone();
    let looked = async || match world.control.count_since(mark, &organization, Operation::Read) {
        0 => Err("nobody looked".to_owned()),
        _ => Ok(()),
    };
    testbed::eventually::eventually("the first look", testbed::world::PATIENCE, looked).await;
    world.control.tell_the_truth(&shop);
    handled(&world, "shop").await;
    assert_eq!(id(&world.ready("shop").await), shop);
    assert_eq!(mutations(&world), sent);
    world.finish(&[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_composio_rejects_because_its_project_is_gone_says_that_the_project_is_missing() {
    let (mut world, shop, other) = world_with_shop(json!({})).await;
    world.control.delete_project(&shop);
    age_key(&world, "shop").await;
    world.stop_operator().await;
    world.start_operator().await;
    world.apply("shop", json!({"settings": {"displayName": "Shop"}})).await;
    world.not_ready("shop", "ProjectMissing").await;
    // The report outlives the process that made it.
    world.stop_operator().await;
    world.start_operator().await;
    world.poke("shop").await;
    handled(&world, "shop").await;
    world.reaches(&world.namespace, "shop", "Stalled", "True", "ProjectMissing").await;
    world.apply("shop", json!({"onProjectMissing": "Recreate", "settings": {"displayName": "Shop"}})).await;
    assert_ne!(id(&world.ready("shop").await), shop);
    world.finish(&[&other]).await;
}
