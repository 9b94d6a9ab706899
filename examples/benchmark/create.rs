//! What a project costs to create, and a thousand of them at once against the smallest possible client that makes the same
//! writes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::http::Method;
use composio_operator::crd::ComposioProject;
use kube::Api;
use testbed::emulator::Operation;
use testbed::proxy::{Action, Exchange, JournalEntry, Match};

use super::figure::{Figure, number};
use super::footprint::processor_time;
use super::readiness::Readiness;
use super::screen::Step;
use super::stage::{PATIENCE, Run, SYSTEM, Stage, Subject};
use super::yardstick;

/// Calls to Composio and writes to the API server for each created project.
pub(crate) async fn cost(subject: &Subject, projects: u32) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::open(subject).await?;
    stage.warm_up().await?;
    let namespace = "team-cost";
    stage.add_namespace(namespace).await?;
    let operator = stage.start(Run { namespaces: &[namespace], is_counted: true, ..Run::default() }).await?;
    let proxy = operator.proxy.as_ref().context("a proxy that counts")?;
    let (before, mark) = (proxy.journal().len(), stage.control.mark());
    let reads = KINDS.map(|kind| {
        let is_meant = move |exchange: &Exchange| kind_read(exchange) == Some(kind);
        proxy.on(Match::method(Method::GET).when(is_meant), Action::before(|_| async {}))
    });
    let mut readiness = Readiness::follow(Api::namespaced(stage.client.clone(), namespace));
    stage.add_projects(names(namespace, "cost", projects)).await?;
    readiness.until(projects, "waiting").await?;
    // The Event is the last thing that is written.
    wait_for("the Events", || proxy.count(|entry| entry.path.ends_with("/events")) >= projects as usize)
        .await?;
    let writes: Vec<_> =
        proxy.journal().split_off(before).into_iter().filter(|entry| entry.forwarded).collect();
    let calls = stage.control.journal_since(mark).into_iter();
    let calls = calls.filter(|entry| !entry.path.ends_with("/list?limit=1")).count();
    let reads = reads.map(|reads| reads.hits());
    operator.stop().await?;
    let share = |count: usize| number(count) / f64::from(projects);
    let kinds: BTreeMap<&str, usize> = writes.iter().fold(BTreeMap::new(), |mut kinds, entry| {
        *kinds.entry(kind(entry)).or_default() += 1;
        kinds
    });
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{kind} {}", share(*count))).collect();
    let looks: Vec<_> =
        KINDS.iter().zip(reads).map(|(kind, count)| format!("{kind} {}", share(count))).collect();
    Ok(vec![
        Figure::at_most(
            "calls to Composio per created project, key and settings included",
            1.0,
            share(calls),
            "",
        )
        .of(format!("{projects} projects")),
        Figure::at_most("writes to the API server per created project", 5.0, share(writes.len()), "")
            .of(kinds.join(", ")),
        Figure::plain(
            "reads of single objects from the API server per created project",
            share(reads.iter().sum()),
            "",
        )
        .of(looks.join(", ")),
    ])
}

/// Kinds of single objects that are read.
const KINDS: [&str; 4] = ["claim", "Secret", "Namespace", "ComposioProject"];

/// What is read by a request that is not a list, and not a watch.
fn kind_read(exchange: &Exchange) -> Option<&'static str> {
    let kind = exchange.path.rsplit('/').nth(1).filter(|_| exchange.query.is_empty())?;
    match kind {
        "secrets" if exchange.path.contains(SYSTEM) => Some("claim"),
        "secrets" => Some("Secret"),
        "namespaces" => Some("Namespace"),
        "composioprojects" => Some("ComposioProject"),
        _ => None,
    }
}

fn kind(entry: &JournalEntry) -> &'static str {
    let is_in = |part: &str| entry.path.contains(part);
    match &entry.path {
        _ if is_in(SYSTEM) && is_in("/secrets") => "claim",
        _ if is_in("/secrets") => "Secret",
        _ if is_in("/composioprojects") && entry.path.ends_with("/status") => "status",
        _ if is_in("/composioprojects") => "finalizer",
        _ if is_in("/events") => "Event",
        _ => "other",
    }
}

/// Names in one namespace.
pub(crate) fn names(namespace: &str, prefix: &str, count: u32) -> Vec<(String, String)> {
    (0..count).map(|number| (namespace.to_owned(), format!("{prefix}-{number:05}"))).collect()
}

