//! Changes of objects that exist: what cannot be changed is compared by the value in force, so that stating a default
//! changes nothing.

use serde_json::{Value, json};

use crate::cluster::{Cluster, Way, organization, project};

/// A field that the API server keeps, and words about the way out.
type Kept = (&'static str, &'static str);

const ORGANIZATION: Kept =
    ("spec.organizationRef: Forbidden: cannot be changed", "create another ComposioProject");
const NAME: Kept = ("spec.projectName: Forbidden: cannot be changed", "Composio cannot rename a project");
const TEMPLATE: Kept =
    ("spec.projectNameTemplate: Forbidden: cannot be changed", "create another ComposioOrganization");

fn with_ref(name: &str) -> Value {
    project(json!({"organizationRef": {"name": name}}))
}

fn with_name(name: &str) -> Value {
    project(json!({"projectName": name}))
}

fn with_template(template: &str) -> Value {
    organization(json!({"apiKeySecretRef": {"name": "composio-org"}, "projectNameTemplate": template}))
}

fn with_key(name: &str, field: &str, value: Value) -> Value {
    let mut manifest = organization(json!({"apiKeySecretRef": {"name": name, "key": "k"}}));
    manifest["spec"][field] = value;
    manifest
}

fn without_template() -> Value {
    organization(json!({"apiKeySecretRef": {"name": "composio-org"}}))
}

fn with_adopt(id: &str, source: &str) -> Value {
    let secret_ref = if source == "Secret" { json!({"name": "old"}) } else { Value::Null };
    project(json!({"adopt": {"projectId": id, "keySource": source, "secretRef": secret_ref}}))
}

fn adoption_changes() -> [(Value, Value, Kept); 2] {
    const ADOPT: Kept = ("spec.adopt.projectId: Forbidden: cannot be changed", "remove spec.adopt first");
    [
        (with_adopt("pr_1", "Secret"), with_adopt("pr_2", "Secret"), ADOPT),
        (with_adopt("pr_1", "Secret"), with_adopt("pr_2", "Regenerate"), ADOPT),
    ]
}

fn with_id(id: Option<&str>) -> Value {
    organization(json!({"apiKeySecretRef": {"name": "composio-org"}, "organizationId": id}))
}

fn organization_changes() -> [(Value, Value, Kept); 3] {
    const ID: Kept =
        ("spec.organizationId: Forbidden: cannot be changed", "create another ComposioOrganization");
    let removed = organization(json!({"apiKeySecretRef": {"name": "composio-org"}}));
    [
        (with_id(Some("ok_1")), with_id(Some("ok_2")), ID),
        (with_id(Some("ok_1")), with_id(None), ID),
        (with_id(Some("ok_1")), removed, ID),
    ]
}

