//! Repair: makes a new database out of what can be read of a damaged one, and says exactly what is lost.
//!
//! ```text
//! survey   names, manifests, every byte of every SST                       src/repair/survey.rs
//! decide   which SSTs count, in which keyspace; which log entries          src/repair/decide.rs, decide/runs.rs, logs.rs
//! objects  what the packs hold, and which references lead nowhere          src/repair/objects.rs
//! place    which SSTs can stay as they are, which have to be merged        src/repair/place.rs
//! write    copies, merges, log entries as SSTs, manifest, CURRENT          src/repair/write.rs
//! ```
//!
//! Invariants:
//! 1. Nothing is ever written into the source: its files are opened for reading.
//! 2. The target has no `CURRENT` before it is whole: until then nothing takes it for a database.
//! 3. Nothing is guessed. What the files leave open is [`Undecided`], and nothing is written unless the caller has chosen.
//! 4. Every entry keeps its sequence number. The newest version of a key by number is the one that reads find.
//! 5. A key that is missing, or shows an older value, lies in a range that [`RepairReport::lost`] names.
//! 6. Memory is bounded by a memtable, the blocks of one file, the lists of files, and some 170 bytes for each object in packs.
//!
//! With a whole manifest the files are those that it names. Without one they are all files that no other replaces
//! (`SstOrigin`), merged by entry numbers, zero being oldest, never by a recorded level.
//!
//! Callers: programs (`packstone-repair`). This layer stands above the formats; the engine does not import it.

#![deny(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::names;
use crate::types::{KeyspaceId, SeqNo};
use crate::{Error, Result, Slice};

mod decide;
mod logs;
mod merge;
mod objects;
mod place;
mod survey;
mod write;

/// What the set of files is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RepairBasis {
    /// A whole manifest if there is one, else the files.
    #[default]
    Auto,
    /// The files alone; a manifest only tells names.
    Files,
}

/// What to do about what the files leave open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UndecidedChoice {
    /// Write nothing; report it.
    #[default]
    Stop,
    /// Keep everything: of two values that claim one key, that of the file with the greater number; what has no name gets one.
    Keep,
    /// Leave it out.
    LeaveOut,
}

/// How to repair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairOptions {
    /// What the set of files is taken from.
    pub basis: RepairBasis,
    /// What to do about what the files leave open.
    pub undecided: UndecidedChoice,
    /// Report only; the target need not be given a directory, and nothing is written.
    pub dry_run: bool,
}

/// What became of a file of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fate {
    /// Read for what it says: a log, a manifest, `CURRENT`.
    Read,
    /// An SST or a pack that was copied as it is (a sealed pack: linked, where that goes).
    Copied,
    /// A whole SST whose entries went into new ones.
    Merged,
    /// A damaged SST whose readable entries, or a damaged pack whose whole objects, went into new ones.
    Salvaged,
    /// Left out: other files have taken its contents over.
    Replaced,
    /// Left out for another reason.
    LeftOut,
    /// Nothing in it could be read.
    Unreadable,
    /// It should be there and is not.
    Missing,
    /// Not a file of ours.
    Foreign,
}

/// One file of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairedFile {
    /// Where it lies, or should lie.
    pub path: PathBuf,
    /// What became of it.
    pub fate: Fate,
    /// Why, in words.
    pub what: String,
}

/// Something that is not in the target, or may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The file.
    pub path: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How many bytes; 0 where that is not known, or the file is missing.
    pub len: u64,
    /// The keyspace that it concerns; `None`: any.
    pub keyspace: Option<KeyspaceId>,
    /// No key below this one is concerned; `None`: no bound is known. In hash order this and `to_key` are sort keys: eight bytes
    /// of hash, then the key.
    pub from_key: Option<Slice>,
    /// No key above this one is concerned; `None`: no bound is known.
    pub to_key: Option<Slice>,
    /// How many entries, where that is known.
    pub entries: Option<u64>,
    /// For a log: the sequence numbers between which it lies, both excluded; no upper one at the log's end.
    pub numbers: Option<(SeqNo, Option<SeqNo>)>,
    /// What is wrong.
    pub what: String,
}

impl Loss {
    /// Anything that may have been in a file.
    fn of(path: PathBuf, what: impl Into<String>) -> Loss {
        Loss {
            path,
            offset: 0,
            len: 0,
            keyspace: None,
            from_key: None,
            to_key: None,
            entries: None,
            numbers: None,
            what: what.into(),
        }
    }
}

/// Something that the files leave open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undecided {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// The keyspace, where it is known.
    pub keyspace: Option<KeyspaceId>,
    /// The key, where it is about one.
    pub key: Option<Slice>,
    /// What is open, and what each choice does.
    pub what: String,
}

/// A keyspace of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairedKeyspace {
    /// Its id.
    pub id: KeyspaceId,
    /// Its name in the target.
    pub name: String,
    /// Whether that was its name; otherwise the name was lost, and this one was made up.
    pub name_known: bool,
    /// SSTs copied as they were.
    pub copied: u64,
    /// SSTs written anew.
    pub written: u64,
    /// Entries in the target, tombstones and old versions counted. In a dry run: those of copied files only.
    pub entries: u64,
    /// Entries that came from the log.
    pub from_logs: u64,
}

