//! The operator's binary. Cargo builds it for tests, but not for examples: so it is built here, with the profile and into the
//! directory of this example, which takes no time where nothing has changed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

const NAME: &str = "composio-operator";

/// Builds it and says where it is. Cargo shows its progress on standard error.
pub(crate) fn built() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        // With the example, or the libraries would be built once more with fewer features.
        .args(["build", "--bin", NAME, "--example", "chaos", "--message-format=json-render-diagnostics"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    // <target directory>/<profile>/examples/chaos
    let here = std::env::current_exe().context("where this example is")?;
    if let Some(profile) = here.parent().and_then(|examples| examples.parent()) {
        if profile.file_name().is_some_and(|name| name == "release") {
            command.arg("--release");
        }
        if let Some(target) = profile.parent() {
            command.arg("--target-dir").arg(target);
        }
    }
    let unusable = "building the operator; or name one with --binary FILE";
    let output = command.stderr(Stdio::inherit()).output().context(unusable)?;
    ensure!(output.status.success(), "{unusable}: {}", output.status);
    let messages = String::from_utf8(output.stdout).context(unusable)?;
    let binary = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| executable(&message));
    binary.with_context(|| format!("{unusable}: cargo does not say where it is"))
}

fn executable(message: &Value) -> Option<PathBuf> {
    let is_it = message["target"]["name"] == NAME && message["target"]["kind"][0] == "bin";
    message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
}
