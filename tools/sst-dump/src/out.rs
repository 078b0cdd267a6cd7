//! How the tool talks: lines of text, or one JSON object a line; problems; the exit status.
//!
//! In text, answers go to the standard output and problems to the standard error. In JSON everything goes to the
//! standard output, and the last line is always the `result`.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use packstone::Error;
use serde_json::{Value, json};

use crate::args::Common;

/// So many problems are remembered to be told once; in a file with more nobody counts.
const MAX_TOLD: usize = 10_000;

/// Why a command gave up.
#[derive(Debug)]
pub(crate) enum Fail {
    /// The command line asks for something that can't be done.
    Usage(String),
    /// The answers can't be written.
    Output(io::Error),
}

impl From<io::Error> for Fail {
    fn from(error: io::Error) -> Self {
        Fail::Output(error)
    }
}

/// A name without control characters: those of the engine's own keyspaces begin with a NUL.
pub(crate) fn printable(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        match c.is_control() {
            true => text.extend(c.escape_debug()),
            false => text.push(c),
        }
    }
    text
}

/// Where answers and problems go.
pub(crate) struct Out {
    stdout: BufWriter<Box<dyn Write>>,
    stderr: Box<dyn Write>,
    json: bool,
    hex: bool,
    damage: u64,
    misuse: u64,
    /// Problems told so far, each once: what two commands' worth of checks find twice is one problem.
    told: BTreeSet<String>,
    reports: u64,
}

impl Out {
    pub(crate) fn new(common: &Common, stdout: Box<dyn Write>, stderr: Box<dyn Write>) -> Self {
        Out {
            stdout: BufWriter::with_capacity(64 << 10, stdout),
            stderr,
            json: common.json,
            hex: common.output_hex,
            damage: 0,
            misuse: 0,
            told: BTreeSet::new(),
            reports: 0,
        }
    }

    /// Answers go to this file from now on.
    pub(crate) fn redirect(&mut self, file: std::fs::File) -> io::Result<()> {
        self.stdout.flush()?;
        self.stdout = BufWriter::with_capacity(64 << 10, Box::new(file));
        Ok(())
    }

    /// How often a problem has been reported, known ones included.
    pub(crate) fn problems(&self) -> u64 {
        self.reports
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A line of the text form.
    pub(crate) fn line(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        self.stdout.write_fmt(text)?;
        self.stdout.write_all(b"\n")
    }

    /// Where bytes go that are the answer themselves.
    pub(crate) fn bytes_out(&mut self) -> &mut dyn Write {
        &mut self.stdout
    }

    /// An object of the JSON form; `kind` becomes its `record`.
    pub(crate) fn record(&mut self, kind: &str, mut object: Value) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        if let Some(fields) = object.as_object_mut() {
            fields.insert("record".to_owned(), kind.into());
        }
        serde_json::to_writer(&mut self.stdout, &object)?;
        self.stdout.write_all(b"\n")
    }

    /// Something that is neither an answer nor wrong.
    pub(crate) fn warn(&mut self, text: &str) {
        if !self.json {
            self.complain(text);
        }
        // What can't be written will fail again where it matters.
        let _ = self.record("note", json!({ "what": text }));
    }

    /// An error of the library: damage, or something that can't be read for a reason that is not in the file.
    pub(crate) fn problem(&mut self, error: &Error) {
        let (path, offset) = match error {
            Error::Corruption { path, offset, .. } => (Some(path), Some(*offset)),
            Error::Io { path, .. } | Error::NewerFormat { path, .. } => (Some(path), None),
            _ => (None, None),
        };
        let damage = is_damage(error);
        let what = match error {
            Error::Corruption { what, .. } | Error::NewerFormat { what, .. } => what.clone(),
            other => other.to_string(),
        };
        let path = path.map(|path| path.display().to_string());
        self.count(damage, &error.to_string(), path, offset, &what);
    }

    /// Damage that the library has no error for.
    pub(crate) fn damaged(&mut self, path: &Path, offset: u64, what: impl Into<String>) {
        self.problem(&Error::corruption(path, offset, what));
    }

