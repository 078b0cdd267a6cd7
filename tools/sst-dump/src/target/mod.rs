//! Which files a command works on: those given, or those of a database, each with what it is and what part it plays.
//!
//! What a file is, its content says. What part it plays in a database, the manifest says. A database may be in use
//! meanwhile: files that go away are nothing wrong as long as the manifest does not name them any more.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use packstone::Error;
use packstone::env::FileSystem;
use packstone::inspect::{self, FileKind, FileName, LogLimits, PackInfo, SstInfo};

use crate::args::FileArgs;
use crate::fs::Look;
use crate::out::Fail;
use crate::{Ctx, out};

mod database;

pub(crate) use database::Database;
use database::list;

/// A database in use can change its files between two looks; after so many it is taken as it is.
const LOOKS: u32 = 8;

/// The part that a file plays.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// Named on the command line, or found in a directory without a manifest.
    Given,
    /// An SST of the tree.
    Live {
        name: String,
        level: usize,
        info: SstInfo,
    },
    /// A pack of the database.
    Pack(PackInfo),
    /// A log at or above the floor.
    Needed,
    /// The manifest that `CURRENT` names, and `CURRENT`.
    InForce,
    /// A file that the manifest does not name: a leftover, or being written.
    Unnamed,
    /// A pack in a database's directory, of which the database knows nothing.
    Apart,
    /// A pack found in a directory that has not got its name yet.
    Unfinished,
}

impl Role {
    pub(crate) fn describe(&self) -> String {
        match self {
            Role::Given => "given".to_owned(),
            Role::Live { name, level, .. } => format!("level {level} of keyspace '{name}'"),
            Role::Pack(pack) if pack.sealed => "a sealed pack of the database".to_owned(),
            Role::Pack(_) => "a pack of the database, not sealed yet".to_owned(),
            Role::Needed => "part of the log".to_owned(),
            Role::InForce => "in force".to_owned(),
            Role::Unnamed => "not named by the manifest: a leftover, or being written".to_owned(),
            Role::Apart => "no part of the database".to_owned(),
            Role::Unfinished => "unfinished: being written, or a leftover".to_owned(),
        }
    }

    /// Whether damage in the file is damage of the database.
    pub(crate) fn counts(&self) -> bool {
        !matches!(self, Role::Unnamed | Role::Unfinished)
    }
}

/// A file to work on.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) path: PathBuf,
    pub(crate) kind: FileKind,
    pub(crate) role: Role,
    pub(crate) size: u64,
    /// Which of the databases it belongs to.
    pub(crate) database: Option<usize>,
}

/// All that a command works on.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    pub(crate) items: Vec<Item>,
    pub(crate) databases: Vec<Database>,
}

