//! What the scenarios share: the files of `examples/gitops`, and Flux in a world.

use std::fs;
use std::path::Path;

use composio_operator::crd::ComposioOrganization;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::controlplane::ControlPlane;
use testbed::eventually::eventually;
use testbed::gitops::{ArgoCd, Flux};
use testbed::world::{PATIENCE, World};
use tokio::sync::Mutex;

/// Where the examples are.
pub(crate) const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gitops");

/// Name of the ExternalArtifact.
const ARTIFACT: &str = "platform";

/// All files of the examples, by the paths that they have in the repository of which they are an example.
pub(crate) fn files() -> Vec<(String, String)> {
    let (mut files, mut directories) = (Vec::new(), vec![Path::new(EXAMPLES).to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let relative = path.strip_prefix(EXAMPLES).expect("a path below").display().to_string();
            files.push((format!("gitops/{relative}"), fs::read_to_string(&path).expect("text")));
        }
    }
    files.sort();
    files
}

/// The documents of one of these files.
pub(crate) fn documents(path: &str) -> Vec<Value> {
    let files = files();
    let (_, text) = files.iter().find(|(name, _)| name == path).expect("an example of this name");
    serde_saphyr::from_multiple(text).expect("YAML")
}

/// Applies the definitions, as often as it is asked.
pub(crate) async fn define(control_plane: &ControlPlane) {
    static DEFINED: Mutex<bool> = Mutex::const_new(false);
    let mut defined = DEFINED.lock().await;
    if !*defined {
        let mut crds = Flux::crds().expect("the definitions of Flux");
        crds.extend(ArgoCd::crds().expect("the definitions of Argo CD"));
        control_plane.apply_crds(&crds).await.expect("definitions that are served");
        *defined = true;
    }
}

/// A world to which Flux brings organization and projects. No operator runs yet.
pub(crate) struct Scene {
    pub(crate) world: World,
    flux: Flux,
    revision: String,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let world = World::without_operator().await;
        define(world.control_plane).await;
        // Git brings it.
        let organizations: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
        organizations.delete("default", &DeleteParams::default()).await.expect("an organization that goes");
        let flux = Flux::start(world.control_plane, &world.system).await.expect("a kustomize-controller");
        Self { world, flux, revision: String::new() }
    }

    /// What Git has from now on.
    pub(crate) async fn push(&mut self, files: &[(String, String)]) {
        let World { client, system, .. } = &self.world;
        self.revision = self.flux.publish(client, system, ARTIFACT, files).await.expect("an artifact");
    }

    /// The Kustomization of this name from the examples, for a cluster, with what is different in this world: where the files
    /// come from, into which namespace they go, and where Composio is.
    pub(crate) async fn follow(&self, name: &str, cluster: &str) {
        let documents = documents("gitops/flux/kustomizations.yaml");
        let named =
            |document: &&Value| document["kind"] == "Kustomization" && document["metadata"]["name"] == name;
        let mut object = documents.iter().find(named).expect("a Kustomization of this name").clone();
        let path =
            object["spec"]["path"].as_str().expect("a path").replace("/prod/", &format!("/{cluster}/"));
        let is_organization = name == "composio-organization";
        let namespace = if is_organization { &self.world.system } else { &self.world.namespace };
        object["metadata"]["namespace"] = json!(self.world.system);
        object["spec"]["path"] = json!(path);
        object["spec"]["targetNamespace"] = json!(namespace);
        object["spec"]["sourceRef"] = json!({"kind": "ExternalArtifact", "name": ARTIFACT});
        if is_organization {
            // The operator is there already.
            object["spec"]["dependsOn"] = json!([]);
            let changes = json!([
                {"op": "add", "path": "/spec/endpoint", "value": {"url": self.world.emulator.url()}},
                {"op": "replace", "path": "/spec/apiKeySecretRef/name", "value": "default-key"},
            ]);
            object["spec"]["patches"] = json!([{
                "target": {"kind": "ComposioOrganization"}, "patch": changes.to_string()
            }]);
        }
        let params = PatchParams::apply("tests").force().validation_strict();
        self.kustomizations().patch(name, &params, &Patch::Apply(&object)).await.expect("a Kustomization");
    }

    fn kustomizations(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("kustomize.toolkit.fluxcd.io", "v1", "Kustomization");
        Api::namespaced_with(self.world.client.clone(), &self.world.system, &ApiResource::from_gvk(&kind))
    }

    /// Waits until `Ready` of a Kustomization has this status and reason for the newest revision; gives its message.
    pub(crate) async fn reaches(&self, name: &str, status: &str, reason: &str) -> String {
        let kustomizations = self.kustomizations();
        eventually(&format!("Kustomization {name} has Ready={status}, {reason}"), PATIENCE, async || {
            let object = kustomizations.get(name).await.map_err(|error| error.to_string())?;
            let attempted = object.data.pointer("/status/lastAttemptedRevision").and_then(Value::as_str);
            let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
            let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
            let is_current = attempted == Some(self.revision.as_str())
                && object.metadata.generation.map(Value::from).as_ref()
                    == ready.map(|ready| &ready["observedGeneration"]);
            match ready {
                Some(ready)
                    if (is_current || reason == "DependencyNotReady")
                        && ready["status"] == status
                        && ready["reason"] == reason =>
                {
                    Ok(ready["message"].as_str().unwrap_or_default().to_owned())
                }
                _ => Err(format!("its status is {}", object.data["status"])),
            }
        })
        .await
    }

    /// Removes a Kustomization without what it has applied.
    pub(crate) async fn forget(&self, name: &str) {
        let patch = json!({"spec": {"prune": false}});
        let kustomizations = self.kustomizations();
        kustomizations.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a patch");
        kustomizations.delete(name, &DeleteParams::default()).await.expect("a Kustomization that goes");
        eventually(&format!("Kustomization {name} is gone"), PATIENCE, async || {
            match kustomizations.get_opt(name).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(object) => Err(format!("it has {:?}", object.finalizers())),
            }
        })
        .await;
    }
}

/// Applies Argo CD's ConfigMap from the examples, as its namespace has it. Its code is built before, so that no wait for an
/// answer is a wait for a compiler.
pub(crate) async fn configure_argocd(world: &World) {
    ArgoCd::of(world.control_plane, &world.system).expect("Argo CD's code");
    let mut object = documents("gitops/argocd/argocd-cm.yaml").remove(0);
    object["metadata"]["namespace"] = json!(world.system);
    world.apply_to::<ConfigMap>(&world.system, &object).await.expect("a ConfigMap");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "argocd-secret", "labels": {"app.kubernetes.io/part-of": "argocd"}}
    });
    let applied = world.apply_to::<k8s_openapi::api::core::v1::Secret>(&world.system, &secret).await;
    applied.expect("a Secret");
}

pub(crate) async fn is_gone(world: &World, name: &str) {
    eventually(&format!("ComposioProject {name} is gone"), PATIENCE, async || {
        match world.projects().get_opt(name).await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(object) => Err(format!("it has {:?}", object.finalizers())),
        }
    })
    .await;
}

pub(crate) async fn all_gone(world: &World) {
    eventually("all resources are gone", PATIENCE, async || {
        let left = world.projects().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        left.items.is_empty().then_some(()).ok_or_else(|| format!("{} are left", left.items.len()))
    })
    .await;
}
