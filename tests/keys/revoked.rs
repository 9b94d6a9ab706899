//! All keys of many projects revoked at once, as a vendor does after an incident (API 17).

use std::collections::{BTreeMap, BTreeSet};

use composio_operator::crd::ComposioProject;
use futures::StreamExt;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;
use testbed::emulator::{Entry, Operation, Outcome};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use super::{id, later};

/// Projects.
const COUNT: usize = 200;
/// Of these, every twentieth has a key that somebody else has made.
const EVERY: usize = 20;
/// Most calls for one project: a look for the project, the proof, the list of its keys, regenerate, the proof of the new
/// key; and one that is repeated.
const MOST_CALLS: usize = 6;

/// Waits until `is_so` of every project.
async fn all(world: &World, what: &str, is_so: impl Fn(&ComposioProject) -> bool) -> Vec<ComposioProject> {
    eventually(what, PATIENCE, async || {
        let listed =
            world.projects().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let open: Vec<_> = listed.items.iter().filter(|project| !is_so(project)).collect();
        let first = || open.first().map(|first| (first.name_any(), first.status.clone()));
        if open.is_empty() { Ok(listed.items) } else { Err(format!("{} are not: {:?}", open.len(), first())) }
    })
    .await
}

fn ready_reason(project: &ComposioProject) -> String {
    let conditions = project.status.clone().unwrap_or_default().conditions;
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    ready.map(|ready| format!("{}/{}", ready.status, ready.reason)).unwrap_or_default()
}

fn calls_by_project(calls: &[Entry]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for id in calls.iter().filter_map(|entry| entry.project_id.clone()) {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_revoked_at_once_are_replaced_by_one_regenerate_each_and_where_others_have_keys_none_is() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.rate_limit = Some(100_000));
    let names: Vec<String> = (0..COUNT).map(|number| format!("shop-{number:03}")).collect();
    let applied = futures::stream::iter(&names).map(|name| world.apply(name, json!({})));
    applied.buffer_unordered(16).collect::<Vec<_>>().await;
    let ready = all(&world, "all are ready", |project| ready_reason(project) == "True/Reconciled").await;
    later(&world, super::OLD);
    let mut foreign = BTreeMap::new();
    for (number, project) in ready.iter().enumerate() {
        world.control.revoke_project_keys(&id(project));
        if number % EVERY == 0 {
            foreign.insert(id(project), world.control.add_project_key(&id(project)));
        }
    }
    let mark = world.control.mark();
    let asked = futures::stream::iter(&names).map(|name| world.poke(name));
    asked.buffer_unordered(16).collect::<Vec<_>>().await;
    let ended = all(&world, "all are replaced or reported", |project| {
        let is_foreign = foreign.contains_key(&id(project));
        let is_replaced = project.status.as_ref().is_some_and(|status| status.last_rotation.is_some());
        let expected = if is_foreign { "False/KeyRejected" } else { "True/Reconciled" };
        ready_reason(project) == expected && is_replaced != is_foreign
    })
    .await;
    let journal = world.control.journal_since(mark);
    let regenerated: Vec<_> =
        journal.iter().filter(|entry| entry.operation == Some(Operation::Regenerate)).collect();
    let ids: BTreeSet<_> = regenerated.iter().filter_map(|entry| entry.project_id.clone()).collect();
    assert_eq!(ids.len(), COUNT - foreign.len(), "every project without a foreign key gets a new one");
    assert_eq!(regenerated.len(), ids.len(), "exactly one regenerate each");
    assert!(ids.iter().all(|id| !foreign.contains_key(id)), "a foreign key was killed");
    let is_throttled = |entry: &&Entry| entry.outcome == Outcome::Answered(429);
    assert_eq!(journal.iter().filter(is_throttled).count(), 0, "outside the budget");
    let most = calls_by_project(&journal).into_values().max();
    assert!(most <= Some(MOST_CALLS), "calls for one project: {most:?}");
    // The foreign keys live; whoever wants them dead says so.
    let mut reported = 0;
    for project in &ended {
        let id = id(project);
        if let Some(key) = foreign.get(&id) {
            reported += 1;
            assert_eq!(world.control.project_of_key(key), Some(id), "a foreign key was killed");
            world.apply(&project.name_any(), json!({"onInvalidKey": "Regenerate"})).await;
        }
    }
    assert_eq!(reported, COUNT / EVERY);
    all(&world, "all are ready again", |project| ready_reason(project) == "True/Reconciled").await;
    let page = world.metrics().await;
    let gaps = format!("composio_operator_rotation_gap_seconds_count {COUNT}");
    assert!(page.contains(&gaps), "not every gap was measured");
    world.finish(&[]).await;
}
