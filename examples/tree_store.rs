//! Keeps a directory tree in a database: paths and contents, written atomically file by file, checked byte by byte.
//!
//! ```text
//! cargo run --release --example tree_store -- demo . --exclude target --exclude .git
//! ```
//!
//! Two keyspaces: `files` (path -> contents) and `meta` (path -> size, mode, modification time). Files above 4 MiB go in and out as streams, of
//! any length; equal contents take room once. A path is relative to the
//! stored directory, its parts joined by `/`, as bytes: names that are not UTF-8 are kept as they are on Unix.
//! Symbolic links, sockets, pipes and devices are listed and skipped; empty directories are not kept.
//!
//! Exit status: 0 if all went well, 1 if a file could not be stored, differs or could not be restored, 2 if the
//! arguments are wrong.
#![allow(
    clippy::disallowed_methods,
    reason = "an application: it reads files and the clock itself"
)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use packstone::{Batch, Db, Durability, Keyspace, Options};

#[path = "tree_store/demo.rs"]
mod demo;
#[path = "tree_store/platform.rs"]
mod platform;
#[path = "tree_store/stream.rs"]
mod stream;
#[path = "tree_store/tree.rs"]
mod tree;

use demo::demo;
use platform::{part_of, path_bytes};
use stream::NotStored;
use tree::{Entry, Meta, Walk, read_file};

/// The longest key that the engine takes, in bytes.
const MAX_PATH: usize = 65_535;

/// A batch is written once it holds this many bytes. Only a file that is larger alone makes a larger one.
const BATCH_BYTES: usize = 4 << 20;

const USAGE: &str = "\
Keeps a directory tree in a Packstone database.

Usage: tree_store <command> [--exclude NAME]...

  store <dir> <db>          make the database hold the files of <dir>
  list <db> [prefix]        list the files in the database
  verify <dir> <db>         compare every byte, in both directions
  restore <db> <target>     write the files to <target>, which must be empty or absent
  demo <dir>                store, verify and restore in a temporary directory, and report
  thorough <dir>            the same, then store it again under other names, delete half, compact, collect, and verify what is left

Options:
  --exclude NAME            skip files and directories of this name (store, verify, demo, thorough)
  --help                    show this text

Symbolic links and special files are skipped.";

/// Why a command stops.
enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// Something went wrong; the text says what.
    Failed(String),
    /// Whoever read the output has closed it.
    OutputClosed,
}

impl From<packstone::Error> for Failure {
    fn from(error: packstone::Error) -> Self {
        Failure::Failed(error.to_string())
    }
}

type Outcome<T> = Result<T, Failure>;

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(true) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Failed(why)) => {
            eprintln!("tree_store: {why}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(why)) => {
            eprintln!("tree_store: {why}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Runs one command. False: it ran to its end, and something was not as it should be.
fn run(arguments: Vec<OsString>) -> Outcome<bool> {
    let mut words = Vec::new();
    let mut exclude = BTreeSet::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") => {
                print_line(USAGE)?;
                return Ok(true);
            }
            Some("--exclude") => {
                let name = arguments
                    .next()
                    .ok_or_else(|| Failure::Usage("--exclude needs a name".into()))?;
                exclude.insert(name);
            }
            Some(flag) if flag.starts_with('-') => {
                return Err(Failure::Usage(format!("unknown option {flag}")));
            }
            _ => words.push(argument),
        }
    }
    let command = words
        .first()
        .and_then(|word| word.to_str())
        .unwrap_or_default()
        .to_owned();
    let paths: Vec<&Path> = words.iter().skip(1).map(Path::new).collect();
    match (command.as_str(), paths.as_slice()) {
        ("store", [dir, db]) => store(dir, db, &exclude).map(|report| report.finish("stored")),
        ("list", [db]) => list(db, &[]),
        ("list", [db, prefix]) => {
            let prefix =
                path_bytes(prefix).ok_or_else(|| Failure::Usage("the prefix is not UTF-8".into()))?;
            list(db, &prefix)
        }
        ("verify", [dir, db]) => verify(dir, db, None, &exclude).map(|report| report.finish("verified")),
        ("restore", [db, target]) => restore(db, target).map(|report| report.finish("restored")),
        ("demo", [dir]) => demo(dir, exclude, false),
        ("thorough", [dir]) => demo(dir, exclude, true),
        ("", _) => Err(Failure::Usage("no command".into())),
        ("store" | "list" | "verify" | "restore" | "demo" | "thorough", _) => {
            Err(Failure::Usage(format!("wrong number of arguments for {command}")))
        }
        _ => Err(Failure::Usage(format!("unknown command {command:?}"))),
    }
}

/// What a command did.
#[derive(Default)]
struct Report {
    files: u64,
    bytes: u64,
    skipped: u64,
    problems: u64,
    time: Duration,
}

impl Report {
    /// Says what was done, and whether all went well.
    fn finish(self, done: &str) -> bool {
        println!("{done} {self}");
        self.problems == 0
    }

