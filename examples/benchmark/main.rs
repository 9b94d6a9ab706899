//! Measures the operator: the release build as a process of its own, against a real Kubernetes control plane and an emulator
//! of the Composio API; a table of figures with their targets at the end.
//!
//! ```text
//! cargo benchmark                                   # everything, with 10,000 projects: about half an hour
//! cargo benchmark --quick                           # the same with small numbers: about two minutes
//! cargo benchmark --only restore --json figures.json
//! cargo benchmark --docs docs                       # docs/performance.svg, and the tables of docs/performance.md
//! ```
//!
//! `cargo benchmark` is short for `cargo run --profile bench --example benchmark --` (`.cargo/config.toml`).

mod create;
mod document;
mod figure;
mod fleet;
mod footprint;
mod machine;
mod plot;
mod readiness;
mod restore;
mod rotation;
mod screen;
mod stage;
mod sweep;
mod yardstick;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use self::figure::{Figure, Point, number};
use self::machine::Machine;
use self::stage::Subject;

/// Measures the operator and shows the figures with their targets.
#[derive(Debug, Parser)]
#[command(name = "benchmark")]
struct Arguments {
    /// Projects of the largest fleet; it grows to that size in three steps [default: 10000; 400 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=100_000))]
    projects: Option<u32>,
    /// What is measured, separated by commas [default: everything]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<Section>,
    /// Small numbers: to see that it works
    #[arg(long)]
    quick: bool,
    /// The figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes performance.svg and the tables of performance.md in this directory
    #[arg(long, value_name = "DIRECTORY")]
    docs: Option<PathBuf>,
    /// The operator to measure [default: the one of this directory, built now]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Calls and writes per created project
    Cost,
    /// Many projects at once, against the yardstick
    Bulk,
    /// A deleted Secret comes back
    Restore,
    /// All keys are revoked and replaced
    Rotation,
    /// A growing fleet: memory, restart, foreign Secrets, a revoked key
    Fleet,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    figures: Vec<Figure>,
    growth: Vec<Point>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the benchmark could not be made to its end: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => testbed::binary::built()?,
    };
    let mut machine = Machine::now(&binary);
    let subject = Subject { binary, kubernetes: OnceLock::new() };
    let (figures, growth) = figures(arguments, &subject).await?;
    machine.kubernetes = subject.kubernetes.into_inner().unwrap_or_default();
    let report = Report { machine, figures, growth };
    println!("{}", document::table(&report.figures));
    println!("{}", document::facts(&report.machine));
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if let Some(directory) = &arguments.docs {
        plot::draw(&directory.join("performance.svg"), &report.growth)?;
        document::write(&directory.join("performance.md"), &report)?;
    }
    Ok(())
}

async fn figures(arguments: &Arguments, subject: &Subject) -> anyhow::Result<(Vec<Figure>, Vec<Point>)> {
    let is_wanted = |section| arguments.only.is_empty() || arguments.only.contains(&section);
    let quick = arguments.quick;
    let (mut figures, mut growth) = (Vec::new(), Vec::new());
    if is_wanted(Section::Cost) {
        figures.extend(create::cost(subject, if quick { 20 } else { 100 }).await?);
    }
    if is_wanted(Section::Bulk) {
        let (projects, rounds) = if quick { (100, 1) } else { (1_000, 3) };
        figures.extend(create::bulk(subject, projects, rounds).await?);
    }
    if is_wanted(Section::Restore) {
        let (projects, deletions) = if quick { (10, 50) } else { (100, 1_000) };
        figures.extend(restore::measure(subject, projects, deletions).await?);
    }
    if is_wanted(Section::Rotation) {
        figures.extend(rotation::measure(subject, if quick { 20 } else { 500 }).await?);
    }
    if is_wanted(Section::Fleet) {
        let largest = arguments.projects.unwrap_or(if quick { 400 } else { 10_000 });
        let seconds = |long, short| Duration::from_secs(if quick { short } else { long });
        let size = fleet::Size {
            projects: vec![largest / 100, largest / 10, largest],
            foreign: if quick { 1_000 } else { 50_000 },
            idle: seconds(120, 20),
            revoked: seconds(60, 10),
        };
        let (more, points) = fleet::measure(subject, &size).await?;
        figures.extend(more);
        growth = points;
    }
    figures.push(size_of(&subject.binary)?);
    Ok((figures, growth))
}

fn size_of(binary: &Path) -> anyhow::Result<Figure> {
    let bytes = std::fs::metadata(binary)?.len();
    Ok(Figure::at_most("size of the binary", 15.0, number(bytes) / 1e6, "MB"))
}
