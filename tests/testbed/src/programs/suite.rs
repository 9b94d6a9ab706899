//! What Go modules give: programs that one of them builds together, and CustomResourceDefinitions of others, kept under a key of
//! where they come from. Which ones there are, `tools` and `gitops` say.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::cache::Cache;
use super::go::{self, Sources};
use super::on_path;
use super::progress::Progress;

/// See the module.
pub(crate) struct Suite {
    /// Its name in the cache.
    pub(crate) name: &'static str,
    /// File names of the programs.
    pub(crate) programs: &'static [&'static str],
    /// The Go module: `go.mod` and `go.sum`, with the versions and checksums, and what there is of source.
    pub(crate) sources: &'static Sources,
    /// What `go build` is to build, if anything: packages, or `tool` for those of `go.mod`.
    pub(crate) packages: &'static [&'static str],
    /// About how long that takes on two cores.
    pub(crate) minutes: u8,
    /// Directories of CustomResourceDefinitions: module with version, directory in it.
    pub(crate) crds: &'static [(&'static str, &'static str)],
}

/// Where the definitions are.
const CRDS: &str = "crds";

impl Suite {
    /// Its definitions. See `directory`.
    pub(crate) fn crds(&self) -> anyhow::Result<Vec<CustomResourceDefinition>> {
        let mut crds = Vec::new();
        for entry in fs::read_dir(self.directory()?.join(CRDS))? {
            let text = fs::read_to_string(entry?.path())?;
            // A kustomization.yaml among them is for people.
            if !text.contains("kustomize.config.k8s.io") {
                crds.extend(serde_saphyr::from_multiple::<CustomResourceDefinition>(&text)?);
            }
        }
        Ok(crds)
    }

    /// The directory with the programs. The first time that takes some minutes, which show their progress on stderr; of
    /// several processes one works, and the others wait.
    pub(crate) fn directory(&self) -> anyhow::Result<PathBuf> {
        let origin: Vec<_> = self.sources.iter().chain(self.crds).copied().collect();
        let (cache, key) = (Cache::from_env(), format!("{}-{}", self.name, go::digest(&origin)));
        if let Ok(dir) = cache.entry(&key, self.programs) {
            return Ok(dir);
        }
        let _lock = cache.lock(true)?;
        // Whoever held the lock until now may have built them.
        if let Ok(dir) = cache.entry(&key, self.programs) {
            return Ok(dir);
        }
        let definitions = (!self.crds.is_empty()).then(|| format!("the definitions of {}", self.name));
        let names: Vec<_> = self.programs.iter().map(ToString::to_string).chain(definitions).collect();
        let names = names.join(", ");
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        let program = on_path(&search_path, "go").with_context(|| {
            format!(
                "{names} are not at hand, and neither is `go` to get them: install Go 1.26 or later \
                 (https://go.dev/dl)"
            )
        })?;
        let progress = Progress::start(format!("getting {names} (once, about {} min)", self.minutes), true);
        let built = cache.install(&key, self.programs, |dir| self.get(dir, &program, &progress))?;
        progress.done(if built.is_ok() { "done" } else { "not possible" });
        built.map_err(|reason| anyhow!("{names} could not be had: {reason}"))
    }

    fn get(&self, dir: &Path, program: &Path, progress: &Progress) -> Result<(), String> {
        let sources = go::unpacked(dir, self.sources)?;
        progress.detail("fetching Go modules");
        if !self.packages.is_empty() {
            self.build(dir, program, &sources, progress)?;
        }
        for (module, from) in self.crds {
            let answer = go::run(program, &sources, ["mod", "download", "-json", module], |_| {})?;
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
            let place = answer["Dir"].as_str().ok_or_else(|| format!("go does not say where {module} is"))?;
            copied(&Path::new(place).join(from), &dir.join(CRDS))
                .map_err(|error| format!("cannot copy {from} of {module}: {error}"))?;
        }
        fs::remove_dir_all(&sources).map_err(|error| format!("cannot remove the sources: {error}"))
    }

    fn build(&self, to: &Path, program: &Path, sources: &Path, progress: &Progress) -> Result<(), String> {
        let mut compiled = 0_usize;
        let flags = ["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"].map(OsStr::new);
        let packages = self.packages.iter().map(OsStr::new);
        let arguments = flags.into_iter().chain([to.as_os_str()]).chain(packages);
        let built = go::run(program, sources, arguments, |package| {
            compiled += 1;
            progress.detail(format!("{compiled} packages, now {package}"));
        });
        built.map(drop)
    }
}

/// Copies the files of a directory; their modes are not taken over, because those of Go's module cache cannot be removed.
fn copied(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::write(to.join(entry.file_name()), fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
