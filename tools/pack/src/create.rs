//! `create` and `append`: files into an archive.
//!
//! What can't be read is skipped and said, and the archive gets the rest. What can't be written ends the command, and the archive is
//! what it was.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use indicatif::ProgressBar;
use packstone::pack::{ArchiveWriter, Pack, PackOptions, SealReport};
use packstone::{Compression, Error};
use serde_json::json;

use crate::args::{self, Sources};
use crate::console::{Console, Report, heard};
use crate::meta::{Kind, Meta, since_1970};
use crate::walk::{Met, Own, walk};
use crate::{Failure, Outcome, names, platform, refuse_a_databases_directory};

/// One PATH of the command line.
enum Root {
    Tree { path: PathBuf, name: Vec<u8> },
    Stdin { name: Vec<u8> },
}

pub(crate) fn create(args: &args::Create) -> Outcome {
    let archive = &args.sources.archive;
    refuse_a_databases_directory(archive)?;
    // Also of what is no file: the library would find out at the end.
    if fs::symlink_metadata(archive).is_ok() {
        let why = format!(
            "{} is not written: it exists already; `pack append` adds to it",
            archive.display()
        );
        return Err(Failure::Refused(why));
    }
    let mut options = options(&args.sources);
    if let Some(identity) = args.identity {
        options = options.identity(identity.0);
    }
    let roots = roots(&args.sources)?;
    let writer = ArchiveWriter::create(archive, &options)?;
    fill(writer, &args.sources, &roots, Console::new())
}

pub(crate) fn append(args: &args::Append) -> Outcome {
    let archive = &args.sources.archive;
    refuse_a_databases_directory(archive)?;
    let options = options(&args.sources);
    let roots = roots(&args.sources)?;
    let torn = Pack::open_with(archive, &options)?.torn_bytes();
    let writer = ArchiveWriter::append(archive, &options)?;
    let console = Console::new();
    if torn > 0 {
        console.note(&format!(
            "{}: {torn} bytes behind the archive's end are overwritten: what an append that was cut off has left",
            archive.display()
        ));
    }
    fill(writer, &args.sources, &roots, console)
}

fn options(sources: &Sources) -> PackOptions {
    let compression = match sources.no_compression {
        true => Compression::None,
        false => Compression::Lz4,
    };
    PackOptions::default()
        .chunk_size(sources.chunk_size)
        .compression(compression)
}

/// Checks the command line before anything is written.
fn roots(sources: &Sources) -> Result<Vec<Root>, Failure> {
    let from_stdin = sources.paths.iter().filter(|path| path.as_os_str() == "-");
    match (from_stdin.count(), &sources.name) {
        (0, None) | (1, Some(_)) => {}
        (0, Some(_)) => {
            return Err(Failure::Refused(
                "--name names what comes from standard input, and there is no PATH `-`".to_owned(),
            ));
        }
        (1, None) => {
            return Err(Failure::Refused(
                "what comes from standard input needs a name: --name NAME".to_owned(),
            ));
        }
        _ => {
            return Err(Failure::Refused(
                "standard input can be read once only".to_owned(),
            ));
        }
    }
    let root = |path: &PathBuf| match &sources.name {
        Some(given) if path.as_os_str() == "-" => {
            let name = names::of_path(given).map_err(Failure::Refused)?;
            if name.is_empty() {
                return Err(Failure::Refused("--name needs a name".to_owned()));
            }
            Ok(Root::Stdin { name })
        }
        _ => {
            let name = names::of_path(path).map_err(Failure::Refused)?;
            if path.as_os_str().is_empty() {
                return Err(Failure::Refused("an empty PATH".to_owned()));
            }
            let path = match &sources.base {
                Some(base) => base.join(path),
                None => path.clone(),
            };
            fs::symlink_metadata(&path).map_err(|e| Error::io("read", &path, e))?;
            Ok(Root::Tree { path, name })
        }
    };
    sources.paths.iter().map(root).collect()
}

fn fill(writer: ArchiveWriter, sources: &Sources, roots: &[Root], mut console: Console) -> Outcome {
    let own = Own::of(&sources.archive);
    if Console::is_watched() {
        console.expect(bytes_in(roots, &own)?);
    }
    let mut filler = Filler {
        writer,
        console,
        mtime: sources.mtime,
    };
    for root in roots {
        match root {
            Root::Tree { path, name } => walk(path, name, &own, &mut |met| filler.add(met))?,
            Root::Stdin { name } => filler.add_stdin(name)?,
        }
    }
    let Filler { writer, console, .. } = filler;
    let report = writer.finish()?;
    console.finish();
    heard(print(sources, &report, console.problems()))?;
    Ok(console.problems() == 0)
}

/// The length of all files together, as far as it can be told.
fn bytes_in(roots: &[Root], own: &Own) -> Result<u64, Failure> {
    let mut bytes = 0;
    for root in roots {
        if let Root::Tree { path, name } = root {
            walk(path, name, own, &mut |met| {
                let file = met.metadata.ok().filter(Metadata::is_file);
                bytes += file.map_or(0, |metadata| metadata.len());
                Ok(())
            })?;
        }
    }
    Ok(bytes)
}

struct Filler {
    writer: ArchiveWriter,
    console: Console,
    mtime: Option<i64>,
}

