//! Tests that documents name: each exists.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use testbed::documents::{all, read, root};

/// Names of tests by directory.
type Tests = BTreeMap<String, BTreeSet<String>>;

/// The names of the test functions below a directory of `tests`.
fn tests_in(directory: &str) -> BTreeSet<String> {
    let function =
        Regex::new(r"(?m)^#\[(?:tokio::)?test[^\n]*\]\n(?:#\[[^\n]*\]\n)*(?:async )?fn ([a-z0-9_]+)\(")
            .expect("a pattern");
    let root = root().join("tests");
    let single = root.join(format!("{directory}.rs"));
    let files: Vec<_> = match single.exists() {
        true => vec![single],
        false => std::fs::read_dir(root.join(directory))
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.is_file())
            .collect(),
    };
    let text = |path| std::fs::read_to_string(path).expect("a file of tests");
    let names =
        |text: String| function.captures_iter(&text).map(|found| found[1].to_owned()).collect::<Vec<_>>();
    files.into_iter().map(text).flat_map(names).collect()
}

#[test]
fn every_row_of_the_behaviour_matrix_names_a_test_that_exists() {
    let cell = Regex::new(r"([a-z_]+): (`[a-z0-9_]+`(?:, `[a-z0-9_]+`)*)").expect("a pattern");
    let text = read("docs/behaviour.md");
    let is_row = |line: &&str| {
        line.starts_with("| ") && !line.starts_with("| ---") && !line.starts_with("| Situation |")
    };
    let (mut named, mut missing, mut tests) = (BTreeSet::new(), Vec::new(), Tests::new());
    for row in text.lines().filter(is_row) {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let mut cells = cell.captures_iter(shown).peekable();
        if cells.peek().is_none() {
            missing.push(format!("a row without a test: {row}"));
        }
        for found in cells {
            let known = tests.entry(found[1].to_owned()).or_insert_with(|| tests_in(&found[1]));
            for name in found[2].split(", ").map(|name| name.trim_matches('`')) {
                named.insert(name.to_owned());
                if !known.contains(name) {
                    missing.push(format!("tests/{} has no {name}", &found[1]));
                }
            }
        }
    }
    assert!(named.len() > 20, "only {} tests are named", named.len());
    let unnamed: Vec<_> = tests_in("secrets").into_iter().filter(|name| !named.contains(name)).collect();
    let not_a_row = ["an_event_tells_once_that_a_project_is_ready"];
    assert!(missing.is_empty(), "docs/behaviour.md:\n  {}", missing.join("\n  "));
    assert_eq!(unnamed, not_a_row, "scenarios of Secrets that the matrix does not name");
}

#[test]
fn every_test_that_a_document_names_exists() {
    let cell = Regex::new(r"\b([a-z_]+): ((?:`[a-z0-9]+(?:_[a-z0-9]+){3,}`(?:, )?)+)").expect("a pattern");
    let (mut named, mut missing, mut tests) = (0, Vec::new(), Tests::new());
    // That of the guide for contributors is an example.
    for document in all().into_iter().filter(|document| document != "CONTRIBUTING.md") {
        for found in cell.captures_iter(&read(&document)) {
            let known = tests.entry(found[1].to_owned()).or_insert_with_key(|name| tests_in(name));
            for name in found[2].split(", ").map(|name| name.trim_matches('`')).filter(|name| name.len() > 1)
            {
                named += 1;
                if !name.starts_with("composio_operator_") && !known.contains(name) {
                    missing.push(format!("{document}: tests/{} has no {name}", &found[1]));
                }
            }
        }
    }
    assert!(named > 100, "only {named} tests are named");
    assert!(missing.is_empty(), "tests that there are not:\n  {}", missing.join("\n  "));
}
