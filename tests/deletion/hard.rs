//! Resources with little to go by: never created, without a claim, with another owner's claim, suspended, invalid.

use composio_operator::crd::ComposioProject;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::emulator::{Fault, Operation, ThirdPartyProject};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World, project};

use crate::shared::{
    FINALIZER, always, claim, delete, ends_deleted, ends_without_project, gone, id, ledger, secret_is, sent,
    shop, tombstones,
};

/// A resource with the policy `Delete` that stays at this reason goes at once, without a call.
async fn goes_without_a_call(world: World, name: &str, mut spec: Value, reason: &str, foreign: &[&str]) {
    spec["deletionPolicy"] = json!("Delete");
    world.apply(name, spec).await;
    assert_eq!(world.not_ready(name, reason).await.finalizers(), [FINALIZER]);
    let mark = world.control.mark();
    delete(&world, name).await;
    gone(&world, name).await;
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    assert_eq!(world.claims().await.all().count(), 0, "claims");
    world.finish(foreign).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_whose_name_was_taken_goes_without_a_call_and_the_other_project_stays() {
    let world = World::start().await;
    let theirs = world.control.create_project(&world.organization.id, ThirdPartyProject::named("shop"));
    goes_without_a_call(world, "shop", json!({}), "NameTaken", &[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_was_never_valid_goes_without_a_call() {
    goes_without_a_call(World::start().await, "ab", json!({}), "SpecInvalid", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_whose_organization_never_was_goes_without_a_call() {
    let spec = json!({"organizationRef": {"name": "never"}});
    goes_without_a_call(World::start().await, "shop", spec, "OrganizationNotFound", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_was_suspended_from_the_start_goes_without_a_call() {
    goes_without_a_call(World::start().await, "shop", json!({"suspend": true}), "Suspended", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_resource_is_deleted_with_its_project() {
    let world = shop().await;
    world.apply("shop", json!({"deletionPolicy": "Delete", "suspend": true})).await;
    world.reaches(&world.namespace, "shop", "Ready", "True", "Suspended").await;
    delete(&world, "shop").await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_whose_spec_cannot_be_used_any_more_is_deleted_with_its_project() {
    let world = shop().await;
    renamed(&world).await;
    world.poke("shop").await;
    world.not_ready("shop", "SpecInvalid").await;
    delete(&world, "shop").await;
    ends_deleted(world).await;
}

/// The status says that the project is called otherwise than the spec renders it.
async fn renamed(world: &World) {
    let patch = json!({"status": {"project": {"name": "another"}}});
    world.projects().patch_status("shop", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_in_the_operators_own_namespace_gets_no_finalizer_and_loses_one_that_it_has() {
    let world = World::start().await;
    let spec = json!({"deletionPolicy": "Delete"});
    world.apply_in(&world.system, "shop", spec.clone()).await;
    let shop = world.reaches(&world.system, "shop", "Stalled", "True", "NamespaceNotAllowed").await;
    assert_eq!(shop.finalizers(), [""; 0]);
    let mut stuck = project("stuck", &spec);
    stuck["metadata"]["finalizers"] = json!([FINALIZER]);
    world.apply_to::<ComposioProject>(&world.system, &stuck).await.unwrap();
    let projects = Api::<ComposioProject>::namespaced(world.client.clone(), &world.system);
    projects.delete("stuck", &DeleteParams::default()).await.unwrap();
    eventually("it is gone", PATIENCE, async || {
        match projects.get_opt("stuck").await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(found) => Err(format!("{:?}", found.status)),
        }
    })
    .await;
    world.finish(&[]).await;
}

/// The claim is lost while its project lives; the resource is being deleted and cannot go.
async fn without_claim() -> (World, Secret, String) {
    let world = shop().await;
    let id = id(&world.ready("shop").await);
    let lost = claim(&world).await;
    ledger(&world).delete(&lost.name_any(), &DeleteParams::default()).await.unwrap();
    delete(&world, "shop").await;
    let shop = world.not_ready("shop", "ClaimMissing").await;
    let text = serde_json::to_string(&shop.status).unwrap();
    assert!(text.contains("backup") && text.contains("Retain"), "not both ways out: {text}");
    assert_eq!(sent(&world, Operation::Delete), 0, "it was deleted on the word of the status");
    (world, lost, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_without_its_claim_is_let_go_by_retain_and_project_and_secret_stay() {
    let (world, _, id) = without_claim().await;
    world.apply("shop", json!({"deletionPolicy": "Retain"})).await;
    gone(&world, "shop").await;
    secret_is(&world, "shop", true).await;
    assert_eq!(sent(&world, Operation::Delete), 0, "deletions");
    world.finish(&[&id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_whose_claim_is_restored_is_deleted_with_its_project() {
    let (world, mut lost, _) = without_claim().await;
    lost.metadata.resource_version = None;
    lost.metadata.uid = None;
    ledger(&world).create(&PostParams::default(), &lost).await.unwrap();
    world.poke("shop").await;
    ends_deleted(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_without_its_claim_goes_when_its_project_is_gone() {
    let (world, _, id) = without_claim().await;
    assert!(world.control.delete_project(&id));
    world.poke("shop").await;
    gone(&world, "shop").await;
    assert_eq!(sent(&world, Operation::Delete), 0, "deletions");
    assert_eq!(tombstones(&world).await.len(), 0, "a tombstone without a claim");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_cannot_be_read_blocks_the_deletion_until_it_is_restored() {
    let world = shop().await;
    let good = claim(&world).await;
    let broken = json!({"stringData": {"claim.json": "{\"version\": 1"}});
    ledger(&world).patch(&good.name_any(), &PatchParams::default(), &Patch::Merge(broken)).await.unwrap();
    delete(&world, "shop").await;
    world.not_ready("shop", "ClaimUnreadable").await;
    assert_eq!(sent(&world, Operation::Delete), 0, "deletions");
    let restored = json!({"data": good.data});
    ledger(&world).patch(&good.name_any(), &PatchParams::default(), &Patch::Merge(restored)).await.unwrap();
    world.poke("shop").await;
    ends_deleted(world).await;
}

/// A second resource with the policy `Delete` waits for the claim of the first, then is deleted with this in its
/// status. Nothing happens to the first one.
async fn a_second_one_goes_alone(forge: impl Fn(&Value) -> Option<Value>) {
    let world = World::start().await;
    world.apply("first", json!({"projectName": "shop"})).await;
    let first = world.ready("first").await;
    world.apply("second", json!({"projectName": "shop", "deletionPolicy": "Delete"})).await;
    world.not_ready("second", "ClaimHeld").await;
    let theirs = serde_json::to_value(first.status.as_ref().unwrap()).unwrap();
    if let Some(forged) = forge(&theirs["project"]) {
        let patch = json!({"status": {"project": forged}});
        let patch = Patch::Merge(patch);
        world.projects().patch_status("second", &PatchParams::default(), &patch).await.unwrap();
    }
    let mark = world.control.mark();
    delete(&world, "second").await;
    gone(&world, "second").await;
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    world.poke("first").await;
    assert_eq!(id(&world.ready("first").await), id(&first));
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_waits_for_anothers_claim_goes_without_touching_its_project() {
    a_second_one_goes_alone(|_| None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_status_does_not_make_anothers_project_ones_own() {
    a_second_one_goes_alone(|theirs| Some(theirs.clone())).await;
    // Nor with a name that has no claim.
    let with_name = |theirs: &Value| {
        let mut forged = theirs.clone();
        forged["name"] = json!("unheard-of");
        Some(forged)
    };
    a_second_one_goes_alone(with_name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_status_never_deletes_a_project_that_nobody_manages() {
    let world = World::start().await;
    let theirs = world.control.create_project(&world.organization.id, ThirdPartyProject::named("theirs"));
    world.apply("ab", json!({"deletionPolicy": "Delete"})).await;
    world.not_ready("ab", "SpecInvalid").await;
    let patch = json!({"status": {"project": {"id": theirs.id, "name": "theirs"}}});
    world.projects().patch_status("ab", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    delete(&world, "ab").await;
    world.not_ready("ab", "ClaimMissing").await;
    assert_eq!(sent(&world, Operation::Delete), 0, "deletions");
    world.apply("ab", json!({"deletionPolicy": "Retain"})).await;
    gone(&world, "ab").await;
    world.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreground_deletion_ends_like_any_other() {
    let world = shop().await;
    world.apply("kept", json!({})).await;
    world.ready("kept").await;
    let kept = id(&world.ready("kept").await);
    for name in ["shop", "kept"] {
        world.projects().delete(name, &DeleteParams::foreground()).await.unwrap();
    }
    gone(&world, "kept").await;
    gone(&world, "shop").await;
    secret_is(&world, "kept", true).await;
    secret_is(&world, "shop", false).await;
    assert_eq!(world.remote_ids(&world.organization.id), [kept].into());
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_of_a_resource_that_is_let_go_stays_although_its_label_was_taken_away() {
    let world = shop().await;
    let unlabelled = json!({"metadata": {"labels": null}});
    world.secrets().patch("shop", &PatchParams::default(), &Patch::Merge(unlabelled)).await.unwrap();
    always(&world, Operation::Delete, Fault::Forbidden);
    delete(&world, "shop").await;
    world.not_ready("shop", "DeletionBlocked").await;
    world.apply("shop", json!({"deletionPolicy": "Retain"})).await;
    gone(&world, "shop").await;
    assert!(world.secrets().get("shop").await.unwrap().owner_references().is_empty());
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_goes_when_it_is_older_than_the_retention_and_not_before() {
    let mut world = shop().await;
    world.apply("cart", json!({"deletionPolicy": "Delete"})).await;
    world.ready("cart").await;
    for name in ["cart", "shop"] {
        delete(&world, name).await;
        gone(&world, name).await;
    }
    world.stop_operator().await;
    let params = ListParams::default().labels("composio.dev/phase=Deleted");
    let found = ledger(&world).list(&params).await.unwrap().items;
    let names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names.len(), 2, "tombstones");
    let retention = SignedDuration::try_from(world.settings().tombstone_retention).unwrap();
    let day = SignedDuration::from_hours(24);
    // They are judged in the order of their names: when the last one is gone, the first one has been judged.
    for (name, age) in [(&names[0], retention - day), (&names[1], retention + day)] {
        let written = json!({"composio.dev/written-time": (Timestamp::now() - age).to_string()});
        let patch = Patch::Merge(json!({"metadata": {"annotations": written}}));
        ledger(&world).patch(name, &PatchParams::default(), &patch).await.unwrap();
    }
    world.start_operator().await;
    eventually("the old tombstone is gone", PATIENCE, async || {
        match ledger(&world).get_opt(&names[1]).await.unwrap() {
            None => Ok(()),
            Some(_) => Err("it is there".to_owned()),
        }
    })
    .await;
    assert!(ledger(&world).get_opt(&names[0]).await.unwrap().is_some(), "the young tombstone is there");
    assert_eq!(world.claims().await.all().count(), 0, "claims");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_free_again_as_soon_as_its_project_is_deleted() {
    let world = shop().await;
    delete(&world, "shop").await;
    gone(&world, "shop").await;
    secret_is(&world, "shop", false).await;
    world.apply("shop", json!({"deletionPolicy": "Delete"})).await;
    world.ready("shop").await;
    delete(&world, "shop").await;
    gone(&world, "shop").await;
    assert_eq!(tombstones(&world).await.len(), 2, "tombstones");
    assert_eq!(world.claims().await.all().count(), 0, "claims");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_somebody_deletes_while_its_deletion_is_blocked_ends_the_wait() {
    let world = shop().await;
    always(&world, Operation::Delete, Fault::Forbidden);
    delete(&world, "shop").await;
    world.not_ready("shop", "DeletionBlocked").await;
    let id = id(&world.projects().get("shop").await.unwrap());
    assert!(world.control.delete_project(&id));
    world.control.clear_faults(&world.organization.id);
    world.poke("shop").await;
    ends_without_project(world).await;
}
