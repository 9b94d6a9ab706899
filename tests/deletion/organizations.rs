//! Deletion while the organization or its key is missing, refused or suspended.

use composio_operator::crd::ComposioOrganization;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::shared::{delete, ends_deleted, gone, ledger, sent, shop};

async fn without_key_secret(world: &World) {
    ledger(world).delete("default-key", &DeleteParams::default()).await.unwrap();
    world.organization_reaches("default", "False", "KeySecretMissing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_organization_blocks_the_deletion_until_it_is_back() {
    let world = shop().await;
    let organizations: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
    organizations.delete("default", &DeleteParams::default()).await.unwrap();
    // While it is in use it would stay: somebody is impatient.
    let patch = json!({"metadata": {"finalizers": null}});
    organizations.patch("default", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    delete(&world, "shop").await;
    let shop = world.not_ready("shop", "DeletionBlocked").await;
    let text = serde_json::to_string(&shop.status).unwrap();
    assert!(text.contains("default") && text.contains("Retain"), "{text}");
    world.add_organization("default", &world.organization.key, json!({})).await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_deleted_before_its_projects_stays_until_they_are_deleted() {
    let world = shop().await;
    let organizations: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
    organizations.delete("default", &DeleteParams::default()).await.unwrap();
    ledger(&world).delete("default-key", &DeleteParams::default()).await.unwrap();
    delete(&world, "shop").await;
    gone(&world, "shop").await;
    eventually("the organization is gone", PATIENCE, async || {
        match organizations.get_opt("default").await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(found) => Err(format!("{:?}", found.status)),
        }
    })
    .await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_key_secret_does_not_stop_a_deletion_while_the_key_is_in_memory() {
    let world = shop().await;
    without_key_secret(&world).await;
    delete(&world, "shop").await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_key_secret_blocks_the_deletion_after_a_restart_until_it_is_back() {
    let mut world = shop().await;
    without_key_secret(&world).await;
    world.stop_operator().await;
    world.start_operator().await;
    delete(&world, "shop").await;
    world.not_ready("shop", "DeletionBlocked").await;
    assert_eq!(sent(&world, Operation::Delete), 0, "deletions");
    world.set_organization_key("default", &world.organization.key).await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_key_blocks_the_deletion_until_there_is_a_new_one() {
    let world = shop().await;
    let new = world.control.add_organization_key(&world.organization.id);
    assert!(world.control.revoke_organization_key(&world.organization.key));
    delete(&world, "shop").await;
    world.organization_reaches("default", "False", "KeyInvalid").await;
    world.poke("shop").await;
    world.not_ready("shop", "DeletionBlocked").await;
    world.set_organization_key("default", &new).await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_in_memory_only_and_rejected_is_not_tried_by_every_resource() {
    let world = World::start().await;
    let names: Vec<String> = (0..12).map(|number| format!("shop-{number}")).collect();
    for name in &names {
        world.apply(name, json!({"deletionPolicy": "Delete"})).await;
    }
    for name in &names {
        world.ready(name).await;
    }
    let new = world.control.add_organization_key(&world.organization.id);
    without_key_secret(&world).await;
    assert!(world.control.revoke_organization_key(&world.organization.key));
    let mark = world.control.mark();
    delete(&world, &names[0]).await;
    world.not_ready(&names[0], "DeletionBlocked").await;
    for name in &names[1..] {
        delete(&world, name).await;
    }
    for name in &names[1..] {
        world.not_ready(name, "DeletionBlocked").await;
    }
    let refused = world.calls_since(mark).len();
    assert!(refused < names.len(), "the rejected key was used {refused} times");
    world.set_organization_key("default", &new).await;
    for name in &names {
        gone(&world, name).await;
    }
    assert_eq!(world.control.projects(&world.organization.id).len(), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_organization_blocks_the_deletion_until_it_is_resumed() {
    let world = shop().await;
    let key = world.organization.key.clone();
    world.add_organization("default", &key, json!({"suspend": true})).await;
    // It stays Ready, by the conventions of kstatus; the reason changes.
    world.organization_reaches("default", "True", "Suspended").await;
    let mark = world.control.mark();
    delete(&world, "shop").await;
    world.not_ready("shop", "DeletionBlocked").await;
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    world.add_organization("default", &key, json!({"suspend": false})).await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_composio_bans_blocks_the_deletion_until_it_is_allowed() {
    let world = shop().await;
    world.control.set_modes(&world.organization.id, |modes| modes.address_banned = true);
    delete(&world, "shop").await;
    world.organization_reaches("default", "False", "AddressNotAllowed").await;
    world.poke("shop").await;
    world.not_ready("shop", "DeletionBlocked").await;
    world.control.set_modes(&world.organization.id, |modes| modes.address_banned = false);
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_that_composio_suspends_blocks_the_deletion() {
    let world = shop().await;
    world.control.set_modes(&world.organization.id, |modes| modes.suspended = true);
    delete(&world, "shop").await;
    world.not_ready("shop", "DeletionBlocked").await;
    world.control.set_modes(&world.organization.id, |modes| modes.suspended = false);
    world.poke("shop").await;
    ends_deleted(world).await;
}
