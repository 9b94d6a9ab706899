//! The published Secret: created, ours, foreign, two claimants, refused by the API server.

use axum::http::{Method, StatusCode};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::canary::Kind;
use testbed::controlplane::client_for;
use testbed::emulator::Operation;
use testbed::eventually::eventually;
use testbed::proxy::{Action, ApiProxy, Gate, Match};
use testbed::world::{PATIENCE, World};

use crate::scene::{KEY, behind_a_proxy, delete, edit, holds, published, ready};

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
async fn of_two_resources_that_name_one_secret_the_first_keeps_it_and_the_other_writes_nothing() {
    let (world, proxy, key) = behind_a_proxy().await;
    let before = world.secrets().get("shop").await.unwrap();
    let (mark, writes) = (world.control.mark(), proxy.journal().len());
    world.apply("second", json!({"secret": {"name": "shop"}})).await;
    let second = world.not_ready("second", "SecretConflict").await;
    assert!(serde_json::to_string(&second.status).unwrap().contains("shop"), "the owner is not named");
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    assert_eq!(world.secrets().get("shop").await.unwrap(), before);
    // The Secret that is lost goes back to the first, whoever looks at the other one meanwhile.
    delete(&world, "shop").await;
    holds(&world, "shop", &key).await;
    world.poke("second").await;
    world.not_ready("second", "SecretConflict").await;
    let of_second =
        |path: &str| path.ends_with("/composioprojects/second/status") || path.contains("/events");
    let journal = proxy.journal();
    let others = journal[writes..].iter().filter(|write| !of_second(&write.path)).map(|write| &write.path);
    let is_first = |path: &&String| path.ends_with("/secrets") || path.contains("/secrets/claim-");
    assert_eq!(others.filter(|path| !is_first(path)).count(), 0, "writes of the other one: {journal:#?}");
    assert!(world.claims().await.of("second").is_none(), "a claim of the other one");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_secret_in_the_place_of_a_published_one_is_left_alone_until_it_goes() {
    let mut world = World::start().await;
    let key = ready(&world).await;
    world.stop_operator().await;
    delete(&world, "shop").await;
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop"}, "stringData": {"precious": "x"}});
    world.apply_to::<Secret>(&world.namespace, &foreign).await.unwrap();
    let before = world.secrets().get("shop").await.unwrap();
    world.start_operator().await;
    world.not_ready("shop", "SecretConflict").await;
    assert_eq!(world.secrets().get("shop").await.unwrap(), before);
    delete(&world, "shop").await;
    world.poke("shop").await;
    holds(&world, "shop", &key).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_another_controller_owns_is_foreign_although_it_holds_the_key() {
    let (world, key) = published().await;
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}});
    let config = world.apply_to::<ConfigMap>(&world.namespace, &config).await.unwrap();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": config.uid(), "controller": true});
    edit(&world, "shop", json!({"metadata": {"ownerReferences": [owner]}})).await;
    let shop = world.not_ready("shop", "SecretConflict").await;
    assert!(serde_json::to_string(&shop.status).unwrap().contains("ConfigMap"), "its owner is not named");
    edit(&world, "shop", json!({"metadata": {"ownerReferences": null}, "stringData": {KEY: "wrong"}})).await;
    holds(&world, "shop", &key).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_another_type_is_foreign_although_it_holds_the_key() {
    let (world, key) = published().await;
    world.history.permit(Kind::Project, &world.namespace, "theirs");
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}, "type": "example.com/token",
        "stringData": {KEY: key}
    });
    let theirs = world.apply_to::<Secret>(&world.namespace, &theirs).await.unwrap();
    world.apply("shop", json!({"secret": {"name": "theirs"}})).await;
    let shop = world.not_ready("shop", "SecretConflict").await;
    let status = serde_json::to_string(&shop.status).unwrap();
    assert!(status.contains("example.com/token"), "its type is not named: {status}");
    assert_eq!(world.secrets().get("theirs").await.unwrap(), theirs);
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_a_key_in_a_namespace_that_was_left_while_the_write_was_prepared() {
    let mut world = World::without_operator().await;
    let proxy = ApiProxy::start(world.control_plane.kubeconfig()).await.unwrap();
    let client = client_for(proxy.kubeconfig().unwrap()).await.unwrap();
    world.start_operator_with(client).await;
    world.organization_ready("default").await;
    // The claim has the key; then the resource is deleted and made again before the Secret is written.
    let claim = Match::method(Method::PUT).path_contains("/secrets/claim-").times(1);
    let gate = Gate::new();
    proxy.on(claim, Action::hold_after(&gate));
    let before = world.apply("shop", json!({})).await;
    gate.reached().await;
    world.delete("shop").await;
    let writes = proxy.count(|write| write.path.ends_with(&format!("/{}/secrets", world.namespace)));
    gate.open();
    let after = world.apply("shop", json!({"suspend": true})).await;
    assert_ne!(before.uid(), after.uid());
    world.not_ready("shop", "Suspended").await;
    assert_eq!(
        proxy.count(|write| write.path.ends_with(&format!("/{}/secrets", world.namespace))),
        writes,
        "a Secret was written for a resource that is gone"
    );
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_refused_takes_ready_away_only_if_the_published_key_is_not_the_current_one() {
    let (world, proxy, key) = behind_a_proxy().await;
    let refusal = || Action::refuse(StatusCode::FORBIDDEN, "Forbidden", "exceeded quota: of this test");
    let secrets = format!("/namespaces/{}/secrets", world.namespace);
    let update = proxy.on(Match::method(Method::PUT).path_contains(format!("{secrets}/shop")), refusal());
    // The key is there, the label is not: whoever reads the Secret misses nothing.
    world.apply("shop", json!({"secret": {"labels": {"team": "a"}}})).await;
    let shop = world.reaches(&world.namespace, "shop", "SecretPublished", "False", "SecretRefused").await;
    let text = serde_json::to_string(&shop.status).unwrap();
    assert!(text.contains("exceeded quota: of this test"), "the API server's words are missing");
    world.reaches(&world.namespace, "shop", "Ready", "True", "Reconciled").await;
    update.remove();
    world.poke("shop").await;
    world.reaches(&world.namespace, "shop", "SecretPublished", "True", "Reconciled").await;
    // The Secret is gone and cannot be written.
    let create = proxy.on(Match::method(Method::POST).path_ends_with(secrets), refusal());
    delete(&world, "shop").await;
    world.not_ready("shop", "SecretRefused").await;
    create.remove();
    holds(&world, "shop", &key).await;
    world.ready("shop").await;
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
