//! How things are shown: headings, facts, tables. In colour on a terminal only.

use std::io::IsTerminal;

use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};

/// Standard output, and what it can show.
pub(crate) struct Screen {
    is_coloured: bool,
    /// Lines may be redrawn on standard error: it is a terminal, and nobody else writes to it.
    pub(crate) can_redraw: bool,
}

impl Screen {
    /// Looks at standard output and standard error. `is_shared`: logs go to standard error as well.
    pub(crate) fn new(is_shared: bool) -> Self {
        let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { is_coloured, can_redraw: std::io::stderr().is_terminal() && !is_shared }
    }

    pub(crate) fn heading(&self, text: &str) {
        println!("\n{}", self.bold(text));
    }

    /// A name and what there is to say about it.
    pub(crate) fn fact(&self, name: &str, value: &str) {
        // Padded before it is coloured: colours have a length, too.
        println!("  {}  {value}", self.faint(&format!("{name:<21}")));
    }

    /// A text of several lines, set off from the rest.
    pub(crate) fn quote(&self, text: &str) {
        for line in text.lines() {
            println!("  {} {line}", self.faint("|"));
        }
    }

    pub(crate) fn bold(&self, text: &str) -> String {
        self.styled(Style::new().bold(), text)
    }

    pub(crate) fn good(&self, text: &str) -> String {
        self.styled(AnsiColor::Green.on_default(), text)
    }

    pub(crate) fn bad(&self, text: &str) -> String {
        self.styled(AnsiColor::Red.on_default().bold(), text)
    }

    pub(crate) fn faint(&self, text: &str) -> String {
        self.styled(Style::new().dimmed(), text)
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.is_coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// A table with these columns; long cells are wrapped to the terminal.
pub(crate) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().copied());
    table
}
