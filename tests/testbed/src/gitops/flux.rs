//! Flux: its kustomize-controller as a process, and the packages that it is made of.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use super::artifacts::{Artifact, Artifacts};
use super::ask;
use crate::controlplane::{ControlPlane, Supervised};
use crate::programs::suite::Suite;
use crate::programs::tail;

const CONTROLLER: &str = "kustomize-controller";
const JUDGE: &str = "flux-judge";

const SUITE: Suite = Suite {
    name: "flux",
    programs: &[CONTROLLER, JUDGE],
    sources: &[
        ("go.mod", include_str!("../../flux/go.mod")),
        ("go.sum", include_str!("../../flux/go.sum")),
        ("main.go", include_str!("../../flux/main.go")),
    ],
    packages: &[".", "tool"],
    minutes: 6,
    // Those of the sources are watched, whether one is used or not; that of HelmRelease is for the examples.
    crds: &[
        ("github.com/fluxcd/kustomize-controller@v1.9.5", "config/crd/bases"),
        ("github.com/fluxcd/source-controller@v1.9.0", "config/crd/bases"),
        ("github.com/fluxcd/helm-controller@v1.4.3", "config/crd/bases"),
    ],
};

/// A kustomize-controller that works, and the artifacts that it fetches.
#[derive(Debug)]
pub struct Flux {
    _controller: Supervised,
    artifacts: Artifacts,
    _directory: tempfile::TempDir,
}

/// What kstatus says of an object.
#[derive(Debug, Deserialize)]
pub struct KStatus {
    /// `Current`, `InProgress`, `Failed`, `Terminating`, `NotFound` or `Unknown`.
    pub status: String,
    /// Why.
    pub message: String,
}

/// What kstatus says of these objects, in the version that Flux has.
pub async fn kstatus(objects: &[Value]) -> anyhow::Result<Vec<KStatus>> {
    let mut command = Command::new(program(JUDGE)?);
    command.arg("status");
    ask(command, objects).await
}

/// The objects that Kustomize builds from a directory.
pub async fn kustomized(directory: &Path) -> anyhow::Result<Vec<Value>> {
    let output = Command::new(program(JUDGE)?).arg("build").arg(directory).output().await?;
    ensure!(output.status.success(), "{}: {}", directory.display(), tail(&output.stderr, 20));
    Ok(serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout)?)?)
}

fn program(name: &str) -> anyhow::Result<PathBuf> {
    Ok(SUITE.directory()?.join(name))
}

impl Flux {
    /// Starts it for the Kustomizations of one namespace of a control plane that has its definitions. The first time it is
    /// built, which takes some minutes.
    pub async fn start(control_plane: &ControlPlane, namespace: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let arguments = [
            "--watch-all-namespaces=false",
            "--feature-gates=ExternalArtifact=true",
            "--no-remote-bases",
            "--metrics-addr=127.0.0.1:0",
            "--health-addr=127.0.0.1:0",
            "--interval-jitter-percentage=0",
            "--requeue-dependency=1s",
        ];
        let kubeconfig = control_plane.kubeconfig_path();
        let kubeconfig = kubeconfig.to_str().context("a path in UTF-8")?;
        let environment = [("KUBECONFIG", kubeconfig), ("RUNTIME_NAMESPACE", namespace)];
        let log = directory.path().join("log");
        let controller = program(CONTROLLER)?;
        let controller = Supervised::spawn(&controller, arguments, &environment, log, directory.path())?;
        Ok(Self { _controller: controller, artifacts: Artifacts::serve().await?, _directory: directory })
    }

    /// Kustomization, HelmRelease and the sources.
    pub fn crds() -> anyhow::Result<Vec<CustomResourceDefinition>> {
        SUITE.crds()
    }

    /// Publishes files, by their paths, as the next revision of ExternalArtifact `name`, which is given.
    pub async fn publish(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
        files: &[(String, String)],
    ) -> anyhow::Result<String> {
        let Artifact { url, digest, size, revision } = self.artifacts.add(files)?;
        let kind = GroupVersionKind::gvk("source.toolkit.fluxcd.io", "v1", "ExternalArtifact");
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind));
        let object = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": name},
            "spec": {"sourceRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": name}}
        });
        let time = jiff::Timestamp::now().strftime("%FT%TZ").to_string();
        let status = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind,
            "status": {
                "artifact": {"url": url, "path": name, "digest": digest, "size": size, "revision": revision,
                    "lastUpdateTime": time},
                "conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored",
                    "lastTransitionTime": time}]
            }
        });
        let params = PatchParams::apply("testbed").force();
        api.patch(name, &params, &Patch::Apply(&object)).await?;
        api.patch_status(name, &params, &Patch::Apply(&status)).await?;
        Ok(revision)
    }
}
