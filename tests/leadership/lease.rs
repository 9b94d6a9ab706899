//! The Lease itself: what others write into it, answers that are lost, an API server that does not answer, and the send
//! gate that rests on it.

use std::process::Command;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use kube::api::{DeleteParams, Patch, PatchParams};
use rustix::process::Signal;
use serde_json::json;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::proxy::{Action, ApiProxy, Match};
use testbed::world::{Child, PATIENCE};

use crate::stage::{BINARY, LEASE, Stage, ends_deposed, is_leading, leads, sent_by};

/// Renewals of the Lease.
fn renewals() -> Match {
    Match::method(Method::PUT).path_ends_with(format!("/leases/{LEASE}"))
}

fn unavailable() -> Action {
    Action::refuse(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "not now")
}

/// A leader that reaches the API server through a proxy.
async fn behind_a_proxy(stage: &Stage) -> (ApiProxy, Child) {
    let proxy = ApiProxy::start(stage.world.control_plane.kubeconfig()).await.expect("a proxy");
    let leader = stage.replica_with(&proxy.kubeconfig().expect("a kubeconfig")).await;
    leads(&leader).await;
    (proxy, leader)
}

/// Waits until the Lease was renewed after now.
async fn is_renewed(stage: &Stage) {
    let before = stage.lease().await.renew_time;
    eventually("the lease is renewed", PATIENCE, async || {
        if stage.lease().await.renew_time > before { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_conflicts_and_strangers_annotations_do_not_end_the_lead() {
    let stage = Stage::set(|_| ()).await;
    let (proxy, leader) = behind_a_proxy(&stage).await;
    let before = stage.lease().await;
    for action in [Action::cut_after(), Action::cut_before(), unavailable()] {
        let rule = proxy.on(renewals().times(2), action);
        tokio::time::timeout(PATIENCE, rule.hit()).await.expect("a renewal that fails");
        is_renewed(&stage).await;
    }
    let note = json!({"metadata": {"annotations": {"example.com/note": "mine"}}});
    let params = PatchParams::default();
    stage.leases().patch(LEASE, &params, &Patch::Merge(note)).await.expect("an annotation");
    is_renewed(&stage).await;
    let lease = stage.leases().get(LEASE).await.expect("a Lease");
    let noted = lease.metadata.annotations.unwrap_or_default();
    assert_eq!(
        noted.get("example.com/note").map(String::as_str),
        Some("mine"),
        "what others keep in it stays"
    );
    let after = lease.spec.expect("a Lease that says something");
    assert_eq!(after.holder_identity, before.holder_identity);
    assert_eq!((after.acquire_time, after.lease_transitions), (before.acquire_time, Some(0)));
    assert_eq!(is_leading(&leader).await, Ok(true));
    stage.finish(vec![leader]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_renew_ends_and_the_standby_takes_over() {
    let stage = Stage::set(|_| ()).await;
    let (proxy, mut leader) = behind_a_proxy(&stage).await;
    let standby = stage.replica().await;
    standby.logs("standing by").await;
    proxy.on(renewals(), unavailable());
    ends_deposed(&mut leader, "not renewed within 8 s").await;
    leads(&standby).await;
    stage.world.apply("shop", json!({})).await;
    stage.world.ready("shop").await;
    stage.finish(vec![standby]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_sees_another_holder_ends_and_sends_nothing_more() {
    let stage = Stage::set(|_| ()).await;
    let mut leader = stage.leader().await;
    stage.world.organization_ready("default").await;
    let usurper = json!({"spec": {"holderIdentity": "somebody-else"}});
    stage.leases().patch(LEASE, &PatchParams::default(), &Patch::Merge(usurper)).await.expect("a change");
    ends_deposed(&mut leader, "somebody-else holds it now").await;
    let mark = stage.world.control.mark();
    stage.world.apply("shop", json!({})).await;
    // The usurper does not renew.
    let next = stage.leader().await;
    stage.world.ready("shop").await;
    assert_eq!(sent_by(&stage, &leader, mark), []);
    assert_eq!(stage.lease().await.lease_transitions, Some(1), "counted when it was taken from the usurper");
    stage.finish(vec![next]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_lease_is_deleted_ends_and_the_next_one_makes_it_anew() {
    let stage = Stage::set(|_| ()).await;
    let mut leader = stage.leader().await;
    stage.leases().delete(LEASE, &DeleteParams::default()).await.expect("a deletion");
    ends_deposed(&mut leader, "deleted or released by somebody else").await;
    let next = stage.leader().await;
    stage.finish(vec![next]).await;
}

/// Less than a request may take is left of the lease, and more than nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_lease_could_end_during_a_request_nothing_is_sent() {
    let stage = Stage::set(|settings| {
        settings.election.lease_duration = Duration::from_mins(10);
        settings.election.renew_deadline = Duration::from_mins(9);
        settings.request_timeout = Duration::from_mins(10) - Duration::from_secs(1);
    })
    .await;
    let (proxy, leader) = behind_a_proxy(&stage).await;
    stage.world.organization_ready("default").await;
    let rule = proxy.on(renewals(), unavailable());
    let failed = "two renewals of every second have failed for longer than what the gate leaves";
    eventually(failed, PATIENCE, async || match rule.hits() {
        hits if hits >= 10 => Ok(()),
        hits => Err(format!("{hits} have")),
    })
    .await;
    stage.world.apply("shop", json!({})).await;
    leader.logs("this process does not lead, or not for long enough").await;
    assert_eq!(is_leading(&leader).await, Ok(true), "it leads, but not for long enough");
    assert_eq!(stage.sent(Operation::Create), 0);
    eventually("the announcement is taken back", PATIENCE, async || {
        let claims = stage.world.claims().await;
        let attempts = claims.of("shop").map(|claim| claim["attempts"].clone());
        if attempts == Some(json!([])) { Ok(()) } else { Err(format!("{attempts:?}")) }
    })
    .await;
    rule.remove();
    is_renewed(&stage).await;
    stage.world.ready("shop").await;
    assert_eq!(stage.sent(Operation::Create), 1);
    stage.finish(vec![leader]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_may_not_read_the_lease_is_not_ready() {
    let stage = Stage::set(|_| ()).await;
    let proxy = ApiProxy::start(stage.world.control_plane.kubeconfig()).await.expect("a proxy");
    let kubeconfig = proxy.kubeconfig().expect("a kubeconfig");
    let reads = Match::method(Method::GET).path_ends_with(format!("/leases/{LEASE}"));
    let rule = proxy.on(reads, Action::refuse(StatusCode::FORBIDDEN, "Forbidden", "no rights on leases"));
    let mut replica = Child::launch(BINARY, &stage.settings, &kubeconfig).await;
    replica.logs("the Lease cannot be read").await;
    assert_eq!(replica.get("/readyz").await, Ok((503, "waiting for: lease-observed\n".to_owned())));
    rule.remove();
    leads(&replica).await;
    replica.signal(Signal::TERM);
    assert_eq!(replica.ended().await, Some(0));
    stage.finish(Vec::new()).await;
}

#[test]
fn times_that_do_not_fit_each_other_are_refused_at_the_start() {
    let flags = ["--leader-elect", "--lease-duration=15s", "--renew-deadline=10s", "--retry-period=2s"];
    let output = Command::new(BINARY)
        .args(flags)
        // Never reached.
        .env("KUBECONFIG", "/dev/null")
        .output()
        .expect("the binary");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("--lease-duration 15s") && words.contains("shorten --request-timeout"), "{words}");
}