    fn rate(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.time.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files, {} bytes", self.files, self.bytes)?;
        write!(
            f,
            " in {:.2} s ({:.1} MB/s)",
            self.time.as_secs_f64(),
            self.rate()
        )?;
        write!(f, ", {} skipped, {} problems", self.skipped, self.problems)
    }
}

/// A report that is being made, with a bar on a terminal.
struct Progress {
    bar: ProgressBar,
    report: Report,
    start: Instant,
}

impl Progress {
    fn new(what: &'static str, bytes: u64) -> Self {
        let visible = io::stderr().is_terminal();
        let target = if visible {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(bytes), target).with_prefix(what);
        let template = "{prefix:>8} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress {
            bar,
            report: Report::default(),
            start: Instant::now(),
        }
    }

    /// Starts the report with what the walk met.
    fn of(walk: &Walk, what: &'static str) -> Self {
        let mut progress = Progress::new(what, walk.files.iter().map(|file| file.size).sum());
        for (path, kind) in &walk.skipped {
            progress.say(&format!("skipped: {} ({kind})", path.display()));
        }
        progress.report.skipped = walk.skipped.len() as u64;
        walk.problems.iter().for_each(|problem| progress.problem(problem));
        progress
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Something that makes the exit status 1.
    fn problem(&mut self, what: impl fmt::Display) {
        self.report.problems += 1;
        self.say(&format!("problem: {what}"));
    }

    fn file_done(&mut self, bytes: u64) {
        self.report.files += 1;
        self.report.bytes += bytes;
        self.bar.inc(bytes);
    }

    fn finish(mut self) -> Report {
        self.report.time = self.start.elapsed();
        self.bar.finish_and_clear();
        self.report
    }
}

fn store(dir: &Path, db_path: &Path, exclude: &BTreeSet<OsString>) -> Outcome<Report> {
    if !dir.is_dir() {
        return Err(Failure::Failed(format!("{} is not a directory", dir.display())));
    }
    let db = Options::new().create_if_missing(true).open(db_path)?;
    let store = Store {
        files: db.keyspace("files")?,
        meta: db.keyspace("meta")?,
        db,
    };
    let report = store.fill(dir, db_path, exclude)?;
    store.db.close()?;
    Ok(report)
}

/// A database that is open for writing.
struct Store {
    db: Db,
    files: Keyspace,
    meta: Keyspace,
}

impl Store {
    /// `own` is left out of the walk: the database itself may lie in the tree.
    fn fill(&self, dir: &Path, own: &Path, exclude: &BTreeSet<OsString>) -> Outcome<Report> {
        let walk = Walk::of(dir, own, exclude)?;
        let mut progress = Progress::of(&walk, "store");
        let (mut batch, mut pending) = (self.db.batch(), 0);
        for entry in &walk.files {
            if entry.key.len() > MAX_PATH {
                progress.problem(format_args!(
                    "{}: a path above {MAX_PATH} bytes",
                    entry.path.display()
                ));
                continue;
            }
            let (contents, meta) = match read_file(&entry.path) {
                Ok(Some(read)) => read,
                Ok(None) => {
                    self.commit(&mut batch, &mut pending)?;
                    self.stream(entry, &mut progress)?;
                    continue;
                }
                Err(why) => {
                    progress.problem(format_args!("not stored: {why}"));
                    continue;
                }
            };
            let bytes = contents.len() + 2 * entry.key.len() + 24;
            if pending > 0 && pending + bytes > BATCH_BYTES {
                self.commit(&mut batch, &mut pending)?;
            }
            // Both in one batch: a crash keeps both or neither.
            batch.put(&self.files, &entry.key, &contents);
            batch.put(&self.meta, &entry.key, meta.encode());
            pending += bytes;
            progress.file_done(contents.len() as u64);
        }
        for key in self.files.iter().keys() {
            let key = key?;
            if walk.lacks(&key) {
                batch.delete(&self.files, &key);
                batch.delete(&self.meta, &key);
                pending += 2 * key.len();
                if pending > BATCH_BYTES {
                    self.commit(&mut batch, &mut pending)?;
                }
            }
        }
        batch.commit(Durability::Sync)?;
        Ok(progress.finish())
    }

    /// A large file. A crash between the two writes leaves its contents without the right meta data, which `verify` tells.
    fn stream(&self, entry: &Entry, progress: &mut Progress) -> Outcome<()> {
        match stream::store(&entry.path, &self.files, &entry.key) {
            Ok(meta) => {
                self.meta.put(&entry.key, meta.encode())?;
                progress.file_done(meta.size);
            }
            Err(NotStored::File(why)) => progress.problem(format_args!("not stored: {why}")),
            Err(NotStored::Database(error)) => return Err(error.into()),
        }
        Ok(())
    }

    fn commit(&self, batch: &mut Batch, pending: &mut usize) -> Outcome<()> {
        std::mem::replace(batch, self.db.batch()).commit(Durability::Buffered)?;
        *pending = 0;
        Ok(())
    }
}

/// Opens a database for reading, and says plainly if it is none of ours.
fn open_stored(path: &Path) -> Outcome<(Db, Keyspace, Keyspace)> {
    let db = Options::new().open_read_only(path)?;
    let keyspace = |name: &str| {
        db.keyspace(name)
            .map_err(|e| Failure::Failed(format!("{} was not made by tree_store: {e}", path.display())))
    };
    let (files, meta) = (keyspace("files")?, keyspace("meta")?);
    Ok((db, files, meta))
}

