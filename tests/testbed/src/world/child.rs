//! The real binary as a child process: its signals, its probes, its log, its end.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use composio_operator::process::settings::{Election, LogFormat, Settings};
use kube::config::Kubeconfig;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;

use super::{PATIENCE, World};
use crate::canary::{assert_no_key, has_key};
use crate::controlplane::write_kubeconfig;
use crate::eventually::eventually;

/// Kills the child if the test binary is gone, however it has gone: then nobody holds the other end of the pipe.
const WATCH: &str = r#"read -r _ || kill -9 "$1""#;

/// Files in its directory: what it writes to standard error and to standard output.
const LOG: &str = "log";
const OUTPUT: &str = "output";

/// See the module. Killed on drop, and when the test binary ends in any other way. What it has said until then must hold
/// no key, or the drop fails the test.
pub struct Child {
    process: std::process::Child,
    watcher: std::process::Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

#[expect(clippy::expect_used, reason = "a child that cannot be made or signalled fails its test")]
impl Child {
    /// Starts `binary` with the settings of the world and this kubeconfig, and waits until it is ready.
    pub async fn start(binary: &str, world: &World, kubeconfig: &Kubeconfig) -> Self {
        Self::start_with(binary, &world.settings(), kubeconfig).await
    }

    /// The same with other settings.
    pub async fn start_with(binary: &str, settings: &Settings, kubeconfig: &Kubeconfig) -> Self {
        let mut child = Self::launch(binary, settings, kubeconfig).await;
        child.ready().await;
        child
    }

    /// Starts it and waits only until it serves its probes. It takes a free port of its own; the `http_address` of the
    /// settings does not count.
    pub async fn launch(binary: &str, settings: &Settings, kubeconfig: &Kubeconfig) -> Self {
        Self::launch_logging(binary, settings, kubeconfig, "trace").await
    }

    /// The same with another filter of the log, for a process that would write more than it works.
    pub async fn launch_logging(
        binary: impl AsRef<OsStr>,
        settings: &Settings,
        kubeconfig: &Kubeconfig,
        filter: &str,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("kubeconfig.yaml");
        write_kubeconfig(&path, kubeconfig).expect("a file");
        let mut command = Command::new(binary);
        command.env("KUBECONFIG", &path).env("RUST_LOG", filter);
        Self::run(command, settings, directory).await
    }

    /// Runs a command that ends in the operator, to which the flags of the settings are added; the rest as
    /// [`Child::launch`]. Where the API server is, the command knows.
    pub async fn launch_command(command: Command, settings: &Settings) -> Self {
        Self::run(command, settings, tempfile::tempdir().expect("a directory")).await
    }

    async fn run(mut command: Command, settings: &Settings, directory: tempfile::TempDir) -> Self {
        let [log, output] =
            [LOG, OUTPUT].map(|name| File::create(directory.path().join(name)).expect("a file"));
        let settings = Settings { http_address: ([127, 0, 0, 1], 0).into(), ..settings.clone() };
        let child = command
            .args(arguments(&settings))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(log)
            .spawn()
            .expect("the binary");
        let watcher = Command::new("/bin/sh")
            .args(["-c", WATCH, "testbed-watch", &child.id().to_string()])
            // Ctrl-C must not end it before the child.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("/bin/sh");
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut launched = Self { process: child, watcher, address, directory };
        launched.address = eventually("the binary serves its probes", PATIENCE, async || {
            launched.still_runs()?;
            launched.served_address().ok_or_else(|| format!("its log ends with {}", launched.log_tail()))
        })
        .await;
        launched
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&mut self) {
        eventually("the binary is ready", PATIENCE, async || {
            self.still_runs()?;
            match self.get("/readyz").await? {
                (200, _) => Ok(()),
                (_, text) => Err(text),
            }
        })
        .await;
    }