    /// Wrong use that does not end the command.
    pub(crate) fn misuse(&mut self, path: &Path, what: &str) {
        let path = path.display().to_string();
        let text = format!("{path}: {what}");
        self.count(false, &text, Some(path), None, what);
    }

    fn count(&mut self, damage: bool, text: &str, path: Option<String>, offset: Option<u64>, what: &str) {
        self.reports += 1;
        if self.told.len() < MAX_TOLD && !self.told.insert(text.to_owned()) {
            return;
        }
        match damage {
            true => self.damage += 1,
            false => self.misuse += 1,
        }
        if !self.json {
            let _ = self.stdout.flush();
            self.complain(text);
        }
        let object = json!({ "file": path, "offset": offset, "what": what, "damage": damage });
        let _ = self.record("problem", object);
    }

    /// Ends the run: the last record, and the exit status.
    pub(crate) fn end(mut self, result: Result<(), Fail>) -> u8 {
        match result {
            Ok(()) => {}
            Err(Fail::Output(error)) => return self.output_failed(&error),
            Err(Fail::Usage(what)) => {
                self.count(false, &what, None, None, &what);
            }
        }
        let status: u8 = match (self.damage, self.misuse) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        };
        let object = json!({ "status": status, "damage": self.damage, "misuse": self.misuse });
        let flushed = self.record("result", object).and_then(|()| self.stdout.flush());
        match flushed {
            Ok(()) => status,
            Err(error) => self.output_failed(&error),
        }
    }

    /// A line for people, who can't be helped if it can't be written.
    fn complain(&mut self, text: &str) {
        let _ = writeln!(self.stderr, "sst-dump: {text}");
    }

    fn output_failed(&mut self, error: &io::Error) -> u8 {
        // Whoever reads has seen enough (`| head`): nothing is wrong.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return u8::from(self.damage > 0);
        }
        self.complain(&format!("cannot write the answer: {error}"));
        2
    }

    /// Bytes for people and for JSON: in hex if asked for, else text in which only what a terminal can't show is escaped.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> String {
        match self.hex {
            true => format!("0x{}", hex(bytes)),
            false => readable(bytes),
        }
    }
}

/// Whether an error says that bytes are not what was written (or are missing), rather than that we were used wrongly.
pub(crate) fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corruption { .. } => true,
        Error::Io { source, .. } => !matches!(
            source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory
        ),
        _ => false,
    }
}

/// Whether a file was not there to be opened.
pub(crate) fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    bytes.iter().for_each(|byte| push_hex(&mut out, *byte));
    out
}

fn push_hex(out: &mut String, byte: u8) {
    for digit in [byte >> 4, byte & 0xf] {
        out.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
    }
}

/// Text as it is, but for control characters, quotes and backslashes, which are escaped as Rust does, and bytes that are no
/// UTF-8, which become `\xNN`.
fn readable(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '\\' => {
                    out.push('\\');
                    out.push(c);
                }
                '\0'..=' ' | '\x7f' if c != ' ' => {
                    let _ = write!(out, "{}", (c as u8).escape_ascii());
                }
                c if c.is_control() || is_invisible(c) => {
                    let _ = write!(out, "{}", c.escape_unicode());
                }
                c => out.push(c),
            }
        }
        // Not by `write!`: values can be binary through and through.
        for byte in chunk.invalid() {
            out.push_str("\\x");
            push_hex(&mut out, *byte);
        }
    }
    out
}

/// Characters that change how their neighbours are shown: a key must not be able to disguise itself.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_so_that_a_terminal_survives_them() {
        assert_eq!(readable(b"plain key"), "plain key");
        assert_eq!(readable("M\u{fc}ller".as_bytes()), "M\u{fc}ller");
        assert_eq!(readable(b"\0\x1b[31m'\\\xff"), r"\x00\x1b[31m\'\\\xff");
        assert_eq!(readable("\u{202e}a".as_bytes()), r"\u{202e}a");
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
