//! What was measured, for people: a table in the terminal, and the tables of `docs/performance.md`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use comfy_table::{ContentArrangement, Table, presets};

use super::Report;
use super::figure::Figure;
use super::machine::Machine;

const BEGIN: &str = "<!-- Written by cargo benchmark --docs docs; do not edit it. -->";
const END: &str = "<!-- End of what was written. -->";

/// The figures.
pub(crate) fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["Figure", "Target", "Measured", "Met", "Made of"]);
    for figure in figures {
        table.add_row([&figure.name, &figure.target, &figure.measured, figure.verdict(), &figure.detail]);
    }
    table
}

/// The machine.
pub(crate) fn facts(machine: &Machine) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.add_rows(machine.rows().map(|(name, value)| [name, value]));
    table
}

/// Writes what was measured into the document, between its two comments.
pub(crate) fn write(path: &Path, report: &Report) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let parts = text.split_once(BEGIN).zip(text.split_once(END));
    let ((before, _), (_, after)) = parts.context("a document with the two comments around its tables")?;
    let measured = measured(report)?;
    std::fs::write(path, format!("{before}{BEGIN}\n\n{measured}\n{END}{after}"))?;
    Ok(())
}

fn measured(report: &Report) -> anyhow::Result<String> {
    let mut text =
        String::from("| Figure | Target | Measured | Met | Made of |\n| --- | --- | --- | --- | --- |\n");
    for figure in &report.figures {
        let Figure { name, target, measured, detail, .. } = figure;
        writeln!(text, "| {name} | {target} | {measured} | {} | {detail} |", figure.verdict())?;
    }
    text.push_str(
        "\n| Projects | Created, each | Memory after creation | Memory after a restart | Restart | Idle |\n",
    );
    text.push_str("| --: | --: | --: | --: | --: | --: |\n");
    for point in &report.growth {
        writeln!(
            text,
            "| {} | {:.1} ms | {:.1} MiB | {:.1} MiB | {:.1} s | {:.2} % of a processor |",
            point.projects,
            point.creation_milliseconds,
            point.memory_after_creation,
            point.memory_after_restart,
            point.restart_seconds,
            point.idle_percent
        )?;
    }
    text.push_str("\n| Machine | |\n| --- | --- |\n");
    for (name, value) in report.machine.rows() {
        writeln!(text, "| {name} | {value} |")?;
    }
    Ok(text)
}
