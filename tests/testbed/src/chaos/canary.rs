//! No key where none belongs: in the objects that are left at the end. Logs and metrics are searched where they arise.

use composio_operator::crd::{ComposioOrganization, ComposioProject};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::stage::Stage;
use crate::world::is_leak;

/// What holds a key and must not.
pub(super) async fn leaks(stage: &Stage) -> anyhow::Result<Vec<String>> {
    let (client, params) = (&stage.client, ListParams::default());
    let mut leaks = Vec::new();
    let mut look = |what: String, object: Value| {
        if is_leak(&object.to_string()) {
            leaks.push(format!("a key is in {what}"));
        }
    };
    for object in Api::<ComposioProject>::all(client.clone()).list(&params).await? {
        look(format!("ComposioProject {}", object.name_any()), serde_json::to_value(object)?);
    }
    for object in Api::<ComposioOrganization>::all(client.clone()).list(&params).await? {
        look(format!("ComposioOrganization {}", object.name_any()), serde_json::to_value(object)?);
    }
    for object in Api::<Event>::all(client.clone()).list(&params).await? {
        look(format!("Event {}", object.name_any()), serde_json::to_value(object)?);
    }
    for object in Api::<Lease>::all(client.clone()).list(&params).await? {
        look(format!("Lease {}", object.name_any()), serde_json::to_value(object)?);
    }
    for mut object in Api::<Secret>::all(client.clone()).list(&params).await? {
        let content = object.data.take().unwrap_or_default().remove("claim.json").unwrap_or_default();
        let name = object.name_any();
        look(format!("the metadata of Secret {name}"), serde_json::to_value(object)?);
        look(format!("claim.json of {name}"), String::from_utf8_lossy(&content.0).into());
    }
    Ok(leaks)
}
