//! The look once per interval: what it costs, what it shows, and what its failure does not do.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::json;
use testbed::emulator::{Fault, Operation, Point, SettingsMode};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World, complete_settings};

use super::scene::{calls, drifted, every_member, has, made, synced, watchful};

/// Calls per project after a mark.
fn looks(world: &World, mark: u64, operation: Operation) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in world.control.journal_since(mark) {
        if let (Some(found), Some(id)) = (entry.operation, entry.project_id)
            && found == operation
        {
            *counts.entry(id).or_default() += 1;
        }
    }
    counts
}

/// Waits until each of these was looked at so many times from now on: by then, a pass of its own is over.
async fn looked_at(world: &World, ids: &[&str], count: usize) {
    let mark = world.control.mark();
    eventually("all were looked at", PATIENCE, async || {
        let counts = ids.iter().map(|id| calls(world, mark, id, Operation::ReadSettings).len());
        let counts: Vec<usize> = counts.collect();
        if counts.iter().all(|made| *made >= count) { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
}

/// Ten projects, half of them without settings; gives how often each was looked at by then.
async fn watched(world: &World, operation: Operation) -> Vec<usize> {
    let mut ids = Vec::new();
    for number in 0..10 {
        let spec = if number % 2 == 0 { json!({"settings": complete_settings()}) } else { json!({}) };
        ids.push(made(world, &format!("shop-{number}"), spec).await);
    }
    let mark = world.control.mark();
    eventually("each was looked at several times", PATIENCE, async || {
        let counts = looks(world, mark, operation);
        let counts: Vec<usize> = ids.iter().map(|id| counts.get(id).copied().unwrap_or_default()).collect();
        if counts.iter().all(|count| *count >= 4) { Ok(counts) } else { Err(format!("{counts:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_project_is_looked_at_once_per_interval_also_one_without_settings() {
    let world = watchful().await;
    let counts = watched(&world, Operation::ReadSettings).await;
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(most - least <= 2, "some are looked at more often than others: {counts:?}");
    let organization = &world.organization.id;
    assert_eq!(world.control.count(organization, Operation::Categories), 0, "a look is one call");
    assert_eq!(world.control.count(organization, Operation::PatchSettings), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_settings_can_be_read_another_call_shows_once_per_interval_that_the_key_lives() {
    let world = watchful().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.settings = SettingsMode::Gone404);
    let counts = watched(&world, Operation::Categories).await;
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(most - least <= 2, "some keys are proven more often than others: {counts:?}");
    assert_eq!(world.control.count(&organization, Operation::ReadSettings), 2, "one has found out");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_fails_changes_nothing_and_is_made_up_for_by_the_next() {
    let world = watchful().await;
    let organization = world.organization.id.clone();
    let id = made(&world, "shop", json!({"settings": every_member()})).await;
    looked_at(&world, &[&id], 2).await;
    let before = synced(&world, "shop", "True", "Reconciled").await;
    let mark = world.control.mark();
    let fault = Fault::server_error(Point::BeforeCommit);
    let rule = world.control.fault(&organization, Operation::ReadSettings, fault, 1000);
    eventually("several looks have failed", PATIENCE, async || {
        let count = calls(&world, mark, &id, Operation::ReadSettings).len();
        if count >= 4 { Ok(()) } else { Err(format!("{count}")) }
    })
    .await;
    let after = world.projects().get("shop").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version(), "{:?}", after.status);
    world.control.set_setting(&id, "display_name", json!("Theirs"));
    world.control.clear_fault(rule);
    has(&world, &id, "display_name", &json!("Shop")).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_cause_no_write() {
    let world = watchful().await;
    let id = made(&world, "shop", json!({"settings": every_member()})).await;
    let reported = made(&world, "reported", json!({"settings": every_member(), "onDrift": "Report"})).await;
    world.control.set_setting(&reported, "display_name", json!("Theirs"));
    drifted(&world, "reported", &["displayName"]).await;
    // The Secrets are recorded by a pass after the one that has written them.
    let versions = async || {
        let mut versions = Vec::new();
        for name in ["shop", "reported"] {
            versions.push(world.projects().get(name).await.unwrap().resource_version());
            versions.push(world.secrets().get(name).await.unwrap().resource_version());
        }
        let claims = world.claims().await;
        let claims: Vec<String> = claims.all().map(ToString::to_string).collect();
        (versions, claims)
    };
    looked_at(&world, &[&id, &reported], 2).await;
    let before = versions().await;
    looked_at(&world, &[&id, &reported], 3).await;
    assert_eq!(versions().await, before);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_makes_no_look_due_and_keeps_what_was_reported() {
    let mut world = World::start().await;
    let reported = made(&world, "reported", json!({"settings": every_member(), "onDrift": "Report"})).await;
    made(&world, "shop", json!({"settings": every_member()})).await;
    made(&world, "plain", json!({})).await;
    world.control.set_setting(&reported, "display_name", json!("Theirs"));
    world.poke("reported").await;
    drifted(&world, "reported", &["displayName"]).await;
    let before = synced(&world, "reported", "False", "Drifted").await;
    world.stop_operator().await;
    let mark = world.control.mark();
    world.start_operator().await;
    // A later one is through, so that the first pass over these three is too.
    made(&world, "later", json!({})).await;
    let organization = &world.organization.id;
    for operation in [Operation::ReadSettings, Operation::PatchSettings, Operation::Categories] {
        assert_eq!(world.control.count_since(mark, organization, operation), 0, "{operation:?}");
    }
    let after = world.projects().get("reported").await.unwrap();
    assert_eq!(after.status.unwrap().drift, before.status.unwrap().drift);
    world.finish(&[]).await;
}
