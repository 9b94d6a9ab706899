//! How long a project is without a key that works, while the operator replaces one: somebody revokes all keys of all
//! projects, and each heals by itself. The gap is what the operator's own metric says: from sending the request for a new
//! key to the API server's answer to the write of the Secret.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use composio_operator::crd::{ComposioProject, RECONCILE_ANNOTATION};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use testbed::emulator::Operation;

use super::create::names;
use super::figure::{Figure, number};
use super::readiness::Readiness;
use super::screen::Step;
use super::stage::{Operator, PATIENCE, Run, Stage, Subject};

const NAMESPACE: &str = "team-rotation";
const GAP: &str = "composio_operator_rotation_gap_seconds";

/// See the module.
pub(crate) async fn measure(subject: &Subject, projects: u32) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::open(subject).await?;
    stage.add_namespace(NAMESPACE).await?;
    let operator = stage.start(Run::default()).await?;
    let mut readiness = Readiness::follow(Api::namespaced(stage.client.clone(), NAMESPACE));
    stage.add_projects(names(NAMESPACE, "shop", projects)).await?;
    readiness.until(projects, "waiting").await?;
    for project in stage.control.projects(&stage.organization.id) {
        stage.control.revoke_project_keys(&project.id);
    }
    let api: Api<ComposioProject> = Api::namespaced(stage.client.clone(), NAMESPACE);
    for (_, name) in names(NAMESPACE, "shop", projects) {
        let patch = json!({"metadata": {"annotations": {RECONCILE_ANNOTATION: "now"}}});
        api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    let (step, begun) = (Step::new("all keys are revoked", projects), Instant::now());
    loop {
        let healed = operator.metric(&format!("{GAP}_count")).await?;
        step.at(usize::try_from(healed)?);
        if healed >= u64::from(projects) {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "only {healed} of {projects} keys were replaced");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let healed_after = begun.elapsed().as_secs_f64();
    let late = per_cent(&operator, 99).await?;
    let middle = per_cent(&operator, 50).await?;
    operator.stop().await?;
    let regenerates = stage.control.committed(&stage.organization.id, Operation::Regenerate);
    Ok(vec![
        Figure::at_most("rotation gap, p99 (bound of the metric's bucket)", 250.0, late * 1000.0, "ms").of(
            format!(
                "{projects} keys at once, healed after {healed_after:.1} s; p50 ≤ {:.0} ms",
                middle * 1000.0
            ),
        ),
        Figure::at_most(
            "keys issued per project after all were revoked",
            1.0,
            number(regenerates) / f64::from(projects),
            "",
        ),
    ])
}

/// The bound of the bucket of the gap's histogram below which so many per cent lie, in seconds.
async fn per_cent(operator: &Operator, wanted: u64) -> anyhow::Result<f64> {
    let all = operator.metric(&format!("{GAP}_count")).await?;
    let (_, page) = operator.child.get("/metrics").await.map_err(anyhow::Error::msg)?;
    let prefix = format!("{GAP}_bucket{{le=\"");
    let buckets = page.lines().filter_map(|line| line.strip_prefix(&prefix)?.split_once("\"} "));
    let mut reached =
        buckets.filter(|(_, count)| count.parse::<u64>().is_ok_and(|count| count * 100 >= all * wanted));
    let (bound, _) = reached.next().context("the histogram of the gap")?;
    Ok(bound.parse().unwrap_or(f64::INFINITY))
}
