//! The chart, as the real helm sees it.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use kube::core::DynamicObject;

use crate::programs::tail;
use crate::tools::Tool;

/// Where the chart is.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/composio-operator");
/// Name of a release whose objects have the chart's name.
pub const RELEASE: &str = "composio-operator";

/// The one value that has no default.
pub const IMAGE: &str = "--set=image.repository=registry.example/composio-operator";

/// Runs helm and gives its standard output. The error has what it said.
pub fn helm<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> anyhow::Result<String> {
    let mut command = Command::new(Tool::Helm.path()?);
    // Nothing of the user's configuration has a say.
    command.args(arguments).stdin(Stdio::null()).env_remove("KUBECONFIG").env("HELM_PLUGINS", "/nonexistent");
    let output = command.output().context("running helm")?;
    ensure!(output.status.success(), "helm ended with {}: {}", output.status, tail(&output.stderr, 40));
    String::from_utf8(output.stdout).context("the output of helm")
}

/// The objects of the chart for a namespace, with these arguments besides, such as `--set=replicas=1`.
pub fn rendered(namespace: &str, arguments: &[&str]) -> anyhow::Result<Vec<DynamicObject>> {
    serde_saphyr::from_multiple(&rendered_text(namespace, arguments)?).context("what helm has rendered")
}

/// The same as text, with its comments.
pub fn rendered_text(namespace: &str, arguments: &[&str]) -> anyhow::Result<String> {
    helm(["template", RELEASE, CHART, "--namespace", namespace, IMAGE].iter().chain(arguments))
}
