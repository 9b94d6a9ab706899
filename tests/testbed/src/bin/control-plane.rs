//! Starts a control plane for a person: prints how to reach it, and stays until Ctrl-C.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use testbed::controlplane::{ControlPlane, Options, Part};
use tokio::signal::unix::{SignalKind, signal};

/// Run a real Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager) on loopback.
///
/// The programs are looked for in KUBEBUILDER_ASSETS, on PATH and in the cache (TESTBED_CACHE); else they are
/// downloaded, or built with Go, once. There are no nodes, so Pods do not run. Everything is thrown away at the end.
#[derive(Debug, Parser)]
struct Arguments {
    /// A directory with CustomResourceDefinitions (*.yaml) to apply before it is ready
    #[arg(long, value_name = "DIR")]
    crds: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let crds = arguments.crds.as_deref().map(read_crds).transpose()?.unwrap_or_default();
    // Before the start: a signal from here on ends the wait, and the control plane goes with this process.
    let mut terminated = signal(SignalKind::terminate())?;
    let control_plane = tokio::select! {
        started = ControlPlane::start(Options::with_crds(crds)) => started?,
        _ = tokio::signal::ctrl_c() => return Ok(()),
        _ = terminated.recv() => return Ok(()),
    };
    print(&control_plane, &mut std::io::stdout().lock()).context("cannot write to standard output")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    control_plane.stop();
    Ok(())
}

/// How to reach it. Not with `println!`, which panics if nobody reads.
fn print(control_plane: &ControlPlane, out: &mut impl Write) -> std::io::Result<()> {
    let kubeconfig = control_plane.kubeconfig_path();
    writeln!(out, "kubeconfig: {}", kubeconfig.display())?;
    writeln!(out, "server: {}", control_plane.url())?;
    for part in Part::ALL {
        let log = control_plane.log_path(part).display();
        writeln!(out, "{}: pid {}, log {log}", part.name(), control_plane.pid(part))?;
    }
    writeln!(out, "\nexport KUBECONFIG={}\n\nCtrl-C ends it.", kubeconfig.display())
}

/// All definitions of a directory; a file may have several documents.
fn read_crds(dir: &Path) -> anyhow::Result<Vec<CustomResourceDefinition>> {
    let mut files = std::fs::read_dir(dir)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("cannot read the directory {}", dir.display()))?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"));
    files.sort();
    anyhow::ensure!(!files.is_empty(), "{} has no *.yaml files", dir.display());
    let mut crds = Vec::new();
    for file in files {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let documents: Vec<CustomResourceDefinition> = serde_saphyr::from_multiple(&text)
            .with_context(|| format!("{} is not a CustomResourceDefinition", file.display()))?;
        crds.extend(documents);
    }
    Ok(crds)
}
