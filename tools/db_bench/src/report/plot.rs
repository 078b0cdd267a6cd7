//! `--plot`: throughput, p99 and what compaction owes, over time, one above the other.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::failure::{Failure, Outcome};
use crate::measure::{Course, Point};

const SIZE: (u32, u32) = (1200, 1000);
const MIB: f64 = (1 << 20) as f64;
/// A colour a benchmark, in turn.
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 95, 14),
    RGBColor(44, 140, 44),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(190, 60, 60),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Writes the SVG.
pub(crate) fn plot(path: &Path, course: &Course) -> Outcome<()> {
    let failed = |e: Box<dyn Error>| Failure(format!("cannot plot to {}: {e}", path.display()));
    let mut svg = String::new();
    draw(&mut svg, course).map_err(failed)?;
    std::fs::write(path, svg).map_err(|e| Failure::io("write", path, &e))
}

fn draw(svg: &mut String, course: &Course) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let areas = root.split_evenly((4, 1));
    let [throughput, p99, files, pending] = &areas[..] else {
        return Err("four areas expected".into());
    };
    chart(throughput, course, "throughput (operations/s)", true, &|point| {
        Some(point.ops_per_second)
    })?;
    chart(p99, course, "p99 latency (microseconds)", false, &|point| {
        point.p99
    })?;
    chart(files, course, "level-0 files", false, &|point| {
        Some(point.level_0_files as f64)
    })?;
    chart(pending, course, "pending compaction (MiB)", false, &|point| {
        Some(point.pending_bytes as f64 / MIB)
    })?;
    root.present()?;
    Ok(())
}

/// A number on an axis: with its thousands set apart, and decimals only where it has any.
fn tick(number: &f64) -> String {
    // Ticks are sums of steps, and so a little off.
    let rounded = (number * 1000.0).round() / 1000.0;
    if rounded.fract() != 0.0 && rounded.abs() < 100.0 {
        return format!("{rounded}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn chart(
    area: &Area<'_>,
    course: &Course,
    title: &str,
    legend: bool,
    value: &dyn Fn(&Point) -> Option<f64>,
) -> Result<(), Box<dyn Error>> {
    let points = || course.benchmarks.iter().flat_map(|(_, points)| points);
    let end = points().map(|point| point.seconds).fold(0.0, f64::max).max(0.1);
    let top = points().filter_map(value).fold(0.0, f64::max).max(1.0) * 1.05;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .x_label_formatter(&tick)
        .y_label_formatter(&tick)
        .max_light_lines(1)
        .draw()?;
    for ((name, points), colour) in course.benchmarks.iter().zip(COLOURS.iter().cycle()) {
        let line = points
            .iter()
            .filter_map(|point| Some((point.seconds, value(point)?)));
        let drawn = chart.draw_series(LineSeries::new(line, *colour))?;
        if legend {
            let colour = *colour;
            drawn
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        }
    }
    if legend && !course.benchmarks.is_empty() {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_readable() {
        assert_eq!([tick(&0.0), tick(&0.5), tick(&350.0)], ["0", "0.5", "350"]);
        assert_eq!(
            [tick(&0.300_000_000_000_000_04), tick(&0.999_999_999)],
            ["0.3", "1"]
        );
        assert_eq!([tick(&1000.0), tick(&1_250_000.0)], ["1,000", "1,250,000"]);
    }
}
