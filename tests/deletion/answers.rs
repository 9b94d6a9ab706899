//! Each answer that a deletion can have, and reads that lie about it.

use jiff::SignedDuration;
use serde_json::json;
use testbed::emulator::{Fault, Lie, Operation, Point, View};
use testbed::eventually::eventually;
use testbed::world::PATIENCE;

use crate::shared::{
    always, committed, delete, ends_deleted, ends_without_project, gone, id, is_sent, sent, shop, tombstones,
};

/// The first deletion has this fault. Whatever that means, the project is deleted once.
async fn it_is_deleted_once(fault: Fault) {
    let world = shop().await;
    world.control.fault(&world.organization.id, Operation::Delete, fault, 1);
    delete(&world, "shop").await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_is_cut_before_the_commit_is_repeated() {
    it_is_deleted_once(Fault::Cut { point: Point::BeforeCommit }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_is_cut_after_the_commit_is_known_by_two_witnesses() {
    it_is_deleted_once(Fault::Cut { point: Point::AfterCommit }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_500_before_the_commit_of_a_deletion_leads_to_one_deletion() {
    it_is_deleted_once(Fault::server_error(Point::BeforeCommit)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_500_after_the_commit_of_a_deletion_leads_to_one_deletion() {
    it_is_deleted_once(Fault::server_error(Point::AfterCommit)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn html_instead_of_the_answer_to_a_deletion_leads_to_one_deletion() {
    it_is_deleted_once(Fault::Html { point: Point::BeforeCommit, status: 200 }).await;
    it_is_deleted_once(Fault::Html { point: Point::AfterCommit, status: 502 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_an_answer_to_a_deletion_leads_to_one_deletion() {
    it_is_deleted_once(Fault::ShortBody).await;
    it_is_deleted_once(Fault::CutJson).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_is_answered_after_the_deadline_leads_to_one_deletion() {
    it_is_deleted_once(Fault::Delay { point: Point::AfterCommit, milliseconds: 5_000 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_commits_after_the_deadline_leads_to_one_deletion() {
    it_is_deleted_once(Fault::Delay { point: Point::BeforeCommit, milliseconds: 5_000 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirected_deletion_is_not_followed_and_leads_to_one_deletion() {
    it_is_deleted_once(Fault::Redirect).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_pauses_the_deletion_which_follows_by_itself() {
    let world = shop().await;
    let fault = Fault::RateLimited { retry_after_seconds: 3 };
    world.control.fault(&world.organization.id, Operation::Delete, fault, 1);
    delete(&world, "shop").await;
    is_sent(&world, Operation::Delete, 1).await;
    let mark = world.control.mark();
    gone(&world, "shop").await;
    let journal = world.control.journal();
    let sent = journal.iter().filter(|entry| entry.operation == Some(Operation::Delete));
    let times: Vec<_> = sent.map(|entry| entry.time).collect();
    assert_eq!(times.len(), 2, "deletions sent");
    let pause = times[1].duration_since(times[0]);
    assert!(pause >= SignedDuration::from_secs(3), "it was sent again after {pause}");
    assert!(world.calls_since(mark).len() <= 2, "calls during the pause");
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_somebody_has_deleted_already_is_as_good_as_deleted() {
    let world = shop().await;
    let id = id(&world.ready("shop").await);
    assert!(world.control.delete_project(&id));
    delete(&world, "shop").await;
    gone(&world, "shop").await;
    assert_eq!(committed(&world, Operation::Delete), 0, "deletions");
    assert_eq!(tombstones(&world).await[0]["deleted"]["requestIds"], json!([]), "nobody has said so");
    ends_without_project(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_403_blocks_the_deletion_until_it_is_allowed() {
    let world = shop().await;
    always(&world, Operation::Delete, Fault::Forbidden);
    delete(&world, "shop").await;
    world.not_ready("shop", "DeletionBlocked").await;
    // A try that is under way has announced itself, and is taken back as well.
    eventually("nothing has happened", PATIENCE, async || {
        let phase = world.claims().await.of("shop").ok_or("the claim is gone")?["phase"].clone();
        if phase == "Owned" { Ok(()) } else { Err(phase.to_string()) }
    })
    .await;
    assert_eq!(committed(&world, Operation::Delete), 0);
    world.control.clear_faults(&world.organization.id);
    world.poke("shop").await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_still_shows_the_deleted_project_delays_the_end_until_it_does_not() {
    let world = shop().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.read_view = View::FrozenAt(1));
    let mark = world.control.mark();
    delete(&world, "shop").await;
    eventually("the deletion is followed by a read", PATIENCE, async || {
        let reads = world.control.count_since(mark, &organization, Operation::Read);
        if committed(&world, Operation::Delete) == 1 && reads > 0 { Ok(()) } else { Err(format!("{reads}")) }
    })
    .await;
    world.not_ready("shop", "Deleting").await;
    assert_eq!(tombstones(&world).await.len(), 0, "a tombstone without proof");
    world.control.set_modes(&organization, |modes| modes.read_view = View::Live);
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_does_not_know_the_living_project_ends_nothing() {
    let world = shop().await;
    let id = id(&world.ready("shop").await);
    world.control.lie(&id, Lie::ReadSays404);
    let fault = Fault::server_error(Point::BeforeCommit);
    world.control.fault(&world.organization.id, Operation::Delete, fault, 2);
    delete(&world, "shop").await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_leaves_the_living_project_out_ends_nothing() {
    let world = shop().await;
    let id = id(&world.ready("shop").await);
    world.control.lie(&id, Lie::ListOmits);
    let fault = Fault::Cut { point: Point::BeforeCommit };
    world.control.fault(&world.organization.id, Operation::Delete, fault, 2);
    delete(&world, "shop").await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_is_confirmed_but_did_not_happen_is_sent_again_when_it_is_settled() {
    let world = shop().await;
    let fault = Fault::Answer { point: Point::BeforeCommit, status: 200, body: json!({"status": "success"}) };
    world.control.fault(&world.organization.id, Operation::Delete, fault, 1);
    delete(&world, "shop").await;
    is_sent(&world, Operation::Delete, 2).await;
    gone(&world, "shop").await;
    assert_eq!(sent(&world, Operation::Delete), 2, "deletions sent");
    ends_deleted(world).await;
}