impl Targets {
    /// Finds the files. Paths that lead nowhere are reported; the others remain.
    pub(crate) fn find(ctx: &mut Ctx, args: &FileArgs) -> Result<Targets, Fail> {
        let mut targets = Targets::default();
        let mut any = false;
        for path in args.paths() {
            any = true;
            match ctx.fs.look(path) {
                Ok(Look::Directory) => targets.add_directory(ctx, path),
                Ok(Look::File(size)) => targets.add_file(ctx, path, size),
                Ok(Look::Other) => ctx.out.misuse(path, "neither a file nor a directory"),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    ctx.out.misuse(path, "there is no such file or directory");
                }
                Err(error) => ctx.out.problem(&Error::io("look at", path, error)),
            }
        }
        match any {
            true => Ok(targets),
            false => Err(Fail::Usage(
                "give a file, or the directory of a database; --help shows examples".to_owned(),
            )),
        }
    }

    fn add_file(&mut self, ctx: &mut Ctx, path: &Path, size: u64) {
        let name = name_of(path);
        let kind = match inspect::identify(&ctx.fs, path) {
            Ok(kind) => kind,
            Err(error) => return ctx.out.problem(&error),
        };
        match (kind, name) {
            (FileKind::Unknown, Some(FileName::Lock)) | (FileKind::Empty, Some(FileName::Lock)) => {
                ctx.out
                    .warn(&format!("{}: the lock file, which holds nothing", path.display()));
            }
            (FileKind::Unknown, Some(_)) => {
                let what = "expected what the name says, found something else";
                ctx.out.damaged(path, 0, what);
            }
            (FileKind::Empty, Some(FileName::Log(_))) => {
                let path = path.display();
                ctx.out.warn(&format!(
                    "{path}: holds nothing: a crash while it was being created"
                ));
            }
            (FileKind::Empty, Some(_)) => ctx.out.damaged(path, 0, "the file holds nothing"),
            (FileKind::Empty, None) => ctx.out.misuse(path, "the file holds nothing (or only zeros)"),
            (FileKind::Unknown, None) => ctx.out.misuse(
                path,
                "not a file of packstone: neither an SST nor a log, a manifest, CURRENT or a pack",
            ),
            (kind, _) => self.items.push(Item {
                path: path.to_owned(),
                kind,
                role: Role::Given,
                size,
                database: None,
            }),
        }
    }

    fn add_directory(&mut self, ctx: &mut Ctx, dir: &Path) {
        let names: Vec<String> = match ctx.fs.list(dir) {
            Ok(entries) => {
                let files = entries.into_iter().filter(|entry| entry.is_file);
                files.map(|entry| entry.name).collect()
            }
            Err(error) => return ctx.out.problem(&Error::io("list", dir, error)),
        };
        let named = ours(&names);
        if let Some(database) = Database::load(ctx, dir, &named) {
            return self.add_database(ctx, database);
        }
        // No database: whatever is ours by its name or its content.
        let before = (self.items.len(), ctx.out.problems());
        for name in &names {
            let path = dir.join(name);
            let is_named = named.iter().any(|(ours, _)| ours == name);
            let is_ours = || match inspect::identify(&ctx.fs, &path) {
                Ok(kind) => !matches!(kind, FileKind::Unknown | FileKind::Empty),
                Err(_) => false,
            };
            if is_named || is_ours() {
                let size = match ctx.fs.look(&path) {
                    Ok(Look::File(size)) => size,
                    _ => 0,
                };
                self.add_file(ctx, &path, size);
                if let Some(item) = self.items.last_mut().filter(|item| item.path == path) {
                    item.role = role_of_pack(item.kind, name).unwrap_or(Role::Given);
                }
            }
        }
        if before == (self.items.len(), ctx.out.problems()) {
            ctx.out
                .misuse(dir, "no database: the directory has no files of packstone");
        }
    }

    fn add_database(&mut self, ctx: &mut Ctx, mut database: Database) {
        let mut names = Vec::new();
        for look in 0..LOOKS {
            names = list(ctx, &database.dir);
            let missing = database.missing(&names);
            if missing.is_empty() || look + 1 == LOOKS {
                for (path, what) in missing {
                    ctx.out.damaged(&path, 0, what);
                }
                break;
            }
            // In use, and a compaction has replaced files since the manifest was read? Then it says so now.
            match database.reload(&ctx.fs) {
                Some(state) if state != database.state => database.state = state,
                _ => {
                    for (path, what) in missing {
                        ctx.out.damaged(&path, 0, what);
                    }
                    break;
                }
            }
        }
        let index = self.databases.len();
        for (name, parsed) in names {
            let path = database.dir.join(name);
            let Ok(Look::File(size)) = ctx.fs.look(&path) else {
                continue;
            };
            let role = database.role(parsed, &path);
            let kind = match inspect::identify(&ctx.fs, &path) {
                Ok(kind) => kind,
                Err(error) if out::is_gone(&error) => continue,
                Err(error) => {
                    ctx.out.problem(&error);
                    continue;
                }
            };
            let fits =
                kind == parsed.expected() || (kind == FileKind::Empty && matches!(parsed, FileName::Log(_)));
            if !fits && role.counts() {
                ctx.out.damaged(
                    &path,
                    0,
                    format!("expected what the name says, found {}", kind_name(kind)),
                );
            }
            self.items.push(Item {
                path,
                kind,
                role,
                size,
                database: Some(index),
            });
        }
        self.add_packs(ctx, &database.dir, index);
        self.databases.push(database);
    }

    /// Packs that somebody keeps in the directory of a database, told by their content: they have no names that say so.
    fn add_packs(&mut self, ctx: &Ctx, dir: &Path, database: usize) {
        let entries = ctx.fs.list(dir).unwrap_or_default().into_iter();
        for entry in entries.filter(|entry| entry.is_file && FileName::parse(&entry.name).is_none()) {
            let path = dir.join(&entry.name);
            // What can't be looked at is nothing of the database's.
            if !matches!(inspect::identify(&ctx.fs, &path), Ok(FileKind::Pack)) {
                continue;
            }
            if let Ok(Look::File(size)) = ctx.fs.look(&path) {
                self.items.push(Item {
                    path,
                    kind: FileKind::Pack,
                    role: role_of_pack(FileKind::Pack, &entry.name).unwrap_or(Role::Apart),
                    size,
                    database: Some(database),
                });
            }
        }
    }

    /// The items of a kind; complains when there is none although files were found.
    pub(crate) fn of_kind(&self, ctx: &mut Ctx, kind: FileKind) -> Vec<Item> {
        self.of_kinds(ctx, &[kind])
    }

    fn of_kinds(&self, ctx: &mut Ctx, kinds: &[FileKind]) -> Vec<Item> {
        let (found, others): (Vec<&Item>, Vec<&Item>) =
            self.items.iter().partition(|item| kinds.contains(&item.kind));
        let found = found.into_iter().cloned().collect();
        let wanted: Vec<&str> = kinds.iter().map(|kind| plural(*kind)).collect();
        for other in others.into_iter().filter(|item| item.database.is_none()) {
            let what = format!(
                "{}, and this command is for {}",
                kind_name(other.kind),
                wanted.join(" and ")
            );
            ctx.out.misuse(&other.path, &what);
        }
        found
    }

    /// SSTs of the tree and those given; of a database's others only the number is told.
    pub(crate) fn ssts(&self, ctx: &mut Ctx) -> Vec<Item> {
        let found = self.of_kind(ctx, FileKind::Sst);
        Self::counted(ctx, found)
    }

    /// The same, and packs: for commands that have something to say of both.
    pub(crate) fn ssts_and_packs(&self, ctx: &mut Ctx) -> Vec<Item> {
        let found = self.of_kinds(ctx, &[FileKind::Sst, FileKind::Pack]);
        Self::counted(ctx, found)
    }

    fn counted(ctx: &mut Ctx, found: Vec<Item>) -> Vec<Item> {
        let (counted, others): (Vec<Item>, Vec<Item>) =
            found.into_iter().partition(|item| item.role.counts());
        for item in others {
            let path = item.path.display();
            ctx.out
                .warn(&format!("{path} is left out: {}", item.role.describe()));
        }
        counted
    }

    /// What the manifest and later logs know about a log.
    pub(crate) fn log_limits(&self, ctx: &Ctx, item: &Item) -> LogLimits {
        let mut limits = LogLimits::default();
        let Some(database) = item.database.and_then(|index| self.databases.get(index)) else {
            return limits;
        };
        let Some(FileName::Log(number)) = name_of(&item.path) else {
            return limits;
        };
        let ends = &database.state.log_ends;
        limits.recorded_end = ends.iter().find(|end| end.number == number).map(|end| end.offset);
        let same = |other: &&Item| other.database == item.database && matches!(other.role, Role::Needed);
        for other in self.items.iter().filter(same) {
            // The header is all that is wanted.
            let stop = &mut |_: inspect::Frame<'_>| ControlFlow::Break(());
            let found = inspect::walk_log(&ctx.fs, &other.path, &LogLimits::default(), stop);
            let before = found.ok().and_then(|report| report.header.predecessor);
            if let Some(before) = before.filter(|before| before.number == number) {
                limits.successor_end = Some(before.offset);
            }
        }
        limits
    }

    /// Reports a file that could not be read, unless a database in use has let go of it meanwhile.
    pub(crate) fn failed(&self, ctx: &mut Ctx, item: &Item, error: &Error) {
        let database = item.database.and_then(|index| self.databases.get(index));
        if out::is_gone(error) && database.is_some_and(|database| !database.still_names(ctx, item)) {
            let path = item.path.display();
            return ctx.out.warn(&format!(
                "{path} has been removed meanwhile by the program that uses the database"
            ));
        }
        if !item.role.counts() {
            return ctx.out.warn(&format!("{error} ({})", item.role.describe()));
        }
        ctx.out.problem(error);
    }
}

