//! What stands in Git: namespaces, organizations and projects; and what is read of them in a cluster. No scenario.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use composio_operator::crd::{ComposioOrganization, ComposioProject, RECONCILE_ANNOTATION};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::emulator::{Entry, Operation};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World, complete_settings};

use crate::document::Shell;

pub(crate) const SYSTEM: &str = "composio-system";
pub(crate) const TEAMS: [&str; 3] = ["team-a", "team-b", "team-c"];
/// Name and template of each ComposioOrganization.
pub(crate) const ORGANIZATIONS: [(&str, &str); 2] =
    [("default", "prod-{name}"), ("second", "{namespace}_{name}")];

/// Namespace, name and spec of every project in Git.
pub(crate) fn projects() -> Vec<(&'static str, &'static str, Value)> {
    let second = json!({"name": "second"});
    vec![
        ("team-a", "shop", json!({"settings": complete_settings()})),
        ("team-a", "blog", json!({"settings": {"displayName": "Blog"}})),
        ("team-a", "search", json!({})),
        ("team-a", "mail", json!({"secret": {"name": "mail-key"}})),
        ("team-a", "pay", json!({"deletionPolicy": "Delete", "settings": complete_settings()})),
        ("team-b", "shop", json!({"organizationRef": second})),
        ("team-b", "crm", json!({"organizationRef": second, "deletionPolicy": "Delete"})),
        ("team-b", "wiki", json!({"organizationRef": second, "settings": {"requireMcpApiKey": true}})),
        (
            "team-b",
            "docs",
            json!({"organizationRef": second, "secret": {
                "name": "docs-composio", "keys": {"apiKey": "KEY", "projectId": "ID"},
                "template": {".env": "KEY={apiKey}\n"}, "labels": {"team": "b"}
            }}),
        ),
        ("team-b", "lab", json!({"deletionPolicy": "DeleteAndRevoke", "secret": {"name": "lab-key"}})),
        ("team-c", "one", json!({})),
        ("team-c", "two", json!({"settings": {"signedUrlFileExpiryInSeconds": 7200}})),
        ("team-c", "three", json!({"projectName": "third"})),
        ("team-c", "four", json!({"onDrift": "Report", "settings": complete_settings()})),
    ]
}

pub(crate) fn manifest(namespace: &str, name: &str, spec: &Value) -> Value {
    let mut object = testbed::world::project(name, spec);
    object["metadata"]["namespace"] = json!(namespace);
    object
}

fn documents(objects: impl IntoIterator<Item = Value>) -> String {
    objects.into_iter().fold(String::new(), |mut text, object| {
        writeln!(text, "---\n{object}").unwrap();
        text
    })
}

/// Writes `git/`.
pub(crate) fn commit<'a>(
    shell: &Shell,
    world: &World,
    projects: impl IntoIterator<Item = &'a (&'a str, &'a str, Value)>,
) {
    let namespaces = std::iter::once(SYSTEM).chain(TEAMS);
    let namespaces =
        namespaces.map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    shell.write("git/namespaces.yaml", &documents(namespaces));
    let organizations = ORGANIZATIONS.map(|(name, template)| {
        json!({
            "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioOrganization",
            "metadata": {"name": name, "namespace": SYSTEM},
            "spec": {
                "apiKeySecretRef": {"name": format!("{name}-key")}, "projectNameTemplate": template,
                "endpoint": {"url": world.emulator.url()}
            }
        })
    });
    shell.write("git/organizations.yaml", &documents(organizations));
    let projects = projects.into_iter().map(|(namespace, name, spec)| manifest(namespace, name, spec));
    shell.write("git/projects.yaml", &documents(projects));
    shell.write("git/values.yaml", "image: {repository: registry.example/composio-operator}\n");
}

/// Key of every published Secret, by its namespace and name.
pub(crate) async fn keys(world: &World) -> BTreeMap<(String, String), String> {
    let text = |value: &k8s_openapi::ByteString| String::from_utf8_lossy(&value.0).into_owned();
    let key = |secret: &Secret| {
        let data = secret.data.as_ref().unwrap();
        let entry = data.get("COMPOSIO_API_KEY").or_else(|| data.get("KEY")).map(text);
        ((secret.namespace().unwrap(), secret.name_any()), entry.unwrap())
    };
    published(world).await.iter().map(key).collect()
}

/// Every published Secret of a cluster.
pub(crate) async fn published(world: &World) -> Vec<Secret> {
    let api: Api<Secret> = Api::all(world.client.clone());
    api.list(&ListParams::default().labels("composio.dev/project")).await.unwrap().items
}

/// Every ComposioProject of a cluster.
pub(crate) async fn resources(world: &World) -> Vec<ComposioProject> {
    let api: Api<ComposioProject> = Api::all(world.client.clone());
    api.list(&ListParams::default()).await.unwrap().items
}

/// The condition `Ready` of every ComposioProject: namespace/name, and its reason.
pub(crate) async fn reasons(world: &World) -> BTreeMap<String, String> {
    let reason = |object: ComposioProject| {
        let name = format!("{}/{}", object.namespace().unwrap(), object.name_any());
        let conditions = object.status.unwrap_or_default().conditions;
        let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
        (name, ready.map(|ready| ready.reason).unwrap_or_default())
    };
    resources(world).await.into_iter().map(reason).collect()
}

/// Waits until every ComposioProject has this reason, but those that are named with another.
pub(crate) async fn all_are(world: &World, reason: &str, but: &[(&str, &str)]) {
    eventually(&format!("all projects are {reason}, but {but:?}"), PATIENCE, async || {
        let mut wrong = reasons(world).await;
        wrong.retain(|name, found| {
            let other = but.iter().find(|(other, _)| other == name).map(|(_, reason)| *reason);
            found != other.unwrap_or(reason)
        });
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
    })
    .await;
}

/// Waits until every look that was asked for by annotation has been taken.
pub(crate) async fn all_looked_at(world: &World) {
    eventually("every project was looked at", PATIENCE, async || {
        let waits = |object: &ComposioProject| {
            let handled = object.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
            object.annotations().get(RECONCILE_ANNOTATION) != handled
        };
        let waiting = resources(world).await.iter().filter(|object| waits(object)).count();
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} are not")) }
    })
    .await;
}

pub(crate) async fn organization(world: &World, name: &str) -> ComposioOrganization {
    let api: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), SYSTEM);
    api.get(name).await.unwrap()
}

/// Calls that are meant to change something at Composio, since a mark of the journal, whether they did or not.
pub(crate) fn mutations_since(world: &World, mark: u64) -> Vec<Entry> {
    let kinds = [Operation::Create, Operation::Regenerate, Operation::Delete, Operation::PatchSettings];
    let is_mutation = |entry: &Entry| entry.operation.is_some_and(|operation| kinds.contains(&operation));
    world.control.journal_since(mark).into_iter().filter(is_mutation).collect()
}

/// Nothing has even been tried to be changed at Composio since a mark of the journal.
pub(crate) fn nothing_sent_since(world: &World, mark: u64) {
    assert_eq!(mutations_since(world, mark), [], "something was changed, or tried to be");
}
