//! The writes of the create path, as the proxy sees them on their way to the API server.

use axum::http::Method;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;
use testbed::proxy::{Exchange, Match};
use testbed::world::World;

/// `claim.json` in the body of a write of a claim.
pub(crate) fn claim(exchange: &Exchange) -> Option<Value> {
    let secret: Secret = serde_json::from_value(exchange.body.clone()?).ok()?;
    let is_claim = secret.type_.as_deref() == Some("composio.dev/project-claim");
    let content = secret.data.unwrap_or_default().remove("claim.json").filter(|_| is_claim)?;
    serde_json::from_slice(&content.0).ok()
}

/// The claim is created, with the first attempt in it.
pub(crate) fn claim_create(world: &World) -> Match {
    let path = format!("/api/v1/namespaces/{}/secrets", world.system);
    Match::method(Method::POST).path_ends_with(path).when(|exchange| claim(exchange).is_some())
}

/// The claim becomes one that passes `test`.
pub(crate) fn claim_update(world: &World, test: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Match {
    let path = format!("/api/v1/namespaces/{}/secrets/claim-", world.system);
    let is_meant = move |exchange: &Exchange| claim(exchange).is_some_and(|claim| test(&claim));
    Match::method(Method::PUT).path_contains(path).when(is_meant)
}

/// The claim gets id and key.
pub(crate) fn claim_with_key(world: &World) -> Match {
    claim_update(world, |claim| claim["phase"] == "Owned")
}

/// The claim gets the id that evidence has found.
pub(crate) fn claim_found(world: &World) -> Match {
    claim_update(world, |claim| claim["phase"] == "KeyPending" && claim["rotation"].is_null())
}

/// The claim announces a regenerate.
pub(crate) fn claim_announcing_key(world: &World) -> Match {
    claim_update(world, |claim| claim["rotation"]["stage"] == "Announced")
}

/// An attempt of the claim is taken back; none is left.
pub(crate) fn claim_taken_back(world: &World) -> Match {
    claim_update(world, |claim| claim["phase"] == "Creating" && claim["attempts"] == Value::Array(Vec::new()))
}

/// The published Secret is created.
pub(crate) fn secret_create(world: &World) -> Match {
    Match::method(Method::POST).path_ends_with(format!("/api/v1/namespaces/{}/secrets", world.namespace))
}

/// The status becomes Ready.
pub(crate) fn status_ready(world: &World) -> Match {
    let path = format!("/namespaces/{}/composioprojects/shop/status", world.namespace);
    let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    Match::method(Method::PATCH)
        .path_ends_with(path)
        .json(move |body| body["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(is_ready)))
}

/// The Event that tells of it.
pub(crate) fn event(world: &World) -> Match {
    Match::method(Method::POST).path_ends_with(format!("/namespaces/{}/events", world.namespace))
}
