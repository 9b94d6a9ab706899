//! The control plane that all tests of this binary share, and requests as `kubectl` makes them: unknown fields are
//! errors, not warnings.

use axum::http::{Method, Request};
use composio_operator::crd;
use kube::Client;
use serde_json::{Value, json};
use testbed::controlplane::{ControlPlane, Options};

/// The control plane with both kinds.
pub(crate) async fn control_plane() -> &'static ControlPlane {
    match ControlPlane::shared(Options::with_crds(crd::all())).await {
        Ok(control_plane) => control_plane,
        Err(error) => panic!("no control plane: {error}"),
    }
}

/// A namespace of one test, and the requests of that test.
pub(crate) struct Cluster {
    client: Client,
    pub(crate) namespace: String,
}

/// How a manifest gets to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `kubectl create`, and the first `kubectl apply`.
    Create,
    /// `kubectl replace`.
    Replace,
    /// `kubectl apply --server-side`, Argo CD, Flux.
    Apply,
}

impl Cluster {
    /// With a fresh namespace whose name begins with `name`.
    pub(crate) async fn new(name: &str) -> Self {
        let client = control_plane().await.client().await.expect("the admin has a client");
        let namespace = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let cluster = Self { client, namespace };
        cluster.ensure_namespace(&cluster.namespace).await;
        cluster
    }

    /// Makes a namespace unless it is there.
    pub(crate) async fn ensure_namespace(&self, name: &str) {
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.send(Way::Apply, &manifest, false).await.expect("a namespace can be made");
    }

    /// The object as the API server has it then, or the API server's words. `dry`: nothing is stored.
    pub(crate) async fn send(&self, way: Way, manifest: &Value, dry: bool) -> Result<Value, String> {
        let (method, content_type) = match way {
            Way::Create => (Method::POST, "application/json"),
            Way::Replace => (Method::PUT, "application/json"),
            Way::Apply => (Method::PATCH, "application/apply-patch+yaml"),
        };
        let name = manifest["metadata"]["name"].as_str().filter(|_| way != Way::Create);
        let force = if way == Way::Apply { "&force=true" } else { "" };
        let dry = if dry { "&dryRun=All" } else { "" };
        let query = format!("?fieldManager=manifests&fieldValidation=Strict{force}{dry}");
        let path = format!("{}{query}", path(manifest, name, &self.namespace));
        self.raw(method, &path, content_type, manifest.to_string()).await
    }

    /// Deletes the object.
    pub(crate) async fn delete(&self, manifest: &Value) -> Result<Value, String> {
        let path = path(manifest, manifest["metadata"]["name"].as_str(), &self.namespace);
        self.raw(Method::DELETE, &path, "application/json", String::new()).await
    }

    /// Any request. The error is the message of the API server.
    pub(crate) async fn raw(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: String,
    ) -> Result<Value, String> {
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        let request = request.body(body.into_bytes()).expect("the request is well formed");
        self.client.request::<Value>(request).await.map_err(|error| match error {
            kube::Error::Api(status) => status.message.clone(),
            other => panic!("no answer of the API server: {other}"),
        })
    }
}

/// The collection of a manifest, or the object with `name` in it.
fn path(manifest: &Value, name: Option<&str>, namespace: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&manifest["apiVersion"]), text(&manifest["kind"]));
    let root = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
    let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or(namespace);
    let namespace = if kind == "Namespace" { String::new() } else { format!("/namespaces/{namespace}") };
    let name = name.map(|name| format!("/{name}")).unwrap_or_default();
    format!("{root}{namespace}/{}s{name}", kind.to_lowercase())
}

/// A ComposioProject with the name `shop`.
pub(crate) fn project(spec: Value) -> Value {
    manifest("ComposioProject", "shop", spec)
}

/// A ComposioOrganization with the name `default`.
pub(crate) fn organization(spec: Value) -> Value {
    manifest("ComposioOrganization", "default", spec)
}

/// A manifest as users write it, without a namespace.
pub(crate) fn manifest(kind: &str, name: &str, spec: Value) -> Value {
    let mut manifest =
        json!({"apiVersion": "composio.dev/v1alpha1", "kind": kind, "metadata": {"name": name}});
    manifest["spec"] = spec;
    manifest
}
