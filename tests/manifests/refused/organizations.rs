//! Wrong ComposioOrganizations.

use serde_json::{Value, json};

use super::{Wrong, wrong};
use crate::cluster::{manifest, organization};

pub(super) fn rows() -> Vec<Wrong> {
    [
        shape(),
        key_secret(),
        endpoint(),
        ca_bundle(),
        selector(),
        name_template(),
        grants(),
        identity_and_limits(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn shape() -> Vec<Wrong> {
    let right = json!({"apiKeySecretRef": {"name": "composio-org"}});
    let long = manifest("ComposioOrganization", &"a".repeat(64), right);
    let mut without_spec = organization(json!({}));
    without_spec.as_object_mut().expect("a manifest is an object").remove("spec");
    vec![
        wrong(long, "metadata.name", &["Too long: may not be more than 63 bytes"]),
        wrong(without_spec, "spec", &["Required value"]),
        wrong(organization(json!({})), "spec.apiKeySecretRef", &["Required value"]),
        wrong(with("suspend", json!("yes")), "spec.suspend", &["of type boolean", "expected boolean"]),
        wrong(
            with("apiKey", json!("oak_x")),
            "spec.apiKey",
            &["unknown field", "field not declared in schema"],
        ),
        wrong(
            with("projectDefaults", json!({"settings": {"signedUrlFileExpiryInSeconds": 0}})),
            "spec.projectDefaults.settings.signedUrlFileExpiryInSeconds",
            &["should be greater than or equal to 1"],
        ),
    ]
}

fn key_secret() -> Vec<Wrong> {
    let key_ref = |key_ref: Value| organization(json!({"apiKeySecretRef": key_ref}));
    let named = |name: &str| key_ref(json!({"name": name}));
    let entry = |key: &str| key_ref(json!({"name": "composio-org", "key": key}));
    let (name, key) = ("spec.apiKeySecretRef.name", "spec.apiKeySecretRef.key");
    vec![
        wrong(key_ref(json!({})), name, &["Required value"]),
        wrong(key_ref(json!("composio-org")), "spec.apiKeySecretRef", &["of type object", "expected map"]),
        wrong(named("Composio-Org"), name, &["must be lower-case letters, digits, dashes and dots"]),
        wrong(named("composio_org"), name, &["must be lower-case letters, digits, dashes and dots"]),
        wrong(named(""), name, &["should be at least 1 chars long"]),
        wrong(named(&"a".repeat(254)), name, &["Too long: may not be more than 253 bytes"]),
        wrong(entry("api/key"), key, &["must have characters of [-._a-zA-Z0-9] only"]),
        wrong(entry("..data"), key, &["must not begin with two dots"]),
        wrong(entry("."), key, &["such as COMPOSIO_API_KEY"]),
        wrong(entry(&"a".repeat(254)), key, &["Too long: may not be more than 253 bytes"]),
    ]
}

fn endpoint() -> Vec<Wrong> {
    const NOT_A_URL: &[&str] = &["must be a URL such as https://backend.composio.dev"];
    const NO_EXTRAS: &[&str] = &["must have no user, query or fragment"];
    const NO_HTTP: &[&str] = &["must begin with https://"];
    const NO_VERSION: &[&str] = &["must not end in the version of the API"];
    let long = format!("https://example.com/{}", "a".repeat(512));
    let rows = [
        ("backend.composio.dev", NOT_A_URL),
        ("ftp://backend.composio.dev", NOT_A_URL),
        ("https://", NOT_A_URL),
        ("http://backend.composio.dev", NO_HTTP),
        ("HTTP://backend.composio.dev", NO_HTTP),
        ("http://127.0.0.1.example.com", NO_HTTP),
        ("http://localhost.example.com", NO_HTTP),
        ("http://composio.team.svc.example.com", NO_HTTP),
        ("http://localhost:80@example.com", NO_HTTP),
        ("https://admin:pw@example.com", NO_EXTRAS),
        ("https://example.com/?region=eu", NO_EXTRAS),
        ("https://example.com/#eu", NO_EXTRAS),
        ("https://backend.composio.dev/api/v3", NO_VERSION),
        ("https://backend.composio.dev/api/v3.1/", NO_VERSION),
        ("", &["should be at least 1 chars long"]),
        (&long, &["Too long: may not be more than 512 bytes"]),
    ];
    rows.map(|(url, says)| wrong(with("endpoint", json!({"url": url})), "spec.endpoint.url", says)).into()
}

fn ca_bundle() -> Vec<Wrong> {
    let bundle = |url: &str, bundle: Value| with("endpoint", json!({"url": url, "caBundleRef": bundle}));
    let named = |name: &str, key: &str| bundle("https://example.com", json!({"name": name, "key": key}));
    let (reference, name) = ("spec.endpoint.caBundleRef", "spec.endpoint.caBundleRef.name");
    vec![
        wrong(
            bundle("http://composio.team.svc", json!({"name": "corp-ca"})),
            reference,
            &["must be absent, because url begins with http://"],
        ),
        wrong(bundle("https://example.com", json!({"key": "ca.crt"})), name, &["Required value"]),
        wrong(named("Corp_CA", "ca.crt"), name, &["must be lower-case letters, digits, dashes and dots"]),
        wrong(
            named("corp-ca", "../ca"),
            "spec.endpoint.caBundleRef.key",
            &["must have characters of [-._a-zA-Z0-9] only"],
        ),
    ]
}

fn selector() -> Vec<Wrong> {
    const NONE: &[&str] = &["must have at least one value, because operator is In or NotIn"];
    const SOME: &[&str] = &["must be absent, because operator is Exists or DoesNotExist"];
    let selector = |selector: Value| with("namespaceSelector", selector);
    let labels = |labels: Value| selector(json!({"matchLabels": labels}));
    let condition = |condition: Value| selector(json!({"matchExpressions": [condition]}));
    let (key, operator, values) = (
        "spec.namespaceSelector.matchExpressions[0].key",
        "spec.namespaceSelector.matchExpressions[0].operator",
        "spec.namespaceSelector.matchExpressions[0].values",
    );
    let one = json!({"key": "team", "operator": "Exists"});
    let compared = |operator: &str, values: Value| {
        condition(json!({"key": "team", "operator": operator, "values": values}))
    };
    vec![
        wrong(labels(json!({"my team": "a"})), "spec.namespaceSelector.matchLabels", &["refused: my team"]),
        wrong(
            labels(json!({"team": "a b"})),
            "spec.namespaceSelector.matchLabels[team]",
            &["must be empty, or characters"],
        ),
        wrong(condition(json!({"operator": "Exists"})), key, &["Required value"]),
        wrong(
            condition(json!({"key": "a/b/c", "operator": "Exists"})),
            key,
            &["must be such as team or example.com/team"],
        ),
        wrong(condition(json!({"key": "team"})), operator, &["Required value"]),
        wrong(compared("Equals", json!(["a"])), operator, &["Unsupported value"]),
        wrong(condition(json!({"key": "team", "operator": "In"})), values, NONE),
        wrong(compared("In", json!([])), values, NONE),
        wrong(condition(json!({"key": "team", "operator": "NotIn"})), values, NONE),
        wrong(compared("Exists", json!(["a"])), values, SOME),
        wrong(compared("DoesNotExist", json!(["a"])), values, SOME),
        wrong(
            compared("In", json!(["a b"])),
            "spec.namespaceSelector.matchExpressions[0].values[0]",
            &["must be empty, or characters"],
        ),
        wrong(compared("In", json!(vec!["a"; 65])), values, &["must have at most 64 items"]),
        wrong(
            selector(json!({"matchExpressions": vec![one; 33]})),
            "spec.namespaceSelector.matchExpressions",
            &["must have at most 32 items"],
        ),
        wrong(
            selector(json!({"names": ["shop"]})),
            "spec.namespaceSelector.names",
            &["unknown field", "field not declared in schema"],
        ),
    ]
}

fn name_template() -> Vec<Wrong> {
    let field = "spec.projectNameTemplate";
    let template = |template: &str| with("projectNameTemplate", json!(template));
    vec![
        wrong(template("prod"), field, &["must contain {name}, such as prod-{name}"]),
        wrong(template(""), field, &["must contain {name}"]),
        wrong(
            template("{{name}}"),
            field,
            &["must have {name}, {namespace} and characters of [a-zA-Z0-9_-] only"],
        ),
        wrong(template("{cluster}-{name}"), field, &["must have {name}, {namespace} and characters"]),
        wrong(template("prod.{name}"), field, &["such as {namespace}_{name}"]),
        wrong(
            template(&format!("{}{{name}}", "a".repeat(70))),
            field,
            &["Too long: may not be more than 75 bytes"],
        ),
    ]
}

/// A right organization, but for one field.
fn with(field: &str, value: Value) -> Value {
    let mut manifest = organization(json!({"apiKeySecretRef": {"name": "composio-org"}}));
    manifest["spec"][field] = value;
    manifest
}

fn grants() -> Vec<Wrong> {
    let grants = |grants: Value| with("grants", grants);
    let grant = |name: &str, namespace: &str, id: &str| {
        grants(json!([{"projectName": name, "namespace": namespace, "projectId": id}]))
    };
    let (name, namespace) = ("spec.grants[0].projectName", "spec.grants[0].namespace");
    let one = json!({"projectName": "shop", "namespace": "a"});
    let many: Vec<Value> =
        (0..257).map(|number| json!({"projectName": "shop", "namespace": format!("n{number}")})).collect();
    vec![
        wrong(grants(json!([{"namespace": "a"}])), name, &["Required value"]),
        wrong(grants(json!([{"projectName": "shop"}])), namespace, &["Required value"]),
        wrong(grant("sh", "a", "pr_1"), name, &["should be at least 3 chars long"]),
        wrong(grant("my shop", "a", "pr_1"), name, &["must have characters of [a-zA-Z0-9_-] only"]),
        wrong(grant(&"a".repeat(76), "a", "pr_1"), name, &["Too long: may not be more than 75 bytes"]),
        wrong(grant("shop", "*", "pr_1"), namespace, &["must be the name of a namespace"]),
        wrong(grant("shop", "a.b", "pr_1"), namespace, &["must be the name of a namespace"]),
        wrong(
            grant("shop", &"a".repeat(64), "pr_1"),
            namespace,
            &["Too long: may not be more than 63 bytes"],
        ),
        wrong(
            grant("shop", "a", "pr/1"),
            "spec.grants[0].projectId",
            &["must have characters of [A-Za-z0-9_-] only"],
        ),
        wrong(grants(json!([one, one])), "spec.grants", &["Duplicate value", "duplicate entries for key"]),
        wrong(grants(json!(many)), "spec.grants", &["must have at most 256 items"]),
        wrong(with("adoption", json!("Never")), "spec.adoption", &["Unsupported value"]),
    ]
}

fn identity_and_limits() -> Vec<Wrong> {
    let limit = |limit: Value| with("limits", json!({"deletionsPerHour": limit}));
    let rate = |limit: Value| with("limits", json!({"requestsPerMinute": limit}));
    let requests = "spec.limits.requestsPerMinute";
    let (id, deletions) = ("spec.organizationId", "spec.limits.deletionsPerHour");
    vec![
        wrong(with("organizationId", json!("")), id, &["should be at least 1 chars long"]),
        wrong(with("organizationId", json!("ok/1")), id, &["must have characters of [A-Za-z0-9_-] only"]),
        wrong(
            with("organizationId", json!("a".repeat(129))),
            id,
            &["Too long: may not be more than 128 bytes"],
        ),
        wrong(limit(json!(-1)), deletions, &["should be greater than or equal to 0"]),
        wrong(limit(json!(10_001)), deletions, &["should be less than or equal to 10000"]),
        wrong(limit(json!("20")), deletions, &["of type integer", "expected numeric"]),
        wrong(rate(json!(9)), requests, &["should be greater than or equal to 10"]),
        wrong(rate(json!(1_000_001)), requests, &["should be less than or equal to 1000000"]),
        wrong(rate(json!("500")), requests, &["of type integer", "expected numeric"]),
    ]
}
