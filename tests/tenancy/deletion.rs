//! Deletion: `deletionPolicy: Delete` on what is another's, ids and finalizers that a tenant has put there itself.

use composio_operator::crd::ComposioProject;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::emulator::{Operation, ThirdPartyProject};
use testbed::eventually::eventually;
use testbed::world::PATIENCE;

use crate::scene::{Scene, id};

const POLICIES: [&str; 3] = ["Delete", "DeleteAndRevoke", "Retain"];

/// The tenant deletes its resource, and does not wait.
async fn delete(scene: &Scene, name: &str) {
    scene.api::<ComposioProject>().delete(name, &DeleteParams::default()).await.unwrap();
}

async fn gone(scene: &Scene, name: &str) {
    eventually(&format!("{name} is gone"), PATIENCE, async || {
        match scene.api::<ComposioProject>().get_opt(name).await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(object) => Err(format!("{:?} {:?}", object.metadata.finalizers, object.status)),
        }
    })
    .await;
}

async fn patch(scene: &Scene, name: &str, patch: Value) {
    let params = PatchParams::default();
    scene.api::<ComposioProject>().patch(name, &params, &Patch::Merge(patch)).await.unwrap();
}

/// A status that names this project.
fn naming(id: &str, name: &str) -> Value {
    json!({"project": {"id": id, "name": name, "origin": "Created"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_neighbours_project_deletes_nothing_of_it() {
    let mut scene = Scene::start().await;
    let name = |policy: &str, turn: u32| format!("{}-{turn}", policy.to_lowercase());
    for (turn, reason) in [(1, "ClaimHeld"), (2, "RebindDenied")] {
        for policy in POLICIES {
            let spec = json!({"projectName": "shop", "deletionPolicy": policy});
            scene.apply(&name(policy, turn), spec).await;
            scene.ends(&name(policy, turn), "False", reason).await;
        }
        for policy in POLICIES {
            delete(&scene, &name(policy, turn)).await;
            gone(&scene, &name(policy, turn)).await;
        }
        scene.nothing_done().await;
        if turn == 1 {
            // From now on its project is retained.
            scene.world.delete("shop").await;
            scene.remember().await;
        }
    }
    assert!(scene.world.claims().await.key("shop").is_some(), "the retained key is lost");
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbours_id_in_the_status_of_what_is_deleted_costs_no_call() {
    let mut scene = Scene::start().await;
    scene.world.stop_operator().await;
    let stolen = id(&scene.victim);
    // The name of the neighbour's project leads to the neighbour's claim, and any other to none.
    for (name, known_as) in [("same", "shop"), ("other", "other")] {
        for policy in POLICIES {
            let name = format!("{name}-{}", policy.to_lowercase());
            scene.apply(&name, json!({"projectName": "shop", "deletionPolicy": policy})).await;
            let finalizers = json!(["composio.dev/project"]);
            patch(&scene, &name, json!({"metadata": {"finalizers": finalizers}})).await;
            scene.forge_status(&name, naming(&stolen, known_as)).await;
            delete(&scene, &name).await;
        }
    }
    scene.world.start_operator().await;
    for name in ["same", "other"] {
        for policy in POLICIES {
            gone(&scene, &format!("{name}-{}", policy.to_lowercase())).await;
        }
    }
    scene.nothing_done().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_no_claim_knows_is_never_deleted_for_a_status_that_names_it() {
    let mut scene = Scene::start().await;
    let organization = scene.world.organization.id.clone();
    let theirs = scene.world.control.create_project(&organization, ThirdPartyProject::named("billing"));
    scene.remember().await;
    scene.world.stop_operator().await;
    scene.apply("mine", json!({"deletionPolicy": "DeleteAndRevoke"})).await;
    patch(&scene, "mine", json!({"metadata": {"finalizers": ["composio.dev/project"]}})).await;
    scene.forge_status("mine", naming(&theirs.id, "mine")).await;
    delete(&scene, "mine").await;
    scene.world.start_operator().await;
    scene.ends("mine", "False", "ClaimMissing").await;
    assert_eq!(scene.world.control.count(&organization, Operation::Delete), 0);
    patch(&scene, "mine", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    gone(&scene, "mine").await;
    assert_eq!(scene.world.control.count(&organization, Operation::Delete), 0);
    // The words repeat the id that the tenant has written.
    scene.others_unchanged().await;
    scene.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_status_does_not_lead_the_deletion_of_the_own_project_to_another_one() {
    let mut scene = Scene::start().await;
    let organization = scene.world.organization.id.clone();
    let theirs = scene.world.control.create_project(&organization, ThirdPartyProject::named("billing"));
    scene.apply("mine", json!({"deletionPolicy": "Delete"})).await;
    let mine = id(&scene.ends("mine", "True", "Reconciled").await);
    scene.remember().await;
    scene.world.stop_operator().await;
    scene.forge_status("mine", naming(&theirs.id, "shop")).await;
    delete(&scene, "mine").await;
    scene.world.start_operator().await;
    gone(&scene, "mine").await;
    assert!(scene.world.control.project(&mine).is_none_or(|project| project.deleted));
    assert_eq!(scene.world.control.committed(&organization, Operation::Delete), 1);
    scene.others_untouched().await;
    scene.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalizer_that_the_tenant_has_added_or_removed_hangs_nothing_and_destroys_nothing() {
    let mut scene = Scene::start().await;
    scene.apply("added", json!({})).await;
    scene.apply("removed", json!({"deletionPolicy": "Delete"})).await;
    scene.ends("added", "True", "Reconciled").await;
    scene.ends("removed", "True", "Reconciled").await;
    scene.looked_at("added").await;
    scene.looked_at("removed").await;
    scene.world.stop_operator().await;
    scene.remember().await;
    patch(&scene, "added", json!({"metadata": {"finalizers": ["composio.dev/project"]}})).await;
    delete(&scene, "added").await;
    patch(&scene, "removed", json!({"metadata": {"finalizers": null}})).await;
    delete(&scene, "removed").await;
    gone(&scene, "removed").await;
    scene.world.start_operator().await;
    gone(&scene, "added").await;
    // Nobody is left who asks for the deletion: the project is retained, and comes back to the same namespace.
    let changed = |call: &testbed::emulator::Entry| call.committed;
    scene.apply("removed", json!({"deletionPolicy": "Delete"})).await;
    scene.ends("removed", "True", "Reconciled").await;
    assert_eq!(scene.calls().iter().filter(|call| changed(call)).count(), 0, "something was changed");
    scene.others_untouched().await;
    scene.finish(&[]).await;
}
