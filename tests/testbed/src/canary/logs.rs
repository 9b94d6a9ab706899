//! Every log line of the test binary, at TRACE.

use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::{has_key, without_keys};

static LEAKS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LINES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Logs at TRACE that held a marker, with the marker taken out.
pub(crate) fn leaks_in_logs() -> Vec<String> {
    LEAKS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// How many log lines were searched so far.
pub(crate) fn lines_searched() -> u64 {
    LINES.load(std::sync::atomic::Ordering::Relaxed)
}

/// Sends every log line of this process at TRACE into the search; with `TESTBED_LOG=text` also to standard error.
pub fn capture_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_env_filter(EnvFilter::new("trace")).with_ansi(false);
        // Another subscriber is there already: then nothing is searched, which the check of the lines notices.
        let _ = subscriber.with_writer(Search).try_init();
    });
}

struct Search;

impl<'a> MakeWriter<'a> for Search {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

/// One line; searched when it is complete.
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        LINES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let line = String::from_utf8_lossy(&self.0);
        if has_key(&self.0) {
            LEAKS.lock().unwrap_or_else(PoisonError::into_inner).push(without_keys(&line));
        }
        let is_ours = ["composio_operator", "WARN", "ERROR"].iter().any(|word| line.contains(word));
        if is_ours && std::env::var_os("TESTBED_LOG").is_some() && !line.contains("TRACE") {
            eprint!("{line}");
        }
    }
}
