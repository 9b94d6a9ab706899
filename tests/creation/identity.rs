//! Whose project it is: two resources, two organizations, deletion and return, lost status, suspension.

use composio_operator::crd::ComposioProject;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use testbed::emulator::{Fault, Operation, OrganizationOptions, Point, View};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

/// A world in which the answer to the creation of `shop` is lost and the list does not show its project yet.
async fn uncertain() -> World {
    let world = World::start().await;
    let organization = &world.organization.id;
    world.control.freeze_list(organization);
    world.control.fault(organization, Operation::Create, Fault::Cut { point: Point::AfterCommit }, 1);
    world.apply("shop", json!({})).await;
    world.reaches(&world.namespace, "shop", "Reconciling", "True", "ResolvingOutcome").await;
    world
}

fn id(project: &ComposioProject) -> Option<String> {
    project.status.clone()?.project?.id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_resources_with_one_project_name_the_second_waits_and_takes_over_when_the_first_is_gone() {
    let world = World::start().await;
    world.apply("first", json!({"projectName": "shop"})).await;
    let first = world.ready("first").await;
    world.apply("second", json!({"projectName": "shop"})).await;
    let second = world.not_ready("second", "ClaimHeld").await;
    assert!(serde_json::to_string(&second.status).unwrap().contains("first"), "the holder is not named");
    let mark = world.control.mark();
    world.delete("first").await;
    let second = world.ready("second").await;
    assert_eq!(id(&second), id(&first), "the project was not taken back");
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls for taking a claim back");
    assert_eq!(
        world.entry("second", "COMPOSIO_API_KEY").await,
        world.entry("first", "COMPOSIO_API_KEY").await
    );
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_namespace_never_inherits_a_project() {
    let mut world = World::without_operator().await;
    let other = world.add_namespace().await;
    world.start_operator().await;
    world.organization_ready("default").await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    world.apply_in(&other, "shop", json!({})).await;
    let theirs = world.reaches(&other, "shop", "Ready", "False", "ClaimHeld").await;
    assert!(
        !serde_json::to_string(&theirs.status).unwrap().contains(&world.namespace),
        "the namespace is given away"
    );
    world.delete("shop").await;
    world.reaches(&other, "shop", "Ready", "False", "RebindDenied").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_name_in_two_organizations_makes_two_projects() {
    let world = World::start().await;
    let second = world.control.add_organization(OrganizationOptions::named("second"));
    world.add_organization("second", &second.key, json!({})).await;
    world.organization_ready("second").await;
    world.apply("shop", json!({})).await;
    world.apply("shop-2", json!({"projectName": "shop", "organizationRef": {"name": "second"}})).await;
    let (one, two) = (world.ready("shop").await, world.ready("shop-2").await);
    assert_ne!(id(&one), id(&two));
    assert_eq!(world.control.projects(&second.id).len(), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_deleted_while_its_creation_is_uncertain_and_applied_again_has_one_project() {
    let world = uncertain().await;
    let organization = world.organization.id.clone();
    world.delete("shop").await;
    world.control.set_modes(&organization, |modes| modes.list_view = View::Live);
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    assert_eq!(world.control.committed(&organization, Operation::Create), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_deleted_while_its_creation_is_uncertain_leaves_a_retained_claim_with_the_id() {
    let world = uncertain().await;
    let organization = world.organization.id.clone();
    world.delete("shop").await;
    world.control.set_modes(&organization, |modes| modes.list_view = View::Live);
    let ids = world.remote_ids(&organization);
    eventually("the orphaned claim has the id", PATIENCE, async || {
        match world.claims().await.project_ids() {
            found if found == ids => Ok(()),
            found => Err(format!("claims have {found:?}")),
        }
    })
    .await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_deleted_after_a_creation_that_came_to_nothing_leaves_no_claim() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Create, Fault::Cut { point: Point::BeforeCommit }, 1);
    world.apply("shop", json!({})).await;
    world.reaches(&world.namespace, "shop", "Reconciling", "True", "ResolvingOutcome").await;
    world.delete("shop").await;
    eventually("the claim is removed", PATIENCE, async || match world.claims().await.all().count() {
        0 => Ok(()),
        _ => Err("it is there".to_owned()),
    })
    .await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_resource_leaves_project_and_secret_and_comes_back_without_a_write() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    let before = world.ready("shop").await;
    let secret = world.secrets().get("shop").await.unwrap();
    world.delete("shop").await;
    assert_eq!(world.secrets().get("shop").await.unwrap().resource_version(), secret.resource_version());
    let mark = world.control.mark();
    world.apply("shop", json!({})).await;
    let after = world.ready("shop").await;
    assert_eq!(id(&after), id(&before));
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    assert_eq!(world.secrets().get("shop").await.unwrap().resource_version(), secret.resource_version());
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_status_is_written_again_without_touching_project_or_secret() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    // The first project makes the organization known, which makes for a second pass: only then nothing else is under way.
    let before = eventually("the organization is known", PATIENCE, async || {
        let shop = world.ready("shop").await;
        let project = shop.status.as_ref().and_then(|status| status.project.as_ref());
        let is_known = project.is_some_and(|project| project.organization_id.is_some());
        is_known.then(|| shop.clone()).ok_or_else(|| format!("{project:?}"))
    })
    .await;
    let secret = world.secrets().get("shop").await.unwrap();
    let wiped = json!({"status": null});
    world.projects().patch_status("shop", &PatchParams::default(), &Patch::Merge(wiped)).await.unwrap();
    let mark = world.control.mark();
    world.poke("shop").await;
    let after = world.ready("shop").await;
    assert_eq!(id(&after), id(&before));
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    assert_eq!(world.secrets().get("shop").await.unwrap().resource_version(), secret.resource_version());
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_resource_starts_nothing_until_it_is_resumed() {
    let world = World::start().await;
    let mark = world.control.mark();
    world.apply("shop", json!({"suspend": true})).await;
    let shop = world.not_ready("shop", "Suspended").await;
    let kinds: Vec<_> =
        shop.status.unwrap().conditions.into_iter().map(|condition| condition.type_).collect();
    assert!(!kinds.iter().any(|kind| kind == "Reconciling" || kind == "Stalled"), "{kinds:?}");
    assert_eq!(world.calls_since(mark).len(), 0, "remote calls");
    assert_eq!(world.claims().await.all().count(), 0);
    world.apply("shop", json!({"suspend": false})).await;
    world.ready("shop").await;
    world.apply("shop", json!({"suspend": true})).await;
    world.reaches(&world.namespace, "shop", "Ready", "True", "Suspended").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_was_announced_is_finished_although_the_resource_is_suspended() {
    let world = uncertain().await;
    let organization = world.organization.id.clone();
    world.apply("shop", json!({"suspend": true})).await;
    world.control.set_modes(&organization, |modes| modes.list_view = View::Live);
    world.not_ready("shop", "Suspended").await;
    let claims = world.claims().await;
    assert_eq!(claims.of("shop").map(|claim| claim["phase"].clone()), Some(json!("KeyPending")));
    assert_eq!(world.control.count(&organization, Operation::Regenerate), 0, "something new was started");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_cannot_be_read_stops_its_project_only_and_is_not_overwritten() {
    let world = World::start().await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    let secrets =
        kube::Api::<k8s_openapi::api::core::v1::Secret>::namespaced(world.client.clone(), &world.system);
    let params = kube::api::ListParams::default().labels("composio.dev/phase");
    let claim = secrets.list(&params).await.unwrap().items.remove(0);
    let good = claim.data.clone().unwrap()["claim.json"].clone();
    let broken = json!({"stringData": {"claim.json": "{\"version\": 1"}});
    secrets.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(broken)).await.unwrap();
    world.poke("shop").await;
    world.not_ready("shop", "ClaimUnreadable").await;
    world.apply("other", json!({})).await;
    world.ready("other").await;
    assert_eq!(
        secrets.get(&claim.name_any()).await.unwrap().data.unwrap()["claim.json"].0,
        b"{\"version\": 1"
    );
    let restored = json!({"data": {"claim.json": good}});
    secrets.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(restored)).await.unwrap();
    world.poke("shop").await;
    world.ready("shop").await;
    world.finish(&[]).await;
}
