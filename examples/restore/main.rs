//! How long a published Secret is away after somebody has deleted it: a control plane, an emulator of the Composio API and
//! the operator in this process; projects; then one deletion after another, each measured from the API server's answer to
//! the watch that tells of the restored Secret.
//!
//! ```text
//! cargo run --release --example restore                              # 1,000 deletions over 100 projects
//! cargo run --release --example restore -- --deletions 50 --json     # the figures as JSON, on standard output
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::emulator::Operation;
use testbed::world::World;

/// How long one restoration may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);
const KEY: &str = "COMPOSIO_API_KEY";

/// Measures how long a published Secret is away after it was deleted.
#[derive(Debug, Parser)]
#[command(name = "restore")]
struct Arguments {
    /// How many Secrets are deleted, one after another
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    deletions: u32,
    /// How many projects there are; they take turns
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    projects: u32,
    /// The figures as JSON on standard output, instead of a table
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("restore failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    eprintln!("starting a control plane, an emulator and the operator");
    let world = World::start().await;
    let keys = projects(&world, arguments.projects).await?;
    let mark = world.control.mark();
    let mut times = deletions(&world, &keys, arguments.deletions).await?;
    times.sort_unstable();
    let organization = &world.organization.id;
    let figures = Figures {
        times,
        projects: arguments.projects,
        regenerates: world.control.count(organization, Operation::Regenerate),
        calls: world.calls_since(mark).len(),
    };
    figures.show(arguments.json)?;
    world.finish(&[]).await;
    ensure!(figures.regenerates == 0, "{} keys were issued anew", figures.regenerates);
    Ok(())
}

/// Makes the projects; gives the key of each Secret.
async fn projects(world: &World, count: u32) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let bar = bar(count, "projects");
    let mut keys = BTreeMap::new();
    for number in 0..count {
        world.apply(&format!("shop-{number}"), json!({})).await;
    }
    for number in 0..count {
        let name = format!("shop-{number}");
        world.ready(&name).await;
        let key = world.entry(&name, KEY).await.context("a Ready project without a key")?;
        keys.insert(name, key.into_bytes());
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(keys)
}

/// Deletes one Secret after another and waits for each to come back with its key.
async fn deletions(
    world: &World,
    keys: &BTreeMap<String, Vec<u8>>,
    count: u32,
) -> anyhow::Result<Vec<Duration>> {
    let bar = bar(count, "deletions");
    let mut times = Vec::new();
    for (name, key) in keys.iter().cycle().take(usize::try_from(count)?) {
        times.push(
            tokio::time::timeout(PATIENCE, one(&world.secrets(), name, key)).await.with_context(|| {
                format!("Secret {name} did not come back within {} s", PATIENCE.as_secs())
            })??,
        );
        bar.inc(1);
    }
    bar.finish_and_clear();
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

fn bar(length: u32, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length.into()).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {pos}/{len} {wide_bar} {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// What was measured; times in order.
struct Figures {
    times: Vec<Duration>,
    projects: u32,
    regenerates: usize,
    calls: usize,
}

impl Figures {
    /// The time that so many per mille of the deletions did not exceed.
    fn per_mille(&self, per_mille: usize) -> f64 {
        let place = (self.times.len() * per_mille).div_ceil(1000).max(1) - 1;
        self.times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }

    fn show(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            let figures = json!({
                "deletions": self.times.len(), "projects": self.projects,
                "p50Milliseconds": self.per_mille(500), "p90Milliseconds": self.per_mille(900),
                "p99Milliseconds": self.per_mille(990), "maxMilliseconds": self.per_mille(1000),
                "regenerates": self.regenerates, "calls": self.calls,
            });
            println!("{}", serde_json::to_string_pretty(&figures)?);
            return Ok(());
        }
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
        table.set_header(["Secret deleted → restored", ""]);
        table.add_row([
            "deletions".to_owned(),
            format!("{} over {} projects", self.times.len(), self.projects),
        ]);
        for (name, per_mille) in [("p50", 500), ("p90", 900), ("p99", 990), ("longest", 1000)] {
            table.add_row([name.to_owned(), format!("{:.1} ms", self.per_mille(per_mille))]);
        }
        table.add_row(["keys issued anew".to_owned(), self.regenerates.to_string()]);
        table.add_row(["other calls to Composio".to_owned(), self.calls.to_string()]);
        println!("{table}");
        Ok(())
    }
}
