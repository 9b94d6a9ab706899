//! The operator with `--watch-namespaces` and exactly the rights that the chart grants then: Roles in its namespaces and none
//! in the whole cluster, as a ServiceAccount with a real token.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::scene::{confirm, create_namespace, held, move_world};

/// What the chart grants for one namespace of projects.
async fn granted(world: &World, namespace: &str) -> Client {
    world.granted(&[&format!("--set=watchNamespaces={{{namespace}}}")]).await
}

/// Starts an operator with Roles in the world's two namespaces, and returns its client.
async fn start(world: &mut World) -> Client {
    let namespace = world.namespace.clone();
    let restricted = start_watching(world, &namespace).await;
    world.organization_ready("default").await;
    restricted
}

/// The same with another namespace of projects.
async fn start_watching(world: &mut World, namespace: &str) -> Client {
    let restricted = granted(world, namespace).await;
    let mut settings = world.settings();
    settings.watch_namespaces = vec![namespace.to_owned()];
    let readiness = world.launch_operator(settings, restricted.clone()).await;
    eventually("the operator is ready", PATIENCE, async || match readiness.closed().as_slice() {
        [] => Ok(()),
        closed => Err(format!("it waits for {closed:?}")),
    })
    .await;
    restricted
}

fn is_forbidden<T>(answer: Result<T, kube::Error>) -> bool {
    answer.is_err_and(|error| matches!(error, kube::Error::Api(status) if status.is_forbidden()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_in_its_namespaces_are_enough_for_an_operator_that_watches_some() {
    let mut world = World::without_operator().await;
    world.lead_by_lease();
    let restricted = start(&mut world).await;
    let everywhere: Api<Namespace> = Api::all(restricted.clone());
    assert!(
        is_forbidden(everywhere.list(&ListParams::default()).await),
        "it has rights in the whole cluster"
    );
    assert!(is_forbidden(everywhere.get("default").await));
    let elsewhere: Api<Secret> = Api::namespaced(restricted, "default");
    assert!(is_forbidden(elsewhere.list(&ListParams::default()).await));

    world.apply("shop", json!({"settings": {"displayName": "Shop"}})).await;
    world.ready("shop").await;
    world.secrets().delete("shop", &DeleteParams::default()).await.unwrap();
    eventually("the Secret is back", PATIENCE, async || {
        world.entry("shop", "COMPOSIO_API_KEY").await.ok_or_else(|| "it is not".to_owned())
    })
    .await;
    world.apply("short-lived", json!({"deletionPolicy": "Delete"})).await;
    world.ready("short-lived").await;
    world.delete("short-lived").await;
    // The resource is renamed: the namespace is the same, and the operator can tell.
    world.delete("shop").await;
    world.apply("store", json!({"projectName": "shop"})).await;
    world.ready("store").await;

    // The labels of a namespace can be read in it.
    let key = world.organization.key.clone();
    let selector = json!({"namespaceSelector": {"matchLabels": {"composio": "shop"}}});
    world.add_organization("default", &key, selector).await;
    world.reaches(&world.namespace, "store", "Stalled", "True", "NamespaceNotAllowed").await;
    world.label_namespace(&world.namespace, json!({"composio": "shop"})).await;
    world.poke("store").await;
    world.ready("store").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_roles_too_a_namespace_that_is_made_again_does_not_inherit_a_key() {
    let mut world = World::without_operator().await;
    start(&mut world).await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let key = world.claims().await.key("shop").map(ToOwned::to_owned);
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", PATIENCE, async || {
        match namespaces.get_opt(&world.namespace).await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(namespace) => Err(format!("{:?}", namespace.status)),
        }
    })
    .await;
    create_namespace(&world, &world.namespace).await;
    granted(&world, &world.namespace).await;
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "RebindDenied").await;
    assert_eq!(world.secrets().get_opt("shop").await.unwrap().map(|secret| secret.name_any()), None);
    assert_eq!(world.claims().await.key("shop").map(ToOwned::to_owned), key);
    let grants = json!({"grants": [{"projectName": "shop", "namespace": world.namespace}]});
    let organization_key = world.organization.key.clone();
    world.add_organization("default", &organization_key, grants).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_get_its_namespace_nothing_is_made_and_what_is_there_goes_on() {
    let mut world = World::without_operator().await;
    let restricted: Api<Namespace> = Api::all(start(&mut world).await);
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let api: Api<Role> = Api::namespaced(world.client.clone(), &world.namespace);
    let role = api.get("composio-operator-projects").await.unwrap();
    let rules = role.rules.clone().unwrap();
    let kept: Vec<_> =
        rules.iter().filter(|rule| rule.resources != Some(vec!["namespaces".into()])).collect();
    assert_eq!(kept.len() + 1, rules.len());
    let set = async |rules: serde_json::Value, is_permitted: bool| {
        let patch = Patch::Merge(json!({"rules": rules}));
        api.patch("composio-operator-projects", &PatchParams::default(), &patch).await.unwrap();
        eventually("the API server knows the rights", PATIENCE, async || {
            let is_refused = is_forbidden(restricted.get(&world.namespace).await);
            (is_refused != is_permitted).then_some(()).ok_or_else(|| format!("refused: {is_refused}"))
        })
        .await;
    };
    set(json!(kept), false).await;
    let mark = world.control.mark();
    world.apply("new", json!({})).await;
    let object = world.reaches(&world.namespace, "new", "Stalled", "True", "NamespaceNotAllowed").await;
    let message = object.status.unwrap().conditions[0].message.clone();
    assert!(message.contains("the operator has no right to get the Namespace"), "{message}");
    assert!(!message.contains(&world.system), "a tenant is told where the operator is: {message}");
    assert!(world.claims().await.of("new").is_none() && world.calls_since(mark).is_empty());
    world.apply("shop", json!({"secret": {"template": {"more": "{projectName}"}}})).await;
    world.ready("shop").await;
    assert_eq!(world.entry("shop", "more").await.as_deref(), Some("shop"));
    // Labels cannot be read either.
    let key = world.organization.key.clone();
    let selector = json!({"namespaceSelector": {"matchLabels": {"composio": "shop"}}});
    world.add_organization("default", &key, selector).await;
    world.reaches(&world.namespace, "shop", "Stalled", "True", "NamespaceNotAllowed").await;
    set(json!(rules), true).await;
    world.add_organization("default", &key, json!({})).await;
    world.poke("new").await;
    world.ready("new").await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_move_the_claims_of_a_namespace_that_may_not_be_read_need_a_grant() {
    let mut world = World::start().await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let key = world.entry("shop", "COMPOSIO_API_KEY").await;
    move_world(&mut world, true, |_| true).await;
    let organization_key = world.organization.key.clone();
    world.add_organization("default", &organization_key, json!({})).await;
    let other = format!("{}-other", world.namespace);
    create_namespace(&world, &other).await;
    start_watching(&mut world, &other).await;
    let moved = held(&world, "default", "LedgerMoved", 1).await;
    confirm(&world, "default", &moved.token).await;
    world.organization_ready("default").await;
    world.stop_operator().await;
    start(&mut world).await;
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "RebindDenied").await;
    let grants = json!({"grants": [{"projectName": "shop", "namespace": world.namespace}]});
    world.add_organization("default", &organization_key, grants).await;
    world.ready("shop").await;
    assert_eq!(world.entry("shop", "COMPOSIO_API_KEY").await, key);
    world.finish(&[]).await;
}
