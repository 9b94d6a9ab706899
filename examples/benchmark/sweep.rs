//! Sweeps over the organization of a large fleet: how many calls one takes, and how soon a project that is new while one is
//! under way is Ready.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kube::Api;
use testbed::emulator::{Entry, Operation};

use super::create::names;
use super::figure::{Figure, number};
use super::readiness::Readiness;
use super::screen::Step;
use super::stage::{PATIENCE, Run, Stage};

/// Namespace of the projects that are new.
const NAMESPACE: &str = "team-late";
/// Projects that come during a sweep, each during another one.
const LATE: u32 = 5;
/// Most items of one page (API 12).
const PAGE: usize = 50;

/// See the module; the operator does not run yet, and has to look at so many projects when it starts.
pub(crate) async fn measure(stage: &Stage, projects: u32) -> anyhow::Result<Vec<Figure>> {
    stage.add_namespace(NAMESPACE).await?;
    let operator = stage.start(Run { flags: &["--sweep-interval=10s"], ..Run::default() }).await?;
    let mut readiness = Readiness::follow(Api::namespaced(stage.client.clone(), NAMESPACE));
    let asked = Instant::now();
    stage.add_projects(names(NAMESPACE, "early", 1)).await?;
    let early = readiness.until(1, "behind the first looks:").await?.duration_since(asked);
    operator.until_passes(projects, &Step::new("before the sweeps", projects)).await?;
    let (mut sweeps, mut times) = (Vec::new(), Vec::new());
    let step = Step::new("sweeps, and a new project during each", LATE);
    for project in names(NAMESPACE, "late", LATE) {
        let expected = stage.control.projects(&stage.organization.id).len().div_ceil(PAGE);
        let before = begun(stage).await?;
        let asked = Instant::now();
        stage.add_projects(vec![project]).await?;
        // The early one is Ready already.
        let ready = readiness.until(u32::try_from(times.len() + 2)?, "during a sweep:").await?;
        times.push((ready.duration_since(asked).as_secs_f64(), pages(stage, before).len() < expected));
        sweeps.push((calls(stage, before).await?, expected));
        step.one_more();
    }
    operator.stop().await?;
    let most = sweeps.iter().map(|(calls, expected)| number(*calls) / number(*expected)).fold(0.0, f64::max);
    let (calls, expected) = sweeps.last().copied().unwrap_or_default();
    let meanwhile = times.iter().filter(|(_, is_meanwhile)| *is_meanwhile).count();
    let longest = times.iter().map(|(seconds, _)| *seconds).fold(0.0, f64::max);
    let each: Vec<_> = times.iter().map(|(seconds, _)| format!("{:.0}", seconds * 1000.0)).collect();
    Ok(vec![
        Figure::at_most("calls of a sweep, against ⌈projects / 50⌉", 1.0, most, "times")
            .of(format!("the last of {}: {calls} calls, expected {expected}", sweeps.len())),
        Figure::at_most("a project that is new during a sweep is Ready after", 1.0, longest, "s")
            .of(format!("{} ms; {meanwhile} of {LATE} before the sweep was over", each.join(", "))),
        Figure::plain(
            "the same, while a process that has just started looks at all the others",
            early.as_secs_f64(),
            "s",
        ),
    ])
}

/// Pages that were asked for since; not the probes, which ask for one item.
fn pages(stage: &Stage, since: u64) -> Vec<Entry> {
    let mut calls = stage.control.journal_since(since);
    calls.retain(|call| call.operation == Some(Operation::List) && !call.path.ends_with("limit=1"));
    calls
}

fn is_first(page: &Entry) -> bool {
    !page.path.contains("cursor=")
}

/// Waits until a sweep begins; gives the mark before its first page.
async fn begun(stage: &Stage) -> anyhow::Result<u64> {
    let (mark, started) = (stage.control.mark(), Instant::now());
    loop {
        if let Some(first) = pages(stage, mark).iter().find(|page| is_first(page)) {
            return Ok(first.sequence - 1);
        }
        ensure!(started.elapsed() < PATIENCE, "no sweep begins");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until the next sweep begins; gives the calls of the one before it.
async fn calls(stage: &Stage, before: u64) -> anyhow::Result<usize> {
    let started = Instant::now();
    loop {
        let pages = pages(stage, before);
        let mut firsts = pages.iter().enumerate().filter(|(_, page)| is_first(page)).map(|(at, _)| at);
        firsts.next().context("the first page of a sweep")?;
        if let Some(end) = firsts.next() {
            return Ok(end);
        }
        ensure!(started.elapsed() < PATIENCE, "no other sweep begins");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
