//! The operator under its self-restraint: with the policy of the chart bound to its ServiceAccount, everything that it has to
//! write still passes.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::canary::Kind;
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::policy::Scene;

const KEY: &str = "COMPOSIO_API_KEY";
const LABEL: &str = "composio.dev/project";

/// Changes a Secret as a tenant does.
async fn edit(world: &World, name: &str, change: Value) {
    let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    world.secrets().patch(name, &params, &Patch::Merge(change)).await.expect("a Secret that can be edited");
}

/// Waits until the Secret holds the key, the label, and as many owners.
async fn in_order(world: &World, name: &str, key: &str, owners: usize) {
    eventually(&format!("Secret {name} is in order"), PATIENCE, async || {
        let found = world.secrets().get_opt(name).await.map_err(|error| error.to_string())?;
        let secret = found.ok_or("it is not there")?;
        let has_key =
            secret.data.iter().flatten().any(|(name, value)| name == KEY && value.0 == key.as_bytes());
        let state = (has_key, secret.labels().contains_key(LABEL), secret.owner_references().len());
        if state == (true, true, owners) { Ok(()) } else { Err(format!("key, label, owners: {state:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_is_restrained_can_do_everything_that_it_has_to() {
    let Scene { mut world, operator } = Scene::open().await;
    world.superseded_retention = Duration::from_millis(1);
    world.start_operator_with(operator.clone()).await;
    world.organization_ready("default").await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let key = world.entry("shop", KEY).await.unwrap();

    // Each mark alone tells the Secret: the label, the stamp, the key, the owner.
    let (no_key, no_label) = (json!({KEY: null}), json!({LABEL: null}));
    let no_stamp = json!({"composio.dev/key-issued-at": null});
    for (change, owners) in [
        (json!({"data": no_key, "metadata": {"annotations": no_stamp}}), 0),
        (json!({"data": no_key, "metadata": {"labels": no_label}}), 0),
        (json!({"metadata": {"labels": no_label, "annotations": no_stamp}}), 0),
        (json!({"data": no_key, "metadata": {"labels": no_label, "annotations": no_stamp}}), 1),
    ] {
        let policy = if owners == 0 { "Retain" } else { "Delete" };
        world.apply("shop", json!({"deletionPolicy": policy})).await;
        in_order(&world, "shop", &key, owners).await;
        edit(&world, "shop", change).await;
        in_order(&world, "shop", &key, owners).await;
    }
    assert_eq!(world.ready("shop").await.finalizers().len(), 1);
    world.apply("shop", json!({"deletionPolicy": "Retain"})).await;
    in_order(&world, "shop", &key, 0).await;
    assert!(world.ready("shop").await.finalizers().is_empty());

    // Without any it cannot be told from somebody else's, and comes anew when it is deleted.
    edit(&world, "shop", json!({"data": no_key, "metadata": {"labels": no_label, "annotations": no_stamp}}))
        .await;
    let refused = world.not_ready("shop", "SecretRefused").await;
    let status = serde_json::to_string(&refused.status).unwrap();
    assert!(status.contains("label it, or delete it"), "it does not say what to do: {status}");
    world.secrets().delete("shop", &DeleteParams::default()).await.unwrap();
    in_order(&world, "shop", &key, 0).await;

    // A new name, and one under which the key is already.
    world.apply("shop", json!({"secret": {"name": "renamed"}})).await;
    in_order(&world, "renamed", &key, 0).await;
    gone(&world, "shop").await;
    world.history.permit(Kind::Project, &world.namespace, "moved");
    let moved = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "moved"}, "stringData": {"token": key}});
    world.apply_to::<k8s_openapi::api::core::v1::Secret>(&world.namespace, &moved).await.unwrap();
    world.apply("shop", json!({"secret": {"name": "moved"}})).await;
    in_order(&world, "moved", &key, 0).await;
    gone(&world, "renamed").await;

    // While it is away, a Secret that would go with its project loses its label, and is to stay.
    world.apply("kept", json!({"deletionPolicy": "Delete"})).await;
    world.ready("kept").await;
    let kept = world.entry("kept", KEY).await.unwrap();
    in_order(&world, "kept", &kept, 1).await;
    world.stop_operator().await;
    edit(&world, "kept", json!({"metadata": {"labels": no_label}})).await;
    world.apply("kept", json!({"deletionPolicy": "Retain"})).await;
    world.projects().delete("kept", &DeleteParams::default()).await.unwrap();
    world.start_operator_with(operator).await;
    eventually("the project is gone", PATIENCE, async || {
        match world.projects().get_opt("kept").await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(object) => Err(format!("it is there: {:?}", object.status)),
        }
    })
    .await;
    let left = world.secrets().get("kept").await.unwrap();
    assert_eq!((left.owner_references().len(), left.labels().contains_key(LABEL)), (0, false));

    // The end, with everything.
    world.apply("shop", json!({"secret": {"name": "moved"}, "deletionPolicy": "DeleteAndRevoke"})).await;
    in_order(&world, "moved", &key, 1).await;
    world.ready("shop").await;
    world.delete("shop").await;
    gone(&world, "moved").await;
    world.finish(&[]).await;
}

async fn gone(world: &World, name: &str) {
    eventually(&format!("Secret {name} is gone"), PATIENCE, async || {
        match world.secrets().get_opt(name).await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(_) => Err("it is there".to_owned()),
        }
    })
    .await;
}
