//! Answers to the replacement of a key that are lost, late or one too many.

use serde_json::json;
use testbed::emulator::{Fault, LateAnswer, Operation, Point, Which};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use super::{asked, later, published, replaced, settled, works_again, world_with_shop};

/// The revoked key of `shop` is replaced under a fault of the first regenerate.
async fn replaced_under(fault: Fault) -> (World, String, String) {
    let (world, id) = world_with_shop(json!({})).await;
    let organization = world.organization.id.clone();
    let old = published(&world, "shop").await;
    world.control.revoke_project_keys(&id);
    world.control.fault(&organization, Operation::Regenerate, fault, 1);
    world.poke("shop").await;
    (world, id, old)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regenerate_whose_answer_is_lost_is_repeated_at_once_and_the_doubt_is_resolved_by_a_proof() {
    for (fault, carried_out) in [
        (Fault::Cut { point: Point::AfterCommit }, 2),
        (Fault::Cut { point: Point::BeforeCommit }, 1),
        (Fault::WithoutMember { name: "api_key".to_owned() }, 2),
        (Fault::Html { point: Point::AfterCommit, status: 502 }, 2),
    ] {
        let (world, id, old) = replaced_under(fault).await;
        world.reaches(&world.namespace, "shop", "Reconciling", "True", "Rotating").await;
        works_again(&world, "shop", &id, &old).await;
        settled(&world, "shop").await;
        world.ready("shop").await;
        assert_eq!((asked(&world), replaced(&world)), (2, carried_out));
        world.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regenerate_that_commits_late_and_kills_the_new_key_is_found_by_the_proof_after_the_settle_time() {
    let late = Fault::CommitLate { gate: "late".to_owned(), answer: LateAnswer::Cut };
    let (world, id, old) = replaced_under(late).await;
    works_again(&world, "shop", &id, &old).await;
    let second = published(&world, "shop").await;
    let gate = world.control.gate("late");
    gate.arrived(1).await;
    gate.open();
    eventually("the late commit", PATIENCE, async || match replaced(&world) {
        2 => Ok(()),
        count => Err(format!("{count} regenerates")),
    })
    .await;
    works_again(&world, "shop", &id, &second).await;
    settled(&world, "shop").await;
    world.ready("shop").await;
    assert_eq!((asked(&world), replaced(&world)), (3, 3));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regenerate_that_is_carried_out_twice_and_answered_with_the_dead_key_heals_within_the_hour() {
    let (world, id, old) = replaced_under(Fault::Twice { answer: Which::First }).await;
    let first = async || match published(&world, "shop").await {
        key if key == old => Err("the old key is published".to_owned()),
        _ => Ok(()),
    };
    eventually("the first of the two keys is published", PATIENCE, first).await;
    later(&world, super::OLD);
    world.not_ready("shop", "KeyRejected").await;
    assert_eq!(asked(&world), 1);
    later(&world, 3_600_000);
    world.poke("shop").await;
    works_again(&world, "shop", &id, &old).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_answered_while_the_operator_stops_is_in_the_claim_and_published_afterwards() {
    let hold = Fault::Hold { point: Point::AfterCommit, gate: "answer".to_owned() };
    let (mut world, id, old) = replaced_under(hold).await;
    let gate = world.control.gate("answer");
    gate.arrived(1).await;
    let stopping = world.stop_operator();
    let opening = async { gate.open() };
    tokio::join!(stopping, opening);
    world.start_operator().await;
    works_again(&world, "shop", &id, &old).await;
    settled(&world, "shop").await;
    assert_eq!((asked(&world), replaced(&world)), (1, 1));
    world.finish(&[]).await;
}
