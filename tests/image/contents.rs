//! What is in the image: a binary that needs nothing else, and the list of what it is made of.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::built::Built;
use crate::root::Root;

/// Name and version.
type Package = (String, String);

fn said(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("a process");
    assert!(status.success(), "{command:?} ended with {status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

#[test]
fn the_binary_starts_where_nothing_else_is() {
    let root = Root::of_image();
    let version = said(root.operator().arg("--version"));
    assert_eq!(version.trim(), concat!("composio-operator ", env!("CARGO_PKG_VERSION")));
    let definitions = said(root.operator().arg("crds"));
    let kinds = ["kind: ComposioProject\n", "kind: ComposioOrganization\n"];
    assert!(kinds.iter().all(|kind| definitions.contains(kind)), "{definitions}");
}

#[test]
fn a_binary_that_is_not_static_does_not_start_there() {
    let root = Root::of_image();
    root.bring(Path::new(env!("CARGO_BIN_EXE_composio-operator")), "/dynamic");
    let output = root.command("/dynamic").arg("--version").output().expect("a process");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && words.contains("No such file or directory"), "{words}");
}

/// What the operator is linked from, as Cargo resolves it. Procedural macros are run by the compiler and not linked.
fn linked() -> BTreeSet<Package> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let tree = said(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["tree", "--locked", "--package", "composio-operator", "--edges", "normal,no-proc-macro"])
            .args(["--target", &target, "--prefix", "none", "--format", "{p}"])
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    );
    let package = |line: &str| {
        let (name, version) = line.split_once(" v")?;
        Some((name.to_owned(), version.split_whitespace().next()?.to_owned()))
    };
    tree.lines().filter_map(package).collect()
}

#[test]
fn the_sbom_lists_every_package_that_the_binary_is_linked_from() {
    let text = std::fs::read(Built::once().path("/source/bin/composio-operator.cdx.json")).expect("an SBOM");
    let sbom: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(sbom["bomFormat"], "CycloneDX");
    let package =
        |part: &Value| Some((part["name"].as_str()?.to_owned(), part["version"].as_str()?.to_owned()));
    let parts = sbom["components"].as_array().into_iter().flatten().chain([&sbom["metadata"]["component"]]);
    let listed: BTreeSet<Package> = parts.filter_map(package).collect();
    let linked = linked();
    assert!(linked.len() > 100, "Cargo names {} packages only", linked.len());
    let missing: Vec<_> = linked.difference(&listed).collect();
    assert!(missing.is_empty(), "not in the SBOM: {missing:?}");
}
