//! Shows that something long is going on: one line that is redrawn on a terminal, a plain line now and then
//! elsewhere.
//!
//! It writes to stderr itself, not through the print macros, because the test harness swallows those, and a
//! build of ten minutes must not look like a hang.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a plain line appears where stderr is not a terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

/// One long step. Ends with [`Progress::done`]; dropping it ends the display without a word.
pub(crate) struct Progress {
    what: String,
    started: Instant,
    detail: Arc<Mutex<String>>,
    display: Display,
}

enum Display {
    Nothing,
    Line(ProgressBar),
    Plain { stop: Option<Sender<()>>, thread: Option<JoinHandle<()>> },
}

impl Progress {
    /// Says on stderr that `what` begins; if not `shown`, it stays silent to the end.
    pub(crate) fn start(what: impl Into<String>, shown: bool) -> Self {
        let what = what.into();
        let started = Instant::now();
        let detail = Arc::new(Mutex::new(String::new()));
        let display = if !shown {
            Display::Nothing
        } else if std::io::stderr().is_terminal() {
            Display::Line(line(&what))
        } else {
            say(&format!("{what} ..."));
            plain(what.clone(), started, Arc::clone(&detail))
        };
        Self { what, started, detail, display }
    }

    /// Replaces the words after the name of the step.
    pub(crate) fn detail(&self, text: impl Into<String>) {
        let text = text.into();
        if let Display::Line(bar) = &self.display {
            bar.set_message(text.clone());
        }
        *locked(&self.detail) = text;
    }

    /// Ends the display with a line that stays.
    pub(crate) fn done(self, outcome: &str) {
        let line = format!("{}: {outcome} ({})", self.what, elapsed(self.started.elapsed()));
        let shown = !matches!(self.display, Display::Nothing);
        drop(self);
        if shown {
            say(&line);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        match &mut self.display {
            Display::Nothing => {}
            Display::Line(bar) => bar.finish_and_clear(),
            Display::Plain { stop, thread } => {
                drop(stop.take());
                let _ended = thread.take().map(JoinHandle::join);
            }
        }
    }
}

/// Writes one line to stderr; where that is not possible, nobody is reading.
fn say(line: &str) {
    let _unread = writeln!(std::io::stderr(), "testbed: {line}");
}

fn line(what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(format!("testbed: {what}"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn plain(what: String, started: Instant, detail: Arc<Mutex<String>>) -> Display {
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        while stopped.recv_timeout(PLAIN_EVERY) == Err(RecvTimeoutError::Timeout) {
            say(&format!("{what}: {} so far; {}", elapsed(started.elapsed()), locked(&detail)));
        }
    });
    Display::Plain { stop: Some(stop), thread: Some(thread) }
}

fn locked(detail: &Mutex<String>) -> MutexGuard<'_, String> {
    detail.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `75 s` is `1 min 15 s`.
fn elapsed(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}
