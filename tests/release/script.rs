//! `.ci/release`: versions that agree, the section of the changelog, and the chart of a release.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use testbed::chart::helm;
use testbed::tools::Tool;

use crate::read;

/// What the script reads.
const FILES: [&str; 4] = [".ci/release", "Cargo.toml", "CHANGELOG.md", "charts/composio-operator/Chart.yaml"];
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The tree as it is when this version is tagged, with a change.
fn tree(change: impl Fn(&str, String) -> String) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for path in FILES {
        let section = format!("## [Unreleased]\n\n## [{VERSION}] - 2026-12-01\n");
        let text = match path {
            "CHANGELOG.md" => read(path).replace("## [Unreleased]\n", &section),
            _ => read(path),
        };
        let to = directory.path().join(path);
        fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
        fs::write(to, change(path, text)).expect("a file");
    }
    directory
}

/// Whether it succeeds, and what it says.
fn run(root: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("bash");
    command.arg(root.join(".ci/release")).args(arguments);
    command.env("HELM", Tool::Helm.path().expect("helm"));
    let Output { status, stdout, stderr } = command.output().expect("bash");
    (status.success(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn a_tag_fits_when_everything_states_its_version_and_the_changelog_tells_of_it() {
    let tag = format!("v{VERSION}");
    let fits = tree(|_, text| text);
    assert_eq!(run(fits.path(), &["check", &tag]), (true, String::new()));
    for (wrong, why) in [("v99.0.0", "Cargo.toml states version"), (VERSION, "is not a tag of a version")] {
        let (is_fine, words) = run(fits.path(), &["check", wrong]);
        assert!(!is_fine && words.contains(why), "{wrong}: {words}");
    }
    let version = |key: &str| format!("{key}: {VERSION}\n");
    for (file, from, to, why) in [
        (
            FILES[1],
            format!("version = \"{VERSION}\"\nd"),
            "version = \"99.0.0\"\nd".to_owned(),
            "Cargo.toml states",
        ),
        (FILES[3], version("appVersion"), "appVersion: 99.0.0\n".to_owned(), "Chart.yaml states"),
        (FILES[3], version("version"), "version: 99.0.0\n".to_owned(), "Chart.yaml states"),
        (FILES[2], format!("## [{VERSION}]"), "## [99.0.0]".to_owned(), "CHANGELOG.md has no section"),
    ] {
        let changed = tree(|path, text| if path == file { text.replacen(&from, &to, 1) } else { text });
        let (is_fine, words) = run(changed.path(), &["check", &tag]);
        assert!(!is_fine && words.contains(why), "{file}: {words}");
    }
}

#[test]
fn the_notes_of_a_release_are_its_section_of_the_changelog() {
    let one = "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [1.2.3] - 2026-12-01\n\n### Added\n\n- this\n\n## [1.2.2]\n\n- before\n";
    let root = tree(|path, text| if path == "CHANGELOG.md" { one.to_owned() } else { text });
    let (is_fine, notes) = run(root.path(), &["notes", "1.2.3"]);
    assert!(is_fine && notes.trim() == "### Added\n\n- this", "{notes}");
}

#[test]
fn the_chart_of_a_release_names_its_image_by_digest() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().expect("a directory");
    let to = directory.path().to_str().expect("a path");
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let (is_fine, words) = run(root, &["chart", "7.8.9", "registry.example/team/operator", &digest, to]);
    assert!(is_fine, "{words}");
    let package = format!("{to}/composio-operator-7.8.9.tgz");
    let text = helm(["template", "release", &package]).expect("a chart");
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").expect("a Deployment");
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(*image, format!("registry.example/team/operator@{digest}"));
    assert_eq!(deployment["metadata"]["labels"]["app.kubernetes.io/version"], "7.8.9");
    let (is_fine, words) = run(root, &["chart", "7.8.9", "registry.example/team/operator", "latest", to]);
    assert!(!is_fine && words.contains("is not the digest of an image"), "{words}");
}
