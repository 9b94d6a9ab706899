//! The operator in this process, as its binary would run it, and where its log goes.

use std::fmt;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use composio_operator::process::Operator;
use composio_operator::process::settings::Cli;
use testbed::eventually::poll;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::cluster::Cluster;

/// How long the operator may take to become ready.
const PATIENCE: Duration = Duration::from_mins(1);
/// What is logged where `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,kube_client=warn,kube_runtime=warn";

/// Where the log goes.
pub(crate) enum Log {
    /// Into this file, which is kept.
    File(PathBuf),
    StandardError,
}

impl fmt::Display for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Log::File(path) => path.display().fmt(formatter),
            Log::StandardError => formatter.write_str("standard error"),
        }
    }
}

/// Starts logging, before anything can be logged.
pub(crate) fn start_log(to_standard_error: bool) -> anyhow::Result<Log> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let (log, started) = if to_standard_error {
        (Log::StandardError, builder.with_writer(std::io::stderr).try_init())
    } else {
        let name = format!("composio-operator-quickstart-{}.log", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        // New, so that it cannot be a link that somebody has put there.
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}; set TMPDIR", path.display()))?;
        (Log::File(path), builder.with_writer(Mutex::new(file)).try_init())
    };
    started.map_err(|error| anyhow::anyhow!("logs cannot be started: {error}"))?;
    Ok(log)
}

/// A running operator.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    /// Where /livez, /readyz and /metrics are.
    pub(crate) address: SocketAddr,
}

impl Running {
    /// Starts it with the defaults of its command line and waits until it is ready. `watched`: empty for all namespaces.
    pub(crate) async fn start(
        cluster: &Cluster,
        namespace: &str,
        watched: &[String],
    ) -> anyhow::Result<Self> {
        let watched = watched.join(",");
        let mut line = vec!["composio-operator", "--namespace", namespace, "--http-address", "127.0.0.1:0"];
        if !watched.is_empty() {
            line.extend(["--watch-namespaces", &watched]);
        }
        let settings = Cli::try_parse_from(line)?.run;
        let stop = CancellationToken::new();
        let operator = Operator::new(settings, cluster.client.clone(), stop.clone()).await?;
        let readiness = operator.readiness();
        let address = operator.http_address().context("the operator has no address for its metrics")?;
        let mut running = Self { stop, task: tokio::spawn(operator.run()), address };
        let ready = poll(PATIENCE, async || match readiness.closed().as_slice() {
            [] => Ok(()),
            closed => Err(format!("it waits for {}", closed.join(", "))),
        });
        tokio::select! {
            ready = ready => ready.map_err(|reason| anyhow::anyhow!("the operator is not ready: {reason}"))?,
            ended = running.ended() => ended.context("the operator ended")?,
        }
        Ok(running)
    }

    /// Waits until it ends by itself, which it should not: always an error.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.task).await.context("the operator panicked")??;
        anyhow::bail!("it has stopped without being asked to")
    }

    /// Shuts it down in good order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await.context("the operator panicked")?.context("the operator did not end well")
    }
}
