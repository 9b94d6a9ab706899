//! `spec.onInvalidKey`, and what keeps a key from being replaced.

use composio_operator::crd::{LastRotationReason, OnInvalidKey};
use serde_json::json;

use super::{
    asked, handled, later, looks, message, on_invalid_key, published, replaced, settled, works_again,
    world_with_shop,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_is_replaced_by_default_where_the_project_has_no_other() {
    let (world, id) = world_with_shop(json!({})).await;
    let old = published(&world, "shop").await;
    world.control.revoke_project_keys(&id);
    world.poke("shop").await;
    works_again(&world, "shop", &id, &old).await;
    let shop = handled(&world, "shop").await;
    let status = shop.status.unwrap();
    assert_eq!(status.last_rotation.unwrap().reason, LastRotationReason::InvalidKey);
    assert_eq!(status.effective.unwrap().on_invalid_key, Some(OnInvalidKey::RegenerateIfNoneLeft));
    settled(&world, "shop").await;
    assert_eq!((asked(&world), replaced(&world)), (1, 1));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_does_not_flap_while_a_key_is_replaced() {
    let (world, id) = world_with_shop(json!({})).await;
    let old = published(&world, "shop").await;
    let before = world.ready("shop").await.status.unwrap().conditions;
    world.control.revoke_project_keys(&id);
    world.poke("shop").await;
    works_again(&world, "shop", &id, &old).await;
    let after = handled(&world, "shop").await.status.unwrap().conditions;
    let since = |conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]| {
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        (ready.status.clone(), ready.last_transition_time.clone())
    };
    assert_eq!(since(&after), since(&before));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_others_have_keys_a_revoked_one_is_reported_until_they_are_gone() {
    let (world, id) = world_with_shop(json!({})).await;
    let old = published(&world, "shop").await;
    world.control.revoke_project_keys(&id);
    let theirs = world.control.add_project_key(&id);
    world.poke("shop").await;
    let shop = world.not_ready("shop", "KeyRejected").await;
    assert!(message(&shop).contains("other keys (1)"), "{}", message(&shop));
    world.reaches(&world.namespace, "shop", "Stalled", "True", "KeyRejected").await;
    assert_eq!(asked(&world), 0);
    assert_eq!(world.control.project_of_key(&theirs), Some(id.clone()));
    // The first way out: they are revoked as well.
    world.control.revoke_project_keys(&id);
    world.poke("shop").await;
    works_again(&world, "shop", &id, &old).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regenerate_replaces_a_revoked_key_although_it_kills_those_of_others() {
    let (world, id) = world_with_shop(on_invalid_key("Regenerate")).await;
    let old = published(&world, "shop").await;
    world.control.revoke_project_keys(&id);
    let theirs = world.control.add_project_key(&id);
    world.poke("shop").await;
    works_again(&world, "shop", &id, &old).await;
    assert_eq!(world.control.project_of_key(&theirs), None);
    assert_eq!(asked(&world), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn report_replaces_nothing_until_the_policy_is_changed() {
    let (mut world, id) = world_with_shop(on_invalid_key("Report")).await;
    let old = published(&world, "shop").await;
    world.control.revoke_project_keys(&id);
    world.poke("shop").await;
    world.not_ready("shop", "KeyRejected").await;
    // The report outlives the process that made it: the status is a hint to look again.
    world.stop_operator().await;
    world.start_operator().await;
    world.poke("shop").await;
    handled(&world, "shop").await;
    world.not_ready("shop", "KeyRejected").await;
    assert_eq!(asked(&world), 0);
    world.apply("shop", on_invalid_key("RegenerateIfNoneLeft")).await;
    works_again(&world, "shop", &id, &old).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_composio_does_not_regenerate_it_is_said_and_asked_again_only_when_a_person_does() {
    let (world, id) = world_with_shop(json!({})).await;
    let organization = world.organization.id.clone();
    let old = published(&world, "shop").await;
    world.control.set_modes(&organization, |modes| modes.regenerate_enabled = false);
    world.control.revoke_project_keys(&id);
    world.poke("shop").await;
    world.not_ready("shop", "RotationNotEnabled").await;
    world.reaches(&world.namespace, "shop", "Stalled", "True", "RotationNotEnabled").await;
    assert_eq!(asked(&world), 1);
    assert_eq!(published(&world, "shop").await, old, "nothing has changed");
    world.apply("shop", json!({"secret": {"labels": {"team": "shop"}}})).await;
    world.not_ready("shop", "RotationNotEnabled").await;
    assert_eq!(asked(&world), 1, "a lasting refusal is hammered");
    world.control.set_modes(&organization, |modes| modes.regenerate_enabled = true);
    world.poke("shop").await;
    works_again(&world, "shop", &id, &old).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_replaced_at_most_once_per_hour() {
    let (world, id) = world_with_shop(json!({})).await;
    let old = published(&world, "shop").await;
    world.control.revoke_project_keys(&id);
    world.poke("shop").await;
    works_again(&world, "shop", &id, &old).await;
    settled(&world, "shop").await;
    later(&world, super::OLD);
    world.control.revoke_project_keys(&id);
    world.poke("shop").await;
    let shop = world.not_ready("shop", "KeyRejected").await;
    assert!(message(&shop).contains("less than an hour ago"), "{}", message(&shop));
    assert_eq!(asked(&world), 1);
    let second = published(&world, "shop").await;
    later(&world, 3_600_000);
    world.poke("shop").await;
    works_again(&world, "shop", &id, &second).await;
    world.ready("shop").await;
    assert_eq!(asked(&world), 2);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_resource_gets_its_new_key_when_it_is_resumed() {
    let (world, id) = world_with_shop(json!({})).await;
    let old = published(&world, "shop").await;
    world.apply("shop", json!({"suspend": true})).await;
    world.reaches(&world.namespace, "shop", "Ready", "True", "Suspended").await;
    world.control.revoke_project_keys(&id);
    let before = looks(&world);
    world.poke("shop").await;
    handled(&world, "shop").await;
    assert_eq!(looks(&world), before, "a suspended resource was looked at");
    world.apply("shop", json!({"suspend": false})).await;
    world.ready("shop").await;
    world.poke("shop").await;
    works_again(&world, "shop", &id, &old).await;
    world.finish(&[]).await;
}
