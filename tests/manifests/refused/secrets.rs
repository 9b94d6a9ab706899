//! Wrong descriptions of the published Secret.

use serde_json::{Map, Value, json};

use super::{Wrong, wrong};
use crate::cluster::project;

pub(super) fn rows() -> Vec<Wrong> {
    let both = ["labels", "annotations"].into_iter().flat_map(reserved);
    [shape(), keys(), template_entries(), template_texts(), labels(), annotations()]
        .into_iter()
        .flatten()
        .chain(both)
        .collect()
}

fn shape() -> Vec<Wrong> {
    let named = |name: &str| project(json!({"secret": {"name": name}}));
    let field = "spec.secret.name";
    vec![
        wrong(named("Shop"), field, &["must be lower-case letters, digits, dashes and dots"]),
        wrong(named("shop_key"), field, &["such as shop-composio"]),
        wrong(named("shop-"), field, &["with a letter or digit at both ends"]),
        wrong(named(""), field, &["should be at least 1 chars long"]),
        wrong(named(&"a".repeat(254)), field, &["Too long: may not be more than 253 bytes"]),
        wrong(
            project(json!({"secret": {"namespace": "other"}})),
            "spec.secret.namespace",
            &["unknown field", "field not declared in schema"],
        ),
        wrong(project(json!({"secret": "shop"})), "spec.secret", &["of type object", "expected map"]),
    ]
}

fn keys() -> Vec<Wrong> {
    const DIFFER: &[&str] = &["apiKey, projectId and baseUrl must be different names"];
    let keys = |keys: Value| project(json!({"secret": {"keys": keys}}));
    let field = "spec.secret.keys";
    vec![
        wrong(keys(json!({"apiKey": "X", "projectId": "X"})), field, DIFFER),
        wrong(keys(json!({"apiKey": "COMPOSIO_PROJECT_ID"})), field, DIFFER),
        wrong(keys(json!({"projectId": "COMPOSIO_API_KEY"})), field, DIFFER),
        wrong(keys(json!({"baseUrl": "COMPOSIO_API_KEY"})), field, DIFFER),
        wrong(keys(json!({"projectId": "X", "baseUrl": "X"})), field, DIFFER),
        wrong(
            keys(json!({"apiKey": "API KEY"})),
            "spec.secret.keys.apiKey",
            &["must have characters of [-._a-zA-Z0-9] only"],
        ),
        wrong(
            keys(json!({"projectId": "..id"})),
            "spec.secret.keys.projectId",
            &["must not begin with two dots"],
        ),
        wrong(keys(json!({"baseUrl": ""})), "spec.secret.keys.baseUrl", &["should be at least 1 chars long"]),
        wrong(
            keys(json!({"apiKey": "A".repeat(254)})),
            "spec.secret.keys.apiKey",
            &["Too long: may not be more than 253 bytes"],
        ),
        wrong(
            keys(json!({"apikey": "X"})),
            "spec.secret.keys.apikey",
            &["unknown field", "field not declared in schema"],
        ),
    ]
}

fn template_entries() -> Vec<Wrong> {
    let secret = |secret: Value| project(json!({"secret": secret}));
    let entry = |name: &str| secret(json!({"template": {name: "x"}}));
    let field = "spec.secret.template";
    vec![
        wrong(
            entry("COMPOSIO_API_KEY"),
            field,
            &["must differ from those of keys; refused: COMPOSIO_API_KEY"],
        ),
        wrong(
            entry("COMPOSIO_PROJECT_ID"),
            field,
            &["must differ from those of keys; refused: COMPOSIO_PROJECT_ID"],
        ),
        wrong(
            secret(json!({"keys": {"baseUrl": "URL"}, "template": {"a": "", "URL": "{baseUrl}"}})),
            field,
            &["must differ from those of keys; refused: URL"],
        ),
        wrong(entry("a/b"), field, &["must have 1 to 253 characters of [-._a-zA-Z0-9]"]),
        wrong(entry("..env"), field, &["must not begin with two dots; refused: ..env"]),
        wrong(entry(""), field, &["must have 1 to 253 characters"]),
        wrong(entry(&"a".repeat(254)), field, &["must have 1 to 253 characters"]),
        wrong(secret(json!({"template": entries(17, "x")})), field, &["must have at most 16 items"]),
        wrong(
            secret(json!({"template": {"a": 5}})),
            "spec.secret.template",
            &["of type string", "expected string"],
        ),
    ]
}

