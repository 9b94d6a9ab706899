//! A restart with all status wiped.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use testbed::world::World;

use super::{id, mutations};

const PROJECTS: usize = 20;

async fn secret_versions(world: &World) -> BTreeMap<String, Option<String>> {
    let secrets = world.secrets().list(&ListParams::default()).await.unwrap();
    secrets.iter().map(|secret| (secret.name_any(), secret.resource_version())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_all_status_wiped_changes_nothing_at_composio_and_writes_no_secret() {
    let mut world = World::start().await;
    let names: Vec<String> = (0..PROJECTS).map(|number| format!("shop-{number}")).collect();
    for name in &names {
        world.apply(name, json!({"settings": {"displayName": "Shop"}})).await;
    }
    let mut ids = BTreeMap::new();
    for name in &names {
        ids.insert(name.clone(), id(&world.ready(name).await));
    }
    let (sent, versions) = (mutations(&world), secret_versions(&world).await);
    world.stop_operator().await;
    for name in &names {
        let wiped = Patch::Merge(json!({"status": null}));
        world.projects().patch_status(name, &PatchParams::default(), &wiped).await.unwrap();
    }
    let mark = world.control.mark();
    world.start_operator().await;
    for name in &names {
        assert_eq!(id(&world.ready(name).await), ids[name]);
    }
    assert_eq!(mutations(&world), sent, "mutations at Composio");
    assert_eq!(world.calls_since(mark).len(), 0, "calls because the process is new");
    assert_eq!(secret_versions(&world).await, versions, "Secrets were written");
    world.finish(&[]).await;
}