fn list(db: &Path, prefix: &[u8]) -> Outcome<bool> {
    let (_db, _, meta) = open_stored(db)?;
    let mut whole = true;
    for item in meta.prefix(prefix) {
        let (key, value) = item?;
        match Meta::decode(&value) {
            Some(meta) => print_line(&format!("{:06o} {:>12} {}", meta.mode, meta.size, shown(&key)))?,
            None => {
                eprintln!("problem: {}: its entry in meta makes no sense", shown(&key));
                whole = false;
            }
        }
    }
    Ok(whole)
}

/// Compares a directory with a database. `own`: what else to leave out of the walk (by default, the database).
fn verify(dir: &Path, db_path: &Path, own: Option<&Path>, exclude: &BTreeSet<OsString>) -> Outcome<Report> {
    let (db, files, meta) = open_stored(db_path)?;
    let walk = Walk::of(dir, own.unwrap_or(db_path), exclude)?;
    let mut progress = Progress::of(&walk, "verify");
    let snapshot = db.snapshot();
    for entry in &walk.files {
        let Some(mut stored) = snapshot.open(&files, &entry.key)? else {
            progress.problem(format_args!("{} is not in the database", shown(&entry.key)));
            continue;
        };
        match stream::compare(&entry.path, &mut stored) {
            Err(why) => progress.problem(why),
            Ok(Some(difference)) => {
                progress.problem(format_args!("{} differs {difference}", shown(&entry.key)));
            }
            Ok(None) => {
                let noted = snapshot
                    .get(&meta, &entry.key)?
                    .and_then(|value| Meta::decode(&value));
                if noted.is_none_or(|meta| meta.size != stored.len()) {
                    progress.problem(format_args!(
                        "{}: its entry in meta does not fit",
                        shown(&entry.key)
                    ));
                }
                progress.file_done(stored.len());
            }
        }
    }
    for item in snapshot.iter(&meta).keys() {
        let key = item?;
        if walk.lacks(&key) {
            progress.problem(format_args!("{} is in the database only", shown(&key)));
        }
    }
    Ok(progress.finish())
}

fn restore(db_path: &Path, target: &Path) -> Outcome<Report> {
    let (db, files, meta) = open_stored(db_path)?;
    fs::create_dir_all(target).map_err(|e| failed("create", target, &e))?;
    if fs::read_dir(target)
        .map_err(|e| failed("read", target, &e))?
        .next()
        .is_some()
    {
        return Err(Failure::Failed(format!(
            "{} is not empty; nothing was restored",
            target.display()
        )));
    }
    let snapshot = db.snapshot();
    let total = snapshot
        .iter(&meta)
        .filter_map(|item| Some(Meta::decode(&item.ok()?.1)?.size))
        .sum();
    let mut progress = Progress::new("restore", total);
    for item in snapshot.iter(&files).keys() {
        let key = item?;
        let Some(relative) = safe_path(&key) else {
            progress.problem(format_args!(
                "refused: the path {} leads out of the target",
                shown(&key)
            ));
            continue;
        };
        let noted = snapshot.get(&meta, &key)?.and_then(|value| Meta::decode(&value));
        if noted.is_none() {
            progress.problem(format_args!("{}: no mode and time are known", shown(&key)));
        }
        let path = target.join(relative);
        let Some(mut contents) = snapshot.open(&files, &key)? else {
            continue; // an iterator's key has a value
        };
        if let Err(e) = stream::write(&path, &mut contents, noted.as_ref()) {
            progress.problem(format_args!("cannot restore {}: {e}", shown(&key)));
            continue;
        }
        // What has been written is what is stored.
        let compared = contents.rewind().map_err(|e| e.to_string());
        match compared.and_then(|()| stream::compare(&path, &mut contents)) {
            Ok(None) => progress.file_done(contents.len()),
            Ok(Some(difference)) => progress.problem(format_args!("{} differs {difference}", shown(&key))),
            Err(why) => progress.problem(format_args!("cannot verify {}: {why}", shown(&key))),
        }
    }
    Ok(progress.finish())
}

/// The stored path as one below the target, or nothing if any part of it is not a plain name.
fn safe_path(key: &[u8]) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in key.split(|byte| *byte == b'/') {
        let name = part_of(part)?;
        let mut components = Path::new(&name).components();
        match (components.next(), components.next()) {
            (Some(std::path::Component::Normal(normal)), None) if normal == name && !part.contains(&0) => {
                path.push(name);
            }
            _ => return None,
        }
    }
    Some(path)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot {what} {}: {error}", path.display()))
}

/// A line on standard output; a closed pipe ends the program quietly.
fn print_line(line: &str) -> Outcome<()> {
    writeln!(io::stdout(), "{line}").map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Failed(format!("cannot write to standard output: {e}")),
    })
}

/// A stored path for people: no control characters reach the terminal.
fn shown(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => format!("b\"{}\"", key.escape_ascii()),
    }
}