/// The part that a pack plays whose name says that it is being written.
fn role_of_pack(kind: FileKind, name: &str) -> Option<Role> {
    (kind == FileKind::Pack && name.ends_with(".unfinished")).then_some(Role::Unfinished)
}

/// The names that are ours, with what they stand for; not `LOCK`, which holds nothing.
fn ours(names: &[String]) -> Vec<(String, FileName)> {
    let parsed = names
        .iter()
        .filter_map(|name| FileName::parse(name).map(|parsed| (name.clone(), parsed)));
    parsed.filter(|(_, parsed)| *parsed != FileName::Lock).collect()
}

/// What a path's last part stands for in a database.
fn name_of(path: &Path) -> Option<FileName> {
    path.file_name()
        .and_then(|name| name.to_str())
        .and_then(FileName::parse)
}

/// The kind in words.
pub(crate) fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Sst => "an SST",
        FileKind::Log => "a log",
        FileKind::Manifest => "a manifest",
        FileKind::Current => "CURRENT",
        FileKind::Pack => "a pack",
        FileKind::Empty => "nothing",
        _ => "no file of packstone",
    }
}

fn plural(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Sst => "SSTs",
        FileKind::Log => "logs",
        FileKind::Manifest => "manifests",
        FileKind::Pack => "packs",
        _ => "other files",
    }
}
