//! `spec.endpoint.caBundleRef`: an endpoint behind a certificate of an authority of its own.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testbed::tls::TlsFront;
use testbed::world::World;

use crate::scene::organizations;

/// A world with an operator, and organization `default` behind TLS, trusted by this bundle.
async fn behind_tls(reference: Option<Value>) -> (World, TlsFront) {
    let mut world = World::without_operator().await;
    let front = TlsFront::start(world.emulator.url()).await.unwrap();
    endpoint(&world, &front, reference).await;
    world.start_operator().await;
    (world, front)
}

async fn endpoint(world: &World, front: &TlsFront, reference: Option<Value>) {
    let mut endpoint = json!({"url": front.url()});
    if let Some(reference) = reference {
        endpoint["caBundleRef"] = reference;
    }
    let key = world.organization.key.clone();
    world.add_organization("default", &key, json!({"endpoint": endpoint})).await;
}

async fn bundle(world: &World, entry: &str, pem: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "corp-ca"}, "data": {entry: pem}
    });
    world.apply_to::<ConfigMap>(&world.system, &object).await.unwrap();
}

async fn says(world: &World, reason: &str, words: &str) {
    world.organization_says("default", "False", reason, words).await;
}

/// Asks for a look, as a person does.
async fn poke(world: &World) {
    let value = uuid::Uuid::new_v4().to_string();
    let patch = json!({"metadata": {"annotations": {"composio.dev/reconcile-requested-at": value}}});
    let patch = kube::api::Patch::Merge(patch);
    organizations(world).patch("default", &kube::api::PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_trusted_by_the_given_bundle_only() {
    let (world, front) = behind_tls(None).await;
    // The platform does not know this authority.
    says(&world, "EndpointUnreachable", "invalid peer certificate").await;
    let another = TlsFront::start(world.emulator.url()).await.unwrap();
    bundle(&world, "ca.crt", another.ca_pem()).await;
    endpoint(&world, &front, Some(json!({"name": "corp-ca"}))).await;
    poke(&world).await;
    says(&world, "EndpointUnreachable", "invalid peer certificate").await;
    assert_eq!(world.control.journal_since(0).len(), 0, "something was sent to whom nobody trusts");
    // A bundle may have several.
    bundle(&world, "ca.crt", &format!("corporate\n{}\n{}", another.ca_pem(), front.ca_pem())).await;
    poke(&world).await;
    world.organization_ready("default").await;
    world.apply("shop", json!({"secret": {"keys": {"baseUrl": "COMPOSIO_BASE_URL"}}})).await;
    world.ready("shop").await;
    assert_eq!(world.entry("shop", "COMPOSIO_BASE_URL").await.as_deref(), Some(front.url()));
    // Another authority from now on: the change is picked up, also where all is well.
    bundle(&world, "ca.crt", another.ca_pem()).await;
    poke(&world).await;
    says(&world, "EndpointUnreachable", "invalid peer certificate").await;
    world.apply("new", json!({})).await;
    world.not_ready("new", "OrganizationNotReady").await;
    bundle(&world, "ca.crt", front.ca_pem()).await;
    poke(&world).await;
    world.organization_ready("default").await;
    world.ready("new").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_cannot_be_used_is_told_with_what_would_be_right() {
    let (world, front) = behind_tls(Some(json!({"name": "corp-ca"}))).await;
    says(&world, "EndpointInvalid", "there is no ConfigMap \"corp-ca\" in the operator's namespace").await;
    bundle(&world, "ca.pem", front.ca_pem()).await;
    poke(&world).await;
    says(&world, "EndpointInvalid", "ConfigMap \"corp-ca\" has no entry \"ca.crt\"").await;
    bundle(&world, "ca.pem", "not a certificate").await;
    endpoint(&world, &front, Some(json!({"name": "corp-ca", "key": "ca.pem"}))).await;
    says(&world, "EndpointInvalid", "would begin with -----BEGIN CERTIFICATE-----").await;
    bundle(&world, "ca.pem", front.ca_pem()).await;
    poke(&world).await;
    world.organization_ready("default").await;
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), &world.system);
    maps.delete("corp-ca", &DeleteParams::default()).await.unwrap();
    poke(&world).await;
    says(&world, "EndpointInvalid", "there is no ConfigMap").await;
    world.finish(&[]).await;
}