impl Filler {
    /// Adds what a walk has met, or says why not. An error is one of the archive.
    fn add(&mut self, met: Met) -> Result<(), Failure> {
        let Met { path, name, metadata } = met;
        let metadata = match metadata {
            Ok(metadata) => metadata,
            Err(e) => return self.skip(path, &e.to_string()),
        };
        let kind = metadata.file_type();
        if kind.is_file() {
            self.add_file(path, name)
        } else if kind.is_dir() {
            let meta = Meta::of(&metadata, Kind::Directory, self.mtime);
            self.add_bytes(path, name, &meta, b"")
        } else if kind.is_symlink() {
            match platform::target_of(path) {
                Ok(target) => {
                    let meta = Meta::of(&metadata, Kind::Symlink, self.mtime);
                    self.add_bytes(path, name, &meta, &target)
                }
                Err(e) => self.skip(path, &e.to_string()),
            }
        } else {
            self.skip(path, "it is a pipe, a socket or a device")
        }
    }

    fn skip(&mut self, path: &Path, why: &str) -> Result<(), Failure> {
        self.console
            .problem(&format!("{} is skipped: {why}", path.display()));
        Ok(())
    }

    fn add_bytes(&mut self, path: &Path, name: &[u8], meta: &Meta, content: &[u8]) -> Result<(), Failure> {
        match self.writer.add(name, &meta.encode(), content) {
            Ok(_) => Ok(()),
            Err(e @ Error::LimitExceeded { .. }) => self.skip(path, &e.to_string()),
            Err(e) => Err(e.into()),
        }
    }

    fn add_file(&mut self, path: &Path, name: &[u8]) -> Result<(), Failure> {
        let opened = platform::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (before, file) = match opened {
            Ok((metadata, file)) if metadata.is_file() => (metadata, file),
            Ok(_) => return self.skip(path, "something else has come into its place"),
            Err(e) => return self.skip(path, &e.to_string()),
        };
        let meta = Meta::of(&before, Kind::File, self.mtime);
        if self.add_reader(path, name, &meta, &file)? && has_changed(&file, &before) {
            let what = format!("{} has changed while it was read", path.display());
            self.console.problem(&what);
        }
        Ok(())
    }

    fn add_stdin(&mut self, name: &[u8]) -> Result<(), Failure> {
        let time = self.mtime.map(|seconds| (seconds, 0));
        let time = time.unwrap_or_else(|| since_1970(SystemTime::now()));
        let meta = Meta::new(Kind::File, 0o644, time);
        let path = Path::new("standard input");
        self.add_reader(path, name, &meta, io::stdin().lock()).map(drop)
    }

    /// Whether it has been added.
    fn add_reader(
        &mut self,
        path: &Path,
        name: &[u8],
        meta: &Meta,
        content: impl Read,
    ) -> Result<bool, Failure> {
        let mut content = Watched {
            content,
            bar: self.console.bar().clone(),
            failed: None,
        };
        let added = self.writer.add_reader(name, &meta.encode(), &mut content);
        match (added, content.failed) {
            (Ok(_), _) => Ok(true),
            // The archive is as it was before this one.
            (Err(_), Some(why)) => self.skip(path, &why).map(|()| false),
            (Err(e @ Error::LimitExceeded { .. }), _) => self.skip(path, &e.to_string()).map(|()| false),
            (Err(e), None) => Err(e.into()),
        }
    }
}

fn has_changed(file: &File, before: &Metadata) -> bool {
    file.metadata()
        .is_ok_and(|now| now.len() != before.len() || now.modified().ok() != before.modified().ok())
}

/// Moves the bar, and tells a failed read from a failed write.
struct Watched<R> {
    content: R,
    bar: ProgressBar,
    failed: Option<String>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer);
        match &read {
            Ok(bytes) => self.bar.inc(*bytes as u64),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => self.failed = Some(e.to_string()),
        }
        read
    }
}

fn print(sources: &Sources, sealed: &SealReport, skipped: u64) -> Result<(), Failure> {
    let mut report = Report::new();
    if sources.json {
        report.json(&json!({
            "archive": sources.archive.to_string_lossy(),
            "names_before": sealed.names_before, "names_added": sealed.names_added,
            "names_replaced": sealed.names_replaced,
            "objects_stored": sealed.objects_added, "duplicates": sealed.duplicates,
            "content_bytes": sealed.content_bytes, "stored_bytes": sealed.stored_bytes,
            "added_at": sealed.added_at, "bytes_added": sealed.bytes_added, "sealed_bytes": sealed.sealed_len,
            "problems": skipped,
        }))?;
        return report.end();
    }
    let SealReport {
        names_before,
        names_added,
        names_replaced,
        ..
    } = sealed;
    report.line(&format!(
        "names      {names_before} before, {names_added} added, {names_replaced} replaced"
    ))?;
    report.line(&format!(
        "objects    {} stored, {} bytes as {}; {} were there already",
        sealed.objects_added, sealed.content_bytes, sealed.stored_bytes, sealed.duplicates
    ))?;
    report.line(&format!(
        "new bytes  {} from offset {}",
        sealed.bytes_added, sealed.added_at
    ))?;
    report.line(&format!("sealed     {} bytes", sealed.sealed_len))?;
    report.end()
}
