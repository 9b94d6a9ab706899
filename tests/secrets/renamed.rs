//! `spec.secret.name` changes: the new Secret is written, the old one stays for a while and is removed, if it is still ours.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Value, json};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::scene::{KEY, edit, gone, holds, published, ready, recorded};

/// A world whose operator removes superseded Secrets at once.
async fn impatient() -> (World, String) {
    let mut world = World::without_operator().await;
    world.superseded_retention = Duration::from_millis(1);
    world.start_operator().await;
    world.organization_ready("default").await;
    let key = ready(&world).await;
    (world, key)
}

fn named(name: &str) -> Value {
    json!({"secret": {"name": name}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_secret_is_published_under_its_new_name_and_the_old_one_stays_for_its_time() {
    let (world, key) = published().await;
    let before = world.secrets().get("shop").await.unwrap();
    for (name, old) in [("shop-2", vec!["shop"]), ("shop-3", vec!["shop", "shop-2"])] {
        world.apply("shop", named(name)).await;
        let shop = world.ready("shop").await;
        assert_eq!(shop.status.unwrap().binding.unwrap().name, name);
        holds(&world, name, &key).await;
        recorded(&world, name, &old).await;
    }
    assert_eq!(world.secrets().get("shop").await.unwrap(), before);
    holds(&world, "shop-2", &key).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_secrets_are_removed_when_their_time_is_over() {
    let (world, key) = impatient().await;
    world.apply("shop", named("shop-2")).await;
    gone(&world, "shop").await;
    world.apply("shop", named("shop-3")).await;
    gone(&world, "shop-2").await;
    holds(&world, "shop-3", &key).await;
    recorded(&world, "shop-3", &[]).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_named_again_within_its_time_is_published_again_and_not_removed() {
    let (world, key) = published().await;
    let before = world.secrets().get("shop").await.unwrap();
    world.apply("shop", named("shop-2")).await;
    recorded(&world, "shop-2", &["shop"]).await;
    // Whoever edited it meanwhile must not make it foreign.
    edit(&world, "shop", json!({"stringData": {KEY: "wrong"}})).await;
    world.apply("shop", named("shop")).await;
    recorded(&world, "shop", &["shop-2"]).await;
    assert_eq!(holds(&world, "shop", &key).await.uid(), before.uid());
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_secret_that_others_have_taken_over_or_made_again_is_left_to_them() {
    let mut world = World::without_operator().await;
    world.start_operator().await;
    world.organization_ready("default").await;
    let key = ready(&world).await;
    for (name, next) in [("shop", "made-again"), ("made-again", "unlabelled"), ("unlabelled", "now")] {
        world.apply("shop", named(next)).await;
        eventually("the claim knows the new name", PATIENCE, async || {
            let claims = world.claims().await;
            let name = claims.of("shop").map(|claim| claim["published"]["name"].clone()).unwrap_or_default();
            if name == next { Ok(()) } else { Err(format!("it is {name}")) }
        })
        .await;
        holds(&world, name, &key).await;
    }
    recorded(&world, "now", &["shop", "made-again", "unlabelled"]).await;
    // Another controller, another Secret, and a person who wants to keep it.
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}});
    let config = world.apply_to::<ConfigMap>(&world.namespace, &config).await.unwrap();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": config.uid(), "controller": true});
    edit(&world, "shop", json!({"metadata": {"ownerReferences": [owner]}})).await;
    edit(&world, "unlabelled", json!({"metadata": {"labels": {"composio.dev/project": null}}})).await;
    let labels = json!({"composio.dev/project": "shop"});
    let again =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "made-again", "labels": labels}});
    crate::scene::delete(&world, "made-again").await;
    world.apply_to::<k8s_openapi::api::core::v1::Secret>(&world.namespace, &again).await.unwrap();
    world.stop_operator().await;
    world.superseded_retention = Duration::from_millis(1);
    world.start_operator().await;
    recorded(&world, "now", &[]).await;
    for name in ["shop", "made-again", "unlabelled"] {
        assert!(world.secrets().get_opt(name).await.unwrap().is_some(), "{name} was removed");
    }
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_name_that_is_taken_keeps_the_old_secret_published() {
    let (world, key) = published().await;
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "taken"}, "stringData": {"precious": "x"}});
    world.apply_to::<k8s_openapi::api::core::v1::Secret>(&world.namespace, &foreign).await.unwrap();
    world.apply("shop", named("taken")).await;
    world.not_ready("shop", "SecretConflict").await;
    holds(&world, "shop", &key).await;
    recorded_or_unknown(&world).await;
    assert_eq!(world.entry("taken", "precious").await.as_deref(), Some("x"));
    assert_eq!(world.entry("taken", KEY).await, None);
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

/// The claim does not say that the old Secret was superseded.
async fn recorded_or_unknown(world: &World) {
    let claims = world.claims().await;
    let claim = claims.of("shop").unwrap();
    assert_eq!(claim.get("superseded"), None, "superseded without a successor");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_suspended_no_old_secret_is_removed() {
    let mut world = World::start().await;
    let key = ready(&world).await;
    world.apply("shop", named("shop-2")).await;
    recorded(&world, "shop-2", &["shop"]).await;
    world.apply("shop", json!({"secret": {"name": "shop-2"}, "suspend": true})).await;
    world.reaches(&world.namespace, "shop", "Ready", "True", "Suspended").await;
    world.stop_operator().await;
    world.superseded_retention = Duration::from_millis(1);
    world.start_operator().await;
    world.apply("other", json!({})).await;
    world.ready("other").await;
    holds(&world, "shop", &key).await;
    recorded(&world, "shop-2", &["shop"]).await;
    world.apply("shop", named("shop-2")).await;
    gone(&world, "shop").await;
    world.finish(&[]).await;
}
