//! The plain path, and what it costs.

use std::collections::BTreeSet;

use composio_operator::crd::ComposioProject;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use testbed::controlplane::client_for;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::proxy::ApiProxy;
use testbed::world::{PATIENCE, World, complete_settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_becomes_ready_and_its_key_is_in_the_secret() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    let shop = world.ready("shop").await;
    let status = shop.status.unwrap();
    let project = status.project.unwrap();
    let key = world.entry("shop", "COMPOSIO_API_KEY").await.unwrap();
    assert_eq!(world.control.project_of_key(&key), project.id);
    assert_eq!(world.entry("shop", "COMPOSIO_PROJECT_ID").await, project.id);
    assert_eq!(status.binding.unwrap().name, "shop");
    assert!(status.key.unwrap().masked.starts_with("ak_**"));
    assert_eq!(world.control.count(&world.organization.id, Operation::Create), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_with_key_and_three_settings_costs_one_remote_call_and_five_writes() {
    let mut world = World::without_operator().await;
    let proxy = ApiProxy::start(world.control_plane.kubeconfig()).await.unwrap();
    let client = client_for(proxy.kubeconfig().unwrap()).await.unwrap();
    world.start_operator_with(client).await;
    world.organization_ready("default").await;
    // The first project shows the organization's id, which costs a look at the organization.
    world.apply("first", json!({})).await;
    eventually(
        "the organization's id is known to its project, and its Secret to its claim",
        PATIENCE,
        async || {
            let status = world.ready("first").await.status.unwrap_or_default();
            let id = status.project.and_then(|project| project.organization_id);
            let is_recorded =
                world.claims().await.of("first").is_some_and(|claim| claim["published"].is_object());
            let is_known = id.as_deref() == Some(&*world.organization.id);
            if is_known && is_recorded { Ok(()) } else { Err(format!("the id is {id:?}")) }
        },
    )
    .await;
    let (mark, before) = (world.control.mark(), proxy.journal().len());
    world.apply("shop", json!({"settings": complete_settings()})).await;
    world.ready("shop").await;
    // The Event is the last of the five and comes after the status.
    eventually("the Event is written", PATIENCE, async || {
        let writes: Vec<_> = proxy.journal()[before..]
            .iter()
            .map(|entry| format!("{} {}", entry.method, entry.path))
            .collect();
        if writes.iter().any(|write| write.contains("/events")) { Ok(()) } else { Err(format!("{writes:?}")) }
    })
    .await;
    let calls = world.calls_since(mark);
    assert_eq!(calls.len(), 1, "remote calls: {calls:?}");
    let writes: Vec<_> =
        proxy.journal()[before..].iter().map(|entry| format!("{} {}", entry.method, entry.path)).collect();
    assert!(writes.len() <= 5, "writes: {writes:#?}");
    let project = &world.control.projects(&world.organization.id)[1];
    assert_eq!(project.config["log_visibility_setting"], json!("show_all"));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_projects_at_once_become_ready_with_keys_of_their_own() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    for number in 0..200 {
        world.apply(&format!("shop-{number}"), json!({"settings": complete_settings()})).await;
    }
    let api: Api<ComposioProject> = world.projects();
    eventually("all are Ready", PATIENCE, async || {
        let projects = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let is_ready = |project: &&ComposioProject| {
            let conditions = project.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        match projects.iter().filter(is_ready).count() {
            200 => Ok(()),
            ready => Err(format!("{ready} are")),
        }
    })
    .await;
    let mut keys = BTreeSet::new();
    for number in 0..200 {
        keys.extend(world.entry(&format!("shop-{number}"), "COMPOSIO_API_KEY").await);
    }
    assert_eq!(keys.len(), 200, "distinct published keys");
    assert_eq!(world.control.projects(&organization).len(), 200);
    assert_eq!(world.control.committed(&organization, Operation::Create), 200);
    world.finish(&[]).await;
}
