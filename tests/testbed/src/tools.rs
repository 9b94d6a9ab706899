//! Programs that judge what this project ships: helm and kubeconform for the chart, promtool for alerts, actionlint for the
//! workflows, BuildKit for the Dockerfile; and the definitions of the Prometheus operator. The programs of a suite are taken from
//! `PATH` if all of it are there, else from the cache, else built from their official Go modules, whose versions and checksums stand
//! in `go.mod` and `go.sum` of `tools` and `image`.

use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::programs::on_path;
use crate::programs::suite::Suite;

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Renders and installs charts.
    Helm,
    /// Compares manifests with schemas.
    Kubeconform,
    /// Checks rules and metrics of Prometheus.
    Promtool,
    /// Checks workflows.
    Actionlint,
    /// Says what BuildKit makes of a Dockerfile: `image/main.go`.
    DockerfilePlan,
}

const CHART: Suite = Suite {
    name: "tools",
    programs: &["helm", "kubeconform", "promtool"],
    sources: &[("go.mod", include_str!("../tools/go.mod")), ("go.sum", include_str!("../tools/go.sum"))],
    packages: &["tool"],
    minutes: 5,
    crds: &[],
};

const IMAGE: Suite = Suite {
    name: "image",
    programs: &["actionlint", "dockerfile-plan"],
    sources: &[
        ("go.mod", include_str!("../image/go.mod")),
        ("go.sum", include_str!("../image/go.sum")),
        ("main.go", include_str!("../image/main.go")),
    ],
    packages: &["tool", "."],
    minutes: 1,
    crds: &[],
};

const MONITORING: Suite = Suite {
    name: "prometheus-operator",
    programs: &[],
    sources: &[],
    packages: &[],
    minutes: 1,
    crds: &[(
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd",
    )],
};

/// The definitions of the Prometheus operator, ServiceMonitor and PrometheusRule among them.
pub fn monitoring_crds() -> anyhow::Result<Vec<CustomResourceDefinition>> {
    MONITORING.crds()
}

impl Tool {
    /// Where it is. The first time that may take some minutes, which show their progress on stderr; of several processes
    /// one works, and the others wait.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        let (suite, name) = self.place();
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        let is_there = suite.programs.iter().all(|name| on_path(&search_path, name).is_some());
        match on_path(&search_path, name).filter(|_| is_there) {
            Some(found) => Ok(found),
            None => Ok(suite.directory()?.join(name)),
        }
    }

    fn place(self) -> (&'static Suite, &'static str) {
        match self {
            Self::Helm => (&CHART, "helm"),
            Self::Kubeconform => (&CHART, "kubeconform"),
            Self::Promtool => (&CHART, "promtool"),
            Self::Actionlint => (&IMAGE, "actionlint"),
            Self::DockerfilePlan => (&IMAGE, "dockerfile-plan"),
        }
    }
}
