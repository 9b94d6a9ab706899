//! A ledger that was lost, or restored from an older backup.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use super::{claim_of, claims, id, lose_claims, message, mutations, origin, permit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_key_a_lost_ledger_comes_back_from_the_published_secrets_without_a_mutation() {
    let mut world = World::start().await;
    for name in ["one", "two", "three"] {
        world.apply(name, json!({})).await;
    }
    let mut before = Vec::new();
    for name in ["one", "two", "three"] {
        let project = world.ready(name).await;
        before.push((name, id(&project), world.secrets().get(name).await.unwrap().resource_version()));
    }
    let sent = mutations(&world);
    world.stop_operator().await;
    lose_claims(&world).await;
    permit(&world, json!({"adoption": "WithKey"})).await;
    world.start_operator().await;
    for (name, before, version) in before {
        claim_of(&world, name).await;
        eventually("the status says so", PATIENCE, async || {
            let project = world.ready(name).await;
            let found = (id(&project), origin(&project));
            if found == (before.clone(), "Recovered".to_owned()) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        assert_eq!(
            world.secrets().get(name).await.unwrap().resource_version(),
            version,
            "a Secret was written"
        );
    }
    assert_eq!(mutations(&world), sent, "mutations for a lost ledger");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_with_key_a_lost_ledger_changes_nothing_and_says_how_to_get_it_back() {
    let mut world = World::start().await;
    world.apply("shop", json!({})).await;
    let before = world.ready("shop").await;
    world.stop_operator().await;
    lose_claims(&world).await;
    world.start_operator().await;
    let shop = world.not_ready("shop", "SecretConflict").await;
    assert!(message(&shop).contains("WithKey"), "{}", message(&shop));
    // Without its Secret it is a name that somebody else has.
    world.secrets().delete("shop", &DeleteParams::default()).await.unwrap();
    world.poke("shop").await;
    let shop = world.not_ready("shop", "NameTaken").await;
    assert!(message(&shop).contains("spec.adopt"), "{}", message(&shop));
    assert_eq!(world.control.project(&id(&before)).map(|project| project.deleted), Some(false));
    assert_eq!(
        world.control.committed(&world.organization.id, Operation::Create),
        1,
        "creations with an effect"
    );
    assert_eq!(world.control.committed(&world.organization.id, Operation::Regenerate), 0, "keys replaced");
    world.delete("shop").await;
    world.finish(&[&id(&before)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_key_a_key_that_is_dead_brings_nothing_back_and_makes_nothing() {
    let mut world = World::start().await;
    world.apply("shop", json!({})).await;
    let shop = id(&world.ready("shop").await);
    let sent = mutations(&world);
    world.stop_operator().await;
    lose_claims(&world).await;
    world.control.revoke_project_keys(&shop);
    permit(&world, json!({"adoption": "WithKey"})).await;
    world.start_operator().await;
    let conflict = world.not_ready("shop", "SecretConflict").await;
    assert!(message(&conflict).contains("does not open"), "{}", message(&conflict));
    assert_eq!(mutations(&world), sent);
    world.delete("shop").await;
    world.finish(&[&shop]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_restored_from_a_backup_under_other_uids_go_on_without_a_mutation_or_a_write_of_a_secret() {
    let mut world = World::start().await;
    world.apply("shop", json!({})).await;
    let before = world.ready("shop").await;
    let (api, params) = claims(&world);
    let backup = api.list(&params).await.unwrap().items;
    let version = world.secrets().get("shop").await.unwrap().resource_version();
    let sent = mutations(&world);
    world.stop_operator().await;
    lose_claims(&world).await;
    restore(&world, backup).await;
    world.start_operator().await;
    world.poke("shop").await;
    let after = world.ready("shop").await;
    assert_eq!(id(&after), id(&before));
    assert_eq!(mutations(&world), sent);
    assert_eq!(world.secrets().get("shop").await.unwrap().resource_version(), version);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_from_before_a_project_was_made_does_not_make_it_twice() {
    let mut world = World::start().await;
    world.apply("early", json!({})).await;
    world.ready("early").await;
    let (api, params) = claims(&world);
    let backup = api.list(&params).await.unwrap().items;
    world.apply("late", json!({})).await;
    let late = id(&world.ready("late").await);
    let sent = mutations(&world);
    world.stop_operator().await;
    lose_claims(&world).await;
    restore(&world, backup).await;
    permit(&world, json!({"adoption": "WithKey"})).await;
    world.start_operator().await;
    claim_of(&world, "late").await;
    assert_eq!(id(&world.ready("late").await), late);
    world.ready("early").await;
    assert_eq!(mutations(&world), sent);
    world.finish(&[]).await;
}

/// Makes the Secrets anew: with other UIDs, as a backup does.
async fn restore(world: &World, backup: Vec<Secret>) {
    let (api, _) = claims(world);
    for mut secret in backup {
        let metadata = &mut secret.metadata;
        (metadata.uid, metadata.resource_version, metadata.creation_timestamp) = (None, None, None);
        metadata.managed_fields = None;
        api.create(&PostParams::default(), &secret).await.unwrap();
    }
}