fn template_texts() -> Vec<Wrong> {
    let text = |text: &str| project(json!({"secret": {"template": {".env": text}}}));
    let field = "spec.secret.template[.env]";
    vec![
        wrong(text("KEY={apikey}"), field, &["refused: {apikey}"]),
        wrong(
            text("{apiKey} {organization}"),
            field,
            &["knows the placeholders {apiKey}, {projectId}, {projectName} and {baseUrl} only"],
        ),
        wrong(text("{{API_KEY}} ${KEY}"), field, &["refused: {KEY}"]),
        wrong(
            text(&"x".repeat(8193)),
            "spec.secret.template..env",
            &["Too long: may not be more than 8192 bytes"],
        ),
    ]
}

/// `labels` or `annotations` that are not for users.
fn reserved(map: &'static str) -> Vec<Wrong> {
    let field = if map == "labels" { "spec.secret.labels" } else { "spec.secret.annotations" };
    let row =
        |name: &str, says| wrong(project(json!({"secret": {map: {"team": "shop", name: "x"}}})), field, says);
    vec![
        row("composio.dev/project", &["are reserved; refused: composio.dev/project"]),
        row("argocd.argoproj.io/instance", &["are reserved; refused: argocd.argoproj.io/instance"]),
        row("app.kubernetes.io/managed-by", &["are reserved; refused: app.kubernetes.io/managed-by"]),
        row("kubernetes.io/metadata.name", &["are reserved; refused: kubernetes.io/metadata.name"]),
        row("node.kubernetes.io/instance-type", &["are reserved; refused: node.kubernetes.io/instance-type"]),
        row(
            "kubectl.kubernetes.io/last-applied-configuration",
            &["are reserved; refused: kubectl.kubernetes.io/"],
        ),
        row("my team", &["names must be such as team or example.com/team", "refused: my team"]),
        row("Example.com/team", &["names must be such as team or example.com/team"]),
        row("example.com/", &["names must be such as team or example.com/team"]),
        row("a/b/c", &["names must be such as team or example.com/team"]),
        row("", &["names must be such as team or example.com/team"]),
    ]
}

fn labels() -> Vec<Wrong> {
    let labels = |labels: Value| project(json!({"secret": {"labels": labels}}));
    vec![
        wrong(
            labels(json!({"team": "my shop"})),
            "spec.secret.labels[team]",
            &["with a letter or digit at both ends"],
        ),
        wrong(
            labels(json!({"team": "shop-"})),
            "spec.secret.labels[team]",
            &["must be empty, or characters of [-_.A-Za-z0-9]"],
        ),
        wrong(
            labels(json!({"team": "a".repeat(64)})),
            "spec.secret.labels.team",
            &["Too long: may not be more than 63 bytes"],
        ),
        wrong(labels(json!({"a".repeat(64): "x"})), "spec.secret.labels", &["at most 253 and 63 characters"]),
        wrong(
            labels(json!({format!("{}/x", "a".repeat(254)): "x"})),
            "spec.secret.labels",
            &["at most 253 and 63 characters"],
        ),
        wrong(labels(json!({"team": true})), "spec.secret.labels", &["of type string", "expected string"]),
        wrong(labels(entries(33, "x")), "spec.secret.labels", &["must have at most 32 items"]),
    ]
}

fn annotations() -> Vec<Wrong> {
    let annotations = |annotations: Value| project(json!({"secret": {"annotations": annotations}}));
    vec![
        wrong(annotations(entries(33, "x")), "spec.secret.annotations", &["must have at most 32 items"]),
        wrong(
            annotations(json!({"note": "x".repeat(4097)})),
            "spec.secret.annotations.note",
            &["Too long: may not be more than 4096 bytes"],
        ),
        wrong(
            annotations(json!({"note": 1})),
            "spec.secret.annotations",
            &["of type string", "expected string"],
        ),
    ]
}

/// A map of so many entries.
fn entries(count: usize, value: &str) -> Value {
    let entries: Map<String, Value> =
        (0..count).map(|number| (format!("entry-{number}"), json!(value))).collect();
    Value::Object(entries)
}
