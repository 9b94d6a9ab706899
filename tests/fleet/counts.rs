//! What a sweep counts, and what it costs.

use jiff::Timestamp;
use serde_json::json;
use testbed::emulator::{Fault, FaultRule, Operation, Point, ThirdPartyProject};
use testbed::world::PATIENCE;

use crate::scene::{mutations, ready, status, swept, third_party, world_swept_every};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_says_how_many_projects_are_managed_retained_and_unmanaged() {
    let (world, other) = world_swept_every(1).await;
    let organization = world.organization.id.clone();
    let born = |number: i64| {
        let created_at = Timestamp::from_second(1_700_000_000 + number).ok();
        let project =
            ThirdPartyProject { created_at, ..ThirdPartyProject::named(format!("theirs-{number}")) };
        world.control.create_project(&organization, project).id
    };
    let theirs: Vec<String> = (0..12).map(born).collect();
    let shops = ready(&world, &["shop", "cafe"], json!({})).await;
    let counted = |managed, retained, unmanaged| {
        move |status: &composio_operator::crd::ComposioOrganizationStatus| {
            let wanted = (managed, retained, unmanaged);
            status.projects.is_some_and(|known| (known.managed, known.retained, known.unmanaged) == wanted)
        }
    };
    let now = status(&world, "two are managed", counted(2, 0, 13)).await;
    assert!(now.last_sweep_time.is_some());
    let names: Vec<_> = now.newest_unmanaged.iter().map(|project| project.name.clone()).collect();
    let newest = (3..12).rev().map(|number| format!("theirs-{number}"));
    assert_eq!(names, ["other".to_owned()].into_iter().chain(newest).collect::<Vec<_>>());
    world.delete("cafe").await;
    status(&world, "one is retained", counted(1, 1, 13)).await;
    // A project that the list shows as deleted counts as gone.
    world.control.set_modes(&organization, |modes| modes.list_includes_deleted = true);
    for id in &theirs[..11] {
        world.control.delete_project(id);
    }
    let now = status(&world, "two are left", counted(1, 1, 2)).await;
    assert_eq!(now.newest_unmanaged[1].name, "theirs-11");
    let metrics = world.metrics().await;
    let ready = "composio_operator_projects{ready=\"true\",reason=\"Reconciled\"} 1";
    assert!(metrics.lines().any(|line| line == ready), "{metrics}");
    assert_eq!(world.remote_ids(&organization).len(), 4);
    assert!(world.remote_ids(&organization).contains(&shops[1]));
    world.finish(&[&other, &theirs[11]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_of_121_projects_costs_three_calls_and_no_other_and_no_project_is_written() {
    // A sweep that comes late by more than a fifth of this is another matter: then the organization is probed.
    let (world, other) = world_swept_every(4).await;
    let mut crowd: Vec<String> =
        (0..119).map(|number| third_party(&world, &format!("crowd-{number}"))).collect();
    ready(&world, &["shop"], json!({})).await;
    // The claim is settled, and old enough to be judged.
    swept(&world, 5).await;
    let before = world.projects().get("shop").await.unwrap();
    let mark = world.control.mark();
    swept(&world, 3).await;
    let calls = world.control.journal_since(mark);
    assert!(calls.iter().all(|call| call.operation == Some(Operation::List)), "{calls:#?}");
    assert!(calls.iter().all(|call| call.path.contains("limit=50")), "a probe besides the sweeps");
    // The first may be the end of a sweep, and the last one may not be at its end.
    let starts: Vec<_> = (0..calls.len()).filter(|at| calls[*at].path.ends_with("/list?limit=50")).collect();
    assert!(starts.len() >= 3);
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 3), "{starts:?}");
    let after = world.projects().get("shop").await.unwrap();
    assert_eq!(before.metadata.resource_version, after.metadata.resource_version);
    crowd.push(other);
    world.finish(&crowd.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_project_becomes_ready_while_a_sweep_waits_for_its_answer_and_is_not_judged_by_it() {
    let (world, other) = world_swept_every(2).await;
    ready(&world, &["shop"], json!({})).await;
    let gate = world.control.gate("sweep");
    let hold = Fault::Hold { point: Point::AfterCommit, gate: gate.name().to_owned() };
    world
        .control
        .inject(FaultRule::new(hold).organization(&world.organization.id).operation(Operation::List));
    tokio::time::timeout(PATIENCE, gate.arrived(1)).await.unwrap();
    let sent = mutations(&world);
    world.apply("new", json!({"onProjectMissing": "Recreate"})).await;
    world.ready("new").await;
    // Nobody has let a sweep go.
    gate.open();
    swept(&world, 2).await;
    world.ready("new").await;
    assert_eq!(mutations(&world), sent + 1);
    world.finish(&[&other]).await;
}
