//! Chaos for as long as one wants: the real operator over hundreds of projects, killed, stopped and cut off from the API
//! server and from Composio again and again; then a table of what has happened, and one line that says whether everything
//! came in order by itself. What happens is in `testbed::chaos`; this is its screen.
//!
//! ```text
//! cargo chaos --minutes 10
//! cargo chaos --minutes 10 --seed 42   # the same schedule again
//! ```

mod screen;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use testbed::chaos::{self, Length, Options};

use self::screen::Screen;

/// Runs the operator against a real Kubernetes control plane and an emulator of the Composio API while everything fails
/// that can, and says whether anything was lost, doubled or taken.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// How long there are faults; afterwards everything has to come in order, which takes a minute or two more
    #[arg(long, default_value_t = 10.0, value_name = "N", value_parser = minutes)]
    minutes: f64,
    /// Decides which faults come in which order [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// ComposioProjects at a time
    #[arg(long, default_value_t = 240, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=5_000))]
    projects: u16,
    /// Namespaces that they are in
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    namespaces: u16,
    /// The operator to run [default: the one of this directory, built now]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes: &f64| (0.1..=100_000.0).contains(minutes));
    minutes.ok_or_else(|| format!("{text:?} is not a number of minutes from 0.1 on"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let screen = Screen::new();
    match chaos(&Arguments::parse(), &screen).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            screen.verdict(false, &format!("chaos could not be made to its end: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn chaos(arguments: &Arguments, screen: &Screen) -> anyhow::Result<bool> {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => testbed::binary::built()?,
    };
    let options = Options {
        seed: arguments.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 % 1_000_000),
        length: Length::Time(Duration::from_secs_f64(arguments.minutes * 60.0)),
        projects: arguments.projects.into(),
        namespaces: arguments.namespaces.into(),
        binary,
    };
    Screen::begin(&options);
    let report = chaos::run(&options, |progress| screen.progress(&progress)).await;
    screen.end_of_progress();
    let report = report?;
    screen.show(&report);
    screen.verdict(report.is_good(), &report.verdict());
    Ok(report.is_good())
}
