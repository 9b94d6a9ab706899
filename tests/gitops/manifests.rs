//! The manifests for Flux and Argo CD in `examples/gitops`, judged by their own definitions on the API server.

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::world::World;

use crate::scene::{define, documents, files};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_manifest_is_accepted_without_a_field_that_nobody_knows() {
    let world = World::without_operator().await;
    define(world.control_plane).await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(world.client.clone());
    for name in ["flux-system", "argocd", "composio-system"] {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a namespace");
        match namespaces.create(&PostParams::default(), &namespace).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
    let mut seen = Vec::new();
    for (path, _) in files() {
        let is_for_tools = ["gitops/flux/", "gitops/argocd/"].iter().any(|start| path.starts_with(start));
        if !is_for_tools || path.ends_with("kustomization.yaml") {
            continue;
        }
        for document in documents(&path) {
            let object: DynamicObject = serde_json::from_value(document.clone()).expect("an object");
            let types = object.types.clone().expect("a kind");
            let resource = ApiResource::from_gvk(&types.try_into().expect("a version"));
            let api: Api<DynamicObject> = match object.metadata.namespace.as_deref() {
                Some(namespace) => Api::namespaced_with(world.client.clone(), namespace, &resource),
                None => Api::all_with(world.client.clone(), &resource),
            };
            let params = PatchParams::apply("tests").force().dry_run().validation_strict();
            let name = object.metadata.name.clone().expect("a name");
            if document["kind"] == "Namespace" {
                let prune = &document["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/prune"];
                assert_eq!(prune, "disabled", "{path}: whatever disappears from Git, the ledger stays");
            }
            let answer = api.patch(&name, &params, &Patch::Apply(&document)).await;
            answer.unwrap_or_else(|error| panic!("{path}, {name}: {error}"));
            seen.push(document["kind"].as_str().map(ToOwned::to_owned).unwrap_or_default());
        }
    }
    for kind in ["Kustomization", "HelmRelease", "GitRepository", "ApplicationSet", "ConfigMap"] {
        assert!(seen.iter().any(|seen| seen == kind), "no {kind} among {seen:?}");
    }
    world.finish(&[]).await;
}
