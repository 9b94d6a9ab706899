//! The operator with exactly the rights of a manifest, as a ServiceAccount with a real token.

use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::World;
use crate::controlplane::client_for;

/// Kinds of RBAC without a namespace.
const CLUSTER_WIDE: [&str; 2] = ["ClusterRole", "ClusterRoleBinding"];

#[expect(clippy::expect_used, reason = "what cannot be granted fails its test")]
impl World {
    /// Grants what a manifest of `docs/` grants, in the namespaces of this world: `composio-system` stands for the
    /// operator's, `shop` for that of the projects; names of the cluster get the world's suffix. Returns the API server's
    /// client of the ServiceAccount `composio-operator`.
    pub async fn granted(&self, manifest: &str) -> Client {
        let text = manifest
            .replace("namespace: composio-system", &format!("namespace: {}", self.system))
            .replace("namespace: shop", &format!("namespace: {}", self.namespace));
        let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(&text).expect("manifests");
        assert!(objects.len() > 1, "the manifest grants something");
        for object in objects {
            self.apply_any(self.suffixed(object)).await;
        }
        self.service_account("composio-operator").await
    }

    fn suffixed(&self, mut object: DynamicObject) -> DynamicObject {
        let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
        if CLUSTER_WIDE.contains(&kind.as_str()) {
            let name = format!("{}-{}", object.name_any(), self.system);
            if let Some(role) = object.data.pointer_mut("/roleRef/name") {
                *role = json!(format!("{}-{}", role.as_str().unwrap_or_default(), self.system));
            }
            object.metadata.name = Some(name);
        }
        object
    }

    /// Applies an object of any kind.
    pub async fn apply_any(&self, object: DynamicObject) {
        let types = object.types.clone().expect("a kind");
        let is_cluster_wide = CLUSTER_WIDE.contains(&types.kind.as_str());
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types).expect("a kind"));
        let api: Api<DynamicObject> = if is_cluster_wide {
            Api::all_with(self.client.clone(), &resource)
        } else {
            let namespace = object.namespace().expect("a namespace");
            Api::namespaced_with(self.client.clone(), &namespace, &resource)
        };
        let params = PatchParams::apply("tests").validation_strict();
        let applied = api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await;
        applied.expect("a manifest that the API server accepts");
    }

    /// A client of a ServiceAccount of the operator's namespace.
    pub async fn service_account(&self, name: &str) -> Client {
        let kubeconfig = self.control_plane.service_account_kubeconfig(&self.system, name).await;
        client_for(kubeconfig.expect("a token")).await.expect("a client")
    }

    /// Sets labels of a namespace, as an administrator does; `null` takes one away.
    pub async fn label_namespace(&self, name: &str, labels: Value) {
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        api.patch(name, &PatchParams::default(), &patch).await.expect("a namespace that can be labelled");
    }
}
