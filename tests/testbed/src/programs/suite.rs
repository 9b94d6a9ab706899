//! Programs that one Go module builds together, kept under a key of its sources. Which ones there are, `tools` and `gitops` say.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::cache::Cache;
use super::go::{self, Sources};
use super::on_path;
use super::progress::Progress;

/// See the module.
pub(crate) struct Suite {
    /// Its name in the cache.
    pub(crate) name: &'static str,
    /// Their file names.
    pub(crate) programs: &'static [&'static str],
    /// The Go module: `go.mod` and `go.sum`, with the versions and checksums, and what there is of source.
    pub(crate) sources: &'static Sources,
    /// What `go build` is to build: packages, or `tool` for those of `go.mod`.
    pub(crate) packages: &'static [&'static str],
    /// About how long that takes on two cores.
    pub(crate) minutes: u8,
    /// Directories of files besides the programs: module with version, directory in it, name in the entry.
    pub(crate) files: &'static [(&'static str, &'static str, &'static str)],
}

impl Suite {
    /// The directory with the programs. The first time that takes some minutes, which show their progress on stderr; of
    /// several processes one works, and the others wait.
    pub(crate) fn directory(&self) -> anyhow::Result<PathBuf> {
        let (cache, key) = (Cache::from_env(), format!("{}-{}", self.name, go::digest(self.sources)));
        if let Ok(dir) = cache.entry(&key, self.programs) {
            return Ok(dir);
        }
        let _lock = cache.lock(true)?;
        // Whoever held the lock until now may have built them.
        if let Ok(dir) = cache.entry(&key, self.programs) {
            return Ok(dir);
        }
        let names = self.programs.join(", ");
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        let program = on_path(&search_path, "go").with_context(|| {
            format!(
                "{names} are not at hand, and neither is `go` to build them: install Go 1.26 or later \
                 (https://go.dev/dl)"
            )
        })?;
        let progress = Progress::start(format!("building {names} (once, about {} min)", self.minutes), true);
        let built = cache.install(&key, self.programs, |dir| self.build(dir, &program, &progress))?;
        progress.done(if built.is_ok() { "done" } else { "not possible" });
        built.map_err(|reason| anyhow!("{names} could not be built: {reason}"))
    }

    fn build(&self, dir: &Path, program: &Path, progress: &Progress) -> Result<(), String> {
        let sources = go::unpacked(dir, self.sources)?;
        progress.detail("fetching Go modules");
        let mut compiled = 0_usize;
        let flags = ["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"].map(OsStr::new);
        let packages = self.packages.iter().map(OsStr::new);
        let arguments = flags.into_iter().chain([dir.as_os_str()]).chain(packages);
        go::run(program, &sources, arguments, |package| {
            compiled += 1;
            progress.detail(format!("{compiled} packages, now {package}"));
        })?;
        for (module, from, to) in self.files {
            let answer = go::run(program, &sources, ["mod", "download", "-json", module], |_| {})?;
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
            let place = answer["Dir"].as_str().ok_or_else(|| format!("go does not say where {module} is"))?;
            copied(&Path::new(place).join(from), &dir.join(to))
                .map_err(|error| format!("cannot copy {from} of {module}: {error}"))?;
        }
        fs::remove_dir_all(&sources).map_err(|error| format!("cannot remove the sources: {error}"))
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
