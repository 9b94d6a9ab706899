//! The operator with exactly the rights of the chart, as a ServiceAccount with a real token: every write that it knows of is
//! made once. What the chart gives to people is in `people`.
#![expect(
    clippy::expect_used,
    reason = "a test ends where something is not as expected, in the functions that tests share too"
)]

mod explained;
mod people;
mod rights;

use std::time::Duration;

use composio_operator::crd::ComposioOrganization;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::chart::RELEASE;
use testbed::controlplane::client_for;
use testbed::emulator::ThirdPartyProject;
use testbed::eventually::eventually;
use testbed::proxy::{Action, ApiProxy, Gate, Match};
use testbed::world::{PATIENCE, World};
use tokio::sync::Mutex;

use crate::rights::Used;

/// An operator for the whole cluster looks after the projects of every world: one at a time, and nothing is left.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A world whose operator manages every namespace, with exactly these rights.
async fn cluster_wide() -> World {
    let mut world = World::without_operator().await;
    let restricted = world.granted(&[]).await;
    world.lead_by_lease();
    world.watch_everything();
    world.start_operator_with(restricted).await;
    world.organization_ready("default").await;
    world
}

/// The same with what it asks the API server for.
async fn watched() -> (World, Used) {
    let mut world = World::without_operator().await;
    world.superseded_retention = Duration::from_secs(1);
    world.granted(&[]).await;
    let account = world.control_plane.service_account_kubeconfig(&world.system, RELEASE).await;
    let proxy = ApiProxy::start(account.expect("a token")).await.expect("a proxy");
    let restricted = client_for(proxy.kubeconfig().expect("a kubeconfig")).await.expect("a client");
    let used = Used::follow(proxy, &world.system);
    world.lead_by_lease();
    world.watch_everything();
    world.start_operator_with(restricted).await;
    world.organization_ready("default").await;
    (world, used)
}

