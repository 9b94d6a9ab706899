//! Programs that judge what this project ships: helm and kubeconform for the chart, promtool for alerts. They are taken from
//! `PATH` if all are there, else from the cache, else built from their official Go modules, whose versions and checksums
//! stand in `tools/go.mod` and `tools/go.sum`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use crate::programs::cache::Cache;
use crate::programs::progress::Progress;
use crate::programs::{go, on_path};

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

const NAMES: [&str; 3] = ["helm", "kubeconform", "promtool"];

const SOURCES: [(&str, &str); 2] =
    [("go.mod", include_str!("../tools/go.mod")), ("go.sum", include_str!("../tools/go.sum"))];

impl Tool {
    /// Where it is. The first time that may take some minutes, which show their progress on stderr; of several processes
    /// one works, and the others wait.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        let name = NAMES[self as usize];
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        let found: Option<Vec<PathBuf>> = NAMES.iter().map(|name| on_path(&search_path, name)).collect();
        match found {
            Some(found) => Ok(found[self as usize].clone()),
            None => Ok(cached(&search_path)?.join(name)),
        }
    }
}

fn cached(search_path: &OsStr) -> anyhow::Result<PathBuf> {
    let (cache, key) = (Cache::from_env(), format!("tools-{}", go::digest(&SOURCES)));
    if let Ok(dir) = cache.entry(&key, &NAMES) {
        return Ok(dir);
    }
    let _lock = cache.lock(true)?;
    // Whoever held the lock until now may have built them.
    if let Ok(dir) = cache.entry(&key, &NAMES) {
        return Ok(dir);
    }
    let program = on_path(search_path, "go").with_context(|| {
        format!(
            "{} are not all on PATH, and neither is `go` to build them: install Go 1.26 or later \
             (https://go.dev/dl), or the programs",
            NAMES.join(", ")
        )
    })?;
    let progress = Progress::start(format!("building {} (once, about 5 min)", NAMES.join(", ")), true);
    let built = cache.install(&key, &NAMES, |dir| build(dir, &program, &progress))?;
    progress.done(if built.is_ok() { "done" } else { "not possible" });
    built.map_err(|reason| anyhow!("{} could not be built: {reason}", NAMES.join(", ")))
}

fn build(dir: &Path, program: &Path, progress: &Progress) -> Result<(), String> {
    let sources = go::unpacked(dir, &SOURCES)?;
    progress.detail("fetching Go modules");
    let mut compiled = 0_usize;
    let arguments = ["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"].map(OsStr::new);
    go::run(
        program,
        &sources,
        arguments.into_iter().chain([dir.as_os_str(), OsStr::new("tool")]),
        |package| {
            compiled += 1;
            progress.detail(format!("{compiled} packages, now {package}"));
        },
    )?;
    fs::remove_dir_all(&sources).map_err(|error| format!("cannot remove the sources: {error}"))
}
