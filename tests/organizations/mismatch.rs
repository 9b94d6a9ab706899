//! Which organization a ComposioOrganization stands for: pinned at first sight or by the spec.

use composio_operator::crd::ComposioOrganization;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testbed::emulator::{Operation, OrganizationOptions, ThirdPartyProject};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::scene::{looked_at, mutations, organizations};

fn message(object: &ComposioOrganization) -> String {
    object.status.as_ref().unwrap().conditions[0].message.clone()
}

/// Adds another organization. Ages count in seconds, and within one the UIDs decide.
async fn add_younger(world: &World, key: &str, spec: Value) {
    let elder = organizations(world).get("default").await.unwrap();
    let born = elder.creation_timestamp().unwrap().0.as_second();
    eventually("the next second", PATIENCE, async || {
        let now = jiff::Timestamp::now().as_second();
        if now > born { Ok(()) } else { Err(format!("it is {now}")) }
    })
    .await;
    world.add_organization("younger", key, spec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_organization_stops_everything_and_no_project_is_judged() {
    let mut world = World::start().await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.ready("shop").await;
    let other = world.control.add_organization(OrganizationOptions::named("other"));
    let theirs = world.control.create_project(&other.id, ThirdPartyProject::named("shop"));
    let before = mutations(&world);
    world.set_organization_key("default", &other.key).await;
    let object = world.organization_reaches("default", "False", "OrganizationMismatch").await;
    assert!(message(&object).contains(&other.id) && message(&object).contains(&world.organization.id));
    assert!(message(&object).contains("another ComposioOrganization"), "{}", message(&object));
    world.apply("new", json!({})).await;
    world.not_ready("new", "OrganizationNotReady").await;
    world.poke("shop").await;
    world.reaches(&world.namespace, "shop", "Reconciling", "True", "OrganizationNotReady").await;
    world.projects().delete("shop", &DeleteParams::default()).await.unwrap();
    world.not_ready("shop", "DeletionBlocked").await;
    // Nor after a restart.
    world.stop_operator().await;
    world.start_operator().await;
    looked_at(&world, "default").await;
    world.organization_reaches("default", "False", "OrganizationMismatch").await;
    assert_eq!(mutations(&world), before);
    assert_eq!(world.control.count(&other.id, Operation::Create), 0);
    let key = world.organization.key.clone();
    world.set_organization_key("default", &key).await;
    world.ready("new").await;
    world.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_shows_no_project_where_there_should_be_some_stops_everything() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let empty = world.control.add_organization(OrganizationOptions::named("empty"));
    world.set_organization_key("default", &empty.key).await;
    let object = world.organization_reaches("default", "False", "OrganizationMismatch").await;
    assert!(message(&object).contains("no project"), "{}", message(&object));
    world.apply("new", json!({})).await;
    world.not_ready("new", "OrganizationNotReady").await;
    assert_eq!(world.control.count(&empty.id, Operation::Create), 0);
    let key = world.organization.key.clone();
    world.set_organization_key("default", &key).await;
    world.ready("new").await;
    assert_eq!(mutations(&world), 2, "the two creations");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stated_id_that_the_key_does_not_show_stops_everything_before_the_first_call() {
    let mut world = World::without_operator().await;
    let organization = world.organization.id.clone();
    let theirs = world.control.create_project(&organization, ThirdPartyProject::named("theirs"));
    let key = world.organization.key.clone();
    world.add_organization("default", &key, json!({"organizationId": "ok_another"})).await;
    world.start_operator().await;
    world.organization_reaches("default", "False", "OrganizationMismatch").await;
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "OrganizationNotReady").await;
    assert_eq!(mutations(&world), 0);
    world.add_organization("right", &key, json!({"organizationId": organization})).await;
    world.organization_ready("right").await;
    world.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_state_one_id_the_younger_stalls_also_before_there_is_a_project() {
    let mut world = World::without_operator().await;
    let (id, key) = (world.organization.id.clone(), world.organization.key.clone());
    world.add_organization("default", &key, json!({"organizationId": id})).await;
    world.start_operator().await;
    world.organization_ready("default").await;
    let second = world.control.add_organization_key(&id);
    add_younger(&world, &second, json!({"organizationId": id})).await;
    let object = world.organization_reaches("younger", "False", "OrganizationMismatch").await;
    assert!(message(&object).contains("\"default\""), "{}", message(&object));
    world.apply("shop", json!({"organizationRef": {"name": "younger"}})).await;
    world.not_ready("shop", "OrganizationNotReady").await;
    assert_eq!(mutations(&world), 0);
    organizations(&world).delete("default", &DeleteParams::default()).await.unwrap();
    world.organization_ready("younger").await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_with_one_organization_the_younger_stalls_until_the_older_is_gone() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let key = world.control.add_organization_key(&world.organization.id);
    add_younger(&world, &key, json!({})).await;
    let object = world.organization_reaches("younger", "False", "OrganizationMismatch").await;
    assert!(message(&object).contains("\"default\""), "{}", message(&object));
    looked_at(&world, "default").await;
    world.organization_ready("default").await;
    world.apply("other", json!({"organizationRef": {"name": "younger"}})).await;
    world.not_ready("other", "OrganizationNotReady").await;
    organizations(&world).delete("default", &DeleteParams::default()).await.unwrap();
    world.organization_ready("younger").await;
    world.ready("other").await;
    world.finish(&[]).await;
}
