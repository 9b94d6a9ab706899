//! The brake on deletions: what is beyond the limit of the hour waits for a token that works once.

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::scene::{confirm, header, held, looked_at, nothing_held, records};

/// A world with `count` projects to be deleted, and this limit.
async fn with_shops(count: usize, limit: u32) -> World {
    let mut world = World::without_operator().await;
    set_limit(&world, limit).await;
    world.start_operator().await;
    world.organization_ready("default").await;
    for number in 0..count {
        world.apply(&format!("shop-{number}"), json!({"deletionPolicy": "Delete"})).await;
    }
    for number in 0..count {
        world.ready(&format!("shop-{number}")).await;
    }
    world
}

async fn set_limit(world: &World, limit: u32) {
    let spec = json!({"limits": {"deletionsPerHour": limit}});
    world.add_organization("default", &world.organization.key, spec).await;
}

async fn delete_all(world: &World) {
    world.projects().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
}

async fn all_gone(world: &World) {
    eventually("all resources are gone", PATIENCE, async || {
        let left = world.projects().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        if left.items.is_empty() { Ok(()) } else { Err(format!("{} are left", left.items.len())) }
    })
    .await;
}

fn deletions(world: &World) -> usize {
    world.control.count(&world.organization.id, Operation::Delete)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_beyond_the_limit_are_held_also_after_a_restart_and_go_on_with_their_token() {
    let mut world = with_shops(12, 3).await;
    delete_all(&world).await;
    let first = held(&world, "default", "Deletions", 9).await;
    let left = eventually("three are gone", PATIENCE, async || {
        let left = world.projects().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let count = left.items.len();
        (count == 9).then_some(left).ok_or_else(|| format!("{count} are left"))
    })
    .await;
    assert_eq!(deletions(&world), 3);
    for shop in left {
        let shop = world.not_ready(&kube::ResourceExt::name_any(&shop), "DeletionHeld").await;
        let message = serde_json::to_string(&shop.status).unwrap();
        assert!(message.contains("composio.dev/confirm") && message.contains("default"), "{message}");
    }
    world.stop_operator().await;
    world.start_operator().await;
    looked_at(&world, "default").await;
    let again = held(&world, "default", "Deletions", 9).await;
    assert_eq!((&again.token, &again.since_time), (&first.token, &first.since_time), "the same set");
    confirm(&world, "default", "0123456789ab").await;
    looked_at(&world, "default").await;
    assert_eq!(deletions(&world), 3, "another token was taken");
    confirm(&world, "default", &first.token).await;
    all_gone(&world).await;
    nothing_held(&world, "default").await;
    assert_eq!(deletions(&world), 12);

    // The token was for that set.
    world.apply("later", json!({"deletionPolicy": "Delete"})).await;
    world.ready("later").await;
    world.projects().delete("later", &DeleteParams::default()).await.unwrap();
    let later = held(&world, "default", "Deletions", 1).await;
    assert_ne!(later.token, first.token);
    looked_at(&world, "default").await;
    assert_eq!(deletions(&world), 12, "a token worked twice");
    // To keep the project is always possible.
    world.apply("later", json!({"deletionPolicy": "Retain"})).await;
    all_gone(&world).await;
    nothing_held(&world, "default").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_a_set_that_has_grown_lets_nothing_go() {
    let world = with_shops(4, 1).await;
    for number in 0..3 {
        world.projects().delete(&format!("shop-{number}"), &DeleteParams::default()).await.unwrap();
    }
    let first = held(&world, "default", "Deletions", 2).await;
    world.projects().delete("shop-3", &DeleteParams::default()).await.unwrap();
    let grown = held(&world, "default", "Deletions", 3).await;
    confirm(&world, "default", &first.token).await;
    looked_at(&world, "default").await;
    assert_eq!(deletions(&world), 1);
    confirm(&world, "default", &grown.token).await;
    all_gone(&world).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_higher_limit_lets_what_is_held_go_and_zero_is_no_limit() {
    let world = with_shops(6, 1).await;
    delete_all(&world).await;
    held(&world, "default", "Deletions", 5).await;
    set_limit(&world, 3).await;
    held(&world, "default", "Deletions", 3).await;
    eventually("what may go is deleted", PATIENCE, async || match deletions(&world) {
        3 => Ok(()),
        count => Err(format!("{count} are")),
    })
    .await;
    let line = "composio_operator_held_projects{organization=\"default\",kind=\"Deletions\"} 3";
    eventually("it is counted", PATIENCE, async || {
        let page = world.metrics().await;
        page.lines().any(|found| found == line).then_some(()).ok_or(page)
    })
    .await;
    assert_eq!(deletions(&world), 3, "more than the limit");
    set_limit(&world, 0).await;
    all_gone(&world).await;
    nothing_held(&world, "default").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_stays_in_the_status_while_the_header_cannot_be_read() {
    let world = with_shops(2, 1).await;
    delete_all(&world).await;
    let before = held(&world, "default", "Deletions", 1).await;
    let (header, _) = header(&world).await;
    let write = async |text: String| {
        let patch = Patch::Merge(json!({"stringData": {"header.json": text}}));
        records(&world).patch("composio-ledger", &PatchParams::default(), &patch).await.unwrap();
    };
    write("{".to_owned()).await;
    world.organization_says("default", "False", "TransientFailure", "restore the Secret from a backup").await;
    assert_eq!(held(&world, "default", "Deletions", 1).await, before);
    write(header.to_string()).await;
    world.organization_ready("default").await;
    assert_eq!(held(&world, "default", "Deletions", 1).await, before);
    confirm(&world, "default", &before.token).await;
    all_gone(&world).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_long_ago_does_not_count_because_its_tombstone_was_restored_just_now() {
    let mut world = with_shops(2, 1).await;
    world.projects().delete("shop-0", &DeleteParams::default()).await.unwrap();
    let params = ListParams::default().labels("composio.dev/phase=Deleted");
    let mut tombstone = eventually("there is a tombstone", PATIENCE, async || {
        let found = records(&world).list(&params).await.map_err(|error| error.to_string())?;
        found.items.into_iter().next().ok_or_else(|| "there is none".to_owned())
    })
    .await;
    world.stop_operator().await;
    // Made again by a restore, hours later: what the operator has written says when that was.
    let long_ago = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2)).to_string();
    records(&world).delete(&tombstone.name_any(), &DeleteParams::default()).await.unwrap();
    let metadata = &mut tombstone.metadata;
    (metadata.uid, metadata.resource_version, metadata.creation_timestamp) = (None, None, None);
    for time in metadata.annotations.get_or_insert_default().values_mut() {
        if time.parse::<jiff::Timestamp>().is_ok() {
            time.clone_from(&long_ago);
        }
    }
    records(&world).create(&PostParams::default(), &tombstone).await.unwrap();
    world.start_operator().await;
    world.organization_ready("default").await;
    world.delete("shop-1").await;
    assert_eq!(deletions(&world), 2);
    world.finish(&[]).await;
}
