//! The workflows by actionlint, and the rules that it does not know: what is pinned, and who may do what.

use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;
use testbed::tools::Tool;

use crate::read;

/// Rights of jobs other than to read the sources.
const WRITES: [(&str, &str, &str); 3] = [
    ("release", "publish", "id-token"),
    ("release", "publish", "packages"),
    ("release", "release", "contents"),
];

/// Where the workflows are, and all of them by name.
fn workflows() -> Vec<(String, PathBuf)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let paths = std::fs::read_dir(directory).expect("workflows").map(|entry| entry.expect("an entry").path());
    let named = |path: PathBuf| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path);
    let mut found: Vec<_> = paths.map(named).collect();
    found.sort();
    found
}

fn parsed(path: &Path) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(path).expect("a workflow")).expect("YAML")
}

/// What actionlint says; nothing where it has no complaint. Without programs that a machine may or may not have.
fn complaints(files: &[PathBuf]) -> String {
    let mut command = Command::new(Tool::Actionlint.path().expect("actionlint"));
    let output = command.args(["-no-color", "-oneline", "-shellcheck=", "-pyflakes="]).args(files).output();
    let output = output.expect("actionlint");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.success(), text.is_empty(), "actionlint ended with {}: {text}", output.status);
    text
}

#[test]
fn actionlint_has_nothing_against_the_workflows() {
    let files: Vec<PathBuf> = workflows().into_iter().map(|(_, path)| path).collect();
    assert!(files.len() > 1, "{files:?}");
    assert_eq!(complaints(&files), "");
}

#[test]
fn actionlint_complains_of_a_workflow_that_names_what_there_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let broken = read(".github/workflows/release.yaml").replace("needs: check", "needs: nothing");
    let path = directory.path().join("release.yaml");
    std::fs::write(&path, broken).expect("a file");
    let told = complaints(&[path]);
    assert!(told.contains("\"test\" needs job \"nothing\" which does not exist"), "{told}");
}

#[test]
fn every_action_is_pinned_by_its_commit_with_its_version_beside_it() {
    let pinned = Regex::new(r"^[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$").expect("a pattern");
    let mut used = 0;
    for (name, path) in workflows() {
        let text = std::fs::read_to_string(path).expect("a workflow");
        for action in
            text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: "))
        {
            used += 1;
            assert!(action.starts_with("./") || pinned.is_match(action), "{name}: {action} is not pinned");
        }
    }
    assert!(used > 0, "no action was seen");
}

#[test]
fn a_job_may_read_the_sources_and_write_only_what_it_publishes() {
    let mut writes = Vec::new();
    for (name, path) in workflows() {
        let workflow = parsed(&path);
        assert_eq!(workflow["permissions"], serde_json::json!({}), "{name}: the default of its jobs");
        for (job, about) in workflow["jobs"].as_object().expect("jobs") {
            let rights = about["permissions"].as_object();
            let rights = rights.unwrap_or_else(|| panic!("{name}/{job} does not say what it may"));
            for (right, _) in rights
                .iter()
                .filter(|(right, level)| (right.as_str(), *level) != ("contents", &"read".into()))
            {
                writes.push((name.clone(), job.clone(), right.clone()));
            }
        }
    }
    writes.sort();
    let expected = WRITES.map(|(name, job, right)| (name.to_owned(), job.to_owned(), right.to_owned()));
    assert_eq!(writes, expected);
}

#[test]
fn a_release_is_made_of_what_ci_has_passed_and_of_no_registry_in_particular() {
    let (ci, release) = (read(".github/workflows/ci.yaml"), read(".github/workflows/release.yaml"));
    assert!(ci.contains("- run: .ci/run\n"), "CI is .ci/run");
    assert!(
        release.contains("uses: ./.github/workflows/ci.yaml") && release.contains("needs: [check, test]")
    );
    assert!(release.contains("vars.REGISTRY"));
    let host = Regex::new(r"\b(ghcr|quay|gcr|docker|ecr|azurecr)\.(io|com)\b").expect("a pattern");
    assert!(
        host.is_match("https://ghcr.io/x") && !host.is_match(&ci) && !host.is_match(&release),
        "a registry's host"
    );
}
