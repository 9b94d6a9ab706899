//! What a 401 or a 403 says of a project's key (API 10.2), and what it does not say.

use serde_json::json;
use testbed::emulator::{Fault, KeyState, Lie, Operation, Point};

use super::{
    asked, clear, fault_looks, handled, looks, message, published, remote_key, replaced, settled,
    works_again, world_with_shop,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_lives_but_not_for_this_address_is_reported_and_never_replaced() {
    for settings in [json!({}), json!({"displayName": "Shop"})] {
        let (world, id) = world_with_shop(json!({"settings": settings})).await;
        let key = remote_key(&world, &id);
        world.control.set_key_state(&key, KeyState::AddressNotAllowed);
        world.poke("shop").await;
        let shop = world.not_ready("shop", "AddressNotAllowed").await;
        assert!(message(&shop).contains("IP allowlist"), "{}", message(&shop));
        world.reaches(&world.namespace, "shop", "Stalled", "True", "AddressNotAllowed").await;
        assert_eq!((asked(&world), published(&world, "shop").await), (0, key.clone()));
        world.control.set_key_state(&key, KeyState::Live);
        world.poke("shop").await;
        world.ready("shop").await;
        world.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_lacks_a_permission_lives() {
    let (world, id) = world_with_shop(json!({})).await;
    let key = remote_key(&world, &id);
    world.control.set_key_state(&key, KeyState::Scoped(std::collections::BTreeSet::new()));
    world.poke("shop").await;
    handled(&world, "shop").await;
    world.ready("shop").await;
    assert_eq!((asked(&world), published(&world, "shop").await), (0, key.clone()));
    assert!(looks(&world) > 0, "nobody has looked");
    world.control.set_key_state(&key, KeyState::Live);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_key_is_dead_although_the_project_lists_it() {
    let (world, id) = world_with_shop(json!({})).await;
    let key = remote_key(&world, &id);
    world.control.set_key_state(&key, KeyState::Expired);
    world.poke("shop").await;
    works_again(&world, "shop", &id, &key).await;
    settled(&world, "shop").await;
    assert_eq!(asked(&world), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_rejected_and_still_listed_is_not_judged() {
    let (world, _) = world_with_shop(json!({})).await;
    let rules = fault_looks(&world, &Fault::InvalidProjectKey, 1000);
    world.poke("shop").await;
    let shop = world.not_ready("shop", "TransientFailure").await;
    assert!(message(&shop).contains("still lists it"), "{}", message(&shop));
    assert_eq!(asked(&world), 0);
    clear(&world, &rules);
    world.ready("shop").await;
    assert_eq!(asked(&world), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_rejection_that_a_second_call_does_not_repeat_means_nothing() {
    let (world, _) = world_with_shop(json!({})).await;
    fault_looks(&world, &Fault::InvalidProjectKey, 1);
    world.poke("shop").await;
    handled(&world, "shop").await;
    world.ready("shop").await;
    assert_eq!(asked(&world), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_about_the_key_decides_nothing_and_the_organization_stays_ready() {
    let undecided = json!({"error": {"message": "No API key provided", "code": 906, "slug": "Auth_NoAuthProvided", "status": 401}});
    let point = Point::BeforeCommit;
    for fault in [
        Fault::Answer { point, status: 401, body: undecided },
        Fault::Answer { point, status: 401, body: json!({}) },
        Fault::Html { point, status: 403 },
        Fault::server_error(point),
    ] {
        let (world, _) = world_with_shop(json!({})).await;
        let rules = fault_looks(&world, &fault, 1000);
        world.poke("shop").await;
        handled(&world, "shop").await;
        world.organization_ready("default").await;
        clear(&world, &rules);
        world.poke("shop").await;
        handled(&world, "shop").await;
        world.ready("shop").await;
        assert_eq!(asked(&world), 0);
        world.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_rejections_of_a_fresh_key_are_not_believed() {
    let (world, id) = world_with_shop(json!({})).await;
    let organization = world.organization.id.clone();
    let old = published(&world, "shop").await;
    world.control.set_modes(&organization, |modes| modes.fresh_key_refusals = 3);
    world.control.revoke_project_keys(&id);
    world.poke("shop").await;
    works_again(&world, "shop", &id, &old).await;
    settled(&world, "shop").await;
    world.ready("shop").await;
    assert_eq!((asked(&world), replaced(&world)), (1, 1));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_key_of_a_project_that_one_witness_does_not_know_is_not_replaced_before_that_is_clear() {
    let (world, id) = world_with_shop(json!({})).await;
    let old = published(&world, "shop").await;
    world.control.revoke_project_keys(&id);
    world.control.lie(&id, Lie::ReadSays404);
    world.poke("shop").await;
    world.not_ready("shop", "TransientFailure").await;
    assert_eq!(asked(&world), 0);
    world.control.tell_the_truth(&id);
    works_again(&world, "shop", &id, &old).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_key_behind_a_missing_endpoint_says_nothing_of_the_organizations_key() {
    let (world, _) = world_with_shop(json!({"settings": {"displayName": "Shop"}})).await;
    let (organization, point) = (world.organization.id.clone(), Point::BeforeCommit);
    let gone = Fault::Answer { point, status: 404, body: json!({"error": {"message": "Not found"}}) };
    let operation = Operation::ReadSettings;
    world.control.fault(&organization, operation, gone, 1);
    world.control.fault(&organization, operation, Fault::InvalidProjectKey, 1);
    world.poke("shop").await;
    handled(&world, "shop").await;
    assert_eq!(world.control.faults_left(&organization), 0, "both were met");
    let page = world.metrics().await;
    assert!(page.contains(r#"breaker_open{organization="default"} 0"#), "the breaker is open");
    world.ready("shop").await;
    assert_eq!(asked(&world), 0);
    world.finish(&[]).await;
}
