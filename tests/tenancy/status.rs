//! A tenant may write the status of its resources: the operator puts it right and believes none of it.

use composio_operator::crd::ComposioProject;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testbed::eventually::eventually;
use testbed::world::PATIENCE;

use crate::scene::{Scene, id};

/// A status that says: this resource is Ready, and its project is the neighbour's.
fn theirs(scene: &Scene, name: &str, generation: i64) -> Value {
    let project = scene.victim.status.clone().unwrap().project.unwrap();
    let now = "2026-01-01T00:00:00Z";
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "Reconciled", "message": "all is well",
            "lastTransitionTime": now, "observedGeneration": generation
        })
    };
    json!({
        "observedGeneration": generation,
        "conditions": (["Ready", "SecretPublished", "SettingsSynced"].map(condition)),
        "project": {
            "id": project.id, "name": name, "organizationId": project.organization_id, "origin": "Created"
        },
        "binding": {"name": "shop"},
        "key": {"masked": "ak_**0000", "fingerprint": "00", "issuedTime": now},
        "lastHandledReconcileAt": "2126-01-01T00:00:00Z"
    })
}

/// Waits until the status tells of the tenant's own project again.
async fn put_right(scene: &Scene, name: &str) {
    let stolen = id(&scene.victim);
    let project = eventually(&format!("the status of {name} is put right"), PATIENCE, async || {
        let object = scene.ends(name, "True", "Reconciled").await;
        if id(&object) == stolen { Err("it names the neighbour's project".to_owned()) } else { Ok(object) }
    })
    .await;
    let claims = scene.world.claims().await;
    let claim = claims.of(name).expect("a claim of the tenant's own");
    assert_eq!(
        (claim["projectId"].as_str(), claim["owner"]["name"].as_str()),
        (Some(&*id(&project)), Some(name))
    );
    let status = project.status.unwrap();
    assert_eq!(status.binding.unwrap().name, name);
    assert_ne!(status.key.unwrap().masked, "ak_**0000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_was_forged_before_the_first_look_is_not_believed() {
    let mut scene = Scene::start().await;
    scene.world.stop_operator().await;
    scene.apply("mine", json!({})).await;
    scene.forge_status("mine", theirs(&scene, "mine", 1)).await;
    scene.world.start_operator().await;
    put_right(&scene, "mine").await;
    scene.others_untouched().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_was_forged_later_is_put_right_without_a_call() {
    let mut scene = Scene::start().await;
    scene.apply("mine", json!({})).await;
    scene.ends("mine", "True", "Reconciled").await;
    scene.looked_at("mine").await;
    scene.remember().await;
    scene.forge_status("mine", theirs(&scene, "mine", 1)).await;
    scene.looked_at("mine").await;
    put_right(&scene, "mine").await;
    scene.others_untouched().await;
    assert_eq!(changes(&scene), 0, "calls that change something");
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbours_name_in_the_status_stops_the_tenant_and_nothing_else() {
    let mut scene = Scene::start().await;
    scene.world.stop_operator().await;
    scene.apply("thief", json!({})).await;
    scene.forge_status("thief", theirs(&scene, "shop", 1)).await;
    scene.world.start_operator().await;
    scene.ends("thief", "False", "SpecInvalid").await;
    scene.api::<ComposioProject>().delete("thief", &DeleteParams::default()).await.unwrap();
    scene.nothing_done().await;
    // The same, where the name is the one that the spec renders.
    scene.world.stop_operator().await;
    scene.apply("shop", json!({})).await;
    scene.forge_status("shop", theirs(&scene, "shop", 1)).await;
    scene.world.start_operator().await;
    scene.ends("shop", "False", "ClaimHeld").await;
    scene.api::<ComposioProject>().delete("shop", &DeleteParams::default()).await.unwrap();
    scene.nothing_done().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_who_says_to_be_ready_is_looked_at_all_the_same() {
    let mut scene = Scene::start().await;
    scene.world.stop_operator().await;
    // It would be refused; the status says that everything is done, also for generations to come.
    scene.apply("shop", json!({})).await;
    scene.forge_status("shop", theirs(&scene, "shop", 99)).await;
    scene.world.start_operator().await;
    scene.ends("shop", "False", "ClaimHeld").await;
    scene.api::<ComposioProject>().delete("shop", &DeleteParams::default()).await.unwrap();
    scene.nothing_done().await;
    scene.finish(&[]).await;
}

/// How many calls since the last [`Scene::remember`] have changed something at Composio.
fn changes(scene: &Scene) -> usize {
    scene.calls().into_iter().filter(|call| call.committed).count()
}
