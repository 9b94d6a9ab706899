//! The subcommand `crds`.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

use crate::crd;

/// Prints both definitions as one stream of YAML documents, or writes one file per kind into `out`.
pub fn print_crds(out: Option<&Path>) -> anyhow::Result<()> {
    let files = crd::files().context("the schemas cannot be written as YAML")?;
    match out {
        None => {
            let documents = files.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("---\n");
            std::io::stdout().write_all(documents.as_bytes()).context("standard output cannot be written")
        }
        Some(directory) => files.into_iter().try_for_each(|(name, text)| {
            let path = directory.join(name);
            std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
        }),
    }
}
