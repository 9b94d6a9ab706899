//! Programs that judge what this project ships: helm and kubeconform for the chart, promtool for alerts. They are taken from
//! `PATH` if all are there, else from the cache, else built from their official Go modules, whose versions and checksums
//! stand in `tools/go.mod` and `tools/go.sum`.

use std::path::PathBuf;

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
}

const SUITE: Suite = Suite {
    name: "tools",
    programs: &["helm", "kubeconform", "promtool"],
    sources: &[("go.mod", include_str!("../tools/go.mod")), ("go.sum", include_str!("../tools/go.sum"))],
    packages: &["tool"],
    minutes: 5,
    files: &[],
};

impl Tool {
    /// Where it is. The first time that may take some minutes, which show their progress on stderr; of several processes
    /// one works, and the others wait.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        let found: Option<Vec<PathBuf>> =
            SUITE.programs.iter().map(|name| on_path(&search_path, name)).collect();
        match found {
            Some(found) => Ok(found[self as usize].clone()),
            None => Ok(SUITE.directory()?.join(SUITE.programs[self as usize])),
        }
    }
}
