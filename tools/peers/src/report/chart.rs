//! Bar charts as SVG, one for each setting and group: a block for each row of the table, in it a bar for each engine,
//! scaled to the longest of the block.

use std::fmt::Write;

use super::Report;
use super::rows::Row;
use super::series::write_value;
use crate::catalogue::Group;
use crate::engines::Setting;

/// Lengths in pixels.
const WIDTH: f64 = 760.0;
const MARGIN: f64 = 16.0;
const NAMES: f64 = 84.0;
const VALUES: f64 = 150.0;
const BAR: f64 = 14.0;
const BAR_STEP: f64 = 18.0;
const TITLE: f64 = 54.0;
const BLOCK_TITLE: f64 = 22.0;
const BLOCK_GAP: f64 = 14.0;

/// Packstone stands out; the others are told apart by their names too.
const COLOURS: [(&str, &str); 5] = [
    ("packstone", "#d9480f"),
    ("rocksdb", "#495057"),
    ("fjall", "#1971c2"),
    ("lmdb", "#2b8a3e"),
    ("redb", "#862e9c"),
];

impl Report {
    /// File names and contents.
    pub(crate) fn charts(&self) -> Vec<(String, String)> {
        let groups = |setting: Setting| Group::ALL.iter().map(move |group| (setting, *group));
        let all = self
            .settings
            .iter()
            .flat_map(|setting| groups(*setting))
            .map(|(setting, group)| (setting, group, self.rows(setting, group)));
        all.filter(|(_, _, rows)| !rows.is_empty())
            .map(|(setting, group, rows)| {
                let name = format!("{}-{}.svg", setting.name(), group.name());
                (name, self.chart(setting, group, &rows))
            })
            .collect()
    }

    fn chart(&self, setting: Setting, group: Group, rows: &[Row]) -> String {
        let block = BLOCK_TITLE + BAR_STEP * self.engines.len() as f64 + BLOCK_GAP;
        let height = TITLE + block * rows.len() as f64 + MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        text(
            &mut svg,
            MARGIN,
            24.0,
            "font-size=\"17\" font-weight=\"600\"",
            group.title(),
        );
        let below = format!(
            "settings {}; medians of {} {}; {}",
            setting.name(),
            self.header.rounds,
            if self.header.rounds == 1 {
                "round"
            } else {
                "rounds"
            },
            self.header.date
        );
        text(&mut svg, MARGIN, 42.0, "fill=\"#868e96\"", &below);
        for (i, row) in rows.iter().enumerate() {
            self.block(setting, *row, TITLE + block * i as f64, &mut svg);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn block(&self, setting: Setting, row: Row, top: f64, svg: &mut String) {
        let better = match row.kind.more_is_better() {
            Some(true) => " (longer is better)",
            Some(false) => " (shorter is better)",
            None => "",
        };
        let title = format!("{}{better}", row.label());
        text(svg, MARGIN, top + 14.0, "font-weight=\"600\"", &title);
        let values: Vec<_> = self
            .engines
            .iter()
            .map(|engine| (engine, self.median(setting, engine, row)))
            .collect();
        let longest = values.iter().filter_map(|(_, value)| *value).fold(0.0, f64::max);
        let room = WIDTH - 2.0 * MARGIN - NAMES - VALUES;
        for (i, (engine, value)) in values.into_iter().enumerate() {
            let y = top + BLOCK_TITLE + BAR_STEP * i as f64;
            let (x, base) = (MARGIN + NAMES, y + BAR - 3.0);
            text(svg, x - 8.0, base, "text-anchor=\"end\"", engine);
            let Some(value) = value else {
                text(svg, x, base, "fill=\"#868e96\"", "-");
                continue;
            };
            let width = if longest > 0.0 {
                (value / longest * room).max(1.0)
            } else {
                1.0
            };
            let colour = COLOURS
                .iter()
                .find(|(name, _)| name == engine)
                .map_or("#adb5bd", |(_, colour)| colour);
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"/>"
            );
            let mark = if self.is_noted(setting, engine, row) {
                " †"
            } else {
                ""
            };
            let shown = format!("{}{mark}", write_value(value, row.kind.unit()));
            text(svg, x + width + 6.0, base, "", &shown);
        }
    }
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, words: &str) {
    let escaped = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{escaped}</text>");
}
