//! Operator and definitions removed in either order.

use axum::http::{Method, StatusCode};
use composio_operator::crd::ComposioProject;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use testbed::controlplane::client_for;
use testbed::eventually::eventually;
use testbed::proxy::{Action, ApiProxy, Match};
use testbed::world::PATIENCE;

use crate::scene::{
    FLEET, alone, bait, bait_taken, comes_back, definitions_gone, delete_definitions, fleet, keys,
    nothing_is_wiped, strip_organizations, world,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_deleted_while_the_operator_runs_wipe_nothing_and_everything_comes_back() {
    let _alone = alone().await;
    let mut world = world().await;
    world.start_operator().await;
    fleet(&world).await;
    let keys = keys(&world).await;
    bait(&world, "shop").await;
    delete_definitions(&world).await;
    definitions_gone(&world).await;
    bait_taken(&world).await;
    nothing_is_wiped(&world, &keys).await;
    comes_back(&mut world, &keys).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_operator_stopped_only_what_is_to_be_deleted_waits_and_a_restart_lets_it_go() {
    let _alone = alone().await;
    let mut world = world().await;
    world.start_operator().await;
    fleet(&world).await;
    let keys = keys(&world).await;
    bait(&world, "shop").await;
    world.stop_operator().await;
    delete_definitions(&world).await;
    let projects: Api<ComposioProject> = Api::namespaced(world.client.clone(), &world.namespace);
    let waiting = FLEET.iter().filter(|(_, policy)| *policy != "Retain").count();
    eventually("nothing waits that is retained", PATIENCE, async || {
        let left = projects.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let names: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
        if names.len() == waiting { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    // Somebody has helped the other definition to its end; the operator must not wait for it.
    strip_organizations(&world).await;
    let (client, settings) = (world.client.clone(), world.settings());
    // It is not ready before there are definitions again.
    world.launch_operator(settings, client).await;
    definitions_gone(&world).await;
    bait_taken(&world).await;
    nothing_is_wiped(&world, &keys).await;
    comes_back(&mut world, &keys).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_may_not_read_definitions_wipes_nothing_either() {
    let _alone = alone().await;
    let mut world = world().await;
    let proxy = ApiProxy::start(world.control_plane.kubeconfig()).await.unwrap();
    let definitions = Match::method(Method::GET).path_contains("/customresourcedefinitions/");
    let refused = Action::refuse(StatusCode::FORBIDDEN, "Forbidden", "definitions are not for this one");
    let rule = proxy.on(definitions, refused);
    world.start_operator_with(client_for(proxy.kubeconfig().unwrap()).await.unwrap()).await;
    fleet(&world).await;
    let keys = keys(&world).await;
    delete_definitions(&world).await;
    definitions_gone(&world).await;
    assert!(rule.hits() > 0, "it did not ask");
    nothing_is_wiped(&world, &keys).await;
    comes_back(&mut world, &keys).await;
    world.finish(&[]).await;
}
