//! The Dockerfile, as BuildKit reads it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::programs::tail;
use crate::tools::Tool;

/// What it comes to.
#[derive(Debug, Deserialize)]
pub struct Plan {
    /// What BuildKit's own linter says against it.
    pub complaints: Vec<String>,
    /// In order; the last one is the image. Empty where it cannot be read.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub stages: Vec<Stage>,
    /// What the image says about itself.
    pub image: Image,
    /// The files that `.dockerignore` leaves.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub context: Vec<String>,
}

/// From one `FROM` to the next.
#[derive(Debug, Deserialize)]
pub struct Stage {
    /// Its name, or nothing.
    pub name: String,
    /// What it begins with.
    pub base: String,
    /// Its commands, for a shell.
    pub runs: Vec<String>,
    /// What it copies.
    pub copies: Vec<Copied>,
}

/// One `COPY`.
#[derive(Debug, Deserialize)]
pub struct Copied {
    /// A stage; nothing for the build context.
    pub from: String,
    /// Paths there.
    pub sources: Vec<String>,
    /// Path here.
    pub to: String,
}

/// Configuration of an image (OCI).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// Who the process is.
    #[serde(default)]
    pub user: String,
    /// The process.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Its environment.
    #[serde(default)]
    pub env: Vec<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads `Dockerfile` and `.dockerignore` of a directory.
pub fn plan(directory: &Path) -> anyhow::Result<Plan> {
    let mut command = Command::new(Tool::DockerfilePlan.path()?);
    let output = command.arg(directory).stdin(Stdio::null()).output().context("running dockerfile-plan")?;
    ensure!(
        output.status.success(),
        "dockerfile-plan ended with {}: {}",
        output.status,
        tail(&output.stderr, 40)
    );
    serde_json::from_slice(&output.stdout).context("the output of dockerfile-plan")
}
