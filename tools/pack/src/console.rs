//! What is said: reports to standard output, complaints and progress to standard error. Nothing here panics if either is closed.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use packstone::Error;
use serde_json::Value;

use crate::Failure;
use crate::names::printable;

/// Below this many bytes there is nothing to wait for: 32 MiB.
const WORTH_A_BAR: u64 = 32 << 20;

/// Says why something is not done. The exit status is the caller's.
pub(crate) fn complain(why: &str) {
    // If standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "pack: {}", printable(why));
}

/// An error in this program's words: what the library advises is for databases.
pub(crate) fn describe(error: &Error) -> String {
    match error {
        Error::Io {
            operation,
            path,
            source,
        } => format!("cannot {operation} {}: {source}", path.display()),
        Error::Corruption { path, offset, what } => {
            format!("{} is damaged at offset {offset}: {what}", path.display())
        }
        Error::Locked { path } => format!(
            "{} is being written by another process; wait for its end",
            path.display()
        ),
        other => other.to_string(),
    }
}

/// Progress, and what goes wrong on the way without ending it.
pub(crate) struct Console {
    bar: ProgressBar,
    problems: u64,
}

impl Console {
    /// Without a bar.
    pub(crate) fn new() -> Console {
        Console {
            bar: ProgressBar::hidden(),
            problems: 0,
        }
    }

    /// Whether a bar would be seen: otherwise nobody needs to know the total.
    pub(crate) fn is_watched() -> bool {
        io::stderr().is_terminal()
    }

    /// Shows a bar, if so many bytes are worth one.
    pub(crate) fn expect(&mut self, total: u64) {
        if total >= WORTH_A_BAR && Self::is_watched() {
            let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar = ProgressBar::new(total).with_style(style);
        }
    }

    pub(crate) fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Says what does not count as a problem.
    pub(crate) fn note(&self, what: &str) {
        self.bar.suspend(|| complain(what));
    }

    /// Says what is skipped or lost.
    pub(crate) fn problem(&mut self, what: &str) {
        self.note(what);
        self.problems += 1;
    }

    pub(crate) fn problems(&self) -> u64 {
        self.problems
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Standard output, buffered.
pub(crate) struct Report(io::BufWriter<io::StdoutLock<'static>>);

impl Report {
    pub(crate) fn new() -> Report {
        Report(io::BufWriter::with_capacity(64 << 10, io::stdout().lock()))
    }

    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.0, "{line}").map_err(unwritten)
    }

    /// One line of ASCII: what a terminal would obey is escaped, whichever alphabet it comes from.
    pub(crate) fn json(&mut self, object: &Value) -> Result<(), Failure> {
        let mut line = String::new();
        for c in object.to_string().chars() {
            match c {
                ' '..='~' => line.push(c),
                // Only strings have other characters in them; controls below the blank are escaped already.
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        line.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
        }
        self.line(&line)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(unwritten)
    }

    /// REQUIRES: called at the end; what is not flushed may be lost without a word.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.0.flush().map_err(unwritten)
    }
}

/// A report that nobody reads to its end is no reason to fail, and none to succeed: the caller goes on.
pub(crate) fn heard(told: Result<(), Failure>) -> Result<(), Failure> {
    match told {
        Err(Failure::Closed) => Ok(()),
        told => told,
    }
}

fn unwritten(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::Refused(format!("cannot write to standard output: {error}")),
    }
}
