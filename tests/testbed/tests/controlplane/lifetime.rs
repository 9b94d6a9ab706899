//! How a control plane begins and ends: nothing outlives its owner, and a failed start says why.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kube::api::{ListParams, PostParams};
use kube::config::Kubeconfig;
use rustix::process::{Pid, Signal, test_kill_process};
use testbed::controlplane::{ControlPlane, Error, Options, Part, client_for};
use testbed::eventually::eventually;

use crate::finder::Machine;
use crate::{SOON, definition, objects};

/// A control plane that was started by another process.
struct Foreign {
    data: PathBuf,
    pids: Vec<i32>,
}

impl Foreign {
    /// Reads what `control-plane` prints: the path of the kubeconfig, and the process ids.
    fn read(output: &mut impl BufRead) -> anyhow::Result<Self> {
        let (mut data, mut pids) = (None, Vec::new());
        for line in output.lines() {
            let line = line?;
            if let Some(path) = line.strip_prefix("kubeconfig: ") {
                data = Path::new(path).parent().map(Path::to_path_buf);
            }
            if let Some((_, rest)) = line.split_once(": pid ") {
                pids.push(rest.split(',').next().unwrap_or_default().parse()?);
            }
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
        anyhow::ensure!(pids.len() == Part::ALL.len(), "process ids were printed: {pids:?}");
        let data = data.ok_or_else(|| anyhow::anyhow!("no kubeconfig was printed"))?;
        Ok(Self { data, pids })
    }

    /// Checks that it works, as a person with the printed kubeconfig would.
    async fn serves_gadgets(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.pids.iter().all(|pid| is_alive(*pid)), "all programs run");
        let client = client_for(Kubeconfig::read_from(self.data.join("kubeconfig"))?).await?;
        objects(&client, "default", "Gadget").list(&ListParams::default()).await?;
        Ok(())
    }

    /// What is left of it, or `Ok`.
    fn gone(&self) -> Result<(), String> {
        let alive: Vec<i32> = self.pids.iter().copied().filter(|pid| is_alive(*pid)).collect();
        if alive.is_empty() && !self.data.exists() {
            return Ok(());
        }
        Err(format!("alive: {alive:?}; data directory there: {}", self.data.exists()))
    }
}

fn is_alive(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
}

