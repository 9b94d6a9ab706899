//! The operator's binary. Cargo builds it for tests, but not for examples: so it is built here, into the directory of the
//! example that asks, which takes no time where nothing has changed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

const NAME: &str = "composio-operator";

/// Builds it and says where it is: with the release profile as it is given to users, or with the dev profile for an example
/// of the dev profile. Cargo shows its progress on standard error.
pub fn built() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--bin", NAME, "--message-format=json-render-diagnostics"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml")]);
    // <target directory>/<profile>/examples/<example>; the profiles release and bench share a directory.
    let here = std::env::current_exe().context("where this example is")?;
    let profile = here.parent().and_then(|examples| examples.parent());
    let example = here.file_name().filter(|_| profile.is_some_and(|profile| profile.ends_with("debug")));
    match example {
        // With the example, or the libraries would be built once more with fewer features.
        Some(example) => command.arg("--example").arg(example),
        None => command.args(["--release", "--package", NAME]),
    };
    if let Some(target) = profile.and_then(|profile| profile.parent()) {
        command.arg("--target-dir").arg(target);
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
