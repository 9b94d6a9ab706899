//! Wrong ComposioProjects, but for settings and Secret.

use serde_json::json;

use super::{Wrong, wrong};
use crate::cluster::{manifest, project};

pub(super) fn rows() -> Vec<Wrong> {
    [shape(), names(), organization_ref()].into_iter().flatten().collect()
}

fn shape() -> Vec<Wrong> {
    let mut beside_spec = project(json!({}));
    beside_spec["settings"] = json!({});
    vec![
        wrong(project(json!("shop")), "spec", &["of type object", "expected map"]),
        wrong(beside_spec, "settings", &["unknown field", "field not declared in schema"]),
        wrong(project(json!({"suspend": "false"})), "spec.suspend", &["of type boolean", "expected boolean"]),
        // A field that another release knows is not dropped silently.
        wrong(
            project(json!({"deletionPolicyy": "Delete"})),
            "spec.deletionPolicyy",
            &["unknown field", "field not declared in schema"],
        ),
    ]
}

fn names() -> Vec<Wrong> {
    let named = |name: &str| manifest("ComposioProject", name, json!({}));
    let at_composio = |name: &str| project(json!({"projectName": name}));
    let field = "spec.projectName";
    vec![
        wrong(named(&"a".repeat(64)), "metadata.name", &["Too long: may not be more than 63 bytes"]),
        wrong(named("shop.eu"), field, &["Required value: must be set, because metadata.name has dots"]),
        wrong(named("Shop"), "metadata.name", &["lower case alphanumeric characters"]),
        wrong(at_composio("shop.eu"), field, &["must have characters of [a-zA-Z0-9_-] only, such as shop"]),
        wrong(at_composio("my shop"), field, &["must have characters of [a-zA-Z0-9_-] only, such as shop"]),
        wrong(at_composio("café"), field, &["must have characters of [a-zA-Z0-9_-] only, such as shop"]),
        wrong(at_composio(""), field, &["should be at least 1 chars long"]),
        wrong(at_composio(&"a".repeat(76)), field, &["Too long: may not be more than 75 bytes"]),
        wrong(project(json!({"projectName": 5})), field, &["of type string", "expected string"]),
    ]
}

fn organization_ref() -> Vec<Wrong> {
    let named = |name: &str| project(json!({"organizationRef": {"name": name}}));
    let field = "spec.organizationRef.name";
    vec![
        wrong(named("Default"), field, &["must be lower-case letters, digits, dashes and dots"]),
        wrong(named("eu..west"), field, &["must be lower-case letters, digits, dashes and dots"]),
        wrong(named(""), field, &["should be at least 1 chars long"]),
        wrong(named(&"a".repeat(64)), field, &["Too long: may not be more than 63 bytes"]),
        wrong(
            project(json!({"organizationRef": "default"})),
            "spec.organizationRef",
            &["of type object", "expected map"],
        ),
        wrong(
            project(json!({"organizationRef": {"name": "default", "namespace": "other"}})),
            "spec.organizationRef.namespace",
            &["unknown field", "field not declared in schema"],
        ),
    ]
}