#[tokio::test]
async fn nothing_outlives_a_parent_that_is_killed() -> anyhow::Result<()> {
    let crds = tempfile::tempdir()?;
    std::fs::write(
        crds.path().join("gadgets.yaml"),
        serde_saphyr::to_string(&definition("gadgets", "Gadget")?)?,
    )?;
    let mut parent = Command::new(env!("CARGO_BIN_EXE_control-plane"))
        .arg("--crds")
        .arg(crds.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = parent.stdout.take().ok_or_else(|| anyhow::anyhow!("no output"))?;
    let mut output = BufReader::new(output);
    let reading = tokio::task::spawn_blocking(move || (Foreign::read(&mut output), output));
    // The pipe stays open until the end: the parent must die of the signal and of nothing else.
    let (started, _output) = reading.await?;
    let served = match &started {
        Ok(started) => started.serves_gadgets().await,
        Err(error) => Err(anyhow::anyhow!("{error}")),
    };
    parent.kill()?;
    assert_eq!(parent.wait()?.signal(), Some(Signal::KILL.as_raw()));
    served?;
    let started = started?;
    eventually("programs and data are gone", SOON, async || started.gone()).await;
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_is_restarted_is_at_the_same_place_with_the_same_objects() -> anyhow::Result<()> {
    let mut control_plane =
        ControlPlane::start(Options::with_crds([definition("gadgets", "Gadget")?])).await?;
    let client = control_plane.client().await?;
    let api = objects(&client, "default", "Gadget");
    let gadget = serde_json::from_value(serde_json::json!({
        "apiVersion": "testbed.example.com/v1", "kind": "Gadget", "metadata": {"name": "one"}
    }))?;
    api.create(&PostParams::default(), &gadget).await?;
    let (url, pid) = (control_plane.url().to_owned(), control_plane.pid(Part::ApiServer));
    control_plane.restart_api_server().await?;
    assert_eq!(control_plane.url(), url);
    assert_ne!(control_plane.pid(Part::ApiServer), pid);
    // It is ready a moment before it serves all kinds.
    let found =
        eventually("the object is there", SOON, async || api.get("one").await.map_err(|e| e.to_string()));
    assert_eq!(found.await.metadata.name.as_deref(), Some("one"));
    Ok(())
}

#[tokio::test]
async fn a_panic_of_its_owner_ends_it() -> anyhow::Result<()> {
    let (sender, started) = tokio::sync::oneshot::channel();
    let owner = tokio::spawn(async move {
        let control_plane = ControlPlane::start(Options::default()).await.unwrap();
        let pids = Part::ALL.iter().map(|part| control_plane.pid(*part).cast_signed()).collect();
        let data = control_plane.data_dir().to_path_buf();
        sender.send(Foreign { data, pids }).ok();
        panic!("a test fails");
    });
    let started = started.await?;
    assert!(owner.await.unwrap_err().is_panic());
    assert_eq!(started.gone(), Ok(()));
    Ok(())
}

#[test]
fn a_long_step_and_its_failure_are_shown_where_there_is_no_terminal() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    machine.put_go()?;
    machine.let_go_build()?;
    let output = Command::new(env!("CARGO_BIN_EXE_control-plane"))
        .env_remove("KUBEBUILDER_ASSETS")
        .env("PATH", machine.dir("path"))
        .env("TESTBED_CACHE", machine.dir("cache"))
        .env("TESTBED_DOWNLOAD", "never")
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(!output.status.success(), "what the fake go built is no control plane");
    assert!(said.contains("testbed: building Kubernetes v"), "{said}");
    assert!(said.contains("error: etcd ended during start-up"), "{said}");
    let logs = said.lines().find_map(|line| line.strip_prefix("full logs: ")).unwrap_or_default();
    std::fs::remove_dir_all(Path::new(logs).parent().unwrap_or(Path::new(logs)))?;
    Ok(())
}

/// Options whose programs are these shell scripts.
fn scripted(dir: &Path, etcd: &str) -> anyhow::Result<Options> {
    for part in Part::ALL {
        let script = if part == Part::Etcd { etcd } else { "exit 1" };
        let path = dir.join(part.name());
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    let mut options = Options::default();
    options.finder.assets_dir = Some(dir.to_path_buf());
    Ok(options)
}

#[tokio::test]
async fn a_program_that_ends_at_once_is_reported_with_its_log_which_is_kept() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let error =
        ControlPlane::start(scripted(dir.path(), "echo the disk is on fire; exit 7")?).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("etcd ended") && text.contains("the disk is on fire"), "{text}");
    let Error::Ended { logs, .. } = error else { anyhow::bail!("another error: {text}") };
    assert!(std::fs::read_to_string(logs.join("etcd.log"))?.contains("the disk is on fire"));
    let data = logs.parent().ok_or_else(|| anyhow::anyhow!("logs without a parent"))?;
    assert_eq!(std::fs::read_dir(data)?.count(), 1, "only the logs are kept");
    std::fs::remove_dir_all(data)?;
    Ok(())
}

#[tokio::test]
async fn a_program_that_never_gets_ready_is_given_up_and_killed() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let pid_file = dir.path().join("pid");
    let script = format!("echo $$ >{}; echo still thinking; exec sleep 1000", pid_file.display());
    let mut options = scripted(dir.path(), &script)?;
    options.start_within = Duration::from_secs(1);
    let error = ControlPlane::start(options).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("etcd was not ready after 1 s") && text.contains("still thinking"), "{text}");
    let pid: i32 = std::fs::read_to_string(pid_file)?.trim().parse()?;
    assert!(!is_alive(pid), "it was killed");
    let Error::NotReady { logs, .. } = error else { anyhow::bail!("another error: {text}") };
    std::fs::remove_dir_all(logs.parent().unwrap_or(&logs))?;
    Ok(())
}

#[tokio::test]
async fn a_lost_port_is_tried_again_with_another_one_but_not_for_ever() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let attempts = dir.path().join("attempts");
    let script = format!(
        "for flag; do case $flag in --listen-client-urls=*) echo $flag >>{};; esac; done\n\
         echo listen tcp: bind: address already in use; exit 1",
        attempts.display()
    );
    let error = ControlPlane::start(scripted(dir.path(), &script)?).await.unwrap_err();
    let attempts = std::fs::read_to_string(attempts)?;
    let ports: std::collections::BTreeSet<&str> = attempts.lines().collect();
    assert!(matches!(error, Error::Ports { attempts: 5, .. }), "{error}");
    assert_eq!((attempts.lines().count(), ports.len()), (5, 5), "{attempts}");
    Ok(())
}
