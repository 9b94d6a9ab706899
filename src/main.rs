//! Parses the settings, installs the crypto provider, runs, and says with which code it ends.

use std::process::ExitCode;

use clap::Parser;
use composio_operator::process::settings::{Cli, Command};
use composio_operator::process::{init_logs, print_crds, release, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Crds { out }) => print_crds(out.as_deref()),
        Some(Command::Release(settings)) => runtime().and_then(|runtime| runtime.block_on(release(settings))),
        Some(Command::Run(settings)) => operate(*settings),
        None => operate(cli.run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("composio-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn operate(settings: composio_operator::process::settings::Settings) -> anyhow::Result<()> {
    init_logs(settings.log_format)?;
    runtime()?.block_on(run(settings))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // One provider in the process, or TLS panics at the first handshake; an error means that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread: the operator waits and hardly computes, and each thread more would keep memory of its own.
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
