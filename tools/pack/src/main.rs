//! `pack`: creates, grows, lists, checks, extracts and recovers archives.
//!
//! The work on an archive's bytes is done by `packstone::pack`; this program knows files: what their names and their meta data are in
//! an archive (`names`, `meta`), how trees are read (`walk`, `create`), and how they are made again without leaving the directory that
//! was asked for (`place`, `extract`). What only some systems have is in `platform`.
//!
//! Exit status: 0 everything went well, 1 something is damaged, lost or was skipped, 2 wrong use or it can't be done.

mod args;
mod console;
mod create;
mod extract;
mod list;
mod meta;
mod names;
mod place;
mod platform;
mod verify;
mod walk;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use packstone::Error;

use args::{Args, Command};

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library says why.
    Engine(Error),
    /// A sentence says why.
    Refused(String),
    /// Nobody reads the standard output any more: no reason to complain.
    Closed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Engine(error)
    }
}

/// Whether everything went well; if not, what went wrong has been said.
pub(crate) type Outcome = Result<bool, Failure>;

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Create(args) => create::create(&args),
        Command::Append(args) => create::append(&args),
        Command::List(args) => list::list(&args),
        Command::Info(args) => list::info(&args),
        Command::Cat(args) => list::cat(&args),
        Command::Extract(args) => extract::extract(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Recover(args) => verify::recover(&args),
    };
    let (status, why) = match outcome {
        Ok(well) => (u8::from(!well), None),
        Err(Failure::Engine(error)) => {
            let status = match error {
                Error::Corruption { .. } => 1,
                _ => 2,
            };
            (status, Some(console::describe(&error)))
        }
        Err(Failure::Refused(why)) => (2, Some(why)),
        Err(Failure::Closed) => (0, None),
    };
    if let Some(why) = why {
        console::complain(&why);
    }
    ExitCode::from(status)
}

/// The directory that holds `path`'s name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path, // the root holds itself
    }
}

/// A database's directory holds the database's files and nothing else; packs among them are the engine's own, which only it may change.
pub(crate) fn refuse_a_databases_directory(archive: &Path) -> Result<(), Failure> {
    let dir = parent_of(archive);
    match fs::metadata(dir.join("CURRENT")) {
        Ok(current) if current.is_file() => Err(Failure::Refused(format!(
            "{} is not written: {} is a database's directory (it has a file CURRENT); choose another directory",
            archive.display(),
            dir.display()
        ))),
        _ => Ok(()),
    }
}
