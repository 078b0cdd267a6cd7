//! The page that `lsm --html` writes: one picture a keyspace, levels from top to bottom, the key space from left to right.
//! Everything is in the one file; it loads nothing and runs no script.

use std::fmt::Write;

use packstone::inspect::{KeyspaceState, SstInfo};

use super::lsm::{Axis, totals};
use crate::draw::size;
use crate::out::{Out, hex};
use crate::target::Database;

/// Pixels: the width of the key space, of the labels before it, and the height of a row of files.
const WIDTH: f64 = 1000.0;
const LABEL: f64 = 190.0;
const ROW: f64 = 22.0;
/// Rows that overlapping files of one level may take; more are drawn over one another.
const MAX_ROWS: usize = 40;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1f2430; --dim: #667085; --paper: #ffffff; --line: #e4e7ec; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaf0; --dim: #98a2b3; --paper: #14171f; --line: #2b303b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
       max-width: 1240px; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2.5rem; }
p, figcaption { color: var(--dim); } figure { margin: 0; overflow-x: auto; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg .dim { fill: var(--dim); }
svg .rule { stroke: var(--line); } svg rect.sst { stroke: var(--paper); } svg rect.sst:hover { stroke: var(--ink); }
table { border-collapse: collapse; margin-top: 1rem; } th, td { padding: .2rem .8rem; text-align: right; }
td { font-variant-numeric: tabular-nums; border-top: 1px solid var(--line); } th { font-weight: 600; }
";

/// The colours of levels 0 to 6.
const COLOURS: [&str; 7] = [
    "#d9730d", "#b08900", "#2e9e5b", "#12909c", "#3b6fd4", "#7a57d1", "#a8459b",
];

pub(crate) fn page(out: &Out, database: &Database) -> String {
    let mut page = String::new();
    let dir = escape(&database.dir.display().to_string());
    let sum = totals(database.ssts().map(|(_, _, sst)| sst));
    let state = &database.state;
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{dir}: the tree</title>\n<style>{STYLE}</style></head>\n<body>\n<h1>{dir}</h1>\n\
         <p>{} keyspaces, {} SSTs, {}, {} entries of which {} tombstones. Logs from {} on. Identity {}.</p>\n\
         <p>Each bar is an SST; its darker part at the bottom is the share of tombstones. Point at one for details. The key \
         axis counts the bounds of files, not keys: bars overlap where files do, and their widths say nothing of sizes.</p>\n",
        state.keyspaces.len(),
        sum.files,
        size(sum.bytes),
        sum.entries,
        sum.tombstones,
        state.log_floor,
        hex(&state.identity)
    );
    for keyspace in &state.keyspaces {
        section(&mut page, out, keyspace);
    }
    page.push_str("</body></html>\n");
    page
}

fn section(page: &mut String, out: &Out, keyspace: &KeyspaceState) {
    let name = escape(&keyspace.name);
    let _ = writeln!(
        page,
        "<h2>{name}</h2>\n<p>Keyspace {}; writes up to number {} are in SSTs.</p>",
        keyspace.id, keyspace.flushed
    );
    let Some(deepest) = keyspace.levels.iter().rposition(|files| !files.is_empty()) else {
        page.push_str("<p>No SSTs.</p>\n");
        return;
    };
    let axis = Axis::of(keyspace);
    let levels = keyspace.levels.iter().take(deepest + 1).enumerate();
    let (mut body, mut y) = (String::new(), 0.0);
    for (level, files) in levels.clone() {
        y = draw_level(&mut body, out, &axis, level, files, y);
    }
    let total = LABEL + WIDTH;
    let _ = write!(
        page,
        "<figure><svg viewBox=\"0 0 {total} {y}\" width=\"{total}\" height=\"{y}\" role=\"img\" \
         aria-label=\"Levels of {name}\">\n{body}</svg></figure>\n"
    );
    let _ = writeln!(
        page,
        "<table><tr><th>level</th><th>SSTs</th><th>size</th><th>entries</th><th>tombstones</th></tr>"
    );
    for (level, files) in levels {
        let sum = totals(files);
        let _ = writeln!(
            page,
            "<tr><td>{level}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            sum.files,
            size(sum.bytes),
            sum.entries,
            sum.tombstones
        );
    }
    page.push_str("</table>\n");
}

