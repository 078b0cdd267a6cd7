//! The report as Markdown, ready to be pasted: a header that says how it was measured, and a table for each group.

use std::fmt::Write;

use super::Report;
use super::rows::Row;
use crate::catalogue::Group;
use crate::engines::Setting;

/// Ratios this near to 1 are neither ahead nor behind.
const EVEN: f64 = 0.02;
/// The mark of figures that have a note.
const MARK: &str = " †";

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let mut text = self.header.markdown();
        for setting in &self.settings {
            self.setting(*setting, &mut text);
        }
        text
    }

    fn setting(&self, setting: Setting, text: &mut String) {
        let _ = writeln!(text, "\n## Settings {}\n", setting.name());
        self.header.settings_markdown(setting, text);
        let groups: Vec<_> = Group::ALL
            .iter()
            .map(|group| (group, self.rows(setting, *group)))
            .filter(|(_, rows)| !rows.is_empty())
            .collect();
        if let Some(summary) = self.summary(setting, groups.iter().flat_map(|(_, rows)| rows)) {
            let _ = writeln!(text, "\n{summary}");
        }
        for (group, rows) in &groups {
            let _ = writeln!(text, "\n### {}\n", group.title());
            self.table(setting, rows, text);
        }
        self.notes_markdown(setting, text);
    }

    /// Where Packstone is ahead and where not, over all rows that compare.
    fn summary<'a>(&self, setting: Setting, rows: impl Iterator<Item = &'a Row>) -> Option<String> {
        let (mut ahead, mut even, mut behind) = (0, 0, Vec::new());
        for row in rows {
            match self.standing(setting, *row).map(|standing| standing.ratio) {
                Some(ratio) if ratio > 1.0 + EVEN => ahead += 1,
                Some(ratio) if ratio >= 1.0 - EVEN => even += 1,
                Some(ratio) => behind.push(format!("{} ({ratio:.2})", short(row))),
                None => {}
            }
        }
        let rows = ahead + even + behind.len();
        if rows == 0 {
            return None;
        }
        let list = match behind.is_empty() {
            true => "none".to_owned(),
            false => behind.join("; "),
        };
        Some(format!(
            "Packstone beside the better of RocksDB and fjall, {rows} rows: ahead in {ahead}, even in {even}, behind in \
             {}. Behind in: {list}.",
            behind.len()
        ))
    }

    fn table(&self, setting: Setting, rows: &[Row], text: &mut String) {
        text.push_str("| workload |");
        for engine in &self.engines {
            let _ = write!(text, " {engine} |");
        }
        text.push_str(" packstone, times better |\n| --- |");
        text.push_str(&" ---: |".repeat(self.engines.len() + 1));
        text.push('\n');
        for row in rows {
            let _ = write!(text, "| {} |", row.label());
            for engine in &self.engines {
                let _ = write!(text, " {} |", self.cell(setting, engine, *row));
            }
            let _ = writeln!(text, " {} |", self.ratio(setting, *row));
        }
    }

    fn cell(&self, setting: Setting, engine: &str, row: Row) -> String {
        let Some(series) = self.series(setting, engine, row.workload.name, row.kind) else {
            return "-".to_owned();
        };
        let mark = if self.is_noted(setting, engine, row) {
            MARK
        } else {
            ""
        };
        format!("{}{mark}", series.cell())
    }

    fn ratio(&self, setting: Setting, row: Row) -> String {
        match self.standing(setting, row).map(|standing| standing.ratio) {
            Some(ratio) if ratio < 1.0 - EVEN => format!("**{ratio:.2}** (behind)"),
            Some(ratio) => format!("{ratio:.2}"),
            None => String::new(),
        }
    }

    fn notes_markdown(&self, setting: Setting, text: &mut String) {
        let mut notes = self
            .notes
            .iter()
            .filter(|note| note.setting == setting)
            .peekable();
        if notes.peek().is_some() {
            text.push_str(
                "\n† What must be known of these figures (of one round; others differ in the numbers):\n\n",
            );
        }
        for note in notes {
            let _ = writeln!(text, "* {}, {}", note.engine, note.text);
        }
    }
}

/// A row's name for the summary.
fn short(row: &Row) -> String {
    let name = row.workload.name;
    match row.kind.words() {
        "" => name.to_owned(),
        words => format!("{name}, {words}"),
    }
}
