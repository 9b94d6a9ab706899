//! Builds the programs from the official Go modules: one program that is all three, by the name it is called under.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::Part;
use crate::programs::go;
use crate::programs::progress::Progress;

/// The Go module, file by file. Part of this program, so that it needs no source tree to build.
const SOURCES: [(&str, &str); 3] = [
    ("main.go", include_str!("../../../controlplane/main.go")),
    ("go.mod", include_str!("../../../controlplane/go.mod")),
    ("go.sum", include_str!("../../../controlplane/go.sum")),
];

/// The version of Kubernetes that the Go module requires, such as `v1.37.2`.
pub(super) fn version() -> &'static str {
    let required = |line: &'static str| line.trim().strip_prefix("k8s.io/kubernetes ");
    SOURCES[1].1.lines().find_map(required).unwrap_or("unknown")
}

/// The name in the cache: the version, and a digest of the sources.
pub(super) fn key() -> String {
    format!("go-{}-{}", version(), go::digest(&SOURCES))
}

/// Builds into `dir`.
pub(super) fn into(dir: &Path, program: &Path, progress: &Progress) -> Result<(), String> {
    let sources = go::unpacked(dir, &SOURCES)?;
    progress.detail("fetching Go modules");
    let listed = go::run(program, &sources, ["list", "-deps", "."], |module| {
        progress.detail(module);
    })?;
    let packages = listed.lines().count();
    let mut compiled = 0_usize;
    // Without a version, the API server refuses to start.
    let flags = format!("-ldflags=-s -w -X k8s.io/component-base/version.gitVersion={}", version());
    let multi = dir.join("controlplane");
    let output = OsStr::new("-o");
    let arguments = ["build", "-v", "-trimpath", "-buildvcs=false", &flags].map(OsStr::new);
    let arguments = arguments.into_iter().chain([output, multi.as_os_str(), OsStr::new(".")]);
    progress.detail(format!("at most {packages} packages to compile"));
    go::run(program, &sources, arguments, |package| {
        compiled += 1;
        progress.detail(format!("{compiled} of at most {packages} packages, now {package}"));
    })?;
    fs::remove_dir_all(&sources).map_err(|error| format!("cannot remove the sources: {error}"))?;
    for part in Part::ALL {
        symlink("controlplane", dir.join(part.name())).map_err(|error| format!("cannot link: {error}"))?;
    }
    Ok(())
}
