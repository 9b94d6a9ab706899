//! How long a published Secret is away after somebody has deleted it: one deletion after another, each measured from the API
//! server's answer to the watch that tells of the restored Secret.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use testbed::emulator::Operation;

use super::create::names;
use super::figure::{Figure, number};
use super::readiness::Readiness;
use super::screen::Step;
use super::stage::{Run, Stage, Subject};

/// How long one restoration may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);
const KEY: &str = "COMPOSIO_API_KEY";
const NAMESPACE: &str = "team-restore";

/// See the module. The projects take turns.
pub(crate) async fn measure(subject: &Subject, projects: u32, deletions: u32) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::open(subject).await?;
    stage.add_namespace(NAMESPACE).await?;
    let operator = stage.start(Run::default()).await?;
    let mut readiness = Readiness::follow(Api::namespaced(stage.client.clone(), NAMESPACE));
    stage.add_projects(names(NAMESPACE, "shop", projects)).await?;
    readiness.until(projects, "waiting").await?;
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let mut keys = BTreeMap::new();
    for (_, name) in names(NAMESPACE, "shop", projects) {
        let mut data = secrets.get(&name).await?.data.unwrap_or_default();
        keys.insert(name, data.remove(KEY).context("a Ready project without a key")?.0);
    }
    let mark = stage.control.mark();
    let mut times = all(&secrets, &keys, deletions).await?;
    times.sort_unstable();
    let regenerates = stage.control.count(&stage.organization.id, Operation::Regenerate);
    let calls = stage.control.journal_since(mark).into_iter();
    let calls = calls.filter(|entry| !entry.path.ends_with("/list?limit=1")).count();
    operator.stop().await?;
    let milliseconds = |per_mille: usize| {
        let place = (times.len() * per_mille).div_ceil(1000).max(1) - 1;
        times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    let (middle, late, longest) = (milliseconds(500), milliseconds(900), milliseconds(1000));
    Ok(vec![
        Figure::at_most("Secret deleted → restored, p99", 1000.0, milliseconds(990), "ms").of(format!(
            "{deletions} deletions over {projects} projects: p50 {middle:.1}, p90 {late:.1}, longest {longest:.1} ms"
        )),
        Figure::at_most(format!("keys issued anew by {deletions} deletions"), 0.0, number(regenerates), "")
            .of(format!("other calls to Composio: {calls}")),
    ])
}

/// Deletes one Secret after another and waits for each to come back with its key.
async fn all(
    secrets: &Api<Secret>,
    keys: &BTreeMap<String, Vec<u8>>,
    count: u32,
) -> anyhow::Result<Vec<Duration>> {
    let step = Step::new(format!("{count} deletions"), count);
    let mut times = Vec::new();
    for (name, key) in keys.iter().cycle().take(usize::try_from(count)?) {
        let late = || format!("Secret {name} did not come back within {} s", PATIENCE.as_secs());
        times.push(tokio::time::timeout(PATIENCE, one(secrets, name, key)).await.with_context(late)??);
        step.one_more();
    }
    Ok(times)
}

/// One deletion. A watch that was begun before it tells of the restored Secret, so that no distance between two looks is
/// part of the time.
async fn one(secrets: &Api<Secret>, name: &str, key: &[u8]) -> anyhow::Result<Duration> {
    let before = secrets.get(name).await?;
    let version = before.resource_version().context("a Secret without a version")?;
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = secrets.watch(&params, &version).await?.boxed();
    secrets.delete(name, &DeleteParams::default()).await?;
    let deleted = Instant::now();
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(secret) | WatchEvent::Modified(secret) if secret.uid() != before.uid() => {
                let took = deleted.elapsed();
                let restored = secret.data.unwrap_or_default().remove(KEY).unwrap_or_default();
                ensure!(restored.0 == key, "Secret {name} came back with another key");
                return Ok(took);
            }
            WatchEvent::Error(status) => bail!("the watch ended: {}", status.message),
            _ => {}
        }
    }
    bail!("the watch on Secret {name} ended")
}
