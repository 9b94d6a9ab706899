//! Custom resource definitions: applied, and waited for until the API server really serves them.

use std::time::Duration;

use axum::http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::conditions;
use kube::runtime::wait::Condition as _;
use kube::{Client, ResourceExt};

use super::Error;

/// Applies all definitions; a definition of an earlier run is replaced.
pub(crate) async fn apply(client: &Client, crds: &[CustomResourceDefinition]) -> Result<(), Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("composio-operator-testbed").force();
    for crd in crds {
        let name = crd.name_any();
        api.patch(&name, &params, &Patch::Apply(crd))
            .await
            .map_err(Error::api(format!("apply the CustomResourceDefinition {name}")))?;
    }
    Ok(())
}

/// Whether all are Established and served; else, what is not.
///
/// The condition is not enough: right after it, the first requests can still be answered by 404. So every served
/// version is asked for a list.
pub(crate) async fn served(client: &Client, crds: &[CustomResourceDefinition]) -> Result<(), String> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds {
        let name = crd.name_any();
        let now = api.get(&name).await.map_err(|error| format!("{name}: {error}"))?;
        if let Some(reason) = refused(&now) {
            return Err(format!("{name}: {reason}"));
        }
        if !conditions::is_crd_established().matches_object(Some(&now)) {
            return Err(format!("{name} is not Established"));
        }
        let spec = &crd.spec;
        for version in spec.versions.iter().filter(|version| version.served) {
            let path = format!("/apis/{}/{}/{}?limit=1", spec.group, version.name, spec.names.plural);
            get(client, &path).await.map_err(|reason| format!("{name}: {reason}"))?;
        }
    }
    Ok(())
}

/// The message of a condition that says that the definition will never be served as it is.
fn refused(crd: &CustomResourceDefinition) -> Option<String> {
    let conditions = crd.status.as_ref()?.conditions.as_ref()?;
    let bad = |kind: &str, status: &str| {
        (kind, status) == ("NamesAccepted", "False") || (kind, status) == ("NonStructuralSchema", "True")
    };
    let condition = conditions.iter().find(|condition| bad(&condition.type_, &condition.status))?;
    Some(format!("{}: {}", condition.type_, condition.message.as_deref().unwrap_or("no message")))
}

/// The body of a GET, or a reason. One attempt is bounded, so that a hanging server cannot eat the deadline.
pub(crate) async fn get(client: &Client, path: &str) -> Result<String, String> {
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    match tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer to GET {path} within 5 s")),
    }
}
