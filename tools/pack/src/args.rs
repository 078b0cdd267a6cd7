//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Examples:
  pack create home.pack notes letters          two directories, with everything in them
  pack create etc.pack -C / etc/ssh            names relative to another directory
  pg_dump db | pack append home.pack - --name dumps/db.sql
  pack list -l home.pack letters/              what is there, and its meta data
  pack extract home.pack restored letters/     one directory of it
  pack cat home.pack dumps/db.sql | psql db    one object
  pack verify home.pack                        every byte, on all cores
  pack recover home.pack saved.pack            what can be read of a damaged one

An archive that is being appended to stays what it was until the new part is durable: if `pack` is interrupted, the next append
removes what it has left behind the archive's end. An interrupted `create` leaves no archive, only ARCHIVE.unfinished, which
the next `create` replaces.

Exit status: 0 everything went well, 1 something is damaged, lost or was skipped (standard error says what), 2 wrong use or it can't
be done.";

/// Creates, grows, lists, checks, extracts and recovers packstone archives.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an archive of files, directories and symbolic links
    Create(Create),
    /// Add to an archive; what has one of the names already is replaced
    Append(Append),
    /// List names
    List(List),
    /// Tell how many names, objects and bytes there are
    Info(Info),
    /// Write one object to standard output
    Cat(Cat),
    /// Make the files, directories and symbolic links again
    Extract(Extract),
    /// Check every byte, on all cores
    Verify(Verify),
    /// Save what can be read of a damaged archive into a new one
    Recover(Recover),
}

#[derive(clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// The file's identity, 32 hexadecimal digits, in place of a random one: the same objects with the same names, modes and
    /// modification times then give the same bytes (--mtime makes the times equal)
    #[arg(long, value_name = "HEX32", value_parser = identity)]
    pub(crate) identity: Option<Identity>,
}

#[derive(clap::Args)]
pub(crate) struct Append {
    #[command(flatten)]
    pub(crate) sources: Sources,
}

/// What goes into an archive, and how.
#[derive(clap::Args)]
pub(crate) struct Sources {
    /// The archive
    pub(crate) archive: PathBuf,
    /// Files and directories, these with all that is in them; `-` is standard input, as one object
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// The directory that each PATH is relative to
    #[arg(short = 'C', value_name = "DIR")]
    pub(crate) base: Option<PathBuf>,
    /// The name of what comes from standard input
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<PathBuf>,
    /// The modification time of everything, in seconds since 1970, in place of its own
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) mtime: Option<i64>,
    /// Store chunks as they are
    #[arg(long)]
    pub(crate) no_compression: bool,
    /// Bytes in one chunk, a power of two from 4K to 4M; reading a few bytes of an object costs one chunk
    #[arg(long, value_name = "BYTES", default_value = "64K", value_parser = bytes)]
    pub(crate) chunk_size: u32,
    /// The report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct List {
    /// The archive
    pub(crate) archive: PathBuf,
    /// Only names that begin so
    pub(crate) prefix: Option<OsString>,
    /// Mode, length, modification time (UTC), object id, name
    #[arg(short, long)]
    pub(crate) long: bool,
    /// One JSON object a line
    #[arg(long, conflicts_with = "long")]
    pub(crate) json: bool,
    /// The ids of all objects, also of those without names
    #[arg(long, conflicts_with_all = ["long", "json", "prefix"])]
    pub(crate) ids: bool,
}

#[derive(clap::Args)]
pub(crate) struct Info {
    /// The archive, or a pack without names
    pub(crate) archive: PathBuf,
    /// As one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Cat {
    /// The archive, or a pack without names
    pub(crate) archive: PathBuf,
    /// The object's name
    pub(crate) name: OsString,
    /// NAME is an object id
    #[arg(long)]
    pub(crate) id: bool,
}

#[derive(clap::Args)]
pub(crate) struct Extract {
    /// The archive
    pub(crate) archive: PathBuf,
    /// Where to; created if it is not there. Nothing is written outside of it
    pub(crate) dir: PathBuf,
    /// Only names that begin so; end a directory's name with `/`
    #[arg(value_name = "PREFIX")]
    pub(crate) prefixes: Vec<OsString>,
    /// Replace files and symbolic links that are there, and give directories that are there mode and time
    #[arg(long)]
    pub(crate) overwrite: bool,
}

#[derive(clap::Args)]
pub(crate) struct Verify {
    /// The archive, or a pack without names
    pub(crate) archive: PathBuf,
    /// The report as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct Recover {
    /// The damaged archive, or a pack without names; it is not changed
    pub(crate) archive: PathBuf,
    /// The new one, which must not exist yet
    pub(crate) new: PathBuf,
}

/// A file's identity.
#[derive(Clone, Copy)]
pub(crate) struct Identity(pub(crate) [u8; 16]);

fn identity(text: &str) -> Result<Identity, String> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("expected 32 hexadecimal digits".to_owned());
    }
    let number = u128::from_str_radix(text, 16).map_err(|e| e.to_string())?;
    Ok(Identity(number.to_be_bytes()))
}

fn bytes(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let number = digits.parse::<u32>().map_err(|e| e.to_string())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}
