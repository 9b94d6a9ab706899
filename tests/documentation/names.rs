//! Names that documents use: whatever is written as code is called so in the code, in the schemas or in the chart.

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory;
use composio_operator::crd;
use composio_operator::process::settings::Cli;
use regex::Regex;
use serde_json::Value;
use testbed::documents::{all, read, root};

/// Where Helm's notes are: a document too.
const NOTES: &str = "charts/composio-operator/templates/NOTES.txt";
/// Words in the form of ours that others have made.
const OF_OTHERS: [&str; 4] = ["XDG_CACHE_HOME", "VmHWM", "VmRSS", "Terminating"];

/// Everything that is found by a pattern in any document, with the document.
fn mentioned(pattern: &str) -> BTreeSet<(String, String)> {
    let pattern = Regex::new(pattern).expect("a pattern");
    let mut found = BTreeSet::new();
    for document in all().into_iter().chain([NOTES.to_owned()]) {
        let text = read(&document);
        found.extend(pattern.captures_iter(&text).map(|found| (found[1].to_owned(), document.clone())));
    }
    assert!(!found.is_empty(), "nothing is like {pattern}");
    found
}

fn assert_known(what: &str, pattern: &str, is_known: impl Fn(&str) -> bool) {
    let unknown: Vec<_> = mentioned(pattern)
        .into_iter()
        .filter(|(name, _)| !OF_OTHERS.contains(&name.as_str()) && !is_known(name))
        .map(|(name, document)| format!("{document}: {name}"))
        .collect();
    assert!(unknown.is_empty(), "{what} that there is not:\n  {}", unknown.join("\n  "));
}

/// The text of all files below a directory.
fn text_of(directory: &str) -> String {
    let (mut text, mut open) = (String::new(), vec![root().join(directory)]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => open.push(path),
                false => text += &std::fs::read_to_string(&path).unwrap_or_default(),
            }
        }
    }
    text
}

fn words(text: &str) -> BTreeSet<String> {
    let word = Regex::new(r"\w+").expect("a pattern");
    word.find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

#[test]
fn every_label_annotation_and_finalizer_exists() {
    let sources = text_of("src");
    let version = crd::all()[0].spec.versions[0].name.clone();
    assert_known("a name of composio.dev", r"[^/]\bcomposio\.dev/([a-z][a-z0-9-]*)", |name| {
        name == version
            || ["\"", "=", ","].iter().any(|end| sources.contains(&format!("\"composio.dev/{name}{end}")))
    });
}

#[test]
fn every_metric_exists() {
    let families = crate::metrics::families();
    let known = |name: &str| {
        let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
        let names = suffixes.iter().filter_map(|suffix| name.strip_suffix(suffix));
        // All that begin so.
        let is_prefix = name.ends_with('_') && families.keys().any(|family| family.starts_with(name));
        is_prefix || names.into_iter().any(|name| families.contains_key(name))
    };
    assert_known("a metric", r"\b(composio_operator_[a-z_]*)", known);
}

#[test]
fn every_environment_variable_exists() {
    let command = Cli::command();
    let known: BTreeSet<_> = command.get_arguments().filter_map(|flag| flag.get_env()).collect();
    let read_elsewhere =
        ["tests/testbed/src", "tests/chaos", "tests/documentation", "src", "charts", ".github"]
            .map(text_of)
            .concat();
    let read_elsewhere = read_elsewhere + &read(".cargo/config.toml");
    assert_known("a variable", r"`([A-Z]+(?:_[A-Z]+)+)`", |name| {
        known.contains(std::ffi::OsStr::new(name)) || read_elsewhere.contains(name)
    });
}

#[test]
fn every_message_of_the_log_exists() {
    let sources = text_of("src");
    let known = |message: &str| sources.contains(&format!("{message}\""));
    assert_known("a message", r#"\.message == "([^"]+)""#, known);
}

/// Reasons, conditions, kinds, values of enums, phases: each is a word of the sources, the schemas or the chart.
#[test]
fn every_word_in_upper_camel_case_exists() {
    // What Flux and Argo CD say is compared with their code in tests/gitops.
    let places =
        ["src", "charts/composio-operator/files", "charts/composio-operator/templates", "tests/gitops"];
    let known = words(&places.map(text_of).concat());
    assert_known("a word", r"`(?:[A-Za-z]+[:=] ?)?([A-Z][a-z]+(?:[A-Z][A-Za-z]*)?)`", |word| {
        known.contains(word)
    });
}

#[test]
fn every_field_of_a_resource_exists() {
    let schemas = schemas();
    assert_known("a field", r"(?:^|[\s`(=.'])((?:spec|status)(?:\.[a-zA-Z0-9]+)+)", |path| {
        is_field(&schemas, path)
    });
}

#[test]
fn every_patch_that_is_shown_has_fields_that_there_are() {
    let schemas = schemas();
    assert_known("a field of a patch", r"--patch '([^']+)'", |patch| {
        let patch: Value = serde_json::from_str(patch).expect("JSON");
        let (mut names, mut at) = (Vec::new(), &patch);
        while let Some((name, inner)) = at.as_object().and_then(|members| members.iter().next()) {
            names.push(name.as_str());
            at = inner;
        }
        names.len() > 1 && is_field(&schemas, &names.join("."))
    });
}

/// The schemas of both kinds.
fn schemas() -> Vec<Value> {
    let schema = |definition: Value| definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    crd::all().iter().map(|definition| schema(serde_json::to_value(definition).expect("JSON"))).collect()
}

fn is_field(schemas: &[Value], path: &str) -> bool {
    let names = path.split('.');
    schemas.iter().any(|root| names.clone().try_fold(root, |at, name| field(at, name)).is_some())
}

fn field<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let inner = [schema, &schema["items"]].into_iter().find_map(|schema| schema["properties"].get(name));
    inner.or_else(|| Some(&schema["additionalProperties"]).filter(|values| values.is_object()))
}

#[test]
fn every_value_of_the_chart_exists() {
    let values: Value = serde_saphyr::from_str(&read("charts/composio-operator/values.yaml")).expect("YAML");
    let schema: Value =
        serde_json::from_str(&read("charts/composio-operator/values.schema.json")).expect("JSON");
    let known = |path: &str| {
        let pointer = format!("/{}", path.replace('.', "/"));
        let in_schema = path.split('.').try_fold(&schema, |at, name| at["properties"].get(name));
        values.pointer(&pointer).is_some() || in_schema.is_some()
    };
    let set = r"--set[ =]'?([a-zA-Z.]+)=";
    assert_known("a value of the chart", set, known);
    // Written as code: those whose first part is one of the chart's.
    let dotted = r"`([a-z][a-zA-Z]*(?:\.[a-zA-Z]+)+)(?:[:=] ?[^`]*)?`";
    let parts: BTreeSet<_> = values.as_object().expect("a mapping").keys().cloned().collect();
    let shared = ["settings"];
    assert_known("a value of the chart", dotted, |path| {
        let first = path.split('.').next().unwrap_or_default();
        !parts.contains(first) || shared.contains(&first) || known(path)
    });
}

#[test]
fn every_file_that_is_named_exists() {
    let known = |path: &str| {
        let places = ["", "docs", "charts/composio-operator", "tests/testbed"];
        places.iter().any(|place| root().join(place).join(Path::new(path)).exists())
    };
    let pattern = r"`((?:src|tests|docs|examples|charts|crds|templates)/[A-Za-z0-9_./-]+)`";
    assert_known("a file", pattern, known);
}
