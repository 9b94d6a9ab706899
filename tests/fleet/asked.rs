//! After a sweep nobody asks Composio for the organization's sake; what has to be asked all the same, and what a pass that
//! has not asked must not say.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use testbed::controlplane::client_for;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::proxy::{Action, ApiProxy, Gate, Match};
use testbed::world::{PATIENCE, World};

use crate::scene::{last_swept, organizations, status, third_party};

/// A world behind a proxy that is swept once, soon, and then not for a long time.
async fn world_swept_once(is_empty: bool) -> (World, ApiProxy, Option<String>) {
    let mut world = World::without_operator().await;
    let other = (!is_empty).then(|| third_party(&world, "other"));
    last_swept(&world, "2020-01-01T00:00:00Z").await;
    world.sweep_interval = Duration::from_hours(5);
    let proxy = ApiProxy::start(world.control_plane.kubeconfig()).await.unwrap();
    world.start_operator_with(client_for(proxy.kubeconfig().unwrap()).await.unwrap()).await;
    let day = Timestamp::from_second(1_600_000_000).unwrap();
    let is_new = |status: &composio_operator::crd::ComposioOrganizationStatus| {
        status.last_sweep_time.as_ref().is_some_and(|time| time.0 > day)
    };
    status(&world, "it is swept", is_new).await;
    world.organization_ready("default").await;
    (world, proxy, other)
}

fn reads_of_the_header() -> Match {
    Match::method(Method::GET).path_ends_with("/secrets/composio-ledger")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_project_shows_whose_the_organization_is_although_an_empty_list_was_swept() {
    let (world, _proxy, _) = world_swept_once(true).await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let id = world.organization.id.clone();
    status(&world, "its id is known", |status| status.organization_id.as_ref() == Some(&id)).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_a_person_asks_for_is_taken_although_the_pass_fails_before_it() {
    let (world, proxy, other) = world_swept_once(false).await;
    let mark = world.control.mark();
    let broken = Action::refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "on purpose");
    // Twice: a pass of before may meet the first.
    let rule = proxy.on(reads_of_the_header().times(2), broken);
    let patch = json!({"metadata": {"annotations": {"composio.dev/reconcile-requested-at": "now"}}});
    organizations(&world).patch("default", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    tokio::time::timeout(PATIENCE, rule.hit()).await.unwrap();
    eventually("the organization is probed", PATIENCE, async || {
        let calls = world.control.journal_since(mark);
        let is_probed = calls.iter().any(|call| call.path.ends_with("/list?limit=1"));
        is_probed.then_some(()).ok_or_else(|| format!("{calls:?}"))
    })
    .await;
    world.finish(&[&other.unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_has_not_asked_does_not_overrule_a_refusal_that_came_meanwhile() {
    let (world, proxy, other) = world_swept_once(false).await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    // Between the decision not to ask, and the end of the pass.
    let gate = Gate::new();
    proxy.on(reads_of_the_header().nth(2), Action::hold_before(&gate));
    let patch = json!({"metadata": {"annotations": {"example.org/touched": "now"}}});
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(world.client.clone(), &world.system);
    secrets.patch("default-key", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    tokio::time::timeout(PATIENCE, gate.reached()).await.unwrap();
    let mark = world.control.mark();
    world.control.revoke_organization_key(&world.organization.key);
    world.apply("new", json!({})).await;
    world.not_ready("new", "OrganizationNotReady").await;
    gate.open();
    world.organization_reaches("default", "False", "KeyInvalid").await;
    let calls = world.control.journal_since(mark);
    let creations = calls.iter().filter(|call| call.operation == Some(Operation::Create)).count();
    assert_eq!(creations, 1, "work went on with a refused key");
    let key = world.control.add_organization_key(&world.organization.id);
    world.set_organization_key("default", &key).await;
    world.ready("new").await;
    world.finish(&[&other.unwrap()]).await;
}
