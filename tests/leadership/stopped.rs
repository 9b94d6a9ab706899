//! A leader that is stopped (SIGSTOP) for longer than its lease, and continued when another has taken over.

use std::time::Duration;

use serde_json::json;
use testbed::emulator::{Fault, Operation, Point};
use testbed::world::{Child, PATIENCE};

use crate::stage::{Stage, ends_deposed, leads, sent_by};

/// A leader that stands still while its creation of `shop` is on its way, and the standby that has taken over.
async fn stopped_with_a_creation_on_its_way(point: Point) -> (Stage, Child, Child) {
    let stage = Stage::set(|settings| {
        // Nobody creates anew while the test runs.
        settings.settle_margin = PATIENCE * 2;
    })
    .await;
    stage.fault(Operation::Create, Fault::Hold { point, gate: "create".to_owned() }, 1);
    let stopped = stage.leader().await;
    let standby = stage.replica().await;
    standby.logs("standing by").await;
    // What is made from now on is in no list, so that only the answer tells of it.
    stage.world.control.freeze_list(&stage.world.organization.id);
    stage.world.apply("shop", json!({})).await;
    let gate = stage.world.control.gate("create");
    tokio::time::timeout(PATIENCE, gate.arrived(1)).await.expect("a creation");
    stopped.freeze().await;
    leads(&standby).await;
    stage.world.not_ready("shop", "ResolvingOutcome").await;
    (stage, stopped, standby)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_came_while_it_stood_still_is_in_the_claim_before_it_ends() {
    let (stage, mut stopped, leader) = stopped_with_a_creation_on_its_way(Point::BeforeCommit).await;
    stage.world.control.gate("create").open();
    stage.is_answered(Operation::Create).await;
    let mark = stage.world.control.mark();

    stopped.thaw();
    ends_deposed(&mut stopped, "not renewed within").await;
    assert_eq!(sent_by(&stage, &stopped, mark), [], "a deposed leader has sent something");
    let claims = stage.world.claims().await;
    assert_eq!(claims.of("shop").map(|claim| &claim["origin"]), Some(&json!("Created")), "by our own answer");
    assert!(claims.key("shop").is_some(), "the key that only this answer showed");

    stage.world.poke("shop").await;
    stage.world.ready("shop").await;
    assert_eq!((stage.sent(Operation::Create), stage.sent(Operation::Regenerate)), (1, 0));
    stage.finish(vec![leader]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_late_finds_what_the_next_leader_has_made_of_the_claim() {
    let (stage, mut stopped, leader) = stopped_with_a_creation_on_its_way(Point::AfterCommit).await;
    // The successor finds the project, and issues a key.
    stage.world.control.set_modes(&stage.world.organization.id, |modes| {
        modes.list_view = testbed::emulator::View::Live;
    });
    stage.world.poke("shop").await;
    stage.world.ready("shop").await;
    let key = stage.world.entry("shop", "COMPOSIO_API_KEY").await;
    stage.world.control.gate("create").open();
    stage.is_answered(Operation::Create).await;
    let mark = stage.world.control.mark();

    stopped.thaw();
    ends_deposed(&mut stopped, "not renewed within").await;
    assert_eq!(sent_by(&stage, &stopped, mark), [], "a deposed leader has sent something");
    assert_eq!(stage.world.claims().await.key("shop"), key.as_deref(), "the younger key stays");
    assert_eq!((stage.sent(Operation::Create), stage.sent(Operation::Regenerate)), (1, 1));
    stage.finish(vec![leader]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_between_claim_and_call_it_sends_nothing_when_another_leads() {
    let stage = Stage::set(|settings| settings.settle_margin = Duration::from_secs(1)).await;
    let proxy =
        testbed::proxy::ApiProxy::start(stage.world.control_plane.kubeconfig()).await.expect("a proxy");
    let mut stopped = stage.replica_with(&proxy.kubeconfig().expect("a kubeconfig")).await;
    leads(&stopped).await;
    stage.world.organization_ready("default").await;
    let standby = stage.replica().await;
    let gate = testbed::proxy::Gate::new();
    let claims = format!("/api/v1/namespaces/{}/secrets", stage.world.system);
    let created = testbed::proxy::Match::method(axum::http::Method::POST).path_ends_with(claims);
    proxy.on(created.times(1), testbed::proxy::Action::hold_after(&gate));
    stage.world.apply("shop", json!({})).await;
    tokio::time::timeout(PATIENCE, gate.reached()).await.expect("a claim");
    stopped.freeze().await;
    gate.open();
    leads(&standby).await;
    stage.world.ready("shop").await;
    let mark = stage.world.control.mark();

    stopped.thaw();
    ends_deposed(&mut stopped, "not renewed within").await;
    assert_eq!(sent_by(&stage, &stopped, mark), [], "a deposed leader has sent something");
    assert_eq!(stage.sent(Operation::Create), 1);
    stage.finish(vec![standby]).await;
}
