//! Where etcd, kube-apiserver and kube-controller-manager come from.
//!
//! In this order: `KUBEBUILDER_ASSETS`, `PATH`, the cache, a download of the official builds, a build from the
//! official Go modules. The last two fill the cache. A place counts if it has everything that is still missing;
//! only `KUBEBUILDER_ASSETS` may be incomplete, because the archives made for it have no controller manager.

mod download;
mod gobuild;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use download::{Artifact, Checksum, Release};

use crate::programs::cache::{Cache, CacheError};
use crate::programs::progress::Progress;
use crate::programs::{is_executable, on_path};

/// One of the three programs of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The store.
    Etcd,
    /// The API.
    ApiServer,
    /// Garbage collection, namespaces, ServiceAccounts.
    ControllerManager,
}

impl Part {
    /// All three, in the order in which they are started.
    pub const ALL: [Self; 3] = [Self::Etcd, Self::ApiServer, Self::ControllerManager];

    /// Their file names.
    pub const NAMES: [&'static str; 3] =
        [Self::Etcd.name(), Self::ApiServer.name(), Self::ControllerManager.name()];

    /// The file name of the program.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
        }
    }
}

/// The paths of the three programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The program `etcd`.
    pub etcd: PathBuf,
    /// The program `kube-apiserver`.
    pub api_server: PathBuf,
    /// The program `kube-controller-manager`.
    pub controller_manager: PathBuf,
}

impl Binaries {
    /// All three in one directory, whether they are there or not.
    fn in_dir(dir: &Path) -> Self {
        let path = |part: Part| dir.join(part.name());
        Self {
            etcd: path(Part::Etcd),
            api_server: path(Part::ApiServer),
            controller_manager: path(Part::ControllerManager),
        }
    }
}

/// Why no binaries could be had.
#[derive(Debug, thiserror::Error)]
pub enum AssetsError {
    /// Every place was tried in vain.
    #[error("{}", nothing(tried))]
    Nothing {
        /// The places in order, each with what was found there.
        tried: Vec<String>,
    },
    /// The cache directory cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn nothing(tried: &[String]) -> String {
    format!(
        "no Kubernetes control plane can be started: etcd, kube-apiserver and kube-controller-manager were looked for in vain\n  {}\n\
         Do one of these and run again:\n  \
         - install Go 1.26 or later (https://go.dev/dl) and make `go` available on PATH: the programs are then built once, which takes about ten minutes;\n  \
         - set KUBEBUILDER_ASSETS to a directory that has the three programs, or put them on PATH;\n  \
         - let this machine reach github.com and dl.k8s.io, from where the official builds are downloaded once.",
        tried.join("\n  ")
    )
}

/// Looks for the binaries. All places are plain fields, so that a caller can point it elsewhere.
#[derive(Clone, Debug)]
pub struct Finder {
    /// The value of `KUBEBUILDER_ASSETS`.
    pub assets_dir: Option<PathBuf>,
    /// The value of `PATH`; `go` is looked for here, too.
    pub search_path: OsString,
    /// Where downloaded and built programs are kept.
    pub cache: PathBuf,
    /// What may be downloaded; `None`: nothing.
    pub release: Option<Release>,
    /// Whether long steps are shown on stderr.
    pub show_progress: bool,
}

impl Finder {
    /// As the environment says: `KUBEBUILDER_ASSETS`, `PATH`; `TESTBED_CACHE` (default:
    /// `composio-operator-testbed` in `XDG_CACHE_HOME` or `~/.cache`); `TESTBED_DOWNLOAD=never` forbids the download.
    pub fn from_env() -> Self {
        let path_of =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let never = std::env::var_os("TESTBED_DOWNLOAD").is_some_and(|value| value == "never");
        Self {
            assets_dir: path_of("KUBEBUILDER_ASSETS"),
            search_path: std::env::var_os("PATH").unwrap_or_default(),
            cache: Cache::from_env().root().to_owned(),
            release: if never { None } else { Release::for_this_machine() },
            show_progress: true,
        }
    }

    /// Finds the programs, or downloads or builds them, which blocks for as long as that takes and shows progress
    /// on stderr. Of several processes (or threads) one works and the others wait.
    pub fn find(&self) -> Result<Binaries, AssetsError> {
        let mut search = Search::default();
        if self.search_given_places(&mut search) {
            return search.finish();
        }
        let cache = Cache::new(&self.cache);
        if self.search_cache(&cache, &mut search) {
            return search.finish();
        }
        let _lock = cache.lock(self.show_progress)?;
        // Whoever held the lock until now may have filled the cache.
        search.tried.pop();
        if self.search_cache(&cache, &mut search)
            || self.download(&cache, &mut search)?
            || self.build(&cache, &mut search)?
        {
            return search.finish();
        }
        Err(AssetsError::Nothing { tried: search.tried })
    }

