//! Documentation that cannot rot: tables are compared with what the code says, and links with what they lead to.
//! `UPDATE_DOCS=1 cargo test --test documentation` writes the tables anew.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a document that cannot be read fails its test, with the reason"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, CommandFactory};
use composio_operator::crd::{ComposioOrganization, ComposioProject};
use composio_operator::domain::reason::Reason;
use composio_operator::process::settings::Cli;
use regex::Regex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// For people.
const DOCUMENTS: [&str; 11] = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "charts/composio-operator/README.md",
    "docs/behaviour.md",
    "docs/gitops.md",
    "docs/how-it-works.md",
    "docs/performance.md",
    "docs/reasons.md",
    "docs/runbooks.md",
    "docs/settings.md",
];
const BEGIN: &str =
    "<!-- The table is written by UPDATE_DOCS=1 cargo test --test documentation; do not edit it. -->";
const END: &str = "<!-- End of the table. -->";

fn read(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    std::fs::read_to_string(&path).unwrap_or_else(|error| format!("{document} cannot be read: {error}"))
}

/// Compares the generated part of a document, or writes it anew.
fn assert_table(document: &str, table: &str) {
    let text = read(document);
    let parts = text.split_once(BEGIN).zip(text.split_once(END));
    let ((before, _), (_, after)) = parts.expect("a document with the two comments around its table");
    let wanted = format!("{before}{BEGIN}\n\n{table}\n{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        std::fs::write(path, wanted).expect("a document that can be written");
        return;
    }
    let differs = wanted.lines().zip(text.lines()).find(|(wanted, is)| wanted != is);
    assert!(
        wanted == text,
        "{document} is not what the code says; run: UPDATE_DOCS=1 cargo test --test documentation\nfirst difference (code, document): {differs:?}"
    );
}

/// A row of a table; `|` would end a cell.
fn row(table: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    writeln!(table, "| {} |", cells.join(" | ")).expect("a string that grows");
}

#[test]
fn every_reason_is_explained() {
    let mut table = String::new();
    row(&mut table, &["Reason", "What it says", "What to do", "Stalled", "Scenario that reaches it"]);
    row(&mut table, &["---"; 5]);
    let scenarios = scenarios();
    for reason in Reason::ALL {
        let stalls = if reason.stalls() { "yes" } else { "" };
        let (remedy, name) = (reason.remedy().unwrap_or("nothing"), reason.as_str());
        let reaches = |(_, body): &&(String, String)| body.contains(&format!("\"{name}\""));
        let scenario = scenarios.iter().find(reaches);
        let (scenario, _) = scenario.unwrap_or_else(|| panic!("no scenario reaches {name}"));
        row(&mut table, &[&format!("`{name}`"), reason.text(), remedy, stalls, scenario]);
    }
    assert_table("docs/reasons.md", &table);
}

#[test]
fn every_value_of_the_chart_is_explained() {
    let text = read("charts/composio-operator/values.yaml");
    let defaults: Value = serde_saphyr::from_str(&text).expect("YAML");
    let mut table = String::new();
    row(&mut table, &["Value", "Default", "Meaning"]);
    row(&mut table, &["---"; 3]);
    let explained = explained_values(&text);
    for (path, meaning) in &explained {
        let default = defaults.pointer(&format!("/{}", path.replace('.', "/"))).expect("a value");
        row(&mut table, &[&format!("`{path}`"), &format!("`{default}`"), meaning]);
    }
    for leaf in leaves(&defaults, "") {
        let is_under = |(path, _): &(String, String)| leaf == *path || leaf.starts_with(&format!("{path}."));
        assert!(explained.iter().any(is_under), "{leaf} has no comment that begins with `# --`");
    }
    assert_table("charts/composio-operator/README.md", &table);
}

/// The values that a comment `# --` stands above, by their paths.
fn explained_values(text: &str) -> Vec<(String, String)> {
    let (mut stack, mut explained, mut meaning) = (Vec::<(usize, &str)>::new(), Vec::new(), String::new());
    for line in text.lines() {
        let (trimmed, indent) = (line.trim_start(), line.len() - line.trim_start().len());
        if let Some(begin) = trimmed.strip_prefix("# -- ") {
            begin.clone_into(&mut meaning);
        } else if let Some(more) = trimmed.strip_prefix("# ").filter(|_| !meaning.is_empty()) {
            meaning = format!("{meaning} {more}");
        } else if let Some((key, _)) = trimmed.split_once(':').filter(|_| !trimmed.starts_with('#')) {
            stack.retain(|(outer, _)| *outer < indent);
            stack.push((indent, key));
            let path: Vec<&str> = stack.iter().map(|(_, key)| *key).collect();
            explained.extend((!meaning.is_empty()).then(|| (path.join("."), std::mem::take(&mut meaning))));
        }
    }
    explained
}

