//! Adoption: of a neighbour's id, with a stolen key, through a second organization, with what is no key.

use composio_operator::crd::ComposioProject;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use testbed::canary::Kind;
use testbed::emulator::{CredentialKind, ThirdPartyProject};

use crate::scene::{Scene, id};

/// An id that Composio has never given away.
const UNKNOWN: &str = "pr_nobodyhasit0";

fn with_key(id: &str, secret: &str) -> Value {
    json!({"projectId": id, "keySource": "Secret", "secretRef": {"name": secret}})
}

fn anew(id: &str) -> Value {
    json!({"projectId": id, "keySource": "Regenerate"})
}

/// The tenant has come by the key of its neighbour, and puts it into a Secret.
async fn steal(scene: &Scene, secret: &str) {
    let stolen = scene.world.entry("shop", "COMPOSIO_API_KEY").await.unwrap();
    scene.world.history.permit(Kind::Project, &scene.namespace, secret);
    scene.put::<Secret>(json!({"metadata": {"name": secret}, "stringData": {"apiKey": stolen}})).await;
}

/// The message of `Ready`, without what the tenant has written itself.
fn words(project: &ComposioProject) -> String {
    let status = project.status.clone().unwrap();
    let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
    let adopt = project.spec.adopt.clone().unwrap();
    ready
        .message
        .replace(&adopt.project_id, "(id)")
        .replace(project.metadata.name.as_deref().unwrap(), "(name)")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_grant_permits_is_not_asked_for_and_the_words_do_not_tell_whether_it_exists() {
    let mut scene = Scene::start().await;
    let theirs = ThirdPartyProject::named("billing");
    let theirs = scene.world.control.create_project(&scene.world.organization.id, theirs);
    scene.remember().await;
    steal(&scene, "loot").await;
    let mut told = Vec::new();
    for (name, adopt) in [
        ("known-one", with_key(&id(&scene.victim), "loot")),
        ("known-two", anew(&id(&scene.victim))),
        ("known-three", anew(&theirs.id)),
        ("known-four", anew(UNKNOWN)),
        ("known-five", with_key(UNKNOWN, "nothing")),
    ] {
        scene.apply(name, json!({"adopt": adopt})).await;
        told.push(words(&scene.ends(name, "False", "AdoptionDenied").await));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    scene.forget_own_secrets(&["loot"]).await;
    scene.nothing_done().await;
    scene.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_stolen_key_a_project_that_somebody_manages_is_not_to_be_had() {
    let mut scene = Scene::start_with(json!({"adoption": "WithKey"})).await;
    steal(&scene, "loot").await;
    scene.apply("known", json!({"adopt": with_key(&id(&scene.victim), "loot")})).await;
    let known = scene.ends("known", "False", "AdoptionDenied").await;
    scene.apply("unknown", json!({"adopt": with_key(UNKNOWN, "loot")})).await;
    let unknown = scene.ends("unknown", "False", "AdoptionDenied").await;
    assert_eq!(words(&known), words(&unknown), "the words tell whether the project exists");
    scene.apply("shop", json!({"adopt": with_key(&id(&scene.victim), "loot")})).await;
    scene.ends("shop", "False", "ClaimHeld").await;

    // Nor when its resource is gone and the key stands where the tenant's own Secret would be.
    let stolen = scene.world.entry("shop", "COMPOSIO_API_KEY").await.unwrap();
    scene.world.history.permit(Kind::Project, &scene.namespace, "shop");
    scene.world.history.permit(Kind::Project, &scene.namespace, "relic");
    for name in ["shop", "relic"] {
        let labels = json!({"composio.dev/project": name});
        let data = json!({"COMPOSIO_API_KEY": stolen, "COMPOSIO_PROJECT_ID": id(&scene.victim)});
        scene.put::<Secret>(json!({"metadata": {"name": name, "labels": labels}, "stringData": data})).await;
    }
    scene.apply("relic", json!({})).await;
    scene.ends("relic", "False", "SecretConflict").await;
    assert_eq!(scene.calls().into_iter().filter(|call| call.committed).count(), 0, "something was changed");
    scene.forget_own_secrets(&["loot", "relic"]).await;
    scene.world.delete("shop").await;
    scene.ends("shop", "False", "RebindDenied").await;
    scene.remember().await;
    scene.looked_at("shop").await;
    scene.ends("shop", "False", "RebindDenied").await;
    scene.forget_own_secrets(&["shop"]).await;
    scene.nothing_done().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_even_a_grant_takes_a_project_from_the_one_who_manages_it() {
    let scene = Scene::start().await;
    let victim = id(&scene.victim);
    let grants = ["regenerated", "stolen"]
        .map(|name| json!({"projectName": name, "namespace": scene.namespace, "projectId": victim}));
    let key = scene.world.organization.key.clone();
    scene.world.add_organization("default", &key, json!({"grants": grants})).await;
    steal(&scene, "loot").await;
    scene.apply("regenerated", json!({"adopt": anew(&victim)})).await;
    scene.apply("stolen", json!({"adopt": with_key(&victim, "loot")})).await;
    scene.ends("regenerated", "False", "AdoptionDenied").await;
    scene.ends("stolen", "False", "AdoptionDenied").await;
    assert_eq!(scene.calls().into_iter().filter(|call| call.committed).count(), 0, "something was changed");
    scene.forget_own_secrets(&["loot"]).await;
    scene.others_untouched().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_organization_of_the_same_account_is_no_way_around_the_claim() {
    let mut scene = Scene::start().await;
    let key = scene.world.organization.key.clone();
    scene.world.add_organization("second", &key, json!({"adoption": "WithKey"})).await;
    scene.world.organization_reaches("second", "False", "OrganizationMismatch").await;
    scene.remember().await;
    steal(&scene, "loot").await;
    let adopt = with_key(&id(&scene.victim), "loot");
    let second = json!({"name": "second"});
    scene.apply("shop", json!({"organizationRef": second, "adopt": adopt})).await;
    scene.apply("name", json!({"organizationRef": second, "projectName": "shop"})).await;
    scene.ends("shop", "False", "OrganizationNotReady").await;
    scene.ends("name", "False", "OrganizationNotReady").await;
    scene.forget_own_secrets(&["loot"]).await;
    scene.nothing_done().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_project_key_is_sent_nowhere() {
    let scene = Scene::start_with(json!({"adoption": "WithKey"})).await;
    let organization_key = scene.world.organization.key.clone();
    scene.world.history.permit(Kind::Organization, &scene.namespace, "organization");
    for (name, value) in [
        ("token", "sk_live_0123456789abcdef"),
        ("organization", organization_key.as_str()),
        ("lines", "ak_0123456789\r\nHost: elsewhere"),
        ("empty", ""),
    ] {
        scene.put::<Secret>(json!({"metadata": {"name": name}, "stringData": {"apiKey": value}})).await;
        scene.apply(name, json!({"adopt": with_key(&id(&scene.victim), name)})).await;
        scene.ends(name, "False", "AdoptionDenied").await;
    }
    let sent = scene.calls().into_iter().map(|call| call.credential);
    assert!(sent.into_iter().all(|kind| kind == CredentialKind::Organization), "it was sent to Composio");
    scene.forget_own_secrets(&["organization"]).await;
    scene.others_untouched().await;
    scene.finish(&[]).await;
}