#[tokio::test]
async fn a_change_of_identity_is_refused_with_the_field_and_the_way_out() {
    let plain = || project(json!({}));
    let rows = [
        (plain(), with_ref("eu"), ORGANIZATION),
        (with_ref("eu"), plain(), ORGANIZATION),
        (with_ref("eu"), with_ref("us"), ORGANIZATION),
        (with_ref("eu"), project(json!({"organizationRef": {}})), ORGANIZATION),
        (with_ref("eu"), project(json!({"organizationRef": null})), ORGANIZATION),
        (with_ref("default"), with_ref("eu"), ORGANIZATION),
        (plain(), with_name("store"), NAME),
        (with_name("store"), plain(), NAME),
        (with_name("store"), project(json!({"projectName": null})), NAME),
        (with_name("store"), project(Value::Null), NAME),
        (with_name("store"), with_name("Store"), NAME),
        (with_name("shop"), with_name("store"), NAME),
        (without_template(), with_template("prod-{name}"), TEMPLATE),
        (with_template("prod-{name}"), without_template(), TEMPLATE),
        (with_template("prod-{name}"), with_template("stage-{name}"), TEMPLATE),
        (with_template("{name}"), with_template("{namespace}_{name}"), TEMPLATE),
    ];
    let adoption = adoption_changes();
    let rows = rows.into_iter().chain(adoption).chain(organization_changes()).collect::<Vec<_>>();
    println!("{} refused changes", rows.len());
    let mut complaints = Vec::new();
    for (before, after, (field, way_out)) in rows {
        let (cluster, stored) = stored(&before).await;
        for way in [Way::Apply, Way::Replace] {
            match change(&cluster, way, &stored, &after).await {
                Ok(_) => complaints.push(format!("{way:?} of {after} over {before} is accepted")),
                Err(message) if message.contains(field) && message.contains(way_out) => {}
                Err(message) => complaints.push(format!("{way:?} of {after} over {before} says {message}")),
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
async fn every_other_change_is_accepted_and_so_is_a_default_that_is_stated_or_dropped() {
    let plain = || project(json!({}));
    let rows = [
        (plain(), with_ref("default")),
        (with_ref("default"), plain()),
        (with_ref("default"), project(json!({"organizationRef": {}}))),
        (plain(), project(json!({"organizationRef": null}))),
        (plain(), with_name("shop")),
        (with_name("shop"), plain()),
        (with_name("store"), project(json!({"projectName": "store", "suspend": true}))),
        (with_name("shop"), project(Value::Null)),
        (plain(), project(json!({"settings": {"displayName": "Shop"}}))),
        (project(json!({"settings": {"displayName": "Shop"}})), plain()),
        (plain(), with_adopt("pr_1", "Secret")),
        (with_adopt("pr_1", "Secret"), plain()),
        (with_adopt("pr_1", "Secret"), with_adopt("pr_1", "Regenerate")),
        (project(json!({"onProjectMissing": "Report"})), project(json!({"onProjectMissing": "Recreate"}))),
        (project(json!({"onInvalidKey": "Report"})), project(json!({"onInvalidKey": "Regenerate"}))),
        (project(json!({"onInvalidKey": "Regenerate"})), plain()),
        (project(json!({"onDrift": "Correct"})), project(json!({"onDrift": "Report"}))),
        (project(json!({"onDrift": "Report"})), plain()),
        (project(json!({"secret": {"name": "a"}})), project(json!({"secret": {"name": "b"}}))),
        (
            project(json!({"secret": {"template": {"a": "x"}}})),
            project(json!({"secret": {"labels": {"a": "x"}}})),
        ),
        (without_template(), with_id(Some("ok_1"))),
        (project(json!({"deletionPolicy": "Delete"})), project(json!({"deletionPolicy": "DeleteAndRevoke"}))),
        (project(json!({"deletionPolicy": "DeleteAndRevoke"})), plain()),
        (without_template(), with_template("{name}")),
        (with_template("{name}"), without_template()),
        (without_template(), with_key("other", "suspend", json!(true))),
        (
            with_key("a", "endpoint", json!({"url": "https://a.example"})),
            with_key("b", "endpoint", json!({"url": "https://b.example"})),
        ),
    ];
    println!("{} accepted changes", rows.len());
    let mut complaints = Vec::new();
    for (before, after) in rows {
        let (cluster, stored) = stored(&before).await;
        for way in [Way::Replace, Way::Apply] {
            match change(&cluster, way, &stored, &after).await {
                Ok(changed) if stated(&changed) == stated(&after) => {}
                Ok(changed) => complaints.push(format!("{after} over {before} becomes {}", changed["spec"])),
                Err(message) => complaints.push(format!("{way:?} of {after} over {before} says {message}")),
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The object in a namespace of its own, by server-side apply: only what was applied can be removed by applying less.
async fn stored(manifest: &Value) -> (Cluster, Value) {
    let cluster = Cluster::new("changes").await;
    let stored = cluster.send(Way::Apply, manifest, false).await.expect("the first state is right");
    (cluster, stored)
}

/// What would come of the change.
async fn change(cluster: &Cluster, way: Way, stored: &Value, after: &Value) -> Result<Value, String> {
    let mut after = after.clone();
    if way == Way::Replace {
        after["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
    }
    cluster.send(way, &after, true).await
}

/// The members of the spec that say something: server-side apply makes `null` of an object whose last member it drops.
fn stated(manifest: &Value) -> Value {
    let spec = without_empty(&manifest["spec"]);
    if spec.is_null() { json!({}) } else { spec }
}

fn without_empty(value: &Value) -> Value {
    let Value::Object(members) = value else {
        return value.clone();
    };
    let members = members.iter().map(|(name, value)| (name.clone(), without_empty(value)));
    members.filter(|(_, value)| !value.is_null() && *value != json!({})).collect()
}