/// Paths of everything that is not a mapping with members.
fn leaves(value: &Value, path: &str) -> Vec<String> {
    match value.as_object().filter(|members| !members.is_empty()) {
        None => vec![path.trim_start_matches('.').to_owned()],
        Some(members) => {
            members.iter().flat_map(|(name, value)| leaves(value, &format!("{path}.{name}"))).collect()
        }
    }
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
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(directory);
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

#[test]
fn every_setting_is_explained() {
    let mut table = String::new();
    row(&mut table, &["Flag", "Environment", "Default", "Meaning"]);
    row(&mut table, &["---", "---", "---", "---"]);
    let command = Cli::command();
    for setting in command.get_arguments().filter(|setting| setting.get_env().is_some()) {
        let [flag, environment, default] = [flag(setting), environment(setting), default(setting)];
        let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
        row(&mut table, &[&flag, &environment, &default, &help]);
    }
    assert_table("docs/settings.md", &table);
}

fn flag(setting: &Arg) -> String {
    let value = setting.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
    format!("`--{} {}`", setting.get_long().unwrap_or_default(), value.unwrap_or_default())
}

fn environment(setting: &Arg) -> String {
    setting.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default()
}

fn default(setting: &Arg) -> String {
    let values: Vec<_> = setting.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if values.is_empty() { String::new() } else { format!("`{}`", values.join(",")) }
}

/// The names of the test functions below a directory of `tests`.
fn tests_in(directory: &str) -> BTreeSet<String> {
    let function =
        Regex::new(r"(?m)^#\[(?:tokio::)?test[^\n]*\]\n(?:#\[[^\n]*\]\n)*(?:async )?fn ([a-z0-9_]+)\(")
            .expect("a pattern");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let single = root.join(format!("{directory}.rs"));
    let files: Vec<_> = match single.exists() {
        true => vec![single],
        false => std::fs::read_dir(root.join(directory))
            .expect("a directory of tests that the table names")
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
    let (mut named, mut missing) = (BTreeSet::new(), Vec::new());
    for row in text.lines().filter(is_row) {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let mut cells = cell.captures_iter(shown).peekable();
        if cells.peek().is_none() {
            missing.push(format!("a row without a test: {row}"));
        }
        for found in cells {
            let known = tests_in(&found[1]);
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

/// The anchors of a document, as the usual renderers make them from its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let heading = Regex::new(r"(?m)^#+ (.+)$").expect("a pattern");
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    heading.captures_iter(text).map(|found| anchor(&found[1])).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a pattern");
    let mut broken = Vec::new();
    let mut followed = 0;
    for document in DOCUMENTS {
        for found in link.captures_iter(&read(document)) {
            let target = found[1].to_owned();
            if target.starts_with("https://") {
                continue;
            }
            followed += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let directory = Path::new(document).parent().unwrap_or(Path::new(""));
            let path = if path.is_empty() { document.into() } else { directory.join(path) };
            let exists = Path::new(env!("CARGO_MANIFEST_DIR")).join(&path).exists();
            let is_there =
                exists && (anchor.is_empty() || anchors(&read(&path.to_string_lossy())).contains(anchor));
            if !is_there {
                broken.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(followed > 0, "no link was followed");
    assert!(broken.is_empty(), "links that lead nowhere:\n  {}", broken.join("\n  "));
}

/// The resources in a document: from their `apiVersion` to the end of the block or of the here-document.
fn resources(document: &str) -> Vec<Value> {
    let text = read(document);
    let starts = text.match_indices("apiVersion: composio.dev/").map(|(at, _)| at);
    let resource = |start: usize| {
        let indent = start - text[..start].rfind('\n').map_or(0, |end| end + 1);
        let lines = text[start..]
            .lines()
            .enumerate()
            .map(|(at, line)| if at == 0 { line } else { line.get(indent..).unwrap_or("") });
        let lines: Vec<&str> = lines.take_while(|line| !["```", "END"].contains(line)).collect();
        serde_saphyr::from_str(&lines.join("\n")).expect("a resource in YAML")
    };
    starts.map(resource).collect()
}

/// Read and written by the types of the schema, it is the same: no field is unknown.
fn survives<K: Serialize + DeserializeOwned>(resource: &Value) -> bool {
    let read: K = serde_json::from_value(resource.clone()).expect("a resource of this kind");
    serde_json::to_value(read).expect("JSON")["spec"] == resource["spec"]
}

#[test]
fn the_resources_in_the_documents_have_only_fields_that_there_are() {
    let resources: Vec<Value> = DOCUMENTS.into_iter().flat_map(resources).collect();
    assert!(resources.len() > 1, "no resource was found");
    for resource in resources {
        let is_known = match resource["kind"].as_str() {
            Some("ComposioProject") => survives::<ComposioProject>(&resource),
            Some("ComposioOrganization") => survives::<ComposioOrganization>(&resource),
            _ => false,
        };
        assert!(is_known, "a field that there is not: {resource}");
    }
}

#[test]
fn the_sections_that_the_sources_refer_to_exist() {
    assert!(
        anchors(&read("docs/how-it-works.md")).contains("when-an-answer-is-lost"),
        "src/domain/evidence.rs names it"
    );
}
