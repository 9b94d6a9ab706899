//! Argo CD: health, actions and comparison, as its application controller has them.

use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::Command;

use super::ask;
use crate::controlplane::ControlPlane;
use crate::programs::suite::Suite;

const PROGRAM: &str = "argo-cd-judge";

const SUITE: Suite = Suite {
    name: "argocd",
    programs: &[PROGRAM],
    sources: &[
        ("go.mod", include_str!("../../argocd/go.mod")),
        ("go.sum", include_str!("../../argocd/go.sum")),
        ("main.go", include_str!("../../argocd/main.go")),
    ],
    packages: &["."],
    minutes: 5,
    crds: &[("github.com/argoproj/argo-cd/v3@v3.2.12", "manifests/crds")],
};

/// Argo CD's code, configured by the ConfigMap `argocd-cm` of a namespace.
#[derive(Debug)]
pub struct ArgoCd {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
}

/// What it is asked about one object.
#[derive(Debug, Default, Serialize)]
pub struct Question {
    /// What the cluster has.
    pub live: Value,
    /// What Git has; without it, nothing is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Value>,
    /// An action that is to be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// What it says of one object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// Why there is no judgement.
    #[serde(default)]
    pub error: String,
    /// `Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing` or `Unknown`.
    pub health: String,
    /// What is shown beside it.
    pub message: String,
    /// The actions that are offered and enabled.
    pub actions: Vec<String>,
    /// The ways of comparing by which the object is out of sync, out of `three-way`, `structured-merge`, `server-side`.
    pub out_of_sync: Vec<String>,
    /// The object as the action wants it.
    pub patched: Option<Value>,
}

impl ArgoCd {
    /// Argo CD for a control plane. The first time its code is built, which takes some minutes.
    pub fn of(control_plane: &ControlPlane, namespace: &str) -> anyhow::Result<Self> {
        let program = SUITE.directory()?.join(PROGRAM);
        let kubeconfig = control_plane.kubeconfig_path();
        Ok(Self { program, kubeconfig, namespace: namespace.to_owned() })
    }

    /// Application, ApplicationSet and AppProject.
    pub fn crds() -> anyhow::Result<Vec<CustomResourceDefinition>> {
        SUITE.crds()
    }

    /// A judgement for each question.
    pub async fn judge(&self, questions: &[Question]) -> anyhow::Result<Vec<Judgement>> {
        let mut command = Command::new(&self.program);
        command.arg(&self.kubeconfig).arg(&self.namespace);
        ask(command, questions).await
    }
}
