//! The rules of the tree that the compiler does not know, read from the sources: which floor may use which, how long a
//! file may be, where a key may be seen. What the documentation promises is compared in `documentation/`.
#![expect(clippy::expect_used, reason = "a tree that cannot be read fails its test, with the reason")]

use std::path::{Path, PathBuf};

use regex::Regex;

/// Each floor with those that it may use, besides itself.
const FLOORS: [(&str, &[&str]); 5] = [
    ("domain", &[]),
    ("crd", &["domain"]),
    ("composio", &["domain"]),
    ("controller", &["domain", "crd", "composio"]),
    ("process", &["domain", "crd", "composio", "controller"]),
];
/// Longest file, tests in it included.
const MOST_LINES: usize = 500;
/// Directories with sources of this project.
const SOURCES: [&str; 3] = ["src", "tests", "examples"];

/// A file of the tree: its path below the root, and its text.
struct File {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `directory` with one of these extensions; all extensions where none is given.
fn files(directory: &str, extensions: &[&str]) -> Vec<File> {
    let (mut found, mut open) = (Vec::new(), vec![root().join(directory)]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory of the tree") {
            let path = entry.expect("an entry of the tree").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // In a working tree of its own, `.git` is a file.
            if [".git", "target"].contains(&&*name) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if extensions.is_empty() || extensions.iter().any(|wanted| has_extension(&path, wanted)) {
                // What is no text is none of our sources.
                found.extend(
                    std::fs::read_to_string(&path).ok().map(|text| File { path: below_root(&path), text }),
                );
            }
        }
    }
    assert!(!found.is_empty(), "no files in {directory}: the rule would check nothing");
    found
}

fn sources(extensions: &[&str]) -> Vec<File> {
    SOURCES.iter().flat_map(|directory| files(directory, extensions)).collect()
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted)
}

fn below_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// `path:line: text` of every line of the files that the pattern is found in.
fn lines_with(files: &[File], pattern: &str) -> Vec<String> {
    let pattern = Regex::new(pattern).expect("a pattern");
    let in_file = |file: &File| {
        let lines = file.text.lines().enumerate().filter(|(_, line)| pattern.is_match(line));
        lines.map(|(at, line)| format!("{}:{}: {}", file.path, at + 1, line.trim())).collect::<Vec<_>>()
    };
    files.iter().flat_map(in_file).collect()
}

fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// Names of the floors that a text reaches by `crate::x`, by a group in `crate::{…}`, or by climbing with `super::x`.
fn floors_used(text: &str) -> Vec<String> {
    let direct = Regex::new(r"\b(?:crate|super(?:::super)*)::(\w+)").expect("a pattern");
    let group = Regex::new(r"\b(?:crate|super(?:::super)*)::\{([^;]*?)\};").expect("a pattern");
    let member = Regex::new(r"(?:^|[{,])\s*(\w+)").expect("a pattern");
    let is_floor = |name: &str| FLOORS.iter().any(|(floor, _)| *floor == name);
    let named = direct.captures_iter(text).map(|found| found[1].to_owned());
    let grouped = group.captures_iter(text).flat_map(|found| {
        member.captures_iter(&found[1]).map(|found| found[1].to_owned()).collect::<Vec<_>>()
    });
    named.chain(grouped).filter(|name| is_floor(name)).collect()
}

#[test]
fn a_floor_uses_only_what_is_below_it() {
    for (floor, below) in FLOORS {
        let upward = files(&format!("src/{floor}"), &["rs"]).into_iter().flat_map(|file| {
            let used = floors_used(&file.text).into_iter();
            let upward = used.filter(|used| used != floor && !below.contains(&used.as_str()));
            upward.map(|used| format!("{} uses {used}", file.path)).collect::<Vec<_>>()
        });
        assert_none(&upward.collect::<Vec<_>>(), &format!("{floor} may use {below:?} only"));
    }
}

#[test]
fn the_rule_of_the_floors_sees_every_way_to_name_one() {
    for text in [
        "use crate::crd::ComposioProject;",
        "let name = crate::crd::GROUP;",
        "use crate::{domain::ids, crd::GROUP};",
        "use crate::{\n    crd,\n};",
        "use super::super::crd::GROUP;",
        "use super::super::{claim, crd::GROUP};",
    ] {
        assert!(floors_used(text).iter().any(|floor| floor == "crd"), "{text}");
    }
    assert!(floors_used("use crate::domain::ids; use super::create;").iter().all(|floor| floor == "domain"));
}

#[test]
fn every_floor_is_known_and_nothing_else_lies_in_src() {
    let entries = std::fs::read_dir(root().join("src")).expect("the sources");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let strange: Vec<String> = names
        .filter(|name| !["lib.rs", "main.rs"].contains(&name.as_str()))
        .filter(|name| !FLOORS.iter().any(|(floor, _)| floor == name))
        .collect();
    assert_none(&strange, "a new floor needs its place in FLOORS");
}

