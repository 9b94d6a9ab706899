//! Builds from Go modules, whose sources are a part of this program, so that it needs no source tree.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::cache::hex;
use super::tail;

/// File by file: name and content.
pub(crate) type Sources = [(&'static str, &'static str)];

/// The first digits of a digest of all of them.
pub(crate) fn digest(sources: &Sources) -> String {
    let mut hasher = Sha256::new();
    for (name, content) in sources {
        hasher.update(name);
        hasher.update(content);
    }
    hex(&hasher.finalize())[..12].to_owned()
}

/// Writes the sources below `dir`, which is cleaned up even if this process is killed; says where.
pub(crate) fn unpacked(dir: &Path, sources: &Sources) -> Result<PathBuf, String> {
    let place = dir.join("source");
    let written = fs::create_dir(&place)
        .and_then(|()| sources.iter().try_for_each(|(name, content)| fs::write(place.join(name), content)));
    written.map_err(|error| format!("cannot write the sources: {error}"))?;
    Ok(place)
}

/// Runs Go and gives its standard output. `each` sees every line of its standard error, the end of which is in the
/// reason if it fails. If this process is killed, Go ends with SIGPIPE at the next package it names.
pub(crate) fn run<S: AsRef<OsStr>>(
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