    fn search_given_places(&self, search: &mut Search) -> bool {
        match &self.assets_dir {
            None => search.note("KUBEBUILDER_ASSETS: not set"),
            Some(dir) => {
                for part in search.missing() {
                    search.offer(part, Some(dir.join(part.name())).filter(|path| is_executable(path)));
                }
                let lacks = search.lacks();
                search.note(format!("KUBEBUILDER_ASSETS={}: lacks {lacks}", dir.display()));
            }
        }
        if search.complete() {
            return true;
        }
        let look = |part: Part| (part, on_path(&self.search_path, part.name()));
        let found: Vec<(Part, Option<PathBuf>)> = search.missing().into_iter().map(look).collect();
        let absent: Vec<&str> =
            found.iter().filter(|(_, path)| path.is_none()).map(|(part, _)| part.name()).collect();
        if absent.is_empty() {
            for (part, path) in found {
                search.offer(part, path);
            }
            return true;
        }
        search.note(format!("PATH: lacks {}", absent.join(", ")));
        false
    }

    fn search_cache(&self, cache: &Cache, search: &mut Search) -> bool {
        let downloaded = self.release.as_ref().map(|release| release.name.clone());
        let mut notes = Vec::new();
        for key in downloaded.into_iter().chain([gobuild::key()]) {
            match cache.entry(&key, &Part::NAMES) {
                Ok(dir) => {
                    search.fill(&Binaries::in_dir(&dir));
                    return true;
                }
                Err(reason) => notes.push(format!("{key} {reason}")),
            }
        }
        search.note(format!("cache {}: {}", self.cache.display(), notes.join("; ")));
        false
    }

    fn download(&self, cache: &Cache, search: &mut Search) -> Result<bool, AssetsError> {
        let Some(release) = &self.release else {
            search
                .note("download: no official build for this machine, or forbidden by TESTBED_DOWNLOAD=never");
            return Ok(false);
        };
        let progress = Progress::start(format!("downloading {}", release.name), self.show_progress);
        let installed =
            cache.install(&release.name, &Part::NAMES, |dir| download::into(dir, release, &progress))?;
        Ok(search.installed("download", progress, installed))
    }

    fn build(&self, cache: &Cache, search: &mut Search) -> Result<bool, AssetsError> {
        let Some(go) = on_path(&self.search_path, "go") else {
            search.note("build: no `go` on PATH");
            return Ok(false);
        };
        let what = format!("building Kubernetes {} (once, about 10 min)", gobuild::version());
        let progress = Progress::start(what, self.show_progress);
        let installed =
            cache.install(&gobuild::key(), &Part::NAMES, |dir| gobuild::into(dir, &go, &progress))?;
        Ok(search.installed("build", progress, installed))
    }
}

/// What was found so far, and what every place said.
#[derive(Default)]
struct Search {
    etcd: Option<PathBuf>,
    api_server: Option<PathBuf>,
    controller_manager: Option<PathBuf>,
    tried: Vec<String>,
}

impl Search {
    fn slot(&mut self, part: Part) -> &mut Option<PathBuf> {
        match part {
            Part::Etcd => &mut self.etcd,
            Part::ApiServer => &mut self.api_server,
            Part::ControllerManager => &mut self.controller_manager,
        }
    }

    /// Takes a path for a part that is still missing.
    fn offer(&mut self, part: Part, path: Option<PathBuf>) {
        let slot = self.slot(part);
        *slot = slot.take().or(path);
    }

    fn fill(&mut self, binaries: &Binaries) {
        self.offer(Part::Etcd, Some(binaries.etcd.clone()));
        self.offer(Part::ApiServer, Some(binaries.api_server.clone()));
        self.offer(Part::ControllerManager, Some(binaries.controller_manager.clone()));
    }

    fn missing(&mut self) -> Vec<Part> {
        Part::ALL.into_iter().filter(|part| self.slot(*part).is_none()).collect()
    }

    fn complete(&mut self) -> bool {
        self.missing().is_empty()
    }

    fn lacks(&mut self) -> String {
        self.missing().iter().map(|part| part.name()).collect::<Vec<_>>().join(", ")
    }

    fn note(&mut self, line: impl Into<String>) {
        self.tried.push(line.into());
    }

    /// Takes what an installation gave and ends its progress line.
    fn installed(&mut self, place: &str, progress: Progress, outcome: Result<PathBuf, String>) -> bool {
        match outcome {
            Ok(dir) => {
                self.fill(&Binaries::in_dir(&dir));
                progress.done("done");
                true
            }
            Err(reason) => {
                progress.done(&format!("not possible, going on: {reason}"));
                self.note(format!("{place}: {reason}"));
                false
            }
        }
    }

    fn finish(self) -> Result<Binaries, AssetsError> {
        match (self.etcd, self.api_server, self.controller_manager) {
            (Some(etcd), Some(api_server), Some(controller_manager)) => {
                Ok(Binaries { etcd, api_server, controller_manager })
            }
            _ => Err(AssetsError::Nothing { tried: self.tried }),
        }
    }
}
