//! The cache of programs: one directory per version, complete or not there.
//!
//! An entry is filled in a staging directory and moved into place with one rename; its manifest says what it must
//! look like, so that a truncated or altered file is noticed and the entry redone. Nothing is removed that another
//! process could be running from, except an entry that is broken.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::is_executable;
use super::progress::Progress;

const MANIFEST: &str = "manifest.json";
const STAGING: &str = ".staging-";

/// What an entry must look like, by file name.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    files: BTreeMap<String, Expected>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Expected {
    size: u64,
    /// Seconds since 1970. The digest is only computed again if this changed: it takes seconds, the rest none.
    modified: u64,
    sha256: String,
}

/// The cache directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} in the cache {}: {source}; set TESTBED_CACHE to a directory that can be written", cache.display())]
pub struct CacheError {
    /// What was being done, as a verb.
    pub doing: &'static str,
    /// The cache directory.
    pub cache: PathBuf,
    /// The error of the operating system.
    pub source: io::Error,
}

/// A cache directory.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        // Absolute, because `go` and the programs run in directories of their own.
        Self { root: std::path::absolute(&root).unwrap_or(root) }
    }

    /// As the environment says: `TESTBED_CACHE`, or `composio-operator-testbed` in `XDG_CACHE_HOME` or `~/.cache`.
    pub fn from_env() -> Self {
        let path_of =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let user_cache = || {
            path_of("XDG_CACHE_HOME")
                .or_else(|| path_of("HOME").map(|home| home.join(".cache")))
                .unwrap_or_else(std::env::temp_dir)
                .join("composio-operator-testbed")
        };
        Self::new(path_of("TESTBED_CACHE").unwrap_or_else(user_cache))
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of an entry with these programs, or why it cannot be used.
    pub fn entry(&self, key: &str, programs: &[&str]) -> Result<PathBuf, String> {
        let dir = self.root.join(key);
        if !dir.exists() {
            return Err("is not there".into());
        }
        let manifest = fs::read(dir.join(MANIFEST)).map_err(|_| "has no manifest")?;
        let manifest: Manifest = serde_json::from_slice(&manifest).map_err(|_| "has a broken manifest")?;
        for name in programs {
            let expected = manifest.files.get(*name).ok_or("has an incomplete manifest")?;
            expected.verify(&dir.join(name)).map_err(|what| format!("is broken ({name} {what})"))?;
        }
        Ok(dir)
    }

    /// Waits until no other process (or thread) installs, and keeps others from it until dropped. If `shown`, it says
    /// on stderr that it waits.
    pub fn lock(&self, shown: bool) -> Result<File, CacheError> {
        fs::create_dir_all(&self.root).map_err(self.failed("make a directory"))?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join("lock"))
            .map_err(self.failed("make a lock file"))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(self.failed("lock")(error)),
        }
        let progress =
            Progress::start("waiting for another process that downloads or builds programs", shown);
        file.lock().map_err(self.failed("lock"))?;
        progress.done("it is done");
        Ok(file)
    }

    /// Fills an entry by `make`, which gets an empty directory and leaves these programs in it. The caller holds the lock.
    /// The inner error is that of `make`, or says what it did not leave.
    pub fn install(
        &self,
        key: &str,
        programs: &[&str],
        make: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<Result<PathBuf, String>, CacheError> {
        self.remove_left_over_staging().map_err(self.failed("clean up"))?;
        let staging = tempfile::Builder::new()
            .prefix(STAGING)
            .tempdir_in(&self.root)
            .map_err(self.failed("make a directory"))?;
        if let Err(reason) = make(staging.path()) {
            return Ok(Err(reason));
        }
        if let Some(name) = programs.iter().find(|name| !is_executable(&staging.path().join(name))) {
            return Ok(Err(format!("it left no program {name}")));
        }
        self.publish(key, programs, staging).map_err(self.failed("install"))?;
        Ok(self.entry(key, programs))
    }

    fn publish(&self, key: &str, programs: &[&str], staging: tempfile::TempDir) -> io::Result<()> {
        let manifest = Manifest::of(staging.path(), programs)?;
        fs::write(staging.path().join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
        // On disk before the rename: a power cut must not leave a complete name with empty files.
        for file in programs.iter().copied().chain([MANIFEST]) {
            File::open(staging.path().join(file))?.sync_all()?;
        }
        let target = self.root.join(key);
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        let staging = staging.keep();
        fs::rename(&staging, &target).inspect_err(|_| {
            let _left_for_the_next_lock = fs::remove_dir_all(&staging);
        })
    }

    /// What a killed installer left: nobody works on it, because the caller holds the lock.
    fn remove_left_over_staging(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(STAGING) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> CacheError {
        let cache = self.root.clone();
        move |source| CacheError { doing, cache: cache.clone(), source }
    }
}

impl Manifest {
    fn of(dir: &Path, programs: &[&str]) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        let mut known: BTreeMap<PathBuf, String> = BTreeMap::new();
        for name in programs {
            // The names of a multi-call program are one file: one digest.
            let path = dir.join(name).canonicalize()?;
            let sha256 = match known.get(&path) {
                Some(sha256) => sha256.clone(),
                None => sha256_of(&path)?,
            };
            let (size, modified) = size_and_time(&path)?;
            known.insert(path, sha256.clone());
            files.insert((*name).to_owned(), Expected { size, modified, sha256 });
        }
        Ok(Self { files })
    }
}

impl Expected {
    fn verify(&self, path: &Path) -> Result<(), &'static str> {
        let (size, modified) = size_and_time(path).map_err(|_| "is missing")?;
        if !is_executable(path) {
            return Err("is not executable");
        }
        if size != self.size {
            return Err("has the wrong size");
        }
        if modified != self.modified && sha256_of(path).ok().as_ref() != Some(&self.sha256) {
            return Err("has the wrong content");
        }
        Ok(())
    }
}

fn size_and_time(path: &Path) -> io::Result<(u64, u64)> {
    let data = path.metadata()?;
    let modified = data.modified()?.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    Ok((data.len(), modified))
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
