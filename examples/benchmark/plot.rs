//! The growth of the fleet as a picture: four small plots over the number of projects.

use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Circle, DrawingArea, IntoDrawingArea, IntoLogRange, LineSeries, RGBColor, SVGBackend, WHITE,
};
use plotters::style::{Color, IntoFont};

use super::figure::Point;

const SIZE: (u32, u32) = (900, 620);
const LINE: RGBColor = RGBColor(0, 95, 175);
const SECOND: RGBColor = RGBColor(200, 90, 0);

type Picture<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Line<'a> = (&'a str, RGBColor, fn(&Point) -> f64);

/// Draws the picture; nothing without two sizes.
pub(crate) fn draw(path: &Path, points: &[Point]) -> anyhow::Result<()> {
    if points.len() < 2 {
        return Ok(());
    }
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let plots: [(&str, &[Line<'_>]); 4] = [
        (
            "Resident memory, MiB",
            &[
                ("after a restart", LINE, |point| point.memory_after_restart),
                ("after creation", SECOND, |point| point.memory_after_creation),
            ],
        ),
        ("From the resource to Ready, ms per project", &[("", LINE, |point| point.creation_milliseconds)]),
        ("Restart until all are looked at, s", &[("", LINE, |point| point.restart_seconds)]),
        ("Converged fleet, % of a processor", &[("", LINE, |point| point.idle_percent)]),
    ];
    for (area, (title, lines)) in root.split_evenly((2, 2)).iter().zip(plots) {
        plot(area, title, lines, points).map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))
}

fn plot(area: &Picture<'_>, title: &str, lines: &[Line<'_>], points: &[Point]) -> anyhow::Result<()> {
    let sizes = points.iter().map(|point| f64::from(point.projects));
    let (least, most) =
        sizes.fold((f64::MAX, 0.0_f64), |(least, most), size| (least.min(size), most.max(size)));
    let values = lines.iter().flat_map(|(_, _, of)| points.iter().map(of));
    let highest = values.fold(0.0_f64, f64::max) * 1.15;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 17).into_font())
        .margin(14)
        .x_label_area_size(32)
        .y_label_area_size(48)
        .build_cartesian_2d((least..most).log_scale(), 0.0..highest.max(f64::MIN_POSITIVE))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("projects")
        .x_label_formatter(&|size| format!("{size:.0}"))
        .y_labels(5)
        .draw()?;
    for (name, colour, of) in lines {
        let place = |point: &Point| (f64::from(point.projects), of(point));
        chart.draw_series(LineSeries::new(points.iter().map(place), colour.stroke_width(2)))?;
        let series =
            chart.draw_series(points.iter().map(|point| Circle::new(place(point), 4, colour.filled())))?;
        if !name.is_empty() {
            series.label(*name).legend(|(x, y)| Circle::new((x, y), 4, colour.filled()));
        }
    }
    if lines.len() > 1 {
        chart.configure_series_labels().background_style(WHITE).border_style(WHITE).draw()?;
    }
    Ok(())
}
