//! Objects from before a rule: it must be possible to change them elsewhere, to take off their finalizers and to delete
//! them. The definition of another group stands for an earlier release.

use std::time::Duration;

use axum::http::Method;
use composio_operator::crd;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrBool,
};
use serde_json::{Value, json};
use testbed::eventually::eventually;

use crate::cluster::{Cluster, Way, control_plane};

const GROUP: &str = "earlier.test";

#[tokio::test]
async fn an_object_from_before_a_rule_can_be_changed_elsewhere_and_deleted() {
    let cluster = Cluster::new("earlier").await;
    control_plane().await.apply_crds(&[without_rules(projects())]).await.expect("the definition is served");
    let mut old = breaking_rules();
    cluster.send(Way::Apply, &old, false).await.expect("there is no rule yet");

    control_plane().await.apply_crds(&[projects()]).await.expect("the definition is served");
    let mut new = old.clone();
    new["metadata"]["name"] = json!("new");
    eventually("the rules are in force", Duration::from_secs(30), async || {
        match cluster.send(Way::Apply, &new, true).await {
            Err(message) if message.contains("are reserved") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    old["spec"]["settings"]["displayName"] = json!("Shop");
    old["spec"]["secret"]["labels"]["team"] = json!("shop");
    let refused =
        cluster.send(Way::Apply, &old, true).await.expect_err("the labels are changed and still wrong");
    assert!(refused.contains("spec.secret.labels"), "{refused}");
    assert!(!refused.contains("logoUrl"), "what is unchanged is not complained about: {refused}");
    old["spec"]["secret"]["labels"] = json!({"composio.dev/x": "y"});
    cluster.send(Way::Apply, &old, false).await.expect("the change is elsewhere");

    cluster.delete(&old).await.expect("it can be deleted");
    release(&cluster).await;
    let gone = cluster.send(Way::Replace, &old, true).await.expect_err("it is gone");
    assert!(gone.contains("not found"), "{gone}");
}

fn breaking_rules() -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "ComposioProject",
        "metadata": {"name": "old", "finalizers": ["example.com/wait"]},
        "spec": {
            "settings": {"logoUrl": "logo.png"},
            "secret": {"name": "Old", "labels": {"composio.dev/x": "y"}, "template": {"a": "{unknown}"}},
        },
    })
}

/// Takes off the finalizers, as a controller does.
async fn release(cluster: &Cluster) {
    let path = format!("/apis/{GROUP}/v1alpha1/namespaces/{}/composioprojects/old", cluster.namespace);
    let released = json!({"metadata": {"finalizers": null}}).to_string();
    let answer = cluster.raw(Method::PATCH, &path, "application/merge-patch+json", released).await;
    answer.expect("a finalizer can be taken off");
}

/// The definition of ComposioProject in a group of this test, since that of the other tests must not change.
fn projects() -> CustomResourceDefinition {
    let projects = crd::all().into_iter().find(|crd| crd.spec.names.kind == "ComposioProject");
    let mut crd = projects.expect("there is a ComposioProject");
    GROUP.clone_into(&mut crd.spec.group);
    crd.metadata.name = Some(format!("composioprojects.{GROUP}"));
    crd
}

fn without_rules(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()).for_each(drop_rules);
    crd
}

fn drop_rules(schema: &mut JSONSchemaProps) {
    schema.x_kubernetes_validations = None;
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(drop_rules);
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        drop_rules(values);
    }
}
