//! Facts of the machine and of the run, without which no figure means anything.

use std::path::Path;

use serde::Serialize;

/// See the module.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    /// When the measurement was begun.
    pub(crate) date: String,
    /// Processors that this process may use, and what they are.
    pub(crate) processors: String,
    /// Memory.
    pub(crate) memory: String,
    /// Operating system and kernel.
    pub(crate) kernel: String,
    /// Version of the API server.
    pub(crate) kubernetes: String,
    /// The operator that was measured.
    pub(crate) operator: String,
    /// How busy the machine was before the measurement.
    pub(crate) load: String,
}

impl Machine {
    /// Facts of now.
    pub(crate) fn now(binary: &Path) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let model = field("/proc/cpuinfo", "model name").unwrap_or_default();
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let memory = memory.split_whitespace().next().and_then(|kibibytes| kibibytes.parse::<f64>().ok());
        let load = read("/proc/loadavg");
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            processors: format!("{cores} ({model})"),
            memory: memory
                .map_or_else(String::new, |kibibytes| format!("{:.1} GiB", kibibytes / 1_048_576.0)),
            kernel: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
            kubernetes: String::new(),
            operator: format!("{}, {}", env!("CARGO_PKG_VERSION"), profile(binary)),
            load: load.split_whitespace().next().unwrap_or_default().to_owned(),
        }
    }

    /// Names and values, for people.
    pub(crate) fn rows(&self) -> [(&'static str, &str); 7] {
        let Self { date, processors, memory, kernel, kubernetes, operator, load } = self;
        [
            ("date", date),
            ("processors", processors),
            ("memory", memory),
            ("system", kernel),
            ("Kubernetes", kubernetes),
            ("operator", operator),
            ("load before (1 min)", load),
        ]
    }
}

fn profile(binary: &Path) -> &'static str {
    match binary.parent() {
        Some(directory) if directory.ends_with("debug") => "built for development: no figure counts",
        Some(directory) if directory.ends_with("release") => "release build",
        _ => "a binary that was given",
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
