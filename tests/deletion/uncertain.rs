//! Deleted while nobody knows what has come of the creation, or before the project has a key.

use jiff::SignedDuration;
use serde_json::json;
use testbed::emulator::{Fault, LateAnswer, Operation, Point, View};
use testbed::world::World;

use crate::shared::{
    always, committed, delete, ends_deleted, gone, is_sent, ready_when_asked, secret_is, sent, tombstones,
};

/// A world in which the creation of `shop` has this fault, and where the list does not show its project.
async fn uncertain(fault: Fault) -> World {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.freeze_list(&organization);
    world.control.fault(&organization, Operation::Create, fault, 1);
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.reaches(&world.namespace, "shop", "Reconciling", "True", "ResolvingOutcome").await;
    world
}

fn show(world: &World) {
    world.control.set_modes(&world.organization.id, |modes| modes.list_view = View::Live);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_whose_creation_was_not_answered_is_found_and_deleted() {
    let world = uncertain(Fault::Cut { point: Point::AfterCommit }).await;
    let before = sent(&world, Operation::List);
    delete(&world, "shop").await;
    is_sent(&world, Operation::List, before + 2).await;
    assert!(world.projects().get_opt("shop").await.unwrap().is_some(), "it was let go without evidence");
    show(&world);
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_found_it_goes_after_two_complete_walks_a_settle_time_apart() {
    let world = uncertain(Fault::Cut { point: Point::BeforeCommit }).await;
    delete(&world, "shop").await;
    gone(&world, "shop").await;
    let journal = world.control.journal();
    let created = journal.iter().find(|entry| entry.operation == Some(Operation::Create)).unwrap();
    let walks = journal.iter().filter(|entry| entry.operation == Some(Operation::List));
    let last = walks.map(|entry| entry.time).max().unwrap();
    // It is settled after one settle time, of 8 seconds here; the second walk comes another one later. Both count from the
    // announcement, which is a little older than the call.
    let proof = last.duration_since(created.time);
    assert!(proof >= SignedDuration::from_millis(15_500), "it was let go after {proof}");
    assert_eq!(world.claims().await.all().count(), 0, "claims");
    assert_eq!(tombstones(&world).await.len(), 0, "tombstones of what never was");
    assert_eq!(sent(&world, Operation::Create), 1, "creations");
    assert_eq!(sent(&world, Operation::Delete), 0, "deletions");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_is_made_late_while_the_resource_is_being_deleted_is_deleted_too() {
    let late = Fault::CommitLate { gate: "late".to_owned(), answer: LateAnswer::GatewayTimeout };
    let world = uncertain(late).await;
    show(&world);
    delete(&world, "shop").await;
    world.reaches(&world.namespace, "shop", "Reconciling", "True", "ResolvingOutcome").await;
    world.control.gate("late").open();
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_deleted_while_its_creation_is_on_its_way_takes_the_project_with_it() {
    for point in [Point::BeforeCommit, Point::AfterCommit] {
        let world = World::start().await;
        let fault = Fault::Hold { point, gate: "create".to_owned() };
        world.control.fault(&world.organization.id, Operation::Create, fault, 1);
        let gate = world.control.gate("create");
        world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
        gate.arrived(1).await;
        delete(&world, "shop").await;
        gate.open();
        ends_deleted(world).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_never_got_its_key_is_deleted() {
    let world = World::start().await;
    let lost = Fault::Cut { point: Point::AfterCommit };
    world.control.fault(&world.organization.id, Operation::Create, lost, 1);
    always(&world, Operation::Regenerate, Fault::server_error(Point::BeforeCommit));
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    is_sent(&world, Operation::Regenerate, 1).await;
    assert_eq!(world.claims().await.of("shop").unwrap()["phase"], "KeyPending");
    delete(&world, "shop").await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_for_which_no_key_is_issued_is_deleted() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.regenerate_enabled = false);
    world.control.fault(&organization, Operation::Create, Fault::Cut { point: Point::AfterCommit }, 1);
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.not_ready("shop", "KeyUnavailable").await;
    delete(&world, "shop").await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_is_uncertain_is_retained_by_a_resource_that_changes_its_mind() {
    let world = uncertain(Fault::Cut { point: Point::AfterCommit }).await;
    delete(&world, "shop").await;
    world.apply("shop", json!({"deletionPolicy": "Retain"})).await;
    gone(&world, "shop").await;
    show(&world);
    world.apply("shop", json!({})).await;
    ready_when_asked(&world, "shop").await;
    secret_is(&world, "shop", true).await;
    assert_eq!(committed(&world, Operation::Create), 1, "creations");
    assert_eq!(sent(&world, Operation::Delete), 0, "deletions");
    world.finish(&[]).await;
}
