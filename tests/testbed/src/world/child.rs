//! The real binary as a child process: its signals, its log, its end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kube::config::Kubeconfig;
use rustix::process::{Pid, Signal, kill_process};

use super::World;
use super::canary::is_leak;
use crate::eventually::eventually;

/// See the module. Killed on drop.
pub struct Child {
    child: std::process::Child,
    directory: tempfile::TempDir,
}

#[expect(clippy::expect_used, reason = "a child that cannot be made or signalled fails its test")]
impl Child {
    /// Starts `binary` in the world, with this kubeconfig, and waits until it is ready.
    pub async fn start(binary: &str, world: &World, kubeconfig: &Kubeconfig) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("kubeconfig.json");
        std::fs::write(&path, serde_json::to_vec(kubeconfig).expect("a kubeconfig")).expect("a file");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let settings = world.settings();
        let log = File::create(directory.path().join("log")).expect("a file");
        let child = Command::new(binary)
            .env("KUBECONFIG", &path)
            .env("RUST_LOG", "trace")
            .args(["--namespace", &settings.namespace])
            .args(["--watch-namespaces", &settings.watch_namespaces.join(",")])
            .args(["--http-address", &port.to_string()])
            .args(["--request-timeout", &seconds(settings.request_timeout)])
            .args(["--settle-margin", &seconds(settings.settle_margin)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary");
        let mut started = Self { child, directory };
        let url = format!("http://{port}/readyz");
        eventually("the binary is ready", super::PATIENCE, async || {
            if let Some(status) = started.child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("it ended with {status}: {}", started.log_tail()));
            }
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
        })
        .await;
        started
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // It may have ended by itself; that is what the caller looks at next.
        let _ = kill_process(self.pid(), signal);
    }

    /// Waits for its end and returns its exit code; `None` where a signal has ended it.
    pub async fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let status = eventually("the binary has ended", super::PATIENCE, async || {
            child.try_wait().map_err(|error| error.to_string())?.ok_or_else(|| "it runs".to_owned())
        })
        .await;
        status.code()
    }

    /// Whether any line of its log at TRACE holds a key.
    pub fn has_leaked(&self) -> bool {
        let log = std::fs::read(self.log_path()).expect("its log");
        is_leak(&String::from_utf8_lossy(&log))
    }

    fn log_path(&self) -> PathBuf {
        Path::new(self.directory.path()).join("log")
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A stopped process takes a kill as well; one that has ended takes nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}
