//! What several scenarios do with settings.

use std::time::Duration;

use composio_operator::crd::{ComposioProject, DriftStatus};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use testbed::emulator::{Entry, Operation};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

/// Distance between two looks where a scenario waits for them.
const SHORT: Duration = Duration::from_secs(2);

/// Every member: its field, its name in the API, the wanted value, and the one that somebody else sets.
pub(crate) fn members() -> [(&'static str, &'static str, Value, Value); 8] {
    [
        ("is2FAEnabled", "is_2FA_enabled", json!(true), json!(false)),
        (
            "maskSecretKeysInConnectedAccount",
            "mask_secret_keys_in_connected_account",
            json!(true),
            json!(false),
        ),
        ("logVisibilitySetting", "log_visibility_setting", json!("show_all"), json!("dont_store_data")),
        ("requireMcpApiKey", "require_mcp_api_key", json!(false), json!(true)),
        (
            "logoUrl",
            "logo_url",
            json!("https://example.com/logo.png"),
            json!("https://example.com/theirs.png"),
        ),
        ("displayName", "display_name", json!("Shop"), Value::Null),
        ("signedUrlFileExpiryInSeconds", "signed_url_file_expiry_in_seconds", json!(60), json!(3600)),
        (
            "oauthCallbackVerifierUrl",
            "oauth_callback_verifier_url",
            json!("https://verify.example.com/cb"),
            Value::Null,
        ),
    ]
}

/// All of them, as `spec.settings`.
pub(crate) fn every_member() -> Value {
    Value::Object(members().map(|(field, _, wanted, _)| (field.to_owned(), wanted)).into_iter().collect())
}

/// A world whose operator looks at the settings every few seconds, with a budget that leaves room for that.
pub(crate) async fn watchful() -> World {
    let mut world = World::without_operator().await;
    world.observe_interval = SHORT;
    world.control.set_modes(&world.organization.id, |modes| modes.rate_limit = Some(100_000));
    let limits = json!({"limits": {"requestsPerMinute": 20_000}});
    world.add_organization("default", &world.organization.key, limits).await;
    world.start_operator().await;
    world.organization_ready("default").await;
    world
}

/// The id of a project that has one.
pub(crate) fn id(project: &ComposioProject) -> String {
    let project = project.status.as_ref().and_then(|status| status.project.clone());
    project.and_then(|project| project.id).unwrap()
}

/// Applies a project, waits until it is Ready and gives its id.
pub(crate) async fn made(world: &World, name: &str, spec: Value) -> String {
    world.apply(name, spec).await;
    id(&world.ready(name).await)
}

pub(crate) fn condition(project: &ComposioProject, kind: &str) -> Option<Condition> {
    project.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind).cloned()
}

pub(crate) fn drift(project: &ComposioProject) -> Vec<DriftStatus> {
    project.status.as_ref().map(|status| status.drift.clone()).unwrap_or_default()
}

/// Waits until `SettingsSynced` has this status and reason, for the present spec.
pub(crate) async fn synced(world: &World, name: &str, status: &str, reason: &str) -> ComposioProject {
    world.reaches(&world.namespace, name, "SettingsSynced", status, reason).await
}

/// Waits until the fields in the list of what differs are these.
pub(crate) async fn drifted(world: &World, name: &str, fields: &[&str]) -> ComposioProject {
    eventually(&format!("{name} differs in {fields:?}"), PATIENCE, async || {
        let project = world.projects().get(name).await.map_err(|error| error.to_string())?;
        let found: Vec<String> = drift(&project).into_iter().map(|drift| drift.field).collect();
        if found == fields { Ok(project) } else { Err(format!("it differs in {found:?}")) }
    })
    .await
}

/// Waits until a member has this value at Composio; `null`: until it is not set.
pub(crate) async fn has(world: &World, id: &str, member: &str, wanted: &Value) {
    eventually(&format!("{member} of {id} is {wanted}"), PATIENCE, async || {
        let config = world.control.project(id).unwrap().config;
        let found = config.get(member).cloned().unwrap_or_default();
        if found == *wanted { Ok(()) } else { Err(format!("it is {found}")) }
    })
    .await;
}

/// Notes of the Events of a reason about a project.
pub(crate) async fn events(world: &World, name: &str, reason: &str) -> Vec<(String, String)> {
    let api: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    let all = api.list(&ListParams::default()).await.unwrap();
    let is_meant = |event: &Event| {
        let about = event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref());
        about == Some(name) && event.reason.as_deref() == Some(reason)
    };
    let found = all.items.into_iter().filter(is_meant);
    found.map(|event| (event.type_.unwrap_or_default(), event.note.unwrap_or_default())).collect()
}

/// Requests of one operation about a project after a mark.
pub(crate) fn calls(world: &World, mark: u64, id: &str, operation: Operation) -> Vec<Entry> {
    let journal = world.control.journal_since(mark).into_iter();
    let is_meant =
        |entry: &Entry| entry.project_id.as_deref() == Some(id) && entry.operation == Some(operation);
    journal.filter(is_meant).collect()
}

/// The settings that the claim of a project remembers.
pub(crate) async fn remembered(world: &World, name: &str) -> Value {
    world.claims().await.of(name).map(|claim| claim["appliedSettings"]["values"].clone()).unwrap_or_default()
}