/// Draws one level from `top` on; returns where the next one begins.
fn draw_level(
    body: &mut String,
    out: &Out,
    axis: &Axis<'_>,
    level: usize,
    files: &[SstInfo],
    top: f64,
) -> f64 {
    let sum = totals(files);
    let rows = rows(axis, files);
    let count = rows.iter().map(|(row, _)| row + 1).max().unwrap_or(1);
    let height = count as f64 * ROW + 10.0;
    let _ = writeln!(
        body,
        "<line class=\"rule\" x1=\"0\" x2=\"{}\" y1=\"{top}\" y2=\"{top}\"/>\
         <text x=\"0\" y=\"{}\">level {level}</text>\
         <text class=\"dim\" x=\"52\" y=\"{}\">{} SSTs, {}</text>",
        LABEL + WIDTH,
        top + 20.0,
        top + 20.0,
        sum.files,
        size(sum.bytes)
    );
    for (row, sst) in rows {
        draw_sst(body, out, axis, level, sst, top + 5.0 + row as f64 * ROW);
    }
    top + height
}

/// Gives each file a row in which nothing is in its way; newer files (of level 0) come above older ones.
fn rows<'a>(axis: &Axis<'_>, files: &'a [SstInfo]) -> Vec<(usize, &'a SstInfo)> {
    let mut taken: Vec<Vec<(usize, usize)>> = Vec::new();
    let mut placed = Vec::new();
    for sst in files.iter().rev() {
        let (first, last) = axis.span(sst);
        let free = |spans: &Vec<(usize, usize)>| spans.iter().all(|(a, b)| last < *a || first > *b);
        let row = taken
            .iter()
            .position(free)
            .unwrap_or(taken.len())
            .min(MAX_ROWS - 1);
        if row == taken.len() {
            taken.push(Vec::new());
        }
        if let Some(spans) = taken.get_mut(row) {
            spans.push((first, last));
        }
        placed.push((row, sst));
    }
    placed
}

fn draw_sst(body: &mut String, out: &Out, axis: &Axis<'_>, level: usize, sst: &SstInfo, y: f64) {
    let (first, last) = axis.span(sst);
    let step = WIDTH / axis.len().max(1) as f64;
    let x = LABEL + first as f64 * step;
    let width = ((last - first + 1) as f64 * step).max(1.0);
    let height = ROW - 3.0;
    let share = sst.tombstones as f64 / sst.entries.max(1) as f64;
    let colour = COLOURS.get(level).copied().unwrap_or("#667085");
    let title = format!(
        "{:06}.sst: {}, {} entries, {} tombstones\n'{}' to '{}'\nsequence numbers {} to {}",
        sst.number,
        size(sst.size),
        sst.entries,
        sst.tombstones,
        short(&out.bytes(&sst.min_key)),
        short(&out.bytes(&sst.max_key)),
        sst.min_seq,
        sst.max_seq
    );
    let _ = writeln!(
        body,
        "<g><title>{}</title><rect class=\"sst\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" \
         rx=\"2\" fill=\"{colour}\"/>",
        escape(&title)
    );
    if share > 0.0 {
        let dark = height * share.min(1.0);
        let at = y + height - dark;
        let _ = writeln!(
            body,
            "<rect x=\"{x:.1}\" y=\"{at:.1}\" width=\"{width:.1}\" height=\"{dark:.1}\" fill=\"#000\" \
             fill-opacity=\".45\" pointer-events=\"none\"/>"
        );
    }
    if width > 56.0 {
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\" style=\"fill:#fff\" pointer-events=\"none\">{:06}</text>",
            x + 4.0,
            y + 14.0,
            sst.number
        );
    }
    body.push_str("</g>\n");
}

/// The start of a key.
fn short(key: &str) -> String {
    let start: String = key.chars().take(80).collect();
    if start.len() < key.len() {
        format!("{start}...")
    } else {
        start
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
