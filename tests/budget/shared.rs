//! Others use the organization: the operator yields.

use kube::api::DeleteParams;
use serde_json::json;
use testbed::emulator::Operation;

use crate::scene::{apply_many, burn, print_rates, reach, refused, world_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_others_burn_97_percent_nobody_gets_a_429_creations_wait_and_a_deletion_proceeds() {
    let world = world_with(json!({}), |modes| {
        modes.rate_limit = Some(2_000);
        modes.rate_window_seconds = 20;
    })
    .await;
    let organization = world.organization.id.clone();
    world.apply("old", json!({"deletionPolicy": "Delete"})).await;
    world.ready("old").await;
    let mark = world.control.mark();
    burn(&world, 1_940).await;
    apply_many(&world, "new", 20, &json!({})).await;
    world.projects().delete("old", &DeleteParams::default()).await.unwrap();
    reach(&world, 20, "False", "Throttled").await;
    let shown =
        testbed::eventually::eventually("the project is deleted", testbed::world::PATIENCE, async || {
            let calls = world.control.journal_since(mark);
            let is_deleted = world.control.committed_since(mark, &organization, Operation::Delete) == 1;
            if is_deleted { Ok(calls) } else { Err(format!("{} calls", calls.len())) }
        });
    let calls = shown.await;
    let created = |entry: &&testbed::emulator::Entry| entry.operation == Some(Operation::Create);
    assert_eq!(calls.iter().filter(created).count(), 0, "creations while others need the organization");
    // 60 were left, and the last hundredth is not touched.
    assert!(calls.len() <= 40, "{} calls", calls.len());
    // Then their traffic ends with the window.
    reach(&world, 20, "True", "Reconciled").await;
    let calls = world.control.journal_since(mark);
    print_rates("while others burn 97 % of a window, and after it", &calls);
    assert_eq!(refused(&calls), 0, "calls of the operator answered by 429");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_others_leave_less_than_the_last_hundredth_nothing_is_sent_at_all() {
    let world = world_with(json!({}), |modes| {
        modes.rate_limit = Some(2_000);
        modes.rate_window_seconds = 15;
    })
    .await;
    world.apply("old", json!({"deletionPolicy": "Delete"})).await;
    world.ready("old").await;
    burn(&world, 1_985).await;
    let mark = world.control.mark();
    world.projects().delete("old", &DeleteParams::default()).await.unwrap();
    world.reaches(&world.namespace, "old", "Reconciling", "True", "Throttled").await;
    assert_eq!(world.control.journal_since(mark).len(), 0, "calls");
    // It goes on by itself when the window is over.
    testbed::eventually::eventually("it is gone", testbed::world::PATIENCE, async || {
        match world.projects().get_opt("old").await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(_) => Err("it is there".to_owned()),
        }
    })
    .await;
    assert_eq!(refused(&world.control.journal_since(mark)), 0);
    world.finish(&[]).await;
}
