//! Reasons, each with what to do about it and the scenario that reaches it.

use composio_operator::domain::reason::Reason;
use regex::Regex;
use testbed::documents::{assert_part, head, part, read, root, row};

const DOCUMENT: &str = "docs/reasons.md";
/// How the paragraphs begin that are written here; every other one is kept.
const WRITTEN: [&str; 4] = ["**Means**", "**Do**", "**Reached by**", "<!--"];

#[test]
fn every_reason_is_explained() {
    let (scenarios, mut passing) = (scenarios(), head(&["Reason", "Means", "Do", "Reached by"]));
    for reason in Reason::ALL.into_iter().filter(|reason| !reason.stalls()) {
        let (name, remedy) = (reason.as_str(), reason.remedy().unwrap_or("nothing"));
        let anchor = format!("<a id=\"{}\"></a>`{name}`", name.to_lowercase());
        row(&mut passing, &[&anchor, reason.text(), remedy, &reaching(&scenarios, &name)]);
    }
    assert_part(DOCUMENT, "passing", "documentation", &passing);
}

#[test]
fn every_reason_that_stalls_has_a_section_to_point_to() {
    let (scenarios, by_hand) = (scenarios(), by_hand(&part(DOCUMENT, "stalled")));
    let known = |name: &String| Reason::ALL.iter().any(|reason| reason.stalls() && reason.as_str() == *name);
    let strange: Vec<_> = by_hand.iter().map(|(name, _)| name).filter(|name| !known(name)).collect();
    assert!(strange.is_empty(), "sections of reasons that there are not: {strange:?}");
    let stalled = || Reason::ALL.into_iter().filter(|reason| reason.stalls());
    let link = |reason: Reason| format!("[{0}](#{1})", reason.as_str(), reason.as_str().to_lowercase());
    let mut text = stalled().map(link).collect::<Vec<_>>().join(" · ");
    text += "\n\n<!-- Paragraphs that do not begin with Means, Do or Reached by are written by hand, and kept. -->";
    for reason in stalled() {
        let (name, remedy) = (reason.as_str(), reason.remedy().expect("a remedy"));
        let kept =
            by_hand.iter().find(|(of, _)| *of == name).map(|(_, kept)| kept.clone()).unwrap_or_default();
        let written = [
            format!("### {name}"),
            format!("**Means**: {}.", reason.text()),
            kept,
            format!("**Do**: {remedy}."),
            format!("**Reached by**: {}.", reaching(&scenarios, &name)),
        ];
        for paragraph in written.iter().filter(|paragraph| !paragraph.is_empty()) {
            text = text + "\n\n" + paragraph;
        }
    }
    assert_part(DOCUMENT, "stalled", "documentation", &text);
}

/// By reason, the paragraphs of its section that no test writes.
fn by_hand(sections: &str) -> Vec<(String, String)> {
    let sections = sections.split("### ").skip(1).filter_map(|section| section.split_once("\n\n"));
    let kept = sections.map(|(name, text)| {
        let by_hand = |paragraph: &&str| !WRITTEN.iter().any(|begin| paragraph.starts_with(begin));
        let paragraphs: Vec<_> = text.trim().split("\n\n").filter(by_hand).collect();
        (name.trim().to_owned(), paragraphs.join("\n\n"))
    });
    kept.collect()
}

/// A link to the first scenario that names the reason.
fn reaching(scenarios: &[(String, String)], name: &str) -> String {
    let reaches = |(_, body): &&(String, String)| body.contains(&format!("\"{name}\""));
    let found = scenarios.iter().find(reaches);
    found.unwrap_or_else(|| panic!("no scenario reaches {name}")).0.clone()
}

/// Directories with scenarios on a real control plane, those first that speak of one thing only.
const SCENARIOS: [&str; 12] = [
    "reasons",
    "creation",
    "deletion",
    "secrets",
    "keys",
    "takeover",
    "organizations",
    "fleet",
    "settings",
    "tenancy",
    "process",
    "rbac",
];

/// Every test of [`SCENARIOS`]: a link to its file, named by its sentence, and its text.
fn scenarios() -> Vec<(String, String)> {
    let test = Regex::new(r"(?m)^#\[tokio::test[^\n]*\]\nasync fn (\w+)").expect("a pattern");
    let mut all = Vec::new();
    for directory in SCENARIOS {
        let path = root().join("tests").join(directory);
        let files = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("tests/{directory}: {error}"));
        let mut files: Vec<_> = files.map(|file| file.expect("a file").file_name()).collect();
        files.sort();
        for file in files.iter().map(|file| file.to_string_lossy()) {
            let source = read(&format!("tests/{directory}/{file}"));
            let starts: Vec<_> = test.captures_iter(&source).collect();
            for (at, found) in starts.iter().enumerate() {
                let begin = found.get(0).expect("a match").start();
                let end =
                    starts.get(at + 1).map_or(source.len(), |next| next.get(0).expect("a match").start());
                let sentence = found[1].replace('_', " ");
                all.push((
                    format!("[{sentence}](../tests/{directory}/{file})"),
                    source[begin..end].to_owned(),
                ));
            }
        }
    }
    all
}
