//! Wrong ComposioProjects, but for settings and Secret.

use serde_json::{Value, json};

use super::{Wrong, wrong};
use crate::cluster::{manifest, project};

pub(super) fn rows() -> Vec<Wrong> {
    [shape(), names(), organization_ref(), adoption()].into_iter().flatten().collect()
}

fn shape() -> Vec<Wrong> {
    let mut beside_spec = project(json!({}));
    beside_spec["settings"] = json!({});
    vec![
        wrong(project(json!("shop")), "spec", &["of type object", "expected map"]),
        wrong(beside_spec, "settings", &["unknown field", "field not declared in schema"]),
        wrong(project(json!({"suspend": "false"})), "spec.suspend", &["of type boolean", "expected boolean"]),
        wrong(
            project(json!({"deletionPolicy": "delete"})),
            "spec.deletionPolicy",
            &["Unsupported value", "Retain"],
        ),
        wrong(
            project(json!({"deletionPolicy": "Orphan"})),
            "spec.deletionPolicy",
            &["Unsupported value", "Retain"],
        ),
        wrong(project(json!({"onDrift": "Ignore"})), "spec.onDrift", &["Unsupported value", "Correct"]),
        wrong(project(json!({"onDrift": true})), "spec.onDrift", &["of type string", "expected string"]),
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

fn adoption() -> Vec<Wrong> {
    let adopt = |adopt: Value| project(json!({"adopt": adopt}));
    let of = |id: &str| adopt(json!({"projectId": id, "keySource": "Regenerate"}));
    let (id, reference) = ("spec.adopt.projectId", "spec.adopt.secretRef");
    let source = "spec.adopt.keySource";
    vec![
        wrong(adopt(json!({"keySource": "Regenerate"})), id, &["Required value"]),
        wrong(adopt(json!({"projectId": "pr_1"})), source, &["Required value"]),
        wrong(adopt(json!({"projectId": "pr_1", "keySource": "Secrets"})), source, &["Unsupported value"]),
        wrong(
            adopt(json!({"projectId": "pr_1", "keySource": "Secret"})),
            reference,
            &["is required, because keySource is Secret"],
        ),
        wrong(
            adopt(json!({"projectId": "pr_1", "keySource": "Secret", "secretRef": null})),
            reference,
            &["is required, because keySource is Secret"],
        ),
        wrong(
            adopt(json!({"projectId": "pr_1", "keySource": "Regenerate", "secretRef": {"name": "a"}})),
            reference,
            &["must be absent, because keySource is Regenerate"],
        ),
        wrong(
            adopt(json!({"projectId": "pr_1", "keySource": "Secret", "secretRef": {"name": "A"}})),
            "spec.adopt.secretRef.name",
            &["must be lower-case letters, digits, dashes and dots"],
        ),
        wrong(
            adopt(
                json!({"projectId": "p", "keySource": "Secret", "secretRef": {"name": "a", "namespace": "b"}}),
            ),
            "spec.adopt.secretRef.namespace",
            &["unknown field", "field not declared in schema"],
        ),
        wrong(of("pr/../1"), id, &["must have characters of [A-Za-z0-9_-] only, such as pr_1a2b3c4d5e6f"]),
        wrong(of(""), id, &["should be at least 1 chars long"]),
        wrong(of(&"a".repeat(129)), id, &["Too long: may not be more than 128 bytes"]),
        wrong(
            project(json!({"onProjectMissing": "Ignore"})),
            "spec.onProjectMissing",
            &["Unsupported value"],
        ),
        wrong(project(json!({"onInvalidKey": "Recreate"})), "spec.onInvalidKey", &["Unsupported value"]),
    ]
}
