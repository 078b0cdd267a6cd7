//! What is printed: the header, a line a benchmark, the state of the tree, JSON, the plot.

mod header;
mod json;
mod line;
mod plot;
mod repeats;
mod tree;

use std::fs::File;
use std::io::{self, Write};

pub(crate) use header::{process_header, run_header};
pub(crate) use json::{Account, object};
pub(crate) use line::{line, statistics};
pub(crate) use plot::plot;
pub(crate) use repeats::Repeats;
pub(crate) use tree::{Uptime, files_text, levels_text, tree_text};

use crate::failure::{Failure, Outcome};
use crate::flags::Config;

/// What a benchmark that only tells prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Stats,
    Levels,
    Files,
}

/// Where text and JSON go.
pub(crate) struct Console {
    /// JSON has stdout: text goes to stderr.
    json_on_stdout: bool,
    json_file: Option<File>,
}

impl Console {
    pub(crate) fn new(config: &Config) -> Outcome<Self> {
        let create =
            |path: &std::path::PathBuf| File::create(path).map_err(|e| Failure::io("create", path, &e));
        Ok(Console {
            json_on_stdout: config.json,
            json_file: config.json_file.as_ref().map(create).transpose()?,
        })
    }

    /// Prints text, as it is.
    pub(crate) fn text(&self, text: &str) -> Outcome<()> {
        let result = match self.json_on_stdout {
            true => io::stderr().write_all(text.as_bytes()),
            false => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        };
        result.map_err(|e| Failure(format!("cannot print: {e}")))
    }

    /// Prints a JSON object on a line of its own, if JSON is wanted.
    pub(crate) fn json(&mut self, object: impl FnOnce() -> serde_json::Value) -> Outcome<()> {
        let result = match &mut self.json_file {
            Some(file) => writeln!(file, "{}", object()),
            None if self.json_on_stdout => writeln!(io::stdout().lock(), "{}", object()),
            None => Ok(()),
        };
        result.map_err(|e| Failure(format!("cannot write JSON: {e}")))
    }
}
