//! `extract`: files, directories and links out of an archive.
//!
//! In this order: files, and directories, which only their owner may enter meanwhile; then links; then modes and times of the directories, the
//! deepest first, because filling a directory changes its time, and its mode may forbid it. Held are the names of the directories.
//! What can't be made is skipped and said.

use std::fs::{File, FileTimes};
use std::io::Write;
use std::path::PathBuf;

use packstone::Error;
use packstone::pack::{Archive, ArchiveEntry};

use crate::args;
use crate::console::{Console, Report, describe, heard};
use crate::list::READ_AT_ONCE;
use crate::meta::{Kind, Meta};
use crate::names::{components, escape};
use crate::place::{Filling, Refused, Tree};
use crate::{Failure, Outcome, platform};

/// The longest target of a link: no system has longer ones.
const MAX_TARGET: u64 = 64 << 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Files,
    Links,
}

pub(crate) fn extract(args: &args::Extract) -> Outcome {
    let archive = Archive::open(&args.archive)?;
    let prefixes = prefixes(args, &archive)?;
    let mut console = Console::new();
    if Console::is_watched() {
        let entries = prefixes.iter().flat_map(|prefix| archive.prefix(prefix));
        let lens = entries.map_while(Result::ok).map(|entry| entry.len);
        console.expect(lens.fold(0, u64::saturating_add));
    }
    let mut extraction = Extraction {
        archive: &archive,
        tree: Tree::open(&args.dir)?,
        overwrite: args.overwrite,
        console,
        buffer: vec![0; READ_AT_ONCE],
        directories: Vec::new(),
        counts: Counts::default(),
    };
    for pass in [Pass::Files, Pass::Links] {
        for prefix in &prefixes {
            extraction.pass(pass, prefix)?;
        }
    }
    extraction.restore_directories();
    extraction.end()
}

/// What begins with one of them, once.
fn prefixes(args: &args::Extract, archive: &Archive) -> Result<Vec<Vec<u8>>, Failure> {
    if args.prefixes.is_empty() {
        return Ok(vec![Vec::new()]);
    }
    let mut prefixes: Vec<Vec<u8>> = Vec::new();
    for prefix in &args.prefixes {
        let bytes = platform::bytes_of(prefix).unwrap_or_default();
        match archive.prefix(bytes).next() {
            Some(entry) => drop(entry?),
            None => {
                let what = format!(
                    "{} has no name that begins with {}",
                    args.archive.display(),
                    prefix.to_string_lossy()
                );
                return Err(Failure::Refused(what));
            }
        }
        prefixes.push(bytes.to_vec());
    }
    prefixes.sort();
    prefixes.dedup_by(|longer, shorter| longer.starts_with(shorter));
    Ok(prefixes)
}

#[derive(Default)]
struct Counts {
    files: u64,
    bytes: u64,
    directories: u64,
    links: u64,
    /// Names with another program's meta data.
    foreign: u64,
}

struct Extraction<'a> {
    archive: &'a Archive,
    tree: Tree,
    overwrite: bool,
    console: Console,
    buffer: Vec<u8>,
    /// Those that get modes and times at the end, parents first.
    directories: Vec<(PathBuf, Meta)>,
    counts: Counts,
}

