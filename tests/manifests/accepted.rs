//! Right manifests: each is accepted, stored exactly as written, and can be read by the operator.

use composio_operator::crd::{ComposioOrganization, ComposioProject};
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, Way, organization, project};

#[tokio::test]
async fn a_project_needs_no_spec() {
    let cluster = Cluster::new("projects").await;
    let mut manifest = project(Value::Null);
    for way in [Way::Create, Way::Apply] {
        let stored = cluster.send(way, &manifest, true).await.expect("null is as good as absent");
        assert_eq!(stored["spec"], json!({}), "{way:?}");
    }
    manifest.as_object_mut().expect("a manifest is an object").remove("spec");
    for way in [Way::Create, Way::Apply] {
        let stored = cluster.send(way, &manifest, true).await.expect("all fields are optional");
        assert_eq!(stored["spec"], json!({}), "{way:?}");
    }
}

/// Creates each, by both ways, and looks at what is stored then. `read` is how the operator reads it.
async fn all_are_accepted(
    name: &str,
    manifests: Vec<Value>,
    read: fn(Value) -> Result<(), serde_json::Error>,
) {
    let cluster = Cluster::new(name).await;
    let mut complaints = Vec::new();
    println!("{} right manifests", manifests.len());
    for (number, mut manifest) in manifests.into_iter().enumerate() {
        for way in [Way::Create, Way::Apply] {
            manifest["metadata"]["name"] = json!(format!("m-{number}-{way:?}").to_lowercase());
            let short = format!("{:.300}", manifest.to_string());
            match cluster.send(way, &manifest, false).await {
                Err(message) => complaints.push(format!("{way:?} of {short}\n  is refused: {message:.2000}")),
                Ok(stored) if stored["spec"] != manifest["spec"] => {
                    complaints.push(format!(
                        "{way:?} of {short}\n  is stored as {:.300}",
                        stored["spec"].to_string()
                    ));
                }
                Ok(stored) => {
                    if stored["status"] != json!({"observedGeneration": -1}) {
                        complaints.push(format!("{way:?} of {short}\n  has the status {}", stored["status"]));
                    }
                    if let Err(error) = read(stored) {
                        complaints.push(format!("{short}\n  cannot be read by the operator: {error}"));
                    }
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
async fn a_right_organization_is_stored_as_written_and_not_taken_for_current() {
    let read = |stored| serde_json::from_value::<ComposioOrganization>(stored).map(drop);
    all_are_accepted("organizations", organizations(), read).await;
}

#[tokio::test]
async fn a_right_project_is_stored_as_written_and_not_taken_for_current() {
    let read = |stored| serde_json::from_value::<ComposioProject>(stored).map(drop);
    all_are_accepted("projects", projects(), read).await;
}

fn organizations() -> Vec<Value> {
    let with = |field: &str, value: Value| {
        organization(json!({"apiKeySecretRef": {"name": "composio-org"}, field: value}))
    };
    let endpoint = |url: &str| with("endpoint", json!({"url": url}));
    let template = |template: &str| with("projectNameTemplate", json!(template));
    let longest_url = format!("https://example.com/{}", "a".repeat(512 - 20));
    let mut manifests = vec![
        with("suspend", json!(true)),
        with("endpoint", json!({})),
        with("endpoint", json!({"caBundleRef": {"name": "corp-ca"}})),
        with(
            "endpoint",
            json!({"url": "https://composio.corp", "caBundleRef": {"name": "a.b", "key": "ca.pem"}}),
        ),
        with("namespaceSelector", json!({})),
        with("namespaceSelector", json!({"matchLabels": null, "matchExpressions": null})),
        with("namespaceSelector", largest_selector()),
        with(
            "namespaceSelector",
            json!({"matchExpressions": [
                {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "DoesNotExist", "values": []},
                {"key": "c", "operator": "NotIn", "values": [""]}, {"key": "a", "operator": "In", "values": ["x"]},
            ]}),
        ),
        with("adoption", json!("ByGrant")),
        with("adoption", json!("WithKey")),
        with("grants", json!([])),
        with("grants", grants(256)),
        with(
            "grants",
            json!([
                {"projectName": "prod-shop", "namespace": "shop"}, {"projectName": "prod-shop", "namespace": "shop2"}
            ]),
        ),
        with("limits", json!({})),
        with("limits", json!({"deletionsPerHour": 0, "requestsPerMinute": 10})),
        with("limits", json!({"deletionsPerHour": null, "requestsPerMinute": 1_000_000})),
        with("projectDefaults", json!({})),
        with("projectDefaults", json!({"settings": every_setting()})),
        organization(json!({"apiKeySecretRef": {"name": "a.b-c.d", "key": ".api_KEY-1"}})),
        organization(json!({"apiKeySecretRef": {"name": "a".repeat(253), "key": "a".repeat(253)}})),
        // What a Helm chart makes of empty values.
        organization(json!({
            "apiKeySecretRef": {"name": "composio-org", "key": null},
            "endpoint": null, "projectNameTemplate": null, "projectDefaults": {"settings": null}, "suspend": null,
            "grants": null, "namespaceSelector": null,
        })),
    ];
    manifests.extend(
        [
            "https://backend.composio.dev",
            "https://backend.composio.dev/",
            "https://composio.example.com:8443/platform",
            "http://127.0.0.1:8080",
            "http://127.1.2.3",
            "http://localhost:3000/",
            "http://[::1]:8080",
            "http://composio.team.svc",
            "http://composio.team.svc:8080/base",
            "http://composio.team.svc.cluster.local",
            &longest_url,
        ]
        .map(endpoint),
    );
    let longest = format!("{}{{name}}", "a".repeat(75 - 6));
    manifests.extend(
        ["{name}", "prod-{name}", "{namespace}_{name}", "A_1-{name}-{namespace}", &longest].map(template),
    );
    manifests
}

fn projects() -> Vec<Value> {
    let secret = |secret: Value| project(json!({"secret": secret}));
    let settings = |settings: Value| project(json!({"settings": settings}));
    let mut manifests = vec![
        project(json!({})),
        maximal(),
        project(json!({"projectName": "Shop_1-a"})),
        project(json!({"projectName": "a"})),
        project(json!({"organizationRef": {}})),
        project(json!({"organizationRef": {"name": "eu.west-1"}})),
        project(json!({"suspend": false})),
        project(json!({"deletionPolicy": "Retain"})),
        project(json!({"deletionPolicy": "Delete"})),
        project(json!({"deletionPolicy": "DeleteAndRevoke"})),
        project(json!({"onProjectMissing": "Report"})),
        project(json!({"onInvalidKey": "RegenerateIfNoneLeft"})),
        project(json!({"onInvalidKey": "Regenerate"})),
        project(json!({"onInvalidKey": "Report"})),
        project(json!({"onDrift": "Correct"})),
        project(json!({"onDrift": "Report"})),
        project(json!({"adopt": {"projectId": "pr_fFNjab93_ln9", "keySource": "Regenerate"}})),
        project(json!({"adopt": {"projectId": "-", "keySource": "Regenerate", "secretRef": null}})),
        project(json!({"adopt": {"projectId": "a", "keySource": "Secret", "secretRef": {"name": "old"}}})),
        settings(json!({})),
        settings(every_setting()),
        settings(json!({"displayName": "Café ☕ 東京 – Лавка", "oauthCallbackVerifierUrl": ""})),
        settings(json!({"displayName": "東".repeat(256)})),
        settings(json!({"logVisibilitySetting": "dont_store_data", "signedUrlFileExpiryInSeconds": 1})),
        settings(json!({"logoUrl": "http://example.com/logo.png?size=2"})),
        secret(json!({"keys": {}})),
        secret(json!({"keys": {"apiKey": ".key", "projectId": "project.id", "baseUrl": "base-url"}})),
        // The two default names may change places.
        secret(json!({"keys": {"apiKey": "COMPOSIO_PROJECT_ID", "projectId": "COMPOSIO_API_KEY"}})),
        // A default name is free when the entry has another.
        secret(json!({"keys": {"apiKey": "KEY"}, "template": {"COMPOSIO_API_KEY": "{apiKey}"}})),
        secret(json!({"template": {"COMPOSIO_BASE_URL": "{baseUrl}"}, "keys": null})),
        secret(json!({"labels": {"app.kubernetes.io/name": "shop", "example.com/team": "", "a": "A.b_c-d"}})),
        secret(json!({"labels": {"mykubernetes.io/x": "y", "composio.development/x": "y"}})),
        secret(json!({"annotations": {"reloader.stakater.com/match": "true", "note": "any text: {}\nä"}})),
        // What a Helm chart makes of empty values.
        project(
            json!({"organizationRef": null, "projectName": null, "settings": null, "secret": null, "suspend": null, "adopt": null}),
        ),
        secret(json!({"name": null, "keys": null, "template": null, "labels": null, "annotations": null})),
        settings(json!({"logoUrl": null, "displayName": null, "is2FAEnabled": null})),
    ];
    let texts = [
        "COMPOSIO_API_KEY={apiKey}\n",
        r#"{"key": "{apiKey}", "nested": {"id": "{projectId}"}, "empty": {}}"#,
        "{projectName} {baseUrl} {} { apiKey } {api_key} {1} {{apiKey}} ${apiKey} {{ .Values.x }}",
        "",
    ];
    manifests.extend(texts.map(|text| secret(json!({"template": {".env": text}}))));
    manifests
}

fn largest_selector() -> Value {
    let key = |number: usize| format!("{number:0>253}/{}", "a".repeat(63));
    let value = "a".repeat(63);
    let labels: Map<_, _> = (0..32).map(|number| (key(number), json!(value))).collect();
    let condition = |number: usize| json!({"key": key(number), "operator": "In", "values": vec![&value; 64]});
    json!({"matchLabels": labels, "matchExpressions": (0..32).map(condition).collect::<Vec<_>>()})
}

/// So many grants, each as large as it may be.
fn grants(count: usize) -> Value {
    let grant = |number: usize| {
        json!({
            "projectName": format!("{number:0>75}"), "namespace": "a".repeat(63), "projectId": "a".repeat(128)
        })
    };
    Value::Array((0..count).map(grant).collect())
}

fn every_setting() -> Value {
    json!({
        "is2FAEnabled": true,
        "maskSecretKeysInConnectedAccount": false,
        "logVisibilitySetting": "show_all",
        "requireMcpApiKey": true,
        "logoUrl": format!("https://example.com/{}", "a".repeat(2048 - 20)),
        "displayName": "Shop",
        "signedUrlFileExpiryInSeconds": 86400,
        "oauthCallbackVerifierUrl": "https://example.com/verify",
    })
}

/// Every field, each as large as it may be: the budget of CEL at run time must suffice for it.
fn maximal() -> Value {
    let entries = |count: usize, name: &dyn Fn(usize) -> String, value: &str| -> Value {
        Value::Object((0..count).map(|number| (name(number), json!(value))).collect::<Map<_, _>>())
    };
    let prefix = |number: usize| format!("{number:0>253}");
    let qualified = |number: usize| format!("{}/{}", prefix(number), "a".repeat(63));
    let name = "a".repeat(253);
    project(json!({
        "organizationRef": {"name": "a".repeat(63)},
        "projectName": "a".repeat(75),
        "adopt": {"projectId": "a".repeat(128), "keySource": "Secret", "secretRef": {"name": name, "key": name}},
        "onProjectMissing": "Recreate",
        "onInvalidKey": "RegenerateIfNoneLeft",
        "onDrift": "Report",
        "settings": every_setting(),
        "secret": {
            "name": name,
            "keys": {"apiKey": format!("{name:.252}1"), "projectId": format!("{name:.252}2"), "baseUrl": format!("{name:.252}3")},
            "template": entries(16, &prefix, &"{apiKey} ".repeat(910)),
            "labels": entries(32, &qualified, &"a".repeat(63)),
            "annotations": entries(32, &qualified, &"a".repeat(4096)),
        },
        "suspend": true,
    }))
}
