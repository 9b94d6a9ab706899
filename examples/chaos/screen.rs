//! What a person sees: one line that is redrawn while it runs (on a terminal; otherwise a line now and then), the tables at
//! the end, and the verdict as the last line. In colour on a terminal only.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use testbed::chaos::{Options, Progress, Report};

/// Steps of the bar.
const WHOLE: u64 = 1_000;
/// Distance between two lines where nothing can be redrawn.
const LINES: Duration = Duration::from_secs(15);
/// How many problems are shown.
const MOST_PROBLEMS: usize = 50;

/// See the module.
pub(crate) struct Screen {
    is_coloured: bool,
    bar: Option<ProgressBar>,
    last_line: Cell<Option<Instant>>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(WHOLE), ProgressDrawTarget::stderr());
            // Only where the template is wrong; then the default has to do.
            let style = ProgressStyle::with_template("{elapsed_precise} {bar:24} {wide_msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { is_coloured, bar, last_line: Cell::new(None) }
    }

    pub(crate) fn begin(options: &Options) {
        let Options { seed, projects, namespaces, binary, .. } = options;
        println!("seed {seed}: {projects} projects in {namespaces} namespaces, {}", binary.display());
    }

    pub(crate) fn progress(&self, progress: &Progress) {
        let Progress { done, line } = progress;
        if let Some(bar) = &self.bar {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share from 0 to 1, for a bar"
            )]
            bar.set_position((done * WHOLE as f64) as u64);
            bar.set_message(line.clone());
        } else if self.last_line.get().is_none_or(|last| last.elapsed() >= LINES) {
            self.last_line.set(Some(Instant::now()));
            eprintln!("{:3.0} % {line}", done * 100.0);
        }
    }

    pub(crate) fn end_of_progress(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    pub(crate) fn show(&self, report: &Report) {
        let mut table = table();
        for (title, numbers) in &report.groups {
            table.add_row([self.styled(Style::new().bold(), title), String::new()]);
            for (name, number) in numbers {
                table.add_row([format!("  {name}"), number.to_string()]);
            }
        }
        table.add_row([self.styled(Style::new().bold(), "must be zero"), String::new()]);
        for (name, number) in report.zeros() {
            let colour = if number == 0 { AnsiColor::Green } else { AnsiColor::Red };
            table.add_row([format!("  {name}"), self.styled(colour.on_default(), &number.to_string())]);
        }
        println!("{table}");
        let problems = report.problems();
        for problem in problems.iter().take(MOST_PROBLEMS) {
            println!("{}", self.styled(AnsiColor::Red.on_default(), problem));
        }
        if problems.len() > MOST_PROBLEMS {
            println!("and {} more", problems.len() - MOST_PROBLEMS);
        }
    }

    pub(crate) fn verdict(&self, is_good: bool, text: &str) {
        let (word, colour) = if is_good { ("OK", AnsiColor::Green) } else { ("FAILED", AnsiColor::Red) };
        println!("{} {text}", self.styled(colour.on_default().bold(), word));
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.is_coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    if let Some(numbers) = table.add_row(["", ""]).column_mut(1) {
        numbers.set_cell_alignment(CellAlignment::Right);
    }
    table
}
