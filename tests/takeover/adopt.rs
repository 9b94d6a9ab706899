//! `spec.adopt`: with the key in a Secret, with a new key, and everything that is refused.

use std::time::Duration;

use composio_operator::process::settings::Settings;
use serde_json::json;
use testbed::emulator::{Fault, KeyState, Operation, Point};
use testbed::world::World;

use super::{adopt_and_regenerate, adopt_with_secret, grant, id, message, mutations, origin, permit};
use super::{remove_claim, secret, third_party};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_project_is_taken_over_with_its_key_and_nothing_is_changed_at_composio() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    permit(&world, grant("shop", &world.namespace)).await;
    secret(&world, "shop-old", "apiKey", &legacy.keys[0]).await;
    world.apply("shop", adopt_with_secret(&legacy.id, "shop-old")).await;
    let shop = world.ready("shop").await;
    assert_eq!((id(&shop), origin(&shop)), (legacy.id, "Adopted".to_owned()));
    assert_eq!(world.entry("shop", "COMPOSIO_API_KEY").await.as_ref(), Some(&legacy.keys[0]));
    assert_eq!(mutations(&world), 0, "mutations for taking a project over");
    let claims = world.claims().await;
    assert_eq!(claims.of("shop").map(|claim| claim["lastAttempt"].clone()), Some(json!(0)));
    // The block is done and may go.
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_settings_of_an_adopted_project_follow_with_its_own_key() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    permit(&world, grant("shop", &world.namespace)).await;
    secret(&world, "shop-old", "apiKey", &legacy.keys[0]).await;
    let mut spec = adopt_with_secret(&legacy.id, "shop-old");
    spec["settings"] = json!({"displayName": "Shop"});
    world.apply("shop", spec).await;
    world.ready("shop").await;
    let project = world.control.project(&legacy.id).unwrap();
    assert!(serde_json::to_string(&project.config).unwrap().contains("Shop"), "{:?}", project.config);
    assert_eq!(world.control.count(&world.organization.id, Operation::Regenerate), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_that_the_key_comes_from_may_be_the_published_one() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    permit(&world, grant("shop", &world.namespace)).await;
    secret(&world, "shop", "apiKey", &legacy.keys[0]).await;
    world.apply("shop", adopt_with_secret(&legacy.id, "shop")).await;
    world.ready("shop").await;
    assert_eq!(world.entry("shop", "COMPOSIO_API_KEY").await.as_ref(), Some(&legacy.keys[0]));
    assert_eq!(
        world.entry("shop", "apiKey").await.as_ref(),
        Some(&legacy.keys[0]),
        "a foreign entry is gone"
    );
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_project_is_taken_over_with_a_new_key_which_kills_the_others() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    permit(&world, grant("shop", &world.namespace)).await;
    world.apply("shop", adopt_and_regenerate(&legacy.id)).await;
    let shop = world.ready("shop").await;
    assert_eq!((id(&shop), origin(&shop)), (legacy.id, "Adopted".to_owned()));
    assert_eq!(mutations(&world), 1, "one regenerate");
    assert!(world.control.project_of_key(&legacy.keys[0]).is_none(), "the old key lives");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_to_the_regenerate_of_an_adoption_leads_to_a_key_that_works() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    permit(&world, grant("shop", &world.namespace)).await;
    let cut = Fault::Cut { point: Point::AfterCommit };
    world.control.fault(&world.organization.id, Operation::Regenerate, cut, 1);
    world.apply("shop", adopt_and_regenerate(&legacy.id)).await;
    world.ready("shop").await;
    assert_eq!(world.control.committed(&world.organization.id, Operation::Regenerate), 2);
    assert_eq!(world.control.count(&world.organization.id, Operation::Create), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_permit_nothing_is_asked_and_the_words_are_the_same_whether_the_project_exists_or_not() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    secret(&world, "shop-old", "apiKey", &legacy.keys[0]).await;
    let mark = world.control.mark();
    world.apply("shop", adopt_with_secret(&legacy.id, "shop-old")).await;
    let shop = world.not_ready("shop", "AdoptionDenied").await;
    world.apply("nothing", adopt_with_secret("pr_doesnotexist", "shop-old")).await;
    let nothing = world.not_ready("nothing", "AdoptionDenied").await;
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls without a permit");
    let neutral = |words: String| words.replace(&legacy.id, "ID").replace("pr_doesnotexist", "ID");
    assert_eq!(neutral(message(&shop)), neutral(message(&nothing)));
    assert_eq!(world.claims().await.all().count(), 0);
    // The grant comes: nobody has to touch the resource.
    permit(&world, grant("shop", &world.namespace)).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_no_permit_for_a_regenerate() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    permit(&world, json!({"adoption": "WithKey"})).await;
    let mark = world.control.mark();
    world.apply("shop", adopt_and_regenerate(&legacy.id)).await;
    world.not_ready("shop", "AdoptionDenied").await;
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls without a permit");
    assert!(world.control.project_of_key(&legacy.keys[0]).is_some(), "a key was killed");
    world.finish(&[&legacy.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_hand_takes_the_project_of_its_name_over_and_no_other_and_shows_nothing_of_others() {
    let world = World::start().await;
    let (mine, other) = (third_party(&world, "shop"), third_party(&world, "other"));
    permit(&world, json!({"adoption": "WithKey"})).await;
    secret(&world, "mine", "apiKey", &mine.keys[0]).await;
    secret(&world, "guess", "apiKey", "ak_0123456789abcdefghij").await;
    // The right id with a key that is no key of it, an id that is not there, and the id of a project of another name.
    let wrong =
        [("shop", &*mine.id, "guess"), ("two", "pr_doesnotexist", "mine"), ("three", &*other.id, "mine")];
    let mut words = Vec::new();
    for (name, id, key) in wrong {
        world.apply(name, adopt_with_secret(id, key)).await;
        let shown = message(&world.not_ready(name, "AdoptionDenied").await);
        words.push(shown.replace(id, "ID").replace(&format!("{name:?}"), "NAME"));
    }
    assert!(words.iter().all(|one| *one == words[0]), "the words differ: {words:#?}");
    assert_eq!(mutations(&world), 0);
    world.delete("shop").await;
    world.apply("shop", adopt_with_secret(&mine.id, "mine")).await;
    assert_eq!(id(&world.ready("shop").await), mine.id);
    world.finish(&[&other.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_project_lists_and_that_does_not_work_is_no_proof() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    permit(&world, grant("shop", &world.namespace)).await;
    world.control.set_key_state(&legacy.keys[0], KeyState::Expired);
    secret(&world, "shop-old", "apiKey", &legacy.keys[0]).await;
    world.apply("shop", adopt_with_secret(&legacy.id, "shop-old")).await;
    let shop = world.not_ready("shop", "AdoptionDenied").await;
    assert!(message(&shop).contains("not a living key"), "{}", message(&shop));
    assert_eq!(world.claims().await.all().count(), 0);
    world.finish(&[&legacy.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_looks_like_a_project_key_is_sent_anywhere() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    permit(&world, grant("shop", &world.namespace)).await;
    secret(&world, "shop-old", "apiKey", "a-password-of-something-else").await;
    let mark = world.control.mark();
    world.apply("shop", adopt_with_secret(&legacy.id, "shop-old")).await;
    let shop = world.reaches(&world.namespace, "shop", "Ready", "False", "AdoptionDenied").await;
    assert!(message(&shop).contains("no project key"), "{}", message(&shop));
    assert!(!message(&shop).contains("a-password"), "{}", message(&shop));
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    world.finish(&[&legacy.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_comes_later_is_waited_for() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    permit(&world, grant("shop", &world.namespace)).await;
    world.apply("shop", adopt_with_secret(&legacy.id, "shop-old")).await;
    let shop = world.reaches(&world.namespace, "shop", "Reconciling", "True", "AdoptionDenied").await;
    assert!(message(&shop).contains("there is no Secret \"shop-old\""), "{}", message(&shop));
    secret(&world, "shop-old", "apiKey", &legacy.keys[0]).await;
    world.poke("shop").await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_of_another_name_is_taken_over_only_where_a_grant_names_its_id() {
    let world = World::start().await;
    let legacy = third_party(&world, "Shop_of_2024");
    secret(&world, "shop-old", "apiKey", &legacy.keys[0]).await;
    permit(&world, grant("shop", &world.namespace)).await;
    world.apply("shop", adopt_with_secret(&legacy.id, "shop-old")).await;
    let shop = world.not_ready("shop", "AdoptionDenied").await;
    assert!(!message(&shop).contains("2024"), "the name of another project is given away");
    let named = json!({"grants": [
        {"projectName": "shop", "namespace": world.namespace, "projectId": legacy.id}
    ]});
    permit(&world, named).await;
    assert_eq!(id(&world.ready("shop").await), legacy.id);
    assert_eq!(mutations(&world), 0);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_a_claim_has_is_never_adopted_not_even_with_a_grant_of_its_id_and_its_key_in_hand() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    let shop = world.ready("shop").await;
    let key = world.entry("shop", "COMPOSIO_API_KEY").await.unwrap();
    let granted = json!({"grants": [
        {"projectName": "thief", "namespace": world.namespace, "projectId": id(&shop)}
    ]});
    permit(&world, granted).await;
    secret(&world, "stolen", "apiKey", &key).await;
    world.apply("thief", adopt_with_secret(&id(&shop), "stolen")).await;
    let thief = world.not_ready("thief", "AdoptionDenied").await;
    assert!(message(&thief).contains("another resource manages it"), "{}", message(&thief));
    assert_eq!(world.claims().await.all().count(), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_does_not_delete_its_project_when_another_claim_has_it_by_now() {
    let mut world = World::without_operator().await;
    // The answer is waited for until it is let go.
    let settings = Settings { request_timeout: Duration::from_mins(5), ..world.settings() };
    let client = world.client.clone();
    world.launch_operator(settings, client).await;
    world.organization_ready("default").await;
    let organization = world.organization.id.clone();
    let hold = Fault::Hold { point: Point::AfterCommit, gate: "answer".to_owned() };
    world.control.fault(&organization, Operation::Create, hold, 1);
    world.apply("shop", json!({})).await;
    let gate = world.control.gate("answer");
    gate.arrived(1).await;
    let made = world.remote_ids(&organization).into_iter().next().unwrap();
    let granted = json!({"grants": [
        {"projectName": "heir", "namespace": world.namespace, "projectId": made}
    ]});
    permit(&world, granted).await;
    world.apply("heir", adopt_and_regenerate(&made)).await;
    assert_eq!(id(&world.ready("heir").await), made);
    // The claim that made the announcement is lost, and its resource with it.
    world.delete("shop").await;
    remove_claim(&world, "shop").await;
    gate.open();
    assert_eq!(id(&world.ready("heir").await), made);
    assert_eq!(world.control.count(&organization, Operation::Delete), 0, "a claimed project was deleted");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_becomes_an_adoption_when_the_block_is_added() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "NameTaken").await;
    permit(&world, grant("shop", &world.namespace)).await;
    secret(&world, "shop-old", "apiKey", &legacy.keys[0]).await;
    world.apply("shop", adopt_with_secret(&legacy.id, "shop-old")).await;
    assert_eq!(id(&world.ready("shop").await), legacy.id);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_names_another_project_than_the_resource_has_is_a_mismatch_and_keeps_the_secret() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    let before = world.ready("shop").await;
    let legacy = third_party(&world, "legacy");
    permit(&world, json!({"adoption": "WithKey"})).await;
    secret(&world, "shop-old", "apiKey", &legacy.keys[0]).await;
    let key = world.entry("shop", "COMPOSIO_API_KEY").await;
    world.apply("shop", adopt_with_secret(&legacy.id, "shop-old")).await;
    let shop = world.not_ready("shop", "AdoptionMismatch").await;
    assert_eq!(id(&shop), id(&before));
    assert_eq!(world.entry("shop", "COMPOSIO_API_KEY").await, key);
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    world.finish(&[&legacy.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_deleted_project_the_administrator_who_named_it_is_told_so() {
    let world = World::start().await;
    let legacy = third_party(&world, "shop");
    world.control.delete_project(&legacy.id);
    let named = json!({"grants": [
        {"projectName": "shop", "namespace": world.namespace, "projectId": legacy.id}
    ]});
    permit(&world, named).await;
    world.apply("shop", adopt_and_regenerate(&legacy.id)).await;
    let shop = world.not_ready("shop", "AdoptionDenied").await;
    assert!(message(&shop).contains("it was deleted"), "{}", message(&shop));
    assert_eq!(mutations(&world), 0);
    world.finish(&[]).await;
}
