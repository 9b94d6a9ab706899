//! The control plane of the test bed, tested on itself: what tests of the operator rely on is true here.

mod finder;
mod lifetime;
mod proxy;

use std::time::Duration;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use testbed::controlplane::{ControlPlane, Options, client_for};
use testbed::eventually::eventually;

/// Generous, because it is only waited out when something is broken.
const SOON: Duration = Duration::from_mins(1);

/// A kind with a rule in CEL, which only a real API server enforces.
fn definition(plural: &str, kind: &str) -> anyhow::Result<CustomResourceDefinition> {
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": { "size": { "type": "integer" } },
                "x-kubernetes-validations": [
                    { "rule": "!has(self.size) || self.size % 2 == 0", "message": "size must be even" },
                ],
            },
        },
    });
    Ok(serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.testbed.example.com") },
        "spec": {
            "group": "testbed.example.com",
            "scope": "Namespaced",
            "names": { "plural": plural, "singular": kind.to_lowercase(), "kind": kind },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    }))?)
}

/// The control plane that all tests here share.
async fn control_plane() -> anyhow::Result<&'static ControlPlane> {
    Ok(ControlPlane::shared(Options::with_crds([definition("gadgets", "Gadget")?])).await?)
}

/// A new namespace with a generated name.
async fn namespace(client: &Client) -> anyhow::Result<String> {
    let api: Api<Namespace> = Api::all(client.clone());
    let metadata = ObjectMeta { generate_name: Some("testbed-".into()), ..ObjectMeta::default() };
    let created = api.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await?;
    Ok(created.name_any())
}

fn objects(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("testbed.example.com", "v1", kind));
    Api::namespaced_with(client.clone(), namespace, &kind)
}

fn gadget(name: &str, size: i64) -> anyhow::Result<DynamicObject> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "testbed.example.com/v1", "kind": "Gadget",
        "metadata": { "name": name }, "spec": { "size": size },
    }))?)
}

#[tokio::test]
async fn a_given_definition_is_served_at_once_and_its_rules_hold() -> anyhow::Result<()> {
    let client = control_plane().await?.client().await?;
    let gadgets = objects(&client, &namespace(&client).await?, "Gadget");
    gadgets.create(&PostParams::default(), &gadget("even", 2)?).await?;
    let refused = gadgets.create(&PostParams::default(), &gadget("odd", 3)?).await.unwrap_err();
    assert!(refused.to_string().contains("size must be even"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_definition_that_comes_later_is_served_when_apply_returns() -> anyhow::Result<()> {
    let control_plane = control_plane().await?;
    control_plane.apply_crds(&[definition("gizmos", "Gizmo")?]).await?;
    let client = control_plane.client().await?;
    let listed = objects(&client, "default", "Gizmo").list(&ListParams::default()).await?;
    assert!(listed.items.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_namespace_gets_a_service_account_whose_token_works_and_has_no_rights() -> anyhow::Result<()> {
    let control_plane = control_plane().await?;
    let admin = control_plane.client().await?;
    let namespace = namespace(&admin).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(admin, &namespace);
    eventually("the namespace has the ServiceAccount `default`", SOON, async || {
        accounts.get("default").await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let client = client_for(control_plane.service_account_kubeconfig(&namespace, "default").await?).await?;
    let reviewer: Api<SelfSubjectReview> = Api::all(client.clone());
    let answer = reviewer.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    let user = answer.status.and_then(|status| status.user_info).and_then(|user| user.username);
    assert_eq!(user, Some(format!("system:serviceaccount:{namespace}:default")));
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let refused = secrets.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
    Ok(())
}

#[tokio::test]
async fn an_owned_object_goes_with_its_owner() -> anyhow::Result<()> {
    let client = control_plane().await?.client().await?;
    let namespace = namespace(&client).await?;
    let gadgets = objects(&client, &namespace, "Gadget");
    let parent = gadgets.create(&PostParams::default(), &gadget("owner", 2)?).await?;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("testbed.example.com", "v1", "Gadget"));
    let owned = ConfigMap {
        metadata: ObjectMeta {
            name: Some("owned".into()),
            owner_references: parent.controller_owner_ref(&kind).map(|reference| vec![reference]),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    assert!(owned.metadata.owner_references.is_some());
    let config_maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    config_maps.create(&PostParams::default(), &owned).await?;
    gadgets.delete("owner", &DeleteParams::background()).await?;
    eventually("the ConfigMap is collected", SOON, async || match config_maps.get_opt("owned").await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err("it is still there".into()),
        Err(error) => Err(error.to_string()),
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn foreground_deletion_ends() -> anyhow::Result<()> {
    let client = control_plane().await?.client().await?;
    let gadgets = objects(&client, &namespace(&client).await?, "Gadget");
    gadgets.create(&PostParams::default(), &gadget("one", 2)?).await?;
    gadgets.delete("one", &DeleteParams::foreground()).await?;
    eventually("the object is gone", SOON, async || match gadgets.get_opt("one").await {
        Ok(None) => Ok(()),
        Ok(Some(object)) => Err(format!("it is still there, with finalizers {:?}", object.finalizers())),
        Err(error) => Err(error.to_string()),
    })
    .await;
    Ok(())
}
