//! What a process takes, as the kernel counts it in `/proc`.

use std::time::Duration;

use anyhow::Context as _;
use testbed::world::Child;

/// Length of a tick in `/proc/PID/stat`: fixed in the kernel's interface to programs.
const TICK: Duration = Duration::from_millis(10);

/// Memory of a process in MiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: f64,
    /// Resident at most until now.
    pub(crate) peak: f64,
}

/// Memory of the operator now.
pub(crate) fn memory(child: &Child) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid().as_raw_nonzero()))?;
    let mebibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        number.map(|kibibytes| kibibytes / 1024.0).with_context(|| format!("no {name} in /proc"))
    };
    Ok(Memory { resident: mebibytes("VmRSS:")?, peak: mebibytes("VmHWM:")? })
}

/// Processor time of the operator until now.
pub(crate) fn processor_time(child: &Child) -> anyhow::Result<Duration> {
    processor_time_of(child.pid().as_raw_nonzero().get().unsigned_abs())
}

/// The same of any process.
pub(crate) fn processor_time_of(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name, which may contain anything: state is the first field, utime the 12th, stime the 13th.
    let (_, fields) = stat.rsplit_once(')').context("an unknown form of /proc/PID/stat")?;
    let ticks = |at: usize| fields.split_whitespace().nth(at).and_then(|field| field.parse::<u32>().ok());
    let ticks = ticks(11).zip(ticks(12)).context("an unknown form of /proc/PID/stat")?;
    Ok(TICK * (ticks.0 + ticks.1))
}