async fn wait_for(what: &str, is_met: impl Fn() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_met() {
        ensure!(begun.elapsed() < PATIENCE, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// One side of one round.
#[derive(Clone, Copy)]
struct Round {
    /// From the first creation at Composio to the last Ready.
    seconds: f64,
    /// Processor time of the API server meanwhile.
    api_server: f64,
    /// Processor time of the operator.
    operator: f64,
}

/// So many projects at once, by the operator and by the yardstick in turn, several times.
pub(crate) async fn bulk(subject: &Subject, projects: u32, rounds: u32) -> anyhow::Result<Vec<Figure>> {
    let stage = Stage::open(subject).await?;
    stage.warm_up().await?;
    let mut all: Vec<[Round; 3]> = Vec::new();
    for round in 1..=rounds {
        all.push([
            by_operator(&stage, round, projects).await?,
            by_yardstick(&stage, round, projects, false).await?,
            by_yardstick(&stage, round, projects, true).await?,
        ]);
    }
    let median = |pick: &dyn Fn(&[Round; 3]) -> f64| {
        let mut values: Vec<f64> = all.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let seconds = median(&|[operator, ..]| operator.seconds);
    let each = |other: usize| {
        let pairs = all.iter().map(|round| format!("{:.1}/{:.1}", round[0].seconds, round[other].seconds));
        pairs.collect::<Vec<_>>().join(", ")
    };
    let name = format!("{projects} projects at once, against the smallest client with the same writes");
    let detail = format!(
        "rounds {} s; processor time: API server {:.1}/{:.1} s, operator {:.1} s",
        each(1),
        median(&|[operator, ..]| operator.api_server),
        median(&|[_, yardstick, _]| yardstick.api_server),
        median(&|[operator, ..]| operator.operator)
    );
    let with_looks = format!(
        "rounds {} s; processor time of the API server {:.1} s",
        each(2),
        median(&|[.., looking]| looking.api_server)
    );
    Ok(vec![
        Figure::at_most(name, 1.3, median(&|[one, other, _]| one.seconds / other.seconds), "times")
            .of(detail),
        Figure::plain(
            "the same, against that client with the looks of the operator before its writes",
            median(&|[one, _, other]| one.seconds / other.seconds),
            "times",
        )
        .of(with_looks),
        Figure::plain("created per second", f64::from(projects) / seconds, "projects"),
    ])
}

/// All resources are there before the operator starts. From the first creation at Composio to the last Ready.
async fn by_operator(stage: &Stage, round: u32, projects: u32) -> anyhow::Result<Round> {
    let namespace = format!("team-operator-{round}");
    stage.add_namespace(&namespace).await?;
    let api: Api<ComposioProject> = Api::namespaced(stage.client.clone(), &namespace);
    stage.add_projects(names(&namespace, &format!("operator-{round}"), projects)).await?;
    let mut readiness = Readiness::follow(api);
    let (mark, clock) = (stage.control.mark(), (Instant::now(), jiff::Timestamp::now()));
    let operator = stage.start(Run { namespaces: &[&namespace], ..Run::default() }).await?;
    let api_server = stage.api_server_time()?;
    let end = readiness.until(projects, "operator:").await?;
    let api_server = stage.api_server_time()?.saturating_sub(api_server);
    let busy = processor_time(&operator.child)?;
    let created = stage.control.journal_since(mark);
    let first = created.iter().find(|entry| entry.operation == Some(Operation::Create));
    let first = first.context("a creation at the emulator")?.time;
    operator.stop().await?;
    let before_first = Duration::try_from(first.duration_since(clock.1))?;
    Ok(Round {
        seconds: end.duration_since(clock.0).saturating_sub(before_first).as_secs_f64(),
        api_server: api_server.as_secs_f64(),
        operator: busy.as_secs_f64(),
    })
}

/// The same resources with the same watch on them; `looks`: with the reads of the operator.
async fn by_yardstick(stage: &Stage, round: u32, projects: u32, looks: bool) -> anyhow::Result<Round> {
    let kind = if looks { "looking" } else { "yardstick" };
    let namespace = format!("team-{kind}-{round}");
    stage.add_namespace(&namespace).await?;
    let api: Api<ComposioProject> = Api::namespaced(stage.client.clone(), &namespace);
    stage.add_projects(names(&namespace, &format!("{kind}-{round}"), projects)).await?;
    let model = yardstick::Model::read(stage, &format!("team-operator-{round}")).await?;
    let mut readiness = Readiness::follow(api);
    let step = Step::new(format!("yardstick: {projects} projects"), projects);
    let (begun, api_server) = (Instant::now(), stage.api_server_time()?);
    yardstick::create(stage, &model, &namespace, looks, &step).await?;
    let end = readiness.until(projects, "yardstick:").await?;
    let api_server = stage.api_server_time()?.saturating_sub(api_server).as_secs_f64();
    Ok(Round { seconds: end.duration_since(begun).as_secs_f64(), api_server, operator: 0.0 })
}