/// Nothing is left for the next one.
async fn finish(mut world: World, foreign: &[&str]) {
    for project in world.projects().list(&ListParams::default()).await.expect("a list") {
        world.delete(&project.name_any()).await;
    }
    world.stop_operator().await;
    world.finish(foreign).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_the_chart_are_enough_for_everything_that_the_operator_does_and_none_is_more() {
    let _alone = ALONE.lock().await;
    let (world, used) = watched().await;

    // Claim, call, claim, Secret, status, Event; settings by PATCH.
    world.apply("shop", json!({"settings": {"displayName": "Shop"}})).await;
    world.ready("shop").await;
    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    eventually("the Event is there", PATIENCE, async || {
        let events = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let is_there = events.items.iter().any(|event| event.reason.as_deref() == Some("Reconciled"));
        is_there.then_some(()).ok_or_else(|| format!("there are {}", events.items.len()))
    })
    .await;

    // An update of the Secret.
    world.apply("shop", json!({"secret": {"template": {"more": "{projectName}"}}})).await;
    eventually("the Secret has the further entry", PATIENCE, async || {
        world.entry("shop", "more").await.ok_or_else(|| "it has not".to_owned())
    })
    .await;

    // A deleted Secret comes back: the watch on Secrets.
    let secrets = world.secrets();
    secrets.delete("shop", &DeleteParams::default()).await.unwrap();
    eventually("the Secret is back", PATIENCE, async || {
        world.entry("shop", "more").await.ok_or_else(|| "it is not".to_owned())
    })
    .await;

    // A Secret whose name has changed is removed.
    world.apply("shop", json!({"secret": {"name": "renamed"}})).await;
    eventually("the old Secret is gone", PATIENCE, async || {
        match secrets.get_opt("shop").await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(_) => Err("it is there".to_owned()),
        }
    })
    .await;

    // Finalizers of the project and of its organization, owner reference, tombstone; and all of it taken back.
    for name in ["short-lived", "kept"] {
        world.apply(name, json!({"deletionPolicy": "Delete"})).await;
        world.ready(name).await;
    }
    world.delete("short-lived").await;
    world.apply("kept", json!({"deletionPolicy": "Retain"})).await;
    world.ready("kept").await;
    assert_eq!(secrets.get("kept").await.unwrap().owner_references(), []);
    world.delete("kept").await;

    // A claim that nothing came of is removed with its resource.
    let theirs = world.control.create_project(&world.organization.id, ThirdPartyProject::named("taken"));
    world.apply("taken", json!({})).await;
    world.not_ready("taken", "NameTaken").await;
    assert!(world.claims().await.of("taken").is_some());
    world.delete("taken").await;
    eventually("the claim is gone", PATIENCE, async || match world.claims().await.of("taken") {
        None => Ok(()),
        Some(claim) => Err(format!("it is {}", claim["phase"])),
    })
    .await;

    // The right to read ConfigMaps: what is missing is not what is forbidden.
    let endpoint = json!({"url": "https://composio.example", "caBundleRef": {"name": "missing"}});
    let key = world.organization.key.clone();
    world.add_organization("second", &key, json!({"endpoint": endpoint})).await;
    world.organization_reaches("second", "False", "EndpointInvalid").await;

    // An organization where it does not count.
    let strays: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.namespace);
    let stray = json!({
        "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioOrganization", "metadata": {"name": "stray"},
        "spec": {"apiKeySecretRef": {"name": "stray-key"}}
    });
    world.apply_to::<ComposioOrganization>(&world.namespace, &stray).await.unwrap();
    let granted = rights::granted(&world.system);
    eventually("each right is used", PATIENCE, async || {
        let used = used.all();
        let left: Vec<_> = granted.difference(&used).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("not used: {left:#?}")) }
    })
    .await;
    let missing: Vec<_> = used.all().difference(&granted).cloned().collect();
    assert_eq!(missing, [], "the API server has refused these, and nobody has noticed");
    strays.delete("stray", &DeleteParams::default()).await.unwrap();
    finish(world, &[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_outside_the_operators_namespace_is_told_so_once() {
    let _alone = ALONE.lock().await;
    let mut world = cluster_wide().await;
    let strays: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.namespace);
    let stray = |suspend: bool| {
        json!({
            "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioOrganization", "metadata": {"name": "stray"},
            "spec": {"apiKeySecretRef": {"name": "stray-key"}, "suspend": suspend}
        })
    };
    let told = async |generation: i64| {
        eventually("the organization is told where it belongs", PATIENCE, async || {
            let object = strays.get("stray").await.map_err(|error| error.to_string())?;
            let status = object.status.clone().unwrap_or_default();
            let is = |kind: &str| {
                let found = status.conditions.iter().find(|condition| condition.type_ == kind);
                found.filter(|found| found.reason == "WrongNamespace").map(|found| found.status.clone())
            };
            let is_met = is("Ready").as_deref() == Some("False") && is("Stalled").as_deref() == Some("True");
            let is_current = status.observed_generation == Some(generation);
            if is_met && is_current { Ok(object) } else { Err(format!("{status:?}")) }
        })
        .await
    };
    world.apply_to::<ComposioOrganization>(&world.namespace, &stray(false)).await.unwrap();
    let message = told(1).await.status.unwrap().conditions[0].message.clone();
    assert!(!message.contains(&world.system), "a tenant is told where the operator is: {message}");
    world.apply_to::<ComposioOrganization>(&world.namespace, &stray(true)).await.unwrap();
    let version = told(2).await.resource_version();
    // A restart has nothing to say; that it has looked, a later one shows. What another operator reports on is its own.
    world.stop_operator().await;
    let mut theirs = stray(false);
    theirs["metadata"]["name"] = json!("theirs");
    world.apply_to::<ComposioOrganization>(&world.namespace, &theirs).await.unwrap();
    let status = json!({"status": {"observedGeneration": 1, "conditions": [{
        "type": "Ready", "status": "True", "reason": "KeyAccepted", "message": "by another operator",
        "lastTransitionTime": "2026-01-01T00:00:00Z"
    }]}});
    let theirs = strays.patch_status("theirs", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let restricted = world.service_account("composio-operator").await;
    world.start_operator_with(restricted).await;
    let mut later = stray(false);
    later["metadata"]["name"] = json!("stray-too");
    world.apply_to::<ComposioOrganization>(&world.namespace, &later).await.unwrap();
    eventually("the later one is told", PATIENCE, async || {
        let object = strays.get("stray-too").await.map_err(|error| error.to_string())?;
        let conditions = object.status.unwrap_or_default().conditions;
        if conditions.is_empty() { Err("it is not".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(strays.get("stray").await.unwrap().resource_version(), version);
    assert_eq!(strays.get("theirs").await.unwrap().resource_version(), theirs.resource_version());
    for name in ["stray", "stray-too", "theirs"] {
        strays.delete(name, &DeleteParams::default()).await.unwrap();
    }
    finish(world, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_of_namespaces_are_watched_and_their_projects_looked_at_when_they_change() {
    let _alone = ALONE.lock().await;
    let mut world = cluster_wide().await;
    let key = world.organization.key.clone();
    let selector = json!({"namespaceSelector": {"matchLabels": {"composio": "shop"}}});
    world.add_organization("default", &key, selector).await;
    world.apply("shop", json!({})).await;
    let (namespace, refused) = (world.namespace.clone(), "NamespaceNotAllowed");
    world.reaches(&namespace, "shop", "Stalled", "True", refused).await;
    // Nobody asks for a look.
    world.label_namespace(&namespace, json!({"composio": "shop"})).await;
    world.ready("shop").await;
    world.label_namespace(&namespace, json!({"composio": "other"})).await;
    world.reaches(&namespace, "shop", "Stalled", "True", refused).await;
    world.label_namespace(&namespace, json!({"composio": "shop", "more": "labels"})).await;
    let version = world.ready("shop").await.resource_version();
    // A restart takes nobody's Ready away until the labels are known.
    world.stop_operator().await;
    let restricted = world.service_account("composio-operator").await;
    world.start_operator_with(restricted).await;
    world.apply("later", json!({})).await;
    world.ready("later").await;
    assert_eq!(world.projects().get("shop").await.unwrap().resource_version(), version);
    finish(world, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_is_gone_counts_for_a_new_project_although_the_watch_does_not_tell_of_it() {
    let _alone = ALONE.lock().await;
    let mut world = World::without_operator().await;
    let key = world.organization.key.clone();
    let selector = json!({"namespaceSelector": {"matchLabels": {"composio": "shop"}}});
    world.add_organization("default", &key, selector).await;
    world.label_namespace(&world.namespace, json!({"composio": "shop"})).await;
    let proxy = ApiProxy::start(world.control_plane.kubeconfig()).await.unwrap();
    world.watch_everything();
    world.start_operator_with(client_for(proxy.kubeconfig().unwrap()).await.unwrap()).await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let gate = Gate::new();
    proxy.on(Match::any().path(|path| path == "/api/v1/namespaces"), Action::hold_before(&gate));
    proxy.cut_connections();
    gate.reached().await;
    world.label_namespace(&world.namespace, json!({"composio": null})).await;
    let mark = world.control.mark();
    world.apply("new", json!({})).await;
    world.reaches(&world.namespace, "new", "Stalled", "True", "NamespaceNotAllowed").await;
    assert!(world.calls_since(mark).is_empty() && world.claims().await.of("new").is_none());
    world.poke("shop").await;
    world.ready("shop").await;
    gate.open();
    world.reaches(&world.namespace, "shop", "Stalled", "True", "NamespaceNotAllowed").await;
    finish(world, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_without_these_rights_is_refused() {
    // What the other test proves rests on this.
    let world = World::without_operator().await;
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "powerless", "namespace": world.system}
    });
    world.apply_any(serde_json::from_value(account).unwrap()).await;
    let powerless = world.service_account("powerless").await;
    let secrets: Api<Secret> = Api::namespaced(powerless, &world.system);
    let refused = secrets.list(&ListParams::default()).await;
    assert!(refused.is_err_and(|error| matches!(error, kube::Error::Api(status) if status.is_forbidden())));
    world.finish(&[]).await;
}
