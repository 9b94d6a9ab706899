//! The operator with exactly the rights of the chart, as a ServiceAccount with a real token.

use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::World;
use crate::chart::{RELEASE, rendered};
use crate::controlplane::client_for;

/// Groups of what an administrator decides about the operator.
const GROUPS: [&str; 2] = ["rbac.authorization.k8s.io/", "admissionregistration.k8s.io/"];

#[expect(clippy::expect_used, reason = "what cannot be granted fails its test")]
impl World {
    /// Installs what the chart grants, and what it forbids, to the operator of this world: its roles, bindings and admission
    /// policy, with these arguments of helm. Returns the API server's client of its ServiceAccount.
    pub async fn granted(&self, arguments: &[&str]) -> Client {
        let objects = rendered(&self.system, arguments).expect("the chart");
        let is_meant = |object: &DynamicObject| {
            let types = object.types.as_ref().expect("a kind");
            types.kind == "ServiceAccount" || GROUPS.iter().any(|group| types.api_version.starts_with(group))
        };
        for object in objects.into_iter().filter(is_meant) {
            self.apply_any(object).await;
        }
        self.service_account(RELEASE).await
    }

    /// Applies an object of any kind.
    pub async fn apply_any(&self, object: DynamicObject) {
        let types = object.types.clone().expect("a kind");
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types).expect("a kind"));
        let api: Api<DynamicObject> = match object.namespace() {
            None => Api::all_with(self.client.clone(), &resource),
            Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &resource),
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
