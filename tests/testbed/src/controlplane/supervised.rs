//! A child process that cannot outlive this process, not even when this process is killed by SIGKILL.
//!
//! Between the two stands a small `sh` that holds the reading end of a pipe. While this process lives, the
//! pipe is open; when it ends in whatever way, the kernel closes the pipe, and the `sh` kills the child and
//! removes the data directory. `prctl(PR_SET_PDEATHSIG)` would do the same for Linux alone, but can only be
//! set with `unsafe`, and it follows the parent *thread*, which in a test run ends long before the process.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::programs::tail;

/// `$1`: log file; `$2`: directory to remove if the parent is gone; then the program and its arguments.
///
/// The watcher ignores SIGTERM once it acts, so that the last line (which only ends a watcher that has
/// nothing left to watch) cannot stop it half-way. It waits until the child is reaped: then nothing writes
/// into the directory any more. Each child of a control plane has its own watcher, so the last one finds
/// everything written.
const SCRIPT: &str = r#"
log=$1 dir=$2
shift 2
exec 3<&0
"$@" </dev/null >"$log" 2>&1 3<&- &
child=$!
echo "$child"
exec >/dev/null
{
    order=
    read -r order
    trap '' TERM
    kill -9 "$child"
    while kill -0 "$child"; do sleep 0.02; done
    [ "$order" = stop ] || rm -rf -- "$dir"
} <&3 2>/dev/null &
watcher=$!
exec 3<&-
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// A running program and the shell that watches over it. Dropping it kills the program.
#[derive(Debug)]
pub(crate) struct Supervised {
    shell: Child,
    pid: u32,
    log: PathBuf,
}

impl Supervised {
    /// Starts `program`. Its output goes to `log`; `data` is its working directory, and is removed if this
    /// process ends without [`Supervised`] having been dropped.
    pub(crate) fn spawn<S: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
        environment: &[(&str, &str)],
        log: PathBuf,
        data: &Path,
    ) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "testbed-watch"])
            .args([&log, data])
            .arg(std::path::absolute(program)?)
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(data)
            // Away from the terminal's process group: Ctrl-C must not end the watcher before its child.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = shell.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let pid = line
            .trim()
            .parse()
            .map_err(|_| io::Error::other(format!("/bin/sh did not start {}", program.display())))?;
        Ok(Self { shell, pid, log })
    }

    /// The process id of the program itself.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its output goes.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or `None` while it runs.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.shell.try_wait().ok().flatten()
    }

    /// The last `lines` lines of its output.
    pub(crate) fn log_tail(&self, lines: usize) -> String {
        tail(&fs::read(&self.log).unwrap_or_default(), lines)
    }
}

impl Supervised {
    /// Kills the program by SIGKILL and waits for its end; nothing happens where that has been done.
    pub(crate) fn kill(&mut self) {
        // SIGKILL on purpose: the data is thrown away, and SIGTERM would take the API server seconds.
        // An error means that the shell has ended, and with it the child.
        if let Some(mut pipe) = self.shell.stdin.take() {
            let _ended = pipe.write_all(b"stop\n");
        }
        let _reaped = self.shell.wait();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.kill();
    }
}
