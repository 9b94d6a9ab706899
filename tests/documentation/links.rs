//! Links: what they lead to is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;
use testbed::documents::{all, read, root};

/// The anchors of a document: those that it states, and those that the usual renderers make from its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = Regex::new(r"(?m)^#+ (.+)$").expect("a pattern");
    let stated = Regex::new(r#"<a id="([^"]+)">"#).expect("a pattern");
    // What stands in a block of code is no heading.
    let outside: String = text.split("```").step_by(2).collect();
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    let stated = stated.captures_iter(text).map(|found| found[1].to_owned());
    heading.captures_iter(&outside).map(|found| anchor(&found[1])).chain(stated).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a pattern");
    let mut broken = Vec::new();
    let (mut followed, mut known) = (0, BTreeMap::new());
    for document in all() {
        for found in link.captures_iter(&read(&document)) {
            let target = found[1].to_owned();
            if target.starts_with("https://") {
                continue;
            }
            followed += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let directory = Path::new(&document).parent().unwrap_or(Path::new(""));
            let path = if path.is_empty() { (&document).into() } else { directory.join(path) };
            let exists = root().join(&path).exists();
            let is_there = exists
                && (anchor.is_empty() || {
                    let of = |path: &PathBuf| anchors(&read(&path.to_string_lossy()));
                    known.entry(path.clone()).or_insert_with_key(of).contains(anchor)
                });
            if !is_there {
                broken.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(followed > 0, "no link was followed");
    assert!(broken.is_empty(), "links that lead nowhere:\n  {}", broken.join("\n  "));
}

#[test]
fn every_document_is_in_the_index_of_the_readme() {
    let index = read("README.md");
    let is_missing = |document: &String| document != "README.md" && !index.contains(&format!("({document})"));
    let missing: Vec<_> = all().into_iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "README.md, More: has no {missing:?}");
}

#[test]
fn the_sections_that_the_sources_refer_to_exist() {
    assert!(
        anchors(&read("docs/how-it-works.md")).contains("when-an-answer-is-lost"),
        "src/domain/evidence.rs names it"
    );
}