    /// Status code and body of `/livez`, `/readyz` or `/metrics`; an error where nobody answers.
    pub async fn get(&self, path: &str) -> Result<(u16, String), String> {
        let url = format!("http://{}{path}", self.address);
        let answer = super::get(&url).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.map_err(|error| error.to_string())?))
    }

    /// Where it serves its probes and metrics.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // It may have ended by itself; that is what the caller looks at next.
        let _ = kill_process(self.pid(), signal);
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.ended().await, None, "it ended by itself before it was killed: {}", self.log_tail());
    }

    /// Stops it with SIGSTOP and waits until all of its threads stand still. [`Child::thaw`] lets it go on.
    pub async fn freeze(&self) {
        self.signal(Signal::STOP);
        eventually("the binary stands still", PATIENCE, async || {
            match waitpid(Some(self.pid()), WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((_, status))) if status.stopped() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Lets it go on after [`Child::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for its end and returns its exit code; `None` where a signal has ended it.
    pub async fn ended(&mut self) -> Option<i32> {
        let child = &mut self.process;
        let status = eventually("the binary has ended", PATIENCE, async || {
            child.try_wait().map_err(|error| error.to_string())?.ok_or_else(|| "it runs".to_owned())
        })
        .await;
        status.code()
    }

    /// Whether what it has said until now holds a key: its log at TRACE, and its standard output.
    pub fn has_leaked(&self) -> bool {
        self.said().iter().any(|(_, text)| has_key(text))
    }

    fn said(&self) -> [(&'static str, Vec<u8>); 2] {
        [("the log", LOG), ("the standard output", OUTPUT)].map(|(what, name)| {
            (what, std::fs::read(self.directory.path().join(name)).expect("what it has said"))
        })
    }

    /// Whether its metrics hold a key.
    pub async fn has_leaked_in_metrics(&self) -> bool {
        let (_, page) = self.get("/metrics").await.expect("a metrics page");
        has_key(&page)
    }

    /// Its log until now, at TRACE.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.log_path()).expect("its log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until a complete line of its log contains this.
    pub async fn logs(&self, text: &str) {
        eventually(&format!("the binary logs {text:?}"), PATIENCE, async || {
            let log = self.log();
            let mut lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if lines.any(|line| line.contains(text)) { Ok(()) } else { Err(self.log_tail()) }
        })
        .await;
    }

    /// How it has ended; `None` while it runs.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    fn still_runs(&mut self) -> Result<(), String> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("it ended with {status}: {}", self.log_tail())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Where it says that it serves; in its log, because the port is the kernel's choice.
    fn served_address(&self) -> Option<SocketAddr> {
        let log = self.log();
        let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let mut addresses = lines.filter_map(|line| match serde_json::from_str::<Value>(line) {
            Ok(line) => line["http.address"].as_str().map(ToOwned::to_owned),
            // The format for people.
            Err(_) => line
                .split_whitespace()
                .find_map(|word| word.strip_prefix("http.address="))
                .map(ToOwned::to_owned),
        });
        addresses.next()?.parse().ok()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join(LOG)
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A stopped process takes a kill as well; one that has ended takes nothing.
        let _ = self.process.kill();
        let _ = self.process.wait();
        // A line instead of the end of the pipe: the watcher ends, and kills nobody who has got the number meanwhile.
        let _ = self.watcher.stdin.take().map(|mut pipe| pipe.write_all(b"\n"));
        let _ = self.watcher.wait();
        if !std::thread::panicking() {
            for (what, text) in self.said() {
                assert_no_key(&format!("{what} of the binary"), &text);
            }
        }
    }
}

/// The flags that say what `settings` say. Destructured without `..`, so that a new setting is not forgotten.
fn arguments(settings: &Settings) -> Vec<String> {
    let Settings {
        namespace,
        watch_namespaces,
        workers,
        http_address,
        log_format,
        request_timeout,
        settle_margin,
        observe_interval,
        sweep_interval,
        tombstone_retention,
        superseded_retention,
        shutdown_timeout,
        election,
    } = settings;
    let Election { leader_elect, lease_duration, renew_deadline, retry_period } = election;
    let flags = [
        ("--namespace", namespace.clone()),
        ("--watch-namespaces", watch_namespaces.join(",")),
        ("--workers", workers.to_string()),
        ("--http-address", http_address.to_string()),
        ("--log-format", log_format_name(*log_format).to_owned()),
        ("--request-timeout", milliseconds(*request_timeout)),
        ("--settle-margin", milliseconds(*settle_margin)),
        ("--observe-interval", milliseconds(*observe_interval)),
        ("--sweep-interval", milliseconds(*sweep_interval)),
        ("--tombstone-retention", milliseconds(*tombstone_retention)),
        ("--superseded-retention", milliseconds(*superseded_retention)),
        ("--shutdown-timeout", milliseconds(*shutdown_timeout)),
        ("--leader-elect", leader_elect.to_string()),
        ("--lease-duration", milliseconds(*lease_duration)),
        ("--renew-deadline", milliseconds(*renew_deadline)),
        ("--retry-period", milliseconds(*retry_period)),
    ];
    flags
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(flag, value)| format!("{flag}={value}"))
        .collect()
}

fn log_format_name(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
