//! The report: [`Report`] collects figures and is what `--json` writes and `--from` reads; Markdown and charts are made
//! of it and nothing else.

mod chart;
mod date;
mod header;
mod markdown;
mod rows;
mod series;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::args::Request;
use crate::engines::Setting;
use crate::figures::{Kind, Outcome};
pub(crate) use header::Header;
use series::Series;

/// The version of the JSON.
const SCHEMA: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    schema: u32,
    pub(crate) header: Header,
    /// In the order of the report's tables.
    engines: Vec<String>,
    settings: Vec<Setting>,
    figures: Vec<Series>,
    notes: Vec<Note>,
}

/// Something that a reader of the figures must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    setting: Setting,
    engine: String,
    scenario: String,
    /// Begins with the name of the workload, or of the scenario, and a colon.
    text: String,
}

impl Note {
    fn subject(&self) -> &str {
        self.text
            .split_once(':')
            .map_or(self.text.as_str(), |(subject, _)| subject)
    }
}

impl Report {
    pub(crate) fn new(header: Header, request: &Request) -> Self {
        Report {
            schema: SCHEMA,
            header,
            engines: request.engines.clone(),
            settings: request.settings.clone(),
            figures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Takes what one run gave.
    pub(crate) fn add(&mut self, setting: Setting, engine: &str, scenario: &str, outcome: Outcome) {
        for figure in outcome.figures {
            let found = self
                .figures
                .iter_mut()
                .find(|s| s.is_of(setting, engine, &figure.workload, figure.kind));
            match found {
                Some(series) => series.add(figure.value),
                None => self.figures.push(Series::new(setting, engine, scenario, &figure)),
            }
        }
        for text in outcome.notes {
            let note = Note {
                setting,
                engine: engine.to_owned(),
                scenario: scenario.to_owned(),
                text,
            };
            // Rounds differ in their numbers: one note of a kind is enough.
            let known = self.notes.iter().any(|other| {
                other.setting == setting && other.engine == engine && other.subject() == note.subject()
            });
            if !known {
                self.notes.push(note);
            }
        }
    }

    fn series(&self, setting: Setting, engine: &str, workload: &str, kind: Kind) -> Option<&Series> {
        self.figures
            .iter()
            .find(|series| series.is_of(setting, engine, workload, kind))
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
