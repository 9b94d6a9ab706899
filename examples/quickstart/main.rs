//! The whole thing in one go: a Kubernetes control plane, an emulator of the Composio API and the operator; the manifests
//! of `examples/` applied, followed to Ready, and what has come of them in tables. This file is the story; what its steps
//! do is in the modules.
//!
//! ```text
//! cargo run --example quickstart                        # stays up until Ctrl-C
//! cargo run --example quickstart -- --exit              # leaves with 0, or 1 and the reason
//! cargo run --example quickstart -- --kubeconfig FILE   # an existing cluster; nothing in it is ever deleted
//! ```

mod cluster;
mod follow;
mod guide;
mod manifests;
mod operator;
mod screen;
mod summary;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use testbed::emulator::{self, Control, Emulator, Organization, OrganizationOptions};
use tokio::signal::unix::{SignalKind, signal};

use self::cluster::Cluster;
use self::manifests::{Manifests, Target};
use self::operator::{Log, Running};
use self::screen::Screen;

/// Brings up a Kubernetes control plane, an emulator of the Composio API and the operator, applies the manifests of
/// examples/ and shows what comes of them. No account, no cluster and no network are needed.
#[derive(Debug, Parser)]
#[command(name = "quickstart")]
struct Arguments {
    /// Leave at the end instead of staying up until Ctrl-C: with exit code 0, or 1 and the reason
    #[arg(long)]
    exit: bool,
    /// Use the cluster of this kubeconfig instead of an own control plane. The definitions of both kinds and the
    /// namespaces composio-system and shop come into it and stay: nothing is ever deleted there
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Write the operator's log to standard error instead of a file
    #[arg(long)]
    logs: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let screen = Screen::new(arguments.logs);
    match Box::pin(quickstart(&arguments, &screen)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", screen.bad("quickstart failed:"));
            ExitCode::FAILURE
        }
    }
}

async fn quickstart(arguments: &Arguments, screen: &Screen) -> anyhow::Result<()> {
    let log = operator::start_log(arguments.logs)?;
    let manifests = Manifests::read()?;
    let mut stage = unless_interrupted(Box::pin(Stage::open(arguments, screen, &manifests, log))).await?;
    let outcome = unless_interrupted(stage.play(screen, manifests)).await;
    let is_interrupted = outcome.as_ref().is_err_and(anyhow::Error::is::<Interrupted>);
    if !arguments.exit && !is_interrupted {
        if let Err(error) = &outcome {
            println!("\n{} {error:#}", screen.bad("Not as it should be:"));
        }
        guide::show(screen, &stage);
        tokio::select! {
            interrupted = interrupted() => interrupted?,
            ended = stage.operator.ended() => ended.context("the operator ended")?,
        }
    }
    stage.close(screen).await?;
    outcome
}

/// Somebody has pressed Ctrl-C, or asked this process to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

async fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        interrupted = interrupted() => interrupted.and(Err(Interrupted.into())),
    }
}

/// What stands on the stage while the quickstart is up.
struct Stage {
    cluster: Cluster,
    namespaces: BTreeSet<String>,
    emulator: Emulator,
    control: Control,
    organization: Organization,
    operator: Running,
    log: Log,
}

impl Stage {
    /// Starts the three parts, in the order in which they need each other.
    async fn open(
        arguments: &Arguments,
        screen: &Screen,
        manifests: &Manifests,
        log: Log,
    ) -> anyhow::Result<Self> {
        screen.heading("Starting");
        let namespaces = manifests.namespaces();
        let cluster = match &arguments.kubeconfig {
            None => Cluster::embedded(screen).await?,
            Some(path) => Cluster::existing(path, screen, &namespaces).await?,
        };
        for namespace in &namespaces {
            cluster.create_namespace(namespace).await?;
        }
        let emulator = Emulator::start(emulator::Options::default()).await?;
        let control = emulator.control();
        let organization = control.add_organization(OrganizationOptions::named("quickstart"));
        screen.fact("Composio API", &format!("{} (an emulator, in memory)", emulator.url()));
        let watched = if cluster.is_embedded() { Vec::new() } else { manifests.project_namespaces() };
        let operator = Running::start(&cluster, &manifests.operator_namespace, &watched).await?;
        let scope = if watched.is_empty() { "all namespaces".to_owned() } else { watched.join(", ") };
        screen.fact("Operator", &format!("manages the projects of {scope}; its log: {log}"));
        Ok(Self { cluster, namespaces, emulator, control, organization, operator, log })
    }

    /// Applies the manifests, follows them, and shows what has come of them, also where that is not what it should be.
    async fn play(&mut self, screen: &Screen, manifests: Manifests) -> anyhow::Result<()> {
        let manifests = manifests.pointed_at(self.emulator.url(), &self.organization.key);
        let client = self.cluster.client.clone();
        screen.heading("The organization");
        let organization = manifests.apply_organization(&client, screen).await?;
        self.follow(organization, screen).await?;
        screen.heading("A manifest that is refused, as it should be");
        manifests.apply_refused(&client, screen).await?;
        screen.heading("The projects");
        let projects = manifests.apply_projects(&client, screen).await?;
        let followed = self.follow(projects, screen).await;
        let shown = summary::show(screen, self, &manifests).await;
        followed.and(shown)
    }

    async fn follow(&mut self, targets: Vec<Target>, screen: &Screen) -> anyhow::Result<()> {
        tokio::select! {
            followed = follow::until_ready(&self.cluster.client, targets, screen) => followed,
            ended = self.operator.ended() => ended.context("the operator ended"),
        }
    }

    async fn close(self, screen: &Screen) -> anyhow::Result<()> {
        self.operator.stop().await?;
        if let Some(stays) = self.cluster.what_stays(&self.namespaces) {
            println!("\n{}", screen.faint(&stays));
        }
        Ok(())
    }
}

async fn interrupted() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    Ok(())
}
