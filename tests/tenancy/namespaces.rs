//! Namespaces: organizations and projects where none are honoured, and a namespace that is another one of the same name.

use std::net::TcpListener;

use composio_operator::crd::{ComposioOrganization, ComposioProject};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::eventually::eventually;
use testbed::world::PATIENCE;

use crate::scene::{Scene, id};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_in_a_tenants_namespace_gets_no_key_and_no_call() {
    let scene = Scene::start().await;
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    for name in ["default", "evil"] {
        let spec = json!({
            "apiKeySecretRef": {"name": "default-key"}, "endpoint": {"url": url},
            "projectNameTemplate": "{name}"
        });
        scene.put::<ComposioOrganization>(json!({"metadata": {"name": name}, "spec": spec})).await;
    }
    let key =
        json!({"metadata": {"name": "default-key"}, "stringData": {"apiKey": "oak_of_the_tenant_00000"}});
    scene.put::<Secret>(key).await;
    scene.apply("mine", json!({"organizationRef": {"name": "evil"}})).await;
    scene.ends("mine", "False", "OrganizationNotFound").await;
    scene.nothing_done().await;

    let names = [format!("{}/default-key", scene.world.system), "../default-key".to_owned()];
    for name in names {
        let spec = json!({"apiKeySecretRef": {"name": name}});
        let object = json!({"metadata": {"name": "worse"}, "spec": spec});
        let words = scene.refused::<ComposioOrganization>(object).await;
        assert!(words.contains("spec.apiKeySecretRef.name"), "{words}");
    }
    // The one of the operator's namespace counts, whatever has its name elsewhere.
    scene.apply("own", json!({})).await;
    scene.ends("own", "True", "Reconciled").await;
    let connection = server.accept();
    assert!(connection.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "it was called");
    scene.others_untouched().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_made_again_does_not_inherit_the_key_of_the_earlier_one() {
    let mut scene = Scene::start().await;
    let (client, name) = (scene.world.client.clone(), scene.namespace.clone());
    scene.apply("left", json!({})).await;
    scene.ends("left", "True", "Reconciled").await;
    scene.looked_at("left").await;
    scene.apply("gone", json!({"deletionPolicy": "Delete"})).await;
    let gone = id(&scene.ends("gone", "True", "Reconciled").await);
    let key = scene.world.claims().await.key("left").map(ToOwned::to_owned);

    let namespaces: Api<Namespace> = Api::all(client.clone());
    let uid = namespaces.get(&name).await.unwrap().uid();
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", PATIENCE, async || {
        match namespaces.get_opt(&name).await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(namespace) => Err(format!("{:?}", namespace.status)),
        }
    })
    .await;
    assert!(scene.world.control.project(&gone).is_none_or(|project| project.deleted));
    scene.others_unchanged().await;
    scene.remember().await;
    let again: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let again = namespaces.create(&PostParams::default(), &again).await.unwrap();
    assert_ne!(again.uid(), uid);
    scene.tenant_again().await;

    scene.apply("left", json!({})).await;
    scene.ends("left", "False", "RebindDenied").await;
    // Another resource, and the Secret's name of the earlier team.
    scene.apply("right", json!({"projectName": "left", "secret": {"name": "left"}})).await;
    scene.ends("right", "False", "RebindDenied").await;
    let secrets = scene.api::<Secret>().list(&ListParams::default()).await.unwrap().items;
    assert!(secrets.is_empty(), "the new team has been given a Secret");
    for name in ["left", "right"] {
        scene.api::<ComposioProject>().delete(name, &DeleteParams::default()).await.unwrap();
    }
    scene.nothing_done().await;
    assert_eq!(scene.world.claims().await.key("left").map(ToOwned::to_owned), key);
    scene.finish(&[]).await;
}