#[test]
fn the_domain_is_pure() {
    let domain = files("src/domain", &["rs"]);
    let clocks = r"Timestamp::now|Zoned::now|SystemTime|Instant|OffsetDateTime";
    assert_none(&lines_with(&domain, clocks), "no clock in the domain: `now` is given to it");
    let chance = r"\b(getrandom|rand|fastrand|uuid|Uuid)\b";
    assert_none(&lines_with(&domain, chance), "no chance in the domain: what is random is given to it");
    let shells = r"\b(kube|k8s_openapi|tokio|reqwest|axum|tracing|futures)::|\basync\b|std::(env|fs|net|process|thread)";
    assert_none(&lines_with(&domain, shells), "nothing that acts in the domain");
}

#[test]
fn the_test_bed_judges_the_operator_by_the_contract_not_by_its_types() {
    for part in ["emulator", "controlplane", "proxy"] {
        let files = files(&format!("tests/testbed/src/{part}"), &["rs"]);
        assert_none(&lines_with(&files, "composio_operator"), &format!("{part} does not know the operator"));
    }
}

#[test]
fn a_file_has_at_most_500_lines() {
    let long = sources(&["rs", "go"]).into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > MOST_LINES).then(|| format!("{}: {lines}", file.path))
    });
    assert_none(&long.collect::<Vec<_>>(), "split by what is decided where");
}

#[test]
fn every_source_begins_by_saying_what_lives_in_it() {
    let silent = sources(&["rs"]).into_iter().filter(|file| !file.text.starts_with("//! "));
    assert_none(&silent.map(|file| file.path).collect::<Vec<_>>(), "begin the file with `//! …`");
}

#[test]
fn names_say_what_a_thing_is() {
    let words = "Manager|Helpers?|Utils?|Handler|Processor|Service|Data|Info|Impl";
    let types = format!(r"\b(struct|enum|union|trait|type)\s+(\w*({words})|({words})[A-Z]\w*)\b");
    assert_none(&lines_with(&sources(&["rs"]), &types), "use the field's own word");
    let vague = Regex::new(r"(^|/)(utils?|helpers?|common|misc|manager|service)(\.rs|/)").expect("a pattern");
    let named = sources(&["rs"]).into_iter().map(|file| file.path).filter(|path| vague.is_match(path));
    assert_none(&named.collect::<Vec<_>>(), "name the file by what is in it");
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    let files = sources(&["rs"]);
    assert_none(
        &lines_with(&files, r"#!?\[(cfg_attr\(.*,\s*)?allow\("),
        "write #[expect(…, reason = \"…\")]",
    );
    let silent = Regex::new(r"#!?\[expect\(([^\]]*)\)\]").expect("a pattern");
    let without = files.iter().flat_map(|file| {
        let found = silent.captures_iter(&file.text).filter(|found| !found[1].contains("reason = "));
        found.map(|found| format!("{}: {}", file.path, &found[0])).collect::<Vec<_>>()
    });
    assert_none(&without.collect::<Vec<_>>(), "an exception says why");
}

#[test]
fn nothing_is_left_open_and_no_test_is_left_out() {
    // Written in parts, or this line would be found.
    let open = ["to", "do!|unimple", "mented!|\\bTO", "DO\\b|FIX", "ME|#\\[ig", "nore"].concat();
    assert_none(&lines_with(&sources(&["rs", "go"]), &open), "finish it, or leave it out");
}

#[test]
fn a_key_is_seen_only_where_it_is_sent_or_stored() {
    let allowed = [
        "src/domain/key.rs",         // the type itself: comparison, mask, fingerprint
        "src/composio/client.rs",    // the header of a request
        "src/controller/header.rs",  // the secret of the fingerprints, which the header keeps
        "src/controller/ledger.rs",  // the claim
        "src/controller/secrets.rs", // the published Secret
    ];
    let sources = files("src", &["rs"]);
    for path in allowed {
        assert!(
            sources.iter().any(|file| file.path == path && file.text.contains(".expose()")),
            "{path} needs no key"
        );
    }
    let elsewhere: Vec<File> =
        sources.into_iter().filter(|file| !allowed.contains(&file.path.as_str())).collect();
    assert_none(&lines_with(&elsewhere, r"\.expose\(\)"), "pass the ApiKey on");
    let inside: Vec<File> =
        files("src", &["rs"]).into_iter().filter(|file| file.path != allowed[0]).collect();
    assert_none(&lines_with(&inside, r"expose_secret|ExposeSecret"), "ApiKey is the only way to a secret");
}

#[test]
fn nothing_is_about_one_machine() {
    // Written in parts, or this file would be found.
    let places = ["wor", "k|ro", "ot|home/\\w+|Users/\\w+|t", "mp"].concat();
    let pattern = format!(r"(^|[\s=:\x22'`(\[])/({places})(/|\b)");
    for sample in ["cd /wor+k/main", "\"/ro+ot/.cargo\"", "(/t+mp/x)", "log=/home/+me/log"] {
        let sample = sample.replace('+', "");
        assert!(Regex::new(&pattern).expect("a pattern").is_match(&sample), "{sample} must be found");
    }
    let tree: Vec<File> = files("", &[]).into_iter().filter(|file| is_ours(&file.path)).collect();
    assert_none(&lines_with(&tree, &pattern), "a path of one machine");
}

/// Not a lock file, which a tool writes, and not the text of the licence.
fn is_ours(path: &str) -> bool {
    let name = PathBuf::from(path);
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    !["Cargo.lock", "go.sum", "LICENSE"].contains(&name.as_str())
}
