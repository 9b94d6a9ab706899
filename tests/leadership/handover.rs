//! From one leader to the next: killed, shut down; and what a standby does meanwhile.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use testbed::emulator::{Fault, Operation, Point};
use testbed::eventually::eventually;
use testbed::world::PATIENCE;

use crate::stage::{Stage, is_leading, leads};

/// So long that nobody takes over within a test unless the lease is released.
const LONG: Duration = Duration::from_mins(30);

async fn with_long_leases() -> Stage {
    Stage::set(|settings| {
        settings.election.lease_duration = LONG;
        settings.election.renew_deadline = LONG / 2;
        settings.shutdown_timeout = PATIENCE;
        settings.request_timeout = PATIENCE;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_ready_and_does_nothing_and_takes_over_when_the_leader_is_killed() {
    let stage = Stage::set(|_| ()).await;
    let mut leader = stage.leader().await;
    stage.world.organization_ready("default").await;
    stage.world.apply("shop", json!({})).await;
    stage.world.ready("shop").await;

    let standby = stage.replica().await;
    standby.logs("standing by").await;
    assert_eq!(standby.get("/livez").await, Ok((200, "ok\n".to_owned())));
    assert_eq!(standby.get("/readyz").await, Ok((200, "ok\n".to_owned())));
    assert_eq!(is_leading(&standby).await, Ok(false));
    assert_eq!(is_leading(&leader).await, Ok(true));

    let before = stage.lease().await;
    leader.kill().await;
    stage.world.apply("next", json!({})).await;
    leads(&standby).await;
    stage.world.ready("next").await;
    let log = standby.log();
    assert!(
        !log.contains("mutation at Composio") || log.find("this process leads") < log.find("mutation at")
    );
    let after = stage.lease().await;
    assert_ne!(before.holder_identity, after.holder_identity);
    assert_eq!(after.lease_transitions, before.lease_transitions.map(|count| count + 1));
    assert_eq!(after.lease_duration_seconds, Some(10));
    assert_eq!(stage.sent(Operation::Create), 2, "one for each project");
    stage.finish(vec![standby]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_shuts_down_releases_the_lease_and_the_standby_has_it_at_once() {
    let stage = with_long_leases().await;
    let mut leader = stage.leader().await;
    let standby = stage.replica().await;
    standby.logs("standing by").await;
    leader.signal(Signal::TERM);
    assert_eq!(leader.ended().await, Some(0));
    leads(&standby).await;
    stage.world.apply("shop", json!({})).await;
    stage.world.ready("shop").await;
    stage.finish(vec![standby]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_last_replica_has_shut_down_nobody_holds_the_lease() {
    let stage = with_long_leases().await;
    let mut leader = stage.leader().await;
    leader.signal(Signal::TERM);
    assert_eq!(leader.ended().await, Some(0));
    assert_eq!(stage.lease().await.holder_identity.as_deref(), Some(""));
    stage.finish(Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_is_not_released_before_every_answer_is_in_its_claim() {
    let stage = with_long_leases().await;
    let gate = stage.world.control.gate("create");
    stage.fault(Operation::Create, Fault::Hold { point: Point::BeforeCommit, gate: "create".to_owned() }, 1);
    let mut leader = stage.leader().await;
    stage.world.apply("shop", json!({})).await;
    tokio::time::timeout(PATIENCE, gate.arrived(1)).await.expect("a creation");
    let holder = stage.lease().await.holder_identity;

    leader.signal(Signal::TERM);
    leader.logs("shutting down").await;
    let renewed = stage.lease().await.renew_time;
    eventually("it renews the lease once more", PATIENCE, async || {
        let now = stage.lease().await;
        assert_eq!(now.holder_identity, holder, "released although a creation is not answered");
        if now.renew_time > renewed { Ok(()) } else { Err("it has not".to_owned()) }
    })
    .await;
    gate.open();
    assert_eq!(leader.ended().await, Some(0));
    assert_eq!(stage.lease().await.holder_identity.as_deref(), Some(""));
    assert!(stage.world.claims().await.key("shop").is_some(), "the key that the answer brought");
    let next = stage.leader().await;
    stage.world.ready("shop").await;
    assert_eq!((stage.sent(Operation::Create), stage.sent(Operation::Regenerate)), (1, 0));
    stage.finish(vec![next]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_ends_at_once_when_it_is_told_to() {
    let stage = with_long_leases().await;
    let leader = stage.leader().await;
    let mut standby = stage.replica().await;
    standby.logs("standing by").await;
    standby.signal(Signal::TERM);
    assert_eq!(standby.ended().await, Some(0));
    assert_eq!(is_leading(&leader).await, Ok(true), "that is not the leader's concern");
    stage.finish(vec![leader]).await;
}