/// What a repair did, or a dry run would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// The manifest that the files were taken from; `None`: from the files alone.
    pub manifest: Option<PathBuf>,
    /// The keyspaces of the target, by id.
    pub keyspaces: Vec<RepairedKeyspace>,
    /// The files of the source, by path.
    pub files: Vec<RepairedFile>,
    /// What is lost.
    pub lost: Vec<Loss>,
    /// What is left open.
    pub undecided: Vec<Undecided>,
    /// Bytes at the log's end that are no whole frame: what a crash leaves in the ordinary course of things.
    pub torn_log_bytes: u64,
    /// Whether a target was written.
    pub written: bool,
}

impl RepairReport {
    /// Whether the target holds everything, and nothing was left open.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.undecided.is_empty()
    }

    fn note(&mut self, path: &Path, fate: Fate, what: impl Into<String>) {
        self.files.push(RepairedFile {
            path: path.to_owned(),
            fate,
            what: what.into(),
        });
    }
}

/// Bytes done and to do, as far as they are known, for a progress bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairProgress {
    /// Bytes of the source that have been examined or written.
    pub done: u64,
    /// Bytes of the source that will be.
    pub total: u64,
}

/// What every step gets.
struct Repair<'a> {
    env: &'a Env,
    source: &'a Path,
    target: &'a Path,
    options: RepairOptions,
    report: RepairReport,
    objects: objects::Objects,
    progress: &'a mut dyn FnMut(RepairProgress),
    at: RepairProgress,
}

impl Repair<'_> {
    fn step(&mut self, bytes: u64) {
        self.at.done = self.at.done.saturating_add(bytes);
        (self.progress)(self.at);
    }
}

/// Makes a database in `target` out of the files in `source`. See the module's comment.
///
/// ```
/// # fn main() -> packstone::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let (source, target) = (dir.path().join("old"), dir.path().join("new"));
/// # let db = packstone::Db::open(&source)?;
/// # db.keyspace("users")?.put("alice", "1")?;
/// # db.flush()?;
/// # db.close()?;
/// # std::fs::remove_file(source.join("CURRENT")).unwrap();
/// use packstone::env::Env;
/// use packstone::repair::{RepairOptions, repair};
///
/// let report = repair(&Env::real(1), &source, &target, RepairOptions::default(), &mut |_| {})?;
/// assert!(report.is_clean() && report.written);
/// let db = packstone::Db::open(&target)?;
/// assert_eq!(db.open_keyspace("users")?.get("alice")?.unwrap(), b"1");
/// # db.close()
/// # }
/// ```
///
/// # Errors
/// [`Error::InvalidOption`] when `target` lies in `source` or holds anything; [`Error::NotADatabase`] when there is nothing
/// of ours in `source`; [`Error::Locked`] when the source is in use; [`Error::NewerFormat`]; an I/O error of the target. Damage of the
/// source is no error but part of the report.
pub fn repair(
    env: &Env,
    source: &Path,
    target: &Path,
    options: RepairOptions,
    progress: &mut dyn FnMut(RepairProgress),
) -> Result<RepairReport> {
    let mut repair = Repair {
        env,
        source,
        target,
        options,
        report: RepairReport::default(),
        objects: objects::Objects::default(),
        progress,
        at: RepairProgress::default(),
    };
    if !options.dry_run {
        check_target(env, source, target)?;
    }
    let mut survey = survey::Survey::of(&mut repair)?;
    let _lock = lock_source(env, source, &survey.names)?;
    survey.examine(&mut repair)?;
    let mut plan = decide::decide(&mut repair, survey)?;
    logs::first_pass(&mut repair, &mut plan)?;
    objects::follow_references(&mut repair, &mut plan)?;
    plan.name_keyspaces(&mut repair);
    let placed = place::place(&mut repair, &mut plan)?;
    let stop = !repair.report.undecided.is_empty() && options.undecided == UndecidedChoice::Stop;
    if !options.dry_run && !stop {
        write::write(&mut repair, &plan, placed)?;
        repair.report.written = true;
    } else {
        write::describe(&mut repair, placed);
    }
    let mut report = repair.report;
    report.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(report)
}

/// The target is nobody's directory, and not inside the source.
fn check_target(env: &Env, source: &Path, target: &Path) -> Result<()> {
    let refused = |what: String| Error::InvalidOption { name: "target", what };
    if target.starts_with(source) {
        return Err(refused(format!(
            "{} lies inside the source; choose a directory outside of it",
            target.display()
        )));
    }
    match env.fs.list(target) {
        Ok(entries) if entries.is_empty() => Ok(()),
        Ok(_) => Err(refused(format!(
            "{} is not empty; choose a new directory",
            target.display()
        ))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("list", target, e)),
    }
}

/// Keeps writers away, where there is a lock to be had without creating it.
fn lock_source(env: &Env, source: &Path, names: &[String]) -> Result<Option<Box<dyn crate::env::Lock>>> {
    if !names.iter().any(|name| name == names::LOCK) {
        return Ok(None);
    }
    match env.fs.lock(&source.join(names::LOCK)) {
        Ok(lock) => Ok(Some(lock)),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Err(Error::Locked {
            path: source.to_owned(),
        }),
        // A medium that can't be written to has no writers.
        Err(_) => Ok(None),
    }
}