impl Extraction<'_> {
    fn pass(&mut self, pass: Pass, prefix: &[u8]) -> Result<(), Failure> {
        for entry in self.archive.prefix(prefix) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    // Names behind the damage are lost; the second pass would say the same.
                    if pass == Pass::Files {
                        self.console.problem(&describe(&e));
                    }
                    break;
                }
            };
            let meta = Meta::decode(&entry.meta);
            let is_link = meta.is_some_and(|meta| meta.kind == Kind::Symlink);
            if is_link != (pass == Pass::Links) {
                continue;
            }
            if let Err(refused) = self.make(&entry, meta) {
                if refused.is_final {
                    return Err(Failure::Refused(refused.why));
                }
                let what = format!("{} is skipped: {}", escape(&entry.name), refused.why);
                self.console.problem(&what);
            }
        }
        Ok(())
    }

    fn make(&mut self, entry: &ArchiveEntry, meta: Option<Meta>) -> Result<(), Refused> {
        let parts = components(&entry.name).map_err(|why| format!("no file can have this name: {why}"))?;
        match meta.map(|meta| (meta.kind, meta)) {
            Some((Kind::Directory, meta)) => {
                if entry.len > 0 {
                    return Err("it is a directory, and has content".to_owned().into());
                }
                let (path, made) = self.tree.directory(&parts)?;
                if made || self.overwrite {
                    self.directories.push((path, meta));
                }
                self.counts.directories += 1;
                Ok(())
            }
            Some((Kind::Symlink, meta)) => {
                let place = self.tree.place(&parts)?;
                self.make_link(entry, meta, place)
            }
            _ => {
                let place = self.tree.place(&parts)?;
                self.make_file(entry, meta, place)
            }
        }
    }

    fn make_link(&mut self, entry: &ArchiveEntry, meta: Meta, place: PathBuf) -> Result<(), Refused> {
        if entry.len > MAX_TARGET {
            return Err(format!("the target of a link has {} bytes", entry.len).into());
        }
        let target = self.archive.read(entry)?;
        let mut filling = Filling::begin(place, self.overwrite)?;
        filling.make(|path| platform::symlink(&target, path))?;
        platform::set_link_time(filling.path(), meta.seconds, meta.nanoseconds)
            .map_err(|e| Error::io("set the time of", filling.path(), e))?;
        filling.keep()?;
        self.counts.links += 1;
        Ok(())
    }

    fn make_file(&mut self, entry: &ArchiveEntry, meta: Option<Meta>, place: PathBuf) -> Result<(), Refused> {
        let mut object = self.archive.open_entry(entry)?;
        let mut filling = Filling::begin(place, self.overwrite)?;
        let mut file = filling.make(|path| platform::create(path, meta.is_some()))?;
        loop {
            let n = object.read_some(&mut self.buffer)?;
            if n == 0 {
                break;
            }
            file.write_all(&self.buffer[..n])
                .map_err(|e| Error::io("write", filling.path(), e))?;
            self.console.bar().inc(n as u64);
            self.counts.bytes += n as u64;
        }
        match meta {
            Some(meta) => {
                restore(&file, &meta).map_err(|e| Error::io("set mode and time of", filling.path(), e))?;
            }
            None => self.counts.foreign += u64::from(!entry.meta.is_empty()),
        }
        drop(file);
        filling.keep()?;
        self.counts.files += 1;
        Ok(())
    }

    fn restore_directories(&mut self) {
        for (path, meta) in std::mem::take(&mut self.directories).iter().rev() {
            let restored = platform::open_dir(path)
                .and_then(|dir| dir.map_or(Ok(()), |dir| restore(&dir, meta)))
                .map_err(|e| Error::io("set mode and time of", path, e));
            if let Err(e) = restored {
                self.console.problem(&describe(&e));
            }
        }
    }

    fn end(self) -> Outcome {
        let Extraction { console, counts, .. } = self;
        console.finish();
        if counts.foreign > 0 {
            console.note(&format!(
                "{} names have meta data of another program: they are regular files now, with no mode or time of their own",
                counts.foreign
            ));
        }
        let mut report = Report::new();
        let told = report.line(&format!(
            "extracted  {} files of {} bytes, {} directories, {} symbolic links; {} problems",
            counts.files,
            counts.bytes,
            counts.directories,
            counts.links,
            console.problems()
        ));
        heard(told.and_then(|()| report.end()))?;
        Ok(console.problems() == 0)
    }
}

/// First the time: the mode may forbid to change it.
fn restore(file: &File, meta: &Meta) -> std::io::Result<()> {
    let time = meta.time().ok_or(std::io::ErrorKind::InvalidInput)?;
    file.set_times(FileTimes::new().set_modified(time))?;
    platform::set_mode(file, meta.restored_mode())
}
