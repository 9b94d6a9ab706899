//! Builds the programs from the official Go modules: one program that is all three, by the name it is called under.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::{Part, cache::hex};
use crate::controlplane::progress::Progress;
use crate::controlplane::supervised::tail;

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
    let mut hasher = Sha256::new();
    for (name, content) in SOURCES {
        hasher.update(name);
        hasher.update(content);
    }
    format!("go-{}-{}", version(), &hex(&hasher.finalize())[..12])
}

/// Builds into `dir`.
pub(super) fn into(dir: &Path, go: &Path, progress: &Progress) -> Result<(), String> {
    // Below `dir`, which is cleaned up even if this process is killed.
    let sources = dir.join("source");
    let written = fs::create_dir(&sources)
        .and_then(|()| SOURCES.iter().try_for_each(|(name, content)| fs::write(sources.join(name), content)));
    written.map_err(|error| format!("cannot write the sources: {error}"))?;
    progress.detail("fetching Go modules");
    let listed = run(go, &sources, ["list", "-deps", "."], |module| {
        progress.detail(module);
    })?;
    let packages = listed.lines().count();
    let mut compiled = 0_usize;
    // Without a version, the API server refuses to start.
    let flags = format!("-ldflags=-s -w -X k8s.io/component-base/version.gitVersion={}", version());
    let program = dir.join("controlplane");
    let output = OsStr::new("-o");
    let arguments = ["build", "-v", "-trimpath", "-buildvcs=false", &flags].map(OsStr::new);
    let arguments = arguments.into_iter().chain([output, program.as_os_str(), OsStr::new(".")]);
    progress.detail(format!("at most {packages} packages to compile"));
    run(go, &sources, arguments, |package| {
        compiled += 1;
        progress.detail(format!("{compiled} of at most {packages} packages, now {package}"));
    })?;
    fs::remove_dir_all(&sources).map_err(|error| format!("cannot remove the sources: {error}"))?;
    for part in Part::ALL {
        symlink("controlplane", dir.join(part.name())).map_err(|error| format!("cannot link: {error}"))?;
    }
    Ok(())
}

/// Runs Go and gives its standard output. `each` sees every line of its standard error, the end of which is in the
/// reason if it fails. If this process is killed, Go ends with SIGPIPE at the next package it names.
fn run<S: AsRef<OsStr>>(
    go: &Path,
    dir: &Path,
    arguments: impl IntoIterator<Item = S>,
    mut each: impl FnMut(&str),
) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{} cannot be run: {error}", go.display());
    let mut command = Command::new(go);
    command.args(arguments).current_dir(dir);
    // A workspace or a vendor directory of somebody's own project has no say here.
    command.env("GOWORK", "off").env("GO111MODULE", "on");
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let output = child.stdout.take();
    // Read on the side, for Go stops when a pipe is full.
    let output = std::thread::spawn(move || {
        let mut text = String::new();
        output.map(|mut pipe| pipe.read_to_string(&mut text)).transpose().map(|_| text)
    });
    let mut errors = Vec::new();
    for line in child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).lines()) {
        let line = line.map_err(failed)?;
        each(&line);
        errors.push(line);
    }
    let status = child.wait().map_err(failed)?;
    let output = output.join().map_err(|_| "reading the output of go failed".to_owned())?.map_err(failed)?;
    if status.success() {
        return Ok(output);
    }
    let said = tail(errors.join("\n").as_bytes(), 20);
    Err(format!("{} ended with {status}:\n{said}", go.display()))
}
