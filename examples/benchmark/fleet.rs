//! A fleet that grows: what the operator takes at each size, what a restart does, and what foreign Secrets and a revoked
//! organization key mean to the largest.

use std::time::Duration;

use composio_operator::crd::{ComposioProject, RECONCILE_ANNOTATION};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::emulator::Operation;

use super::figure::{Figure, Point, number};
use super::footprint::{memory, processor_time};
use super::readiness::Readiness;
use super::screen::Step;
use super::stage::{CONCURRENCY, Operator, Run, Stage, Subject};
use super::sweep;

/// Namespaces of the fleet.
const NAMESPACES: u32 = 20;
/// Size of a foreign Secret.
const FOREIGN_BYTES: usize = 10 * 1024;
/// The observe interval as it comes, in seconds, less half of its jitter: the mean distance between two looks.
const MEAN_INTERVAL: f64 = 600.0 * 0.9;
/// Projects that ask for a look while the organization's key is revoked.
const ASKING: u32 = 200;

/// How large everything is.
#[derive(Debug, Clone)]
pub(crate) struct Size {
    /// Sizes of the fleet, growing.
    pub(crate) projects: Vec<u32>,
    /// Foreign Secrets.
    pub(crate) foreign: u32,
    /// The observe interval while the converged fleet is watched, and how long that is.
    pub(crate) idle: Duration,
    /// How long a revoked key is watched.
    pub(crate) revoked: Duration,
}

/// See the module.
pub(crate) async fn measure(subject: &Subject, size: &Size) -> anyhow::Result<(Vec<Figure>, Vec<Point>)> {
    let stage = Stage::open(subject).await?;
    for number in 0..NAMESPACES {
        stage.add_namespace(&format!("team-{number}")).await?;
    }
    let mut readiness = Readiness::follow(Api::all(stage.client.clone()));
    let (mut figures, mut points, mut before) = (Vec::new(), Vec::new(), 0);
    for &projects in &size.projects {
        let is_last = Some(&projects) == size.projects.last();
        let (point, more) = grow(&stage, &mut readiness, before, projects, size, is_last).await?;
        points.push(point);
        figures.extend(more);
        before = projects;
    }
    figures.extend(restart(&stage, before).await?);
    figures.extend(sweep::measure(&stage, before).await?);
    figures.extend(revoked_key(&stage, before, size.revoked).await?);
    Ok((figures, points))
}

fn name(number: u32) -> (String, String) {
    (format!("team-{}", number % NAMESPACES), format!("shop-{number:05}"))
}

/// Grows from one size to the next; at the last one, foreign Secrets come as well.
async fn grow(
    stage: &Stage,
    readiness: &mut Readiness,
    from: u32,
    to: u32,
    size: &Size,
    is_last: bool,
) -> anyhow::Result<(Point, Vec<Figure>)> {
    stage.add_projects((from..to).map(name).collect()).await?;
    let operator = stage.start(Run::default()).await?;
    readiness.until(to, "operator:").await?;
    let creation = operator.started.elapsed();
    let created = memory(&operator.child)?;
    operator.stop().await?;

    let interval = format!("--observe-interval={}s", size.idle.as_secs());
    let operator = stage.start(Run { flags: &[&interval], ..Run::default() }).await?;
    let ready = operator.started.elapsed();
    operator.until_passes(to, &Step::new(format!("restart: {to} looks"), to)).await?;
    let restart = operator.started.elapsed();
    let restarted = memory(&operator.child)?;
    let idle = idle(&operator, size.idle).await?;
    let mut figures = Vec::new();
    if from == 0 {
        let name = format!("ready after the start, with {to} projects");
        figures.push(Figure::at_most(name, 1.0, ready.as_secs_f64(), "s"));
    }
    if is_last {
        figures.push(
            Figure::at_most(
                format!("memory with {to} Ready projects, after a restart"),
                48.0,
                restarted.resident,
                "MiB",
            )
            .of(format!("peak {:.1} MiB", restarted.peak)),
        );
        figures.push(
            Figure::at_most("the same, in the process that has created them", 48.0, created.resident, "MiB")
                .of(format!("peak {:.1} MiB; {} of them created by it", created.peak, to - from)),
        );
        figures.push(
            Figure::plain("a look at a converged project", idle.milliseconds, "ms of a processor").of(
                format!(
                    "{} looks; every ten minutes at {to} projects: {:.1} % of one",
                    idle.looks,
                    idle.percent(to)
                ),
            ),
        );
        figures.push(
            Figure::plain(
                format!("ready after the start, with {to} projects to fill the caches with"),
                ready.as_secs_f64(),
                "s",
            )
            .of(format!("all of them looked at after {:.1} s", restart.as_secs_f64())),
        );
        figures.push(foreign_secrets(stage, &operator, size.foreign).await?);
    }
    operator.stop().await?;
    let point = Point {
        projects: to,
        creation_milliseconds: creation.as_secs_f64() * 1000.0 / f64::from(to - from),
        memory_after_creation: created.resident,
        memory_after_restart: restarted.resident,
        restart_seconds: restart.as_secs_f64(),
        idle_percent: idle.percent(to),
    };
    Ok((point, figures))
}

/// What looks at converged projects take.
struct Idle {
    looks: u64,
    milliseconds: f64,
}

impl Idle {
    /// Share of one processor at this size, with the observe interval as it comes.
    fn percent(&self, projects: u32) -> f64 {
        self.milliseconds * f64::from(projects) / (MEAN_INTERVAL * 1000.0) * 100.0
    }
}

