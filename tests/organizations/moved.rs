//! A ledger that was restored or copied changes nothing before an administrator says so, once per organization.

use std::collections::BTreeMap;

use composio_operator::crd::RECONCILE_ANNOTATION;
use composio_operator::process::Operator;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use testbed::emulator::{Operation, OrganizationOptions};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};
use tokio_util::sync::CancellationToken;

use crate::scene::{
    confirm, copy_as_it_is, copy_ledger, create_namespace, header, held, is_no_header, looked_at, move_world,
    mutations, nothing_held, records,
};

const SHOPS: [&str; 3] = ["shop", "shop-2", "shop-3"];

/// A world with three projects; returns their keys.
async fn with_shops() -> (World, Vec<String>) {
    let world = World::start().await;
    let mut keys = Vec::new();
    for name in SHOPS {
        world.apply(name, json!({"deletionPolicy": "Delete"})).await;
    }
    for name in SHOPS {
        world.ready(name).await;
        keys.push(world.entry(name, "COMPOSIO_API_KEY").await.unwrap());
    }
    (world, keys)
}

async fn has_the_same_keys(world: &World, keys: &[String]) {
    for (name, key) in SHOPS.iter().zip(keys) {
        world.ready(name).await;
        assert_eq!(world.entry(name, "COMPOSIO_API_KEY").await.as_ref(), Some(key), "{name}");
    }
}

