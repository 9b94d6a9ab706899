//! A restart is no reason for a sweep.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::scene::{last_swept, looked_at, ready, status, third_party, walks, world_swept_every};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_the_next_sweep_comes_when_it_is_due_and_not_before() {
    let (mut world, other) = world_swept_every(20).await;
    ready(&world, &["shop"], json!({})).await;
    let first = status(&world, "it was swept", |status| status.last_sweep_time.is_some()).await;
    let first = first.last_sweep_time.unwrap();
    world.stop_operator().await;
    let mark = world.control.mark();
    world.start_operator().await;
    world.organization_ready("default").await;
    looked_at(&world, "shop").await;
    let again =
        status(&world, "it is swept again", |status| status.last_sweep_time.as_ref() > Some(&first)).await;
    assert!(walks(&world, mark) >= 1);
    let distance = again.last_sweep_time.unwrap().0.duration_since(first.0);
    // The interval, shortened by a tenth at most, in whole seconds.
    assert!(distance.as_secs() >= 17, "swept again after {distance:?}");
    assert_eq!(again.organization_id, Some(world.organization.id.clone()));
    world.finish(&[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_that_fails_is_followed_by_a_probe_which_tells_why() {
    let (world, other) = world_swept_every(2).await;
    ready(&world, &["shop"], json!({})).await;
    status(&world, "it was swept", |status| status.last_sweep_time.is_some()).await;
    world.control.revoke_organization_key(&world.organization.key);
    world.organization_reaches("default", "False", "KeyInvalid").await;
    let key = world.control.add_organization_key(&world.organization.id);
    world.set_organization_key("default", &key).await;
    world.organization_ready("default").await;
    let mark = world.control.mark();
    eventually("it is swept with the new key", PATIENCE, async || match walks(&world, mark) {
        0 => Err("it is not".to_owned()),
        _ => Ok(()),
    })
    .await;
    world.ready("shop").await;
    world.finish(&[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_sweep_in_the_future_does_not_put_the_next_one_off() {
    let mut world = World::without_operator().await;
    let other = third_party(&world, "other");
    last_swept(&world, "2100-01-01T00:00:00Z").await;
    world.sweep_interval = Duration::from_secs(2);
    world.start_operator().await;
    let now = Timestamp::now();
    status(&world, "it is swept", |status| {
        status.last_sweep_time.as_ref().is_some_and(|time| time.0.duration_since(now).as_hours() < 24)
    })
    .await;
    world.finish(&[&other]).await;
}
