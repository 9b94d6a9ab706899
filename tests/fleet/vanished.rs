//! Too many projects vanish at once: nothing follows from it before an administrator has confirmed it.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use testbed::emulator::{Fault, FaultRule, Lie, Operation, OrganizationOptions, Point, ThirdPartyProject};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::scene::{
    confirm, held, id, looked_at, mutations, organizations, ready, status, swept, third_party,
    world_swept_every,
};

const NAMES: [&str; 6] = ["shop-1", "shop-2", "shop-3", "shop-4", "shop-5", "shop-6"];

/// Both witnesses conceal these projects.
fn conceal(world: &World, ids: &[String]) {
    for id in ids {
        for lie in [Lie::ListOmits, Lie::ReadSays404] {
            world.control.lie(id, lie);
        }
    }
}

fn reveal(world: &World, ids: &[String]) {
    for id in ids {
        world.control.tell_the_truth(id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_vanishes_at_once_is_held_its_projects_go_on_and_the_hold_ends_when_it_is_back() {
    let (mut world, other) = world_swept_every(2).await;
    let ids = ready(&world, &NAMES, json!({"onProjectMissing": "Recreate"})).await;
    let sent = mutations(&world);
    conceal(&world, &ids[..5]);
    let first = held(&world, 5).await;
    let object = world.organization_reaches("default", "False", "FleetVanished").await;
    let conditions = object.status.unwrap().conditions;
    assert!(
        conditions.iter().any(|known| known.type_ == "Stalled" && known.status == "True"),
        "{conditions:?}"
    );
    // Nobody who asks is told otherwise, and Secrets are restored.
    for (name, id_before) in NAMES.iter().zip(&ids) {
        looked_at(&world, name).await;
        assert_eq!(id(&world.ready(name).await), *id_before);
    }
    world.secrets().delete("shop-1", &DeleteParams::default()).await.unwrap();
    eventually("the Secret is restored", PATIENCE, async || {
        world.entry("shop-1", "COMPOSIO_API_KEY").await.map(|_| ()).ok_or_else(|| "it is gone".to_owned())
    })
    .await;
    // Nor after a restart, which knows nothing but what the status says.
    world.stop_operator().await;
    world.start_operator().await;
    swept(&world, 2).await;
    let again = held(&world, 5).await;
    assert_eq!((again.token, again.since_time), (first.token, first.since_time), "the same set");
    assert_eq!(mutations(&world), sent);
    reveal(&world, &ids);
    status(&world, "nothing is held", |status| status.held.is_empty()).await;
    world.organization_ready("default").await;
    assert_eq!(mutations(&world), sent);
    world.finish(&[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_administrator_has_confirmed_is_missing_and_the_token_works_once() {
    let (world, other) = world_swept_every(2).await;
    let ids = ready(&world, &NAMES, json!({})).await;
    let sent = mutations(&world);
    conceal(&world, &ids[..5]);
    let first = held(&world, 5).await;
    confirm(&world, "0123456789ab").await;
    swept(&world, 2).await;
    assert_eq!(held(&world, 5).await.token, first.token);
    confirm(&world, &first.token).await;
    for name in &NAMES[..5] {
        world.not_ready(name, "ProjectMissing").await;
    }
    world.organization_ready("default").await;
    assert_eq!(id(&world.ready(NAMES[5]).await), ids[5]);
    // They come back, and vanish again: the annotation is still there.
    reveal(&world, &ids);
    for name in &NAMES[..5] {
        world.poke(name).await;
        world.ready(name).await;
    }
    swept(&world, 1).await;
    conceal(&world, &ids[..5]);
    let second = held(&world, 5).await;
    assert_ne!(second.token, first.token);
    swept(&world, 2).await;
    held(&world, 5).await;
    for name in &NAMES {
        world.ready(name).await;
    }
    assert_eq!(mutations(&world), sent);
    reveal(&world, &ids);
    status(&world, "nothing is held", |status| status.held.is_empty()).await;
    world.finish(&[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_another_organizations_key_no_sweep_judges_anything() {
    let (world, other) = world_swept_every(2).await;
    let ids = ready(&world, &NAMES[..2], json!({"onProjectMissing": "Recreate"})).await;
    swept(&world, 5).await;
    let sent = mutations(&world);
    let strange = world.control.add_organization(OrganizationOptions::named("dev"));
    let theirs = world.control.create_project(&strange.id, ThirdPartyProject::named("theirs"));
    let mark = world.control.mark();
    world.set_organization_key("default", &strange.key).await;
    world.organization_reaches("default", "False", "OrganizationMismatch").await;
    // Its list has none of the projects, and nobody asks for it.
    let walked = world
        .control
        .journal_since(mark)
        .into_iter()
        .any(|call| call.organization.as_deref() == Some(&*strange.id) && call.path.contains("limit=50"));
    assert!(!walked, "another organization's list was walked");
    let key = world.organization.key.clone();
    world.set_organization_key("default", &key).await;
    world.organization_ready("default").await;
    swept(&world, 2).await;
    for (name, id_before) in NAMES.iter().zip(&ids) {
        assert_eq!(id(&world.ready(name).await), *id_before);
    }
    assert_eq!(mutations(&world), sent);
    assert_eq!(world.control.count(&strange.id, Operation::Create), 0);
    world.finish(&[&other, &theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_reported_missing_one_by_one_has_not_vanished_together_after_an_outage_and_a_restart() {
    let (mut world, other) = world_swept_every(2).await;
    let ids = ready(&world, &NAMES, json!({})).await;
    for count in [3, 4] {
        conceal(&world, &ids[..count]);
        for name in &NAMES[..count] {
            world.not_ready(name, "ProjectMissing").await;
        }
    }
    world.control.revoke_organization_key(&world.organization.key);
    world.organization_reaches("default", "False", "KeyInvalid").await;
    for name in &NAMES[..4] {
        looked_at(&world, name).await;
        world.reaches(&world.namespace, name, "Reconciling", "True", "OrganizationNotReady").await;
    }
    world.stop_operator().await;
    world.start_operator().await;
    let key = world.control.add_organization_key(&world.organization.id);
    world.set_organization_key("default", &key).await;
    world.organization_ready("default").await;
    swept(&world, 2).await;
    let now = status(&world, "it is swept", |status| status.last_sweep_time.is_some()).await;
    assert!(now.held.is_empty(), "{:?}", now.held);
    for name in &NAMES[..4] {
        world.not_ready(name, "ProjectMissing").await;
    }
    reveal(&world, &ids);
    for name in &NAMES {
        world.poke(name).await;
        world.ready(name).await;
    }
    world.finish(&[&other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_ends_between_two_pages_when_its_organization_is_suspended_and_decides_nothing() {
    let (world, other) = world_swept_every(2).await;
    ready(&world, &["shop"], json!({})).await;
    let crowd: Vec<String> = (0..120).map(|number| third_party(&world, &format!("crowd-{number}"))).collect();
    let gate = world.control.gate("first page");
    let hold = Fault::Hold { point: Point::AfterCommit, gate: gate.name().to_owned() };
    let rule = FaultRule::new(hold).organization(&world.organization.id).operation(Operation::List).times(1);
    world.control.inject(rule);
    tokio::time::timeout(PATIENCE, gate.arrived(1)).await.unwrap();
    let mark = world.control.mark();
    let suspend = async |suspend: bool| {
        let patch = Patch::Merge(json!({"spec": {"suspend": suspend}}));
        organizations(&world).patch("default", &PatchParams::default(), &patch).await.unwrap();
    };
    suspend(true).await;
    world.organization_reaches("default", "True", "Suspended").await;
    gate.open();
    eventually("the sweep has ended", PATIENCE, async || {
        let metrics = world.metrics().await;
        let ended = metrics.lines().any(|line| line.contains("sweeps_total{outcome=\"Failed\"}"));
        ended.then_some(()).ok_or_else(|| "it has not".to_owned())
    })
    .await;
    let calls = world.control.journal_since(mark);
    assert!(!calls.iter().any(|call| call.path.contains("cursor=")), "{calls:#?}");
    suspend(false).await;
    world.organization_ready("default").await;
    let foreign: Vec<&str> = crowd.iter().chain([&other]).map(String::as_str).collect();
    world.finish(&foreign).await;
}
