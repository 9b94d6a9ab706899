//! The end of an organization: it stays until its projects are deleted, whatever is deleted first.

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use testbed::emulator::{Fault, Operation};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::scene::{organizations, records};

const FINALIZER: &str = "composio.dev/in-use";

async fn finalizers_are(world: &World, expected: &[&str]) {
    eventually(&format!("the organization has the finalizers {expected:?}"), PATIENCE, async || {
        let object = organizations(world).get("default").await.map_err(|error| error.to_string())?;
        if object.finalizers() == expected { Ok(()) } else { Err(format!("{:?}", object.finalizers())) }
    })
    .await;
}

async fn organization_gone(world: &World) {
    eventually("the organization is gone", PATIENCE, async || {
        match organizations(world).get_opt("default").await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(object) => Err(format!("{:?}, {:?}", object.metadata.finalizers, object.status)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_has_a_finalizer_as_long_as_one_of_its_projects_has() {
    let world = World::start().await;
    world.apply("kept", json!({})).await;
    world.ready("kept").await;
    finalizers_are(&world, &[]).await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.ready("shop").await;
    finalizers_are(&world, &[FINALIZER]).await;
    world.delete("shop").await;
    organizations(&world).delete("default", &DeleteParams::default()).await.unwrap();
    organization_gone(&world).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_that_is_deleted_says_how_many_projects_it_waits_for_and_refuses_new_ones() {
    let world = World::start().await;
    for name in ["shop", "shop-2"] {
        world.apply(name, json!({"deletionPolicy": "Delete"})).await;
        world.ready(name).await;
    }
    organizations(&world).delete("default", &DeleteParams::default()).await.unwrap();
    let object = world.organization_reaches("default", "False", "InUse").await;
    let message = &object.status.unwrap().conditions[0].message;
    assert!(message.contains(": 2 ") && message.contains("Retain"), "{message}");
    world.apply("new", json!({})).await;
    world.not_ready("new", "OrganizationNotReady").await;
    assert_eq!(world.control.count(&world.organization.id, Operation::Create), 2);
    world.delete("shop").await;
    // The other is kept.
    world.apply("shop-2", json!({"deletionPolicy": "Retain"})).await;
    organization_gone(&world).await;
    assert_eq!(world.control.committed(&world.organization.id, Operation::Delete), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_deleted_together_with_its_projects_and_its_key_goes_in_any_order() {
    for round in 0..4_usize {
        let world = World::start().await;
        let policy = |number: usize| ["Delete", "Retain", "DeleteAndRevoke"][number % 3];
        for number in 0..6 {
            world.apply(&format!("shop-{number}"), json!({"deletionPolicy": policy(number)})).await;
        }
        for number in 0..6 {
            world.ready(&format!("shop-{number}")).await;
        }
        // Eight things, each round in another order: 3, 5 and 7 have no factor in common with 8.
        let step = [1, 3, 5, 7][round];
        for turn in 0..8 {
            match (turn * step + round) % 8 {
                6 => drop(organizations(&world).delete("default", &DeleteParams::default()).await.unwrap()),
                7 => drop(records(&world).delete("default-key", &DeleteParams::default()).await.unwrap()),
                number => drop(
                    world
                        .projects()
                        .delete(&format!("shop-{number}"), &DeleteParams::default())
                        .await
                        .unwrap(),
                ),
            }
        }
        eventually("all projects are gone", PATIENCE, async || {
            let left =
                world.projects().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let left: Vec<_> = left.iter().map(|left| (left.name_any(), left.status.clone())).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        organization_gone(&world).await;
        let mut names: Vec<_> =
            world.control.projects(&world.organization.id).into_iter().map(|left| left.name).collect();
        names.sort();
        assert_eq!(names, ["shop-1", "shop-4"], "round {round}");
        world.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalizer_of_somebody_else_stays_on_the_organization() {
    let world = World::start().await;
    let patch = json!({"metadata": {"finalizers": ["example.com/theirs"]}});
    organizations(&world).patch("default", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let rule = world.control.fault(&world.organization.id, Operation::Delete, Fault::Forbidden, 1000);
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.ready("shop").await;
    finalizers_are(&world, &["example.com/theirs", FINALIZER]).await;
    organizations(&world).delete("default", &DeleteParams::default()).await.unwrap();
    world.projects().delete("shop", &DeleteParams::default()).await.unwrap();
    // Composio refuses: the organization waits.
    world.not_ready("shop", "DeletionBlocked").await;
    world.control.clear_fault(rule);
    world.poke("shop").await;
    finalizers_are(&world, &["example.com/theirs"]).await;
    let none = json!({"metadata": {"finalizers": null}});
    organizations(&world).patch("default", &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
    organization_gone(&world).await;
    world.finish(&[]).await;
}
