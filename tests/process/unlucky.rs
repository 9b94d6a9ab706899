//! kill -9 at writes that nobody has chosen, again and again, while many projects are being made.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;
use testbed::emulator::Operation;
use testbed::proxy::{Action, Gate, Match};

use crate::scene::Scene;

const PROJECTS: usize = 12;
const KILLS: usize = 8;
/// A process is killed at one of its first writes; later, there may be none.
const WRITES: u128 = PROJECTS as u128;

async fn all_ready(scene: &Scene) {
    join_all((0..PROJECTS).map(|number| async move { scene.world.ready(&format!("shop-{number}")).await }))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_makes_each_of_many_projects_once() {
    let mut scene = Scene::start().await;
    for number in 0..PROJECTS {
        scene.world.apply(&format!("shop-{number}"), json!({})).await;
    }
    for kill in 0..KILLS {
        let write = usize::try_from(uuid::Uuid::new_v4().as_u128() % WRITES).unwrap() + 1;
        let gate = Gate::new();
        let action = if kill % 2 == 0 { Action::hold_before(&gate) } else { Action::hold_after(&gate) };
        // Shown where the test fails.
        eprintln!("kill {kill} at write {write}: {action:?}");
        let rule = scene.proxy.on(Match::mutating().nth(write), action);
        let is_ready = tokio::select! {
            () = gate.reached() => false,
            () = all_ready(&scene) => true,
        };
        scene.kill().await;
        rule.remove();
        scene.restart().await;
        // What was on its way arrives while the next process works.
        gate.open();
        if is_ready {
            break;
        }
    }
    all_ready(&scene).await;
    let projects = scene.world.control.all_projects(&scene.world.organization.id);
    let names: BTreeSet<_> = projects.iter().map(|project| project.name.as_str()).collect();
    assert_eq!((projects.len(), names.len()), (PROJECTS, PROJECTS), "projects and their names");
    assert!(
        projects.iter().all(|project| project.keys.len() == 1 && !project.deleted),
        "one key each, none deleted"
    );
    assert_eq!(scene.committed(Operation::Create), PROJECTS);
    scene.finish().await;
}
