//! What a person sees meanwhile: one line that is redrawn (on a terminal; otherwise a line at each step).

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// One step of a measurement, with its progress; gone when it is dropped.
pub(crate) struct Step(ProgressBar);

impl Step {
    /// Begins a step of so many parts.
    pub(crate) fn new(what: impl Into<String>, parts: u32) -> Self {
        let what = what.into();
        if !std::io::stderr().is_terminal() {
            eprintln!("{what}");
        }
        let bar = ProgressBar::new(parts.into()).with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {bar:24} {pos}/{len} {wide_msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// So many parts are done.
    pub(crate) fn at(&self, done: usize) {
        self.0.set_position(done as u64);
    }

    /// One more part is done.
    pub(crate) fn one_more(&self) {
        self.0.inc(1);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