/// All Secrets of the ledger with their versions.
async fn versions(world: &World) -> BTreeMap<String, Option<String>> {
    let secrets = records(world).list(&ListParams::default()).await.unwrap();
    let version =
        |secret: &k8s_openapi::api::core::v1::Secret| (secret.name_any(), secret.resource_version());
    secrets.iter().map(version).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_ledger_changes_nothing_until_it_is_confirmed_and_then_every_project_has_its_key() {
    let (mut world, keys) = with_shops().await;
    move_world(&mut world, true, |_| true).await;
    let (before, records_before) = (mutations(&world), versions(&world).await);
    let key = world.organization.key.clone();
    world.add_organization("default", &key, json!({})).await;
    world.start_operator().await;
    world.organization_reaches("default", "False", "LedgerMoved").await;
    for name in SHOPS {
        world.apply(name, json!({})).await;
    }
    world.apply("new", json!({})).await;
    for name in SHOPS {
        world.not_ready(name, "OrganizationNotReady").await;
    }
    world.not_ready("new", "OrganizationNotReady").await;
    let moved = held(&world, "default", "LedgerMoved", 3).await;
    confirm(&world, "default", "0123456789ab").await;
    looked_at(&world, "default").await;
    assert_eq!(held(&world, "default", "LedgerMoved", 3).await, moved, "another token was taken");
    let mut records_now = versions(&world).await;
    // Applied anew, by the test.
    records_now.insert("default-key".to_owned(), records_before["default-key"].clone());
    assert_eq!(records_now, records_before, "the ledger was written");
    assert_eq!(mutations(&world), before);

    world.projects().delete("new", &DeleteParams::default()).await.unwrap();
    confirm(&world, "default", &moved.token).await;
    has_the_same_keys(&world, &keys).await;
    nothing_held(&world, "default").await;
    assert_eq!(mutations(&world), before, "something was created or regenerated");

    // Confirmed once is confirmed.
    world.stop_operator().await;
    world.start_operator().await;
    world.organization_ready("default").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_with_productions_backup_changes_nothing_while_production_runs() {
    let (world, keys) = with_shops().await;
    let (system, namespace) = (format!("{}-drill", world.system), format!("{}-drill", world.namespace));
    create_namespace(&world, &system).await;
    create_namespace(&world, &namespace).await;
    copy_ledger(&world, &system, (&world.namespace, &namespace), |_| true).await;
    let mut settings = world.settings();
    settings.namespace.clone_from(&system);
    settings.watch_namespaces = vec![namespace.clone()];
    let stop = CancellationToken::new();
    let drill = Operator::new(settings, world.client.clone(), stop.clone()).await.unwrap();
    let drill = tokio::spawn(drill.run());
    let organization = json!({
        "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioOrganization", "metadata": {"name": "default"},
        "spec": {"apiKeySecretRef": {"name": "default-key"}, "endpoint": {"url": world.emulator.url()}}
    });
    world.apply_to::<composio_operator::crd::ComposioOrganization>(&system, &organization).await.unwrap();
    let before = mutations(&world);
    for name in SHOPS {
        world.apply_in(&namespace, name, json!({"deletionPolicy": "Delete"})).await;
    }
    for name in SHOPS {
        world.reaches(&namespace, name, "Ready", "False", "OrganizationNotReady").await;
    }
    // Deleting them in the drill deletes nothing of production.
    let projects: kube::Api<composio_operator::crd::ComposioProject> =
        kube::Api::namespaced(world.client.clone(), &namespace);
    for name in SHOPS {
        projects.delete(name, &DeleteParams::default()).await.unwrap();
    }
    eventually("the drill's resources are gone", PATIENCE, async || {
        let left = projects.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        if left.items.is_empty() { Ok(()) } else { Err(format!("{} are left", left.items.len())) }
    })
    .await;
    assert_eq!(mutations(&world), before, "the drill has changed something");
    world.apply("later", json!({})).await;
    world.ready("later").await;
    has_the_same_keys(&world, &keys).await;
    stop.cancel();
    drill.await.unwrap().unwrap();
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_were_copied_without_their_header_wait_for_a_confirmation_too() {
    let (mut world, _) = with_shops().await;
    move_world(&mut world, true, is_no_header).await;
    let before = mutations(&world);
    let key = world.organization.key.clone();
    world.add_organization("default", &key, json!({})).await;
    world.start_operator().await;
    world.organization_reaches("default", "False", "LedgerMoved").await;
    let token = held(&world, "default", "LedgerMoved", 3).await.token;
    confirm(&world, "default", &token).await;
    for name in SHOPS {
        world.apply(name, json!({})).await;
        world.ready(name).await;
    }
    assert_eq!(mutations(&world), before, "something was created or regenerated");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_organization_of_a_moved_ledger_is_confirmed_by_itself() {
    let mut world = World::start().await;
    let second = world.control.add_organization(OrganizationOptions::named("second"));
    world.add_organization("second", &second.key, json!({})).await;
    world.apply("shop", json!({})).await;
    world.apply("shop-2", json!({"organizationRef": {"name": "second"}})).await;
    world.ready("shop").await;
    world.ready("shop-2").await;
    move_world(&mut world, true, |_| true).await;
    let key = world.organization.key.clone();
    world.add_organization("default", &key, json!({})).await;
    world.add_organization("second", &second.key, json!({})).await;
    world.start_operator().await;
    let first = held(&world, "default", "LedgerMoved", 1).await.token;
    let other = held(&world, "second", "LedgerMoved", 1).await.token;
    assert_ne!(first, other);
    confirm(&world, "second", &first).await;
    confirm(&world, "default", &first).await;
    world.organization_ready("default").await;
    world.organization_reaches("second", "False", "LedgerMoved").await;
    let (_, uid) = header(&world).await;
    assert_ne!(header(&world).await.0["uid"], uid, "the ledger belongs here before all have been confirmed");
    confirm(&world, "second", &other).await;
    world.organization_ready("second").await;
    assert_eq!(header(&world).await.0["uid"], uid);
    for (name, spec) in [("shop", json!({})), ("shop-2", json!({"organizationRef": {"name": "second"}}))] {
        world.apply(name, spec).await;
        world.ready(name).await;
    }
    assert_eq!(world.control.count(&second.id, Operation::Create), 1);
    assert_eq!(mutations(&world), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_comes_after_the_confirmation_gets_its_projects_by_name_only() {
    let (mut world, _) = with_shops().await;
    move_world(&mut world, false, |_| true).await;
    let before = mutations(&world);
    let key = world.organization.key.clone();
    world.add_organization("default", &key, json!({})).await;
    world.start_operator().await;
    let token = held(&world, "default", "LedgerMoved", 3).await.token;
    confirm(&world, "default", &token).await;
    world.organization_ready("default").await;
    create_namespace(&world, &world.namespace).await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    world.apply("another", json!({"projectName": "shop-2"})).await;
    world.not_ready("another", "RebindDenied").await;
    world.apply("shop-2", json!({})).await;
    world.ready("shop-2").await;
    assert_eq!(mutations(&world), before, "something was created or regenerated");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_moved_ledger_is_not_confirmed_no_secret_is_written() {
    let (mut world, keys) = with_shops().await;
    world.stop_operator().await;
    let (mut moved, _) = header(&world).await;
    moved["uid"] = json!("11111111-2222-3333-4444-555555555555");
    let patch = json!({"stringData": {"header.json": moved.to_string()}});
    records(&world).patch("composio-ledger", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    world.start_operator().await;
    world.organization_reaches("default", "False", "LedgerMoved").await;
    let name = SHOPS[0];
    world.secrets().delete(name, &DeleteParams::default()).await.unwrap();
    world.poke(name).await;
    let shop = world.projects();
    eventually("the project was looked at", PATIENCE, async || {
        let shop = shop.get(name).await.map_err(|error| error.to_string())?;
        let request = shop.annotations().get(RECONCILE_ANNOTATION).cloned();
        let handled = shop.status.and_then(|status| status.last_handled_reconcile_at);
        if request == handled { Ok(()) } else { Err(format!("{handled:?} was handled")) }
    })
    .await;
    assert!(world.secrets().get_opt(name).await.unwrap().is_none(), "a Secret was written");
    let before = mutations(&world);
    let token = held(&world, "default", "LedgerMoved", 3).await.token;
    confirm(&world, "default", &token).await;
    world.organization_ready("default").await;
    has_the_same_keys(&world, &keys).await;
    assert_eq!(mutations(&world), before);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_of_the_previous_release_is_completed_without_a_word() {
    let (mut world, keys) = with_shops().await;
    world.stop_operator().await;
    let earlier = json!({"data": {"header.json": null}});
    records(&world).patch("composio-ledger", &PatchParams::default(), &Patch::Merge(earlier)).await.unwrap();
    let before = mutations(&world);
    world.start_operator().await;
    looked_at(&world, "default").await;
    world.organization_ready("default").await;
    let (header, uid) = header(&world).await;
    assert_eq!(header["uid"], uid);
    assert_eq!(header["organizations"]["default"]["id"], world.organization.id.as_str());
    has_the_same_keys(&world, &keys).await;
    assert_eq!(mutations(&world), before);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_deleted_while_the_move_is_not_confirmed_comes_back_after_it() {
    let (mut world, keys) = with_shops().await;
    world.stop_operator().await;
    // Another namespace of the operator in the same cluster: the resources are still the owners of their claims.
    let system = format!("{}-copy", world.system);
    create_namespace(&world, &system).await;
    copy_as_it_is(&world, &system).await;
    world.system = system;
    let (before, organization_key) = (mutations(&world), world.organization.key.clone());
    world.add_organization("default", &organization_key, json!({})).await;
    world.secrets().delete("shop", &DeleteParams::default()).await.unwrap();
    world.start_operator().await;
    let token = held(&world, "default", "LedgerMoved", 3).await.token;
    world.secrets().delete("shop-2", &DeleteParams::default()).await.unwrap();
    for name in &SHOPS[..2] {
        world.not_ready(name, "OrganizationNotReady").await;
    }
    looked_at(&world, "default").await;
    for name in &SHOPS[..2] {
        assert!(world.secrets().get_opt(name).await.unwrap().is_none(), "{name} was written");
    }
    confirm(&world, "default", &token).await;
    has_the_same_keys(&world, &keys).await;
    assert_eq!(mutations(&world), before, "something was created or regenerated");
    world.finish(&[]).await;
}
