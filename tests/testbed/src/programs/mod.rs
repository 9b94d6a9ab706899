//! Programs that are not this project's and that its tests run: how they are kept and built. Which ones, `controlplane` and
//! `tools` and `gitops` say.

pub mod cache;
pub(crate) mod go;
pub(crate) mod progress;
pub(crate) mod suite;

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Looks a program up in the directories of a `PATH`.
pub(crate) fn on_path(search_path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(search_path).map(|dir| dir.join(name)).find(|path| is_executable(path))
}

/// The last `lines` lines of `bytes`; each is cut at 400 characters.
pub(crate) fn tail(bytes: &[u8], lines: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    let cut = |line: &&str| line.chars().take(400).collect::<String>();
    all[from..].iter().map(cut).collect::<Vec<_>>().join("\n")
}