/// Watches a converged fleet for a time.
async fn idle(operator: &Operator, time: Duration) -> anyhow::Result<Idle> {
    let step = Step::new("the converged fleet", u32::try_from(time.as_secs())?);
    let (looks, processor) = (operator.passes().await?, processor_time(&operator.child)?);
    for _ in 0..time.as_secs() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        step.one_more();
    }
    let looks = operator.passes().await? - looks;
    let processor = processor_time(&operator.child)?.saturating_sub(processor);
    Ok(Idle { looks, milliseconds: processor.as_secs_f64() * 1000.0 / number(looks.max(1)) })
}

/// Secrets of others come, while the operator runs.
async fn foreign_secrets(stage: &Stage, operator: &Operator, count: u32) -> anyhow::Result<Figure> {
    let step = Step::new(format!("{count} foreign Secrets"), count);
    let before = memory(&operator.child)?;
    let create = async |number: u32| {
        let api: Api<Secret> =
            Api::namespaced(stage.client.clone(), &format!("team-{}", number % NAMESPACES));
        let filling = format!("{number:08}").repeat(FOREIGN_BYTES / 8).into_bytes();
        let secret = Secret {
            metadata: ObjectMeta { name: Some(format!("foreign-{number:05}")), ..ObjectMeta::default() },
            data: Some([("filling".to_owned(), ByteString(filling))].into()),
            ..Secret::default()
        };
        api.create(&PostParams::default(), &secret).await?;
        step.one_more();
        anyhow::Ok(())
    };
    let made: anyhow::Result<()> =
        futures::stream::iter(0..count).map(create).buffer_unordered(CONCURRENCY).try_collect().await;
    made?;
    let after = memory(&operator.child)?;
    let name = format!("growth by {count} foreign Secrets of 10 KiB");
    let growth = after.resident - before.resident;
    Ok(Figure::at_most(name, 2.0, growth, "MiB")
        .of(format!("{:.1} → {:.1} MiB", before.resident, after.resident)))
}

/// What a new process writes and changes.
async fn restart(stage: &Stage, projects: u32) -> anyhow::Result<Vec<Figure>> {
    let mark = stage.control.mark();
    let operator = stage.start(Run { is_counted: true, ..Run::default() }).await?;
    operator.until_passes(projects, &Step::new("restart: what it writes", projects)).await?;
    let resident = memory(&operator.child)?;
    let journal = operator.proxy.as_ref().map(testbed::proxy::ApiProxy::journal).unwrap_or_default();
    let calls = stage.control.journal_since(mark);
    operator.stop().await?;
    let of = |part: &str| journal.iter().filter(|entry| entry.path.contains(part)).count();
    // The status of the organization is written after a sweep, which is due by the clock and not by the start.
    let (secrets, status) = (of("/secrets"), of("/composioprojects/"));
    let reads = |operation: Option<Operation>| {
        matches!(
            operation,
            Some(Operation::List | Operation::Read | Operation::ReadSettings | Operation::Categories)
        )
    };
    let mutations = calls.iter().filter(|entry| !reads(entry.operation)).count();
    let detail = format!(
        "{mutations} remote mutations, {secrets} writes of Secrets, {status} of projects, {} others; {} remote reads; {:.1} MiB",
        journal.len() - secrets - status,
        calls.len() - mutations,
        resident.resident
    );
    let name =
        format!("remote mutations, Secret and project writes after a restart with {projects} projects");
    Ok(vec![Figure::at_most(name, 0.0, number(mutations + secrets + status), "").of(detail)])
}

/// The organization's key is revoked, and projects ask for a look all the same.
async fn revoked_key(stage: &Stage, projects: u32, time: Duration) -> anyhow::Result<Vec<Figure>> {
    let operator = stage.start(Run::default()).await?;
    operator.until_passes(projects, &Step::new("before the key is revoked", projects)).await?;
    let probes = "composio_operator_reconciles_total{kind=\"ComposioOrganization\"";
    stage.control.revoke_organization_key(&stage.organization.key);
    let begun = stage.control.mark();
    ask(stage, 0).await?;
    operator.until_breaker_opens().await?;
    let unknowing = stage.control.journal_since(begun).len();
    let (mark, before) = (stage.control.mark(), operator.metric(probes).await?);
    let step = Step::new("the organization's key is revoked", u32::try_from(time.as_secs())?);
    for number in 1..=ASKING.min(projects - 1) {
        ask(stage, number).await?;
    }
    for _ in 0..time.as_secs() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        step.one_more();
    }
    let probes = operator.metric(probes).await? - before;
    let calls = stage.control.journal_since(mark).len();
    operator.stop().await?;
    let name = format!("calls per probe with a revoked organization key and {projects} projects");
    Ok(vec![Figure::at_most(name, 1.0, number(calls) / number(probes.max(1)), "").of(format!(
        "{unknowing} calls until one was refused, then {calls} in {} s and {probes} looks at the organization; {} projects asked for a look",
        time.as_secs(),
        ASKING.min(projects - 1)
    ))])
}

/// Asks for a look at a project, as a person does.
async fn ask(stage: &Stage, number: u32) -> anyhow::Result<()> {
    let (namespace, name) = name(number);
    let api: Api<ComposioProject> = Api::namespaced(stage.client.clone(), &namespace);
    let patch = json!({"metadata": {"annotations": {RECONCILE_ANNOTATION: "now"}}});
    api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}
