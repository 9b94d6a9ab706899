//! What several scenarios do with Secrets and claims.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::controlplane::client_for;
use testbed::eventually::eventually;
use testbed::proxy::ApiProxy;
use testbed::world::{PATIENCE, World};

/// The entry of the key, by default.
pub(crate) const KEY: &str = "COMPOSIO_API_KEY";

/// A world with a ready project `shop`, and its published key.
pub(crate) async fn published() -> (World, String) {
    let world = World::start().await;
    let key = ready(&world).await;
    (world, key)
}

/// Makes a first project, which shows the organization's id and so causes further looks, and waits until all is quiet.
pub(crate) async fn first(world: &World) {
    world.apply("first", json!({})).await;
    eventually("the first project is through", PATIENCE, async || {
        let status = world.ready("first").await.status.unwrap_or_default();
        let claims = world.claims().await;
        let claim = claims.of("first").ok_or("there is no claim")?;
        let is_known = status.project.and_then(|project| project.organization_id).is_some();
        if is_known && claim["published"].is_object() { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await;
}

/// Makes `shop` in a world; gives its key.
pub(crate) async fn ready(world: &World) -> String {
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    world.entry("shop", KEY).await.unwrap()
}

/// The same through a proxy that notes all writes of the operator, after another project `first`.
pub(crate) async fn behind_a_proxy() -> (World, ApiProxy, String) {
    let mut world = World::without_operator().await;
    let proxy = ApiProxy::start(world.control_plane.kubeconfig()).await.unwrap();
    let client = client_for(proxy.kubeconfig().unwrap()).await.unwrap();
    world.start_operator_with(client).await;
    world.organization_ready("default").await;
    first(&world).await;
    let key = ready(&world).await;
    (world, proxy, key)
}

/// Deletes a Secret of the world's namespace.
pub(crate) async fn delete(world: &World, name: &str) {
    world.secrets().delete(name, &DeleteParams::default()).await.unwrap();
}

/// Changes a Secret as a person does.
pub(crate) async fn edit(world: &World, name: &str, change: Value) {
    let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    world.secrets().patch(name, &params, &Patch::Merge(change)).await.unwrap();
}

/// Waits until the Secret holds this key; gives it.
pub(crate) async fn holds(world: &World, name: &str, key: &str) -> Secret {
    eventually(&format!("Secret {name} holds the key"), PATIENCE, async || {
        let found = world.secrets().get_opt(name).await.map_err(|error| error.to_string())?;
        let secret = found.ok_or("it is not there")?;
        let is_there = secret.data.iter().flatten().any(|(_, value)| value.0 == key.as_bytes());
        if is_there { Ok(secret) } else { Err("it holds another one, or none".to_owned()) }
    })
    .await
}

/// Waits until a Secret is gone.
pub(crate) async fn gone(world: &World, name: &str) {
    eventually(&format!("Secret {name} is gone"), PATIENCE, async || {
        match world.secrets().get_opt(name).await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(_) => Err("it is there".to_owned()),
        }
    })
    .await;
}

/// Waits until the claim of `shop` has these names: published, superseded.
pub(crate) async fn recorded(world: &World, published: &str, superseded: &[&str]) {
    eventually("the claim knows its Secrets", PATIENCE, async || {
        let claims = world.claims().await;
        let claim = claims.of("shop").ok_or("there is no claim")?;
        let old = claim["superseded"].as_array().cloned().unwrap_or_default();
        let old: Vec<_> = old.iter().filter_map(|old| old["name"].as_str()).collect();
        let is_so = claim["published"]["name"] == published && old == superseded;
        if is_so { Ok(()) } else { Err(format!("published {}, superseded {old:?}", claim["published"])) }
    })
    .await;
}

/// The Secret that keeps the claim of `shop`.
pub(crate) async fn ledger(world: &World) -> (Api<Secret>, Secret) {
    let api: Api<Secret> = Api::namespaced(world.client.clone(), &world.system);
    let claims = api.list(&ListParams::default().labels("composio.dev/phase")).await.unwrap();
    let is_it = |claim: &Secret| claim.annotations()["composio.dev/project-name"] == "shop";
    (api.clone(), claims.into_iter().find(is_it).unwrap())
}

/// Changes the claim of `shop` behind the operator's back, as a restored backup does.
pub(crate) async fn rewrite_claim(world: &World, change: impl FnOnce(&mut Value), key: Option<&str>) {
    let (api, mut secret) = ledger(world).await;
    let data = secret.data.get_or_insert_default();
    let mut claim: Value = serde_json::from_slice(&data["claim.json"].0).unwrap();
    change(&mut claim);
    data.insert("claim.json".to_owned(), ByteString(serde_json::to_vec(&claim).unwrap()));
    match key {
        Some(key) => data.insert("apiKey".to_owned(), ByteString(key.as_bytes().to_vec())),
        None => data.remove("apiKey"),
    };
    api.replace(&secret.name_any(), &kube::api::PostParams::default(), &secret).await.unwrap();
}
