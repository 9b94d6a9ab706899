//! A published Secret that was deleted, edited or relabelled comes back with the same key: at once, without a call, and
//! also where the watch or the organization was down. Nobody asks for a look here: only the watch tells.

use axum::http::StatusCode;
use composio_operator::crd::{ComposioOrganization, ComposioProject};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::controlplane::client_for;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::proxy::{Action, ApiProxy, Match};
use testbed::world::{PATIENCE, World};

use crate::scene::{KEY, behind_a_proxy, delete, edit, first, holds, published, ready, recorded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_secret_comes_back_with_the_same_key_and_without_a_call() {
    let (world, key) = published().await;
    let (mark, before) = (world.control.mark(), world.secrets().get("shop").await.unwrap());
    for count in 1..=3 {
        // No pass is due by itself any more, which could be faster than the watch.
        let uid = world.secrets().get("shop").await.unwrap().uid();
        eventually("the claim knows the Secret", PATIENCE, async || {
            let claims = world.claims().await;
            let known = claims.of("shop").and_then(|claim| claim["published"]["uid"].as_str());
            if known == uid.as_deref() { Ok(()) } else { Err(format!("it knows {known:?}")) }
        })
        .await;
        delete(&world, "shop").await;
        holds(&world, "shop", &key).await;
        let measured = format!("composio_operator_secret_restore_seconds_count {count}\n");
        eventually("the restoration is measured", PATIENCE, async || {
            let page = world.metrics().await;
            if page.contains(&measured) { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await;
    }
    let after = world.secrets().get("shop").await.unwrap();
    assert_ne!(after.uid(), before.uid());
    assert_eq!((after.labels(), &after.data), (before.labels(), &before.data));
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    assert_eq!(world.control.count(&world.organization.id, Operation::Regenerate), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_does_not_flap_while_a_deleted_secret_is_restored() {
    let (world, proxy, key) = behind_a_proxy().await;
    world.poke("shop").await;
    recorded(&world, "shop", &[]).await;
    let handled = async || {
        let shop = world.ready("shop").await;
        let asked = shop.annotations().get("composio.dev/reconcile-requested-at").cloned();
        let handled = shop.status.as_ref().and_then(|status| status.last_handled_reconcile_at.clone());
        if asked == handled {
            Ok(shop)
        } else {
            Err("the look that was asked for is not in the status".to_owned())
        }
    };
    let before = eventually("the status is as it stays", PATIENCE, handled).await;
    let writes = proxy.journal().len();
    delete(&world, "shop").await;
    let uid = holds(&world, "shop", &key).await.uid();
    eventually("the claim knows the restored Secret", PATIENCE, async || {
        let claims = world.claims().await;
        let published = claims.of("shop").and_then(|claim| claim["published"]["uid"].as_str());
        if published == uid.as_deref() { Ok(()) } else { Err(format!("it knows {published:?}")) }
    })
    .await;
    let after = world.ready("shop").await;
    assert_eq!(after.resource_version(), before.resource_version(), "the status was written");
    let journal = proxy.journal();
    let status =
        journal[writes..].iter().filter(|write| write.path.ends_with("composioprojects/shop/status"));
    let status = status.count();
    assert_eq!(status, 0, "writes of the status");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_key_is_put_back_also_right_after_the_creation() {
    let world = World::start().await;
    first(&world).await;
    let key = ready(&world).await;
    let uid = world.secrets().get("shop").await.unwrap().uid();
    assert_eq!(
        world.claims().await.of("shop").unwrap()["published"],
        json!(null),
        "known before it is recorded"
    );
    edit(&world, "shop", json!({"stringData": {KEY: "wrong", "COMPOSIO_PROJECT_ID": "pr_another"}})).await;
    let restored = holds(&world, "shop", &key).await;
    assert_eq!(restored.uid(), uid);
    let claims = world.claims().await;
    let id = claims.of("shop").unwrap()["projectId"].as_str();
    assert_eq!(world.entry("shop", "COMPOSIO_PROJECT_ID").await.as_deref(), id);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_that_were_changed_or_taken_away_are_put_back() {
    let (world, _) = published().await;
    for change in [
        json!({"composio.dev/project": null}),
        json!({"composio.dev/project": "another"}),
        json!({"app.kubernetes.io/managed-by": "helm"}),
    ] {
        edit(&world, "shop", json!({"metadata": {"labels": change}})).await;
        eventually("the labels are back", PATIENCE, async || {
            let secret = world.secrets().get("shop").await.map_err(|error| error.to_string())?;
            let labels = secret.labels();
            let is_so = labels.get("composio.dev/project").is_some_and(|label| label == "shop")
                && labels
                    .get("app.kubernetes.io/managed-by")
                    .is_some_and(|label| label == "composio-operator");
            if is_so { Ok(()) } else { Err(format!("they are {labels:?}")) }
        })
        .await;
    }
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_to_secrets_while_the_watch_was_down_is_put_right_afterwards() {
    let mut world = World::without_operator().await;
    let proxy = ApiProxy::start(world.control_plane.kubeconfig()).await.unwrap();
    let secrets = format!("/{}/secrets", world.namespace);
    let watch = Match::any()
        .when(move |request| request.path.ends_with(&secrets) && request.query.contains("labelSelector="));
    let refusal = Action::refuse(StatusCode::FORBIDDEN, "Forbidden", "secrets is forbidden");
    let refused = proxy.on(watch, refusal);
    let client = client_for(proxy.kubeconfig().unwrap()).await.unwrap();
    world.start_operator_with(client).await;
    world.organization_ready("default").await;
    let key = ready(&world).await;
    world.apply("other", json!({})).await;
    world.ready("other").await;
    let other = world.entry("other", KEY).await.unwrap();
    refused.hit().await;
    // Without the watch a look that is asked for restores it.
    delete(&world, "shop").await;
    world.poke("shop").await;
    holds(&world, "shop", &key).await;
    delete(&world, "shop").await;
    edit(&world, "other", json!({"stringData": {KEY: "wrong"}})).await;
    refused.remove();
    holds(&world, "shop", &key).await;
    holds(&world, "other", &other).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_was_deleted_while_the_operator_was_down_is_restored_at_its_start() {
    let mut world = World::start().await;
    let key = ready(&world).await;
    world.stop_operator().await;
    delete(&world, "shop").await;
    let mark = world.control.mark();
    world.start_operator().await;
    holds(&world, "shop", &key).await;
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_restored_although_the_organization_key_is_revoked_or_its_organization_is_gone() {
    let (world, key) = published().await;
    world.control.revoke_organization_key(&world.organization.key);
    world.set_organization_key("default", "oak_revoked-for-this-test00").await;
    world.organization_reaches("default", "False", "KeyInvalid").await;
    delete(&world, "shop").await;
    holds(&world, "shop", &key).await;
    let organizations: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
    organizations.delete("default", &DeleteParams::default()).await.unwrap();
    world.poke("shop").await;
    world.not_ready("shop", "OrganizationNotFound").await;
    delete(&world, "shop").await;
    holds(&world, "shop", &key).await;
    assert_eq!(world.control.count(&world.organization.id, Operation::Regenerate), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_suspended_nothing_is_restored_and_afterwards_everything() {
    let (world, key) = published().await;
    world.apply("shop", json!({"suspend": true})).await;
    world.reaches(&world.namespace, "shop", "Ready", "True", "Suspended").await;
    delete(&world, "shop").await;
    world.poke("shop").await;
    // The Secret is gone, so that the last Ready does not count any more: then the pass has seen it.
    world.not_ready("shop", "Suspended").await;
    assert!(world.secrets().get_opt("shop").await.unwrap().is_none());
    world.apply("shop", json!({"suspend": false})).await;
    holds(&world, "shop", &key).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_add_to_a_secret_causes_a_look_and_no_write() {
    let (world, proxy, _) = behind_a_proxy().await;
    let (before, passes) = (proxy.journal().len(), passes(&world).await);
    edit(&world, "shop", json!({"metadata": {"labels": {"theirs": "x"}}})).await;
    eventually("the watch has told of it", PATIENCE, async || match self::passes(&world).await {
        now if now > passes => Ok(()),
        now => Err(format!("{now} passes")),
    })
    .await;
    let secrets = |from: usize| {
        proxy.journal()[from..].iter().filter(|write| write.path.ends_with("/secrets/shop")).count()
    };
    assert_eq!(secrets(before), 0, "writes of the Secret");
    world.finish(&[]).await;
}

/// Passes over ComposioProjects that came to their end.
async fn passes(world: &World) -> u64 {
    let page = world.metrics().await;
    let start = r#"composio_operator_reconciles_total{kind="ComposioProject",outcome="Done"} "#;
    let line = page.lines().find_map(|line| line.strip_prefix(start));
    line.and_then(|count| count.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_takes_one_pass_and_its_own_write_no_other() {
    let world = World::start().await;
    first(&world).await;
    let before = passes(&world).await;
    for name in ["one", "two", "three"] {
        world.apply(name, json!({})).await;
        world.ready(name).await;
    }
    // Whoever is woken by its own write would come before this one.
    world.poke("three").await;
    eventually("the pass that was asked for is done", PATIENCE, async || match passes(&world).await {
        now if now >= before + 4 => Ok(()),
        now => Err(format!("{now} passes")),
    })
    .await;
    assert_eq!(passes(&world).await, before + 4, "passes");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_belongs_to_another_namespace_restores_nothing() {
    let mut world = World::without_operator().await;
    let other = world.add_namespace().await;
    world.start_operator().await;
    world.organization_ready("default").await;
    let key = ready(&world).await;
    world.apply_in(&other, "shop", json!({})).await;
    world.reaches(&other, "shop", "Ready", "False", "ClaimHeld").await;
    let theirs: Api<Secret> = Api::namespaced(world.client.clone(), &other);
    let bait = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop", "labels": {"composio.dev/project": "shop"}}});
    world.apply_to::<Secret>(&other, &bait).await.unwrap();
    let params = PatchParams::default();
    let forged = json!({"status": {"project": {"name": "shop"}}});
    let projects: Api<ComposioProject> = Api::namespaced(world.client.clone(), &other);
    projects.patch_status("shop", &params, &Patch::Merge(forged)).await.unwrap();
    theirs.delete("shop", &DeleteParams::default()).await.unwrap();
    world.control.revoke_organization_key(&world.organization.key);
    world.set_organization_key("default", "oak_revoked-for-this-test00").await;
    world.organization_reaches("default", "False", "KeyInvalid").await;
    let annotation = json!({"metadata": {"annotations": {"composio.dev/reconcile-requested-at": "now"}}});
    projects.patch("shop", &params, &Patch::Merge(annotation)).await.unwrap();
    world.reaches(&other, "shop", "Ready", "False", "OrganizationNotReady").await;
    assert!(theirs.get_opt("shop").await.unwrap().is_none(), "a key was given to another namespace");
    delete(&world, "shop").await;
    holds(&world, "shop", &key).await;
    world.finish(&[]).await;
}
