//! Which ComposioProjects are Ready, as a watch tells.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::Context as _;
use composio_operator::crd::ComposioProject;
use futures::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::screen::Step;
use super::stage::PATIENCE;

/// See the module.
pub(crate) struct Readiness {
    ready: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Readiness {
    /// Follows these projects from now on.
    pub(crate) fn follow(api: Api<ComposioProject>) -> Self {
        let (sender, ready) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut names = HashSet::new();
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
            while let Some(event) = events.next().await {
                // An error is followed by a new list.
                let Ok(Event::Apply(project) | Event::InitApply(project)) = event else { continue };
                if is_ready(&project) {
                    names.insert((project.namespace(), project.name_any()));
                    sender.send_replace(names.len());
                }
            }
        });
        Self { ready, task }
    }

    /// Waits until so many are Ready; gives the moment.
    pub(crate) async fn until(&mut self, count: u32, what: &str) -> anyhow::Result<Instant> {
        let step = Step::new(format!("{what} until {count} are Ready"), count);
        let wanted = usize::try_from(count)?;
        loop {
            let now = *self.ready.borrow_and_update();
            step.at(now);
            if now >= wanted {
                return Ok(Instant::now());
            }
            let changed = tokio::time::timeout(PATIENCE, self.ready.changed()).await;
            changed.with_context(|| format!("only {now} of {count} projects are Ready"))??;
        }
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_ready(project: &ComposioProject) -> bool {
    let Some(status) = &project.status else { return false };
    status.observed_generation == project.metadata.generation
        && status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
