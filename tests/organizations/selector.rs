//! `spec.namespaceSelector`: which namespaces an organization serves. Namespaces are watched by `--watch-namespaces` here,
//! so that their labels are read at each look; `tests/rbac/main.rs` has the watch.

use composio_operator::crd::ComposioProject;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World, complete_settings};

use crate::scene::{mutations, organizations};

fn message(project: &ComposioProject) -> String {
    project.status.as_ref().unwrap().conditions[0].message.clone()
}

fn selecting(labels: &Value) -> Value {
    json!({"namespaceSelector": {"matchLabels": labels}})
}

/// A world whose organization serves namespaces with the label `composio: shop`; none has it yet.
async fn selective() -> World {
    let mut world = World::without_operator().await;
    let key = world.organization.key.clone();
    world.add_organization("default", &key, selecting(&json!({"composio": "shop"}))).await;
    world.start_operator().await;
    world.organization_ready("default").await;
    world
}

async fn refused(world: &World, name: &str) -> ComposioProject {
    world.reaches(&world.namespace, name, "Stalled", "True", "NamespaceNotAllowed").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_namespace_that_is_not_selected_nothing_is_made_until_it_has_its_label() {
    let world = selective().await;
    let mark = world.control.mark();
    world.label_namespace(&world.namespace, json!({"composio": "other"})).await;
    world.apply("shop", json!({"deletionPolicy": "Delete", "settings": complete_settings()})).await;
    let object = refused(&world, "shop").await;
    let message = message(&object);
    for words in [&format!("{:?}", world.namespace), "\"default\"", "the operator's administrator allow"] {
        assert!(message.contains(words), "{words} in {message}");
    }
    assert!(!message.contains("composio=shop"), "a tenant is told the labels: {message}");
    assert!(object.finalizers().is_empty(), "it cannot be deleted without the operator, and has nothing");
    assert!(
        world.claims().await.of("shop").is_none() && world.entry("shop", "COMPOSIO_API_KEY").await.is_none()
    );
    assert!(world.calls_since(mark).is_empty(), "a call for a project that is not allowed");
    world.label_namespace(&world.namespace, json!({"composio": "shop"})).await;
    world.poke("shop").await;
    let object = world.ready("shop").await;
    assert_eq!(object.finalizers().len(), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_loses_its_label_keeps_everything_and_nothing_of_it_is_touched() {
    let world = selective().await;
    world.label_namespace(&world.namespace, json!({"composio": "shop"})).await;
    for name in ["shop", "leaving", "kept"] {
        let policy = if name == "shop" { "Retain" } else { "Delete" };
        world.apply(name, json!({"deletionPolicy": policy})).await;
        world.ready(name).await;
    }
    world.label_namespace(&world.namespace, json!({"composio": null})).await;
    let (calls, key) = (mutations(&world), world.entry("shop", "COMPOSIO_API_KEY").await);
    world.apply("shop", json!({"settings": {"displayName": "Shop"}, "deletionPolicy": "Delete"})).await;
    let object = refused(&world, "shop").await;
    assert!(object.finalizers().is_empty(), "what is not looked after gets no finalizer");
    assert!(key.is_some() && world.entry("shop", "COMPOSIO_API_KEY").await == key);
    // What has a finalizer keeps it, goes by its policy, and can be let go.
    world.poke("leaving").await;
    assert_eq!(refused(&world, "leaving").await.finalizers().len(), 1);
    world.delete("leaving").await;
    assert_eq!(mutations(&world), calls + 1, "only the deletion");
    world.apply("kept", json!({"deletionPolicy": "Retain"})).await;
    assert!(refused(&world, "kept").await.finalizers().is_empty());
    world.delete("kept").await;
    // Nothing is restored meanwhile.
    world.secrets().delete("shop", &DeleteParams::default()).await.unwrap();
    world.apply("shop", json!({"settings": {"displayName": "Store"}})).await;
    refused(&world, "shop").await;
    assert_eq!(world.entry("shop", "COMPOSIO_API_KEY").await, None);
    world.label_namespace(&world.namespace, json!({"composio": "shop"})).await;
    world.poke("shop").await;
    world.ready("shop").await;
    assert_eq!(world.entry("shop", "COMPOSIO_API_KEY").await, key);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selector_that_is_changed_counts_at_once_and_an_empty_one_selects_everything() {
    let world = selective().await;
    world.apply("shop", json!({})).await;
    refused(&world, "shop").await;
    let key = world.organization.key.clone();
    let name = &world.namespace;
    let named = json!({"namespaceSelector": {"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [name]},
        {"key": "composio", "operator": "DoesNotExist"},
    ]}});
    world.add_organization("default", &key, named).await;
    world.ready("shop").await;
    world.add_organization("default", &key, selecting(&json!({"composio": "other"}))).await;
    refused(&world, "shop").await;
    world.add_organization("default", &key, json!({"namespaceSelector": {}})).await;
    world.ready("shop").await;
    // Another organization does not care.
    world.add_organization("default", &key, selecting(&json!({"composio": "other"}))).await;
    refused(&world, "shop").await;
    organizations(&world).delete("default", &DeleteParams::default()).await.unwrap();
    eventually("the organization is not there", PATIENCE, async || {
        world.poke("shop").await;
        let object = world.projects().get("shop").await.map_err(|error| error.to_string())?;
        let message = message(&object);
        message.contains("no such ComposioOrganization").then_some(()).ok_or(message)
    })
    .await;
    world.finish(&[]).await;
}
