//! The published Secret: created, ours, foreign, two claimants, refused by the API server.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_templates_labels_and_annotations_are_as_the_spec_says() {
    let world = World::start().await;
    let secret = json!({
        "name": "shop-key", "keys": {"apiKey": "KEY", "projectId": "ID", "baseUrl": "URL"},
        "template": {".env": "K={apiKey}\nN={projectName}\n", "config.json": "{\"id\": \"{projectId}\", \"url\": \"{baseUrl}\", \"n\": {}}"},
        "labels": {"team": "a"}, "annotations": {"note": "hello"}
    });
    world.apply("shop", json!({"secret": secret})).await;
    let shop = world.ready("shop").await;
    let id = shop.status.unwrap().project.unwrap().id.unwrap();
    let key = world.entry("shop-key", "KEY").await.unwrap();
    let url = world.emulator.url();
    assert_eq!(world.control.project_of_key(&key), Some(id.clone()));
    assert_eq!(world.entry("shop-key", "ID").await.as_deref(), Some(id.as_str()));
    assert_eq!(world.entry("shop-key", "URL").await.as_deref(), Some(url));
    assert_eq!(world.entry("shop-key", ".env").await, Some(format!("K={key}\nN=shop\n")));
    let config = format!("{{\"id\": \"{id}\", \"url\": \"{url}\", \"n\": {{}}}}");
    assert_eq!(world.entry("shop-key", "config.json").await, Some(config));
    let secret = world.secrets().get("shop-key").await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    assert_eq!(secret.labels()["team"], "a");
    assert_eq!(secret.labels()["app.kubernetes.io/managed-by"], "composio-operator");
    assert_eq!(secret.labels()["composio.dev/project"], "shop");
    assert_eq!(secret.annotations()["note"], "hello");
    assert!(secret.annotations().contains_key("composio.dev/key-issued-at"));
    assert!(secret.owner_references().is_empty(), "with Retain nobody may collect the Secret");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_spec_no_longer_wants_is_removed_and_what_others_added_stays() {
    let world = World::start().await;
    let spec = json!({"secret": {"template": {"old": "{apiKey}"}, "labels": {"old": "x"}, "annotations": {"old": "x"}}});
    world.apply("shop", spec).await;
    world.ready("shop").await;
    let theirs = json!({
        "metadata": {"labels": {"theirs": "x"}, "annotations": {"theirs": "x"}}, "stringData": {"theirs": "x"}
    });
    let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    world.secrets().patch("shop", &params, &Patch::Merge(theirs)).await.unwrap();
    world.apply("shop", json!({"secret": {"keys": {"apiKey": "KEY"}}})).await;
    eventually("the Secret follows the spec", PATIENCE, async || match world.entry("shop", "KEY").await {
        Some(_) => Ok(()),
        None => Err("it has no entry KEY".to_owned()),
    })
    .await;
    world.ready("shop").await;
    let secret = world.secrets().get("shop").await.unwrap();
    let entries: Vec<_> = secret.data.clone().unwrap().into_keys().collect();
    assert_eq!(entries, ["COMPOSIO_PROJECT_ID", "KEY", "theirs"]);
    assert!(!secret.labels().contains_key("old") && secret.labels().contains_key("theirs"));
    assert!(!secret.annotations().contains_key("old") && secret.annotations().contains_key("theirs"));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_secret_is_left_alone_and_nothing_is_created_at_composio() {
    let world = World::start().await;
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop"}, "stringData": {"precious": "x"}});
    world.apply_to::<Secret>(&world.namespace, &foreign).await.unwrap();
    let before = world.secrets().get("shop").await.unwrap();
    let mark = world.control.mark();
    world.apply("shop", json!({})).await;
    let object = world.not_ready("shop", "SecretConflict").await;
    assert!(
        serde_json::to_string(&object.status).unwrap().contains("written by tests"),
        "its owner is not named"
    );
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    assert_eq!(world.claims().await.all().count(), 0, "claims");
    assert_eq!(world.secrets().get("shop").await.unwrap(), before);
    world.secrets().delete("shop", &DeleteParams::default()).await.unwrap();
    world.poke("shop").await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_resources_that_name_one_secret_the_first_keeps_it() {
    let world = World::start().await;
    world.apply("first", json!({"secret": {"name": "shared"}})).await;
    world.ready("first").await;
    let before = world.secrets().get("shared").await.unwrap();
    let mark = world.control.mark();
    world.apply("second", json!({"secret": {"name": "shared"}})).await;
    let second = world.not_ready("second", "SecretConflict").await;
    assert!(serde_json::to_string(&second.status).unwrap().contains("first"), "the owner is not named");
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    assert_eq!(world.secrets().get("shared").await.unwrap(), before);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_admission_refuses_waits_in_the_claim_and_is_published_as_soon_as_it_may() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    let policy = Policy::refusing(&world, "shop").await;
    world.apply("shop", json!({})).await;
    let shop = world.reaches(&world.namespace, "shop", "SecretPublished", "False", "SecretRefused").await;
    assert!(
        serde_json::to_string(&shop.status).unwrap().contains("not this week"),
        "the API server's words are missing"
    );
    assert!(world.claims().await.key("shop").is_some(), "the key waits in the claim");
    policy.remove(&world).await;
    world.ready("shop").await;
    assert_eq!(world.control.count(&organization, Operation::Create), 1);
    assert_eq!(world.control.count(&organization, Operation::Regenerate), 0);
    world.finish(&[]).await;
}

/// A ValidatingAdmissionPolicy that refuses one Secret name in the world's namespace.
struct Policy(String);

impl Policy {
    async fn refusing(world: &World, secret: &str) -> Self {
        let name = format!("refuse-{}", world.namespace);
        let policy: ValidatingAdmissionPolicy = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
                    "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}]
                },
                "validations": [{"expression": format!("object.metadata.name != '{secret}'"), "message": "not this week"}]
            }
        }))
        .unwrap();
        let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}
        }))
        .unwrap();
        let params = PostParams::default();
        Api::all(world.client.clone()).create(&params, &policy).await.unwrap();
        Api::all(world.client.clone()).create(&params, &binding).await.unwrap();
        let probe: Secret = serde_json::from_value(json!({"metadata": {"name": secret}})).unwrap();
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        eventually("the policy is in force", PATIENCE, async || {
            match world.secrets().create(&dry_run, &probe).await {
                Ok(_) => Err("the Secret is accepted".to_owned()),
                Err(_) => Ok(()),
            }
        })
        .await;
        Self(name)
    }

    async fn remove(self, world: &World) {
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.client.clone());
        bindings.delete(&self.0, &DeleteParams::default()).await.unwrap();
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(world.client.clone());
        policies.delete(&self.0, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_tells_once_that_a_project_is_ready() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let events: Api<k8s_openapi::api::events::v1::Event> =
        Api::namespaced(world.client.clone(), &world.namespace);
    let found = eventually("there is an Event", PATIENCE, async || {
        let all = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        if all.is_empty() { Err("there is none".to_owned()) } else { Ok(all) }
    })
    .await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].reason.as_deref(), Some("Reconciled"));
    assert_eq!(found[0].type_.as_deref(), Some("Normal"));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_secret_is_recorded_and_its_key_put_back_when_somebody_edits_it() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let key = world.entry("shop", "COMPOSIO_API_KEY").await;
    let uid = world.secrets().get("shop").await.unwrap().uid().unwrap();
    world.poke("shop").await;
    eventually("the claim knows the Secret", PATIENCE, async || {
        let claims = world.claims().await;
        let published = claims.of("shop").map(|claim| claim["published"]["uid"].clone()).unwrap_or_default();
        if published == json!(uid) { Ok(()) } else { Err(format!("it knows {published}")) }
    })
    .await;
    let edit = json!({"stringData": {"COMPOSIO_API_KEY": "wrong"}});
    world.secrets().patch("shop", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    world.poke("shop").await;
    eventually("the key is back", PATIENCE, async || match world.entry("shop", "COMPOSIO_API_KEY").await {
        found if found == key => Ok(()),
        _ => Err("it is not".to_owned()),
    })
    .await;
    world.ready("shop").await;
    world.finish(&[]).await;
}
